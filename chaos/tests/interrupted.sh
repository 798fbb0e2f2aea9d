#!/usr/bin/env bash
# Interrupt chaos/smoke.sh or chaos/run.sh at several moments, and check that no container, network, rule or process of it is left.
#
# chaos/tests/interrupted.sh [--run] [SECONDS...]
#
#   --run    chaos/run.sh, with the cases loss, scale and move
#   SECONDS  when to interrupt, after the start; default 0.5 2 3.5 5 19 25 45 62 80: while the nodes are started, within
#            each fault, and between them
#
# SIGINT (to all processes, as a terminal does), SIGTERM and SIGHUP (to the script alone) take turns. SHARD_CACHE_IMAGE
# names the image. Takes about five minutes. Exit codes: 0 nothing was left, 1 something was, 2 usage.
set -euo pipefail
# Jobs get process groups of their own, and do not start with SIGINT ignored.
set -m

here=$(cd "$(dirname "$0")/.." && pwd)
reports=$(mktemp -d)
script=("$here/smoke.sh")
if [ "${1:-}" = --run ]; then
    shift
    script=("$here/run.sh" --only loss --only scale --only move --output "$reports")
fi
case ${1:-} in
--help | -h)
    sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"
    exit 0
    ;;
esac
moments=("$@")
[ $# -gt 0 ] || moments=(0.5 2 3.5 5 19 25 45 62 80)
for moment in "${moments[@]}"; do
    [[ $moment =~ ^[0-9]+(\.[0-9]+)?$ ]] || { echo "$moment: a number of seconds" >&2; exit 2; }
done
# So that the moments mean the same every time.
"$here/check" --help >/dev/null

running=''
log=$(mktemp)
# shellcheck disable=SC2317,SC2329 # the traps call it
end() {
    trap - EXIT
    trap '' INT TERM HUP
    if [ -n "$running" ]; then
        kill -TERM "$running" 2>/dev/null || true
        wait "$running" || true
    fi
    rm -rf "$log" "$reports"
    exit "$1"
}
trap 'end $?' EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# The network namespaces of a project's containers. Those of others may have rules of their own.
namespaces() {
    docker ps -aq --filter "label=com.docker.compose.project=$1" |
        xargs -r docker inspect -f '{{.NetworkSettings.SandboxKey}}' 2>/dev/null || true
}

# What there is of a project, one line each; the namespaces are those that it had.
left() {
    local project=$1 namespace
    shift
    docker ps -a --filter "label=com.docker.compose.project=$project" --format 'container {{.Names}} ({{.Status}})'
    docker network ls --filter "label=com.docker.compose.project=$project" --format 'network {{.Name}}'
    docker volume ls --filter "label=com.docker.compose.project=$project" --format 'volume {{.Name}}'
    pgrep -af -- "$project" | grep -v pgrep | sed 's/^/process /' || true
    command -v nft >/dev/null 2>&1 && [ "$(id -u)" = 0 ] || return 0
    for namespace in /proc/self/ns/net "$@"; do
        [ -e "$namespace" ] || continue
        ! nsenter --net="$namespace" nft list table inet shardcache_chaos >/dev/null 2>&1 ||
            echo "rules in $namespace"
    done
}

failed=0 turn=0
for moment in "${moments[@]}"; do
    signals=(INT TERM HUP)
    signal=${signals[turn % 3]}
    turn=$((turn + 1))
    "${script[@]}" >"$log" 2>&1 &
    running=$!
    project=shard-cache-chaos-$running
    sleep "$moment"
    mapfile -t had_namespaces < <(namespaces "$project" | grep .)
    had=$(docker ps -aq --filter "label=com.docker.compose.project=$project" | wc -l)
    at=$SECONDS
    if [ "$signal" = INT ]; then
        kill -INT -- "-$running"
    else
        kill -"$signal" "$running"
    fi
    code=0
    wait "$running" || code=$?
    running=''
    remains=$(left "$project" "${had_namespaces[@]}")
    line="SIG$signal after $moment s: $had containers then, exit code $code after $((SECONDS - at)) s,"
    if [ -n "$remains" ]; then
        failed=1
        printf '%s left behind:\n%s\n' "$line" "$remains"
        cat "$log"
    elif [ "$code" -le 128 ]; then
        failed=1
        printf '%s although it was interrupted\n' "$line"
        cat "$log"
    else
        echo "$line nothing left"
    fi
done
exit "$failed"
