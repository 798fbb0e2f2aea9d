//! Writes: stamp, send to all owners at once, answer when enough have stored it. The rest finish in the background, and
//! owners who do not answer are owed a hint.

use std::{sync::Arc, time::Duration};

#[cfg(feature = "planted-bugs")]
use shard_cache_membership::identity::NodeId;

#[cfg(feature = "planted-bugs")]
use crate::planted;
use crate::{
    coordinator::{
        Attempt, Coordinator, Plan,
        course::{Course, Event},
        explanation::{Explanation, Purpose, Stage},
        ledger::{Debt, Exchange, HeldExchange, WriteExchange},
        pending::{Schedule, Woken},
        quorum::{Need, OnNewer, WriteOutcome, WriteTally},
        request::{Failed, KeyRequest, SetRequest, Terms, Ttl, Unavailable, WriteError, Written},
        traced,
    },
    key::Key,
    operation::{Kind, Operation},
    store::{Body, Record},
    telemetry::{
        Op, OperationOutcome,
        traces::{Scope, Span},
    },
    version::Version,
};

/// How often one write is stamped anew after meeting something newer.
const RESTAMPS_MAX: u32 = 4;

/// What a write changes.
struct Change {
    body: Body,
    ttl: Option<Duration>,
}

/// What an attempt came to: no outcome when the deadline came first. Small, because a request holds it while it waits.
struct Verdict {
    outcome: Option<WriteOutcome>,
    stored: u8,
    replaced: bool,
    may_be_applied: bool,
    is_degraded: bool,
}

impl Verdict {
    fn of(tally: &WriteTally, outcome: Option<WriteOutcome>) -> Self {
        Self {
            outcome,
            stored: tally.stored(),
            replaced: tally.replaced(),
            may_be_applied: tally.may_be_applied(),
            is_degraded: tally.is_degraded(),
        }
    }
}

impl Coordinator {
    /// Stores a value.
    ///
    /// Dropping the future gives up waiting; the write may still be applied.
    ///
    /// # Errors
    /// [`WriteError::Unavailable`] means surely not applied; the others mean unknown.
    pub async fn set(&self, request: SetRequest) -> Result<Written, WriteError> {
        let written = self.set_explained(request).await;
        written.map_err(|failed| failed.error)
    }

