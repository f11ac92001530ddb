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
[ -n "$without" ] || make --no-print-directory -j"$(nproc)" fuzz-objects "BUILD=${build#"$PWD"/}" >/dev/null 2>&1
# Two at a time: each is one process.
some=$(mktemp)
trap 'rm -f "$some"' EXIT
(
    fuzz network 15 "passes and operators"
    fuzz npy 4 "the reader of arrays"
    fuzz image 4 "the reader of pictures"
) >"$some" &
fuzz onnx 10 "the ONNX reader"
fuzz plan 4 "the reader of plans"
fuzz profile 4 "the reader of profiles"
fuzz tuning 4 "the reader of tuning files"
fuzz cluster 4 "the reader of cluster files"
wait
tap_include "$some"
tap_end
