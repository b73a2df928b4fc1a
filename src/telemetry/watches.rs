//! The metric of watches of pools.

use super::register::{Register, as_gauge, gauge};
use crate::service::Service;
use parking_lot::RwLock;
use prometheus::IntGauge;
use std::sync::{Arc, Weak};

pub(super) struct WatchMetrics {
    service: RwLock<Weak<Service>>,
    open: IntGauge,
}

impl WatchMetrics {
    pub(super) fn new(r: &Register) -> WatchMetrics {
        let open = gauge(r, "headroom_pool_watches", "Watches of pools that are open.");
        WatchMetrics { service: RwLock::default(), open }
    }

    pub(super) fn watch(&self, service: &Arc<Service>) {
        *self.service.write() = Arc::downgrade(service);
    }

    pub(super) fn refresh(&self) {
        let service = self.service.read().upgrade();
        self.open.set(service.map_or(0, |service| as_gauge(service.watches())));
    }
}
