use std::net::{Ipv4Addr, SocketAddr};

use proptest::prelude::*;
use shard_cache_membership::{record::Phase, view::Liveness};

use super::{state::StateMember, *};
use crate::ring::MEMBERS_MAX;

const SHAPE: Shape = Shape {
    slots: 32,
    replication_factor: 3,
};
const WAIT: Duration = Duration::from_millis(500);
const GRACE: Duration = Duration::from_secs(20);
const WALL: u64 = 1_700_000_000_000;

/// What a view says of one member.
#[derive(Clone, Copy, Debug)]
struct Seen {
    node: u64,
    boot: u64,
    liveness: Liveness,
    record: Option<Said>,
    zone: &'static str,
}

/// What its record says.
#[derive(Clone, Copy, Debug)]
struct Said {
    boot: u64,
    phase: Phase,
    bootstrap: Option<Bootstrap>,
}

/// Alive, in its first life, which is numbered like the node, and without a ring.
fn joining(node: u64) -> Seen {
    let record = Some(Said {
        boot: node,
        phase: Phase::Joining,
        bootstrap: None,
    });
    Seen {
        node,
        boot: node,
        liveness: Liveness::Alive,
        record,
        zone: "",
    }
}

fn active(node: u64, bootstrap: Bootstrap) -> Seen {
    joining(node).says(Phase::Active, Some(bootstrap))
}

impl Seen {
    fn says(mut self, phase: Phase, bootstrap: Option<Bootstrap>) -> Self {
        self.record = Some(Said {
            boot: self.boot,
            phase,
            bootstrap,
        });
        self
    }

    fn is(self, liveness: Liveness) -> Self {
        Self { liveness, ..self }
    }

    fn stands_in(self, zone: &'static str) -> Self {
        Self { zone, ..self }
    }

    /// A new life that the record does not speak of yet.
    fn booted(self, boot: u64) -> Self {
        Self { boot, ..self }
    }

    fn member(self) -> Member {
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, 7946));
        let record = self.record.map(|said| {
            Arc::new(NodeRecord {
                node_id: NodeId(self.node),
                boot_id: BootId(said.boot),
                bump: 1,
                sequence: 1,
                name: String::new(),
                zone: self.zone.to_owned(),
                grpc_addr: String::new(),
                http_addr: String::new(),
                phase: said.phase,
                attachment: said
                    .bootstrap
                    .map(|it| it.to_bytes().to_vec())
                    .unwrap_or_default(),
            })
        });
        Member {
            node_id: NodeId(self.node),
            boot_id: BootId(self.boot),
            gossip_addr: addr,
            peer_addr: addr,
            liveness: self.liveness,
            record,
        }
    }
}

fn view(seen: &[Seen]) -> View {
    let mut members: Vec<Member> = seen.iter().map(|seen| seen.member()).collect();
    members.sort_by_key(|member| member.node_id);
    View {
        version: 1,
        own: NodeId(0),
        members,
    }
}

fn me(node: u64) -> RingMember {
    RingMember {
        node_id: NodeId(node),
        boot_id: BootId(node),
    }
}

fn roster(own: u64, min_members: usize) -> Roster {
    let config = RosterConfig {
        shape: SHAPE,
        min_members,
        formation_wait: WAIT,
        ring_down_grace: GRACE,
    };
    Roster::new(config, me(own))
}

fn seconds(count: u64) -> Monotonic {
    Duration::from_secs(count)
}

/// A roster of node 1 that formed a ring of the members 1 to `count`, and its bootstrap.
fn formed(count: u64) -> (Roster, Bootstrap) {
    let mut roster = roster(1, 1);
    let members: Vec<_> = (1..=count).map(joining).collect();
    assert_eq!(roster.update(&view(&members), Duration::ZERO, WALL), None);
    let effect = roster.update(&view(&members), WAIT, WALL);
    let bootstrap = Bootstrap {
        formed_millis: WALL,
        former: BootId(1),
    };
    assert_eq!(effect, Some(RosterEffect::Formed { bootstrap }));
    (roster, bootstrap)
}

/// Members 1 to `count`, all in the ring, with changes to some.
fn all_but(count: u64, bootstrap: Bootstrap, changed: &[Seen]) -> View {
    let unchanged = (1..=count)
        .filter(|node| changed.iter().all(|seen| seen.node != *node))
        .map(|node| active(node, bootstrap));
    view(&unchanged.chain(changed.iter().copied()).collect::<Vec<_>>())
}

fn in_ring(roster: &Roster) -> Vec<(u64, u64)> {
    let ring = roster.ring().expect("a ring");
    ring.members()
        .iter()
        .map(|member| (member.node_id.0, member.boot_id.0))
        .collect()
}

fn nodes(roster: &Roster) -> Vec<u64> {
    in_ring(roster).into_iter().map(|(node, _)| node).collect()
}

