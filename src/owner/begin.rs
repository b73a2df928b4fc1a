//! Where a state can begin from which the events of a log lead on: nothing, as long as the log has its first event, or a
//! state that the log continues. When the first events were removed, a state has to reach the first one that is left.
//! Nobody begins anew then, and nobody passes over a gap: what cannot be continued is refused, with what was looked at.

use super::restoring;
use crate::domain::{Digest, Micros};
use crate::log::{CommittedTail, LogError};
use crate::replica::PartitionState;
use crate::store::{SnapshotName, Snapshots, StoreError, StoreErrorKind};
use crate::threads::beside;
use crate::time::Shown;
use crate::wire::{self, DecodeError};
use std::fmt;

/// Most snapshots that are tried. Where the log has its first event, reading it is better than waiting for more of them.
pub const TRIED_MAX: usize = 8;
/// Most snapshots that are looked at where the log has lost its first event. Those that are of no use by their manifests, which
/// are little to read, do not count as tried: a good one may lie behind them.
const LOOKED_AT_MAX: usize = 100;
/// Most snapshots of which a refusal says why they are of no use.
const TOLD_MAX: usize = TRIED_MAX;
/// What to do about snapshots that keep others from being tried.
const MOVE_AWAY: &str =
    "headroom verify names each BAD SNAPSHOT of the place: move those out of it, and keep all others";
const NO_PLACE: &str = "no place of snapshots is set";

/// The snapshots of a log, and the log.
#[derive(Clone, Copy)]
pub struct Beginning<'a> {
    /// The log's own id, which a snapshot must name.
    pub log_id: u128,
    /// Where committed events are read.
    pub tail: &'a dyn CommittedTail,
    /// Where snapshots are read, if there is such a place.
    pub snapshots: Option<&'a dyn Snapshots>,
}

/// A place in the course of a partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Moment {
    /// Before the event of this sequence number.
    Before(u64),
    /// After the last event that was decided at this time or earlier. Where a clock was set back, later times may stand
    /// before that event.
    At(Micros),
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // Who asks names the last event that is in the state.
            Moment::Before(next) => match next.checked_sub(1) {
                Some(last) => write!(f, "seq {last}"),
                None => f.write_str("the first event"),
            },
            Moment::At(time) => write!(f, "{}", Shown(*time)),
        }
    }
}

/// Which snapshot is taken, if several can be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Prefer {
    /// The newest, after which the least has to be read.
    Newest,
    /// The oldest, after which the most of the log is checked.
    Oldest,
    /// The newest that does not lie after this moment.
    Nearest(Moment),
}

impl Prefer {
    fn admits(self, name: &SnapshotName) -> bool {
        match self {
            Prefer::Newest | Prefer::Oldest => true,
            Prefer::Nearest(Moment::Before(seq)) => name.next_seq <= seq,
            Prefer::Nearest(Moment::At(time)) => name.decided_at <= time,
        }
    }
}

/// How far a search for a good snapshot has come, the newest first. Who lets events leave a log counts as a start does that finds
/// them gone: a snapshot to which that start would not come covers nothing.
#[derive(Default)]
pub struct Search {
    tried: usize,
    looked_at: usize,
}

impl Search {
    /// Whether it ends before the next snapshot.
    pub fn is_over(&self) -> bool {
        self.tried >= TRIED_MAX || self.looked_at >= LOOKED_AT_MAX
    }

    /// Counts a snapshot, which was tried unless its manifest alone says that it is of no use.
    pub fn count(&mut self, is_by_manifest: bool) {
        self.looked_at = self.looked_at.saturating_add(1);
        self.tried = self.tried.saturating_add(usize::from(!is_by_manifest));
    }
}

/// What snapshots of a partition came to.
#[derive(Default)]
pub struct Looked {
    /// A snapshot, and the state in it; none where the log is read from its first event.
    pub taken: Option<(SnapshotName, PartitionState)>,
    /// What was tried and passed over before it, and why.
    pub passed_over: Vec<String>,
}

