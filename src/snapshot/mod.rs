//! Snapshots: copies of a partition's checkpoint in an object store, away from the machine. A snapshot is two objects
//! beside each other: the rows of the checkpoint, and a manifest that says what they are. The manifest is written last, so
//! a snapshot without one is not there. The name of both has the position of the state and the hash of the rows: two
//! processes that write the same rows write the same objects.
//!
//! Nothing here decides anything (L10), and nothing here is waited for by an owner: [`Writer`] copies what the checkpoints
//! have, on a thread of its own. A store that is slow, gone or full costs snapshots and nothing else.

mod manifest;
mod name;
mod object;
mod reader;
mod thinning;
mod writer;

pub use reader::Reader;
pub use writer::Writer;

use crate::domain::Micros;
use name::Name;
use thinning::Found;

/// Receives what the writer of snapshots does, for metrics and log lines.
pub trait Heard: Send + Sync {
    /// This process has become the one that writes snapshots of the partition, at this time of its wall clock.
    fn began(&self, partition: u32, wall: Micros);
    /// It does not write them any more.
    fn left(&self, partition: u32);
    /// The store has a snapshot of the partition at this time of its last event, and none that is newer.
    fn newest(&self, partition: u32, at: Micros);
    /// So many events are in the state and not in the newest snapshot.
    fn missing(&self, partition: u32, events: u64);
    /// A snapshot of so many bytes was written.
    fn written(&self, partition: u32, next_seq: u64, bytes: u64);
    /// So many snapshots in the store have more events than the log, which is another number than before, and 0 when it began. They
    /// are left alone.
    fn ahead(&self, partition: u32, snapshots: usize, events: u64);
    /// A snapshot could not be written, read or removed. It is tried again.
    fn failed(&self, partition: u32, why: &str);
}

/// The folder of a partition's snapshots.
fn folder(log_id: u128, partition: u32) -> String {
    format!("{log_id:032x}/p{partition}")
}
