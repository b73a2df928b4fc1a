//! How writers share partitions, whoever comes, goes, or cannot read: the worker over a target in memory, in which nothing else
//! happens.

use crate::world::ManualClock;
use headroom::domain::Micros;
use headroom::limits::SINK_BATCH_EVENTS_DEFAULT;
use headroom::log::{CommittedTail, LogError, LogErrorKind, StoredEvent};
use headroom::sink::{
    Batch, Carried, Failure, First, Looked, Pace, Place, Rank, Report, Row, Rules, Seen, Target, TargetError, Worker,
    Writer,
};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Writers that a test starts at most, one after the other.
const WRITERS: usize = 60;

const RULES: Rules = Rules {
    pace: Pace::Every(Duration::from_secs(1)),
    first: First::Seq(0),
    events_enough: SINK_BATCH_EVENTS_DEFAULT,
    is_aside: false,
};

/// Who has which partition, and which writers live.
#[derive(Default)]
struct World {
    held: BTreeMap<u32, u128>,
    /// Partitions that another writer has taken from one that does not know it yet.
    overtaken: BTreeSet<u32>,
    living: BTreeSet<u128>,
    /// The partitions that others may have, as whoever asked last for its rank has said.
    open: Vec<u32>,
}

/// The world, for one writer.
struct Paper<'a>(&'a Mutex<World>, u128);

impl Target for Paper<'_> {
    fn log(&mut self) -> Result<Option<String>, TargetError> {
        Ok(None)
    }

    fn written(&mut self) -> Result<Vec<(u32, Place)>, TargetError> {
        Ok(Vec::new())
    }

    fn note_log(&mut self, _: &str) -> Result<(), TargetError> {
        Ok(())
    }

    fn claim(&mut self, partition: u32, _: u64) -> Result<Option<Place>, TargetError> {
        let holder = *self.0.lock().held.entry(partition).or_insert(self.1);
        Ok((holder == self.1).then_some(Place { next_seq: 0, chain: None }))
    }

    fn rank(&mut self, open: &[u32]) -> Result<Rank, TargetError> {
        let mut world = self.0.lock();
        world.living.insert(self.1);
        world.open = open.to_vec();
        Ok(Writer { process: self.1, rest: 0 }.rank(self.1, world.living.clone()))
    }

    fn withdraw(&mut self) -> Result<(), TargetError> {
        self.0.lock().living.remove(&self.1);
        Ok(())
    }

    fn has_others(&mut self) -> Result<bool, TargetError> {
        Ok(self.0.lock().living.iter().any(|writer| *writer != self.1))
    }

    fn release(&mut self, partition: u32) -> Result<(), TargetError> {
        let mut world = self.0.lock();
        if !world.overtaken.remove(&partition) {
            assert_eq!(world.held.remove(&partition), Some(self.1), "it gives what it has");
        }
        Ok(())
    }

    fn put(&self, _: &Row, _: &mut Vec<u8>) {}

    fn commit(&mut self, _: &Batch) -> Result<(), TargetError> {
        Err(TargetError::Transient("somebody has a lock on it".to_owned()))
    }

    fn note_stop(&mut self, partition: u32, _: &str) -> Result<(), TargetError> {
        if self.0.lock().overtaken.contains(&partition) { Err(TargetError::Fenced) } else { Ok(()) }
    }

    fn note_failure(&mut self, _: u32, _: &Failure) -> Result<(), TargetError> {
        Ok(())
    }
}

impl Drop for Paper<'_> {
    fn drop(&mut self) {
        let mut world = self.0.lock();
        world.living.remove(&self.1);
        world.held.retain(|_, holder| *holder != self.1);
    }
}

/// A log without events, which one writer reads, or cannot read.
struct Tail {
    partitions: u32,
    fails: AtomicBool,
    /// A partition that it cannot read though it reads the others; none has the largest number.
    broken: AtomicU32,
}

impl Tail {
    fn of(partitions: u32, fails: bool) -> Tail {
        Tail { partitions, fails: AtomicBool::new(fails), broken: AtomicU32::new(u32::MAX) }
    }
}

impl CommittedTail for Tail {
    fn partitions(&self) -> u32 {
        self.partitions
    }

    fn end(&self, partition: u32) -> Result<u64, LogError> {
        match self.fails.load(Relaxed) || self.broken.load(Relaxed) == partition {
            true => Err(LogError::new(LogErrorKind::Transient, "it does not answer")),
            false => Ok(0),
        }
    }