#[test]
fn the_lowest_of_enough_members_forms_after_a_quiet_wait() {
    let mut roster = roster(1, 2);
    let (alone, both) = (view(&[joining(1)]), view(&[joining(1), joining(2)]));
    assert_eq!(roster.update(&alone, seconds(0), WALL), None);
    assert_eq!(roster.next_deadline(), None);
    assert_eq!(roster.update(&both, seconds(1), WALL), None);
    assert_eq!(roster.next_deadline(), Some(seconds(1) + WAIT));
    assert_eq!(roster.update(&both, seconds(1) + WAIT / 2, WALL), None);
    let bootstrap = Bootstrap {
        formed_millis: WALL,
        former: BootId(1),
    };
    let effect = roster.update(&both, seconds(1) + WAIT, WALL);
    assert_eq!(effect, Some(RosterEffect::Formed { bootstrap }));
    assert_eq!(in_ring(&roster), [(1, 1), (2, 2)]);
    assert_eq!(roster.bootstrap(), Some(bootstrap));
    assert!(roster.is_member(me(1)));
    assert_eq!(roster.next_deadline(), None);
}

#[test]
fn another_than_the_lowest_does_not_form() {
    let mut roster = roster(2, 2);
    let both = view(&[joining(1), joining(2)]);
    assert_eq!(roster.update(&both, seconds(0), WALL), None);
    assert_eq!(roster.update(&both, seconds(9), WALL), None);
    assert_eq!(roster.next_deadline(), None);
    assert!(roster.ring().is_none());
}

#[test]
fn a_change_among_the_candidates_starts_the_wait_anew() {
    let mut roster = roster(1, 2);
    roster.update(&view(&[joining(1), joining(2)]), seconds(0), WALL);
    let rebooted = joining(2).booted(20).says(Phase::Joining, None);
    assert_eq!(
        roster.update(&view(&[joining(1), rebooted]), seconds(5), WALL),
        None
    );
    assert_eq!(roster.next_deadline(), Some(seconds(5) + WAIT));
}

#[test]
fn members_that_leave_or_are_down_do_not_count_toward_the_first_ring() {
    let mut roster = roster(1, 2);
    let others = [
        joining(2).says(Phase::Leaving, None),
        joining(2).is(Liveness::Down),
    ];
    for other in others {
        for at in [0, 9] {
            assert_eq!(
                roster.update(&view(&[joining(1), other]), seconds(at), WALL),
                None
            );
        }
    }
}

#[test]
fn nobody_forms_while_somebody_present_has_not_described_itself() {
    let silent = [
        Seen {
            record: None,
            ..joining(3)
        },
        joining(3).booted(30),
    ];
    for silent in silent {
        let mut roster = roster(1, 2);
        let members = view(&[joining(1), joining(2), silent]);
        for at in [0, 9] {
            assert_eq!(roster.update(&members, seconds(at), WALL), None);
        }
        assert!(roster.ring().is_none());
    }
}

#[test]
fn a_ring_that_somebody_announces_is_adopted_and_none_is_formed() {
    let (founder, bootstrap) = formed(3);
    let mut roster = roster(2, 1);
    let members = view(&[active(1, bootstrap), joining(2), joining(3)]);
    let effect = roster.update(&members, seconds(3), WALL);
    assert_eq!(effect, Some(RosterEffect::Adopt { from: NodeId(1) }));

    let state = founder.state(seconds(1)).expect("a ring");
    roster
        .adopt(&state, &view(&[]), seconds(3))
        .expect("the same shape");
    assert!(roster.is_member(me(2)));
    assert_eq!(roster.update(&members, seconds(3), WALL), None);
    assert_eq!(
        roster.ring().map(|ring| ring.hash()),
        founder.ring().map(|ring| ring.hash())
    );
    assert_eq!(
        roster.adopt(&state, &view(&[]), seconds(4)),
        Err(AdoptError::HaveRing)
    );
}

#[test]
fn holders_are_asked_in_turn_and_not_too_often() {
    let bootstrap = Bootstrap {
        formed_millis: 1,
        former: BootId(5),
    };
    let younger = Bootstrap {
        formed_millis: 2,
        ..bootstrap
    };
    let members = view(&[
        joining(1),
        active(2, bootstrap),
        active(3, younger),
        active(4, bootstrap),
    ]);
    let mut roster = roster(1, 1);
    let mut asked = Vec::new();
    for tick in 0..30_u32 {
        let now = ADOPT_INTERVAL * tick / 10;
        if let Some(RosterEffect::Adopt { from }) = roster.update(&members, now, WALL) {
            asked.push((tick, from.0));
        }
        assert_eq!(
            roster.next_deadline(),
            Some(ADOPT_INTERVAL * (tick / 10 + 1))
        );
    }
    assert_eq!(asked, [(0, 2), (10, 4), (20, 2)]);
}

