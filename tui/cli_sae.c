/* Commands that concern SAEs in a model: features, attribute. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/file.h"
#include "compute/base/mem.h"
#include "models/npy.h"
#include "sessions/attribute.h"
#include "sessions/hooked_sae.h"
#include "sessions/labels.h"
#include "tui/cli.h"

/* ---- features ---- */

struct ranked {
	uint32_t feature;
	float activation;
};

static int by_activation(const void *a, const void *b)
{
	const struct ranked *x = a, *y = b;
	if (x->activation != y->activation)
		return x->activation > y->activation ? -1 : 1;
	return (x->feature > y->feature) - (x->feature < y->feature);
}

static cJSON *position_json(const struct session *session, const struct site *site, int64_t position, const float *z,
			    int64_t k, bool print)
{
	int64_t F = site->sae.features, n = 0;
	struct ranked *all = mem_alloc((size_t)F, sizeof *all);
	for (int64_t f = 0; f < F; f++)
		if (z[f] != 0)
			all[n++] = (struct ranked){(uint32_t)f, z[f]};
	qsort(all, (size_t)n, sizeof *all, by_activation);
	char *token = cli_piece(session, session->prompt.ids[position]);
	cJSON *json = cJSON_CreateObject(), *features = cJSON_CreateArray();
	cJSON_AddNumberToObject(json, "position", (double)position);
	cJSON_AddStringToObject(json, "token", token);
	cJSON_AddItemToObject(json, "features", features);
	if (print)
		printf("position %lld  %s  (%lld active)\n", (long long)position, token, (long long)n);
	for (int64_t i = 0; i < n && i < k; i++) {
		const char *label = labels_get(site->labels, all[i].feature);
		cJSON *item = cJSON_CreateObject();
		cJSON_AddNumberToObject(item, "feature", all[i].feature);
		cJSON_AddNumberToObject(item, "activation", (double)all[i].activation);
		cJSON_AddStringToObject(item, "label", label);
		cJSON_AddItemToArray(features, item);
		if (print)
			printf("  %7u  %10.4f  %s\n", all[i].feature, (double)all[i].activation, label);
	}
	free(token);
	free(all);
	return json;
}

/* Which site a command means: the only one, or that of --layer. */
enum status cli_choose_site(const struct session *session, const struct options *o, int *site, struct error *error)
{
	int64_t layer;
	if (session->site_count == 0)
		return error_set(error, STATUS_INVALID, "%s needs an SAE; give one with --sae", o->command);
	enum status status = options_int(o->layer, "layer", 0, ARCH_MAX_LAYERS - 1,
					 session->sites[session->site_count - 1].sae.layer, &layer, error);
	if (status)
		return status;
	*site = session_site_of_layer(session, (int)layer);
	if (*site < 0)
		return error_set(error, STATUS_INVALID, "layer %lld has no SAE", (long long)layer);
	return STATUS_OK;
}

cJSON *cli_fit_json(const struct sae_fit *fit)
{
	cJSON *json = cJSON_CreateObject();
	double recovered;
	cJSON_AddNumberToObject(json, "fvu", fit->fvu);
	cJSON_AddNumberToObject(json, "explained_variance", 1 - fit->fvu);
	cJSON_AddNumberToObject(json, "l0", fit->l0);
	cJSON_AddNumberToObject(json, "cosine", fit->cosine);
	cJSON_AddNumberToObject(json, "dead", fit->dead);
	cJSON_AddNumberToObject(json, "positions", (double)fit->rows);
	if (splice_loss_recovered(&fit->loss, &recovered))
		cJSON_AddNumberToObject(json, "loss_recovered", recovered);
	else
		cJSON_AddNullToObject(json, "loss_recovered");
	cJSON *loss = fit->loss.tokens > 0 ? cJSON_AddObjectToObject(json, "cross_entropy")
					   : cJSON_AddNullToObject(json, "cross_entropy");
	if (fit->loss.tokens > 0) {
		cJSON_AddNumberToObject(loss, "tokens", (double)fit->loss.tokens);
		cJSON_AddNumberToObject(loss, "clean", fit->loss.clean);
		cJSON_AddNumberToObject(loss, "spliced", fit->loss.spliced);
		cJSON_AddNumberToObject(loss, "zeroed", fit->loss.zeroed);
	}
	return json;
}

