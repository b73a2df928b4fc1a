//! What hyper leaves to us of HTTP/2: the bounds of a connection, and which answers are on their way to somebody.
//!
//! An answer that has reserved something counts as told when the last byte of its body was written to the socket. Until
//! then the reservation is taken back when the caller resets the stream, does not open its window in time, or the
//! connection breaks. A caller that gets the end of such an answer can rely on it. So where a connection breaks between
//! the bytes of several answers, those that may have left whole count as told.

use super::Api;
use super::asked::Asked;
use super::slots::ConnectionSlot;
use crate::limits::{
    HTTP_HEAD_BYTES_MAX, HTTP_HEADERS_MAX, HTTP2_CONNECTION_WINDOW_BYTES, HTTP2_PING_EVERY_MS, HTTP2_PING_TIMEOUT_MS,
    HTTP2_STREAM_WINDOW_BYTES, HTTP2_STREAMS_MAX,
};
use crate::service::Receipt;
use axum::body::{Body, Bytes};
use axum::http::Response;
use hyper::body::{Buf, Frame, SizeHint};
use hyper::server::conn::http2;
use hyper_util::rt::TokioTimer;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// Bytes of one HTTP/2 answer that are kept for its caller's window to open.
const HTTP2_SEND_BUFFER_BYTES: usize = 64 << 10;
/// Streams of one HTTP/2 connection that may have been reset before they were looked at.
const HTTP2_PENDING_RESETS_MAX: usize = HTTP2_STREAMS_MAX as usize;
/// Streams of one HTTP/2 connection that we may reset because of the caller's errors.
const HTTP2_LOCAL_RESETS_MAX: usize = 128;

/// Longest list of header fields that hyper reads of a request, in bytes as RFC 9113 counts them: 32 for each field beside its
/// name and its value. It refuses a longer one by itself, with nothing but the status 431. Shorter ones come as far as
/// [`super::receive`], which says what is wrong with a head beyond our bounds.
const HEADER_LIST_BYTES_MAX: u32 = 32 << 10;

// Whatever is within our bounds is within this one, however short its fields are.
const _: () = assert!(HTTP_HEAD_BYTES_MAX + 64 * HTTP_HEADERS_MAX < HEADER_LIST_BYTES_MAX as usize);

/// How hyper serves a connection whose requests this executor runs.
pub fn builder<E: Clone>(executor: E) -> http2::Builder<E> {
    let mut builder = http2::Builder::new(executor);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(HTTP2_STREAMS_MAX)
        .max_header_list_size(HEADER_LIST_BYTES_MAX)
        .initial_stream_window_size(HTTP2_STREAM_WINDOW_BYTES)
        .initial_connection_window_size(HTTP2_CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(HTTP2_SEND_BUFFER_BYTES)
        .max_pending_accept_reset_streams(HTTP2_PENDING_RESETS_MAX)
        .max_local_error_reset_streams(HTTP2_LOCAL_RESETS_MAX)
        .keep_alive_interval(Duration::from_millis(HTTP2_PING_EVERY_MS))
        .keep_alive_timeout(Duration::from_millis(HTTP2_PING_TIMEOUT_MS));
    builder
}

/// A stream from its request to the end of its answer.
pub struct Stream {
    slot: Arc<ConnectionSlot>,
    api: Arc<Api>,
    untaken: Arc<Untaken>,
    is_answered: bool,
}

/// The parts of one answer that the socket has not taken, because the caller does not open its window or does not read.
#[derive(Default)]
struct Untaken {
    /// When each was made. They are taken in this order.
    made: Mutex<VecDeque<Instant>>,
    begins: Notify,
}

impl Untaken {
    /// Returns once a part has waited for so long.
    async fn waits_for(&self, limit: Duration) {
        loop {
            let oldest = self.made.lock().front().copied();
            match oldest.and_then(|made| made.checked_add(limit)) {
                None => self.begins.notified().await,
                Some(due) if due <= Instant::now() => return,
                Some(due) => sleep_until(due).await,
            }
        }
    }
}

impl Stream {
    /// Its request has been read.
    pub fn open(slot: &Arc<ConnectionSlot>, api: &Arc<Api>) -> Stream {
        slot.line.open_stream();
        Stream { slot: Arc::clone(slot), api: Arc::clone(api), untaken: Arc::default(), is_answered: false }
    }

    /// Returns once its caller has not taken a part of its answer in time.
    pub fn stalls(&self) -> impl Future<Output = ()> + Send + use<> {
        let (untaken, limit) = (Arc::clone(&self.untaken), self.api.limits.answer_timeout);
        async move { untaken.waits_for(limit).await }
    }

    /// The answer to a request with this body, watched until it is on its way.
    pub fn answer(mut self, mut response: Response<Body>, asked: Asked) -> Response<Told> {
        self.is_answered = true;
        let receipt = response.extensions_mut().remove();
        let owed = Owed { receipt, api: Arc::clone(&self.api), slot: Arc::clone(&self.slot) };
        response.map(|inner| Told { inner, owed: Some(owed), stream: self, _asked: asked })
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.slot.line.close_stream(self.is_answered, || self.slot.turn());
    }
}

/// What an answer has reserved. When this is dropped with a receipt, the reservation is taken back.
struct Owed {
    receipt: Option<Receipt>,
    api: Arc<Api>,
    slot: Arc<ConnectionSlot>,
}

impl Drop for Owed {
    fn drop(&mut self) {
        if let Some(receipt) = self.receipt.take() {
            self.api.service().take_back(receipt);
        }
    }
}

/// The body of an answer.
pub struct Told {
    inner: Body,
    /// Goes with the first part.
    owed: Option<Owed>,
    stream: Stream,
    _asked: Asked,
}

impl hyper::body::Body for Told {
    type Data = Part;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Part>, axum::Error>>> {
        let frame = Pin::new(&mut self.inner).poll_frame(cx);
        frame.map_ok(|frame| frame.map_data(|bytes| Part::new(bytes, self.owed.take(), &self.stream)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// A part of an answer. It knows when it was written, because whoever writes it advances over its bytes.
pub struct Part {
    bytes: Bytes,
    owed: Option<Owed>,
    slot: Arc<ConnectionSlot>,
    untaken: Arc<Untaken>,
    number: u64,
    /// The socket has not taken all of it before it has taken so many bytes.
    whole_from: u64,
}

impl Part {
    fn new(bytes: Bytes, owed: Option<Owed>, Stream { slot, untaken, .. }: &Stream) -> Part {
        let whole_from = slot.line.sent().saturating_add(bytes.len() as u64);
        untaken.made.lock().push_back(Instant::now());
        untaken.begins.notify_one();
        let (slot, untaken, number) = (Arc::clone(slot), Arc::clone(untaken), slot.line.made());
        Part { bytes, owed, slot, untaken, number, whole_from }
    }
}

impl Buf for Part {
    fn remaining(&self) -> usize {
        self.bytes.len()
    }

    fn chunk(&self) -> &[u8] {
        &self.bytes
    }

    fn advance(&mut self, n: usize) {
        self.bytes.advance(n);
        if self.bytes.is_empty()
            && let Some(mut owed) = self.owed.take()
            && let Some(receipt) = owed.receipt.take()
        {
            // Whoever advances may have copied the bytes to where they wait for the socket.
            owed.slot.line.owe(receipt, self.whole_from);
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.slot.line.took(self.number);
        self.untaken.made.lock().pop_front();
    }
}
