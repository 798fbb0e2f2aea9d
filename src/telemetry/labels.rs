//! Label sets that are small enums, and metric families whose every combination is made at the
//! start.
//!
//! A family resolves its combinations to handles once, so that counting on a request's path is an
//! array index and one atomic addition, all series exist at zero from the first scrape, and no
//! label can take a value that is not listed here: never a key, never anything a client sends.

use std::{fmt, marker::PhantomData, sync::Arc};

use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder},
    metrics::{MetricType, TypedMetric},
};

/// A metric family with one handle per combination of labels.
pub struct Handles<S, M> {
    handles: Arc<[M]>,
    labels: PhantomData<fn(S)>,
}

impl<S: LabelSet, M> Handles<S, M> {
    /// Makes one metric for every combination.
    pub(super) fn new(metric: impl Fn() -> M) -> Self {
        Self {
            handles: S::all().iter().map(|_| metric()).collect(),
            labels: PhantomData,
        }
    }

    /// The metric of one combination.
    #[must_use]
    pub fn get(&self, labels: S) -> &M {
        &self.handles[labels.index()]
    }
}

impl<S, M> Clone for Handles<S, M> {
    fn clone(&self) -> Self {
        Self {
            handles: Arc::clone(&self.handles),
            labels: PhantomData,
        }
    }
}

impl<S, M> fmt::Debug for Handles<S, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Handles({} series)", self.handles.len())
    }
}

impl<S: LabelSet, M: EncodeMetric + TypedMetric> EncodeMetric for Handles<S, M> {
    fn encode(&self, mut encoder: MetricEncoder) -> fmt::Result {
        for (labels, metric) in S::all().into_iter().zip(self.handles.iter()) {
            metric.encode(encoder.encode_family(&labels.pairs())?)?;
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        M::TYPE
    }
}

/// One label: its name and the values it can take.
pub trait Label: Copy + 'static {
    /// The label's name.
    const NAME: &'static str;
    /// Every value, in order of declaration.
    const ALL: &'static [Self];
    /// The value as it is shown.
    fn as_str(self) -> &'static str;
    /// Its place in [`Self::ALL`].
    fn ordinal(self) -> usize;
}

/// A combination of labels.
pub trait LabelSet: Copy + 'static {
    /// Every combination, in order of [`Self::index`].
    fn all() -> Vec<Self>;
    /// The place of this combination in [`Self::all`].
    fn index(self) -> usize;
    /// Names and values, as they are shown.
    fn pairs(self) -> Vec<(&'static str, &'static str)>;
}

impl<A: Label> LabelSet for A {
    fn all() -> Vec<Self> {
        A::ALL.to_vec()
    }

    fn index(self) -> usize {
        self.ordinal()
    }

    fn pairs(self) -> Vec<(&'static str, &'static str)> {
        vec![(A::NAME, self.as_str())]
    }
}

impl<A: Label, B: Label> LabelSet for (A, B) {
    fn all() -> Vec<Self> {
        A::ALL
            .iter()
            .flat_map(|&a| B::ALL.iter().map(move |&b| (a, b)))
            .collect()
    }

    fn index(self) -> usize {
        self.0.ordinal() * B::ALL.len() + self.1.ordinal()
    }

    fn pairs(self) -> Vec<(&'static str, &'static str)> {
        vec![(A::NAME, self.0.as_str()), (B::NAME, self.1.as_str())]
    }
}

impl<A: Label, B: Label, C: Label> LabelSet for (A, B, C) {
    fn all() -> Vec<Self> {
        let pairs = <(A, B)>::all();
        pairs
            .into_iter()
            .flat_map(|(a, b)| C::ALL.iter().map(move |&c| (a, b, c)))
            .collect()
    }

    fn index(self) -> usize {
        (self.0, self.1).index() * C::ALL.len() + self.2.ordinal()
    }

    fn pairs(self) -> Vec<(&'static str, &'static str)> {
        let mut pairs = (self.0, self.1).pairs();
        pairs.push((C::NAME, self.2.as_str()));
        pairs
    }
}

