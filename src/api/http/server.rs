//! The accept loop: how many connections there are, and how they end.

use super::connection::{self, Caller};
use super::routes::routes;
use super::slots::ConnectionSlots;
use super::{Api, State};
use crate::limits::HTTP_NEWCOMERS_MS;
use axum::Router;
use socket2::{SockFilter, SockRef};
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// How long the loop pauses when the system has no file descriptors or memory left.
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Drops what would begin a connection (in a segment's 13th byte SYN is set, and ACK is not) and lets all else pass.
const NO_NEWCOMERS: [SockFilter; 5] = [
    SockFilter::new(0x30, 0, 0, 13),
    SockFilter::new(0x54, 0, 0, 0x12),
    SockFilter::new(0x15, 0, 1, 0x02),
    SockFilter::new(0x06, 0, 0, 0),
    SockFilter::new(0x06, 0, 0, u32::MAX),
];

/// Serves until `shutdown`. Then no new connection is accepted. Open connections are served for a bounded time, each
/// until its next answer. After that no call is taken, and calls in flight get a bounded time to be answered.
pub async fn serve(listener: TcpListener, state: State, shutdown: impl Future<Output = ()>) {
    let limits = state.limits;
    let api = Api::new(state);
    let router = routes(Arc::clone(&api));
    let slots = ConnectionSlots::new(limits.connections);
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut shutdown => break,
            accepted = accept(&listener) => accepted,
        };
        begin(accepted, &slots, &api, &router).await;
    }
    api.service().leave();
    for accepted in last(listener).await {
        begin(Some(accepted), &slots, &api, &router).await;
    }
    let _ = timeout(limits.leave, unused(&slots, limits.leave)).await;
    api.service().close();
    slots.end();
    if timeout(limits.shutdown, slots.empty()).await.is_err() {
        tracing::warn!("shutdown: some connections were still busy when their time was over");
    }
}

/// Ends unused connections: each when it has been silent for so long, and the time before this call counts. Returns
/// when no connection is left.
async fn unused(slots: &ConnectionSlots, silent: Duration) {
    let mut empty = pin!(slots.empty());
    while let Some(left) = slots.end_silent(silent) {
        if timeout(left, &mut empty).await.is_ok() {
            return;
        }
    }
    empty.await;
}

/// The next connection; `None` when it could not be accepted.
async fn accept(listener: &TcpListener) -> Option<(TcpStream, SocketAddr)> {
    match listener.accept().await {
        Ok(accepted) => Some(accepted),
        Err(error) => {
            tracing::warn!(%error, "a connection could not be accepted");
            let _ = timeout(ACCEPT_PAUSE, std::future::pending::<()>()).await;
            None
        }
    }
}

/// The connections that wait in the listener and may have sent a call. Closing the listener would reset them. So first
/// new connections are blocked, and then the listener is emptied, with some time for connections that are just being
/// made.
async fn last(listener: TcpListener) -> Vec<(TcpStream, SocketAddr)> {
    if let Err(error) = SockRef::from(&listener).attach_filter(&NO_NEWCOMERS) {
        tracing::debug!(%error, "new connections cannot be blocked: a caller that connects now may be reset");
    }
    let mut last = Vec::new();
    let arrive = async {
        loop {
            last.extend(accept(&listener).await);
        }
    };
    let _: Result<(), _> = timeout(Duration::from_millis(HTTP_NEWCOMERS_MS), arrive).await;
    let Ok(listener) = listener.into_std() else { return last };
    while let Ok((stream, peer)) = listener.accept() {
        let stream = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
        last.extend(stream.ok().map(|stream| (stream, peer)));
    }
    last
}

