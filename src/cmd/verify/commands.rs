//! L2 by the log's own commands: every command that an event answers is there and is the one it says; and none is left
//! over, in a log that holds only those that are decided. A log that keeps commands for a time is judged by those it
//! still has. One batch of commands is kept at a time.

use crate::audit::asked::contradiction;
use crate::domain::{Cause, Event, EventBody, PoolSpec};
use crate::limits::TURN_BYTES_MAX;
use crate::log::{CommandTail, LogError, Record};
use crate::wire;
use std::collections::VecDeque;
use std::ops::Range;

/// Differences told of one partition; whoever has as many has a log that answers other commands than it holds.
const DIFFERENCES_MAX: u64 = 100;

/// What a look at the commands finds.
pub(super) enum Finding {
    /// The event is wrong.
    Wrong(String),
    /// It may be right, and is worth knowing.
    Odd(String),
}

/// A partition's commands, read as its events are.
pub(super) struct Commands<'a> {
    log: &'a dyn CommandTail,
    partition: u32,
    /// Whether the log goes on behind what is judged, and places without a record are decided like any other.
    is_open: bool,
    read: VecDeque<Record>,
    next: u64,
    /// The first that the log still has, as far as anybody knows.
    first: u64,
    compared: u64,
    answered: u64,
    /// An event could not be read: which command it answers, and so which are answered in all, is not known.
    is_count_lost: bool,
    differences: u64,
    /// There is nothing more to be said of them.
    is_over: bool,
}

impl<'a> Commands<'a> {
    /// Of a log that holds what is decided and nothing else.
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

    /// Of a log that takes commands by itself, and keeps them for a time.
    pub(super) fn of_taken(log: &'a dyn CommandTail, partition: u32) -> Result<Commands<'a>, LogError> {
        Ok(Commands { is_open: true, ..Commands::of_decided(log, partition)? })
    }

    /// How many commands were compared, and how many were answered in all.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.compared, self.answered)
    }

    /// There is an event that cannot be read.
    pub(super) fn lose_count(&mut self) {
        self.is_count_lost = true;
    }

    /// What is to be said of the command that the event answers, and of the places that it says hold none or were lost.
    /// One that is decided twice is the auditor's to tell.
    /// `said` is what was said before it of the pool that it is about.
    pub(super) fn compare(&mut self, event: &Event, said: Option<&PoolSpec>) -> Option<Finding> {
        let cause = event.cause.as_ref().filter(|cause| !self.is_over && cause.input_offset >= self.next)?;
        let offset = cause.input_offset;
        let before = cause.first().unwrap_or_default().max(self.next)..offset;
        self.next = offset.saturating_add(1);
        if matches!(event.body, EventBody::CommandsLost { .. }) {
            let there = self.first_in(before.start..self.next).unwrap_or_default()?;
            return Some(Finding::Odd(format!(
                "seq {} says that the commands from {} to {offset} are lost, and the log holds {there}",
                event.seq, before.start
            )));
        }
        self.answered = self.answered.saturating_add(1);
        let difference = match self.first_in(before) {
            Ok(None) => self.answers(event, cause, said)?,
            Ok(Some(there)) => {
                format!("it says that there is no command right before {offset}, and the log holds {there}")
            }
            Err(error) => {
                self.is_over = true;
                format!("the commands before the one it answers cannot be read: {error}")
            }
        };
        self.differences = self.differences.saturating_add(1);
        self.is_over |= self.differences >= DIFFERENCES_MAX;
        Some(Finding::Wrong(difference))
    }

    /// What is wrong with the command itself.
    fn answers(&mut self, event: &Event, cause: &Cause, before: Option<&PoolSpec>) -> Option<String> {
        let offset = cause.input_offset;
        if offset < self.first {
            return None;
        }
        match self.at(offset) {
            Ok(Some(record)) => {
                self.compared = self.compared.saturating_add(1);
                difference(&record, event, cause, before)
            }
            // It went while this was reading.
            Ok(None) if offset < self.first => None,
            Ok(None) => {
                self.is_over = true;
                Some(format!("it answers command {offset}, which the log does not hold"))
            }
            Err(error) => {
                self.is_over = true;
                Some(format!("the command it answers cannot be read: {error}"))
            }
        }
    }

    /// The first of these places where the log still holds a command.
    fn first_in(&mut self, places: Range<u64>) -> Result<Option<u64>, LogError> {
        let places = places.start.max(self.first)..places.end;
        if places.is_empty() {
            return Ok(None);
        }
        self.read_to(places.start)?;
        Ok(self.read.front().map(|record| record.offset).filter(|offset| *offset < places.end))
    }

    /// Lets go of what was read before this place, and reads on where nothing is left.
    fn read_to(&mut self, offset: u64) -> Result<(), LogError> {
        while self.read.front().is_some_and(|record| record.offset < offset) {
            self.read.pop_front();
        }
        if self.read.is_empty() {
            self.read = self.log.commands(self.partition, offset, TURN_BYTES_MAX)?.into();
        }
        Ok(())
    }

    /// Whether commands are there that no event answers, or are gone before one did; to be asked after the last event.
    pub(super) fn left_over(&mut self) -> Option<String> {
        if self.is_over || self.is_count_lost {
            return None;
        }
        if self.is_open {
            // The first that is there now may have been decided since the last event was read.
            let until = self.first.checked_sub(1).filter(|last| *last >= self.next)?;
            return Some(format!("the log ends here, and commands {} to {until} are gone, unanswered", self.next));
        }
        match self.at(self.next) {
            Ok(None) => None,
            Ok(Some(record)) => Some(format!("the log ends here and holds command {}, unanswered", record.offset)),
            Err(error) => Some(format!("the commands after the last one answered cannot be read: {error}")),
        }
    }

    fn at(&mut self, offset: u64) -> Result<Option<Record>, LogError> {
        self.read_to(offset)?;
        match self.read.front() {
            Some(record) if record.offset == offset => Ok(self.read.pop_front()),
            None if !self.is_open => Ok(None),
            other => {
                let is_place = other.is_some();
                self.first = self.log.first(self.partition)?;
                // Whoever decides it finds no bytes.
                Ok((is_place && offset >= self.first).then(|| Record { offset, skipped: 0, bytes: Vec::new() }))
            }
        }
    }
}

/// How the command is another one than the event says. What cannot be read must be answered as such.
fn difference(record: &Record, event: &Event, cause: &Cause, before: Option<&PoolSpec>) -> Option<String> {
    let offset = record.offset;
    match (wire::command::decode(&record.bytes), &cause.command) {
        (Ok(command), Some(said)) if command.stamp() == *said => contradiction(event, &command, before),
        (Ok(command), Some(said)) if command.id != said.id => {
            Some(format!("it answers command {:032x}, at offset {offset} is {:032x}", said.id.0, command.id.0))
        }
        (Ok(command), Some(said)) => {
            let stamp = command.stamp();
            Some(format!("it says of command {offset} that it is {said:?}, the log holds {stamp:?}"))
        }
        (Ok(_), None) => Some(format!("it says that command {offset} cannot be read, and it can")),
        (Err(_), None) => {
            let found = wire::command::id_of(&record.bytes);
            let is_told = cause.unread.is_none() || cause.unread == found;
            (!is_told)
                .then(|| format!("it says that {:032x?} is at offset {offset}, there is {found:032x?}", cause.unread))
        }
        (Err(error), Some(_)) => Some(format!("it answers command {offset}, of which nothing can be read: {error}")),
    }
}
