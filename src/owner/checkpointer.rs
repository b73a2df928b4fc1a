//! What an owner or a follower writes into the local store. A note of how far the log was seen as committed is written
//! at once. One thread writes checkpoints, off the commit path. An owner drafts a checkpoint (which copies references)
//! and offers it. While another checkpoint is being written, the changes stay with the partition, and its next draft is
//! larger. After one that could not be written the next draft is of the whole state, which keeps the owner and a processor
//! busy for long where the state is large. So a partition offers nothing for a while then, longer with each failure.

use super::report::Report;
use crate::domain::ChainedEvent;
use crate::limits::CHECKPOINT_INTERVAL_MS;
use crate::replica::{Draft, PartitionHandle, PartitionState, Position};
use crate::store::{Seen, Store, StoreError};
use crate::time::{Stopwatch, retry_ms};
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Longest time after a failure before the next draft, in milliseconds. After a try that took long it is longer.
const RETRY_MAX_MS: u64 = 60_000;
/// Tries that fail take at most one part in this many of the time that passes.
const TRIED_ONE_IN: u32 = 10;

/// A checkpoint that could not be written.
struct Failure {
    /// How many in a row.
    count: u32,
    since: Stopwatch,
    /// For how long nothing is offered.
    pause: Duration,
}

impl Failure {
    fn after(before: u32, took: Duration) -> Failure {
        let pause = Duration::from_millis(retry_ms(before, CHECKPOINT_INTERVAL_MS, RETRY_MAX_MS));
        let pause = pause.max(took.saturating_mul(TRIED_ONE_IN.saturating_sub(1)));
        Failure { count: before.saturating_add(1), since: Stopwatch::start(), pause }
    }
}

/// The last failure of each partition, until a checkpoint that holds everything takes the place of what is there.
type Failures = Arc<Mutex<BTreeMap<u32, Failure>>>;

/// An order to the thread.
enum Order {
    Write(Box<Draft>, Arc<PartitionHandle>),
    /// Deletes the partition's checkpoint, for this reason.
    Forget(u32, String),
    /// Answered when everything ordered before is done.
    Flush(Sender<()>),
}

/// A handle on the thread that writes checkpoints: orders are sent through it.
#[derive(Clone)]
pub struct Checkpointer {
    orders: Sender<Order>,
    log_id: u128,
    /// The store that notes are written to, if there is one.
    notes: Option<Arc<dyn Store>>,
    failures: Failures,
}

/// The thread's work: run it on a thread of its own until every [`Checkpointer`] is gone.
pub struct Work {
    orders: Receiver<Order>,
    failures: Failures,
}

impl Checkpointer {
    /// A handle on the thread that writes checkpoints, and the thread's work.
    pub fn new(log_id: u128) -> (Checkpointer, Work) {
        let ((sender, receiver), failures) = (bounded(1), Failures::default());
        let work = Work { orders: receiver, failures: Arc::clone(&failures) };
        (Checkpointer { orders: sender, log_id, notes: None, failures }, work)
    }

    /// The same, and it notes in this store how far the log was seen as committed.
    #[must_use]
    pub fn noting(self, store: Arc<dyn Store>) -> Checkpointer {
        Checkpointer { notes: Some(store), ..self }
    }

    /// Notes that this event is committed, before any caller learns of it.
    pub(super) fn committed(&self, chained: &ChainedEvent) {
        if let Some(store) = &self.notes {
            store.note(chained.event.partition, &Seen::of(self.log_id, chained));
        }
    }

    /// Notes that everything before this position of the partition is committed.
    pub(super) fn saw(&self, partition: u32, position: &Position) {
        let Position { next_seq, chain, decided_at, .. } = *position;
        if let Some(store) = &self.notes {
            store.note(partition, &Seen { log_id: self.log_id, next_seq, chain, decided_at });
        }
    }

