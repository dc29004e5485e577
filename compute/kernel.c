/* Pipelines: one per kernel, specialisation and binding form, made on first use and
 * kept in memory and in the driver's cache on disk. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "compute/base/file.h"
#include "compute/base/mem.h"
#include "compute/shader_table.h"
#include "compute/vulkan_internal.h"

static const struct shader_code *find_code(const char *name)
{
	for (const struct shader_code *code = shader_table; code->name; code++)
		if (strcmp(code->name, name) == 0)
			return code;
	return NULL;
}

VkDescriptorType vulkan_descriptor_type(enum binding_form form)
{
	switch (form) {
	case BINDING_STORAGE:
		return VK_DESCRIPTOR_TYPE_STORAGE_BUFFER;
	case BINDING_IMAGE_R32F:
	case BINDING_IMAGE_RGBA32F:
	case BINDING_IMAGE_RGBA32UI:
		return VK_DESCRIPTOR_TYPE_STORAGE_TEXEL_BUFFER;
	default:
		return VK_DESCRIPTOR_TYPE_UNIFORM_TEXEL_BUFFER;
	}
}

/* Bit i: binding i is of this type. */
static uint32_t mask_of(const struct dispatch *dispatch, VkDescriptorType type)
{
	uint32_t mask = 0;
	for (int i = 0; i < dispatch->binding_count; i++)
		if (vulkan_descriptor_type(dispatch->bindings[i].form) == type)
			mask |= 1u << i;
	return mask;
}

static VkResult create_layouts(struct device *device, struct pipeline *pipeline)
{
	VkDescriptorSetLayoutBinding bindings[DISPATCH_MAX_BINDINGS];
	for (int i = 0; i < pipeline->binding_count; i++)
		bindings[i] = (VkDescriptorSetLayoutBinding){
			.binding = (uint32_t)i,
			.descriptorType = pipeline->texel_mask >> i & 1	  ? VK_DESCRIPTOR_TYPE_UNIFORM_TEXEL_BUFFER
					  : pipeline->image_mask >> i & 1 ? VK_DESCRIPTOR_TYPE_STORAGE_TEXEL_BUFFER
									  : VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
			.descriptorCount = 1,
			.stageFlags = VK_SHADER_STAGE_COMPUTE_BIT,
		};
	VkDescriptorSetLayoutCreateInfo set = {
		.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO,
		.bindingCount = (uint32_t)pipeline->binding_count,
		.pBindings = bindings,
	};
	VkResult result = vkCreateDescriptorSetLayout(device->handle, &set, NULL, &pipeline->set_layout);
	if (result)
		return result;
	VkPushConstantRange range = {VK_SHADER_STAGE_COMPUTE_BIT, 0, (uint32_t)pipeline->push_bytes};
	VkPipelineLayoutCreateInfo layout = {
		.sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO,
		.setLayoutCount = 1,
		.pSetLayouts = &pipeline->set_layout,
		.pushConstantRangeCount = pipeline->push_bytes > 0,
		.pPushConstantRanges = &range,
	};
	return vkCreatePipelineLayout(device->handle, &layout, NULL, &pipeline->layout);
}

static VkResult create_pipeline(struct device *device, struct pipeline *pipeline, const struct shader_code *code)
{
	VkResult result = create_layouts(device, pipeline);
	if (result)
		return result;
	VkShaderModuleCreateInfo module_info = {
		.sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO,
		.codeSize = code->bytes,
		.pCode = code->words,
	};
	VkShaderModule module;
	result = vkCreateShaderModule(device->handle, &module_info, NULL, &module);
	if (result)
		return result;
	VkSpecializationMapEntry entries[DISPATCH_MAX_CONSTANTS];
	for (uint32_t i = 0; i < DISPATCH_MAX_CONSTANTS; i++)
		entries[i] = (VkSpecializationMapEntry){i, i * 4, 4};
	VkSpecializationInfo special = {
		.mapEntryCount = (uint32_t)pipeline->constant_count,
		.pMapEntries = entries,
		.dataSize = (size_t)pipeline->constant_count * 4,
		.pData = pipeline->constants,
	};
	VkComputePipelineCreateInfo info = {
		.sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
		.stage = {.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
			  .stage = VK_SHADER_STAGE_COMPUTE_BIT,
			  .module = module,
			  .pName = "main",
			  .pSpecializationInfo = &special},
		.layout = pipeline->layout,
	};
	result = vkCreateComputePipelines(device->handle, device->pipeline_cache, 1, &info, NULL, &pipeline->handle);
	vkDestroyShaderModule(device->handle, module, NULL);
	device->pipeline_cache_dirty = true;
	return result;
}

static void destroy_pipeline(struct device *device, struct pipeline *pipeline)
{
	vkDestroyPipeline(device->handle, pipeline->handle, NULL);
	vkDestroyPipelineLayout(device->handle, pipeline->layout, NULL);
	vkDestroyDescriptorSetLayout(device->handle, pipeline->set_layout, NULL);
	free(pipeline);
}

