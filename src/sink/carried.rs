//! What a writer knows from one connection to the next.

use super::patience::Patience;
use crate::domain::Micros;
use std::collections::BTreeMap;

/// The size below which a batch does not become smaller, in events.
const EVENTS_MIN: u64 = 100;
/// A batch may be larger than a full one that was written by one of so many parts of the largest one.
const STEPS: u64 = 16;

/// An error after which writing is tried again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// What the log or the target said.
    pub why: String,
    /// When that was, by the wall clock of the writer.
    pub at: Micros,
}

/// What a writer knows from one connection to the next. Each writer has its own.
#[derive(Debug)]
pub struct Carried {
    /// The most events of a batch.
    largest: u64,
    /// The most events of the next batch.
    events_max: u64,
    /// The last error of each partition that the target does not know of yet.
    failures: BTreeMap<u32, Failure>,
    /// The same of all partitions, when the target could not even be opened.
    failure_of_all: Option<Failure>,
    /// The first event of each partition that is not written, and since when it has waited, by the time of the process.
    waiting: BTreeMap<u32, (u64, Micros)>,
    /// How long the place of the files has refused this process.
    pub patience: Patience,
}

impl Carried {
    /// Of a writer whose batches have so many events at most, and that has not had any connection yet.
    pub fn new(largest: u64) -> Carried {
        let (failures, failure_of_all, patience) = (BTreeMap::new(), None, Patience::default());
        Carried { largest, events_max: largest, failures, failure_of_all, waiting: BTreeMap::new(), patience }
    }

    /// The most events of the next batch. It is half of one that was not written, because a link may be too slow for that one
    /// however often it is tried, and grows again step by step.
    pub(super) fn events_max(&self) -> u64 {
        self.events_max
    }

    /// With how many events the next batch is large enough where so many are. Each batch has a price of its own, so there is a least
    /// number.
    pub(super) fn events_enough(&self, enough: u64) -> u64 {
        self.events_max.min(enough.max(EVENTS_MIN))
    }

    /// A batch of so many events was not written. One that was announced has to be written as it is, so only those after it become
    /// smaller.
    pub(super) fn broke_off(&mut self, events: u64, is_announced: bool) {
        self.events_max = (events.min(self.events_max) / 2).max(EVENTS_MIN);
        if is_announced {
            tracing::info!(events, "the batch was announced, so the same one is tried again");
        } else if self.events_max < events {
            tracing::info!(events = self.events_max, "the next batch is smaller");
        }
    }

    /// The partition was not written now, or none of the writer was.
    pub fn failed(&mut self, partition: Option<u32>, why: &str, at: Micros) {
        let failure = Failure { why: why.to_owned(), at };
        match partition {
            Some(partition) => drop(self.failures.insert(partition, failure)),
            None => self.failure_of_all = Some(failure),
        }
    }

    /// These are the partitions of the writer.
    pub(super) fn partitions(&mut self, partitions: impl Iterator<Item = u32>) {
        if let Some(failure) = self.failure_of_all.take() {
            self.failures.extend(partitions.map(|partition| (partition, failure.clone())));
        }
    }

    /// Whether there is an error of the partition that the target does not know of yet.
    pub(super) fn has_failed(&self, partition: u32) -> bool {
        self.failures.contains_key(&partition)
    }

    /// The last error of a partition, for the target, which answers again.
    pub(super) fn failure(&mut self, partition: u32) -> Option<Failure> {
        self.failures.remove(&partition)
    }

    /// The event of this sequence number is the first one of the partition that is not written. It has waited since this time;
    /// with `None` it has not come yet.
    pub(super) fn waits(&mut self, partition: u32, next_seq: u64, since: Option<Micros>) {
        match since {
            Some(since) => {
                self.waiting.insert(partition, (next_seq, since));
            }
            None => {
                self.waiting.remove(&partition);
            }
        }
    }

    /// Since when the event of this sequence number has waited, which is the first one that is not written; `None` where it was
    /// another one that waited before.
    pub(super) fn waited(&self, partition: u32, next_seq: u64) -> Option<Micros> {
        self.waiting.get(&partition).filter(|(first, _)| *first == next_seq).map(|(_, since)| *since)
    }

    /// A batch of so many events was written. One that is not full says nothing about a larger one.
    pub(super) fn written(&mut self, events: u64) {
        self.patience.written();
        if events >= self.events_max {
            self.events_max = self.events_max.saturating_add(self.largest / STEPS).min(self.largest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LARGEST: u64 = 20_000;

    #[test]
    fn the_last_error_of_a_partition_is_told_once() {
        let mut carried = Carried::new(LARGEST);
        let failure = |why: &str, at| Some(Failure { why: why.to_owned(), at: Micros(at) });
        carried.failed(Some(1), "slow", Micros(1));
        carried.failed(Some(2), "slow", Micros(2));
        carried.failed(Some(1), "slower", Micros(3));
        assert_eq!((carried.failure(1), carried.failure(1)), (failure("slower", 3), None));
        carried.failed(None, "gone", Micros(4));
        carried.partitions([1, 2].into_iter());
        assert_eq!(
            (carried.failure(1), carried.failure(2), carried.failure(3)),
            (failure("gone", 4), failure("gone", 4), None)
        );
    }

    #[test]
    fn what_waits_is_known_until_something_was_written() {
        let mut carried = Carried::new(LARGEST);
        carried.waits(1, 7, Some(Micros(3)));
        assert_eq!((carried.waited(1, 7), carried.waited(1, 8), carried.waited(2, 7)), (Some(Micros(3)), None, None));
        carried.waits(1, 7, None);
        assert_eq!(carried.waited(1, 7), None);
    }

    #[test]
    fn a_batch_is_half_of_one_that_broke_off_and_grows_by_steps_when_full_ones_are_written() {
        let mut carried = Carried::new(LARGEST);
        carried.written(LARGEST);
        assert_eq!(carried.events_max(), LARGEST);
        carried.broke_off(LARGEST, false);
        assert_eq!(carried.events_max(), LARGEST / 2);
        // It was short because its rows are long.
        carried.broke_off(3_000, true);
        assert_eq!(carried.events_max(), 1_500);
        carried.written(1_499);
        assert_eq!(carried.events_max(), 1_500);
        carried.written(1_500);
        assert_eq!(carried.events_max(), 1_500 + LARGEST / STEPS);
        (0..9).for_each(|_| carried.broke_off(LARGEST, false));
        assert_eq!(carried.events_max(), EVENTS_MIN);
        // One that was announced is as large as it was then.
        carried.written(LARGEST);
        assert_eq!(carried.events_max(), EVENTS_MIN + LARGEST / STEPS);
        (0..16).for_each(|_| carried.written(LARGEST));
        assert_eq!(carried.events_max(), LARGEST);
    }
}
