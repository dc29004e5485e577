#include "compute/tensor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "compute/base/mem.h"
#include "compute/vulkan_internal.h"

enum { STAGING_BYTES = 8 << 20 };

struct texel_view {
	struct texel_view *next;
	VkFormat format;
	uint64_t offset, bytes;
	VkBufferView handle;
};

size_t dtype_size(enum dtype dtype)
{
	return dtype == DTYPE_BF16 || dtype == DTYPE_F16 ? 2 : 4;
}

const char *dtype_name(enum dtype dtype)
{
	static const char *const names[] = {"float32", "bfloat16", "float16", "uint32"};
	return names[dtype];
}

/* The memory type of `allowed` with all of `required`, preferring those with `preferred`. */
static uint32_t find_memory_type(const struct device *device, uint32_t allowed, VkMemoryPropertyFlags required,
				 VkMemoryPropertyFlags preferred)
{
	uint32_t found = UINT32_MAX;
	for (uint32_t i = 0; i < device->memory.memoryTypeCount; i++) {
		VkMemoryPropertyFlags flags = device->memory.memoryTypes[i].propertyFlags;
		if (!(allowed >> i & 1) || (flags & required) != required)
			continue;
		if ((flags & preferred) == preferred)
			return i;
		if (found == UINT32_MAX)
			found = i;
	}
	return found;
}

static void account(struct buffer *buffer, const char *name, struct device *device, uint64_t bytes)
{
	buffer->device = device;
	buffer->bytes = bytes;
	buffer->name = mem_strdup(name);
	device->memory_used += bytes;
	if (device->memory_used > device->memory_peak)
		device->memory_peak = device->memory_used;
}

static const VkBufferUsageFlags usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_UNIFORM_TEXEL_BUFFER_BIT |
					VK_BUFFER_USAGE_STORAGE_TEXEL_BUFFER_BIT | VK_BUFFER_USAGE_TRANSFER_SRC_BIT |
					VK_BUFFER_USAGE_TRANSFER_DST_BIT;

static enum status too_much(const struct device *device, const char *name, uint64_t bytes, struct error *error)
{
	return error_set(error, STATUS_FAILED,
			 "not enough device memory for %s: needs %.2f GB, and %s has %.2f GB left "
			 "(at most %.2f GB in one piece)",
			 name, (double)bytes / 1e9, device->info.name, (double)device_memory_left(device) / 1e9,
			 (double)device->info.max_allocation / 1e9);
}

/* Weights that a CPU device reads from end to end cost a miss in its translation tables every
 * few hundred nanoseconds with pages of 4 kB. A hint: nothing depends on its being taken. */
static void advise_huge_pages(const struct buffer *buffer)
{
#ifdef MADV_HUGEPAGE
	enum { LARGE = 8 << 20, HUGE = 2 << 20 };
	uintptr_t begin = ((uintptr_t)buffer->mapped + HUGE - 1) / HUGE * HUGE;
	uintptr_t end = ((uintptr_t)buffer->mapped + buffer->bytes) / HUGE * HUGE;
	if (buffer->device->info.type == DEVICE_TYPE_CPU && buffer->mapped && buffer->bytes >= LARGE && begin < end)
		(void)madvise((void *)begin, end - begin, MADV_HUGEPAGE);
#else
	(void)buffer;
#endif
}

