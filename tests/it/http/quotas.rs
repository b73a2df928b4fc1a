//! Quotas over real connections: what a caller beyond its quota is told, what no quota refuses, and what is counted.

use super::client::{Client, Reply};
use crate::fixtures::NOW;
use crate::process::{headroom, run};
use crate::server::Server;
use crate::wait::until;
use crate::world::ManualClock;
use headroom::access::{Quota, Rate, Rates};
use headroom::config::{Auth, Config, Proofs};
use headroom::domain::Name;
use headroom::limits::QUOTA_REFUSAL_PAUSE_MS;
use headroom::replica::PartitionStatus;
use headroom::time::Stopwatch;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const HOLD: &str = r#"{"pool":"p","demand":{"orders":1},"hold_ttl_ms":60000}"#;

/// A server whose callers may take so often, and read so often, at a time that the test moves.
fn limited(dir: &Path, takes: Option<Rate>, reads: Option<Rate>) -> (Server, Arc<ManualClock>) {
    let rates = |others| Rates { others, named: BTreeMap::new() };
    let mut config = Server::config(dir, 1);
    config.quota = Quota { takes: rates(takes), reads: rates(reads) };
    serving(&config)
}

fn serving(config: &Config) -> (Server, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::at(NOW));
    let server = Server::of(config, Arc::clone(&clock) as _);
    let partition = server.gateway.replica().partition(0).unwrap();
    until("the partition is ready", || partition.status() == PartitionStatus::Active);
    (server, clock)
}

fn fields(reply: &Reply) -> [Option<&str>; 3] {
    ["ratelimit", "ratelimit-policy", "retry-after"].map(|name| reply.header(name))
}

fn hold(c: &mut Client, key: &str) -> Reply {
    c.send("POST", "/v1/reservations", &[&format!("Idempotency-Key: {key}")], HOLD)
}

#[test]
fn a_caller_is_told_what_is_left_of_its_quota_and_when_there_is_more() {
    let dir = tempfile::tempdir().unwrap();
    let (server, clock) = limited(dir.path(), Rate::new(1, 3), None);
    server.pool("p", 10);
    let c = &mut server.client();
    let policy = Some("\"take\";q=3;w=3");
    for (key, left) in [("k-1", "\"take\";r=1;t=1"), ("k-2", "\"take\";r=0;t=1")] {
        let made = hold(c, key);
        assert_eq!((made.status, fields(&made)), (201, [Some(left), policy, None]), "{key}");
    }
    for _ in 0..3 {
        let refused = hold(c, "k-3");
        assert_eq!((refused.status, refused.code().as_str()), (429, "over_quota"));
        assert_eq!(fields(&refused), [Some("\"take\";r=0;t=1"), policy, Some("1")]);
        let problem = refused.json();
        assert_eq!((&problem["outcome"], &problem["retryable"]), (&"not_applied".into(), &true.into()));
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("1 calls that take capacity") && detail.contains("3 at once"), "{detail}");
    }
    // It does not wait as it is told, so from now on it waits for each refusal.
    let waiting = Stopwatch::start();
    assert_eq!(hold(c, "k-3").code(), "over_quota");
    assert!(waiting.elapsed() >= Duration::from_millis(QUOTA_REFUSAL_PAUSE_MS));
    // Calls that read have a bucket of their own, which has no bound here.
    let read = c.get("/v1/pools/p?fresh=true");
    assert_eq!((read.status, fields(&read), &read.json()["used"]["orders"]), (200, [None; 3], &2.into()));
    // As it was told: a second later there is one more.
    clock.pass_ms(1_000);
    assert_eq!(hold(c, "k-3").status, 201);
    assert_eq!(hold(c, "k-4").status, 429);
}

/// The header of a caller with this name and these roles.
fn token(dir: &Path, name: &str, roles: &str) -> String {
    let made = run(headroom(["tokens", "new", name, "--roles", roles, "--data-dir"]).arg(dir));
    assert_eq!(made.code, 0, "{}", made.err);
    format!("Authorization: Bearer {}", made.out.trim_end())
}

