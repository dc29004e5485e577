#!/bin/sh
# needs: device (it starts rebound). What `recover --suffix` can't do: exit status 2 and one sentence that says why.
set -u
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
program=${REBOUND:-./rebound}
[ -x "$program" ] || { echo "$program is not built"; exit 77; }
clamp='--clamp 0:183,285=floor:15.4'
status=0
refused() { # what the sentence has to say, and the options
	# shellcheck disable=SC2086 # options are words
	text=$("$program" $2 --out "$folder/record.jsonl" --quiet 2>&1)
	code=$?
	if [ $code != 2 ] || [ "$(echo "$text" | wc -l)" != 1 ] || ! echo "$text" | grep -qF -e "$1"; then
		echo "$2: exit status $code, '$text'; expected 2 and '$1'"
		status=1
	fi
}
one="recover --prompt refusal-02 $clamp"
refused '--suffix is '"'0'" "$one --suffix 0"
refused '--suffix is '"'x'" "$one --suffix x"
refused '--suffix and --stages' "$one --suffix 4 --stages 2"
refused '--suffix and --stages' "$one --suffix 4 --anchor steps=3"
refused '--suffix-token belongs to --suffix' "$one --suffix-token ="
refused '--suffix-token belongs to --suffix' "$one --stages 2 --suffix-token ="
refused '--objective is not for it' "$one --suffix 4 --objective vocab_margin:3"
for setting in '--project encoder' '--lambda-act 1' '--delta-layers 1' '--delta-positions last' '--order delta-clamp' '--corrections 2'; do
	refused "${setting%% *} is not for it" "$one --suffix 4 $setting"
done
refused 'no --clamp' 'recover --prompt refusal-02 --suffix 4'
refused 'context of 256' "$one --suffix 250"
refused 'context of 256' "$one --suffix 230"
refused 'placeholder 99999' "$one --suffix 4 --suffix-token 99999"
refused '--suffix-token' "$one --suffix 4 --suffix-token several"
refused 'belongs to recover' "radius --prompt refusal-02 $clamp --suffix 4"
exit $status
