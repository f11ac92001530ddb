#!/usr/bin/env bash
# cohort profile as a user calls it, what it keeps, files that are wrong, and runs and plans that
# divide by what was measured.
cd "$(dirname "$0")/../.." || exit 1
. tests/tap.sh
cohort=${COHORT_BIN:-$PWD/build/cohort}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export XDG_CACHE_HOME=$scratch/cache COHORT_CHECK_LEAKS=1
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
mpirun=$(command -v mpirun.openmpi || command -v mpirun)
net=$scratch/net.onnx
"$cohort" synth resnet18 --size 64 --width 0.25 --features -o "$net" || exit 1
nodes=$("$cohort" inspect "$net" --json | grep -c '"operator"')

profile() { timeout 120 "$cohort" profile "$net" --threads 1 "$@" >"$scratch/out" 2>"$scratch/err"; }
said() { grep -qE -- "$1" "$scratch/err"; }
shown_ms() { sed -nE "s/^ +$1 +([0-9.]+) ms on .*/\\1/p" "$scratch/out"; }
shown() { grep -qE -- "$1" "$scratch/out"; }

# ---- one board ---------------------------------------------------------------------------------

tap_run "a profile is made" profile -v -o "$scratch/one.json"
tap_run "  and measured" said 'note: links probed in 0 ms, measured in 0 ms; profiled in [1-9]'
tap_run "  progress is told" grep -q 'profiling: 100 %' <(tr '\r' '\n' <"$scratch/err")
tap_run "  the board is shown" shown '^ +0 .* 0 +1\.000 +[0-9.]+$'
tap_run "  it has all operators" grep -q "\"nodes\": $nodes,\$" "$scratch/one.json"
tap_run "again, it is taken from the cache" profile -v
tap_run "  which is said" said 'note: the profile is .*/cohort/profiles/'
tap_run "  and nothing is measured" said 'profiled in 0 ms'
tap_run "other threads are another profile" profile -v --threads 2
tap_run "  which is measured" said 'profiled in [1-9]'
tap_run "so is another kernel" profile -v --kernel generic
tap_run "  which is measured" said 'profiled in [1-9]'
tap_run "--again" profile -v --again
tap_run "  measures" said 'profiled in [1-9]'
tap_run "--json prints the profile" profile --json
tap_run "  itself" grep -q '"format": "cohort-profile"' "$scratch/out"
cp "$scratch/out" "$scratch/kept.json"
tap_run "--show, without measuring" timeout 60 "$cohort" profile "$net" --profile "$scratch/kept.json" --show
"$cohort" profile "$net" --profile "$scratch/kept.json" --show >"$scratch/out" 2>&1
tap_run "  prints S, E and R" shown '^ node output +own rows +S, ms +E, ms +R, ms$'
tap_run "  of every operator that can be divided" test "$(grep -cE '^ +[0-9]+ [^ ]+ +[0-9]+ +[0-9.]+ +[0-9.]+ +[0-9.]+$' "$scratch/out")" -ge $((nodes / 2))
tap_run "  and alpha, 1 for one board's own rows" shown '^ +0 +1\.00'

# ---- groups ------------------------------------------------------------------------------------

