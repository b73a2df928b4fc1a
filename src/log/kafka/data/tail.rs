//! Reading committed events from any sequence number. Where it lies is found by halving, beginning with what this
//! process has seen.

use super::record::{self, Course, EventRecord};
use crate::log::kafka::client::reader::{Reader, wait_for_open_turns};
use crate::log::kafka::client::settings::ASK_LIMIT;
use crate::log::kafka::{Inner, Kafka};
use crate::log::{CommittedTail, LogError, StoredEvent};
use rdkafka::message::Message;
use std::time::Duration;

/// Records that are read over rather than halved again.
const NEAR: u64 = 2_048;
/// Every so many events that are read, one's place is kept.
const MARKED: u64 = 512;
/// Longest wait for turns that are open when an end is asked for.
const OPEN_TURNS_LIMIT: Duration = Duration::from_millis(250);
/// The same for a turn that was waited for in vain before: whoever was killed in it will not end it, and a process that
/// starts asks for ends and reads several times for each partition.
const OPEN_TURNS_AGAIN: Duration = Duration::from_millis(10);
/// Readers kept for the next read, and positions kept open for reads that go on.
const KEPT: usize = 4;

/// A reader that stands somewhere.
pub(in crate::log::kafka) struct Cursor {
    partition: u32,
    next_seq: u64,
    reader: Reader,
    course: Course,
    /// Read, and not asked for yet.
    read_ahead: Option<StoredEvent>,
}

impl CommittedTail for Kafka {
    fn partitions(&self) -> u32 {
        self.inner.manifest.partitions
    }

    fn end(&self, partition: u32) -> Result<u64, LogError> {
        self.inner.end(partition).map(|(end, _)| end)
    }

    fn end_told(&self, partition: u32) -> Result<u64, LogError> {
        match self.inner.end(partition)? {
            (end, true) => Ok(end),
            // What a reader does not see of an open turn may have been told of already.
            (_, false) => {
                let topic = &self.inner.cluster.topics.events;
                let why = format!("{topic}/{partition}: a turn is open for more than {OPEN_TURNS_LIMIT:?}");
                Err(LogError::new(why))
            }
        }
    }

    fn read(&self, partition: u32, from_seq: u64, bytes_max: usize) -> Result<Vec<StoredEvent>, LogError> {
        self.inner.read(partition, from_seq, bytes_max)
    }
}

impl Inner {
    /// The end, and whether every turn that was open when it was asked for is decided.
    fn end(&self, partition: u32) -> Result<(u64, bool), LogError> {
        self.check(partition)?;
        self.with_reader(|reader| {
            let is_whole = self.wait_for_open_turns(partition, reader)?;
            let topic = &self.cluster.topics.events;
            let (first, end) = reader.bounds(topic, partition)?;
            let known = self.progress_of(partition).last();
            let floor = known.offset.max(first);
            // Where the log ends says nothing of how it goes on: whoever reads it is told of a fork.
            let last = reader.last((topic, partition), (floor, end), |message| {
                match record::found_awaited(message, &self.framing) {
                    EventRecord::Event(event, _) => Ok(Some(event.seq)),
                    EventRecord::Unread(why) => Err(why.at(topic, partition, message.offset())),
                    EventRecord::Fence(_) | EventRecord::Foreign => Ok(None),
                }
            })?;
            match last {
                Some(last) => Ok((last.saturating_add(1), is_whole)),
                None if floor == first && first > 0 => {
                    Err(LogError::new(format!("{topic}/{partition} has lost its events up to offset {first}")))
                }
                None => Ok((0, is_whole)),
            }
        })
    }

    fn read(&self, partition: u32, from_seq: u64, bytes_max: usize) -> Result<Vec<StoredEvent>, LogError> {
        self.check(partition)?;
        let kept = {
            let mut cursors = self.cursors.lock();
            let found = cursors.iter().position(|c| c.partition == partition && c.next_seq == from_seq);
            found.map(|found| cursors.swap_remove(found))
        };
        let is_kept = kept.is_some();
        let mut seen = is_kept;
        let mut cursor = kept.map_or_else(|| self.cursor(partition, from_seq), Ok)?;
        let (mut events, mut bytes) = (Vec::new(), 0usize);
        if let Some(event) = cursor.read_ahead.take() {
            bytes = event.bytes.len();
            events.push(event);
        }
        let topic = &self.cluster.topics.events;
        let mut read_ahead = None;
        let at_end = self.each(&mut cursor.course, partition, &cursor.reader, |event, _| {
            seen = seen || event.seq.saturating_add(1) >= from_seq;
            if event.seq < from_seq {
                return true;
            }
            let total = bytes.saturating_add(event.bytes.len());
            if !events.is_empty() && total > bytes_max {
                read_ahead = Some(event);
                return false;
            }
            bytes = total;
            events.push(event);
            bytes < bytes_max
        })?;
        if events.is_empty() && is_kept {
            // The end that an open position came to may be one of a while ago.
            self.give_back(cursor.reader);
            return self.read(partition, from_seq, bytes_max);
        }
        match events.last() {
            Some(last) => cursor.next_seq = last.seq.saturating_add(1),
            None if from_seq > 0 && !seen => {
                return Err(LogError::new(format!("{topic}/{partition} ends before seq {from_seq}")));
            }
            None => {}
        }
        if let Some(first) = events.first().filter(|first| first.seq != from_seq) {
            let why = format!("{topic}/{partition} does not hold seq {from_seq}; the next one is {}", first.seq);
            return Err(LogError::new(why));
        }
        cursor.read_ahead = read_ahead;
        if at_end {
            self.give_back(cursor.reader);
        } else {
            let mut cursors = self.cursors.lock();
            if cursors.len() >= KEPT {
                let oldest = cursors.remove(0);
                self.give_back(oldest.reader);
            }
            cursors.push(cursor);
        }
        Ok(events)
    }

