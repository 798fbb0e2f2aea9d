# shellcheck shell=bash
# shellcheck disable=SC2034 # all of it is for chaos/run.sh
# The cases of chaos/run.sh. Sourced. Each is a function case_NAME that sets
#
#   title, what, expect  for the report
#   catalogue            its number in the list of faults in chaos/README.md
#   nodes                how many there are; 3 unless set
#   faults               commands, each by `fault NAME SCRIPT ARGUMENTS`
#   during               share of the acknowledged writes that must fall inside faults; 0.3 unless set
#   options              more for chaos/check
#   settings             lines "NAME: value" of the nodes' environment
#   extra                lines of compose for each node
#
# ALL names them in their order.

ALL=(kill kill-at-once flap kills kill-all pause-short pause-long pause-all disconnect split even-split deaf mute one-link udp-only
    tcp-only loss rate mtu delay reorder duplicate corrupt starve memory descriptors restart rolling-restart scale seed-gone
    move stranger junk churn idle overload hot-key hints-overflow collector-gone)

# They start or stop nodes in a way that others cannot follow, have nodes of their own, or take too long; and a container
# that was moved to another address gets yet another one when it is back on its network, which a running node cannot follow.
readonly NOT_FOR_SOAK=(disconnect kills kill-all scale memory descriptors hints-overflow collector-gone)

# How soon after the end of a fault all has to be as before.
readonly SHORTLY=(--members-within 6s --ring-within 10s)

case_kill() {
    title="A node is killed"
    catalogue=1
    what="One of three nodes gets SIGKILL. Its memory is lost. 15 seconds later it is started again, empty."
    expect="All others know within 7 seconds. At the nodes that are left, 99.9 % of all requests succeed at the first try, from
before the kill until the node is back. It has all its data again before the next thing happens."
    faults=("$(fault 'kill node2' kill.sh 2 --for 15)")
    options=(--known-within 7s --first-try-min 0.999 "${SHORTLY[@]}")
}

case_kill_at_once() {
    title="A node is killed and started at once, again and again"
    catalogue=2
    what="One of three nodes gets SIGKILL and is started again within a second, empty, for 20 seconds, every 4 seconds."
    expect="Nobody takes the empty node for the full one that it was."
    faults=("$(fault 'node2 killed and started' flap.sh 2 --down 0 --up 4 --for 20)")
    options=("${SHORTLY[@]}")
}

case_flap() {
    title="A node comes and goes"
    catalogue=29
    what="One of three nodes is killed, started 5 seconds later, and killed again 5 seconds after that, for 40 seconds."
    expect="The others go on; the node is full again soon after it stays."
    faults=("$(fault 'node3 comes and goes' flap.sh 3 --for 40)")
    options=("${SHORTLY[@]}")
}

case_kills() {
    title="Twenty kills"
    catalogue=31
    what="Each of five nodes is killed four times and started again 8 seconds later; the next one when everything is where it
belongs."
    expect="Each kill is known to all others within 7 seconds."
    nodes=5
    local round node
    for round in 1 2 3 4; do
        for node in 1 2 3 4 5; do
            faults+=("$(fault "kill $round of node$node" kill.sh "$node" --for 8)")
        done
    done
    options=(--known-within 7s "${SHORTLY[@]}")
}

case_kill_all() {
    title="All nodes are killed at once"
    catalogue=32
    what="All three nodes get SIGKILL and are started again 3 seconds later, five times. Everything was in memory, and so
everything is gone."
    expect="They form a cluster again within 10 seconds, empty. Nothing that was written before a kill is ever read again, and
nothing that is acknowledged afterwards is lost."
    local round
    for round in 1 2 3 4 5; do
        faults+=("$(fault "kill $round of all" kill.sh 1 --for 3) & $(of_shell kill.sh 2 --for 3) & $(of_shell kill.sh 3 --for 3); wait")
        options+=(--wipes "kill $round of all")
    done
    # Nothing is acknowledged while there is nobody.
    during=0
    options+=(--members-within 10s --ring-within 10s)
}

case_pause_short() {
    title="A node stands still for a moment"
    catalogue=4
    what="Each of three nodes is frozen for 2.8 seconds, seven times in all: its sockets stay open, and nothing answers."
    expect="Nobody takes it for dead; its place stays."
    local round
    for round in 1 2 3 4 5 6 7; do
        faults+=("$(fault "pause $round" pause.sh "$((round % 3 + 1))" --for 2.8)")
    done
    options=("${SHORTLY[@]}")
}

