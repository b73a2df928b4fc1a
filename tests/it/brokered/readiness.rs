//! What whole processes say of themselves when an owner or the only broker is gone, when the group of owners does not take them,
//! and when they are told wrong names.

use super::serve::{Serving, Site};
use crate::fixtures;
use crate::process::agent;
use crate::rig::Rig;
use crate::wait::until;
use headroom::log::ClusterLog;
use headroom::time::Stopwatch;
use rdkafka::consumer::{BaseConsumer, Consumer};
use serde_json::{Value, json};
use std::time::Duration;

pub(super) const PARTITIONS: u32 = 2;
/// For how long the only broker is away at least.
const AWAY: Duration = Duration::from_secs(20);

pub(super) fn readyz(process: &Serving<'_>) -> (u16, Value) {
    let mut reply = agent().get(format!("{}/readyz", process.url().unwrap())).call().unwrap();
    let body = reply.body_mut().read_to_string().unwrap();
    (reply.status().as_u16(), serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}")))
}

/// A pool of this partition.
fn pool_of(partition: u32) -> String {
    fixtures::pool_of(partition, PARTITIONS).as_str().to_owned()
}

pub(super) fn put(process: &Serving<'_>, partition: u32, timeout_ms: u64) -> u16 {
    let put = agent().put(format!("{}/v1/pools/{}", process.url().unwrap(), pool_of(partition)));
    let put = put.header("request-timeout-ms", timeout_ms.to_string()).content_type("application/json");
    put.send(json!({ "limits": { "orders": 9 } }).to_string()).unwrap().status().as_u16()
}

/// Lines of a process that say that something begins to be wrong with partitions, and that it is over.
fn told(process: &Serving<'_>) -> [Vec<String>; 2] {
    let logged = process.logged();
    ["partitions are degraded", "partitions are well again"]
        .map(|what| logged.lines().filter(|line| line.contains(what)).map(str::to_owned).collect())
}

#[test]
fn a_process_says_that_partitions_whose_owner_was_killed_decide_nothing() {
    let site = Site::new(Rig::shared(), PARTITIONS);
    let [process, other] = ["a", "b"].map(|name| site.serve(name));
    let is_given = |line: &str| line.contains("gives partitions") && !line.contains("partitions=[]");
    until("the other has its share", || other.logged().lines().any(is_given));
    (0..PARTITIONS).for_each(|p| until("the pool is made", || put(&process, p, 5_000) < 300));
    until("nothing is wrong", || readyz(&process).1["status"] == "ok");
    let before = told(&process).map(|lines| lines.len());
    other.kill9();
    let killed = Stopwatch::start();
    let mut seen = Value::Null;
    // On a busy machine signs of the owner may be missing for so long that readiness names that first.
    until("readiness names partitions in which nothing is decided", || {
        // Callers wait in vain for a moment, and are not heard any more then.
        for p in 0..PARTITIONS {
            let _ = put(&process, p, 250);
        }
        let (status, body) = readyz(&process);
        seen = body;
        let mut standings = seen["partitions"].as_object().into_iter().flat_map(|standings| standings.values());
        let is_told = |standing: &Value| standing["why"].as_str().unwrap().contains("nothing is decided");
        status == 200 && seen["status"] == "degraded" && standings.any(is_told)
    });
    println!("an owner's death is told after {:?}: {seen}", killed.elapsed());
    until("the partitions are this process's", || {
        (0..PARTITIONS).all(|p| put(&process, p, 5_000) < 300) && readyz(&process).1["status"] == "ok"
    });
    let [began, ended] = told(&process);
    // Partitions that are told apart at first may be well again in one line.
    let named =
        |line: &String| line.split_once("partitions=[").unwrap().1.split_once(']').unwrap().0.split(',').count();
    let [begun, over] = [&began, &ended].map(|lines| lines.iter().map(named).sum::<usize>());
    assert!(began.len() > before[0] && begun == over, "{began:?} {ended:?}");
    let last = (began.last().unwrap(), ended.last().unwrap());
    let whys = ["nothing is decided", "no process shows that it owns the partition"];
    assert!(last.0.contains("WARN") && whys.iter().any(|why| last.0.contains(why)), "{last:?}");
    assert!(last.1.contains("INFO") && last.1.contains("after_ms="), "{last:?}");
}

