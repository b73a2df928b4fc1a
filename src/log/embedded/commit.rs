//! The owners of partitions, the ends of partitions, and the group commit: turns of several partitions become durable
//! as one batch, so that they share one flush to the disk. It needs no thread: the first owner
//! commits its turn, the owners that come meanwhile wait, and one of them commits all their turns together. There are
//! no retries: after a fault the file has to be opened again before anything is known of it.

use super::super::{CommitOutcome, LogError, Turn};
use super::draft::{Draft, Pair};
use super::file::LogFile;
use super::frame::Head;
use super::intake::Intake;
use super::packed::Packer;
use crate::limits::TURN_BYTES_MAX;
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::collections::BTreeMap;
use std::path::Path;

/// Most bytes of turns that are written and flushed together; the first turn is always taken. All commands of a turn
/// and their events fit.
const BATCH_BYTES_MAX: usize = 4 * TURN_BYTES_MAX;

/// A turn on its way into the file.
struct Ticket {
    id: u64,
    partition: u32,
    generation: u64,
    head: Head,
    inputs: usize,
    draft: Draft,
}

#[derive(Clone, Copy, Default)]
struct Partition {
    /// The number of owners that it has had in this process. Only the last one may commit.
    generation: u64,
    head: Head,
    /// Whether a turn of this partition is being written.
    in_flight: bool,
}

struct State {
    partitions: Vec<Partition>,
    queue: Vec<Ticket>,
    concluded: BTreeMap<u64, CommitOutcome>,
    next_ticket: u64,
    /// Whether an owner is writing; all other owners wait.
    writing: bool,
    failed: Option<LogError>,
    /// Why the file accepts no turn although it can be read.
    read_only: Option<LogError>,
}

/// The ends of all partitions. Only this type changes them.
pub(super) struct Committer {
    state: Mutex<State>,
    moved: Condvar,
}

/// The outcome of a turn before anything was written.
enum Entry {
    Decided(CommitOutcome),
    Queued(u64),
}

impl Committer {
    pub(super) fn new(heads: &[Head]) -> Committer {
        let partitions = heads.iter().map(|head| Partition { head: *head, ..Partition::default() }).collect();
        let (queue, concluded) = (Vec::new(), BTreeMap::new());
        let state =
            State { partitions, queue, concluded, next_ticket: 0, writing: false, failed: None, read_only: None };
        Committer { state: Mutex::new(state), moved: Condvar::new() }
    }

    /// The end of the partition: everything that was committed before this call lies before it.
    pub(super) fn head(&self, partition: u32) -> Result<Head, LogError> {
        let state = self.state.lock();
        state.failure()?;
        Ok(state.partition(partition)?.head)
    }

    /// Makes the caller the partition's only owner. `fenced` is called with the new generation while the earlier owner
    /// may still be committing; when this returns, that commit has ended.
    pub(super) fn claim(&self, partition: u32, fenced: impl FnOnce(u64)) -> Result<(u64, Head), LogError> {
        let mut state = self.state.lock();
        state.failure()?;
        let generation = state.partition(partition)?.generation.saturating_add(1);
        state.partition_mut(partition)?.generation = generation;
        fenced(generation);
        self.moved.wait_while(&mut state, |state| state.partition(partition).is_ok_and(|p| p.in_flight));
        state.failure()?;
        Ok((generation, state.partition(partition)?.head))
    }

    /// Marks the file as failed: from now on its contents count as unknown.
    pub(super) fn fail(&self, error: LogError) -> LogError {
        self.state.lock().failed.get_or_insert(error).clone()
    }

    /// Why the file accepts no turn; `None` when it does.
    pub(super) fn failure(&self) -> Option<LogError> {
        let state = self.state.lock();
        state.failed.clone().or_else(|| state.read_only.clone())
    }

    /// Waits until no turn is being written. While the file accepts none, no further one begins.
    pub(super) fn rests(&self) {
        self.moved.wait_while(&mut self.state.lock(), |state| state.writing);
    }

    /// Sets the reason why the file can only be read; `None` when it accepts turns.
    pub(super) fn set_read_only(&self, why: Option<LogError>) {
        self.state.lock().read_only = why;
    }

