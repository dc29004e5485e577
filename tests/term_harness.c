#include "tests/term_harness.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include <vterm.h>

#include "compute/base/mem.h"
#include "compute/base/text.h"

struct harness {
	VTerm *vterm;
	VTermScreen *screen;
	int fd; /* the master side; -1 when the other side is closed */
	pid_t child;
	bool ended;
	int status, rows, cols, limit_ms;
	bool alternate, cursor, mouse;
	struct termios before;
	struct strbuf bytes, text;
};

static int64_t now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int on_property(VTermProp property, VTermValue *value, void *user)
{
	struct harness *h = user;
	if (property == VTERM_PROP_ALTSCREEN)
		h->alternate = value->boolean;
	else if (property == VTERM_PROP_CURSORVISIBLE)
		h->cursor = value->boolean;
	else if (property == VTERM_PROP_MOUSE)
		h->mouse = value->number != VTERM_PROP_MOUSE_NONE;
	return 1;
}

/* What the terminal answers and what is typed into it goes to the program. */
static void on_output(const char *bytes, size_t n, void *user)
{
	struct harness *h = user;
	while (h->fd >= 0 && n > 0) {
		ssize_t done = write(h->fd, bytes, n);
		if (done < 0 && errno != EINTR)
			return;
		if (done > 0) {
			bytes += done;
			n -= (size_t)done;
		}
	}
}

static void prepare_child(const struct harness_options *options)
{
	for (int number = 1; number < NSIG; number++)
		signal(number, SIG_DFL);
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setenv("TERM", options->term ? options->term : "xterm-256color", 1);
	setenv("LC_ALL", options->locale ? options->locale : "C.UTF-8", 1);
	unsetenv("NO_COLOR");
	unsetenv("LINES");
	unsetenv("COLUMNS");
	for (int i = 0; options->env && options->env[i]; i++)
		putenv((char *)(uintptr_t)options->env[i]);
}

static void harness_free(struct harness *h)
{
	vterm_free(h->vterm);
	strbuf_done(&h->bytes);
	strbuf_done(&h->text);
	free(h);
}

static struct harness *start(const struct harness_options *options)
{
	static const VTermScreenCallbacks callbacks = {.settermprop = on_property};
	struct harness *h = mem_alloc(1, sizeof *h);
	h->rows = options->rows;
	h->cols = options->cols;
	h->limit_ms = options->limit_ms ? options->limit_ms : 30000;
	h->cursor = true;
	h->vterm = vterm_new(h->rows, h->cols);
	vterm_set_utf8(h->vterm, 1);
	vterm_output_set_callback(h->vterm, on_output, h);
	h->screen = vterm_obtain_screen(h->vterm);
	vterm_screen_set_callbacks(h->screen, &callbacks, h);
	vterm_screen_enable_altscreen(h->screen, 1);
	vterm_screen_reset(h->screen, 1);
	struct winsize size = {.ws_row = (unsigned short)h->rows, .ws_col = (unsigned short)h->cols};
	fflush(NULL);
	h->child = forkpty(&h->fd, NULL, NULL, &size);
	if (h->child < 0) {
		perror("forkpty");
		abort();
	}
	if (h->child > 0) {
		tcgetattr(h->fd, &h->before);
		return h;
	}
	prepare_child(options);
	harness_free(h); /* the child's copy, or its leak checker would find it */
	return NULL;
}

struct harness *harness_start(const struct harness_options *options, char *const argv[])
{
	struct harness *h = start(options);
	if (!h) {
		execv(argv[0], argv);
		perror(argv[0]);
		_exit(127);
	}
	return h;
}

struct harness *harness_start_function(const struct harness_options *options, int (*function)(void *), void *context)
{
	struct harness *h = start(options);
	if (!h)
		exit(function(context));
	return h;
}

void harness_stop(struct harness *h)
{
	if (!h->ended) {
		kill(h->child, SIGKILL);
		kill(h->child, SIGCONT);
		waitpid(h->child, NULL, 0);
	}
	if (h->fd >= 0)
		close(h->fd);
	harness_free(h);
}

/* ---- output ---- */

/* Takes what the program writes within `ms`; true if there was anything. */
static bool pump(struct harness *h, int ms)
{
	char buffer[8192];
	struct pollfd fd = {.fd = h->fd, .events = POLLIN};
	if (h->fd < 0) {
		poll(NULL, 0, ms < 10 ? ms : 10);
		return false;
	}
	if (poll(&fd, 1, ms) <= 0)
		return false;
	ssize_t n = read(h->fd, buffer, sizeof buffer);
	if (n <= 0) { /* EIO: the other side is closed */
		close(h->fd);
		h->fd = -1;
		return false;
	}
	strbuf_add(&h->bytes, buffer, (size_t)n);
	vterm_input_write(h->vterm, buffer, (size_t)n);
	return true;
}

