//! Reads: ask a read quorum, one owner for the record and the rest for its version; turn to other owners when answers
//! fail or are late; the newest wins, and unless a write quorum holds it, it is stored on one before the answer, so that
//! no later read can return something older (Attiya, Bar-Noy and Dolev, "Sharing memory robustly in message-passing
//! systems", J. ACM 1995, the second phase of a read).

use std::{sync::Arc, time::Duration};

use crate::{
    coordinator::{
        Attempt, Coordinator, Plan,
        course::{Course, Event},
        explanation::{Choice, Purpose, Stage},
        ledger::{Exchange, HeldExchange, ReadExchange},
        pending::{Schedule, Woken},
        quorum::{Need, Newest, OWNERS_MAX, ReadOutcome, ReadTally, Standing, WriteOutcome},
        request::{Consistency, Failed, Hit, KeyRequest, Read, ReadError, Terms, Unavailable},
        traced,
    },
    key::Key,
    operation::{Kind, Operation, Want},
    store::{Body, Record},
    telemetry::{
        HedgeOutcome, Lookup, Op, OperationOutcome, RepairMode,
        traces::{Scope, Span},
    },
    transport::Reach,
    version::Version,
};

/// Owner positions in the order in which a read turns to them.
struct Preference {
    positions: [u8; OWNERS_MAX],
    owners: usize,
    /// When an answer is late, by position of the owner.
    late_after: [Option<Duration>; OWNERS_MAX],
}

/// What the owners answered, taken together. Small, because a request holds it while it waits for more.
struct Answers {
    newest: Newest,
    /// Owners that hold the newest version.
    holders: u8,
    answered: u8,
    is_degraded: bool,
}

impl Answers {
    fn of(tally: &ReadTally) -> Self {
        let newest = tally.newest();
        Self {
            holders: newest.version().map_or(0, |version| tally.holders(version)),
            answered: tally.answered(),
            is_degraded: tally.is_degraded(),
            newest,
        }
    }
}

/// What became of asking the owners once.
enum Asked {
    /// Enough answered.
    Answered(Answers),
    /// The configuration has changed.
    Reconfigured,
}

/// What the answers of a read quorum come to.
enum Resolved {
    /// The answer, held by a write quorum where that is due.
    Answer {
        hit: Option<Hit>,
        version: Option<Version>,
    },
    /// What was newest is gone: ask again.
    Again,
    /// The configuration has changed.
    Reconfigured,
}

impl Coordinator {
    /// Reads a key.
    ///
    /// Cancel-safe: a read changes nothing but the copies of what it found.
    ///
    /// # Errors
    /// Any [`ReadError`] may be tried again.
    pub async fn get(&self, request: KeyRequest) -> Result<Read, ReadError> {
        let read = self.get_explained(request).await;
        read.map_err(|failed| failed.error)
    }

