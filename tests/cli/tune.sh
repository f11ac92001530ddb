#!/usr/bin/env bash
# cohort tune as a user calls it: the file, the runs that choose by it, and files that are wrong.
cd "$(dirname "$0")/../.." || exit 1
. tests/tap.sh
cohort=${COHORT_BIN:-$PWD/build/cohort}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export XDG_CACHE_HOME=$scratch/cache OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
mpirun=$(command -v mpirun.openmpi || command -v mpirun)
file=$scratch/cache/cohort/tuning.json
net=$scratch/net.onnx
"$cohort" synth resnet18 --size 64 --width 0.25 --features -o "$net" || exit 1

# The bytes of the output of one run.
answer() { # NAME OPTION...
    local name=$1
    shift
    timeout 120 "$cohort" run "$net" --threads 1 --as npy -o "$scratch/$name.npy" "$@" >"$scratch/$name.out" 2>"$scratch/$name.err"
}
same() { # NAME A B
    if cmp "$scratch/$2.npy" "$scratch/$3.npy"; then tap_ok "$1"; else tap_not_ok "$1" "$(cat "$scratch/$2.err" "$scratch/$3.err")"; fi
}
answer plain
answer generic --kernel conv_generic_direct
tap_fails "nothing to tune" 'no network was named' "$cohort" tune
if timeout 200 "$cohort" tune "$net" --threads 1 --all >"$scratch/out" 2>"$scratch/err" && [ -s "$file" ]; then
    tap_ok "tune writes the file in the cache"
else
    tap_not_ok "tune writes the file in the cache" "$(cat "$scratch/out" "$scratch/err")"
fi
layers=$("$cohort" inspect "$net" --json | grep -cE '"operator": "(Conv|Gemm)"')
signatures=$(grep -c '"signature"' "$file")
tap_run "it shows and keeps every signature" test "$(grep -cE '^ *[0-9]+ x (conv|gemm) ' "$scratch/out")" -eq "$signatures"
tap_run "the sum is told" grep -qE "^$signatures of $signatures signatures measured; .* instead of [0-9.]+ ms" "$scratch/out"
tap_run "progress is told in kernels" grep -qE "tuning: ([0-9]+) of \1 kernels" <(tr '\r' '\n' <"$scratch/err")

answer tuned -v
tap_run "run chooses by it" grep -q "$layers of $layers convolutions and products have a kernel from $file" "$scratch/tuned.err"
answer none -v --tuning none
tap_run "--tuning none: it does not" test "$(grep -c 'have a kernel from' "$scratch/none.err")" -eq 0
same "… and gives what was given before" plain none
answer two -v --threads 2
tap_run "with another number of threads the file says nothing, which -v tells" grep -q "holds nothing for rank 0 .* 2 threads" "$scratch/two.err"
answer kernel -v --kernel conv_generic_direct
same "--kernel wins" generic kernel

sed -Ei 's/"kernel": "conv_[a-z0-9_]+"/"kernel": "conv_generic_direct"/' "$file"
answer chosen -v
same "the kernels that the file names are run" generic chosen
answer explicit --tuning "$file"
same "a file that is named counts, too" generic explicit
if [ -n "$mpirun" ]; then
    timeout 120 "$mpirun" --bind-to none -n 3 "$cohort" run "$net" --threads 1 --rows-only --as npy -o "$scratch/three.npy" >/dev/null 2>"$scratch/three.err"
    same "three ranks take them, and give one rank's bits" generic three
    timeout 200 "$mpirun" --bind-to none -n 2 "$cohort" tune "$net" --threads 1 --tuning "$scratch/both.json" --json --limit 30 >"$scratch/both.out" 2>"$scratch/err"
    tap_run "two ranks share the work" grep -q '"ranks": 2' "$scratch/both.out"
    tap_run "… and have measured all" test "$(grep -c '"signature"' "$scratch/both.json")" -eq "$signatures"
    for key in $(grep -oE '^ *"[a-z_]+":|[{,] *"[a-z_]+":' "$scratch/both.out" | grep -oE '[a-z_]+' | grep -vE '^(format|version)$|_(direct|winograd|depthwise|avx|neon|generic|gather)|^gemm' | sort -u); do
        grep -qE "\`$key\`" docs/tuning-format.md || tap_not_ok "docs/tuning-format.md names the key $key"
    done
fi
cp "$file" "$scratch/before.json"
timeout 120 "$cohort" tune lenet5 --threads 1 >/dev/null 2>&1
tap_run "another network is added" test "$(grep -c '"signature"' "$file")" -gt "$signatures"
timeout 120 "$cohort" tune "$net" --threads 1 --limit 0.001 >"$scratch/out" 2>&1
tap_run "when time is up the rest is left as it was" grep -qE '^[01] of' "$scratch/out"

# ---- an estimate that is wrong -----------------------------------------------------------------

