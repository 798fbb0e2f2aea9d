//! Slot handoff: asks peers where they are in slots that move, and copies what this node lacks. One task, in rounds.
//!
//! A round asks every peer that can be reached about every slot that is open, a few hundred at a time, and then copies
//! for a bounded time. Slots that requests wait for come first and are not held back; the others keep to a rate, and give
//! way to everything else (`pace`). A copy of some slots is a few pages; records that are held already are not sent.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::future::join_all;
use rand::rngs::StdRng;
use shard_cache_membership::view::View;
use tokio::sync::watch;

use super::{
    backoff::Backoff,
    pace::{Budget, Pace},
    records::{self, NotRecords},
    slots::{Copies, Slots, stand},
};
use crate::{
    clock::Clock,
    key::Slot,
    replica::Replica,
    ring::{
        RingMember,
        slot::SlotState,
        table::{Question, Reply, Stand},
    },
    slot_set::SlotSet,
    store::Traces,
    telemetry::{
        Metrics,
        traces::{self, KeyValue, Tracer},
    },
    transport::{CallError, Page, PageRequest, PeerTransport, Reach, SlotExchange},
};

/// Between two rounds of questions: at least, and at most while slots are not settled.
const ROUND_PAUSE_MIN: Duration = Duration::from_millis(10);
const ROUND_PAUSE_MAX: Duration = Duration::from_secs(1);
/// The pause grows with what a round asked, per slot and peer: a few times what such a question costs both sides, so that
/// asking never takes more than a part of the processor's time.
const QUESTION_PAUSE: Duration = Duration::from_micros(10);
/// How long one round may copy slots that nobody waits for.
const ROUND_COPY_TIME: Duration = Duration::from_secs(1);
/// How long a peer may take to reply.
pub(crate) const REPLY_TIMEOUT: Duration = Duration::from_secs(2);
/// Slots that are copied together.
pub(crate) const COPY_SLOTS_MAX: usize = 256;
/// Records of them that may be named as held; of more, all are copied.
pub(crate) const HELD_RECORDS_MAX: usize = 65_536;
/// Keys and values in one page of a copy: no more than both sides read and merge in a millisecond or two, because
/// requests on the same thread wait for that.
pub(crate) const PAGE_BYTES_MAX: usize = 256 * 1024;
/// How often a page is asked for before the copy is given up until the next round, and the longest pause in between.
const PAGE_TRIES_MAX: u32 = 4;
const PAGE_PAUSE_MAX: Duration = Duration::from_millis(400);

/// Asks and copies for one node.
pub struct SlotHandoff {
    /// The node's slots.
    pub slots: Arc<Slots>,
    /// Where copied records go.
    pub replica: Arc<Replica>,
    /// How peers are reached.
    pub transport: Arc<dyn PeerTransport>,
    /// Who there is to ask.
    pub view: watch::Receiver<Arc<View>>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Most bytes of keys and values in a second.
    pub bytes_per_second_max: u64,
    /// What all background work may take together.
    pub budget: Budget,
    /// Decides about pauses.
    pub rng: StdRng,
    /// Records copies as requests are sampled.
    pub tracer: Tracer,
}

/// What a round came to.
#[derive(Clone, Copy, Default)]
struct Outcome {
    /// Copies that failed.
    failures: usize,
    /// The time was up before everything was copied.
    is_cut_short: bool,
    /// Questions asked.
    questions: u32,
}

/// What peers said in one round.
#[derive(Default)]
struct Heard {
    copies: Copies,
    has_replies: bool,
    questions: u32,
}

/// Slots to be copied from one source, together.
struct Batch {
    source: RingMember,
    /// Where the source was in each before anything was copied.
    slots: BTreeMap<Slot, Stand>,
    is_awaited: bool,
}

