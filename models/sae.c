#include "models/sae.h"

#include <math.h>
#include <stdio.h>

#include "compute/base/mem.h"

/* ---- what runs here ---- */

enum status sae_check(const struct sae_spec *spec, struct error *error)
{
	if (spec->transcoder || spec->has_skip || spec->d_in != spec->d_out)
		return error_set(
			error, STATUS_INVALID,
			"'%s' is a transcoder: it reads one place and writes another, so there is no residual to "
			"clamp with it",
			spec->path);
	if (spec->act == SAE_GROUPMAX && spec->F % spec->k != 0)
		return error_set(error, STATUS_INVALID, "'%s' has %lld features in %lld groups, which do not divide",
				 spec->path, (long long)spec->F, (long long)spec->k);
	return STATUS_OK;
}

enum status sae_check_clampable(const struct sae_spec *spec, struct error *error)
{
	enum status status = sae_check(spec, error);
	if (status == STATUS_OK && spec->act == SAE_BATCHTOPK)
		status = error_set(
			error, STATUS_INVALID,
			"'%s' is a BatchTopK SAE without a threshold: which of its features are active depends on all "
			"tokens of a batch, so they can't be clamped; save it for inference (as jumprelu) first",
			spec->path);
	return status;
}

/* ---- creation ---- */

/* A vector or matrix of the SAE: where it comes from and goes to. */
struct part {
	struct tensor *tensor;
	const float *data;
	int64_t rows, cols;
};
enum { PARTS = 8 };

/* Only the parts that this SAE has; to count them no data are needed. */
static int list_parts(struct part parts[PARTS], struct sae *sae, const struct sae_spec *s)
{
	int n = 0;
	bool gated = s->act == SAE_GATED;
	parts[n++] = (struct part){&sae->w_enc, s->W_enc, s->F, s->d_in};
	parts[n++] = (struct part){&sae->w_dec, s->W_dec, s->F, s->d_out};
	parts[n++] = (struct part){&sae->b_dec, s->b_dec, 1, s->d_out};
	if (!gated)
		parts[n++] = (struct part){&sae->b_enc, s->b_enc, 1, s->F};
	if (s->act == SAE_JUMPRELU)
		parts[n++] = (struct part){&sae->act.threshold, s->threshold, 1, s->F};
	if (gated) {
		parts[n++] = (struct part){&sae->act.b_gate, s->b_gate, 1, s->F};
		parts[n++] = (struct part){&sae->act.b_mag, s->b_mag, 1, s->F};
		parts[n++] = (struct part){&sae->act.mag_scale, s->mag_scale, 1, s->F};
	}
	return n;
}

uint64_t sae_estimate(const struct sae_spec *spec)
{
	struct sae none;
	struct part parts[PARTS];
	uint64_t bytes = 0;
	for (int i = list_parts(parts, &none, spec) - 1; i >= 0; i--)
		bytes += ((uint64_t)parts[i].rows * (uint64_t)parts[i].cols * sizeof(float) + 255) / 256 * 256;
	return bytes;
}

static void set_activation(struct sae *sae, const struct sae_spec *s)
{
	static const enum op_sae_act acts[SAE_ACT_COUNT] = {
		[SAE_RELU] = OP_SAE_RELU,	[SAE_TANH_RELU] = OP_SAE_TANH_RELU, [SAE_JUMPRELU] = OP_SAE_JUMPRELU,
		[SAE_GATED] = OP_SAE_GATED,	[SAE_TOPK] = OP_SAE_CHOSEN,	    [SAE_ABSTOPK] = OP_SAE_CHOSEN,
		[SAE_GROUPMAX] = OP_SAE_CHOSEN, [SAE_BATCHTOPK] = OP_SAE_CHOSEN,
	};
	sae->act.act = acts[s->act];
	sae->choice = s->act == SAE_ABSTOPK    ? OP_CHOICE_MAGNITUDE
		      : s->act == SAE_GROUPMAX ? OP_CHOICE_GROUPS
					       : OP_CHOICE_LARGEST;
	sae->k = s->act == SAE_BATCHTOPK ? 0 : s->k;
	sae->batch_k = s->batch_k;
}

