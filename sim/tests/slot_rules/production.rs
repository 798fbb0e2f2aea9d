//! Production as the subject of a scenario: `SlotState` for every node, the coordinator's tallies for every operation, and
//! a map for data.

use shard_cache::{
    coordinator::quorum::{
        Need, Newest, OnNewer, ReadOutcome, ReadTally, Standing, WriteOutcome, WriteTally,
    },
    operation::{Failure, Held as HeldRecord, ReadAnswer, WriteAnswer},
    ring::{
        Bootstrap, RingMember,
        slot::{
            Answered, Carry, Configuration, Grant, LossEvidence, OnSettled, Quorums,
            SlotConfiguration, SlotState, Vote, state::AfterLoss,
        },
    },
    store::Absence,
    version::{Stamp, Version},
};
use shard_cache_membership::identity::{BootId, NodeId as Id};
use slot_model::{
    config::{Member, NodeId},
    rules::Bug,
    scenario::{
        Action, Held, LateName, NamedConfig, NodeState, OperationName, OperationState, Progress,
        Reach, Reached, Reply, Subject,
    },
    world::Request,
};

const QUORUMS: Quorums = Quorums {
    replication_factor: 3,
    write_quorum: 2,
};
const BOOTSTRAP: Bootstrap = Bootstrap {
    formed_millis: 1,
    former: BootId(1),
};
const KEYS: usize = 2;
/// Boots have to differ between nodes only for readers.
const BOOTS: u64 = 256;

/// What a node holds under a key.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Entry {
    version: Version,
    held: Held,
}

#[derive(Clone, PartialEq, Default)]
struct Node {
    boot: u8,
    state: Option<SlotState>,
    data: [Option<Entry>; KEYS],
    clock: u64,
}

/// An answer that is under way.
#[derive(Clone)]
enum Answer {
    Joined {
        joiner: RingMember,
        grant: Grant,
    },
    Pulled {
        puller: RingMember,
        asked: SlotConfiguration,
        answered: Answered,
        data: [Option<Entry>; KEYS],
    },
}

/// How far an operation is.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Phase {
    Write,
    Read,
    WriteBack(Entry),
    Ended(Progress),
}

struct Operation {
    name: OperationName,
    coordinator: RingMember,
    key: usize,
    request: Request,
    configuration: Configuration,
    version: Version,
    phase: Phase,
    writes: WriteTally,
    reads: ReadTally,
    /// What owners showed to a read, by position.
    seen: Vec<Option<Entry>>,
    replies: Vec<(NodeId, Reply)>,
}

/// Nodes of production, with a bug of the model planted between the parts, or without.
pub(crate) struct Production {
    bug: Option<Bug>,
    nodes: Vec<Node>,
    operations: Vec<Operation>,
    late: Vec<(LateName, NodeId, Answer)>,
    full: Vec<(Configuration, RingMember)>,
    losses: usize,
}

impl Production {
    /// So many nodes without a configuration.
    pub(crate) fn new(nodes: usize, bug: Option<Bug>) -> Self {
        Self {
            bug,
            nodes: vec![Node::default(); nodes],
            operations: Vec::new(),
            late: Vec::new(),
            full: Vec::new(),
            losses: 0,
        }
    }

    fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    fn own(&self, node: NodeId) -> RingMember {
        member(Member {
            node,
            boot: self.nodes[node.index()].boot,
        })
    }

    fn state(&self, node: NodeId) -> Option<&SlotState> {
        self.nodes[node.index()].state.as_ref()
    }

    /// Notes who is full, for whoever hears all of them.
    fn note_full(&mut self, node: NodeId) {
        let own = self.own(node);
        if let Some(state) = self.state(node).filter(|state| state.is_full()) {
            let full = (state.configuration().clone(), own);
            if !self.full.contains(&full) {
                self.full.push(full);
            }
        }
    }

    fn form(&mut self, owners: &[NodeId]) -> bool {
        if self.nodes.iter().any(|node| node.state.is_some()) {
            return false;
        }
        let owners: Vec<_> = owners.iter().map(|owner| self.own(*owner)).collect();
        let first = Configuration::first(BOOTSTRAP, owners);
        for index in 0..self.nodes.len() {
            let node = NodeId(index as u8);
            let own = self.own(node);
            self.nodes[index].state = Some(SlotState::form(first.clone(), own));
            self.note_full(node);
        }
        true
    }

