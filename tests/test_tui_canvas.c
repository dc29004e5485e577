/* Drawing on a screen in memory: text, clipping, bars, curves, and how numbers are written. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "compute/base/mem.h"
#include "tests/toolkit_demo.h"
#include "tui/canvas.h"
#include "tui/format.h"

static void test_canvas_text(void **state)
{
	(void)state;
	struct screen s;
	screen_init(&s, 3, 10, false);
	struct canvas c = canvas_of(&s, (struct rect){0, 0, 3, 10});
	canvas_text(&c, 0, 0, 0,
		    "a\033[2Jb\xff"
		    "e\u0301");
	assert_string_equal(screen_text(&s), "a?[2Jb?e\u0301\n\n\n");
	screen_clear(&s);
	/* wide characters: never half of one */
	assert_int_equal(canvas_text(&c, 0, 7, 0, "日本"), 11);
	assert_string_equal(screen_text(&s), "       日\n\n\n");
	canvas_text(&c, 0, 8, 0, "x");
	assert_string_equal(screen_text(&s), "        x\n\n\n");
	screen_clear(&s);
	assert_int_equal(canvas_field(&c, 1, 0, 5, 0, "abcdef"), 5);
	assert_int_equal(canvas_field(&c, 2, 0, 5, 0, "日本語"), 5);
	assert_string_equal(screen_text(&s), "\nabcd…\n日本…\n");
	screen_done(&s);
}

static void test_canvas_clips(void **state)
{
	(void)state;
	struct screen s;
	screen_init(&s, 4, 8, false);
	struct canvas all = canvas_of(&s, (struct rect){0, 0, 4, 8});
	canvas_fill(&all, (struct rect){0, 0, 4, 8}, 0, '.');
	struct canvas part = canvas_part(&all, (struct rect){1, 2, 2, 3});
	for (int row = -3; row < 6; row++)
		canvas_text(&part, row, -2, 0, "0123456789");
	canvas_box(&part, (struct rect){-1, -1, 9, 9}, 0);
	canvas_bar(&part, 0, 0, 100, 0, 1);
	assert_string_equal(screen_text(&s), "........\n..███...\n..234...\n........\n");
	static const double slope[] = {0, 1, 2, 3, 4, 5, 6, 7};
	for (int row = -40; row < 40; row += 13) /* and a curve far outside the screen: a sanitizer looks on */
		canvas_trace(&part, (struct rect){row, -9, 5, 20}, 0, slope, 8, 8, 0, 7, false);
	assert_int_equal(screen_cell(&s, 0, 0)->code[0], '.');
	screen_done(&s);
}

static void test_canvas_bars(void **state)
{
	(void)state;
	struct screen s;
	screen_init(&s, 6, 9, false);
	struct canvas c = canvas_of(&s, (struct rect){0, 0, 6, 9});
	canvas_bar(&c, 0, 0, 4, 0, 0.5 + 1 / 32.);
	canvas_bar(&c, 1, 0, 4, 0, 1e-9);
	canvas_bar(&c, 2, 0, 4, 0, 7);
	canvas_bar(&c, 3, 0, 4, 0, NAN);
	canvas_bar_signed(&c, 4, 0, 9, 0, -0.625);
	canvas_bar_signed(&c, 5, 0, 9, 0, 0.5);
	assert_string_equal(screen_text(&s), "██▏\n▏\n████\n\n ▐██│\n    │██\n");
	screen_done(&s);
	screen_init(&s, 2, 9, true);
	c = canvas_of(&s, (struct rect){0, 0, 2, 9});
	canvas_bar(&c, 0, 0, 4, 0, 0.5 + 1 / 8.);
	canvas_text(&c, 1, 0, 0, "✓ ✗ · δ é");
	assert_string_equal(screen_text(&s), "##=\n+ x . d ?\n");
	screen_done(&s);
}

