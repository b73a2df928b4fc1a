//! Committed events of many partitions as they come, for those who follow.

use super::super::{EventStream, LogError, Streamed};
use super::classify::{self, Meaning, failed};
use super::client::Talk;
use super::reader::number;
use super::record::{self, Course, Found};
use super::{Inner, Kafka};
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::topic_partition_list::Offset;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How a partition is followed.
struct Followed {
    /// From which sequence number on events are handed over.
    from_seq: u64,
    /// Where reading began, not far before.
    from: i64,
    course: Course,
}

/// See the module.
pub struct Stream {
    inner: Arc<Inner>,
    consumer: BaseConsumer<Talk>,
    /// Every partition followed.
    followed: BTreeMap<u32, Followed>,
}

impl Kafka {
    /// A stream that follows nothing yet.
    ///
    /// # Errors
    /// [`LogError`] when no client can be made.
    pub fn stream(&self) -> Result<Stream, LogError> {
        let inner = Arc::clone(&self.inner);
        let consumer = inner
            .cluster
            .reader_to_end()
            .create_with_context(Talk::default())
            .map_err(|error| failed("a stream", &error))?;
        Ok(Stream { inner, consumer, followed: BTreeMap::new() })
    }
}

impl Stream {
    fn list(&self, partition: u32, offset: Offset) -> Result<TopicPartitionList, LogError> {
        let mut list = TopicPartitionList::with_capacity(1);
        let topic = &self.inner.cluster.topics.events;
        let added = list.add_partition_offset(topic, number(partition), offset);
        added.map(|()| list).map_err(|error| failed("following", &error))
    }
}

impl Stream {
    /// The partition whose position the log does not have: the client says that there is one, and not which.
    fn out_of_range(&mut self) -> Option<(u32, Streamed)> {
        let inner = &self.inner;
        let lost = self
            .places()
            .into_iter()
            .find_map(|(partition, place)| inner.check_begins(partition, place).err().map(|error| (partition, error)));
        let (partition, error) = lost?;
        self.leave(partition);
        Some((partition, Streamed::Failed(error)))
    }
}

impl Inner {
    /// Whether the partition of events still has what lies there.
    fn check_begins(&self, partition: u32, place: i64) -> Result<(), LogError> {
        let topic = &self.cluster.topics.events;
        let (first, _) = self.with_reader(|reader| reader.bounds(topic, partition))?;
        if place >= first {
            return Ok(());
        }
        Err(LogError::new(format!("{topic}/{partition} begins at offset {first}, and {place} is to be read")))
    }
}

impl EventStream for Stream {
    fn follow(&mut self, partition: u32, from_seq: u64) -> Result<(), LogError> {
        self.inner.check(partition)?;
        let from = self.inner.locate(partition, from_seq)?;
        self.inner.check_begins(partition, from)?;
        self.leave(partition);
        let list = self.list(partition, Offset::Offset(from))?;
        self.consumer.incremental_assign(&list).map_err(|error| failed("following", &error))?;
        let course = Course::of(self.inner.manifest.log_id, partition);
        self.followed.insert(partition, Followed { from_seq, from, course });
        Ok(())
    }

    fn leave(&mut self, partition: u32) {
        if self.followed.remove(&partition).is_none() {
            return;
        }
        let left = self.list(partition, Offset::Invalid).map(|list| self.consumer.incremental_unassign(&list));
        if let Ok(Err(error)) = left {
            tracing::debug!(partition, %error, "a stream did not let go");
        }
    }

    fn next(&mut self, wait: Duration) -> Result<Option<(u32, Streamed)>, LogError> {
        let message = match self.consumer.poll(wait) {
            None => return Ok(None),
            Some(Ok(message)) => message,
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                return Ok(u32::try_from(partition).ok().map(|partition| (partition, Streamed::End)));
            }
            Some(Err(error)) => match classify::of(&error) {
                Meaning::Transient => return Ok(None),
                Meaning::OutOfRange => return self.out_of_range().ok_or_else(|| failed("following", &error)).map(Some),
                Meaning::Fenced | Meaning::Operator | Meaning::Dead => return Err(failed("following", &error)),
            },
        };
        let partition = u32::try_from(message.partition()).unwrap_or_default();
        let Some(followed) = self.followed.get_mut(&partition) else { return Ok(None) };
        let found = record::found(&message, &self.inner.framing);
        if let Err(breach) = followed.course.take(&found) {
            drop(message);
            self.leave(partition);
            return Ok(Some((partition, Streamed::Broken(breach))));
        }
        let (event, decided) = match found {
            Found::Event(event, decided) => (event, decided),
            Found::Unread(why) => {
                let error = why.at(&self.inner.cluster.topics.events, partition, message.offset());
                drop(message);
                self.leave(partition);
                return Ok(Some((partition, Streamed::Failed(error))));
            }
            Found::Fence(_) | Found::Foreign => return Ok(None),
        };
        // Reading begins at a place not far before.
        if event.seq < followed.from_seq {
            return Ok(None);
        }
        let progress = self.inner.progress_of(partition);
        progress.mark(event.seq, message.offset());
        progress.decided(decided.next_input);
        Ok(Some((partition, Streamed::Event(event))))
    }

    /// The client's position counts markers and what was aborted as well: at the end of a partition it is that end.
    fn places(&self) -> Vec<(u32, i64)> {
        let positions = self.consumer.position().unwrap_or_default();
        let position = |partition: u32| {
            let found = positions.find_partition(&self.inner.cluster.topics.events, number(partition))?;
            found.offset().to_raw().filter(|offset| *offset >= 0)
        };
        let place =
            |(partition, followed): (&u32, &Followed)| (*partition, position(*partition).unwrap_or(followed.from));
        self.followed.iter().map(place).collect()
    }
}
