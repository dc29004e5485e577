#include "models/reference_block.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"

static double *numbers(int64_t rows, int64_t cols)
{
	return mem_alloc((size_t)rows * (size_t)cols, sizeof(double));
}

static double dot(const double *a, const double *b, int64_t n)
{
	double sum = 0;
	for (int64_t i = 0; i < n; i++)
		sum += a[i] * b[i];
	return sum;
}

static void add_to(double *y, const double *x, int64_t n)
{
	for (int64_t i = 0; i < n; i++)
		y[i] += x[i];
}

void reference_linear(double *y, const double *x, const double *W, const double *b, int64_t T, int64_t out, int64_t in)
{
	for (int64_t t = 0; t < T; t++)
		for (int64_t j = 0; j < out; j++)
			y[t * out + j] = dot(x + t * in, W + j * in, in) + (b ? b[j] : 0);
}

void reference_linear_back(double *dx, const double *dy, const double *W, int64_t T, int64_t out, int64_t in)
{
	for (int64_t t = 0; t < T; t++)
		for (int64_t j = 0; j < out; j++)
			for (int64_t i = 0; i < in; i++)
				dx[t * in + i] += dy[t * out + j] * W[j * in + i];
}

/* The mean that a norm subtracts (0 for RMS norms) and what it multiplies by. */
static void norm_scale(const struct arch *arch, const double *x, int64_t n, double *mean, double *r)
{
	double sum = 0, square = 0;
	for (int64_t i = 0; i < n && arch->norm == ARCH_NORM_LAYER; i++)
		sum += x[i];
	*mean = sum / (double)n;
	for (int64_t i = 0; i < n; i++)
		square += (x[i] - *mean) * (x[i] - *mean);
	*r = 1 / sqrt(square / (double)n + arch->norm_eps);
}

static double norm_weight(const struct arch *arch, const double *w, int64_t i)
{
	return arch->norm == ARCH_NORM_RMS_PLUS ? 1 + w[i] : w[i];
}

void reference_norm(const struct arch *arch, double *y, const double *x, const double *w, const double *b, int64_t rows,
		    int64_t n)
{
	for (int64_t t = 0; t < rows; t++, x += n, y += n) {
		double mean, r;
		norm_scale(arch, x, n, &mean, &r);
		for (int64_t i = 0; i < n; i++)
			y[i] = (x[i] - mean) * r * norm_weight(arch, w, i) + (b ? b[i] : 0);
	}
}

/* With u = (x - mean) r and g = dy w: dx = r (g - mean(g) - u mean(g u)), where RMS
 * norms lack the term mean(g). */
void reference_norm_back(const struct arch *arch, double *dx, const double *dy, const double *x, const double *w,
			 int64_t rows, int64_t n)
{
	for (int64_t t = 0; t < rows; t++, x += n, dy += n, dx += n) {
		double mean, r, g_mean = 0, gu_mean = 0;
		norm_scale(arch, x, n, &mean, &r);
		for (int64_t i = 0; i < n; i++) {
			double g = dy[i] * norm_weight(arch, w, i);
			if (arch->norm == ARCH_NORM_LAYER)
				g_mean += g / (double)n;
			gu_mean += g * (x[i] - mean) * r / (double)n;
		}
		for (int64_t i = 0; i < n; i++)
			dx[i] += r * (dy[i] * norm_weight(arch, w, i) - g_mean - (x[i] - mean) * r * gu_mean);
	}
}

static const double tanh_scale = 0.79788456080286535588; /* sqrt(2 / pi) */

static double activate(enum arch_act act, double x)
{
	switch (act) {
	case ARCH_ACT_GELU:
		return x * 0.5 * erfc(-x * sqrt(0.5));
	case ARCH_ACT_GELU_TANH:
		return 0.5 * x * (1 + tanh(tanh_scale * (x + 0.044715 * x * x * x)));
	case ARCH_ACT_SILU:
		return x / (1 + exp(-x));
	case ARCH_ACT_RELU:
		break;
	}
	return x > 0 ? x : 0;
}

static double activate_slope(enum arch_act act, double x)
{
	switch (act) {
	case ARCH_ACT_GELU: /* Phi(x) + x phi(x) */
		return 0.5 * erfc(-x * sqrt(0.5)) + x * exp(-0.5 * x * x) * 0.5 * tanh_scale;
	case ARCH_ACT_GELU_TANH: {
		double t = tanh(tanh_scale * (x + 0.044715 * x * x * x));
		return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * tanh_scale * (1 + 3 * 0.044715 * x * x);
	}
	case ARCH_ACT_SILU: {
		double s = 1 / (1 + exp(-x));
		return s * (1 + x * (1 - s));
	}
	case ARCH_ACT_RELU:
		break;
	}
	return x > 0 ? 1 : 0;
}

