//! The committed events as rows for analysts, outside of the log: each event once, in the order of its partition. A target
//! takes rows and the position after them together or not at all, so that a crash at any point repeats nothing and loses
//! nothing. Several processes may write into the same tables: each partition has one writer at a time.

mod batch;
mod carried;
mod column;
mod container;
pub mod files;
mod origin;
mod paced;
mod patience;
pub mod postgres;
pub mod redshift;
mod share;
mod target;
mod worker;

pub use batch::{Batch, Place, Rare, decided_at};
pub use carried::{Carried, Failure};
use column::is_of_first_tables;
pub use column::{COLUMNS, Column, ColumnKind, Row};
pub use origin::other_log;
pub use paced::Speed;
pub use share::{Rank, Writer};
pub use target::{Others, Progress, Target, TargetError};
pub use worker::{First, Looked, Pace, Report, Rules, Seen, Worker};
