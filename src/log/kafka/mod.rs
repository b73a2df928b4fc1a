//! The log on Apache Kafka: `commands[p]` holds what callers ask, `events[p]` what the owner of `p` decided, in
//! transactions of one turn each. The client is librdkafka, which speaks the first version of the transaction protocol.
//!
//! What was seen of a real broker (4.3.1) and is leant on here:
//! - `init_transactions` fences, and returns only when every older transaction of the id is decided and marked. A claim
//!   still writes a record of its own, the fence, and reads up to it: an end of the partition asked for may be that of a
//!   leader that was elected a moment ago.
//! - The error of a fenced producer is the same whether another owner came or its own transaction ran out of time.
//! - The answer to a commit comes before its markers are written: committed readers see the turn a little later. Ends
//!   and reads wait for what is open ([`client::reader::wait_for_open_turns`]), so that who was told of a commit finds it.
//! - A flush of the client waits in steps of 100 ms, hence [`owner::producer`] drains by itself.
//! - The coordinator is asked for once in 500 ms, hence [`owner::standby`].
//! - An idempotent client with five messages of a partition in flight spins on the others until those have landed, hence
//!   [`sink`] hands over all at once, and only when there is room.
//! - A member of the group waits a second between the two rounds of a rebalance, in which nobody is given what moves,
//!   hence an owner goes on until its successor fences it.
//!
//! Nothing here knows what a decision is: bytes in, bytes out, in order.

pub mod client;
mod cluster_log;
mod data;
mod group;
pub mod ops;
mod owner;
pub mod schema;

pub use client::settings::{Cluster, Topics};
pub use data::stream::Stream;
pub use owner::owned::Owned;
pub use owner::position::{CommandsPosition, Continuity};
pub use schema::framing::Framing;

use super::{LogError, Manifest};
use crate::time::Stamp;
use client::reader::Reader;
use data::progress::Progress;
use data::{commands, dead_letters, tail};
use owner::standby::StandbyClients;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// What turns cost on one partition, since the process began.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Pace {
    /// Turns.
    pub turns: u64,
    /// Those of them that met the coordinator still busy.
    pub waited: u64,
    /// Commits that took 90 ms or more.
    pub slow_commits: u64,
    /// The last commit, in microseconds.
    pub commit_us: u64,
    /// The pause between two turns, in microseconds.
    pub pause_us: u64,
    /// Offsets of commands that an owner of this process cannot read, because somebody's transaction is open.
    pub held_back: u64,
}

#[derive(Default)]
struct Paced {
    turns: AtomicU64,
    waited: AtomicU64,
    slow_commits: AtomicU64,
    commit_us: AtomicU64,
    pause_us: AtomicU64,
    held_back: AtomicU64,
    stamp: Mutex<Option<Stamp>>,
}

/// A commit this slow is what the client's flush would make of every one.
const SLOW_COMMIT: Duration = Duration::from_millis(90);

struct Inner {
    cluster: Arc<Cluster>,
    manifest: Manifest,
    framing: Arc<Framing>,
    /// Draws numbers that nobody else has.
    draw: Box<dyn Fn() -> u128 + Send + Sync>,
    progress: Arc<Vec<Progress>>,
    paces: Paces,
    stable: StandbyClients,
    /// Sees what is not committed, too: it is asked for ends.
    uncommitted: Reader,
    readers: Mutex<Vec<Reader>>,
    cursors: Mutex<Vec<tail::Cursor>>,
    command_cursor: Mutex<Option<commands::Cursor>>,
    letters: dead_letters::Writer,
    /// What a round trip to the cluster took last, in microseconds; 0 when it is not known.
    trip_us: AtomicU64,
}

/// The log of one cluster, as one process uses it.
#[derive(Clone)]
pub struct Kafka {
    inner: Arc<Inner>,
}

