//! What is of gRPC alone: messages that cannot be read, methods that do not exist, deadlines, callers that leave, and the
//! services for health and reflection.

use super::{channel, client, problem};
use crate::http::manual_owner::{Desk, TIMEOUT_MS, id};
use crate::server::{Server, runtime};
use crate::wait::until;
use headroom::api::grpc::v1;
use headroom::domain::{CommandBody, EventKind, ReservationId};
use headroom::limits::{
    AREAS_MAX, COMMAND_BYTES_MAX, DEDUP_WINDOW_MS, HTTP_BODY_BYTES_MAX, HTTP_HEAD_BYTES_MAX, LABELS_MAX, WATCH_IDS_MAX,
};
use http_body_util::Full;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tonic::codegen::tokio_stream::wrappers::ReceiverStream;
use tonic::codegen::{Bytes, http};
use tonic::{Code, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

/// Path, headers, body, and the status and the code that it is answered with.
type Row<'a> = (&'a str, &'a [(&'static str, &'a str)], Vec<u8>, Code, &'a str);

pub const RESERVE: &str = "/headroom.v1.Capacity/Reserve";

fn one(key: &str) -> v1::ReserveRequest {
    let demand = BTreeMap::from([("orders".to_owned(), 1)]);
    v1::ReserveRequest { pool: "p".to_owned(), demand, idempotency_key: key.to_owned(), ..Default::default() }
}

fn defined(pool: &str, orders: u64) -> v1::DefinePoolRequest {
    let limits = BTreeMap::from([("orders".to_owned(), orders)]);
    v1::DefinePoolRequest { pool: pool.to_owned(), limits, ..Default::default() }
}

/// A message as it is sent: a flag, its length, its bytes.
pub fn frame(flag: u8, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[flag][..], &length, message].concat()
}

