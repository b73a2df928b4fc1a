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
    /// Partitions whose owner has warned.
    warned: Mutex<BTreeSet<u32>>,
    /// Whether the process has warned of its own.
    process_warned: Mutex<bool>,
}

/// An owner warns when its partition remembers so many bytes, and again only after they were fewer than
/// [`MEMORY_CALM_BYTES`].
const MEMORY_WARN_BYTES: u64 = MEMORY_BYTES_MAX / 100 * MEMORY_WARN_PERCENT;
const MEMORY_CALM_BYTES: u64 = MEMORY_BYTES_MAX / 100 * MEMORY_CALM_PERCENT;

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
            process_warned: Mutex::default(),
        }
    }

    /// Warns long before new work is refused.
    pub(super) fn saw(&self, partition: u32, bytes: u64) {
        let mut warned = self.warned.lock();
        if bytes < MEMORY_CALM_BYTES {
            warned.remove(&partition);
        } else if bytes >= MEMORY_WARN_BYTES && warned.insert(partition) {
            let limit_bytes = MEMORY_BYTES_MAX;
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
        let mut warned = self.process_warned.lock();
        if used_bytes < limit_bytes / 100 * MEMORY_CALM_PERCENT {
            *warned = false;
        } else if used_bytes >= limit_bytes / 100 * MEMORY_WARN_PERCENT && !*warned {
            *warned = true;
            tracing::warn!(
                used_bytes,
                limit_bytes,
                "the memory of the process fills up; at its limit the system kills the process"
            );
        }
    }

    pub(super) fn of(&self, partition: &str, bytes: u64) {
        self.bytes.with_label_values(&[partition]).set(as_gauge(bytes));
        let mib = |bytes: u64| f64::from(u32::try_from(bytes >> 20).unwrap_or(u32::MAX));
        self.ratio.with_label_values(&[partition]).set(mib(bytes) / mib(MEMORY_BYTES_MAX));
    }
}
