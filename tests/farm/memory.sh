#!/usr/bin/env bash
# A network larger than any board: VGG-19 (574 MB of weights) on six emulated boards that control
# groups give 200 MB each, the program's, MPI's and its daemons' together, without swap.
# `cohort run` measures these boards, finds a plan that fits them and runs it, all within their
# memory; a plan by hand divides its last layers by channels, and so does one for made-up boards; the
# answer is one board's.  All weights on one board do not fit, and where nothing fits a search says by
# how much.
# Needs root and a kernel with namespaces, bridges, tbf and a memory controller; skips loudly
# without.
cd "$(dirname "$0")/../.." || exit 2
. tests/tap.sh
. tests/support/farm.sh
limit=200000000
begin_farm memory "a network larger than any board" 6 --rate 1gbit --memory $limit

net=$work/vgg19.onnx
"$cohort" synth vgg19 -o "$net" || exit 1
signature=$("$cohort" plan "$net" --boards 6 | sed -n 's/.*"signature": "\([0-9a-f]*\)".*/\1/p')

segment() { # UNTIL MODE OUTPUT SPLIT
    printf '{"until": "%s", "mode": "%s", "output": "%s", "split": [%s]}' "$@"
}
by_512=0,80,160,256,336,416,512
by_4096=0,672,1360,2048,2720,3408,4096
cat >"$work/plan.json" <<EOF
{"format": "cohort-plan", "version": 3, "network": "vgg19", "signature": "$signature", "strategy": "manual", "boards": 6, "segments": [
$(segment pool1 tile stay 0,19,38,57,76,94,112),
$(segment pool2 tile stay 0,10,20,29,38,47,56),
$(segment pool3 tile stay 0,5,10,15,20,24,28),
$(segment pool4 tile stay 0,3,6,8,10,12,14),
$(segment relu5_1 out-channel stay $by_512),
$(segment relu5_2 in-channel all $by_512),
$(segment relu5_3 out-channel stay $by_512),
$(segment relu5_4 in-channel all $by_512),
{"until": "pool5", "mode": "replicate"},
$(segment relu6 out-channel stay $by_4096),
$(segment relu7 in-channel all $by_4096),
$(segment logits out-channel root 0,160,320,496,656,816,1000)]}
EOF

six() { # COMMAND...
    timeout 150 bench/farm exec b1 "$mpirun" -n 6 "$cohort" "$@" >"$work/out" 2>"$work/err"
}
# What the group of a board had at most; pages of files that could go at any time count here, too.
most_of() { # BOARD
    cat "/sys/fs/cgroup/memory/cohort-$COHORT_FARM/$1/memory.max_usage_in_bytes" \
        "/sys/fs/cgroup/cohort-$COHORT_FARM/$1/memory.peak" 2>/dev/null
}
# The largest difference of two .npy of so many float32, as a share of the largest of the second.
difference() { # A B COUNT
    paste <(tail -c $((4 * $3)) "$1" | od -An -v -tf4 -w4) <(tail -c $((4 * $3)) "$2" | od -An -v -tf4 -w4) |
        awk '{ d = $1 - $2; d = d < 0 ? -d : d; b = $2 < 0 ? -$2 : $2; if (d > most) most = d; if (b > largest) largest = b } END { print (NR > 1 ? most / largest : 1) }'
}

"$cohort" run "$net" --threads 1 --no-profile --as npy -o "$work/one.npy" >/dev/null 2>&1
tap_run "VGG-19 runs on six boards of 200 MB" six run "$net" --plan "$work/plan.json" --no-profile --weights send --report --as npy -o "$work/six.npy"
[ -s "$work/six.npy" ] || tail -n 3 "$work/err" | sed 's/^/# /'
grep -E "MB (of memory|packed|weights)|prepared" "$work/out" | sed 's/^/# /'
off=$(difference "$work/six.npy" "$work/one.npy" 1000 2>/dev/null)
tap_run "  its answer is one board's, to rounding (off by ${off:-?})" awk -v d="${off:-1}" 'BEGIN { exit !(d < 1e-4) }'
for b in 1 2 3 4 5 6; do most_of b$b; done >"$work/most"
tap_run "  no board's group had more ($(sort -n "$work/most" | tail -n 1) bytes at most)" awk -v l=$limit '$1 > l { bad = 1 } END { exit bad || NR != 6 }' "$work/most"
cat >"$work/local.json" <<EOF
{"format": "cohort-plan", "version": 2, "network": "vgg19", "signature": "$signature", "strategy": "manual", "boards": 6, "segments": [{"until": "logits", "mode": "local", "board": 1}]}
EOF
tap_fails "all weights on one board are refused" "b2 .*memory" timeout 100 bench/farm exec b1 "$mpirun" -n 6 "$cohort" run "$net" --plan "$work/local.json" --no-profile --weights send

