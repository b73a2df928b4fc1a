//! How fresh a partition's state is, and who waits until it is fresher.

use crate::domain::Micros;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Most readers of one partition that may wait for newer state.
const FRESH_WAITERS_MAX: usize = 4_096;

/// The moment at which the state was last known to be that of the log's end, and the callers that wait for an event.
#[derive(Default)]
pub(super) struct Freshness {
    /// By the monotonic clock; 0 when it is not known. It is never later than the true moment, because the clock is
    /// read before the log is asked: a pause in between makes it too early, never too late.
    current_at: AtomicU64,
    /// Records of the log that the state lacked when the log was asked; none when that is not known.
    lag: Mutex<Option<u64>>,
    waiters: Mutex<Vec<Waiter>>,
}

/// A caller that waits for a sequence number.
struct Waiter {
    next_seq: u64,
    wake: Box<dyn FnOnce() + Send>,
}

impl Freshness {
    /// The state was that of the log's end at `asked`, which was read before the log was asked.
    pub(super) fn was_current_at(&self, asked: Micros) {
        self.current_at.fetch_max(asked.0, Relaxed);
    }

    /// The log may hold more than the state from `since` on.
    pub(super) fn may_lag_since(&self, since: Micros) {
        self.current_at.fetch_min(since.0, Relaxed);
    }

    /// The state lacked so many records of the log when the log was asked; none when it is not known how many.
    pub(super) fn set_lag(&self, records: Option<u64>) {
        *self.lag.lock() = records;
    }

    /// What [`Freshness::set_lag`] said last.
    pub(super) fn lag(&self) -> Option<u64> {
        *self.lag.lock()
    }

    /// The state was replaced, and it is not known how old the new one is.
    pub(super) fn forget(&self) {
        self.current_at.store(0, Relaxed);
    }

    /// For how many microseconds the state may have been behind the log.
    pub(super) fn staleness_us(&self, now: Micros) -> u64 {
        now.0.saturating_sub(self.current_at.load(Relaxed))
    }

    /// Wakes every caller that waits for an event before `next_seq`. The state holds those events, and its lock is
    /// free.
    pub(super) fn folded(&self, next_seq: u64) {
        let mut waiters = self.waiters.lock();
        let due: Vec<_> = waiters.extract_if(.., |waiter| waiter.next_seq <= next_seq).collect();
        drop(waiters);
        due.into_iter().for_each(|waiter| (waiter.wake)());
    }

    /// Calls `wake` once every event before `next_seq` is folded, and at once when `is_folded` says so. Drops it
    /// uncalled when `folds` says that nobody folds, or when [`FRESH_WAITERS_MAX`] callers wait.
    pub(super) fn wait(
        &self,
        next_seq: u64,
        is_folded: impl FnOnce() -> bool,
        folds: impl FnOnce() -> bool,
        wake: impl FnOnce() + Send + 'static,
    ) {
        let mut waiters = self.waiters.lock();
        // Under the lock that a writer takes after its write: either the writer sees this waiter, or this sees the
        // write.
        if is_folded() {
            drop(waiters);
            wake();
        } else if folds() && waiters.len() < FRESH_WAITERS_MAX {
            waiters.push(Waiter { next_seq, wake: Box::new(wake) });
        }
    }

    /// Drops every waiter uncalled: nobody folds any more.
    pub(super) fn drop_waiters(&self) {
        self.waiters.lock().clear();
    }
}
