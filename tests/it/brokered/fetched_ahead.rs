//! What a reader of a cluster has in memory beside what it was asked for.

use super::{cluster, make_topics, prefix};
use crate::wait::until;
use parking_lot::Mutex;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::statistics::Statistics;
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use std::sync::Arc;
use std::time::Duration;

const RECORDS: usize = 60_000;
/// Of each record. Those of events are somewhat larger.
const BYTES: usize = 100;
/// So many are fetched ahead, and one fetch more.
const AHEAD_MAX: i64 = 10_000 + (1 << 20) / BYTES as i64;
/// So many looks in a row in which nothing more has come.
const SAME: usize = 5;

/// How many records the library has fetched ahead, at each of its looks.
#[derive(Clone, Default)]
struct Ahead(Arc<Mutex<Vec<i64>>>);

impl ClientContext for Ahead {
    fn stats(&self, statistics: Statistics) {
        let partitions = statistics.topics.into_values().flat_map(|topic| topic.partitions.into_values());
        self.0.lock().push(partitions.map(|partition| partition.fetchq_cnt).sum());
    }
}

impl ConsumerContext for Ahead {}

/// The story: a sink reads a log of years. Each of its readers fetched 100,000 events ahead, which took 60 MB for each, so that its
/// memory depended on how many events there were.
#[test]
fn a_reader_fetches_a_bounded_number_of_records_ahead() {
    let prefix = prefix();
    make_topics(&prefix, 1);
    let cluster = cluster(&prefix);
    let topic = &cluster.topics.events;
    let producer: BaseProducer = cluster.post().create().unwrap();
    for _ in 0..RECORDS {
        let mut record: BaseRecord<'_, [u8; 1], [u8; BYTES]> =
            BaseRecord::to(topic).partition(0).key(&[0]).payload(&[0; BYTES]);
        while let Err((error, again)) = producer.send(record) {
            assert_eq!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull));
            producer.poll(Duration::from_millis(10));
            record = again;
        }
    }
    producer.flush(Duration::from_secs(30)).unwrap();
    let ahead = Ahead::default();
    let mut config = cluster.reader();
    config.set("statistics.interval.ms", "100");
    let reader: Arc<BaseConsumer<Ahead>> = Arc::new(config.create_with_context(ahead.clone()).unwrap());
    let mut from = TopicPartitionList::new();
    from.add_partition_offset(topic, 0, Offset::Offset(0)).unwrap();
    reader.assign(&from).unwrap();
    // Nobody reads from here, so what is fetched stays.
    let _unread = reader.split_partition_queue(topic, 0).unwrap();
    let is_settled = || {
        reader.poll(Duration::from_millis(50));
        let seen = ahead.0.lock();
        let last = &seen[seen.len().saturating_sub(SAME)..];
        last.len() == SAME && last[0] > 0 && last.iter().all(|count| *count == last[0])
    };
    until("nothing more is fetched", is_settled);
    let fetched = *ahead.0.lock().last().unwrap();
    assert!((1_000..=AHEAD_MAX).contains(&fetched), "{fetched} of {RECORDS} records were fetched ahead");
}
