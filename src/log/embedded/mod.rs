//! The log in files of this machine, written by one process, without other software. A turn's commands and events
//! become durable in one batch; before that a command is in memory only. The contents are checked when they are read.
//! This log has no compaction and no reply channel. Its oldest segments may leave it as a whole (`leaving.rs`), and can be read
//! where they went (`archived.rs`).
//! A log that is lost goes on after them (`continued.rs`).
//!
//! The log is the directory `log` of the data directory: segments of 64 MiB, each a header and frames one behind the
//! other (`segment.rs`, `frame.rs`). A batch is appended to the last segment and flushed once. A sealed segment is
//! never written again, and its header says how far every partition was: an old one can go as a whole. What a crash
//! leaves of a batch is cut off at the next start; every other change of a byte is refused by name (`start.rs`), and so is a first
//! segment that has not left and is missing (`begins.rs`). An index of the frames is kept in memory and made anew from them.
//! There is none by time: only the question how a state was at a time would use it, and a clock may have been set back, so that
//! one reads on to the end.
//!
//! Why a form of our own: three were measured on the same workload. Two threads commit turns of real rows, an event and its
//! command, with one flush for turns that meet.
//!
//! What a commit takes now, beside a redb file as the log was before, by `headroom-loadtest commits --rounds 5` (an event of 286
//! bytes, a command of 186, a place in a trace). Medians of five rounds, and of the ratios in a round; a build without LTO on both
//! sides, on two shared cores, 2026-11-29. [Figures](../../../loadtest/README.md#a-commit) has the rest:
//!
//! | in turns of 1 / 10 / 100 / 500 | redb 4.4 | segments, packed | ratio |
//! |---|---|---|---|
//! | CPU for an event | 294 / 38 / 6.6 / 2.5 µs | 176 / 24 / 4.8 / 2.2 µs | 0.58 / 0.63 / 0.71 / 0.93 |
//! | a turn, p50 | 0.90 / 1.2 / 1.9 / 3.0 ms | 0.61 / 0.74 / 0.80 / 1.5 ms | 0.67 / 0.58 / 0.42 / 0.54 |
//! | a turn, p99.9 | 3.3 / 3.7 / 7.2 / 5.5 ms | 4.1 / 3.9 / 3.0 / 4.6 ms | 1.27 / 1.08 / 0.44 / 0.80 |
//! | disk for an event | 796 / 625 / 657 / 656 bytes | 312 / 160 / 152 / 154 bytes | 0.39 / 0.26 / 0.23 / 0.24 |
//!
//! In turns of 500 a third of the CPU packs, and an eighth looks whether what was packed comes out again.
//!
//! The earlier run is of 2026-11-27, on another day of that machine, before frames were packed, and by a program that was not
//! kept: it cannot be compared with the table above, only within itself.
//!
//! | | redb 4.4, as it was | fjall 3.1, an LSM tree with a journal | segments, not packed |
//! |---|---|---|---|
//! | CPU for an event, in turns of 1 / 10 / 100 / 500 | 172 / 30 / 4.1 / 1.3 µs | 42 / 6.4 / 2.2 / 1.4 µs | 39 / 5.7 / 1.4 / 0.95 µs |
//! | disk for an event, in turns of 1 / 10 / 100 / 500 | 1059 / 666 / 660 / 591 bytes | 674 / 506 / 146 / 141 bytes, compressed | 552 / 491 / 485 / 485 bytes |
//! | opening 500 MB after a kill | 1.3 s | 1.3 s | 0.05 s |
//! | CPU for an event that is replayed | 0.36 µs | 0.26 µs | 0.27 µs |
//!
//! Not packed, segments win at what small turns cost and at how long a start takes; packed, they take the least of the disk, and more
//! CPU. `headroom-loadtest commits` measures fjall beside both. The damaged contents of a frame cost one partition and not the log,
//! and a copy of a running log opens.

mod archived;
mod begins;
mod carried;
mod commit;
mod continued;
mod dead_letters;
mod disk;
mod draft;
mod error;
mod file;
mod frame;
mod intake;
mod leaving;
mod packed;
mod prefix;
mod read;
mod recent;
mod reopen;
mod restored;
mod scan;
mod segment;
mod start;
mod store;
#[cfg(test)]
mod tests;
mod training;

