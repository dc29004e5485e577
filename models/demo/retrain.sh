#!/bin/sh
# Makes the built-in model again from nothing: tokenizer, model, SAEs, probes, prompts, report.
# Needs Python 3.11 or later and network or a local package index for the pinned packages; about 40 minutes on two cores.
# VENV names the virtual environment (default: build/demo-venv in the repository).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
venv=${VENV:-$here/../../build/demo-venv}
start=$(date +%s)

[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"

cd "$here"
export PYTHONDONTWRITEBYTECODE=1 PYTHONHASHSEED=0
run() {
    echo "== $*"
    "$venv/bin/python" -u "$@"
}
run tokenizer.py
run train.py
run sae.py --layers 0 1 &
first=$!
run sae.py --layers 2 3
wait "$first"
run probes.py
run prompts.py
run report.py
chmod 644 ./*.safetensors sae/*/*.safetensors

minutes=$((($(date +%s) - start) / 60))
echo "made in $minutes minutes"
if [ "$minutes" -gt 180 ]; then
    echo "retrain.sh: over the limit of 180 minutes" >&2
    exit 1
fi
