#!/usr/bin/env bash
# A board's share of the CPU is halved while `cohort run --adapt` runs on the emulated farm: within 20
# inferences the latency is at most 10 % above that of a plan made fresh for the slower board.
# Then a link becomes slower, and that is noticed, too.
# Needs root and a kernel with namespaces, bridges and tbf; skips loudly without.
cd "$(dirname "$0")/../.." || exit 2
. tests/tap.sh
. tests/support/farm.sh
unset COHORT_NO_PROFILE
without=""
command -v python3 >/dev/null || without="no python3"
begin_farm adapt "plans made anew on the emulated farm" 4 --share 0.05
net=$work/net.onnx
"$cohort" synth vgg11 --size 112 --width 0.5 --features -o "$net" || exit 1
"$cohort" run "$net" --no-profile --as npy -o "$work/one.npy" >/dev/null 2>&1

four() { # COMMAND...
    timeout 150 bench/farm exec b1 "$mpirun" -n 4 "$cohort" "$@" >"$work/out" 2>"$work/err"
}
# The latencies of the runs, in their order, one a line.
each() { sed -n '/"each":/,/\]/p' "$work/out" | grep -oE '[0-9]+\.?[0-9]*'; }
median() { sort -n | awk '{ a[NR] = $1 } END { print NR % 2 ? a[(NR + 1) / 2] : (a[NR / 2] + a[NR / 2 + 1]) / 2 }'; }
at_most() { awk -v a="$1" -v b="$2" -v f="$3" 'BEGIN { exit !(a > 0 && b > 0 && a <= f * b) }'; }

# ---- a slower board ----------------------------------------------------------------------------

# From run 10 on b3 has half its share; runs 26 to 30 are after 20 inferences at most.
tap_run "before" four run "$net" --repeat 9 --json
before=$(each | median)
export COHORT_INJECT=share:0.5:10@2
tap_run "a board's share is halved, the plan stays" four run "$net" --repeat 24 --json
slow=$(each | tail -n 9 | median)
tap_run "a board's share is halved, the plan is adapted" four run "$net" --adapt --repeat 30 --json
after=$(each | tail -n 5 | median)
tap_run "  a line says so" grep -qE 'note: after 1[0-9] runs another plan, because b3 \(rank 2\) takes [12](\.[0-9]+)? times as long' "$work/err"
grep 'another plan' "$work/err" | sed 's/^/# /'
four run "$net" --adapt --rows-only --repeat 30 --as npy -o "$work/four.npy"
tap_run "  the answer is one board's, by rows" cmp "$work/one.npy" "$work/four.npy"
unset COHORT_INJECT

# The same boards as they are then, known from the beginning: the profile that the runs above had, but
# b3 takes twice as long.  (Profiled once more they would differ by a few percent, and dilated boards
# take what was profiled.)
four profile "$net" -o "$work/profile.json"
tap_run "a profile of the slower board" python3 -c '
import json, sys
p = json.load(open(sys.argv[1]))
for b in p["boards"]:
    if b["host"] == "b3":
        b["scale"] = 2 * b.get("scale", 1)
json.dump(p, open(sys.argv[2], "w"))
' "$work/profile.json" "$work/slower.json"
tap_run "a fresh plan for it" four run "$net" --profile "$work/slower.json" --repeat 9 --json
fresh=$(each | median)
echo "# ms: $before before, $slow with the plan as it was, $after adapted, $fresh with a fresh plan"
tap_run "  the latency had suffered" at_most "$fresh" "$slow" 0.92
tap_run "  adapted it is at most 10 % above a fresh plan's" at_most "$after" "$fresh" 1.10

# ---- a slower link -----------------------------------------------------------------------------

four run "$net" --adapt --repeat 60 --json &
job=$!
for ((tries = 0; tries < 600; tries++)); do # runs have begun when the boards are profiled
    grep -q 'note: plan' "$work/err" && break
    sleep 0.05
done
sleep 2
farm link b4 8mbit >/dev/null
wait $job
status=$?
tap_run "a link becomes slower" test $status -eq 0
tap_run "  and gets another plan" grep -qE 'another plan, because messages from .*b4' "$work/err"
grep 'another plan' "$work/err" | sed 's/^/# /'
echo "# ms: $(each | head -n 5 | median) before, $(each | tail -n 5 | median) in the end"
tap_end