pub use archived::{Archive, WithArchive};
pub use continued::continue_after;
pub use draft::sample;
pub use error::OpenError;
pub use file::try_lock;
pub use frame::Head;
pub use leaving::{Reach, Whole};
pub use prefix::{LogPrefix, PrefixSegment};
pub use reopen::Reopened;
pub use restored::{RestoredSegment, Restoring};

use super::{
    AppendError, ClaimError, CommandSink, CommandTail, CommitOutcome, CommittedTail, Fold, LogError, LogErrorKind,
    Manifest, NewCommand, Opening, OwnedPartition, PartitionLog, Polled, StoredCommand, StoredEvent, Turn,
};
use crate::domain::Micros;
use crate::domain::route::HASH_VERSION;
use crate::limits;
use crate::time::Stopwatch;
use commit::Committer;
use disk::OsDisk;
use file::{Access, LogFile};
use frame::{Record, Records};
use intake::Intake;
use packed::{Dictionary, Packer};
use read::Span;
use reopen::Reopening;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use store::Terms;

/// Bytes at which a segment is sealed. Opening a log reads one segment, and an age of the log can be dropped by
/// segments.
const SEGMENT_BYTES: u64 = 64 << 20;
/// The number of bytes that a claim reads at a time.
const CLAIM_READ_BYTES: usize = 1 << 20;

/// The terms on which a log is opened.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The number of partitions that the log must have. `None` accepts the number of an existing log, and stands for
    /// [`limits::PARTITIONS_DEFAULT`] for a new one.
    pub partitions: Option<u32>,
    /// A fresh random number, for a new log.
    pub log_id: u128,
    /// The time, for a new log.
    pub now: Micros,
}

/// Checks before a log is opened for writing whether it holds everything that it should. It gets `None` when there is
/// no log yet and one would be made. An error says what is missing, or why nobody can tell now.
pub type Judge<'a> = dyn Fn(Option<&Embedded>) -> Result<(), LogError> + 'a;

/// What is asked and done before a log is written.
#[derive(Clone, Copy)]
pub struct Before<'a> {
    /// Whether the log holds everything that it should.
    pub judge: &'a Judge<'a>,
    /// Notes in the data directory that versions which do not know the form of this log cannot read it from now on. It is
    /// called when nothing is missing, and before the log has the first byte of this form. An error says why it cannot.
    pub raise: &'a dyn Fn() -> Result<(), String>,
}

impl Before<'_> {
    /// Nothing is asked, and nothing is done.
    pub const NOTHING: Before<'static> = Before { judge: &|_| Ok(()), raise: &|| Ok(()) };

    fn judged(&self, log: Option<&Embedded>, path: &Path, opening: &Opening) -> Result<(), OpenError> {
        let judged = (self.judge)(log);
        // Who gave up has not read all of it, and a verdict on the rest is none.
        opening.goes_on().map_err(|error| OpenError::io(path, &error))?;
        judged.map_err(|LogError { kind, detail }| match kind {
            LogErrorKind::Transient | LogErrorKind::Withheld { .. } => OpenError::Io { path: path.to_owned(), detail },
            _ => OpenError::Behind { path: path.to_owned(), detail },
        })
    }

    fn raised(&self, dir: &Path) -> Result<(), OpenError> {
        (self.raise)().map_err(|detail| OpenError::Io { path: dir.to_owned(), detail })
    }
}

/// The log. Dropping the last handle to it, owned partitions included, closes the file.
pub struct Embedded {
    shared: Arc<Shared>,
}

struct Shared {
    file: LogFile,
    intakes: Vec<Intake>,
    committer: Committer,
    reopening: Reopening,
    looked: Looked,
}

/// The time of the last check that the file that is written is still at its path.
struct Looked {
    since: Stopwatch,
    at_ms: AtomicU64,
}

impl Default for Looked {
    fn default() -> Looked {
        Looked { since: Stopwatch::start(), at_ms: AtomicU64::new(0) }
    }
}

impl Looked {
    /// Whether the next check is due. Of several threads that ask at the same time only one gets `true`.
    fn is_due(&self) -> bool {
        let (now_ms, last_ms) = (self.since.now().0 / 1_000, self.at_ms.load(Relaxed));
        now_ms.saturating_sub(last_ms) >= limits::FILE_LOOK_MS
            && self.at_ms.compare_exchange(last_ms, now_ms, Relaxed, Relaxed).is_ok()
    }
}

