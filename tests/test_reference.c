/* The float64 reference against the golden files of transformers, and its gradients
 * against finite differences. */
#include <math.h>
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "compute/base/mem.h"
#include "models/reference.h"
#include "tests/golden.h"
#include "tests/scratch.h"
#include "tests/tiny_model.h"

/* A model folder opened all the way. */
struct opened {
	struct arch arch;
	struct weight_files *files;
	struct weight_map map;
	struct reference *reference;
};

static void open_model(struct opened *m, const char *folder)
{
	struct error error = {0};
	*m = (struct opened){0};
	if (arch_read(&m->arch, folder, &error) || weight_files_open(&m->files, folder, &error) ||
	    weight_map_build(&m->map, &m->arch, m->files, true, &error) ||
	    reference_load(&m->reference, &m->arch, &m->map, m->files, (size_t)1 << 30, &error))
		fail_msg("%s: %s", folder, error.text);
}

static void close_model(struct opened *m)
{
	reference_destroy(&m->reference);
	weight_map_done(&m->map);
	weight_files_close(&m->files);
	arch_done(&m->arch);
}

static void check_array(const struct golden_model *g, const struct golden_case *c, const char *x, const double *mine,
			size_t slabs, size_t n, double tolerance, bool required)
{
	char label[160];
	snprintf(label, sizeof label, "%s %s.%s", strrchr(g->folder, '/') + 1, c->name, x);
	double *golden = golden_array(g, c, x, slabs * n);
	if (!golden) {
		if (required)
			fail_msg("%s is missing", label);
		return;
	}
	if (!mine || !golden_same(mine, golden, slabs, n, tolerance, label))
		fail_msg("%s differs", label);
	free(golden);
}

static void check_gradients(const struct golden_model *g, const struct golden_case *c, const struct reference_run *run,
			    const double *dlogits, bool second)
{
	const struct arch *arch = run->reference->arch;
	size_t slab = (size_t)c->T * (size_t)arch->d, all = slab * (size_t)arch->layers;
	double *grad[HOOK_COUNT];
	for (enum hook hook = 0; hook < HOOK_COUNT; hook++)
		grad[hook] = arch_has_hook(arch, hook) ? mem_alloc(all, sizeof(double)) : NULL;
	reference_backward(run, dlogits, grad);
	for (enum hook hook = 0; hook < HOOK_COUNT; hook++) {
		char name[40];
		snprintf(name, sizeof name, "grad%s_%s", second ? "2" : "", hook_name(hook));
		check_array(g, c, name, grad[hook], (size_t)arch->layers, slab, GOLDEN_TOLERANCE_GRAD,
			    hook == HOOK_RESID_PRE);
		free(grad[hook]);
	}
}

static void check_case(const struct golden_model *g, const struct golden_case *c, const struct opened *m)
{
	struct reference_run run;
	struct error error;
	size_t slab = (size_t)c->T * (size_t)m->arch.d, layers = (size_t)m->arch.layers;
	size_t n_logits = (size_t)c->T * (size_t)m->arch.vocab;
	assert_int_equal(reference_forward(&run, m->reference, c->ids, c->T, c->T, NULL, 0, &error), STATUS_OK);
	check_array(g, c, "logits", run.logits, 1, n_logits, GOLDEN_TOLERANCE, c->T < 500);
	check_array(g, c, "logits_last", run.logits + n_logits - (size_t)m->arch.vocab, 1, (size_t)m->arch.vocab,
		    GOLDEN_TOLERANCE, c->T >= 500);
	for (enum hook hook = 0; hook < HOOK_COUNT; hook++)
		check_array(g, c, hook_name(hook), run.resid[hook], layers, slab, GOLDEN_TOLERANCE,
			    arch_has_hook(&m->arch, hook) && c->T < 500);
	double *dlogits = mem_alloc(n_logits, sizeof *dlogits);
	if (c->a >= 0) {
		double J = reference_logit_difference(&run, c->a, c->b, dlogits);
		if (!(fabs(J - c->J) <= 1e-4 * (1 + fabs(c->J))))
			fail_msg("%s %s: J is %g; golden %g", g->folder, c->name, J, c->J);
		check_gradients(g, c, &run, dlogits, false);
	}
	if (!isnan(c->J2)) {
		double J2 = reference_mean_log_probability(&run, c->ids, dlogits);
		if (!(fabs(J2 - c->J2) <= 1e-4 * (1 + fabs(c->J2))))
			fail_msg("%s %s: J2 is %g; golden %g", g->folder, c->name, J2, c->J2);
		check_gradients(g, c, &run, dlogits, true);
	}
	free(dlogits);
	reference_run_done(&run);
}

