# The emulated farm (bench/farm): what its links and boards really do, whole networks over six boards
# against one, weights to five boards against one, and that nothing is left behind.
# Needs root and a kernel with namespaces, bridges and tbf; skips loudly without.
#
# Figures are printed beside those measured before, on two cores of another day: the machine may be
# busy, so limits are wide where time is concerned, and a measurement may be repeated.
cd "$(dirname "$0")/../.." || exit 2
. tests/tap.sh
export COHORT_NO_PROFILE=yes # the default plan without measurements: it is the same every time
build=${COHORT_BUILD:-$PWD/build}
cohort=${COHORT_BIN:-$build/cohort}
probe=$build/bench/farm-probe
export COHORT_FARM=test-$$ XDG_CACHE_HOME=${XDG_CACHE_HOME:-${TMPDIR:-/tmp}/cohort-farm-cache}
unset COHORT_CLUSTER # the farm's own
mpirun=$(command -v mpirun.openmpi || command -v mpirun)
state=/run/cohort-farm/$COHORT_FARM
work=$(mktemp -d)
server=""

farm() { bench/farm "$@"; }

end_farm() {
    [ -z "$server" ] || kill "$server" 2>/dev/null
    farm down
    rm -rf "$work"
}

# Values of "key": NUMBER in a JSON file of ours, one a line.
values() { # FILE KEY
    grep -oE "\"$2\": [0-9.]+" "$1" | awk '{print $2}'
}

between() { # VALUE LEAST MOST
    awk -v v="$1" -v a="$2" -v b="$3" 'BEGIN { exit !(v != "" && v >= a && v <= b) }'
}

