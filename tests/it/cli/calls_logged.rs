//! The access log and the audit log of a server: which calls have a line, what stands in it, and that a slow reader of
//! standard error makes no caller wait.

use super::{assert_says, on};
use crate::process::{Running, Served, agent, headroom, spawn};
use crate::wait::until;
use headroom::access::AUDIT_LOG;
use headroom::app::ADDRESS_FILE;
use headroom::limits::{ACCESS_LINES_WAITING_MAX, ACCESS_ONE_OF, LOGGED_REFUSALS_PER_SECOND};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

const ACCESS_LOG: &str = "headroom::access_log";

/// A server whose lines are JSON, when it is ready.
pub(super) fn json_lines(dir: &Path, settings: &[&str]) -> Served {
    let mut command = headroom(["serve", "--listen", "127.0.0.1:0", "--log-format", "json", "--partitions", "1"]);
    let running = Running::start(command.args(settings).arg("--data-dir").arg(dir));
    let file = dir.join(ADDRESS_FILE);
    let url = || std::fs::read_to_string(&file).ok().map(|text| format!("http://{}", text.split(' ').next().unwrap()));
    let (agent, mut found) = (agent(), None);
    until("the server is ready", || {
        found =
            url().filter(|url| agent.get(format!("{url}/readyz")).call().is_ok_and(|answer| answer.status() == 200));
        found.is_some()
    });
    Served { running, url: found.unwrap() }
}

/// The lines of this target.
fn lines_of(err: &str, target: &str) -> Vec<Value> {
    let lines = err.lines().map(|line| serde_json::from_str::<Value>(line).unwrap_or_else(|_| panic!("{line}")));
    lines.filter(|line| line["target"] == target).collect()
}

/// An answer: its status, its trace, and how many bytes its body has.
struct Answered {
    status: u16,
    trace_id: String,
    bytes: usize,
}

fn send(server: &Served, method: &str, path: &str, headers: &[(&str, &str)], body: &Value) -> Answered {
    let mut request = ureq::http::Request::builder().method(method).uri(format!("{}{path}", server.url));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.header("content-type", "application/json").body(body.to_string()).unwrap();
    let mut answer = agent().run(request).unwrap();
    let trace_id = answer.headers()["x-request-id"].to_str().unwrap().to_owned();
    Answered { status: answer.status().as_u16(), trace_id, bytes: answer.body_mut().read_to_vec().unwrap().len() }
}

const POOL: &str = "/v1/pools/van-1";

fn pool(orders: u64) -> Value {
    json!({"limits": {"orders": orders}})
}

#[test]
fn each_call_has_a_line_without_the_data_of_its_caller() {
    let dir = tempfile::tempdir().unwrap();
    let server = json_lines(dir.path(), &["--access-log", "all"]);
    let made = send(&server, "PUT", POOL, &[], &pool(1));
    let reserve = json!({"pool": "van-1", "demand": {"orders": 1}, "order_ref": "order-of-somebody"});
    let key = [("idempotency-key", "key-of-somebody")];
    let reserved = send(&server, "POST", "/v1/reservations", &key, &reserve);
    let refused = send(&server, "POST", "/v1/reservations", &[], &reserve);
    assert_eq!((made.status, reserved.status, refused.status), (201, 201, 409));
    let ended = server.running.terminate();
    let lines = lines_of(&ended.err, ACCESS_LOG);
    let line = |answered: &Answered| {
        let found: Vec<_> = lines.iter().filter(|line| line["trace_id"] == answered.trace_id.as_str()).collect();
        assert_eq!(found.len(), 1, "{}", ended.err);
        found[0].clone()
    };
    let expected = |answered: &Answered, method: &str, operation: &str, route: &str, code: &str| {
        json!({
            "level": "INFO", "target": ACCESS_LOG, "trace_id": answered.trace_id, "operation": operation,
            "method": method, "route": route, "status": answered.status, "code": code, "bytes": answered.bytes,
            "protocol": "HTTP/1.1", "peer": "127.0.0.1", "one_of": 1,
        })
    };
    let without_times = |mut line: Value| {
        let line = line.as_object_mut().unwrap();
        assert!(line.remove("took_us").unwrap().as_u64().unwrap() > 0);
        assert!(line.remove("timestamp").is_some() && line.remove("message").is_some());
        Value::Object(std::mem::take(line))
    };
    for (answered, method, operation, route, code) in [
        (&made, "PUT", "define_pool", "/v1/pools/{pool}", "ok"),
        (&reserved, "POST", "reserve", "/v1/reservations", "ok"),
        (&refused, "POST", "reserve", "/v1/reservations", "over_limit"),
    ] {
        assert_eq!(without_times(line(answered)), expected(answered, method, operation, route, code));
    }
    assert!(!ended.err.contains("of-somebody"), "{}", ended.err);
    assert!(lines.iter().all(|line| !line.to_string().contains("van-1")), "{}", ended.err);
}

