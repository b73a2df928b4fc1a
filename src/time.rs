//! The clock, as an argument: everything that needs the time is handed a [`Clock`] or a [`Micros`].
//! [`SystemClock`] is the only place that reads the machine's.

use crate::domain::Micros;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Where the time comes from. Readings never decrease.
pub trait Clock: Send + Sync {
    /// Microseconds since the Unix epoch, UTC.
    fn now(&self) -> Micros;
}

/// The machine's clock: wall time at start, carried on by the monotonic clock, so that a stepped wall clock
/// neither fires nor starves a deadline.
pub struct SystemClock {
    started: Instant,
    started_at: Micros,
}

impl SystemClock {
    /// Reads the wall clock once.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clocks")]
    pub fn new() -> SystemClock {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let started_at = Micros(u64::try_from(since_epoch.as_micros()).unwrap_or(u64::MAX));
        SystemClock { started: Instant::now(), started_at }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        SystemClock::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Micros {
        let elapsed = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        Micros(self.started_at.0.saturating_add(elapsed))
    }
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
