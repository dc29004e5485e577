#include "compute/ops_internal.h"
#include "compute/ops.h"
#include "shaders/push_attention.h"

enum { ATTENTION_LANES = 64 }; /* WG of attention.comp and attention_back.comp */

_Static_assert(OP_QKV_CONCAT == 0 && OP_QKV_BY_HEAD == 1, "qkv_head.glsl");
_Static_assert(OP_NORM_NONE == 0 && OP_NORM_LAYER == 1 && OP_NORM_RMS == 2 && OP_NORM_RMS_PLUS == 3, "qkv.comp");

/* Checks what is common to all four operations. */
static void check_shapes(const char *op, const struct op_attention *a, struct tensor q, struct tensor k_cache,
			 struct tensor v_cache, struct tensor rows)
{
	ops_require(op, a->heads > 0 && a->kv_heads > 0 && a->heads % a->kv_heads == 0 && a->head_dim > 0,
		    "the heads do not divide into groups");
	ops_require(op, a->rope_dims >= 0 && a->rope_dims % 2 == 0 && a->rope_dims <= a->head_dim,
		    "the rotated dimensions are odd or more than the head has");
	ops_require(op, a->order != OP_QKV_BY_HEAD || a->heads == a->kv_heads, "by-head order with grouped heads");
	ops_check(op, "rows", rows, rows.rows, 2, DTYPE_U32);
	ops_check(op, "q", q, rows.rows, (int64_t)a->heads * a->head_dim, DTYPE_F32);
	if (tensor_exists(k_cache)) {
		int64_t width = (int64_t)a->kv_heads * a->head_dim;
		ops_require(op, a->context > 0 && k_cache.rows % a->context == 0, "the cache holds no whole contexts");
		ops_check(op, "k_cache", k_cache, k_cache.rows, width, DTYPE_F32);
		ops_check(op, "v_cache", v_cache, k_cache.rows, width, DTYPE_F32);
	}
}

static struct push_qkv qkv_push(const struct op_attention *a, int64_t rows, int64_t forward_rows)
{
	return (struct push_qkv){
		.rows = (uint32_t)rows,
		.forward_rows = (uint32_t)forward_rows,
		.heads = (uint32_t)a->heads,
		.kv_heads = (uint32_t)a->kv_heads,
		.head_dim = (uint32_t)a->head_dim,
		.context = (uint32_t)a->context,
		.rope_dims = (uint32_t)a->rope_dims,
		.rope_scale = (float)a->rope_scale,
		.eps = (float)a->qk_norm_eps,
	};
}

static void check_qkv(const char *op, const struct op_attention *a)
{
	if (a->rope_dims)
		ops_check(op, "rope_inverse", a->rope_inverse, 1, a->rope_dims / 2, DTYPE_F32);
	if (a->qk_norm != OP_NORM_NONE) {
		ops_check(op, "q_norm_w", a->q_norm_w, 1, a->head_dim, DTYPE_F32);
		ops_check(op, "k_norm_w", a->k_norm_w, 1, a->head_dim, DTYPE_F32);
	}
}

void op_qkv(struct recorder *rec, struct tensor q, struct tensor k_cache, struct tensor v_cache, struct tensor qkv,
	    struct tensor rows, const struct op_attention *a)
{
	int64_t slots = a->heads + 2 * (int64_t)a->kv_heads;
	check_shapes("op_qkv", a, q, k_cache, v_cache, rows);
	check_qkv("op_qkv", a);
	ops_check("op_qkv", "qkv", qkv, rows.rows, slots * a->head_dim, DTYPE_F32);
	struct push_qkv push = qkv_push(a, rows.rows, rows.rows);
	const struct device_info *info = device_get_info(recorder_device(rec));
	struct dispatch d = {
		.kernel = "qkv",
		.constants = {a->qk_norm, a->order},
		.constant_count = 2,
		.bindings = {ops_write(q), ops_write(k_cache), ops_write(v_cache), ops_read(qkv), ops_read(rows),
			     ops_read(a->rope_inverse),
			     ops_read_shifted(info, a->q_norm_w, BINDING_STORAGE, &push.q_norm_shift),
			     ops_read_shifted(info, a->k_norm_w, BINDING_STORAGE, &push.k_norm_shift)},
		.binding_count = 8,
		.push = &push,
		.push_bytes = sizeof push,
	};
	ops_use_narrow(rec, &d, "qkv_narrow", 1u << 3 | 1u << 5 | 1u << 6 | 1u << 7);
	ops_grid(&d, (uint64_t)(rows.rows * slots));
	record_dispatch(rec, &d);
}

