/* Objectives J (METHOD 6) as the user writes them and as the device evaluates them.
 *
 * A specification is NAME[:ARGS][*WEIGHT]; several are summed. Token arguments are ids
 * or quoted strings of one token; answers are texts, or "ids=1,2,3" for exact tokens.
 *   logit_diff:IO,S            choice_margin:RIGHT,OTHER,...   choice_ce:RIGHT,OTHER,...
 *   vocab_margin:TOKEN         answer_logprob:TEXT             first_token_logprob:TEXT
 *   prefix_logprob:TEXT        probe_logit:CLASS[@LAYER]
 *   anti_refusal:TEXT|PREFIX|...    first_token_margin:TEXT|PREFIX|...
 *   soft_anti_refusal:TEXT|PREFIX|...   minus softplus(-anti_refusal) (METHOD 11)
 */
#ifndef REBOUND_OBJECTIVE_H
#define REBOUND_OBJECTIVE_H

#include <stdbool.h>
#include <stdint.h>

#include "compute/base/error.h"
#include "compute/ops.h"
#include "models/arch.h"
#include "models/tokenizer.h"

enum objective_kind {
	OBJECTIVE_LOGIT_DIFF,
	OBJECTIVE_CHOICE_MARGIN,
	OBJECTIVE_CHOICE_CE,
	OBJECTIVE_VOCAB_MARGIN,
	OBJECTIVE_ANSWER_LOGPROB,
	OBJECTIVE_FIRST_TOKEN_LOGPROB,
	OBJECTIVE_PREFIX_LOGPROB,
	OBJECTIVE_ANTI_REFUSAL,
	OBJECTIVE_SOFT_ANTI_REFUSAL,
	OBJECTIVE_FIRST_TOKEN_MARGIN,
	OBJECTIVE_PROBE_LOGIT,
	OBJECTIVE_KIND_COUNT,
};
const char *objective_kind_name(enum objective_kind kind);

enum { OBJECTIVE_MAX_TERMS = 8, OBJECTIVE_MAX_PREFIXES = 16, OBJECTIVE_PREFIX_TOKENS = 8 };

struct objective_term {
	enum objective_kind kind;
	double weight;
	struct token_list tokens;			    /* token arguments, in order */
	struct token_list prefixes[OBJECTIVE_MAX_PREFIXES]; /* discouraged ones */
	int prefix_count;
	char *probe_class;
	int probe_layer; /* -1: not given */
};

struct objective {
	struct objective_term terms[OBJECTIVE_MAX_TERMS];
	int count;
	int64_t vocab;
	struct token_list answer;	  /* teacher-forced behind the prompt; empty: none */
	char *specs[OBJECTIVE_MAX_TERMS]; /* as given */
	char *text;			  /* the specification(s), as --objective takes them, joined by " + " */
};

/* Parses `count` specifications. `tokenizer` may be NULL (then tokens are ids). All
 * answers must be the same text. `vocab` bounds ids. */
enum status WARN_UNUSED objective_parse(struct objective *objective, const char *const *specs, int count,
					const struct tokenizer *tokenizer, int64_t vocab, struct error *error);
void objective_done(struct objective *objective);

/* METHOD 6, answer_logprob. */
struct answer_limits {
	int64_t tokens;	       /* 0: no limit */
	int64_t prefix_tokens; /* the first of them are weighted ... */
	double prefix_weight;  /* ... by this */
};

/* The objective over the readout rows of a pass, for op_objective. Readout row i is
 * position prompt - 1 + i; rows = max(1, answer length). Where no logarithm over the
 * vocabulary is needed, `ids` are the only columns that have to be computed. */
struct objective_plan {
	int64_t rows;
	bool full; /* all V columns */
	uint32_t *ids;
	int64_t id_count;
	struct op_read *reads;
	float *coefficients;
	int64_t read_count;
	struct op_term *op_terms;
	int64_t term_count;
};
/* For one sequence (number 0); probe_logit contributes no terms. */
enum status WARN_UNUSED objective_plan(struct objective_plan *plan, const struct objective *objective,
				       const struct answer_limits *limits, struct error *error);
void objective_plan_done(struct objective_plan *plan);

/* Is the behaviour there? The first term decides, on the logits [V] of the last prompt
 * position: logit_diff above 0; the right letter above the others; for vocab_margin and
 * answers the (first) token is the argmax; otherwise J > 0. */
bool objective_present(const struct objective *objective, const float *logits, int64_t vocab, double J);

#endif
