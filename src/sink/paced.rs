//! A log that is read no faster than a setting allows. Pages come at even distances, and never many at once with a pause behind
//! them: whoever serves the log feels what comes at once.

use crate::domain::Micros;
use crate::log::{CommittedTail, ReadBy};
use crate::time::Clock;
use parking_lot::Mutex;
use std::time::Duration;

/// Most bytes of a page: as many as a server gives at once.
const PAGE_BYTES_MAX: usize = 128 << 10;

/// The most events a second that all readers of a process read together.
pub struct Speed {
    events_per_second: u64,
    turns: Mutex<Turns>,
}

#[derive(Default)]
struct Turns {
    /// Nobody reads another page before it.
    next: Micros,
    /// The time that the last page takes at this speed. The next one is expected to take as long.
    page_us: u64,
}

impl Speed {
    /// This speed, with nothing read yet.
    pub fn new(events_per_second: u64) -> Speed {
        Speed { events_per_second, turns: Mutex::default() }
    }

    /// The most events that are read in so many milliseconds.
    pub fn events_in(&self, ms: u64) -> u64 {
        self.events_per_second.saturating_mul(ms) / 1_000
    }

    /// The log, for one of the readers. `pause` waits for so long, and says whether the reader is to go on then: one that is to end
    /// reads nothing, also where there is something.
    pub fn paced<'a>(
        &'a self,
        tail: &'a dyn CommittedTail,
        clock: &'a dyn Clock,
        pause: &'a (dyn Fn(Duration) -> bool + Sync),
    ) -> impl CommittedTail + use<'a> {
        let read = move |partition, from_seq, bytes_max: usize| {
            let now = clock.now();
            let (at, expected_us) = self.turn(now);
            if !pause(Duration::from_micros(at.0.saturating_sub(now.0))) {
                return Ok(Vec::new());
            }
            let events = tail.read(partition, from_seq, bytes_max.min(PAGE_BYTES_MAX))?;
            self.read(events.len(), expected_us);
            Ok(events)
        };
        ReadBy { tail, read }
    }

    /// When the caller may read a page, and the time that this page is expected to take. Who asks next reads after that time.
    fn turn(&self, now: Micros) -> (Micros, u64) {
        let mut turns = self.turns.lock();
        let (at, page_us) = (turns.next.max(now), turns.page_us);
        turns.next = Micros(at.0.saturating_add(page_us));
        (at, page_us)
    }

    /// The page had so many events, and was expected to take this time.
    fn read(&self, events: usize, expected_us: u64) {
        let page_us = (events as u64).saturating_mul(1_000_000).checked_div(self.events_per_second).unwrap_or_default();
        let mut turns = self.turns.lock();
        turns.next = Micros(turns.next.0.saturating_add(page_us).saturating_sub(expected_us));
        turns.page_us = page_us;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{LogError, StoredEvent};
    use crate::time::ByHand;
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    /// When each of these pages is read by two readers, each of which needs this time for what it has read.
    fn read_by_two(speed: &Speed, pages: &[usize], work_us: u64) -> Vec<(u64, usize)> {
        let (mut free, mut read) = ([1_000, 1_000], Vec::new());
        for events in pages {
            // Whoever is free first asks first.
            let reader = usize::from(free[1] < free[0]);
            let (at, expected_us) = speed.turn(Micros(free[reader]));
            speed.read(*events, expected_us);
            read.push((at.0, *events));
            free[reader] = at.0 + work_us;
        }
        read
    }

    #[test]
    fn pages_come_at_even_distances_however_many_readers_there_are() {
        // At this speed an event has 200 microseconds.
        let is_even =
            |read: &[(u64, usize)]| read.windows(2).all(|pair| pair[1].0 - pair[0].0 >= pair[0].1 as u64 * 200);
        let pages = [500, 500, 300, 700, 500, 1, 500, 500, 500, 500];
        for work_us in [0, 10_000, 90_000] {
            let read = read_by_two(&Speed::new(5_000), &pages, work_us);
            assert!(is_even(&read), "{work_us}: {read:?}");
            // Readers that are fast enough lose no time.
            let (last, all) = (read[9].0 - 1_000, pages[..9].iter().sum::<usize>() as u64 * 200);
            assert!(last == all, "{work_us}: {last} and not {all}");
        }
        // What was not read in time is not made up for.
        let slow = read_by_two(&Speed::new(5_000), &pages, 1_000_000);
        assert!(is_even(&slow), "{slow:?}");
    }

    /// A log that has pages of 100 events, of one byte each.
    struct Hundreds(AtomicU64);

    impl CommittedTail for Hundreds {
        fn partitions(&self) -> u32 {
            1
        }

        fn end(&self, _: u32) -> Result<u64, LogError> {
            Ok(u64::MAX)
        }

        fn read(&self, _: u32, from_seq: u64, bytes_max: usize) -> Result<Vec<StoredEvent>, LogError> {
            self.0.fetch_max(bytes_max as u64, Relaxed);
            let event = |seq| StoredEvent { seq, bytes: vec![0], trace: None };
            Ok((from_seq..from_seq + 100).map(event).collect())
        }
    }

    #[test]
    fn a_reader_waits_for_its_turn_and_not_when_it_is_to_end() {
        let (log, clock, speed) = (Hundreds(AtomicU64::new(0)), ByHand(AtomicU64::new(7)), Speed::new(1_000));
        let ends_at = AtomicU64::new(u64::MAX);
        let pause = |limit: Duration| {
            clock.0.fetch_add(limit.as_micros() as u64, Relaxed);
            clock.now().0 < ends_at.load(Relaxed)
        };
        let paced = speed.paced(&log, &clock, &pause);
        for page in 0..20 {
            assert_eq!(paced.read(0, page * 100, usize::MAX).unwrap().len(), 100);
            assert_eq!(clock.now(), Micros(7 + page * 100_000), "a hundred events are a tenth of a second");
        }
        assert_eq!(log.0.load(Relaxed), PAGE_BYTES_MAX as u64);
        ends_at.store(0, Relaxed);
        assert!(paced.read(0, 2_000, usize::MAX).unwrap().is_empty());
        assert_eq!(speed.events_in(2_500), 2_500);
    }
}
