#!/usr/bin/env bash
# Start a node that does not belong here: of another cluster, with a seed of this one. Nobody may take it for a member.
#
# chaos/stranger.sh [--for SECONDS] [--seed NODE] [--project NAME]
#
#   --for SECONDS   remove it after so long (default 12); also when interrupted
#   --seed NODE     the node that it is told of: shardcache-node1, node1 or 1 (default)
#   --project NAME  compose project; default COMPOSE_PROJECT_NAME or the folder's name
#
# Fails if it has joined, or was not refused. SHARD_CACHE_IMAGE names the image.
#
# Exit codes: 0 done, 1 failed, 2 usage, 77 no Docker engine answers.
set -euo pipefail
# shellcheck source=chaos/lib.sh
. "$(dirname "$0")/lib.sh"

seconds=12 seed=1 project=$(default_project)
while [ $# -gt 0 ]; do
    case $1 in
    --help | -h) help ;;
    --for) seconds=$(seconds_of "$@") || exit $?; shift ;;
    --seed) seed=$(value_of "$@") || exit $?; shift ;;
    --project) project=$(value_of "$@") || exit $?; shift ;;
    *) usage_error "unknown argument $1" ;;
    esac
    shift
done
need_docker
found=$(find_node "$seed") || exit $?
read -r service container <<<"$found"
name=$project-stranger
members() {
    docker exec "$container" /shard-cache cluster status -o json | jq '.nodes | length'
}
before=$(members)

# shellcheck disable=SC2317,SC2329 # finish calls it
undo() {
    docker rm -f "$name" >/dev/null 2>&1 || true
}

what="a node of another cluster knocks at $service"
arm
docker run --detach --name "$name" --network "$(home_network "$container")" \
    --label "com.docker.compose.project=$project" \
    --env SHARD_CACHE_CLUSTER_ID=another --env "SHARD_CACHE_SEED=$service:7946" --env SHARD_CACHE_MIN_MEMBERS=2 \
    --env SHARD_CACHE_NODE_NAME=stranger "${SHARD_CACHE_IMAGE:-shard-cache:latest}" >/dev/null
echo "chaos: on: $what"
sleep "$seconds" &
sleeper=$!
wait "$sleeper"
sleeper=''
[ "$(state_of "$name")" = running ] || fail "the stranger has ended by itself: $(docker logs "$name" 2>&1 | tail -n 1)"
after=$(members)
[ "$after" = "$before" ] || fail "$service knows $after nodes now, and knew $before"
exit 0