enum status pipeline_get(struct pipeline **out, struct device *device, const struct dispatch *dispatch,
			 struct error *error)
{
	uint32_t texel_mask = mask_of(dispatch, VK_DESCRIPTOR_TYPE_UNIFORM_TEXEL_BUFFER);
	uint32_t image_mask = mask_of(dispatch, VK_DESCRIPTOR_TYPE_STORAGE_TEXEL_BUFFER);
	size_t constant_bytes = (size_t)dispatch->constant_count * sizeof dispatch->constants[0];
	for (struct pipeline *p = device->pipelines; p; p = p->next)
		if (p->texel_mask == texel_mask && p->image_mask == image_mask &&
		    p->binding_count == dispatch->binding_count && p->push_bytes == dispatch->push_bytes &&
		    p->constant_count == dispatch->constant_count &&
		    memcmp(p->constants, dispatch->constants, constant_bytes) == 0 &&
		    strcmp(p->kernel, dispatch->kernel) == 0) {
			*out = p;
			return STATUS_OK;
		}
	const struct shader_code *code = find_code(dispatch->kernel);
	if (!code || strlen(dispatch->kernel) >= sizeof(*out)->kernel)
		fatal("no kernel is called '%s'", dispatch->kernel);
	struct pipeline *pipeline = mem_alloc(1, sizeof *pipeline);
	snprintf(pipeline->kernel, sizeof pipeline->kernel, "%s", dispatch->kernel);
	memcpy(pipeline->constants, dispatch->constants, constant_bytes);
	pipeline->constant_count = dispatch->constant_count;
	pipeline->binding_count = dispatch->binding_count;
	pipeline->texel_mask = texel_mask;
	pipeline->image_mask = image_mask;
	pipeline->push_bytes = dispatch->push_bytes;
	VkResult result = create_pipeline(device, pipeline, code);
	if (result) {
		destroy_pipeline(device, pipeline);
		char doing[128];
		snprintf(doing, sizeof doing, "building the kernel '%s'", dispatch->kernel);
		return vulkan_error(device, result, doing, error);
	}
	pipeline->next = device->pipelines;
	device->pipelines = pipeline;
	*out = pipeline;
	return STATUS_OK;
}

/* $XDG_CACHE_HOME/rebound/VENDOR-DEVICE.pipelines, or NULL without a home. */
static char *cache_path(const struct device *device)
{
	const char *cache = getenv("XDG_CACHE_HOME");
	const char *home = getenv("HOME");
	char *folder;
	if (cache && cache[0] == '/')
		folder = mem_printf("%s/rebound", cache);
	else if (home && home[0] == '/')
		folder = mem_printf("%s/.cache/rebound", home);
	else
		return NULL;
	char *path = NULL;
	if (file_make_folder(folder, NULL) == STATUS_OK)
		path = mem_printf("%s/%04x-%04x.pipelines", folder, device->info.vendor_id, device->info.device_id);
	free(folder);
	return path;
}

void pipelines_open_cache(struct device *device)
{
	device->pipeline_cache_path = cache_path(device);
	char *data = NULL;
	size_t bytes = 0;
	if (device->pipeline_cache_path && file_exists(device->pipeline_cache_path) &&
	    file_read(&data, &bytes, device->pipeline_cache_path, (size_t)256 << 20, NULL) != STATUS_OK)
		bytes = 0;
	/* The driver checks the header (vendor, device, its own version) and ignores data
	 * of another; so a stale file costs time only. */
	VkPipelineCacheCreateInfo info = {
		.sType = VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO,
		.initialDataSize = bytes,
		.pInitialData = data,
	};
	if (vkCreatePipelineCache(device->handle, &info, NULL, &device->pipeline_cache) != VK_SUCCESS)
		device->pipeline_cache = VK_NULL_HANDLE;
	free(data);
}

static void save_cache(struct device *device)
{
	size_t bytes = 0;
	if (!device->pipeline_cache || !device->pipeline_cache_path || !device->pipeline_cache_dirty || device->lost ||
	    vkGetPipelineCacheData(device->handle, device->pipeline_cache, &bytes, NULL) != VK_SUCCESS || bytes == 0)
		return;
	void *data = mem_alloc(bytes, 1);
	/* A cache that can't be written is no error: the next start is slower. */
	if (vkGetPipelineCacheData(device->handle, device->pipeline_cache, &bytes, data) == VK_SUCCESS &&
	    file_write(device->pipeline_cache_path, data, bytes, NULL) != STATUS_OK)
		device->pipeline_cache_dirty = true;
	free(data);
}

void pipelines_destroy(struct device *device)
{
	save_cache(device);
	for (struct pipeline *p = device->pipelines, *next; p; p = next) {
		next = p->next;
		destroy_pipeline(device, p);
	}
	device->pipelines = NULL;
	if (device->pipeline_cache)
		vkDestroyPipelineCache(device->handle, device->pipeline_cache, NULL);
}
