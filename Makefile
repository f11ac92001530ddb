# Cohort.  `make help` lists what there is to do.
#
# CFLAGS, CPPFLAGS and LDFLAGS are yours; what the project needs is added beside them.
# Sources are found by folder: a new .c file under src/, kernels/, planner/ or tests/ needs no line here.

VERSION := $(shell sed -n 's/^\#define COHORT_VERSION *"\(.*\)"/\1/p' include/cohort.h)
PREFIX  ?= /usr/local
BUILD   ?= build
CFLAGS  ?= -O2 -g
WERROR  ?= 0
V       ?= 0

ifeq ($(origin CC),default)
CC := gcc
endif
ifeq ($(origin AR),default)
AR := ar
endif
SYSROOT ?=

# With SYSROOT=FOLDER, which holds an unpacked Debian of another architecture, libraries and headers
# come from there; CC is then that architecture's compiler (scripts/cross-check makes both).
PKGCONFIG := pkg-config
MPICC     := $(firstword $(shell command -v mpicc.openmpi mpicc 2>/dev/null))
ifneq ($(SYSROOT),)
SYSROOT_DIR   := $(abspath $(SYSROOT))
SYSROOT_LIB   := $(firstword $(wildcard $(SYSROOT_DIR)/usr/lib/*-linux-*))
SYSROOT_FLAGS := --sysroot=$(SYSROOT_DIR)
PKGCONFIG     := PKG_CONFIG_SYSROOT_DIR='$(SYSROOT_DIR)' \
                 PKG_CONFIG_LIBDIR='$(SYSROOT_LIB)/pkgconfig:$(SYSROOT_LIB)/openblas-pthread/pkgconfig' pkg-config
endif
PKG     := hwloc openblas libcjson libxxhash
TOOLPKG := libpng libjpeg
TARGET  := $(shell $(CC) -dumpmachine 2>/dev/null)
ARCH    := $(firstword $(subst -, ,$(TARGET)))

# ---- what is built -----------------------------------------------------------------------------

# Instruction-set folders that this target can hold; which of them a CPU can run is asked at run time.
ISA_DIRS := generic blas
ifneq ($(filter x86_64 i686,$(ARCH)),)
ISA_DIRS += avx2 avx512
endif
ifeq ($(ARCH),aarch64)
ISA_DIRS += neon64 neon64hp
endif
ifneq ($(filter arm armv7%,$(ARCH)),)
ISA_DIRS += neon32
endif

LIB_DIRS  := src/base src/graph src/graph/ops src/graph/onnx src/board src/exec src/comm src/profile src/runtime planner kernels $(ISA_DIRS:%=kernels/%)
TOOL_DIRS := src/media src/synth src/cli
LIB_SRC   := $(sort $(wildcard $(LIB_DIRS:%=%/*.c)))
TOOL_SRC  := $(sort $(filter-out src/cli/main.c,$(wildcard $(TOOL_DIRS:%=%/*.c))))
LIB_OBJ   := $(LIB_SRC:%.c=$(BUILD)/%.o)
TOOL_OBJ  := $(TOOL_SRC:%.c=$(BUILD)/%.o)
MAIN_OBJ  := $(BUILD)/src/cli/main.o

UNIT_TESTS := $(patsubst %.c,$(BUILD)/%,$(sort $(wildcard tests/unit/test_*.c)))
MPI_TESTS  := $(patsubst %.c,$(BUILD)/%,$(sort $(wildcard tests/mpi/test_*.c)))
TEST_LIB   := $(patsubst %.c,$(BUILD)/%.o,$(sort $(wildcard tests/support/*.c)))

# ---- flags -------------------------------------------------------------------------------------

WARN := -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wundef
ifeq ($(WERROR),1)
WARN += -Werror
endif
NEED_CPPFLAGS := -Iinclude -Isrc -I. -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64
NEED_CFLAGS   := $(SYSROOT_FLAGS) -std=c11 -fPIC -pthread -ffp-contract=off $(WARN)
KERNEL_CFLAGS := -O3 -fno-math-errno -fno-trapping-math
ISA_CFLAGS_avx2   := -mavx2 -mfma -mf16c
ISA_CFLAGS_avx512 := -mavx512f -mavx512bw -mavx512vl -mavx512dq -mfma
ISA_CFLAGS_neon32 := -mfpu=neon-vfpv4
ISA_CFLAGS_neon64hp := -march=armv8.2-a+fp16
# gcc moves loads up until sums leave the registers; clang does not, and does not know the flag.
ifneq ($(filter aarch64 arm armv7%,$(ARCH)),)
KEEP_ORDER := $(shell $(CC) -Werror -fno-schedule-insns -E -x c /dev/null >/dev/null 2>&1 && echo -fno-schedule-insns)
ISA_CFLAGS_neon32 += $(KEEP_ORDER)
ISA_CFLAGS_neon64 += $(KEEP_ORDER)
endif

ifneq ($(SYSROOT),)
MPI_CFLAGS := $(patsubst -I%,-isystem %,$(shell $(PKGCONFIG) --cflags ompi-c 2>/dev/null))
MPI_LIBS   := $(shell $(PKGCONFIG) --libs ompi-c 2>/dev/null)
else
MPI_CFLAGS := $(if $(MPICC),$(patsubst -I%,-isystem %,$(shell $(MPICC) --showme:compile 2>/dev/null)))
MPI_LIBS   := $(if $(MPICC),$(shell $(MPICC) --showme:link 2>/dev/null))
endif
PKG_CFLAGS := $(patsubst -I%,-isystem %,$(shell $(PKGCONFIG) --cflags $(PKG) $(TOOLPKG) 2>/dev/null))
PKG_LIBS   := $(shell $(PKGCONFIG) --libs $(PKG) 2>/dev/null)
TOOL_LIBS  := $(shell $(PKGCONFIG) --libs $(TOOLPKG) 2>/dev/null)
TEST_LIBS  := -lcmocka
LIBS       := $(MPI_LIBS) $(PKG_LIBS) -lm -lpthread

ALL_CFLAGS = $(NEED_CPPFLAGS) $(MPI_CFLAGS) $(PKG_CFLAGS) $(CPPFLAGS) $(NEED_CFLAGS) $(CFLAGS)

# ---- building ----------------------------------------------------------------------------------

.PHONY: all
all: $(BUILD)/cohort $(BUILD)/libcohort.a $(BUILD)/libcohort.so

.DELETE_ON_ERROR:
.PRECIOUS: $(BUILD)/%.o

ifeq ($(V),1)
Q   :=
say  = @:
else
Q   := @
say  = @printf '  %-6s %s\n' '$(1)' '$(2)'
endif

# What is missing, by the name of what was looked for; asked once in a build folder.
missing = $(if $(shell command -v $(firstword $(CC))),,$(firstword $(CC))) $(if $(MPICC)$(SYSROOT),,mpicc) \
          $(if $(shell command -v pkg-config),$(shell for p in $(1) $(if $(SYSROOT),ompi-c); do $(PKGCONFIG) --exists $$p || echo $$p; done),pkg-config)
$(BUILD)/.libraries:
	$(if $(strip $(call missing,$(PKG) $(TOOLPKG))),$(error not found: $(strip $(call missing,$(PKG) $(TOOLPKG))) (run 'make deps', which installs what is needed)))
	@mkdir -p $(@D) && touch $@
$(BUILD)/.test-libraries:
	$(if $(strip $(call missing,cmocka)),$(error not found: $(strip $(call missing,cmocka)) (run 'scripts/install-deps --check', as 'make check' does)))
	@mkdir -p $(@D) && touch $@

# Another compiler or other flags in the same folder build everything again.
flags_now := $(CC) $(SYSROOT_FLAGS) $(CPPFLAGS) $(CFLAGS) $(LDFLAGS)
.PHONY: always
$(BUILD)/.flags: always
	@mkdir -p $(@D); if [ ! -e $@ ]; then printf '%s\n' '$(flags_now)' >$@; touch -d @0 $@; \
	elif [ "$$(cat $@)" != '$(flags_now)' ]; then printf '%s\n' '$(flags_now)' >$@; fi

$(BUILD)/%.o: %.c $(BUILD)/.flags | $(BUILD)/.libraries
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(ALL_CFLAGS) $(if $(filter kernels/% bench/%,$<),$(KERNEL_CFLAGS) $(ISA_CFLAGS_$(patsubst kernels/%,%,$(patsubst %/,%,$(dir $<))))) -MMD -MP -c -o $@ $<

# What these sources are: the same on every kind of board, whatever the compiler (cohort version --build).
BUILD_HASH := $(shell find include src kernels planner -name '*.[ch]' -o -name '*.def' | LC_ALL=C sort | xargs sha256sum | sha256sum | cut -c 1-16)
$(BUILD)/.hash: always
	@mkdir -p $(@D); [ "$$(cat $@ 2>/dev/null)" = $(BUILD_HASH) ] || echo $(BUILD_HASH) >$@
$(BUILD)/src/cli/version.o: NEED_CPPFLAGS += -DCOHORT_BUILD='"$(BUILD_HASH)"'
$(BUILD)/src/cli/version.o: $(BUILD)/.hash

# The same over the kernels: what was measured of others says nothing (docs/tuning-format.md).
KERNELS_HASH := $(shell find kernels -name '*.[ch]' -o -name '*.def' | LC_ALL=C sort | xargs sha256sum | sha256sum | cut -c 1-16)
$(BUILD)/.kernels-hash: always
	@mkdir -p $(@D); [ "$$(cat $@ 2>/dev/null)" = $(KERNELS_HASH) ] || echo $(KERNELS_HASH) >$@
$(BUILD)/kernels/build.o: NEED_CPPFLAGS += -DCOHORT_KERNELS_BUILD='"$(KERNELS_HASH)"'
$(BUILD)/kernels/build.o: $(BUILD)/.kernels-hash

$(BUILD)/libcohort.a: $(LIB_OBJ)
	$(call say,AR,$@)
	$(Q)rm -f $@ && $(AR) rcs $@ $^

# Only cohort_* is visible: the names inside are short and would meet a program's own.
$(BUILD)/libcohort.so: $(LIB_OBJ) src/libcohort.map
	$(call say,LD,$@)
	$(Q)$(CC) $(SYSROOT_FLAGS) -shared -Wl,-soname,$(SONAME) -Wl,--version-script=src/libcohort.map $(CFLAGS) $(LDFLAGS) -o $@ $(LIB_OBJ) $(LIBS)

$(BUILD)/libtools.a: $(TOOL_OBJ)
	$(call say,AR,$@)
	$(Q)rm -f $@ && $(AR) rcs $@ $^

link = $(Q)$(CC) $(SYSROOT_FLAGS) $(CFLAGS) $(LDFLAGS) -o $@ $(filter %.o %.a,$^)

$(BUILD)/cohort: $(MAIN_OBJ) $(BUILD)/libtools.a $(BUILD)/libcohort.a
	$(call say,LD,$@)
	$(link) $(TOOL_LIBS) $(LIBS)

$(BUILD)/docs/example: $(BUILD)/docs/example.o $(BUILD)/libcohort.a
	$(call say,LD,$@)
	$(link) $(LIBS)

$(BUILD)/tests/unit/test_%: $(BUILD)/tests/unit/test_%.o $(TEST_LIB) $(BUILD)/libtools.a $(BUILD)/libcohort.a | $(BUILD)/.test-libraries
	$(call say,LD,$@)
	$(link) $(TEST_LIBS) $(TOOL_LIBS) $(LIBS)

$(BUILD)/tests/mpi/test_%: $(BUILD)/tests/mpi/test_%.o $(TEST_LIB) $(BUILD)/libtools.a $(BUILD)/libcohort.a | $(BUILD)/.test-libraries
	$(call say,LD,$@)
	$(link) $(TEST_LIBS) $(TOOL_LIBS) $(LIBS)

.PHONY: tests
tests: $(UNIT_TESTS) $(MPI_TESTS) $(BUILD)/docs/example

-include $(LIB_OBJ:.o=.d) $(TOOL_OBJ:.o=.d) $(MAIN_OBJ:.o=.d) $(UNIT_TESTS:=.d) $(MPI_TESTS:=.d) $(TEST_LIB:.o=.d)
-include $(wildcard $(BUILD)/bench/*.d $(BUILD)/bench/engines/*.d) $(BUILD)/docs/example.d

# ---- packages, demo ----------------------------------------------------------------------------

# Everything that `make check` and `make demo` do after the packages are there is done by another
# make, which finds what has just been installed; it uses every core unless -j was given.
again = +@$(MAKE) --no-print-directory $(if $(findstring -j,$(MAKEFLAGS)),,-j$(shell nproc 2>/dev/null || echo 2))

.PHONY: deps deps-board demo
deps:
	@scripts/install-deps
deps-board:
	@scripts/install-deps --board

demo:
	@scripts/install-deps --demo
	$(again) all
	@scripts/demo $(BUILD)

# ---- testing -----------------------------------------------------------------------------------

.PHONY: check check-all check-fast check-unit check-mpi check-cli check-farm check-san
check:
	@scripts/install-deps --check
	$(again) check-all

BENCH_CHECKED := $(BUILD)/bench/engines/cohort $(BUILD)/bench/engines/probe
check-all: all tests $(BUILD)/bench/farm-probe $(BENCH_CHECKED)
	@tests/run $(BUILD) unit mpi cli long farm

check-fast: all tests
	@tests/run $(BUILD) unit mpi:1,3

check-unit: $(UNIT_TESTS)
	@tests/run $(BUILD) unit

check-mpi: $(MPI_TESTS)
	@tests/run $(BUILD) mpi

check-cli: all $(BENCH_CHECKED)
	@tests/run $(BUILD) cli

# Over an emulated farm of boards (bench/farm); needs root and says so.
check-farm: all $(BUILD)/bench/farm-probe
	@tests/run $(BUILD) farm

# Networks with recorded answers, and every one of torchvision that torch exports, against torch's
# output on one to three ranks: hours, and without torch a skip that says so.
.PHONY: check-networks
check-networks: all
	@tests/run $(BUILD) networks

# Unit and MPI tests under AddressSanitizer and UBSan, in a folder of their own.
SAN_CFLAGS := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined
check-san:
	@scripts/install-deps --check
	$(again) BUILD=$(BUILD)/san CFLAGS='$(SAN_CFLAGS)' tests
	@COHORT_SANITIZED=1 tests/run $(BUILD)/san unit mpi:1,3

# The same sources built for Arm of 64 or 32 bits, and their tests under emulation.
.PHONY: check-arm64 check-armhf
check-arm64 check-armhf: check-%:
	@scripts/install-deps --cross
	$(again) all
	@scripts/cross-check $* $(BUILD)

# Readers of files and the passes against made-up bytes, with clang: make fuzz SECONDS=600, or
# make fuzz-tuning.  build/fuzz/NAME keeps what was found interesting, and is where a later run begins.
SECONDS ?= 60
FUZZ_GRAPH := $(wildcard src/base/*.c src/graph/*.c src/graph/onnx/*.c src/graph/ops/*.c)
FUZZ_SRC_cluster := $(wildcard src/base/*.c) src/cli/cluster.c
FUZZ_SRC_image   := $(wildcard src/base/*.c) src/media/image.c src/media/jpeg.c src/media/png.c
FUZZ_SRC_network := $(FUZZ_GRAPH)
FUZZ_SRC_npy     := $(wildcard src/base/*.c) src/media/npy.c src/graph/tensor.c
FUZZ_SRC_onnx    := $(FUZZ_GRAPH)
FUZZ_SRC_plan    := $(FUZZ_GRAPH) $(wildcard planner/*.c) src/exec/arena.c
FUZZ_SRC_profile := $(FUZZ_GRAPH) planner/profile.c planner/profile_json.c
FUZZ_SRC_tuning  := $(wildcard src/base/*.c) src/exec/tuning.c src/exec/signature.c
ONNX_TESTS := /usr/lib/python3/dist-packages/onnx/backend/test/data
FUZZ_TIMEOUT ?= 20 # seconds an input may take
FUZZ_SEEDS_cluster ?= hostfiles
FUZZ_SEEDS_network ?= $(BUILD)/fuzz/seeds
FUZZ_SEEDS_onnx    ?= $(wildcard $(ONNX_TESTS)/simple)
FUZZ_SEEDS_plan    ?= tests/data/plans
FUZZ_SEEDS_profile ?= tests/data/profiles
FUZZ_SEEDS_image   ?= $(wildcard /usr/share/pixmaps)
FUZZ_SEEDS_tuning  ?= tests/data/tuning
FUZZ_TARGETS := $(patsubst tests/fuzz/fuzz_%.c,fuzz-%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ_FLAGS   := -g -O1 -std=c11 -fsanitize=address,undefined -fno-sanitize-recover=undefined
FUZZ_OBJ = $(patsubst %.c,$(BUILD)/fuzz/obj/%.o,tests/fuzz/fuzz_$(1).c $(FUZZ_SRC_$(1)))
.PHONY: fuzz fuzz-objects $(FUZZ_TARGETS)
fuzz: $(FUZZ_TARGETS)
fuzz-objects: $(foreach t,$(FUZZ_TARGETS:fuzz-%=%),$(call FUZZ_OBJ,$(t)))
$(BUILD)/fuzz/obj/%.o: %.c | $(BUILD)/.libraries
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)clang $(FUZZ_FLAGS) -fsanitize=fuzzer-no-link $(NEED_CPPFLAGS) $(MPI_CFLAGS) -MMD -MP -c -o $@ $<
.SECONDEXPANSION:
$(FUZZ_TARGETS): fuzz-%: $$(call FUZZ_OBJ,$$*)
	@mkdir -p $(BUILD)/fuzz/$*
	clang $(FUZZ_FLAGS) -fsanitize=fuzzer -o $(BUILD)/fuzz/fuzz_$* $^ -lxxhash -lcjson -lpng -ljpeg -lm
	$(BUILD)/fuzz/fuzz_$* -max_total_time=$(SECONDS) -max_len=8192 -timeout=$(FUZZ_TIMEOUT) -artifact_prefix=$(BUILD)/fuzz/ \
	    $(BUILD)/fuzz/$* $(FUZZ_SEEDS_$*)
# The same sources by AFL++ (Debian's afl++): make fuzz-afl-network SECONDS=600; what it finds lies
# in build/afl/NAME/default/crashes and hangs.
AFL_TARGETS := $(FUZZ_TARGETS:fuzz-%=fuzz-afl-%)
# AFL_SAN=1: with AddressSanitizer and UBSan, in build/afl-san; several times slower.
AFL_SAN ?= 0
AFL_DIR := $(BUILD)/afl$(if $(filter 1,$(AFL_SAN)),-san)
AFL_ENV := AFL_QUIET=1 $(if $(filter 1,$(AFL_SAN)),AFL_USE_ASAN=1 AFL_USE_UBSAN=1)
AFL_OBJ = $(patsubst %.c,$(AFL_DIR)/obj/%.o,tests/fuzz/fuzz_$(1).c $(FUZZ_SRC_$(1)))
AFL_FLAGS := -g -O2 -std=c11
.PHONY: fuzz-afl $(AFL_TARGETS)
fuzz-afl: $(AFL_TARGETS)
$(AFL_DIR)/obj/%.o: %.c | $(BUILD)/.libraries
	@mkdir -p $(@D)
	$(call say,AFL,$<)
	$(Q)$(AFL_ENV) afl-clang-fast $(AFL_FLAGS) -fsanitize=fuzzer-no-link $(NEED_CPPFLAGS) $(MPI_CFLAGS) -MMD -MP -c -o $@ $<
$(AFL_TARGETS): fuzz-afl-%: $$(call AFL_OBJ,$$*)
	@mkdir -p $(AFL_DIR)/$*-seeds
	@find $(FUZZ_SEEDS_$*) $(BUILD)/fuzz/$* -maxdepth 3 -type f -size -9k 2>/dev/null | head -n 400 | xargs -r cp -t $(AFL_DIR)/$*-seeds; \
	    [ -n "$$(ls -A $(AFL_DIR)/$*-seeds)" ] || echo seed >$(AFL_DIR)/$*-seeds/one
	$(AFL_ENV) afl-clang-fast $(AFL_FLAGS) -fsanitize=fuzzer -o $(AFL_DIR)/fuzz_$* $^ -lxxhash -lcjson -lpng -ljpeg -lm
	AFL_AUTORESUME=1 AFL_NO_UI=1 AFL_SKIP_CPUFREQ=1 AFL_NO_AFFINITY=1 AFL_I_DONT_CARE_ABOUT_MISSING_CRASHES=1 AFL_BENCH_UNTIL_CRASH=1 \
	    afl-fuzz -m none -V $(SECONDS) -t 5000+ -i $(AFL_DIR)/$*-seeds -o $(AFL_DIR)/$* -- $(AFL_DIR)/fuzz_$*
	@! ls $(AFL_DIR)/$*/default/crashes/id* $(AFL_DIR)/$*/default/hangs/id* 2>/dev/null
-include $(shell find $(AFL_DIR)/obj -name '*.d' 2>/dev/null)
fuzz-afl-network: | $(BUILD)/fuzz/seeds
-include $(shell find $(BUILD)/fuzz/obj -name '*.d' 2>/dev/null)
fuzz-network: | $(BUILD)/fuzz/seeds
# The networks of ONNX's operator tests: one operator each, of every kind.
$(BUILD)/fuzz/seeds:
	@mkdir -p $@
	@for f in $(ONNX_TESTS)/node/*/model.onnx; do [ -e "$$f" ] && cp "$$f" "$@/$$(basename "$$(dirname "$$f")").onnx"; done; true

# ---- measuring ---------------------------------------------------------------------------------

$(BUILD)/bench/%: $(BUILD)/bench/%.o $(BUILD)/libcohort.a
	$(call say,LD,$@)
	$(link) $(LIBS)

# Cohort beside other engines, which are installed; BENCH_ARGS: options of bench/single.
.PHONY: bench-single
bench-single:
	@scripts/install-deps --bench
	@bench/single --build $(BUILD) $(BENCH_ARGS)
$(BUILD)/bench/engines/onednn: LIBS += -ldnnl
$(BUILD)/bench/engines/opencv: bench/engines/opencv.cpp bench/engines/engine.h
	@mkdir -p $(@D)
	$(call say,CXX,$<)
	$(Q)$(CXX) -O2 -isystem /usr/include/opencv4 -o $@ $< -lopencv_dnn -lopencv_core

# Every kernel on layers of known networks; BENCH_ARGS: parts of kernels' or layers' names.
.PHONY: bench-kernels
bench-kernels: $(BUILD)/bench/kernels
	@$(BUILD)/bench/kernels $(BENCH_ARGS)

# ---- installing --------------------------------------------------------------------------------

SONAME  := libcohort.so.0
BINDIR  ?= $(PREFIX)/bin
LIBDIR  ?= $(PREFIX)/lib
INCDIR  ?= $(PREFIX)/include
MANDIR  ?= $(PREFIX)/share/man
INSTALLED := $(BINDIR)/cohort $(BINDIR)/cohort-cluster $(PREFIX)/share/cohort/install-deps $(LIBDIR)/libcohort.a $(LIBDIR)/libcohort.so.$(VERSION) $(LIBDIR)/$(SONAME) \
             $(LIBDIR)/libcohort.so $(LIBDIR)/pkgconfig/cohort.pc $(INCDIR)/cohort.h $(INCDIR)/cohort_error.h \
             $(MANDIR)/man1/cohort.1

# One object in which only cohort_* is left visible, as in the shared library.
$(BUILD)/install/libcohort.a: $(LIB_OBJ)
	@mkdir -p $(@D)
	$(call say,AR,$@)
	$(Q)$(CC) -r -nostdlib -o $(@D)/cohort.o $(LIB_OBJ)
	$(Q)objcopy --wildcard --keep-global-symbol='cohort_*' $(@D)/cohort.o
	$(Q)rm -f $@ && $(AR) rcs $@ $(@D)/cohort.o

# OMPI_SKIP_MPICXX: a C++ program gets no need for Open MPI's old C++ library.
$(BUILD)/install/cohort.pc: Makefile include/cohort.h always
	@mkdir -p $(@D)
	@printf '%s\n' 'prefix=$(PREFIX)' 'libdir=$(patsubst $(PREFIX)/%,$${prefix}/%,$(LIBDIR))' \
	    'includedir=$(patsubst $(PREFIX)/%,$${prefix}/%,$(INCDIR))' '' 'Name: cohort' \
	    'Description: one neural network over many boards, as one MPI job' 'Version: $(VERSION)' \
	    $(if $(shell pkg-config --exists ompi-c && echo 1),'Requires: ompi-c') 'Requires.private: $(PKG)' \
	    'Cflags: -I$${includedir} -DOMPI_SKIP_MPICXX$(if $(shell pkg-config --exists ompi-c && echo 1),, $(shell $(MPICC) --showme:compile))' \
	    'Libs: -L$${libdir} -lcohort$(if $(shell pkg-config --exists ompi-c && echo 1),, $(MPI_LIBS))' \
	    'Libs.private: -lm -lpthread' >$@

.PHONY: install uninstall
install: all $(BUILD)/install/libcohort.a $(BUILD)/install/cohort.pc
	install -d $(addprefix $(DESTDIR),$(BINDIR) $(LIBDIR)/pkgconfig $(INCDIR) $(MANDIR)/man1 $(PREFIX)/share/cohort)
	install -m 755 $(BUILD)/cohort $(DESTDIR)$(BINDIR)/cohort
	install -m 755 scripts/cohort-cluster $(DESTDIR)$(BINDIR)/cohort-cluster
	install -m 755 scripts/install-deps $(DESTDIR)$(PREFIX)/share/cohort/install-deps
	install -m 644 $(BUILD)/install/libcohort.a $(DESTDIR)$(LIBDIR)/libcohort.a
	install -m 755 $(BUILD)/libcohort.so $(DESTDIR)$(LIBDIR)/libcohort.so.$(VERSION)
	ln -sf libcohort.so.$(VERSION) $(DESTDIR)$(LIBDIR)/$(SONAME)
	ln -sf $(SONAME) $(DESTDIR)$(LIBDIR)/libcohort.so
	install -m 644 $(BUILD)/install/cohort.pc $(DESTDIR)$(LIBDIR)/pkgconfig/cohort.pc
	install -m 644 include/cohort.h include/cohort_error.h $(DESTDIR)$(INCDIR)
	install -m 644 docs/cohort.1 $(DESTDIR)$(MANDIR)/man1/cohort.1
	@if [ -z '$(DESTDIR)' ] && [ "$$(id -u)" = 0 ] && grep -qsxF '$(LIBDIR)' /etc/ld.so.conf.d/*; then ldconfig; fi

uninstall:
	rm -f $(addprefix $(DESTDIR),$(INSTALLED))

# ---- the rest ----------------------------------------------------------------------------------

# Lists in documents that the program knows better (tests/cli/help.sh compares them).
.PHONY: docs
docs: $(BUILD)/cohort
	@$(BUILD)/cohort kernels --operators >$(BUILD)/operators.txt
	@awk 'FNR == NR { list = list $$0 "\n"; next } /^<!-- end -->/ { skip = 0 } !skip { print } \
	    /^<!-- operators -->/ { printf "```\n%s```\n", list; skip = 1 }' \
	    $(BUILD)/operators.txt docs/operators.md >$(BUILD)/operators.md
	@cp $(BUILD)/operators.md docs/operators.md

.PHONY: info help format clean
info:
	@echo 'cohort     $(VERSION), building for $(TARGET) in $(BUILD)/'
	@echo "compiler   $$($(CC) --version 2>/dev/null | head -n 1)"
	@echo "mpi        $(MPICC) $$($(MPICC) --showme:version 2>/dev/null)"
	@for p in $(PKG) $(TOOLPKG) cmocka; do \
	    printf '%-10s %s\n' $$p "$$($(PKGCONFIG) --modversion $$p 2>/dev/null || echo 'not found (make deps)')"; done
	@echo 'flags      $(CFLAGS) $(if $(filter 1,$(WERROR)),-Werror)'
	@for d in $(ISA_DIRS); do printf 'kernels    %-8s %2d files  %s\n' $$d $$(ls kernels/$$d/*.c 2>/dev/null | wc -l) \
	    "$$(ls kernels/$$d/*.c >/dev/null 2>&1 || echo '(none yet)')"; done
	@if [ -x $(BUILD)/cohort ]; then echo 'in $(BUILD)/cohort:'; $(BUILD)/cohort kernels | sed 's/^/    /'; \
	else echo '$(BUILD)/cohort is not built (make)'; fi

help:
	@echo 'make                build $(BUILD)/cohort and the library; installs nothing'
	@echo 'make demo           install what is missing, build, read a real page over four ranks'
	@echo 'make check          install what is missing, build, run every test'
	@echo
	@echo 'make deps           install what building needs (Debian packages)'
	@echo 'make deps-board     install only what a board needs to run'
	@echo 'make check-fast     unit tests, and MPI tests on 1 and 3 ranks'
	@echo 'make check-unit     unit tests; check-mpi: MPI tests; check-cli: the command line'
	@echo 'make check-farm     over an emulated farm of boards (as root); see docs/farm.md'
	@echo 'make check-san      unit and MPI tests under AddressSanitizer and UBSan'
	@echo 'make check-arm64    build for 64-bit Arm and run its tests under qemu (about 6 minutes);'
	@echo '                    check-armhf: the same for 32-bit Arm'
	@echo 'make fuzz           readers of files against made-up bytes (clang; SECONDS=60 for each)'
	@echo 'make fuzz-afl       the same by AFL++ (Debian: afl++; AFL_SAN=1 with sanitizers)'
	@echo 'make check-networks networks with recorded answers, and torchvision where torch is (hours)'
	@echo 'make bench-single   Cohort beside ONNX Runtime, OpenCV and oneDNN (BENCH_ARGS=--quick)'
	@echo 'make bench-kernels  speed of every kernel on layers of known networks'
	@echo 'make install        PREFIX=$(PREFIX), DESTDIR; make uninstall takes it away again'
	@echo 'make info           compiler, libraries and kernels that were found'
	@echo 'make docs           the list in docs/operators.md; make format; make clean'
	@echo
	@echo 'V=1 shows commands, WERROR=1 makes warnings errors; CC, CFLAGS, LDFLAGS, BUILD are yours.'

format:
	clang-format -i $(shell git ls-files '*.c' '*.h')

clean:
	rm -rf $(BUILD)
