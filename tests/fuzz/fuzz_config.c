/* Any bytes as a config.json: refused with a sentence, or an architecture whose
 * numbers can be relied on. */
#include <math.h>
#include <stdlib.h>

#include "models/arch.h"
#include "models/inspect_model.h"

#define REQUIRE(condition)                                                                                             \
	do {                                                                                                           \
		if (!(condition))                                                                                      \
			fatal("not so: %s", #condition);                                                               \
	} while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_ropes(const struct arch *arch)
{
	for (int i = 0; i < arch->n_ropes; i++) {
		const struct arch_rope *rope = &arch->ropes[i];
		REQUIRE(rope->dims > 0 && rope->dims % 2 == 0 && rope->dims <= arch->head_dim);
		REQUIRE(isfinite(rope->scale) && rope->scale > 0);
		for (int k = 0; k < rope->dims / 2; k++) {
			REQUIRE(isfinite(rope->inverse[k]) && rope->inverse[k] > 0);
			REQUIRE(!rope->inverse_long || (isfinite(rope->inverse_long[k]) && rope->inverse_long[k] > 0));
		}
	}
}

static void check_arch(const struct arch *arch)
{
	REQUIRE(arch->layers > 0 && arch->layers <= ARCH_MAX_LAYERS);
	REQUIRE(arch->d > 0 && arch->d <= ARCH_MAX_WIDTH && arch->f > 0 && arch->f <= ARCH_MAX_F);
	REQUIRE(arch->heads > 0 && arch->kv_heads > 0 && arch->heads % arch->kv_heads == 0);
	REQUIRE(arch->head_dim > 0 && arch->head_dim * arch->heads <= ARCH_MAX_WIDTH);
	REQUIRE(arch->vocab > 0 && arch->vocab <= ARCH_MAX_VOCAB);
	REQUIRE(arch->context > 0 && arch->context <= ARCH_MAX_CONTEXT);
	REQUIRE(arch->norm_eps >= 0 && arch->norm_eps <= 1);
	REQUIRE(arch->score_softcap >= 0 && arch->logit_softcap >= 0);
	REQUIRE(arch->bos < arch->vocab && arch->eos < arch->vocab && arch->n_stops <= ARCH_MAX_STOPS);
	REQUIRE(arch->n_ropes <= 2);
	check_ropes(arch);
	for (int l = 0; l < arch->layers; l++) {
		REQUIRE(arch->layer[l].window >= 0);
		REQUIRE(arch->layer[l].rope >= -1 && arch->layer[l].rope < arch->n_ropes);
		REQUIRE(isfinite(arch->layer[l].score_scale) && arch->layer[l].score_scale > 0);
	}
	for (enum weight_role role = 0; role < WEIGHT_COUNT; role++) {
		int rank;
		int64_t rows, cols;
		if (weight_role_shape(arch, role, &rank, &rows, &cols))
			REQUIRE(rows > 0 && cols > 0 && rows <= INT64_MAX / cols / 8);
	}
	REQUIRE(model_memory_estimate(arch, 0, arch->context, true).total > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct arch arch;
	struct error error = {0};
	if (arch_parse(&arch, (const char *)data, size, "the input", &error)) {
		REQUIRE(error.text[0]);
		return 0;
	}
	check_arch(&arch);
	arch_done(&arch);
	return 0;
}
