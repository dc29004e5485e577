/* dictionary_learning: trainer_i/ae.pt and config.json (FORMATS 3d, 8.3). */
#include "models/sae_reader.h"

#include <stdio.h>
#include <string.h>

#include "compute/base/mem.h"

enum class {
	CLASS_AUTO_ENCODER,
	CLASS_AUTO_ENCODER_NEW,
	CLASS_GATED,
	CLASS_JUMPRELU,
	CLASS_TOPK,
	CLASS_BATCH_TOPK,
	CLASS_MATRYOSHKA,
};

static const char *const class_names[] = {
	[CLASS_AUTO_ENCODER] = "AutoEncoder",
	[CLASS_AUTO_ENCODER_NEW] = "AutoEncoderNew",
	[CLASS_GATED] = "GatedAutoEncoder",
	[CLASS_JUMPRELU] = "JumpReluAutoEncoder",
	[CLASS_TOPK] = "AutoEncoderTopK",
	[CLASS_BATCH_TOPK] = "BatchTopKSAE",
	[CLASS_MATRYOSHKA] = "MatryoshkaBatchTopKSAE",
};

/* Names of tensors: as they are, or below "ae." in a training checkpoint. */
struct names {
	const char *prefix;
	char buffer[64];
};

static const char *full(struct names *names, const char *name)
{
	snprintf(names->buffer, sizeof names->buffer, "%s%s", names->prefix, name);
	return names->buffer;
}

static bool has(const struct sae_reader *r, struct names *names, const char *name)
{
	return container_find(r->container, full(names, name)) != NULL;
}

/* Without a configuration, where the tensors leave no doubt. */
static bool guess_class(const struct sae_reader *r, struct names *names, enum class *out)
{
	if (has(r, names, "group_sizes"))
		*out = CLASS_MATRYOSHKA;
	else if (has(r, names, "decoder_bias") && has(r, names, "gate_bias"))
		*out = CLASS_GATED;
	else if (has(r, names, "W_enc") && has(r, names, "threshold"))
		*out = CLASS_JUMPRELU;
	else if (has(r, names, "decoder.bias"))
		*out = CLASS_AUTO_ENCODER_NEW;
	else if (has(r, names, "bias"))
		*out = CLASS_AUTO_ENCODER;
	else
		return false;
	return true;
}

static enum status read_class(struct sae_reader *r, const cJSON *trainer, struct names *names, enum class *out,
			      struct error *error)
{
	const char *name = NULL;
	enum status status = trainer ? json_get_string(trainer, "dict_class", &name, r->config_what, error) : STATUS_OK;
	if (status)
		return status;
	if (!name) {
		if (!guess_class(r, names, out))
			return error_set(
				error, STATUS_INVALID,
				"'%s': bad config: nothing says of which class this dictionary is: a config.json with "
				"trainer.dict_class was expected beside it",
				r->spec->weights_path);
		sae_note(r, "the class %s is inferred from the tensors: there is no config.json", class_names[*out]);
		r->spec->architecture = mem_strdup(class_names[*out]);
		return STATUS_OK;
	}
	r->spec->architecture = mem_strdup(name);
	for (size_t i = 0; i < ARRAY_LEN(class_names); i++) {
		if (strcmp(name, class_names[i]) == 0) {
			*out = (enum class)i;
			return STATUS_OK;
		}
	}
	return error_set(error, STATUS_INVALID, "'%s': unsupported architecture: dict_class is \"%.60s\"",
			 r->spec->config_path, name);
}

static enum status take(struct sae_reader *r, struct names *names, enum sae_role role, const char *name,
			bool transposed, struct error *error)
{
	return sae_plan_take(r, role, full(names, name), transposed, false, error);
}

