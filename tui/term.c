#include "tui/term.h"

#include <errno.h>
#include <fcntl.h>
#include <langinfo.h>
#include <locale.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>
#include <wchar.h>

#define NCURSES_WIDECHAR 1
#include <curses.h>
#include <term.h>
/* term.h of ncurses claims ordinary words as macros. */
#undef columns
#undef lines

#include "compute/base/mem.h"
#include "tui/keys.h"

static const int fatal_signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
static const int flag_signals[] = {SIGINT, SIGTERM, SIGHUP, SIGWINCH, SIGTSTP, SIGCONT};

static struct {
	volatile sig_atomic_t open;
	pid_t owner;
	SCREEN *curses;
	WINDOW *keys; /* a pad: reading from it draws nothing */
	bool ascii, no_mouse;
	int colors;
	chtype attributes[ROLE_COUNT];
	short pair[ROLE_COUNT];

	struct termios before;
	char restore[256]; /* bytes that bring the screen back, ready for a signal handler */
	size_t restore_length;
	int stderr_before, stderr_kept; /* -1: not redirected */
	int wake[2];			/* the signal handler's pipe to term_wait */
	stack_t stack;
	struct sigaction fatal_before[ARRAY_LEN(fatal_signals)];
	struct sigaction flag_before[ARRAY_LEN(flag_signals)];
} term = {.stderr_before = -1, .stderr_kept = -1, .wake = {-1, -1}};

static volatile sig_atomic_t flag_quit, flag_interrupt, flag_resize, flag_stop, flag_continue;

/* ---- giving it back; all of this may run in a signal handler ---- */

static void write_all(int fd, const char *data, size_t n)
{
	while (n > 0) {
		ssize_t done = write(fd, data, n);
		if (done < 0 && errno != EINTR && errno != EAGAIN)
			return;
		if (done > 0) {
			data += done;
			n -= (size_t)done;
		}
	}
}

/* Standard error again, and on it what was written meanwhile. */
static void restore_stderr(void)
{
	int before = term.stderr_before, kept = term.stderr_kept;
	if (before < 0)
		return;
	term.stderr_before = term.stderr_kept = -1;
	dup2(before, STDERR_FILENO);
	char buffer[4096];
	ssize_t n;
	if (lseek(kept, 0, SEEK_SET) == 0)
		while ((n = read(kept, buffer, sizeof buffer)) > 0)
			write_all(STDERR_FILENO, buffer, (size_t)n);
	close(before);
	close(kept);
}

/* Whatever else is wrong, the user's shell is usable afterwards. */
static void restore_all(void)
{
	if (!term.open || getpid() != term.owner)
		return;
	term.open = 0;
	write_all(STDOUT_FILENO, term.restore, term.restore_length);
	tcsetattr(STDIN_FILENO, TCSADRAIN, &term.before);
	restore_stderr();
}

static void on_fatal_signal(int number)
{
	int saved = errno;
	restore_all();
	/* Let the default action, or a debugger's or sanitizer's handler, have it. */
	for (size_t i = 0; i < ARRAY_LEN(fatal_signals); i++)
		if (fatal_signals[i] == number)
			sigaction(number, &term.fatal_before[i], NULL);
	raise(number);
	errno = saved;
}

static void end_by_signal(int number)
{
	restore_all();
	signal(number, SIG_DFL);
	raise(number);
}

static void on_flag_signal(int number)
{
	int saved = errno;
	switch (number) {
	case SIGINT:
		if (flag_interrupt)
			end_by_signal(number);
		flag_interrupt = 1;
		break;
	case SIGTERM:
	case SIGHUP:
		if (flag_quit)
			end_by_signal(number);
		flag_quit = 1;
		break;
	case SIGWINCH:
		flag_resize = 1;
		break;
	case SIGTSTP:
		flag_stop = 1;
		break;
	case SIGCONT:
		flag_continue = 1;
		break;
	default:
		break;
	}
	ssize_t ignored = write(term.wake[1], "", 1); /* full: then it wakes anyway */
	(void)ignored;
	errno = saved;
}

/* ---- opening ---- */

/* Keeps the string of a capability, without padding notes ("$<5>"): they are for
 * terminals of glass and steel. */
static void remember_string(const char *capability)
{
	const char *s = tigetstr(capability);
	if (!s || s == (const char *)-1)
		return;
	for (; *s && term.restore_length < sizeof term.restore; s++) {
		if (s[0] == '$' && s[1] == '<' && strchr(s, '>'))
			s = strchr(s, '>');
		else
			term.restore[term.restore_length++] = *s;
	}
}