/// Sends these bytes as they are. No library of gRPC adds anything, and none watches the deadline.
pub async fn send(address: SocketAddr, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Option<Status> {
    let stream = TcpStream::connect(address).await.unwrap();
    send_over(stream, &format!("http://{address}"), path, headers, body).await
}

/// The same over a connection to the server at `base`.
pub async fn send_over(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    base: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Vec<u8>,
) -> Option<Status> {
    let mut request = http::Request::post(format!("{base}{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let response = sender.send_request(request.body(Full::<Bytes>::from(body)).unwrap()).await.unwrap();
    connection.abort();
    Status::from_header_map(response.headers())
}

/// The status with which these bytes are refused, and the code of its problem; `Ok` when they are not refused at once.
pub fn raw(server: &Server, path: &str, headers: &[(&'static str, &str)], body: Vec<u8>) -> (Code, String) {
    let refused = runtime().block_on(send(server.address, path, headers, body));
    refused.map_or_else(|| (Code::Ok, String::new()), |status| (status.code(), problem(&status).code))
}

#[test]
fn what_is_no_message_or_no_method_is_refused_by_name() {
    let server = Server::alone();
    let good = one("").encode_to_vec();
    let long = v1::ReserveRequest { order_ref: "x".repeat(HTTP_BODY_BYTES_MAX), ..one("") }.encode_to_vec();
    let gzip: &[(&'static str, &str)] = &[("grpc-encoding", "gzip")];
    let late: &[(&'static str, &str)] = &[("grpc-timeout", "1H")];
    let two = [frame(0, &good), frame(0, &good)].concat();
    let identity: &[(&'static str, &str)] = &[("grpc-encoding", "identity")];
    let parked = v1::ListReservationsRequest { pool: "p".to_owned(), status: 99, ..Default::default() }.encode_to_vec();
    let filler = "x".repeat(HTTP_HEAD_BYTES_MAX);
    let large: &[(&'static str, &str)] = &[("x-filler", filler.as_str())];
    let rows: [Row<'_>; 15] = [
        (RESERVE, large, frame(0, &good), Code::ResourceExhausted, "head_too_large"),
        ("/headroom.v1.Capacity/ListReservations", &[], frame(0, &parked), Code::InvalidArgument, "bad_query"),
        (RESERVE, &[], Vec::new(), Code::InvalidArgument, "bad_message"),
        (RESERVE, &[], frame(0, &[0xff; 9]), Code::InvalidArgument, "bad_message"),
        (RESERVE, &[], frame(0, &good)[..9].to_vec(), Code::InvalidArgument, "bad_message"),
        (RESERVE, &[], frame(1, &good), Code::InvalidArgument, "bad_message"),
        (RESERVE, &[], frame(7, &good), Code::InvalidArgument, "bad_message"),
        (RESERVE, identity, frame(1, &good), Code::InvalidArgument, "bad_message"),
        (RESERVE, &[], two, Code::InvalidArgument, "bad_message"),
        (RESERVE, gzip, frame(1, &good), Code::Unimplemented, "unknown_content_encoding"),
        (RESERVE, &[], frame(0, &long), Code::ResourceExhausted, "body_too_large"),
        (RESERVE, late, frame(0, &good), Code::InvalidArgument, "bad_timeout"),
        (RESERVE, &[], frame(0, &good), Code::NotFound, "unknown_pool"),
        ("/headroom.v1.Capacity/Steal", &[], frame(0, &[]), Code::Unimplemented, "not_found"),
        ("/other.v1.Service/Call", &[], frame(0, &[]), Code::Unimplemented, "not_found"),
    ];
    for (n, (path, headers, body, code, name)) in rows.into_iter().enumerate() {
        assert_eq!(raw(&server, path, headers, body), (code, name.to_owned()), "row {n}");
    }
}

/// The prefix of five bytes does not count.
#[test]
fn a_message_that_is_too_long_is_told_the_bound_that_the_proto_names() {
    let server = Server::alone();
    for (path, most) in [(RESERVE, 16_384), ("/headroom.v1.Capacity/DefinePool", 65_536)] {
        let refused = |bytes: usize| {
            let body = frame(0, &vec![0xff_u8; bytes]);
            problem(&runtime().block_on(send(server.address, path, &[], body)).unwrap())
        };
        assert_eq!(refused(most).code, "bad_message", "{path}");
        let long = refused(most + 1);
        let told = format!("the message has more than {most} bytes: send less");
        assert_eq!((&*long.code, long.detail), ("body_too_large", told), "{path}");
    }
}

/// What lists areas or pools may be longer than other messages, as over HTTP.
#[test]
fn as_many_names_as_may_be_said_fit_every_message_that_lists_them() {
    let server = Server::alone();
    let names = |most: usize| (0..most).map(|n| format!("{n:064}")).collect::<Vec<_>>();
    let (areas, pools) = (names(AREAS_MAX), names(WATCH_IDS_MAX));
    let labels = BTreeMap::from_iter(names(LABELS_MAX).into_iter().map(|name| (name, "x".repeat(64))));
    let is_long = |bytes: usize| assert!((HTTP_BODY_BYTES_MAX..COMMAND_BYTES_MAX).contains(&bytes), "{bytes}");
    let mut client = client(&server);
    runtime().block_on(async {
        let wide = v1::DefinePoolRequest { labels, areas: areas.clone(), ..defined("wide", 1) };
        is_long(wide.encoded_len());
        assert_eq!(client.define_pool(wide).await.unwrap().into_inner().version, 1);
        let others = Some(v1::Areas { names: names(AREAS_MAX + 1).split_off(1) });
        let change = v1::ChangePoolRequest { pool: "wide".to_owned(), areas: others, ..Default::default() };
        is_long(change.encoded_len());
        assert_eq!(client.change_pool(change).await.unwrap().into_inner().version, 2);
        let asked = v1::AvailabilityRequest { areas: areas.clone(), fresh: true, ..Default::default() };
        is_long(asked.encoded_len());
        assert_eq!(client.availability(asked).await.unwrap().into_inner().pools.len(), 1);
        let watch = v1::WatchPoolsRequest { areas, pools, ..Default::default() };
        is_long(watch.encoded_len());
        client.watch_pools(watch).await.unwrap();
    });
}

/// Whoever comes without the content type of gRPC is answered as HTTP does.
#[test]
fn a_path_of_grpc_is_nothing_to_other_callers() {
    let server = Server::alone();
    let client = || server.client();
    for answer in [client().get(RESERVE), client().post(RESERVE, "{}"), client().get("/grpc.health.v1.Health/Check")] {
        assert_eq!((answer.status, answer.code()), (404, "not_found".to_owned()), "{answer:?}");
    }
}

#[test]
fn a_reserve_that_misses_its_grpc_timeout_holds_nothing() {
    let mut desk = Desk::new();
    let (address, timeout) = (desk.address, format!("{TIMEOUT_MS}m"));
    let before = desk.taken().len();
    let call = runtime().spawn(async move {
        send(address, RESERVE, &[("grpc-timeout", &timeout)], frame(0, &one("k").encode_to_vec())).await
    });
    until("the log has the Reserve", || desk.taken().len() > before);
    desk.at(TIMEOUT_MS);
    until("the Abandon is appended", || desk.taken().len() > before + 1);
    assert_eq!(
        desk.decide_at(crate::fixtures::NOW.plus_ms(TIMEOUT_MS - 1)),
        [EventKind::Accepted, EventKind::Released]
    );
    let status = runtime().block_on(call).unwrap().unwrap();
    let problem = problem(&status);
    assert_eq!((status.code(), &*problem.code), (Code::DeadlineExceeded, "timeout"));
    assert_eq!((problem.outcome(), problem.retryable), (v1::problem::Outcome::NotApplied, true));
    assert_eq!(desk.holds("k"), (false, 0));
    desk.end();
}

/// As libraries write them: grpcio makes 5010m of 5 seconds, and sends what is left of a deadline however little that is.
#[test]
fn a_deadline_that_was_rounded_up_is_taken_and_one_that_has_passed_is_a_timeout() {
    let server = Server::alone();
    server.pool("p", 1);
    for (timeout, code, name) in [
        ("1n", Code::DeadlineExceeded, "timeout"),
        ("0m", Code::DeadlineExceeded, "timeout"),
        ("5051m", Code::InvalidArgument, "bad_timeout"),
        ("5010m", Code::Ok, ""),
    ] {
        let body = frame(0, &one("").encode_to_vec());
        assert_eq!(raw(&server, RESERVE, &[("grpc-timeout", timeout)], body), (code, name.to_owned()), "{timeout}");
    }
}

#[test]
fn a_cancelled_call_takes_its_attempt_back() {
    let mut desk = Desk::new();
    let mut client = super::CapacityClient::new(channel(desk.address));
    let before = desk.taken().len();
    let call = runtime().spawn(async move { client.reserve(one("k")).await });
    until("the log has the Reserve", || desk.taken().len() > before);
    call.abort();
    until("the Abandon is appended", || desk.taken().len() > before + 1);
    let reservation: ReservationId = id("k");
    assert!(
        matches!(desk.taken().last(), Some((CommandBody::Abandon { reservation: of, .. }, _)) if *of == reservation)
    );
    assert_eq!(desk.decide(), [EventKind::Accepted, EventKind::Released]);
    desk.end();
}

#[test]
fn a_call_that_comes_while_the_process_ends_is_told_so_by_its_status() {
    let server = Server::alone();
    let mut client = client(&server);
    runtime().block_on(async {
        client.define_pool(defined("p", 1)).await.unwrap();
        server.service.close();
        let ended = client.reserve(one("")).await.unwrap_err();
        let told = problem(&ended);
        assert_eq!((ended.code(), &*told.code, &*told.reason), (Code::Unavailable, "shed", "closing"));
        assert_eq!((told.outcome(), told.retryable), (v1::problem::Outcome::NotApplied, true));
    });
}

#[test]
fn the_health_of_the_process_and_of_the_service_is_told_and_watched() {
    let server = Server::alone();
    let mut health = HealthClient::new(channel(server.address));
    let of = |service: &str| HealthCheckRequest { service: service.to_owned() };
    let status = |answer: HealthCheckResponse| answer.status();
    runtime().block_on(async {
        for service in ["", "headroom.v1.Capacity"] {
            assert_eq!(status(health.check(of(service)).await.unwrap().into_inner()), ServingStatus::Serving);
        }
        let unknown = health.check(of("other")).await.unwrap_err();
        assert_eq!((unknown.code(), problem(&unknown).code), (Code::NotFound, "unknown_service".to_owned()));
        let mut other = health.watch(of("other")).await.unwrap().into_inner();
        assert_eq!(other.message().await.unwrap().map(status), Some(ServingStatus::ServiceUnknown));
        let mut watch = health.watch(of("")).await.unwrap().into_inner();
        assert_eq!(watch.message().await.unwrap().map(status), Some(ServingStatus::Serving));
        server.service.leave();
        assert_eq!(watch.message().await.unwrap().map(status), Some(ServingStatus::NotServing));
        // Both end, so that the process need not wait for their connection.
        for mut open in [watch, other] {
            let told = problem(&open.message().await.unwrap_err());
            assert_eq!((&*told.code, &*told.reason), ("shed", "closing"));
        }
    });
}

/// What `grpcurl` asks: the services, and the file of a method.
#[test]
fn the_interface_describes_itself() {
    let server = Server::alone();
    let mut reflection = ServerReflectionClient::new(channel(server.address));
    let mut ask = |message_request| {
        let request = ServerReflectionRequest { host: String::new(), message_request: Some(message_request) };
        runtime().block_on(async {
            // The caller keeps its side open, as grpcurl does.
            let (send, requests) = tokio::sync::mpsc::channel(1);
            send.send(request).await.unwrap();
            let requests = ReceiverStream::new(requests);
            let mut answers = reflection.server_reflection_info(requests).await.unwrap().into_inner();
            let answer = tokio::time::timeout(Duration::from_secs(30), answers.message()).await.unwrap();
            answer.unwrap().unwrap().message_response.unwrap()
        })
    };
    let MessageResponse::ListServicesResponse(list) = ask(MessageRequest::ListServices(String::new())) else {
        panic!()
    };
    let names: Vec<_> = list.service.iter().map(|service| service.name.as_str()).collect();
    assert!(names.contains(&"headroom.v1.Capacity") && names.contains(&"grpc.health.v1.Health"), "{names:?}");
    for symbol in ["headroom.v1.Capacity.Reserve", "headroom.v1.Problem"] {
        let answer = ask(MessageRequest::FileContainingSymbol(symbol.to_owned()));
        assert!(
            matches!(&answer, MessageResponse::FileDescriptorResponse(file) if !file.file_descriptor_proto.is_empty())
        );
    }
}

#[test]
fn a_process_without_memory_takes_releases_and_no_new_reservation_until_less_is_remembered() {
    let mut desk = Desk::new();
    let client = super::CapacityClient::new(channel(desk.address));
    let reserve = |key: &str| {
        let (mut client, request) = (client.clone(), one(key));
        runtime().spawn(async move { client.reserve(request).await })
    };
    let reserved = |desk: &mut Desk, key: &str| {
        let before = desk.taken().len();
        let call = reserve(key);
        until("the log has the Reserve", || desk.taken().len() > before);
        assert_eq!(desk.decide(), [EventKind::Accepted]);
        runtime().block_on(call).unwrap().unwrap();
    };
    reserved(&mut desk, "k");
    desk.gateway.saw_memory(1, 1);
    let refused = runtime().block_on(reserve("other")).unwrap().unwrap_err();
    let told = problem(&refused);
    assert_eq!((refused.code(), &*told.code, &*told.reason), (Code::Unavailable, "shed", "memory"));
    assert_eq!((told.outcome(), told.retryable), (v1::problem::Outcome::NotApplied, true));
    let (before, mut releasing) = (desk.taken().len(), client.clone());
    let request = v1::ReleaseRequest { reservation: id("k").to_string(), ..Default::default() };
    let release = runtime().spawn(async move { releasing.release(request).await });
    until("the log has the Release", || desk.taken().len() > before);
    assert_eq!(desk.decide(), [EventKind::Released]);
    runtime().block_on(release).unwrap().unwrap();
    desk.at(2 * DEDUP_WINDOW_MS);
    desk.gateway.saw_memory(1, 1);
    reserved(&mut desk, "other");
    desk.end();
}

/// The story: somebody browsed the interface, and a process that was to end waited for that connection until its time was over.
#[test]
fn a_caller_that_might_ask_more_does_not_keep_a_process_that_leaves() {
    let server = Server::alone();
    let mut reflection = ServerReflectionClient::new(channel(server.address));
    runtime().block_on(async {
        let (_open, requests) = tokio::sync::mpsc::channel::<ServerReflectionRequest>(1);
        let requests = ReceiverStream::new(requests);
        let mut answers = reflection.server_reflection_info(requests).await.unwrap().into_inner();
        server.service.leave();
        let ended = tokio::time::timeout(Duration::from_secs(30), answers.message()).await.unwrap();
        assert!(matches!(ended, Ok(None)), "{ended:?}");
    });
}

/// The story: a tool asked for the description again and again, and left each of its calls open. Their connections were busy, and
/// in the end no slot was left for callers.
#[test]
fn no_more_calls_of_reflection_are_left_open_than_a_process_has_places() {
    let server = Server::alone();
    let mut reflection = ServerReflectionClient::new(channel(server.address));
    runtime().block_on(async {
        let mut open = Vec::new();
        let refused = loop {
            assert!(open.len() < 100, "nobody is refused");
            let (send, requests) = tokio::sync::mpsc::channel::<ServerReflectionRequest>(1);
            match reflection.server_reflection_info(ReceiverStream::new(requests)).await {
                Ok(answers) => open.push((send, answers)),
                Err(status) => break problem(&status),
            }
        };
        assert_eq!((open.len(), &*refused.code, &*refused.reason), (64, "shed", "watches"));
        drop(open);
        let again = async {
            loop {
                let (_send, requests) = tokio::sync::mpsc::channel::<ServerReflectionRequest>(1);
                if reflection.server_reflection_info(ReceiverStream::new(requests)).await.is_ok() {
                    break;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(30), again).await.expect("a place is free when a call is over");
    });
}
