//! `headroom rebuild --swap`: a fresh state takes the place of the one in a running server's memory.

mod followed;
mod machine;

use crate::cli::{assert_says, on};
use crate::fixtures::{NOW, orders, pool_id};
use crate::process::{Ended, Served, agent, foreign_agent, headroom};
use crate::server::Server;
use crate::wait::until;
use crate::world::ManualClock;
use headroom::domain::LedgerMut;
use headroom::limits::CHECKPOINT_INTERVAL_MS;
use headroom::replica::PartitionHandle;
use headroom::store::Store;
use headroom::store::sled::SledStore;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// The report of a swap, and its exit code.
#[track_caller]
pub fn report(ended: &Ended) -> (Value, i32) {
    let read = serde_json::from_str(ended.out.lines().next().unwrap_or_default());
    (read.unwrap_or_else(|error| panic!("{error}: {}{}", ended.out, ended.err)), ended.code)
}

fn swap(dir: &Path) -> Ended {
    on(dir, ["rebuild", "--swap", "--partition", "0", "--json"])
}

pub fn define(url: &str, pool: &str) -> u16 {
    let put = agent().put(format!("{url}/v1/pools/{pool}")).header("request-timeout-ms", "5000");
    put.content_type("application/json").send(r#"{"limits":{"orders":2}}"#).unwrap().status().as_u16()
}

pub fn reserve(url: &str, pool: &str) -> u16 {
    let post = agent().post(format!("{url}/v1/reservations")).header("request-timeout-ms", "5000");
    let body = json!({ "pool": pool, "demand": { "orders": 1 } }).to_string();
    post.content_type("application/json").send(body).unwrap().status().as_u16()
}

/// The lines of metrics that begin so.
pub fn metrics(url: &str, name: &str) -> Vec<String> {
    let text = foreign_agent().get(format!("{url}/metrics")).call().unwrap().body_mut().read_to_string().unwrap();
    text.lines().filter(|line| line.starts_with(name)).map(str::to_owned).collect()
}

/// A slot for two orders looks like one for a hundred.
fn spoil_pool(handle: &PartitionHandle) {
    handle.write(|state| state.update_pool(&pool_id("van-1"), |pool| pool.spec.limits = orders(100)));
}

/// The story: a bit of the server's memory is not what it was, and a slot for two orders looks like one for a hundred. A
/// checkpoint has it, too. On call has the state replaced before the next order comes: nothing is overbooked, alerts fire,
/// and a restart does not bring the wrong state back.
#[test]
fn a_wrong_state_is_told_and_replaced_and_nothing_is_overbooked() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Arc::new(ManualClock::at(NOW)));
    let server = Server::start(dir.path(), 1, Arc::clone(&clock) as _);
    let url = format!("http://{}", server.address);
    assert_eq!(define(&url, "van-1"), 201);
    assert_eq!([(); 3].map(|()| reserve(&url, "van-1")), [201, 201, 409]);
    let handle = server.gateway.replica().partition(0).unwrap();
    spoil_pool(handle);
    clock.pass_ms(CHECKPOINT_INTERVAL_MS + 1);
    let written = "headroom_checkpoint_writes_total{partition=\"0\"}";
    until("a checkpoint has the wrong state", || !metrics(&url, written).is_empty());

    let (told, code) = report(&swap(dir.path()));
    assert_eq!((code, &told["verdict"], &told["result"]), (1, &"different".into(), &"swapped".into()), "{told}");
    assert_eq!((&told["role"], &told["fine"]), (&"owner".into(), &false.into()));
    assert_ne!(told["living"]["digest"], told["fresh"]["digest"]);
    assert_eq!([&told["first_seq"], &told["events_read"], &told["next_seq"]], [&json!(0), &json!(5), &json!(5)]);
    assert!(told["bytes_read"].as_u64() > Some(100) && told["ms"].is_u64() && told["snapshot"].is_null(), "{told}");
    assert_eq!([&told["build"], &told["server_build"]], [env!("CARGO_PKG_VERSION"); 2]);
    assert_eq!(reserve(&url, "van-1"), 409, "it is sold out again");

    assert_eq!(metrics(&url, "headroom_law_breaches_total{law=\"L7\"}"), ["headroom_law_breaches_total{law=\"L7\"} 1"]);
    let swaps = "headroom_state_swaps_total{partition=\"0\",result=\"different\"} 1";
    assert_eq!(metrics(&url, "headroom_state_swaps_total"), [swaps]);
    let live = "headroom_reservations_live{partition=\"0\"} 2";
    assert_eq!(metrics(&url, "headroom_reservations_live"), [live]);
    assert_eq!(on(dir.path(), ["rebuild", "--partition", "0"]).code, 0);
    let ended = swap(dir.path());
    let (again, code) = report(&ended);
    assert_eq!((code, &again["verdict"], &again["fine"]), (0, &"same".into(), &true.into()), "{again}");
    let end = again["next_seq"].as_u64().unwrap();
    assert_says(&ended.err, &[&format!("{end} of {end} events, 0 s left")]);
    drop(server);
    let kept = SledStore::open(dir.path()).load(0, &mut |_, _| {}).unwrap();
    assert!(kept.is_some(), "the fresh state was checkpointed");
    let verified = on(dir.path(), ["verify"]);
    assert_eq!(verified.code, 0, "{}{}", verified.out, verified.err);
    assert_says(&verified.out, &["clean: no law broken", "fold, checkpoint at"]);
    let stopped = on(dir.path(), ["rebuild", "--swap", "--partition", "0"]);
    assert_eq!(stopped.code, 2);
    assert_says(&stopped.err, &["no server is running on", "leave it out to make new checkpoints"]);
}

