//! How foca's values look on the wire, and what is refused on the way in.
//!
//! bincode with variable-length integers, length-limited. Decoding never panics: bincode checks
//! every length, and what it yields is checked here. A refused *sender* refuses the datagram. A
//! refused *member* inside a good datagram is replaced by the sender itself, which foca has just
//! marked as alive, so that one stranger (say, two protocol versions ahead) does not void all that
//! a good neighbour says.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::{Buf, BufMut};
use foca::{
    BroadcastHandler, Codec, Header, Incarnation, Invalidates, Member, Message, ProbeNumber, State,
};

use crate::{
    agent::Now,
    counters::Counters,
    identity::{NodeId, NodeIdentity},
    record::{BorrowedRecord, NodeRecord},
    records::{Merged, RecordTable},
};

/// How far in the future a bump may lie, in milliseconds: a forged one would banish its node for
/// good.
pub(crate) const BUMP_AHEAD_MILLIS_MAX: u64 = 7 * 24 * 3600 * 1000;

/// Most bytes that one decoded value may claim.
const DECODED_BYTES_MAX: usize = 4096;
const WIRE: bincode::config::Configuration<
    bincode::config::LittleEndian,
    bincode::config::Varint,
    bincode::config::Limit<DECODED_BYTES_MAX>,
> = bincode::config::standard().with_limit::<DECODED_BYTES_MAX>();

/// Why an identity or record is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refusal {
    Junk,
    Protocol,
    FutureBump,
}

/// What codec and broadcast handler share with the agent, because foca never hands them back.
#[derive(Debug)]
pub(crate) struct WireContext {
    pub(crate) counters: Arc<Counters>,
    protocol: (u8, u8),
    wall_millis: AtomicU64,
    monotonic_micros: AtomicU64,
    /// Our incarnation as of the last datagram that foca encoded.
    incarnation: AtomicU64,
    /// Locked for the length of one table operation, by the one thread that runs the agent.
    records: Mutex<RecordTable>,
}

impl WireContext {
    pub(crate) fn new(
        counters: Arc<Counters>,
        own: &NodeIdentity,
        now: Now,
        records: RecordTable,
    ) -> Self {
        let context = Self {
            counters,
            protocol: (own.protocol_min, own.protocol_max),
            wall_millis: AtomicU64::new(0),
            monotonic_micros: AtomicU64::new(0),
            incarnation: AtomicU64::new(0),
            records: Mutex::new(records),
        };
        context.set_now(now);
        context
    }

    pub(crate) fn set_now(&self, now: Now) {
        let micros = u64::try_from(now.monotonic.as_micros()).unwrap_or(u64::MAX);
        self.monotonic_micros.store(micros, Relaxed);
        self.wall_millis.store(now.wall_millis, Relaxed);
    }

    fn monotonic(&self) -> Duration {
        Duration::from_micros(self.monotonic_micros.load(Relaxed))
    }

    pub(crate) fn incarnation(&self) -> Incarnation {
        Incarnation::try_from(self.incarnation.load(Relaxed)).unwrap_or(Incarnation::MAX)
    }

    /// A new identity starts at incarnation 0.
    pub(crate) fn restart_incarnation(&self) {
        self.incarnation.store(0, Relaxed);
    }

    pub(crate) fn records(&self) -> MutexGuard<'_, RecordTable> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether an identity may enter the member table.
    pub(crate) fn check_identity(&self, identity: &NodeIdentity) -> Result<(), Refusal> {
        if !identity.speaks(self.protocol.0, self.protocol.1) {
            Err(Refusal::Protocol)
        } else if !identity.is_reachable() || *identity != identity.canonical() {
            Err(Refusal::Junk)
        } else {
            self.check_bump(identity.bump)
        }
    }

    pub(crate) fn check_bump(&self, bump: u64) -> Result<(), Refusal> {
        let latest = self
            .wall_millis
            .load(Relaxed)
            .saturating_add(BUMP_AHEAD_MILLIS_MAX);
        if bump > latest {
            Err(Refusal::FutureBump)
        } else {
            Ok(())
        }
    }