    /// A configuration of the root that a node is in.
    fn configuration(&self, node: NodeId, named: &NamedConfig) -> Option<Configuration> {
        let root = self.state(node)?.configuration().root();
        let owners: Vec<_> = named.owners.iter().copied().map(member).collect();
        Some(Configuration::new(root, u32::from(named.number), owners))
    }

    fn adopt(&mut self, node: NodeId, configuration: Option<Configuration>) -> bool {
        let mut own = self.own(node);
        let (counts_unseen, takes_older) = (
            self.has(Bug::UnseenStaysCount),
            self.has(Bug::OlderBootAdopted),
        );
        let state = self.nodes[node.index()].state.as_mut();
        let (Some(state), Some(configuration)) = (state, configuration) else {
            return false;
        };
        if counts_unseen {
            state.saw();
        }
        if takes_older {
            let mut owners = configuration.owners().iter();
            own = owners
                .find(|owner| owner.node_id == own.node_id)
                .copied()
                .unwrap_or(own);
        }
        let adopted = state.adopt(configuration, own, QUORUMS);
        self.note_full(node);
        adopted
    }

    fn join(&mut self, node: NodeId, from: NodeId, reach: Reach) -> bool {
        let joiner = self.own(node);
        let grant = self.state(from).map(SlotState::grant);
        let Some(mut grant) = grant.filter(|_| self.state(node).is_none()) else {
            return false;
        };
        if self.has(Bug::CoveredForgotten) && grant.is_full {
            grant.predecessors.clear();
        }
        if SlotState::join(grant.clone(), joiner).is_none() {
            return false;
        }
        self.answer(node, Answer::Joined { joiner, grant }, reach)
    }

    fn pull(&mut self, node: NodeId, from: NodeId, reach: Reach) -> bool {
        let (puller, source) = (self.own(node), self.own(from));
        let wanting = self.state(node).filter(|state| state.is_wanting(puller));
        let Some(asked) = wanting.map(|state| state.configuration().id()) else {
            return false;
        };
        if node == from {
            return false;
        }
        let bug = self.bug;
        let held = &mut self.nodes[from.index()];
        let mut data = held.data;
        let answered = held
            .state
            .as_mut()
            .and_then(|state| answer_pull(bug, state, asked, source));
        let Some(mut answered) = answered else {
            return false;
        };
        match bug {
            Some(Bug::PredsOfAnswerersIgnored) => answered.predecessors.clear(),
            Some(Bug::NoTombstones) => {
                for entry in &mut data {
                    *entry = entry.filter(|entry| !entry.held.tombstone);
                }
            }
            Some(Bug::BlindDischarge) if !answered.is_full && answered.top.is_some() => {
                data = [None; KEYS];
            }
            Some(Bug::OnlyFullSources) if !was_full_last(&answered) => return true,
            _ => {}
        }
        let answer = Answer::Pulled {
            puller,
            asked,
            answered,
            data,
        };
        self.answer(node, answer, reach)
    }

    fn answer(&mut self, node: NodeId, answer: Answer, reach: Reach) -> bool {
        match reach {
            Reach::AtOnce => self.arrive(node, answer),
            Reach::Late(name) => self.late.push((name, node, answer)),
            Reach::Never => {}
        }
        true
    }

    fn arrive(&mut self, node: NodeId, answer: Answer) {
        let own = self.own(node);
        match answer {
            Answer::Joined { joiner, grant } => {
                let held = &mut self.nodes[node.index()];
                if joiner == own && held.state.is_none() {
                    held.state = SlotState::join(grant, own);
                }
            }
            Answer::Pulled {
                puller,
                asked,
                answered,
                data,
            } => {
                let held = &mut self.nodes[node.index()];
                let Some(state) = held.state.as_mut() else {
                    return;
                };
                let is_awaited =
                    puller == own && state.configuration().id() == asked && state.is_wanting(own);
                if !is_awaited {
                    return;
                }
                for (key, entry) in data.into_iter().enumerate() {
                    if let Some(entry) = entry {
                        merge(held, key, entry);
                    }
                }
                if let Some(state) = held.state.as_mut() {
                    state.take_answer(asked, answered, own, QUORUMS);
                }
            }
        }
        self.note_full(node);
    }

    fn deliver(&mut self, late: LateName) -> bool {
        let found = self.late.iter().find(|(name, ..)| *name == late);
        let Some((_, node, answer)) = found.cloned() else {
            return false;
        };
        let before = self.nodes[node.index()].clone();
        self.arrive(node, answer);
        self.nodes[node.index()] != before
    }

