/* A session on the built-in model, for tests of whole methods. */
#ifndef REBOUND_TESTS_BUILTIN_SESSION_H
#define REBOUND_TESTS_BUILTIN_SESSION_H

#include "sessions/session.h"

enum { BUILTIN_WORDS = 7 };

/* BUILTIN_WORDS tokens, and four features each of layers 1 and 2 held up, some by a value and some by a factor. The
 * features and tokens are any: no behaviour is meant. Fails the test if it can't be opened. */
struct session *builtin_session_open(void);

#endif
