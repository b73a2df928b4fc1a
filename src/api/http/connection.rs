//! Serves one connection: its handshake, its version of HTTP, and its requests until it ends.

use super::Api;
use super::asked::Asked;
use super::begin::{Rewound, Version, version};
use super::health::PROBES;
use super::http1::Http1;
use super::http2;
use super::idle_frames;
use super::line::{ConnectionState, HEAD};
use super::one_task::{Arrivals, OneTask};
use super::receive::{Certificate, Crowded, Hurried, Peer};
use super::slots::ConnectionSlot;
use super::socket::{Socket, Waits, has_unread, linger};
use super::stream::{self, Stream};
use crate::limits::HTTP_KEPT_WAIT_MS;
use axum::body::Body;
use axum::{BoxError, Router};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONNECTION, HOST, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tower::Service as _;

/// How much longer than a stream its connection waits for a part of an answer to be taken. A stream whose answer is not at its
/// end is given up alone, because other callers may share the connection.
const AFTER_STREAM: Duration = Duration::from_secs(1);

/// What the requests of one connection share.
#[derive(Clone)]
pub(super) struct Caller {
    slot: Arc<ConnectionSlot>,
    api: Arc<Api>,
    router: Router,
    peer: SocketAddr,
    /// What its client certificate says, if it showed one.
    certificate: Option<Certificate>,
}

impl Caller {
    /// The caller behind a connection, whose certificate is not known yet.
    pub(super) fn new(slot: Arc<ConnectionSlot>, api: Arc<Api>, router: Router, peer: SocketAddr) -> Caller {
        Caller { slot, api, router, peer, certificate: None }
    }

