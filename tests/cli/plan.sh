#!/usr/bin/env bash
# cohort plan with a search: every strategy's plan runs and gives one board's bytes, what it prints
# holds together, and mistakes.
cd "$(dirname "$0")/../.." || exit 1
. tests/tap.sh
cohort=${COHORT_BIN:-$PWD/build/cohort}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export XDG_CACHE_HOME=$scratch/cache OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
export OMPI_MCA_btl_vader_single_copy_mechanism=none
mpirun=$(command -v mpirun.openmpi || command -v mpirun)
net=$scratch/net.onnx
boards="2xfast:2 slow:1 link:100Mbit:0.2ms"
"$cohort" synth resnet18 --size 64 --width 0.25 -o "$net" || exit 1

plan() { "$cohort" plan "$net" --synthetic "$boards" "$@"; }
value() { # KEY FILE: of a JSON document, the first number behind that key
    grep -oE "\"$1\": *[0-9.e+-]+" "$2" | head -n 1 | grep -oE '[0-9.e+-]+$'
}

# ---- plans run ---------------------------------------------------------------------------------

timeout 60 "$cohort" run "$net" --threads 1 --as npy -o "$scratch/one.npy" >/dev/null 2>&1
for s in single layerwise early-fused legion aofl fss coedge iop auto; do
    tap_run "--strategy $s writes a plan" plan --strategy $s --predicted -o "$scratch/$s.json"
    tap_run "the plan of $s names it" grep -q "\"strategy\": \"$s\"" "$scratch/$s.json"
done
plan --strategy auto --rows-only -o "$scratch/auto.json"
tap_run "--rows-only divides nothing by channels" sh -c '! grep -q channel "$1"' - "$scratch/auto.json"
for s in legion coedge auto; do
    timeout 120 "$mpirun" -np 3 "$cohort" run "$net" --threads 1 --plan "$scratch/$s.json" --as npy -o "$scratch/$s.npy" >"$scratch/run.out" 2>&1
    if cmp -s "$scratch/one.npy" "$scratch/$s.npy"; then
        tap_ok "the plan of $s gives one board's bytes on three"
    else
        tap_not_ok "the plan of $s gives one board's bytes on three" "$(tail -n 3 "$scratch/run.out")"
    fi
done

# ---- what it says ------------------------------------------------------------------------------

plan --strategy auto >"$scratch/a.json" 2>/dev/null
plan >"$scratch/b.json" 2>/dev/null
tap_run "auto is the default, and the same wishes give the same plan" cmp "$scratch/a.json" "$scratch/b.json"
plan --json >"$scratch/j.json" 2>/dev/null
plan --strategy coedge --json >"$scratch/c.json" 2>/dev/null
tap_run "--json has predicted_ms, planning_ms, peak_bytes and steps" \
    test "$(grep -cE '^  "(predicted_ms|planning_ms|peak_bytes|steps)":' "$scratch/j.json")" = 4
tap_run "auto is not slower than coedge" \
    awk -v a="$(value predicted_ms "$scratch/j.json")" -v b="$(value predicted_ms "$scratch/c.json")" 'BEGIN { exit !(a > 0 && a <= b) }'
plan --strategy all --predicted >"$scratch/all.txt" 2>/dev/null
tap_run "--strategy all has a row for each" test "$(grep -cE '^(single|layerwise|early-fused|legion|aofl|fss|coedge|iop|auto) +[0-9]' "$scratch/all.txt")" = 9
plan --explain >"$scratch/e.txt" 2>/dev/null
tap_run "--explain says what each segment does" grep -qE '^ +0  operators 0 to [0-9]+, until ' "$scratch/e.txt"
tap_run "--explain says what was next best" grep -q 'next best: ' "$scratch/e.txt"
tap_run "--explain lists the boards" grep -qE '^ +2 slow ' "$scratch/e.txt"

# A plan that is there, and one by hand with the last operator by channels.
plan --plan "$scratch/a.json" --json >"$scratch/there.json" 2>/dev/null
tap_run "a plan that is there is predicted as when it was made" test "$(value predicted_ms "$scratch/there.json")" = "$(value predicted_ms "$scratch/a.json")"
signature=$(grep -oE '"signature": "[0-9a-f]+"' "$scratch/a.json")
read -r before last < <("$cohort" inspect "$net" | awk '/^ +[0-9]+  /{print $2}' | tail -n 2 | tr '\n' ' ')
cat >"$scratch/hand.json" <<EOF
{"format": "cohort-plan", "version": 3, "network": "n", $signature, "strategy": "manual", "boards": 3, "segments": [
 {"until": "$before", "mode": "local", "board": 0, "output": "root"},
 {"until": "$last", "mode": "out-channel", "split": [0, 400, 800, 1000], "output": "root"}]}
