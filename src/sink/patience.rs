//! How long a sink waits for a place that refuses it. A right that was given takes a moment to reach every part of a store, and
//! keys are renewed while a sink writes: one refusal alone says little. What stays refused waits for a person, and a sink has
//! nothing else to do.

use crate::domain::Micros;
use std::time::Duration;

/// Fewest refusals after which a sink ends.
const REFUSALS_MIN: u64 = 3;
/// For so many milliseconds they have to go on: a right that was given a moment ago, or a key that is renewed, needs less. The alert
/// for a sink that waits comes much later.
const REFUSED_MS: u64 = 30_000;
const _: () = assert!(REFUSALS_MIN > 1, "one refusal alone never ends a sink");

/// The refusals that came one after the other, since something was written last.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Patience {
    count: u64,
    /// When the first of them came, and the last one, by the clock of the process.
    first: Micros,
    last: Micros,
}

impl Patience {
    /// The place has refused once more, at this time of the process. A writer that is refused asks again within `again`: one that
    /// was not refused for longer had nothing to write, and this is a new refusal. When it has been so often enough and for long
    /// enough, the answer says how often and for how many milliseconds.
    pub fn refused(&mut self, now: Micros, again: Duration) -> Option<(u64, u64)> {
        let quiet_ms = u128::from(now.ms_since(self.last));
        if self.count == 0 || quiet_ms > again.as_millis() {
            (self.count, self.first) = (0, now);
        }
        (self.count, self.last) = (self.count.saturating_add(1), now);
        let ms = now.ms_since(self.first);
        (self.count >= REFUSALS_MIN && ms >= REFUSED_MS).then_some((self.count, ms))
    }

    /// Something was written.
    pub(super) fn written(&mut self) {
        *self = Patience::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Longer than two refusals are apart in the tests.
    const AGAIN: Duration = Duration::from_millis(2 * REFUSED_MS);

    fn at(ms: u64) -> Micros {
        Micros(7_000_000).plus_ms(ms)
    }

    #[test]
    fn it_ends_after_several_refusals_over_some_time() {
        let mut often = Patience::default();
        assert!((0..REFUSED_MS).step_by(1_000).all(|ms| often.refused(at(ms), AGAIN).is_none()));
        let count = 1 + REFUSED_MS / 1_000;
        assert_eq!(often.refused(at(REFUSED_MS), AGAIN), Some((count, REFUSED_MS)));
        let mut seldom = Patience::default();
        let late = |times| at(REFUSED_MS * times);
        assert!((1..REFUSALS_MIN).all(|times| seldom.refused(late(times), AGAIN).is_none()));
        let ms = REFUSED_MS * (REFUSALS_MIN - 1);
        assert_eq!(seldom.refused(late(REFUSALS_MIN), AGAIN), Some((REFUSALS_MIN, ms)));
    }

    #[test]
    fn it_begins_anew_when_something_was_written_or_nothing_was_refused_for_long() {
        let again_ms = 2 * REFUSED_MS;
        let mut patience = Patience::default();
        for night in 0..9 {
            // Twice within a moment, and then not for hours.
            let begins = night * 100 * again_ms;
            assert!([0, 100].iter().all(|ms| patience.refused(at(begins + ms), AGAIN).is_none()), "night {night}");
        }
        for ms in (0..9).map(|times| at(1_000 * again_ms + times * REFUSED_MS)) {
            assert_eq!(patience.refused(ms, AGAIN), None);
            patience.written();
        }
    }
}
