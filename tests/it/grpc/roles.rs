//! Every method of gRPC, asked by every caller of the matrix of roles, and a watch whose caller may watch no more.

use super::protocol::raw;
use super::watch::{Reader, definition};
use super::{client, problem};
use crate::roles::{Caller, Guarded, Verdict, expected};
use crate::server::runtime;
use crate::wait::until;
use headroom::access::Tokens;
use headroom::api::grpc;
use headroom::api::grpc::v1::{self, pool_changed::Kind};
use headroom::app::write_private;
use headroom::limits::DEADLINE_MAX_MS;
use std::time::Duration;
use tonic::{Code, Request};

#[test]
fn every_role_may_call_what_the_table_says() {
    let guarded = Guarded::start();
    let mut asked = 0;
    for (path, operation) in grpc::methods() {
        asked += 1;
        for caller in Caller::ALL {
            let bearer = Guarded::token_of(caller).map(|token| format!("Bearer {token}"));
            let headers: Vec<_> = bearer.iter().map(|bearer| ("authorization", bearer.as_str())).collect();
            // A message that nobody can read: who may call is told before it is read.
            let (code, problem) = raw(&guarded.server, path, &headers, vec![0, 0, 0, 0, 1, 0xff]);
            let verdict = match (code, &*problem) {
                (Code::Unauthenticated, "unauthenticated") => Verdict::Unauthenticated,
                (Code::PermissionDenied, "forbidden") => Verdict::Forbidden,
                // A stream of messages is taken before the first of them is read.
                (Code::InvalidArgument, "bad_message") | (Code::Ok, "") => Verdict::Taken,
                other => panic!("{path} {caller:?}: {other:?}"),
            };
            assert_eq!(verdict, expected(operation, caller), "{path} {caller:?}");
        }
    }
    assert!(asked > 15, "{asked}");
}

/// A message of the principal with this name.
fn of<T>(name: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {}", Guarded::token(name)).parse().unwrap());
    request
}

/// The story: a display whose token was revoked was told of every change until the next restart.
#[test]
fn a_watch_tells_nothing_once_the_token_of_its_caller_is_revoked() {
    let guarded = Guarded::start();
    let (mut watching, mut planning) = (client(&guarded.server), client(&guarded.server));
    let mut define = |pool: &str| {
        let mut request = of("planner", definition(pool, 1, &[]));
        request.set_timeout(Duration::from_millis(DEADLINE_MAX_MS));
        runtime().block_on(planning.define_pool(request)).unwrap();
    };
    let watch = v1::WatchPoolsRequest::default();
    let mut reader = runtime().block_on(Reader::begin(&mut watching, of("viewer", watch.clone()))).unwrap();
    assert_eq!(runtime().block_on(reader.snapshot()), Vec::<String>::new());
    define("a");
    assert_eq!(runtime().block_on(reader.next(1)), [("a".to_owned(), Kind::Defined, true)]);

    let file = guarded.dir.path().join("tokens.json");
    let mut tokens = Tokens::parse(&std::fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!(tokens.revoke("viewer").len(), 1);
    write_private(&file, &tokens.render(), None).unwrap();
    let pools = |name: &str| guarded.server.client().send("GET", "/v1/pools", &[&Guarded::header(name)], "").status;
    until("the token is revoked", || pools("viewer") == 401);
    define("b");
    let ended = runtime().block_on(reader.changes()).unwrap_err();
    let problem = problem(&ended);
    assert_eq!((ended.code(), &*problem.code), (Code::Unauthenticated, "unauthenticated"));
    // Whoever may still watch goes on from there.
    let watch = v1::WatchPoolsRequest { position: problem.position, ..watch };
    let mut reader = runtime().block_on(Reader::begin(&mut watching, of("operator", watch))).unwrap();
    assert_eq!(runtime().block_on(reader.next(1)), [("b".to_owned(), Kind::Defined, true)]);
}