    /// Takes in a record from the wire. True if it is news.
    pub(crate) fn merge_record(&self, record: &BorrowedRecord<'_>) -> bool {
        if record.validate().is_err() {
            self.counters.records_rejected.add(1);
            return false;
        }
        if self.check_bump(record.bump).is_err() {
            self.counters.rejected_bump.add(1);
            return false;
        }
        match self.records().merge(record) {
            Merged::Newer => true,
            Merged::Known => false,
            Merged::Full => {
                self.counters.records_rejected.add(1);
                false
            }
        }
    }
}

/// The sender of a payload, if it may speak to us.
pub(crate) fn check_sender(
    context: &WireContext,
    mut payload: &[u8],
) -> Result<NodeIdentity, Refusal> {
    let header: Header<NodeIdentity> = decode(&mut payload).map_err(|_| Refusal::Junk)?;
    context.check_identity(&header.src)?;
    Ok(header.src)
}

/// A record as a custom broadcast carries it.
pub(crate) fn encode_record(record: &NodeRecord) -> Vec<u8> {
    bincode::serde::encode_to_vec(record, WIRE).expect("a vector takes any plain value")
}

/// foca's codec.
#[derive(Debug)]
pub(crate) struct WireCodec {
    context: Arc<WireContext>,
    /// The sender of the datagram that is being decoded.
    sender: Option<(NodeIdentity, Incarnation)>,
    probe: Option<Probe>,
}

/// The latest probe that we sent: foca has one under way at a time.
#[derive(Debug)]
struct Probe {
    target: NodeIdentity,
    number: ProbeNumber,
    sent: Duration,
    is_answered: bool,
    /// Others were asked to probe it, because it did not answer in time.
    is_indirect: bool,
}

impl WireCodec {
    pub(crate) const fn new(context: Arc<WireContext>) -> Self {
        Self {
            context,
            sender: None,
            probe: None,
        }
    }

    /// A request for an indirect probe means that the direct one got no answer; it goes to several
    /// members. The next probe ends the one before.
    fn note_sent(&mut self, header: &Header<NodeIdentity>) {
        match &header.message {
            Message::Ping(number) => {
                let probe = Probe {
                    target: header.dst,
                    number: *number,
                    sent: self.context.monotonic(),
                    is_answered: false,
                    is_indirect: false,
                };
                if let Some(ended) = self.probe.replace(probe)
                    && !ended.is_answered
                {
                    let counters = &self.context.counters;
                    // Nobody else was there to be asked.
                    if !ended.is_indirect {
                        counters.probes_unanswered.add(1);
                    }
                    counters.probes_failed.add(1);
                }
            }
            Message::PingReq {
                target,
                probe_number,
            } => {
                if let Some(probe) = self.probe_of(target, *probe_number)
                    && !std::mem::replace(&mut probe.is_indirect, true)
                {
                    self.context.counters.probes_unanswered.add(1);
                }
            }
            Message::Ack(_)
            | Message::IndirectPing { .. }
            | Message::IndirectAck { .. }
            | Message::ForwardedAck { .. }
            | Message::Announce
            | Message::Feed
            | Message::Gossip
            | Message::Broadcast
            | Message::TurnUndead => {}
        }
    }

    fn note_received(&mut self, header: &Header<NodeIdentity>) {
        let now = self.context.monotonic();
        let (target, number, is_direct) = match &header.message {
            Message::Ack(number) => (&header.src, *number, true),
            Message::ForwardedAck {
                origin,
                probe_number,
            } => (origin, *probe_number, false),
            Message::Ping(_)
            | Message::PingReq { .. }
            | Message::IndirectPing { .. }
            | Message::IndirectAck { .. }
            | Message::Announce
            | Message::Feed
            | Message::Gossip
            | Message::Broadcast
            | Message::TurnUndead => return,
        };
        if let Some(probe) = self.probe_of(target, number)
            && !std::mem::replace(&mut probe.is_answered, true)
            && is_direct
        {
            let taken = now.saturating_sub(probe.sent);
            self.context.counters.probe_times.observe(taken);
        }
    }

