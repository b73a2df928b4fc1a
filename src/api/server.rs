//! The accept loop: how many connections, for how long, and how they end.

use super::request::Peer;
use super::socket::{Phase, Socket};
use super::{Api, State, routes};
use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
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

/// Serves until `shutdown`. Then no new connection is taken, and those that are open are served on for a bounded time, each
/// until its next answer; then no call is taken, and those in flight are answered, for a bounded time.
pub async fn serve(listener: TcpListener, state: State, shutdown: impl Future<Output = ()>) {
    let limits = state.limits;
    let api = Api::new(state);
    let router = routes(Arc::clone(&api));
    let places = Arc::new(Semaphore::new(limits.connections));
    let graceful = GracefulShutdown::new();
    let begin = |(stream, peer, place)| {
        let connection = graceful.watch(connection(stream, peer, &api, &router));
        let api = Arc::clone(&api);
        tokio::spawn(async move {
            let _open = Open::new(&api, place);
            if let Err(error) = connection.await {
                tracing::debug!(%peer, %error, "a connection broke");
            }
        });
    };
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut shutdown => break,
            accepted = accept(&listener, &places) => accepted,
        };
        accepted.into_iter().for_each(begin);
    }
    api.gateway().leave();
    // Who has connected already may have sent a call.
    while let Ok(Some(accepted)) = timeout(Duration::ZERO, accept(&listener, &places)).await {
        begin(accepted);
    }
    drop(listener);
    // Every place is free when no connection is left; one that is silent for so long is not used.
    let all = u32::try_from(limits.connections).unwrap_or(u32::MAX);
    let _ = timeout(limits.leave, places.acquire_many(all)).await;
    api.gateway().close();
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
    let (router, leaving) = (router.clone(), Arc::clone(api));
    let service = service_fn(move |mut request: Request<Incoming>| {
        phase.busy();
        request.extensions_mut().insert(Peer(peer.ip()));
        let (phase, api, mut router) = (Arc::clone(&phase), Arc::clone(&leaving), router.clone());
        async move {
            let mut response = router.call(request).await;
            if api.gateway().is_leaving()
                && let Ok(response) = &mut response
            {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Finished, Limits, Metrics};
    use crate::gateway::Gateway;
    use crate::gateway::admission::Shed;
    use crate::log::{AppendError, CommandSink, CommittedTail, LogError, NewCommand, StoredEvent};
    use crate::replica::Replica;
    use crate::time::SystemClock;
    use std::io::{Read, Write};

    /// Keeps the codes of what was answered.
    #[derive(Default)]
    struct Heard(parking_lot::Mutex<Vec<(u16, &'static str)>>);

    impl Metrics for Heard {
        fn request_finished(&self, finished: &Finished) {
            self.0.lock().push((finished.status, finished.code));
        }

        fn shed(&self, _: Shed) {}

        fn connected(&self) {}

        fn disconnected(&self) {}

        fn render(&self) -> String {
            String::new()
        }
    }

    struct NoLog;

    impl CommandSink for NoLog {
        fn append(&self, _: NewCommand<'_>) -> Result<(), AppendError> {
            Err(AppendError::Closed)
        }

        fn waiting(&self, _: u32) -> usize {
            0
        }

        fn stalled(&self, _: u32) -> Duration {
            Duration::ZERO
        }
    }

    impl CommittedTail for NoLog {
        fn partitions(&self) -> u32 {
            1
        }

        fn end(&self, _: u32) -> Result<u64, LogError> {
            panic!("planted")
        }

        fn read(&self, _: u32, _: u64, _: usize) -> Result<Vec<StoredEvent>, LogError> {
            Ok(Vec::new())
        }
    }

    /// Serves with these limits while `caller` runs.
    fn serving(limits: Limits, caller: impl FnOnce(SocketAddr, &Heard) + Send + 'static) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let (log, metrics) = (Arc::new(NoLog), Arc::new(Heard::default()));
            let (replica, clock) = (Arc::new(Replica::new(1)), Arc::new(SystemClock::new()));
            let gateway = Arc::new(Gateway::new(1, 250, log.clone(), log.clone(), replica, clock));
            let state = State::new(gateway, log, metrics.clone(), 7).limits(limits);
            let calls = tokio::task::spawn_blocking(move || caller(address, &metrics));
            serve(listener, state, async { calls.await.unwrap() }).await;
        });
    }

    fn connect(address: SocketAddr) -> std::net::TcpStream {
        let stream = std::net::TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream
    }

    fn all(mut stream: std::net::TcpStream) -> String {
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn an_idle_connection_ends_without_a_word_and_a_slow_head_with_one() {
        let limit = Duration::from_millis(50);
        serving(Limits { idle_timeout: limit, head_timeout: limit, ..Limits::default() }, |address, metrics| {
            let mut silent = connect(address);
            assert_eq!(all(silent.try_clone().unwrap()), "");
            let _ = silent.write(b"x");
            let mut used = connect(address);
            used.write_all(b"GET /livez HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
            let told = all(used);
            assert!(told.starts_with("HTTP/1.1 200 OK") && told.ends_with("{}}"), "{told}");
            let mut slow = connect(address);
            slow.write_all(b"GET /livez").unwrap();
            let told = all(slow);
            assert!(told.starts_with("HTTP/1.1 408 Request Timeout") && told.contains("head_timeout"), "{told}");
            assert_eq!(*metrics.0.lock(), [(200, "ok"), (408, "head_timeout")]);
        });
    }

    #[test]
    fn no_more_connections_are_served_than_may() {
        serving(Limits { connections: 1, ..Limits::default() }, |address, _| {
            let mut first = connect(address);
            first.write_all(b"GET /livez HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
            let mut chunk = [0; 1024];
            assert!(first.read(&mut chunk).unwrap() > 0);
            let mut second = connect(address);
            second.write_all(b"GET /livez HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").unwrap();
            second.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
            assert!(second.read(&mut chunk).is_err(), "served beside the first");
            drop(first);
            second.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            assert!(all(second).starts_with("HTTP/1.1 200 OK"));
        });
    }

    #[test]
    fn a_panic_is_one_answer_and_the_connection_goes_on() {
        serving(Limits::default(), |address, _| {
            let mut stream = connect(address);
            stream.write_all(b"GET /internal/log HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
            stream.write_all(b"GET /livez HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").unwrap();
            let told = all(stream);
            assert!(told.starts_with("HTTP/1.1 500 ") && told.contains("\"code\":\"internal\""), "{told}");
            assert!(told.contains("HTTP/1.1 200 OK"), "{told}");
        });
    }
}