    /// The same; a failure is explained too, if the terms ask for that.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn get_explained(&self, request: KeyRequest) -> Result<Read, Failed<ReadError>> {
        self.note_key(&request.key, request.terms);
        let mut course = Course::begin(request.terms, request.trace.as_ref(), &self.clock);
        let span = self.begin_span("quorum.read", request.trace.as_ref(), &request.key);
        let scope = span.as_deref().map(Span::scope);
        let read = self.read(&request.key, request.terms, scope, &mut course);
        let read = read.await;
        let explain = self.explain(&mut course);
        let outcome = read.as_ref().map(|read| read.degraded);
        traced::end(span, &course, outcome.map_err(ReadError::reason));
        self.count(
            Op::Get,
            match &read {
                Ok(Read {
                    degraded: false, ..
                }) => OperationOutcome::Ok,
                Ok(Read { degraded: true, .. }) => OperationOutcome::Degraded,
                Err(ReadError::Unavailable(_) | ReadError::NoQuorum { .. }) => {
                    OperationOutcome::Unavailable
                }
                Err(ReadError::DeadlineExceeded { .. }) => OperationOutcome::Timeout,
            },
            request.terms,
        );
        if let Ok(read) = &read {
            let found = if read.hit.is_some() {
                Lookup::Hit
            } else {
                Lookup::Miss
            };
            self.metrics.lookups.get(found).inc();
        }
        match read {
            Ok(read) => Ok(Read { explain, ..read }),
            Err(error) => Err(Failed { error, explain }),
        }
    }

    async fn read(
        &self,
        key: &Key,
        terms: Terms,
        trace: Option<&Arc<Scope>>,
        course: &mut Course,
    ) -> Result<Read, ReadError> {
        self.hedges.earn();
        let mut attempts = 0;
        loop {
            attempts += 1;
            course.attempt();
            let plan = self.plan(key)?;
            let need = self.need(&plan, terms, self.policy.read_quorum);
            course.planned(&plan, need);
            self.check_reach(&plan, need)?;
            let attempt = Attempt {
                plan: &plan,
                key,
                terms,
                number: attempts,
                trace,
            };
            let unresolved = match self.ask_owners(attempt, need, course).await? {
                Asked::Answered(answers) => {
                    let (answered, degraded) = (answers.answered, answers.is_degraded);
                    match self.resolve(attempt, answers, course).await? {
                        Resolved::Answer { hit, version } => {
                            return Ok(Read {
                                hit,
                                version,
                                degraded,
                                explain: None,
                            });
                        }
                        Resolved::Again if self.clock.monotonic() < terms.deadline => continue,
                        Resolved::Again => return Err(late(answered, need)),
                        Resolved::Reconfigured => late(answered, need),
                    }
                }
                Asked::Reconfigured => unanswered(0, need),
            };
            // Boxed, as all that is rare, so that a request that waits for its quorum is small.
            let changed = self.await_reconfiguration(plan.slot, attempts, terms, course);
            if !Box::pin(changed).await {
                return Err(unresolved);
            }
        }
    }

    /// Turns a read quorum's answers into the answer to the client.
    async fn resolve(
        &self,
        attempt: Attempt<'_>,
        answers: Answers,
        course: &mut Course,
    ) -> Result<Resolved, ReadError> {
        let Attempt { plan, terms, .. } = attempt;
        let Answers {
            newest,
            holders,
            is_degraded,
            ..
        } = answers;
        let newest_version = newest.version();
        let mut is_ghost = false;
        let record = match newest {
            Newest::Nothing | Newest::Unsure => {
                return Ok(Resolved::Answer {
                    hit: None,
                    version: None,
                });
            }
            Newest::Ghost(version) => {
                is_ghost = true;
                Record::ghost(version)
            }
            Newest::Gone(version) => Record {
                version,
                expires_at: None,
                body: Body::Tombstone,
            },
            Newest::Value {
                record: Some(record),
                ..
            } => record,
            Newest::Value {
                version,
                record: None,
                holder,
            } => {
                match Box::pin(self.fetch(attempt, holder, course)).await {
                    // Something newer may have arrived meanwhile: it is as good, once a write quorum holds it.
                    Some(record) if record.version >= version => record,
                    // The holder has lost it meanwhile, or broke off: the owners are asked again.
                    Some(_) | None => return Ok(Resolved::Again),
                }
            }
        };
        let version = Some(record.version);
        // What was fetched may be newer than everything that was answered: then nobody is known to hold it.
        let holders = if version == newest_version {
            holders
        } else {
            0
        };
        if !is_degraded && self.must_write_back(plan, holders, terms) {
            self.metrics.read_repairs.get(RepairMode::Blocking).inc();
            match Box::pin(self.write_back(attempt, &record, course)).await {
                Some(WriteOutcome::Acknowledged) => {}
                Some(WriteOutcome::Reconfigured) => return Ok(Resolved::Reconfigured),
                Some(
                    WriteOutcome::Open | WriteOutcome::Superseded { .. } | WriteOutcome::Hopeless,
                )
                | None => {
                    let need = self.need(plan, terms, self.policy.write_quorum);
                    return Err(unanswered(holders, need));
                }
            }
        }
        // Our own clock may be behind the stamp: what is no value must not be told by it.
        let hit = if is_ghost { None } else { self.hit(record) };
        Ok(Resolved::Answer { hit, version })
    }

    /// At QUORUM and ALL, unless a write quorum is known to hold the newest version.
    fn must_write_back(&self, plan: &Plan, holders: u8, terms: Terms) -> bool {
        match terms.consistency {
            Consistency::One => false,
            Consistency::Quorum | Consistency::All => {
                let quorum = self
                    .policy
                    .quorum_of(plan.owner_count(), self.policy.write_quorum);
                holders < quorum
            }
        }
    }

    fn hit(&self, record: Record) -> Option<Hit> {
        let now_millis = self.hybrid.now(self.clock.wall_millis()).millis();
        if record.is_expired(now_millis) {
            return None;
        }
        let expires_in = record
            .expires_at
            .map(|at| Duration::from_millis(at.saturating_sub(now_millis)));
        match record.body {
            Body::Value(value) => Some(Hit { value, expires_in }),
            Body::Tombstone => None,
        }
    }

    async fn ask_owners(
        &self,
        attempt: Attempt<'_>,
        need: Need,
        course: &mut Course,
    ) -> Result<Asked, ReadError> {
        let preference = self.preference(attempt.plan);
        let held = self.begin_read(attempt, need, &preference, course)?;
        let asked = self.await_quorum(&held, attempt, need, &preference, course);
        let asked = asked.await;
        course.take(held);
        asked
    }

    /// Asks the first owners. Not a part of the future, which would have room for a tally for as long as it waits.
    fn begin_read(
        &self,
        attempt: Attempt<'_>,
        need: Need,
        preference: &Preference,
        course: &mut Course,
    ) -> Result<HeldExchange<'_>, Unavailable> {
        let first = preference.first(need.required);
        let mut tally = ReadTally::new(need);
        first.iter().for_each(|position| tally.ask(*position));
        let exchange = Exchange::Read(ReadExchange {
            tally,
            hedge_due: false,
            is_hedging: false,
            requests: self.replica_requests(attempt, Purpose::Read, first.iter().copied()),
        });
        let nudge_at = self.tuned.hedge_after.get().map(|most| {
            let after = preference.late_after(first, most);
            self.clock.monotonic() + after
        });
        let schedule = Schedule {
            deadline: attempt.terms.deadline,
            nudge_at,
        };
        let held = self
            .ledger
            .begin(exchange, schedule)
            .map_err(|_full| Unavailable::Overloaded)?;
        course.enter(Stage::Quorum);
        for (order, position) in first.iter().enumerate() {
            let want = if order == 0 {
                Want::Record
            } else {
                Want::Version
            };
            self.send_read(&held, attempt, *position, want);
        }
        Ok(held)
    }

    /// Waits until a read is decided, and turns to other owners where some fail or are late.
    async fn await_quorum(
        &self,
        held: &HeldExchange<'_>,
        attempt: Attempt<'_>,
        need: Need,
        preference: &Preference,
        course: &mut Course,
    ) -> Result<Asked, ReadError> {
        loop {
            let woken = held.wait().await;
            let gone = || late(0, need);
            if woken == Woken::Expired {
                let answers = held
                    .read(|read| Answers::of(&read.tally))
                    .ok_or_else(gone)?;
                // Whoever accepts degraded service would rather have what there is than nothing.
                if need.least < need.required && answers.answered >= need.least {
                    return Ok(Asked::Answered(answers));
                }
                return Err(late(answers.answered, need));
            }
            let outcome = held
                .read(|read| self.consider_hedge(read, course))
                .ok_or_else(gone)?;
            match outcome {
                ReadOutcome::Open => {}
                ReadOutcome::AskMore { owners } => {
                    let next = held
                        .read(|read| {
                            let next = preference.next(&mut read.tally, owners);
                            note_later_choice(read, &next, course);
                            next
                        })
                        .ok_or_else(gone)?;
                    for position in next {
                        self.send_read(held, attempt, position, Want::Record);
                    }
                }
                ReadOutcome::Answered => {
                    let answers = held
                        .read(|read| Answers::of(&read.tally))
                        .ok_or_else(gone)?;
                    return Ok(Asked::Answered(answers));
                }
                ReadOutcome::Reconfigured => return Ok(Asked::Reconfigured),
                ReadOutcome::Hopeless => {
                    let answered = held.read(|read| read.tally.answered()).unwrap_or(0);
                    return Err(unanswered(answered, need));
                }
            }
        }
    }

    /// When the hedging delay has passed without a decision and the budget allows, the owners asked so far count as
    /// late.
    fn consider_hedge(&self, read: &mut ReadExchange, course: &mut Course) -> ReadOutcome {
        if read.hedge_due {
            read.hedge_due = false;
            if read.tally.outcome() == ReadOutcome::Open {
                let outcome = if self.hedges.spend() {
                    read.tally.stall_all_open();
                    read.is_hedging = true;
                    HedgeOutcome::Sent
                } else {
                    course.note(Event::HedgeRefused);
                    HedgeOutcome::NoBudget
                };
                self.metrics.hedges.get(outcome).inc();
            }
        }
        read.tally.outcome()
    }

    /// Reads the whole record of an owner that is known to hold one.
    async fn fetch(&self, attempt: Attempt<'_>, holder: u8, course: &mut Course) -> Option<Record> {
        let Attempt { plan, terms, .. } = attempt;
        let need = Need {
            owners: plan.owner_count(),
            required: 1,
            least: 1,
            standing: Standing::Themselves,
        };
        let mut tally = ReadTally::new(need);
        // Only the holder is asked; the others count as asked and never answer.
        (0..need.owners).for_each(|position| tally.ask(position));
        let exchange = Exchange::Read(ReadExchange {
            tally,
            hedge_due: false,
            is_hedging: false,
            requests: self.replica_requests(attempt, Purpose::Fetch, [holder]),
        });
        let deadline = terms.deadline.min(self.clock.monotonic() + FETCH_TIMEOUT);
        let schedule = Schedule {
            deadline,
            nudge_at: None,
        };
        let held = self.ledger.begin(exchange, schedule).ok()?;
        course.enter(Stage::Fetch);
        for position in (0..need.owners).filter(|position| *position != holder) {
            held.not_sent(position);
        }
        self.send_read(&held, attempt, holder, Want::Record);
        held.wait().await;
        let newest = held.read(|read| read.tally.newest());
        course.take(held);
        match newest? {
            Newest::Value { record, .. } => record,
            Newest::Nothing | Newest::Gone(_) | Newest::Ghost(_) | Newest::Unsure => None,
        }
    }

    fn send_read(&self, held: &HeldExchange<'_>, attempt: Attempt<'_>, position: u8, want: Want) {
        let Attempt {
            plan, key, terms, ..
        } = attempt;
        let Some(owner) = plan.configuration.owners().get(usize::from(position)) else {
            return;
        };
        let operation = Operation {
            token: held.token(position),
            slot: plan.slot,
            configuration: plan.configuration.id(),
            deadline: terms.deadline,
            trace: held.trace(position),
            kind: Kind::Read {
                key: key.clone(),
                want,
                is_explained: terms.detail.is_explained(),
            },
        };
        if self.transport.submit(owner.node_id, operation).is_err() {
            held.not_sent(position);
        }
    }

    /// This node first if it is an owner, then those that answer, fastest first, then stalled ones, then those without
    /// a link.
    fn preference(&self, plan: &Plan) -> Preference {
        let mut ranked = [(Reach::Down, Duration::MAX, u8::MAX); OWNERS_MAX];
        let (mut late_after, mut owners) = ([None; OWNERS_MAX], 0);
        for (position, owner) in (0u8..).zip(plan.configuration.owners()).take(OWNERS_MAX) {
            let rank = if owner.node_id == self.own {
                late_after[usize::from(position)] = Some(Duration::ZERO);
                (Reach::Up, Duration::ZERO)
            } else {
                let outlook = self.transport.outlook(owner.node_id);
                late_after[usize::from(position)] = outlook.late_after;
                // An unmeasured peer must not look as near as this node itself.
                let round_trip = outlook.round_trip.max(Duration::from_micros(1));
                (outlook.reach, round_trip)
            };
            ranked[usize::from(position)] = (rank.0, rank.1, position);
            owners += 1;
        }
        ranked[..owners].sort_unstable();
        let mut positions = [0; OWNERS_MAX];
        for (slot, (_reach, _round_trip, position)) in positions.iter_mut().zip(ranked) {
            *slot = position;
        }
        Preference {
            positions,
            owners,
            late_after,
        }
    }
}

