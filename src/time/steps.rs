//! Finds jumps of the wall clock, by comparing it with the steady clock now and then.

use crate::domain::Micros;
use crate::limits::CLOCK_STEP_MS;

/// Watches two clocks for jumps of one against the other.
#[derive(Clone, Copy, Debug)]
pub struct Steps {
    /// By how many microseconds the wall clock was ahead of the steady one.
    offset_us: i128,
}

impl Steps {
    /// Starts with these readings.
    pub fn new(wall: Micros, steady: Micros) -> Steps {
        Steps { offset_us: offset_us(wall, steady) }
    }

    /// By how many microseconds the wall clock has jumped since the last call; positive: forward. A difference below
    /// [`CLOCK_STEP_MS`] is no jump: the clock is being adjusted.
    pub fn look(&mut self, wall: Micros, steady: Micros) -> Option<i128> {
        let now_us = offset_us(wall, steady);
        let by_us = now_us.saturating_sub(std::mem::replace(&mut self.offset_us, now_us));
        (by_us.unsigned_abs() >= u128::from(CLOCK_STEP_MS).saturating_mul(1_000)).then_some(by_us)
    }
}

fn offset_us(wall: Micros, steady: Micros) -> i128 {
    i128::from(wall.0).saturating_sub(i128::from(steady.0))
}