/* nn.Linear's encoder [F, d] and decoder [d, F]. */
static enum status take_linear(struct sae_reader *r, struct names *names, const char *b_enc, const char *b_dec,
			       struct error *error)
{
	enum status status = take(r, names, ROLE_W_ENC, "encoder.weight", false, error);
	if (status == STATUS_OK)
		status = take(r, names, ROLE_W_DEC, "decoder.weight", true, error);
	if (status == STATUS_OK && b_enc)
		status = take(r, names, ROLE_B_ENC, b_enc, false, error);
	if (status == STATUS_OK)
		status = take(r, names, ROLE_B_DEC, b_dec, false, error);
	return status;
}

/* Plain parameters W_enc [d, F] and W_dec [F, d]. */
static enum status take_plain(struct sae_reader *r, struct names *names, struct error *error)
{
	enum status status = take(r, names, ROLE_W_ENC, "W_enc", true, error);
	if (status == STATUS_OK)
		status = take(r, names, ROLE_W_DEC, "W_dec", false, error);
	if (status == STATUS_OK)
		status = take(r, names, ROLE_B_ENC, "b_enc", false, error);
	if (status == STATUS_OK)
		status = take(r, names, ROLE_B_DEC, "b_dec", false, error);
	return status;
}

static enum status take_gated(struct sae_reader *r, struct names *names, struct error *error)
{
	enum status status = take_linear(r, names, NULL, "decoder_bias", error);
	if (status == STATUS_OK)
		status = take(r, names, ROLE_B_GATE, "gate_bias", false, error);
	if (status == STATUS_OK)
		status = take(r, names, ROLE_B_MAG, "mag_bias", false, error);
	if (status == STATUS_OK)
		status = take(r, names, ROLE_R_MAG, "r_mag", false, error);
	return status;
}

static enum status take_tensors(struct sae_reader *r, struct names *names, enum class class, struct error *error)
{
	struct sae_spec *s = r->spec;
	s->subtract_b_dec = true;
	switch (class) {
	case CLASS_AUTO_ENCODER:
		s->act = SAE_RELU;
		/* The library's loader makes the decoder's columns of unit norm. */
		if (!s->options.saelens_reading)
			r->plan.norms = NORMS_TO_ENCODER;
		return take_linear(r, names, "encoder.bias", "bias", error);
	case CLASS_AUTO_ENCODER_NEW:
		s->act = SAE_RELU;
		s->subtract_b_dec = false;
		return take_linear(r, names, "encoder.bias", "decoder.bias", error);
	case CLASS_GATED:
		s->act = SAE_GATED;
		return take_gated(r, names, error);
	case CLASS_JUMPRELU: {
		s->act = SAE_JUMPRELU;
		s->subtract_b_dec = false;
		enum status status = take_plain(r, names, error);
		return status ? status : take(r, names, ROLE_THRESHOLD, "threshold", false, error);
	}
	case CLASS_TOPK:
		s->act = SAE_TOPK;
		return take_linear(r, names, "encoder.bias", "b_dec", error);
	case CLASS_BATCH_TOPK:
		s->act = SAE_JUMPRELU;
		r->plan.one_threshold = true;
		return take_linear(r, names, "encoder.bias", "b_dec", error);
	case CLASS_MATRYOSHKA:
		s->act = SAE_JUMPRELU;
		r->plan.one_threshold = true;
		return take_plain(r, names, error);
	}
	fatal("take_tensors: class %d", (int)class);
}

/* k of a top-k dictionary: a tensor, and the trainer's setting; they must agree. */
static enum status read_k(struct sae_reader *r, struct names *names, const cJSON *trainer, struct error *error)
{
	double stored = 0, configured = 0;
	enum status status = has(r, names, "k") ? sae_read_scalar(r, full(names, "k"), &stored, error) : STATUS_OK;
	if (status == STATUS_OK && trainer)
		status = json_get_double(trainer, "k", &configured, r->config_what, error);
	if (status)
		return status;
	if (stored != 0 && configured != 0 && stored != configured)
		return error_set(error, STATUS_INVALID, "'%s': bad k: the tensor says %g, '%s' says %g",
				 r->spec->weights_path, stored, r->spec->config_path, configured);
	double k = stored != 0 ? stored : configured;
	status = sae_check_k(r, k, r->spec->weights_path, error);
	if (status == STATUS_OK)
		r->spec->k = (int64_t)k;
	return status;
}

