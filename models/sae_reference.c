#include "models/sae_reference.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"

/* A row of x on its way to the encoder. */
struct prepared {
	double *v;	 /* [d_in]: what meets W_enc */
	double *c;	 /* [d_in]: x, centred if the SAE wants that */
	double mean, sd; /* of c, SAE_NORM_LAYER; sd unbiased */
	double length;	 /* of c, SAE_NORM_CONSTANT */
};

static void prepare(const struct sae_spec *s, const double *x, struct prepared *p)
{
	int64_t d = s->d_in;
	double sum = 0, squares = 0;
	for (int64_t j = 0; j < d; j++)
		sum += x[j];
	for (int64_t j = 0; j < d; j++)
		p->c[j] = s->center_input ? x[j] - sum / (double)d : x[j];
	p->mean = s->center_input ? 0 : sum / (double)d;
	p->length = 0;
	for (int64_t j = 0; j < d; j++) {
		squares += (p->c[j] - p->mean) * (p->c[j] - p->mean);
		p->length += p->c[j] * p->c[j];
	}
	p->length = sqrt(p->length);
	p->sd = sqrt(squares / (double)(d - 1));
	for (int64_t j = 0; j < d; j++) {
		double u = p->c[j];
		if (s->norm == SAE_NORM_LAYER)
			u = (u - p->mean) / (p->sd + 1e-5);
		else if (s->norm == SAE_NORM_CONSTANT)
			u *= sqrt((double)d) / p->length;
		p->v[j] = s->subtract_b_dec ? u - s->b_dec[j] : u;
	}
}

static void prepared_init(struct prepared *p, const struct sae_spec *s)
{
	*p = (struct prepared){.v = mem_alloc((size_t)s->d_in, sizeof *p->v),
			       .c = mem_alloc((size_t)s->d_in, sizeof *p->c)};
}

static void prepared_done(struct prepared *p)
{
	free(p->v);
	free(p->c);
}

static double dot(const float *a, const double *b, int64_t n)
{
	double sum = 0;
	for (int64_t i = 0; i < n; i++)
		sum += a[i] * b[i];
	return sum;
}

/* A candidate of a choice: the larger key first, then the smaller index. */
struct candidate {
	double key;
	int64_t index;
};

static int compare_candidates(const void *left, const void *right)
{
	const struct candidate *a = left, *b = right;
	if (a->key != b->key)
		return a->key > b->key ? -1 : 1;
	return a->index < b->index ? -1 : a->index > b->index;
}

/* on[i] = 1 for the k largest keys |h| or h, of n. */
static void choose(const double *h, int64_t n, int64_t k, bool magnitude, unsigned char *on)
{
	struct candidate *all = mem_alloc((size_t)n, sizeof *all);
	for (int64_t i = 0; i < n; i++)
		all[i] = (struct candidate){magnitude ? fabs(h[i]) : h[i], i};
	qsort(all, (size_t)n, sizeof *all, compare_candidates);
	memset(on, 0, (size_t)n);
	for (int64_t i = 0; i < k && i < n; i++)
		on[all[i].index] = 1;
	free(all);
}

