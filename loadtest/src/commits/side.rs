//! The logs that are compared, and reading back what was committed into them.

use super::PARTITIONS;
use super::former::Former;
use super::grouped::Grouped;
use super::tree::Tree;
use headroom::domain::Micros;
use headroom::log::embedded::{Embedded, LogPrefix, Options, Owned};
use headroom::log::{CommitOutcome, CommittedTail, OwnedPartition, PartitionLog, Turn};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes that are read at once.
const READ_BYTES: usize = 1 << 20;

/// One of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// The embedded log as it is.
    Segments,
    /// As it was: a redb file.
    Redb,
    /// An LSM tree with a journal: fjall.
    Fjall,
}

/// All; the first is compared with each of the others.
pub const SIDES: [Side; 3] = [Side::Segments, Side::Redb, Side::Fjall];

impl Side {
    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Side::Segments => "segments",
            Side::Redb => "redb",
            Side::Fjall => "fjall",
        }
    }
}

/// A log, with an owner for each partition.
pub enum Log {
    /// The directory of an embedded log, and its owners.
    Segments(PathBuf, Vec<Owned>),
    /// A store, which owners share.
    Store(Grouped),
}

/// Commits the turns of one partition.
pub enum Owner<'a> {
    /// An owner of the embedded log.
    Segments(&'a mut Owned),
    /// The partition, and the store that all share.
    Store(u32, &'a Grouped),
}

impl Log {
    /// Makes an empty log in this directory.
    ///
    /// # Errors
    /// Why there is none.
    pub fn create(side: Side, dir: &Path) -> Result<Log, String> {
        match side {
            Side::Segments => {}
            Side::Redb => return Former::create(dir, PARTITIONS, 7).map(Grouped::new).map(Log::Store),
            Side::Fjall => return Tree::open(dir).map(Grouped::new).map(Log::Store),
        }
        let log = open(dir)?;
        // A new log has no events that would be folded.
        let mut unread = |_| Ok(0);
        let owned = (0..PARTITIONS).map(|partition| log.claim(partition, 0, &mut unread));
        let owned = owned.collect::<Result<_, _>>().map_err(|error| format!("{error:?}"))?;
        Ok(Log::Segments(dir.to_owned(), owned))
    }

    /// An owner for each partition.
    pub fn owners(&mut self) -> Vec<Owner<'_>> {
        match self {
            Log::Segments(_, owned) => owned.iter_mut().map(Owner::Segments).collect(),
            Log::Store(store) => (0..PARTITIONS).map(|partition| Owner::Store(partition, store)).collect(),
        }
    }

    /// Bytes of the disk up to the end of the log, without what is allocated behind it.
    ///
    /// # Errors
    /// Why the log cannot be looked at.
    pub fn bytes(&self) -> Result<u64, String> {
        match self {
            Log::Segments(dir, _) => {
                let segments = LogPrefix::open(dir).and_then(|prefix| prefix.segments());
                Ok(segments.map_err(|error| error.to_string())?.iter().map(|segment| segment.end).sum())
            }
            Log::Store(store) => store.base.bytes(),
        }
    }
}

impl Owner<'_> {
    /// Commits the next turn.
    ///
    /// # Errors
    /// When it is not known to be durable.
    pub fn commit(&mut self, turn: &Arc<Turn>) -> Result<(), String> {
        match self {
            Owner::Segments(owned) => match owned.commit(Arc::clone(turn)) {
                CommitOutcome::Ok => Ok(()),
                outcome => Err(format!("the commit of a turn ended as {outcome:?}")),
            },
            Owner::Store(partition, store) => store.commit(*partition, turn),
        }
    }
}

/// Opens the log in this directory. A redb file is carried over before.
fn open(dir: &Path) -> Result<Arc<Embedded>, String> {
    let options = Options { partitions: Some(PARTITIONS), log_id: 7, now: Micros(1) };
    Embedded::open(dir, options).map_err(|error| error.to_string())
}

/// Opens the log anew and compares it with the turns of each partition, which are all that it should hold. Answers the number of
/// events, each of which was read with the command that it decides.
///
/// # Errors
/// What is not there as it was committed.
pub fn read_back(side: Side, dir: &Path, turns: &[Vec<Arc<Turn>>]) -> Result<u64, String> {
    if side == Side::Fjall {
        return Tree::open(dir)?.read_back(turns);
    }
    let (log, mut count) = (open(dir)?, 0);
    for (partition, turns) in (0..).zip(turns) {
        let mut events = turns.iter().flat_map(|turn| &turn.events);
        let mut from = 0;
        while from < log.end(partition).map_err(|error| error.to_string())? {
            for found in log.read(partition, from, READ_BYTES).map_err(|error| error.to_string())? {
                if events.next().is_none_or(|event| (event.seq, &event.bytes) != (found.seq, &found.bytes)) {
                    return Err(format!("event {} of partition {partition} is not what was committed", found.seq));
                }
                (from, count) = (found.seq + 1, count + 1);
            }
        }
        let mut inputs = turns.iter().flat_map(|turn| &turn.inputs).peekable();
        while let Some(next) = inputs.peek() {
            let found = log.commands(partition, next.offset, READ_BYTES).map_err(|error| error.to_string())?;
            if found.is_empty() {
                return Err(format!("command {} of partition {partition} is missing", next.offset));
            }
            for found in found {
                if inputs.next().is_none_or(|input| (input.offset, &input.bytes) != (found.offset, &found.bytes)) {
                    return Err(format!("command {} of partition {partition} is not what was committed", found.offset));
                }
            }
        }
        if let Some(event) = events.next() {
            return Err(format!("event {} of partition {partition} is missing", event.seq));
        }
    }
    Ok(count)
}
