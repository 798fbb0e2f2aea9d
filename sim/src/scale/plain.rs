//! foca as it comes, without what the production agent adds: the baseline of the comparison.

use std::{
    collections::{BTreeSet, VecDeque},
    net::SocketAddr,
    time::Duration,
};

use bytes::{Buf, BufMut};
use foca::{
    AccumulatingRuntime, Codec, Foca, Header, Identity, Member, NoCustomBroadcast,
    OwnedNotification, Timer,
};
use rand::rngs::SmallRng;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use shard_cache_membership::agent::Now;

use super::peer::{Change, Peer, SEEDS, addr, index};

/// Between two announcements to the seeds while nobody is known.
const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(1);

/// An address, and which of its lives: as foca's examples have it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct PlainIdentity {
    node: u16,
    life: u32,
}

impl Identity for PlainIdentity {
    type Addr = u16;

    fn renew(&self) -> Option<Self> {
        Some(Self {
            life: self.life.wrapping_add(1),
            ..*self
        })
    }

    fn addr(&self) -> u16 {
        self.node
    }

    fn win_addr_conflict(&self, adversary: &Self) -> bool {
        self.life > adversary.life
    }
}

/// Bytes of foca's values by their serde form.
struct PlainCodec;

/// Why bytes are refused.
#[derive(Debug, thiserror::Error)]
enum PlainError {
    #[error(transparent)]
    Encode(#[from] bincode::error::EncodeError),
    #[error(transparent)]
    Decode(#[from] bincode::error::DecodeError),
    #[error("no room is left")]
    Full,
}

fn encode<V: Serialize>(value: &V, mut buf: impl BufMut) -> Result<(), PlainError> {
    let bytes = bincode::serde::encode_to_vec(value, bincode::config::standard())?;
    if buf.remaining_mut() < bytes.len() {
        return Err(PlainError::Full);
    }
    buf.put_slice(&bytes);
    Ok(())
}

fn decode<V: DeserializeOwned>(mut buf: impl Buf) -> Result<V, PlainError> {
    let (value, used) =
        bincode::serde::decode_from_slice(buf.chunk(), bincode::config::standard())?;
    buf.advance(used);
    Ok(value)
}

impl Codec<PlainIdentity> for PlainCodec {
    type Error = PlainError;

    fn encode_header(
        &mut self,
        header: &Header<PlainIdentity>,
        buf: impl BufMut,
    ) -> Result<(), PlainError> {
        encode(header, buf)
    }

    fn decode_header(&mut self, buf: impl Buf) -> Result<Header<PlainIdentity>, PlainError> {
        decode(buf)
    }

    fn encode_member(
        &mut self,
        member: &Member<PlainIdentity>,
        buf: impl BufMut,
    ) -> Result<(), PlainError> {
        encode(member, buf)
    }

    fn decode_member(&mut self, buf: impl Buf) -> Result<Member<PlainIdentity>, PlainError> {
        decode(buf)
    }
}

/// One foca, and what every use of it needs: timers, and seeds that are asked until somebody is known.
pub struct Plain {
    foca: Foca<PlainIdentity, PlainCodec, SmallRng, NoCustomBroadcast>,
    effects: AccumulatingRuntime<PlainIdentity>,
    timers: BTreeSet<(Duration, Timer<PlainIdentity>, u64)>,
    submitted: u64,
    seeds: Vec<u16>,
    next_announce: Duration,
    outbox: VecDeque<(SocketAddr, Vec<u8>)>,
    changes: Vec<Change>,
}

impl Plain {
    /// One of so many, with a configuration of foca's.
    #[must_use]
    pub fn new(own: u16, nodes: u16, config: foca::Config, rng: SmallRng, now: Now) -> Self {
        let identity = PlainIdentity { node: own, life: 0 };
        let mut plain = Self {
            foca: Foca::new(identity, config, rng, PlainCodec),
            effects: AccumulatingRuntime::new(),
            timers: BTreeSet::new(),
            submitted: 0,
            seeds: (0..SEEDS.min(nodes)).filter(|seed| *seed != own).collect(),
            next_announce: now.monotonic,
            outbox: VecDeque::new(),
            changes: Vec::new(),
        };
        plain.wake(now);
        plain
    }

    /// Takes up what foca asked for. Its errors are about single datagrams and late timers, and leave it intact.
    fn settle(&mut self, now: Duration) {
        while let Some((to, bytes)) = self.effects.to_send() {
            self.outbox.push_back((addr(to.node), bytes.to_vec()));
        }
        while let Some((after, timer)) = self.effects.to_schedule() {
            self.submitted += 1;
            self.timers.insert((now + after, timer, self.submitted));
        }
        while let Some(notification) = self.effects.to_notify() {
            match notification {
                OwnedNotification::MemberUp(member) => self.note(member, true),
                OwnedNotification::MemberDown(member) => self.note(member, false),
                OwnedNotification::Rename(..)
                | OwnedNotification::Active
                | OwnedNotification::Idle
                | OwnedNotification::Defunct
                | OwnedNotification::Rejoin(_) => {}
            }
        }
    }

    fn note(&mut self, member: PlainIdentity, is_present: bool) {
        self.changes.push(Change {
            of: member.node,
            is_present,
        });
    }

    fn is_alone(&self) -> bool {
        self.foca.num_members() == 0
    }
}

impl Peer for Plain {
    fn receive(&mut self, now: Now, from: SocketAddr, bytes: &[u8]) {
        if index(from).is_some() {
            let _ = self.foca.handle_data(bytes, &mut self.effects);
            self.settle(now.monotonic);
        }
    }

    fn wake(&mut self, now: Now) {
        let at = now.monotonic;
        while self.timers.first().is_some_and(|(due, ..)| *due <= at) {
            if let Some((_, timer, _)) = self.timers.pop_first() {
                let _ = self.foca.handle_timer(timer, &mut self.effects);
                self.settle(at);
            }
        }
        if self.next_announce <= at {
            self.next_announce = at + ANNOUNCE_INTERVAL;
            if self.is_alone() {
                for node in self.seeds.clone() {
                    let seed = PlainIdentity { node, life: 0 };
                    let _ = self.foca.announce(seed, &mut self.effects);
                }
                self.settle(at);
            }
        }
    }

    fn deadline(&self) -> Option<Duration> {
        let timer = self.timers.first().map(|(due, ..)| *due);
        timer.into_iter().chain([self.next_announce]).min()
    }

    fn next_datagram(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        self.outbox.pop_front()
    }

    fn changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }
}
