#include "compute/ops_internal.h"
#include "compute/ops.h"
#include "shaders/push_elementwise.h"

enum { LANES = 64 };	  /* WG of elementwise.glsl */
enum { POOL_LANES = 32 }; /* WG of pool.comp */

_Static_assert(OP_ACT_NONE == 0 && OP_ACT_GELU == 1 && OP_ACT_GELU_TANH == 2 && OP_ACT_SILU == 3 && OP_ACT_RELU == 4,
	       "activation.glsl");

/* Records a kernel over single elements. */
static void each_element(struct recorder *rec, struct dispatch *d, struct push_elementwise *push)
{
	push->block = ops_block(rec, push->count, LANES);
	d->push = push;
	d->push_bytes = sizeof *push;
	ops_grid(d, (uint64_t)ops_div_up(push->count, push->block));
	record_dispatch(rec, d);
}

void op_glu(struct recorder *rec, struct tensor a, struct tensor gate_up, enum op_act act)
{
	ops_check("op_glu", "a", a, a.rows, a.cols, DTYPE_F32);
	ops_check("op_glu", "gate_up", gate_up, a.rows, 2 * a.cols, DTYPE_F32);
	struct push_elementwise push = {.count = (uint32_t)tensor_count(a), .cols = (uint32_t)a.cols};
	struct dispatch d = {
		.kernel = "glu",
		.constants = {act},
		.constant_count = 1,
		.bindings = {ops_write(a), ops_read(gate_up)},
		.binding_count = 2,
	};
	ops_use_narrow(rec, &d, "glu_narrow", 1u << 1);
	each_element(rec, &d, &push);
}

void op_glu_back(struct recorder *rec, struct tensor dgate_up, struct tensor da, struct tensor gate_up, enum op_act act)
{
	ops_gradients("op_glu_back", da, gate_up.rows);
	ops_check("op_glu_back", "da", da, da.rows, da.cols, DTYPE_F32);
	ops_check("op_glu_back", "dgate_up", dgate_up, da.rows, 2 * da.cols, DTYPE_F32);
	ops_check("op_glu_back", "gate_up", gate_up, gate_up.rows, 2 * da.cols, DTYPE_F32);
	struct push_elementwise push = {
		.count = (uint32_t)tensor_count(da),
		.cols = (uint32_t)da.cols,
		.repeat = (uint32_t)tensor_count(gate_up),
	};
	struct dispatch d = {
		.kernel = "glu_back",
		.constants = {act},
		.constant_count = 1,
		.bindings = {ops_write(dgate_up), ops_read(da), ops_read(gate_up)},
		.binding_count = 3,
	};
	ops_use_narrow(rec, &d, "glu_back_narrow", 1u << 1 | 1u << 2);
	each_element(rec, &d, &push);
}

void op_softcap(struct recorder *rec, struct tensor y, struct tensor x, double cap)
{
	ops_check("op_softcap", "x", x, x.rows, x.cols, DTYPE_F32);
	ops_check("op_softcap", "y", y, x.rows, x.cols, DTYPE_F32);
	struct push_elementwise push = {.count = (uint32_t)tensor_count(x), .scale = (float)cap};
	struct dispatch d = {
		.kernel = "softcap",
		.bindings = {ops_write(y), ops_read(x)},
		.binding_count = 2,
	};
	ops_use_narrow(rec, &d, "softcap_narrow", 1u << 1);
	each_element(rec, &d, &push);
}

void op_softcap_back(struct recorder *rec, struct tensor dx, struct tensor dy, struct tensor y, double cap)
{
	ops_gradients("op_softcap_back", dy, y.rows);
	ops_check("op_softcap_back", "y", y, y.rows, y.cols, DTYPE_F32);
	ops_check("op_softcap_back", "dy", dy, dy.rows, y.cols, DTYPE_F32);
	ops_check("op_softcap_back", "dx", dx, dy.rows, y.cols, DTYPE_F32);
	struct push_elementwise push = {
		.count = (uint32_t)tensor_count(dy),
		.repeat = (uint32_t)tensor_count(y),
		.scale = (float)cap,
	};
	struct dispatch d = {
		.kernel = "softcap_back",
		.bindings = {ops_write(dx), ops_read(dy), ops_read(y)},
		.binding_count = 3,
	};
	ops_use_narrow(rec, &d, "softcap_back_narrow", 1u << 1 | 1u << 2);
	each_element(rec, &d, &push);
}

void op_add(struct recorder *rec, struct tensor y, struct tensor a, struct tensor b, double scale)
{
	ops_gradients("op_add", a, b.rows);
	ops_check("op_add", "a", a, a.rows, a.cols, DTYPE_F32);
	ops_check("op_add", "b", b, b.rows, a.cols, DTYPE_F32);
	ops_check("op_add", "y", y, a.rows, a.cols, DTYPE_F32);
	struct push_elementwise push = {
		.count = (uint32_t)tensor_count(a),
		.repeat = (uint32_t)tensor_count(b),
		.scale = (float)scale,
	};
	struct dispatch d = {
		.kernel = "add",
		.bindings = {ops_write(y), ops_read(a), ops_read(b)},
		.binding_count = 3,
	};
	ops_use_narrow(rec, &d, "add_narrow", 1u << 1 | 1u << 2);
	each_element(rec, &d, &push);
}

