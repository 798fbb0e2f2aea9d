#!/usr/bin/env bash
# Check that each fault script makes its fault, undoes it after --for, when interrupted and when its reader goes away, that
# heal.sh undoes what stayed, and that errors and missing tools are said as documented.
#
# chaos/tests/scripts.sh
#
# On three containers of its own; SHARD_CACHE_IMAGE names the image. Takes about a minute. Ends in one line, "N passed,
# M failed"; exit code 0 when nothing failed.
set -euo pipefail
# Jobs do not start with SIGINT ignored.
set -m
[ $# = 0 ] || { sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit 0; }
# shellcheck source=chaos/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=chaos/own_cluster.sh
. "$here/own_cluster.sh"

project=shard-cache-chaos-scripts-$$
export COMPOSE_PROJECT_NAME=$project
passed=0 failed=0
need_cluster
bare=$(mktemp -d)

# shellcheck disable=SC2317,SC2329 # the traps call it
end() {
    trap - EXIT
    trap '' INT TERM HUP
    remove_cluster
    rm -rf "$bare"
    exit "$1"
}
trap 'end $?' EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# What can be told of node 2: whether it runs, is connected, has rules, a bad network, or limits.
condition() {
    local container connected='' rules=''
    container=$(find_node 2)
    container=${container#* }
    ! is_connected "$container" || connected=' connected'
    if can_nft "$container" && has_table "$container"; then
        rules=' rules'
    elif in_network "$container" true 2>/dev/null && has_bad_network "$container"; then
        rules=' bad'
    fi
    ! is_starved "$container" || rules+=' starved'
    echo "$(state_of "$container")$connected$rules"
}

expect() {
    local what=$1 wanted=$2 found=$3
    if [ "$found" = "$wanted" ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAILED: $what: $found instead of $wanted"
    fi
}

# Runs a script until it says that its fault works, checks the fault, ends the script, and checks that all is undone.
undone_after() {
    local how=$1 faulty=$2 line='' code=0 reader script
    shift 2
    mkfifo "$bare/output"
    "$@" >"$bare/output" &
    script=$!
    exec {reader}<"$bare/output"
    while [[ $line != "chaos: on"* ]] && read -r line <&"$reader"; do :; done
    expect "$*: the fault" "$faulty" "$(condition)"
    # Nobody reads what the script says when it undoes its fault.
    exec {reader}<&-
    rm "$bare/output"
    [ "$how" = end ] || kill -s "$how" "$script"
    wait "$script" || code=$?
    expect "$*: undone after $how" "running connected" "$(condition)"
    case $how in
    end) expect "$*: exit code" 0 "$code" ;;
    INT) expect "$*: exit code after $how" 130 "$code" ;;
    TERM) expect "$*: exit code after $how" 143 "$code" ;;
    HUP) expect "$*: exit code after $how" 129 "$code" ;;
    esac
}

