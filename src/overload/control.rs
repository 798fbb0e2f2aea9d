//! The control law: utilisation in, pressure out. Pure.
//!
//! The pressure rises while the CPU is busier than the threshold and falls while it is less busy, at
//! a speed that grows with the distance: an integral controller. It is not all or nothing, because
//! a node that sheds everything gets idle, takes everything, and so on for ever.
//!
//! - **What is admitted falls geometrically with the pressure**: every step takes the same share of
//!   what is left. So a step changes the utilisation by about as much whether twice or fifty times
//!   as much is asked as can be done, and one gain suits all. With [`SPEED`] and [`SPAN`] a reading
//!   of a tenth of the window corrects at most nine tenths of the distance to the threshold: it
//!   neither overshoots nor, with one reading of lag, grows an oscillation.
//! - **Two views of the same figure**. The last reading alone says where to go, because a mean over
//!   the window comes half a window late, and late is what makes loops oscillate. The mean over
//!   the window says whether there is an overload at all: shedding does not begin without it
//!   above the threshold, so that a burst that is shorter than the window sheds nothing.
//! - **Up slowly, down fast.** The window has to fill before shedding begins. Then a CPU that is
//!   used up takes away nearly two thirds of the writes in a window at a threshold of 0.9, and
//!   86 % at 0.8 or less; reads follow when the writes are gone, after three windows and one and
//!   a half. An idle machine serves everything again within a window, and
//!   a half busy one within two: refusing without need is the worse mistake.
//!
//! The nearer the threshold is to 1, the less room there is to tell overload from work, and the
//! slower it rises.
//! A threshold of 1 never sheds: utilisation cannot exceed it.

use std::time::Duration;

use super::{Class, meter::Utilization};

/// Share of a class that is admitted whatever the pressure, so that recovery can be seen.
pub const ADMITTED_MIN: f64 = 0.05;
/// Natural logarithm of the admitted share, lost per window at full speed.
const SPEED: f64 = 2.0;
/// Distance of the utilisation from the threshold at which the pressure moves at full speed.
const SPAN: f64 = 0.2;
/// How much faster than full speed the pressure may fall.
const FALL_MAX: f64 = 4.0;
/// Shorter windows are no steadier than their readings, of which there are at most 20 a second.
pub const WINDOW_MIN: Duration = Duration::from_millis(500);
/// Readings per window, and their bounds.
const READINGS: u32 = 10;
const INTERVAL_MAX: Duration = Duration::from_secs(1);

/// How often the CPU is read for a window.
#[must_use]
pub fn interval(window: Duration) -> Duration {
    (window.max(WINDOW_MIN) / READINGS).min(INTERVAL_MAX)
}

/// How much is shed, from 0, nothing, to 1, all but [`ADMITTED_MIN`]. The lower half sheds writes,
/// the upper half reads as well.
#[derive(Clone, Copy, PartialEq, PartialOrd, Debug, Default)]
pub struct Pressure(f64);

impl Pressure {
    /// A pressure; what is beyond 0 to 1 is cut.
    #[must_use]
    pub const fn new(value: f64) -> Self {
        Self(value.clamp(0.0, 1.0))
    }

    /// As a number.
    #[must_use]
    pub const fn value(self) -> f64 {
        self.0
    }

    /// Share of the requests of a class that is shed.
    #[must_use]
    pub fn shed_share(self, class: Class) -> f64 {
        let own = match class {
            Class::Write => (2.0 * self.0).min(1.0),
            Class::Read => (2.0 * self.0 - 1.0).max(0.0),
        };
        1.0 - ADMITTED_MIN.powf(own)
    }
}

/// Moves the pressure.
#[derive(Debug)]
pub struct Controller {
    threshold: f64,
    window: Duration,
    pressure: Pressure,
}

