//! The log on Apache Kafka.

pub mod settings;

pub use settings::{Cluster, Topics};
