//! A producer that gets only as many records as it can send. When five records of a partition are in flight, an
//! idempotent producer of this client sends no more of that partition. It spins on the records that wait, on a core
//! that the brokers need.

use crate::topics::number;
use headroom::time::pause;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseRecord, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, ClientContext};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

/// Records of one partition that may be in flight when more are handed to the client.
const IN_FLIGHT_ROOM: usize = 4;
/// Pause before a client with a full queue is tried again.
const FULL: Duration = Duration::from_micros(100);

/// The number of records in flight, for every partition.
#[derive(Clone)]
struct InFlight(Arc<[AtomicUsize]>);

impl InFlight {
    fn of(&self, partition: u32) -> Option<&AtomicUsize> {
        self.0.get(partition as usize)
    }
}

impl ClientContext for InFlight {}

impl ProducerContext for InFlight {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let message = match result {
            Ok(message) | Err((_, message)) => message,
        };
        if let Some(count) = u32::try_from(message.partition()).ok().and_then(|partition| self.of(partition)) {
            count.fetch_sub(1, Relaxed);
        }
    }
}

/// A producer of one topic that keeps a bounded number of records of each partition in flight.
pub struct Clocked {
    producer: ThreadedProducer<InFlight>,
    in_flight: InFlight,
    topic: String,
    /// Records that wait, partition by partition.
    waiting: Vec<Vec<Vec<u8>>>,
}

impl Clocked {
    /// A producer of these settings for one topic.
    pub fn new(config: &ClientConfig, topic: &str, partitions: u32) -> Result<Clocked, KafkaError> {
        let in_flight = InFlight((0..partitions).map(|_| AtomicUsize::new(0)).collect());
        let producer = config.create_with_context(in_flight.clone())?;
        let waiting = (0..partitions).map(|_| Vec::new()).collect();
        Ok(Clocked { producer, in_flight, topic: topic.to_owned(), waiting })
    }

    /// Lets a record wait until there is room for it.
    pub fn queue(&mut self, partition: u32, bytes: Vec<u8>) {
        if let Some(waiting) = self.waiting.get_mut(partition as usize) {
            waiting.push(bytes);
        }
    }

    /// Sends what there is room for; answers whether nothing waits any more.
    pub fn flow(&mut self) -> Result<bool, KafkaError> {
        let mut is_empty = true;
        for (partition, waiting) in (0..).zip(&mut self.waiting) {
            let Some(count) = self.in_flight.of(partition) else { continue };
            if count.load(Relaxed) > IN_FLIGHT_ROOM {
                is_empty &= waiting.is_empty();
                continue;
            }
            for bytes in waiting.drain(..) {
                count.fetch_add(1, Relaxed);
                let mut record: BaseRecord<'_, [u8], [u8]> =
                    BaseRecord::to(&self.topic).partition(number(partition)).payload(&bytes);
                while let Err((error, refused)) = self.producer.send(record) {
                    if error != KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) {
                        return Err(error);
                    }
                    record = refused;
                    pause(FULL);
                }
            }
        }
        Ok(is_empty)
    }
}
