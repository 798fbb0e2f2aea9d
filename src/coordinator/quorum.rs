//! Quorums as values: built from a plan, fed answers, asked for the outcome. Nothing here sends, waits or reads a clock.
//!
//! A quorum is counted by rule 5 of slot reconfiguration: enough answers under one configuration, at least one of
//! them from an owner whose data is full, or a cover of some earlier configuration that carries it. Success and hopelessness are both known as early as the answers allow.

use crate::{
    coordinator::explanation::{OwnerAnswer, OwnerReply},
    operation::{Failure, Held, ReadAnswer, WriteAnswer},
    ring::slot::Vote,
    store::{Absence, Record},
    version::Version,
};

/// Most owners that a slot can have, and so the largest replication factor.
pub const OWNERS_MAX: usize = 7;

/// How many owners there are and how many must take part.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Need {
    /// Owners of the slot.
    pub owners: u8,
    /// Owners that must take part; between 1 and `owners`.
    pub required: u8,
    /// Owners that will do when `required` cannot be met; equal to it unless the request may be degraded.
    pub least: u8,
    /// Whether the answers have to stand for everything acknowledged in lower configurations.
    pub standing: Standing,
}

/// What the answers of a quorum have to stand for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// Everything acknowledged in lower configurations: one of them is full, or a cover of some earlier configuration
    /// carries it.
    Everything,
    /// Themselves alone: any owner in the configuration will do.
    Themselves,
}

impl Standing {
    /// Whether the votes do (rule 5 of slot reconfiguration).
    fn is_met(self, votes: impl Iterator<Item = Vote> + Clone) -> bool {
        let is_carried = |vote: Vote| {
            vote.carry.is_some_and(|carry| {
                let same = votes.clone().filter(|other| other.carry == Some(carry));
                same.count() >= usize::from(carry.cover)
            })
        };
        match self {
            Self::Everything => votes.clone().any(|vote| vote.is_full || is_carried(vote)),
            Self::Themselves => true,
        }
    }
}

/// How a write stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WriteOutcome {
    /// Too early to tell.
    Open,
    /// Enough owners stored it.
    Acknowledged,
    /// An owner holds something newer: stamp above it and send again.
    Superseded {
        /// The newest version seen.
        by: Version,
    },
    /// An owner is in another configuration and the rest are not enough, or nobody stands for what was acknowledged
    /// before: try again under the present configuration.
    Reconfigured,
    /// Enough owners can no longer store it.
    Hopeless,
}

/// What a version that is newer than the written one means for a write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnNewer {
    /// A client's write must end above everything acknowledged before it.
    Restamp,
    /// A write-back only wants its owners to hold this version *or newer*.
    Satisfied,
}

/// The tally of one write attempt.
#[derive(Clone, Debug)]
pub struct WriteTally {
    need: Need,
    on_newer: OnNewer,
    answers: [Option<WriteAnswer>; OWNERS_MAX],
}

impl WriteTally {
    /// A tally without answers.
    #[must_use]
    pub const fn new(need: Need, on_newer: OnNewer) -> Self {
        Self {
            need,
            on_newer,
            answers: [None; OWNERS_MAX],
        }
    }

    /// Takes the answer of the owner at `position`. The first answer of an owner stands, except that a late real
    /// answer replaces a broken link.
    pub fn answer(&mut self, position: u8, answer: WriteAnswer) {
        if let Some(held) = self.answers.get_mut(usize::from(position)) {
            match held {
                None | Some(WriteAnswer::Failed(Failure::Broken)) => *held = Some(answer),
                Some(_) => {}
            }
        }
    }

    /// How the write stands.
    #[must_use]
    pub fn outcome(&self) -> WriteOutcome {
        let stored = self.stored();
        if stored >= self.need.required && self.stands() {
            return WriteOutcome::Acknowledged;
        }
        if self.on_newer == OnNewer::Restamp
            && let Some(by) = self.newest_refusal()
        {
            return WriteOutcome::Superseded { by };
        }
        let open = self.open();
        if stored + open >= self.need.required && open > 0 {
            return WriteOutcome::Open;
        }
        // Enough, but for somebody who stands for what was before: that is a matter of time.
        let lacks_standing = stored >= self.need.required;
        if lacks_standing && self.accepts_less() {
            return WriteOutcome::Acknowledged;
        }
        if lacks_standing
            || self
                .answered()
                .any(|answer| answer == WriteAnswer::Failed(Failure::WrongConfig))
        {
            return WriteOutcome::Reconfigured;
        }
        if open == 0 && stored >= self.need.least {
            return WriteOutcome::Acknowledged;
        }
        if open > 0 && self.accepts_less() {
            return WriteOutcome::Open;
        }
        WriteOutcome::Hopeless
    }

