//! TLS over the real composition: who is let in, how certificates change, and that the promises of plain HTTP hold.

use super::client::{Client, request};
use super::disconnects::{ONE, counted};
use crate::authority::Authority;
use crate::process::{Running, headroom, run};
use crate::server::{Server, runtime};
use crate::wait::until;
use headroom::config::{Auth, Proofs, Tls};
use headroom::replica::PartitionStatus;
use headroom::time::SystemClock;
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use openssl::ssl::{SslConnector, SslMethod, SslVerifyMode, SslVersion};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, HandshakeKind};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use tokio_rustls::TlsConnector;

/// A server that speaks TLS as these files say.
fn serving(dir: &Path, files: Tls) -> Server {
    let mut config = Server::config(dir, 1);
    config.tls = Some(files);
    let server = Server::of(&config, Arc::new(SystemClock::new()));
    for handle in server.gateway.replica().partitions() {
        until("the partition is ready", || handle.status() != PartitionStatus::Restoring);
    }
    server
}

/// A server with a certificate of its own, and a client that believes it.
fn usual(dir: &Path) -> (Authority, Server, Arc<ClientConfig>) {
    let authority = Authority::new();
    authority.sign("server", 2100);
    let server = serving(dir, authority.files(None, true));
    let client = authority.client(None);
    let limit = r#"{"limits":{"orders":1000000}}"#;
    assert_eq!(Client::secure(server.address, &client).unwrap().send("PUT", "/v1/pools/p", &[], limit).status, 201);
    (authority, server, client)
}

#[test]
fn whoever_speaks_tls_is_answered_and_whoever_does_not_is_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let (_authority, server, client) = usual(dir.path());
    assert_eq!(Client::secure(server.address, &client).unwrap().post("/v1/reservations", ONE).status, 201);
    let (mut plain, mut told) = (TcpStream::connect(server.address).unwrap(), String::new());
    plain.write_all(&request("GET", "/livez", &[], b"")).unwrap();
    plain.read_to_string(&mut told).unwrap();
    assert!(told.starts_with("HTTP/1.1 400 ") && told.contains("\"code\":\"tls_required\""), "{told}");
    runtime().block_on(async {
        let mut tls = ClientConfig::clone(&client);
        tls.alpn_protocols = vec![b"h2".to_vec()];
        let stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let stream = TlsConnector::from(Arc::new(tls)).connect(name, stream).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let spoken = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
        let (mut sender, connection) = spoken.unwrap();
        tokio::spawn(connection);
        let asked = hyper::Request::get("https://localhost/livez").body(Empty::<Bytes>::new()).unwrap();
        assert_eq!(sender.send_request(asked).await.unwrap().status().as_u16(), 200);
    });
}

#[test]
fn callers_who_hang_up_over_tls_leave_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let (_authority, server, client) = usual(dir.path());
    super::disconnects::hung_up(|| Client::secure(server.address, &client).unwrap());
}

/// The story: a certificate is replaced every few weeks while callers call. None of them may notice.
#[test]
fn a_certificate_is_replaced_under_load_and_no_call_fails() {
    let dir = tempfile::tempdir().unwrap();
    let (authority, server, client) = usual(dir.path());
    let shown = || {
        let one = Client::secure(server.address, &client).unwrap();
        one.session().unwrap().peer_certificates().unwrap()[0].clone()
    };
    let metric = |name: &str| counted(&mut Client::secure(server.address, &client).unwrap(), name);
    let expiry = "headroom_tls_certificate_expiry_timestamp_seconds";
    until("the expiry is known", || metric(expiry) == 4_102_444_800);
    let (stop, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for keeps in [true, false, true, false] {
            let (client, server, stop, answered) = (&client, &server, &stop, &answered);
            scope.spawn(move || {
                while !stop.load(Relaxed) {
                    let mut caller = Client::secure(server.address, client).unwrap();
                    while !stop.load(Relaxed) {
                        // How busy the machine is says nothing about certificates.
                        let patient = ["Request-Timeout-Ms: 5000"];
                        assert_eq!(caller.send("POST", "/v1/reservations", &patient, ONE).status, 201);
                        answered.fetch_add(1, Relaxed);
                        if !keeps {
                            break;
                        }
                    }
                }
            });
        }
        for year in 2101..2104 {
            let (before, calls) = (shown(), answered.load(Relaxed));
            authority.sign("server", year);
            until("another certificate is shown", || shown() != before);
            until("calls go on", || answered.load(Relaxed) > calls + 20);
        }
        let before = shown();
        let key = std::fs::read(authority.path("server.key")).unwrap();
        std::fs::write(authority.path("server.key"), "no key").unwrap();
        until("the broken pair is counted", || metric("headroom_tls_reloads_total{result=\"failed\"}") == 1);
        assert_eq!((shown(), metric("headroom_tls_unusable")), (before, 1));
        std::fs::write(authority.path("server.key"), key).unwrap();
        until("the pair is whole again", || metric("headroom_tls_unusable") == 0);
        stop.store(true, Relaxed);
    });
    assert!(metric("headroom_tls_reloads_total{result=\"ok\"}") >= 3);
    until("the expiry is that of the last one", || metric(expiry) == 4_197_052_800);
}