/// Declares label enums: type, label name, and each value as it is shown.
macro_rules! labels {
    ($($(#[$doc:meta])* $name:ident = $label:literal {
        $($(#[$value_doc:meta])* $value:ident = $shown:literal,)+
    })+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum $name {
            $($(#[$value_doc])* $value,)+
        }

        impl Label for $name {
            const NAME: &'static str = $label;
            const ALL: &'static [Self] = &[$(Self::$value,)+];

            fn as_str(self) -> &'static str {
                match self {
                    $(Self::$value => $shown,)+
                }
            }

            fn ordinal(self) -> usize {
                self as usize
            }
        }
    )+};
}

labels! {
    /// The face of the node that a client uses.
    Api = "api" {
        /// `cache.CacheService`.
        Grpc = "grpc",
        /// `/v1/keys`.
        Http = "http",
    }

    /// What a client asks for.
    Op = "op" {
        /// Read a value.
        Get = "get",
        /// Store a value.
        Set = "set",
        /// Remove a key.
        Delete = "delete",
    }

    /// How a client's request ended, in gRPC's vocabulary on both faces. A miss is `OK`.
    Code = "code" {
        /// Answered.
        Ok = "OK",
        /// The caller went away first.
        Cancelled = "CANCELLED",
        /// A write was sent and its outcome is not known.
        Unknown = "UNKNOWN",
        /// The request is not a legal one.
        InvalidArgument = "INVALID_ARGUMENT",
        /// The caller's deadline came first.
        DeadlineExceeded = "DEADLINE_EXCEEDED",
        /// Refused for load.
        ResourceExhausted = "RESOURCE_EXHAUSTED",
        /// Nothing was sent, or a read found too few owners.
        Unavailable = "UNAVAILABLE",
    }

    /// Why a client's request was shed.
    ShedReason = "reason" {
        /// As many requests as allowed were in flight.
        Concurrency = "concurrency",
        /// The CPU was busier than allowed.
        Cpu = "cpu",
    }

    /// How a client's read ended.
    Lookup = "result" {
        /// A value was found.
        Hit = "hit",
        /// No value was found.
        Miss = "miss",
    }

    /// How an operation of the coordinator ended.
    OperationOutcome = "outcome" {
        /// As many owners as its level asks for took part.
        Ok = "ok",
        /// Fewer owners did, and the caller had agreed to that.
        Degraded = "degraded",
        /// Not carried out: too few owners could take part.
        Unavailable = "unavailable",
        /// A write was sent and may or may not appear.
        Unknown = "unknown",
        /// The deadline came first.
        Timeout = "timeout",
    }

    /// What a coordinator asks of a replica.
    ReplicaOp = "op" {
        /// Read a record or its version.
        Read = "read",
        /// A client's mutation, or the write-back of a read.
        Write = "write",
    }

    /// What came of a request to a replica.
    ReplicaOutcome = "outcome" {
        /// Done, also when the answer is a miss.
        Ok = "ok",
        /// It holds something newer.
        Newer = "newer",
        /// It is in another configuration of the slot.
        WrongConfig = "wrong_config",
        /// It refused the coordinator's clock.
        Drift = "drift",
        /// It refused for load.
        Shed = "shed",
        /// The deadline had passed when it arrived.
        Expired = "expired",
        /// It could not be reached, or the link broke.
        Unreachable = "unreachable",
    }

    /// Whether a read repair delayed its answer.
    RepairMode = "mode" {
        /// Before the answer.
        Blocking = "blocking",
    }

    /// Why a hint was dropped.
    HintDropReason = "reason" {
        /// Its window had passed.
        Expired = "expired",
        /// A cap was reached; the oldest went.
        Overflow = "overflow",
        /// A newer mutation of the key took its place.
        Superseded = "superseded",
        /// Its target left for good.
        PeerGone = "peer_gone",
        /// An operator wanted it.
        Operator = "operator",
    }

    /// Why something between nodes has to be tried again.
    RetryReason = "reason" {
        /// It was refused: its stamp is too far ahead of the receiver's clock.
        Refused = "refused",
        /// There was no answer that could be used.
        Failed = "failed",
    }

    /// What came of a read whose hedging delay had passed.
    HedgeOutcome = "outcome" {
        /// Another owner was asked.
        Sent = "sent",
        /// The budget was used up.
        NoBudget = "no_budget",
    }

    /// Which way something travelled, seen from this node.
    Direction = "direction" {
        /// From this node.
        Sent = "sent",
        /// To this node.
        Received = "received",
    }

    /// What a breaker changed to.
    BreakerState = "to" {
        /// The peer is routed around.
        Open = "open",
        /// The peer is used again.
        Closed = "closed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_combination_has_an_index_of_its_own() {
        for (index, labels) in <(Api, Op, Code)>::all().into_iter().enumerate() {
            assert_eq!(labels.index(), index);
        }
        assert_eq!(<(Api, Op, Code)>::all().len(), 2 * 3 * 7);
        assert_eq!(
            (Api::Http, Op::Get).pairs(),
            [("api", "http"), ("op", "get")]
        );
    }
}