/// The story: somebody sent what is no HTTP, again and again, and the lines did not say from which address.
#[test]
fn what_never_became_a_call_has_a_line_with_its_address() {
    let dir = tempfile::tempdir().unwrap();
    let server = json_lines(dir.path(), &[]);
    let mut stream = TcpStream::connect(server.url.strip_prefix("http://").unwrap()).unwrap();
    stream.write_all(b"no HTTP\r\n\r\n").unwrap();
    let mut told = String::new();
    stream.read_to_string(&mut told).unwrap();
    let (head, body) = told.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 400 "), "{told}");
    let ended = server.running.terminate();
    let lines = lines_of(&ended.err, ACCESS_LOG);
    let found: Vec<_> = lines.iter().filter(|line| line["code"] == "bad_request").collect();
    assert_eq!(found.len(), 1, "{}", ended.err);
    assert_eq!((&found[0]["peer"], &found[0]["bytes"]), (&json!("127.0.0.1"), &json!(body.len())), "{}", ended.err);
}

#[test]
fn with_the_access_log_off_no_call_has_a_line() {
    let dir = tempfile::tempdir().unwrap();
    let server = json_lines(dir.path(), &["--access-log", "off"]);
    assert_eq!(send(&server, "POST", "/nothing", &[], &json!({})).status, 404);
    let ended = server.running.terminate();
    assert!(lines_of(&ended.err, ACCESS_LOG).is_empty(), "{}", ended.err);
}

/// Sends as many calls of this path in one go, and returns how many were answered with 200.
fn many(url: &str, path: &str, count: usize) -> usize {
    let mut stream = TcpStream::connect(url.strip_prefix("http://").unwrap()).unwrap();
    let mut answers = stream.try_clone().unwrap();
    let reading = std::thread::spawn(move || {
        let mut text = Vec::new();
        answers.read_to_end(&mut text).unwrap();
        String::from_utf8(text).unwrap().matches("HTTP/1.1 200 OK").count()
    });
    let call = |end: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{end}\r\n");
    let calls = call("").repeat(count - 1) + &call("Connection: close\r\n");
    stream.write_all(calls.as_bytes()).unwrap();
    reading.join().unwrap()
}

#[test]
fn of_calls_that_are_done_a_sample_has_a_line() {
    let dir = tempfile::tempdir().unwrap();
    let server = json_lines(dir.path(), &[]);
    let count = usize::try_from(ACCESS_ONE_OF).unwrap();
    assert_eq!(many(&server.url, "/livez", count), count);
    let refused = 3 * LOGGED_REFUSALS_PER_SECOND as usize;
    assert_eq!(many(&server.url, "/nothing", refused), 0);
    let ended = server.running.terminate();
    let lines = lines_of(&ended.err, ACCESS_LOG);
    let done: Vec<_> = lines.iter().filter(|line| line["code"] == "ok").collect();
    assert_eq!((done.len(), &done[0]["one_of"]), (1, &json!(ACCESS_ONE_OF)), "{}", ended.err);
    let of_refused = lines.iter().filter(|line| line["code"] == "not_found");
    let counted = of_refused.map(|line| line["count"].as_u64().unwrap_or(1)).sum::<u64>();
    assert_eq!(counted, refused as u64, "{}", ended.err);
}