    fn crash(&mut self, node: NodeId) -> bool {
        let own = self.own(node);
        let next = u8::from(!self.has(Bug::BootsIgnored));
        let held = &mut self.nodes[node.index()];
        *held = Node {
            boot: held.boot + next,
            ..Node::default()
        };
        for operation in &mut self.operations {
            if operation.coordinator == own && !matches!(operation.phase, Phase::Ended(_)) {
                operation.phase = Phase::Ended(Progress::Unknown);
            }
        }
        true
    }

    fn settle(&mut self, node: NodeId, configuration: Option<Configuration>) -> bool {
        let own = self.own(node);
        let Some(settled) = configuration else {
            return false;
        };
        let is_full = |owner: &RingMember| self.full.contains(&(settled.clone(), *owner));
        let mut owners = settled.owners().iter();
        let is_settled = if self.has(Bug::DroppedEarly) {
            owners.any(is_full)
        } else {
            owners.all(is_full)
        };
        if !is_settled {
            return false;
        }
        let held = &mut self.nodes[node.index()];
        let state = held.state.as_mut();
        let Some(state) = state.filter(|state| *state.configuration() >= settled) else {
            return false;
        };
        match state.settle(&settled, own) {
            OnSettled::Keep => {}
            OnSettled::DropCopy => held.data = [None; KEYS],
        }
        true
    }

    fn declare(&mut self, node: NodeId, present: usize) -> bool {
        let own = self.own(node);
        let boots: Vec<u8> = self.nodes.iter().map(|node| node.boot).collect();
        let is_gone = |member: RingMember| {
            let life = life(member);
            life.boot < boots[life.node.index()]
        };
        let evidence = LossEvidence {
            answers_needed: present,
            is_gone: &is_gone,
        };
        let keeps = self.has(Bug::RootKeepsData);
        let held = &mut self.nodes[node.index()];
        let state = held.state.as_mut();
        let declared = state.and_then(|state| state.declare_lost(own, QUORUMS, &evidence));
        match declared {
            None => return false,
            Some(AfterLoss::DropCopy) if keeps => {}
            Some(AfterLoss::KeepCopy) => {}
            Some(AfterLoss::DropCopy) => held.data = [None; KEYS],
        }
        self.losses += 1;
        self.note_full(node);
        true
    }

    fn follow(&mut self, node: NodeId, from: NodeId) -> bool {
        let own = self.own(node);
        let grant = self.state(from).map(SlotState::grant);
        let keeps = self.has(Bug::RootKeepsData);
        let held = &mut self.nodes[node.index()];
        let (Some(state), Some(grant)) = (held.state.as_mut(), grant) else {
            return false;
        };
        let followed = state.follow(grant, own);
        if followed && !keeps {
            held.data = [None; KEYS];
        }
        followed
    }

    fn operate(
        &mut self,
        name: OperationName,
        coordinator: NodeId,
        (key, request): (u8, Request),
        reached: &Reached,
    ) -> bool {
        let own = self.own(coordinator);
        let Some(state) = self.state(coordinator) else {
            return false;
        };
        let configuration = state.configuration().clone();
        if !all_own(&configuration, reached) {
            return false;
        }
        let held = &mut self.nodes[coordinator.index()];
        let version = version(held.clock + 1, own);
        if request != Request::Read {
            held.clock += 1;
        }
        let need = need(&configuration);
        self.operations.push(Operation {
            name,
            coordinator: own,
            key: usize::from(key),
            request,
            version,
            phase: match request {
                Request::Read => Phase::Read,
                Request::Write | Request::Delete => Phase::Write,
            },
            writes: WriteTally::new(need, OnNewer::Restamp),
            reads: ReadTally::new(need),
            seen: vec![None; configuration.owners().len()],
            configuration,
            replies: Vec::new(),
        });
        self.reach(self.operations.len() - 1, reached)
    }

    fn place(&self, name: OperationName) -> Option<usize> {
        self.operations.iter().position(|begun| begun.name == name)
    }

    fn send(&mut self, name: OperationName, reached: &Reached) -> bool {
        let place = self.place(name);
        place.is_some_and(|place| {
            all_own(&self.operations[place].configuration, reached) && self.reach(place, reached)
        })
    }

