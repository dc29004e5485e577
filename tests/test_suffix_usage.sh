#!/bin/sh
# needs: device (it starts rebound). What `recover --suffix` can't do: exit status 2 and one sentence that says why.
set -u
# shellcheck source=tests/lib_program.sh
. "${0%/*}/lib_program.sh"
clamp='--clamp 0:183,285=floor:15.4'
one="recover --prompt refusal-02 --out $folder/record.jsonl $clamp"
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
refused 'no --clamp' "recover --prompt refusal-02 --out $folder/record.jsonl --suffix 4"
refused 'context of 256' "$one --suffix 250"
refused 'context of 256' "$one --suffix 230"
refused 'placeholder 99999' "$one --suffix 4 --suffix-token 99999"
refused '--suffix-token' "$one --suffix 4 --suffix-token several"
refused 'belongs to recover' "radius --prompt refusal-02 $clamp --suffix 4"
exit "$status"