    /// Owners that hold the version, or a newer one where that satisfies.
    #[must_use]
    pub fn stored(&self) -> u8 {
        self.count(|answer| match answer {
            WriteAnswer::Stored { .. } => true,
            WriteAnswer::Newer { .. } => self.on_newer == OnNewer::Satisfied,
            WriteAnswer::Failed(_) => false,
        })
    }

    /// Owners that have not answered.
    #[must_use]
    pub fn open(&self) -> u8 {
        self.need.owners - self.count(|_| true)
    }

    /// Whether the acknowledgement rests on fewer owners than required, or on none that stands for what was before.
    #[must_use]
    pub fn is_degraded(&self) -> bool {
        self.stored() < self.need.required || !self.stands()
    }

    const fn accepts_less(&self) -> bool {
        self.need.least < self.need.required
    }

    /// Whether any owner may have applied the write: it stored it, or the link broke, or it has not answered.
    #[must_use]
    pub fn may_be_applied(&self) -> bool {
        self.open() > 0
            || self.answered().any(|answer| match answer {
                WriteAnswer::Stored { .. } | WriteAnswer::Failed(Failure::Broken) => true,
                WriteAnswer::Newer { .. } => false,
                // A replica in another configuration of the same root keeps the value without counting.
                WriteAnswer::Failed(Failure::WrongConfig) => true,
                // A replica without room for the value has dropped the older one, which would be out of date otherwise.
                WriteAnswer::Failed(Failure::Shed) => true,
                WriteAnswer::Failed(
                    Failure::Drift | Failure::Ahead | Failure::Expired | Failure::NotSent,
                ) => false,
            })
    }

    /// Whether an owner held a live value before.
    #[must_use]
    pub fn replaced(&self) -> bool {
        self.answered()
            .any(|answer| matches!(answer, WriteAnswer::Stored { replaced: true, .. }))
    }

    /// The owners to whom the write is owed, once no more answers are waited for.
    pub fn owed(&self) -> impl Iterator<Item = u8> + '_ {
        (0..self.need.owners).filter(|position| {
            match self.answers.get(usize::from(*position)).copied().flatten() {
                Some(
                    WriteAnswer::Stored { .. }
                    | WriteAnswer::Newer { .. }
                    | WriteAnswer::Failed(Failure::Ahead),
                ) => false,
                None | Some(WriteAnswer::Failed(_)) => true,
            }
        })
    }

    /// What the owner at `position` answered, for people.
    #[must_use]
    pub fn explain(&self, position: u8) -> OwnerAnswer {
        match self.answers.get(usize::from(position)).copied().flatten() {
            None => OwnerAnswer::Pending,
            Some(WriteAnswer::Stored { .. }) => OwnerAnswer::Ok,
            Some(WriteAnswer::Newer { .. }) => OwnerAnswer::Newer,
            Some(WriteAnswer::Failed(failure)) => failure.into(),
        }
    }

    /// The same in detail; `written` is the version that was to be stored.
    #[must_use]
    pub fn reply(&self, position: u8, written: Version) -> OwnerReply {
        let bare = OwnerReply::bare(self.explain(position));
        let of = |version, vote: Vote| OwnerReply {
            version: Some(version),
            is_full: Some(vote.is_full),
            ..bare
        };
        match self.answers.get(usize::from(position)).copied().flatten() {
            Some(WriteAnswer::Stored { vote, .. }) => of(written, vote),
            Some(WriteAnswer::Newer { version, vote }) => of(version, vote),
            Some(WriteAnswer::Failed(_)) | None => bare,
        }
    }

    fn newest_refusal(&self) -> Option<Version> {
        self.answered()
            .filter_map(|answer| match answer {
                WriteAnswer::Newer { version, .. } => Some(version),
                WriteAnswer::Stored { .. } | WriteAnswer::Failed(_) => None,
            })
            .max()
    }

    fn stands(&self) -> bool {
        let votes = self.answers.iter().filter_map(|answer| match (*answer)? {
            WriteAnswer::Stored { vote, .. } => Some(vote),
            WriteAnswer::Newer { vote, .. } => {
                (self.on_newer == OnNewer::Satisfied).then_some(vote)
            }
            WriteAnswer::Failed(_) => None,
        });
        self.need.standing.is_met(votes)
    }

    fn answered(&self) -> impl Iterator<Item = WriteAnswer> + '_ {
        self.answers.iter().copied().flatten()
    }

    fn count(&self, matches: impl Fn(&WriteAnswer) -> bool) -> u8 {
        let count = self
            .answers
            .iter()
            .flatten()
            .filter(|answer| matches(answer))
            .count();
        // At most OWNERS_MAX.
        u8::try_from(count).unwrap_or(u8::MAX)
    }
}

