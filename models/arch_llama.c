/* Llama and the families that share its block: Mistral, Qwen 2, Qwen 3 and Phi-3
 * (FORMATS 2.5 to 2.8). */
#include <math.h>

#include "models/arch_config.h"

static const struct config_defaults llama_defaults = {.d = 4096,
						      .f = 11008,
						      .layers = 32,
						      .heads = 32,
						      .vocab = 32000,
						      .context = 2048,
						      .eps = 1e-6,
						      .theta = 10000,
						      .bos = 1,
						      .eos = 2};
static const struct config_defaults mistral_defaults = {.d = 4096,
							.f = 14336,
							.layers = 32,
							.heads = 32,
							.kv_heads = 8,
							.vocab = 32000,
							.context = 131072,
							.eps = 1e-6,
							.theta = 10000,
							.bos = 1,
							.eos = 2};
static const struct config_defaults qwen2_defaults = {.d = 4096,
						      .f = 22016,
						      .layers = 32,
						      .heads = 32,
						      .kv_heads = 32,
						      .vocab = 151936,
						      .context = 32768,
						      .eps = 1e-6,
						      .theta = 10000,
						      .bos = -1,
						      .eos = -1};
static const struct config_defaults qwen3_defaults = {.d = 4096,
						      .f = 22016,
						      .layers = 32,
						      .heads = 32,
						      .kv_heads = 32,
						      .head_dim = 128,
						      .vocab = 151936,
						      .context = 32768,
						      .eps = 1e-6,
						      .theta = 10000,
						      .bos = -1,
						      .eos = -1};
static const struct config_defaults phi3_defaults = {.d = 3072,
						     .f = 8192,
						     .layers = 32,
						     .heads = 32,
						     .vocab = 32064,
						     .context = 4096,
						     .eps = 1e-5,
						     .theta = 10000,
						     .bos = 1,
						     .eos = 32000};

static const struct config_defaults *defaults_of(enum arch_family family)
{
	switch (family) {
	case ARCH_MISTRAL:
		return &mistral_defaults;
	case ARCH_QWEN2:
		return &qwen2_defaults;
	case ARCH_QWEN3:
		return &qwen3_defaults;
	case ARCH_PHI3:
		return &phi3_defaults;
	default:
		return &llama_defaults;
	}
}

/* Llama never slides, Mistral and Phi-3 slide everywhere or nowhere, Qwen from
 * layer max_window_layers on if it is told to. Only Qwen's classes read
 * layer_types: elsewhere one that says otherwise is refused, not guessed about. */
static void read_windows(struct config *c, struct arch *arch)
{
	bool sliding[ARCH_MAX_LAYERS] = {false}, listed[ARCH_MAX_LAYERS];
	bool qwen = arch->family == ARCH_QWEN2 || arch->family == ARCH_QWEN3;
	int64_t window = 0, first = 0;
	if (arch->family == ARCH_MISTRAL || qwen)
		window = (int64_t)config_optional(c, "sliding_window", 1, INT32_MAX, 4096);
	else if (arch->family == ARCH_PHI3)
		window = (int64_t)config_optional(c, "sliding_window", 1, INT32_MAX, 0);
	if (qwen) {
		if (!config_bool(c, "use_sliding_window", false))
			window = 0;
		first = config_int(c, "max_window_layers", 0, INT32_MAX, 28);
	}
	for (int l = 0; l < arch->layers; l++)
		sliding[l] = window > 0 && l >= first;
	if (config_layer_types(c, arch->layers, listed)) {
		for (int l = 0; l < arch->layers; l++) {
			if (!qwen && listed[l] != sliding[l])
				config_fail(c,
					    "%s: \"layer_types\" of layer %d is %s_attention; expected %s, as "
					    "everywhere in this %s model",
					    c->what, l, listed[l] ? "sliding" : "full", sliding[l] ? "sliding" : "full",
					    arch_family_name(arch->family));
			sliding[l] = listed[l];
		}
	}
	config_set_windows(c, arch, sliding, window);
}

static void read_biases(struct config *c, struct arch *arch)
{
	if (arch->family == ARCH_LLAMA || arch->family == ARCH_QWEN3)
		arch->q_bias = arch->o_bias = config_bool(c, "attention_bias", false);
	else if (arch->family == ARCH_QWEN2)
		arch->q_bias = true;
	if (arch->family == ARCH_LLAMA)
		arch->mlp_bias = config_bool(c, "mlp_bias", false);
}

void arch_config_llama(struct config *c, struct arch *arch)
{
	const struct config_defaults *defaults = defaults_of(arch->family);
	config_sizes(c, arch, defaults, "rms_norm_eps");
	arch->norm = ARCH_NORM_RMS;
	arch->qk_norm = arch->family == ARCH_QWEN3;
	arch->act = config_act(c, "hidden_act", ARCH_ACT_SILU);
	arch->gated = true;
	read_biases(c, arch);

	struct rope_request rope = {
		.params = config_rope_params(c),
		.theta = config_double(c, c->root, "rope_theta", 1, 1e15, defaults->theta),
		.partial = config_double(c, c->root, "partial_rotary_factor", 0, 1, 1),
		.may_be_partial = arch->family == ARCH_PHI3,
		.phi3 = arch->family == ARCH_PHI3,
	};
	int index = config_add_rope(c, arch, &rope);
	for (int l = 0; l < arch->layers; l++) {
		arch->layer[l].rope = index;
		arch->layer[l].score_scale = 1 / sqrt(arch->head_dim);
	}
	read_windows(c, arch);
	config_ends(c, arch, defaults);
}
