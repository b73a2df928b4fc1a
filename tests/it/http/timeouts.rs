//! Deadlines that pass, callers that leave, a log that takes nothing: what is told, and what is left behind (L5).

use super::client::{Client, Reply};
use super::manual_owner::{Desk, ONE, TIMEOUT_MS, id};
use crate::clock::over_http::metric;
use crate::fixtures::{NOW, pool_id, reserve};
use crate::wait::until;
use crate::world::becomes;
use headroom::domain::{CommandKind, EventKind, ReservationId};
use headroom::gateway::admission::Shed;
use headroom::gateway::{Call, Outcome, PendingCounts};
use headroom::limits::{ABANDON_GRACE_MS, DEADLINE_MAX_MS};
use headroom::log::AppendError;
use headroom::replica::PartitionStatus;
use headroom::trace::Tracing;
use std::sync::Arc;

fn told(reply: &Reply) -> (u16, String, String) {
    (reply.status, reply.code(), reply.json()["outcome"].as_str().unwrap().to_owned())
}

fn said(status: u16, code: &str, outcome: &str) -> (u16, String, String) {
    (status, code.to_owned(), outcome.to_owned())
}

/// The answer to an attempt that was not applied, while this reservation lives under its key.
fn names(reply: &Reply, reservation: ReservationId) {
    assert_eq!(told(reply), said(504, "timeout", "unknown"));
    let (problem, reservation) = (reply.json(), reservation.to_string());
    assert_eq!(problem["reservation"], *reservation);
    assert!(problem["detail"].as_str().unwrap().contains(&*reservation), "{problem}");
}

/// Waits until an Abandon of the last Reserve's own attempt follows it.
fn abandoned(desk: &Desk, before: usize) {
    until("the Abandon is appended", || desk.taken().len() > before);
    let taken = desk.taken();
    let [.., (reserve, attempt), (abandon, of)] = &taken[..] else { panic!("{taken:?}") };
    assert_eq!((reserve.kind(), abandon.kind(), attempt), (CommandKind::Reserve, CommandKind::Abandon, of));
    assert_eq!((reserve.pool(), reserve.reservation()), (abandon.pool(), abandon.reservation()));
}

/// Whether the owner came to the Reserve in time (and the Abandon takes an acceptance back) or too late: a final no.
#[test]
fn a_reserve_whose_deadline_passes_holds_nothing() {
    for (decided_at, kinds) in [
        (TIMEOUT_MS - 1, [EventKind::Accepted, EventKind::Released]),
        (TIMEOUT_MS + 1, [EventKind::Rejected, EventKind::Abandoned]),
    ] {
        let mut desk = Desk::new();
        let mut caller = desk.reserve("k");
        desk.at(TIMEOUT_MS);
        abandoned(&desk, 2);
        assert_eq!(desk.decide_at(NOW.plus_ms(decided_at)), kinds);
        assert_eq!(told(&caller.read().unwrap()), said(503, "timeout", "not_applied"));
        assert_eq!(desk.holds("k"), (false, 0));
        // The same key is free to try again.
        let again = desk.ask("POST", "/v1/reservations", &["Idempotency-Key: k"], ONE);
        assert_eq!((again.status, again.header("idempotent-replayed"), desk.holds("k")), (201, None, (true, 1)));
        desk.end();
    }
}

/// The "no" to one try must not be taken for one to the key: the caller may never have read the first answer.
#[test]
fn a_failed_retry_of_a_key_that_has_reserved_is_unknown() {
    let mut desk = Desk::new();
    let mut first = desk.reserve("k");
    assert_eq!(desk.decide(), [EventKind::Accepted]);
    assert_eq!(first.read().unwrap().status, 201);

    let mut late = desk.reserve("k");
    desk.at(TIMEOUT_MS);
    abandoned(&desk, 3);
    assert_eq!(desk.decide_at(NOW.plus_ms(TIMEOUT_MS + 1)), [EventKind::Rejected, EventKind::Abandoned]);
    names(&late.read().unwrap(), id("k"));

    *desk.gate.refuses.lock() = Some(AppendError::Full);
    let shed = desk.send("POST", "/v1/reservations", &["Idempotency-Key: k"], ONE).read().unwrap();
    names(&shed, id("k"));
    *desk.gate.refuses.lock() = None;

    let again = desk.ask("POST", "/v1/reservations", &["Idempotency-Key: k"], ONE);
    assert_eq!((again.status, again.header("idempotent-replayed"), desk.holds("k")), (201, Some("true"), (true, 1)));
    desk.end();
}

