#ifndef REBOUND_SHADERS_PUSH_ATTENTION_H
#define REBOUND_SHADERS_PUSH_ATTENTION_H
#include "push.h"

struct push_qkv {
	uint rows;	   // of this pass (R), or of gradients (G*R)
	uint forward_rows; // R
	uint heads, kv_heads, head_dim;
	uint context;	   // cache rows of a sequence
	uint rope_dims;	   // rotated dims of a head; 0: none
	float rope_scale;  // multiplies cos and sin
	float eps;	   // of the norm of q and k
	uint q_norm_shift, k_norm_shift; // elements before the norms' weights in their bindings
};
PUSH_ASSERT(push_qkv)

struct push_attention {
	uint rows;	   // R, or G*R
	uint forward_rows; // R
	uint heads, kv_heads, head_dim;
	uint context;
	uint window;	   // keys visible, the query's own included; 0: all
	float scale;	   // of the scores
	float softcap;	   // 0: none
};
PUSH_ASSERT(push_attention)

#endif
