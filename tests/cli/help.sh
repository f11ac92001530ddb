#!/usr/bin/env bash
# --help of every command says what the manual page says, and mistakes get the closest match.
cd "$(dirname "$0")/../.." || exit 1
. tests/tap.sh
cohort=${COHORT_BIN:-$PWD/build/cohort}
page=docs/cohort.1

commands=$("$cohort" --help | awk '/^  [a-z]/ { print $1 }')
tap_run "there are commands" test "$(wc -w <<<"$commands")" -ge 7
tap_run "cohort help" "$cohort" help
tap_run "--version is the header's" test "$("$cohort" --version)" = \
    "cohort $(sed -n 's/^#define COHORT_VERSION *"\(.*\)"/\1/p' include/cohort.h)"
tap_run "the manual page has that version" grep -q "^\.TH COHORT 1 .*\"$("$cohort" --version)\"" "$page"

# The option names in the manual page's part about "cohort COMMAND …", or about a group of options.
page_options() { # HEADING
    awk -v heading=".SS $1" '/^\.S[SH] / { on = ($0 == heading || index($0, heading " ") == 1) } on' "$page" | sed 's/\\-/-/g' |
        awk '/^\.TP/ { getline; print }' | grep -oE -- '--[a-z-]+' | sort -u
}
also() { # COMMAND: the groups of options that its part names
    awk -v heading=".SS cohort $1" '/^\.S[SH] / { on = ($0 == heading || index($0, heading " ") == 1) } on' "$page" |
        sed -n 's/^Also takes the options of: \(.*\)\.$/\1/p' | tr -d ','
}
help_options() { # COMMAND
    "$cohort" "$1" --help | grep -oE '^ {2}(-[a-zA-Z], | {4})--[a-z-]+' | grep -oE -- '--[a-z-]+' | sort -u
}

for c in $commands; do
    tap_run "cohort $c --help" "$cohort" "$c" --help
    tap_run "cohort $c --help gives the usage" grep -q "^usage: cohort $c" <("$cohort" "$c" --help)
    written=$({
        page_options "cohort $c"
        for group in $(also "$c"); do page_options "$group"; done
    } | sort -u)
    different=$(diff <(help_options "$c") <(echo "$written"))
    if [ -n "$written" ] && [ -z "$different" ]; then
        tap_ok "$page knows the options of $c"
    else
        tap_not_ok "$page knows the options of $c" "(< only in --help, > only in the page) $different"
    fi
    wide=$("$cohort" "$c" --help | awk 'NR > 1 && length($0) > 100')
    if [ -z "$wide" ]; then tap_ok "cohort $c --help fits a terminal"; else tap_not_ok "cohort $c --help fits a terminal" "$wide"; fi
done

different=$(diff <("$cohort" kernels --operators) \
    <(sed -n '/^<!-- operators -->$/,/^<!-- end -->$/p' docs/operators.md | grep -vE '^(```|<!--)'))
if [ -z "$different" ]; then
    tap_ok "docs/operators.md lists the operators"
else
    tap_not_ok "docs/operators.md lists the operators (make docs brings it up to date)" "$different"
fi

# ---- mistakes ----------------------------------------------------------------------------------

usage_error() { # NAME PATTERN COMMAND...
    local name=$1 pattern=$2 output status
    shift 2
    output=$("$@" 2>&1 </dev/null)
    status=$?
    if [ $status -eq 2 ] && grep -qE -- "$pattern" <<<"$output" && [ "$(wc -l <<<"$output")" -eq 1 ]; then
        tap_ok "$name"
    else
        tap_not_ok "$name" "status $status (2 was expected), said: $output (expected: $pattern)"
    fi
}

usage_error "a mistyped command" "unknown command 'rnu': did you mean 'run'\?" "$cohort" rnu
usage_error "another" "did you mean 'inspect'\?" "$cohort" inspekt
usage_error "one that is like none" "unknown command 'xyzzyplugh' .*--help" "$cohort" xyzzyplugh
for c in $commands; do
    usage_error "$c: a mistyped option" 'unknown option --verbos: did you mean --verbose\?' "$cohort" "$c" --verbos
    usage_error "$c: a letter that is none" 'unknown option -Z' "$cohort" "$c" -Z
    usage_error "$c: an option without its value" '--cache needs a value' "$cohort" "$c" --cache
done
for c in run read verify bench inspect plan synth; do
    usage_error "$c: nothing to work on" 'is missing|was named|usage|needs|cohort [a-z]+' "$cohort" "$c"
done
usage_error "a number that is none" '--threads four: not a whole number' "$cohort" run lenet5 --threads four
usage_error "a number out of range" '--threads 0: must be between 1 and' "$cohort" run lenet5 --threads 0
usage_error "a choice that is none" '--scatter order: not one of .*did you mean ordered\?' "$cohort" run lenet5 --scatter order
usage_error "from the environment, too" 'COHORT_THREADS' env COHORT_THREADS=many "$cohort" run lenet5
usage_error "one argument too many" 'one argument too many: lenet5' "$cohort" run vgg16 lenet5
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
tap_run "a network for the next one" "$cohort" synth lenet5 -o "$scratch/net.onnx"
usage_error "options that conflict" '--plan already says' "$cohort" plan "$scratch/net.onnx" --boards 2 --plan x.json --ratio 1:1

if command -v man >/dev/null; then
    said=$(man --warnings -E UTF-8 -l -Tutf8 "$page" 2>&1 >/dev/null)
    if [ -z "$said" ]; then tap_ok "the manual page is well formed"; else tap_not_ok "the manual page is well formed" "$said"; fi
else
    tap_skip "the manual page is well formed" "no man here"
fi

tap_end
