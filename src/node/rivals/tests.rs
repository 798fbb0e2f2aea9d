use super::*;

fn claim() -> Claim {
    Claim {
        name: "n1".to_owned(),
        address: at(1),
        cluster_id: "test".to_owned(),
    }
}

fn at(host: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, host], 7946))
}

fn node(name: &str, host: u8, boot: u64) -> NodeIdentity {
    NodeIdentity {
        addr: at(host),
        node_id: NodeId::of_name(name),
        bump: 1,
        renews: 0,
        boot_id: BootId(boot),
        peer_port: 7946,
        protocol_min: 1,
        protocol_max: 1,
    }
}

#[test]
fn only_another_process_with_the_name_or_at_the_address_is_a_rival() {
    let claim = claim();
    let judge = |asked, by: &NodeIdentity| claim.judge(asked, by, Some(BootId(7)));
    assert_eq!(judge(at(1), &node("n1", 1, 7)), None, "it is ourselves");
    assert_eq!(judge(at(2), &node("n1", 1, 7)), None, "by another way");
    assert_eq!(
        judge(at(2), &node("n2", 2, 8)),
        None,
        "the address changed hands"
    );
    assert!(
        matches!(judge(at(2), &node("n1", 2, 8)), Some(Rival::Name { address, .. }) if address == at(2))
    );
    assert!(
        matches!(judge(at(1), &node("n2", 1, 8)), Some(Rival::Address { address, .. }) if address == at(1))
    );
    assert!(matches!(
        judge(at(1), &node("n1", 1, 8)),
        Some(Rival::Address { .. })
    ));
}

#[test]
fn who_does_not_answer_for_itself_yet_takes_any_answer_for_a_rivals() {
    let rival = claim().judge(at(2), &node("n1", 2, 8), None);
    let rival = rival.expect("another process has the name");
    let text = rival.to_string();
    for part in ["\"n1\"", "10.0.0.2:7946", "node.name"] {
        assert!(text.contains(part), "{text}");
    }
}