case_pause_long() {
    title="A node stands still for a while"
    catalogue=5
    what="One of three nodes is frozen for 15 seconds, is declared dead, and goes on with the memory that it had."
    expect="What it had is out of date by then, and it serves none of it."
    faults=("$(fault 'pause node3' pause.sh 3 --for 15)")
    options=(--known-within 7s "${SHORTLY[@]}")
}

case_pause_all() {
    title="All nodes stand still at once"
    catalogue=32
    what="All three nodes are frozen for 2 seconds, six times: nobody answers anything."
    expect="They go on as if nothing had happened."
    local round
    for round in 1 2 3 4 5 6; do
        faults+=("$(fault "pause $round of all" pause.sh 1 --for 2) & $(of_shell pause.sh 2 --for 2) & $(of_shell pause.sh 3 --for 2); wait")
    done
    # Nothing is acknowledged while nobody answers.
    during=0
    options=("${SHORTLY[@]}")
}

case_disconnect() {
    title="A node loses its network"
    catalogue=59
    what="One of three containers is taken off its network for 15 seconds: neither nodes nor clients reach it, and connections
end in silence."
    expect="As with a kill, but the memory stays, and is out of date."
    faults=("$(fault 'disconnect node3' partition.sh 3 --by disconnect --for 15)")
    options=("${SHORTLY[@]}")
}

case_split() {
    title="Two of five nodes are cut off"
    catalogue=8
    what="Five nodes are cut into two that see each other and three that see each other, for 30 seconds. Clients reach both sides."
    expect="Where two of a key's three owners are on one side, that side serves it, and the other refuses. Nothing is written on
both sides."
    nodes=5
    faults=("$(fault 'cut 2 from 3' partition.sh 4 --from 1 --from 2 --from 3 --for 30) & $(of_shell partition.sh 5 --from 1 --from 2 --from 3 --for 30); wait")
    options=("${SHORTLY[@]}")
}

case_even_split() {
    title="Four nodes are cut in half"
    catalogue=9
    what="Two of four nodes are cut off from the other two for 30 seconds. Clients reach both sides."
    expect="No side forms a ring of its own. Where two of a key's three owners are on one side, that side serves it."
    nodes=4
    faults=("$(fault 'cut 2 from 2' partition.sh 3 --from 1 --from 2 --for 30) & $(of_shell partition.sh 4 --from 1 --from 2 --for 30); wait")
    options=("${SHORTLY[@]}")
}

case_deaf() {
    title="A node hears nobody"
    catalogue=12
    what="One of three nodes does not get what the others send it, for 15 seconds; they get what it sends."
    expect="It refuses what it cannot coordinate."
    faults=("$(fault 'deafen node2' partition.sh 2 --direction in --for 15)")
    options=("${SHORTLY[@]}")
}

case_mute() {
    title="Nobody hears a node"
    catalogue=13
    what="What one of three nodes sends does not reach the others, for 15 seconds; what they send reaches it."
    expect="The others go on without it."
    faults=("$(fault 'mute node1' partition.sh 1 --direction out --for 15)")
    options=("${SHORTLY[@]}")
}

case_one_link() {
    title="Two nodes do not reach each other"
    catalogue=14
    what="The link between two of three nodes is cut for 15 seconds; the third reaches both."
    expect="Both are alive for the third, and so for each other; requests take other owners."
    faults=("$(fault 'cut node2 from node3' partition.sh 2 --from 3 --for 15)")
    options=("${SHORTLY[@]}")
}

case_udp_only() {
    title="Gossip is blocked"
    catalogue=15
    what="UDP from and to one of three nodes is dropped for 15 seconds; TCP gets through."
    expect="Clients lose nothing."
    faults=("$(fault 'no UDP at node2' partition.sh 2 --protocol udp --for 15)")
    options=("${SHORTLY[@]}")
}

case_tcp_only() {
    title="Only gossip gets through"
    catalogue=16
    what="TCP between one of three nodes and the others is dropped for 15 seconds; gossip gets through, so that it looks alive."
    expect="Requests do without it; what it missed comes afterwards."
    faults=("$(fault 'no TCP at node3' partition.sh 3 --protocol tcp --for 15)")
    options=("${SHORTLY[@]}")
}

case_loss() {
    title="Every third packet is lost"
    catalogue=17
    what="30 % of the packets between one of three nodes and the others are lost at random, in both directions, for 15 seconds."
    expect="Slower, and nothing else."
    faults=("$(fault 'loss at node2' slow.sh 2 --loss 30 --for 15)")
    options=("${SHORTLY[@]}")
}

