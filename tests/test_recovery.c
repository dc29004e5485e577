/* Whole recoveries against the golden trajectories (golden/recovery/README.md beside the
 * project): every number of every step, the arrays at the end, the decomposition. The
 * cases' own command lines are parsed and run. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "compute/base/file.h"
#include "compute/base/json.h"
#include "compute/base/mem.h"
#include "models/npy.h"
#include "sessions/decompose.h"
#include "sessions/experiment.h"
#include "tui/options.h"

/* All of them. */
static const char *const cases[] = {
	"ablate-choice",
	"act-l2",
	"act-raw-mse",
	"act-relative-l2",
	"act-relative-mse",
	"all-penalties",
	"answer-anchor",
	"answer-encoder",
	"answer-none",
	"answer-weighted",
	"choice-ce",
	"clamp-positions",
	"decode-penalty",
	"delta-clamp",
	"delta-clamp-drop",
	"delta-penalty",
	"encoder",
	"encoder-both",
	"encoder-budget",
	"encoder-budget-both",
	"encoder-delta",
	"encoder-strong",
	"error-drop",
	"error-scaled",
	"floor",
	"floor-encoder",
	"llama-encoder",
	"llama-none",
	"mixed-clamps",
	"none",
	"none-budget",
	"positions-three",
	"ridge",
	"scale-active",
	"set",
	"topk-encoder",
	"topk-none",
	"vocab-margin",
	"weighted-sum",
	"jacobian",
	"jacobian-exact",
	"jacobian-exact-corrected",
	"jacobian-infeasible",
	"jacobian-last",
	"jacobian-penalty-score",
};

static char *folder; /* golden/recovery, NULL if absent */

struct check {
	const char *name;
	const cJSON *tolerance;
	int failures;
	double worst; /* deviation in units of the tolerance */
};

static double number(const cJSON *object, const char *key)
{
	const cJSON *member = cJSON_GetObjectItemCaseSensitive(object, key);
	return cJSON_IsNumber(member) ? member->valuedouble : NAN;
}

/* abs(got - want) <= atol[key] + rtol * abs(want); NaN fails. */
static void compare(struct check *c, const char *key, const char *where, double got, double want)
{
	double atol = number(json_member(c->tolerance, "atol"), key);
	if (isnan(atol))
		atol = 0;
	double limit = atol + number(c->tolerance, "rtol") * fabs(want);
	double off = fabs(got - want);
	if (off / limit > c->worst)
		c->worst = off / limit;
	if (!(off <= limit) && c->failures++ < 5)
		print_message("%s %s: %s is %.9g, golden %.9g, tolerance %.2g\n", c->name, where, key, got, want,
			      limit);
}

static void compare_array(struct check *c, const char *file, const float *got, size_t n, double scale)
{
	char *path = mem_printf("%s/cases/%s/%s", folder, c->name, file);
	struct error error;
	double *want;
	size_t count;
	if (npy_read_double(path, &want, &count, NULL, &error))
		fail_msg("%s", error.text);
	assert_int_equal(count, n);
	double largest = 0;
	for (size_t i = 0; i < n; i++)
		largest = fmax(largest, fabs(want[i]));
	for (size_t i = 0; i < n; i++) {
		double limit = scale > 0 ? scale * (largest + 1e-6)
					 : number(json_member(c->tolerance, "atol"), "delta") +
						   number(c->tolerance, "rtol") * fabs(want[i]);
		if (!(fabs((double)got[i] - want[i]) <= limit) && c->failures++ < 5)
			print_message("%s %s[%zu]: %.9g, golden %.9g, tolerance %.2g\n", c->name, file, i,
				      (double)got[i], want[i], limit);
	}
	free(want);
	free(path);
}

static void compare_history(struct check *c, const struct experiment *x, const cJSON *expected)
{
	const cJSON *history = json_member(expected, "history");
	assert_int_equal(recovery_steps(x->recovery), cJSON_GetArraySize(history));
	const struct recovery_metrics *mine = recovery_history(x->recovery);
	int i = 0;
	for (const cJSON *row = history->child; row; row = row->next, i++) {
		char where[32];
		snprintf(where, sizeof where, "step %d", i);
		const struct {
			const char *key;
			double value;
		} fields[] = {
			{"objective", mine[i].objective},
			{"loss", mine[i].loss},
			{"drift_l2", mine[i].drift_l2},
			{"decode_drift_l2", mine[i].decode_drift_l2},
			{"drift_relative_l2", mine[i].drift_relative_l2},
			{"delta_norm", mine[i].delta_norm},
			{"grad_norm", mine[i].grad_norm},
			{"projected_grad_norm", mine[i].projected_grad_norm},
			{"projection_cosine", mine[i].projection_cosine},
		};
		for (size_t f = 0; f < ARRAY_LEN(fields); f++) {
			/* decode drift has the floor of the drift it comes from. */
			compare(c, fields[f].key, where, fields[f].value, number(row, fields[f].key));
		}
	}
}

