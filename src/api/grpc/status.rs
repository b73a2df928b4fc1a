//! Which gRPC status a refusal has, and the refusal as a detail of that status.

use super::answers;
use super::message::Answer;
use super::v1;
use crate::api::http::dispatch::Respond;
use crate::api::problem::{Case, Problem, RequestFault};
use crate::service::watch::Places;
use axum::body::{Body, Bytes, HttpBody};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response};
use prost::Message;
use prost_types::Any;
use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use tonic::{Code, Status};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The type of the one detail of a status.
const PROBLEM: &str = "type.googleapis.com/headroom.v1.Problem";

/// The status of a refusal. It follows the HTTP status of its row, so that there is one table of refusals; only a timeout
/// and a method that does not exist have a status of their own.
pub fn code(case: &Case) -> Code {
    match (case.status, case.code) {
        (_, "timeout") => Code::DeadlineExceeded,
        (_, "not_found") => Code::Unimplemented,
        (400 | 421 | 422, _) => Code::InvalidArgument,
        (401, _) => Code::Unauthenticated,
        (403, _) => Code::PermissionDenied,
        (404, _) => Code::NotFound,
        (405 | 415 | 501, _) => Code::Unimplemented,
        (408 | 504, _) => Code::DeadlineExceeded,
        (409, _) => Code::FailedPrecondition,
        (410, _) => Code::OutOfRange,
        (412, _) => Code::Aborted,
        (413 | 429 | 431, _) => Code::ResourceExhausted,
        (503, _) => Code::Unavailable,
        _ => Code::Internal,
    }
}

/// The public message `google.rpc.Status`, which `grpc-status-details-bin` holds.
#[derive(Clone, PartialEq, Message)]
pub struct RpcStatus {
    /// The number of the status.
    #[prost(int32, tag = "1")]
    pub code: i32,
    /// The text of the status.
    #[prost(string, tag = "2")]
    pub message: String,
    /// The refusal, as one [`v1::Problem`].
    #[prost(message, repeated, tag = "3")]
    pub details: Vec<Any>,
}

/// A refusal on its way through a service of tonic, such as that for health.
#[derive(Debug)]
struct Refused(Problem);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.detail())
    }
}

impl std::error::Error for Refused {}

impl From<Problem> for Status {
    fn from(problem: Problem) -> Status {
        let mut status = Status::new(code(&problem.case()), problem.detail());
        status.set_source(Arc::new(Refused(problem)));
        status
    }
}

/// The refusal behind a status of tonic: ours, or what tonic itself found wrong with the message.
pub fn problem_of(status: &Status) -> Problem {
    let source = std::error::Error::source(status).and_then(|source| source.downcast_ref::<Refused>());
    match source {
        Some(Refused(problem)) => problem.clone(),
        None if status.code() == Code::Unimplemented => {
            Problem::fault(RequestFault::UnknownContentEncoding, status.message().to_owned())
        }
        None => Problem::fault(
            RequestFault::BadMessage,
            format!("the message cannot be read, see schemas/headroom/v1/capacity.proto: {}", status.message()),
        ),
    }
}

/// The status that tells a caller of a refusal, with the refusal as its detail. The position is that of a watch that ended.
pub fn told(problem: &Problem, trace_id: &str, position: Places) -> Status {
    let (code, message) = (code(&problem.case()), problem.detail());
    let value = v1::Problem { trace_id: trace_id.to_owned(), position, ..answers::problem(problem) }.encode_to_vec();
    let details = vec![Any { type_url: PROBLEM.to_owned(), value }];
    let details = RpcStatus { code: code.into(), message: message.to_owned(), details }.encode_to_vec();
    Status::with_details(code, message, details.into())
}

/// The trailers that tell a status after messages.
pub fn trailers(status: &Status) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    // It fails for a text that cannot be a header, and those of problems are percent-encoded.
    let _ = status.add_header(&mut trailers);
    trailers
}

/// An answer, with the headers of gRPC.
pub struct GrpcReply(pub Response<Body>);

impl GrpcReply {
    /// An answer of one message.
    pub fn of(message: &impl Message) -> GrpcReply {
        GrpcReply::with(Answer::new(message))
    }

    /// An answer with this body.
    pub fn with(body: impl HttpBody<Data = Bytes, Error = Infallible> + Send + 'static) -> GrpcReply {
        let mut response = Response::new(Body::new(body));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        GrpcReply(response)
    }
}

impl Respond for GrpcReply {
    fn respond(answer: Result<GrpcReply, Problem>, trace_id: &str) -> (Response<Body>, u16) {
        let (mut response, code) = match answer {
            Ok(GrpcReply(response)) => (response, Code::Ok),
            Err(problem) => {
                let status = told(&problem, trace_id, Places::new());
                let code = status.code();
                let mut response = status.into_http::<Body>();
                response.headers_mut().extend(problem.into_headers());
                (response, code)
            }
        };
        if let Ok(mut id) = HeaderValue::try_from(trace_id) {
            // So HPACK does not put each id into the table of headers that come again.
            id.set_sensitive(true);
            response.headers_mut().insert(REQUEST_ID, id);
        }
        (response, u16::try_from(i32::from(code)).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::problem::cases;
    use crate::domain::ReservationId;
    use crate::service::{Refusal, Shed};

    /// The one detail of a status.
    fn detail(status: &Status) -> v1::Problem {
        let details = RpcStatus::decode(status.details()).unwrap();
        v1::Problem::decode(&*details.details[0].value).unwrap()
    }

    #[test]
    fn a_shed_retry_of_a_key_that_has_reserved_names_the_reservation() {
        let reservation = ReservationId::new(7, [1; 11]);
        let problem = Problem::from(Refusal::EarlierAttempt(reservation, Box::new(Refusal::Shed(Shed::Full))));
        let told = detail(&told(&problem, "77", Places::new()));
        assert_eq!((told.outcome(), told.reservation), (v1::problem::Outcome::Unknown, reservation.to_string()));
    }

    /// A new row of the table that has no status of its own would be told as a bug of the server.
    #[test]
    fn only_bugs_are_internal() {
        for case in cases() {
            assert_eq!(code(&case) == Code::Internal, case.status == 500, "{}", case.code);
        }
    }

    /// A header is ASCII.
    #[test]
    fn a_text_in_any_script_is_told_percent_encoded() {
        let problem = Problem::fault(RequestFault::BadName, "pool is 'k\u{f6}ln'");
        let told = told(&problem, "77", Places::new());
        assert_eq!(trailers(&told)["grpc-message"], "pool%20is%20'k%C3%B6ln'");
        assert_eq!(detail(&told).detail, "pool is 'k\u{f6}ln'");
    }

    #[test]
    fn a_refusal_comes_through_tonic_as_it_was() {
        let problem = Problem::fault(RequestFault::BadName, "pool is 'a b'");
        let status = Status::from(problem);
        assert_eq!((status.code(), problem_of(&status).code()), (Code::InvalidArgument, "bad_name"));
        assert_eq!(problem_of(&Status::internal("failed to decode")).code(), "bad_message");
        let told = told(&problem_of(&status), "77", Places::new());
        let detail = detail(&told);
        assert_eq!((&*detail.code, &*detail.detail, &*detail.trace_id), ("bad_name", "pool is 'a b'", "77"));
    }
}
