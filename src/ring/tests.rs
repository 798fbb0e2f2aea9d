use std::collections::BTreeSet;

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::Value;

use super::*;

mod zones;

const BOOTSTRAP: Bootstrap = Bootstrap {
    formed_millis: 1_700_000_000_000,
    former: BootId(7),
};

fn named(names: impl IntoIterator<Item = impl AsRef<str>>) -> Vec<RingMember> {
    names
        .into_iter()
        .map(|name| RingMember {
            node_id: NodeId::of_name(name.as_ref()),
            boot_id: BootId(1),
        })
        .collect()
}

fn numbered(count: usize) -> Vec<RingMember> {
    named((0..count).map(|index| format!("cache-{index}.example:7946")))
}

fn ring(slots: u16, replication_factor: u8, members: &[RingMember]) -> Ring {
    let members = members.iter().copied().map(ZonedMember::without_zone);
    zoned_ring(slots, replication_factor, &members.collect::<Vec<_>>())
}

fn zoned_ring(slots: u16, replication_factor: u8, members: &[ZonedMember]) -> Ring {
    let shape = Shape {
        slots,
        replication_factor,
    };
    Ring::build(shape, BOOTSTRAP, members.to_vec())
}

fn ids(ring: &Ring, slot: Slot) -> Vec<NodeId> {
    ring.owners(slot)
        .iter()
        .map(|owner| owner.node_id)
        .collect()
}

/// The definition: sort all members by falling score, then node id, and take the first few.
fn naive_owners(members: &[RingMember], slot: Slot, count: u8) -> Vec<NodeId> {
    let mut all: Vec<NodeId> = members.iter().map(|member| member.node_id).collect();
    all.sort_by_key(|&node_id| (std::cmp::Reverse(Ring::score(node_id, slot)), node_id));
    all.truncate(usize::from(count));
    all
}

