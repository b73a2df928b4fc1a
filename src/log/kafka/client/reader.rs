//! A consumer of one partition at a time, from positions that are ours. Its group is a name and nothing else.
//!
//! The client stops a partition in its own time, and aborts the process when one is let go of again that was taken up
//! before it had stopped (an assertion in its `rdkafka_assignment.c`, version 2.12.1). So a reader changes its place only
//! when something came from the place before, or long after.

use super::classify::{self, Meaning, failed};
use super::context::ClientLog;
use super::settings::{ASK_LIMIT, Cluster};
use crate::log::LogError;
use crate::time::{Stopwatch, pause};
use parking_lot::Mutex;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
use rdkafka::topic_partition_list::Offset;
use rdkafka::{ClientConfig, TopicPartitionList};
use std::time::Duration;

/// How long the client takes at most to stop a partition, which needs no broker: it takes a millisecond or two.
const SETTLED_AFTER: Duration = Duration::from_millis(200);

/// Between two questions about a partition that has no leader.
const LOOK: Duration = Duration::from_millis(20);

/// How many offsets before the end the last of something is looked for first.
const LOOK_BACK: i64 = 32;

/// Longest single wait for a message.
const LOOK_FOR_MORE: Duration = Duration::from_millis(100);

/// What a read found.
pub(in crate::log::kafka) enum Next<'r> {
    /// A message.
    Message(BorrowedMessage<'r>),
    /// The end of what is committed, at the time of a fetch.
    End,
    /// Nothing in time.
    Nothing,
}

/// See the module.
pub(in crate::log::kafka) struct Reader {
    consumer: BaseConsumer<ClientLog>,
    /// Since it was told of a place, from which nothing has come yet.
    unsettled: Mutex<Option<Stopwatch>>,
}

impl Reader {
    /// A reader that stops at the end of what is committed and says so.
    pub(in crate::log::kafka) fn ending(cluster: &Cluster) -> Result<Reader, LogError> {
        Reader::of(&cluster.reader_to_end())
    }

    /// A reader that waits for more.
    pub(in crate::log::kafka) fn waiting(cluster: &Cluster) -> Result<Reader, LogError> {
        Reader::of(&cluster.reader())
    }

    /// A reader of what is not committed, too.
    pub(in crate::log::kafka) fn uncommitted(cluster: &Cluster) -> Result<Reader, LogError> {
        Reader::of(&cluster.reply_reader())
    }

    fn of(config: &ClientConfig) -> Result<Reader, LogError> {
        let consumer = config.create_with_context(ClientLog::default());
        let reader = |consumer| Reader { consumer, unsettled: Mutex::new(None) };
        consumer.map(reader).map_err(|error| failed("a reader", &error))
    }

    /// The client itself, for questions about topics.
    pub(in crate::log::kafka) fn consumer(&self) -> &BaseConsumer<ClientLog> {
        &self.consumer
    }

    /// Opens a connection, so that the first read need not.
    pub(in crate::log::kafka) fn connect(&self, topic: &str, partition: u32) -> Result<(), LogError> {
        self.bounds(topic, partition).map(drop)
    }

    /// Reads from this offset on, and nothing else.
    pub(in crate::log::kafka) fn assign(&self, topic: &str, partition: u32, offset: i64) -> Result<(), LogError> {
        self.settle();
        let mut list = TopicPartitionList::with_capacity(1);
        list.add_partition_offset(topic, number(partition), Offset::Offset(offset))
            .and_then(|()| self.consumer.assign(&list))
            .map_err(|error| failed(&format!("{topic}/{partition} from {offset}"), &error))?;
        *self.unsettled.lock() = Some(Stopwatch::start());
        Ok(())
    }

    /// Waits until something comes from where it stands, or it has stood there for long enough.
    fn settle(&self) {
        while let Some(since) = *self.unsettled.lock() {
            let left = since.left_of(SETTLED_AFTER);
            if left.is_zero() || matches!(self.consumer.poll(left), Some(Ok(_) | Err(KafkaError::PartitionEOF(_)))) {
                break;
            }
        }
        *self.unsettled.lock() = None;
    }

    /// Reads nothing any more.
    pub(in crate::log::kafka) fn release(&self) {
        self.settle();
        if let Err(error) = self.consumer.assign(&TopicPartitionList::new()) {
            tracing::debug!(%error, "a reader did not let go");
        }
    }

