#!/usr/bin/env bash
# Cut a node off from the other nodes.
#
# chaos/partition.sh NODE [--direction both|in|out] [--from NODE]... [--protocol udp|tcp] [--for SECONDS]
#                    [--by nft|disconnect] [--project NAME]
#
#   NODE             shardcache-node2, node2 or 2
#   --direction DIR  both (default); in: it no longer hears the others; out: they no longer hear it
#   --from NODE      only from this node (several times: from each); default from all others
#   --protocol NAME  only udp (gossip) or only tcp (everything else)
#   --for SECONDS    heal after so long; also when interrupted. Without it the cut stays until chaos/heal.sh
#   --by nft         drop packets within the container's network namespace, from the host: needs root, nft, nsenter and
#                    an engine on this machine. Clients still reach the node through its published ports
#   --by disconnect  docker network disconnect: needs no privilege, but cuts both directions, from all nodes *and* from
#                    clients, because published ports go, too
#   --project NAME   compose project; default COMPOSE_PROJECT_NAME or the folder's name
#
# Without --by: nft where that works; otherwise disconnect, and says so. Where only nft will do (one direction, --from,
# --protocol) and does not work, SKIPPED with exit code 77.
#
# Addresses are those of the moment: a node that gets another address during the cut is no longer cut off.
#
# Exit codes: 0 done, 1 failed, 2 usage, 77 SKIPPED for want of a tool or a privilege.
set -euo pipefail
# shellcheck source=chaos/lib.sh
. "$(dirname "$0")/lib.sh"

node='' direction=both from=() protocol='' seconds='' by='' project=$(default_project)
while [ $# -gt 0 ]; do
    case $1 in
    --help | -h) help ;;
    --direction) direction=$(value_of "$@") || exit $?; shift ;;
    --from) from+=("$(value_of "$@")") || exit $?; shift ;;
    --protocol) protocol=$(value_of "$@") || exit $?; shift ;;
    --for) seconds=$(seconds_of "$@") || exit $?; shift ;;
    --by) by=$(value_of "$@") || exit $?; shift ;;
    --project) project=$(value_of "$@") || exit $?; shift ;;
    -*) usage_error "unknown option $1" ;;
    *) [ -z "$node" ] || usage_error "one NODE"; node=$1 ;;
    esac
    shift
done
[ -n "$node" ] || usage_error "which NODE?"
case $direction in both | in | out) ;; *) usage_error "--direction $direction: both, in or out" ;; esac
case $protocol in '' | udp | tcp) ;; *) usage_error "--protocol $protocol: udp or tcp" ;; esac
case $by in '' | nft | disconnect) ;; *) usage_error "--by $by: nft or disconnect" ;; esac
only_nft=''
[ "$direction" = both ] || only_nft="--direction $direction"
[ ${#from[@]} = 0 ] || only_nft="--from"
[ -z "$protocol" ] || only_nft="--protocol $protocol"
if [ "$by" = disconnect ] && [ -n "$only_nft" ]; then
    usage_error "docker network disconnect cuts both directions, from all nodes: $only_nft needs --by nft"
fi
need_docker
found=$(find_node "$node") || exit $?
read -r service container <<<"$found"
state=$(state_of "$container")
case $state in running | paused) ;; *) fail "$service is $state: there is nothing to cut" ;; esac
is_connected "$container" || fail "$service is cut off already; chaos/heal.sh undoes it"

if [ -z "$by" ]; then
    by=nft
    if ! can_nft "$container"; then
        by=disconnect
        [ -z "$only_nft" ] || skip "$only_nft needs nft and nsenter, root, and an engine on this machine"
        echo "no nft here: disconnecting, which cuts off clients, too"
    fi
elif [ "$by" = nft ]; then
    can_nft "$container" || skip "--by nft needs nft and nsenter, root, and an engine on this machine"
fi

# The containers to cut it off from.
others=()
if [ ${#from[@]} = 0 ]; then
    mapfile -t others < <(others_of "$container")
else
    for other in "${from[@]}"; do
        found=$(find_node "$other") || exit $?
        others+=("${found#* }")
    done
fi

rules() {
    local family=$1 field=$2 other address only=''
    # Both directions of a connection: whoever opened it.
    [ -z "$protocol" ] || only=" meta l4proto $protocol"
    for other in "${others[@]}"; do
        for address in $(addresses "$field" "$other"); do
            [ "$direction" = out ] || echo "add rule inet $TABLE in $family saddr $address$only drop"
            [ "$direction" = in ] || echo "add rule inet $TABLE out $family daddr $address$only drop"
        done
    done
}

cut_by_nft() {
    local all
    all=$(rules ip IPAddress && rules ip6 GlobalIPv6Address)
    [ -n "$all" ] || fail "no other node has an address"
    add_rules "$container" "$all"
}

undo() {
    case $by in
    nft) ! has_table "$container" || nft_in "$container" delete table inet "$TABLE" ;;
    disconnect) is_connected "$container" || reconnect ;;
    esac
}

# A node goes on advertising the address that it had at its start.
reconnect() {
    local now
    connect_home "$service" "$container"
    now=$(addresses IPAddress "$container")
    [ "$now" = "$was" ] ||
        fail "$service got the address $now instead of $was, and the others will not find it: restart it"
}

was=$(addresses IPAddress "$container")
what="$service cut off ($direction${protocol:+, only $protocol}, by $by)"
if [ "$by" = nft ] && has_table "$container"; then
    fail "$service is cut off already; chaos/heal.sh undoes it"
fi
arm
case $by in
nft) whole cut_by_nft ;;
disconnect) whole docker network disconnect "$(home_network "$container")" "$container" ;;
esac
hold "$seconds"
