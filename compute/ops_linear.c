/* Products with a weight matrix: op_linear. */
#include "compute/ops_linear.h"

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
};

enum { LANES = 64, MAX_GROUPS = 65535 };

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
	struct tensor stats; /* [rows, 2], if there is a norm */
};

const char *linear_kernel_name(enum linear_kernel kernel)
{
	static const char *const names[] = {"auto", "plain"};
	return names[kernel];
}

bool linear_kernel_fits(enum linear_kernel kernel, const struct device_info *info, struct tensor y, struct tensor x,
			struct tensor w, enum op_layout layout)
{
	(void)kernel;
	(void)info;
	(void)y;
	(void)x;
	(void)w;
	(void)layout;
	return true;
}

static void check(const struct job *job, struct tensor w)
{
	const char *op = "op_linear";
	const struct op_linear *extra = &job->extra;
	int64_t rows = job->y.rows, n = job->n, k = job->k;
	if (rows < 1 || n < 1 || k < 1)
		fatal("%s: y is [%lld, %lld], x has %lld columns", op, (long long)rows, (long long)n, (long long)k);
	ops_check(op, "y", job->y, rows, n, DTYPE_F32);
	ops_check(op, "x", job->x, rows, k, DTYPE_F32);
	bool out_in = job->layout == OP_OUT_IN;
	if (w.dtype == DTYPE_U32)
		fatal("%s: w is uint32", op);
	ops_check(op, "w", w, out_in ? n : k, out_in ? k : n, w.dtype);
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
	if (extra->norm != OP_NORM_NONE && tensor_exists(extra->norm_b))
		steps |= STEP_NORM_B;
	return steps;
}

/* A dispatch without its kernel, its groups, x (binding 1) and w (binding 2): what is
 * the same for all kernels. `partial`, if it exists, takes the place of y. */
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
	};
	*d = (struct dispatch){
		.constants = {job->layout, job->w.dtype, extra->norm, extra->act, extra->back_act, steps, 1},
		.constant_count = 7,
		.binding_count = 10,
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
	d->bindings[7] =
		ops_read_shifted(job->info, extra->norm ? extra->norm_w : none, BINDING_STORAGE, &push->norm_w_shift);
	d->bindings[8] =
		ops_read_shifted(job->info, extra->norm ? extra->norm_b : none, BINDING_STORAGE, &push->norm_b_shift);
	d->bindings[9] = ops_read(job->stats);
	if (sums_only) {
		d->constants[3] = OP_ACT_NONE;
		d->constants[4] = OP_ACT_NONE;
		d->constants[5] = (steps & STEP_NORM_B) | STEP_PARTIAL;
	}
}

/* Mean and deviation of each row of x, for kernels that do not compute them. */
static void record_stats(struct job *job)
{
	if (job->extra.norm == OP_NORM_NONE)
		return;
	job->stats = recorder_scratch(job->rec, job->x.rows, 2);
	struct push_row_stats push = {(uint32_t)job->x.rows, (uint32_t)job->k, (float)job->extra.norm_eps};
	struct dispatch d = {
		.kernel = "row_stats",
		.constants = {job->extra.norm == OP_NORM_LAYER},
		.constant_count = 1,
		.bindings = {ops_write(job->stats), ops_read(job->x)},
		.binding_count = 2,
		.push = &push,
		.push_bytes = sizeof push,
		.groups = {(uint32_t)(job->x.rows < MAX_GROUPS ? job->x.rows : MAX_GROUPS)},
	};
	record_dispatch(job->rec, &d);
}

static void record_finish(const struct job *job, struct tensor partial, int64_t parts)
{
	struct dispatch d;
	struct push_linear push;
	struct job plain = *job;
	plain.extra.norm = OP_NORM_NONE;
	plain.stats = (struct tensor){0};
	start_dispatch(&d, &push, &plain, (struct tensor){0});
	push.parts = (uint32_t)parts;
	d.kernel = "linear_finish";
	d.bindings[1] = ops_read(partial);
	d.bindings[2] = ops_read((struct tensor){0});
	d.groups[0] = (uint32_t)ops_div_up(job->n, LANES);
	d.groups[1] = (uint32_t)job->y.rows;
	record_dispatch(job->rec, &d);
}

/* The part of the product that rows [first, first + count) of w contribute. */
struct block {
	int64_t first, count;
	int64_t parts, k_part; /* the block's inner indices are cut into `parts` of k_part each */
	int64_t part;	       /* the first of them, among all */
};

