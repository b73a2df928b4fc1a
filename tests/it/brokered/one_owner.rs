//! One owner at a time, whatever operators call themselves; and a log that two have written to is not passed over by
//! anybody.

use super::foreign_writer::plant;
use super::serve::Site;
use super::service::Log;
use super::{draw, log_id, make_topics, prefix};
use crate::process::agent;
use crate::rig::Rig;
use crate::turns;
use crate::wait::until;
use headroom::domain::Law;
use headroom::log::kafka::ops::manifest::FORMAT_VERSION;
use headroom::log::kafka::{Cluster, Framing, Kafka, Topics};
use headroom::log::{
    ClaimError, ClusterLog, CommitOutcome, CommittedTail, EventStream, Manifest, NewCommand, OwnedPartition,
    PartitionLog, Polled, StoredEvent, Streamed, Turn,
};
use headroom::time::Stopwatch;
use std::sync::Arc;
use std::time::Duration;

/// How long an owner is idle.
const IDLE: Duration = Duration::from_secs(4);

/// A log of one partition as a process sees it whose operator says this.
fn open(prefix: &str, log_id: u128, name: &str) -> Kafka {
    let cluster =
        Cluster { application: name.to_owned(), environment: format!("{name}-env"), ..super::cluster(prefix) };
    let manifest = Manifest {
        log_id,
        partitions: 1,
        hash_version: 1,
        format_version: FORMAT_VERSION,
        dedup_window_ms: 0,
        memory_version: headroom::limits::MEMORY_VERSION,
        created_at: headroom::domain::Micros(0),
    };
    Kafka::open(cluster, manifest, Framing::none(), draw).unwrap()
}

/// A turn of one event that decides nothing.
fn turn(seq: u64) -> Arc<Turn> {
    Arc::new(turns::turn(Vec::new(), &[StoredEvent { seq, bytes: vec![b'.'], trace: None }]))
}

/// The story: two deployments serve one log under different application or environment names. If these names made the
/// transactional ids, both would be owners and decide without each other. The ids are made of the log's own id, so one
/// fences the other.
#[test]
fn other_names_make_no_second_owner() {
    let prefix = prefix();
    make_topics(&prefix, 1);
    let [blue, green] = ["blue", "green"].map(|name| open(&prefix, log_id(&prefix), name));
    let mut first = blue.claim(0, 0, &mut |_| Ok(0)).unwrap();
    assert_eq!(first.commit(turn(0)), CommitOutcome::Ok);
    let mut folded = Vec::new();
    let mut second = green.claim(0, 0, &mut |event| {
        folded.push(event.seq);
        Ok(0)
    });
    assert_eq!((folded, first.commit(turn(1))), (vec![0], CommitOutcome::Fenced));
    assert_eq!(second.as_mut().unwrap().commit(turn(1)), CommitOutcome::Ok);
    assert_eq!(green.end(0), Ok(2));
}

/// The story: two manifests name the same events' topic by mistake, so that owners of two logs write into one. Neither
/// would know of the other's events. Both notice the foreign fence and stop.
#[test]
fn owners_of_two_logs_on_one_topic_stop() {
    let prefix = prefix();
    make_topics(&prefix, 1);
    let [one, other] = [1, 2].map(|n| open(&prefix, log_id(&prefix) ^ n, "headroom"));
    let mut owned = one.claim(0, 0, &mut |_| Ok(0)).unwrap();
    let is_breach =
        |claimed: Result<_, ClaimError>| matches!(claimed, Err(ClaimError::Breach(breach)) if breach.law == Law::Chain);
    assert!(is_breach(other.claim(0, 0, &mut |_| Ok(0)).map(drop)), "it found the other's fence");
    // Nothing was decided beside it, and it has left its own behind.
    assert_eq!(owned.commit(turn(0)), CommitOutcome::Fenced);
    assert!(is_breach(one.claim(0, 0, &mut |_| Ok(0)).map(drop)));
    assert!(other.read(0, 0, 1).is_err(), "nor is it read");
}

