//! A wrong clock as callers meet it: the whole service over the embedded log, by clocks that the test moves.

use crate::http::client::{Client, Reply};
use crate::server::Server;
use crate::wait::until;
use crate::world::ManualClock;
use headroom::domain::Micros;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;

/// When the tests begin: 2026-11-21T10:00:00Z.
const TEN: Micros = Micros(1_795_255_200_000_000);
const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;
/// No caller here is in a hurry.
const PATIENT: &[&str] = &["Request-Timeout-Ms: 5000"];

fn serve(dir: &Path, clock: &Arc<ManualClock>) -> (Server, Client) {
    let server = Server::start(dir, 1, Arc::clone(clock) as _);
    let client = server.client();
    (server, client)
}

/// A server of [`TEN`], whose log was written by one that was ahead of it by so much.
fn behind_its_log(ahead_ms: u64, prepare: impl FnOnce(&mut Client)) -> (tempfile::TempDir, Arc<ManualClock>) {
    let dir = tempfile::tempdir().unwrap();
    let (server, mut client) = serve(dir.path(), &Arc::new(ManualClock::at(TEN.plus_ms(ahead_ms))));
    prepare(&mut client);
    drop((client, server));
    (dir, Arc::new(ManualClock::at(TEN)))
}

pub(super) fn define(client: &mut Client, pool: &str, orders: u64, window: &Value) {
    let body = json!({"limits": {"orders": orders}, "window": window}).to_string();
    let reply = client.send("PUT", &format!("/v1/pools/{pool}"), PATIENT, &body);
    assert_eq!(reply.status, 201, "{reply:?}");
}

pub(super) fn reserve(client: &mut Client, pool: &str, hold_ttl_ms: Option<u64>) -> Reply {
    let body = json!({"pool": pool, "demand": {"orders": 1}, "hold_ttl_ms": hold_ttl_ms});
    client.send("POST", "/v1/reservations", PATIENT, &body.to_string())
}

