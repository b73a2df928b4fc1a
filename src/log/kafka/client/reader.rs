//! A consumer that reads one partition at a time, from an offset that the caller names. The client library wants a
//! consumer group for that: the group is only a name, and no offset is ever committed under it.
//!
//! The library stops reading a partition in the background. It aborts the process when a partition is unassigned that was
//! assigned while that stop was still under way (an assertion in its `rdkafka_assignment.c`, version 2.12.1). So a reader
//! moves to another place only after something came from the last place, or after a time in which the stop has ended.

use super::callbacks::ClientLog;
use super::classify::{self, failed};
use super::settings::{ASK_LIMIT, Cluster};
use crate::log::{LogError, LogErrorKind};
use crate::time::{Stopwatch, pause};
use parking_lot::Mutex;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::topic_partition_list::Offset;
use rdkafka::{ClientConfig, TopicPartitionList};
use std::fmt;
use std::time::Duration;

/// Longest time in which the library stops reading a partition. It needs no broker for that: it takes 1 or 2 ms.
const SETTLED_AFTER: Duration = Duration::from_millis(200);

/// Between two questions about a partition that has no leader.
const LOOK: Duration = Duration::from_millis(20);

/// Where [`Reader::last`] begins: so many offsets before the end.
const LOOK_BACK: i64 = 32;

/// Longest single wait for a message.
const LOOK_FOR_MORE: Duration = Duration::from_millis(100);

/// A partition of a topic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::log::kafka) struct TopicPartition<'a> {
    pub(in crate::log::kafka) topic: &'a str,
    pub(in crate::log::kafka) partition: u32,
}

impl fmt::Display for TopicPartition<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}

/// The offsets that a partition has: `first` up to the one before `end`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::log::kafka) struct Bounds {
    pub(in crate::log::kafka) first: i64,
    /// For a reader of committed records: the offset after the last one that it may see.
    pub(in crate::log::kafka) end: i64,
}

impl Bounds {
    /// Whether somebody may read from this offset on: it is there, or the next record will have it.
    pub(in crate::log::kafka) fn reach(self, offset: i64) -> bool {
        (self.first..=self.end).contains(&offset)
    }
}

/// What one read brought.
pub(in crate::log::kafka) enum Next<'r> {
    Message(BorrowedMessage<'r>),
    /// The reader has come to the end of what it may see, as it was at the last fetch.
    End,
    /// The wait is over, and nothing has come.
    Nothing,
}

/// Reads one partition at a time. Calls may come from any thread; a message keeps the reader borrowed.
pub(in crate::log::kafka) struct Reader {
    consumer: BaseConsumer<ClientLog>,
    /// Time since the reader was assigned, while nothing has come from there yet.
    unsettled: Mutex<Option<Stopwatch>>,
}

impl Reader {
    /// A reader of committed records that reports [`Next::End`].
    pub(in crate::log::kafka) fn ending(cluster: &Cluster) -> Result<Reader, LogError> {
        Reader::of(&cluster.reader_to_end())
    }

    /// A reader of committed records that never reports an end: it waits for more.
    pub(in crate::log::kafka) fn waiting(cluster: &Cluster) -> Result<Reader, LogError> {
        Reader::of(&cluster.reader())
    }

    /// A reader that sees records of open and aborted transactions too.
    pub(in crate::log::kafka) fn uncommitted(cluster: &Cluster) -> Result<Reader, LogError> {
        Reader::of(&cluster.reply_reader())
    }

    fn of(config: &ClientConfig) -> Result<Reader, LogError> {
        let consumer = config.create_with_context(ClientLog::default());
        let reader = |consumer| Reader { consumer, unsettled: Mutex::new(None) };
        consumer.map(reader).map_err(|error| failed("creating a consumer", &error))
    }

    /// The client itself, for questions about topics.
    pub(in crate::log::kafka) fn consumer(&self) -> &BaseConsumer<ClientLog> {
        &self.consumer
    }

    /// Opens a connection, so that the first read need not.
    pub(in crate::log::kafka) fn connect(&self, at: TopicPartition<'_>) -> Result<(), LogError> {
        self.bounds(at).map(drop)
    }

    /// Reads this partition from this offset on, and no other.
    pub(in crate::log::kafka) fn assign(&self, at: TopicPartition<'_>, offset: i64) -> Result<(), LogError> {
        self.settle();
        let mut list = TopicPartitionList::with_capacity(1);
        list.add_partition_offset(at.topic, number(at.partition), Offset::Offset(offset))
            .and_then(|()| self.consumer.assign(&list))
            .map_err(|error| failed(&format!("reading {at} from offset {offset}"), &error))?;
        *self.unsettled.lock() = Some(Stopwatch::start());
        Ok(())
    }

    /// Waits until something comes from the assigned place, or until the library has had time to stop the one before.
    fn settle(&self) {
        while let Some(since) = *self.unsettled.lock() {
            let left = since.left_of(SETTLED_AFTER);
            if left.is_zero() || matches!(self.consumer.poll(left), Some(Ok(_) | Err(KafkaError::PartitionEOF(_)))) {
                break;
            }
        }
        *self.unsettled.lock() = None;
    }

