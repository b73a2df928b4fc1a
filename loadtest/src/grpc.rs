//! Reservations over gRPC. A channel is one HTTP/2 connection. Many callers share it, as in clients of gRPC.

use crate::tally::Class;
use headroom::api::grpc::status::RpcStatus;
use headroom::api::grpc::v1::problem::Outcome;
use headroom::api::grpc::v1::{Problem, Reservation, ReserveRequest};
use headroom::client::reserve_answer::ReserveAnswer;
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper::http::uri::PathAndQuery;
use hyper::{Request, Response, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use std::fmt::Display;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpStream;
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::codegen::Service;
use tonic::{Code, Status};
use tonic_prost::ProstCodec;

/// The call that is measured.
const RESERVE: &str = "/headroom.v1.Capacity/Reserve";

/// A channel; a clone of it uses the same connection.
#[derive(Clone)]
pub struct Channel(Grpc<Http2>);

/// How a call ended; `None` when no answer came in time.
pub type Ended = Option<Result<Reservation, Status>>;

impl Channel {
    /// Connects to a server that speaks gRPC in cleartext.
    ///
    /// # Errors
    /// Why there is no connection.
    pub async fn open(address: SocketAddr) -> Result<Channel, String> {
        let failed = |error: &dyn Display| format!("{address}: {error}");
        let stream = TcpStream::connect(address).await.map_err(|error| failed(&error))?;
        stream.set_nodelay(true).map_err(|error| failed(&error))?;
        let made = Builder::new(TokioExecutor::new()).handshake(TokioIo::new(stream)).await;
        let (sender, connection) = made.map_err(|error| failed(&error))?;
        // The task ends when the last sender is dropped or the server closes. The senders report the error.
        tokio::spawn(async move {
            let _ = connection.await;
        });
        let origin = Uri::try_from(format!("http://{address}")).map_err(|error| failed(&error))?;
        Ok(Channel(Grpc::with_origin(Http2(sender), origin)))
    }

    /// Makes one call, and waits for its answer at most so long.
    pub async fn reserve(&mut self, request: tonic::Request<ReserveRequest>, give_up: Duration) -> Ended {
        let path = PathAndQuery::from_static(RESERVE);
        let exchange = async {
            self.0.ready().await.map_err(|error| Status::unknown(error.to_string()))?;
            let answer = self.0.unary(request, path, ProstCodec::<ReserveRequest, Reservation>::default()).await?;
            Ok(answer.into_inner())
        };
        tokio::time::timeout(give_up, exchange).await.ok()
    }
}

/// The class of an answer, in the terms of HTTP.
pub fn class(ended: &Ended) -> Class {
    let status = match ended {
        None => return Class::Silent,
        Some(Ok(_)) => return Class::Accepted,
        Some(Err(status)) => status,
    };
    // A status that does not come from the API has no problem: the connection made it.
    let Some(problem) = problem(status) else { return Class::Silent };
    match (problem.outcome(), status.code()) {
        (Outcome::Unknown, _) => Class::Unknown,
        (_, Code::FailedPrecondition) => Class::Refused,
        (_, Code::ResourceExhausted) => Class::OverQuota,
        (_, Code::Unavailable | Code::DeadlineExceeded) => Class::Unavailable,
        _ => Class::Other,
    }
}

/// What the caller knows after the answer.
pub fn told(ended: &Ended) -> ReserveAnswer {
    match ended {
        None => ReserveAnswer::Unknown,
        Some(Ok(Reservation { reservation, proof: Some(proof), .. })) => {
            ReserveAnswer::accepted(reservation, (proof.partition, proof.seq, proof.epoch), &proof.digest)
        }
        Some(Ok(_)) => ReserveAnswer::Unreadable,
        Some(Err(status)) => match problem(status) {
            Some(problem) if problem.outcome() == Outcome::NotApplied => ReserveAnswer::refused(&problem.code),
            _ => ReserveAnswer::Unknown,
        },
    }
}

/// The problem in a status, if the API has made the status.
fn problem(status: &Status) -> Option<Problem> {
    let details = RpcStatus::decode(status.details()).ok()?.details;
    Problem::decode(&*details.first()?.value).ok()
}

/// The connection as tonic calls it.
#[derive(Clone)]
struct Http2(SendRequest<Body>);

impl Service<Request<Body>> for Http2 {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = hyper::Result<Response<Incoming>>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use headroom::api::grpc::v1::Proof;

    fn refused(status: Code, code: &str, outcome: Outcome) -> Ended {
        let problem = Problem { code: code.to_owned(), outcome: outcome.into(), ..Problem::default() };
        let detail = prost_types::Any { type_url: String::new(), value: problem.encode_to_vec() };
        let details = RpcStatus { details: vec![detail], ..RpcStatus::default() }.encode_to_vec();
        Some(Err(Status::with_details(status, "", details.into())))
    }

    #[test]
    fn an_answer_counts_as_it_would_over_http() {
        let id = headroom::domain::ReservationId::new(7, [9; 11]).to_string();
        let proof = Proof { partition: 3, seq: 41, epoch: 2, digest: "ab".repeat(16), ..Proof::default() };
        let yes = Some(Ok(Reservation { reservation: id, proof: Some(proof), ..Reservation::default() }));
        assert_eq!(class(&yes), Class::Accepted);
        assert!(matches!(told(&yes), ReserveAnswer::Yes(proof) if proof.seq == 41 && proof.partition == 3));
        let bare = Some(Ok(Reservation::default()));
        assert_eq!((class(&bare), told(&bare)), (Class::Accepted, ReserveAnswer::Unreadable));

        use Outcome::{NotApplied, Unknown};
        let of = |ended: Ended| (class(&ended), told(&ended));
        let no = |class, code| (class, ReserveAnswer::No(code));
        let full = refused(Code::FailedPrecondition, "over_limit", NotApplied);
        assert_eq!(of(full), no(Class::Refused, "over_limit"));
        let often = refused(Code::ResourceExhausted, "over_quota", NotApplied);
        assert_eq!(of(often), no(Class::OverQuota, "over_quota"));
        let late = refused(Code::DeadlineExceeded, "timeout", NotApplied);
        assert_eq!(of(late), no(Class::Unavailable, "timeout"));
        let lost = refused(Code::DeadlineExceeded, "timeout", Unknown);
        assert_eq!(of(lost), (Class::Unknown, ReserveAnswer::Unknown));
        for none in [None, Some(Err(Status::unknown("the connection broke")))] {
            assert_eq!(of(none), (Class::Silent, ReserveAnswer::Unknown));
        }
    }
}
