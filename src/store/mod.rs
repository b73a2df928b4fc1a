//! What a data directory keeps beside a log. Checkpoints are copies of a partition's state that make a restart short.
//! They never decide anything (L10): one that is odd in any way is wiped and rebuilt from the log. The witness says how
//! far the log was seen as committed. A log that holds less than anything here has seen has lost something: that is for
//! a person to look into, and nothing here is removed before.

pub mod sled;
pub mod witness;

use crate::domain::{ChainedEvent, Digest, Micros};
use std::fmt;

/// Which state a checkpoint holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mark {
    /// The log it is a state of.
    pub log_id: u128,
    /// The partition whose state it is.
    pub partition: u32,
    /// How rows are laid out, see [`crate::wire::snapshot::FORMAT_VERSION`].
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
    /// Up to this event.
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
    /// Which piece of the state it is, as `wire::snapshot` encodes it.
    pub key: Vec<u8>,
    /// Its bytes; `None` when it is gone.
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

/// Why what is kept cannot be had.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoreError {
    /// What happened, and to which file, for a person.
    pub detail: String,
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for StoreError {}

/// Where checkpoints are kept, and the witness.
pub trait Store: Send + Sync {
    /// Hands every row of the partition's checkpoint to `row`, and answers which state they make; `None` when there is
    /// no checkpoint.
    ///
    /// # Errors
    /// [`StoreError`] when the checkpoint cannot be read whole; what `row` was given is then worth nothing.
    fn load(&self, partition: u32, row: &mut dyn FnMut(&[u8], &[u8])) -> Result<Option<Mark>, StoreError>;

    /// Applies a checkpoint in one atomic batch: after a crash either all of it is there or none. It has to build on the
    /// one that is there (and a whole one on none): changes on top of anything else would look like a state that never
    /// was.
    ///
    /// # Errors
    /// [`StoreError`]; the checkpoint before is still whole.
    fn apply(&self, checkpoint: &Checkpoint) -> Result<(), StoreError>;

    /// Removes the partition's checkpoint, keeping a copy aside when that is possible.
    ///
    /// # Errors
    /// [`StoreError`] when it could not be removed; then nothing may be applied to it either.
    fn wipe(&self, partition: u32, why: &str) -> Result<(), StoreError>;

    /// How far everything that is kept here has seen the partition as committed. A checkpoint that cannot be read says
    /// nothing.
    ///
    /// # Errors
    /// [`StoreError`] when nobody can know any more what was seen.
    fn seen(&self, partition: u32) -> Result<Vec<Seen>, StoreError> {
        let mark = self.load(partition, &mut |_, _| {}).ok().flatten();
        Ok(mark.filter(|mark| mark.partition == partition).iter().map(Seen::from).collect())
    }

    /// Notes how far the partition was seen as committed, before anybody is told. What is noted survives the end of this
    /// process at once, and that of the machine soon.
    fn note(&self, _partition: u32, _seen: &Seen) {}
}