void op_qkv_back(struct recorder *rec, struct tensor dqkv, struct tensor dq, struct tensor dk, struct tensor dv,
		 struct tensor qkv, struct tensor rows, const struct op_attention *a)
{
	int64_t slots = a->heads + 2 * (int64_t)a->kv_heads;
	int64_t width = (int64_t)a->kv_heads * a->head_dim;
	ops_gradients("op_qkv_back", dqkv, rows.rows);
	struct tensor no_cache = {0};
	struct tensor q = dq;
	q.rows = rows.rows;
	check_shapes("op_qkv_back", a, q, no_cache, no_cache, rows);
	check_qkv("op_qkv_back", a);
	ops_check("op_qkv_back", "qkv", qkv, rows.rows, slots * a->head_dim, DTYPE_F32);
	ops_check("op_qkv_back", "dqkv", dqkv, dqkv.rows, slots * a->head_dim, DTYPE_F32);
	ops_check("op_qkv_back", "dq", dq, dqkv.rows, (int64_t)a->heads * a->head_dim, DTYPE_F32);
	ops_check("op_qkv_back", "dk", dk, dqkv.rows, width, DTYPE_F32);
	ops_check("op_qkv_back", "dv", dv, dqkv.rows, width, DTYPE_F32);
	struct push_qkv push = qkv_push(a, dqkv.rows, rows.rows);
	const struct device_info *info = device_get_info(recorder_device(rec));
	struct dispatch d = {
		.kernel = "qkv_back",
		.constants = {a->qk_norm, a->order},
		.constant_count = 2,
		.bindings = {ops_write(dqkv), ops_read(dq), ops_read(dk), ops_read(dv), ops_read(qkv), ops_read(rows),
			     ops_read(a->rope_inverse),
			     ops_read_shifted(info, a->q_norm_w, BINDING_STORAGE, &push.q_norm_shift),
			     ops_read_shifted(info, a->k_norm_w, BINDING_STORAGE, &push.k_norm_shift)},
		.binding_count = 9,
		.push = &push,
		.push_bytes = sizeof push,
	};
	ops_use_narrow(rec, &d, "qkv_back_narrow", 1u << 1 | 1u << 2 | 1u << 3 | 1u << 4 | 1u << 6 | 1u << 7 | 1u << 8);
	ops_grid(&d, (uint64_t)(dqkv.rows * slots));
	record_dispatch(rec, &d);
}

static struct push_attention attention_push(const struct op_attention *a, int64_t rows, int64_t forward_rows)
{
	return (struct push_attention){
		.rows = (uint32_t)rows,
		.forward_rows = (uint32_t)forward_rows,
		.heads = (uint32_t)a->heads,
		.kv_heads = (uint32_t)a->kv_heads,
		.head_dim = (uint32_t)a->head_dim,
		.context = (uint32_t)a->context,
		.window = (uint32_t)a->window,
		.scale = (float)a->score_scale,
		.softcap = (float)a->softcap,
	};
}

static struct binding texels4(struct tensor t)
{
	return (struct binding){t, BINDING_READ, BINDING_TEXEL_RGBA32F};
}

/* Which of the narrow kernels (see attention_narrow.comp) fits, by its number of slices of 32
 * dimensions: 0 to 3; -1: none, the device or the head is of another kind. */
static int narrow_variant(struct recorder *rec, const struct op_attention *a)
{
	if (!ops_narrow(rec) || a->head_dim % 16 != 0 || a->head_dim > 256)
		return -1;
	return a->head_dim <= 32 ? 0 : a->head_dim <= 64 ? 1 : a->head_dim <= 128 ? 2 : 3;
}

/* A kernel of llvmpipe may turn in its loops 65,535 times (shaders/README.md): `turns` for every
 * `step` of `count` keys or rows. Fails the recording rather than give wrong numbers. */
static void check_turns(struct recorder *rec, const char *what, int64_t count, int64_t turns, int64_t step)
{
	int64_t most = 65000 / turns * step;
	if (count > most)
		recorder_fail(rec, STATUS_FAILED, "attention over %lld %s: at most %lld are possible on %s",
			      (long long)count, what, (long long)most, device_get_info(recorder_device(rec))->name);
}

