//! The place for snapshots, if one is set: it is read by starts, and a thread writes to it.

use super::owner::OwnerContext;
use super::{StartError, spawn};
use crate::config::{self, Config, SnapshotRule};
use crate::objects::{Bucket, Objects};
use crate::replica::Replica;
use crate::snapshot::{Reader, Writer};
use crate::store;
use crate::telemetry::Metrics;
use crate::time::pause_unless;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

/// The snapshots of this log, for a command that reads them; `None` where no place is set.
///
/// # Errors
/// [`StartError::Snapshots`] when there cannot be a client of the place.
pub fn snapshots(config: &Config, log_id: u128) -> Result<Option<Arc<dyn store::Snapshots>>, StartError> {
    Ok(Snapshots::open(config)?.map(|snapshots| snapshots.reader(log_id)))
}

/// Pause between two looks at what is due.
const LOOK: Duration = Duration::from_secs(1);

/// The place, which is set.
pub(super) struct Snapshots {
    bucket: Arc<Bucket>,
    rule: SnapshotRule,
}

impl Snapshots {
    /// The place that is set, if one is. Whether it answers is not asked: no start depends on it.
    ///
    /// # Errors
    /// [`StartError::Snapshots`] when there cannot be a client of it.
    fn open(config: &Config) -> Result<Option<Snapshots>, StartError> {
        let Some(config::Snapshots { place, rule }) = &config.snapshots else { return Ok(None) };
        let bucket = Bucket::open(place).map_err(|error| StartError::Snapshots(error.detail))?;
        Ok(Some(Snapshots { bucket: Arc::new(bucket), rule: *rule }))
    }

    /// The same for a process that serves so many partitions, and exports these metrics.
    ///
    /// # Errors
    /// Those of [`Snapshots::open`].
    pub(super) fn of_server(
        config: &Config,
        metrics: &Metrics,
        partitions: u32,
    ) -> Result<Option<Snapshots>, StartError> {
        let snapshots = Snapshots::open(config)?;
        if snapshots.is_some() {
            metrics.snapshots().reads(partitions);
        }
        Ok(snapshots)
    }

    /// The snapshots of this log.
    pub(super) fn reader(&self, log_id: u128) -> Arc<dyn store::Snapshots> {
        Arc::new(Reader::new(Arc::clone(&self.bucket) as Arc<dyn Objects>, log_id))
    }

    /// Starts the thread that writes.
    ///
    /// # Errors
    /// [`StartError`] when there is no thread.
    pub(super) fn write(
        self,
        context: &Arc<OwnerContext>,
        replica: &Arc<Replica>,
    ) -> Result<SnapshotThread, StartError> {
        let Snapshots { bucket, rule } = self;
        let ending = Arc::new(AtomicBool::new(false));
        let (context, replica) = (Arc::clone(context), Arc::clone(replica));
        let (objects, is_over) = (Arc::clone(&bucket), Arc::clone(&ending));
        let thread = spawn("snapshots", move || {
            let log = (context.log_id, &*replica, context.store.as_ref());
            let mut writer = Writer::new(log, &*objects, (context.clock.as_ref(), context.metrics.snapshots()), rule);
            while !is_over.load(Relaxed) {
                writer.round(&|| is_over.load(Relaxed));
                pause_unless(LOOK, || is_over.load(Relaxed));
            }
        })?;
        Ok(SnapshotThread { bucket, ending, thread })
    }
}

/// The thread that writes snapshots.
pub(super) struct SnapshotThread {
    bucket: Arc<Bucket>,
    ending: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl SnapshotThread {
    /// Ends the calls of the place that are on their way, also those of who reads it.
    pub(super) fn close(&self) {
        self.ending.store(true, Relaxed);
        self.bucket.close();
    }

    /// Ends a snapshot that is being written, and the thread; returns whether it ended cleanly.
    pub(super) fn end(self) -> bool {
        self.close();
        self.thread.thread().unpark();
        self.thread.join().is_ok()
    }
}
