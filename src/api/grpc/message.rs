//! One message, as gRPC puts it into the body of a request and of an answer: a flag, its length, its bytes.

use crate::api::body::Parsed;
use crate::api::http::request::HttpRequest;
use crate::api::problem::{Problem, RequestFault};
use crate::api::value::quoted;
use axum::body::{Bytes, HttpBody};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use hyper::body::Frame;
use prost::Message;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

/// What stands before each message: a flag, and its length.
pub const PREFIX_BYTES: usize = 5;
const GRPC_ENCODING: &str = "grpc-encoding";
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// The one message of a request.
///
/// # Errors
/// It is compressed, or there is not exactly one that can be read.
pub fn read<M: Message + Default>(request: &HttpRequest) -> Parsed<M> {
    let Some(([flag, length @ ..], message)) = request.body.split_first_chunk::<PREFIX_BYTES>() else {
        return Err(unreadable("it broke off in its first five bytes"));
    };
    match flag {
        0 => {}
        1 => return Err(compressed(request)?),
        _ => return Err(unreadable(&format!("its first byte is {flag}, it has to be 0"))),
    }
    let length = u32::from_be_bytes(*length) as usize;
    if message.len() != length {
        let sent = message.len();
        return Err(unreadable(&format!("its length is said to be {length} bytes, and {sent} follow")));
    }
    M::decode(message).map_err(|error| unreadable(&error.to_string()))
}

/// The refusal of a message that is said to be compressed.
fn compressed(request: &HttpRequest) -> Parsed<Problem> {
    let said = request.header(GRPC_ENCODING, RequestFault::BadMessage)?;
    Ok(match said {
        None | Some("identity") => unreadable("its flag says that it is compressed, and no header says how"),
        Some(other) => Problem::fault(
            RequestFault::UnknownContentEncoding,
            format!("the header {GRPC_ENCODING} is {}, it has to be identity, or left out", quoted(other)),
        ),
    })
}

fn unreadable(why: &str) -> Problem {
    Problem::fault(
        RequestFault::BadMessage,
        format!("the message cannot be read, see schemas/headroom/v1/capacity.proto: {why}"),
    )
}

/// A message as it is sent.
pub fn framed(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut bytes = Vec::with_capacity(length.saturating_add(PREFIX_BYTES));
    bytes.push(0);
    // Nothing that this service answers is near 4 GiB.
    bytes.extend_from_slice(&(length as u32).to_be_bytes());
    bytes.extend_from_slice(&message.encode_to_vec());
    bytes.into()
}

/// The trailers of an answer that is no refusal.
pub fn done() -> HeaderMap {
    [(GRPC_STATUS, HeaderValue::from_static("0"))].into_iter().collect()
}

/// The body of an answer: one message, and after it the status.
pub struct Answer {
    message: Option<Bytes>,
    is_over: bool,
}

impl Answer {
    /// An answer with this message.
    pub fn new(message: &impl Message) -> Answer {
        Answer { message: Some(framed(message)), is_over: false }
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(message) = self.message.take() {
            return Poll::Ready(Some(Ok(Frame::data(message))));
        }
        let is_over = std::mem::replace(&mut self.is_over, true);
        Poll::Ready((!is_over).then(|| Ok(Frame::trailers(done()))))
    }

    fn is_end_stream(&self) -> bool {
        self.is_over
    }
}
