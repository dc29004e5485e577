/* Gemma Scope (params.npz, no configuration) and Gemma Scope 2 (FORMATS 3b, 8.3). */
#include "models/sae_reader.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"

static enum status take_tensors(struct sae_reader *r, bool skip, struct error *error)
{
	/* Names are matched whatever their case. */
	enum status status = sae_plan_take(r, ROLE_W_ENC, "W_enc", true, false, error);
	if (status == STATUS_OK)
		status = sae_plan_take(r, ROLE_W_DEC, "W_dec", false, false, error);
	if (status == STATUS_OK)
		status = sae_plan_take(r, ROLE_B_ENC, "b_enc", false, false, error);
	if (status == STATUS_OK)
		status = sae_plan_take(r, ROLE_B_DEC, "b_dec", false, false, error);
	if (status == STATUS_OK)
		status = sae_plan_take(r, ROLE_THRESHOLD, "threshold", false, false, error);
	/* [d_in, d_out] as it is used. */
	if (status == STATUS_OK && skip)
		status = sae_plan_take(r, ROLE_W_SKIP, "affine_skip_connection", false, false, error);
	return status;
}

/* A transcoder's sizes may differ; whether this is one, only names and sizes tell. */
static void see_transcoder(struct sae_reader *r)
{
	const struct container_entry *w_enc = container_find(r->container, "W_enc");
	const struct container_entry *w_dec = container_find(r->container, "W_dec");
	if (w_enc && w_dec && w_enc->shape.rank == 2 && w_dec->shape.rank == 2 &&
	    w_enc->shape.shape[1] == w_dec->shape.shape[0] && w_enc->shape.shape[0] != w_dec->shape.shape[1])
		r->spec->transcoder = true;
}

/* .../<repository>/layer_L/width_W/average_l0_N/params.npz; a cache may put two more
 * folders between the repository and the layer. */
static void read_path(struct sae_reader *r)
{
	struct sae_spec *s = r->spec;
	char part[256];
	int at = 1, layer_at = -1;
	for (; at < 6 && *sae_path_part(r, at, part); at++) {
		int64_t layer;
		const char *rest;
		if (strncmp(part, "layer_", 6) == 0 && sae_read_number(part + 6, &layer, &rest) && !*rest) {
			s->layer = layer;
			layer_at = at;
			break;
		}
		if (strcmp(part, "embedding") == 0) {
			s->site_in = s->site_out = SAE_SITE_EMBED;
			sae_note(r, "trained on the embeddings before their scale by sqrt(d)");
			return;
		}
	}
	bool known = false;
	for (int i = layer_at + 1; layer_at >= 0 && i <= layer_at + 3 && !known; i++) {
		sae_path_part(r, i, part);
		known = true;
		if (strstr(part, "transcoder")) {
			s->transcoder = true;
			s->site_in = SAE_SITE_MLP_IN_UNSCALED;
			s->site_out = SAE_SITE_MLP_OUT;
		} else if (strstr(part, "-mlp")) {
			s->site_in = s->site_out = SAE_SITE_MLP_OUT;
		} else if (strstr(part, "-att")) {
			s->site_in = s->site_out = SAE_SITE_ATTN_Z;
		} else if (strstr(part, "-res")) {
			s->site_in = s->site_out = SAE_SITE_RESID_POST;
		} else {
			known = false;
		}
		char *family = strstr(part, "gemma-scope-");
		char size[16];
		if (known && family && sscanf(family, "gemma-scope-%15[0-9b]-", size) == 1)
			s->model_name = mem_printf("gemma-2-%s", size);
	}
	if (!known && layer_at >= 0) {
		s->site_in = s->site_out = SAE_SITE_RESID_POST;
		sae_note(r, "resid_post is assumed: no folder's name says another place");
	}
}

enum status sae_read_gemma_scope(struct sae_reader *r, struct error *error)
{
	struct sae_spec *s = r->spec;
	s->act = SAE_JUMPRELU;
	s->architecture = mem_strdup("jumprelu");
	s->prepend_bos = true;
	s->context_size = 1024;
	read_path(r);
	see_transcoder(r);
	enum status status = take_tensors(r, false, error);
	return status ? status : sae_plan_check(r, error);
}

/* .../<site>/layer_7_width_16k_l0_small[_affine]/params.safetensors */
static void read_path_2(struct sae_reader *r)
{
	struct sae_spec *s = r->spec;
	char folder[256], kind[256];
	const char *rest;
	sae_path_part(r, 1, folder);
	sae_path_part(r, 2, kind);
	if (strncmp(folder, "layer_", 6) == 0 && !sae_read_number(folder + 6, &s->layer, &rest))
		s->layer = -1;
	if (strncmp(kind, "transcoder", 10) == 0) {
		s->transcoder = true;
		s->site_in = SAE_SITE_MLP_IN;
		s->site_out = SAE_SITE_MLP_OUT;
	} else if (strncmp(kind, "attn_out", 8) == 0) {
		/* Their name for the input of the output projection. */
		s->site_in = s->site_out = SAE_SITE_ATTN_Z;
	} else if (strncmp(kind, "mlp_out", 7) == 0) {
		s->site_in = s->site_out = SAE_SITE_MLP_OUT;
	} else if (strncmp(kind, "resid_post", 10) == 0) {
		s->site_in = s->site_out = SAE_SITE_RESID_POST;
	}
}

static enum status read_config_2(struct sae_reader *r, bool *affine, struct error *error)
{
	struct sae_spec *s = r->spec;
	const char *architecture = "jump_relu";
	enum status status = json_get_string(r->config, "architecture", &architecture, r->config_what, error);
	if (status == STATUS_OK && strcmp(architecture, "jump_relu") != 0 && strcmp(architecture, "jumprelu") != 0)
		status = error_set(error, STATUS_INVALID,
				   "'%s': unsupported architecture \"%.60s\"; jump_relu was expected", s->config_path,
				   architecture);
	if (status == STATUS_OK)
		status = json_get_bool(r->config, "affine_connection", affine, r->config_what, error);
	if (status == STATUS_OK)
		status = sae_config_string(r, r->config, "model_name", &s->model_name, error);
	if (status == STATUS_OK)
		status = sae_config_string(r, r->config, "hf_hook_point_in", &s->hook_name, error);
	if (status == STATUS_OK)
		status = sae_config_string(r, r->config, "hf_hook_point_out", &s->hook_name_out, error);
	if (status)
		return status;
	if (s->hook_name_out) {
		sae_set_hook(r, s->hook_name_out);
		s->site_out = s->site_in;
	}
	if (s->hook_name)
		sae_set_hook(r, s->hook_name);
	if (s->hook_name && !s->hook_name_out)
		s->site_out = s->site_in;
	s->transcoder = s->site_in != s->site_out;
	return STATUS_OK;
}

enum status sae_read_gemma_scope_2(struct sae_reader *r, struct error *error)
{
	struct sae_spec *s = r->spec;
	s->act = SAE_JUMPRELU;
	s->architecture = mem_strdup("jump_relu");
	s->prepend_bos = true;
	bool affine = container_find(r->container, "affine_skip_connection") != NULL;
	read_path_2(r);
	enum status status = r->config ? read_config_2(r, &affine, error) : STATUS_OK;
	if (status)
		return status;
	see_transcoder(r);
	if (!affine && container_find(r->container, "affine_skip_connection"))
		return error_set(
			error, STATUS_INVALID,
			"'%s': bad config: affine_connection is false, but '%s' holds an affine_skip_connection",
			s->config_path, s->weights_path);
	status = take_tensors(r, affine, error);
	return status ? status : sae_plan_check(r, error);
}
