/* Forward and backward passes on the device against transformers' golden arrays: every
 * hook point, logits, both gradients, greedy ids through the key/value cache. */
#include <setjmp.h>
#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "compute/base/mem.h"
#include "models/model.h"
#include "models/transformer.h"
#include "tests/golden.h"

static struct device *device;
/* Largest deviations met, by family: of residuals and logits, and of gradients. */
static double worst_forward[ARCH_PHI3 + 1], worst_gradient[ARCH_PHI3 + 1];

static void must(enum status status, const struct error *error)
{
	if (status)
		fail_msg("%s", error->text);
}

/* Keeps a copy of the residual and of its gradient at one point. */
struct watch {
	struct edit edit;
	struct tensor x, dx;
	bool keep_gradient;
};

static void watch_forward(struct edit *edit, struct recorder *rec, struct tensor x)
{
	record_copy_tensor(rec, ((struct watch *)edit)->x, x);
}

static void watch_backward(struct edit *edit, struct recorder *rec, struct tensor dx)
{
	record_copy_tensor(rec, ((struct watch *)edit)->dx, dx);
}

struct run {
	const struct model *model;
	int T;
	struct kv_cache cache;
	struct arena *arena;
	struct watch *watches;
	struct edit **edits;
	int points;
	struct pass pass;
	struct recorder *rec;
};

static bool long_rope(const struct arch *arch, int64_t total)
{
	for (int r = 0; r < arch->n_ropes; r++)
		if (arch->ropes[r].inverse_long && total > arch->ropes[r].original_context)
			return true;
	return false;
}

/* Everything that a pass computes in is NaN beforehand: whatever it reads without having
 * written it shows. */
static void poison(struct tensor t)
{
	struct error error;
	struct recorder *rec = recorder_create(device, "poison");
	recorder_begin(rec);
	record_fill(rec, (struct tensor){t.buffer, 0, 1, (int64_t)buffer_bytes(t.buffer) / 4, DTYPE_U32}, 0x7fc00000);
	must(recorder_run(rec, &error), &error);
	recorder_destroy(&rec);
}

static void run_open(struct run *run, const struct model *model, const int64_t *ids, int T, int64_t context,
		     bool longer)
{
	struct error error;
	const struct arch *arch = &model->arch;
	*run = (struct run){.model = model, .T = T, .points = 2 * arch->layers + 1};
	run->watches = mem_alloc((size_t)run->points, sizeof *run->watches);
	run->edits = mem_alloc((size_t)run->points, sizeof(struct edit *));
	run->arena = arena_create(device, BUFFER_DEVICE, "watches");
	int n = 0;
	for (int p = 0; p < run->points; p++) {
		if (arch->parallel_residual && p % 2)
			continue;
		struct watch *w = &run->watches[p];
		w->edit = (struct edit){.point = p, .forward = watch_forward, .backward = watch_backward};
		arena_add(run->arena, &w->x, DTYPE_F32, T, arch->d);
		arena_add(run->arena, &w->dx, DTYPE_F32, T, arch->d);
		run->edits[n++] = &w->edit;
	}
	must(arena_allocate(run->arena, &error), &error);
	must(kv_cache_create(&run->cache, device, arch, 1, context, &error), &error);
	struct pass_config config = {
		.arch = arch,
		.weights = &model->weights,
		.cache = &run->cache,
		.rows = T,
		.embed = true,
		.last_point = 2 * arch->layers,
		.backward = true,
		.logits = LOGITS_ALL,
		.long_rope = longer,
		.edits = run->edits,
		.edit_count = n,
	};
	must(pass_create(&run->pass, device, &config, &error), &error);
	poison(run->cache.k[0]);
	poison(run->pass.logits);
	must(pass_set_rows(&run->pass, 0, 0, &error), &error);
	uint32_t *words = mem_alloc((size_t)T, sizeof *words);
	for (int i = 0; i < T; i++)
		words[i] = (uint32_t)ids[i];
	must(tensor_write(run->pass.ids, words, &error), &error);
	free(words);
	run->rec = recorder_create(device, "test");
}

static void run_close(struct run *run)
{
	recorder_destroy(&run->rec);
	pass_done(&run->pass);
	kv_cache_done(&run->cache);
	arena_destroy(&run->arena);
	free(run->watches);
	free(run->edits);
}

static double *read_doubles(struct tensor t, double *out)
{
	struct error error;
	float *values = mem_alloc((size_t)tensor_count(t), sizeof *values);
	must(tensor_read(t, values, &error), &error);
	for (uint64_t i = 0; i < tensor_count(t); i++)
		out[i] = (double)values[i];
	free(values);
	return out;
}