impl Controller {
    /// Keeps the utilisation at `threshold`, 0 to 1.
    #[must_use]
    pub fn new(threshold: f64, window: Duration) -> Self {
        Self {
            threshold,
            window: window.max(WINDOW_MIN),
            pressure: Pressure::default(),
        }
    }

    /// Keeps the utilisation at another threshold from now on.
    pub const fn aim(&mut self, threshold: f64) {
        self.threshold = threshold;
    }

    /// The pressure after a reading that looks back so far.
    pub fn step(&mut self, used: Utilization, length: Duration) -> Pressure {
        let pace = self.pace(used);
        // A reading that comes very late says no more than a window can.
        let windows =
            length.as_secs_f64().min(self.window.as_secs_f64()) / self.window.as_secs_f64();
        // The whole range is two classes from all to the least.
        let range = -2.0 * ADMITTED_MIN.ln();
        self.pressure = Pressure::new(self.pressure.0 + pace * SPEED * windows / range);
        self.pressure
    }

    /// Where to, in parts of the full speed.
    fn pace(&self, used: Utilization) -> f64 {
        if used.recent <= self.threshold {
            return ((used.recent - self.threshold) / SPAN).max(-FALL_MAX);
        }
        if self.pressure == Pressure::default() && used.windowed <= self.threshold {
            return 0.0;
        }
        ((used.recent - self.threshold) / SPAN).min(1.0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    const WINDOW: Duration = Duration::from_secs(10);
    const PER_WINDOW: usize = READINGS as usize;

    /// A machine whose utilisation is what others use and what the admitted requests cost.
    struct Plant {
        controller: Controller,
        recent: VecDeque<f64>,
        pressures: VecDeque<Pressure>,
        /// Share of the demand that is reads.
        reads: f64,
        /// How many readings late a pressure takes effect.
        lag: usize,
    }

    impl Plant {
        fn new(threshold: f64, reads: f64, lag: usize) -> Self {
            Self {
                controller: Controller::new(threshold, WINDOW),
                recent: VecDeque::from(vec![0.0; PER_WINDOW]),
                pressures: VecDeque::from(vec![Pressure::default(); lag + 1]),
                reads,
                lag,
            }
        }

        fn pressure(&self) -> Pressure {
            self.controller.pressure
        }

        fn windowed(&self) -> f64 {
            self.recent.iter().sum::<f64>() / PER_WINDOW as f64
        }

        /// One reading; returns the utilisation.
        fn step(&mut self, base: f64, demand: f64) -> f64 {
            let pressure = self.pressures[0];
            let admitted = self.reads * (1.0 - pressure.shed_share(Class::Read))
                + (1.0 - self.reads) * (1.0 - pressure.shed_share(Class::Write));
            let recent = (base + admitted * demand).min(1.0);
            self.recent.pop_front();
            self.recent.push_back(recent);
            let used = Utilization {
                recent,
                windowed: self.windowed(),
            };
            let next = self.controller.step(used, WINDOW / READINGS);
            self.pressures.push_back(next);
            if self.pressures.len() > self.lag + 1 {
                self.pressures.pop_front();
            }
            recent
        }

        fn run(&mut self, windows: usize, base: f64, demand: f64) -> Vec<f64> {
            let readings = windows * PER_WINDOW;
            (0..readings).map(|_| self.step(base, demand)).collect()
        }
    }

    #[test]
    fn writes_are_shed_before_reads_and_a_share_of_both_always_passes() {
        let shed = |pressure: f64| {
            let pressure = Pressure::new(pressure);
            (
                pressure.shed_share(Class::Read),
                pressure.shed_share(Class::Write),
            )
        };
        assert_eq!(shed(0.0), (0.0, 0.0));
        let (read, write) = shed(0.25);
        assert!(read == 0.0 && (0.7..0.8).contains(&write), "{read} {write}");
        assert_eq!(shed(0.5), (0.0, 0.95));
        assert_eq!(shed(1.0), (0.95, 0.95));
        assert_eq!(shed(7.0), shed(1.0));
    }

    #[test]
    fn a_used_up_cpu_sheds_within_a_window_of_being_noticed_and_an_idle_one_recovers_within_one() {
        for (threshold, least) in [(0.9, 0.6), (0.8, 0.85)] {
            let mut plant = Plant::new(threshold, 0.5, 0);
            // The mean over the window has to get there first.
            plant.run(2, 1.0, 0.0);
            let shed = plant.pressure().shed_share(Class::Write);
            assert!(shed > least, "{shed} at {threshold}");
        }
        let mut plant = Plant::new(0.9, 0.5, 0);
        plant.run(8, 1.0, 0.0);
        assert_eq!(plant.pressure(), Pressure::new(1.0));
        plant.run(1, 0.1, 0.0);
        assert_eq!(plant.pressure(), Pressure::new(0.0));
    }

    #[test]
    fn a_half_busy_machine_recovers_within_two_windows() {
        let mut plant = Plant::new(0.9, 0.5, 0);
        plant.run(8, 1.0, 0.0);
        plant.run(2, 0.5, 0.0);
        assert_eq!(plant.pressure(), Pressure::new(0.0));
    }

    #[test]
    fn a_burst_that_is_shorter_than_the_window_sheds_nothing() {
        let mut plant = Plant::new(0.9, 0.5, 0);
        plant.run(3, 0.3, 0.0);
        for _ in 0..PER_WINDOW / 2 {
            plant.step(1.0, 0.0);
            assert_eq!(plant.pressure(), Pressure::new(0.0));
        }
    }

    #[test]
    fn a_threshold_of_one_never_sheds() {
        let mut plant = Plant::new(1.0, 0.5, 0);
        plant.run(10, 1.0, 5.0);
        assert_eq!(plant.pressure(), Pressure::new(0.0));
    }

    #[test]
    fn readings_come_often_enough_and_not_too_often() {
        let millis = |millis| interval(Duration::from_millis(millis)).as_millis();
        assert_eq!(
            (millis(1), millis(1000), millis(10_000), millis(60_000)),
            (50, 100, 1000, 1000)
        );
    }

    proptest! {
        #[test]
        fn an_overloaded_machine_settles_near_the_threshold(
            threshold in 0.3..0.95, base_share in 0.0..0.9, excess in 1.05..10.0, reads in 0.0..=1.0,
            lag in 0usize..=1,
        ) {
            let base = threshold * base_share;
            let demand = (threshold - base) * excess;
            // What always passes must not be too much by itself.
            prop_assume!(base + ADMITTED_MIN * demand < threshold);
            let mut plant = Plant::new(threshold, reads, lag);
            plant.run(20, base, demand);
            let settled = plant.run(10, base, demand);
            let mean = settled.iter().sum::<f64>() / settled.len() as f64;
            prop_assert!((mean - threshold).abs() < 0.05, "mean {mean} of {settled:?}");
            for used in &settled {
                prop_assert!((used - threshold).abs() < 0.15, "{used} of {settled:?}");
            }
        }

        #[test]
        fn without_overload_nothing_is_ever_shed(
            threshold in 0.2..1.0, shares in prop::collection::vec(0.0..=1.0, 1..100),
        ) {
            let mut plant = Plant::new(threshold, 0.5, 0);
            for share in shares {
                plant.step(threshold * share, 0.0);
                prop_assert_eq!(plant.pressure(), Pressure::new(0.0));
            }
        }

        #[test]
        fn whatever_is_read_the_pressure_stays_in_range(
            readings in prop::collection::vec((0.0..=1.0, 0.0..=1.0, 0u64..100_000), 1..100),
        ) {
            let mut controller = Controller::new(0.8, WINDOW);
            for (recent, windowed, millis) in readings {
                let used = Utilization { recent, windowed };
                let pressure = controller.step(used, Duration::from_millis(millis));
                prop_assert!((0.0..=1.0).contains(&pressure.value()));
            }
        }
    }
}
