//! Who wins when everybody wants the last unit; `HEADROOM_RACE_ROUNDS` sets how often.

use super::client::{Client, request};
use crate::knob;
use crate::server::Server;
use std::collections::BTreeMap;

const CALLERS: usize = 1_000;

#[test]
fn of_a_thousand_callers_one_gets_the_last_unit() {
    let server = Server::alone();
    let mut callers: Vec<Client> = (0..CALLERS).map(|_| server.client()).collect();
    let expected = BTreeMap::from([("201 confirmed".to_owned(), 1), ("409 over_limit".to_owned(), CALLERS - 1)]);
    for n in 0..knob("HEADROOM_RACE_ROUNDS", 10) {
        let pool = format!("p{n}");
        server.pool(&pool, 1);
        let body = format!(r#"{{"pool":"{pool}","demand":{{"orders":1}}}}"#);
        let bytes = request("POST", "/v1/reservations", &["Request-Timeout-Ms: 5000"], body.as_bytes());
        // All of them ask before any of them listens.
        callers.iter_mut().for_each(|caller| caller.write(&bytes));
        let mut tally = BTreeMap::new();
        for caller in &mut callers {
            let reply = caller.read().unwrap();
            let json = reply.json();
            let said = json["code"].as_str().or(json["status"].as_str()).unwrap();
            *tally.entry(format!("{} {said}", reply.status)).or_default() += 1;
        }
        assert_eq!(tally, expected, "round {n}");
    }
}
