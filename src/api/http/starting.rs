//! Answers while the log is being opened, before anything can be served: that the process is alive, how far the start
//! is, and that callers have to try again.

use super::asked::Asked;
use super::begin::{Rewound, Version, version};
use super::dispatch::Respond as _;
use super::line::ConnectionState;
use super::reply::{Problem, Reply};
use super::server::ACCEPT_PAUSE;
use super::stream::{self, SPEAK_TLS, Stream};
use super::{health, http2};
use crate::api::grpc::{self, status::GrpcReply};
use crate::api::problem::RequestFault;
use crate::api::trace::of_caller;
use crate::limits::{HTTP_HEAD_TIMEOUT_MS, HTTP_KEPT_WAIT_MS, STARTING_CONNECTIONS_MAX};
use crate::log::Opening;
use crate::service::Code;
use crate::tls;
use crate::trace::Tracing;
use axum::BoxError;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Longest time that a connection gets here, for one request.
const LIMIT: Duration = Duration::from_millis(HTTP_HEAD_TIMEOUT_MS);
/// Longest wait for its first byte: some callers connect before they have anything to ask, and probes need their slots.
const SILENT: Duration = Duration::from_millis(HTTP_KEPT_WAIT_MS);

/// Answers requests until `work` is done, and returns its result. Connections that then wait to be accepted are left
/// for the server that listens next.
pub async fn starting<T>(
    listener: &TcpListener,
    opening: &Arc<Opening>,
    tracing: &Arc<Tracing>,
    tls: Option<&Arc<tls::Server>>,
    work: impl Future<Output = T>,
) -> T {
    let slots = Arc::new(Semaphore::new(STARTING_CONNECTIONS_MAX));
    let mut work = pin!(work);
    loop {
        let accepted = tokio::select! {
            biased;
            done = &mut work => return done,
            accepted = accept(listener, &slots) => accepted,
        };
        if let Some((stream, slot)) = accepted {
            let served = connection(stream, Arc::clone(opening), Arc::clone(tracing), tls.cloned());
            tokio::spawn(async move {
                // A caller that breaks off or takes too long loses nothing here.
                let _ = timeout(LIMIT, served).await;
                drop(slot);
            });
        }
    }
}

pub(super) async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await.ok()?;
    if let Ok((stream, _)) = listener.accept().await {
        return Some((stream, slot));
    }
    let _ = timeout(ACCEPT_PAUSE, std::future::pending::<()>()).await;
    None
}

/// Waits for the caller's first byte, which stays unread; answers whether it can be one of TLS.
pub(super) async fn begun(stream: &TcpStream) -> Result<bool, BoxError> {
    Ok(timeout(SILENT, stream::speaks_tls(stream)).await??)
}

async fn connection(
    stream: TcpStream,
    opening: Arc<Opening>,
    tracing: Arc<Tracing>,
    tls: Option<Arc<tls::Server>>,
) -> Result<(), BoxError> {
    let speaks_tls = begun(&stream).await?;
    let mut io = match &tls {
        Some(tls) if speaks_tls => stream::accept(tls, stream).await?,
        _ => Stream::Plain(stream),
    };
    let answered = Arc::new(Notify::new());
    let is_answered = Arc::clone(&answered);
    let lacks_tls = tls.is_some() && matches!(io, Stream::Plain(_));
    let service = service_fn(move |request: Request<Incoming>| {
        let trace_id = tracing.enter(of_caller(request.headers())).to_string();
        let response = match request.uri().path() {
            _ if lacks_tls => refused(&request, Problem::fault(RequestFault::TlsRequired, SPEAK_TLS), &trace_id),
            "/livez" => Reply::respond(Ok(health::alive()), &trace_id).0,
            "/readyz" | "/startupz" => Reply::respond(Ok(health::opening(&opening)), &trace_id).0,
            _ => {
                let detail = "the log is being opened: /startupz says how far that is";
                refused(&request, Problem::of(Code::Restoring, detail), &trace_id)
            }
        };
        let (_, mut asked) = Asked::of(request);
        let answered = Arc::clone(&answered);
        async move {
            asked.rest().await;
            answered.notify_one();
            Ok::<_, Infallible>(response)
        }
    });
    let (version, start) = version(&mut io, &ConnectionState::default()).await?;
    let io = TokioIo::new(Rewound::new(io, start));
    match version {
        Version::Http1 => http1::Builder::new().keep_alive(false).serve_connection(io, service).await?,
        Version::Http2 => {
            let mut serving = pin!(http2::builder(TokioExecutor::new()).serve_connection(io, service));
            tokio::select! {
                ended = &mut serving => return Ok(ended?),
                () = is_answered.notified() => {}
            }
            // A caller that kept the connection would be refused on it after the log is open.
            serving.as_mut().graceful_shutdown();
            serving.await?;
        }
    }
    Ok(())
}

/// The refusal in the protocol of the caller.
fn refused<B>(request: &Request<B>, problem: Problem, trace_id: &str) -> Response<Body> {
    if grpc::is_call(request) {
        GrpcReply::respond(Err(problem), trace_id).0
    } else {
        Reply::respond(Err(problem), trace_id).0
    }
}