tap_fails "fss before groups were measured" "^cohort: strategy fss: the profile has no measured groups: measure them with 'cohort profile MODEL --groups all'" "$cohort" plan "$net" --profile "$scratch/kept.json" --strategy fss
tap_run "  is one line" test "$("$cohort" plan "$net" --profile "$scratch/kept.json" --strategy fss 2>&1 | wc -l)" -eq 1
tap_run "  --predicted needs none" "$cohort" plan "$net" --profile "$scratch/kept.json" --strategy fss --predicted -o "$scratch/plan.json"
tap_fails "  which a run says, too" "no measured groups" "$cohort" run "$net" --threads 1 --profile "$scratch/kept.json" --strategy fss
tap_run "--groups all" profile --groups all -v -o "$scratch/groups.json"
tap_run "  measures them" said 'note: [1-9][0-9]+ groups of operators measured in [0-9.]+ s$'
tap_run "  nothing else" said 'profiled in 0 ms'
tap_run "  progress is told" grep -q 'profiling groups: 100 %' <(tr '\r' '\n' <"$scratch/err")
tap_run "  how many, and how long it took, is shown" shown '^[1-9][0-9]+ groups of operators measured in [0-9.]+ s; shares of the rows: 1\.000$'
tap_run "  fss plans by them" "$cohort" plan "$net" --profile "$scratch/groups.json" --strategy fss -o "$scratch/plan.json"
tap_run "again, they are taken from the cache" profile --groups all -v
tap_run "  and nothing is measured" test "$(grep -c 'groups of operators measured' "$scratch/err")" -eq 0
tap_run "--groups 2" profile --groups 2 --again -v
tap_run "  measures fewer" test "$(sed -nE 's/^([0-9]+) groups of operators .*, of up to 2 parts;.*/\1/p' "$scratch/out")" -lt "$(grep -cE '^ +\[[0-9]+, [0-9]+, [0-9.e-]+\],?$' "$scratch/groups.json")"
tap_fails "--groups 0" "^cohort: --groups: 'all', or the longest group's number of parts \(1 to 1000000\), not '0'$" "$cohort" profile "$net" --groups 0
tap_fails "--groups of something" "not '3x'" "$cohort" profile "$net" --groups 3x
tap_fails "--root without --groups" "^cohort: --root belongs to --groups$" "$cohort" profile "$net" --root feed

# ---- engines -----------------------------------------------------------------------------------

two=$(($(nproc) >= 2))
tap_run "--engines" profile --engines -v -o "$scratch/engines.json"
tap_run "  of one thread there is one" test "$(grep -c '"inference_ms"' "$scratch/engines.json")" -eq 1
tap_run "  which was measured before" said 'profiled in 0 ms'
tap_run "  and is not again" said 'engines measured in [0-9] ms'
if [ "$two" = 1 ]; then
    tap_run "two threads" profile --engines -v --threads 2 -o "$scratch/engines.json"
    tap_run "  are measured on one core and on both" shown '^ +serial +[0-9.]+ ms on 1 thread, core [0-9]+$'
    tap_run "  which is the board as ever" test "$(shown_ms parallel)" = "$(sed -nE 's/^ +0 .* 1\.000 +([0-9.]+)$/\1/p' "$scratch/out")"
    tap_run "  one core takes its time" awk "BEGIN { exit !($(shown_ms serial) > 0) }"
    tap_run "  progress is told" grep -q 'profiling engines: 100 %' <(tr '\r' '\n' <"$scratch/err")
    tap_run "  the file is of version 2" grep -q '"version": 2' "$scratch/engines.json"
    tap_run "again, they are taken from the cache" profile --engines -v --threads 2
    tap_run "  and nothing is measured" sh -c '! grep -q "engines measured" "$1"' - "$scratch/err"
    "$cohort" profile "$net" --profile "$scratch/engines.json" --show >"$scratch/out" 2>&1
    tap_run "--show has every operator on each" test "$(sed -n '/^ node output .*serial *parallel$/,/^$/p' "$scratch/out" | grep -cE '^ +[0-9]+ ')" -ge $((nodes / 2))
    tap_run "  runs and plans take such a profile" "$cohort" run "$net" --threads 2 --profile "$scratch/engines.json"
else
    tap_skip "two threads" "this machine has one core"
fi
cp "$scratch/groups.json" "$scratch/kept.json"
for key in $(cat "$scratch/kept.json" "$scratch/engines.json" | grep -oE '"[a-z_]+":' | tr -d '":' | sort -u); do
    grep -qE "\`$key\`" docs/profile-format.md || tap_not_ok "docs/profile-format.md names the key $key"
    grep -qE "\"$key\"" docs/profile.schema.json || tap_not_ok "docs/profile.schema.json has the key $key"
done

# ---- files that are wrong ----------------------------------------------------------------------

