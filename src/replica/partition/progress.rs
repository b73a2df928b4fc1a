//! How far a partition's state is rebuilt.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// The end of the log is not known.
const UNKNOWN: u64 = u64::MAX;

/// How far a partition's state is rebuilt, and from what. The thread that rebuilds it writes this; everybody may read
/// it.
pub struct RestoreProgress {
    end_seq: AtomicU64,
    is_expiring: AtomicBool,
    is_from_checkpoint: AtomicBool,
}

impl Default for RestoreProgress {
    fn default() -> RestoreProgress {
        let no = || AtomicBool::new(false);
        RestoreProgress { end_seq: AtomicU64::new(UNKNOWN), is_expiring: no(), is_from_checkpoint: no() }
    }
}

impl RestoreProgress {
    /// The number of events that the log had when restoring began; none before the log has said so.
    pub fn end_seq(&self) -> Option<u64> {
        Some(self.end_seq.load(Relaxed)).filter(|end| *end != UNKNOWN)
    }

    /// Keeps the number of events that the log has.
    pub fn set_end_seq(&self, end_seq: u64) {
        self.end_seq.store(end_seq, Relaxed);
    }

    /// Whether the state is complete, and its owner expires the holds that became due before.
    pub fn is_expiring(&self) -> bool {
        self.is_expiring.load(Relaxed)
    }

    /// Set by the owner before and after it expires those holds.
    pub fn set_expiring(&self, is_expiring: bool) {
        self.is_expiring.store(is_expiring, Relaxed);
    }

    /// Whether the state began with a checkpoint, and no owner has taken it over yet: where it turns out broken, the
    /// checkpoint may be the cause.
    pub fn is_from_checkpoint(&self) -> bool {
        self.is_from_checkpoint.load(Relaxed)
    }

    /// Set when a checkpoint is put in, and cleared when an owner has taken the state over.
    pub fn set_from_checkpoint(&self, is_from_checkpoint: bool) {
        self.is_from_checkpoint.store(is_from_checkpoint, Relaxed);
    }
}