impl Kafka {
    /// A log whose topics and manifest have been checked. `draw` answers numbers that nobody else has.
    ///
    /// # Errors
    /// [`LogError`] when no client can be made of the settings.
    pub fn open(
        cluster: Cluster,
        manifest: Manifest,
        framing: Framing,
        draw: impl Fn() -> u128 + Send + Sync + 'static,
    ) -> Result<Kafka, LogError> {
        let cluster = Arc::new(cluster);
        let partitions = manifest.partitions;
        let inner = Inner {
            manifest,
            framing: Arc::new(framing),
            draw: Box::new(draw),
            progress: Arc::new((0..partitions).map(|_| Progress::default()).collect()),
            paces: Paces((0..partitions).map(|_| Paced::default()).collect()),
            stable: StandbyClients::new(Arc::clone(&cluster), manifest.log_id, partitions)?,
            uncommitted: Reader::uncommitted(&cluster)?,
            readers: Mutex::new(Vec::new()),
            cursors: Mutex::new(Vec::new()),
            command_cursor: Mutex::new(None),
            letters: dead_letters::Writer::default(),
            trip_us: AtomicU64::new(0),
            cluster,
        };
        Ok(Kafka { inner: Arc::new(inner) })
    }

    /// The cluster.
    pub fn cluster(&self) -> &Cluster {
        &self.inner.cluster
    }

    /// What turns cost, for whoever must not keep the log itself.
    pub fn paces(&self) -> Paces {
        self.inner.paces.clone()
    }
}

/// What turns cost, and what brokers' clocks showed, partition by partition.
#[derive(Clone)]
pub struct Paces(Arc<[Paced]>);

impl Paces {
    /// On one partition.
    pub fn of(&self, partition: u32) -> Pace {
        let Some(pace) = self.0.get(partition as usize) else { return Pace::default() };
        Pace {
            turns: pace.turns.load(Relaxed),
            waited: pace.waited.load(Relaxed),
            slow_commits: pace.slow_commits.load(Relaxed),
            commit_us: pace.commit_us.load(Relaxed),
            pause_us: pace.pause_us.load(Relaxed),
            held_back: pace.held_back.load(Relaxed),
        }
    }

    /// What the clock of a partition's broker showed last, as far as this process knows.
    pub fn stamp(&self, partition: u32) -> Option<Stamp> {
        *self.0.get(partition as usize)?.stamp.lock()
    }

    /// It has shown this; nothing where the broker does not say.
    fn stamped(&self, partition: u32, stamp: Option<Stamp>) {
        if let Some((pace, stamp)) = self.0.get(partition as usize).zip(stamp) {
            *pace.stamp.lock() = Some(stamp);
        }
    }

    /// So many offsets of commands are held back.
    fn held_back(&self, partition: u32, count: u64) {
        if let Some(pace) = self.0.get(partition as usize) {
            pace.held_back.store(count, Relaxed);
        }
    }

    /// A turn was committed, and met a busy coordinator or did not.
    fn turned(&self, partition: u32, commit: Duration, has_waited: bool, pause: Duration) {
        let Some(pace) = self.0.get(partition as usize) else { return };
        let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        pace.turns.fetch_add(1, Relaxed);
        pace.waited.fetch_add(u64::from(has_waited), Relaxed);
        pace.slow_commits.fetch_add(u64::from(commit >= SLOW_COMMIT), Relaxed);
        pace.commit_us.store(micros(commit), Relaxed);
        pace.pause_us.store(micros(pause), Relaxed);
    }
}

impl Inner {
    fn check(&self, partition: u32) -> Result<(), LogError> {
        if partition < self.manifest.partitions {
            return Ok(());
        }
        let count = self.manifest.partitions;
        Err(LogError::new(format!("there is no partition {partition}: the log has {count}")))
    }

    /// Of a partition that was checked.
    fn progress_of(&self, partition: u32) -> &Progress {
        &self.progress[partition as usize]
    }
}
