//! How a connection begins: which HTTP it speaks.

use super::line::{ConnectionState, IDLE};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// What a caller that speaks HTTP/2 sends first (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Most bytes that are read before the version is known. Most requests have come whole then.
const START_BYTES: usize = 8 << 10;

/// The versions that are spoken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Version {
    Http1,
    Http2,
}

/// Reads until the version is known; answers it with what was read. A caller that sends nothing useful counts as one of
/// HTTP/1, which has a refusal for it.
///
/// # Errors
/// Those of the connection before its first byte.
pub async fn version(io: &mut (impl AsyncRead + Unpin), line: &ConnectionState) -> io::Result<(Version, Vec<u8>)> {
    let mut start = Vec::with_capacity(START_BYTES);
    loop {
        let n = match io.read_buf(&mut start).await {
            Err(error) if start.is_empty() => return Err(error),
            read => read.unwrap_or_default(),
        };
        if n > 0 && line.phase.kind() == IDLE {
            line.phase.head();
        }
        if start.starts_with(PREFACE) {
            return Ok((Version::Http2, start));
        }
        if n == 0 || !PREFACE.starts_with(&start) {
            return Ok((Version::Http1, start));
        }
    }
}

/// A connection from which something has been read that has to be read again.
pub struct Rewound<S> {
    start: io::Cursor<Vec<u8>>,
    io: S,
}

impl<S> Rewound<S> {
    pub fn new(io: S, start: Vec<u8>) -> Rewound<S> {
        Rewound { start: io::Cursor::new(start), io }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Rewound<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Rewound { start, io } = &mut *self;
        if start.get_ref().is_empty() {
            return Pin::new(io).poll_read(cx, buf);
        }
        let read = Pin::new(&mut *start).poll_read(cx, buf);
        if start.position() >= start.get_ref().len() as u64 {
            *start = io::Cursor::default();
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Rewound<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
