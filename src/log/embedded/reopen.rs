//! A file that failed is opened again, so that a disk which was full for a moment needs no operator. Nobody knows
//! whether the interrupted write succeeded, so everything in memory is dropped and read from the file, as a new process
//! does. After a failed flush the file is not opened again, because what can be read then may differ from the disk.

use super::super::LogError;
use super::file::LogFile;
use super::{Embedded, Shared};
use crate::limits::{LOG_REOPEN_MAX_MS, LOG_REOPEN_MS};
use crate::time::Stopwatch;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Ratio of waiting to opening when the log takes long to open.
const LOG_REOPEN_ONE_IN: u32 = 4;

/// A log that fails again so soon after it was opened is as it was before.
const STEADY: Duration = Duration::from_secs(10);

/// The result of an attempt to reopen a log that accepted no turns.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reopened {
    /// The log accepts turns again: claim again.
    Whole,
    /// The log does not accept turns yet, for this reason. The next attempt follows after a while.
    Later(LogError),
    /// The log accepts no turns before a restart, for this reason.
    Never(LogError),
}

/// The number of attempts, and the time of the next one.
#[derive(Default)]
pub(super) struct Reopening {
    tried: Mutex<Option<Tries>>,
    /// How often the log was opened again and could be read.
    times: AtomicU64,
    /// Whether it was opened again, and took no turn yet: a disk may be as full as it was.
    awaits_a_turn: AtomicBool,
}

impl Reopening {
    /// Tells that the log takes turns again, once it has taken one.
    pub(super) fn took_a_turn(&self) {
        if !self.awaits_a_turn.load(Relaxed) || !self.awaits_a_turn.swap(false, Relaxed) {
            return;
        }
        if let Some(tries) = self.tried.lock().as_mut() {
            let (after_ms, count) = (tries.since.elapsed().as_millis(), tries.tries);
            tracing::info!(after_ms, tries = count, "the log takes turns again");
            tries.is_told = false;
        }
    }
}

#[cfg(test)]
impl Reopening {
    /// The pause before the next attempt.
    pub(super) fn rest(&self) -> Duration {
        self.tried.lock().as_ref().map_or(Duration::ZERO, |tries| tries.rest)
    }

    /// Whether the last line says that the log takes no turn.
    pub(super) fn is_told(&self) -> bool {
        self.tried.lock().as_ref().is_some_and(|tries| tries.is_told)
    }
}

struct Tries {
    since: Stopwatch,
    /// The time since the last attempt.
    rested: Stopwatch,
    rest: Duration,
    tries: u32,
    /// Since when the log may take turns again.
    whole: Option<Stopwatch>,
    /// Whether the last line about it says that it takes none.
    is_told: bool,
}

impl Tries {
    fn new() -> Tries {
        let rest = Duration::from_millis(LOG_REOPEN_MS);
        Tries { since: Stopwatch::start(), rested: Stopwatch::start(), rest, tries: 0, whole: None, is_told: false }
    }

    /// Counts a failed attempt, which took this long.
    fn failed(&mut self, took: Duration) {
        let rest = self.rest.saturating_mul(2).min(Duration::from_millis(LOG_REOPEN_MAX_MS));
        self.rest = rest.max(took.saturating_mul(LOG_REOPEN_ONE_IN));
        (self.rested, self.tries) = (Stopwatch::start(), self.tries.saturating_add(1));
    }
}

impl Embedded {
    /// Opens the log again if it accepts no turns and an attempt is due. For an owner whose commit had an unknown
    /// outcome; it may be called repeatedly.
    pub fn reopen(&self) -> Reopened {
        let shared = &self.shared;
        let mut tried = shared.reopening.tried.lock();
        let Some(failure) = shared.committer.failure() else { return Reopened::Whole };
        if shared.file.has_lost_a_flush() {
            return Reopened::Never(failure);
        }
        // A disk without room may take the end of the log, and refuse the next turn. Then the pauses go on to grow.
        if tried.as_ref().is_some_and(|tries| tries.whole.is_some_and(|whole| whole.elapsed() > STEADY)) {
            *tried = None;
        }
        let tries = tried.get_or_insert_with(Tries::new);
        if !std::mem::replace(&mut tries.is_told, true) {
            (tries.since, tries.tries) = (Stopwatch::start(), 0);
            let why = &failure;
            if failure.needs_operator() {
                tracing::error!(%why, "the log takes no turn until an operator acts; opening it again repeatedly");
            } else {
                tracing::warn!(%why, "the log takes no turn; opening it again repeatedly");
            }
        }
        tries.whole = None;
        shared.reopening.awaits_a_turn.store(false, Relaxed);
        if tries.rested.elapsed() < tries.rest {
            return Reopened::Later(failure);
        }
        let trying = Stopwatch::start();
        let reopened = shared.reopen();
        tries.failed(trying.elapsed());
        match (reopened, shared.committer.failure()) {
            (Err(lost), _) => Reopened::Never(lost),
            (Ok(()), Some(failure)) => Reopened::Later(failure),
            (Ok(()), None) => {
                tries.whole = Some(Stopwatch::start());
                shared.reopening.awaits_a_turn.store(true, Relaxed);
                Reopened::Whole
            }
        }
    }

    /// Why the log takes no turn; `None` when it takes turns.
    pub fn refuses_turns(&self) -> Option<LogError> {
        self.shared.committer.failure()
    }

    /// The number of times that the log was opened again.
    pub fn reopenings(&self) -> u64 {
        self.shared.reopening.times.load(Relaxed)
    }
}

impl Shared {
    /// An error means that the log has lost committed turns. A log that cannot be opened stays failed, without an
    /// error.
    fn reopen(&self) -> Result<(), LogError> {
        // A turn that is still on its way would be written behind the ends that are read here.
        self.committer.rests();
        match self.file.reopen(&self.committer.committed()) {
            Ok(heads) => {
                let read_only = want_of_room(&self.file);
                self.committer.reopened(&self.file.path, &heads, &self.intakes, read_only)?;
                self.reopening.times.fetch_add(1, Relaxed);
                Ok(())
            }
            Err(error) => {
                self.committer.fail(error.into());
                Ok(())
            }
        }
    }
}

/// Why a file that was opened for writing cannot be written; `None` when it can.
pub(super) fn want_of_room(file: &LogFile) -> Option<LogError> {
    let detail =
        |why| format!("no disk space is left to write {}, which can still be read: {why}", file.path.display());
    file.unwritable().map(|why| LogError::operator(detail(why)))
}
