//! What owners and gateways report, as metrics and as the log lines that someone on call needs.

use super::clock::{BACK, FORWARD};
use super::metrics::Metrics;
use super::register::{as_gauge, as_seconds};
use crate::domain::Breach;
use crate::gateway::{CallReport, Stage};
use crate::log::dead_letters::{DeadLetterId, Undecidable};
use crate::log::{CommitOutcome, LogError};
use crate::owner::{DeadCommands, OwnerEnd, Recovered, Report, RetiredPools, TurnReport};
use crate::replica::{Compared, StatusKind};

/// What a living state was found to be when a fresh one took its place, as metrics name it.
const SAME: &str = "same";
const DIFFERENT: &str = "different";

impl Report for Metrics {
    fn began(&self, partition: u32, gap_us: Option<u64>) {
        if let Some(gap_us) = gap_us {
            self.owner.handovers.with_label_values(&[&partition.to_string()]).observe(as_seconds(gap_us));
        }
    }

    fn ended(&self, partition: u32, end: OwnerEnd) {
        self.owner.ends.with_label_values(&[partition.to_string().as_str(), end.name()]).inc();
    }

    fn turn(&self, partition: u32, report: &TurnReport) {
        let label = partition.to_string();
        let outcome = report.outcome.name();
        self.owner.turns.with_label_values(&[label.as_str(), outcome]).inc();
        if report.outcome != CommitOutcome::Ok {
            return tracing::warn!(partition, outcome, "a turn was not committed");
        }
        self.owner.turn_seconds.with_label_values(&[&label]).observe(as_seconds(report.turn_us));
        self.owner.commit_seconds.with_label_values(&[&label]).observe(as_seconds(report.commit_us));
        self.stages.turned(report);
        if let Some(DeadCommands { first: Undecidable { offset, reason, .. }, count }) = &report.dead {
            let first = DeadLetterId { partition, offset: *offset };
            self.owner.dead_letters.with_label_values(&[&label]).inc_by(*count as u64);
            tracing::warn!(partition, count, %first, reason, "these commands cannot be decided: see headroom dead-letters");
        }
        if let Some(RetiredPools { pools, live }) = report.retired {
            tracing::info!(partition, pools, live_reservations = live, "pools retired: their windows ended long ago");
        }
        let mut records = 0u64;
        for ((kind, reason), count) in &report.events {
            let reason = reason.map_or("", |reason| reason.code());
            self.owner.events.with_label_values(&[label.as_str(), kind.name(), reason]).inc_by(*count);
            records = records.saturating_add(*count);
        }
        let records = f64::from(u32::try_from(records).unwrap_or(u32::MAX));
        self.owner.turn_records.with_label_values(&[&label]).observe(records);
        self.owner.live.with_label_values(&[&label]).add(report.live_change);
        self.memory.saw(partition, report.memory_bytes);
    }

    fn checkpoint(&self, partition: u32, result: Result<usize, &str>) {
        let label = partition.to_string();
        match result {
            Ok(rows) => {
                self.owner.checkpoint_writes.with_label_values(&[&label]).inc();
                if let Some(wall) = self.wall() {
                    self.partitions.checkpointed(&label, wall);
                }
                tracing::debug!(partition, rows, "checkpoint written");
            }
            Err(why) => {
                self.owner.checkpoint_failures.with_label_values(&[&label]).inc();
                tracing::warn!(partition, why, "checkpoint not written; a restart will read more of the log");
            }
        }
    }

    fn store_wiped(&self, partition: u32, why: &str) {
        self.owner.store_wiped.with_label_values(&[&partition.to_string()]).inc();
        tracing::warn!(partition, why, "checkpoint does not match the log; deleted, rebuilding from the log");
    }

    fn checkpoint_unused(&self, partition: u32, why: &str) {
        tracing::warn!(
            partition,
            why,
            "going on without the checkpoint, which stays until another one takes its place"
        );
    }

    fn snapshot(&self, partition: u32, result: Result<&str, &str>) {
        match result {
            Ok(name) => tracing::info!(partition, name, "no checkpoint: rebuilding from this snapshot and the log"),
            Err(why) => {
                self.snapshots.passed_over(partition);
                tracing::warn!(partition, why, "snapshot not used; the next older one is tried, or the whole log read");
            }
        }
    }

