#include "compute/record.h"

#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"
#include "compute/vulkan_internal.h"

/* A byte range that commands since the last barrier have used. */
struct use {
	VkBuffer buffer;
	uint64_t begin, end;
	bool write;
};

enum { POOL_SETS = 128, MAX_MARKS = 64, SCRATCH_BYTES = 1 << 20, SCRATCH_ALIGNMENT = 256 };

struct recorder {
	struct device *device;
	char *name;
	VkCommandBuffer commands;
	bool recording, rows_alike;
	enum status status;
	struct error error;

	struct use *uses;
	size_t use_count, use_capacity;

	VkDescriptorPool *pools;
	size_t pool_count, pool_capacity, pool_at; /* pools[pool_at] is being filled */
	int pool_sets;				   /* sets taken from it */

	VkQueryPool marks;
	const char *mark_names[MAX_MARKS];
	int mark_count;

	struct buffer **scratch;			    /* kept from recording to recording */
	size_t scratch_count, scratch_capacity, scratch_at; /* scratch[scratch_at] is being filled */
	uint64_t scratch_used;				    /* bytes of it */

	struct recorder_counts counts;
	uint64_t last_ticket;
};

struct recorder *recorder_create(struct device *device, const char *name)
{
	struct recorder *recorder = mem_alloc(1, sizeof *recorder);
	recorder->device = device;
	recorder->name = mem_strdup(name);
	return recorder;
}

void recorder_destroy(struct recorder **out)
{
	struct recorder *recorder = *out;
	if (!recorder)
		return;
	struct device *device = recorder->device;
	/* A lost device has nothing left to wait for. */
	if (device_wait(device, recorder->last_ticket, NULL) != STATUS_OK)
		vkDeviceWaitIdle(device->handle);
	for (size_t i = 0; i < recorder->pool_count; i++)
		vkDestroyDescriptorPool(device->handle, recorder->pools[i], NULL);
	if (recorder->commands)
		vkFreeCommandBuffers(device->handle, device->command_pool, 1, &recorder->commands);
	if (recorder->marks)
		vkDestroyQueryPool(device->handle, recorder->marks, NULL);
	for (size_t i = 0; i < recorder->scratch_count; i++)
		buffer_destroy(&recorder->scratch[i]);
	free(recorder->scratch);
	free(recorder->pools);
	free(recorder->uses);
	free(recorder->name);
	free(recorder);
	*out = NULL;
}

struct device *recorder_device(struct recorder *recorder)
{
	return recorder->device;
}

void recorder_set_rows_alike(struct recorder *recorder, bool alike)
{
	recorder->rows_alike = alike;
}

bool recorder_rows_alike(const struct recorder *recorder)
{
	return recorder->rows_alike;
}

static void keep_error(struct recorder *recorder, enum status status, const struct error *error)
{
	if (recorder->status == STATUS_OK) {
		recorder->status = status;
		recorder->error = *error;
	}
}

void recorder_fail(struct recorder *recorder, enum status status, const char *format, ...)
{
	struct error error;
	va_list args;
	va_start(args, format);
	error_set_v(&error, status, format, args);
	va_end(args);
	keep_error(recorder, status, &error);
}

bool recorder_failed(const struct recorder *recorder)
{
	return recorder->status != STATUS_OK;
}

struct tensor recorder_scratch(struct recorder *recorder, int64_t rows, int64_t cols)
{
	struct tensor t = {NULL, 0, rows, cols, DTYPE_F32};
	if (recorder->status)
		return t;
	uint64_t bytes = (tensor_bytes(t) + SCRATCH_ALIGNMENT - 1) / SCRATCH_ALIGNMENT * SCRATCH_ALIGNMENT;
	while (recorder->scratch_at < recorder->scratch_count &&
	       recorder->scratch_used + bytes > recorder->scratch[recorder->scratch_at]->bytes) {
		recorder->scratch_at++;
		recorder->scratch_used = 0;
	}
	if (recorder->scratch_at == recorder->scratch_count) {
		struct buffer *buffer;
		struct error error;
		uint64_t size = bytes > SCRATCH_BYTES ? bytes : SCRATCH_BYTES;
		enum status status = buffer_create(&buffer, recorder->device, size, BUFFER_DEVICE, "scratch", &error);
		if (status) {
			keep_error(recorder, status, &error);
			return t;
		}
		mem_reserve((void **)&recorder->scratch, &recorder->scratch_capacity, recorder->scratch_count + 1,
			    sizeof *recorder->scratch);
		recorder->scratch[recorder->scratch_count++] = buffer;
	}
	t.buffer = recorder->scratch[recorder->scratch_at];
	t.offset = recorder->scratch_used;
	recorder->scratch_used += bytes;
	return t;
}

