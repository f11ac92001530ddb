#!/usr/bin/env bash
# cohort kernels: what it lists, and --bench.
cd "$(dirname "$0")/../.." || exit 1
. tests/tap.sh
cohort=${COHORT_BIN:-$PWD/build/cohort}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export XDG_CACHE_HOME=$scratch/cache

"$cohort" kernels >"$scratch/list"
tap_run "kernels are listed" grep -qE '^conv +conv_generic_direct +generic +usable +same bits for any rows' "$scratch/list"
tap_fails "a network without --bench" 'lenet5 is for --bench' "$cohort" kernels lenet5
tap_fails "--json without --bench" '--json is for --bench' "$cohort" kernels --json
tap_fails "a network that is none" 'did you mean lenet5' "$cohort" kernels --bench lenet

timeout 120 "$cohort" kernels --bench lenet5 >"$scratch/out" 2>"$scratch/err"
tap_run "the core's peak is told" grep -qE '^one core does at most [0-9.]+ GFLOP/s with generic' "$scratch/out"
tap_run "every layer of the network" test "$(grep -cE '^(conv|gemm) .*MFLOP$' "$scratch/out")" -eq \
    "$("$cohort" inspect lenet5 --json 2>/dev/null | grep -cE '"operator": "(Conv|Gemm)"')"
wanted=$(awk '$4 == "usable" && $1 == "gemm" && $2 !~ /_f16$/' "$scratch/list" | wc -l)
tap_run "every usable kernel that can do it" test "$(grep -cE '^  gemm_[a-z0-9]+ +[0-9.]+ ms +[0-9.]+ GFLOP/s +[0-9]+ % of [0-9.]+$' "$scratch/out")" -eq $((3 * wanted))

timeout 120 "$cohort" kernels --bench lenet5 --json >"$scratch/out.json" 2>"$scratch/err"
tap_run "--json names its format" grep -q '"format": "cohort-kernels"' "$scratch/out.json"
missing=$(grep -oE '"[a-z_]+":' "$scratch/out.json" | tr -d '":' | sort -u | grep -vE '^(format|version|generic|neon|avx)' |
    while read -r key; do grep -q "\`$key\`" docs/report.md || echo "$key"; done)
if [ -z "$missing" ]; then tap_ok "its keys are in docs/report.md"; else tap_not_ok "its keys are in docs/report.md" "$missing"; fi
tap_end