    /// The only writer of the state calls this before its first turn. From then on the changes of each turn are added,
    /// so that live reservations are never counted again.
    fn recovered(&self, partition: u32, recovered: &Recovered) {
        let Recovered { events, read, took_us, from_checkpoint } = *recovered;
        let label = partition.to_string();
        self.owner.recovery_seconds.with_label_values(&[&label]).set(as_seconds(took_us));
        self.owner.recovery_events.with_label_values(&[&label]).set(as_gauge(read));
        let handle = self.watched.read().as_ref().and_then(|watched| watched.partition(partition));
        if let Some(handle) = handle {
            let (live, used, overdue) =
                handle.read(|state| (state.live_count(), state.memory_bytes(), state.overdue()));
            if let (pools @ 1.., live_reservations) = overdue {
                tracing::warn!(
                    partition,
                    pools,
                    live_reservations,
                    "pools retire within some two hours, because their windows ended long ago: to keep one, change it first"
                );
            }
            self.memory.saw(partition, used);
            self.owner.live.with_label_values(&[&label]).set(as_gauge(live));
        }
        tracing::info!(partition, events, read, took_ms = took_us / 1_000, from_checkpoint, "partition recovered");
    }

    fn swapped(&self, partition: u32, compared: &Compared) {
        let (label, next_seq) = (partition.to_string(), compared.fresh.position.next_seq);
        let result = if compared.is_same() { SAME } else { DIFFERENT };
        self.owner.swaps.with_label_values(&[label.as_str(), result]).inc();
        let handle = self.watched.read().as_ref().and_then(|watched| watched.partition(partition));
        if let Some(handle) = handle.filter(|handle| handle.status_kind() == StatusKind::Active) {
            let (live, used) = handle.read(|state| (state.live_count(), state.memory_bytes()));
            self.memory.saw(partition, used);
            self.owner.live.with_label_values(&[&label]).set(as_gauge(live));
        }
        tracing::info!(partition, next_seq, result, "a fresh state has taken the place of the one in memory");
    }

    fn unread(&self, partition: u32, why: Option<&LogError>) {
        match why {
            Some(why) if why.needs_operator() => {
                tracing::error!(partition, %why, "the partition cannot be followed until an operator acts; trying again");
            }
            Some(why) => tracing::warn!(partition, %why, "the partition cannot be followed; trying again"),
            None => tracing::info!(partition, "the partition is followed again"),
        }
    }

    fn breach(&self, breach: &Breach) {
        Metrics::breach(self, breach);
    }

    fn failed(&self, partition: u32, why: &str) {
        tracing::error!(
            partition,
            why,
            "partition failed: its callers are refused until it is mended and the process is restarted"
        );
    }
}

impl CallReport for Metrics {
    fn stage(&self, stage: Stage, took_us: u64) {
        self.stages.took(stage, took_us);
    }

    fn read(&self, staleness_us: u64) {
        self.stages.read(staleness_us);
    }
}

