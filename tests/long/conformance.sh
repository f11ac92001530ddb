#!/usr/bin/env bash
# ONNX's own operator tests through `cohort verify`: fused on feature maps, node by node with
# --keep-nodes, and on three ranks.  One TAP line a test.
#
# The data: Debian's libonnx-testdata (ONNX 1.12: node tests up to opset 17, networks exported by
# PyTorch), and newer node tests in $COHORT_SHARED/conformance/node where there are any.
# What is left out is printed by reason.  A test that is skipped for any other reason than those
# below, or fails and is not listed, or is listed and passes, fails this suite.
# beside: others
set -u
cd "$(dirname "$0")/../.." || exit 2
. tests/tap.sh
. tests/support/long.sh
onnx=${COHORT_ONNX_DATA:-/usr/lib/python3/dist-packages/onnx/backend/test/data}

# Operators that must not be missing: a test skipped for one of these is a fault.
wanted=" Conv ConvTranspose MaxPool AveragePool GlobalAveragePool GlobalMaxPool BatchNormalization
 LayerNormalization LRN Relu LeakyRelu PRelu Clip Sigmoid HardSigmoid HardSwish Tanh Erf Exp Pow Sqrt
 Add Sub Mul Div Sum Concat Split Slice Flatten Reshape Transpose Squeeze Unsqueeze Expand Pad Resize
 Upsample DepthToSpace SpaceToDepth Gemm MatMul Softmax ReduceMean ArgMax Gather Identity Dropout Cast
 Shape Constant ConstantOfShape Range Where Equal LpPool GroupNormalization RMSNormalization TopK
 NonMaxSuppression GatherElements GatherND ScatterElements ScatterND CumSum OneHot Einsum NonZero
 RoiAlign MaxUnpool GridSample Attention RotaryEmbedding QLinearConv MatMulInteger LSTM GRU RNN
 If Loop "
