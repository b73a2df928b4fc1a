//! Callers who hang up and a service that stops, over the real composition: nobody who was told no holds anything, and
//! everybody who was told yes does.

use super::client::{Client, request};
use crate::process::{Served, headroom};
use crate::server::Server;
use crate::wait::until;
use headroom::app::ADDRESS_FILE;
use headroom::domain::{PoolId, ReservationId};
use headroom::log::CommittedTail;
use headroom::log::embedded::EmbeddedReader;
use headroom::owner::recover::rebuild;
use headroom::time::SystemClock;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

const CALLERS: usize = 64;
const ROUNDS: usize = 50;
pub const ONE: &str = r#"{"pool":"p","demand":{"orders":1}}"#;

/// The value of the samples whose lines start with this, added up.
pub fn counted(client: &mut Client, start: &str) -> u64 {
    let text = client.get("/metrics").body;
    let values = text.lines().filter(|line| line.starts_with(start)).filter_map(|line| line.rsplit(' ').next());
    values.map(|value| value.parse::<u64>().unwrap()).sum()
}

/// The story: callers lose their connection, or give up, while their Reserve is being decided. Nobody will ever confirm
/// what it reserved, and the capacity would be gone. What they reserved is taken back.
#[test]
fn callers_who_hang_up_leave_nothing_behind() {
    let server = Server::alone();
    server.pool("p", 1_000_000);
    hung_up(|| server.client());
}

/// Calls pool `p`, and hangs up half of the time.
pub fn hung_up(connect: impl Fn() -> Client) {
    let mut operator = connect();
    let bytes = request("POST", "/v1/reservations", &["Request-Timeout-Ms: 5000"], ONE.as_bytes());
    let released = "headroom_events_total{kind=\"Released\"";
    let mut told = 0;
    for _ in 0..ROUNDS {
        let mut callers: Vec<Client> = (0..CALLERS).map(|_| connect()).collect();
        callers.iter_mut().for_each(|caller| caller.write(&bytes));
        let mut at = 0;
        callers.retain(|_| {
            at += 1;
            at % 2 == 0
        });
        assert!(callers.iter_mut().all(|caller| caller.read().is_some_and(|reply| reply.status == 201)));
        told += callers.len() as u64;
        if counted(&mut operator, released) > 0 {
            break;
        }
    }
    assert!(counted(&mut operator, released) > 0, "nobody hung up in time");
    until("no connection but this one is open", || counted(&mut operator, "headroom_http_connections") == 1);
    until("no call is pending", || counted(&mut operator, "headroom_correlator_pending") == 0);
    // An answer that could not be told is taken back by a command of its own, which is no pending call.
    let mut stand = 0;
    until("what stands is what was accepted and not given back", || {
        let accepted = counted(&mut operator, "headroom_events_total{kind=\"Accepted\"");
        stand = accepted - counted(&mut operator, released);
        let used = &operator.get("/v1/pools/p?fresh=true").json()["used"]["orders"];
        *used == stand && counted(&mut operator, "headroom_reservations_live") == stand
    });
    assert!(stand >= told, "{stand} stand, {told} were told");
}

