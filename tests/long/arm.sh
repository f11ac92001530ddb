#!/usr/bin/env bash
# Arm for real, the short way (make check-arm64 and check-armhf are the long one): everything is built
# for 64-bit and 32-bit Arm, and the kernel tests, small networks and two-rank jobs run under qemu.
cd "$(dirname "$0")/../.." || exit 1
. tests/tap.sh
build=${COHORT_BUILD:-$PWD/build}
export COHORT_LANES=1 # both cores have work
export COHORT_SHORT=yes # a part of the cases: an emulated CPU takes minutes for all of them
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# Both at once: while one emulator runs tests, the compiler of the other has a core.
started=""
for arch in arm64 armhf; do
    case $arch in
    arm64) tools="aarch64-linux-gnu-gcc qemu-aarch64-static" ;;
    armhf) tools="arm-linux-gnueabihf-gcc qemu-arm-static" ;;
    esac
    # shellcheck disable=SC2086
    if [ "$(command -v $tools | wc -l)" -ne 2 ]; then
        tap_skip "$arch" "no compiler or emulator of it here (scripts/install-deps --cross)"
        continue
    fi
    rm -rf "$build/$arch/tests/logs"
    (
        scripts/cross-check $arch "$build" 'unit:kernels_*' cross >"$scratch/$arch.out" 2>"$scratch/$arch.err"
        echo $? >"$scratch/$arch.status"
    ) &
    started+=" $arch"
done
wait
for arch in $started; do
    logs=$build/$arch/tests/logs
    sed 's/^/# /' "$scratch/$arch.out"
    if [ -d "$logs" ]; then
        for log in "$logs"/*.log; do
            grep -E -A8 '^(not )?ok ' "$log" | sed -E "s/^((not )?ok [0-9]+ - )/\1$arch: /"
        done
    fi
    if [ "$(cat "$scratch/$arch.status")" = 0 ]; then tap_ok "$arch"; else tap_not_ok "$arch" "$(tail -n 20 "$scratch/$arch.err")"; fi
done
tap_end
