//! Runs the canary of every partition in a process that takes calls.

use super::looks;
use crate::config::Config;
use crate::gateway::Gateway;
use crate::service::Service;
use crate::service::canary::Canary;
use crate::telemetry::Metrics;
use crate::threads;
use crate::trace::Tracing;
use std::sync::Arc;
use tokio::task::JoinHandle;

/// The canaries of a process, one for each partition, before they are started.
pub(super) struct Canaries {
    /// Between two rounds, in milliseconds; `None` when there are no canaries.
    interval_ms: Option<u64>,
    tracing: Arc<Tracing>,
}

impl Canaries {
    /// As the settings ask for them.
    pub(super) fn new(config: &Config, tracing: &Arc<Tracing>) -> Canaries {
        let takes_calls = config.kafka.as_ref().is_none_or(|kafka| kafka.roles.gateway);
        Canaries { interval_ms: config.canary_interval_ms.filter(|_| takes_calls), tracing: Arc::clone(tracing) }
    }

    /// Starts them. Each ends by itself when the process is about to take no more calls.
    pub(super) fn start(
        self,
        gateway: &Arc<Gateway>,
        service: &Arc<Service>,
        metrics: &Arc<Metrics>,
    ) -> Vec<JoinHandle<()>> {
        let Some(interval_ms) = self.interval_ms else { return Vec::new() };
        let start = |partition| {
            let Some(canary) = Canary::new(Arc::clone(service), Arc::clone(&self.tracing), partition) else {
                tracing::error!(partition, "the canary has no pool on this partition: this is a bug");
                return None;
            };
            Some(tokio::spawn(keep((partition, canary), interval_ms, Arc::clone(gateway), Arc::clone(metrics))))
        };
        (0..service.partition_count()).filter_map(start).collect()
    }
}

async fn keep((partition, canary): (u32, Canary), interval_ms: u64, gateway: Arc<Gateway>, metrics: Arc<Metrics>) {
    let _watched = threads::watch("canary");
    let now_s = || gateway.clock().wall().0 / 1_000_000;
    metrics.canary().begins(partition, now_s());
    let mut ticks = looks::every(interval_ms);
    loop {
        ticks.tick().await;
        let ended = canary.round().await;
        if gateway.is_leaving() {
            return;
        }
        match ended {
            Ok(took_us) => metrics.canary().passed(partition, now_s(), took_us),
            Err(refusal) => {
                let reason = refusal.shed().map_or(refusal.code().meaning().name, |shed| shed.code());
                metrics.canary().failed(partition, reason);
            }
        }
    }
}