/* Which latents of a row are on, from h [F]. */
static void select_row(const struct sae_spec *s, const double *h, unsigned char *on)
{
	switch (s->act) {
	case SAE_RELU:
	case SAE_TANH_RELU:
	case SAE_BATCHTOPK: /* of these, select_batch keeps some */
		for (int64_t i = 0; i < s->F; i++)
			on[i] = h[i] > 0;
		return;
	case SAE_JUMPRELU:
		for (int64_t i = 0; i < s->F; i++)
			on[i] = h[i] > 0 && h[i] > s->threshold[i];
		return;
	case SAE_TOPK:
		choose(h, s->F, s->k, false, on);
		for (int64_t i = 0; i < s->F; i++)
			on[i] = on[i] && h[i] > 0;
		return;
	case SAE_ABSTOPK:
		choose(h, s->F, s->k, true, on);
		return;
	case SAE_GROUPMAX: {
		int64_t width = s->F / s->k;
		for (int64_t g = 0; g < s->k; g++) {
			choose(h + g * width, width, 1, false, on + g * width);
			for (int64_t i = g * width; i < (g + 1) * width; i++)
				on[i] = on[i] && h[i] > 0;
		}
		return;
	}
	case SAE_GATED:
		for (int64_t i = 0; i < s->F; i++)
			on[i] = h[i] + s->b_gate[i] > 0 && h[i] * s->mag_scale[i] + s->b_mag[i] > 0;
		return;
	case SAE_ACT_COUNT:
		break;
	}
	fatal("sae_reference: activation %d", (int)s->act);
}

static void select_batch(const struct sae_spec *s, int64_t T, const double *h, unsigned char *on)
{
	unsigned char *chosen = mem_alloc((size_t)(T * s->F), 1);
	choose(h, T * s->F, (int64_t)(s->batch_k * (double)T), false, chosen);
	for (int64_t i = 0; i < T * s->F; i++)
		on[i] = on[i] && chosen[i];
	free(chosen);
}

/* h [T, F] and on [T, F] of all rows. */
static void encode(const struct sae_spec *s, int64_t T, const double *x, double *h, unsigned char *on)
{
	struct prepared p;
	prepared_init(&p, s);
	for (int64_t t = 0; t < T; t++) {
		prepare(s, x + t * s->d_in, &p);
		double *row = h + t * s->F;
		for (int64_t i = 0; i < s->F; i++) {
			row[i] = dot(s->W_enc + i * s->d_in, p.v, s->d_in);
			if (s->b_enc)
				row[i] += s->b_enc[i];
		}
		select_row(s, row, on + t * s->F);
	}
	if (s->act == SAE_BATCHTOPK)
		select_batch(s, T, h, on);
	prepared_done(&p);
}

static double value_of(const struct sae_spec *s, int64_t i, double h)
{
	if (s->act == SAE_GATED)
		return h * s->mag_scale[i] + s->b_mag[i];
	return s->act == SAE_TANH_RELU ? tanh(h > 0 ? h : 0) : h;
}

static double slope_of(const struct sae_spec *s, int64_t i, double h)
{
	if (s->act == SAE_GATED)
		return s->mag_scale[i];
	return s->act == SAE_TANH_RELU ? 1 - tanh(h) * tanh(h) : 1;
}

void sae_reference_encode(const struct sae_spec *s, int64_t T, const double *x, double *z, double *pre)
{
	size_t count = (size_t)(T * s->F);
	double *h = mem_alloc(count, sizeof *h);
	unsigned char *on = mem_alloc(count, 1);
	encode(s, T, x, h, on);
	for (size_t i = 0; i < count; i++) {
		double value = value_of(s, (int64_t)i % s->F, h[i]);
		z[i] = on[i] ? value : 0;
		if (pre)
			pre[i] = value;
	}
	free(h);
	free(on);
}

/* w [d_out] = z W_dec + b_dec */
static void decode_row(const struct sae_spec *s, const double *z, double *w)
{
	for (int64_t j = 0; j < s->d_out; j++)
		w[j] = s->b_dec[j];
	for (int64_t i = 0; i < s->F; i++)
		for (int64_t j = 0; z[i] != 0 && j < s->d_out; j++)
			w[j] += z[i] * s->W_dec[i * s->d_out + j];
}

