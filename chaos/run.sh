#!/usr/bin/env bash
# Plays every case of chaos/cases.sh on containers of its own, judges what clients saw, and writes one report.
#
# chaos/run.sh [--only NAME]... [--minutes N] [--seed N] [--output DIR] [--list]
#
#   --only NAME   only this case; several times: only these
#   --minutes N   go on with random cases for so long, all on one cluster of five nodes, whose memory and descriptors must
#                 not grow. Cases that need nodes of their own are left out
#   --seed N      the order of those cases; printed where it is not given
#   --output DIR  where the report goes; default chaos/out. What is in it is replaced
#   --list        name the cases
#
# Afterwards DIR/report.html is for people and DIR/report.json for programs; DIR/cases/NAME has the history, the verdict and
# the output of each case. A cluster that is running is left alone, and nothing is left behind.
#
# SHARD_CACHE_IMAGE names the image (default shard-cache:latest, which `make docker` builds).
#
# Exit codes: 0 nothing that was acknowledged was lost and every limit was kept, in every case that was not skipped;
# 1 otherwise, 2 usage, 130 interrupted.
set -euo pipefail
# shellcheck source=chaos/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=chaos/own_cluster.sh
. "$here/own_cluster.sh"
# shellcheck source=chaos/cases.sh
. "$here/cases.sh"

readonly COMMAND="chaos/run.sh${*:+ $*}"
only=() minutes='' seed='' output=$here/out
while [ $# -gt 0 ]; do
    case $1 in
    --help | -h) help ;;
    --list) printf '%s\n' "${ALL[@]}"; exit 0 ;;
    --only) only+=("$(value_of "$@")") || exit $?; shift ;;
    --minutes) minutes=$(seconds_of "$@") || exit $?; shift ;;
    --seed) seed=$(value_of "$@") || exit $?; [[ $seed =~ ^[0-9]+$ ]] || usage_error "--seed $seed: a number"; shift ;;
    --output) output=$(value_of "$@") || exit $?; shift ;;
    *) usage_error "unknown argument $1" ;;
    esac
    shift
done
for name in "${only[@]}"; do
    case " ${ALL[*]} " in *" $name "*) ;; *) usage_error "--only $name: there is no such case" ;; esac
