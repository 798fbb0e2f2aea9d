//! What a node knows about one slot: rules 1 to 4 and 9 to 17, one method per atomic step.
//!
//! Nothing here sends, waits or reads a clock. The caller carries messages between nodes, holds the data, and says what the
//! ring wants and who has lost its memory.
//!
//! Invariants: the configuration only ever goes up, and never to one that names an earlier life of this node; a full state
//! has no predecessors; only an owner is ever full.

use super::{
    configuration::{Configuration, Quorums, Root, SlotConfiguration},
    walk,
};
use crate::ring::RingMember;

/// One slot as one node sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SlotState {
    configuration: Configuration,
    /// The data covers every write that was acknowledged in a configuration below this one.
    is_full: bool,
    /// Others may rest on something that this node did here: it answered a pull, or an operation as carrying owner.
    is_seen: bool,
    /// The highest configuration in which this memory was full.
    top: Option<Configuration>,
    /// Absent for slots that do not move.
    motion: Option<Box<Motion>>,
}

/// What is only there while owners change.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
struct Motion {
    /// Configurations below the present one whose writes the data may not cover. Sorted.
    predecessors: Vec<Configuration>,
    /// The configuration that was left as full owner, if nothing has joined `predecessors` since.
    carry: Option<Configuration>,
    /// The predecessors that a full node has covered, kept for joiners until the configuration is settled.
    covered: Vec<Configuration>,
    /// Answers to this node's pulls in the present configuration.
    answers: Vec<Answered>,
}

/// What a node without a configuration takes from one that has one (rule 13).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Grant {
    /// The configuration that the granting node is in.
    pub configuration: Configuration,
    /// What has to be covered below it.
    pub predecessors: Vec<Configuration>,
    /// Whether the granting node is full.
    pub is_full: bool,
}

/// What a node says of itself when it answers a pull; its data goes along (rule 9).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answered {
    /// Who answers.
    pub by: RingMember,
    /// Its predecessors; none when it is full.
    pub predecessors: Vec<Configuration>,
    /// Whether it is full in the configuration that was asked about.
    pub is_full: bool,
    /// The highest configuration in which its memory was full.
    pub top: Option<Configuration>,
}

/// How a replica's answer to an operation counts (rule 4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Vote {
    /// Its data covers everything acknowledged in lower configurations.
    pub is_full: bool,
    /// It does not, but is all that its owner left the last configuration with.
    pub carry: Option<Carry>,
}

/// The configuration that a carrying owner left as full owner (rule 5).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Carry {
    /// The configuration.
    pub of: SlotConfiguration,
    /// As many owners that carry the same one stand in for a full owner.
    pub cover: u8,
}

/// What has to be done when a configuration is settled (rule 15).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnSettled {
    /// Nothing.
    Keep,
    /// The copy is not needed any more: drop the slot's data.
    DropCopy,
}

/// What a declaration of loss rests on (rule 16).
pub struct LossEvidence<'a> {
    /// So many members have to have answered, this node included: at least a majority of the last agreed ring.
    pub answers_needed: usize,
    /// Whether the memory of this life of a member is gone for good: it has restarted, or was forgotten by the operator.
    pub is_gone: &'a dyn Fn(RingMember) -> bool,
}

/// Whether the first owner keeps its data when it declares a loss.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AfterLoss {
    /// What it holds has every acknowledged write; only that nobody else acknowledged more is not known.
    KeepCopy,
    /// Its data may lack a delete: drop it.
    DropCopy,
}

impl SlotState {
    /// Enters the first configuration of a cluster (rule 14): its owners have missed nothing.
    #[must_use]
    pub fn form(configuration: Configuration, own: RingMember) -> Self {
        let is_full = configuration.names(own);
        Self {
            top: is_full.then(|| configuration.clone()),
            configuration,
            is_full,
            is_seen: false,
            motion: None,
        }
    }

    /// What a node without a configuration may take from this one (rule 13).
    #[must_use]
    pub fn grant(&self) -> Grant {
        let held = if self.is_full {
            self.covered()
        } else {
            self.predecessors()
        };
        Grant {
            configuration: self.configuration.clone(),
            predecessors: held.to_vec(),
            is_full: self.is_full,
        }
    }

    /// Enters as a joiner, with an empty memory (rule 13); the highest grant of all members that can be reached should be
    /// taken. `None` for a configuration that this node could only be full in without having asked anybody.
    #[must_use]
    pub fn join(grant: Grant, own: RingMember) -> Option<Self> {
        let Grant {
            configuration,
            predecessors,
            is_full,
        } = grant;
        if configuration.names(own) && configuration.is_first_of_cluster() {
            return Some(Self::form(configuration, own));
        }
        if configuration.names(own) && predecessors.is_empty() && !configuration.is_first_of_root()
        {
            return None;
        }
        let motion = Motion {
            predecessors,
            ..Motion::default()
        };
        Some(Self {
            configuration,
            is_full: false,
            is_seen: is_full,
            top: None,
            motion: Some(Box::new(motion)).filter(|motion| !motion.is_empty()),
        })
    }

