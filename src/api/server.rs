//! The accept loop: how many connections, for how long, and how they end.

use super::request::Peer;
use super::socket::{Phase, Socket};
use super::{Api, State, routes};
use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::{GracefulConnection, GracefulShutdown};
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tower::Service;

/// How long the loop lets go when the system has no more file descriptors or memory to give.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until `shutdown`, then takes no more connections and lets calls in flight be answered, for a bounded time.
pub async fn serve(listener: TcpListener, state: State, shutdown: impl Future<Output = ()>) {
    let limits = state.limits;
    let api = Api::new(state);
    let router = routes(Arc::clone(&api));
    let places = Arc::new(Semaphore::new(limits.connections));
    let graceful = GracefulShutdown::new();
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut shutdown => break,
            accepted = accept(&listener, &places) => accepted,
        };
        if let Some((stream, peer, place)) = accepted {
            let connection = connection(stream, peer, &api, &router);
            let connection = graceful.watch(connection);
            let api = Arc::clone(&api);
            tokio::spawn(async move {
                let _open = Open::new(&api, place);
                if let Err(error) = connection.await {
                    tracing::debug!(%peer, %error, "a connection broke");
                }
            });
        }
    }
    drop(listener);
    if timeout(limits.shutdown, graceful.shutdown()).await.is_err() {
        tracing::warn!("some connections were still busy at the end of the time they get at shutdown");
    }
}

/// The next connection, when there is a place for it. `None`: this one came to nothing.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, peer)) => {
            // Answers are small and somebody waits for each.
            stream.set_nodelay(true).ok()?;
            Some((stream, peer, place))
        }
        Err(error) => {
            tracing::warn!(%error, "a connection could not be accepted");
            let _ = timeout(ACCEPT_PAUSE, std::future::pending::<()>()).await;
            None
        }
    }
}

fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    api: &Arc<Api>,
    router: &Router,
) -> impl GracefulConnection<Error = hyper::Error> + Send + 'static {
    let phase = Arc::new(Phase::default());
    let socket = Socket::new(stream, Arc::clone(api), Arc::clone(&phase));
    let router = router.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        phase.busy();
        request.extensions_mut().insert(Peer(peer.ip()));
        let (phase, mut router) = (Arc::clone(&phase), router.clone());
        async move {
            let response = router.call(request).await;
            phase.idle();
            response
        }
    });
    http1::Builder::new()
        .max_headers(api.limits.headers)
        .max_buf_size(api.limits.head_bytes)
        .serve_connection(TokioIo::new(socket), service)
}

/// A connection's place, counted for as long as it is taken.
struct Open<'a> {
    api: &'a Api,
    _place: OwnedSemaphorePermit,
}

impl Open<'_> {
    fn new(api: &Api, place: OwnedSemaphorePermit) -> Open<'_> {
        api.state.metrics.connected();
        Open { api, _place: place }
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.api.state.metrics.disconnected();
    }
}
