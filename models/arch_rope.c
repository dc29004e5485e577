/* Rotary embeddings: the kinds of "rope_type" (FORMATS 2.0, 2.5, 2.7, 8.1). */
#include <math.h>
#include <string.h>

#include "compute/base/mem.h"
#include "models/arch_config.h"

enum rope_type {
	ROPE_DEFAULT,
	ROPE_LINEAR,
	ROPE_LLAMA3,
	ROPE_LONG,
	ROPE_YARN,
};

const cJSON *config_rope_params(struct config *c)
{
	static const char *const keys[] = {"rope_scaling", "rope_parameters"};
	for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
		const cJSON *params = json_member(c->root, keys[i]);
		if (params && !cJSON_IsObject(params)) {
			config_refuse(c, c->root, keys[i], "an object or null");
			return NULL;
		}
		if (params && params->child)
			return params;
	}
	return NULL;
}

static enum rope_type read_type(struct config *c, const cJSON *params, bool phi3)
{
	const char *key = json_member(params, "rope_type") ? "rope_type" : "type";
	const cJSON *type = json_member(params, key);
	if (!type)
		return ROPE_DEFAULT;
	const char *name = cJSON_IsString(type) ? type->valuestring : "";
	if (strcmp(name, "default") == 0)
		return ROPE_DEFAULT;
	if (strcmp(name, "linear") == 0)
		return ROPE_LINEAR;
	if (strcmp(name, "llama3") == 0)
		return ROPE_LLAMA3;
	if (strcmp(name, "longrope") == 0 || strcmp(name, "su") == 0 || (phi3 && strcmp(name, "yarn") == 0))
		return ROPE_LONG;
	if (strcmp(name, "yarn") == 0)
		return ROPE_YARN;
	config_refuse(c, params, key, "a supported rotary embedding: default, linear, llama3, longrope or yarn");
	return ROPE_DEFAULT;
}

/* A positive number that must be there. */
static double need(struct config *c, const cJSON *params, const char *key, double least, double most)
{
	if (c->status == STATUS_OK && !json_member(params, key))
		config_refuse(c, params, key, "a number, which this rope_type needs");
	return config_double(c, params, key, least, most, 1);
}

/* The context before it was stretched. */
static int64_t original_context(struct config *c, const struct arch *arch, const struct rope_request *request)
{
	const char *key = "original_max_position_embeddings";
	int64_t original = arch->context;
	if (request->phi3)
		original = 4096;
	else if (c->status == STATUS_OK)
		c->status = json_get_int(request->params, key, 2, ARCH_MAX_CONTEXT, &original, c->what, c->error);
	return config_int(c, key, 2, ARCH_MAX_CONTEXT, original);
}

static void scale_linear(struct config *c, struct arch_rope *rope, int n, const cJSON *params)
{
	double factor = need(c, params, "factor", 1e-3, 1e6);
	for (int i = 0; i < n; i++)
		rope->inverse[i] /= factor;
}

/* Llama 3.1: long wavelengths are stretched, short ones kept, and those between
 * mixed in proportion. */
static void scale_llama3(struct config *c, struct arch_rope *rope, int n, const cJSON *params, double original)
{
	double factor = need(c, params, "factor", 1e-3, 1e6);
	double low = need(c, params, "low_freq_factor", 1e-3, 1e6);
	double high = need(c, params, "high_freq_factor", 1e-3, 1e6);
	if (c->status == STATUS_OK && !(high > low))
		config_fail(c, "%s: \"high_freq_factor\" is %g; expected more than \"low_freq_factor\", %g", c->what,
			    high, low);
	for (int i = 0; i < n && c->status == STATUS_OK; i++) {
		double wavelength = 2 * acos(-1.0) / rope->inverse[i];
		if (wavelength > original / low) {
			rope->inverse[i] /= factor;
		} else if (wavelength >= original / high) {
			double keep = (original / wavelength - low) / (high - low);
			rope->inverse[i] *= (1 - keep) / factor + keep;
		}
	}
}

static void divide_by_list(struct config *c, double *inverse, int n, const cJSON *params, const char *key)
{
	const cJSON *list = json_member(params, key);
	if (c->status)
		return;
	if (!cJSON_IsArray(list) || cJSON_GetArraySize(list) != n) {
		config_fail(c, "%s: longrope needs \"%s\" with %d numbers, one for each rotated pair; found %d",
			    c->what, key, n, cJSON_IsArray(list) ? cJSON_GetArraySize(list) : 0);
		return;
	}
	int i = 0;
	for (const cJSON *item = list->child; item; item = item->next, i++) {
		if (!cJSON_IsNumber(item) || !(item->valuedouble >= 1e-3 && item->valuedouble <= 1e6)) {
			config_fail(c, "%s: entry %d of \"%s\" is not a number from 0.001 to 1e6", c->what, i, key);
			return;
		}
		inverse[i] /= item->valuedouble;
	}
}

/* LongRoPE (Phi-3 128k): a list for short and one for long sequences, and a scale
 * that holds for both. */