impl Looked {
    /// The state from which the events of the log are folded: that of the snapshot, or that before the first event.
    pub fn state(self, partition: u32) -> (PartitionState, Option<SnapshotName>) {
        match self.taken {
            Some((name, state)) => (state, Some(name)),
            None => (PartitionState::new(partition), None),
        }
    }
}

/// What trying snapshots came to.
#[derive(Default)]
struct Tried {
    taken: Option<(SnapshotName, PartitionState)>,
    /// Why those before it were not taken.
    passed_over: Vec<String>,
    /// Of snapshots that were not given: whether that may pass by itself.
    may_pass: Option<bool>,
    /// How many were not tried.
    left: usize,
}

/// What a snapshot turned out to be.
pub enum Examined {
    /// It is whole, and the log does not contradict it: this is the state that it holds.
    Sound(Box<PartitionState>),
    /// It is whole, and holds more events than the log has: how many those are.
    Ahead(String),
    /// It is not what was written, or not what the log leads to, in words.
    Wrong(String),
}

impl Beginning<'_> {
    /// The state from which a tool folds the events of a partition: none as long as the log has its first event, and
    /// otherwise that of a snapshot which covers what is gone.
    ///
    /// # Errors
    /// Those of [`Beginning::look`].
    pub fn covering(&self, partition: u32, prefer: Prefer) -> Result<Looked, LogError> {
        match self.tail.first(partition)? {
            0 => Ok(Looked::default()),
            first => self.look(partition, first, prefer),
        }
    }

    /// The state in a snapshot that is whole and that the log continues, where the log begins with `first`. With `first`
    /// above 0 there is one, or an error.
    ///
    /// # Errors
    /// [`LogError`] when the log cannot be read, and where no snapshot covers what is gone: it says what there is. It is
    /// [`LogErrorKind::Withheld`](crate::log::LogErrorKind::Withheld) where the place did not give all that it has.
    pub fn look(&self, partition: u32, first: u64, prefer: Prefer) -> Result<Looked, LogError> {
        let Some(snapshots) = self.snapshots else {
            return match first {
                0 => Ok(Looked::default()),
                _ => Err(uncovered_for(prefer, partition, first, NO_PLACE)),
            };
        };
        let end = self.tail.end(partition)?;
        if end == 0 {
            return Ok(Looked::default());
        }
        let (mut names, ahead) = match snapshots.names(partition, end) {
            Ok(found) => found,
            Err(error) if first == 0 => return Ok(Looked { taken: None, passed_over: vec![error.detail] }),
            Err(error) => {
                let why = format!("does not answer: {}", error.detail);
                return Err(withheld(!error.needs_operator(), partition, first, &why));
            }
        };
        let short = names.iter().find(|name| name.next_seq < first).cloned();
        names.retain(|name| name.next_seq >= first && prefer.admits(name));
        if prefer == Prefer::Oldest {
            names.reverse();
        }
        let Tried { taken, passed_over, may_pass, left } = self.try_each(snapshots, partition, first, names)?;
        let ahead = (ahead > 0).then(|| format!("{ahead} hold more than the {end} events of the log"));
        if taken.is_some() || first == 0 {
            return Ok(Looked { taken, passed_over: ahead.into_iter().chain(passed_over).collect() });
        }
        let untold = passed_over.len().saturating_sub(TOLD_MAX);
        let mut seen: Vec<String> = ahead.into_iter().chain(passed_over.into_iter().take(TOLD_MAX)).collect();
        if untold > 0 {
            seen.push(format!("{untold} more were passed over"));
        }
        if left > 0 {
            seen.push(format!("{left} more were not tried"));
        }
        seen.extend(
            short.map(|name| {
                format!("the newest before it is {}, whose next event is seq {}", name.text, name.next_seq)
            }),
        );
        if left > 0 {
            seen.push(MOVE_AWAY.to_owned());
        }
        let seen = if seen.is_empty() { "the place of snapshots has none of it".to_owned() } else { seen.join("; ") };
        // A snapshot that was not read may be the one that covers what is gone.
        let may_pass = if left > 0 { Some(false) } else { may_pass };
        Err(match may_pass {
            Some(may_pass) => withheld(may_pass, partition, first, &format!("was not read to the end: {seen}")),
            None => uncovered_for(prefer, partition, first, &seen),
        })
    }

    /// Tries these snapshots in their order, until one can be taken.
    fn try_each(
        &self,
        snapshots: &dyn Snapshots,
        partition: u32,
        first: u64,
        names: Vec<SnapshotName>,
    ) -> Result<Tried, LogError> {
        let (mut came, mut search, count) = (Tried::default(), Search::default(), names.len());
        for (at, name) in names.into_iter().enumerate() {
            if search.is_over() {
                came.left = count.saturating_sub(at);
                break;
            }
            let (place, state) = self.place_and_state(snapshots, partition, (&name, at == 0), first);
            let mut is_by_manifest = false;
            match state {
                Err(error) => {
                    if error.is_of_no_use() {
                        is_by_manifest = first > 0 && self.is_bad_by_manifest(partition, &name);
                    }
                    if error.kind != StoreErrorKind::Damaged {
                        came.may_pass = Some(came.may_pass.unwrap_or(true) && !error.needs_operator());
                    }
                    came.passed_over.push(error.detail);
                }
                Ok(state) => match place()?.contradicts(&state) {
                    Some(why) => came.passed_over.push(format!("snapshot {}: {why}", name.text)),
                    None => {
                        came.taken = Some((name, state));
                        break;
                    }
                },
            }
            search.count(is_by_manifest);
        }
        Ok(came)
    }

    /// What the log says of a snapshot's place, and the state that the snapshot holds. Of the first one that is tried, which is
    /// nearly always good, the log is asked while it is read: who reads the log next finds the events after the snapshot on
    /// their way. Of the others it is asked only where there is a state.
    fn place_and_state(
        &self,
        snapshots: &dyn Snapshots,
        partition: u32,
        (name, is_first): (&SnapshotName, bool),
        first: u64,
    ) -> (impl FnOnce() -> Result<Place, LogError>, Result<PartitionState, StoreError>) {
        let (tail, next_seq) = (self.tail, name.next_seq);
        let ask = move || Place::ask(tail, partition, next_seq, first);
        let copy = || copied(snapshots, self.log_id, partition, &name.text);
        let (asked, state) = match is_first {
            true => {
                let (asked, state) = beside(format!("asks-{partition}"), ask, copy);
                (Some(asked), state)
            }
            false => (None, copy()),
        };
        (move || asked.unwrap_or_else(ask), state)
    }

    /// Reads all of a snapshot, puts it together to a state, and compares its place with the log, as far as the log still has
    /// the events around it.
    ///
    /// # Errors
    /// [`LogError`] when the log cannot be read. It is [`LogErrorKind::Withheld`](crate::log::LogErrorKind::Withheld) where the
    /// place did not give the snapshot.
    pub fn examine(&self, partition: u32, name: &SnapshotName) -> Result<Examined, LogError> {
        let Some(snapshots) = self.snapshots else { return Err(LogError::withheld(false, NO_PLACE)) };
        let state = match copied(snapshots, self.log_id, partition, &name.text) {
            Ok(state) => state,
            Err(error) if error.kind == StoreErrorKind::Damaged => {
                return Ok(Examined::Wrong(bare(name, &error.detail)));
            }
            Err(error) => return Err(LogError::withheld(!error.needs_operator(), bare(name, &error.detail))),
        };
        let (first, next_seq) = (self.tail.first(partition)?, state.position().next_seq);
        if next_seq >= first {
            if let Some(more) = more_than(self.tail, partition, next_seq)? {
                return Ok(Examined::Ahead(more));
            }
            if let Some(why) = mismatch(self.tail, &state, first)? {
                return Ok(Examined::Wrong(why));
            }
        }
        Ok(Examined::Sound(Box::new(state)))
    }

    /// Whether a snapshot is whole and the log continues it. All of it is read, and put together to a state.
    ///
    /// # Errors
    /// [`LogError`] when the log cannot be read.
    pub fn is_good(&self, partition: u32, name: &SnapshotName) -> Result<bool, LogError> {
        let Some(snapshots) = self.snapshots else { return Ok(false) };
        let Ok(state) = copied(snapshots, self.log_id, partition, &name.text) else { return Ok(false) };
        Ok(mismatch(self.tail, &state, self.tail.first(partition)?)?.is_none())
    }

    /// The newest snapshot of a partition whose log ends with `end`, as far as manifests tell: those that are of no use by their
    /// manifests are passed over, and no rows are read. None where a start would not come to one.
    ///
    /// # Errors
    /// [`StoreError`] when there is no place, or it does not give what it has.
    pub fn newest_by_manifest(&self, partition: u32, end: u64) -> Result<Option<SnapshotName>, StoreError> {
        let snapshots = self.snapshots.ok_or_else(|| StoreError::operator(NO_PLACE))?;
        let (names, _) = snapshots.names(partition, end)?;
        let mut search = Search::default();
        for name in names {
            if search.is_over() {
                break;
            }
            match snapshots.mark(partition, &name.text) {
                Ok(_) => return Ok(Some(name)),
                Err(error) if error.is_of_no_use() => search.count(true),
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Whether the manifest of a snapshot alone says that it is of no use here: it is damaged, of a later version, or of another log
    /// or partition.
    pub fn is_bad_by_manifest(&self, partition: u32, name: &SnapshotName) -> bool {
        let mark = self.snapshots.map(|snapshots| snapshots.mark(partition, &name.text));
        mark.is_some_and(|mark| mark.is_err_and(|error| error.is_of_no_use()))
    }
}

fn uncovered_for(prefer: Prefer, partition: u32, first: u64, seen: &str) -> LogError {
    match prefer {
        Prefer::Newest | Prefer::Oldest => uncovered(partition, first, seen),
        Prefer::Nearest(moment) => LogError::operator(format!(
            "partition {partition} of the log begins with seq {first}, the events before it are gone, and no snapshot that is \
             known here has a state from then on that is not after {moment}: {seen}; ask for a later place, or name the place \
             that has such a snapshot with the setting snapshots"
        )),
    }
}

/// That a log without its first events is not continued by anything that was found.
pub(super) fn uncovered(partition: u32, first: u64, seen: &str) -> LogError {
    LogError::uncovered(format!(
        "partition {partition} of the log begins with seq {first}, the events before it are gone, and nothing that is known \
         here reaches up to it: {seen}; bring back a snapshot whose next event is seq {first} or a later one, or name the \
         place that has one with the setting snapshots"
    ))
}

/// What a place or a store does not give, now or until a person has changed something.
pub fn unread(error: StoreError) -> LogError {
    LogError::withheld(!error.needs_operator(), error.detail)
}

/// That nobody knows whether anything covers the events that are gone, because of what the place of snapshots does.
fn withheld(may_pass: bool, partition: u32, first: u64, does: &str) -> LogError {
    LogError::withheld(
        may_pass,
        format!(
            "partition {partition} of the log begins with seq {first}, the events before it are gone, and the place of \
             snapshots {does}"
        ),
    )
}

/// Why the log, which begins with `first`, does not continue this state; none where it does.
pub(super) fn mismatch(
    tail: &dyn CommittedTail,
    state: &PartitionState,
    first: u64,
) -> Result<Option<String>, LogError> {
    let place = Place::ask(tail, state.partition(), state.position().next_seq, first)?;
    Ok(place.contradicts(state))
}

/// What a log says of the place before an event.
struct Place {
    next_seq: u64,
    /// The digest of the event before it, none where it is the first one; or why no state can end here.
    chain: Result<Option<Digest>, String>,
}

impl Place {
    /// Asks a log that begins with `first`.
    fn ask(tail: &dyn CommittedTail, partition: u32, next_seq: u64, first: u64) -> Result<Place, LogError> {
        let no_state = |why: String| Ok(Place { next_seq, chain: Err(why) });
        if let Some(more) = more_than(tail, partition, next_seq)? {
            return no_state(more);
        }
        if next_seq < first {
            return no_state(format!("its next event is seq {next_seq}, and the log begins with seq {first}"));
        }
        let Some(last) = next_seq.checked_sub(1) else { return Ok(Place { next_seq, chain: Ok(None) }) };
        match digest_of(tail, partition, last, first)? {
            None => no_state("the log does not hold its last event".to_owned()),
            Some(Err(error)) => no_state(error.to_string()),
            Some(Ok(found)) => Ok(Place { next_seq, chain: Ok(Some(found)) }),
        }
    }

    /// Why this is not the place of the state; none where it is.
    fn contradicts(self, state: &PartitionState) -> Option<String> {
        let position = state.position();
        if position.next_seq != self.next_seq {
            return Some(format!("its next event is seq {}, and not {}", position.next_seq, self.next_seq));
        }
        match self.chain {
            Err(why) => Some(why),
            Ok(Some(found)) if found != position.chain => {
                Some(format!("its last event has the digest {}, that of the log has {found}", position.chain))
            }
            Ok(_) => None,
        }
    }
}

/// That a state of so many events holds more than the log; none where it does not.
fn more_than(tail: &dyn CommittedTail, partition: u32, next_seq: u64) -> Result<Option<String>, LogError> {
    // While a transaction is open, readers may see less than what was committed. A checkpoint that is not ahead of
    // what readers see needs no further check, so an owner that was killed in its turn does not delay a restart.
    if next_seq <= tail.end(partition)? {
        return Ok(None);
    }
    let end = tail.end_told(partition)?;
    Ok((next_seq > end).then(|| format!("it holds {next_seq} events, and the log has {end}")))
}

/// What is told of a snapshot, without its name.
fn bare(name: &SnapshotName, told: &str) -> String {
    told.strip_prefix(&format!("snapshot {}: ", name.text)).unwrap_or(told).to_owned()
}

/// The digest of an event of a log that begins with `first`. Where the event is the last one that is gone, the next one
/// names its digest. None where the log does not hold the event.
pub(super) fn digest_of(
    tail: &dyn CommittedTail,
    partition: u32,
    seq: u64,
    first: u64,
) -> Result<Option<Result<Digest, DecodeError>>, LogError> {
    let at = seq.max(first);
    let events = tail.read(partition, at, 1)?;
    let chained = events.first().map(|event| wire::event::decode(&event.bytes));
    Ok(chained.map(|read| read.map(|chained| if at == seq { chained.digest } else { chained.event.prev })))
}

/// The state that a snapshot holds, whether or not it matches the log.
///
/// # Errors
/// [`StoreError`] when it cannot be read, or makes no state.
fn copied(snapshots: &dyn Snapshots, log_id: u128, partition: u32, name: &str) -> Result<PartitionState, StoreError> {
    let mut object = Vec::new();
    let ((mark, digest), rows) = restoring::take_in((partition, log_id), |row| {
        snapshots.load(partition, name, &mut object, &mut |key, value| row([key.into(), value.into()]))
    })?;
    drop(object);
    let state = restoring::put_together(rows, &mark, Some(digest));
    let mut state = state.map_err(|why| StoreError::damaged(format!("snapshot {name}: {why}")))?;
    // There is no checkpoint that a next one could build on.
    state.mark_all_dirty();
    Ok(state)
}
