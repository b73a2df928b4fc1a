//! The time of one partition, made of readings of two clocks that the caller passes in.

use crate::domain::Micros;
use crate::limits::CLOCK_TOLD_MAX_MS;

/// While the log is ahead of the wall clock, its time advances by one part in so many of the time that passes.
const PACE: u64 = 2;

/// The time of one partition. Its owner decides by it, its readers judge by it, and deadlines of its commands are
/// counted in it. It follows the wall clock and never goes back. While the log is ahead of the wall clock, it
/// advances at half the real pace. So holds still end, and the difference shrinks by half of the time that passes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LogClock {
    /// The time of the last event.
    decided_at: Micros,
    /// The last time that came from the wall clock or from an event, and the steady time of that moment. While the log is ahead
    /// its time is counted from there.
    met: Option<(Micros, Micros)>,
}

impl LogClock {
    /// The time of the last event.
    pub fn decided_at(&self) -> Micros {
        self.decided_at
    }

    /// Sets the time of the state's last event. When it is earlier than before, the log's time was set back or the
    /// state was replaced, and the clock starts again from there.
    pub fn saw(&mut self, decided_at: Micros) {
        if decided_at < self.decided_at {
            self.begin_anew();
        }
        self.decided_at = decided_at;
    }

    /// The log's time, given readings of the wall clock and of the steady clock, which never goes back. It is never
    /// earlier than a time that it returned before, unless [`LogClock::saw`] was called with an earlier time.
    pub fn tell(&mut self, wall: Micros, steady: Micros) -> Micros {
        let reached = wall.max(self.decided_at);
        if let Some((told, since)) = self.met {
            let passed = steady.0.saturating_sub(since.0).checked_div(PACE).unwrap_or_default();
            let own = Micros(told.0.saturating_add(passed).min(Micros::MAX.0));
            if own >= reached {
                return own;
            }
        }
        self.met = Some((reached, steady));
        reached
    }

    /// The log's time when the wall clock is known to be right. A time that a wall clock far ahead has led to, and
    /// that is in no event, is dropped.
    pub fn tell_vouched(&mut self, wall: Micros, steady: Micros) -> Micros {
        let told = self.tell(wall, steady);
        if told.ms_since(wall.max(self.decided_at)) > CLOCK_TOLD_MAX_MS {
            self.begin_anew();
        }
        self.tell(wall, steady)
    }

    /// The log's time was set back. Times that were returned before are dropped, whether or not they are in an event.
    pub fn begin_anew(&mut self) {
        self.met = None;
    }
}
