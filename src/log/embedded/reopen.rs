//! A file that failed is opened again: a disk that was full for a moment needs nobody. What was being written when it
//! failed is not known, so all that is known is dropped and the file is read, as a new process would. It is not opened
//! again after a flush that failed, because what can be read then may not be what is on the disk.

use super::super::LogError;
use super::file::LogFile;
use super::{Embedded, Shared};
use crate::limits::{LOG_REOPEN_MAX_MS, LOG_REOPEN_MS, LOG_REOPEN_ONE_IN};
use crate::time::Stopwatch;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// What became of a log that took no turn.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reopened {
    /// It takes turns: claim again.
    Whole,
    /// It does not yet, and this is why. It is tried again after a while.
    Later(LogError),
    /// It will not before a restart, and this is why.
    Never(LogError),
}

/// How often it was tried, and when it is tried next.
#[derive(Default)]
pub(super) struct Reopening {
    tried: Mutex<Option<Tries>>,
    /// How often it was opened again, and could be read.
    times: AtomicU64,
}

struct Tries {
    since: Stopwatch,
    /// Since the last one.
    rested: Stopwatch,
    rest: Duration,
    tries: u32,
}

impl Tries {
    fn new() -> Tries {
        let rest = Duration::from_millis(LOG_REOPEN_MS);
        Tries { since: Stopwatch::start(), rested: Stopwatch::start(), rest, tries: 0 }
    }

    /// One in vain took so long.
    fn failed(&mut self, took: Duration) {
        let rest = self.rest.saturating_mul(2).min(Duration::from_millis(LOG_REOPEN_MAX_MS));
        self.rest = rest.max(took.saturating_mul(LOG_REOPEN_ONE_IN));
        (self.rested, self.tries) = (Stopwatch::start(), self.tries.saturating_add(1));
    }
}

impl Embedded {
    /// Opens the log again if it takes no turn and the time has come to try. For whoever was told that nobody knows what
    /// became of a turn; it may be called again and again.
    pub fn reopen(&self) -> Reopened {
        let shared = &self.shared;
        let mut tried = shared.reopening.tried.lock();
        let Some(failure) = shared.committer.failure() else {
            *tried = None;
            return Reopened::Whole;
        };
        if shared.file.has_lost_a_flush() {
            return Reopened::Never(failure);
        }
        let tries = tried.get_or_insert_with(|| {
            let why = &failure;
            if failure.needs_operator() {
                tracing::error!(%why, "the log takes no turn until an operator acts: it is opened again and again");
            } else {
                tracing::warn!(%why, "the log takes no turn: it is opened again and again");
            }
            Tries::new()
        });
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
                let (after_ms, tries) = (tries.since.elapsed().as_millis(), tries.tries);
                tracing::info!(after_ms, tries, "the log takes turns again");
                *tried = None;
                Reopened::Whole
            }
        }
    }

    /// How often the log was opened again.
    pub fn reopenings(&self) -> u64 {
        self.shared.reopening.times.load(Relaxed)
    }

    /// Whether nothing more is to be decided of the partition.
    pub fn is_closed(&self, partition: u32) -> bool {
        self.shared.intake(partition).is_none_or(super::Intake::is_closed)
    }
}

impl Shared {
    /// An error says that the log has lost what was committed. One that cannot be opened fails as it did before.
    fn reopen(&self) -> Result<(), LogError> {
        match self.file.reopen() {
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

/// Why a file that was opened to be written takes nothing, if that is so.
pub(super) fn want_of_room(file: &LogFile) -> Option<LogError> {
    let detail = || format!("there is no room for {} to be written to; it can be read", file.path.display());
    file.is_read_only().then(|| LogError::operator(detail()))
}