void sae_init(struct sae *sae, struct device *device, const struct sae_spec *s, int layer, enum hook hook)
{
	static const enum op_sae_norm norms[] = {
		[SAE_NORM_NONE] = OP_SAE_NORM_NONE,
		[SAE_NORM_CONSTANT] = OP_SAE_NORM_CONSTANT,
		[SAE_NORM_LAYER] = OP_SAE_NORM_LAYER,
	};
	*sae = (struct sae){
		.device = device,
		.layer = layer,
		.hook = hook,
		.d = s->d_in,
		.features = s->F,
		.prepare = {.norm = norms[s->norm], .center = s->center_input},
		.norm_out = s->norm_out && s->norm != SAE_NORM_NONE,
		.bytes = sae_estimate(s),
	};
	set_activation(sae, s);
}

bool sae_loaded(const struct sae *sae)
{
	return sae->loaded;
}

/* How far the copy of all parts is. */
struct upload {
	const struct progress *progress;
	uint64_t done, total;
};

/* Some rows at a time, so that it can be stopped. */
static enum status upload_part(const struct part *part, struct upload *upload, struct error *error)
{
	const int64_t chunk = (int64_t)16 << 20, width = part->cols * (int64_t)sizeof(float);
	int64_t step = width < chunk ? chunk / width : 1;
	enum status status = STATUS_OK;
	for (int64_t first = 0; first < part->rows && status == STATUS_OK; first += step) {
		int64_t n = part->rows - first < step ? part->rows - first : step;
		status = tensor_write(tensor_rows(*part->tensor, first, n), part->data + first * part->cols, error);
		upload->done += (uint64_t)(n * width);
		if (status == STATUS_OK &&
		    !progress_report(upload->progress, "copying the SAE", upload->done, upload->total))
			status = error_set(error, STATUS_CANCELLED, "copying the SAE was stopped");
	}
	return status;
}

enum status sae_load(struct sae *sae, const struct sae_spec *s, const struct progress *progress, struct error *error)
{
	struct part parts[PARTS];
	int count = list_parts(parts, sae, s);
	struct upload upload = {.progress = progress};
	sae->arena = arena_create(sae->device, BUFFER_DEVICE, "the SAE");
	for (int i = 0; i < count; i++) {
		arena_add(sae->arena, parts[i].tensor, DTYPE_F32, parts[i].rows, parts[i].cols);
		upload.total += (uint64_t)(parts[i].rows * parts[i].cols) * sizeof(float);
	}
	enum status status = arena_allocate(sae->arena, error);
	for (int i = 0; i < count && status == STATUS_OK; i++)
		status = upload_part(&parts[i], &upload, error);
	if (s->subtract_b_dec)
		sae->prepare.b_dec = sae->b_dec;
	sae->loaded = status == STATUS_OK;
	if (status)
		sae_unload(sae);
	return status;
}

void sae_unload(struct sae *sae)
{
	struct tensor *all[] = {&sae->w_enc,	 &sae->w_dec,	      &sae->b_enc,
				&sae->b_dec,	 &sae->act.threshold, &sae->act.b_gate,
				&sae->act.b_mag, &sae->act.mag_scale, &sae->prepare.b_dec};
	sae->loaded = false;
	arena_destroy(&sae->arena);
	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		*all[i] = (struct tensor){0};
}

enum status sae_create(struct sae *sae, struct device *device, const struct sae_spec *s, int layer, enum hook hook,
		       struct error *error)
{
	char what[96];
	snprintf(what, sizeof what, "the SAE of layer %d (%lld features of width %lld)", layer, (long long)s->F,
		 (long long)s->d_in);
	sae_init(sae, device, s, layer, hook);
	enum status status =
		device_check_memory(device, sae->bytes, what, "a narrower SAE or fewer at once would fit", error);
	return status ? status : sae_load(sae, s, NULL, error);
}

