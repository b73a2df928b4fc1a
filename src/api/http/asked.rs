//! The body of a request that is answered before it was read, because its head says enough for a refusal.
//!
//! The answer must reach its caller, and must not cost the connection. Over HTTP/2 hyper resets the stream of a body that
//! is dropped before the answer was sent, and the answer would be lost. Over HTTP/1 hyper closes a connection whose body
//! was not here when the answer was made, and the answer does not say so: the next request would meet the end.

use crate::limits::HTTP_BODY_BYTES_MAX;
use axum::body::Bytes;
use axum::http::Request;
use axum::http::header::EXPECT;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use parking_lot::Mutex;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// How long an answer that did not wait for the body of its request is kept back for that body. A body that is sent along
/// with its head comes much sooner.
const REST: Duration = Duration::from_millis(100);
/// Most bytes of such a body that are read and forgotten.
const REST_BYTES_MAX: usize = 4 * HTTP_BODY_BYTES_MAX;

/// The body of a request, which whoever answers may stop reading. A clone of it stays with the answer.
#[derive(Clone)]
pub struct Asked {
    body: Arc<Mutex<Unread>>,
    /// Whether the caller sends the body only when it is told to. Who reads it tells it so.
    is_awaited: bool,
}

struct Unread {
    body: Incoming,
    /// Whether its end has been read, which a chunked body does not say of itself.
    is_over: bool,
}

impl Asked {
    /// The request with a body that stays for as long as the second part of the answer.
    pub fn of(request: Request<Incoming>) -> (Request<Asked>, Asked) {
        let (parts, body) = request.into_parts();
        let is_awaited = parts.headers.contains_key(EXPECT);
        let asked = Asked { body: Arc::new(Mutex::new(Unread { body, is_over: false })), is_awaited };
        (Request::from_parts(parts, asked.clone()), asked)
    }

    /// Reads and forgets what the caller still sends, for a short time, when nobody else reads it. Some callers lose an
    /// answer that ends before they have sent their body, however short that is. Answers whether the end was read: if it
    /// was not, nobody knows where the next request of an HTTP/1 connection begins.
    pub async fn rest(&mut self) -> bool {
        if self.is_end_stream() {
            return true;
        }
        if self.is_awaited || Arc::strong_count(&self.body) > 1 {
            return false;
        }
        let rest = async {
            let mut bytes = 0_usize;
            while bytes <= REST_BYTES_MAX
                && let Some(Ok(frame)) = self.frame().await
            {
                bytes = bytes.saturating_add(frame.data_ref().map_or(0, Bytes::len));
            }
        };
        let _ = tokio::time::timeout(REST, rest).await;
        self.is_end_stream()
    }
}

impl Body for Asked {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let mut unread = self.body.lock();
        let frame = ready!(Pin::new(&mut unread.body).poll_frame(cx));
        unread.is_over |= frame.is_none();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        let unread = self.body.lock();
        unread.is_over || unread.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.lock().body.size_hint()
    }
}
