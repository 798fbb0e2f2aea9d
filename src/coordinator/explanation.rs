//! How one request was carried out, for people: who was asked, what each answered and when, and where the time went. Plain
//! values; what notes them is `course`.

use std::time::Duration;

use shard_cache_membership::{identity::NodeId, view::Liveness};

use crate::{
    clock::Monotonic, key::Slot, ring::SlotConfiguration, store::MissCause, transport::Reach,
    version::Version,
};

/// How a request was carried out.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// The key's slot.
    pub slot: Slot,
    /// The configuration of the slot that was asked last.
    pub configuration: SlotConfiguration,
    /// Hash of the ring in use; `None` before the first.
    pub ring_hash: Option<u64>,
    /// The owners of that configuration, in order of preference.
    pub owners: Vec<ExplainedOwner>,
    /// Owners that the level asked for.
    pub needed: u8,
    /// Attempts made.
    pub attempts: u32,
    /// Attempts that were made because an owner held something newer.
    pub restamps: u32,
    /// What was asked of owners, in order; only the newest of very many.
    pub requests: Vec<ReplicaRequest>,
    /// When the request was taken up.
    pub since: Monotonic,
    /// The stages in their order, with the time after `since` at which each ended. The last one, the answer, has not.
    pub stages: Vec<(Stage, Duration)>,
}

/// An owner, and why it is one.
#[derive(Clone, Debug)]
pub struct ExplainedOwner {
    /// Its name.
    pub name: String,
    /// What it answered in the end. Unreachable also when its link is down, so that others were asked in its place.
    pub answer: OwnerAnswer,
    /// Its rendezvous score for the slot.
    pub score: u64,
    /// Its zone; empty for none.
    pub zone: String,
    /// What this node believes of it; `None` when it knows of no such member.
    pub liveness: Option<Liveness>,
    /// What the breaker of the link to it says; `None` for this node itself.
    pub reach: Option<Reach>,
    /// Whether its data covers everything acknowledged before, as far as it said so.
    pub is_full: Option<bool>,
}

/// Something that one owner was asked.
#[derive(Clone, Debug)]
pub struct ReplicaRequest {
    /// Its place in the configuration.
    pub position: u8,
    /// Who it is.
    pub node_id: NodeId,
    /// Its name.
    pub name: String,
    /// Whether it is the coordinator itself.
    pub is_local: bool,
    /// What for.
    pub purpose: Purpose,
    /// In which attempt, from 1 on.
    pub attempt: u32,
    /// Why it was asked.
    pub choice: Choice,
    /// When, after the request was taken up.
    pub sent: Duration,
    /// When it answered, or had surely failed, on the same scale.
    pub answered: Option<Duration>,
    /// What it answered.
    pub reply: OwnerReply,
    /// Whether the record is owed to it.
    pub hint: Hint,
}

/// What an owner answered, in detail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OwnerReply {
    /// In one word.
    pub answer: OwnerAnswer,
    /// The version that it spoke of.
    pub version: Option<Version>,
    /// Whether its data covers everything acknowledged before; `None` when it did not say.
    pub is_full: Option<bool>,
    /// Why it has no value, if it said so.
    pub cause: Option<MissCause>,
}

impl OwnerReply {
    /// An answer of which no more is known.
    #[must_use]
    pub const fn bare(answer: OwnerAnswer) -> Self {
        Self {
            answer,
            version: None,
            is_full: None,
            cause: None,
        }
    }

    /// Why it has no value, in one word.
    #[must_use]
    pub const fn miss(self) -> Option<&'static str> {
        let Some(cause) = self.cause else {
            return None;
        };
        Some(match (cause, self.is_full) {
            // What it has not copied yet it cannot have seen.
            (MissCause::NotSeen | MissCause::TraceLost, Some(false)) => "not_full_yet",
            (MissCause::NotSeen, _) => "not_seen",
            (MissCause::TraceLost, _) => "trace_lost",
            (MissCause::Expired, _) => "expired",
            (MissCause::Evicted, _) => "evicted",
            (MissCause::Deleted, _) => "deleted",
            (MissCause::GoneElsewhere, _) => "gone_elsewhere",
        })
    }
}

/// What one owner answered, in one word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OwnerAnswer {
    /// Stored it, or answered with what it holds.
    Ok,
    /// Holds something newer.
    Newer,
    /// Has no value.
    Miss,
    /// Is in another configuration of the slot.
    WrongConfig,
    /// Refused the coordinator's clock.
    Drift,
    /// Refused for load.
    Shed,
    /// Got it too late.
    Expired,
    /// Could not be reached, or the link broke before it answered.
    Unreachable,
    /// Had not answered when the request was answered.
    Pending,
    /// Was not needed.
    NotAsked,
}

impl OwnerAnswer {
    /// The word for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Newer => "newer",
            Self::Miss => "miss",
            Self::WrongConfig => "wrong_config",
            Self::Drift => "drift",
            Self::Shed => "shed",
            Self::Expired => "expired",
            Self::Unreachable => "unreachable",
            Self::Pending => "pending",
            Self::NotAsked => "not_asked",
        }
    }
}

