//! gRPC on Kafka: a gateway that owns nothing takes the calls, and other processes decide them.

use super::serve::{Serving, Site};
use super::service::all_events;
use crate::grpc::protocol::{RESERVE, frame, send};
use crate::grpc::watch::{Reader, changes_among, definition, one};
use crate::grpc::{CapacityClient, channel, problem};
use crate::rig::Rig;
use crate::server::runtime;
use crate::wait::until;
use headroom::api::grpc::v1::{self, pool_changed::Kind, problem::Outcome};
use headroom::limits::DEADLINE_MAX_MS;
use prost::Message;
use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};

/// What a caller sends who waits as long as anybody may, as a part of this trace.
fn asked<T>(message: T, trace_id: u128) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(Duration::from_millis(DEADLINE_MAX_MS));
    let parent = format!("00-{trace_id:032x}-00f067aa0ba902b7-00");
    request.metadata_mut().insert("traceparent", parent.parse().unwrap());
    request
}

fn keyed(key: &str) -> v1::ReserveRequest {
    v1::ReserveRequest { idempotency_key: key.to_owned(), ..one("p") }
}

/// The answer of a call that is repeated until it has one: while nobody owns the partition, calls time out.
#[track_caller]
fn answered<T, F>(client: &CapacityClient<Channel>, call: impl Fn(CapacityClient<Channel>) -> F) -> T
where
    F: Future<Output = Result<Response<T>, Status>>,
{
    let mut answer = None;
    until("the call is answered", || {
        answer = runtime().block_on(call(client.clone())).ok();
        answer.is_some()
    });
    answer.unwrap().into_inner()
}

/// The reservations of the pool, each on one page of its own, for which the next process is asked.
fn listed(processes: [&CapacityClient<Channel>; 2]) -> BTreeMap<String, v1::reservation::Status> {
    let (mut all, mut cursor) = (BTreeMap::new(), String::new());
    for client in processes.into_iter().cycle() {
        let (pool, limit) = ("p".to_owned(), Some(1));
        let request = v1::ListReservationsRequest { pool, limit, cursor, fresh: true, ..Default::default() };
        let page = answered(client, |mut client| {
            let request = request.clone();
            async move { client.list_reservations(request).await }
        });
        for of in page.reservations {
            let status = of.status();
            assert_eq!(all.insert(of.reservation, status), None);
        }
        cursor = page.next;
        if cursor.is_empty() {
            break;
        }
    }
    all
}

/// The sequence numbers of the changes up to this one.
fn told_until(reader: &mut Reader, last: u64) -> Vec<u64> {
    let mut told = Vec::new();
    while told.last() != Some(&last) {
        let changes = runtime().block_on(reader.changes()).unwrap();
        told.extend(changes.into_iter().map(|change| change.seq));
        assert!(told.last() <= Some(&last), "{told:?} goes past {last}");
    }
    told
}

/// An owner that stands still decides nothing in time, and the caller is told so in its trace.
fn check_that_a_late_call_is_told_so(owner: &Serving<'_>, gateway: SocketAddr) {
    owner.pause();
    let parent = format!("00-{:032x}-00f067aa0ba902b7-00", 8);
    let headers = [("grpc-timeout", "300m"), ("traceparent", &*parent)];
    let late = send(gateway, RESERVE, &headers, frame(0, &keyed("late").encode_to_vec()));
    let late = runtime().block_on(late).unwrap();
    owner.resume();
    let told = problem(&late);
    assert_eq!((late.code(), &*told.code), (Code::DeadlineExceeded, "timeout"));
    assert_eq!(told.trace_id, format!("{:032x}", 8));
    assert!(matches!(told.outcome(), Outcome::NotApplied | Outcome::Unknown), "{told:?}");
}

