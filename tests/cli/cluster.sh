#!/usr/bin/env bash
# cohort-cluster against made-up boards: an ssh that runs commands here, in a folder for each board
# whose programs answer as that board would.  tests/farm/cluster.sh does the same on real sshds.
cd "$(dirname "$0")/../.." || exit 1
. tests/tap.sh
export COHORT_BIN=${COHORT_BIN:-$PWD/build/cohort}
tool=$PWD/scripts/cohort-cluster
root=$PWD
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
boards=$scratch/boards
program=$scratch/path/cohort
build=$("$COHORT_BIN" version --build)
cd "$scratch" || exit 1

# ---- made-up boards ----------------------------------------------------------------------------

# A program of a board's that prints a text.
answers() { # BOARD PROGRAM TEXT
    printf '#!/bin/sh\ncat <<"END"\n%s\nEND\n' "$3" >"$boards/$1/bin/$2"
    chmod +x "$boards/$1/bin/$2"
}

make_board() { # NAME ADDRESS
    mkdir -p "$boards/$1/bin"
    echo "$2" >"$boards/$1/address"
    answers "$1" hostname "$1"
    answers "$1" id me
    answers "$1" ip "2: eth0    inet $2/24 brd 10.9.8.255 scope global eth0"
    answers "$1" mpirun.openmpi "mpirun.openmpi (OpenRTE) 4.1.4"
    answers "$1" orted ""
    printf '#!/bin/sh\ncase $1 in LONG_BIT) echo 64 ;; esac\n' >"$boards/$1/bin/getconf"
    answers "$1" uname aarch64
    # perl listens on ports, or tries those of others.
    printf '#!/bin/sh\ncase "$*" in *"1024 0 0") echo ports=1024,40001 ;; *) cat "%s" 2>&-; echo tried=1 ;; esac\n' \
        "$boards/$1/blocked" >"$boards/$1/bin/perl"
    chmod +x "$boards/$1/bin/"*
    printf '#!/bin/sh\necho "%s"\n' "${build/isa x86_64/isa aarch64}" >"$boards/$1/cohort"
    chmod +x "$boards/$1/cohort"
}

cat >"$scratch/ssh" <<END
#!/bin/bash
# ssh [-G] [OPTIONS] HOST COMMAND
while [[ \$1 == -* ]]; do
    [ "\$1" = -G ] && { cat "$boards/\$2/address" | sed 's/^/hostname /'; exit; }
    shift
done
board=$boards/\$1
[ -d "\$board" ] || { echo "ssh: Could not resolve hostname \$1: Name or service not known" >&2; exit 255; }
[ -f "\$board/says" ] && { cat "\$board/says" >&2; exit 255; }
[ -f "\$board/hangs" ] && { sleep 30; exit 255; }
export PATH=\$board/bin:\$PATH HOME=\$board SSH_CONNECTION="10.9.8.99 5 10.9.8.1 22"
program=$program
exec sh -c "\${2//"\$program"/"\$board/cohort"}"
END
chmod +x "$scratch/ssh"
export COHORT_SSH=$scratch/ssh

all_well() {
    rm -rf "$boards"
    make_board pi1 10.9.8.1
    make_board pi2 10.9.8.2
    make_board pi3 10.9.8.3
}
# The tool's own mpirun must be the boards' version: a machine with another Open MPI can test too.
mkdir "$scratch/own"
printf '#!/bin/sh\n[ "$1" = --version ] && echo "mpirun.openmpi (OpenRTE) 4.1.4"\n' >"$scratch/own/mpirun.openmpi"
chmod +x "$scratch/own/mpirun.openmpi"
with_own() { PATH=$scratch/own:$PATH "$tool" "$@"; }

# ---- new ---------------------------------------------------------------------------------------

all_well
tap_run "new" "$tool" new pi1 pi2 pi3 -o nets/lab --program "$program"
tap_run "the hostfile has one slot a board" test "$(grep -v '^#' nets/lab.hosts | tr '\n' ';')" = "pi1 slots=1;pi2 slots=1;pi3 slots=1;"
if command -v jq >/dev/null; then
    tap_run "the companion is JSON with all fields" test "$(jq -c '[.format, .version, (.boards[] | [.name, .address, .network, (.cpu_share | floor), .memory_limit, .cores])]' nets/lab.json)" = \
        '["cohort-cluster",1,["pi1","10.9.8.1","10.9.8.0/24",1,null,"all"],["pi2","10.9.8.2","10.9.8.0/24",1,null,"all"],["pi3","10.9.8.3","10.9.8.0/24",1,null,"all"]]'