void harness_pump(struct harness *h, int ms)
{
	pump(h, ms);
}

static void reap(struct harness *h)
{
	if (!h->ended && waitpid(h->child, &h->status, WNOHANG) == h->child)
		h->ended = true;
}

static VTermScreenCell cell_at(struct harness *h, int row, int col)
{
	VTermScreenCell cell;
	memset(&cell, 0, sizeof cell);
	vterm_screen_get_cell(h->screen, (VTermPos){row, col}, &cell);
	return cell;
}

static void add_row(struct harness *h, struct strbuf *out, int row)
{
	size_t keep = out->length;
	strbuf_add(out, "", 0);
	for (int col = 0; col < h->cols;) {
		VTermScreenCell cell = cell_at(h, row, col);
		if (cell.chars[0] == 0)
			cell.chars[0] = ' ';
		for (int i = 0; i < VTERM_MAX_CHARS_PER_CELL && cell.chars[i]; i++) {
			char bytes[4];
			strbuf_add(out, bytes, utf8_encode(bytes, cell.chars[i]));
		}
		if (cell.chars[0] != ' ')
			keep = out->length;
		col += cell.width > 0 ? cell.width : 1;
	}
	out->length = keep;
	out->data[keep] = '\0';
}

const char *harness_screen(struct harness *h)
{
	strbuf_clear(&h->text);
	for (int row = 0; row < h->rows; row++) {
		add_row(h, &h->text, row);
		strbuf_add_char(&h->text, '\n');
	}
	return h->text.data;
}

const char *harness_row(struct harness *h, int row)
{
	strbuf_clear(&h->text);
	add_row(h, &h->text, row);
	return h->text.data;
}

struct harness_cell harness_cell(struct harness *h, int row, int col)
{
	VTermScreenCell cell = cell_at(h, row, col);
	int color = VTERM_COLOR_IS_DEFAULT_FG(&cell.fg) ? -1
		    : VTERM_COLOR_IS_INDEXED(&cell.fg)	? cell.fg.indexed.idx
							: -2;
	return (struct harness_cell){cell.attrs.reverse, cell.attrs.bold, cell.attrs.underline != 0, color};
}

const char *harness_screen_ansi(struct harness *h)
{
	struct strbuf *out = &h->text;
	strbuf_clear(out);
	for (int row = 0; row < h->rows; row++) {
		for (int col = 0; col < h->cols;) {
			VTermScreenCell cell = cell_at(h, row, col);
			struct harness_cell look = harness_cell(h, row, col);
			strbuf_printf(out, "\033[0%s%s%s", look.bold ? ";1" : "", look.underline ? ";4" : "",
				      look.reverse ? ";7" : "");
			if (look.color >= 0)
				strbuf_printf(out, ";38;5;%d", look.color);
			strbuf_add_char(out, 'm');
			if (cell.chars[0] == 0)
				cell.chars[0] = ' ';
			for (int i = 0; i < VTERM_MAX_CHARS_PER_CELL && cell.chars[i]; i++) {
				char bytes[4];
				strbuf_add(out, bytes, utf8_encode(bytes, cell.chars[i]));
			}
			col += cell.width > 0 ? cell.width : 1;
		}
		strbuf_add_string(out, "\033[0m\n");
	}
	return out->data;
}

bool harness_shows(struct harness *h, const char *text)
{
	return strstr(harness_screen(h), text) != NULL;
}

bool harness_find(struct harness *h, const char *text, int *row, int *col)
{
	for (*row = 0; *row < h->rows; (*row)++) {
		const char *line = harness_row(h, *row), *at = strstr(line, text);
		if (!at)
			continue;
		*col = 0; /* wide characters are not counted twice: the tests need none in front */
		for (const char *p = line; p < at; p++)
			*col += ((unsigned char)*p & 0xC0) != 0x80;
		return true;
	}
	return false;
}

const char *harness_bytes(struct harness *h, size_t *n)
{
	*n = h->bytes.length;
	return h->bytes.data ? h->bytes.data : "";
}

bool harness_restored(struct harness *h)
{
	struct termios now;
	if (h->alternate || !h->cursor || h->mouse)
		return false;
	/* The master side answers for as long as it is open. */
	if (h->fd < 0 || tcgetattr(h->fd, &now) != 0)
		return true;
	return now.c_lflag == h->before.c_lflag && now.c_iflag == h->before.c_iflag && now.c_oflag == h->before.c_oflag;
}

/* ---- waiting ---- */

static bool wait_for(struct harness *h, const char *text, bool present)
{
	int64_t end = now_ms() + h->limit_ms;
	for (;;) {
		if (harness_shows(h, text) == present)
			return true;
		reap(h);
		bool more = pump(h, 20);
		if (!more && (h->ended || now_ms() > end))
			break;
	}
	fprintf(stderr, "terminal: \"%s\" %s (%s); the screen:\n%s\n", text,
		present ? "did not appear" : "did not go away", h->ended ? "the program ended" : "time is up",
		harness_screen(h));
	return false;
}

