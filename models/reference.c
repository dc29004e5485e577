#include "models/reference.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"
#include "compute/tensor.h"
#include "models/reference_block.h"

bool reference_shape(const struct arch *arch, enum weight_role role, int64_t *out, int64_t *in)
{
	/* The separate form of a family whose files fuse is that of Llama's files. */
	struct arch separate = *arch;
	int rank;
	separate.family = ARCH_LLAMA;
	if (!weight_role_shape(&separate, role, &rank, out, in))
		return false;
	if (rank == 1) {
		*out = *in;
		*in = 0;
	}
	return true;
}

static enum st_dtype file_dtype(const struct weight_place *place)
{
	return place->dtype == DTYPE_F32 ? ST_F32 : place->dtype == DTYPE_BF16 ? ST_BF16 : ST_F16;
}

/* What one weight is read with. */
struct source {
	const struct arch *arch;
	const struct weight_map *map;
	const struct weight_files *files;
	int layer;
	struct error *error;
};

/* Where output row `row` of a separate weight stands in the fused one. */
static int64_t fused_row(const struct source *s, enum weight_role role, int64_t row)
{
	const struct arch *arch = s->arch;
	int64_t hd = arch->head_dim, q = arch->heads * hd, kv = arch->kv_heads * hd;
	int part = role == WEIGHT_K || role == WEIGHT_K_BIAS ? 1 : role == WEIGHT_V || role == WEIGHT_V_BIAS ? 2 : 0;
	if (role == WEIGHT_UP || role == WEIGHT_UP_BIAS)
		return s->map->layout.gate_up_fused ? arch->f + row : row;
	if (role < WEIGHT_Q || role > WEIGHT_V_BIAS || s->map->layout.qkv == QKV_SEPARATE)
		return row;
	if (s->map->layout.qkv == QKV_FUSED_BY_HEAD)
		return (row / hd * 3 + part) * hd + row % hd;
	return row + (part == 0 ? 0 : part == 1 ? q : q + kv);
}

/* The weight of the file that holds a separate weight. */
static enum weight_role fused_role(const struct arch_layout *layout, enum weight_role role)
{
	bool qkv = layout->qkv != QKV_SEPARATE;
	switch (role) {
	case WEIGHT_K:
	case WEIGHT_V:
		return qkv ? WEIGHT_Q : role;
	case WEIGHT_K_BIAS:
	case WEIGHT_V_BIAS:
		return qkv ? WEIGHT_Q_BIAS : role;
	case WEIGHT_UP:
		return layout->gate_up_fused ? WEIGHT_GATE : role;
	case WEIGHT_UP_BIAS:
		return layout->gate_up_fused ? WEIGHT_GATE_BIAS : role;
	default:
		return role;
	}
}

static enum status read_weight(const struct source *s, enum weight_role role, double **out)
{
	int64_t rows, cols;
	if (!reference_shape(s->arch, role, &rows, &cols))
		return STATUS_OK;
	enum weight_role stored = fused_role(&s->map->layout, role);
	const struct weight_place *place = weight_map_place(s->map, s->layer, stored);
	const unsigned char *data = weight_map_data(s->files, place);
	enum st_dtype dtype = file_dtype(place);
	size_t size = st_dtype_bits(dtype) / 8;
	/* A vector is a column; a matrix that the file has as [in, out] is walked the other way. */
	int64_t width = cols > 0 ? cols : 1;
	bool swapped = cols > 0 && s->map->layout.in_out && weight_role_is_layer(role);
	double *w = mem_alloc((size_t)(rows * width), sizeof *w);
	*out = w;
	for (int64_t j = 0; j < rows; j++) {
		int64_t row = fused_row(s, role, j);
		for (int64_t i = 0; i < width; i++) {
			int64_t at = swapped ? i * place->cols + row : row * width + i;
			double value = number_get(data + (size_t)at * size, dtype, false);
			if (!isfinite(value)) {
				char name[128];
				weight_map_name(s->map, s->layer, stored, name, sizeof name);
				return error_set(s->error, STATUS_INVALID,
						 "'%s': element %" PRId64 " of tensor \"%s\" is %s; expected a number",
						 safetensors_path(weight_files_shard(s->files, place->file)), at, name,
						 isnan(value) ? "NaN" : "infinite");
			}
			w[j * width + i] = value;
		}
	}
	return STATUS_OK;
}

