//! The tables in PostgreSQL, 15 or newer. The rows of a batch are copied into the table of events, and the tables of
//! reservations, pools and their lives follow from them, in the transaction that moves the position of the partition. So no
//! row can come twice, and the primary key of events would show it. A lock of the session says which process writes a
//! partition; it is a hint, like the assignment of a group. The position says it for good: a writer that was overtaken moves
//! nothing.

mod apply;
mod beside;
mod connection;
mod copied;
mod dialect;
mod fresh;
mod loosened;
mod lost_demand;
mod plan;
mod rebuild;
mod rights;
mod sql;
mod tables;
mod views;
mod write;

pub use connection::{ANSWER_LIMIT, Access, CONNECT_LIMIT, Database, Ending};
pub(in crate::sink) use connection::{LAST_LIMIT, Said, last_moment};
pub use dialect::Dialect;
pub use lost_demand::{LostDemand, Period};
pub use plan::{Difference, Fix};
pub(in crate::sink) use sql::{UNITS, hold_positions, merges};
pub use sql::{VIEWS, View};
pub use tables::{Table, tables};
pub(in crate::sink) use write::place;
pub use write::{Postgres, Sessions};
