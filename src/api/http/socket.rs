//! A connection's bytes, as they are sent: plain HTTP, or TLS. Here are the time limits of a connection, and the check
//! that somebody is still there for an answer that has reserved something.

use super::line::{BUSY, HEAD, IDLE};
use super::slots::ConnectionSlot;
use crate::limits::{HTTP_KNOCK_MS, HTTP_LINGER_MS};
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
/// How long a connection may take to end after it was told to, when nothing is left to be answered on it.
const LINGER: Duration = Duration::from_millis(HTTP_LINGER_MS);

/// How long a connection may take.
#[derive(Clone, Copy)]
pub struct Waits {
    /// For a request's head, from its first byte.
    pub head: Duration,
    /// Between two requests.
    pub idle: Duration,
    /// For the caller to take a part of an answer (HTTP/2).
    pub answer: Duration,
}

/// A connection with its time limits.
pub struct Socket {
    stream: Arc<TcpStream>,
    place: Arc<ConnectionSlot>,
    waits: Waits,
    /// The phase seen last, and since when.
    seen: (u64, Instant),
    /// One timer for the connection's whole life: it may ring early and is then set again, which costs a busy
    /// connection nothing.
    timer: Option<Pin<Box<Sleep>>>,
    knock: Option<Knock>,
}

/// Tells whether the caller has hung up.
type Knock = Pin<Box<dyn Future<Output = bool> + Send>>;

impl Socket {
    pub fn new(stream: Arc<TcpStream>, place: Arc<ConnectionSlot>, waits: Waits) -> Socket {
        let seen = (place.line.phase.mark(), Instant::now());
        Socket { stream, place, waits, seen, timer: None, knock: None }
    }

    /// Pending, or the error of a time limit that has passed.
    fn wait<T>(&mut self, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        let Some(due) = self.due() else { return Poll::Pending };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if timer.deadline() > due {
            timer.as_mut().reset(due);
        }
        while timer.as_mut().poll(context).is_ready() {
            if timer.deadline() >= due {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            timer.as_mut().reset(due);
        }
        Poll::Pending
    }

    /// When the connection's time is over, if nothing happens.
    fn due(&mut self) -> Option<Instant> {
        let line = &self.place.line;
        let (kind, mark) = (line.phase.kind(), line.phase.mark());
        if self.seen.0 != mark {
            self.seen = (mark, Instant::now());
        }
        let is_shared = line.is_shared();
        let limit = match kind {
            HEAD => Some(self.waits.head),
            IDLE if is_shared && line.is_told() => Some(LINGER.min(self.waits.idle)),
            IDLE => Some(self.waits.idle),
            _ => None,
        };
        let quiet = limit.and_then(|limit| self.seen.1.checked_add(limit));
        let stalled = line.stalled_since().filter(|_| is_shared);
        let stalled = stalled.and_then(|since| since.checked_add(self.waits.answer));
        quiet.into_iter().chain(stalled).min()
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.stream.poll_read_ready(cx)?.is_pending() {
                return self.wait(cx);
            }
            match self.stream.try_read_buf(buf) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done.map(drop)),
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
        if !self.place.line.is_shared()
            && let Some(knocked) = self.knock(cx, buf)
        {
            return knocked;
        }
        match self.write(cx, buf) {
            Poll::Pending => self.wait(cx),
            Poll::Ready(done) => {
                let line = &self.place.line;
                if let Ok(bytes) = &done {
                    line.wrote(*bytes);
                    if !line.is_shared() {
                        line.settle();
                    }
                }
                Poll::Ready(done)
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.place.line.is_shared() {
            self.place.line.settle();
        }
        // hyper does not read again after an answer until something wakes it: the idle limit has to.
        match self.place.line.phase.kind() {
            BUSY | HEAD => Poll::Ready(Ok(())),
            _ => match self.wait(cx) {
                Poll::Ready(late) => Poll::Ready(late),
                Poll::Pending => Poll::Ready(Ok(())),
            },
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A caller that has gone already does not need this.
        let _ = SockRef::from(&*self.stream).shutdown(Shutdown::Write);
        Poll::Ready(Ok(()))
    }
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
    let _ = tokio::time::timeout(LINGER, read).await;
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