    /// The latest probe, if it is this one.
    fn probe_of(&mut self, target: &NodeIdentity, number: ProbeNumber) -> Option<&mut Probe> {
        self.probe
            .as_mut()
            .filter(|probe| probe.target.addr == target.addr && probe.number == number)
    }
}

/// Why a value is not on, or cannot go onto, the wire.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CodecError {
    #[error("the value does not fit or cannot be written")]
    Encode(#[from] bincode::error::EncodeError),
    #[error("the bytes are no such value")]
    Decode(#[from] bincode::error::DecodeError),
    #[error("a member without a sender")]
    NoSender,
}

impl Codec<NodeIdentity> for WireCodec {
    type Error = CodecError;

    fn encode_header(
        &mut self,
        header: &Header<NodeIdentity>,
        buf: impl BufMut,
    ) -> Result<(), CodecError> {
        self.context
            .incarnation
            .store(u64::from(header.src_incarnation), Relaxed);
        self.note_sent(header);
        encode(header, buf)
    }

    fn decode_header(&mut self, buf: impl Buf) -> Result<Header<NodeIdentity>, CodecError> {
        let header: Header<NodeIdentity> = decode(buf)?;
        self.sender = Some((header.src, header.src_incarnation));
        self.note_received(&header);
        Ok(header)
    }

    fn encode_member(
        &mut self,
        member: &Member<NodeIdentity>,
        buf: impl BufMut,
    ) -> Result<(), CodecError> {
        encode(member, buf)
    }

    fn decode_member(&mut self, buf: impl Buf) -> Result<Member<NodeIdentity>, CodecError> {
        let member: Member<NodeIdentity> = decode(buf)?;
        if self.context.check_identity(member.id()).is_ok() {
            return Ok(member);
        }
        self.context.counters.members_rejected.add(1);
        let (sender, incarnation) = self.sender.ok_or(CodecError::NoSender)?;
        Ok(Member::new(sender, incarnation, State::Alive))
    }
}

/// foca's handler of custom broadcasts: each is one node record.
#[derive(Debug)]
pub(crate) struct RecordBroadcasts {
    context: Arc<WireContext>,
}

impl RecordBroadcasts {
    pub(crate) const fn new(context: Arc<WireContext>) -> Self {
        Self { context }
    }
}

/// Which record a pending broadcast carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct RecordKey {
    node_id: NodeId,
    version: (u64, u64),
}

impl Invalidates for RecordKey {
    fn invalidates(&self, other: &Self) -> bool {
        self.node_id == other.node_id && self.version >= other.version
    }
}

impl BroadcastHandler<NodeIdentity> for RecordBroadcasts {
    type Key = RecordKey;
    type Error = CodecError;

    /// Junk inside a good datagram is skipped, not answered with an error: foca would drop the rest
    /// of the datagram.
    fn receive_item(
        &mut self,
        bytes: &[u8],
        sender: Option<&NodeIdentity>,
    ) -> Result<Option<RecordKey>, CodecError> {
        let decoded = bincode::serde::borrow_decode_from_slice(bytes, WIRE);
        let Ok((record, _)) = decoded else {
            self.context.counters.records_rejected.add(1);
            return Ok(None);
        };
        let record: BorrowedRecord<'_> = record;
        let version = (record.bump, record.sequence);
        let key = RecordKey {
            node_id: record.node_id,
            version,
        };
        let is_own = sender.is_none();
        Ok((is_own || self.context.merge_record(&record)).then_some(key))
    }
}

