/* Commands that concern the model alone: tokens, logits, residual, gradient, generate. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/file.h"
#include "compute/base/json.h"
#include "compute/base/mem.h"
#include "models/chat.h"
#include "models/npy.h"
#include "sessions/generate.h"
#include "sessions/whole.h"
#include "tui/cli.h"

/* ---- tokens ---- */

static enum status open_tokenizer(struct tokenizer **out, const struct options *o, struct error *error)
{
	const char *path = o->tokenizer ? o->tokenizer : o->model;
	char *builtin = NULL;
	enum status status = path ? STATUS_OK : model_builtin_folder(&builtin, error);
	if (status == STATUS_OK)
		status = tokenizer_load(out, path ? path : builtin, error);
	free(builtin);
	return status;
}

/* Bytes as a JSON string: what is not valid UTF-8 becomes U+FFFD. */
static cJSON *bytes_json(const char *data, size_t n)
{
	struct strbuf safe = {0};
	for (size_t i = 0; i < n;) {
		uint32_t code;
		size_t step = utf8_decode(data + i, n - i, &code);
		/* cJSON has no NUL in strings. */
		if (step == 0 || code == 0)
			strbuf_add_string(&safe, "\xEF\xBF\xBD");
		else
			strbuf_add(&safe, data + i, step);
		i += step ? step : 1;
	}
	cJSON *json = cJSON_CreateString(safe.data ? safe.data : "");
	strbuf_done(&safe);
	return json;
}

static enum status batch_row(const struct tokenizer *tokenizer, const char *line, size_t n, const char *what,
			     struct error *error)
{
	cJSON *row;
	enum status status = json_parse(&row, line, n, what, error);
	if (status)
		return status;
	cJSON *out = cJSON_CreateObject();
	const cJSON *text = json_member(row, "text"), *hex = json_member(row, "text_hex"),
		    *ids = json_member(row, "ids");
	if (cJSON_IsString(text) || cJSON_IsString(hex)) {
		struct token_list list = {0};
		struct strbuf raw = {0};
		if (cJSON_IsString(hex)) {
			/* A text with NUL, which JSON readers cut, comes as hexadecimal. */
			for (const char *at = hex->valuestring; at[0] && at[1]; at += 2) {
				char pair[3] = {at[0], at[1], '\0'};
				strbuf_add_char(&raw, (char)strtoul(pair, NULL, 16));
			}
		} else {
			strbuf_add_string(&raw, text->valuestring);
		}
		struct tokenizer_options options = {.add_special = true, .recognise_special = true};
		status = tokenizer_encode(tokenizer, raw.data ? raw.data : "", raw.length, options, &list, error);
		if (status == STATUS_OK)
			cJSON_AddItemToObject(out, "ids", cli_ids_json(list.ids, list.count));
		token_list_done(&list);
		strbuf_done(&raw);
	} else if (cJSON_IsArray(ids)) {
		struct token_list list = {0};
		struct strbuf decoded = {0};
		for (const cJSON *id = ids->child; id && status == STATUS_OK; id = id->next) {
			if (!cJSON_IsNumber(id) || id->valuedouble < 0 || id->valuedouble > INT32_MAX)
				status = error_set(error, STATUS_INVALID,
						   "%s: \"ids\" has an entry that is not a token id", what);
			else
				token_list_add(&list, (int32_t)id->valuedouble);
		}
		if (status == STATUS_OK) {
			tokenizer_decode(tokenizer, list.ids, list.count, true, &decoded);
			cJSON_AddItemToObject(out, "text",
					      bytes_json(decoded.data ? decoded.data : "", decoded.length));
		}
		token_list_done(&list);
		strbuf_done(&decoded);
	} else {
		status = error_set(error, STATUS_INVALID, "%s has neither \"text\" nor \"ids\"", what);
	}
	cJSON_Delete(row);
	if (status) {
		cJSON_Delete(out);
		return status;
	}
	return cli_print_json(out, error);
}

static enum status batch(const struct tokenizer *tokenizer, const char *path, struct error *error)
{
	bool input = strcmp(path, "-") == 0;
	FILE *file = input ? stdin : fopen(path, "r");
	if (!file)
		return error_set(error, STATUS_INVALID, "cannot open '%s'", path);
	char *line = NULL;
	size_t capacity = 0, number = 0;
	ssize_t n;
	enum status status = STATUS_OK;
	while (status == STATUS_OK && (n = getline(&line, &capacity, file)) >= 0) {
		char what[600];
		snprintf(what, sizeof what, "'%s', line %zu", path, ++number);
		while (n > 0 && (line[n - 1] == '\n' || line[n - 1] == '\r'))
			n--;
		if (n > 0)
			status = batch_row(tokenizer, line, (size_t)n, what, error);
	}
	free(line);
	if (!input)
		fclose(file);
	return status;
}

