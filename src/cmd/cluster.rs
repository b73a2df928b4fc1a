//! What the log on a cluster is told of the configuration.

use super::Failure;
use crate::config::{Config, Kafka};
use crate::log::kafka::registry::Registry;
use crate::log::kafka::topics::Asked;
use crate::log::kafka::{Cluster, Topics};
use std::time::Duration;

/// The cluster's settings, for commands that are about nothing else.
pub(super) fn settings(config: &Config) -> Result<&Kafka, Failure> {
    let missing = "no cluster is configured: give --kafka-brokers, or kafka_brokers in the file";
    config.kafka.as_ref().ok_or_else(|| Failure::Unusable(missing.to_owned()))
}

/// What is asked of the topics.
pub(super) fn asked(config: &Config, kafka: &Kafka) -> Asked {
    let Kafka { replication, min_in_sync, .. } = *kafka;
    Asked { partitions: config.partitions, replication, min_in_sync }
}

/// The cluster and Headroom's place on it.
pub(super) fn of(kafka: &Kafka) -> Cluster {
    let names = kafka.topics.clone();
    let security = kafka.security.iter().map(|(name, value)| ((*name).to_owned(), value.expose().to_owned()));
    Cluster {
        brokers: kafka.brokers.clone(),
        security: security.collect(),
        application: kafka.application.clone(),
        environment: kafka.environment.clone(),
        topics: Topics {
            commands: names.commands,
            events: names.events,
            replies: names.replies,
            snapshots: names.snapshots,
            dead_letters: names.dead_letters,
            manifest: names.manifest,
        },
    }
}

/// The schema registry, if one is configured.
pub(super) fn registry(kafka: &Kafka) -> Option<Registry> {
    let registry = kafka.registry.as_ref()?;
    let user = registry.user.as_ref().map(|(name, password)| (name.clone(), password.expose().to_owned()));
    Some(Registry { url: registry.url.clone(), timeout: Duration::from_millis(registry.timeout_ms), user })
}