    fn read(&self, _: u32, _: u64, _: usize) -> Result<Vec<StoredEvent>, LogError> {
        Ok(Vec::new())
    }
}

struct Nobody;

impl Report for Nobody {
    fn looked(&self, _: u32, _: bool, _: u64, _: Option<Micros>) {}
    fn written(&self, _: &Batch, _: Duration, _: Micros) {}
    fn failed(&self, _: Option<u32>, _: &str) {}
    fn failed_too(&self) {}
    fn stopped(&self, _: u32, _: &str) {}
}

/// Every writer that lives looks so often, a second apart.
fn look<'a>(living: &mut BTreeMap<usize, Worker<'a, Paper<'a>>>, clock: &ManualClock, seconds: u64) {
    for _ in 0..seconds {
        clock.pass_ms(1_000);
        for worker in living.values_mut() {
            while worker.look(clock).unwrap() == Looked::Claimed {}
        }
    }
}

fn share_in_turns(seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let partitions = random.random_range(1..12);
    let world = Mutex::new(World::default());
    let tails: Vec<Tail> = (0..WRITERS).map(|_| Tail::of(partitions, false)).collect();
    let mut carried: Vec<Carried> = (0..WRITERS).map(|_| Carried::new(RULES.events_enough)).collect();
    let (mut free, clock) = (carried.iter_mut().zip(&tails).enumerate(), ManualClock::at(Micros(1)));
    let mut living: BTreeMap<usize, Worker<'_, Paper<'_>>> = BTreeMap::new();
    for _ in 0..WRITERS {
        match random.random_range(0..4) {
            0 if living.len() > 1 => {
                let gone = *living.keys().nth(random.random_range(0..living.len())).unwrap();
                living.remove(&gone);
            }
            1 if living.len() > 1 => {
                let any = *living.keys().nth(random.random_range(0..living.len())).unwrap();
                tails[any].fails.fetch_not(Relaxed);
            }
            _ => {
                let (number, (carried, tail)) = free.next().unwrap();
                let target = Paper(&world, random.random());
                living.insert(number, Worker::new(tail, target, RULES, &Nobody, carried, 0..partitions));
            }
        }
        look(&mut living, &clock, random.random_range(0..4));
    }
    let held = |worker: &Worker<'_, Paper<'_>>| {
        (0..partitions).filter(|p| matches!(worker.seen(*p), Seen::Written(_))).count()
    };
    for seen in [false, true] {
        // Those that could not read get their share again.
        if seen {
            tails.iter().for_each(|tail| tail.fails.store(false, Relaxed));
        }
        look(&mut living, &clock, 30);
        let readers: Vec<usize> = living.keys().copied().filter(|number| !tails[*number].fails.load(Relaxed)).collect();
        let of_readers: usize = readers.iter().map(|number| held(&living[number])).sum();
        let is_written = of_readers == partitions as usize || readers.is_empty();
        assert!(is_written, "seed {seed}: {of_readers} of {partitions} are written by one that reads");
    }
    let shares: Vec<usize> = living.values().map(held).collect();
    assert_eq!(shares.iter().sum::<usize>(), partitions as usize, "seed {seed}: {shares:?}");
    assert!(shares.iter().max().unwrap() - shares.iter().min().unwrap() <= 1, "seed {seed}: {shares:?}");
    let before = world.lock().held.clone();
    look(&mut living, &clock, 20);
    assert_eq!(world.lock().held, before, "seed {seed}: nothing moves any more");
}

#[test]
fn whoever_comes_goes_or_cannot_read_every_partition_is_written_and_the_shares_are_even() {
    (0..200).for_each(share_in_turns);
}

/// The other partitions of the log are written by other writers of its process, and the target need not look at them.
#[test]
fn the_target_is_told_which_partitions_of_a_writer_others_have() {
    let (world, clock) = (Mutex::new(World::default()), ManualClock::at(Micros(1)));
    world.lock().held.extend([(0, 9), (1, 9)]);
    let (tail, mut carried) = (Tail::of(6, false), Carried::new(RULES.events_enough));
    let worker = Worker::new(&tail, Paper(&world, 1), RULES, &Nobody, &mut carried, [1, 3, 5].into_iter());
    look(&mut BTreeMap::from([(0, worker)]), &clock, 5);
    assert_eq!(world.lock().open, [1]);
}

