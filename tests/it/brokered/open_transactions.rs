//! Strangers who may write commands: a transaction that they leave open silences a partition, which is seen at once; what
//! they abort costs nothing.

use super::answers::{Told, pool, reserve};
use super::service::Log;
use crate::server::Server;
use crate::wait::until;
use headroom::domain::EventKind;
use headroom::log::{ClaimError, OwnedPartition, PartitionLog, Polled};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);
/// How long an owner waits for commands that do not come.
const WAIT: Duration = Duration::from_millis(100);
/// Longer than the test looks on.
const OPEN_MS: &str = "60000";

/// A stranger with a transaction open on the commands of the first partition.
fn stranger(log: &Log, records: u64) -> BaseProducer {
    stranger_on(log, &log.cluster.topics.commands, records)
}

/// The same on the first partition of this topic.
fn stranger_on(log: &Log, topic: &str, records: u64) -> BaseProducer {
    let mut config = log.cluster.transactional(0, 0, 0);
    config.set("transactional.id", format!("{:032x}.stranger", log.manifest.log_id));
    config.set("message.timeout.ms", OPEN_MS).set("transaction.timeout.ms", OPEN_MS);
    let producer: BaseProducer = config.create().unwrap();
    producer.init_transactions(LIMIT).unwrap();
    producer.begin_transaction().unwrap();
    for _ in 0..records {
        let record: BaseRecord<'_, str, str> = BaseRecord::to(topic).partition(0).key("van-1").payload("no command");
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(LIMIT).unwrap();
    producer
}

/// What `/readyz` says of the partition.
fn told_of(server: &Server) -> Option<String> {
    let health = server.client().get("/readyz").json();
    health["partitions"]["0"]["why"].as_str().map(str::to_owned)
}

fn gauge(server: &Server) -> u64 {
    let name = "headroom_kafka_commands_held_back{partition=\"0\"} ";
    let metrics = server.client().get("/metrics").body;
    let line = metrics.lines().find_map(|line| line.strip_prefix(name));
    line.expect("the gauge").parse().unwrap()
}

/// The story: another program writes commands in a transaction and hangs, so that committed readers see no command
/// behind it. The partition is silent, and nobody knows why. Callers are told no in time, the process names the tool
/// that finds the producer, and what is aborted in the end costs no event.
#[test]
fn an_open_transaction_on_commands_is_named_and_costs_no_event() {
    let log = Log::new(1);
    let dir = tempfile::tempdir().unwrap();
    let server = log.serve_alone(dir.path());
    pool(&server, "van-1", 100);
    let mut told = Told::default();
    assert!(told.reserve(&server, "van-1", "first"));
    assert_eq!((told_of(&server), gauge(&server)), (None, 0));
    let stranger = stranger(&log, 500);
    let before = log.events(0).len();
    // A caller is told no by the deadline, or that nobody knows; nothing is decided.
    assert!(!told.reserve(&server, "van-1", "silenced"));
    let topic = &log.cluster.topics.commands;
    let tool = format!("describe-producers --topic {topic} --partition 0 names its producer");
    until("the process says what holds commands back", || told_of(&server).is_some_and(|why| why.contains(&tool)));
    until("and how many", || gauge(&server) >= 500);
    assert_eq!(log.events(0).len(), before);
    stranger.abort_transaction(LIMIT).unwrap();
    until("a caller is told yes", || reserve(&server, "van-1", "after").status == 201);
    until("nothing is held back", || told_of(&server).is_none() && gauge(&server) == 0);
    let events = log.audited(0);
    let after = events[before..].iter().filter_map(|recorded| recorded.event.cause.as_ref());
    assert_eq!(after.map(|cause| cause.skipped).max(), Some(500), "what was aborted, and no event for it");
    assert!(events.iter().all(|recorded| recorded.event.body.kind() != EventKind::Malformed));
    log.alike(0, &[&server]);
}

/// The story: a partition moved to another process while a transaction held its commands back. The transaction ended, and the
/// process of before went on to say for weeks that so many commands are held back.
#[test]
fn an_owner_that_has_ended_says_no_more_that_commands_are_held_back() {
    let log = Log::new(1);
    let kafka = log.open();
    let held_back = || kafka.paces().of(0).held_back;
    let mut owned = kafka.claim(0, 0, &mut |_| Ok(0)).unwrap();
    let stranger = stranger(&log, 5);
    until("the owner sees what is held back", || {
        assert_eq!(owned.poll(&mut Vec::new(), WAIT).unwrap(), Polled::Idle);
        held_back() >= 5
    });
    drop(owned);
    assert_eq!(held_back(), 0);
    stranger.abort_transaction(LIMIT).unwrap();
}

/// The story: a transaction on the topic of events never ended. No process could claim the partition, and all that was said of it
/// is that the topic does not answer, although the cluster was well.
#[test]
fn a_claim_that_an_open_transaction_keeps_waiting_names_it() {
    let log = Log::new(1);
    let topic = &log.cluster.topics.events;
    let stranger = stranger_on(&log, topic, 1);
    let kafka = log.open();
    let Err(ClaimError::Log(error)) = kafka.claim(0, 0, &mut |_| Ok(0)) else {
        panic!("it has read past the transaction")
    };
    let told = error.to_string();
    assert!(told.contains("are held back by a transaction that nobody has ended"), "{told}");
    assert!(told.contains(&format!("describe-producers --topic {topic} --partition 0 names its producer")), "{told}");
    stranger.abort_transaction(LIMIT).unwrap();
    assert!(kafka.claim(0, 0, &mut |_| Ok(0)).is_ok(), "it goes on by itself once that has ended");
}
