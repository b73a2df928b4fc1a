//! What an owner or a follower writes into the local store. A note of how far the log was seen as committed is written
//! at once. One thread writes checkpoints, off the commit path. An owner drafts a checkpoint (which copies references)
//! and offers it. While another checkpoint is being written, the changes stay with the partition, and its next draft is
//! larger.

use super::report::Report;
use crate::domain::ChainedEvent;
use crate::replica::{Draft, PartitionHandle, PartitionState, Position};
use crate::store::{Seen, Store, StoreError};
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use std::collections::BTreeSet;
use std::sync::Arc;

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
}

/// The thread's work: run it on a thread of its own until every [`Checkpointer`] is gone.
pub struct Work {
    orders: Receiver<Order>,
}

impl Checkpointer {
    /// A handle on the thread that writes checkpoints, and the thread's work.
    pub fn new(log_id: u128) -> (Checkpointer, Work) {
        let (sender, receiver) = bounded(1);
        (Checkpointer { orders: sender, log_id, notes: None }, Work { orders: receiver })
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

    /// Offers the partition's changes. Answers whether the thread took them; it takes none while it is busy.
    pub fn offer(&self, handle: &Arc<PartitionHandle>) -> bool {
        if !self.orders.is_empty() {
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
        let mut failed = BTreeSet::new();
        for order in self.orders {
            match order {
                Order::Write(draft, handle) => write(store, report, (&draft, &handle), &mut failed),
                Order::Forget(partition, why) => wipe(store, report, partition, &why),
                Order::Flush(done) => {
                    // An error means that the caller has stopped waiting.
                    let _ = done.send(());
                }
            }
        }
    }
}

/// Writes a checkpoint. After a write that fails, its partition is in `failed` until one that holds everything takes the place of
/// what is there. A draft that was offered meanwhile goes on where the failed one would have ended, and is not written.
fn write(
    store: &dyn Store,
    report: &dyn Report,
    (draft, handle): (&Draft, &PartitionHandle),
    failed: &mut BTreeSet<u32>,
) {
    let checkpoint = draft.encode();
    let partition = checkpoint.mark.partition;
    // What is there may be of a state that a whole one has replaced.
    let written = match checkpoint.base {
        None => store.replace(&checkpoint, "a whole state takes its place"),
        Some(_) if failed.contains(&partition) => Err(StoreError::new("the changes before these were not written")),
        Some(_) => store.apply(&checkpoint),
    };
    match written {
        Ok(()) => {
            failed.remove(&partition);
            report.checkpoint(partition, Ok(checkpoint.rows.len()));
        }
        Err(error) => {
            failed.insert(partition);
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
