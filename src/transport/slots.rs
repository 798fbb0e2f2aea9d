//! Exchanges about slots as protobuf messages. Every configuration travels once per message; questions and replies refer to
//! it by its place, from 1 on, because thousands of slots share a few.

use std::collections::HashMap;

use shard_cache_membership::identity::{BootId, NodeId};
use shard_cache_proto::peer;

use crate::{
    key::Slot,
    ring::{
        Bootstrap, RingMember,
        slot::{Configuration, Grant, Root},
        table::{Question, Reply, Stand},
    },
};

/// Most owners in a configuration that is read.
const OWNERS_MAX: usize = 16;
/// Most questions or replies in a message that is read.
const SLOTS_MAX: usize = u16::MAX as usize + 1;

/// Why a message about slots could not be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum MalformedSlots {
    #[error("nobody is named as the sender")]
    NoSender,
    #[error("slot {slot} is not a slot number")]
    SlotRange { slot: u32 },
    #[error("configuration {place} of {count} is named")]
    NoConfiguration { place: u32, count: usize },
    #[error("a configuration of {count} owners, not 1 to {OWNERS_MAX}")]
    OwnerCount { count: usize },
    #[error("{count} slots, more than the {SLOTS_MAX} there can be")]
    TooMany { count: usize },
}

/// Collects configurations, each once.
#[derive(Default)]
struct Places {
    known: HashMap<Configuration, u32>,
    listed: Vec<peer::FullConfiguration>,
}

impl Places {
    fn of(&mut self, configuration: &Configuration) -> u32 {
        if let Some(place) = self.known.get(configuration) {
            return *place;
        }
        self.listed.push(encode(configuration));
        let place = u32::try_from(self.listed.len()).unwrap_or(u32::MAX);
        self.known.insert(configuration.clone(), place);
        place
    }

    fn of_some(&mut self, configuration: Option<&Configuration>) -> u32 {
        configuration.map_or(0, |configuration| self.of(configuration))
    }
}

/// The configurations of a message that was read.
struct Listed(Vec<Configuration>);

