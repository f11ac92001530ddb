# For the scripts in tests/long and tests/cli, after tests/tap.sh: where things are, how ranks start.
COHORT_BUILD=${COHORT_BUILD:-$PWD/build}
COHORT_BIN=${COHORT_BIN:-$COHORT_BUILD/cohort}
shared=${COHORT_SHARED:-$PWD/../shared}
mkdir -p "$COHORT_BUILD/tests"
scratch=$(mktemp -d "$COHORT_BUILD/tests/scratch.XXXXXX") || exit 2
trap 'rm -rf "$scratch"' EXIT
export XDG_CACHE_HOME=$scratch/cache # nothing of the user's, nothing left behind
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_btl=self,vader,tcp
export OMPI_MCA_btl_tcp_if_include=lo OMPI_MCA_oob_tcp_if_include=lo
export OMPI_MCA_btl_vader_single_copy_mechanism=none OMPI_MCA_orte_allowed_exit_without_sync=1 # see tests/run
mpirun=$(command -v mpirun.openmpi || command -v mpirun)

# cohort alone, or on several ranks of this machine; none of it may hang.
cohort_on() { # RANKS ARGUMENT...
    local ranks=$1
    shift
    if [ "$ranks" -eq 1 ]; then
        timeout -k 5 300 "$COHORT_BIN" "$@"
    else
        timeout -k 5 300 "$mpirun" --bind-to none -n "$ranks" "$COHORT_BIN" "$@"
    fi
}

# The cases of `cohort verify --json`, one a line: folder, verdict, message, worst, between tabs.
verify_cases() { # FILE
    awk '
        function text(line) {
            sub(/^[^:]*: */, "", line)
            sub(/,$/, "", line)
            gsub(/^"|"$/, "", line)
            return line
        }
        /^ *"case":/ { name = text($0); verdict = message = "" }
        /^ *"verdict":/ { verdict = text($0) }
        /^ *"worst":/ { worst = text($0) }
        /^ *"message":/ { message = text($0) }
        /^ *}/ { if (name != "") print name "\t" verdict "\t" (message == "" ? "-" : message) "\t" worst; name = "" }
    ' "$1"
}
