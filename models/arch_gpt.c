/* GPT-2 and GPT-NeoX (Pythia): layer norms with biases, no gate (FORMATS 2.1, 2.2). */
#include <math.h>

#include "models/arch_config.h"

/* GPT-2's own key, or the general name that its class accepts as well. */
static int64_t either_int(struct config *c, const char *key, const char *general, int64_t most, int64_t otherwise)
{
	return config_int(c, key, 1, most, config_int(c, general, 1, most, otherwise));
}

void arch_config_gpt2(struct config *c, struct arch *arch)
{
	static const struct config_defaults defaults = {.tied = true, .bos = 50256, .eos = 50256};
	arch->d = (int)either_int(c, "n_embd", "hidden_size", ARCH_MAX_WIDTH, 768);
	arch->layers = (int)either_int(c, "n_layer", "num_hidden_layers", ARCH_MAX_LAYERS, 12);
	arch->heads = (int)either_int(c, "n_head", "num_attention_heads", ARCH_MAX_HEADS, 12);
	arch->context = either_int(c, "n_positions", "max_position_embeddings", ARCH_MAX_CONTEXT, 1024);
	arch->vocab = config_int(c, "vocab_size", 1, ARCH_MAX_VOCAB, 50257);
	arch->f = (int)config_int(c, "n_inner", 1, ARCH_MAX_F, 4 * (int64_t)arch->d);
	arch->kv_heads = arch->heads;
	if (c->status == STATUS_OK && arch->d % arch->heads != 0)
		config_fail(c, "%s: \"n_embd\" %d is not a multiple of \"n_head\" %d", c->what, arch->d, arch->heads);
	arch->head_dim = arch->d / arch->heads;
	arch->learned_positions = true;
	arch->norm = ARCH_NORM_LAYER;
	arch->norm_eps = config_double(c, c->root, "layer_norm_epsilon", 0, 1, 1e-5);
	arch->act = config_act(c, "activation_function", ARCH_ACT_GELU_TANH);
	arch->q_bias = arch->o_bias = arch->mlp_bias = true;

	bool scale = config_bool(c, "scale_attn_weights", true);
	bool by_layer = config_bool(c, "scale_attn_by_inverse_layer_idx", false);
	for (int l = 0; l < arch->layers; l++) {
		arch->layer[l].rope = -1;
		arch->layer[l].score_scale = (scale ? 1 / sqrt(arch->head_dim) : 1) / (by_layer ? l + 1 : 1);
	}
	config_ends(c, arch, &defaults);
}

void arch_config_neox(struct config *c, struct arch *arch)
{
	static const struct config_defaults defaults = {.d = 6144,
							.f = 24576,
							.layers = 44,
							.heads = 64,
							.vocab = 50432,
							.context = 2048,
							.eps = 1e-5,
							.theta = 10000,
							.bos = 0,
							.eos = 2};
	config_sizes(c, arch, &defaults, "layer_norm_eps");
	/* NeoX has neither grouped keys nor a width of its own for heads. */
	if (c->status == STATUS_OK && (arch->kv_heads != arch->heads || arch->head_dim * arch->heads != arch->d))
		config_fail(c,
			    "%s: expected as many key/value heads as heads and a head width of hidden_size / "
			    "num_attention_heads; found %d, %d and %d",
			    c->what, arch->kv_heads, arch->heads, arch->head_dim);
	arch->norm = ARCH_NORM_LAYER;
	arch->act = config_act(c, "hidden_act", ARCH_ACT_GELU);
	arch->parallel_residual = config_bool(c, "use_parallel_residual", true);
	arch->q_bias = arch->o_bias = config_bool(c, "attention_bias", true);
	arch->mlp_bias = true;

	/* Old files say rotary_pct and rotary_emb_base, new ones use rope_parameters. */
	struct rope_request rope = {.params = config_rope_params(c), .may_be_partial = true};
	rope.theta = config_double(c, c->root, "rope_theta", 1, 1e15, defaults.theta);
	rope.theta = config_double(c, c->root, "rotary_emb_base", 1, 1e15, rope.theta);
	rope.partial = config_double(c, c->root, "rotary_pct", 0, 1, 0.25);
	int index = config_add_rope(c, arch, &rope);
	for (int l = 0; l < arch->layers; l++) {
		arch->layer[l].rope = index;
		arch->layer[l].score_scale = 1 / sqrt(arch->head_dim);
	}
	config_ends(c, arch, &defaults);
}
