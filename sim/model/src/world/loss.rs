//! A slot that is declared lost, because too few owners of some config have kept their memory.

use super::{Data, Said, World};
use crate::config::{Config, Member, NodeId, Root};

impl World {
    /// Rule 16: the first owner of its config starts a new root, if `members` nodes, itself included, have answered it, and
    /// enough owners of a config that it would have to pass are gone for good, and no answer of those who are merely away
    /// could help.
    pub fn declare(&mut self, id: NodeId, members: usize) -> bool {
        let own = self.member(id);
        let node = self.node(id);
        let Some(config) = node.config else {
            return false;
        };
        if node.full || config.owners().first() != Some(&own) || node.preds.is_empty() {
            return false;
        }
        let heard =
            |owner: &Member| *owner == own || node.said.iter().any(|said| said.member == *owner);
        if !config.owners().iter().all(heard) || node.said.len() + 1 < members {
            return false;
        }
        let answers = self.answers(id);
        let base = self.base_without_top(config, &answers);
        if !self.is_lost(&answers, base) || self.may_still_pass(config, &answers, base) {
            return false;
        }
        let complete = if self.rules.salvage_own {
            self.is_complete_for(&node.preds, &answers, base)
        } else {
            let preds = answers.iter().flat_map(|said| said.preds.iter());
            self.is_complete_for(preds, &answers, base)
        };
        self.now += 1;
        let root = Root {
            generation: config.root.generation + 1,
            id: self.firsts.len() as u16,
        };
        let first = config.in_root(root);
        self.firsts.push(first);
        let keeps = !self.rules.root_drops || self.rules.salvage && complete;
        let node = self.node_mut(id);
        if !keeps {
            node.data = Data::default();
        }
        node.preds.clear();
        node.covered.clear();
        node.begin_stay(first);
        self.note(|_| format!("{id} declares the slot lost: {first}"));
        self.make_full(id, first);
        true
    }

    /// Where the walk up begins, unless at a top.
    fn base_without_top(&self, config: Config, answers: &[Said]) -> Option<Config> {
        let has_top = answers.iter().any(|said| said.top.is_some());
        (!has_top).then(|| self.firsts[usize::from(config.root.id)])
    }

    /// Whether some config to pass can never have a cover again.
    fn is_lost(&self, answers: &[Said], base: Option<Config>) -> bool {
        let preds = answers.iter().flat_map(|said| said.preds.iter());
        let tops = answers.iter().filter_map(|said| said.top.as_ref());
        preds.chain(tops).chain(&base).any(|config| {
            let left = config.owners().iter().filter(|owner| {
                let now = self.node(owner.node).boot;
                now <= owner.boot
            });
            left.count() < config.cover(&self.rules)
        })
    }

    /// Whether answers of owners that are merely away could make it full: the kindest ones, which mention nothing above
    /// what they were full in.
    fn may_still_pass(&self, config: Config, answers: &[Said], base: Option<Config>) -> bool {
        if !self.rules.transitive || !self.rules.numbered {
            return false;
        }
        let preds = answers.iter().flat_map(|said| said.preds.iter());
        let tops = answers.iter().filter_map(|said| said.top.as_ref());
        let mentioned: Vec<Config> = preds.chain(tops).chain(&base).copied().collect();
        let is_heard = |owner: Member| answers.iter().any(|said| said.member == owner);
        let mut away: Vec<Member> = mentioned
            .iter()
            .flat_map(|mentioned| mentioned.owners())
            .copied()
            .filter(|owner| self.node(owner.node).boot <= owner.boot && !is_heard(*owner))
            .collect();
        away.sort_unstable();
        away.dedup();
        let first = self.firsts[usize::from(config.root.id)];
        let passes_if_full_in = |top: Option<Config>| {
            let hoped = away.iter().map(|owner| Said {
                member: *owner,
                preds: Vec::new(),
                top: top.filter(|top| top.owners().contains(owner)),
            });
            let hoped: Vec<Said> = answers.iter().cloned().chain(hoped).collect();
            self.walk_up(first, &hoped)
        };
        let mut tops = mentioned.iter().copied().map(Some).chain([None]);
        !away.is_empty() && tops.any(passes_if_full_in)
    }

    /// Of two owners one is left: it holds every acknowledged write, and only a fork is not ruled out. So it is if what
    /// answered meets every write quorum of every config to pass.
    fn is_complete_for<'a>(
        &self,
        preds: impl IntoIterator<Item = &'a Config>,
        answers: &[Said],
        base: Option<Config>,
    ) -> bool {
        let preds = preds.into_iter().copied();
        let mut needed = preds.chain(base);
        needed.all(|config| self.owners_in(&config, answers) >= config.meets_writes())
    }
}