case_rate() {
    title="A narrow link"
    catalogue=22
    what="One of three nodes can send one megabit per second, for 15 seconds, its answers to clients included."
    expect="The others do not wait for it."
    faults=("$(fault '1 Mbit/s at node1' slow.sh 1 --rate 1mbit --for 15)")
    options=("${SHORTLY[@]}")
}

case_mtu() {
    title="Small packets"
    catalogue=23
    what="The network of one of three nodes carries packets of at most 1280 bytes, for 15 seconds."
    expect="Gossip keeps below that, so that nothing is noticed."
    faults=("$(fault 'MTU 1280 at node3' slow.sh 3 --mtu 1280 --for 15)")
    options=(--first-try-min 0.999 "${SHORTLY[@]}")
}

case_delay() {
    title="A slow peer"
    catalogue=21
    what="What one of three nodes sends arrives 500 ms late, for 15 seconds."
    expect="Requests do not wait for it."
    faults=("$(fault 'delay at node2' slow.sh 2 --delay 500 --for 15)")
    options=("${SHORTLY[@]}")
}

case_reorder() {
    title="Packets overtake each other"
    catalogue=18
    what="What one of three nodes sends arrives 50 ms late, give or take 50 ms, and a quarter of it at once, for 15 seconds."
    expect="No order is lost that was promised."
    faults=("$(fault 'reorder at node2' slow.sh 2 --delay 50 --jitter 50 --reorder 25 --for 15)")
    options=("${SHORTLY[@]}")
}

case_duplicate() {
    title="Packets arrive twice"
    catalogue=19
    what="A fifth of the packets that one of three nodes sends arrives twice, for 15 seconds."
    expect="Nothing happens twice."
    faults=("$(fault 'duplicates at node2' slow.sh 2 --duplicate 20 --for 15)")
    options=("${SHORTLY[@]}")
}

case_corrupt() {
    title="Packets are damaged"
    catalogue=20
    what="A bit is flipped in one of a hundred packets that one of three nodes sends, for 15 seconds."
    expect="Nothing that is damaged is taken for true."
    faults=("$(fault 'corruption at node2' slow.sh 2 --corrupt 1 --for 15)")
    options=("${SHORTLY[@]}")
}

case_starve() {
    title="A node gets hardly any CPU"
    catalogue=7
    what="One of three nodes may use a tenth of one CPU for 20 seconds."
    expect="The others do not wait for it."
    faults=("$(fault 'CPU of node2' starve.sh 2 --cpus 0.1 --for 20)")
    options=("${SHORTLY[@]}")
}

case_memory() {
    title="A node gets little memory"
    catalogue=63
    what="One of three nodes may use 128 MiB for 15 seconds, beyond which the kernel would end it."
    expect="It gets by."
    faults=("$(fault 'memory of node3' starve.sh 3 --memory 128m --for 15)")
    options=("${SHORTLY[@]}")
}

case_descriptors() {
    title="A node runs out of file descriptors"
    catalogue=58
    what="Every node may have 96 open files. For 15 seconds, hundreds of connections that say nothing are opened at one of them."
    expect="What it has to do with the other nodes goes on; it takes new clients again when the others are gone."
    extra=('ulimits:' '  nofile: 96')
    faults=("$(fault 'idle connections at node2' storm.sh 2 --kind idle --for 15)")
    options=("${SHORTLY[@]}")
}

case_restart() {
    title="A node is restarted in order"
    catalogue=30
    what="One of three nodes gets SIGTERM, hands over, ends, stays away for 10 seconds, and is started again."
    expect="It ends with exit code 0, which says that it owed nothing."
    faults=("$(fault 'restart of node2' restart.sh 2 --down 10)")
    options=("${SHORTLY[@]}")
}

case_rolling_restart() {
    title="All nodes are restarted, one after the other"
    catalogue=30
    what="Each of five nodes gets SIGTERM, hands over, ends, and is started again, each when it says that it is safe to stop."
    expect="All end with exit code 0."
    nodes=5
    faults=("$(fault 'rolling restart' rolling-restart.sh --down 1)")
    options=("${SHORTLY[@]}")
}

case_scale() {
    title="Three nodes become five, and three again"
    catalogue=72
    what="Two nodes join at once, take over their share, and 15 seconds later leave in order."
    expect="Both end with exit code 0."
    faults=("$(fault 'five nodes' scale.sh 5 --for 15)")
    # The fault's end is the begin of the leaving, in which what is owned is handed over.
    options=(--members-within 30s --ring-within 30s)
}