void sae_reference_decode(const struct sae_spec *s, int64_t T, const double *x, const double *z, double *y)
{
	struct prepared p;
	prepared_init(&p, s);
	for (int64_t t = 0; t < T; t++) {
		double *row = y + t * s->d_out;
		const double *in = x + t * s->d_in;
		prepare(s, in, &p);
		decode_row(s, z + t * s->F, row);
		for (int64_t j = 0; j < s->d_out && s->norm_out; j++)
			row[j] = s->norm == SAE_NORM_LAYER ? row[j] * p.sd + p.mean
							   : row[j] * p.length / sqrt((double)s->d_in);
		for (int64_t i = 0; i < s->d_in && s->W_skip; i++)
			for (int64_t j = 0; j < s->d_out; j++)
				row[j] += in[i] * s->W_skip[i * s->d_out + j];
	}
	prepared_done(&p);
}

/* Gradients by the statistics of c that decode used. */
struct statistics {
	double dmean, dsd, dlength;
};

/* dx [d_in] += through v and the statistics. dv is overwritten. */
static void prepare_back(const struct sae_spec *s, const struct prepared *p, double *dv, struct statistics by,
			 double *dx)
{
	int64_t d = s->d_in;
	double n = (double)d;
	if (s->norm == SAE_NORM_LAYER) {
		double q = 1 / (p->sd + 1e-5), along = 0, sum = 0;
		for (int64_t j = 0; j < d; j++) {
			along += dv[j] * (p->c[j] - p->mean);
			sum += dv[j];
		}
		double dsd = by.dsd - along * q * q, dmean = by.dmean - q * sum;
		for (int64_t j = 0; j < d; j++)
			dv[j] = q * dv[j] + dmean / n + dsd * (p->c[j] - p->mean) / ((n - 1) * p->sd);
	} else if (s->norm == SAE_NORM_CONSTANT) {
		double r = sqrt(n) / p->length, along = 0;
		for (int64_t j = 0; j < d; j++)
			along += dv[j] * p->c[j];
		double dlength = by.dlength - along * r / p->length;
		for (int64_t j = 0; j < d; j++)
			dv[j] = r * dv[j] + dlength * p->c[j] / p->length;
	}
	double mean = 0;
	for (int64_t j = 0; j < d && s->center_input; j++)
		mean += dv[j] / n;
	for (int64_t j = 0; j < d; j++)
		dx[j] += dv[j] - mean;
}

/* dx += d <dz, z> / dx for one row, given h and on. */
static void encode_back_row(const struct sae_spec *s, const struct prepared *p, const double *h,
			    const unsigned char *on, const double *dz, struct statistics by, double *dv, double *dx)
{
	memset(dv, 0, (size_t)s->d_in * sizeof *dv);
	for (int64_t i = 0; i < s->F; i++) {
		if (!on[i])
			continue;
		double dh = dz[i] * slope_of(s, i, h[i]);
		for (int64_t j = 0; j < s->d_in; j++)
			dv[j] += dh * s->W_enc[i * s->d_in + j];
	}
	prepare_back(s, p, dv, by, dx);
}

void sae_reference_encode_back(const struct sae_spec *s, int64_t T, const double *x, const double *dz, double *dx)
{
	size_t count = (size_t)(T * s->F);
	double *h = mem_alloc(count, sizeof *h), *dv = mem_alloc((size_t)s->d_in, sizeof *dv);
	unsigned char *on = mem_alloc(count, 1);
	struct prepared p;
	prepared_init(&p, s);
	encode(s, T, x, h, on);
	memset(dx, 0, (size_t)(T * s->d_in) * sizeof *dx);
	for (int64_t t = 0; t < T; t++) {
		prepare(s, x + t * s->d_in, &p);
		encode_back_row(s, &p, h + t * s->F, on + t * s->F, dz + t * s->F, (struct statistics){0}, dv,
				dx + t * s->d_in);
	}
	prepared_done(&p);
	free(h);
	free(dv);
	free(on);
}

