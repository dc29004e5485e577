/* The OpenMOSS library: Llama Scope as published in 2024, Llama Scope R1, and the
 * current form (FORMATS 3e, 8.3). */
#include "models/sae_reader.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"

/* Settings that the three forms share. */
struct settings {
	const char *act;
	const char *norm;
	bool subtract, include_norm, use_decoder_bias;
};

static enum status read_settings(struct sae_reader *r, struct settings *out, struct error *error)
{
	struct sae_spec *s = r->spec;
	*out = (struct settings){.act = "relu", .norm = "none", .include_norm = true, .use_decoder_bias = true};
	bool glu = false;
	const char *type = "sae", *what = r->config_what;
	enum status status = json_get_string(r->config, "act_fn", &out->act, what, error);
	if (status == STATUS_OK)
		status = json_get_string(r->config, "norm_activation", &out->norm, what, error);
	if (status == STATUS_OK)
		status = json_get_bool(r->config, "apply_decoder_bias_to_pre_encoder", &out->subtract, what, error);
	if (status == STATUS_OK)
		status = json_get_bool(r->config, "sparsity_include_decoder_norm", &out->include_norm, what, error);
	if (status == STATUS_OK)
		status = json_get_bool(r->config, "use_decoder_bias", &out->use_decoder_bias, what, error);
	if (status == STATUS_OK)
		status = json_get_bool(r->config, "use_glu_encoder", &glu, what, error);
	if (status == STATUS_OK)
		status = json_get_string(r->config, "sae_type", &type, what, error);
	if (status == STATUS_OK)
		status = sae_config_string(r, r->config, "hook_point_in", &s->hook_name, error);
	if (status == STATUS_OK)
		status = sae_config_string(r, r->config, "hook_point_out", &s->hook_name_out, error);
	if (status)
		return status;
	s->architecture = mem_strdup(out->act);
	if (glu || (strcmp(type, "sae") != 0 && strcmp(type, "transcoder") != 0))
		return error_set(error, STATUS_INVALID, "'%s': unsupported architecture: %s%.40s", s->config_path,
				 glu ? "a GLU encoder, in an SAE of type " : "sae_type is ", type);
	if (s->hook_name_out) {
		sae_set_hook(r, s->hook_name_out);
		s->site_out = s->site_in;
		s->site_in = SAE_SITE_UNKNOWN;
	}
	if (s->hook_name)
		sae_set_hook(r, s->hook_name);
	s->transcoder = s->hook_name && s->hook_name_out && strcmp(s->hook_name, s->hook_name_out) != 0;
	s->subtract_b_dec = out->subtract && !s->transcoder;
	s->prepend_bos = true;
	return STATUS_OK;
}

static enum status take_linear(struct sae_reader *r, const struct settings *settings, struct error *error)
{
	enum status status = sae_plan_take(r, ROLE_W_ENC, "encoder.weight", false, false, error);
	if (status == STATUS_OK)
		status = sae_plan_take(r, ROLE_B_ENC, "encoder.bias", false, false, error);
	if (status == STATUS_OK)
		status = sae_plan_take(r, ROLE_W_DEC, "decoder.weight", true, false, error);
	if (status == STATUS_OK)
		status = sae_plan_take(r, ROLE_B_DEC, "decoder.bias", false, !settings->use_decoder_bias, error);
	return status;
}

static enum status check_sizes(struct sae_reader *r, struct error *error)
{
	struct sae_spec *s = r->spec;
	double expansion = 0;
	enum status status = sae_config_expect(r, "d_model", s->d_in, error);
	if (status == STATUS_OK)
		status = sae_config_expect(r, "d_sae", s->F, error);
	if (status == STATUS_OK)
		status = json_get_double(r->config, "expansion_factor", &expansion, r->config_what, error);
	if (status == STATUS_OK && expansion != 0 && !json_has(r->config, "d_sae") &&
	    floor((double)s->d_in * expansion) != (double)s->F)
		status = error_set(
			error, STATUS_INVALID,
			"'%s': shape mismatch: expansion_factor %g of %lld inputs is not the %lld latents of '%s'",
			s->config_path, expansion, (long long)s->d_in, (long long)s->F, s->weights_path);
	return status;
}

static enum status check_average(struct sae_reader *r, double average, struct error *error)
{
	if (average > 0 && isfinite(average))
		return STATUS_OK;
	return error_set(error, STATUS_INVALID,
			 "'%s': bad config: the average activation norm is %g; a number above 0 was expected",
			 r->spec->path, average);
}

static enum status unsupported_act(struct sae_reader *r, const char *act, struct error *error)
{
	return error_set(error, STATUS_INVALID, "'%s': unsupported architecture: act_fn is \"%.40s\"",
			 r->spec->config_path, act);
}

