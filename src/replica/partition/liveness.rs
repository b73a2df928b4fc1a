//! What shows that a partition's log answers, and that the partition has an owner somewhere.

use crate::domain::Micros;
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
    /// When one note followed on another.
    shown_at: Option<Micros>,
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

    /// Keeps the last note of the partition's owner, whichever process that is, as it was read at `now`; none where it
    /// cannot be known. An owner writes a different note each time.
    pub fn set_owner_note(&self, note: Option<u64>, now: Micros) {
        let mut owner = self.owner.lock();
        let OwnerNotes { last, changes, shown_at } = *owner;
        // The first note that is read may be old, and its owner gone.
        let is_shown = last != note && last.is_some() && note.is_some();
        let changes = changes.saturating_add(u64::from(last != note));
        *owner = OwnerNotes { last: note, changes, shown_at: if is_shown { Some(now) } else { shown_at } };
    }

    /// When an owner of the partition, whichever process that was, last showed that it is there, by the clock of
    /// [`Liveness::set_owner_note`]; none before that, and on a log without such notes.
    pub fn owner_shown_at(&self) -> Option<Micros> {
        self.owner.lock().shown_at
    }

    /// How often the owner's note has changed; none where there is no note.
    pub(super) fn owner_notes(&self) -> Option<u64> {
        let OwnerNotes { last, changes, .. } = *self.owner.lock();
        last.map(|_| changes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_shown_by_a_note_that_follows_on_another() {
        let liveness = Liveness::default();
        let shown = |note, at| {
            liveness.set_owner_note(note, Micros(at));
            liveness.owner_shown_at()
        };
        assert_eq!(shown(Some(7), 1), None, "its owner may be gone for long");
        assert_eq!(shown(Some(8), 2), Some(Micros(2)));
        assert_eq!(shown(Some(8), 3), Some(Micros(2)));
        assert_eq!(shown(None, 4), Some(Micros(2)), "notes cannot be read");
        assert_eq!(shown(Some(8), 5), Some(Micros(2)));
        assert_eq!(shown(Some(9), 6), Some(Micros(6)));
    }
}
