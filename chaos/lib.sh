# shellcheck shell=bash
# What the fault scripts have in common. Sourced, not run: nodes by name, undoing at the end, words and exit codes.
#
# Exit codes: 0 done, 1 failed, 2 usage, 77 SKIPPED for want of a tool or a privilege.

readonly SKIPPED=77
readonly TABLE=shardcache_chaos
# What Docker gives a network that was not told otherwise.
readonly MTU=1500
# Longer than a node may take to drain; then it is ended for good.
# shellcheck disable=SC2034 # for whoever sources this
readonly DRAIN_SECONDS=65

# The compose project and the fault in words, set by the script that sources this; what keeps a fault for a while.
project=''
what=''
sleeper=''
compose=()

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

fail() {
    echo "$(basename "$0"): $*" >&2
    exit 1
}

usage_error() {
    echo "$(basename "$0"): $*; see --help" >&2
    exit 2
}

skip() {
    echo "$(basename "$0"): SKIPPED: $*" >&2
    exit "$SKIPPED"
}

# The comment block at the head of a script is its help.
help() {
    sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"
    exit 0
}

# The value of an option that needs one.
value_of() {
    [ -n "${2:-}" ] || usage_error "$1 needs a value"
    echo "$2"
}

seconds_of() {
    local value
    value=$(value_of "$@") || exit $?
    [[ $value =~ ^[0-9]+(\.[0-9]+)?$ ]] || usage_error "$1 $value: a number of seconds"
    echo "$value"
}

# The project's name as compose derives it from the folder of docker-compose.yml.
default_project() {
    local folder
    folder=$(basename "$(dirname "$here")" | tr '[:upper:]' '[:lower:]' | tr -cd 'a-z0-9_-')
    echo "${COMPOSE_PROJECT_NAME:-$folder}"
}

need_docker() {
    command -v docker >/dev/null 2>&1 || skip "docker is not installed"
    docker version --format '{{.Server.Version}}' >/dev/null 2>&1 || skip "no Docker engine answers"
}

# Sets `compose` to the words that begin a command of compose.
find_compose() {
    if docker compose version >/dev/null 2>&1; then
        compose=(docker compose)
    elif command -v docker-compose >/dev/null 2>&1; then
        # shellcheck disable=SC2034 # for whoever calls this
        compose=(docker-compose)
    else
        return 1
    fi
}

# Lines "SERVICE CONTAINER" of the project's nodes, by service.
nodes() {
    docker ps -a --no-trunc \
        --filter "label=com.docker.compose.project=$project" \
        --filter "label=com.docker.compose.oneoff=False" \
        --format '{{.Label "com.docker.compose.service"}} {{.ID}}' | grep '^shardcache-node' | sort || true
}

# Line "SERVICE CONTAINER" of a node given as shardcache-node2, node2 or 2.
find_node() {
    local wanted=$1 all found
    all=$(nodes)
    if [ -z "$all" ]; then
        fail "project $project has no nodes; projects here: $(projects). Start one, or give --project"
    fi
    case $wanted in
    shardcache-*) ;;
    node*) wanted=shardcache-$wanted ;;
    *) wanted=shardcache-node$wanted ;;
    esac
    found=$(awk -v wanted="$wanted" '$1 == wanted' <<<"$all")
    case $(grep -c . <<<"$found") in
    0) fail "project $project has no node $1; it has $(awk '{ print $1 }' <<<"$all" | xargs)" ;;
    1) echo "$found" ;;
    *) fail "project $project has several containers of $wanted" ;;
    esac
}

projects() {
    local all
    all=$(docker ps -a --filter label=com.docker.compose.project \
        --format '{{.Label "com.docker.compose.project"}}' | sort -u | xargs)
    echo "${all:-none}"
}

inspect() {
    docker inspect -f "$1" "$2"
}

state_of() {
    inspect '{{.State.Status}}' "$1"
}

need_state() {
    local service=$1 container=$2 wanted=$3 state
    state=$(state_of "$container")
    [ "$state" = "$wanted" ] || fail "$service is $state, not $wanted; chaos/heal.sh undoes faults"
}

# The network that compose gave the container, also while it is disconnected from it.
home_network() {
    inspect '{{.HostConfig.NetworkMode}}' "$1"
}

is_connected() {
    # shellcheck disable=SC2016 # the variables are Docker's
    inspect '{{range $name, $_ := .NetworkSettings.Networks}}{{println $name}}{{end}}' "$1" |
        grep -qxF "$(home_network "$1")"
}

# Other containers find the node by its service's name, which is an alias that a plain connect does not restore.
connect_home() {
    docker network connect --alias "$1" "$(home_network "$2")" "$2"
}

