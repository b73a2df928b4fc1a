//! HTTP/2 over the real composition: the same answers, and the same promises to callers who hang up.

mod attacks;
mod frames;

use super::client::Client;
use super::disconnects::{counted, ended_while_called};
use crate::server::{Server, runtime};
use crate::wait::until;
use frames::{Frames, HEADERS, INITIAL_WINDOW, RST_STREAM, WINDOW_UPDATE};
use headroom::limits::{HTTP_HEAD_BYTES_MAX, HTTP_HEADERS_MAX};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Frame};
use hyper::client::conn::http2::{self, SendRequest};
use hyper::{Request, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};
use tokio::net::TcpStream;

const ONE: &str = r#"{"pool":"p","demand":{"orders":1}}"#;

async fn connect(address: SocketAddr) -> SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

fn request(method: &str, path: &str, body: &'static str) -> Request<Full<Bytes>> {
    let target = format!("http://localhost{path}");
    let request = Request::builder().method(method).uri(target).header("content-type", "application/json");
    request.header("request-timeout-ms", "5000").body(Full::from(body)).unwrap()
}

#[test]
fn a_caller_of_http_2_is_answered_like_one_of_http_1() {
    let server = Server::alone();
    let told = runtime().block_on(async {
        let mut sender = connect(server.address).await;
        let made = sender.send_request(request("PUT", "/v1/pools/p", r#"{"limits":{"orders":40}}"#)).await.unwrap();
        assert_eq!((made.status().as_u16(), made.version()), (201, Version::HTTP_2));
        assert!(made.headers().contains_key("x-request-id") && made.headers().contains_key("etag"));
        let calls: Vec<_> = (0..100).map(|_| sender.send_request(request("POST", "/v1/reservations", ONE))).collect();
        let mut told = Vec::new();
        for call in calls {
            let answer = call.await.unwrap();
            let status = answer.status().as_u16();
            told.push((status, answer.into_body().collect().await.unwrap().to_bytes()));
        }
        told
    });
    assert_eq!(told.iter().filter(|(status, _)| *status == 201).count(), 40);
    let refused = told.iter().filter(|(status, _)| *status == 409);
    let codes = refused.map(|(_, body)| serde_json::from_slice::<serde_json::Value>(body).unwrap()["code"].clone());
    assert_eq!(codes.filter(|code| code == "over_limit").count(), 60);
    assert_eq!(server.client().get("/v1/pools/p?fresh=true").json()["used"]["orders"], 40);
}

#[test]
fn a_host_is_checked_wherever_http_2_names_it() {
    let server = Server::alone();
    runtime().block_on(async {
        let mut sender = connect(server.address).await;
        for (authority, header, status) in [
            ("localhost", None, 200),
            ("evil.example", None, 421),
            ("localhost", Some("evil.example"), 200),
            ("evil.example", Some("localhost"), 421),
        ] {
            let mut asked = Request::builder().uri(format!("http://{authority}/internal/log"));
            asked = header.into_iter().fold(asked, |asked, host| asked.header("host", host));
            let answer = sender.send_request(asked.body(Full::default()).unwrap()).await.unwrap();
            assert_eq!(answer.status().as_u16(), status, "{authority} {header:?}");
        }
    });
}

/// hyper's own refusal has no body, and is no line of the log and no count.
#[test]
fn a_head_beyond_the_bounds_is_refused_as_over_http_1() {
    let server = Server::alone();
    let with = |fields: usize, length: usize| {
        let asked = Request::get("http://localhost/v1/pools").header("x-filler", "x".repeat(length));
        (1..fields).fold(asked, |asked, n| asked.header(format!("x-{n}"), "1")).body(Full::<Bytes>::default()).unwrap()
    };
    runtime().block_on(async {
        let mut sender = connect(server.address).await;
        // The name of the host is a field, too.
        for (fields, length, status) in [
            (HTTP_HEADERS_MAX - 1, 1, 200),
            (HTTP_HEADERS_MAX, 1, 431),
            (1, HTTP_HEAD_BYTES_MAX, 431),
            (1, HTTP_HEAD_BYTES_MAX - 100, 200),
        ] {
            let answer = sender.send_request(with(fields, length)).await.unwrap();
            assert_eq!(answer.status().as_u16(), status, "{fields} {length}");
            assert!(answer.headers().contains_key("x-request-id"));
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            let said: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(said["code"] == "head_too_large", status == 431, "{said}");
        }
    });
    assert_eq!(counted(&mut server.client(), "headroom_http_requests_total{code=\"head_too_large\""), 2);
}

/// A body of which nothing comes.
struct Unsent;

impl hyper::body::Body for Unsent {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Pending
    }
}

/// Whoever is refused by the head of the call has not sent its body yet, and has to learn why.
#[test]
fn an_answer_that_does_not_wait_for_the_body_is_not_lost() {
    let server = Server::alone();
    runtime().block_on(async {
        let stream = TcpStream::connect(server.address).await.unwrap();
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        for _ in 0..5 {
            let asked = Request::post("http://localhost/v1/reservations").header("content-encoding", "gzip");
            let answer = sender.send_request(asked.body(Unsent).unwrap()).await.unwrap();
            assert_eq!(answer.status().as_u16(), 415);
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(problem["code"], "unknown_content_encoding");
        }
    });
}

/// Callers that give a call up while it is being decided, and keep their connection.
#[test]
fn streams_that_are_reset_leave_nothing_behind() {
    let server = Server::alone();
    server.pool("p", 1_000_000);
    let mut operator = server.client();
    let released = "headroom_events_total{kind=\"Released\"";
    let mut told = 0;
    for _ in 0..50 {
        let mut caller = Frames::connect(server.address, &[]);
        let streams: Vec<u32> = (0..64).map(|_| caller.ask("POST", "/v1/reservations", ONE)).collect();
        for stream in streams.iter().filter(|stream| *stream % 4 == 1) {
            caller.send(RST_STREAM, 0, *stream, &8_u32.to_be_bytes());
        }
        let kept: Vec<_> = streams.into_iter().filter(|stream| stream % 4 != 1).collect();
        assert!(kept.iter().all(|stream| caller.body(*stream).is_some_and(|body| body.contains("hr_"))));
        told += kept.len() as u64;
        if counted(&mut operator, released) > 0 {
            break;
        }
    }
    assert!(counted(&mut operator, released) > 0, "nobody gave up in time");
    settled(&mut operator, told);
}

/// What stands is what was accepted and not given back, and all that was told is in it.
fn settled(operator: &mut Client, told: u64) {
    until("no call is pending", || counted(operator, "headroom_correlator_pending") == 0);
    let mut stand = 0;
    until("what stands is what was accepted and not given back", || {
        let accepted = counted(operator, "headroom_events_total{kind=\"Accepted\"");
        stand = accepted - counted(operator, "headroom_events_total{kind=\"Released\"");
        operator.get("/v1/pools/p?fresh=true").json()["used"]["orders"] == stand
    });
    assert!(stand >= told, "{stand} stand, {told} were told");
}

/// The head of an answer is sent without a window, its body is not.
#[test]
fn what_was_reserved_for_an_answer_that_no_window_lets_out_is_taken_back() {
    let server = Server::alone();
    server.pool("p", 10);
    let mut operator = server.client();
    let mut used = |orders: u64| {
        until("as many are used", || operator.get("/v1/pools/p?fresh=true").json()["used"]["orders"] == orders);
    };
    let mut caller = Frames::connect(server.address, &[(INITIAL_WINDOW, 0)]);
    let mut ask = || {
        let stream = caller.ask("POST", "/v1/reservations", ONE);
        caller.until(|frame| frame.kind == HEADERS && frame.stream == stream).unwrap();
        (stream, std::mem::replace(&mut caller, Frames::connect(server.address, &[(INITIAL_WINDOW, 0)])))
    };
    let (reset, mut caller) = ask();
    used(1);
    caller.send(RST_STREAM, 0, reset, &8_u32.to_be_bytes());
    used(0);
    let (_, leaver) = ask();
    used(1);
    drop(leaver);
    used(0);
    // A window of one byte lets the answer begin, and whoever gets no more of it was told nothing.
    let (begun, mut leaver) = ask();
    leaver.send(WINDOW_UPDATE, 0, begun, &1_u32.to_be_bytes());
    leaver.until(|frame| frame.stream == begun && frame.payload == b"{").unwrap();
    used(1);
    drop(leaver);
    used(0);
    let (told, mut stayer) = ask();
    stayer.send(WINDOW_UPDATE, 0, told, &60_000_u32.to_be_bytes());
    assert!(stayer.body(told).unwrap().contains("hr_"));
    drop(stayer);
    drop(server.client().get("/v1/pools/p?fresh=true"));
    used(1);
}

/// The story: a proxy asked for many callers on one connection, and one of them stopped reading. After ten seconds the answers
/// of all of them broke off.
#[test]
fn a_stream_that_nobody_reads_is_reset_alone() {
    let server = Server::alone();
    server.pool("p", 10);
    let mut operator = server.client();
    let mut caller = Frames::connect(server.address, &[(INITIAL_WINDOW, 0)]);
    let unread = caller.ask("POST", "/v1/reservations", ONE);
    caller.until(|frame| frame.kind == RST_STREAM && frame.stream == unread).unwrap();
    let read = caller.ask("GET", "/v1/pools/p", "");
    caller.send(WINDOW_UPDATE, 0, read, &60_000_u32.to_be_bytes());
    assert!(caller.body(read).unwrap().contains("\"pool\":\"p\""));
    until("what nobody was told of is taken back", || {
        operator.get("/v1/pools/p?fresh=true").json()["used"]["orders"] == 0
    });
}

/// Calls until the connection is told to end, and then on a new one, until nobody listens any more.
fn call_on(address: SocketAddr, answered: &AtomicUsize) {
    while let Some(mut caller) = Frames::reach(address, &[]) {
        loop {
            let stream = caller.ask("POST", "/v1/reservations", ONE);
            let Some(body) = caller.body(stream) else {
                assert!(caller.last_stream.is_some_and(|last| last < stream), "no answer to {stream}");
                break;
            };
            assert!(body.contains("hr_") || body.contains("not_applied"), "{body}");
            answered.fetch_add(1, Relaxed);
            if caller.last_stream.is_some() {
                break;
            }
        }
    }
}

#[test]
fn a_process_that_is_told_to_end_answers_every_stream_it_took() {
    ended_while_called(16, |address, _, answered| call_on(address, answered));
}
