//! The stages of a call, as a running server measures them.

use crate::clock::over_http::metric;
use crate::server::Server;
use crate::wait::until;

/// A pool is made and two reservations are: three commands, one of which is refused.
#[test]
fn stages_add_up_to_the_whole_of_the_calls_and_every_command_has_those_of_its_owner() {
    let server = Server::alone();
    server.pool("p", 1);
    let c = &mut server.client();
    for status in [201, 409] {
        let made = c.send("POST", "/v1/reservations", &[], r#"{"pool":"p","demand":{"orders":1}}"#);
        assert_eq!(made.status, status, "{made:?}");
    }
    let mut of = |what: &str, stage: &str| metric(c, &format!("headroom_stage_seconds_{what}{{stage=\"{stage}\"}}"));
    for stage in ["decide", "commit", "reply"] {
        // The owner measures when its callers are answered already.
        until("each command of the turns is counted", || of("count", stage) == 3.0);
    }
    let of_caller = ["admit", "append", "wait", "answer"];
    assert_eq!(of_caller.map(|stage| of("count", stage)), [3.0; 4]);
    // The owner may have the command a moment before its caller's thread knows that it is appended.
    let [of_owner, between] = [["decide", "commit"], ["append", "wait"]].map(|[a, b]| of("sum", a) + of("sum", b));
    assert!(of_owner > 0.0 && of_owner <= between, "{of_owner} s of {between} s");
    let stages: f64 = of_caller.map(|stage| of("sum", stage)).iter().sum();
    let calls =
        ["PUT", "POST"].map(|method| metric(c, &format!("headroom_http_request_seconds_sum{{method=\"{method}\"")));
    let calls: f64 = calls.iter().sum();
    assert!((stages - calls).abs() < 1e-9, "{stages} s of {calls} s");
}

#[test]
fn a_read_is_measured_by_the_age_of_what_it_saw() {
    let server = Server::alone();
    server.pool("p", 1);
    let c = &mut server.client();
    let count = "headroom_read_staleness_seconds_count";
    let before = metric(c, count);
    for path in ["/v1/pools/p", "/v1/pools?limit=1", "/v1/reservations/hr_0"] {
        c.get(path);
    }
    assert_eq!(metric(c, count) - before, 2.0, "an id that no reservation has is read nowhere");
}
