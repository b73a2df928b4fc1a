//! Taking a partition: fence, mark, read up to the mark.
//!
//! `init_transactions` returns when every transaction of earlier owners is decided and marked, and its coordinator takes
//! nothing from them any more. The partition's leader learns of it by the next record of the same producer: until then a
//! record that was long on its way may still be let in where the cluster does not verify transactions, and would be
//! committed by the next transaction of that producer. So a record of our own, a fence, goes through each of the two
//! producers, and the log is read up to both: whoever has done so has read all that there will ever be of earlier owners.
//! Ends of files and watermarks prove nothing of the kind, for the leader may have changed.

use super::owned::Owned;
use super::producer::{TransactionalProducer, TxnRecord};
use super::standby::Prepared;
use crate::log::kafka::client::reader::Reader;
use crate::log::kafka::client::settings::TRANSACTION_LIMIT;
use crate::log::kafka::data::record::{self, Course, Decided, EventRecord, Fence};
use crate::log::kafka::{Inner, Kafka};
use crate::log::{ClaimError, Fold, LogError, PartitionLog};
use crate::time::Stopwatch;
use rdkafka::message::Message;
use std::sync::Arc;
use std::time::Duration;

/// How long the first fence may take. The client asks again only every 500 ms when an earlier owner left a transaction
/// open; a new instance asks at once. So it gets another, and twice the time.
const FENCE_LIMIT: Duration = Duration::from_millis(200);
/// How often a claim marks its place when somebody else writes between its marks.
const MARKS_MAX: u32 = 8;
/// Longest wait for a message while the log is read up to the fence.
const READ_LIMIT: Duration = Duration::from_secs(10);

impl PartitionLog for Kafka {
    type Owned = Owned;

    fn claim(&self, partition: u32, from_seq: u64, fold: &mut Fold<'_>) -> Result<Owned, ClaimError> {
        let inner = &self.inner;
        let taken = inner.take(partition, from_seq, fold)?;
        let reader = inner.seek_commands(partition, taken.next.1, taken.reader)?;
        Ok(inner.owned(partition, Taken { reader, ..taken }))
    }
}

/// A partition that was taken, before a reader stands at its next command.
pub(super) struct Taken {
    generation: u64,
    turns: Vec<TransactionalProducer>,
    pub(in crate::log::kafka) reader: Reader,
    /// The next sequence number, and how far commands were decided.
    pub(in crate::log::kafka) next: (u64, Decided),
    /// The end of the partition.
    end: i64,
}

impl Inner {
    /// Fences every earlier owner, and folds everything from `from_seq` on that they have written.
    pub(super) fn take(
        self: &Arc<Self>,
        partition: u32,
        from_seq: u64,
        fold: &mut Fold<'_>,
    ) -> Result<Taken, ClaimError> {
        let inner = self;
        inner.check(partition)?;
        let generation = inner.progress_of(partition).claim();
        let prepared = inner
            .stable
            .take(partition)
            .map_or_else(|| Prepared::make(&inner.cluster, inner.manifest.log_id, partition), Ok)?;
        let Prepared { turns, reader } = prepared;
        let mut turns = at_once(turns, |slot, turns| inner.fence(partition, slot, turns))?;
        let (nonce, end) = inner.mark(partition, &mut turns)?;
        let next = inner.replay(partition, from_seq, (nonce, turns.len()), &reader, fold)?;
        Ok(Taken { generation, turns, reader, next, end })
    }

    /// The owner of what was taken.
    pub(super) fn owned(self: &Arc<Self>, partition: u32, taken: Taken) -> Owned {
        let (inner, Taken { generation, mut turns, reader, next: (next_seq, decided), end }) = (self, taken);
        let unused = turns.split_off(usize::from(inner.cluster.alternating()).min(turns.len()));
        unused.into_iter().for_each(|turns| inner.stable.bury(turns));
        inner.stable.prepare(partition);
        let progress = inner.progress_of(partition);
        progress.wrote(end);
        progress.taken(decided.next_input);
        Owned::new(Arc::clone(inner), partition, generation, (turns, reader), (next_seq, decided, end))
    }

    fn fence(
        &self,
        partition: u32,
        slot: u8,
        mut turns: TransactionalProducer,
    ) -> Result<TransactionalProducer, LogError> {
        let fencing = Stopwatch::start();
        let mut limit = FENCE_LIMIT;
        loop {
            if turns.fence(limit)? {
                return Ok(turns);
            }
            if fencing.elapsed() >= TRANSACTION_LIMIT {
                let left_ms = TRANSACTION_LIMIT.as_millis();
                return Err(LogError::new(format!("partition {partition} was not fenced within {left_ms} ms")));
            }
            limit = limit.saturating_mul(2);
            turns = TransactionalProducer::prepare(&self.cluster, self.manifest.log_id, partition, slot)?;
        }
    }

