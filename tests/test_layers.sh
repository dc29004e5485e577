#!/bin/sh
# The order of the layers: shaders <- compute <- models <- sessions <- tui. Each may include only what
# stands left of it, compute/base includes nothing but itself; ncurses is seen only in tui/, Vulkan only
# in compute/. Prints the lines that break this.
set -u
cd "$(dirname "$0")/.." || exit 1
status=0

# forbid FOLDER PATTERN REASON: no file of the folder has an #include line that matches the pattern.
forbid() {
	[ -d "$1" ] || return 0
	found=$(grep -rnE "^[[:space:]]*#[[:space:]]*include[[:space:]]*[<\"]($2)" "$1" --include='*.c' --include='*.h' --include='*.comp' --include='*.glsl') || return 0
	echo "$1/ $3:"
	echo "$found"
	status=1
}

forbid shaders '(compute|models|sessions|tui|tests)/' 'includes what stands right of it'
forbid compute/base '(models|sessions|tui|tests|shaders)/|compute/[^b/][^/]*$' 'is the ground and includes nothing else of the project'
forbid compute '(models|sessions|tui|tests)/' 'includes what stands right of it'
forbid models '(sessions|tui|tests)/' 'includes what stands right of it'
forbid sessions '(tui|tests)/' 'includes what stands right of it'
forbid tui 'tests/' 'includes a test'
for folder in compute models sessions; do
	forbid $folder '(ncursesw/)?(n?curses|panel|term|form|menu)\.h' 'sees ncurses, which belongs to tui/'
done
for folder in compute/base models sessions tui; do
	forbid $folder 'vulkan/' 'sees Vulkan, which belongs to compute/'
done
exit $status
