/* models/sae_reference.h: gradients of every activation and normalisation against central differences. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "models/sae_reference.h"
#include "tests/random_sae.h"

enum { D = 5, F = 6, T = 3 };

/* <z, dz>, or <y, dy> of the reconstruction. */
static double weighted_sum(const struct sae_spec *s, const double *x, const double *up, bool of_recon)
{
	double z[T * F], y[T * D], sum = 0;
	sae_reference_encode(s, T, x, z, NULL);
	sae_reference_decode(s, T, x, z, y);
	for (int j = 0; j < T * (of_recon ? D : F); j++)
		sum += up[j] * (of_recon ? y[j] : z[j]);
	return sum;
}

static void check_gradient(const struct sae_spec *s, bool of_recon)
{
	const double eps = 1e-6;
	double *x = random_sae_rows(T, D), *up = random_sae_rows(T, F), dx[T * D];
	if (of_recon)
		sae_reference_recon_back(s, T, x, up, dx);
	else
		sae_reference_encode_back(s, T, x, up, dx);
	for (int i = 0; i < T * D; i++) {
		double keep = x[i];
		x[i] = keep - eps;
		double below = weighted_sum(s, x, up, of_recon);
		x[i] = keep + eps;
		double slope = (weighted_sum(s, x, up, of_recon) - below) / (2 * eps);
		x[i] = keep;
		if (!(fabs(slope - dx[i]) <= 1e-6 * fmax(1, fabs(slope))))
			fail_msg("%s, of %s: %g, not %g", random_sae_name(s), of_recon ? "reconstruction" : "features",
				 dx[i], slope);
	}
	free(x);
	free(up);
}

static void test_gradients(void **state)
{
	(void)state;
	for (int act = 0; act < SAE_ACT_COUNT; act++)
		for (int norm = 0; norm <= SAE_NORM_LAYER; norm++)
			for (int center = 0; center < 2; center++) {
				struct sae_spec s;
				random_sae_make(&s, (enum sae_act)act, (enum sae_norm)norm, center, D, F, 2);
				s.subtract_b_dec = true;
				s.has_skip = true;
				s.W_skip = random_sae_floats(D * D, -0.8, 1.2);
				check_gradient(&s, false);
				check_gradient(&s, true);
				sae_spec_done(&s);
			}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_gradients),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
