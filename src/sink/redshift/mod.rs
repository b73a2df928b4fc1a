//! The tables in Amazon Redshift. Tables, views and connections are those of `sink::postgres`, in another dialect; this is how
//! rows get there. Redshift takes many rows at once from a bucket only, so a batch goes three steps:
//!
//! 1. **Its rows become two files in the bucket**, one of events and one of their units, named by partition and first and last
//!    seq. The same batch is the same bytes under the same name, whoever writes it and however often.
//! 2. **`COPY` reads the files into tables of the session**, which nobody else sees. That takes seconds and locks nothing.
//! 3. **One transaction** locks the positions, moves that of the partition, inserts the rows and replaces the reservations and
//!    pools that they changed. Then the files are deleted.
//!
//! Rows count only with the position that moved in the same transaction, so a crash at any point repeats nothing and loses
//! nothing: a file that nobody deleted is never read again, unless the same batch is written again. Nothing is deleted from
//! `events` before rows are inserted. There is nothing to delete while the position is right, and if it were not, the delete
//! would hide it. So the batches after a claim, up to the first one with rows, look whether their events are there: then the
//! position is an older copy, and the partition stops.
//!
//! Redshift enforces no key, and has no lock that ends with a session and none on a row. The lock on the table of positions is
//! taken first of all, so writers come one after the other and do not meet in a serialization failure. The position holds the
//! id of its writer; another process takes the partition when the position has not changed for longer than a living writer
//! needs. If that was too early, the claim tells it to the one that was overtaken, which has done no harm.

mod staged;
mod write;

pub use write::Redshift;
