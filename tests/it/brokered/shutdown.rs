//! How processes on a cluster end: at once when a part of them is gone, and in time whatever the cluster does.

use super::serve::{Serving, Site, Whereabouts};
use crate::process::agent;
use crate::rig::Rig;
use crate::threads::ends_when_it_panics;
use crate::wait::until;
use headroom::limits::{LEAVE_MS, SHUTDOWN_MS};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions};
use rdkafka::client::DefaultClientContext;
use serde_json::json;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// More than the end may take: a machine under load is slow, and so is the end of a process.
const LIMIT: Duration = Duration::from_millis(LEAVE_MS + SHUTDOWN_MS + 2_000);

/// The story: one thread of the process panics. If the others went on, a partition would be owned and not decided, or
/// followed and never current, until a person notices. The process ends at once and names the thread, and another takes
/// over.
#[test]
fn a_panic_of_any_thread_ends_the_process() {
    if !cfg!(feature = "crash-points") {
        return;
    }
    let site = Site::new(Rig::shared(), 1);
    let threads = ["membership", "ownership", "follower", "probe", "replies", "commands", "standby-clients", "owner-0"];
    for thread in threads {
        let mut serve = site.command(["serve", "--listen", "127.0.0.1:0"]);
        ends_when_it_panics(serve.arg("--data-dir").arg(site.path(thread)), thread);
    }
}

/// What the process says of the partitions that do not decide.
fn readiness(process: &Serving<'_>) -> String {
    let url = format!("{}/readyz", process.url().unwrap());
    agent().get(url).call().unwrap().body_mut().read_to_string().unwrap()
}

/// The story: somebody adds partitions to the commands' topic. They are in the group's hands and are no partitions of
/// the log; an owner that waited for them would never end. They are named, and the process ends in time.
#[test]
fn partitions_that_are_added_are_named_and_keep_nobody_from_ending() {
    let site = Site::new(Rig::shared(), 2);
    let [first, second] = ["a", "b"].map(|name| site.serve(name));
    let is_given = |line: &str| line.contains("gives partitions") && !line.contains("partitions=[]");
    until("the second has its share", || second.logged().lines().any(is_given));
    let client: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", &site.cluster().brokers).create().unwrap();
    let more = NewPartitions::new(&site.cluster().topics.commands, 4);
    let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(20)));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert_eq!(runtime.block_on(client.create_partitions(&[more], &options)).unwrap().len(), 1);
    // Who leads the group counts them when it has to share them out anew.
    second.terminate();
    until("they are named", || {
        let ready = readiness(&first);
        ["2", "3"].iter().all(|p| ready.contains(&format!("\"{p}\":{{\"why\":\"the log's manifest does not count")))
    });
    let named = |line: &&str| line.contains("ERROR") && line.contains("the log's manifest does not count");
    assert_eq!(first.logged().lines().filter(named).count(), 2, "{}", first.logged());
    let (status, took) = first.end();
    assert!(status.success() && took < LIMIT, "{status} after {took:?}");
}

/// Reserves for as long as it is not over.
fn call(whereabouts: &Whereabouts, pool: &str, is_over: &AtomicBool, answered: &AtomicU64) {
    let agent = agent();
    let body = json!({ "pool": pool, "demand": { "orders": 1 } }).to_string();
    while !is_over.load(Relaxed) {
        let Some(address) = whereabouts.now() else { return };
        let request = agent.post(format!("http://{address}/v1/reservations")).header("request-timeout-ms", "2000");
        // The process may be gone.
        let _ = request.content_type("application/json").send(&body);
        answered.fetch_add(1, Relaxed);
    }
}

/// The story: a broker takes everything and answers nothing, while callers call and the process is told to end. Each
/// client waits for its own limit, one after the other, and the supervisor would kill the process with answers owed. It
/// ends within its limit.
#[test]
fn a_broker_that_hangs_keeps_nobody_from_ending() {
    let rig = Rig::start(1, false);
    let site = Site::new(&rig, 4);
    let process = site.serve("a");
    let body = json!({ "limits": { "orders": 1_000_000 } }).to_string();
    let pools: Vec<_> = (0..8).map(|n| format!("p{n}")).collect();
    for pool in &pools {
        let put = agent().put(format!("{}/v1/pools/{pool}", process.url().unwrap()));
        let made = put.header("request-timeout-ms", "5000").content_type("application/json").send(&body);
        assert_eq!(made.unwrap().status(), 201);
    }
    let (is_over, answered, whereabouts) = (AtomicBool::new(false), AtomicU64::new(0), process.whereabouts());
    let (status, took) = std::thread::scope(|scope| {
        for pool in &pools {
            scope.spawn(|| call(&whereabouts, pool, &is_over, &answered));
        }
        until("they are answered", || answered.load(Relaxed) > 500);
        rig.broker(1, "pause");
        let paused = answered.load(Relaxed);
        until("they are not answered as before", || answered.load(Relaxed) > paused + 8);
        let readyz = format!("{}/readyz", process.url().unwrap());
        until("the process says why", || {
            let ready = agent().get(&readyz).call().and_then(|mut reply| reply.body_mut().read_to_string());
            ready.is_ok_and(|ready| ready.contains("the cluster does not answer"))
        });
        let ended = process.end();
        is_over.store(true, Relaxed);
        rig.broker(1, "resume");
        ended
    });
    let logged = process.logged();
    assert!(took < LIMIT, "{took:?}: {logged}");
    // What came of its commands is not known, and the group could not be told: no clean end, and it is said why.
    assert!(logged.contains("are not known to be in the log"), "{logged}");
    assert_eq!(status.code(), Some(1), "{logged}");
    assert!(["could not leave", "takes too long"].iter().any(|what| logged.contains(what)), "{logged}");
}
