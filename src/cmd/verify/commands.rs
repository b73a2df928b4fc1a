//! L2, checked against the log's own commands: the command that an event answers is in the log and is the one that the
//! event names. The embedded log holds decided commands only, so none may be left over. Kafka keeps commands for a time:
//! those that are still there are compared. One batch of commands is in memory at a time.

use crate::audit::asked::contradiction;
use crate::domain::{Cause, Event, EventBody, PoolSpec};
use crate::limits::TURN_BYTES_MAX;
use crate::log::{CommandTail, LogError, StoredCommand};
use crate::wire;
use std::collections::VecDeque;
use std::ops::Range;

/// Most differences that are reported of one partition. With as many, the commands are those of another log.
const DIFFERENCES_MAX: u64 = 100;

/// A difference between an event and the commands.
pub(super) enum Finding {
    /// A breach of L2.
    Wrong(String),
    /// An observation that is not a breach.
    Note(String),
}

/// The commands of a partition, read beside its events.
pub(super) struct Commands<'a> {
    log: &'a dyn CommandTail,
    partition: u32,
    /// Whether the log may hold commands that are not decided yet, and offsets without a record. True on Kafka.
    is_open: bool,
    /// Commands that were read and not compared yet.
    read: VecDeque<StoredCommand>,
    /// The offset after the last command that was answered.
    next: u64,
    /// The first offset that the log still has, as of the last time it was asked.
    first: u64,
    /// Commands that were compared.
    compared: u64,
    /// Commands that events answer.
    answered: u64,
    /// Whether an event could not be read: the command that it answers is not known then.
    is_count_lost: bool,
    /// Differences that were reported.
    differences: u64,
    /// Whether the comparison has ended early.
    is_over: bool,
}

