#include "tui/keys.h"

#include <stdio.h>
#include <string.h>

#include "compute/base/mem.h"

/* A pane's rows stand in the order in which the footer offers them. */
const struct key_binding keys_table[] = {
	{PANE_PROMPTS, KEYCODE_ENTER, ACTION_OPEN, "edit", "edit the text"},
	{PANE_PROMPTS, 'a', ACTION_PROMPT_ADD, "add", "add a prompt"},
	{PANE_PROMPTS, 'i', ACTION_PROMPT_IMPORT, "import", "import a prompt set from a file"},
	{PANE_PROMPTS, '/', ACTION_FILTER, "filter", "filter by task, identifier or text"},

	{PANE_FEATURES, ' ', ACTION_CLAMP_TOGGLE, "clamp", "clamp the feature, or release it"},
	{PANE_FEATURES, '=', ACTION_CLAMP_VALUE, "value", "set the value it is held at"},
	{PANE_FEATURES, 'm', ACTION_CLAMP_MODE, "mode", "choose the clamp's mode"},
	{PANE_FEATURES, 'a', ACTION_SORT_ACTIVATION, NULL, "sort by activation"},
	{PANE_FEATURES, 'b', ACTION_SORT_ATTRIBUTION, NULL, "sort by attribution"},
	{PANE_FEATURES, 'e', ACTION_SORT_CHANGE, NULL, "sort by change since base"},
	{PANE_FEATURES, '#', ACTION_SORT_ID, NULL, "sort by number"},
	{PANE_FEATURES, '<', ACTION_LAYER_DOWN, NULL, "the SAE of a layer below"},
	{PANE_FEATURES, '>', ACTION_LAYER_UP, NULL, "the SAE of a layer above"},
	{PANE_FEATURES, '/', ACTION_FILTER, "find", "show features by number or words of the label"},
	{PANE_FEATURES, KEYCODE_ENTER, ACTION_OPEN, NULL, "open the feature's own view"},

	{PANE_BEHAVIOUR, 'j', ACTION_JUDGE, "judge", "show which judge rule fired"},

	{PANE_RECOVERY, KEYCODE_LEFT, ACTION_SCRUB_BACK, "scrub", "one iteration back"},
	{PANE_RECOVERY, 'h', ACTION_SCRUB_BACK, NULL, NULL},
	{PANE_RECOVERY, KEYCODE_RIGHT, ACTION_SCRUB_ON, NULL, "one iteration on"},
	{PANE_RECOVERY, 'l', ACTION_SCRUB_ON, NULL, NULL},
	{PANE_RECOVERY, KEYCODE_HOME, ACTION_SCRUB_FIRST, NULL, "the first iteration"},
	{PANE_RECOVERY, KEYCODE_END, ACTION_SCRUB_LAST, NULL, "the latest iteration, and follow the run"},
	{PANE_RECOVERY, KEYCODE_ENTER, ACTION_OPEN, NULL, "table of all iterations"},

	{PANE_DECOMPOSITION, KEYCODE_ENTER, ACTION_OPEN, "open", "show the part's top features and tokens"},

	{PANE_LOG, 'y', ACTION_COPY, "copy", "copy the command to the terminal's clipboard"},
	{PANE_LOG, 'w', ACTION_NOTE, "note", "write a note into the journal"},
	{PANE_LOG, KEYCODE_ENTER, ACTION_OPEN, NULL, "show the whole command and its result"},

	{PANE_VIEW, KEYCODE_ESCAPE, ACTION_BACK, "close", "back to the panes"},
	{PANE_VIEW, 'q', ACTION_BACK, NULL, NULL},
	{PANE_VIEW, ' ', ACTION_CLAMP_TOGGLE, "clamp", "clamp the feature, or release it"},
	{PANE_VIEW, 'n', ACTION_NEXT_FEATURE, "next", "the next feature of the list"},
	{PANE_VIEW, 'N', ACTION_PREVIOUS_FEATURE, NULL, "the feature before it"},
	{PANE_VIEW, 'y', ACTION_COPY, "copy page",
	 "copy the address of the feature's page to the terminal's clipboard"},
	{PANE_VIEW, 'e', ACTION_EXAMPLES, "examples", "read the prompt set for the feature's best examples, or stop"},

	{PANE_COMPARE, KEYCODE_ESCAPE, ACTION_BACK, "close", "back to the panes"},
	{PANE_COMPARE, 'q', ACTION_BACK, NULL, NULL},
	{PANE_COMPARE, KEYCODE_LEFT, ACTION_SCRUB_BACK, "step", "one step back in the table"},
	{PANE_COMPARE, 'h', ACTION_SCRUB_BACK, NULL, NULL},
	{PANE_COMPARE, KEYCODE_RIGHT, ACTION_SCRUB_ON, NULL, "one step on"},
	{PANE_COMPARE, 'l', ACTION_SCRUB_ON, NULL, NULL},
	{PANE_COMPARE, KEYCODE_DOWN, ACTION_DOWN, "scroll", "scroll down"},
	{PANE_COMPARE, 'V', ACTION_COMPARE, "others", "compare other sessions"},
	{PANE_COMPARE, 'y', ACTION_COPY, "copy", "copy the command to the terminal's clipboard"},

	{PANE_GLOBAL, 'r', ACTION_RUN, "run", "run the recovery, or pause it"},
	{PANE_GLOBAL, 's', ACTION_STEP, "step", "run one iteration"},
	{PANE_GLOBAL, 'A', ACTION_RANK, "rank", "rank the features by attribution for the objective"},
	{PANE_GLOBAL, 't', ACTION_CLAMP_TOP, "top-k", "clamp the top ranked features"},
	{PANE_GLOBAL, 'd', ACTION_DECOMPOSE, "parts", "decompose the perturbation of the step shown"},
	{PANE_GLOBAL, 'x', ACTION_EXPORT, "export", "export the session"},
	{PANE_GLOBAL, 'C', ACTION_CLAMP_CLEAR, NULL, "release all clamps"},
	{PANE_GLOBAL, 'u', ACTION_CLAMP_UNDO, NULL, "undo the last change of the clamps"},
	{PANE_GLOBAL, 'L', ACTION_SAES, NULL, "list the SAEs: what is loaded, memory, fit; show one"},
	{PANE_GLOBAL, 'D', ACTION_DROP_SAES, NULL, "drop the SAEs not in use; they come back when needed"},
	{PANE_GLOBAL, '[', ACTION_SCRUB_BACK_10, NULL, "ten iterations back"},
	{PANE_GLOBAL, ']', ACTION_SCRUB_ON_10, NULL, "ten iterations on"},
	{PANE_GLOBAL, 'f', ACTION_FORK, NULL, "fork: continue from the step shown with other settings"},
	{PANE_GLOBAL, 'V', ACTION_COMPARE, NULL, "compare this run, or a session on disk, with another session"},
	{PANE_GLOBAL, 'S', ACTION_SETTINGS, NULL, "settings of the recovery"},
	{PANE_GLOBAL, 'o', ACTION_OBJECTIVE, NULL, "choose the objective"},
	{PANE_GLOBAL, 'g', ACTION_GENERATE, NULL, "generate text: base, clamped, recovered"},
	{PANE_GLOBAL, 'T', ACTION_TWO_STAGE, NULL, "recover a refused answer in two stages"},
	{PANE_GLOBAL, 'B', ACTION_SUFFIX, NULL,
	 "the suffix baseline: its settings, then train a suffix that recovers a refused answer"},
	{PANE_GLOBAL, 'R', ACTION_RADIUS, NULL, "the recovery radius: the smallest budget that recovers"},
	{PANE_GLOBAL, 'v', ACTION_VALID_FLIPS, NULL, "find the valid flips of the whole prompt set"},
	{PANE_GLOBAL, KEYCODE_LEFT, ACTION_TOKEN_LEFT, NULL, "previous token"},
	{PANE_GLOBAL, 'h', ACTION_TOKEN_LEFT, NULL, NULL},
	{PANE_GLOBAL, KEYCODE_RIGHT, ACTION_TOKEN_RIGHT, NULL, "next token"},
	{PANE_GLOBAL, 'l', ACTION_TOKEN_RIGHT, NULL, NULL},
	{PANE_GLOBAL, 'p', ACTION_PERTURB_HERE, NULL, "perturb at this token, or not"},
	{PANE_GLOBAL, 'P', ACTION_PERTURB_RULE, NULL, "perturb at: the last token, the answer, all"},
	{PANE_GLOBAL, 'c', ACTION_CLAMP_POSITIONS, NULL, "clamp at: all tokens, the prompt, the generated ones"},

	{PANE_GLOBAL, KEYCODE_UP, ACTION_UP, NULL, "up"},
	{PANE_GLOBAL, 'k', ACTION_UP, NULL, NULL},
	{PANE_GLOBAL, KEYCODE_DOWN, ACTION_DOWN, NULL, "down"},
	{PANE_GLOBAL, 'j', ACTION_DOWN, NULL, NULL},
	{PANE_GLOBAL, KEYCODE_PAGE_UP, ACTION_PAGE_UP, NULL, "a page up"},
	{PANE_GLOBAL, KEYCODE_PAGE_DOWN, ACTION_PAGE_DOWN, NULL, "a page down"},
	{PANE_GLOBAL, KEYCODE_HOME, ACTION_FIRST, NULL, "to the top"},
	{PANE_GLOBAL, KEYCODE_END, ACTION_LAST, NULL, "to the end"},
	{PANE_GLOBAL, 'G', ACTION_LAST, NULL, NULL},
	{PANE_GLOBAL, KEYCODE_TAB, ACTION_NEXT_PANE, NULL, "next pane"},
	{PANE_GLOBAL, KEYCODE_BACK_TAB, ACTION_PREVIOUS_PANE, NULL, "previous pane"},
	{PANE_GLOBAL, '1', ACTION_PANE_1, NULL, "prompts"},
	{PANE_GLOBAL, '2', ACTION_PANE_2, NULL, "features"},
	{PANE_GLOBAL, '3', ACTION_PANE_3, NULL, "behaviour"},
	{PANE_GLOBAL, '4', ACTION_PANE_4, NULL, "recovery"},
	{PANE_GLOBAL, '5', ACTION_PANE_5, NULL, "decomposition"},
	{PANE_GLOBAL, '6', ACTION_PANE_6, NULL, "log"},
	{PANE_GLOBAL, '0', ACTION_PANE_STRIP, NULL, "tokens"},
	{PANE_GLOBAL, 'z', ACTION_ZOOM, NULL, "zoom the pane, or back"},
	{PANE_GLOBAL, '+', ACTION_ZOOM, NULL, NULL},
	{PANE_GLOBAL, ':', ACTION_COMMAND, NULL, "command line (Tab completes, Up recalls)"},
	{PANE_GLOBAL, '?', ACTION_HELP, NULL, "help: this list"},
	{PANE_GLOBAL, KEYCODE_F1, ACTION_HELP, NULL, NULL},
	{PANE_GLOBAL, 'M', ACTION_MESSAGE, NULL, "the whole text of the last message"},
	{PANE_GLOBAL, 'H', ACTION_HINTS, NULL, "hints for the next step on or off"},
	{PANE_GLOBAL, KEYCODE_ESCAPE, ACTION_BACK, NULL, "back; stops what is running"},
	{PANE_GLOBAL, KEYCODE_CTRL('L'), ACTION_REDRAW, NULL, "draw the screen again"},
	{PANE_GLOBAL, KEYCODE_CTRL('Z'), ACTION_SUSPEND, NULL, "suspend the program"},
	{PANE_GLOBAL, 'q', ACTION_QUIT, NULL, "quit"},
};
const size_t keys_count = ARRAY_LEN(keys_table);

