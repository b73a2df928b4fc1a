//! What the API reports, as metrics. No log lines: a request is nothing to wake anyone for.

use super::Metrics;
use super::metrics::as_seconds;
use crate::api::{self, Finished};
use crate::gateway::admission::Shed;

impl api::Metrics for Metrics {
    fn request_finished(&self, finished: &Finished) {
        let Finished { route, method, status, code, took_us } = *finished;
        let status = status.to_string();
        self.http_requests.with_label_values(&[method, route, &status, code]).inc();
        self.http_seconds.with_label_values(&[method, route, &status]).observe(as_seconds(took_us));
    }

    fn shed(&self, shed: Shed) {
        self.shed.with_label_values(&[shed.code()]).inc();
    }

    fn connected(&self) {
        self.http_connections.inc();
    }

    fn disconnected(&self) {
        self.http_connections.dec();
    }

    fn render(&self) -> String {
        self.text()
    }
}
