//! What every client of the cluster has in common: where its own log lines and errors go. Both say what the client
//! tries and tries again; what became of it is told by the call that failed, so none of them wakes anybody.

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;

/// Of a client that only talks.
#[derive(Clone, Copy, Default)]
pub(super) struct Talk;

impl ClientContext for Talk {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        said(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        failed(&error, reason);
    }
}

impl ConsumerContext for Talk {}

/// A log line of the client.
pub(super) fn said(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
            tracing::warn!(facility, message, "kafka client");
        }
        _ => tracing::debug!(facility, message, "kafka client"),
    }
}

/// An error that no call stands for.
pub(super) fn failed(error: &KafkaError, reason: &str) {
    tracing::debug!(%error, reason, "kafka client");
}
