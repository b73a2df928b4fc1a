//! Looks at the disk of the data directory from time to time, for metrics. It is done aside from calls and scrapes: a disk
//! that hangs keeps one thread, and nobody who asks.

use super::files;
use crate::limits::DISK_LOOK_MS;
use crate::telemetry::Metrics;
use crate::threads;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};

/// Looks for as long as it is polled.
pub(super) async fn watch(data_dir: PathBuf, metrics: Arc<Metrics>) {
    let _watched = threads::watch("disk");
    let mut looks = interval(Duration::from_millis(DISK_LOOK_MS));
    // A file system that hangs must not lead to a crowd of looks afterwards.
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let dir = data_dir.clone();
        if let Ok(Some(seen)) = tokio::task::spawn_blocking(move || files::disk(&dir)).await {
            metrics.disk(&seen);
        }
    }
}
