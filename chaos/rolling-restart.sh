#!/usr/bin/env bash
# Restart every node in order, one at a time, each when it is safe to stop it. See chaos/restart.sh for options and exit
# codes.
#
# chaos/rolling-restart.sh [--down SECONDS] [--settle SECONDS] [--project NAME]
set -euo pipefail
case ${1:-} in
--help | -h) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit 0 ;;
esac
exec "$(dirname "$0")/restart.sh" --all "$@"