/// How a read stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReadOutcome {
    /// Too early to tell.
    Open,
    /// Answers are missing and owners are left to ask: ask this many more.
    AskMore {
        /// How many.
        owners: u8,
    },
    /// Enough owners answered.
    Answered,
    /// An owner is in another configuration and the rest are not enough, or nobody stands for what was acknowledged before.
    Reconfigured,
    /// Enough owners can no longer answer.
    Hopeless,
}

/// The newest of what a read quorum holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Newest {
    /// No owner knows the key.
    Nothing,
    /// The key is gone as of this version.
    Gone(Version),
    /// An owner had a value of this version and has not any more; nobody has one that is as new.
    Ghost(Version),
    /// The newest value may be out of date: owners that would know have lost the trace.
    Unsure,
    /// A value.
    Value {
        /// The newest version.
        version: Version,
        /// The record, if an owner that holds it sent it whole.
        record: Option<Record>,
        /// An owner that holds it.
        holder: u8,
    },
}

impl Newest {
    /// The newest version, if any owner knows one.
    #[must_use]
    pub const fn version(&self) -> Option<Version> {
        match self {
            Self::Nothing | Self::Unsure => None,
            Self::Gone(version) | Self::Ghost(version) | Self::Value { version, .. } => {
                Some(*version)
            }
        }
    }
}

/// The tally of one read.
#[derive(Clone, Debug)]
pub struct ReadTally {
    need: Need,
    asked: [bool; OWNERS_MAX],
    stalled: [bool; OWNERS_MAX],
    answers: [Option<ReadAnswer>; OWNERS_MAX],
}

impl ReadTally {
    /// A tally that nobody has been asked for.
    #[must_use]
    pub const fn new(need: Need) -> Self {
        Self {
            need,
            asked: [false; OWNERS_MAX],
            stalled: [false; OWNERS_MAX],
            answers: [const { None }; OWNERS_MAX],
        }
    }

    /// Notes that the owner at `position` is being asked.
    pub fn ask(&mut self, position: u8) {
        if let Some(asked) = self.asked.get_mut(usize::from(position)) {
            *asked = true;
        }
    }

    /// Takes the answer of the owner at `position`. A late real answer replaces a failure.
    pub fn answer(&mut self, position: u8, answer: ReadAnswer) {
        if let Some(held) = self.answers.get_mut(usize::from(position)) {
            match held {
                None | Some(ReadAnswer::Failed(_)) => *held = Some(answer),
                Some(ReadAnswer::Holds { .. } | ReadAnswer::Miss { .. }) => {}
            }
        }
    }

    /// Notes that the owner at `position` is late: it may still answer, but another one should be asked.
    pub fn stall(&mut self, position: u8) {
        if let Some(stalled) = self.stalled.get_mut(usize::from(position)) {
            *stalled = true;
        }
    }

    /// Marks every owner that was asked and has not answered as late.
    pub fn stall_all_open(&mut self) {
        for position in 0..usize::from(self.need.owners) {
            if self.asked[position] && self.answers[position].is_none() {
                self.stalled[position] = true;
            }
        }
    }

