//! Segments that have left a log, in the place to which they went, and the log together with them: who reads both reads one
//! log. Nothing is asked of that place as long as nothing is read that has left.

use super::error::{Fault, damaged};
use super::frame::{Head, Record, Records};
use super::leaving::{InMemory, Reach};
use super::read::{Plan, Span, read};
use super::recent::{Sealed, indexed};
use super::scan::Indexed;
use super::segment::SegmentHeader;
use super::stored_command;
use crate::log::{CommandTail, CommittedTail, LogError, StoredCommand, StoredEvent};
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

/// Segments that are kept in memory, of up to 64 MiB each: one whose events are read, and one whose commands are.
const KEPT: usize = 2;

/// A place with segments that have left one log.
pub trait Archive: Send + Sync {
    /// The numbers of the segments there, in any order. What the place does not give of them counts as being there.
    ///
    /// # Errors
    /// [`LogError`], which is withheld, when the place does not answer.
    fn numbers(&self) -> Result<Vec<u64>, LogError>;

    /// How far a segment reaches.
    ///
    /// # Errors
    /// [`LogError`] when it is not there, is damaged or belongs to another log; one that is withheld when the place does not
    /// give it.
    fn reach(&self, number: u64) -> Result<Reach, LogError>;

    /// The bytes of a segment up to the end of its last frame, as they were when it left.
    ///
    /// # Errors
    /// [`LogError`] when it is not there, is damaged or belongs to another log; one that is withheld when the place does not
    /// give it.
    fn segment(&self, number: u64) -> Result<Vec<u8>, LogError>;
}

/// A log with the segments that have left it.
pub struct WithArchive<L> {
    log: L,
    log_id: u128,
    archive: Option<Archived>,
}

impl<L: CommittedTail> WithArchive<L> {
    /// The log of this id, and the place with what has left it, if there is one.
    pub fn new(log: L, log_id: u128, archive: Option<Box<dyn Archive>>) -> WithArchive<L> {
        WithArchive { log, log_id, archive: archive.map(Archived::new) }
    }

    /// The id of the log.
    pub fn log_id(&self) -> u128 {
        self.log_id
    }

    /// The log alone.
    pub fn log(&self) -> &L {
        &self.log
    }

    /// What the place has lost, in words, as far as it was looked at: it has segments before one that it lacks and that has left
    /// the log. They do not lead to the log, and nothing of them is read.
    pub fn lacks(&self) -> Option<String> {
        let gap = *self.archive.as_ref()?.gap.lock();
        gap.map(|number| {
            format!("segment {number} is missing from the archive, and what is before it there is not read")
        })
    }

    /// With which segment the place begins, in words, as far as it was looked at, where that is not the first one of the log and
    /// nothing before it is there. It is no fault: segments may have left the log before it had this archive.
    pub fn begins_later(&self) -> Option<String> {
        let archive = self.archive.as_ref()?;
        let begins = archive.numbers.lock().as_ref()?.start;
        let is_told = begins > 0 && archive.gap.lock().is_none();
        is_told.then(|| format!("the archive begins with segment {begins}: the segments before it are not there"))
    }

    /// The number of the last segment in the place, where it reaches beyond the end of the log: the log is an older copy, or the
    /// segment is of another course of it.
    ///
    /// # Errors
    /// [`LogError`] when the log cannot be read, or the place does not give what it has.
    pub fn ahead(&self) -> Result<Option<u64>, LogError> {
        let Some(archive) = &self.archive else { return Ok(None) };
        let Some(last) = archive.numbers()?.and_then(|numbers| numbers.end.checked_sub(1)) else { return Ok(None) };
        for (partition, end) in (0..).zip(&archive.reach(last)?.end) {
            if end.next_seq > self.log.end(partition)? {
                return Ok(Some(last));
            }
        }
        Ok(None)
    }

    /// The log alone, when nothing else is needed any more.
    pub fn into_log(self) -> L {
        self.log
    }

