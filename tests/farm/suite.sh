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
    timeout 300 bench/farm-suite --build "$scratch/build" --docs "$scratch/docs" --farm $farm_name --times 10 --strategies coedge,fss,auto \
        --repeat 1 --rounds 1 "$@" >"$scratch/out" 2>"$scratch/err"
}
rows() { grep -cE '^\| lenet5 \| f32 \| [0-9]+ \| [0-9+. at]+ \|' "$scratch/docs/results.md"; }
tap_run "what would be measured" suite --equal --only lenet5 --boards 1,2 --list
tap_run "  is two cases" grep -qE '^2 cases, about [0-9]+ minutes$' "$scratch/out"
tap_run "  and nothing is measured" test ! -e "$scratch/docs"
tap_run "two cases" suite --equal --only lenet5 --boards 1,2
tap_run "  have a row each" test "$(grep -cE '^\| lenet5 \| f32 \| [0-9]+ \| [12] \|' "$scratch/docs/results.md")" = 2
tap_run "  and a plot" grep -q '</svg>' "$scratch/docs/results/farm-lenet5-f32-10.svg"
tap_run "  and a document" grep -q '"format": "cohort-farm-suite"' "$scratch/docs/results/farm.json"
tap_run "a second call" suite --equal --only lenet5 --boards 1,2
tap_run "  measures nothing anew" test "$(grep -c 'farm-suite: .* of 2' "$scratch/err")" = 0
cases() { grep -cE '^   "kind": "(equal|paper)"' "$1"; }
tap_run "another part" suite --paper --only lenet5 --boards 2
tap_run "  is beside them" test "$(cases "$scratch/docs/results/farm.json")" = 3
tap_run "  with groups that were measured" grep -qE '"groups": [1-9]' "$scratch/docs/results/farm.json"
tap_run "  and what measuring them took beside profiling" grep -q '^Measuring all groups takes ' "$scratch/docs/results.md"
tap_run "  a plot of that" grep -q 'lenet5, groups' "$scratch/docs/results/farm-profiling.svg"
tap_run "one of the two again" suite --equal --only lenet5 --boards 2 --fresh
tap_run "  is measured" grep -qE 'farm-suite: 1 of 1' "$scratch/err"
tap_run "  instead of its own row" test "$(cases "$scratch/docs/results/farm.json")" = 3
tap_run "  beside the other" test "$(rows)" -ge 2
tap_run "the IOP paper's cases" suite --iop --only lenet5 --boards 3 --setups 0,2 --strategies coedge,auto,auto:memory
tap_run "  with every set-up a row" test "$(grep -cE '^\| lenet5 \| [0-9.]+ \| 3 \| [02] \|' "$scratch/docs/results.md")" = 2
tap_run "  a line for the network, and what should come out" test "$(grep -cE '^\| lenet5 \| 2 \||^`auto` over `coedge`: .* it should be 1.2|^Memory of `auto` .* it should be 50 %' "$scratch/docs/results.md")" = 3
tap_run "  and memory" grep -q 'auto:memory, MB' "$scratch/docs/results.md"
tap_run "  beside the others" test "$(grep -cE '^   "kind": "(equal|paper|iop)"' "$scratch/docs/results/farm.json")" = 5
list() { bench/farm-suite --list --docs none "$@" >"$scratch/list"; }
tap_run "its networks, listed" list --iop --only vgg16,lenet5,mobilenetv3
tap_run "  whole, with set-ups, on 3 to 6 boards" test "$(grep -cE '^iop +(vgg16-whole|lenet5) .* [3-6] boards .* set-up [0148] ms' "$scratch/list")" = 14
tap_run "  on 2 to 6 boards" test "$(grep -cE '^iop +mobilenetv3 .* [2-6] boards ' "$scratch/list")" = 5
tap_run "whole VGG-16 among the targets" list --targets --only vgg16
tap_run "  beside its convolutional part" test "$(grep -cE '^equal +vgg16(-whole)? +f(32|16) +(2000|700) ms 6 boards' "$scratch/list")" = 8
tap_fails "set-ups that are none" "--setups" bench/farm-suite --setups 1,x
tap_fails "mixes that are none" "--mixes" bench/farm-suite --mixes 3
tap_run "nothing is left of the farm" test ! -e "/run/cohort-farm/$farm_name"
tap_end