#[test]
fn what_a_record_of_an_earlier_life_announces_does_not_count() {
    let bootstrap = Bootstrap {
        formed_millis: 1,
        former: BootId(5),
    };
    let mut roster = roster(1, 1);
    let members = view(&[joining(1), active(2, bootstrap).booted(20)]);
    assert_eq!(roster.update(&members, seconds(0), WALL), None);

    let (mut founder, _) = formed(1);
    assert_eq!(founder.update(&members, seconds(1), WALL), None);
    assert_eq!(nodes(&founder), [1]);
}

#[test]
fn a_ring_of_another_shape_is_refused() {
    let (founder, _) = formed(1);
    let theirs = Shape { slots: 64, ..SHAPE };
    let mut state = founder.state(seconds(1)).expect("a ring");
    state.shape = theirs;
    let mut roster = roster(2, 1);
    let refusal = roster.adopt(&state, &view(&[]), seconds(1));
    assert_eq!(
        refusal,
        Err(AdoptError::ShapeDiffers {
            theirs,
            ours: SHAPE
        })
    );
    assert!(roster.ring().is_none());
}

#[test]
fn a_member_is_added_once_it_is_active_under_our_bootstrap() {
    let (mut roster, bootstrap) = formed(2);
    let other = Bootstrap {
        formed_millis: WALL + 1,
        former: BootId(3),
    };
    let not_yet = [
        Seen {
            record: None,
            ..joining(3)
        },
        joining(3),
        joining(3).says(Phase::Joining, Some(bootstrap)),
        joining(3).says(Phase::Leaving, Some(bootstrap)),
        active(3, bootstrap).is(Liveness::Down),
        active(3, other),
    ];
    for third in not_yet {
        roster.update(&all_but(2, bootstrap, &[third]), seconds(1), WALL);
        assert_eq!(nodes(&roster), [1, 2], "{third:?}");
    }
    roster.update(&all_but(3, bootstrap, &[]), seconds(2), WALL);
    assert_eq!(nodes(&roster), [1, 2, 3]);
}

#[test]
fn the_ring_stays_the_same_value_until_its_members_change() {
    let (mut roster, bootstrap) = formed(4);
    let before = roster.ring().expect("a ring");
    let down = active(4, bootstrap).is(Liveness::Down);
    roster.update(&all_but(4, bootstrap, &[down]), seconds(1), WALL);
    assert!(Arc::ptr_eq(&before, &roster.ring().expect("a ring")));
}

#[test]
fn a_restarted_member_stays_under_its_old_boot_until_it_is_active() {
    let (mut roster, bootstrap) = formed(3);
    let stages = [
        (active(2, bootstrap).booted(20), (2, 2)),
        (
            joining(2).booted(20).says(Phase::Joining, Some(bootstrap)),
            (2, 2),
        ),
        (
            joining(2).booted(20).says(Phase::Active, Some(bootstrap)),
            (2, 20),
        ),
    ];
    for (stage, entry) in stages {
        roster.update(&all_but(3, bootstrap, &[stage]), seconds(1), WALL);
        assert_eq!(in_ring(&roster)[1], entry);
    }
    assert_eq!(in_ring(&roster).len(), 3);
}

#[test]
fn the_old_boot_of_a_member_that_stays_joining_leaves_after_the_grace() {
    let (mut roster, bootstrap) = formed(4);
    let rejoining = joining(2).booted(20).says(Phase::Joining, Some(bootstrap));
    let members = all_but(4, bootstrap, &[rejoining]);
    roster.update(&members, seconds(10), WALL);
    roster.update(&members, seconds(29), WALL);
    assert_eq!(nodes(&roster), [1, 2, 3, 4]);
    roster.update(&members, seconds(30), WALL);
    assert_eq!(nodes(&roster), [1, 3, 4]);
}

#[test]
fn a_member_that_is_down_leaves_after_the_grace_and_not_before() {
    let (mut roster, bootstrap) = formed(4);
    let down = all_but(4, bootstrap, &[active(2, bootstrap).is(Liveness::Down)]);
    roster.update(&down, seconds(10), WALL);
    assert_eq!(roster.next_deadline(), Some(seconds(10) + GRACE));
    roster.update(&down, seconds(29), WALL);
    assert_eq!(nodes(&roster), [1, 2, 3, 4]);
    roster.update(&down, seconds(30), WALL);
    assert_eq!(nodes(&roster), [1, 3, 4]);
    roster.update(&all_but(4, bootstrap, &[]), seconds(31), WALL);
    assert_eq!(nodes(&roster), [1, 2, 3, 4]);
}

#[test]
fn a_blip_starts_the_grace_anew() {
    let (mut roster, bootstrap) = formed(4);
    let down = all_but(4, bootstrap, &[active(2, bootstrap).is(Liveness::Down)]);
    roster.update(&down, seconds(10), WALL);
    roster.update(&all_but(4, bootstrap, &[]), seconds(20), WALL);
    assert_eq!(roster.next_deadline(), None);
    roster.update(&down, seconds(25), WALL);
    roster.update(&down, seconds(44), WALL);
    assert_eq!(nodes(&roster), [1, 2, 3, 4]);
}

