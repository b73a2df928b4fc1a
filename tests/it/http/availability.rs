//! Availability over several partitions: exactly the pools asked for, in order, over several pages; and how true it is
//! while others write (L8).

use super::client::Client;
use crate::fixtures::pool_id;
use crate::server::Server;
use headroom::domain::route;
use headroom::time::SystemClock;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

const PARTITIONS: u32 = 4;
const WRITERS: usize = 3;
const READS: usize = 150;
const WRITES: usize = 60;
/// No caller here is in a hurry.
const PATIENT: &[&str] = &["Request-Timeout-Ms: 5000"];

fn serving(run: impl FnOnce(&Server)) {
    let dir = tempfile::tempdir().unwrap();
    run(&Server::start(dir.path(), PARTITIONS, Arc::new(SystemClock::new())));
}

fn define(client: &mut Client, pool: &str, body: &Value) {
    let reply = client.send("PUT", &format!("/v1/pools/{pool}"), PATIENT, &body.to_string());
    assert_eq!(reply.status, 201, "{reply:?}");
}

/// Thirty pools that differ by place, hour, label, what is left and mode.
fn thirty(client: &mut Client) {
    for n in 0..30 {
        let hour = |plus: i32| format!("2126-11-21T{:02}:00:00Z", n % 3 * 2 + plus);
        let body = json!({
            "limits": {"orders": if n % 5 == 0 { 1 } else { 2 }, "crates": 10},
            "areas": [format!("A{}", n % 2), "B"],
            "window": {"start": hour(8), "end": hour(10)},
            "labels": {"fleet": if n % 7 == 0 { "bike" } else { "van" }, "n": n.to_string()},
            "mode": if n == 11 { "paused" } else { "open" },
        });
        define(client, &format!("p{n:02}"), &body);
    }
}

/// The ids on every page that follows on the first, and how long each page is.
fn pages(client: &mut Client, query: &Value) -> (Vec<String>, Vec<usize>) {
    let (mut ids, mut sizes, mut query) = (Vec::new(), Vec::new(), query.clone());
    loop {
        let reply = client.post("/v1/availability", &query.to_string());
        assert_eq!(reply.status, 200, "{reply:?}");
        let page = reply.json();
        let pools = page["pools"].as_array().unwrap();
        sizes.push(pools.len());
        ids.extend(pools.iter().map(|pool| pool["pool"].as_str().unwrap().to_owned()));
        match &page["next"] {
            Value::Null => return (ids, sizes),
            next => query["cursor"] = next.clone(),
        }
    }
}

fn ids(of: impl Fn(usize) -> bool) -> Vec<String> {
    (0..30).filter(|n| of(*n)).map(|n| format!("p{n:02}")).collect()
}

#[test]
fn pages_hold_exactly_the_pools_asked_for_in_order() {
    serving(|server| {
        let c = &mut Client::connect(server.address);
        thirty(c);
        assert_eq!(pages(c, &json!({})), (ids(|_| true), vec![30]));
        assert_eq!(pages(c, &json!({"limit": 7})), (ids(|_| true), vec![7, 7, 7, 7, 2]));
        // The last page is full, and is the last.
        assert_eq!(pages(c, &json!({"limit": 10})), (ids(|_| true), vec![10; 3]));
        assert_eq!(pages(c, &json!({"limit": 1})), (ids(|_| true), vec![1; 30]));
        let wanted = json!({
            "areas": ["A1", "nowhere"],
            "from": "2126-11-21T10:00:00Z",
            "to": "2126-11-21T14:00:00Z",
            "demand": {"orders": 2, "crates": 10},
            "labels": {"fleet": "van"},
            "limit": 2,
        });
        // The first of three windows ends where the time asked for begins.
        let found = ids(|n| n % 2 == 1 && n % 3 != 0 && n % 5 != 0 && n % 7 != 0 && n != 11);
        assert_eq!(found, ["p01", "p13", "p17", "p19", "p23", "p29"]);
        assert_eq!(pages(c, &wanted), (found, vec![2, 2, 2]));
        // What is taken is not offered any more; a cursor may name what is not there.
        reserve(c, "p17");
        let mut rest = wanted.clone();
        rest["cursor"] = json!("p13x");
        assert_eq!(pages(c, &rest).0, ["p19", "p23", "p29"]);
        rest["cursor"] = json!("z");
        assert_eq!(pages(c, &rest), (vec![], vec![0]));
    });
}

