#!/usr/bin/env bash
# Everything builds with clang without a warning, and what clang built gives the same answers.
cd "$(dirname "$0")/../.." || exit 1
. tests/tap.sh
build=${COHORT_BUILD:-$PWD/build}
if ! command -v clang >/dev/null; then
    tap_skip "clang builds everything without a warning" "no clang here"
    tap_end
    exit
fi
MAKEFLAGS=$(sed -E 's/(^| )(-?j[0-9]*|--jobserver-[a-z]+=[^ ]*)//g' <<<"${MAKEFLAGS:-}")
export MAKEFLAGS
tap_run "clang builds everything without a warning" \
    make --no-print-directory -j"$(nproc)" CC=clang BUILD="${build#"$PWD"/}/clang" WERROR=1 all tests
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
network=squeezenet1.1
"$build/cohort" synth $network --size 64 -o "$scratch/net.onnx" &&
    "$build/cohort" run "$scratch/net.onnx" -o "$scratch/gcc.npy" --as npy >/dev/null &&
    "$build/clang/cohort" run "$scratch/net.onnx" -o "$scratch/clang.npy" --as npy >/dev/null
tap_run "gcc's and clang's programs give the same bits" cmp "$scratch/gcc.npy" "$scratch/clang.npy"
tap_run "clang's kernels hold to their contract" "$build/clang/tests/unit/test_kernels_conv"
tap_end