static int64_t keys_seen(const struct op_attention *a)
{
	return a->window && a->window < a->context ? a->window : a->context;
}

void op_attention(struct recorder *rec, struct tensor out, struct tensor lse, struct tensor q, struct tensor k_cache,
		  struct tensor v_cache, struct tensor rows, const struct op_attention *a)
{
	check_shapes("op_attention", a, q, k_cache, v_cache, rows);
	ops_check("op_attention", "out", out, q.rows, q.cols, DTYPE_F32);
	ops_check("op_attention", "lse", lse, q.rows, a->heads, DTYPE_F32);
	struct push_attention push = attention_push(a, rows.rows, rows.rows);
	int variant = narrow_variant(rec, a);
	struct dispatch d = {
		.kernel = "attention",
		.constants = {(uint32_t)((a->head_dim + ATTENTION_LANES - 1) / ATTENTION_LANES)},
		.constant_count = 1,
		.bindings = {ops_write(out), ops_write(lse), ops_read(q), ops_read(k_cache), ops_read(v_cache),
			     ops_read(rows)},
		.binding_count = 6,
		.push = &push,
		.push_bytes = sizeof push,
	};
	if (variant >= 0) {
		check_turns(rec, "keys", keys_seen(a), a->head_dim / 16 + 1, 32);
		static const char *const kernels[] = {"attention_narrow_1", "attention_narrow_2", "attention_narrow_4",
						      "attention_narrow_8"};
		d.kernel = kernels[variant];
		d.constant_count = 0;
		d.bindings[2] = texels4(q);
		d.bindings[3] = texels4(k_cache);
		d.bindings[4] = texels4(v_cache);
		d.bindings[5].form = BINDING_TEXEL_RG32UI;
	}
	ops_grid(&d, (uint64_t)(rows.rows * a->heads));
	record_dispatch(rec, &d);
}

void op_attention_back(struct recorder *rec, struct tensor dq, struct tensor dk, struct tensor dv, struct tensor dout,
		       struct tensor q, struct tensor k_cache, struct tensor v_cache, struct tensor out,
		       struct tensor lse, struct tensor rows, const struct op_attention *a)
{
	ops_gradients("op_attention_back", dout, rows.rows);
	check_shapes("op_attention_back", a, q, k_cache, v_cache, rows);
	ops_check("op_attention_back", "out", out, q.rows, q.cols, DTYPE_F32);
	ops_check("op_attention_back", "lse", lse, q.rows, a->heads, DTYPE_F32);
	ops_check("op_attention_back", "dout", dout, dout.rows, q.cols, DTYPE_F32);
	ops_check("op_attention_back", "dq", dq, dout.rows, q.cols, DTYPE_F32);
	ops_check("op_attention_back", "dk", dk, dout.rows, k_cache.cols, DTYPE_F32);
	ops_check("op_attention_back", "dv", dv, dout.rows, k_cache.cols, DTYPE_F32);
	struct push_attention push = attention_push(a, dout.rows, rows.rows);
	struct dispatch d = {
		.kernel = "attention_back",
		.constants = {(uint32_t)((a->head_dim + ATTENTION_LANES - 1) / ATTENTION_LANES)},
		.constant_count = 1,
		.bindings = {ops_write(dq), ops_write(dk), ops_write(dv), ops_read(dout), ops_read(q),
			     ops_read(k_cache), ops_read(v_cache), ops_read(out), ops_read(lse), ops_read(rows)},
		.binding_count = 10,
		.push = &push,
		.push_bytes = sizeof push,
	};
	int variant = narrow_variant(rec, a);
	if (variant >= 0) {
		check_turns(rec, "keys", keys_seen(a), a->head_dim / 16 + 1, 32);
		check_turns(rec, "rows of a pass", rows.rows,
			    (int64_t)a->heads / a->kv_heads * (a->head_dim / 16 + 1) + 1, 8);
		static const char *const kernels[] = {"attention_back_narrow_1", "attention_back_narrow_2",
						      "attention_back_narrow_4", "attention_back_narrow_8"};
		d.kernel = kernels[variant];
		d.constant_count = 0;
		for (int i = 3; i <= 7; i++)
			d.bindings[i].form = BINDING_TEXEL_RGBA32F;
		d.bindings[9].form = BINDING_TEXEL_RG32UI;
	}
	ops_grid(&d, (uint64_t)(dout.rows * a->heads));
	d.groups[2] = 2;
	record_dispatch(rec, &d);
}
