//! Makes a failing list of events smaller, as long as it still fails.
//!
//! This is the minimising delta debugging algorithm `ddmin` of Zeller and Hildebrandt, "Simplifying and isolating
//! failure-inducing input" (IEEE Transactions on Software Engineering 28(2), 2002), figure 2: split the list into n
//! parts; go on with one part that fails alone, or with what is left after dropping one; else split finer. When it ends
//! by itself, no single event can be left out (the result is *1-minimal*). It asks O(n^2) times at worst; the number of
//! runs is bounded because each one is a whole simulation.

/// What is left of a list, and what it cost.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shrunk<T> {
    /// The events that are left, in their order. They still fail.
    pub events: Vec<T>,
    /// How often it was asked whether some events fail.
    pub runs: usize,
    /// Whether the search ended by itself: then none of the events can be left out alone.
    pub is_minimal: bool,
}

/// Drops events while the rest still fails, asking at most `runs_max` times. The list that is passed is taken to fail.
///
/// `fails` must say the same each time it is asked the same: a run is repeated from its seed, not from luck.
pub fn shrink<T: Clone>(
    events: &[T],
    runs_max: usize,
    mut fails: impl FnMut(&[T]) -> bool,
) -> Shrunk<T> {
    let mut events = events.to_vec();
    let mut runs = 0;
    let mut parts = 2;
    if !events.is_empty() && runs_max > 0 {
        // Often the faults have nothing to do with it; ddmin itself never tries the empty list.
        runs += 1;
        if fails(&[]) {
            events.clear();
        }
    }
    while events.len() >= 2 {
        match step(&events, parts, runs_max - runs, &mut fails) {
            Step::Reduced {
                rest,
                asked,
                parts: next,
            } => {
                (events, parts) = (rest, next);
                runs += asked;
            }
            Step::Kept { asked } => {
                runs += asked;
                if parts >= events.len() {
                    break;
                }
                parts = (parts * 2).min(events.len());
            }
            Step::OutOfRuns { asked } => {
                return Shrunk {
                    events,
                    runs: runs + asked,
                    is_minimal: false,
                };
            }
        }
    }
    Shrunk {
        is_minimal: runs > 0 || events.is_empty(),
        events,
        runs,
    }
}

enum Step<T> {
    /// Fewer events still fail.
    Reduced {
        rest: Vec<T>,
        asked: usize,
        parts: usize,
    },
    /// Neither a part alone nor the rest without it fails.
    Kept { asked: usize },
    /// The bound on runs was reached first.
    OutOfRuns { asked: usize },
}

fn step<T: Clone>(
    events: &[T],
    parts: usize,
    runs_left: usize,
    fails: &mut impl FnMut(&[T]) -> bool,
) -> Step<T> {
    let mut asked = 0;
    let bounds: Vec<(usize, usize)> = (0..parts)
        .map(|part| {
            (
                part * events.len() / parts,
                (part + 1) * events.len() / parts,
            )
        })
        .collect();
    for (from, to) in &bounds {
        if asked == runs_left {
            return Step::OutOfRuns { asked };
        }
        asked += 1;
        let part = &events[*from..*to];
        if fails(part) {
            return Step::Reduced {
                rest: part.to_vec(),
                asked,
                parts: 2,
            };
        }
    }
    // With two parts, the rest without one is the other.
    let complements = if parts > 2 { bounds.as_slice() } else { &[] };
    for (from, to) in complements {
        if asked == runs_left {
            return Step::OutOfRuns { asked };
        }
        asked += 1;
        let rest = [&events[..*from], &events[*to..]].concat();
        if fails(&rest) {
            return Step::Reduced {
                rest,
                asked,
                parts: (parts - 1).max(2),
            };
        }
    }
    Step::Kept { asked }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_the_events_that_matter_are_left() {
        let events: Vec<u32> = (0..100).collect();
        let shrunk = shrink(&events, 1000, |rest| {
            rest.contains(&17) && rest.contains(&63)
        });
        assert_eq!(shrunk.events, [17, 63]);
        assert!(shrunk.is_minimal);
        assert!(shrunk.runs < 100, "{}", shrunk.runs);
    }

    #[test]
    fn a_failure_without_faults_needs_one_run() {
        let shrunk = shrink(&[1, 2, 3], 10, |_| true);
        assert_eq!(
            (shrunk.events.len(), shrunk.runs, shrunk.is_minimal),
            (0, 1, true)
        );
    }

    #[test]
    fn a_single_event_that_matters_stays() {
        let shrunk = shrink(&[1], 10, |rest| !rest.is_empty());
        assert_eq!((shrunk.events, shrunk.is_minimal), (vec![1], true));
    }

    #[test]
    fn the_bound_on_runs_holds_and_what_is_left_still_fails() {
        let events: Vec<u32> = (0..64).collect();
        let fails = |rest: &[u32]| rest.iter().filter(|event| **event % 3 == 0).count() >= 5;
        for runs_max in 0..60 {
            let mut asked = 0;
            let shrunk = shrink(&events, runs_max, |rest| {
                asked += 1;
                fails(rest)
            });
            assert!(fails(&shrunk.events));
            assert_eq!(shrunk.runs, asked);
            assert!(asked <= runs_max);
        }
    }

    proptest! {
        #[test]
        fn what_is_left_fails_in_order_and_no_event_of_it_can_go(
            length in 0usize..40,
            needed in prop::collection::btree_set(0usize..40, 0..6),
            at_least in 0usize..6,
        ) {
            let events: Vec<usize> = (0..length).collect();
            let fails = |rest: &[usize]| {
                rest.iter().filter(|event| needed.contains(event)).count() >= at_least
            };
            prop_assume!(fails(&events));
            let shrunk = shrink(&events, usize::MAX, fails);
            prop_assert!(fails(&shrunk.events));
            prop_assert!(shrunk.events.is_sorted());
            prop_assert!(shrunk.is_minimal);
            for at in 0..shrunk.events.len() {
                let mut without = shrunk.events.clone();
                without.remove(at);
                prop_assert!(!fails(&without));
            }
        }
    }
}
