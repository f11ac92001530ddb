#!/usr/bin/env bash
# Readers of files against made-up bytes for a while, under AddressSanitizer and UBSan; make fuzz goes
# on for longer.
cd "$(dirname "$0")/../.." || exit 1
. tests/tap.sh
build=${COHORT_BUILD:-$PWD/build}
without=""
if ! command -v clang >/dev/null; then
    without="no clang here"
elif ! echo 'int LLVMFuzzerTestOneInput(const char *d, long n) { return d && n < 0; }' |
    clang -x c -fsanitize=fuzzer,address -o /dev/null - 2>/dev/null; then
    without="clang has no fuzzer here"
fi
fuzz() { # TARGET SECONDS WHAT
    if [ -n "$without" ]; then
        tap_skip "made-up bytes for $3" "$without"
    else
        tap_run "made-up bytes for $3, $2 s" make --no-print-directory "fuzz-$1" "SECONDS=$2" "BUILD=${build#"$PWD"/}"
    fi
}
fuzz network 20 "passes and operators"
fuzz onnx 15 "the ONNX reader"
fuzz plan 5 "the reader of plans"
fuzz profile 5 "the reader of profiles"
fuzz tuning 5 "the reader of tuning files"
fuzz cluster 5 "the reader of cluster files"
fuzz npy 5 "the reader of arrays"
fuzz image 5 "the reader of pictures"
tap_end
