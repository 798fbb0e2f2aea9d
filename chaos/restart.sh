#!/usr/bin/env bash
# Restart a node in order: SIGTERM, wait until it has handed over and left, start it again. --all: one after the other,
# each when the one before has its data again.
#
# chaos/restart.sh NODE | --all [--down SECONDS] [--settle SECONDS] [--project NAME]
#
#   NODE              shardcache-node2, node2 or 2
#   --all             every running node, one at a time (chaos/rolling-restart.sh is the same)
#   --down SECONDS    leave it down for so long; default 0
#   --settle SECONDS  with --all: longest wait for a node to be safe to stop; default 60
#   --project NAME    compose project; default COMPOSE_PROJECT_NAME or the folder's name
#
# Fails if a node does not end with exit code 0, which means that it could not hand over what it owed.
#
# Exit codes: 0 done, 1 failed, 2 usage, 77 no Docker engine answers.
set -euo pipefail
# shellcheck source=chaos/lib.sh
. "$(dirname "$0")/lib.sh"

node='' all='' down=0 settle=60 project=$(default_project)
while [ $# -gt 0 ]; do
    case $1 in
    --help | -h) help ;;
    --all) all=1 ;;
    --down) down=$(seconds_of "$@") || exit $?; shift ;;
    --settle) settle=$(seconds_of "$@") || exit $?; shift ;;
    --project) project=$(value_of "$@") || exit $?; shift ;;
    -*) usage_error "unknown option $1" ;;
    *) [ -z "$node" ] || usage_error "one NODE"; node=$1 ;;
    esac
    shift
done
[ -n "$node$all" ] || usage_error "which NODE? Or --all"
[ -z "$node" ] || [ -z "$all" ] || usage_error "a NODE or --all"
need_docker

containers=() names=()
while read -r service container; do
    if [ "$(state_of "$container")" = running ]; then
        names+=("$service")
        containers+=("$container")
    fi
done < <(if [ -n "$all" ]; then nodes; else find_node "$node"; fi)
[ ${#names[@]} -gt 0 ] || fail "no node is running"

# shellcheck disable=SC2317,SC2329 # finish calls it
undo() {
    local container
    for container in "${containers[@]}"; do
        if [ "$(state_of "$container")" = running ] && [ "$container" = "$leaving" ]; then
            timeout "$DRAIN_SECONDS" docker wait "$container" >/dev/null || docker kill "$container" >/dev/null || true
        fi
        [ "$(state_of "$container")" = running ] || docker start "$container" >/dev/null
    done
}

restart() {
    local service=$1 container=$2 code
    leaving=$container
    docker kill --signal TERM "$container" >/dev/null
    code=$(timeout "$DRAIN_SECONDS" docker wait "$container") || fail "$service did not end within $DRAIN_SECONDS s"
    [ "$code" = 0 ] || fail "$service ended with exit code $code"
    sleep "$down"
    docker start "$container" >/dev/null
    leaving=''
    echo "$service: restarted" >&2
}

# The node's own answer: a stop would lose nothing.
await_safe() {
    local service=$1 container=$2 until=$((SECONDS + ${settle%.*}))
    until docker exec "$container" /shard-cache node safe-to-stop >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$until" ] || fail "$service is not safe to stop after $settle s"
        sleep 0.3
    done
}

leaving=''
what="restart of ${names[*]}"
arm
echo "chaos: on: $what"
for place in "${!names[@]}"; do
    [ -z "$all" ] || await_safe "${names[$place]}" "${containers[$place]}"
    restart "${names[$place]}" "${containers[$place]}"
done
exit 0
