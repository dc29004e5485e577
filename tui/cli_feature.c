/* `rebound feature LAYER:F`: one feature by itself. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"
#include "sessions/feature_usage.h"
#include "sessions/feature_view.h"
#include "sessions/labels.h"
#include "tui/cli.h"
#include "tui/format.h"

/* What is said of one feature, collected before anything is printed. */
struct feature_report {
	struct opened opened;
	struct session *session;
	int site;
	uint32_t feature;
	int64_t top;
	struct feature_facts facts;
	float *along;		     /* [T]; NULL without an input */
	struct feature_usage *usage; /* NULL without a prompt set */
};

static enum status parse_place(struct feature_report *r, const char *text, struct error *error)
{
	const char *colon = strchr(text, ':');
	int64_t layer = -1, feature = -1;
	char *number = mem_strndup(text, colon ? (size_t)(colon - text) : 0);
	bool good = colon && text_int(number, &layer) && layer >= 0 && layer < ARCH_MAX_LAYERS &&
		    text_int(colon + 1, &feature) && feature >= 0 && feature <= UINT32_MAX;
	free(number);
	if (!good)
		return error_set(error, STATUS_INVALID, "'%s' is no feature: expected LAYER:F such as 2:31", text);
	r->site = session_site_of_layer(r->session, (int)layer);
	r->feature = (uint32_t)feature;
	if (r->site < 0)
		return error_set(error, STATUS_INVALID, "layer %lld has no SAE", (long long)layer);
	return STATUS_OK;
}

static enum status find_along(struct feature_report *r, struct error *error)
{
	struct scene scene;
	enum status status = scene_run(&scene, r->session, session_has_clamps(r->session), error);
	if (status)
		return status;
	r->along = mem_alloc((size_t)scene.prompt, sizeof *r->along);
	status = feature_along(r->session, r->site, r->feature, scene.sites[r->site].h, scene.prompt, r->along, error);
	scene_done(&scene);
	return status;
}

static enum status find_usage(struct feature_report *r, const struct options *o, struct error *error)
{
	const struct prompt_set *set = &r->opened.prompts;
	if (set->count == 0 || !r->session->model.tokenizer)
		return STATUS_OK;
	enum status status = feature_usage_open(&r->usage, r->session, r->site, set, o->no_bos, error);
	int before = status == STATUS_OK ? r->usage->done : 0;
	while (status == STATUS_OK && !feature_usage_complete(r->usage)) {
		status = feature_usage_next(r->usage, r->session, set, o->no_bos, error);
		if (!o->quiet && !o->json && r->usage->done % 10 == 0)
			fprintf(stderr, "\rreading the prompt set: %d of %d", r->usage->done, r->usage->prompts);
	}
	if (r->usage) {
		if (!o->quiet && !o->json && r->usage->done != before)
			fputs("\r\033[K", stderr);
		feature_usage_save(r->usage); /* also what an interruption has left */
	}
	return status;
}

static enum status find_all(struct feature_report *r, const struct cli *cli, struct error *error)
{
	const struct options *o = &cli->options;
	r->session = r->opened.session;
	enum status status = parse_place(r, o->arguments.items[0], error);
	if (status == STATUS_OK)
		status = feature_facts_find(&r->facts, r->session, r->site, r->feature, error);
	if (status == STATUS_OK && r->session->prompt.count > 0)
		status = find_along(r, error);
	if (status == STATUS_OK)
		status = find_usage(r, o, error);
	return status;
}

static int shown(const struct feature_report *r, int count)
{
	return r->top < count ? (int)r->top : count;
}

/* ---- JSON ---- */

static void add_tokens(cJSON *json, const char *key, const struct feature_report *r, const struct feature_score *scores,
		       int count)
{
	cJSON *list = cJSON_AddArrayToObject(json, key);
	for (int i = 0; i < shown(r, count); i++) {
		char *piece = cli_piece(r->session, (int32_t)scores[i].id);
		cJSON *item = cJSON_CreateObject();
		cJSON_AddNumberToObject(item, "id", scores[i].id);
		cJSON_AddStringToObject(item, "piece", piece);
		cJSON_AddNumberToObject(item, "logit", (double)scores[i].score);
		cJSON_AddItemToArray(list, item);
		free(piece);
	}
}

