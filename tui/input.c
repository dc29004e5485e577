#include "tui/input.h"

#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"
#include "tui/keys.h"

void input_history_add(struct input_history *h, const char *line)
{
	if (!line[0] || (h->count > 0 && strcmp(h->lines[h->count - 1], line) == 0))
		return;
	if (h->count == INPUT_HISTORY_MAX) {
		free(h->lines[0]);
		memmove(h->lines, h->lines + 1, sizeof h->lines - sizeof h->lines[0]);
		h->count--;
	}
	h->lines[h->count++] = mem_strdup(line);
}

void input_history_done(struct input_history *h)
{
	for (int i = 0; i < h->count; i++)
		free(h->lines[i]);
	*h = (struct input_history){0};
}

static void forget_offer(struct input *input)
{
	free(input->offer);
	input->offer = NULL;
}

static void set_text(struct input *input, const char *text)
{
	strbuf_clear(&input->text);
	strbuf_add_string(&input->text, text);
	input->at = input->text.length;
}

void input_set(struct input *input, const char *text)
{
	set_text(input, text);
	input->recalled = input->history ? input->history->count : 0;
	free(input->typed);
	input->typed = NULL;
	forget_offer(input);
}

void input_done(struct input *input)
{
	strbuf_done(&input->text);
	free(input->typed);
	forget_offer(input);
	*input = (struct input){0};
}

const char *input_text(const struct input *input)
{
	return input->text.data ? input->text.data : "";
}

/* ---- editing ---- */

/* Start of the character that ends at `at`, combining marks with their base. */
static size_t step_back(const char *s, size_t at)
{
	while (at > 0) {
		size_t end = at--;
		while (at > 0 && ((unsigned char)s[at] & 0xC0) == 0x80)
			at--;
		if (text_columns(s + at, end - at) > 0)
			break;
	}
	return at;
}

static size_t character_bytes(const char *s, size_t n)
{
	uint32_t code;
	size_t bytes = n ? utf8_decode(s, n, &code) : 0;
	return bytes ? bytes : n > 0;
}

static size_t step_on(const char *s, size_t n, size_t at)
{
	at += character_bytes(s + at, n - at);
	while (at < n) { /* marks that belong to it */
		size_t bytes = character_bytes(s + at, n - at);
		if (text_columns(s + at, bytes) > 0)
			break;
		at += bytes;
	}
	return at;
}

static void cut(struct input *input, size_t from, size_t to)
{
	struct strbuf *b = &input->text;
	memmove(b->data + from, b->data + to, b->length - to + 1);
	b->length -= to - from;
	input->at = from;
}

static void insert(struct input *input, const char *s, size_t n)
{
	struct strbuf *b = &input->text;
	if (b->length + n > INPUT_LENGTH_MAX)
		return;
	strbuf_add(b, s, n); /* makes room; the bytes are placed below */
	memmove(b->data + input->at + n, b->data + input->at, b->length - n - input->at);
	memcpy(b->data + input->at, s, n);
	input->at += n;
}

static size_t word_start(const struct input *input)
{
	const char *s = input->text.data;
	size_t at = input->at;
	while (at > 0 && s[at - 1] == ' ')
		at--;
	while (at > 0 && s[at - 1] != ' ')
		at--;
	return at;
}

static void recall(struct input *input, int by)
{
	struct input_history *h = input->history;
	int to = input->recalled + by;
	if (!h || to < 0 || to > h->count || to == input->recalled)
		return;
	if (input->recalled == h->count) {
		free(input->typed);
		input->typed = mem_strdup(input_text(input));
	}
	input->recalled = to;
	set_text(input, to < h->count ? h->lines[to] : input->typed);
}

/* ---- completion ---- */

/* The bytes that all lines of `matches` begin with. */
static size_t common_start(const char *matches, int *count)
{
	size_t common = strcspn(matches, "\n");
	const char *first = matches;
	*count = 0;
	for (const char *line = matches; *line;) {
		size_t n = strcspn(line, "\n"), same = 0;
		while (same < n && same < common && line[same] == first[same])
			same++;
		common = same;
		(*count)++;
		line += n;
		line += *line == '\n';
	}
	/* never half a character */
	while (common > 0 && ((unsigned char)first[common] & 0xC0) == 0x80)
		common--;
	return common;
}

