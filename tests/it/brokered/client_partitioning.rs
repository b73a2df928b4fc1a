//! Commands written by programs that know the topic and leave the partition to their client: where it puts a command
//! where its pool lives, as Java's client does, it is served; anywhere else it is refused, and answered all the same.

use super::service::Log;
use crate::fixtures::{command, define, orders, pool_id};
use crate::process::spawn;
use crate::wait::until;
use headroom::domain::*;
use headroom::time::SystemClock;
use headroom::wire;
use parking_lot::Mutex;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::topic_partition_list::Offset;
use rdkafka::{ClientConfig, ClientContext, TopicPartitionList};
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Command as Process, Stdio};
use std::sync::Arc;
use std::time::Duration;

const PARTITIONS: u32 = 4;
const LIMIT: Duration = Duration::from_secs(30);

/// A command to write.
struct Line {
    key: String,
    pool: PoolId,
    bytes: Vec<u8>,
}

/// New pools, keyed by their ids unless somebody knows better.
fn pools(of: &str, key: impl Fn(&PoolId, u32) -> String) -> Vec<Line> {
    let line = |n| {
        let pool = pool_id(&format!("{of}-{n}"));
        let (id, deadline) = (CommandId(super::draw()), super::in_time());
        let bytes = wire::command::encode(&Command { id, deadline, ..command(1, define(&pool, orders(9))) });
        Line { key: key(&pool, n), pool, bytes }
    };
    (0..24).map(line).collect()
}

/// Where each of them went: the partition and the offset.
type Places = Vec<(u32, u64)>;

/// Kafka's own client, in a program of its own. The commands are made when it can write them: it may take long to start, and they
/// have deadlines.
fn java(log: &Log, lines: impl FnOnce() -> Vec<Line>, settings: &[&str]) -> Places {
    let mut command = Process::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/rig/produce"));
    let mut child =
        spawn(command.args([&log.cluster.brokers, &log.cluster.topics.commands]).args(settings).stdin(Stdio::piped()));
    let (mut output, mut told) = (BufReader::new(child.stdout.take().unwrap()), String::new());
    output.read_line(&mut told).unwrap();
    let mut input = String::new();
    for Line { key, bytes, .. } in lines() {
        let value = bytes.iter().fold(String::new(), |mut hex, byte| {
            write!(hex, "{byte:02x}").unwrap();
            hex
        });
        writeln!(input, "{key} {value}").unwrap();
    }
    // All of it fits a pipe.
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    output.read_to_string(&mut told).unwrap();
    let ended = child.wait_with_output().unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    let place = |line: &str| {
        let (partition, offset) = line.split_once(' ').unwrap();
        (partition.parse().unwrap(), offset.parse().unwrap())
    };
    let mut lines = told.lines();
    assert_eq!(lines.next(), Some("ready"));
    lines.map(place).collect()
}

/// Keeps where records went.
#[derive(Default)]
struct Delivered(Mutex<Vec<(usize, (u32, u64))>>);

impl Delivered {
    /// Where the first so many went, in the order in which they were sent.
    fn places(&self, count: usize) -> Places {
        let mut places = std::mem::take(&mut *self.0.lock());
        places.sort_unstable();
        places.into_iter().take(count).map(|(_, place)| place).collect()
    }
}

impl ClientContext for Delivered {}

impl ProducerContext for Delivered {
    type DeliveryOpaque = Box<usize>;

    fn delivery(&self, result: &DeliveryResult<'_>, nth: Box<usize>) {
        let message = result.as_ref().unwrap();
        let place = (message.partition().try_into().unwrap(), message.offset().try_into().unwrap());
        self.0.lock().push((*nth, place));
    }
}

/// This client, told how to choose a partition; what Python's and many others are made of.
fn librdkafka(log: &Log, lines: &[Line], partitioner: &str) -> Places {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &log.cluster.brokers).set("partitioner", partitioner);
    let producer: BaseProducer<Delivered> = config.create_with_context(Delivered::default()).unwrap();
    for (nth, Line { key, bytes, .. }) in lines.iter().enumerate() {
        let record = BaseRecord::with_opaque_to(&log.cluster.topics.commands, Box::new(nth));
        producer.send(record.key(key).payload(bytes)).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(LIMIT).unwrap();
    producer.context().places(lines.len())
}

