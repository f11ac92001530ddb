#!/usr/bin/env bash
# cohort run --adapt as a user calls it: predictions beside measurements, another plan when a board
# becomes slower, the same answer, the old plan where a change fails.
cd "$(dirname "$0")/../.." || exit 1
. tests/tap.sh
. tests/support/binary.sh
cohort=${COHORT_BIN:-$PWD/build/cohort}
mpirun=$(command -v mpirun.openmpi || command -v mpirun)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
unset COHORT_NO_PROFILE
export XDG_CACHE_HOME=$scratch/cache OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
net=$scratch/net.onnx
"$cohort" synth resnet18 --size 64 --width 0.5 --features -o "$net" || exit 1
cd "$scratch" || exit 1
three() { # COMMAND...
    timeout 120 "$mpirun" --bind-to none -n 3 "$cohort" "$@" >out 2>err
}
notes() { grep -c '^cohort: note: after [0-9]* runs another plan, because' err; }
sum() { md5sum <"$1"; }

"$cohort" run "$net" --no-profile --as npy -o one.npy >out 2>err || exit 1

# ---- predicted beside measured -----------------------------------------------------------------

tap_run "a run that was planned by measurements" three run "$net" --cpu-share 0.3 --report --trace trace.json
tap_run "  has predictions in its table" grep -q 'times are measured / predicted' out
tap_run "  for every step" grep -qE '^0 +compute .* rows [0-9.]+ / [0-9.]+ ms' out
tap_run "  and for each board" grep -qE '^computing, measured / predicted +[0-9.]+ / [0-9.]+ ms [-+][0-9.]+%' out
tap_run "  and the simulator's timelines in its trace" grep -q '"predicted sending"' trace.json
tap_run "one that was not" three run "$net" --no-profile --report
tap_run "  has none" sh -c '! grep -q predicted out'
if command -v node >/dev/null; then
    # shellcheck disable=SC2016
    tap_run "the trace holds together" node -e '
        const t = JSON.parse(require("fs").readFileSync("trace.json"));
        const must = (ok, what) => { if (!ok) throw new Error(what); };
        const x = t.traceEvents.filter(e => e.ph === "X");
        for (let b = 0; b < 3; b++)
            for (const row of [0, 1, 2]) {
                const spans = x.filter(e => e.pid === b && e.tid === row);
                spans.sort((a, c) => a.ts - c.ts);
                must(row === 2 || spans.length > 0, "board " + b + ", row " + row);
                must(spans.every((s, i) => i === 0 || s.ts >= spans[i - 1].ts + spans[i - 1].dur - 1e-3), "overlap");
            }
        must(x.some(e => e.args.predicted_ms !== undefined), "waits have predictions");
    '
fi

# ---- a board that becomes slower ---------------------------------------------------------------

COHORT_INJECT=share:0.03:6@2 three run "$net" --adapt --rows-only --repeat 40 --cpu-share 0.3 --as npy -o slower.npy --report
status=$?
tap_run "a board becomes slower" test $status -eq 0
tap_run "  and gets another plan" test "$(notes)" -ge 1
tap_run "  for that reason" grep -qE 'another plan, because .*\(rank 2\) takes [0-9.]+ times as long: [0-9.]+ ms predicted instead of [0-9.]+ ms \(-[0-9]+ %\); it took [0-9]+ ms to change' err
echo "# $(grep -m 1 'another plan' err)"
tap_run "  the answer is the same" cmp one.npy slower.npy
COHORT_INJECT=share:0.03:6@2 three run "$net" --adapt --adapt-threshold 99 --repeat 20 --cpu-share 0.3
tap_run "not for a gain below the threshold" test "$(notes)" -eq 0
COHORT_INJECT=share:0.03:6@2 three run "$net" --adapt --rows-only --ratio 1:1:1 --repeat 20 --cpu-share 0.3 --as npy -o ratio.npy
tap_run "a plan by hand is where it begins" test "$(notes)" -ge 1
tap_run "  the answer is the same" cmp one.npy ratio.npy

# By pairs of channels the answer agrees to rounding only.
COHORT_INJECT=share:0.03:6@2 three run "$net" --adapt --strategy iop --repeat 20 --cpu-share 0.3 --as npy -o channels.npy --save-plan iop.json
tap_run "a plan by channels" grep -q '"in-channel"' iop.json
tap_run "  is where it begins" test "$(notes)" -ge 1
echo "# $(grep -m 1 'another plan' err)"
if command -v python3 >/dev/null; then
    tap_run "  the answer is the same to rounding" python3 -c '
import struct, sys
def floats(path):
    data = open(path, "rb").read()
    begin = 10 + int.from_bytes(data[8:10], "little")
    return struct.unpack("<%df" % ((len(data) - begin) // 4), data[begin:])
a, b = map(floats, sys.argv[1:])
worst = max(abs(x - y) for x, y in zip(a, b)) / max(map(abs, a))
print("# off by %.1e" % worst)
sys.exit(not (len(a) == len(b) and worst <= 1e-4))
' one.npy channels.npy
fi

COHORT_INJECT=share:0.03:6@2,phase:change@1 three run "$net" --adapt --rows-only --repeat 20 --cpu-share 0.3 --as npy -o failed.npy
status=$?
tap_run "a change that fails on one board does no harm" test $status -eq 0 -a "$(notes)" -eq 0
tap_run "  but is said" grep -qE '^cohort: warning: the plan stays as it is: .*\(rank 1\): phase change: ' err
tap_run "  the answer is the same" cmp one.npy failed.npy

# ---- several inputs, one board, contradictions -------------------------------------------------

picture_png >picture.png
several=(--input picture.png --input picture.png --input picture.png)
answers() { grep -E '^  [^ ]+ +float32' out; }
"$cohort" run "$net" --no-profile "${several[@]}" >out 2>err
right=$(answers)
COHORT_INJECT=share:0.03:6@2 three run "$net" --adapt --rows-only "${several[@]}" --repeat 8 --warmup 1 --cpu-share 0.3
tap_run "several inputs" test "$(notes)" -ge 1
tap_run "  have their answers" test -n "$right" -a "$(answers)" = "$right"
tap_run "what --adapt goes by cannot be left out" sh -c '! "$@" 2>err && grep -q "adapt goes by measurements: leave out --no-profile, or it" err' - "$cohort" run "$net" --adapt --no-profile
tap_run "  nor with --keep-nodes" sh -c '! "$@" 2>err && grep -q "leave out --keep-nodes, or it" err' - "$cohort" run "$net" --adapt --keep-nodes
tap_run "one board" sh -c '"$@" >out 2>err && grep -q "note: one board has nothing to divide: --adapt does nothing" err' - "$cohort" run "$net" --adapt --repeat 3
tap_end