void cli_fit_print(const struct sae_fit *fit)
{
	double recovered;
	printf("fvu %.4f, explained variance %.4f, L0 %.1f, cosine %.4f, silent on this prompt %.1f %%\n", fit->fvu,
	       1 - fit->fvu, fit->l0, fit->cosine, 100 * fit->dead);
	if (fit->loss.tokens == 0)
		return;
	printf("cross-entropy %.4f, with the SAE spliced in %.4f, with zeros %.4f", fit->loss.clean, fit->loss.spliced,
	       fit->loss.zeroed);
	if (splice_loss_recovered(&fit->loss, &recovered))
		printf(": loss recovered %.4f\n", recovered);
	else
		printf(": there is no loss to recover\n");
}

enum status cli_features(const struct cli *cli, struct error *error)
{
	const struct options *o = &cli->options;
	struct opened opened;
	int64_t k, position = -1;
	enum status status = options_int(o->top, "top", 1, INT32_MAX, 20, &k, error);
	if (status == STATUS_OK)
		status = cli_open(&opened, cli, NEED_INPUT | NEED_SAES, error);
	if (status)
		return status;
	struct session *session = opened.session;
	int64_t T = (int64_t)session->prompt.count;
	const char *which = o->position ? o->position : "last";
	bool all = strcmp(which, "all") == 0;
	struct scene scene = {0};
	struct sae_fit fit = {0};
	int site = 0;
	status = cli_choose_site(session, o, &site, error);
	if (status == STATUS_OK && !all && strcmp(which, "last") != 0)
		status = options_int(which, "position", 0, T - 1, 0, &position, error);
	if (position < 0)
		position = T - 1;
	if (status == STATUS_OK)
		status = scene_run(&scene, session, session_has_clamps(session), error);
	if (status == STATUS_OK)
		status = sae_fit_measure(&fit, &scene, site, error);
	if (status == STATUS_OK)
		status = sae_fit_measure_loss(&fit, &scene, site, error);
	const struct site *s = &session->sites[site];
	char warning[256];
	if (status == STATUS_OK && sae_fit_warning(warning, sizeof warning, &fit, s->sae.features))
		fprintf(stderr, "layer %d: %s\n", s->sae.layer, warning);
	cJSON *json = cJSON_CreateObject(), *positions = cJSON_CreateArray();
	float *z = status == STATUS_OK ? mem_alloc((size_t)s->sae.features, sizeof *z) : NULL;
	int64_t F = status == STATUS_OK ? s->sae.features : 0;
	float *rows = status == STATUS_OK && o->npy ? mem_alloc((size_t)(T * F), sizeof *rows) : NULL;
	if (status == STATUS_OK) {
		cJSON_AddNumberToObject(json, "layer", s->sae.layer);
		cJSON_AddStringToObject(json, "hook", hook_name(s->sae.hook));
		cJSON_AddNumberToObject(json, "fvu", fit.fvu);
		cJSON_AddNumberToObject(json, "l0", fit.l0);
		cJSON_AddItemToObject(json, "fit", cli_fit_json(&fit));
		if (!o->json) {
			printf("layer %d %s: ", s->sae.layer, hook_name(s->sae.hook));
			cli_fit_print(&fit);
		}
	}
	cJSON_AddItemToObject(json, "positions", positions);
	int64_t written = 0;
	for (int64_t p = all ? 0 : position; p < (all ? T : position + 1) && status == STATUS_OK; p++) {
		status = scene_features(&scene, site, p, z, error);
		if (status == STATUS_OK)
			cJSON_AddItemToArray(positions, position_json(session, s, p, z, k, !o->json));
		if (status == STATUS_OK && rows)
			memcpy(rows + F * written++, z, (size_t)F * sizeof *z);
	}
	if (status == STATUS_OK && rows) {
		int64_t shape[] = {written, F};
		status = npy_write_float(o->npy, rows, 2, shape, error);
	}
	if (status == STATUS_OK && o->json)
		status = cli_print_json(json, error);
	else
		cJSON_Delete(json);
	free(rows);
	free(z);
	scene_done(&scene);
	options_close(&opened);
	return status;
}

