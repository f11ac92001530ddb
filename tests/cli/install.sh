#!/usr/bin/env bash
# make install into a scratch folder, the example of docs/ built with what pkg-config says and
# nothing else, run on one rank and on two; then make uninstall leaves no file.
cd "$(dirname "$0")/../.." || exit 1
. tests/tap.sh
build=${COHORT_BUILD:-$PWD/build}
build=${build#"$PWD"/}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
root=$scratch/prefix
cc=$(sed -n '1s/ .*//p' "$build/.flags")
# The make above may pass its job server on, which a shell in between cuts off.
MAKEFLAGS=$(sed -E 's/(^| )(-?j[0-9]*|--jobserver-[a-z]+=[^ ]*)//g' <<<"${MAKEFLAGS:-}")
export MAKEFLAGS XDG_CACHE_HOME=$scratch/cache
make=(make --no-print-directory "BUILD=$build" "CC=${cc:-gcc}")
mpirun=$(command -v mpirun.openmpi || command -v mpirun)
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1

tap_run "make install" "${make[@]}" PREFIX="$root" install
for f in bin/cohort bin/cohort-cluster lib/libcohort.a lib/libcohort.so lib/libcohort.so.0 lib/pkgconfig/cohort.pc \
    include/cohort.h include/cohort_error.h share/man/man1/cohort.1; do
    tap_run "installs $f" test -s "$root/$f"
done
tap_run "the installed program runs" "$root/bin/cohort" --version

# ---- only cohort_* is visible ------------------------------------------------------------------

names=$(nm -D --defined-only "$root/lib/libcohort.so" | awk '$2 ~ /[A-Z]/ { print $3 }')
others=$(grep -v '^cohort_' <<<"$names")
if [ -n "$names" ] && [ -z "$others" ]; then
    tap_ok "the shared library shows cohort_* alone"
else
    tap_not_ok "the shared library shows cohort_* alone" "$others"
fi
others=$(nm --defined-only "$root/lib/libcohort.a" | awk 'NF == 3 && $2 ~ /[TDBR]/ { print $3 }' | grep -v '^cohort_')
if [ -z "$others" ]; then
    tap_ok "the static library shows cohort_* alone"
else
    tap_not_ok "the static library shows cohort_* alone" "$(head -n 5 <<<"$others")"
fi
# Every function that the header declares is there.
missing=$(grep -ohE '\bcohort_[a-z_]+\(' include/*.h | tr -d '(' | sort -u | while read -r name; do
    grep -qx "$name" <<<"$names" || echo "$name"
done | grep -vxE 'cohort_(log|progress)_fn')
if [ -z "$missing" ]; then
    tap_ok "every function of cohort.h is in the library"
else
    tap_not_ok "every function of cohort.h is in the library" "$missing"
fi

# ---- the example, against what was installed ---------------------------------------------------

pc() { PKG_CONFIG_PATH="$root/lib/pkgconfig" pkg-config "$@" cohort; }
tap_run "pkg-config knows the version" test "$(pc --modversion)" = "$("$root/bin/cohort" --version | cut -d' ' -f2)"
# shellcheck disable=SC2046
tap_run "the example builds against the shared library" "${cc:-gcc}" -std=c11 -Wall -Wextra -Werror \
    -o "$scratch/shared" docs/example.c $(pc --cflags --libs)
# shellcheck disable=SC2046
tap_run "and against the static one" "${cc:-gcc}" -std=c11 -o "$scratch/static" docs/example.c \
    $(pc --cflags) "$root/lib/libcohort.a" $(pc --libs | sed 's/-lcohort//') \
    $(pkg-config --libs $(pc --print-requires-private)) -lm -lpthread
if [ -n "$(command -v g++)" ]; then
    printf '#include <cohort.h>\nint main() { return cohort_version()[0] == 0; }\n' >"$scratch/plus.cc"
    # shellcheck disable=SC2046
    tap_run "C++ can use the header" g++ -o "$scratch/plus" "$scratch/plus.cc" $(pc --cflags --libs)
else
    tap_skip "C++ can use the header" "no g++ here"
fi

tap_run "a network to run" "$root/bin/cohort" synth lenet5 -o "$scratch/net.onnx"
export LD_LIBRARY_PATH=$root/lib
first_line() { head -n 1 "$scratch/$1.out"; }
ranks() { # OUT RANKS PROGRAM ARGUMENT
    timeout 120 "$mpirun" --bind-to none -n "$2" "$3" "$4" >"$scratch/$1.out" 2>"$scratch/$1.err"
}
tap_run "the example runs on one rank" ranks one 1 "$scratch/shared" "$scratch/net.onnx"
tap_run "and on two" ranks two 2 "$scratch/shared" "$scratch/net.onnx"
tap_run "linked statically too" ranks static 2 "$scratch/static" "$scratch/net.onnx"
if [ -n "$(first_line one)" ] && [ "$(first_line one)" = "$(first_line two)" ] && [ "$(first_line one)" = "$(first_line static)" ]; then
    tap_ok "with the same answer"
else
    tap_not_ok "with the same answer" "$(head -n 3 "$scratch"/*.out "$scratch"/*.err)"
fi
lines=$(wc -l <docs/example.c)
if [ "$lines" -le 30 ]; then tap_ok "it has at most 30 lines"; else tap_not_ok "it has at most 30 lines" "$lines"; fi
ranks bad 2 "$scratch/shared" "$scratch/none.onnx"
status=$?
if [ $status -ne 0 ] && [ $status -lt 124 ] && [ "$(grep -c 'none.onnx' "$scratch/bad.err")" -eq 1 ]; then
    tap_ok "a missing file is one message from one rank"
else
    tap_not_ok "a missing file is one message from one rank" "status $status: $(cat "$scratch/bad.err")"
fi

# ---- and away again ----------------------------------------------------------------------------

tap_run "make install into a DESTDIR" "${make[@]}" DESTDIR="$scratch/stage" PREFIX=/opt/cohort install
same=$(diff <(cd "$root" && find . ! -type d | sort) <(cd "$scratch/stage/opt/cohort" && find . ! -type d | sort))
if [ -z "$same" ]; then tap_ok "has the same files"; else tap_not_ok "has the same files" "$same"; fi
tap_run "and a pkg-config file without it" grep -qx 'prefix=/opt/cohort' "$scratch/stage/opt/cohort/lib/pkgconfig/cohort.pc"
tap_run "make uninstall" "${make[@]}" PREFIX="$root" uninstall
tap_run "make uninstall from a DESTDIR" "${make[@]}" DESTDIR="$scratch/stage" PREFIX=/opt/cohort uninstall
left=$(find "$root" "$scratch/stage" ! -type d)
if [ -z "$left" ]; then tap_ok "leaves no file"; else tap_not_ok "leaves no file" "$left"; fi

# ---- what make says when a library is missing --------------------------------------------------

tap_fails "a missing library is named, with what to do" 'not found: .*nosuchlib.*make deps' \
    make --no-print-directory BUILD="$scratch/build" PKG="hwloc nosuchlib"

tap_end