# The estimate takes the portable kernel for the fastest, as it would if it were wrong about this CPU.
found=$scratch/found.json
misjudged() { # ARGUMENT...
    COHORT_INJECT=estimate:conv_generic_direct timeout 200 "$cohort" "$@" --threads 1
}
least() { # TUNING: milliseconds; of many runs, so that a busy machine makes no difference
    misjudged bench "$net" --tuning "$1" --warmup 2 -n 300 --json 2>"$scratch/err" | sed -nE 's/.*"min": ([0-9.]+).*/\1/p'
}
COHORT_INJECT=estimate:conv_generic_direct answer misjudged --tuning none
same "where the estimate is wrong it decides all the same" generic misjudged
misjudged tune "$net" --all --tuning "$found" >"$scratch/out" 2>"$scratch/err"
tap_run "tune starts from it" grep -q '(conv_generic_direct: [0-9.]*)' "$scratch/out"
fastest=$("$cohort" kernels | awk '/ usable / && /conv_(avx2|avx512|neon64)_direct/ { print $1 }')
if [ -n "$fastest" ]; then # these are several times as fast
    tap_run "… and overrules it in every layer" test "$(grep -c '"kernel": "conv_generic_direct"' "$found")" -eq 0
    untuned=$(least none) tuned=$(least "$found")
    if awk "BEGIN { exit !($tuned > 0 && $tuned * 1.5 < $untuned) }"; then
        tap_ok "run is faster with what it found ($untuned ms, then $tuned ms)"
    else
        tap_not_ok "run is faster with what it found" "$untuned ms, then $tuned ms; $(cat "$scratch/out" "$scratch/err")"
    fi
    COHORT_INJECT=estimate:conv_generic_direct answer found -v --tuning "$found"
    tap_run "every layer has its kernel from the file" grep -q "$layers of $layers convolutions and products have a kernel from" "$scratch/found.err"
else
    tap_skip "tune overrules the estimate" "no other instruction set here"
fi

# ---- files that are wrong ----------------------------------------------------------------------

wrong() { # NAME PATTERN SED-SCRIPT
    sed -E "$3" "$scratch/before.json" >"$scratch/wrong.json"
    tap_fails "$1" "^cohort: .*$2" "$cohort" run "$net" --threads 1 --tuning "$scratch/wrong.json"
    tap_run "$1: in one line" test "$("$cohort" run "$net" --threads 1 --tuning "$scratch/wrong.json" 2>&1 | wc -l)" -eq 1
}
wrong "another version" 'wrong\.json: tuning of version 2, but this program reads version 1' 's/"version": 1/"version": 2/'
wrong "another format" 'wrong\.json: format' 's/cohort-tuning/cohort-plan/'
wrong "a signature that is none" 'signature: no signature' '0,/"conv /s//"konv /'
wrong "a number that is none" 'wrong\.json:[0-9]+:' 's/"threads": 1/"threads": 1x/'
wrong "a kernel that was not measured" "kernel: 'conv_warp' has no time" '0,/"kernel": "[a-z0-9_]+"/s//"kernel": "conv_warp"/'
wrong "a kernel that is none" 'conv_warp .*no kernel that can do that' 's/conv_generic_direct/conv_warp/g'
wrong "a kernel whose bits depend on the rows" 'conv_blas_im2row .*no kernel that can do that' 's/conv_generic_direct/conv_blas_im2row/g'
head -c 500 "$scratch/before.json" >"$scratch/wrong.json"
tap_fails "half a file" 'wrong\.json:[0-9]+:' "$cohort" run "$net" --tuning "$scratch/wrong.json"
tap_fails "a file that is not there" 'none\.json' "$cohort" run "$net" --tuning "$scratch/none.json"
tap_fails "tune does not write over a bad file" 'remove it to begin anew' "$cohort" tune "$net" --tuning "$scratch/wrong.json"
tap_fails "tune wants a file" 'give --tuning FILE' "$cohort" tune "$net" --tuning none
tap_fails "tune with --kernel" 'leaves nothing to choose' "$cohort" tune "$net" --kernel conv_generic_direct

# ---- one instruction set ----------------------------------------------------------------------

only=$scratch/only.json
timeout 200 "$cohort" tune "$net" --threads 1 --kernel generic --tuning "$only" >"$scratch/out" 2>"$scratch/err"
tap_run "tune with an instruction set keeps to it" grep -q '"isa": "generic"' "$only"
tap_run "… in every choice" test "$(grep -oE '"(conv|gemm)_[a-z0-9_]+"' "$only" | grep -vc generic)" -eq 0
answer only -v --kernel generic --tuning "$only"
tap_run "… and run takes them with the same --kernel" grep -q "$layers of $layers convolutions and products have a kernel from $only" "$scratch/only.err"
answer without -v --tuning "$only"
tap_run "… not without it" grep -q "holds nothing for rank 0" "$scratch/without.err"
cp "$scratch/wrong.json" "$file"
answer spoilt
same "in the cache it is left alone" plain spoilt
tap_run "… with a warning" grep -qE '^cohort: warning: .*tuning\.json:.*no kernel is chosen from it' "$scratch/spoilt.err"
sed 's/conv_generic_direct/conv_warp/g' "$scratch/before.json" >"$file"
answer spoilt
same "one with a kernel that is none likewise" plain spoilt
tap_run "… with a warning, too" grep -qE '^cohort: warning: .*conv_warp' "$scratch/spoilt.err"
tap_end
