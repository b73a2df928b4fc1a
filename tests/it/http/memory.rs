//! A process whose partitions remember more than it has memory for: what it refuses, and what goes on.

use super::client::Client;
use super::manual_owner::{Desk, ONE, id};
use crate::clock::over_http::metric;
use headroom::limits::DEDUP_WINDOW_MS;
use headroom::replica::PartitionState;

const HELD: &str = r#"{"pool":"p","demand":{"orders":1},"hold_ttl_ms":60000}"#;
const FIVE: &str = r#"{"limits":{"orders":5}}"#;
const MORE: &str = r#"{"limits":{"orders":6}}"#;

fn shed(desk: &Desk) -> f64 {
    metric(&mut Client::connect(desk.address), "headroom_shed_total{reason=\"memory\"}")
}

/// The story: four partitions at a sixth of what each may remember took all processes to their limits, and each start ended
/// there again.
#[test]
fn a_process_without_memory_refuses_what_needs_more_until_less_is_remembered() {
    let mut desk = Desk::new();
    assert_eq!(desk.ask("PATCH", "/v1/pools/p", &["Idempotency-Key: limits"], FIVE).status, 200);
    assert_eq!(desk.ask("POST", "/v1/reservations", &["Idempotency-Key: held"], HELD).status, 201);
    assert_eq!(desk.ask("POST", "/v1/reservations", &["Idempotency-Key: k"], ONE).status, 201);
    let (held, k) = (format!("/v1/reservations/{}", id("held")), format!("/v1/reservations/{}", id("k")));
    let (confirm, extend) = (format!("{held}/confirm"), format!("{held}/extend"));
    let limit = desk.gateway.replica().partition(0).unwrap().read(PartitionState::memory_bytes);
    desk.gateway.saw_memory(limit, limit);

    let before = desk.taken().len();
    let (new_key, no_key): (&[&str], &[&str]) = (&["Idempotency-Key: new"], &[]);
    for (method, path, key, body) in [
        ("POST", "/v1/reservations", new_key, ONE),
        ("POST", "/v1/reservations", no_key, ONE),
        ("POST", extend.as_str(), new_key, r#"{"hold_ttl_ms":60000}"#),
        ("PATCH", k.as_str(), new_key, r#"{"demand":{"orders":2}}"#),
        ("PATCH", "/v1/pools/p", new_key, MORE),
        ("PUT", "/v1/pools/q", new_key, MORE),
        ("POST", "/v1/pools/p/mode", new_key, r#"{"mode":"open"}"#),
    ] {
        let refused = desk.send(method, path, key, body).read().unwrap();
        let problem = refused.json();
        assert_eq!((refused.status, refused.code().as_str()), (503, "shed"), "{method} {path}: {problem}");
        assert_eq!((&problem["reason"], &problem["outcome"]), (&"memory".into(), &"not_applied".into()), "{problem}");
        assert_eq!(problem["retryable"], true, "{problem}");
    }
    assert_eq!((desk.taken().len(), shed(&desk)), (before, 7.0), "nothing of it is in the log");
    // What was promised before is told, and needs no more memory; and what gives back or ends goes on.
    for (method, path, key, body, status) in [
        ("POST", "/v1/reservations", "Idempotency-Key: k", ONE, 201),
        ("PATCH", "/v1/pools/p", "Idempotency-Key: limits", FIVE, 200),
    ] {
        let again = desk.ask(method, path, &[key], body);
        assert_eq!((again.status, again.header("idempotent-replayed")), (status, Some("true")), "{path}");
    }
    assert_eq!(desk.ask("POST", &extend, &[], r#"{"hold_ttl_ms":90000}"#).status, 200);
    assert_eq!(desk.ask("POST", &confirm, new_key, "").status, 200);
    assert_eq!(desk.ask("DELETE", &k, new_key, "").status, 200);
    assert_eq!(desk.ask("POST", "/v1/pools/p/mode", &[], r#"{"mode":"open"}"#).status, 200);
    assert_eq!(desk.ask("PATCH", "/v1/pools/p", &[], MORE).status, 200);

    // No event tells the state that a day has passed: it counts what it remembers at the present.
    desk.at(2 * DEDUP_WINDOW_MS);
    desk.gateway.saw_memory(limit, limit);
    assert_eq!(desk.ask("POST", "/v1/reservations", new_key, ONE).status, 201);
    assert_eq!(shed(&desk), 7.0);
    desk.end();
}
