//! What membership counts. Relaxed atomics: read by metrics while the agent runs, never used for
//! decisions.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// One number that only rises, or a gauge that is set.
#[derive(Default, Debug)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Relaxed);
    }

    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Upper bounds of the times in [`ProbeTimes`], in microseconds; there is one more class, for what took longer.
pub const PROBE_BOUNDS_MICROS: [u64; 12] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
];
const PROBE_CLASSES: usize = PROBE_BOUNDS_MICROS.len() + 1;

/// How long direct answers to probes took.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct ProbeTimes {
    /// Answers, by the first bound that they were within.
    pub counts: [u64; PROBE_CLASSES],
    /// All of their times together, in microseconds.
    pub sum_micros: u64,
}

/// Counts how long answers took.
#[derive(Default, Debug)]
pub(crate) struct ProbeTimer {
    counts: [Counter; PROBE_CLASSES],
    sum_micros: Counter,
}

impl ProbeTimer {
    pub(crate) fn observe(&self, taken: Duration) {
        let micros = u64::try_from(taken.as_micros()).unwrap_or(u64::MAX);
        let class = PROBE_BOUNDS_MICROS.partition_point(|bound| *bound < micros);
        self.counts[class].add(1);
        self.sum_micros.add(micros);
    }

    fn times(&self) -> ProbeTimes {
        ProbeTimes {
            counts: std::array::from_fn(|class| self.counts[class].get()),
            sum_micros: self.sum_micros.get(),
        }
    }
}

/// Declares the counters and their snapshot from one list, so that none is missing from either.
macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// The live counters, shared by the agent, its codec and the driver.
        #[derive(Default, Debug)]
        pub struct Counters {
            $(pub(crate) $name: Counter,)*
            pub(crate) probe_times: ProbeTimer,
        }

        /// All counters at one moment (each exact, together only roughly simultaneous).
        #[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
        pub struct CountersSnapshot {
            $($(#[$doc])* pub $name: u64,)*
            /// How long direct answers to probes took.
            pub probe_times: ProbeTimes,
        }

        impl Counters {
            /// All values now.
            #[must_use]
            pub fn snapshot(&self) -> CountersSnapshot {
                CountersSnapshot {
                    $($name: self.$name.get(),)*
                    probe_times: self.probe_times.times(),
                }
            }
        }
    };
}

counters! {
    /// Datagrams that arrived, refused ones included.
    datagrams_received,
    /// Bytes that arrived, refused ones included.
    bytes_received,
    /// Datagrams handed to the socket.
    datagrams_sent,
    /// Bytes handed to the socket.
    bytes_sent,
    /// Datagrams that were not ours at all, or torn.
    rejected_junk,
    /// Datagrams or states of another cluster id.
    rejected_foreign_cluster,
    /// Datagrams, states or members of a protocol that we do not speak.
    rejected_protocol,
    /// Datagrams larger than the envelope and its payload may be.
    rejected_oversize,
    /// Identities or records whose bump lies too far in the future.
    rejected_bump,
    /// Datagrams from an IP address that is not the identity's, with the source check on.
    rejected_source,
    /// Single members inside a good datagram or state that were skipped.
    members_rejected,
    /// Records over their bounds, or of one node too many.
    records_rejected,
    /// Datagrams that carry our own address as their sender.
    data_from_ourselves,
    /// The same, with another boot id: a second process uses our address.
    address_conflicts,
    /// Another member with our node id came up.
    name_conflicts,
    /// Datagrams meant for others, as foca reports them.
    misdirected,
    /// Suspicions about ourselves that we refuted.
    refutations,
    /// Times we were declared down and came back with a renewed identity.
    rejoins,
    /// Probes that got no direct answer in time.
    probes_unanswered,
    /// Of these, probes that got none through others either, so that the member came under suspicion.
    probes_failed,
    /// Other members that became alive in a view: new ones, and those whose suspicion or death was refuted.
    members_alive,
    /// Other members that came under suspicion in a view.
    members_suspect,
    /// Other members that went down in a view, or left.
    members_down,
    /// Probe cycles that did not run in full: a sign of late timers.
    probes_incomplete,
    /// Turns in which a timer was more than 100 ms late.
    late_turns,
    /// Turns so late that pending timers were moved instead of fired at once.
    stalls,
    /// Local health: 0 is good, 8 is bad. A gauge.
    health_score,
    /// Updates and records that wait to be gossiped. A gauge.
    backlog,
    /// States merged from peers.
    states_merged,
    /// States from peers that were refused.
    states_rejected,
    /// Datagrams dropped because the outbox or the socket was full.
    sends_dropped,
    /// Datagrams that the socket refused.
    send_errors,
    /// Errors of the socket while receiving.
    receive_errors,
    /// Push-pull targets dropped because nobody took them.
    push_pulls_dropped,
    /// Seed names that did not resolve.
    resolve_errors,
    /// Errors of foca that have no counter of their own; expected to stay at 0.
    internal_errors,
}
