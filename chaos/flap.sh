#!/usr/bin/env bash
# Let a node come and go: killed, started again, killed again.
#
# chaos/flap.sh NODE [--up SECONDS] [--down SECONDS] --for SECONDS [--project NAME]
#
#   NODE            shardcache-node2, node2 or 2
#   --up SECONDS    how long it runs each time; default 5
#   --down SECONDS  how long it is dead each time; default 5
#   --for SECONDS   how long this goes on; in the end it runs, also when interrupted
#   --project NAME  compose project; default COMPOSE_PROJECT_NAME or the folder's name
#
# Exit codes: 0 done, 1 failed, 2 usage, 77 no Docker engine answers.
set -euo pipefail
# shellcheck source=chaos/lib.sh
. "$(dirname "$0")/lib.sh"

node='' up=5 down=5 seconds='' project=$(default_project)
while [ $# -gt 0 ]; do
    case $1 in
    --help | -h) help ;;
    --up) up=$(seconds_of "$@") || exit $?; shift ;;
    --down) down=$(seconds_of "$@") || exit $?; shift ;;
    --for) seconds=$(seconds_of "$@") || exit $?; shift ;;
    --project) project=$(value_of "$@") || exit $?; shift ;;
    -*) usage_error "unknown option $1" ;;
    *) [ -z "$node" ] || usage_error "one NODE"; node=$1 ;;
    esac
    shift
done
[ -n "$node" ] || usage_error "which NODE?"
[ -n "$seconds" ] || usage_error "--for how long?"
need_docker
found=$(find_node "$node") || exit $?
read -r service container <<<"$found"
need_state "$service" "$container" running

# shellcheck disable=SC2317,SC2329 # finish calls it
undo() {
    [ "$(state_of "$container")" = running ] || docker start "$container" >/dev/null
}

what="$service comes and goes"
arm
echo "chaos: on: $what"
until=$((SECONDS + ${seconds%.*}))
while [ "$SECONDS" -lt "$until" ]; do
    docker kill "$container" >/dev/null
    docker wait "$container" >/dev/null
    sleep "$down"
    docker start "$container" >/dev/null
    sleep "$up"
done
exit 0
