//! What is asked: reads and writes in a mix, of keys that are chosen evenly or by a Zipf distribution.

use crate::{
    operation::{Kind, Operation},
    plan::{Distribution, Plan, SizeRange},
    value::Random,
};

/// How often a key is tried again while keys are loaded, on average.
const LOAD_RETRIES: u64 = 10;
/// Bits of a sequence number below the lane's.
const COUNTER_BITS: u32 = 44;

/// The requests of one lane, always the same ones for the same plan and lane.
#[derive(Debug)]
pub(crate) struct Workload {
    source: Source,
    sizes: SizeRange,
    random: Random,
    sequence: u64,
}

#[derive(Debug)]
enum Source {
    /// Each key of the lane once, to write it.
    Load {
        next: u64,
        step: u64,
        keys: u64,
        again: Vec<u64>,
        retries_left: u64,
    },
    /// As the plan says, for ever.
    Mix { reads: f64, keys: Chooser },
}

impl Workload {
    /// Writes of all keys, of which each lane has its part.
    pub(crate) fn load(plan: &Plan, lane: usize) -> Self {
        let source = Source::Load {
            next: lane as u64,
            step: plan.connections as u64,
            keys: plan.keys,
            again: Vec::new(),
            retries_left: LOAD_RETRIES * (plan.keys / plan.connections as u64 + 1),
        };
        Self::new(plan, lane, source, 0)
    }

    /// The plan's mix.
    pub(crate) fn mix(plan: &Plan, lane: usize) -> Self {
        let source = Source::Mix {
            reads: plan.mix.reads(),
            keys: Chooser::new(plan.keys, plan.distribution),
        };
        Self::new(plan, lane, source, 1)
    }

    fn new(plan: &Plan, lane: usize, source: Source, phase: u64) -> Self {
        let lane = lane as u64;
        Self {
            source,
            sizes: plan.value_size,
            random: Random::new(plan.seed ^ Random::new((lane << 1) | phase).next()),
            sequence: ((lane << 1) | phase) << COUNTER_BITS,
        }
    }

    /// The next request; `None` when all keys are loaded.
    pub(crate) fn next(&mut self) -> Option<Operation> {
        let (kind, key) = match &mut self.source {
            Source::Load {
                next,
                step,
                keys,
                again,
                ..
            } => {
                let key = match again.pop() {
                    Some(key) => key,
                    None if next >= keys => return None,
                    None => {
                        *next += *step;
                        *next - *step
                    }
                };
                (Kind::Write, key)
            }
            Source::Mix { reads, keys } => {
                let read = *reads >= 1.0 || (*reads > 0.0 && self.random.fraction() < *reads);
                let kind = if read { Kind::Read } else { Kind::Write };
                (kind, keys.choose(&mut self.random))
            }
        };
        let value_bytes = match kind {
            Kind::Read => 0,
            Kind::Write => {
                self.sequence += 1;
                self.size()
            }
        };
        Some(Operation {
            kind,
            key,
            sequence: self.sequence,
            value_bytes,
        })
    }

    /// A request was not surely carried out. Whether it is to be made again: while keys are loaded, within bounds.
    pub(crate) fn retry(&mut self, operation: &Operation) -> bool {
        match &mut self.source {
            Source::Load {
                again,
                retries_left,
                ..
            } if *retries_left > 0 => {
                *retries_left -= 1;
                again.push(operation.key);
                true
            }
            Source::Load { .. } | Source::Mix { .. } => false,
        }
    }

    fn size(&mut self) -> u32 {
        let SizeRange { least, most } = self.sizes;
        if least == most {
            return least;
        }
        least + self.random.below(u64::from(most - least) + 1) as u32
    }
}

/// Chooses keys.
#[derive(Debug)]
enum Chooser {
    Uniform { keys: u64 },
    Zipf(Zipf),
}

impl Chooser {
    fn new(keys: u64, distribution: Distribution) -> Self {
        match distribution {
            Distribution::Uniform => Self::Uniform { keys },
            Distribution::Zipf { exponent } => Self::Zipf(Zipf::new(keys, exponent)),
        }
    }

    fn choose(&mut self, random: &mut Random) -> u64 {
        match self {
            Self::Uniform { keys } => random.below(*keys),
            Self::Zipf(zipf) => zipf.choose(random),
        }
    }
}

/// Key number `k` (from 0) with a probability proportional to `1 / (k + 1)^exponent`, by rejection-inversion (W. Hörmann
/// and G. Derflinger, 1996): constant time, and no table, for any number of keys.
#[derive(Debug)]
struct Zipf {
    exponent: f64,
    keys: f64,
    /// The integral of the hat at both ends.
    from: f64,
    to: f64,
    /// What is accepted without a second look.
    near: f64,
}