    /// The same; a failure is explained too, if the terms ask for that.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub async fn set_explained(&self, request: SetRequest) -> Result<Written, Failed<WriteError>> {
        self.note_key(&request.key, request.terms);
        let ttl = match request.ttl {
            Ttl::Default => self.tuned.default_ttl.get(),
            Ttl::Never => None,
            Ttl::After(ttl) => Some(ttl),
        };
        let body = Body::Value(request.value);
        let change = Change { body, ttl };
        let mut course = Course::begin(request.terms, request.trace.as_ref(), &self.clock);
        let span = self.begin_span("quorum.write", request.trace.as_ref(), &request.key);
        let scope = span.as_deref().map(Span::scope);
        let written = self
            .mutate(&request.key, change, request.terms, scope, &mut course)
            .await;
        let explain = self.explain(&mut course);
        let outcome = written.as_ref().map(|written| written.degraded);
        traced::end(span, &course, outcome.map_err(WriteError::reason));
        self.count_write(Op::Set, &written, request.terms);
        explained(written, explain)
    }

    /// Deletes a key by writing a tombstone.
    ///
    /// Dropping the future gives up waiting; the delete may still be applied.
    ///
    /// # Errors
    /// [`WriteError::Unavailable`] means surely not applied; the others mean unknown.
    pub async fn delete(&self, request: KeyRequest) -> Result<Written, WriteError> {
        let written = self.delete_explained(request).await;
        written.map_err(|failed| failed.error)
    }

    /// The same; a failure is explained too, if the terms ask for that.
    ///
    /// # Errors
    /// As [`delete`](Self::delete).
    pub async fn delete_explained(
        &self,
        request: KeyRequest,
    ) -> Result<Written, Failed<WriteError>> {
        let KeyRequest { key, terms, trace } = request;
        self.note_key(&key, terms);
        let change = Change {
            body: Body::Tombstone,
            ttl: None,
        };
        let mut course = Course::begin(terms, trace.as_ref(), &self.clock);
        let span = self.begin_span("quorum.write", trace.as_ref(), &key);
        let scope = span.as_deref().map(Span::scope);
        let written = self.mutate(&key, change, terms, scope, &mut course).await;
        let explain = self.explain(&mut course);
        let outcome = written.as_ref().map(|written| written.degraded);
        traced::end(span, &course, outcome.map_err(WriteError::reason));
        self.count_write(Op::Delete, &written, terms);
        explained(written, explain)
    }

    async fn mutate(
        &self,
        key: &Key,
        Change { body, ttl }: Change,
        terms: Terms,
        trace: Option<&Arc<Scope>>,
        course: &mut Course,
    ) -> Result<Written, WriteError> {
        let version = self.next_version();
        let expires_at = ttl.map(|ttl| {
            let ttl = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
            // A time to live below a millisecond still means that the value expires; 0 would mean never.
            version.stamp.millis().saturating_add(ttl).max(1)
        });
        let mut record = Record {
            version,
            expires_at,
            body,
        };
        let (mut attempts, mut restamps) = (0, 0);
        let (mut may_be_applied, mut replaced) = (false, false);
        loop {
            attempts += 1;
            course.attempt();
            let (plan, need) = match self.prepare(key, terms, course) {
                Ok(prepared) => prepared,
                Err(_unavailable) if may_be_applied => {
                    return Err(WriteError::Unknown {
                        stored: 0,
                        needed: 1,
                    });
                }
                Err(unavailable) => return Err(unavailable.into()),
            };
            let verdict = self
                .attempt_write(
                    Attempt {
                        plan: &plan,
                        key,
                        terms,
                        number: attempts,
                        trace,
                    },
                    need,
                    OnNewer::Restamp,
                    &record,
                    course,
                )
                .await;
            let verdict = match verdict {
                Ok(verdict) => verdict,
                // An earlier attempt was sent: nobody can say that it was surely not applied.
                Err(_unavailable) if may_be_applied => {
                    return Err(WriteError::Unknown {
                        stored: 0,
                        needed: need.required,
                    });
                }
                Err(unavailable) => return Err(unavailable.into()),
            };
            let Verdict {
                outcome,
                stored,
                is_degraded,
                ..
            } = verdict;
            replaced |= verdict.replaced;
            may_be_applied |= verdict.may_be_applied;
            match outcome {
                Some(WriteOutcome::Acknowledged) => {
                    return Ok(Written {
                        version: record.version,
                        stored,
                        replaced,
                        degraded: is_degraded,
                        explain: None,
                    });
                }
                Some(WriteOutcome::Superseded { by }) if restamps < RESTAMPS_MAX => {
                    restamps += 1;
                    course.note(Event::Restamped);
                    self.metrics.restamps.inc();
                    record.version = match self.version_above(by) {
                        Some(version) => version,
                        None => return Err(unacknowledged(may_be_applied, stored, need)),
                    };
                }
                // Boxed, as it is rare, so that a request that waits for its quorum is small.
                Some(WriteOutcome::Reconfigured)
                    if Box::pin(self.await_reconfiguration(plan.slot, attempts, terms, course))
                        .await => {}
                Some(WriteOutcome::Open) | None => {
                    return Err(WriteError::DeadlineExceeded {
                        stored,
                        needed: need.required,
                    });
                }
                Some(
                    WriteOutcome::Superseded { .. }
                    | WriteOutcome::Reconfigured
                    | WriteOutcome::Hopeless,
                ) => return Err(unacknowledged(may_be_applied, stored, need)),
            }
        }
    }

    /// Stores what a read found on a write quorum, before the read is answered. A newer version satisfies. No outcome
    /// means that the deadline came first, or that there was no room for the exchange.
    pub(super) async fn write_back(
        &self,
        attempt: Attempt<'_>,
        record: &Record,
        course: &mut Course,
    ) -> Option<WriteOutcome> {
        let need = self.need(attempt.plan, attempt.terms, self.policy.write_quorum);
        let need = Need {
            least: need.required,
            ..need
        };
        course.note(Event::WriteBack);
        let verdict = self
            .attempt_write(attempt, need, OnNewer::Satisfied, record, course)
            .await;
        verdict.ok().and_then(|verdict| verdict.outcome)
    }

    fn prepare(
        &self,
        key: &Key,
        terms: Terms,
        course: &mut Course,
    ) -> Result<(Plan, Need), Unavailable> {
        let plan = self.plan(key)?;
        let need = self.need(&plan, terms, self.policy.write_quorum);
        #[cfg(feature = "planted-bugs")]
        let need = with_planted_bugs(need);
        course.planned(&plan, need);
        self.check_reach(&plan, need)?;
        Ok((plan, need))
    }

    /// Sends one version to all owners and waits until it is decided. No outcome means that the deadline came first.
    async fn attempt_write(
        &self,
        attempt: Attempt<'_>,
        need: Need,
        on_newer: OnNewer,
        record: &Record,
        course: &mut Course,
    ) -> Result<Verdict, Unavailable> {
        let Attempt {
            plan, key, terms, ..
        } = attempt;
        let (purpose, stage) = match on_newer {
            OnNewer::Restamp => (Purpose::Write, Stage::Quorum),
            OnNewer::Satisfied => (Purpose::WriteBack, Stage::WriteBack),
        };
        let exchange = Exchange::Write(WriteExchange {
            tally: WriteTally::new(need, on_newer),
            key: key.clone(),
            record: record.clone(),
            slot: plan.slot,
            configuration: plan.configuration.clone(),
            debt: match on_newer {
                OnNewer::Restamp => Debt::Owed,
                OnNewer::Satisfied => Debt::None,
            },
            requests: self.replica_requests(attempt, purpose, 0..need.owners),
        });
        let schedule = Schedule {
            deadline: terms.deadline,
            nudge_at: None,
        };
        let held = self
            .ledger
            .begin(exchange, schedule)
            .map_err(|_full| Unavailable::Overloaded)?;
        course.enter(stage);
        self.send_write(&held, attempt, on_newer, record);
        let woken = held.wait().await;
        let verdict = held.write(|write| {
            let outcome = write.tally.outcome();
            match outcome {
                // The next attempt carries the debt.
                WriteOutcome::Superseded { .. } | WriteOutcome::Reconfigured => {
                    write.debt = Debt::None;
                }
                WriteOutcome::Open | WriteOutcome::Acknowledged | WriteOutcome::Hopeless => {}
            }
            let outcome = match woken {
                Woken::Actionable => Some(outcome),
                // Whoever accepts degraded service would rather have what there is than nothing.
                Woken::Expired
                    if need.least < need.required && write.tally.stored() >= need.least =>
                {
                    Some(WriteOutcome::Acknowledged)
                }
                Woken::Expired => None,
            };
            Verdict::of(&write.tally, outcome)
        });
        course.take(held);
        Ok(verdict.unwrap_or_else(|| Verdict::of(&WriteTally::new(need, on_newer), None)))
    }

    /// Peers first, so that they work while this node applies its own copy.
    fn send_write(
        &self,
        held: &HeldExchange<'_>,
        attempt: Attempt<'_>,
        on_newer: OnNewer,
        record: &Record,
    ) {
        let Attempt {
            plan, key, terms, ..
        } = attempt;
        let submit = |position: u8, node_id| {
            #[cfg(feature = "planted-bugs")]
            if on_newer == OnNewer::Restamp && self.is_left_out(plan, node_id) {
                held.not_sent(position);
                return;
            }
            let operation = Operation {
                token: held.token(position),
                slot: plan.slot,
                configuration: plan.configuration.id(),
                deadline: terms.deadline,
                trace: held.trace(position),
                kind: Kind::Write {
                    key: key.clone(),
                    record: record.clone(),
                    is_write_back: on_newer == OnNewer::Satisfied,
                },
            };
            if self.transport.submit(node_id, operation).is_err() {
                held.not_sent(position);
            }
        };
        let mut own_position = None;
        for (position, owner) in (0u8..).zip(plan.configuration.owners()) {
            if owner.node_id == self.own {
                own_position = Some(position);
            } else {
                submit(position, owner.node_id);
            }
        }
        if let Some(position) = own_position {
            submit(position, self.own);
        }
    }

    /// Whether a planted bug keeps a write from an owner: all but the first one, which is this node if it is one of them.
    #[cfg(feature = "planted-bugs")]
    fn is_left_out(&self, plan: &Plan, node_id: NodeId) -> bool {
        let owners = plan.configuration.owners();
        let own = owners.iter().find(|owner| owner.node_id == self.own);
        let first = own.or(owners.first());
        planted::Bug::AckBeforeStore.is_planted()
            && first.is_some_and(|first| first.node_id != node_id)
    }

    /// A version above one that an owner refused us for; `None` if that one is too far ahead of our clock.
    fn version_above(&self, refused_for: Version) -> Option<Version> {
        let wall_millis = self.clock.wall_millis();
        if self.hybrid.observe(refused_for.stamp, wall_millis).is_err() {
            self.metrics.hlc_rejected.inc();
            return None;
        }
        Some(self.next_version())
    }

    fn count_write(&self, operation: Op, written: &Result<Written, WriteError>, terms: Terms) {
        self.count(
            operation,
            match written {
                Ok(Written {
                    degraded: false, ..
                }) => OperationOutcome::Ok,
                Ok(Written { degraded: true, .. }) => OperationOutcome::Degraded,
                Err(WriteError::Unavailable(_)) => OperationOutcome::Unavailable,
                Err(WriteError::Unknown { .. }) => OperationOutcome::Unknown,
                Err(WriteError::DeadlineExceeded { .. }) => OperationOutcome::Timeout,
            },
            terms,
        );
    }
}

/// Puts the explanation, if there is one, with what became of the write.
fn explained(
    written: Result<Written, WriteError>,
    explain: Option<Box<Explanation>>,
) -> Result<Written, Failed<WriteError>> {
    match written {
        Ok(written) => Ok(Written { explain, ..written }),
        Err(error) => Err(Failed { error, explain }),
    }
}

/// With some planted bugs one owner is enough.
#[cfg(feature = "planted-bugs")]
fn with_planted_bugs(need: Need) -> Need {
    if planted::one_owner_is_enough() {
        let (required, least) = (1, 1);
        Need {
            required,
            least,
            ..need
        }
    } else {
        need
    }
}

fn unacknowledged(may_be_applied: bool, stored: u8, need: Need) -> WriteError {
    let Need {
        owners,
        required: needed,
        ..
    } = need;
    if may_be_applied {
        WriteError::Unknown { stored, needed }
    } else {
        WriteError::Unavailable(Unavailable::NoQuorum {
            reachable: stored,
            owners,
            needed,
        })
    }
}
