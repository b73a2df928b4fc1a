//! Where an owner goes on among a partition's commands. They are kept for a time, by a topic that somebody may empty or
//! make anew: an owner that finds other commands than those that follow the last one decided does not go on. That is
//! told, and a person has to say so in the log (`headroom commands skip`).

use super::owned::Owned;
use crate::log::kafka::Kafka;
use crate::log::kafka::client::durable::Sending;
use crate::log::kafka::client::reader::{Next, Reader, offset_of, unanswered};
use crate::log::kafka::client::settings::ASK_LIMIT;
use crate::log::kafka::data::record::{self, Decided};
use crate::log::kafka::inner::Inner;
use crate::log::{ClaimError, Fold, LogError};
use crate::time::Stopwatch;
use rdkafka::message::{Message, OwnedHeaders};
use std::fmt;
use std::time::Duration;

/// How long a reader may take to say where the commands lie; one that knows its way takes a millisecond.
const SEEK_LIMIT: Duration = Duration::from_secs(1);
/// Records that fill the places of commands that were decided in a topic that is gone, written at once.
const FILLED_AT_ONCE: u64 = 1_000;

/// How a partition's commands stand to what was decided of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Continuity {
    /// The next command is where it should be, or will be.
    Sound,
    /// Commands were removed before anybody decided them.
    Removed {
        /// The first of them.
        from: u64,
        /// The first that is there.
        until: u64,
    },
    /// The topic ends before the last command decided: it was made anew, or cut off.
    Short {
        /// The next command to decide.
        next: u64,
        /// Where the topic ends.
        end: u64,
    },
    /// Another command than the one decided is in its place: the topic was made anew.
    Other {
        /// That place.
        at: u64,
        /// Where the topic ends.
        end: u64,
    },
}

impl Continuity {
    /// The offset after the last that an owner must leave out to go on; nothing where it can go on.
    pub fn skip_until(self) -> Option<u64> {
        match self {
            Continuity::Sound => None,
            Continuity::Removed { until, .. } => Some(until),
            // An event says so, and an event of this kind leaves out one place at least.
            Continuity::Short { next, end } => Some(end.max(next.saturating_add(1))),
            Continuity::Other { at, end } => Some(end.max(at.saturating_add(2))),
        }
    }
}

impl fmt::Display for Continuity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Continuity::Sound => f.write_str("sound"),
            Continuity::Removed { from, until } => {
                let last = until.saturating_sub(1);
                write!(f, "commands {from} to {last} were removed before they were decided")
            }
            Continuity::Short { next, end } => {
                write!(f, "the topic ends at {end}, and the next command is {next}: it was made anew or cut off")
            }
            Continuity::Other { at, .. } => {
                write!(f, "command {at} is another one than was decided: the topic was made anew")
            }
        }
    }
}

/// A partition's commands, as somebody looks at them who owns nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CommandsPosition {
    /// The next command to decide.
    pub next: u64,
    /// The first command that is there.
    pub first: u64,
    /// Where the topic ends.
    pub end: u64,
    /// How they stand to each other.
    pub continuity: Continuity,
}

impl Kafka {
    /// How a partition's commands stand to what was decided of them.
    ///
    /// # Errors
    /// [`LogError`] when commands or events cannot be read.
    pub fn commands_position(&self, partition: u32) -> Result<CommandsPosition, LogError> {
        let inner = &self.inner;
        inner.context.check(partition)?;
        let decided = inner.events.decided(partition)?;
        inner.context.readers.with(|reader| inner.look(partition, decided, reader)).map(|(position, _)| position)
    }

    /// Takes a partition like [`crate::log::PartitionLog::claim`], for somebody who will say in the log that commands are
    /// left out, and decide none. Answers how they stand as well; places of commands that the topic lacks are filled with
    /// records that nobody decides.
    ///
    /// # Errors
    /// [`ClaimError`], as of a claim.
    pub fn take_past_gap(
        &self,
        partition: u32,
        from_seq: u64,
        fold: &mut Fold<'_>,
    ) -> Result<(Owned, Continuity), ClaimError> {
        let inner = &self.inner;
        let taken = inner.take(partition, from_seq, fold)?;
        let (position, _) = inner.context.readers.with(|reader| inner.look(partition, taken.next.decided, reader))?;
        let missing = position.continuity.skip_until().unwrap_or_default().saturating_sub(position.end);
        inner.fill(partition, missing)?;
        Ok((inner.owned(taken), position.continuity))
    }
}

impl Inner {
    /// Has a reader stand at the next command: this one, or a new one if it does not know its way. A client that was made
    /// before a broker went may not have noticed.
    pub(super) fn seek_commands(&self, partition: u32, decided: Decided, reader: Reader) -> Result<Reader, LogError> {
        let at = self.context.commands(partition);
        let reader = match reader.bounds_within(at, SEEK_LIMIT) {
            Ok(_) => reader,
            Err(_) => Reader::waiting(&self.context.cluster)?,
        };
        let (position, is_there) = self.look(partition, decided, &reader)?;
        match position.continuity {
            Continuity::Sound if is_there => Ok(reader),
            Continuity::Sound => {
                reader.assign(at, offset_of(decided.next_input))?;
                Ok(reader)
            }
            continuity => Err(LogError::new(format!(
                "{at}: {continuity}; headroom commands skip --partition {partition} says so in the log, and \
                 what comes after it is decided"
            ))),
        }
    }

    /// How the commands stand, and whether the reader stands at the next one.
    fn look(&self, partition: u32, decided: Decided, reader: &Reader) -> Result<(CommandsPosition, bool), LogError> {
        let bounds = reader.bounds(self.context.commands(partition))?;
        let [first, end] = [bounds.first, bounds.end].map(|offset| u64::try_from(offset).unwrap_or_default());
        let next = decided.next_input;
        let last = next.checked_sub(1).filter(|last| (first..end).contains(last) && decided.check != 0);
        let continuity = match last {
            _ if next < first => Continuity::Removed { from: next, until: first },
            _ if next > end => Continuity::Short { next, end },
            Some(at) if !self.holds(partition, (at, decided.check), reader)? => Continuity::Other { at, end },
            _ => Continuity::Sound,
        };
        Ok((CommandsPosition { next, first, end, continuity }, last.is_some()))
    }

    /// Whether the command at this offset has this check.
    fn holds(&self, partition: u32, (at, check): (u64, u64), reader: &Reader) -> Result<bool, LogError> {
        let commands = self.context.commands(partition);
        reader.assign(commands, offset_of(at))?;
        let reading = Stopwatch::start();
        while !reading.left_of(ASK_LIMIT).is_zero() {
            match reader.next(reading.left_of(ASK_LIMIT))? {
                Next::Message(message) => {
                    let value = message.payload().unwrap_or_default();
                    return Ok(message.offset() == offset_of(at) && record::check_of(value) == check);
                }
                Next::End => return Ok(false),
                Next::Nothing => {}
            }
        }
        Err(unanswered(commands))
    }

    fn fill(&self, partition: u32, count: u64) -> Result<(), LogError> {
        let to = self.context.commands(partition);
        let mut left = count;
        while left > 0 {
            let batch = left.min(FILLED_AT_ONCE);
            let filler = |_| Sending { to, headers: OwnedHeaders::new(), key: None, bytes: None };
            self.context.durable.write(&(0..batch).map(filler).collect::<Vec<_>>())?;
            left = left.saturating_sub(batch);
        }
        Ok(())
    }
}
