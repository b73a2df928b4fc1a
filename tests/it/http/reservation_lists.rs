//! Lists that are read page by page, over HTTP: the reservations of a pool, and the pools themselves while some come and
//! others retire.

use super::client::{Client, Reply};
use crate::fixtures::{NOW, pool_id, reservation_id};
use crate::server::Server;
use crate::wait::until;
use crate::world::ManualClock;
use headroom::limits::{PAGE_POOLS_DEFAULT, PAGE_POOLS_MAX};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tempfile::TempDir;

/// No caller here is in a hurry.
const PATIENT: &str = "Request-Timeout-Ms: 5000";

/// A server with a clock that stands still.
fn stopped() -> (Server, Arc<ManualClock>, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::at(NOW));
    (Server::start(dir.path(), 1, clock.clone()), clock, dir)
}

#[track_caller]
fn done(reply: Reply) -> Value {
    assert!(reply.status < 300, "{reply:?}");
    reply.json()
}

/// Takes one order under this key, and answers the id.
fn reserve(c: &mut Client, pool: &str, key: &str, more: &Value) -> String {
    let mut body = json!({ "pool": pool, "demand": { "orders": 1 } });
    body.as_object_mut().unwrap().extend(more.as_object().into_iter().flatten().map(|(k, v)| (k.clone(), v.clone())));
    let key = format!("Idempotency-Key: {key}");
    let made = done(c.send("POST", "/v1/reservations", &[&key, PATIENT], &body.to_string()));
    made["reservation"].as_str().unwrap().to_owned()
}

fn list(c: &mut Client, pool: &str, query: &str) -> Value {
    done(c.get(&format!("/v1/pools/{pool}/reservations?{query}")))
}

