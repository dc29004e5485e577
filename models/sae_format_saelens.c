/* SAELens folders, versions 1 to 6 (FORMATS 3a, 8.3). */
#include "models/sae_reader.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"

static const struct architecture {
	const char *name;
	enum sae_act act;
	bool transcoder, skip;
	bool training; /* a BatchTopK training checkpoint */
} architectures[] = {
	{"standard", SAE_RELU, false, false, false},
	{"gated", SAE_GATED, false, false, false},
	{"jumprelu", SAE_JUMPRELU, false, false, false},
	{"topk", SAE_TOPK, false, false, false},
	{"abstopk", SAE_ABSTOPK, false, false, false},
	{"batchtopk", SAE_JUMPRELU, false, false, true},
	{"matryoshka_batchtopk", SAE_JUMPRELU, false, false, true},
	{"transcoder", SAE_RELU, true, false, false},
	{"skip_transcoder", SAE_RELU, true, true, false},
	{"jumprelu_transcoder", SAE_JUMPRELU, true, false, false},
	{"jumprelu_skip_transcoder", SAE_JUMPRELU, true, true, false},
};

static enum status read_architecture(struct sae_reader *r, const struct architecture **out, struct error *error)
{
	const char *name = "standard";
	enum status status = json_get_string(r->config, "architecture", &name, r->config_what, error);
	if (status)
		return status;
	r->spec->architecture = mem_strdup(name);
	for (size_t i = 0; i < ARRAY_LEN(architectures); i++) {
		if (strcmp(architectures[i].name, name) == 0) {
			*out = &architectures[i];
			return STATUS_OK;
		}
	}
	bool known = strcmp(name, "temporal") == 0 || strcmp(name, "matching_pursuit") == 0;
	return error_set(error, STATUS_INVALID, "'%s': unsupported architecture \"%.60s\"%s", r->spec->config_path,
			 name, known ? ": its features are no function of one position's activation alone" : "");
}

/* Before version 6 the activation function stood apart and could overrule "standard". */
static enum status read_activation(struct sae_reader *r, const struct architecture *architecture, struct error *error)
{
	struct sae_spec *s = r->spec;
	s->act = architecture->act;
	const char *name = "relu";
	enum status status = json_get_string(r->config, "activation_fn", &name, r->config_what, error);
	if (status == STATUS_OK)
		status = json_get_string(r->config, "activation_fn_str", &name, r->config_what, error);
	if (status)
		return status;
	if (s->act != SAE_RELU || strcmp(name, "relu") == 0)
		return STATUS_OK;
	if (strcmp(name, "tanh-relu") == 0)
		s->act = SAE_TANH_RELU;
	else if (strcmp(name, "topk") == 0)
		s->act = SAE_TOPK;
	else
		return error_set(error, STATUS_INVALID,
				 "'%s': unsupported activation function \"%.60s\"; relu, tanh-relu and topk are read",
				 s->config_path, name);
	return STATUS_OK;
}

static enum status read_k(struct sae_reader *r, struct error *error)
{
	struct sae_spec *s = r->spec;
	double k = 0;
	const cJSON *kwargs = json_member(r->config, "activation_fn_kwargs");
	enum status status = STATUS_OK;
	if (cJSON_IsObject(kwargs))
		status = json_get_double(kwargs, "k", &k, r->config_what, error);
	if (status == STATUS_OK)
		status = json_get_double(r->config, "k", &k, r->config_what, error);
	if (status == STATUS_OK)
		status = sae_check_k(r, k, s->config_path, error);
	if (status == STATUS_OK)
		s->k = (int64_t)k;
	return status;
}

static enum status read_norm(struct sae_reader *r, struct error *error)
{
	struct sae_spec *s = r->spec;
	const cJSON *member = json_member(r->config, "normalize_activations");
	const char *name = "none";
	if (cJSON_IsString(member))
		name = member->valuestring;
	else if (cJSON_IsTrue(member))
		name = "expected_average_only_in";
	else if (member && !cJSON_IsFalse(member))
		name = "something that is no string";
	bool average = strcmp(name, "expected_average_only_in") == 0;
	if (strcmp(name, "constant_norm_rescale") == 0)
		s->norm = SAE_NORM_CONSTANT;
	else if (strcmp(name, "layer_norm") == 0)
		s->norm = SAE_NORM_LAYER;
	else if (!average && strcmp(name, "none") != 0)
		return error_set(
			error, STATUS_INVALID,
			"'%s': unsupported normalisation: normalize_activations is \"%.60s\"; none, layer_norm, "
			"constant_norm_rescale and expected_average_only_in are read",
			s->config_path, name);
	s->norm_out = s->norm != SAE_NORM_NONE && !s->transcoder;
	double scale = s->options.activation_scale;
	if (scale != 0 && !(scale > 0 && isfinite(scale)))
		return error_set(error, STATUS_INVALID,
				 "an activation scale of %g was given; a number above 0 was expected", scale);
	if (scale != 0 && !average)
		return error_set(error, STATUS_INVALID,
				 "'%s': an activation scale of %g was given, but normalize_activations is \"%s\", not "
				 "expected_average_only_in",
				 s->config_path, scale, name);
	if (scale != 0) {
		r->plan.scale[ROLE_W_ENC] *= scale;
		r->plan.scale[ROLE_W_DEC] /= scale;
		r->plan.scale[ROLE_B_DEC] /= scale;
	} else if (average) {
		sae_note(r, "normalize_activations is expected_average_only_in, which has no effect without the factor "
			    "that was published beside the SAE");
	}
	return STATUS_OK;
}

