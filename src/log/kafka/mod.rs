//! The log on Apache Kafka.

pub mod admin;
pub mod manifest;
pub mod plan;
pub mod settings;
pub mod topics;

pub use settings::{Cluster, Topics};
