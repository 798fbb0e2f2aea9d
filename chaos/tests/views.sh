#!/usr/bin/env bash
# Cuts two of five nodes off in one direction, gossip only, and looks whether one call to any node names both views, within
# a second, and whether the views agree again within ten seconds of the end of the cut.
#
# chaos/tests/views.sh
#
# SHARD_CACHE_IMAGE names the image (default shard-cache:latest, which `make docker` builds); ./shard-cache asks
# (SHARD_CACHE_BINARY names another).
#
# Exit codes: 0 so it is, 1 it is not, 77 SKIPPED for want of a tool or a privilege.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=chaos/lib.sh
. chaos/lib.sh
# shellcheck source=chaos/own_cluster.sh
. chaos/own_cluster.sh

readonly CUT_SECONDS=25 CALL_MILLIS_MAX=1000 HEALED_SECONDS_MAX=10
binary=${SHARD_CACHE_BINARY:-./shard-cache}
project=shard-cache-views-$$
cutters=()

# shellcheck disable=SC2317,SC2329 # the trap calls it
finish() {
    trap - EXIT
    trap '' INT TERM HUP
    [ ${#cutters[@]} = 0 ] || kill "${cutters[@]}" 2>/dev/null || true
    wait
    remove_cluster
    exit "$1"
}

# Asks the node at this place of the ports. Sets took, in milliseconds, and views: who has each, one to a line.
ask() {
    local began ended
    began=$(date +%s%3N)
    "$binary" cluster status -o json --endpoint "127.0.0.1:${ports[$1]}" >"$scratch"
    ended=$(date +%s%3N)
    took=$((ended - began))
    views=$(jq -r '.views[].seen_by | join(",")' "$scratch")
}

need_cluster
scratch=$(mktemp "${TMPDIR:-/tmp}/shard-cache-views.XXXXXX")
trap 'rm -f "$scratch"; finish $?' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
start_cluster 5 >&2
"$binary" cluster health --wait 60s --endpoint "127.0.0.1:${ports[0]}"

code=0
for node in 4 5; do
    chaos/partition.sh "$node" --direction in --from 1 --from 2 --from 3 --protocol udp --for "$CUT_SECONDS" \
        --project "$project" >&2 &
    cutters+=($!)
done
end=$((SECONDS + CUT_SECONDS - 2)) calls=0 both=0 slowest=0
while [ "$SECONDS" -lt "$end" ]; do
    # Whoever is asked, on either side.
    ask $((calls % 5 * 2))
    calls=$((calls + 1))
    [ "$took" -le "$slowest" ] || slowest=$took
    if [ "$(wc -l <<<"$views")" -ge 2 ] && grep -qE 'node[45]' <<<"$views" && grep -qE 'node[123]' <<<"$views"; then
        both=$((both + 1))
        [ "$both" != 1 ] || jq -r '.views[] | "\(.seen_by | join(", ")) see \(.alive | join(", "))"' "$scratch"
    fi
    sleep 0.2
done
for cutter in "${cutters[@]}"; do
    wait "$cutter" || code=$?
done
cutters=()
[ "$code" != "$SKIPPED" ] || skip "gossip cannot be cut here"
[ "$code" = 0 ] || fail "the cut failed"
healed=$SECONDS
until ask 0 && [ "$(jq .views_agree "$scratch")" = true ] && [ "$(jq '.views[0].alive | length' "$scratch")" = 5 ]; do
    [ $((SECONDS - healed)) -le 60 ] || fail "the views do not agree 60 s after the cut"
    sleep 0.2
done
agreed=$((SECONDS - healed))
echo "$calls calls during the cut: $both named both views, the slowest took $slowest ms; views agreed $agreed s after it"
[ "$both" -gt 0 ] || fail "no call named both views"
[ "$slowest" -lt "$CALL_MILLIS_MAX" ] || fail "a call took $slowest ms, $CALL_MILLIS_MAX are allowed"
[ "$agreed" -le "$HEALED_SECONDS_MAX" ] || fail "views agreed after $agreed s, $HEALED_SECONDS_MAX are allowed"
