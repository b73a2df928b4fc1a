//! What identifies a log.

use crate::domain::Micros;

/// What identifies a log for good: pinned when it is made, checked whenever it is opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Manifest {
    /// Drawn when the log was made.
    pub log_id: u128,
    /// How many partitions it has.
    pub partitions: u32,
    /// How pools map to them, see [`crate::domain::route::HASH_VERSION`].
    pub hash_version: u32,
    /// How its files are laid out.
    pub format_version: u32,
    /// For how long keys are remembered, see [`crate::limits::DEDUP_WINDOW_MS`].
    pub dedup_window_ms: u64,
    /// How much is remembered, see [`crate::limits::MEMORY_VERSION`].
    pub memory_version: u32,
    /// When it was made.
    pub created_at: Micros,
}
