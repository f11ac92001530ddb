#!/usr/bin/env bash
# The ONNX reader against made-up bytes for a while, under AddressSanitizer and UBSan; make fuzz goes
# on for longer.
cd "$(dirname "$0")/../.." || exit 1
. tests/tap.sh
build=${COHORT_BUILD:-$PWD/build}
if ! command -v clang >/dev/null; then
    tap_skip "the ONNX reader takes made-up bytes" "no clang here"
elif ! echo 'int LLVMFuzzerTestOneInput(const char *d, long n) { return d && n < 0; }' |
    clang -x c -fsanitize=fuzzer,address -o /dev/null - 2>/dev/null; then
    tap_skip "the ONNX reader takes made-up bytes" "clang has no fuzzer here"
else
    tap_run "the ONNX reader takes made-up bytes for 20 s" make --no-print-directory fuzz SECONDS=20 "BUILD=${build#"$PWD"/}"
fi
tap_end
