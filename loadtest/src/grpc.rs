//! Reservations over gRPC. A channel is one HTTP/2 connection. Many callers share it, as in clients of gRPC.
//!
//! The head and the message of a call leave in one write, as those of grpc-go, grpc-java and grpc-core do. hyper's client
//! sends the head first and wakes the server twice for each call.

use crate::tally::Class;
use h2::client::{self, SendRequest};
use headroom::api::grpc::status::RpcStatus;
use headroom::api::grpc::v1::problem::Outcome;
use headroom::api::grpc::v1::{Problem, Reservation, ReserveRequest};
use headroom::client::reserve_answer::ReserveAnswer;
use hyper::body::Bytes;
use hyper::{HeaderMap, Request};
use prost::Message;
use std::fmt::Display;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;
use tonic::{Code, Status};

/// The call that is measured.
const RESERVE: &str = "/headroom.v1.Capacity/Reserve";
/// What stands before each message: a flag, and its length.
const PREFIX_BYTES: usize = 5;

/// A channel; a clone of it uses the same connection.
#[derive(Clone)]
pub struct Channel {
    sender: SendRequest<Bytes>,
    /// What each call begins with.
    head: Request<()>,
}

/// How a call ended; `None` when no answer came in time.
pub type Ended = Option<Result<Reservation, Status>>;

impl Channel {
    /// Connects to a server that speaks gRPC in cleartext. Each call has this deadline, in milliseconds.
    ///
    /// # Errors
    /// Why there is no connection.
    pub async fn open(address: SocketAddr, deadline_ms: u64) -> Result<Channel, String> {
        let failed = |error: &dyn Display| format!("{address}: {error}");
        let stream = TcpStream::connect(address).await.map_err(|error| failed(&error))?;
        stream.set_nodelay(true).map_err(|error| failed(&error))?;
        let (sender, connection) = client::handshake(stream).await.map_err(|error| failed(&error))?;
        // The task ends when the last sender is dropped or the server closes. The senders report the error.
        tokio::spawn(async move {
            let _ = connection.await;
        });
        let head = Request::post(format!("http://{address}{RESERVE}"))
            .header("te", "trailers")
            .header("content-type", "application/grpc")
            .header("grpc-timeout", format!("{deadline_ms}m"))
            .body(())
            .map_err(|error| failed(&error))?;
        Ok(Channel { sender, head })
    }

    /// Makes one call, and waits for its answer at most so long.
    pub async fn reserve(&self, message: &ReserveRequest, give_up: Duration) -> Ended {
        let exchange = async {
            match self.exchange(message).await {
                Ok((head, body, trailers)) => read(&head, &body, &trailers),
                Err(error) => Err(Status::unknown(error.to_string())),
            }
        };
        tokio::time::timeout(give_up, exchange).await.ok()
    }

    /// Sends a message, and receives the headers, the body and the trailers of its answer.
    async fn exchange(&self, message: &ReserveRequest) -> Result<(HeaderMap, Vec<u8>, HeaderMap), h2::Error> {
        let mut sender = self.sender.clone().ready().await?;
        let (answer, mut stream) = sender.send_request(self.head.clone(), false)?;
        stream.send_data(framed(message), true)?;
        let (head, mut body) = answer.await?.into_parts();
        let mut bytes = Vec::new();
        while let Some(data) = body.data().await.transpose()? {
            body.flow_control().release_capacity(data.len())?;
            bytes.extend_from_slice(&data);
        }
        Ok((head.headers, bytes, body.trailers().await?.unwrap_or_default()))
    }
}

/// A message with its prefix, not compressed.
fn framed(message: &ReserveRequest) -> Bytes {
    let mut bytes = vec![0; PREFIX_BYTES];
    bytes.extend_from_slice(&message.encode_to_vec());
    let length = (bytes.len() - PREFIX_BYTES) as u32;
    bytes[1..PREFIX_BYTES].copy_from_slice(&length.to_be_bytes());
    bytes.into()
}

/// What an answer says. The status of one without a body stands in its headers.
fn read(head: &HeaderMap, body: &[u8], trailers: &HeaderMap) -> Result<Reservation, Status> {
    let status = Status::from_header_map(trailers).or_else(|| Status::from_header_map(head));
    let status = status.unwrap_or_else(|| Status::unknown("an answer without a status"));
    if status.code() != Code::Ok {
        return Err(status);
    }
    let message = body.get(PREFIX_BYTES..).unwrap_or_default();
    Reservation::decode(message).map_err(|error| Status::unknown(error.to_string()))
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