/* ---- Llama Scope, 2024: hyperparams.json ---- */

/* Llama3_1-8B-Base-L8R-8x: its page on Neuronpedia is llama3.1-8b/8-llamascope-res-32k. */
static void read_release(struct sae_reader *r)
{
	static const struct {
		const char *ending, *set;
	} sets[] = {
		{"R-8x", "res-32k"},   {"A-8x", "att-32k"},   {"M-8x", "mlp-32k"},
		{"R-32x", "res-131k"}, {"A-32x", "att-131k"}, {"M-32x", "mlp-131k"},
	};
	static const char stem[] = "Llama3_1-8B-Base-L";
	char part[256];
	const char *rest;
	int64_t layer;
	sae_path_part(r, 2, part);
	if (strncmp(part, stem, sizeof stem - 1) != 0 || !sae_read_number(part + sizeof stem - 1, &layer, &rest))
		return;
	r->spec->model_name = mem_strdup("Llama-3.1-8B");
	for (size_t i = 0; i < ARRAY_LEN(sets); i++)
		if (strcmp(rest, sets[i].ending) == 0)
			r->spec->neuronpedia_id =
				mem_printf("llama3.1-8b/%lld-llamascope-%s", (long long)layer, sets[i].set);
}

/* x raw -> features of unit decoder columns on the scale of raw activations. SAELens
 * gives features sqrt(d)/average times larger, and leaves the norms. */
static void plan_llama_scales(struct sae_reader *r, double in, double out)
{
	double *scale = r->plan.scale;
	double s_in = sqrt((double)r->spec->d_in) / in, s_out = sqrt((double)r->spec->d_out) / out;
	if (r->spec->options.saelens_reading) {
		scale[ROLE_W_ENC] = s_in;
		scale[ROLE_THRESHOLD] = s_in;
		scale[ROLE_W_DEC] = 1 / s_in;
		scale[ROLE_B_DEC] = 1 / s_in;
		r->plan.norms = NORMS_KEEP;
	} else {
		scale[ROLE_B_ENC] = 1 / s_in;
		scale[ROLE_W_DEC] = s_in / s_out;
		scale[ROLE_B_DEC] = 1 / s_out;
	}
}

static enum status read_average(struct sae_reader *r, double *in, double *out, struct error *error)
{
	const cJSON *average = json_member(r->config, "dataset_average_activation_norm");
	if (!cJSON_IsObject(average))
		return error_set(error, STATUS_INVALID,
				 "%s: there is no object dataset_average_activation_norm with \"in\" and \"out\"",
				 r->config_what);
	enum status status = json_get_double(average, "in", in, r->config_what, error);
	if (status == STATUS_OK)
		status = json_get_double(average, "out", out, r->config_what, error);
	if (status == STATUS_OK)
		status = check_average(r, *in, error);
	return status ? status : check_average(r, *out, error);
}

enum status sae_read_llama_scope(struct sae_reader *r, struct error *error)
{
	struct sae_spec *s = r->spec;
	struct settings settings;
	enum status status = read_settings(r, &settings, error);
	if (status == STATUS_OK)
		status = take_linear(r, &settings, error);
	if (status == STATUS_OK)
		status = sae_plan_check(r, error);
	if (status == STATUS_OK)
		status = check_sizes(r, error);
	if (status)
		return status;
	read_release(r);
	r->plan.norms = settings.include_norm ? NORMS_TO_ENCODER : NORMS_KEEP;
	if (strcmp(settings.act, "jumprelu") == 0) {
		s->act = SAE_JUMPRELU;
		r->plan.one_threshold = true;
		status = json_get_double(r->config, "jump_relu_threshold", &r->plan.threshold, r->config_what, error);
	} else if (strcmp(settings.act, "relu") == 0) {
		s->act = SAE_RELU;
	} else {
		status = unsupported_act(r, settings.act, error);
	}
	if (status == STATUS_OK && r->plan.threshold < 0)
		status = error_set(error, STATUS_INVALID,
				   "%s: jump_relu_threshold is %g; negative features are not supported", r->config_what,
				   r->plan.threshold);
	if (status == STATUS_OK && strcmp(settings.norm, "dataset-wise") == 0) {
		double in = 0, out = 0;
		status = read_average(r, &in, &out, error);
		if (status == STATUS_OK)
			plan_llama_scales(r, in, out);
	} else if (status == STATUS_OK && strcmp(settings.norm, "none") != 0 &&
		   strcmp(settings.norm, "inference") != 0) {
		status = error_set(error, STATUS_INVALID,
				   "'%s': unsupported normalisation: norm_activation is \"%.40s\"", s->config_path,
				   settings.norm);
	}
	return status;
}

/* ---- Llama Scope R1 and the current library: config.json ---- */