wanted=${wanted//$'\n'/ }

# Tests whose recorded data contradicts the specification or itself, with the reason.
known_failures() {
    cat <<'LIST'
test_cast_FLOAT_to_BFLOAT16 ONNX 1.12 cut bits off where the specification rounds to nearest
test_castlike_BFLOAT16_to_FLOAT ONNX 1.12's file holds one element for an input of 3x4
test_castlike_BFLOAT16_to_FLOAT_expanded ONNX 1.12's file holds one element for an input of 3x4
test_castlike_FLOAT_to_BFLOAT16 ONNX 1.12's file holds one element for an input of 3x4
test_castlike_FLOAT_to_BFLOAT16_expanded ONNX 1.12's file holds one element for an input of 3x4
LIST
}
# Recorded with four digits: these pass with ONNX's own tolerance of 1e-3.
four_digits=" test_averagepool_2d_ceil_last_window_starts_on_pad "

declare -A known left_out
while read -r test why; do known[$test]=$why; done < <(known_failures)

# Sets `reason`: why a test was skipped, as a group (empty when there is no good reason), and `item`:
# the operator, or otherwise the test, that is named for it.
judge_skip() { # TEST MESSAGE
    reason="" item=$1
    if [[ $2 =~ operator\ ([A-Za-z0-9_.]+)\ \(opset\ [0-9]+\)\ is\ not\ supported ]]; then
        item=${BASH_REMATCH[1]}
        [[ $wanted == *" $item "* ]] || reason="operators that are left out (docs/operators.md)"
    elif [[ $2 =~ operator\ ([A-Za-z]+)\ is\ supported\ for\ opset\ 7\ and\ up,\ but\ the\ model\ has\ opset\ [1-6]$ ]]; then
        item=${BASH_REMATCH[1]} reason="opset 6, from before operators broadcast as they do now"
    elif [[ $2 == *"operator Scan is supported for opset 9 and up, but the model has opset 8" ]]; then
        item=Scan reason="opset 8, where Scan had batches of its own (docs/operators.md)"
    elif [[ $2 == *"training mode"* ]]; then
        reason="training (Dropout and BatchNormalization)"
    elif [[ $2 == *"element type 8 (string)"* ]]; then
        reason="strings"
    elif [[ $2 == *"a sequence, map, sparse or optional value"* ]]; then
        reason="sequences, maps and optional values"
    fi
}

one_case() { # SET NAME VERDICT MESSAGE
    local what="$1 $2" reason item
    if [ "$3" = skipped ]; then
        judge_skip "$2" "$4"
        if [ -z "$reason" ]; then
            tap_not_ok "$what" "skipped without a good reason: $4"
            return
        fi
        left=$((left + 1))
        left_out[$reason]+=" $item"
    elif [ -n "${known[$2]:-}" ]; then
        if [ "$3" = failed ]; then
            left=$((left + 1))
            left_out["tests whose own data is wrong"]+=" $2"
        else
            tap_not_ok "$what" "it passes now: take it off the list (${known[$2]})"
        fi
    elif [[ $3 == failed && $four_digits == *" $2 "* ]]; then
        tap_run "$what (four digits)" "$COHORT_BIN" verify --tolerance 1e-3 "$folder/$2"
    elif [ "$3" = passed ]; then
        passes=$((passes + 1))
        tap_ok "$what"
    else
        tap_not_ok "$what" "$4"
    fi
}

# Runs all tests of a folder in one process (or one mpirun), then judges every one.
run_set() { # LABEL RANKS FLOOR FOLDER OPTION...
    local label=$1 ranks=$2 floor=$3 passes=0 left=0 cases=0 name verdict message group
    local folder=$4 out=$scratch/out.json
    shift 4
    left_out=()
    cohort_on "$ranks" verify --json "$@" "$folder"/*/ >"$out" 2>"$scratch/log"
    while IFS=$'\t' read -r name verdict message _; do
        cases=$((cases + 1))
        name=${name%/test_data_set_*}
        name=${name%/}
        one_case "$label" "${name##*/}" "$verdict" "$message"
    done < <(verify_cases "$out")
    if [ "$passes" -ge "$floor" ]; then
        tap_ok "$label: $passes of $cases tests passed, $left left out"
    else
        tap_not_ok "$label: $passes of $cases tests passed, at least $floor should" "$(tail -n 5 "$scratch/log")"
    fi
    for group in "${!left_out[@]}"; do
        local members count
        members=$(tr ' ' '\n' <<<"${left_out[$group]# }" | sort | uniq -c |
            awk '{ printf "%s%s%s", (NR > 1 ? ", " : ""), $2, ($1 > 1 ? " (" $1 ")" : "") }')
        count=$(wc -w <<<"${left_out[$group]}")
        if [ "$ranks" -eq 1 ] && [ $# -eq 0 ]; then
            tap_skip "$label: $group" "$count tests of $label left out: $group: $members"
        fi
    done
}

if [ -d "$onnx/node" ]; then
    run_set "onnx-1.12" 1 772 "$onnx/node"
    run_set "onnx-1.12 node by node" 1 772 "$onnx/node" --keep-nodes
    run_set "onnx-1.12 on 3 ranks" 3 772 "$onnx/node"
    for set in pytorch-converted:66 pytorch-operator:24 simple:7; do
        run_set "${set%:*}" 1 "${set#*:}" "$onnx/${set%:*}"
        run_set "${set%:*} on 3 ranks" 3 "${set#*:}" "$onnx/${set%:*}"
    done
else
    tap_skip "ONNX's operator tests" "no $onnx: install libonnx-testdata"
fi
if [ -d "$shared/conformance/node" ]; then
    run_set "onnx-newer" 1 988 "$shared/conformance/node"
    run_set "onnx-newer node by node" 1 988 "$shared/conformance/node" --keep-nodes
    run_set "onnx-newer on 3 ranks" 3 988 "$shared/conformance/node"
else
    tap_skip "newer operator tests" "no $shared/conformance: set COHORT_SHARED to a folder that has it"
fi
tap_end
