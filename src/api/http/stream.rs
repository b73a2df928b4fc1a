//! A connection with or without TLS.

use super::{Api, http1};
use crate::api::problem::RequestFault;
use crate::tls;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// The kind of record that TLS begins with.
const TLS_HANDSHAKE: u8 = 0x16;
/// What is said to a caller that speaks plain HTTP where TLS is taken.
pub const SPEAK_TLS: &str = "the caller speaks plain HTTP, and this address takes TLS: use https";

/// The bytes that HTTP is spoken over.
pub enum Stream<S> {
    Plain(S),
    Tls(Box<TlsStream<S>>),
}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream<S> {
    /// The client's certificate in DER, if it showed one.
    pub fn certificate(&self) -> Option<&[u8]> {
        match self {
            Stream::Plain(_) => None,
            Stream::Tls(tls) => Some(tls.get_ref().1.peer_certificates()?.first()?.as_ref()),
        }
    }
}

/// Waits for the caller's first byte, which stays unread; answers whether it can be one of TLS.
///
/// # Errors
/// The caller has left.
pub async fn speaks_tls(stream: &TcpStream) -> io::Result<bool> {
    let mut first = [0];
    match stream.peek(&mut first).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(first == [TLS_HANDSHAKE]),
    }
}

/// Begins TLS on a connection.
///
/// # Errors
/// What the caller offers or shows is refused, or it has left.
pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(tls: &tls::Server, io: S) -> io::Result<Stream<S>> {
    let accepted = TlsAcceptor::from(tls.config()).accept(io).await?;
    Ok(Stream::Tls(Box::new(accepted)))
}

/// The answer to a caller at this address that does not speak TLS.
pub fn speak_tls(api: &Api, peer: IpAddr) -> Vec<u8> {
    http1::refusal(api, peer, RequestFault::TlsRequired, SPEAK_TLS)
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Stream<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(io) => Pin::new(io).poll_read(cx, buf),
            Stream::Tls(io) => Pin::new(&mut **io).poll_read(cx, buf),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Stream<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(io) => Pin::new(io).poll_write(cx, buf),
            Stream::Tls(io) => Pin::new(&mut **io).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(io) => Pin::new(io).poll_flush(cx),
            Stream::Tls(io) => Pin::new(&mut **io).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(io) => Pin::new(io).poll_shutdown(cx),
            Stream::Tls(io) => Pin::new(&mut **io).poll_shutdown(cx),
        }
    }
}