/// The pools that would take an order now.
pub(super) fn offered(client: &mut Client) -> Vec<String> {
    let page = client.post("/v1/availability", r#"{"demand":{"orders":1}}"#).json();
    page["pools"].as_array().unwrap().iter().map(|pool| pool["pool"].as_str().unwrap().to_owned()).collect()
}

pub(super) fn used(client: &mut Client, pool: &str) -> Value {
    client.get(&format!("/v1/pools/{pool}")).json()["used"]["orders"].clone()
}

/// Of one partition's gauge, or of a counter's sum.
pub fn metric(client: &mut Client, name: &str) -> f64 {
    let text = client.get("/metrics").body;
    text.lines()
        .filter(|line| line.starts_with(name))
        .map(|l| l.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
        .sum()
}

fn window(hours: [u64; 2]) -> Value {
    let at = |hour: u64| format!("2026-11-21T{hour:02}:00:00Z");
    json!({"start": at(hours[0]), "end": at(hours[1])})
}

#[test]
fn a_log_that_is_eight_hours_ahead_takes_calls_and_judges_alike_for_owner_and_readers() {
    let (dir, clock) = behind_its_log(8 * HOUR_MS, |client| define(client, "evening", 5, &window([12, 23])));
    let (_server, mut client) = serve(dir.path(), &clock);
    define(&mut client, "noon", 5, &window([12, 14]));
    // By the log it is 18:00.
    assert_eq!(reserve(&mut client, "noon", None).code(), "past_cutoff");
    assert_eq!(offered(&mut client), ["evening"]);
    assert_eq!(reserve(&mut client, "evening", None).status, 201);
    let ready = client.get("/readyz");
    assert_eq!((ready.status, &ready.json()["status"]), (200, &"degraded".into()));
    assert_eq!(ready.json()["partitions"]["0"]["why"], "the partition's time is 28800 s ahead of this machine's clock");
    assert_eq!(metric(&mut client, "headroom_clock_ahead_seconds{"), 28_800.0);
    // Half of the time that passes is made good.
    clock.pass_ms(15 * HOUR_MS);
    assert_eq!(metric(&mut client, "headroom_clock_ahead_seconds{"), 1_800.0);
    clock.pass_ms(HOUR_MS);
    until("it is as it should be", || client.get("/readyz").json()["status"] == "ok");
    assert_eq!(metric(&mut client, "headroom_clock_ahead_seconds{"), 0.0);
}

#[test]
fn a_hold_ends_in_twice_its_time_where_the_log_is_ahead() {
    // By some hours, and as if for good: the year is 2098.
    for ahead_ms in [8 * HOUR_MS, 72 * 365 * 24 * HOUR_MS] {
        let (dir, clock) = behind_its_log(ahead_ms, |client| define(client, "van", 5, &Value::Null));
        // Whoever starts again finds it so, and goes on.
        for confirmed in 0..2 {
            let (_server, mut client) = serve(dir.path(), &clock);
            assert_eq!(reserve(&mut client, "van", Some(1_000)).status, 201);
            clock.pass_ms(1_999);
            assert_eq!(reserve(&mut client, "van", None).status, 201);
            assert_eq!(used(&mut client, "van"), confirmed + 2);
            clock.pass_ms(1);
            until("the hold is over", || used(&mut client, "van") == confirmed + 1);
        }
    }
}

#[test]
fn a_wall_clock_that_is_put_right_while_running_is_followed() {
    let dir = tempfile::tempdir().unwrap();
    // The process starts ten minutes slow.
    let clock = Arc::new(ManualClock::at(TEN.plus_ms(55 * MINUTE_MS)));
    let (_server, mut client) = serve(dir.path(), &clock);
    define(&mut client, "noon", 5, &window([8, 11]));
    assert_eq!(reserve(&mut client, "noon", None).status, 201);
    assert_eq!(offered(&mut client), ["noon"]);
    let held = reserve(&mut client, "noon", Some(5 * MINUTE_MS));
    assert_eq!(held.status, 201);
    clock.step(TEN.plus_ms(65 * MINUTE_MS));
    assert_eq!(offered(&mut client), [""; 0]);
    assert_eq!(reserve(&mut client, "noon", None).code(), "past_cutoff");
    until("the hold is over", || used(&mut client, "noon") == 1);
    until("the step is counted", || metric(&mut client, "headroom_clock_steps_total{direction=\"forward\"}") == 1.0);
    // Put back, it is waited for at half pace, and no call is late for it.
    clock.step(TEN);
    define(&mut client, "night", 5, &window([12, 23]));
    assert_eq!(reserve(&mut client, "night", None).status, 201);
    until("the step is counted", || metric(&mut client, "headroom_clock_steps_total{direction=\"back\"}") == 1.0);
    assert_eq!(metric(&mut client, "headroom_clock_ahead_seconds{"), 3_900.0);
}

#[test]
fn a_clock_that_is_set_opens_what_was_closed_and_is_told_of() {
    let (dir, clock) = behind_its_log(8 * HOUR_MS, |client| define(client, "noon", 5, &window([12, 14])));
    let (server, mut client) = serve(dir.path(), &clock);
    assert_eq!(reserve(&mut client, "noon", None).code(), "past_cutoff");
    for body in [r#"{"because":""}"#, r#"{"because":"two\nlines"}"#] {
        assert_eq!(client.post("/internal/clock", body).code(), "bad_name");
    }
    let set = client.post("/internal/clock", r#"{"because":"on call: a wrong clock"}"#).json();
    let partition = &set["partitions"][0];
    assert_eq!((&partition["result"], &partition["set"]["to"]), (&"set".into(), &"2026-11-21T10:00:00Z".into()));
    assert_eq!(partition["set"]["from"], "2026-11-21T18:00:00Z");
    assert_eq!(offered(&mut client), ["noon"]);
    assert_eq!(reserve(&mut client, "noon", None).status, 201);
    assert_eq!(metric(&mut client, "headroom_clock_ahead_seconds{"), 0.0);
    assert_eq!(client.get("/readyz").json()["status"], "ok");
    let again = client.post("/internal/clock", r#"{"because":"once more"}"#).json();
    assert_eq!(again["partitions"][0]["result"], "not_ahead");
    // Whoever starts again goes on from there.
    drop((client, server));
    let (_server, mut client) = serve(dir.path(), &clock);
    assert_eq!(offered(&mut client), ["noon"]);
}
