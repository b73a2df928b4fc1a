//! Everything that one process keeps open on a log: one set for all of its threads.

use super::client::settings::Cluster;
use super::data::commands::CommandsTopic;
use super::data::context::LogContext;
use super::data::dead_letters::DeadLettersTopic;
use super::data::events::EventReader;
use super::owner::standby::StandbyClients;
use super::schema::framing::Framing;
use crate::log::{FeatureLevel, LogError, Manifest};
use std::sync::Arc;

/// What [`super::Kafka`] and the parts that it hands out share.
pub(in crate::log::kafka) struct Inner {
    pub(in crate::log::kafka) context: Arc<LogContext>,
    pub(in crate::log::kafka) events: EventReader,
    pub(in crate::log::kafka) commands: CommandsTopic,
    pub(in crate::log::kafka) dead_letters: Arc<DeadLettersTopic>,
    pub(in crate::log::kafka) standby: StandbyClients,
    /// Draws a number that no other claim has.
    pub(in crate::log::kafka) draw: Box<dyn Fn() -> u128 + Send + Sync>,
}

impl Inner {
    /// # Errors
    /// [`LogError`] when no client can be made of the settings.
    pub(in crate::log::kafka) fn new(
        level: FeatureLevel,
        cluster: Cluster,
        manifest: Manifest,
        framing: Framing,
        draw: Box<dyn Fn() -> u128 + Send + Sync>,
    ) -> Result<Inner, LogError> {
        let context = Arc::new(LogContext::new(level, cluster, manifest, framing)?);
        let cluster = Arc::clone(&context.cluster);
        Ok(Inner {
            events: EventReader::new(Arc::clone(&context)),
            commands: CommandsTopic::new(Arc::clone(&context)),
            dead_letters: Arc::new(DeadLettersTopic::new(Arc::clone(&context))),
            standby: StandbyClients::new(cluster, manifest.log_id, manifest.partitions)?,
            draw,
            context,
        })
    }
}
