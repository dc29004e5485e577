# rebound: post-intervention recovery in a terminal. `make run` and `make test`
# do all of their set-up: README.md says more.
#
#   make            builds ./rebound
#   make run        builds what is missing and opens the workbench (ARGS="..." are its arguments)
#   make demo       the whole loop on the built-in model, without a screen
#   make test       every test (T="json bpe" runs only those whose names hold one of the words)
#   make test-host  only the tests that need no Vulkan device; with SANITIZE=1 this is what CI runs
#   make bench      timings: tests/bench_*.c
#   make check      formatting, clang-tidy, shellcheck, order of the layers
#   make fuzz       each tests/fuzz/fuzz_*.c for FUZZ_SECONDS
#   make deps       installs every package that anything above needs
#   make install    to $(DESTDIR)$(PREFIX); make uninstall takes it away again
#   make retrain    trains the built-in model again (hours; needs Python)
#   make clean      removes everything generated
#
# Variables: SANITIZE=1 (address and undefined-behaviour checks, build/sanitize),
# DEBUG=1 (no optimisation, asserts, Vulkan validation on by default, build/debug),
# WERROR=1 (warnings stop the build), V=1 (show the commands), CC, CFLAGS, LDFLAGS.

VERSION = 0.1.0
PREFIX ?= /usr/local
CFLAGS ?= -O2 -g
FUZZ_SECONDS ?= 60
CLANG ?= clang
CLANG_FORMAT ?= clang-format
CLANG_TIDY ?= clang-tidy

# Everything generated goes into $(BUILD); a variant has a folder of its own.
variant := $(if $(SANITIZE),sanitize)$(if $(DEBUG),debug)$(if $(FUZZ),fuzz)
ifneq ($(variant),)
override BUILD := build/$(variant)
endif
BUILD ?= build
program := $(if $(filter build,$(BUILD)),rebound,$(BUILD)/rebound)

ifeq ($(MAKELEVEL)$(filter -j%,$(MAKEFLAGS)),0)
MAKEFLAGS += -j$(shell nproc 2>/dev/null || echo 2)
endif
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SECONDARY:
.SUFFIXES:

Q := $(if $(V),,@)
say = $(if $(V),,@printf '%-7s %s\n' '$(1)' '$(2)')

# ---------------------------------------------------------------- flags

warnings = -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wconversion
all_cflags = -std=c17 -D_GNU_SOURCE -I. -I$(BUILD) $(warnings) $(CFLAGS)
ldlibs = -lvulkan -lncursesw -ltinfo -lcjson -lzip -lpcre2-8 -lutf8proc -lcairo -lz -lmd -lm -lpthread
test_ldlibs = -lcmocka -lvterm -lutil
ifdef SANITIZE
sanitizers = -fsanitize=address,undefined -fno-sanitize-recover=undefined
all_cflags += $(sanitizers) -fno-omit-frame-pointer
# gcc's flow analysis sees ghosts in instrumented code; the plain build has these warnings.
all_cflags += -Wno-maybe-uninitialized -Wno-use-after-free
endif
ifdef DEBUG
all_cflags += -O0 -g3 -DREBOUND_VALIDATION=1
endif
ifdef FUZZ
CC := $(CLANG)
sanitizers = -fsanitize=address,undefined -fno-sanitize-recover=undefined
all_cflags += -fsanitize=fuzzer-no-link $(sanitizers) -fno-omit-frame-pointer
endif
ifdef WERROR
all_cflags += -Werror
endif
link = $(Q)$(CC) $(sanitizers) $(CFLAGS) $(LDFLAGS) -o $@

# ---------------------------------------------------------------- what there is

