//! How far a wall clock is believed where something goes for good once it is old.

use crate::domain::Micros;

/// A wall clock that may jump. The first reading is believed. From then on the time that is believed goes at most twice as fast
/// as time passes. The newest event alone is no bound, because a clock that jumps ahead gives its time to the next event. So a
/// person has time to set the clock right before everything is old by it.
///
/// A clock that is years behind is told as it is, because nothing is old by it, and has to be believed again once it is right.
/// So what is kept of it does not go back meanwhile, but on at half pace. It begins with the newest event at the earliest,
/// because a machine may start with such a clock, until a time service sets it.
///
/// What is kept is never later than both the clock and the newest event. So a log that was ahead is forgotten when it is set
/// right, and a clock that jumps there once more is not believed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Believed {
    /// The time that was believed last, and the steady time of that moment. `None` until an event is known.
    last: Option<(Micros, Micros)>,
}

impl Believed {
    /// The time of the wall clock, or an earlier one that is believed, given readings of it and of the steady clock, and the time
    /// of the newest event, which is 0 where none is known yet.
    pub fn tell(&mut self, wall: Micros, steady: Micros, newest: Micros) -> Micros {
        let later = wall.max(newest);
        let (earliest, latest) = self.last.map_or((later, later), |(believed, at)| {
            let passed_ms = steady.ms_since(at);
            (believed.plus_ms(passed_ms / 2).min(later), believed.plus_ms(passed_ms.saturating_mul(2)))
        });
        if newest > Micros(0) {
            self.last = Some((wall.clamp(earliest, latest), steady));
        }
        wall.min(latest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEWEST: Micros = Micros(1_780_000_000_000_000);
    const YEAR_MS: u64 = 31_536_000_000;

    fn steady(ms: u64) -> Micros {
        Micros(0).plus_ms(ms)
    }

    #[test]
    fn a_clock_that_jumps_ahead_is_believed_at_twice_the_pace() {
        let mut believed = Believed::default();
        assert_eq!(believed.tell(NEWEST, steady(0), NEWEST), NEWEST);
        let ahead = NEWEST.plus_ms(YEAR_MS);
        for (at, reached) in [(1_000, 2_000), (2_000, 4_000), (3_000, 6_000)] {
            assert_eq!(believed.tell(ahead, steady(at), ahead), NEWEST.plus_ms(reached));
        }
        let right = NEWEST.plus_ms(4_000);
        assert_eq!(believed.tell(right, steady(4_000), ahead), right);
    }

    /// The story: a machine without a battery for its clock begins with 1970, and its server is started before the time service
    /// has answered. No partition is restored at the first look.
    #[test]
    fn a_clock_that_was_behind_at_the_first_look_is_believed_from_the_newest_event_on() {
        let mut believed = Believed::default();
        for (at, newest) in [(0, Micros(0)), (1_000, NEWEST), (2_000, NEWEST)] {
            assert_eq!(believed.tell(steady(at), steady(at), newest), steady(at));
        }
        // The server was down for an hour, and an hour later the clock is believed.
        let right = NEWEST.plus_ms(3_600_000);
        let told = believed.tell(right, steady(3_000), right);
        assert!(told >= NEWEST && told < right, "{told:?}");
        let later = NEWEST.plus_ms(7_200_000);
        assert_eq!(believed.tell(later, steady(3_603_000), right), later);
    }

    /// The story: the clock was a year ahead for a day. It was set right, the process was started anew, and `headroom clock set`
    /// has set the log right. Then the clock jumps ahead again.
    #[test]
    fn what_was_believed_of_a_log_that_was_ahead_ends_when_it_is_set_right() {
        let (mut believed, ahead) = (Believed::default(), NEWEST.plus_ms(YEAR_MS));
        assert_eq!(believed.tell(NEWEST, steady(0), ahead), NEWEST);
        let set_right = NEWEST.plus_ms(1_000);
        assert_eq!(believed.tell(set_right, steady(1_000), set_right), set_right);
        assert_eq!(believed.tell(ahead, steady(2_000), ahead), set_right.plus_ms(2_000));
    }

    #[test]
    fn a_clock_that_was_behind_for_a_moment_is_believed_again() {
        let mut believed = Believed::default();
        assert_eq!(believed.tell(NEWEST, steady(0), NEWEST), NEWEST);
        assert_eq!(believed.tell(Micros(0), steady(1_000), NEWEST), Micros(0));
        let right = NEWEST.plus_ms(2_000);
        assert_eq!(believed.tell(right, steady(2_000), NEWEST), right);
    }
}
