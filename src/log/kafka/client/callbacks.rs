//! Where the log lines and errors of the client library go. A running server logs them at debug level: they say what the
//! client tries again, and the call that failed in the end says what became of it. Commands of an operator keep the last
//! error instead, because the call's own error often does not name the reason.

use super::classify;
use crate::log::LogError;
use parking_lot::Mutex;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::ProducerContext;
use std::fmt;
use std::sync::Arc;

/// Logs what a client of a server says. `T` listens to what else the client reports, such as deliveries; `()` ignores it.
#[derive(Clone, Copy, Default)]
pub(in crate::log::kafka) struct ClientLog<T = ()>(pub(in crate::log::kafka) T);

impl<T: Send + Sync + 'static> ClientContext for ClientLog<T> {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                tracing::warn!(facility, message, "kafka client");
            }
            _ => tracing::debug!(facility, message, "kafka client"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "kafka client");
    }
}

impl ConsumerContext for ClientLog {}

/// For a producer that ignores delivery reports.
impl ProducerContext for ClientLog {
    type DeliveryOpaque = ();

    fn delivery(&self, _: &DeliveryResult<'_>, (): ()) {}
}

/// Keeps the last error that the client reported. Clones share it.
#[derive(Clone, Default)]
pub(in crate::log::kafka) struct LastClientError(Arc<Mutex<Option<String>>>);

impl ClientContext for LastClientError {
    fn log(&self, _: RDKafkaLogLevel, _: &str, _: &str) {}

    fn error(&self, error: KafkaError, reason: &str) {
        if !classify::says_nothing(&error) {
            *self.0.lock() = Some(reason.to_owned());
        }
    }
}

impl ConsumerContext for LastClientError {}

impl ProducerContext for LastClientError {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            *self.0.lock() = Some(error.to_string());
        }
    }
}

impl LastClientError {
    /// Whether the client has reported no error since the last one was taken.
    pub(in crate::log::kafka) fn is_none(&self) -> bool {
        self.0.lock().is_none()
    }

    /// Takes the last error of the client as the reason of a call that failed with `error`; without one, `error` itself is
    /// the reason. `what` says what was being done.
    pub(in crate::log::kafka) fn error(&self, what: fmt::Arguments<'_>, error: &KafkaError) -> LogError {
        let said = || error.rdkafka_error_code().map_or(error.to_string(), |code| code.to_string());
        let reason = self.0.lock().take().unwrap_or_else(said);
        LogError::new(classify::of(error), format!("{what}: {reason}"))
    }
}
