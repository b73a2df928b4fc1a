//! The owner of one partition, without any decisions: the commands that have arrived become one transaction, and then
//! replies. It waits for delivery reports before the commit, as Headroom does.

use super::clocked::Clocked;
use super::gateway::lingering;
use super::{LOOK, Loop, tell, unless_away};
use crate::tally::histogram;
use crate::topics::{log_id, number};
use hdrhistogram::Histogram;
use headroom::limits::TURN_RECORDS_MAX;
use headroom::log::kafka::Cluster;
use headroom::time::{self, Clock, Stopwatch};
use parking_lot::Mutex;
use rdkafka::ClientContext;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::topic_partition_list::Offset;
use rdkafka::util::Timeout;
use std::sync::mpsc::Sender;
use std::time::Duration;

/// Longest wait for a connection, a fence or a delivery.
const LIMIT: Duration = Duration::from_secs(20);
/// Pause between two checks for records that are still in flight.
const DRAIN_LOOK: Duration = Duration::from_micros(100);

/// Figures of the turns that began in the measured time.
pub struct Turns {
    /// From the begin of a turn to the end of its commit.
    pub cycle_us: Histogram<u64>,
    /// From the begin of a turn to its first delivery.
    pub first_us: Histogram<u64>,
    /// Records in one turn.
    pub records: Histogram<u64>,
}

impl Turns {
    /// No turns yet.
    pub fn new() -> Turns {
        Turns { cycle_us: histogram(), first_us: histogram(), records: histogram() }
    }

    /// Adds other turns to these.
    pub fn and(mut self, other: Turns) -> Turns {
        let pairs = [
            (&mut self.cycle_us, other.cycle_us),
            (&mut self.first_us, other.first_us),
            (&mut self.records, other.records),
        ];
        for (all, part) in pairs {
            // Adding fails only above a fixed maximum.
            let _ = all.add(part);
        }
        self
    }
}

/// When the first record of a transaction was delivered, and what failed.
#[derive(Default)]
struct Reports(Mutex<(Option<Stopwatch>, Option<Duration>, Option<KafkaError>)>);

impl ClientContext for Reports {}

impl ProducerContext for Reports {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let mut reports = self.0.lock();
        match result {
            Ok(_) => reports.1 = reports.1.or(reports.0.as_ref().map(Stopwatch::elapsed)),
            Err((error, _)) => reports.2 = Some(error.clone()),
        }
    }
}

struct Slot(BaseProducer<Reports>);

impl Slot {
    fn new(cluster: &Cluster, partition: u32, slot: u8) -> Result<Slot, KafkaError> {
        let producer: BaseProducer<Reports> =
            cluster.transactional(log_id(cluster), partition, slot).create_with_context(Reports::default())?;
        producer.client().fetch_watermarks(&cluster.topics.events, number(partition), LIMIT)?;
        producer.init_transactions(LIMIT)?;
        Ok(Slot(producer))
    }

    /// Writes one transaction. Answers the time to its first delivery.
    fn write(&self, topic: &str, partition: u32, batch: &[Vec<u8>]) -> Result<Duration, KafkaError> {
        *self.0.context().0.lock() = (Some(Stopwatch::start()), None, None);
        self.0.begin_transaction()?;
        for bytes in batch {
            let mut record: BaseRecord<'_, [u8], [u8]> =
                BaseRecord::to(topic).partition(number(partition)).payload(bytes);
            while let Err((error, refused)) = self.0.send(record) {
                if error != KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) {
                    return Err(error);
                }
                record = refused;
                self.0.poll(Duration::ZERO);
                time::pause(DRAIN_LOOK);
            }
        }
        while self.0.in_flight_count() > 0 {
            self.0.poll(Duration::ZERO);
            time::pause(DRAIN_LOOK);
        }
        self.0.poll(Duration::ZERO);
        self.0.commit_transaction(Timeout::Never)?;
        let reports = std::mem::take(&mut *self.0.context().0.lock());
        reports.2.map_or(Ok(reports.1.unwrap_or_default()), Err)
    }
}

/// Makes turns until the run is over.
pub fn run(it: &Loop, partition: u32, ready: &Sender<()>) -> Result<Turns, String> {
    let cluster = &it.cluster;
    let failed = |doing: &'static str| move |error: KafkaError| format!("partition {partition}: {doing}: {error}");
    let slots: Result<Vec<Slot>, _> =
        (0..cluster.alternating()).map(|slot| Slot::new(cluster, partition, slot)).collect();
    let slots = slots.map_err(failed("a producer of turns"))?;
    let config = lingering(it, cluster.replies());
    let mut replies = Clocked::new(&config, &cluster.topics.replies, 1).map_err(failed("the producer of replies"))?;
    let consumer: BaseConsumer = cluster.reader().create().map_err(failed("the reader of commands"))?;
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&cluster.topics.commands, number(partition), Offset::Offset(0))
        .and_then(|()| consumer.assign(&list))
        .map_err(failed("the reader of commands"))?;
    tell(ready);
    let pause = Duration::from_secs_f64(it.args.turns.pause_ms / 1e3);
    let mut turns = Turns::new();
    let mut rested = Stopwatch::start();
    for slot in slots.iter().cycle() {
        let polled = poll(it, &consumer, &mut replies, &rested, pause).map_err(failed("reading commands"))?;
        let Some(batch) = polled else { break };
        let began = it.clock.now();
        let first = slot.write(&cluster.topics.events, partition, &batch).map_err(failed("a turn"))?;
        let ended = it.clock.now();
        rested = Stopwatch::start();
        if it.is_measured(began) {
            // Recording fails only above a fixed maximum, and these have none.
            let _ = turns.cycle_us.record(ended.0.saturating_sub(began.0));
            let _ = turns.first_us.record(u64::try_from(first.as_micros()).unwrap_or(u64::MAX));
            let _ = turns.records.record(batch.len() as u64);
        }
        batch.into_iter().for_each(|bytes| replies.queue(0, bytes));
        replies.flow().map_err(failed("a reply"))?;
    }
    Ok(turns)
}

/// All commands that have arrived when the next turn may begin; `None` when the run is over.
fn poll(
    it: &Loop,
    consumer: &BaseConsumer,
    replies: &mut Clocked,
    rested: &Stopwatch,
    pause: Duration,
) -> Result<Option<Vec<Vec<u8>>>, KafkaError> {
    let take = |wait: Duration| -> Result<Option<Vec<u8>>, KafkaError> {
        let message = unless_away(consumer.poll(wait))?;
        Ok(message.map(|message| message.payload().unwrap_or_default().to_vec()))
    };
    let first = loop {
        if it.is_over() {
            return Ok(None);
        }
        let look = if replies.flow()? { LOOK } else { Duration::from_millis(1) };
        if let Some(first) = take(look)? {
            break first;
        }
    };
    time::pause(rested.left_of(pause));
    let mut batch = vec![first];
    while batch.len() < TURN_RECORDS_MAX
        && let Some(bytes) = take(Duration::ZERO)?
    {
        batch.push(bytes);
    }
    Ok(Some(batch))
}
