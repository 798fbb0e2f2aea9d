#!/usr/bin/env bash
# Undo everything that the scripts which make faults can have done to nodes. Harmless where there is nothing to undo.
#
# chaos/heal.sh [NODE...] [--project NAME]
#
#   NODE            shardcache-node2, node2 or 2; default all nodes
#   --project NAME  compose project; default COMPOSE_PROJECT_NAME or the folder's name
#
# Exit codes: 0 done, 1 something could not be undone, 2 usage, 77 no Docker engine answers.
set -euo pipefail
# shellcheck source=chaos/lib.sh
. "$(dirname "$0")/lib.sh"

wanted=() project=$(default_project)
while [ $# -gt 0 ]; do
    case $1 in
    --help | -h) help ;;
    --project) project=$(value_of "$@") || exit $?; shift ;;
    -*) usage_error "unknown option $1" ;;
    *) wanted+=("$1") ;;
    esac
    shift
done
need_docker

targets=''
if [ ${#wanted[@]} = 0 ]; then
    targets=$(nodes)
    [ -n "$targets" ] || fail "project $project has no nodes; projects here: $(projects)"
else
    for node in "${wanted[@]}"; do
        found=$(find_node "$node") || exit $?
        targets+="$found"$'\n'
    done
fi

failed=0
step() {
    local service=$1 done=$2
    shift 2
    if "$@" >/dev/null; then
        echo "$service: $done"
        steps=$((steps + 1))
    else
        failed=1
    fi
}

while read -r service container; do
    [ -n "$service" ] || continue
    steps=0
    is_connected "$container" || step "$service" reconnected connect_home "$service" "$container"
    case $(state_of "$container") in
    paused) step "$service" unpaused docker unpause "$container" ;;
    created | exited | dead) step "$service" started docker start "$container" ;;
    esac
    if in_network "$container" true 2>/dev/null && has_bad_network "$container"; then
        step "$service" "rules removed" undo_network "$container"
    fi
    if is_starved "$container"; then
        step "$service" "limits removed" unstarve "$container"
    fi
    [ "$steps" -gt 0 ] || [ "$failed" = 1 ] || echo "$service: nothing to undo"
done <<<"$targets"
exit "$failed"
