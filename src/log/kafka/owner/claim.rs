//! Claiming a partition: fence the earlier owners, write a fence record, and read the log up to it.
//!
//! `init_transactions` returns when every transaction of earlier owners has ended and has its marker. From then on the
//! coordinator refuses their requests. The partition's leader learns of that with the next record of the same producer:
//! until then a delayed record of an earlier owner may still be appended, where the cluster does not verify transactions,
//! and the next transaction of that producer would commit it. So the claim writes a record of its own, a fence, through each
//! of the two producers, and reads the log up to both: then it has read all that earlier owners will ever have written.
//! The end of the partition proves nothing of the kind, because its leader may have changed.

use super::open_transaction::OpenTransaction;
use super::owned::Owned;
use super::producer::{ProducerId, TransactionalProducer, TxnRecord};
use super::standby::Prepared;
use super::taken::{NextPosition, OwnerId, Taken};
use crate::log::kafka::Kafka;
use crate::log::kafka::client::reader::{Reader, TopicPartition};
use crate::log::kafka::client::settings::TRANSACTION_LIMIT;
use crate::log::kafka::data::context::LogContext;
use crate::log::kafka::data::events;
use crate::log::kafka::data::record::{self, Decided, EventRecord, Fence};
use crate::log::kafka::inner::Inner;
use crate::log::{ClaimError, FeatureLevel, Fold, LogError, LogErrorKind, PartitionLog};
use crate::time::Stopwatch;
use rdkafka::message::Message;
use std::sync::Arc;
use std::time::Duration;

/// How long the first `init_transactions` may take. When an earlier owner left a transaction open, the library tries again
/// after 500 ms only, and a new instance tries at once. So the claim continues with a new instance and twice the limit.
const FENCE_LIMIT: Duration = Duration::from_millis(200);
/// How often a claim writes its fences again when another program writes between them.
const MARKS_MAX: u32 = 8;
/// Longest wait for a message while the log is read up to the fence.
const READ_LIMIT: Duration = Duration::from_secs(10);

impl PartitionLog for Kafka {
    type Owned = Owned;

    fn claim(&self, partition: u32, from_seq: u64, fold: &mut Fold<'_>) -> Result<Owned, ClaimError> {
        let inner = &self.inner;
        let taken = inner.take(partition, from_seq, fold)?;
        let reader = inner.seek_commands(partition, taken.next.decided, taken.reader)?;
        Ok(inner.owned(Taken { reader, ..taken }))
    }

    fn level(&self) -> FeatureLevel {
        self.inner.context.level.clone()
    }
}

/// The fences of one claim.
#[derive(Clone, Copy)]
struct Fences {
    nonce: u128,
    /// One through each producer.
    count: usize,
    /// The offset after the last of them and its marker.
    end: i64,
}

impl Inner {
    /// Fences every earlier owner, and folds every event from `from_seq` on.
    pub(super) fn take(
        self: &Arc<Self>,
        partition: u32,
        from_seq: u64,
        fold: &mut Fold<'_>,
    ) -> Result<Taken, ClaimError> {
        let inner = self;
        let context = &inner.context;
        context.check(partition)?;
        inner.events.check_begins(partition)?;
        let owner = OwnerId { partition, generation: context.progress_of(partition).claim() };
        let prepared = inner
            .standby
            .take(partition)
            .map_or_else(|| Prepared::make(&context.cluster, context.manifest.log_id, partition), Ok)?;
        let Prepared { producers, reader } = prepared;
        let mut producers = at_once(producers, |slot, producer| inner.fence(partition, slot, producer))?;
        let fences = inner.mark(partition, &mut producers)?;
        let next = inner.replay(partition, from_seq, fences, &reader, fold)?;
        Ok(Taken { owner, producers, reader, next, end: fences.end })
    }

    /// Makes the owner of a partition that was taken.
    pub(super) fn owned(self: &Arc<Self>, mut taken: Taken) -> Owned {
        let inner = self;
        let used = usize::from(inner.context.cluster.alternating()).min(taken.producers.len());
        for unused in taken.producers.split_off(used) {
            inner.standby.close(unused);
        }
        let partition = taken.owner.partition;
        inner.standby.prepare(partition);
        let progress = inner.context.progress_of(partition);
        progress.wrote(taken.end);
        progress.taken(taken.next.decided.next_input);
        Owned::new(Arc::clone(inner), taken)
    }

    fn fence(
        &self,
        partition: u32,
        slot: u8,
        mut producer: TransactionalProducer,
    ) -> Result<TransactionalProducer, LogError> {
        let fencing = Stopwatch::start();
        let mut limit = FENCE_LIMIT;
        loop {
            if producer.fence(limit)? {
                return Ok(producer);
            }
            if fencing.elapsed() >= TRANSACTION_LIMIT {
                let left_ms = TRANSACTION_LIMIT.as_millis();
                return Err(LogError::transient(format!("partition {partition} was not fenced within {left_ms} ms")));
            }
            limit = limit.saturating_mul(2);
            producer = self.prepare(partition, slot)?;
        }
    }

    /// Replaces one of the partition's producers by a new instance, which fences the old one. That does not prove who owns
    /// the partition: what it writes counts only if no other owner has written before it.
    pub(super) fn renewed(&self, partition: u32, slot: u8) -> Result<TransactionalProducer, LogError> {
        let prepared = self.standby.take_one(partition, slot);
        let producer = prepared.map_or_else(|| self.prepare(partition, slot), Ok)?;
        self.standby.prepare(partition);
        self.fence(partition, slot, producer)
    }