/// The answer to a Reserve under this key while nobody decides.
fn undecided(desk: &Desk, key: &str) -> Reply {
    desk.send("POST", "/v1/reservations", &[&format!("Idempotency-Key: {key}")], ONE).read().unwrap()
}

/// "Not applied" is said of the call. A process that has the state says more than that.
#[test]
fn a_retry_that_nobody_decides_is_unknown_where_the_state_has_its_reservation() {
    let mut desk = Desk::new();
    assert_eq!(desk.ask("POST", "/v1/reservations", &["Idempotency-Key: k"], ONE).status, 201);
    let handle = Arc::clone(desk.gateway.replica().partition(0).unwrap());
    becomes(&handle, PartitionStatus::Reopening { why: "no space".to_owned() });
    names(&undecided(&desk, "k"), id("k"));
    assert_eq!(told(&undecided(&desk, "other")), said(503, "shed", "not_applied"));
    becomes(&handle, PartitionStatus::Active);
    assert_eq!(desk.ask("POST", "/v1/reservations", &["Idempotency-Key: k"], ONE).status, 201);
    desk.end();

    let restoring = Desk::restoring(1);
    let shed = undecided(&restoring, "k");
    assert_eq!((told(&shed), shed.json()["reason"].as_str()), (said(503, "shed", "not_applied"), Some("no_owner")));
}

/// The caller who confirmed it was told yes, so the Abandon leaves it. The one who reserved it is told where to look.
#[test]
fn a_hold_that_another_caller_has_confirmed_is_not_taken_back() {
    const HELD: &str = r#"{"pool":"p","demand":{"orders":1},"hold_ttl_ms":60000}"#;
    let mut desk = Desk::new();
    let timeout = format!("Request-Timeout-Ms: {TIMEOUT_MS}");
    let mut late = desk.send("POST", "/v1/reservations", &["Idempotency-Key: k", &timeout], HELD);
    until("the log has the Reserve", || desk.taken().len() == 2);
    // Accepted, and the reply is lost on its way.
    assert_eq!(desk.decide_untold().len(), 1);
    let confirm = format!("/v1/reservations/{}/confirm", id("k"));
    assert_eq!(desk.ask("POST", &confirm, &["Idempotency-Key: c"], "").status, 200);
    desk.at(TIMEOUT_MS);
    until("the Abandon is appended", || desk.taken().len() == 4);
    assert_eq!(desk.decide(), [EventKind::Abandoned]);
    names(&late.read().unwrap(), id("k"));
    let again = desk.ask("POST", &confirm, &["Idempotency-Key: c"], "");
    assert_eq!((again.status, again.header("idempotent-replayed"), desk.holds("k")), (200, Some("true"), (true, 1)));
    let again = desk.ask("POST", "/v1/reservations", &["Idempotency-Key: k"], HELD);
    assert_eq!((again.status, &again.json()["status"]), (201, &"confirmed".into()));
    desk.end();
}

#[test]
fn an_acceptance_that_comes_after_the_deadline_is_no_answer() {
    let mut desk = Desk::new();
    let mut caller = desk.reserve("k");
    // Accepted, and the reply is lost on its way.
    assert_eq!(desk.decide_untold().len(), 1);
    assert_eq!(desk.holds("k"), (true, 1));
    desk.at(TIMEOUT_MS);
    abandoned(&desk, 2);
    assert_eq!(desk.decide(), [EventKind::Released]);
    assert_eq!(told(&caller.read().unwrap()), said(503, "timeout", "not_applied"));
    assert_eq!(desk.holds("k"), (false, 0));
    desk.end();
}