impl Embedded {
    /// Opens the log in `dir`, and makes the directory and the log if they do not exist.
    ///
    /// # Errors
    /// [`OpenError`]; whatever file there is, is left as it is.
    pub fn open(dir: &Path, options: Options) -> Result<Arc<Embedded>, OpenError> {
        Embedded::open_after(dir, options, Before::NOTHING, &Arc::default())
    }

    /// The same, with segments that are sealed at so many bytes.
    ///
    /// # Errors
    /// [`OpenError`]; whatever file there is, is left as it is.
    pub fn open_sealing_at(dir: &Path, options: Options, segment_bytes: u64) -> Result<Arc<Embedded>, OpenError> {
        let terms = Terms { segment_bytes, ..of_this_machine() };
        Embedded::open_on(dir, options, (Before::NOTHING, &Arc::default()), terms)
    }

    /// The same after what is to be asked and done before. `opening` shows the progress meanwhile, and can give it up.
    ///
    /// # Errors
    /// [`OpenError`]; whatever file there is, is left as it is.
    pub fn open_after(
        dir: &Path,
        options: Options,
        before: Before<'_>,
        opening: &Arc<Opening>,
    ) -> Result<Arc<Embedded>, OpenError> {
        Embedded::open_on(dir, options, (before, opening), of_this_machine())
    }

    fn open_on(
        dir: &Path,
        options: Options,
        (before, opening): (Before<'_>, &Arc<Opening>),
        terms: Terms,
    ) -> Result<Arc<Embedded>, OpenError> {
        let ours = Manifest {
            log_id: options.log_id,
            partitions: options.partitions.unwrap_or(limits::PARTITIONS_DEFAULT),
            hash_version: HASH_VERSION,
            format_version: segment::FORMAT_VERSION,
            dedup_window_ms: limits::DEDUP_WINDOW_MS,
            memory_version: limits::MEMORY_VERSION,
            created_at: options.now,
        };
        let access = Access::Write(&ours, before);
        let (file, release) = file::open(dir, access, options.partitions, terms, Arc::clone(opening))?;
        let intakes = file.heads.iter().map(|_| Intake::default()).collect();
        let log = Embedded { shared: Arc::new(Shared::new(file, intakes)) };
        before.judged(Some(&log), &log.shared.file.path, opening)?;
        before.raised(dir)?;
        release(&log.shared.file)?;
        log.shared.committer.set_read_only(reopen::want_of_room(&log.shared.file));
        Ok(Arc::new(log))
    }

    /// The manifest of the log.
    pub fn manifest(&self) -> Manifest {
        self.shared.file.manifest
    }

    /// Looks whether the sealed files are in their places: each call at some of them, in turn. Without one of them the log is
    /// refused at the next start, so it takes no turn until it is back.
    pub fn look(&self) {
        if let Err(error) = self.shared.file.are_sealed_there() {
            self.shared.committer.fail(error);
        }
    }

    /// Closes the queues: from now on commands are refused, and owners get [`Polled::Closed`] when they have polled the
    /// rest.
    pub fn close(&self) {
        self.shared.intakes.iter().for_each(Intake::close);
    }

    /// Closes the queue of one partition whose owner has ended for good: commands that wait there will not be decided.
    pub fn close_partition(&self, partition: u32) {
        self.shared.intake(partition).into_iter().for_each(Intake::close);
    }

    /// Decided commands from `from_offset` on, for tools that inspect the log: at least one if there is one, and then
    /// as many as fit `bytes_max`.
    ///
    /// # Errors
    /// [`LogError`] when the log cannot be read or does not reach so far.
    pub fn commands(&self, partition: u32, from_offset: u64, bytes_max: usize) -> Result<Vec<StoredCommand>, LogError> {
        let end = self.shared.committer.head(partition)?.next_input;
        let span = Span { records: Records::Commands, partition, from: from_offset, end, bytes_max };
        self.shared.read(span, stored_command)
    }
}

/// A log that is opened for reading only: nothing is made, repaired or written.
pub struct EmbeddedReader {
    log: Embedded,
}

impl EmbeddedReader {
    /// Opens the log in `dir`, which no process may have open for writing. Its last segment is read once.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(dir: &Path) -> Result<EmbeddedReader, OpenError> {
        let (file, _) = file::open(dir, Access::ReadOnly, None, of_this_machine(), Arc::default())?;
        Ok(EmbeddedReader { log: Embedded { shared: Arc::new(Shared::new(file, Vec::new())) } })
    }

