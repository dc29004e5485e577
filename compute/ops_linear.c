/* Products with a weight matrix: op_linear.
 *
 * An op becomes, in this order and where needed: a dispatch that normalises x
 * (linear_norm), one dispatch for each block of w that fits a binding, and, where the
 * inner dimension was cut, one that adds the partial sums (linear_finish).
 *
 * Kernels. A CPU device (lavapipe) runs a subgroup as vector code of one thread; its
 * storage buffer loads are loops over the lanes, its texel fetches are calls and its image
 * loads are neither, and what decides is whether the hardware prefetcher follows the reads
 * of w. With one or two rows of x each thread therefore reads w from one end to the other:
 * on two cores the products of gpt2-small then take 1.0 to 1.2 times as long as reading
 * alone (with bfloat16, whose unpacking costs, 1.2 to 2), against 1.2 to 2.3 (1.5 to 5)
 * with a row of w a lane, or with short runs of columns. GPUs want neighbouring lanes to
 * read neighbouring weights.
 *
 * The streaming kernels add in another order than those for many rows. Where a row's sums must not
 * depend on its company (recorder_rows_alike), one and two rows go the way of many. */
#include "compute/ops_linear.h"

#include "compute/linear_shares.h"
#include "compute/ops_internal.h"
#include "shaders/push_linear.h"

/* As in shaders/linear.glsl. */
enum {
	STEP_BIAS = 1,
	STEP_PRE = 2,
	STEP_BACK = 4,
	STEP_RESIDUAL = 8,
	STEP_NORM_B = 16,
	STEP_PARTIAL = 32,
	STEP_CACHE = 64,
};

enum {
	LANES = 64,
	MAX_GROUPS = 65535,
	LONGEST_SUM = 1 << 18, /* terms; rounding errors grow with it */
	SLAB = 4,	       /* rows of w that linear_slabs takes at a time, at least */
	SLAB_SUMS = 32,	       /* vectors of sums that it holds at most */
	SLAB_LANES = 32,       /* lanes that it has shared memory for */
	SLAB_STRIP = 24,       /* and of a strip */
	SLAB_CUT = 1 << 20,    /* bytes of w from which on it takes whole rows, */
	SLAB_PARTS = 8,	       /* in as many parts */
	LINES_HELD = 128,      /* vectors of x that linear_lines holds */
};

/* One op_linear, or some rows of it. */
struct job {
	struct recorder *rec;
	const struct device_info *info;
	struct tensor y, x, w;
	enum op_layout layout;
	struct op_linear extra;
	struct linear_choice choice;
	int64_t row_first; /* row of the whole op that is row 0 here */
	int64_t n, k;
};

/* Rows [first, first + count) of w, in one dispatch. */
struct block {
	int64_t first, count;
	int64_t parts, k_part; /* the block's inner indices are cut into `parts` of k_part each */
	int64_t part;	       /* the first of them, among all */
};

