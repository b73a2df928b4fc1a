//! How far the data directory has seen a log as committed: checked before the log is served, and written meanwhile.

use super::{StartError, level, spawn};
use crate::limits::WITNESS_FLUSH_MS;
use crate::log::embedded::{Before, Embedded, OpenError, Options};
use crate::log::{CommittedTail, LogError, Opening, ReadBy};
use crate::owner::begin::unread;
use crate::owner::losses::{Loss, loss};
use crate::store::sled::SledStore;
use crate::store::{Store, StoreError};
use crossbeam_channel::{RecvTimeoutError, Sender, bounded};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// Most partitions that a refusal to serve a log lists.
const LOSSES_TOLD_MAX: usize = 8;

/// The thread that flushes the witness to the disk, and looks at what is there meanwhile.
pub(super) struct Flushing {
    told: Sender<()>,
    thread: JoinHandle<()>,
}

impl Flushing {
    /// Opens the witness of this log for writing, and starts the thread. It calls `look` after each flush.
    ///
    /// # Errors
    /// [`StartError::Witness`] when the witness cannot be written.
    pub(super) fn start(
        store: &Arc<SledStore>,
        (log_id, partitions): (u128, u32),
        look: impl Fn() + Send + 'static,
    ) -> Result<Flushing, StartError> {
        store.witness().begin(log_id, partitions).map_err(|error| StartError::Witness(error.detail))?;
        let (told, wait) = bounded::<()>(0);
        let store = Arc::clone(store);
        let thread = spawn("witness", move || {
            while wait.recv_timeout(Duration::from_millis(WITNESS_FLUSH_MS)) == Err(RecvTimeoutError::Timeout) {
                store.witness().flush();
                look();
            }
            store.witness().flush();
        })?;
        Ok(Flushing { told, thread })
    }

    /// Flushes the last notes; returns whether the thread ended cleanly.
    pub(super) fn end(self) -> bool {
        drop(self.told);
        self.thread.join().is_ok()
    }
}

/// Opens the embedded log in `dir`, if it holds everything that was seen of it, and gives it the feature level of this version.
/// `opening` shows the progress meanwhile, and can give it up.
///
/// # Errors
/// [`OpenError`]; existing files are left as they are.
pub fn open(
    dir: &Path,
    options: Options,
    store: &SledStore,
    opening: &Arc<Opening>,
) -> Result<Arc<Embedded>, OpenError> {
    let judge = |log: Option<&Embedded>| {
        let Some(log) = log else { return nothing_was_seen(store) };
        let log_id = log.manifest().log_id;
        let read = |partition, from_seq, bytes_max| {
            opening.goes_on().map_err(|error| LogError::superseded(error.to_string()))?;
            log.read(partition, from_seq, bytes_max)
        };
        let losses = losses(&ReadBy { tail: log, read }, store, log_id)?;
        if losses.is_empty() { Ok(()) } else { Err(LogError::operator(told(&losses, log_id))) }
    };
    Embedded::open_after(dir, options, Before { judge: &judge, raise: &|| raised(dir) }, opening)
}

/// Opens the embedded log in `dir` whatever it has lost.
///
/// # Errors
/// [`OpenError`]; existing files are left as they are.
pub fn open_as_it_is(dir: &Path, options: Options) -> Result<Arc<Embedded>, OpenError> {
    Embedded::open_after(dir, options, Before { raise: &|| raised(dir), ..Before::NOTHING }, &Arc::default())
}

/// Gives the log the feature level of this version before it is written. From then on an older version refuses it and says
/// which one to take, instead of meeting files that it cannot read.
fn raised(dir: &Path) -> Result<(), String> {
    level::raise(dir).map_err(|error| format!("its feature level cannot be raised: {error}; the log was left as it is"))
}

/// The events that were seen in a log's partitions and that the log has lost.
///
/// # Errors
/// [`LogError`] when the log cannot be read, or the note of what was seen of it may be sound and cannot be read.
pub fn losses(tail: &dyn CommittedTail, store: &SledStore, log_id: u128) -> Result<Vec<Loss>, LogError> {
    (0..tail.partitions()).filter_map(|partition| loss(tail, store, log_id, partition).transpose()).collect()
}

/// Checks that a directory without a log never had one.
///
/// # Errors
/// [`LogError`], with the losses as text when there was a log that is missing now. It is withheld when what was seen may be sound
/// and cannot be read.
pub fn nothing_was_seen(store: &SledStore) -> Result<(), LogError> {
    let unknown = |error: StoreError| match error.is_of_no_use() {
        true => LogError::operator(error.detail),
        false => unread(error),
    };
    match seen(store).map_err(unknown)? {
        None => Ok(()),
        Some((log_id, losses)) => {
            Err(LogError::operator(format!("the file of the log is missing; {}", told(&losses, log_id))))
        }
    }
}

/// The id of a missing log, and everything that was seen of it; `None` when there never was a log.
///
/// # Errors
/// [`StoreError`] when the witness or the checkpoints cannot be read.
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

/// The losses as text, with what an operator can do about them.
pub fn told(losses: &[Loss], log_id: u128) -> String {
    let mut text: Vec<String> = losses.iter().take(LOSSES_TOLD_MAX).map(Loss::to_string).collect();
    let more = losses.len().saturating_sub(LOSSES_TOLD_MAX);
    if more > 0 {
        text.push(format!("and of {more} more partitions"));
    }
    let way_out = if losses.iter().any(Loss::is_of_another_log) {
        "bring back that log, or name another data_dir for this one".to_owned()
    } else {
        let way_out = if losses.iter().all(Loss::is_unknown) {
            "nobody can tell whether events are gone: bring the file back from a copy, or accept that"
        } else {
            "bring back the log that has them, or accept the loss"
        };
        format!(
            "{way_out} for good with headroom log accept-loss --log {log_id:032x} --because TEXT, with the --data-dir or \
             --config of this server, and with its --log-archive if it has one"
        )
    };
    format!("{}; {way_out}", text.join("; "))
}
