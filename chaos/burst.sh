#!/usr/bin/env bash
# Put a load generator's requests to nodes.
#
# chaos/burst.sh SECONDS ARGUMENTS...
#
#   ARGUMENTS  of `shard-cache bench`, with --endpoint for each node
#
# Exit codes: 0 done, 1 failed, 77 SKIPPED because ./shard-cache is not built.
set -euo pipefail
case ${1:-} in
--help | -h) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit 0 ;;
esac
binary=$(dirname "$0")/../shard-cache
if [ ! -x "$binary" ]; then
    echo "burst.sh: SKIPPED: ./shard-cache is missing: make build" >&2
    exit 77
fi
seconds=$1
shift
trap 'exit 143' TERM INT HUP
echo "chaos: on: $*"
"$binary" bench --duration "${seconds}s" --warm-up 0s --verify off "$@"
echo "chaos: off"
