#include "models/arch_config.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

bool config_fail(struct config *c, const char *format, ...)
{
	if (c->status)
		return false;
	va_list args;
	va_start(args, format);
	c->status = error_set_v(c->error, STATUS_INVALID, format, args);
	va_end(args);
	return false;
}

bool config_refuse(struct config *c, const cJSON *object, const char *key, const char *expected)
{
	const cJSON *value = cJSON_GetObjectItemCaseSensitive(object, key);
	char *found = value ? cJSON_PrintUnformatted(value) : NULL;
	config_fail(c, "%s: \"%s\" is %.80s; expected %s", c->what, key, found ? found : "absent", expected);
	cJSON_free(found);
	return false;
}

int64_t config_int(struct config *c, const char *key, int64_t least, int64_t most, int64_t otherwise)
{
	int64_t value = otherwise;
	if (c->status == STATUS_OK)
		c->status = json_get_int(c->root, key, least, most, &value, c->what, c->error);
	return c->status ? otherwise : value;
}

double config_double(struct config *c, const cJSON *object, const char *key, double least, double most,
		     double otherwise)
{
	double value = otherwise;
	if (c->status == STATUS_OK)
		c->status = json_get_double(object, key, &value, c->what, c->error);
	if (c->status)
		return otherwise;
	if (!(value >= least && value <= most)) {
		config_fail(c, "%s: \"%s\" is %g; expected a number from %g to %g", c->what, key, value, least, most);
		return otherwise;
	}
	return value;
}

bool config_bool(struct config *c, const char *key, bool otherwise)
{
	bool value = otherwise;
	if (c->status == STATUS_OK)
		c->status = json_get_bool(c->root, key, &value, c->what, c->error);
	return c->status ? otherwise : value;
}

double config_optional(struct config *c, const char *key, double least, double most, double otherwise)
{
	if (!json_has(c->root, key))
		return otherwise;
	return json_member(c->root, key) ? config_double(c, c->root, key, least, most, 0) : 0;
}

enum arch_act config_act(struct config *c, const char *key, enum arch_act otherwise)
{
	static const struct {
		const char *name;
		enum arch_act act;
	} known[] = {
		{"gelu", ARCH_ACT_GELU},
		{"gelu_python", ARCH_ACT_GELU},
		{"gelu_new", ARCH_ACT_GELU_TANH},
		{"gelu_fast", ARCH_ACT_GELU_TANH},
		{"gelu_accurate", ARCH_ACT_GELU_TANH},
		{"gelu_pytorch_tanh", ARCH_ACT_GELU_TANH},
		{"gelu_python_tanh", ARCH_ACT_GELU_TANH},
		{"silu", ARCH_ACT_SILU},
		{"swish", ARCH_ACT_SILU},
		{"relu", ARCH_ACT_RELU},
	};
	const char *name = NULL;
	if (c->status == STATUS_OK)
		c->status = json_get_string(c->root, key, &name, c->what, c->error);
	if (c->status || !name)
		return otherwise;
	for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
		if (strcmp(name, known[i].name) == 0)
			return known[i].act;
	config_refuse(c, c->root, key, "gelu, gelu_new, gelu_pytorch_tanh, silu or relu");
	return otherwise;
}

void config_sizes(struct config *c, struct arch *arch, const struct config_defaults *defaults, const char *eps_key)
{
	arch->d = (int)config_int(c, "hidden_size", 1, ARCH_MAX_WIDTH, defaults->d);
	arch->f = (int)config_int(c, "intermediate_size", 1, ARCH_MAX_F, defaults->f);
	arch->layers = (int)config_int(c, "num_hidden_layers", 1, ARCH_MAX_LAYERS, defaults->layers);
	arch->heads = (int)config_int(c, "num_attention_heads", 1, ARCH_MAX_HEADS, defaults->heads);
	arch->vocab = config_int(c, "vocab_size", 1, ARCH_MAX_VOCAB, defaults->vocab);
	arch->context = config_int(c, "max_position_embeddings", 1, ARCH_MAX_CONTEXT, defaults->context);
	arch->norm_eps = config_double(c, c->root, eps_key, 0, 1, defaults->eps);

	/* Absent means the class default; null means as many as query heads. */
	bool kv_default = defaults->kv_heads > 0 && !json_has(c->root, "num_key_value_heads");
	arch->kv_heads = (int)config_int(c, "num_key_value_heads", 1, ARCH_MAX_HEADS,
					 kv_default ? defaults->kv_heads : arch->heads);
	if (c->status == STATUS_OK && (arch->kv_heads > arch->heads || arch->heads % arch->kv_heads != 0))
		config_fail(c,
			    "%s: %d query heads (\"num_attention_heads\") cannot share %d key/value heads "
			    "(\"num_key_value_heads\"%s) evenly",
			    c->what, arch->heads, arch->kv_heads, kv_default ? ", the family's default" : "");

	bool by_class = defaults->head_dim > 0 && !json_has(c->root, "head_dim");
	bool divided = !by_class && !json_member(c->root, "head_dim");
	if (divided && c->status == STATUS_OK && arch->d % arch->heads != 0)
		config_fail(c,
			    "%s: \"hidden_size\" %d is not a multiple of \"num_attention_heads\" %d, and there is no "
			    "\"head_dim\"",
			    c->what, arch->d, arch->heads);
	int64_t head_dim = by_class ? defaults->head_dim : arch->d / arch->heads;
	arch->head_dim = (int)config_int(c, "head_dim", 1, ARCH_MAX_HEAD_DIM, head_dim);
	if (c->status == STATUS_OK && (int64_t)arch->head_dim * arch->heads > ARCH_MAX_WIDTH)
		config_fail(c, "%s: %d heads of width %d are %" PRId64 " numbers; at most %d are supported", c->what,
			    arch->heads, arch->head_dim, (int64_t)arch->head_dim * arch->heads, ARCH_MAX_WIDTH);
}

