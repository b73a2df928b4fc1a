//! Looks at the disk of the data directory from time to time, for metrics. It is done aside from calls and scrapes: a disk
//! that hangs keeps one thread, and nobody who asks.

use super::{files, looks};
use crate::limits::DISK_LOOK_MS;
use crate::telemetry::Metrics;
use crate::threads;
use std::path::PathBuf;
use std::sync::Arc;

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
