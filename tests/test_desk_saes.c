/* The desk's SAEs: loaded when needed, dropped when not, and how they fit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "tests/desk_driver.h"
#include "tests/scratch.h"

static void expect_loaded(const struct desk *desk, const char *which)
{
	char found[8] = "";
	struct snapshot *s = desk_snapshot(desk);
	for (int i = 0; i < s->site_count; i++)
		found[i] = s->sites[i].loaded ? (char)('0' + i) : '.';
	snapshot_free(s);
	assert_string_equal(found, which);
}

/* What the status line and the list of SAEs say of the one shown. */
static void expect_shown(const struct desk *desk, int site, bool known)
{
	struct snapshot *s = desk_snapshot(desk);
	assert_int_equal(s->site_selected, site);
	assert_int_equal(s->has_fvu, known);
	assert_int_equal(s->sites[site].loaded, known);
	assert_int_equal(s->sites[site].has_fit, known);
	assert_int_equal(s->feature_count > 0, known);
	if (known)
		assert_true(s->sites[site].fvu == s->fvu && s->fvu > 0 && s->fvu < 0.5f);
	snapshot_free(s);
}

/* SAEs come when they are shown or clamped, with their fit, and go when neither holds. */
static void test_saes_come_and_go(void **state)
{
	(void)state;
	struct desk *desk = drive_open();
	expect_loaded(desk, "....");
	drive(desk, COMMAND_SELECT_PROMPT, 0, "");
	expect_shown(desk, 2, true);
	expect_loaded(desk, "..2.");
	uint64_t one = device_memory_used(desk->session->device);
	drive(desk, COMMAND_SELECT_SITE, 3, "");
	expect_shown(desk, 3, true);
	drive(desk, COMMAND_LINE, 0, "clamp 1:7=set:4");
	expect_loaded(desk, ".123");
	assert_true(desk->saes[1].known && desk->has_clamped);
	struct snapshot *s = desk_snapshot(desk);
	assert_true(strstr(s->sae, "3/4x1024") == s->sae);
	assert_int_equal(s->sae_bytes, 3 * s->sites[0].bytes);
	snapshot_free(s);

	drive(desk, COMMAND_DROP_SAES, 0, "");
	expect_loaded(desk, ".1.3");
	expect_shown(desk, 3, true);
	assert_true(scratch_says(desk->notice, "dropped 1 SAE not in use, 1.1 MB"));
	drive(desk, COMMAND_DROP_SAES, 0, "");
	assert_true(scratch_says(desk->notice, "no SAE to drop"));
	drive(desk, COMMAND_CLEAR_CLAMPS, 0, "");
	drive(desk, COMMAND_SELECT_SITE, 2, "");
	expect_shown(desk, 2, true);
	drive(desk, COMMAND_DROP_SAES, 0, "");
	expect_loaded(desk, "..2.");
	assert_true(device_memory_used(desk->session->device) <= one);

	/* Its clamps come back by themselves, and with them the SAE. */
	drive(desk, COMMAND_UNDO_CLAMPS, 0, "");
	expect_loaded(desk, ".12.");
	assert_int_equal(desk->rules.count, 1);
	drive(desk, COMMAND_SELECT_PROMPT, 1, "");
	assert_true(desk->saes[1].stale && !desk->saes[2].stale);
	drive_close(desk);
}

