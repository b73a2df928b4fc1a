//! Who owns what, where each partition ends, and the group commit: turns of several partitions become durable in one
//! transaction of the file, so that they share one flush to the disk. There is no thread for it: the first to come
//! commits what is there, those who come meanwhile wait and are committed together by one of them. No retries: after a
//! fault nothing is known before the file was opened again.

use super::super::{CommitOutcome, LogError, Turn};
use super::error::Fault;
use super::file::{COMMANDS, EVENTS, HEADS, Head, LogFile};
use super::intake::Intake;
use super::row::{Kind, NewRow, RowKey, lay_out};
use parking_lot::{Condvar, Mutex, MutexGuard};
use redb::Database;
use std::collections::BTreeMap;
use std::path::Path;

/// A turn on its way into the file.
struct Ticket {
    id: u64,
    partition: u32,
    generation: u64,
    head: Head,
    inputs: usize,
    events: Vec<NewRow>,
    commands: Vec<NewRow>,
}

#[derive(Clone, Copy, Default)]
struct Partition {
    /// How many owners it has had in this process. Only the last may commit.
    generation: u64,
    head: Head,
    /// Whether a turn of it is being written.
    in_flight: bool,
}

struct State {
    partitions: Vec<Partition>,
    queue: Vec<Ticket>,
    concluded: BTreeMap<u64, CommitOutcome>,
    next_ticket: u64,
    /// Whether someone writes. Whoever does not, waits.
    writing: bool,
    failed: Option<LogError>,
    /// Why it takes no turn although it can be read.
    read_only: Option<LogError>,
}

/// All partitions' ends and the one place where they move.
pub(super) struct Committer {
    state: Mutex<State>,
    moved: Condvar,
}

/// What a turn came to before anything was written.
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

    /// Where the partition ends: what was committed before this call is before it.
    pub(super) fn head(&self, partition: u32) -> Result<Head, LogError> {
        let state = self.state.lock();
        state.failure()?;
        Ok(state.partition(partition)?.head)
    }

    /// Makes the caller the partition's only owner. `fenced` is told its generation while the earlier owner can still
    /// be in the middle of a commit; when this returns, that commit has been concluded.
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

    /// Gives the file up: from now on nothing is known of what it holds.
    pub(super) fn fail(&self, error: LogError) -> LogError {
        self.state.lock().failed.get_or_insert(error).clone()
    }

    /// Why the file takes no turn, if that is so.
    pub(super) fn failure(&self) -> Option<LogError> {
        let state = self.state.lock();
        state.failed.clone().or_else(|| state.read_only.clone())
    }

    /// The file takes no turn for this reason, if there is one, and can be read.
    pub(super) fn set_read_only(&self, why: Option<LogError>) {
        self.state.lock().read_only = why;
    }

    /// The file was opened again, and ends here: what became of the turns that were being written is known. Commands that
    /// turned out to be decided do not wait any more.
    ///
    /// # Errors
    /// [`LogError`] when it holds less than was known to be committed: nothing changes.
    pub(super) fn reopened(
        &self,
        path: &Path,
        heads: &[Head],
        intakes: &[Intake],
        read_only: Option<LogError>,
    ) -> Result<(), LogError> {
        let mut state = self.state.lock();
        self.moved.wait_while(&mut state, |state| state.writing);
        for (partition, (known, head)) in state.partitions.iter().zip(heads).enumerate() {
            let Head { next_seq, next_input } = known.head;
            if head.next_seq < next_seq || head.next_input < next_input {
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
    /// When the turn does not go on where the log ends (L2, L3): writing it would break the log for good.
    pub(super) fn commit(&self, file: &LogFile, intakes: &[Intake], owner: (u32, u64), turn: &Turn) -> CommitOutcome {
        let (partition, generation) = owner;
        let events = turn.events.iter().map(|event| event.bytes.as_slice());
        let commands = turn.inputs.iter().map(|input| input.bytes.as_slice());
        let first_event = turn.events.first().map_or(0, |event| event.seq);
        let first_input = turn.inputs.first().map_or(0, |input| input.offset);
        // Before the lock: checksums take the longest of all that is not the disk.
        let events = lay_out(RowKey { kind: Kind::Events, partition, first: first_event }, events);
        let commands = lay_out(RowKey { kind: Kind::Commands, partition, first: first_input }, commands);

        let mut state = self.state.lock();
        let id = match state.enter(owner, turn) {
            Entry::Decided(outcome) => return outcome,
            Entry::Queued(id) => id,
        };
        let head = state.partition(partition).map(|p| p.head.after(turn)).unwrap_or_default();
        state.queue.push(Ticket { id, partition, generation, head, inputs: turn.inputs.len(), events, commands });
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

    /// Turns that wait for the one being written.
    #[cfg(test)]
    pub(super) fn queued(&self) -> usize {
        self.state.lock().queue.len()
    }

    /// How many owners the partition has had.
    #[cfg(test)]
    pub(super) fn generation(&self, partition: u32) -> u64 {
        self.state.lock().partition(partition).map_or(0, |p| p.generation)
    }

    /// Writes all that is queued, letting go of the lock while the disk works.
    fn lead(&self, file: &LogFile, intakes: &[Intake], state: &mut MutexGuard<'_, State>) {
        let batch = state.take_queue();
        let written = match batch.as_slice() {
            [] => Ok(()),
            batch => {
                state.writing = true;
                let written = MutexGuard::unlocked(state, || file.with(|db| write(db, batch)));
                state.writing = false;
                written
            }
        };
        // What is in another file than the log's is gone with this process: nobody is told yes for it.
        let written = written.map_err(|fault| fault.error(format_args!("writing {}", file.path.display())));
        let written = written.and_then(|()| if batch.is_empty() { Ok(()) } else { file.is_in_place() });
        if let Err(error) = &written {
            state.failed.get_or_insert_with(|| error.clone());
        }
        if written.is_ok() {
            // Before the next owner can look: what is committed must not go back to the queue.
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

    /// Everything queued by those who still own their partition; the others are told.
    fn take_queue(&mut self) -> Vec<Ticket> {
        let outcome = self.takes_nothing().then_some(CommitOutcome::Unknown);
        let queue = std::mem::take(&mut self.queue);
        let mut batch = Vec::with_capacity(queue.len());
        for ticket in queue {
            if !self.owns(ticket.partition, ticket.generation) {
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
                    // Its owner claims again: what it goes by may not be what is in the file.
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

fn write(db: &Database, batch: &[Ticket]) -> Result<(), Fault> {
    // Flushed to the disk before commit returns: redb's default durability.
    let txn = db.begin_write()?;
    {
        let mut events = txn.open_table(EVENTS)?;
        let mut commands = txn.open_table(COMMANDS)?;
        let mut heads = txn.open_table(HEADS)?;
        for ticket in batch {
            for row in &ticket.events {
                events.insert((ticket.partition, row.first), row.value.as_slice())?;
            }
            for row in &ticket.commands {
                commands.insert((ticket.partition, row.first), row.value.as_slice())?;
            }
            heads.insert(ticket.partition, ticket.head.value(ticket.partition).as_slice())?;
        }
    }
    txn.commit()?;
    Ok(())
}
