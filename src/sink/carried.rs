//! What a writer knows from one connection to the next.

use crate::limits::SINK_BATCH_ROWS_MAX;

/// The size below which a batch does not become smaller, in events.
const EVENTS_MIN: u64 = 100;
/// By so many events a batch may be larger than a full one that was written.
const STEP: u64 = SINK_BATCH_ROWS_MAX / 16;
const _: () = assert!(EVENTS_MIN <= STEP);

/// What a writer knows from one connection to the next. Each writer has its own.
#[derive(Debug)]
pub struct Carried {
    /// The most events of the next batch.
    events_max: u64,
}

impl Default for Carried {
    fn default() -> Carried {
        Carried { events_max: SINK_BATCH_ROWS_MAX }
    }
}

impl Carried {
    /// The most events of the next batch. It is half of one that was not written, because a link may be too slow for that one
    /// however often it is tried, and grows again step by step.
    pub(super) fn events_max(&self) -> u64 {
        self.events_max
    }

    /// A batch of so many events was not written.
    pub(super) fn broke_off(&mut self, events: u64) {
        self.events_max = (events.min(self.events_max) / 2).max(EVENTS_MIN);
        tracing::info!(events = self.events_max, "the next batch is smaller");
    }

    /// A batch of so many events was written. One that is not full says nothing about a larger one.
    pub(super) fn written(&mut self, events: u64) {
        if events >= self.events_max {
            self.events_max = self.events_max.saturating_add(STEP).min(SINK_BATCH_ROWS_MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_half_of_one_that_broke_off_and_grows_by_steps_when_full_ones_are_written() {
        let mut carried = Carried::default();
        carried.written(SINK_BATCH_ROWS_MAX);
        assert_eq!(carried.events_max(), SINK_BATCH_ROWS_MAX);
        carried.broke_off(SINK_BATCH_ROWS_MAX);
        assert_eq!(carried.events_max(), SINK_BATCH_ROWS_MAX / 2);
        // It was short because its rows are long.
        carried.broke_off(3_000);
        assert_eq!(carried.events_max(), 1_500);
        carried.written(1_499);
        assert_eq!(carried.events_max(), 1_500);
        carried.written(1_500);
        assert_eq!(carried.events_max(), 1_500 + STEP);
        (0..9).for_each(|_| carried.broke_off(SINK_BATCH_ROWS_MAX));
        assert_eq!(carried.events_max(), EVENTS_MIN);
        // One that was announced is as large as it was then.
        carried.written(SINK_BATCH_ROWS_MAX);
        assert_eq!(carried.events_max(), EVENTS_MIN + STEP);
        (0..16).for_each(|_| carried.written(SINK_BATCH_ROWS_MAX));
        assert_eq!(carried.events_max(), SINK_BATCH_ROWS_MAX);
    }
}