fn served(dir: &Path, partitions: &str, crash_at: Option<&str>) -> Served {
    let mut command = headroom(["serve", "--listen", "127.0.0.1:0", "--partitions", partitions, "--data-dir"]);
    command.envs(crash_at.map(|point| ("HEADROOM_CRASH_AT", format!("{point}:1"))));
    Served::start(command.arg(dir))
}

/// The story: on call is not sure, and has the states of a busy server replaced to be on the safe side. Nobody notices.
#[test]
fn states_are_replaced_under_load_and_every_answer_is_right() {
    let dir = tempfile::tempdir().unwrap();
    let server = served(dir.path(), "2", None);
    let (is_over, sold) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for caller in 0..4 {
            let (url, is_over, sold) = (server.url.as_str(), &is_over, &sold);
            scope.spawn(move || {
                for number in (0..).take_while(|_| !is_over.load(Relaxed)) {
                    let pool = format!("van-{caller}-{number}");
                    let told = [define(url, &pool), reserve(url, &pool), reserve(url, &pool), reserve(url, &pool)];
                    assert_eq!(told, [201, 201, 201, 409]);
                    sold.fetch_add(1, Relaxed);
                }
            });
        }
        let mut ended = Vec::new();
        for round in 1..=3 {
            until("callers are answered", || sold.load(Relaxed) >= 10 * round);
            ended.push(on(dir.path(), ["rebuild", "--swap", "--json"]));
        }
        // Before anything panics: the callers would never end.
        is_over.store(true, Relaxed);
        for ended in ended {
            assert_eq!(ended.code, 0, "{}{}", ended.out, ended.err);
            let told: Vec<Value> = ended.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            assert_eq!(told.iter().map(|told| &told["partition"]).collect::<Vec<_>>(), [0, 1]);
            assert!(told.iter().all(|told| told["verdict"] == "same" && told["role"] == "owner"), "{told:?}");
        }
    });
    let swaps = metrics(&server.url, "headroom_state_swaps_total");
    assert_eq!(swaps, ["0", "1"].map(|p| format!("headroom_state_swaps_total{{partition=\"{p}\",result=\"same\"}} 3")));
    assert_eq!(server.running.terminate().code, 0);
    assert_says(&on(dir.path(), ["verify"]).out, &["clean: no law broken", "fold, checkpoint at"]);
}

/// The story: the machine goes down while a state is being replaced. After the restart everything is as the log says, and
/// the command can be given again.
#[test]
fn killed_while_a_state_is_replaced_the_next_start_has_that_of_the_log() {
    for point in ["swap-begun", "swap-proven", "swap-done"] {
        let dir = tempfile::tempdir().unwrap();
        let mut server = served(dir.path(), "1", Some(point));
        assert_eq!(define(&server.url, "van-1"), 201);
        assert_eq!(reserve(&server.url, "van-1"), 201);
        let ended = swap(dir.path());
        assert_eq!((ended.code, &*ended.out), (3, ""), "{point}: {}", ended.err);
        assert_says(&ended.err, &["may have replaced the state or not", "try again"]);
        server.running.died(point);
        let server = served(dir.path(), "1", None);
        assert_eq!([(); 2].map(|()| reserve(&server.url, "van-1")), [201, 409], "{point}");
        let (told, code) = report(&swap(dir.path()));
        assert_eq!((code, &told["verdict"]), (0, &"same".into()), "{point}: {told}");
        assert_eq!(server.running.terminate().code, 0);
        assert_says(&on(dir.path(), ["verify"]).out, &["clean: no law broken"]);
    }
}

/// The same of a state that is wrong, with which the server began because its checkpoint is. From the moment at which that is
/// found, no start begins with it.
#[test]
fn killed_while_a_wrong_state_is_replaced_the_next_start_does_not_have_it() {
    for point in ["swap-begun", "swap-proven", "swap-forgotten", "swap-done"] {
        let (dir, clock) = (tempfile::tempdir().unwrap(), Arc::new(ManualClock::at(NOW)));
        let server = Server::start(dir.path(), 1, Arc::clone(&clock) as _);
        let url = format!("http://{}", server.address);
        assert_eq!(define(&url, "van-1"), 201);
        assert_eq!([(); 2].map(|()| reserve(&url, "van-1")), [201, 201]);
        spoil_pool(server.gateway.replica().partition(0).unwrap());
        drop(server);
        let mut server = served(dir.path(), "1", Some(point));
        let pool = agent().get(format!("{}/v1/pools/van-1", server.url)).call().unwrap().body_mut().read_to_string();
        let pool: Value = serde_json::from_str(&pool.unwrap()).unwrap();
        assert_eq!(pool["limits"]["orders"], 100, "it began with the checkpoint");
        let ended = swap(dir.path());
        assert_eq!((ended.code, &*ended.out), (3, ""), "{point}: {}", ended.err);
        server.running.died(point);
        let server = served(dir.path(), "1", None);
        assert_eq!(reserve(&server.url, "van-1"), 409, "{point}");
        assert_eq!(server.running.terminate().code, 0);
        assert_says(&on(dir.path(), ["verify"]).out, &["clean: no law broken"]);
    }
}