    /// A reader that stands at the event before this one, or earlier.
    fn cursor(&self, partition: u32, from_seq: u64) -> Result<Cursor, LogError> {
        let reader = self.take_reader()?;
        self.wait_for_open_turns(partition, &reader)?;
        let topic = &self.cluster.topics.events;
        // Nothing is ever removed: whoever asks for what is gone all the same is told what the log has instead.
        let (first, _) = reader.bounds(topic, partition)?;
        let from = self.locate_with(&reader, partition, from_seq.saturating_sub(1))?.max(first);
        reader.assign(topic, partition, from)?;
        Ok(Cursor { partition, next_seq: from_seq, reader, course: self.course(partition), read_ahead: None })
    }

    fn course(&self, partition: u32) -> Course {
        Course::of(self.manifest.log_id, partition)
    }

    /// Where the event of this number lies, or a place not far before it.
    pub(in crate::log::kafka) fn locate(&self, partition: u32, seq: u64) -> Result<i64, LogError> {
        self.with_reader(|reader| self.locate_with(reader, partition, seq))
    }

    fn locate_with(&self, reader: &Reader, partition: u32, seq: u64) -> Result<i64, LogError> {
        let topic = &self.cluster.topics.events;
        let (mut before, after) = self.progress_of(partition).around(seq);
        if seq.saturating_sub(before.seq) <= NEAR {
            return Ok(before.offset);
        }
        let (first, end) = reader.bounds(topic, partition)?;
        before.offset = before.offset.max(first);
        let mut high = after.map_or(end, |after| after.offset);
        let near = i64::try_from(NEAR).unwrap_or(i64::MAX);
        while seq.saturating_sub(before.seq) > NEAR && high.saturating_sub(before.offset) > near {
            let middle = before.offset.midpoint(high);
            reader.assign(topic, partition, middle)?;
            let mut found = None;
            self.each(&mut self.course(partition), partition, reader, |event, offset| {
                found = Some((event.seq, offset));
                false
            })?;
            match found {
                Some((found, offset)) if found <= seq => {
                    (before.seq, before.offset) = (found, offset);
                    self.progress_of(partition).mark(found, offset);
                }
                Some(_) | None => high = middle,
            }
        }
        Ok(before.offset)
    }

    /// Hands every event from where the reader stands to `event`, with its offset, for as long as it says so. Answers
    /// whether the end was reached.
    fn each(
        &self,
        course: &mut Course,
        partition: u32,
        reader: &Reader,
        mut event: impl FnMut(StoredEvent, i64) -> bool,
    ) -> Result<bool, LogError> {
        let mut next_mark = 0;
        reader.each((&self.cluster.topics.events, partition), ASK_LIMIT, |message| {
            let found = record::found_awaited(message, &self.framing);
            course.take(&found).map_err(LogError::from)?;
            let found = match found {
                EventRecord::Event(found, _) => found,
                EventRecord::Unread(why) => {
                    return Err(why.at(&self.cluster.topics.events, partition, message.offset()));
                }
                EventRecord::Fence(_) | EventRecord::Foreign => return Ok(true),
            };
            // Not every one: a replay would wait for the marks' lock as often as it has events.
            if found.seq >= next_mark {
                self.progress_of(partition).mark(found.seq, message.offset());
                next_mark = found.seq.saturating_add(MARKED);
            }
            Ok(event(found, message.offset()))
        })
    }

    fn wait_for_open_turns(&self, partition: u32, reader: &Reader) -> Result<bool, LogError> {
        let (topic, progress) = (&self.cluster.topics.events, self.progress_of(partition));
        let limit = |place| limit_of(progress.open(), place);
        let open = wait_for_open_turns(&self.uncommitted, reader, (topic, partition), limit)?;
        progress.set_open(open);
        Ok(open.is_none())
    }

    pub(in crate::log::kafka) fn with_reader<T>(
        &self,
        f: impl FnOnce(&Reader) -> Result<T, LogError>,
    ) -> Result<T, LogError> {
        let reader = self.take_reader()?;
        let result = f(&reader);
        self.give_back(reader);
        result
    }

    pub(super) fn take_reader(&self) -> Result<Reader, LogError> {
        let kept = self.readers.lock().pop();
        kept.map_or_else(|| Reader::ending(&self.cluster), Ok)
    }

    pub(super) fn give_back(&self, reader: Reader) {
        reader.release();
        let mut readers = self.readers.lock();
        if readers.len() < KEPT {
            readers.push(reader);
        }
    }
}

/// Longest wait for the turn that is open at this place, when the last one waited for in vain was open at `before`.
fn limit_of(before: Option<i64>, place: i64) -> Duration {
    if before == Some(place) { OPEN_TURNS_AGAIN } else { OPEN_TURNS_LIMIT }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_that_nobody_ends_is_waited_for_once() {
        let cases = [(None, OPEN_TURNS_LIMIT), (Some(7), OPEN_TURNS_AGAIN), (Some(6), OPEN_TURNS_LIMIT)];
        for (before, limit) in cases {
            assert_eq!(limit_of(before, 7), limit, "{before:?}");
        }
    }
}
