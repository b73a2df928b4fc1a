//! Records that are in the log when a call returns: dead letters before their turn, and what a person appends.

use super::classify::{self, failed};
use super::context::ClientLog;
use super::reader::number;
use super::settings::Cluster;
use crate::log::LogError;
use crate::time::{Stopwatch, pause};
use parking_lot::{Condvar, Mutex};
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, OwnedHeaders};
use rdkafka::producer::{BaseRecord, ProducerContext, ThreadedProducer};
use std::sync::Arc;
use std::time::Duration;

/// Longest wait for all to be in the log: the client gives each of them up after 5 s.
const LIMIT: Duration = Duration::from_millis(6_000);
/// Before the client is asked again to take more.
const FULL_PAUSE: Duration = Duration::from_millis(1);

/// One record on its way.
pub(in crate::log::kafka) struct Sending<'a> {
    pub(in crate::log::kafka) topic: &'a str,
    pub(in crate::log::kafka) partition: u32,
    pub(in crate::log::kafka) headers: OwnedHeaders,
    pub(in crate::log::kafka) key: Option<&'a [u8]>,
    pub(in crate::log::kafka) bytes: Option<&'a [u8]>,
}

#[derive(Default)]
struct Left {
    count: usize,
    error: Option<KafkaError>,
}

/// What is still on its way of one call's records.
#[derive(Default)]
struct Batch {
    left: Mutex<Left>,
    arrived: Condvar,
}

/// Counts what arrives.
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

/// See the module. From any thread; after an error it is to be dropped.
pub(in crate::log::kafka) struct DurableProducer {
    producer: ThreadedProducer<Delivery>,
}

impl DurableProducer {
    pub(in crate::log::kafka) fn new(cluster: &Cluster) -> Result<DurableProducer, LogError> {
        let producer = cluster.post().create_with_context(ClientLog(Arrivals));
        producer
            .map(|producer| DurableProducer { producer })
            .map_err(|error| failed("the producer of dead letters", &error))
    }

    /// Returns when all of them are in the log. After an error some may be.
    pub(in crate::log::kafka) fn send(&self, records: &[Sending<'_>]) -> Result<(), LogError> {
        let (batch, sending) = (Arc::new(Batch::default()), Stopwatch::start());
        let Some(first) = records.first() else { return Ok(()) };
        let what = format!("writing to {}/{}", first.topic, first.partition);
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
            (None, count) => Err(LogError::new(format!("{what}: {count} records did not arrive in time"))),
        }
    }

    fn hand_over(&self, record: &Sending<'_>, batch: &Arc<Batch>, sending: Stopwatch) -> Result<(), KafkaError> {
        let mut next: BaseRecord<'_, [u8], [u8], Arc<Batch>> =
            BaseRecord::with_opaque_to(record.topic, Arc::clone(batch)).partition(number(record.partition));
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
