//! What the data directory has seen of a log: asked before the log is served, and written while it is.

use super::{StartError, spawn};
use crate::limits::{LOSSES_TOLD_MAX, WITNESS_FLUSH_MS};
use crate::log::embedded::{Embedded, OpenError, Options};
use crate::log::{CommittedTail, LogError, Opening};
use crate::owner::losses::{Loss, loss};
use crate::store::sled::SledStore;
use crate::store::{Store, StoreError};
use crossbeam_channel::{RecvTimeoutError, Sender, bounded};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// The thread that flushes the witness to the disk.
pub(super) struct Flushing {
    told: Sender<()>,
    thread: JoinHandle<()>,
}

impl Flushing {
    /// Begins to write the witness of this log.
    ///
    /// # Errors
    /// [`StartError::Witness`] when it cannot be written.
    pub(super) fn start(store: &Arc<SledStore>, log_id: u128, partitions: u32) -> Result<Flushing, StartError> {
        store.witness().begin(log_id, partitions).map_err(|error| StartError::Witness(error.detail))?;
        let (told, wait) = bounded::<()>(0);
        let store = Arc::clone(store);
        let thread = spawn("witness", move || {
            while wait.recv_timeout(Duration::from_millis(WITNESS_FLUSH_MS)) == Err(RecvTimeoutError::Timeout) {
                store.witness().flush();
            }
            store.witness().flush();
        })?;
        Ok(Flushing { told, thread })
    }

    /// Flushes what was noted last; answers whether the thread ended cleanly.
    pub(super) fn end(self) -> bool {
        drop(self.told);
        self.thread.join().is_ok()
    }
}

/// Opens the embedded log in `dir`, if it holds all that was seen of it. `opening` says meanwhile how far that is.
///
/// # Errors
/// [`OpenError`]; whatever there is, is left as it is.
pub fn open(
    dir: &Path,
    options: Options,
    store: &SledStore,
    opening: &Arc<Opening>,
) -> Result<Arc<Embedded>, OpenError> {
    let judge = |log: Option<&Embedded>| {
        let Some(log) = log else { return nothing_was_seen(store) };
        let log_id = log.manifest().log_id;
        let losses = losses(log, store, log_id).map_err(|error| error.to_string())?;
        if losses.is_empty() { Ok(()) } else { Err(told(&losses, log_id)) }
    };
    Embedded::open_judged(dir, options, &judge, opening)
}

/// Everything that was seen of a log's partitions and is gone.
///
/// # Errors
/// [`LogError`] when the log does not say.
pub fn losses(tail: &dyn CommittedTail, store: &SledStore, log_id: u128) -> Result<Vec<Loss>, LogError> {
    (0..tail.partitions()).filter_map(|partition| loss(tail, store, log_id, partition).transpose()).collect()
}

/// Whether a directory without a log never had one.
///
/// # Errors
/// What was seen of the log that is gone.
pub fn nothing_was_seen(store: &SledStore) -> Result<(), String> {
    match seen(store).map_err(|error| error.detail)? {
        None => Ok(()),
        Some((log_id, losses)) => Err(format!("the file is gone; {}", told(&losses, log_id))),
    }
}

/// All that was seen of a log that is gone, and the log's id; nothing where none was.
///
/// # Errors
/// [`StoreError`] when that cannot be read.
pub fn seen(store: &SledStore) -> Result<Option<(u128, Vec<Loss>)>, StoreError> {
    let (mut log_id, mut losses) = (None, Vec::new());
    for partition in store.kept()? {
        let seen = store.seen(partition)?.into_iter().filter(|seen| seen.next_seq > 0);
        if let Some(furthest) = seen.max_by_key(|seen| seen.next_seq) {
            log_id = Some(furthest.log_id);
            losses.push(Loss::of_all(partition, &furthest));
        }
    }
    Ok(log_id.map(|log_id| (log_id, losses)))
}

/// Losses for a person who has to decide what becomes of them.
pub fn told(losses: &[Loss], log_id: u128) -> String {
    let mut text: Vec<String> = losses.iter().take(LOSSES_TOLD_MAX).map(Loss::to_string).collect();
    let more = losses.len().saturating_sub(LOSSES_TOLD_MAX);
    if more > 0 {
        text.push(format!("and of {more} more partitions"));
    }
    let way_out = if losses.iter().any(Loss::is_of_another_log) {
        "bring back that log, or name another data_dir for this one".to_owned()
    } else {
        format!(
            "bring back the log that has them, or accept the loss for good with headroom log accept-loss \
             --log {log_id:032x} --because TEXT, and with the --data-dir or --config of this server"
        )
    };
    format!("{}; {way_out}", text.join("; "))
}
