#!/usr/bin/env bash
# cohort profile on the emulated farm: what the links come out as, equal boards, boards of another
# speed, changed links, a cut cable, and a run that divides by it.
# Needs root and a kernel with namespaces, bridges and tbf; skips loudly without.
cd "$(dirname "$0")/../.." || exit 2
. tests/tap.sh
. tests/support/farm.sh
begin_farm profile "profiles on the emulated farm" 6 --share 0.1,0.1,0.1,0.1,0.1,0.05
net=$work/net.onnx
"$cohort" synth resnet18 --size 96 --width 0.5 --features -o "$net" || exit 1

six() { # COMMAND...
    timeout 150 bench/farm exec b1 "$mpirun" -n 6 "$cohort" "$@" >"$work/out" 2>"$work/err"
}
said() { grep -aqE -- "$1" "$work/err"; }
# The numbers of the matrix below that title.
matrix() { # TITLE
    awk -v title="$1" 'index($0, title) == 1 { on = 1; next } on && /^$/ { exit } on && /^b[0-9]/ { for (i = 2; i <= NF; i++) if ($i != "-") print $i }' "$work/out"
}
within() { # LEAST MOST SHARE: so much of the numbers read
    awk -v a="$1" -v b="$2" -v s="$3" '{ n++; if ($1 >= a && $1 <= b) ok++ } END { exit !(n > 0 && ok >= s * n) }'
}

# ---- links and boards --------------------------------------------------------------------------

tap_run "six boards are profiled" six profile "$net" -v -o "$work/six.json"
matrix "Mbit/s of large" >"$work/mbit"
tap_run "  30 links" test "$(wc -l <"$work/mbit")" -eq 30
echo "# Mbit/s: $(sort -n "$work/mbit" | sed -n '1p;15p;30p' | tr '\n' ' ')(least, middle, most)"
tap_run "  come out as 90 to 96 Mbit/s" within 90 96 0.8 <"$work/mbit"
types=$(grep -c '"cpu":' "$work/six.json")
echo "# types: $types; $(grep -c 'measured alone' "$work/err") measured alone"
tap_run "  five equal boards share a type, the sixth has its own" test "$types" -ge 2 -a "$types" -le 4
tap_run "  whose share of the CPU is known" grep -q '"cpu_share": 0.05' "$work/six.json"
awk '/^ +[0-5] b[1-6] / { print $2, $5 }' "$work/out" >"$work/ms"
echo "# ms of an inference: $(tr '\n' ' ' <"$work/ms")"
tap_run "  and takes twice as long" awk '{ ms[$1] = $2 } END { r = ms["b6"] / ms["b1"]; exit !(r > 1.6 && r < 2.5) }' "$work/ms"

# ---- links that stay, and links that change -----------------------------------------------------

least=1000
for ((i = 0; i < 3; i++)); do
    six profile "$net" -v
    ms=$(sed -nE 's/.*note: links probed in ([0-9]+) ms.*/\1/p' "$work/err" | tail -n 1)
    [ "${ms:-1000}" -ge "$least" ] || least=$ms
done
echo "# links looked at in $least ms"
tap_run "links are looked at in less than 0.1 s when a job starts" test "$least" -gt 0 -a "$least" -lt 100
tap_run "  and not measured again" said 'measured in 0 ms; profiled in 0 ms'
farm link b3 20mbit >/dev/null
tap_run "a slower link" six profile "$net" -v
tap_run "  is noticed" said 'warning: (from|to) .*b3.*; links are measured again'
tap_run "  in one line" test "$(grep -c 'measured again' "$work/err")" -eq 1
tap_run "  and measured" said 'measured in [1-9][0-9]* ms; profiled in 0 ms'
matrix "Mbit/s of large" >"$work/mbit"
tap_run "  ten links are slow now" test "$(awk '$1 < 22' "$work/mbit" | wc -l)" -eq 10
farm link b3 100mbit >/dev/null

# ---- a run -------------------------------------------------------------------------------------

farm exec b1 "$cohort" run "$net" --as npy -o "$work/one.npy" --no-profile >/dev/null 2>&1
tap_run "a run divides by it" six run "$net" --rows-only --as npy -o "$work/six.npy"
echo "# $(grep 'note: plan' "$work/err")"
tap_run "  and says how" said 'note: plan auto: [0-9]+ segments? on [1-6] of 6 boards'
tap_run "  with one board's bits" cmp "$work/one.npy" "$work/six.npy"

# ---- a cable is cut ----------------------------------------------------------------------------

# mpirun does not end when a board is gone, so it is ended here once somebody has said why.
cut_when() { # NAME PATTERN SECONDS OPTION...
    local name=$1 pattern=$2 after=$3 tries
    shift 3
    timeout -k 5 90 bench/farm exec b1 "$mpirun" -n 6 "$cohort" profile "$net" -v --again --timeout 3 "$@" >"$work/out" 2>"$work/err" &
    local job=$!
    for ((tries = 0; tries < 300; tries++)); do
        said "$pattern" && break
        sleep 0.05
    done
    sleep "$after"
    farm cut b4
    for ((tries = 0; tries < 400; tries++)); do
        said '^cohort: .*no answer within' && break
        sleep 0.1
    done
    sleep 1
    kill "$job" 2>/dev/null
    wait "$job"
    if said '^cohort: .*no answer within [0-9.]+ s from b4 \(rank 3\)'; then
        tap_ok "$name: an error that names it"
    else
        tap_not_ok "$name" "$(grep -a -v '^$' "$work/err" | head -n 5)"
    fi
    echo "# $(grep -a -m 1 'no answer' "$work/err")"
    farm join b4
    sleep 2
}
cut_when "a board's cable is cut while links are measured" 'note: measuring the links' 0
cut_when "a board's cable is cut while boards compute" 'note: timing ' 0.3 --cpu-share 0.005
tap_end
