//! Owners are spread over zones.

use std::collections::BTreeMap;

use super::*;

const SLOTS: u16 = 97;

/// Members in a few zones, some in none.
fn any_zoned(most: usize, zones: u64) -> impl Strategy<Value = Vec<ZonedMember>> {
    let zone = prop::option::weighted(0.85, 0..zones);
    prop::collection::btree_map(any::<u64>(), (any::<u64>(), zone), 0..=most).prop_map(|members| {
        let zoned = |(node, (boot, zone)): (u64, (u64, Option<u64>))| ZonedMember {
            member: RingMember {
                node_id: NodeId(node),
                boot_id: BootId(boot),
            },
            zone: zone.map(ZoneId),
        };
        members.into_iter().map(zoned).collect()
    })
}

/// What counts as one failure domain: a zone, or a member without one.
fn domains(members: &[ZonedMember]) -> BTreeMap<NodeId, (Option<ZoneId>, Option<NodeId>)> {
    let domain = |zoned: &ZonedMember| match zoned.zone {
        Some(zone) => (Some(zone), None),
        None => (None, Some(zoned.member.node_id)),
    };
    let pair = |zoned: &ZonedMember| (zoned.member.node_id, domain(zoned));
    members.iter().map(pair).collect()
}

/// The definition, word by word: picks in falling score, first from unused zones, then from the rest.
fn naive_owners(members: &[ZonedMember], slot: Slot, count: usize) -> Vec<NodeId> {
    let by_score = |node_id: &NodeId| std::cmp::Reverse(Ring::score(*node_id, slot));
    let domains = domains(members);
    let mut left: Vec<NodeId> = domains.keys().copied().collect();
    left.sort_by_key(by_score);
    let mut picked: Vec<NodeId> = Vec::new();
    while picked.len() < count && !left.is_empty() {
        let is_unused = |node: &NodeId| picked.iter().all(|one| domains[one] != domains[node]);
        let next = left.iter().position(is_unused).unwrap_or(0);
        picked.push(left.remove(next));
    }
    picked.sort_by_key(by_score);
    picked
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn owners_are_those_of_a_naive_choice(members in any_zoned(12, 5), factor in 1u8..6) {
        let ring = zoned_ring(SLOTS, factor, &members);
        for slot in (0..SLOTS).map(Slot) {
            let expected = naive_owners(&members, slot, usize::from(factor));
            prop_assert_eq!(ids(&ring, slot), expected);
        }
    }

    #[test]
    fn owners_lie_in_as_many_zones_as_they_can(members in any_zoned(12, 5), factor in 1u8..6) {
        let ring = zoned_ring(SLOTS, factor, &members);
        let domains = domains(&members);
        let all: BTreeSet<_> = domains.values().collect();
        for slot in (0..SLOTS).map(Slot) {
            let owners = ids(&ring, slot);
            let used: BTreeSet<_> = owners.iter().map(|owner| domains[owner]).collect();
            prop_assert_eq!(used.len(), all.len().min(usize::from(factor)));
            prop_assert_eq!(owners.len(), members.len().min(usize::from(factor)));
            let scores = owners.iter().map(|owner| Ring::score(*owner, slot));
            prop_assert!(scores.clone().is_sorted_by(|higher, lower| higher > lower));
            let best = members.iter().map(|zoned| Ring::score(zoned.member.node_id, slot)).max();
            prop_assert_eq!(scores.max(), best);
        }
    }

    #[test]
    fn neither_the_order_of_the_input_nor_what_zones_are_called_matters(
        members in any_zoned(12, 5).prop_shuffle(),
    ) {
        let mut sorted = members.clone();
        sorted.sort_unstable();
        let renamed: Vec<_> = members
            .iter()
            .map(|zoned| ZonedMember {
                zone: zoned.zone.map(|zone| ZoneId(!zone.0)),
                ..*zoned
            })
            .collect();
        let [shuffled, sorted, renamed] = [members, sorted, renamed].map(|it| zoned_ring(SLOTS, 3, &it));
        prop_assert_eq!(shuffled.hash(), sorted.hash());
        prop_assert!(shuffled.zoned_members().eq(sorted.zoned_members()));
        for slot in (0..SLOTS).map(Slot) {
            prop_assert_eq!(shuffled.configuration(slot), sorted.configuration(slot));
            prop_assert_eq!(ids(&shuffled, slot), ids(&sorted, slot));
            prop_assert_eq!(ids(&shuffled, slot), ids(&renamed, slot));
        }
    }

    /// Read backwards it is the law for leaving: one other takes the place of a member that goes.
    #[test]
    fn a_newcomer_changes_only_the_lists_that_it_enters_and_one_makes_room(
        members in any_zoned(12, 5),
        newcomer: u64,
        zone in prop::option::of(0..6_u64),
        factor in 1u8..6,
    ) {
        let member = RingMember { node_id: NodeId(newcomer), boot_id: BootId(1) };
        let newcomer = ZonedMember { member, zone: zone.map(ZoneId) };
        prop_assume!(members.iter().all(|known| known.member.node_id != member.node_id));
        let before = zoned_ring(SLOTS, factor, &members);
        let after = zoned_ring(SLOTS, factor, &[members, vec![newcomer]].concat());
        for slot in (0..SLOTS).map(Slot) {
            let (old, new) = (ids(&before, slot), ids(&after, slot));
            if !new.contains(&member.node_id) {
                prop_assert_eq!(before.configuration(slot), after.configuration(slot));
                continue;
            }
            let gone = old.iter().filter(|owner| !new.contains(owner)).count();
            prop_assert_eq!(gone, usize::from(old.len() == usize::from(factor)));
            let stayed = |list: &[NodeId], other: &[NodeId]| -> Vec<NodeId> {
                list.iter().filter(|owner| other.contains(owner)).copied().collect()
            };
            prop_assert_eq!(stayed(&old, &new), stayed(&new, &old));
        }
    }

    #[test]
    fn zones_that_nobody_shares_decide_nothing_but_enter_the_hash(members in any_members(12), factor in 1u8..6) {
        let zoned: Vec<_> = (0..)
            .zip(&members)
            .map(|(zone, member)| ZonedMember { member: *member, zone: Some(ZoneId(zone)) })
            .collect();
        let (plain, zoned) = (ring(SLOTS, factor, &members), zoned_ring(SLOTS, factor, &zoned));
        prop_assert_eq!(plain.hash() == zoned.hash(), members.is_empty());
        for slot in (0..SLOTS).map(Slot) {
            prop_assert_eq!(plain.configuration(slot), zoned.configuration(slot));
        }
    }

    #[test]
    fn two_that_disagree_about_a_zone_have_different_hashes(
        members in any_zoned(8, 4),
        other: usize,
        zone in prop::option::of(0..5_u64),
    ) {
        prop_assume!(!members.is_empty());
        let mut changed = members.clone();
        let other = other % members.len();
        changed[other].zone = zone.map(ZoneId);
        prop_assume!(changed != members);
        prop_assert_ne!(zoned_ring(SLOTS, 3, &members).hash(), zoned_ring(SLOTS, 3, &changed).hash());
    }
}

/// Each of three zones has one copy of everything, however many members it has to put it on.
#[test]
fn with_as_many_zones_as_owners_each_zone_has_one_copy_of_every_slot() {
    let zones = [0, 0, 0, 0, 1, 1, 2].map(ZoneId);
    let members: Vec<_> = numbered(zones.len())
        .into_iter()
        .zip(zones)
        .map(|(member, zone)| ZonedMember {
            member,
            zone: Some(zone),
        })
        .collect();
    let ring = zoned_ring(16384, 3, &members);
    for zone in [0, 1, 2].map(ZoneId) {
        let inside: Vec<_> = members
            .iter()
            .filter(|zoned| zoned.zone == Some(zone))
            .map(|zoned| ring.owned_slots(zoned.member.node_id))
            .collect();
        assert_eq!(inside.iter().sum::<u32>(), 16384);
        let share = 16384.0 / inside.len() as f64;
        for owned in inside {
            assert!(
                (f64::from(owned) / share - 1.0).abs() < 0.1,
                "{owned} of {share}"
            );
        }
    }
}

#[test]
fn the_empty_zone_is_none() {
    assert_eq!(ZoneId::of_name(""), None);
    assert_ne!(ZoneId::of_name("a"), ZoneId::of_name("b"));
}