static enum status encode_text(const struct tokenizer *tokenizer, const struct options *o, struct token_list *ids,
			       struct error *error)
{
	if (!o->chat) {
		struct tokenizer_options options = {.add_special = !o->no_bos, .recognise_special = o->special};
		return tokenizer_encode(tokenizer, o->text, strlen(o->text), options, ids, error);
	}
	char *builtin = NULL;
	const char *folder = o->tokenizer ? o->tokenizer : o->model;
	enum status status = folder ? STATUS_OK : model_builtin_folder(&builtin, error);
	struct chat *chat = NULL;
	struct chat_message message = {"user", o->text, strlen(o->text)};
	if (status == STATUS_OK)
		status = chat_load(&chat, folder ? folder : builtin, tokenizer, error);
	if (status == STATUS_NOTHING)
		status = error_set(error, STATUS_INVALID, "'%s' has no chat form", folder ? folder : builtin);
	if (status == STATUS_OK)
		status = chat_encode(chat, tokenizer, &message, 1, true, o->special, ids, error);
	chat_destroy(&chat);
	free(builtin);
	return status;
}

enum status cli_tokens(const struct cli *cli, struct error *error)
{
	const struct options *o = &cli->options;
	struct tokenizer *tokenizer;
	enum status status = open_tokenizer(&tokenizer, o, error);
	if (status)
		return status;
	struct token_list ids = {0};
	if (o->batch) {
		status = batch(tokenizer, o->batch, error);
	} else if (!o->text) {
		status = error_set(error, STATUS_INVALID, "there is no text; give --text or --batch");
	} else {
		status = encode_text(tokenizer, o, &ids, error);
		cJSON *json = cJSON_CreateObject(), *pieces = cJSON_CreateArray();
		for (size_t i = 0; i < ids.count; i++) {
			struct strbuf piece = {0};
			tokenizer_token_bytes(tokenizer, ids.ids[i], &piece);
			cJSON_AddItemToArray(pieces, bytes_json(piece.data ? piece.data : "", piece.length));
			strbuf_done(&piece);
		}
		cJSON_AddItemToObject(json, "ids", cli_ids_json(ids.ids, ids.count));
		cJSON_AddItemToObject(json, "pieces", pieces);
		if (status == STATUS_OK && tokenizer_doubled_bos(tokenizer, ids.ids, ids.count))
			fprintf(stderr,
				"rebound: the ids start with two beginning-of-sequence tokens; --no-bos adds none\n");
		if (status == STATUS_OK && o->json) {
			status = cli_print_json(json, error);
		} else {
			for (size_t i = 0; i < ids.count && status == STATUS_OK; i++) {
				struct strbuf shown = {0};
				tokenizer_token_show(tokenizer, ids.ids[i], &shown);
				printf("%4zu  %7d  %s%s\n", i, ids.ids[i], shown.data ? shown.data : "",
				       tokenizer_is_special(tokenizer, ids.ids[i]) ? "  (special)" : "");
				strbuf_done(&shown);
			}
			cJSON_Delete(json);
		}
	}
	token_list_done(&ids);
	tokenizer_destroy(&tokenizer);
	return status;
}

/* ---- arrays of a whole pass ---- */

/* [rows, cols] to a .npy file, to JSON under `key`, or as a short table. */
static enum status give(const struct cli *cli, const struct session *session, const char *key, const float *values,
			int64_t rows, int64_t cols, struct error *error)
{
	const struct options *o = &cli->options;
	if (o->npy) {
		int64_t shape[] = {rows, cols};
		enum status status = npy_write_float(o->npy, values, 2, shape, error);
		if (status || !o->json)
			return status;
	}
	if (!o->json) {
		printf("%s: %lld x %lld\n", key, (long long)rows, (long long)cols);
		for (int64_t r = 0; r < rows; r++) {
			double norm = 0;
			for (int64_t c = 0; c < cols; c++)
				norm += (double)values[r * cols + c] * (double)values[r * cols + c];
			char *piece = (size_t)r < session->prompt.count ? cli_piece(session, session->prompt.ids[r])
									: mem_strdup("(answer)");
			printf("%4lld  %-16s norm %.6g\n", (long long)r, piece, sqrt(norm));
			free(piece);
		}
		return STATUS_OK;
	}
	cJSON *json = cJSON_CreateObject(), *list = cJSON_AddArrayToObject(json, key);
	cJSON_AddItemToObject(json, "ids", cli_ids_json(session->prompt.ids, session->prompt.count));
	for (int64_t r = 0; r < rows; r++)
		cJSON_AddItemToArray(list, cli_floats_json(values + r * cols, (size_t)cols));
	return cli_print_json(json, error);
}

