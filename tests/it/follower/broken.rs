//! What a follower does when the log does not go on from the state of its checkpoint: the checkpoint may be wrong, or the log
//! may have lost what it has seen.

use super::{Following, Stream, with_a_checkpoint};
use crate::owner::world;
use crate::world::Heard;
use headroom::domain::{Law, Micros};
use headroom::log::embedded::Embedded;
use headroom::log::{CommittedTail, LogError, StoredEvent};
use headroom::owner::checkpointer::Checkpointer;
use headroom::owner::follower::{EndOffsetProbe, Follower};
use headroom::owner::recover::Recovery;
use headroom::replica::{PartitionStatus, Replica, StatusKind};
use headroom::store::Store;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

#[test]
fn a_checkpoint_that_the_log_does_not_go_on_from_is_removed_and_all_is_read() {
    let other = with_a_checkpoint();
    let following = Following::with(world(), other);
    following.run(|_| {});
    assert_eq!(*following.asked.lock(), [(0, Some(1)), (0, None), (0, Some(0))]);
    assert_eq!(following.world.heard.wiped.lock().len(), 1);
    following.assert_is_the_logs();
}

#[test]
fn a_restored_state_that_turns_out_broken_is_not_read_before_it_is_whole_again() {
    let other = with_a_checkpoint();
    let following = Following::with(world(), other);
    following.hidden.store(1, Relaxed);
    following.run(|round| {
        let next_seq = following.handle().read(|state| state.position().next_seq);
        match round {
            0 => assert_eq!((next_seq, following.handle().status()), (1, PartitionStatus::Standby)),
            1 => assert_eq!((next_seq, following.handle().status()), (0, PartitionStatus::Restoring)),
            _ => {}
        }
        following.hidden.store(u64::MAX, Relaxed);
    });
    assert_eq!(following.handle().status(), PartitionStatus::Standby);
    following.assert_is_the_logs();
}

/// A log, what it is after it has lost its end and another owner has gone on with it, and whether that is so; then it may not
/// answer.
struct Lossy {
    seen: Arc<Embedded>,
    left: Arc<Embedded>,
    has_lost: AtomicBool,
    is_silent: AtomicBool,
}

impl Lossy {
    fn log(&self) -> &Embedded {
        if self.has_lost.load(Relaxed) { &self.left } else { &self.seen }
    }
}

impl CommittedTail for Lossy {
    fn partitions(&self) -> u32 {
        1
    }

    fn end(&self, partition: u32) -> Result<u64, LogError> {
        if self.is_silent.load(Relaxed) { Err(LogError::transient("silent")) } else { self.log().end(partition) }
    }

    fn read(&self, partition: u32, from_seq: u64, bytes_max: usize) -> Result<Vec<StoredEvent>, LogError> {
        self.log().read(partition, from_seq, bytes_max)
    }
}

/// The story: a cluster loses its last events, and the partition is given to a process that has never seen them. It goes on,
/// and gives away again what they had promised. The other processes meet events that do not follow on what they have. One whose
/// state had begun with a checkpoint took that for a wrong checkpoint: it deleted it, read the log, and noted over what it had
/// seen. Nobody was told.
#[test]
fn a_log_that_has_lost_what_a_follower_has_seen_is_no_wrong_checkpoint() {
    let (before, after) = (with_a_checkpoint(), world());
    let [has_lost, is_silent] = [false; 2].map(AtomicBool::new);
    let tail = Lossy { seen: Arc::clone(&before.log), left: Arc::clone(&after.log), has_lost, is_silent };
    let heard = Heard::default();
    heard.may_fail.store(true, Relaxed);
    let recovery = Recovery {
        log_id: before.log.manifest().log_id,
        tail: &tail,
        store: &before.store,
        snapshots: None,
        clock: &after.clock,
        report: &heard,
        on_committed: &|_| {},
    };
    let (replica, probe) = (Replica::shared(1), EndOffsetProbe::new(1));
    let (checkpointer, _work) = Checkpointer::new(recovery.log_id);
    let (asked, hidden, waited) = (Mutex::default(), AtomicU64::new(1), AtomicU32::new(0));
    let (refused, unread) = (AtomicU32::new(u32::MAX), AtomicU64::new(u64::MAX));
    let stream = Stream {
        log: Arc::clone(&after.log),
        next: BTreeMap::new(),
        asked: &asked,
        handing: &|_| {},
        hidden: &hidden,
        refused: &refused,
        unread: &unread,
        waited: &waited,
    };
    let mut follower = Follower::new(stream, &replica, &recovery, &checkpointer, &probe);
    let handle = replica.partition(0).unwrap();
    let mut round = || {
        follower.round(Duration::from_millis(1)).unwrap();
        (handle.status_kind(), handle.read(|state| state.position().next_seq))
    };
    let seen = before.store.seen(0).unwrap();
    assert_eq!(round(), (StatusKind::Standby, 1), "it has what its checkpoint has");

    hidden.store(u64::MAX, Relaxed);
    tail.has_lost.store(true, Relaxed);
    tail.is_silent.store(true, Relaxed);
    assert_eq!(round(), (StatusKind::Standby, 1), "nobody knows yet which of both is wrong");
    assert_eq!(handle.read_error().as_deref(), Some("silent"));

    tail.is_silent.store(false, Relaxed);
    after.clock.set(Micros(10_000_000));
    assert_eq!(round(), (StatusKind::Failed, 1));
    let PartitionStatus::Failed { why } = handle.status() else { panic!("{:?}", handle.status()) };
    assert!(why.contains("event 0 is not the one that was seen as committed"), "{why}");
    assert_eq!(heard.breaches.lock().iter().map(|breach| breach.law).collect::<Vec<_>>(), [Law::LogIsTruth]);
    assert_eq!((before.store.seen(0).unwrap(), heard.wiped.lock().len()), (seen, 0), "what shows it is left");
}