done
[ ${#only[@]} -gt 0 ] || only=("${ALL[@]}")
docker version >/dev/null 2>&1 || fail "no Docker engine answers, and this needs one"
command -v jq >/dev/null 2>&1 || fail "jq is missing (Debian package jq)"
command -v curl >/dev/null 2>&1 || fail "curl is missing (Debian package curl)"

readonly SOAK_NODES=5
# What a round deletes is remembered for hours otherwise, and would count as growth.
readonly SOAK_SETTINGS=("SHARD_CACHE__HINTS__WINDOW: 2m" "SHARD_CACHE__TOMBSTONES__LIFE: 4m")
project=shard-cache-chaos-$$
began=$SECONDS
need_cluster
plain=("${compose[@]}")
checker='' started='' failures=0 played=()
mkdir -p "$output"
rm -rf "$output/cases" "$output/report.html" "$output/report.json" "$output/suite.json" "$output/soak.tsv"
output=$(cd "$output" && pwd)
mkdir "$output/cases"
overrides=$(mktemp -d "${TMPDIR:-/tmp}/shard-cache-chaos.XXXXXX")

say() {
    echo "chaos: $*"
}

# shellcheck disable=SC2317,SC2329 # the traps call it
finish() {
    trap - EXIT
    trap '' INT TERM HUP
    if [ -n "$checker" ] && kill -0 "$checker" 2>/dev/null; then
        # It undoes the fault that is under way, and prints what it has.
        kill -TERM "$checker"
        wait "$checker" || true
    fi
    [ -z "$started" ] || remove_cluster
    rm -rf "$overrides"
    # What was played before an interruption is worth a look.
    if [ ${#played[@]} -gt 0 ] && [ ! -e "$output/suite.json" ]; then
        write_suite
        "$here/report" "$output" || true
    fi
    exit "$1"
}

trap 'finish $?' EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# A command of ours for the shell, with the project that it is for.
of_shell() {
    local script=$1
    shift
    printf '%q ' "$here/$script" "$@" --project "$project"
}

fault() {
    local name=$1
    shift
    echo "$name: $(of_shell "$@")"
}

# A load generator as a fault.
burst() {
    local name=$1
    shift
    echo "$name: $(printf '%q ' "$here/burst.sh" "$@" -- PORTS)"
}

begin_case() {
    title='' what='' expect='' catalogue='' nodes=3 during=0.3 faults=() options=() settings=() extra=()
    "case_${1//-/_}"
    [ -z "$minutes" ] || settings+=("${SOAK_SETTINGS[@]}")
    # For a build with planted bugs; see chaos/mutants.sh.
    [ -z "${SHARD_CACHE_PLANT:-}" ] || settings+=("SHARD_CACHE_PLANT: $SHARD_CACHE_PLANT")
}

# On top of the compose files, what this case asks for.
override() {
    local number setting line
    echo 'services:'
    for number in 1 2 3 4 5; do
        echo "  shardcache-node$number:"
        echo "    stdin_open: false"
        [ ${#settings[@]} = 0 ] || echo '    environment:'
        for setting in "${settings[@]}"; do
            echo "      ${setting%%: *}: \"${setting#*: }\""
        done
        for line in "${extra[@]}"; do
            echo "    $line"
        done
    done
}

check_arguments() {
    local place command
    for place in $(seq 0 $((nodes - 1))); do
        printf '%s\n' --node "127.0.0.1:${ports[2 * place]}" --http "127.0.0.1:${ports[2 * place + 1]}"
    done
    for command in "${faults[@]}"; do
        printf '%s\n' --optional-fault "${command/-- PORTS/$(generator_ports)}"
    done
}

generator_ports() {
    local place
    for place in $(seq 0 $((nodes - 1))); do
        printf -- '--endpoint 127.0.0.1:%s ' "${ports[2 * place]}"
    done
}

# Writes case.json: what is known of a case, whatever became of it.
note_case() {
    local name=$1 status=$2 reason=$3 seconds=$4 opinion=$5 folder=$6
    jq -n --arg name "$name" --arg title "$title" --arg catalogue "$catalogue" --arg what "${what//$'\n'/ }" \
        --arg expect "${expect//$'\n'/ }" --argjson nodes "$nodes" --arg command "chaos/run.sh --only ${name%%.*}" \
        --arg status "$status" --arg reason "$reason" --argjson seconds "$seconds" --arg second_opinion "$opinion" \
        '$ARGS.named' >"$folder/case.json"
}

play() {
    local name=$1 case=$2 folder=$output/cases/$1 from=$SECONDS code=0 status reason='' opinion='' arguments=()
    begin_case "$case"
    played+=("$name")
    mkdir "$folder"
    say "$name: $title"
    override >"$overrides/case.yaml"
    compose=("${plain[@]}" --file "$overrides/case.yaml")
    export CHAOS_COMPOSE_FILES=$here/smoke.compose.yaml:$overrides/case.yaml
    if [ -z "$minutes" ]; then
        started=1
        start_cluster "$nodes" >>"$folder/log.txt" 2>&1
    else
        nodes=$SOAK_NODES
        options+=(--remove)
    fi
    mapfile -t arguments < <(check_arguments)
    "$here/check" "${arguments[@]}" --before 3s --after 2s --rate 400 --min-acked 5000 --min-during "$during" "${options[@]}" \
        --report "$folder/check.json" --history "$folder/history.jsonl" >>"$folder/log.txt" 2>&1 &
    checker=$!
    wait "$checker" || code=$?
    checker=''
    case $code in
    0) status=passed ;;
    1) status=failed reason=$(reason_of "$folder") ;;
    5)
        status=vacuous reason=$(jq -r '.verdict.vacuous | join("; ")' "$folder/check.json" 2>/dev/null || echo "no verdict")
        # A fault that could not be made is no failure of the nodes.
        if jq -e 'all(.faults[]; .state == "begun" or .state == "skipped")' "$folder/check.json" >/dev/null 2>&1; then
            status=skipped reason=$(grep -h 'SKIPPED: ' "$folder/log.txt" | sed 's/.*SKIPPED: //' | head -n 1)
        fi
        ;;
    130 | 143) status=interrupted reason='interrupted' ;;
    *) status=failed reason="chaos/check ended with exit code $code: $(tail -n 1 "$folder/log.txt")" ;;
    esac
    if [ "$status" = passed ] || [ "$status" = failed ]; then
        opinion=$(second_opinion "$folder")
        if [ "$opinion" = violated ] && [ "$status" = passed ]; then
            status=failed reason="the simulator's checker finds a violation"
        fi
    fi
    [ "$status" != failed ] || keep_logs "$folder"
    if [ -z "$minutes" ]; then
        remove_cluster
        started=''
    fi
    note_case "$name" "$status" "$reason" $((SECONDS - from)) "$opinion" "$folder"
    case $status in passed | skipped) ;; *) failures=$((failures + 1)) ;; esac
    say "$name: $status${reason:+: $reason} ($((SECONDS - from)) s)"
}

reason_of() {
    jq -r '.verdict | [(.keys_by_kind | to_entries[] | "\(.value) keys \(.key)"), .broken[],
        (.unsettled[] | "not settled after \(.)")] | join("; ")' "$1/check.json" 2>/dev/null || echo 'no verdict'
}

# By the simulator's own checker, which shares nothing with ours but the history.
second_opinion() {
    local code=0
    "${simulator[@]}" check "$1/history.jsonl" >>"$1/log.txt" 2>&1 || code=$?
    case $code in 0) echo passed ;; 1) echo violated ;; *) echo '' ;; esac
}

