//! The clock, as an argument: everything that needs the time is handed a [`Clock`] or a [`Micros`].
//! [`SystemClock`] is the only place that reads the machine's. [`LogClock`] makes a partition's time of its readings.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod log_clock;
mod pause;
mod stamp;
mod steps;

pub use log_clock::LogClock;
pub use pause::{pause, pause_unless};
pub use stamp::{Offset, Stamp};
pub use steps::Steps;

use crate::domain::Micros;
use jiff::SignedDuration;
use jiff::civil::DateTime;
use std::fmt;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The Unix epoch.
pub const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);
/// The last instant that RFC 3339 can write, to the microsecond: 9999-12-31T23:59:59.999999Z.
pub const LAST: Micros = Micros(253_402_300_799_999_999);

/// An instant as RFC 3339, in UTC. Beyond [`LAST`] it is that one: such a time only ever means "never".
#[derive(Clone, Copy)]
pub struct Shown(pub Micros);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let us = i64::try_from(self.0.min(LAST).0).unwrap_or(i64::MAX);
        let date_time = EPOCH.saturating_add(SignedDuration::from_micros(us));
        write!(f, "{date_time}Z")
    }
}

/// The same as a text.
pub fn text(at: Micros) -> String {
    Shown(at).to_string()
}

/// Where the time comes from.
pub trait Clock: Send + Sync {
    /// The time by which this process measures: it goes on with the monotonic clock, so it never decreases and never
    /// steps. Deadlines of calls, lengths and ages go by it. It may differ from the wall clock by any amount.
    fn now(&self) -> Micros;

    /// What the wall clock shows, in microseconds since the Unix epoch, UTC. It may step in both directions. The time of
    /// a partition follows it: see [`LogClock`].
    fn wall(&self) -> Micros;

    /// How far the wall clock is from the one that gave this stamp.
    fn offset(&self, stamp: &Stamp) -> Offset {
        stamp.offset(self.wall())
    }
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