/// A writer for each of these, which begin together and share six partitions.
fn of_six<'a>(
    world: &'a Mutex<World>,
    tails: &'a [Tail],
    carried: &'a mut [Carried],
) -> BTreeMap<usize, Worker<'a, Paper<'a>>> {
    let mut living = BTreeMap::new();
    for (number, (carried, tail)) in carried.iter_mut().zip(tails).enumerate() {
        let target = Paper(world, number as u128);
        living.insert(number, Worker::new(tail, target, RULES, &Nobody, carried, 0..6));
    }
    living
}

/// The story: a sink that cannot read the log would keep a share that nobody writes.
#[test]
fn what_one_cannot_read_that_takes_no_share_another_one_writes() {
    let (world, clock) = (Mutex::new(World::default()), ManualClock::at(Micros(1)));
    let tails = [true, false].map(|fails| Tail::of(6, fails));
    let mut carried = [Carried::new(RULES.events_enough), Carried::new(RULES.events_enough)];
    let mut living = of_six(&world, &tails, &mut carried);
    look(&mut living, &clock, 10);
    let held = |by: u128| world.lock().held.values().filter(|holder| **holder == by).count();
    assert_eq!((held(0), held(1), world.lock().living.len()), (0, 6, 1));
    tails[0].fails.store(false, Relaxed);
    look(&mut living, &clock, 5);
    assert_eq!((held(0), held(1)), (3, 3));
    // It keeps what it had, and takes nothing more, as long as nobody else could read it.
    tails[0].fails.store(true, Relaxed);
    look(&mut living, &clock, 5);
    assert_eq!((held(0), held(1)), (3, 3));
    tails[1].fails.store(true, Relaxed);
    look(&mut living, &clock, 60);
    assert_eq!((held(0), held(1)), (3, 3));
    // Then the other one writes all, until it can read again.
    tails[1].fails.store(false, Relaxed);
    look(&mut living, &clock, 5);
    assert_eq!((held(0), held(1)), (0, 6));
    tails[0].fails.store(false, Relaxed);
    look(&mut living, &clock, 10);
    assert_eq!((held(0), held(1)), (3, 3));
    // When it is the only one, it keeps its own.
    tails[0].fails.store(true, Relaxed);
    look(&mut living, &clock, 5);
    living.remove(&1);
    look(&mut living, &clock, 60);
    assert_eq!(held(0), 3);
    tails[0].fails.store(false, Relaxed);
    look(&mut living, &clock, 5);
    assert_eq!(held(0), 6);
}

/// A partition that nobody can read stays where it is, and the others are written.
#[test]
fn a_partition_that_nobody_can_read_takes_no_other_one_with_it() {
    let (world, clock) = (Mutex::new(World::default()), ManualClock::at(Micros(1)));
    let tails = [0, 1].map(|_| Tail::of(6, false));
    let mut carried = [Carried::new(RULES.events_enough), Carried::new(RULES.events_enough)];
    let mut living = of_six(&world, &tails, &mut carried);
    look(&mut living, &clock, 10);
    tails.iter().for_each(|tail| tail.broken.store(0, Relaxed));
    look(&mut living, &clock, 60);
    let before = world.lock().held.clone();
    assert_eq!(before.len(), 6);
    look(&mut living, &clock, 60);
    assert_eq!(world.lock().held, before, "it does not go from one to the other");
    tails.iter().for_each(|tail| tail.broken.store(u32::MAX, Relaxed));
    look(&mut living, &clock, 10);
    let held = |by: u128| world.lock().held.values().filter(|holder| **holder == by).count();
    assert_eq!((held(0), held(1)), (3, 3));
}

/// A log of one partition with this many events, of which the first ones are gone.
struct Gone(AtomicU64);

impl CommittedTail for Gone {
    fn partitions(&self) -> u32 {
        1
    }

    fn first(&self, _: u32) -> Result<u64, LogError> {
        Ok(5)
    }

    fn end(&self, _: u32) -> Result<u64, LogError> {
        Ok(self.0.load(Relaxed))
    }

    fn read(&self, _: u32, _: u64, _: usize) -> Result<Vec<StoredEvent>, LogError> {
        Err(LogError::new(LogErrorKind::OutOfRange, "it is gone"))
    }
}