void sae_done(struct sae *sae)
{
	sae_unload(sae);
	*sae = (struct sae){0};
}

double sae_restored_scale(const struct sae *sae, const float *x)
{
	if (!sae->norm_out)
		return 1;
	bool layer = sae->prepare.norm == OP_SAE_NORM_LAYER;
	double n = (double)sae->d, mean = 0, squares = 0;
	for (int64_t j = 0; j < sae->d && (layer || sae->prepare.center); j++)
		mean += (double)x[j] / n;
	for (int64_t j = 0; j < sae->d; j++)
		squares += ((double)x[j] - mean) * ((double)x[j] - mean);
	return sqrt(squares / (layer ? n - 1 : n));
}

/* ---- scratch ---- */

static bool has_statistics(const struct sae *sae)
{
	return sae->prepare.norm != OP_SAE_NORM_NONE || sae->prepare.center;
}

/* Rows of F numbers that `bytes` hold; in a number after which a view starts aligned, if
 * that many fit. */
static int64_t rows_within(const struct sae *sae, uint64_t bytes)
{
	uint64_t row = (uint64_t)sae->features * sizeof(float);
	uint64_t narrow = (uint64_t)sae->d * sizeof(float), alignment = device_get_info(sae->device)->storage_alignment;
	int64_t rows = (int64_t)(bytes / row), step = 1;
	while ((uint64_t)step * row % alignment || (uint64_t)step * narrow % alignment)
		step *= 2;
	if (rows >= step)
		rows -= rows % step;
	return rows < 1 ? 1 : rows;
}

/* How many rows a choice takes at once: no more than are worth the memory. */
static int64_t rows_at_once(const struct sae *sae)
{
	const uint64_t enough = (uint64_t)64 << 20, most = device_get_info(sae->device)->max_binding_bytes;
	return rows_within(sae, most < enough ? most : enough);
}

void sae_scratch_declare(struct sae_scratch *s, const struct sae *sae, struct arena *arena, enum sae_scratch_use use,
			 int64_t rows, int64_t gradients)
{
	*s = (struct sae_scratch){.rows = rows, .gradients = gradients};
	if (has_statistics(sae)) {
		arena_add(arena, &s->stats, DTYPE_F32, rows, 4);
		if (gradients > 0)
			arena_add(arena, &s->dv, DTYPE_F32, gradients * rows, sae->d);
	}
	if (has_statistics(sae) || tensor_exists(sae->prepare.b_dec))
		arena_add(arena, &s->v, DTYPE_F32, rows, sae->d);
	if (use == SAE_SCRATCH_ALL && sae->norm_out)
		arena_add(arena, &s->w, DTYPE_F32, rows, sae->d);
	if (sae->act.act != OP_SAE_CHOSEN)
		return;
	s->chunk = rows_at_once(sae);
	if (s->chunk > rows || sae->k == 0)
		s->chunk = rows;
	arena_add(arena, &s->cut, DTYPE_U32, s->chunk, op_sae_cut_columns(sae->choice, sae->k));
	if (use == SAE_SCRATCH_SELECTED)
		arena_add(arena, &s->full, DTYPE_F32, s->chunk, sae->features);
	if (s->chunk < rows)
		arena_add(arena, &s->part, DTYPE_F32, s->chunk, sae->d);
}

/* ---- encoding ---- */

/* What meets W_enc: x, or in scratch.v what becomes of it. Subtracting b_dec, rather than
 * folding it into b_enc, keeps an input equal to b_dec exactly at zero. */
static struct tensor encoder_input(const struct sae *sae, struct recorder *rec, const struct sae_scratch *scratch,
				   struct tensor x)
{
	if (!sae_loaded(sae))
		fatal("the SAE of layer %d encodes before it is loaded", sae->layer);
	if (has_statistics(sae))
		op_sae_prepare(rec, scratch->v, scratch->stats, x, &sae->prepare);
	else if (tensor_exists(sae->prepare.b_dec))
		op_add(rec, scratch->v, x, sae->prepare.b_dec, -1);
	else
		return x;
	return scratch->v;
}

