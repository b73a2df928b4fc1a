//! Dead letters on a cluster: in a topic of their own before their turn is visible.

use super::serve::Site;
use super::{cluster, make_topics, open, prefix};
use crate::dead_letters::{Owner, PARTITIONS, definition, objects, of_unknown_schema, says};
use crate::fixtures::{hex, pool_of};
use crate::process::{Ended, run};
use crate::rig::Rig;
use crate::wait::until;
use headroom::limits::LETTERS_HOLD_MS;
use headroom::log::dead_letters::DeadLetters;
use headroom::log::kafka::Cluster;
use headroom::log::{CommitOutcome, CommittedTail};
use headroom::time::Stopwatch;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::Value;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(20);

/// A record's key and value.
type Written<'a> = (Option<&'a [u8]>, Option<&'a [u8]>);

/// Records in partition 0 of the commands, as any client may write them. In the log when this returns.
fn produce(cluster: &Cluster, records: &[Written<'_>]) {
    let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", &cluster.brokers).create().unwrap();
    for (key, bytes) in records {
        let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(&cluster.topics.commands).partition(0);
        record.key = *key;
        record.payload = *bytes;
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(LIMIT).unwrap();
}

#[test]
fn undecidable_commands_are_answered_and_kept_as_dead_letters() {
    let site = Site::new(Rig::shared(), PARTITIONS);
    let letters = |action, args: &[&str]| -> Ended {
        let ended = run(site.command(["dead-letters", action]).args(args));
        assert!(ended.code < 2, "{action}: {}", ended.err);
        ended
    };
    let server = site.serve("a");
    let (unknown, misrouted) = (of_unknown_schema(), definition(&pool_of(1, PARTITIONS)));
    let long = vec![7; 950_000];
    let records: [Written<'_>; 5] = [
        (Some(b"k1"), Some(b"garbage")),
        (None, Some(&unknown)),
        (Some(b"k3"), Some(&misrouted)),
        (Some(b"k4"), None),
        (Some(b"k5"), Some(&long)),
    ];
    produce(&site.log().cluster().clone(), &records);
    let list = || objects(&letters("list", &["--json"]).out);
    until("there are letters", || list().len() == 5);
    let reasons = ["shorter than its frame", "not known here", "misrouted", "shorter than its frame", "longer than"];
    let events = objects(&site.run(["cat", "--partition", "0"]).out);
    for (offset, (letter, reason)) in list().iter().zip(reasons).enumerate() {
        let (key, bytes) = records[offset];
        let id = format!("0-{offset}");
        assert_eq!((&letter["id"], &letter["offset"]), (&id.as_str().into(), &offset.to_string().into()));
        assert_eq!(letter["bytes"], bytes.map_or(0, <[u8]>::len));
        assert!(letter["reason"].as_str().unwrap().contains(reason), "{letter}");
        let shown: Value = serde_json::from_str(&letters("show", &[&id]).out).unwrap();
        assert_eq!(shown["key"], key.map_or(Value::Null, |key| hex(key).into()));
        let kept = bytes.map(|bytes| &bytes[..bytes.len().min(900 << 10)]);
        assert!(shown["value"] == kept.map_or(Value::Null, |bytes| hex(bytes).into()), "{id}");
        let event = events.iter().find(|event| event["input_offset"] == letter["offset"]).unwrap();
        assert_eq!(event["decided_at"], letter["at"]);
        assert!(["Malformed", "Rejected"].contains(&event["kind"].as_str().unwrap()), "{event}");
    }

    says(&letters("retry", &["0-0"]), 1, &["still cannot be read: shorter than its frame"]);
    says(&letters("retry", &["0-3"]), 1, &["its record had no value"]);
    says(&letters("retry", &["0-4"]), 1, &["0-4 had 950000 bytes, of which 921600 are kept"]);
    says(&letters("retry", &["0-2"]), 0, &["0-2 was appended again to partition 1"]);
    says(&letters("retry", &["0-2"]), 1, &["0-2 was retried already, at"]);
    // Its deadline has passed, which only who may decide it can say.
    until("it is decided where it belongs", || site.run(["cat", "--partition", "1"]).out.contains("\"expired\""));
    says(&letters("discard", &["0-0"]), 0, &["0-0 was discarded"]);
    says(&letters("discard", &["0-9"]), 1, &["there is no dead letter 0-9"]);
    let open: Vec<_> = list().iter().map(|letter| letter["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(open, ["0-1", "0-3", "0-4"]);
    let all = objects(&letters("list", &["--json", "--all"]).out);
    let states: Vec<_> = all.iter().map(|letter| letter["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["discarded", "open", "retried", "open", "open"]);
    server.terminate();
    says(&site.run(["verify"]), 0, &["clean", "5 of 5 commands are still in"]);
}

/// An owner that dies between the letter and the commit leaves a letter and no event; the next one writes both.
#[test]
fn a_dead_letter_outlives_the_turn_that_failed() {
    let prefix = prefix();
    make_topics(&prefix, PARTITIONS);
    produce(&cluster(&prefix), &[(Some(b"k"), Some(b"garbage"))]);
    let (first, second) = (open(&prefix, PARTITIONS), open(&prefix, PARTITIONS));
    let mut fenced = Owner::claim(&first);
    let mut next = Owner::claim(&second);
    let events = second.end(0).unwrap();
    let (turn, outcome) = fenced.decide(1);
    assert_eq!((turn.dead.len(), outcome), (1, CommitOutcome::Fenced));
    assert_eq!(second.end(0).unwrap(), events, "nothing of the turn is there");
    let letters = second.letters(0).unwrap();
    assert_eq!(letters.iter().map(|letter| letter.said.offset).collect::<Vec<_>>(), [0]);
    assert_eq!(next.decide(1).1, CommitOutcome::Ok);
    assert_eq!(second.end(0).unwrap(), events + 1);
    assert_eq!(second.letters(0).unwrap(), letters, "told twice, it is one");
    let original = second.original(letters[0].id()).unwrap();
    assert_eq!((original.key.as_deref(), original.bytes.as_deref()), (Some(&b"k"[..]), Some(&b"garbage"[..])));
}

/// What cannot be written keeps its turn from being committed, and not for ever.
#[test]
fn a_turn_waits_a_bounded_time_for_a_missing_dead_letter_topic() {
    let prefix = prefix();
    make_topics(&prefix, PARTITIONS);
    let cluster = cluster(&prefix);
    let client: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", &cluster.brokers).create().unwrap();
    let options = AdminOptions::new().operation_timeout(Some(LIMIT));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(client.delete_topics(&[&cluster.topics.dead_letters], &options)).unwrap();
    produce(&cluster, &[(None, Some(&definition(&pool_of(0, PARTITIONS)))), (None, Some(b"garbage"))]);
    let log = open(&prefix, PARTITIONS);
    let mut owner = Owner::claim(&log);
    let events = log.end(0).unwrap();
    let waiting = Stopwatch::start();
    assert_eq!(owner.decide(2).1, CommitOutcome::Unknown);
    let a_try = waiting.elapsed();
    assert_eq!(log.end(0).unwrap(), events);
    // An owner has to be made again after each try, and says so first.
    let mut undecided = events;
    until("the turn goes without its letters", || {
        drop(std::mem::replace(&mut owner, Owner::claim(&log)));
        undecided = log.end(0).unwrap();
        owner.decide(2).1 == CommitOutcome::Ok
    });
    assert!(waiting.elapsed() >= Duration::from_millis(LETTERS_HOLD_MS), "after {:?}", waiting.elapsed());
    assert_eq!(log.end(0).unwrap(), undecided + 2);
    assert!(log.paces().of(0).letter_failures > 0, "{:?}", log.paces().of(0));
    // From then on no turn waits for the tries that follow.
    let (going_on, mut longest) = (Stopwatch::start(), Duration::ZERO);
    until("letters were tried again", || {
        produce(&cluster, &[(None, Some(b"garbage"))]);
        let turn = Stopwatch::start();
        match owner.decide(1).1 {
            CommitOutcome::Ok => longest = longest.max(turn.elapsed()),
            // A broker on a busy machine may not answer in time.
            _ => drop(std::mem::replace(&mut owner, Owner::claim(&log))),
        }
        going_on.elapsed() > Duration::from_millis(LETTERS_HOLD_MS + 1_000)
    });
    assert!(longest < a_try, "a turn took {longest:?}, and a try {a_try:?}");
}
