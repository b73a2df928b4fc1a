//! Waiting for the newest state. The log is asked where a partition ends, and the caller waits until the state in this
//! process has come that far.

use crate::limits::FRESH_WAIT_MAX_MS;
use crate::log::CommittedTail;
use crate::replica::PartitionHandle;
use crate::threads;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;
use tokio::sync::{Mutex, Semaphore, SemaphorePermit, oneshot};

/// Most partitions about which one caller has the log asked at the same time: each question takes a thread and a client of the
/// log.
pub const ASKED_AT_ONCE_MAX: usize = 4;

/// Knows the last end of each partition that the log reported.
pub struct Freshness {
    tail: Arc<dyn CommittedTail>,
    ends: Vec<End>,
}

impl Freshness {
    /// For this log, which has so many partitions.
    pub fn new(tail: Arc<dyn CommittedTail>, partitions: u32) -> Freshness {
        Freshness { tail, ends: (0..partitions).map(|_| End::default()).collect() }
    }

    /// Waits until the state of the partition has everything that was committed before this call. Answers `false` when
    /// that takes longer than `within` or [`FRESH_WAIT_MAX_MS`], or cannot be known.
    pub async fn reached(&self, handle: &PartitionHandle, within: Duration) -> bool {
        self.reached_beside(handle, within, &Semaphore::new(1)).await
    }

    /// The same for a caller who waits for several partitions at the same time. The log is asked in one of these turns. `within`
    /// begins when it is there.
    pub(super) async fn reached_beside(&self, handle: &PartitionHandle, within: Duration, turns: &Semaphore) -> bool {
        let within = within.min(Duration::from_millis(FRESH_WAIT_MAX_MS));
        let Ok(turn) = turns.acquire().await else { return false };
        tokio::time::timeout(within, self.reaches_end(handle, turn)).await.unwrap_or(false)
    }

    async fn reaches_end(&self, handle: &PartitionHandle, turn: SemaphorePermit<'_>) -> bool {
        let partition = handle.id();
        let Some(end) = self.ends.get(partition as usize) else { return false };
        let end = end.since_now(&self.tail, partition).await;
        // What the log has said is waited for without a turn.
        drop(turn);
        let Some(end) = end else { return false };
        let (done, reached) = oneshot::channel();
        handle.when_at(end, move || {
            // The caller may have given up.
            let _ = done.send(());
        });
        reached.await.is_ok()
    }
}

/// Where one partition of the log ends. Asking the log takes time, so callers that ask at the same time share one
/// answer. While the log does not answer, callers give up and others come; each of them would leave a question behind, which
/// keeps a thread and a client of the log for seconds. So the log is asked one question at a time.
#[derive(Default)]
struct End {
    /// How many questions were asked.
    asked: AtomicU64,
    /// The last question that was answered.
    last: Mutex<LastAnswer>,
    /// Locked while the log is being asked, also when the caller who asked has given up.
    asking: Arc<Mutex<()>>,
}

#[derive(Clone, Copy, Default)]
struct LastAnswer {
    /// The number of the question.
    question: u64,
    /// The sequence number after the last committed event; `None` when the log could not say.
    end: Option<u64>,
}

impl End {
    /// The answer to a question that was asked after this call began; `None` when it cannot be known.
    async fn since_now(&self, tail: &Arc<dyn CommittedTail>, partition: u32) -> Option<u64> {
        let before = self.asked.load(SeqCst);
        let mut last = self.last.lock().await;
        if last.question <= before {
            let asking = Arc::clone(&self.asking).lock_owned().await;
            let (question, tail) = (self.asked.fetch_add(1, SeqCst).saturating_add(1), Arc::clone(tail));
            let end = threads::blocking(asking, move || tail.end_told(partition).ok()).await;
            *last = LastAnswer { question, end: end.ok().flatten() };
        }
        last.end
    }
}