/// Whether a call is answered. A client of TLS 1.3 learns only after the handshake that it is turned away.
fn is_let_in(address: SocketAddr, client: &Arc<ClientConfig>) -> bool {
    let Ok(mut client) = Client::secure(address, client) else { return false };
    client.write(&request("GET", "/livez", &[], b""));
    client.read().is_some()
}

#[test]
fn only_clients_with_a_valid_certificate_of_the_authority_are_let_in() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    authority.sign("server", 2100);
    authority.sign("good", 2100);
    authority.sign("expired", 2021);
    stranger.sign("good", 2100);
    let cases = [
        (Some((&authority, "good")), true, true),
        (None, false, true),
        (Some((&authority, "expired")), false, false),
        (Some((&stranger, "good")), false, false),
    ];
    for is_required in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let server = serving(dir.path(), authority.files(Some(authority.path("ca.pem")), is_required));
        for (of, required, optional) in cases {
            let expected = if is_required { required } else { optional };
            assert_eq!(is_let_in(server.address, &authority.client(of)), expected, "{is_required}");
        }
    }
}

/// The story: a partner calls with the certificate that its authority has signed, and with nothing else.
#[test]
fn a_client_certificate_says_who_calls() {
    let (dir, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    ["server", "partner"].iter().for_each(|name| authority.sign(name, 2100));
    let known = authority.path("certificates.json");
    let roles = r#"[{"subject":"dns:localhost","name":"partner","roles":["planner","checkout"]}]"#;
    std::fs::write(&known, format!(r#"{{"certificates":{roles}}}"#)).unwrap();
    let mut config = Server::config(dir.path(), 1);
    config.tls = Some(authority.files(Some(authority.path("ca.pem")), false));
    config.auth = Auth::On(Proofs { tokens: false, issuer: None, certificates: Some(known) });
    let server = Server::of(&config, Arc::new(SystemClock::new()));
    let partition = server.gateway.replica().partition(0).unwrap();
    until("the partition is ready", || partition.status() == PartitionStatus::Active);
    let mut partner = Client::secure(server.address, &authority.client(Some((&authority, "partner")))).unwrap();
    assert_eq!(partner.send("PUT", "/v1/pools/p", &[], r#"{"limits":{"orders":1}}"#).status, 201);
    assert_eq!(partner.get("/internal/log").code(), "forbidden");
    let mut nobody = Client::secure(server.address, &authority.client(None)).unwrap();
    assert_eq!(nobody.post("/v1/reservations", ONE).code(), "unauthenticated");
    assert_eq!(
        partner.post("/v1/reservations", ONE).status,
        201,
        "what it may do is known for as long as it is connected"
    );
    let printed = run(headroom(["cat", "--data-dir"]).arg(dir.path()));
    assert_eq!(printed.code, 0, "{}", printed.err);
    assert_eq!(printed.out.matches(r#""actor":"partner""#).count(), 2, "{}", printed.out);
}

#[test]
fn old_versions_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (_authority, server, _) = usual(dir.path());
    let is_spoken = |version| {
        let mut builder = SslConnector::builder(SslMethod::tls_client()).unwrap();
        builder.set_verify(SslVerifyMode::NONE);
        // The client itself would not offer the old ones.
        builder.set_cipher_list("ALL:@SECLEVEL=0").unwrap();
        builder.set_min_proto_version(Some(version)).unwrap();
        builder.set_max_proto_version(Some(version)).unwrap();
        let stream = TcpStream::connect(server.address).unwrap();
        builder.build().connect("localhost", stream).is_ok()
    };
    let versions = [SslVersion::TLS1, SslVersion::TLS1_1, SslVersion::TLS1_2, SslVersion::TLS1_3];
    assert_eq!(versions.map(is_spoken), [false, false, true, true]);
}

/// The handshakes of a client that comes, and comes back.
fn handshakes(server: &Server, client: &Arc<ClientConfig>) -> [Option<HandshakeKind>; 2] {
    [(); 2].map(|()| {
        let mut one = Client::secure(server.address, client).unwrap();
        assert_eq!(one.get("/livez").status, 200);
        one.session().unwrap().handshake_kind()
    })
}

#[test]
fn a_client_that_comes_back_resumes_its_session() {
    let dir = tempfile::tempdir().unwrap();
    let (_authority, server, client) = usual(dir.path());
    assert_eq!(handshakes(&server, &client).last(), Some(&Some(HandshakeKind::Resumed)));
}

/// The story: the certificate of a partner had expired, and its client called on. It resumed a session of before, which brings
/// the certificate along without a look at its dates, and made the next such session.
#[test]
fn the_certificate_of_a_client_is_looked_at_whenever_it_comes() {
    let authority = Authority::new();
    ["server", "partner"].iter().for_each(|name| authority.sign(name, 2100));
    for is_required in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let server = serving(dir.path(), authority.files(Some(authority.path("ca.pem")), is_required));
        let client = authority.client(Some((&authority, "partner")));
        assert_eq!(handshakes(&server, &client), [Some(HandshakeKind::Full), Some(HandshakeKind::Full)]);
    }
}

/// The start of a handshake, and no more of it.
#[test]
fn handshakes_that_stall_end_by_time_and_others_are_answered_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let (_authority, server, client) = usual(dir.path());
    let mut stalled: Vec<_> = (0..200).map(|_| TcpStream::connect(server.address).unwrap()).collect();
    for stream in stalled.iter_mut().skip(1) {
        stream.write_all(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01]).unwrap();
    }
    let mut operator = Client::secure(server.address, &client).unwrap();
    assert!(
        (0..50).all(|_| Client::secure(server.address, &client).unwrap().post("/v1/reservations", ONE).status == 201)
    );
    until("only who asks is connected", || counted(&mut operator, "headroom_http_connections") == 1);
}

#[test]
fn a_start_without_a_usable_pair_is_refused_and_the_command_line_finds_a_server_that_has_one() {
    let (dir, authority, other) = (tempfile::tempdir().unwrap(), Authority::new(), Authority::new());
    authority.sign("server", 2100);
    other.sign("server", 2100);
    let serve = |key: &Path| {
        let mut command = headroom(["serve", "--listen", "127.0.0.1:0", "--partitions", "1"]);
        command.arg("--data-dir").arg(dir.path()).arg("--tls-key").arg(key);
        command.arg("--tls-certificate").arg(authority.path("server.pem"));
        command
    };
    let refused = run(&mut serve(&other.path("server.key")));
    assert!(refused.code == 2 && refused.err.contains("TLS cannot be spoken"), "{}", refused.err);
    assert!(!refused.err.contains("PRIVATE KEY"), "{}", refused.err);
    let mut running = Running::start(&mut serve(&authority.path("server.key")));
    assert!(running.line().starts_with("headroom listens on https://127.0.0.1:"));
    let verify = || run(headroom(["verify", "--data-dir"]).arg(dir.path()));
    until("the server is found and verified", || verify().code == 0);
    assert_eq!(running.terminate().code, 0);
}
