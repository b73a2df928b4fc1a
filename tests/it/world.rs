//! A partition's owner in a test's hands: a real log and store in a temporary directory, turns at times of the test's
//! choosing.

use crate::wait::soon;
use headroom::domain::{Breach, ChainedEvent, Micros};
use headroom::log::embedded::{Embedded, OpenError, Options, Owned};
use headroom::log::{CommitOutcome, LogError, OwnedPartition};
use headroom::owner::recover::{Recovery, rebuild};
use headroom::owner::{OwnerEnd, Partition, Recovered, Report, Staged, TurnReport};
use headroom::replica::{Compared, PartitionHandle, PartitionStatus, Replica, StatusKind};
use headroom::store::sled::SledStore;
use headroom::store::{Snapshots, Store};
use headroom::time::{Clock, Offset, Stamp};
use parking_lot::Mutex;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// A clock that stands still until it is told otherwise.
#[derive(Default)]
pub struct ManualClock {
    now: AtomicU64,
    wall: AtomicU64,
}

impl ManualClock {
    pub fn at(now: Micros) -> ManualClock {
        let clock = ManualClock::default();
        clock.set(now);
        clock
    }

    /// Both clocks show this; the steady one never goes back.
    pub fn set(&self, now: Micros) {
        self.now.fetch_max(now.0, Relaxed);
        self.step(now);
    }

    /// The wall clock alone shows this.
    pub fn step(&self, wall: Micros) {
        self.wall.store(wall.0, Relaxed);
    }

    /// So much time passes by both clocks.
    pub fn pass_ms(&self, ms: u64) {
        self.now.fetch_add(ms * 1_000, Relaxed);
        self.wall.fetch_add(ms * 1_000, Relaxed);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Micros {
        Micros(self.now.load(Relaxed))
    }

    fn wall(&self) -> Micros {
        Micros(self.wall.load(Relaxed))
    }

    /// In its world it is the only clock: those of real brokers show another day.
    fn offset(&self, _: &Stamp) -> Offset {
        Offset(0)
    }
}

/// Listens, and keeps why stores were wiped.
#[derive(Default)]
pub struct Heard {
    pub wiped: Mutex<Vec<String>>,
    /// Why checkpoints were not used and not wiped.
    pub unused: Mutex<Vec<String>>,
    /// The snapshots that were used, and why others were not.
    pub snapshots: Mutex<Vec<Result<String, String>>>,
    /// Why a partition could not be followed, and that it could again.
    pub unread: Mutex<Vec<Option<String>>>,
    /// For how long nobody had decided, of each owner that began.
    pub gaps: Mutex<Vec<Option<u64>>>,
    /// Partitions whose states were replaced, and how the old one compared.
    pub swapped: Mutex<Vec<(u32, Compared)>>,
    /// A partition that is claimed while the exchange of its state is reported. Its claim is not held up.
    pub claimed_then: Mutex<Option<Arc<PartitionHandle>>>,
    pub breaches: Mutex<Vec<Breach>>,
    /// How many events were read of the log, by each start.
    pub read: Mutex<Vec<u64>>,
    /// Whether a partition is expected to halt.
    pub may_fail: AtomicBool,
}

impl Report for Heard {
    fn began(&self, _partition: u32, gap_us: Option<u64>) {
        self.gaps.lock().push(gap_us);
    }
    fn ended(&self, _partition: u32, _end: OwnerEnd) {}
    fn turn(&self, _partition: u32, _report: &TurnReport) {}
    fn checkpoint(&self, _partition: u32, result: Result<usize, &str>) {
        assert!(result.is_ok() || self.may_fail.load(Relaxed), "{result:?}");
    }
    fn store_wiped(&self, _partition: u32, why: &str) {
        self.wiped.lock().push(why.to_owned());
    }
    fn checkpoint_unused(&self, _partition: u32, why: &str) {
        self.unused.lock().push(why.to_owned());
    }
    fn snapshot(&self, _partition: u32, result: Result<&str, &str>) {
        self.snapshots.lock().push(result.map(str::to_owned).map_err(str::to_owned));
    }
    fn recovered(&self, _partition: u32, recovered: &Recovered) {
        self.read.lock().push(recovered.read);
    }
    fn unread(&self, _partition: u32, why: Option<&LogError>) {
        self.unread.lock().push(why.map(|error| error.detail.clone()));
    }
    fn swapped(&self, partition: u32, compared: &Compared) {
        if let Some(handle) = self.claimed_then.lock().take() {
            let claim = std::thread::spawn(move || becomes(&handle, PartitionStatus::Claiming));
            assert!(soon(|| claim.is_finished()), "a claim waits for a report");
        }
        self.swapped.lock().push((partition, *compared));
    }
    fn breach(&self, breach: &Breach) {
        self.breaches.lock().push(breach.clone());
        assert!(self.may_fail.load(Relaxed), "{breach}");
    }
    fn failed(&self, partition: u32, why: &str) {
        assert!(self.may_fail.load(Relaxed), "partition {partition} failed: {why}");
    }
}

pub struct World {
    dir: tempfile::TempDir,
    pub log: Arc<Embedded>,
    pub store: SledStore,
    pub snapshots: Option<Arc<dyn Snapshots>>,
    pub clock: ManualClock,
    pub heard: Heard,
    partitions: u32,
}

impl World {
    pub fn new(partitions: u32) -> World {
        let dir = tempfile::tempdir().unwrap();
        let log = World::open(dir.path(), partitions, None).unwrap();
        World::of(dir, log, partitions)
    }