wrong() { # NAME PATTERN SED-SCRIPT
    sed -E "$3" "$scratch/kept.json" >"$scratch/wrong.json"
    for how in show run plan; do
        case $how in
        show) set -- "$1" "$2" "$3" profile "$net" --profile "$scratch/wrong.json" ;;
        run) set -- "$1" "$2" "$3" run "$net" --threads 1 --profile "$scratch/wrong.json" ;;
        plan) set -- "$1" "$2" "$3" plan "$net" --profile "$scratch/wrong.json" ;;
        esac
        tap_fails "$1 ($how)" "^cohort: .*wrong\.json.*$2" "$cohort" "${@:4}"
        tap_run "$1 ($how): in one line" test "$("$cohort" "${@:4}" 2>&1 | grep -cv 'note: ')" -eq 1
    done
}
wrong "another version" 'version 3, but this program reads versions up to 2' 's/"version": 1/"version": 3/'
wrong "another format" "format is 'cohort-plan'" 's/cohort-profile/cohort-plan/'
wrong "another network" 'another network' 's/"signature": "0/"signature": "1/; t; s/"signature": "./"signature": "0/'
wrong "a number that is none" ':[0-9]+:[0-9]+: expected' 's/"threads": 1/"threads": 1x/'
wrong "a key that is none" "unknown.*'sclae'|sclae" 's/"scale"/"sclae"/'
wrong "a group that is none" 'groups\.longest' 's/"longest": 0/"longest": -1/'
wrong "a curve that is none" 'curve_of' 's/"curve_of": \[0/"curve_of": [99999/'
tap_fails "a file that is not there" 'none\.json' "$cohort" profile "$net" --profile "$scratch/none.json"
tap_fails "no network" 'no network was named' "$cohort" profile
tap_fails "for another board" "wrong\.json: .*the number of threads was 7, now it is 1" \
    sh -c "sed 's/\"threads\": 1/\"threads\": 7/' '$scratch/kept.json' >'$scratch/wrong.json'; exec '$cohort' run '$net' --threads 1 --profile '$scratch/wrong.json'"
