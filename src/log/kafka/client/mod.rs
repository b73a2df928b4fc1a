//! How a client of the cluster is made, what its errors mean, and the two shapes that others are built on: a reader of one
//! partition and a producer that waits.

pub(super) mod callbacks;
pub(super) mod classify;
pub(super) mod durable;
pub(super) mod reader;
pub(super) mod reader_pool;
pub mod settings;
