//! Membership at scale, with few nodes: that it is repeatable, does what it should, and fits its table in the documents.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::time::Duration;

use shard_cache_sim::scale::{Figures, Took, Variant, measure, table};

const NODES: u16 = 8;
const DOCUMENT: &str = include_str!("../../docs/simulator.md");

fn figures(variant: Variant, seed: u64) -> Figures {
    measure(variant, NODES, seed, &mut |_| {}).unwrap()
}

fn is_within(took: Took, seconds: u64) -> bool {
    matches!(took, Took::Time(time) if time <= Duration::from_secs(seconds))
}

#[test]
fn few_production_agents_join_notice_and_heal() {
    let figures = figures(Variant::Production, 1);
    assert!(is_within(figures.join, 15), "{figures:?}");
    assert!(is_within(figures.crash[2], 10), "{figures:?}");
    assert!(is_within(figures.split, 15), "{figures:?}");
    assert!(is_within(figures.heal, 15), "{figures:?}");
    assert!(figures.losses[0].false_downs == 0.0, "{figures:?}");
    assert!(figures.losses[0].datagrams > 1.0, "{figures:?}");
}

#[test]
fn a_seed_has_one_outcome() {
    for variant in Variant::ALL {
        assert_eq!(figures(variant, 2), figures(variant, 2));
        assert_ne!(figures(variant, 2).trace, figures(variant, 3).trace);
    }
}

#[test]
fn the_documented_table_has_the_shape_that_the_command_prints() {
    let columns = Variant::ALL.map(|variant| (variant, figures(variant, 1)));
    let fresh = table::render(NODES, 1, &columns);
    let (_, rest) = DOCUMENT.split_once(table::BEGIN).unwrap();
    let (documented, _) = rest.split_once(table::END).unwrap();
    let drift = "make sim-scale writes the table anew";
    assert_eq!(table::shape(documented), table::shape(&fresh), "{drift}");
    assert!(table::insert(DOCUMENT, &fresh).unwrap().contains(&fresh));
}