/// What a process counts under this name with its labels.
pub(super) fn metric(process: &Serving<'_>, name: &str) -> f64 {
    exported(process, name).unwrap_or_else(|| panic!("{name} is not exported"))
}

/// The same; `None` where it is not known.
fn exported(process: &Serving<'_>, name: &str) -> Option<f64> {
    let mut reply = agent().get(format!("{}/metrics", process.url().unwrap())).call().unwrap();
    let text = reply.body_mut().read_to_string().unwrap();
    let found = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    found.map(|value| value.parse().unwrap())
}

fn decides(process: &Serving<'_>, partition: u32) -> bool {
    metric(process, &format!("headroom_partition_deciding{{partition=\"{partition}\"}}")) == 1.0
}

pub(super) fn owns(process: &Serving<'_>, partition: u32) -> bool {
    metric(process, &format!("headroom_partition_status{{partition=\"{partition}\",status=\"active\"}}")) == 1.0
}

/// The story: a load balancer sends calls as soon as a process says that it is ready. Between having its states and owning them
/// the process kept the first callers waiting.
#[test]
fn a_process_is_ready_when_its_partitions_are_owned() {
    let site = Site::new(Rig::shared(), PARTITIONS);
    let process = site.serving("a");
    process.start();
    let mut seen = None;
    until("it is ready", || {
        seen = process.url().map(|_| readyz(&process));
        seen.as_ref().is_some_and(|(status, _)| *status == 200)
    });
    // Each had an owner by then, and nobody else could be it. On a slow machine it may give a partition back for a moment after
    // that, so this asks for what does not go away.
    let epoch = |p: u32| exported(&process, &format!("headroom_partition_epoch{{partition=\"{p}\"}}"));
    assert!((0..PARTITIONS).all(|p| epoch(p) >= Some(1.0)), "{seen:?}");
    let is_well = || readyz(&process).1["status"] == "ok";
    until("it owns them, and nothing is wrong", || (0..PARTITIONS).all(|p| owns(&process, p)) && is_well());
    (0..PARTITIONS).for_each(|p| assert!(put(&process, p, 5_000) < 300, "partition {p}"));
    // Of another one's partitions a process need not be the owner.
    let other = site.serve("b");
    assert!((0..PARTITIONS).all(|p| put(&other, p, 5_000) < 300));
}

#[test]
fn a_partition_on_which_nobody_calls_is_seen_to_have_no_owner() {
    let site = Site::new(Rig::shared(), PARTITIONS);
    let [process, other] = ["a", "b"].map(|name| site.serve(name));
    let mut owned = Vec::new();
    until("each has its share", || {
        owned = (0..PARTITIONS).filter(|p| owns(&other, *p)).collect();
        owned.len() == 1 && (0..PARTITIONS).all(|p| decides(&process, p) && decides(&other, p))
    });
    until("nothing is wrong", || readyz(&process).1["status"] == "ok");
    let of_lost = |name: &str| exported(&process, &format!("{name}{{partition=\"{}\"}}", owned[0]));
    until("the follower has all of the log", || of_lost("headroom_partition_lag_records") == Some(0.0));
    let handovers = ["headroom_handover_seconds_count", "headroom_handover_seconds_sum", "headroom_partition_epoch"];
    let before = handovers.map(|name| of_lost(name).unwrap());
    other.kill9();
    let killed = Stopwatch::start();
    let mut seen = Value::Null;
    until("readiness names the partition", || {
        seen = readyz(&process).1;
        seen["status"] == "degraded"
    });
    println!("an owner's death on which nobody called is told after {:?}: {seen}", killed.elapsed());
    let lost = owned[0].to_string();
    assert_eq!(seen["partitions"][&lost]["why"], "no process shows that it owns the partition", "{seen}");
    assert!(!decides(&process, owned[0]));
    let sign = format!("headroom_partition_silence_seconds{{partition=\"{lost}\",sign=\"owner\"}}");
    let silence = metric(&process, &sign);
    assert!(silence > 0.0 && of_lost("headroom_partition_outage_seconds") > Some(0.0), "{silence} s");
    until("it has an owner again", || readyz(&process).1["status"] == "ok");
    assert!(decides(&process, owned[0]));
    let after = handovers.map(|name| of_lost(name).unwrap());
    assert!(after[0] > before[0] && after[2] > before[2], "{before:?} {after:?}");
    // The last note may have come a moment before the owner's death.
    let (gap, known) = (after[1] - before[1], killed.elapsed().as_secs_f64() + 1.0);
    println!("nobody decided for {gap} s");
    assert!(gap >= silence && gap <= known, "{gap} s, after {silence} s of silence and {known} s in all");
    assert_eq!(of_lost("headroom_partition_outage_seconds"), Some(0.0));
}

