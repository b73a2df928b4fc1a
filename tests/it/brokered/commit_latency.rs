//! The commit trap: the client's own flush, which every commit begins with, waits for delivery reports in steps of
//! 100 ms. Turns of this size take a few milliseconds; whoever falls into the trap is never below a hundred, so the
//! middle of many turns tells.

use super::{cluster, log_id, make_topics, open, prefix};
use crate::wait::until;
use headroom::log::kafka::{Kafka, Owned};
use headroom::log::{CommitOutcome, OwnedPartition, PartitionLog, Turn, TurnEvent};
use headroom::time::Stopwatch;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::util::Timeout;
use std::sync::Arc;
use std::time::Duration;

/// No turn in the trap is quicker, and no middle of turns outside of it is this slow.
const TRAPPED: Duration = Duration::from_millis(90);
const TURNS: u64 = 60;
const EVENTS_MAX: u64 = 50;
const EVENT_BYTES: usize = 300;
/// Longest wait for anything of the naive producer.
const LONG: Duration = Duration::from_secs(30);

/// Claims the partition; answers the next sequence number as well.
fn claim(kafka: &Kafka) -> (Owned, u64) {
    let mut next_seq = 0;
    let owned = kafka.claim(0, 0, &mut |event| {
        next_seq = event.seq + 1;
        Ok(0)
    });
    (owned.unwrap(), next_seq)
}

/// Events that decide no command, as timers' do not.
fn turn(next_seq: u64, count: u64) -> Arc<Turn> {
    let event = |seq| TurnEvent { seq, key: None, bytes: vec![b'.'; EVENT_BYTES] };
    Arc::new(Turn { events: (next_seq..next_seq + count).map(event).collect(), ..Turn::default() })
}

/// Sorts what turns took, and says it.
fn distribution(what: &str, mut took: Vec<Duration>) -> Vec<Duration> {
    took.sort_unstable();
    let at = |percent: usize| took[(took.len() - 1) * percent / 100];
    let trapped = took.iter().filter(|took| **took >= TRAPPED).count();
    let (turns, max) = (took.len(), took[took.len() - 1]);
    println!("{what}: {turns} turns, p50 {:?}, p90 {:?}, p99 {:?}, max {max:?}", at(50), at(90), at(99));
    println!("{what}: {trapped} of them took {TRAPPED:?} or more");
    took
}

/// What so many turns took, in one go.
fn take_turns(kafka: &Kafka) -> Vec<Duration> {
    let (mut owned, mut next_seq) = claim(kafka);
    let take = |n| {
        let turn = turn(next_seq, n * 7 % EVENTS_MAX + 1);
        next_seq += turn.events.len() as u64;
        let turning = Stopwatch::start();
        let outcome = owned.commit(turn);
        let took = turning.elapsed();
        if outcome != CommitOutcome::Ok {
            // A machine that has stood still for a moment: a slow commit ends its owner.
            (owned, next_seq) = claim(kafka);
        }
        took
    };
    (0..TURNS).map(take).collect()
}

/// Noise makes a round slow, and then another is taken; the trap makes every round slow.
#[test]
fn turns_of_an_owner_do_not_wait_for_the_clients_flush() {
    let prefix = prefix();
    make_topics(&prefix, 1);
    let kafka = open(&prefix, 1);
    until("a round of turns whose middle does not wait for the client's flush", || {
        let took = distribution("an owner", take_turns(&kafka));
        took[took.len() / 2] < TRAPPED
    });
    assert!(kafka.paces().of(0).turns >= TURNS && kafka.paces().of(0).commit_us > 0);
}

/// What the test above guards against is there in this client, so that it would be seen.
#[test]
fn turns_that_leave_delivery_to_the_client_wait_for_its_flush() {
    let prefix = prefix();
    make_topics(&prefix, 1);
    let cluster = cluster(&prefix);
    let producer: BaseProducer = cluster.transactional(log_id(&prefix), 0, 0).create().unwrap();
    producer.init_transactions(LONG).unwrap();
    let bytes = [b'.'; EVENT_BYTES];
    let took = (0..9).map(|_| {
        let turning = Stopwatch::start();
        producer.begin_transaction().unwrap();
        let record: BaseRecord<'_, (), [u8]> = BaseRecord::to(&cluster.topics.events).partition(0).payload(&bytes);
        producer.send(record).map_err(|(error, _)| error).unwrap();
        producer.commit_transaction(Timeout::After(LONG)).unwrap();
        turning.elapsed()
    });
    let took = distribution("the client alone", took.collect());
    assert!(took[took.len() / 2] >= TRAPPED, "the client's flush has changed, and turns may rely on it: {took:?}");
}
