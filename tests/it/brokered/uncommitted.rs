//! What is in a transaction that was aborted, or that nobody has ended, is nowhere: not in a follower's state, not in
//! what is read, not in an answer, not in a checkpoint. Whoever holds readers up does so until its time is over.

use super::answers::{Told, pool};
use super::foreign_writer::Rogue;
use super::service::Log;
use crate::server::Server;
use crate::wait::until;
use headroom::domain::{Ledger, ReservationId};
use headroom::log::kafka::Kafka;
use headroom::log::{ClusterLog, CommittedTail, EndOffsets, EventStream, PartitionLog, Streamed};
use headroom::time::{Clock, Stopwatch, SystemClock};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// Longer than the test looks on, and not much longer.
const STRANGER_MS: u32 = 6_000;

fn serve(log: &Log, dir: &Path, roles: &str) -> Server {
    log.serve(dir, roles, Arc::new(SystemClock::new()))
}

/// An owner, its follower, and what a caller was told by the owner: one yes.
fn begun(log: &Log, dirs: &[TempDir; 2]) -> (Server, Server, Told) {
    let owner = serve(log, dirs[0].path(), "gateway,owner");
    let follower = serve(log, dirs[1].path(), "gateway");
    pool(&owner, "van-1", 100);
    let mut told = Told::default();
    assert!(told.reserve(&owner, "van-1", "first"));
    (owner, follower, told)
}

fn knows(server: &Server, id: ReservationId) -> bool {
    let handle = server.gateway.replica().partition(0).unwrap();
    handle.read(|state| state.reservation(&id).is_some())
}

fn followed(server: &Server) -> u64 {
    server.gateway.replica().partition(0).unwrap().read(|state| state.position().next_seq)
}

/// How old this process says that its state is.
fn staleness(server: &Server) -> Duration {
    let gateway = &server.gateway;
    Duration::from_micros(gateway.replica().partition(0).unwrap().staleness_us(gateway.now()))
}

/// The units that a caller of this process sees in use.
fn used(server: &Server, pool: &str) -> u64 {
    server.client().get(&format!("/v1/pools/{pool}")).json()["used"]["orders"].as_u64().unwrap()
}

/// What a stream hands over until it says that it is at the end.
fn streamed(log: &Kafka) -> u64 {
    let mut stream = log.stream().unwrap();
    stream.follow(0, 0).unwrap();
    let (mut next_seq, mut at_end) = (0, false);
    until("the stream is at the end", || {
        match stream.next(Duration::from_millis(10)).unwrap() {
            Some((_, Streamed::Event(event))) => next_seq = event.seq + 1,
            Some((_, Streamed::End)) => at_end = true,
            Some((_, Streamed::Broken(breach))) => panic!("{breach}"),
            Some((_, Streamed::Failed(error))) => panic!("{error}"),
            None => {}
        }
        at_end
    });
    next_seq
}

/// The story: a transaction on the events' topic is aborted, be it an owner's or a stranger's; its records stay in the
/// log for good. A reader that took them for committed would hold an order that nobody was told. They are in no state,
/// no answer, no checkpoint and no stream.
#[test]
fn events_of_an_aborted_transaction_are_nowhere() {
    let log = Log::new(1);
    let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let (owner, follower, mut told) = begun(&log, &dirs);
    let mut forged = Vec::new();
    for as_owner in [false, true] {
        let rogue = if as_owner { Rogue::as_owner(&log) } else { Rogue::stranger(&log, STRANGER_MS) };
        let before = log.events(0);
        forged.push(rogue.forge("van-1", &format!("forged-{as_owner}")));
        let tail = log.open();
        assert_eq!(tail.end(0), Ok(before.len() as u64), "before it is aborted");
        assert_eq!((streamed(&tail), log.events(0).len()), (before.len() as u64, before.len()));
        // The owner may have been there first: it was fenced, and took the partition back.
        assert!(rogue.abort().is_ok() || as_owner);
        // From here on they lie before events that count.
        until("a caller is told yes", || told.reserve(&owner, "van-1", &format!("{as_owner}-{}", told.no())));
        until("the follower has it", || used(&follower, "van-1") == told.yes() as u64);
    }
    let state = told.check(&log, 0);
    log.alike(0, &[&owner, &follower]);
    assert!(forged.iter().all(|id| state.reservation(id).is_none() && !knows(&owner, *id) && !knows(&follower, *id)));
    // Both write a checkpoint as they end, and begin with it.
    drop((owner, follower));
    let owner = serve(&log, dirs[0].path(), "gateway,owner");
    let follower = serve(&log, dirs[1].path(), "gateway");
    assert!(told.reserve(&owner, "van-1", "last"));
    log.alike(0, &[&owner, &follower]);
    assert!(!forged.iter().any(|id| knows(&owner, *id) || knows(&follower, *id)));
    told.check(&log, 0);
}

