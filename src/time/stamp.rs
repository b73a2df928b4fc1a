//! A reading of another machine's clock, and between which two moments of this process it was taken.

use super::Stopwatch;
use crate::domain::Micros;
use crate::limits::CLOCK_BROKER_MAX_MS;
use std::fmt;

/// Other clocks are known to the millisecond.
const GRAIN_US: u64 = 1_000;

/// A reading of another machine's clock. It was taken after one moment of this process and before another. So the two
/// clocks can be compared as long as the monotonic clock runs.
#[derive(Clone, Copy, Debug)]
pub struct Stamp {
    shown: Micros,
    after: Stopwatch,
    before: Stopwatch,
}

impl Stamp {
    /// A reading of the other clock that was taken after `after` was started and before now.
    pub fn new(shown: Micros, after: Stopwatch) -> Stamp {
        Stamp { shown, after, before: Stopwatch::start() }
    }

    /// How far a clock that shows `wall` now is from the other clock, as far as that is certain.
    pub fn offset(&self, wall: Micros) -> Offset {
        Offset(offset_us(wall, self.shown, [self.before.now(), self.after.now()]))
    }
}

/// By how many microseconds this machine's wall clock is ahead of the broker's clock; negative when it is behind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Offset(pub i64);

impl Offset {
    /// Whether the difference is so large that nothing may be decided by this clock.
    pub fn is_far(self) -> bool {
        self.0.unsigned_abs() > CLOCK_BROKER_MAX_MS * 1_000
    }
}

impl fmt::Display for Offset {
    /// The difference in words, after the code of the reason for which an owner stops.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, direction) = (self.0.unsigned_abs() / 1_000_000, if self.0 > 0 { "ahead of" } else { "behind" });
        write!(f, "clock_disagrees: this machine's clock is {seconds} s {direction} its broker's")
    }
}

/// The difference to a reading, given the least and the most time that can have passed since it was taken.
fn offset_us(wall: Micros, shown: Micros, [least, most]: [Micros; 2]) -> i64 {
    let earliest = shown.0.saturating_add(least.0);
    let latest = shown.0.saturating_add(most.0).saturating_add(GRAIN_US);
    let signed = |us: u64| i64::try_from(us).unwrap_or(i64::MAX);
    match (wall.0.checked_sub(latest), earliest.checked_sub(wall.0)) {
        (Some(ahead), _) => signed(ahead),
        (None, Some(behind)) => signed(behind).saturating_neg(),
        (None, None) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_clocks_differ_by_what_the_round_trip_does_not_explain() {
        const AT: u64 = 1_800_000_000_000_000;
        // Columns: what the wall clock shows after AT, the least and the most time that can have passed, and the
        // result.
        let cases = [
            (5_000, [4_000, 9_000], 0),
            (10_000, [4_000, 9_000], 0),
            (10_001, [4_000, 9_000], 1),
            (4_000, [4_000, 9_000], 0),
            (3_999, [4_000, 9_000], -1),
            (3_600_000_000, [0, 0], 3_599_999_000),
            (0, [3_600_000_000, 3_700_000_000], -3_600_000_000),
        ];
        for (wall, passed, expected) in cases {
            let told = offset_us(Micros(AT + wall), Micros(AT), passed.map(Micros));
            assert_eq!(told, expected, "{wall} after {passed:?}");
        }
        assert_eq!(offset_us(Micros::MAX, Micros(0), [Micros(0); 2]), i64::try_from(Micros::MAX.0 - GRAIN_US).unwrap());
    }
}