# Interrupted while the node drains: the start has to wait for its end, or it would do nothing.
interrupted_while_draining() {
    local container before script code=0
    container=$(find_node 2)
    container=${container#* }
    before=$(inspect '{{.State.StartedAt}}' "$container")
    "$here/kill.sh" 2 --signal TERM --for 60 >/dev/null 2>&1 &
    script=$!
    until docker logs --since "$before" "$container" 2>&1 | grep -q '"draining"'; do sleep 0.1; done
    # All processes of the script, as a terminal does.
    kill -s INT -- "-$script"
    wait "$script" || code=$?
    expect "kill.sh --signal TERM, interrupted: exit code" 130 "$code"
    expect "kill.sh --signal TERM, interrupted: undone" "running connected" "$(condition)"
    [ "$(inspect '{{.State.StartedAt}}' "$container")" = "$before" ] || before=started
    expect "kill.sh --signal TERM, interrupted: started again" started "$before"
}

stays_until_healed() {
    local faulty=$1
    shift
    "$@" >/dev/null
    expect "$*: stays" "$faulty" "$(condition)"
    "$here/heal.sh" >/dev/null
    expect "$*: healed" "running connected" "$(condition)"
}

exits_with() {
    local wanted=$1 code=0
    shift
    "$@" >/dev/null 2>&1 || code=$?
    expect "$*" "exit code $wanted" "exit code $code"
}

start_cluster 3
disconnect=("$here/partition.sh" 2 --by disconnect)
cut=("$here/partition.sh" 2 --by nft)
undone_after end "exited connected" "$here/kill.sh" 2 --for 1
undone_after TERM "exited connected" "$here/kill.sh" node2 --for 60
undone_after INT "paused connected" "$here/pause.sh" shardcache-node2 --for 60
undone_after end "paused connected" "$here/pause.sh" 2 --for 1
undone_after HUP "running" "${disconnect[@]}" --for 60
interrupted_while_draining
stays_until_healed "exited connected" "$here/kill.sh" 2
stays_until_healed "paused connected" "$here/pause.sh" 2
stays_until_healed "running" "${disconnect[@]}"
container=$(find_node 2)
if can_nft "${container#* }"; then
    undone_after TERM "running connected rules" "${cut[@]}" --for 60
    undone_after INT "running connected rules" "${cut[@]}" --for 60 --direction in
    undone_after end "running connected rules" "${cut[@]}" --for 1 --from 3 --direction out
    stays_until_healed "running connected rules" "${cut[@]}"
    undone_after end "running connected rules" "${cut[@]}" --for 1 --protocol udp
    undone_after TERM "running connected rules" "$here/slow.sh" 2 --loss 30 --for 60
    undone_after INT "running connected bad" "$here/slow.sh" 2 --rate 1mbit --for 60
    stays_until_healed "running connected bad" "$here/slow.sh" 2 --mtu 1280
    kernel_has_netem || exits_with 77 "$here/slow.sh" 2 --delay 50
    undone_after TERM "running connected" "$here/storm.sh" 2 --kind churn --for 60
else
    echo "cuts by nft: SKIPPED, a tool or a privilege is missing"
fi
undone_after TERM "running connected starved" "$here/starve.sh" 2 --cpus 0.5 --for 60
undone_after end "running connected starved" "$here/starve.sh" 2 --memory 128m --for 1
stays_until_healed "running connected starved" "$here/starve.sh" 2 --cpus 0.5 --memory 128m
undone_after end "running connected" "$here/flap.sh" 2 --down 0 --up 1 --for 1
undone_after end "running connected" "$here/restart.sh" 2
undone_after TERM "running connected" "$here/stranger.sh" --for 60
expect "stranger.sh: removed" '' "$(docker ps -aq --filter "name=^$project-stranger$")"
expect "heal.sh where all is well" "$(printf 'shardcache-node%s: nothing to undo\n' 1 2 3)" "$("$here/heal.sh")"

for line in kill pause partition heal restart storm move 'slow --loss 30' 'flap --for 1' 'starve --cpus 1'; do
    read -ra words <<<"$line"
    script=$here/${words[0]}.sh
    exits_with 0 "$script" --help
    exits_with 1 "$script" 9 "${words[@]:1}"
    exits_with 1 "$script" 2 "${words[@]:1}" --project "$project-absent"
    exits_with 2 "$script" 2 --no-such-option
done
exits_with 0 "$here/scale.sh" --help
exits_with 2 "$here/scale.sh" 4
exits_with 2 "$here/slow.sh" 2
exits_with 2 "$here/slow.sh" 2 --loss 101
exits_with 2 "$here/slow.sh" 2 --reorder 5
exits_with 2 "$here/kill.sh"
exits_with 2 "$here/kill.sh" 2 --signal HUP
exits_with 2 "$here/pause.sh" 2 --for soon
exits_with 2 "${disconnect[@]}" --direction in
# A search path without nft.
for tool in bash docker basename dirname tr sed awk grep sort xargs; do
    ln -s "$(command -v "$tool")" "$bare/$tool"
done
exits_with 77 env PATH="$bare" "$here/partition.sh" 2 --direction in
exits_with 77 env PATH="$bare" "${cut[@]}"
exits_with 77 env DOCKER_HOST=unix:///nowhere "$here/pause.sh" 2
expect "refusals change nothing" "running connected" "$(condition)"

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