static enum status at_hook(const struct cli *cli, struct whole_request *request, struct error *error)
{
	const struct options *o = &cli->options;
	int64_t layer;
	if (!o->layer || !o->hook)
		return error_set(error, STATUS_INVALID, "%s needs --layer and --hook", o->command);
	enum status status = options_int(o->layer, "layer", 0, ARCH_MAX_LAYERS - 1, 0, &layer, error);
	if (status)
		return status;
	request->layer = (int)layer;
	if (!hook_parse(o->hook, &request->hook))
		return error_set(error, STATUS_INVALID, "--hook is '%s'; expected resid_pre, resid_mid or resid_post",
				 o->hook);
	return STATUS_OK;
}

static enum status whole_command(const struct cli *cli, enum whole_kind kind, const char *key, struct error *error)
{
	struct whole_request request = {.kind = kind};
	struct opened opened;
	enum status status = at_hook(cli, &request, error);
	if (status == STATUS_OK)
		status = cli_open(&opened, cli, NEED_INPUT, error);
	if (status)
		return status;
	float *values;
	int64_t rows, cols;
	request.clamped = session_has_clamps(opened.session);
	status = whole_run(&values, &rows, &cols, opened.session, &request, error);
	if (status == STATUS_OK)
		status = give(cli, opened.session, key, values, rows, cols, error);
	free(values);
	options_close(&opened);
	return status;
}

enum status cli_residual(const struct cli *cli, struct error *error)
{
	return whole_command(cli, WHOLE_RESIDUAL, "residual", error);
}

enum status cli_gradient(const struct cli *cli, struct error *error)
{
	return whole_command(cli, WHOLE_GRADIENT, "gradient", error);
}

static void print_top(const struct session *session, const float *logits, int k)
{
	struct top_logit *top = mem_alloc((size_t)k + 1, sizeof *top);
	int n = top_logits(logits, session->model.arch.vocab, k, top);
	for (int i = 0; i < n; i++) {
		char *piece = cli_piece(session, top[i].id);
		printf("%7d  %-16s logit %9.4f  probability %.4f\n", top[i].id, piece, (double)top[i].logit,
		       (double)top[i].probability);
		free(piece);
	}
	free(top);
}

enum status cli_logits(const struct cli *cli, struct error *error)
{
	const struct options *o = &cli->options;
	const char *positions = o->positions ? o->positions : "last";
	bool all = strcmp(positions, "all") == 0;
	int64_t k;
	if (!all && strcmp(positions, "last") != 0)
		return error_set(error, STATUS_INVALID, "--positions is '%s'; expected last or all", positions);
	enum status status = options_int(o->top, "top", 1, 1000, 10, &k, error);
	struct opened opened;
	if (status == STATUS_OK)
		status = cli_open(&opened, cli, NEED_INPUT, error);
	if (status)
		return status;
	struct session *session = opened.session;
	struct whole_request request = {
		.kind = WHOLE_LOGITS, .clamped = session_has_clamps(session), .last_only = !all};
	float *values;
	int64_t rows, cols;
	status = whole_run(&values, &rows, &cols, session, &request, error);
	const float *last = status == STATUS_OK ? values + (rows - 1) * cols : NULL;
	if (status == STATUS_OK && all) {
		status = give(cli, session, "logits", values, rows, cols, error);
	} else if (status == STATUS_OK) {
		int64_t shape[] = {cols};
		if (o->npy)
			status = npy_write_float(o->npy, last, 1, shape, error);
		if (status == STATUS_OK && o->json) {
			cJSON *json = cJSON_CreateObject();
			cJSON_AddItemToObject(json, "ids", cli_ids_json(session->prompt.ids, session->prompt.count));
			cJSON_AddItemToObject(json, "logits", cli_floats_json(last, (size_t)cols));
			status = cli_print_json(json, error);
		} else if (status == STATUS_OK && !o->npy) {
			print_top(session, last, (int)k);
		}
	}
	free(values);
	options_close(&opened);
	return status;
}

/* ---- generate ---- */

