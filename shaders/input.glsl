// How kernels read whole tensors. The build for CPU devices (-DNARROW) fetches texels, which llvmpipe
// does for a whole vector at once; others read storage buffers.
//   INPUT(1, x)   declares binding 1
//   LOAD(x, i)    is element i
#ifdef NARROW
#define INPUT(at, name) layout(binding = at) uniform samplerBuffer name
#define LOAD(name, i) texelFetch(name, int(i)).x
#else
#define INPUT(at, name) layout(binding = at) buffer name##_block { float name##_data[]; }
#define LOAD(name, i) name##_data[i]
#endif