static bool check(struct recorder *recorder, VkResult result, const char *doing)
{
	if (result == VK_SUCCESS)
		return true;
	struct error error;
	enum status status = vulkan_error(recorder->device, result, doing, &error);
	keep_error(recorder, status, &error);
	return false;
}

static void full_barrier(struct recorder *recorder, VkPipelineStageFlags to_stage, VkAccessFlags to_access)
{
	const VkPipelineStageFlags work = VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT;
	VkMemoryBarrier barrier = {
		.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
		.srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT,
		.dstAccessMask = to_access,
	};
	vkCmdPipelineBarrier(recorder->commands, work, to_stage, 0, 1, &barrier, 0, NULL, 0, NULL);
}

static void work_barrier(struct recorder *recorder)
{
	full_barrier(recorder, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT,
		     VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_READ_BIT |
			     VK_ACCESS_TRANSFER_WRITE_BIT);
	recorder->use_count = 0;
}

void recorder_begin(struct recorder *recorder)
{
	struct device *device = recorder->device;
	recorder->status = STATUS_OK;
	recorder->counts = (struct recorder_counts){0};
	recorder->use_count = 0;
	recorder->mark_count = 0;
	recorder->pool_at = 0;
	recorder->pool_sets = 0;
	recorder->scratch_at = 0;
	recorder->scratch_used = 0;
	struct error error;
	enum status status = device_check(device, &error);
	if (status == STATUS_OK)
		status = device_wait(device, recorder->last_ticket, &error);
	if (status) {
		keep_error(recorder, status, &error);
		return;
	}
	for (size_t i = 0; i < recorder->pool_count; i++)
		vkResetDescriptorPool(device->handle, recorder->pools[i], 0);
	if (!recorder->commands) {
		VkCommandBufferAllocateInfo info = {
			.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
			.commandPool = device->command_pool,
			.level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
			.commandBufferCount = 1,
		};
		if (!check(recorder, vkAllocateCommandBuffers(device->handle, &info, &recorder->commands),
			   "allocating a command buffer"))
			return;
	}
	VkCommandBufferBeginInfo begin = {
		.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
		.flags = VK_COMMAND_BUFFER_USAGE_SIMULTANEOUS_USE_BIT,
	};
	if (!check(recorder, vkBeginCommandBuffer(recorder->commands, &begin), "starting a recording"))
		return;
	recorder->recording = true;
	/* Earlier submissions may still be writing what this one reads. */
	work_barrier(recorder);
}

/* Books a use and says whether it needs a barrier before it. */
static bool conflicts(const struct recorder *recorder, VkBuffer buffer, uint64_t begin, uint64_t end, bool write)
{
	for (size_t i = 0; i < recorder->use_count; i++) {
		const struct use *use = &recorder->uses[i];
		if (use->buffer == buffer && begin < use->end && use->begin < end && (write || use->write))
			return true;
	}
	return false;
}

static void book(struct recorder *recorder, VkBuffer buffer, uint64_t begin, uint64_t end, bool write)
{
	mem_reserve((void **)&recorder->uses, &recorder->use_capacity, recorder->use_count + 1, sizeof *recorder->uses);
	recorder->uses[recorder->use_count++] = (struct use){buffer, begin, end, write};
}

static void barrier_if(struct recorder *recorder, bool needed)
{
	if (!needed)
		return;
	work_barrier(recorder);
	recorder->counts.barriers++;
}

