//! One writer: it goes over its partitions, claims its share of them as nobody has them, and writes what is due. It keeps no
//! events: what is not due yet stays in the log.

use super::batch::{Batch, Cut, Halt, Place, gather};
use super::carried::Carried;
use super::column::Row;
use super::origin::settle;
use super::target::{Target, TargetError};
use crate::domain::Micros;
use crate::log::{CommittedTail, LogError};
use crate::time::Clock;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Time after which a partition is asked for again that another writer has, and how many are this one's share, in microseconds.
const CLAIM_EVERY_US: u64 = 1_000_000;

/// What a writer cannot read for so long it leaves to another one that lives, in microseconds. A server that is started again is
/// back by then.
const UNREAD_MAX_US: u64 = 10_000_000;

/// What a writer claims that does not share: everything that nobody has.
const NO_SHARE: (usize, Micros) = (usize::MAX, Micros(0));

/// When rows are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pace {
    /// When an event has waited for so long, or a whole batch waits.
    Every(Duration),
    /// At once: what is there is to be written as fast as possible.
    AtOnce,
}

/// The event with which a partition begins that was never written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum First {
    /// That of this sequence number.
    Seq(u64),
    /// The first one that the log still has.
    OfLog,
}

/// What a writer is to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rules {
    /// When rows are written.
    pub pace: Pace,
    /// Where a partition begins that was never written; at its end where it has fewer events.
    pub first: First,
    /// With so many events a batch ends at the end of its page.
    pub events_enough: u64,
    /// Whether events that cannot be read are set aside. Otherwise they stop their partition.
    pub is_aside: bool,
}

/// What a writer tells of each partition. Used by one thread at a time.
pub trait Report {
    /// Whether this process writes the partition, how many events it has still to write, and when it saw the first of them, by
    /// the wall clock; `None` when there is none.
    fn looked(&self, partition: u32, is_held: bool, behind: u64, oldest: Option<Micros>);

    /// A batch was written, in so long a time, which ended at this time of the wall clock.
    fn written(&self, batch: &Batch, took: Duration, at: Micros);

    /// The log or the target did not answer; it is tried again.
    fn failed(&self, partition: Option<u32>, why: &str);

    /// The log did not answer for one more partition in the same look: it counts, and needs no words of its own.
    fn failed_too(&self);

    /// Nothing more of the partition is written until somebody has acted, and the process was started again.
    fn stopped(&self, partition: u32, why: &str);
}

/// A partition, as a writer sees it.
enum Standing {
    /// Another writer has it, or it was not asked for yet. It is asked for again at this time.
    Open(Micros),
    /// This writer has it. The time is when an event was first seen to wait.
    Held(Place, Option<Micros>),
    /// Nothing more of it is written.
    Stopped,
}

/// What came of a look at all partitions.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Looked {
    /// Nothing is due now.
    Idle,
    /// A partition was claimed, and nothing was written. There is more to look at once.
    Claimed,
    /// There is more to write at once.
    More,
    /// The log did not answer for a partition.
    Failed,
}

/// What a writer knows of a partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Seen {
    /// It was not asked for yet.
    Unasked,
    /// Another writer has it.
    Elsewhere,
    /// This writer has it, and everything before this sequence number is written.
    Written(u64),
    /// Nothing more of it is written.
    Stopped,
}

/// Writes the partitions that were given to it. A new connection to the target needs a new worker.
pub struct Worker<'a, T> {
    tail: &'a dyn CommittedTail,
    target: T,
    rules: Rules,
    report: &'a dyn Report,
    carried: &'a mut Carried,
    standings: BTreeMap<u32, Standing>,
    /// Whether the target is known to be of this log.
    is_settled: bool,
    /// The most partitions that this writer claims, and when it asks again how many that are.
    share: (usize, Micros),
    /// Whether it had more than its share at the last look.
    had_more: bool,
    /// Whether the log has answered since it last did not. A writer takes a share only then, or others would leave to it what it
    /// cannot write.
    is_reading: bool,
    /// Since when the log has not answered, of each partition that this writer has and for which it does not.
    unread: BTreeMap<u32, Micros>,
    /// Partitions that this writer has claimed and not looked at yet. How long events of theirs have waited another writer knows
    /// at best, so what is there is due.
    fresh: BTreeSet<u32>,
}