#[test]
fn a_suspect_is_not_absent() {
    let (mut roster, bootstrap) = formed(4);
    let suspect = active(2, bootstrap).is(Liveness::Suspect);
    for at in [1, 100] {
        roster.update(&all_but(4, bootstrap, &[suspect]), seconds(at), WALL);
    }
    assert_eq!(nodes(&roster), [1, 2, 3, 4]);
}

#[test]
fn a_ring_of_no_more_members_than_owners_never_shrinks_by_failure() {
    let (mut roster, bootstrap) = formed(3);
    let down = [2, 3].map(|node| active(node, bootstrap).is(Liveness::Down));
    for at in [1, 1_000, 100_000] {
        roster.update(&all_but(3, bootstrap, &down), seconds(at), WALL);
        assert_eq!(nodes(&roster), [1, 2, 3]);
        assert_eq!(roster.next_deadline(), None);
    }
    // A newcomer takes the place of one that is long overdue.
    let newcomer = active(4, bootstrap);
    let members = all_but(3, bootstrap, &[down[0], down[1], newcomer]);
    roster.update(&members, seconds(100_001), WALL);
    assert_eq!(nodes(&roster), [1, 2, 4]);
}

#[test]
fn of_members_that_are_down_the_lowest_make_up_the_number() {
    let (mut roster, bootstrap) = formed(5);
    let [second, third, fourth] = [2, 3, 4].map(|node| active(node, bootstrap).is(Liveness::Down));
    let members = all_but(5, bootstrap, &[fourth]);
    roster.update(&members, seconds(1), WALL);
    let members = all_but(5, bootstrap, &[second, third, fourth]);
    roster.update(&members, seconds(2), WALL);
    roster.update(&members, seconds(60), WALL);
    assert_eq!(nodes(&roster), [1, 2, 5]);
    assert!(roster.has_chosen());
    // Who was dismissed is in the ring again once it is back, and makes room.
    roster.update(&all_but(5, bootstrap, &[second, third]), seconds(61), WALL);
    assert_eq!(nodes(&roster), [1, 4, 5]);
    assert!(!roster.has_chosen());
}

#[test]
fn who_was_dismissed_stands_behind_those_that_were_needed_until_now() {
    let (mut roster, bootstrap) = formed(4);
    let [second, third] = [2, 3].map(|node| active(node, bootstrap).is(Liveness::Down));
    let gone = all_but(4, bootstrap, &[second]);
    roster.update(&gone, seconds(1), WALL);
    roster.update(&gone, seconds(30), WALL);
    assert_eq!(nodes(&roster), [1, 3, 4]);
    let gone = all_but(4, bootstrap, &[second, third]);
    roster.update(&gone, seconds(1_000), WALL);
    roster.update(&gone, seconds(2_000), WALL);
    assert_eq!(nodes(&roster), [1, 3, 4], "a ring of three does not change");
}

#[test]
fn rosters_that_lost_members_in_different_order_agree_once_they_have_told_each_other() {
    let (mut one, bootstrap) = formed(5);
    let mut other = formed(5).0;
    let [third, fourth, fifth] = [3, 4, 5].map(|node| active(node, bootstrap).is(Liveness::Down));
    let lose = |roster: &mut Roster, order: [Seen; 3]| {
        for count in 1..=order.len() as u64 {
            let gone = all_but(5, bootstrap, &order[..count as usize]);
            roster.update(&gone, seconds(100 * count), WALL);
            roster.update(&gone, seconds(100 * count + 50), WALL);
        }
    };
    lose(&mut one, [third, fourth, fifth]);
    lose(&mut other, [fifth, fourth, third]);
    assert_eq!([nodes(&one), nodes(&other)], [[1, 2, 5], [1, 2, 3]]);

    let seen = all_but(5, bootstrap, &[third, fourth, fifth]);
    let now = seconds(400);
    tell(&one, &mut other, &seen, now);
    tell(&other, &mut one, &seen, now);
    for roster in [&mut one, &mut other] {
        roster.update(&seen, now, WALL);
        assert_eq!(nodes(roster), [1, 2, 3]);
    }
}