/* Rows of a tensor for a kernel: a view where the device allows that offset, else a copy. */
static struct tensor input_rows(const struct sae *sae, struct recorder *rec, const struct sae_scratch *scratch,
				struct tensor t, int64_t first, int64_t count)
{
	struct tensor view = tensor_rows(t, first, count);
	if (view.offset % device_get_info(sae->device)->storage_alignment == 0)
		return view;
	struct tensor copy = tensor_rows(scratch->part, 0, count);
	record_copy_tensor(rec, copy, view);
	return copy;
}

/* Rows [first, first + count) of t, some of the rows of features that don't fit a binding. */
static struct tensor wide_rows(const struct sae *sae, struct recorder *rec, struct tensor t, int64_t first,
			       int64_t count)
{
	if (first == 0 && count == t.rows)
		return t;
	struct tensor view = tensor_rows(t, first, count);
	if (view.offset % device_get_info(sae->device)->storage_alignment)
		recorder_fail(rec, STATUS_FAILED,
			      "%lld rows of %lld features are larger than the device can bind and do not divide into "
			      "aligned parts",
			      (long long)t.rows, (long long)sae->features);
	return view;
}

/* Rows that work on [R, F] takes at once. */
static int64_t wide_chunk(const struct sae *sae, int64_t rows)
{
	uint64_t most = device_get_info(sae->device)->max_binding_bytes;
	return (uint64_t)rows * (uint64_t)sae->features * sizeof(float) <= most ? rows : rows_within(sae, most);
}

/* op_linear between rows of d and rows of F (or K) numbers. */
static void wide_linear(const struct sae *sae, struct recorder *rec, struct tensor y, struct tensor x, struct tensor w,
			enum op_layout layout, const struct op_linear *extra)
{
	bool wide = y.cols == sae->features || x.cols == sae->features;
	int64_t chunk = wide ? wide_chunk(sae, y.rows) : y.rows;
	for (int64_t first = 0; first < y.rows && !recorder_failed(rec); first += chunk) {
		int64_t n = y.rows - first < chunk ? y.rows - first : chunk;
		struct op_linear some = *extra;
		if (tensor_exists(some.residual))
			some.residual = wide_rows(sae, rec, some.residual, first, n);
		op_linear(rec, wide_rows(sae, rec, y, first, n), wide_rows(sae, rec, x, first, n), w, layout, &some);
	}
}

/* dx (= or +=) the gradient by x, from dh [G*R, n] and the n rows of W_enc. */
static void input_back(const struct sae *sae, struct recorder *rec, struct tensor dx, struct tensor dh,
		       struct tensor w_enc, const struct sae_scratch *scratch, const struct op_sae_restored *restored,
		       bool add)
{
	if (!has_statistics(sae)) {
		wide_linear(sae, rec, dx, dh, w_enc, OP_IN_OUT,
			    &(struct op_linear){.residual = add ? dx : (struct tensor){0}});
		return;
	}
	struct tensor dv = tensor_rows(scratch->dv, 0, dx.rows);
	wide_linear(sae, rec, dv, dh, w_enc, OP_IN_OUT, &(struct op_linear){0});
	op_sae_prepare_back(rec, dx, dv, scratch->v, scratch->stats, &sae->prepare, restored, add);
}

static void choose_all(const struct sae *sae, struct recorder *rec, struct tensor z, struct tensor h, struct tensor cut)
{
	int64_t k = sae->k;
	struct tensor none = {0};
	if (k == 0) { /* all rows compete: one long row */
		k = (int64_t)(sae->batch_k * (double)h.rows);
		z = tensor_reshape(z, 1, h.rows * h.cols);
		h = tensor_reshape(h, 1, h.rows * h.cols);
		if (k == 0) {
			record_fill(rec, z, 0);
			record_fill(rec, h, 0);
			return;
		}
	}
	cut = tensor_rows(cut, 0, h.rows);
	op_sae_select(rec, cut, h, sae->choice, k);
	op_sae_chosen(rec, z, h, h, cut, none, 0, sae->choice, k);
}