enum status buffer_create(struct buffer **out, struct device *device, uint64_t bytes, enum buffer_kind kind,
			  const char *name, struct error *error)
{
	*out = NULL;
	enum status status = device_check(device, error);
	if (status)
		return status;
	bytes = (bytes + 15) / 16 * 16;
	if (bytes == 0)
		bytes = 16;
	if (bytes > device->info.max_allocation)
		return too_much(device, name, bytes, error);
	struct buffer *buffer = mem_alloc(1, sizeof *buffer);
	account(buffer, name, device, bytes);
	buffer->host = kind == BUFFER_HOST;
	VkBufferCreateInfo info = {
		.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
		.size = bytes,
		.usage = usage,
	};
	VkResult result = vkCreateBuffer(device->handle, &info, NULL, &buffer->handle);
	if (result)
		goto fail;
	VkMemoryRequirements needs;
	vkGetBufferMemoryRequirements(device->handle, buffer->handle, &needs);
	const VkMemoryPropertyFlags visible =
		VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
	uint32_t type =
		kind == BUFFER_HOST
			? find_memory_type(device, needs.memoryTypeBits, visible, VK_MEMORY_PROPERTY_HOST_CACHED_BIT)
			: find_memory_type(device, needs.memoryTypeBits, 0, VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT);
	if (type == UINT32_MAX) {
		result = VK_ERROR_OUT_OF_DEVICE_MEMORY;
		goto fail;
	}
	VkMemoryAllocateInfo allocation = {
		.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
		.allocationSize = needs.size,
		.memoryTypeIndex = type,
	};
	result = vkAllocateMemory(device->handle, &allocation, NULL, &buffer->memory);
	if (result)
		goto fail;
	result = vkBindBufferMemory(device->handle, buffer->handle, buffer->memory, 0);
	/* Where all memory is host-visible (CPU devices, integrated GPUs), the host can
	 * read and write device buffers in place. */
	if (result == VK_SUCCESS && (device->memory.memoryTypes[type].propertyFlags & visible) == visible)
		result = vkMapMemory(device->handle, buffer->memory, 0, VK_WHOLE_SIZE, 0, &buffer->mapped);
	if (result)
		goto fail;
	advise_huge_pages(buffer);
	/* With the validation layer on, what is read before it was written shows: every float
	 * of new memory is a NaN. */
	if (device->validation && buffer->mapped)
		memset(buffer->mapped, 0xFF, bytes);
	*out = buffer;
	return STATUS_OK;
fail:
	buffer_destroy(&buffer);
	if (result == VK_ERROR_OUT_OF_DEVICE_MEMORY || result == VK_ERROR_OUT_OF_HOST_MEMORY)
		return too_much(device, name, bytes, error);
	return vulkan_error(device, result, "allocating device memory", error);
}

enum status buffer_import(struct buffer **out, struct device *device, const void *data, uint64_t bytes,
			  const char *name, struct error *error)
{
	*out = NULL;
	enum status status = device_check(device, error);
	if (status)
		return status;
	uint64_t alignment = device->info.host_alignment;
	if (!device->info.host_import || !device->get_host_pointer_properties || alignment == 0 ||
	    (uintptr_t)data % alignment != 0)
		return error_set(error, STATUS_NOTHING, "host memory can't be imported by %s", device->info.name);
	bytes = (bytes + alignment - 1) / alignment * alignment;
	VkMemoryHostPointerPropertiesEXT properties = {.sType = VK_STRUCTURE_TYPE_MEMORY_HOST_POINTER_PROPERTIES_EXT};
	const VkExternalMemoryHandleTypeFlagBits handle = VK_EXTERNAL_MEMORY_HANDLE_TYPE_HOST_ALLOCATION_BIT_EXT;
	void *pointer = (void *)(uintptr_t)data;
	if (device->get_host_pointer_properties(device->handle, handle, pointer, &properties) != VK_SUCCESS)
		return error_set(error, STATUS_NOTHING, "%s refuses to import %s", device->info.name, name);

	struct buffer *buffer = mem_alloc(1, sizeof *buffer);
	account(buffer, name, device, bytes);
	buffer->imported = true;
	device->memory_imported += bytes;
	VkExternalMemoryBufferCreateInfo external = {
		.sType = VK_STRUCTURE_TYPE_EXTERNAL_MEMORY_BUFFER_CREATE_INFO,
		.handleTypes = handle,
	};
	VkBufferCreateInfo info = {
		.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
		.pNext = &external,
		.size = bytes,
		.usage = usage,
	};
	VkMemoryRequirements needs = {0};
	VkResult result = vkCreateBuffer(device->handle, &info, NULL, &buffer->handle);
	if (result == VK_SUCCESS)
		vkGetBufferMemoryRequirements(device->handle, buffer->handle, &needs);
	uint32_t type = find_memory_type(device, needs.memoryTypeBits & properties.memoryTypeBits, 0,
					 VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT);
	if (result || type == UINT32_MAX || needs.size > bytes)
		goto refuse;
	VkImportMemoryHostPointerInfoEXT import = {
		.sType = VK_STRUCTURE_TYPE_IMPORT_MEMORY_HOST_POINTER_INFO_EXT,
		.handleType = handle,
		.pHostPointer = pointer,
	};
	VkMemoryAllocateInfo allocation = {
		.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
		.pNext = &import,
		.allocationSize = bytes,
		.memoryTypeIndex = type,
	};
	result = vkAllocateMemory(device->handle, &allocation, NULL, &buffer->memory);
	if (result == VK_SUCCESS)
		result = vkBindBufferMemory(device->handle, buffer->handle, buffer->memory, 0);
	if (result)
		goto refuse;
	*out = buffer;
	return STATUS_OK;
refuse:
	buffer_destroy(&buffer);
	return error_set(error, STATUS_NOTHING, "%s could not import %s", device->info.name, name);
}

