/* Names of places in a model, as the libraries that train SAEs write them. */
#include <string.h>

#include "compute/base/mem.h"
#include "models/sae_reader.h"

static const char *const site_names[SAE_SITE_COUNT] = {
	[SAE_SITE_UNKNOWN] = "unknown",	      [SAE_SITE_RESID_PRE] = "resid_pre",
	[SAE_SITE_RESID_MID] = "resid_mid",   [SAE_SITE_RESID_POST] = "resid_post",
	[SAE_SITE_ATTN_Z] = "attn_z",	      [SAE_SITE_ATTN_OUT] = "attn_out",
	[SAE_SITE_MLP_IN] = "mlp_in",	      [SAE_SITE_MLP_IN_UNSCALED] = "mlp_in_unscaled",
	[SAE_SITE_MLP_HIDDEN] = "mlp_hidden", [SAE_SITE_MLP_OUT] = "mlp_out",
	[SAE_SITE_EMBED] = "embed",
};

const char *sae_site_name(enum sae_site site)
{
	return site_names[site];
}

bool sae_site_hook(enum sae_site site, enum hook *out)
{
	switch (site) {
	case SAE_SITE_RESID_PRE:
		*out = HOOK_RESID_PRE;
		return true;
	case SAE_SITE_RESID_MID:
		*out = HOOK_RESID_MID;
		return true;
	case SAE_SITE_RESID_POST:
		*out = HOOK_RESID_POST;
		return true;
	default:
		return false;
	}
}

enum sae_site sae_site_of_hook(enum hook hook)
{
	static const enum sae_site sites[HOOK_COUNT] = {
		[HOOK_RESID_PRE] = SAE_SITE_RESID_PRE,
		[HOOK_RESID_MID] = SAE_SITE_RESID_MID,
		[HOOK_RESID_POST] = SAE_SITE_RESID_POST,
	};
	return sites[hook];
}

/* What may follow the number of the block. */
static const struct {
	const char *rest;
	enum sae_site site;
} places[] = {
	/* TransformerLens: blocks.4.REST */
	{"hook_resid_pre", SAE_SITE_RESID_PRE},
	{"hook_resid_mid", SAE_SITE_RESID_MID},
	{"hook_resid_post", SAE_SITE_RESID_POST},
	{"hook_attn_out", SAE_SITE_ATTN_OUT},
	{"attn.hook_z", SAE_SITE_ATTN_Z},
	{"hook_mlp_out", SAE_SITE_MLP_OUT},
	{"mlp.hook_post", SAE_SITE_MLP_HIDDEN},
	{"ln2.hook_normalized", SAE_SITE_MLP_IN_UNSCALED},
	{"mlp.hook_in", SAE_SITE_MLP_IN},
	/* Hugging Face: model.layers.4.REST, h.4.REST */
	{"", SAE_SITE_RESID_POST},
	{"output", SAE_SITE_RESID_POST},
	{"input", SAE_SITE_RESID_PRE},
	{"mlp", SAE_SITE_MLP_OUT},
	{"mlp.output", SAE_SITE_MLP_OUT},
	{"mlp.input", SAE_SITE_MLP_IN},
	{"mlp.act", SAE_SITE_MLP_HIDDEN},
	{"attn", SAE_SITE_ATTN_OUT},
	{"attention", SAE_SITE_ATTN_OUT},
	{"self_attn", SAE_SITE_ATTN_OUT},
	{"self_attn.o_proj.input", SAE_SITE_ATTN_Z},
	{"attn.c_proj.input", SAE_SITE_ATTN_Z},
	{"post_feedforward_layernorm.output", SAE_SITE_MLP_OUT},
	{"post_feedforward_layernorm", SAE_SITE_MLP_OUT},
	{"pre_feedforward_layernorm.output", SAE_SITE_MLP_IN},
	{"pre_feedforward_layernorm", SAE_SITE_MLP_IN},
};

/* Sites in front of "_layer_3" (dictionary_learning), or alone. */
static const struct {
	const char *name;
	enum sae_site site;
} words[] = {
	{"resid_pre", SAE_SITE_RESID_PRE},
	{"resid_mid", SAE_SITE_RESID_MID},
	{"resid_post", SAE_SITE_RESID_POST},
	{"attn_out", SAE_SITE_ATTN_OUT},
	{"attn_z", SAE_SITE_ATTN_Z},
	{"mlp_out", SAE_SITE_MLP_OUT},
	{"mlp_in", SAE_SITE_MLP_IN},
	{"embed_tokens", SAE_SITE_EMBED},
	{"embed_in", SAE_SITE_EMBED},
	{"wte", SAE_SITE_EMBED},
	{"hook_embed", SAE_SITE_EMBED},
	{"blocks.0.hook_embed", SAE_SITE_EMBED},
	{"model.embed_tokens", SAE_SITE_EMBED},
};

/* Behind the last of these stands the number of the block. */
static const char *const stems[] = {"blocks.", "layers.", "h."};

bool sae_read_number(const char *text, int64_t *out, const char **rest)
{
	size_t n = strspn(text, "0123456789");
	if (n == 0 || n > 9)
		return false;
	*out = 0;
	for (size_t i = 0; i < n; i++)
		*out = *out * 10 + (text[i] - '0');
	*rest = text + n;
	return true;
}

static bool parse_word(const char *name, enum sae_site *site, int64_t *layer)
{
	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		size_t n = strlen(words[i].name);
		if (strncmp(name, words[i].name, n) != 0)
			continue;
		const char *rest = name + n, *end;
		int64_t number = -1;
		if (strncmp(rest, "_layer_", 7) == 0 && sae_read_number(rest + 7, &number, &end))
			rest = end;
		if (*rest)
			continue;
		*site = words[i].site;
		*layer = number;
		return true;
	}
	return false;
}

bool sae_site_parse(const char *name, enum sae_site *site, int64_t *layer)
{
	*site = SAE_SITE_UNKNOWN;
	*layer = -1;
	if (parse_word(name, site, layer))
		return true;
	for (size_t i = 0; i < ARRAY_LEN(stems); i++) {
		const char *at = name, *found = NULL, *rest;
		while ((at = strstr(at, stems[i]))) {
			if (at == name || at[-1] == '.')
				found = at;
			at++;
		}
		if (!found || !sae_read_number(found + strlen(stems[i]), layer, &rest))
			continue;
		if (*rest == '.')
			rest++;
		else if (*rest)
			continue;
		for (size_t j = 0; j < ARRAY_LEN(places); j++) {
			if (strcmp(rest, places[j].rest) == 0) {
				*site = places[j].site;
				return true;
			}
		}
		return false;
	}
	return false;
}
