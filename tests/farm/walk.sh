#!/usr/bin/env bash
# docs/cluster.md, word for word: the ten steps on an emulated farm, as somebody takes them who has
# nothing but the page.  The commands are taken from the page itself, so that neither can drift away
# from the other; only addresses are replaced.  Needs root, an sshd and overlay file systems.
#
# A PC and six boards with 100 Mbit/s links; each has a file system of its own (its "card"), a user and
# an sshd.  The cards are copies of this machine's system, or of a Debian that was made for it, whose
# packages then come over the farm's network as well (the longer walk, about 10 minutes):
#
#     debootstrap --variant=minbase --include=openssh-server,sudo,iproute2,procps bookworm /tmp/card
#     COHORT_CARD=/tmp/card tests/farm/walk.sh
#
# What cannot be walked: flashing (step 1), and hostnamectl without systemd, for which `hostname` stands.
cd "$(dirname "$0")/../.." || exit 1
. tests/tap.sh
. tests/support/binary.sh
page=docs/cluster.md
build=${COHORT_BUILD:-$PWD/build}
card=${COHORT_CARD:-/}
export COHORT_FARM=walk-$$
unset COHORT_CLUSTER
boards="b1 b2 b3 b4 b5 b6" pc=b7
scratch=$(mktemp -d)
helpers=()