impl SlotHandoff {
    /// Works for as long as the node runs.
    pub async fn run(mut self) {
        let mut reached = Vec::new();
        let mut pause = ROUND_PAUSE_MIN;
        let mut pace = Pace::new(self.bytes_per_second_max, self.budget.clone());
        loop {
            let before = self.slots.table().changes();
            let outcome = self.round(&mut reached, &mut pace).await;
            let changed = self.slots.table().changes() != before;
            pause = if (changed || outcome.is_cut_short) && outcome.failures == 0 {
                ROUND_PAUSE_MIN
            } else {
                (pause * 2).min(ROUND_PAUSE_MAX)
            };
            // What failed will most likely fail again: news do not shorten that pause.
            let least = if outcome.failures > 0 {
                pause
            } else {
                (QUESTION_PAUSE * outcome.questions).clamp(ROUND_PAUSE_MIN, ROUND_PAUSE_MAX)
            };
            self.clock.sleep(least).await;
            if outcome.is_cut_short {
                continue;
            }
            tokio::select! {
                biased;
                () = self.slots.cell.doubts.noted.notified() => {}
                () = self.slots.stirred.notified() => {}
                () = self.clock.sleep(pause) => {}
            }
        }
    }

    /// Asks every peer that can be reached once what there is to ask, goes by the replies, and copies. `reached` are the
    /// peers of the last round.
    async fn round(&mut self, reached: &mut Vec<RingMember>, pace: &mut Pace) -> Outcome {
        let doubts = self.slots.cell.doubts.take();
        let peers = self.peers();
        {
            let mut table = self.slots.table();
            doubts.iter().for_each(|slot| table.doubt(slot));
            if table.is_at_rest() {
                return Outcome::default();
            }
            table.begin_round();
            if peers != *reached {
                table.rouse();
                reached.clone_from(&peers);
            }
        }
        let heard = self.ask_all(peers).await;
        self.slots.table().trust(&doubts);
        let questions = heard.questions;
        if !heard.has_replies {
            return Outcome {
                questions,
                ..Outcome::default()
            };
        }
        let outcome = self.copy_some(heard.copies, pace).await;
        self.slots.declare_losses(self.clock.wall_millis());
        Outcome {
            questions,
            ..outcome
        }
    }

    /// Asks about all open slots, a few at a time, and goes by the replies.
    async fn ask_all(&self, mut peers: Vec<RingMember>) -> Heard {
        let (mut heard, mut from) = (Heard::default(), Slot(0));
        loop {
            let open = self.slots.table().open_slots(from);
            let Some(last) = open.iter().last() else {
                break;
            };
            let asks: Vec<_> = peers
                .iter()
                .map(|peer| (*peer, self.slots.table().questions(*peer, &open)))
                .collect();
            let questions: usize = asks.iter().map(|(_, questions)| questions.len()).sum();
            heard.questions += u32::try_from(questions).unwrap_or(u32::MAX);
            let asks = asks.into_iter();
            let asked = join_all(asks.map(|(peer, questions)| self.ask(peer, questions))).await;
            // Whoever does not reply now would only hold up the rest of the round.
            peers.retain(|peer| !asked.contains(&(*peer, None)));
            let replies: Vec<_> = asked
                .into_iter()
                .filter_map(|(peer, replies)| Some((peer, replies?)))
                .filter(|(_, replies)| !replies.is_empty())
                .collect();
            heard.has_replies |= !replies.is_empty();
            for (source, slots) in self.slots.take(&replies) {
                heard.copies.entry(source).or_default().extend(slots);
            }
            match last.0.checked_add(1) {
                Some(next) if !peers.is_empty() => from = Slot(next),
                Some(_) | None => break,
            }
        }
        heard
    }

    /// Peers that are there and linked.
    fn peers(&self) -> Vec<RingMember> {
        let view = self.view.borrow();
        let others = view.present().filter(|member| member.node_id != view.own);
        others
            .filter(|member| self.transport.reach(member.node_id) == Reach::Up)
            .map(|member| RingMember {
                node_id: member.node_id,
                boot_id: member.boot_id,
            })
            .collect()
    }

    /// Asks one peer; `None` when it did not reply.
    async fn ask(
        &self,
        peer: RingMember,
        questions: Vec<Question>,
    ) -> (RingMember, Option<Vec<Reply>>) {
        if questions.is_empty() {
            return (peer, Some(Vec::new()));
        }
        match self.exchange(peer, questions).await {
            Ok(replies) => (peer, Some(replies)),
            Err(error) => {
                tracing::debug!(peer = %peer.node_id, %error, "a peer did not say where it is");
                (peer, None)
            }
        }
    }

