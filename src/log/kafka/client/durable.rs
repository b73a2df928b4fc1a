//! Writing records that are durable when the call returns: dead letters, which must be in the log before their turn, and
//! what an operator appends.

use super::callbacks::ClientLog;
use super::classify::{self, failed};
use super::reader::{TopicPartition, number};
use super::settings::Cluster;
use crate::log::LogError;
use crate::time::{Stopwatch, pause};
use parking_lot::{Condvar, Mutex};
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, OwnedHeaders};
use rdkafka::producer::{BaseRecord, ProducerContext, ThreadedProducer};
use std::sync::Arc;
use std::time::Duration;

/// Longest wait for one call's records. The client gives each of them up after 5 s.
const LIMIT: Duration = Duration::from_millis(6_000);
/// Pause before the client is offered a record again, when its queue was full.
const FULL_PAUSE: Duration = Duration::from_millis(1);

/// A record to write.
pub(in crate::log::kafka) struct Sending<'a> {
    pub(in crate::log::kafka) to: TopicPartition<'a>,
    pub(in crate::log::kafka) headers: OwnedHeaders,
    pub(in crate::log::kafka) key: Option<&'a [u8]>,
    pub(in crate::log::kafka) bytes: Option<&'a [u8]>,
}

#[derive(Default)]
struct Left {
    /// Records without a delivery report.
    count: usize,
    /// The first that failed.
    error: Option<KafkaError>,
}

/// The records of one call that have no delivery report yet.
#[derive(Default)]
struct Batch {
    left: Mutex<Left>,
    arrived: Condvar,
}

/// Hands each delivery report to the batch of its record.
struct Arrivals;

type Delivery = ClientLog<Arrivals>;

impl ProducerContext for Delivery {
    type DeliveryOpaque = Arc<Batch>;

    fn delivery(&self, result: &DeliveryResult<'_>, batch: Arc<Batch>) {
        let mut left = batch.left.lock();
        left.count = left.count.saturating_sub(1);
        if let Err((error, _)) = result {
            left.error.get_or_insert_with(|| error.clone());
        }
        batch.arrived.notify_all();
    }
}

/// Writes durably, from any thread. After an error the client is replaced by a new one.
pub(in crate::log::kafka) struct DurableWriter {
    cluster: Arc<Cluster>,
    producer: Mutex<Option<Arc<DurableProducer>>>,
}

impl DurableWriter {
    /// Makes no client before the first record.
    pub(in crate::log::kafka) fn new(cluster: Arc<Cluster>) -> DurableWriter {
        DurableWriter { cluster, producer: Mutex::new(None) }
    }

    /// Returns when all of the records are in the log.
    ///
    /// # Errors
    /// [`LogError`] when one of them was not written within 6 s. Some may be in the log, or come to be in it.
    pub(in crate::log::kafka) fn write(&self, records: &[Sending<'_>]) -> Result<(), LogError> {
        let producer = {
            let mut kept = self.producer.lock();
            match &*kept {
                Some(producer) => Arc::clone(producer),
                None => Arc::clone(kept.insert(Arc::new(DurableProducer::new(&self.cluster)?))),
            }
        };
        producer.send(records).inspect_err(|_| *self.producer.lock() = None)
    }
}

struct DurableProducer {
    producer: ThreadedProducer<Delivery>,
}

impl DurableProducer {
    fn new(cluster: &Cluster) -> Result<DurableProducer, LogError> {
        let producer = cluster.post().create_with_context(ClientLog(Arrivals));
        producer.map(|producer| DurableProducer { producer }).map_err(|error| failed("creating a producer", &error))
    }

    fn send(&self, records: &[Sending<'_>]) -> Result<(), LogError> {
        let (batch, sending) = (Arc::new(Batch::default()), Stopwatch::start());
        let Some(first) = records.first() else { return Ok(()) };
        let what = format!("writing to {}", first.to);
        for record in records {
            self.hand_over(record, &batch, sending).map_err(|error| failed(&what, &error))?;
        }
        let mut left = batch.left.lock();
        while left.count > 0 && !sending.left_of(LIMIT).is_zero() {
            batch.arrived.wait_for(&mut left, sending.left_of(LIMIT));
        }
        match (&left.error, left.count) {
            (Some(error), _) => Err(failed(&what, error)),
            (None, 0) => Ok(()),
            (None, count) => Err(LogError::transient(format!("{what}: {count} records were not written in time"))),
        }
    }

    fn hand_over(&self, record: &Sending<'_>, batch: &Arc<Batch>, sending: Stopwatch) -> Result<(), KafkaError> {
        let mut next: BaseRecord<'_, [u8], [u8], Arc<Batch>> =
            BaseRecord::with_opaque_to(record.to.topic, Arc::clone(batch)).partition(number(record.to.partition));
        next = next.headers(record.headers.clone());
        next.key = record.key;
        next.payload = record.bytes;
        batch.left.lock().count += 1;
        loop {
            match self.producer.send(next) {
                Ok(()) => return Ok(()),
                Err((error, refused)) if classify::is_queue_full(&error) && !sending.left_of(LIMIT).is_zero() => {
                    next = refused;
                    pause(FULL_PAUSE);
                }
                Err((error, _)) => return Err(error),
            }
        }
    }
}
