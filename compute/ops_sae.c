#include "compute/ops.h"
#include "compute/ops_internal.h"
#include "shaders/push_sae.h"

enum { LANES = 64 }; /* WG of sae.glsl */

_Static_assert(OP_SAE_RELU == 0 && OP_SAE_TANH_RELU == 1 && OP_SAE_JUMPRELU == 2 && OP_SAE_GATED == 3 &&
		       OP_SAE_CHOSEN == 4,
	       "sae.glsl");
_Static_assert(OP_CLAMP_SET == 0 && OP_CLAMP_SET_ACTIVE == 1 && OP_CLAMP_SCALE == 2 && OP_CLAMP_SCALE_ACTIVE == 3 &&
		       OP_CLAMP_ABLATE == 4 && OP_CLAMP_FLOOR == 5,
	       "sae.glsl");

static void each_feature(struct recorder *rec, struct dispatch *d, struct push_sae *push)
{
	push->block = ops_block(rec, push->count, LANES);
	d->push = push;
	d->push_bytes = sizeof *push;
	ops_grid(d, (uint64_t)ops_div_up(push->count, push->block));
	record_dispatch(rec, d);
}

/* Binds what the activation needs at bindings[at..at+4). */
static void bind_sae(struct recorder *rec, struct dispatch *d, int at, struct push_sae *push, const char *op,
		     const struct op_sae *sae, int64_t n)
{
	const struct device_info *info = device_get_info(recorder_device(rec));
	struct tensor none = {0};
	bool jump = sae->act == OP_SAE_JUMPRELU, gated = sae->act == OP_SAE_GATED;
	const struct {
		const char *name;
		struct tensor tensor;
		uint32_t *shift;
		bool needed;
	} all[] = {
		{"threshold", sae->threshold, &push->threshold_shift, jump},
		{"b_gate", sae->b_gate, &push->gate_shift, gated},
		{"b_mag", sae->b_mag, &push->mag_shift, gated},
		{"mag_scale", sae->mag_scale, &push->scale_shift, gated},
	};
	for (int i = 0; i < 4; i++) {
		if (all[i].needed)
			ops_check(op, all[i].name, all[i].tensor, 1, n, DTYPE_F32);
		d->bindings[at + i] =
			ops_read_shifted(info, all[i].needed ? all[i].tensor : none, BINDING_STORAGE, all[i].shift);
	}
	d->binding_count = at + 4;
}

void op_sae_activate(struct recorder *rec, struct tensor z, struct tensor h, const struct op_sae *sae)
{
	ops_check("op_sae_activate", "h", h, h.rows, h.cols, DTYPE_F32);
	ops_check("op_sae_activate", "z", z, h.rows, h.cols, DTYPE_F32);
	ops_require("op_sae_activate", sae->act != OP_SAE_CHOSEN, "op_sae_chosen makes these activations");
	struct push_sae push = {
		.count = (uint32_t)tensor_count(h),
		.n = (uint32_t)h.cols,
		.rows = (uint32_t)h.rows,
	};
	struct dispatch d = {
		.kernel = "sae_activate",
		.constants = {sae->act},
		.constant_count = 1,
		.bindings = {ops_write(z), ops_read(h)},
	};
	bind_sae(rec, &d, 2, &push, "op_sae_activate", sae, h.cols);
	ops_use_narrow(rec, &d, "sae_activate_narrow", 1u << 1 | 1u << 2 | 1u << 3 | 1u << 4 | 1u << 5);
	each_feature(rec, &d, &push);
}

void op_sae_activate_back(struct recorder *rec, struct tensor dh, struct tensor dz, struct tensor h,
			  const struct op_sae *sae)
{
	ops_gradients("op_sae_activate_back", dz, h.rows);
	ops_check("op_sae_activate_back", "h", h, h.rows, h.cols, DTYPE_F32);
	ops_check("op_sae_activate_back", "dz", dz, dz.rows, h.cols, DTYPE_F32);
	ops_check("op_sae_activate_back", "dh", dh, dz.rows, h.cols, DTYPE_F32);
	struct push_sae push = {
		.count = (uint32_t)tensor_count(dz),
		.n = (uint32_t)h.cols,
		.rows = (uint32_t)h.rows,
	};
	struct dispatch d = {
		.kernel = "sae_activate_back",
		.constants = {sae->act},
		.constant_count = 1,
		.bindings = {ops_write(dh), ops_read(dz), ops_read(h)},
	};
	bind_sae(rec, &d, 3, &push, "op_sae_activate_back", sae, h.cols);
	ops_use_narrow(rec, &d, "sae_activate_back_narrow", 1u << 1 | 1u << 2 | 1u << 3 | 1u << 4 | 1u << 5 | 1u << 6);
	each_feature(rec, &d, &push);
}