    /// The ends of all partitions, as far as they are known to be committed.
    pub(super) fn committed(&self) -> Vec<Head> {
        self.state.lock().partitions.iter().map(|partition| partition.head).collect()
    }

    /// Takes over the ends of a log that was opened again. They show which of the interrupted turns were committed;
    /// the commands of those leave the queue.
    ///
    /// # Errors
    /// [`LogError`] when the file holds less than was known to be committed. Then nothing changes.
    pub(super) fn reopened(
        &self,
        path: &Path,
        heads: &[Head],
        intakes: &[Intake],
        read_only: Option<LogError>,
    ) -> Result<(), LogError> {
        let mut state = self.state.lock();
        for (partition, (known, head)) in state.partitions.iter().zip(heads).enumerate() {
            if !head.holds(known.head) {
                let path = path.display();
                let detail = format!("{path} has lost events of partition {partition}: it ends at {head:?}, not at ");
                return Err(LogError::out_of_range(detail + &format!("{:?}", known.head)));
            }
        }
        for (partition, (known, head)) in state.partitions.iter_mut().zip(heads).enumerate() {
            let decided = head.next_input.saturating_sub(known.head.next_input);
            let decided = usize::try_from(decided).unwrap_or(usize::MAX);
            intakes.get(partition).into_iter().for_each(|intake| intake.committed(decided));
            known.head = *head;
        }
        (state.failed, state.read_only) = (None, read_only);
        Ok(())
    }

    /// See [`super::super::OwnedPartition::commit`]; `owner` is a partition and a generation of it.
    ///
    /// # Panics
    /// When the turn does not start at the end of the log (L2, L3): writing it would break the log for good.
    pub(super) fn commit(
        &self,
        (file, intakes): (&LogFile, &[Intake]),
        owner: (u32, u64),
        packer: &mut Packer,
        turn: &Turn,
    ) -> CommitOutcome {
        let (partition, generation) = owner;
        // The end does not move before this turn is committed: only the owner commits.
        let first = self.state.lock().partition(partition).map(|p| p.head).unwrap_or_default();
        file.dictionary().iter().for_each(|dictionary| packer.packs_against(dictionary));
        // This runs without the lock, because checks take more time than anything else except the disk.
        let draft = Draft::of_turn(packer, partition, first, Pair::of(turn));

        let mut state = self.state.lock();
        let id = match state.enter(owner, turn) {
            Entry::Decided(outcome) => return outcome,
            Entry::Queued(id) => id,
        };
        let head = state.partition(partition).map(|p| p.head.after(turn)).unwrap_or_default();
        state.queue.push(Ticket { id, partition, generation, head, inputs: turn.inputs.len(), draft });
        loop {
            if let Some(outcome) = state.concluded.remove(&id) {
                return outcome;
            }
            if state.writing {
                self.moved.wait(&mut state);
            } else {
                self.lead(file, intakes, &mut state);
            }
        }
    }

    /// The number of turns that wait for the one being written.
    #[cfg(test)]
    pub(super) fn queued(&self) -> usize {
        self.state.lock().queue.len()
    }

    /// The number of owners that the partition has had.
    #[cfg(test)]
    pub(super) fn generation(&self, partition: u32) -> u64 {
        self.state.lock().partition(partition).map_or(0, |p| p.generation)
    }

    /// Writes all queued turns, and releases the lock while the disk works.
    fn lead(&self, file: &LogFile, intakes: &[Intake], state: &mut MutexGuard<'_, State>) {
        let mut batch = state.take_queue();
        let mut drafts: Vec<_> = batch.iter_mut().map(|ticket| std::mem::take(&mut ticket.draft)).collect();
        let written = if drafts.is_empty() {
            Ok(())
        } else {
            state.writing = true;
            let written = MutexGuard::unlocked(state, || file.with(|store| store.append(&mut drafts)));
            state.writing = false;
            written
        };
        // What was written to a file that is no longer the log's is lost when this process ends: it must not be
        // confirmed.
        let written = written.map_err(|fault| fault.error(format_args!("writing {}", file.path.display())));
        let written = written.and_then(|()| if batch.is_empty() { Ok(()) } else { file.is_in_place() });
        if let Err(error) = &written {
            state.failed.get_or_insert_with(|| error.clone());
        }
        if written.is_ok() {
            // This has to run before the next owner polls: committed commands must not go back to the queue.
            for ticket in &batch {
                intakes.get(ticket.partition as usize).into_iter().for_each(|intake| intake.committed(ticket.inputs));
            }
        }
        state.conclude(batch, written.is_ok());
        self.moved.notify_all();
    }
}