void op_blend(struct recorder *rec, struct tensor y, struct tensor a, struct tensor b, struct tensor on, double alpha)
{
	ops_gradients("op_blend", a, on.cols);
	ops_check("op_blend", "a", a, a.rows, a.cols, DTYPE_F32);
	ops_check_optional("op_blend", "b", b, a.rows, a.cols, DTYPE_F32);
	ops_check("op_blend", "on", on, 1, on.cols, DTYPE_U32);
	ops_check("op_blend", "y", y, a.rows, a.cols, DTYPE_F32);
	struct push_elementwise push = {
		.count = (uint32_t)tensor_count(a),
		.cols = (uint32_t)a.cols,
		.repeat = (uint32_t)on.cols,
		.scale = (float)alpha,
	};
	struct dispatch d = {
		.kernel = "blend",
		.constants = {tensor_exists(b)},
		.constant_count = 1,
		.bindings = {ops_write(y), ops_read(a), ops_read(b), ops_read(on)},
		.binding_count = 4,
	};
	ops_use_narrow(rec, &d, "blend_narrow", 1u << 1 | 1u << 2);
	each_element(rec, &d, &push);
}

void op_gather_rows(struct recorder *rec, struct tensor y, struct tensor x, struct tensor index, int64_t stride)
{
	int64_t gradients = ops_gradients("op_gather_rows", x, stride);
	ops_check("op_gather_rows", "x", x, x.rows, x.cols, DTYPE_F32);
	ops_check("op_gather_rows", "index", index, 1, index.cols, DTYPE_U32);
	ops_check("op_gather_rows", "y", y, gradients * index.cols, x.cols, DTYPE_F32);
	struct push_elementwise push = {
		.count = (uint32_t)tensor_count(y),
		.cols = (uint32_t)y.cols,
		.repeat = (uint32_t)index.cols,
		.stride = (uint32_t)stride,
	};
	struct dispatch d = {
		.kernel = "gather_rows",
		.bindings = {ops_write(y), ops_read(x), ops_read(index)},
		.binding_count = 3,
	};
	ops_use_narrow(rec, &d, "gather_rows_narrow", 1u << 1);
	each_element(rec, &d, &push);
}

void op_scatter_add_rows(struct recorder *rec, struct tensor y, struct tensor x, struct tensor index, int64_t stride)
{
	int64_t gradients = ops_gradients("op_scatter_add_rows", y, stride);
	ops_check("op_scatter_add_rows", "index", index, 1, index.cols, DTYPE_U32);
	ops_check("op_scatter_add_rows", "x", x, gradients * index.cols, x.cols, DTYPE_F32);
	ops_check("op_scatter_add_rows", "y", y, y.rows, x.cols, DTYPE_F32);
	struct push_elementwise push = {
		.count = (uint32_t)tensor_count(x),
		.cols = (uint32_t)x.cols,
		.repeat = (uint32_t)index.cols,
		.stride = (uint32_t)stride,
	};
	struct dispatch d = {
		.kernel = "scatter_add_rows",
		.bindings = {ops_read_write(y), ops_read(x), ops_read(index)},
		.binding_count = 3,
	};
	ops_use_narrow(rec, &d, "scatter_add_rows_narrow", 1u << 1);
	each_element(rec, &d, &push);
}

void op_pool(struct recorder *rec, struct tensor y, struct tensor x, struct tensor rows, int64_t first)
{
	ops_check("op_pool", "rows", rows, x.rows, 2, DTYPE_U32);
	ops_check("op_pool", "x", x, x.rows, x.cols, DTYPE_F32);
	ops_check("op_pool", "y", y, y.rows, x.cols, DTYPE_F32);
	struct push_pool push = {(uint32_t)x.rows, (uint32_t)x.rows, (uint32_t)y.rows, (uint32_t)x.cols,
				 (uint32_t)first};
	struct dispatch d = {
		.kernel = "pool",
		.bindings = {ops_write(y), ops_read(x), ops_read(rows)},
		.binding_count = 3,
		.push = &push,
		.push_bytes = sizeof push,
	};
	ops_grid(&d, (uint64_t)y.rows * (((uint64_t)x.cols + POOL_LANES - 1) / POOL_LANES));
	record_dispatch(rec, &d);
}

void op_pool_back(struct recorder *rec, struct tensor dx, struct tensor dy, struct tensor rows, int64_t first)
{
	int64_t gradients = ops_gradients("op_pool_back", dx, rows.rows);
	ops_require("op_pool_back", dy.rows % gradients == 0, "dy has no whole number of rows a gradient");
	ops_check("op_pool_back", "rows", rows, rows.rows, 2, DTYPE_U32);
	ops_check("op_pool_back", "dx", dx, dx.rows, dx.cols, DTYPE_F32);
	ops_check("op_pool_back", "dy", dy, dy.rows, dx.cols, DTYPE_F32);
	struct push_pool push = {(uint32_t)dx.rows, (uint32_t)rows.rows, (uint32_t)(dy.rows / gradients),
				 (uint32_t)dx.cols, (uint32_t)first};
	struct dispatch d = {
		.kernel = "pool_back",
		.bindings = {ops_write(dx), ops_read(dy), ops_read(rows)},
		.binding_count = 3,
		.push = &push,
		.push_bytes = sizeof push,
	};
	ops_use_narrow(rec, &d, "pool_back_narrow", 1u << 1);
	ops_grid(&d, (uint64_t)dx.rows);
	record_dispatch(rec, &d);
}
