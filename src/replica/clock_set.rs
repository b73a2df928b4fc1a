//! An operator's wish that a partition's clock be set back, on its way to the partition's owner.

use crate::domain::Micros;

/// What came of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Setting {
    /// It was set, and this event says so.
    Done {
        /// The event.
        seq: u64,
        /// The time before.
        from: Micros,
        /// The time after.
        to: Micros,
    },
    /// The partition's time is not ahead of the wall clock: there is nothing to set.
    NotAhead,
    /// So many commands were decided a short while ago that their ids leave no room for those of an older time. When
    /// fewer come in it can be done.
    Busy,
    /// The log did not take it.
    NotCommitted,
}

/// The wish.
pub struct ClockRequest {
    /// Who says so, and why.
    pub because: String,
    /// Told what came of it; dropped when nothing will.
    pub told: Box<dyn FnOnce(Setting) + Send>,
}
