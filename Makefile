# Cohort.  `make help` lists what there is to do.
#
# CFLAGS, CPPFLAGS and LDFLAGS are yours; what the project needs is added beside them.
# Sources are found by folder: a new .c file under src/, kernels/, planner/ or tests/ needs no line here.

VERSION := $(shell sed -n 's/^\#define COHORT_VERSION *"\(.*\)"/\1/p' include/cohort.h)
PREFIX  ?= /usr/local
BUILD   ?= build
CFLAGS  ?= -O2 -g
WERROR  ?= 0

ifeq ($(origin CC),default)
CC := gcc
endif
ifeq ($(origin AR),default)
AR := ar
endif
MPICC   := $(firstword $(shell command -v mpicc.openmpi mpicc 2>/dev/null))
PKG     := hwloc openblas libcjson libxxhash
TOOLPKG := libpng libjpeg
TARGET  := $(shell $(CC) -dumpmachine)
ARCH    := $(firstword $(subst -, ,$(TARGET)))

# ---- what is built -----------------------------------------------------------------------------

# Instruction-set folders that this target can hold; which of them a CPU can run is asked at run time.
ISA_DIRS := generic blas
ifneq ($(filter x86_64 i686,$(ARCH)),)
ISA_DIRS += avx2 avx512
endif
ifeq ($(ARCH),aarch64)
ISA_DIRS += neon64
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
NEED_CPPFLAGS := -Iinclude -Isrc -I. -D_GNU_SOURCE
NEED_CFLAGS   := -std=c11 -fPIC -pthread -ffp-contract=off $(WARN)
KERNEL_CFLAGS := -O3 -fno-math-errno -fno-trapping-math
ISA_CFLAGS_avx2   := -mavx2 -mfma
ISA_CFLAGS_avx512 := -mavx512f -mavx512bw -mavx512vl -mavx512dq -mfma
ISA_CFLAGS_neon32 := -mfpu=neon-vfpv4

MPI_CFLAGS := $(if $(MPICC),$(patsubst -I%,-isystem %,$(shell $(MPICC) --showme:compile 2>/dev/null)))
MPI_LIBS   := $(if $(MPICC),$(shell $(MPICC) --showme:link 2>/dev/null))
PKG_CFLAGS := $(patsubst -I%,-isystem %,$(shell pkg-config --cflags $(PKG) $(TOOLPKG) 2>/dev/null))
PKG_LIBS   := $(shell pkg-config --libs $(PKG) 2>/dev/null)
TOOL_LIBS  := $(shell pkg-config --libs $(TOOLPKG) 2>/dev/null)
TEST_LIBS  := -lcmocka
LIBS       := $(MPI_LIBS) $(PKG_LIBS) -lm -lpthread

ALL_CFLAGS = $(NEED_CPPFLAGS) $(MPI_CFLAGS) $(PKG_CFLAGS) $(CPPFLAGS) $(NEED_CFLAGS) $(CFLAGS)

# ---- building ----------------------------------------------------------------------------------

.PHONY: all
all: $(BUILD)/cohort $(BUILD)/libcohort.a $(BUILD)/libcohort.so

.DELETE_ON_ERROR:

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(if $(filter kernels/% bench/%,$<),$(KERNEL_CFLAGS) $(ISA_CFLAGS_$(patsubst kernels/%,%,$(patsubst %/,%,$(dir $<))))) -MMD -MP -c -o $@ $<

$(BUILD)/libcohort.a: $(LIB_OBJ)
	rm -f $@
	$(AR) rcs $@ $^

$(BUILD)/libcohort.so: $(LIB_OBJ)
	$(CC) -shared -Wl,-soname,libcohort.so.0 $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)

$(BUILD)/libtools.a: $(TOOL_OBJ)
	rm -f $@
	$(AR) rcs $@ $^

$(BUILD)/cohort: $(MAIN_OBJ) $(BUILD)/libtools.a $(BUILD)/libcohort.a
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(TOOL_LIBS) $(LIBS)

$(BUILD)/tests/unit/test_%: $(BUILD)/tests/unit/test_%.o $(TEST_LIB) $(BUILD)/libtools.a $(BUILD)/libcohort.a
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(TEST_LIBS) $(TOOL_LIBS) $(LIBS)

$(BUILD)/tests/mpi/test_%: $(BUILD)/tests/mpi/test_%.o $(TEST_LIB) $(BUILD)/libtools.a $(BUILD)/libcohort.a
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(TEST_LIBS) $(TOOL_LIBS) $(LIBS)

.PRECIOUS: $(BUILD)/%.o

.PHONY: tests
tests: $(UNIT_TESTS) $(MPI_TESTS)

-include $(LIB_OBJ:.o=.d) $(TOOL_OBJ:.o=.d) $(MAIN_OBJ:.o=.d) $(UNIT_TESTS:=.d) $(MPI_TESTS:=.d) $(TEST_LIB:.o=.d) $(BUILD)/bench/kernels.d

# ---- testing -----------------------------------------------------------------------------------

.PHONY: check-fast check-unit check-mpi
check-fast: all tests
	tests/run $(BUILD) unit mpi:1,3

check-unit: $(UNIT_TESTS)
	tests/run $(BUILD) unit

check-mpi: $(MPI_TESTS)
	tests/run $(BUILD) mpi

# ---- measuring ---------------------------------------------------------------------------------

$(BUILD)/bench/%: $(BUILD)/bench/%.o $(BUILD)/libcohort.a
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)

# Every kernel on layers of known networks; BENCH_ARGS: parts of kernels' or layers' names.
.PHONY: bench-kernels
bench-kernels: $(BUILD)/bench/kernels
	$(BUILD)/bench/kernels $(BENCH_ARGS)

# ---- the rest ----------------------------------------------------------------------------------

.PHONY: format clean
format:
	clang-format -i $(shell git ls-files '*.c' '*.h')

clean:
	rm -rf $(BUILD)
