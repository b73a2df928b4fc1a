//! A producer of turns, crash-only: an instance lives for clean commits alone. Whoever sees anything else drops it and
//! claims again, because the epoch that a new instance draws is what keeps a late request of the old one from ending a
//! transaction of the new one. A commit that succeeded and was slow costs its instance as well, and not the partition
//! (see [`super::owned`]).
//!
//! All delivery reports are in before a commit is asked for. The client's own flush would wait for them in steps of
//! 100 ms.

use crate::domain::{Micros, PoolId};
use crate::log::kafka::client::classify::{self, Meaning, failed};
use crate::log::kafka::client::context::ClientLog;
use crate::log::kafka::client::reader::number;
use crate::log::kafka::client::settings::{COMMIT_SUSPECT, Cluster, TRANSACTION_LIMIT};
use crate::log::{CommitOutcome, LogError};
use crate::time::{Stamp, Stopwatch, pause};
use parking_lot::Mutex;
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Message, OwnedHeaders, Timestamp};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use std::time::Duration;

/// Between two looks at what is still on its way: the client's own wait lasts as long as it was told to, whatever comes.
const DRAIN_LOOK: Duration = Duration::from_micros(300);

/// What the delivery reports of one transaction said.
#[derive(Default)]
struct Delivered {
    first_after: Option<Duration>,
    /// Of the first record, and of the last.
    offsets: Option<(i64, i64)>,
    error: Option<KafkaError>,
    /// What the broker's clock showed when it wrote the last record.
    stamp: Option<Stamp>,
    since: Option<Stopwatch>,
}

/// Collects delivery reports.
type Reports = ClientLog<Mutex<Delivered>>;

impl ProducerContext for Reports {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let mut delivered = self.0.lock();
        match result {
            Ok(message) => {
                let first = delivered.offsets.map_or(message.offset(), |(first, _)| first);
                delivered.offsets = Some((first, message.offset()));
                if delivered.first_after.is_none() {
                    delivered.first_after = delivered.since.as_ref().map(Stopwatch::elapsed);
                }
                if let Some(since) = delivered.since {
                    delivered.stamp = stamp(message, since).or(delivered.stamp);
                }
            }
            Err((error, _)) => {
                delivered.error.get_or_insert_with(|| error.clone());
            }
        }
    }
}

/// What the broker's clock showed when it appended the message, which was after `since`. Nothing of a topic whose records
/// are stamped by whoever writes them.
pub(in crate::log::kafka) fn stamp(message: &impl Message, since: Stopwatch) -> Option<Stamp> {
    let Timestamp::LogAppendTime(ms) = message.timestamp() else { return None };
    let shown = Micros(u64::try_from(ms).ok()?.checked_mul(1_000)?);
    Some(Stamp::new(shown, since))
}

/// A committed transaction.
pub(in crate::log::kafka) struct Committed {
    /// The offset of its first record.
    pub(super) first_offset: i64,
    /// The offset of its last record.
    pub(super) last_offset: i64,
    /// From its begin to its first delivery.
    pub(super) first_delivery: Duration,
    /// What the broker's clock showed.
    pub(in crate::log::kafka) stamp: Option<Stamp>,
    /// The commit alone, with all records delivered.
    pub(in crate::log::kafka) commit: Duration,
}

impl Committed {
    /// Whether the commit may have been sent twice, so that a second one, late, could end a later transaction of the same
    /// instance: it must not begin one.
    pub(super) fn is_suspect(&self) -> bool {
        self.commit >= COMMIT_SUSPECT
    }
}

/// A transaction that did not come to a clean end: the instance is to be dropped.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::log::kafka) struct Failed {
    pub(super) outcome: CommitOutcome,
    pub(in crate::log::kafka) why: LogError,
}

/// One record of a transaction.
pub(super) struct TxnRecord {
    pub(in crate::log::kafka) headers: OwnedHeaders,
    /// Its key.
    pub(super) pool: Option<PoolId>,
    /// `None` is a fence.
    pub(in crate::log::kafka) bytes: Option<Vec<u8>>,
}

/// See the module.
pub(super) struct TransactionalProducer {
    producer: BaseProducer<Reports>,
    topic: String,
    partition: u32,
}