    /// The next message, or the end, or nothing within `wait`. Errors that pass by themselves are waited out.
    pub(in crate::log::kafka) fn next(&self, wait: Duration) -> Result<Next<'_>, LogError> {
        let polled = self.consumer.poll(wait);
        if matches!(polled, Some(Ok(_) | Err(KafkaError::PartitionEOF(_)))) {
            *self.unsettled.lock() = None;
        }
        match polled {
            None => Ok(Next::Nothing),
            Some(Ok(message)) => Ok(Next::Message(message)),
            Some(Err(KafkaError::PartitionEOF(_))) => Ok(Next::End),
            Some(Err(error)) => match classify::of(&error) {
                Meaning::Transient => Ok(Next::Nothing),
                _ => Err(failed("reading", &error)),
            },
        }
    }

    /// Hands over every message from where it stands on, for as long as `message` says so. Answers whether the end was
    /// reached. Nothing for `limit` is an error.
    pub(in crate::log::kafka) fn each<E: From<LogError>>(
        &self,
        (topic, partition): (&str, u32),
        limit: Duration,
        mut message: impl FnMut(&BorrowedMessage<'_>) -> Result<bool, E>,
    ) -> Result<bool, E> {
        let mut waiting = None;
        loop {
            match self.next(LOOK_FOR_MORE)? {
                Next::Message(found) => {
                    waiting = None;
                    if !message(&found)? {
                        return Ok(false);
                    }
                }
                Next::End => return Ok(true),
                Next::Nothing if waiting.get_or_insert_with(Stopwatch::start).elapsed() > limit => {
                    return Err(LogError::new(format!("{topic}/{partition} does not answer")).into());
                }
                Next::Nothing => {}
            }
        }
    }

    /// The last thing that `find` finds before the end of the partition: not far before the end at first, then further back
    /// each time that there is none, and never before `first`.
    pub(in crate::log::kafka) fn last<T>(
        &self,
        (topic, partition): (&str, u32),
        (first, end): (i64, i64),
        mut find: impl FnMut(&BorrowedMessage<'_>) -> Result<Option<T>, LogError>,
    ) -> Result<Option<T>, LogError> {
        let mut back = LOOK_BACK;
        loop {
            let from = end.saturating_sub(back).max(first);
            self.assign(topic, partition, from)?;
            let mut last = None;
            self.each((topic, partition), ASK_LIMIT, |message| {
                last = find(message)?.or(last.take());
                Ok::<_, LogError>(true)
            })?;
            if last.is_some() || from == first {
                return Ok(last);
            }
            back = back.saturating_mul(8);
        }
    }

    /// The first offset that the partition still has, and the one after the last that a committed reader may see.
    pub(in crate::log::kafka) fn bounds(&self, topic: &str, partition: u32) -> Result<(i64, i64), LogError> {
        self.bounds_within(topic, partition, ASK_LIMIT)
    }

    /// The same, with a limit of the caller's. A partition between two leaders has one again in a moment.
    pub(in crate::log::kafka) fn bounds_within(
        &self,
        topic: &str,
        partition: u32,
        limit: Duration,
    ) -> Result<(i64, i64), LogError> {
        let asking = Stopwatch::start();
        loop {
            let left = asking.left_of(limit);
            match self.consumer.fetch_watermarks(topic, number(partition), left) {
                Ok(bounds) => return Ok(bounds),
                Err(error) if classify::of(&error) == Meaning::Transient && !left.is_zero() => {
                    pause(LOOK.min(left));
                }
                Err(error) => return Err(failed(&format!("{topic}/{partition}: its offsets"), &error)),
            }
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.settle();
    }
}

/// Waits until everything that is in the partition now is decided, so that a committed reader sees what was committed
/// before. `all` sees uncommitted records too. Where a transaction is still open after the limit that is set for its place,
/// that place is answered.
pub(in crate::log::kafka) fn wait_for_open_turns(
    all: &Reader,
    committed: &Reader,
    (topic, partition): (&str, u32),
    limit: impl Fn(i64) -> Duration,
) -> Result<Option<i64>, LogError> {
    let (_, end) = all.bounds(topic, partition)?;
    let waiting = Stopwatch::start();
    loop {
        let (_, open) = committed.bounds(topic, partition)?;
        if open >= end {
            return Ok(None);
        }
        if waiting.elapsed() >= limit(open) {
            return Ok(Some(open));
        }
        pause(Duration::from_millis(1));
    }
}

/// A place as an offset of the client, which counts with a sign.
pub(in crate::log::kafka) fn offset_of(place: u64) -> i64 {
    i64::try_from(place).unwrap_or(i64::MAX)
}

/// A partition as the client counts them.
pub(in crate::log::kafka) fn number(partition: u32) -> i32 {
    i32::try_from(partition).unwrap_or(i32::MAX)
}