    fn again(&mut self, name: OperationName, reached: &Reached) -> bool {
        let Some(place) = self.place(name) else {
            return false;
        };
        let coordinator = life(self.operations[place].coordinator).node;
        let is_open = !matches!(self.operations[place].phase, Phase::Ended(_));
        let present = self.state(coordinator).map(SlotState::configuration);
        let Some(present) = present.filter(|_| is_open).cloned() else {
            return false;
        };
        let operation = &mut self.operations[place];
        if present.root() != operation.configuration.root() {
            operation.phase = Phase::Ended(Progress::Unknown);
            return false;
        }
        operation.begin_attempt(present);
        all_own(&operation.configuration, reached) && self.reach(place, reached)
    }

    /// Requests reach owners, and those of attempts that follow from the answers as well.
    fn reach(&mut self, place: usize, reached: &Reached) -> bool {
        self.operations[place].replies.clear();
        let mut goes_on = true;
        while goes_on {
            goes_on = false;
            for node in &reached.at {
                goes_on |= self.ask(place, *node, reached.answers_return);
            }
        }
        true
    }

    /// Asks one owner. Whether another attempt has begun.
    fn ask(&mut self, place: usize, node: NodeId, returns: bool) -> bool {
        let operation = &self.operations[place];
        let (key, asked) = (operation.key, operation.configuration.id());
        let root = operation.configuration.root();
        let named = (0u8..).zip(operation.configuration.owners());
        let mut positions = named.filter(|(_, owner)| life(**owner).node == node);
        let Some((position, _)) = positions.next() else {
            return false;
        };
        let stored = match operation.phase {
            Phase::Read => None,
            Phase::Write | Phase::Ended(_) if operation.request == Request::Read => None,
            Phase::Write | Phase::Ended(_) => Some((operation.entry(), false)),
            Phase::WriteBack(entry) => Some((entry, true)),
        };
        let (own, bug) = (self.own(node), self.bug);
        let held = &mut self.nodes[node.index()];
        let Some(state) = held.state.as_mut() else {
            self.operations[place]
                .replies
                .push((node, Reply::WrongConfig));
            return self.refused(place, position, returns);
        };
        let Some(vote) = state.vote(asked, own, QUORUMS) else {
            let is_same_root =
                state.configuration().root() == root || bug == Some(Bug::ForeignWriteStored);
            if let Some((entry, _)) = stored.filter(|_| is_same_root) {
                merge(held, key, entry);
            }
            self.operations[place]
                .replies
                .push((node, Reply::WrongConfig));
            return self.refused(place, position, returns);
        };
        if vote.carry.is_some() && bug != Some(Bug::TraceForgotten) {
            state.saw();
        }
        let vote = misjudged(bug, vote);
        let answer = match stored {
            None => Told::Read(
                held.data[key],
                match held.data[key] {
                    Some(entry) if !entry.held.tombstone => ReadAnswer::Holds {
                        held: HeldRecord::Version(entry.version),
                        vote,
                    },
                    entry => ReadAnswer::Miss {
                        absence: entry
                            .map_or(Absence::Untraced, |entry| Absence::Gone(entry.version)),
                        vote,
                        cause: None,
                    },
                },
            ),
            Some((entry, _)) => match held.data[key] {
                Some(newer)
                    if newer.version > entry.version && bug != Some(Bug::NewerAcknowledged) =>
                {
                    Told::Write(WriteAnswer::Newer {
                        version: newer.version,
                        vote,
                    })
                }
                _ => {
                    merge(held, key, entry);
                    Told::Write(WriteAnswer::Stored {
                        replaced: false,
                        vote,
                    })
                }
            },
        };
        let is_back = stored.is_some_and(|(_, is_back)| is_back);
        let reply = match &answer {
            Told::Write(WriteAnswer::Newer { .. }) if !is_back => Reply::Newer,
            Told::Write(_) | Told::Read(..) => Reply::Ok,
        };
        self.operations[place].replies.push((node, reply));
        returns && self.tell(place, position, answer)
    }

    fn refused(&mut self, place: usize, position: u8, returns: bool) -> bool {
        if returns {
            let failed = match self.operations[place].phase {
                Phase::Read => Told::Read(None, ReadAnswer::Failed(Failure::WrongConfig)),
                Phase::Write | Phase::WriteBack(_) | Phase::Ended(_) => {
                    Told::Write(WriteAnswer::Failed(Failure::WrongConfig))
                }
            };
            self.tell(place, position, failed);
        }
        false
    }

