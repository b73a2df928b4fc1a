//! Metrics of how callers are known: how much is known, and whether it is up to date.

use super::register::{Register, as_gauge, as_seconds, counters, float_gauges, gauges};
use crate::access::{Access, Counts, Source};
use parking_lot::RwLock;
use prometheus::{GaugeVec, IntCounterVec, IntGaugeVec};
use std::sync::{Arc, Weak};

pub(super) struct AccessMetrics {
    access: RwLock<Weak<Access>>,
    known: IntGaugeVec,
    failures: IntCounterVec,
    unreadable: IntGaugeVec,
    age: GaugeVec,
}

impl AccessMetrics {
    pub(super) fn new(r: &Register) -> AccessMetrics {
        AccessMetrics {
            access: RwLock::default(),
            known: gauges(
                r,
                "headroom_access_known",
                "API tokens, keys of the issuer of JWTs, and names in client certificates that are known.",
                &["source"],
            ),
            failures: counters(
                r,
                "headroom_access_reload_failures_total",
                "Times that tokens, keys or certificates could not be read again; what was known stays in force.",
                &["source"],
            ),
            unreadable: gauges(
                r,
                "headroom_access_unreadable",
                "1 while tokens, keys or certificates cannot be read again, and what was known stays in force; 0 while they can.",
                &["source"],
            ),
            age: float_gauges(
                r,
                "headroom_access_age_seconds",
                "Time since the keys of the issuer of JWTs were read.",
                &["source"],
            ),
        }
    }

    pub(super) fn begin(&self) {
        for source in Source::ALL {
            self.failures.with_label_values(&[source.name()]);
        }
    }

    pub(super) fn watch(&self, access: &Arc<Access>) {
        *self.access.write() = Arc::downgrade(access);
    }

    pub(super) fn refresh(&self) {
        let Some(access) = self.access.read().upgrade() else { return };
        let Counts { known, failures, unreadable, keys_age_us } = access.counts();
        for (((source, known), failures), unreadable) in
            Source::ALL.into_iter().zip(known).zip(failures).zip(unreadable)
        {
            let label = [source.name()];
            if let Some(known) = known {
                self.known.with_label_values(&label).set(as_gauge(known));
                self.unreadable.with_label_values(&label).set(i64::from(unreadable));
            }
            let counter = self.failures.with_label_values(&label);
            counter.inc_by(failures.saturating_sub(counter.get()));
        }
        if let Some(age_us) = keys_age_us {
            self.age.with_label_values(&[Source::Keys.name()]).set(as_seconds(age_us));
        }
    }
}