#[test]
fn an_answer_that_cannot_be_made_final_is_unknown_and_still_comes_to_nothing() {
    for is_full in [false, true] {
        let mut desk = Desk::new();
        let mut caller = desk.reserve("k");
        *desk.gate.refuses.lock() = is_full.then_some(AppendError::Full);
        desk.at(TIMEOUT_MS);
        if !is_full {
            abandoned(&desk, 2);
        } else {
            until("the Abandon waits for the log", || desk.gateway.pending().abandons == 1);
        }
        desk.at(TIMEOUT_MS + ABANDON_GRACE_MS);
        let unknown = caller.read().unwrap();
        assert_eq!(told(&unknown), said(504, "timeout", "unknown"));
        assert!(unknown.json()["reservation"].is_null(), "nobody knows of one: {unknown:?}");
        *desk.gate.refuses.lock() = None;
        desk.at(TIMEOUT_MS + ABANDON_GRACE_MS + DEADLINE_MAX_MS);
        abandoned(&desk, 2);
        assert_eq!(desk.decide_at(NOW), [EventKind::Accepted, EventKind::Released]);
        assert_eq!(desk.holds("k"), (false, 0));
        desk.end();
    }
}

#[test]
fn a_command_that_cannot_be_taken_back_times_out_as_unknown() {
    let mut desk = Desk::new();
    assert_eq!(desk.ask("POST", "/v1/reservations", &["Idempotency-Key: k"], ONE).status, 201);
    let (timeout, path) = (format!("Request-Timeout-Ms: {TIMEOUT_MS}"), format!("/v1/reservations/{}", id("k")));
    let mut caller = desk.send("DELETE", &path, &[&timeout], "");
    until("the log has it", || desk.taken().len() == 3);
    desk.at(TIMEOUT_MS);
    assert_eq!(told(&caller.read().unwrap()), said(504, "timeout", "unknown"));
    assert_eq!((desk.taken().len(), desk.gateway.pending()), (3, PendingCounts::default()));
    // Unknown, for it happens yet.
    assert_eq!(desk.decide_at(NOW), [EventKind::Released]);
    assert_eq!(desk.holds("k"), (false, 0));
    desk.end();
}