fi
sed "s/pi1/$(hostname)/" nets/lab.json >mine.json
tap_run "cohort reads the companion" "$COHORT_BIN" run lenet5 --cache "$scratch/cache" --cluster mine.json
tap_fails "files are not overwritten" 'nets/lab.json exists: --force' "$tool" new pi1 -o nets/lab
tap_fails "an unknown host" 'nowhere: no address is known: add' "$tool" new pi1 nowhere -o x
tap_fails "a host named twice" 'pi1 and 10.9.8.1 are both 10.9.8.1' "$tool" new pi1 10.9.8.1 -o x
tap_fails "a user name" "User me.* under 'Host pi1'" "$tool" new me@pi1 -o x
tap_fails "a host outside the network" 'pi1 is 10.9.8.1, outside 10.9.7.0/24' "$tool" new pi1 -o x --network 10.9.7.0/24
tap_fails "a network that is none" '--network 10.9: expected' "$tool" new pi1 -o x --network 10.9
tap_fails "no common network" 'no common network' "$tool" new pi1 11.9.8.1 -o x
tap_fails "no name" '-o NAME' "$tool" new pi1
tap_fails "no host" 'at least one host' "$tool" new -o x
tap_fails "an unknown command" "unknown command 'chekc'" "$tool" chekc lab
tap_run "--help" grep -q 'cohort-cluster COMMAND' <("$tool" --help)

# ---- what is no cluster ------------------------------------------------------------------------

tap_fails "a cluster that is not there" 'other.json: no such file' "$tool" check other
printf '{"format": "cohort-cluster", "version": 1, "boards": [' >bad.json
touch bad.hosts
tap_fails "JSON cut short" 'bad.json: not JSON: it ends too early' "$tool" check bad
sed 's/"version": 1/"version": 2/' nets/lab.json >bad.json
tap_fails "another version" 'version is 2' "$tool" check bad
sed 's/"10.9.8.2"/"10.9.8.256"/' nets/lab.json >bad.json
tap_fails "an address that is none" 'boards\[1\].address is "10.9.8.256"' "$tool" check bad
cp nets/lab.json bad.json
tap_fails "a hostfile of other boards" 'bad.hosts names .*bad.json names pi1 pi2 pi3' "$tool" check bad

# ---- check -------------------------------------------------------------------------------------

# Breaks something, and expects a line of fault and the cure below it, in time.
finds() { # NAME FAULT CURE
    local begin=$SECONDS
    output=$(with_own check nets/lab 2>&1)
    status=$?
    if [ $status -eq 1 ] && [ $((SECONDS - begin)) -le 15 ] && grep -A1 -E "FAULT $2" <<<"$output" | grep -qE "cure: $3"; then
        tap_ok "$1"
    else
        tap_not_ok "$1" "status $status after $((SECONDS - begin)) s: $output"
    fi
    all_well
}

output=$(with_own check nets/lab 2>&1)
status=$?
tap_run "three good boards have no fault" test $status -eq 0
tap_run "a line for each" test "$(grep -cE '^ok +pi[123] .*user me, aarch64 64-bit, Open MPI 4.1.4, cohort [0-9a-f]{16}, eth0 10.9.8.[123], ports open' <<<"$output")" -eq 3