void buffer_destroy(struct buffer **out)
{
	struct buffer *buffer = *out;
	if (!buffer)
		return;
	VkDevice handle = buffer->device->handle;
	for (struct texel_view *view = buffer->views, *next; view; view = next) {
		next = view->next;
		vkDestroyBufferView(handle, view->handle, NULL);
		free(view);
	}
	vkDestroyBuffer(handle, buffer->handle, NULL);
	vkFreeMemory(handle, buffer->memory, NULL);
	buffer->device->memory_used -= buffer->bytes;
	if (buffer->imported)
		buffer->device->memory_imported -= buffer->bytes;
	free(buffer->name);
	free(buffer);
	*out = NULL;
}

uint64_t buffer_bytes(const struct buffer *buffer)
{
	return buffer->bytes;
}

void *buffer_mapped(struct buffer *buffer)
{
	return buffer->host ? buffer->mapped : NULL;
}

enum status buffer_texel_view(VkBufferView *out, struct buffer *buffer, VkFormat format, uint64_t offset,
			      uint64_t bytes, struct error *error)
{
	for (struct texel_view *view = buffer->views; view; view = view->next)
		if (view->format == format && view->offset == offset && view->bytes == bytes) {
			*out = view->handle;
			return STATUS_OK;
		}
	VkBufferViewCreateInfo info = {
		.sType = VK_STRUCTURE_TYPE_BUFFER_VIEW_CREATE_INFO,
		.buffer = buffer->handle,
		.format = format,
		.offset = offset,
		.range = bytes,
	};
	struct texel_view *view = mem_alloc(1, sizeof *view);
	VkResult result = vkCreateBufferView(buffer->device->handle, &info, NULL, &view->handle);
	if (result) {
		free(view);
		return vulkan_error(buffer->device, result, "creating a texel view", error);
	}
	view->format = format;
	view->offset = offset;
	view->bytes = bytes;
	view->next = buffer->views;
	buffer->views = view;
	*out = view->handle;
	return STATUS_OK;
}

/* Moves `bytes` between the buffer and the host through the staging buffer. */
static enum status transfer(struct buffer *buffer, uint64_t offset, void *data, uint64_t bytes, bool write,
			    struct error *error)
{
	struct device *device = buffer->device;
	enum status status = STATUS_OK;
	if (!device->staging)
		status = buffer_create(&device->staging, device, STAGING_BYTES, BUFFER_HOST, "staging", error);
	struct recorder *recorder = recorder_create(device, "transfer");
	while (status == STATUS_OK && bytes > 0) {
		uint64_t part = bytes < STAGING_BYTES ? bytes : STAGING_BYTES;
		uint64_t whole = (part + 3) / 4 * 4;
		struct tensor staging = {device->staging, 0, 1, (int64_t)whole / 4, DTYPE_U32};
		struct tensor target = {buffer, offset, 1, (int64_t)whole / 4, DTYPE_U32};
		recorder_begin(recorder);
		if (write) {
			memcpy(device->staging->mapped, data, part);
			record_copy_tensor(recorder, target, staging);
		} else {
			record_copy_tensor(recorder, staging, target);
		}
		status = recorder_run(recorder, error);
		if (status == STATUS_OK && !write)
			memcpy(data, device->staging->mapped, part);
		data = (char *)data + part;
		offset += part;
		bytes -= part;
	}
	recorder_destroy(&recorder);
	return status;
}

static enum status access_buffer(struct buffer *buffer, uint64_t offset, void *data, uint64_t bytes, bool write,
				 struct error *error)
{
	if (offset > buffer->bytes || bytes > buffer->bytes - offset)
		fatal("access behind the end of buffer '%s'", buffer->name);
	enum status status = device_wait_idle(buffer->device, error);
	if (status || bytes == 0)
		return status;
	if (!buffer->mapped)
		return transfer(buffer, offset, data, bytes, write, error);
	if (write)
		memcpy((char *)buffer->mapped + offset, data, bytes);
	else
		memcpy(data, (char *)buffer->mapped + offset, bytes);
	return STATUS_OK;
}

enum status buffer_write(struct buffer *buffer, uint64_t offset, const void *data, uint64_t bytes, struct error *error)
{
	return access_buffer(buffer, offset, (void *)(uintptr_t)data, bytes, true, error);
}

