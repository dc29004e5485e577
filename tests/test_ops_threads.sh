#!/bin/sh
# needs: device. The kernels give the same bits whatever the number of threads of llvmpipe:
# the tests print a checksum of what every case left on the device, and it may not change.
set -eu
build=${BUILD:-build}
for program in test_ops_recover test_ops_attention test_ops_norm; do
	[ -x "$build/tests/$program" ] || { echo "$build/tests/$program is not built"; exit 77; }
done
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
for threads in 0 3; do
	for program in test_ops_recover test_ops_attention test_ops_norm; do
		OP_TEST_BITS=1 LP_NUM_THREADS=$threads "$build/tests/$program" 2>/dev/null | grep '^# bits' || true
	done >"$folder/$threads"
done
[ -s "$folder/0" ] || { echo "no case ran"; exit 77; }
if ! diff "$folder/0" "$folder/3"; then
	echo "other bits with 3 threads than with none"
	exit 1
fi
