#!/usr/bin/env bash
# Failures that nobody can plan for: no memory, a failing MPI call, a board that fails, stops or dies
# at any moment.  Every run ends within 10 seconds (20 where two run at a time), with a status that is
# not zero and exactly one line that says why; it crashes nowhere and forgets no memory (COHORT_INJECT
# makes leaks errors).
cd "$(dirname "$0")/../.." || exit 1
. tests/tap.sh
. tests/support/binary.sh
cohort=${COHORT_BIN:-$PWD/build/cohort}
mpirun=$(command -v mpirun.openmpi || command -v mpirun)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export XDG_CACHE_HOME=$scratch/cache
export COHORT_NO_PROFILE=yes # but for `profile` itself
limit=10 # seconds
runs=0
cd "$scratch" || exit 1
"$cohort" synth lenet5 --size 16 --width 0.1 -o net.onnx || exit 1
picture_png >picture.png

said() { grep '^cohort: ' err | grep -vE '^cohort: (warning|note): '; }

# Runs with a failure injected; the status is 0 (it was beyond the end), 1 (as it should be) or 2,
# after telling what is wrong.
inject() { # FAILURE COMMAND...
    local failure=$1 status lines
    shift
    COHORT_INJECT=$failure timeout -k 2 $limit "$@" >out 2>err </dev/null
    status=$?
    lines=$(said | grep -c .)
    runs=$((runs + 1))
    [ $status -eq 0 ] && [ "$lines" -eq 0 ] && return 0
    if [ $status -eq 1 ] && [ "$lines" -eq 1 ] && ! grep -qE '^cohort: leak|bug at' err; then
        return 1
    fi
    echo "# $failure: status $status, $lines lines: $(head -n 6 err | tr '\n' '|')"
    return 2
}

# All n from 1 in these steps until one is beyond the end; `most` is the largest n that is sensible.
sweep() { # NAME KIND AT STEP MOST COMMAND...
    local name=$1 kind=$2 at=$3 step=$4 most=$5 n=1 wrong=0 failed=0
    shift 5
    while [ $n -le "$most" ]; do
        inject "$kind:$n$at" "$@"
        case $? in
        0) break ;;
        1) failed=$((failed + 1)) ;;
        2) wrong=$((wrong + 1)) ;;
        esac
        n=$((n + step))
    done
    if [ $wrong -eq 0 ] && [ $failed -gt 2 ] && [ $n -le "$most" ]; then
        tap_ok "$name: $failed failures, none left at $n"
    else
        tap_not_ok "$name: $failed failures, $wrong wrong, ended at $n"
    fi
}

# ---- the n-th allocation or MPI call -----------------------------------------------------------

one_board() {
    sweep "inspect" alloc "" 7 20000 "$cohort" inspect net.onnx
    sweep "inspect --json" alloc "" 11 20000 "$cohort" inspect net.onnx --json
    sweep "plan" alloc "" 11 20000 "$cohort" plan net.onnx --boards 3
    sweep "synth" alloc "" 5 20000 "$cohort" synth lenet5 --size 16 --width 0.1 -o made.onnx
    sweep "run" alloc "" 5 20000 "$cohort" run net.onnx
    sweep "run --json on a picture" alloc "" 11 20000 "$cohort" run net.onnx --input picture.png --top 3 --json
    sweep "run --as json" alloc "" 13 20000 "$cohort" run net.onnx --as json -o out.json --report
    sweep "run --plan" alloc "" 13 20000 "$cohort" run net.onnx --groups 0-1,2- --save-plan plan.json
    sweep "bench" alloc "" 13 20000 "$cohort" bench net.onnx --repeat 1
    sweep "profile" alloc "" 41 20000 "$cohort" profile net.onnx --again --groups all --engines --threads 2
    sweep "1 rank under mpirun, memory" alloc "@0" 97 20000 "$mpirun" -n 1 "$cohort" run net.onnx
}

