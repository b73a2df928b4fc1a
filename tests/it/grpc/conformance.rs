//! One list of requests, asked of one process over HTTP and of another over gRPC: the answers are the same, value by
//! value, and so are the refusals. Both processes begin with an empty log, and their clocks stand still.

use super::translate::{Answer, Asked, ask};
use super::{CapacityClient, client};
use crate::fixtures::NOW;
use crate::process::agent;
use crate::server::{Server, runtime};
use crate::world::ManualClock;
use headroom::api::grpc::status;
use headroom::api::problem;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::task::JoinSet;
use tonic::Code;
use tonic::transport::Channel;

/// Method, path, key, precondition, body, and the code that is expected: `ok` where the request is accepted. `{1}` is the
/// first reservation that was made.
type Row = (&'static str, &'static str, &'static str, &'static str, &'static str, &'static str);

const REQUESTS: &[Row] = &[
    ("GET", "/v1/pools/p", "", "", "", "unknown_pool"),
    ("GET", "/v1/pools", "", "", "", "ok"),
    ("PUT", "/v1/pools/p", "k-1", "", POOL, "ok"),
    ("PUT", "/v1/pools/p", "k-1", "", POOL, "ok"),
    ("PUT", "/v1/pools/p", "k-1", "", r#"{"limits":{"orders":5}}"#, "key_reused"),
    ("PUT", "/v1/pools/p", "", "if-none-match: *", POOL, "stale_version"),
    ("PUT", "/v1/pools/absent", "", "if-match: *", POOL, "stale_version"),
    ("PUT", "/v1/pools/p", "", "if-match: \"7\"", POOL, "stale_version"),
    ("PUT", "/v1/pools/p", "", "if-match: \"1\"", POOL, "ok"),
    ("PUT", "/v1/pools/p", "", "", "{}", "missing_field"),
    ("PUT", "/v1/pools/a%20b", "", "", POOL, "bad_name"),
    ("PUT", "/v1/pools/q", "", "", r#"{"limits":{"a dimension with a long name":1}}"#, "bad_name"),
    ("PUT", "/v1/pools/q", "", "", r#"{"limits":{"orders":1000000000000001}}"#, "bad_units"),
    ("PUT", "/v1/pools/q", "", "", r#"{"limits":{"orders":1},"areas":[" SG"]}"#, "bad_name"),
    ("PUT", "/v1/pools/q", "", "", r#"{"limits":{"orders":1},"labels":{"a":"b\u0000"}}"#, "bad_name"),
    (
        "PUT",
        "/v1/pools/q",
        "",
        "",
        r#"{"limits":{"orders":1},"window":{"start":"2030-01-01T00:00:00Z"}}"#,
        "bad_window",
    ),
    ("PUT", "/v1/pools/q", "", "", BACKWARDS, "bad_window"),
    ("PUT", "/v1/pools/q", "", "", LATE_CUTOFF, "bad_window"),
    ("PUT", "/v1/pools/q", "", "", r#"{"limits":{"orders":1},"hold_ttl_max_ms":99}"#, "bad_rule"),
    ("PUT", "/v1/pools/q", "", "", r#"{"limits":{"orders":1},"hold_life_max_ms":2592000001}"#, "bad_rule"),
    ("PUT", "/v1/pools/full", "", "", r#"{"limits":{"orders":0}}"#, "ok"),
    ("PUT", "/v1/pools/full", "any", "if-match: *", r#"{"limits":{"orders":0}}"#, "ok"),
    ("PUT", "/v1/pools/full", "any", "if-match: *", r#"{"limits":{"orders":0}}"#, "ok"),
    ("POST", "/v1/pools/p/mode", "", "", r#"{"mode":"paused"}"#, "ok"),
    ("POST", "/v1/pools/p/mode", "", "", "{}", "missing_field"),
    ("POST", "/v1/reservations", "paused", "", ONE, "paused"),
    ("POST", "/v1/reservations", "paused", "", ONE, "paused"),
    (
        "PATCH",
        "/v1/pools/p",
        "",
        "",
        r#"{"adjust":{"orders":-2,"crates":1},"mode":"open","labels":{"fleet":null}}"#,
        "ok",
    ),
    ("PATCH", "/v1/pools/p", "", "", r#"{"limits":{"orders":8},"areas":[],"window":{"cutoff":null}}"#, "ok"),
    (
        "PATCH",
        "/v1/pools/p",
        "",
        "",
        r#"{"hold_ttl_max_ms":60000,"hold_life_max_ms":null,"unique_order_ref":true}"#,
        "ok",
    ),
    ("PATCH", "/v1/pools/p", "", "", r#"{"window":null,"hold_ttl_max_ms":null}"#, "ok"),
    ("PATCH", "/v1/pools/p", "", "", "{}", "bad_change"),
    ("PATCH", "/v1/pools/p", "", "", r#"{"limits":{"orders":1},"adjust":{"orders":1}}"#, "bad_change"),
    ("PATCH", "/v1/pools/p", "", "", r#"{"adjust":{"orders":-9}}"#, "limit_out_of_range"),
    ("PATCH", "/v1/pools/p", "", "", r#"{"adjust":{"vans":1}}"#, "unknown_dimension"),
    ("PATCH", "/v1/pools/p", "", "if-match: \"1\"", r#"{"mode":"open"}"#, "stale_version"),
    ("PATCH", "/v1/pools/absent", "", "", r#"{"mode":"open"}"#, "unknown_pool"),
    ("POST", "/v1/reservations", "r-1", "", r#"{"pool":"p","demand":{"orders":1,"crates":4},"order_ref":"A-1"}"#, "ok"),
    ("POST", "/v1/reservations", "r-1", "", r#"{"pool":"p","demand":{"orders":1,"crates":4},"order_ref":"A-1"}"#, "ok"),
    ("POST", "/v1/reservations", "r-1", "", ONE, "key_reused"),
    (
        "POST",
        "/v1/reservations",
        "r-2",
        "",
        r#"{"pool":"p","demand":{"orders":1},"order_ref":"A-1"}"#,
        "order_has_reservation",
    ),
    ("POST", "/v1/reservations", "r-3", "", r#"{"pool":"p","demand":{"orders":8}}"#, "over_limit"),
    ("POST", "/v1/reservations", "r-3", "", r#"{"pool":"p","demand":{"orders":8}}"#, "over_limit"),
    ("POST", "/v1/reservations", "r-4", "", r#"{"pool":"p","demand":{"vans":1}}"#, "unknown_dimension"),
    ("POST", "/v1/reservations", "r-5", "", r#"{"pool":"full","demand":{"orders":1}}"#, "over_limit"),
    ("POST", "/v1/reservations", "r-6", "", r#"{"pool":"absent","demand":{"orders":1}}"#, "unknown_pool"),
    ("POST", "/v1/reservations", "", "", r#"{"pool":"p"}"#, "missing_field"),
    ("POST", "/v1/reservations", "", "", r#"{"demand":{"orders":1}}"#, "missing_field"),
    ("POST", "/v1/reservations", "", "", r#"{"pool":"p","demand":{"orders":0}}"#, "zero_demand"),
    ("POST", "/v1/reservations", "", "", r#"{"pool":"p","demand":{"orders":1},"hold_ttl_ms":99}"#, "bad_hold_ttl"),
    ("POST", "/v1/reservations", "a b", "", ONE, "bad_key"),
    ("POST", "/v1/reservations", "h-1", "", r#"{"pool":"p","demand":{"orders":1},"hold_ttl_ms":60000}"#, "ok"),
    ("GET", "/v1/reservations/{1}", "", "", "", "ok"),
    ("GET", "/v1/reservations/{2}?fresh=true", "", "", "", "ok"),
    ("GET", "/v1/reservations/hr_nothing", "", "", "", "unknown_reservation"),
    ("GET", "/v1/pools/p/reservations", "", "", "", "ok"),
    ("GET", "/v1/pools/p/reservations?status=held&fresh=true", "", "", "", "ok"),
    ("GET", "/v1/pools/p/reservations?limit=1", "", "", "", "ok"),
    ("GET", "/v1/pools/p/reservations?limit=1&cursor={1}", "", "", "", "ok"),
    ("GET", "/v1/pools/p/reservations?limit=1&cursor={2}", "", "", "", "ok"),
    ("GET", "/v1/pools/p/reservations?limit=501", "", "", "", "bad_query"),
    ("GET", "/v1/pools/p/reservations?cursor=p", "", "", "", "bad_query"),
    ("GET", "/v1/pools/full/reservations?cursor={1}", "", "", "", "bad_query"),
    ("GET", "/v1/pools/absent/reservations", "", "", "", "unknown_pool"),
    ("GET", "/v1/pools/a%20b/reservations", "", "", "", "bad_name"),
    ("PATCH", "/v1/reservations/{1}", "", "", r#"{"demand":{"orders":2}}"#, "ok"),
    ("PATCH", "/v1/reservations/{1}", "", "", r#"{"demand":{"orders":9}}"#, "over_limit"),
    ("PATCH", "/v1/reservations/{1}", "", "", "{}", "missing_field"),
    ("POST", "/v1/reservations/{2}/extend", "e-1", "", r#"{"hold_ttl_ms":120000}"#, "ok"),
    ("POST", "/v1/reservations/{2}/extend", "e-1", "", r#"{"hold_ttl_ms":120000}"#, "ok"),
    ("POST", "/v1/reservations/{2}/extend", "", "", "{}", "missing_field"),
    ("POST", "/v1/reservations/{1}/confirm", "", "", "", "ok"),
    ("POST", "/v1/reservations/{1}/extend", "", "", r#"{"hold_ttl_ms":60000}"#, "not_a_hold"),
    ("POST", "/v1/reservations/{2}/confirm", "", "", "", "ok"),
    ("POST", "/v1/reservations/{2}/confirm", "", "", "", "ok"),
    ("DELETE", "/v1/reservations/{1}", "d-1", "", "", "ok"),
    ("DELETE", "/v1/reservations/{1}", "d-1", "", "", "ok"),
    ("DELETE", "/v1/reservations/{1}", "", "", "", "ok"),
    (
        "POST",
        "/v1/reservations",
        "r-1",
        "",
        r#"{"pool":"p","demand":{"orders":1,"crates":4},"order_ref":"A-1"}"#,
        "already_released",
    ),
    ("POST", "/v1/reservations/{1}/confirm", "", "", "", "already_released"),
    ("GET", "/v1/pools/p/reservations", "", "", "", "ok"),
    ("GET", "/v1/pools/p/reservations?status=released", "", "", "", "ok"),
    ("GET", "/v1/pools/p/reservations?status=expired", "", "", "", "ok"),
    ("GET", "/v1/pools/full/reservations", "", "", "", "ok"),
    ("GET", "/v1/pools/p?fresh=true", "", "", "", "ok"),
    ("GET", "/v1/pools?limit=1", "", "", "", "ok"),
    ("GET", "/v1/pools?limit=1&cursor=full", "", "", "", "ok"),
    ("GET", "/v1/pools?limit=501", "", "", "", "bad_query"),
    ("PATCH", "/v1/pools/p", "", "", r#"{"retire_after_ms":172800000}"#, "ok"),
    ("PATCH", "/v1/pools/p", "", "", r#"{"retire_after_ms":null}"#, "ok"),
    ("PUT", "/v1/pools/q", "", "", r#"{"limits":{"orders":1},"retire_after_ms":172799999}"#, "bad_rule"),
    ("PUT", "/v1/pools/q", "", "", r#"{"limits":{"orders":1},"retire_after_ms":172800000}"#, "ok"),
    ("DELETE", "/v1/pools/p", "d-1", "", "", "pool_in_use"),
    ("DELETE", "/v1/pools/p", "d-1", "", "", "pool_in_use"),
    ("DELETE", "/v1/pools/q", "d-2", "if-match: \"2\"", "", "stale_version"),
    ("DELETE", "/v1/pools/q", "d-3", "if-match: \"1\"", "", "ok"),
    ("DELETE", "/v1/pools/q", "d-3", "if-match: \"1\"", "", "ok"),
    ("DELETE", "/v1/pools/q", "d-3", "", "", "key_reused"),
    ("DELETE", "/v1/pools/q", "", "", "", "unknown_pool"),
    ("POST", "/v1/availability", "", "", r#"{"demand":{"orders":1},"limit":5}"#, "ok"),
    ("DELETE", "/v1/pools/p?with_reservations=true", "", "", "", "ok"),
    ("GET", "/v1/reservations/{2}", "", "", "", "unknown_reservation"),
    ("PUT", "/v1/pools/p", "", "if-none-match: *", POOL, "pool_retired"),
    ("PUT", "/v1/pools/p", "", "if-match: *", POOL, "stale_version"),
    ("GET", "/v1/pools/p", "", "", "", "unknown_pool"),
    ("GET", "/v1/pools/p/reservations", "", "", "", "unknown_pool"),
    ("POST", "/v1/reservations", "r-9", "", ONE, "unknown_pool"),
    ("PUT", "/v1/pools/r", "", "", LONG_AGO, "retires_too_soon"),
    ("PUT", "/v1/pools/r", "", "if-none-match: *", POOL, "ok"),
    (
        "POST",
        "/v1/availability",
        "",
        "",
        r#"{"areas":["SG-01"],"from":"2030-01-01T00:00:00Z","labels":{"fleet":"van"}}"#,
        "ok",
    ),
];

const ONE: &str = r#"{"pool":"p","demand":{"orders":1}}"#;
const POOL: &str = r#"{"limits":{"orders":10,"crates":300},"areas":["SG-01","Köln"],"labels":{"fleet":"van"},"hold_life_max_ms":3600000,
    "window":{"start":"2030-01-01T10:00:00Z","end":"2030-01-01T12:00:00.5Z","cutoff":"2030-01-01T09:00:00Z"}}"#;
const LONG_AGO: &str =
    r#"{"limits":{"orders":1},"window":{"start":"2020-01-01T10:00:00Z","end":"2020-01-01T12:00:00Z"}}"#;
const BACKWARDS: &str =
    r#"{"limits":{"orders":1},"window":{"start":"2030-01-01T10:00:00Z","end":"2030-01-01T10:00:00Z"}}"#;
const LATE_CUTOFF: &str = r#"{"limits":{"orders":1},
    "window":{"start":"2030-01-01T10:00:00Z","end":"2030-01-01T11:00:00Z","cutoff":"2030-01-01T11:00:01Z"}}"#;

/// Asks over HTTP, and answers as gRPC would: the status by the one table of refusals.
fn ask_http(server: &Server, asked: Asked<'_>) -> Answer {
    let mut request = ureq::http::Request::builder()
        .method(asked.method)
        .uri(format!("http://{}{}", server.address, asked.path))
        .header("content-type", "application/json");
    for (name, value) in asked.headers {
        request = request.header(*name, value.as_bytes());
    }
    let body = if asked.body.is_null() { String::new() } else { asked.body.to_string() };
    let mut response = agent().run(request.body(body).unwrap()).unwrap();
    let is_replayed = response.headers().contains_key("idempotent-replayed");
    let status = response.status().as_u16();
    let body: Value = serde_json::from_str(&response.body_mut().read_to_string().unwrap()).unwrap();
    let code = body["code"].as_str().map_or(Code::Ok, |code| {
        let mut rows = problem::cases().into_iter();
        status::code(&rows.find(|case| case.code == code && case.status == status).unwrap())
    });
    Answer { code, body, is_replayed }
}

/// Takes away what differs from process to process, or is of one protocol.
fn comparable(Answer { code, mut body, is_replayed }: Answer) -> Answer {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(members) => {
                ["digest", "trace_id", "staleness_ms"].iter().for_each(|name| drop(members.remove(*name)));
                members.values_mut().for_each(strip);
            }
            Value::Array(values) => values.iter_mut().for_each(strip),
            _ => {}
        }
    }
    strip(&mut body);
    if code != Code::Ok {
        body.as_object_mut().unwrap().remove("status");
        let detail = body["detail"].as_str().unwrap();
        let detail = detail.replace("the pool in the path", "pool").replace("the id in the path", "reservation");
        body["detail"] = json!(detail);
    }
    Answer { code, body, is_replayed }
}

struct Both {
    http: Server,
    grpc: Server,
    client: CapacityClient<Channel>,
}

impl Both {
    fn ask(&mut self, row: &Row, made: &[String]) -> (Answer, Answer) {
        let (method, path, key, condition, body, _) = *row;
        let path =
            made.iter().enumerate().fold(path.to_owned(), |path, (n, id)| path.replace(&format!("{{{}}}", n + 1), id));
        let key = (!key.is_empty()).then(|| ("idempotency-key", key.to_owned()));
        let condition = condition.split_once(": ").map(|(name, value)| (name, value.to_owned()));
        let headers: Vec<_> = key.into_iter().chain(condition).collect();
        let body = if body.is_empty() { Value::Null } else { serde_json::from_str(body).unwrap() };
        let asked = Asked { method, path: &path, headers: &headers, body: &body };
        let decoded = path.replace("%20", " ");
        let over_grpc = Asked { path: &decoded, ..asked };
        (ask_http(&self.http, asked), runtime().block_on(ask(&mut self.client, over_grpc)))
    }
}

#[test]
fn http_and_grpc_answer_alike() {
    let server = || {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::start(dir.path(), 1, Arc::new(ManualClock::at(NOW)));
        (server, dir)
    };
    let ((http, _http_dir), (grpc, _grpc_dir)) = (server(), server());
    let client = client(&grpc);
    let (mut both, mut made) = (Both { http, grpc, client }, Vec::new());
    for row in REQUESTS {
        let (over_http, over_grpc) = both.ask(row, &made);
        let code = over_http.body["code"].as_str().unwrap_or("ok");
        assert_eq!(code, row.5, "{row:?}: {over_http:?}");
        if row.1 == "/v1/reservations" && code == "ok" && !over_http.is_replayed {
            made.push(over_http.body["reservation"].as_str().unwrap().to_owned());
        }
        assert_eq!(comparable(over_http), comparable(over_grpc), "{row:?}");
    }
    drop(both.client);
    drop((both.http, both.grpc));
}

/// Whoever expects only that the pool exists is not refused because of what others do to it at the same time.
#[test]
fn definitions_of_any_version_do_not_exclude_each_other() {
    const CALLERS: usize = 50;
    let server = Server::alone();
    server.pool("p", 1);
    let _runtime = runtime().enter();
    let mut calls = JoinSet::new();
    for mut client in (0..CALLERS).map(|_| client(&server)) {
        calls.spawn(async move {
            let (headers, body) = ([("if-match", "*".to_owned())], json!({ "limits": { "orders": 2 } }));
            let asked = Asked { method: "PUT", path: "/v1/pools/p", headers: &headers, body: &body };
            ask(&mut client, asked).await
        });
    }
    let mut versions: Vec<_> =
        runtime().block_on(calls.join_all()).into_iter().map(|answer| answer.body["version"].as_u64()).collect();
    versions.sort_unstable();
    assert_eq!(versions, (2..2 + CALLERS as u64).map(Some).collect::<Vec<_>>());
}