static enum action find(enum pane where, int key)
{
	for (size_t i = 0; i < keys_count; i++)
		if (keys_table[i].where == where && keys_table[i].key == key)
			return keys_table[i].action;
	return ACTION_NONE;
}

enum action keys_action(enum pane where, int key)
{
	enum action own = find(where, key);
	return own != ACTION_NONE ? own : find(PANE_GLOBAL, key);
}

const char *keys_name(char out[KEYS_NAME_SIZE], int key)
{
	static const struct {
		int key;
		const char *name;
	} names[] = {
		{' ', "space"},
		{KEYCODE_TAB, "Tab"},
		{KEYCODE_ENTER, "Enter"},
		{KEYCODE_ESCAPE, "Esc"},
		{KEYCODE_BACKSPACE, "Backspace"},
		{KEYCODE_UP, "Up"},
		{KEYCODE_DOWN, "Down"},
		{KEYCODE_LEFT, "Left"},
		{KEYCODE_RIGHT, "Right"},
		{KEYCODE_HOME, "Home"},
		{KEYCODE_END, "End"},
		{KEYCODE_PAGE_UP, "PgUp"},
		{KEYCODE_PAGE_DOWN, "PgDn"},
		{KEYCODE_DELETE, "Del"},
		{KEYCODE_BACK_TAB, "Shift-Tab"},
		{KEYCODE_F1, "F1"},
	};
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (names[i].key == key) {
			snprintf(out, KEYS_NAME_SIZE, "%s", names[i].name);
			return out;
		}
	if (key > 0 && key < 27)
		snprintf(out, KEYS_NAME_SIZE, "Ctrl-%c", 'A' + key - 1);
	else
		out[utf8_encode(out, (uint32_t)key)] = '\0';
	return out;
}