void sae_record_encode(const struct sae *sae, struct recorder *rec, struct tensor z, struct tensor h,
		       const struct sae_scratch *scratch, struct tensor x)
{
	struct tensor v = encoder_input(sae, rec, scratch, x);
	bool chosen = sae->act.act == OP_SAE_CHOSEN;
	int64_t chunk = wide_chunk(sae, x.rows);
	if (chosen && sae->k > 0 && scratch->chunk < chunk)
		chunk = scratch->chunk;
	if (chosen && sae->k == 0 && chunk < x.rows)
		recorder_fail(rec, STATUS_FAILED,
			      "%lld rows of %lld features, among all of which BatchTopK chooses, are larger than the "
			      "device can bind; encode fewer at once",
			      (long long)x.rows, (long long)sae->features);
	struct op_linear extra = {.bias = sae->b_enc};
	for (int64_t first = 0; first < x.rows && !recorder_failed(rec); first += chunk) {
		int64_t n = x.rows - first < chunk ? x.rows - first : chunk;
		struct tensor hn = wide_rows(sae, rec, h, first, n), zn = wide_rows(sae, rec, z, first, n);
		op_linear(rec, hn, wide_rows(sae, rec, v, first, n), sae->w_enc, OP_OUT_IN, &extra);
		if (chosen)
			choose_all(sae, rec, zn, hn, scratch->cut);
		else
			op_sae_activate(rec, zn, hn, &sae->act);
	}
}

void sae_record_decode(const struct sae *sae, struct recorder *rec, struct tensor x_hat, struct tensor z,
		       const struct sae_scratch *scratch)
{
	struct tensor w = sae->norm_out ? scratch->w : x_hat;
	wide_linear(sae, rec, w, z, sae->w_dec, OP_IN_OUT, &(struct op_linear){.bias = sae->b_dec});
	if (sae->norm_out)
		op_sae_rescale(rec, x_hat, w, scratch->stats, true);
}

/* ---- backward ---- */

static void activate_back(const struct sae *sae, struct recorder *rec, struct tensor dh, struct tensor dz,
			  struct tensor h)
{
	int64_t chunk = wide_chunk(sae, h.rows);
	if (chunk == h.rows && wide_chunk(sae, dz.rows) == dz.rows) {
		op_sae_activate_back(rec, dh, dz, h, &sae->act);
		return;
	}
	for (int64_t g = 0; g < dz.rows; g += h.rows)
		for (int64_t first = 0; first < h.rows && !recorder_failed(rec); first += chunk) {
			int64_t n = h.rows - first < chunk ? h.rows - first : chunk;
			op_sae_activate_back(rec, wide_rows(sae, rec, dh, g + first, n),
					     wide_rows(sae, rec, dz, g + first, n), wide_rows(sae, rec, h, first, n),
					     &sae->act);
		}
}

void sae_record_encode_back(const struct sae *sae, struct recorder *rec, struct tensor dx, struct tensor dz,
			    struct tensor h, struct tensor dh, const struct sae_scratch *scratch)
{
	activate_back(sae, rec, dh, dz, h);
	input_back(sae, rec, dx, dh, sae->w_enc, scratch, &(struct op_sae_restored){0}, false);
}

/* The scale of the output, for a gradient by activations: as good before W_dec as behind. */
static void scale_back(const struct sae *sae, struct recorder *rec, struct tensor dz, const struct sae_scratch *scratch)
{
	int64_t rows = scratch->stats.rows, chunk = wide_chunk(sae, rows);
	if (wide_chunk(sae, dz.rows) == dz.rows) {
		op_sae_rescale(rec, dz, dz, scratch->stats, false);
		return;
	}
	for (int64_t g = 0; g < dz.rows; g += rows)
		for (int64_t first = 0; first < rows && !recorder_failed(rec); first += chunk) {
			int64_t n = rows - first < chunk ? rows - first : chunk;
			struct tensor part = wide_rows(sae, rec, dz, g + first, n);
			op_sae_rescale(rec, part, part, tensor_rows(scratch->stats, first, n), false);
		}
}

