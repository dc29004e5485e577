/* Gemma 2 and Gemma 3: four norms of 1 + w, soft caps or q/k norms, sliding and
 * full layers in turn (FORMATS 2.3, 2.4, 8.1). */
#include <math.h>

#include "models/arch_config.h"

static const struct config_defaults gemma2_defaults = {.d = 2304,
						       .f = 9216,
						       .layers = 26,
						       .heads = 8,
						       .kv_heads = 4,
						       .head_dim = 256,
						       .vocab = 256000,
						       .context = 8192,
						       .eps = 1e-6,
						       .theta = 10000,
						       .tied = true,
						       .bos = 2,
						       .eos = 1};
static const struct config_defaults gemma3_defaults = {.d = 2304,
						       .f = 9216,
						       .layers = 26,
						       .heads = 8,
						       .kv_heads = 4,
						       .head_dim = 256,
						       .vocab = 262208,
						       .context = 131072,
						       .eps = 1e-6,
						       .theta = 1000000,
						       .tied = true,
						       .bos = 2,
						       .eos = 1};

static void read_windows(struct config *c, struct arch *arch, bool *sliding)
{
	int64_t pattern = 2;
	if (arch->family == ARCH_GEMMA3)
		pattern = config_int(c, "sliding_window_pattern", 1, INT32_MAX, 6);
	for (int l = 0; l < arch->layers; l++)
		sliding[l] = (l + 1) % pattern != 0;
	bool listed = config_layer_types(c, arch->layers, sliding);

	/* null: the class then makes no sliding mask, unless the list asks for one. */
	int64_t window = (int64_t)config_optional(c, "sliding_window", 1, INT32_MAX, 4096);
	if (window == 0 && !listed)
		for (int l = 0; l < arch->layers; l++)
			sliding[l] = false;
	config_set_windows(c, arch, sliding, window);
}

static void read_one_rope(struct config *c, struct arch *arch)
{
	struct rope_request rope = {
		.params = config_rope_params(c),
		.theta = config_double(c, c->root, "rope_theta", 1, 1e15, gemma2_defaults.theta),
		.partial = config_double(c, c->root, "partial_rotary_factor", 0, 1, 1),
	};
	int index = config_add_rope(c, arch, &rope);
	for (int l = 0; l < arch->layers; l++)
		arch->layer[l].rope = index;
}

/* The parameters of one kind of layer in rope_parameters, or NULL. */
static const cJSON *rope_of(struct config *c, const cJSON *parameters, const char *type)
{
	const cJSON *params = json_member(parameters, type);
	if (params && !cJSON_IsObject(params)) {
		config_refuse(c, parameters, type, "an object or null");
		return NULL;
	}
	return params;
}

/* Full layers and sliding layers have a rotation each. rope_scaling, the old key,
 * belongs to the full layers. */
static void read_two_ropes(struct config *c, struct arch *arch, const bool *sliding)
{
	const cJSON *parameters = json_member(c->root, "rope_parameters");
	const cJSON *full = rope_of(c, parameters, "full_attention");
	const cJSON *local = rope_of(c, parameters, "sliding_attention");
	const cJSON *scaling = rope_of(c, c->root, "rope_scaling");
	if (parameters && !full && !local && (!cJSON_IsObject(parameters) || parameters->child))
		config_refuse(c, c->root, "rope_parameters",
			      "an object with \"full_attention\" and \"sliding_attention\"");
	if (scaling && full)
		config_refuse(c, c->root, "rope_scaling", "only one of \"rope_scaling\" and \"rope_parameters\"");
	double partial = config_double(c, c->root, "partial_rotary_factor", 0, 1, 1);
	struct rope_request global = {
		.params = scaling ? scaling : full,
		.theta = config_double(c, c->root, "rope_theta", 1, 1e15, gemma3_defaults.theta),
		.partial = partial,
	};
	struct rope_request nearby = {
		.params = local,
		.theta = config_double(c, c->root, "rope_local_base_freq", 1, 1e15, 10000),
		.partial = partial,
	};
	int full_index = config_add_rope(c, arch, &global);
	int local_index = config_add_rope(c, arch, &nearby);
	for (int l = 0; l < arch->layers; l++)
		arch->layer[l].rope = sliding[l] ? local_index : full_index;
}

void arch_config_gemma(struct config *c, struct arch *arch)
{
	bool third = arch->family == ARCH_GEMMA3;
	const struct config_defaults *defaults = third ? &gemma3_defaults : &gemma2_defaults;
	config_sizes(c, arch, defaults, "rms_norm_eps");
	arch->embed_scale = sqrt(arch->d);
	arch->norm = ARCH_NORM_RMS_PLUS;
	arch->post_norms = true;
	arch->qk_norm = third;
	arch->act = config_act(c, "hidden_activation", ARCH_ACT_GELU_TANH);
	arch->gated = true;
	arch->q_bias = arch->o_bias = config_bool(c, "attention_bias", false);

	/* Gemma 3's attention has no cap whatever the config says, and its multimodal
	 * class none on the logits. */
	if (!third)
		arch->score_softcap = config_optional(c, "attn_logit_softcapping", 1e-3, 1e6, 50);
	if (c->root == c->outer)
		arch->logit_softcap = config_optional(c, "final_logit_softcapping", 1e-3, 1e6, third ? 0 : 30);
	double score_scale = 1 / sqrt(config_double(c, c->root, "query_pre_attn_scalar", 1e-6, 1e9, 256));
	for (int l = 0; l < arch->layers; l++)
		arch->layer[l].score_scale = score_scale;

	bool sliding[ARCH_MAX_LAYERS] = {false};
	read_windows(c, arch, sliding);
	if (third)
		read_two_ropes(c, arch, sliding);
	else
		read_one_rope(c, arch);
	config_ends(c, arch, defaults);
}
