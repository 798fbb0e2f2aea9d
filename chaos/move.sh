#!/usr/bin/env bash
# Kill a node and start it again under another address, while a stranger has its old one.
#
# chaos/move.sh NODE [--for SECONDS] [--project NAME]
#
#   NODE            shardcache-node2, node2 or 2
#   --for SECONDS   keep the stranger at the old address for so long after; default 10
#   --project NAME  compose project; default COMPOSE_PROJECT_NAME or the folder's name
#
# Fails if the address is the old one. SHARD_CACHE_IMAGE names the image, which is the stranger's, too.
#
# Exit codes: 0 done, 1 failed, 2 usage, 77 no Docker engine answers.
set -euo pipefail
# shellcheck source=chaos/lib.sh
. "$(dirname "$0")/lib.sh"

node='' seconds=10 project=$(default_project)
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
network=$(home_network "$container")
was=$(addresses IPAddress "$container")

# shellcheck disable=SC2317,SC2329 # finish calls it
undo() {
    docker ps -aq --filter "name=^$project-squatter-" | xargs -r docker rm -f >/dev/null
    [ "$(state_of "$container")" = running ] || docker start "$container" >/dev/null
}

# The engine hands out addresses in an order of its own: as many strangers as it takes until one has the old address.
squat() {
    local number squatter
    for number in 1 2 3 4 5 6 7 8; do
        squatter=$project-squatter-$number
        docker run --detach --name "$squatter" --network "$network" --label "com.docker.compose.project=$project" \
            --env SHARD_CACHE_NODE_NAME="squatter-$number" --env SHARD_CACHE_CLUSTER_ID=another \
            "${SHARD_CACHE_IMAGE:-shard-cache:latest}" >/dev/null
        [ "$(addresses IPAddress "$squatter")" != "$was" ] || return 0
    done
    fail "the engine does not give the address $was to anybody else"
}

what="$service moves to another address"
arm
docker kill "$container" >/dev/null
docker wait "$container" >/dev/null
echo "chaos: on: $what"
squat
docker start "$container" >/dev/null
now=$(addresses IPAddress "$container")
[ "$now" != "$was" ] || fail "$service has its old address $was"
sleep "$seconds" &
sleeper=$!
wait "$sleeper"
sleeper=''
exit 0