/* [layers, T, d] of a hook, from the watched points. */
static void compare_hook(const struct run *run, const struct golden_model *g, const struct golden_case *c,
			 const char *x, enum hook hook, bool gradient, double tolerance)
{
	const struct arch *arch = &run->model->arch;
	size_t slab = (size_t)run->T * (size_t)arch->d, n = slab * (size_t)arch->layers;
	double *golden = golden_array(g, c, x, n);
	if (!golden)
		return;
	double *mine = mem_alloc(n, sizeof *mine);
	for (int l = 0; l < arch->layers; l++) {
		int point;
		assert_true(point_of_hook(arch, l, hook, &point));
		const struct watch *w = &run->watches[point];
		read_doubles(gradient ? w->dx : w->x, mine + slab * (size_t)l);
	}
	if (!golden_same(mine, golden, (size_t)arch->layers, slab, tolerance, x))
		fail_msg("%s %s: %s differs", g->folder, c->name, x);
	free(mine);
	free(golden);
}

/* Books what was compared since the last call. */
static void keep_deviation(const struct model *model, double *worst)
{
	double *kept = &worst[model->arch.family];
	*kept = fmax(*kept, golden_deviation());
}

static void compare_logits(const struct run *run, const struct golden_model *g, const struct golden_case *c)
{
	size_t n = (size_t)run->T * (size_t)run->model->arch.vocab;
	double *golden = golden_array(g, c, "logits", n);
	if (!golden)
		return;
	double *mine = read_doubles(run->pass.logits, mem_alloc(n, sizeof *mine));
	if (!golden_same(mine, golden, 1, n, GOLDEN_TOLERANCE, "logits"))
		fail_msg("%s %s: logits differ", g->folder, c->name);
	free(mine);
	free(golden);
}

static void set_dlogits(struct run *run, const float *values)
{
	struct error error;
	must(tensor_write(run->pass.dlogits, values, &error), &error);
}

/* dJ/dlogits of J (second = false) or J2, computed from the logits on the host. */
static void fill_dlogits(struct run *run, const struct golden_case *c, bool second)
{
	struct error error;
	size_t V = (size_t)run->model->arch.vocab, T = (size_t)run->T;
	float *d = mem_alloc(T * V, sizeof *d);
	if (!second) {
		d[(T - 1) * V + (size_t)c->a] += 1;
		d[(T - 1) * V + (size_t)c->b] -= 1;
	} else {
		float *logits = mem_alloc(T * V, sizeof *logits);
		must(tensor_read(run->pass.logits, logits, &error), &error);
		for (size_t t = 0; t + 1 < T; t++) {
			const float *row = logits + t * V;
			double largest = (double)row[0], sum = 0;
			for (size_t v = 0; v < V; v++)
				largest = (double)row[v] > largest ? (double)row[v] : largest;
			for (size_t v = 0; v < V; v++)
				sum += exp((double)row[v] - largest);
			for (size_t v = 0; v < V; v++)
				d[t * V + v] = (float)(-exp((double)row[v] - largest) / sum / (double)(T - 1));
			d[t * V + (size_t)c->ids[t + 1]] += (float)(1 / (double)(T - 1));
		}
		free(logits);
	}
	set_dlogits(run, d);
	free(d);
}

static void backward(struct run *run)
{
	struct error error;
	recorder_begin(run->rec);
	pass_record_backward(&run->pass, run->rec, (struct tensor){0});
	must(recorder_run(run->rec, &error), &error);
}

static void check_case(const struct golden_model *g, const struct golden_case *c, const struct model *model)
{
	struct error error;
	struct run run;
	run_open(&run, model, c->ids, c->T, c->T, long_rope(&model->arch, c->T));
	recorder_begin(run.rec);
	pass_record_forward(&run.pass, run.rec);
	must(recorder_run(run.rec, &error), &error);
	compare_logits(&run, g, c);
	compare_hook(&run, g, c, "resid_pre", HOOK_RESID_PRE, false, GOLDEN_TOLERANCE);
	compare_hook(&run, g, c, "resid_post", HOOK_RESID_POST, false, GOLDEN_TOLERANCE);
	if (!model->arch.parallel_residual)
		compare_hook(&run, g, c, "resid_mid", HOOK_RESID_MID, false, GOLDEN_TOLERANCE);
	keep_deviation(model, worst_forward);
	if (c->a >= 0) {
		fill_dlogits(&run, c, false);
		backward(&run);
		compare_hook(&run, g, c, "grad_resid_pre", HOOK_RESID_PRE, true, GOLDEN_TOLERANCE_GRAD);
		compare_hook(&run, g, c, "grad_resid_post", HOOK_RESID_POST, true, GOLDEN_TOLERANCE_GRAD);
		if (!model->arch.parallel_residual)
			compare_hook(&run, g, c, "grad_resid_mid", HOOK_RESID_MID, true, GOLDEN_TOLERANCE_GRAD);
	}
	if (c->a >= 0 && c->T > 1) {
		/* op_softcap_back used dlogits in place: the forward pass is still valid. */
		fill_dlogits(&run, c, true);
		backward(&run);
		compare_hook(&run, g, c, "grad2_resid_pre", HOOK_RESID_PRE, true, GOLDEN_TOLERANCE_GRAD);
	}
	keep_deviation(model, worst_gradient);
	run_close(&run);
}

