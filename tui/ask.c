/* The line at the bottom that asks for a text, and the lists to choose from. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"
#include "tui/workbench.h"

static const char *label_of(enum ask ask)
{
	static const char *const labels[ASK_COUNT] = {
		[ASK_NONE] = "",
		[ASK_COMMAND] = ":",
		[ASK_PROMPT_FILTER] = "filter prompts: ",
		[ASK_FEATURE_FILTER] = "features with: ",
		[ASK_VALUE] = "hold at: ",
		[ASK_TOP] = "clamp the top k, k = ",
		[ASK_ADD] = "new prompt: ",
		[ASK_EDIT] = "prompt: ",
		[ASK_IMPORT] = "import file: ",
		[ASK_NOTE] = "note: ",
		[ASK_EXPORT] = "export to: ",
	};
	return labels[ask];
}

void ask_open(struct workbench *wb, enum ask ask, const char *text)
{
	wb->ask = ask;
	wb->input.label = label_of(ask);
	wb->input.history = &wb->history[ask];
	wb->input.complete = ask == ASK_COMMAND ? command_line_complete : NULL;
	wb->input.complete_context = wb;
	input_set(&wb->input, text);
}

static void accept_number(struct workbench *wb, enum ask ask, const char *text)
{
	const struct snapshot_feature *f = workbench_feature(wb);
	double value;
	int64_t k;
	if (ask == ASK_VALUE) {
		if (!text_double(text, &value))
			workbench_say(wb, "\"%s\" is no value to hold a feature at: expected a number such as -5",
				      text);
		else if (f)
			workbench_send_value(wb, COMMAND_SET_CLAMP_VALUE, f->feature, value);
	} else if (!text_int(text, &k) || k < 1 || k > 1 << 20) {
		workbench_say(wb, "\"%s\" is no number of features: expected a whole number above 0", text);
	} else {
		wb->last_top = (int)k;
		workbench_send(wb, COMMAND_CLAMP_TOP, k, NULL);
	}
}

static void accept(struct workbench *wb, enum ask ask, const char *text)
{
	char export[1100];
	switch (ask) {
	case ASK_COMMAND:
		command_line_run(wb, text);
		break;
	case ASK_PROMPT_FILTER:
		snprintf(wb->prompt_filter, sizeof wb->prompt_filter, "%s", text);
		workbench_filter_prompts(wb);
		workbench_select_prompt(wb, workbench_prompt(wb));
		break;
	case ASK_FEATURE_FILTER:
		workbench_send(wb, COMMAND_FILTER, 0, text);
		break;
	case ASK_VALUE:
	case ASK_TOP:
		accept_number(wb, ask, text);
		break;
	case ASK_ADD:
		if (text[0])
			workbench_send(wb, COMMAND_ADD_PROMPT, 0, text);
		break;
	case ASK_EDIT:
		if (text[0])
			workbench_send(wb, COMMAND_EDIT_PROMPT, 0, text);
		break;
	case ASK_IMPORT:
		if (text[0])
			workbench_send(wb, COMMAND_IMPORT_PROMPTS, 0, text);
		break;
	case ASK_NOTE:
		if (text[0])
			workbench_send(wb, COMMAND_NOTE, 0, text);
		break;
	case ASK_EXPORT: {
		bool redact = strstr(wb->export_format, "redacted") != NULL;
		int n = (int)strcspn(wb->export_format, " ");
		snprintf(export, sizeof export, "%.*s %.1000s%s", n, wb->export_format, text, redact ? " redact" : "");
		if (text[0])
			workbench_send(wb, COMMAND_EXPORT, 0, export);
		break;
	}
	default:
		break;
	}
}

void ask_key(struct workbench *wb, int key)
{
	enum ask ask = wb->ask;
	enum input_result result = input_key(&wb->input, key);
	if (ask == ASK_PROMPT_FILTER && result == INPUT_OPEN) { /* seen while it is typed */
		snprintf(wb->prompt_filter, sizeof wb->prompt_filter, "%s", input_text(&wb->input));
		workbench_filter_prompts(wb);
	}
	if (result == INPUT_OPEN)
		return;
	wb->ask = ASK_NONE;
	if (result == INPUT_ACCEPTED) {
		char *text = mem_strdup(input_text(&wb->input)); /* a command may open another line */
		accept(wb, ask, text);
		free(text);
	} else if (ask == ASK_PROMPT_FILTER) {
		wb->prompt_filter[0] = '\0';
		workbench_filter_prompts(wb);
	}
}