void sae_record_decode_back(const struct sae *sae, struct recorder *rec, struct tensor dz, struct tensor dx_hat,
			    const struct sae_scratch *scratch)
{
	wide_linear(sae, rec, dz, dx_hat, sae->w_dec, OP_OUT_IN, &(struct op_linear){0});
	if (sae->norm_out)
		scale_back(sae, rec, dz, scratch);
}

void sae_record_recon_back(const struct sae *sae, struct recorder *rec, struct tensor dx, struct tensor dx_hat,
			   struct tensor h, struct tensor dz, struct tensor dh, const struct sae_scratch *scratch)
{
	sae_record_decode_back(sae, rec, dz, dx_hat, scratch);
	activate_back(sae, rec, dh, dz, h);
	struct op_sae_restored restored = {0};
	if (sae->norm_out)
		restored = (struct op_sae_restored){.dout = dx_hat, .out = scratch->w, .whole = true};
	input_back(sae, rec, dx, dh, sae->w_enc, scratch, &restored, false);
}

/* ---- the selected features of a clamp ---- */

/* All pre-activations of some rows at a time, the choice among them, and of the result
 * only the selected features. */
static void encode_chosen(const struct clamp *clamp, struct recorder *rec, struct tensor z, struct tensor h,
			  const struct sae_scratch *scratch, struct tensor v)
{
	const struct sae *sae = clamp->sae;
	struct op_linear extra = {.bias = sae->b_enc};
	for (int64_t first = 0; first < v.rows && !recorder_failed(rec); first += scratch->chunk) {
		int64_t n = v.rows - first < scratch->chunk ? v.rows - first : scratch->chunk;
		struct tensor full = tensor_rows(scratch->full, 0, n), cut = tensor_rows(scratch->cut, 0, n);
		op_linear(rec, full, n == v.rows ? v : input_rows(sae, rec, scratch, v, first, n), sae->w_enc,
			  OP_OUT_IN, &extra);
		op_sae_select(rec, cut, full, sae->choice, sae->k);
		op_sae_chosen(rec, z, h, full, cut, clamp->index, first, sae->choice, sae->k);
	}
}

void clamp_record_encode(const struct clamp *clamp, struct recorder *rec, struct tensor z, struct tensor h,
			 const struct sae_scratch *scratch, struct tensor x)
{
	struct tensor v = encoder_input(clamp->sae, rec, scratch, x);
	if (clamp->act.act == OP_SAE_CHOSEN) {
		encode_chosen(clamp, rec, z, h, scratch, v);
		return;
	}
	op_linear(rec, h, v, clamp->w_enc, OP_OUT_IN, &(struct op_linear){.bias = clamp->b_enc});
	op_sae_activate(rec, z, h, &clamp->act);
}

void clamp_record_encode_back(const struct clamp *clamp, struct recorder *rec, struct tensor dx, struct tensor dz,
			      struct tensor h, struct tensor dh, const struct sae_scratch *scratch)
{
	clamp_record_move_back(clamp, rec, dx, dz, h, dh, scratch, (struct tensor){0}, (struct tensor){0});
}

void clamp_record_move_back(const struct clamp *clamp, struct recorder *rec, struct tensor dx, struct tensor dz,
			    struct tensor h, struct tensor dh, const struct sae_scratch *scratch, struct tensor dmove,
			    struct tensor move)
{
	struct op_sae_restored restored = {0};
	if (clamp->sae->norm_out)
		restored = (struct op_sae_restored){.dout = dmove, .out = move};
	op_sae_activate_back(rec, dh, dz, h, &clamp->act);
	input_back(clamp->sae, rec, dx, dh, clamp->w_enc, scratch, &restored, true);
}
