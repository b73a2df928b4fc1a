//! Metrics of the API.

use super::metrics::{Metrics, NAMELESS, OTHERS};
use super::recent;
use super::register::as_seconds;
use crate::api::http::{self, Finished, Process};
use crate::api::operation::Operation;
use crate::gateway::admission::Shed;
use crate::service::Code;
use crate::threads;

/// Most callers that have a label of their own. Their names may be those of any user of an issuer.
const PRINCIPALS_SHOWN_MAX: usize = 64;

impl http::Metrics for Metrics {
    fn request_finished(&self, finished: &Finished<'_>) {
        self.access.finished(finished);
        let Finished { route, method, status, code, took_us, answer_us, .. } = *finished;
        let status = status.to_string();
        self.http.requests.with_label_values(&[method, route, &status, code]).inc();
        self.http.seconds.with_label_values(&[method, route, &status]).observe(as_seconds(took_us));
        if let Some(us) = answer_us {
            self.stages.answered(us);
        }
        self.count_over_quota(finished);
    }

    fn shed(&self, shed: Shed) {
        self.http.shed.with_label_values(&[shed.code()]).inc();
    }

    fn connected(&self) {
        self.http.connections.inc();
    }

    fn disconnected(&self) {
        self.http.connections.dec();
    }

    fn render(&self) -> String {
        self.text()
    }

    fn process(&self) -> Process {
        Process { threads: threads::running(), log_lines: recent::lines() }
    }
}

impl Metrics {
    fn count_over_quota(&self, finished: &Finished<'_>) {
        if finished.code != Code::OverQuota.meaning().name {
            return;
        }
        let Some(charge) = finished.operation.and_then(Operation::charge) else { return };
        let counters = &self.http.over_quota;
        let count = |label: &str| counters.with_label_values(&[label, charge.name()]).inc();
        let Some(name) = finished.principal else { return count(NAMELESS) };
        let mut shown = self.http.shown.lock();
        if shown.len() < PRINCIPALS_SHOWN_MAX {
            shown.insert(name.clone());
        }
        count(if shown.contains(name) { name.as_str() } else { OTHERS });
    }

    /// Ends the access log. To be called when no other request will come.
    pub fn requests_are_over(&self) {
        self.access.end();
    }
}
