#!/usr/bin/env bash
# What an Arm board computes, alone, in company of its kind, and, where it has 64 bits, in one job
# with this machine's own processor (scripts/cross-check sets the variables; the Arm is emulated).
cd "$(dirname "$0")/../.." || exit 1
. tests/tap.sh
export COHORT_NO_PROFILE=yes # the default plan without measurements: it is the same every time
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
here=${COHORT_REFERENCE:?is set by scripts/cross-check}
read -ra arm <<<"${COHORT_EMULATOR:?is set by scripts/cross-check} ${COHORT_BIN:?}"
read -ra mpirun <<<"${COHORT_MPIRUN:-$(command -v mpirun.openmpi || command -v mpirun)}"
launch() {
    timeout -k 5 150 "${mpirun[@]}" --bind-to none "$@"
}
# An emulated board is slow to answer; every program keeps weights apart from the user's.
common=(--timeout 120 --cache "$scratch/cache" --progress none)

# The numbers of a .npy file of float32, one a line.
values() { # FILE
    od -An -v -w4 -t f4 -j $((10 + $(od -An -j 8 -N 2 -t u2 "$1"))) "$1"
}

# max |a-b| <= 1e-4 (or MOST) max |b|, over at least one number and as many in both.
close_to() { # FILE FILE [MOST]
    paste <(values "$1") <(values "$2") | awk -v allowed="${3:-1e-4}" '
        NF != 2 || $1 !~ /^[-+0-9.e]+$/ || $2 !~ /^[-+0-9.e]+$/ { bad++ }
        { d = $1 > $2 ? $1 - $2 : $2 - $1; m = $2 < 0 ? -$2 : $2; most = d > most ? d : most; size = m > size ? m : size }
        END { printf "%d numbers, %d bad, differ by %g of %g\n", NR, bad, most, size
              exit !(NR > 0 && bad == 0 && size > 0 && most <= allowed * size) }'
}

tap_run "the Arm program has kernels of its own" grep -qE 'conv_neon(64|32)_direct .*usable' <("${arm[@]}" kernels)

for network in lenet5 squeezenet1.1 mobilenetv2; do
    net=$scratch/$network.onnx size=(--size 64)
    [ $network = lenet5 ] && size=()
    tap_run "$network: written" "$here" synth $network "${size[@]}" -o "$net"
    run=(run "$net" "${common[@]}" --as npy -o)
    tap_run "$network: this machine's answer" "$here" "${run[@]}" "$scratch/here.npy"
    tap_run "$network: Arm's" "${arm[@]}" "${run[@]}" "$scratch/arm.npy"
    tap_run "$network: Arm's is close to this machine's" close_to "$scratch/arm.npy" "$scratch/here.npy"
    tap_run "$network: two Arms" launch -n 2 "${arm[@]}" "${run[@]}" "$scratch/two.npy"
    tap_run "$network: they give the bits of one" cmp "$scratch/two.npy" "$scratch/arm.npy"
    portable=(run "$net" "${common[@]}" --kernel generic --as npy -o)
    tap_run "$network: portable kernels here" "$here" "${portable[@]}" "$scratch/portable.npy"
    if [ -z "${COHORT_NATIVE:-}" ]; then # 32-bit ranks cannot be in a job with 64-bit ones
        tap_run "$network: portable kernels there" "${arm[@]}" "${portable[@]}" "$scratch/arm.npy"
        tap_run "$network: they give the same bits on both" cmp "$scratch/arm.npy" "$scratch/portable.npy"
        continue
    fi
    tap_run "$network: this machine and two Arms in one job" \
        launch -n 1 "$here" "${run[@]}" "$scratch/mixed.npy" : -n 2 "${arm[@]}" "${run[@]}" "$scratch/mixed.npy"
    tap_run "$network: they give its answer" close_to "$scratch/mixed.npy" "$scratch/here.npy"
    tap_run "$network: portable kernels in one job" \
        launch -n 1 "$here" "${portable[@]}" "$scratch/mixed.npy" : -n 2 "${arm[@]}" "${portable[@]}" "$scratch/mixed.npy"
    tap_run "$network: they give the same bits on both" cmp "$scratch/mixed.npy" "$scratch/portable.npy"
done

# ---- float16 arithmetic, where the CPU has it --------------------------------------------------

if [ -z "${COHORT_NATIVE:-}" ]; then
    tap_skip "float16 arithmetic" "64-bit Arm's"
    tap_end
    exit
fi
new=("${arm[0]}" -cpu max "${arm[@]:1}") old=("${arm[0]}" -cpu cortex-a72 "${arm[@]:1}")
tap_run "a CPU with FEAT_FP16 has its kernels" grep -qE 'conv_neon64hp_direct +neon64hp usable' <("${new[@]}" kernels)
tap_run "a CPU without has not" grep -qE 'conv_neon64hp_direct +neon64hp not here' <("${old[@]}" kernels)
net=$scratch/squeezenet1.1.onnx run=(run "$scratch/squeezenet1.1.onnx" "${common[@]}" --as npy -o)
half=("${run[@]:0:2}" --arithmetic f16 "${run[@]:2}")
tap_run "f16: the answer in float32" "${new[@]}" "${run[@]}" "$scratch/arm.npy"
tap_run "f16: that of a CPU without" "${old[@]}" "${run[@]}" "$scratch/old.npy"
tap_run "f16: not asked for, it is not there" cmp "$scratch/old.npy" "$scratch/arm.npy"
tap_fails "f16: a CPU without refuses" '^cohort: float16 arithmetic: .* cannot' "${old[@]}" "${half[@]}" "$scratch/old.npy"
"${new[@]}" "${half[@]}" "$scratch/half.npy" --report >"$scratch/report" 2>&1
tap_run "f16: the report says how much of the work is" grep -qE '^arithmetic, .* f16, 100\.0 %$' "$scratch/report"
tap_run "f16: it is close" close_to "$scratch/half.npy" "$scratch/arm.npy" 5e-3
tap_fails "f16: it is another" 'differ' cmp "$scratch/half.npy" "$scratch/arm.npy"
tap_run "f16: two Arms" launch -n 2 "${new[@]}" "${half[@]}" "$scratch/two.npy"
tap_run "f16: they give the bits of one" cmp "$scratch/two.npy" "$scratch/half.npy"
half+=("$scratch/mixed.npy" --report)
launch -n 1 "$here" "${half[@]}" : -n 1 "${old[@]}" "${half[@]}" : -n 1 "${new[@]}" "${half[@]}" >"$scratch/report" 2>&1
tap_run "f16: boards that cannot beside one that can" grep -qE '^arithmetic, .* f32 .* f32 .* f16, 100\.0 %$' "$scratch/report"
tap_run "f16: those that cannot are named" test "$(grep -c 'has no float16 arithmetic: it computes in float32' "$scratch/report")" -eq 2
tap_run "f16: they give its answer" close_to "$scratch/mixed.npy" "$scratch/arm.npy" 5e-3
tap_end