/* Rotates every head of x [T, heads hd] by its position (direction 1), or back
 * (direction -1, the transpose). */
static void rotate(const struct arch *arch, int layer, double *x, int T, int heads, double direction)
{
	int index = arch->layer[layer].rope;
	if (index < 0)
		return;
	const struct arch_rope *rope = &arch->ropes[index];
	const double *inverse = rope->inverse_long && T > rope->original_context ? rope->inverse_long : rope->inverse;
	for (int t = 0; t < T; t++) {
		for (int h = 0; h < heads; h++) {
			double *head = x + ((int64_t)t * heads + h) * arch->head_dim;
			for (int i = 0, j = rope->dims / 2; i < rope->dims / 2; i++, j++) {
				double c = rope->scale * cos(t * inverse[i]);
				double s = rope->scale * sin(t * inverse[i]) * direction;
				double a = head[i], b = head[j];
				head[i] = a * c - b * s;
				head[j] = b * c + a * s;
			}
		}
	}
}

/* The first key that query t sees. */
static int first_key(const struct arch *arch, int layer, int t)
{
	int window = arch->layer[layer].window;
	return window > 0 && t - window + 1 > 0 ? t - window + 1 : 0;
}

/* Row t of head h of a [T, heads hd] array. */
static double *head_at(double *x, const struct arch *arch, int heads, int t, int h)
{
	return x + ((int64_t)t * heads + h) * arch->head_dim;
}

/* p[k] over the keys that query t sees: softmax of scaled, capped q.k. */
static void attend_row(struct reference_block *b, const struct arch *arch, int h, int t)
{
	int kv = h / (arch->heads / arch->kv_heads), first = first_key(arch, b->layer, t);
	double *p = b->p + ((int64_t)h * b->T + t) * b->T;
	double *capped = b->capped ? b->capped + ((int64_t)h * b->T + t) * b->T : NULL;
	double largest = -INFINITY, sum = 0;
	for (int k = first; k <= t; k++) {
		double score = dot(head_at(b->q, arch, arch->heads, t, h), head_at(b->k, arch, arch->kv_heads, k, kv),
				   arch->head_dim) *
			       arch->layer[b->layer].score_scale;
		if (capped)
			score = capped[k] = arch->score_softcap * tanh(score / arch->score_softcap);
		p[k] = score;
		largest = fmax(largest, score);
	}
	for (int k = first; k <= t; k++)
		sum += p[k] = exp(p[k] - largest);
	double *z = head_at(b->z, arch, arch->heads, t, h);
	for (int k = first; k <= t; k++) {
		p[k] /= sum;
		const double *v = head_at(b->v, arch, arch->kv_heads, k, kv);
		for (int i = 0; i < arch->head_dim; i++)
			z[i] += p[k] * v[i];
	}
}

static void attend(struct reference_block *b, const struct arch *arch, double *const *w)
{
	int64_t T = b->T, d = arch->d, q_width = (int64_t)arch->heads * arch->head_dim;
	int64_t kv_width = (int64_t)arch->kv_heads * arch->head_dim;
	b->n1 = numbers(T, d);
	reference_norm(arch, b->n1, b->x, w[WEIGHT_NORM1], w[WEIGHT_NORM1_BIAS], T, d);
	b->q0 = numbers(T, q_width);
	b->k0 = numbers(T, kv_width);
	b->v = numbers(T, kv_width);
	reference_linear(b->q0, b->n1, w[WEIGHT_Q], w[WEIGHT_Q_BIAS], T, q_width, d);
	reference_linear(b->k0, b->n1, w[WEIGHT_K], w[WEIGHT_K_BIAS], T, kv_width, d);
	reference_linear(b->v, b->n1, w[WEIGHT_V], w[WEIGHT_V_BIAS], T, kv_width, d);
	b->q = mem_copy(b->q0, (size_t)(T * q_width) * sizeof(double));
	b->k = mem_copy(b->k0, (size_t)(T * kv_width) * sizeof(double));
	if (arch->qk_norm) {
		reference_norm(arch, b->q, b->q0, w[WEIGHT_Q_NORM], NULL, T * arch->heads, arch->head_dim);
		reference_norm(arch, b->k, b->k0, w[WEIGHT_K_NORM], NULL, T * arch->kv_heads, arch->head_dim);
	}
	rotate(arch, b->layer, b->q, b->T, arch->heads, 1);
	rotate(arch, b->layer, b->k, b->T, arch->kv_heads, 1);
	b->p = numbers(arch->heads * T, T);
	b->capped = arch->score_softcap > 0 ? numbers(arch->heads * T, T) : NULL;
	b->z = numbers(T, q_width);
	for (int h = 0; h < arch->heads; h++)
		for (int t = 0; t < b->T; t++)
			attend_row(b, arch, h, t);
	b->o = numbers(T, d);
	reference_linear(b->o, b->z, w[WEIGHT_O], w[WEIGHT_O_BIAS], T, d, q_width);
	b->a = mem_copy(b->o, (size_t)(T * d) * sizeof(double));
	if (arch->post_norms)
		reference_norm(arch, b->a, b->o, w[WEIGHT_POST_NORM1], NULL, T, d);
}

