#!/usr/bin/env bash
# Add nodes 4 and 5 of docker-compose.yml (profile scale), or have them leave in order.
#
# chaos/scale.sh 5 [--for SECONDS] [--project NAME]
# chaos/scale.sh 3 [--project NAME]
#
#   --for SECONDS   go back to three after so long; also when interrupted
#   --project NAME  compose project; default COMPOSE_PROJECT_NAME or the folder's name
#
# CHAOS_COMPOSE_FILES names further compose files, separated by colons. Fails if a node that leaves does not end with exit
# code 0.
#
# Exit codes: 0 done, 1 failed, 2 usage, 77 no Docker engine answers.
set -euo pipefail
# shellcheck source=chaos/lib.sh
. "$(dirname "$0")/lib.sh"

to='' seconds='' project=$(default_project)
while [ $# -gt 0 ]; do
    case $1 in
    --help | -h) help ;;
    --for) seconds=$(seconds_of "$@") || exit $?; shift ;;
    --project) project=$(value_of "$@") || exit $?; shift ;;
    3 | 5) to=$1 ;;
    *) usage_error "unknown argument $1" ;;
    esac
    shift
done
[ -n "$to" ] || usage_error "to 3 or to 5?"
need_docker
find_compose || skip "neither \`docker compose\` nor docker-compose is installed"
files=(--file "$here/../docker-compose.yml")
IFS=: read -ra more <<<"${CHAOS_COMPOSE_FILES:-}"
for file in "${more[@]}"; do
    files+=(--file "$file")
done

# shellcheck disable=SC2317,SC2329 # undo calls it
shrink() {
    local name container code failed=0
    for name in shardcache-node5 shardcache-node4; do
        container=$(nodes | awk -v name="$name" '$1 == name { print $2 }')
        [ -n "$container" ] || continue
        if [ "$(state_of "$container")" = running ]; then
            # One after the other: two at once would be two losses if neither could hand over.
            docker kill --signal TERM "$container" >/dev/null
            code=$(timeout "$DRAIN_SECONDS" docker wait "$container") || code="none within $DRAIN_SECONDS s"
            [ "$code" = 0 ] || { echo "$name ended with exit code $code" >&2; failed=1; }
        fi
        docker rm -f "$container" >/dev/null
    done
    return "$failed"
}

# shellcheck disable=SC2317,SC2329 # finish calls it
undo() {
    shrink
}

if [ "$to" = 3 ]; then
    shrink
    exit
fi
what="five nodes instead of three"
arm
whole "${compose[@]}" --project-name "$project" "${files[@]}" up --detach --no-build --no-recreate \
    shardcache-node4 shardcache-node5 >/dev/null 2>&1
hold "$seconds"