#[test]
fn every_caller_has_a_quota_of_its_own_and_one_may_have_another_rate() {
    let dir = tempfile::tempdir().unwrap();
    let [shop, partner] = ["shop", "partner"].map(|name| token(dir.path(), name, "checkout,planner,metrics"));
    let named = BTreeMap::from([(Name::new("partner").unwrap(), Rate::new(1, 2).unwrap())]);
    let mut config = Server::config(dir.path(), 1);
    config.auth = Auth::On(Proofs { tokens: true, issuer: None, certificates: None });
    config.tokens_file = dir.path().join("tokens.json");
    config.quota = Quota { takes: Rates { others: Rate::new(1, 6), named }, reads: Rates::default() };
    let (server, clock) = serving(&config);
    let c = &mut server.client();
    assert_eq!(c.send("PUT", "/v1/pools/p", &[&shop], r#"{"limits":{"orders":100}}"#).status, 201);
    let mut takes = |who: &str| -> Vec<u16> {
        (0..7)
            .map(|_| c.send("POST", "/v1/reservations", &[who], r#"{"pool":"p","demand":{"orders":1}}"#).status)
            .collect()
    };
    assert_eq!(takes(&partner), [201, 201, 429, 429, 429, 429, 429]);
    assert_eq!(takes(&shop), [201, 201, 201, 201, 201, 429, 429]);
    clock.pass_ms(1_000);
    assert_eq!((takes(&partner)[..2].to_vec(), takes(&shop)[..2].to_vec()), (vec![201, 429], vec![201, 429]));
    let metrics = c.send("GET", "/metrics", &[&shop], "").body;
    for (name, count) in [("partner", 5 + 6), ("shop", 2 + 6)] {
        let line = format!("headroom_over_quota_total{{kind=\"take\",principal=\"{name}\"}} {count}");
        assert!(metrics.lines().any(|other| other == line), "{line} in\n{metrics}");
    }
    // Who is nobody has no quota either: it is not known whose it would be.
    let stranger = c.post("/v1/reservations", HOLD);
    assert_eq!((stranger.status, fields(&stranger)), (401, [None; 3]));
}

/// The story: a program that had only the role of the checkout defined pools in a loop. Each attempt had a line in the audit
/// log, which leaves nothing out, and no quota held it up. Later it asked for what is of operators alone, which no quota counts.
#[test]
fn a_call_that_its_caller_has_no_role_for_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let [shop, operator] =
        [("shop", "checkout"), ("on-call", "operator")].map(|(name, of)| token(dir.path(), name, of));
    let mut config = Server::config(dir.path(), 1);
    config.auth = Auth::On(Proofs { tokens: true, issuer: None, certificates: None });
    config.tokens_file = dir.path().join("tokens.json");
    let rates = Rates { others: Rate::new(1, 3), named: BTreeMap::new() };
    config.quota = Quota { takes: rates.clone(), reads: rates };
    let (server, _) = serving(&config);
    let c = &mut server.client();
    for (kind, method, path, body) in
        [("take", "PUT", "/v1/pools/p", r#"{"limits":{"orders":1}}"#), ("read", "GET", "/internal/support", "")]
    {
        for left in ["r=2", "r=1", "r=0"] {
            let refused = c.send(method, path, &[&shop], body);
            let limit = format!("\"{kind}\";{left};t=1");
            assert_eq!((refused.code().as_str(), refused.header("ratelimit")), ("forbidden", Some(limit.as_str())));
        }
        assert_eq!(c.send(method, path, &[&shop], body).code(), "over_quota");
    }
    assert_eq!(c.send("POST", "/internal/clock", &[&shop], "").code(), "over_quota");
    // Whoever looks after the service is never held up.
    for _ in 0..4 {
        assert_eq!(c.send("GET", "/internal/support", &[&operator], "").status, 200);
    }
}

#[test]
fn a_quota_refuses_what_takes_and_never_what_follows_up() {
    let dir = tempfile::tempdir().unwrap();
    let (server, _) = limited(dir.path(), Rate::new(1, 3), Rate::new(1, 2));
    server.pool("p", 10);
    let c = &mut server.client();
    let path = |made: Reply| format!("/v1/reservations/{}", made.json()["reservation"].as_str().unwrap());
    let (kept, lost) = (path(hold(c, "k-1")), path(hold(c, "k-2")));
    let take = [
        ("POST", "/v1/reservations", HOLD),
        ("PATCH", &kept, r#"{"demand":{"orders":2}}"#),
        ("PUT", "/v1/pools/q", r#"{"limits":{"orders":1}}"#),
        ("PATCH", "/v1/pools/p", r#"{"adjust":{"orders":1}}"#),
        ("POST", "/v1/pools/p/mode", r#"{"mode":"closed"}"#),
    ];
    for (method, path, body) in take {
        assert_eq!(c.send(method, path, &[], body).code(), "over_quota", "{method} {path}");
    }
    for _ in 0..20 {
        let extended = c.post(&format!("{kept}/extend"), r#"{"hold_ttl_ms":60000}"#);
        assert_eq!((extended.status, fields(&extended)), (200, [None; 3]));
    }
    assert_eq!(c.post(&format!("{kept}/confirm"), "").status, 200);
    assert_eq!(c.send("DELETE", &lost, &[], "").status, 200);
    assert_eq!(c.get("/readyz").status, 200);
    let reads = [
        ("GET", "/v1/pools/p", ""),
        ("GET", &kept, ""),
        ("GET", "/v1/pools", ""),
        ("POST", "/v1/availability", ""),
        ("GET", "/v1/pools/p", ""),
    ];
    let told: Vec<_> = reads.iter().map(|(method, path, body)| c.send(method, path, &[], body).status).collect();
    assert_eq!(told, [200, 200, 429, 429, 429]);
    let metrics = c.get("/metrics").body;
    for line in [
        "headroom_over_quota_total{kind=\"take\",principal=\"(none)\"} 5",
        "headroom_over_quota_total{kind=\"read\",principal=\"(none)\"} 3",
        "headroom_over_quota_total{kind=\"read\",principal=\"(other)\"} 0",
    ] {
        assert!(metrics.lines().any(|other| other == line), "{line} in\n{metrics}");
    }
}
