//! Reading committed events from any sequence number on. The offset of an event is searched (see [`super::search`]), which
//! begins with the offsets that this process has seen. The first events may be gone: retention removes them, or a person
//! does. Where the partition begins now is asked of the cluster each time, and who asks for an event before it is refused.

use super::context::LogContext;
use super::progress::Mark;
use super::record::{self, Course, Decided, EventRecord};
use super::search::Search;
use crate::log::kafka::client::reader::{Bounds, Reader, TopicPartition, wait_for_open_turns};
use crate::log::kafka::client::settings::ASK_LIMIT;
use crate::log::{LogError, StoredEvent};
use parking_lot::Mutex;
use rdkafka::message::Message;
use std::sync::Arc;
use std::time::Duration;

/// Of so many events that are read, the offset of one is remembered.
const MARKED: u64 = 512;
/// Longest wait for turns that are open when an end is asked for.
const OPEN_TURNS_LIMIT: Duration = Duration::from_millis(250);
/// The same for a turn that was waited for in vain before. A process that was killed in a turn never ends it, and one that
/// starts asks for ends and reads several times for each partition.
const OPEN_TURNS_AGAIN: Duration = Duration::from_millis(10);
/// Most reads that are kept open, to be continued by the next call.
const CURSORS_MAX: usize = 4;

/// The end of a partition's events.
pub(in crate::log::kafka) struct EventsEnd {
    /// The sequence number after the last event that a reader sees.
    pub(in crate::log::kafka) seq: u64,
    /// Whether every turn that was open when the end was asked for has ended. Otherwise the end may lie further on.
    is_whole: bool,
}

/// A read that the next call may continue.
struct Cursor {
    partition: u32,
    next_seq: u64,
    reader: Reader,
    /// Where the partition ended when the read began.
    until: i64,
    course: Course,
    /// An event that was fetched and did not fit the last answer.
    read_ahead: Option<StoredEvent>,
}

/// Reads the topic of events. Calls may come from any thread.
pub(in crate::log::kafka) struct EventReader {
    context: Arc<LogContext>,
    cursors: Mutex<Vec<Cursor>>,
}

impl EventReader {
    pub(in crate::log::kafka) fn new(context: Arc<LogContext>) -> EventReader {
        EventReader { context, cursors: Mutex::new(Vec::new()) }
    }

    /// The end of a partition, as readers see it.
    ///
    /// # Errors
    /// [`LogError`] when the cluster does not answer, or the partition has lost its first events.
    pub(in crate::log::kafka) fn end(&self, partition: u32) -> Result<EventsEnd, LogError> {
        let context = &self.context;
        context.check(partition)?;
        context.readers.with(|reader| {
            let is_whole = self.wait_for_open_turns(partition, reader)?;
            let at = context.events(partition);
            let bounds = reader.bounds(at)?;
            let known = context.progress_of(partition).last().offset;
            // The end of the turn that wrote the last known event may not have come to where readers look.
            let is_seen = (bounds.first..bounds.end).contains(&known);
            let from = if is_seen { Bounds { first: known, ..bounds } } else { bounds };
            let last = match self.last_seq(at, reader, from)? {
                // The known event is not there any more: the partition has lost its end, and has grown since.
                None if is_seen => self.last_seq(at, reader, bounds)?,
                last => last,
            };
            match last {
                Some(last) => {
                    context.progress_of(partition).ended(last);
                    Ok(EventsEnd { seq: last.saturating_add(1), is_whole })
                }
                None if bounds.first > 0 => Err(self.emptied(partition, bounds.first)),
                None => Ok(EventsEnd { seq: 0, is_whole }),
            }
        })
    }