static const char mouse_off[] = "\033[?1006l\033[?1002l\033[?1000l";

static void remember_restore(void)
{
	term.restore_length = 0;
	if (!term.no_mouse) {
		memcpy(term.restore, mouse_off, sizeof mouse_off - 1);
		term.restore_length = sizeof mouse_off - 1;
	}
	remember_string("sgr0");
	remember_string("op");
	remember_string("rmkx");
	remember_string("cnorm");
	remember_string("rmcup");
}

static void keep_stderr(void)
{
	fflush(stderr);
	term.stderr_before = term.stderr_kept = -1;
	if (!isatty(STDERR_FILENO))
		return;
	char name[] = "/tmp/rebound-stderr-XXXXXX";
	int kept = mkostemp(name, O_CLOEXEC);
	if (kept < 0)
		return;
	unlink(name);
	int before = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	if (before < 0 || dup2(kept, STDERR_FILENO) < 0) {
		close(kept);
		if (before >= 0)
			close(before);
		return;
	}
	term.stderr_before = before;
	term.stderr_kept = kept;
}

static void install_signals(void)
{
	size_t size = 65536;
	term.stack = (stack_t){.ss_sp = mem_alloc(1, size), .ss_size = size};
	sigaltstack(&term.stack, NULL); /* so that a stack overflow is handled too */
	struct sigaction action = {.sa_handler = on_fatal_signal, .sa_flags = SA_ONSTACK};
	sigfillset(&action.sa_mask);
	for (size_t i = 0; i < ARRAY_LEN(fatal_signals); i++)
		sigaction(fatal_signals[i], &action, &term.fatal_before[i]);
	action = (struct sigaction){.sa_handler = on_flag_signal, .sa_flags = SA_RESTART | SA_ONSTACK};
	sigemptyset(&action.sa_mask);
	for (size_t i = 0; i < ARRAY_LEN(flag_signals); i++)
		sigaction(flag_signals[i], &action, &term.flag_before[i]);
}

static void uninstall_signals(void)
{
	for (size_t i = 0; i < ARRAY_LEN(fatal_signals); i++)
		sigaction(fatal_signals[i], &term.fatal_before[i], NULL);
	for (size_t i = 0; i < ARRAY_LEN(flag_signals); i++)
		sigaction(flag_signals[i], &term.flag_before[i], NULL);
	sigaltstack(&(stack_t){.ss_flags = SS_DISABLE}, NULL);
	free(term.stack.ss_sp);
	term.stack.ss_sp = NULL;
}

struct look {
	short color_256, color_8;
	chtype attributes, attributes_mono;
};

static void choose_colors(bool no_color)
{
	/* Middle tones of the 256: legible on black and on white. */
	static const struct look looks[ROLE_COUNT] = {
		[ROLE_TEXT] = {-1, -1, 0, 0},
		[ROLE_BASE] = {33, COLOR_BLUE, 0, 0},
		[ROLE_CLAMPED] = {172, COLOR_YELLOW, 0, 0},
		[ROLE_RECOVERED] = {35, COLOR_GREEN, 0, 0},
		[ROLE_GOOD] = {35, COLOR_GREEN, A_BOLD, A_BOLD},
		[ROLE_BAD] = {167, COLOR_RED, A_BOLD, A_BOLD},
		[ROLE_RULE] = {244, -1, 0, 0},
		[ROLE_TITLE] = {-1, -1, 0, 0},
		[ROLE_FOCUS] = {-1, -1, A_BOLD | A_REVERSE, A_BOLD | A_REVERSE},
		[ROLE_KEY] = {-1, -1, A_BOLD, A_BOLD},
		[ROLE_NOTE] = {244, -1, 0, 0},
		[ROLE_ERROR] = {167, COLOR_RED, A_BOLD, A_BOLD | A_REVERSE},
	};
	const char *environment = getenv("NO_COLOR");
	term.colors = 0;
	if (!no_color && !(environment && environment[0]) && has_colors() && start_color() == OK) {
		use_default_colors();
		term.colors = COLORS >= 256 ? 256 : COLORS >= 8 ? 8 : 0;
	}
	for (int role = 0; role < ROLE_COUNT; role++) {
		short color = term.colors == 256 ? looks[role].color_256 : looks[role].color_8;
		term.pair[role] = 0;
		if (term.colors && color >= 0) {
			term.pair[role] = (short)(role + 1);
			init_pair(term.pair[role], color, -1);
		}
		term.attributes[role] = term.colors ? looks[role].attributes : looks[role].attributes_mono;
	}
}

