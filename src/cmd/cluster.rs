//! What the log on a cluster is told of the configuration.

use crate::config::Kafka;
use crate::log::kafka::{Cluster, Topics};

/// The cluster and Headroom's place on it.
pub fn of(kafka: &Kafka) -> Cluster {
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
