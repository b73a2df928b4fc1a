//! A transactional producer that is used for clean commits only. After anything else the owner drops the instance and
//! claims the partition again: a new instance gets a new producer epoch, and only that keeps a late request of the old
//! instance from ending a transaction of the new one. A commit that succeeded but was slow costs the instance, and not the
//! partition (see [`super::owned`]).
//!
//! All delivery reports are in before the commit is requested. The library's own flush would wait for them in steps of
//! 100 ms.

use crate::domain::PoolId;
use crate::log::kafka::client::callbacks::ClientLog;
use crate::log::kafka::client::classify::{self, failed};
use crate::log::kafka::client::reader::number;
use crate::log::kafka::client::settings::{COMMIT_SUSPECT, Cluster, TRANSACTION_LIMIT};
use crate::log::kafka::data::record;
use crate::log::{CommitOutcome, LogError, LogErrorKind};
use crate::time::{Stamp, Stopwatch, pause};
use parking_lot::Mutex;
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use std::ops::Range;
use std::time::Duration;

/// Pause between two looks for delivery reports: the library's own wait does not end early when they come.
const DRAIN_LOOK: Duration = Duration::from_micros(300);

/// Names a transactional id: one of the producers of one partition of one log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ProducerId {
    pub(super) log_id: u128,
    pub(super) partition: u32,
    /// Its number among the partition's producers, below [`SLOTS`](crate::log::kafka::client::settings::SLOTS).
    pub(super) slot: u8,
}

/// The offsets of the first and the last record of a transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Written {
    pub(super) first: i64,
    pub(super) last: i64,
}

impl Written {
    /// The offsets in which others may have written, where all before `known` was known before these records were written, but
    /// for markers that were still to come. Such a marker may lie between the records: the first of them is before `known` then.
    pub(super) fn with_others(self, known: i64) -> Range<i64> {
        self.first.min(known)..self.last.saturating_add(1)
    }
}

/// What the delivery reports of one transaction said.
#[derive(Default)]
struct Delivered {
    /// From the begin of the transaction to the first report.
    first_after: Option<Duration>,
    offsets: Option<Written>,
    /// The first record that failed.
    error: Option<KafkaError>,
    /// What the broker's clock showed when it wrote the last record.
    stamp: Option<Stamp>,
    /// Time since the begin of the transaction.
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
                let last = message.offset();
                let first = delivered.offsets.map_or(last, |offsets| offsets.first);
                delivered.offsets = Some(Written { first, last });
                if delivered.first_after.is_none() {
                    delivered.first_after = delivered.since.as_ref().map(Stopwatch::elapsed);
                }
                if let Some(since) = delivered.since {
                    delivered.stamp = record::stamp(message, since).or(delivered.stamp);
                }
            }
            Err((error, _)) => {
                delivered.error.get_or_insert_with(|| error.clone());
            }
        }
    }
}

/// A committed transaction.
pub(super) struct Committed {
    pub(super) offsets: Written,
    /// From its begin to the first delivery report.
    pub(super) first_delivery: Duration,
    /// What the broker's clock showed when it wrote the last record.
    pub(super) stamp: Option<Stamp>,
    /// How long the commit took, without the delivery of the records.
    pub(super) commit: Duration,
}

impl Committed {
    /// Whether the commit may have been sent twice. The second copy, late, could end a later transaction of the same
    /// instance, so the instance must not begin another one.
    pub(super) fn is_suspect(&self) -> bool {
        self.commit >= COMMIT_SUSPECT
    }
}

/// A transaction that did not come to a clean end: the instance must be dropped.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Failed {
    /// What is known of the turn, which is never [`CommitOutcome::Ok`].
    pub(super) outcome: CommitOutcome,
    pub(super) why: LogError,
}

/// One record of a transaction.
pub(super) struct TxnRecord {
    pub(super) headers: OwnedHeaders,
    /// The record's key.
    pub(super) pool: Option<PoolId>,
    /// The record's value; a fence has none.
    pub(super) bytes: Option<Vec<u8>>,
}

/// One instance of one of a partition's producers. The owner's thread alone uses it.
pub(super) struct TransactionalProducer {
    producer: BaseProducer<Reports>,
    topic: String,
    partition: u32,
}

impl TransactionalProducer {
    /// A connected producer. Preparing it fences nobody.
    ///
    /// # Errors
    /// [`LogError`] when the settings make no client, or the cluster does not answer.
    pub(super) fn prepare(cluster: &Cluster, id: ProducerId) -> Result<TransactionalProducer, LogError> {
        let ProducerId { log_id, partition, slot } = id;
        let producer = cluster.transactional(log_id, partition, slot).create_with_context(Reports::default());
        let producer: BaseProducer<Reports> =
            producer.map_err(|error| failed("creating a transactional producer", &error))?;
        let prepared = TransactionalProducer { producer, topic: cluster.topics.events.clone(), partition };
        // The library looks for its coordinator every 500 ms, and for that it needs a connection to a named broker: the
        // one that it starts from does not count.
        let asked = prepared.producer.client().fetch_watermarks(&prepared.topic, number(partition), TRANSACTION_LIMIT);
        asked.map_err(|error| failed("connecting a transactional producer", &error))?;
        Ok(prepared)
    }