static bool choose_unicode(enum term_choice choice)
{
	setlocale(LC_CTYPE, "");
	if (choice == TERM_YES && strcmp(nl_langinfo(CODESET), "UTF-8") != 0)
		setlocale(LC_CTYPE, "C.UTF-8");
	if (choice == TERM_NO)
		return false;
	return strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
}

enum status term_check(struct error *error)
{
	if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))
		return error_set(error, STATUS_INVALID,
				 "cannot open the workbench: standard %s is not a terminal (the commands of "
				 "`rebound --help` need none)",
				 isatty(STDIN_FILENO) ? "output" : "input");
	const char *name = getenv("TERM");
	if (!name || !name[0] || strcmp(name, "dumb") == 0)
		return error_set(error, STATUS_INVALID,
				 "cannot open the workbench: TERM is %s, expected a terminal that can place the cursor "
				 "such as xterm-256color (the commands of `rebound --help` need none)",
				 name && name[0] ? "\"dumb\"" : "not set");
	int found = 0;
	if (setupterm(name, STDOUT_FILENO, &found) != OK)
		return error_set(error, STATUS_INVALID,
				 "cannot open the workbench: TERM is \"%s\", which the terminfo database does not "
				 "know; try TERM=xterm-256color",
				 name);
	const char *place = tigetstr("cup");
	bool can_place = place && place != (const char *)-1;
	del_curterm(cur_term); /* newterm makes its own */
	if (!can_place)
		return error_set(error, STATUS_INVALID,
				 "cannot open the workbench: TERM is \"%s\", which cannot place the cursor; try "
				 "TERM=xterm-256color",
				 name);
	return STATUS_OK;
}

static void start_mouse(void)
{
	if (term.no_mouse)
		return;
	/* Of an event outside the mask wget_wch says nothing and reads on, and that read waits
	 * for the next key even under nodelay: so ask for every press and release. Double
	 * clicks are left out, or two quick clicks would merge. */
	mousemask(BUTTON1_PRESSED | BUTTON1_RELEASED | BUTTON1_CLICKED | BUTTON2_PRESSED | BUTTON2_RELEASED |
			  BUTTON3_PRESSED | BUTTON3_RELEASED | BUTTON4_PRESSED | BUTTON4_RELEASED | BUTTON5_PRESSED |
			  BUTTON5_RELEASED,
		  NULL);
	mouseinterval(0);
}

/* Out of curses mode in order: the shell's screen and line discipline. */
static void leave_curses(void)
{
	endwin();
	fflush(stdout);
	if (!term.no_mouse)
		write_all(STDOUT_FILENO, mouse_off, sizeof mouse_off - 1); /* some versions leave it on */
	tcsetattr(STDIN_FILENO, TCSADRAIN, &term.before);
}

static void start_curses_modes(void)
{
	cbreak();
	noecho();
	nonl();
	curs_set(0);
	set_escdelay(25);
	/* Ctrl-C must not throw away what is on its way to the screen; Ctrl-Z is a key,
	 * because ncurses ignores the signal while it writes a frame. */
	struct termios modes;
	if (tcgetattr(STDIN_FILENO, &modes) == 0) {
		modes.c_lflag |= NOFLSH;
		modes.c_cc[VSUSP] = _POSIX_VDISABLE;
		tcsetattr(STDIN_FILENO, TCSADRAIN, &modes);
		def_prog_mode();
	}
	term.keys = newpad(1, 1);
	if (!term.keys)
		fatal("out of memory for the terminal");
	keypad(term.keys, TRUE);
	nodelay(term.keys, TRUE);
	start_mouse();
}

enum status term_open(const struct term_options *options, struct error *error)
{
	static bool hooked;
	enum status status = term_check(error);
	if (status != STATUS_OK)
		return status;
	term.ascii = !choose_unicode(options->unicode);
	term.no_mouse = options->no_mouse;
	if (tcgetattr(STDIN_FILENO, &term.before) != 0 || pipe2(term.wake, O_CLOEXEC | O_NONBLOCK) != 0)
		return error_set(error, STATUS_FAILED, "cannot open the terminal: %s", strerror(errno));
	term.owner = getpid();
	term.curses = newterm(NULL, stdout, stdin);
	if (!term.curses) {
		close(term.wake[0]);
		close(term.wake[1]);
		return error_set(error, STATUS_FAILED, "cannot open the terminal: ncurses refused TERM=\"%s\"",
				 getenv("TERM"));
	}
	remember_restore();
	keep_stderr();
	term.open = 1;
	install_signals(); /* behind newterm, which has handlers of its own */
	if (!hooked) {
		atexit(term_close);
		fatal_set_hook(restore_all);
		hooked = true;
	}
	choose_colors(options->no_color);
	start_curses_modes();
	flag_quit = flag_interrupt = flag_resize = flag_stop = flag_continue = 0;
	return STATUS_OK;
}

