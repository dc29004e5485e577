#include "compute/device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "compute/base/mem.h"
#include "compute/base/text.h"
#include "compute/vulkan_internal.h"

static const char layer_name[] = "VK_LAYER_KHRONOS_validation";

const char *device_type_name(enum device_type type)
{
	static const char *const names[] = {
		[DEVICE_TYPE_OTHER] = "other",	     [DEVICE_TYPE_INTEGRATED] = "integrated",
		[DEVICE_TYPE_DISCRETE] = "discrete", [DEVICE_TYPE_VIRTUAL] = "virtual",
		[DEVICE_TYPE_CPU] = "cpu",
	};
	return names[type];
}

static const char *result_name(VkResult result)
{
	switch (result) {
	case VK_ERROR_OUT_OF_HOST_MEMORY:
		return "out of host memory";
	case VK_ERROR_OUT_OF_DEVICE_MEMORY:
		return "out of device memory";
	case VK_ERROR_DEVICE_LOST:
		return "the device was lost";
	case VK_ERROR_LAYER_NOT_PRESENT:
		return "the validation layer is not installed";
	case VK_ERROR_EXTENSION_NOT_PRESENT:
		return "an extension is missing";
	case VK_ERROR_INCOMPATIBLE_DRIVER:
		return "no Vulkan driver is installed (Debian: mesa-vulkan-drivers)";
	case VK_ERROR_INITIALIZATION_FAILED:
		return "initialisation failed";
	case VK_ERROR_FRAGMENTED_POOL:
	case VK_ERROR_OUT_OF_POOL_MEMORY:
		return "a descriptor pool is exhausted";
	case VK_ERROR_INVALID_EXTERNAL_HANDLE:
		return "the memory cannot be imported";
	default:
		return NULL;
	}
}

enum status vulkan_error(struct device *device, VkResult result, const char *doing, struct error *error)
{
	const char *name = result_name(result);
	enum status status = name ? error_set(error, STATUS_FAILED, "%s: %s", doing, name)
				  : error_set(error, STATUS_FAILED, "%s: Vulkan error %d", doing, (int)result);
	if (result == VK_ERROR_DEVICE_LOST && device && !device->lost) {
		device->lost = true;
		error_set(&device->loss, STATUS_FAILED, "%s: the device was lost", doing);
	}
	return status;
}

enum status device_check(const struct device *device, struct error *error)
{
	return device->lost ? error_set(error, STATUS_FAILED, "%s", device->loss.text) : STATUS_OK;
}

static VkBool32 VKAPI_PTR on_message(VkDebugUtilsMessageSeverityFlagBitsEXT severity,
				     VkDebugUtilsMessageTypeFlagsEXT types,
				     const VkDebugUtilsMessengerCallbackDataEXT *data, void *user)
{
	(void)severity;
	(void)types;
	struct device *device = user;
	device->validation_messages++;
	fprintf(stderr, "validation: %s\n", data->pMessage);
	return VK_FALSE;
}

static const VkDebugUtilsMessengerCreateInfoEXT messenger_info = {
	.sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT,
	.messageSeverity =
		VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT | VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT,
	.messageType = VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT | VK_DEBUG_UTILS_MESSAGE_TYPE_PERFORMANCE_BIT_EXT,
	.pfnUserCallback = on_message,
};

static enum status create_instance(VkInstance *out, struct device *device, bool validation, struct error *error)
{
	VkApplicationInfo application = {
		.sType = VK_STRUCTURE_TYPE_APPLICATION_INFO,
		.pApplicationName = "rebound",
		.apiVersion = VK_API_VERSION_1_1,
	};
	VkInstanceCreateInfo info = {
		.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
		.pApplicationInfo = &application,
	};
	static const char *const layers[] = {layer_name};
	static const char *const extensions[] = {VK_EXT_DEBUG_UTILS_EXTENSION_NAME};
	static const VkValidationFeatureEnableEXT enables[] = {
		VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT};
	VkDebugUtilsMessengerCreateInfoEXT messenger = messenger_info;
	messenger.pUserData = device;
	VkValidationFeaturesEXT features = {
		.sType = VK_STRUCTURE_TYPE_VALIDATION_FEATURES_EXT,
		.pNext = &messenger,
		.enabledValidationFeatureCount = 1,
		.pEnabledValidationFeatures = enables,
	};
	if (validation) {
		info.pNext = &features;
		info.enabledLayerCount = 1;
		info.ppEnabledLayerNames = layers;
		info.enabledExtensionCount = 1;
		info.ppEnabledExtensionNames = extensions;
	}
	VkResult result = vkCreateInstance(&info, NULL, out);
	if (result)
		return vulkan_error(NULL, result, "starting Vulkan", error);
	return STATUS_OK;
}

