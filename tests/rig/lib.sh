# shellcheck shell=bash
# What the rig's commands share; each of them sources it. What there is to know about them stands in tests/rig/up.
set -euo pipefail

die() {
    printf '%s\n' "$@" >&2
    exit 1
}

[ "$(uname)" = Linux ] || die "the rig is for Linux: it looks its processes up in /proc"

rig=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
state=$(realpath -m -- "${HEADROOM_RIG_DIR:-$rig/run}")
java=${JAVA_HOME:+$JAVA_HOME/bin/}java
cache=${XDG_CACHE_HOME:-${HOME:?is not set}/.cache}/headroom/rig
# A change of the pom is another directory.
# shellcheck disable=SC2034  # used by the commands
jars=$cache/$(sha256sum "$rig/pom.xml" | cut -c 1-16)
# Whatever may run, apart from what watches over it.
servers=(broker1 broker2 broker3 registry)

# A path as somebody here would type it.
shown() { realpath -m --relative-base="$PWD" -- "$1"; }

# A command of the rig as somebody here would type it.
command_line() {
    printf '%s%s' "${HEADROOM_RIG_DIR:+HEADROOM_RIG_DIR=$HEADROOM_RIG_DIR }" "$(shown "$rig/$1")"
}

# Held until this process ends. Up and down want the rig for themselves (-x); who deals with one server shares it (-s).
lock() {
    exec 9<"$state"
    flock "$1" -w 180 9 || die "another command of the rig in $(shown "$state") has not ended for 3 minutes"
}

# What `up` was told: brokers, port, registry.
setting() { sed -n "s/^$1=//p" "$state/settings" 2>/dev/null || true; }

need_up() {
    [ -f "$state/headroom.toml" ] || die "no rig is up in $(shown "$state"): $(command_line up)"
}

# The pid of one of this rig's processes, if it runs. A pid file proves nothing, since pids are used again: the process
# must have been started with our file of arguments.
pid_of() {
    local pid line
    pid=$(cat "$state/$1.pid" 2>/dev/null) || return 1
    [[ $pid =~ ^[1-9][0-9]*$ ]] || return 1
    # Empty for a process that has ended and was not waited for.
    line=$(tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline") 2>/dev/null || return 1
    [[ $line == *" @$state/$1.args "* ]] || return 1
    echo "$pid"
}

# When a process began, if there is one: with the pid it names a process for good. One that has ended and was not waited
# for is none, once the last of its threads has let go of its files and ports.
since() {
    local stat
    stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 0
    # After the name, which may hold anything: the state; later the number of threads; the start.
    read -r -a stat <<<"${stat##*) }"
    [[ ${stat[0]} == [ZX] && ${stat[17]} -le 1 ]] || echo "${stat[19]}"
}

runs() { pid_of "$1" >/dev/null; }

# Sends a signal to whom it may concern.
signal() {
    local pid
    if pid=$(pid_of "$2"); then kill "-$1" "$pid" 2>/dev/null || true; fi
}

# Starts one of the rig's processes by itself: not of this terminal, with none of our open files.
launch() {
    local name=$1
    shift
    (cd "$state" && exec setsid "$@" "@$state/$name.args" </dev/null >>"$state/$name.log" 2>&1 9<&-) &
    echo $! >"$state/$name.pid"
    disown
    # Until then it is still a copy of this shell.
    local tries=0
    until runs "$name" || ! kill -0 "$!" 2>/dev/null || [ $((tries += 1)) -gt 500 ]; do sleep 0.01; done
}

log_size() { stat -c %s "$state/$1.log" 2>/dev/null || echo 0; }

# Whether it serves, by what its log says from this byte on; the registry's says so too early.
serves() {
    case $1 in
    broker*) grep -q 'Kafka Server started' < <(tail -c "+$(($2 + 1))" "$state/$1.log") ;;
    registry) registry_answers ;;
    esac
}

registry_port() { echo $(($(setting port) + 6)); }

registry_answers() (
    exec 2>/dev/null 7<>"/dev/tcp/127.0.0.1/$(registry_port)" || exit 1
    printf 'GET /apis/ccompat/v7/subjects HTTP/1.0\r\n\r\n' >&7
    read -r -t 5 line <&7
    [[ $line == *' 200 '* ]]
)

# Waits until it serves. The limit is twenty times what it takes on a quiet machine.
await() {
    local end=$((SECONDS + 120))
    until serves "$1" "$2"; do
        if ! runs "$1"; then
            tail -c "+$(($2 + 1))" "$state/$1.log" | tail -n 20 >&2
            die "$1 ended instead of serving; its log: $(shown "$state/$1.log")"
        fi
        [ $SECONDS -lt $end ] || die "$1 does not serve after 120 s; its log: $(shown "$state/$1.log")"
        sleep 0.1
    done
}

# Starts one and returns when it serves.
start() {
    local from
    from=$(log_size "$1")
    launch "$1" "$java"
    await "$1" "$from"
}

# Ends these (TERM or KILL) and returns when their ports are free. Whoever has not ended after 20 s is killed.
end() {
    local how=$1 limit=$((SECONDS + 20)) name pid left
    local -A begun=()
    shift
    for name in "$@"; do
        pid=$(pid_of "$name") || continue
        begun[$pid]=$(since "$pid")
        signal "$how" "$name"
        # One that is paused hears nothing but KILL.
        signal CONT "$name"
    done
    while :; do
        left=()
        for pid in "${!begun[@]}"; do
            [[ -z ${begun[$pid]} || $(since "$pid") != "${begun[$pid]}" ]] || left+=("$pid")
        done
        [ ${#left[@]} -gt 0 ] || break
        if [ $SECONDS -ge $limit ]; then
            [ "$how" = TERM ] || die "killed, and still there: ${left[*]}"
            echo "not ended after 20 s, now killed: ${left[*]}" >&2
            end KILL "$@"
            break
        fi
        sleep 0.05
    done
    for name in "$@"; do rm -f "$state/$name.pid"; done
}

# Deletes what the rig wrote, and the directory if that was all.
wipe() {
    local name
    for name in "${servers[@]}" watch; do
        rm -rf "${state:?}/$name"
        rm -f "$state/$name".{args,log,pid,properties}
    done
    rm -f "$state"/{settings,headroom.toml}
    rm -rf "$state/tmp" "$state/server"
    rmdir "$state" 2>/dev/null || true
}
