//! How long faults were felt, from a history: when all knew, when all was well again, what requests saw of it.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;

use crate::history::{FaultState, History, Operation, Outcome, Purpose, View};

/// What a fault has to keep to. Without a limit anything goes.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(crate) struct Limits {
    /// Until all nodes that answer see fewer members.
    pub(crate) known: Option<Duration>,
    /// From its end until all nodes see all members.
    pub(crate) members: Option<Duration>,
    /// From its end until all nodes go by one ring.
    pub(crate) ring: Option<Duration>,
    /// Share of requests that are answered at the first try, at nodes that answer throughout.
    pub(crate) first_try_min: Option<f64>,
}

/// How long one fault was felt.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(crate) struct Timing {
    /// Its name.
    pub(crate) fault: String,
    /// From when it worked until every node that answers saw fewer members alive; none if that never came about.
    pub(crate) known_ms: Option<f64>,
    /// From its end until all nodes saw all members alive.
    pub(crate) members_ms: Option<f64>,
    /// From its end until all nodes went by one ring as well.
    pub(crate) ring_ms: Option<f64>,
    /// From its end until all data was where it belongs, and nothing owed.
    pub(crate) settled_ms: Option<f64>,
    /// Share of requests that were answered at the first try while it worked.
    pub(crate) first_try: Option<f64>,
    /// The same, of requests at nodes that answered throughout.
    pub(crate) first_try_survivors: Option<f64>,
    /// Longest time without any acknowledged write while it worked.
    pub(crate) gap_ms: f64,
    /// Writes acknowledged while it worked.
    pub(crate) acked: usize,
}

/// What requests saw in one second of the load.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(crate) struct Second {
    /// Which, from the begin of the run.
    pub(crate) second: u64,
    /// Writes acknowledged.
    pub(crate) acked: usize,
    /// Writes surely not applied.
    pub(crate) failed: usize,
    /// Writes of unknown outcome.
    pub(crate) unknown: usize,
    /// Reads that were answered.
    pub(crate) reads: usize,
    /// Reads that were not.
    pub(crate) unread: usize,
    /// Half of what was answered took at most so long.
    pub(crate) p50_ms: Option<f64>,
    /// Of a hundred that were answered 99 took at most so long.
    pub(crate) p99_ms: Option<f64>,
}

/// Every fault that worked and was undone, in their order.
#[must_use]
pub(crate) fn timings(history: &History) -> Vec<Timing> {
    let on = history
        .marks
        .iter()
        .filter(|mark| mark.state == FaultState::On);
    on.filter_map(|on| {
        let mut later = history.marks.iter();
        let off = later.find(|mark| mark.fault == on.fault && mark.state == FaultState::Off)?;
        Some(timing(history, &on.fault, on.at_us, off.at_us))
    })
    .collect()
}

fn timing(history: &History, fault: &str, on_us: u64, off_us: u64) -> Timing {
    let of_fault = |state| {
        let mut marks = history.marks.iter();
        let found = marks.find(|mark| mark.fault == fault && mark.state == state);
        found.map(|mark| mark.at_us)
    };
    let begun_us = of_fault(FaultState::Begun).unwrap_or(on_us);
    let begun = history.marks.iter();
    let next_us = begun.filter(|mark| mark.state == FaultState::Begun && mark.at_us > off_us);
    let next_us = next_us.map(|mark| mark.at_us).min().unwrap_or(u64::MAX);
    let nodes = history.run.nodes.len();
    let since_off = |moment: Option<u64>| moment.map(|moment| millis(off_us, moment));
    let members = first(history, off_us, next_us, |views| {
        views.values().all(|view| view.alive == Some(nodes))
    });
    let ring = members.and_then(|members_us| {
        first(history, members_us, next_us, |views| {
            let ring = views.values().next().map(|view| &view.ring);
            views
                .values()
                .all(|view| view.alive == Some(nodes) && Some(&view.ring) == ring)
        })
    });
    let known = first(history, on_us, off_us, |views| {
        let mut answering = views.values().filter_map(|view| view.alive).peekable();
        answering.peek().is_some() && answering.all(|alive| alive < nodes)
    });
    let during: Vec<&Operation> = load(history)
        .filter(|it| it.begun_us >= begun_us && it.begun_us < off_us)
        .collect();
    let steady = steady(history, begun_us, off_us);
    let mut acks: Vec<u64> = during
        .iter()
        .filter(|it| it.action.is_write() && it.outcome == Outcome::Ok)
        .map(|it| it.ended_us)
        .collect();
    acks.sort_unstable();
    let acked = acks.len();
    let gap = acks.windows(2).map(|pair| pair[1] - pair[0]).max();
    Timing {
        fault: fault.to_owned(),
        known_ms: known.map(|known| millis(on_us, known)),
        members_ms: since_off(members),
        ring_ms: since_off(ring),
        settled_ms: since_off(of_fault(FaultState::Settled)),
        first_try: first_try(during.iter().copied()),
        first_try_survivors: first_try(
            during
                .iter()
                .copied()
                .filter(|it| steady.contains(&it.node)),
        ),
        gap_ms: gap.unwrap_or_default() as f64 / 1e3,
        acked,
    }
}

