//! The table of problem codes, row by row: each is provoked, says what is wrong with which value, and keeps the word of
//! its `retryable`.

use super::client::{Client, Reply};
use super::manual_owner::{Desk, ONE, TIMEOUT_MS};
use crate::fixtures::NOW;
use crate::server::Server;
use crate::wait::until;
use crate::world::becomes;
use headroom::api::problem;
use headroom::limits::{ABANDON_GRACE_MS, COMMAND_WINDOW_MS, DEADLINE_MAX_MS};
use headroom::log::AppendError;
use headroom::replica::PartitionStatus;
use std::collections::BTreeSet;

/// Code, method, path, headers, body, and what its detail has to name.
type Row = (&'static str, &'static str, &'static str, &'static [&'static str], &'static str, &'static [&'static str]);

/// `{"pool":"p","demand":{"orders":1}}`, and what else is wrong with a Reserve.
const KEY: &[&str] = &["Idempotency-Key: k"];

/// What is asked of a server with the pools of [`filled`]: each refusal is final under its key.
const FINAL: &[Row] = &[
    ("bad_host", "POST", "/v1/reservations", &["Host: other"], ONE, &["'localhost'", "'other'"]),
    ("foreign_host", "PUT", "http://other.example/v1/pools/p", KEY, ONE, &["other.example", "'hosts'"]),
    (
        "foreign_origin",
        "POST",
        "/v1/reservations",
        &["Origin: https://other.example"],
        ONE,
        &["'https://other.example'"],
    ),
    ("unknown_content_encoding", "POST", "/v1/reservations", &["Content-Encoding: gzip"], ONE, &["'gzip'", "identity"]),
    (
        "unknown_transfer_coding",
        "POST",
        "/v1/reservations",
        &["Transfer-Encoding: gzip, chunked"],
        ONE,
        &["'gzip, chunked'", "chunked alone"],
    ),
    ("bad_json", "POST", "/v1/reservations", KEY, "[]", &["an array", "an object"]),
    ("unknown_field", "POST", "/v1/reservations", KEY, r#"{"pol":"p"}"#, &["'pol'", "pool, demand"]),
    ("missing_field", "POST", "/v1/reservations", KEY, r#"{"pool":"p"}"#, &["'demand'"]),
    ("bad_name", "POST", "/v1/reservations", KEY, r#"{"pool":"a/b","demand":{"orders":1}}"#, &["pool is 'a/b'"]),
    ("bad_units", "POST", "/v1/reservations", KEY, r#"{"pool":"p","demand":{"orders":-1}}"#, &["-1", "from 1 to"]),
    ("zero_demand", "POST", "/v1/reservations", KEY, r#"{"pool":"p","demand":{"orders":0}}"#, &["demand.orders is 0"]),
    ("no_dimensions", "PUT", "/v1/pools/p", KEY, r#"{"limits":{}}"#, &["limits", "name one"]),
    ("too_many_dimensions", "PUT", "/v1/pools/p", KEY, "DIMENSIONS", &["17", "16"]),
    ("too_many_areas", "PUT", "/v1/pools/p", KEY, "AREAS", &["257", "256"]),
    ("too_many_labels", "PUT", "/v1/pools/p", KEY, "LABELS", &["33", "32"]),
    ("bad_time", "POST", "/v1/availability", &[], r#"{"from":"soon"}"#, &["from is 'soon'", "RFC 3339"]),
    ("bad_window", "PUT", "/v1/pools/p", KEY, r#"{"limits":{"orders":1},"window":{}}"#, &["'start'"]),
    ("bad_mode", "POST", "/v1/pools/p/mode", KEY, r#"{"mode":"ajar"}"#, &["'ajar'", "'open'"]),
    ("bad_change", "PATCH", "/v1/pools/p", KEY, "{}", &["limits", "adjust"]),
    (
        "bad_hold_ttl",
        "POST",
        "/v1/reservations",
        KEY,
        r#"{"pool":"p","demand":{"orders":1},"hold_ttl_ms":1}"#,
        &["is 1,"],
    ),
    ("bad_timeout", "POST", "/v1/reservations", &["Request-Timeout-Ms: 0"], ONE, &["'0'", "5000"]),
    ("bad_key", "POST", "/v1/reservations", &["Idempotency-Key: a b"], ONE, &["'a b'"]),
    ("bad_version", "PATCH", "/v1/pools/p", &["If-Match: 3"], r#"{"adjust":{"orders":1}}"#, &["'3'", "ETag"]),
    ("bad_query", "GET", "/v1/pools?page=2", &[], "", &["'page'", "fresh, limit, cursor"]),
    ("not_found", "GET", "/v1/pool", &[], "", &["'/v1/pool'", "/openapi.json"]),
    ("method_not_allowed", "PUT", "/v1/pools", &[], "", &["/v1/pools takes GET, HEAD"]),
    ("body_too_large", "POST", "/v1/reservations", KEY, "LARGE", &["16384 bytes"]),
    ("wrong_content_type", "POST", "/v1/reservations", &["Content-Type: text/csv"], ONE, &["'text/csv'"]),
    ("head_too_large", "GET", "/v1/pools", &["X-Filler: LARGE"], "", &["16384 bytes", "64 fields"]),
    ("tls_not_spoken", "\x16\x03\x01", "", &[], "", &["TLS", "plain HTTP"]),
    ("bad_request", "GET", "no path", &[], "", &["HTTP/1.1"]),
    ("key_reused", "POST", "/v1/reservations", &["Idempotency-Key: full"], ONE, &["key full", "pool p", "new key"]),
    (
        "unknown_pool",
        "POST",
        "/v1/reservations",
        KEY,
        r#"{"pool":"q","demand":{"orders":1}}"#,
        &["pool q", "PUT", "new one"],
    ),
    ("unknown_reservation", "GET", "/v1/reservations/hr_x", &[], "", &["'hr_x'"]),
    (
        "stale_version",
        "PATCH",
        "/v1/pools/p",
        &["If-Match: \"9\""],
        r#"{"adjust":{"orders":1}}"#,
        &["version 1", "ETag"],
    ),
    ("past_cutoff", "POST", "/v1/reservations", KEY, r#"{"pool":"past","demand":{"orders":1}}"#, &["pool past", "T"]),
    (
        "closed",
        "POST",
        "/v1/reservations",
        KEY,
        r#"{"pool":"closed","demand":{"orders":1}}"#,
        &["pool closed", "open it"],
    ),
    (
        "paused",
        "POST",
        "/v1/reservations",
        KEY,
        r#"{"pool":"paused","demand":{"orders":1}}"#,
        &["pool paused", "open it"],
    ),
    (
        "unknown_dimension",
        "POST",
        "/v1/reservations",
        KEY,
        r#"{"pool":"p","demand":{"vans":1}}"#,
        &["vans", "crates, orders"],
    ),
    (
        "over_limit",
        "POST",
        "/v1/reservations",
        KEY,
        r#"{"pool":"p","demand":{"orders":3}}"#,
        &["1 of 2", "3 were", "new one"],
    ),
    ("limit_out_of_range", "PATCH", "/v1/pools/p", KEY, r#"{"adjust":{"crates":-10}}"#, &["crates", "is 9", "0 to"]),
    (
        "invalid_window",
        "PATCH",
        "/v1/pools/p",
        KEY,
        r#"{"window":{"start":"2126-11-21T02:00:00Z"}}"#,
        &["pool p", "its end"],
    ),
    ("labels_full", "PATCH", "/v1/pools/labelled", KEY, r#"{"labels":{"more":"v"}}"#, &["pool labelled", "32"]),
    ("bad_rule", "PUT", "/v1/pools/p", KEY, r#"{"limits":{"orders":1},"hold_ttl_max_ms":5}"#, &["is 5,", "100 to"]),
    (
        "order_has_reservation",
        "POST",
        "/v1/reservations",
        KEY,
        r#"{"pool":"ruled","demand":{"orders":1},"order_ref":"O-1"}"#,
        &["order O-1", "hr_", "pool ruled"],
    ),
    (
        "hold_too_long",
        "POST",
        "/v1/reservations",
        KEY,
        r#"{"pool":"ruled","demand":{"orders":1},"hold_ttl_ms":1001}"#,
        &["pool ruled", "T"],
    ),
    (
        "hold_too_old",
        "POST",
        "/v1/reservations",
        KEY,
        r#"{"pool":"aged","demand":{"orders":1},"hold_ttl_ms":3000}"#,
        &["pool aged", "T"],
    ),
    (
        "hold_beyond_window",
        "POST",
        "/v1/reservations",
        KEY,
        r#"{"pool":"ending","demand":{"orders":1},"hold_ttl_ms":86400000}"#,
        &["pool ending", "T"],
    ),
    ("dimension_in_use", "PUT", "/v1/pools/p", KEY, r#"{"limits":{"crates":1}}"#, &["1 orders", "pool p"]),
    ("pool_in_use", "DELETE", "/v1/pools/p", KEY, "", &["1 live reservation:", "pool p"]),
    ("unknown_field", "DELETE", "/v1/pools/p", &[], r#"{"with_reservations":true}"#, &["with_reservations"]),
    ("pool_retired", "PUT", "/v1/pools/gone", KEY, r#"{"limits":{"orders":1}}"#, &["pool gone has retired", "T"]),
    ("unknown_pool", "GET", "/v1/pools/gone", &[], "", &["pool gone has retired", "T"]),
    ("unknown_pool", "DELETE", "/v1/pools/gone", KEY, "", &["pool gone has retired", "T"]),
    (
        "retires_too_soon",
        "PUT",
        "/v1/pools/old",
        KEY,
        r#"{"limits":{"orders":1},"window":{"start":"2000-01-01T00:00:00Z","end":"2000-01-01T02:00:00Z"}}"#,
        &["pool old", "2 days", "T"],
    ),
    ("already_released", "POST", "/v1/reservations/RELEASED/confirm", &[], "", &["reservation hr_", "released"]),
    ("not_a_hold", "POST", "/v1/reservations/FULL/confirm-twice", &[], "", &["reservation hr_", "confirmed"]),
    ("hold_expired", "POST", "/v1/reservations/EXPIRED/confirm", &[], "", &["reservation hr_", "T"]),
];

/// What may pass by itself: [`retryable_problems_succeed_later_under_the_same_key`] and its neighbours wait until it does.
const PASSING: &[&str] =
    &["shed", "over_quota", "timeout", "restoring", "not_fresh", "deadline_too_far", "head_timeout", "body_timeout"];

/// What no caller of a sound service gets to see, and what takes more than a test has: said of in the API's own tests.
const BUILT: &[&str] = &[
    "internal",
    "misrouted",
    "malformed",
    "memory_full",
    "partition_full",
    "too_many_attempts",
    "too_many_commands",
    "unreadable",
];

/// What a caller gets who has not proved who it is, or who may not do what it asks for: the matrix of roles has them.
const OF_ROLES: &[&str] = &["bad_authorization", "unauthenticated", "forbidden"];

/// What only gRPC calls are told: `tests/it/grpc/protocol.rs` and `tests/it/grpc/watch.rs` have them.
const OVER_GRPC: &[&str] = &["bad_message", "unknown_service", "slow_reader", "position_out_of_range"];

/// What is told on a connection that has to speak TLS: the tests of TLS have it.
const OF_TLS: &[&str] = &["tls_required"];

/// What is told while an older version may serve the log: `tests/it/brokered/levels.rs` has it.
const OF_LEVELS: &[&str] = &["feature_level"];

#[test]
fn every_code_is_shown_here() {
    let lists = [PASSING, BUILT, OF_ROLES, OVER_GRPC, OF_TLS, OF_LEVELS].into_iter().flatten().copied();
    let shown = FINAL.iter().map(|row| row.0).chain(lists);
    let told = problem::cases().iter().map(|case| case.code).collect::<BTreeSet<_>>();
    assert_eq!(shown.collect::<BTreeSet<_>>(), told);
}

/// Pools in every state, and reservations in every state; answers the ids of those.
fn filled(server: &Server, c: &mut Client) -> [String; 3] {
    let ended = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(1);
    let past =
        &*format!(r#"{{"limits":{{"orders":1}},"window":{{"start":"2000-01-01T00:00:00Z","end":"{ended:.0}"}}}}"#);
    let one = |mode: &str| format!(r#"{{"limits":{{"orders":1}},"mode":"{mode}"}}"#);
    let two = r#"{"limits":{"orders":2,"crates":9}}"#;
    for (pool, body) in [("p", two), ("past", past), ("closed", &one("closed")), ("paused", &one("paused"))] {
        assert_eq!(c.send("PUT", &format!("/v1/pools/{pool}"), &[], body).status, 201, "{pool}");
    }
    server.pool("other", 2);
    server.pool("gone", 1);
    assert_eq!(c.send("DELETE", "/v1/pools/gone", &[], "").status, 200);
    let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1);
    let ending =
        format!(r#"{{"limits":{{"orders":1}},"window":{{"start":"2000-01-01T00:00:00Z","end":"{soon:.0}"}}}}"#);
    let ruled = r#"{"limits":{"orders":2},"hold_ttl_max_ms":1000,"unique_order_ref":true}"#;
    let aged = r#"{"limits":{"orders":2},"hold_life_max_ms":1000}"#;
    for (pool, body) in [("ending", &*ending), ("ruled", ruled), ("aged", aged)] {
        assert_eq!(c.send("PUT", &format!("/v1/pools/{pool}"), &[], body).status, 201, "{pool}");
    }
    let first = r#"{"pool":"ruled","demand":{"orders":1},"order_ref":"O-1"}"#;
    assert_eq!(c.post("/v1/reservations", first).status, 201);
    let labels = (0..32).map(|n| format!("\"l{n}\":\"v\"")).collect::<Vec<_>>().join(",");
    let labelled = format!(r#"{{"limits":{{"orders":1}},"labels":{{{labels}}}}}"#);
    assert_eq!(c.send("PUT", "/v1/pools/labelled", &[], &labelled).status, 201);
    let mut made = |key: &str, body: &str| {
        let made = c.send("POST", "/v1/reservations", &[&format!("Idempotency-Key: {key}")], body);
        assert_eq!(made.status, 201, "{made:?}");
        made.json()["reservation"].as_str().unwrap().to_owned()
    };
    let full = made("full", r#"{"pool":"p","demand":{"orders":1,"crates":1}}"#);
    let hold = r#"{"pool":"other","demand":{"orders":1},"hold_ttl_ms":100}"#;
    let (released, expired) = (made("released", &hold.replace("100", "60000")), made("expired", hold));
    assert_eq!(c.send("DELETE", &format!("/v1/reservations/{released}"), &[], "").status, 200);
    until("the hold expires", || c.get(&format!("/v1/reservations/{expired}")).json()["status"] == "expired");
    [full, released, expired]
}

#[test]
fn final_refusals_say_why_and_stay() {
    let server = Server::alone();
    let c = &mut server.client();
    let [full, released, expired] = filled(&server, c);
    let many = |n: usize, item: fn(usize) -> String| (0..n).map(item).collect::<Vec<_>>().join(",");
    for (code, method, path, headers, body, named) in FINAL {
        // One key each.
        let headers: Vec<_> = headers.iter().map(|h| h.replace(": k", &format!(": {code}"))).collect();
        let headers: Vec<_> = headers.iter().map(|h| h.replace("LARGE", &"x".repeat(17 << 10))).collect();
        let headers: Vec<_> = headers.iter().map(String::as_str).collect();
        let path = path.replace("RELEASED", &released).replace("EXPIRED", &expired);
        let path = path.replace("FULL/confirm-twice", &format!("{full}/extend"));
        let body = match *body {
            "DIMENSIONS" => format!(r#"{{"limits":{{{}}}}}"#, many(17, |n| format!("\"d{n}\":1"))),
            "AREAS" => format!(r#"{{"limits":{{"d":1}},"areas":[{}]}}"#, many(257, |n| format!("\"a{n}\""))),
            "LABELS" => format!(r#"{{"limits":{{"d":1}},"labels":{{{}}}}}"#, many(33, |n| format!("\"l{n}\":\"v\""))),
            "LARGE" => " ".repeat(17 << 10),
            "" if path.ends_with("/extend") => r#"{"hold_ttl_ms":1000}"#.to_owned(),
            body => body.to_owned(),
        };
        let ask = |named: &[&str]| {
            // What is refused before it is read ends its connection.
            let reply = server.client().send(method, &path, &headers, &body);
            assert_eq!(reply.code(), *code, "{reply:?}");
            let problem = reply.json();
            assert_eq!(problem["retryable"], false, "{problem}");
            let detail = problem["detail"].as_str().unwrap();
            named.iter().for_each(|name| assert!(detail.contains(name), "{code}: {detail:?} without {name:?}"));
        };
        ask(named);
        // A key's answer is repeated with what it was judged by, which is no list of dimensions.
        ask(if *code == "unknown_dimension" { &["refused at", "no dimension"] } else { named });
    }
}

fn refused(reply: &Reply, status: u16, code: &str) {
    assert_eq!((reply.status, reply.code().as_str()), (status, code));
    assert_eq!(reply.json()["retryable"], true, "{reply:?}");
}

/// Shed, timed out either way, too far by one clock: the same request comes through when that is over.
#[test]
fn retryable_problems_succeed_later_under_the_same_key() {
    let timeout = format!("Request-Timeout-Ms: {TIMEOUT_MS}");
    let headers: &[&str] = &["Idempotency-Key: k", &timeout];
    let again = |mut desk: Desk| {
        assert_eq!(desk.ask("POST", "/v1/reservations", headers, ONE).status, 201);
    };
    let desk = Desk::new();
    *desk.gate.refuses.lock() = Some(AppendError::Full);
    refused(&desk.send("POST", "/v1/reservations", headers, ONE).read().unwrap(), 503, "shed");
    *desk.gate.refuses.lock() = None;
    again(desk);

    for is_final in [true, false] {
        let mut desk = Desk::new();
        let mut caller = desk.reserve("k");
        *desk.gate.refuses.lock() = (!is_final).then_some(AppendError::Full);
        desk.at(TIMEOUT_MS);
        let is_taken_back = || desk.taken().len() > 2;
        if is_final {
            until("the Abandon is appended", is_taken_back);
            desk.decide();
            refused(&caller.read().unwrap(), 503, "timeout");
        } else {
            until("the Abandon waits for the log", || desk.gateway.pending().abandons == 1);
            desk.at(TIMEOUT_MS + ABANDON_GRACE_MS);
            refused(&caller.read().unwrap(), 504, "timeout");
            *desk.gate.refuses.lock() = None;
            desk.at(TIMEOUT_MS + ABANDON_GRACE_MS + DEADLINE_MAX_MS);
            until("the Abandon is appended", is_taken_back);
            desk.decide();
        }
        again(desk);
    }

    let mut desk = Desk::new();
    desk.at(2 * COMMAND_WINDOW_MS);
    let mut caller = desk.reserve("k");
    desk.decide_at(NOW);
    refused(&caller.read().unwrap(), 503, "deadline_too_far");
    again(desk);
}

#[test]
fn a_read_of_a_state_that_is_rebuilt_comes_through_later() {
    let desk = Desk::restoring(1);
    let read = || desk.send("GET", "/v1/pools/p", &[], "").read().unwrap();
    refused(&read(), 503, "restoring");
    becomes(desk.gateway.replica().partition(0).unwrap(), PartitionStatus::Active);
    assert_eq!(read().status, 404, "the state is whole, and has no such pool");
    desk.end();
}