static void compare_final(struct check *c, const struct experiment *x, const cJSON *expected)
{
	const cJSON *final = json_member(expected, "final");
	const struct {
		const char *key;
		double value;
	} fields[] = {
		{"objective", x->final.objective},
		{"delta_norm", x->final.delta_norm},
		{"drift_l2", x->final.drift_l2},
		{"drift_relative_l2", x->final.drift_relative_l2},
		{"decode_drift_l2", x->final.decode_drift_l2},
		{"floor_violation_l2", x->final.floor_violation_l2},
		{"floor_violation_relative_l2", x->final.floor_violation_relative_l2},
		{"floor_violation_fraction", x->final.floor_violation_fraction},
		{"reactivated_fraction", x->final.reactivated_fraction},
		{"reactivated_fraction_of_eligible", x->final.reactivated_fraction_of_eligible},
	};
	for (size_t f = 0; f < ARRAY_LEN(fields); f++)
		if (json_member(final, fields[f].key))
			compare(c, fields[f].key, "final", fields[f].value, number(final, fields[f].key));
	compare(c, "objective", "base", x->base.J, number(json_member(expected, "base"), "objective"));
	compare(c, "objective", "clamped", x->clamped.J, number(json_member(expected, "clamped"), "objective"));
	const cJSON *checkpoint = json_member(expected, "checkpoint");
	if (checkpoint) {
		assert_int_equal(x->result_step, (int)number(checkpoint, "step") + 1);
		compare(c, "objective", "checkpoint", x->final.objective, number(checkpoint, "objective"));
		compare(c, "drift_relative_l2", "checkpoint", x->final.drift_relative_l2,
			number(checkpoint, "drift_relative_l2"));
	}
	const cJSON *flip = json_member(expected, "valid_flip");
	if (flip)
		assert_int_equal(cJSON_IsTrue(flip), x->base.present && !x->clamped.present);
	const cJSON *top = json_member(json_member(expected, "clamped"), "top");
	struct top_logit mine[5];
	int n = top_logits(x->clamped.logits, x->session->model.arch.vocab, 5, mine);
	for (int i = 0; i < n; i++)
		assert_int_equal(mine[i].id, (int)number(cJSON_GetArrayItem(top, i), "id"));
}

static void compare_arrays(struct check *c, struct experiment *x, const struct decomposition *parts)
{
	struct session *session = x->session;
	size_t d = (size_t)session->model.arch.d, total = (size_t)x->clamped.total;
	int64_t rows = recovery_rows(x->recovery), at = 0;
	compare_array(c, "delta.npy", x->delta, (size_t)rows * d, 0);
	struct recovery_final again;
	struct error error;
	if (recovery_evaluate(x->recovery, x->delta, &again, &error))
		fail_msg("%s", error.text);
	float *h = mem_alloc(total * d, sizeof *h);
	for (int index = 0; at < rows; index++) {
		int layer = recovery_row_layer(x->recovery, at), site = session_site_of_layer(session, layer);
		int64_t n = 0;
		while (at + n < rows && recovery_row_layer(x->recovery, at + n) == layer)
			n++;
		char name[64];
		/* Activations change by jumps where a feature turns on: their limit is that of delta,
		 * in shares of the largest entry. */
		double scale = fmax(2e-4, 20 * number(c->tolerance, "rtol"));
		snprintf(name, sizeof name, "h_def.L%d.npy", layer);
		compare_array(c, name, x->clamped.sites[site].h, total * d, 2e-5);
		if (recovery_state(x->recovery, site, RECOVERY_OUT, h, &error))
			fail_msg("%s", error.text);
		snprintf(name, sizeof name, "h_rec.L%d.npy", layer);
		compare_array(c, name, h, total * d, scale);
		snprintf(name, sizeof name, "delta_z.L%d.npy", layer);
		compare_array(c, name, parts->delta_z[index], (size_t)(n * session->sites[site].sae.features), scale);
		snprintf(name, sizeof name, "delta_res.L%d.npy", layer);
		compare_array(c, name, parts->components[COMPONENT_RESIDUAL].rows + at * (int64_t)d, (size_t)n * d,
			      scale);
		at += n;
	}
	free(h);
}