end_walk() {
    [ ${#helpers[@]} -eq 0 ] || kill "${helpers[@]}" 2>/dev/null
    bench/farm down >"$scratch/down.log" 2>&1
    [ -z "${COHORT_WALK_LOG:-}" ] || cp "$scratch/log" "$COHORT_WALK_LOG"
    rm -rf "$scratch"
}
trap end_walk EXIT
trap 'exit 1' INT TERM HUP

skip_all() { # WHY
    tap_skip "docs/cluster.md on a farm" "$1"
    tap_end
    exit
}
[ "$(id -u)" -eq 0 ] || skip_all "needs root"
[ -x "$card/usr/sbin/sshd" ] || skip_all "needs an sshd (openssh-server)"
[ -x "$build/cohort" ] || skip_all "needs $build/cohort"

# ---- the page ----------------------------------------------------------------------------------

# The text of a numbered step, or of a section by its title.
step() { # NUMBER
    awk -v n="$1" '$1 == n "." && /^[0-9]+\. \*\*/ {on = 1} on && (/^## / || (/^[0-9]+\. / && $1 != n ".")) {exit} on {print}' $page
}
section() { # TITLE
    awk -v t="## $1" '$0 == t {on = 1; next} on && /^## / {exit} on {print}' $page
}
commands() { awk '/^ *```/ {on = !on; next} on {sub(/^ +/, ""); print}'; } # of what is between fences
quoted() { grep -oE '`[^`]+`' | tr -d '`' | grep -E "$1" | head -n 1; }     # of what is between backticks

# ---- cards -------------------------------------------------------------------------------------

# On a board, in its mount namespace: its own copy of the system, with devices of its own.
insert_card() { # BOARD
    bench/farm exec "$1" bash -c '
        mkdir -p "$1" && mount -t tmpfs card "$1" && mkdir "$1"/up "$1"/work "$1"/root || exit 1
        root=$1/root
        mount -t overlay overlay -o "lowerdir=$2,upperdir=$1/up,workdir=$1/work" "$root" || exit 1
        mount -t proc proc "$root/proc" && mount -t sysfs -o ro sys "$root/sys" && mount -t tmpfs -o mode=755 dev "$root/dev"
        for device in "null 3" "zero 5" "full 7" "random 8" "urandom 9"; do
            mknod -m 666 "$root/dev/${device% *}" c 1 "${device#* }"
        done
        mknod -m 666 "$root/dev/tty" c 5 0 # ptys are not needed: nobody logs in by hand
        ln -s /proc/self/fd "$root/dev/fd"
        for i in 0:stdin 1:stdout 2:stderr; do ln -s "/proc/self/fd/${i%:*}" "$root/dev/${i#*:}"; done
        for folder in /dev/shm /tmp /run; do
            mkdir -p "$root$folder" && mount -t tmpfs -o mode=1777 tmpfs "$root$folder"
        done
        mkdir -p -m 755 "$root/run/sshd"
        # As a card comes: everybody has the same name, and knows only his own.
        echo raspberrypi >"$root/etc/hostname"
        printf "127.0.0.1 localhost\n127.0.1.1 raspberrypi\n" >"$root/etc/hosts"
        [ -z "$3" ] || echo "$3" >>"$root/etc/hosts"
        rm -rf "$root/root/.ssh" "$root/root/.cache/cohort" "$root/usr/local/bin/cohort" "$root/usr/local/bin/cohort-cluster"
        hostname raspberrypi' - "$scratch/cards/$1" "$card" "$router"
}

# Who works there: pi (me on the PC) with sudo; root where the card has no sudo, which then is nothing.
make_user() { # BOARD NAME
    on_card "$1" root "
        if command -v sudo; then
            useradd -m -s /bin/bash $2 && echo '$2 ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/walk && echo $2:raspberry | chpasswd
        else
            printf '#!/bin/sh\n[ \"\$1\" = -n ] && shift\nexec \"\$@\"\n' >/usr/local/bin/sudo
            chmod +x /usr/local/bin/sudo
            echo root:raspberry | chpasswd
            mkdir -p /etc/ssh/sshd_config.d && echo 'PermitRootLogin yes' >/etc/ssh/sshd_config.d/walk.conf
            sed -i 's/^ *PermitRootLogin.*/PermitRootLogin yes/' /etc/ssh/sshd_config
        fi
        if [ ! -d /run/systemd/system ]; then
            printf '#!/bin/sh\n[ \"\$1\" = set-hostname ] && hostname \"\$2\" && echo \"\$2\" >/etc/hostname\n' >/usr/local/bin/hostnamectl
            chmod +x /usr/local/bin/hostnamectl
        fi"
}

# Types a line on a board, as that user in his home (me: in Cohort's folder).
on_card() { # BOARD USER LINE
    local root=$scratch/cards/$1/root where="" user=$2
    [ "$1" = $pc ] && [ -d "$source_on_pc" ] && where="cd cohort && "
    [ "$user" = root ] || [ -n "$with_sudo" ] || user=root
    printf '\n%s %s$ %s\n' "$1" "$user" "$3" >>"$scratch/log"
    bench/farm exec "$1" chroot "$root" env -i TERM=dumb LANG=C.UTF-8 SSH_ASKPASS=/usr/local/bin/type-password \
        SSH_ASKPASS_REQUIRE=force bash -c 'exec 2>&1; command -v runuser >/dev/null || PATH=$PATH:/usr/sbin:/sbin
        exec runuser -w SSH_ASKPASS,SSH_ASKPASS_REQUIRE,LANG -l "$0" -c "$1"' "$user" "$where$3" </dev/null | tee -a "$scratch/log"
    return "${PIPESTATUS[0]}"
}
at_pc() { on_card $pc me "$1"; }

# One name server's worth of the world: Debian's mirror behind the farm's switch, where there are cards
# of their own to be filled.  Two halves, because sockets belong to the namespace they were made in.
relay() { # FROM TO [HOW...]: ADDRESS:PORT, or the path of a socket
    "${@:3}" perl -MIO::Socket::INET -MIO::Socket::UNIX -e '
        my ($from, $to) = @ARGV;
        my $l = $from =~ m{/} ? IO::Socket::UNIX->new(Local => $from, Listen => 50)
                              : IO::Socket::INET->new(LocalAddr => $from, Listen => 50, ReuseAddr => 1) or die "$from: $!";
        $SIG{CHLD} = "IGNORE";
        while (my $c = $l->accept) {
            next if fork;
            my $s = $to =~ m{/} ? IO::Socket::UNIX->new(Peer => $to) : IO::Socket::INET->new(PeerAddr => $to) or exit 1;
            my ($a, $b, $data) = fork ? ($c, $s) : ($s, $c);
            while (sysread $a, $data, 65536) { my $at = 0; while ($at < length $data) { my $n = syswrite $b, $data, length($data) - $at, $at; last unless $n; $at += $n } }
            shutdown $b, 1;
            exit 0;
        }' "$1" "$2" >"$scratch/relay.log" 2>&1 &
    helpers+=($!)
    disown
}

bench/farm up 7 >"$scratch/up.log" 2>&1 || skip_all "the farm did not come up: $(tail -n 1 "$scratch/up.log")"
router="" with_sudo="" source_on_pc=$scratch/cards/$pc/never
[ ! -x "$card/usr/bin/sudo" ] || with_sudo=1
if [ "$card" != / ]; then
    switch=$(cat "/run/cohort-farm/$COHORT_FARM/switch.pid")
    nsenter -t "$switch" --net ip addr add 10.77.0.254/24 dev bridge0
    relay "$scratch/mirror" deb.debian.org:80
    relay 10.77.0.254:80 "$scratch/mirror" nsenter -t "$switch" --net
    router="10.77.0.254 deb.debian.org"
fi
for b in $boards $pc; do
    insert_card "$b" >"$scratch/card.log" 2>&1 || skip_all "no card for $b: $(tail -n 1 "$scratch/card.log")"
done
echo "# cards: $card$([ -n "$with_sudo" ] && echo ", users with sudo" || echo ", root")"

# ---- 1. one system on all cards ----------------------------------------------------------------

for b in $boards; do
    make_user "$b" pi >"$scratch/user.log" || tap_not_ok "a user on $b" "$(cat "$scratch/user.log")"
    bench/farm exec "$b" setsid chroot "$scratch/cards/$b/root" env -i PATH="$PATH" /usr/sbin/sshd -D </dev/null >"$scratch/sshd-$b.log" 2>&1 &
    disown
done
make_user $pc me >"$scratch/user.log"
printf '#!/bin/sh\necho raspberry\n' | bench/farm exec $pc bash -c 'cat >"$1" && chmod +x "$1"' - "$scratch/cards/$pc/root/usr/local/bin/type-password"
bench/farm exec $pc hostname pc
on_card $pc root "printf '127.0.0.1 localhost\n127.0.1.1 pc\n$router\n' >/etc/hosts" >"$scratch/hosts.log"
tap_ok "1. cards with a system and an sshd (not flashed)"

# ---- 2. names ----------------------------------------------------------------------------------

rename=$(step 2 | quoted 'set-hostname b2$')
tap_run "2. the page says: $rename" test -n "$rename"
for b in $boards; do
    on_card "$b" pi "${rename/%b2/$b}" >"$scratch/rename.log" || tap_not_ok "2. $b got no name" "$(cat "$scratch/rename.log")"
done
tap_run "2. boards have their names" test "$(for b in $boards; do bench/farm exec "$b" hostname; done | tr '\n' ' ')" = "$boards "

# ---- 3. names are made known -------------------------------------------------------------------

line=$(step 3 | quoted '^192\.168\..* b2$')
tap_run "3. the page says: $line" test -n "$line"
for b in $boards; do
    at_pc "echo '10.77.0.${b#b} $b' | sudo tee -a /etc/hosts" >"$scratch/hosts.log" || tap_not_ok "3. $b is not known" "$(cat "$scratch/hosts.log")"
done
if [ -n "$with_sudo" ]; then
    who=$(step 3 | quoted '^Host b\*$') user=$(step 3 | quoted '^User pi$')
    tap_run "3. … and: $who, $user" test -n "$who" -a -n "$user"
    at_pc "mkdir -p -m 700 ~/.ssh && printf '$who\n    $user\n' >>~/.ssh/config" >"$scratch/hosts.log"
fi

# ---- 4. building on the PC ---------------------------------------------------------------------

# What `make` has to find in order to have nothing to do; tests and other processors' builds are large.
copy_build() { # TO
    mkdir -p "$1" && tar -C "$build" -cf - --exclude=./{tests,arm64,armhf,clang,san,fuzz,npm,install} --exclude='./sysroot-*' . | tar -C "$1" -xf -
}
home=/home/me
[ -n "$with_sudo" ] || home=/root
mkdir "$scratch/source"
git ls-files -z | xargs -0 cp --preserve=timestamps --parents -t "$scratch/source"
[ "$card" != / ] || copy_build "$scratch/source/build" # the same system: built already
bench/farm exec $pc bash -c 'cp -a "$1" "$2$3/cohort" && chroot "$2" chown -R "$(stat -c %u:%g "$2$3")" "$3/cohort"' - \
    "$scratch/source" "$scratch/cards/$pc/root" $home
source_on_pc=$scratch
picture=$(for f in build/pictures/chelsea.png "$build/pictures/chelsea.png"; do [ -f "$f" ] && echo "$f" && break; done)
{ if [ -n "$picture" ]; then cat "$picture"; else picture_png; fi; } |
    bench/farm exec $pc bash -c 'cat >"$1"' - "$scratch/cards/$pc/root$home/cohort/photo.png"

# Every line of a step's block; its output stays in $said, and how long it took in $took.
follow() { # NUMBER
    local line begin
    said="" took=0
    while read -r line; do
        begin=$SECONDS
        if said=$(at_pc "$line"); then
            took=$((SECONDS - begin))
            tap_ok "$1. $line ($took s)"
        else
            tap_not_ok "$1. $line" "exit $?: $said"
        fi
    done < <(step "$1" | commands)
}

tap_run "4. the page has commands" test -n "$(step 4 | commands)"
follow 4
install=$(step 4 | quoted 'make install$')
tap_run "4. $install" at_pc "$install"
at_pc "cohort version" >"$scratch/version.log" || {
    tap_not_ok "4. cohort is there" "the walk ends here: $(cat "$scratch/version.log")"
    tap_end
    exit 1
}

# ---- 5. to 10. ---------------------------------------------------------------------------------

follow 5
tap_run "5. writes both files" at_pc "ls lab.hosts lab.json"
# Slow boards: the page's table of the two files says where.
tap_run "   the page says how to make slow boards" grep -q 'cpu_share' <(section "The two files")
at_pc "sed -i 's/\"cpu_share\": 1.0/\"cpu_share\": 0.2/' lab.json" >"$scratch/shares.log"
follow 6
follow 7
tap_run "7. ends with: no fault" grep -q '6 boards in 10.77.0.0/24: no fault' <<<"$said"
tap_run "7. within 15 seconds" test "$took" -le 15
follow 8
tap_run "8. finds no fault" grep -q '6 ranks: 0 faults' <<<"$said"
rates=$(awk '/^bandwidth/ {on = 1; next} on && /^ +[0-9]+ b[0-9]/ {for (i = 3; i <= NF; i++) if ($i != "-") print $i} on && /^$/ {exit}' <<<"$said")
echo "# 8. links: $(sort -n <<<"$rates" | sed -n '1p;$p' | tr '\n' ' ')Mbit/s (the page says 90 to 95)"
tap_run "8. most links carry 90 to 95 Mbit/s" test "$(awk '$1 >= 85 && $1 <= 96' <<<"$rates" | wc -l)" -ge 24
follow 9
tap_run "9. shows the mpirun line first" grep -q '^+ .*mpirun' <(grep -m 1 '^+' <<<"$said")
answers() { grep -E '^ *[0-9.]+ %'; }
over_six=$(answers <<<"$said")
mapfile -t compare < <(step 10 | commands)
tap_run "10. the page has two commands" test ${#compare[@]} -eq 2
said=$(at_pc "${compare[0]}")
alone=$(answers <<<"$said")
echo "# 10. alone, not slowed: $(grep '^latency' <<<"$said")"
said=$(at_pc "${compare[1]}")
together=$(answers <<<"$said")
echo "# 10. six boards at a fifth of the speed: $(grep '^latency' <<<"$said")"
if [ -n "$alone" ] && [ "$alone" = "$together" ] && [ "$alone" = "$over_six" ]; then
    tap_ok "10. the answers are the same"
else
    tap_not_ok "10. the answers are the same" "alone: $alone
six: $together
before: $over_six
$said"
fi
tap_run "10. the table shows every board" test "$(grep -oE 'b[1-6] \(rank [0-5]\)' <<<"$said" | sort -u | wc -l)" -eq 6
tap_run "10. and their shares" test "$(grep '^CPU share' <<<"$said" | grep -oE '0\.2[ ,]' | wc -l)" -eq 6
grep -E 'late|does not count' <<<"$said" | sed 's/^/# 10. /'
for i in "--ratio 3:2:2:2:2:1" "--root feed"; do
    line=$(step 10 | quoted "^cohort-cluster run .* $i\$")
    said=$(at_pc "${line:-false}")
    tap_run "10. ${line:-$i is not on the page}" test -n "$alone" -a "$(answers <<<"$said")" = "$alone"
done

# ---- without boards ----------------------------------------------------------------------------

# The last section of the page and steps 5 to 10 as it wants them, typed into one shell: the second
# line opens a shell on a board, which takes the rest.  This machine's own system is used, behind a
# copy of /usr/local that is lost again.
bench/farm down
here=$scratch/here
mkdir "$here" "$scratch/local"
git ls-files -z | xargs -0 cp --preserve=timestamps --parents -t "$here"
copy_build "$here/build"
{ if [ -n "$picture" ]; then cat "$picture"; else picture_png; fi; } >"$here/photo.png"
typed() {
    local n line
    echo 'shopt -s expand_aliases; sudo() { [ "$1" != -n ] || shift; "$@"; }' # as at a terminal, as root
    section "Without boards" | commands | sed "s,/cohort-farm/farm/,/cohort-farm/$COHORT_FARM/,g; s/^alias/shopt -s expand_aliases\n&/"
    for n in 5 6 7 8 9 10; do
        echo "echo '== step $n'"
        step $n | commands | sed 's/ --keys//' | while read -r line; do
            echo "$line </dev/null; echo \"== ended with \$?: $line\""
        done
        [ $n != 5 ] || echo "sed -i 's/\"cpu_share\": 1.0/\"cpu_share\": 0.2/' lab.json"
    done
    echo "exit"
    section "Without boards" | quoted '^sudo bench/farm down$'
}
tap_run "without boards: the page says how to begin and to end" test "$(typed | grep -cE '^sudo bench/farm (up|exec|down)')" = 3
typed >"$scratch/typed"
# shellcheck disable=SC2016
unshare --mount --propagation private bash -c '
    mount -t tmpfs local "$1" && mkdir "$1/up" "$1/work" &&
        mount -t overlay overlay -o "lowerdir=/usr/local,upperdir=$1/up,workdir=$1/work" /usr/local || exit 1
    cd "$2" && export HOME=$2/home && mkdir "$HOME" && exec bash' - "$scratch/local" "$here" <"$scratch/typed" >"$scratch/without" 2>&1
cat "$scratch/without" >>"$scratch/log"
failed=$(grep '^== ended with' "$scratch/without" | grep -v '^== ended with 0')
if [ "$(grep -c '^== ended with 0' "$scratch/without")" -ge 7 ] && [ -z "$failed" ]; then
    tap_ok "without boards: steps 5 to 10"
else
    tap_not_ok "without boards: steps 5 to 10" "$failed
$(tail -n 20 "$scratch/without")"
fi
tap_run "without boards: no fault, by both checks" test "$(grep -cE '^6 boards in 10.77.0.0/24: no fault|^6 ranks: 0 faults' "$scratch/without")" = 2
tap_run "without boards: three times the same answer" test "$(answers <"$scratch/without" | sort | uniq -c | awk '$1 != 3' | wc -l)" = 0 -a "$(answers <"$scratch/without" | wc -l)" = 15

# ---- at the end --------------------------------------------------------------------------------

bench/farm down
tap_run "nothing is left" test -z "$(pgrep -f "^cohort-farm:$COHORT_FARM:"; grep "$scratch" /proc/mounts)"

tap_end
