#!/usr/bin/env bash
# Kill a node's container: its memory is lost. Started again, it copies its keys from the other nodes.
#
# chaos/kill.sh NODE [--restart-after SECONDS] [--signal NAME] [--project NAME]
#
#   NODE                     shardcache-node2, node2 or 2
#   --restart-after SECONDS  start it again after so long (also --for); also when interrupted. Without it the node stays
#                            dead until chaos/heal.sh
#   --signal NAME            KILL (default), TERM or INT; the latter two let it drain
#   --project NAME           compose project; default COMPOSE_PROJECT_NAME or the folder's name
#
# Exit codes: 0 done, 1 failed, 2 usage, 77 no Docker engine answers.
set -euo pipefail
# shellcheck source=chaos/lib.sh
. "$(dirname "$0")/lib.sh"

node='' seconds='' signal=KILL project=$(default_project)
while [ $# -gt 0 ]; do
    case $1 in
    --help | -h) help ;;
    --restart-after | --for) seconds=$(seconds_of "$@") || exit $?; shift ;;
    --signal) signal=$(value_of "$@") || exit $?; shift ;;
    --project) project=$(value_of "$@") || exit $?; shift ;;
    -*) usage_error "unknown option $1" ;;
    *) [ -z "$node" ] || usage_error "one NODE"; node=$1 ;;
    esac
    shift
done
[ -n "$node" ] || usage_error "which NODE?"
signal=${signal#SIG}
# No other signal ends a node, which has no handlers for them as the first process of its container.
case $signal in KILL | TERM | INT) ;; *) usage_error "--signal $signal: KILL, TERM or INT" ;; esac
need_docker
found=$(find_node "$node") || exit $?
read -r service container <<<"$found"
need_state "$service" "$container" running

undo() {
    # A container that is still draining could not be started, and would end a moment later.
    if [ "$(state_of "$container")" = running ] && [ -n "$sent" ]; then
        timeout "$DRAIN_SECONDS" docker wait "$container" >/dev/null || docker kill "$container" >/dev/null || true
    fi
    docker start "$container" >/dev/null
}

send() {
    docker kill --signal "$signal" "$container" >/dev/null
}

what="$service killed (SIG$signal)"
sent=''
arm
sent=1
whole send
docker wait "$container" >/dev/null
hold "$seconds"
