//! What a data directory keeps in addition to a log. Checkpoints are copies of a partition's state that make a restart
//! short. They never decide anything (L10): a checkpoint with any fault is deleted and rebuilt from the log. One that cannot be
//! opened, because a disk is full or belongs to another user, may have none: it stays until another one takes its place. The
//! witness notes how far the log was seen as committed. A log that holds less than the checkpoints and the witness have
//! seen has lost events. An operator has to look into that, and until then nothing is deleted here.

pub mod sled;
pub mod witness;

use crate::domain::{ChainedEvent, Digest, Micros};
use std::fmt;

/// The state that a checkpoint holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mark {
    /// The log that the state belongs to.
    pub log_id: u128,
    /// The partition that the state belongs to.
    pub partition: u32,
    /// The version of the layout of rows, see [`crate::wire::snapshot::FORMAT_VERSION`].
    pub format_version: u32,
    /// The sequence number after the last event folded in.
    pub next_seq: u64,
    /// The input offset after the last one decided.
    pub next_input: u64,
    /// The last event's digest.
    pub chain: Digest,
    /// The last event's epoch.
    pub epoch: u32,
    /// The last event's time.
    pub decided_at: Micros,
}

/// How far a partition of a log was seen as committed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seen {
    /// The id of the log that was seen.
    pub log_id: u128,
    /// The sequence number after the last event seen.
    pub next_seq: u64,
    /// The last event's digest.
    pub chain: Digest,
    /// The last event's time.
    pub decided_at: Micros,
}

impl Seen {
    /// What was seen when this is the last event.
    pub fn of(log_id: u128, ChainedEvent { event, digest, .. }: &ChainedEvent) -> Seen {
        Seen { log_id, next_seq: event.seq.saturating_add(1), chain: *digest, decided_at: event.decided_at }
    }
}

impl From<&Mark> for Seen {
    fn from(mark: &Mark) -> Seen {
        let Mark { log_id, next_seq, chain, decided_at, .. } = *mark;
        Seen { log_id, next_seq, chain, decided_at }
    }
}

/// One row: a piece of state, or its absence.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    /// The key of this piece of the state, as `wire::snapshot` encodes it.
    pub key: Vec<u8>,
    /// Its bytes; `None` when it was deleted.
    pub value: Option<Vec<u8>>,
}

/// The rows that changed since the last checkpoint, and the state they make.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Checkpoint {
    /// The state that the rows make.
    pub mark: Mark,
    /// The `next_seq` of the checkpoint that the rows change; `None` when they are the whole state.
    pub base: Option<u64>,
    /// The rows that changed, or all of them where there is no base.
    pub rows: Vec<Row>,
}

/// Why the checkpoints or the witness cannot be read or written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoreError {
    /// What happened, and to which file, as text for a person.
    pub detail: String,
    /// Whether it may pass.
    pub kind: StoreErrorKind,
}

/// Whether an error of a store may pass.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StoreErrorKind {
    /// It may not come again.
    Transient,
    /// The place has answered, and what it gave is not what was written there, or it says that it is gone.
    Damaged,
    /// A later version of this program has written it in a form that this one does not read. It shows no fault of what was
    /// written.
    Newer,
    /// It stays until a person changes something at the place, such as a disk that is not mounted.
    Operator,
    /// The store answers, and refuses this process until a person changes a right, a key or a setting.
    Refused,
}

/// That something has what only a later version reads, in words; none where this one reads it.
pub fn newer(what: &str, found: usize, known: usize) -> Option<String> {
    (found > known).then(|| {
        format!("{what} {found}, and this version reads {known}: take the version that wrote it, or a later one")
    })
}

impl StoreError {
    /// An error that may not come again.
    pub fn new(detail: impl Into<String>) -> StoreError {
        StoreError { detail: detail.into(), kind: StoreErrorKind::Transient }
    }

    /// What a place gave is not what was written there; the detail says what is wrong with it.
    pub fn damaged(detail: impl Into<String>) -> StoreError {
        StoreError { detail: detail.into(), kind: StoreErrorKind::Damaged }
    }

    /// What a later version has written, and this one does not read; the detail says what is newer in it.
    pub fn newer(detail: impl Into<String>) -> StoreError {
        StoreError { detail: detail.into(), kind: StoreErrorKind::Newer }
    }

    /// An error that stays until a person changes something; the detail says what.
    pub fn operator(detail: impl Into<String>) -> StoreError {
        StoreError { detail: detail.into(), kind: StoreErrorKind::Operator }
    }

