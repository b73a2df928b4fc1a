//! An owner in a test's hands with all that stands beside it: the place for snapshots, the archive, and somebody who listens to
//! those who write there.

use crate::process::{Ended, headroom, once_free, run};
use crate::world::{World, becomes};
use headroom::archive::{self, Keeper, Shelf};
use headroom::config::{Keep, ObjectPlace, SnapshotRule};
use headroom::domain::{Digest, Micros};
use headroom::log::embedded::Owned;
use headroom::objects::{Bucket, Objects};
use headroom::owner::Partition;
use headroom::replica::{PartitionHandle, PartitionStatus, Replica};
use headroom::snapshot::{self, Reader, Writer};
use headroom::store::{Mark, SnapshotName, Snapshots, StoreError};
use parking_lot::Mutex;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

/// A place of snapshots, at which this is done before one is handed over. Where it fails, the place withholds the snapshot.
pub struct BeforeLoad<F>(pub Reader, pub F);

impl<F: Fn() -> Result<(), StoreError> + Send + Sync> Snapshots for BeforeLoad<F> {
    fn names(&self, partition: u32, end: u64) -> Result<(Vec<SnapshotName>, usize), StoreError> {
        self.0.names(partition, end)
    }

    fn mark(&self, partition: u32, name: &str) -> Result<Mark, StoreError> {
        self.0.mark(partition, name)
    }

    fn load<'o>(
        &self,
        partition: u32,
        name: &str,
        object: &'o mut Vec<u8>,
        row: &mut dyn FnMut(&'o [u8], &'o [u8]),
    ) -> Result<(Mark, Digest), StoreError> {
        (self.1)()?;
        self.0.load(partition, name, object, row)
    }
}

pub const HOUR_MS: u64 = 3_600_000;
pub const DAY_MS: u64 = 24 * HOUR_MS;
pub const KEEP: Keep = Keep { all_ms: HOUR_MS, hourly_ms: DAY_MS, daily_ms: 30 * DAY_MS };
/// Whatever is new becomes a snapshot.
pub const RULE: SnapshotRule = SnapshotRule { events: 1, interval_ms: HOUR_MS, keep: KEEP };

/// Listens to a keeper and to a writer of snapshots, and keeps what they say.
#[derive(Default)]
pub struct Told {
    pub written: Mutex<Vec<u64>>,
    pub newest: Mutex<Option<Micros>>,
    pub ahead: Mutex<Vec<(usize, u64)>>,
    pub left: Mutex<Vec<u64>>,
    pub uncovered: Mutex<Vec<u64>>,
    pub overdue_ms: Mutex<u64>,
    /// What either of them failed in.
    pub failed: Mutex<Vec<String>>,
}

impl archive::Heard for Told {
    fn begins(&self, _partition: u32, _seq: u64) {}
    fn overdue(&self, ms: u64) {
        *self.overdue_ms.lock() = ms;
    }
    fn left(&self, segment: u64, _is_archived: bool) {
        self.left.lock().push(segment);
    }
    fn uncovered(&self, segment: u64, _partition: u32) {
        self.uncovered.lock().push(segment);
    }
    fn failed(&self, why: &str) {
        self.failed.lock().push(why.to_owned());
    }
}

impl snapshot::Heard for Told {
    fn began(&self, _partition: u32, _wall: Micros) {}
    fn left(&self, _partition: u32) {}
    fn newest(&self, _partition: u32, at: Micros) {
        *self.newest.lock() = Some(at);
    }
    fn missing(&self, _partition: u32, _events: u64) {}
    fn written(&self, _partition: u32, next_seq: u64, _bytes: u64) {
        self.written.lock().push(next_seq);
    }
    fn ahead(&self, _partition: u32, snapshots: usize, events: u64) {
        self.ahead.lock().push((snapshots, events));
    }
    fn failed(&self, _partition: u32, why: &str) {
        self.failed.lock().push(why.to_owned());
    }
}

/// An owner of the one partition of a log.
pub struct Bed {
    pub world: World,
    pub replica: Replica,
    pub handle: Arc<PartitionHandle>,
    pub owner: Partition,
    pub owned: Owned,
    pub snapshots: TempDir,
    pub archive: TempDir,
    pub told: Told,
    /// Commands that it was asked, and days that have passed.
    pub asked: u64,
    pub days: u64,
}

impl Bed {
    /// Over a new log.
    pub fn over(world: World, begin: Micros) -> Bed {
        world.clock.set(begin);
        Bed::beside(world, [(); 2].map(|()| tempfile::tempdir().unwrap()))
    }

