#!/usr/bin/env bash
# Make a node's network bad: lossy, slow, late, out of order, or with small packets only.
#
# chaos/slow.sh NODE FAULT... [--for SECONDS] [--project NAME]
#
#   NODE              shardcache-node2, node2 or 2
#   --loss PERCENT    drop so many of a hundred packets between it and the other nodes, at random, in both directions
#   --rate RATE       it sends no faster than this in all, as tc understands it: 1mbit
#   --mtu BYTES       its packets are no larger than this
#   --delay MS        what it sends arrives later; needs netem
#   --jitter MS       ... by so much more or less; needs --delay
#   --reorder PERCENT so many of its packets overtake others; needs --delay
#   --duplicate PERCENT  so many of its packets arrive twice; needs netem
#   --corrupt PERCENT    a bit is flipped in so many of its packets; needs netem
#   --for SECONDS     undo it after so long; also when interrupted. Without it, it stays until chaos/heal.sh
#   --project NAME    compose project; default COMPOSE_PROJECT_NAME or the folder's name
#
# Works within the container's network namespace, from the host: needs root, nft (--loss) or tc, nsenter and an engine on
# this machine. Kernels without netem cannot delay, reorder, duplicate or corrupt.
#
# Exit codes: 0 done, 1 failed, 2 usage, 77 SKIPPED for want of a tool, a privilege or netem.
set -euo pipefail
# shellcheck source=chaos/lib.sh
. "$(dirname "$0")/lib.sh"

percent_of() {
    local value
    value=$(value_of "$@") || exit $?
    [[ $value =~ ^([1-9][0-9]?|100)$ ]] || usage_error "$1 $value: 1 to 100"
    echo "$value"
}

number_of() {
    local value
    value=$(value_of "$@") || exit $?
    [[ $value =~ ^[0-9]+$ ]] || usage_error "$1 $value: a number"
    echo "$value"
}

node='' loss='' rate='' mtu='' delay='' jitter='' netem='' seconds='' words=() project=$(default_project)
while [ $# -gt 0 ]; do
    case $1 in
    --help | -h) help ;;
    --loss) loss=$(percent_of "$@") || exit $?; words+=("$loss % lost"); shift ;;
    --rate) rate=$(value_of "$@") || exit $?; words+=("sends $rate"); shift ;;
    --mtu) mtu=$(number_of "$@") || exit $?; words+=("packets of $mtu bytes"); shift ;;
    --delay) delay=$(number_of "$@") || exit $?; words+=("sends $delay ms late"); shift ;;
    --jitter) jitter=$(number_of "$@") || exit $?; words+=("give or take $jitter ms"); shift ;;
    --reorder | --duplicate | --corrupt)
        percent=$(percent_of "$@") || exit $?
        netem+=" ${1#--} $percent%"
        words+=("${1#--} $percent %")
        shift
        ;;
    --for) seconds=$(seconds_of "$@") || exit $?; shift ;;
    --project) project=$(value_of "$@") || exit $?; shift ;;
    -*) usage_error "unknown option $1" ;;
    *) [ -z "$node" ] || usage_error "one NODE"; node=$1 ;;
    esac
    shift
done
[ -n "$node" ] || usage_error "which NODE?"
[ ${#words[@]} -gt 0 ] || usage_error "what is to be bad?"
if [ -z "$delay" ]; then
    [ -z "$jitter" ] || usage_error "--jitter needs --delay"
    [[ $netem != *reorder* ]] || usage_error "--reorder needs --delay"
else
    netem=" delay ${delay}ms${jitter:+ ${jitter}ms}$netem"
fi
[ -z "$rate" ] || [ -z "$netem" ] || usage_error "--rate cannot be combined with what needs netem"
need_docker
found=$(find_node "$node") || exit $?
read -r service container <<<"$found"
need_state "$service" "$container" running
need_network "$container"
[ -z "$loss" ] || can_nft "$container" || skip "--loss needs nft and root"
[ -z "$rate$netem" ] || command -v tc >/dev/null 2>&1 || skip "tc is missing (Debian package iproute2)"
device=$(device_in "$container")
[ -n "$device" ] || fail "$service has no network"

lose() {
    local other address rules=''
    for other in $(others_of "$container"); do
        for address in $(addresses IPAddress "$other"); do
            rules+="add rule inet $TABLE in ip saddr $address numgen random mod 100 < $loss drop"$'\n'
            rules+="add rule inet $TABLE out ip daddr $address numgen random mod 100 < $loss drop"$'\n'
        done
    done
    [ -n "$rules" ] || fail "no other node has an address"
    add_rules "$container" "$rules"
}

# The last word of tc where the kernel has no such discipline.
shape() {
    local told
    if told=$(in_network "$container" tc qdisc add dev "$device" root "$@" 2>&1); then
        return
    fi
    case $told in
    *unknown*) return "$SKIPPED" ;;
    *) fail "tc: $told" ;;
    esac
}

worsen() {
    [ -z "$loss" ] || lose
    [ -z "$mtu" ] || in_network "$container" ip link set "$device" mtu "$mtu"
    [ -z "$rate" ] || shape tbf rate "$rate" burst 32kbit latency 400ms
    # shellcheck disable=SC2086 # words of tc
    [ -z "$netem" ] || shape netem $netem
}

# shellcheck disable=SC2317,SC2329 # finish calls it
undo() {
    undo_network "$container"
}

what="$service: $(printf '%s, ' "${words[@]}" | sed 's/, $//')"
if has_table "$container"; then
    fail "$service has rules already; chaos/heal.sh undoes them"
fi
if [ -n "$netem" ] && ! kernel_has_netem; then
    skip "this kernel has no netem"
fi
arm
whole worsen
hold "$seconds"