    /// The configuration that this node is in.
    #[must_use]
    pub const fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    /// Whether the data covers every write acknowledged in lower configurations.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.is_full
    }

    /// Whether others may rest on something that this node did in this configuration.
    #[must_use]
    pub const fn is_seen(&self) -> bool {
        self.is_seen
    }

    /// The highest configuration in which this memory was full.
    #[must_use]
    pub const fn top(&self) -> Option<&Configuration> {
        self.top.as_ref()
    }

    /// Configurations whose writes the data may not cover.
    #[must_use]
    pub fn predecessors(&self) -> &[Configuration] {
        self.motion
            .as_deref()
            .map_or(&[], |motion| &motion.predecessors)
    }

    /// What a full node has covered since the last settled configuration.
    #[must_use]
    pub fn covered(&self) -> &[Configuration] {
        self.motion.as_deref().map_or(&[], |motion| &motion.covered)
    }

    /// The answers to this node's pulls in the present configuration.
    #[must_use]
    pub fn answers(&self) -> &[Answered] {
        self.motion.as_deref().map_or(&[], |motion| &motion.answers)
    }

    /// Whether it still has to become full.
    #[must_use]
    pub fn is_wanting(&self, own: RingMember) -> bool {
        !self.is_full && self.configuration.names(own)
    }

    /// The configuration to propose for other owners, above everything in this root that was seen (rule 1).
    #[must_use]
    pub fn propose(
        &self,
        owners: impl Into<Box<[RingMember]>>,
        highest_seen: u32,
    ) -> Configuration {
        let number = self.configuration.number().max(highest_seen);
        Configuration::new(self.configuration.root(), number.saturating_add(1), owners)
    }

    /// Whether the node may move to a configuration (rule 1).
    #[must_use]
    pub fn may_adopt(&self, configuration: &Configuration, own: RingMember) -> bool {
        configuration.root() == self.configuration.root()
            && *configuration > self.configuration
            && !configuration.names_former_self_of(own)
    }

    /// Moves up (rules 1 and 2). Returns whether it did; the data is kept. From then on nothing is answered under the
    /// configuration that was left.
    pub fn adopt(
        &mut self,
        configuration: Configuration,
        own: RingMember,
        quorums: Quorums,
    ) -> bool {
        if !self.may_adopt(&configuration, own) {
            return false;
        }
        let left = std::mem::replace(&mut self.configuration, configuration);
        let mut motion = self.motion.take().unwrap_or_default();
        if self.is_full {
            motion.predecessors = vec![left.clone()];
            motion.carry = Some(left);
        } else if self.is_seen || motion.predecessors.is_empty() {
            insert(&mut motion.predecessors, left);
            motion.carry = None;
        }
        motion.covered.clear();
        motion.answers.clear();
        self.motion = Some(motion);
        self.is_full = false;
        self.is_seen = false;
        self.try_full(own, quorums);
        true
    }

    /// How an answer to an operation under `asked` counts; `None` when it must not be given (rule 4). The caller notes with
    /// [`saw`](Self::saw) that it answered as carrying owner, before the answer leaves.
    #[must_use]
    pub fn vote(
        &self,
        asked: SlotConfiguration,
        own: RingMember,
        quorums: Quorums,
    ) -> Option<Vote> {
        if self.configuration.id() != asked || !self.configuration.names(own) {
            return None;
        }
        Some(Vote {
            is_full: self.is_full,
            carry: self.carry(quorums),
        })
    }

    /// What it carries, if it is not full and nothing has happened since it was.
    #[must_use]
    pub fn carry(&self, quorums: Quorums) -> Option<Carry> {
        let left = self.carried()?;
        Some(Carry {
            of: left.id(),
            cover: u8::try_from(quorums.cover(left.owners().len())).unwrap_or(u8::MAX),
        })
    }

    /// The configuration that it carries.
    #[must_use]
    pub fn carried(&self) -> Option<&Configuration> {
        let motion = self.motion.as_deref().filter(|_| !self.is_full)?;
        let left = motion.carry.as_ref()?;
        (motion.predecessors == [left.clone()]).then_some(left)
    }

    /// Notes that it answered an operation as carrying owner: others may rest on that (rule 2).
    pub const fn saw(&mut self) {
        self.is_seen = true;
    }

    /// Answers a pull, only from within the configuration that is asked about (rule 9): what goes along with it is all that
    /// this node will ever have acknowledged below it.
    pub fn answer_pull(&mut self, asked: SlotConfiguration, own: RingMember) -> Option<Answered> {
        if self.configuration.id() != asked {
            return None;
        }
        self.is_seen = true;
        let predecessors = if self.is_full {
            Vec::new()
        } else {
            self.predecessors().to_vec()
        };
        Some(Answered {
            by: own,
            predecessors,
            is_full: self.is_full,
            top: self.top.clone(),
        })
    }

    /// Takes the answer to a pull under `asked`, once the data that goes with it has been merged (rules 9 to 11). Returns
    /// whether the node is full now.
    pub fn take_answer(
        &mut self,
        asked: SlotConfiguration,
        answer: Answered,
        own: RingMember,
        quorums: Quorums,
    ) -> bool {
        if self.configuration.id() != asked || !self.is_wanting(own) {
            return self.is_full;
        }
        let has_copied = answer.is_full;
        let motion = self.motion.get_or_insert_default();
        motion
            .answers
            .retain(|held| held.by.node_id != answer.by.node_id);
        motion.answers.push(answer);
        if has_copied {
            self.become_full();
        } else {
            self.try_full(own, quorums);
        }
        self.is_full
    }

    /// Takes note that all owners of `settled` have become full in it (rule 15).
    pub fn settle(&mut self, settled: &Configuration, own: RingMember) -> OnSettled {
        if settled.root() != self.configuration.root() || *settled > self.configuration {
            return OnSettled::Keep;
        }
        let Some(motion) = &mut self.motion else {
            return self.drop_copy_of_no_owner(settled, own);
        };
        if *settled == self.configuration {
            motion.covered.clear();
            if !self.configuration.names(own) {
                motion.predecessors.clear();
                motion.carry = None;
            }
        } else if !self.is_full && motion.predecessors.iter().any(|held| held < settled) {
            motion.predecessors.retain(|held| held >= settled);
            insert(&mut motion.predecessors, settled.clone());
            motion.carry = None;
        }
        if motion.is_empty() {
            self.motion = None;
        }
        self.drop_copy_of_no_owner(settled, own)
    }

    fn drop_copy_of_no_owner(&mut self, settled: &Configuration, own: RingMember) -> OnSettled {
        if *settled != self.configuration || self.configuration.names(own) {
            return OnSettled::Keep;
        }
        self.top = None;
        OnSettled::DropCopy
    }

    /// Declares the slot lost, if that is for this node to do and nothing else can help (rule 16): a new root begins, in
    /// which this node alone is full.
    pub fn declare_lost(
        &mut self,
        own: RingMember,
        quorums: Quorums,
        evidence: &LossEvidence<'_>,
    ) -> Option<AfterLoss> {
        let is_first_owner = self.configuration.owners().first() == Some(&own);
        if self.is_full || !is_first_owner || self.predecessors().is_empty() {
            return None;
        }
        let answers = self.answers();
        let answered = |member: &RingMember| {
            *member == own || answers.iter().any(|answer| answer.by == *member)
        };
        let complete = self.configuration.owners().iter().all(answered)
            && answers.len() + 1 >= evidence.answers_needed;
        let witnesses = self.witnesses(own);
        if !complete
            || !walk::is_lost(&witnesses, quorums, evidence.is_gone)
            || walk::may_still_cover(&witnesses, quorums, evidence.is_gone)
        {
            return None;
        }
        let after = if walk::has_every_write(&witnesses, quorums) {
            AfterLoss::KeepCopy
        } else {
            AfterLoss::DropCopy
        };
        let root = self.configuration.root().after_loss(&self.configuration);
        self.begin_root(root);
        Some(after)
    }

    /// Begins a root with the present number and owners, and is full in it.
    pub(super) fn begin_root(&mut self, root: Root) {
        let (number, owners) = (self.configuration.number(), self.configuration.owners());
        self.configuration = Configuration::new(root, number, owners);
        self.is_full = true;
        self.top = Some(self.configuration.clone());
        self.motion = None;
    }

    /// Follows another node into a higher root, like a joiner (rule 17). Returns whether it did: then the slot's data is to
    /// be dropped.
    pub fn follow(&mut self, grant: Grant, own: RingMember) -> bool {
        if grant.configuration.root() <= self.configuration.root() {
            return false;
        }
        let Some(entered) = Self::join(grant, own) else {
            return false;
        };
        *self = entered;
        true
    }

    /// Everyone who answered in this configuration, this node included.
    fn witnesses(&self, own: RingMember) -> Vec<walk::Witness<'_>> {
        let others = self.answers().iter().map(|answer| walk::Witness {
            member: answer.by,
            predecessors: &answer.predecessors,
            top: answer.top.as_ref(),
        });
        let itself = walk::Witness {
            member: own,
            predecessors: self.predecessors(),
            top: self.top.as_ref(),
        };
        others.chain([itself]).collect()
    }

    fn try_full(&mut self, own: RingMember, quorums: Quorums) {
        if self.is_wanting(own) && walk::covers_everything(&self.witnesses(own), quorums) {
            self.become_full();
        }
    }

    fn become_full(&mut self) {
        self.is_full = true;
        self.top = Some(self.configuration.clone());
        let predecessors = self.motion.take().unwrap_or_default().predecessors;
        let motion = Motion {
            covered: predecessors,
            ..Motion::default()
        };
        self.motion = Some(Box::new(motion)).filter(|motion| !motion.is_empty());
    }
}

impl Motion {
    const fn is_empty(&self) -> bool {
        self.predecessors.is_empty()
            && self.carry.is_none()
            && self.covered.is_empty()
            && self.answers.is_empty()
    }
}

fn insert(sorted: &mut Vec<Configuration>, configuration: Configuration) {
    if let Err(place) = sorted.binary_search(&configuration) {
        sorted.insert(place, configuration);
    }
}
