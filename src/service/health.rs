//! Whether the process lives, serves, and has started: what probes of any protocol ask.

use super::Service;
use std::collections::BTreeMap;

pub use crate::gateway::readiness::Outage;
pub use crate::gateway::{Restored, Startup};

/// How the process as a whole is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HealthStatus {
    /// Every partition is decided.
    Ok,
    /// Some partitions are not decided as they should be; the others are.
    Degraded,
    /// No partition is decided, or the process starts or ends.
    Unavailable,
}

/// The answer to a probe.
#[derive(Clone, Debug)]
pub struct Health {
    /// The status of the process, from the point of view of the probe.
    pub status: HealthStatus,
    /// Whether the process is shutting down.
    pub is_closing: bool,
    /// Every partition that is not as it should be, by its number.
    pub outages: BTreeMap<u32, Outage>,
    /// How far the start is; `None` once it is over, and where the probe does not ask for it.
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

    /// Whether calls are to be sent here. A partition that is not decided keeps no other from being served.
    pub fn ready(&self) -> Health {
        let (is_closing, outages) = (self.is_leaving(), self.gateway.outages());
        let is_served = !is_closing && !self.is_restoring() && self.gateway.decides(&outages);
        let status = match (is_served, outages.is_empty()) {
            (false, _) => HealthStatus::Unavailable,
            (true, true) => HealthStatus::Ok,
            (true, false) => HealthStatus::Degraded,
        };
        Health { status, is_closing, outages, startup: None }
    }

    /// Whether the state of every partition has been rebuilt once, but for partitions that cannot be read now.
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
