/* A Vulkan device with one compute queue.
 *
 * Works with Vulkan 1.1 and what the device says it has; no subgroup size, memory
 * layout or limit is assumed. All calls belong to one thread at a time (the
 * worker). A lost device is sticky: every later call on it returns STATUS_FAILED
 * with the first loss in its error.
 */
#ifndef REBOUND_DEVICE_H
#define REBOUND_DEVICE_H

#include <stdbool.h>
#include <stdint.h>

#include "compute/base/error.h"

struct device;

enum device_type {
	DEVICE_TYPE_OTHER,
	DEVICE_TYPE_INTEGRATED,
	DEVICE_TYPE_DISCRETE,
	DEVICE_TYPE_VIRTUAL,
	DEVICE_TYPE_CPU,
};

struct device_info {
	int index; /* among all Vulkan devices, the number --device takes */
	enum device_type type;
	char name[256];
	char driver[320]; /* name and version text of the driver */
	char api[24];	  /* "1.3.230" */
	uint32_t vendor_id, device_id;
	/* limits that matter */
	uint64_t memory_bytes;	     /* largest device-local heap; CPU devices: the host's memory */
	uint64_t max_binding_bytes;  /* of one storage buffer binding */
	uint64_t max_allocation;     /* bytes of one allocation */
	uint64_t max_texel_elements; /* of one texel buffer */
	uint32_t storage_alignment, texel_alignment;
	uint32_t max_push_bytes, max_shared_bytes, max_workgroup;
	uint32_t subgroup_size;
	bool subgroup_shuffle, subgroup_arithmetic;
	bool host_import;	 /* VK_EXT_external_memory_host */
	uint64_t host_alignment; /* of imported pointers */
	bool timestamps;
	float timestamp_ns; /* nanoseconds a tick */
	bool usable;	    /* has a compute queue and Vulkan 1.1 */
};

/* "discrete", "integrated", "virtual", "cpu", "other"; static. */
const char *device_type_name(enum device_type type);

/* All devices, also unusable ones; *out is malloc'ed. No Vulkan loader or no driver
 * is STATUS_FAILED with what to install. */
enum status WARN_UNUSED device_list(struct device_info **out, int *count, struct error *error);

struct device_options {
	const char *selector; /* index or part of the name; NULL: $REBOUND_DEVICE, else the
				 first of discrete, integrated, virtual, CPU */
	bool validation;      /* the Khronos layer with synchronisation validation; always on with make DEBUG=1 */
};
enum status WARN_UNUSED device_create(struct device **out, const struct device_options *options, struct error *error);
void device_destroy(struct device **device);

const struct device_info *device_get_info(const struct device *device);

/* Warnings and errors of the validation layer since creation; printed to stderr as
 * they come. -1 where validation is off. */
int device_validation_messages(const struct device *device);

/* Bytes held by live buffers, and the most that were. */
uint64_t device_memory_used(const struct device *device);
uint64_t device_memory_peak(const struct device *device);
/* Bytes that can still be taken: what memory_bytes leaves, imported host memory not
 * counted; on CPU devices no more than the system has to give. */
uint64_t device_memory_left(const struct device *device);
/* STATUS_FAILED if `bytes` more don't fit: "WHAT needs 5.3 GB of device memory and DEVICE
 * has 4.0 GB left; REMEDY", where `remedy` says what would make it fit. */
enum status WARN_UNUSED device_check_memory(const struct device *device, uint64_t bytes, const char *what,
					    const char *remedy, struct error *error);

/* Blocks until all submitted work has completed. */
enum status WARN_UNUSED device_wait_idle(struct device *device, struct error *error);

#endif
