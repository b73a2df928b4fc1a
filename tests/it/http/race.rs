//! Who wins when everybody wants the last unit; `HEADROOM_RACE_ROUNDS` sets how often.

use super::client::{Client, request};
use crate::knob;
use crate::server::Server;
use std::collections::BTreeMap;

const CALLERS: usize = 1_000;
/// Callers who have a unit each, and want another one.
const AMENDERS: usize = 100;

#[test]
fn one_of_a_thousand_callers_gets_the_last_unit() {
    let server = Server::alone();
    let mut callers: Vec<Client> = (0..CALLERS).map(|_| server.client()).collect();
    let expected = BTreeMap::from([("201 confirmed".to_owned(), 1), ("409 over_limit".to_owned(), CALLERS - 1)]);
    for n in 0..knob("HEADROOM_RACE_ROUNDS", 10) {
        let pool = format!("p{n}");
        server.pool(&pool, 1);
        let body = format!(r#"{{"pool":"{pool}","demand":{{"orders":1}}}}"#);
        let bytes = request("POST", "/v1/reservations", &["Request-Timeout-Ms: 5000"], body.as_bytes());
        let asked: Vec<_> = callers.iter().map(|_| bytes.clone()).collect();
        let tally = all_at_once(&mut callers, &asked);
        assert_eq!(tally, expected, "round {n}");
    }
}

/// All of them ask before any of them listens.
fn all_at_once(callers: &mut [Client], asked: &[Vec<u8>]) -> BTreeMap<String, usize> {
    callers.iter_mut().zip(asked).for_each(|(caller, bytes)| caller.write(bytes));
    let mut tally = BTreeMap::new();
    for caller in callers {
        let reply = caller.read().unwrap();
        let json = reply.json();
        let said = json["code"].as_str().or(json["status"].as_str()).or(json["mode"].as_str()).unwrap();
        *tally.entry(format!("{} {said}", reply.status)).or_default() += 1;
    }
    tally
}

#[test]
fn a_hundred_callers_get_exactly_the_units_there_are() {
    let server = Server::alone();
    let mut callers: Vec<Client> = (0..AMENDERS).map(|_| server.client()).collect();
    let expected = BTreeMap::from([("200 confirmed".to_owned(), 7), ("409 over_limit".to_owned(), AMENDERS - 7)]);
    for n in 0..knob("HEADROOM_RACE_ROUNDS", 10) {
        let pool = format!("p{n}");
        server.pool(&pool, AMENDERS as u64 + 7);
        let body = format!(r#"{{"pool":"{pool}","demand":{{"orders":1}}}}"#);
        let amend = |caller: &mut Client| {
            let made = caller.post("/v1/reservations", &body).json();
            let path = format!("/v1/reservations/{}", made["reservation"].as_str().unwrap());
            request("PATCH", &path, &["Request-Timeout-Ms: 5000"], br#"{"demand":{"orders":2}}"#)
        };
        let asked: Vec<_> = callers.iter_mut().map(amend).collect();
        assert_eq!(all_at_once(&mut callers, &asked), expected, "round {n}");
        let read = server.client().get(&format!("/v1/pools/{pool}")).json();
        assert_eq!((&read["used"], &read["over_committed"]), (&read["limits"], &false.into()), "round {n}");
    }
}

/// Whoever expects only that the pool exists is not refused because of what others do to it at the same time.
#[test]
fn changes_of_any_version_do_not_exclude_each_other() {
    let server = Server::alone();
    server.pool("p", 1);
    let mut callers: Vec<Client> = (0..AMENDERS).map(|_| server.client()).collect();
    let wanted = ["If-Match: *", "Request-Timeout-Ms: 5000"];
    let change = request("PUT", "/v1/pools/p", &wanted, br#"{"limits":{"orders":2}}"#);
    let tally = all_at_once(&mut callers, &vec![change; AMENDERS]);
    assert_eq!(tally, BTreeMap::from([("200 open".to_owned(), AMENDERS)]));
    let read = server.client().get("/v1/pools/p?fresh=true").json();
    assert_eq!(read["version"], AMENDERS + 1);
}

/// A pool that retires unless it has reservations, and callers who want one.
#[test]
fn a_pool_retires_or_somebody_has_a_unit_of_it_and_never_both() {
    let server = Server::alone();
    let mut callers: Vec<Client> = (0..AMENDERS).map(|_| server.client()).collect();
    for n in 0..knob("HEADROOM_RACE_ROUNDS", 10) {
        let pool = format!("p{n}");
        server.pool(&pool, AMENDERS as u64);
        let body = format!(r#"{{"pool":"{pool}","demand":{{"orders":1}}}}"#);
        let patience = ["Request-Timeout-Ms: 5000"];
        let reserve = request("POST", "/v1/reservations", &patience, body.as_bytes());
        let retire = request("DELETE", &format!("/v1/pools/{pool}"), &patience, b"");
        let at = usize::try_from(n).unwrap() % 4;
        let asked: Vec<_> = (0..AMENDERS).map(|of| if of == at { retire.clone() } else { reserve.clone() }).collect();
        let tally = all_at_once(&mut callers, &asked);
        let all = AMENDERS - 1;
        let kept = BTreeMap::from([("201 confirmed".to_owned(), all), ("409 pool_in_use".to_owned(), 1)]);
        let gone = BTreeMap::from([("200 open".to_owned(), 1), ("404 unknown_pool".to_owned(), all)]);
        assert!(tally == kept || tally == gone, "round {n}: {tally:?}");
    }
}