static int64_t token_or_none(const struct arch *arch, double id)
{
	return id >= 0 && id < (double)arch->vocab && id == floor(id) ? (int64_t)id : -1;
}

void config_ends(struct config *c, struct arch *arch, const struct config_defaults *defaults)
{
	/* A multimodal file has its own flag around the text model's. */
	bool tied = config_bool(c, "tie_word_embeddings", defaults->tied);
	if (c->status == STATUS_OK)
		c->status = json_get_bool(c->outer, "tie_word_embeddings", &tied, c->what, c->error);
	arch->tied = tied;

	/* Ids outside the vocabulary never occur in a text: they are none. */
	const cJSON *bos = json_member(c->root, "bos_token_id");
	if (bos && !cJSON_IsNumber(bos))
		config_refuse(c, c->root, "bos_token_id", "a token id");
	arch->bos = bos ? token_or_none(arch, bos->valuedouble) : -1;
	if (!json_has(c->root, "bos_token_id"))
		arch->bos = token_or_none(arch, (double)defaults->bos);

	const cJSON *holder = json_has(c->root, "eos_token_id") ? c->root : c->outer;
	const cJSON *eos = json_member(holder, "eos_token_id");
	const cJSON *first = cJSON_IsArray(eos) ? eos->child : eos;
	arch->n_stops = 0;
	for (const cJSON *item = first; item; item = cJSON_IsArray(eos) ? item->next : NULL) {
		if (!cJSON_IsNumber(item)) {
			config_refuse(c, holder, "eos_token_id", "a token id or a list of them");
			break;
		}
		int64_t id = token_or_none(arch, item->valuedouble);
		if (id >= 0 && arch->n_stops < ARCH_MAX_STOPS)
			arch->stop[arch->n_stops++] = id;
	}
	if (!json_has(holder, "eos_token_id")) {
		int64_t id = token_or_none(arch, (double)defaults->eos);
		if (id >= 0)
			arch->stop[arch->n_stops++] = id;
	}
	arch->eos = arch->n_stops > 0 ? arch->stop[0] : -1;
}

bool config_layer_types(struct config *c, int layers, bool *sliding)
{
	const cJSON *types = json_member(c->root, "layer_types");
	if (!types || c->status)
		return false;
	if (!cJSON_IsArray(types))
		return config_refuse(c, c->root, "layer_types", "a list with one entry a layer");
	if (cJSON_GetArraySize(types) != layers)
		return config_fail(c, "%s: \"layer_types\" has %d entries; expected one for each of %d layers", c->what,
				   cJSON_GetArraySize(types), layers);
	int i = 0;
	for (const cJSON *type = types->child; type; type = type->next, i++) {
		const char *name = cJSON_IsString(type) ? type->valuestring : "not a string";
		sliding[i] = strcmp(name, "sliding_attention") == 0;
		if (!sliding[i] && strcmp(name, "full_attention") != 0)
			return config_fail(c,
					   "%s: \"layer_types\" of layer %d is %.60s; expected full_attention or "
					   "sliding_attention",
					   c->what, i, name);
	}
	return true;
}

void config_set_windows(struct config *c, struct arch *arch, const bool *sliding, int64_t window)
{
	for (int l = 0; l < arch->layers; l++) {
		if (sliding[l] && window == 0)
			config_fail(
				c,
				"%s: \"layer_types\" makes layer %d sliding_attention, but no \"sliding_window\" is "
				"in force",
				c->what, l);
		arch->layer[l].window = sliding[l] ? (int)window : 0;
	}
}