static enum status usage_json(cJSON *json, const struct feature_report *r, bool no_bos, struct error *error)
{
	const struct feature_usage *u = r->usage;
	if (!u) {
		cJSON_AddNullToObject(json, "usage");
		return STATUS_OK;
	}
	cJSON *out = cJSON_AddObjectToObject(json, "usage");
	cJSON_AddNumberToObject(out, "prompts", u->done);
	cJSON_AddNumberToObject(out, "prompts_skipped", u->skipped);
	cJSON_AddNumberToObject(out, "tokens", (double)u->tokens);
	cJSON_AddNumberToObject(out, "active_prompts", u->on_prompts[r->feature]);
	cJSON_AddNumberToObject(out, "active_tokens", u->on_tokens[r->feature]);
	cJSON_AddNumberToObject(out, "frequency",
				u->tokens > 0 ? (double)u->on_tokens[r->feature] / (double)u->tokens : 0);
	cJSON *examples = cJSON_AddArrayToObject(out, "examples");
	const struct usage_example *e = u->examples + (size_t)r->feature * USAGE_EXAMPLES;
	for (int i = 0; i < shown(r, USAGE_EXAMPLES) && e[i].activation != 0; i++) {
		const struct prompt *p = &r->opened.prompts.items[e[i].prompt];
		struct usage_context context;
		enum status status = feature_usage_context(&context, r->session, p, e[i].position, no_bos, error);
		if (status)
			return status;
		cJSON *item = cJSON_CreateObject();
		cJSON_AddStringToObject(item, "prompt", p->id);
		cJSON_AddNumberToObject(item, "position", e[i].position);
		cJSON_AddNumberToObject(item, "activation", (double)e[i].activation);
		cJSON_AddStringToObject(item, "before", context.before);
		cJSON_AddStringToObject(item, "token", context.token);
		cJSON_AddStringToObject(item, "after", context.after);
		cJSON_AddItemToArray(examples, item);
	}
	return STATUS_OK;
}

static enum status print_json(const struct feature_report *r, bool no_bos, struct error *error)
{
	const struct site *site = &r->session->sites[r->site];
	cJSON *json = cJSON_CreateObject();
	cJSON_AddNumberToObject(json, "layer", site->sae.layer);
	cJSON_AddStringToObject(json, "hook", hook_name(site->sae.hook));
	cJSON_AddNumberToObject(json, "feature", r->feature);
	cJSON *labels = cJSON_AddArrayToObject(json, "labels");
	for (int i = 0; i < labels_count(site->labels, r->feature); i++)
		cJSON_AddItemToArray(labels, cJSON_CreateString(labels_get_nth(site->labels, r->feature, i)));
	char *page = feature_page(site, r->feature);
	if (page)
		cJSON_AddStringToObject(json, "page", page);
	else
		cJSON_AddNullToObject(json, "page");
	free(page);
	cJSON_AddNumberToObject(json, "decoder_norm", r->facts.decoder_norm);
	cJSON_AddNumberToObject(json, "encoder_norm", r->facts.encoder_norm);
	if (r->facts.has_alignment)
		cJSON_AddNumberToObject(json, "alignment", r->facts.alignment);
	else
		cJSON_AddNullToObject(json, "alignment");
	if (site->spec.training_rates)
		cJSON_AddNumberToObject(json, "training_rate", (double)site->spec.training_rates[r->feature]);
	else
		cJSON_AddNullToObject(json, "training_rate");
	add_tokens(json, "promoted", r, r->facts.promoted, r->facts.promoted_count);
	add_tokens(json, "demoted", r, r->facts.demoted, r->facts.demoted_count);
	cJSON *nearest = cJSON_AddArrayToObject(json, "nearest");
	for (int i = 0; i < shown(r, r->facts.near_count); i++) {
		cJSON *item = cJSON_CreateObject();
		cJSON_AddNumberToObject(item, "feature", r->facts.near[i].id);
		cJSON_AddNumberToObject(item, "cosine", (double)r->facts.near[i].score);
		cJSON_AddStringToObject(item, "label", labels_get(site->labels, r->facts.near[i].id));
		cJSON_AddItemToArray(nearest, item);
	}
	cJSON *along = r->along ? cJSON_AddArrayToObject(json, "activations") : NULL;
	for (size_t t = 0; r->along && t < r->session->prompt.count; t++) {
		char *piece = cli_piece(r->session, r->session->prompt.ids[t]);
		cJSON *item = cJSON_CreateObject();
		cJSON_AddNumberToObject(item, "position", (double)t);
		cJSON_AddStringToObject(item, "token", piece);
		cJSON_AddNumberToObject(item, "activation", (double)r->along[t]);
		cJSON_AddItemToArray(along, item);
		free(piece);
	}
	enum status status = usage_json(json, r, no_bos, error);
	if (status) {
		cJSON_Delete(json);
		return status;
	}
	return cli_print_json(json, error);
}

