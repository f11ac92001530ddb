#!/usr/bin/env bash
# bench/farm-suite: a small network on one and two emulated boards; results are written and kept.
cd "$(dirname "$0")/../.." || exit 1
. tests/tap.sh
scratch=$(mktemp -d)
trap 'COHORT_FARM=$farm_name bench/farm down 2>/dev/null; rm -rf "$scratch"' EXIT
farm_name=suitetest
export XDG_CACHE_HOME=$scratch/cache
build=${COHORT_BUILD:-$PWD/build}

why=""
[ "$(id -u)" -eq 0 ] || why="needs root"
command -v python3 >/dev/null || why="needs python3"
if [ -z "$why" ] && ! COHORT_FARM=$farm_name bench/farm up 1 2>"$scratch/why"; then why=$(head -n 1 "$scratch/why"); fi
if [ -n "$why" ]; then
    tap_skip "bench/farm-suite" "$why"
    tap_end
    exit
fi
COHORT_FARM=$farm_name bench/farm down
tap_fails "a wire that does not exist" "--wires" bench/farm-suite --wires f8
tap_fails "boards that are no number" "--boards" bench/farm-suite --boards two
mkdir -p "$scratch/build" && cp "$build/cohort" "$scratch/build/"
suite() {
    timeout 300 bench/farm-suite --build "$scratch/build" --docs "$scratch/docs" --farm $farm_name --networks lenet5 --boards 1,2 --times 10 \
        --wires f32 --no-mixed --no-legion --strategies coedge,auto --repeat 1 --rounds 1 >"$scratch/out" 2>"$scratch/err"
}
tap_run "two cases" suite
tap_run "  have a row each" test "$(grep -cE '^\| lenet5 \| f32 \| [0-9]+ \| [12] \|' "$scratch/docs/results.md")" = 2
tap_run "  and a plot" grep -q '</svg>' "$scratch/docs/results/farm-lenet5-f32-10.svg"
tap_run "  and a document" grep -q '"format": "cohort-farm-suite"' "$scratch/docs/results/farm.json"
tap_run "a second call" suite
tap_run "  measures nothing anew" test "$(grep -c 'farm-suite: .* of 2' "$scratch/err")" = 0
tap_run "nothing is left of the farm" test ! -e "/run/cohort-farm/$farm_name"
tap_end
