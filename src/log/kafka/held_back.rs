//! What keeps committed readers from records that are there: a transaction that its producer has not ended. An owner's own
//! takes moments. A stranger's on commands silences the partition for as long as it lasts, which the stranger chooses; on
//! events it keeps followers from what is decided meanwhile, and callers are answered by replies all the same.

use super::super::LogError;
use super::{Inner, Kafka};
use std::fmt;
use std::time::Duration;

/// Longest wait for an answer of the cluster: it is asked all the time.
const ASK_LIMIT: Duration = Duration::from_secs(1);

/// Records of a partition that committed readers do not see.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HeldBack {
    topic: String,
    partition: u32,
    brokers: String,
    /// The offset of the first of them.
    pub from: i64,
    /// The offset after the last of them.
    pub until: i64,
}

impl HeldBack {
    /// How many offsets that is.
    pub fn count(&self) -> u64 {
        u64::try_from(self.until.saturating_sub(self.from)).unwrap_or_default()
    }
}

impl fmt::Display for HeldBack {
    /// The client has no call that names the producer: Kafka's own tool has.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let HeldBack { topic, partition, brokers, from, until } = self;
        write!(
            f,
            "{topic}/{partition}: offsets {from} to {until} are held back by a transaction that nobody has ended; \
             kafka-transactions.sh --bootstrap-server {brokers} describe-producers --topic {topic} --partition \
             {partition} names its producer"
        )
    }
}

impl Kafka {
    /// Commands of the partition that nobody can read yet, if there are any.
    ///
    /// # Errors
    /// [`LogError`] when the cluster does not answer within a second.
    pub fn commands_held_back(&self, partition: u32) -> Result<Option<HeldBack>, LogError> {
        self.inner.held_back(&self.inner.cluster.topics.commands, partition)
    }

    /// Records of the partition's events that nobody can read yet, if there are any: of an owner's turn, too.
    ///
    /// # Errors
    /// [`LogError`] when the cluster does not answer within a second.
    pub fn events_held_back(&self, partition: u32) -> Result<Option<HeldBack>, LogError> {
        self.inner.held_back(&self.inner.cluster.topics.events, partition)
    }
}

impl Inner {
    fn held_back(&self, topic: &str, partition: u32) -> Result<Option<HeldBack>, LogError> {
        self.check(partition)?;
        // The end first: what is committed up to there meanwhile is not held back.
        let (_, until) = self.uncommitted.bounds_within(topic, partition, ASK_LIMIT)?;
        let (_, from) = self.with_reader(|reader| reader.bounds_within(topic, partition, ASK_LIMIT))?;
        let brokers = self.cluster.brokers.clone();
        Ok((from < until).then(|| HeldBack { topic: topic.to_owned(), partition, brokers, from, until }))
    }
}
