#!/bin/sh
# Every command of tui/cli.c and every option of tui/options.c and sessions/settings.c stands in the manual page
# and in both completions, and no other option does.
set -eu
cd "$(dirname "$0")/.."
manual=$(sed 's/\\-/-/g' tui/rebound.1)

first_strings() { # of the rows {"name", ...} in the table that starts with the line $2 of file $1
	awk -v start="$2" 'index($0, start) { inside = 1; next } inside && /^};/ { exit }
		inside && match($0, /^\t\{"[a-z-]+"/) { print substr($0, RSTART + 3, RLENGTH - 4) }' "$1"
}
options=$(first_strings tui/options.c ' table[]'; first_strings sessions/settings.c ' setting_names[]')
commands=$(first_strings tui/cli.c ' cli_commands[]')
if [ -z "$options" ] || [ -z "$commands" ]; then
	echo 'the tables were not found'
	exit 1
fi

status=0
missing() {
	echo "$1 does not mention $2"
	status=1
}
for word in $commands $(for option in $options; do echo "--$option"; done); do
	echo "$manual" | grep -qE -e "(^|[^a-z-])$word([^a-z-]|\$)" || missing tui/rebound.1 "$word"
	for file in tui/completion/rebound.bash tui/completion/_rebound; do
		grep -qE -e "(^|[^a-z-])$word([^a-z-]|\$)" $file || missing $file "$word"
	done
done
# And the other way round: no option is described that there is not.
for word in $(echo "$manual" | cat - tui/completion/rebound.bash tui/completion/_rebound | grep -oE -e '--[a-z][a-z-]+' | sort -u); do
	echo "$options" | grep -qx -e "${word#--}" || missing tui/options.c "$word"
done
exit $status
