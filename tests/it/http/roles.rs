//! Who may do what, over HTTP: every method of every path, asked by every kind of caller, and how refusals of callers
//! behave on a connection.

use super::client::{Client, Reply, request};
use crate::cli::on;
use crate::process::{foreign_agent, headroom, run};
use crate::roles::{Caller, Guarded, OTHER_CHECKOUT, Verdict, expected, roles_of};
use headroom::access::Role;
use headroom::api::http::endpoints;
use headroom::api::operation::Operation;
use headroom::config::Open;
use headroom::limits::CREDENTIAL_BYTES_MAX;
use headroom::time::Stopwatch;
use serde_json::Value;
use std::time::Duration;

/// A call that a server with the pool `p` does, if its caller may.
fn call(path: &str, operation: Operation, reservation: &str) -> (String, &'static str) {
    // Others go on with the pool that is there.
    let pool = if operation == Operation::RetirePool { "gone" } else { "p" };
    let path = path.replace("{pool}", pool).replace("{reservation}", reservation);
    // From after its end, because events are no text.
    let path = path.replace("log/{partition}", "log/0?from=1000").replace("{partition}", "0");
    let path = path.replace("{*file}", "index.html");
    let body = match operation {
        Operation::Availability => "{}",
        Operation::DefinePool => r#"{"limits":{"orders":1000}}"#,
        Operation::ChangePool => r#"{"adjust":{"orders":1}}"#,
        Operation::SetMode => r#"{"mode":"open"}"#,
        Operation::Reserve => r#"{"pool":"p","demand":{"orders":1}}"#,
        Operation::Amend => r#"{"demand":{"orders":2}}"#,
        Operation::Extend => r#"{"hold_ttl_ms":120000}"#,
        Operation::SetClock => r#"{"because":"the matrix asks"}"#,
        _ => "",
    };
    (path, body)
}

fn send(guarded: &Guarded, caller: Caller, method: &str, path: &str, body: &str) -> Reply {
    let header = Guarded::token_of(caller).map(|token| format!("Authorization: Bearer {token}"));
    let headers: Vec<&str> = header.iter().map(String::as_str).collect();
    guarded.server.client().send(method, path, &headers, body)
}

