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
	return _cmocka_run_group_tests("reference", tests, n, NULL, NULL);
}