    /// Another instance of one of the partition's producers, which fences the one before. That says nothing of who owns
    /// the partition: what is written with it counts only where nobody else has written before it.
    pub(super) fn renewed(&self, partition: u32, slot: u8) -> Result<TransactionalProducer, LogError> {
        let prepared = self.stable.take_one(partition, slot);
        let fresh = || TransactionalProducer::prepare(&self.cluster, self.manifest.log_id, partition, slot);
        let turns = prepared.map_or_else(fresh, Ok)?;
        self.stable.prepare(partition);
        self.fence(partition, slot, turns)
    }

    /// Writes a fence through each producer. Answers their number, and the end of the partition when all of them are
    /// marked.
    fn mark(&self, partition: u32, turns: &mut Vec<TransactionalProducer>) -> Result<(u128, i64), LogError> {
        for _ in 0..MARKS_MAX {
            let fence = Fence { nonce: (self.draw)(), log_id: self.manifest.log_id };
            let marked = at_once(std::mem::take(turns), |slot, turns| self.mark_with(partition, (slot, turns), fence))?;
            let places: Vec<i64> = marked.iter().map(|(_, place)| *place).collect();
            turns.extend(marked.into_iter().map(|(turns, _)| turns));
            let (first, last) = (places.iter().min(), places.iter().max());
            // Each is one record and its marker, which may come a little later than the next record.
            let length = i64::try_from(turns.len()).unwrap_or(i64::MAX).saturating_mul(2);
            let end = first.copied().unwrap_or_default().saturating_add(length);
            if last.copied().unwrap_or_default() < end.saturating_sub(1) {
                return Ok((fence.nonce, end));
            }
            tracing::warn!(partition, "somebody else writes to the partition's events while it is claimed");
        }
        let topic = &self.cluster.topics.events;
        Err(LogError::new(format!("somebody else writes to {topic}/{partition} all the time")))
    }

    /// Writes a fence through one of them, and answers where it lies. One whose commit was slow is replaced.
    fn mark_with(
        &self,
        partition: u32,
        (slot, turns): (u8, TransactionalProducer),
        fence: Fence,
    ) -> Result<(TransactionalProducer, i64), LogError> {
        let line = TxnRecord { headers: record::fence(fence), pool: None, bytes: None };
        let written = turns.write(std::iter::once(line), |_, _| Ok(true)).map_err(|failed| failed.why)?;
        self.paces.stamped(partition, written.stamp);
        if !written.is_suspect() {
            return Ok((turns, written.first_offset));
        }
        self.stable.bury(turns);
        Ok((self.renewed(partition, slot)?, written.first_offset))
    }

    /// Folds everything from `from_seq` up to the last of our fences. Answers the next sequence number, and how far commands
    /// were decided.
    fn replay(
        &self,
        partition: u32,
        from_seq: u64,
        (nonce, fences): (u128, usize),
        reader: &Reader,
        fold: &mut Fold<'_>,
    ) -> Result<(u64, Decided), ClaimError> {
        let topic = &self.cluster.topics.events;
        // From the event before, which tells that there is none missing and what the next input is.
        let from = self.locate(partition, from_seq.saturating_sub(1))?;
        reader.assign(topic, partition, from)?;
        let (mut next, mut met) = (Decided::default(), 0);
        let mut course = Course::of(self.manifest.log_id, partition);
        reader.each((topic, partition), READ_LIMIT, |message| {
            let found = record::found_awaited(message, &self.framing);
            course.take(&found).map_err(ClaimError::Breach)?;
            match found {
                EventRecord::Unread(why) => return Err(why.at(topic, partition, message.offset()).into()),
                EventRecord::Event(event, decided) => {
                    let seq = event.seq;
                    self.progress_of(partition).mark(seq, message.offset());
                    next = decided;
                    if seq >= from_seq {
                        next.next_input = fold(event).map_err(ClaimError::Breach)?;
                        next.check = if next == decided { decided.check } else { 0 };
                    }
                }
                EventRecord::Fence(fence) => met += usize::from(fence.nonce == nonce),
                EventRecord::Foreign => {}
            }
            Ok::<_, ClaimError>(met < fences)
        })?;
        let next_seq = course.next().unwrap_or_default();
        if next_seq < from_seq {
            let why = format!("{topic}/{partition} ends before seq {from_seq}, at {next_seq}");
            return Err(ClaimError::Log(LogError::new(why)));
        }
        Ok((next_seq, next))
    }
}

/// Does something with each of a partition's producers at the same time: each waits for the cluster, and a partition waits
/// for all of them.
fn at_once<T: Send>(
    turns: Vec<TransactionalProducer>,
    work: impl Fn(u8, TransactionalProducer) -> Result<T, LogError> + Sync,
) -> Result<Vec<T>, LogError> {
    let work = &work;
    std::thread::scope(|scope| {
        let working: Vec<_> = (0..).zip(turns).map(|(slot, turns)| scope.spawn(move || work(slot, turns))).collect();
        let lost = |_| LogError::new("a claim's thread ended before its work was done");
        working.into_iter().map(|thread| thread.join().map_err(lost).flatten()).collect()
    })
}