/* No room for another SAE: clamps and what was computed stay, and dropping brings it in. */
static void test_no_room_for_an_sae(void **state)
{
	(void)state;
	struct desk *desk = drive_open();
	struct device *device = desk->session->device;
	struct device_info *info = (struct device_info *)(uintptr_t)device_get_info(device);
	drive(desk, COMMAND_SELECT_PROMPT, 0, "");
	drive(desk, COMMAND_CLAMP_TOP, 4, "");
	drive(desk, COMMAND_SELECT_SITE, 1, "");
	uint64_t all = info->memory_bytes, one = desk->session->sites[0].sae.bytes;
	double J = desk->clamped.J;
	info->memory_bytes = device_memory_used(device);
	info->memory_bytes += 2 * one - 4096 - device_memory_left(device); /* what a load takes here, less a little */

	const char *error = drive_refused(desk, COMMAND_LINE, 0, "clamp 3:1=ablate");
	assert_true(scratch_says(error, "the SAE of layer 3"));
	assert_true(scratch_says(error, "release the clamps"));
	assert_int_equal(desk->rules.count, 4);
	assert_true(desk->has_clamped && desk->clamped.J == J);

	error = drive_refused(desk, COMMAND_SELECT_SITE, 0, "");
	assert_true(scratch_says(error, "the SAE of layer 0"));
	assert_true(scratch_says(error, "dropping the SAE that is not in use (D in the workbench) frees 1.1 MB"));
	expect_shown(desk, 0, false);
	expect_loaded(desk, ".12.");
	assert_true(desk->has_clamped && desk->clamped.J == J);
	drive(desk, COMMAND_SELECT_TOKEN, 2, ""); /* not tried again unasked */
	drive(desk, COMMAND_DROP_SAES, 0, "");
	expect_loaded(desk, "0.2.");
	expect_shown(desk, 0, true);
	info->memory_bytes = all;
	drive_close(desk);
}

/* Stops the load of an SAE in its middle, as Esc does. */
static void stop_load(struct desk *desk)
{
	struct snapshot *s = desk_snapshot(desk);
	if (s->job == JOB_LOADING && strstr(s->job_text, "the SAE of layer 0")) {
		assert_false(s->sites[0].loaded);
		assert_int_equal(s->feature_count, 0); /* those of the SAE before are not shown for its own */
		atomic_store(&desk->cancel, true);
	}
	snapshot_free(s);
	desk->published_ms = 0;
}

static void test_load_is_stopped(void **state)
{
	(void)state;
	struct desk *desk = drive_open();
	drive(desk, COMMAND_SELECT_PROMPT, 0, "");
	desk->publish = stop_load;
	desk->published_ms = 0;
	drive(desk, COMMAND_SELECT_SITE, 0, "");
	desk->publish = NULL;
	assert_true(atomic_exchange(&desk->cancel, false));
	expect_shown(desk, 0, false);
	assert_string_equal(desk->notice, "stopped");
	struct snapshot *s = desk_snapshot(desk);
	assert_int_equal(s->job, JOB_NONE);
	assert_true(s->sites[0].refused);
	snapshot_free(s);
	drive(desk, COMMAND_SELECT_PROMPT, 1, "");
	expect_shown(desk, 0, false);
	drive(desk, COMMAND_SELECT_SITE, 0, "");
	expect_shown(desk, 0, true);
	drive_close(desk);
}

/* The loss with the SAE spliced in is measured when nothing else is to be done, gives way to
 * commands, and is not begun again once the user has stopped it. */
static void test_loss(void **state)
{
	(void)state;
	struct desk *desk = drive_open();
	drive(desk, COMMAND_SELECT_PROMPT, 0, "");
	struct snapshot *s = desk_snapshot(desk);
	assert_true(s->has_fvu && !s->has_loss && desk_loss_pending(desk));
	snapshot_free(s);
	atomic_store(&desk->called, true);
	desk_measure_loss(desk);
	assert_true(desk_loss_pending(desk));
	atomic_store(&desk->called, false);
	desk_measure_loss(desk);
	s = desk_snapshot(desk);
	assert_true(s->has_loss && !desk_loss_pending(desk));
	assert_true(s->loss_recovered > 0.8f && s->loss_recovered <= 1);
	assert_int_equal(s->job, JOB_NONE);
	snapshot_free(s);
	drive(desk, COMMAND_SELECT_PROMPT, 1, "");
	s = desk_snapshot(desk);
	assert_false(s->has_loss);
	snapshot_free(s);
	atomic_store(&desk->called, true);
	atomic_store(&desk->cancel, true);
	desk_measure_loss(desk);
	assert_false(desk_loss_pending(desk) || atomic_load(&desk->cancel) || atomic_load(&desk->called));
	drive_close(desk);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_saes_come_and_go),
		cmocka_unit_test(test_no_room_for_an_sae),
		cmocka_unit_test(test_load_is_stopped),
		cmocka_unit_test(test_loss),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