/// The story: the owner of a partition is replaced, as in every upgrade, while a partner calls another process over gRPC
/// and watches its pool. The watch tells each change once and in order, and then goes on at another process.
#[test]
fn grpc_calls_and_a_watch_go_on_while_the_partition_changes_hands() {
    let site = Site::new(Rig::shared(), 1);
    let first = site.serve("first");
    let gateway = site.serving("gateway").with(["--roles", "gateway"]);
    gateway.start();
    gateway.ready();
    let address = gateway.whereabouts().now().unwrap();
    let mut client = CapacityClient::new(channel(address));
    let (kept, mut watched) = runtime().block_on(async {
        client.define_pool(asked(definition("p", 10, &[]), 1)).await.unwrap();
        let pool = v1::GetPoolRequest { pool: "p".to_owned(), fresh: true };
        assert_eq!(client.get_pool(pool).await.unwrap().into_inner().version, 1);
        let mut watched = Reader::begin(&mut client, v1::WatchPoolsRequest::default()).await.unwrap();
        assert_eq!(watched.snapshot().await, ["p"]);
        let kept = client.reserve(asked(keyed("kept"), 7)).await.unwrap();
        assert_eq!(kept.metadata().get("x-request-id").unwrap(), &format!("{:032x}", 7));
        (kept.into_inner(), watched)
    });
    let (begun, proof) = (watched.position[&0], kept.proof.clone().unwrap());

    check_that_a_late_call_is_told_so(&first, address);
    let second = site.serve("second");
    first.terminate();
    let after = answered(&client, |mut client| async move { client.reserve(asked(keyed("after"), 9)).await });
    let of_second = after.proof.unwrap();
    assert!(of_second.epoch > proof.epoch, "{of_second:?} after {proof:?}");
    let release = v1::ReleaseRequest { reservation: kept.reservation.clone(), idempotency_key: "release".to_owned() };
    let released = answered(&client, |mut client| {
        let release = release.clone();
        async move { client.release(asked(release, 10)).await }
    });
    // The gateway does not own the partition, and every other page is asked of the owner.
    let owner = CapacityClient::new(channel(second.whereabouts().now().unwrap()));
    let listed = listed([&client, &owner]);
    assert_eq!(listed.get(&kept.reservation), Some(&v1::reservation::Status::Released), "{listed:?}");
    assert_eq!(listed.get(&after.reservation), Some(&v1::reservation::Status::Confirmed), "{listed:?}");

    let read = v1::GetReservationRequest { reservation: kept.reservation, fresh: true };
    let read = answered(&client, |mut client| {
        let read = read.clone();
        async move { client.get_reservation(read).await }
    });
    assert_eq!(read.status(), v1::reservation::Status::Released);
    let pool = v1::GetPoolRequest { pool: "p".to_owned(), fresh: true };
    let pool = answered(&client, |mut client| {
        let pool = pool.clone();
        async move { client.get_pool(pool).await }
    });
    assert_eq!(pool.used["orders"], 1, "what was late holds nothing");

    let last = released.proof.unwrap().seq;
    let told = told_until(&mut watched, last);
    let events = all_events(&site.log(), 0);
    let changes = changes_among(0, &events).map(|(_, seq)| seq).filter(|seq| (begun..=last).contains(seq));
    assert_eq!(told, changes.collect::<Vec<_>>());
    for (seq, trace_id) in [(proof.seq, 7), (last, 10)] {
        let event = events.iter().find(|event| event.seq == seq).unwrap();
        assert_eq!(event.trace.as_ref().map(|trace| trace.trace_id), Some(trace_id), "event {seq}");
    }

    gateway.terminate();
    let ended = runtime().block_on(watched.changes()).unwrap_err();
    let told = problem(&ended);
    assert_eq!((ended.code(), &*told.code, &*told.reason), (Code::Unavailable, "shed", "closing"));
    let mut client = CapacityClient::new(channel(second.whereabouts().now().unwrap()));
    let request = v1::WatchPoolsRequest { position: told.position, ..Default::default() };
    runtime().block_on(async {
        let mut watched = Reader::begin(&mut client, request).await.unwrap();
        let release = v1::ReleaseRequest { reservation: after.reservation, ..Default::default() };
        client.release(asked(release, 11)).await.unwrap();
        assert_eq!(watched.next(1).await, [("p".to_owned(), Kind::Released, true)]);
    });
    let verified = site.run(["verify"]);
    assert_eq!(verified.code, 0, "{}{}", verified.out, verified.err);
}
