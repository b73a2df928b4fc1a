//! One command in the log twice, by an idempotent client. What librdkafka cannot be sure of it sends again under the same
//! number, which the broker knows. But an error on any partition makes it count anew on all of them, and what it sends
//! then is new to the broker.

use super::answers::{Told, pool, reserve};
use super::proxy::frame::PRODUCE;
use super::proxy::{Fault, Proxy, Rule, Which};
use super::service::Log;
use crate::fixtures::{dimension, pool_id, pool_of};
use crate::http::client::Reply;
use crate::rig::Rig;
use crate::server::Server;
use crate::wait::until;
use headroom::domain::Ledger;
use headroom::log::{ClusterLog, CommandSink, NewCommand};
use headroom::time::SystemClock;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::sync::Arc;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);
/// Error codes of Kafka's protocol.
const MESSAGE_TOO_LARGE: i16 = 10;
const NOT_ENOUGH_REPLICAS: i16 = 19;

/// What is in a partition of the commands, whoever wrote it.
fn written(log: &Log, partition: u32) -> Vec<Vec<u8>> {
    let reader: BaseConsumer = log.cluster.reply_reader().create().unwrap();
    let (topic, number) = (&log.cluster.topics.commands, partition.try_into().unwrap());
    let (first, end) = reader.fetch_watermarks(topic, number, LIMIT).unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, number, Offset::Beginning).unwrap();
    reader.assign(&list).unwrap();
    let next = |_| reader.poll(LIMIT).expect("what is below the end").unwrap().payload().unwrap().to_vec();
    (first..end).map(next).collect()
}

fn append(sink: &dyn CommandSink, partition: u32, text: &str) {
    let bytes = text.as_bytes();
    sink.append(NewCommand { partition, key: b"pool", bytes, cancels: None, trace: None }).unwrap();
}

/// Has `a` written to partition 0 and its answer lost, after these were written to partition 1 by the same client and
/// the first of them met this fault. Answers what is in both partitions when the client says that nothing is left to do.
fn lost(rig: &Rig, proxy: &Proxy, beside: &[&str], fault: Option<Fault>) -> [Vec<String>; 2] {
    let log = Log::on(rig.brokers(), 2);
    let kafka = log.by(&rig.proxied_broker()).open();
    let sink = kafka.producer().unwrap();
    let [of_a, of_b] = [0, 1].map(|p| Which::api(PRODUCE).of("commands").at(&log.cluster.topics.commands, p));
    // A first one of each, from which the client knows that all is well.
    append(&*sink, 0, "a0");
    append(&*sink, 1, "b0");
    until("both are written", || written(&log, 0).len() + written(&log, 1).len() == 2);

    let watch = proxy.every(Which::api(PRODUCE).of("commands"), Fault::Watch);
    let held = proxy.every(Which::api(PRODUCE).of("commands"), Fault::Hold);
    // All on one connection: whatever is told of partition 1 comes before the answer that is lost.
    for (n, text) in beside.iter().enumerate() {
        append(&*sink, 1, text);
        until("it waits at the proxy", || proxy.waiting(&of_b) == n + 1);
    }
    append(&*sink, 0, "a");
    until("it waits as well", || proxy.waiting(&of_a) == 1);
    let losing = proxy.next(1, of_a, Fault::LoseAnswer);
    let failing = fault.map(|fault| proxy.next(1, of_b, fault));
    drop(held);
    assert_eq!(sink.close(LIMIT), 0, "the client does not come to an end");
    assert_eq!((losing.count(), failing.as_ref().map_or(1, Rule::count)), (1, 1));
    println!("{beside:?}, {fault:?}:");
    watch.met().iter().for_each(|request| println!("  {request}"));
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let written = [0, 1].map(|partition| written(&log, partition).into_iter().map(text).collect());
    println!("  in the log: {written:?}");
    written
}

/// The story: an idempotent client loses a broker's answer while another partition fails, counts anew, and sends a
/// record again under a new number. The broker takes it for new, so one command lies in the log twice. This shows that
/// the client does so, which is why the owner has to know copies.
#[test]
fn a_lost_answer_and_a_failing_partition_make_a_duplicate_command() {
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

/// One owner of two partitions, and a gateway of another process that comes through the proxy.
struct Place<'p> {
    proxy: &'p Proxy,
    log: Log,
    owner: Server,
    gateway: Server,
    /// One in each partition.
    pools: [String; 2],
    /// What callers were told in each.
    told: [Told; 2],
}

