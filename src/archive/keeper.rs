//! Lets the oldest segments leave the log. Of a segment every event is older than the log is kept, and two snapshots of each
//! partition, read and checked, hold what it leads to: so a start needs none of it, even when the newer one is damaged later.
//!
//! They were read within the last minute, or within four times as long as the last pass over them took, if that is more. A place
//! may need minutes for a pass. If each segment waited for a pass of its own, the log could grow faster than it leaves. So after a
//! pass that read all of them, segments leave without another one for three times as long as it took.
//!
//! They are looked for as a start looks for one, with the same end to it ([`Search`]). Where so many newer ones are bad that it would
//! not come to them, the segment stays and it is told that snapshots are missing: the log is longer then, and never shorter.

use super::{Heard, Shelf};
use crate::crash;
use crate::domain::Micros;
use crate::log::embedded::{Embedded, Reach, Whole};
use crate::log::{CommittedTail, LogError};
use crate::owner::begin::{Beginning, Search};
use crate::replica::Replica;
use crate::store::{SnapshotName, Snapshots};
use crate::time::{Believed, Clock, retry_ms};
use std::collections::BTreeMap;

/// Snapshots of each partition that cover a segment before it leaves.
const COVERS: usize = 2;
/// Pause before a segment is looked at again that could not leave, in milliseconds. It doubles with every further failure.
const RETRY_MS: u64 = 1_000;
/// Longest such pause, in milliseconds.
const RETRY_MAX_MS: u64 = 300_000;
/// Pause before snapshots are looked for again, in milliseconds.
const UNCOVERED_MS: u64 = 5_000;
/// A segment leaves on the word of snapshots that were read within so many milliseconds. What was read before is read again: the
/// place may have changed it since. Of many segments that leave one after the other not each has them read.
const READ_WITHIN_MS: u64 = 60_000;
/// Or within so many times as long as the last pass took in which any was read, if that is more.
const READ_WITHIN_PASSES: u64 = 4;

/// What is known of the oldest segment.
struct Oldest {
    number: u64,
    /// The time of its first event.
    begins: Micros,
    /// That of its newest one. It is not known before the first is old enough.
    newest: Option<Micros>,
    /// The number of the last segment that was looked at for when it begins.
    seen: u64,
    /// The earliest time with which one of these begins. All events of this segment were written before.
    before: Micros,
    /// Whether it was told that snapshots are missing.
    is_told: bool,
}

impl Oldest {
    /// The latest time at which an event of it can have been written, as far as that is known now. Events that are not later than
    /// now have their own time: what follows them may be earlier, where the log was set back for a while by mistake.
    fn written(&self, now: Micros) -> Micros {
        let own = self.newest.unwrap_or(self.begins);
        if own > now { own.min(self.before) } else { own }
    }
}

/// What reading a snapshot has come to.
enum Judged {
    /// It was whole at this time of the monotonic clock, and the log continued it.
    Good(Micros),
    /// It is not, or could not be read so often. It is not read again before `due`.
    Bad { tries: u32, due: Micros, is_by_manifest: bool },
}

/// What became of the oldest segment.
enum Step {
    /// It has left: the next one can be looked at.
    Left,
    /// It is not old enough, or there is none.
    Stays,
    /// It has to wait for snapshots.
    Uncovered,
}

/// Bounds one log. It is driven by one thread, which calls [`Keeper::round`] again and again: at most one segment leaves in a
/// round.
pub struct Keeper<'a> {
    log: &'a Embedded,
    replica: &'a Replica,
    snapshots: &'a dyn Snapshots,
    archive: Option<Shelf>,
    clock: &'a dyn Clock,
    heard: &'a dyn Heard,
    keep_ms: u64,
    oldest: Option<Oldest>,
    /// The snapshots of each partition that were read, by their names.
    judged: BTreeMap<u32, BTreeMap<String, Judged>>,
    /// How many were read.
    reads: u64,
    /// How long the last pass over all partitions took in which any was read, in milliseconds.
    pass_ms: u64,
    /// Failures since the last success.
    tries: u32,
    /// Nothing is tried before this time of the monotonic clock.
    due: Micros,
    believed: Believed,
}