    /// How the read stands.
    #[must_use]
    pub fn outcome(&self) -> ReadOutcome {
        let (good, prompt, late, unasked) = self.census();
        let is_enough = good >= self.need.required && self.stands();
        // Who is not asked yet may know better than who has lost the trace.
        if is_enough && (unasked + prompt == 0 || !self.is_unsure()) {
            return ReadOutcome::Answered;
        }
        let wanted = if good >= self.need.required {
            1
        } else {
            self.need.required - good
        };
        if prompt >= wanted {
            return ReadOutcome::Open;
        }
        if unasked > 0 {
            return ReadOutcome::AskMore {
                owners: unasked.min(wanted - prompt),
            };
        }
        if is_enough {
            return ReadOutcome::Answered;
        }
        if prompt + late >= wanted {
            return ReadOutcome::Open;
        }
        let lacks_standing = good >= self.need.required;
        if lacks_standing && self.need.least < self.need.required {
            return ReadOutcome::Answered;
        }
        if lacks_standing
            || self
                .answers
                .iter()
                .flatten()
                .any(|answer| *answer == ReadAnswer::Failed(Failure::WrongConfig))
        {
            return ReadOutcome::Reconfigured;
        }
        if prompt + late > 0 && self.need.least < self.need.required {
            return ReadOutcome::Open;
        }
        if good >= self.need.least && self.need.least < self.need.required {
            return ReadOutcome::Answered;
        }
        ReadOutcome::Hopeless
    }

    /// Owners that answered.
    #[must_use]
    pub fn answered(&self) -> u8 {
        self.census().0
    }

    /// Whether the answer rests on fewer owners than required, or on none that stands for what was before.
    #[must_use]
    pub fn is_degraded(&self) -> bool {
        self.answered() < self.need.required || !self.stands()
    }

    /// The newest of the answers so far.
    #[must_use]
    pub fn newest(&self) -> Newest {
        let newest = self.newest_known();
        match newest.version() {
            Some(version) if self.is_unsure_about(version) => Newest::Unsure,
            Some(_) | None => newest,
        }
    }

    fn newest_known(&self) -> Newest {
        let mut newest = Newest::Nothing;
        for (position, answer) in (0u8..).zip(&self.answers) {
            let candidate = match answer {
                Some(ReadAnswer::Holds {
                    held: Held::Whole(record),
                    ..
                }) => Newest::Value {
                    version: record.version,
                    record: Some(record.clone()),
                    holder: position,
                },
                Some(ReadAnswer::Holds {
                    held: Held::Version(version),
                    ..
                }) => Newest::Value {
                    version: *version,
                    record: None,
                    holder: position,
                },
                Some(ReadAnswer::Miss { absence, .. }) => match absence {
                    Absence::Gone(version) => Newest::Gone(*version),
                    Absence::Ghost(version) => Newest::Ghost(*version),
                    Absence::Untraced | Absence::Unsure(_) => continue,
                },
                Some(ReadAnswer::Failed(_)) | None => continue,
            };
            if Self::outranks(&candidate, &newest) {
                newest = candidate;
            }
        }
        newest
    }

    /// Whether an owner that has lost the trace might know something newer than the newest, so that another one should be
    /// asked.
    fn is_unsure(&self) -> bool {
        let has_mark = |answer: &ReadAnswer| {
            matches!(
                answer,
                ReadAnswer::Miss {
                    absence: Absence::Unsure(_),
                    ..
                }
            )
        };
        self.answers.iter().flatten().any(has_mark)
            && self
                .newest_known()
                .version()
                .is_some_and(|version| self.is_unsure_about(version))
    }

    /// Whether too few owners have a trace of the key for `version`, the newest of them, to be known as the newest: an
    /// owner that had one up to above it has lost it, and the others are no quorum.
    fn is_unsure_about(&self, version: Version) -> bool {
        let mut unsure = false;
        let mut sure = 0;
        for answer in self.answers.iter().flatten() {
            match answer {
                ReadAnswer::Miss {
                    absence: Absence::Unsure(mark),
                    ..
                } if *mark >= version => unsure = true,
                ReadAnswer::Miss { .. } | ReadAnswer::Holds { .. } => sure += 1,
                ReadAnswer::Failed(_) => {}
            }
        }
        // A majority meets every write quorum, and so does a read quorum.
        let enough = self.need.required.min(self.need.owners / 2 + 1);
        unsure && sure < enough
    }