/// The story: a sink stood still for hours, and another one has written on what is gone from the log by now.
#[test]
fn who_was_overtaken_waits_for_the_partition_and_stops_only_what_it_has() {
    for is_overtaken in [true, false] {
        let (world, clock, tail) = (Mutex::new(World::default()), ManualClock::at(Micros(1)), Gone(AtomicU64::new(0)));
        let mut carried = Carried::new(RULES.events_enough);
        let mut worker = Worker::new(&tail, Paper(&world, 1), RULES, &Nobody, &mut carried, 0..1);
        while worker.look(&clock) == Ok(Looked::Claimed) {}
        assert_eq!(worker.seen(0), Seen::Written(0));
        if is_overtaken {
            world.lock().held.insert(0, 9);
            world.lock().overtaken.insert(0);
        }
        tail.0.store(7, Relaxed);
        for _ in 0..5 {
            clock.pass_ms(1_000);
            assert_eq!(worker.look(&clock), Ok(Looked::Idle), "its connection is of use");
        }
        assert_eq!(worker.seen(0), if is_overtaken { Seen::Elsewhere } else { Seen::Stopped });
    }
}

/// A log of one partition with one event, which cannot be read and is set aside.
struct Odd;

impl CommittedTail for Odd {
    fn partitions(&self) -> u32 {
        1
    }

    fn end(&self, _: u32) -> Result<u64, LogError> {
        Ok(1)
    }

    fn read(&self, _: u32, _: u64, _: usize) -> Result<Vec<StoredEvent>, LogError> {
        Ok(vec![StoredEvent { seq: 0, bytes: Vec::new(), trace: None }])
    }
}

/// When the oldest event was seen that is not written, as it was told last.
#[derive(Default)]
struct Oldest(Mutex<Option<Micros>>);

impl Report for Oldest {
    fn looked(&self, _: u32, _: bool, _: u64, oldest: Option<Micros>) {
        *self.0.lock() = oldest;
    }

    fn written(&self, _: &Batch, _: Duration, _: Micros) {}
    fn failed(&self, _: Option<u32>, _: &str) {}
    fn failed_too(&self) {}
    fn stopped(&self, _: u32, _: &str) {}
}

/// The story: a session kept a lock on the table for days. Each batch failed after two minutes, what waited counted as new with each
/// connection, and no alert fired.
#[test]
fn what_waits_has_waited_since_it_was_first_seen_whatever_became_of_connections() {
    let (world, clock, oldest) = (Mutex::new(World::default()), ManualClock::at(Micros(1)), Oldest::default());
    let (mut carried, rules) = (Carried::new(RULES.events_enough), Rules { is_aside: true, ..RULES });
    for _ in 0..5 {
        let mut worker = Worker::new(&Odd, Paper(&world, 1), rules, &oldest, &mut carried, 0..1);
        let mut looked = worker.look(&clock);
        while looked == Ok(Looked::Claimed) {
            looked = worker.look(&clock);
        }
        assert!(matches!(looked, Err(TargetError::Transient(_))), "{looked:?}");
        assert_eq!(*oldest.0.lock(), Some(Micros(1)));
        clock.pass_ms(130_000);
    }
}

/// How often a failure was told in words, and how often it was only counted.
#[derive(Default)]
struct Failures(AtomicU32, AtomicU32);

impl Report for Failures {
    fn looked(&self, _: u32, _: bool, _: u64, _: Option<Micros>) {}
    fn written(&self, _: &Batch, _: Duration, _: Micros) {}
    fn failed(&self, _: Option<u32>, _: &str) {
        self.0.fetch_add(1, Relaxed);
    }
    fn failed_too(&self) {
        self.1.fetch_add(1, Relaxed);
    }
    fn stopped(&self, _: u32, _: &str) {}
}

/// The story: one look at the partitions of a cluster that did not answer took seven minutes. Only its first failure was counted,
/// which was too few in a quarter of an hour for the alert.
#[test]
fn each_partition_for_which_the_log_does_not_answer_is_counted_and_one_is_told_in_words() {
    let (world, clock, failures) = (Mutex::new(World::default()), ManualClock::at(Micros(1)), Failures::default());
    let (tail, mut carried) = (Tail::of(12, true), Carried::new(RULES.events_enough));
    let mut worker = Worker::new(&tail, Paper(&world, 1), RULES, &failures, &mut carried, 0..12);
    assert_eq!(worker.look(&clock), Ok(Looked::Failed));
    assert_eq!((failures.0.load(Relaxed), failures.1.load(Relaxed)), (1, 11));
}