tap_fails "--plan and --strategy" '--plan already says how to divide: leave out --strategy' "$cohort" run "$net" --plan x.json --strategy auto
tap_fails "--no-profile and --profile" '--no-profile already says' "$cohort" run "$net" --no-profile --profile x.json
tap_fails "a strategy that is none" "auot.*did you mean.*auto" "$cohort" run "$net" --threads 1 --strategy auot
for f in "$scratch"/cache/cohort/profiles/*.json; do head -c 300 "$f" >"$f.half" && mv "$f.half" "$f"; done
tap_run "half a file in the cache is measured again" profile -v
tap_run "  and that is said" said 'warning: .*profiles/.*json:.*; measured again$'
tap_run "  in one line" test "$(grep -c warning "$scratch/err")" -eq 1
tap_run "no cache is no reason to fail" profile --cache /proc/none
tap_run "  but said" said 'warning: the profile is not kept'

# ---- several boards ----------------------------------------------------------------------------

if [ -z "$mpirun" ]; then
    tap_skip "several boards" "no mpirun here"
    tap_end
    exit
fi
three() { timeout 120 "$mpirun" --bind-to none -n 3 "$cohort" "$@" --threads 1 >"$scratch/out" 2>"$scratch/err"; }
tap_run "three ranks make a profile" three profile "$net" -v -o "$scratch/three.json"
tap_run "  links are measured" said 'measured in [1-9][0-9]* ms'
tap_run "  and shown" shown '^Mbit/s of large messages'
tap_run "again, links are only looked at" three profile "$net" -v
tap_run "  which is told" said 'note: links probed in [0-9]+ ms, measured in (0 ms; profiled in 0 ms|.)'
"$cohort" run "$net" --threads 1 --as npy -o "$scratch/one.npy" >/dev/null 2>&1
tap_run "a run divides by it" three run "$net" --rows-only --as npy -o "$scratch/three.npy" --save-plan "$scratch/plan.json"
tap_run "  and says how" said 'note: plan auto: [0-9]+ segments? on [123] of 3 boards.*, [0-9.]+ ms predicted$'
tap_run "  the plan is kept" grep -q '"strategy": "auto"' "$scratch/plan.json"
tap_run "  and the bits are one board's" cmp "$scratch/one.npy" "$scratch/three.npy"
for strategy in single layerwise early-fused legion aofl coedge; do
    tap_run "--strategy $strategy" three run "$net" --strategy $strategy --as npy -o "$scratch/three.npy"
    tap_run "  is what is run" said "note: plan $strategy: "
    tap_run "  and the bits are one board's" cmp "$scratch/one.npy" "$scratch/three.npy"
done
tap_run "--wire auto plans for every type" three run "$net" --wire auto --tolerance 0.5 --save-plan "$scratch/auto.json"
tap_run "  takes the one of fewest bytes" grep -q '"wire": "i8"' "$scratch/auto.json"
tap_run "  and says so" said 'note: wire i8: [0-9.e+-]+ off, tolerance 0.5; measured in [0-9]+ ms$'
tap_run "  beside the plan" said 'note: plan auto: [0-9]+ segments? on [123] of 3 boards.*, [0-9.]+ ms predicted$'
tap_run "bench --strategies chooses once" three bench "$net" --strategies auto,coedge --wire auto --tolerance 0.5 --repeat 2 --rounds 1
tap_run "  and says what it sends" shown 'input u8, wire i8$'
tap_run "--no-profile" three run "$net" --no-profile --save-plan "$scratch/plan.json" -v
tap_run "  takes the default plan" grep -q '"strategy": "default"' "$scratch/plan.json"
tap_run "  and measures nothing" test "$(grep -c 'profiled in' "$scratch/err")" -eq 0
tap_run "bench divides by it, too" three bench "$net" --repeat 1
tap_run "  and says how" said 'note: plan auto: '
tap_run "  by another strategy" three bench "$net" --repeat 1 --strategy coedge
tap_run "  which is said" said 'note: plan coedge: '
tap_run "  or without" three bench "$net" --repeat 1 --no-profile
tap_run "  which measures nothing" test "$(grep -c 'note: plan' "$scratch/err")" -eq 0
tap_fails "fss on three boards, before" "no measured groups" sh -c "timeout 60 $mpirun --bind-to none -n 3 $cohort run $net --threads 1 --strategy fss 2>&1 | grep -E '^cohort: [^wn]'; exit 1"
tap_run "groups on three boards" three profile "$net" --groups all
tap_run "  are shown" shown ' groups of operators measured in [0-9.]+ s; shares of the rows: 0\.[0-9]+ 0\.[0-9]+ 0\.[0-9]+$'
tap_run "  after which fss runs" three run "$net" --strategy fss --as npy -o "$scratch/three.npy"
tap_run "  and is what is run" said 'note: plan fss: '
tap_run "  with one board's bits" cmp "$scratch/one.npy" "$scratch/three.npy"
tap_run "--root feed" three run "$net" --root feed --save-plan "$scratch/plan.json"
tap_run "a saved profile, planned without MPI" "$cohort" plan "$net" --rows-only --profile "$scratch/three.json" -o "$scratch/plan.json"
tap_run "  is a plan for three" grep -q '"boards": 3' "$scratch/plan.json"
tap_run "  that runs" three run "$net" --plan "$scratch/plan.json" --as npy -o "$scratch/three.npy"
tap_run "  with one board's bits" cmp "$scratch/one.npy" "$scratch/three.npy"
# Planned and measured memory of every board, within a megabyte.
as_planned() {
    "$cohort" plan "$net" --profile "$scratch/three.json" --strategy "$1" --json -o "$scratch/plan.json" >"$scratch/planned" &&
        three run "$net" --plan "$scratch/plan.json" --json &&
        awk '/"peak_bytes"/ { gsub(/[^0-9,]/, ""); boards = split($0, planned, ",") }
            /"(activation|weights|other)_bytes"/ { if (/activation/) board++; gsub(/[^0-9]/, ""); sum[board] += $0 }
            END { for (b = 1; b <= 3; b++) { off = planned[b] - sum[b]; print "# board " b - 1 ": planned " planned[b] ", measured " sum[b]; bad += off > 1e6 || off < -1e6 || sum[b] == 0 } exit boards < 3 || bad }' \
            <(grep '"peak_bytes"' "$scratch/planned") "$scratch/out"
}
tap_run "memory is as planned: coedge" as_planned coedge
tap_run "  legion" as_planned legion
tap_run "a run by a saved profile" three run "$net" --profile "$scratch/three.json"
tap_fails "a profile for another number of boards" 'one\.json: it is of 1 boards, now there are 3' \
    sh -c "timeout 60 $mpirun --bind-to none -n 3 $cohort run $net --threads 1 --profile $scratch/one.json 2>&1 | grep -E '^cohort: [^wn]'; exit 1"
tap_end