enum status reference_load(struct reference **out, const struct arch *arch, const struct weight_map *map,
			   const struct weight_files *files, size_t limit, struct error *error)
{
	*out = NULL;
	if ((uint64_t)map->parameters > limit / sizeof(double))
		return error_set(error, STATUS_INVALID,
				 "the reference needs %" PRId64 " bytes for %" PRId64
				 " weights in float64; at most %zu are allowed here",
				 map->parameters * (int64_t)sizeof(double), map->parameters, limit);
	struct reference *reference = mem_alloc(1, sizeof *reference);
	reference->arch = arch;
	struct source source = {.arch = arch, .map = map, .files = files, .layer = -1, .error = error};
	enum status status = STATUS_OK;
	for (enum weight_role role = 0; role < WEIGHT_NORM1 && status == STATUS_OK; role++)
		status = read_weight(&source, role, &reference->model[role]);
	for (int l = 0; l < arch->layers; l++) {
		source.layer = l;
		for (enum weight_role role = WEIGHT_NORM1; role < WEIGHT_COUNT && status == STATUS_OK; role++)
			status = read_weight(&source, role, &reference->layer[l][role]);
	}
	if (status)
		reference_destroy(&reference);
	*out = reference;
	return status;
}

void reference_destroy(struct reference **reference)
{
	struct reference *r = *reference;
	if (!r)
		return;
	for (int role = 0; role < WEIGHT_COUNT; role++) {
		free(r->model[role]);
		for (int l = 0; l < ARCH_MAX_LAYERS; l++)
			free(r->layer[l][role]);
	}
	free(r);
	*reference = NULL;
}

static const double *unembed_of(const struct reference *reference)
{
	return reference->arch->tied ? reference->model[WEIGHT_WTE] : reference->model[WEIGHT_UNEMBED];
}

static void embed(const struct reference *reference, double *x, const int64_t *ids, int T)
{
	const struct arch *arch = reference->arch;
	for (int t = 0; t < T; t++)
		for (int i = 0; i < arch->d; i++) {
			double *at = &x[(int64_t)t * arch->d + i];
			*at = reference->model[WEIGHT_WTE][ids[t] * arch->d + i] * arch->embed_scale;
			if (arch->learned_positions)
				*at += reference->model[WEIGHT_WPE][(int64_t)t * arch->d + i];
		}
}

static void apply_edits(double *x, int64_t n, int T, int layer, enum hook hook, const struct reference_edit *edits,
			size_t n_edits)
{
	for (size_t e = 0; e < n_edits; e++) {
		if (edits[e].layer != layer || edits[e].hook != hook)
			continue;
		if (edits[e].apply)
			edits[e].apply(edits[e].context, x, T);
		for (int64_t i = 0; edits[e].add && i < n; i++)
			x[i] += edits[e].add[i];
	}
}

static void unembed(struct reference_run *run)
{
	const struct arch *arch = run->reference->arch;
	double *const *w = run->reference->model;
	int64_t d = arch->d, skipped = run->T - run->rows;
	double *n = mem_alloc((size_t)(run->rows * d), sizeof *n);
	run->logits = mem_alloc((size_t)(run->rows * arch->vocab), sizeof *run->logits);
	reference_norm(arch, n, run->final + skipped * d, w[WEIGHT_FINAL_NORM], w[WEIGHT_FINAL_NORM_BIAS], run->rows,
		       d);
	reference_linear(run->logits, n, unembed_of(run->reference), NULL, run->rows, arch->vocab, d);
	for (int64_t i = 0; i < run->rows * arch->vocab && arch->logit_softcap > 0; i++)
		run->logits[i] = arch->logit_softcap * tanh(run->logits[i] / arch->logit_softcap);
	free(n);
}

