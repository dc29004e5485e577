/* What compute/ shares inside itself: the Vulkan handles. */
#ifndef REBOUND_VULKAN_INTERNAL_H
#define REBOUND_VULKAN_INTERNAL_H

#include <vulkan/vulkan.h>

#include "compute/device.h"
#include "compute/record.h"
#include "compute/tensor.h"

/* A fence in flight. */
struct submission {
	uint64_t ticket;
	VkFence fence;
};

struct pipeline;
struct texel_view;

struct device {
	VkInstance instance;
	VkDebugUtilsMessengerEXT messenger;
	VkPhysicalDevice physical;
	VkDevice handle;
	VkQueue queue;
	uint32_t queue_family;
	VkCommandPool command_pool;
	VkPhysicalDeviceMemoryProperties memory;
	struct device_info info;
	bool validation;
	int validation_messages;

	bool lost;
	struct error loss;

	uint64_t memory_used, memory_peak, memory_imported;

	uint64_t next_ticket, completed_ticket;
	struct submission *in_flight; /* ascending tickets */
	size_t in_flight_count, in_flight_capacity;
	VkFence *idle_fences;
	size_t idle_count, idle_capacity;

	VkPipelineCache pipeline_cache;
	char *pipeline_cache_path; /* NULL: not kept */
	bool pipeline_cache_dirty;
	struct pipeline *pipelines; /* list */
	struct buffer *dummy;	    /* bound where a tensor is absent */
	struct buffer *staging;	    /* for buffer_write and buffer_read; NULL until needed */
	PFN_vkGetMemoryHostPointerPropertiesEXT get_host_pointer_properties;
};

struct buffer {
	struct device *device;
	VkBuffer handle;
	VkDeviceMemory memory;
	uint64_t bytes;
	void *mapped; /* NULL where the host can't see it */
	bool host;    /* BUFFER_HOST */
	bool imported;
	char *name;
	struct texel_view *views; /* list, by range and format */
};

struct pipeline {
	struct pipeline *next;
	char kernel[64];
	uint32_t constants[DISPATCH_MAX_CONSTANTS];
	int constant_count, binding_count;
	uint32_t texel_mask, image_mask; /* bit i: binding i is a uniform, a storage texel buffer */
	size_t push_bytes;
	VkDescriptorSetLayout set_layout;
	VkPipelineLayout layout;
	VkPipeline handle;
};

/* Turns a VkResult into an error; makes VK_ERROR_DEVICE_LOST sticky. */
enum status vulkan_error(struct device *device, VkResult result, const char *doing, struct error *error);
/* STATUS_FAILED with the kept loss if the device is lost. */
enum status device_check(const struct device *device, struct error *error);

enum status WARN_UNUSED pipeline_get(struct pipeline **out, struct device *device, const struct dispatch *dispatch,
				     struct error *error);
void pipelines_open_cache(struct device *device);
void pipelines_destroy(struct device *device);

VkDescriptorType vulkan_descriptor_type(enum binding_form form);
enum status WARN_UNUSED buffer_texel_view(VkBufferView *out, struct buffer *buffer, VkFormat format, uint64_t offset,
					  uint64_t bytes, struct error *error);

enum status WARN_UNUSED device_submit(struct device *device, VkCommandBuffer commands, uint64_t *ticket,
				      struct error *error);

#endif