case_seed_gone() {
    title="The seed is gone"
    catalogue=34
    what="The node that all others were told of at their start is killed for 25 seconds; meanwhile another one is restarted in
order and finds nobody at the seed's address."
    expect="Those that are there do not need it. The restarted one joins when the seed is back."
    nodes=5
    faults=("$(fault 'kill the seed' kill.sh 1 --for 25) & sleep 2; $(of_shell restart.sh 3); wait")
    options=("${SHORTLY[@]}")
}

case_move() {
    title="A node comes back at another address"
    catalogue=36
    what="One of three nodes is killed, a stranger of another cluster gets its address, and the node is started at another one."
    expect="It is the same member at its new address; nobody talks to the stranger."
    faults=("$(fault 'node3 moves' move.sh 3 --for 12)")
    options=("${SHORTLY[@]}")
}

case_stranger() {
    title="A node of another cluster knocks"
    catalogue=39
    what="A node with another cluster id is started with a node of this cluster as its seed, for 15 seconds."
    expect="It is no member for anybody at any time."
    faults=("$(fault 'a stranger' stranger.sh --for 15)")
    options=(--first-try-min 0.999 "${SHORTLY[@]}")
}

case_junk() {
    title="Rubbish on every port"
    catalogue="43, 46, 51, 53, 54"
    what="For 15 seconds one of three nodes gets random datagrams as gossip, and malformed HTTP/2 and HTTP/1 as fast as one
client can: frames of absurd lengths, resets, header blocks without an end."
    expect="Nothing of it is taken for true, and other clients do not suffer."
    faults=("$(fault 'junk at node2' storm.sh 2 --kind junk --for 15)")
    options=(--first-try-min 0.999 "${SHORTLY[@]}")
}

case_churn() {
    title="Connections come and go"
    catalogue=56
    what="For 15 seconds connections are opened to all ports of one of three nodes and reset at once, hundreds per second."
    expect="Other clients do not suffer."
    faults=("$(fault 'churn at node1' storm.sh 1 --kind churn --for 15)")
    options=(--first-try-min 0.999 "${SHORTLY[@]}")
}

case_idle() {
    title="Connections that say nothing"
    catalogue="55, 57"
    what="For 15 seconds 400 connections are open to one of three nodes that say nothing, or one byte a second."
    expect="Other clients do not suffer."
    faults=("$(fault 'idle connections at node3' storm.sh 3 --kind idle --for 15)")
    options=(--first-try-min 0.999 "${SHORTLY[@]}")
}

case_overload() {
    title="Far more requests than the nodes can serve"
    catalogue=60
    what="For 45 seconds, a load generator keeps 600 requests under way at three nodes, ten times as many as they need to be busy."
    expect="What cannot be served is refused, and not lost."
    faults=("$(burst overload 45 mixed --connections 6 --concurrency 600 --keys 1000)")
    options=("${SHORTLY[@]}")
}

case_hot_key() {
    title="One key gets it all"
    catalogue=61
    what="For 15 seconds, a load generator writes and reads one and the same key as fast as three nodes can."
    expect="Other keys do not suffer more than by the load."
    faults=("$(burst 'hot key' 15 mixed --connections 6 --concurrency 64 --keys 1)")
    options=("${SHORTLY[@]}")
}

case_hints_overflow() {
    title="More is owed than there is room for"
    catalogue=65
    what="Nodes keep at most 16 KiB for another one that does not answer. One of three is frozen for 20 seconds."
    expect="What is dropped is found by comparing, and brought to it all the same."
    settings=('SHARD_CACHE__HINTS__TARGET_BYTES_MAX: 16KiB')
    faults=("$(fault 'pause node2' pause.sh 2 --for 20)")
    options=("${SHORTLY[@]}")
}

case_collector_gone() {
    title="Nobody takes the traces"
    catalogue=75
    what="Every request is traced, and the collector's address answers nothing. Meanwhile one of three nodes is killed."
    expect="As with a kill; tracing does not show in it."
    settings=('OTEL_EXPORTER_OTLP_ENDPOINT: http://192.0.2.1:4317' 'OTEL_TRACES_SAMPLER: always_on')
    faults=("$(fault 'kill node2' kill.sh 2 --for 15)")
    options=(--known-within 7s --first-try-min 0.999 "${SHORTLY[@]}")
}
