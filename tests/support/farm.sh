# For scripts in tests/farm, after tests/tap.sh: an emulated farm of their own (bench/farm), or the
# reason why there is none.
cohort=${COHORT_BIN:-${COHORT_BUILD:-$PWD/build}/cohort}
unset COHORT_CLUSTER # the farm's own
mpirun=$(command -v mpirun.openmpi || command -v mpirun)
work=$(mktemp -d)
export XDG_CACHE_HOME=$work/cache
farm() { bench/farm "$@"; }
end_farm() {
    farm down >/dev/null 2>&1
    rm -rf "$work"
}

# Brings the farm up for the rest of the script.  Without root, where the kernel lacks something, or
# where `without` says what else is missing, the script ends as skipped; a farm that does not come up for another reason is a failure.
begin_farm() { # NAME WHAT-IS-SKIPPED BOARDS OPTION...
    local what=$2 boards=$3 why=${without:-}
    export COHORT_FARM=$1-$$
    shift 2
    [ "$(id -u)" -eq 0 ] || why="not root"
    [ -n "$why" ] || [ -n "$mpirun" ] || why="no mpirun"
    if [ -z "$why" ] && ! farm up "$@" >"$work/up" 2>&1; then
        why="bench/farm up: $(tail -n 1 "$work/up")"
        case $why in *namespace* | *tbf* | *permitted* | *iproute2* | *"memory controller"*) ;; *)
            tap_not_ok "$boards boards" "$why"
            end_farm
            tap_end
            exit
            ;;
        esac
    fi
    if [ -n "$why" ]; then
        tap_skip "$what" "$why"
        rm -rf "$work"
        tap_end
        exit
    fi
    trap end_farm EXIT
}