static bool take_set(struct recorder *recorder, const struct pipeline *pipeline, VkDescriptorSet *set)
{
	struct device *device = recorder->device;
	if (recorder->pool_sets == POOL_SETS) {
		recorder->pool_at++;
		recorder->pool_sets = 0;
	}
	if (recorder->pool_at == recorder->pool_count) {
		VkDescriptorPoolSize sizes[] = {
			{VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, POOL_SETS * DISPATCH_MAX_BINDINGS},
			{VK_DESCRIPTOR_TYPE_UNIFORM_TEXEL_BUFFER, POOL_SETS * DISPATCH_MAX_BINDINGS},
			{VK_DESCRIPTOR_TYPE_STORAGE_TEXEL_BUFFER, POOL_SETS * DISPATCH_MAX_BINDINGS},
		};
		VkDescriptorPoolCreateInfo info = {
			.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO,
			.maxSets = POOL_SETS,
			.poolSizeCount = ARRAY_LEN(sizes),
			.pPoolSizes = sizes,
		};
		VkDescriptorPool pool;
		if (!check(recorder, vkCreateDescriptorPool(device->handle, &info, NULL, &pool),
			   "creating a descriptor pool"))
			return false;
		mem_reserve((void **)&recorder->pools, &recorder->pool_capacity, recorder->pool_count + 1,
			    sizeof *recorder->pools);
		recorder->pools[recorder->pool_count++] = pool;
	}
	VkDescriptorSetAllocateInfo info = {
		.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO,
		.descriptorPool = recorder->pools[recorder->pool_at],
		.descriptorSetCount = 1,
		.pSetLayouts = &pipeline->set_layout,
	};
	recorder->pool_sets++;
	return check(recorder, vkAllocateDescriptorSets(device->handle, &info, set), "allocating a descriptor set");
}

static VkFormat texel_format(enum binding_form form)
{
	switch (form) {
	case BINDING_TEXEL_R32F:
	case BINDING_IMAGE_R32F:
		return VK_FORMAT_R32_SFLOAT;
	case BINDING_TEXEL_RGBA32F:
	case BINDING_IMAGE_RGBA32F:
		return VK_FORMAT_R32G32B32A32_SFLOAT;
	case BINDING_TEXEL_RG32UI:
		return VK_FORMAT_R32G32_UINT;
	default:
		return VK_FORMAT_R32G32B32A32_UINT;
	}
}

/* Writes the descriptors of a dispatch into `set`. */
static bool bind(struct recorder *recorder, const struct dispatch *dispatch, VkDescriptorSet set)
{
	struct device *device = recorder->device;
	VkWriteDescriptorSet writes[DISPATCH_MAX_BINDINGS];
	VkDescriptorBufferInfo buffers[DISPATCH_MAX_BINDINGS];
	VkBufferView views[DISPATCH_MAX_BINDINGS];
	for (int i = 0; i < dispatch->binding_count; i++) {
		const struct binding *binding = &dispatch->bindings[i];
		struct tensor t = binding->tensor;
		if (!t.buffer)
			t = (struct tensor){device->dummy, 0, 1, 4, DTYPE_U32};
		uint64_t bytes = (tensor_bytes(t) + 3) / 4 * 4;
		writes[i] = (VkWriteDescriptorSet){
			.sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET,
			.dstSet = set,
			.dstBinding = (uint32_t)i,
			.descriptorCount = 1,
		};
		if (binding->form == BINDING_STORAGE) {
			if (bytes > device->info.max_binding_bytes || t.offset % device->info.storage_alignment) {
				recorder_fail(
					recorder, STATUS_FAILED,
					"kernel '%s', binding %d: %llu bytes at offset %llu of '%s' do not fit the "
					"device's binding limits",
					dispatch->kernel, i, (unsigned long long)bytes, (unsigned long long)t.offset,
					t.buffer->name);
				return false;
			}
			buffers[i] = (VkDescriptorBufferInfo){t.buffer->handle, t.offset, bytes};
			writes[i].descriptorType = vulkan_descriptor_type(binding->form);
			writes[i].pBufferInfo = &buffers[i];
		} else {
			struct error error;
			enum status status = buffer_texel_view(&views[i], t.buffer, texel_format(binding->form),
							       t.offset, bytes, &error);
			if (status) {
				keep_error(recorder, status, &error);
				return false;
			}
			writes[i].descriptorType = vulkan_descriptor_type(binding->form);
			writes[i].pTexelBufferView = &views[i];
		}
	}
	vkUpdateDescriptorSets(device->handle, (uint32_t)dispatch->binding_count, writes, 0, NULL);
	return true;
}

