//! The canary of a server with the embedded log.

use crate::fixtures::{amounts, open_pool, pool_id};
use crate::process::{Served, agent, headroom, run};
use crate::server::{Server, runtime};
use crate::wait::until;
use headroom::access::{Principal, Roles};
use headroom::domain::ids::INTERNAL_POOL_PREFIX;
use headroom::limits::DEADLINE_MAX_MS;
use headroom::service::CallContext;
use headroom::service::canary::Canary;
use headroom::service::watch::{Steps, Update, WatchFilter};
use headroom::time::Stopwatch;
use headroom::trace::Tracing;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::future::poll_fn;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

const PARTITIONS: u32 = 3;
/// Most rounds until one passes.
const ROUNDS_MAX: u32 = 50;

/// A server whose canary makes its rounds as often as it may.
fn serve(dir: &Path) -> Command {
    let mut serve = headroom(["serve", "--listen", "127.0.0.1:0", "--canary", "true", "--canary-interval-ms", "1000"]);
    serve.args(["--partitions", &PARTITIONS.to_string(), "--data-dir"]).arg(dir);
    serve
}

/// The samples of this metric on a partition, each with its labels and its value.
pub fn samples(url: &str, name: &str, partition: u32) -> Vec<(String, f64)> {
    let text = agent().get(format!("{url}/metrics")).call().unwrap().body_mut().read_to_string().unwrap();
    let of_partition = format!("partition=\"{partition}\"");
    let samples = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('{')?.rsplit_once("} "));
    let samples = samples.filter(|(labels, _)| labels.split(',').any(|label| label == of_partition));
    samples.map(|(labels, value)| (labels.to_owned(), value.parse().unwrap())).collect()
}

/// Whether the last round of the canary on this partition passed; `None` before the first one.
pub fn is_up(url: &str, partition: u32) -> Option<bool> {
    samples(url, "headroom_canary_up", partition).first().map(|(_, up)| *up == 1.0)
}

fn send(method: &str, url: &str, body: &Value) -> (u16, Value) {
    let request = ureq::http::Request::builder().method(method).uri(url).header("content-type", "application/json");
    let mut reply = agent().run(request.body(body.to_string()).unwrap()).unwrap();
    let text = reply.body_mut().read_to_string().unwrap();
    (reply.status().as_u16(), serde_json::from_str(&text).unwrap())
}

