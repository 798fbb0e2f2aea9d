#!/usr/bin/env bash
# Give a node little CPU or little memory.
#
# chaos/starve.sh NODE [--cpus N] [--memory SIZE] [--for SECONDS] [--project NAME]
#
#   NODE            shardcache-node2, node2 or 2
#   --cpus N        so much of one CPU: 0.1
#   --memory SIZE   so much memory, as docker update understands it: 96m. Beyond it the kernel ends the node
#   --for SECONDS   undo it after so long; also when interrupted. Without it, it stays until chaos/heal.sh
#   --project NAME  compose project; default COMPOSE_PROJECT_NAME or the folder's name
#
# Fails if the node does not run any more in the end.
#
# Exit codes: 0 done, 1 failed, 2 usage, 77 no Docker engine answers, or it cannot limit what is asked for.
set -euo pipefail
# shellcheck source=chaos/lib.sh
. "$(dirname "$0")/lib.sh"

node='' limits=() words='' seconds='' project=$(default_project)
while [ $# -gt 0 ]; do
    case $1 in
    --help | -h) help ;;
    --cpus) limits+=(--cpus "$(value_of "$@")") || exit $?; words+=" $2 CPU"; shift ;;
    --memory) limits+=(--memory "$(value_of "$@")" --memory-swap "$2") || exit $?; words+=" $2 of memory"; shift ;;
    --for) seconds=$(seconds_of "$@") || exit $?; shift ;;
    --project) project=$(value_of "$@") || exit $?; shift ;;
    -*) usage_error "unknown option $1" ;;
    *) [ -z "$node" ] || usage_error "one NODE"; node=$1 ;;
    esac
    shift
done
[ -n "$node" ] || usage_error "which NODE?"
[ ${#limits[@]} -gt 0 ] || usage_error "--cpus or --memory?"
need_docker
found=$(find_node "$node") || exit $?
read -r service container <<<"$found"
need_state "$service" "$container" running

# shellcheck disable=SC2317,SC2329 # finish calls it
undo() {
    if [ "$(state_of "$container")" != running ]; then
        echo "$service was ended by its limits" >&2
        return 1
    fi
    unstarve "$container"
}

what="$service has$words"
arm
told=$(docker update "${limits[@]}" "$container" 2>&1) || { trap - EXIT; skip "docker update: $told"; }
hold "$seconds"