/* Derives the barrier before a dispatch and books its uses. */
static void order(struct recorder *recorder, const struct dispatch *dispatch)
{
	bool needed = false;
	for (int i = 0; i < dispatch->binding_count && !needed; i++) {
		const struct binding *b = &dispatch->bindings[i];
		/* An absent tensor's stand-in is shared: a kernel that could write it is ordered
		 * like any other, or the validation layer rightly objects. */
		if (!b->tensor.buffer)
			needed = conflicts(recorder, recorder->device->dummy->handle, 0, 16, b->access != BINDING_READ);
		else
			needed = conflicts(recorder, b->tensor.buffer->handle, b->tensor.offset,
					   b->tensor.offset + tensor_bytes(b->tensor), b->access != BINDING_READ);
	}
	barrier_if(recorder, needed);
	for (int i = 0; i < dispatch->binding_count; i++) {
		const struct binding *b = &dispatch->bindings[i];
		if (!b->tensor.buffer) {
			book(recorder, recorder->device->dummy->handle, 0, 16, b->access != BINDING_READ);
			continue;
		}
		book(recorder, b->tensor.buffer->handle, b->tensor.offset, b->tensor.offset + tensor_bytes(b->tensor),
		     b->access != BINDING_READ);
		recorder->counts.bytes_bound += tensor_bytes(b->tensor);
	}
}

void record_dispatch(struct recorder *recorder, const struct dispatch *dispatch)
{
	if (recorder->status || dispatch->groups[0] == 0)
		return;
	for (int i = 0; i < 3; i++)
		if (dispatch->groups[i] > 65535)
			fatal("kernel '%s' dispatched over %u groups", dispatch->kernel, dispatch->groups[i]);
	struct pipeline *pipeline;
	struct error error;
	enum status status = pipeline_get(&pipeline, recorder->device, dispatch, &error);
	if (status) {
		keep_error(recorder, status, &error);
		return;
	}
	VkDescriptorSet set;
	if (!take_set(recorder, pipeline, &set) || !bind(recorder, dispatch, set))
		return;
	order(recorder, dispatch);
	vkCmdBindPipeline(recorder->commands, VK_PIPELINE_BIND_POINT_COMPUTE, pipeline->handle);
	vkCmdBindDescriptorSets(recorder->commands, VK_PIPELINE_BIND_POINT_COMPUTE, pipeline->layout, 0, 1, &set, 0,
				NULL);
	if (dispatch->push_bytes)
		vkCmdPushConstants(recorder->commands, pipeline->layout, VK_SHADER_STAGE_COMPUTE_BIT, 0,
				   (uint32_t)dispatch->push_bytes, dispatch->push);
	vkCmdDispatch(recorder->commands, dispatch->groups[0], dispatch->groups[1] ? dispatch->groups[1] : 1,
		      dispatch->groups[2] ? dispatch->groups[2] : 1);
	recorder->counts.dispatches++;
}

void record_copy(struct recorder *recorder, struct tensor to, uint64_t to_byte, struct tensor from, uint64_t from_byte,
		 uint64_t bytes)
{
	if (recorder->status || bytes == 0)
		return;
	VkBufferCopy region = {from.offset + from_byte, to.offset + to_byte, bytes};
	if (region.srcOffset + bytes > from.buffer->bytes || region.dstOffset + bytes > to.buffer->bytes)
		fatal("copy behind the end of '%s' or '%s'", from.buffer->name, to.buffer->name);
	barrier_if(recorder,
		   conflicts(recorder, from.buffer->handle, region.srcOffset, region.srcOffset + bytes, false) ||
			   conflicts(recorder, to.buffer->handle, region.dstOffset, region.dstOffset + bytes, true));
	book(recorder, from.buffer->handle, region.srcOffset, region.srcOffset + bytes, false);
	book(recorder, to.buffer->handle, region.dstOffset, region.dstOffset + bytes, true);
	vkCmdCopyBuffer(recorder->commands, from.buffer->handle, to.buffer->handle, 1, &region);
	recorder->counts.copies++;
}

