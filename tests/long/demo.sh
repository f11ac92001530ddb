#!/usr/bin/env bash
# The demo, as `make demo` runs it: the words on the page are read, on four ranks as on one.
cd "$(dirname "$0")/../.." || exit 2
. tests/tap.sh
build=${COHORT_BUILD:-build}

output=$(scripts/demo "$build" 2>&1)
status=$?
if [ $status -ne 0 ]; then
    tap_not_ok "the demo ends well" "$output"
elif grep -q "could not be had" <<<"$output"; then
    tap_ok "the demo ends well"
    tap_skip "the page is read" "no trained networks from npm"
else
    tap_ok "the demo ends well"
    for words in "computer vision|Region-based" "projects|determine markers"; do
        if grep -qE "$words" <<<"$output"; then
            tap_ok "read: $words"
        else
            tap_not_ok "read: $words" "$output"
        fi
    done
    if grep -q "bit for bit" <<<"$output"; then
        tap_ok "four ranks gave the answer of one"
    else
        tap_not_ok "four ranks gave the answer of one" "$output"
    fi
    if [ "$(head -c 8 "$build/demo/page.png" 2>/dev/null | od -An -tx1 | tr -d ' \n')" = 89504e470d0a1a0a ]; then
        tap_ok "a PNG with the regions was written"
    else
        tap_not_ok "a PNG with the regions was written"
    fi
fi
tap_end