rm "$boards/pi2/cohort"
finds "a missing program" "$program is missing" "cohort-cluster deploy nets/lab"
printf '#!/bin/sh\necho "cohort 0.1.0 isa aarch64 bits 64 build 0123456789abcdef"\n' >"$boards/pi3/cohort"
finds "another build" "$program is build 0123456789abcdef, but [0-9a-f]{16} on this machine" "cohort-cluster deploy nets/lab"
printf '#!/bin/sh\necho "error while loading shared libraries: libhwloc.so.15"; exit 127\n' >"$boards/pi3/cohort"
finds "a program that does not run" "$program does not run: .*libhwloc" "cohort-cluster deploy nets/lab"
answers pi2 mpirun.openmpi "mpirun.openmpi (OpenRTE) 4.0.5"
finds "another Open MPI" "Open MPI 4.0.5 here, 4.1.4 on this machine" ".*ssh -t pi2 .*apt-get install -y openmpi-bin"
answers pi3 hostname pi2
finds "two equal names" "the host name pi2 is also that of pi2" ".*ssh -t pi3 'sudo hostnamectl set-hostname pi3'"
answers pi2 ip "2: eth0    inet 10.9.8.2/24
3: wlan0    inet 10.9.8.77/24"
finds "a second interface in the network" "a second interface in 10.9.8.0/24: eth0 wlan0" ".*ssh -t pi2 'sudo ip link set wlan0 down'"
answers pi2 ip "2: eth0    inet 192.168.5.2/24"
finds "no interface in the network" "no interface in 10.9.8.0/24 \(it has eth0 192.168.5.2/24\)" "cohort-cluster new .*--network"
answers pi2 ip "2: eth0    inet 10.9.8.2/24
3: docker0    inet 172.17.0.1/16"
output=$(with_own check nets/lab)
tap_run "a second interface elsewhere is a note with its cure, no fault" test $? -eq 0
tap_run "  and names it" grep -A1 'a second interface outside 10.9.8.0/24: docker0 172.17.0.1/16' <<<"$output"
tap_run "  and what keeps MPI off it" grep -q 'btl_tcp_if_include 10.9.8.0/24' <<<"$output"
all_well
printf 'blocked=pi2 1024 no answer\nblocked=pi2 40001 no answer\n' | tee "$boards/pi1/blocked" >"$boards/pi3/blocked"
finds "a blocked port" "port 1024, 40001 of pi2 cannot be reached from pi1, pi3 \(no answer\)" ".*ssh -t pi2 .*10.9.8.0/24"
printf 'blocked=pi1 1024 no answer\nblocked=pi3 1024 no answer\n' >"$boards/pi2/blocked"
finds "a board that reaches nobody" "it cannot connect to any other board" ".*ssh -t pi2 .*OUTPUT"
printf 'blocked=this-machine 40001 no answer\n' >"$boards/pi2/blocked"
finds "ports of the machine that mpirun runs on" "ports of this machine cannot be reached from pi2" "sudo ufw allow from 10.9.8.0/24"
printf '#!/bin/sh\necho 32\n' >"$boards/pi2/bin/getconf"
finds "a 32-bit board among 64-bit ones" "a 32-bit armv7l cannot join a job with 64-bit ranks" ".*cohort-cluster new pi1 pi3 -o nets/lab --force"
if [ "$(getconf LONG_BIT)" = 64 ]; then
    for b in pi1 pi2 pi3; do printf '#!/bin/sh\necho 32\n' >"$boards/$b/bin/getconf"; done
    finds "32-bit boards and a 64-bit machine that is none" "mpirun on this 64-bit machine cannot start 32-bit ranks" "run cohort-cluster on pi1"
fi
echo "me@pi2: Permission denied (publickey,password)." >"$boards/pi2/says"
finds "a key that is not let in" "pi2 does not let this machine's key in" "cohort-cluster deploy nets/lab --keys"
echo "ssh: connect to host pi2 port 22: Connection refused" >"$boards/pi2/says"
finds "no sshd" "pi2 is there, but no sshd answers" ".*install -y openssh-server"
echo "Host key verification failed." >"$boards/pi2/says"
finds "a new host key" "pi2 has another host key" "ssh-keygen -R pi2"
touch "$boards/pi2/hangs"
finds "a board that never answers" "pi2 \(10.9.8.2\) does not answer within" "look at its power"
rm -r "$boards/pi3"
finds "a name that ssh does not know" "no address is known for pi3" "echo '10.9.8.3 pi3' . sudo tee -a /etc/hosts"
answers pi1 vcgencmd "throttled=0x50005"
finds "a board short of voltage" "its supply voltage is too low now" "use a stronger power supply"
answers pi1 vcgencmd "throttled=0xe0008"
finds "a throttled board" "it is being throttled now" "give it a heat sink"
all_well
answers pi3 hostname raspberrypi
output=$(with_own check nets/lab)
tap_run "another name than its own is a note" test $? -eq 0
tap_run "  with what it means" grep -q 'it calls itself raspberrypi, not pi3: reports and --ratio will say raspberrypi' <<<"$output"
sed 's/"cpu_share": 1.0/"cpu_share": 0.5/' nets/lab.json >nets/dilated.json
cp nets/lab.hosts nets/dilated.hosts
tap_fails "  but a fault where the companion says something of that board" 'FAULT it calls itself raspberrypi, but nets/dilated.json speaks of pi3' with_own check nets/dilated
all_well

# ---- deploy ------------------------------------------------------------------------------------

rm "$boards/pi2/cohort"
printf '#!/bin/sh\necho "%s"\n' "${build/isa x86_64/isa aarch64}" >for-arm
output=$("$tool" deploy nets/lab --no-packages --build aarch64=for-arm 2>&1)
tap_run "deploy" test $? -eq 0
tap_run "  puts a program where there is none" cmp for-arm "$boards/pi2/cohort"
tap_run "  and leaves the same build alone" grep -qE 'pi1: .* is build [0-9a-f]{16} already' <<<"$output"
rm "$boards/pi2/cohort"
tap_fails "deploy without a build for that board" 'no cohort is here for aarch64|building failed|could not be installed' \
    env PATH="$scratch/own:$PATH" XDG_CACHE_HOME="$scratch/cache" bash -c "cp '$tool' '$scratch/own/cohort-cluster' && '$scratch/own/cohort-cluster' deploy nets/lab --no-packages"
