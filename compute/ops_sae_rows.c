/* Operations of SAEs on whole rows: normalisation, and choices of the k largest. */
#include "compute/ops.h"
#include "compute/ops_internal.h"
#include "shaders/push_sae.h"

enum {
	LANES = 64,	   /* WG of the kernels */
	ONE_GROUP = 65536, /* up to this many features a workgroup finds the largest of a row alone */
	SLICE = 8192,	   /* of longer rows */
	NARROW_SLICE = 32768,
	DIGITS = 256,
	MAX_ROWS = 65535,
};

_Static_assert(OP_SAE_NORM_NONE == 0 && OP_SAE_NORM_CONSTANT == 1 && OP_SAE_NORM_LAYER == 2, "sae_prepare.comp");
_Static_assert(OP_CHOICE_LARGEST == 0 && OP_CHOICE_MAGNITUDE == 1 && OP_CHOICE_GROUPS == 2, "sae_chosen.comp");

/* ---- normalisation ---- */

void op_sae_prepare(struct recorder *rec, struct tensor v, struct tensor stats, struct tensor x,
		    const struct op_sae_prepare *p)
{
	const char *op = "op_sae_prepare";
	ops_check(op, "x", x, x.rows, x.cols, DTYPE_F32);
	ops_check(op, "v", v, x.rows, x.cols, DTYPE_F32);
	ops_check(op, "stats", stats, x.rows, 4, DTYPE_F32);
	ops_check_optional(op, "b_dec", p->b_dec, 1, x.cols, DTYPE_F32);
	const struct device_info *info = device_get_info(recorder_device(rec));
	struct push_sae_rows push = {.rows = (uint32_t)x.rows, .forward_rows = (uint32_t)x.rows, .d = (uint32_t)x.cols};
	struct dispatch d = {
		.kernel = "sae_prepare",
		.constants = {p->norm, p->center, tensor_exists(p->b_dec)},
		.constant_count = 3,
		.bindings = {ops_write(v), ops_write(stats), ops_read(x),
			     ops_read_shifted(info, p->b_dec, BINDING_STORAGE, &push.b_dec_shift)},
		.binding_count = 4,
		.push = &push,
		.push_bytes = sizeof push,
	};
	ops_use_narrow(rec, &d, "sae_prepare_narrow", 1u << 2 | 1u << 3);
	ops_grid(&d, (uint64_t)x.rows);
	record_dispatch(rec, &d);
}

void op_sae_prepare_back(struct recorder *rec, struct tensor dx, struct tensor dv, struct tensor v, struct tensor stats,
			 const struct op_sae_prepare *p, const struct op_sae_restored *restored, bool add)
{
	const char *op = "op_sae_prepare_back";
	ops_gradients(op, dv, v.rows);
	ops_check(op, "v", v, v.rows, v.cols, DTYPE_F32);
	ops_check(op, "dv", dv, dv.rows, v.cols, DTYPE_F32);
	ops_check(op, "dx", dx, dv.rows, v.cols, DTYPE_F32);
	ops_check(op, "stats", stats, v.rows, 4, DTYPE_F32);
	ops_check_optional(op, "b_dec", p->b_dec, 1, v.cols, DTYPE_F32);
	struct tensor dout = restored->dout, out = restored->out;
	bool acted = tensor_exists(out);
	if (acted) {
		ops_check(op, "out", out, v.rows, restored->whole ? v.cols : out.cols, DTYPE_F32);
		ops_check(op, "dout", dout, dv.rows, out.cols, DTYPE_F32);
	}
	const struct device_info *info = device_get_info(recorder_device(rec));
	struct push_sae_rows push = {
		.rows = (uint32_t)dv.rows,
		.forward_rows = (uint32_t)v.rows,
		.d = (uint32_t)v.cols,
		.terms = acted ? (uint32_t)out.cols : 0,
	};
	struct dispatch d = {
		.kernel = "sae_prepare_back",
		.constants = {p->norm, p->center, tensor_exists(p->b_dec),
			      !acted		? 0
			      : restored->whole ? 2
						: 1,
			      add},
		.constant_count = 5,
		.bindings = {add ? ops_read_write(dx) : ops_write(dx), ops_read(dv), ops_read(v),
			     ops_read_shifted(info, p->b_dec, BINDING_STORAGE, &push.b_dec_shift), ops_read(stats),
			     ops_read(acted ? dout : (struct tensor){0}), ops_read(out)},
		.binding_count = 7,
		.push = &push,
		.push_bytes = sizeof push,
	};
	ops_use_narrow(rec, &d, "sae_prepare_back_narrow", 1u << 1 | 1u << 2 | 1u << 3 | 1u << 5 | 1u << 6);
	ops_grid(&d, (uint64_t)dv.rows);
	record_dispatch(rec, &d);
}

void op_sae_rescale(struct recorder *rec, struct tensor y, struct tensor w, struct tensor stats, bool offset)
{
	ops_gradients("op_sae_rescale", w, stats.rows);
	ops_check("op_sae_rescale", "w", w, w.rows, w.cols, DTYPE_F32);
	ops_check("op_sae_rescale", "y", y, w.rows, w.cols, DTYPE_F32);
	ops_check("op_sae_rescale", "stats", stats, stats.rows, 4, DTYPE_F32);
	struct push_sae push = {
		.count = (uint32_t)tensor_count(w), .n = (uint32_t)w.cols, .rows = (uint32_t)stats.rows};
	struct dispatch d = {
		.kernel = "sae_rescale",
		.constants = {offset},
		.constant_count = 1,
		.bindings = {ops_write(y), ops_read(w), ops_read(stats)},
		.binding_count = 3,
		.push = &push,
		.push_bytes = sizeof push,
	};
	push.block = ops_block(rec, push.count, LANES);
	ops_use_narrow(rec, &d, "sae_rescale_narrow", 1u << 1);
	ops_grid(&d, (uint64_t)ops_div_up(push.count, push.block));
	record_dispatch(rec, &d);
}

