#!/bin/sh
# `make install` into a folder: everything is there, the program works from anywhere with the data installed
# beside it, and `make uninstall` leaves no file behind.
set -eu
cd "$(dirname "$0")/.."
if [ ! -x "${REBOUND-}" ]; then
	echo 'the program is not built'
	exit 77
fi
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
prefix=${PREFIX:-/usr/local}
${MAKE:-make} -s install NO_DEPS=1 PREFIX="$prefix" DESTDIR="$here"
root=$here$prefix

for file in bin/rebound share/man/man1/rebound.1 share/bash-completion/completions/rebound share/zsh/site-functions/_rebound \
	share/rebound/demo/config.json share/rebound/demo/model.safetensors share/rebound/demo/tokenizer.json; do
	[ -s "$root/$file" ] || { echo "$prefix/$file is not installed"; exit 1; }
done
scripts=$(find "$here" -name '*.py' -o -name '*.sh')
[ -z "$scripts" ] || { echo "installed though nothing needs it: $scripts"; exit 1; }

(unset REBOUND_DATA; cd / && "$root/bin/rebound" tokens --text 'When Mary and John')

${MAKE:-make} -s uninstall PREFIX="$prefix" DESTDIR="$here"
left=$(find "$here" -type f)
[ -z "$left" ] || { echo "left behind: $left"; exit 1; }