#[test]
fn a_process_says_that_its_only_broker_is_gone_for_as_long_as_it_is() {
    let rig = Rig::start(1, false);
    let site = Site::new(&rig, PARTITIONS);
    let process = site.serve("a");
    (0..PARTITIONS).for_each(|p| until("the pool is made", || put(&process, p, 5_000) < 300));
    until("nothing is wrong", || readyz(&process).1["status"] == "ok");
    let killed = Stopwatch::start();
    rig.broker(1, "kill");
    let mut seen = (0, Value::Null);
    until("readiness says so", || {
        seen = readyz(&process);
        seen.0 == 503
    });
    println!("a broker's death is told after {:?}", killed.elapsed());
    let says = |seen: &(u16, Value)| {
        let why = |p: u32| seen.1["partitions"][p.to_string()]["why"].as_str().unwrap_or_default().to_owned();
        (0..PARTITIONS).all(|p| why(p).contains("does not answer"))
    };
    assert!(says(&seen), "{seen:?}");
    until("the broker was away for long", || {
        let seen = readyz(&process);
        assert!(seen.0 == 503 && says(&seen), "after {:?}: {seen:?}", killed.elapsed());
        killed.elapsed() > AWAY
    });
    rig.broker(1, "start");
    until("the process serves again", || readyz(&process).0 == 200);
    until("calls are decided", || (0..PARTITIONS).all(|p| put(&process, p, 5_000) < 300));
    until("nothing is wrong any more", || readyz(&process).1["status"] == "ok");
    let [began, ended] = told(&process);
    // A broker that has just started may be slow to decide something, too.
    let is_said = |line: &&String| line.contains("WARN") && line.contains("the cluster does not answer");
    assert_eq!(began.iter().filter(is_said).count(), 1, "{began:?} {ended:?}");
    let after_ms = |line: &String| line.rsplit_once("after_ms=").unwrap().1.parse::<u128>().unwrap();
    assert!(ended.iter().map(after_ms).max().unwrap() >= AWAY.as_millis(), "{ended:?}");
}

/// The story: the cluster did not take a process into the group of owners. No partition had an owner, and no line said why,
/// although the runbook names the line that does.
#[test]
fn a_process_that_the_group_of_owners_does_not_take_says_so() {
    let site = Site::new(Rig::shared(), PARTITIONS);
    let mut other_way = site.cluster().member(site.log().manifest().log_id);
    other_way.set("partition.assignment.strategy", "range").set("max.poll.interval.ms", "300000");
    let stranger: BaseConsumer = other_way.create().unwrap();
    stranger.subscribe(&[&site.cluster().topics.replies]).unwrap();
    let is_in = || {
        // What it reads, and what it cannot read, is of no interest.
        let _ = stranger.poll(Duration::from_millis(10));
        stranger.assignment().unwrap().count() > 0
    };
    until("a stranger is in the group, and spreads partitions in another way", is_in);
    let process = site.serving("a");
    process.start();
    until("the process says that it cannot join", || {
        is_in();
        process.logged().contains("this process cannot join the group of owners")
    });
    drop(stranger);
    until("it joins by itself once it can", || (0..PARTITIONS).all(|p| owns(&process, p)));
}

/// The topics of a log that is not there, one by one and all together.
#[test]
fn wrong_names_of_topics_are_refused_at_the_start() {
    let site = Site::new(Rig::shared(), PARTITIONS);
    let topics = &site.cluster().topics;
    let names = [
        ("--topic-commands", &topics.commands),
        ("--topic-events", &topics.events),
        ("--topic-replies", &topics.replies),
        ("--topic-dead-letters", &topics.dead_letters),
        ("--topic-manifest", &topics.manifest),
    ];
    for (flag, name) in names {
        let mut serve = site.command(["serve", "--listen", "127.0.0.1:0", flag, &format!("{name}-mistyped")]);
        let ended = crate::process::run(serve.arg("--data-dir").arg(site.path("a")));
        assert_ne!(ended.code, 0, "{flag}: {}{}", ended.out, ended.err);
        assert!(ended.err.contains(&format!("{name}-mistyped")), "{flag}: {}", ended.err);
    }
}
