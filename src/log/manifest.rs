//! The manifest, which identifies a log.

use crate::domain::Micros;

/// What identifies a log for good: it is fixed when the log is made, and checked whenever the log is opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Manifest {
    /// The log's id, drawn at random when the log was made.
    pub log_id: u128,
    /// The number of partitions.
    pub partitions: u32,
    /// The version of the mapping from pools to partitions, see [`crate::domain::route::HASH_VERSION`].
    pub hash_version: u32,
    /// The version of the layout of its files.
    pub format_version: u32,
    /// The time for which idempotency keys are remembered, see [`crate::limits::DEDUP_WINDOW_MS`].
    pub dedup_window_ms: u64,
    /// The version of the rules for what is remembered, see [`crate::limits::MEMORY_VERSION`].
    pub memory_version: u32,
    /// The time when the log was made.
    pub created_at: Micros,
}

impl Manifest {
    /// Whether both are of one log, in whose files the layout may have changed.
    pub fn is_of(&self, other: &Manifest) -> bool {
        Manifest { format_version: other.format_version, ..*self } == *other
    }
}
