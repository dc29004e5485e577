/* For the headers shaders/push_*.h, which C and GLSL share: structs of push constants
 * (at most 128 bytes) in 4-byte members, `uint` and `float`. */
#ifndef REBOUND_PUSH_H
#define REBOUND_PUSH_H

#ifdef VULKAN /* defined by glslc */
#define PUSH_ASSERT(type)
#else
#include <stdint.h>
typedef uint32_t push_uint;
#define uint push_uint
#define PUSH_ASSERT(type) _Static_assert(sizeof(struct type) % 4 == 0 && sizeof(struct type) <= 128, #type);
#endif

#endif