static bool has_extension(VkPhysicalDevice physical, const char *name)
{
	uint32_t count = 0;
	vkEnumerateDeviceExtensionProperties(physical, NULL, &count, NULL);
	VkExtensionProperties *all = mem_alloc(count, sizeof *all);
	vkEnumerateDeviceExtensionProperties(physical, NULL, &count, all);
	bool found = false;
	for (uint32_t i = 0; i < count && !found; i++)
		found = strcmp(all[i].extensionName, name) == 0;
	free(all);
	return found;
}

static uint32_t find_compute_family(VkPhysicalDevice physical, VkQueueFamilyProperties *out)
{
	uint32_t count = 0, best = UINT32_MAX;
	vkGetPhysicalDeviceQueueFamilyProperties(physical, &count, NULL);
	VkQueueFamilyProperties *all = mem_alloc(count, sizeof *all);
	vkGetPhysicalDeviceQueueFamilyProperties(physical, &count, all);
	/* A family that does graphics too is usually the fast path for one queue. */
	for (uint32_t i = 0; i < count; i++)
		if ((all[i].queueFlags & VK_QUEUE_COMPUTE_BIT) &&
		    (best == UINT32_MAX ||
		     (all[i].queueFlags & VK_QUEUE_GRAPHICS_BIT && !(all[best].queueFlags & VK_QUEUE_GRAPHICS_BIT))))
			best = i;
	if (best != UINT32_MAX)
		*out = all[best];
	free(all);
	return best;
}