impl Zipf {
    fn new(keys: u64, exponent: f64) -> Self {
        let keys = keys as f64;
        let mut zipf = Self {
            exponent,
            keys,
            from: 0.0,
            to: 0.0,
            near: 0.0,
        };
        zipf.from = zipf.integral(1.5) - 1.0;
        zipf.to = zipf.integral(keys + 0.5);
        zipf.near = 2.0 - zipf.inverse(zipf.integral(2.5) - zipf.weight(2.0));
        zipf
    }

    fn choose(&self, random: &mut Random) -> u64 {
        loop {
            let area = self.to + random.fraction() * (self.from - self.to);
            let x = self.inverse(area);
            let rank = x.round().clamp(1.0, self.keys);
            let accepted =
                rank - x <= self.near || area >= self.integral(rank + 0.5) - self.weight(rank);
            if accepted {
                return rank as u64 - 1;
            }
        }
    }

    fn weight(&self, x: f64) -> f64 {
        (-self.exponent * x.ln()).exp()
    }

    /// The integral of the weight, up to a constant.
    fn integral(&self, x: f64) -> f64 {
        let log = x.ln();
        let flat = 1.0 - self.exponent;
        if (flat * log).abs() < 1e-8 {
            log
        } else {
            (flat * log).exp_m1() / flat
        }
    }

    fn inverse(&self, area: f64) -> f64 {
        let flat = 1.0 - self.exponent;
        let scaled = (flat * area).max(-1.0);
        if scaled.abs() < 1e-8 {
            area.exp()
        } else {
            (scaled.ln_1p() / flat).exp()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::plan::Mix;

    #[test]
    fn zipf_gives_each_key_the_share_that_is_its_own() {
        for exponent in [0.5, 0.99, 1.0, 1.3] {
            let keys = 100;
            let zipf = Zipf::new(keys, exponent);
            let mut random = Random::new(42);
            let mut seen = vec![0_u32; keys as usize];
            let draws = 200_000;
            for _ in 0..draws {
                seen[zipf.choose(&mut random) as usize] += 1;
            }
            let weight = |key: u64| ((key + 1) as f64).powf(-exponent);
            let sum: f64 = (0..keys).map(weight).sum();
            for key in [0, 1, 2, 9, 50, 99] {
                let expected = weight(key) / sum * f64::from(draws);
                let found = f64::from(seen[key as usize]);
                let spread = 5.0 * expected.sqrt() + 1.0;
                assert!(
                    (found - expected).abs() < spread,
                    "exponent {exponent}, key {key}: {found}, {expected} expected"
                );
            }
        }
    }

    #[test]
    fn zipf_of_one_key_is_that_key() {
        let zipf = Zipf::new(1, 0.99);
        let mut random = Random::new(1);
        assert!((0..100).all(|_| zipf.choose(&mut random) == 0));
    }

    #[test]
    fn all_lanes_together_load_each_key_once() {
        let plan = Plan {
            keys: 1000,
            connections: 3,
            ..Plan::default()
        };
        let mut keys = BTreeSet::new();
        let mut sequences = BTreeSet::new();
        for lane in 0..3 {
            let mut load = Workload::load(&plan, lane);
            while let Some(operation) = load.next() {
                assert_eq!(operation.kind, Kind::Write);
                assert!(keys.insert(operation.key) && sequences.insert(operation.sequence));
            }
        }
        assert_eq!(keys, (0..1000).collect());
    }

    #[test]
    fn a_mix_is_the_same_for_the_same_seed_and_has_its_share_of_reads() {
        let plan = Plan {
            mix: Mix::Mixed { reads: 0.9 },
            value_size: SizeRange {
                least: 10,
                most: 20,
            },
            ..Plan::default()
        };
        let draw = |plan: &Plan| {
            let mut mix = Workload::mix(plan, 0);
            (0..10_000).filter_map(|_| mix.next()).collect::<Vec<_>>()
        };
        let drawn = draw(&plan);
        assert_eq!(drawn, draw(&plan));
        let other = Plan { seed: 2, ..plan };
        assert_ne!(drawn, draw(&other));
        let reads = drawn.iter().filter(|one| one.kind == Kind::Read).count();
        assert!((8850..9150).contains(&reads), "{reads}");
        let sizes: BTreeSet<_> = drawn
            .iter()
            .filter(|one| one.kind == Kind::Write)
            .map(|one| one.value_bytes)
            .collect();
        assert_eq!(sizes, (10..=20).collect());
    }
}
