//! A connection's bytes. hyper speaks HTTP over it; here is what hyper leaves to us: the time a head may take, the time
//! a connection may idle, and a body for the answers that hyper itself gives to bytes that are not HTTP.

use super::Api;
use super::reply::Problem;
use super::request::{CHUNKED, wrong_coding};
use super::slots::{ConnectionSlot, HEAD, IDLE};
use super::{Finished, Limits};
use crate::api::problem::RequestFault;
use crate::limits::{HTTP_KNOCK_MS, HTTP_LINGER_MS};
use axum::http::header::TRANSFER_ENCODING;
use socket2::SockRef;
use std::future::Future;
use std::io;
use std::net::Shutdown;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};

/// Most reads of unwanted bytes, a kilobyte each, before a connection is closed anyway.
const LINGER_READS_MAX: usize = 256;

/// The detail for a head that is refused before it is known which line is wrong.
const NO_HEAD: &str = "the head cannot be read as HTTP/1.1: see RFC 9112 for how it is written, and for how Content-Length, \
                       or Transfer-Encoding with chunked at its end, says where the body ends";

/// A TLS record of the kind that opens a connection, of any version since SSL 3.
const TLS_HANDSHAKE: &[u8] = &[0x16, 0x03];
const SPEAK_PLAIN: &str =
    "the caller speaks TLS (https), and this address takes plain HTTP: use http, or a proxy that ends TLS";

/// How long a connection may take.
#[derive(Clone, Copy)]
pub struct Waits {
    /// For a request's head, from its first byte.
    pub head: Duration,
    /// Between two requests.
    pub idle: Duration,
}

/// A connection with its time limits.
pub struct Socket {
    stream: Arc<TcpStream>,
    api: Arc<Api>,
    place: Arc<ConnectionSlot>,
    waits: Waits,
    /// The phase seen last, and since when.
    seen: (u64, Instant),
    /// One timer for the connection's whole life: it may ring early and is then set again, which costs a busy
    /// connection nothing.
    timer: Option<Pin<Box<Sleep>>>,
    replacement: Option<Replacement>,
    knock: Option<Knock>,
    /// Whether the head that is read now begins as TLS does.
    is_tls: bool,
    /// The Transfer-Encoding of that head, if it leaves the body without an end.
    unframed: Option<String>,
}

/// Tells whether the caller has hung up.
type Knock = Pin<Box<dyn Future<Output = bool> + Send>>;

/// An answer of this service that replaces one of hyper's.
struct Replacement {
    bytes: Vec<u8>,
    written: usize,
    replaces: usize,
}

impl Socket {
    pub fn new(stream: Arc<TcpStream>, api: Arc<Api>, place: Arc<ConnectionSlot>, waits: Waits) -> Socket {
        let seen = (IDLE, Instant::now());
        Socket {
            stream,
            api,
            place,
            waits,
            seen,
            timer: None,
            replacement: None,
            knock: None,
            is_tls: false,
            unframed: None,
        }
    }