impl<'a> Commands<'a> {
    /// The commands of a log that holds decided commands only.
    pub(super) fn of_decided(log: &'a dyn CommandTail, partition: u32) -> Result<Commands<'a>, LogError> {
        Ok(Commands {
            first: log.first(partition)?,
            log,
            partition,
            is_open: false,
            read: VecDeque::new(),
            next: 0,
            compared: 0,
            answered: 0,
            is_count_lost: false,
            differences: 0,
            is_over: false,
        })
    }

    /// The commands of a log that takes commands before they are decided, and keeps them for a time.
    pub(super) fn of_taken(log: &'a dyn CommandTail, partition: u32) -> Result<Commands<'a>, LogError> {
        Ok(Commands { is_open: true, ..Commands::of_decided(log, partition)? })
    }

    /// Begins with the events that answer commands from this offset on.
    pub(super) fn begin(&mut self, next: u64) {
        self.next = next;
    }

    /// The commands that were compared, and those that events answer.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.compared, self.answered)
    }

    /// Notes that an event cannot be read.
    pub(super) fn lose_count(&mut self) {
        self.is_count_lost = true;
    }

    /// Compares an event with the command that it answers, and with the offsets that it skips. A command that is decided
    /// twice is left to the auditor. `before` is the specification of the event's pool before the event.
    ///
    /// # Errors
    /// [`LogError`] when a place withholds the commands: then nothing is known of them.
    pub(super) fn compare(&mut self, event: &Event, before: Option<&PoolSpec>) -> Result<Option<Finding>, LogError> {
        let cause = event.cause.as_ref().filter(|cause| !self.is_over && cause.input_offset >= self.next);
        let Some(cause) = cause else { return Ok(None) };
        let offset = cause.input_offset;
        let skipped = cause.first().unwrap_or_default().max(self.next)..offset;
        self.next = offset.saturating_add(1);
        if matches!(event.body, EventBody::CommandsLost { .. }) {
            let there = self.first_in(skipped.start..self.next).unwrap_or_default();
            let note = |there| {
                let (seq, from) = (event.seq, skipped.start);
                format!(
                    "seq {seq} records that commands {from} to {offset} are lost, and the log holds command {there}"
                )
            };
            return Ok(there.map(|there| Finding::Note(note(there))));
        }
        self.answered = self.answered.saturating_add(1);
        let difference = match self.first_in(skipped) {
            Ok(None) => self.answers(event, cause, before)?,
            Ok(Some(there)) => Some(format!(
                "the event says that there is no command right before {offset}, and the log holds command {there}"
            )),
            Err(error) => Some(self.unread("the commands before the one it answers", error)?),
        };
        let Some(difference) = difference else { return Ok(None) };
        self.differences = self.differences.saturating_add(1);
        self.is_over |= self.differences >= DIFFERENCES_MAX;
        Ok(Some(Finding::Wrong(difference)))
    }

    /// Compares the command itself with the event; `None` when they match or the log no longer has the command.
    fn answers(&mut self, event: &Event, cause: &Cause, before: Option<&PoolSpec>) -> Result<Option<String>, LogError> {
        let offset = cause.input_offset;
        if offset < self.first {
            return Ok(None);
        }
        match self.at(offset) {
            Ok(Some(record)) => {
                self.compared = self.compared.saturating_add(1);
                Ok(difference(&record, event, cause, before))
            }
            // It was removed while this was reading.
            Ok(None) if offset < self.first => Ok(None),
            Ok(None) => {
                self.is_over = true;
                Ok(Some(format!("the event answers command {offset}, which the log does not hold")))
            }
            Err(error) => self.unread("the command it answers", error).map(Some),
        }
    }

    /// What is wrong with commands that cannot be read; the error when a place withholds them.
    fn unread(&mut self, what: &str, error: LogError) -> Result<String, LogError> {
        if error.is_withheld() {
            return Err(error);
        }
        self.is_over = true;
        Ok(format!("{what} cannot be read: {error}"))
    }

    /// The first of these offsets at which the log still holds a command.
    fn first_in(&mut self, places: Range<u64>) -> Result<Option<u64>, LogError> {
        let places = places.start.max(self.first)..places.end;
        if places.is_empty() {
            return Ok(None);
        }
        self.read_to(places.start)?;
        Ok(self.read.front().map(|record| record.offset).filter(|offset| *offset < places.end))
    }

    /// Drops the commands before this offset, and reads the next batch when none is left.
    fn read_to(&mut self, offset: u64) -> Result<(), LogError> {
        while self.read.front().is_some_and(|record| record.offset < offset) {
            self.read.pop_front();
        }
        if self.read.is_empty() {
            self.read = self.log.commands(self.partition, offset, TURN_BYTES_MAX)?.into();
        }
        Ok(())
    }

    /// After the last event: commands that no event answers, or that were removed before one did.
    ///
    /// # Errors
    /// [`LogError`] when a place withholds the commands.
    pub(super) fn left_over(&mut self) -> Result<Option<String>, LogError> {
        if self.is_over || self.is_count_lost {
            return Ok(None);
        }
        if self.is_open {
            // Later commands may have been decided since the last event was read.
            let until = self.first.checked_sub(1).filter(|last| *last >= self.next);
            let gone = |until| {
                format!("the log ends here, and commands {} to {until} are gone and no event answers them", self.next)
            };
            return Ok(until.map(gone));
        }
        match self.at(self.next) {
            Ok(record) => Ok(record.map(|record| {
                format!("the log ends here, and holds command {}, which no event answers", record.offset)
            })),
            Err(error) => self.unread("the commands after the last one answered", error).map(Some),
        }
    }

    fn at(&mut self, offset: u64) -> Result<Option<StoredCommand>, LogError> {
        self.read_to(offset)?;
        match self.read.front() {
            Some(record) if record.offset == offset => Ok(self.read.pop_front()),
            None if !self.is_open => Ok(None),
            other => {
                let is_place = other.is_some();
                self.first = self.log.first(self.partition)?;
                // The offset exists and has no record: its owner decides a command without bytes.
                Ok((is_place && offset >= self.first).then(|| StoredCommand {
                    offset,
                    skipped: 0,
                    bytes: Vec::new(),
                    trace: None,
                }))
            }
        }
    }
}

/// How the command differs from what the event says of it. A command that cannot be decoded must be answered as such.
fn difference(record: &StoredCommand, event: &Event, cause: &Cause, before: Option<&PoolSpec>) -> Option<String> {
    let offset = record.offset;
    match (wire::command::decode(&record.bytes), &cause.command) {
        (Ok(command), Some(said)) if command.stamp() == *said => contradiction(event, &command, before),
        (Ok(command), Some(said)) if command.id != said.id => Some(format!(
            "the event answers command {:032x}, and at offset {offset} is {:032x}",
            said.id.0, command.id.0
        )),
        (Ok(command), Some(said)) => {
            let stamp = command.stamp();
            Some(format!("the event says of command {offset} that it is {said:?}, and the log holds {stamp:?}"))
        }
        (Ok(_), None) => Some(format!("the event says that command {offset} cannot be decoded, and it can")),
        (Err(_), None) => {
            let found = wire::command::id_of(&record.bytes);
            let is_told = cause.unread.is_none() || cause.unread == found;
            (!is_told).then(|| {
                format!("the event says that {:032x?} is at offset {offset}, and there is {found:032x?}", cause.unread)
            })
        }
        (Err(error), Some(_)) => Some(format!("the event answers command {offset}, which cannot be decoded: {error}")),
    }
}