    /// Fences every other instance of this id, and waits until the transactions that they left open have ended, for `limit`
    /// at most. Returns false when that did not succeed in time: drop this instance and try with another one.
    ///
    /// # Errors
    /// [`LogError`] when another try would not help.
    pub(super) fn fence(&self, limit: Duration) -> Result<bool, LogError> {
        match self.producer.init_transactions(limit) {
            Ok(()) => Ok(true),
            Err(error) => match classify::of(&error) {
                LogErrorKind::Transient | LogErrorKind::Superseded => Ok(false),
                _ => Err(failed("fencing", &error)),
            },
        }
    }

    /// Writes these records in one transaction and commits it. When the records are delivered, and before the commit,
    /// `is_ours` gets their offsets: when it returns false or an error, nothing is committed, now or later.
    ///
    /// # Errors
    /// [`Failed`] with what is known of the transaction. The instance must be dropped.
    pub(super) fn write(
        &self,
        records: impl Iterator<Item = TxnRecord>,
        is_ours: impl FnOnce(Written) -> Result<bool, LogError>,
    ) -> Result<Committed, Failed> {
        *self.producer.context().0.lock() = Delivered { since: Some(Stopwatch::start()), ..Delivered::default() };
        self.producer.begin_transaction().map_err(|error| self.failed("beginning a turn", &error))?;
        for record in records {
            self.send(&record)?;
        }
        self.drain()?;
        let offsets = self.producer.context().0.lock().offsets.unwrap_or_default();
        match is_ours(offsets) {
            Ok(true) => {}
            Ok(false) => {
                let why = LogError::superseded(format!("another owner has taken {}/{}", self.topic, self.partition));
                return Err(Failed { outcome: CommitOutcome::Fenced, why });
            }
            Err(why) => return Err(Failed { outcome: CommitOutcome::Unknown, why }),
        }
        let committing = Stopwatch::start();
        // After the limit nobody knows whether the commit was applied, and the library may still send it. The owner drops
        // this instance and claims again: the next claim reads what is there behind its fence.
        let committed = self.producer.commit_transaction(TRANSACTION_LIMIT);
        committed.map_err(|error| self.failed("committing a turn", &error))?;
        let commit = committing.elapsed();
        let Delivered { first_after, stamp, .. } = std::mem::take(&mut *self.producer.context().0.lock());
        let first_delivery = first_after.unwrap_or_default();
        Ok(Committed { offsets, first_delivery, stamp, commit })
    }

    fn send(&self, txn: &TxnRecord) -> Result<(), Failed> {
        let mut record: BaseRecord<'_, [u8], [u8]> =
            BaseRecord::to(&self.topic).partition(number(self.partition)).headers(txn.headers.clone());
        if let Some(pool) = &txn.pool {
            record = record.key(pool.as_str().as_bytes());
        }
        if let Some(bytes) = &txn.bytes {
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

    /// Returns when every record has its delivery report.
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
                let why = LogError::transient("writing a turn: its records were not delivered in time");
                return Err(Failed { outcome: CommitOutcome::Unknown, why });
            }
            pause(DRAIN_LOOK);
        }
    }

    /// A call often fails because of the error that the client has stored as its fatal one: that one decides the outcome.
    fn failed(&self, doing: &str, error: &KafkaError) -> Failed {
        let mut outcome = classify::of_commit(error);
        if let Some((code, _)) = self.producer.client().fatal_error()
            && classify::of_code(code) == LogErrorKind::Superseded
        {
            outcome = CommitOutcome::Fenced;
        }
        Failed { outcome, why: failed(doing, error) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The story: a large turn goes out in two requests. The marker of the turn before lies between them, and so does a record
    /// of another program. The turn's first record would not be found, and a sound log was taken for a broken one.
    #[test]
    fn no_record_of_a_turn_lies_before_what_is_looked_through() {
        // Offsets 7, 8 and 11 are the turn's, and 10 is another's. 9 is the marker for which the owner knew 8 as the end.
        assert_eq!(Written { first: 7, last: 11 }.with_others(8), 7..12);
        // The marker was there in time, and others have written before the turn.
        assert_eq!(Written { first: 10, last: 11 }.with_others(8), 8..12);
        assert_eq!(Written { first: 8, last: 11 }.with_others(8), 8..12);
    }
}