fn millis(from_us: u64, to_us: u64) -> f64 {
    to_us.saturating_sub(from_us) as f64 / 1e3
}

fn load(history: &History) -> impl Iterator<Item = &Operation> {
    let all = history.operations.iter();
    all.filter(|operation| operation.purpose == Purpose::Load)
}

/// The first moment between two times at which the views of all nodes were so.
fn first(
    history: &History,
    from_us: u64,
    to_us: u64,
    holds: impl Fn(&BTreeMap<usize, &View>) -> bool,
) -> Option<u64> {
    // A node that does not answer is written down when it should have, later than others that do.
    let mut changes: Vec<&View> = history.views.iter().collect();
    changes.sort_by_key(|view| view.at_us);
    let mut changes = changes.into_iter().peekable();
    let mut views = BTreeMap::new();
    while let Some(view) = changes.next_if(|view| view.at_us <= from_us) {
        views.insert(view.node, view);
    }
    if views.is_empty() {
        return None;
    }
    if holds(&views) {
        return Some(from_us);
    }
    for view in changes.take_while(|view| view.at_us < to_us) {
        views.insert(view.node, view);
        if holds(&views) {
            return Some(view.at_us);
        }
    }
    None
}

/// Places of the nodes that answered from one time to another.
fn steady(history: &History, from_us: u64, to_us: u64) -> Vec<usize> {
    let places = 0..history.run.nodes.len();
    places
        .filter(|place| {
            let of_node: Vec<&View> = history
                .views
                .iter()
                .filter(|view| view.node == *place && view.at_us < to_us)
                .collect();
            let before = of_node.iter().rev().find(|view| view.at_us <= from_us);
            let within = of_node.iter().filter(|view| view.at_us > from_us);
            before
                .into_iter()
                .chain(within)
                .all(|view| view.alive.is_some())
                && !of_node.is_empty()
        })
        .collect()
}

fn first_try<'a>(operations: impl Iterator<Item = &'a Operation>) -> Option<f64> {
    let (mut all, mut answered) = (0_u32, 0_u32);
    for operation in operations.filter(|it| it.attempt == 1) {
        all += 1;
        answered += u32::from(operation.outcome == Outcome::Ok);
    }
    (all > 0).then(|| f64::from(answered) / f64::from(all))
}

/// The load by seconds.
#[must_use]
pub(crate) fn seconds(history: &History) -> Vec<Second> {
    let mut by_second: BTreeMap<u64, Vec<&Operation>> = BTreeMap::new();
    for operation in load(history) {
        by_second
            .entry(operation.ended_us / 1_000_000)
            .or_default()
            .push(operation);
    }
    by_second
        .into_iter()
        .map(|(second, operations)| {
            let count = |is_write, outcome| {
                let alike = operations
                    .iter()
                    .filter(|it| it.action.is_write() == is_write && it.outcome == outcome);
                alike.count()
            };
            let mut took: Vec<u64> = operations
                .iter()
                .filter(|it| it.outcome == Outcome::Ok)
                .map(|it| it.ended_us - it.begun_us)
                .collect();
            took.sort_unstable();
            let quantile = |percent: usize| {
                let place = (took.len() * percent).div_ceil(100).saturating_sub(1);
                took.get(place).map(|took| *took as f64 / 1e3)
            };
            Second {
                second,
                acked: count(true, Outcome::Ok),
                failed: count(true, Outcome::Failed),
                unknown: count(true, Outcome::Unknown),
                reads: count(false, Outcome::Ok),
                unread: count(false, Outcome::Failed) + count(false, Outcome::Unknown),
                p50_ms: quantile(50),
                p99_ms: quantile(99),
            }
        })
        .collect()
}

