#!/usr/bin/env bash
# Every key of every JSON document stands in docs/report.md, and the documents hold together.
cd "$(dirname "$0")/../.." || exit 1
. tests/tap.sh
export COHORT_NO_PROFILE=yes # the default plan without measurements: it is the same every time
cohort=${COHORT_BIN:-$PWD/build/cohort}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export XDG_CACHE_HOME=$scratch/cache OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
mpirun=$(command -v mpirun.openmpi || command -v mpirun)
net=$scratch/net.onnx
"$cohort" synth lenet5 -o "$net" || exit 1
mkdir -p "$scratch/case/test_data_set_0" && cp "$net" "$scratch/case/model.onnx"

documented() { # NAME FORMAT: $scratch/NAME.json
    local keys unknown=""
    keys=$(grep -oE '"[a-z0-9_]+": ' "$scratch/$1.json" | tr -d '": ' | sort -u)
    for key in $keys; do
        case $key in logits | format | version) continue ;; esac # an output's name; said once for all
        grep -qE "\`$key\`" docs/report.md || unknown+=" $key"
    done
    if [ -n "$keys" ] && [ -z "$unknown" ] && grep -q "\"format\": \"$2\"" "$scratch/$1.json"; then
        tap_ok "$1: every key of $2 is in docs/report.md"
    else
        tap_not_ok "$1: every key of $2 is in docs/report.md" "not there:$unknown $(head -c 300 "$scratch/$1.json" "$scratch/$1.err")"
    fi
}
keep() { # NAME COMMAND...: standard output to $scratch/NAME.json
    local name=$1
    shift
    timeout 120 "$@" >"$scratch/$name.json" 2>"$scratch/$name.err"
}
three=(timeout 120 "$mpirun" --bind-to none -n 3)

tap_run "run --json" keep run "$cohort" run "$net" --json
documented run cohort-run
tap_run "run --json on three ranks" keep run3 "${three[@]}" "$cohort" run "$net" --repeat 3 --as top5 --json
documented run3 cohort-run
tap_run "run --wire auto --json" keep wire "${three[@]}" "$cohort" run "$net" --wire auto --json
documented wire cohort-run
tap_run "which has the choice" grep -q '"i8_error": [0-9]' "$scratch/wire.json"
tap_run "run --as json" keep values "$cohort" run "$net" --as json
documented values cohort-run
tap_run "bench --json" keep bench "$cohort" bench "$net" --repeat 2 --json
documented bench cohort-bench
tap_run "inspect --json" keep inspect "$cohort" inspect "$net" --json
documented inspect cohort-inspect
keep verify "$cohort" verify "$scratch/case" --json # fails: there is nothing to compare with
documented verify cohort-verify

tap_run "check --json" keep check "${three[@]}" "$cohort" check --json
documented check cohort-check

if command -v node >/dev/null; then
    # shellcheck disable=SC2016
    tap_run "the documents are JSON and agree with themselves" node -e '
        const read = n => JSON.parse(require("fs").readFileSync(process.argv[1] + "/" + n + ".json"));
        const must = (ok, what) => { if (!ok) throw new Error(what); };
        for (const n of ["run", "run3", "values"]) {
            const d = read(n), boards = n === "run3" ? 3 : 1;
            must(d.report.boards.length === boards, n + ": boards");
            must(d.report.steps.every(s => s.boards.length === boards), n + ": cells");
            must(d.latency_ms.min <= d.latency_ms.median && d.latency_ms.median <= d.latency_ms.p95, n + ": latency");
            must(d.latency_ms.runs === (n === "run3" ? 3 : 1), n + ": runs");
        }
        const three = read("run3"), one = read("run");
        must(three.report.steps.some(s => s.kind === "scatter") && three.report.steps.some(s => s.kind === "gather"), "moves");
        must(JSON.stringify(three.runs[0].outputs) === JSON.stringify(one.runs[0].outputs), "one answer");
        must(three.runs[0].top.length === 5, "five classes");
        must(read("values").runs[0].values.logits.length === 10, "ten values");
        const v = read("verify");
        must(v.cases.length === v.passed + v.failed + v.skipped, "cases");
        const i = read("inspect");
        must(i.total.parameters === i.nodes.reduce((s, n) => s + n.parameters, 0), "parameters");
    ' "$scratch"