    /// Reads the whole log and checks every frame. Opening and reading check only what they use; this finds damage
    /// earlier.
    ///
    /// # Errors
    /// [`OpenError::Damaged`] when a frame is not what was written.
    pub fn check_frames(dir: &Path) -> Result<(), OpenError> {
        file::check_frames(dir, of_this_machine())
    }

    /// The manifest of the log, as in [`Embedded::manifest`].
    pub fn manifest(&self) -> Manifest {
        self.log.manifest()
    }
}

/// Only decided commands: all others are not part of the log.
impl CommandTail for EmbeddedReader {
    fn first(&self, partition: u32) -> Result<u64, LogError> {
        Ok(self.log.shared.first(partition)?.next_input)
    }

    fn commands(&self, partition: u32, from: u64, bytes_max: usize) -> Result<Vec<StoredCommand>, LogError> {
        self.log.commands(partition, from, bytes_max)
    }
}

impl CommittedTail for EmbeddedReader {
    fn partitions(&self) -> u32 {
        self.log.partitions()
    }

    fn first(&self, partition: u32) -> Result<u64, LogError> {
        self.log.first(partition)
    }

    fn log_id(&self) -> Option<u128> {
        Some(self.log.manifest().log_id)
    }

    fn end(&self, partition: u32) -> Result<u64, LogError> {
        self.log.end(partition)
    }

    fn read(&self, partition: u32, from_seq: u64, bytes_max: usize) -> Result<Vec<StoredEvent>, LogError> {
        self.log.read(partition, from_seq, bytes_max)
    }
}

/// How a log is written on a real disk.
fn of_this_machine() -> Terms {
    Terms { disk: Arc::new(OsDisk), segment_bytes: SEGMENT_BYTES }
}

fn stored_command(Record { position, bytes, trace }: Record<'_>) -> StoredCommand {
    StoredCommand { offset: position, skipped: 0, bytes: bytes.to_vec(), trace }
}

fn stored_event(Record { position, bytes, trace }: Record<'_>) -> StoredEvent {
    StoredEvent { seq: position, bytes: bytes.to_vec(), trace }
}

impl Shared {
    fn new(file: LogFile, intakes: Vec<Intake>) -> Shared {
        let committer = Committer::new(&file.heads);
        Shared { file, intakes, committer, reopening: Reopening::default(), looked: Looked::default() }
    }

    fn no_partition(&self, partition: u32) -> LogError {
        LogError::no_partition(partition, self.file.manifest.partitions)
    }

    fn intake(&self, partition: u32) -> Option<&Intake> {
        self.intakes.get(partition as usize)
    }

    /// The first event and the first command of the partition that the log has.
    fn first(&self, partition: u32) -> Result<Head, LogError> {
        let header = self.file.with(|store| Ok(Arc::clone(store.readable.read().first())));
        let header = header.map_err(|fault| fault.error(format_args!("reading {}", self.file.path.display())))?;
        header.heads.get(partition as usize).copied().ok_or_else(|| self.no_partition(partition))
    }

    fn read<T>(&self, span: Span, make: impl Fn(Record<'_>) -> T) -> Result<Vec<T>, LogError> {
        let Span { records, partition, from, end, .. } = span;
        let path = self.file.path.display();
        if from > end {
            return Err(LogError::out_of_range(format!(
                "{records:?} of partition {partition} in {path} end at {end}, before the requested {from}"
            )));
        }
        // What the disk does not give fails who asks for it, and nobody else: no turn reads what was written before it.
        let read = self.file.with(|store| store.read(span, make));
        read.map_err(|fault| fault.error(format_args!("reading {path}")))
    }

    fn commit(&self, owner: (u32, u64), packer: &mut Packer, turn: &Turn) -> CommitOutcome {
        let outcome = self.committer.commit((&self.file, &self.intakes), owner, packer, turn);
        // One without events and inputs is written nowhere.
        if outcome == CommitOutcome::Ok && !(turn.events.is_empty() && turn.inputs.is_empty()) {
            self.reopening.took_a_turn();
        }
        outcome
    }

    fn events(&self, partition: u32, from: u64, end: u64, bytes_max: usize) -> Result<Vec<StoredEvent>, LogError> {
        let span = Span { records: Records::Events, partition, from, end, bytes_max };
        self.read(span, stored_event)
    }
}

impl CommandSink for Embedded {
    fn append(&self, command: NewCommand<'_>) -> Result<(), AppendError> {
        debug_assert!(command.bytes.len() <= limits::COMMAND_BYTES_MAX, "a command of {} bytes", command.bytes.len());
        self.shared.intake(command.partition).ok_or(AppendError::Closed)?.append(command)
    }