/// No read turns to another owner sooner only because one is late.
const HEDGE_MIN: Duration = Duration::from_millis(1);
/// How long reading the holder's record may take before the quorum is asked again.
const FETCH_TIMEOUT: Duration = Duration::from_millis(250);

impl Preference {
    fn first(&self, count: u8) -> &[u8] {
        &self.positions[..usize::from(count).min(self.owners)]
    }

    /// When these owners are all late: a peer of which too little is known not before `most`, and none before a
    /// millisecond, which is how closely time is looked at.
    fn late_after(&self, positions: &[u8], most: Duration) -> Duration {
        let late_after = positions.iter().map(|position| {
            let known = self.late_after.get(usize::from(*position));
            known.copied().flatten().unwrap_or(most)
        });
        late_after
            .max()
            .unwrap_or(most)
            .clamp(HEDGE_MIN.min(most), most)
    }

    /// Marks the next `count` owners that have not been asked as asked and returns them.
    fn next(&self, tally: &mut ReadTally, count: u8) -> Vec<u8> {
        let unasked = self.positions[..self.owners].iter().copied();
        let next: Vec<u8> = unasked
            .filter(|position| tally.is_unasked(*position))
            .take(usize::from(count))
            .collect();
        next.iter().for_each(|position| tally.ask(*position));
        next
    }
}

/// Notes whom a read turns to later, and why, if that is noted.
fn note_later_choice(read: &mut ReadExchange, next: &[u8], course: &mut Course) {
    let (choice, event) = if std::mem::take(&mut read.is_hedging) {
        (Choice::Hedge, Event::HedgeSent)
    } else {
        (Choice::Next, Event::OwnerReplaced)
    };
    course.note(event);
    if let Some(requests) = &mut read.requests {
        requests.asked_later(next, choice);
    }
}

const fn late(answered: u8, need: Need) -> ReadError {
    ReadError::DeadlineExceeded {
        answered,
        needed: need.required,
    }
}

const fn unanswered(answered: u8, need: Need) -> ReadError {
    ReadError::NoQuorum {
        answered,
        needed: need.required,
    }
}
