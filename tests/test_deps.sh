#!/bin/sh
# .ci/deps finds the compiler that CC names, also where it is more than one word.
set -u
cd "$(dirname "$0")/.." || exit 1
here=$(mktemp -d) || exit 1
trap 'rm -rf "$here"' EXIT
# shellcheck disable=SC2016 # for the script that is written
printf '#!/bin/sh\nexec "$@"\n' >"$here/wrapper"
chmod +x "$here/wrapper"
number=0

# expect STATUS CC: how the look for what a build needs ends.
expect() {
	number=$((number + 1))
	said=$(CC=$2 .ci/deps check build 2>&1)
	ended=$?
	case "$ended $said" in
	"$1 "*) echo "ok $number - '$2'" ;;
	*)
		echo "# status $ended: $said"
		echo "not ok $number - '$2'"
		;;
	esac
}

if ! CC=cc .ci/deps check build >/dev/null 2>&1; then
	echo '1..1'
	echo 'not ok 1 # SKIP what a build needs is not installed here'
	exit 0
fi
echo '1..5'
expect 0 cc
expect 0 "$here/wrapper cc"
expect 0 " $here/wrapper  cc -O1 "
expect 1 "$here/nonesuch cc"
expect 1 "$here/nonesuch"
