//! A partition that this process owns: it reads commands from the offset that the log names, and commits turns through
//! producers whose earlier instances are fenced.
//!
//! An owner knows every offset of its events since its claim: those of its records, and one marker behind each turn, which
//! may be written a little later than the records of the next turn. When the records of a turn lie further on than that, it
//! reads what others have written between them before it commits. Behind another owner's fence it commits nothing (see
//! [`super::between`]).
//!
//! A commit that succeeded but was slow may have been sent twice, and its second copy could end a later transaction of the
//! same instance. So that instance is replaced before its next turn. The new instance fences the old one, and also that of a
//! next owner if there is one. In that case the turn lies behind the next owner's fence, and is not committed.

use super::between::Between;
use super::open_transaction::{OpenTransaction, Watch};
use super::pacer::Pacer;
use super::producer::{TransactionalProducer, TxnRecord};
use super::read_ahead::ReadAhead;
use super::taken::{NextPosition, OwnerId, Taken};
use crate::limits::{TURN_BYTES_MAX, TURN_RECORDS_MAX};
use crate::log::kafka::client::reader::{Next, Reader, offset_of};
use crate::log::kafka::data::context::LogContext;
use crate::log::kafka::data::progress::Progress;
use crate::log::kafka::data::record::{self, Decided};
use crate::log::kafka::inner::Inner;
use crate::log::{CommitOutcome, LogError, OwnedPartition, Polled, StopWhen, StoredCommand, Turn, TurnEvent};
use crate::time::{Stamp, Stopwatch, pause};
use rdkafka::message::Message;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// Longest single wait for a command. After it an owner sees that it is to stop, or that this process has claimed again.
const LOOK: Duration = Duration::from_millis(20);

/// Time between two looks at whether another owner has written, while this one is to step down when it is fenced. An owner
/// that commits a turn learns of it by that.
const YIELD_LOOK: Duration = Duration::from_millis(100);
/// Longest wait for the answer to such a look.
const YIELD_LIMIT: Duration = Duration::from_millis(500);

/// The owner of a partition, for one thread.
pub struct Owned {
    inner: Arc<Inner>,
    id: OwnerId,
    /// One for each slot. They are used in turn.
    producers: Vec<TransactionalProducer>,
    /// Which of them may not begin another transaction, because their last commit was slow.
    is_suspect: Vec<bool>,
    /// The slot of the next turn.
    slot: usize,
    reader: Reader,
    next_seq: u64,
    /// The offset after this owner's last record and all of its markers, once those are written.
    end: i64,
    /// How far commands are decided.
    decided: Decided,
    /// Checks of the commands polled and not decided, by offset.
    checks: VecDeque<(u64, u64)>,
    /// The offset after the last command polled.
    next_offset: u64,
    /// A command that was fetched and not handed over.
    read_ahead: Option<ReadAhead>,
    pacer: Pacer,
    /// Time since the end of the last turn.
    rested: Option<Stopwatch>,
    /// Time since the last look at whether another owner has written.
    looked: Stopwatch,
    between: Between,
    /// Finds out why no command comes.
    watch: Watch,
    /// Why this owner must end, once it must.
    over: Option<LogError>,
}

impl Owned {
    pub(super) fn new(inner: Arc<Inner>, taken: Taken) -> Owned {
        let Taken { owner: id, producers, reader, next: NextPosition { seq: next_seq, decided }, end } = taken;
        Owned {
            inner,
            id,
            is_suspect: vec![false; producers.len()],
            producers,
            slot: 0,
            reader,
            next_seq,
            end,
            decided,
            checks: VecDeque::new(),
            next_offset: decided.next_input,
            read_ahead: None,
            pacer: Pacer::new(),
            rested: None,
            looked: Stopwatch::start(),
            between: Between::default(),
            watch: Watch::default(),
            over: None,
        }
    }

    fn progress(&self) -> &Progress {
        self.context().progress_of(self.id.partition)
    }

    fn context(&self) -> &LogContext {
        &self.inner.context
    }

    fn check(&self) -> Result<(), LogError> {
        if let Some(why) = &self.over {
            return Err(why.clone());
        }
        if self.progress().is_current(self.id.generation) {
            return Ok(());
        }
        Err(LogError::superseded(format!("partition {} has a newer owner in this process", self.id.partition)))
    }