# nft within the container's network namespace. By the namespace's file and not by the process id, which would be that
# of a stranger where the engine runs on another machine.
nft_in() {
    local container=$1
    shift
    in_network "$container" nft "$@"
}

# A command within the container's network namespace.
in_network() {
    local container=$1 namespace
    shift
    namespace=$(inspect '{{.NetworkSettings.SandboxKey}}' "$container")
    [ -n "$namespace" ] && [ -e "$namespace" ] || return 1
    nsenter --net="$namespace" "$@"
}

# Drops packets of a container by rules for the chains `in` and `out`: all of them, or none.
add_rules() {
    nft_in "$1" -f - <<RULES
add table inet $TABLE
add chain inet $TABLE in { type filter hook input priority -10; policy accept; }
add chain inet $TABLE out { type filter hook output priority -10; policy accept; }
$2
RULES
}

# The containers of all nodes but this one.
others_of() {
    nodes | awk -v own="$1" '$2 != own { print $2 }'
}

need_network() {
    if ! command -v nsenter >/dev/null 2>&1 || ! in_network "$1" true 2>/dev/null; then
        skip "this needs nsenter, root, and an engine on this machine"
    fi
}

addresses() {
    inspect "{{range .NetworkSettings.Networks}}{{println .$1}}{{end}}" "$2" | grep . || true
}

# Tried in a namespace of its own, so that nothing is touched.
kernel_has_netem() {
    unshare --net sh -c 'ip link set lo up && tc qdisc add dev lo root netem delay 1ms' >/dev/null 2>&1
}

# The network device of a container: eth0, or another one once it has been disconnected. None while it is.
device_in() {
    in_network "$1" ip -o link show 2>/dev/null | awk -F': ' '$2 !~ /^lo/ { sub(/@.*/, "", $2); print $2; exit }'
}

# Whether its network is not as it was made.
has_bad_network() {
    local device
    has_table "$1" && return
    device=$(device_in "$1")
    [ -n "$device" ] || return
    in_network "$1" tc qdisc show dev "$device" 2>/dev/null | grep -qE 'tbf|netem' && return
    ! in_network "$1" ip -o link show "$device" | grep -qw "mtu $MTU"
}

# Everything that slow.sh and partition.sh do to a network. Harmless where they did nothing; a container that is not
# running has none.
undo_network() {
    [ "$(state_of "$1")" = running ] || [ "$(state_of "$1")" = paused ] || return 0
    ! has_table "$1" || nft_in "$1" delete table inet "$TABLE"
    local device
    device=$(device_in "$1")
    [ -n "$device" ] || return 0
    in_network "$1" tc qdisc del dev "$device" root >/dev/null 2>&1 || true
    in_network "$1" ip link set "$device" mtu "$MTU"
}

is_starved() {
    local limits
    limits=$(inspect '{{.HostConfig.NanoCpus}} {{.HostConfig.Memory}}' "$1")
    [ "$limits" != "0 0" ] && [ "$limits" != "$(nproc)000000000 1099511627776" ]
}

# As many CPUs as there are, and more memory than there is: a limit cannot be taken back, because 0 changes nothing.
unstarve() {
    docker update --cpus "$(nproc)" --memory 1t --memory-swap 1t "$1" >/dev/null
}

can_nft() {
    command -v nft >/dev/null 2>&1 && command -v nsenter >/dev/null 2>&1 &&
        nft_in "$1" list tables >/dev/null 2>&1
}

has_table() {
    nft_in "$1" list table inet "$TABLE" >/dev/null 2>&1
}

# A command that signals do not reach, so that it is known to be over when its fault is undone.
whole() {
    (
        trap '' INT TERM HUP
        "$@"
    )
}

# From here on `undo` runs when the script ends, for whatever reason. It must be harmless before and after the fault.
arm() {
    trap 'finish $?' EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 141' PIPE
    trap 'exit 143' TERM
}

finish() {
    trap - EXIT
    # Whoever reads the output may be gone, and the fault is to be undone all the same.
    trap '' INT TERM HUP PIPE
    echo "chaos: off: $what" 2>/dev/null || true
    [ -z "$sleeper" ] || kill "$sleeper" 2>/dev/null || true
    undo || fail "could not undo: $what; try chaos/heal.sh --project $project"
    exit "$1"
}

# The fault works: keeps it for the time that was asked for, or leaves it.
hold() {
    echo "chaos: on: $what"
    if [ -n "$1" ]; then
        # In the background, because a trap waits for what runs in the foreground.
        sleep "$1" &
        sleeper=$!
        wait "$sleeper"
        sleeper=''
        exit 0
    fi
    trap - EXIT HUP INT PIPE TERM
    echo "it stays until: chaos/heal.sh --project $project"
}
