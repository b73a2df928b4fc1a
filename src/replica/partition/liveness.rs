//! What shows that a partition's log answers, and that the partition has an owner somewhere.

use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// The questions to a partition's log, and the notes of its owner.
#[derive(Default)]
pub struct Liveness {
    is_asked: AtomicBool,
    answers: AtomicU64,
    owner: Mutex<OwnerNotes>,
}

/// The questions to a partition's log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LogContact {
    /// Whether the log was asked and has not answered yet.
    pub is_asked: bool,
    /// How often the log has answered.
    pub answers: u64,
}

#[derive(Clone, Copy, Default)]
struct OwnerNotes {
    last: Option<u64>,
    changes: u64,
}

impl Liveness {
    /// The partition's log is asked for its end. Called by the probe that asks it again and again.
    pub fn log_asked(&self) {
        self.is_asked.store(true, Relaxed);
    }

    /// The log has answered.
    pub fn log_answered(&self) {
        self.answers.fetch_add(1, Relaxed);
        self.is_asked.store(false, Relaxed);
    }

    /// Whether the log was asked, and how often it has answered.
    pub fn log(&self) -> LogContact {
        LogContact { is_asked: self.is_asked.load(Relaxed), answers: self.answers.load(Relaxed) }
    }

    /// Keeps the last note of the partition's owner, whichever process that is; none where it cannot be known. An owner
    /// writes a different note each time.
    pub fn set_owner_note(&self, note: Option<u64>) {
        let mut owner = self.owner.lock();
        *owner = OwnerNotes { last: note, changes: owner.changes.saturating_add(u64::from(owner.last != note)) };
    }

    /// How often the owner's note has changed; none where there is no note.
    pub(super) fn owner_notes(&self) -> Option<u64> {
        let OwnerNotes { last, changes } = *self.owner.lock();
        last.map(|_| changes)
    }
}