/* ---- text ---- */

static void print_tokens(const char *what, const struct feature_report *r, const struct feature_score *scores,
			 int count)
{
	printf("%s", what);
	for (int i = 0; i < shown(r, count); i++) {
		char *piece = cli_piece(r->session, (int32_t)scores[i].id);
		printf("%s'%s' %+.3f", i > 0 ? ", " : " ", piece, (double)scores[i].score);
		free(piece);
	}
	puts(count == 0 ? " none" : "");
}

static enum status print_usage(const struct feature_report *r, bool no_bos, struct error *error)
{
	const struct feature_usage *u = r->usage;
	if (!u)
		return STATUS_OK;
	printf("over %d prompts: active at %u of %lld tokens (%.2f %%), in %u prompts\n", u->done - u->skipped,
	       u->on_tokens[r->feature], (long long)u->tokens,
	       u->tokens > 0 ? 100.0 * (double)u->on_tokens[r->feature] / (double)u->tokens : 0,
	       u->on_prompts[r->feature]);
	if (u->skipped > 0)
		printf("%d prompts could not be read by this model\n", u->skipped);
	const struct usage_example *e = u->examples + (size_t)r->feature * USAGE_EXAMPLES;
	for (int i = 0; i < shown(r, USAGE_EXAMPLES) && e[i].activation != 0; i++) {
		const struct prompt *p = &r->opened.prompts.items[e[i].prompt];
		struct usage_context context;
		char id[64];
		enum status status = feature_usage_context(&context, r->session, p, e[i].position, no_bos, error);
		if (status)
			return status;
		text_printable(id, sizeof id, p->id, strlen(p->id));
		printf("  %9.4f  %s @%u  %s[%s]%s\n", (double)e[i].activation, id, e[i].position, context.before,
		       context.token, context.after);
	}
	return STATUS_OK;
}

static enum status print_text(const struct feature_report *r, bool no_bos, struct error *error)
{
	const struct site *site = &r->session->sites[r->site];
	printf("feature %u of layer %d %s, one of %lld\n", r->feature, site->sae.layer, hook_name(site->sae.hook),
	       (long long)site->sae.features);
	int labels = labels_count(site->labels, r->feature);
	for (int i = 0; i < labels; i++)
		printf("label: %s\n", labels_get_nth(site->labels, r->feature, i));
	char *page = feature_page(site, r->feature);
	if (page)
		printf("page: %s\n", page);
	free(page);
	printf("decoder norm %.4f, encoder norm %.4f", r->facts.decoder_norm, r->facts.encoder_norm);
	if (r->facts.has_alignment)
		printf(", cosine of the two %+.4f", r->facts.alignment);
	puts("");
	if (site->spec.training_rates) {
		char training[FORMAT_TRAINING_SIZE];
		puts(format_training(training, (double)site->spec.training_rates[r->feature]));
	}
	print_tokens("promotes", r, r->facts.promoted, r->facts.promoted_count);
	print_tokens("demotes", r, r->facts.demoted, r->facts.demoted_count);
	puts("nearest by decoder cosine");
	for (int i = 0; i < shown(r, r->facts.near_count); i++)
		printf("  %7u  %+.4f  %s\n", r->facts.near[i].id, (double)r->facts.near[i].score,
		       labels_get(site->labels, r->facts.near[i].id));
	for (size_t t = 0; r->along && t < r->session->prompt.count; t++) {
		char *piece = cli_piece(r->session, r->session->prompt.ids[t]);
		printf("%s%5zu  %-16s %9.4f\n", t == 0 ? "along the prompt\n" : "", t, piece, (double)r->along[t]);
		free(piece);
	}
	return print_usage(r, no_bos, error);
}

enum status cli_feature(const struct cli *cli, struct error *error)
{
	const struct options *o = &cli->options;
	struct feature_report r = {0};
	if (o->arguments.count != 1)
		return error_set(error, STATUS_INVALID, "feature needs one LAYER:F, such as 2:31");
	enum status status = options_int(o->top, "top", 1, INT32_MAX, FEATURE_BEST, &r.top, error);
	if (status == STATUS_OK)
		status = cli_open(&r.opened, cli, NEED_SAES | WANT_PROMPTS, error);
	if (status)
		return status;
	status = find_all(&r, cli, error);
	if (status == STATUS_OK)
		status = o->json ? print_json(&r, o->no_bos, error) : print_text(&r, o->no_bos, error);
	free(r.along);
	feature_usage_destroy(&r.usage);
	options_close(&r.opened);
	return status;
}