    /// Reads the next command. Its `skipped` counts the offsets before it that hold no command: markers of other programs'
    /// transactions and their aborted records. Returns `None` while the next command cannot be read: it must not be decided,
    /// and no later one may overtake it.
    fn read(&mut self, wait: Duration) -> Result<Option<StoredCommand>, LogError> {
        let read_ahead = match self.read_ahead.take() {
            Some(read_ahead) => read_ahead.again(&self.context().framing),
            None => match self.reader.next(wait)? {
                Next::Message(message) => {
                    let value = message.payload().unwrap_or_default();
                    let read_ahead = ReadAhead::of(&message, &self.context().framing, self.context().manifest.log_id);
                    // The reader may have been assigned to the last command decided.
                    if read_ahead.offset() < self.next_offset {
                        return Ok(None);
                    }
                    self.checks.push_back((read_ahead.offset(), record::check_of(value)));
                    read_ahead
                }
                Next::End | Next::Nothing => return Ok(None),
            },
        };
        match read_ahead {
            ReadAhead::Read(record) => {
                Ok(Some(StoredCommand { skipped: record.offset.saturating_sub(self.next_offset), ..record }))
            }
            read_ahead @ ReadAhead::Unread { .. } => {
                if let Some(why) = read_ahead.why() {
                    let context = self.context();
                    context.framing.tell(why, context.commands(self.id.partition), read_ahead.offset());
                    context.framing.pause(why, wait);
                }
                self.read_ahead = Some(read_ahead);
                Ok(None)
            }
        }
    }

    /// Why the next command cannot be read; `None` when it can be, or when there is none.
    fn stuck(&self) -> Option<LogError> {
        let read_ahead = self.read_ahead.as_ref()?;
        let at = self.context().commands(self.id.partition);
        read_ahead.why().map(|why| why.at(at, offset_of(read_ahead.offset())))
    }

    /// Whether this owner is to stop now. One that is to stop after the remaining commands, and cannot read them, stops before
    /// them.
    fn is_over(&self) -> bool {
        let next = if self.stuck().is_some() { u64::MAX } else { self.next_offset };
        self.progress().is_over(next)
    }

    /// Whether this owner is to step down when it is fenced, and another owner has written since its last turn. Then it is to
    /// stop.
    fn is_succeeded(&mut self) -> bool {
        let context = &self.inner.context;
        let progress = context.progress_of(self.id.partition);
        let Some(written) = progress.written().filter(|_| progress.is_yielding()) else { return false };
        if self.looked.elapsed() < YIELD_LOOK {
            return false;
        }
        self.looked = Stopwatch::start();
        let bounds = self.reader.bounds_within(context.events(self.id.partition), YIELD_LIMIT);
        let is_succeeded = bounds.is_ok_and(|bounds| bounds.end > written);
        if is_succeeded {
            progress.stop(StopWhen::Now);
        }
        is_succeeded
    }

    /// Waits for the first command of a batch, for `wait` at most.
    fn first(&mut self, wait: Duration) -> Result<Option<StoredCommand>, LogError> {
        let waiting = Stopwatch::start();
        self.between.settle(&self.inner.context, self.id.partition)?;
        loop {
            self.check()?;
            if self.is_over() || self.is_succeeded() {
                return Ok(None);
            }
            let left = waiting.left_of(wait);
            match self.read(left.min(LOOK))? {
                Some(record) => {
                    if self.watch.came() {
                        self.context().paces.held_back(self.id.partition, 0);
                    }
                    return Ok(Some(record));
                }
                // A command that cannot be read yet has been logged already.
                None if self.read_ahead.is_some() => {}
                None => self.watch.look(&self.inner.context, self.id.partition, self.next_offset)?,
            }
            if left.is_zero() {
                return Ok(None);
            }
        }
    }

    /// Replaces the producer of the next turn, if it may not begin another transaction.
    fn renew(&mut self) -> Result<(), LogError> {
        if std::mem::take(&mut self.is_suspect[self.slot]) {
            let slot = u8::try_from(self.slot).unwrap_or(u8::MAX);
            let renewed = self.inner.renewed(self.id.partition, slot)?;
            let old = std::mem::replace(&mut self.producers[self.slot], renewed);
            self.inner.standby.close(old);
        }
        Ok(())
    }

    fn fits(records: usize, bytes: usize, record: &StoredCommand) -> bool {
        records == 0 || (records < TURN_RECORDS_MAX && bytes.saturating_add(record.bytes.len()) <= TURN_BYTES_MAX)
    }

    fn records<'t>(&'t self, turn: &'t Turn) -> impl Iterator<Item = TxnRecord> + 't {
        turn.decided().map(move |(TurnEvent { seq, key, bytes }, input)| {
            let decided = input.map_or(self.decided, |input| self.decided_with(input));
            let trace = input.and_then(|input| input.trace.as_ref());
            let headers = record::with_trace(record::place(*seq, decided, bytes), trace);
            let bytes = self.context().framing.outgoing(bytes.clone());
            TxnRecord { headers, pool: key.clone(), bytes: Some(bytes) }
        })
    }

    /// How far commands are decided after this one.
    fn decided_with(&self, input: &StoredCommand) -> Decided {
        let found = self.checks.binary_search_by_key(&input.offset, |(offset, _)| *offset).ok();
        let check = found.and_then(|at| self.checks.get(at)).map_or(0, |(_, check)| *check);
        Decided { next_input: input.offset.saturating_add(1), check }
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        self.context().paces.left(self.id.partition);
    }
}

