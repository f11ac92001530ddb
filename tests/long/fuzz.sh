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
        tap_run "made-up bytes for $3, $2 s" make --no-print-directory "fuzz-$1" "SECONDS=$2" "FUZZ_TIMEOUT=60" "BUILD=${build#"$PWD"/}"
    fi
}
[ -n "$without" ] || make --no-print-directory -j"$(nproc)" fuzz-objects "BUILD=${build#"$PWD"/}" >/dev/null 2>&1
# All at once, each for a minute.
results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT
while read -r target what; do
    (fuzz "$target" 60 "$what") >"$results/$target" &
done <<'TARGETS'
network passes and operators
onnx the ONNX reader
plan the reader of plans
profile the reader of profiles
tuning the reader of tuning files
cluster the reader of cluster files
npy the reader of arrays
image the reader of pictures
TARGETS
wait
for target in "$results"/*; do
    tap_include "$target"
done
tap_end