else
    tap_skip "the documents are JSON and agree with themselves" "no node here to read them with"
fi

tap_run "engines side by side" keep engines "$cohort" bench "$net" --repeat 2 --engines --json
tap_run "  one core and all" sh -c 'grep -o "\"engine\": \"[a-z]*" "$1" | tr "\n" " " | grep -q "serial.*parallel"' - "$scratch/engines.json"
documented engines cohort-bench
tap_run "  not beside --threads" sh -c '! "$1" bench "$2" --engines -t 1 2>"$3" && grep -q "leave out --threads" "$3"' - "$cohort" "$net" "$scratch/refused"

# ---- strategies side by side -------------------------------------------------------------------

tap_run "strategies side by side" keep strategies timeout 120 "$mpirun" --bind-to none -n 3 "$cohort" bench "$net" --strategies coedge,fss,auto --repeat 2 --rounds 2 --json
documented strategies cohort-bench
tap_run "  single among them" test "$(grep -oE '"strategy": "[a-z]+"' "$scratch/strategies.json" | cut -d'"' -f4 | xargs)" = "single coedge fss auto"
tap_run "  fss by groups that were measured for it" grep -qE '"groups": [1-9][0-9]*,' "$scratch/strategies.json"
tap_run "  every board's memory" test "$(grep -cE '"board_peak_bytes": \[[0-9]+, [0-9]+, [0-9]+\]' "$scratch/strategies.json")" = 4
tap_run "  as planned, too" test "$(grep -cE '"board_planned_peak_bytes": \[[0-9]+, [0-9]+, [0-9]+\]' "$scratch/strategies.json")" = 4
tap_run "  with a set-up of each transfer" keep setup timeout 120 "$mpirun" --bind-to none -n 2 "$cohort" bench "$net" --strategies coedge,auto:memory --setup-ms 5 --repeat 1 --rounds 1 --json
tap_run "  which it takes, and was predicted to take" python3 -c "
import json, sys
net = json.load(open(sys.argv[1]))['networks'][0]
assert net['setup_ms'] == 5, net
row = {s['strategy']: s for s in net['strategies']}['coedge']
assert min(row['latency_ms']['min'], row['predicted_ms']) >= 5 and row['computing_boards'] == 2, row" "$scratch/setup.json"
tap_run "  and an objective" grep -q '"strategy": "auto:memory"' "$scratch/setup.json"
tap_run "  not one that there is not" sh -c '! "$1" bench "$2" --strategies auto:speed 2>"$3" && grep -q "^cohort: --strategies auto:speed: " "$3"' - "$cohort" "$net" "$scratch/refused"
tap_run "  nor one of another strategy" sh -c '! "$1" bench "$2" --strategies coedge:out-channel 2>"$3" && grep -q "only iop has that" "$3"' - "$cohort" "$net" "$scratch/refused"
tap_run "  as CSV" keep csv timeout 120 "$mpirun" --bind-to none -n 2 "$cohort" bench "$net" --strategies coedge,fss --predicted --repeat 1 --rounds 1 --format csv
tap_run "  a line each" test "$(grep -cE '^[^,]*,2,(single|coedge|fss),[0-9.]+,' "$scratch/csv.json")" = 3
tap_run "  of as many columns as the first line has" test "$(awk -F, '{ print NF }' "$scratch/csv.json" | sort -u | wc -l)" = 1
tap_run "  fewer runs within a limit" keep limit timeout 120 "$mpirun" --bind-to none -n 2 "$cohort" bench "$net" --strategies layerwise --repeat 500 --rounds 1000 --limit 0.1 --json
tap_run "  at least one" grep -q '"strategy": "layerwise"' "$scratch/limit.json"
tap_run "  as a row of a table" keep row "$cohort" bench "$net" --strategies single --repeat 1 --rounds 1 --markdown
tap_run "  with one column" grep -qE '^\| [^|]* \| 1 \| [0-9.]+ ms \(1\.00x\) \|$' "$scratch/row.json"
tap_run "  --predicted is theirs" sh -c '! "$1" bench "$2" --predicted 2>"$3" && grep -q "^cohort: --predicted belongs to --strategies$" "$3"' - "$cohort" "$net" "$scratch/refused"
tap_run "  not beside a plan by hand" sh -c '! "$1" bench "$2" --strategies all --ratio 1:1 2>"$3" && grep -q "leave out --plan" "$3"' - "$cohort" "$net" "$scratch/refused"
tap_run "  not one that does not exist" sh -c '! "$1" bench "$2" --strategies coedg 2>"$3" && grep -q "did you mean coedge" "$3"' - "$cohort" "$net" "$scratch/refused"