static void record_plain(const struct job *job, struct block block, struct tensor partial)
{
	struct dispatch d;
	struct push_linear push;
	start_dispatch(&d, &push, job, partial);
	bool out_in = job->layout == OP_OUT_IN;
	push.n_first = out_in ? (uint32_t)block.first : 0;
	push.n_count = out_in ? (uint32_t)block.count : push.n;
	push.k_first = out_in ? 0 : (uint32_t)block.first;
	push.k_count = out_in ? push.k : (uint32_t)block.count;
	push.part = (uint32_t)block.part;
	push.k_part = (uint32_t)block.k_part;
	uint32_t tile = push.rows > 4 ? 8 : push.rows > 2 ? 4 : push.rows;
	d.kernel = "linear_plain";
	d.constants[6] = tile;
	d.bindings[1] = ops_read(job->x);
	d.bindings[2] = ops_read_shifted(job->info, tensor_rows(job->w, block.first, block.count), BINDING_STORAGE,
					 &push.w_shift);
	d.groups[0] = (uint32_t)ops_div_up(push.n_count, LANES);
	d.groups[1] = (uint32_t)ops_div_up(push.rows, tile);
	d.groups[2] = (uint32_t)block.parts;
	record_dispatch(job->rec, &d);
}

/* Rows of w that one binding can hold, wherever they start. */
static int64_t rows_that_fit(const struct job *job, uint64_t limit)
{
	uint64_t row_bytes = (uint64_t)job->w.cols * dtype_size(job->w.dtype);
	uint64_t slack = 512; /* what ops_read_shifted may add before and behind */
	int64_t rows = limit > slack ? (int64_t)((limit - slack) / row_bytes) : 0;
	return rows < job->w.rows ? rows : job->w.rows;
}

static void record_product(struct job *job)
{
	record_stats(job);
	int64_t fit = rows_that_fit(job, job->choice.max_binding);
	if (fit < 1) {
		recorder_fail(job->rec, STATUS_FAILED,
			      "a row of %lld weights is larger than the device can bind (%llu bytes)",
			      (long long)job->w.cols, (unsigned long long)job->choice.max_binding);
		return;
	}
	int64_t blocks = ops_div_up(job->w.rows, fit);
	int64_t cuts = job->choice.k_parts > 0 ? job->choice.k_parts : 1;
	int64_t inner = job->layout == OP_OUT_IN ? job->k : fit;
	int64_t k_part = ops_div_up(inner, cuts);
	cuts = ops_div_up(inner, k_part);
	/* Blocks of the inner dimension leave sums of their own. */
	int64_t parts = job->layout == OP_IN_OUT ? blocks * cuts : cuts;
	struct tensor partial = {0};
	if (parts > 1)
		partial = recorder_scratch(job->rec, parts * job->y.rows, job->n);
	int64_t part = 0;
	for (int64_t first = 0; first < job->w.rows; first += fit) {
		int64_t count = job->w.rows - first < fit ? job->w.rows - first : fit;
		struct block block = {first, count, cuts, k_part, part};
		if (job->layout == OP_IN_OUT) {
			block.parts = ops_div_up(count, k_part);
			part += block.parts;
		}
		record_plain(job, block, partial);
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
		.n = y.cols,
		.k = x.cols,
	};
	if (job.choice.max_binding == 0)
		job.choice.max_binding = info->max_binding_bytes;
	check(&job, w);
	/* Many rows go in blocks whose tensors fit a binding; 64 rows of any width start
	 * at a multiple of 256 bytes, which suits every device. */
	int64_t widest = job.n > job.k ? job.n : job.k;
	int64_t most = (int64_t)(info->max_binding_bytes / 4) / widest / 64 * 64;
	if (most > 32768)
		most = 32768;
	if (most < 64)
		most = 64;
	for (int64_t first = 0; first < y.rows; first += most) {
		int64_t rows = y.rows - first < most ? y.rows - first : most;
		struct job part = job;
		part.row_first = first;
		part.y = tensor_rows(y, first, rows);
		part.x = tensor_rows(x, first, rows);
		part.extra.pre = some_rows(job.extra.pre, first, rows);
		part.extra.residual = some_rows(job.extra.residual, first, rows);
		record_product(&part);
	}
}

void op_linear(struct recorder *rec, struct tensor y, struct tensor x, struct tensor w, enum op_layout layout,
	       const struct op_linear *extra)
{
	op_linear_chosen(rec, y, x, w, layout, extra, &(struct linear_choice){0});
}
