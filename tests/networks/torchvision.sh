#!/usr/bin/env bash
# Every image classifier of torchvision that an exporter brings to ONNX, with seeded weights, on one,
# two and three ranks against torch's own output.  `make check-networks`; no part of `make check`.
#
# The exporter is $COHORT_EXPORT, or tools/export_torchvision.py in $COHORT_SHARED: it is called as
# `EXPORTER FOLDER NAME` and writes FOLDER/NAME in ONNX's test layout.  It needs Debian's
# python3-torch, python3-torchvision and python3-onnx.  COHORT_NETWORKS: the names to try.
set -u
cd "$(dirname "$0")/../.." || exit 2
. tests/tap.sh
. tests/support/long.sh
exporter=${COHORT_EXPORT:-$shared/tools/export_torchvision.py}
names=${COHORT_NETWORKS:-alexnet convnext_tiny convnext_small densenet121 densenet161 densenet169 densenet201
    efficientnet_b0 efficientnet_b1 efficientnet_b2 efficientnet_b3 efficientnet_b4 efficientnet_v2_s googlenet
    inception_v3 mnasnet0_5 mnasnet0_75 mnasnet1_0 mnasnet1_3 mobilenet_v2 mobilenet_v3_large mobilenet_v3_small
    regnet_x_400mf regnet_x_800mf regnet_x_1_6gf regnet_x_3_2gf regnet_x_8gf regnet_y_400mf regnet_y_800mf
    regnet_y_1_6gf regnet_y_3_2gf regnet_y_8gf resnet18 resnet34 resnet50 resnet101 resnet152 resnext50_32x4d
    resnext101_32x8d shufflenet_v2_x0_5 shufflenet_v2_x1_0 shufflenet_v2_x1_5 shufflenet_v2_x2_0 squeezenet1_0
    squeezenet1_1 swin_t swin_s swin_v2_t vgg11 vgg11_bn vgg13 vgg13_bn vgg16 vgg16_bn vgg19 vgg19_bn vit_b_16
    vit_b_32 wide_resnet50_2}

one_network() { # NAME
    local ranks verdict message worst
    if ! OMP_NUM_THREADS=1 timeout -k 5 600 python3 "$exporter" "$scratch/nets" "$1" >"$scratch/log" 2>&1; then
        tap_skip "$1" "torch does not export it: $(tail -n 1 "$scratch/log")"
        return
    fi
    for ranks in 1 2 3; do
        cohort_on $ranks verify --json "$scratch/nets/$1" >"$scratch/out.json" 2>"$scratch/log"
        IFS=$'\t' read -r _ verdict message worst < <(verify_cases "$scratch/out.json")
        if [ "${verdict:-}" = passed ]; then
            tap_ok "$1, np $ranks: differs by $(printf %.1e "$worst")"
        else
            tap_not_ok "$1, np $ranks" "${message:-$(tail -n 5 "$scratch/log")}"
        fi
    done
    rm -rf "$scratch/nets/$1"
}

if [ ! -e "$exporter" ]; then
    tap_skip "torchvision's networks" "no $exporter: set COHORT_SHARED or COHORT_EXPORT"
elif ! python3 -c 'import torch, torchvision, onnx' 2>/dev/null; then
    tap_skip "torchvision's networks" \
        "NONE WAS RUN: python3 has no torch, torchvision and onnx (Debian: python3-torch python3-torchvision python3-onnx)"
else
    mkdir -p "$scratch/nets"
    for name in $names; do one_network "$name"; done
fi
tap_end