    /// The same, over a log whose segments are sealed at so many bytes.
    pub fn sealing_at(partitions: u32, segment_bytes: u64) -> World {
        let dir = tempfile::tempdir().unwrap();
        let log = World::open(dir.path(), partitions, Some(segment_bytes)).unwrap();
        World::of(dir, log, partitions)
    }

    /// Opens a log, or makes it.
    pub fn open(dir: &Path, partitions: u32, segment_bytes: Option<u64>) -> Result<Arc<Embedded>, OpenError> {
        let options = Options { partitions: Some(partitions), log_id: 7, now: Micros(0) };
        match segment_bytes {
            None => Embedded::open(dir, options),
            Some(bytes) => Embedded::open_sealing_at(dir, options, bytes),
        }
    }

    /// Over an open log in this directory.
    pub fn of(dir: tempfile::TempDir, log: Arc<Embedded>, partitions: u32) -> World {
        let store = SledStore::open(dir.path());
        World { dir, log, store, snapshots: None, clock: ManualClock::default(), heard: Heard::default(), partitions }
    }

    /// Where its files are.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// What is left when it is over.
    pub fn close(self) -> tempfile::TempDir {
        self.dir
    }

    /// The partition as a starting process finds it, and the right to it.
    pub fn recover(&self, partition: u32) -> (Arc<PartitionHandle>, Owned) {
        self.recover_in(&Replica::new(self.partitions), partition)
    }

    /// The same, among the others of a replica.
    pub fn recover_in(&self, replica: &Replica, partition: u32) -> (Arc<PartitionHandle>, Owned) {
        let recovery = Recovery {
            log_id: self.log.manifest().log_id,
            tail: self.log.as_ref(),
            store: &self.store,
            snapshots: self.snapshots.as_deref(),
            clock: &self.clock,
            report: &self.heard,
            on_committed: &|_| {},
        };
        let handle = Arc::clone(replica.partition(partition).unwrap());
        let is_of_checkpoint = recovery.restore(&handle).unwrap();
        let owned = recovery.claim(self.log.as_ref(), &handle, is_of_checkpoint).unwrap();
        (handle, owned)
    }

    pub fn checkpoint(&self, handle: &PartitionHandle) {
        let draft = handle.write(|state| state.draft_checkpoint(self.log.manifest().log_id));
        self.store.apply(&draft.encode()).unwrap();
    }

    /// L7: the log alone, and a checkpoint with nothing after it, make the state that lives.
    pub fn assert_recovers_alike(&self, handle: &PartitionHandle, what: &str) {
        let partition = handle.id();
        let (position, digest) = handle.read(|state| (*state.position(), state.digest()));
        let (counted, live) = handle.read(|state| (state.live_count(), state.live().len()));
        assert_eq!(counted, live, "{what}: live reservations");
        let replayed = rebuild(self.log.as_ref(), partition, position.next_seq, &mut |_| {}).unwrap();
        assert_eq!((*replayed.position(), replayed.digest()), (position, digest), "{what}: from the log");
        assert_eq!(replayed.live_count(), live, "{what}: from the log");
        self.checkpoint(handle);
        let (restored, _owned) = self.recover(partition);
        let restored = restored.read(|state| (*state.position(), state.digest(), state.live_count()));
        assert_eq!(restored, (position, digest, live), "{what}: from a checkpoint");
        assert!(self.heard.wiped.lock().is_empty(), "{what}: {:?}", self.heard.wiped.lock());
    }
}

/// Moves a partition on from whatever status it is in. The diagram of statuses must have that edge.
pub fn becomes(handle: &PartitionHandle, to: PartitionStatus) {
    handle.try_transition(&StatusKind::ALL, to).unwrap();
}

/// Decides what waits, at this time, and commits it.
pub fn commit_turn(owner: &Partition, handle: &PartitionHandle, owned: &mut Owned, now: Micros) -> Vec<ChainedEvent> {
    let mut batch = Vec::new();
    owned.poll(&mut batch, Duration::ZERO).unwrap();
    let staged = handle.read(|state| owner.decide(state, batch, now));
    conclude_turn(owner, handle, owned, staged)
}

/// Commits what was decided.
pub fn conclude_turn(
    owner: &Partition,
    handle: &PartitionHandle,
    owned: &mut Owned,
    staged: Staged,
) -> Vec<ChainedEvent> {
    let decided = staged.decided().to_vec();
    if !staged.is_empty() {
        let outcome = owned.commit(staged.turn());
        assert_eq!(outcome, CommitOutcome::Ok);
        handle.write(|state| owner.conclude(state, staged, outcome)).unwrap();
    }
    decided
}
