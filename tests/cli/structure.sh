#!/usr/bin/env bash
# How the sources may depend on each other (docs/design.md), and what every source must look like.
cd "$(dirname "$0")/../.." || exit 1
. tests/tap.sh

# ---- who may include what ----------------------------------------------------------------------

# Folders under which the files named by #include "..." lie, apart from FOLDER's own; "." is a header
# beside the file or in include/.
includes() { # FOLDER
    grep -rhoE '^#include "[^"]+"' "$1" --include='*.c' --include='*.h' |
        sed -E 's/^#include "([^"]+)"/\1/; s|^kernels/.*|kernels|; s|^planner/.*|planner|; s|/.*||; s|^.*\.(h\|def)$|.|' | sort -u
}

may_include() { # FOLDER ALLOWED...
    local folder=$1 own=${1##*/} name bad=""
    shift
    [ -d "$folder" ] || return 0
    for name in $(includes "$folder"); do
        case " $own . $* " in *" $name "*) ;; *) bad+=" $name ($(grep -rlE "^#include \"$name/" "$folder" | head -n 1))" ;; esac
    done
    if [ -z "$bad" ]; then
        tap_ok "$folder includes only: $own $*"
    else
        tap_not_ok "$folder includes only: $own $*" "it also includes:$bad"
    fi
}

may_include src/base
may_include src/graph base
may_include kernels base
may_include src/board base
may_include src/exec graph kernels board base
may_include src/comm board base
may_include src/profile planner comm exec graph kernels board base
may_include planner graph base exec
may_include src/runtime comm exec profile planner graph board base kernels
may_include src/media graph base
may_include src/synth graph base
may_include src/cli runtime profile planner synth media graph kernels board base
# Of the executor the planner may know how memory is shared out, nothing else.
bad=$(grep -rhoE '^#include "exec/[^"]+"' planner --include='*.c' --include='*.h' | grep -v '"exec/arena.h"')
if [ -z "$bad" ]; then tap_ok "planner knows of src/exec at most arena.h"; else tap_not_ok "planner knows of src/exec at most arena.h" "$bad"; fi

# ---- who may call what -------------------------------------------------------------------------

only_in() { # NAME PATTERN ALLOWED-PATHS (a regular expression)
    local found
    found=$(grep -rnE "$2" src kernels planner include --include='*.c' --include='*.h' | grep -vE "^($3)")
    if [ -z "$found" ]; then tap_ok "$1"; else tap_not_ok "$1" "$(head -n 5 <<<"$found")"; fi
}

only_in "mpi.h is included by src/comm, src/runtime, src/cli and include alone" \
    '^#include <mpi\.h>' 'src/comm/|src/runtime/|src/cli/|include/'
only_in "getenv and exit are called by src/cli alone" '\b(secure_)?(getenv|setenv|_?exit|quick_exit)\(' 'src/cli/'
only_in "abort is called by the one hook alone" '(^|[^_a-z])abort\(\)' 'src/base/error\.c'
only_in "memory comes from base/mem.h alone" '(^|[^_a-zA-Z])(malloc|calloc|realloc|strdup|strndup|aligned_alloc|posix_memalign)\(' 'src/base/mem\.[ch]|src/cli/.*TAP'
only_in "the library prints nothing" '(^|[^_a-z])(printf|puts|putchar)\(|fprintf\(std(out|err)' 'src/cli/|src/base/(error|mem)\.c'
only_in "random and time come from nowhere hidden" '(^|[^_a-zA-Z])(rand|srand|random|time|gettimeofday)\(' 'src/cli/'

# ---- what every source looks like --------------------------------------------------------------

sources=$(find src kernels planner include docs bench tests -name '*.[ch]' | sort)

long=$(for f in $sources; do
    n=$(wc -l <"$f")
    case $f in tests/* | bench/*) most=1000 ;; *) most=600 ;; esac
    [ "$n" -gt $most ] && echo "$f: $n lines (at most $most)"
done)
if [ -z "$long" ]; then tap_ok "no source is too long to read"; else tap_not_ok "no source is too long to read" "$long"; fi

# A .c file may leave that to the header that it implements.
headless=$(for f in $sources; do
    head -c 2 "$f" | grep -q '^/\*' || { [ "${f%.c}" != "$f" ] && [ -e "${f%.c}.h" ]; } || echo "$f"
done)
if [ -z "$headless" ]; then
    tap_ok "every source opens with a comment that says what it is"
else
    tap_not_ok "every source opens with a comment that says what it is" "$headless"
fi

# shellcheck disable=SC2086
broken=$(grep -nE '^/\* -{4} ' $sources | grep -vE -- '-+ \*/$')
if [ -z "$broken" ]; then
    tap_ok "every section comment is one line"
else
    tap_not_ok "every section comment is one line" "$broken"
fi

# shellcheck disable=SC2086
left=$(grep -nE '\b(TODO|FIXME|XXX)\b' $sources)
if [ -z "$left" ]; then tap_ok "nothing is left to do in comments"; else tap_not_ok "nothing is left to do in comments" "$left"; fi

if clang-format --version 2>/dev/null | grep -q 'version 14\.'; then
    # shellcheck disable=SC2086
    unformatted=$(clang-format --dry-run -Werror $sources 2>&1 | sed -n 's/^\([^ :]*\.[ch]\):.*/\1/p' | sort -u)
    if [ -z "$unformatted" ]; then
        tap_ok "clang-format has nothing to change"
    else
        tap_not_ok "clang-format has nothing to change (make format)" "$unformatted"
    fi
else
    tap_skip "clang-format has nothing to change" "clang-format 14 is not here"
fi

# One sentence per line: a line of prose must not end one sentence and begin another.
prose=$(awk 'FNR == 1 { code = 0 } /^```/ { code = !code; next }
    !code && !/^(\||    |#)/ && / [a-z)`]+[.!?] [A-Z]/ && !/(e\.g\.|i\.e\.|etc\.|vs\.) [A-Z]/ { print FILENAME ":" FNR ": " $0 }' \
    ./*.md docs/*.md)
if [ -z "$prose" ]; then tap_ok "Markdown has one sentence a line"; else tap_not_ok "Markdown has one sentence a line" "$prose"; fi

# Every relative link and every file that the documents name in backquotes exists.
dead=$(for f in ./*.md docs/*.md; do
    { grep -oE '\]\([^)#:]+\)' "$f" | sed -E 's/^\]\(//; s/\)$//' | sed "s|^|$(dirname "$f")/|"
        grep -oE '`(src|kernels|planner|tests|docs|scripts|hostfiles|include|bench)/[A-Za-z0-9_./-]+`' "$f" | tr -d '`'
    } | while read -r name; do [ -e "$name" ] || echo "$f: $name"; done
done)
if [ -z "$dead" ]; then tap_ok "files that the documents name exist"; else tap_not_ok "files that the documents name exist" "$dead"; fi

tap_end