static void transform(struct reference_block *b, const struct arch *arch, double *const *w)
{
	int64_t T = b->T, d = arch->d, f = arch->f;
	b->n2 = numbers(T, d);
	reference_norm(arch, b->n2, arch->parallel_residual ? b->x : b->mid, w[WEIGHT_NORM2], w[WEIGHT_NORM2_BIAS], T,
		       d);
	b->up = numbers(T, f);
	b->act = numbers(T, f);
	reference_linear(b->up, b->n2, w[WEIGHT_UP], w[WEIGHT_UP_BIAS], T, f, d);
	if (arch->gated) {
		b->gate = numbers(T, f);
		reference_linear(b->gate, b->n2, w[WEIGHT_GATE], w[WEIGHT_GATE_BIAS], T, f, d);
	}
	for (int64_t i = 0; i < T * f; i++)
		b->act[i] = b->gate ? activate(arch->act, b->gate[i]) * b->up[i] : activate(arch->act, b->up[i]);
	b->down = numbers(T, d);
	reference_linear(b->down, b->act, w[WEIGHT_DOWN], w[WEIGHT_DOWN_BIAS], T, d, f);
	b->m = mem_copy(b->down, (size_t)(T * d) * sizeof(double));
	if (arch->post_norms)
		reference_norm(arch, b->m, b->down, w[WEIGHT_POST_NORM2], NULL, T, d);
}

void reference_block_forward(struct reference_block *block, const struct reference *reference, int layer, int T,
			     const double *x, const double *edit_mid)
{
	const struct arch *arch = reference->arch;
	int64_t n = (int64_t)T * arch->d;
	*block = (struct reference_block){.reference = reference, .layer = layer, .T = T, .x = x};
	attend(block, arch, reference->layer[layer]);
	block->mid = mem_copy(x, (size_t)n * sizeof(double));
	add_to(block->mid, block->a, n);
	if (edit_mid)
		add_to(block->mid, edit_mid, n);
	transform(block, arch, reference->layer[layer]);
	block->post = mem_copy(block->mid, (size_t)n * sizeof(double));
	add_to(block->post, block->m, n);
}

/* dn2 += the MLP's share, from dm, the gradient of what it adds. */
static void transform_back(const struct reference_block *b, const struct arch *arch, double *const *w, const double *dm,
			   double *dn2)
{
	int64_t T = b->T, d = arch->d, f = arch->f;
	double *ddown = numbers(T, d), *dact = numbers(T, f), *dup = numbers(T, f), *dgate = numbers(T, f);
	if (arch->post_norms)
		reference_norm_back(arch, ddown, dm, b->down, w[WEIGHT_POST_NORM2], T, d);
	else
		add_to(ddown, dm, T * d);
	reference_linear_back(dact, ddown, w[WEIGHT_DOWN], T, d, f);
	for (int64_t i = 0; i < T * f; i++) {
		if (b->gate) {
			dgate[i] = dact[i] * b->up[i] * activate_slope(arch->act, b->gate[i]);
			dup[i] = dact[i] * activate(arch->act, b->gate[i]);
		} else {
			dup[i] = dact[i] * activate_slope(arch->act, b->up[i]);
		}
	}
	reference_linear_back(dn2, dup, w[WEIGHT_UP], T, f, d);
	if (b->gate)
		reference_linear_back(dn2, dgate, w[WEIGHT_GATE], T, f, d);
	free(ddown);
	free(dact);
	free(dup);
	free(dgate);
}

/* dq, dk, dv += row t of head h: softmax, soft cap and scale, backwards. */
static void attend_row_back(const struct reference_block *b, const struct arch *arch, int h, int t, const double *dz,
			    double *dq, double *dk, double *dv)
{
	int kv = h / (arch->heads / arch->kv_heads), hd = arch->head_dim;
	const double *p = b->p + ((int64_t)h * b->T + t) * b->T;
	double mean = 0;
	for (int k = first_key(arch, b->layer, t); k <= t; k++)
		mean += p[k] * dot(dz, head_at(b->v, arch, arch->kv_heads, k, kv), hd);
	for (int k = first_key(arch, b->layer, t); k <= t; k++) {
		double *v = head_at(b->v, arch, arch->kv_heads, k, kv),
		       *dv_k = head_at(dv, arch, arch->kv_heads, k, kv);
		double *key = head_at(b->k, arch, arch->kv_heads, k, kv),
		       *dk_k = head_at(dk, arch, arch->kv_heads, k, kv);
		double *query = head_at(b->q, arch, arch->heads, t, h), *dq_t = head_at(dq, arch, arch->heads, t, h);
		double dscore = p[k] * (dot(dz, v, hd) - mean);
		if (b->capped) {
			double u = b->capped[((int64_t)h * b->T + t) * b->T + k] / arch->score_softcap;
			dscore *= 1 - u * u;
		}
		dscore *= arch->layer[b->layer].score_scale;
		for (int i = 0; i < hd; i++) {
			dv_k[i] += p[k] * dz[i];
			dq_t[i] += dscore * key[i];
			dk_k[i] += dscore * query[i];
		}
	}
}

