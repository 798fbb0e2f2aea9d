//! Histories written by hand. Times are milliseconds, versions count up from 1, values are letters.

use crate::{
    check::{Verdict, check},
    history::{
        Answer, Answered, Consistency, Degrade, Event, Held, History, Invariant, Life, Mark,
        Operation, Outcome, OwnerCopy, Promises, Request, Unanswered, ValueId, Version,
    },
};

pub(super) const MILLI: u64 = 1_000_000;

pub(super) fn v(number: u64) -> Version {
    Version::new(number, 0, 1)
}

pub(super) fn value(letter: char) -> ValueId {
    ValueId(u64::from(letter))
}

/// A history of the key `k` in three nodes.
#[derive(Clone, Default)]
pub(super) struct Story {
    pub(super) history: History,
}

/// An operation that is being described. At QUORUM unless said otherwise.
#[derive(Clone)]
pub(super) struct Deed(Operation);

pub(super) fn set(letter: char) -> Deed {
    Deed::new(Request::Set {
        value: value(letter),
        life: Life::Never,
    })
}

pub(super) fn delete() -> Deed {
    Deed::new(Request::Delete)
}

pub(super) fn get() -> Deed {
    Deed::new(Request::Get)
}

impl Deed {
    fn new(request: Request) -> Self {
        Self(Operation {
            id: 0,
            client: 0,
            node: 0,
            key: "k".to_owned(),
            request,
            consistency: Consistency::Quorum,
            degrade: Degrade::Refuse,
            invoked_ns: 0,
            completed_ns: 0,
            outcome: Outcome::Unknown(Unanswered::default()),
        })
    }

    fn answer(mut self, answer: Answer) -> Self {
        self.0.outcome = Outcome::Ok(Answered {
            answer,
            degraded: false,
            took_part: None,
            owners: None,
        });
        self
    }

    /// Acknowledged.
    pub(super) fn ok(self, version: u64) -> Self {
        self.answer(Answer::Written {
            version: v(version),
            replaced: None,
        })
    }

    pub(super) fn hit(self, letter: char, version: u64) -> Self {
        self.answer(Answer::Hit {
            value: value(letter),
            version: v(version),
            expires_in_ns: None,
        })
    }

    pub(super) fn miss(self) -> Self {
        self.answer(Answer::Miss { version: None })
    }

    pub(super) fn miss_at(self, version: u64) -> Self {
        self.answer(Answer::Miss {
            version: Some(v(version)),
        })
    }

    pub(super) fn failed(mut self) -> Self {
        self.0.outcome = Outcome::Failed(Unanswered::default());
        self
    }

    pub(super) fn one(mut self) -> Self {
        self.0.consistency = Consistency::One;
        self
    }

    pub(super) fn all(mut self) -> Self {
        self.0.consistency = Consistency::All;
        self
    }

    pub(super) fn lives(mut self, millis: u64) -> Self {
        if let Request::Set { life, .. } = &mut self.0.request {
            *life = Life::AfterNs(millis * MILLI);
        }
        self
    }

    pub(super) fn lives_unrecorded(mut self) -> Self {
        if let Request::Set { life, .. } = &mut self.0.request {
            *life = Life::Unrecorded;
        }
        self
    }

    /// The rest of the life that a hit announces.
    pub(super) fn left(mut self, millis: u64) -> Self {
        if let Outcome::Ok(answered) = &mut self.0.outcome
            && let Answer::Hit { expires_in_ns, .. } = &mut answered.answer
        {
            *expires_in_ns = Some(millis * MILLI);
        }
        self
    }

    pub(super) fn accepts_degraded(mut self) -> Self {
        self.0.degrade = Degrade::Accept;
        self
    }

    /// The answer says that it is degraded.
    pub(super) fn degraded(mut self) -> Self {
        if let Outcome::Ok(answered) = &mut self.0.outcome {
            answered.degraded = true;
        }
        self
    }

    /// So many of so many owners took part.
    pub(super) fn by(mut self, took_part: u8, owners: Option<u8>) -> Self {
        if let Outcome::Ok(answered) = &mut self.0.outcome {
            answered.took_part = Some(took_part);
            answered.owners = owners;
        }
        self
    }

    pub(super) fn node(mut self, node: u32) -> Self {
        self.0.node = node;
        self
    }
}

impl Story {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Adds an operation from one time to another. Ids count up from 1.
    pub(super) fn then(mut self, from: u64, to: u64, deed: Deed) -> Self {
        let mut operation = deed.0;
        operation.id = self.history.operations.len() as u64 + 1;
        operation.invoked_ns = from * MILLI;
        operation.completed_ns = to * MILLI;
        self.history.operations.push(operation);
        self
    }

    pub(super) fn mark(mut self, at: u64, event: Event) -> Self {
        self.history.marks.push(Mark {
            at_ns: at * MILLI,
            event,
        });
        self
    }

    pub(super) fn copy(mut self, at: u64, node: u32, held: Held) -> Self {
        self.history.copies.push(OwnerCopy {
            at_ns: at * MILLI,
            node,
            key: "k".to_owned(),
            held,
        });
        self
    }

    pub(super) fn holds(self, at: u64, node: u32, letter: char, version: u64) -> Self {
        let held = Held::Value {
            value: value(letter),
            version: v(version),
        };
        self.copy(at, node, held)
    }

    pub(super) fn with(mut self, change: impl FnOnce(&mut History)) -> Self {
        change(&mut self.history);
        self
    }

    pub(super) fn judged_by(&self, promises: &Promises) -> Verdict {
        check(&self.history, promises)
    }

    /// It breaks nothing.
    #[track_caller]
    pub(super) fn is_kept(&self) {
        self.is_kept_by(&Promises::full());
    }

    #[track_caller]
    pub(super) fn is_kept_by(&self, promises: &Promises) {
        let verdict = self.judged_by(promises);
        assert_eq!(verdict.violations, [], "{:#?}", self.history.operations);
    }

    /// It breaks this law once, and no other.
    #[track_caller]
    pub(super) fn breaks(&self, invariant: Invariant) -> Verdict {
        self.breaks_by(invariant, &Promises::full())
    }

    #[track_caller]
    pub(super) fn breaks_by(&self, invariant: Invariant, promises: &Promises) -> Verdict {
        let verdict = self.judged_by(promises);
        let found: Vec<Invariant> = verdict.violations.iter().map(|v| v.invariant).collect();
        assert_eq!(found, [invariant], "{:#?}", verdict.violations);
        verdict
    }
}
