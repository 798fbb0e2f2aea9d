//! The seams for time and randomness. Node code takes these in its constructors and never asks the system, so that the
//! same code runs on the simulator's virtual time.

use std::{
    future::Future,
    pin::Pin,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use rand::{
    SeedableRng as _, TryRng as _,
    rngs::{StdRng, SysRng},
};

/// A boxed future without borrowed parts.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send + 'static>>;

/// Monotonic time since an origin of the clock's choice. Only differences mean anything.
pub type Monotonic = Duration;

/// One reading of both clocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Now {
    /// See [`Clock::monotonic`].
    pub monotonic: Monotonic,
    /// See [`Clock::wall_millis`].
    pub wall_millis: u64,
}

/// Time as one node sees it.
pub trait Clock: Send + Sync + 'static {
    /// Never goes back.
    fn monotonic(&self) -> Monotonic;
    /// Milliseconds since the Unix epoch; may step either way.
    fn wall_millis(&self) -> u64;
    /// Reads both clocks.
    fn now(&self) -> Now {
        Now {
            monotonic: self.monotonic(),
            wall_millis: self.wall_millis(),
        }
    }
    /// Completes after `duration`. Dropping the future cancels it.
    fn sleep(&self, duration: Duration) -> BoxFuture<()>;
}

/// Seeded randomness: one stream per concern, all derived from the node's seed.
#[derive(Clone, Copy, Debug)]
pub struct Entropy {
    seed: u64,
}

impl Entropy {
    /// Streams that depend on `seed` alone.
    #[must_use]
    pub const fn from_seed(seed: u64) -> Self {
        Self { seed }
    }

    /// The stream of one concern. The same seed and concern give the same stream.
    #[must_use]
    pub fn stream(&self, concern: &str) -> StdRng {
        StdRng::seed_from_u64(xxhash_rust::xxh3::xxh3_64_with_seed(
            concern.as_bytes(),
            self.seed,
        ))
    }

    /// Seeds from the operating system.
    ///
    /// # Panics
    /// When the operating system has no entropy to give.
    #[must_use]
    pub fn from_system() -> Self {
        let mut seed = [0; 8];
        // Without entropy, boot ids could repeat and with them versions: better not to start.
        SysRng
            .try_fill_bytes(&mut seed)
            .expect("the operating system has entropy");
        Self::from_seed(u64::from_le_bytes(seed))
    }
}

/// The machine's clocks and tokio's timers.
#[derive(Debug)]
pub struct SystemClock {
    origin: Instant,
}

impl SystemClock {
    /// A clock whose monotonic origin is now.
    #[allow(
        clippy::disallowed_methods,
        reason = "this is the seam: the only place that asks the system"
    )]
    #[must_use]
    pub fn new() -> Self {
        Self {
            origin: Instant::now(),
        }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "this is the seam: the only place that asks the system"
)]
impl Clock for SystemClock {
    fn monotonic(&self) -> Monotonic {
        self.origin.elapsed()
    }

    fn wall_millis(&self) -> u64 {
        // Before 1970 every stamp would be refused by the peers anyway; zero keeps the arithmetic defined.
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| {
                u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
            })
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<()> {
        Box::pin(tokio::time::sleep(duration))
    }
}