enum status buffer_read(struct buffer *buffer, uint64_t offset, void *data, uint64_t bytes, struct error *error)
{
	return access_buffer(buffer, offset, data, bytes, false, error);
}

struct tensor tensor_rows(struct tensor t, int64_t first, int64_t rows)
{
	if (first < 0 || rows < 0 || first + rows > t.rows)
		fatal("rows %lld + %lld of a tensor with %lld", (long long)first, (long long)rows, (long long)t.rows);
	t.offset += (uint64_t)first * (uint64_t)t.cols * dtype_size(t.dtype);
	t.rows = rows;
	return t;
}

struct tensor tensor_reshape(struct tensor t, int64_t rows, int64_t cols)
{
	if (rows * cols != t.rows * t.cols)
		fatal("tensor of %lld elements seen as %lld x %lld", (long long)(t.rows * t.cols), (long long)rows,
		      (long long)cols);
	t.rows = rows;
	t.cols = cols;
	return t;
}

enum status tensor_write(struct tensor t, const void *data, struct error *error)
{
	return buffer_write(t.buffer, t.offset, data, tensor_bytes(t), error);
}

enum status tensor_read(struct tensor t, void *data, struct error *error)
{
	return buffer_read(t.buffer, t.offset, data, tensor_bytes(t), error);
}

struct arena_entry {
	struct tensor *out;
	uint64_t bytes;
};

struct arena {
	struct device *device;
	enum buffer_kind kind;
	char *name;
	struct arena_entry *entries;
	size_t count, capacity;
	struct buffer **buffers;
	size_t buffer_count, buffer_capacity;
};

/* A multiple of every alignment that Vulkan allows for bindings. */
enum { ARENA_ALIGNMENT = 256 };

struct arena *arena_create(struct device *device, enum buffer_kind kind, const char *name)
{
	struct arena *arena = mem_alloc(1, sizeof *arena);
	arena->device = device;
	arena->kind = kind;
	arena->name = mem_strdup(name);
	return arena;
}

void arena_add(struct arena *arena, struct tensor *out, enum dtype dtype, int64_t rows, int64_t cols)
{
	*out = (struct tensor){NULL, 0, rows, cols, dtype};
	uint64_t bytes = (tensor_bytes(*out) + ARENA_ALIGNMENT - 1) / ARENA_ALIGNMENT * ARENA_ALIGNMENT;
	mem_reserve((void **)&arena->entries, &arena->capacity, arena->count + 1, sizeof *arena->entries);
	arena->entries[arena->count++] = (struct arena_entry){out, bytes};
}

uint64_t arena_bytes(const struct arena *arena)
{
	uint64_t bytes = 0;
	for (size_t i = 0; i < arena->count; i++)
		bytes += arena->entries[i].bytes;
	return bytes;
}

enum status arena_allocate(struct arena *arena, struct error *error)
{
	/* Pieces of at most 1 GiB, so that large arenas fit devices with small allocation
	 * limits; a larger tensor has a buffer of its own. */
	uint64_t limit = arena->device->info.max_allocation;
	if (limit > (uint64_t)1 << 30)
		limit = (uint64_t)1 << 30;
	for (size_t i = 0; i < arena->count;) {
		uint64_t bytes = arena->entries[i].bytes;
		size_t end = i + 1;
		while (end < arena->count && bytes + arena->entries[end].bytes <= limit)
			bytes += arena->entries[end++].bytes;
		struct buffer *buffer;
		enum status status = buffer_create(&buffer, arena->device, bytes, arena->kind, arena->name, error);
		if (status)
			return status;
		mem_reserve((void **)&arena->buffers, &arena->buffer_capacity, arena->buffer_count + 1,
			    sizeof *arena->buffers);
		arena->buffers[arena->buffer_count++] = buffer;
		for (uint64_t offset = 0; i < end; i++) {
			arena->entries[i].out->buffer = buffer;
			arena->entries[i].out->offset = offset;
			offset += arena->entries[i].bytes;
		}
	}
	return STATUS_OK;
}

void arena_destroy(struct arena **out)
{
	struct arena *arena = *out;
	if (!arena)
		return;
	for (size_t i = 0; i < arena->buffer_count; i++)
		buffer_destroy(&arena->buffers[i]);
	free(arena->buffers);
	free(arena->entries);
	free(arena->name);
	free(arena);
	*out = NULL;
}
