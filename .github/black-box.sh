#!/usr/bin/env bash
# Brings a system up and uses it as any client would: black-box.sh local up [ARGUMENT]...
# With --no-host among them, the host is the real one: `func start`.
set -euo pipefail
cd "$(dirname "$0")/.."
local="$1"
scratch=$(mktemp -d)
started=()

finish() {
    status=$?
    # In the reverse order, each to its end: the host before what it works with.
    for ((i = ${#started[@]} - 1; i >= 0; i--)); do
        kill "${started[i]}" 2>/dev/null || true
        wait "${started[i]}" 2>/dev/null || true
    done
    if [ "$status" != 0 ]; then tail -n 100 "$scratch"/*.log >&2; fi
    rm -rf "$scratch"
    exit "$status"
}
trap finish EXIT

# until_true SECONDS WHAT COMMAND...
until_true() {
    local deadline=$((SECONDS + $1)) what="$2"
    shift 2
    until "$@" >/dev/null 2>&1; do
        if ((SECONDS >= deadline)); then echo "in vain: $what" >&2; exit 1; fi
        sleep 0.2
    done
}

"$@" >"$scratch/ready" 2>"$scratch/up.log" &
started+=($!)
until_true 300 "the line that says that everything is up" grep --quiet '^{.*}$' "$scratch/ready"
base=$(sed -n 's/.*"base":"\([^"]*\)".*/\1/p' "$scratch/ready")
if [ -z "$base" ]; then
    base=http://localhost:7071
    func start --port 7071 >"$scratch/func.log" 2>&1 &
    started+=($!)
    # Any answer but a refused connection: the host has read every function.
    until_true 180 "an answer of the host" curl -sS -o /dev/null "$base/_operations/export/0123456789abcdef0123456789abcdef"
fi

echo "== what the service depends on"
curl -sSf "$base/_operations/health" | grep --quiet '"status":"ready"'

echo "== the client, which checks each file against its manifest"
"$local" export "$base" --out "$scratch/files"
test "$(cat "$scratch"/files/*.ndjson | wc -l)" -ge 1000

echo "== the lines of the README"
sed -n '/^## With curl$/,/^## /p' README.md | sed -n '/^```sh$/,/^```$/p' | sed '1d;$d' >"$scratch/curl.sh"
mkdir "$scratch/curl"
(cd "$scratch/curl" && BASE="$base" bash ../curl.sh >/dev/null)

echo "== what is no route of ours"
for path in ExportWorker ExportPoison ExportWatch; do
    answer=$(curl -sS -o /dev/null -w '%{http_code}' -X POST -d '{}' "$base/$path")
    test "$answer" = 404 || { echo "POST /$path: $answer" >&2; exit 1; }
done
echo "all is well"