const char *keys_pane_name(enum pane where)
{
	static const char *const names[] = {
		[PANE_PROMPTS] = "prompts",
		[PANE_FEATURES] = "features",
		[PANE_BEHAVIOUR] = "behaviour",
		[PANE_RECOVERY] = "recovery",
		[PANE_DECOMPOSITION] = "decomposition",
		[PANE_LOG] = "log",
		[PANE_STRIP] = "tokens",
		[PANE_VIEW] = "feature",
		[PANE_COMPARE] = "comparison",
		[PANE_GLOBAL] = "everywhere",
	};
	return names[where];
}

/* "Left h": the key of row i and of the rows below it that are other keys for it. */
static size_t key_names(char *out, size_t size, size_t i, const char *between)
{
	char name[KEYS_NAME_SIZE];
	size_t length = (size_t)snprintf(out, size, "%s", keys_name(name, keys_table[i].key));
	size_t rows = 1;
	for (; i + rows < keys_count && !keys_table[i + rows].help && length < size; rows++)
		length += (size_t)snprintf(out + length, size - length, "%s%s", between,
					   keys_name(name, keys_table[i + rows].key));
	return rows;
}

static void help_part(struct strbuf *out, enum pane where)
{
	for (size_t i = 0; i < keys_count;) {
		char names[64];
		size_t rows = key_names(names, sizeof names, i, " ");
		if (keys_table[i].where == where)
			strbuf_printf(out, "  %-11s %s\n", names, keys_table[i].help);
		i += rows;
	}
}