impl Place<'_> {
    /// Has a command of the first partition asked of the gateway come to the log twice, while two callers ask in the
    /// second partition: first as it should, and once more after `between`. Answers what its caller was told.
    fn twice(&mut self, ask: impl FnOnce(&Server) -> Reply + Send, between: impl FnOnce(&Server)) -> Reply {
        let Place { proxy, log, owner, gateway, pools, told } = self;
        let commands = || Which::api(PRODUCE).of("commands");
        let [of_a, of_b] = [0, 1].map(|partition| commands().at(&log.cluster.topics.commands, partition));
        let before = written(log, 0);
        let reply = std::thread::scope(|scope| {
            let held = proxy.every(commands(), Fault::Hold);
            let beside = [0, 1].map(|n| {
                let (gateway, pool, key) = (&*gateway, &pools[1], format!("beside-{}-{n}", before.len()));
                let asking = scope.spawn(move || (reserve(gateway, pool, &key), key));
                until("it waits at the proxy", || proxy.waiting(&of_b) == n + 1);
                asking
            });
            let asking = scope.spawn(|| ask(gateway));
            until("it waits as well", || proxy.waiting(&of_a) == 1);
            let losing = proxy.next(1, of_a.clone(), Fault::LoseAnswer);
            let failing = proxy.next(1, of_b.clone(), Fault::Pretend(NOT_ENOUGH_REPLICAS));
            let answered = proxy.every(of_a.clone(), Fault::HoldAnswer);
            drop(held);
            until("it is written", || answered.count() == 1);
            let copy = proxy.every(of_a.clone(), Fault::Hold);
            drop(answered);
            let reply = asking.join().unwrap();
            until("its copy is on its way", || copy.count() == 1);
            assert_eq!((losing.count(), failing.count()), (1, 1));
            between(owner);
            drop(copy);
            for asking in beside {
                let (reply, key) = asking.join().unwrap();
                assert!(told[1].hear(&pools[1], &key, &reply), "{reply:?}");
            }
            reply
        });
        let handle = owner.gateway.replica().partition(0).unwrap();
        until("the copy is in the log", || count_of(&written(log, 0), &before) == 2);
        let end = written(log, 0).len() as u64;
        until("it is decided", || handle.read(|state| state.position().next_input) == end);
        reply
    }

    fn limit(&self) -> Option<u64> {
        let pool = pool_id(&self.pools[0]);
        self.log.rebuilt(0).pool(&pool)?.spec.limits.get(dimension("orders"))
    }
}

/// How often the command that was written first after these is there.
fn count_of(written: &[Vec<u8>], before: &[Vec<u8>]) -> usize {
    let command = written.get(before.len());
    written.iter().filter(|other| Some(*other) == command).count()
}

fn adjust(server: &Server, pool: &str, by: i64) -> Reply {
    let body = format!("{{\"adjust\":{{\"orders\":{by}}}}}");
    server.client().send("PATCH", &format!("/v1/pools/{pool}"), &["Request-Timeout-Ms: 5000"], &body)
}

/// The story: such a copy comes to the log after its first was refused, or after what it changed was told. Decided
/// again it would take capacity for a caller who was told no, or add five orders twice. It is decided once, and the
/// copy does nothing.
#[test]
fn a_command_that_comes_to_the_log_twice_is_decided_once() {
    let rig = Rig::proxied(&[]);
    let (log, proxy) = (Log::on(rig.brokers(), 2), Proxy::start(&rig));
    let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let owner = log.serve(dirs[0].path(), "gateway,owner", Arc::new(SystemClock::new()));
    let through = log.by(&rig.proxied_broker());
    let gateway = through.serve(dirs[1].path(), "gateway", Arc::new(SystemClock::new()));
    let pools = [0, 1].map(|partition| pool_of(partition, 2).as_str().to_owned());
    pool(&gateway, &pools[0], 1);
    pool(&gateway, &pools[1], 100);
    let mut place = Place { proxy: &proxy, log, owner, gateway, pools, told: Default::default() };
    let pool = place.pools[0].clone();
    assert!(place.told[0].reserve(&place.gateway, &pool, "first"));

    // There is room when the copy of a refused one comes.
    let refused =
        place.twice(|gateway| reserve(gateway, &pool, "late"), |owner| assert_eq!(adjust(owner, &pool, 5).status, 200));
    assert!(!place.told[0].hear(&pool, "late", &refused), "{refused:?}");
    assert_eq!(place.limit(), Some(6));
    place.told[0].check(&place.log, 0);

    // It has no key by which anybody would know it again.
    let adjusted = place.twice(|gateway| adjust(gateway, &pool, 5), |_| {});
    assert_eq!((adjusted.status, place.limit()), (200, Some(11)), "{adjusted:?}");

    assert!(place.told[0].reserve(&place.gateway, &pool, "last"));
    for (partition, told) in (0..).zip(&place.told) {
        told.check(&place.log, partition);
        place.log.alike(partition, &[&place.owner, &place.gateway]);
    }
}