/* gpt2-small-res-jb and its relatives were trained on a model whose writing weights
 * were centred; their configuration is too old to say so. */
static bool release_is_centered(const struct sae_reader *r)
{
	static const char *const marks[] = {"GPT2-Small-SAEs-Reformatted", "GPT2-Small-Feature-Splitting", "res-jb"};
	for (size_t i = 0; i < ARRAY_LEN(marks); i++)
		if (strstr(r->where, marks[i]) ||
		    (r->spec->neuronpedia_id && strstr(r->spec->neuronpedia_id, marks[i])))
			return true;
	return false;
}

static enum status read_center(struct sae_reader *r, const cJSON *metadata, struct error *error)
{
	struct sae_spec *s = r->spec;
	const cJSON *kwargs = json_member(metadata, "model_from_pretrained_kwargs");
	bool center = false;
	enum status status = STATUS_OK;
	if (cJSON_IsObject(kwargs)) {
		status = json_get_bool(kwargs, "center_writing_weights", &center, r->config_what, error);
	} else if (release_is_centered(r)) {
		center = true;
		sae_note(r, "its release was trained on centred residuals (center_writing_weights), though the "
			    "configuration does not say so");
		if (!s->neuronpedia_id && strstr(r->where, "GPT2-Small-SAEs-Reformatted") && s->layer >= 0)
			s->neuronpedia_id = mem_printf("gpt2-small/%lld-res-jb", (long long)s->layer);
	}
	s->center_input = center;
	return status;
}

/* Version 6 keeps these in "metadata", older ones at the top. */
static enum status read_metadata(struct sae_reader *r, struct error *error)
{
	struct sae_spec *s = r->spec;
	const cJSON *metadata = json_member(r->config, "metadata");
	if (!cJSON_IsObject(metadata))
		metadata = r->config;
	int64_t head = -1;
	s->prepend_bos = true;
	enum status status = sae_config_string(r, metadata, "hook_point", &s->hook_name, error);
	if (status == STATUS_OK)
		status = sae_config_string(r, metadata, "hook_name", &s->hook_name, error);
	if (status == STATUS_OK)
		status = sae_config_string(r, metadata, "hook_name_out", &s->hook_name_out, error);
	if (status == STATUS_OK)
		status = sae_config_string(r, metadata, "model_name", &s->model_name, error);
	if (status == STATUS_OK)
		status = sae_config_string(r, metadata, "neuronpedia_id", &s->neuronpedia_id, error);
	if (status == STATUS_OK)
		status = json_get_bool(metadata, "prepend_bos", &s->prepend_bos, r->config_what, error);
	if (status == STATUS_OK)
		status = json_get_int(metadata, "context_size", 1, 1 << 30, &s->context_size, r->config_what, error);
	if (status == STATUS_OK)
		status = json_get_int(metadata, "hook_point_layer", 0, 1 << 20, &s->layer, r->config_what, error);
	if (status == STATUS_OK)
		status = json_get_int(metadata, "hook_layer", 0, 1 << 20, &s->layer, r->config_what, error);
	if (status == STATUS_OK)
		status = json_get_int(metadata, "hook_head_index", 0, 1 << 20, &head, r->config_what, error);
	if (status)
		return status;
	if (s->hook_name_out) {
		sae_set_hook(r, s->hook_name_out);
		s->site_out = s->site_in;
		s->site_in = SAE_SITE_UNKNOWN;
	}
	if (s->hook_name)
		sae_set_hook(r, s->hook_name);
	if (head >= 0)
		sae_note(r, "it reads attention head %lld only", (long long)head);
	return read_center(r, metadata, error);
}

