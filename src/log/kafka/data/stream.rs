//! The committed events of many partitions, as they come, for followers.
//!
//! The library stops reading a partition in the background, and aborts the process when the partition is unassigned while an
//! earlier stop is still under way. A partition from which something has come since it was assigned has no such stop. So a
//! partition is unassigned only then; until then what comes from it is ignored.

use super::record::{self, Course, EventRecord};
use crate::log::kafka::client::callbacks::ClientLog;
use crate::log::kafka::client::classify::{self, failed};
use crate::log::kafka::client::reader::number;
use crate::log::kafka::inner::Inner;
use crate::log::{EventStream, LogError, LogErrorKind, Streamed};
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::topic_partition_list::Offset;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Longest wait for the cluster: when the client is told to ask where its topic is, which it does by itself after that, and when
/// a partition ends before the first event that is to be handed over.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);

/// A partition that is followed.
struct Followed {
    /// Events from this sequence number on are handed over.
    from_seq: u64,
    /// The offset at which reading began, not far before that event.
    from: i64,
    course: Course,
    /// Whether a record or the end has come since the partition was assigned.
    is_heard: bool,
    /// Whether the end was reached: what comes next was written after that, unless its turn was open already.
    is_at_end: bool,
    /// Whether it must be unassigned as soon as something comes from it.
    is_left: bool,
}

impl Followed {
    /// Whether reading has come to the first event that is to be handed over. So the partition has all events before it.
    fn is_reached(&self) -> bool {
        self.course.next().unwrap_or_default() >= self.from_seq
    }
}

/// The stream of one process. Each has a client of its own.
pub struct Stream {
    inner: Arc<Inner>,
    consumer: BaseConsumer<ClientLog>,
    /// Every partition followed.
    followed: BTreeMap<u32, Followed>,
    /// Whether the client was told to ask where the topic is.
    is_told: bool,
}

impl Stream {
    pub(in crate::log::kafka) fn new(inner: &Arc<Inner>) -> Result<Stream, LogError> {
        let inner = Arc::clone(inner);
        let consumer = inner
            .context
            .cluster
            .reader_to_end()
            .create_with_context(ClientLog::default())
            .map_err(|error| failed("creating a consumer of events", &error))?;
        Ok(Stream { inner, consumer, followed: BTreeMap::new(), is_told: false })
    }

    fn list(&self, partition: u32, offset: Offset) -> Result<TopicPartitionList, LogError> {
        let mut list = TopicPartitionList::with_capacity(1);
        let topic = &self.inner.context.cluster.topics.events;
        let added = list.add_partition_offset(topic, number(partition), offset);
        added.map(|()| list).map_err(|error| failed("following events", &error))
    }
}

/// Takes that something has come from a partition. `None` when the partition is not followed any more.
fn hear(followed: &mut BTreeMap<u32, Followed>, partition: u32) -> Option<&mut Followed> {
    let followed = followed.get_mut(&partition)?;
    followed.is_heard = true;
    (!followed.is_left).then_some(followed)
}

impl Stream {
    /// Has the client learn where the topic is, once. About one that it does not know it asks by itself, but only once a second.
    /// Without an answer in that time it does that: nothing is followed meanwhile.
    fn tell(&mut self) {
        let topic = &self.inner.context.cluster.topics.events;
        if !std::mem::replace(&mut self.is_told, true)
            && let Err(error) = self.consumer.fetch_metadata(Some(topic), ANSWER_LIMIT)
        {
            tracing::debug!(%error, "the client of the follower asks later where its topic is");
        }
    }

    /// Finds the partition whose offset the log does not have. The library's error does not name it.
    fn out_of_range(&mut self) -> Option<(u32, Streamed)> {
        let inner = &self.inner;
        let lost = self.positions().into_iter().find_map(|(partition, place)| {
            inner.events.check_holds(partition, place).err().map(|error| (partition, error))
        });
        let (partition, error) = lost?;
        // The error came from it after it was assigned.
        self.followed.get_mut(&partition)?.is_heard = true;
        self.leave(partition);
        Some((partition, Streamed::Failed(error)))
    }

