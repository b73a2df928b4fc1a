//! What every client of the cluster has in common: where its own log lines and errors go. Both say what the client
//! tries and tries again; what became of it is told by the call that failed, so none of them wakes anybody.

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::ProducerContext;

/// Of every client; a client that is told something besides, such as deliveries, has a listener for it.
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

/// Of a producer that does not wait for what becomes of a record.
impl ProducerContext for ClientLog {
    type DeliveryOpaque = ();

    fn delivery(&self, _: &DeliveryResult<'_>, (): ()) {}
}