/// Serves a connection, as soon as there is a slot for it. It is closed when its address may not have another one.
async fn begin(
    accepted: Option<(TcpStream, SocketAddr)>,
    slots: &Arc<ConnectionSlots>,
    api: &Arc<Api>,
    router: &Router,
) {
    let Some((stream, peer)) = accepted else { return };
    // Answers are small, and a caller waits for each of them.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let Some(slot) = slots.taken(peer.ip()).await.map(Arc::new) else {
        return tracing::debug!(%peer, "a connection is closed: its address has as many as it may, and all are served");
    };
    let caller = Caller::new(Arc::clone(&slot), Arc::clone(api), router.clone(), peer);
    let api = Arc::clone(api);
    tokio::spawn(async move {
        let open = Open::new(&api);
        if let Err(error) = connection::serve(stream, caller).await {
            tracing::debug!(%peer, %error, "a connection broke");
        }
        drop((open, slot));
    });
}

/// A connection, counted for as long as it is open.
struct Open<'a>(&'a Api);

impl Open<'_> {
    fn new(api: &Api) -> Open<'_> {
        api.state.metrics.connected();
        Open(api)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.state.metrics.disconnected();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::http::{Bounds, Finished, Limits, Metrics, Process};
    use crate::service::{Service, Shed};
    use crate::trace::Tracing;
    use std::io::{Read, Write};
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    /// Keeps the codes of all answers.
    #[derive(Default)]
    struct Heard(parking_lot::Mutex<Vec<(u16, &'static str)>>);

    impl Metrics for Heard {
        fn request_finished(&self, finished: &Finished<'_>) {
            self.0.lock().push((finished.status, finished.code));
        }

        fn shed(&self, _: Shed) {}

        fn connected(&self) {}

        fn disconnected(&self) {}

        fn render(&self) -> String {
            String::new()
        }

        fn process(&self) -> Process {
            Process::default()
        }
    }

    fn state(metrics: Arc<Heard>) -> State {
        State::new(Arc::new(Service::over_no_log()), metrics, Arc::new(Tracing::off(|| 7)))
    }

    /// Serves with these limits while `caller` runs.
    fn serving(limits: Limits, caller: impl FnOnce(SocketAddr, &Heard) + Send + 'static) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let metrics = Arc::new(Heard::default());
            let state = state(Arc::clone(&metrics)).limits(limits);
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

    const PROBE: &[u8] = b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    const CALL: &[u8] = b"GET /v1/pools HTTP/1.1\r\nHost: localhost\r\n\r\n";

    fn with_slots(callers: usize, of_address: Option<usize>) -> Limits {
        Limits { connections: Bounds { callers, kept: 1, ending: 2, of_address }, ..Limits::default() }
    }

    /// What the first answer begins with.
    fn told(mut stream: &std::net::TcpStream, bytes: &[u8]) -> String {
        stream.write_all(bytes).unwrap();
        let mut chunk = [0; 2048];
        let n = stream.read(&mut chunk).unwrap();
        String::from_utf8_lossy(&chunk[..n]).into_owned()
    }

    #[test]
    fn idle_connections_make_room_for_probes_and_for_new_callers() {
        serving(with_slots(4, None), |address, _| {
            let idle: Vec<_> = (0..4).map(|_| connect(address)).collect();
            for stream in &idle[1..] {
                assert!(told(stream, PROBE).starts_with("HTTP/1.1 "));
            }
            // The first never said anything, the second said something before the others.
            let newcomers = [connect(address), connect(address)];
            for ((bytes, newcomer), longest) in [PROBE, CALL].into_iter().zip(&newcomers).zip(&idle) {
                assert!(told(newcomer, bytes).starts_with("HTTP/1.1 503 "), "there is no replica here yet");
                assert_eq!(all(longest.try_clone().unwrap()), "");
            }
            assert!(idle[2..].iter().chain(&newcomers).all(|stream| told(stream, PROBE).starts_with("HTTP/1.1 ")));
        });
    }

    #[test]
    fn when_all_are_served_probes_are_answered_and_others_told_so() {
        serving(with_slots(2, None), |address, metrics| {
            let begun = b"POST /v1/reservations HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n";
            let served: Vec<_> = (0..2).map(|_| connect(address)).collect();
            assert!(served.iter().all(|stream| told(stream, begun).starts_with("HTTP/1.1 100 ")));
            let silent = connect(address);
            for probe in [true, false, true] {
                let mut stream = connect(address);
                stream.write_all(if probe { PROBE } else { CALL }).unwrap();
                let told = all(stream).to_ascii_lowercase();
                assert!(told.contains("connection: close\r\n"), "{told}");
                assert_eq!(told.contains("\"reason\":\"connections\""), !probe, "{told}");
            }
            assert_eq!(all(silent), "", "a kept slot is for a caller that uses it");
            assert!(metrics.0.lock().contains(&(503, "shed")));
            drop(served);
        });
    }

    /// The story: probes announced a body and did not send it. They had all kept slots for as long as any caller has for its body,
    /// and the probes behind them came too late: the process was taken for dead.
    #[test]
    fn a_probe_that_waits_with_its_body_leaves_its_kept_slot_soon() {
        let limits = Limits { body_timeout: Duration::from_secs(60), ..with_slots(2, None) };
        serving(limits, |address, metrics| {
            let begun = |head: &str| {
                let stream = connect(address);
                let head =
                    format!("{head} HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n");
                assert!(told(&stream, head.as_bytes()).starts_with("HTTP/1.1 100 "));
                stream
            };
            let served = [(); 2].map(|()| begun("POST /v1/reservations"));
            let slow = begun("GET /readyz");
            let mut probe = connect(address);
            probe.write_all(PROBE).unwrap();
            assert!(all(probe).starts_with("HTTP/1.1 503 "), "there is no replica here yet");
            assert_eq!(metrics.0.lock().first(), Some(&(408, "body_timeout")));
            drop((served, slow));
        });
    }

    #[test]
    fn one_address_has_no_more_connections_than_it_may() {
        serving(with_slots(9, Some(2)), |address, _| {
            let open: Vec<_> = (0..3).map(|_| connect(address)).collect();
            assert!(told(&open[2], PROBE).starts_with("HTTP/1.1 "));
            assert_eq!(all(open[0].try_clone().unwrap()), "");
            assert!(told(&open[1], PROBE).starts_with("HTTP/1.1 "));
        });
    }

    /// Callers that connect for every call meet the shutdown at any moment. Those that are accepted get an answer, and
    /// the others are told that the connection is refused.
    #[test]
    fn nobody_who_has_connected_is_reset_at_the_end() {
        for _ in 0..30 {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let address = listener.local_addr().unwrap();
                let state = state(Arc::default()).limits(Limits { leave: Duration::ZERO, ..Limits::default() });
                let answered = Arc::new(AtomicUsize::new(0));
                let callers: Vec<_> = (0..32)
                    .map(|_| {
                        let answered = Arc::clone(&answered);
                        tokio::task::spawn_blocking(move || call_until_refused(address, &answered))
                    })
                    .collect();
                let stop = async {
                    while answered.load(Relaxed) < 200 {
                        tokio::task::yield_now().await;
                    }
                };
                serve(listener, state, stop).await;
                for caller in callers {
                    caller.await.unwrap();
                }
            });
        }
    }

    fn call_until_refused(address: SocketAddr, answered: &AtomicUsize) {
        while let Ok(mut stream) = std::net::TcpStream::connect(address) {
            stream.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
            let told = all(stream);
            assert!(told.starts_with("HTTP/1.1 200 "), "{told:?}");
            answered.fetch_add(1, Relaxed);
        }
    }

    #[test]
    fn a_panic_is_one_answer_and_the_connection_goes_on() {
        serving(Limits::default(), |address, _| {
            let mut stream = connect(address);
            stream.write_all(b"GET /internal/log HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
            stream.write_all(b"GET /livez HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").unwrap();
            let told = all(stream);
            assert!(told.starts_with("HTTP/1.1 500 ") && told.contains("\"code\":\"internal\""), "{told}");
            assert!(told.contains("HTTP/1.1 200 OK"), "{told}");
        });
    }
}
