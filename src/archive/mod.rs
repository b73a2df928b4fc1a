//! The embedded log is bounded: what is older than an age leaves this disk as whole segments, the oldest first, once
//! snapshots cover it. Where a place is set, a segment goes there before: as an object with its bytes, and a manifest that says
//! what they are. The manifest is written last, so a segment without one is not there. Both names have the number of the
//! segment, which is never written again, so a repeated upload writes the same objects. So does one of a restored log, because
//! the slots of a segment, which are not in a backup, are zero in its object. Another object under such a name is never replaced.
//!
//! Nothing here is waited for by an owner: [`Keeper`] works on a thread of its own. A place that is slow, gone, full or lying
//! keeps segments on the disk, and nothing else.

mod keeper;
mod manifest;
mod shelf;

pub use keeper::Keeper;
pub use shelf::Shelf;

/// Receives what becomes of the oldest segments, for metrics and log lines.
pub trait Heard: Send + Sync {
    /// The log has the events of the partition from this one on.
    fn begins(&self, partition: u32, seq: u64);
    /// For so many milliseconds the oldest segment has been older than the log is kept; 0 when it is not.
    fn overdue(&self, ms: u64);
    /// A segment has left the log.
    fn left(&self, segment: u64, is_archived: bool);
    /// A segment stays, because fewer than two snapshots of the partition cover it.
    fn uncovered(&self, segment: u64, partition: u32);
    /// The oldest segment could not leave the log, or no segment could, because the archive takes none. It is tried again.
    fn failed(&self, why: &str);
}