# ---- traces ------------------------------------------------------------------------------------

for ranks in 1 3; do
    tap_run "a trace, np $ranks" keep "traced$ranks" timeout 120 "$mpirun" --bind-to none -n $ranks "$cohort" run "$net" --repeat 2 --trace "$scratch/trace$ranks.json" --json
done
tap_run "a trace that cannot be written is refused before anything runs" \
    sh -c '! "$1" run "$3" --trace /no/such/folder/t.json 2>"$2" && grep -q "^cohort: .*/no/such/folder" "$2"' - "$cohort" "$scratch/refused" "$net"
if command -v node >/dev/null; then
    tap_run "a trace has every step of every board, in order and as long as the report says" node -e '
        const read = n => JSON.parse(require("fs").readFileSync(process.argv[1] + "/" + n + ".json"));
        const must = (ok, what) => { if (!ok) throw new Error(what); };
        for (const boards of [1, 3]) {
            const t = read("trace" + boards), steps = read("traced" + boards).report.steps;
            must(t.otherData.format === "cohort-trace" && t.otherData.clock_error_ms.length === boards, "head");
            for (let b = 0; b < boards; b++) {
                const spans = t.traceEvents.filter(e => e.ph === "X" && e.pid === b);
                must(spans.length >= 1, "steps of board " + b);
                for (const step of steps) {
                    const cell = step.boards[b], name = step.kind + " " + step.tensor;
                    const took = spans.filter(s => s.name === name && s.args.segment === step.segment)
                                      .reduce((sum, s) => sum + s.dur / 1000, 0);
                    must(Math.abs(took - (cell.compute_ms ?? cell.wait_ms)) < 1e-6, name + ": how long");
                }
                spans.forEach((s, i) => {
                    must(i === 0 || s.ts >= spans[i - 1].ts + spans[i - 1].dur - 1e-3, s.name + ": when");
                });
            }
        }
    ' "$scratch"
fi

# ---- late blocks -------------------------------------------------------------------------------

# Two that compute on one core, one of which shall have nine tenths of it: nearly every block is late.
core=$(taskset -cp $$ 2>/dev/null | sed 's/.*: //; s/[,-].*//')
if [ -n "$core" ]; then
    timeout 60 taskset -c "$core" sh -c 'while :; do :; done' &
    hog=$!
    tap_run "late blocks" keep late taskset -c "$core" "$cohort" run squeezenet1.1 --cpu-share 0.9 --threads 1 --no-binding --repeat 3 --json
    tap_run "  are counted" test "$(grep -oE '"late_blocks": [0-9]+' "$scratch/late.json" | grep -oE '[0-9]+')" -gt 5
    tap_run "  and the run says that it does not count" \
        grep -qE '^cohort: this run does not count: on [^ ]+ \(rank 0\) [0-9]+ of [0-9]+ blocks \([0-9.]+ %\) came too late' "$scratch/late.err"
    keep undilated taskset -c "$core" "$cohort" run squeezenet1.1 --threads 1 --no-binding --repeat 3 --json
    tap_run "  which one at full speed does not" test "$(grep -c 'does not count' "$scratch/undilated.err")" = 0
    kill $hog
    wait $hog 2>/dev/null
else
    tap_skip "late blocks" "no taskset"
fi

tap_end