static void check_greedy(const struct golden_model *g, const struct golden_case *c, const struct opened *m, int n)
{
	struct error error;
	int64_t *ids = mem_alloc((size_t)(c->T + n), sizeof *ids);
	memcpy(ids, c->ids, (size_t)c->T * sizeof *ids);
	for (int i = 0; i < n; i++) {
		struct reference_run run;
		assert_int_equal(reference_forward(&run, m->reference, ids, c->T + i, 1, NULL, 0, &error), STATUS_OK);
		ids[c->T + i] = reference_argmax(&run);
		if (ids[c->T + i] != c->greedy[i])
			fail_msg("%s %s: greedy id %d is %d; golden %d", g->folder, c->name, i, (int)ids[c->T + i],
				 (int)c->greedy[i]);
		reference_run_done(&run);
	}
	free(ids);
}

static void golden_folder(void **state)
{
	const char *name = *state;
	struct golden_model g;
	struct opened m;
	if (!golden_open(&g, name)) {
		print_message("no golden files at $REBOUND_SHARED/golden/%s\n", name);
		skip();
	}
	open_model(&m, g.folder);
	assert_int_equal(m.arch.layers, g.layers);
	assert_int_equal(m.arch.d, g.d);
	assert_int_equal(m.arch.vocab, g.vocab);
	for (size_t i = 0; i < m.map.n_extra; i++)
		print_message("%s: unused tensor %s\n", g.folder, m.map.extra[i]);
	assert_int_equal(m.map.n_extra, 0);
	for (size_t i = 0; i < g.n_cases; i++) {
		check_case(&g, &g.cases[i], &m);
		check_greedy(&g, &g.cases[i], &m, g.cases[i].n_greedy < 16 ? g.cases[i].n_greedy : 16);
	}
	close_model(&m);
	golden_close(&g);
}

/* Directions tried at every hook. */
enum { DIRECTIONS = 2 };

static double objective(const struct reference *reference, const int64_t *ids, int T, const struct reference_edit *edit,
			double *dlogits, struct reference_run *run)
{
	struct error error;
	assert_int_equal(reference_forward(run, reference, ids, T, T, edit, 1, &error), STATUS_OK);
	return reference_mean_log_probability(run, ids, dlogits);
}

/* Central differences of the mean log probability in random directions at one hook
 * against the gradient there. */
