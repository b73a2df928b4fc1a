//! The clock, as an argument: everything that needs the time is handed a [`Clock`] or a [`Micros`].
//! [`SystemClock`] is the only place that reads the machine's. [`LogClock`] makes a partition's time of its readings.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod log_clock;
mod steps;

pub use log_clock::LogClock;
pub use steps::Steps;

use crate::domain::Micros;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A time as RFC 3339, for a person; one that has none is the last that does.
pub fn text(at: Micros) -> String {
    let instant = i64::try_from(at.0).ok().and_then(|us| jiff::Timestamp::from_microsecond(us).ok());
    instant.unwrap_or(jiff::Timestamp::MAX).to_string()
}

/// Where the time comes from.
pub trait Clock: Send + Sync {
    /// The time by which this process measures: it goes on with the monotonic clock, so it never decreases and never
    /// steps. Deadlines of calls, lengths and ages go by it. It may differ from the wall clock by any amount.
    fn now(&self) -> Micros;

    /// What the wall clock shows, in microseconds since the Unix epoch, UTC. It may step in both directions. The time of
    /// a partition follows it: see [`LogClock`].
    fn wall(&self) -> Micros;
}

/// The machine's clocks.
pub struct SystemClock {
    started: Stopwatch,
    started_at: Micros,
}

impl SystemClock {
    /// A clock that measures from now on, beginning with what the wall clock shows.
    pub fn new() -> SystemClock {
        SystemClock { started: Stopwatch::start(), started_at: wall() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        SystemClock::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Micros {
        Micros(self.started_at.0.saturating_add(self.started.now().0))
    }

    fn wall(&self) -> Micros {
        wall()
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clocks")]
fn wall() -> Micros {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Micros(u64::try_from(since_epoch.as_micros()).unwrap_or(u64::MAX).min(Micros::MAX.0))
}

/// How long something takes, by the monotonic clock: for waits that have a limit, and for figures.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Runs from now on.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clocks")]
    pub fn start() -> Stopwatch {
        Stopwatch(Instant::now())
    }

    /// For how long it has been running.
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    /// The same, as the time that has passed since it was started.
    pub fn now(&self) -> Micros {
        Micros(u64::try_from(self.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    /// What is left of a limit.
    pub fn left_of(&self, limit: Duration) -> Duration {
        limit.saturating_sub(self.elapsed())
    }
}