void ask_draw(struct workbench *wb, const struct canvas *footer)
{
	input_draw(&wb->input, footer, 0, 0, footer->cols);
}

/* ---- choosers ---- */

void choose_open(struct workbench *wb, enum choice choice)
{
	struct chooser *c = &wb->chooser;
	const struct snapshot *s = wb->s;
	wb->choice = choice;
	switch (choice) {
	case CHOICE_MODE:
		chooser_show(c, "clamp mode");
		chooser_add(c, "set-active:-5", "hold at -5 where it is active (the paper's IOI)");
		chooser_add(c, "set:-5", "hold at -5 everywhere");
		chooser_add(c, "set-active:0", "silence where it is active");
		chooser_add(c, "ablate", "hold at 0");
		chooser_add(c, "scale:3", "three times as strong (the paper's refusal)");
		chooser_add(c, "scale-active:3", "three times as strong where active");
		chooser_add(c, "floor:1", "at least 1");
		chooser_point(c, s->clamp_mode);
		break;
	case CHOICE_OBJECTIVE:
		chooser_show(c, "objective");
		for (int i = 0; i < s->objective_choice_count; i++)
			chooser_add(c, s->objective_choices[i], NULL);
		if (s->objective_choice_count == 0) {
			c->open = false;
			workbench_say(wb, "no objective fits this prompt's task by itself: type one, :objective "
					  "logit_diff:\" Mary\",\" John\"");
		}
		break;
	case CHOICE_DELTA:
		chooser_show(c, "perturb at");
		chooser_add(c, "last", "the last token of the prompt");
		chooser_add(c, "answer", "the tokens of the answer");
		chooser_add(c, "all", "every token");
		chooser_point(c, s->delta_positions);
		break;
	case CHOICE_POSITIONS:
		chooser_show(c, "clamp at");
		chooser_add(c, "all", "every token (the paper)");
		chooser_add(c, "prompt", "the prompt only");
		chooser_add(c, "generated", "generated tokens only");
		chooser_point(c, s->clamp_positions);
		break;
	case CHOICE_EXPORT:
		chooser_show(c, "export as");
		chooser_add(c, "json", "everything of the session");
		chooser_add(c, "csv", "a row a step");
		chooser_add(c, "json redacted", "identifiers, labels and numbers only");
		chooser_add(c, "csv redacted", "identifiers, labels and numbers only");
		chooser_add(c, "md", "a report");
		chooser_add(c, "md redacted", "identifiers, labels and numbers only");
		chooser_add(c, "latex", "tables");
		chooser_add(c, "svg", "a figure");
		chooser_add(c, "pdf", "a figure");
		break;
	case CHOICE_SESSION:
		compare_offer(wb);
		break;
	case CHOICE_SAE:
		sae_list_offer(wb);
		break;
	}
}

void choose_done(struct workbench *wb)
{
	const struct snapshot_feature *f = workbench_feature(wb);
	const char *chosen = chooser_chosen(&wb->chooser);
	char path[64];
	switch (wb->choice) {
	case CHOICE_MODE:
		/* of the clamped feature at the cursor, else of the clamps to come */
		workbench_send(wb, COMMAND_SET_CLAMP_MODE, f && f->clamped ? (int64_t)f->feature : -1, chosen);
		break;
	case CHOICE_OBJECTIVE:
		workbench_send(wb, COMMAND_SET_OBJECTIVE, 0, chosen);
		break;
	case CHOICE_DELTA:
		workbench_send(wb, COMMAND_DELTA_POSITIONS, 0, chosen);
		break;
	case CHOICE_POSITIONS:
		workbench_send(wb, COMMAND_CLAMP_POSITIONS, 0, chosen);
		break;
	case CHOICE_EXPORT:
		snprintf(wb->export_format, sizeof wb->export_format, "%s", chosen);
		snprintf(path, sizeof path, "rebound.%.*s", (int)strcspn(chosen, " "), chosen);
		ask_open(wb, ASK_EXPORT, path);
		break;
	case CHOICE_SESSION:
		compare_chosen(wb);
		break;
	case CHOICE_SAE:
		sae_list_chosen(wb);
		break;
	}
}
