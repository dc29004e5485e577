#ifndef REBOUND_PUSH_SAE_H
#define REBOUND_PUSH_SAE_H
#include "push.h"

/* Elements of [rows, n] features; a gradient has G times the rows of what it belongs to. */
struct push_sae {
	uint count;	  /* elements of the result */
	uint block;	  /* of them a workgroup */
	uint n;		  /* features of a row */
	uint rows;	  /* R, forward rows */
	uint threshold_shift; /* elements before threshold[0] in its binding; the same of the next three */
	uint gate_shift, mag_shift, scale_shift;
	uint features;	  /* op_clamp_full, op_sae_chosen: F, the width of what is read or changed */
};
PUSH_ASSERT(push_sae)

/* Whole rows on their way into an SAE and out of it. */
struct push_sae_rows {
	uint rows;	   /* R, or G*R gradient rows */
	uint forward_rows; /* R */
	uint d;
	uint terms;	   /* columns of what the output's scale multiplied */
	uint b_dec_shift;  /* elements before b_dec[0] in its binding */
};
PUSH_ASSERT(push_sae_rows)

/* The k largest of each row. */
struct push_sae_select {
	uint rows, n, k;
	uint slice, slices; /* elements of a slice, slices of a row */
	uint shift;	    /* of the digit that is being counted or chosen */
};
PUSH_ASSERT(push_sae_select)

struct push_sae_chosen {
	uint count;	 /* elements of the result */
	uint n, features; /* columns of the result and of h */
	uint first_row;	 /* of the result: row 0 of h and of cut */
	uint groups;	 /* columns of cut, if one latent of a group is kept */
	uint block;	 /* elements of a workgroup */
};
PUSH_ASSERT(push_sae_chosen)

#endif
