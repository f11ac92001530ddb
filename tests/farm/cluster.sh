#!/usr/bin/env bash
# cohort-cluster on emulated boards with real sshds: new, deploy, check and run end to end, and every
# fault that a first hour brings, named in time with its cure.  Needs root (network namespaces).
cd "$(dirname "$0")/../.." || exit 1
. tests/tap.sh
name="cohort-cluster on three boards"
export COHORT_BIN=${COHORT_BIN:-$PWD/build/cohort}
export COHORT_FARM=cluster-test-$$
unset COHORT_CLUSTER
if [ "$(id -u)" -ne 0 ] || [ ! -x bench/farm ] || ! command -v sshd >/dev/null; then
    tap_skip "$name" "needs root, bench/farm and an sshd (openssh-server)"
    tap_end
    exit
fi
scratch=$(mktemp -d)
trap 'bench/farm down >"$scratch/down.log" 2>&1; rm -rf "$scratch"' EXIT
if ! bench/farm up 3 --ssh >"$scratch/up.log" 2>&1; then
    tap_skip "$name" "the farm did not come up: $(tail -n 1 "$scratch/up.log")"
    tap_end
    exit
fi
config=/run/cohort-farm/$COHORT_FARM/ssh/config
program=$scratch/path/cohort
farm() { bench/farm exec "$@"; }
# As a user sits at the first board.
tool() { farm b1 scripts/cohort-cluster --ssh-config "$config" "$@"; }

# ---- end to end --------------------------------------------------------------------------------

tap_run "new" tool new b1 b2 b3 -o "$scratch/lab" --program "$program"
tap_run "  finds addresses and network" test "$(grep -cE '"address": "10.77.0.[123]", "network": "10.77.0.0/24"' "$scratch/lab.json")" -eq 3
lab=$scratch/lab
output=$(tool check "$lab" 2>&1)
status=$?
tap_run "before deploy every board lacks the program" test "$status" = 1 -a "$(grep -c "FAULT $program is missing" <<<"$output")" -eq 3
tap_run "deploy" tool deploy "$lab"
output=$(tool check "$lab" 2>&1)
status=$?
if [ $status -eq 0 ] && grep -q '3 boards in 10.77.0.0/24: no fault' <<<"$output"; then
    tap_ok "check finds no fault then"
else
    tap_not_ok "check finds no fault then" "$output"
fi

