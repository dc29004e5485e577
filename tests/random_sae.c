#include "tests/random_sae.h"

#include <math.h>
#include <stdio.h>

#include "compute/base/mem.h"

static uint64_t random_state = 20261124;

double random_sae_uniform(double low, double high)
{
	random_state ^= random_state >> 12;
	random_state ^= random_state << 25;
	random_state ^= random_state >> 27;
	return low + (high - low) * (double)(random_state * 0x2545f4914f6cdd1d >> 11) * 0x1p-53;
}

float *random_sae_floats(size_t n, double low, double high)
{
	float *x = mem_alloc(n, sizeof *x);
	for (size_t i = 0; i < n; i++)
		x[i] = (float)random_sae_uniform(low, high);
	return x;
}

void random_sae_make(struct sae_spec *s, enum sae_act act, enum sae_norm norm, bool center, int64_t d, int64_t F,
		     int64_t k)
{
	size_t f = (size_t)F, n = (size_t)d;
	*s = (struct sae_spec){
		.path = mem_strdup("made here"),
		.d_in = d,
		.d_out = d,
		.F = F,
		.act = act,
		.k = act == SAE_TOPK || act == SAE_ABSTOPK || act == SAE_GROUPMAX ? k : 0,
		.batch_k = (double)k + 0.5,
		.norm = norm,
		.norm_out = norm != SAE_NORM_NONE,
		.subtract_b_dec = act % 2 == 0,
		.center_input = center,
		.W_enc = random_sae_floats(f * n, -0.5, 0.5),
		.W_dec = random_sae_floats(f * n, -0.5, 0.5),
		.b_dec = random_sae_floats(n, -0.5, 0.5),
	};
	if (act != SAE_GATED)
		s->b_enc = random_sae_floats(f, -0.3, 0.3);
	if (act == SAE_JUMPRELU)
		s->threshold = random_sae_floats(f, -0.1, 0.6);
	if (act == SAE_GATED) {
		s->b_gate = random_sae_floats(f, -0.3, 0.3);
		s->b_mag = random_sae_floats(f, -0.3, 0.5);
		s->mag_scale = random_sae_floats(f, 0.5, 2);
	}
}

double *random_sae_rows(int64_t n, int64_t d)
{
	double *x = mem_alloc((size_t)(n * d), sizeof *x);
	for (int64_t r = 0; r < n; r++) {
		double scale = pow(10, random_sae_uniform(-0.5, 0.7)), shift = random_sae_uniform(-0.5, 0.5);
		for (int64_t j = 0; j < d; j++)
			x[r * d + j] = (float)(scale * (random_sae_uniform(-1, 1) + shift));
	}
	return x;
}

const char *random_sae_name(const struct sae_spec *s)
{
	static char name[128];
	snprintf(name, sizeof name, "%s, norm %s%s, %lld of %lld features", sae_act_name(s->act),
		 sae_norm_name(s->norm), s->center_input ? ", centred" : "", (long long)s->k, (long long)s->F);
	return name;
}