static void scale_long(struct config *c, struct arch *arch, struct arch_rope *rope, int n, const cJSON *params,
		       int64_t original)
{
	static const char *const unsupported[] = {"short_mscale", "long_mscale"};
	for (size_t i = 0; i < ARRAY_LEN(unsupported); i++)
		if (json_member(params, unsupported[i]))
			config_refuse(c, params, unsupported[i], "it to be absent, since it is not supported");
	rope->inverse_long = mem_copy(rope->inverse, (size_t)n * sizeof *rope->inverse);
	divide_by_list(c, rope->inverse, n, params, "short_factor");
	divide_by_list(c, rope->inverse_long, n, params, "long_factor");
	rope->original_context = original;

	double stretch = config_double(c, params, "factor", 1e-3, 1e6, (double)arch->context / (double)original);
	double scale = stretch > 1 ? sqrt(1 + log(stretch) / log((double)original)) : 1;
	rope->scale = config_double(c, params, "attention_factor", 1e-3, 1e3, scale);
}

/* Which pair, as a real number, turns `turns` times within the original context. */
static double pair_that_turns(double turns, double theta, int dims, double original)
{
	return dims * log(original / (turns * 2 * acos(-1.0))) / (2 * log(theta));
}

/* YaRN (arXiv 2309.00071): pairs that turn more than beta_fast times within the
 * original context are kept, those that turn less than beta_slow times are stretched,
 * those between mixed linearly in their number. */
static void scale_yarn(struct config *c, struct arch_rope *rope, int n, const struct rope_request *request,
		       double theta, double original)
{
	static const char *const unsupported[] = {"mscale", "mscale_all_dim"};
	const cJSON *params = request->params;
	for (size_t i = 0; i < ARRAY_LEN(unsupported); i++)
		if (json_member(params, unsupported[i]))
			config_refuse(c, params, unsupported[i], "it to be absent, since it is not supported");
	double factor = need(c, params, "factor", 1e-3, 1e6);
	double fast = config_double(c, params, "beta_fast", 1e-3, 1e6, 32);
	double slow = config_double(c, params, "beta_slow", 1e-3, 1e6, 1);
	bool truncate = true;
	if (c->status == STATUS_OK)
		c->status = json_get_bool(params, "truncate", &truncate, c->what, c->error);
	if (c->status == STATUS_OK && !(theta > 1))
		config_fail(c, "%s: \"rope_theta\" is %g; yarn needs more than 1", c->what, theta);
	rope->scale = config_double(c, params, "attention_factor", 1e-3, 1e3, factor > 1 ? 0.1 * log(factor) + 1 : 1);
	if (c->status)
		return;
	double low = pair_that_turns(fast, theta, rope->dims, original);
	double high = pair_that_turns(slow, theta, rope->dims, original);
	low = fmax(truncate ? floor(low) : low, 0);
	high = fmin(truncate ? ceil(high) : high, rope->dims - 1);
	if (low == high)
		high += 0.001;
	for (int i = 0; i < n; i++) {
		double stretched = fmin(fmax((i - low) / (high - low), 0), 1);
		rope->inverse[i] *= stretched / factor + 1 - stretched;
	}
}

int config_add_rope(struct config *c, struct arch *arch, const struct rope_request *request)
{
	const cJSON *params = request->params;
	enum rope_type type = read_type(c, params, request->phi3);
	double theta = config_double(c, params, "rope_theta", 1, 1e15, request->theta);
	double partial = config_double(c, params, "partial_rotary_factor", 0, 1, request->partial);
	if (!request->may_be_partial && partial != 1)
		config_fail(c, "%s: \"partial_rotary_factor\" is %g; this family rotates whole heads, expected 1",
			    c->what, partial);
	/* Truncated, as in the reference. The frequencies are those of `exponent_dims`
	 * numbers; if that is odd, one more number rotates. */
	int exponent_dims = (int)(arch->head_dim * partial);
	int n = (exponent_dims + 1) / 2;
	if (2 * n > arch->head_dim)
		config_fail(c, "%s: a head of odd width %d cannot be rotated", c->what, arch->head_dim);
	if (c->status || n == 0)
		return -1;

	struct arch_rope *rope = &arch->ropes[arch->n_ropes];
	*rope = (struct arch_rope){.dims = 2 * n, .scale = 1};
	rope->inverse = mem_alloc((size_t)n, sizeof *rope->inverse);
	for (int i = 0; i < n; i++)
		rope->inverse[i] = pow(theta, -2.0 * i / exponent_dims);
	if (type == ROPE_LINEAR)
		scale_linear(c, rope, n, params);
	else if (type == ROPE_LLAMA3)
		scale_llama3(c, rope, n, params, (double)original_context(c, arch, request));
	else if (type == ROPE_LONG)
		scale_long(c, arch, rope, n, params, original_context(c, arch, request));
	else if (type == ROPE_YARN)
		scale_yarn(c, rope, n, request, theta, (double)original_context(c, arch, request));
	return arch->n_ropes++;
}
