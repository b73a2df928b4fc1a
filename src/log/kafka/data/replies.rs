//! Replies from owners to gateways. A gateway reads one partition of the topic of replies, which follows from the number of
//! its incarnation. Replies to the gateway of the same process do not go through the topic. When a reply is lost, the
//! gateway finds the event among the committed ones.

use super::context::LogContext;
use super::record;
use crate::log::kafka::client::callbacks::ClientLog;
use crate::log::kafka::client::classify;
use crate::log::kafka::client::reader::{Next, Reader, TopicPartition, number};
use crate::log::kafka::client::settings::ASK_LIMIT;
use crate::log::kafka::schema::framing::{Framing, Writer, fingerprint_of};
use crate::log::{LogError, Reply, ReplyChannel, ReplyReader};
use crate::wire;
use rdkafka::consumer::Consumer as _;
use rdkafka::message::{Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, ThreadedProducer};
use std::sync::Arc;
use std::time::Duration;

/// Most replies that one read returns.
const BATCH: usize = 1_024;

/// The way back for decisions of this process, to the gateways of all processes.
pub(in crate::log::kafka) struct Replies {
    producer: ThreadedProducer<ClientLog>,
    topic: String,
    partitions: u64,
    framing: Arc<Framing>,
    own: u64,
    gateway: Arc<dyn ReplyChannel>,
}

impl Replies {
    pub(in crate::log::kafka) fn new(
        context: &LogContext,
        own: u64,
        gateway: Arc<dyn ReplyChannel>,
    ) -> Result<Replies, LogError> {
        let producer = context.cluster.replies().create_with_context(ClientLog::default());
        let producer = producer.map_err(|error| classify::failed("creating the producer of replies", &error))?;
        let (topic, framing) = (context.cluster.topics.replies.clone(), Arc::clone(&context.framing));
        Ok(Replies { producer, topic, partitions: partitions_of(context)?, framing, own, gateway })
    }
}

impl GatewayReplies {
    pub(in crate::log::kafka) fn new(context: &LogContext, incarnation: u64) -> Result<GatewayReplies, LogError> {
        let reader = Reader::uncommitted(&context.cluster)?;
        let partition = u32::try_from(incarnation % partitions_of(context)?).unwrap_or_default();
        let at = TopicPartition { topic: &context.cluster.topics.replies, partition };
        reader.assign(at, reader.bounds(at)?.end)?;
        Ok(GatewayReplies { reader, incarnation, framing: Arc::clone(&context.framing) })
    }
}

/// How many partitions the topic of replies has. The manifest does not say, so the cluster is asked.
fn partitions_of(context: &LogContext) -> Result<u64, LogError> {
    let topic = &context.cluster.topics.replies;
    let asked = context.uncommitted.consumer().fetch_metadata(Some(topic), ASK_LIMIT);
    let metadata = asked.map_err(|error| classify::failed(topic, &error))?;
    let count = metadata.topics().first().map_or(0, |topic| topic.partitions().len());
    u64::try_from(count).ok().filter(|count| *count > 0).ok_or_else(|| LogError::operator(format!("no topic {topic}")))
}

impl ReplyChannel for Replies {
    fn send(&self, replies: Vec<Reply>) {
        let (own, others): (Vec<_>, Vec<_>) = replies.into_iter().partition(|reply| reply.to == self.own);
        if !own.is_empty() {
            self.gateway.send(own);
        }
        for reply in others {
            let to = reply.to;
            let inside = wire::reply::encode(&reply);
            let headers = record::with_schema(OwnedHeaders::new(), fingerprint_of(&inside));
            let headers = record::with_trace(headers, reply.trace.as_ref());
            let bytes = self.framing.outgoing(inside);
            let key = to.to_be_bytes();
            let partition = u32::try_from(to % self.partitions).unwrap_or_default();
            let record = BaseRecord::to(&self.topic).partition(number(partition)).key(&key[..]).payload(&bytes);
            let record = record.headers(headers);
            if let Err((error, _)) = self.producer.send(record) {
                tracing::debug!(%error, "a reply was not sent; the gateway will find the committed event");
            }
        }
    }
}

/// Reads the replies to one gateway.
pub(in crate::log::kafka) struct GatewayReplies {
    reader: Reader,
    incarnation: u64,
    framing: Arc<Framing>,
}

impl ReplyReader for GatewayReplies {
    fn next(&self, wait: Duration) -> Result<Vec<Reply>, LogError> {
        let mut replies = Vec::new();
        let mut wait = wait;
        while replies.len() < BATCH {
            let Next::Message(message) = self.reader.next(wait)? else { break };
            wait = Duration::ZERO;
            if message.key() != Some(&self.incarnation.to_be_bytes()[..]) {
                continue;
            }
            let (payload, schema) = (message.payload().unwrap_or_default(), record::schema_of(&message));
            let read = self.framing.incoming(payload, schema, Writer::Anyone).map_err(|why| why.to_string());
            match read.and_then(|bytes| wire::reply::decode(&bytes).map_err(|error| error.to_string())) {
                Ok(reply) => replies.push(Reply { trace: record::trace_of(&message), ..reply }),
                Err(error) => {
                    tracing::warn!(%error, "a reply cannot be read; the gateway will find the committed event")
                }
            }
        }
        Ok(replies)
    }
}