impl OwnedPartition for Owned {
    fn poll(&mut self, batch: &mut Vec<StoredCommand>, wait: Duration) -> Result<Polled, LogError> {
        let Some(first) = self.first(wait)? else {
            return Ok(if self.is_over() { Polled::Closed } else { Polled::Idle });
        };
        if let Some(rested) = &self.rested {
            // More commands come meanwhile, so the turn grows.
            pause(rested.left_of(self.pacer.pause()));
        }
        let (mut records, mut bytes, mut next) = (0usize, 0usize, Some(first));
        while let Some(record) = next {
            if !Owned::fits(records, bytes, &record) {
                self.read_ahead = Some(ReadAhead::Read(record));
                break;
            }
            records = records.saturating_add(1);
            bytes = bytes.saturating_add(record.bytes.len());
            self.next_offset = record.offset.saturating_add(1);
            batch.push(record);
            next = self.read(Duration::ZERO)?;
        }
        self.progress().taken(self.next_offset);
        Ok(Polled::Records)
    }

    fn trouble(&self) -> Option<String> {
        let held_back = || self.watch.told().map(OpenTransaction::to_string);
        self.stuck().map(|why| why.to_string()).or_else(held_back)
    }

    fn stamp(&self) -> Option<Stamp> {
        self.context().paces.stamp(self.id.partition)
    }

    fn commit(&mut self, turn: Arc<Turn>) -> CommitOutcome {
        let (Some(first), Some(last)) = (turn.events.first(), turn.events.last()) else { return CommitOutcome::Ok };
        if self.over.is_some() || !self.progress().is_current(self.id.generation) {
            return CommitOutcome::Fenced;
        }
        assert_eq!(first.seq, self.next_seq, "a turn must go on where the log ends");
        let partition = self.id.partition;
        if let Err(why) = self.inner.dead_letters.write(partition, &turn) {
            tracing::warn!(partition, %why, "the dead letters of a turn cannot be written: claiming the partition again");
            self.over = Some(why);
            return CommitOutcome::Unknown;
        }
        if let Err(why) = self.renew() {
            tracing::info!(partition, %why, "a producer cannot be replaced: claiming the partition again");
            self.over = Some(why);
            return CommitOutcome::Unknown;
        }
        let rest = self.rested.as_ref().map(Stopwatch::elapsed);
        // Where our records end if nobody else has written.
        let records = i64::try_from(turn.events.len()).unwrap_or(i64::MAX);
        let end = self.end.saturating_add(records);
        let mut between = std::mem::take(&mut self.between);
        let (begin, seqs) = (self.end, first.seq..last.seq.saturating_add(1));
        // The markers of the last turns may not be there yet: there is one of each turn.
        let earliest = begin.saturating_sub(i64::try_from(self.producers.len()).unwrap_or(i64::MAX));
        let written = self.producers[self.slot].write(self.records(&turn), |offsets| {
            let context = &self.inner.context;
            if offsets.first < earliest {
                let at = context.events(partition);
                return Err(LogError::out_of_range(format!("{at} has lost its records before offset {earliest}")));
            }
            if offsets.last < end {
                return Ok(true);
            }
            between.is_ours(context, partition, offsets.with_others(begin), seqs)
        });
        self.between = between;
        let committed = match written {
            Ok(committed) => committed,
            Err(failed) => {
                tracing::info!(partition, why = %failed.why, "a turn was not committed");
                self.over = Some(failed.why);
                return failed.outcome;
            }
        };
        self.next_seq = last.seq.saturating_add(1);
        self.decided = turn.inputs.last().map_or(self.decided, |input| self.decided_with(input));
        while self.checks.front().is_some_and(|(offset, _)| *offset < self.decided.next_input) {
            self.checks.pop_front();
        }
        self.progress().mark(first.seq, committed.offsets.first);
        // The transaction has one marker, and the one before it may still be on its way.
        let last = committed.offsets.last.saturating_add(1);
        self.end = if last > end { last.saturating_add(2) } else { end.saturating_add(1) };
        self.progress().wrote(self.end);
        self.context().paces.stamped(partition, committed.stamp);
        let has_waited = self.pacer.turn(rest, committed.first_delivery);
        self.context().paces.turned(partition, committed.commit, has_waited, self.pacer.pause());
        if committed.is_suspect() {
            let took_ms = committed.commit.as_millis();
            tracing::warn!(partition, took_ms, "a slow commit may have been sent twice: its producer is replaced");
            self.is_suspect[self.slot] = true;
        }
        self.slot = (self.slot + 1) % self.producers.len();
        self.rested = Some(Stopwatch::start());
        CommitOutcome::Ok
    }
}