    /// Answers a request.
    async fn answer<B>(&mut self, mut request: Request<B>) -> Response<Body>
    where
        B: hyper::body::Body<Data = Bytes, Error = hyper::Error> + Send + 'static,
    {
        request.extensions_mut().insert(Peer(self.peer.ip()));
        if let Some(certificate) = &self.certificate {
            request.extensions_mut().insert(certificate.clone());
        }
        if self.slot.is_kept {
            let is_probe = PROBES.contains(&request.uri().path());
            let extensions = request.extensions_mut();
            if is_probe {
                extensions.insert(Hurried);
            } else {
                extensions.insert(Crowded);
            }
        }
        match self.router.call(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }

    /// Whether the answer that was just made is the last one of the connection.
    fn is_last(&self) -> bool {
        self.slot.is_kept || self.slot.line.is_told() || self.api.service().is_leaving()
    }
}

/// Serves a connection to its end.
///
/// # Errors
/// What the connection broke off with.
pub(super) async fn serve(stream: TcpStream, caller: Caller) -> Result<(), BoxError> {
    let (slot, api) = (Arc::clone(&caller.slot), Arc::clone(&caller.api));
    let stream = Arc::new(stream);
    let ended = served(&stream, caller).await;
    for receipt in slot.line.untold() {
        api.service().take_back(receipt);
    }
    // A connection that had to make room is closed at once.
    if !slot.line.is_told() || api.service().is_leaving() {
        linger(&stream).await;
    }
    ended
}

async fn served(stream: &Arc<TcpStream>, mut caller: Caller) -> Result<(), BoxError> {
    let (slot, limits) = (Arc::clone(&caller.slot), caller.api.limits);
    let short = Duration::from_millis(HTTP_KEPT_WAIT_MS);
    let (head, idle) = if slot.is_kept { (short, short) } else { (limits.head_timeout, limits.idle_timeout) };
    let waits = Waits { head, idle, answer: limits.answer_timeout.saturating_add(AFTER_STREAM) };
    let socket = Socket::new(Arc::clone(stream), Arc::clone(&slot), waits);
    let Some(mut io) = begun(socket, stream, &caller).await? else { return Ok(()) };
    caller.certificate = io.certificate().map(|der| Certificate(caller.api.state.access.of_certificate(der)));
    match first(&mut io, stream, &slot.line).await? {
        None => Ok(()),
        Some((Version::Http1, start)) => {
            let io = Http1::new(Rewound::new(io, start), Arc::clone(&caller.api), caller.peer.ip(), slot);
            Ok(http1(io, stream, caller).await?)
        }
        Some((Version::Http2, start)) => {
            slot.line.share();
            slot.waits();
            Ok(http2(idle_frames::counted(Rewound::new(io, start), slot), caller).await?)
        }
    }
}

/// The connection, after the handshake if TLS is spoken; `None` when it ends before that.
async fn begun(socket: Socket, stream: &TcpStream, caller: &Caller) -> io::Result<Option<Stream<Socket>>> {
    let Caller { api, slot, peer, .. } = caller;
    let Some(tls) = &api.state.tls else { return Ok(Some(Stream::Plain(socket))) };
    let shake = async {
        if stream::speaks_tls(stream).await? {
            return stream::accept(tls, socket).await.map(Some);
        }
        let mut socket = socket;
        socket.write_all(&stream::speak_tls(api, peer.ip())).await.map(|()| None)
    };
    tokio::select! {
        shaken = timeout(api.limits.handshake_timeout, shake) => shaken.unwrap_or(Err(io::ErrorKind::TimedOut.into())),
        () = slot.line.told() => Ok(None),
    }
}

/// The version of HTTP and the first bytes; `None` when the connection was told to end before there were any.
async fn first(
    io: &mut (impl AsyncRead + Unpin),
    stream: &TcpStream,
    line: &ConnectionState,
) -> io::Result<Option<(Version, Vec<u8>)>> {
    let mut version = pin!(version(io, line));
    tokio::select! {
        version = &mut version => version.map(Some),
        // A request that has been sent already is answered before the connection ends.
        () = line.told() => if has_unread(stream) { version.await.map(Some) } else { Ok(None) },
    }
}

async fn http1(io: impl AsyncRead + AsyncWrite + Unpin, stream: &TcpStream, caller: Caller) -> hyper::Result<()> {
    let (limits, slot) = (caller.api.limits, Arc::clone(&caller.slot));
    let service = service_fn(move |request: Request<Incoming>| {
        caller.slot.line.phase.busy();
        let mut caller = caller.clone();
        let (request, mut asked) = Asked::of(request);
        async move {
            let mut response = caller.answer(request).await;
            let is_read = asked.rest().await;
            if let Some(receipt) = response.extensions_mut().remove() {
                // Its first byte settles it.
                caller.slot.line.owe(receipt, u64::MAX);
            }
            if !is_read || caller.is_last() {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            caller.slot.waits();
            Ok::<_, Infallible>(response)
        }
    });
    let mut serving = pin!(
        http1::Builder::new()
            .max_headers(limits.headers)
            .max_buf_size(limits.head_bytes)
            .half_close(true)
            .serve_connection(TokioIo::new(io), service)
    );
    tokio::select! {
        // What has been read already is looked at first.
        biased;
        ended = &mut serving => ended,
        () = slot.line.told() => match slot.line.phase.kind() {
            // A request that has been sent already is answered before the connection ends.
            _ if has_unread(stream) => serving.await,
            // A caller that sent only a part of a request for so long gets no answer.
            HEAD => Ok(()),
            _ => {
                serving.as_mut().graceful_shutdown();
                serving.await
            }
        }
    }
}

async fn http2(io: impl AsyncRead + AsyncWrite + Unpin, caller: Caller) -> hyper::Result<()> {
    let slot = Arc::clone(&caller.slot);
    let arrivals = Arrivals::default();
    let mut requests = OneTask::new(arrivals.clone());
    let executor = arrivals.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        let (mut caller, stream) = (caller.clone(), http2::Stream::open(&caller.slot, &caller.api));
        arrivals.end_next(stream.stalls());
        authority(&mut request);
        let (request, mut asked) = Asked::of(request);
        async move {
            let response = caller.answer(request).await;
            asked.rest().await;
            if caller.is_last() {
                caller.slot.line.tell();
            }
            Ok::<_, Infallible>(stream.answer(response, asked))
        }
    });
    let mut serving = pin!(http2::builder(executor).serve_connection(TokioIo::new(io), service));
    loop {
        tokio::select! {
            ended = poll_fn(|cx| requests.poll(serving.as_mut(), cx)) => return ended,
            () = slot.line.told() => {
                if slot.line.is_cut() {
                    return Ok(());
                }
                // Requests that the caller sent before it knows of the end are answered.
                serving.as_mut().graceful_shutdown();
            }
        }
    }
}

/// HTTP/2 names the host in a part of the target. It is checked where HTTP/1 has it, in the header.
fn authority(request: &mut Request<Incoming>) {
    if !request.headers().contains_key(HOST)
        && let Some(authority) = request.uri().authority()
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        request.headers_mut().insert(HOST, host);
    }
}