#[test]
fn a_ring_of_which_nothing_is_left_is_void_and_another_is_formed() {
    let (first, bootstrap) = formed(2);
    let state = first.state(seconds(1)).expect("a ring");
    let reborn = |node: u64, other: Seen| {
        let own = joining(node).booted(10 * node);
        view(&[own.says(Phase::Joining, Some(bootstrap)), other])
    };
    let mut roster = roster(1, 1);
    roster.reboot(BootId(10));
    roster
        .adopt(&state, &view(&[]), seconds(2))
        .expect("the same shape");
    // The other one still lives, or may.
    for other in [
        active(2, bootstrap),
        active(2, bootstrap).is(Liveness::Down),
    ] {
        let seen = reborn(1, other);
        roster.update(&seen, seconds(3), WALL);
        assert!(!roster.is_void(&seen));
    }
    // It has restarted as well, and is in the ring again already.
    let back = active(2, bootstrap).booted(20);
    let back = back.says(Phase::Active, Some(bootstrap));
    assert!(!roster.is_void(&reborn(1, back)));
    // It has been told of the ring, too, and of nothing else.
    let seen = reborn(
        1,
        joining(2).booted(20).says(Phase::Joining, Some(bootstrap)),
    );
    assert!(roster.is_void(&seen));
    roster.abandon();
    // The other one has not found out yet: for all that is known here, there is a ring.
    assert_eq!(roster.update(&seen, seconds(4), WALL), None);
    assert_eq!(roster.update(&seen, seconds(6), WALL), None);
    let seen = view(&[
        joining(1).booted(10).says(Phase::Joining, None),
        joining(2).booted(20).says(Phase::Joining, None),
    ]);
    assert_eq!(roster.update(&seen, seconds(7), WALL), None);
    let effect = roster.update(&seen, seconds(7) + WAIT, WALL);
    assert!(
        matches!(effect, Some(RosterEffect::Formed { .. })),
        "{effect:?}"
    );
    assert_eq!(in_ring(&roster), [(1, 10), (2, 20)]);
}

/// One node tells the other what it knows of the members.
fn tell(one: &Roster, other: &mut Roster, seen: &View, now: Monotonic) {
    let state = one.state(now).expect("a ring");
    assert_eq!(
        other.adopt(&state, seen, now),
        Err(AdoptError::HaveRing),
        "the ring itself is kept"
    );
}

#[test]
fn nobody_who_left_or_is_forgotten_comes_back_by_hearsay() {
    let (mut teller, bootstrap) = formed(5);
    let [fourth, fifth] = [4, 5].map(|node| active(node, bootstrap).is(Liveness::Down));
    let gone = all_but(5, bootstrap, &[fourth, fifth]);
    teller.update(&gone, seconds(1), WALL);
    teller.update(&gone, seconds(50), WALL);

    let mut listener = formed(5).0;
    listener.forget([me(4)].into_iter());
    let left = active(5, bootstrap).says(Phase::Leaving, Some(bootstrap));
    let [second, third] = [2, 3].map(|node| active(node, bootstrap).is(Liveness::Down));
    let alone = all_but(5, bootstrap, &[second, third, fourth, left]);
    listener.update(&alone, seconds(1), WALL);
    tell(&teller, &mut listener, &alone, seconds(51));
    listener.update(&alone, seconds(51), WALL);
    assert_eq!(nodes(&listener), [1, 2, 3]);
}

#[test]
fn without_a_grace_the_ring_follows_each_view() {
    let (mut roster, bootstrap) = formed(5);
    roster.config.ring_down_grace = Duration::ZERO;
    let down = [2, 3, 4].map(|node| active(node, bootstrap).is(Liveness::Down));
    roster.update(&all_but(5, bootstrap, &down), seconds(1), WALL);
    assert_eq!(nodes(&roster), [1, 2, 5]);
    roster.update(&all_but(5, bootstrap, &[]), seconds(1), WALL);
    assert_eq!(nodes(&roster), [1, 2, 3, 4, 5]);
}

#[test]
fn a_member_that_leaves_is_removed_at_once_even_from_a_small_ring() {
    for liveness in [Liveness::Alive, Liveness::Down] {
        let (mut roster, bootstrap) = formed(2);
        let leaving = active(2, bootstrap)
            .says(Phase::Leaving, Some(bootstrap))
            .is(liveness);
        roster.update(&all_but(2, bootstrap, &[leaving]), seconds(1), WALL);
        assert_eq!(nodes(&roster), [1]);
    }
}

#[test]
fn a_forgotten_member_leaves_a_small_ring_at_once_and_never_enters_again() {
    let (mut roster, bootstrap) = formed(3);
    let gone = [active(3, bootstrap).is(Liveness::Down)];
    let now = seconds(100);
    roster.update(&all_but(3, bootstrap, &gone), now, WALL);
    assert_eq!(
        nodes(&roster),
        [1, 2, 3],
        "a small ring does not shrink by itself"
    );
    roster.forget([me(3)].into_iter());
    roster.update(&all_but(3, bootstrap, &gone), now, WALL);
    assert_eq!(nodes(&roster), [1, 2]);
    roster.update(&all_but(3, bootstrap, &[]), now, WALL);
    assert_eq!(nodes(&roster), [1, 2], "it came back as it was");
    let anew = active(3, bootstrap)
        .booted(33)
        .says(Phase::Active, Some(bootstrap));
    roster.update(&all_but(3, bootstrap, &[anew]), now, WALL);
    assert_eq!(
        in_ring(&roster),
        [(1, 1), (2, 2), (3, 33)],
        "in another life it may"
    );
}