#[test]
fn what_was_told_at_shutdown_is_what_the_next_start_finds() {
    let dir = tempfile::tempdir().unwrap();
    let limit = CALLERS / 2;
    let server = Server::start(dir.path(), 1, Arc::new(SystemClock::new()));
    server.pool("p", limit as u64);
    let head =
        request("POST", "/v1/reservations", &["Expect: 100-continue", "Request-Timeout-Ms: 5000"], ONE.as_bytes());
    let mut callers: Vec<Client> = (0..CALLERS).map(|_| server.client()).collect();
    // Every call is known to the server, half of them as far as its gateway can take them, when the end begins.
    for caller in &mut callers {
        assert_eq!(caller.raw(&head[..head.len() - ONE.len()]).status, 100);
    }
    assert!(dir.path().join(ADDRESS_FILE).exists());
    let (early, late) = callers.split_at_mut(CALLERS / 2);
    early.iter_mut().for_each(|caller| caller.write(ONE.as_bytes()));
    let mut replies = Vec::new();
    std::thread::scope(|scope| {
        let stopping = scope.spawn(move || drop(server));
        late.iter_mut().for_each(|caller| caller.write(ONE.as_bytes()));
        replies.extend(early.iter_mut().chain(late).map(|caller| caller.read().unwrap()));
        stopping.join().unwrap();
    });
    let mut yes = BTreeSet::new();
    for reply in replies {
        match reply.status {
            201 => assert!(yes.insert(ReservationId::parse(reply.json()["reservation"].as_str().unwrap()).unwrap())),
            409 => assert_eq!(reply.code(), "over_limit"),
            _ => assert_eq!((reply.status, reply.json()["outcome"].as_str()), (503, Some("not_applied")), "{reply:?}"),
        }
    }
    assert!(!dir.path().join(ADDRESS_FILE).exists());
    // The last task that knows the log may outlive the service by a moment.
    until("the log is let go of", || EmbeddedReader::open(dir.path()).is_ok());
    let log = EmbeddedReader::open(dir.path()).unwrap();
    let state = rebuild(&log, 0, log.end(0).unwrap(), &mut |_| {}).unwrap();
    assert_eq!(state.live().into_iter().map(|(id, _)| id).collect::<BTreeSet<_>>(), yes);
    drop(log);

    let server = Server::start(dir.path(), 1, Arc::new(SystemClock::new()));
    let c = &mut server.client();
    assert_eq!(counted(c, "headroom_recovery_events"), 0, "the checkpoint is not at the log's end");
    assert_eq!(counted(c, "headroom_reservations_live"), yes.len() as u64);
    let pool = c.get(&format!("/v1/pools/{}", PoolId::new("p").unwrap())).json();
    assert_eq!(pool["used"]["orders"], yes.len());
}

/// Calls until nobody listens any more; on one connection for as long as the answers do not end it, or on one each.
fn call_on(address: SocketAddr, keeps: bool, answered: &AtomicUsize) {
    let bytes = request("POST", "/v1/reservations", &[], ONE.as_bytes());
    while let Ok(mut client) = Client::reach(address) {
        loop {
            client.write(&bytes);
            let reply = client.read().unwrap_or_else(|| panic!("no answer, keeps: {keeps}"));
            assert!(matches!(reply.status, 201 | 503 | 504), "{reply:?}");
            answered.fetch_add(1, Relaxed);
            if !keeps || reply.header("connection") == Some("close") {
                break;
            }
        }
    }
}

/// Ends a process while so many callers call; each runs this with its number, and counts its answers.
pub fn ended_while_called(callers: usize, call: impl Fn(SocketAddr, usize, &AtomicUsize) + Sync) {
    let dir = tempfile::tempdir().unwrap();
    let serve = ["serve", "--listen", "127.0.0.1:0", "--partitions", "1", "--data-dir"];
    let Served { running, url } = Served::start(headroom(serve).arg(dir.path()));
    let address = url.strip_prefix("http://").unwrap().parse().unwrap();
    let limit = r#"{"limits":{"orders":1000000}}"#;
    assert_eq!(Client::connect(address).send("PUT", "/v1/pools/p", &[], limit).status, 201);
    let (call, answered) = (&call, &AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for n in 0..callers {
            scope.spawn(move || call(address, n, answered));
        }
        until("calls are answered", || answered.load(Relaxed) > 20 * callers);
        assert_eq!(running.terminate().code, 0);
    });
}

/// The story: a deployment ends the process while calls are in flight. Callers who are cut off do not know whether they
/// hold anything. Each call that was sent is answered first.
#[test]
fn a_process_that_is_told_to_end_answers_every_call_it_was_sent() {
    ended_while_called(CALLERS, |address, n, answered| call_on(address, n % 2 == 0, answered));
}