    async fn exchange(
        &self,
        peer: RingMember,
        questions: Vec<Question>,
    ) -> Result<Vec<Reply>, CallError> {
        let from = self.slots.table().own();
        let exchange = SlotExchange {
            from,
            boot_id: peer.boot_id,
            questions,
        };
        tokio::select! {
            biased;
            replies = self.transport.exchange_slots(peer.node_id, exchange) => replies,
            () = self.clock.sleep(REPLY_TIMEOUT) => Err(CallError::Unreachable {
                reason: format!("no reply within {REPLY_TIMEOUT:?}"),
            }),
        }
    }

    /// Copies what requests wait for, and for a while the rest.
    async fn copy_some(&mut self, copies: Copies, pace: &mut Pace) -> Outcome {
        let until = self.clock.monotonic() + ROUND_COPY_TIME;
        let awaits = self.slots.table().awaits();
        let mut outcome = Outcome::default();
        for batch in self.batches(copies) {
            // Somebody began to wait: that slot goes first, in another round.
            let is_interrupted = self.slots.table().awaits() != awaits;
            if !batch.is_awaited && (is_interrupted || self.clock.monotonic() >= until) {
                outcome.is_cut_short = true;
                break;
            }
            let source = batch.source.node_id;
            let mut span = self.tracer.begin_root("slot.handoff", &[]);
            if let Some(span) = &mut span {
                span.note([
                    KeyValue::new("shard_cache.peer.id", source.to_string()),
                    KeyValue::new("shard_cache.slots", traces::whole(batch.slots.len())),
                ]);
            }
            let copied = self.copy(batch, pace).await;
            traces::end(&mut span, [], copied.as_ref().err().map(CopyError::word));
            if let Err(error) = copied {
                tracing::info!(%source, %error, "a source of a slot handoff is asked again");
                outcome.failures += 1;
            }
        }
        outcome
    }

    /// Copies in batches; first those that requests wait for.
    fn batches(&self, copies: Copies) -> Vec<Batch> {
        let (mut awaited, mut others) = (Vec::new(), Vec::new());
        let table = self.slots.table();
        for (source, slots) in copies {
            let (first, rest): (Vec<_>, Vec<_>) = slots
                .into_iter()
                .partition(|(slot, _)| table.is_awaited(*slot));
            for (slots, is_awaited) in [(first, true), (rest, false)] {
                let into = if is_awaited {
                    &mut awaited
                } else {
                    &mut others
                };
                for some in slots.chunks(COPY_SLOTS_MAX) {
                    into.push(Batch {
                        source,
                        slots: some.iter().cloned().collect(),
                        is_awaited,
                    });
                }
            }
        }
        awaited.append(&mut others);
        awaited
    }