impl<'a> Keeper<'a> {
    /// A keeper of this log, which stays for so many milliseconds. What leaves it goes to `archive` before, if there is one.
    pub fn new(
        (log, replica): (&'a Embedded, &'a Replica),
        snapshots: &'a dyn Snapshots,
        archive: Option<Shelf>,
        (clock, heard): (&'a dyn Clock, &'a dyn Heard),
        keep_ms: u64,
    ) -> Keeper<'a> {
        let judged = BTreeMap::new();
        let (oldest, reads, pass_ms, tries, due, believed) = (None, 0, 0, 0, Micros(0), Believed::default());
        Keeper {
            log,
            replica,
            snapshots,
            archive,
            clock,
            heard,
            keep_ms,
            oldest,
            judged,
            reads,
            pass_ms,
            tries,
            due,
            believed,
        }
    }

    /// Looks at the oldest segment, and lets it leave when its time has come. It takes as long as the places do; the log is
    /// not held meanwhile.
    pub fn round(&mut self, is_over: &dyn Fn() -> bool) {
        if self.clock.now() < self.due {
            return;
        }
        match self.step(is_over).and_then(|step| self.asked(step)) {
            Ok(step) => {
                self.tries = 0;
                if matches!(step, Step::Uncovered) {
                    self.due = self.clock.now().plus_ms(UNCOVERED_MS);
                }
            }
            Err(_) if is_over() => {}
            Err(why) => {
                let pause_ms = retry_ms(self.tries, RETRY_MS, RETRY_MAX_MS);
                self.tries = self.tries.saturating_add(1);
                self.due = self.clock.now().plus_ms(pause_ms);
                self.heard.failed(&why);
            }
        }
    }

    fn step(&mut self, is_over: &dyn Fn() -> bool) -> Result<Step, String> {
        let told = |error: LogError| error.detail;
        // Also while nothing can leave: how far the clock is believed depends on the look before.
        let now = self.time();
        let Some((number, reach)) = self.log.oldest().map_err(told)? else {
            self.heard.overdue(0);
            return Ok(Step::Stays);
        };
        let mut oldest = match self.oldest.take().filter(|oldest| oldest.number == number) {
            Some(oldest) => oldest,
            None => {
                // A segment that cannot be read is due, and named when it is read as a whole.
                let begins = self.log.begins(number).ok().flatten().unwrap_or_default();
                Oldest { number, begins, newest: None, seen: number, before: Micros::MAX, is_told: false }
            }
        };
        let stepped = self.attend((&mut oldest, now), &reach, is_over);
        self.oldest = Some(oldest);
        stepped
    }

    /// Before anything can leave, the archive is asked whether it would take it: then a person has time to name another one.
    fn asked(&self, step: Step) -> Result<Step, String> {
        match (&step, &self.archive) {
            (Step::Stays | Step::Uncovered, Some(archive)) => archive.prove().map(|()| step),
            _ => Ok(step),
        }
    }

    fn attend(
        &mut self,
        (oldest, now): (&mut Oldest, Micros),
        reach: &Reach,
        is_over: &dyn Fn() -> bool,
    ) -> Result<Step, String> {
        let (number, keep_ms) = (oldest.number, self.keep_ms);
        let over_ms = |at: Micros| now.ms_since(at).saturating_sub(keep_ms);
        let mut whole: Option<Whole> = None;
        self.date(oldest, now, is_over)?;
        if oldest.newest.is_none() && over_ms(oldest.written(now)) > 0 {
            // Until it is read, by its first event: one that cannot be read is overdue all the same.
            self.heard.overdue(over_ms(oldest.written(now)));
            let read = self.log.oldest_whole(number).map_err(|error| error.detail)?;
            oldest.newest = Some(read.newest.unwrap_or_default());
            whole = Some(read);
            self.date(oldest, now, is_over)?;
        }
        let overdue_ms = oldest.newest.map_or(0, |_| over_ms(oldest.written(now)));
        self.heard.overdue(overdue_ms);
        let Some(newest) = oldest.newest.filter(|_| overdue_ms > 0 && !is_over()) else { return Ok(Step::Stays) };
        // What is good is waited for, and not read again before all of it is there.
        let mut uncovered = self.uncovered(reach, Micros(0), is_over)?;
        if uncovered.is_none() {
            let within_ms = READ_WITHIN_MS.max(self.pass_ms.saturating_mul(READ_WITHIN_PASSES));
            let since = self.clock.now().set_back(within_ms.saturating_mul(1_000));
            uncovered = self.uncovered(reach, since, is_over)?;
        }
        if is_over() {
            return Ok(Step::Stays);
        }
        if let Some(partition) = uncovered {
            if !std::mem::replace(&mut oldest.is_told, true) {
                self.heard.uncovered(number, partition);
            }
            return Ok(Step::Uncovered);
        }
        crash::point("log-old");
        if let Some(archive) = self.archive.as_ref().filter(|_| !is_over()) {
            let whole = match whole {
                Some(whole) => whole,
                None => self.log.oldest_whole(number).map_err(|error| error.detail)?,
            };
            archive.put(number, reach, newest.0, whole)?;
        }
        if is_over() {
            return Ok(Step::Stays);
        }
        self.log.remove_oldest(number).map_err(|error| error.detail)?;
        (0..).zip(&reach.end).for_each(|(partition, end)| self.heard.begins(partition, end.next_seq));
        self.heard.left(number, self.archive.is_some());
        Ok(Step::Left)
    }

    /// Looks when the sealed segments behind this one begin, one after the other, while an event of it is later than now: a clock
    /// was far ahead then, and was set back since. Such an event would keep the whole log until its time has come.
    fn date(&self, oldest: &mut Oldest, now: Micros, is_over: &dyn Fn() -> bool) -> Result<(), String> {
        while oldest.written(now) > now && !is_over() {
            let next = oldest.seen.saturating_add(1);
            let Some(begins) = self.log.begins(next).map_err(|error| error.detail)? else { return Ok(()) };
            (oldest.seen, oldest.before) = (next, oldest.before.min(begins));
        }
        Ok(())
    }

    /// The time from which ages count: that of this machine as far as it is believed, or of the newest event if that is earlier.
    fn time(&mut self) -> Micros {
        let newest = self.replica.decided_at();
        newest.min(self.believed.tell(self.clock.wall(), self.clock.now(), newest))
    }

    /// A partition whose part of a segment is not covered yet, by snapshots that were read at `since` or later.
    fn uncovered(&mut self, reach: &Reach, since: Micros, is_over: &dyn Fn() -> bool) -> Result<Option<u32>, String> {
        let (begins, reads) = (self.clock.now(), self.reads);
        for (partition, end) in (0..).zip(&reach.end) {
            if end.next_seq > 0 && !self.is_covered((partition, end.next_seq), since, is_over)? {
                return Ok(Some(partition));
            }
        }
        if self.reads > reads {
            let took_ms = self.clock.now().ms_since(begins);
            // Who only looks for what was never read may read that of one partition. Then nothing is known of all of them.
            self.pass_ms = if since == Micros(0) { self.pass_ms.max(took_ms) } else { took_ms };
        }
        Ok(None)
    }

    /// Whether enough good snapshots of a partition reach up to this event. One that was good at `since` or later is not read
    /// again, and one that was not good is read again after pauses that grow.
    fn is_covered(
        &mut self,
        (partition, until): (u32, u64),
        since: Micros,
        is_over: &dyn Fn() -> bool,
    ) -> Result<bool, String> {
        let told = |error: LogError| error.detail;
        let end = self.log.end(partition).map_err(told)?;
        let (mut names, _) = self.snapshots.names(partition, end).map_err(|error| error.detail)?;
        let judged = self.judged.entry(partition).or_default();
        judged.retain(|text, _| names.iter().any(|name| name.text == *text));
        names.retain(|name| name.next_seq >= until);
        if known_good(&names, judged, since) >= COVERS {
            return Ok(true);
        }
        let (mut good, mut search) = (0_usize, Search::default());
        let (log_id, tail) = (self.log.manifest().log_id, self.log);
        let beginning = Beginning { log_id, tail, snapshots: Some(self.snapshots) };
        for name in names {
            if good >= COVERS || search.is_over() || is_over() {
                break;
            }
            let tries = match judged.get(&name.text) {
                Some(Judged::Good(at)) if *at >= since => {
                    good = good.saturating_add(1);
                    search.count(false);
                    continue;
                }
                Some(Judged::Bad { due, is_by_manifest, .. }) if self.clock.now() < *due => {
                    search.count(*is_by_manifest);
                    continue;
                }
                Some(Judged::Bad { tries, .. }) => *tries,
                Some(Judged::Good(_)) | None => 0,
            };
            let begins = self.clock.now();
            let verdict = if beginning.is_good(partition, &name).map_err(told)? {
                good = good.saturating_add(1);
                search.count(false);
                Judged::Good(begins)
            } else {
                let is_by_manifest = beginning.is_bad_by_manifest(partition, &name);
                search.count(is_by_manifest);
                let due = self.clock.now().plus_ms(retry_ms(tries, UNCOVERED_MS, RETRY_MAX_MS));
                Judged::Bad { tries: tries.saturating_add(1), due, is_by_manifest }
            };
            judged.insert(name.text, verdict);
            self.reads = self.reads.saturating_add(1);
        }
        Ok(good >= COVERS)
    }
}

/// How many of these snapshots, the newest first, are known to have been good at `since` or later. One of which nothing is known
/// counts as tried: it may be bad, and hide those behind it.
fn known_good(names: &[SnapshotName], judged: &BTreeMap<String, Judged>, since: Micros) -> usize {
    let (mut good, mut search) = (0_usize, Search::default());
    for judged in names.iter().map(|name| judged.get(&name.text)) {
        if search.is_over() {
            break;
        }
        good = good.saturating_add(usize::from(matches!(judged, Some(Judged::Good(at)) if *at >= since)));
        search.count(matches!(judged, Some(Judged::Bad { is_by_manifest: true, .. })));
    }
    good
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The story: the log was set back a year by mistake, and forward again. Meanwhile its oldest segment was dated by what was
    /// written in that while, and it would have left at once, long before its time.
    #[test]
    fn what_follows_dates_a_segment_only_while_it_is_later_than_now() {
        let (begins, newest, before) = (Micros(50), Some(Micros(60)), Micros(10));
        let oldest = Oldest { number: 0, begins, newest, seen: 1, before, is_told: false };
        assert_eq!([10, 59, 60, 61].map(|now| oldest.written(Micros(now)).0), [10, 10, 60, 60]);
    }
}