enum status reference_forward(struct reference_run *run, const struct reference *reference, const int64_t *ids, int T,
			      int rows, const struct reference_edit *edits, size_t n_edits, struct error *error)
{
	const struct arch *arch = reference->arch;
	*run = (struct reference_run){.reference = reference, .T = T, .rows = rows};
	if (T < 1 || rows < 1 || rows > T)
		return error_set(error, STATUS_INVALID, "the reference was asked for logits at %d of %d positions",
				 rows, T);
	if (arch->learned_positions && T > arch->context)
		return error_set(error, STATUS_INVALID, "%d tokens do not fit the model's %" PRId64 " positions", T,
				 arch->context);
	for (int t = 0; t < T; t++)
		if (ids[t] < 0 || ids[t] >= arch->vocab)
			return error_set(error, STATUS_INVALID,
					 "token id %" PRId64 " at position %d is outside the vocabulary of %" PRId64,
					 ids[t], t, arch->vocab);
	for (size_t e = 0; e < n_edits; e++)
		if (edits[e].layer < 0 || edits[e].layer >= arch->layers || !arch_has_hook(arch, edits[e].hook) ||
		    (edits[e].apply && edits[e].hook == HOOK_RESID_MID))
			return error_set(error, STATUS_INVALID, "the model has no %s at layer %d",
					 hook_name(edits[e].hook), edits[e].layer);

	int64_t n = (int64_t)T * arch->d;
	size_t bytes = (size_t)n * sizeof(double);
	for (enum hook hook = 0; hook < HOOK_COUNT; hook++)
		if (arch_has_hook(arch, hook))
			run->resid[hook] = mem_alloc((size_t)(arch->layers * n), sizeof(double));
	run->final = mem_alloc((size_t)n, sizeof(double));
	for (size_t e = 0; e < n_edits; e++)
		if (edits[e].hook == HOOK_RESID_MID && !run->edits_mid)
			run->edits_mid = mem_alloc((size_t)(arch->layers * n), sizeof(double));
	double *x = run->final;
	embed(reference, x, ids, T);
	for (int l = 0; l < arch->layers; l++) {
		struct reference_block block;
		apply_edits(x, n, T, l, HOOK_RESID_PRE, edits, n_edits);
		memcpy(run->resid[HOOK_RESID_PRE] + l * n, x, bytes);
		double *edit_mid = run->edits_mid ? run->edits_mid + l * n : NULL;
		if (edit_mid)
			apply_edits(edit_mid, n, T, l, HOOK_RESID_MID, edits, n_edits);
		reference_block_forward(&block, reference, l, T, x, edit_mid);
		if (run->resid[HOOK_RESID_MID])
			memcpy(run->resid[HOOK_RESID_MID] + l * n, block.mid, bytes);
		memcpy(x, block.post, bytes);
		apply_edits(x, n, T, l, HOOK_RESID_POST, edits, n_edits);
		memcpy(run->resid[HOOK_RESID_POST] + l * n, x, bytes);
		reference_block_done(&block);
	}
	unembed(run);
	return STATUS_OK;
}

void reference_run_done(struct reference_run *run)
{
	for (int hook = 0; hook < HOOK_COUNT; hook++)
		free(run->resid[hook]);
	free(run->edits_mid);
	free(run->final);
	free(run->logits);
	*run = (struct reference_run){0};
}