keep_logs() {
    local service container
    while read -r service container; do
        docker logs "$container" >"$1/$service.log" 2>&1 || true
    done < <(nodes)
}

find_simulator() {
    if [ -n "${SHARD_CACHE_SIM:-}" ]; then
        simulator=("$SHARD_CACHE_SIM")
        return
    fi
    local manifest
    manifest=$(cd "$here/.." && pwd)/sim/Cargo.toml
    "${CARGO:-cargo}" build --quiet --locked --manifest-path "$manifest" --bin shard-cache-sim
    simulator=("${CARGO:-cargo}" run --quiet --locked --manifest-path "$manifest" --bin shard-cache-sim --)
}

# Random cases on one cluster. Its nodes must not grow: what a round has written is deleted at its end.
soak() {
    local name round=0 end=$((SECONDS + ${minutes%.*} * 60)) candidates=()
    for name in "${only[@]}"; do
        case " ${NOT_FOR_SOAK[*]} " in *" $name "*) ;; *) candidates+=("$name") ;; esac
    done
    [ ${#candidates[@]} -gt 0 ] || usage_error "none of these cases can share nodes with others"
    seed=${seed:-$RANDOM}
    say "seed $seed (the same order again: --seed $seed)"
    settings=("${SOAK_SETTINGS[@]}") extra=()
    override >"$overrides/case.yaml"
    compose=("${plain[@]}" --file "$overrides/case.yaml")
    started=1
    start_cluster "$SOAK_NODES"
    # Ports are drawn from it, too.
    RANDOM=$seed
    while [ "$SECONDS" -lt "$end" ]; do
        round=$((round + 1))
        name=${candidates[RANDOM % ${#candidates[@]}]}
        play "$name.$round" "$name"
        sample "$round"
        # Whatever comes after a failure may be its consequence.
        [ "$failures" = 0 ] || break
    done
    remove_cluster
    started=''
    growth=$(flat 2>&1) || failures=$((failures + 1))
    say "$growth"
}

# Resident bytes and open files of every node, one line each.
sample() {
    local place
    for place in $(seq 0 $((SOAK_NODES - 1))); do
        curl -fsS --max-time 5 "http://127.0.0.1:${ports[2 * place + 1]}/metrics?format=json" |
            jq -r --arg round "$1" --arg node "$((place + 1))" '[$round, $node, .process_resident_memory_bytes[0].value,
                .process_open_fds[0].value] | @tsv' >>"$output/soak.tsv" || true
    done
}

# Compares the largest node of each round, the median of the first third of the rounds with that of the last.
flat() {
    jq -Rrs --argjson grown_bytes 16777216 --argjson grown_files 32 '
        def median: sort | .[length / 2 | floor];
        [split("\n")[] | select(. != "") | split("\t") | map(tonumber)] | group_by(.[0])
        | map({bytes: (map(.[2]) | max), files: (map(.[3]) | max)}) as $rounds | ($rounds | length / 3 | floor) as $third
        | if $third < 2 then "too few rounds to say whether memory is flat: \($rounds | length), and 6 are needed\n" | halt_error(0)
          else {b: [$rounds[:$third], $rounds[-$third:] | map(.bytes) | median],
                f: [$rounds[:$third], $rounds[-$third:] | map(.files) | median]}
          | "resident: \(.b[0] / 1048576 | floor) MiB at first, \(.b[1] / 1048576 | floor) MiB in the end; open files: \(.f[0]), \(.f[1])",
            if .b[1] > .b[0] * 1.25 + $grown_bytes or .f[1] > .f[0] + $grown_files then "that has grown\n" | halt_error(1)
            else empty end end' "$output/soak.tsv"
}

write_suite() {
    jq -n --arg began "$began_at" --argjson seconds $((SECONDS - began)) --arg command "$COMMAND" --arg product "$product" \
        --arg engine "Docker $(docker version --format '{{.Server.Version}}')" --arg kernel "$(uname -sr)" \
        --argjson cores "$(nproc)" --argjson seed "${seed:-null}" --arg growth "$growth" \
        '$ARGS.named + {cases: $ARGS.positional}' --args "${played[@]}" >"$output/suite.json"
}

began_at=$(date -u +%Y-%m-%dT%H:%M:%SZ)
product=$(docker run --rm --env SHARD_CACHE_PLANT "${SHARD_CACHE_IMAGE:-shard-cache:latest}" --version)
simulator=() growth=''
# Built now, so that no container waits for it.
"$here/check" --help >/dev/null
find_simulator
if [ -z "$minutes" ]; then
    for name in "${only[@]}"; do
        play "$name" "$name"
    done
else
    soak
fi
write_suite
say "report: $output/report.html"
code=0
"$here/report" "$output" || code=$?
[ "$failures" = 0 ] && [ "$code" = 0 ] || exit 1
