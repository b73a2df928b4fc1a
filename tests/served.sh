# shellcheck shell=bash
# What the checks share that call the binary from outside: a server on a directory of its own, and tokens for it. A check
# sources this file.
# shellcheck source=tests/once.sh
. "$(dirname "${BASH_SOURCE[0]}")/once.sh"

headroom=${CARGO_TARGET_DIR:-$HOME/.cache/headroom/target}/debug/headroom
work=$(mktemp -d)
server=

end() {
    [ -z "$server" ] || kill "$server" 2>/dev/null || true
    rm -rf "$work"
}
trap end EXIT

[ -x "$headroom" ] || die "there is no $headroom: cargo build"

# Prints a new token: `token NAME ROLE,...`. A server that starts wants at least one of them to be there.
token() { "$headroom" tokens new "$1" --roles "$2" --data-dir "$work/data"; }

# Starts a server that serves whoever has a token, and sets `url`.
start() {
    mkfifo "$work/out"
    "$headroom" serve --listen 127.0.0.1:0 --auth tokens --data-dir "$work/data" >"$work/out" 2>"$work/err" &
    server=$!
    exec 3<"$work/out"
    local line
    read -r line <&3 || die "the server did not start:" "$(cat "$work/err")"
    # shellcheck disable=SC2034  # used by the checks
    url=${line#headroom listens on }
}

# Waits until the server knows a token. Whoever calls with one that it does not know is refused, whatever they ask for.
known() {
    python3 - "$url/v1/pools" "$1" <<'PYTHON'
import sys
import time
from urllib.error import HTTPError
from urllib.request import Request, urlopen

url, token = sys.argv[1:]
limit = time.monotonic() + 60
while True:
    try:
        with urlopen(Request(url, headers={"Authorization": f"Bearer {token}"})):
            break
    except HTTPError as refused:
        if refused.code != 401:
            break
    if time.monotonic() > limit:
        sys.exit("a token is not known within 60 s")
    time.sleep(0.1)
PYTHON
}

# Writes the description of the API into a file: `describe TOKEN FILE`.
describe() {
    python3 - "$url/openapi.json" "$@" <<'PYTHON'
import sys
from urllib.request import Request, urlopen

url, token, path = sys.argv[1:]
with urlopen(Request(url, headers={"Authorization": f"Bearer {token}"})) as answer, open(path, "wb") as file:
    file.write(answer.read())
PYTHON
}

# Stops the server, and audits the log that the check has left.
stop_and_verify() {
    kill "$server"
    wait "$server" || die "the server did not end well:" "$(tail -n 20 "$work/err")"
    server=
    "$headroom" verify --data-dir "$work/data"
}
