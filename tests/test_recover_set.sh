#!/bin/sh
# needs: device (it starts rebound). `recover` over a prompt set: the same numbers in a batch and one by one, records
# that replay to the bit, and what it refuses with exit status 2 and one sentence.
set -u
# shellcheck source=tests/lib_program.sh
. "${0%/*}/lib_program.sh"
clamp='--clamp 1:3,40,77=set-active:-5 --steps 10'
refused '--batch is '"'0'" "recover --task ioi $clamp --batch 0"
refused '--batch is '"'many'" "recover --task ioi $clamp --batch many"
refused '--batch belongs to a prompt set' "recover --prompt ioi-01 $clamp --batch 4"
refused 'no prompts of the task '"'nothing'" "recover --task nothing $clamp"
refused '--save-delta belongs to one input' "recover --task ioi $clamp --save-delta $folder/d.npy"
refused '--save-state belongs to one input' "recover --task ioi $clamp --save-state $folder/s"
refused 'rebound attribute' 'recover --task ioi --layer 1 --clamp-top 4:ablate'
refused 'no --clamp' 'recover --task ioi'

# Five prompts: their numbers without times and places, which differ. On a processor they agree to the bit.
head -n 5 models/demo/prompts.jsonl >"$folder/five.jsonl"
numbers() {
	# shellcheck disable=SC2086
	"$program" recover --prompts "$folder/five.jsonl" $clamp --quiet --json "$@" 2>/dev/null |
		sed 's/,"\(wall_s\|steps_per_s\|prompts_per_s\)":[^,}]*//g; s/,"session":"[^"]*"//g'
}
numbers --batch 1 >"$folder/alone.json"
numbers >"$folder/together.json"
numbers --batch 2 --out "$folder/records" >"$folder/two.json"
"$program" devices --json 2>/dev/null | grep -q '"type":"cpu"' && processor=yes || processor=no
for file in together two; do
	if ! grep -q '"results":\[{"prompt":"ioi-01"' "$folder/$file.json"; then
		echo "$file: no results"
		status=1
	fi
	if [ "$processor" = yes ] && ! cmp "$folder/$file.json" "$folder/alone.json"; then
		echo "$file: other numbers than one by one"
		status=1
	fi
done
# Alone with --rows-alike: the same objective; without it, in another order of sums, the same but for last digits.
objective() {
	sed 's/.*"final":{"objective":\([^,]*\),.*/\1/'
}
for options in '--rows-alike' ''; do
	# shellcheck disable=SC2086
	"$program" recover --prompt ioi-01 $clamp $options --quiet --json 2>/dev/null | objective >"$folder/one"
	grep -o '{"prompt":"ioi-01".*"prompt":"ioi-02"' "$folder/together.json" | objective >"$folder/set"
	echo "$(cat "$folder/one") $(cat "$folder/set")" | awk -v exact="$processor$options" '
		{ d = $1 - $2; if (d < 0) d = -d }
		exact == "yes--rows-alike" && $1 "" != $2 "" || !(d < 1e-3) || NF != 2 { print "ioi-01: " $0; exit 1 }' || status=1
done
for prompt in ioi-02 ioi-05; do
	if ! "$program" replay "$folder/records/$prompt.jsonl" >"$folder/replay" 2>&1; then
		cat "$folder/replay"
		status=1
	fi
done
exit "$status"
