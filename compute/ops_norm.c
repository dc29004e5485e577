#include "compute/ops_internal.h"
#include "compute/ops.h"
#include "shaders/push_norm.h"

/* The kernels know the kinds by these numbers. */
_Static_assert(OP_NORM_LAYER == 1 && OP_NORM_RMS == 2 && OP_NORM_RMS_PLUS == 3, "norm.comp");

void op_norm(struct recorder *rec, struct tensor y, struct tensor x, enum op_norm kind, struct tensor w,
	     struct tensor b, double eps)
{
	ops_require("op_norm", kind != OP_NORM_NONE, "no kind of norm");
	ops_check("op_norm", "x", x, x.rows, x.cols, DTYPE_F32);
	ops_check("op_norm", "y", y, x.rows, x.cols, DTYPE_F32);
	ops_check("op_norm", "w", w, 1, x.cols, DTYPE_F32);
	ops_check_optional("op_norm", "b", b, 1, x.cols, DTYPE_F32);
	struct push_norm push = {
		(uint32_t)x.rows, (uint32_t)x.rows, (uint32_t)x.cols, (float)eps, tensor_exists(b), 0, 0};
	const struct device_info *info = device_get_info(recorder_device(rec));
	struct dispatch d = {
		.kernel = "norm",
		.constants = {kind},
		.constant_count = 1,
		.bindings = {ops_write(y), ops_read(x), ops_read_shifted(info, w, BINDING_STORAGE, &push.w_shift),
			     ops_read_shifted(info, b, BINDING_STORAGE, &push.b_shift)},
		.binding_count = 4,
		.push = &push,
		.push_bytes = sizeof push,
	};
	ops_use_narrow(rec, &d, "norm_narrow", 1u << 1 | 1u << 2 | 1u << 3);
	ops_grid(&d, (uint64_t)x.rows);
	record_dispatch(rec, &d);
}

void op_norm_back(struct recorder *rec, struct tensor dx, struct tensor dy, struct tensor x, enum op_norm kind,
		  struct tensor w, double eps, struct tensor residual)
{
	ops_require("op_norm_back", kind != OP_NORM_NONE, "no kind of norm");
	ops_gradients("op_norm_back", dx, x.rows);
	ops_check("op_norm_back", "x", x, x.rows, x.cols, DTYPE_F32);
	ops_check("op_norm_back", "dx", dx, dx.rows, x.cols, DTYPE_F32);
	ops_check("op_norm_back", "dy", dy, dx.rows, x.cols, DTYPE_F32);
	ops_check("op_norm_back", "w", w, 1, x.cols, DTYPE_F32);
	ops_check_optional("op_norm_back", "residual", residual, dx.rows, x.cols, DTYPE_F32);
	struct push_norm push = {
		(uint32_t)dx.rows, (uint32_t)x.rows, (uint32_t)x.cols, (float)eps, tensor_exists(residual), 0, 0};
	const struct device_info *info = device_get_info(recorder_device(rec));
	struct dispatch d = {
		.kernel = "norm_back",
		.constants = {kind},
		.constant_count = 1,
		.bindings = {ops_write(dx), ops_read(dy), ops_read(x),
			     ops_read_shifted(info, w, BINDING_STORAGE, &push.w_shift), ops_read(residual)},
		.binding_count = 5,
		.push = &push,
		.push_bytes = sizeof push,
	};
	ops_use_narrow(rec, &d, "norm_back_narrow", 1u << 1 | 1u << 2 | 1u << 3 | 1u << 4);
	ops_grid(&d, (uint64_t)dx.rows);
	record_dispatch(rec, &d);
}