    fn beside(world: World, [snapshots, archive]: [TempDir; 2]) -> Bed {
        let replica = Replica::new(1);
        let (handle, owned) = world.recover_in(&replica, 0);
        becomes(&handle, PartitionStatus::Active);
        let owner = handle.read(|state| Partition::claim(state, 1));
        let told = Told::default();
        Bed { world, replica, handle, owner, owned, snapshots, archive, told, asked: 0, days: 0 }
    }

    pub fn log_id(&self) -> u128 {
        self.world.log.manifest().log_id
    }

    /// The place for snapshots.
    pub fn bucket(&self) -> Bucket {
        bucket(self.snapshots.path())
    }

    pub fn reader(&self) -> Reader {
        Reader::new(Arc::new(self.bucket()), self.log_id())
    }

    pub fn writer<'a>(&'a self, objects: &'a dyn Objects, rule: SnapshotRule) -> Writer<'a> {
        Writer::new((self.log_id(), &self.replica, &self.world.store), objects, (&self.world.clock, &self.told), rule)
    }

    /// Writes a snapshot of the checkpoint.
    pub fn snapshot(&self) {
        let before = self.told.failed.lock().len();
        self.writer(&self.bucket(), RULE).round(&|| false);
        assert_eq!(self.told.failed.lock()[before..], [] as [String; 0]);
    }

    pub fn keeper<'a>(
        &'a self,
        snapshots: &'a dyn Snapshots,
        objects: Option<Arc<dyn Objects>>,
        keep_ms: u64,
    ) -> Keeper<'a> {
        let shelf = objects.map(|objects| Shelf::new(objects, self.log_id()));
        let Bed { world, replica, told, .. } = self;
        Keeper::new((&world.log, replica), snapshots, shelf, (&world.clock, told), keep_ms)
    }

    /// The objects of snapshots with this end, the oldest first.
    pub fn objects(&self, end: &str) -> Vec<PathBuf> {
        ending(&self.snapshots.path().join(format!("{:032x}/p0", self.log_id())), end)
    }

    /// The objects of the archive with this end, the oldest first.
    pub fn archived(&self, end: &str) -> Vec<PathBuf> {
        ending(&self.archive.path().join(format!("{:032x}/segments", self.log_id())), end)
    }
}

/// The paths in a folder with this end, in order. None when there is no folder.
fn ending(folder: &Path, end: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = entries.filter(|path| path.to_str().unwrap().ends_with(end)).collect();
    paths.sort();
    paths
}

pub fn bucket(folder: &Path) -> Bucket {
    Bucket::open(&ObjectPlace::Folder(folder.to_owned())).unwrap()
}

pub fn url(folder: &Path) -> String {
    format!("file://{}", folder.display())
}

/// The segments of a log, the oldest first.
pub fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut files = ending(&dir.join("log"), "");
    files.retain(|path| path.file_name().unwrap().to_str().unwrap().starts_with("segment-"));
    files
}

/// A log of a stopped server with its places.
pub struct Stopped {
    pub dir: TempDir,
    pub snapshots: TempDir,
    pub archive: TempDir,
}

impl Stopped {
    pub fn of(bed: Bed) -> Stopped {
        let Bed { world, owned, snapshots, archive, .. } = bed;
        drop(owned);
        Stopped { dir: world.close(), snapshots, archive }
    }

    /// The same log, served again from this time on. Where its checkpoint is gone, it begins with a snapshot.
    pub fn again(self, segment_bytes: u64, now: Micros) -> Bed {
        let Stopped { dir, snapshots, archive } = self;
        let log = once_free(|| World::open(dir.path(), 1, Some(segment_bytes))).unwrap();
        let mut world = World::of(dir, log, 1);
        world.clock.set(now);
        let log_id = world.log.manifest().log_id;
        world.snapshots = Some(Arc::new(Reader::new(Arc::new(bucket(snapshots.path())), log_id)));
        Bed::beside(world, [snapshots, archive])
    }

    /// A command over the log alone.
    pub fn bare(&self, what: &str, args: &[&str]) -> Ended {
        run(headroom([what, "--data-dir"]).arg(self.dir.path()).args(args))
    }

    /// A command over the log and its archive.
    pub fn whole(&self, what: &str, args: &[&str]) -> Ended {
        let archive = url(self.archive.path());
        self.bare(what, &[&["--log-archive", &archive], args].concat())
    }
}