sed -i 's/build [0-9a-f]*/build 0123456789abcdef/' for-arm
tap_fails "a build of other sources" 'for-arm is build 0123456789abcdef, not [0-9a-f]{16} as on this machine' "$tool" deploy nets/lab --no-packages --build aarch64=for-arm
all_well

# Boards of another kind, from a folder of sources (whose Makefile only says what it would build).
mkdir -p src/scripts src/include
cp "$tool" "$root/scripts/install-deps" src/scripts/
touch src/include/cohort.h src/old.c
echo "${build/isa x86_64/isa aarch64}" >src/says
printf 'all:\n\t@mkdir -p build && { echo "#!/bin/sh"; echo "echo $$(cat says)"; } >build/cohort && chmod +x build/cohort\n' >src/Makefile
from_sources() { XDG_CACHE_HOME=$scratch/$1 src/scripts/cohort-cluster deploy nets/lab --no-packages; }
rm "$boards/pi2/cohort"
output=$(from_sources built 2>&1)
status=$?
tap_run "a build for another kind is made on the first such board" test $status = 0 -a "$("$boards/pi2/cohort")" = "$(cat src/says)"
tap_run "  which is said" grep -q 'building for aarch64 on pi1' <<<"$output"
rm "$boards/pi2/cohort" src/old.c
tap_run "  once" test "$(from_sources built 2>&1 | grep -c building)" = 0
rm "$boards/pi2/cohort"
sed -i 's/build [0-9a-f]*/build 0123456789abcdef/' src/says
tap_fails "sources that changed since this machine's build" 'the sources in .*/src are build 0123456789abcdef, but .* run make in' from_sources changed
tap_run "  their build is not kept" test -z "$(find "$scratch/changed" -type f 2>&1 | grep builds/)"
tap_run "  and what was deleted here is not there" test ! -e .cache/cohort/source/old.c
all_well
echo "me@pi2: Permission denied (publickey)." >"$boards/pi2/says"
tap_fails "deploy to a board that cannot be reached" 'nothing was deployed' "$tool" deploy nets/lab --no-packages
all_well

# Keys: a board that lets nobody in until the key has been brought there with a password.
cat >"$scratch/locked-ssh" <<END
#!/bin/bash
host="" batch=""
for a; do case \$a in -oBatchMode=yes) batch=1 ;; -*) ;; *) host=\$a; break ;; esac; done
if [ "\$batch" = 1 ] && ! grep -qs ssh-ed25519 "$boards/\$host/.ssh/authorized_keys"; then
    echo "me@\$host: Permission denied (publickey,password)." >&2
    exit 255
fi
exec "$scratch/ssh" "\$@"
END
chmod +x "$scratch/locked-ssh"
mkdir "$scratch/home" "$scratch/home/.ssh"
locked() { HOME=$scratch/home COHORT_SSH=$scratch/locked-ssh "$tool" "$@"; }
if command -v ssh-keygen >/dev/null; then
    tap_fails "boards that do not know the key" 'deploy nets/lab --keys' locked check nets/lab
    tap_fails "deploy names them too" 'nothing was deployed' locked deploy nets/lab --no-packages
    echo "${build/isa x86_64/isa aarch64}" | { read -r line; printf '#!/bin/sh\necho "%s"\n' "$line" >for-arm; }
    output=$(locked deploy nets/lab --keys --no-packages --build aarch64=for-arm 2>&1)
    tap_run "deploy --keys" test $? -eq 0
    tap_run "  makes a key" test -f "$scratch/home/.ssh/id_ed25519"
    tap_run "  and brings it to each board" test "$(cat "$boards"/pi*/.ssh/authorized_keys | sort -u)" = "$(cat "$scratch/home/.ssh/id_ed25519.pub")"
    locked deploy nets/lab --keys --no-packages --build aarch64=for-arm >again.out 2>&1
    tap_run "  once" test "$(grep -c 'without a password already' again.out)" -eq 3 -a "$(cat "$boards"/pi*/.ssh/authorized_keys | wc -l)" -eq 3
else
    tap_skip "deploy --keys" "no ssh-keygen"
fi
all_well

# ---- run ---------------------------------------------------------------------------------------

