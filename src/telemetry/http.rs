//! Metrics of the API, and log lines for requests that were refused or failed, so that the `trace_id` of an answer can
//! be found in the log. The lines are INFO, because nobody has to wake up for them, and their number in a second is
//! bounded.

use super::metrics::{Metrics, NAMELESS, OTHERS};
use super::register::as_seconds;
use crate::api::http::{self, Finished};
use crate::api::operation::Operation;
use crate::domain::Micros;
use crate::gateway::admission::Shed;
use crate::service::Code;
use std::sync::atomic::Ordering::Relaxed;

/// Most callers that have a label of their own. Their names may be those of any user of an issuer.
const PRINCIPALS_SHOWN_MAX: usize = 64;

impl http::Metrics for Metrics {
    fn request_finished(&self, finished: &Finished<'_>) {
        self.log(finished);
        let Finished { route, method, status, code, took_us, .. } = *finished;
        let status = status.to_string();
        self.http.requests.with_label_values(&[method, route, &status, code]).inc();
        self.http.seconds.with_label_values(&[method, route, &status]).observe(as_seconds(took_us));
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

    fn log(&self, finished: &Finished<'_>) {
        let Finished { route, method, status, code, title, trace_id, at, took_us, .. } = *finished;
        let is_fine = title.is_empty();
        if is_fine && !self.has_left_out.load(Relaxed) {
            return;
        }
        let mut samples = self.samples.lock();
        let left_out = samples.left_out(at);
        let is_logged = !is_fine && samples.admits(code, at);
        self.has_left_out.store(samples.has_left_out(), Relaxed);
        drop(samples);
        tell(left_out);
        if is_logged {
            let took_ms = took_us / 1_000;
            tracing::info!(trace_id, method, route, status, code, took_ms, "request not done: {title}");
        }
    }

    /// Logs how many requests got no line of their own and were not counted in the log yet. To be called when no other
    /// request will come.
    pub fn requests_are_over(&self) {
        let left_out = self.samples.lock().left_out(Micros::MAX);
        tell(left_out);
    }
}

fn tell(left_out: Vec<(&'static str, u64)>) {
    for (code, count) in left_out {
        tracing::info!(code, count, "more requests not done; they have no line of their own");
    }
}
