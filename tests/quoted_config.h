/* Texts of config.json written in the test: JSON with ' for ". */
#ifndef REBOUND_TESTS_QUOTED_CONFIG_H
#define REBOUND_TESTS_QUOTED_CONFIG_H

#include "models/arch.h"

/* What arch_parse says of it; errors name it 'm/config.json'. */
enum status quoted_config_parse(struct arch *arch, const char *text, struct error *error);
/* A config that is refused fails the running test. */
void quoted_config_accept(struct arch *arch, const char *text);

/* Equal but for rounding in double precision. */
void assert_near(double x, double y);

#endif