/* dx [T, d]: the gradient of the last residual. */
static void unembed_back(const struct reference_run *run, const double *dlogits, double *dx)
{
	const struct arch *arch = run->reference->arch;
	int64_t d = arch->d, V = arch->vocab, skipped = run->T - run->rows;
	double *dn = mem_alloc((size_t)(run->rows * d), sizeof *dn);
	double *dl = mem_copy(dlogits, (size_t)(run->rows * V) * sizeof *dl);
	for (int64_t i = 0; i < run->rows * V && arch->logit_softcap > 0; i++) {
		double u = run->logits[i] / arch->logit_softcap;
		dl[i] *= 1 - u * u;
	}
	reference_linear_back(dn, dl, unembed_of(run->reference), run->rows, V, d);
	reference_norm_back(arch, dx + skipped * d, dn, run->final + skipped * d,
			    run->reference->model[WEIGHT_FINAL_NORM], run->rows, d);
	free(dn);
	free(dl);
}

void reference_backward(const struct reference_run *run, const double *dlogits, double *const grad[HOOK_COUNT])
{
	const struct arch *arch = run->reference->arch;
	int64_t n = (int64_t)run->T * arch->d;
	size_t bytes = (size_t)n * sizeof(double);
	double *dx = mem_alloc((size_t)n, sizeof *dx), *dmid = mem_alloc((size_t)n, sizeof *dmid);
	double *dpost = mem_alloc((size_t)n, sizeof *dpost);
	unembed_back(run, dlogits, dpost);
	for (int l = arch->layers - 1; l >= 0; l--) {
		/* The block is computed again from its input: only one block's insides are ever held. */
		struct reference_block block;
		const double *x = run->resid[HOOK_RESID_PRE] + l * n;
		reference_block_forward(&block, run->reference, l, run->T, x,
					run->edits_mid ? run->edits_mid + l * n : NULL);
		reference_block_backward(&block, dpost, dmid, dx);
		if (grad[HOOK_RESID_POST])
			memcpy(grad[HOOK_RESID_POST] + l * n, dpost, bytes);
		if (grad[HOOK_RESID_MID] && !arch->parallel_residual)
			memcpy(grad[HOOK_RESID_MID] + l * n, dmid, bytes);
		if (grad[HOOK_RESID_PRE])
			memcpy(grad[HOOK_RESID_PRE] + l * n, dx, bytes);
		memcpy(dpost, dx, bytes);
		reference_block_done(&block);
	}
	free(dx);
	free(dmid);
	free(dpost);
}

static double *last_row(const struct reference_run *run, double *rows)
{
	return rows + (run->rows - 1) * run->reference->arch->vocab;
}

double reference_logit_difference(const struct reference_run *run, int64_t a, int64_t b, double *dlogits)
{
	const double *logits = last_row(run, run->logits);
	if (dlogits) {
		memset(dlogits, 0, (size_t)(run->rows * run->reference->arch->vocab) * sizeof *dlogits);
		last_row(run, dlogits)[a] += 1;
		last_row(run, dlogits)[b] -= 1;
	}
	return logits[a] - logits[b];
}

double reference_mean_log_probability(const struct reference_run *run, const int64_t *ids, double *dlogits)
{
	int64_t V = run->reference->arch->vocab;
	double share = 1.0 / (run->T - 1), mean = 0;
	memset(dlogits, 0, (size_t)(run->rows * V) * sizeof *dlogits);
	for (int t = 1; t < run->T; t++) {
		const double *row = run->logits + (t - 1) * V;
		double largest = -INFINITY, sum = 0;
		for (int64_t v = 0; v < V; v++)
			largest = fmax(largest, row[v]);
		for (int64_t v = 0; v < V; v++)
			sum += exp(row[v] - largest);
		mean += share * (row[ids[t]] - largest - log(sum));
		for (int64_t v = 0; v < V; v++)
			dlogits[(t - 1) * V + v] = share * ((v == ids[t]) - exp(row[v] - largest) / sum);
	}
	return mean;
}

int64_t reference_argmax(const struct reference_run *run)
{
	const double *row = last_row(run, run->logits);
	int64_t best = 0;
	for (int64_t v = 1; v < run->reference->arch->vocab; v++)
		if (row[v] > row[best])
			best = v;
	return best;
}