/// The story: whoever reads the server's standard error has stopped. A server that writes its lines itself stops with it,
/// and with it every caller.
#[test]
fn calls_do_not_wait_for_a_reader_of_their_lines_that_has_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = headroom(["serve", "--listen", "127.0.0.1:0", "--access-log", "all", "--data-dir"]);
    // Nobody reads its standard error.
    let mut child = spawn(command.arg(dir.path()));
    let file = dir.path().join(ADDRESS_FILE);
    let url = || std::fs::read_to_string(&file).ok().map(|text| format!("http://{}", text.split(' ').next().unwrap()));
    let is_ready = |url: String| agent().get(format!("{url}/readyz")).call().is_ok_and(|answer| answer.status() == 200);
    until("the server is ready", || url().is_some_and(is_ready));
    let count = 2 * ACCESS_LINES_WAITING_MAX;
    assert_eq!(many(&url().unwrap(), "/livez", count), count);
    let text = agent().get(format!("{}/metrics", url().unwrap())).call().unwrap().body_mut().read_to_string().unwrap();
    let line = text.lines().find(|line| line.starts_with("headroom_access_lines_left_out_total "));
    let left_out: f64 = line.unwrap().rsplit(' ').next().unwrap().parse().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(left_out > 0.0, "{text}");
}

#[test]
fn what_planners_do_is_told_with_what_has_changed() {
    let dir = tempfile::tempdir().unwrap();
    let server = json_lines(dir.path(), &[]);
    let key = [("idempotency-key", "once")];
    let more = json!({"limits": {"orders": 6}});
    let answered = [
        send(&server, "PUT", POOL, &[], &pool(5)),
        send(&server, "PATCH", POOL, &key, &more),
        send(&server, "PATCH", POOL, &key, &more),
        send(&server, "PATCH", POOL, &[("if-match", "\"9\"")], &more),
        send(&server, "POST", "/v1/pools/van-1/mode", &[], &json!({"mode": "paused"})),
        send(&server, "PUT", "/v1/pools/van-2", &[("if-match", "*")], &pool(1)),
    ];
    assert_eq!(answered.map(|answered| answered.status), [201, 200, 200, 412, 200, 412]);
    let ended = server.running.terminate();
    let told: Vec<_> = lines_of(&ended.err, AUDIT_LOG)
        .into_iter()
        .map(|line| {
            assert_eq!((&line["level"], &line["principal"]), (&json!("INFO"), &Value::Null), "anybody may call");
            assert_eq!(line["trace_id"].as_str().map(str::len), Some(32));
            json!([line["operation"], line["about"], line["outcome"], line["partition"], line["seq"], line["changed"]])
        })
        .collect();
    let made = "version: 0 -> 1, limits.orders: none -> 5, mode: none -> open, unique_order_ref: none -> false";
    let expected = [
        json!(["define_pool", "van-1", "ok", 0, 1, made]),
        json!(["change_pool", "van-1", "ok", 0, 2, "version: 1 -> 2, limits.orders: 5 -> 6"]),
        json!(["change_pool", "van-1", "repeated", 0, 3, null]),
        json!(["change_pool", "van-1", "stale_version", 0, 4, null]),
        json!(["set_mode", "van-1", "ok", 0, 5, "version: 2 -> 3, mode: open -> paused"]),
        json!(["define_pool", "van-2", "stale_version", null, null, null]),
    ];
    assert_eq!(told, expected, "{}", ended.err);
}

#[test]
fn what_an_operator_does_by_a_command_is_told_and_what_only_reads_is_not() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(json_lines(dir.path(), &[]).running.terminate().code, 0);
    let rebuilt = on(dir.path(), ["rebuild"]);
    let line = rebuilt.err.lines().find(|line| line.contains(AUDIT_LOG)).unwrap_or_else(|| panic!("{}", rebuilt.err));
    assert_says(line, &[" INFO ", "operation=\"rebuild\"", "outcome=\"ok\"", "principal=\"uid "]);
    let gone = on(dir.path(), ["dead-letters", "discard", "0-7"]);
    let line = gone.err.lines().find(|line| line.contains(AUDIT_LOG)).unwrap_or_else(|| panic!("{}", gone.err));
    assert_says(line, &["operation=\"dead-letters discard\" about=\"0-7\" outcome=\"wrong\""]);
    for command in ["verify", "cat", "state", "config"] {
        assert!(!on(dir.path(), [command]).err.contains(AUDIT_LOG), "{command}");
    }
}