impl<'a, T: Target> Worker<'a, T> {
    /// A writer of these partitions that has none of them yet.
    pub fn new(
        tail: &'a dyn CommittedTail,
        target: T,
        rules: Rules,
        report: &'a dyn Report,
        carried: &'a mut Carried,
        partitions: impl Iterator<Item = u32>,
    ) -> Worker<'a, T> {
        let standings: BTreeMap<u32, Standing> =
            partitions.map(|partition| (partition, Standing::Open(Micros(0)))).collect();
        carried.partitions(standings.keys().copied());
        Worker {
            tail,
            target,
            rules,
            report,
            carried,
            standings,
            is_settled: false,
            share: NO_SHARE,
            had_more: false,
            is_reading: false,
            unread: BTreeMap::new(),
            fresh: BTreeSet::new(),
        }
    }

    /// Looks once at every partition, at this time of the process, and writes what is due. `clock` tells both times, that of
    /// the process and that of the wall. Of several partitions for which the log does not answer, all are counted, and only the
    /// first is reported in words.
    ///
    /// # Errors
    /// [`TargetError::Transient`] when the connection is lost, [`TargetError::Refused`] when the place of the files refuses this
    /// process, and [`TargetError::Operator`] when the target takes nothing until somebody has acted. After each of them this
    /// writer has no partition any more.
    pub fn look(&mut self, clock: &dyn Clock) -> Result<Looked, TargetError> {
        if !self.is_settled {
            if let Err(error) = settle(self.tail, &mut self.target)? {
                self.report.failed(None, &error.to_string());
                return Ok(Looked::Failed);
            }
            self.is_settled = true;
        }
        if self.rules.pace == Pace::AtOnce {
            return self.look_at_each(clock);
        }
        if self.is_reading && clock.now() >= self.share.1 {
            self.share(clock.now())?;
        }
        let mut looked = self.look_at_each(clock)?;
        if !self.is_reading && looked != Looked::Failed {
            looked = looked.max(self.ask_log());
        }
        if looked != Looked::Failed {
            self.is_reading = true;
        } else if self.is_reading {
            self.is_reading = false;
            self.share = NO_SHARE;
            self.target.withdraw()?;
        } else {
            self.leave_unread(clock.now())?;
        }
        Ok(looked)
    }

    /// Gives back what this writer cannot read for long, where another one takes a share, which it does only while it reads.
    fn leave_unread(&mut self, now: Micros) -> Result<(), TargetError> {
        let is_long = |since: &Micros| now.0.saturating_sub(since.0) >= UNREAD_MAX_US;
        let left: Vec<u32> = self.unread.iter().filter(|(_, since)| is_long(since)).map(|(left, _)| *left).collect();
        if left.is_empty() || !self.target.has_others()? {
            return Ok(());
        }
        for partition in left {
            self.leave(partition, now)?;
            self.report.looked(partition, false, 0, None);
        }
        Ok(())
    }

    /// Gives a partition back that this writer has.
    fn leave(&mut self, partition: u32, now: Micros) -> Result<(), TargetError> {
        self.target.release(partition)?;
        tracing::info!(partition, "this sink leaves the partition to another one");
        self.unread.remove(&partition);
        self.standings.insert(partition, Standing::Open(later(now)));
        Ok(())
    }

    /// Whether the log answers: a writer that has no partition has not asked it.
    fn ask_log(&self) -> Looked {
        let asked = self.standings.keys().next().map(|partition| (*partition, self.tail.end(*partition)));
        match asked {
            Some((partition, Err(error))) => {
                self.report.failed(Some(partition), &error.to_string());
                Looked::Failed
            }
            Some((_, Ok(_))) | None => Looked::Idle,
        }
    }

    /// Asks how many partitions are the share of this writer, and gives back what it has had beyond for two looks. Who finds out
    /// in a folder which writers live may look like one for a moment.
    fn share(&mut self, now: Micros) -> Result<(), TargetError> {
        let open = self.open();
        let share = self.target.rank(&open)?.share(self.standings.len());
        self.share = (share, later(now));
        let held = self.held();
        let had_more = std::mem::replace(&mut self.had_more, held.len() > share);
        for partition in held.iter().copied().skip(share).filter(|_| had_more) {
            self.leave(partition, now)?;
        }
        if held.len() >= share {
            // It does not ask for them, so nobody else tells.
            self.open().into_iter().for_each(|partition| self.report.looked(partition, false, 0, None));
        }
        Ok(())
    }

    /// The partitions that others may have.
    fn open(&self) -> Vec<u32> {
        let open = self.standings.iter().filter(|(_, standing)| matches!(standing, Standing::Open(_)));
        open.map(|(partition, _)| *partition).collect()
    }

    /// The partitions that this writer has.
    fn held(&self) -> Vec<u32> {
        let is_held =
            |(partition, standing): (&u32, &Standing)| matches!(standing, Standing::Held(..)).then_some(*partition);
        self.standings.iter().filter_map(is_held).collect()
    }

    fn look_at_each(&mut self, clock: &dyn Clock) -> Result<Looked, TargetError> {
        let held = self.held().len();
        let (mut looked, mut has_claimed) = (Looked::Idle, false);
        for partition in self.standings.keys().copied().collect::<Vec<_>>() {
            let now = clock.now();
            // One at a time, so that processes that start together share the partitions.
            let is_due = |at: Micros| !has_claimed && held < self.share.0 && now >= at;
            let claimed = match self.standings.get(&partition) {
                Some(Standing::Open(at)) if is_due(*at) => {
                    let claimed = self.claim(partition, now);
                    // Why it has to be claimed again says more.
                    if self.carried.has_failed(partition) { claimed? } else { self.carry(partition, clock, claimed)? }
                }
                _ => Ok(false),
            };
            has_claimed |= matches!(claimed, Ok(true));
            if has_claimed {
                looked = looked.max(Looked::Claimed);
            }
            let step = match claimed {
                Ok(_) => {
                    let step = self.step(partition, clock);
                    self.carry(partition, clock, step)?
                }
                Err(error) => Err(error),
            };
            match step {
                Ok(step) => {
                    self.unread.remove(&partition);
                    looked = looked.max(step);
                }
                Err(error) => {
                    if matches!(self.standings.get(&partition), Some(Standing::Held(..))) {
                        self.unread.entry(partition).or_insert(clock.now());
                    }
                    self.carried.failed(Some(partition), &error.to_string(), clock.wall());
                    if looked < Looked::Failed {
                        self.report.failed(Some(partition), &error.to_string());
                    } else {
                        self.report.failed_too();
                    }
                    looked = Looked::Failed;
                }
            }
        }
        Ok(looked)
    }

    /// What this writer knows of a partition.
    pub fn seen(&self, partition: u32) -> Seen {
        match self.standings.get(&partition) {
            None | Some(Standing::Open(Micros(0))) => Seen::Unasked,
            Some(Standing::Open(_)) => Seen::Elsewhere,
            Some(Standing::Held(place, _)) => Seen::Written(place.next_seq),
            Some(Standing::Stopped) => Seen::Stopped,
        }
    }

    /// In how long this writer takes a partition from the one that has it, as its target tells: [`Target::left_in`].
    pub fn left_in(&self, partition: u32) -> Option<Duration> {
        self.target.left_in(partition)
    }

    /// Remembers of which partition an error was that may pass.
    fn carry<R>(&mut self, partition: u32, clock: &dyn Clock, done: Result<R, TargetError>) -> Result<R, TargetError> {
        if let Err(TargetError::Transient(why) | TargetError::Refused(why)) = &done {
            self.carried.failed(Some(partition), why, clock.wall());
        }
        done
    }

    /// Tells the target of the last error of a partition, now that it answers.
    fn note_failure(&mut self, partition: u32) -> Result<(), TargetError> {
        match self.carried.failure(partition) {
            Some(failure) => self.target.note_failure(partition, &failure),
            None => Ok(()),
        }
    }

    /// Asks for a partition; returns whether this writer has it now. The inner error is that of the log.
    fn claim(&mut self, partition: u32, now: Micros) -> Result<Result<bool, LogError>, TargetError> {
        let first = match self.rules.first {
            // Partitions of others are asked for every second: what begins at 0 asks the log for nothing while it answers.
            First::Seq(0) if self.is_reading => Ok(0),
            First::Seq(seq) => self.tail.end(partition).map(|end| seq.min(end)),
            First::OfLog => self.tail.first(partition),
        };
        let first = match first {
            Ok(first) => first,
            Err(error) => return Ok(Err(error)),
        };
        let place = match self.target.claim(partition, first) {
            Err(TargetError::Partition(why)) => {
                self.stop(partition, &why);
                return Ok(Ok(false));
            }
            claimed => claimed?,
        };
        let standing = match place {
            Some(place) => {
                tracing::info!(partition, next_seq = place.next_seq, "this sink writes the partition");
                self.note_failure(partition)?;
                self.fresh.insert(partition);
                // A batch may have failed again and again, each time with the connection.
                Standing::Held(place, self.carried.waited(partition, place.next_seq))
            }
            None => {
                self.report.looked(partition, false, 0, None);
                Standing::Open(later(now))
            }
        };
        self.standings.insert(partition, standing);
        Ok(Ok(place.is_some()))
    }

    /// Writes nothing more of a partition that this writer has, and notes why. Who was overtaken knows only where the partition was
    /// when it had it: whether that can be gone on with says nothing of where it is now.
    fn end(&mut self, partition: u32, why: &str, now: Micros) -> Result<(), TargetError> {
        match self.target.note_stop(partition, why) {
            Ok(()) => self.stop(partition, why),
            Err(TargetError::Fenced) => self.leave_overtaken(partition, now)?,
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Leaves a partition that another writer has taken, and asks for it again later.
    fn leave_overtaken(&mut self, partition: u32, now: Micros) -> Result<(), TargetError> {
        let why = "another sink has taken the partition: this one waits for it";
        self.report.failed(Some(partition), why);
        // A lock that it still has would be one more with the next claim.
        self.target.release(partition)?;
        self.standings.insert(partition, Standing::Open(later(now)));
        Ok(())
    }

    fn stop(&mut self, partition: u32, why: &str) {
        self.report.stopped(partition, why);
        self.standings.insert(partition, Standing::Stopped);
    }

    /// Writes what is due of a partition; the inner error is that of the log.
    fn step(&mut self, partition: u32, clock: &dyn Clock) -> Result<Result<Looked, LogError>, TargetError> {
        let Some(Standing::Held(place, since)) = self.standings.get(&partition) else { return Ok(Ok(Looked::Idle)) };
        let (place, now) = (*place, clock.now());
        let end = match self.tail.end(partition) {
            Ok(end) => end,
            Err(error) => return Ok(Err(error)),
        };
        let behind = end.saturating_sub(place.next_seq);
        let since = (behind > 0).then(|| since.unwrap_or(now));
        let waiting = since.map_or(Duration::ZERO, |since| Duration::from_micros(now.0.saturating_sub(since.0)));
        self.report.looked(partition, true, behind, since.map(|_| ago(clock.wall(), waiting)));
        self.carried.waits(partition, place.next_seq, since);
        self.standings.insert(partition, Standing::Held(place, since));
        let is_fresh = self.fresh.remove(&partition);
        let is_due = end < place.next_seq
            || behind > 0
                && match self.rules.pace {
                    Pace::AtOnce => true,
                    Pace::Every(age) => is_fresh || waiting >= age || behind >= self.events_enough(),
                };
        if is_due { self.write(partition, place, end, clock) } else { Ok(Ok(Looked::Idle)) }
    }

    /// The number of events with which the next batch is large enough.
    fn events_enough(&self) -> u64 {
        self.carried.events_enough(self.rules.events_enough)
    }

    fn write(
        &mut self,
        partition: u32,
        place: Place,
        end: u64,
        clock: &dyn Clock,
    ) -> Result<Result<Looked, LogError>, TargetError> {
        let began = clock.now();
        let put = |row: &Row, rows: &mut Vec<u8>| self.target.put(row, rows);
        let begun = self.target.begun(partition);
        let (events_max, events_enough) = (self.carried.events_max(), self.events_enough());
        let cut = Cut { end, events_max, events_enough, begun };
        let (batch, halt) = gather(self.tail, partition, place, cut, self.rules.is_aside, put);
        let is_whole = begun.is_none_or(|begun| batch.until == begun);
        if !is_whole && halt.is_none() {
            return Ok(Ok(Looked::Idle));
        }
        if batch.events() > 0 && is_whole {
            match self.target.commit(&batch) {
                Ok(()) => {}
                Err(TargetError::Fenced) => {
                    self.leave_overtaken(partition, began)?;
                    return Ok(Ok(Looked::Idle));
                }
                Err(TargetError::Partition(why)) => {
                    self.end(partition, &why, began)?;
                    return Ok(Ok(Looked::Idle));
                }
                Err(error) => {
                    if matches!(error, TargetError::Transient(_)) {
                        let is_announced = self.target.begun(partition).is_some();
                        self.carried.broke_off(batch.events(), is_announced);
                    }
                    return Err(error);
                }
            }
            self.carried.written(batch.events());
            self.note_failure(partition)?;
            let took = Duration::from_micros(clock.now().0.saturating_sub(began.0));
            self.report.written(&batch, took, clock.wall());
        }
        let left = end.saturating_sub(if is_whole { batch.until } else { batch.from });
        let since = match self.standings.get(&partition) {
            // Nothing was read: it is tried again at once, and what waits has waited for as long as before.
            Some(Standing::Held(_, since)) if batch.events() == 0 && matches!(halt, Some(Halt::Later(_))) => {
                self.fresh.insert(partition);
                *since
            }
            _ => None,
        };
        let waited = since.map_or(0, |since| clock.now().0.saturating_sub(since.0));
        let oldest = (left > 0).then(|| ago(clock.wall(), Duration::from_micros(waited)));
        self.report.looked(partition, true, left, oldest);
        let place = if is_whole { batch.place() } else { place };
        self.standings.insert(partition, Standing::Held(place, since));
        match halt {
            None => Ok(Ok(if left > 0 { Looked::More } else { Looked::Idle })),
            Some(Halt::Later(error)) => Ok(Err(error)),
            Some(Halt::Stop(why)) => {
                self.end(partition, &why, began)?;
                Ok(Ok(Looked::Idle))
            }
        }
    }
}

fn ago(now: Micros, age: Duration) -> Micros {
    Micros(now.0.saturating_sub(u64::try_from(age.as_micros()).unwrap_or(u64::MAX)))
}

fn later(now: Micros) -> Micros {
    Micros(now.0.saturating_add(CLAIM_EVERY_US))
}
