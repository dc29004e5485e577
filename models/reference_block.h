/* One block of the reference model (see reference.h), forward and backward. */
#ifndef REBOUND_REFERENCE_BLOCK_H
#define REBOUND_REFERENCE_BLOCK_H

#include "models/reference.h"

/* y [T, out] = x [T, in] W^T + b; b may be NULL. */
void reference_linear(double *y, const double *x, const double *W, const double *b, int64_t T, int64_t out, int64_t in);
/* dx [T, in] += dy [T, out] W */
void reference_linear_back(double *dx, const double *dy, const double *W, int64_t T, int64_t out, int64_t in);
/* Rows of n numbers each. */
void reference_norm(const struct arch *arch, double *y, const double *x, const double *w, const double *b, int64_t rows,
		    int64_t n);
/* dx += */
void reference_norm_back(const struct arch *arch, double *dx, const double *dy, const double *x, const double *w,
			 int64_t rows, int64_t n);

/* Everything that a block's backward pass needs; each array is [T, width]. */
struct reference_block {
	const struct reference *reference;
	int layer, T;
	const double *x;	 /* resid_pre, borrowed */
	double *n1;		 /* norm 1 of x */
	double *q0, *k0, *v;	 /* projections */
	double *q, *k;		 /* after q/k norm and rotation */
	double *p;		 /* [H, T, T]: attention rows */
	double *capped;		 /* [H, T, T]: scores after the soft cap; NULL without one */
	double *z, *o;		 /* heads' outputs; after the output matrix */
	double *a;		 /* what attention adds: o, or its norm */
	double *mid;		 /* x + a (+ edit); equal to x + a with parallel residual too */
	double *n2;		 /* norm 2 of mid, or of x with parallel residual */
	double *gate, *up, *act; /* [T, f]; gate NULL without one */
	double *down, *m;	 /* after the output matrix; what the MLP adds */
	double *post;		 /* x + a + m */
};

/* `edit_mid` [T, d] or NULL is added to mid. */
void reference_block_forward(struct reference_block *block, const struct reference *reference, int layer, int T,
			     const double *x, const double *edit_mid);
/* From dpost [T, d]: dx [T, d] and, without parallel residual, dmid [T, d] (the
 * gradient at resid_mid); both are written. dmid may be scratch, not NULL. */
void reference_block_backward(const struct reference_block *block, const double *dpost, double *dmid, double *dx);
void reference_block_done(struct reference_block *block);

#endif
