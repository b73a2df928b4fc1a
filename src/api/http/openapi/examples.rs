//! Requests that a new service accepts unchanged, in the order of the functions here, and its answers. A test sends
//! them.

use crate::api::problem::Case;
use serde_json::{Value, json};

/// The pool of all examples.
pub const POOL: &str = "van-1";
/// The key that the example of a Reserve is sent under.
pub const KEY: &str = "order-1";
/// What that key reserves in that pool.
pub const RESERVATION: &str = "hr_058z5b0ergtg8w1gg2yq13c3qx";

/// Requests to one endpoint and its answers, in a service that has handled all examples before it.
#[derive(Default)]
pub struct Example {
    /// Request bodies, by name.
    pub requests: Vec<(&'static str, Value)>,
    /// Bodies of good answers, by status.
    answers: Vec<(&'static str, Value)>,
}

impl Example {
    fn of(requests: impl IntoIterator<Item = (&'static str, Value)>, answer: Value) -> Example {
        Example { requests: Vec::from_iter(requests), answers: vec![("200", answer)] }
    }

    /// The body of the answer with this status.
    pub fn answer(self, status: &str) -> Option<Value> {
        self.answers.into_iter().find(|(of, _)| *of == status).map(|(_, answer)| answer)
    }
}

/// No example, because the answer is not known in advance.
pub fn none() -> Example {
    Example::default()
}

pub fn define_pool() -> Example {
    let body = json!({
        "limits": { "orders": 10, "crates": 30 }, "areas": ["SW1A 1AA"], "window": window(),
        "labels": { "fleet": "van" }, "mode": "open",
    });
    let replaced = with(pool(10, 2), [("replaced_version", json!(1)), ("proof", proof(2))]);
    let answers = vec![("201", with(pool(10, 1), [("proof", proof(1))])), ("200", replaced)];
    Example { requests: vec![("A delivery slot", body)], answers }
}

pub fn change_pool() -> Example {
    let requests = [
        ("Five orders more", json!({ "adjust": { "orders": 5 } })),
        ("A limit, as it shall be", json!({ "limits": { "orders": 15 } })),
        ("An earlier cutoff", json!({ "window": { "cutoff": "2126-01-01T09:00:00Z" } })),
        ("Its end as its cutoff again", json!({ "window": { "cutoff": null } })),
    ];
    Example::of(requests, with(pool(15, 2), [("proof", proof(2))]))
}

pub fn set_mode() -> Example {
    Example::of([("Open", json!({ "mode": "open" }))], with(pool(15, 3), [("proof", proof(3))]))
}

pub fn get_pool() -> Example {
    Example::of([], pool(15, 3))
}

pub fn list_pools() -> Example {
    let body = json!({
        "pools": [pool(15, 3)], "as_of": { "0": 4 }, "incomplete": [], "staleness_ms": 0, "next": null,
    });
    Example::of([], body)
}

pub fn availability() -> Example {
    let day = json!({
        "areas": ["SW1A 1AA"], "from": "2126-01-01T00:00:00Z", "to": "2126-01-02T00:00:00Z",
        "demand": { "orders": 1 }, "labels": { "fleet": "van" }, "limit": 10,
    });
    Example { requests: vec![("Everything", json!({})), ("A day's slots for one order", day)], ..list_pools() }
}

pub fn reserve() -> Example {
    let body =
        json!({ "pool": POOL, "demand": { "orders": 1, "crates": 4 }, "hold_ttl_ms": 600_000, "order_ref": "#1001" });
    Example { requests: vec![("A hold of ten minutes", body)], answers: vec![("201", held())] }
}

pub fn get_reservation() -> Example {
    let read = [
        ("hold_until", json!(UNTIL)),
        ("last_event", json!({ "partition": 0, "seq": 4 })),
        ("pool_now", with(counters(1), [("next_seq", json!(5))])),
    ];
    Example::of([], with(reservation("held"), read))
}

pub fn list_reservations() -> Example {
    let listed = [("hold_until", json!(UNTIL)), ("last_event", json!({ "partition": 0, "seq": 4 }))];
    let body = json!({
        "reservations": [with(reservation("held"), listed)], "pool_now": with(counters(1), [("next_seq", json!(5))]),
        "staleness_ms": 0, "next": null,
    });
    Example::of([], body)
}

pub fn extend() -> Example {
    Example::of([("Fifteen minutes from now on", json!({ "hold_ttl_ms": 900_000 }))], held())
}

pub fn confirm() -> Example {
    Example::of([], with(reservation("confirmed"), [("proof", decided(6, 1))]))
}

pub fn amend() -> Example {
    let amended = [
        ("demand", json!({ "crates": 7, "orders": 1 })),
        ("demand_before", json!({ "crates": 4, "orders": 1 })),
        ("proof", with(decided(7, 1), [("used", json!({ "crates": 7, "orders": 1 }))])),
    ];
    let request = json!({ "demand": { "orders": 1, "crates": 7 } });
    Example::of([("Three crates more", request)], with(reservation("confirmed"), amended))
}

pub fn release() -> Example {
    let body = json!({ "reservation": RESERVATION, "status": "released", "proof": decided(8, 0) });
    Example::of([], body)
}

pub fn livez() -> Example {
    let unavailable = json!({
        "status": "unavailable", "closing": false,
        "partitions": { "0": { "why": "commands wait and nothing is decided", "since": UNTIL } },
    });
    health(unavailable)
}

pub fn readyz() -> Example {
    livez()
}

pub fn retire_pool() -> Example {
    Example::of([], with(pool(15, 3), [("live_reservations", json!(0)), ("proof", proof(9))]))
}

pub fn startupz() -> Example {
    health(json!({
        "status": "unavailable", "closing": false, "partitions": {},
        "startup": { "phase": "opening", "read_bytes": 1_000, "of_bytes": 4_096, "partitions": {} },
    }))
}

fn health(unavailable: Value) -> Example {
    let ok = json!({ "status": "ok", "closing": false, "partitions": {} });
    Example { requests: Vec::new(), answers: vec![("200", ok), ("503", unavailable)] }
}

/// A refusal of this case.
pub fn problem(case: &Case) -> Value {
    json!({
        "type": format!("urn:headroom:problem:{}", case.code), "title": case.title, "status": case.status,
        "detail": "here it says what is wrong, with which value, and what to do", "code": case.code,
        "outcome": case.outcome.code(), "retryable": case.is_retryable, "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
    })
}

const DIGEST: &str = "d7d64e8c365b88f3e6c4056432cebe32";
const UNTIL: &str = "2126-01-01T08:10:00Z";

fn proof(seq: u64) -> Value {
    json!({ "partition": 0, "seq": seq, "epoch": 1, "digest": DIGEST })
}

fn held() -> Value {
    with(reservation("held"), [("hold_until", json!(UNTIL)), ("proof", decided(4, 1))])
}

fn window() -> Value {
    json!({ "start": "2126-01-01T10:00:00Z", "end": "2126-01-01T12:00:00Z" })
}

fn pool(orders: u64, version: u64) -> Value {
    json!({
        "pool": POOL, "limits": { "crates": 30, "orders": orders }, "used": { "crates": 0, "orders": 0 },
        "remaining": { "crates": 30, "orders": orders }, "mode": "open", "over_committed": false, "areas": ["SW1A 1AA"],
        "window": window(), "labels": { "fleet": "van" }, "version": version,
    })
}

fn reservation(status: &str) -> Value {
    json!({
        "reservation": RESERVATION, "pool": POOL, "status": status, "demand": { "crates": 4, "orders": 1 },
        "order_ref": "#1001",
    })
}

/// The counters of the pool with so many reservations.
fn counters(taken: u64) -> Value {
    json!({
        "limits": { "crates": 30, "orders": 15 },
        "used": { "crates": taken.saturating_mul(4), "orders": taken },
    })
}

fn decided(seq: u64, taken: u64) -> Value {
    let position = [("partition", json!(0)), ("seq", json!(seq)), ("epoch", json!(1)), ("digest", json!(DIGEST))];
    with(counters(taken), position)
}

fn with<const N: usize>(mut value: Value, members: [(&str, Value); N]) -> Value {
    if let Some(object) = value.as_object_mut() {
        object.extend(members.map(|(name, member)| (name.to_owned(), member)));
    }
    value
}