    /// Offers the partition's changes. Answers whether the thread took them; it takes none while it is busy, and for a while
    /// after the partition's last checkpoint could not be written.
    pub fn offer(&self, handle: &Arc<PartitionHandle>) -> bool {
        if !self.orders.is_empty() || self.has_just_failed(handle.id()) {
            return false;
        }
        // All of it under the lock: a state that takes this one's place must not get its draft back, nor be overtaken by it.
        handle.write(|state| {
            let draft = Box::new(state.draft_checkpoint(self.log_id));
            // The channel holds one order and may be full by now: then the state takes the draft back.
            let refused =
                self.orders.try_send(Order::Write(draft, Arc::clone(handle))).map_err(TrySendError::into_inner);
            if let Err(Order::Write(draft, _)) = &refused {
                state.take_back(draft);
            }
            refused.is_ok()
        })
    }

    fn has_just_failed(&self, partition: u32) -> bool {
        let failures = self.failures.lock();
        failures.get(&partition).is_some_and(|failure| !failure.since.left_of(failure.pause).is_zero())
    }

    /// Deletes the partition's checkpoint, with all that was offered before, and waits until that is done.
    pub(super) fn forget(&self, partition: u32, why: String) {
        if self.orders.send(Order::Forget(partition, why)).is_ok() {
            self.flush();
        }
    }

    /// Hands the partition's changes over, waiting for the thread.
    pub fn offer_last(&self, handle: &Arc<PartitionHandle>) {
        let draft = handle.write(|state| state.draft_checkpoint(self.log_id));
        if self.orders.send(Order::Write(Box::new(draft), Arc::clone(handle))).is_ok() {
            self.flush();
        }
    }

    fn flush(&self) {
        let (done, wait) = bounded(1);
        if self.orders.send(Order::Flush(done)).is_ok() {
            // An error means that the thread is gone: there is nothing left to wait for.
            let _ = wait.recv();
        }
    }
}

impl Work {
    /// Carries out orders until every [`Checkpointer`] is gone.
    pub fn run(self, store: &dyn Store, report: &dyn Report) {
        for order in self.orders {
            match order {
                Order::Write(draft, handle) => write(store, report, (&draft, &handle), &self.failures),
                Order::Forget(partition, why) => wipe(store, report, partition, &why),
                Order::Flush(done) => {
                    // An error means that the caller has stopped waiting.
                    let _ = done.send(());
                }
            }
        }
    }
}

/// Writes a checkpoint. After a write that fails, its partition is in `failures` until one that holds everything takes the place
/// of what is there. A draft that was offered meanwhile goes on where the failed one would have ended, and is not written.
fn write(
    store: &dyn Store,
    report: &dyn Report,
    (draft, handle): (&Draft, &PartitionHandle),
    failures: &Mutex<BTreeMap<u32, Failure>>,
) {
    let trying = Stopwatch::start();
    let checkpoint = draft.encode();
    let partition = checkpoint.mark.partition;
    let before = failures.lock().get(&partition).map(|failure| failure.count);
    // What is there may be of a state that a whole one has replaced.
    let written = match (checkpoint.base, before) {
        (None, _) => store.replace(&checkpoint, "a whole state takes its place"),
        (Some(_), Some(_)) => Err(StoreError::new("the changes before these were not written")),
        (Some(_), None) => store.apply(&checkpoint),
    };
    match written {
        Ok(()) => {
            failures.lock().remove(&partition);
            report.checkpoint(partition, Ok(checkpoint.rows.len()));
        }
        Err(error) => {
            // One that was not tried does not make the pause longer, or begin it anew.
            if checkpoint.base.is_none() || before.is_none() {
                failures.lock().insert(partition, Failure::after(before.unwrap_or_default(), trying.elapsed()));
            }
            report.checkpoint(partition, Err(&error.detail));
            handle.write(PartitionState::mark_all_dirty);
        }
    }
}

fn wipe(store: &dyn Store, report: &dyn Report, partition: u32, why: &str) {
    if let Err(error) = store.wipe(partition, why) {
        report.checkpoint(partition, Err(&error.detail));
    }
}