static void test_canvas_curve(void **state)
{
	(void)state;
	static const double ramp[] = {0, 1, 2, 3, 4, 5, 6, 7};
	static const double gap[] = {0, NAN, 3, 3};
	struct screen s;
	screen_init(&s, 3, 4, false);
	struct canvas c = canvas_of(&s, (struct rect){0, 0, 3, 4});
	canvas_curve(&c, (struct rect){0, 0, 2, 4}, 0, ramp, 8, 8, 0, 7);
	canvas_curve(&c, (struct rect){2, 0, 1, 2}, 0, gap, 4, 4, 0, 3);
	assert_string_equal(screen_text(&s), "  ⣠⣾\n⣠⣾⣿⣿\n⡀⣿\n");
	screen_clear(&s);
	canvas_curve(&c, (struct rect){0, 0, 1, 4}, 0, ramp, 4, 8, 0, 3); /* half of the run is done */
	assert_string_equal(screen_text(&s), "⣠⣾\n\n\n");
	screen_done(&s);
}

static void test_canvas_wrap(void **state)
{
	(void)state;
	struct screen s;
	screen_init(&s, 4, 6, false);
	struct canvas c = canvas_of(&s, (struct rect){0, 0, 4, 6});
	assert_int_equal(canvas_wrap(&c, (struct rect){0, 0, 4, 6}, 0, "one two\nabcdefgh"), 4);
	assert_string_equal(screen_text(&s), "one\ntwo\nabcdef\ngh\n");
	screen_done(&s);
}

static void test_numbers_are_short(void **state)
{
	(void)state;
	static const struct {
		double value;
		const char *plain, *sign;
	} cases[] = {{.81, ".81", "+.81"},   {-2.8, "-2.8", "-2.8"},   {0, "0", "0"},
		     {3.21, "3.2", "+3.2"},  {120, "120", "+120"},     {.0004, ".00040", "+.00040"},
		     {.04, ".040", "+.040"}, {2e-7, "2e-7", "+2e-7"},  {NAN, "·", "·"},
		     {-.5, "-.50", "-.50"},  {-1e9, "-1e+9", "-1e+9"}, {1, "1.0", "+1.0"},
		     {-5, "-5.0", "-5.0"},   {.999, "1.0", "+1.0"},    {INFINITY, "inf", "+inf"}};
	char out[FORMAT_SIZE];
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		assert_string_equal(format_number(out, cases[i].value), cases[i].plain);
		assert_string_equal(format_signed(out, cases[i].value), cases[i].sign);
	}
	/* Columns are made for this. */
	for (int fortieth = -480; fortieth < 480; fortieth++) {
		double value = pow(10, fortieth / 40.0);
		if (strlen(format_number(out, value)) > 6)
			fail_msg("%.6g is '%s'", value, out);
		if (strlen(format_signed(out, -value)) > 7)
			fail_msg("%.6g is '%s'", -value, out);
	}
	assert_string_equal(format_duration(out, .34), "340 ms");
	assert_string_equal(format_duration(out, 125), "2 min 5 s");
	char bytes[TEXT_BYTES_SIZE];
	assert_string_equal(text_bytes(bytes, 999), "999 B");
	assert_string_equal(text_bytes(bytes, 1064960), "1.1 MB");
	assert_string_equal(text_bytes(bytes, 12345678), "12 MB");
	assert_string_equal(text_bytes(bytes, 999600000), "1.0 GB");
}

static void test_rates(void **state)
{
	(void)state;
	static const struct {
		double share;
		const char *text;
	} cases[] = {
		{0, "never"},
		{1, "always"},
		{0.96, "always"},
		{0.5, "1 in 2.0"},
		{0.1, "1 in 10"},
		{1. / 345, "1 in 350"},
		{1. / 3000, "1 in 3,000"},
		{1. / 999, "1 in 1,000"},
		{1. / 123456, "1 in 120,000"},
		{1. / 4.56e6, "1 in 4,600,000"},
		{1. / 9.96e8, "1 in 1e+09"},
		{NAN, "·"},
	};
	char out[FORMAT_SIZE], training[FORMAT_TRAINING_SIZE];
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		assert_string_equal(format_rate(out, cases[i].share), cases[i].text);
	assert_string_equal(format_training(training, 3e-4), "fires on 1 in 3,300 tokens of its training data");
	assert_string_equal(format_training(training, 0), "never fired on its training data");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_canvas_text), cmocka_unit_test(test_canvas_clips),
		cmocka_unit_test(test_canvas_bars), cmocka_unit_test(test_canvas_curve),
		cmocka_unit_test(test_canvas_wrap), cmocka_unit_test(test_numbers_are_short),
		cmocka_unit_test(test_rates),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