    fn waiting(&self, partition: u32) -> usize {
        self.shared.intake(partition).map_or(0, Intake::waiting)
    }

    fn stalled(&self, _: u32) -> Duration {
        Duration::ZERO
    }
}

impl CommittedTail for Embedded {
    fn partitions(&self) -> u32 {
        self.shared.file.manifest.partitions
    }

    fn first(&self, partition: u32) -> Result<u64, LogError> {
        Ok(self.shared.first(partition)?.next_seq)
    }

    fn log_id(&self) -> Option<u128> {
        Some(self.shared.file.manifest.log_id)
    }

    fn end(&self, partition: u32) -> Result<u64, LogError> {
        Ok(self.shared.committer.head(partition)?.next_seq)
    }

    fn read(&self, partition: u32, from_seq: u64, bytes_max: usize) -> Result<Vec<StoredEvent>, LogError> {
        // The end is read first, and nothing beyond it: readers see a turn only when its commit is known to be Ok.
        let end = self.shared.committer.head(partition)?.next_seq;
        self.shared.events(partition, from_seq, end, bytes_max)
    }
}

impl PartitionLog for Embedded {
    type Owned = Owned;

    fn claim(&self, partition: u32, from_seq: u64, fold: &mut Fold<'_>) -> Result<Owned, ClaimError> {
        let shared = &self.shared;
        let fence = |generation| shared.intake(partition).into_iter().for_each(|intake| intake.fence(generation));
        let (generation, head) = shared.committer.claim(partition, fence)?;
        let (next_offset, packer) = (head.next_input, Packer::new(Dictionary::of_program()));
        let owned = Owned { shared: Arc::clone(shared), partition, generation, next_offset, packer };
        let mut answer = None;
        let mut from = from_seq;
        while from != head.next_seq {
            for event in shared.events(partition, from, head.next_seq, CLAIM_READ_BYTES)? {
                from = event.seq.saturating_add(1);
                answer = Some(fold(event).map_err(ClaimError::Breach)?);
            }
            if from != head.next_seq && self.is_closed(partition) {
                return Err(LogError::superseded("the process ends before all events are folded").into());
            }
        }
        match answer {
            Some(answer) if answer != head.next_input => Err(ClaimError::Log(LogError::internal(format!(
                "partition {partition} of {}: by its events input {answer} is next, by its commands {}",
                shared.file.path.display(),
                head.next_input
            )))),
            _ => Ok(owned.ready()),
        }
    }

    fn is_closed(&self, partition: u32) -> bool {
        self.shared.intake(partition).is_none_or(Intake::is_closed)
    }
}

/// An owned partition of the embedded log.
pub struct Owned {
    shared: Arc<Shared>,
    partition: u32,
    generation: u64,
    next_offset: u64,
    packer: Packer,
}

impl Owned {
    /// Commands that an earlier owner polled and did not commit are polled again.
    fn ready(self) -> Owned {
        self.give_back();
        self
    }

    fn give_back(&self) {
        self.shared.intake(self.partition).into_iter().for_each(|intake| intake.take_back(self.generation));
    }
}

impl OwnedPartition for Owned {
    fn poll(&mut self, batch: &mut Vec<StoredCommand>, wait: Duration) -> Result<Polled, LogError> {
        let intake = self.shared.intake(self.partition).ok_or_else(|| self.shared.no_partition(self.partition))?;
        if self.shared.looked.is_due()
            && let Err(error) = self.shared.file.is_in_place()
        {
            self.shared.committer.fail(error);
        }
        // A file that failed during another partition's turn has failed for all partitions.
        self.shared.committer.failure().map_or(Ok(()), Err)?;
        intake.poll(self.generation, &mut self.next_offset, batch, wait)
    }

    fn commit(&mut self, turn: Arc<Turn>) -> CommitOutcome {
        self.shared.commit((self.partition, self.generation), &mut self.packer, &turn)
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        self.give_back();
    }
}
