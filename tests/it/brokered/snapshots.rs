//! Snapshots of a log on a cluster: a machine without a checkpoint begins with one of them.

use super::serve::Site;
use crate::process::agent;
use crate::rig::Rig;
use crate::wait::until;
use serde_json::{Value, json};

/// Whether the reservation of this key is answered with 201.
fn reserve(url: &str, n: u64) -> bool {
    let post = agent().post(format!("{url}/v1/reservations")).header("idempotency-key", format!("K{n}"));
    let body = json!({ "pool": "van-1", "demand": { "orders": 1 } }).to_string();
    let post = post.header("request-timeout-ms", "5000").content_type("application/json");
    post.send(body).is_ok_and(|reply| reply.status() == 201)
}

fn used(url: &str) -> u64 {
    let mut shown = agent().get(format!("{url}/v1/pools/van-1")).call().unwrap();
    let pool: Value = serde_json::from_str(&shown.body_mut().read_to_string().unwrap()).unwrap();
    pool["used"]["orders"].as_u64().unwrap()
}

/// The story: the only machine burns down, and a new one with an empty disk takes its place. It begins with the newest
/// snapshot, reads what came after it from the cluster, and answers every key as the first one did. When the bucket was
/// spoilt, it says so and reads the whole log.
#[test]
fn a_new_machine_begins_with_a_snapshot_and_ends_up_with_the_state_of_the_log() {
    let site = Site::new(Rig::shared(), 1);
    let folder = site.path("snapshots");
    std::fs::create_dir(&folder).unwrap();
    let place = format!("file://{}", folder.display());
    let settings = ["--snapshot-interval-ms", "1000", "--snapshots", &place];
    let first = site.serving("first").with(settings);
    first.start();
    first.ready();
    let url = first.url().unwrap();
    let put = agent().put(format!("{url}/v1/pools/van-1")).header("request-timeout-ms", "5000");
    let put = put.content_type("application/json");
    assert_eq!(put.send(r#"{"limits":{"orders":1000}}"#).unwrap().status(), 201);
    (0..40).for_each(|n| until("a yes", || reserve(&url, n)));
    until("a snapshot is written", || first.logged().contains("snapshot written"));
    (40..50).for_each(|n| until("a yes", || reserve(&url, n)));
    first.kill9();
    let verified = site.run(["verify", "--snapshots", &place]);
    assert_eq!(verified.code, 0, "{}{}", verified.out, verified.err);
    assert!(verified.out.contains(" of them with the state to which the events lead"), "{}", verified.out);
    let begin = |name: &str| {
        let machine = site.serving(name).with(settings);
        machine.start();
        machine.ready();
        let url = machine.url().unwrap();
        (0..50).for_each(|n| until("the answer of then", || reserve(&url, n)));
        assert_eq!(used(&url), 50);
        machine.terminate();
        machine.logged()
    };
    let logged = begin("second");
    assert!(logged.contains("no checkpoint: rebuilding from this snapshot and the log"), "{logged}");
    assert!(!logged.contains("snapshot not used"), "{logged}");
    let mut spoilt = 0;
    for log in std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
        for object in std::fs::read_dir(log.join("p0")).unwrap().map(|entry| entry.unwrap().path()) {
            if object.extension().is_some_and(|end| end == "rows") {
                std::fs::write(object, "nothing").unwrap();
                spoilt += 1;
            }
        }
    }
    assert!(spoilt > 0);
    let logged = begin("third");
    assert!(logged.contains("snapshot not used"), "{logged}");
    assert!(!logged.contains("rebuilding from this snapshot"), "{logged}");
    let verified = site.run(["verify"]);
    assert_eq!(verified.code, 0, "{}{}", verified.out, verified.err);
    let verified = site.run(["verify", "--snapshots", &place]);
    let named = verified.out.matches("BAD SNAPSHOT of partition 0: ").count();
    assert_eq!((verified.code, named), (1, spoilt), "{}{}", verified.out, verified.err);
}