/* ---- choices ---- */

int64_t op_sae_cut_columns(enum op_sae_choice kind, int64_t k)
{
	return kind == OP_CHOICE_GROUPS ? k : 2;
}

/* `narrow` is the build of the kernel for CPU devices, NULL if there is none. */
static void select_dispatch(struct recorder *rec, const char *kernel, const char *narrow,
			    const struct push_sae_select *push, enum op_sae_choice kind, struct binding cut,
			    struct tensor h, struct binding counts, uint32_t x, uint32_t y)
{
	struct dispatch d = {
		.kernel = kernel,
		.constants = {kind == OP_CHOICE_MAGNITUDE},
		.constant_count = 1,
		.bindings = {cut, ops_read(h), counts},
		.binding_count = tensor_exists(counts.tensor) ? 3 : 2,
		.push = push,
		.push_bytes = sizeof *push,
		.groups = {x, y},
	};
	if (narrow)
		ops_use_narrow(rec, &d, narrow, 1u << 1);
	record_dispatch(rec, &d);
}

/* Rows too long for one workgroup: each digit is counted by many and chosen by one. */
static void select_long(struct recorder *rec, struct push_sae_select *push, enum op_sae_choice kind, struct tensor cut,
			struct tensor h)
{
	push->slice = ops_narrow(rec) ? NARROW_SLICE : SLICE;
	push->slices = (push->n + push->slice - 1) / push->slice;
	struct tensor counts = recorder_scratch(rec, h.rows * push->slices, DIGITS);
	for (push->shift = 24;; push->shift -= 8) {
		select_dispatch(rec, "sae_select_count", "sae_select_count_narrow", push, kind, ops_read(cut), h,
				ops_write(counts), push->slices, push->rows);
		select_dispatch(rec, "sae_select_choose", "sae_select_choose_narrow", push, kind, ops_read_write(cut),
				h, ops_read(counts), push->rows, 1);
		if (push->shift == 0)
			break;
	}
}

void op_sae_select(struct recorder *rec, struct tensor cut, struct tensor h, enum op_sae_choice kind, int64_t k)
{
	const char *op = "op_sae_select";
	ops_require(op, k >= 1 && h.rows >= 1 && h.rows <= MAX_ROWS, "nothing is chosen, or of too many rows");
	ops_check(op, "h", h, h.rows, h.cols, DTYPE_F32);
	ops_check(op, "cut", cut, h.rows, op_sae_cut_columns(kind, k), DTYPE_U32);
	struct push_sae_select push = {
		.rows = (uint32_t)h.rows,
		.n = (uint32_t)h.cols,
		.k = (uint32_t)(k < h.cols ? k : h.cols),
	};
	struct binding none = {0};
	if (kind == OP_CHOICE_GROUPS) {
		ops_require(op, h.cols % k == 0 && k <= MAX_ROWS, "the groups do not divide the features");
		push.slice = (uint32_t)(h.cols / k);
		select_dispatch(rec, "sae_groupmax", NULL, &push, kind, ops_write(cut), h, none, push.k, push.rows);
	} else if (h.cols <= ONE_GROUP) {
		select_dispatch(rec, "sae_select", "sae_select_narrow", &push, kind, ops_write(cut), h, none, push.rows,
				1);
	} else {
		select_long(rec, &push, kind, cut, h);
	}
}

void op_sae_chosen(struct recorder *rec, struct tensor z, struct tensor kept, struct tensor h, struct tensor cut,
		   struct tensor index, int64_t first_row, enum op_sae_choice kind, int64_t k)
{
	const char *op = "op_sae_chosen";
	bool indexed = tensor_exists(index);
	ops_check(op, "h", h, h.rows, h.cols, DTYPE_F32);
	ops_check(op, "cut", cut, h.rows, op_sae_cut_columns(kind, k), DTYPE_U32);
	ops_check_optional(op, "index", index, 1, index.cols, DTYPE_U32);
	ops_check(op, "z", z, z.rows, indexed ? index.cols : h.cols, DTYPE_F32);
	ops_check(op, "kept", kept, z.rows, z.cols, DTYPE_F32);
	ops_require(op, first_row >= 0 && first_row + h.rows <= z.rows, "z has too few rows");
	struct push_sae_chosen push = {
		.count = (uint32_t)(h.rows * z.cols),
		.n = (uint32_t)z.cols,
		.features = (uint32_t)h.cols,
		.first_row = (uint32_t)first_row,
		.groups = (uint32_t)k,
	};
	struct dispatch d = {
		.kernel = "sae_chosen",
		.constants = {kind, indexed},
		.constant_count = 2,
		.bindings = {ops_write(z), ops_write(kept), ops_read(h), ops_read(cut), ops_read(index)},
		.binding_count = 5,
		.push = &push,
		.push_bytes = sizeof push,
	};
	push.block = ops_block(rec, push.count, LANES);
	ops_use_narrow(rec, &d, "sae_chosen_narrow", 1u << 2);
	ops_grid(&d, (uint64_t)ops_div_up(push.count, push.block));
	record_dispatch(rec, &d);
}
