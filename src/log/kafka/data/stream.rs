//! Committed events of many partitions as they come, for those who follow.
//!
//! The client stops reading a partition at its own time, and until then it must not be told to stop again: it takes that for
//! a mistake of its own and aborts the process. Who has heard of a partition since it was assigned knows that no earlier stop
//! is under way, so a partition is unassigned only then, and ignored meanwhile.

use super::record::{self, Course, EventRecord};
use crate::log::kafka::client::callbacks::ClientLog;
use crate::log::kafka::client::classify::{self, Meaning, failed};
use crate::log::kafka::client::reader::number;
use crate::log::kafka::inner::Inner;
use crate::log::{EventStream, LogError, Streamed};
use crate::time::Stopwatch;
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
    /// Whether an event or the end was heard of since it was assigned.
    is_heard: bool,
    /// Whether all that there was has been handed over: what comes then was written a moment ago.
    is_at_end: bool,
    /// It is to be unassigned as soon as it is heard of.
    is_left: bool,
}

/// The stream of one process. Each has a client of its own.
pub struct Stream {
    inner: Arc<Inner>,
    consumer: BaseConsumer<ClientLog>,
    /// Every partition followed.
    followed: BTreeMap<u32, Followed>,
}

impl Stream {
    pub(in crate::log::kafka) fn new(inner: &Arc<Inner>) -> Result<Stream, LogError> {
        let inner = Arc::clone(inner);
        let consumer = inner
            .context
            .cluster
            .reader_to_end()
            .create_with_context(ClientLog::default())
            .map_err(|error| failed("a stream", &error))?;
        Ok(Stream { inner, consumer, followed: BTreeMap::new() })
    }

    fn list(&self, partition: u32, offset: Offset) -> Result<TopicPartitionList, LogError> {
        let mut list = TopicPartitionList::with_capacity(1);
        let topic = &self.inner.context.cluster.topics.events;
        let added = list.add_partition_offset(topic, number(partition), offset);
        added.map(|()| list).map_err(|error| failed("following", &error))
    }
}

/// What is known of a partition that was heard of, unless it is left.
fn hear(followed: &mut BTreeMap<u32, Followed>, partition: u32) -> Option<&mut Followed> {
    let followed = followed.get_mut(&partition)?;
    followed.is_heard = true;
    (!followed.is_left).then_some(followed)
}

impl Stream {
    /// The partition whose position the log does not have: the client says that there is one, and not which.
    fn out_of_range(&mut self) -> Option<(u32, Streamed)> {
        let inner = &self.inner;
        let lost = self.places().into_iter().find_map(|(partition, place)| {
            inner.events.check_holds(partition, place).err().map(|error| (partition, error))
        });
        let (partition, error) = lost?;
        // What the client has just said of it was said since it was assigned.
        self.followed.get_mut(&partition)?.is_heard = true;
        self.leave(partition);
        Some((partition, Streamed::Failed(error)))
    }

    /// With a client that follows nothing: what the old one's error was about, it did not say.
    fn begin_anew(&mut self, error: &KafkaError) -> LogError {
        if let Ok(anew) = Stream::new(&self.inner) {
            *self = anew;
        }
        failed("following", error)
    }
}

impl EventStream for Stream {
    fn follow(&mut self, partition: u32, from_seq: u64) -> Result<(), LogError> {
        self.inner.context.check(partition)?;
        let from = self.inner.events.locate(partition, from_seq)?;
        self.inner.events.check_holds(partition, from)?;
        self.leave(partition);
        if let Some(left) = self.followed.get_mut(&partition) {
            // It is still read from an earlier place.
            if from_seq < left.from_seq {
                return Err(LogError::new(format!("partition {partition} is about to be left")));
            }
            (left.from_seq, left.is_left) = (from_seq, false);
            return Ok(());
        }
        let list = self.list(partition, Offset::Offset(from))?;
        self.consumer.incremental_assign(&list).map_err(|error| failed("following", &error))?;
        let course = self.inner.context.course(partition);
        self.followed
            .insert(partition, Followed { from_seq, from, course, is_heard: false, is_at_end: false, is_left: false });
        Ok(())
    }

    fn leave(&mut self, partition: u32) {
        let Some(followed) = self.followed.get_mut(&partition) else { return };
        followed.is_left = true;
        if !followed.is_heard {
            return;
        }
        self.followed.remove(&partition);
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
                let partition = u32::try_from(partition).unwrap_or_default();
                if let Some(followed) = hear(&mut self.followed, partition) {
                    followed.is_at_end = true;
                    return Ok(Some((partition, Streamed::End)));
                }
                self.leave(partition);
                return Ok(None);
            }
            Some(Err(error)) => match classify::of(&error) {
                Meaning::Transient => return Ok(None),
                meaning => {
                    let of_one = (meaning == Meaning::OutOfRange).then(|| self.out_of_range()).flatten();
                    return of_one.map_or_else(|| Err(self.begin_anew(&error)), |failed| Ok(Some(failed)));
                }
            },
        };
        let partition = u32::try_from(message.partition()).unwrap_or_default();
        let Some(followed) = hear(&mut self.followed, partition) else {
            drop(message);
            self.leave(partition);
            return Ok(None);
        };
        if std::mem::take(&mut followed.is_at_end) {
            self.inner.context.paces.stamped(partition, record::stamp(&message, Stopwatch::start()));
        }
        let found = record::found(&message, &self.inner.context.framing);
        if let Err(breach) = followed.course.take(&found) {
            drop(message);
            self.leave(partition);
            return Ok(Some((partition, Streamed::Broken(breach))));
        }
        let (event, decided) = match found {
            EventRecord::Event(event, decided) => (event, decided),
            EventRecord::Unread(why) => {
                let error = why.at(self.inner.context.events(partition), message.offset());
                drop(message);
                self.leave(partition);
                return Ok(Some((partition, Streamed::Failed(error))));
            }
            EventRecord::Fence(_) | EventRecord::Foreign => return Ok(None),
        };
        // Reading begins at a place not far before.
        if event.seq < followed.from_seq {
            return Ok(None);
        }
        let progress = self.inner.context.progress_of(partition);
        progress.mark(event.seq, message.offset());
        progress.decided(decided.next_input);
        Ok(Some((partition, Streamed::Event(event))))
    }

    /// The client's position counts markers and what was aborted as well: at the end of a partition it is that end.
    fn places(&self) -> Vec<(u32, i64)> {
        let positions = self.consumer.position().unwrap_or_default();
        let position = |partition: u32| {
            let found = positions.find_partition(&self.inner.context.cluster.topics.events, number(partition))?;
            found.offset().to_raw().filter(|offset| *offset >= 0)
        };
        // Before a partition is heard of, the client may still say where it was before it was left.
        let place = |(partition, followed): (&u32, &Followed)| {
            let position = position(*partition).filter(|_| followed.is_heard);
            (*partition, position.unwrap_or(followed.from))
        };
        self.followed.iter().filter(|(_, followed)| !followed.is_left).map(place).collect()
    }
}