    /// The place, and how far it reaches, when the log begins with `begins` and something has left it. `None` as well when the
    /// place lacks what comes right before the log, which [`WithArchive::lacks`] tells.
    fn left(&self, partition: u32, records: Records, begins: u64) -> Result<Option<(&Archived, Range<u64>)>, LogError> {
        let Some(archive) = self.archive.as_ref().filter(|_| begins > 0) else { return Ok(None) };
        for is_last_look in [false, true] {
            let Some(numbers) = archive.numbers()? else {
                archive.forget_numbers();
                continue;
            };
            let place = |heads: &[Head]| heads.get(partition as usize).map_or(0, |head| head.of(records));
            let first = place(&archive.reach(numbers.start)?.first);
            let end = place(&archive.reach(numbers.end.saturating_sub(1))?.end);
            if end >= begins {
                return Ok(Some((archive, first..begins)));
            }
            if is_last_look {
                *archive.gap.lock() = Some(numbers.end);
                return Ok(None);
            }
            // It has left the log after the place was looked at.
            archive.forget_numbers();
        }
        // It may be another place than the one that was meant, which shows no fault of the log.
        Err(LogError::withheld(
            false,
            format!(
                "{records:?} of partition {partition} begin with {begins} in the log, and the archive has no segment of log \
                 {:032x}: name the place to which the segments have gone, or none to read without them",
                self.log_id
            ),
        ))
    }

    /// Records that have left the log; `None` when the place does not have the first of them.
    fn archived<T>(&self, span: Span, make: impl Fn(Record<'_>) -> T) -> Result<Option<Vec<T>>, LogError> {
        let Some((archive, reach)) = self.left(span.partition, span.records, span.end)? else { return Ok(None) };
        if !reach.contains(&span.from) {
            return Ok(None);
        }
        let records = read(span, |from| archive.holding(self.log_id, span, from), make);
        records.map(Some).map_err(|fault| fault.error(format_args!("reading the archive")))
    }
}

impl<L: CommittedTail> CommittedTail for WithArchive<L> {
    fn partitions(&self) -> u32 {
        self.log.partitions()
    }

    fn log_id(&self) -> Option<u128> {
        Some(self.log_id)
    }

    fn first(&self, partition: u32) -> Result<u64, LogError> {
        let begins = self.log.first(partition)?;
        Ok(self.left(partition, Records::Events, begins)?.map_or(begins, |(_, reach)| reach.start))
    }

    fn end(&self, partition: u32) -> Result<u64, LogError> {
        self.log.end(partition)
    }

    fn read(&self, partition: u32, from: u64, bytes_max: usize) -> Result<Vec<StoredEvent>, LogError> {
        let end = self.log.first(partition)?;
        if from < end {
            let span = Span { records: Records::Events, partition, from, end, bytes_max };
            let event = |Record { position, bytes, trace }: Record<'_>| StoredEvent {
                seq: position,
                bytes: bytes.to_vec(),
                trace,
            };
            if let Some(events) = self.archived(span, event)? {
                return Ok(events);
            }
        }
        self.log.read(partition, from, bytes_max)
    }
}

impl<L: CommittedTail + CommandTail> CommandTail for WithArchive<L> {
    fn first(&self, partition: u32) -> Result<u64, LogError> {
        let begins = CommandTail::first(&self.log, partition)?;
        Ok(self.left(partition, Records::Commands, begins)?.map_or(begins, |(_, reach)| reach.start))
    }

    fn commands(&self, partition: u32, from: u64, bytes_max: usize) -> Result<Vec<StoredCommand>, LogError> {
        let end = CommandTail::first(&self.log, partition)?;
        if from < end {
            let span = Span { records: Records::Commands, partition, from, end, bytes_max };
            if let Some(commands) = self.archived(span, stored_command)? {
                return Ok(commands);
            }
        }
        self.log.commands(partition, from, bytes_max)
    }
}

/// The segments in a place that follow each other up to the newest one.
struct Archived {
    archive: Box<dyn Archive>,
    /// Their numbers, once the place was asked.
    numbers: Mutex<Option<Range<u64>>>,
    /// The number of a missing segment with others before it: before these here, or between these and the log.
    gap: Mutex<Option<u64>>,
    reaches: Mutex<BTreeMap<u64, Arc<Reach>>>,
    recent: Mutex<VecDeque<Arc<Indexed>>>,
}

