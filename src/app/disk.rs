//! Looks at the disk of the data directory from time to time, for metrics. It is done aside from calls and scrapes: a disk
//! that hangs keeps one thread, and nobody who asks.

use super::{files, looks};
use crate::telemetry::Metrics;
use crate::threads;
use std::path::PathBuf;
use std::sync::Arc;

/// Interval at which the disk of the data directory is looked at for metrics, in milliseconds: shorter than the time
/// between two scrapes, which is 15 s or more as a rule.
const DISK_LOOK_MS: u64 = 5_000;

/// Looks until the runtime ends.
pub(super) async fn watch(data_dir: PathBuf, metrics: Arc<Metrics>) {
    let _watched = threads::watch("disk");
    let mut ticks = looks::every(DISK_LOOK_MS);
    loop {
        ticks.tick().await;
        let dir = data_dir.clone();
        let Some(seen) = looks::blocking(move || files::disk(&dir)).await else { return };
        if let Some(seen) = seen {
            metrics.disk(&seen);
        }
    }
}