/// The story: gateways of two logs append to one commands' topic. Each owner would decide the other's orders too. A
/// command says which log it is asked of; each decides its own, and answers the others' as malformed.
#[test]
fn what_is_asked_of_one_log_is_not_decided_by_another() {
    let [prefix, other] = [prefix(), prefix()];
    make_topics(&prefix, 1);
    make_topics(&other, 1);
    let one = open(&prefix, log_id(&prefix), "headroom");
    let two = {
        let topics = Topics { commands: one.cluster().topics.commands.clone(), ..Topics::of(&other) };
        let cluster = Cluster { topics, ..super::cluster(&other) };
        Kafka::open(cluster, Manifest { log_id: log_id(&other), ..*one.manifest() }, Framing::none(), draw).unwrap()
    };
    for (log, bytes) in [(&one, b"one"), (&two, b"two"), (&one, b"one")] {
        let sink = log.producer().unwrap();
        sink.append(NewCommand { partition: 0, key: b"pool", bytes, cancels: None, trace: None }).unwrap();
        assert_eq!(sink.close(Duration::from_secs(30)), 0);
    }
    let polled = |log: &Kafka| {
        let mut owned = log.claim(0, 0, &mut |_| Ok(0)).unwrap();
        let mut batch = Vec::new();
        until("all of them came", || {
            owned.poll(&mut batch, Duration::from_millis(60)).unwrap();
            batch.len() == 3
        });
        batch.into_iter().map(|record| record.bytes).collect::<Vec<_>>()
    };
    let strange = b"asked of another log".to_vec();
    assert_eq!(polled(&one), [b"one".to_vec(), strange.clone(), b"one".to_vec()]);
    assert_eq!(polled(&two), [strange.clone(), b"two".to_vec(), strange]);
}

/// The story: between two turns somebody writes into the owner's events, first what is no event, then what looks like
/// one. An owner that never read its own partition would go on and fork the log. It reads what it has not written, and
/// stops at a sequence number that comes again.
#[test]
fn an_owner_looks_at_what_it_has_not_written() {
    let prefix = prefix();
    make_topics(&prefix, 1);
    let log = open(&prefix, log_id(&prefix), "headroom");
    let mut owned = log.claim(0, 0, &mut |_| Ok(0)).unwrap();
    for seq in 0..12 {
        assert_eq!(owned.commit(turn(seq)), CommitOutcome::Ok);
        if seq % 3 == 1 {
            plant(log.cluster(), 0, None);
        }
    }
    assert_eq!(owned.poll(&mut Vec::new(), Duration::ZERO), Ok(Polled::Idle));
    plant(log.cluster(), 0, Some((11, b"another")));
    // It is not known yet what is said twice.
    assert_eq!(owned.commit(turn(12)), CommitOutcome::Ok);
    let mut why = None;
    until("the owner has read it", || {
        why = owned.poll(&mut Vec::new(), Duration::from_millis(60)).err();
        why.is_some()
    });
    assert!(why.is_some_and(|why| why.detail.contains("L3 broken at partition 0 seq 11")));
}

/// The story: somebody has written event 2 a second time. The owner has committed a turn behind it and ends before it has
/// read what that was, for example because the cluster did not answer in time. Its process claims the partition again from
/// the state that it has, which is ahead of the fork. A claim that read only what follows would pass the fork over.
#[test]
fn an_owner_that_ends_before_it_has_looked_does_not_pass_a_fork_over() {
    let prefix = prefix();
    make_topics(&prefix, 1);
    let log = open(&prefix, log_id(&prefix), "headroom");
    let mut owned = log.claim(0, 0, &mut |_| Ok(0)).unwrap();
    (0..3).for_each(|seq| assert_eq!(owned.commit(turn(seq)), CommitOutcome::Ok));
    plant(log.cluster(), 0, Some((2, b"another")));
    (3..5).for_each(|seq| assert_eq!(owned.commit(turn(seq)), CommitOutcome::Ok));
    drop(owned);
    match log.claim(0, 5, &mut |_| Ok(0)) {
        Err(ClaimError::Breach(breach)) => assert_eq!((breach.law, breach.seq), (Law::Chain, 2)),
        other => panic!("{:?}", other.map(drop)),
    }
}

/// The story: two owners have both written event 11. Readers that took the first, or the last, would differ from each
/// other. Everybody who reads the log finds the fork and names it.
#[test]
fn a_sequence_number_that_comes_again_is_a_breach_for_everyone_who_reads() {
    let prefix = prefix();
    make_topics(&prefix, 1);
    let log = open(&prefix, log_id(&prefix), "headroom");
    let mut stream = log.stream().unwrap();
    stream.follow(0, 0).unwrap();
    let mut owned = log.claim(0, 0, &mut |_| Ok(0)).unwrap();
    for seq in 0..3 {
        assert_eq!(owned.commit(turn(seq)), CommitOutcome::Ok);
    }
    plant(log.cluster(), 0, Some((2, b"another")));
    let mut seen = Vec::new();
    let mut broken = None;
    until("the stream says so", || {
        match stream.next(Duration::from_millis(10)).unwrap() {
            Some((0, Streamed::Event(event))) => seen.push(event.seq),
            Some((0, Streamed::Broken(breach))) => broken = Some(breach),
            _ => {}
        }
        broken.is_some()
    });
    let broken = broken.unwrap();
    assert_eq!((seen, broken.law, broken.seq), (vec![0, 1, 2], Law::Chain, 2));
    for from in 0..3 {
        match log.claim(0, from, &mut |_| Ok(0)) {
            Err(ClaimError::Breach(breach)) => assert_eq!(breach, broken),
            other => panic!("{:?}", other.map(drop)),
        }
        let whole = open(&prefix, log_id(&prefix), "headroom").read(0, from, usize::MAX);
        assert!(whole.is_err_and(|error| error.detail == broken.to_string()));
    }
}

