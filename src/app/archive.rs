//! The bound of the embedded log: the place for what leaves it, if one is set, and the thread that lets it leave.

use super::owner::OwnerContext;
use super::{StartError, spawn};
use crate::archive::{Heard as _, Keeper, Shelf};
use crate::config::Config;
use crate::log::CommittedTail as _;
use crate::log::embedded::{Archive, Embedded};
use crate::objects::{Bucket, Objects};
use crate::replica::Replica;
use crate::time::pause_unless;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

/// Pause between two looks at the oldest segment. At most one leaves in that time.
const LOOK: Duration = Duration::from_secs(1);

/// What has left this log, for a command that reads it; `None` where no place is set.
///
/// # Errors
/// [`StartError::Archive`] when there cannot be a client of the place.
pub fn archive(config: &Config, log_id: u128) -> Result<Option<Box<dyn Archive>>, StartError> {
    Ok(place(config)?.map(|bucket| Box::new(Shelf::new(bucket, log_id)) as Box<dyn Archive>))
}

fn place(config: &Config) -> Result<Option<Arc<Bucket>>, StartError> {
    let opened = config.log_archive.as_ref().map(Bucket::open).transpose();
    Ok(opened.map_err(|error| StartError::Archive(error.detail))?.map(Arc::new))
}

/// The thread that bounds the log.
pub(super) struct KeeperThread {
    bucket: Option<Arc<Bucket>>,
    ending: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl KeeperThread {
    /// Starts the thread, if the settings bound the log.
    ///
    /// # Errors
    /// [`StartError`] when there cannot be a client of the place, or no thread.
    pub(super) fn start(
        config: &Config,
        context: &Arc<OwnerContext>,
        (log, replica): (&Arc<Embedded>, &Arc<Replica>),
    ) -> Result<Option<KeeperThread>, StartError> {
        for partition in 0..log.partitions() {
            // A log that cannot be read is told by its owners.
            log.first(partition).into_iter().for_each(|seq| context.metrics.log().begins(partition, seq));
        }
        let (Some(keep), Some(snapshots)) = (config.log_keep, context.snapshots.clone()) else { return Ok(None) };
        let bucket = place(config)?;
        let ending = Arc::new(AtomicBool::new(false));
        let shelf = bucket.clone().map(|bucket| Shelf::new(bucket as Arc<dyn Objects>, context.log_id));
        let (context, log, replica) = (Arc::clone(context), Arc::clone(log), Arc::clone(replica));
        let is_over = Arc::clone(&ending);
        let thread = spawn("log-keeper", move || {
            let (clock, heard) = (context.clock.as_ref(), context.metrics.log());
            let mut keeper = Keeper::new((&log, &replica), &*snapshots, shelf, (clock, heard), keep.ms);
            while !is_over.load(Relaxed) {
                keeper.round(&|| is_over.load(Relaxed));
                pause_unless(LOOK, || is_over.load(Relaxed));
            }
        })?;
        Ok(Some(KeeperThread { bucket, ending, thread }))
    }

    /// Ends an upload on its way, and the thread; returns whether it ended cleanly.
    pub(super) fn end(self) -> bool {
        self.ending.store(true, Relaxed);
        self.bucket.iter().for_each(|bucket| bucket.close());
        self.thread.thread().unpark();
        self.thread.join().is_ok()
    }
}