    /// The coordinator takes an answer. Whether another attempt has begun.
    fn tell(&mut self, place: usize, position: u8, answer: Told) -> bool {
        let operation = &mut self.operations[place];
        let coordinator = life(operation.coordinator).node;
        match (operation.phase, answer) {
            (Phase::Write, Told::Write(answer)) => {
                operation.writes.answer(position, answer);
                match operation.writes.outcome() {
                    WriteOutcome::Acknowledged => {
                        operation.phase = Phase::Ended(Progress::Acknowledged);
                        false
                    }
                    WriteOutcome::Superseded { by } => {
                        let held = &mut self.nodes[coordinator.index()];
                        held.clock = held.clock.max(by.stamp.millis()) + 1;
                        operation.version = version(held.clock, operation.coordinator);
                        operation.begin_attempt(operation.configuration.clone());
                        true
                    }
                    WriteOutcome::Open | WriteOutcome::Reconfigured | WriteOutcome::Hopeless => {
                        false
                    }
                }
            }
            (Phase::WriteBack(entry), Told::Write(answer)) => {
                operation.writes.answer(position, answer);
                if operation.writes.outcome() == WriteOutcome::Acknowledged {
                    operation.phase = Phase::Ended(Progress::Returned(Some(entry.held)));
                }
                false
            }
            (Phase::Read, Told::Read(entry, answer)) => {
                operation.reads.ask(position);
                operation.reads.answer(position, answer);
                operation.seen[usize::from(position)] = entry;
                operation.judge_read(self.bug == Some(Bug::NoWriteBack))
            }
            (Phase::Write | Phase::WriteBack(_), Told::Read(..))
            | (Phase::Read, Told::Write(_))
            | (Phase::Ended(_), _) => false,
        }
    }
}

/// What an owner answers.
enum Told {
    Write(WriteAnswer),
    Read(Option<Entry>, ReadAnswer),
}

impl Operation {
    fn entry(&self) -> Entry {
        Entry {
            version: self.version,
            held: Held {
                by: self.name,
                tombstone: self.request == Request::Delete,
            },
        }
    }

    fn begin_attempt(&mut self, configuration: Configuration) {
        let need = need(&configuration);
        let on_newer = match self.phase {
            Phase::WriteBack(_) => OnNewer::Satisfied,
            Phase::Write | Phase::Read | Phase::Ended(_) => OnNewer::Restamp,
        };
        self.writes = WriteTally::new(need, on_newer);
        self.reads = ReadTally::new(need);
        self.seen = vec![None; configuration.owners().len()];
        self.configuration = configuration;
    }

    /// Ends a read that has its quorum, or begins its write-back.
    fn judge_read(&mut self, leaves_it: bool) -> bool {
        if self.reads.outcome() != ReadOutcome::Answered {
            return false;
        }
        let newest = self.seen.iter().flatten().copied();
        let newest = newest.max_by_key(|entry| entry.version);
        let version = match self.reads.newest() {
            Newest::Nothing | Newest::Ghost(_) | Newest::Unsure => None,
            Newest::Gone(version) | Newest::Value { version, .. } => Some(version),
        };
        assert_eq!(version, newest.map(|entry| entry.version));
        let Some(newest) = newest else {
            self.phase = Phase::Ended(Progress::Returned(None));
            return false;
        };
        let quorum = QUORUMS.write(self.configuration.owners().len());
        if leaves_it || usize::from(self.reads.holders(newest.version)) >= quorum {
            self.phase = Phase::Ended(Progress::Returned(Some(newest.held)));
            return false;
        }
        self.phase = Phase::WriteBack(newest);
        self.begin_attempt(self.configuration.clone());
        true
    }
}

impl Subject for Production {
    fn act(&mut self, action: &Action) -> bool {
        match action {
            Action::First { owners } => self.form(owners),
            Action::Adopt { node, config } => {
                let configuration = self.configuration(*node, config);
                self.adopt(*node, configuration)
            }
            Action::AdoptFrom { node, from } => {
                let configuration = self.state(*from).map(SlotState::configuration).cloned();
                self.adopt(*node, configuration)
            }
            Action::Join { node, from, answer } => self.join(*node, *from, *answer),
            Action::Pull { node, from, answer } => self.pull(*node, *from, *answer),
            Action::Deliver { late } => self.deliver(*late),
            Action::Crash { node } => self.crash(*node),
            Action::Settle { node, config } => {
                let configuration = self.configuration(*node, config);
                self.settle(*node, configuration)
            }
            Action::Declare { node, present } => self.declare(*node, *present),
            Action::Follow { node, from } => self.follow(*node, *from),
            Action::Operate {
                name,
                coordinator,
                key,
                request,
                reached,
            } => self.operate(*name, *coordinator, (*key, *request), reached),
            Action::Send { name, reached } => self.send(*name, reached),
            Action::Again { name, reached } => self.again(*name, reached),
        }
    }