    /// The number of the last event within these bounds. The order of the last records is not checked here: a reader of the
    /// partition reports a fork.
    fn last_seq(&self, at: TopicPartition<'_>, reader: &Reader, bounds: Bounds) -> Result<Option<u64>, LogError> {
        let framing = &self.context.framing;
        reader.last(at, bounds, |message| match record::found_awaited(message, framing) {
            EventRecord::Event(event, _) => Ok(Some(event.seq)),
            EventRecord::Unread(why) => Err(why.at(at, message.offset())),
            EventRecord::Fence(_) | EventRecord::Foreign => Ok(None),
        })
    }

    /// The sequence number of the first event that the partition still has.
    ///
    /// # Errors
    /// [`LogError`] when the cluster does not answer, or the partition has lost all its events.
    pub(in crate::log::kafka) fn first(&self, partition: u32) -> Result<u64, LogError> {
        self.context.check(partition)?;
        self.context.readers.with(|reader| {
            let bounds = reader.bounds(self.context.events(partition))?;
            Ok(self.head(reader, partition, bounds)?.seq)
        })
    }

    /// The first event that the partition still has, which is at the first offset that it has or not far behind it.
    fn head(&self, reader: &Reader, partition: u32, Bounds { first, end }: Bounds) -> Result<Mark, LogError> {
        if first == 0 {
            return Ok(Mark::default());
        }
        let (at, progress) = (self.context.events(partition), self.context.progress_of(partition));
        if let Some(known) = progress.at_offset(first) {
            return Ok(known);
        }
        reader.assign(at, first)?;
        let mut found = None;
        self.each(&mut self.context.course(partition), partition, (reader, end), |event, _| {
            found = Some(Mark { seq: event.seq, offset: first });
            false
        })?;
        let head = found.ok_or_else(|| self.emptied(partition, first))?;
        progress.begins(head);
        Ok(head)
    }

    /// The end of everything that anybody was told of before the call, which is more than readers see: an open turn may
    /// have been told of already.
    ///
    /// # Errors
    /// [`LogError`] like [`EventReader::end`], and when a turn stays open.
    pub(in crate::log::kafka) fn end_told(&self, partition: u32) -> Result<u64, LogError> {
        match self.end(partition)? {
            EventsEnd { seq, is_whole: true } => Ok(seq),
            EventsEnd { .. } => {
                let at = self.context.events(partition);
                Err(LogError::transient(format!("{at}: a turn is open for more than {OPEN_TURNS_LIMIT:?}")))
            }
        }
    }

