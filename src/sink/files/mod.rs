//! Files for a lake: Avro or Parquet files of flat rows in a folder or a bucket, by the day on which the events were decided.
//!
//! ```text
//! events/day=2020-11-21/p00003-00000000000000000420-00000000000000000611.avro   partition, first and last seq
//! positions/p00003.json                                                         how far the partition is complete
//! positions/writer-0-00112233445566778899aabbccddeeff                           a living writer
//! log.json                                                                      which log the files are of
//! set_aside/p00003-00000000000000000500.json                                    an event that cannot be read
//! ```
//!
//! A store has no transaction over several objects, and readers take whatever files there are. So no event may ever be in two
//! files, whoever died and whoever was slow. Three rules give that:
//!
//! 1. **A batch is announced before it is written.** The position says first where the batch ends (`begun_until`, with the
//!    digest of its last event and its rows), then the files are written, then the position moves to that end. Whoever finds an
//!    announced batch writes exactly that one again, and stops when it has other rows. The log does not change, so it is the
//!    same rows under the same names, and byte for byte the same files. Without the announcement the next writer would cut
//!    elsewhere, because the log has grown, and the file of the one that died would hold rows that are in another file as well.
//! 2. **Only who saw the newest position changes it.** In a bucket the position is replaced on condition that it is still the
//!    one that was read (`If-Match`); a store that ignores the condition is refused. A folder has no such condition: there a
//!    lock on a file beside the position keeps others away, and the writer looks whether both are still those that it had. So
//!    a writer that was overtaken can announce nothing, and a file that it still had under way is one that was announced: it
//!    replaces itself.
//! 3. **Readers count what lies before the position.** A file whose last seq is below `next_seq` of its partition is
//!    complete, and so are all others of its batch.
//!
//! Who writes a partition is only a matter of who works: the position holds the id of its writer. In a folder the lock tells
//! whether that process lives. In a bucket nothing does, and another process takes the partition when its position has not
//! changed for longer than a living writer needs. If that was too early, the other one notices it and has done no harm. But it
//! must not be too early each time, or two processes on a slow store would take each batch from each other for ever. So the files
//! of a batch have a bounded time. A batch that was announced cannot become smaller; it gets twice as long each time that it is
//! tried, and others wait for as much longer.
//!
//! Writers share the partitions: each counts the living ones, claims no more than its share, and gives back what it has beyond
//! (`writers.rs`).

#[cfg(feature = "parquet")]
mod columnar;
mod index;
mod write;
mod writers;

pub use write::{FILES_LIMIT, Files};
