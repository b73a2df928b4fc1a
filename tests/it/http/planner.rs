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
