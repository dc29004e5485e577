// Loops over the elements of a range, an invocation every WG-th: FOR_EACH(i, first, end) { ... }
// END_EACH. 8 turns are unrolled, as a sequence may have a million elements (README.md).
#define FOR_EACH(i, first, end) \
	for (uint i##_base = (first) + gl_LocalInvocationIndex; i##_base < (end); i##_base += 8 * WG) { \
		[[unroll]] for (uint i##_turn = 0; i##_turn < 8; i##_turn++) { \
			const uint i = i##_base + i##_turn * WG; \
			if (i < (end)) {
#define END_EACH }}}
