/* Rows of a weight matrix picked by ids: logits that an objective reads, embeddings. */
#include "compute/ops.h"

#include "compute/ops_internal.h"
#include "shaders/push_linear.h"

enum { LANES = 64, NARROW_LANES = 8, WINDOWS = 8, MAX_ROWS = 65535 };

/* The part of w that one dispatch binds. */
struct windows {
	int64_t first, window_rows, count;
	uint32_t shift;
};

/* Binds the rows of w from `first` on at bindings[at..at+8), as many as fit. Windows
 * start at multiples of 256 rows, so that all have the same shift. */
static struct windows bind_windows(struct recorder *rec, struct dispatch *d, int at, struct tensor w, int64_t first)
{
	const struct device_info *info = device_get_info(recorder_device(rec));
	uint64_t row_bytes = (uint64_t)w.cols * dtype_size(w.dtype);
	struct windows windows = {.first = first};
	windows.window_rows = (int64_t)((info->max_binding_bytes - 512) / row_bytes) / 256 * 256;
	if (windows.window_rows == 0) {
		recorder_fail(rec, STATUS_FAILED, "256 rows of %lld weights are larger than the device can bind",
			      (long long)w.cols);
		windows.window_rows = 256;
	}
	int64_t end = first;
	for (int i = 0; i < WINDOWS; i++) {
		int64_t count = w.rows - end < windows.window_rows ? w.rows - end : windows.window_rows;
		struct tensor none = {0};
		uint32_t shift;
		d->bindings[at + i] =
			ops_read_shifted(info, count > 0 ? tensor_rows(w, end, count) : none, BINDING_STORAGE, &shift);
		if (i == 0)
			windows.shift = shift;
		end += count;
	}
	windows.count = end - first;
	d->binding_count = at + WINDOWS;
	return windows;
}

static void check_gather(const char *op, struct tensor narrow, struct tensor wide, struct tensor w, struct tensor ids)
{
	ops_check(op, "ids", ids, ids.rows == 1 ? 1 : wide.rows, ids.cols, DTYPE_U32);
	if (w.dtype == DTYPE_U32)
		fatal("%s: w is uint32", op);
	ops_check(op, "w", w, w.rows, wide.cols, w.dtype);
	ops_check(op, "the tensor of w's width", wide, narrow.rows, wide.cols, DTYPE_F32);
	ops_check(op, "the tensor of ids", narrow, wide.rows, ids.cols, DTYPE_F32);
	if (wide.rows > MAX_ROWS || ids.cols > MAX_ROWS)
		fatal("%s: %lld rows, %lld ids", op, (long long)wide.rows, (long long)ids.cols);
}

/* Both directions; `out` and `in` are bindings 0 and 1. */
static void record_gather(struct recorder *rec, const char *kernel, struct tensor out, struct tensor in,
			  struct tensor w, struct tensor ids, uint32_t groups)
{
	for (int64_t first = 0; first < w.rows;) {
		struct dispatch d = {
			.kernel = kernel,
			.constants = {w.dtype},
			.constant_count = 1,
			.bindings = {first ? ops_read_write(out) : ops_write(out), ops_read(in), ops_read(ids)},
			.groups = {groups, (uint32_t)out.rows},
		};
		struct windows windows = bind_windows(rec, &d, 3, w, first);
		struct push_gather push = {
			.rows = (uint32_t)out.rows,
			.k = (uint32_t)w.cols,
			.ids = (uint32_t)ids.cols,
			.ids_stride = ids.rows == 1 ? 0 : (uint32_t)ids.cols,
			.first_row = (uint32_t)windows.first,
			.window_rows = (uint32_t)windows.window_rows,
			.row_count = (uint32_t)windows.count,
			.w_shift = windows.shift,
			.add = first > 0,
		};
		d.push = &push;
		d.push_bytes = sizeof push;
		record_dispatch(rec, &d);
		first += windows.count;
	}
}

/* Can w be read as texels in one piece, and `x`, a tensor with its width? Then a gather is one
 * dispatch of the narrow kernel, and how many rows there are is no matter. */
static bool fits_texels(struct recorder *rec, struct tensor w, struct tensor x)
{
	const struct device_info *info = device_get_info(recorder_device(rec));
	int64_t per_texel = 16 / (int64_t)dtype_size(w.dtype);
	return ops_narrow(rec) && w.cols % per_texel == 0 && ops_starts_at_texel(info, w) &&
	       ops_starts_at_texel(info, x) && tensor_count(w) / (uint64_t)per_texel + 64 <= info->max_texel_elements &&
	       tensor_count(x) / 4 <= info->max_texel_elements;
}