impl Head {
    fn after(self, turn: &Turn) -> Head {
        Head {
            next_seq: self.next_seq.saturating_add(turn.events.len() as u64),
            next_input: self.next_input.saturating_add(turn.inputs.len() as u64),
        }
    }
}

impl State {
    fn failure(&self) -> Result<(), LogError> {
        self.failed.clone().map_or(Ok(()), Err)
    }

    fn takes_nothing(&self) -> bool {
        self.failed.is_some() || self.read_only.is_some()
    }

    fn partition(&self, partition: u32) -> Result<&Partition, LogError> {
        self.partitions.get(partition as usize).ok_or_else(|| no_partition(partition, self.partitions.len()))
    }

    fn partition_mut(&mut self, partition: u32) -> Result<&mut Partition, LogError> {
        let count = self.partitions.len();
        self.partitions.get_mut(partition as usize).ok_or_else(|| no_partition(partition, count))
    }

    fn owns(&self, partition: u32, generation: u64) -> bool {
        self.partition(partition).is_ok_and(|p| p.generation == generation)
    }

    fn enter(&mut self, (partition, generation): (u32, u64), turn: &Turn) -> Entry {
        if self.takes_nothing() {
            return Entry::Decided(CommitOutcome::Unknown);
        }
        if !self.owns(partition, generation) {
            return Entry::Decided(CommitOutcome::Fenced);
        }
        let head = self.partition(partition).map(|p| p.head).unwrap_or_default();
        assert!(
            dense(head.next_seq, turn.events.iter().map(|event| event.seq))
                && dense(head.next_input, turn.inputs.iter().map(|input| input.offset)),
            "a turn of partition {partition} does not go on at {head:?}: it begins with event {:?} and input {:?}",
            turn.events.first().map(|event| event.seq),
            turn.inputs.first().map(|input| input.offset),
        );
        if turn.events.is_empty() && turn.inputs.is_empty() {
            return Entry::Decided(CommitOutcome::Ok);
        }
        let id = self.next_ticket;
        self.next_ticket = id.saturating_add(1);
        Entry::Queued(id)
    }

    /// The queued turns of owners that still own their partition, up to [`BATCH_BYTES_MAX`]. The other owners learn
    /// that they were fenced.
    fn take_queue(&mut self) -> Vec<Ticket> {
        let outcome = self.takes_nothing().then_some(CommitOutcome::Unknown);
        let queue = std::mem::take(&mut self.queue);
        let (mut batch, mut bytes) = (Vec::with_capacity(queue.len()), 0usize);
        for ticket in queue {
            bytes = bytes.saturating_add(ticket.draft.length());
            if bytes > BATCH_BYTES_MAX && !batch.is_empty() {
                self.queue.push(ticket);
            } else if !self.owns(ticket.partition, ticket.generation) {
                self.concluded.insert(ticket.id, CommitOutcome::Fenced);
            } else if let Some(outcome) = outcome {
                self.concluded.insert(ticket.id, outcome);
            } else {
                if let Ok(partition) = self.partition_mut(ticket.partition) {
                    partition.in_flight = true;
                }
                batch.push(ticket);
            }
        }
        batch
    }

    fn conclude(&mut self, batch: Vec<Ticket>, written: bool) {
        let outcome = if written { CommitOutcome::Ok } else { CommitOutcome::Unknown };
        for ticket in batch {
            if let Ok(partition) = self.partition_mut(ticket.partition) {
                partition.in_flight = false;
                if written {
                    partition.head = ticket.head;
                } else {
                    // Its owner has to claim again: its state may differ from the file.
                    partition.generation = partition.generation.saturating_add(1);
                }
            }
            self.concluded.insert(ticket.id, outcome);
        }
    }
}

fn dense(from: u64, places: impl Iterator<Item = u64>) -> bool {
    (from..).zip(places).all(|(expected, place)| expected == place)
}

fn no_partition(partition: u32, count: usize) -> LogError {
    LogError::no_partition(partition, u32::try_from(count).unwrap_or(u32::MAX))
}