/* Greedy continuation: the prompt in one pass, then one row a token over the cache. */
static void check_greedy(const struct golden_model *g, const struct golden_case *c, const struct model *model)
{
	struct error error;
	const struct arch *arch = &model->arch;
	int total = c->T + c->n_greedy;
	if (c->n_greedy == 0 || total > arch->context || long_rope(arch, total) != long_rope(arch, c->T))
		return; /* where longrope switches, every key is recomputed: generation's own test */
	struct run run;
	run_open(&run, model, c->ids, c->T, total, long_rope(arch, total));
	struct pass_config config = run.pass.config;
	config.rows = 1;
	config.backward = false;
	config.edit_count = 0;
	struct pass one;
	must(pass_create(&one, device, &config, &error), &error);
	float *logits = mem_alloc((size_t)arch->vocab, sizeof *logits);
	struct pass *pass = &run.pass;
	for (int i = 0; i < c->n_greedy; i++) {
		recorder_begin(run.rec);
		pass_record_forward(pass, run.rec);
		must(recorder_run(run.rec, &error), &error);
		must(tensor_read(tensor_rows(pass->logits, pass->config.rows - 1, 1), logits, &error), &error);
		int64_t best = 0;
		for (int64_t v = 1; v < arch->vocab; v++)
			if (logits[v] > logits[best])
				best = v;
		if (best != c->greedy[i])
			fail_msg("%s %s: greedy id %d is %d; golden %d", g->folder, c->name, i, (int)best,
				 (int)c->greedy[i]);
		uint32_t id = (uint32_t)best;
		pass = &one;
		must(tensor_write(one.ids, &id, &error), &error);
		must(pass_set_rows(&one, 0, c->T + i, &error), &error);
	}
	free(logits);
	pass_done(&one);
	run_close(&run);
}

static void golden_folder(void **state)
{
	const char *name = *state;
	struct golden_model g;
	if (!golden_open(&g, name)) {
		print_message("no golden files at $REBOUND_SHARED/golden/%s\n", name);
		skip();
	}
	struct error error;
	struct model model;
	must(model_open(&model, g.folder, device, NULL, &error), &error);
	for (size_t i = 0; i < g.n_cases; i++) {
		check_case(&g, &g.cases[i], &model);
		check_greedy(&g, &g.cases[i], &model);
	}
	model_close(&model);
	golden_close(&g);
	assert_int_equal(device_validation_messages(device), 0);
}

static int open_device(void **state)
{
	(void)state;
	struct error error;
	struct device_options options = {.validation = true};
	if (device_create(&device, &options, &error) != STATUS_OK) {
		print_message("%s\n", error.text);
		return -1;
	}
	return 0;
}

static int close_device(void **state)
{
	(void)state;
	for (int family = 0; family <= ARCH_PHI3; family++)
		if (worst_forward[family] > 0)
			print_message("%-8s largest deviation: residuals and logits %.1e, gradients %.1e\n",
				      arch_family_name((enum arch_family)family), worst_forward[family],
				      worst_gradient[family]);
	device_destroy(&device);
	return 0;
}

int main(void)
{
	struct CMUnitTest *tests = mem_alloc(golden_name_count, sizeof *tests);
	size_t n = 0;
	for (size_t i = 0; i < golden_name_count; i++) {
		char *name = mem_strdup(golden_names[i]);
		tests[n++] =
			(struct CMUnitTest){.name = golden_names[i], .test_func = golden_folder, .initial_state = name};
	}
	int failed = _cmocka_run_group_tests("transformer", tests, n, open_device, close_device);
	for (size_t i = 0; i < n; i++)
		free(tests[i].initial_state);
	free(tests);
	return failed;
}