line=$(with_own run nets/lab --dry-run -- run vgg16 --input 'my cat.jpg' 2>&1)
for part in "--hostfile nets/lab.hosts" "-n 3" "--map-by node" "btl_tcp_if_include 10.9.8.0/24" "oob_tcp_if_include 10.9.8.0/24" \
    "btl_tcp_flags send" "orte_allowed_exit_without_sync 1" "odls_base_sigkill_timeout" "$program run vgg16 --input my\\ cat.jpg"; do
    tap_run "run has $part" grep -qF -- "$part" <<<"${line//\\\\/\\\\}"
done
if [ "$(id -u)" = 0 ]; then
    tap_run "run as root allows it" grep -q -- --allow-run-as-root <<<"$line"
else
    tap_run "run as a user does not ask for root" test "${line/--allow-run-as-root/}" = "$line"
fi
tap_run "COHORT_ variables go along" grep -q -- '-x COHORT_THREADS' <(COHORT_THREADS=1 with_own run nets/lab --dry-run -- run x 2>&1)
tap_run "a companion that says more is given to rank 0" grep -q -- '-x COHORT_CLUSTER' <(with_own run nets/dilated --dry-run -- run x 2>&1)
output=$(COHORT_CLUSTER=/elsewhere/farm.json with_own run nets/dilated --dry-run -- run x 2>&1)
tap_run "  and wins over one that the environment names" grep -q 'COHORT_CLUSTER=/.*/nets/dilated.json' <<<"$output"
tap_run "  which is said" grep -q 'nets/dilated.json counts, not COHORT_CLUSTER=/elsewhere/farm.json' <<<"$output"
output=$(COHORT_CLUSTER=/elsewhere/farm.json with_own run nets/lab --dry-run -- run x 2>&1)
tap_run "  also where the companion says no more than names" test "$(grep -c -- '-x COHORT_CLUSTER' <<<"$output")" -eq 0
tap_fails "run without --" 'put -- before' "$tool" run nets/lab run vgg16
tap_fails "run without a command" 'what shall cohort do' "$tool" run nets/lab

# ---- the samples -------------------------------------------------------------------------------

for f in "$root"/hostfiles/*.json; do
    sample=${f%.json}
    tap_run "hostfiles/${sample##*/} is a cluster" test "$("$tool" run "$sample" --dry-run -- run x 2>&1 | grep -cE -- '-n (1|3|4|6) --map-by node|not the first|rank 0 runs on')" -eq 1
    read_it=("$COHORT_BIN" run lenet5 --cache "$scratch/cache" --cluster "$f")
    if [ "${sample##*/}" = localhost ]; then # stands for any host
        tap_run "  and cohort reads it" "${read_it[@]}"
    else
        tap_fails "  and cohort reads it" "has no board called '$(hostname)'" "${read_it[@]}"
    fi
done

printf '{"format": "cohort-cluster", "version": 1, "boards": [{"name": "localhost", "memory_limit": "%s"}]}' 30M >small.json
tap_fails "a board's memory_limit is kept" 'out of memory: [0-9]+ bytes for .*30.0 MB that this board.s memory_limit allows' \
    "$COHORT_BIN" run resnet18 --cache "$scratch/cache" --cluster small.json
sed -i 's/30M/1G/' small.json
tap_run "  and where it is enough it changes nothing" "$COHORT_BIN" run resnet18 --cache "$scratch/cache" --cluster small.json

# This machine as the only board: a whole run, with the answer of one process.
unset COHORT_SSH
mpirun=$(command -v mpirun.openmpi || command -v mpirun)
if [ -n "$mpirun" ]; then
    "$tool" new localhost -o here --program "$COHORT_BIN" >/dev/null
    tap_run "check of this machine" "$tool" check here
    one=$("$COHORT_BIN" run lenet5 --cache "$scratch/cache" --top 3 2>/dev/null | grep -v latency)
    all=$(timeout 60 "$tool" run here -- run lenet5 --cache "$scratch/cache" --top 3 2>/dev/null | grep -v latency)
    if [ -n "$one" ] && [ "$one" = "$all" ]; then tap_ok "run on this machine gives the same answer"; else tap_not_ok "run on this machine gives the same answer" "$one / $all"; fi
    tap_run "cohort check under run" grep -q '^1 rank: 0 faults' <(timeout 60 "$tool" run here -- check 2>&1)
else
    tap_skip "run on this machine" "no mpirun"
fi
tap_run "cohort check on three ranks is JSON with links" test \
    "$(OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 timeout 60 "$mpirun" --oversubscribe -n 3 "$COHORT_BIN" check --json 2>/dev/null | grep -c '"answered": true')" -eq 6
tap_end