#[test]
fn the_last_member_stays_even_if_it_is_forgotten() {
    let (mut roster, bootstrap) = formed(2);
    roster.forget([me(1), me(2)].into_iter());
    roster.update(&all_but(2, bootstrap, &[]), seconds(1), WALL);
    assert_eq!(nodes(&roster).len(), 1);
}

#[test]
fn the_last_member_stays_until_there_is_another() {
    let (mut roster, bootstrap) = formed(1);
    let leaving = active(1, bootstrap).says(Phase::Leaving, Some(bootstrap));
    roster.update(&view(&[leaving]), seconds(1), WALL);
    assert_eq!(nodes(&roster), [1]);
    roster.update(&view(&[leaving, active(2, bootstrap)]), seconds(2), WALL);
    assert_eq!(nodes(&roster), [2]);
}

#[test]
fn a_member_that_no_view_lists_is_absent() {
    let (mut roster, bootstrap) = formed(4);
    let three = all_but(3, bootstrap, &[]);
    roster.update(&three, seconds(1), WALL);
    assert_eq!(nodes(&roster), [1, 2, 3, 4]);
    roster.update(&three, seconds(21), WALL);
    assert_eq!(nodes(&roster), [1, 2, 3]);
}

#[test]
fn a_node_does_not_remove_itself_for_being_down() {
    let (mut roster, bootstrap) = formed(4);
    let down = all_but(4, bootstrap, &[active(1, bootstrap).is(Liveness::Down)]);
    for at in [1, 100] {
        roster.update(&down, seconds(at), WALL);
    }
    assert_eq!(nodes(&roster), [1, 2, 3, 4]);
}

#[test]
fn an_older_ring_supersedes_ours_and_is_adopted() {
    let (mut roster, bootstrap) = formed(2);
    let younger = Bootstrap {
        formed_millis: WALL + 1,
        former: BootId(3),
    };
    let older = Bootstrap {
        formed_millis: WALL - 1,
        former: BootId(3),
    };
    let members = all_but(2, bootstrap, &[active(3, younger)]);
    assert_eq!(roster.update(&members, seconds(1), WALL), None);

    let members = all_but(2, bootstrap, &[active(3, older)]);
    let effect = roster.update(&members, seconds(2), WALL);
    assert_eq!(effect, Some(RosterEffect::Superseded { by: NodeId(3) }));
    assert!(roster.ring().is_none());
    assert_eq!(roster.bootstrap(), None);
    assert_eq!(roster.next_deadline(), Some(seconds(2)));

    roster.reboot(BootId(10));
    let effect = roster.update(&members, seconds(2), WALL);
    assert_eq!(effect, Some(RosterEffect::Adopt { from: NodeId(3) }));
}

#[test]
fn a_member_that_is_down_supersedes_nobody() {
    let (mut roster, bootstrap) = formed(2);
    let older = Bootstrap {
        formed_millis: WALL - 1,
        former: BootId(3),
    };
    let members = all_but(2, bootstrap, &[active(3, older).is(Liveness::Down)]);
    assert_eq!(roster.update(&members, seconds(1), WALL), None);
    assert_eq!(nodes(&roster), [1, 2]);
}

/// The zones that a roster's ring gives its members.
fn zones(roster: &Roster) -> Vec<Option<ZoneId>> {
    let ring = roster.ring().expect("a ring");
    ring.zoned_members().map(|zoned| zoned.zone).collect()
}

#[test]
fn zones_come_from_records_and_travel_with_the_state() {
    let [east, west] = ["east", "west"].map(ZoneId::of_name);
    let mut founder = roster(1, 2);
    let members = [joining(1).stands_in("east"), joining(2)];
    founder.update(&view(&members), Duration::ZERO, WALL);
    founder.update(&view(&members), WAIT, WALL);
    assert_eq!(zones(&founder), [east, None]);

    let bootstrap = founder.bootstrap().expect("a ring");
    let at = |node| active(node, bootstrap).stands_in("east");
    let newcomer = active(3, bootstrap).stands_in("west");
    let all = view(&[at(1), active(2, bootstrap), newcomer]);
    founder.update(&all, seconds(2), WALL);
    assert_eq!(zones(&founder), [east, None, west]);

    // The adopter has not heard of member 3, which is down, at all.
    let state = founder.state(seconds(3)).expect("a ring");
    let state = RosterState::decode(&state.encode()).expect("what was encoded");
    let mut adopter = roster(2, 1);
    adopter
        .adopt(&state, &view(&[]), seconds(1))
        .expect("the same shape");
    assert_eq!(zones(&adopter), [east, None, west]);
    let [theirs, ours] = [&adopter, &founder].map(|it| it.ring().expect("a ring").hash());
    assert_eq!(theirs, ours);
}

