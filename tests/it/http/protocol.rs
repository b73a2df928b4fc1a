//! The edges of HTTP: whom a request is meant for, where it comes from, how it is written, and how it ends.

use super::client::{Client, request};
use crate::server::Server;
use headroom::limits::HTTP_BODY_BYTES_MAX;

fn raw(server: &Server, head: &str) -> (u16, String) {
    let reply = server.client().raw(head.as_bytes());
    (reply.status, reply.code())
}

fn said(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[test]
fn a_request_says_whom_it_is_for_once_and_well() {
    let server = Server::alone();
    for head in [
        "GET /livez HTTP/1.1\r\n\r\n",
        "GET /livez HTTP/1.1\r\nHost:\r\n\r\n",
        "GET /livez HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
        "GET /livez HTTP/1.1\r\nHost: a b\r\n\r\n",
        "GET /livez HTTP/1.1\r\nHost: localhost:port\r\n\r\n",
        "GET /livez HTTP/1.1\r\nHost: user@localhost\r\n\r\n",
        "GET /nothing HTTP/1.1\r\n\r\n",
        "POST /v1/reservations HTTP/1.0\r\nContent-Length: 0\r\n\r\n",
    ] {
        assert_eq!(raw(&server, head), said(400, "bad_host"), "{head}");
    }
    for head in ["GET /livez HTTP/1.0\r\n\r\n", "GET /livez HTTP/1.1\r\nHost: any.name\r\n\r\n"] {
        assert_eq!(server.client().raw(head.as_bytes()).status, 200, "{head}");
    }
}

/// A page in a browser of this machine reaches the server by a name of its own, or sends what needs no body and no answer.
#[test]
fn another_sites_page_reaches_nothing_internal_and_changes_nothing() {
    let server = Server::alone();
    server.pool("p", 3);
    let c = &mut server.client();
    let held = c.post("/v1/reservations", r#"{"pool":"p","demand":{"orders":1},"hold_ttl_ms":60000}"#).json();
    let id = held["reservation"].as_str().unwrap();
    let end = c.get("/internal/log").body;
    let path = format!("/v1/reservations/{id}");
    let (confirm, extend) = (format!("{path}/confirm"), format!("{path}/extend"));
    for (method, path) in [
        ("POST", confirm.as_str()),
        ("POST", &extend),
        ("PATCH", &path),
        ("DELETE", &path),
        ("PUT", "/v1/pools/q"),
        ("PATCH", "/v1/pools/p"),
        ("POST", "/v1/pools/p/mode"),
        ("POST", "/v1/reservations"),
        ("POST", "/v1/availability"),
        ("GET", "/internal/log"),
        ("GET", "/internal/log/0"),
        ("GET", "/internal/state/0"),
    ] {
        let head = |headers: &str| format!("{method} {path} HTTP/1.1\r\n{headers}\r\nContent-Length: 0\r\n\r\n");
        for (headers, status, code) in [
            ("Host: evil.example:8080", 421, "foreign_host"),
            ("Host: evil.example\r\nOrigin: http://evil.example", 421, "foreign_host"),
            ("Host: localhost\r\nOrigin: https://evil.example", 403, "foreign_origin"),
            ("Host: localhost\r\nOrigin: null", 403, "foreign_origin"),
            ("Host: localhost\r\nSec-Fetch-Site: cross-site", 403, "foreign_origin"),
        ] {
            assert_eq!(raw(&server, &head(headers)), said(status, code), "{method} {path} {headers}");
        }
    }
    assert_eq!(c.get("/internal/log").body, end, "nothing came as far as the log");
    let own = request("POST", &confirm, &["Origin: http://localhost"], b"");
    assert_eq!(c.raw(&own).status, 200, "a page of ours may");
    // What may be read by everybody is read under any name.
    assert_eq!(server.client().raw(b"GET /v1/pools/p HTTP/1.1\r\nHost: evil.example\r\n\r\n").status, 200);
}

#[test]
fn a_name_that_is_ours_by_setting_is_as_good_as_an_address() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = Server::config(dir.path(), 1);
    config.hosts = ["slots.example".to_owned()].into();
    let server = Server::of(&config, std::sync::Arc::new(headroom::time::SystemClock::new()));
    let head = |host: &str| format!("GET /internal/log HTTP/1.1\r\nHost: {host}\r\n\r\n");
    assert_eq!(server.client().raw(head("slots.example:443").as_bytes()).status, 200);
    assert_eq!(raw(&server, &head("other.example")), said(421, "foreign_host"));
}

#[test]
fn a_body_that_is_coded_in_an_unknown_way_is_refused_by_name() {
    let server = Server::alone();
    server.pool("p", 1);
    let body = r#"{"pool":"p","demand":{"orders":1}}"#;
    for (header, status, code) in [
        ("Content-Encoding: gzip", 415, "unknown_content_encoding"),
        ("Content-Encoding: identity, identity", 415, "unknown_content_encoding"),
        ("Content-Encoding: br\r\nContent-Encoding: identity", 415, "unknown_content_encoding"),
    ] {
        let reply = server.client().raw(&request("POST", "/v1/reservations", &[header], body.as_bytes()));
        assert_eq!((reply.status, reply.code().as_str()), (status, code), "{header}");
    }
    for (coding, status, code) in [
        ("gzip, chunked", 501, "unknown_transfer_coding"),
        ("chunked, chunked", 501, "unknown_transfer_coding"),
        ("chunked\r\nTransfer-Encoding: chunked", 501, "unknown_transfer_coding"),
        ("identity, chunked", 501, "unknown_transfer_coding"),
        ("x, chunked", 501, "unknown_transfer_coding"),
        // Without chunked at the end nobody knows where the body ends.
        ("chunked, gzip", 501, "unknown_transfer_coding"),
        ("gzip", 501, "unknown_transfer_coding"),
        ("identity", 501, "unknown_transfer_coding"),
        ("chunked\r\nBad header", 400, "bad_request"),
    ] {
        let head = format!(
            "POST /v1/reservations HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: {coding}\r\n\r\n22\r\n{body}\r\n0\r\n\r\n"
        );
        assert_eq!(raw(&server, &head), said(status, code), "{coding}");
    }
    let plain = request("POST", "/v1/reservations", &["Content-Encoding: identity"], body.as_bytes());
    assert_eq!(server.client().raw(&plain).status, 201);
}

/// What the caller sends next would be taken for the rest of the body.
#[test]
fn an_answer_to_a_request_without_its_end_says_that_the_connection_ends() {
    let server = Server::alone();
    let head = |more: &str| format!("POST /v1/reservations HTTP/1.1\r\nHost: localhost\r\n{more}\r\n\r\n");
    let large = 8 * HTTP_BODY_BYTES_MAX;
    for (sent, status) in [
        (head("Content-Encoding: gzip\r\nContent-Length: 9"), 415),
        (head("Content-Encoding: gzip\r\nContent-Length: 9\r\nExpect: 100-continue"), 415),
        (head("Content-Encoding: gzip\r\nTransfer-Encoding: chunked") + "2\r\n{}\r\n", 415),
        (head(&format!("Content-Length: {large}")) + &"x".repeat(large - 1), 413),
    ] {
        let mut c = server.client();
        let reply = c.raw(sent.as_bytes());
        assert_eq!((reply.status, reply.header("connection")), (status, Some("close")), "{reply:?}");
        c.ended();
    }
    // Its end is there, and too much was sent: the connection goes on.
    let mut c = server.client();
    let sent = head(&format!("Content-Length: {}", HTTP_BODY_BYTES_MAX + 1)) + &"x".repeat(HTTP_BODY_BYTES_MAX + 1);
    assert_eq!((c.raw(sent.as_bytes()).status, c.get("/livez").status), (413, 200));
    let sent = head("Content-Encoding: gzip\r\nTransfer-Encoding: chunked") + "2\r\n{}\r\n0\r\n\r\n";
    assert_eq!((c.raw(sent.as_bytes()).status, c.get("/livez").status), (415, 200));
}

#[test]
fn what_is_asked_of_no_path_is_refused_fittingly() {
    let server = Server::alone();
    for (line, status, code) in [
        ("OPTIONS *", 405, "method_not_allowed"),
        ("CONNECT localhost:80", 405, "method_not_allowed"),
        ("TRACE /livez", 405, "method_not_allowed"),
        ("OPTIONS /v1/pools", 405, "method_not_allowed"),
        ("GET livez", 400, "bad_request"),
        ("GET *", 405, "method_not_allowed"),
        ("GET localhost:80", 400, "bad_request"),
    ] {
        let mut client = server.client();
        let reply = client.raw(format!("{line} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes());
        assert_eq!((reply.status, reply.code().as_str()), (status, code), "{line}");
        assert_eq!(reply.header("allow").is_some(), status == 405, "{line}");
    }
    assert_eq!(server.client().raw(b"GET http://localhost/livez HTTP/1.1\r\nHost: localhost\r\n\r\n").status, 200);
}

#[test]
fn the_documentation_pages_refuse_like_the_api() {
    let server = Server::alone();
    let c = &mut server.client();
    let moved = c.get("/docs");
    assert_eq!((moved.status, moved.header("location")), (303, Some("/docs/")));
    let script = c.get("/docs/swagger-initializer.js");
    assert!(script.status == 200 && script.body.contains("/openapi.json"), "{script:?}");
    assert!(script.body.contains(r#""validatorUrl": "none""#), "the page asks nobody else: {}", script.body);
    let policy = script.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'self';") && !policy.contains("http"), "{policy}");
    for (method, path, status, code) in [
        ("GET", "/docs/nothing", 404, "not_found"),
        ("GET", "/docs/%FF", 400, "bad_name"),
        ("POST", "/docs/", 405, "method_not_allowed"),
        ("DELETE", "/docs", 405, "method_not_allowed"),
    ] {
        let reply = server.client().send(method, path, &[], "");
        assert_eq!((reply.status, reply.code().as_str()), (status, code), "{method} {path}");
    }
}

/// Whoever has sent all it has to say may say so: `nc -N` does.
#[test]
fn a_whole_request_is_answered_though_its_caller_sends_no_more() {
    let server = Server::alone();
    server.pool("p", 9);
    let body = r#"{"pool":"p","demand":{"orders":1}}"#.as_bytes();
    let once: &[&str] = &["Idempotency-Key: k"];
    for (bytes, status) in [
        (request("GET", "/livez", &[], b""), 200),
        (request("GET", "/v1/pools/p?fresh=true", &[], b""), 200),
        (request("POST", "/v1/reservations", once, body), 201),
        (request("POST", "/v1/reservations", once, body), 201),
        (request("POST", "/v1/reservations", &[], b"{"), 400),
    ] {
        let mut client: Client = server.client();
        client.write(&bytes);
        client.half_close();
        assert_eq!(client.read().map(|reply| reply.status), Some(status));
        client.ended();
    }
    assert_eq!(server.client().get("/v1/pools/p?fresh=true").json()["used"]["orders"], 1);
}
