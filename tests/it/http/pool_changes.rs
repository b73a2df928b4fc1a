//! What a planner says of a pool: all of it anew, or some parts of it.

use crate::server::Server;
use serde_json::{Value, json};

const WHOLE: &str = r#"{"limits":{"orders":10,"crates":30},"areas":["SG-01"],"labels":{"fleet":"van","shift":"early"},
    "window":{"start":"2126-11-21T02:00:00Z","end":"2126-11-21T04:00:00Z","cutoff":"2126-11-21T01:00:00Z"}}"#;

/// The members of a pool that a planner says.
fn said(pool: &Value) -> Value {
    json!({ "limits": pool["limits"], "areas": pool["areas"], "labels": pool["labels"], "window": pool["window"],
        "mode": pool["mode"], "version": pool["version"] })
}

#[test]
fn a_put_replaces_everything_and_says_so_and_a_patch_keeps_the_rest() {
    let server = Server::alone();
    let mut c = server.client();
    let made = c.send("PUT", "/v1/pools/p", &[], WHOLE);
    assert_eq!((made.status, made.json().get("replaced_version")), (201, None));
    let whole = said(&made.json());

    let patched = c.send("PATCH", "/v1/pools/p", &["If-Match: \"1\""], r#"{"limits":{"orders":25},"mode":"paused"}"#);
    let mut expected = whole.clone();
    (expected["limits"]["orders"], expected["mode"], expected["version"]) = (25.into(), "paused".into(), 2.into());
    assert_eq!((patched.status, said(&patched.json()), patched.header("etag")), (200, expected.clone(), Some("\"2\"")));
    assert_eq!(patched.json().get("replaced_version"), None);

    let parts =
        r#"{"window":{"end":"2126-11-21T05:00:00Z","cutoff":null},"labels":{"shift":null,"zone":"a"},"areas":[]}"#;
    let patched = c.send("PATCH", "/v1/pools/p", &[], parts);
    expected["window"] = json!({ "start": "2126-11-21T02:00:00Z", "end": "2126-11-21T05:00:00Z" });
    expected["labels"] = json!({ "fleet": "van", "zone": "a" });
    (expected["areas"], expected["version"]) = (json!([]), 3.into());
    assert_eq!((patched.status, said(&patched.json())), (200, expected.clone()));

    let patched = c.send("PATCH", "/v1/pools/p", &[], r#"{"window":null,"mode":"open"}"#);
    (expected["window"], expected["mode"], expected["version"]) = (Value::Null, "open".into(), 4.into());
    assert_eq!((patched.status, said(&patched.json())), (200, expected.clone()));

    let stale = c.send("PATCH", "/v1/pools/p", &["If-Match: \"1\""], r#"{"areas":["SG-02"]}"#);
    assert_eq!((stale.status, stale.code()), (412, "stale_version".to_owned()));

    let replaced = c.send("PUT", "/v1/pools/p", &["Idempotency-Key: k"], r#"{"limits":{"orders":25}}"#);
    let bare =
        json!({ "limits": { "orders": 25 }, "areas": [], "labels": {}, "window": null, "mode": "open", "version": 5 });
    assert_eq!((replaced.status, said(&replaced.json()), &replaced.json()["replaced_version"]), (200, bare, &4.into()));
    let again = c.send("PUT", "/v1/pools/p", &["Idempotency-Key: k"], r#"{"limits":{"orders":25}}"#);
    assert_eq!((again.header("idempotent-replayed"), &again.json()["replaced_version"]), (Some("true"), &4.into()));
}

#[test]
fn a_change_of_nothing_or_of_what_cannot_go_is_refused_by_name() {
    let server = Server::alone();
    let mut c = server.client();
    assert_eq!(c.send("PUT", "/v1/pools/p", &[], WHOLE).status, 201);
    let refused = [
        ("{}", "bad_change"),
        (r#"{"window":{}}"#, "bad_change"),
        (r#"{"labels":{}}"#, "bad_change"),
        (r#"{"limits":null}"#, "bad_change"),
        (r#"{"mode":null}"#, "bad_change"),
        (r#"{"areas":null}"#, "bad_change"),
        (r#"{"labels":null}"#, "bad_change"),
        (r#"{"window":{"start":null}}"#, "bad_window"),
        (r#"{"window":{"begin":"2126-11-21T02:00:00Z"}}"#, "unknown_field"),
        (r#"{"window":{"end":"2126-11-21"}}"#, "bad_time"),
        (r#"{"window":{"end":"2126-11-21T01:30:00Z"}}"#, "invalid_window"),
        (r#"{"labels":{"":null}}"#, "bad_name"),
        (r#"{"mode":"held"}"#, "bad_mode"),
    ];
    for (body, code) in refused {
        assert_eq!(c.send("PATCH", "/v1/pools/p", &[], body).code(), code, "{body}");
    }
    assert_eq!(c.get("/v1/pools/p").json()["version"], 1);
}

#[test]
fn the_rules_of_a_pool_are_set_kept_and_cleared() {
    let server = Server::alone();
    let mut c = server.client();
    let rules =
        |pool: &Value| ["hold_ttl_max_ms", "hold_life_max_ms", "unique_order_ref"].map(|rule| pool[rule].clone());
    let mut says = |method, body: &str, expected: [Value; 3]| {
        let answer = c.send(method, "/v1/pools/p", &[], body);
        assert!(answer.status < 300, "{body}: {answer:?}");
        assert_eq!(rules(&answer.json()), expected, "{body}");
        assert_eq!(rules(&c.get("/v1/pools/p").json()), expected, "{body}");
    };
    let none = || [Value::Null, Value::Null, Value::Null];
    let all = r#"{"limits":{"orders":3},"hold_ttl_max_ms":60000,"hold_life_max_ms":600000,"unique_order_ref":true}"#;
    says("PUT", all, [60_000.into(), 600_000.into(), true.into()]);
    says("PATCH", r#"{"mode":"paused"}"#, [60_000.into(), 600_000.into(), true.into()]);
    says("PATCH", r#"{"hold_ttl_max_ms":null}"#, [Value::Null, 600_000.into(), true.into()]);
    says("PATCH", r#"{"hold_life_max_ms":null,"hold_ttl_max_ms":100}"#, [100.into(), Value::Null, true.into()]);
    says("PATCH", r#"{"unique_order_ref":null}"#, [100.into(), Value::Null, Value::Null]);
    says("PATCH", r#"{"unique_order_ref":true,"hold_ttl_max_ms":null}"#, [Value::Null, Value::Null, true.into()]);
    says("PATCH", r#"{"unique_order_ref":false}"#, none());
    says("PUT", all, [60_000.into(), 600_000.into(), true.into()]);
    says("PUT", r#"{"limits":{"orders":3}}"#, none());
    let refused = [
        r#"{"hold_ttl_max_ms":99}"#,
        r#"{"hold_ttl_max_ms":86400001}"#,
        r#"{"hold_ttl_max_ms":"600"}"#,
        r#"{"hold_life_max_ms":2592000001}"#,
        r#"{"hold_life_max_ms":-1}"#,
        r#"{"unique_order_ref":"yes"}"#,
        r#"{"unique_order_ref":1}"#,
    ];
    for body in refused {
        assert_eq!(c.send("PATCH", "/v1/pools/p", &[], body).code(), "bad_rule", "{body}");
    }
}