static void complete(struct input *input)
{
	struct strbuf matches = {0};
	size_t start = input->at;
	int count = 0;
	if (!input->complete)
		return;
	input->complete(input->complete_context, input_text(input), input->at, &start, &matches);
	if (matches.length > 0 && start <= input->at) {
		size_t common = common_start(matches.data, &count);
		char *word = mem_strndup(matches.data, common);
		if (common >= input->at - start) {
			cut(input, start, input->at);
			insert(input, word, common);
		}
		free(word);
		if (count == 1 && common > 0 && input->at == input->text.length &&
		    !strchr("/=:", matches.data[common - 1]))
			insert(input, " ", 1);
	}
	if (count > 1) {
		input->offer = mem_strndup(matches.data, matches.length);
		for (char *p = input->offer; *p; p++)
			if (*p == '\n')
				*p = ' ';
	}
	strbuf_done(&matches);
}

enum input_result input_key(struct input *input, int key)
{
	forget_offer(input);
	if (!input->text.data)
		input_set(input, "");
	const char *s = input->text.data;
	size_t n = input->text.length;
	switch (key) {
	case KEYCODE_ENTER:
		if (input->history)
			input_history_add(input->history, s);
		return INPUT_ACCEPTED;
	case KEYCODE_ESCAPE:
	case KEYCODE_CTRL('C'):
	case KEYCODE_CTRL('G'):
		return INPUT_CANCELLED;
	case KEYCODE_TAB:
		complete(input);
		break;
	case KEYCODE_UP:
	case KEYCODE_CTRL('P'):
		recall(input, -1);
		break;
	case KEYCODE_DOWN:
	case KEYCODE_CTRL('N'):
		recall(input, 1);
		break;
	case KEYCODE_LEFT:
	case KEYCODE_CTRL('B'):
		input->at = step_back(s, input->at);
		break;
	case KEYCODE_RIGHT:
	case KEYCODE_CTRL('F'):
		input->at = step_on(s, n, input->at);
		break;
	case KEYCODE_HOME:
	case KEYCODE_CTRL('A'):
		input->at = 0;
		break;
	case KEYCODE_END:
	case KEYCODE_CTRL('E'):
		input->at = n;
		break;
	case KEYCODE_BACKSPACE:
	case KEYCODE_CTRL('H'):
		if (n == 0 && input->label)
			return INPUT_CANCELLED;
		cut(input, step_back(s, input->at), input->at);
		break;
	case KEYCODE_DELETE:
	case KEYCODE_CTRL('D'): {
		size_t at = input->at;
		cut(input, at, step_on(s, n, at));
		break;
	}
	case KEYCODE_CTRL('U'):
		cut(input, 0, input->at);
		break;
	case KEYCODE_CTRL('K'):
		cut(input, input->at, n);
		break;
	case KEYCODE_CTRL('W'):
		cut(input, word_start(input), input->at);
		break;
	default:
		if (key >= ' ' && key < 0x110000 && !text_is_control((uint32_t)key)) {
			char bytes[4];
			insert(input, bytes, utf8_encode(bytes, (uint32_t)key));
		}
	}
	return INPUT_OPEN;
}

void input_draw(const struct input *input, const struct canvas *c, int row, int col, int columns)
{
	const char *s = input_text(input);
	struct canvas part = canvas_part(c, (struct rect){row, col, 1, columns});
	canvas_fill(&part, (struct rect){0, 0, 1, columns}, ROLE_TEXT, ' ');
	int start = input->label ? canvas_text(&part, 0, 0, ROLE_KEY, input->label) : 0;
	int room = columns - start - 1; /* one for the cursor behind the text */
	size_t from = 0;
	while (from < input->at && text_columns(s + from, input->at - from) > room)
		from = step_on(s, input->text.length, from);
	int end = canvas_text(&part, 0, start, ROLE_TEXT, s + from);
	if (from > 0)
		canvas_put(&part, 0, start, ROLE_NOTE, 0x2026);
	if (input->offer && end + 2 < columns)
		canvas_field(&part, 0, end + 2, columns - end - 2, ROLE_NOTE, input->offer);
	int at = part.col + start + text_columns(s + from, input->at - from);
	if (rect_contains(part.clip, part.row, at)) {
		c->screen->cursor_row = part.row;
		c->screen->cursor_col = at;
	}
}