fn ids(page: &Value) -> Vec<String> {
    let all = page["reservations"].as_array().unwrap().iter();
    all.map(|of| of["reservation"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn reservations_are_listed_as_each_is_read() {
    let (server, clock, _dir) = stopped();
    let c = &mut server.client();
    server.pool("p", 9);
    server.pool("other", 9);
    let by_status: BTreeMap<&str, String> = [
        ("held", reserve(c, "p", "a", &json!({ "hold_ttl_ms": 600_000, "order_ref": "#1" }))),
        ("confirmed", reserve(c, "p", "b", &json!({}))),
        ("released", reserve(c, "p", "c", &json!({}))),
        ("expired", reserve(c, "p", "d", &json!({ "hold_ttl_ms": 1_000 }))),
    ]
    .into();
    reserve(c, "other", "a", &json!({}));
    let refused = c.post("/v1/reservations", r#"{"pool":"p","demand":{"orders":99}}"#);
    assert_eq!(refused.code(), "over_limit");
    clock.pass_ms(2_000);
    done(c.send("DELETE", &format!("/v1/reservations/{}", by_status["released"]), &[PATIENT], ""));
    let expired = [by_status["expired"].clone()];
    until("the hold expires", || ids(&list(c, "p", "status=expired&fresh=true")) == expired);

    let all = list(c, "p", "");
    let mut expected: Vec<_> = by_status.values().cloned().collect();
    expected.sort_unstable();
    assert_eq!((ids(&all), &all["next"]), (expected, &Value::Null));
    for listed in all["reservations"].as_array().unwrap() {
        let path = format!("/v1/reservations/{}", listed["reservation"].as_str().unwrap());
        let mut read = done(c.get(&path));
        // It is the same for all of them, and stands once.
        let pool_now = read.as_object_mut().unwrap().remove("pool_now").unwrap();
        assert_eq!((&read, &pool_now), (listed, &all["pool_now"]));
    }
    for (status, id) in &by_status {
        assert_eq!(ids(&list(c, "p", &format!("status={status}"))), std::slice::from_ref(id), "{status}");
    }
    done(c.send("DELETE", &format!("/v1/reservations/{}", by_status["confirmed"]), &[PATIENT], ""));
    let released = BTreeSet::from_iter(ids(&list(c, "p", "status=released&fresh=true")));
    assert_eq!(released, BTreeSet::from([by_status["released"].clone(), by_status["confirmed"].clone()]));
    assert_eq!(list(c, "p", "status=confirmed")["reservations"], json!([]));
}

#[test]
fn pages_follow_each_other_while_reservations_come_and_go() {
    let server = Server::alone();
    let c = &mut server.client();
    server.pool("p", 1_000);
    let staying: BTreeSet<_> = (0..120).map(|n| reserve(c, "p", &format!("stay-{n}"), &json!({}))).collect();
    assert_eq!(ids(&list(c, "p", "")).len(), PAGE_POOLS_DEFAULT);
    let mut passing: Vec<_> = (0..40).map(|n| reserve(c, "p", &format!("pass-{n}"), &json!({}))).collect();
    let (mut seen, mut cursor, mut round) = (Vec::new(), String::new(), 0);
    loop {
        let page = list(c, "p", &format!("limit=7&status=confirmed{cursor}"));
        seen.extend(ids(&page));
        let Some(next) = page["next"].as_str() else { break };
        cursor = format!("&cursor={next}");
        // The one at which the next page begins goes too, when it is one that may.
        let gone = passing.iter().position(|id| id == next).unwrap_or(passing.len() - 1);
        done(c.send("DELETE", &format!("/v1/reservations/{}", passing.swap_remove(gone)), &[PATIENT], ""));
        passing.push(reserve(c, "p", &format!("late-{round}"), &json!({})));
        round += 1;
    }
    assert!(round > 120 / 7 && seen.is_sorted_by(|a, b| a < b), "{seen:?}");
    assert!(staying.is_subset(&seen.into_iter().collect()));
}

#[test]
fn what_is_asked_for_wrongly_is_refused_by_name() {
    let server = Server::alone();
    let c = &mut server.client();
    server.pool("p", 9);
    let mut refused = |path: &str| {
        let reply = c.get(path);
        let detail = reply.json()["detail"].as_str().unwrap().to_owned();
        (reply.status, reply.code(), detail)
    };
    let of_other = reservation_id(&pool_id("other"), "k");
    for (query, says) in [
        ("status=parked", "status is 'parked', it has to be one of held, confirmed, released, expired"),
        ("status=", "status is ''"),
        ("limit=0", &*format!("limit is 0, it has to be an integer from 1 to {PAGE_POOLS_MAX}")),
        (&*format!("limit={}", PAGE_POOLS_MAX + 1), "it has to be an integer from 1"),
        ("limit=x", "limit is 'x'"),
        ("cursor=p", "cursor is 'p', which no page gave as 'next'"),
        (&*format!("cursor={of_other}"), "which no page gave as 'next'"),
        ("status=held&status=held", "stands twice"),
        ("state=held", "there is no parameter 'state'"),
        ("fresh=1", "fresh is '1'"),
    ] {
        let (status, code, detail) = refused(&format!("/v1/pools/p/reservations?{query}"));
        assert_eq!((status, &*code), (400, "bad_query"), "{query}");
        assert!(detail.contains(says), "{query}: {detail}");
    }
    assert_eq!(refused("/v1/pools/absent/reservations").1, "unknown_pool");
    assert_eq!(refused("/v1/pools/a%20b/reservations").1, "bad_name");
    assert_eq!(refused("/v1/pools/__headroom.x/reservations").1, "bad_name");
}

#[test]
fn a_pool_that_has_retired_has_no_list() {
    let server = Server::alone();
    let c = &mut server.client();
    server.pool("p", 9);
    let id = reserve(c, "p", "k", &json!({}));
    done(c.send("DELETE", "/v1/pools/p?with_reservations=true", &[PATIENT], ""));
    for query in ["", "?fresh=true", "?status=released", &format!("?cursor={id}")] {
        let reply = c.get(&format!("/v1/pools/p/reservations{query}"));
        assert_eq!((reply.status, &*reply.code()), (404, "unknown_pool"), "{query}");
        assert!(reply.json()["retired_until"].is_string(), "{reply:?}");
    }
}

/// All pages of a list of pools. `between` happens after each.
fn pools(c: &mut Client, by_post: bool, mut between: impl FnMut(&mut Client, &str)) -> Vec<String> {
    let (mut seen, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let page = if by_post {
            let mut body = json!({ "limit": 3, "from": "2030-01-01T00:00:00Z" });
            cursor.iter().for_each(|cursor| body["cursor"] = json!(cursor));
            done(c.post("/v1/availability?fresh=true", &body.to_string()))
        } else {
            let cursor = cursor.as_ref().map_or(String::new(), |cursor| format!("&cursor={cursor}"));
            done(c.get(&format!("/v1/pools?limit=3&fresh=true{cursor}")))
        };
        seen.extend(page["pools"].as_array().unwrap().iter().map(|pool| pool["pool"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else { return seen };
        between(c, next);
        cursor = Some(next.to_owned());
    }
}

/// The pool that a cursor names may retire, too.
#[test]
fn pages_of_pools_stay_as_they_are_while_pools_come_and_go() {
    for by_post in [false, true] {
        let server = Server::alone();
        let c = &mut server.client();
        let staying: Vec<_> = (0..20).map(|n| format!("p{n:02}-a")).collect();
        staying.iter().for_each(|pool| server.pool(pool, 1));
        (0..20).for_each(|n| server.pool(&format!("p{n:02}-b"), 1));
        let mut round = 0;
        let seen = pools(c, by_post, |c, next| {
            let before = format!("p{:02}-b", round % 20);
            for gone in [next, &before].into_iter().filter(|pool| pool.ends_with("-b")) {
                let reply = c.send("DELETE", &format!("/v1/pools/{gone}"), &[PATIENT], "");
                assert!(matches!(reply.status, 200 | 404), "{reply:?}");
            }
            server.pool(&format!("p{:02}-c{round}", (7 * round) % 20), 1);
            round += 1;
        });
        assert!(round > 20 / 3 && seen.is_sorted_by(|a, b| a < b), "{seen:?}");
        let of_staying: Vec<_> = seen.into_iter().filter(|pool| pool.ends_with("-a")).collect();
        assert_eq!(of_staying, staying);
    }
}