static void describe(struct device_info *info, VkPhysicalDevice physical, int index)
{
	static const enum device_type types[] = {
		[VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU] = DEVICE_TYPE_INTEGRATED,
		[VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU] = DEVICE_TYPE_DISCRETE,
		[VK_PHYSICAL_DEVICE_TYPE_VIRTUAL_GPU] = DEVICE_TYPE_VIRTUAL,
		[VK_PHYSICAL_DEVICE_TYPE_CPU] = DEVICE_TYPE_CPU,
	};
	*info = (struct device_info){.index = index};
	VkPhysicalDeviceProperties basic;
	vkGetPhysicalDeviceProperties(physical, &basic);
	text_printable(info->name, sizeof info->name, basic.deviceName,
		       strnlen(basic.deviceName, sizeof basic.deviceName));
	info->type = (size_t)basic.deviceType < ARRAY_LEN(types) ? types[basic.deviceType] : DEVICE_TYPE_OTHER;
	info->vendor_id = basic.vendorID;
	info->device_id = basic.deviceID;
	snprintf(info->api, sizeof info->api, "%u.%u.%u", VK_API_VERSION_MAJOR(basic.apiVersion),
		 VK_API_VERSION_MINOR(basic.apiVersion), VK_API_VERSION_PATCH(basic.apiVersion));
	snprintf(info->driver, sizeof info->driver, "driver %u", basic.driverVersion);
	VkQueueFamilyProperties family = {0};
	info->usable = basic.apiVersion >= VK_API_VERSION_1_1 && find_compute_family(physical, &family) != UINT32_MAX;
	if (!info->usable)
		return;

	VkPhysicalDeviceExternalMemoryHostPropertiesEXT host = {
		.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_EXTERNAL_MEMORY_HOST_PROPERTIES_EXT};
	VkPhysicalDeviceDriverProperties driver = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_DRIVER_PROPERTIES};
	VkPhysicalDeviceMaintenance3Properties maintenance = {
		.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_3_PROPERTIES};
	VkPhysicalDeviceSubgroupProperties subgroup = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_PROPERTIES,
						       .pNext = &maintenance};
	VkPhysicalDeviceProperties2 all = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, .pNext = &subgroup};
	info->host_import = has_extension(physical, VK_EXT_EXTERNAL_MEMORY_HOST_EXTENSION_NAME);
	bool has_driver = basic.apiVersion >= VK_API_VERSION_1_2 ||
			  has_extension(physical, VK_KHR_DRIVER_PROPERTIES_EXTENSION_NAME);
	void **tail = &maintenance.pNext;
	if (info->host_import) {
		*tail = &host;
		tail = &host.pNext;
	}
	if (has_driver)
		*tail = &driver;
	vkGetPhysicalDeviceProperties2(physical, &all);
	if (has_driver) {
		char text[sizeof info->driver];
		int n = snprintf(text, sizeof text, "%.*s, %.*s", VK_MAX_DRIVER_NAME_SIZE - 1, driver.driverName,
				 VK_MAX_DRIVER_INFO_SIZE - 1, driver.driverInfo);
		text_printable(info->driver, sizeof info->driver, text, (size_t)n);
	}
	const VkPhysicalDeviceLimits *limits = &all.properties.limits;
	info->max_binding_bytes = limits->maxStorageBufferRange;
	info->max_allocation = maintenance.maxMemoryAllocationSize;
	info->max_texel_elements = limits->maxTexelBufferElements;
	info->storage_alignment = (uint32_t)limits->minStorageBufferOffsetAlignment;
	info->texel_alignment = (uint32_t)limits->minTexelBufferOffsetAlignment;
	info->max_push_bytes = limits->maxPushConstantsSize;
	info->max_shared_bytes = limits->maxComputeSharedMemorySize;
	info->max_workgroup = limits->maxComputeWorkGroupInvocations;
	info->subgroup_size = subgroup.subgroupSize;
	bool in_compute = subgroup.supportedStages & VK_SHADER_STAGE_COMPUTE_BIT;
	info->subgroup_shuffle = in_compute && (subgroup.supportedOperations & VK_SUBGROUP_FEATURE_SHUFFLE_BIT);
	info->subgroup_arithmetic = in_compute && (subgroup.supportedOperations & VK_SUBGROUP_FEATURE_ARITHMETIC_BIT);
	info->host_alignment = host.minImportedHostPointerAlignment;
	info->timestamps = family.timestampValidBits > 0;
	info->timestamp_ns = limits->timestampPeriod;
	VkPhysicalDeviceMemoryProperties memory;
	vkGetPhysicalDeviceMemoryProperties(physical, &memory);
	for (uint32_t i = 0; i < memory.memoryHeapCount; i++)
		if ((memory.memoryHeaps[i].flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT) &&
		    memory.memoryHeaps[i].size > info->memory_bytes)
			info->memory_bytes = memory.memoryHeaps[i].size;
	/* lavapipe reports a heap of 2 GiB and gives what malloc gives. */
	if (info->type == DEVICE_TYPE_CPU) {
		long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
		uint64_t physical_bytes = pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : 0;
		if (physical_bytes > info->memory_bytes)
			info->memory_bytes = physical_bytes;
	}
}

static enum status enumerate(VkInstance instance, VkPhysicalDevice **out, uint32_t *count, struct error *error)
{
	*out = NULL;
	*count = 0;
	VkResult result = vkEnumeratePhysicalDevices(instance, count, NULL);
	if (result)
		return vulkan_error(NULL, result, "listing Vulkan devices", error);
	if (*count == 0)
		return error_set(error, STATUS_FAILED,
				 "no Vulkan device was found; a driver is needed, for instance Debian's "
				 "mesa-vulkan-drivers, which also brings a CPU device");
	*out = mem_alloc(*count, sizeof **out);
	result = vkEnumeratePhysicalDevices(instance, count, *out);
	if (result < 0) {
		free(*out);
		*out = NULL;
		return vulkan_error(NULL, result, "listing Vulkan devices", error);
	}
	return STATUS_OK;
}

enum status device_list(struct device_info **out, int *count, struct error *error)
{
	*out = NULL;
	*count = 0;
	VkInstance instance;
	enum status status = create_instance(&instance, NULL, false, error);
	if (status)
		return status;
	VkPhysicalDevice *all;
	uint32_t n;
	status = enumerate(instance, &all, &n, error);
	if (status == STATUS_OK) {
		*out = mem_alloc(n, sizeof **out);
		*count = (int)n;
		for (uint32_t i = 0; i < n; i++)
			describe(&(*out)[i], all[i], (int)i);
		free(all);
	}
	vkDestroyInstance(instance, NULL);
	return status;
}

