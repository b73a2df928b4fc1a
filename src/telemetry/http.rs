//! Metrics of the API, and log lines for requests that were refused or failed, so that the `trace_id` of an answer can
//! be found in the log. The lines are INFO, because nobody has to wake up for them, and their number in a second is
//! bounded.

use super::metrics::Metrics;
use super::register::as_seconds;
use crate::api::http::{self, Finished};
use crate::domain::Micros;
use crate::gateway::admission::Shed;
use std::sync::atomic::Ordering::Relaxed;

impl http::Metrics for Metrics {
    fn request_finished(&self, finished: &Finished<'_>) {
        self.log(finished);
        let Finished { route, method, status, code, took_us, .. } = *finished;
        let status = status.to_string();
        self.http.requests.with_label_values(&[method, route, &status, code]).inc();
        self.http.seconds.with_label_values(&[method, route, &status]).observe(as_seconds(took_us));
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
