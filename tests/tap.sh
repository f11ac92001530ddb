# For test scripts: source it, call the functions, end with tap_end.
# Prints TAP; the runner (tests/run) adds everything up.
tap_count=0
tap_failed=0

tap_ok() { # NAME
    tap_count=$((tap_count + 1))
    echo "ok $tap_count - $1"
}

tap_not_ok() { # NAME [WHY]
    tap_count=$((tap_count + 1))
    tap_failed=$((tap_failed + 1))
    echo "not ok $tap_count - $1"
    if [ -n "${2:-}" ]; then
        printf '%s\n' "$2" | sed 's/^/# /'
    fi
}

tap_skip() { # NAME WHY
    tap_count=$((tap_count + 1))
    echo "ok $tap_count - $1 # SKIP $2"
}

# Runs a command; ok when it succeeds.
tap_run() { # NAME COMMAND...
    local name=$1 output
    shift
    if output=$("$@" 2>&1); then
        tap_ok "$name"
    else
        tap_not_ok "$name" "exit $?: $* : $output"
    fi
}

# Runs a command that must fail (exit 1 to 123) and say something that matches a pattern, in one line.
tap_fails() { # NAME PATTERN COMMAND...
    local name=$1 pattern=$2 output status
    shift 2
    output=$("$@" 2>&1)
    status=$?
    if [ $status -eq 0 ] || [ $status -ge 124 ]; then
        tap_not_ok "$name" "exit $status (a failure was expected): $output"
    elif ! grep -qE -- "$pattern" <<<"$output"; then
        tap_not_ok "$name" "said: $output (expected: $pattern)"
    else
        tap_ok "$name"
    fi
}

# What another process printed by these functions.
tap_include() { # FILE
    local before=$tap_count
    tap_count=$((tap_count + $(grep -cE '^(not )?ok ' "$1")))
    tap_failed=$((tap_failed + $(grep -c '^not ok ' "$1")))
    awk -v n="$before" '/^(not )?ok / { sub(/ok [0-9]+/, "ok " ++n) } !/^1\.\./' "$1"
}

tap_end() {
    echo "1..$tap_count"
    [ "$tap_failed" -eq 0 ]
}
