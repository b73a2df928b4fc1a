//! One command in the log twice, by an idempotent client. What librdkafka cannot be sure of it sends again under the same
//! number, which the broker knows. But an error on any partition makes it count anew on all of them, and what it sends
//! then is new to the broker.

use super::proxy::frame::PRODUCE;
use super::proxy::{Fault, Proxy, Rule, Which};
use super::service::Log;
use crate::rig::Rig;
use crate::wait::until;
use headroom::log::kafka::Sink;
use headroom::log::{CommandSink, NewCommand};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);
/// Kafka's codes.
const MESSAGE_TOO_LARGE: i16 = 10;
const NOT_ENOUGH_REPLICAS: i16 = 19;

/// What is in a partition of the commands, whoever wrote it.
fn written(log: &Log, partition: u32) -> Vec<String> {
    let reader: BaseConsumer = log.cluster.reply_reader().create().unwrap();
    let (topic, number) = (&log.cluster.topics.commands, partition.try_into().unwrap());
    let (first, end) = reader.fetch_watermarks(topic, number, LIMIT).unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, number, Offset::Beginning).unwrap();
    reader.assign(&list).unwrap();
    let text = |_| {
        let message = reader.poll(LIMIT).expect("what is below the end").unwrap();
        String::from_utf8(message.payload().unwrap().to_vec()).unwrap()
    };
    (first..end).map(text).collect()
}

fn append(sink: &Sink, partition: u32, text: &str) {
    let bytes = text.as_bytes();
    sink.append(NewCommand { partition, key: b"pool", bytes, takes_back: None }).unwrap();
}

/// Has `a` written to partition 0 and its answer lost, after these were written to partition 1 by the same client and
/// the first of them met this fault. Answers what is in both partitions when the client says that nothing is left to do.
fn lost(rig: &Rig, proxy: &Proxy, beside: &[&str], fault: Option<Fault>) -> [Vec<String>; 2] {
    let log = Log::on(rig.brokers(), 2);
    let kafka = log.by(&rig.proxied_broker()).open();
    let sink = kafka.sink().unwrap();
    let [of_a, of_b] = [0, 1].map(|p| Which::api(PRODUCE).of("commands").at(&log.cluster.topics.commands, p));
    // A first one of each, from which the client knows that all is well.
    append(&sink, 0, "a0");
    append(&sink, 1, "b0");
    until("both are written", || written(&log, 0).len() + written(&log, 1).len() == 2);

    let watch = proxy.every(Which::api(PRODUCE).of("commands"), Fault::Watch);
    let held = proxy.every(Which::api(PRODUCE).of("commands"), Fault::Hold);
    // All on one connection: whatever is told of partition 1 comes before the answer that is lost.
    for (n, text) in beside.iter().enumerate() {
        append(&sink, 1, text);
        until("it waits at the proxy", || proxy.waiting(&of_b) == n + 1);
    }
    append(&sink, 0, "a");
    until("it waits as well", || proxy.waiting(&of_a) == 1);
    let losing = proxy.next(1, of_a, Fault::LoseAnswer);
    let failing = fault.map(|fault| proxy.next(1, of_b, fault));
    drop(held);
    assert_eq!(sink.close(LIMIT), 0, "the client does not come to an end");
    assert_eq!((losing.count(), failing.as_ref().map_or(1, Rule::count)), (1, 1));
    println!("{beside:?}, {fault:?}:");
    watch.met().iter().for_each(|request| println!("  {request}"));
    let written = [0, 1].map(|partition| written(&log, partition));
    println!("  in the log: {written:?}");
    written
}

#[test]
fn an_answer_that_is_lost_while_another_partition_fails_makes_a_copy() {
    let rig = Rig::proxied(&[]);
    let proxy = Proxy::start(&rig);
    // Alone it makes none.
    assert_eq!(lost(&rig, &proxy, &[], None), [vec!["a0", "a"], vec!["b0"]]);
    assert_eq!(lost(&rig, &proxy, &["b1", "b2"], None), [vec!["a0", "a"], vec!["b0", "b1", "b2"]]);
    // One that the broker does not take for good: its own caller is told by the client.
    let refused = Some(Fault::Pretend(MESSAGE_TOO_LARGE));
    assert_eq!(lost(&rig, &proxy, &["b1"], refused), [vec!["a0", "a", "a"], vec!["b0"]]);
    // One that it does not take now: the next is out of order then, which the broker says by itself.
    let later = Some(Fault::Pretend(NOT_ENOUGH_REPLICAS));
    assert_eq!(lost(&rig, &proxy, &["b1", "b2"], later), [vec!["a0", "a", "a"], vec!["b0", "b1", "b2"]]);
}