void term_close(void)
{
	if (!term.open || getpid() != term.owner)
		return;
	delwin(term.keys);
	leave_curses();
	term.open = 0;
	restore_stderr();
	uninstall_signals();
	delscreen(term.curses);
	term.curses = NULL;
	close(term.wake[0]);
	close(term.wake[1]);
	term.wake[0] = term.wake[1] = -1;
}

bool term_is_ascii(void)
{
	return term.ascii;
}

int term_colors(void)
{
	return term.colors;
}

int term_rows(void)
{
	return LINES;
}

int term_cols(void)
{
	return COLS;
}

/* ---- showing ---- */

static attr_t cell_attributes(unsigned style)
{
	attr_t attributes = term.attributes[style & STYLE_ROLE_MASK];
	if (style & STYLE_DIM)
		attributes |= A_DIM;
	if (style & STYLE_BOLD)
		attributes |= A_BOLD;
	if (style & STYLE_REVERSE)
		attributes |= A_REVERSE;
	if (style & STYLE_UNDERLINE)
		attributes |= A_UNDERLINE;
	return attributes;
}

static void present_cell(int row, int col, const struct cell *cell)
{
	wchar_t text[CELL_CODES + 1] = {0};
	for (int i = 0; i < CELL_CODES; i++)
		text[i] = (wchar_t)cell->code[i];
	/* Where the C library's idea of a width differs, the cursor would run away. */
	int width = wcwidth(text[0]);
	bool odd = width != cell->width;
	if (odd) {
		text[0] = term.ascii || wcwidth(0xFFFD) != 1 ? L'?' : 0xFFFD;
		text[1] = 0;
	}
	for (int i = 1; i < CELL_CODES && text[i]; i++)
		if (wcwidth(text[i]) != 0)
			text[i] = 0;
	unsigned role = cell->style & STYLE_ROLE_MASK;
	cchar_t c;
	setcchar(&c, text, cell_attributes(cell->style), term.pair[role], NULL);
	mvadd_wch(row, col, &c);
	if (odd && cell->width == 2)
		mvaddch(row, col + 1, ' ');
}

void term_present(const struct screen *screen)
{
	for (int row = 0; row < screen->rows && row < LINES; row++)
		for (int col = 0; col < screen->cols && col < COLS; col++) {
			const struct cell *cell = screen_cell(screen, row, col);
			if (cell->width > 0)
				present_cell(row, col, cell);
		}
	bool cursor = rect_contains((struct rect){0, 0, LINES, COLS}, screen->cursor_row, screen->cursor_col);
	curs_set(cursor);
	if (cursor)
		move(screen->cursor_row, screen->cursor_col);
	refresh();
}

void term_redraw(void)
{
	clearok(curscr, TRUE);
}

static void resume(void)
{
	reset_prog_mode();
	/* ncurses would do this at the next read only, behind keys that were typed meanwhile */
	if (keypad_xmit) {
		putp(keypad_xmit);
		fflush(stdout);
	}
	term_redraw();
	flag_resize = 1; /* the window may have changed meanwhile */
}

void term_suspend(void)
{
	def_prog_mode();
	leave_curses();
	struct sigaction standard = {.sa_handler = SIG_DFL}, ours;
	sigaction(SIGTSTP, &standard, &ours);
	kill(0, SIGTSTP); /* the whole job, as the terminal would */
	sigaction(SIGTSTP, &ours, NULL);
	start_mouse();
	resume();
	refresh();
}

bool term_copy(const char *text, size_t n)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	enum { MOST = 74994 };
	if (n > MOST)
		return false;
	struct strbuf out = {0};
	strbuf_add_string(&out, "\033]52;c;");
	for (size_t i = 0; i < n; i += 3) {
		uint32_t bits = (uint32_t)(unsigned char)text[i] << 16;
		bits |= i + 1 < n ? (uint32_t)(unsigned char)text[i + 1] << 8 : 0;
		bits |= i + 2 < n ? (uint32_t)(unsigned char)text[i + 2] : 0;
		strbuf_add_char(&out, digits[bits >> 18]);
		strbuf_add_char(&out, digits[bits >> 12 & 63]);
		strbuf_add_char(&out, i + 1 < n ? digits[bits >> 6 & 63] : '=');
		strbuf_add_char(&out, i + 2 < n ? digits[bits & 63] : '=');
	}
	strbuf_add_string(&out, "\a");
	fflush(stdout);
	write_all(STDOUT_FILENO, out.data, out.length);
	strbuf_done(&out);
	return true;
}