three=("$mpirun" --bind-to none -n 3 "$cohort" run net.onnx --groups 0-1,2-)
three_running() {
    local rank
    for rank in 0 1 2; do
        rm -rf cache
        sweep "3 ranks, memory of rank $rank" alloc "@$rank" $((rank == 0 ? 307 : 127)) 20000 "${three[@]}"
        rm -rf cache
        sweep "3 ranks, MPI of rank $rank" mpi "@$rank" 41 2000 "${three[@]}" --weights send
    done
}
three_profiling() {
    local rank
    for rank in 0 2; do
        sweep "3 ranks profiling, memory of rank $rank" alloc "@$rank" 149 20000 "$mpirun" --bind-to none -n 3 "$cohort" profile net.onnx --again --groups all
        sweep "3 ranks profiling, MPI of rank $rank" mpi "@$rank" 251 4000 "$mpirun" --bind-to none -n 3 "$cohort" profile net.onnx --again --groups all
    done
}
three_adapting() {
    local rank
    local adapting=(env -u COHORT_NO_PROFILE "$mpirun" --bind-to none -n 3 "$cohort" run adapted.onnx --cpu-share 0.3 --adapt --ratio 1:1:1 --repeat 6)
    local slower=",share:0.02:2@1" # so that there is another plan
    "$cohort" synth resnet18 --size 32 --width 0.25 --features -o adapted.onnx
    COHORT_INJECT=${slower#,} timeout -k 2 $limit "${adapting[@]}" >out 2>err
    tap_run "3 ranks have another plan" grep -q '^cohort: note: after 4 runs another plan' err
    for rank in 0 2; do
        sweep "3 ranks adapting, memory of rank $rank" alloc "@$rank$slower" $((rank == 0 ? 1993 : 797)) 40000 "${adapting[@]}"
    done
    sweep "3 ranks adapting, MPI of rank 2" mpi "@2$slower" 61 4000 "${adapting[@]}"
}

# Two at a time, each in a folder of its own: what fails, and how, does not depend on what else runs,
# only how long it takes does.
apart() { # FUNCTION...
    (
        mkdir "$1" && cp net.onnx picture.png "$1" && cd "$1" || exit 1
        export XDG_CACHE_HOME=$PWD/cache
        "$@"
        echo "# $runs runs with an injected failure"
        tap_end
    ) >"$1.tap"
}
limit=20
{ apart one_board; apart three_profiling; } &
apart three_running
wait
for part in one_board three_running three_profiling; do tap_include $part.tap; done
three_adapting # by measured times: nothing else runs
limit=10
inject mpi:20@1 "${three[@]}" --timeout 5
tap_run "the message names the call and the board" grep -qE '^cohort: .*\(rank 1\): MPI_[A-Z][a-z_]* failed' err
"${three[@]}" --inject-mpi 20 >out 2>err
tap_run "--inject-mpi does the same" grep -qE '^cohort: .*\(rank 1\): MPI_[A-Z][a-z_]* failed' err

# ---- one board fails, in each phase ------------------------------------------------------------

for phase in share board compile weights prepare transfers run report; do
    for rank in $([[ $phase == [sr]* ]] && echo 0) 2; do
        inject "phase:$phase@$rank" "${three[@]}"
        if [ $? -eq 1 ] && said | grep -qE "^cohort: [^ ]+ \(rank $rank\): phase $phase: "; then
            tap_ok "$phase fails on rank $rank"
        else
            tap_not_ok "$phase fails on rank $rank" "$(head -n 6 err)"
        fi
    done
    COHORT_INJECT=phase:$phase "$cohort" run net.onnx >out 2>err
    if [ $? -eq 1 ] && [ "$(cat err)" = "cohort: phase $phase: failure injected by a test" ]; then
        tap_ok "$phase fails alone"
    else
        tap_not_ok "$phase fails alone" "$(head -n 6 err)"
    fi
done

# ---- a board stops, or dies --------------------------------------------------------------------

# Sends a signal to that rank while all of them compute; `seconds` is what it took until the end.
disturb() { # RANK SIGNAL
    local job pid p begin
    timeout -k 2 60 "$mpirun" --bind-to none -n 3 "$cohort" run net.onnx --repeat 1000000 --timeout 2 \
        >out 2>err </dev/null &
    job=$!
    sleep 3
    pid=
    for p in /proc/[0-9]*; do # by what mpirun gave that process, and the folder that is ours alone
        if [ "$(readlink "$p/cwd" 2>/dev/null)" = "$scratch" ] && [ "$(readlink "$p/exe")" -ef "$cohort" ] &&
            tr '\0' '\n' <"$p/environ" 2>/dev/null | grep -qx "OMPI_COMM_WORLD_RANK=$1"; then
            pid=${p#/proc/}
        fi
    done
    [ -n "$pid" ] || { echo "# rank $1 is not there: $(cat err)" && return; }
    begin=$(date +%s%N)
    kill "-$2" "$pid"
    wait $job
    status=$?
    seconds=$((($(date +%s%N) - begin) / 1000000000))
    kill -KILL "$pid" 2>/dev/null # nobody else can wake it
}
for rank in 1 2; do
    disturb $rank STOP
    tap_run "rank $rank stopped: an end after $seconds s" test "$status" -ne 0 -a "$seconds" -le 12
    tap_run "rank $rank stopped: named, once" test "$(said)" = \
        "$(said | grep -E "^cohort: .*\(rank 0\): .*no answer within 2 s from .*\(rank $rank\)$" | head -n 1)" -a -n "$(said)"
done
disturb 0 STOP # it may say the same again when mpirun wakes it up to end it
tap_run "rank 0 stopped: an end after $seconds s" test "$status" -ne 0 -a "$seconds" -le 14
tap_run "rank 0 stopped: another one names it" test "$(said | sort -u | grep -cE 'no answer within 2 s from .*\(rank 0\)$')" -eq 1
for rank in 0 1; do
    disturb $rank KILL
    tap_run "rank $rank killed: an end after $seconds s" test "$status" -ne 0 -a "$seconds" -le 10
done

# ---- the cache of weights ----------------------------------------------------------------------

answer() { grep -E '^  [A-Za-z0-9_]+ +float32' out; }
"$cohort" run net.onnx >out 2>err
right=$(answer)
received() { # of the report: bytes of weights that travelled to all boards
    grep -oE '"weights_received_bytes": *[0-9]+' out | grep -oE '[0-9]+$' | awk '{ s += $1 } END { print s + 0 }'
}
"$cohort" synth lenet5 --size 32 -o large.onnx # its weights are large enough to be cached
large=("$mpirun" --bind-to none -n 2 "$cohort" run large.onnx)
rm -rf cache
"${large[@]}" --json >out 2>err
first=$(received)
tap_run "the first run sends weights" test "$first" -gt 0
"${large[@]}" --json >out 2>err
tap_run "the second run sends none" test "$(received)" -eq 0
for f in cache/cohort/weights/*; do
    tr '\000-\377' '\001-\377\000' <"$f" >turned && cat turned >"$f"
done
"${large[@]}" >out 2>err
corrupt=$(answer)
"$cohort" run large.onnx >out 2>err
tap_run "corrupt files in the cache do no harm" test -n "$corrupt" -a "$corrupt" = "$(answer)"
"${large[@]}" --json >out 2>err
tap_run "and are replaced" test "$(received)" -eq 0
for f in cache/cohort/weights/*; do head -c 7 "$f" >cut && cat cut >"$f"; done
"${large[@]}" --json >out 2>err
tap_run "files that are cut are fetched again" test "$(received)" -eq "$first"
for f in cache/cohort/weights/*; do rm "$f" && mkdir "$f"; done
"${large[@]}" >out 2>err
status=$?
tap_run "folders in their place do no harm" test $status -eq 0 -a "$(answer)" = "$corrupt"
tap_run "but there is a warning, one a board" test "$(grep -c '^cohort: warning: .*not cached' err)" -eq 1
echo "in the way" >file
# The limit is the ranks' own: mpirun and shared memory need larger files.
OMPI_MCA_btl=self,tcp timeout 60 "$mpirun" --bind-to none -n 2 \
    bash -c 'trap "" XFSZ; ulimit -f 8; exec "$@"' limited "$cohort" run large.onnx --cache full >out 2>err
status=$?
tap_run "a disk that is full does no harm" test $status -eq 0 -a "$(answer)" = "$corrupt"
tap_run "but there is a warning, one a board" test "$(grep -c '^cohort: warning: .*not cached' err)" -eq 1
tap_run "and no half files" test -z "$(ls full/weights)"
"${large[@]}" --cache file >out 2>err
status=$?
tap_run "a cache that cannot be made does no harm" test $status -eq 0 -a "$(answer)" = "$corrupt"
tap_run "but there is a warning, one a board" test "$(grep -c '^cohort: warning: .*not cached' err)" -eq 1
"$mpirun" --bind-to none -n 6 "$cohort" run net.onnx --groups 0-3,4- >out 2>err
status=$?
tap_run "more ranks than rows" test $status -eq 0 -a "$(answer)" = "$right"
echo "# $runs runs with an injected failure"
tap_end