/* Through rotation and q/k norm: dx0 += from dx, the gradient of the rotated rows. */
static void unrotate(const struct reference_block *b, const struct arch *arch, double *dx0, double *dx,
		     const double *x0, const double *norm, int heads)
{
	rotate(arch, b->layer, dx, b->T, heads, -1);
	if (arch->qk_norm)
		reference_norm_back(arch, dx0, dx, x0, norm, (int64_t)b->T * heads, arch->head_dim);
	else
		add_to(dx0, dx, (int64_t)b->T * heads * arch->head_dim);
}

/* dn1 += attention's share, from da, the gradient of what it adds. */
static void attend_back(const struct reference_block *b, const struct arch *arch, double *const *w, const double *da,
			double *dn1)
{
	int64_t T = b->T, d = arch->d, q_width = (int64_t)arch->heads * arch->head_dim;
	int64_t kv_width = (int64_t)arch->kv_heads * arch->head_dim;
	double *d_o = numbers(T, d), *dz = numbers(T, q_width), *dv = numbers(T, kv_width);
	double *dq = numbers(T, q_width), *dq0 = numbers(T, q_width);
	double *dk = numbers(T, kv_width), *dk0 = numbers(T, kv_width);
	if (arch->post_norms)
		reference_norm_back(arch, d_o, da, b->o, w[WEIGHT_POST_NORM1], T, d);
	else
		add_to(d_o, da, T * d);
	reference_linear_back(dz, d_o, w[WEIGHT_O], T, d, q_width);
	for (int h = 0; h < arch->heads; h++)
		for (int t = 0; t < b->T; t++)
			attend_row_back(b, arch, h, t, head_at(dz, arch, arch->heads, t, h), dq, dk, dv);
	unrotate(b, arch, dq0, dq, b->q0, w[WEIGHT_Q_NORM], arch->heads);
	unrotate(b, arch, dk0, dk, b->k0, w[WEIGHT_K_NORM], arch->kv_heads);
	reference_linear_back(dn1, dq0, w[WEIGHT_Q], T, q_width, d);
	reference_linear_back(dn1, dk0, w[WEIGHT_K], T, kv_width, d);
	reference_linear_back(dn1, dv, w[WEIGHT_V], T, kv_width, d);
	free(d_o);
	free(dz);
	free(dv);
	free(dq);
	free(dq0);
	free(dk);
	free(dk0);
}

void reference_block_backward(const struct reference_block *block, const double *dpost, double *dmid, double *dx)
{
	const struct arch *arch = block->reference->arch;
	double *const *w = block->reference->layer[block->layer];
	int64_t T = block->T, d = arch->d;
	double *dn1 = numbers(T, d), *dn2 = numbers(T, d);

	/* post = mid + mlp(norm2(mid)), or mid + mlp(norm2(x)) if parallel */
	memcpy(dmid, dpost, (size_t)(T * d) * sizeof(double));
	transform_back(block, arch, w, dpost, dn2);
	if (!arch->parallel_residual)
		reference_norm_back(arch, dmid, dn2, block->mid, w[WEIGHT_NORM2], T, d);

	/* mid = x + attention(norm1(x)) */
	memcpy(dx, dmid, (size_t)(T * d) * sizeof(double));
	attend_back(block, arch, w, dmid, dn1);
	reference_norm_back(arch, dx, dn1, block->x, w[WEIGHT_NORM1], T, d);
	if (arch->parallel_residual)
		reference_norm_back(arch, dx, dn2, block->x, w[WEIGHT_NORM2], T, d);
	free(dn1);
	free(dn2);
}

void reference_block_done(struct reference_block *block)
{
	double *all[] = {block->n1, block->q0,	   block->k0,	block->v, block->q,   block->k,	 block->p,
			 block->z,  block->capped, block->o,	block->a, block->mid, block->n2, block->gate,
			 block->up, block->act,	   block->down, block->m, block->post};
	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		free(all[i]);
	*block = (struct reference_block){0};
}