fn any_members(most: usize) -> impl Strategy<Value = Vec<RingMember>> {
    prop::collection::btree_map(any::<u64>(), any::<u64>(), 0..=most).prop_map(|members| {
        members
            .into_iter()
            .map(|(node, boot)| RingMember {
                node_id: NodeId(node),
                boot_id: BootId(boot),
            })
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn owners_are_the_first_few_of_a_naive_sort(
        members in any_members(12),
        slots in 1u16..200,
        factor in 1u8..6,
    ) {
        let ring = ring(slots, factor, &members);
        for slot in (0..slots).map(Slot) {
            let owners = ids(&ring, slot);
            prop_assert_eq!(&owners, &naive_owners(&members, slot, factor));
            prop_assert_eq!(owners.len(), usize::from(ring.owner_count()));
            let distinct: BTreeSet<_> = owners.iter().collect();
            prop_assert_eq!(distinct.len(), owners.len());
        }
    }

    #[test]
    fn the_order_of_the_input_does_not_matter(members in any_members(12).prop_shuffle()) {
        let mut sorted = members.clone();
        sorted.sort_unstable();
        let (shuffled, sorted) = (ring(97, 3, &members), ring(97, 3, &sorted));
        prop_assert_eq!(shuffled.hash(), sorted.hash());
        prop_assert_eq!(shuffled.members(), sorted.members());
        for slot in (0..97).map(Slot) {
            prop_assert_eq!(ids(&shuffled, slot), ids(&sorted, slot));
            prop_assert_eq!(shuffled.configuration(slot), sorted.configuration(slot));
        }
    }

    // Read backwards it is the law for leaving.
    #[test]
    fn a_newcomer_changes_only_the_lists_that_it_enters(
        members in any_members(12),
        newcomer: u64,
        factor in 1u8..6,
    ) {
        let newcomer = RingMember { node_id: NodeId(newcomer), boot_id: BootId(1) };
        prop_assume!(members.iter().all(|member| member.node_id != newcomer.node_id));
        let before = ring(199, factor, &members);
        let after = ring(199, factor, &[members, vec![newcomer]].concat());
        for slot in (0..199).map(Slot) {
            let (mut old, new) = (ids(&before, slot), ids(&after, slot));
            if let Some(place) = after.owners(slot).place(newcomer.node_id) {
                old.insert(place, newcomer.node_id);
                old.truncate(usize::from(after.owner_count()));
                prop_assert_ne!(before.configuration(slot), after.configuration(slot));
            } else {
                prop_assert_eq!(before.configuration(slot), after.configuration(slot));
            }
            prop_assert_eq!(old, new);
        }
    }

    #[test]
    fn configurations_differ_exactly_when_owners_or_boots_do(
        members in any_members(8),
        other: usize,
        boot: u64,
    ) {
        prop_assume!(!members.is_empty());
        let mut changed = members.clone();
        let other = other % members.len();
        changed[other].boot_id = BootId(boot);
        prop_assume!(changed != members);
        let (before, after) = (ring(97, 3, &members), ring(97, 3, &changed));
        prop_assert_ne!(before.hash(), after.hash());
        for slot in (0..97).map(Slot) {
            let same = before.configuration(slot) == after.configuration(slot);
            prop_assert_eq!(same, before.owners(slot).place(members[other].node_id).is_none());
        }
    }

    #[test]
    fn a_bootstrap_survives_its_encoding_and_the_older_one_is_smaller(
        a: (u64, u64),
        b: (u64, u64),
    ) {
        let [one, two] = [a, b].map(|(formed_millis, former)| Bootstrap {
            formed_millis,
            former: BootId(former),
        });
        prop_assert_eq!(Bootstrap::from_bytes(&one.to_bytes()), Some(one));
        prop_assert_eq!(one.cmp(&two), a.cmp(&b));
    }
}

/// A member owns each slot with the same probability, independently: a binomial share. At 20
/// members ten percent are more than five standard deviations of it.
#[test]
fn every_member_owns_its_share_within_ten_percent() {
    for count in 3..=20_u32 {
        let members = numbered(count as usize);
        let ring = ring(16384, 3, &members);
        let share = f64::from(16384 * 3 / count);
        let mut sum = 0;
        for member in &members {
            let owned = ring.owned_slots(member.node_id);
            sum += owned;
            assert!(
                (f64::from(owned) / share - 1.0).abs() < 0.1,
                "{owned} of {share}, {count} members"
            );
        }
        assert_eq!(sum, 16384 * 3);
    }
}

/// The same for the first place, where ten percent would be too strict: five standard deviations.
#[test]
fn every_member_comes_first_for_its_share_of_slots() {
    for count in 3..=20_u32 {
        let ring = ring(16384, 3, &numbered(count as usize));
        let probability = 1.0 / f64::from(count);
        let deviation = (16384.0 * probability * (1.0 - probability)).sqrt();
        let mut firsts = vec![0_u32; count as usize];
        for slot in (0..16384).map(Slot) {
            firsts[usize::from(ring.owners(slot).indices()[0])] += 1;
        }
        for first in firsts {
            assert!((f64::from(first) - 16384.0 * probability).abs() < 5.0 * deviation);
        }
    }
}

#[test]
fn shape_and_bootstrap_enter_the_ring_hash() {
    let members = numbered(4);
    let base = ring(64, 3, &members);
    let other = Bootstrap {
        former: BootId(8),
        ..BOOTSTRAP
    };
    let shape = Shape {
        slots: 64,
        replication_factor: 3,
    };
    let zoned = members.iter().copied().map(ZonedMember::without_zone);
    let elsewhere = Ring::build(shape, other, zoned.collect());
    let hashes = [
        base.hash(),
        ring(65, 3, &members).hash(),
        ring(64, 2, &members).hash(),
        elsewhere.hash(),
        ring(64, 3, &members[..3]).hash(),
    ];
    assert_eq!(BTreeSet::from(hashes).len(), hashes.len());
    assert_ne!(
        base.configuration(Slot(0)).root,
        elsewhere.configuration(Slot(0)).root
    );
    assert_eq!(
        base.configuration(Slot(0)).owners,
        elsewhere.configuration(Slot(0)).owners
    );
}

#[test]
fn a_ring_without_members_has_no_owners() {
    let ring = ring(16, 3, &[]);
    assert_eq!(ring.owner_count(), 0);
    assert!(ring.owners(Slot(3)).is_empty());
    assert_eq!(ring.configuration(Slot(3)), ring.configuration(Slot(4)));
}

#[test]
fn a_slot_beyond_the_shape_has_no_owners() {
    let ring = ring(16, 3, &numbered(5));
    assert!(ring.owners(Slot(16)).is_empty());
    assert!(ring.owners(Slot(u16::MAX)).is_empty());
    assert_ne!(ring.configuration(Slot(16)), ring.configuration(Slot(15)));
}

#[test]
fn one_node_id_is_one_member() {
    let member = numbered(1)[0];
    let twin = RingMember {
        boot_id: BootId(9),
        ..member
    };
    let ring = ring(16, 3, &[twin, member]);
    assert_eq!(ring.members(), [member]);
    assert_eq!(ring.position(member.node_id), Some(0));
    assert_eq!(ring.position(NodeId(0)), None);
    assert_eq!(ring.owned_slots(NodeId(0)), 0);
}

#[test]
fn the_largest_shape_has_an_owner_list_for_every_slot() {
    let ring = ring(u16::MAX, 3, &numbered(24));
    for slot in [0, 1, 40_000, u16::MAX - 1].map(Slot) {
        assert_eq!(ring.owners(slot).len(), 3);
        let owners = ring.owners(slot).iter();
        assert_eq!(
            ring.configuration(slot),
            SlotConfiguration::first(BOOTSTRAP, owners)
        );
    }
}

#[test]
fn an_attachment_of_another_length_is_no_bootstrap() {
    assert_eq!(Bootstrap::from_bytes(&[]), None);
    assert_eq!(Bootstrap::from_bytes(&[0; 15]), None);
    assert_eq!(Bootstrap::from_bytes(&[0; 17]), None);
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a string")
}

fn word(value: &Value) -> u64 {
    u64::from_str_radix(text(value), 16).expect("16 hexadecimal digits")
}

fn number<T: TryFrom<u64>>(value: &Value) -> T {
    value
        .as_u64()
        .and_then(|number| T::try_from(number).ok())
        .expect("a small number")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

fn vectors() -> Value {
    serde_json::from_str(include_str!("../../docs/ring-test-vectors.json")).expect("JSON")
}

#[test]
fn published_vectors_of_node_ids_slots_and_scores_hold() {
    let vectors = vectors();
    for vector in list(&vectors["node_ids"]) {
        assert_eq!(
            NodeId::of_name(text(&vector["name"])).0,
            word(&vector["node_id"])
        );
    }
    for vector in list(&vectors["zone_ids"]) {
        let zone = ZoneId::of_name(text(&vector["zone"]));
        assert_eq!(zone, Some(ZoneId(word(&vector["zone_id"]))));
    }
    for vector in list(&vectors["keys"]) {
        let key = Key::new(Bytes::from(text(&vector["key"]).to_owned()));
        assert_eq!(key.hash(), word(&vector["hash"]));
        for slot in list(&vector["slots"]) {
            assert_eq!(key.slot(number(&slot["of"])), Slot(number(&slot["slot"])));
        }
    }
    for vector in list(&vectors["scores"]) {
        let score = Ring::score(
            NodeId(word(&vector["node_id"])),
            Slot(number(&vector["slot"])),
        );
        assert_eq!(score, word(&vector["score"]));
    }
}

#[test]
fn published_vectors_of_rings_hold() {
    for vector in list(&vectors()["rings"]) {
        let shape = Shape {
            slots: number(&vector["slots"]),
            replication_factor: number(&vector["replication_factor"]),
        };
        let bootstrap = Bootstrap {
            formed_millis: number(&vector["formed_millis"]),
            former: BootId(word(&vector["former"])),
        };
        let members = list(&vector["members"]).iter().map(|member| ZonedMember {
            member: RingMember {
                node_id: NodeId::of_name(text(&member["name"])),
                boot_id: BootId(word(&member["boot_id"])),
            },
            zone: ZoneId::of_name(member["zone"].as_str().unwrap_or_default()),
        });
        let ring = Ring::build(shape, bootstrap, members.collect());
        assert_eq!(ring.hash(), word(&vector["ring_hash"]));
        for expected in list(&vector["owners"]) {
            let slot = Slot(number(&expected["slot"]));
            let names = list(&expected["names"])
                .iter()
                .map(|name| NodeId::of_name(text(name)));
            assert_eq!(ids(&ring, slot), names.collect::<Vec<_>>());
            let configuration = ring.configuration(slot);
            assert_eq!(configuration.root, word(&expected["root"]));
            assert_eq!(configuration.number, number::<u32>(&expected["number"]));
            assert_eq!(configuration.owners, word(&expected["owners_hash"]));
        }
    }
}