fn pool(guarded: &Guarded) {
    for path in ["/v1/pools/p", "/v1/pools/gone"] {
        let made = send(guarded, Caller::With(Role::Planner), "PUT", path, r#"{"limits":{"orders":1000}}"#);
        assert_eq!(made.status, 201, "{made:?}");
    }
}

/// The id of a new hold.
fn hold(guarded: &Guarded) -> String {
    let body = r#"{"pool":"p","demand":{"orders":1},"hold_ttl_ms":60000}"#;
    let made = send(guarded, Caller::With(Role::Checkout), "POST", "/v1/reservations", body);
    assert_eq!(made.status, 201, "{made:?}");
    made.json()["reservation"].as_str().unwrap().to_owned()
}

fn log(guarded: &Guarded) -> String {
    send(guarded, Caller::With(Role::Operator), "GET", "/internal/log", "").body
}

/// A refusal says what would do, and nothing of what was sent.
fn is_refused(reply: &Reply, operation: Operation, caller: Caller) {
    let challenge = reply.header("www-authenticate").unwrap_or_else(|| panic!("{caller:?}: {reply:?}"));
    let roles = roles_of(operation);
    let rest = challenge.strip_prefix("Bearer realm=\"headroom\"").unwrap();
    match caller {
        Caller::Nobody => assert_eq!(rest, ""),
        Caller::Stranger => assert!(rest.starts_with(", error=\"invalid_token\", error_description="), "{rest}"),
        Caller::With(_) => {
            assert_eq!(rest, format!(", error=\"insufficient_scope\", scope=\"{}\"", roles.join(" ")));
            let detail = reply.json()["detail"].as_str().unwrap().to_owned();
            assert!(detail.contains(&roles.join(" or ")), "{detail}");
        }
    }
    let secret = Guarded::token_of(caller);
    assert!(secret.is_none_or(|secret| !format!("{reply:?}").contains(&secret)), "{reply:?}");
}

#[test]
fn every_cell_of_the_table_is_answered_as_it_says() {
    let guarded = Guarded::start();
    pool(&guarded);
    let (id, before) = (hold(&guarded), log(&guarded));
    let mut asked = 0;
    let cells = || endpoints().flat_map(|endpoint| Caller::ALL.map(|caller| (endpoint, caller)));
    for ((method, path, operation), caller) in cells() {
        let (code, status) = match expected(operation, caller) {
            Verdict::Taken => continue,
            Verdict::Unauthenticated => ("unauthenticated", 401),
            Verdict::Forbidden => ("forbidden", 403),
        };
        let (path, body) = call(path, operation, &id);
        let reply = send(&guarded, caller, method, &path, body);
        assert_eq!((reply.status, reply.code().as_str()), (status, code), "{method} {path} {caller:?}");
        is_refused(&reply, operation, caller);
        asked += 1;
    }
    assert_eq!(log(&guarded), before, "who may not call leaves nothing in the log");
    for ((method, path, operation), caller) in cells() {
        if expected(operation, caller) == Verdict::Taken {
            let id = if path.contains("{reservation}") { hold(&guarded) } else { String::new() };
            let (path, body) = call(path, operation, &id);
            let reply = send(&guarded, caller, method, &path, body);
            assert!((200..400).contains(&reply.status), "{method} {path} {caller:?}: {reply:?}");
            asked += 1;
        }
    }
    assert_eq!(asked, endpoints().count() * Caller::ALL.len());
}

#[test]
fn head_is_asked_by_whoever_may_get() {
    let guarded = Guarded::start();
    pool(&guarded);
    let agent = foreign_agent();
    for (path, role) in [("/v1/pools/p", Role::Viewer), ("/metrics", Role::Metrics), ("/internal/log", Role::Operator)]
    {
        let url = format!("http://{}{path}", guarded.server.address);
        assert_eq!(agent.head(&url).call().unwrap().status(), 401, "{path}");
        let authorization = format!("Bearer {}", Guarded::token(role.name()));
        assert_eq!(agent.head(&url).header("Authorization", authorization).call().unwrap().status(), 200, "{path}");
    }
}

#[test]
fn what_does_not_exist_needs_no_credential_and_a_preflight_is_not_answered() {
    let guarded = Guarded::start();
    for (method, path, status, code) in [
        ("GET", "/nothing", 404, "not_found"),
        ("GET", "/internal/nothing", 404, "not_found"),
        ("DELETE", "/v1/pools", 405, "method_not_allowed"),
        ("POST", "/internal/log", 405, "method_not_allowed"),
        ("OPTIONS", "/v1/reservations", 405, "method_not_allowed"),
    ] {
        let preflight: &[&str] = &["Origin: http://localhost", "Access-Control-Request-Method: POST"];
        let reply = guarded.server.client().send(method, path, preflight, "");
        assert_eq!((reply.status, reply.code().as_str()), (status, code), "{method} {path}");
        assert!(reply.headers.keys().all(|name| !name.starts_with("access-control-")), "{reply:?}");
    }
}

/// A probe has to work when a credential does not.
#[test]
fn what_is_for_everybody_does_not_look_at_credentials() {
    let guarded = Guarded::start();
    let mut c = guarded.server.client();
    for path in ["/livez", "/readyz", "/startupz"] {
        for header in ["Authorization: Bearer", "Authorization: Basic eA==", &Guarded::header("stranger")] {
            assert_eq!(c.send("GET", path, &[header], "").status, 200, "{path} {header}");
        }
    }
}

#[test]
fn pages_are_open_by_setting() {
    let status = |guarded: &Guarded| {
        ["/metrics", "/docs/", "/docs/runbooks/", "/openapi.json"].map(|path| guarded.server.client().get(path).status)
    };
    assert_eq!(status(&Guarded::start()), [401, 401, 401, 401]);
    assert_eq!(
        status(&Guarded::with(|config| config.open = Open { metrics: true, docs: false })),
        [200, 401, 401, 401]
    );
    assert_eq!(
        status(&Guarded::with(|config| config.open = Open { metrics: false, docs: true })),
        [401, 200, 200, 200]
    );
}

#[test]
fn an_authorization_header_that_cannot_be_judged_is_refused_by_name() {
    let guarded = Guarded::start();
    let good = Guarded::header("viewer");
    let long = format!("Authorization: Bearer {}", "x".repeat(CREDENTIAL_BYTES_MAX + 1));
    let ask = |headers: &[&str]| guarded.server.client().send("GET", "/v1/pools", headers, "");
    assert_eq!(ask(&[&good]).status, 200);
    for headers in [&[good.as_str(), good.as_str()][..], &[&long], &["Authorization: Bearer \u{fc}"]] {
        let reply = ask(headers);
        assert_eq!((reply.status, reply.code().as_str()), (400, "bad_authorization"));
        assert!(reply.header("www-authenticate").unwrap().contains("error=\"invalid_request\""), "{reply:?}");
    }
    for header in ["Authorization: Basic eDp5", "Authorization: Bearer", "Authorization: hr_x", "Authorization:"] {
        let reply = ask(&[header]);
        assert_eq!((reply.status, reply.code().as_str()), (401, "unauthenticated"), "{header}");
    }
}

#[test]
fn who_may_not_call_is_told_so_before_the_body_is_read_and_after_where_it_comes_from() {
    let guarded = Guarded::start();
    let head = |headers: &str| format!("POST /v1/reservations HTTP/1.1\r\n{headers}\r\nContent-Length: 16000\r\n\r\n");
    // None of the body is sent, and nobody asks for it.
    for more in ["", "\r\nExpect: 100-continue"] {
        let reply = guarded.server.client().raw(head(&format!("Host: localhost{more}")).as_bytes());
        assert_eq!((reply.status, reply.code().as_str()), (401, "unauthenticated"));
    }
    let forbidden = head(&format!("Host: localhost\r\n{}", Guarded::header("viewer")));
    assert_eq!(guarded.server.client().raw(forbidden.as_bytes()).code(), "forbidden");
    let foreign = head("Host: evil.example\r\nOrigin: http://evil.example");
    assert_eq!(guarded.server.client().raw(foreign.as_bytes()).code(), "foreign_host");
}

/// Whether the body is here already or comes after the head: the connection goes on, or the answer says that it ends.
#[test]
fn a_refused_caller_may_call_again_on_its_connection() {
    let guarded = Guarded::start();
    pool(&guarded);
    let body = r#"{"pool":"p","demand":{"orders":1}}"#;
    let told = |c: &mut Client, late: Option<Duration>| {
        for header in [Guarded::header("stranger"), Guarded::header("viewer"), Guarded::header("checkout")] {
            let whole = request("POST", "/v1/reservations", &[&header], body.as_bytes());
            let (head, rest) = whole.split_at(whole.len() - body.len());
            if let Some(late) = late {
                c.write(head);
                let sent = Stopwatch::start();
                while sent.elapsed() < late {
                    std::hint::spin_loop();
                }
                c.write(rest);
            } else {
                c.write(&whole);
            }
        }
        let replies: Vec<_> = (0..3).map(|_| c.read().unwrap()).collect();
        assert!(replies.iter().all(|reply| reply.header("connection").is_none()), "{replies:?}");
        replies.iter().map(|reply| reply.status).collect::<Vec<_>>()
    };
    let mut c = guarded.server.client();
    for late in [None, Some(Duration::ZERO), Some(Duration::from_micros(100)), Some(Duration::from_millis(2))] {
        for _ in 0..10 {
            assert_eq!(told(&mut c, late), [401, 403, 201], "{late:?}");
        }
    }
}

fn actors(dir: &std::path::Path) -> Vec<(String, Option<String>)> {
    let printed = on(dir, ["cat"]);
    assert_eq!(printed.code, 0, "{}", printed.err);
    let event = |line: &str| {
        let event: Value = serde_json::from_str(line).unwrap();
        (event["kind"].as_str().unwrap().to_owned(), event["actor"].as_str().map(str::to_owned))
    };
    printed.out.lines().map(event).filter(|(kind, _)| kind != "Barrier" && kind != "Tick").collect()
}

#[test]
fn the_actor_of_an_event_is_whoever_has_proved_to_be_it() {
    let guarded = Guarded::start();
    let c = &mut guarded.server.client();
    let under = |c: &mut Client, name: &str, method: &str, path: &str, body: &str| {
        let forged = ["Headroom-Actor: mallory", "X-Forwarded-User: mallory", "From: mallory"];
        let headers = [&Guarded::header(name), forged[0], forged[1], forged[2]];
        let reply = c.send(method, path, &headers, body);
        assert!(reply.status < 300, "{reply:?}");
        reply.json()["reservation"].as_str().map(str::to_owned)
    };
    let one = r#"{"pool":"p","demand":{"orders":1},"hold_ttl_ms":60000}"#;
    under(c, "planner", "PUT", "/v1/pools/p", r#"{"limits":{"orders":9}}"#);
    let id = under(c, "checkout", "POST", "/v1/reservations", one).unwrap();
    under(c, OTHER_CHECKOUT, "POST", &format!("/v1/reservations/{id}/confirm"), "");
    under(c, "planner", "PATCH", "/v1/pools/p", r#"{"adjust":{"orders":1}}"#);
    let expected = [
        ("PoolDefined", "planner"),
        ("Accepted", "checkout"),
        ("Confirmed", OTHER_CHECKOUT),
        ("LimitsAdjusted", "planner"),
    ];
    let expected = expected.map(|(kind, name)| (kind.to_owned(), Some(name.to_owned())));
    assert_eq!(actors(guarded.dir.path()), expected);
}

/// As `api/README.md` says: a key belongs to what it was used on, and not to whoever used it.
#[test]
fn a_key_is_shared_by_all_who_may_reserve() {
    let guarded = Guarded::start();
    pool(&guarded);
    let body = r#"{"pool":"p","demand":{"orders":1}}"#;
    let told = ["checkout", OTHER_CHECKOUT].map(|name| {
        let headers = ["Idempotency-Key: k-1", &Guarded::header(name)];
        guarded.server.client().send("POST", "/v1/reservations", &headers, body)
    });
    assert_eq!(told[0].json()["reservation"], told[1].json()["reservation"]);
    assert_eq!((told[1].status, told[1].header("idempotent-replayed")), (201, Some("true")));
}

/// Whoever can read the directory is an operator. Others need a token of their own.
#[test]
fn local_commands_prove_who_they_are() {
    let guarded = Guarded::start();
    pool(&guarded);
    assert_eq!(on(guarded.dir.path(), ["verify"]).code, 0);
    std::fs::remove_file(guarded.dir.path().join("server.token")).unwrap();
    let with = |name: Option<&str>| {
        let mut command = headroom(["cat", "--data-dir"]);
        command.arg(guarded.dir.path()).envs(name.map(|name| ("HEADROOM_TOKEN", Guarded::token(name))));
        run(&mut command)
    };
    for (name, code, said) in [
        (None, 2, "the call has no credential"),
        (Some("stranger"), 2, "nobody is known by this token"),
        (Some("viewer"), 2, "takes the role operator"),
        (Some("operator"), 0, ""),
    ] {
        let ended = with(name);
        assert_eq!(ended.code, code, "{name:?}: {}", ended.err);
        assert!(ended.err.contains(said), "{name:?}: {}", ended.err);
        assert!(name.is_none_or(|name| !ended.err.contains(&Guarded::token(name))), "{}", ended.err);
    }
}
