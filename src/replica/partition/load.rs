//! How busy a partition's owner is: the turn under way, and what turns take. Times are microseconds of the monotonic
//! clock.

use crate::domain::Micros;
use crate::limits::DEADLINE_MAX_MS;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// No turn is under way.
const IDLE: u64 = u64::MAX;

/// The load of one partition's owner in this process. The owner writes it, everybody may read it without a lock.
pub struct Load {
    /// When the turn under way began, or [`IDLE`].
    turn_since_us: AtomicU64,
    average_us: AtomicU64,
    ended: AtomicU64,
    last_us: AtomicU64,
}

/// The turns of commands that have ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EndedTurns {
    /// Their number since the start of the process.
    pub count: u64,
    /// How long the last one took, in microseconds; 0 before the first.
    pub last_us: u64,
}

impl Default for Load {
    fn default() -> Load {
        let zero = || AtomicU64::new(0);
        Load { turn_since_us: AtomicU64::new(IDLE), average_us: zero(), ended: zero(), last_us: zero() }
    }
}

impl Load {
    pub(super) fn turn_begins(&self, now: Micros) {
        self.turn_since_us.store(now.0, Relaxed);
    }

    pub(super) fn turn_ends(&self, now: Micros) {
        // The length is capped: a machine that was suspended during a turn must not look like a slow log for long.
        let since = self.turn_since_us.swap(IDLE, Relaxed);
        let took = now.0.saturating_sub(since).min(DEADLINE_MAX_MS * 1_000);
        if since != IDLE {
            self.last_us.store(took, Relaxed);
            self.ended.fetch_add(1, Relaxed);
        }
        let average = self.average_us.load(Relaxed);
        self.average_us.store(average.saturating_mul(7).saturating_add(took) / 8, Relaxed);
    }

    /// Drops the turn under way, and answers when it began.
    pub(super) fn drop_turn(&self) -> Option<Micros> {
        Some(self.turn_since_us.swap(IDLE, Relaxed)).filter(|since| *since != IDLE).map(Micros)
    }

    /// For how many microseconds the turn under way has been going; 0 when none is.
    pub fn turn_age_us(&self, now: Micros) -> u64 {
        match self.turn_since_us.load(Relaxed) {
            IDLE => 0,
            since => now.0.saturating_sub(since),
        }
    }

    /// Whether a turn is under way.
    pub fn is_in_turn(&self) -> bool {
        self.turn_since_us.load(Relaxed) != IDLE
    }

    /// The turns of commands that have ended, and the length of the last one.
    pub fn ended_turns(&self) -> EndedTurns {
        EndedTurns { count: self.ended.load(Relaxed), last_us: self.last_us.load(Relaxed) }
    }

    /// The moving average of a turn's length, in microseconds.
    pub fn average_turn_us(&self) -> u64 {
        self.average_us.load(Relaxed)
    }
}
