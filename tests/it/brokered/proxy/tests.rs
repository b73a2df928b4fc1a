//! The proxy itself: what tests with it take for granted.

use super::frame::{ADD_PARTITIONS_TO_TXN, END_TXN, FETCH, INIT_PRODUCER_ID, PRODUCE, Request};
use super::{Fault, Proxy, Which};
use crate::brokered::serve::Site;
use crate::brokered::service::Log;
use crate::rig::Rig;
use crate::wait::until;
use headroom::time::Stopwatch;
use parking_lot::Mutex;
use rdkafka::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext, ThreadedProducer};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);
/// Error codes of Kafka's protocol.
const NOT_ENOUGH_REPLICAS: i16 = 19;

/// How many records the client was told to be in the log.
#[derive(Default)]
struct Delivered(Mutex<usize>);

impl ClientContext for Delivered {}

impl ProducerContext for Delivered {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        assert!(result.is_ok(), "{result:?}");
        *self.0.lock() += 1;
    }
}

/// A partition, and a client that comes to it through the proxy.
struct Trial<'a> {
    proxy: &'a Proxy,
    log: &'a Log,
    producer: ThreadedProducer<Delivered>,
    sent: usize,
}

impl Trial<'_> {
    fn send(&mut self) {
        let record: BaseRecord<'_, (), [u8]> =
            BaseRecord::to(&self.log.cluster.topics.commands).partition(1).payload(b"command");
        self.producer.send(record).map_err(|(error, _)| error).unwrap();
        self.sent += 1;
    }

    fn is_delivered(&self) -> bool {
        *self.producer.context().0.lock() == self.sent
    }

    /// How many the log has.
    fn written(&self) -> usize {
        let reader: BaseConsumer = self.log.cluster.reply_reader().create().unwrap();
        let (_, end) = reader.fetch_watermarks(&self.log.cluster.topics.commands, 1, LIMIT).unwrap();
        end.try_into().unwrap()
    }

    fn which(&self) -> Which {
        Which::api(PRODUCE).of("commands").at(&self.log.cluster.topics.commands, 1)
    }

    /// Sends one that meets this fault. The client tries until it is in the log, where it is once. Answers the requests.
    fn meets(&mut self, fault: Fault) -> Vec<Request> {
        let (rule, watch) = (self.proxy.next(1, self.which(), fault), self.proxy.every(self.which(), Fault::Watch));
        self.send();
        until("it is delivered", || self.is_delivered());
        assert_eq!((rule.count(), self.written()), (1, self.sent), "{fault:?}");
        watch.met()
    }
}

#[test]
fn faults_happen_as_told_and_are_counted() {
    let rig = Rig::proxied(&[]);
    let (log, proxy) = (Log::on(rig.brokers(), 2), Proxy::start(&rig));
    let producer = log.by(&rig.proxied_broker()).cluster.commands().create_with_context(Delivered::default()).unwrap();
    let mut trial = Trial { proxy: &proxy, log: &log, producer, sent: 0 };
    assert_eq!(trial.meets(Fault::Watch).len(), 1);

    let (each, sending) = (Duration::from_millis(150), Stopwatch::start());
    assert_eq!(trial.meets(Fault::Late { request: each, answer: each }).len(), 1);
    assert!(sending.elapsed() >= 2 * each);

    let held = proxy.every(trial.which(), Fault::Hold);
    trial.send();
    until("the request waits", || proxy.waiting(&trial.which()) == 1 && held.count() == 1);
    assert_eq!((proxy.waiting(&Which::api(FETCH)), trial.written()), (0, trial.sent - 1));
    drop(held);
    until("it goes on", || trial.is_delivered());

    let held = proxy.every(trial.which(), Fault::HoldAnswer);
    trial.send();
    until("the answer waits", || held.count() == 1);
    assert_eq!((trial.is_delivered(), trial.written()), (false, trial.sent));
    drop(held);
    until("it goes on", || trial.is_delivered());

    // The broker is asked once more for what it has, and once for what it has not.
    for fault in [Fault::LoseAnswer, Fault::KeepAnswer, Fault::Spoil(NOT_ENOUGH_REPLICAS)] {
        let [first, again] = &trial.meets(fault)[..] else { panic!("{fault:?}") };
        assert_eq!(first.batch, again.batch, "{fault:?}");
    }
    for fault in [Fault::Cut, Fault::Pretend(NOT_ENOUGH_REPLICAS)] {
        assert_eq!(trial.meets(fault).len(), 2, "{fault:?}");
    }
}

#[test]
fn a_transaction_is_known_by_its_id() {
    let rig = Rig::proxied(&[]);
    let (log, proxy) = (Log::on(rig.brokers(), 1), Proxy::start(&rig));
    let by = log.by(&rig.proxied_broker());
    let events = &log.cluster.topics.events;
    let watches = [0, 1].map(|slot| {
        let config = by.cluster.transactional(log.manifest.log_id, 0, slot);
        let producer: BaseProducer = config.create().unwrap();
        let id = config.get("transactional.id").unwrap().to_owned();
        let watch = proxy.every(Which::all().of("turns").by(&id), Fault::Watch);
        producer.init_transactions(LIMIT).unwrap();
        producer.begin_transaction().unwrap();
        let record: BaseRecord<'_, (), [u8]> = BaseRecord::to(events).partition(0).payload(b"event");
        producer.send(record).map_err(|(error, _)| error).unwrap();
        producer.commit_transaction(LIMIT).unwrap();
        watch
    });
    for watch in watches {
        let met = watch.met();
        let mut asked: Vec<_> = met.iter().map(|request| request.api).collect();
        // The first transaction of a cluster has to wait until there is a coordinator.
        asked.dedup();
        assert_eq!(asked, [INIT_PRODUCER_ID, ADD_PARTITIONS_TO_TXN, PRODUCE, END_TXN]);
        let places: Vec<_> = met.iter().flat_map(|request| &request.places).collect();
        assert_eq!(places, [&(events.clone(), 0); 2]);
    }
}

/// How a test has one of two processes on a slow link.
#[test]
fn of_two_processes_one_is_on_a_slow_link() {
    let rig = Rig::proxied(&[]);
    let (site, proxy) = (Site::new(&rig, 2), Proxy::start(&rig));
    let each = Duration::from_millis(300);
    let late = proxy.every(Which::all(), Fault::Late { request: each, answer: each });
    let quick = site.serve("quick");
    assert_eq!(late.count(), 0);
    let slow = site.serve_by("slow", &rig.proxied_broker());
    let asked = late.count();
    assert!(asked > 0);
    until("it goes on asking", || late.count() > asked);
    slow.terminate();
    quick.terminate();
}
