//! Answers to health probes of any protocol: whether the process is alive, whether it serves calls, and whether its
//! start is over.

use super::Service;
use std::collections::BTreeMap;

pub use crate::gateway::readiness::Outage;
pub use crate::gateway::{Restored, Startup};

/// The health of the whole process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HealthStatus {
    /// Commands are decided on every partition.
    Ok,
    /// Some partitions do not decide commands as they should; the others do.
    Degraded,
    /// No partition decides commands, or the process is starting or shutting down.
    Unavailable,
}

/// The answer to a probe.
#[derive(Clone, Debug)]
pub struct Health {
    /// The status of the process, from the point of view of the probe.
    pub status: HealthStatus,
    /// Whether the process is shutting down.
    pub is_closing: bool,
    /// Every partition that has a problem, by its number.
    pub outages: BTreeMap<u32, Outage>,
    /// The progress of the start. `None` when the start is over, or when the probe does not report it.
    pub startup: Option<Startup>,
}

impl Service {
    /// Whether a restart could help: only when every partition has stopped for good.
    pub fn live(&self) -> Health {
        if !self.replica().has_stopped() {
            return Health { status: HealthStatus::Ok, is_closing: false, outages: BTreeMap::new(), startup: None };
        }
        let outages = self.gateway.outages();
        Health { status: HealthStatus::Unavailable, is_closing: false, outages, startup: None }
    }

    /// Whether callers should send calls here. A partition that decides nothing does not stop the others from being
    /// served. A start is over when every partition has its state, and has shown an owner.
    pub fn ready(&self) -> Health {
        let (is_closing, outages) = (self.is_leaving(), self.gateway.outages());
        let is_starting = self.is_restoring() || outages.values().any(|outage| outage.is_of_start);
        let is_served = !is_closing && !is_starting && self.gateway.decides(&outages);
        let status = match (is_served, outages.is_empty()) {
            (false, _) => HealthStatus::Unavailable,
            (true, true) => HealthStatus::Ok,
            (true, false) => HealthStatus::Degraded,
        };
        Health { status, is_closing, outages, startup: None }
    }

    /// Whether the state of every partition has been rebuilt once. Partitions that cannot be read now do not count.
    pub fn started(&self) -> Health {
        let (is_closing, outages) = (self.is_leaving(), self.gateway.outages());
        if !self.is_restoring() {
            return Health { status: HealthStatus::Ok, is_closing, outages, startup: None };
        }
        Health { status: HealthStatus::Unavailable, is_closing, outages, startup: self.gateway.startup() }
    }

    fn is_restoring(&self) -> bool {
        !self.replica().partitions().all(|handle| handle.is_as_warm_as_can_be())
    }
}
