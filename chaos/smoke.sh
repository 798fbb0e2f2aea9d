#!/usr/bin/env bash
# Prove on three containers that a kill, a pause and a cut lose nothing that was acknowledged. Takes less than four
# minutes, apart from the first build of the checker; a cluster that is running is left alone.
#
# chaos/smoke.sh [--skip-without-docker] [--history FILE] [--report FILE]
#
#   --skip-without-docker  exit with 0 where no Docker engine answers, after saying so; otherwise that is a failure
#   --history FILE         keep every operation, one JSON object per line
#   --report FILE          keep the verdict as JSON
#
# SHARD_CACHE_IMAGE names the image (default shard-cache:latest, which `make docker` builds).
#
# Exit codes: 0 nothing was lost, 1 violation or failure, 2 usage, 4 a node cannot be reached, 5 the run proves nothing,
# 130 interrupted.
set -euo pipefail
# shellcheck source=chaos/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=chaos/own_cluster.sh
. "$here/own_cluster.sh"

options=() skip_without_docker=''
while [ $# -gt 0 ]; do
    case $1 in
    --help | -h) help ;;
    --skip-without-docker) skip_without_docker=1 ;;
    --history | --report) options+=("$1" "$(value_of "$@")") || exit $?; shift ;;
    *) usage_error "unknown argument $1" ;;
    esac
    shift
done

project=shard-cache-chaos-$$
began=$SECONDS

say() {
    echo "chaos-smoke: $*"
}

if ! docker version >/dev/null 2>&1; then
    if [ -n "$skip_without_docker" ]; then
        say "SKIPPED, no Docker engine answers"
        exit 0
    fi
    say "no Docker engine answers; this needs one (--skip-without-docker: then it is no failure)" >&2
    exit 1
fi
need_cluster

checker=''
started=''

# shellcheck disable=SC2317,SC2329 # the traps call it
finish() {
    trap - EXIT
    trap '' INT TERM HUP
    if [ -n "$checker" ] && kill -0 "$checker" 2>/dev/null; then
        # It undoes the fault that is under way, and prints what it has.
        kill -TERM "$checker"
        wait "$checker" || true
    fi
    if [ -n "$started" ]; then
        remove_cluster
        say "$((SECONDS - began)) s; nothing is left behind"
    fi
    exit "$1"
}

trap 'finish $?' EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
# Builds it, so that no container waits for that.
"$here/check" --help >/dev/null
built=$SECONDS
started=1
start_cluster 3
fault() {
    printf '%s: %q %s --project %q\n' "$1" "$here/$2" "$3" "$project"
}
# 15 s are longer than a node is suspected (3 s), so that the others declare it down; its place in the ring stays. Every
# node is killed once: with one alone, a quorum of the others would answer for everything even if nothing came back to
# it, by copying or by hints.
"$here/check" \
    --node "127.0.0.1:${ports[0]}" \
    --node "127.0.0.1:${ports[2]}" \
    --node "127.0.0.1:${ports[4]}" \
    --fault "$(fault 'kill node2' kill.sh '2 --for 15')" \
    --fault "$(fault 'pause node3' pause.sh '3 --for 15')" \
    --fault "$(fault 'cut off node1' partition.sh '1 --for 15')" \
    --fault "$(fault 'kill node3' kill.sh '3 --for 5')" \
    --fault "$(fault 'kill node1' kill.sh '1 --for 5')" \
    --optional-fault "$(fault 'deafen node2' partition.sh '2 --direction in --for 12')" \
    --min-acked 5000 --min-during 0.3 "${options[@]}" &
checker=$!
code=0
wait "$checker" || code=$?
checker=''
say "the run took $((SECONDS - built)) s"
exit "$code"
