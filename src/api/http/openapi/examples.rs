//! Requests that a new service takes as they stand, from the first operation to the last, and what it answers. A
//! test sends them.

use crate::api::http::problem::Case;
use serde_json::{Value, json};

/// The pool of all examples.
pub const POOL: &str = "van-1";
/// The key that the example of a Reserve is sent under.
pub const KEY: &str = "order-1";
/// What that key reserves in that pool.
pub const RESERVATION: &str = "hr_058z5b0ergtg8w1gg2yq13c3qx";

/// Bodies for an operation, by name.
pub fn requests(operation: &str) -> Vec<(&'static str, Value)> {
    match operation {
        "define_pool" => vec![(
            "A delivery slot",
            json!({
                "limits": { "orders": 10, "crates": 30 }, "areas": ["SW1A 1AA"], "window": window(),
                "labels": { "fleet": "van" }, "mode": "open",
            }),
        )],
        "change_pool" => vec![
            ("Five orders more", json!({ "adjust": { "orders": 5 } })),
            ("A limit, as it shall be", json!({ "limits": { "orders": 15 } })),
            ("An earlier cutoff", json!({ "window": { "cutoff": "2126-01-01T09:00:00Z" } })),
            ("Its end as its cutoff again", json!({ "window": { "cutoff": null } })),
        ],
        "set_mode" => vec![("Open", json!({ "mode": "open" }))],
        "availability" => vec![
            ("Everything", json!({})),
            (
                "A day's slots for one order",
                json!({
                    "areas": ["SW1A 1AA"], "from": "2126-01-01T00:00:00Z", "to": "2126-01-02T00:00:00Z",
                    "demand": { "orders": 1 }, "labels": { "fleet": "van" }, "limit": 10,
                }),
            ),
        ],
        "reserve" => vec![(
            "A hold of ten minutes",
            json!({ "pool": POOL, "demand": { "orders": 1, "crates": 4 }, "hold_ttl_ms": 600_000, "order_ref": "#1001" }),
        )],
        "extend" => vec![("Fifteen minutes from now on", json!({ "hold_ttl_ms": 900_000 }))],
        "amend" => vec![("Three crates more", json!({ "demand": { "orders": 1, "crates": 7 } }))],
        _ => Vec::new(),
    }
}

/// What an operation answers, in a service that has done what comes before it.
pub fn answer(operation: &str, status: &str) -> Option<Value> {
    let proof = |seq: u64| json!({ "partition": 0, "seq": seq, "epoch": 1, "digest": DIGEST });
    Some(match (operation, status) {
        ("define_pool", "201") => with(pool(10, 1), [("proof", proof(1))]),
        ("define_pool", "200") => with(pool(10, 2), [("replaced_version", json!(1)), ("proof", proof(2))]),
        ("change_pool", _) => with(pool(15, 2), [("proof", proof(2))]),
        ("set_mode", _) => with(pool(15, 3), [("proof", proof(3))]),
        ("get_pool", _) => pool(15, 3),
        ("list_pools" | "availability", _) => json!({
            "pools": [pool(15, 3)], "as_of": { "0": 4 }, "incomplete": [], "staleness_ms": 0, "next": null,
        }),
        ("reserve" | "extend", _) => {
            with(reservation("held"), [("hold_until", json!(UNTIL)), ("proof", decided(4, 1))])
        }
        ("confirm", _) => with(reservation("confirmed"), [("proof", decided(6, 1))]),
        ("get_reservation", _) => with(
            reservation("held"),
            [
                ("hold_until", json!(UNTIL)),
                ("last_event", json!({ "partition": 0, "seq": 4 })),
                ("pool_now", with(counters(1), [("next_seq", json!(5))])),
            ],
        ),
        ("amend", _) => with(
            reservation("confirmed"),
            [
                ("demand", json!({ "crates": 7, "orders": 1 })),
                ("demand_before", json!({ "crates": 4, "orders": 1 })),
                ("proof", with(decided(7, 1), [("used", json!({ "crates": 7, "orders": 1 }))])),
            ],
        ),
        ("release", _) => json!({ "reservation": RESERVATION, "status": "released", "proof": decided(8, 0) }),
        ("livez" | "readyz" | "startupz", "200") => json!({ "status": "ok", "closing": false, "partitions": {} }),
        ("livez" | "readyz", _) => json!({
            "status": "unavailable", "closing": false,
            "partitions": { "0": { "why": "commands wait and nothing is decided", "since": UNTIL } },
        }),
        ("startupz", _) => json!({
            "status": "unavailable", "closing": false, "partitions": {},
            "startup": { "phase": "opening", "read_bytes": 1_000, "of_bytes": 4_096, "partitions": {} },
        }),
        _ => return None,
    })
}

/// A refusal of this case.
pub fn problem(case: &Case) -> Value {
    json!({
        "type": format!("urn:headroom:problem:{}", case.code), "title": case.title, "status": case.status,
        "detail": "here it says what is wrong, with which value, and what to do", "code": case.code,
        "outcome": case.outcome.code(), "retryable": case.is_retryable, "trace_id": "5f0c1d2e-17",
    })
}

const DIGEST: &str = "d7d64e8c365b88f3e6c4056432cebe32";
const UNTIL: &str = "2126-01-01T08:10:00Z";

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

/// Those of the pool with so many reservations.
fn counters(taken: u64) -> Value {
    json!({
        "limits": { "crates": 30, "orders": 15 },
        "used": { "crates": taken.saturating_mul(4), "orders": taken },
    })
}

fn decided(seq: u64, taken: u64) -> Value {
    let place = [("partition", json!(0)), ("seq", json!(seq)), ("epoch", json!(1)), ("digest", json!(DIGEST))];
    with(counters(taken), place)
}

fn with<const N: usize>(mut value: Value, members: [(&str, Value); N]) -> Value {
    if let Some(object) = value.as_object_mut() {
        object.extend(members.map(|(name, member)| (name.to_owned(), member)));
    }
    value
}
