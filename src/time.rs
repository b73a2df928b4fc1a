//! The clock is an argument: code that needs the time is given a [`Clock`] or a [`Micros`]. Only [`SystemClock`]
//! reads the machine's clocks. [`LogClock`] turns its readings into the time of a partition.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod believed;
mod log_clock;
mod pause;
mod stamp;
mod steps;

pub use believed::Believed;
pub use log_clock::LogClock;
pub use pause::{pause, pause_unless, retry_ms};
pub use stamp::{Offset, Stamp};
pub use steps::Steps;

use crate::domain::Micros;
use jiff::SignedDuration;
use jiff::civil::DateTime;
use std::fmt;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The Unix epoch.
pub const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);
/// The last time that RFC 3339 can write, to the microsecond: 9999-12-31T23:59:59.999999Z.
pub const LAST: Micros = Micros(253_402_300_799_999_999);

/// A time as RFC 3339, in UTC. Times after [`LAST`] are shown as [`LAST`], because they only ever mean "never".
#[derive(Clone, Copy)]
pub struct Shown(pub Micros);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let us = i64::try_from(self.0.min(LAST).0).unwrap_or(i64::MAX);
        let date_time = EPOCH.saturating_add(SignedDuration::from_micros(us));
        write!(f, "{date_time}Z")
    }
}

/// A time as RFC 3339 text, in UTC.
pub fn text(at: Micros) -> String {
    Shown(at).to_string()
}

/// A source of the time.
pub trait Clock: Send + Sync {
    /// The time by which this process measures, in microseconds. It follows the monotonic clock, so that it never
    /// goes back and never jumps. Deadlines of calls, durations and ages use it. It may differ from the wall clock by
    /// any amount.
    fn now(&self) -> Micros;

    /// The time of the wall clock, in microseconds since the Unix epoch, UTC. It may jump in both directions. The
    /// time of a partition follows it: see [`LogClock`].
    fn wall(&self) -> Micros;

    /// How far the wall clock is from the clock that gave this stamp.
    fn offset(&self, stamp: &Stamp) -> Offset {
        stamp.offset(self.wall())
    }
}

/// The clocks of this machine.
pub struct SystemClock {
    started: Stopwatch,
    started_at: Micros,
}

impl SystemClock {
    /// A clock that starts with the time of the wall clock, and measures from now on.
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

/// A clock of a test that measures only what the test says, in microseconds.
#[cfg(test)]
pub struct ByHand(pub std::sync::atomic::AtomicU64);

#[cfg(test)]
impl Clock for ByHand {
    fn now(&self) -> Micros {
        Micros(self.0.load(std::sync::atomic::Ordering::Relaxed))
    }

    fn wall(&self) -> Micros {
        Micros(0)
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clocks")]
fn wall() -> Micros {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Micros(u64::try_from(since_epoch.as_micros()).unwrap_or(u64::MAX).min(Micros::MAX.0))
}

/// Measures a duration by the monotonic clock, for waits with a limit and for figures.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// A stopwatch that starts now.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clocks")]
    pub fn start() -> Stopwatch {
        Stopwatch(Instant::now())
    }

    /// The time since it was started.
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    /// The time since it was started, in microseconds.
    pub fn now(&self) -> Micros {
        Micros(u64::try_from(self.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    /// What is left of a limit; 0 when it has passed.
    pub fn left_of(&self, limit: Duration) -> Duration {
        limit.saturating_sub(self.elapsed())
    }
}