static void check_rules(const char *op, struct tensor modes, struct tensor values, struct tensor on, int64_t n,
			int64_t rows)
{
	ops_check(op, "modes", modes, 1, n, DTYPE_U32);
	ops_check(op, "values", values, 1, n, DTYPE_F32);
	ops_check(op, "on", on, 1, rows, DTYPE_U32);
}

void op_clamp(struct recorder *rec, struct tensor move, struct tensor z, struct tensor modes, struct tensor values,
	      struct tensor on, struct tensor stats)
{
	ops_check("op_clamp", "z", z, z.rows, z.cols, DTYPE_F32);
	ops_check("op_clamp", "move", move, z.rows, z.cols, DTYPE_F32);
	check_rules("op_clamp", modes, values, on, z.cols, z.rows);
	ops_check_optional("op_clamp", "stats", stats, z.rows, 4, DTYPE_F32);
	struct push_sae push = {
		.count = (uint32_t)tensor_count(z),
		.n = (uint32_t)z.cols,
		.rows = (uint32_t)z.rows,
	};
	struct dispatch d = {
		.kernel = "clamp",
		.constants = {tensor_exists(stats)},
		.constant_count = 1,
		.bindings = {ops_write(move), ops_read(z), ops_read(modes), ops_read(values), ops_read(on),
			     ops_read(stats)},
		.binding_count = 6,
	};
	ops_use_narrow(rec, &d, "clamp_narrow", 1u << 1 | 1u << 3);
	each_feature(rec, &d, &push);
}

void op_clamp_back(struct recorder *rec, struct tensor dz, struct tensor dmove, struct tensor z, struct tensor modes,
		   struct tensor values, struct tensor on, struct tensor stats)
{
	ops_gradients("op_clamp_back", dmove, z.rows);
	ops_check("op_clamp_back", "z", z, z.rows, z.cols, DTYPE_F32);
	ops_check("op_clamp_back", "dmove", dmove, dmove.rows, z.cols, DTYPE_F32);
	ops_check("op_clamp_back", "dz", dz, dmove.rows, z.cols, DTYPE_F32);
	check_rules("op_clamp_back", modes, values, on, z.cols, z.rows);
	ops_check_optional("op_clamp_back", "stats", stats, z.rows, 4, DTYPE_F32);
	struct push_sae push = {
		.count = (uint32_t)tensor_count(dmove),
		.n = (uint32_t)z.cols,
		.rows = (uint32_t)z.rows,
	};
	struct dispatch d = {
		.kernel = "clamp_back",
		.constants = {tensor_exists(stats)},
		.constant_count = 1,
		.bindings = {ops_write(dz), ops_read(dmove), ops_read(z), ops_read(modes), ops_read(values),
			     ops_read(on), ops_read(stats)},
		.binding_count = 7,
	};
	ops_use_narrow(rec, &d, "clamp_back_narrow", 1u << 1 | 1u << 2 | 1u << 4);
	each_feature(rec, &d, &push);
}

void op_clamp_full(struct recorder *rec, struct tensor z_full, struct tensor index, struct tensor modes,
		   struct tensor values, struct tensor on)
{
	ops_check("op_clamp_full", "z_full", z_full, z_full.rows, z_full.cols, DTYPE_F32);
	ops_check("op_clamp_full", "index", index, 1, index.cols, DTYPE_U32);
	check_rules("op_clamp_full", modes, values, on, index.cols, z_full.rows);
	struct push_sae push = {
		.count = (uint32_t)(z_full.rows * index.cols),
		.n = (uint32_t)index.cols,
		.rows = (uint32_t)z_full.rows,
		.features = (uint32_t)z_full.cols,
	};
	struct dispatch d = {
		.kernel = "clamp_full",
		.bindings = {ops_read_write(z_full), ops_read(index), ops_read(modes), ops_read(values), ops_read(on)},
		.binding_count = 5,
	};
	ops_use_narrow(rec, &d, "clamp_full_narrow", 0);
	each_feature(rec, &d, &push);
}
