# shellcheck shell=sh disable=SC2034 # its users read $status
# What scripts that start the program share; sourced by them. Sets $program, $folder (gone at the end) and $status, and
# skips the test where the program is not built.
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
program=${REBOUND:-./rebound}
[ -x "$program" ] || { echo "$program is not built"; exit 77; }
status=0

# What the sentence has to say, and the options: exit status 2 and one line; else the test's status is 1.
refused() {
	# shellcheck disable=SC2086 # options are words
	text=$("$program" $2 --quiet 2>&1)
	code=$?
	if [ $code != 2 ] || [ "$(echo "$text" | wc -l)" != 1 ] || ! echo "$text" | grep -qF -e "$1"; then
		echo "$2: exit status $code, '$text'; expected 2 and '$1'"
		status=1
	fi
}