/* Both directions; `out` and `in` are bindings 0 and 1, `form` that of in. */
static void record_gather_narrow(struct recorder *rec, const char *const kernels[2], struct tensor out,
				 struct tensor in, enum binding_form form, struct tensor w, struct tensor ids,
				 int64_t groups)
{
	const struct device_info *info = device_get_info(recorder_device(rec));
	bool half = w.dtype != DTYPE_F32;
	struct push_gather push = {
		.rows = (uint32_t)out.rows,
		.k = (uint32_t)w.cols,
		.ids = (uint32_t)ids.cols,
		.ids_stride = ids.rows == 1 ? 0 : (uint32_t)ids.cols,
	};
	struct dispatch d = {
		.kernel = kernels[half],
		.constants = {w.dtype},
		.constant_count = 1,
		.bindings = {ops_write(out),
			     {in, BINDING_READ, form},
			     ops_read_shifted(info, w, half ? BINDING_IMAGE_RGBA32UI : BINDING_IMAGE_RGBA32F,
					      &push.w_shift),
			     ops_read(ids)},
		.binding_count = 4,
		.push = &push,
		.push_bytes = sizeof push,
		.groups = {(uint32_t)groups, (uint32_t)out.rows},
	};
	record_dispatch(rec, &d);
}

void op_linear_gather(struct recorder *rec, struct tensor y, struct tensor x, struct tensor w, struct tensor ids)
{
	static const char *const kernels[2] = {"linear_gather_narrow", "linear_gather_narrow_half"};
	check_gather("op_linear_gather", y, x, w, ids);
	if (fits_texels(rec, w, x)) {
		ops_check_turns(rec, "op_linear_gather", ops_div_up(w.cols, 4 * NARROW_LANES));
		record_gather_narrow(rec, kernels, y, x, BINDING_IMAGE_RGBA32F, w, ids, ids.cols);
		return;
	}
	ops_check_turns(rec, "op_linear_gather", ops_div_up(w.cols, LANES) + 6);
	record_gather(rec, "linear_gather", y, x, w, ids, (uint32_t)ids.cols);
}

void op_linear_gather_back(struct recorder *rec, struct tensor dx, struct tensor dy, struct tensor w, struct tensor ids)
{
	static const char *const kernels[2] = {"linear_gather_back_narrow", "linear_gather_back_narrow_half"};
	check_gather("op_linear_gather_back", dy, dx, w, ids);
	if (fits_texels(rec, w, dx)) {
		int64_t per_texel = 16 / (int64_t)dtype_size(w.dtype);
		ops_check_turns(rec, "op_linear_gather_back", ids.cols);
		record_gather_narrow(rec, kernels, dx, dy, BINDING_IMAGE_R32F, w, ids,
				     ops_div_up(w.cols, per_texel * NARROW_LANES));
		return;
	}
	ops_check_turns(rec, "op_linear_gather_back", ops_div_up(ids.cols, 4)); /* four are unrolled */
	record_gather(rec, "linear_gather_back", dx, dy, w, ids, (uint32_t)ops_div_up(w.cols, LANES));
}

void op_embed(struct recorder *rec, struct tensor x, struct tensor ids, struct tensor rows, struct tensor wte,
	      struct tensor wpe, double scale)
{
	const char *op = "op_embed";
	const struct device_info *info = device_get_info(recorder_device(rec));
	ops_check(op, "x", x, x.rows, x.cols, DTYPE_F32);
	ops_check(op, "ids", ids, 1, x.rows, DTYPE_U32);
	if (wte.dtype == DTYPE_U32 || wpe.dtype == DTYPE_U32)
		fatal("%s: an embedding is uint32", op);
	ops_check(op, "wte", wte, wte.rows, x.cols, wte.dtype);
	ops_check_optional(op, "wpe", wpe, wpe.rows, x.cols, wpe.dtype);
	if (tensor_exists(wpe))
		ops_check(op, "rows", rows, x.rows, 2, DTYPE_U32);
	if (x.rows > MAX_ROWS)
		fatal("%s: %lld rows", op, (long long)x.rows);
	for (int64_t first = 0; first < wte.rows;) {
		struct dispatch d = {
			.kernel = "embed",
			.constants = {wte.dtype, tensor_exists(wpe) ? 1 + (uint32_t)wpe.dtype : 0},
			.constant_count = 2,
			.bindings = {ops_write(x), ops_read(ids),
				     ops_read(tensor_exists(wpe) ? rows : (struct tensor){0})},
			.groups = {(uint32_t)ops_div_up(x.cols, LANES), (uint32_t)x.rows},
		};
		struct windows windows = bind_windows(rec, &d, 4, wte, first);
		struct push_embed push = {
			.rows = (uint32_t)x.rows,
			.width = (uint32_t)x.cols,
			.first_row = (uint32_t)windows.first,
			.window_rows = (uint32_t)windows.window_rows,
			.row_count = (uint32_t)windows.count,
			.w_shift = windows.shift,
			.scale = (float)scale,
		};
		d.bindings[3] = ops_read_shifted(info, wpe, BINDING_STORAGE, &push.wpe_shift);
		d.push = &push;
		d.push_bytes = sizeof push;
		record_dispatch(rec, &d);
		first += windows.count;
	}
}
