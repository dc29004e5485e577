/* How well an SAE fits a prompt (sessions/sae_fit.h), on the built-in model, against the same
 * computed in double precision on the host. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "compute/base/mem.h"
#include "models/reference.h"
#include "models/sae_reference.h"
#include "sessions/sae_fit.h"

static void must(enum status status, const struct error *error)
{
	if (status)
		fail_msg("%s", error->text);
}

/* An SAE hooked in where it was trained, or elsewhere: the definition is the same. */
static const struct hooked {
	const char *spec, *path;
	int layer;
	enum hook hook;
} hooks[] = {
	{"models/demo/sae/layer_1", "models/demo/sae/layer_1", 1, HOOK_RESID_POST},
	{"2:resid_pre=models/demo/sae/layer_1", "models/demo/sae/layer_1", 2, HOOK_RESID_PRE},
	{"2:resid_mid=models/demo/sae/layer_2", "models/demo/sae/layer_2", 2, HOOK_RESID_MID},
	{"models/demo/sae/layer_3", "models/demo/sae/layer_3", 3, HOOK_RESID_POST},
};

/* Some text of the model's kind; more tokens than are read at a time. */
static const char text[] = "Then, Anna and Tom went to the pond. Tom gave a ring to Anna. After that, Paul and Sara "
			   "walked to the field, and Sara handed a book to Paul. While they were there, Kim found a "
			   "coin near the old bridge and gave it to";

struct host {
	struct reference *reference;
	struct reference_run clean;
	const struct session *session;
	int64_t ids[256];
	int T;
};

static void host_open(struct host *h, const struct session *session)
{
	struct error error = {0};
	const struct model *model = &session->model;
	*h = (struct host){.session = session, .T = (int)session->prompt.count};
	assert_true(session->prompt.count <= 256);
	for (int t = 0; t < h->T; t++)
		h->ids[t] = session->prompt.ids[t];
	must(reference_load(&h->reference, &model->arch, &model->map, model->files, (size_t)1 << 30, &error), &error);
	must(reference_forward(&h->clean, h->reference, h->ids, h->T, h->T, NULL, 0, &error), &error);
}

static void host_close(struct host *h)
{
	reference_run_done(&h->clean);
	reference_destroy(&h->reference);
}

/* Mean cross-entropy of tokens 2 .. T - 1, predicted at positions 1 .. T - 2. */
static double host_loss(const struct host *h, const struct reference_run *run)
{
	int64_t V = h->session->model.arch.vocab;
	double sum = 0;
	for (int t = 1; t < h->T - 1; t++) {
		const double *row = run->logits + t * V;
		double largest = row[0], total = 0;
		for (int64_t v = 1; v < V; v++)
			largest = fmax(largest, row[v]);
		for (int64_t v = 0; v < V; v++)
			total += exp(row[v] - largest);
		sum += largest + log(total) - row[h->ids[t + 1]];
	}
	return sum / (h->T - 2);
}

static double host_edited_loss(const struct host *h, const struct hooked *at, const double *add)
{
	struct error error = {0};
	struct reference_run run;
	const struct reference_edit edit = {.layer = at->layer, .hook = at->hook, .add = add};
	must(reference_forward(&run, h->reference, h->ids, h->T, h->T, &edit, 1, &error), &error);
	double loss = host_loss(h, &run);
	reference_run_done(&run);
	return loss;
}

/* The loss as the definition has it: position 0 is zeroed, but not reconstructed. */
static struct splice_loss host_splice(const struct host *h, const struct hooked *at)
{
	struct error error = {0};
	struct sae_spec spec;
	int64_t d = h->session->model.arch.d, T = h->T;
	const double *x = h->clean.resid[at->hook] + at->layer * T * d;
	must(sae_file_open(&spec, at->path, NULL, &error), &error);
	must(sae_file_load(&spec, NULL, &error), &error);
	double *z = mem_alloc((size_t)(T * spec.F), sizeof *z);
	double *add = mem_alloc((size_t)(T * d), sizeof *add), *y = mem_alloc((size_t)(T * d), sizeof *y);
	struct splice_loss loss = {.tokens = T - 2, .clean = host_loss(h, &h->clean)};
	for (int64_t i = 0; i < T * d; i++)
		add[i] = -x[i];
	loss.zeroed = host_edited_loss(h, at, add);
	sae_reference_encode(&spec, T, x, z, NULL);
	sae_reference_decode(&spec, T, x, z, y);
	for (int64_t i = 0; i < T * d; i++)
		add[i] = i < d ? 0 : y[i] - x[i];
	loss.spliced = host_edited_loss(h, at, add);
	free(z);
	free(add);
	free(y);
	sae_spec_done(&spec);
	return loss;
}

static void check_near(const char *what, const struct hooked *at, int T, double found, double expected)
{
	/* float32 through four layers; a latent that is on its threshold may fall to either side. */
	if (!(fabs(found - expected) <= 1e-4 * (1 + fabs(expected))))
		fail_msg("%s, %d tokens, %s: %.9g, expected %.9g", at->spec, T, what, found, expected);
}