    /// Copies slots whose source has answered a pull, and asks once more: it counts for those in which the source has stayed
    /// in the configuration all the while.
    async fn copy(&mut self, batch: Batch, pace: &mut Pace) -> Result<(), CopyError> {
        let Batch {
            source,
            slots,
            is_awaited,
        } = batch;
        let set: SlotSet = {
            // What has become full meanwhile, from another source, needs no copy.
            let table = self.slots.table();
            let wanting = slots.keys().copied();
            wanting.filter(|slot| table.is_wanting(*slot)).collect()
        };
        if set.is_empty() {
            return Ok(());
        }
        // Once: what comes with one page is not in a later one.
        // Of too many to name all are sent.
        let held = self
            .replica
            .held(&set, HELD_RECORDS_MAX)
            .unwrap_or_default();
        let (mut cursor, mut traces) = (0, Traces::default());
        loop {
            let began = self.clock.monotonic();
            let request = PageRequest {
                boot_id: source.boot_id,
                slots: set.clone(),
                cursor,
                bytes_max: PAGE_BYTES_MAX,
                held: held.clone(),
            };
            let page = self.page(source, request).await?;
            let bytes = page.records.len();
            let records = records::decode(&page.records)?;
            self.metrics.slot_pages.inc();
            self.metrics.slot_records.inc_by(records.len() as u64);
            self.metrics.slot_bytes.inc_by(bytes as u64);
            let root_of = |slot: Slot| Some(slots.get(&slot)?.configuration.id().root);
            let merged = self.replica.take_over(root_of, records, self.clock.now());
            if !merged.refused.is_empty() {
                let records = merged.refused.len() as u64;
                self.metrics.hlc_rejected.inc_by(records);
                return Err(CopyError::Drifted { records });
            }
            traces.add(page.traces);
            let now = self.clock.monotonic();
            let pause = pace.pay(bytes, now.saturating_sub(began), now);
            if !is_awaited && !pause.is_zero() {
                self.clock.sleep(pause).await;
            }
            match page.next_cursor {
                Some(next) => cursor = next,
                None => break,
            }
        }
        // After the records: what the source itself holds is not out of date.
        let root_of = |slot: Slot| Some(slots.get(&slot)?.configuration.id().root);
        let ahead = self.replica.take_traces(root_of, &traces, self.clock.now());
        if ahead > 0 {
            let records = ahead as u64;
            self.metrics.hlc_rejected.inc_by(records);
            return Err(CopyError::Drifted { records });
        }
        self.count(source, &set, &slots).await
    }

    /// One page. A source that fails is asked for the same page again, a few times.
    async fn page(&mut self, source: RingMember, request: PageRequest) -> Result<Page, CallError> {
        let mut backoff = Backoff::new(PAGE_PAUSE_MAX);
        let mut tries = 0;
        loop {
            tries += 1;
            let called = tokio::select! {
                biased;
                page = self.transport.pull_slots(source.node_id, request.clone()) => page,
                () = self.clock.sleep(REPLY_TIMEOUT) => Err(CallError::Unreachable {
                    reason: format!("no page within {REPLY_TIMEOUT:?}"),
                }),
            };
            match called {
                Ok(page) => return Ok(page),
                Err(error) if tries >= PAGE_TRIES_MAX => return Err(error),
                Err(_) => {
                    let pause = backoff.fail(self.clock.monotonic(), &mut self.rng);
                    self.clock.sleep(pause).await;
                }
            }
        }
    }

    /// Asks once more about slots that have been copied, and counts the answers of a source that is where it was. One
    /// that has become full meanwhile was not when the first pages were read, which may lack what made it full.
    async fn count(
        &self,
        source: RingMember,
        set: &SlotSet,
        slots: &BTreeMap<Slot, Stand>,
    ) -> Result<(), CopyError> {
        let questions: Vec<Question> = {
            let table = self.slots.table();
            let stayed = |slot: Slot| {
                let state = table.state(slot);
                let before = slots.get(&slot).map(|before| &before.configuration);
                before.is_some() && before == state.map(SlotState::configuration)
            };
            let here = set.iter().filter(|slot| stayed(*slot));
            here.filter_map(|slot| table.pull(slot)).collect()
        };
        if questions.is_empty() {
            return Ok(());
        }
        let mut replies = self.exchange(source, questions).await?;
        replies.retain(|reply| {
            let now = reply.grant.as_ref().map(stand);
            now.is_some() && now.as_ref() == slots.get(&reply.slot)
        });
        self.slots.count_copied(source, &replies);
        Ok(())
    }
}

/// Why a copy was not completed. It begins anew in a later round.
#[derive(Debug, thiserror::Error)]
enum CopyError {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error(transparent)]
    Unreadable(#[from] NotRecords),
    #[error("{records} records are stamped too far ahead of the local clock")]
    Drifted { records: u64 },
}

impl CopyError {
    /// In a word, for spans.
    const fn word(&self) -> &'static str {
        match self {
            Self::Call(error) => error.word(),
            Self::Unreadable(_) => "unreadable",
            Self::Drifted { .. } => "drift",
        }
    }
}

#[cfg(all(test, not(feature = "race")))]
mod tests;
