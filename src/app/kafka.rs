//! The log on Kafka: what is checked and opened before the process starts on it.

pub(super) mod settings;

use super::cluster::{self, Opened};
use super::witness::{Flushing, told};
use super::{Hold, LogRuntime, StartError};
use crate::config::{self, Config};
use crate::log::kafka::Kafka;
use crate::log::kafka::ops::preflight::{keep_topics, preflight};
use crate::log::{ClusterLog, Opening, PartitionLog, known_level};
use crate::owner::losses::{Loss, What};
use crate::store::Store;
use crate::store::sled::SledStore;
use crate::telemetry::{Metrics, Pace};
use crate::time::Clock;
use crate::trace::Tracing;
use settings::checked;
use std::sync::Arc;

pub(super) fn start(
    config: &Config,
    kafka: &config::Kafka,
    clock: Arc<dyn Clock>,
    (metrics, tracing): (Arc<Metrics>, Arc<Tracing>),
    opening: &Opening,
) -> Result<LogRuntime, StartError> {
    let io = |error| StartError::Io(config.data_dir.clone(), error);
    std::fs::create_dir_all(&config.data_dir).map_err(io)?;
    let hold = Hold::take(&config.data_dir).map_err(io)?.ok_or_else(|| StartError::InUse(config.data_dir.clone()))?;
    let (log, cluster_id) = checked(config, kafka, preflight)?;
    opening.goes_on().map_err(|_| StartError::GivenUp)?;
    let partitions = log.manifest().partitions;
    tracing::info!(cluster_id, partitions, "the cluster passed every check");
    let (level, known) = (log.level().of_log(), known_level());
    if level < known {
        tracing::warn!(
            level,
            known,
            "headroom topics finalize raises the log's feature level, when all processes know it"
        );
    }
    let (store, flushing) = keep(config, kafka, &log)?;
    metrics.snapshots().keeps_events(kafka.events_keep.map(|keep| keep.ms));
    let paces = log.paces();
    metrics.watch_turns(partitions, move |partition| {
        let pace = paces.of(partition);
        let crate::log::kafka::Pace { waited, slow_commits, pause_us, held_back, letter_failures, .. } = pace;
        Pace { waited, slow_commits, pause_us, held_back, letter_failures }
    });
    let opened = Opened { log: Arc::new(log), store, flushing, hold };
    cluster::start(config, kafka.roles, opened, clock, (metrics, tracing))
}

/// Opens what the data directory keeps in addition to the log. A log with another id than the one seen before is
/// refused. A partition that has lost events stops by itself later.
fn keep(config: &Config, kafka: &config::Kafka, log: &Kafka) -> Result<(Arc<SledStore>, Flushing), StartError> {
    let (store, found) = (Arc::new(SledStore::open(&config.data_dir)), log.manifest().log_id);
    for partition in store.kept().map_err(|error| StartError::Witness(error.detail))? {
        // If the witness of a partition cannot be read, that partition stops when it is restored.
        let seen = store.seen(partition).unwrap_or_default();
        if let Some(other) = seen.iter().find(|seen| seen.log_id != found) {
            let loss = Loss { partition, what: What::OtherLog { seen: other.log_id, found } };
            let topics = &kafka.topics;
            return Err(StartError::OtherLog(format!("{} (in {})", told(&[loss], found), topics.events)));
        }
    }
    let flushing = Flushing::start(&store, (found, log.manifest().partitions), || ())?;
    let dir = &config.data_dir;
    keep_topics(dir, &log.cluster().topics).map_err(|error| StartError::Io(dir.clone(), error))?;
    Ok((store, flushing))
}