    fn node(&self, node: NodeId) -> NodeState {
        let held = &self.nodes[node.index()];
        let data = held.data.iter().map(|entry| entry.map(|entry| entry.held));
        let Some(state) = &held.state else {
            return NodeState {
                data: data.collect(),
                ..NodeState::default()
            };
        };
        let all = |list: &[Configuration]| list.iter().map(named).collect();
        NodeState {
            config: Some(named(state.configuration())),
            generation: state.configuration().root().generation as u8,
            full: state.is_full(),
            carry: state.carried().map(named),
            preds: all(state.predecessors()),
            covered: all(state.covered()),
            top: state.top().map(named),
            seen: state.is_seen(),
            data: data.collect(),
        }
    }

    fn operation(&self, name: OperationName) -> OperationState {
        let begun = &self.operations[self.place(name).expect("an operation that has begun")];
        OperationState {
            progress: match begun.phase {
                Phase::Read | Phase::Write | Phase::WriteBack(_) => Progress::Open,
                Phase::Ended(progress) => progress,
            },
            replies: begun.replies.clone(),
        }
    }

    fn losses(&self) -> usize {
        self.losses
    }

    fn violation(&self) -> Option<String> {
        None
    }
}

/// The answer to a pull, as a source with a bug gives it.
fn answer_pull(
    bug: Option<Bug>,
    state: &mut SlotState,
    asked: SlotConfiguration,
    source: RingMember,
) -> Option<Answered> {
    match bug {
        Some(Bug::Unsealed) => {
            let present = state.configuration().id();
            let answered = state.answer_pull(present, source)?;
            Some(Answered {
                is_full: answered.is_full && present == asked,
                ..answered
            })
        }
        Some(Bug::TraceForgotten) => state.clone().answer_pull(asked, source),
        _ => state.answer_pull(asked, source),
    }
}

/// Whether it was full in the last configuration that it left.
fn was_full_last(answered: &Answered) -> bool {
    let left = answered.predecessors.last();
    answered.is_full || left.is_none_or(|left| answered.top.as_ref() >= Some(left))
}

/// How a coordinator with a bug takes a vote.
fn misjudged(bug: Option<Bug>, vote: Vote) -> Vote {
    match bug {
        Some(Bug::NoFullNeeded) => Vote {
            is_full: true,
            ..vote
        },
        Some(Bug::CarryIsFull) => Vote {
            is_full: vote.is_full || vote.carry.is_some(),
            ..vote
        },
        Some(Bug::CarryMixed) => Vote {
            carry: vote.carry.map(|carry| Carry {
                of: SlotConfiguration {
                    root: 0,
                    number: 0,
                    owners: 0,
                },
                ..carry
            }),
            ..vote
        },
        _ => vote,
    }
}

fn merge(held: &mut Node, key: usize, entry: Entry) {
    held.clock = held.clock.max(entry.version.stamp.millis());
    if held.data[key].is_none_or(|present| present.version < entry.version) {
        held.data[key] = Some(entry);
    }
}

fn need(configuration: &Configuration) -> Need {
    let owners = configuration.owners().len();
    let required = QUORUMS.write(owners) as u8;
    Need {
        owners: owners as u8,
        required,
        least: required,
        standing: Standing::Everything,
    }
}

fn version(counter: u64, writer: RingMember) -> Version {
    Version::new(Stamp::new(counter, 0), writer.boot_id.0)
}

fn member(life: Member) -> RingMember {
    let node = u64::from(life.node.0);
    RingMember {
        node_id: Id(node),
        boot_id: BootId(node * BOOTS + u64::from(life.boot)),
    }
}

fn life(member: RingMember) -> Member {
    Member {
        node: NodeId(member.node_id.0 as u8),
        boot: (member.boot_id.0 % BOOTS) as u8,
    }
}

fn named(configuration: &Configuration) -> NamedConfig {
    let owners = configuration.owners().iter().copied();
    NamedConfig {
        number: configuration.number() as u8,
        owners: owners.map(life).collect(),
    }
}

fn all_own(configuration: &Configuration, reached: &Reached) -> bool {
    let owners = configuration.owners();
    let is_owner = |node: &NodeId| owners.iter().any(|owner| life(*owner).node == *node);
    reached.at.iter().all(is_owner)
}