/// The story: the same with whole processes. Nobody serves the forked partition, everybody says why, and the other
/// partitions are served.
#[test]
fn a_fork_stops_its_partition_everywhere() {
    let site = Site::new(Rig::shared(), 2);
    let processes = [site.serve("a"), site.serve("b")];
    let agent = agent();
    let urls: Vec<String> = processes.iter().map(|process| process.url().unwrap()).collect();
    let put = |url: &str, pool: &str, n: u64| {
        let put = agent.put(format!("{url}/v1/pools/{pool}")).content_type("application/json");
        put.send(format!("{{\"limits\":{{\"orders\":{n}}}}}")).unwrap().status().as_u16()
    };
    // One pool of each partition.
    let pools = [0, 1].map(|p| {
        let name = |n: &u32| headroom::domain::PoolId::new(&format!("van-{n}")).unwrap();
        let n = (0..).find(|n| headroom::domain::route::partition_of(&name(n), 2) == p).unwrap();
        format!("van-{n}")
    });
    pools.iter().for_each(|pool| until("the pool is made", || put(&urls[0], pool, 5) < 300));
    let log = site.log();
    let last = log.read(0, log.end(0).unwrap() - 1, 1).unwrap().remove(0);
    plant(log.cluster(), 0, Some((last.seq, &last.bytes)));
    let reasons = |url: &String| {
        let mut reply = agent.get(format!("{url}/readyz")).call().unwrap();
        let body: serde_json::Value = serde_json::from_str(&reply.body_mut().read_to_string().unwrap()).unwrap();
        body["partitions"].clone()
    };
    for url in &urls {
        until("the process says why", || {
            // An owner that nobody calls looks seldom, and a process that knows of the fork passes no call on: each is
            // called itself. A call may be shed for another reason.
            let refused = put(url, &pools[0], 6) == 503 && put(url, &pools[1], 6) == 200;
            let reasons = reasons(url);
            let told = reasons["0"]["why"].as_str().is_some_and(|why| why.contains("L3 broken"));
            refused && told && reasons["1"].is_null()
        });
    }
    let verified = site.run(["verify"]);
    assert_eq!(verified.code, 1, "{}{}", verified.out, verified.err);
    assert!(verified.out.contains("L3 broken at partition 0"), "{}", verified.out);
}

/// What an idle owner reads stays current: all that lies in its partition is its own.
#[test]
fn an_idle_owner_stays_current() {
    let log = Log::new(1);
    let dir = tempfile::tempdir().unwrap();
    let server = log.serve_alone(dir.path());
    for orders in 1..12 {
        super::answers::pool(&server, "van-1", orders);
    }
    let staleness = || server.client().post("/v1/availability", "{}").json()["staleness_ms"].as_u64().unwrap();
    let idle = Stopwatch::start();
    until("it has been idle for a while", || idle.elapsed() > IDLE);
    // One that ages is as old by now, and older with every look; a machine that stands still for a moment is none.
    let mut best = u64::MAX;
    until("it is current, or has been idle for long", || {
        best = best.min(staleness());
        u128::from(best) < IDLE.as_millis() / 2 || idle.elapsed() > 4 * IDLE
    });
    assert!(u128::from(best) < IDLE.as_millis() / 2, "{best} ms");
}

#[test]
fn a_log_of_its_own_keeps_a_name_of_everyone() {
    // Both say application and environment alike; the broker has other logs that do so, too.
    let logs = [Log::new(1), Log::new(1)];
    let owned = logs.each_ref().map(|log| log.open().claim(0, 0, &mut |_| Ok(0)).unwrap());
    for mut owned in owned {
        assert_eq!(owned.commit(turn(0)), CommitOutcome::Ok);
    }
}
