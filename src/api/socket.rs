//! A connection's bytes. hyper speaks HTTP over it; here is what hyper leaves to us: the time a head may take, the time
//! a connection may idle, and a body in the answers that hyper gives by itself to what is not HTTP.

use super::Api;
use super::problem::Edge;
use super::reply::Problem;
use super::{Finished, Limits};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};

/// What a connection is doing, as far as its time limits go. Shared with the service that answers its requests.
#[derive(Default)]
pub struct Phase(AtomicU8);

/// Between two requests, and before the first: callers open connections before they need them.
const IDLE: u8 = 0;
const HEAD: u8 = 1;
const BUSY: u8 = 2;

impl Phase {
    /// A request has been read and is being answered.
    pub fn busy(&self) {
        self.0.store(BUSY, Relaxed);
    }

    /// Its answer is on its way.
    pub fn idle(&self) {
        self.0.store(IDLE, Relaxed);
    }

    fn head(&self) {
        self.0.store(HEAD, Relaxed);
    }

    fn get(&self) -> u8 {
        self.0.load(Relaxed)
    }
}

/// A connection with its time limits.
pub struct Socket {
    stream: TcpStream,
    api: Arc<Api>,
    phase: Arc<Phase>,
    /// The phase seen last, and since when.
    seen: (u8, Instant),
    /// One timer for the connection's whole life: it may ring early and is then set again, which costs a busy
    /// connection nothing.
    timer: Option<Pin<Box<Sleep>>>,
    replacement: Option<Replacement>,
}

/// An answer of ours on its way in place of one of hyper's.
struct Replacement {
    bytes: Vec<u8>,
    written: usize,
    replaces: usize,
}

impl Socket {
    pub fn new(stream: TcpStream, api: Arc<Api>, phase: Arc<Phase>) -> Socket {
        Socket { stream, api, phase, seen: (IDLE, Instant::now()), timer: None, replacement: None }
    }

    /// Pending, or the error of a time limit that has passed.
    fn wait<T>(&mut self, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        let phase = self.phase.get();
        if self.seen.0 != phase {
            self.seen = (phase, Instant::now());
        }
        let limits = &self.api.limits;
        let limit = match phase {
            HEAD => limits.head_timeout,
            IDLE => limits.idle_timeout,
            _ => return Poll::Pending,
        };
        let Some(due) = self.seen.1.checked_add(limit) else { return Poll::Pending };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if timer.deadline() > due {
            timer.as_mut().reset(due);
        }
        while timer.as_mut().poll(context).is_ready() {
            if timer.deadline() >= due {
                if phase == HEAD {
                    self.refuse_late_head();
                }
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            timer.as_mut().reset(due);
        }
        Poll::Pending
    }

    /// Whoever is slow by accident is told so, if that can be done at once; the connection ends either way.
    fn refuse_late_head(&mut self) {
        let ms = self.api.limits.head_timeout.as_millis();
        let bytes = self.refusal(Edge::HeadTimeout, &format!("the head was not here after {ms} ms: send it faster"));
        let _ = self.stream.try_write(&bytes);
    }

    /// A whole response, for a request that never became one.
    fn refusal(&self, edge: Edge, detail: &str) -> Vec<u8> {
        let case = edge.case();
        self.api.state.metrics.request_finished(&Finished {
            route: "(none)",
            method: "OTHER",
            status: case.status,
            code: case.code,
            took_us: 0,
        });
        let request_id = self.api.request_id(self.api.next_number());
        let body = Problem::edge(edge, detail.to_owned()).body(&request_id);
        let reason = axum::http::StatusCode::from_u16(case.status).ok().and_then(|s| s.canonical_reason());
        let mut bytes = format!(
            "HTTP/1.1 {} {}\r\ncontent-type: application/problem+json\r\nx-request-id: {request_id}\r\n\
             connection: close\r\ncontent-length: {}\r\n\r\n",
            case.status,
            reason.unwrap_or_default(),
            body.len()
        )
        .into_bytes();
        bytes.extend_from_slice(&body);
        bytes
    }

    /// Ours for the empty answer that hyper gives when a head cannot be parsed. None of our own 4xx are empty.
    fn replacement_of(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let status = bytes.strip_prefix(b"HTTP/1.1 ").or_else(|| bytes.strip_prefix(b"HTTP/1.0 "))?;
        let head = bytes.get(..bytes.len().min(256))?;
        let is_empty = |needle: &[u8]| head.windows(needle.len()).any(|window| window == needle);
        if !status.starts_with(b"4") || !is_empty(b"content-length: 0\r\n") {
            return None;
        }
        match status.get(..3)? {
            b"400" => {
                Some(self.refusal(
                    Edge::BadRequest,
                    "the head cannot be read as HTTP/1.1: see RFC 9112 for how it is written",
                ))
            }
            b"414" => Some(
                self.refusal(Edge::UriTooLong, "the target is longer than is read: move what it says into the body"),
            ),
            b"431" => {
                let Limits { head_bytes, headers, .. } = self.api.limits;
                let detail = format!("the head has more than {head_bytes} bytes or {headers} fields: send less");
                Some(self.refusal(Edge::HeadTooLarge, &detail))
            }
            _ => None,
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        match Pin::new(&mut self.stream).poll_read(cx, buf) {
            Poll::Ready(result) => {
                if buf.filled().len() > before && self.phase.get() == IDLE {
                    self.phase.head();
                    self.seen = (HEAD, Instant::now());
                }
                Poll::Ready(result)
            }
            Poll::Pending => self.wait(cx),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.replacement.is_none()
            && let Some(bytes) = self.replacement_of(buf)
        {
            self.replacement = Some(Replacement { bytes, written: 0, replaces: buf.len() });
        }
        while let Some(mut ours) = self.replacement.take() {
            let rest = ours.bytes.get(ours.written..).unwrap_or_default();
            if rest.is_empty() {
                return Poll::Ready(Ok(ours.replaces));
            }
            let poll = Pin::new(&mut self.stream).poll_write(cx, rest);
            if let Poll::Ready(Ok(n)) = &poll {
                ours.written = ours.written.saturating_add(*n);
            }
            self.replacement = Some(ours);
            match poll {
                Poll::Ready(result) => drop(result?),
                Poll::Pending => return self.wait(cx),
            }
        }
        match Pin::new(&mut self.stream).poll_write(cx, buf) {
            Poll::Pending => self.wait(cx),
            ready => ready,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        // hyper does not read again after an answer until something wakes it: the idle limit has to.
        match self.phase.get() {
            IDLE => match self.wait(cx) {
                Poll::Ready(late) => Poll::Ready(late),
                Poll::Pending => Poll::Ready(Ok(())),
            },
            _ => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
        Poll::Ready(Ok(()))
    }
}