/// The story: a follower was cut off for some seconds. What it read after that counted as written a moment ago, so that this
/// machine's clock seemed to be seconds ahead of its broker's.
#[test]
fn what_is_read_late_does_not_make_this_machines_clock_wrong() {
    let (log, dir) = (Log::new(1), tempfile::tempdir().unwrap());
    let owner = serve(&log, dir.path(), "gateway,owner");
    pool(&owner, "van-1", 100);
    let kafka = log.open();
    let mut stream = kafka.stream().unwrap();
    stream.follow(0, 0).unwrap();
    until("the stream is at the end of all that is written", || {
        let is_end = matches!(stream.next(Duration::from_millis(10)).unwrap(), Some((_, Streamed::End)));
        is_end && stream.places() == [(0, kafka.end_offset(0).unwrap())]
    });
    assert!(Told::default().reserve(&owner, "van-1", "first"));
    let written = Stopwatch::start();
    until("three seconds have passed", || written.elapsed() >= Duration::from_secs(3));
    until("the event is read", || {
        matches!(stream.next(Duration::from_millis(10)).unwrap(), Some((_, Streamed::Event(_))))
    });
    let stamp = kafka.broker_clock(0).expect("the end was asked for before the event was written");
    let offset = SystemClock::new().offset(&stamp);
    assert!(offset.0.abs() < 1_000_000, "{offset}");
}

/// The story: a client opens a transaction on the events' topic and hangs. Committed readers see nothing behind it: a
/// follower that did not know would call an old state current, and a new owner would wait for ever. The owner goes on,
/// followers say how old they are, and the broker ends the transaction in time.
#[test]
fn an_open_transaction_hides_later_events_for_a_bounded_time() {
    let log = Log::new(1);
    let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let (owner, follower, mut told) = begun(&log, &dirs);
    until("the follower has it", || used(&follower, "van-1") == 1);
    let rogue = Rogue::stranger(&log, STRANGER_MS);
    let forged = rogue.forge("van-1", "forged");
    let before = followed(&follower);
    assert!(told.reserve(&owner, "van-1", "hidden"));
    let hidden = Stopwatch::start();
    // The owner goes on, and its callers are answered, wherever they ask: replies are of no transaction.
    for n in 1..5 {
        assert!(told.reserve(&owner, "van-1", &format!("open-{n}")));
        assert!(told.reserve(&follower, "van-1", &format!("reply-{n}")));
    }
    // Whoever reads committed events sees none of it, and nothing of what comes after it either.
    let kafka = log.open();
    assert_eq!((followed(&follower), used(&follower, "van-1"), kafka.end(0)), (before, 1, Ok(before)));
    assert_eq!((streamed(&kafka), used(&owner, "van-1")), (before, 10));
    assert!(!knows(&owner, forged) && !knows(&follower, forged));
    // And says so: it is as old as what it does not see. Nobody else's answers are.
    until("a second has passed", || {
        let since = hidden.elapsed();
        let stale = staleness(&follower);
        assert!(followed(&follower) > before || stale >= since, "{stale:?} old, without what is {since:?} old");
        since >= Duration::from_secs(1)
    });
    println!("hidden for {:.1?}: the follower says {:.1?}", hidden.elapsed(), staleness(&follower));
    // A new owner waits for the end of it, and then knows all that was decided.
    drop(owner);
    let owner = serve(&log, dirs[0].path(), "gateway,owner");
    assert_eq!(used(&owner, "van-1"), 10);
    until("the follower goes on", || used(&follower, "van-1") == 10);
    until("and is current", || staleness(&follower) < Duration::from_secs(1));
    assert!(rogue.abort().is_err(), "the broker has ended it long ago");
    assert!(told.reserve(&follower, "van-1", "last"));
    log.alike(0, &[&owner, &follower]);
    assert!(!knows(&owner, forged) && !knows(&follower, forged));
    told.check(&log, 0);
}

/// The story: the same for a claim, which reads while transactions are open. If it folded an aborted event its state
/// would differ from everybody's. It folds what was committed before and after, and nothing between.
#[test]
fn a_claim_folds_nothing_of_an_aborted_transaction() {
    let log = Log::new(1);
    let dir = tempfile::tempdir().unwrap();
    let owner = serve(&log, dir.path(), "gateway,owner");
    pool(&owner, "van-1", 100);
    let rogue = Rogue::stranger(&log, STRANGER_MS);
    rogue.forge("van-1", "forged");
    rogue.abort().unwrap();
    assert!(Told::default().reserve(&owner, "van-1", "after"));
    drop(owner);
    let mut folded = Vec::new();
    let mut next_input = 0;
    let claimed = log.open().claim(0, 0, &mut |event| {
        let recorded = headroom::wire::event::decode(&event.bytes).unwrap().event;
        next_input = recorded.cause.map_or(next_input, |cause| cause.input_offset + 1);
        folded.push(event);
        Ok(next_input)
    });
    drop(claimed.unwrap());
    assert_eq!(folded, log.events(0));
    assert_eq!((next_input, log.audited(0).len()), (2, folded.len()));
}