/* Prints as tokens arrive. */
struct printer {
	struct tokenizer_stream stream;
	bool active;
};

static bool print_token(void *context, int32_t id)
{
	struct printer *p = context;
	if (!p->active)
		return true;
	struct strbuf text = {0};
	tokenizer_stream_push(&p->stream, id, &text);
	if (text.length > 0) {
		/* Newlines are wanted in a text; other controls are not. */
		for (size_t i = 0, begin = 0; i <= text.length; i++)
			if (i == text.length || text.data[i] == '\n') {
				char *line = mem_alloc(i - begin + 1, 1);
				text_printable(line, i - begin + 1, text.data + begin, i - begin);
				fputs(line, stdout);
				free(line);
				if (i < text.length)
					putchar('\n');
				begin = i + 1;
			}
		fflush(stdout);
	}
	strbuf_done(&text);
	return true;
}

/* Reads --delta: rows in the order that recover --save-delta writes them. */
static enum status read_delta(const struct session *session, const char *path, struct generate_delta *delta,
			      int **layers, int64_t **positions, float **values, struct error *error)
{
	size_t count;
	struct array_view view;
	enum status status = npy_read_float(path, values, &count, &view, error);
	if (status)
		return status;
	int64_t d = session->model.arch.d, T = (int64_t)session->prompt.count;
	if (view.rank != 2 || view.shape[1] != d)
		return error_set(error, STATUS_INVALID,
				 "'%s' is not a perturbation of this model: expected [rows, %lld]", path, (long long)d);
	int64_t rows = view.shape[0];
	int sites[SESSION_MAX_SITES], n = 0;
	const struct recovery_settings *s = &session->settings;
	for (int i = 0; i < session->site_count; i++) {
		bool named = s->delta_layer_count == 0 && session->sites[i].rule_count > 0;
		for (int j = 0; j < s->delta_layer_count; j++)
			named = named || s->delta_layers[j] == session->sites[i].sae.layer;
		if (named)
			sites[n++] = session->sites[i].sae.layer;
	}
	if (n == 0 && session->site_count == 1)
		sites[n++] = session->sites[0].sae.layer;
	if (n == 0 || rows % n != 0)
		return error_set(error, STATUS_INVALID,
				 "'%s' has %lld rows for %d perturbed layers; say which with --delta-layers and "
				 "--delta-positions as in the recovery",
				 path, (long long)rows, n);
	int64_t each = rows / n;
	*layers = mem_alloc((size_t)rows, sizeof **layers);
	*positions = mem_alloc((size_t)rows, sizeof **positions);
	const struct positions *p = &s->delta_positions;
	for (int64_t r = 0; r < rows; r++) {
		int64_t i = r % each;
		(*layers)[r] = sites[r / each];
		(*positions)[r] = p->rule == POSITIONS_LIST && p->count == each		    ? p->list[i]
				  : p->rule == POSITIONS_ANSWER				    ? T + i
				  : p->rule == POSITIONS_ALL || p->rule == POSITIONS_PROMPT ? i
											    : T - each + i;
	}
	*delta = (struct generate_delta){rows, *layers, *positions, *values};
	return STATUS_OK;
}

static enum status generation_options(const struct options *o, const struct session *session,
				      struct generate_options *g, struct error *error)
{
	int64_t max_new, top_k;
	enum status status = options_int(o->max_new, "max-new", 1, 1000000, 32, &max_new, error);
	if (status == STATUS_OK)
		status = options_int(o->top_k, "top-k", 0, INT32_MAX, 0, &top_k, error);
	if (status == STATUS_OK)
		status = options_double(o->temperature, "temperature", 0, &g->temperature, error);
	if (status == STATUS_OK)
		status = options_double(o->top_p, "top-p", 1, &g->top_p, error);
	if (status)
		return status;
	if (g->temperature < 0 || g->top_p <= 0 || g->top_p > 1)
		return error_set(error, STATUS_INVALID,
				 "--temperature has to be 0 or more and --top-p above 0 and at most 1; found %g and %g",
				 g->temperature, g->top_p);
	g->max_new = max_new;
	g->top_k = top_k;
	g->seed = session->seed;
	g->clamped = session_has_clamps(session);
	g->ignore_stops = o->ignore_eos;
	return STATUS_OK;
}

char *cli_text(const struct session *session, const struct token_list *ids)
{
	struct strbuf text = {0};
	if (session->model.tokenizer)
		tokenizer_decode(session->model.tokenizer, ids->ids, ids->count, true, &text);
	return strbuf_take(&text);
}