static void check_direction(const struct opened *m, const int64_t *ids, int T, int layer, enum hook hook,
			    const double *base_edit, uint64_t *seed)
{
	const double step = 1e-5;
	size_t n = (size_t)T * (size_t)m->arch.d, all = n * (size_t)m->arch.layers;
	double *u = mem_alloc(n, sizeof *u), *add = mem_alloc(n, sizeof *add), J[3], slope = 0;
	double *dlogits = mem_alloc((size_t)T * (size_t)m->arch.vocab, sizeof *dlogits);
	double *grad[HOOK_COUNT] = {0};
	grad[hook] = mem_alloc(all, sizeof(double));
	for (size_t i = 0; i < n; i++)
		u[i] = tiny_normal(seed);
	for (int side = -1; side <= 1; side++) {
		struct reference_run run;
		struct reference_edit edit = {.layer = layer, .hook = hook, .add = add};
		for (size_t i = 0; i < n; i++)
			add[i] = base_edit[i] + side * step * u[i];
		J[side + 1] = objective(m->reference, ids, T, &edit, dlogits, &run);
		if (side == 0)
			reference_backward(&run, dlogits, grad);
		reference_run_done(&run);
	}
	for (size_t i = 0; i < n; i++)
		slope += u[i] * grad[hook][(size_t)layer * n + i];
	double difference = (J[2] - J[0]) / (2 * step);
	if (!(fabs(difference - slope) <= 1e-7 + 1e-6 * fabs(slope)))
		fail_msg("%s, layer %d, %s: gradient %.10g, finite difference %.10g", arch_family_name(m->arch.family),
			 layer, hook_name(hook), slope, difference);
	free(u);
	free(add);
	free(dlogits);
	free(grad[hook]);
}

/* Every family at odd sizes, with options that no golden file has. */
static void finite_differences(void **state)
{
	(void)state;
	uint64_t seed = 7;
	for (size_t c = 0; c < tiny_config_count; c++) {
		struct tiny_model tiny;
		struct opened m;
		char name[32];
		int64_t ids[13];
		snprintf(name, sizeof name, "tiny-%zu", c);
		tiny_model_plan(&tiny, tiny_configs[c], NULL);
		char *folder = tiny_model_write(&tiny, name, c + 1);
		open_model(&m, folder);
		double *edit = mem_alloc(ARRAY_LEN(ids) * (size_t)m.arch.d, sizeof *edit);
		for (size_t i = 0; i < ARRAY_LEN(ids); i++)
			ids[i] = (int64_t)(i * i * 7 + 3 * c) % m.arch.vocab;
		for (size_t i = 0; i < ARRAY_LEN(ids) * (size_t)m.arch.d; i++)
			edit[i] = 0.1 * tiny_normal(&seed);
		for (int l = 0; l < m.arch.layers; l++)
			for (enum hook hook = 0; hook < HOOK_COUNT; hook++)
				for (int i = 0; i < DIRECTIONS && arch_has_hook(&m.arch, hook); i++)
					check_direction(&m, ids, ARRAY_LEN(ids), l, hook, edit, &seed);
		free(edit);
		close_model(&m);
		free(folder);
	}
}

/* resid_post of a block is resid_pre of the next; the last rows alone are the last
 * rows of all; nothing looks ahead. */
static void consistency(void **state)
{
	(void)state;
	struct tiny_model tiny;
	struct opened m;
	struct reference_run all, last, shorter;
	struct error error;
	int64_t ids[6] = {3, 1, 4, 1, 5, 2}, V = 9;
	tiny_model_plan(&tiny, tiny_configs[7], NULL);
	char *folder = tiny_model_write(&tiny, "consistency", 1);
	open_model(&m, folder);
	assert_int_equal(m.arch.vocab, V);
	assert_int_equal(reference_forward(&all, m.reference, ids, 6, 6, NULL, 0, &error), STATUS_OK);
	assert_int_equal(reference_forward(&last, m.reference, ids, 6, 2, NULL, 0, &error), STATUS_OK);
	assert_int_equal(reference_forward(&shorter, m.reference, ids, 4, 4, NULL, 0, &error), STATUS_OK);
	assert_memory_equal(all.logits + 4 * V, last.logits, (size_t)(2 * V) * sizeof(double));
	assert_memory_equal(all.logits, shorter.logits, (size_t)(4 * V) * sizeof(double));
	size_t slab = (size_t)(6 * m.arch.d);
	assert_memory_equal(all.resid[HOOK_RESID_POST], all.resid[HOOK_RESID_PRE] + slab, slab * sizeof(double));
	reference_run_done(&all);
	reference_run_done(&last);
	reference_run_done(&shorter);
	close_model(&m);
	free(folder);
}