layers = compute/base compute models sessions tui
library_sources = $(filter-out tui/main.c,$(foreach layer,$(layers),$(wildcard $(layer)/*.c)))
library_objects = $(library_sources:%.c=$(BUILD)/%.o)
main_objects = $(patsubst %.c,$(BUILD)/%.o,$(wildcard tui/main.c))

test_sources = $(wildcard tests/test_*.c)
bench_sources = $(wildcard tests/bench_*.c)
fuzz_sources = $(wildcard tests/fuzz/fuzz_*.c)
support_sources = $(filter-out $(test_sources) $(bench_sources),$(wildcard tests/*.c))
support_objects = $(support_sources:%.c=$(BUILD)/%.o)
test_programs = $(test_sources:%.c=$(BUILD)/%)
bench_programs = $(bench_sources:%.c=$(BUILD)/%)
fuzz_programs = $(fuzz_sources:%.c=$(BUILD)/%)
test_scripts = $(wildcard tests/test_*.sh)

# A word in T picks the tests whose names hold it.
picked = $(if $(T),$(sort $(foreach word,$(T),$(foreach test,$(1),$(if $(findstring $(word),$(notdir $(test))),$(test))))),$(1))

# Rules for the compiled kernels; rewritten (with the flags of each kernel) only where something differs.
# `make clean` alone has no use for them.
ifneq ($(MAKECMDGOALS),clean)
ifneq ($(shell shaders/list rules $(BUILD) || echo failed),)
$(error shaders/list could not write $(BUILD)/shaders.mk)
endif
include $(BUILD)/shaders.mk
endif
# For `make clean all`, which takes them away after they were read.
$(BUILD)/shaders/%.flags $(BUILD)/shaders/%.c:
	@shaders/list rules $(BUILD)
ifneq ($(filter clean,$(MAKECMDGOALS)),)
.NOTPARALLEL:
endif

.PHONY: all
all: $(if $(main_objects),$(program)) $(BUILD)/librebound.a

# ---------------------------------------------------------------- what a bare machine lacks

# Every compilation first looks for what it needs, a matter of milliseconds. The goals that promise
# to do their own set-up install what is missing, the others name it and stop. NO_DEPS=1 skips the look.
comfort_goals = run demo test test-host bench check check-format check-scripts fuzz fuzz-run
needs = build $(if $(filter run demo bench,$(MAKECMDGOALS)),run) $(if $(filter test test-host bench test-programs $(BUILD)/tests/%,$(MAKECMDGOALS)),run test) \
	$(if $(filter check%,$(MAKECMDGOALS)),test check) $(if $(filter fuzz fuzz-run,$(MAKECMDGOALS)),fuzz)

.PHONY: ready
ready:
	@$(if $(NO_DEPS),:,CC='$(CC)' CLANG='$(CLANG)' .ci/deps $(if $(filter $(comfort_goals),$(MAKECMDGOALS)),install,check) $(sort $(needs)))

.PHONY: deps
deps:
	@CC='$(CC)' CLANG='$(CLANG)' .ci/deps install build run test check fuzz

# ---------------------------------------------------------------- compiling and linking

# A file that holds a text and changes only when the text does: what depends on it is rebuilt then.
quoted = '$(subst ','\'',$(1))'
keep = @mkdir -p $(@D); printf '%s\n' $(call quoted,$(1)) | cmp -s - $@ || printf '%s\n' $(call quoted,$(1)) >$@

.PHONY: always
always:

$(BUILD)/compile.flags: always
	$(call keep,$(CC) $(filter-out -Werror,$(all_cflags)))
$(BUILD)/link.flags: always
	$(call keep,$(CC) $(sanitizers) $(CFLAGS) $(LDFLAGS) $(ldlibs) $(test_ldlibs) $(library_objects) $(support_objects))
$(BUILD)/prefix.flags: always
	$(call keep,$(PREFIX) $(VERSION))

# Only the files that name the prefix or the version are compiled again when those change.
prefix_sources := $(shell grep -lE 'REBOUND_(DATA_DIR|VERSION)' $(library_sources) tui/main.c 2>/dev/null)
$(prefix_sources:%.c=$(BUILD)/%.o): $(BUILD)/prefix.flags
$(prefix_sources:%.c=$(BUILD)/%.o): private all_cflags += -DREBOUND_DATA_DIR='"$(PREFIX)/share/rebound"' -DREBOUND_VERSION='"$(VERSION)"'

$(BUILD)/%.o: %.c $(BUILD)/compile.flags | ready
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(all_cflags) -MMD -MP -c -o $@ $<

$(BUILD)/librebound.a: $(library_objects) $(BUILD)/shaders/table.o $(BUILD)/link.flags
	$(call say,AR,$@)
	$(Q)rm -f $@
	$(Q)ar rcs $@ $(filter %.o,$^)

# An archive, so that a test links only the support code that it uses.
$(BUILD)/tests/libsupport.a: $(support_objects) $(BUILD)/link.flags
	@mkdir -p $(@D)
	$(Q)rm -f $@
	$(Q)ar rcs $@ $(support_objects)

ifeq ($(main_objects),)
$(program):
	@echo 'there is no main program in this tree: tui/main.c is missing' >&2; exit 1
else
$(program): $(main_objects) $(BUILD)/librebound.a $(BUILD)/link.flags
	$(call say,LINK,$@)
	$(link) $(main_objects) $(BUILD)/librebound.a $(ldlibs)
endif

$(test_programs) $(bench_programs): %: %.o $(BUILD)/tests/libsupport.a $(BUILD)/librebound.a $(BUILD)/link.flags
	$(call say,LINK,$@)
	$(link) $< $(BUILD)/tests/libsupport.a $(BUILD)/librebound.a $(ldlibs) $(test_ldlibs)

$(fuzz_programs): %: %.o $(BUILD)/librebound.a $(BUILD)/link.flags
	$(call say,LINK,$@)
	$(link) -fsanitize=fuzzer $< $(BUILD)/librebound.a $(ldlibs)

# ---------------------------------------------------------------- shaders

# $(BUILD)/shaders.mk gives each kernel its source and its flags and calls this; glslc lists the
# headers that the source includes, and any warning stops the build. Each header is a target without a rule as
# well, so that one that is gone makes its includers again (what -MP does elsewhere).
define compile_shader
@mkdir -p $(@D)
$(call say,GLSLC,$(basename $(@F)))
$(Q)glslc $(glslc_flags) -MD -MF $(@:.inc=.d) -MT $@ $(shader_flags) -o $@ $<
$(Q)headers=$$(sed 's/^[^:]*: [^ ]* *//' $(@:.inc=.d)); [ -z "$$headers" ] || echo "$$headers:" >>$(@:.inc=.d)
endef
glslc_flags = -fshader-stage=compute --target-env=vulkan1.1 -O -Werror -mfmt=num -Ishaders

$(BUILD)/glslc.flags: always
	$(call keep,$(glslc_flags))

$(BUILD)/shaders/table.o: $(BUILD)/shaders/table.c $(shader_objects) $(BUILD)/compile.flags | ready
	$(call say,CC,$<)
	$(Q)$(CC) $(all_cflags) -c -o $@ $<

# ---------------------------------------------------------------- running

# A variant's program does not lie beside models/.
run_program = $(if $(filter rebound,$(program)),,REBOUND_DATA="$${REBOUND_DATA:-$(CURDIR)/models/demo}" )./$(program)

.PHONY: run demo
run: $(program)
	@$(run_program) $(ARGS)
demo: $(program)
	@$(run_program) demo $(ARGS)

# ---------------------------------------------------------------- testing

test_environment = REBOUND="$(CURDIR)/$(program)" REBOUND_DATA="$${REBOUND_DATA:-$(CURDIR)/models/demo}" BUILD='$(BUILD)' PREFIX='$(PREFIX)' MAKE='$(MAKE)' MAKELEVEL=0 MAKEFLAGS=$(call quoted,$(if $(MAKEOVERRIDES), -- $(MAKEOVERRIDES)))

.PHONY: test test-host test-programs bench
test-programs: $(test_programs)
test: $(call picked,$(test_programs)) $(if $(main_objects),$(program))
	@$(test_environment) tests/run $(call picked,$(test_programs) $(test_scripts))
test-host: $(call picked,$(test_programs))
	@$(test_environment) tests/run --host $(call picked,$(test_programs))
bench: $(bench_programs) $(if $(main_objects),$(program))
	@for bench in $(call picked,$(bench_programs)); do $(test_environment) $$bench $(ARGS) || exit 1; done

.PHONY: fuzz fuzz-run
fuzz:
	@$(MAKE) FUZZ=1 fuzz-run
fuzz-run: $(fuzz_programs)
	@for fuzz in $(call picked,$(fuzz_programs)); do FUZZ_SECONDS='$(FUZZ_SECONDS)' tests/fuzz/run $$fuzz || exit 1; done

# ---------------------------------------------------------------- checking the source

formatted = $(foreach folder,$(layers) tests tests/fuzz,$(wildcard $(folder)/*.c $(folder)/*.h))
tidied = $(library_sources) $(wildcard tui/main.c) $(test_sources) $(bench_sources) $(support_sources)
scripts = .ci/run .ci/deps shaders/list tests/run tests/fuzz/run tui/completion/rebound.bash $(wildcard tests/*.sh tests/*/*.sh models/*/*.sh)

.PHONY: check check-format check-scripts check-layers
check: check-format check-scripts check-layers $(tidied:%.c=$(BUILD)/tidy/%.ok)
check-format: | ready
	$(call say,CHECK,formatting)
	$(Q)$(CLANG_FORMAT) --dry-run --Werror $(formatted)
check-scripts: | ready
	$(call say,CHECK,scripts)
	$(Q)shellcheck $(scripts)
check-layers:
	$(call say,CHECK,layers)
	$(Q)tests/test_layers.sh

# clang 14 has no _Float16 on x86, and nothing here depends on which half-precision type it sees.
tidy_flags = -std=c17 -D_GNU_SOURCE -I. -I$(BUILD) -DREBOUND_DATA_DIR='""' -DREBOUND_VERSION='""'
$(BUILD)/tidy/%.ok: %.c .clang-tidy tests/.clang-tidy | ready
	@mkdir -p $(@D)
	$(call say,TIDY,$<)
	$(Q)$(CLANG_TIDY) --quiet $< -- $(tidy_flags) -D_Float16=__fp16 2>$(@:.ok=.log) \
		|| { grep -v 'warnings generated' $(@:.ok=.log); exit 1; }
	$(Q)$(CC) $(tidy_flags) -MM -MP -MT $@ -MF $(@:.ok=.d) $<
	@touch $@

# ---------------------------------------------------------------- installing

# The built-in model is models/demo beside the binary, $(PREFIX)/share/rebound/demo once installed; model_builtin_folder finds it.
root = $(DESTDIR)$(PREFIX)
demo_data = $(shell find models/demo -type f ! -name '*.py' ! -name '*.sh' ! -name '*.txt' ! -path '*/__pycache__/*' 2>/dev/null)
installed = bin/rebound share/man/man1/rebound.1 share/bash-completion/completions/rebound share/zsh/site-functions/_rebound

.PHONY: install uninstall
install: $(program)
	install -d $(addprefix $(root)/,$(sort $(dir $(installed))) $(sort $(dir $(demo_data:models/%=share/rebound/%))))
	install -m 755 $(program) $(root)/bin/rebound
	install -m 644 tui/rebound.1 $(root)/share/man/man1/rebound.1
	install -m 644 tui/completion/rebound.bash $(root)/share/bash-completion/completions/rebound
	install -m 644 tui/completion/_rebound $(root)/share/zsh/site-functions/_rebound
	@for file in $(demo_data:models/%=%); do install -m 644 models/$$file $(root)/share/rebound/$$file || exit 1; done
uninstall:
	rm -f $(addprefix $(root)/,$(installed))
	rm -rf $(root)/share/rebound

.PHONY: retrain clean
retrain:
	models/demo/retrain.sh
clean:
	rm -rf build rebound

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