static void check_loss(struct session *session, const struct hooked *at)
{
	struct error error = {0};
	struct scene base;
	struct sae_fit fit;
	struct host host;
	double share;
	host_open(&host, session);
	must(scene_run(&base, session, false, &error), &error);
	must(sae_fit_measure(&fit, &base, 0, &error), &error);
	assert_int_equal(fit.loss.tokens, 0);
	must(sae_fit_measure_loss(&fit, &base, 0, &error), &error);
	struct splice_loss expected = host_splice(&host, at);
	assert_int_equal(fit.loss.tokens, expected.tokens);
	check_near("clean", at, host.T, fit.loss.clean, expected.clean);
	check_near("zeroed", at, host.T, fit.loss.zeroed, expected.zeroed);
	check_near("spliced", at, host.T, fit.loss.spliced, expected.spliced);
	/* Of a few tokens zeros may do no harm. */
	bool known = splice_loss_recovered(&fit.loss, &share);
	assert_true(known || host.T < 5);
	if (known)
		check_near("recovered", at, host.T, share,
			   (expected.zeroed - expected.spliced) / (expected.zeroed - expected.clean));
	scene_done(&base);
	host_close(&host);
}

static void test_loss(void **state)
{
	(void)state;
	struct error error = {0};
	for (size_t i = 0; i < ARRAY_LEN(hooks); i++) {
		struct session *session;
		struct session_options options = {
			.model = "models/demo", .saes = &hooks[i].spec, .sae_count = 1, .validation = true};
		must(session_open(&session, &options, &error), &error);
		must(session_set_text(session, text, sizeof text - 1, false, false, false, &error), &error);
		assert_true(session->prompt.count > 40 && session->prompt.count < 80);
		check_loss(session, &hooks[i]);
		const struct token_list all = session->prompt;
		int32_t ids[34]; /* one more than are read at a time; the fewest that can be */
		memcpy(ids, all.ids, sizeof ids);
		must(session_set_tokens(session, ids, 34, &error), &error);
		check_loss(session, &hooks[i]);
		must(session_set_tokens(session, ids, 3, &error), &error);
		check_loss(session, &hooks[i]);
		assert_int_equal(device_validation_messages(session->device), 0);
		session_close(&session);
	}
}

/* Where it can't be known it is unknown, and no failure. */
static void test_unknown(void **state)
{
	(void)state;
	struct error error = {0};
	struct session *session;
	struct scene scene;
	struct sae_fit fit;
	double share;
	struct session_options options = {.model = "models/demo", .saes = &hooks[0].spec, .sae_count = 1};
	must(session_open(&session, &options, &error), &error);
	for (size_t n = 1; n < 3; n++) {
		must(session_set_tokens(session, (const int32_t[]){1, 7}, n, &error), &error);
		must(scene_run(&scene, session, false, &error), &error);
		must(sae_fit_measure_loss(&fit, &scene, 0, &error), &error);
		assert_false(splice_loss_recovered(&fit.loss, &share));
		scene_done(&scene);
	}
	must(session_set_text(session, text, sizeof text - 1, false, false, false, &error), &error);
	const struct layer_rule rule = {1, {31, OP_CLAMP_ABLATE, 0}};
	must(session_set_clamps(session, &rule, 1, &error), &error);
	must(scene_run(&scene, session, true, &error), &error);
	must(sae_fit_measure_loss(&fit, &scene, 0, &error), &error);
	assert_false(splice_loss_recovered(&fit.loss, &share));
	scene_done(&scene);

	/* Too little memory for the passes; a cancel. */
	must(scene_run(&scene, session, false, &error), &error);
	struct device_info *info = (struct device_info *)(uintptr_t)device_get_info(session->device);
	uint64_t memory = info->memory_bytes;
	info->memory_bytes = 1;
	must(sae_fit_measure_loss(&fit, &scene, 0, &error), &error);
	assert_int_equal(fit.loss.tokens, 0);
	info->memory_bytes = memory;
	atomic_bool cancel = true;
	session->cancel = &cancel;
	assert_int_equal(sae_fit_measure_loss(&fit, &scene, 0, &error), STATUS_CANCELLED);
	assert_int_equal(fit.loss.tokens, 0);
	scene_done(&scene);
	session_close(&session);

	/* Zeros that do no harm leave nothing to recover. */
	assert_false(splice_loss_recovered(&(struct splice_loss){20, 3, 3.5, 3}, &share));
	assert_true(splice_loss_recovered(&(struct splice_loss){20, 3, 3.5, 4}, &share));
	assert_true(share == 0.5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_loss),
		cmocka_unit_test(test_unknown),
	};
	return cmocka_run_group_tests_name("sae_fit", tests, NULL, NULL);
}