impl TransactionalProducer {
    /// A producer of one partition's turns, connected and not yet its owner: preparing it fences nobody.
    pub(in crate::log::kafka) fn prepare(
        cluster: &Cluster,
        log_id: u128,
        partition: u32,
        slot: u8,
    ) -> Result<TransactionalProducer, LogError> {
        let producer = cluster.transactional(log_id, partition, slot).create_with_context(Reports::default());
        let producer: BaseProducer<Reports> = producer.map_err(|error| failed("a producer of turns", &error))?;
        let turns = TransactionalProducer { producer, topic: cluster.topics.events.clone(), partition };
        // The client asks for its coordinator every 500 ms, and a connection that it only boots from does not count.
        let asked = turns.producer.client().fetch_watermarks(&turns.topic, number(partition), TRANSACTION_LIMIT);
        asked.map_err(|error| failed("connecting a producer of turns", &error))?;
        Ok(turns)
    }

    /// Fences every other instance, and waits until whatever they left open is decided; at most `limit`. Answers
    /// whether it did; if not, drop it and try another.
    pub(in crate::log::kafka) fn fence(&self, limit: Duration) -> Result<bool, LogError> {
        match self.producer.init_transactions(limit) {
            Ok(()) => Ok(true),
            Err(error) => match classify::of(&error) {
                Meaning::Transient | Meaning::Fenced => Ok(false),
                Meaning::OutOfRange | Meaning::Operator | Meaning::Dead => Err(failed("fencing", &error)),
            },
        }
    }

    /// Writes these in one transaction. `is_ours` is told where the first and the last of them lie before anything of it is
    /// committed; when it says no, nothing ever is.
    pub(in crate::log::kafka) fn write(
        &self,
        lines: impl Iterator<Item = TxnRecord>,
        is_ours: impl FnOnce(i64, i64) -> Result<bool, LogError>,
    ) -> Result<Committed, Failed> {
        *self.producer.context().0.lock() = Delivered { since: Some(Stopwatch::start()), ..Delivered::default() };
        self.producer.begin_transaction().map_err(|error| self.failed("beginning a turn", &error))?;
        for line in lines {
            self.send(&line)?;
        }
        self.drain()?;
        let (first_offset, last_offset) = self.producer.context().0.lock().offsets.unwrap_or_default();
        match is_ours(first_offset, last_offset) {
            Ok(true) => {}
            Ok(false) => {
                let why = LogError::new(format!("another owner has taken {}/{}", self.topic, self.partition));
                return Err(Failed { outcome: CommitOutcome::Fenced, why });
            }
            Err(why) => return Err(Failed { outcome: CommitOutcome::Unknown, why }),
        }
        let committing = Stopwatch::start();
        // After the limit the client is in doubt and may still send it. So is its owner, which drops this instance: the
        // next claim's fence comes before or after whatever was sent, and what is there is read behind it.
        let committed = self.producer.commit_transaction(TRANSACTION_LIMIT);
        committed.map_err(|error| self.failed("committing a turn", &error))?;
        let commit = committing.elapsed();
        let Delivered { first_after, stamp, .. } = std::mem::take(&mut *self.producer.context().0.lock());
        let first_delivery = first_after.unwrap_or_default();
        Ok(Committed { first_offset, last_offset, first_delivery, stamp, commit })
    }

    fn send(&self, line: &TxnRecord) -> Result<(), Failed> {
        let mut record: BaseRecord<'_, [u8], [u8]> =
            BaseRecord::to(&self.topic).partition(number(self.partition)).headers(line.headers.clone());
        if let Some(pool) = &line.pool {
            record = record.key(pool.as_str().as_bytes());
        }
        if let Some(bytes) = &line.bytes {
            record = record.payload(bytes);
        }
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((error, refused)) if classify::is_queue_full(&error) => {
                    record = refused;
                    self.producer.poll(Duration::ZERO);
                    pause(DRAIN_LOOK);
                }
                Err((error, _)) => return Err(self.failed("writing a turn", &error)),
            }
        }
    }

    /// Returns when every record is delivered.
    fn drain(&self) -> Result<(), Failed> {
        let draining = Stopwatch::start();
        loop {
            self.producer.poll(Duration::ZERO);
            if let Some(error) = &self.producer.context().0.lock().error {
                return Err(self.failed("writing a turn", error));
            }
            if self.producer.in_flight_count() == 0 {
                return Ok(());
            }
            if draining.elapsed() > TRANSACTION_LIMIT {
                let why = LogError::new("writing a turn: its records were not delivered in time");
                return Err(Failed { outcome: CommitOutcome::Unknown, why });
            }
            pause(DRAIN_LOOK);
        }
    }

    /// A call often fails because of something that the client holds as its fatal error.
    fn failed(&self, doing: &str, error: &KafkaError) -> Failed {
        let mut outcome = classify::of_commit(error);
        if let Some((code, _)) = self.producer.client().fatal_error()
            && classify::of_code(code) == Meaning::Fenced
        {
            outcome = CommitOutcome::Fenced;
        }
        Failed { outcome, why: failed(doing, error) }
    }
}
