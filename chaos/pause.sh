#!/usr/bin/env bash
# Freeze a node's container: its sockets stay open, and nothing answers.
#
# chaos/pause.sh NODE [--for SECONDS] [--project NAME]
#
#   NODE            shardcache-node2, node2 or 2
#   --for SECONDS   let it go on after so long; also when interrupted. Without it the node stays frozen until
#                   chaos/heal.sh
#   --project NAME  compose project; default COMPOSE_PROJECT_NAME or the folder's name
#
# Exit codes: 0 done, 1 failed, 2 usage, 77 no Docker engine answers.
set -euo pipefail
# shellcheck source=chaos/lib.sh
. "$(dirname "$0")/lib.sh"

node='' seconds='' project=$(default_project)
while [ $# -gt 0 ]; do
    case $1 in
    --help | -h) help ;;
    --for) seconds=$(seconds_of "$@") || exit $?; shift ;;
    --project) project=$(value_of "$@") || exit $?; shift ;;
    -*) usage_error "unknown option $1" ;;
    *) [ -z "$node" ] || usage_error "one NODE"; node=$1 ;;
    esac
    shift
done
[ -n "$node" ] || usage_error "which NODE?"
need_docker
found=$(find_node "$node") || exit $?
read -r service container <<<"$found"
need_state "$service" "$container" running

undo() {
    [ "$(state_of "$container")" != paused ] || docker unpause "$container" >/dev/null
}

what="$service paused"
arm
freeze() {
    docker pause "$container" >/dev/null
}
whole freeze
hold "$seconds"
