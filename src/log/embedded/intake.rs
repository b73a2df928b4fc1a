//! The commands waiting for a partition's owner: a bounded queue in memory. A command is part of the log only with the
//! turn that decides it, so waiting commands are lost when the process ends, and only then. When the partition gets
//! another owner, commands that the last owner polled and did not commit go back to the front of the queue.

use super::super::{AppendError, LogError, NewCommand, Polled, StoredCommand};
use crate::limits::{QUEUED_ABANDONS_RESERVE, QUEUED_COMMANDS_MAX, TURN_BYTES_MAX, TURN_RECORDS_MAX};
use crate::trace::TraceContext;
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::time::Duration;

/// A command that is not part of the log yet.
#[derive(Clone)]
struct QueuedCommand {
    bytes: Vec<u8>,
    trace: Option<TraceContext>,
}

#[derive(Default)]
struct State {
    /// Handed over and not polled.
    waiting: VecDeque<QueuedCommand>,
    /// Polled by the owner of this generation and not committed.
    polled: VecDeque<QueuedCommand>,
    generation: u64,
    closed: bool,
}

impl State {
    fn take_back(&mut self) {
        while let Some(command) = self.polled.pop_back() {
            self.waiting.push_front(command);
        }
    }
}

/// One partition's queue.
#[derive(Default)]
pub(super) struct Intake {
    state: Mutex<State>,
    woken: Condvar,
}

impl Intake {
    pub(super) fn append(&self, command: NewCommand<'_>) -> Result<(), AppendError> {
        let queued = QueuedCommand { bytes: command.bytes.to_vec(), trace: command.trace.cloned() };
        let mut state = self.state.lock();
        if state.closed {
            return Err(AppendError::Closed);
        }
        let reserved = if command.cancels.is_some() { 0 } else { QUEUED_ABANDONS_RESERVE };
        if state.waiting.len() >= QUEUED_COMMANDS_MAX.saturating_sub(reserved) {
            return Err(AppendError::Full);
        }
        state.waiting.push_back(queued);
        drop(state);
        // Costs one atomic read unless the owner sleeps.
        self.woken.notify_all();
        Ok(())
    }

    pub(super) fn waiting(&self) -> usize {
        self.state.lock().waiting.len()
    }

    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.woken.notify_all();
    }

    /// Makes the owner of this generation the only one that may poll.
    pub(super) fn fence(&self, generation: u64) {
        self.state.lock().generation = generation;
        self.woken.notify_all();
    }

    /// Puts commands that this generation or an earlier one polled and did not commit back to the front, in their
    /// order.
    pub(super) fn take_back(&self, generation: u64) {
        let mut state = self.state.lock();
        if state.generation == generation {
            state.take_back();
        }
    }

    /// Drops the first `count` polled commands, because they are part of the log now. An owner that did not know that
    /// may have put them back into the queue already.
    pub(super) fn committed(&self, count: usize) {
        let mut state = self.state.lock();
        let polled = count.min(state.polled.len());
        state.polled.drain(..polled);
        let came_back = count.saturating_sub(polled).min(state.waiting.len());
        state.waiting.drain(..came_back);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state.lock().closed
    }

    /// See [`super::super::OwnedPartition::poll`]; `next` is the offset of the next record, moved on by those added.
    pub(super) fn poll(
        &self,
        generation: u64,
        next: &mut u64,
        batch: &mut Vec<StoredCommand>,
        wait: Duration,
    ) -> Result<Polled, LogError> {
        let mut state = self.state.lock();
        let idle = |state: &State| state.generation == generation && state.waiting.is_empty() && !state.closed;
        if !wait.is_zero() && idle(&state) {
            self.woken.wait_while_for(&mut state, |state| idle(state), wait);
        }
        if state.generation != generation {
            return Err(LogError::superseded("the partition has another owner in this process"));
        }
        if state.polled.len() >= QUEUED_COMMANDS_MAX {
            return Err(LogError::internal(format!("{} commands were polled without a commit", state.polled.len())));
        }
        let (mut records, mut total) = (0usize, 0usize);
        while let Some(command) = state.waiting.front() {
            total = total.saturating_add(command.bytes.len());
            if records > 0 && (records >= TURN_RECORDS_MAX || total > TURN_BYTES_MAX) {
                break;
            }
            records = records.saturating_add(1);
            let QueuedCommand { bytes, trace } = command.clone();
            batch.push(StoredCommand { offset: *next, skipped: 0, bytes, trace });
            *next = next.saturating_add(1);
            let command = state.waiting.pop_front();
            state.polled.extend(command);
        }
        match records {
            0 if state.closed => Ok(Polled::Closed),
            0 => Ok(Polled::Idle),
            _ => Ok(Polled::Records),
        }
    }
}
