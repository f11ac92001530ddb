#!/usr/bin/env bash
# Every network of torchvision that torch brings to ONNX, with seeded weights, on one, two and three
# ranks against torch's own answers.  `make check-networks`; no part of `make check`.
#
# tests/networks/export.py makes the networks.  It needs torch, torchvision and onnx (Debian:
# python3-torch python3-torchvision python3-onnx) for $COHORT_PYTHON, or else for python3 or
# /usr/bin/python3, whichever has them.
# COHORT_NETWORKS="resnet18 vit_b_16": only these.  COHORT_NETWORKS_TABLE=FILE: a line a network.
set -u
cd "$(dirname "$0")/../.." || exit 2
. tests/tap.sh
. tests/support/long.sh

# ---- what is left out, and why; what needs a tolerance of its own ------------------------------

left_out() { # NAME
    case $1 in
    *) return 1 ;;
    esac
}

tolerance() { # NAME
    case $1 in
    *) echo 1e-4 ;;
    esac
}

# ---- one network -------------------------------------------------------------------------------

one_network() { # NAME
    local ranks verdict message worst most=0 start=$SECONDS good=""
    if message=$(left_out "$1"); then
        tap_skip "$1" "left out: $message"
        return
    fi
    if ! OMP_NUM_THREADS=1 timeout -k 5 600 "$python" tests/networks/export.py "$scratch/nets" "$1" \
        >"$scratch/log" 2>&1; then
        tap_not_ok "$1" "not exported: $(tail -n 1 "$scratch/log")"
        return
    fi
    for ranks in 1 2 3; do
        cohort_on $ranks verify --json --tolerance "$(tolerance "$1")" "$scratch/nets/$1" \
            >"$scratch/out.json" 2>"$scratch/log"
        verdict="" message="" worst=1
        IFS=$'\t' read -r _ verdict message worst < <(verify_cases "$scratch/out.json")
        if [ "$verdict" = passed ]; then
            tap_ok "$1, np $ranks: differs by $(printf %.1e "$worst")"
            good="$good $ranks"
            most=$(printf '%.1e\n' "$most" "$worst" | sort -g | tail -n 1)
        else
            tap_not_ok "$1, np $ranks" "${message:-$(tail -n 5 "$scratch/log")}"
        fi
    done
    rm -rf "$scratch/nets/$1"
    [ -z "${COHORT_NETWORKS_TABLE:-}" ] ||
        echo "$1 | passed at${good:- none} | $most | $((SECONDS - start)) s" >>"$COHORT_NETWORKS_TABLE"
}

# ---- all ---------------------------------------------------------------------------------------

python=""
for p in ${COHORT_PYTHON:-python3 /usr/bin/python3}; do
    if "$p" -c 'import torch, torchvision, onnx' 2>/dev/null; then
        python=$p
        break
    fi
done
if [ -z "$python" ]; then
    tap_skip "torchvision's networks" "NONE WAS RUN: no ${COHORT_PYTHON:-python3} with torch, torchvision \
and onnx (Debian: python3-torch python3-torchvision python3-onnx; COHORT_PYTHON names another)"
else
    mkdir -p "$scratch/nets"
    for name in ${COHORT_NETWORKS:-$("$python" tests/networks/export.py --list | sort | cut -d ' ' -f 2)}; do
        one_network "$name"
    done
fi
tap_end
