# rebound: post-intervention recovery in a terminal. `make run` and `make test`
# do all of their set-up; see README.md.

CC ?= gcc
BUILD ?= build
PREFIX ?= /usr/local

packages = vulkan ncursesw libcjson libzip libpcre2-8 libutf8proc cairo zlib libmd
test_packages = cmocka vterm

warnings = -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wconversion
CFLAGS ?= -O2 -g
all_cflags = -std=c17 -D_GNU_SOURCE -I. -I$(BUILD) $(warnings) $(CFLAGS)
ldlibs = -lvulkan -lncursesw -ltinfo -lcjson -lzip -lpcre2-8 -lutf8proc -lcairo -lz -lmd -lm -lpthread
test_ldlibs = -lcmocka -lvterm -lutil

ifdef WERROR
all_cflags += -Werror
endif
# make SANITIZE=1: an address and undefined-behaviour build in its own folder.
ifdef SANITIZE
BUILD := build/sanitize
all_cflags += -fsanitize=address,undefined -fno-omit-frame-pointer -fno-sanitize-recover=undefined
all_ldflags += -fsanitize=address,undefined
endif

layers = compute/base compute models sessions tui
library_sources = $(filter-out tui/main.c,$(foreach layer,$(layers),$(wildcard $(layer)/*.c)))
library_objects = $(library_sources:%.c=$(BUILD)/%.o)
main_objects = $(patsubst %.c,$(BUILD)/%.o,$(wildcard tui/main.c))
test_sources = $(wildcard tests/test_*.c)
test_support = $(patsubst %.c,$(BUILD)/%.o,$(filter-out $(test_sources),$(wildcard tests/*.c)))
test_programs = $(test_sources:tests/%.c=$(BUILD)/tests/%)

# Shaders: each line of shaders/variants is "name source [-Dflag ...]"; a source
# that is not named there is one variant of its own name.
shader_names = $(shell shaders/list names)
shader_objects = $(shader_names:%=$(BUILD)/shaders/%.inc)

.PHONY: all
all: $(if $(wildcard tui/main.c),rebound) $(BUILD)/librebound.a

rebound: $(main_objects) $(BUILD)/librebound.a
	$(CC) $(all_cflags) $(all_ldflags) $(LDFLAGS) -o $@ $(main_objects) $(BUILD)/librebound.a $(ldlibs)

$(BUILD)/librebound.a: $(library_objects) $(BUILD)/shaders/table.o
	rm -f $@
	ar rcs $@ $^

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(all_cflags) -MMD -MP -c -o $@ $<

$(BUILD)/shaders/%.inc: shaders/variants shaders/list
	@mkdir -p $(@D)
	glslc -fshader-stage=compute --target-env=vulkan1.1 -O -Werror -mfmt=num -MD -MF $(@:.inc=.d) -MT $@ \
		-Ishaders $(shell shaders/list flags $*) -o $@ shaders/$(shell shaders/list source $*)

$(BUILD)/shaders/table.c: shaders/variants shaders/list $(wildcard shaders/*.comp) | $(shader_objects)
	@mkdir -p $(@D)
	shaders/list table > $@

$(BUILD)/shaders/table.o: $(BUILD)/shaders/table.c $(shader_objects)
	$(CC) $(all_cflags) -c -o $@ $<

$(BUILD)/tests/%: $(BUILD)/tests/%.o $(test_support) $(BUILD)/librebound.a
	$(CC) $(all_cflags) $(all_ldflags) $(LDFLAGS) -o $@ $< $(test_support) $(BUILD)/librebound.a $(ldlibs) $(test_ldlibs)

.PHONY: test-programs
test-programs: $(test_programs)

.PHONY: clean
clean:
	rm -rf build rebound

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
.SECONDARY:
.DELETE_ON_ERROR:
