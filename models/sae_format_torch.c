/* Single torch files: OpenAI's sparse_autoencoder (FORMATS 3f) and Qwen Scope (8.3). */
#include "models/sae_reader.h"

#include <string.h>

#include "compute/base/mem.h"

/* ---- OpenAI ---- */

static const struct {
	const char *folder;
	enum sae_site site;
} openai_sites[] = {
	{"resid_post_mlp", SAE_SITE_RESID_POST}, {"resid_post_attn", SAE_SITE_RESID_MID},
	{"resid_delta_mlp", SAE_SITE_MLP_OUT},	 {"resid_delta_attn", SAE_SITE_ATTN_OUT},
	{"mlp_post_act", SAE_SITE_MLP_HIDDEN},
};

/* .../<site>[_v5_32k]/autoencoders/<layer>.pt */
static void read_openai_path(struct sae_reader *r)
{
	struct sae_spec *s = r->spec;
	char part[256];
	int64_t layer;
	const char *rest;
	sae_path_part(r, 0, part);
	if (sae_read_number(part, &layer, &rest) && strcmp(rest, ".pt") == 0)
		s->layer = layer;
	for (int at = 1; at <= 2; at++) {
		sae_path_part(r, at, part);
		for (size_t i = 0; i < ARRAY_LEN(openai_sites); i++) {
			size_t n = strlen(openai_sites[i].folder);
			if (strncmp(part, openai_sites[i].folder, n) == 0 && (part[n] == '\0' || part[n] == '_'))
				s->site_in = s->site_out = openai_sites[i].site;
		}
	}
}

/* Only TopK normalises its input; a missing activation means ReLU. */
static enum status read_openai_activation(struct sae_reader *r, struct error *error)
{
	struct sae_spec *s = r->spec;
	const struct container_entry *activation = container_find(r->container, "activation");
	const struct container_entry *post = container_find(r->container, "activation_state_dict.postact_fn");
	const char *name = activation && activation->text ? activation->text : "ReLU";
	s->architecture = mem_strdup(name);
	if (strcmp(name, "ReLU") == 0) {
		s->act = SAE_RELU;
		return STATUS_OK;
	}
	if (strcmp(name, "TopK") != 0)
		return error_set(error, STATUS_INVALID, "'%s': unsupported architecture: activation is \"%.60s\"",
				 s->weights_path, name);
	if (post && post->text && strcmp(post->text, "ReLU") != 0)
		return error_set(error, STATUS_INVALID, "'%s': unsupported architecture: TopK followed by \"%.60s\"",
				 s->weights_path, post->text);
	double k = 0;
	s->act = SAE_TOPK;
	s->norm = SAE_NORM_LAYER;
	s->norm_out = true;
	enum status status = sae_read_scalar(r, "activation_state_dict.k", &k, error);
	if (status == STATUS_OK)
		status = sae_check_k(r, k, s->weights_path, error);
	s->k = status ? 0 : (int64_t)k;
	return status;
}

enum status sae_read_openai(struct sae_reader *r, struct error *error)
{
	struct sae_spec *s = r->spec;
	s->subtract_b_dec = true;
	s->model_name = mem_strdup("gpt2-small");
	read_openai_path(r);
	enum status status = sae_plan_take(r, ROLE_W_ENC, "encoder.weight", false, false, error);
	if (status == STATUS_OK)
		status = sae_plan_take(r, ROLE_W_DEC, "decoder.weight", true, false, error);
	if (status == STATUS_OK)
		status = sae_plan_take(r, ROLE_B_ENC, "latent_bias", false, false, error);
	if (status == STATUS_OK)
		status = sae_plan_take(r, ROLE_B_DEC, "pre_bias", false, false, error);
	if (status == STATUS_OK)
		status = sae_plan_check(r, error);
	return status ? status : read_openai_activation(r, error);
}

/* ---- Qwen Scope ---- */

/* The number behind the last `mark` of a folder's name; 0 if there is none. */
static double number_behind(const char *name, const char *mark)
{
	int64_t found = 0, number;
	const char *rest;
	for (const char *at = name; (at = strstr(at, mark)); at++)
		if (sae_read_number(at + strlen(mark), &number, &rest))
			found = number;
	return (double)found;
}

enum status sae_read_qwen_scope(struct sae_reader *r, struct error *error)
{
	struct sae_spec *s = r->spec;
	char part[256];
	const char *rest;
	sae_path_part(r, 0, part);
	if (strncmp(part, "layer", 5) == 0 && !sae_read_number(part + 5, &s->layer, &rest))
		s->layer = -1;
	s->act = SAE_TOPK;
	s->architecture = mem_strdup("topk");
	s->site_in = s->site_out = SAE_SITE_RESID_POST;
	/* Despite the names, W_enc is [F, d] and W_dec [d, F]. */
	enum status status = sae_plan_take(r, ROLE_W_ENC, "W_enc", false, false, error);
	if (status == STATUS_OK)
		status = sae_plan_take(r, ROLE_W_DEC, "W_dec", true, false, error);
	if (status == STATUS_OK)
		status = sae_plan_take(r, ROLE_B_ENC, "b_enc", false, false, error);
	if (status == STATUS_OK)
		status = sae_plan_take(r, ROLE_B_DEC, "b_dec", false, false, error);
	if (status == STATUS_OK)
		status = sae_plan_check(r, error);
	if (status)
		return status;
	/* SAE-Res-<model>-W32K-L0_<k>, at most three folders up (a cache adds two). */
	double k = 0;
	for (int i = 1; i <= 3 && k == 0; i++) {
		sae_path_part(r, i, part);
		k = number_behind(part, "L0_");
		char *end = strstr(part, "-W");
		if (k > 0 && strncmp(part, "SAE-Res-", 8) == 0 && end)
			s->model_name = mem_strndup(part + 8, (size_t)(end - part - 8));
	}
	if (k == 0)
		return error_set(
			error, STATUS_INVALID,
			"'%s': bad k: a Qwen Scope SAE keeps the k largest latents, and k stands only in the name of "
			"its folder, which should end in L0_<k>",
			s->weights_path);
	status = sae_check_k(r, k, s->weights_path, error);
	s->k = status ? 0 : (int64_t)k;
	return status;
}
