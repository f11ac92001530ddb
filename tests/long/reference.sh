#!/usr/bin/env bash
# Whole networks against ONNX Runtime with its optimisation off: every generated network small, five
# of them at full size; on one rank and on three.  max|a-b| <= 1e-4 max|b|.
#
# What ONNX Runtime answers is kept in BUILD/tests/reference, by the hash of the network.
# beside: others
set -u
cd "$(dirname "$0")/../.." || exit 2
. tests/tap.sh
. tests/support/long.sh
modules=${COHORT_NPM:-build/npm}/node_modules
kept=$COHORT_BUILD/tests/reference

node=$(command -v node || command -v nodejs)
if [ -z "$node" ] || ! NODE_PATH=$modules "$node" -e 'require("onnxruntime-node")' 2>/dev/null; then
    tap_skip "networks against ONNX Runtime" "no onnxruntime-node under $modules: scripts/install-deps --check installs it"
    tap_end
    exit
fi

# Makes the network and asks ONNX Runtime, unless it was asked about these very bytes before.
prepare() { # FOLDER NETWORK OPTION...
    local folder=$1 hash
    shift
    mkdir -p "$folder"
    "$COHORT_BIN" synth "$@" -o "$folder/model.onnx" >"$scratch/log" 2>&1 || return 1
    hash="$(sha256sum <"$folder/model.onnx") $(sha256sum <tests/support/ort.js)"
    [ "$hash" = "$(cat "$folder/hash" 2>/dev/null)" ] && return 0
    rm -rf "$folder/test_data_set_0"
    NODE_PATH=$modules timeout 300 "$node" tests/support/ort.js "$folder" >"$scratch/log" 2>&1 || return 1
    echo "$hash" >"$folder/hash"
}

compare() { # LABEL NETWORK OPTION...
    local label=$1 folder="$kept/${1// /-}" ranks name verdict message worst
    shift
    if ! prepare "$folder" "$@"; then
        tap_not_ok "$label" "$(tail -n 5 "$scratch/log")"
        return
    fi
    for ranks in 1 3; do
        cohort_on "$ranks" verify --json "$folder" >"$scratch/out.json" 2>"$scratch/log"
        IFS=$'\t' read -r name verdict message worst < <(verify_cases "$scratch/out.json")
        if [ "${verdict:-}" = passed ]; then
            tap_ok "$label, np $ranks: differs by $(printf %.1e "$worst") of the largest value"
        else
            tap_not_ok "$label, np $ranks" "${message:-no answer} $(tail -n 5 "$scratch/log")"
        fi
    done
    rm -f "$folder/model.onnx" # up to 550 MB; quickly made again
}

for line in $("$COHORT_BIN" synth --list | awk '{ print $1 ":" $2 }'); do
    name=${line%:*} size=${line#*:}
    small=64
    [ "$size" -gt 64 ] || small=$size
    [ "$size" -le 250 ] || small=96
    compare "$name small" "$name" --size "$small" --width 0.25
done
for name in resnet18 mobilenetv2 googlenet yolov2 vgg16; do
    compare "$name full" "$name"
done
tap_end