/* "the prompts pane" is for the manual, "prompts" for the help. */
static const char *where_name(enum pane where)
{
	return where == PANE_VIEW      ? "a feature's own view"
	       : where == PANE_COMPARE ? "the comparison of two sessions"
				       : keys_pane_name(where);
}

void keys_help(struct strbuf *out, enum pane where)
{
	if (where != PANE_GLOBAL && where != PANE_STRIP) {
		strbuf_printf(out, "In %s:\n", where_name(where));
		help_part(out, where);
		strbuf_add_string(out, "\n");
	}
	strbuf_add_string(out, "Everywhere:\n");
	help_part(out, PANE_GLOBAL);
}

void keys_man(struct strbuf *out)
{
	strbuf_add_string(out, ".SH KEYS\n");
	for (int where = 0; where <= PANE_GLOBAL; where++) {
		if (where == PANE_STRIP)
			continue;
		if (where == PANE_GLOBAL)
			strbuf_add_string(out, ".SS Everywhere\n");
		else if (where == PANE_VIEW || where == PANE_COMPARE)
			strbuf_printf(out, ".SS In %s\n", where_name((enum pane)where));
		else
			strbuf_printf(out, ".SS In the %s pane\n", keys_pane_name((enum pane)where));
		for (size_t i = 0; i < keys_count;) {
			char names[64];
			size_t rows = key_names(names, sizeof names, i, ", ");
			if (keys_table[i].where == (enum pane)where)
				strbuf_printf(out, ".TP\n.B %s%s\n%s\n",
					      names[0] == '.' || names[0] == '\'' ? "\\&" : "", names,
					      keys_table[i].help);
			i += rows;
		}
	}
}