fn as_of(page: &Value) -> BTreeMap<u32, u64> {
    let map = page["as_of"].as_object().unwrap();
    map.iter().map(|(partition, seq)| (partition.parse().unwrap(), seq.as_u64().unwrap())).collect()
}

/// Takes one order.
fn reserve(client: &mut Client, pool: &str) -> Value {
    let body = json!({"pool": pool, "demand": {"orders": 1}}).to_string();
    let made = client.send("POST", "/v1/reservations", PATIENT, &body);
    assert_eq!(made.status, 201, "{made:?}");
    made.json()
}

/// A fresh read; one that says that it cannot be in time is asked again.
fn fresh(client: &mut Client, method: &str, path: &str) -> Value {
    loop {
        let reply = client.send(method, &format!("{path}?fresh=true"), &[], "");
        if reply.status == 200 {
            return reply.json();
        }
        assert_eq!(reply.code(), "not_fresh");
    }
}

/// A read's view never goes back, and what it shows of a pool never does at an equal or later view. It shows all that was
/// committed before the events that it names, and nothing else.
#[test]
fn a_reader_never_goes_back_and_a_fresh_one_sees_every_yes() {
    serving(|server| {
        let c = &mut Client::connect(server.address);
        (0..WRITERS).for_each(|n| define(c, &format!("p{n}"), &json!({"limits": {"orders": 1_000_000}})));
        let (is_over, written) = (AtomicBool::new(false), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            let (is_over, written) = (&is_over, &written);
            let writers: Vec<_> =
                (0..WRITERS).map(|n| scope.spawn(move || write(server, n, is_over, written))).collect();
            let (mut seen, mut used, mut read) = (BTreeMap::new(), BTreeMap::<String, u64>::new(), Vec::new());
            while read.len() < READS || (written.load(Relaxed) < WRITES && !writers.iter().any(|w| w.is_finished())) {
                let page = match read.len() % 3 {
                    0 => fresh(c, "POST", "/v1/availability"),
                    _ => c.post("/v1/availability", "").json(),
                };
                let now = as_of(&page);
                assert_eq!(now.len(), PARTITIONS as usize);
                let is_back = seen.iter().any(|(partition, seq): (&u32, &u64)| now[partition] < *seq);
                assert!(!is_back, "{now:?} after {seen:?}");
                seen.clone_from(&now);
                for pool in page["pools"].as_array().unwrap() {
                    let units = pool["used"]["orders"].as_u64().unwrap();
                    let before = used.insert(pool["pool"].as_str().unwrap().to_owned(), units);
                    assert!(Some(units) >= before, "{pool} after {before:?}");
                }
                read.push((now, used.clone()));
            }
            is_over.store(true, Relaxed);
            for (pool, partition, yes) in writers.into_iter().map(|writer| writer.join().unwrap()) {
                for (as_of, used) in &read {
                    let committed = yes.iter().filter(|seq| **seq < as_of[&partition]).count() as u64;
                    let shown = used.get(&pool).copied().unwrap_or_default();
                    assert_eq!(shown, committed, "{pool} as of {as_of:?}");
                }
            }
        });
        assert!(written.load(Relaxed) >= WRITES);
    });
}

/// Reserves until it is over; after each yes, fresh reads of all kinds show it. Answers the pool, its partition, and the
/// numbers of the events in which its orders were accepted.
fn write(server: &Server, n: usize, is_over: &AtomicBool, written: &AtomicUsize) -> (String, u32, Vec<u64>) {
    let c = &mut Client::connect(server.address);
    let pool = format!("p{n}");
    let (of, mut used, mut yes) = (route::partition_of(&pool_id(&pool), PARTITIONS), 0, Vec::new());
    while !is_over.load(Relaxed) {
        let made = reserve(c, &pool);
        used += 1;
        let (partition, seq) = (made["proof"]["partition"].as_u64().unwrap(), made["proof"]["seq"].as_u64().unwrap());
        let page = fresh(c, "POST", "/v1/availability");
        assert!(partition == u64::from(of) && as_of(&page)[&of] > seq, "{page} after {made}");
        let listed = page["pools"].as_array().unwrap().iter().find(|listed| listed["pool"] == pool).unwrap();
        assert_eq!(listed["used"]["orders"], used);
        assert_eq!(fresh(c, "GET", &format!("/v1/pools/{pool}"))["used"]["orders"], used);
        let id = made["reservation"].as_str().unwrap();
        assert_eq!(fresh(c, "GET", &format!("/v1/reservations/{id}"))["status"], "confirmed");
        yes.push(seq);
        written.fetch_add(1, Relaxed);
    }
    (pool, of, yes)
}
