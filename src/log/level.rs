//! The feature level of a log: what its processes may write. A new version of this program reads and writes all levels up to
//! its own. It writes what the log's level has and nothing newer, so processes of the version before can read everything
//! while both run. When no process of that version is left, an operator raises the level (`headroom topics finalize`). An
//! embedded log has one process, which raises the level when it starts.
//!
//! Level N came with version 0.N.0. A log keeps the version that raised it, and whoever knows less names that version as the one
//! to take. So a new level needs a new version.

use crate::crash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// The newest level that this version reads and writes. Level 1 has the schemas of commands up to version 3 and of events
/// up to version 4. Level 2 adds the end of a pool's life: commands of version 4, events of version 5.
pub const FEATURE_LEVEL: u32 = 2;
/// The level of a log that no version has raised.
pub const FIRST_LEVEL: u32 = 1;
/// The newest level of an embedded log, whose files may change when the records do not. Level 3 packs the frames of its
/// segments.
pub const EMBEDDED_LEVEL: u32 = 3;
/// From this level on, the frames of an embedded log are packed.
pub const PACKED_LEVEL: u32 = 3;
/// From this level on, pools retire.
pub const RETIREMENT_LEVEL: u32 = 2;

/// The newest level that this process knows: [`FEATURE_LEVEL`], or less where a test plays an older version.
pub fn known_level() -> u32 {
    crash::older_level().map_or(FEATURE_LEVEL, |older| older.min(FEATURE_LEVEL))
}

/// The same of an embedded log: [`EMBEDDED_LEVEL`], or less.
pub fn known_embedded_level() -> u32 {
    crash::older_level().map_or(EMBEDDED_LEVEL, |older| older.min(EMBEDDED_LEVEL))
}

/// The level that a log has now, as one process knows it. Clones share it.
#[derive(Clone, Debug)]
pub struct FeatureLevel(Arc<AtomicU32>);

impl FeatureLevel {
    /// A log of this level.
    pub fn at(level: u32) -> FeatureLevel {
        FeatureLevel(Arc::new(AtomicU32::new(level)))
    }

    /// The level to write at: that of the log, or the newest one of this process where the log has a newer one.
    pub fn get(&self) -> u32 {
        self.0.load(Relaxed).min(known_level())
    }

    /// The level of the log itself, which this process may not know.
    pub fn of_log(&self) -> u32 {
        self.0.load(Relaxed)
    }

    /// The log has this level now. Levels never fall. Answers whether it had a lower one.
    pub fn raise(&self, level: u32) -> bool {
        self.0.fetch_max(level, Relaxed) < level
    }

    /// Whether pools retire, which is not so while older processes may serve the log.
    pub fn has_retirement(&self) -> bool {
        self.get() >= RETIREMENT_LEVEL
    }
}

impl Default for FeatureLevel {
    /// The newest level of this process.
    fn default() -> FeatureLevel {
        FeatureLevel::at(known_level())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_that_knows_a_level_is_not_older_than_the_level() {
        let minor: u32 = env!("CARGO_PKG_VERSION_MINOR").parse().unwrap();
        assert!(env!("CARGO_PKG_VERSION_MAJOR") != "0" || minor >= FEATURE_LEVEL.max(EMBEDDED_LEVEL));
    }

    #[test]
    fn a_level_rises_for_all_who_share_it_and_never_falls() {
        let level = FeatureLevel::at(1);
        let shared = level.clone();
        assert!(!level.has_retirement());
        assert!(shared.raise(2) && !shared.raise(1) && !shared.raise(2));
        assert!(level.has_retirement());
        level.raise(FEATURE_LEVEL + 7);
        assert_eq!(shared.get(), FEATURE_LEVEL, "nobody writes what it does not know");
    }
}