bool harness_wait(struct harness *h, const char *text)
{
	return wait_for(h, text, true);
}

bool harness_wait_gone(struct harness *h, const char *text)
{
	return wait_for(h, text, false);
}

void harness_expect(struct harness *h, const char *keys, const char *text)
{
	harness_type(h, keys);
	if (!harness_wait(h, text))
		fail_msg("after \"%s\" there is no \"%s\"", keys, text);
}

void harness_expect_end(struct harness *h, const char *keys)
{
	harness_type(h, keys);
	assert_int_equal(harness_wait_end(h), 0);
	assert_true(harness_restored(h));
	harness_stop(h);
}

void harness_settle(struct harness *h, int quiet_ms)
{
	int64_t end = now_ms() + h->limit_ms;
	while (pump(h, quiet_ms) && now_ms() < end)
		;
}

int harness_wait_end(struct harness *h)
{
	int64_t end = now_ms() + h->limit_ms;
	while (!h->ended && now_ms() < end) {
		pump(h, 20);
		reap(h);
	}
	while (pump(h, 20))
		;
	return h->ended ? h->status : -1;
}

/* ---- input ---- */

static bool type_named(struct harness *h, const char *name, size_t n)
{
	static const struct {
		const char *name;
		VTermKey key;
		VTermModifier modifier;
	} keys[] = {
		{"Up", VTERM_KEY_UP, 0},
		{"Down", VTERM_KEY_DOWN, 0},
		{"Left", VTERM_KEY_LEFT, 0},
		{"Right", VTERM_KEY_RIGHT, 0},
		{"Home", VTERM_KEY_HOME, 0},
		{"End", VTERM_KEY_END, 0},
		{"PgUp", VTERM_KEY_PAGEUP, 0},
		{"PgDn", VTERM_KEY_PAGEDOWN, 0},
		{"Del", VTERM_KEY_DEL, 0},
		{"Enter", VTERM_KEY_ENTER, 0},
		{"Esc", VTERM_KEY_ESCAPE, 0},
		{"Tab", VTERM_KEY_TAB, 0},
		{"S-Tab", VTERM_KEY_TAB, VTERM_MOD_SHIFT},
		{"BS", VTERM_KEY_BACKSPACE, 0},
		{"F1", VTERM_KEY_FUNCTION(1), 0},
	};
	for (size_t i = 0; i < ARRAY_LEN(keys); i++)
		if (strlen(keys[i].name) == n && strncmp(keys[i].name, name, n) == 0) {
			vterm_keyboard_key(h->vterm, keys[i].key, keys[i].modifier);
			return true;
		}
	char byte = 0;
	if (n == 3 && name[0] == 'C' && name[1] == '-')
		byte = (char)(name[2] & 0x1f);
	else if (n == 5 && strncmp(name, "Space", n) == 0)
		byte = ' ';
	else if (n == 2 && strncmp(name, "lt", n) == 0)
		byte = '<';
	if (byte)
		on_output(&byte, 1, h);
	return byte != 0;
}

void harness_type(struct harness *h, const char *keys)
{
	while (*keys) {
		const char *end = keys[0] == '<' ? strchr(keys, '>') : NULL;
		if (end && type_named(h, keys + 1, (size_t)(end - keys - 1))) {
			keys = end + 1;
			continue;
		}
		uint32_t code;
		size_t n = utf8_decode(keys, strlen(keys), &code);
		on_output(keys, n ? n : 1, h);
		keys += n ? n : 1;
	}
}

void harness_press(struct harness *h, int row, int col, int button)
{
	vterm_mouse_move(h->vterm, row, col, VTERM_MOD_NONE);
	vterm_mouse_button(h->vterm, button, true, VTERM_MOD_NONE);
}

void harness_release(struct harness *h, int button)
{
	vterm_mouse_button(h->vterm, button, false, VTERM_MOD_NONE);
}

void harness_click(struct harness *h, int row, int col)
{
	harness_press(h, row, col, 1);
	harness_release(h, 1);
}

void harness_wheel(struct harness *h, int row, int col, int direction)
{
	vterm_mouse_move(h->vterm, row, col, VTERM_MOD_NONE);
	vterm_mouse_button(h->vterm, direction < 0 ? 4 : 5, true, VTERM_MOD_NONE);
}

void harness_resize(struct harness *h, int rows, int cols)
{
	struct winsize size = {.ws_row = (unsigned short)rows, .ws_col = (unsigned short)cols};
	h->rows = rows;
	h->cols = cols;
	vterm_set_size(h->vterm, rows, cols);
	ioctl(h->fd, TIOCSWINSZ, &size);
}

void harness_signal(struct harness *h, int number)
{
	kill(h->child, number);
}