static int rank(enum device_type type)
{
	switch (type) {
	case DEVICE_TYPE_DISCRETE:
		return 0;
	case DEVICE_TYPE_INTEGRATED:
		return 1;
	case DEVICE_TYPE_VIRTUAL:
		return 2;
	case DEVICE_TYPE_CPU:
		return 3;
	default:
		return 4;
	}
}

/* The index in infos[0..n) that `selector` means, or -1. */
static int choose(const struct device_info *infos, int n, const char *selector)
{
	int64_t wanted;
	if (selector && text_int(selector, &wanted))
		return wanted >= 0 && wanted < n && infos[wanted].usable ? (int)wanted : -1;
	int best = -1;
	for (int i = 0; i < n; i++)
		if (infos[i].usable && (!selector || strcasestr(infos[i].name, selector)) &&
		    (best < 0 || rank(infos[i].type) < rank(infos[best].type)))
			best = i;
	return best;
}

static enum status select_physical(struct device *device, const char *selector, struct error *error)
{
	VkPhysicalDevice *all;
	uint32_t n;
	enum status status = enumerate(device->instance, &all, &n, error);
	if (status)
		return status;
	struct device_info *infos = mem_alloc(n, sizeof *infos);
	for (uint32_t i = 0; i < n; i++)
		describe(&infos[i], all[i], (int)i);
	int chosen = choose(infos, (int)n, selector);
	if (chosen >= 0) {
		device->physical = all[chosen];
		device->info = infos[chosen];
	} else if (selector) {
		struct strbuf names = {0};
		for (uint32_t i = 0; i < n; i++)
			strbuf_printf(&names, "%s%u '%s'", i ? ", " : "", i, infos[i].name);
		status = error_set(error, STATUS_INVALID, "no usable Vulkan device matches '%s'; there are: %s",
				   selector, names.data);
		strbuf_done(&names);
	} else {
		status = error_set(error, STATUS_FAILED, "no Vulkan device has a compute queue and Vulkan 1.1");
	}
	free(infos);
	free(all);
	return status;
}

static enum status create_logical(struct device *device, struct error *error)
{
	VkQueueFamilyProperties family;
	device->queue_family = find_compute_family(device->physical, &family);
	float priority = 1;
	VkDeviceQueueCreateInfo queue = {
		.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
		.queueFamilyIndex = device->queue_family,
		.queueCount = 1,
		.pQueuePriorities = &priority,
	};
	const char *extensions[1];
	uint32_t count = 0;
	if (device->info.host_import)
		extensions[count++] = VK_EXT_EXTERNAL_MEMORY_HOST_EXTENSION_NAME;
	VkDeviceCreateInfo info = {
		.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
		.queueCreateInfoCount = 1,
		.pQueueCreateInfos = &queue,
		.enabledExtensionCount = count,
		.ppEnabledExtensionNames = extensions,
	};
	VkResult result = vkCreateDevice(device->physical, &info, NULL, &device->handle);
	if (result)
		return vulkan_error(NULL, result, "opening the Vulkan device", error);
	vkGetDeviceQueue(device->handle, device->queue_family, 0, &device->queue);
	if (device->info.host_import)
		device->get_host_pointer_properties = (PFN_vkGetMemoryHostPointerPropertiesEXT)vkGetDeviceProcAddr(
			device->handle, "vkGetMemoryHostPointerPropertiesEXT");
	VkCommandPoolCreateInfo pool = {
		.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
		.flags = VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT,
		.queueFamilyIndex = device->queue_family,
	};
	result = vkCreateCommandPool(device->handle, &pool, NULL, &device->command_pool);
	if (result)
		return vulkan_error(NULL, result, "opening the Vulkan device", error);
	vkGetPhysicalDeviceMemoryProperties(device->physical, &device->memory);
	return STATUS_OK;
}

