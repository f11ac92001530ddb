#!/usr/bin/env bash
# bench/single: a small network through Cohort's engine; samples are kept and results written.
cd "$(dirname "$0")/../.." || exit 1
. tests/tap.sh
cohort=${COHORT_BIN:-$PWD/build/cohort}
build=$(dirname "$cohort")
engine=$build/bench/engines/cohort
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

if ! command -v python3 >/dev/null || [ ! -x "$engine" ] || [ ! -x "$build/bench/engines/probe" ]; then
    tap_skip "bench/single" "python3 and $engine are needed (make check builds it)"
    tap_end
    exit
fi

# ---- the engine's side of the pipe -------------------------------------------------------------

"$cohort" synth lenet5 -o "$scratch/net.onnx" || exit 1
printf 'run 3\nmemory\n' | timeout 60 "$engine" "$scratch/net.onnx" 1 >"$scratch/out" 2>&1
if [ "$(cut -d ' ' -f 1 "$scratch/out" | xargs)" = "ready ms kb" ]; then
    tap_ok "the engine opens, runs and tells its memory"
else
    tap_not_ok "the engine opens, runs and tells its memory" "$(cat "$scratch/out")"
fi
# Twice the same network gives the same numbers, another one others.
answer() {
    timeout 60 "$engine" "$1" 1 </dev/null | awk '{ print $4, $5 }'
}
"$cohort" synth lenet5 --seed 2 -o "$scratch/other.onnx"
one=$(answer "$scratch/net.onnx") two=$(answer "$scratch/net.onnx") other=$(answer "$scratch/other.onnx")
if [ -n "$one" ] && [ "$one" = "$two" ] && [ "$one" != "$other" ]; then
    tap_ok "the engine's answer can be compared"
else
    tap_not_ok "the engine's answer can be compared" "$one / $two / $other"
fi
tap_fails "a network that is none is an error" '^error .*net\.none' "$engine" "$scratch/net.none" 1

# ---- the whole ---------------------------------------------------------------------------------

mkdir -p "$scratch/build/bench/engines" "$scratch/docs"
ln -s "$cohort" "$scratch/build/cohort"
ln -s "$(realpath "$engine")" "$(realpath "$build/bench/engines/probe")" "$scratch/build/bench/engines/"
printf '# Results\n\nKept.\n' >"$scratch/docs/results.md"
single() {
    timeout 120 bench/single --no-build --build "$scratch/build" --docs "$scratch/docs" --engines cohort \
        --threads 1 --rounds 3 --tolerance 1000 "$@" >"$scratch/out" 2>"$scratch/err"
}
tap_run "bench/single runs" single --networks lenet5
check() { # NAME PYTHON: d is the document, text the page
    tap_run "$1" python3 -c "
import json
d = json.load(open('$scratch/docs/results/single.json'))
text = open('$scratch/docs/results.md').read()
$2"
}
check "its document holds what was measured" "
assert d['format'] == 'cohort-single' and d['version'] == 1 and len(d['rows']) == 1, d
e = d['rows'][0]['engines']['cohort']
assert d['rows'][0]['network'] == 'lenet5' and e['samples'] == 3 and e['dropped'] == 0, d
assert 0 < e['min_ms'] <= e['median_ms'] and e['open_ms'] > 0 and e['peak_mb'] > e['before_mb'] > 0, e"
check "the page keeps what others wrote, and names machine and command" "
assert text.startswith('# Results\n\nKept.\n') and '| lenet5 |' in text, text
assert d['commit'] in text and d['machine']['cpu'] in text and d['command'] in text and d['date'] in text, text"
tap_run "the plot is well-formed" python3 -c "import xml.dom.minidom as m; m.parse('$scratch/docs/results/single-1.svg')"
tap_run "a second call" single --networks lenet5,squeezenet1.1
check "it measures only what is not there yet" "
assert '1 of 2 are there' in open('$scratch/err').read(), open('$scratch/err').read()
assert [r['network'] for r in d['rows']] == ['lenet5', 'squeezenet1.1'] and text.count('| lenet5 |') == 2, text"
echo '{"format": "cohort-single-samples", "ver' >"$scratch/build/bench/single.json"
tap_run "kept samples that are damaged are not used" single --networks lenet5
tap_run "it says so" grep -q 'cannot be used' "$scratch/err"
tap_fails "an engine that does not exist" "no engine 'cohrt'" bench/single --engines cohrt
tap_fails "threads that are no number" '--threads' bench/single --threads two
tap_end