void record_copy_tensor(struct recorder *recorder, struct tensor to, struct tensor from)
{
	if (tensor_bytes(to) != tensor_bytes(from))
		fatal("copy between tensors of %llu and %llu bytes", (unsigned long long)tensor_bytes(to),
		      (unsigned long long)tensor_bytes(from));
	record_copy(recorder, to, 0, from, 0, tensor_bytes(from));
}

void record_fill(struct recorder *recorder, struct tensor to, uint32_t word)
{
	uint64_t bytes = tensor_bytes(to);
	if (recorder->status || bytes == 0)
		return;
	barrier_if(recorder, conflicts(recorder, to.buffer->handle, to.offset, to.offset + bytes, true));
	book(recorder, to.buffer->handle, to.offset, to.offset + bytes, true);
	vkCmdFillBuffer(recorder->commands, to.buffer->handle, to.offset, bytes, word);
	recorder->counts.copies++;
}

void record_mark(struct recorder *recorder, const char *name)
{
	struct device *device = recorder->device;
	if (recorder->status || !device->info.timestamps || recorder->mark_count == MAX_MARKS)
		return;
	if (!recorder->marks) {
		VkQueryPoolCreateInfo info = {
			.sType = VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO,
			.queryType = VK_QUERY_TYPE_TIMESTAMP,
			.queryCount = MAX_MARKS,
		};
		if (!check(recorder, vkCreateQueryPool(device->handle, &info, NULL, &recorder->marks),
			   "creating a query pool"))
			return;
	}
	if (recorder->mark_count == 0)
		vkCmdResetQueryPool(recorder->commands, recorder->marks, 0, MAX_MARKS);
	vkCmdWriteTimestamp(recorder->commands, VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT, recorder->marks,
			    (uint32_t)recorder->mark_count);
	recorder->mark_names[recorder->mark_count++] = name;
}

enum status recorder_finish(struct recorder *recorder, struct error *error)
{
	if (recorder->recording) {
		/* What was written is visible to the host once the fence has signalled. */
		full_barrier(recorder, VK_PIPELINE_STAGE_HOST_BIT, VK_ACCESS_HOST_READ_BIT);
		check(recorder, vkEndCommandBuffer(recorder->commands), "ending a recording");
		recorder->recording = false;
	}
	if (recorder->status)
		return error_set(error, recorder->status, "%s", recorder->error.text);
	return STATUS_OK;
}

enum status recorder_submit(struct recorder *recorder, uint64_t *ticket, struct error *error)
{
	if (recorder->status)
		return error_set(error, recorder->status, "%s", recorder->error.text);
	enum status status = device_submit(recorder->device, recorder->commands, ticket, error);
	if (status == STATUS_OK)
		recorder->last_ticket = *ticket;
	return status;
}

enum status recorder_run(struct recorder *recorder, struct error *error)
{
	uint64_t ticket;
	enum status status = recorder_finish(recorder, error);
	if (status == STATUS_OK)
		status = recorder_submit(recorder, &ticket, error);
	if (status == STATUS_OK)
		status = device_wait(recorder->device, ticket, error);
	return status;
}

struct recorder_counts recorder_get_counts(const struct recorder *recorder)
{
	return recorder->counts;
}

bool recorder_get_mark(struct recorder *recorder, int i, const char **name, double *ms)
{
	if (i < 0 || i + 1 >= recorder->mark_count)
		return false;
	uint64_t ticks[2];
	if (vkGetQueryPoolResults(recorder->device->handle, recorder->marks, (uint32_t)i, 2, sizeof ticks, ticks,
				  sizeof ticks[0], VK_QUERY_RESULT_64_BIT) != VK_SUCCESS)
		return false;
	*name = recorder->mark_names[i + 1];
	*ms = (double)(ticks[1] - ticks[0]) * (double)recorder->device->info.timestamp_ns * 1e-6;
	return true;
}
