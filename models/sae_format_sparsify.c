/* EleutherAI's sparsify: a folder per hook point (FORMATS 3c, 8.3). */
#include "models/sae_reader.h"

#include <string.h>

#include "compute/base/mem.h"

static enum status read_activation(struct sae_reader *r, struct error *error)
{
	struct sae_spec *s = r->spec;
	const char *name = "topk";
	bool is_signed = false;
	enum status status = json_get_string(r->config, "activation", &name, r->config_what, error);
	if (status == STATUS_OK)
		status = json_get_bool(r->config, "signed", &is_signed, r->config_what, error);
	if (status)
		return status;
	s->architecture = mem_strdup(name);
	if (strcmp(name, "topk") == 0) {
		/* Between June and August 2024 the largest by magnitude, sign kept. */
		s->act = is_signed ? SAE_ABSTOPK : SAE_TOPK;
	} else if (strcmp(name, "groupmax") == 0) {
		s->act = SAE_GROUPMAX;
	} else {
		return error_set(error, STATUS_INVALID,
				 "'%s': unsupported architecture: activation is \"%.60s\"; topk and groupmax are read",
				 s->config_path, name);
	}
	return STATUS_OK;
}

static enum status read_sizes(struct sae_reader *r, struct error *error)
{
	struct sae_spec *s = r->spec;
	int64_t latents = 0, expansion = 0;
	double k = 0;
	enum status status = sae_config_expect(r, "d_in", s->d_in, error);
	if (status == STATUS_OK)
		status = json_get_int(r->config, "num_latents", 0, 1 << 30, &latents, r->config_what, error);
	if (status == STATUS_OK)
		status = json_get_int(r->config, "expansion_factor", 0, 1 << 20, &expansion, r->config_what, error);
	if (status == STATUS_OK)
		status = json_get_double(r->config, "k", &k, r->config_what, error);
	if (status)
		return status;
	if (latents == 0)
		latents = s->d_in * expansion;
	if (latents && latents != s->F)
		return error_set(error, STATUS_INVALID,
				 "'%s': shape mismatch: it describes %lld latents, the tensors of '%s' have %lld",
				 s->config_path, (long long)latents, s->weights_path, (long long)s->F);
	status = sae_check_k(r, k, s->config_path, error);
	if (status)
		return status;
	s->k = (int64_t)k;
	if (s->act == SAE_GROUPMAX && s->F % s->k)
		return error_set(error, STATUS_INVALID, "'%s': bad k: %lld groups do not divide %lld latents evenly",
				 s->config_path, (long long)s->k, (long long)s->F);
	return STATUS_OK;
}

enum status sae_read_sparsify(struct sae_reader *r, struct error *error)
{
	struct sae_spec *s = r->spec;
	bool skip = false;
	char hook_point[256];
	s->hook_name = mem_strdup(sae_path_part(r, 1, hook_point));
	sae_set_hook(r, hook_point);
	enum status status = read_activation(r, error);
	if (status == STATUS_OK)
		status = json_get_bool(r->config, "transcode", &s->transcoder, r->config_what, error);
	if (status == STATUS_OK)
		status = json_get_bool(r->config, "skip_connection", &skip, r->config_what, error);
	if (status)
		return status;
	s->subtract_b_dec = !s->transcoder;
	if (s->transcoder && s->site_in == SAE_SITE_MLP_OUT)
		s->site_in = SAE_SITE_MLP_IN; /* a module's name stands for its input and its output */
	status = sae_plan_take(r, ROLE_W_ENC, "encoder.weight", false, false, error);
	if (status == STATUS_OK)
		status = sae_plan_take(r, ROLE_B_ENC, "encoder.bias", false, false, error);
	if (status == STATUS_OK)
		status = sae_plan_take(r, ROLE_W_DEC, "W_dec", false, false, error);
	if (status == STATUS_OK)
		status = sae_plan_take(r, ROLE_B_DEC, "b_dec", false, false, error);
	if (status == STATUS_OK && skip)
		status = sae_plan_take(r, ROLE_W_SKIP, "W_skip", true, false, error);
	if (status == STATUS_OK)
		status = sae_plan_check(r, error);
	return status ? status : read_sizes(r, error);
}