/* The judges on a generated text; under a clamp or perturbation the base model answers too. */
static enum status judge_generated(struct judge_verdict *verdict, const struct judge_lists *lists,
				   const struct opened *opened, const struct generate_options *as, const char *text,
				   struct error *error)
{
	struct session *session = opened->session;
	struct generate_options options = *as;
	struct token_list ids = {0};
	char *base = NULL;
	enum status status = STATUS_OK;
	if (as->clamped || as->delta) {
		options.clamped = false;
		options.delta = NULL;
		options.on_token = NULL;
		status = generate(session, &options, &ids, error);
		base = cli_text(session, &ids);
	}
	struct judge_input input = {.text = text, .base = base};
	if (opened->entry) {
		input.refusals = (const char *const *)opened->entry->refusals;
		input.refusal_count = opened->entry->refusal_count;
	}
	if (status == STATUS_OK)
		judge_text(verdict, lists, &input);
	token_list_done(&ids);
	free(base);
	return status;
}

static cJSON *generation_json(const struct session *session, const struct token_list *new_ids, const char *text,
			      const struct judge_verdict *verdict)
{
	cJSON *json = cJSON_CreateObject();
	struct token_list all = {0};
	for (size_t i = 0; i < session->prompt.count; i++)
		token_list_add(&all, session->prompt.ids[i]);
	for (size_t i = 0; i < new_ids->count; i++)
		token_list_add(&all, new_ids->ids[i]);
	cJSON_AddItemToObject(json, "ids", cli_ids_json(all.ids, all.count));
	cJSON_AddItemToObject(json, "new_ids", cli_ids_json(new_ids->ids, new_ids->count));
	if (session->model.tokenizer)
		cJSON_AddItemToObject(json, "text", bytes_json(text, strlen(text)));
	if (verdict)
		cJSON_AddItemToObject(json, "judge", cli_judge_json(verdict));
	token_list_done(&all);
	return json;
}

enum status cli_generate(const struct cli *cli, struct error *error)
{
	const struct options *o = &cli->options;
	struct opened opened;
	enum status status = cli_open(&opened, cli, NEED_INPUT | (o->delta ? NEED_SAES : 0), error);
	if (status)
		return status;
	struct session *session = opened.session;
	struct generate_options options = {0};
	struct generate_delta delta;
	int *layers = NULL;
	int64_t *positions = NULL;
	float *values = NULL;
	status = generation_options(o, session, &options, error);
	bool judged = o->judge || o->judge_lists;
	struct judge_lists *lists = NULL;
	if (status == STATUS_OK && judged)
		status = judge_lists_load(&lists, o->judge_lists, error);
	if (status == STATUS_OK && judged && !session->model.tokenizer)
		status = error_set(error, STATUS_INVALID,
				   "--judge reads a text, and the model has no tokenizer to make one");
	if (status == STATUS_OK && o->delta) {
		status = read_delta(session, o->delta, &delta, &layers, &positions, &values, error);
		options.delta = &delta;
	}
	struct printer printer = {.active = session->model.tokenizer && !o->json};
	if (printer.active) {
		struct strbuf ignored = {0};
		tokenizer_stream_init(&printer.stream, session->model.tokenizer, true);
		for (size_t i = 0; i < session->prompt.count; i++)
			tokenizer_stream_push(&printer.stream, session->prompt.ids[i], &ignored);
		strbuf_done(&ignored);
	}
	options.on_token = print_token;
	options.context = &printer;
	struct token_list new_ids = {0};
	if (status == STATUS_OK)
		status = generate(session, &options, &new_ids, error);
	if (printer.active && new_ids.count > 0)
		putchar('\n');
	char *text = cli_text(session, &new_ids);
	struct judge_verdict verdict;
	if (status == STATUS_OK && judged)
		status = judge_generated(&verdict, lists, &opened, &options, text, error);
	if (status == STATUS_OK && o->json) {
		status = cli_print_json(generation_json(session, &new_ids, text, judged ? &verdict : NULL), error);
	} else if (status == STATUS_OK && !printer.active) {
		for (size_t i = 0; i < new_ids.count; i++)
			printf("%s%d", i ? "," : "", new_ids.ids[i]);
		putchar('\n');
	}
	if (status == STATUS_OK && judged && !o->json)
		cli_judge_print(&verdict);
	free(text);
	judge_lists_destroy(&lists);
	token_list_done(&new_ids);
	free(layers);
	free(positions);
	free(values);
	options_close(&opened);
	return status;
}
