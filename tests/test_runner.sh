#!/bin/sh
# The test runner itself: what it counts for programs that pass, fail, skip, crash, hang or stop early.
set -u
cd "$(dirname "$0")/.." || exit 1
here=$(mktemp -d) || exit 1
trap 'rm -rf "$here"' EXIT
number=0

# program NAME: a program that runs the shell text on standard input.
program() {
	{ echo '#!/bin/sh'; cat; } >"$here/$1"
	chmod +x "$here/$1"
}

# expect SUMMARY STATUS NAME...: what the runner says of these programs, and how it ends.
expect() {
	summary=$1 status=$2
	shift 2
	number=$((number + 1))
	for name; do
		shift
		set -- "$@" "$here/$name"
	done
	said=$(BUILD=$here/build TEST_TIMEOUT=1 tests/run "$@" 2>&1)
	ended=$?
	if [ "$(echo "$said" | tail -n 1)" = "$summary" ] && [ "$ended" = "$status" ]; then
		echo "ok $number - $summary"
	else
		echo "$said"
		echo "# exit status $ended, expected $status and: $summary"
		echo "not ok $number - $*"
	fi
}

program good <<'EOF'
printf '1..2\nok 1 - a\nok 2 - b\n'
EOF
program skipping <<'EOF'
printf '1..2\nok 1 - a\nno golden files\nnot ok 2 # SKIP b\n'
EOF
program failing <<'EOF'
printf '1..2\nok 1 - a\nnot ok 2 - b\n# 1 != 2\n# not ok - group\n'; exit 1
EOF
program crashing <<'EOF'
printf '1..2\nok 1 - a\n'; kill -SEGV $$
EOF
program early <<'EOF'
printf '1..3\nok 1 - a\n'; exit 0
EOF
program leaking <<'EOF'
printf '1..1\nok 1 - a\n'; echo leak >&2; exit 23
EOF
program silent <<'EOF'
exit 0
EOF
program hanging <<'EOF'
printf '1..1\n'; exec sleep 30
EOF
program yes.sh <<'EOF'
exit 0
EOF
program no.sh <<'EOF'
echo why; exit 3
EOF
program maybe.sh <<'EOF'
echo 'no model'; exit 77
EOF

echo 1..12
expect '2 passed, 0 failed, 0 skipped' 0 good
expect '1 passed, 0 failed, 1 skipped' 0 skipping
expect '1 passed, 1 failed, 0 skipped' 1 failing
expect '1 passed, 1 failed, 0 skipped' 1 crashing
expect '1 passed, 1 failed, 0 skipped' 1 early
expect '1 passed, 1 failed, 0 skipped' 1 leaking
expect '0 passed, 1 failed, 0 skipped' 1 silent
expect '0 passed, 1 failed, 0 skipped' 1 hanging
expect '0 passed, 1 failed, 0 skipped' 1 absent
expect '1 passed, 1 failed, 1 skipped' 1 yes.sh no.sh maybe.sh
expect '0 passed, 0 failed, 0 skipped' 1
expect "6 passed, 2 failed, 2 skipped" 1 good skipping failing crashing yes.sh maybe.sh
