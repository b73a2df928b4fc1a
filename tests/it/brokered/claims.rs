//! What taking a partition costs: how long it takes, which is printed, and what is read of the log for it.

use super::answers::{Told, pool};
use super::service::Log;
use crate::server::Server;
use crate::wait::until;
use crate::world::Heard;
use headroom::log::PartitionLog;
use headroom::log::kafka::Kafka;
use headroom::owner::recover::{Recovery, fold_stored};
use headroom::replica::{PartitionState, PartitionStatus, Replica};
use headroom::store::sled::SledStore;
use headroom::time::{Stopwatch, SystemClock};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

/// The client asks for its coordinator that often: a claim that has to ask first waits for it.
const COORDINATOR_LOOK: Duration = Duration::from_millis(500);
const CLAIMS: usize = 12;

#[test]
fn a_claim_of_an_idle_partition_does_not_wait_for_the_coordinator() {
    let log = Log::new(1);
    let claim = |kafka: &Kafka| {
        let claiming = Stopwatch::start();
        let owned = kafka.claim(0, 0, &mut |_| Ok(0)).unwrap();
        let took = claiming.elapsed();
        drop(owned);
        took
    };
    let sorted = |claims: &mut dyn FnMut(usize) -> Duration| {
        let mut took: Vec<_> = (0..CLAIMS).map(claims).collect();
        took.sort_unstable();
        took
    };
    let cold = sorted(&mut |_| claim(&log.open()));
    // After each claim clients are made for the next, while nobody waits.
    let processes = [log.open(), log.open()];
    let warm = sorted(&mut |n| claim(&processes[n % 2]));
    println!("claims: in a new process {cold:.1?}; in turns between two {warm:.1?}");
    assert!(cold[0] < COORDINATOR_LOOK && warm[0] < COORDINATOR_LOOK);
}

#[test]
fn a_claim_reads_only_what_the_state_lacks() {
    let log = Log::new(1);
    let dir = tempfile::tempdir().unwrap();
    let server = log.serve_alone(dir.path());
    pool(&server, "van-1", 1_000);
    let mut told = Told::default();
    (0..30).for_each(|n| assert!(told.reserve(&server, "van-1", &format!("K{n}"))));
    drop(server);
    let events = log.events(0);
    for known in [0, 1, events.len() / 2, events.len() - 1, events.len()] {
        let handle = Arc::clone(Replica::new(1).partition(0).unwrap());
        handle.write(|state| events[..known].iter().for_each(|event| drop(fold_stored(state, event).unwrap())));
        let (dir, clock, heard, folded) =
            (tempfile::tempdir().unwrap(), SystemClock::new(), Heard::default(), AtomicUsize::new(0));
        let (kafka, store) = (log.open(), SledStore::open(dir.path()));
        let recovery = Recovery {
            log_id: log.manifest.log_id,
            tail: &kafka,
            store: &store,
            snapshots: None,
            clock: &clock,
            report: &heard,
            on_committed: &|_| {
                folded.fetch_add(1, Relaxed);
            },
        };
        drop(recovery.claim(&kafka, &handle, false).unwrap());
        assert_eq!(folded.into_inner(), events.len() - known);
        assert_eq!(handle.read(PartitionState::digest), log.rebuilt(0).digest());
    }
    told.check(&log, 0);
}

/// A process that followed takes over from one that ends: there is next to nothing to read.
#[test]
fn a_follower_takes_over_with_the_state_it_has() {
    let log = Log::new(1);
    let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let first = log.serve(dirs[0].path(), "gateway,owner", Arc::new(SystemClock::new()));
    pool(&first, "van-1", 1_000);
    let mut told = Told::default();
    (0..30).for_each(|n| assert!(told.reserve(&first, "van-1", &format!("K{n}"))));
    let config = log.config(dirs[1].path(), "gateway,owner");
    let second = Server::of(&config, Arc::new(SystemClock::new()));
    let handle = second.gateway.replica().partition(0).unwrap();
    let end = first.gateway.replica().partition(0).unwrap().read(|state| state.position().next_seq);
    until("it follows", || {
        handle.status() == PartitionStatus::Standby && handle.read(|s| s.position().next_seq) == end
    });
    let ending = Stopwatch::start();
    drop(first);
    let ended = ending.elapsed();
    until("it owns", || handle.status() == PartitionStatus::Active);
    println!("the first process ended within {ended:.1?}, the second owned after {:.1?}", ending.elapsed());
    let metrics = second.client().get("/metrics").body;
    let read = metrics.lines().find_map(|line| line.strip_prefix("headroom_recovery_events{partition=\"0\"} "));
    assert_eq!(read, Some("0"), "events read by the claim");
    assert!(told.reserve(&second, "van-1", "after"));
    log.alike(0, &[&second]);
    told.check(&log, 0);
}
