/* Submissions, fences and waiting. */
#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"
#include "compute/vulkan_internal.h"

static enum status take_fence(struct device *device, VkFence *fence, struct error *error)
{
	if (device->idle_count > 0) {
		*fence = device->idle_fences[--device->idle_count];
		return STATUS_OK;
	}
	VkFenceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO};
	VkResult result = vkCreateFence(device->handle, &info, NULL, fence);
	return result ? vulkan_error(device, result, "creating a fence", error) : STATUS_OK;
}

/* The oldest submission has completed. */
static void retire_first(struct device *device)
{
	struct submission first = device->in_flight[0];
	device->completed_ticket = first.ticket;
	vkResetFences(device->handle, 1, &first.fence);
	mem_reserve((void **)&device->idle_fences, &device->idle_capacity, device->idle_count + 1,
		    sizeof *device->idle_fences);
	device->idle_fences[device->idle_count++] = first.fence;
	device->in_flight_count--;
	memmove(device->in_flight, device->in_flight + 1, device->in_flight_count * sizeof first);
}

enum status device_submit(struct device *device, VkCommandBuffer commands, uint64_t *ticket, struct error *error)
{
	enum status status = device_check(device, error);
	if (status)
		return status;
	VkFence fence;
	status = take_fence(device, &fence, error);
	if (status)
		return status;
	VkSubmitInfo info = {
		.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
		.commandBufferCount = 1,
		.pCommandBuffers = &commands,
	};
	VkResult result = vkQueueSubmit(device->queue, 1, &info, fence);
	if (result) {
		vkDestroyFence(device->handle, fence, NULL);
		return vulkan_error(device, result, "submitting work to the device", error);
	}
	mem_reserve((void **)&device->in_flight, &device->in_flight_capacity, device->in_flight_count + 1,
		    sizeof *device->in_flight);
	*ticket = ++device->next_ticket;
	device->in_flight[device->in_flight_count++] = (struct submission){*ticket, fence};
	return STATUS_OK;
}

enum status device_wait(struct device *device, uint64_t ticket, struct error *error)
{
	while (device->completed_ticket < ticket && device->in_flight_count > 0) {
		enum status status = device_check(device, error);
		if (status)
			return status;
		VkResult result = vkWaitForFences(device->handle, 1, &device->in_flight[0].fence, VK_TRUE, UINT64_MAX);
		if (result)
			return vulkan_error(device, result, "waiting for the device", error);
		retire_first(device);
	}
	return STATUS_OK;
}

bool device_poll(struct device *device, uint64_t ticket)
{
	while (device->in_flight_count > 0 && !device->lost &&
	       vkGetFenceStatus(device->handle, device->in_flight[0].fence) == VK_SUCCESS)
		retire_first(device);
	return device->completed_ticket >= ticket;
}

enum status device_wait_idle(struct device *device, struct error *error)
{
	return device_wait(device, device->next_ticket, error);
}