#[test]
fn another_life_may_stand_in_another_zone() {
    let (mut roster, bootstrap) = formed(2);
    assert_eq!(zones(&roster), [None, None]);
    let before = roster.ring().expect("a ring").hash();
    let moved = joining(2).booted(20).says(Phase::Active, Some(bootstrap));
    let seen = all_but(2, bootstrap, &[moved.stands_in("west")]);
    roster.update(&seen, seconds(1), WALL);
    assert_eq!(in_ring(&roster), [(1, 1), (2, 20)]);
    assert_eq!(zones(&roster), [None, ZoneId::of_name("west")]);
    assert_ne!(roster.ring().expect("a ring").hash(), before);
}

#[test]
fn junk_is_no_state() {
    let (founder, _) = formed(4);
    let good = founder.state(seconds(1)).expect("a ring");
    let bytes = good.encode();
    for length in 0..bytes.len() {
        assert!(matches!(
            RosterState::decode(&bytes[..length]),
            Err(StateError::Malformed { .. })
        ));
    }
    let long = [bytes.as_slice(), &[0, 0]].concat();
    assert_eq!(
        RosterState::decode(&long),
        Err(StateError::TrailingBytes { count: 2 })
    );
    let longer = vec![0; STATE_BYTES_MAX + 1];
    assert!(matches!(
        RosterState::decode(&longer),
        Err(StateError::TooLong { .. })
    ));
    let mut bad = good.clone();
    bad.members.swap(0, 1);
    assert_eq!(
        RosterState::decode(&bad.encode()),
        Err(StateError::MemberOrder)
    );
    bad.members.clear();
    assert_eq!(
        RosterState::decode(&bad.encode()),
        Err(StateError::MemberCount { count: 0 })
    );
    bad.shape.slots = 0;
    assert!(matches!(
        RosterState::decode(&bad.encode()),
        Err(StateError::Shape { .. })
    ));
}

#[test]
fn the_largest_state_fits() {
    let entry = |node| StateMember {
        zoned: ZonedMember {
            member: RingMember {
                node_id: NodeId(u64::MAX - node),
                boot_id: BootId(u64::MAX),
            },
            zone: Some(ZoneId(u64::MAX)),
        },
        absent_for: Some(Duration::from_nanos(u64::MAX)),
        is_dismissed: true,
    };
    let state = RosterState {
        shape: Shape {
            slots: u16::MAX,
            replication_factor: u8::MAX,
        },
        bootstrap: Bootstrap {
            formed_millis: u64::MAX,
            former: BootId(u64::MAX),
        },
        is_first: true,
        members: (0..MEMBERS_MAX as u64).rev().map(entry).collect(),
    };
    let bytes = state.encode();
    assert!(bytes.len() <= STATE_BYTES_MAX);
    assert_eq!(RosterState::decode(&bytes), Ok(state));
}

const OTHERS: u64 = 7;

/// What a view may show of a node that is neither of the two whose rosters are compared.
fn any_seen(node: u64) -> impl Strategy<Value = Option<Seen>> {
    let bootstrap = Bootstrap {
        formed_millis: WALL,
        former: BootId(1),
    };
    let liveness = prop_oneof![
        3 => Just(Liveness::Alive),
        1 => Just(Liveness::Suspect),
        3 => Just(Liveness::Down),
    ];
    let phase =
        prop_oneof![2 => Just(Phase::Joining), 6 => Just(Phase::Active), 1 => Just(Phase::Leaving)];
    let boot = (0..3_u64).prop_map(move |life| node + 100 * life);
    let said =
        (boot.clone(), phase, prop::bool::weighted(0.9)).prop_map(move |(boot, phase, ours)| {
            Said {
                boot,
                phase,
                bootstrap: ours.then_some(bootstrap),
            }
        });
    let agrees = prop::bool::weighted(0.9);
    // A zone belongs to a life.
    let zone = ["", "a", "b"][node as usize % 3];
    let seen = (boot, liveness, prop::option::weighted(0.95, said), agrees);
    prop::option::weighted(
        0.95,
        seen.prop_map(move |(boot, liveness, record, agrees)| Seen {
            node,
            boot: record.filter(|_| agrees).map_or(boot, |said| said.boot),
            liveness,
            record,
            zone,
        }),
    )
}

