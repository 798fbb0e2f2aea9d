#!/usr/bin/env bash
# Let bad clients loose on a node: random bytes on all its ports, connections without an end, connections that say nothing.
#
# chaos/storm.sh NODE [--kind junk|churn|idle] [--for SECONDS] [--project NAME]
#
#   NODE            shardcache-node2, node2 or 2
#   --kind KIND     junk (default): random and malformed gossip, HTTP/2 and HTTP/1; churn: connections opened and closed;
#                   idle: hundreds that say nothing, or one byte a second
#   --for SECONDS   for so long; default 15
#   --project NAME  compose project; default COMPOSE_PROJECT_NAME or the folder's name
#
# Works within the container's network namespace, from the host: needs root, nsenter and an engine on this machine.
#
# Exit codes: 0 done, 1 failed, 2 usage, 77 SKIPPED for want of a tool or a privilege.
set -euo pipefail
# shellcheck source=chaos/lib.sh
. "$(dirname "$0")/lib.sh"

node='' kind=junk seconds=15 project=$(default_project)
while [ $# -gt 0 ]; do
    case $1 in
    --help | -h) help ;;
    --kind) kind=$(value_of "$@") || exit $?; shift ;;
    --for) seconds=$(seconds_of "$@") || exit $?; shift ;;
    --project) project=$(value_of "$@") || exit $?; shift ;;
    -*) usage_error "unknown option $1" ;;
    *) [ -z "$node" ] || usage_error "one NODE"; node=$1 ;;
    esac
    shift
done
[ -n "$node" ] || usage_error "which NODE?"
case $kind in junk | churn | idle) ;; *) usage_error "--kind $kind: junk, churn or idle" ;; esac
need_docker
found=$(find_node "$node") || exit $?
read -r service container <<<"$found"
need_state "$service" "$container" running
need_network "$container"

storm=''
# shellcheck disable=SC2317,SC2329 # finish calls it
undo() {
    [ -z "$storm" ] || kill "$storm" 2>/dev/null || true
    [ "$(state_of "$container")" = running ] || { echo "$service has ended" >&2; return 1; }
}

what="$kind at $service"
arm
in_network "$container" python3 "$here/storm.py" "$kind" "$seconds" >&2 &
storm=$!
echo "chaos: on: $what"
wait "$storm"
storm=''
exit 0
