//! Every method of gRPC, asked by every caller of the matrix of roles.

use super::protocol::raw;
use crate::roles::{Caller, Guarded, Verdict, expected};
use headroom::api::grpc;
use tonic::Code;

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