/// The same in transactions of eight, with one between them that comes to nothing: readers see none of its records, and
/// no marker.
fn transactions(log: &Log, lines: &[Line], given_up: &Line) -> Places {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &log.cluster.brokers).set("partitioner", "murmur2_random");
    config.set("transactional.id", &lines[0].key);
    let producer: BaseProducer<Delivered> = config.create_with_context(Delivered::default()).unwrap();
    producer.init_transactions(LIMIT).unwrap();
    let topic = &log.cluster.topics.commands;
    let send = |nth, line: &Line| {
        let record = BaseRecord::with_opaque_to(topic, Box::new(nth)).key(&line.key).payload(&line.bytes);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    };
    for (batch, lines) in lines.chunks(8).enumerate() {
        producer.begin_transaction().unwrap();
        lines.iter().enumerate().for_each(|(n, line)| send(batch * 8 + n, line));
        producer.commit_transaction(LIMIT).unwrap();
        producer.begin_transaction().unwrap();
        send(usize::MAX, given_up);
        producer.flush(LIMIT).unwrap();
        producer.abort_transaction(LIMIT).unwrap();
    }
    producer.context().places(lines.len())
}

/// The keys of the partition's events, for those who read them with a client of their own.
fn keys(log: &Log, partition: u32, count: usize) -> Vec<Option<String>> {
    let reader: BaseConsumer = log.cluster.reader().create().unwrap();
    let mut list = TopicPartitionList::new();
    let number = partition.try_into().unwrap();
    list.add_partition_offset(&log.cluster.topics.events, number, Offset::Beginning).unwrap();
    reader.assign(&list).unwrap();
    let mut keys = Vec::new();
    until("all events are read", || {
        // What has no value is no event.
        let message = reader.poll(LIMIT).unwrap().unwrap();
        let key = || message.key().map(|key| String::from_utf8(key.to_vec()).unwrap());
        keys.extend(message.payload().map(|_| key()));
        keys.len() == count
    });
    keys
}

#[test]
fn commands_of_other_programs_are_served_where_they_belong_and_refused_elsewhere() {
    let log = Log::new(PARTITIONS);
    let dir = tempfile::tempdir().unwrap();
    let server = log.serve(dir.path(), "owner", Arc::new(SystemClock::new()));
    let by_pool = |pool: &PoolId, _| pool.to_string();
    let by_order = |_: &PoolId, n| format!("order-{n}");
    let written = [
        ("java", true, java(&log, || pools("java", by_pool), &[])),
        ("java-order", false, java(&log, || pools("java-order", by_order), &[])),
        ("java-turns", false, {
            let in_turns = "partitioner.class=org.apache.kafka.clients.producer.RoundRobinPartitioner";
            java(&log, || pools("java-turns", by_pool), &[in_turns])
        }),
        ("murmur", true, librdkafka(&log, &pools("murmur", by_pool), "murmur2_random")),
        ("crc", false, librdkafka(&log, &pools("crc", by_pool), "consistent_random")),
        ("transactions", true, transactions(&log, &pools("transactions", by_pool), &pools("given-up", by_pool)[0])),
    ];
    let last = |partition: u32| {
        let offsets = written.iter().flat_map(|(.., places)| places).filter(|place| place.0 == partition);
        offsets.map(|place| place.1 + 1).max().unwrap()
    };
    for (partition, handle) in (0..).zip(server.gateway.replica().partitions()) {
        until("all is decided", || handle.read(|state| state.position().next_input) == last(partition));
    }
    let events: Vec<_> = (0..PARTITIONS).map(|partition| log.audited(partition)).collect();
    for (partition, events) in (0..).zip(&events) {
        let pools = events.iter().map(|recorded| recorded.event.body.pool_id().map(PoolId::to_string));
        assert_eq!(keys(&log, partition, events.len()), pools.collect::<Vec<_>>());
    }
    // Places of markers, and of what was aborted, have no events: the next command's says how many there were.
    let skipped = events.iter().flatten().filter_map(|r| r.event.cause.as_ref()).map(|cause| cause.skipped);
    assert!(skipped.max() > Some(0));
    assert!(events.iter().flatten().all(|r| r.event.body.kind() != EventKind::Malformed));
    let defined: Vec<_> = events.iter().flatten().filter(|r| r.event.body.kind() == EventKind::PoolDefined).collect();
    assert!(!defined.iter().any(|r| r.event.body.pool_id().unwrap().as_str().starts_with("given-up")));
    for (of, is_routed, places) in &written {
        let lines = pools(of, by_pool);
        assert_eq!(places.len(), lines.len());
        let mut refused = 0;
        for (Line { pool, .. }, (partition, offset)) in lines.iter().zip(places) {
            let is_answer =
                |recorded: &&ChainedEvent| recorded.event.cause.as_ref().is_some_and(|c| c.input_offset == *offset);
            let answer = events[*partition as usize].iter().find(is_answer).unwrap();
            if route::partition_of(pool, PARTITIONS) == *partition {
                assert_eq!(answer.event.body.kind(), EventKind::PoolDefined, "{pool}");
                continue;
            }
            refused += 1;
            assert_eq!(answer.event.body.rejection().map(|r| r.reason), Some(Reason::Misrouted), "{pool}");
        }
        assert_eq!(refused == 0, *is_routed, "{of}: {refused} refused");
    }
    (0..PARTITIONS).for_each(|partition| log.alike(partition, &[&server]));
}