impl Listed {
    fn read(listed: Vec<peer::FullConfiguration>) -> Result<Self, MalformedSlots> {
        listed
            .into_iter()
            .map(decode)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// 0 stands for none.
    fn at(&self, place: u32) -> Result<Option<Configuration>, MalformedSlots> {
        let Some(index) = place.checked_sub(1) else {
            return Ok(None);
        };
        let found = usize::try_from(index)
            .ok()
            .and_then(|index| self.0.get(index));
        match found {
            Some(configuration) => Ok(Some(configuration.clone())),
            None => Err(MalformedSlots::NoConfiguration {
                place,
                count: self.0.len(),
            }),
        }
    }
}

pub(crate) fn encode_questions(
    sender: RingMember,
    receiver: BootId,
    clock: u64,
    questions: &[Question],
) -> peer::ExchangeSlotsRequest {
    let mut places = Places::default();
    let questions = questions.iter().map(|question| {
        let stand = question.stand.as_ref();
        peer::exchange_slots_request::Question {
            slot: u32::from(question.slot.0),
            configuration: places.of_some(stand.map(|stand| &stand.configuration)),
            full: stand.is_some_and(|stand| stand.is_full),
            pull: question.is_pull,
            awaited: question.is_awaited,
        }
    });
    let questions = questions.collect();
    peer::ExchangeSlotsRequest {
        sender: Some(encode_owner(sender)),
        receiver: receiver.0,
        clock,
        configurations: places.listed,
        questions,
    }
}

pub(crate) fn decode_questions(
    request: peer::ExchangeSlotsRequest,
) -> Result<(RingMember, Vec<Question>), MalformedSlots> {
    bound(request.questions.len())?;
    let sender = decode_owner(request.sender.ok_or(MalformedSlots::NoSender)?);
    let listed = Listed::read(request.configurations)?;
    let questions = request.questions.into_iter().map(|question| {
        let configuration = listed.at(question.configuration)?;
        Ok(Question {
            slot: decode_slot(question.slot)?,
            stand: configuration.map(|configuration| Stand {
                configuration,
                is_full: question.full,
            }),
            is_pull: question.pull,
            is_awaited: question.awaited,
        })
    });
    Ok((sender, questions.collect::<Result<_, _>>()?))
}

pub(crate) fn encode_replies(
    sender: RingMember,
    clock: u64,
    replies: &[Reply],
) -> peer::ExchangeSlotsResponse {
    let mut places = Places::default();
    let replies = replies.iter().map(|reply| {
        let grant = reply.grant.as_ref();
        let predecessors = grant.map(|grant| grant.predecessors.as_slice());
        peer::exchange_slots_response::Reply {
            slot: u32::from(reply.slot.0),
            configuration: places.of_some(grant.map(|grant| &grant.configuration)),
            full: grant.is_some_and(|grant| grant.is_full),
            predecessors: predecessors
                .unwrap_or_default()
                .iter()
                .map(|held| places.of(held))
                .collect(),
            top: places.of_some(reply.top.as_ref()),
            answered: reply.is_answered,
            settled: reply.is_settled,
            summary: reply.summary,
        }
    });
    let replies = replies.collect();
    peer::ExchangeSlotsResponse {
        sender: Some(encode_owner(sender)),
        clock,
        configurations: places.listed,
        replies,
    }
}

/// Whose replies they are, and the replies.
pub(crate) fn decode_replies(
    response: peer::ExchangeSlotsResponse,
) -> Result<(RingMember, Vec<Reply>), MalformedSlots> {
    bound(response.replies.len())?;
    let sender = decode_owner(response.sender.ok_or(MalformedSlots::NoSender)?);
    let listed = Listed::read(response.configurations)?;
    let replies = response.replies.into_iter().map(|reply| {
        let configuration = listed.at(reply.configuration)?;
        let predecessors = reply.predecessors.iter().map(|place| listed.at(*place));
        let mut predecessors: Vec<Configuration> = predecessors
            .collect::<Result<Vec<_>, _>>()?
            .into_iter()
            .flatten()
            .collect();
        predecessors.sort_unstable();
        predecessors.dedup();
        Ok(Reply {
            slot: decode_slot(reply.slot)?,
            grant: configuration.map(|configuration| Grant {
                configuration,
                predecessors,
                is_full: reply.full,
            }),
            top: listed.at(reply.top)?,
            is_answered: reply.answered,
            is_settled: reply.settled,
            summary: reply.summary,
        })
    });
    Ok((sender, replies.collect::<Result<_, _>>()?))
}

const fn bound(count: usize) -> Result<(), MalformedSlots> {
    if count > SLOTS_MAX {
        return Err(MalformedSlots::TooMany { count });
    }
    Ok(())
}

fn decode_slot(slot: u32) -> Result<Slot, MalformedSlots> {
    u16::try_from(slot)
        .map(Slot)
        .map_err(|_out_of_range| MalformedSlots::SlotRange { slot })
}

fn encode(configuration: &Configuration) -> peer::FullConfiguration {
    let root = configuration.root();
    let owners = configuration.owners().iter().copied();
    peer::FullConfiguration {
        formed_millis: root.bootstrap.formed_millis,
        former: root.bootstrap.former.0,
        generation: root.generation,
        first_owners: root.first_owners,
        first_number: root.first_number,
        number: configuration.number(),
        owners: owners.map(encode_owner).collect(),
    }
}

fn decode(configuration: peer::FullConfiguration) -> Result<Configuration, MalformedSlots> {
    let count = configuration.owners.len();
    if !(1..=OWNERS_MAX).contains(&count) {
        return Err(MalformedSlots::OwnerCount { count });
    }
    let root = Root {
        bootstrap: Bootstrap {
            formed_millis: configuration.formed_millis,
            former: BootId(configuration.former),
        },
        generation: configuration.generation,
        first_owners: configuration.first_owners,
        first_number: configuration.first_number,
    };
    let owners: Vec<_> = configuration.owners.into_iter().map(decode_owner).collect();
    Ok(Configuration::new(root, configuration.number, owners))
}

const fn encode_owner(owner: RingMember) -> peer::Owner {
    peer::Owner {
        node: owner.node_id.0,
        boot: owner.boot_id.0,
    }
}

const fn decode_owner(owner: peer::Owner) -> RingMember {
    RingMember {
        node_id: NodeId(owner.node),
        boot_id: BootId(owner.boot),
    }
}