/// What was missed, in words.
#[must_use]
pub(crate) fn broken(timings: &[Timing], limits: Limits) -> Vec<String> {
    let mut broken = Vec::new();
    for timing in timings {
        let fault = &timing.fault;
        let mut check = |what: &str, limit: Option<Duration>, took: Option<f64>| {
            let Some(limit) = limit else { return };
            match took {
                None => broken.push(format!("{fault}: {what}: never, and at most {limit:?}")),
                Some(took) if took > limit.as_secs_f64() * 1e3 => {
                    broken.push(format!(
                        "{fault}: {what}: after {took:.0} ms, and at most {limit:?}"
                    ));
                }
                Some(_) => {}
            }
        };
        check("known to all", limits.known, timing.known_ms);
        check(
            "all members alive for all",
            limits.members,
            timing.members_ms,
        );
        check("one ring", limits.ring, timing.ring_ms);
        if let Some(least) = limits.first_try_min {
            let share = timing.first_try_survivors.unwrap_or_default();
            if share < least {
                broken.push(format!(
                    "{fault}: {:.3} % answered at the first try at nodes that answered throughout, and at least {:.3} %",
                    share * 100.0,
                    least * 100.0
                ));
            }
        }
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Action, FaultMark, Run};

    fn view(at_us: u64, node: usize, alive: Option<usize>, ring: &str) -> View {
        View {
            at_us,
            node,
            alive,
            ring: ring.to_owned(),
            status: "ok".to_owned(),
        }
    }

    fn get(begun_us: u64, node: usize, outcome: Outcome) -> Operation {
        Operation {
            key: "k".to_owned(),
            action: Action::Get { found: None },
            node,
            begun_us,
            ended_us: begun_us + 1_000,
            outcome,
            version: None,
            error: None,
            purpose: Purpose::Load,
            attempt: 1,
        }
    }

    /// Node 1 of three is killed from 1 s to 5 s.
    fn killed() -> History {
        let mark = |state, at_us| FaultMark {
            fault: "kill".to_owned(),
            state,
            at_us,
        };
        let nodes = ["a", "b", "c"].map(str::to_owned).to_vec();
        History {
            run: Run::new("r".to_owned(), nodes),
            marks: vec![
                mark(FaultState::Begun, 900_000),
                mark(FaultState::On, 1_000_000),
                mark(FaultState::Off, 5_000_000),
                mark(FaultState::Settled, 8_000_000),
            ],
            views: vec![
                view(0, 0, Some(3), "x"),
                view(0, 1, Some(3), "x"),
                view(0, 2, Some(3), "x"),
                view(1_050_000, 1, None, ""),
                view(3_000_000, 0, Some(2), "x"),
                view(4_200_000, 2, Some(2), "x"),
                view(5_300_000, 1, Some(3), "y"),
                view(5_400_000, 0, Some(3), "y"),
                view(6_000_000, 2, Some(3), "x"),
                view(6_500_000, 2, Some(3), "y"),
            ],
            operations: vec![
                get(2_000_000, 0, Outcome::Ok),
                get(2_000_000, 1, Outcome::Failed),
                get(2_100_000, 2, Outcome::Ok),
                get(2_200_000, 2, Outcome::Unknown),
            ],
            ..History::default()
        }
    }

    #[test]
    fn a_fault_is_known_and_over_when_the_last_node_says_so() {
        let timings = timings(&killed());
        let [timing] = timings.as_slice() else {
            panic!("one fault, not {timings:?}");
        };
        assert_eq!(timing.known_ms, Some(3_200.0));
        assert_eq!(timing.members_ms, Some(1_000.0));
        assert_eq!(timing.ring_ms, Some(1_500.0));
        assert_eq!(timing.settled_ms, Some(3_000.0));
    }

    #[test]
    fn requests_at_a_node_that_was_killed_are_told_apart() {
        let timing = &timings(&killed())[0];
        assert_eq!(timing.first_try, Some(0.5));
        assert_eq!(timing.first_try_survivors, Some(2.0 / 3.0));
    }

    #[test]
    fn a_limit_that_is_missed_is_named() {
        let timings = timings(&killed());
        let limits = |known, first_try_min| Limits {
            known: Some(Duration::from_millis(known)),
            first_try_min: Some(first_try_min),
            ..Limits::default()
        };
        assert_eq!(broken(&timings, limits(3_200, 0.6)), [] as [String; 0]);
        assert_eq!(broken(&timings, limits(3_199, 0.7)).len(), 2);
        let mut unknown = killed();
        unknown
            .views
            .retain(|view| view.node != 2 || view.at_us == 0);
        let never = broken(&super::timings(&unknown), limits(3_200, 0.0));
        assert!(never[0].contains("never"), "{never:?}");
    }

    #[test]
    fn a_second_counts_what_ended_in_it() {
        let seconds = seconds(&killed());
        assert_eq!(seconds.len(), 1);
        assert_eq!(
            (seconds[0].second, seconds[0].reads, seconds[0].unread),
            (2, 2, 2)
        );
        assert_eq!(seconds[0].p99_ms, Some(1.0));
    }
}