static void compare_decomposition(struct check *c, const struct decomposition *parts, const cJSON *golden)
{
	for (const cJSON *item = json_member(golden, "components")->child; item; item = item->next) {
		const char *name = json_member(item, "component")->valuestring;
		int kind = 0;
		while (kind < COMPONENT_COUNT && strcmp(component_name((enum component_kind)kind), name) != 0)
			kind++;
		assert_true(kind < COMPONENT_COUNT);
		const struct component *mine = &parts->components[kind];
		compare(c, "norm", name, mine->norm, number(item, "norm"));
		/* Turning a component by an error as long as its norm's tolerance changes the cosine by
		 * that over the norm; components that all but vanish have no direction. */
		double angle = number(json_member(c->tolerance, "atol"), "norm") / (number(item, "norm") + 1e-12);
		double cosine = number(item, "cosine_with_delta");
		if (!(fabs(mine->cosine - cosine) <= angle + number(c->tolerance, "rtol")) && c->failures++ < 5)
			print_message("%s %s: cosine is %.9g, golden %.9g, tolerance %.2g\n", c->name, name,
				      mine->cosine, cosine, angle);
		compare(c, "objective", name, mine->objective, number(item, "objective"));
		compare(c, "drift_l2", name, mine->drift_l2, number(item, "drift_l2"));
		compare(c, "drift_relative_l2", name, mine->drift_relative_l2, number(item, "drift_relative_l2"));
		if (mine->has_knockout)
			compare(c, "objective", name, mine->knockout_objective,
				number(json_member(golden, "knockout_objective"), name));
	}
	assert_true(parts->identity_error < 1e-5);
}

static void check_decompositions(struct check *c, struct experiment *x, const cJSON *golden)
{
	struct error error;
	const cJSON *item;
	cJSON_ArrayForEach(item, golden)
	{
		bool clamped_run = strcmp(json_member(item, "reference")->valuestring, "clamped_run") == 0;
		struct decomposition parts;
		if (decompose(&parts, x->session, x->recovery, &x->clamped, x->delta, (int64_t)number(item, "top_k"),
			      clamped_run, &error))
			fail_msg("%s: %s", c->name, error.text);
		compare_decomposition(c, &parts, item);
		if (clamped_run)
			compare_arrays(c, x, &parts);
		decomposition_done(&parts);
	}
}

/* The case's arguments as argv; relative paths mean the golden folder. */
static int make_argv(const cJSON *args, char **argv)
{
	int n = 0;
	argv[n++] = mem_strdup("rebound");
	for (const cJSON *arg = args->child; arg; arg = arg->next) {
		const char *last = n > 1 ? argv[n - 1] : "";
		bool path = strcmp(last, "--model") == 0 || strcmp(last, "--sae") == 0 ||
			    strcmp(last, "--probes-file") == 0;
		argv[n++] = path ? path_join(folder, arg->valuestring) : mem_strdup(arg->valuestring);
	}
	argv[n] = NULL;
	return n;
}

static void golden_case(void **state)
{
	const char *name = *state;
	if (!folder) {
		print_message("no golden files at $REBOUND_SHARED/golden/recovery\n");
		skip();
	}
	char *path = mem_printf("%s/cases/%s/case.json", folder, name);
	cJSON *json = NULL;
	struct error error;
	if (json_read(&json, path, (size_t)16 << 20, &error))
		fail_msg("%s", error.text);
	char *argv[64];
	int argc = make_argv(json_member(json, "args"), argv);
	struct options options = {0};
	struct opened opened = {0};
	struct experiment x = {0};
	if (options_parse(&options, argc, argv, &error) ||
	    options_open(&opened, &options, NEED_INPUT | NEED_SAES, &error))
		fail_msg("%s: %s", name, error.text);
	if (experiment_run(&x, opened.session, &error))
		fail_msg("%s: %s", name, error.text);

	struct check check = {.name = name, .tolerance = json_member(json, "tolerance")};
	const cJSON *expected = json_member(json, "expected");
	compare_history(&check, &x, expected);
	compare_final(&check, &x, expected);
	check_decompositions(&check, &x, json_member(json, "decomposition"));
	assert_true(fabs(recovery_reference_norm(x.recovery) - number(json, "reference_norm")) <=
		    1e-4 * number(json, "reference_norm") + 1e-6);
	print_message("%s: worst deviation of the metrics %.2f of the tolerance\n", name, check.worst);
	int messages = device_validation_messages(opened.session->device);

	experiment_done(&x);
	options_close(&opened);
	for (int i = 0; i < argc; i++)
		free(argv[i]);
	cJSON_Delete(json);
	free(path);
	assert_int_equal(check.failures, 0);
	assert_int_equal(messages, 0);
}

int main(void)
{
	const char *shared = getenv("REBOUND_SHARED");
	folder = path_join(shared ? shared : "../shared", "golden/recovery");
	if (!file_is_folder(folder)) {
		free(folder);
		folder = NULL;
	}
	setenv("REBOUND_VALIDATION", "1", 1);
	struct CMUnitTest tests[ARRAY_LEN(cases)];
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		tests[i] = (struct CMUnitTest){
			.name = cases[i], .test_func = golden_case, .initial_state = (void *)(uintptr_t)cases[i]};
	return _cmocka_run_group_tests("recovery", tests, ARRAY_LEN(cases), NULL, NULL);
}