#[test]
fn the_canary_passes_on_every_partition_and_no_caller_sees_it() {
    let dir = tempfile::tempdir().unwrap();
    let served = Served::start(&mut serve(dir.path()));
    let url = &served.url;
    until("two rounds have passed on every partition", || {
        (0..PARTITIONS).all(|partition| {
            let rounds = samples(url, "headroom_canary_calls_total", partition);
            is_up(url, partition) == Some(true)
                && rounds.iter().any(|(by, n)| by.contains("outcome=\"ok\"") && *n >= 2.0)
        })
    });
    let (_, listed) = send("POST", &format!("{url}/v1/availability"), &json!({}));
    assert_eq!(listed["pools"], json!([]), "{listed}");
    let internal = format!("{INTERNAL_POOL_PREFIX}canary.0");
    let pool = format!("{url}/v1/pools/{internal}");
    let reserve = json!({ "pool": internal, "demand": { "units": 1 } });
    for (method, url, body) in [
        ("PUT", &pool, json!({ "limits": { "units": 9 } })),
        ("PATCH", &pool, json!({ "mode": "closed" })),
        ("POST", &format!("{url}/v1/reservations"), reserve),
    ] {
        let (status, problem) = send(method, url, &body);
        assert_eq!((status, &problem["code"]), (400, &json!("bad_name")), "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains("belong to Headroom itself"), "{problem}");
    }
    kill_process(Pid::from_child(served.running.child()), Signal::TERM).unwrap();
    let ended = served.running.ended();
    assert_eq!(ended.code, 0, "{}", ended.err);
    let printed = run(headroom(["cat", "--data-dir"]).arg(dir.path())).out;
    let events: Vec<Value> = printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |kind: &str| events.iter().filter(|event| event["kind"] == kind).collect::<Vec<_>>();
    assert!(of("Released").len() >= 2 * PARTITIONS as usize, "{printed}");
    let of_canary: Vec<_> = events.iter().filter(|event| event["actor"] == "canary").collect();
    // Each round is a Reserve and a Release.
    assert!(of_canary.len() >= 4 * PARTITIONS as usize, "{printed}");
    assert!(of_canary.iter().all(|event| event["internal"] == true), "{printed}");
    let verified = run(headroom(["verify", "--data-dir"]).arg(dir.path()));
    assert_eq!(verified.code, 0, "{}{}", verified.out, verified.err);
}

/// One round that passes. On a busy machine its calls may come too late.
async fn pass(canary: &Canary) {
    for _ in 0..ROUNDS_MAX {
        if canary.round().await.is_ok() {
            return;
        }
    }
    panic!("no round of {ROUNDS_MAX} passed");
}

/// What is told next, unless it is only the position.
async fn next(steps: &mut Steps) -> Update {
    loop {
        match poll_fn(|context| steps.poll_next(context)).await.unwrap().unwrap().update {
            Update::Changes(changes) if changes.is_empty() => {}
            told => return told,
        }
    }
}

#[test]
fn a_watch_of_everything_tells_nothing_of_the_canary() {
    let server = Server::alone();
    let tracing = Arc::new(Tracing::off(|| 7));
    let canary = Canary::new(Arc::clone(&server.service), Arc::clone(&tracing), 0).unwrap();
    runtime().block_on(async {
        pass(&canary).await;
        let mut steps = server.service.watch_pools(WatchFilter::default(), None).await.unwrap();
        let first = next(&mut steps).await;
        assert!(matches!(&first, Update::Snapshot { pools, is_last: true } if pools.is_empty()), "{first:?}");
        pass(&canary).await;
        let principal = Arc::new(Principal { name: None, roles: Roles::NONE });
        let (arrived, trace) = (server.service.now(), tracing.enter(None));
        let context = CallContext { key: None, principal, timeout_ms: Some(DEADLINE_MAX_MS), arrived, trace };
        let spec = open_pool(amounts(&[("orders", 1)]));
        server.service.define_pool(pool_id("p"), spec, None, context).await.unwrap();
        let Update::Changes(changes) = next(&mut steps).await else { panic!("the snapshot was over") };
        let of: Vec<_> = changes.iter().map(|change| change.event.body.pool_id()).collect();
        assert_eq!(of, [Some(&pool_id("p"))], "{changes:?}");
    });
}

#[test]
fn without_the_setting_there_is_no_canary() {
    let dir = tempfile::tempdir().unwrap();
    let mut serve = headroom(["serve", "--listen", "127.0.0.1:0", "--data-dir"]);
    let served = Served::start(serve.arg(dir.path()));
    assert_eq!(is_up(&served.url, 0), None);
    assert_eq!(samples(&served.url, "headroom_canary_calls_total", 0), []);
}

/// The story: an owner hangs, and at night nobody calls. Nobody would know before the first customer of the morning.
#[test]
fn a_partition_whose_owner_hangs_shows_and_the_others_pass() {
    if !cfg!(feature = "crash-points") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let served = Served::listening(serve(dir.path()).env("HEADROOM_CRASH_AT", "hang:owner-0"));
    let started = Stopwatch::start();
    until("it shows", || is_up(&served.url, 0) == Some(false));
    println!("an owner that hangs shows {:?} after the start", started.elapsed());
    until("the others pass", || (1..PARTITIONS).all(|partition| is_up(&served.url, partition) == Some(true)));
    let calls = samples(&served.url, "headroom_canary_calls_total", 0);
    assert!(calls.len() > 1, "no round was counted as failed: {calls:?}");
    assert!(calls.iter().all(|(by, count)| by.contains("outcome=\"ok\"") == (*count == 0.0)), "{calls:?}");
    let last = |partition| samples(&served.url, "headroom_canary_last_success_timestamp_seconds", partition)[0].1;
    until("only the others succeed", || last(0) < last(1) && last(0) < last(2));
}
