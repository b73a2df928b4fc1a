//! The log on Apache Kafka.

pub mod admin;
pub mod framing;
pub mod manifest;
pub mod plan;
pub mod preflight;
pub mod registry;
mod remembered;
pub mod settings;
pub mod topics;

pub use settings::{Cluster, Topics};
