//! The client library: its settings, what its errors mean, where its log lines go, and two small clients that other rooms
//! use: a reader of one partition, and a writer that returns when its records are durable.

pub(super) mod callbacks;
pub(super) mod classify;
pub(super) mod durable;
pub(super) mod reader;
pub(super) mod reader_pool;
pub mod settings;