enum status device_create(struct device **out, const struct device_options *options, struct error *error)
{
	*out = NULL;
	struct device *device = mem_alloc(1, sizeof *device);
#ifdef REBOUND_VALIDATION /* make DEBUG=1 */
	const bool validation = true;
#else
	const bool validation = options->validation;
#endif
	device->validation = validation;
	const char *selector = options->selector;
	if (!selector)
		selector = getenv("REBOUND_DEVICE");
	if (selector && !*selector)
		selector = NULL;
	enum status status = create_instance(&device->instance, device, validation, error);
	if (status == STATUS_OK && validation) {
		PFN_vkCreateDebugUtilsMessengerEXT create = (PFN_vkCreateDebugUtilsMessengerEXT)vkGetInstanceProcAddr(
			device->instance, "vkCreateDebugUtilsMessengerEXT");
		VkDebugUtilsMessengerCreateInfoEXT info = messenger_info;
		info.pUserData = device;
		if (create)
			create(device->instance, &info, NULL, &device->messenger);
	}
	if (status == STATUS_OK)
		status = select_physical(device, selector, error);
	if (status == STATUS_OK)
		status = create_logical(device, error);
	if (status == STATUS_OK) {
		pipelines_open_cache(device);
		status = buffer_create(&device->dummy, device, 256, BUFFER_DEVICE, "dummy", error);
	}
	if (status) {
		device_destroy(&device);
		return status;
	}
	*out = device;
	return STATUS_OK;
}

void device_destroy(struct device **out)
{
	struct device *device = *out;
	if (!device)
		return;
	if (device->handle) {
		vkDeviceWaitIdle(device->handle);
		buffer_destroy(&device->dummy);
		buffer_destroy(&device->staging);
		pipelines_destroy(device);
		for (size_t i = 0; i < device->in_flight_count; i++)
			vkDestroyFence(device->handle, device->in_flight[i].fence, NULL);
		for (size_t i = 0; i < device->idle_count; i++)
			vkDestroyFence(device->handle, device->idle_fences[i], NULL);
		if (device->command_pool)
			vkDestroyCommandPool(device->handle, device->command_pool, NULL);
		vkDestroyDevice(device->handle, NULL);
	}
	if (device->messenger) {
		PFN_vkDestroyDebugUtilsMessengerEXT destroy =
			(PFN_vkDestroyDebugUtilsMessengerEXT)vkGetInstanceProcAddr(device->instance,
										   "vkDestroyDebugUtilsMessengerEXT");
		destroy(device->instance, device->messenger, NULL);
	}
	if (device->instance)
		vkDestroyInstance(device->instance, NULL);
	free(device->in_flight);
	free(device->idle_fences);
	free(device->pipeline_cache_path);
	free(device);
	*out = NULL;
}

const struct device_info *device_get_info(const struct device *device)
{
	return &device->info;
}

int device_validation_messages(const struct device *device)
{
	return device->validation ? device->validation_messages : -1;
}

uint64_t device_memory_used(const struct device *device)
{
	return device->memory_used;
}

uint64_t device_memory_peak(const struct device *device)
{
	return device->memory_peak;
}

/* MemAvailable of the system; UINT64_MAX where it doesn't say. */
static uint64_t host_memory_available(void)
{
	FILE *f = fopen("/proc/meminfo", "r");
	char line[128];
	uint64_t kilobytes = UINT64_MAX >> 10;
	while (f && fgets(line, sizeof line, f))
		if (strncmp(line, "MemAvailable:", 13) == 0)
			kilobytes = strtoull(line + 13, NULL, 10);
	if (f)
		fclose(f);
	return kilobytes << 10;
}

uint64_t device_memory_left(const struct device *device)
{
	uint64_t used = device->memory_used - device->memory_imported;
	uint64_t left = device->info.memory_bytes > used ? device->info.memory_bytes - used : 0;
	if (device->info.type == DEVICE_TYPE_CPU) {
		uint64_t available = host_memory_available();
		left = available < left ? available : left;
	}
	return left;
}

enum status device_check_memory(const struct device *device, uint64_t bytes, const char *what, const char *remedy,
				struct error *error)
{
	uint64_t left = device_memory_left(device);
	if (bytes <= left)
		return STATUS_OK;
	char needed[TEXT_BYTES_SIZE], there[TEXT_BYTES_SIZE];
	return error_set(error, STATUS_FAILED, "%s needs %s of device memory and %s has %s left; %s", what,
			 text_bytes(needed, bytes), device->info.name, text_bytes(there, left), remedy);
}