/* From dy of a row: dw, and the gradients by the statistics. w is the decoder's output. */
static struct statistics norm_out_back(const struct sae_spec *s, const struct prepared *p, const double *w,
				       const double *dy, double *dw)
{
	struct statistics by = {0};
	double root = sqrt((double)s->d_in);
	for (int64_t j = 0; j < s->d_out; j++) {
		dw[j] = dy[j];
		if (s->norm_out && s->norm == SAE_NORM_LAYER) {
			dw[j] *= p->sd;
			by.dsd += dy[j] * w[j];
			by.dmean += dy[j];
		} else if (s->norm_out && s->norm == SAE_NORM_CONSTANT) {
			dw[j] *= p->length / root;
			by.dlength += dy[j] * w[j] / root;
		}
	}
	return by;
}

void sae_reference_recon_back(const struct sae_spec *s, int64_t T, const double *x, const double *dy, double *dx)
{
	size_t F = (size_t)s->F, d_in = (size_t)s->d_in, d_out = (size_t)s->d_out;
	double *h = mem_alloc((size_t)T * F, sizeof *h), *z = mem_alloc((size_t)T * F, sizeof *z);
	double *dz = mem_alloc(F, sizeof *dz), *dv = mem_alloc(d_in, sizeof *dv);
	double *w = mem_alloc(d_out, sizeof *w), *dw = mem_alloc(d_out, sizeof *dw);
	unsigned char *on = mem_alloc((size_t)T * F, 1);
	struct prepared p;
	prepared_init(&p, s);
	encode(s, T, x, h, on);
	sae_reference_encode(s, T, x, z, NULL);
	memset(dx, 0, (size_t)T * d_in * sizeof *dx);
	for (int64_t t = 0; t < T; t++) {
		const double *up = dy + t * s->d_out;
		double *to = dx + t * s->d_in;
		prepare(s, x + t * s->d_in, &p);
		decode_row(s, z + t * s->F, w);
		struct statistics by = norm_out_back(s, &p, w, up, dw);
		for (int64_t i = 0; i < s->F; i++)
			dz[i] = dot(s->W_dec + i * s->d_out, dw, s->d_out);
		encode_back_row(s, &p, h + t * s->F, on + t * s->F, dz, by, dv, to);
		for (int64_t i = 0; i < s->d_in && s->W_skip; i++)
			to[i] += dot(s->W_skip + i * s->d_out, up, s->d_out);
	}
	prepared_done(&p);
	free(h);
	free(z);
	free(dz);
	free(dv);
	free(w);
	free(dw);
	free(on);
}

double sae_reference_clamp_value(enum op_clamp_mode mode, double value, double z)
{
	switch (mode) {
	case OP_CLAMP_SET:
		return value;
	case OP_CLAMP_SET_ACTIVE:
		return z > 0 ? value : z;
	case OP_CLAMP_SCALE:
		return value * z;
	case OP_CLAMP_SCALE_ACTIVE:
		return z > 0 ? value * z : z;
	case OP_CLAMP_ABLATE:
		return 0;
	case OP_CLAMP_FLOOR:
		return z > value ? z : value;
	}
	fatal("sae_reference: clamp mode %d", (int)mode);
}

void sae_reference_clamp(const struct sae_spec *s, int64_t T, const double *x, const double *h, const int64_t *features,
			 int64_t K, enum op_clamp_mode mode, double value, double alpha, double *out)
{
	size_t count = (size_t)(T * s->F), outputs = (size_t)(T * s->d_out);
	double *z = mem_alloc(count, sizeof *z), *y = mem_alloc(outputs, sizeof *y);
	sae_reference_encode(s, T, x, z, NULL);
	sae_reference_decode(s, T, x, z, y);
	for (int64_t t = 0; t < T; t++)
		for (int64_t i = 0; i < K; i++) {
			double *at = &z[t * s->F + features[i]];
			*at = sae_reference_clamp_value(mode, value, *at);
		}
	sae_reference_decode(s, T, x, z, out);
	for (size_t i = 0; i < outputs; i++)
		out[i] += alpha * (h[i] - y[i]);
	free(z);
	free(y);
}