/// A history of views that always show nodes 1 and 2 active, each with the seconds until the next.
fn any_history() -> impl Strategy<Value = Vec<(View, u64)>> {
    let bootstrap = Bootstrap {
        formed_millis: WALL,
        former: BootId(1),
    };
    let others: Vec<_> = (3..3 + OTHERS).map(any_seen).collect();
    let step = others.prop_map(move |others| {
        let both = [active(1, bootstrap), active(2, bootstrap)];
        view(
            &both
                .into_iter()
                .chain(others.into_iter().flatten())
                .collect::<Vec<_>>(),
        )
    });
    prop::collection::vec((step, 0..30_u64), 1..20)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Whoever adopts, at whatever time and with whatever clock, agrees from then on with the one
    /// that it adopted from, as long as both see the same.
    #[test]
    fn rosters_that_see_the_same_agree(
        history in any_history(),
        adopted_after in 0..20_usize,
        origin in 0..100_u64,
    ) {
        let (mut founder, _) = formed(5);
        let mut twin = formed(5).0;
        let mut adopter = roster(2, 1);
        let mut now = seconds(1);
        let adopted_after = adopted_after.min(history.len() - 1);
        let mut started = seconds(0);
        for (index, (view, pause)) in history.iter().enumerate() {
            founder.update(view, now, WALL);
            twin.update(view, now, WALL);
            prop_assert_eq!(in_ring(&founder), in_ring(&twin));
            prop_assert_eq!(founder.next_deadline(), twin.next_deadline());
            if index == adopted_after {
                // The adopter's clock may start later than an absence that it adopts.
                started = now.saturating_sub(seconds(origin));
                let state = founder.state(now).expect("a ring");
                let state = RosterState::decode(&state.encode()).expect("what was encoded");
                prop_assert_eq!(adopter.adopt(&state, view, now - started), Ok(()));
            }
            if index >= adopted_after {
                prop_assert_eq!(adopter.update(view, now - started, WALL), None);
                let [theirs, ours] = [&adopter, &founder].map(|it| it.ring().expect("a ring"));
                prop_assert_eq!(theirs.hash(), ours.hash());
            }
            now += seconds(*pause);
        }
    }

    /// Whatever two nodes saw before: when both see the same for long enough and have told each other, their rings
    /// agree.
    #[test]
    fn rosters_of_any_past_agree_in_the_end(
        histories in (any_history(), any_history()),
        down in prop::collection::vec(any::<bool>(), OTHERS as usize),
    ) {
        let others = (3..).zip(&down).map(|(node, is_down)| {
            let liveness = if *is_down { Liveness::Down } else { Liveness::Alive };
            active(node, formed(5).1).is(liveness)
        });
        let seen = &all_but(2, formed(5).1, &others.collect::<Vec<_>>());
        let mut rosters = [formed(5).0, formed(5).0];
        for (roster, history) in rosters.iter_mut().zip([&histories.0, &histories.1]) {
            let mut now = seconds(1);
            for (view, pause) in history {
                roster.update(view, now, WALL);
                now += seconds(*pause);
            }
            roster.update(seen, seconds(1_000), WALL);
            roster.update(seen, seconds(1_100), WALL);
        }
        let [one, other] = &mut rosters;
        let now = seconds(1_200);
        tell(one, other, seen, now);
        tell(other, one, seen, now);
        for roster in &mut rosters {
            roster.update(seen, now, WALL);
        }
        let [one, other] = [&rosters[0], &rosters[1]].map(in_ring);
        prop_assert_eq!(one, other);
    }

    /// The laws of damping, after each step of any history.
    #[test]
    fn present_active_members_are_in_and_the_ring_is_never_too_small(history in any_history()) {
        let (mut roster, bootstrap) = formed(5);
        let mut now = seconds(1);
        for (view, pause) in &history {
            let before = nodes(&roster);
            roster.update(view, now, WALL);
            let after = nodes(&roster);
            let announced = |member: &&Member, phase| {
                current_record(member).is_some_and(|record| record.phase == phase)
            };
            for member in view.present().filter(|member| announced(member, Phase::Active)) {
                let attachment = &current_record(member).expect("announced").attachment;
                let ours = Bootstrap::from_bytes(attachment);
                if ours == Some(bootstrap) {
                    prop_assert!(in_ring(&roster).contains(&(member.node_id.0, member.boot_id.0)));
                }
            }
            for member in view.members.iter().filter(|member| announced(member, Phase::Leaving)) {
                prop_assert!(!after.contains(&member.node_id.0));
            }
            let left = |node: u64| {
                view.member(NodeId(node)).is_some_and(|member| announced(&member, Phase::Leaving))
            };
            let failed = before.iter().filter(|&&node| !after.contains(&node) && !left(node));
            if failed.count() > 0 {
                prop_assert!(after.len() >= usize::from(SHAPE.replication_factor));
            }
            if let Some(deadline) = roster.next_deadline() {
                prop_assert!(deadline > now);
                prop_assert!(after.len() > usize::from(SHAPE.replication_factor));
            }
            now += seconds(*pause);
        }
    }

    #[test]
    fn a_garbled_state_never_panics(
        changes in prop::collection::vec((any::<usize>(), any::<u8>()), 0..4),
    ) {
        let mut bytes = formed(4).0.state(seconds(1)).expect("a ring").encode();
        for (position, byte) in changes {
            let position = position % bytes.len();
            bytes[position] = byte;
        }
        if let Ok(state) = RosterState::decode(&bytes) {
            let mut roster = roster(1, 1);
            if roster.adopt(&state, &view(&[]), seconds(1)).is_ok() {
                prop_assert!(roster.ring().is_some());
            }
        }
    }
}