impl Metrics {
    /// This machine's wall clock has stepped by so many microseconds: forward when positive.
    pub fn clock_stepped(&self, by_us: i128) {
        let direction = if by_us > 0 { FORWARD } else { BACK };
        self.clock.steps.with_label_values(&[direction]).inc();
        let by_ms = i64::try_from(by_us / 1_000).unwrap_or(i64::MAX);
        let partitions = if by_us > 0 { "follows" } else { "goes on at half its pace until the clock has caught up" };
        tracing::warn!(by_ms, "the wall clock has stepped {direction}: the time of partitions {partitions}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Micros;
    use crate::limits::MEMORY_BYTES_MAX;
    use crate::telemetry::memory::ProcessMemory;
    use parking_lot::Mutex;
    use std::collections::BTreeMap;
    use std::io::{self, Write};
    use std::sync::Arc;

    /// Collects the log lines of a test.
    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    const TURN: TurnReport = TurnReport {
        outcome: CommitOutcome::Ok,
        events: BTreeMap::new(),
        dead: None,
        retired: None,
        live_change: 0,
        memory_bytes: 0,
        commands: 1,
        turn_us: 1,
        commit_us: 1,
        reply_us: 1,
    };

    /// The log lines that these turns of partition 2 cause.
    fn told<const N: usize>(turns: [TurnReport; N]) -> String {
        lines(|metrics| turns.iter().for_each(|turn| metrics.turn(2, turn)))
    }

    /// The log lines that these reports cause.
    fn lines(reports: impl FnOnce(&Metrics)) -> String {
        let page = Page::default();
        let writer = page.clone();
        let lines = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        let metrics = Metrics::new();
        tracing::subscriber::with_default(lines, || reports(&metrics));
        let told = page.0.lock().clone();
        String::from_utf8(told).unwrap()
    }

    /// The story: a process could not have anything decided from its start on, and no line of its canary said so.
    #[test]
    fn a_canary_that_fails_is_a_warning_once_also_when_it_has_never_passed() {
        let rounds = |passes: &[bool]| {
            let told = lines(|metrics| {
                passes.iter().for_each(|passes| match passes {
                    true => metrics.canary().passed(2, 1, 1),
                    false => metrics.canary().failed(2, "timeout"),
                });
            });
            [" WARN ", " INFO "].map(|level| told.lines().filter(|line| line.contains(level)).count())
        };
        assert_eq!(rounds(&[false, false, true, true]), [0, 1], "its states were rebuilt meanwhile");
        assert_eq!(rounds(&[false; 9]), [1, 0]);
        assert_eq!(rounds(&[false, false, false, false, true]), [1, 1]);
        assert_eq!(rounds(&[true, false, false, true, false]), [2, 2]);
    }

    #[test]
    fn a_memory_that_fills_up_is_a_warning_once_and_long_before_it_is_full() {
        let turn = |percent| TurnReport { memory_bytes: MEMORY_BYTES_MAX / 100 * percent, ..TURN };
        assert_eq!(told([turn(79)]), "");
        let lines = told([79, 80, 79, 80, 99, 100].map(turn));
        assert_eq!(lines.lines().count(), 1, "{lines}");
        assert!(lines.contains(" WARN ") && lines.contains("partition=2"), "{lines}");
        assert_eq!(told([80, 74, 80].map(turn)).lines().count(), 2, "it is over, and begins again");
    }

    #[test]
    fn a_process_whose_memory_fills_up_warns_once_and_before_the_system_kills_it() {
        let told = |percents: &[u64]| {
            let seen = |percent| ProcessMemory { used_bytes: percent << 20, limit_bytes: 100 << 20 };
            lines(|metrics| percents.iter().for_each(|&percent| metrics.process_memory(&seen(percent))))
        };
        assert_eq!(told(&[79]), "");
        let lines = told(&[79, 80, 79, 80, 99, 100]);
        assert_eq!(lines.lines().count(), 1, "{lines}");
        assert!(lines.contains(" WARN ") && lines.contains("used_bytes=83886080 limit_bytes=104857600"), "{lines}");
        assert_eq!(told(&[80, 74, 80]).lines().count(), 2, "it is over, and begins again");
    }

    #[test]
    fn a_command_that_nobody_can_decide_is_a_warning() {
        let undecidable = Undecidable { offset: 7, at: Micros(1), reason: "misrouted".to_owned() };
        let told = told([TurnReport { dead: Some(DeadCommands { first: undecidable, count: 3 }), ..TURN }, TURN]);
        assert_eq!(told.lines().count(), 1, "{told}");
        for part in [" WARN ", "partition=2 count=3 first=2-7 reason=\"misrouted\"", "headroom dead-letters"] {
            assert!(told.contains(part), "{part} in {told}");
        }
    }

    #[test]
    fn pools_that_retire_by_themselves_are_one_line_of_a_turn() {
        let retired = Some(RetiredPools { pools: 2, live: 7 });
        let told = told([TurnReport { retired, ..TURN }, TURN]);
        assert_eq!(told.lines().count(), 1, "{told}");
        assert!(told.contains(" INFO ") && told.contains("partition=2 pools=2 live_reservations=7"), "{told}");
    }
}