# Repeats a measurement until its numbers are within bounds, at most three times.
measure() { # NAME FINDINGS "LEAST MOST LEAST MOST..." COMMAND...
    local name=$1 before=$2 bounds=$3 try i good seen
    local -a got limit
    shift 3
    read -ra limit <<<"$bounds"
    for try in 1 2 3; do
        seen=$("$@" 2>"$work/measure.err")
        read -ra got <<<"$seen"
        good=1
        for ((i = 0; 2 * i + 1 < ${#limit[@]}; i++)); do
            between "${got[i]:-}" "${limit[2 * i]}" "${limit[2 * i + 1]}" || good=
        done
        [ -z "$good" ] || break
    done
    echo "# $name: ${seen:-nothing} (before: $before)$([ "$try" -gt 1 ] && echo " at try $try")"
    if [ -n "$good" ]; then tap_ok "$name"; else tap_not_ok "$name" "got '$seen', limits $bounds; $(tail -n 3 "$work/measure.err")"; fi
}

# ---- can it be? --------------------------------------------------------------------------------

why_not() {
    [ "$(id -u)" -eq 0 ] || { echo "not root"; return; }
    command -v ip >/dev/null && command -v tc >/dev/null || { echo "iproute2 is not installed"; return; }
    command -v pgrep >/dev/null || { echo "procps is not installed"; return; }
    [ -n "$mpirun" ] || { echo "no mpirun"; return; }
    farm up 2 2>"$work/why" || { head -n 1 "$work/why"; return; }
}

why=$(why_not)
if [ -n "$why" ]; then
    tap_skip "the emulated farm" "$why"
    rm -rf "$work"
    tap_end
    exit
fi
trap end_farm EXIT
trap 'exit 1' INT TERM HUP
make -s "BUILD=${build#"$PWD"/}" "$probe" 2>"$work/make" || make -s "${build#"$PWD"/}/bench/farm-probe" >&2

# ---- links -------------------------------------------------------------------------------------

serve_on() { # BOARD
    [ -z "$server" ] || kill "$server" 2>/dev/null
    farm exec "$1" "$probe" serve "10.77.0.${1#b}" 7000 >/dev/null 2>&1 &
    server=$!
}

farm up 2
serve_on b1
tap_run "boards have names and find each other by them" farm exec b2 bash -c '[ "$(hostname)" = b2 ] && getent hosts b1 | grep -q 10.77.0.1'
measure "rate of a 100mbit link, Mbit/s there and back" "94.0 93.8" "90 96 90 96" farm exec b2 "$probe" rate 10.77.0.1 7000 1.5
measure "round trip, ms least and mean" "0.07 ping" "0 0.5 0 5" farm exec b2 "$probe" rtt 10.77.0.1 7000 200
measure "MPI's own rate there, back, both ways; us one way" "90.6 89.4 91.1 21" "80 96 80 96 70 96 0 3000" \
    env OMPI_MCA_btl_tcp_flags=send bench/farm exec b1 "$mpirun" -n 2 "$probe" mpi
farm link b2 10mbit
measure "rate of a link turned down to 10mbit" "9.4 9.5" "8.5 9.7 8.5 9.7" farm exec b2 "$probe" rate 10.77.0.1 7000 1
farm cut b2
farm exec b2 timeout 2 bash -c 'exec 3<>/dev/tcp/10.77.0.1/7000' 2>"$work/cut"
tap_run "a cut board reaches nobody" test $? -eq 124
farm join b2
sleep 2
measure "a joined board is back" "" "0 50" farm exec b2 "$probe" rtt 10.77.0.1 7000 20

if [ -c /dev/net/tun ]; then
    farm up 2 --delay 300
    serve_on b1
    measure "rate of a 100mbit link with 0.3 ms one way" "94.0 94.1" "85 96 85 96" farm exec b2 "$probe" rate 10.77.0.1 7000 1.5
    measure "round trip with 0.3 ms one way" "0.70 0.74" "0.6 1.2 0.6 10" farm exec b2 "$probe" rtt 10.77.0.1 7000 200
    farm link b2 100mbit 2000
    measure "round trip with 0.3 and 2 ms" "" "2.3 3 2.3 10" farm exec b2 "$probe" rtt 10.77.0.1 7000 100
else
    tap_skip "links with a delay" "no /dev/net/tun here"
fi

# ---- boards' speed -----------------------------------------------------------------------------

if [ -e "$state/groups" ]; then
    farm cpu b2 0.3
    measure "seconds of CPU in one second at a quota of 0.3" "0.2996" "0.2 0.33" farm exec b2 "$probe" burn 1
    farm cpu b2 none
else
    tap_skip "quota" "no cpu controller under /sys/fs/cgroup"
fi

# CPU time over share is what a dilated board should take, and what it took; per cent of late blocks.
dilated_speed() { # SHARE
    farm exec b1 "$cohort" run resnet18 --cpu-share "$1" --no-profile --warmup 1 --repeat 2 --as json >"$work/dilated.json" || return 1
    awk -v s="$1" -v t="$(values "$work/dilated.json" run_ms)" -v c="$(values "$work/dilated.json" cpu_ms)" \
        -v l="$(values "$work/dilated.json" late_blocks)" -v b="$(values "$work/dilated.json" blocks)" 'BEGIN { printf "%.3f %.2f\n", t / (c / s), 100 * l / b }'
}
farm up 1 --share 0.5 --realtime
for share in 0.5 0.25 0.1; do
    measure "time of a board at share $share by the time it should take, % late" "1.00 <1" "0.99 1.03 0 1" dilated_speed "$share"
done

# What was profiled is what it should take then; rows are converted to the network's layout, too.
profiled_speed() { # SHARE
    farm exec b1 env -u COHORT_NO_PROFILE "$cohort" profile resnet18 --cpu-share "$1" --again -o "$work/profile.json" >"$work/profile.out" || return 1
    farm exec b1 env -u COHORT_NO_PROFILE "$cohort" run resnet18 --cpu-share "$1" --profile "$work/profile.json" --warmup 1 --repeat 2 --as json >"$work/profiled.json" || return 1
    grep -q '"dilated_by": "profile"' "$work/profiled.json" || return 1
    awk -v t="$(values "$work/profiled.json" run_ms)" -v w="$(values "$work/profiled.json" predicted_ms | head -n 1)" \
        -v l="$(values "$work/profiled.json" late_blocks)" -v b="$(values "$work/profiled.json" blocks)" 'BEGIN { printf "%.3f %.2f\n", t / w, 100 * l / b }'
}
measure "time of a board at share 0.25 by its profile, % late" "1.01 <1" "0.99 1.06 0 1" profiled_speed 0.25

# ---- networks over six boards ------------------------------------------------------------------

farm up 6 --share 0.2,0.2,0.2,0.15,0.15,0.15

same_bits() { # NETWORK OPTIONS...
    "$cohort" run "$@" --as npy --output "$work/one.npy" 2>"$work/one.err" || { cat "$work/one.err"; return 1; }
    farm exec b1 "$mpirun" -n 6 "$cohort" run "$@" --weights send --as npy --output "$work/six.npy" --report \
        >"$work/six.out" 2>"$work/six.err" || { cat "$work/six.err"; return 1; }
    grep 'CPU share' "$work/six.out" | grep -q '0.15, .* 0.15, .* 0.15, ' || { echo "boards were not dilated"; cat "$work/six.out"; return 1; }
    grep -q 'b6 (rank 5)' "$work/six.out" || { echo "b6 is not rank 5"; return 1; }
    cmp "$work/one.npy" "$work/six.npy"
}
tap_run "resnet18 over six boards: the bits of one" same_bits resnet18 --size 96 --rows-only
sed -n 's/^CPU share/# shares/p' "$work/six.out"
tap_run "mobilenetv2 over six boards: the bits of one" same_bits mobilenetv2 --size 96 --rows-only

# ---- weights -----------------------------------------------------------------------------------

weights_seconds() { # RANKS
    farm exec b1 "$mpirun" -n "$1" "$cohort" run vgg16 --features --cpu-share 1 --weights send --as json \
        >"$work/weights.json" || return 1
    values "$work/weights.json" weights_ms | head -n 1 | awk '{ printf "%.2f", $1 / 1000 }'
}
one=$(weights_seconds 2 2>"$work/measure.err") && five=$(weights_seconds 6 2>>"$work/measure.err")
received=$(values "$work/weights.json" weights_received_bytes | sort -n | tail -n 1)
echo "# VGG-16's 59 MB of convolution weights at 100 Mbit/s: $one s to one board, $five s to five (wire time 5.0; one by one 25)"
if between "$received" 58e6 60e6 && between "$one" 4.5 12 && between "$five" 4.5 "$(awk -v o="$one" 'BEGIN { print 1.6 * o }')"; then
    tap_ok "weights reach five boards about as fast as one"
else
    tap_not_ok "weights reach five boards about as fast as one" "$one s, $five s, $received bytes; $(tail -n 3 "$work/measure.err")"
fi

# ---- ssh ---------------------------------------------------------------------------------------

if [ -x /usr/sbin/sshd ]; then
    farm up 3 --ssh
    over_ssh() {
        farm exec b1 "$mpirun" --mca plm_rsh_agent "ssh -F $state/ssh/config" -n 3 hostname | sort | tr '\n' ' '
    }
    tap_run "mpirun through real sshd" test "$(over_ssh 2>"$work/ssh.err")" = "b1 b2 b3 "
else
    tap_skip "mpirun through real sshd" "openssh-server is not installed"
fi

# ---- nothing is left ---------------------------------------------------------------------------

# What a farm could leave: processes, namespaces held by them, control groups, mounts, files.
leftovers() { # FARM
    pgrep -af "^cohort-farm:$1:"
    find /proc -maxdepth 2 -path '/proc/[0-9]*/environ' -exec grep -lzs "^COHORT_FARM_BOARD=" {} + 2>/dev/null |
        while read -r file; do grep -qzs "^COHORT_FARM=$1\$" "$file" && tr '\0' ' ' <"${file%environ}cmdline"; done
    ls -d /run/cohort-farm/"$1" /sys/fs/cgroup/cpu/cohort-"$1" /sys/fs/cgroup/cohort-"$1" 2>/dev/null
    grep "cohort-farm/$1" /proc/mounts
    ip -brief link | grep -E '^p[0-9]+@'
}

nothing_left() { # FARM
    local left
    left=$(leftovers "$1")
    [ -z "$left" ] || { echo "left behind: $left"; return 1; }
}

farm down
tap_run "down leaves nothing" nothing_left "$COHORT_FARM"
tap_run "down again does no harm" farm down
for after in 0.3 0.8; do # seconds; building six boards takes about one
    COHORT_FARM=$COHORT_FARM-up timeout -s INT "$after" bench/farm up 6 2>/dev/null
    tap_run "an interrupted up leaves nothing (after $after s)" nothing_left "$COHORT_FARM-up"
done
for after in 0.4 0.9; do
    COHORT_FARM=$COHORT_FARM-killed timeout -s KILL "$after" bench/farm up 6 2>/dev/null
    COHORT_FARM=$COHORT_FARM-killed bench/farm down
    tap_run "a killed up and a down leave nothing (after $after s)" nothing_left "$COHORT_FARM-killed"
done
for signal in INT TERM; do
    COHORT_FARM=$COHORT_FARM-job timeout -s $signal 4 bash -c 'trap "bench/farm down" EXIT; trap "exit 1" INT TERM
        bench/farm up 3 && touch "$0" && bench/farm exec b1 "$1" -n 3 sleep 60' "$work/was-up" "$mpirun" >"$work/job" 2>&1
    [ -e "$work/was-up" ] || echo "the farm was not up in time" >>"$work/job"
    tap_run "a job ended by $signal leaves nothing" nothing_left "$COHORT_FARM-job"
    tap_run "it had begun" rm "$work/was-up"
done
# Killed without a word in the midst of a network over real sshds: what runs on the boards goes on
# until `down`.
(
    export COHORT_FARM=$COHORT_FARM-killed
    segments=$(find /dev/shm -name 'vader_segment.b[1-3].*' | wc -l)
    if [ -x /usr/sbin/sshd ] && bench/farm up 3 --ssh; then
        bench/farm exec b1 "$mpirun" --mca plm_rsh_agent "ssh -F /run/cohort-farm/$COHORT_FARM/ssh/config" -n 3 \
            "$cohort" run lenet5 --seed $$ --repeat 1000000 >"$work/job" 2>&1 &
        job=$!
        sleep 2
        pgrep -f "run lenet5 --seed $$ --repeat 1000000" >"$work/ranks"
        kill -KILL $job
        wait $job 2>/dev/null
    fi
    bench/farm down
    [ "$(find /dev/shm -name 'vader_segment.b[1-3].*' | wc -l)" -le "$segments" ] || touch "$work/segments"
)
if [ -s "$work/ranks" ]; then
    tap_run "a killed job over ssh and a down leave nothing" nothing_left "$COHORT_FARM-killed"
    tap_run "  neither processes of the job" test -z "$(pgrep -f "run lenet5 --seed $$ --repeat 1000000")"
    tap_run "  nor memory in /dev/shm" test ! -e "$work/segments"
else
    tap_skip "a killed job over ssh" "no sshd, or no farm: $(tail -n 1 "$work/job" 2>/dev/null)"
fi
tap_fails "a wrong rate is refused" "expected a rate" farm link b1 fast
tap_fails "real time without shares is refused" "never sleep" farm up 2 --realtime
tap_fails "a share for too few boards is refused" "board 3" farm up 3 --share 0.5,0.5
tap_end
