//! A partition's time, the clock of its broker, and an operator's request to set the partition's clock back.

use crate::domain::Micros;
use crate::limits::CLOCK_TOLD_MAX_MS;
use crate::time::{Clock, LogClock, Offset, Stamp};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// What came of a request to set the clock back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClockSetOutcome {
    /// The clock was set back, and an event says so.
    Done {
        /// The sequence number of that event.
        seq: u64,
        /// The partition's time before.
        from: Micros,
        /// The partition's time after.
        to: Micros,
    },
    /// The partition's time is not ahead of the wall clock: there is nothing to set.
    NotAhead,
    /// Too many commands were decided a short while ago: with their ids, which are kept for longer after the change,
    /// there is no room for new commands. Try again when fewer commands come in.
    Busy,
    /// The log did not take the event.
    NotCommitted,
    /// The owner has ended, and nobody knows whether the log took the event.
    NotKnown,
}

/// An operator's request to set a partition's clock back.
pub struct ClockRequest {
    /// The operator's reason, for the event.
    pub because: String,
    /// Called with the outcome; dropped uncalled when no owner handles the request.
    pub told: Box<dyn FnOnce(ClockSetOutcome) + Send>,
}

/// The time of one partition: its owner decides by it, its readers judge by it, and its commands' deadlines are counted
/// in it.
#[derive(Default)]
pub struct PartitionTime {
    log_clock: Mutex<LogClock>,
    /// The last reading of the broker's clock, if the log has one.
    stamp: Mutex<Option<Stamp>>,
    is_clock_refused: AtomicBool,
    request: Mutex<Option<ClockRequest>>,
}

impl PartitionTime {
    /// The partition's time now. See [`LogClock`].
    pub fn now(&self, clock: &dyn Clock) -> Micros {
        // The clock is read under the lock, so that a later call never answers an earlier time.
        let mut log_clock = self.log_clock.lock();
        let (wall, steady) = (clock.wall(), clock.now());
        let time = log_clock.tell(wall, steady);
        let is_vouched = || self.broker_offset(clock).is_some_and(|offset| !offset.is_far());
        if time.ms_since(wall) > CLOCK_TOLD_MAX_MS && is_vouched() {
            log_clock.tell_vouched(wall, steady)
        } else {
            time
        }
    }

    /// By how many microseconds the partition's time is ahead of the wall clock; 0 when it is not. It may be ahead
    /// where a clock was wrong.
    pub fn ahead_us(&self, clock: &dyn Clock) -> u64 {
        self.now(clock).0.saturating_sub(clock.wall().0)
    }

    /// Keeps the last reading of the broker's clock. Set each time the broker is asked.
    pub fn set_broker_stamp(&self, stamp: Option<Stamp>) {
        *self.stamp.lock() = stamp;
    }

    /// How far the wall clock is from that of the partition's broker; none before the broker's clock was read.
    pub fn broker_offset(&self, clock: &dyn Clock) -> Option<Offset> {
        self.stamp.lock().map(|stamp| clock.offset(&stamp))
    }

    /// Whether an owner of this process ended because its clock is far from the broker's, and none has begun since.
    pub fn is_clock_refused(&self) -> bool {
        self.is_clock_refused.load(Relaxed)
    }

    /// Set by the thread that tries to own the partition. Answers whether that changed anything.
    pub fn set_clock_refused(&self, is_refused: bool) -> bool {
        self.is_clock_refused.swap(is_refused, Relaxed) != is_refused
    }

    /// The owner has set the time back by an event: times that were answered before do not count any more.
    pub fn was_set_back(&self) {
        self.log_clock.lock().begin_anew();
    }

    /// Takes the request to set the clock back, if there is one. For the owner's thread.
    pub fn take_request(&self) -> Option<ClockRequest> {
        self.request.lock().take()
    }

    /// Leaves a request for the owner. An earlier one that is still there is dropped.
    pub(super) fn request(&self, request: ClockRequest) {
        *self.request.lock() = Some(request);
    }

    /// The state's last event was decided at this time.
    pub(super) fn folded(&self, decided_at: Micros) {
        self.log_clock.lock().saw(decided_at);
    }

    /// When the state's last event was decided.
    pub(super) fn decided_at(&self) -> Micros {
        self.log_clock.lock().decided_at()
    }
}