static enum status read_threshold(struct sae_reader *r, struct names *names, struct error *error)
{
	enum status status = sae_read_scalar(r, full(names, "threshold"), &r->plan.threshold, error);
	if (status == STATUS_OK && r->plan.threshold < 0)
		sae_note(r, "its threshold is %g, not yet learnt: it acts as a plain ReLU", r->plan.threshold);
	return status;
}

/* The trainer's settings, or what the path says: resid_post_layer_3/trainer_0/ae.pt. */
static enum status read_place(struct sae_reader *r, const cJSON *trainer, struct error *error)
{
	struct sae_spec *s = r->spec;
	char part[256];
	enum sae_site site;
	int64_t layer;
	for (int i = 1; i <= 2; i++)
		if (sae_site_parse(sae_path_part(r, i, part), &site, &layer))
			sae_set_hook(r, part);
	enum status status = STATUS_OK;
	if (trainer) {
		status = sae_config_string(r, trainer, "lm_name", &s->model_name, error);
		if (status == STATUS_OK)
			status = sae_config_string(r, trainer, "submodule_name", &s->hook_name, error);
		if (status == STATUS_OK)
			status = json_get_int(trainer, "layer", 0, 1 << 20, &s->layer, r->config_what, error);
	}
	layer = s->layer;
	if (s->hook_name)
		sae_set_hook(r, s->hook_name);
	if (layer >= 0)
		s->layer = layer;
	if (s->site_in == SAE_SITE_UNKNOWN && s->layer >= 0) {
		s->site_in = s->site_out = SAE_SITE_RESID_POST;
		sae_note(r, "resid_post is assumed: neither configuration nor path names another place");
	}
	const cJSON *buffer = r->config ? json_member(r->config, "buffer") : NULL;
	if (status == STATUS_OK && cJSON_IsObject(buffer))
		status = json_get_int(buffer, "ctx_len", 1, 1 << 30, &s->context_size, r->config_what, error);
	return status;
}

static enum status expect(struct sae_reader *r, const cJSON *trainer, const char *key, int64_t found,
			  struct error *error)
{
	int64_t size = found;
	enum status status = json_get_int(trainer, key, 1, INT64_MAX, &size, r->config_what, error);
	if (status == STATUS_OK && size != found)
		status = error_set(error, STATUS_INVALID,
				   "'%s': shape mismatch: \"%s\" is %lld, but the tensors of '%s' have %lld",
				   r->spec->config_path, key, (long long)size, r->spec->weights_path, (long long)found);
	return status;
}

enum status sae_read_dictionary_learning(struct sae_reader *r, struct error *error)
{
	struct sae_spec *s = r->spec;
	const cJSON *trainer = r->config ? json_member(r->config, "trainer") : NULL;
	if (trainer && !cJSON_IsObject(trainer))
		return error_set(error, STATUS_INVALID, "%s: \"trainer\" is not an object", r->config_what);
	struct names names = {.prefix = ""};
	if (container_find(r->container, "ae.encoder.weight") || container_find(r->container, "ae.W_enc"))
		names.prefix = "ae.";
	s->prepend_bos = true;
	enum class class = CLASS_AUTO_ENCODER;
	enum status status = read_class(r, trainer, &names, &class, error);
	if (status == STATUS_OK)
		status = take_tensors(r, &names, class, error);
	if (status == STATUS_OK)
		status = sae_plan_check(r, error);
	if (status == STATUS_OK && trainer)
		status = expect(r, trainer, "activation_dim", s->d_in, error);
	if (status == STATUS_OK && trainer)
		status = expect(r, trainer, "dict_size", s->F, error);
	if (status == STATUS_OK && s->act == SAE_TOPK)
		status = read_k(r, &names, trainer, error);
	if (status == STATUS_OK && r->plan.one_threshold)
		status = read_threshold(r, &names, error);
	return status ? status : read_place(r, trainer, error);
}