picture=""
for f in "${COHORT_SHARED:-../shared}"/images/*.{png,jpg} build/pictures/chelsea.png; do
    [ -f "$f" ] && picture=$(readlink -f "$f") && break
done
input=()
[ -n "$picture" ] && input=(--input "$picture")
one=$("$COHORT_BIN" run squeezenet1.1 "${input[@]}" --cache "$scratch/cache" --top 5 2>"$scratch/one.err" | grep -v '^latency')
all=$(timeout 120 bench/farm exec b1 scripts/cohort-cluster --ssh-config "$config" run "$lab" -- \
    run squeezenet1.1 "${input[@]}" --cache "$scratch/cache" --top 5 2>"$scratch/all.err" | grep -v '^latency')
if [ -n "$one" ] && [ "$one" = "$all" ]; then
    tap_ok "run over three boards gives the one-board answer"
else
    tap_not_ok "run over three boards gives the one-board answer" "one: $one
three: $all
$(tail -n 5 "$scratch/all.err")"
fi
output=$(timeout 60 bench/farm exec b1 scripts/cohort-cluster --ssh-config "$config" run "$lab" -- check --json 2>"$scratch/check.err")
tap_run "cohort check measures all six links" test "$(grep -c '"mbit_per_s"' <<<"$output")" -eq 6
tap_run "  at the farm's 100 Mbit/s" test "$(grep '"mbit_per_s"' <<<"$output" | awk '{gsub(/[^0-9.]/, "", $2); if ($2 > 40 && $2 < 110) n++} END {print n + 0}')" -ge 5
tap_run "  and finds no fault" grep -q '"faults": \[\]' <<<"$output"

# From a machine that is none of the boards: rank 0 is the first board, files are brought there.
outside() { farm b3 scripts/cohort-cluster --ssh-config "$config" "$@"; }
outside new b1 b2 -o "$scratch/two" --program "$program" >"$scratch/two.log" 2>&1
tap_run "check from a machine that is no board" outside check "$scratch/two"
two=$(timeout 120 bench/farm exec b3 scripts/cohort-cluster --ssh-config "$config" run "$scratch/two" -- \
    run squeezenet1.1 "${input[@]}" --cache "$scratch/cache" --top 5 2>"$scratch/two.err" | grep -v '^latency')
if [ -n "$one" ] && [ "$(grep '%' <<<"$one")" = "$(grep '%' <<<"$two")" ]; then
    tap_ok "run from there gives the one-board answer"
else
    tap_not_ok "run from there gives the one-board answer" "one: $one
two: $two
$(tail -n 5 "$scratch/two.err")"
fi
[ -z "$picture" ] || tap_run "  and brings the picture to the first board" grep -q "$picture goes to b1" "$scratch/two.err"
tap_run "  and leaves no file there" test -z "$(ls -d /tmp/cohort-run.* 2>"$scratch/ls.err")"
tap_fails "run on the second board says where to run" 'make it the first board' farm b2 scripts/cohort-cluster --ssh-config "$config" run "$scratch/two" -- run lenet5

# ---- faults ------------------------------------------------------------------------------------

finds() { # NAME FAULT CURE
    local begin=$SECONDS output status
    output=$(tool check "$lab" 2>&1)
    status=$?
    if [ $status -eq 1 ] && [ $((SECONDS - begin)) -le 15 ] && grep -A1 -E "FAULT $2" <<<"$output" | grep -qE "cure: $3"; then
        tap_ok "$1: named after $((SECONDS - begin)) s"
    else
        tap_not_ok "$1" "status $status after $((SECONDS - begin)) s: $output"
    fi
}

# The boards' file systems are this machine's; what is mounted on one is seen there alone.
mkdir "$scratch/empty"
farm b2 mount --bind "$scratch/empty" "$scratch/path"
finds "a missing binary" "$program is missing" "cohort-cluster deploy"
farm b2 umount "$scratch/path"

printf '#!/bin/sh\necho "mpirun.openmpi (OpenRTE) 4.0.3"\n' >"$scratch/mpirun"
chmod +x "$scratch/mpirun"
mpirun=$(command -v mpirun.openmpi || command -v mpirun)
farm b3 mount --bind "$scratch/mpirun" "$(readlink -f "$mpirun")"
finds "another Open MPI" "Open MPI 4.0.3 here, [0-9.]+ on this machine" ".* b3 .*openmpi-bin"
farm b3 umount "$(readlink -f "$mpirun")"

farm b3 hostname b2
finds "two equal names" "the host name b2 is also that of b2" ".* b3 'sudo hostnamectl set-hostname b3'"
output=$(timeout 60 bench/farm exec b1 scripts/cohort-cluster --ssh-config "$config" run "$lab" -- check 2>&1)
tap_run "  and by cohort check from inside a job" grep -q 'ranks 1 and 2 are distinct boards, but both are called b2' <<<"$output"
farm b3 hostname b3

farm b2 ip link add wlan0 type veth peer name wlan0p
farm b2 ip addr add 10.77.0.52/24 dev wlan0
farm b2 ip link set wlan0 up
finds "a second interface in the network" "a second interface in 10.77.0.0/24: eth0 wlan0" ".* b2 'sudo ip link set wlan0 down'"
farm b2 ip addr flush dev wlan0
farm b2 ip addr add 172.17.0.1/16 dev wlan0
output=$(tool check "$lab" 2>&1)
tap_run "a second interface elsewhere: what to do is said" grep -A1 'a second interface outside 10.77.0.0/24: wlan0 172.17.0.1/16' <<<"$output"
farm b2 ip link del wlan0

if command -v iptables >/dev/null && farm b2 iptables -A INPUT -p tcp --dport 1024:65535 --syn -j DROP 2>"$scratch/iptables"; then
    finds "blocked ports" "port [0-9, ]+ of b2 cannot be reached from b1, b3" ".* b2 .*10.77.0.0/24"
    farm b2 iptables -F
    farm b2 iptables -A INPUT -p tcp -s 10.77.0.3 --dport 1024:65535 -j DROP
    finds "ports blocked for one board" "port [0-9, ]+ of b2 cannot be reached from b3 " ".* b2 .*10.77.0.0/24"
    output=$(timeout 60 bench/farm exec b1 scripts/cohort-cluster --ssh-config "$config" run "$lab" -- check 2>&1)
    tap_run "  and by cohort check from inside a job" grep -q 'ranks 1 (b2) and 2 (b3) cannot talk to each other' <<<"$output"
    farm b2 iptables -F
else
    tap_skip "blocked ports" "no iptables"
fi

bench/farm cut b3
finds "a board without its cable" "b3 \(10.77.0.3\) does not answer" "look at its power, cable"
bench/farm join b3
sleep 2
tap_run "all is well in the end" tool check "$lab"
tap_end
