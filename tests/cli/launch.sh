#!/usr/bin/env bash
# The ways in which a user launches a network: numbers of ranks, hostfiles, bindings, plans, ratios,
# options from the environment.  Every one must give one rank's answer, bit for bit.
cd "$(dirname "$0")/../.." || exit 1
. tests/tap.sh
cohort=${COHORT_BIN:-$PWD/build/cohort}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export XDG_CACHE_HOME=$scratch/cache OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
mpirun=$(command -v mpirun.openmpi || command -v mpirun)
launch() { timeout 120 "$mpirun" --oversubscribe "$@"; }

for network in squeezenet1.1 resnet18; do
    "$cohort" synth $network --size 64 --width 0.25 -o "$scratch/$network.onnx" &&
        "$cohort" run "$scratch/$network.onnx" --as npy -o "$scratch/$network.one.npy" >/dev/null || exit 1
done
net=$scratch/squeezenet1.1.onnx one=$scratch/squeezenet1.1.one.npy

same() { # NAME COMMAND...: runs it with -o, compares
    local name=$1
    shift
    rm -f "$scratch/out.npy"
    if ! "$@" --rows-only --as npy -o "$scratch/out.npy" >"$scratch/out" 2>"$scratch/err"; then
        tap_not_ok "$name" "$(tail -n 5 "$scratch/out" "$scratch/err")"
    elif ! cmp -s "$scratch/out.npy" "$one"; then
        tap_not_ok "$name" "another answer than one rank's"
    elif LC_ALL=C grep -q $'\033' "$scratch/out" "$scratch/err"; then
        tap_not_ok "$name" "it coloured what mpirun passes on"
    else
        tap_ok "$name"
    fi
}

for n in 1 2 3; do same "$n ranks" launch -n $n "$cohort" run "$net"; done
same "one thread a rank" launch -n 2 "$cohort" run "$net" --threads 1
echo localhost >"$scratch/bare.hosts"
same "a hostfile without slots, one rank" launch --hostfile "$scratch/bare.hosts" -n 1 "$cohort" run "$net"
same "a hostfile without slots, three ranks" launch --hostfile "$scratch/bare.hosts" -n 3 "$cohort" run "$net"
same "one rank a board" launch --hostfile "$scratch/bare.hosts" --map-by node -n 2 "$cohort" run "$net"
same "the sample hostfile of this machine" launch --hostfile hostfiles/localhost.hosts "$cohort" run "$net"
for how in core socket none; do
    same "bound to $how by mpirun" launch --bind-to $how -n 2 "$cohort" run "$net"
done
same "binding left alone" launch -n 2 "$cohort" run "$net" --no-binding

same "a ratio" launch -n 3 "$cohort" run "$net" --ratio 3:3:2
same "a ratio that leaves the root out" launch -n 3 "$cohort" run "$net" --ratio 0:2:1
same "a ratio that leaves another out" launch -n 3 "$cohort" run "$net" --ratio 1:0:1
same "a ratio by names" launch -n 2 "$cohort" run "$net" --ratio "$(hostname)=1"
same "a root that only feeds" launch -n 3 "$cohort" run "$net" --root feed
same "rows dealt out to all at once" launch -n 3 "$cohort" run "$net" --scatter scatterv
same "groups by number" launch -n 3 "$cohort" run "$net" --groups 0-3,4-
same "weights sent every time" launch -n 2 "$cohort" run "$net" --weights send
same "weights from a file on each board" launch -n 2 "$cohort" run "$net" --weights "local:$net"
same "the cache somewhere else" launch -n 2 "$cohort" run "$net" --no-profile --cache "$scratch/other"
tap_run "which then has weights in it" test -n "$(ls "$scratch/other/weights")"
same "and is used the second time" launch -n 2 "$cohort" run "$net" --cache "$scratch/other"

same "a plan that is kept" launch -n 3 "$cohort" run "$net" --ratio 1:2:1 --save-plan "$scratch/plan.json"
same "and used" launch -n 3 "$cohort" run "$net" --plan "$scratch/plan.json"
tap_run "cohort plan writes one" "$cohort" plan "$net" --boards 3 --ratio 1:2:1 -o "$scratch/made.json"
tap_run "the same, byte for byte" cmp "$scratch/plan.json" "$scratch/made.json"
tap_fails "a plan for another number of boards" '3' launch -n 2 "$cohort" run "$net" --plan "$scratch/plan.json"
tap_fails "a plan for another network" 'plan|network|signature' \
    launch -n 3 "$cohort" run "$scratch/resnet18.onnx" --plan "$scratch/plan.json"

same "options from the environment" env COHORT_RATIO=1:3 COHORT_SCATTER=ordered \
    timeout 120 "$mpirun" --oversubscribe -x COHORT_RATIO -x COHORT_SCATTER -n 2 "$cohort" run "$net"
one=$scratch/resnet18.one.npy
same "residual blocks over three ranks" launch -n 3 "$cohort" run "$scratch/resnet18.onnx"
same "more ranks than the last maps have rows" launch -n 5 "$cohort" run "$scratch/resnet18.onnx"

# A rank that is alone on its board uses every core of its cpuset, whatever binding it was given.
cores=$("$cohort" run "$net" --json | grep -oE '"threads": [0-9]+' | grep -oE '[0-9]+')
bound=$(launch -n 1 --bind-to core "$cohort" run "$net" --json | grep -oE '"threads": [0-9]+' | grep -oE '[0-9]+')
tap_run "one rank bound to a core uses all $cores" test "$cores" = "$bound"

# cohort check agrees on nothing before it has looked at the links: a rank whose environment is wrong
# must still answer the others, and rank 0 says what is wrong with it.
begin=$SECONDS
output=$(launch -n 1 "$cohort" check : -n 1 -x COHORT_THREADS=many "$cohort" check : -n 1 -x COHORT_CORES=0-9999 "$cohort" check 2>&1)
tap_run "check: a rank with wrong options in its environment" grep -q 'FAULT rank 1 .*COHORT_THREADS many: not a whole number' <<<"$output"
tap_run "  another whose cores are not there" grep -q 'FAULT rank 2 .*core list "0-9999"' <<<"$output"
tap_run "  and their links are measured all the same" test "$(grep -cE 'cannot talk|did not report' <<<"$output")" = 0 -a $((SECONDS - begin)) -lt 15
tap_fails "  the same on every rank is one message" 'cohort: unknown option --thread: did you mean --threads' launch -n 3 "$cohort" check --thread 2
tap_run "  and no table" test "$(launch -n 3 "$cohort" check --thread 2 2>&1 | grep -cE '^cohort: |FAULT')" = 1

tap_end