fn encode(value: impl serde::Serialize, buf: impl BufMut) -> Result<(), CodecError> {
    bincode::serde::encode_into_std_write(value, &mut buf.writer(), WIRE)?;
    Ok(())
}

fn decode<T: serde::de::DeserializeOwned>(mut buf: impl Buf) -> Result<T, CodecError> {
    let (value, length) = bincode::serde::decode_from_slice(buf.chunk(), WIRE)?;
    buf.advance(length);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        identity::BootId,
        record::{ATTACHMENT_BYTES_MAX, Phase, ZONE_BYTES_MAX},
    };

    fn identity(addr: &str) -> NodeIdentity {
        NodeIdentity {
            addr: addr.parse().unwrap(),
            node_id: NodeId(u64::MAX),
            bump: 1_900_000_000_000,
            renews: 200,
            boot_id: BootId(u64::MAX),
            peer_port: 65_535,
            protocol_min: 1,
            protocol_max: 1,
        }
    }

    fn own_record() -> NodeRecord {
        NodeRecord {
            node_id: NodeId::of_name("own"),
            boot_id: BootId(1),
            bump: 1,
            sequence: 1,
            name: "own".to_owned(),
            zone: String::new(),
            grpc_addr: String::new(),
            http_addr: String::new(),
            phase: Phase::Active,
            attachment: Vec::new(),
        }
    }

    fn context() -> Arc<WireContext> {
        let (counters, own) = (Arc::default(), identity("10.0.0.1:1"));
        let records = RecordTable::new(own_record());
        Arc::new(WireContext::new(counters, &own, at(0), records))
    }

    const fn at(millis: u64) -> Now {
        Now {
            monotonic: Duration::from_millis(millis),
            wall_millis: 1_900_000_000_000,
        }
    }

    #[test]
    fn identities_are_small_on_the_wire() {
        for (addr, bytes_max) in [("10.1.2.3:65535", 45), ("[2001:db8::1]:65535", 60)] {
            let mut bytes = Vec::new();
            encode(identity(addr), &mut bytes).unwrap();
            assert!(bytes.len() <= bytes_max, "{addr}: {} bytes", bytes.len());
            assert_eq!(
                decode::<NodeIdentity>(bytes.as_slice()).unwrap(),
                identity(addr)
            );
        }
    }

    #[test]
    fn identities_that_could_do_harm_are_refused() {
        let (context, good) = (context(), identity("10.1.2.3:7946"));
        assert_eq!(context.check_identity(&good), Ok(()));
        let check = |identity| context.check_identity(&identity);
        assert_eq!(
            check(NodeIdentity {
                protocol_min: 2,
                protocol_max: 3,
                ..good
            }),
            Err(Refusal::Protocol)
        );
        assert_eq!(
            check(NodeIdentity {
                protocol_min: 1,
                protocol_max: 0,
                ..good
            }),
            Err(Refusal::Protocol)
        );
        let bump = good.bump + BUMP_AHEAD_MILLIS_MAX;
        assert_eq!(check(NodeIdentity { bump, ..good }), Ok(()));
        assert_eq!(
            check(NodeIdentity {
                bump: bump + 1,
                ..good
            }),
            Err(Refusal::FutureBump)
        );
        for addr in [
            "10.1.2.3:0",
            "0.0.0.0:1",
            "224.0.0.1:1",
            "[::ffff:10.1.2.3]:1",
        ] {
            assert_eq!(check(identity(addr)), Err(Refusal::Junk), "{addr}");
        }
    }

    #[test]
    fn a_refused_member_becomes_its_sender() {
        let context = context();
        let mut codec = WireCodec::new(Arc::clone(&context));
        let (sender, stranger) = (identity("10.0.0.2:1"), identity("10.0.0.3:1"));
        let stranger = NodeIdentity {
            protocol_min: 9,
            protocol_max: 9,
            ..stranger
        };
        let mut bytes = Vec::new();
        let header = Header {
            src: sender,
            src_incarnation: 4,
            dst: sender,
            message: Message::Gossip,
        };
        codec.encode_header(&header, &mut bytes).unwrap();
        codec
            .encode_member(&Member::new(stranger, 1, State::Down), &mut bytes)
            .unwrap();
        let mut bytes = bytes.as_slice();
        assert_eq!(codec.decode_header(&mut bytes).unwrap(), header);
        let member = codec.decode_member(&mut bytes).unwrap();
        assert_eq!(member, Member::new(sender, 4, State::Alive));
        assert_eq!(context.counters.members_rejected.get(), 1);
    }

    #[test]
    fn probes_are_timed_and_those_without_an_answer_counted() {
        let context = context();
        let mut codec = WireCodec::new(Arc::clone(&context));
        let (own, peer, other) = (
            identity("10.0.0.1:1"),
            identity("10.0.0.2:1"),
            identity("10.0.0.3:1"),
        );
        let mut pass = |millis, src, dst, message| {
            context.set_now(at(millis));
            let header = Header {
                src,
                src_incarnation: 0,
                dst,
                message,
            };
            let mut bytes = Vec::new();
            codec.encode_header(&header, &mut bytes).unwrap();
            if src != own {
                // What others say arrives; only our own words are sent.
                codec.decode_header(bytes.as_slice()).unwrap();
            }
        };
        let ask = |probe_number| Message::PingReq {
            target: peer,
            probe_number,
        };
        pass(0, own, peer, Message::Ping(1));
        pass(3, peer, own, Message::Ack(1));
        // Twice, and late for another probe: counted once.
        pass(4, peer, own, Message::Ack(1));
        pass(10, own, peer, Message::Ping(2));
        pass(11, peer, own, Message::Ack(1));
        pass(12, own, other, ask(2));
        pass(12, own, identity("10.0.0.4:1"), ask(2));
        pass(
            13,
            other,
            own,
            Message::ForwardedAck {
                origin: peer,
                probe_number: 2,
            },
        );
        // Answered by nobody, and nobody to ask.
        pass(20, own, peer, Message::Ping(3));
        pass(30, own, peer, Message::Ping(4));
        let counters = context.counters.snapshot();
        assert_eq!((counters.probes_unanswered, counters.probes_failed), (2, 1));
        let times = counters.probe_times;
        assert_eq!(
            (times.counts.iter().sum::<u64>(), times.sum_micros),
            (1, 3000)
        );
        assert_eq!(times.counts[5], 1, "within 5 ms, not within 2.5 ms");
    }

    #[test]
    fn records_over_their_bounds_are_counted_and_skipped() {
        let context = context();
        let mut handler = RecordBroadcasts::new(Arc::clone(&context));
        let sender = identity("10.0.0.2:1");
        let mut receive =
            |record: &NodeRecord| handler.receive_item(&encode_record(record), Some(&sender));
        let good = NodeRecord {
            name: "x".to_owned(),
            node_id: NodeId::of_name("x"),
            zone: "z".repeat(ZONE_BYTES_MAX),
            ..own_record()
        };
        assert!(receive(&good).unwrap().is_some());
        assert!(receive(&good).unwrap().is_none(), "known");
        let newer = NodeRecord {
            sequence: 2,
            ..good.clone()
        };
        let oversized = vec![0; ATTACHMENT_BYTES_MAX + 1];
        let bad = NodeRecord {
            attachment: oversized,
            ..newer.clone()
        };
        assert!(receive(&bad).unwrap().is_none());
        let future = NodeRecord {
            bump: u64::MAX,
            ..newer.clone()
        };
        assert!(receive(&future).unwrap().is_none());
        assert!(receive(&newer).unwrap().is_some());
        assert!(
            handler
                .receive_item(b"\xff\xff\xff", Some(&sender))
                .unwrap()
                .is_none()
        );
        assert_eq!(context.counters.records_rejected.get(), 2);
        assert_eq!(context.counters.rejected_bump.get(), 1);
    }
}