impl Archived {
    fn new(archive: Box<dyn Archive>) -> Archived {
        let (numbers, gap, reaches, recent) = (Mutex::default(), Mutex::default(), Mutex::default(), Mutex::default());
        Archived { archive, numbers, gap, reaches, recent }
    }

    /// `None` when there is no segment.
    fn numbers(&self) -> Result<Option<Range<u64>>, LogError> {
        let mut known = self.numbers.lock();
        if known.is_none() {
            let mut found = self.archive.numbers()?;
            found.sort_unstable_by(|a, b| b.cmp(a));
            let newest = found.first().copied();
            // What lies before a gap does not lead to the log.
            *known = newest.map(|newest| {
                let count =
                    found.iter().zip(0..).take_while(|(number, at)| newest.checked_sub(*at) == Some(**number)).count();
                let end = newest.saturating_add(1);
                let first = end.saturating_sub(count as u64);
                *self.gap.lock() = (count < found.len()).then(|| first.saturating_sub(1));
                first..end
            });
        }
        Ok(known.clone())
    }

    fn forget_numbers(&self) {
        *self.numbers.lock() = None;
    }

    fn reach(&self, number: u64) -> Result<Arc<Reach>, LogError> {
        if let Some(reach) = self.reaches.lock().get(&number) {
            return Ok(Arc::clone(reach));
        }
        let reach = Arc::new(self.archive.reach(number)?);
        self.reaches.lock().insert(number, Arc::clone(&reach));
        Ok(reach)
    }

    /// The frames to read for this position, which some segment here has.
    fn holding(&self, log_id: u128, span: Span, from: u64) -> Result<Plan, Fault> {
        let numbers = self.numbers().map_err(fault)?.unwrap_or_default();
        // The last segment that begins by this position has it.
        let (mut low, mut high) = (numbers.start, numbers.end);
        while high.saturating_sub(low) > 1 {
            let middle = low.saturating_add(high.saturating_sub(low) / 2);
            let reach = self.reach(middle).map_err(fault)?;
            let begins_by = reach.first.get(span.partition as usize).is_some_and(|head| head.of(span.records) <= from);
            if begins_by { low = middle } else { high = middle }
        }
        Ok(self.segment(log_id, low)?.plan(span, from))
    }

    fn segment(&self, log_id: u128, number: u64) -> Result<Arc<Indexed>, Fault> {
        let mut recent = self.recent.lock();
        if let Some(indexed) = recent.iter().find(|indexed| indexed.header.number == number) {
            return Ok(Arc::clone(indexed));
        }
        let (read, header) = fetched(&*self.archive, log_id, number)?;
        let end = read.bytes.len() as u64;
        let indexed = Arc::new(indexed(Arc::new(read), &Sealed { header: Arc::new(header), end })?);
        recent.push_back(Arc::clone(&indexed));
        if recent.len() > KEPT {
            recent.pop_front();
        }
        Ok(indexed)
    }
}

/// The bytes of a segment in a place, and its header.
pub(super) fn fetched(archive: &dyn Archive, log_id: u128, number: u64) -> Result<(InMemory, SegmentHeader), Fault> {
    let bytes = archive.segment(number).map_err(fault)?;
    let read = InMemory { path: PathBuf::from(format!("segment {number} of the archive")), bytes };
    let header = SegmentHeader::read(&read)?.map_err(|why| damaged(format!("it is no segment: {why:?}")))?;
    if (header.manifest.log_id, header.number) != (log_id, number) {
        let (of, log) = (header.number, header.manifest.log_id);
        return Err(damaged(format!("what should be segment {number} is segment {of} of log {log:032x}")));
    }
    Ok((read, header))
}

/// What a place does not give is not known; what it has wrong stays wrong.
fn fault(error: LogError) -> Fault {
    if error.is_withheld() { Fault::Withheld(error) } else { damaged(error.detail) }
}