static int64_t least(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static int64_t most(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

/* ---- choosing ---- */

const char *linear_kernel_name(enum linear_kernel kernel)
{
	static const char *const names[] = {"auto", "plain", "dots", "rows", "lines", "columns", "slabs"};
	return names[kernel];
}

static bool is_texel_kernel(enum linear_kernel kernel)
{
	return kernel >= LINEAR_ROWS && kernel <= LINEAR_SLABS;
}

/* Of kernels for OUT_IN. */
static bool is_out_in(enum linear_kernel kernel)
{
	return kernel >= LINEAR_DOTS && kernel <= LINEAR_LINES;
}

/* One or two rows of x, whose threads each take one run of w. */
static bool is_streaming(enum linear_kernel kernel)
{
	return kernel == LINEAR_LINES || kernel == LINEAR_SLABS;
}

static int64_t per_texel(enum dtype dtype)
{
	return 16 / (int64_t)dtype_size(dtype);
}

/* Chunks of a texel a lane in a row of `cols` elements, and one texel more for weights that
 * don't start at one. */
static int64_t chunks_of(int64_t lanes, enum dtype dtype, int64_t cols)
{
	return ops_div_up(cols / per_texel(dtype) + 1, lanes);
}

/* Whether linear_slabs takes all columns at once and cuts the inner dimension, which costs a
 * dispatch more; like the cuts, the same whatever the number of threads. */
static bool takes_whole_rows(const struct job *job)
{
	int64_t vectors = job->y.rows * per_texel(job->w.dtype) / 4;
	return job->choice.kernel == LINEAR_SLABS && tensor_bytes(job->w) >= SLAB_CUT &&
	       chunks_of(job->info->subgroup_size, job->w.dtype, job->n) * vectors <= SLAB_SUMS;
}

/* ---- loop turns ---- */

/* The loop turns of an invocation of a texel kernel with `k` inner indices (rows of w of
 * one dispatch, in the kernels for IN_OUT) that takes `tiles` tiles of columns and
 * `row_tiles` tiles of rows: at most OPS_MAX_TURNS, which decides how work is cut and
 * dealt out. What is unrolled does not count. LINEAR_SLABS: strips, not tiles. */
static int64_t texel_turns(enum linear_kernel kernel, int64_t lanes, enum dtype dtype, int64_t k, int64_t tiles,
			   int64_t row_tiles)
{
	if (kernel == LINEAR_SLABS)
		return tiles * (1 + ops_div_up(k, SLAB) + SLAB_SUMS);
	if (kernel == LINEAR_LINES)
		return tiles * (1 + lanes);
	int64_t inner = kernel == LINEAR_ROWS ? k / per_texel(dtype) : k;
	return tiles * (1 + row_tiles * (1 + ops_div_up(inner, lanes)));
}

/* Those of measure_row. */
static int64_t norm_turns(int64_t lanes, int64_t k)
{
	return 2 * (ops_div_up(k / 4, lanes) + lanes);
}

static int64_t dots_turns(int64_t k)
{
	return ops_div_up(k, LANES) + 6;
}

/* Rows of w that a dispatch of a kernel for IN_OUT takes at most. The same on all devices
 * with this subgroup size, for it decides the order of sums. */
static int64_t inner_that_fits(const struct job *job)
{
	int64_t lanes = job->info->subgroup_size, room = OPS_MAX_TURNS;
	if (job->extra.norm != OP_NORM_NONE)
		room -= norm_turns(lanes, job->k);
	switch (job->choice.kernel) {
	case LINEAR_COLUMNS: /* of one tile */
		return least((room - 2) * lanes, LONGEST_SUM);
	case LINEAR_SLABS: /* of one strip */
		return least((room - 1 - SLAB_SUMS) * SLAB, LONGEST_SUM);
	default: /* LINEAR_PLAIN cuts within a dispatch */
		return job->w.rows;
	}
}

static bool device_fits_texel_kernels(const struct device_info *info)
{
	uint32_t lanes = info->subgroup_size;
	return info->subgroup_shuffle && lanes >= 4 && lanes <= 64 && (lanes & (lanes - 1)) == 0;
}

bool linear_kernel_fits(enum linear_kernel kernel, const struct device_info *info, struct tensor y, struct tensor x,
			struct tensor w, enum op_layout layout)
{
	if (kernel == LINEAR_AUTO || kernel == LINEAR_PLAIN)
		return true;
	if ((layout == OP_OUT_IN) != is_out_in(kernel))
		return false;
	if (kernel == LINEAR_DOTS)
		return dots_turns(x.cols) <= OPS_MAX_TURNS;
	/* A quarter of the turns is for the norm. */
	if (kernel == LINEAR_ROWS && (x.cols > LONGEST_SUM || texel_turns(kernel, info->subgroup_size, w.dtype, x.cols,
									  1, 1) > OPS_MAX_TURNS / 4 * 3))
		return false;
	if (kernel == LINEAR_LINES &&
	    chunks_of(info->subgroup_size, w.dtype, x.cols) * y.rows * per_texel(w.dtype) / 4 > LINES_HELD)
		return false;
	if (!device_fits_texel_kernels(info) || x.cols % 4 != 0 || w.cols % per_texel(w.dtype) != 0 ||
	    !ops_starts_at_texel(info, x) || tensor_count(x) > info->max_texel_elements)
		return false;
	if (kernel == LINEAR_SLABS &&
	    (info->subgroup_size > SLAB_LANES || info->max_shared_bytes < SLAB_SUMS * SLAB_LANES * 16))
		return false;
	return !is_streaming(kernel) || y.rows <= 2;
}

static enum linear_kernel choose(const struct job *job)
{
	if (job->choice.kernel != LINEAR_AUTO)
		return job->choice.kernel;
	bool out_in = job->layout == OP_OUT_IN;
	enum linear_kernel kernel = out_in ? LINEAR_ROWS : LINEAR_COLUMNS;
	enum linear_kernel streaming = out_in ? LINEAR_LINES : LINEAR_SLABS;
	if (!recorder_rows_alike(job->rec) &&
	    linear_kernel_fits(streaming, job->info, job->y, job->x, job->w, job->layout))
		kernel = streaming;
	if (job->info->type != DEVICE_TYPE_CPU)
		kernel = out_in ? LINEAR_DOTS : LINEAR_PLAIN;
	return linear_kernel_fits(kernel, job->info, job->y, job->x, job->w, job->layout) ? kernel : LINEAR_PLAIN;
}

/* ---- recording ---- */

static void check(const struct job *job)
{
	const char *op = "op_linear";
	const struct op_linear *extra = &job->extra;
	int64_t rows = job->y.rows, n = job->n, k = job->k;
	if (rows < 1 || n < 1 || k < 1)
		fatal("%s: y is [%lld, %lld], x has %lld columns", op, (long long)rows, (long long)n, (long long)k);
	bool cached = tensor_exists(extra->k_cache);
	ops_check(op, "y", job->y, rows, cached ? n - 2 * extra->k_cache.cols : n, DTYPE_F32);
	ops_check(op, "x", job->x, rows, k, DTYPE_F32);
	bool out_in = job->layout == OP_OUT_IN;
	if (job->w.dtype == DTYPE_U32)
		fatal("%s: w is uint32", op);
	ops_check(op, "w", job->w, out_in ? n : k, out_in ? k : n, job->w.dtype);
	if (extra->norm != OP_NORM_NONE) {
		ops_check(op, "norm_w", extra->norm_w, 1, k, DTYPE_F32);
		ops_check_optional(op, "norm_b", extra->norm_b, 1, k, DTYPE_F32);
	}
	ops_check_optional(op, "bias", extra->bias, 1, n, DTYPE_F32);
	ops_check_optional(op, "pre", extra->pre, rows, n, DTYPE_F32);
	ops_check_optional(op, "residual", extra->residual, rows, n, DTYPE_F32);
	if (tensor_exists(extra->back_pre)) {
		if (extra->back_pre.rows < 1)
			fatal("%s: back_pre has no rows", op);
		ops_check(op, "back_pre", extra->back_pre, extra->back_pre.rows, n, DTYPE_F32);
	}
	if (cached) {
		const struct tensor *k_cache = &extra->k_cache;
		ops_require(op, extra->context > 0 && k_cache->rows % extra->context == 0,
			    "the cache holds no whole contexts");
		ops_check(op, "k_cache", *k_cache, k_cache->rows, k_cache->cols, DTYPE_F32);
		ops_check(op, "v_cache", extra->v_cache, k_cache->rows, k_cache->cols, DTYPE_F32);
		ops_check(op, "rows", extra->rows, rows, 2, DTYPE_U32);
		ops_require(op,
			    !tensor_exists(extra->residual) || extra->residual.buffer != job->y.buffer ||
				    extra->residual.offset != job->y.offset,
			    "the residual is y, which has fewer columns");
	}
	if (!linear_kernel_fits(job->choice.kernel, job->info, job->y, job->x, job->w, job->layout))
		fatal("%s: the kernel '%s' can't do this", op, linear_kernel_name(job->choice.kernel));
}

static uint32_t steps_of(const struct op_linear *extra)
{
	uint32_t steps = 0;
	if (tensor_exists(extra->bias))
		steps |= STEP_BIAS;
	if (tensor_exists(extra->pre))
		steps |= STEP_PRE;
	if (tensor_exists(extra->back_pre))
		steps |= STEP_BACK;
	if (tensor_exists(extra->residual))
		steps |= STEP_RESIDUAL;
	if (tensor_exists(extra->k_cache))
		steps |= STEP_CACHE;
	if (extra->norm != OP_NORM_NONE && tensor_exists(extra->norm_b))
		steps |= STEP_NORM_B;
	return steps;
}

/* What all kernels have in common; the caller sets the kernel, the groups, x (binding 1)
 * and w (binding 2). `partial`, if it exists, takes the place of y. */
static void start_dispatch(struct dispatch *d, struct push_linear *push, const struct job *job, struct tensor partial)
{
	const struct op_linear *extra = &job->extra;
	uint32_t steps = steps_of(extra);
	bool sums_only = tensor_exists(partial);
	*push = (struct push_linear){
		.rows = (uint32_t)job->y.rows,
		.row_first = (uint32_t)job->row_first,
		.back_rows = tensor_exists(extra->back_pre) ? (uint32_t)extra->back_pre.rows : 1,
		.n = (uint32_t)job->n,
		.k = (uint32_t)job->k,
		.norm_eps = (float)extra->norm_eps,
		.cache_width = (uint32_t)extra->k_cache.cols,
		.context = (uint32_t)extra->context,
	};
	*d = (struct dispatch){
		.constants = {0, job->w.dtype, OP_NORM_NONE, extra->act, extra->back_act, steps, 1},
		.constant_count = 7,
		.binding_count = 12,
		.push = push,
		.push_bytes = sizeof *push,
	};
	struct tensor none = {0};
	d->bindings[0] = ops_write(sums_only ? partial : job->y);
	d->bindings[3] =
		ops_read_shifted(job->info, sums_only ? none : extra->bias, BINDING_STORAGE, &push->bias_shift);
	d->bindings[4] = ops_write(sums_only ? none : extra->pre);
	d->bindings[5] = ops_read(sums_only ? none : extra->back_pre);
	d->bindings[6] = ops_read(sums_only ? none : extra->residual);
	d->bindings[7] = d->bindings[8] = ops_read(none); /* the norm's, if the kernel does it */
	d->bindings[9] = ops_write(sums_only ? none : extra->k_cache);
	d->bindings[10] = ops_write(sums_only ? none : extra->v_cache);
	d->bindings[11] = ops_read(sums_only ? none : extra->rows);
	if (sums_only) {
		d->constants[3] = OP_ACT_NONE;
		d->constants[4] = OP_ACT_NONE;
		d->constants[5] = (steps & STEP_NORM_B) | STEP_PARTIAL;
	}
}

static void set_block(struct push_linear *push, const struct job *job, struct block block)
{
	bool out_in = job->layout == OP_OUT_IN;
	push->n_first = out_in ? (uint32_t)block.first : 0;
	push->n_count = out_in ? (uint32_t)block.count : push->n;
	push->k_first = out_in ? 0 : (uint32_t)block.first;
	push->k_count = out_in ? push->k : (uint32_t)block.count;
	push->part = (uint32_t)block.part;
	push->k_part = (uint32_t)block.k_part;
}

static uint32_t tile_of(int64_t rows)
{
	return rows > 4 ? 8 : rows > 2 ? 4 : (uint32_t)rows;
}

/* Can the norm be computed as the kernels that do it themselves compute it? Whether a row is alone must
 * not matter, nor which of the kernels for CPU devices takes it. */
static bool norm_fits_texels(const struct job *job)
{
	const struct op_linear *extra = &job->extra;
	return is_texel_kernel(job->choice.kernel) &&
	       norm_turns(job->info->subgroup_size, job->k) <= OPS_MAX_TURNS / 4 &&
	       ops_starts_at_texel(job->info, extra->norm_w) && ops_starts_at_texel(job->info, extra->norm_b);
}

/* The same bits as in the product's kernel (linear_norm_narrow.comp). */
static void record_norm_narrow(const struct job *job, struct tensor x)
{
	const struct op_linear *extra = &job->extra;
	struct push_linear push = {.rows = (uint32_t)x.rows,
				   .n = (uint32_t)job->k,
				   .k = (uint32_t)job->k,
				   .norm_eps = (float)extra->norm_eps};
	uint32_t none;
	struct dispatch d = {
		.kernel = "linear_norm_narrow",
		.constants = {job->info->subgroup_size, DTYPE_F32, extra->norm, OP_ACT_NONE, OP_ACT_NONE,
			      tensor_exists(extra->norm_b) ? STEP_NORM_B : 0, 1, 0},
		.constant_count = 8,
		.bindings = {ops_write(x), ops_read_shifted(job->info, job->x, BINDING_IMAGE_RGBA32F, &none),
			     ops_read((struct tensor){0}), ops_read((struct tensor){0}), ops_read((struct tensor){0}),
			     ops_read((struct tensor){0}), ops_read((struct tensor){0}),
			     ops_read_shifted(job->info, extra->norm_w, BINDING_IMAGE_RGBA32F, &none),
			     ops_read_shifted(job->info, extra->norm_b, BINDING_IMAGE_RGBA32F, &none),
			     ops_read((struct tensor){0}), ops_read((struct tensor){0}), ops_read((struct tensor){0})},
		.binding_count = 12,
		.push = &push,
		.push_bytes = sizeof push,
		.groups = {(uint32_t)least(x.rows, MAX_GROUPS)},
	};
	d.bindings[2].form = BINDING_IMAGE_RGBA32F;
	record_dispatch(job->rec, &d);
}

/* Normalises x into a tensor of its own, for kernels that do not. */
static void record_norm(struct job *job)
{
	struct tensor x = recorder_scratch(job->rec, job->x.rows, job->k);
	if (norm_fits_texels(job)) {
		record_norm_narrow(job, x);
		job->x = x;
		job->extra.norm = OP_NORM_NONE;
		return;
	}
	/* linear_norm unrolls eight turns; its sums take six each */
	ops_check_turns(job->rec, "op_linear", 3 * (ops_div_up(job->k, 8 * LANES) + 6));
	const struct op_linear *extra = &job->extra;
	struct push_linear_norm push = {
		.rows = (uint32_t)x.rows,
		.k = (uint32_t)job->k,
		.eps = (float)extra->norm_eps,
	};
	struct dispatch d = {
		.kernel = "linear_norm",
		.constants = {extra->norm, tensor_exists(extra->norm_b)},
		.constant_count = 2,
		.bindings = {ops_write(x), ops_read(job->x),
			     ops_read_shifted(job->info, extra->norm_w, BINDING_STORAGE, &push.w_shift),
			     ops_read_shifted(job->info, extra->norm_b, BINDING_STORAGE, &push.b_shift)},
		.binding_count = 4,
		.push = &push,
		.push_bytes = sizeof push,
		.groups = {(uint32_t)least(x.rows, MAX_GROUPS)},
	};
	record_dispatch(job->rec, &d);
	job->x = x;
	job->extra.norm = OP_NORM_NONE;
}

static void record_finish(const struct job *job, struct tensor partial, int64_t parts)
{
	struct dispatch d;
	struct push_linear push;
	start_dispatch(&d, &push, job, (struct tensor){0});
	push.parts = (uint32_t)parts;
	d.kernel = "linear_finish";
	ops_check_turns(job->rec, "op_linear", parts);
	d.bindings[1] = ops_read(partial);
	d.bindings[2] = ops_read((struct tensor){0});
	d.groups[0] = (uint32_t)ops_div_up(job->n, LANES);
	d.groups[1] = (uint32_t)job->y.rows;
	record_dispatch(job->rec, &d);
}

/* LINEAR_PLAIN and LINEAR_DOTS. */
static void record_storage_kernel(const struct job *job, struct block block, struct tensor partial)
{
	struct dispatch d;
	struct push_linear push;
	start_dispatch(&d, &push, job, partial);
	set_block(&push, job, block);
	uint32_t tile = tile_of(job->y.rows);
	d.constants[0] = job->layout;
	d.constants[6] = tile;
	d.bindings[1] = ops_read(job->x);
	d.bindings[2] = ops_read_shifted(job->info, tensor_rows(job->w, block.first, block.count), BINDING_STORAGE,
					 &push.w_shift);
	d.groups[1] = (uint32_t)ops_div_up(push.rows, tile);
	if (job->choice.kernel == LINEAR_DOTS) {
		d.kernel = "linear_dots";
		d.groups[0] = (uint32_t)least(push.n_count, MAX_GROUPS);
		d.groups[2] = (uint32_t)ops_div_up(push.n_count, MAX_GROUPS);
	} else {
		d.kernel = "linear_plain";
		d.groups[0] = (uint32_t)ops_div_up(push.n_count, LANES);
		d.groups[2] = (uint32_t)block.parts;
	}
	record_dispatch(job->rec, &d);
}

/* Deals the tiles of a texel kernel out to workgroups: equal runs of tiles, for drivers
 * give each thread one run of workgroups. */
static void deal(struct dispatch *d, struct push_linear *push, const struct job *job, int64_t tiles, int64_t tile)
{
	enum linear_kernel kernel = job->choice.kernel;
	int64_t workers = linear_workers(), runs = tiles, strip = 1, rows_each = job->y.rows;
	int64_t lanes = job->info->subgroup_size;
	if (kernel == LINEAR_SLABS) {
		bool whole = takes_whole_rows(job);
		int64_t quads = per_texel(job->w.dtype) / 4;
		strip = whole ? tiles : linear_strip(tiles, workers, SLAB_STRIP / (tile * quads));
		runs = ops_div_up(tiles, strip);
		d->constants[8] = (uint32_t)strip;
		d->constants[9] = whole;
		d->constant_count = 10;
	}
	int64_t groups = is_streaming(kernel) ? least(runs, workers) : linear_groups(runs, workers);
	/* Few columns: the rows are dealt out too. */
	if (groups < workers)
		rows_each = ops_div_up(ops_div_up(rows_each, ops_div_up(workers, groups)), tile) * tile;
	/* No workgroup turns its loops too often: fewer tiles each, then fewer rows. */
	int64_t norm = job->extra.norm == OP_NORM_NONE ? 0 : norm_turns(lanes, job->k);
	int64_t inner = is_out_in(kernel) ? push->k : push->k_count, each, turns;
	for (;;) {
		each = ops_div_up(runs, groups);
		turns = norm + texel_turns(kernel, lanes, job->w.dtype, inner, each, ops_div_up(rows_each, tile));
		if (turns <= OPS_MAX_TURNS)
			break;
		if (each > 1)
			groups = least(runs, groups + workers);
		else if (rows_each > tile)
			rows_each = ops_div_up(rows_each / 2, tile) * tile;
		else
			fatal("op_linear: %lld loop turns in '%s'", (long long)turns, d->kernel);
	}
	push->tiles = (uint32_t)tiles;
	push->tiles_each = (uint32_t)(each * strip);
	push->rows_each = (uint32_t)rows_each;
	d->groups[0] = (uint32_t)ops_div_up(runs, each);
	d->groups[1] = (uint32_t)ops_div_up(job->y.rows, rows_each);
}

static const char *texel_kernel_name(enum linear_kernel kernel, bool half, int w_rows)
{
	static const char *const rows[3][2] = {
		{"linear_rows1", "linear_rows1_half"},
		{"linear_rows2", "linear_rows2_half"},
		{"linear_rows4", "linear_rows4_half"},
	};
	if (kernel == LINEAR_ROWS)
		return rows[w_rows / 2][half];
	if (kernel == LINEAR_LINES)
		return half ? "linear_lines_half" : "linear_lines";
	if (kernel == LINEAR_COLUMNS)
		return half ? "linear_columns_half" : "linear_columns";
	return half ? "linear_slabs_half" : "linear_slabs";
}

/* LINEAR_ROWS, LINEAR_LINES, LINEAR_COLUMNS and LINEAR_SLABS. */
static void record_texel_kernel(const struct job *job, struct block block, struct tensor partial)
{
	struct dispatch d;
	struct push_linear push;
	start_dispatch(&d, &push, job, partial);
	set_block(&push, job, block);
	bool half = job->w.dtype != DTYPE_F32;
	enum linear_kernel kernel = job->choice.kernel;
	/* Sums in registers: eight columns a lane. */
	uint32_t tile = linear_tile(job->y.rows, kernel == LINEAR_COLUMNS && half ? 4 : 8), shift, none;
	/* As much code as the instruction cache holds; for one row also as many streams as the prefetcher
	 * follows, and more where rows are so short that they end before it has caught up. */
	int w_rows = tile == 1 ? (half && job->k <= 2048 ? 4 : 2) : half ? 2 : 4;
	if (job->choice.w_rows)
		w_rows = job->choice.w_rows;
	d.bindings[1] = ops_read_shifted(job->info, job->x,
					 kernel == LINEAR_COLUMNS ? BINDING_IMAGE_R32F : BINDING_IMAGE_RGBA32F, &none);
	d.bindings[2] = ops_read_shifted(job->info, tensor_rows(job->w, block.first, block.count),
					 half ? BINDING_IMAGE_RGBA32UI : BINDING_IMAGE_RGBA32F, &push.w_shift);
	shift = push.w_shift % (uint32_t)per_texel(job->w.dtype);
	bool norm = job->extra.norm != OP_NORM_NONE;
	struct tensor no_tensor = {0};
	d.bindings[7] = ops_read_shifted(job->info, norm ? job->extra.norm_w : no_tensor, BINDING_IMAGE_RGBA32F, &none);
	d.bindings[8] = ops_read_shifted(job->info, norm ? job->extra.norm_b : no_tensor, BINDING_IMAGE_RGBA32F, &none);
	d.constants[0] = job->info->subgroup_size;
	d.constants[2] = job->extra.norm;
	d.constants[6] = tile;
	d.constants[7] = shift;
	d.constant_count = 8;
	d.kernel = texel_kernel_name(kernel, half, w_rows);
	int64_t lanes = job->info->subgroup_size;
	int64_t tiles = ops_div_up(push.n / per_texel(job->w.dtype) + (shift ? 1 : 0), lanes);
	if (is_out_in(kernel))
		tiles = ops_div_up(push.n_count, kernel == LINEAR_ROWS ? lanes * w_rows : lanes);
	if (kernel == LINEAR_LINES) {
		d.constants[8] = (uint32_t)ops_div_up(job->k / per_texel(job->w.dtype) + (shift ? 1 : 0), lanes);
		d.constant_count = 9;
	}
	if (kernel == LINEAR_ROWS) {
		d.constants[8] = linear_texels_ahead(job->w.dtype, job->w.cols, w_rows * lanes);
		d.constant_count = 9;
	}
	deal(&d, &push, job, tiles, tile);
	if (kernel == LINEAR_SLABS)
		d.groups[1] = (uint32_t)block.parts;
	record_dispatch(job->rec, &d);
}

/* Rows of w that one dispatch takes: what a binding can hold, wherever it starts, and what
 * the loops of the kernel may count. */
static int64_t rows_that_fit(const struct job *job)
{
	uint64_t limit = job->choice.max_binding;
	if (limit == 0) {
		limit = job->info->max_binding_bytes;
		if (is_texel_kernel(job->choice.kernel))
			limit = job->info->max_texel_elements * 16;
	}
	if (limit > (uint64_t)1 << 32) /* elements are counted in 32 bits */
		limit = (uint64_t)1 << 32;
	uint64_t row_bytes = (uint64_t)job->w.cols * dtype_size(job->w.dtype);
	uint64_t slack = 512; /* what ops_read_shifted may add before and behind */
	int64_t rows = limit > slack ? (int64_t)((limit - slack) / row_bytes) : 0;
	if (job->layout == OP_IN_OUT) {
		/* equal blocks; each leaves a sum of its own */
		int64_t turning = inner_that_fits(job);
		rows = least(rows, ops_div_up(job->w.rows, ops_div_up(job->w.rows, turning)) + 3);
	}
	if (rows >= job->w.rows)
		return job->w.rows;
	/* Texels of x hold four inner indices. */
	return rows > 4 ? rows / 4 * 4 : rows;
}

static bool can_fuse_norm(const struct job *job)
{
	return !job->choice.norm_apart && job->y.rows == 1 &&
	       (job->choice.kernel == LINEAR_ROWS || is_streaming(job->choice.kernel)) && norm_fits_texels(job);
}

static void record_product(struct job *job)
{
	job->choice.kernel = choose(job);
	if (job->extra.norm != OP_NORM_NONE && !can_fuse_norm(job))
		record_norm(job);
	int64_t fit = rows_that_fit(job);
	if (fit < 1 || (fit < 4 && job->w.rows > fit)) {
		recorder_fail(job->rec, STATUS_FAILED, "a few rows of %lld weights are larger than the device can bind",
			      (long long)job->w.cols);
		return;
	}
	int64_t blocks = ops_div_up(job->w.rows, fit);
	int64_t inner = job->layout == OP_OUT_IN ? job->k : fit, cuts = 1;
	if (job->choice.kernel == LINEAR_PLAIN)
		cuts = most(job->choice.k_parts, ops_div_up(inner, OPS_MAX_TURNS));
	else if (takes_whole_rows(job))
		cuts = SLAB_PARTS;
	int64_t k_part = ops_div_up(inner, cuts);
	if (is_texel_kernel(job->choice.kernel) && job->layout == OP_IN_OUT)
		k_part = ops_div_up(k_part, 4) * 4; /* texels of x */
	cuts = ops_div_up(inner, k_part);
	/* Blocks of the inner dimension leave sums of their own. */
	int64_t parts = job->layout == OP_IN_OUT ? blocks * cuts : cuts;
	struct tensor partial = {0};
	if (parts > 1) {
		partial = recorder_scratch(job->rec, parts * job->y.rows, job->n);
		if (recorder_failed(job->rec))
			return;
	}
	int64_t part = 0;
	for (int64_t first = 0; first < job->w.rows; first += fit) {
		int64_t count = least(job->w.rows - first, fit);
		struct block block = {first, count, cuts, k_part, part};
		if (job->layout == OP_IN_OUT) {
			block.parts = ops_div_up(count, k_part);
			part += block.parts;
		}
		if (is_texel_kernel(job->choice.kernel))
			record_texel_kernel(job, block, partial);
		else
			record_storage_kernel(job, block, partial);
	}
	if (parts > 1)
		record_finish(job, partial, job->layout == OP_IN_OUT ? part : parts);
}

static struct tensor some_rows(struct tensor t, int64_t first, int64_t count)
{
	return tensor_exists(t) ? tensor_rows(t, first, count) : t;
}

void op_linear_chosen(struct recorder *rec, struct tensor y, struct tensor x, struct tensor w, enum op_layout layout,
		      const struct op_linear *extra, const struct linear_choice *choice)
{
	const struct device_info *info = device_get_info(recorder_device(rec));
	struct job job = {
		.rec = rec,
		.info = info,
		.y = y,
		.x = x,
		.w = w,
		.layout = layout,
		.extra = extra ? *extra : (struct op_linear){0},
		.choice = *choice,
		.n = y.cols + (extra ? 2 * extra->k_cache.cols : 0),
		.k = x.cols,
	};
	check(&job);
	/* Many rows go in blocks whose tensors fit a binding; 64 rows of any width start
	 * at a multiple of 256 bytes, which suits every device. */
	int64_t each = (int64_t)(info->max_binding_bytes / 4) / most(job.n, job.k) / 64 * 64;
	each = most(least(each, 32768), 64);
	for (int64_t first = 0; first < y.rows; first += each) {
		int64_t rows = least(y.rows - first, each);
		struct job part = job;
		part.row_first = first;
		part.y = tensor_rows(y, first, rows);
		part.x = tensor_rows(x, first, rows);
		part.extra.pre = some_rows(job.extra.pre, first, rows);
		part.extra.residual = some_rows(job.extra.residual, first, rows);
		part.extra.rows = some_rows(job.extra.rows, first, rows);
		record_product(&part);
	}
}

void op_linear(struct recorder *rec, struct tensor y, struct tensor x, struct tensor w, enum op_layout layout,
	       const struct op_linear *extra)
{
	op_linear_chosen(rec, y, x, w, layout, extra, &(struct linear_choice){0});
}