    /// Pending, or the error of a time limit that has passed.
    fn wait<T>(&mut self, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        let phase = self.place.line.phase.kind();
        if self.seen.0 != phase {
            self.seen = (phase, Instant::now());
        }
        let limit = match phase {
            HEAD => self.waits.head,
            IDLE => self.waits.idle,
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

    /// Tells a caller that its head was late, if that can be sent at once. The connection ends in any case.
    fn refuse_late_head(&mut self) {
        let ms = self.api.limits.head_timeout.as_millis();
        let bytes =
            self.refusal(RequestFault::HeadTimeout, &format!("the head was not here after {ms} ms: send it faster"));
        let _ = self.stream.try_write(&bytes);
    }

    /// A whole response, for a request that never became one.
    fn refusal(&self, fault: RequestFault, detail: &str) -> Vec<u8> {
        let case = fault.case();
        let trace_id = self.api.state.tracing.enter(None).to_string();
        self.api.state.metrics.request_finished(&Finished {
            route: "(none)",
            method: "OTHER",
            operation: None,
            principal: None,
            protocol: "HTTP/1.1",
            peer: None,
            status: case.status,
            code: case.code,
            title: case.title,
            trace_id: &trace_id,
            at: self.api.service().now(),
            took_us: 0,
            bytes: 0,
        });
        let body = Problem::fault(fault, detail.to_owned()).body(&trace_id);
        let reason = axum::http::StatusCode::from_u16(case.status).ok().and_then(|s| s.canonical_reason());
        let mut bytes = format!(
            "HTTP/1.1 {} {}\r\ncontent-type: application/problem+json\r\nx-request-id: {trace_id}\r\n\
             connection: close\r\ncontent-length: {}\r\n\r\n",
            case.status,
            reason.unwrap_or_default(),
            body.len()
        )
        .into_bytes();
        bytes.extend_from_slice(&body);
        bytes
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
        match status.get(..3)? {
            b"400" if self.is_tls => Some(self.refusal(RequestFault::TlsNotSpoken, SPEAK_PLAIN)),
            b"400" => Some(match &self.unframed {
                Some(said) => {
                    self.refusal(RequestFault::UnknownTransferCoding, &wrong_coding(&TRANSFER_ENCODING, said, CHUNKED))
                }
                None => self.refusal(RequestFault::BadRequest, NO_HEAD),
            }),
            b"414" => Some(self.refusal(
                RequestFault::UriTooLong,
                "the target is longer than is read: move what it says into the body",
            )),
            b"431" => {
                let Limits { head_bytes, headers, .. } = self.api.limits;
                let detail = format!("the head has more than {head_bytes} bytes or {headers} fields: send less");
                Some(self.refusal(RequestFault::HeadTooLarge, &detail))
            }
            _ => None,
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        loop {
            if self.stream.poll_read_ready(cx)?.is_pending() {
                return self.wait(cx);
            }
            match self.stream.try_read_buf(buf) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(n) => {
                    let phase = &self.place.line.phase;
                    let read = buf.filled().get(before..).unwrap_or_default();
                    if n > 0 && phase.kind() == IDLE {
                        phase.head();
                        self.is_tls = read.starts_with(TLS_HANDSHAKE);
                        self.unframed = None;
                        self.seen = (HEAD, Instant::now());
                    }
                    if self.seen.0 == HEAD {
                        self.unframed = unframed(read).or(self.unframed.take());
                    }
                    return Poll::Ready(Ok(()));
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl Socket {
    /// A caller that sends no more may still listen, or may have hung up. Nobody can tell before something is sent. So
    /// an answer that has reserved something begins with one byte. When the caller has hung up, that byte is refused,
    /// the answer counts as not sent, and the reservation is taken back. `None` means: write on.
    fn knock(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Option<Poll<io::Result<usize>>> {
        if !self.place.line.owes() {
            return None;
        }
        if self.knock.is_none() && sends_no_more(&self.stream) {
            let sent = self.write(cx, buf.get(..1)?);
            if let Poll::Ready(Ok(_)) = sent {
                self.knock = Some(Box::pin(turns_out_gone(Arc::clone(&self.stream))));
            }
            return Some(sent);
        }
        let is_gone = match self.knock.as_mut()?.as_mut().poll(cx) {
            Poll::Pending => return Some(Poll::Pending),
            Poll::Ready(is_gone) => is_gone,
        };
        self.knock = None;
        is_gone.then(|| Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())))
    }

    fn write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.stream.poll_write_ready(cx))?;
            match self.stream.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
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
            let poll = self.write(cx, rest);
            if let Poll::Ready(Ok(n)) = &poll {
                ours.written = ours.written.saturating_add(*n);
            }
            self.replacement = Some(ours);
            match poll {
                Poll::Ready(result) => drop(result?),
                Poll::Pending => return self.wait(cx),
            }
        }
        if let Some(knocked) = self.knock(cx, buf) {
            return knocked;
        }
        match self.write(cx, buf) {
            Poll::Pending => self.wait(cx),
            Poll::Ready(done) => {
                if done.is_ok() {
                    drop(self.place.line.settle());
                }
                Poll::Ready(done)
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // hyper does not read again after an answer until something wakes it: the idle limit has to.
        match self.place.line.phase.kind() {
            IDLE => match self.wait(cx) {
                Poll::Ready(late) => Poll::Ready(late),
                Poll::Pending => Poll::Ready(Ok(())),
            },
            _ => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A caller that has gone already does not need this.
        let _ = SockRef::from(&*self.stream).shutdown(Shutdown::Write);
        Poll::Ready(Ok(()))
    }
}

/// The Transfer-Encoding of a head that does not end in chunked, so that nobody knows where the body ends.
fn unframed(head: &[u8]) -> Option<String> {
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

/// Keeps reading for a moment after the last answer, so that the answer arrives. A connection that is closed with
/// unread bytes is reset, and the caller may lose the answer.
pub async fn linger(stream: &TcpStream) {
    let mut chunk = [0; 1 << 10];
    let read = async {
        for _ in 0..LINGER_READS_MAX {
            match stream.readable().await.and_then(|()| stream.try_read(&mut chunk)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
    };
    // Shutting down a second time does no harm.
    let _ = SockRef::from(stream).shutdown(Shutdown::Write);
    let _ = tokio::time::timeout(Duration::from_millis(HTTP_LINGER_MS), read).await;
}

/// Whether the other side has sent something that nobody has read yet.
pub fn has_unread(stream: &TcpStream) -> bool {
    unread(stream).is_ok_and(|n| n > 0)
}

/// Whether everything has been read that the other side will ever send.
fn sends_no_more(stream: &TcpStream) -> bool {
    unread(stream).is_ok_and(|n| n == 0)
}

/// How many bytes can be read, at most one: it is looked at and not taken.
fn unread(stream: &TcpStream) -> io::Result<usize> {
    SockRef::from(stream).peek(&mut [std::mem::MaybeUninit::uninit()])
}

/// Waits for a bounded time whether the byte that was sent is refused.
async fn turns_out_gone(stream: Arc<TcpStream>) -> bool {
    let refused = stream.ready(Interest::ERROR);
    tokio::time::timeout(Duration::from_millis(HTTP_KNOCK_MS), refused).await.is_ok()
}