/* ---- reading ---- */

static struct term_event read_signal(void)
{
	if (flag_quit) {
		flag_quit = 0;
		return (struct term_event){.kind = TERM_QUIT};
	}
	if (flag_interrupt) {
		flag_interrupt = 0;
		return (struct term_event){.kind = TERM_INTERRUPT};
	}
	if (flag_stop) {
		flag_stop = 0;
		return (struct term_event){.kind = TERM_STOP};
	}
	if (flag_continue) {
		flag_continue = 0;
		resume();
		return (struct term_event){.kind = TERM_CONTINUED};
	}
	if (flag_resize) {
		flag_resize = 0;
		struct winsize size = {0};
		if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_row == 0 || size.ws_col == 0)
			size = (struct winsize){.ws_row = 24, .ws_col = 80};
		resizeterm(size.ws_row, size.ws_col);
		return (struct term_event){.kind = TERM_RESIZE};
	}
	return (struct term_event){.kind = TERM_NONE};
}

static int special_key(wint_t key)
{
	switch (key) {
	case KEY_UP:
		return KEYCODE_UP;
	case KEY_DOWN:
		return KEYCODE_DOWN;
	case KEY_LEFT:
		return KEYCODE_LEFT;
	case KEY_RIGHT:
		return KEYCODE_RIGHT;
	case KEY_HOME:
		return KEYCODE_HOME;
	case KEY_END:
		return KEYCODE_END;
	case KEY_PPAGE:
		return KEYCODE_PAGE_UP;
	case KEY_NPAGE:
		return KEYCODE_PAGE_DOWN;
	case KEY_DC:
		return KEYCODE_DELETE;
	case KEY_BACKSPACE:
		return KEYCODE_BACKSPACE;
	case KEY_ENTER:
		return KEYCODE_ENTER;
	case KEY_BTAB:
		return KEYCODE_BACK_TAB;
	case KEY_F(1):
		return KEYCODE_F1;
	default:
		return 0;
	}
}

static struct term_event read_mouse(void)
{
	MEVENT mouse;
	struct term_event event = {.kind = TERM_NONE};
	if (getmouse(&mouse) != OK)
		return event;
	event.row = mouse.y;
	event.col = mouse.x;
	if (mouse.bstate & (BUTTON4_PRESSED | BUTTON5_PRESSED)) {
		event.kind = TERM_WHEEL;
		event.key = mouse.bstate & BUTTON4_PRESSED ? -1 : 1;
	} else if (mouse.bstate & (BUTTON1_PRESSED | BUTTON1_CLICKED)) {
		event.kind = TERM_CLICK;
	}
	return event;
}

struct term_event term_read(void)
{
	struct term_event event = read_signal();
	if (event.kind != TERM_NONE)
		return event;
	wint_t key;
	for (;;) {
		int kind = wget_wch(term.keys, &key);
		if (kind == ERR)
			return (struct term_event){.kind = TERM_NONE};
		if (kind == KEY_CODE_YES && key == KEY_MOUSE) {
			event = read_mouse();
			if (event.kind != TERM_NONE)
				return event;
			continue;
		}
		int code = kind == KEY_CODE_YES ? special_key(key) : (int)key;
		if (code == KEYCODE_CTRL('Z'))
			return (struct term_event){.kind = TERM_STOP};
		if (code == '\n')
			code = KEYCODE_ENTER;
		if (code == '\b')
			code = KEYCODE_BACKSPACE;
		if (code > 0)
			return (struct term_event){.kind = TERM_KEY, .key = code};
	}
}

bool term_wait(int wake_fd, int timeout_ms)
{
	struct pollfd fds[] = {
		{.fd = STDIN_FILENO, .events = POLLIN},
		{.fd = term.wake[0], .events = POLLIN},
		{.fd = wake_fd, .events = POLLIN},
	};
	if (poll(fds, wake_fd < 0 ? 2 : 3, timeout_ms) <= 0)
		return false;
	char drain[64];
	while (read(term.wake[0], drain, sizeof drain) > 0)
		;
	if (fds[0].revents & (POLLHUP | POLLERR | POLLNVAL))
		flag_quit = 1; /* the terminal is gone */
	return wake_fd >= 0 && (fds[2].revents & (POLLIN | POLLHUP));
}
