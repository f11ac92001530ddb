#!/usr/bin/env bash
# A rank that dies, and one that stops, in the middle of an inference: all the others end within
# seconds, with one message that names it.  (A rank on this machine stands for a board.)
set -u
cd "$(dirname "$0")/../.." || exit 2
. tests/tap.sh
build=${COHORT_BUILD:-$PWD/build}
mpirun=$(command -v mpirun.openmpi || command -v mpirun)
export OMPI_MCA_rmaps_base_oversubscribe=1
out=$(mktemp) || exit 2
trap 'rm -f "$out"' EXIT

lose() { # scatterv|ordered VICTIM kill|stop
    local name="rank $2 of 4: $3, $1" messages victim
    # mpirun does not end by itself when a rank is stopped, hence the time limit
    timeout -k 2 9 "$mpirun" --allow-run-as-root --enable-recovery --bind-to none -n 4 \
        "$build/tests/mpi/test_comm_lost" "$@" >"$out" 2>/dev/null </dev/null
    victim=$(sed -n 's/^victim //p' "$out")
    [ -n "$victim" ] && kill -9 "$victim" 2>/dev/null # a stopped one outlives mpirun
    messages=$(grep -E '^rank [0-9]+: timeout after' "$out" | grep -v "^rank $2:")
    if [ "$(grep -c . <<<"$messages")" -ne 3 ]; then
        tap_not_ok "$name: three ranks give up" "$(cat "$out")"
    elif [ "$(sed 's/^.* s: //' <<<"$messages" | sort -u | grep -c .)" -ne 1 ]; then
        tap_not_ok "$name: with one message" "$messages"
    elif ! grep -q "no answer within 1 s from .*(rank $2)" <<<"$messages"; then
        tap_not_ok "$name: which names the rank" "$messages"
    elif [ "$(grep -v "^rank $2:" "$out" | grep -c ': closed after [0-7]\.')" -ne 3 ]; then
        tap_not_ok "$name: and end soon" "$(cat "$out")"
    else
        tap_ok "$name: the others say so and end"
    fi
}

if [ ! -x "$build/tests/mpi/test_comm_lost" ]; then
    tap_not_ok "test_comm_lost is built"
else
    for how in scatterv ordered; do
        for rank in 0 2; do
            lose $how $rank kill
            lose $how $rank stop
        done
    done
fi
tap_end