    /// An error with which a store refuses this process; the detail says what has to change.
    pub fn refused(detail: impl Into<String>) -> StoreError {
        StoreError { detail: detail.into(), kind: StoreErrorKind::Refused }
    }

    /// Whether what the place gave is of no use here: it is damaged, or of a later version.
    pub fn is_of_no_use(&self) -> bool {
        matches!(self.kind, StoreErrorKind::Damaged | StoreErrorKind::Newer)
    }

    /// Whether it stays until a person changes something.
    pub fn needs_operator(&self) -> bool {
        matches!(self.kind, StoreErrorKind::Newer | StoreErrorKind::Operator | StoreErrorKind::Refused)
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for StoreError {}

/// A snapshot, as its name tells.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SnapshotName {
    /// The name itself.
    pub text: String,
    /// The sequence number after the last event in it.
    pub next_seq: u64,
    /// When its last event was decided.
    pub decided_at: Micros,
}

/// Copies of checkpoints that are kept elsewhere. A start that has no checkpoint begins with one of them.
pub trait Snapshots: Send + Sync {
    /// A partition's snapshots of at most `end` events, the newest first, and how many have more.
    ///
    /// # Errors
    /// [`StoreError`] when the place cannot be read.
    fn names(&self, partition: u32, end: u64) -> Result<(Vec<SnapshotName>, usize), StoreError>;

    /// The state that a snapshot holds by its manifest alone, which is little to read.
    ///
    /// # Errors
    /// [`StoreError`] when the manifest cannot be read, or is not that of a snapshot of this name and partition.
    fn mark(&self, partition: u32, name: &str) -> Result<Mark, StoreError>;

    /// Hands every row of a snapshot to `row`, and returns the state that they make, with its digest. The rows lie in `object`,
    /// which is empty before.
    ///
    /// # Errors
    /// [`StoreError`] when any of it is missing, or is not as it was written; then the rows that `row` got must not be
    /// used.
    fn load<'o>(
        &self,
        partition: u32,
        name: &str,
        object: &'o mut Vec<u8>,
        row: &mut dyn FnMut(&'o [u8], &'o [u8]),
    ) -> Result<(Mark, Digest), StoreError>;
}

/// The place where checkpoints and the witness are kept.
pub trait Store: Send + Sync {
    /// Hands every row of the partition's checkpoint to `row`, and returns the state that they make; `None` when there
    /// is no checkpoint.
    ///
    /// # Errors
    /// [`StoreError`] when the checkpoint cannot be read completely; then the rows that `row` got must not be used.
    fn load(&self, partition: u32, row: &mut dyn FnMut(&[u8], &[u8])) -> Result<Option<Mark>, StoreError>;

    /// Applies a checkpoint in one atomic batch: after a crash either all of it is there or none. It has to build on
    /// the existing checkpoint (a full one builds on none): on any other base the changes would make a state that never
    /// existed.
    ///
    /// # Errors
    /// [`StoreError`]; the earlier checkpoint is still complete.
    fn apply(&self, checkpoint: &Checkpoint) -> Result<(), StoreError>;

    /// Puts a whole checkpoint in the place of the partition's checkpoint, whatever that holds and whether or not it can be
    /// read.
    ///
    /// # Errors
    /// [`StoreError`]; a store that can keeps the earlier checkpoint then.
    fn replace(&self, checkpoint: &Checkpoint, why: &str) -> Result<(), StoreError> {
        self.wipe(checkpoint.mark.partition, why)?;
        self.apply(checkpoint)
    }

    /// Removes the partition's checkpoint, keeping a copy aside when that is possible.
    ///
    /// # Errors
    /// [`StoreError`] when it could not be removed; then nothing may be applied to it.
    fn wipe(&self, partition: u32, why: &str) -> Result<(), StoreError>;

    /// How far the checkpoint and the witness have each seen the partition as committed. A checkpoint that cannot be
    /// read is left out.
    ///
    /// # Errors
    /// [`StoreError`] when it is not known any more what was seen.
    fn seen(&self, partition: u32) -> Result<Vec<Seen>, StoreError> {
        let mark = self.load(partition, &mut |_, _| {}).ok().flatten();
        Ok(mark.filter(|mark| mark.partition == partition).iter().map(Seen::from).collect())
    }

    /// Notes how far the partition was seen as committed, before any caller gets the answer. A note survives the end of
    /// this process at once, and the end of the machine after the next flush.
    fn note(&self, _partition: u32, _seen: &Seen) {}
}
