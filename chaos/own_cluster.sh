# shellcheck shell=bash
# Nodes for a test: under a project name and on ports of their own, so that a cluster that is running is left
# alone. Sourced after lib.sh, with `project` set; whoever calls start_cluster calls remove_cluster in the end.

: "${here?}" "${project?}"
ports=()

# Ends the script where no cluster can be started.
need_cluster() {
    local image=${SHARD_CACHE_IMAGE:-shard-cache:latest}
    find_compose || fail "neither \`docker compose\` nor docker-compose is installed"
    compose+=(--project-name "$project" --file "$here/../docker-compose.yml" --file "$here/smoke.compose.yaml")
    docker image inspect "$image" >/dev/null 2>&1 ||
        fail "there is no image $image: run \`make docker\` first"
}

# Below the range from which the system takes ports by itself, so that a killed node finds its own again.
choose_ports() {
    local port
    ports=()
    while [ ${#ports[@]} -lt 10 ]; do
        port=$((20000 + RANDOM % 10000))
        case " ${ports[*]} " in *" $port "*) continue ;; esac
        if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
            ports+=("$port")
        fi
    done
    export SHARD_CACHE_NODE1_GRPC_PORT=${ports[0]} SHARD_CACHE_NODE1_HTTP_PORT=${ports[1]}
    export SHARD_CACHE_NODE2_GRPC_PORT=${ports[2]} SHARD_CACHE_NODE2_HTTP_PORT=${ports[3]}
    export SHARD_CACHE_NODE3_GRPC_PORT=${ports[4]} SHARD_CACHE_NODE3_HTTP_PORT=${ports[5]}
    export SHARD_CACHE_NODE4_GRPC_PORT=${ports[6]} SHARD_CACHE_NODE4_HTTP_PORT=${ports[7]}
    export SHARD_CACHE_NODE5_GRPC_PORT=${ports[8]} SHARD_CACHE_NODE5_HTTP_PORT=${ports[9]}
}

# Starts so many nodes, three unless told otherwise. A port that was free may be taken by the time it is used.
start_cluster() {
    local attempt number services=()
    for number in $(seq "${1:-3}"); do
        services+=("shardcache-node$number")
    done
    for attempt in 1 2 3; do
        choose_ports
        if whole "${compose[@]}" up --detach --no-build "${services[@]}" >&2; then
            return
        fi
        echo "attempt $attempt to start the nodes failed" >&2
        whole remove_cluster
    done
    fail "the nodes cannot be started"
}

remove_cluster() {
    local of_project="label=com.docker.compose.project=$project"
    # A paused container cannot be removed by every engine.
    docker ps -q --filter "$of_project" --filter status=paused | xargs -r docker unpause >/dev/null || true
    "${compose[@]}" down --volumes --timeout 1 >/dev/null 2>&1 || true
    # Whatever compose did not see, for example what it was about to make when it ended.
    docker ps -aq --filter "$of_project" | xargs -r docker rm -f >/dev/null
    docker network ls -q --filter "$of_project" | xargs -r docker network rm >/dev/null
}
