//! The time of one partition's log, made of readings of two clocks that the caller hands in.

use crate::domain::Micros;
use crate::limits::CLOCK_TOLD_MAX_MS;

/// Of the time that passes, the log's time goes on by one part in so many while it is ahead of the wall clock.
const PACE: u64 = 2;

/// The time of one partition. Its owner decides by it, its readers judge by it, and deadlines of its commands are
/// counted in it. It follows the wall clock, and never goes back. While the log is ahead of the wall clock it goes on at
/// half the real pace: holds still end, and the log comes nearer to the wall clock by half of the time that passes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LogClock {
    /// The last event's time.
    decided_at: Micros,
    /// What was told when the log's time was last met by another one, and the steady time of that moment.
    met: Option<(Micros, Micros)>,
}

impl LogClock {
    /// The last event's time.
    pub fn decided_at(&self) -> Micros {
        self.decided_at
    }

    /// The state's last event is of this time now. Where that is earlier than before, the log's time was set back, or
    /// the state is another one: the clock begins anew there.
    pub fn saw(&mut self, decided_at: Micros) {
        if decided_at < self.decided_at {
            self.begin_anew();
        }
        self.decided_at = decided_at;
    }

    /// The log's time, when the wall clock shows `wall` and the steady clock `steady`, which never goes back. Never earlier than what it told
    /// before, until [`LogClock::saw`] is told that the log went back.
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

    /// The same when the wall clock is known to be right. What was told by a wall clock that was far ahead, and is in no
    /// event, is not kept to.
    pub fn tell_vouched(&mut self, wall: Micros, steady: Micros) -> Micros {
        let told = self.tell(wall, steady);
        if told.ms_since(wall.max(self.decided_at)) > CLOCK_TOLD_MAX_MS {
            self.begin_anew();
        }
        self.tell(wall, steady)
    }

    /// The log's time was set back. What was told before, be it in an event or not, is not kept to.
    pub fn begin_anew(&mut self) {
        self.met = None;
    }
}