static void refusals(void **state)
{
	(void)state;
	struct tiny_model tiny;
	struct opened m;
	struct reference_run run;
	struct error error;
	double add[30] = {0};
	tiny_model_plan(&tiny, tiny_configs[2], NULL);
	char *folder = tiny_model_write(&tiny, "refusals", 1);
	open_model(&m, folder);
	struct reference_edit middle = {.layer = 0, .hook = HOOK_RESID_MID, .add = add};
	struct reference_edit above = {.layer = 2, .hook = HOOK_RESID_PRE, .add = add};
	assert_int_equal(reference_forward(&run, m.reference, (int64_t[]){17}, 1, 1, NULL, 0, &error), STATUS_INVALID);
	assert_true(scratch_says(error.text, "token id 17 at position 0 is outside the vocabulary of 17"));
	assert_int_equal(reference_forward(&run, m.reference, (int64_t[]){-1}, 1, 1, NULL, 0, &error), STATUS_INVALID);
	assert_int_equal(reference_forward(&run, m.reference, (int64_t[]){1}, 1, 2, NULL, 0, &error), STATUS_INVALID);
	assert_int_equal(reference_forward(&run, m.reference, (int64_t[]){1}, 1, 1, &middle, 1, &error),
			 STATUS_INVALID);
	assert_true(scratch_says(error.text, "no resid_mid at layer 0"));
	assert_int_equal(reference_forward(&run, m.reference, (int64_t[]){1}, 1, 1, &above, 1, &error), STATUS_INVALID);
	struct reference *none;
	assert_int_equal(reference_load(&none, &m.arch, &m.map, m.files, 1000, &error), STATUS_INVALID);
	assert_true(scratch_says(error.text, "at most 1000 are allowed"));
	close_model(&m);
	free(folder);

	tiny_model_plan(&tiny, tiny_configs[0], NULL);
	folder = tiny_model_write(&tiny, "positions", 1);
	open_model(&m, folder);
	int64_t ids[20] = {0};
	assert_int_equal(reference_forward(&run, m.reference, ids, 20, 1, NULL, 0, &error), STATUS_INVALID);
	assert_true(scratch_says(error.text, "20 tokens do not fit the model's 19 positions"));
	close_model(&m);
	free(folder);

	struct arch arch;
	struct weight_files *files;
	struct weight_map map;
	tiny_model_find(&tiny, "transformer.h.1.mlp.c_fc.weight")->deviation = INFINITY;
	folder = tiny_model_write(&tiny, "infinite", 1);
	assert_int_equal(arch_read(&arch, folder, &error), STATUS_OK);
	assert_int_equal(weight_files_open(&files, folder, &error), STATUS_OK);
	assert_int_equal(weight_map_build(&map, &arch, files, true, &error), STATUS_OK);
	assert_int_equal(reference_load(&none, &arch, &map, files, 1 << 20, &error), STATUS_INVALID);
	assert_true(scratch_says(error.text, "tensor \"transformer.h.1.mlp.c_fc.weight\" is infinite"));
	weight_map_done(&map);
	weight_files_close(&files);
	arch_done(&arch);
	free(folder);
}

int main(void)
{
	struct CMUnitTest tests[64];
	size_t n = 0;
	for (size_t i = 0; i < golden_name_count; i++)
		tests[n++] = (struct CMUnitTest){.name = golden_names[i],
						 .test_func = golden_folder,
						 .initial_state = (void *)(uintptr_t)golden_names[i]};
	tests[n++] = (struct CMUnitTest){.name = "stories260k-hf",
					 .test_func = golden_folder,
					 .initial_state = (void *)(uintptr_t) "stories260k-hf"};
	tests[n++] = (struct CMUnitTest)cmocka_unit_test(finite_differences);
	tests[n++] = (struct CMUnitTest)cmocka_unit_test(consistency);
	tests[n++] = (struct CMUnitTest)cmocka_unit_test(refusals);
	return _cmocka_run_group_tests("reference", tests, n, NULL, NULL);
}
