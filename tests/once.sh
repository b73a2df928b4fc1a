# shellcheck shell=bash
# What the checks share that need tools from elsewhere: each is made once, into ~/.cache/headroom (XDG_CACHE_HOME counts). A
# check sources this file, and begins without settings in its environment.
set -euo pipefail

cache=${XDG_CACHE_HOME:-${HOME:?is not set}/.cache}/headroom

# Settings of the environment, and what tests/run tells its tests, are not for the binary: it refuses what is no setting.
for variable in "${!HEADROOM_@}"; do
    [[ $variable == HEADROOM_RIG_* ]] || unset "$variable"
done

die() {
    printf '%s\n' "$@" >&2
    exit 1
}

# Makes a directory once for each content of a file: `once NAME FILE COMMAND...` runs the command with the path of an empty
# directory as its last argument, and sets `made` to the directory. One at a time: the others find it done. What a run left
# that was cut off is removed.
once() {
    local name=$1 file=$2 new lock
    shift 2
    made=$cache/$name/$(sha256sum "$file" | cut -c 1-16)
    [ ! -d "$made" ] || return 0
    mkdir -p "$cache/$name"
    exec {lock}<"$cache/$name"
    flock "$lock"
    if [ ! -d "$made" ]; then
        rm -rf "$cache/$name"/fetching.*
        new=$(mktemp -d "$cache/$name/fetching.XXXXXX")
        "$@" "$new" || die "$name could not be fetched, see above"
        mv -T "$new" "$made"
    fi
    exec {lock}<&-
}

# What an environment of Python depends on: the Python that it leads to, and these lists. For `once`: when another Python takes
# the place of the one that is here, what was made with that one is dead.
environment() { python3 -c 'import sys; print(sys.base_prefix, *sys.version_info[:2])' && cat "$@"; }

# An environment of Python with the packages of a list. It names all of them, so that a new one needs nothing that nobody has
# tried: what the first ones need is told by `pip freeze` in an environment of these alone.
packages() { python3 -m venv "$2" && "$2/bin/pip" --quiet install --requirement "$1"; }