#[test]
fn an_amend_that_times_out_is_unknown_and_told_under_its_key() {
    let mut desk = Desk::new();
    assert_eq!(desk.ask("PATCH", "/v1/pools/p", &[], r#"{"limits":{"orders":5}}"#).status, 200);
    assert_eq!(desk.ask("POST", "/v1/reservations", &["Idempotency-Key: k"], ONE).status, 201);
    let (timeout, path) = (format!("Request-Timeout-Ms: {TIMEOUT_MS}"), format!("/v1/reservations/{}", id("k")));
    let (key, three) = ("Idempotency-Key: a", r#"{"demand":{"orders":3}}"#);
    let before = desk.taken().len();
    let mut caller = desk.send("PATCH", &path, &[key, &timeout], three);
    until("the log has it", || desk.taken().len() > before);
    desk.at(TIMEOUT_MS);
    assert_eq!(told(&caller.read().unwrap()), said(504, "timeout", "unknown"));
    assert_eq!(desk.decide_at(NOW), [EventKind::Amended]);
    assert_eq!(desk.holds("k"), (true, 3));
    let again = desk.ask("PATCH", &path, &[key], three);
    assert_eq!((again.status, again.header("idempotent-replayed")), (200, Some("true")));
    assert_eq!(desk.holds("k"), (true, 3));
    desk.end();
}

#[test]
fn a_full_queue_is_shed_and_nothing_is_appended() {
    for (error, reason) in [(AppendError::Full, "full"), (AppendError::Closed, "no_owner")] {
        let desk = Desk::new();
        *desk.gate.refuses.lock() = Some(error);
        let reply = desk.send("POST", "/v1/reservations", &[], ONE).read().unwrap();
        assert_eq!(told(&reply), said(503, "shed", "not_applied"));
        assert_eq!((reply.json()["reason"].as_str(), desk.taken().len()), (Some(reason), 1));
        desk.end();
    }
}

/// That it has hung up, and did not only send its last, shows when there is something to tell it.
#[test]
fn what_a_caller_who_hangs_up_has_reserved_is_taken_back() {
    let mut desk = Desk::new();
    drop(desk.reserve("k"));
    assert_eq!(desk.decide(), [EventKind::Accepted]);
    abandoned(&desk, 2);
    assert_eq!(desk.decide(), [EventKind::Released]);
    assert_eq!(desk.holds("k"), (false, 0));
    desk.end();
}

#[test]
fn a_call_that_is_dropped_is_taken_back_and_one_that_is_answered_is_not() {
    let mut desk = Desk::new();
    let call = || Call {
        body: reserve(&pool_id("p"), "k"),
        key: None,
        actor: None,
        timeout_ms: Some(TIMEOUT_MS),
        arrived: NOW,
        trace: Arc::new(Tracing::off(|| 7)).enter(None),
    };
    let spawn = |desk: &Desk| {
        let gateway = desk.gateway.clone();
        desk.runtime().spawn(async move { gateway.call(call()).await })
    };
    let dropped = spawn(&desk);
    until("the log has it", || desk.taken().len() == 2);
    dropped.abort();
    abandoned(&desk, 2);
    assert_eq!(desk.decide(), [EventKind::Accepted, EventKind::Released]);

    let answered = spawn(&desk);
    until("the log has it", || desk.taken().len() == 4);
    assert_eq!(desk.decide(), [EventKind::Accepted]);
    let outcome = desk.runtime().block_on(answered).unwrap();
    assert!(matches!(&outcome, Ok(Outcome::Decided(decided)) if decided.event.body.kind() == EventKind::Accepted));
    desk.at(TIMEOUT_MS + DEADLINE_MAX_MS);
    assert_eq!((desk.taken().len(), desk.holds("k")), (4, (true, 1)));

    desk.gateway.close();
    let shed = desk.runtime().block_on(spawn(&desk)).unwrap();
    assert_eq!((shed, desk.taken().len()), (Err(Shed::Closing), 4));
    desk.end();
}

#[test]
fn calls_in_flight_when_the_gateway_closes_get_their_decision() {
    let mut desk = Desk::new();
    let mut callers: Vec<_> = (0..5).map(|n| desk.reserve(&format!("k{n}"))).collect();
    desk.gateway.close();
    drop(desk.closing.take());
    assert_eq!(desk.decide().len(), 5);
    let told: Vec<_> = callers.iter_mut().map(|caller| caller.read().unwrap().status).collect();
    assert_eq!(told, [201, 409, 409, 409, 409]);
    assert_eq!((desk.holds("k0"), desk.holds("k1")), ((true, 1), (false, 1)));
    desk.end();
}

/// The answer to a Reserve whose body is sent when its deadline has passed.
fn late(desk: &Desk, headers: &[&str]) -> Reply {
    let mut client = Client::connect(desk.address);
    let timeout = format!("Request-Timeout-Ms: {TIMEOUT_MS}");
    let headers = [&[timeout.as_str(), "Expect: 100-continue"][..], headers].concat();
    let whole = super::request("POST", "/v1/reservations", &headers, ONE.as_bytes());
    let (head, body) = whole.split_at(whole.len() - ONE.len());
    client.write(head);
    assert_eq!(client.read().unwrap().status, 100, "the head has been read");
    desk.at(TIMEOUT_MS);
    client.raw(body)
}

#[test]
fn a_callers_time_runs_from_when_the_head_of_its_request_has_been_read() {
    let desk = Desk::new();
    let answer = late(&desk, &[]);
    assert_eq!(told(&answer), said(503, "timeout", "not_applied"));
    assert!(answer.json()["reason"].is_null(), "{answer:?}");
    assert_eq!(desk.taken().len(), 1, "nothing of it is in the log");
    // That a caller is slow is no load of this process.
    let shed = metric(&mut Client::connect(desk.address), "headroom_shed_total{reason=\"wait\"}");
    assert!(shed.abs() < f64::EPSILON, "{shed}");
    desk.end();
}

#[test]
fn a_late_retry_of_a_key_that_has_reserved_is_unknown() {
    let mut desk = Desk::new();
    assert_eq!(desk.ask("POST", "/v1/reservations", &["Idempotency-Key: k"], ONE).status, 201);
    let late = late(&desk, &["Idempotency-Key: k"]);
    names(&late, id("k"));
    assert_eq!((desk.taken().len(), desk.holds("k")), (2, (true, 1)));
    desk.end();
}
