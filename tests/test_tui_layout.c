/* The layout: every cell of a screen of any size belongs to one rectangle. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"
#include "tui/layout.h"

static int cover(unsigned char *count, const struct layout *l, struct rect r)
{
	if (r.rows == 0 || r.cols == 0)
		return 0;
	assert_true(r.rows > 0 && r.cols > 0);
	assert_true(r.row >= 0 && r.col >= 0 && r.row + r.rows <= l->rows && r.col + r.cols <= l->cols);
	for (int row = r.row; row < r.row + r.rows; row++)
		for (int col = r.col; col < r.col + r.cols; col++)
			count[row * l->cols + col]++;
	return r.rows * r.cols;
}

static void check_layout(const struct layout *l)
{
	unsigned char *count = mem_alloc((size_t)(l->rows * l->cols), 1);
	int total = cover(count, l, l->status) + cover(count, l, l->tabs) + cover(count, l, l->strip) +
		    cover(count, l, l->footer) + cover(count, l, l->message);
	for (int i = 0; i < PANE_COUNT; i++)
		total += cover(count, l, l->pane[i]);
	for (int i = 0; i < LAYOUT_RULES; i++)
		total += cover(count, l, l->rules[i]);
	if (total != l->rows * l->cols || memchr(count, 0, (size_t)total) || memchr(count, 2, (size_t)total))
		fail_msg("%d x %d: %d of %d cells, or one twice", l->rows, l->cols, total, l->rows * l->cols);
	free(count);
}

static void test_layout_covers_every_size(void **state)
{
	(void)state;
	for (int rows = -1; rows <= 70; rows++)
		for (int cols = -1; cols <= 210; cols += cols < 130 ? 1 : 7)
			for (int focus = 0; focus <= PANE_STRIP; focus++)
				for (int zoom = 0; zoom < 2; zoom++) {
					struct layout l;
					layout_compute(&l, rows, cols, (enum pane)focus, zoom);
					check_layout(&l);
					if (l.kind != LAYOUT_TINY && focus < PANE_COUNT)
						assert_true(l.pane[focus].rows >= 4);
				}
}

static void test_layout_kinds(void **state)
{
	(void)state;
	static const struct {
		int rows, cols;
		enum layout_kind kind;
	} cases[] = {{9, 200, LAYOUT_TINY},	{60, 39, LAYOUT_TINY},	  {10, 40, LAYOUT_STACKED},
		     {23, 200, LAYOUT_STACKED}, {24, 79, LAYOUT_STACKED}, {24, 80, LAYOUT_NORMAL},
		     {24, 119, LAYOUT_NORMAL},	{24, 120, LAYOUT_WIDE}};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct layout l;
		layout_compute(&l, cases[i].rows, cases[i].cols, PANE_PROMPTS, false);
		assert_int_equal(l.kind, cases[i].kind);
	}
	struct layout l;
	layout_compute(&l, 24, 80, PANE_FEATURES, false);
	for (int i = 0; i < PANE_LOG; i++)
		assert_true(l.pane[i].rows >= 4 && l.pane[i].cols >= 26);
	assert_int_equal(layout_pane_at(&l, l.pane[PANE_RECOVERY].row, l.pane[PANE_RECOVERY].col), PANE_RECOVERY);
	assert_int_equal(layout_pane_at(&l, l.strip.row, 5), PANE_STRIP);
	assert_int_equal(layout_pane_at(&l, 0, 0), PANE_GLOBAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_layout_covers_every_size),
		cmocka_unit_test(test_layout_kinds),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