EOF
plan --plan "$scratch/hand.json" --explain >"$scratch/e.txt" 2>&1
tap_run "--explain of channels" grep -q "until $last: out-channel 400+400+200 channels, to the root" "$scratch/e.txt"
tap_run "  is a prediction" grep -qE '^manual: [0-9.]+ ms predicted, 2 segments, 3 of 3 boards' "$scratch/e.txt"
plan --plan "$scratch/hand.json" --json >"$scratch/hand.out" 2>/dev/null
tap_run "--json of channels" grep -q '"mode": "out-channel"' "$scratch/hand.out"
timeout 60 "$mpirun" -np 3 "$cohort" profile "$net" --threads 1 -o "$scratch/here.json" >/dev/null 2>&1
timeout 60 "$mpirun" -np 3 "$cohort" run "$net" --threads 1 --plan "$scratch/hand.json" --profile "$scratch/here.json" --report >"$scratch/report" 2>&1
tap_run "a run by a plan and a profile says what was predicted" grep -qE "join +$last .*[0-9] / [0-9]" "$scratch/report"
plan --strategy coedge --exclude slow >"$scratch/x.json" 2>/dev/null
tap_run "--exclude leaves a board without rows" \
    awk '/"split"/ { n++; sub(/.*\[/, ""); sub(/\].*/, ""); k = split($0, y, /, */); if (y[3] + 0 != y[4] + 0) exit 1 } END { exit !n }' "$scratch/x.json"
plan --strategy coedge --root feed >"$scratch/f.json" 2>/dev/null
tap_run "--root feed leaves the root without rows, and the rest to another" \
    awk '/"split"/ { n++; sub(/.*\[/, ""); sub(/\].*/, ""); split($0, y, /, */); if (y[2] + 0 != 0) exit 1 } /"board": 0/ { exit 1 } END { exit !n }' "$scratch/f.json"
plan --strategy coedge --wire f16 >"$scratch/w.json" 2>/dev/null
tap_run "--wire is in the plan" grep -q '"wire": "f16"' "$scratch/w.json"
tap_run "--boards takes the first so many" grep -q '"boards": 2' <(plan --boards 2 2>/dev/null)

plan --strategy iop --unpaired out-channel >"$scratch/u.json" 2>/dev/null
tap_run "--unpaired out-channel divides by channels" grep -q '"mode": "out-channel"' "$scratch/u.json"
plan --strategy coedge --setup-ms 5 --json >"$scratch/s.json" 2>/dev/null
tap_run "--setup-ms takes time" \
    awk -v a="$(value predicted_ms "$scratch/s.json")" -v b="$(value predicted_ms "$scratch/c.json")" 'BEGIN { exit !(a > b + 5) }'

# ---- mistakes ----------------------------------------------------------------------------------

tap_fails "a strategy that is none" "did you mean coedge" plan --strategy coege
tap_fails "boards that cannot be read" "'2xfast' is not COUNTxNAME:GFLOPS" "$cohort" plan "$net" --synthetic "2xfast link:1Mbit"
tap_fails "a search without boards" "needs to know the boards" "$cohort" plan "$net" --strategy auto
tap_fails "boards said twice" "both say what the boards are" plan --profile "$scratch/a.json"
tap_fails "a profile that is none" "a.json" "$cohort" plan "$net" --profile "$scratch/a.json"
tap_fails "a plan by hand and a search" "leave out --plan, --groups and --ratio" plan --ratio 1:1:1
tap_fails "more boards than there are" "only 3" plan --boards 4
tap_fails "a board that is none" "no board 'pi9'" plan --exclude pi9
tap_fails "nobody left" "no board is left" plan --exclude fast1,fast2,slow
tap_fails "groups that nobody measured" "no measured groups: measure them with 'cohort profile MODEL --groups all'" plan --strategy fss
tap_run "  which --predicted does without" plan --strategy fss --predicted
tap_fails "too little memory" "MB more than the limit of 1.0 MB" plan --memory-limit 1M
cat >"$scratch/limits.json" <<'EOF'
{"format": "cohort-cluster", "version": 1, "boards": [{"name": "fast1"}, {"name": "slow", "memory_limit": "10K"}, {"name": "fast2", "memory_limit": "1G"}]}
EOF
tap_fails "a board whose own limit is too little" "board 2 \(slow\), .* MB more than the limit of 0.0 MB" plan --strategy coedge --cluster "$scratch/limits.json"
tap_run "  which auto leaves out" plan --strategy auto --predicted --cluster "$scratch/limits.json" -o "$scratch/a.json"
tap_fails "a limit that is none" "expected bytes, or a text such as 512M" plan --memory-limit much

tap_end