static enum status take_tensors(struct sae_reader *r, const struct architecture *architecture, struct error *error)
{
	struct sae_spec *s = r->spec;
	struct sae_plan *plan = &r->plan;
	enum status status = sae_plan_take(r, ROLE_W_ENC, "W_enc", true, false, error);
	if (status == STATUS_OK)
		status = sae_plan_take(r, ROLE_W_DEC, "W_dec", false, false, error);
	if (status == STATUS_OK)
		status = sae_plan_take(r, ROLE_B_DEC, "b_dec", false, false, error);
	if (status == STATUS_OK && architecture->skip)
		status = sae_plan_take(r, ROLE_W_SKIP, "W_skip", true, false, error);
	if (status)
		return status;
	if (s->act == SAE_GATED) {
		status = sae_plan_take(r, ROLE_B_GATE, "b_gate", false, false, error);
		if (status == STATUS_OK)
			status = sae_plan_take(r, ROLE_B_MAG, "b_mag", false, false, error);
		if (status == STATUS_OK)
			status = sae_plan_take(r, ROLE_R_MAG, "r_mag", false, false, error);
	} else {
		status = sae_plan_take(r, ROLE_B_ENC, "b_enc", false, false, error);
	}
	if (status)
		return status;
	if (s->act == SAE_JUMPRELU && !architecture->training) {
		plan->log_threshold =
			!container_find(r->container, "threshold") && container_find(r->container, "log_threshold");
		status = sae_plan_take(r, ROLE_THRESHOLD, plan->log_threshold ? "log_threshold" : "threshold", false,
				       false, error);
	}
	bool factor = false;
	if (status == STATUS_OK)
		status = json_get_bool(r->config, "finetuning_scaling_factor", &factor, r->config_what, error);
	if (status)
		return status;
	const char *name = container_find(r->container, "finetuning_scaling_factor") ? "finetuning_scaling_factor"
										     : "scaling_factor";
	plan->decode_scale_is_ones = !factor;
	return sae_plan_take(r, ROLE_DECODE_SCALE, name, false, !factor, error);
}

/* A BatchTopK training checkpoint is used with the threshold that it learnt. */
static enum status read_training(struct sae_reader *r, struct error *error)
{
	struct sae_spec *s = r->spec;
	if (container_find(r->container, "topk_threshold")) {
		r->plan.one_threshold = true;
		sae_note(r, "a training checkpoint, used for inference with the threshold it learnt");
		return sae_read_scalar(r, "topk_threshold", &r->plan.threshold, error);
	}
	s->act = SAE_BATCHTOPK;
	sae_note(r, "a training checkpoint without a threshold: features depend on the other positions of the prompt");
	enum status status = json_get_double(r->config, "k", &s->batch_k, r->config_what, error);
	if (status == STATUS_OK && !(s->batch_k > 0 && s->batch_k <= (double)s->F))
		status = error_set(error, STATUS_INVALID,
				   "'%s': bad k: %g; a number above 0 and up to the %lld latents was expected",
				   s->config_path, s->batch_k, (long long)s->F);
	return status;
}

enum status sae_read_saelens(struct sae_reader *r, struct error *error)
{
	struct sae_spec *s = r->spec;
	const struct architecture *architecture = NULL;
	enum status status = read_architecture(r, &architecture, error);
	if (status == STATUS_OK)
		status = read_activation(r, architecture, error);
	if (status)
		return status;
	s->transcoder = architecture->transcoder;
	s->subtract_b_dec = !s->transcoder;
	if (!s->transcoder)
		status = json_get_bool(r->config, "apply_b_dec_to_input", &s->subtract_b_dec, r->config_what, error);
	if (status == STATUS_OK)
		status = read_norm(r, error);
	if (status == STATUS_OK)
		status = take_tensors(r, architecture, error);
	if (status == STATUS_OK)
		status = sae_plan_check(r, error);
	if (status == STATUS_OK)
		status = sae_config_expect(r, "d_in", s->d_in, error);
	if (status == STATUS_OK)
		status = sae_config_expect(r, "d_sae", s->F, error);
	if (status == STATUS_OK && s->transcoder)
		status = sae_config_expect(r, "d_out", s->d_out, error);
	if (status == STATUS_OK && (s->act == SAE_TOPK || s->act == SAE_ABSTOPK))
		status = read_k(r, error);
	if (status == STATUS_OK && architecture->training)
		status = read_training(r, error);
	bool rescale = false;
	if (status == STATUS_OK)
		status = json_get_bool(r->config, "rescale_acts_by_decoder_norm", &rescale, r->config_what, error);
	if (rescale && (architecture->training || s->act == SAE_TOPK || s->act == SAE_ABSTOPK))
		r->plan.norms = NORMS_TO_ENCODER;
	if (status == STATUS_OK)
		status = read_metadata(r, error);
	return status;
}