# As a user would type it.  What the plan takes is less than the limit: the boards know that the
# process has some of their memory already.
: >"$work/most"
begin=$SECONDS
tap_run "VGG-19 is profiled, planned and run on them" six run "$net" --memory-limit 200M --weights send --report --as npy -o "$work/typed.npy"
[ -s "$work/typed.npy" ] || tail -n 3 "$work/err" | sed 's/^/# /'
echo "# $((SECONDS - begin)) s"
grep -E "MB (of memory|packed|weights)|prepared" "$work/out" | sed 's/^/# /'
off=$(difference "$work/typed.npy" "$work/one.npy" 1000 2>/dev/null)
tap_run "  its answer is one board's, to rounding (off by ${off:-?})" awk -v d="${off:-1}" 'BEGIN { exit !(d < 1e-4) }'
for b in 1 2 3 4 5 6; do most_of b$b; done >"$work/most"
tap_run "  and no board's group had more ($(sort -n "$work/most" | tail -n 1) bytes at most)" awk -v l=$limit '$1 > l { bad = 1 } END { exit bad || NR != 6 }' "$work/most"

# What a board has beside its plan (the program, MPI, its daemons) is some 40 MB, and made-up boards
# know nothing of Winograd's larger weights.
tap_run "auto finds a plan within a limit" "$cohort" plan "$net" --synthetic "6xpi:15 link:1Gbit:0.3ms" --memory-limit 120M -o "$work/auto.json"
tap_run "  which runs on them" six run "$net" --plan "$work/auto.json" --no-profile --weights send --report --as npy -o "$work/auto.npy"
[ -s "$work/auto.npy" ] || tail -n 3 "$work/err" | sed 's/^/# /'
grep -E "MB (of memory|packed|weights)|prepared" "$work/out" | sed 's/^/# /'
off=$(difference "$work/auto.npy" "$work/one.npy" 1000 2>/dev/null)
tap_run "  its answer is one board's, to rounding (off by ${off:-?})" awk -v d="${off:-1}" 'BEGIN { exit !(d < 1e-4) }'
for b in 1 2 3 4 5 6; do most_of b$b; done >"$work/most"
tap_run "  and no board's group had more ($(sort -n "$work/most" | tail -n 1) bytes at most)" awk -v l=$limit '$1 > l { bad = 1 } END { exit bad || NR != 6 }' "$work/most"
for how in coedge auto; do
    tap_fails "a limit that no plan of $how keeps says by how much, and where" "needs [0-9.]+ MB on board [0-9]+ .*, [0-9.]+ MB more than the limit of 21.0 MB" \
        "$cohort" plan "$net" --synthetic "6xpi:15 link:100Mbit:0.3ms" --strategy $how --memory-limit 20M
done

# ---- control groups that this machine has not ----------------------------------------------------

# Version 2, as files of a folder: what is written, not what the kernel makes of it.
farm down
fake=$work/cgroups
mkdir "$fake"
echo "cpuset cpu io memory pids" >"$fake/cgroup.controllers"
: >"$fake/cgroup.subtree_control"
groups=$fake/cohort-$COHORT_FARM
export COHORT_FARM_CGROUPS=$fake
tap_run "boards with control groups of version 2" farm up 2 --memory 64M,96M
tap_run "  have their memory" test "$(cat "$groups"/b[12]/memory.max 2>/dev/null | paste -sd,)" = 64M,96M
tap_run "  and no swap" test "$(cat "$groups"/b[12]/memory.swap.max 2>/dev/null | paste -sd,)" = 0,0
rm -f "$groups/b2/cgroup.procs"
farm exec b2 true
tap_run "  and what runs on them is in them" test -s "$groups/b2/cgroup.procs"
farm down 2>/dev/null
unset COHORT_FARM_CGROUPS

tap_end
