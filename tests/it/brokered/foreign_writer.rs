//! A client that writes into an owner's events, with a transactional id of the owner's or of its own.

use super::service::Log;
use crate::fixtures::{self, command, pool_id, reservation_id, reserve_as};
use headroom::domain::{Command, CommandId, Micros, ReservationId};
use headroom::log::kafka::Cluster;
use headroom::log::{CommitOutcome, StoredCommand, TurnEvent};
use headroom::owner::Partition;
use headroom::wire;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);

/// A transactional producer that writes into the events of partition 0 without owning it.
pub struct Rogue<'a> {
    log: &'a Log,
    producer: BaseProducer,
}

impl<'a> Rogue<'a> {
    /// With the id of the owner of the first partition, who is fenced by it.
    pub fn as_owner(log: &'a Log) -> Rogue<'a> {
        Rogue::of(log, &log.cluster.transactional(log.manifest.log_id, 0, 0))
    }

    /// With an id of its own, which fences nobody. Its transactions may take so long.
    pub fn stranger(log: &'a Log, transaction_ms: u32) -> Rogue<'a> {
        let mut config = log.cluster.transactional(log.manifest.log_id, 0, 0);
        config.set("transactional.id", format!("{:032x}.stranger", log.manifest.log_id));
        config.set("message.timeout.ms", transaction_ms.to_string());
        config.set("transaction.timeout.ms", transaction_ms.to_string());
        Rogue::of(log, &config)
    }

    fn of(log: &'a Log, config: &ClientConfig) -> Rogue<'a> {
        let producer: BaseProducer = config.create().unwrap();
        producer.init_transactions(LIMIT).unwrap();
        Rogue { log, producer }
    }

    /// Writes what the partition's next owner might, and leaves it undecided; answers when the broker has it.
    pub fn forge(&self, pool: &str, key: &str) -> ReservationId {
        self.producer.begin_transaction().unwrap();
        let (id, events) = forged(self.log, pool, key);
        let before = self.end();
        for (event, next_input) in events {
            let mut place = event.seq.to_be_bytes().to_vec();
            place.extend(next_input.to_be_bytes());
            place.extend(0u64.to_be_bytes());
            let headers = OwnedHeaders::new().insert(Header { key: "place", value: Some(&place) });
            let topic = &self.log.cluster.topics.events;
            let record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(topic).partition(0).headers(headers);
            self.producer.send(record.payload(&event.bytes)).map_err(|(error, _)| error).unwrap();
        }
        self.producer.flush(LIMIT).unwrap();
        assert!(self.end() > before, "the broker has nothing of it");
        id
    }

    pub fn abort(&self) -> KafkaResult<()> {
        self.producer.abort_transaction(LIMIT)
    }

    /// The end of the partition, with what is not committed.
    fn end(&self) -> i64 {
        let reader: BaseConsumer = self.log.cluster.reply_reader().create().unwrap();
        reader.fetch_watermarks(&self.log.cluster.topics.events, 0, LIMIT).unwrap().1
    }
}

/// Writes a record outside of any transaction, as the event of this number if it has one, and waits until it is there.
pub fn plant(cluster: &Cluster, partition: i32, event: Option<(u64, &[u8])>) {
    let producer: BaseProducer = cluster.post().create().unwrap();
    let (seq, bytes) = event.unwrap_or((0, b"no event"));
    let place = [seq, 0, 0].map(u64::to_be_bytes).concat();
    let record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(&cluster.topics.events).partition(partition).payload(bytes);
    let header = OwnedHeaders::new().insert(Header { key: "place", value: Some(&place) });
    let record = if event.is_some() { record.headers(header) } else { record };
    producer.send(record).map_err(|(error, _)| error).unwrap();
    producer.flush(LIMIT).unwrap();
}

/// A barrier and an acceptance that would be the log's next events, with the input offset after each.
fn forged(log: &Log, pool: &str, key: &str) -> (ReservationId, Vec<(TurnEvent, u64)>) {
    let mut state = log.rebuilt(0);
    let now = Micros(state.position().decided_at.0 + 1);
    let owner = Partition::claim(&state, log.manifest.partitions);
    let offset = state.position().next_input;
    let barrier = owner.barrier(&state, 1, now);
    let mut events: Vec<_> = barrier.turn().events.iter().map(|event| (event.clone(), offset)).collect();
    owner.conclude(&mut state, barrier, CommitOutcome::Ok).unwrap();
    let (pool, deadline) = (pool_id(pool), now.plus_ms(1_000));
    let id = reservation_id(&pool, key);
    let command = Command { deadline, key: Some(fixtures::key(key)), ..command(1, reserve_as(&pool, id, 7)) };
    let bytes = wire::command::encode(&Command { id: CommandId(u128::from(offset)), ..command });
    let staged = owner.decide(&state, vec![StoredCommand { offset, skipped: 0, bytes, trace: None }], now);
    events.extend(staged.turn().events.iter().map(|event| (event.clone(), offset + 1)));
    owner.conclude(&mut state, staged, CommitOutcome::Ok).unwrap();
    (id, events)
}
