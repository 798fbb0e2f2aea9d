//! Whether the nodes that answered in one configuration cover everything that was acknowledged below it.

use super::configuration::{Configuration, Quorums};
use crate::ring::RingMember;

/// What one node said of itself.
#[derive(Clone, Copy)]
pub(super) struct Witness<'a> {
    pub(super) member: RingMember,
    pub(super) predecessors: &'a [Configuration],
    pub(super) top: Option<&'a Configuration>,
}

/// Rule 11, the walk up. It begins at the highest configuration in which a witness was full, because that one's data covers
/// everything below, or at the first of the root. A configuration is passed when a cover of its owners answered, each of
/// whom mentions above it only what is passed as well: so an unfinished configuration that only a few entered, and whose
/// owners are dead, does not block.
pub(super) fn covers_everything(witnesses: &[Witness<'_>], quorums: Quorums) -> bool {
    let known = mentioned(witnesses);
    let base = match tops(witnesses).max() {
        Some(top) => top,
        None => match known.iter().find(|known| known.is_first_of_root()) {
            Some(first) => first,
            None => return false,
        },
    };
    let mut passed: Vec<&Configuration> = Vec::new();
    for candidate in known.iter().rev().filter(|known| **known >= base) {
        let vouching = witnesses.iter().filter(|witness| {
            let above = witness.predecessors.iter().filter(|held| held > candidate);
            above.into_iter().all(|held| passed.contains(&held))
        });
        let owners = owners_among(candidate, vouching.map(|witness| witness.member));
        if owners >= quorums.cover(candidate.owners().len()) {
            passed.push(candidate);
        }
    }
    passed.contains(&base)
}

/// The heart of rule 16: some configuration that has to be covered never can be, because too many of its owners have lost
/// their memory.
pub(super) fn is_lost(
    witnesses: &[Witness<'_>],
    quorums: Quorums,
    is_gone: &dyn Fn(RingMember) -> bool,
) -> bool {
    mentioned(witnesses).into_iter().any(|mentioned| {
        let owners = mentioned.owners();
        let left = owners.iter().filter(|owner| !is_gone(**owner)).count();
        left < quorums.cover(owners.len())
    })
}

/// Whether answers of owners that are merely away could still make everything covered: the kindest ones, which mention
/// nothing above what they were full in. Then a slot is not lost yet, however many others have lost their memory: one of
/// those who are away may be serving it, on the other side of a cut.
pub(super) fn may_still_cover(
    witnesses: &[Witness<'_>],
    quorums: Quorums,
    is_gone: &dyn Fn(RingMember) -> bool,
) -> bool {
    let known = mentioned(witnesses);
    let is_heard = |owner: RingMember| witnesses.iter().any(|witness| witness.member == owner);
    let owners = known.iter().flat_map(|known| known.owners());
    let mut away: Vec<RingMember> = owners
        .copied()
        .filter(|owner| !is_heard(*owner) && !is_gone(*owner))
        .collect();
    away.sort_unstable();
    away.dedup();
    let covers_if_full_in = |top: Option<&Configuration>| {
        let answers = away.iter().map(|owner| Witness {
            member: *owner,
            predecessors: &[],
            top: top.filter(|top| top.names(*owner)),
        });
        let hoped: Vec<_> = witnesses.iter().copied().chain(answers).collect();
        covers_everything(&hoped, quorums)
    };
    let mut tops = known.iter().copied().map(Some).chain([None]);
    !away.is_empty() && tops.any(covers_if_full_in)
}

/// The exception of rule 16: for every configuration that has to be covered enough owners answered to meet every write
/// quorum, so no acknowledged write is missing.
pub(super) fn has_every_write(witnesses: &[Witness<'_>], quorums: Quorums) -> bool {
    let has_base = tops(witnesses).next().is_some()
        || predecessors(witnesses).any(Configuration::is_first_of_root);
    has_base
        && predecessors(witnesses).all(|held| {
            let members = witnesses.iter().map(|witness| witness.member);
            let owners = held.owners().len();
            owners_among(held, members) > owners - quorums.write(owners)
        })
}

/// All configurations that any witness mentions, sorted, each once.
fn mentioned<'a>(witnesses: &[Witness<'a>]) -> Vec<&'a Configuration> {
    let mut known: Vec<_> = predecessors(witnesses).chain(tops(witnesses)).collect();
    known.sort_unstable();
    known.dedup();
    known
}

fn predecessors<'a>(witnesses: &[Witness<'a>]) -> impl Iterator<Item = &'a Configuration> {
    witnesses.iter().flat_map(|witness| witness.predecessors)
}

fn tops<'a>(witnesses: &[Witness<'a>]) -> impl Iterator<Item = &'a Configuration> {
    witnesses.iter().filter_map(|witness| witness.top)
}

/// How many owners of the configuration are among the members, in the same life.
fn owners_among(configuration: &Configuration, members: impl Iterator<Item = RingMember>) -> usize {
    members
        .filter(|member| configuration.names(*member))
        .count()
}
