//! What callers are told while the log is being opened, with and without TLS, over each protocol.

use super::client::{Client, request};
use crate::authority::Authority;
use crate::grpc::protocol::{RESERVE, frame, send, send_over};
use crate::grpc::watch::one;
use crate::grpc::{CapacityClient, channel, problem};
use crate::server::runtime;
use crate::wait::PATIENCE;
use headroom::api::grpc::v1::problem::Outcome;
use headroom::api::http;
use headroom::limits::STARTING_CONNECTIONS_MAX;
use headroom::log::Opening;
use headroom::tls;
use headroom::trace::Tracing;
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tonic::{Code, Status};

/// A process whose log is open when the test says so.
struct Starting {
    address: SocketAddr,
    opening: Arc<Opening>,
    open: oneshot::Sender<&'static str>,
    serving: JoinHandle<&'static str>,
}

impl Starting {
    fn new(tls: Option<tls::Server>) -> Starting {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let (address, opening) = (listener.local_addr().unwrap(), Arc::new(Opening::default()));
        let (open, opened) = oneshot::channel();
        let serving = runtime().spawn({
            let (opening, tls) = (Arc::clone(&opening), tls.map(Arc::new));
            async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let tracing = Arc::new(Tracing::off(|| 7));
                http::starting(&listener, &opening, &tracing, tls.as_ref(), opened).await.unwrap()
            }
        });
        Starting { address, opening, open, serving }
    }

    /// Speaking TLS, and the authority that its certificate is from.
    fn secure() -> (Starting, Authority) {
        let authority = Authority::new();
        authority.sign("server", 2100);
        (Starting::new(Some(tls::Server::load(authority.files(None, true)).unwrap())), authority)
    }

    fn end(self) {
        self.open.send("what came of it").unwrap();
        assert_eq!(runtime().block_on(self.serving).unwrap(), "what came of it");
    }
}

fn startup(startup: &Value) -> Value {
    json!({ "status": "unavailable", "closing": false, "partitions": {}, "startup": startup })
}

/// Asks all that may be asked now.
fn check_http(starting: &Starting, connect: impl Fn() -> Client) {
    let ask = |method: &str, path: &str| connect().raw(&request(method, path, &[], b""));
    let begun = ask("GET", "/startupz");
    assert_eq!((begun.status, begun.json()), (503, startup(&json!({ "phase": "opening", "partitions": {} }))));
    starting.opening.begins(4_096);
    starting.opening.reads(1_000);
    for path in ["/startupz", "/readyz"] {
        let reply = ask("GET", path);
        let far = json!({ "phase": "opening", "read_bytes": 1_000, "of_bytes": 4_096, "partitions": {} });
        assert_eq!((reply.status, reply.json()), (503, startup(&far)));
    }
    assert_eq!(ask("GET", "/livez").status, 200);
    for (method, path) in [("POST", "/v1/reservations"), ("GET", "/v1/pools"), ("GET", "/internal/log")] {
        let refused = ask(method, path);
        assert_eq!((refused.status, refused.code().as_str()), (503, "restoring"));
    }
}

#[test]
fn a_process_that_opens_its_log_says_how_far_that_is_and_refuses_calls() {
    let starting = Starting::new(None);
    check_http(&starting, || Client::connect(starting.address));
    starting.end();
}

#[test]
fn it_says_the_same_over_tls_and_tells_others_to_speak_it() {
    let (starting, authority) = Starting::secure();
    let tls = authority.client(None);
    check_http(&starting, || Client::secure(starting.address, &tls).unwrap());
    let (mut plain, mut told) = (std::net::TcpStream::connect(starting.address).unwrap(), String::new());
    plain.write_all(&request("GET", "/startupz", &[], b"")).unwrap();
    plain.read_to_string(&mut told).unwrap();
    assert!(told.starts_with("HTTP/1.1 400 ") && told.contains("\"code\":\"tls_required\""), "{told}");
    starting.end();
}

#[track_caller]
fn check_refused(status: &Status) {
    let told = problem(status);
    assert_eq!((status.code(), &*told.code, told.outcome()), (Code::Unavailable, "restoring", Outcome::NotApplied));
    assert!(told.retryable && told.trace_id.len() == 32, "{told:?}");
}

#[test]
fn a_grpc_call_gets_a_status_and_no_bare_503() {
    let starting = Starting::new(None);
    for _ in 0..2 {
        // The connection of the last call is ending, and a call on it may be cancelled before it is sent.
        let mut client = CapacityClient::new(channel(starting.address));
        check_refused(&runtime().block_on(client.reserve(one("p"))).unwrap_err());
    }
    let health = frame(0, &[]);
    let health = runtime().block_on(send(starting.address, "/grpc.health.v1.Health/Check", &[], health));
    check_refused(&health.unwrap());
    starting.end();
}

#[test]
fn a_grpc_call_gets_that_status_over_tls() {
    let (starting, authority) = Starting::secure();
    let mut tls = rustls::ClientConfig::clone(&authority.client(None));
    tls.alpn_protocols = vec![b"h2".to_vec()];
    let told = runtime().block_on(async {
        let stream = TcpStream::connect(starting.address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let stream = TlsConnector::from(Arc::new(tls)).connect(name, stream).await.unwrap();
        send_over(stream, "https://localhost", RESERVE, &[], frame(0, &one("p").encode_to_vec())).await
    });
    check_refused(&told.unwrap());
    let plain = frame(0, &one("p").encode_to_vec());
    let plain = runtime().block_on(send(starting.address, RESERVE, &[], plain)).unwrap();
    assert_eq!((plain.code(), problem(&plain).code), (Code::InvalidArgument, "tls_required".to_owned()));
    starting.end();
}

/// The story: a pool of connections that had nothing to ask yet took every slot for seconds, again and again, and the probes
/// behind it came too late.
#[test]
fn connections_that_send_nothing_make_room_sooner_than_one_that_has_begun_to_ask() {
    let starting = Starting::new(None);
    let mut begun = std::net::TcpStream::connect(starting.address).unwrap();
    begun.write_all(b"GET /livez").unwrap();
    let silent: Vec<_> =
        (1..STARTING_CONNECTIONS_MAX).map(|_| std::net::TcpStream::connect(starting.address).unwrap()).collect();
    assert_eq!(Client::connect(starting.address).raw(&request("GET", "/livez", &[], b"")).status, 200);
    begun.set_nonblocking(true).unwrap();
    let open = begun.read(&mut [0]).unwrap_err();
    assert_eq!(open.kind(), ErrorKind::WouldBlock, "it was the first, and has its time");
    drop(silent);
    starting.end();
}

/// The story: a caller of HTTP/2 keeps its connection, and is refused for as long as that lasts, also when the log has
/// been open for a while.
#[test]
fn a_connection_of_http2_ends_after_its_answer() {
    let starting = Starting::new(None);
    runtime().block_on(async {
        let stream = TcpStream::connect(starting.address).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        let connection = tokio::spawn(connection);
        let asked = hyper::Request::get("http://localhost/v1/pools").body(Empty::<Bytes>::new()).unwrap();
        let response = sender.send_request(asked).await.unwrap();
        assert_eq!(response.status(), 503);
        assert!(!response.into_body().collect().await.unwrap().to_bytes().is_empty());
        let ended = tokio::time::timeout(PATIENCE, connection).await;
        assert!(ended.unwrap().unwrap().is_ok(), "the server says that it ends");
    });
    starting.end();
}
