//! What hyper leaves to us of HTTP/1: it notes when a request begins, and gives a body to the answers that hyper itself
//! gives to bytes that are not HTTP.

use super::line::{HEAD, IDLE};
use super::receive::{CHUNKED, head_too_large, wrong_coding};
use super::reply::Problem;
use super::slots::ConnectionSlot;
use super::{Api, Finished};
use crate::api::problem::RequestFault;
use axum::http::header::TRANSFER_ENCODING;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The detail for a head that is refused before it is known which line is wrong.
const NO_HEAD: &str = "the head cannot be read as HTTP/1.1: see RFC 9112 for how it is written, and for how Content-Length, \
                       or Transfer-Encoding with chunked at its end, says where the body ends";

/// A TLS record of the kind that opens a connection, of any version since SSL 3.
const TLS_HANDSHAKE: &[u8] = &[0x16, 0x03];
const SPEAK_PLAIN: &str =
    "the caller speaks TLS (https), and this address takes plain HTTP: use http, or a proxy that ends TLS";

/// The bytes of a connection that speaks HTTP/1, without those of TLS.
pub struct Http1<S> {
    io: S,
    api: Arc<Api>,
    peer: IpAddr,
    place: Arc<ConnectionSlot>,
    replacement: Option<Replacement>,
    /// Whether something has been read.
    is_used: bool,
    /// Whether the head that is read now begins as TLS does.
    is_tls: bool,
    /// The Transfer-Encoding of that head, if it leaves the body without an end.
    unframed: Option<String>,
}

/// An answer of this service that replaces one of hyper's.
struct Replacement {
    bytes: Vec<u8>,
    written: usize,
    replaces: usize,
}

impl<S: AsyncWrite + Unpin> Http1<S> {
    pub fn new(io: S, api: Arc<Api>, peer: IpAddr, place: Arc<ConnectionSlot>) -> Http1<S> {
        Http1 { io, api, peer, place, replacement: None, is_used: false, is_tls: false, unframed: None }
    }

    /// Tells a caller that its head was late, if that can be sent at once. The connection ends in any case.
    fn refuse_late_head(&mut self, cx: &mut Context<'_>) {
        let ms = self.api.limits.head_timeout.as_millis();
        let detail = format!("the head was not here after {ms} ms: send it faster");
        let bytes = refusal(&self.api, self.peer, RequestFault::HeadTimeout, &detail);
        let mut io = Pin::new(&mut self.io);
        if io.as_mut().poll_write(cx, &bytes).is_ready() {
            let _ = io.poll_flush(cx);
        }
    }

    /// The answer that replaces the empty one of hyper when a head cannot be parsed. Our own 4xx answers are never
    /// empty.
    fn replacement_of(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let status = bytes.strip_prefix(b"HTTP/1.1 ").or_else(|| bytes.strip_prefix(b"HTTP/1.0 "))?;
        let head = bytes.get(..bytes.len().min(256))?;
        let is_empty = |needle: &[u8]| head.windows(needle.len()).any(|window| window == needle);
        if !status.starts_with(b"4") || !is_empty(b"content-length: 0\r\n") {
            return None;
        }
        let refusal = |fault, detail: &str| Some(refusal(&self.api, self.peer, fault, detail));
        match (status.get(..3)?, &self.unframed) {
            (b"400", _) if self.is_tls => refusal(RequestFault::TlsNotSpoken, SPEAK_PLAIN),
            (b"400", Some(said)) => {
                refusal(RequestFault::UnknownTransferCoding, &wrong_coding(&TRANSFER_ENCODING, said, CHUNKED))
            }
            (b"400", None) => refusal(RequestFault::BadRequest, NO_HEAD),
            (b"431", _) => refusal(RequestFault::HeadTooLarge, &head_too_large(&self.api.limits)),
            _ => None,
        }
    }
}

/// A whole response to this address, for a request that never became one.
pub fn refusal(api: &Api, peer: IpAddr, fault: RequestFault, detail: &str) -> Vec<u8> {
    let case = fault.case();
    let trace_id = api.state.tracing.enter(None).to_string();
    let body = Problem::fault(fault, detail.to_owned()).body(&trace_id);
    api.state.metrics.request_finished(&Finished {
        route: "(none)",
        method: "OTHER",
        operation: None,
        principal: None,
        protocol: "HTTP/1.1",
        peer: Some(peer),
        status: case.status,
        code: case.code,
        title: case.title,
        trace_id: &trace_id,
        at: api.service().now(),
        took_us: 0,
        answer_us: None,
        bytes: body.len() as u64,
    });
    let reason = axum::http::StatusCode::from_u16(case.status).ok().and_then(|s| s.canonical_reason());
    let mut bytes = format!(
        "HTTP/1.1 {} {}\r\ncontent-type: application/problem+json\r\ncache-control: no-store\r\nx-request-id: {trace_id}\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n",
        case.status,
        reason.unwrap_or_default(),
        body.len()
    )
    .into_bytes();
    bytes.extend_from_slice(&body);
    bytes
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Http1<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let done = ready!(Pin::new(&mut self.io).poll_read(cx, buf));
        let Http1 { place, is_used, is_tls, unframed, .. } = &mut *self;
        let phase = &place.line.phase;
        if let Err(error) = &done
            && error.kind() == io::ErrorKind::TimedOut
            && phase.kind() == HEAD
        {
            self.refuse_late_head(cx);
            return Poll::Ready(done);
        }
        let read = buf.filled().get(before..).unwrap_or_default();
        if !read.is_empty() && (phase.kind() == IDLE || !*is_used) {
            phase.head();
            (*is_used, *is_tls, *unframed) = (true, read.starts_with(TLS_HANDSHAKE), None);
        }
        if phase.kind() == HEAD {
            *unframed = unframed_by(read).or(unframed.take());
        }
        Poll::Ready(done)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Http1<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.replacement.is_none()
            && let Some(bytes) = self.replacement_of(buf)
        {
            self.replacement = Some(Replacement { bytes, written: 0, replaces: buf.len() });
        }
        let Http1 { io, replacement, .. } = &mut *self;
        while let Some(ours) = replacement {
            let rest = ours.bytes.get(ours.written..).unwrap_or_default();
            if rest.is_empty() {
                let replaces = ours.replaces;
                *replacement = None;
                return Poll::Ready(Ok(replaces));
            }
            let n = ready!(Pin::new(&mut *io).poll_write(cx, rest))?;
            ours.written = ours.written.saturating_add(n);
        }
        Pin::new(io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// The Transfer-Encoding of a head that does not end in chunked, so that nobody knows where the body ends.
fn unframed_by(head: &[u8]) -> Option<String> {
    let mut lines = head.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).take_while(|line| !line.is_empty());
    lines.find_map(|line| {
        let (name, value) = line.split_at_checked(TRANSFER_ENCODING.as_str().len())?;
        let value =
            value.strip_prefix(b":").filter(|_| name.eq_ignore_ascii_case(TRANSFER_ENCODING.as_str().as_bytes()))?;
        let is_last = |coding: &[u8]| coding.trim_ascii().eq_ignore_ascii_case(CHUNKED.as_bytes());
        let is_framed = value.rsplit(|byte| *byte == b',').next().is_some_and(is_last);
        (!is_framed).then(|| String::from_utf8_lossy(value.trim_ascii()).into_owned())
    })
}
