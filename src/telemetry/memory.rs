//! How full the memory of partitions is, and that of the process, with a warning long before new work is refused or the system
//! kills the process.

use super::register::{Register, as_gauge, float_gauges, gauge, gauges};
use crate::limits::{MEMORY_BYTES_MAX, MEMORY_CALM_PERCENT, MEMORY_WARN_PERCENT};
use parking_lot::Mutex;
use prometheus::IntGaugeVec;
use std::collections::BTreeSet;

/// What was seen of the memory of this process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProcessMemory {
    /// The memory that it has from the system.
    pub used_bytes: u64,
    /// The most that it may have.
    pub limit_bytes: u64,
}

/// Metrics of the bytes that partitions remember, of their limit, and of that of the process.
pub(super) struct MemoryMetrics {
    bytes: IntGaugeVec,
    ratio: prometheus::GaugeVec,
    process_limit: IntGaugeVec,
    /// The partitions that were warned of, and the process, which is no partition.
    warned: Mutex<BTreeSet<Option<u32>>>,
}

impl MemoryMetrics {
    pub(super) fn new(r: &Register) -> MemoryMetrics {
        let limit = gauge(r, "headroom_memory_limit_bytes", "Bytes that one partition may remember.");
        limit.set(as_gauge(MEMORY_BYTES_MAX));
        MemoryMetrics {
            bytes: gauges(
                r,
                "headroom_memory_bytes",
                "Bytes remembered: reservations that live or ended, attempts given up, answers of applied changes.",
                &["partition"],
            ),
            ratio: float_gauges(
                r,
                "headroom_memory_used_ratio",
                "Share of the memory limit that is used. At 1 new work is refused.",
                &["partition"],
            ),
            process_limit: gauges(
                r,
                "headroom_process_memory_limit_bytes",
                "Bytes of memory that this process may have: the limit of its control group, or the memory of the machine.",
                &[],
            ),
            warned: Mutex::default(),
        }
    }

    /// Warns long before new work is refused.
    pub(super) fn saw(&self, partition: u32, bytes: u64) {
        let limit_bytes = MEMORY_BYTES_MAX;
        if self.is_news(Some(partition), bytes, limit_bytes) {
            tracing::warn!(
                partition,
                bytes,
                limit_bytes,
                "the partition's memory fills up; at its limit new work is refused"
            );
        }
    }

    /// Warns long before the system kills the process, which leaves no line.
    pub(super) fn process(&self, seen: &ProcessMemory) {
        let ProcessMemory { used_bytes, limit_bytes } = *seen;
        self.process_limit.with_label_values::<&str>(&[]).set(as_gauge(limit_bytes));
        if self.is_news(None, used_bytes, limit_bytes) {
            tracing::warn!(
                used_bytes,
                limit_bytes,
                "the memory of the process fills up; at its limit the system kills the process"
            );
        }
    }

    /// Whether a partition, or the process, is to be warned of: at [`MEMORY_WARN_PERCENT`] of its limit, and again only after it
    /// had less than [`MEMORY_CALM_PERCENT`].
    fn is_news(&self, partition: Option<u32>, bytes: u64, limit_bytes: u64) -> bool {
        let mut warned = self.warned.lock();
        if bytes < limit_bytes / 100 * MEMORY_CALM_PERCENT {
            warned.remove(&partition);
        }
        bytes >= limit_bytes / 100 * MEMORY_WARN_PERCENT && warned.insert(partition)
    }

    pub(super) fn of(&self, partition: &str, bytes: u64) {
        self.bytes.with_label_values(&[partition]).set(as_gauge(bytes));
        let mib = |bytes: u64| f64::from(u32::try_from(bytes >> 20).unwrap_or(u32::MAX));
        self.ratio.with_label_values(&[partition]).set(mib(bytes) / mib(MEMORY_BYTES_MAX));
    }
}
