#ifndef REBOUND_SHADERS_PUSH_ELEMENTWISE_H
#define REBOUND_SHADERS_PUSH_ELEMENTWISE_H
#include "push.h"

struct push_elementwise {
	uint count;	   // elements of the result
	uint block;	   // of them a workgroup
	uint cols;	   // of its rows
	uint repeat;	   // elements, or rows, of the operand that is read again and again
	uint stride;	   // rows of a replica, where rows are gathered or scattered
	float scale;	   // op_add: of b; op_softcap: the cap; op_blend: alpha
};
PUSH_ASSERT(push_elementwise)

struct push_pool {
	uint rows;	   // x: R, or G*R gradient rows
	uint forward_rows; // R
	uint sequences;	   // S
	uint cols;
	uint first;	   // position
};
PUSH_ASSERT(push_pool)

#endif