/// What an owner is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// What it holds.
    Read,
    /// The record of which it has told the version.
    Fetch,
    /// To store a client's write.
    Write,
    /// To store what a read found, before that is answered.
    WriteBack,
}

impl Purpose {
    /// The word for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Fetch => "fetch",
            Self::Write => "write",
            Self::WriteBack => "write_back",
        }
    }
}

/// Why an owner is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Choice {
    /// It is one of as many as are needed, or all are asked.
    First,
    /// One that was asked before failed, or its link stands still.
    Next,
    /// Those that were asked before are late, and the hedging budget allows it.
    Hedge,
}

impl Choice {
    /// The word for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Next => "next",
            Self::Hedge => "hedge",
        }
    }
}

/// Whether a record is owed to an owner.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hint {
    /// No.
    None,
    /// A hint is kept for it.
    Kept,
    /// A hint will be kept for it when all owners have answered or the deadline has passed, unless it has stored the record
    /// by then.
    Due,
}

impl Hint {
    /// The word for people; empty for none.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Kept => "kept",
            Self::Due => "due",
        }
    }
}

/// Where the time of a request goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// Admission, and the checks of what the client sent.
    Admission,
    /// Slot, owners and their order.
    Plan,
    /// From the first operation sent to the quorum; the node's own copy included.
    Quorum,
    /// Reading the record of which only the version had been told.
    Fetch,
    /// Storing what was read on a write quorum.
    WriteBack,
    /// Waiting for the slot to change at this node.
    Reconfiguration,
    /// From the decision to the response message.
    Answer,
}

impl Stage {
    /// The word for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admission => "admission",
            Self::Plan => "plan",
            Self::Quorum => "quorum",
            Self::Fetch => "fetch",
            Self::WriteBack => "write_back",
            Self::Reconfiguration => "reconfiguration",
            Self::Answer => "answer",
        }
    }
}

impl Explanation {
    /// The time of each stage in microseconds, and of all of them, for an answer that is ready at `now`. A stage that was
    /// entered several times stands once, where it began. The sum of the stages is the total, to the microsecond.
    #[must_use]
    pub fn micros(&self, now: Monotonic) -> (Vec<(Stage, u64)>, u64) {
        let total = micros(now.saturating_sub(self.since));
        let mut stages: Vec<(Stage, u64)> = Vec::new();
        let mut begun = 0;
        let open = std::iter::once((Stage::Answer, total));
        let ended = self
            .stages
            .iter()
            .map(|(stage, end)| (*stage, micros(*end)));
        for (stage, end) in ended.chain(open) {
            // Whole microseconds of the ends, not of the differences: what is cut off is not lost.
            let taken = end.saturating_sub(begun);
            begun = begun.max(end);
            match stages.iter_mut().find(|(known, _)| *known == stage) {
                Some((_, sum)) => *sum += taken,
                None => stages.push((stage, taken)),
            }
        }
        (stages, total)
    }
}

/// Whole microseconds.
pub fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::version::Stamp;

    fn explanation(stages: Vec<(Stage, Duration)>) -> Explanation {
        Explanation {
            slot: Slot(0),
            configuration: SlotConfiguration {
                root: 0,
                number: 1,
                owners: 0,
            },
            ring_hash: None,
            owners: Vec::new(),
            needed: 2,
            attempts: 1,
            restamps: 0,
            requests: Vec::new(),
            since: Duration::from_secs(5),
            stages,
        }
    }

    const STAGES: [Stage; 6] = [
        Stage::Admission,
        Stage::Plan,
        Stage::Quorum,
        Stage::Fetch,
        Stage::WriteBack,
        Stage::Reconfiguration,
    ];

    proptest! {
        #[test]
        fn stages_add_up_to_the_total(
            taken in prop::collection::vec((0..STAGES.len(), 0u64..5_000_000), 0..20),
            last in 0u64..5_000_000,
        ) {
            let mut ends = Duration::ZERO;
            let stages = taken.into_iter().map(|(stage, nanos)| {
                ends += Duration::from_nanos(nanos);
                (STAGES[stage], ends)
            });
            let explanation = explanation(stages.collect());
            let now = explanation.since + ends + Duration::from_nanos(last);
            let (stages, total) = explanation.micros(now);
            prop_assert_eq!(stages.iter().map(|(_, taken)| taken).sum::<u64>(), total);
            prop_assert_eq!(total, micros(now.saturating_sub(explanation.since)));
            prop_assert_eq!(stages.last().map(|(stage, _)| *stage), Some(Stage::Answer));
        }
    }

    #[test]
    fn what_an_owner_has_not_copied_yet_it_cannot_have_seen() {
        let miss = |cause, is_full| {
            let reply = OwnerReply {
                version: Some(Version::new(Stamp::new(1, 0), 1)),
                is_full: Some(is_full),
                cause: Some(cause),
                ..OwnerReply::bare(OwnerAnswer::Miss)
            };
            reply.miss()
        };
        assert_eq!(miss(MissCause::NotSeen, true), Some("not_seen"));
        assert_eq!(miss(MissCause::NotSeen, false), Some("not_full_yet"));
        assert_eq!(miss(MissCause::Deleted, false), Some("deleted"));
        assert_eq!(OwnerReply::bare(OwnerAnswer::Ok).miss(), None);
    }
}