    /// Events from `from_seq` on, of `bytes_max` together, and one event at least unless the partition ends there. What is
    /// committed after the call has begun may be missing.
    ///
    /// # Errors
    /// [`LogError`] when the cluster does not answer, or the partition does not hold `from_seq` any more or not yet.
    pub(in crate::log::kafka) fn read(
        &self,
        partition: u32,
        from_seq: u64,
        bytes_max: usize,
    ) -> Result<Vec<StoredEvent>, LogError> {
        self.context.check(partition)?;
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
        let at = self.context.events(partition);
        let mut read_ahead = None;
        let at_end = self.each(&mut cursor.course, partition, (&cursor.reader, cursor.until), |event, _| {
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
            // A kept read comes to where the partition ended a while ago.
            self.context.readers.give_back(cursor.reader);
            return self.read(partition, from_seq, bytes_max);
        }
        match events.last() {
            Some(last) => cursor.next_seq = last.seq.saturating_add(1),
            None if from_seq > 0 && !seen => {
                return Err(LogError::out_of_range(format!("{at} ends before seq {from_seq}")));
            }
            None => {}
        }
        if let Some(first) = events.first().filter(|first| first.seq != from_seq) {
            return Err(removed(at, from_seq, first.seq));
        }
        cursor.read_ahead = read_ahead;
        if at_end {
            self.context.readers.give_back(cursor.reader);
        } else {
            self.keep(cursor);
        }
        Ok(events)
    }

    /// Keeps a read for the next call, in place of the oldest one.
    fn keep(&self, cursor: Cursor) {
        let oldest = {
            let mut cursors = self.cursors.lock();
            let oldest = (cursors.len() >= CURSORS_MAX).then(|| cursors.remove(0));
            cursors.push(cursor);
            oldest
        };
        // This may close a client, which takes a while, and every read asks for the cursors.
        if let Some(oldest) = oldest {
            self.context.readers.give_back(oldest.reader);
        }
    }

    /// A reader that is assigned at the event before this one, or at an earlier place.
    fn cursor(&self, partition: u32, from_seq: u64) -> Result<Cursor, LogError> {
        let context = &self.context;
        let reader = context.readers.take()?;
        self.wait_for_open_turns(partition, &reader)?;
        let at = context.events(partition);
        // If the log does not have that event any more, the caller is told what it has instead.
        let (from, until) = self.locate_with(&reader, partition, from_seq.saturating_sub(1))?;
        reader.assign(at, from)?;
        Ok(Cursor { partition, next_seq: from_seq, reader, until, course: context.course(partition), read_ahead: None })
    }

    /// The offset of the event of this number, or an offset not far before it. Where the partition does not have it any more,
    /// the offset of the first one that it has.
    pub(in crate::log::kafka) fn locate(&self, partition: u32, seq: u64) -> Result<i64, LogError> {
        self.context.readers.with(|reader| self.locate_with(reader, partition, seq)).map(|(offset, _)| offset)
    }

    /// The same, and where the partition ends.
    fn locate_with(&self, reader: &Reader, partition: u32, seq: u64) -> Result<(i64, i64), LogError> {
        let context = &self.context;
        let (at, progress) = (context.events(partition), context.progress_of(partition));
        let (mut before, after) = progress.around(seq);
        let bounds = reader.bounds(at)?;
        if before.offset < bounds.first {
            before = self.head(reader, partition, bounds)?;
        }
        // What others have written there is found only by reading it, however much that is.
        if progress.is_unread(seq) {
            return Ok((before.offset, bounds.end));
        }
        let after = after.map_or((bounds.end, progress.end_after(seq)), |after| (after.offset, Some(after.seq)));
        let mut search = Search::between(before, after, seq);
        while let Some(middle) = search.next() {
            reader.assign(at, middle)?;
            let mut found = None;
            self.each(&mut context.course(partition), partition, (reader, bounds.end), |event, offset| {
                found = Some(Mark { seq: event.seq, offset });
                false
            })?;
            search.found(middle, found);
        }
        Ok((search.before().offset, bounds.end))
    }

    /// How far the partition's last event says that commands are decided.
    ///
    /// # Errors
    /// [`LogError`] when the cluster does not answer, or the partition has lost all its events: then nobody knows it.
    pub(in crate::log::kafka) fn decided(&self, partition: u32) -> Result<Decided, LogError> {
        let context = &self.context;
        let at = context.events(partition);
        context.readers.with(|reader| {
            let mut course = context.course(partition);
            let bounds = reader.bounds(at)?;
            let last = reader.last(at, bounds, |message| {
                let found = record::found_awaited(message, &context.framing);
                course.take(&found).map_err(LogError::from)?;
                match found {
                    EventRecord::Event(_, decided) => Ok(Some(decided)),
                    EventRecord::Unread(why) => Err(why.at(at, message.offset())),
                    EventRecord::Fence(_) | EventRecord::Foreign => Ok(None),
                }
            })?;
            match last {
                Some(last) => Ok(last),
                None if bounds.first > 0 => Err(self.emptied(partition, bounds.first)),
                None => Ok(Decided::default()),
            }
        })
    }

    /// Checks that a partition of which not one event was left, when somebody last looked, has one again. A claim that wrote
    /// its fences before it finds that out would write them again with each attempt.
    ///
    /// # Errors
    /// [`LogError`] when it has none, or the cluster does not answer.
    pub(in crate::log::kafka) fn check_begins(&self, partition: u32) -> Result<(), LogError> {
        let progress = self.context.progress_of(partition);
        if progress.is_emptied() {
            self.first(partition)?;
            progress.set_emptied(false);
        }
        Ok(())
    }

    /// That not one event of the partition is left.
    fn emptied(&self, partition: u32, first: i64) -> LogError {
        self.context.progress_of(partition).set_emptied(true);
        let at = self.context.events(partition);
        LogError::emptied(format!(
            "{at} has lost all its events, those before offset {first}: nobody can tell how many there were, nor whether a \
             snapshot has them all, and headroom log accept-loss cannot accept that; bring the records back with their \
             offsets, as from copies of the brokers' disks, or begin a new log with topics and data directories of its own"
        ))
    }

    /// Checks that the partition still has every event from this one on.
    ///
    /// # Errors
    /// [`LogError`] when it begins with a later event, or the cluster does not answer.
    pub(in crate::log::kafka) fn check_has(&self, partition: u32, seq: u64) -> Result<(), LogError> {
        let first = self.first(partition)?;
        if seq >= first { Ok(()) } else { Err(removed(self.context.events(partition), seq, first)) }
    }

    /// Checks that the partition still has this offset, or will have it next.
    ///
    /// # Errors
    /// [`LogError`] when its records begin further on or end before it, or the cluster does not answer.
    pub(in crate::log::kafka) fn check_holds(&self, partition: u32, offset: i64) -> Result<(), LogError> {
        let at = self.context.events(partition);
        // The whole end: a place may lie behind the begin of an open turn.
        let bounds = self.context.uncommitted.bounds(at)?;
        if bounds.reach(offset) {
            return Ok(());
        }
        let Bounds { first, end } = bounds;
        Err(LogError::out_of_range(format!("{at} has offsets {first} to {end}, and offset {offset} is to be read")))
    }

    /// Calls `event` with every event from the reader's place up to this offset, and with its offset, until it returns false.
    /// Returns whether the end was reached.
    fn each(
        &self,
        course: &mut Course,
        partition: u32,
        (reader, until): (&Reader, i64),
        mut event: impl FnMut(StoredEvent, i64) -> bool,
    ) -> Result<bool, LogError> {
        let context = &self.context;
        let at = context.events(partition);
        let mut next_mark = 0;
        reader.each(at, until, ASK_LIMIT, |message| {
            let found = record::found_awaited(message, &context.framing);
            course.take(&found).map_err(LogError::from)?;
            let found = match found {
                EventRecord::Event(found, _) => found,
                EventRecord::Unread(why) => return Err(why.at(at, message.offset())),
                EventRecord::Fence(_) | EventRecord::Foreign => return Ok(true),
            };
            // Not every one: a replay would take the lock of the marks as often as it has events.
            if found.seq >= next_mark {
                context.progress_of(partition).mark(found.seq, message.offset());
                next_mark = found.seq.saturating_add(MARKED);
            }
            Ok(event(found, message.offset()))
        })
    }

    /// Returns whether every turn that was open has ended.
    fn wait_for_open_turns(&self, partition: u32, reader: &Reader) -> Result<bool, LogError> {
        let (at, progress) = (self.context.events(partition), self.context.progress_of(partition));
        let limit = |offset| limit_of(progress.open(), offset);
        let open = wait_for_open_turns(&self.context.uncommitted, reader, at, limit)?;
        progress.set_open(open);
        Ok(open.is_none())
    }
}

/// That events which somebody wants to read are gone: the partition begins with `first`.
pub(in crate::log::kafka) fn removed(at: TopicPartition<'_>, from: u64, first: u64) -> LogError {
    LogError::out_of_range(format!(
        "{at} begins with seq {first}: events {from} to {} are gone",
        first.saturating_sub(1)
    ))
}

/// Longest wait for the turn that is open at this offset. `before` is the offset of the last turn that was waited for in
/// vain.
fn limit_of(before: Option<i64>, offset: i64) -> Duration {
    if before == Some(offset) { OPEN_TURNS_AGAIN } else { OPEN_TURNS_LIMIT }
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
