//! Names of the world, on every place where a name may stand: what is one is kept to the byte, and of what is none the
//! caller is told which character is wrong and where.

use super::client::{Client, Reply};
use crate::server::Server;
use headroom::time::SystemClock;
use serde_json::{Value, json};
use std::sync::Arc;

const GOOD: &[&str] = &[
    "SW1A 1AA",
    "north east",
    "Köln",
    "#1001",
    "SO/2026/00012",
    "WEB 12",
    "dispatch@ops.example",
    "Süd-Team",
    "東京 3",
    "a,b;c=\"d\"&e%20\\{}",
    "nbsp\u{a0}inside",
];

/// A text, and what is told of it.
const BAD: &[(&str, &str)] = &[
    ("", "is empty"),
    ("Ko\u{308}ln", "has 'o' U+006F at character 2: the text is not in normalization form C"),
    ("ab\u{202e}c", "has U+202E at character 3: it is a format character"),
    ("\u{200b}x", "has U+200B at character 1: it is a format character"),
    ("so\u{ad}ft", "has U+00AD at character 3: it is a format character"),
    (" x", "has U+0020 at character 1: it is a blank"),
    ("x ", "has U+0020 at character 2: it is a blank"),
    ("x\u{a0}", "has U+00A0 at character 2: it is a blank"),
    ("\u{3000}x", "has U+3000 at character 1: it is a blank"),
    ("a\nb", "has U+000A at character 2: it is a control character"),
    ("a\u{85}b", "has U+0085 at character 2: it is a control character"),
    ("a\u{2028}b", "has U+2028 at character 2: it separates lines"),
    ("\u{e000}", "has U+E000 at character 1: it is for private use"),
    ("a\u{378}", "has U+0378 at character 2: it is no character that Unicode has assigned"),
    ("x2345678901234567890123456789012345678901234567890123456789012345", "is longer than 64 bytes"),
    ("東東東東東東東東東東東東東東東東東東東東東東", "is longer than 64 bytes"),
];

/// A place where a name may stand: its name as callers are told it, and the request with a text there.
type Place = (&'static str, fn(&mut Client, &str) -> Reply);

fn put(c: &mut Client, part: Value) -> Reply {
    let mut body = json!({ "limits": { "orders": 100 } });
    body.as_object_mut().unwrap().extend(part.as_object().unwrap().clone());
    c.send("PUT", "/v1/pools/p", &[], &body.to_string())
}

fn patch(c: &mut Client, body: Value) -> Reply {
    c.send("PATCH", "/v1/pools/p", &[], &body.to_string())
}

fn labelled(label: &str, value: &str) -> Value {
    let mut labels = serde_json::Map::new();
    labels.insert(label.to_owned(), value.into());
    json!({ "labels": labels })
}

const PLACES: &[Place] = &[
    ("areas[0]", |c, text| put(c, json!({ "areas": [text] }))),
    ("a label's name", |c, text| put(c, labelled(text, "v"))),
    ("labels.'fleet'", |c, text| put(c, labelled("fleet", text))),
    ("areas[0]", |c, text| patch(c, json!({ "areas": [text] }))),
    ("a label's name", |c, text| patch(c, labelled(text, "v"))),
    ("labels.'fleet'", |c, text| patch(c, labelled("fleet", text))),
    ("order_ref", |c, text| {
        let body = json!({ "pool": "p", "demand": { "orders": 1 }, "order_ref": text });
        c.post("/v1/reservations", &body.to_string())
    }),
    ("areas[0]", |c, text| c.post("/v1/availability", &json!({ "areas": [text] }).to_string())),
    ("a label's name", |c, text| c.post("/v1/availability", &labelled(text, "v").to_string())),
    ("labels.'fleet'", |c, text| c.post("/v1/availability", &labelled("fleet", text).to_string())),
];

#[test]
fn invalid_names_are_refused_in_every_place() {
    let server = Server::alone();
    server.pool("p", 100);
    let c = &mut server.client();
    let ends = |c: &mut Client| c.get("/internal/log").json()["ends"][0].clone();
    let before = ends(c);
    let is_told = |reply: &Reply, field: &str, why: &str| {
        let detail = reply.json()["detail"].as_str().unwrap().to_owned();
        assert_eq!((reply.status, reply.code()), (400, "bad_name".to_owned()), "{detail}");
        let (start, end) = (format!("{field} is '"), format!(", which {why}"));
        assert!(detail.starts_with(&start) && detail.contains(&end), "{start}…{end}: {detail}");
        let unseen = ['\n', '\u{85}', '\u{a0}', '\u{ad}', '\u{308}', '\u{200b}', '\u{202e}', '\u{2028}', '\u{e000}'];
        assert!(!detail.contains(unseen), "what was sent is shown harmlessly: {detail:?}");
    };
    for (text, why) in BAD {
        for (field, ask) in PLACES {
            is_told(&ask(c, text), field, why);
        }
    }
    assert_eq!(ends(c), before, "what is no name came as far as the log");
}

#[test]
fn a_name_is_kept_to_the_byte_and_compared_by_the_byte() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(SystemClock::new());
    let server = Server::start(dir.path(), 1, Arc::clone(&clock) as _);
    let c = &mut server.client();
    for (at, name) in GOOD.iter().enumerate() {
        let pool = format!("/v1/pools/p{at}");
        let body = json!({ "limits": { "orders": 5 }, "areas": [name], "labels": labelled(name, name)["labels"] });
        let made = c.send("PUT", &pool, &[], &body.to_string());
        assert_eq!(made.status, 201, "{name}: {made:?}");
        let ask =
            json!({ "pool": format!("p{at}"), "demand": { "orders": 1 }, "order_ref": name, "hold_ttl_ms": 60_000 });
        let reserved = c.post("/v1/reservations", &ask.to_string());
        assert_eq!((reserved.status, &reserved.json()["order_ref"]), (201, &(*name).into()), "{reserved:?}");
    }
    let seen = |c: &mut Client| {
        for (at, name) in GOOD.iter().enumerate() {
            let found = c.post("/v1/availability?fresh=true", &json!({ "areas": [name] }).to_string()).json();
            let pools = found["pools"].as_array().unwrap();
            assert_eq!((pools.len(), &pools[0]["pool"]), (1, &format!("p{at}").into()), "{name}: {found}");
            assert_eq!(pools[0]["areas"], json!([name]));
            assert_eq!(pools[0]["labels"], labelled(name, name)["labels"]);
            let found = c.post("/v1/availability", &labelled(name, name).to_string()).json();
            assert_eq!(found["pools"].as_array().unwrap().len(), 1, "{name}: {found}");
        }
        for other in ["köln", "KÖLN", "Koln", "SW1A  1AA", "sw1a 1aa", "nbsp inside"] {
            let found = c.post("/v1/availability", &json!({ "areas": [other] }).to_string()).json();
            assert_eq!(found["pools"], json!([]), "{other}");
        }
    };
    seen(c);
    drop(server);
    // From its checkpoint they come back as they were.
    let server = Server::start(dir.path(), 1, clock);
    seen(&mut server.client());
}
