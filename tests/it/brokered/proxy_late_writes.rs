//! What an old owner wrote and what comes to the log after the next one has claimed it: nobody ever sees it.

use super::proxy::frame::{ADD_PARTITIONS_TO_TXN, PRODUCE};
use super::proxy::{Fault, Proxy, Which};
use super::service::Log;
use crate::rig::Rig;
use crate::wait::until;
use headroom::log::kafka::{Kafka, Owned};
use headroom::log::{CommitOutcome, OwnedPartition, PartitionLog, Turn, TurnEvent};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::sync::Arc;
use std::time::Duration;

/// Longest wait for a record.
const LIMIT: Duration = Duration::from_secs(30);
/// Turns before the one that is late: both producers have had theirs, and the second is next.
const BEFORE: u64 = 3;

/// An owner of the first partition, and where its log goes on.
pub struct Owner {
    owned: Owned,
    next_seq: u64,
}

impl Owner {
    pub fn claim(kafka: &Kafka) -> Owner {
        let mut next_seq = 0;
        let owned = kafka.claim(0, 0, &mut |event| {
            next_seq = event.seq + 1;
            Ok(0)
        });
        Owner { owned: owned.unwrap(), next_seq }
    }

    /// One turn of one event, which says who made it.
    pub fn turn(&mut self, by: &str) -> CommitOutcome {
        let seq = self.next_seq;
        self.next_seq += 1;
        let event = TurnEvent { seq, key: None, bytes: format!("{by}-{seq}").into_bytes() };
        self.owned.commit(Arc::new(Turn { events: vec![event], ..Turn::default() }))
    }
}

/// What readers of committed records see up to this one.
pub fn seen(log: &Log, last: &str) -> Vec<String> {
    let reader: BaseConsumer = log.cluster.reader().create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&log.cluster.topics.events, 0, Offset::Beginning).unwrap();
    reader.assign(&list).unwrap();
    let mut seen = Vec::new();
    while seen.last().is_none_or(|text| text != last) {
        let message = reader.poll(LIMIT).expect("a record, and the last one is not seen").unwrap();
        // What has no value is a fence.
        seen.extend(message.payload().map(|bytes| String::from_utf8(bytes.to_vec()).unwrap()));
    }
    seen
}

/// Has a record of the old owner's second producer come to the broker after another owner has claimed. Its coordinator
/// may have lost all memory of the transaction that it is part of. Answers what is seen, and what is right.
fn late(rig: &Rig, proxy: &Proxy, is_forgotten: bool) -> [Vec<String>; 2] {
    let log = Log::on(rig.brokers(), 1);
    let old = log.by(&rig.proxied_broker()).open();
    let id = log.cluster.transactional(log.manifest.log_id, 0, 1).get("transactional.id").unwrap().to_owned();
    let (mut owner, new) = (Owner::claim(&old), log.open());
    for _ in 0..BEFORE {
        assert_eq!(owner.turn("old"), CommitOutcome::Ok);
    }
    let held = proxy.every(Which::api(PRODUCE).by(&id), Fault::Hold);
    // A coordinator that answers, and has nothing afterwards.
    let forgets = proxy.next(usize::from(is_forgotten), Which::api(ADD_PARTITIONS_TO_TXN).by(&id), Fault::Pretend(0));
    let (outcome, mut heir) = std::thread::scope(|scope| {
        let turning = scope.spawn(|| owner.turn("old"));
        until("its record is on its way", || held.count() == 1);
        let heir = Owner::claim(&new);
        let asked = proxy.every(Which::api(PRODUCE).by(&id), Fault::Watch);
        drop(held);
        let outcome = turning.join().unwrap();
        assert!(asked.count() > 0, "the record has come to the broker");
        (outcome, heir)
    });
    assert_eq!(forgets.count(), usize::from(is_forgotten));
    // Both of its producers have had their turns, twice.
    for _ in 0..4 {
        assert_eq!(heir.turn("new"), CommitOutcome::Ok);
    }
    let right = (0..BEFORE + 4).map(|seq| format!("{}-{seq}", if seq < BEFORE { "old" } else { "new" }));
    let right: Vec<_> = right.collect();
    let seen = seen(&log, right.last().unwrap());
    println!("forgotten: {is_forgotten}; the old owner was told {outcome:?}; seen: {seen:?}");
    assert!(matches!(outcome, CommitOutcome::Fenced | CommitOutcome::Unknown), "{outcome:?}");
    [seen, right]
}

fn nothing_late_is_seen(settings: &[&str]) {
    let rig = Rig::proxied(settings);
    let proxy = Proxy::start(&rig);
    for is_forgotten in [false, true] {
        let [seen, right] = late(&rig, &proxy, is_forgotten);
        assert_eq!(seen, right, "forgotten: {is_forgotten}");
    }
}

/// The story: an old owner's record hangs in the network while another process claims the partition and decides. When
/// it comes to the broker at last, it could join the new owner's log and fork it. The claim's fence has raised the
/// producer's epoch, so nobody ever sees the late record, even if the coordinator forgot the transaction.
#[test]
fn what_an_old_owner_wrote_late_is_never_seen() {
    nothing_late_is_seen(&[]);
}

/// The story: the same on brokers as they were before 3.6, which take a record without asking the coordinator whether
/// there is a transaction. The fence has to hold there as well.
#[test]
fn what_an_old_owner_wrote_late_is_never_seen_where_brokers_do_not_verify() {
    nothing_late_is_seen(&["transaction.partition.verification.enable=false"]);
}
