#!/usr/bin/env bash
# Shows that the chaos cases notice bugs: builds a node with bugs planted, and plays for each bug a case that has to fail
# because of what clients read.
#
# chaos/mutants.sh [--only BUG]... [--output DIR]
#
#   --only BUG    only this bug; several times: only these
#   --output DIR  where the reports go, one folder for each bug; default chaos/out-mutants. What is in it is replaced
#
# The build has the cargo feature planted-bugs, which no other build has; its image is shard-cache:planted, and is removed.
#
# Exit codes: 0 every bug was found, 1 otherwise, 2 usage, 130 interrupted.
set -euo pipefail
# shellcheck source=chaos/lib.sh
. "$(dirname "$0")/lib.sh"

# BUG CASE, as src/planted.rs describes them. Not every case can find every bug.
readonly BUGS="
ack_before_store kill
deletes_forgotten pause-long
stale_wins split
hints_dropped split
empty_is_full kills
"
readonly IMAGE=shard-cache:planted
only='' output=$here/out-mutants
while [ $# -gt 0 ]; do
    case $1 in
    --help | -h) help ;;
    --only) only+=" $(value_of "$@") " || exit $?; shift ;;
    --output) output=$(value_of "$@") || exit $?; shift ;;
    *) usage_error "unknown argument $1" ;;
    esac
    shift
done
for bug in $only; do
    grep -q "^$bug " <<<"$BUGS" || usage_error "--only $bug: there is no such bug"
done

stage=$(mktemp -d "${TMPDIR:-/tmp}/shard-cache-mutants.XXXXXX")
runner=''
# shellcheck disable=SC2317,SC2329 # the traps call it
finish() {
    trap - EXIT
    trap '' INT TERM HUP
    if [ -n "$runner" ] && kill -0 "$runner" 2>/dev/null; then
        kill -TERM "$runner"
        wait "$runner" || true
    fi
    docker image rm -f "$IMAGE" >/dev/null 2>&1 || true
    rm -rf "$stage"
    exit "$1"
}
trap 'finish $?' EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# Beside the other binary, with dependencies of its own, so that neither is taken for the other.
make --no-print-directory --directory "$here/.." planted
SHARD_CACHE_IMAGE=$IMAGE SHARD_CACHE_BINARY=${CARGO_TARGET_DIR:-$here/../target}/planted/shard-cache "$here/../deploy/image.sh"
mkdir -p "$output"
missed=0 found=0
while read -r bug case; do
    [ -n "$bug" ] || continue
    case " ${only:-$bug} " in *" $bug "*) ;; *) continue ;; esac
    echo "mutants: $bug: playing $case"
    code=0
    SHARD_CACHE_IMAGE=$IMAGE SHARD_CACHE_PLANT=$bug "$here/run.sh" --only "$case" --output "$output/$bug" \
        >"$stage/log.txt" 2>&1 &
    runner=$!
    wait "$runner" || code=$?
    runner=''
    # What was read decides, and not that the nodes could not be started, or a limit that was missed.
    reads=$(jq -r '.verdict.violations | length' "$output/$bug/cases/$case/check.json" 2>/dev/null || echo 0)
    kinds=$(jq -r '.verdict.keys_by_kind | to_entries | map("\(.value) keys \(.key)") | join(", ")' \
        "$output/$bug/cases/$case/check.json" 2>/dev/null || echo none)
    if [ "$code" = 1 ] && [ "$reads" -gt 0 ]; then
        found=$((found + 1))
        echo "mutants: $bug: found: $kinds"
    else
        missed=$((missed + 1))
        echo "mutants: $bug: NOT FOUND (exit code $code): $(tail -n 1 "$stage/log.txt")"
    fi
done <<<"$BUGS"
echo "$found bugs found, $missed missed"
[ "$missed" = 0 ]