    /// Owners known to hold `version`, or to know that it is gone.
    #[must_use]
    pub fn holders(&self, version: Version) -> u8 {
        let count = self
            .answers
            .iter()
            .flatten()
            .filter(|answer| match answer {
                ReadAnswer::Holds { held, .. } => held.version() == version,
                ReadAnswer::Miss { absence, .. } => absence.known() == Some(version),
                ReadAnswer::Failed(_) => false,
            })
            .count();
        u8::try_from(count).unwrap_or(u8::MAX)
    }

    /// Whether the owner at `position` has not been asked.
    #[must_use]
    pub fn is_unasked(&self, position: u8) -> bool {
        self.asked
            .get(usize::from(position))
            .is_some_and(|asked| !asked)
    }

    /// What the owner at `position` answered, for people.
    #[must_use]
    pub fn explain(&self, position: u8) -> OwnerAnswer {
        match self.answers.get(usize::from(position)) {
            Some(Some(ReadAnswer::Holds { .. })) => OwnerAnswer::Ok,
            Some(Some(ReadAnswer::Miss { .. })) => OwnerAnswer::Miss,
            Some(Some(ReadAnswer::Failed(failure))) => (*failure).into(),
            Some(None) | None if self.is_unasked(position) => OwnerAnswer::NotAsked,
            Some(None) | None => OwnerAnswer::Pending,
        }
    }

    /// The same in detail.
    #[must_use]
    pub fn reply(&self, position: u8) -> OwnerReply {
        let bare = OwnerReply::bare(self.explain(position));
        match self.answers.get(usize::from(position)) {
            Some(Some(ReadAnswer::Holds { held, vote })) => OwnerReply {
                version: Some(held.version()),
                is_full: Some(vote.is_full),
                ..bare
            },
            Some(Some(ReadAnswer::Miss {
                absence,
                vote,
                cause,
            })) => OwnerReply {
                version: absence.version(),
                is_full: Some(vote.is_full),
                cause: *cause,
                ..bare
            },
            Some(Some(ReadAnswer::Failed(_)) | None) | None => bare,
        }
    }

    /// Higher versions first; at equal versions what is gone everywhere, then a whole record, then a version alone, then
    /// a value that went in one place only.
    fn outranks(candidate: &Newest, held: &Newest) -> bool {
        let rank = |newest: &Newest| {
            let weight = match newest {
                Newest::Nothing | Newest::Unsure => 0,
                Newest::Ghost(_) => 1,
                Newest::Value { record: None, .. } => 2,
                Newest::Value {
                    record: Some(_), ..
                } => 3,
                Newest::Gone(_) => 4,
            };
            (newest.version(), weight)
        };
        rank(candidate) > rank(held)
    }

    /// Owners that answered; that are asked and in time; that are asked and late; that are not asked.
    fn census(&self) -> (u8, u8, u8, u8) {
        let (mut good, mut prompt, mut late, mut unasked) = (0, 0, 0, 0);
        for position in 0..usize::from(self.need.owners) {
            match &self.answers[position] {
                Some(ReadAnswer::Holds { .. } | ReadAnswer::Miss { .. }) => good += 1,
                Some(ReadAnswer::Failed(_)) => {}
                None if !self.asked[position] => unasked += 1,
                None if self.stalled[position] => late += 1,
                None => prompt += 1,
            }
        }
        (good, prompt, late, unasked)
    }

    fn stands(&self) -> bool {
        let votes = self.answers.iter().flatten();
        self.need
            .standing
            .is_met(votes.filter_map(|answer| match answer {
                ReadAnswer::Holds { vote, .. } | ReadAnswer::Miss { vote, .. } => Some(*vote),
                ReadAnswer::Failed(_) => None,
            }))
    }
}

impl From<Failure> for OwnerAnswer {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::WrongConfig => Self::WrongConfig,
            Failure::Drift | Failure::Ahead => Self::Drift,
            Failure::Shed => Self::Shed,
            Failure::Expired => Self::Expired,
            Failure::NotSent | Failure::Broken => Self::Unreachable,
        }
    }
}

#[cfg(test)]
mod tests;
