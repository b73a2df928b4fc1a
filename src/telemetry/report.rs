//! What owners report, as metrics and as the log lines that someone on call needs.

use super::Metrics;
use super::metrics::as_seconds;
use crate::domain::{Breach, Kind};
use crate::log::CommitOutcome;
use crate::owner::{Report, TurnReport};

/// A turn's outcome as a label.
pub(super) fn outcome(outcome: CommitOutcome) -> &'static str {
    match outcome {
        CommitOutcome::Ok => "ok",
        CommitOutcome::Aborted => "aborted",
        CommitOutcome::Fenced => "fenced",
        CommitOutcome::Unknown => "unknown",
    }
}

/// By how many an event of this kind changes the number of live reservations.
fn live_change(kind: Kind) -> i64 {
    match kind {
        Kind::Accepted => 1,
        Kind::Released | Kind::Expired => -1,
        _ => 0,
    }
}

impl Report for Metrics {
    fn turn(&self, partition: u32, report: &TurnReport) {
        let label = partition.to_string();
        let outcome = outcome(report.outcome);
        self.turns.with_label_values(&[label.as_str(), outcome]).inc();
        if report.outcome != CommitOutcome::Ok {
            return tracing::warn!(partition, outcome, "nothing came of a turn");
        }
        self.turn_seconds.with_label_values(&[&label]).observe(as_seconds(report.turn_us));
        self.commit_seconds.with_label_values(&[&label]).observe(as_seconds(report.commit_us));
        let (mut records, mut live) = (0u64, 0i64);
        for ((kind, reason), count) in &report.events {
            // Debug writes a kind as the event's schema does.
            let (name, reason) = (format!("{kind:?}"), reason.map_or("", |reason| reason.code()));
            self.events.with_label_values(&[label.as_str(), &name, reason]).inc_by(*count);
            records = records.saturating_add(*count);
            let count = i64::try_from(*count).unwrap_or(i64::MAX);
            live = live.saturating_add(count.saturating_mul(live_change(*kind)));
        }
        let records = f64::from(u32::try_from(records).unwrap_or(u32::MAX));
        self.turn_records.with_label_values(&[&label]).observe(records);
        self.live.with_label_values(&[&label]).add(live);
    }

    fn checkpoint(&self, partition: u32, result: Result<usize, &str>) {
        let label = partition.to_string();
        match result {
            Ok(rows) => {
                self.checkpoint_writes.with_label_values(&[&label]).inc();
                tracing::debug!(partition, rows, "checkpoint written");
            }
            Err(why) => {
                self.checkpoint_failures.with_label_values(&[&label]).inc();
                tracing::warn!(partition, why, "checkpoint failed; a restart will read more of the log");
            }
        }
    }

    fn store_wiped(&self, partition: u32, why: &str) {
        self.store_wiped.with_label_values(&[&partition.to_string()]).inc();
        tracing::warn!(partition, why, "checkpoint was of no use and is removed; rebuilding from the log");
    }

    /// Called by the state's one writer before its first turn: from here on, counting what turns change keeps the
    /// number of live reservations right without ever counting them again.
    fn recovered(&self, partition: u32, events: u64, took_us: u64, from_checkpoint: bool) {
        let label = partition.to_string();
        self.recovery_seconds.with_label_values(&[&label]).set(as_seconds(took_us));
        self.recovery_events.with_label_values(&[&label]).set(i64::try_from(events).unwrap_or(i64::MAX));
        let shared = self.watched.read().as_ref().and_then(|watched| watched.partition(partition));
        if let Some(shared) = shared {
            let live = shared.read(|state| state.live().len());
            self.live.with_label_values(&[&label]).set(i64::try_from(live).unwrap_or(i64::MAX));
        }
        tracing::info!(partition, events, took_ms = took_us / 1_000, from_checkpoint, "partition recovered");
    }

    fn unread(&self, partition: u32, why: Option<&str>) {
        match why {
            Some(why) => tracing::warn!(partition, why, "the partition cannot be followed; trying again"),
            None => tracing::info!(partition, "the partition is followed again"),
        }
    }

    fn breach(&self, breach: &Breach) {
        Metrics::breach(self, breach);
    }

    fn halted(&self, partition: u32, why: &str) {
        tracing::error!(partition, why, "partition halted: its callers are refused until the process is restarted");
    }
}
