//! The API over real connections to the real service: what each endpoint answers, byte for byte, and who wins a race.

mod availability;
mod bad_input;
pub mod client;
pub mod disconnects;
mod examples;
mod h2;
pub mod manual_owner;
mod memory;
mod names;
mod opening;
mod pool_changes;
mod problems;
mod protocol;
mod quotas;
mod race;
mod readiness;
mod reservation_lists;
mod roles;
mod stages;
mod timeouts;
mod tls;
mod unreadable_partitions;

use crate::server::Server;
use crate::wait::until;
use client::{Client, request};

const POOL: &str = r#"{"limits":{"orders":10,"crates":300},"areas":["SG-02","SG-01"],"window":{"start":"2126-11-21T10:00:00+08:00","end":"2126-11-21T04:00:00Z"},"labels":{"fleet":"van"}}"#;

/// Sends, and compares status and body.
fn expect(client: &mut Client, request: (&str, &str, &[&str], &str), status: u16, golden: &str) -> client::Reply {
    let (method, path, headers, body) = request;
    let reply = client.send(method, path, headers, body);
    assert_eq!((reply.status, reply.golden().as_str()), (status, golden), "{method} {path}");
    assert!(reply.header("x-request-id").is_some());
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    reply
}

#[test]
fn pools_are_defined_read_changed_and_listed() {
    let server = Server::alone();
    let c = &mut server.client();
    let pool = |used: u64, left: u64, rest: &str| {
        format!(
            r#"{{"pool":"SG:1","limits":{{"crates":300,"orders":10}},"used":{{"crates":{used},"orders":0}},"remaining":{{"crates":{left},"orders":10}},{rest}"#
        )
    };
    let said = r#""areas":["SG-01","SG-02"],"window":{"start":"2126-11-21T02:00:00Z","end":"2126-11-21T04:00:00Z"},"labels":{"fleet":"van"}"#;
    let open = pool(0, 300, &format!(r#""mode":"open","over_committed":false,{said},"version":1"#));
    let proof = r#""proof":{"partition":0,"seq":1,"epoch":1,"digest":"*"}}"#;
    let made = expect(c, ("PUT", "/v1/pools/SG:1", &[], POOL), 201, &format!("{open},{proof}"));
    assert_eq!(made.header("etag"), Some("\"1\""));
    assert_eq!(made.header("content-type"), Some("application/json"));

    let read = expect(c, ("GET", "/v1/pools/SG%3A1?fresh=true", &[], ""), 200, &format!("{open}}}"));
    assert_eq!(read.header("etag"), Some("\"1\""));
    expect(c, ("GET", "/v1/pools/SG:1", &[], ""), 200, &format!("{open}}}"));

    let page = format!(r#"{{"pools":[{open}}}],"as_of":{{"0":2}},"incomplete":[],"staleness_ms":*,"next":null}}"#);
    expect(c, ("GET", "/v1/pools?limit=1", &[], ""), 200, &page);
    let wanted = r#"{"areas":["SG-01"],"from":"2126-11-21T03:00:00Z","to":"2126-11-21T05:00:00Z","demand":{"orders":10},"labels":{"fleet":"van"},"limit":5}"#;
    expect(c, ("POST", "/v1/availability", &[], wanted), 200, &page);
    expect(c, ("POST", "/v1/availability?fresh=true", &[], ""), 200, &page);
    let none = r#"{"pools":[],"as_of":{"0":2},"incomplete":[],"staleness_ms":*,"next":null}"#;
    expect(c, ("POST", "/v1/availability", &[], r#"{"demand":{"orders":11}}"#), 200, none);

    server.pool("a", 1);
    let first = c.get("/v1/pools?limit=1").json();
    assert_eq!((&first["pools"][0]["pool"], &first["next"]), (&"SG:1".into(), &"SG:1".into()));
    let second = c.get("/v1/pools?limit=1&cursor=SG%3A1").json();
    assert_eq!((&second["pools"][0]["pool"], second["next"].is_null()), (&"a".into(), true));

    // For good: the last day that can be written.
    let always = r#"{"limits":{"orders":1},"window":{"start":"2026-01-01T00:00:00Z","end":"9999-12-31T23:59:59Z"}}"#;
    let made = c.send("PUT", "/v1/pools/always", &[], always);
    assert_eq!((made.status, &made.json()["window"]["end"]), (201, &"9999-12-31T23:59:59Z".into()));

    let changed = c.send("PATCH", "/v1/pools/a", &[], r#"{"adjust":{"orders":-1}}"#);
    assert_eq!((changed.status, &changed.json()["limits"]["orders"]), (200, &0.into()));
    let changed = c.send("PATCH", "/v1/pools/a", &[], r#"{"limits":{"orders":7}}"#);
    assert_eq!((changed.status, &changed.json()["limits"]["orders"]), (200, &7.into()));
    let paused = c.post("/v1/pools/a/mode", r#"{"mode":"paused"}"#);
    assert_eq!((paused.status, paused.header("etag"), &paused.json()["mode"]), (200, Some("\"4\""), &"paused".into()));
}

#[test]
fn an_edit_of_another_version_is_refused() {
    let server = Server::alone();
    let c = &mut server.client();
    let one = r#"{"limits":{"orders":1}}"#;
    assert_eq!(c.send("PUT", "/v1/pools/p", &["If-Match: \"1\""], one).code(), "stale_version");
    assert_eq!(c.send("PUT", "/v1/pools/p", &["If-None-Match: *"], one).status, 201);
    let again = c.send("PUT", "/v1/pools/p", &["If-None-Match: *"], one);
    assert_eq!((again.status, again.code().as_str()), (412, "stale_version"));
    let told = "pool p exists already, with version 1, and was to be new: use another id, or read the pool, and change it if it is the one that you mean";
    assert_eq!(again.json()["detail"], told);
    let two = c.send("PUT", "/v1/pools/p", &["If-Match: \"1\""], r#"{"limits":{"orders":2}}"#);
    assert_eq!((two.status, two.header("etag")), (200, Some("\"2\"")));
    for (method, path, body) in [
        ("PUT", "/v1/pools/p", one),
        ("PATCH", "/v1/pools/p", one),
        ("POST", "/v1/pools/p/mode", r#"{"mode":"closed"}"#),
    ] {
        assert_eq!(c.send(method, path, &["If-Match: \"1\""], body).code(), "stale_version", "{method} {path}");
        for bad in ["**", "2", "W/\"2\"", "\"1\", \"2\"", "\"0\"", "\"02\"", "\"\""] {
            let bad = &*format!("If-Match: {bad}");
            assert_eq!(c.send(method, path, &[bad], body).code(), "bad_version", "{method} {path} {bad}");
        }
    }
    // What only says that nothing may be there must not change or retire what is.
    for (method, path, body) in [
        ("PATCH", "/v1/pools/p", one),
        ("POST", "/v1/pools/p/mode", r#"{"mode":"closed"}"#),
        ("DELETE", "/v1/pools/p?with_reservations=true", ""),
    ] {
        assert_eq!(c.send(method, path, &["If-None-Match: *"], body).code(), "bad_version", "{method} {path}");
    }
    for expected in ["If-Match: \"2\"", "If-Match: *"] {
        let both = c.send("PUT", "/v1/pools/p", &[expected, "If-None-Match: *"], one);
        assert_eq!(both.code(), "bad_version");
    }
}

/// `If-Match: *` is for whoever wants to change a pool and not to make one.
#[test]
fn any_version_is_expected_of_a_pool_that_exists() {
    let server = Server::alone();
    let c = &mut server.client();
    let any: &[&str] = &["If-Match: *"];
    let one = r#"{"limits":{"orders":1}}"#;
    let refused = c.send("PUT", "/v1/pools/p", any, one);
    assert_eq!((refused.status, refused.code().as_str()), (412, "stale_version"));
    assert_eq!(c.get("/v1/pools/p?fresh=true").code(), "unknown_pool");
    assert_eq!(c.send("PATCH", "/v1/pools/p", any, one).code(), "unknown_pool");
    server.pool("p", 1);
    for (method, path, body, version) in [
        ("PUT", "/v1/pools/p", r#"{"limits":{"orders":2}}"#, 2),
        ("PATCH", "/v1/pools/p", r#"{"limits":{"orders":3}}"#, 3),
        ("POST", "/v1/pools/p/mode", r#"{"mode":"closed"}"#, 4),
    ] {
        let changed = c.send(method, path, any, body);
        assert_eq!((changed.status, &changed.json()["version"]), (200, &version.into()), "{method} {path}");
    }
    // A retry is the same request, although the pool has another version by then.
    let keyed: &[&str] = &["If-Match: *", "Idempotency-Key: k-1"];
    let [first, again] = [(); 2].map(|()| c.send("PUT", "/v1/pools/p", keyed, one));
    assert_eq!((first.status, again.status, again.header("idempotent-replayed")), (200, 200, Some("true")));
    assert_eq!((&first.json()["version"], &again.json()["version"]), (&5.into(), &5.into()));
}

#[test]
fn an_etag_is_a_version_and_no_validator_for_caches() {
    let server = Server::alone();
    server.pool("p", 2);
    let c = &mut server.client();
    let before = c.get("/v1/pools/p");
    assert_eq!(c.post("/v1/reservations", r#"{"pool":"p","demand":{"orders":1}}"#).status, 201);
    let etag = before.header("etag").unwrap();
    let after = c.send("GET", "/v1/pools/p?fresh=true", &[&format!("If-None-Match: {etag}")], "");
    assert_eq!((after.status, after.header("etag")), (200, Some(etag)));
    assert_eq!((&before.json()["used"]["orders"], &after.json()["used"]["orders"]), (&0.into(), &1.into()));
    let changed = c.send("PATCH", "/v1/pools/p", &[&format!("If-Match: {etag}")], r#"{"limits":{"orders":3}}"#);
    assert_eq!(changed.status, 200, "what was used meanwhile is no other version: {changed:?}");
    assert_ne!(changed.header("etag"), Some(etag));
}

#[test]
fn a_reservation_lives_and_ends() {
    let server = Server::alone();
    server.pool("p", 10);
    let c = &mut server.client();
    let id = "hr_2mpkm84c8dz4dsnnmazepsnyh0";
    let body = r#"{"pool":"p","demand":{"orders":3},"order_ref":"o-1"}"#;
    let told = |status: &str, rest: &str| {
        format!(
            r#"{{"reservation":"{id}","pool":"p","status":"{status}","demand":{{"orders":3}},"order_ref":"o-1","proof":{{"partition":0,{rest}}}"#
        )
    };
    let after = |seq: u64, used: u64| {
        format!(r#""seq":{seq},"epoch":1,"limits":{{"orders":10}},"used":{{"orders":{used}}},"digest":"*"}}"#)
    };
    let key: &[&str] = &["Idempotency-Key: \"k-1\""];
    let made = expect(c, ("POST", "/v1/reservations", key, body), 201, &told("confirmed", &after(2, 3)));
    assert_eq!(made.header("idempotent-replayed"), None);
    let bare: &[&str] = &["Idempotency-Key: k-1"];
    let replay = after(3, 3).replace(r#""*"}"#, r#""*","original":{"seq":2}}"#);
    let again = expect(c, ("POST", "/v1/reservations", bare, body), 201, &told("confirmed", &replay));
    assert_eq!(again.header("idempotent-replayed"), Some("true"));

    let path = format!("/v1/reservations/{id}");
    // Another order changes the pool's counters and nothing of this one.
    let other = c.send("POST", "/v1/reservations", &[], r#"{"pool":"p","demand":{"orders":1}}"#).json();
    assert_eq!(
        c.get(&format!("/v1/reservations/{}", other["reservation"].as_str().unwrap())).json()["last_event"]["seq"],
        4
    );
    let read = format!(
        r#"{{"reservation":"{id}","pool":"p","status":"confirmed","demand":{{"orders":3}},"order_ref":"o-1","last_event":{{"partition":0,"seq":2}},"pool_now":{{"next_seq":5,"limits":{{"orders":10}},"used":{{"orders":4}}}}}}"#
    );
    expect(c, ("GET", &path, &[], ""), 200, &read);

    let released =
        |seq: u64| format!(r#"{{"reservation":"{id}","status":"released","proof":{{"partition":0,{}}}"#, after(seq, 1));
    let gone = expect(c, ("DELETE", &path, &[], ""), 200, &released(5));
    assert_eq!(gone.header("idempotent-replayed"), None);
    let repeated = released(6).replace(r#""*"}"#, r#""*","original":{"seq":5}}"#);
    let gone = expect(c, ("DELETE", &path, &[], ""), 200, &repeated);
    assert_eq!(gone.header("idempotent-replayed"), Some("true"));
    let late = c.send("POST", "/v1/reservations", key, body);
    assert_eq!(
        (late.status, late.code(), &late.json()["reservation"]),
        (409, "already_released".to_owned(), &id.into())
    );
    assert_eq!(c.get(&format!("{path}?fresh=true")).json()["status"], "released");

    let other = c.send("POST", "/v1/reservations", key, r#"{"pool":"p","demand":{"orders":4}}"#);
    assert_eq!((other.status, other.code().as_str()), (422, "key_reused"));

    let confirm = format!("{path}/confirm");
    for (target, headers, asked) in [("/v1/reservations", key, body), (&*confirm, key, ""), (&*confirm, &[][..], "")] {
        let ended = c.send("POST", target, headers, asked);
        assert_eq!(ended.code(), "already_released");
        assert!(ended.body.contains("reserve again under a new Idempotency-Key"), "{ended:?}");
    }
    // Whoever does so gets it.
    assert_eq!(c.send("POST", "/v1/reservations", &["Idempotency-Key: k-2"], body).status, 201);
}

#[test]
fn a_reservation_takes_more_or_less() {
    let server = Server::alone();
    server.pool("p", 10);
    let c = &mut server.client();
    let made =
        c.send("POST", "/v1/reservations", &[], r#"{"pool":"p","demand":{"orders":6},"order_ref":"o-1"}"#).json();
    let id = made["reservation"].as_str().unwrap();
    let path = format!("/v1/reservations/{id}");
    let told = format!(
        r#"{{"reservation":"{id}","pool":"p","status":"confirmed","demand":{{"orders":7}},"demand_before":{{"orders":6}},"order_ref":"o-1","proof":{{"partition":0,"seq":3,"epoch":1,"limits":{{"orders":10}},"used":{{"orders":7}},"digest":"*"}}}}"#
    );
    let key: &[&str] = &["Idempotency-Key: a-1"];
    let seven = r#"{"demand":{"orders":7}}"#;
    let amended = expect(c, ("PATCH", &path, key, seven), 200, &told);
    assert_eq!(amended.header("idempotent-replayed"), None);
    let same = c.send("PATCH", &path, &[], seven);
    assert_eq!((same.status, same.header("idempotent-replayed")), (200, Some("true")));
    assert_eq!(same.json()["demand_before"], same.json()["demand"], "nothing changed");
    let full = c.send("PATCH", &path, &[], r#"{"demand":{"orders":11}}"#);
    let problem = full.json();
    assert_eq!(
        (full.status, &problem["dimension"], &problem["remaining"]["orders"]),
        (409, &"orders".into(), &3.into())
    );
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("3 of 10 orders left, 4 more were asked for, 11 in place of 7"), "{detail}");
    assert_eq!(c.send("PATCH", &path, &[], r#"{"demand":{"orders":2}}"#).status, 200);
    let again = c.send("PATCH", &path, key, seven);
    assert_eq!((again.status, again.header("idempotent-replayed")), (200, Some("true")));
    let again = again.json();
    assert_eq!((&again["demand"]["orders"], &again["proof"]["original"]["seq"]), (&7.into(), &3.into()), "as it was");
    let read = c.get(&format!("{path}?fresh=true")).json();
    let place = |seq: u64| serde_json::json!({ "partition": 0, "seq": seq });
    assert_eq!((&read["demand"]["orders"], &read["last_event"]), (&2.into(), &place(6)), "{read}");
    assert_eq!(read["pool_now"]["used"]["orders"], 2);
    assert_eq!(c.send("DELETE", &path, &[], "").json()["proof"]["used"]["orders"], 0);
    let late = c.send("PATCH", &path, key, seven);
    assert_eq!(
        (late.status, late.code(), &late.json()["reservation"]),
        (409, "already_released".to_owned(), &id.into())
    );
}

#[test]
fn a_hold_is_extended_confirmed_or_expires() {
    let server = Server::alone();
    server.pool("p", 10);
    let c = &mut server.client();
    let mut hold = |ttl: u64| {
        let made =
            c.post("/v1/reservations", &format!(r#"{{"pool":"p","demand":{{"orders":1}},"hold_ttl_ms":{ttl}}}"#));
        assert_eq!((made.status, &made.json()["status"]), (201, &"held".into()));
        assert!(made.json()["hold_until"].as_str().is_some_and(|time| time.ends_with('Z')));
        format!("/v1/reservations/{}", made.json()["reservation"].as_str().unwrap())
    };
    let (kept, lost) = (hold(60_000), hold(100));
    let extended = c.post(&format!("{kept}/extend"), r#"{"hold_ttl_ms":120000}"#);
    assert_eq!((extended.status, &extended.json()["status"]), (200, &"held".into()));
    for headers in [&[][..], &["Idempotent-Replayed"]] {
        let confirmed = c.post(&format!("{kept}/confirm"), "{}");
        assert_eq!((confirmed.status, &confirmed.json()["status"]), (200, &"confirmed".into()));
        assert_eq!(confirmed.header("idempotent-replayed").is_some(), !headers.is_empty());
        assert_eq!(confirmed.json().get("hold_until"), None);
    }
    assert_eq!(c.post(&format!("{kept}/extend"), r#"{"hold_ttl_ms":120000}"#).code(), "not_a_hold");
    until("the hold expires", || c.get(&lost).json()["status"] == "expired");
    assert_eq!(c.post(&format!("{lost}/confirm"), "").code(), "hold_expired");
    let released = c.send("DELETE", &lost, &[], "");
    assert_eq!((released.status, &released.json()["status"]), (200, &"expired".into()));
}

#[test]
fn refusals_say_why_and_with_what_proof() {
    let server = Server::alone();
    server.pool("p", 2);
    let c = &mut server.client();
    let three = r#"{"pool":"p","demand":{"orders":3}}"#;
    let golden = r#"{"type":"urn:headroom:problem:over_limit","title":"The pool has too few units left","status":409,"detail":"pool p has 2 of 2 orders left, 3 were asked for: ask for less, or of another pool; the key keeps this answer for up to 24 hours, so ask again under a new one","code":"over_limit","outcome":"not_applied","retryable":false,"dimension":"orders","remaining":{"orders":2},"proof":{"partition":0,"seq":2,"epoch":1,"limits":{"orders":2},"used":{"orders":0},"digest":"*"},"trace_id":"*"}"#;
    let key: &[&str] = &["Idempotency-Key: k"];
    let first = expect(c, ("POST", "/v1/reservations", key, three), 409, golden);
    assert_eq!((first.code().as_str(), first.header("idempotent-replayed")), ("over_limit", None));
    // Again, and the pool has changed since: told with what it was judged against, when, and what may help.
    assert_eq!(c.send("PATCH", "/v1/pools/p", &[], r#"{"limits":{"orders":9}}"#).status, 200);
    let again = c.send("POST", "/v1/reservations", key, three);
    assert_eq!((again.status, again.header("idempotent-replayed")), (409, Some("true")));
    let told = again.json();
    let (at, judged) = (&told["proof"]["original"]["decided_at"], &told["proof"]);
    let detail = "pool p had 2 of 2 orders left, 3 were asked for: ask for less, or of another pool; the key keeps this answer for up to 24 hours, so ask again under a new one";
    assert_eq!(told["detail"], format!("the key was refused at {}: {detail}", at.as_str().unwrap()));
    assert_eq!((&told["code"], &told["remaining"]["orders"]), (&"over_limit".into(), &2.into()));
    assert_eq!([&judged["limits"]["orders"], &judged["used"]["orders"], &judged["original"]["seq"]], [2, 0, 2]);
    assert_eq!(c.send("PATCH", "/v1/pools/p", &[], r#"{"limits":{"orders":2}}"#).status, 200);

    let mut refused = |body: &str| {
        let reply = c.post("/v1/reservations", body);
        (reply.status, reply.code())
    };
    assert_eq!(refused(r#"{"pool":"q","demand":{"orders":1}}"#), (404, "unknown_pool".into()));
    assert_eq!(refused(r#"{"pool":"p","demand":{"crates":1}}"#), (409, "unknown_dimension".into()));
    let mut patch = |body: &str| c.send("PATCH", "/v1/pools/p", &[], body).code();
    assert_eq!(patch(r#"{"adjust":{"orders":-3}}"#), "limit_out_of_range");
    assert_eq!(patch(r#"{"limits":{"crates":3}}"#), "unknown_dimension");
    for (mode, code) in [("paused", "paused"), ("closed", "closed")] {
        assert_eq!(c.post("/v1/pools/p/mode", &format!(r#"{{"mode":"{mode}"}}"#)).status, 200);
        assert_eq!(c.post("/v1/reservations", three).code(), code);
    }
    let ended = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(1);
    let past =
        &format!(r#"{{"limits":{{"orders":1}},"window":{{"start":"2000-01-01T00:00:00Z","end":"{ended:.0}"}}}}"#);
    assert_eq!(c.send("PUT", "/v1/pools/past", &[], past).status, 201);
    assert_eq!(c.post("/v1/reservations", r#"{"pool":"past","demand":{"orders":1}}"#).code(), "past_cutoff");
}

#[test]
fn unknown_reservations_never_reach_the_log() {
    let server = Server::alone();
    server.pool("p", 1);
    let c = &mut server.client();
    assert_eq!(c.post("/v1/reservations", r#"{"pool":"p","demand":{"orders":2}}"#).status, 409);
    let end = |c: &mut Client| c.get("/internal/log").json()["ends"][0].as_u64().unwrap();
    let before = end(c);
    let never = headroom::domain::ReservationId::new(7, [1; 11]).to_string();
    for id in [never.as_str(), "hr_x", "%00", "%E2%80%AE", &"x".repeat(10_000), "..%2F..", "{}"] {
        for (method, rest, body) in [
            ("GET", "", ""),
            ("DELETE", "", ""),
            ("POST", "/confirm", ""),
            ("POST", "/extend", r#"{"hold_ttl_ms":1000}"#),
            ("PATCH", "", r#"{"demand":{"orders":1}}"#),
        ] {
            let reply = c.send(method, &format!("/v1/reservations/{id}{rest}"), &[], body);
            assert_eq!((reply.status, reply.code().as_str()), (404, "unknown_reservation"), "{method} {id}");
        }
    }
    assert_eq!(end(c), before);
}

#[test]
fn operators_see_health_counters_documents_and_the_log() {
    let server = Server::alone();
    server.pool("p", 1);
    let c = &mut server.client();
    let ok = r#"{"status":"ok","closing":false,"partitions":{}}"#;
    for path in ["/livez", "/readyz", "/startupz"] {
        expect(c, ("GET", path, &[], ""), 200, ok);
    }
    let metrics = c.get("/metrics");
    assert!(metrics.header("content-type").is_some_and(|kind| kind.starts_with("text/plain")));
    let put = r#"headroom_http_requests_total{code="ok",method="PUT",route="/v1/pools/{pool}",status="201"} 1"#;
    assert!(metrics.body.contains(put), "{}", metrics.body);
    assert!(c.get("/docs/").body.contains("swagger-ui"));

    let log = c.get("/internal/log").json();
    assert_eq!((&log["partitions"], &log["ends"]), (&1.into(), &serde_json::json!([2])));
    let id = format!("{:032x}", server.service.log_id());
    assert_eq!(log["log"], id);
    // Length-prefixed: what is text in it does not matter here, its framing does.
    c.write(&request("GET", "/internal/log/0?from=2", &[], b""));
    let empty = c.read().unwrap();
    assert_eq!((empty.status, empty.header("headroom-end"), empty.body.as_str()), (200, Some("2"), ""));
    let state = c.get("/internal/state/0").json();
    assert_eq!((&state["next_seq"], &state["pools"], &state["live"]), (&2.into(), &1.into(), &0.into()));
    assert_eq!(state["digest"].as_str().map(str::len), Some(32));
    assert_eq!(c.get("/internal/state/1").code(), "not_found");
}

/// Every path of the document answers the methods it names and no others. That no path is missing is for the API's own
/// tests to say.
#[test]
fn the_document_is_about_this_service() {
    let server = Server::alone();
    let c = &mut server.client();
    let document = c.get("/openapi.json").json();
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.contains_key("/v1/reservations"));
    for (path, item) in paths {
        let concrete = path.replace("{pool}", "p").replace("{reservation}", "r");
        for method in ["GET", "PUT", "PATCH", "POST", "DELETE"] {
            let reply = c.send(method, &concrete, &[], "");
            let is_described = item.get(method.to_ascii_lowercase()).is_some();
            assert_eq!(reply.status != 405, is_described, "{method} {path}: {reply:?}");
            if reply.status == 405 {
                assert_eq!(reply.code(), "method_not_allowed");
                let allowed: Vec<_> = reply.header("allow").unwrap().split(", ").map(str::to_ascii_lowercase).collect();
                for described in item.as_object().unwrap().keys() {
                    assert!(allowed.contains(described), "{path}: {allowed:?}");
                }
            }
        }
    }
    let missing = c.get("/v1/nothing");
    assert_eq!((missing.status, missing.code().as_str()), (404, "not_found"));
}

#[test]
fn calls_in_flight_are_answered_at_shutdown() {
    let server = Server::alone();
    server.pool("p", 1);
    let mut c = server.client();
    let body = r#"{"pool":"p","demand":{"orders":1}}"#;
    let head = request("POST", "/v1/reservations", &["Expect: 100-continue"], body.as_bytes());
    // Once the body is asked for, the call is in flight.
    assert_eq!(c.raw(&head[..head.len() - body.len()]).status, 100);
    // One that has begun to speak is waited for until the gateway is closed; who is silent is not.
    let mut begun = server.client();
    begun.write(b"GET /livez HTTP/1.1\r\n");
    std::thread::scope(|scope| {
        let stopping = scope.spawn(move || drop(server));
        begun.ended();
        c.write(body.as_bytes());
        let reply = c.read().unwrap();
        // The gateway is closed first: the answer is an honest refusal, not a broken connection.
        assert_eq!((reply.status, reply.code().as_str()), (503, "shed"));
        assert_eq!(reply.json()["reason"], "closing");
        stopping.join().unwrap();
    });
}
