//! Tells how the writing goes, and counts.

use crate::cmd::shared::progress::so_far;
use crate::cmd::shared::stderr;
use crate::domain::Micros;
use crate::sink::{Batch, Report};
use crate::telemetry::Metrics;
use crate::time::Stopwatch;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// What every writer of the process tells.
pub(super) struct Tally {
    pub(super) metrics: Metrics,
    /// The partitions of the log, once that is known.
    pub(super) partitions: OnceLock<u32>,
    /// Events that a backfill had to write when it began, once they are counted, and the time since then.
    pub(super) all: OnceLock<(u64, Stopwatch)>,
    /// The partitions that were begun elsewhere than it asks for, and where each stood or was begun.
    pub(super) begun: OnceLock<Vec<(u32, u64)>>,
    pub(super) events: AtomicU64,
    pub(super) rows: AtomicU64,
    tenths: AtomicU64,
    pub(super) is_stopped: AtomicBool,
    /// Whether the end came before everything was written.
    pub(super) is_cut: AtomicBool,
    shares: Mutex<Shares>,
}

/// Which partitions this process writes, of those that it has asked for.
#[derive(Default)]
struct Shares {
    held: BTreeMap<u32, bool>,
    is_without: bool,
}

impl Shares {
    /// Whether it is new that other processes have all partitions, of which there are so many.
    fn looked(&mut self, partition: u32, is_held: bool, partitions: usize) -> bool {
        self.held.insert(partition, is_held);
        let is_without = self.held.len() == partitions && self.held.values().all(|is_held| !is_held);
        let was_without = std::mem::replace(&mut self.is_without, is_without);
        is_without && !was_without
    }
}

impl Tally {
    pub(super) fn new() -> Tally {
        Tally {
            metrics: Metrics::new(),
            partitions: OnceLock::new(),
            all: OnceLock::new(),
            begun: OnceLock::new(),
            events: AtomicU64::new(0),
            rows: AtomicU64::new(0),
            tenths: AtomicU64::new(0),
            is_stopped: AtomicBool::new(false),
            is_cut: AtomicBool::new(false),
            shares: Mutex::default(),
        }
    }
}

impl Report for Tally {
    fn looked(&self, partition: u32, is_held: bool, behind: u64, oldest: Option<Micros>) {
        self.metrics.sink().looked(partition, is_held, behind, oldest);
        let partitions = self.partitions.get().map_or(usize::MAX, |partitions| *partitions as usize);
        // A backfill says itself whether it waits, and for how long.
        let is_backfill = self.all.get().is_some();
        if self.shares.lock().looked(partition, is_held, partitions) && !is_backfill {
            tracing::info!("other sinks write all partitions: this one waits, and takes over what they leave");
        }
    }

    fn written(&self, batch: &Batch, took: Duration, at: Micros) {
        self.metrics.sink().written(batch, took, at);
        let events = self.events.fetch_add(batch.events(), Relaxed).saturating_add(batch.events());
        self.rows.fetch_add(batch.row_count, Relaxed);
        let Some((all, since)) = self.all.get().copied() else { return };
        let tenths = events.saturating_mul(10).checked_div(all).unwrap_or_default();
        if self.tenths.fetch_max(tenths, Relaxed) < tenths {
            let took_ms = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
            // Events that were decided since it began may be in its last batch.
            stderr::line(so_far((events.min(all), all), events, took_ms));
        }
    }

    fn failed(&self, partition: Option<u32>, why: &str) {
        self.metrics.sink().failed(partition, why);
    }

    fn failed_too(&self) {
        self.metrics.sink().failed_too();
    }

    fn stopped(&self, partition: u32, why: &str) {
        self.is_stopped.store(true, Relaxed);
        self.metrics.sink().stopped(partition, why);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_once_that_others_have_all_partitions() {
        let mut shares = Shares::default();
        let mut told = |partition, is_held| shares.looked(partition, is_held, 2);
        assert_eq!([told(0, false), told(1, false), told(1, false)], [false, true, false]);
        assert_eq!([told(1, true), told(0, false), told(1, false)], [false, false, true], "it had one meanwhile");
    }
}