    fn prepare(&self, partition: u32, slot: u8) -> Result<TransactionalProducer, LogError> {
        let id = ProducerId { log_id: self.context.manifest.log_id, partition, slot };
        TransactionalProducer::prepare(&self.context.cluster, id)
    }

    /// Writes a fence through each producer.
    fn mark(&self, partition: u32, producers: &mut Vec<TransactionalProducer>) -> Result<Fences, LogError> {
        for _ in 0..MARKS_MAX {
            let fence = Fence { nonce: (self.draw)(), log_id: self.context.manifest.log_id };
            let marked =
                at_once(std::mem::take(producers), |slot, producer| self.mark_with(partition, slot, producer, fence))?;
            let mut offsets = Vec::new();
            for (producer, offset) in marked {
                producers.push(producer);
                offsets.push(offset);
            }
            let (first, last) = (offsets.iter().min(), offsets.iter().max());
            // Each is one record and its marker, which may come a little later than the next record.
            let length = i64::try_from(producers.len()).unwrap_or(i64::MAX).saturating_mul(2);
            let end = first.copied().unwrap_or_default().saturating_add(length);
            if last.copied().unwrap_or_default() < end.saturating_sub(1) {
                return Ok(Fences { nonce: fence.nonce, count: producers.len(), end });
            }
            tracing::warn!(partition, "another program writes to the partition's events while it is claimed");
        }
        let at = self.context.events(partition);
        Err(LogError::transient(format!("another program writes to {at} all the time, so that it cannot be claimed")))
    }

    /// Writes a fence through one producer. Returns the fence's offset, and the producer: a new one if the commit was slow.
    fn mark_with(
        &self,
        partition: u32,
        slot: u8,
        producer: TransactionalProducer,
        fence: Fence,
    ) -> Result<(TransactionalProducer, i64), LogError> {
        let record = TxnRecord { headers: record::fence(fence), pool: None, bytes: None };
        let committed = producer.write(std::iter::once(record), |_| Ok(true)).map_err(|failed| failed.why)?;
        self.context.paces.stamped(partition, committed.stamp);
        if !committed.is_suspect() {
            return Ok((producer, committed.offsets.first));
        }
        self.standby.close(producer);
        Ok((self.renewed(partition, slot)?, committed.offsets.first))
    }

    /// Folds every event from `from_seq` up to the last of our fences.
    fn replay(
        &self,
        partition: u32,
        from_seq: u64,
        fences: Fences,
        reader: &Reader,
        fold: &mut Fold<'_>,
    ) -> Result<NextPosition, ClaimError> {
        let (context, at) = (&self.context, self.context.events(partition));
        // Reading begins at the event before, if the partition still has it: it shows what the next input is when no other
        // event follows.
        let from = self.events.locate(partition, from_seq.saturating_sub(1))?;
        reader.assign(at, from)?;
        let (mut last, mut met) = (Decided::default(), 0);
        let mut course = context.course(partition);
        let read = reader.each(at, fences.end, READ_LIMIT, |message| {
            let found = record::found_awaited(message, &context.framing);
            let is_begun = course.next().is_some();
            course.take(&found).map_err(ClaimError::Breach)?;
            match found {
                EventRecord::Unread(why) => return Err(why.at(at, message.offset()).into()),
                EventRecord::Event(event, _) if !is_begun && event.seq > from_seq => {
                    return Err(events::removed(at, from_seq, event.seq).into());
                }
                EventRecord::Event(event, decided) => {
                    let seq = event.seq;
                    let progress = context.progress_of(partition);
                    progress.read_in_order(seq);
                    progress.mark(seq, message.offset());
                    last = decided;
                    if seq >= from_seq {
                        last.next_input = fold(event).map_err(ClaimError::Breach)?;
                        last.check = if last == decided { decided.check } else { 0 };
                    }
                }
                EventRecord::Fence(fence) => met += usize::from(fence.nonce == fences.nonce),
                EventRecord::Foreign => {}
            }
            Ok::<_, ClaimError>(met < fences.count)
        });
        read.map_err(|error| told(context, at, error))?;
        let seq = course.next().unwrap_or_default();
        if seq < from_seq {
            let why = format!("{at} ends before seq {from_seq}, at {seq}");
            return Err(ClaimError::Log(LogError::out_of_range(why)));
        }
        Ok(NextPosition { seq, decided: last })
    }
}

/// The error of a read of events that did not come. Where a transaction of somebody else hides them, it is not the cluster that
/// does not answer.
fn told(context: &LogContext, at: TopicPartition<'_>, error: ClaimError) -> ClaimError {
    if !matches!(&error, ClaimError::Log(error) if error.kind == LogErrorKind::Transient) {
        return error;
    }
    OpenTransaction::now(context, at).map_or(error, |open| LogError::transient(open.to_string()).into())
}

/// Does `work` with each of a partition's producers at the same time, because each of them waits for the cluster.
fn at_once<T: Send>(
    producers: Vec<TransactionalProducer>,
    work: impl Fn(u8, TransactionalProducer) -> Result<T, LogError> + Sync,
) -> Result<Vec<T>, LogError> {
    let work = &work;
    std::thread::scope(|scope| {
        let working: Vec<_> = (0..).zip(producers).map(|(slot, one)| scope.spawn(move || work(slot, one))).collect();
        let lost = |_| LogError::internal("a thread of a claim panicked");
        working.into_iter().map(|thread| thread.join().map_err(lost).flatten()).collect()
    })
}
