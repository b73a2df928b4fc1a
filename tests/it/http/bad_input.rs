//! Everything a caller should not send: each gets its own refusal, costs the log nothing and leaves nothing behind.

use super::client::{Client, request};
use crate::process::spawn;
use crate::server::Server;
use std::process::Command;

/// Bodies of a Reserve, and their codes.
fn reserves() -> Vec<(String, &'static str)> {
    let demand = |units: &str| format!(r#"{{"pool":"p","demand":{{"orders":{units}}}}}"#);
    let pool = |id: &str| format!(r#"{{"pool":"{id}","demand":{{"orders":1}}}}"#);
    let with = |more: &str| format!(r#"{{"pool":"p","demand":{{"orders":1}},{more}}}"#);
    let many: Vec<_> = (0..17).map(|n| format!("\"d{n}\":1")).collect();
    let more: Vec<_> = (0..65).map(|n| format!("\"d{n}\":1")).collect();
    vec![
        (demand("0"), "zero_demand"),
        (demand("-1"), "bad_units"),
        (demand("1.0"), "bad_units"),
        (demand("1e3"), "bad_units"),
        (demand("\"1\""), "bad_units"),
        (demand("true"), "bad_units"),
        (demand("null"), "bad_units"),
        (demand("[1]"), "bad_units"),
        (demand("1000000000000001"), "bad_units"),
        (demand("9223372036854775808"), "bad_units"),
        (demand("18446744073709551616"), "bad_units"),
        (demand("1e309"), "bad_units"),
        (demand("NaN"), "bad_json"),
        (demand("Infinity"), "bad_json"),
        (demand("01"), "bad_json"),
        (r#"{"pool":"p","demand":{"orders":1,"orders":1}}"#.into(), "bad_json"),
        (r#"{"pool":"p","pool":"p","demand":{"orders":1}}"#.into(), "bad_json"),
        (r#"{"pool":"p","demand":{}}"#.into(), "zero_demand"),
        (r#"{"pool":"p","demand":[]}"#.into(), "bad_units"),
        (r#"{"pool":"p"}"#.into(), "missing_field"),
        (r#"{"demand":{"orders":1}}"#.into(), "missing_field"),
        (format!(r#"{{"pool":"p","demand":{{{}}}}}"#, many.join(",")), "too_many_dimensions"),
        (format!(r#"{{"pool":"p","demand":{{{}}}}}"#, more.join(",")), "too_many_dimensions"),
        (r#"{"pool":"p","demand":{"Orders":1}}"#.into(), "bad_name"),
        (r#"{"pool":"p","demand":{"":1}}"#.into(), "bad_name"),
        (r#"{"pool":"p","demand":{"seventeen_letters":1}}"#.into(), "bad_name"),
        (pool(""), "bad_name"),
        (pool(&"x".repeat(10_000)), "bad_name"),
        (pool(r"a\u0000b"), "bad_name"),
        (pool("a\u{202e}b"), "bad_name"),
        (pool("é"), "bad_name"),
        (pool("../x"), "bad_name"),
        (pool("."), "bad_name"),
        (pool(".."), "bad_name"),
        (r#"{"pool":7,"demand":{"orders":1}}"#.into(), "bad_name"),
        (with(r#""hold_ttl_ms":99"#), "bad_hold_ttl"),
        (with(r#""hold_ttl_ms":86400001"#), "bad_hold_ttl"),
        (with(r#""hold_ttl_ms":"600""#), "bad_hold_ttl"),
        (with(r#""order_ref":"a\u0000b""#), "bad_name"),
        (with(r#""order_ref":7"#), "bad_name"),
        (with(r#""hold_ttl":600000"#), "unknown_field"),
        ("[]".into(), "bad_json"),
        ("7".into(), "bad_json"),
        ("{".into(), "bad_json"),
        (format!("{}{}", "[".repeat(5_000), "]".repeat(5_000)), "bad_json"),
    ]
}

/// Method, path, headers, body, status, code.
type Case = (&'static str, &'static str, &'static [&'static str], &'static str, u16, &'static str);

/// Requests that are refused for their path, method or headers, whatever their body.
const OTHERS: &[Case] = &[
    ("PUT", "/v1/pools/p", &[], r#"{"limits":{}}"#, 400, "no_dimensions"),
    ("PUT", "/v1/pools/p", &[], r#"{"limits":{"orders":-1}}"#, 400, "bad_units"),
    ("PUT", "/v1/pools/p", &[], r#"{"limits":{"orders":1},"mode":"ajar"}"#, 400, "bad_mode"),
    (
        "PUT",
        "/v1/pools/p",
        &[],
        r#"{"limits":{"orders":1},"window":{"start":"2026-01-01T00:00:00Z"}}"#,
        400,
        "bad_window",
    ),
    (
        "PUT",
        "/v1/pools/p",
        &[],
        r#"{"limits":{"orders":1},"window":{"start":"2026-01-01T00:00:00Z","end":"2026-01-01T00:00:00Z"}}"#,
        400,
        "bad_window",
    ),
    (
        "PUT",
        "/v1/pools/p",
        &[],
        r#"{"limits":{"orders":1},"window":{"start":"yesterday","end":"2026-01-01T00:00:00Z"}}"#,
        400,
        "bad_time",
    ),
    (
        "PUT",
        "/v1/pools/p",
        &[],
        r#"{"limits":{"orders":1},"window":{"start":"1969-01-01T00:00:00Z","end":"2026-01-01T00:00:00Z"}}"#,
        400,
        "bad_time",
    ),
    ("PUT", "/v1/pools/p", &[], r#"{"limits":{"orders":1},"areas":[" a"]}"#, 400, "bad_name"),
    ("PUT", "/v1/pools/p", &[], r#"{"limits":{"orders":1},"labels":{"a":1}}"#, 400, "bad_name"),
    ("PUT", "/v1/pools/p", &[], r#"{"limits":{"orders":1},"version":1}"#, 400, "unknown_field"),
    ("PUT", "/v1/pools/%00", &[], r#"{"limits":{"orders":1}}"#, 400, "bad_name"),
    ("PUT", "/v1/pools/%E2%80%AEa", &[], r#"{"limits":{"orders":1}}"#, 400, "bad_name"),
    ("PUT", "/v1/pools/%FF", &[], r#"{"limits":{"orders":1}}"#, 400, "bad_name"),
    ("PUT", "/v1/pools/..%2Fx", &[], r#"{"limits":{"orders":1}}"#, 400, "bad_name"),
    ("PUT", "/v1/pools/.", &[], r#"{"limits":{"orders":1}}"#, 400, "bad_name"),
    ("PUT", "/v1/pools/%2E%2E", &[], r#"{"limits":{"orders":1}}"#, 400, "bad_name"),
    ("GET", "/v1/pools/", &[], "", 404, "not_found"),
    ("PATCH", "/v1/pools/p", &[], r#"{"limits":{"orders":1},"adjust":{"orders":1}}"#, 400, "bad_change"),
    ("PATCH", "/v1/pools/p", &[], "{}", 400, "bad_change"),
    ("PATCH", "/v1/pools/p", &[], r#"{"adjust":{"orders":-1000000000000001}}"#, 400, "bad_units"),
    ("PATCH", "/v1/pools/p", &[], r#"{"adjust":{"orders":0.5}}"#, 400, "bad_units"),
    ("POST", "/v1/pools/p/mode", &[], "{}", 400, "missing_field"),
    ("POST", "/v1/availability", &[], r#"{"limit":0}"#, 400, "bad_query"),
    ("POST", "/v1/availability", &[], r#"{"limit":501}"#, 400, "bad_query"),
    ("POST", "/v1/availability", &[], r#"{"from":"2026-01-01"}"#, 400, "bad_time"),
    ("POST", "/v1/availability", &[], r#"{"from":"2026-01-01T10Z"}"#, 400, "bad_time"),
    ("POST", "/v1/availability", &[], r#"{"from":"2026-01-01T10:00:00,5Z"}"#, 400, "bad_time"),
    ("POST", "/v1/availability", &[], r#"{"from":"2026-01-01T10:00:00+25:59"}"#, 400, "bad_time"),
    ("POST", "/v1/availability", &[], r#"{"from":"2026-01-01T10:00:00+05:00[!Europe/Berlin]"}"#, 400, "bad_time"),
    ("POST", "/v1/availability", &[], r#"{"to":"2016-12-31T23:59:60Z"}"#, 400, "bad_time"),
    ("POST", "/v1/availability", &[], r#"{"to":"9999-12-31T23:59:59-00:01"}"#, 400, "bad_time"),
    ("POST", "/v1/availability", &[], r#"{"cursor":"a b"}"#, 400, "bad_query"),
    ("POST", "/v1/availability?fresh=1", &[], "", 400, "bad_query"),
    ("GET", "/v1/pools?limit=-1", &[], "", 400, "bad_query"),
    ("GET", "/v1/pools?limit=1&limit=2", &[], "", 400, "bad_query"),
    ("GET", "/v1/pools?page=1", &[], "", 400, "bad_query"),
    ("POST", "/v1/reservations", &["Request-Timeout-Ms: 0"], RESERVE, 400, "bad_timeout"),
    ("POST", "/v1/reservations", &["Request-Timeout-Ms: 5001"], RESERVE, 400, "bad_timeout"),
    ("POST", "/v1/reservations", &["Request-Timeout-Ms: +5"], RESERVE, 400, "bad_timeout"),
    ("POST", "/v1/reservations", &["Request-Timeout-Ms: 5", "Request-Timeout-Ms: 6"], RESERVE, 400, "bad_timeout"),
    ("POST", "/v1/reservations", &["Idempotency-Key:"], RESERVE, 400, "bad_key"),
    ("POST", "/v1/reservations", &["Idempotency-Key: a b"], RESERVE, 400, "bad_key"),
    ("POST", "/v1/reservations", &["Idempotency-Key: \"a"], RESERVE, 400, "bad_key"),
    ("POST", "/v1/reservations", &["Idempotency-Key: é"], RESERVE, 400, "bad_key"),
    ("POST", "/v1/reservations", &["Content-Type: text/plain"], RESERVE, 415, "wrong_content_type"),
    ("POST", "/v1/reservations", TWO_TYPES, RESERVE, 415, "wrong_content_type"),
    ("POST", "/v1/reservations?dry_run=true", &[], RESERVE, 400, "bad_query"),
    ("POST", "/v1/reservations", &[], "", 400, "bad_json"),
    ("PATCH", AMENDED, &[], "", 400, "bad_json"),
    ("PATCH", AMENDED, &[], "{}", 400, "missing_field"),
    ("PATCH", AMENDED, &[], r#"{"demand":null}"#, 400, "missing_field"),
    ("PATCH", AMENDED, &[], r#"{"demand":{}}"#, 400, "zero_demand"),
    ("PATCH", AMENDED, &[], r#"{"demand":{"orders":0}}"#, 400, "zero_demand"),
    ("PATCH", AMENDED, &[], r#"{"demand":{"orders":-1}}"#, 400, "bad_units"),
    ("PATCH", AMENDED, &[], r#"{"demand":{"orders":1000000000000001}}"#, 400, "bad_units"),
    ("PATCH", AMENDED, &[], r#"{"demand":{"Orders":1}}"#, 400, "bad_name"),
    ("PATCH", AMENDED, &[], r#"{"demand":{"orders":1},"order_ref":"o-1"}"#, 400, "unknown_field"),
    ("PATCH", AMENDED, &["Request-Timeout-Ms: 5001"], r#"{"demand":{"orders":1}}"#, 400, "bad_timeout"),
    ("PATCH", AMENDED, &["Idempotency-Key: a b"], r#"{"demand":{"orders":1}}"#, 400, "bad_key"),
    ("PATCH", AMENDED, &["Content-Type: text/plain"], r#"{"demand":{"orders":1}}"#, 415, "wrong_content_type"),
];

/// Of nobody: what is wrong with the request is told first.
const AMENDED: &str = "/v1/reservations/hr_2mpkm84c8dz4dsnnmazepsnyh0";
const TWO_TYPES: &[&str] = &["Content-Type: application/json", "Content-Type: text/plain"];
const RESERVE: &str = r#"{"pool":"p","demand":{"orders":1}}"#;

fn ends(c: &mut Client) -> u64 {
    c.get("/internal/log").json()["ends"][0].as_u64().unwrap()
}

#[test]
fn each_bad_request_has_its_own_refusal() {
    let server = Server::alone();
    server.pool("p", 10);
    let c = &mut server.client();
    let before = ends(c);
    for (body, code) in reserves() {
        let reply = c.post("/v1/reservations", &body);
        assert_eq!((reply.status, reply.code().as_str()), (400, code), "{body}");
        // What a caller sent is shown, and none of it that could hide something or is no text.
        assert!(!reply.body.contains(|c: char| c.is_control() || c == '\u{202e}'), "{}", reply.body);
    }
    for (method, path, headers, body, status, code) in OTHERS {
        let reply = c.send(method, path, headers, body);
        assert_eq!((reply.status, reply.code().as_str()), (*status, *code), "{method} {path} {headers:?} {body}");
    }
    let named = c.post("/v1/reservations", r#"{"pool":"p","demand":{"orders":-1}}"#).json();
    assert_eq!(named["detail"], "demand.orders is -1, it has to be an integer from 1 to 1000000000000000");
    let not_utf8 = c.raw(&request("POST", "/v1/reservations", &[], b"{\"pool\":\"\xff\",\"demand\":{}}"));
    assert_eq!(not_utf8.code(), "bad_json");
    assert_eq!(ends(c), before, "a bad request came as far as the log");
}

#[test]
fn too_large_requests_are_refused_before_they_are_read() {
    let server = Server::alone();
    server.pool("p", 10);
    let large = vec![b' '; 17 << 10];
    let reply = server.client().raw(&request("POST", "/v1/reservations", &[], &large));
    assert_eq!((reply.status, reply.code().as_str()), (413, "body_too_large"));

    let mut c = server.client();
    c.write(b"POST /v1/reservations HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n");
    for _ in 0..5 {
        c.write(format!("1000\r\n{}\r\n", " ".repeat(4096)).as_bytes());
    }
    let reply = c.read().unwrap();
    assert_eq!((reply.status, reply.code().as_str()), (413, "body_too_large"));

    // What lists areas may be longer: every name at its longest fits.
    let areas: Vec<_> = (0..256).map(|n| format!("\"{n:064}\"")).collect();
    let body = format!(r#"{{"limits":{{"orders":1}},"areas":[{}]}}"#, areas.join(","));
    assert!(body.len() > 16 << 10);
    assert_eq!(server.client().send("PUT", "/v1/pools/wide", &[], &body).status, 201);
    let areas = format!(r#"{{"areas":[{}]}}"#, areas.join(","));
    assert!(areas.len() > 16 << 10);
    assert_eq!(server.client().send("PATCH", "/v1/pools/p", &[], &areas).status, 200);
    let found = server.client().post("/v1/availability", &areas);
    assert_eq!((found.status, found.json()["pools"].as_array().unwrap().len()), (200, 2));
    // So does every name as a client writes it that escapes whatever is not ASCII.
    let escaped = |n: usize| format!("\"{}\\u{:04x}\"", "\\u00f6".repeat(31), 0x100 + n);
    let areas: Vec<_> = (0..256).map(escaped).collect();
    let labels: Vec<_> = (0..32).map(|n| format!("{}:{}", escaped(n), escaped(n))).collect();
    let escaped =
        format!(r#"{{"limits":{{"orders":1}},"areas":[{}],"labels":{{{}}}}}"#, areas.join(","), labels.join(","));
    assert_eq!(server.client().send("PUT", "/v1/pools/escaped", &[], &escaped).status, 201);
    let too_many = body.replacen("[", "[\"one-more\",", 1);
    assert_eq!(server.client().send("PUT", "/v1/pools/wide", &[], &too_many).code(), "too_many_areas");

    let header = format!("X-Filler: {}", "x".repeat(17 << 10));
    let reply = server.client().raw(&request("GET", "/v1/pools", &[&header], b""));
    assert_eq!((reply.status, reply.code().as_str()), (431, "head_too_large"));
    // So is a target that is: there is no other refusal for it, however long it is.
    for (length, status, code) in
        [(16_300, 400, "bad_query"), (17_000, 431, "head_too_large"), (70_000, 431, "head_too_large")]
    {
        let target = format!("/v1/pools?cursor={}", "x".repeat(length));
        let reply = server.client().raw(&request("GET", &target, &[], b""));
        assert_eq!((reply.status, reply.code().as_str()), (status, code), "{length}");
    }
    let many: Vec<_> = (0..70).map(|n| format!("X-{n}: 1")).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    let reply = server.client().raw(&request("GET", "/v1/pools", &many, b""));
    assert_eq!((reply.status, reply.code().as_str()), (431, "head_too_large"));
}

#[test]
fn bytes_that_are_no_http_get_a_problem_and_the_connection_ends() {
    let server = Server::alone();
    for (garbage, code) in [
        (&b"\x16\x03\x01\x02\x00\x01\x00\x01"[..], "tls_not_spoken"),
        (b"GET\r\n\r\n", "bad_request"),
        (b"GET / HTTP/9.9\r\n\r\n", "bad_request"),
        (b"\0\0\0\0\r\n\r\n", "bad_request"),
    ] {
        let mut c = server.client();
        let reply = c.raw(garbage);
        assert_eq!((reply.status, reply.code().as_str()), (400, code), "{garbage:?}");
        c.ended();
    }
    // Behind a good request, in the same packet.
    let mut c = server.client();
    let mut bytes = request("GET", "/livez", &[], b"");
    bytes.extend_from_slice(&request("GET", "/v1/nothing", &[], b""));
    bytes.extend_from_slice(b"\xff\xfe garbage\r\n\r\n");
    assert_eq!(c.raw(&bytes).status, 200);
    assert_eq!(c.read().unwrap().code(), "not_found");
    assert_eq!(c.read().unwrap().code(), "bad_request");
    c.ended();
    // A body that breaks off.
    let mut c = server.client();
    let bytes = request("POST", "/v1/reservations", &[], RESERVE.as_bytes());
    c.write(&bytes[..bytes.len() - 1]);
    c.half_close();
    assert!(c.read().is_none_or(|reply| reply.code() == "bad_request"));
}

#[test]
fn slow_callers_are_told_and_let_go() {
    let server = Server::alone();
    let (mut head, mut body) = (server.client(), server.client());
    head.write(b"GET /livez HTTP/1.1\r\nHost:");
    body.write(
        b"POST /v1/reservations HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 34\r\n\r\n{",
    );
    let told = body.read().unwrap();
    assert_eq!((told.status, told.code().as_str()), (408, "body_timeout"));
    let told = head.read().unwrap();
    assert_eq!((told.status, told.code().as_str()), (408, "head_timeout"));
    head.ended();
    body.ended();
    assert_eq!(server.client().get("/livez").status, 200);
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// In a process of its own, where nothing else allocates.
#[test]
fn memory_stays_flat_under_bad_requests() {
    const ALONE: &str = "HEADROOM_TEST_ALONE";
    if std::env::var_os(ALONE).is_none() {
        let this = std::env::current_exe().unwrap();
        let args = ["--exact", "http::bad_input::memory_stays_flat_under_bad_requests", "--nocapture"];
        let output = spawn(Command::new(this).args(args).env(ALONE, "1")).wait_with_output().unwrap();
        let [out, err] = [&output.stdout, &output.stderr].map(|said| String::from_utf8_lossy(said));
        // Under another name no test would run, which is no failure.
        assert!(output.status.success() && out.contains("1 passed"), "{out}{err}");
        return;
    }
    let server = Server::alone();
    server.pool("p", 10);
    let mut bad: Vec<Vec<u8>> =
        reserves().iter().map(|(body, _)| request("POST", "/v1/reservations", &[], body.as_bytes())).collect();
    for (method, path, headers, body, ..) in OTHERS {
        bad.push(request(method, path, headers, body.as_bytes()));
    }
    let large = request("POST", "/v1/reservations", &[], &vec![b' '; 17 << 10]);
    let round = || {
        let mut c = server.client();
        for bytes in &bad {
            assert!(c.raw(bytes).status >= 400);
        }
        assert!(server.client().raw(&large).status == 413);
        assert!(server.client().raw(b"\xff\xff\r\n\r\n").status == 400);
    };
    (0..10).for_each(|_| round());
    let before = resident_kib();
    (0..50).for_each(|_| round());
    let after = resident_kib();
    assert!(after < before + 4_096, "{before} KiB before {} bad requests, {after} KiB after", 50 * (bad.len() + 2));
}