/* Scales from the scalar tensors dataset_average_activation_norm.<hook>. */
static enum status plan_current_scales(struct sae_reader *r, struct error *error)
{
	struct sae_spec *s = r->spec;
	double average[2] = {0, 0};
	const char *hooks[2] = {s->hook_name, s->hook_name_out ? s->hook_name_out : s->hook_name};
	for (int i = 0; i < 2; i++) {
		if (!hooks[i])
			return error_set(error, STATUS_INVALID, "%s: there is no hook_point_in", r->config_what);
		char *name = mem_printf("dataset_average_activation_norm.%s", hooks[i]);
		enum status status = sae_read_scalar(r, name, &average[i], error);
		free(name);
		if (status == STATUS_OK)
			status = check_average(r, average[i], error);
		if (status)
			return status;
	}
	double s_out = sqrt((double)s->d_out) / average[1];
	r->plan.scale[ROLE_W_ENC] = sqrt((double)s->d_in) / average[0];
	r->plan.scale[ROLE_W_DEC] = 1 / s_out;
	r->plan.scale[ROLE_B_DEC] = 1 / s_out;
	return STATUS_OK;
}

static enum status read_norm(struct sae_reader *r, const struct settings *settings, struct error *error)
{
	struct sae_spec *s = r->spec;
	if (strcmp(settings->norm, "dataset-wise") == 0)
		return plan_current_scales(r, error);
	if (strcmp(settings->norm, "inference") == 0 || strcmp(settings->norm, "none") == 0)
		return STATUS_OK;
	if (strcmp(settings->norm, "token-wise") == 0 && !s->transcoder) {
		s->norm = SAE_NORM_CONSTANT;
		s->norm_out = true;
		return STATUS_OK;
	}
	return error_set(error, STATUS_INVALID, "'%s': unsupported normalisation: norm_activation is \"%.40s\"",
			 s->config_path, settings->norm);
}

static enum status read_current_act(struct sae_reader *r, const struct settings *settings, struct error *error)
{
	struct sae_spec *s = r->spec;
	double k = 0;
	if (strcmp(settings->act, "relu") == 0) {
		s->act = SAE_RELU;
		return STATUS_OK;
	}
	if (strcmp(settings->act, "jumprelu") == 0) {
		s->act = SAE_JUMPRELU;
		if (settings->include_norm && !s->options.saelens_reading)
			r->plan.norms = NORMS_TO_GATE;
		return STATUS_OK;
	}
	/* The choice by h n with features h has no form here unless n plays no part. */
	if (strcmp(settings->act, "topk") != 0 || settings->include_norm)
		return unsupported_act(r, settings->act, error);
	s->act = SAE_TOPK;
	enum status status = json_get_double(r->config, "top_k", &k, r->config_what, error);
	if (status == STATUS_OK)
		status = sae_check_k(r, k, s->config_path, error);
	s->k = (int64_t)k;
	return status;
}

static enum status take_current(struct sae_reader *r, const struct settings *settings, struct error *error)
{
	if (!container_find(r->container, "W_E"))
		return take_linear(r, settings, error);
	enum status status = sae_plan_take(r, ROLE_W_ENC, "W_E", true, false, error);
	if (status == STATUS_OK)
		status = sae_plan_take(r, ROLE_B_ENC, "b_E", false, false, error);
	if (status == STATUS_OK)
		status = sae_plan_take(r, ROLE_W_DEC, "W_D", false, false, error);
	if (status == STATUS_OK)
		status = sae_plan_take(r, ROLE_B_DEC, "b_D", false, !settings->use_decoder_bias, error);
	return status;
}

enum status sae_read_openmoss(struct sae_reader *r, struct error *error)
{
	struct sae_spec *s = r->spec;
	struct settings settings;
	enum status status = read_settings(r, &settings, error);
	if (status == STATUS_OK)
		status = take_current(r, &settings, error);
	if (status == STATUS_OK && strcmp(settings.act, "jumprelu") == 0) {
		const char *name = container_find(r->container, "activation_function.log_jumprelu_threshold")
					   ? "activation_function.log_jumprelu_threshold"
					   : "log_jumprelu_threshold";
		r->plan.log_threshold = true;
		status = sae_plan_take(r, ROLE_THRESHOLD, name, false, false, error);
	}
	if (status == STATUS_OK)
		status = sae_plan_check(r, error);
	if (status == STATUS_OK)
		status = check_sizes(r, error);
	if (status == STATUS_OK)
		status = read_current_act(r, &settings, error);
	if (status == STATUS_OK)
		status = read_norm(r, &settings, error);
	if (status == STATUS_OK && s->act == SAE_JUMPRELU)
		sae_note(r, "features are on the scale of normalised activations");
	return status;
}
