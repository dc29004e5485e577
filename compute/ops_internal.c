#include "compute/ops_internal.h"

void ops_check(const char *op, const char *tensor, struct tensor t, int64_t rows, int64_t cols, enum dtype dtype)
{
	if (!tensor_exists(t))
		fatal("%s: there is no %s, expected [%lld, %lld]", op, tensor, (long long)rows, (long long)cols);
	if (t.rows != rows || t.cols != cols || t.dtype != dtype)
		fatal("%s: %s is %s [%lld, %lld], expected %s [%lld, %lld]", op, tensor, dtype_name(t.dtype),
		      (long long)t.rows, (long long)t.cols, dtype_name(dtype), (long long)rows, (long long)cols);
}

void ops_check_optional(const char *op, const char *tensor, struct tensor t, int64_t rows, int64_t cols,
			enum dtype dtype)
{
	if (tensor_exists(t))
		ops_check(op, tensor, t, rows, cols, dtype);
}

static uint64_t texel_bytes(enum binding_form form)
{
	switch (form) {
	case BINDING_TEXEL_RG32UI:
		return 8;
	case BINDING_TEXEL_RGBA32F:
	case BINDING_TEXEL_RGBA32UI:
	case BINDING_IMAGE_RGBA32F:
	case BINDING_IMAGE_RGBA32UI:
		return 16;
	default:
		return 4;
	}
}

struct binding ops_read_shifted(const struct device_info *info, struct tensor t, enum binding_form form,
				uint32_t *shift)
{
	struct binding binding = {t, BINDING_READ, form};
	*shift = 0;
	if (!tensor_exists(t))
		return binding;
	uint64_t alignment = form == BINDING_STORAGE ? info->storage_alignment : info->texel_alignment;
	if (alignment < 16)
		alignment = 16; /* so that buffers, which are multiples of it, hold the last texel */
	uint64_t begin = t.offset / alignment * alignment;
	uint64_t texel = texel_bytes(form);
	uint64_t bytes = (t.offset - begin + tensor_bytes(t) + texel - 1) / texel * texel;
	*shift = (uint32_t)((t.offset - begin) / dtype_size(t.dtype));
	binding.tensor = (struct tensor){t.buffer, begin, 1, (int64_t)(bytes / 4), DTYPE_U32};
	return binding;
}

void ops_require(const char *op, bool holds, const char *what)
{
	if (!holds)
		fatal("%s: %s", op, what);
}

int64_t ops_gradients(const char *op, struct tensor gradient, int64_t rows)
{
	if (rows < 1 || gradient.rows < rows || gradient.rows % rows != 0)
		fatal("%s: %lld gradient rows for %lld rows", op, (long long)gradient.rows, (long long)rows);
	return gradient.rows / rows;
}

void ops_check_turns(struct recorder *rec, const char *op, int64_t turns)
{
	if (turns > OPS_MAX_TURNS)
		recorder_fail(rec, STATUS_FAILED, "%s would turn its loops %lld times, the device counts %d safely", op,
			      (long long)turns, (int)OPS_MAX_TURNS);
}

void ops_grid(struct dispatch *dispatch, uint64_t count)
{
	const uint64_t most = 32768; /* every device takes 65,535 */
	uint64_t width = count < most ? count : most;
	dispatch->groups[0] = (uint32_t)width;
	dispatch->groups[1] = width ? (uint32_t)((count + width - 1) / width) : 0;
}

bool ops_narrow(struct recorder *rec)
{
	const struct device_info *info = device_get_info(recorder_device(rec));
	return info->type == DEVICE_TYPE_CPU && info->subgroup_size == 8 && info->subgroup_shuffle &&
	       info->subgroup_arithmetic && info->texel_alignment <= 16;
}

void ops_use_narrow(struct recorder *rec, struct dispatch *dispatch, const char *kernel, uint32_t texels)
{
	if (!ops_narrow(rec))
		return;
	dispatch->kernel = kernel;
	for (int i = 0; i < dispatch->binding_count; i++)
		if (texels >> i & 1)
			dispatch->bindings[i].form = BINDING_TEXEL_R32F;
}

uint32_t ops_block(struct recorder *rec, uint64_t count, uint32_t lanes)
{
	const uint64_t few = 256, many = 4096, groups = 16;
	if (!ops_narrow(rec))
		return lanes;
	uint64_t block = (count / groups + 7) / 8 * 8;
	return (uint32_t)(block < few ? few : block > many ? many : block);
}

bool ops_starts_at_texel(const struct device_info *info, struct tensor t)
{
	uint32_t shift;
	ops_read_shifted(info, t, BINDING_IMAGE_RGBA32F, &shift);
	return shift == 0;
}
