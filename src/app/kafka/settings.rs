//! Turns the settings of a configuration into the parameters of the log on Kafka.

use crate::app::{StartError, draw_wide};
use crate::config::{Config, EventsKeep, Kafka};
use crate::log::kafka::ops::preflight::{self, PreflightErrors, Ready, Start};
use crate::log::kafka::ops::topics::TopicRequirements;
use crate::log::kafka::schema::registry::Registry;
use crate::log::kafka::{Cluster, Topics};
use crate::log::{self, FeatureLevel};
use std::time::Duration;

/// The requirements for the topics.
pub fn asked(config: &Config, kafka: &Kafka) -> TopicRequirements {
    let Kafka { replication, min_in_sync, events_keep, .. } = *kafka;
    let events_keep = events_keep.map(|EventsKeep { ms, min_ms }| log::kafka::ops::topics::EventsKeep { ms, min_ms });
    TopicRequirements { partitions: config.partitions, replication, min_in_sync, events_keep }
}

/// The cluster, and the names of Headroom's topics and clients on it.
pub fn cluster(kafka: &Kafka) -> Cluster {
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
            dead_letters: names.dead_letters,
            manifest: names.manifest,
        },
        alternates: kafka.alternating_producers,
    }
}

/// The log on a cluster, for commands that only read: nothing is written, and no server has to run.
///
/// # Errors
/// [`StartError::PreflightErrors`] with all reasons why the log cannot be read, or [`StartError::Cluster`].
pub fn look(config: &Config, kafka: &Kafka) -> Result<log::kafka::Kafka, StartError> {
    checked(config, kafka, preflight::look).map(|(log, _)| log)
}

/// The same for commands that write an event: they need the registry's ids, as a server does.
///
/// # Errors
/// As [`look`].
pub fn look_to_write(config: &Config, kafka: &Kafka) -> Result<log::kafka::Kafka, StartError> {
    checked(config, kafka, preflight::look_to_write).map(|(log, _)| log)
}

/// The log on a cluster after these checks, and the cluster's id.
pub(in crate::app) fn checked(
    config: &Config,
    kafka: &Kafka,
    check: impl FnOnce(&Start<'_>) -> Result<Ready, PreflightErrors>,
) -> Result<(log::kafka::Kafka, String), StartError> {
    let (cluster, registry) = (cluster(kafka), registry(kafka));
    let start = Start {
        cluster: &cluster,
        asked: asked(config, kafka),
        cluster_id: kafka.cluster_id.as_deref(),
        registry: registry.as_ref(),
        data_dir: &config.data_dir,
    };
    let Ready { manifest, level, cluster_id, framing } = check(&start).map_err(StartError::PreflightErrors)?;
    let level = FeatureLevel::at(level);
    Ok((log::kafka::Kafka::open_at(level, cluster, manifest, framing, draw_wide)?, cluster_id))
}

/// The schema registry, if one is configured.
pub fn registry(kafka: &Kafka) -> Option<Registry> {
    let registry = kafka.registry.as_ref()?;
    let user = registry.user.as_ref().map(|(name, password)| (name.clone(), password.expose().to_owned()));
    Some(Registry { url: registry.url.clone(), timeout: Duration::from_millis(registry.timeout_ms), user })
}