    /// Stops reading: the reader has no partition until it is assigned one again.
    pub(in crate::log::kafka) fn release(&self) {
        self.settle();
        if let Err(error) = self.consumer.assign(&TopicPartitionList::new()) {
            tracing::debug!(%error, "a consumer could not be unassigned");
        }
    }

    /// The next message, or the end, or [`Next::Nothing`] after `wait`. Transient errors count as nothing.
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
                LogErrorKind::Transient => Ok(Next::Nothing),
                _ => Err(failed("reading", &error)),
            },
        }
    }

    /// Calls `message` with every message from here on, until it returns false. Returns whether the end was reached: that of
    /// the partition, or `until`, which is the offset after the last message that is read. The end of a partition that is
    /// written all the time may be out of reach, because more has come whenever it is asked for.
    ///
    /// # Errors
    /// What `message` returns; and an error when nothing comes for `limit`.
    pub(in crate::log::kafka) fn each<E: From<LogError>>(
        &self,
        at: TopicPartition<'_>,
        until: i64,
        limit: Duration,
        mut message: impl FnMut(&BorrowedMessage<'_>) -> Result<bool, E>,
    ) -> Result<bool, E> {
        let mut waiting = None;
        loop {
            match self.next(LOOK_FOR_MORE)? {
                Next::Message(found) => {
                    waiting = None;
                    if found.offset() >= until {
                        return Ok(true);
                    }
                    if !message(&found)? {
                        return Ok(false);
                    }
                }
                Next::End => return Ok(true),
                Next::Nothing if waiting.get_or_insert_with(Stopwatch::start).elapsed() > limit => {
                    return Err(unanswered(at).into());
                }
                Next::Nothing => {}
            }
        }
    }

    /// The last thing that `find` returns for a message within `bounds`. It looks a little before the end first, and
    /// further back each time that there is none.
    pub(in crate::log::kafka) fn last<T>(
        &self,
        at: TopicPartition<'_>,
        Bounds { first, end }: Bounds,
        mut find: impl FnMut(&BorrowedMessage<'_>) -> Result<Option<T>, LogError>,
    ) -> Result<Option<T>, LogError> {
        let mut back = LOOK_BACK;
        loop {
            let from = end.saturating_sub(back).max(first);
            self.assign(at, from)?;
            let mut last = None;
            self.each(at, end, ASK_LIMIT, |message| {
                last = find(message)?.or(last.take());
                Ok::<_, LogError>(true)
            })?;
            if last.is_some() || from == first {
                return Ok(last);
            }
            back = back.saturating_mul(8);
        }
    }

    /// Asks the cluster which offsets a partition has.
    pub(in crate::log::kafka) fn bounds(&self, at: TopicPartition<'_>) -> Result<Bounds, LogError> {
        self.bounds_within(at, ASK_LIMIT)
    }

    /// The same, waiting for `limit` at most. Transient errors are tried again: a partition may be between two leaders.
    pub(in crate::log::kafka) fn bounds_within(
        &self,
        at: TopicPartition<'_>,
        limit: Duration,
    ) -> Result<Bounds, LogError> {
        let asking = Stopwatch::start();
        loop {
            let left = asking.left_of(limit);
            match self.consumer.fetch_watermarks(at.topic, number(at.partition), left) {
                Ok((first, end)) => return Ok(Bounds { first, end }),
                Err(error) if classify::of(&error) == LogErrorKind::Transient && !left.is_zero() => {
                    pause(LOOK.min(left));
                }
                Err(error) => return Err(failed(&format!("asking for the offsets of {at}"), &error)),
            }
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.settle();
    }
}

/// Waits until every transaction that is open in the partition now has ended, so that `committed` sees all that was
/// committed before the call. `all` sees uncommitted records too. `limit` says how long to wait for the transaction that
/// begins at an offset. Returns the offset of a transaction that is still open after that.
pub(in crate::log::kafka) fn wait_for_open_turns(
    all: &Reader,
    committed: &Reader,
    at: TopicPartition<'_>,
    limit: impl Fn(i64) -> Duration,
) -> Result<Option<i64>, LogError> {
    let end = all.bounds(at)?.end;
    let waiting = Stopwatch::start();
    loop {
        let open = committed.bounds(at)?.end;
        if open >= end {
            return Ok(None);
        }
        if waiting.elapsed() >= limit(open) {
            return Ok(Some(open));
        }
        pause(Duration::from_millis(1));
    }
}

/// That a partition was silent for longer than the limit of a read.
pub(in crate::log::kafka) fn unanswered(at: TopicPartition<'_>) -> LogError {
    LogError::transient(format!("{at} does not answer"))
}

/// An offset in the type that the client library uses, which is signed.
pub(in crate::log::kafka) fn offset_of(place: u64) -> i64 {
    i64::try_from(place).unwrap_or(i64::MAX)
}

/// A partition number in the type that the client library uses, which is signed.
pub(in crate::log::kafka) fn number(partition: u32) -> i32 {
    i32::try_from(partition).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_from_where_there_is_a_record_or_will_be_the_next_one() {
        let bounds = Bounds { first: 7, end: 9 };
        let reached: Vec<i64> = (0..12).filter(|offset| bounds.reach(*offset)).collect();
        assert_eq!(reached, [7, 8, 9]);
    }
}