/* ---- attribute ---- */

static int by_attribution(const void *a, const void *b)
{
	const struct attribution *x = a, *y = b;
	if (x->attribution != y->attribution)
		return x->attribution > y->attribution ? -1 : 1;
	return (x->layer > y->layer) - (x->layer < y->layer);
}

/* All sites' rankings in one list, or that of --layer. */
static enum status rank_sites(struct session *session, struct scene *base, int only, struct attribution **out,
			      int64_t *count, struct error *error)
{
	enum status status = STATUS_OK;
	*out = NULL;
	*count = 0;
	for (int i = 0; i < session->site_count && status == STATUS_OK; i++) {
		struct attribution *part;
		int64_t n;
		if (only >= 0 && i != only)
			continue;
		status = attribute_rank(&part, &n, session, base, i, error);
		if (status)
			break;
		session_drop_unused_saes(session); /* one at a time is enough */
		*out = mem_resize(*out, (size_t)(*count + n), sizeof **out);
		memcpy(*out + *count, part, (size_t)n * sizeof *part);
		*count += n;
		free(part);
	}
	if (status == STATUS_OK && *count > 0)
		qsort(*out, (size_t)*count, sizeof **out, by_attribution);
	return status;
}

enum status cli_attribute(const struct cli *cli, struct error *error)
{
	const struct options *o = &cli->options;
	/* Over a set of prompts it is another matter. */
	bool set = o->method || ((o->prompts || o->retain) && !o->text && !o->tokens && !o->prompt);
	if (set)
		return cli_select(cli, error);
	struct opened opened;
	int64_t k;
	enum status status = options_int(o->top, "top", 1, INT32_MAX, 20, &k, error);
	if (status == STATUS_OK)
		status = cli_open(&opened, cli, NEED_INPUT | NEED_SAES, error);
	if (status)
		return status;
	struct session *session = opened.session;
	struct scene base = {0};
	struct attribution *items = NULL;
	int64_t count = 0;
	int only = -1;
	if (!session->has_objective)
		status = error_set(error, STATUS_INVALID, "attribution needs an objective; give --objective");
	if (status == STATUS_OK && (o->layer || session->site_count == 0))
		status = cli_choose_site(session, o, &only, error);
	if (status == STATUS_OK)
		status = scene_run(&base, session, false, error);
	if (status == STATUS_OK)
		status = rank_sites(session, &base, only, &items, &count, error);
	cJSON *json = cJSON_CreateObject(), *features = cJSON_AddArrayToObject(json, "features");
	for (int64_t i = 0; i < count && i < k && status == STATUS_OK; i++) {
		const struct site *site = &session->sites[session_site_of_layer(session, items[i].layer)];
		const char *label = labels_get(site->labels, items[i].feature);
		cJSON *item = cJSON_CreateObject();
		cJSON_AddNumberToObject(item, "layer", items[i].layer);
		cJSON_AddNumberToObject(item, "feature", items[i].feature);
		cJSON_AddNumberToObject(item, "attribution", items[i].attribution);
		cJSON_AddNumberToObject(item, "activation", items[i].activation);
		cJSON_AddNumberToObject(item, "gradient", items[i].gradient);
		cJSON_AddStringToObject(item, "label", label);
		cJSON_AddItemToArray(features, item);
		if (!o->json)
			printf("%2d:%-7u attribution %+9.4f  activation %9.4f  gradient %+9.4f  %s\n", items[i].layer,
			       items[i].feature, items[i].attribution, items[i].activation, items[i].gradient, label);
	}
	if (status == STATUS_OK && o->json)
		status = cli_print_json(json, error);
	else
		cJSON_Delete(json);
	free(items);
	scene_done(&base);
	options_close(&opened);
	return status;
}