    /// What comes of a partition that ends before the first event that is to be handed over. As long as an open transaction may
    /// hide the events in between, they are waited for. Otherwise they are gone, and a state that holds them must not count as
    /// current.
    fn ends_before(&mut self, partition: u32) -> Option<(u32, Streamed)> {
        let from_seq = self.followed.get(&partition)?.from_seq;
        let (_, place) = self.positions().into_iter().find(|(other, _)| *other == partition)?;
        let at = self.inner.context.events(partition);
        let error = match self.inner.context.uncommitted.bounds_within(at, ANSWER_LIMIT) {
            Ok(bounds) if bounds.end > place => return None,
            Ok(_) => LogError::out_of_range(format!(
                "{at} ends before seq {from_seq}: it has lost events that were read here"
            )),
            Err(error) => error,
        };
        self.leave(partition);
        Some((partition, Streamed::Failed(error)))
    }

    /// The client's positions, which count markers and aborted records too: at the end of a partition it is that end.
    fn positions(&self) -> Vec<(u32, i64)> {
        let positions = self.consumer.position().unwrap_or_default();
        let position = |partition: u32| {
            let found = positions.find_partition(&self.inner.context.cluster.topics.events, number(partition))?;
            found.offset().to_raw().filter(|offset| *offset >= 0)
        };
        // Until something has come from a partition, the library may still report a position of an earlier assignment.
        let place = |(partition, followed): (&u32, &Followed)| {
            let position = position(*partition).filter(|_| followed.is_heard);
            (*partition, position.unwrap_or(followed.from))
        };
        self.followed.iter().filter(|(_, followed)| !followed.is_left).map(place).collect()
    }

    /// Replaces the client by one that follows nothing, because the error did not name a partition.
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
        // Reading begins at the event before, if the partition still has it: without it, what was read here is not in the log.
        let from = self.inner.events.locate(partition, from_seq.saturating_sub(1))?;
        // What is removed after this check, the cluster refuses to be read.
        self.inner.events.check_has(partition, from_seq)?;
        self.leave(partition);
        if let Some(left) = self.followed.get_mut(&partition) {
            // It is still being read, from the earlier place.
            if from_seq < left.from_seq {
                return Err(LogError::transient(format!("partition {partition} is being unassigned")));
            }
            (left.from_seq, left.is_left) = (from_seq, false);
            return Ok(());
        }
        self.tell();
        let list = self.list(partition, Offset::Offset(from))?;
        self.consumer.incremental_assign(&list).map_err(|error| failed("following events", &error))?;
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
            tracing::debug!(partition, %error, "a followed partition could not be unassigned");
        }
    }

    fn next(&mut self, wait: Duration) -> Result<Option<(u32, Streamed)>, LogError> {
        let message = match self.consumer.poll(wait) {
            None => return Ok(None),
            Some(Ok(message)) => message,
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                let partition = u32::try_from(partition).unwrap_or_default();
                let Some(followed) = hear(&mut self.followed, partition) else {
                    self.leave(partition);
                    return Ok(None);
                };
                if !followed.is_reached() {
                    return Ok(self.ends_before(partition));
                }
                followed.is_at_end = true;
                return Ok(Some((partition, Streamed::End)));
            }
            Some(Err(error)) => match classify::of(&error) {
                LogErrorKind::Transient => return Ok(None),
                meaning => {
                    let of_one = (meaning == LogErrorKind::OutOfRange).then(|| self.out_of_range()).flatten();
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
            let paces = &self.inner.context.paces;
            let stamp = paces.since_end(partition).and_then(|since| record::stamp(&message, since));
            paces.stamped(partition, stamp);
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
        progress.read_in_order(event.seq);
        progress.mark(event.seq, message.offset());
        progress.decided(decided.next_input);
        Ok(Some((partition, Streamed::Event(event))))
    }

    fn places(&self) -> Vec<(u32, i64)> {
        let mut places = self.positions();
        places.retain(|(partition, place)| {
            let followed = self.followed.get(partition);
            if followed.is_some_and(|followed| followed.is_at_end) {
                self.inner.context.paces.is_at_end(*partition, *place);
            }
            followed.is_some_and(Followed::is_reached)
        });
        places
    }
}
