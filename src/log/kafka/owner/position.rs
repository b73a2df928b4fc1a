//! Finding the next command of a partition. The topic keeps commands for a time only, and somebody may empty it, or delete
//! it and create it again. An owner that does not find the commands that follow the last one decided does not continue. It
//! reports that, and an operator has to record in the log that commands are skipped (`headroom commands skip`).

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

/// How long a connected reader may take to report the bounds of the commands; it usually takes a millisecond.
const SEEK_LIMIT: Duration = Duration::from_secs(1);
/// How many filler records are written at once.
const FILLED_AT_ONCE: u64 = 1_000;

/// Whether the commands in the topic follow those that were decided.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Continuity {
    /// The next command is at its offset, or will be appended there.
    Sound,
    /// Commands were removed before anybody decided them.
    Removed {
        /// The offset of the first of them.
        from: u64,
        /// The offset of the first command that the topic still has.
        until: u64,
    },
    /// The topic ends before the last command decided: it was created again or truncated.
    Short {
        /// The offset of the next command to decide.
        next: u64,
        /// The offset at which the topic ends.
        end: u64,
    },
    /// Another command is at the offset of the last one decided: the topic was created again.
    Other {
        /// The offset of the last command decided.
        at: u64,
        /// The offset at which the topic ends.
        end: u64,
    },
}

impl Continuity {
    /// The offset after the last command that an owner must skip; `None` where it need not skip any.
    pub fn skip_until(self) -> Option<u64> {
        match self {
            Continuity::Sound => None,
            Continuity::Removed { until, .. } => Some(until),
            // The event that records the skip skips one offset at least.
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
                write!(f, "the topic ends at {end}, and the next command is {next}: it was created again or truncated")
            }
            Continuity::Other { at, .. } => {
                write!(f, "command {at} is not the one that was decided: the topic was created again")
            }
        }
    }
}

/// The state of a partition's commands, for tools.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CommandsPosition {
    /// The offset of the next command to decide.
    pub next: u64,
    /// The offset of the first command that the topic still has.
    pub first: u64,
    /// The offset at which the topic ends.
    pub end: u64,
    /// Whether the commands follow those that were decided.
    pub continuity: Continuity,
}

impl Kafka {
    /// Compares the topic of commands with what was decided.
    ///
    /// # Errors
    /// [`LogError`] when commands or events cannot be read.
    pub fn commands_position(&self, partition: u32) -> Result<CommandsPosition, LogError> {
        let inner = &self.inner;
        inner.context.check(partition)?;
        let decided = inner.events.decided(partition)?;
        inner.context.readers.with(|reader| inner.look(partition, decided, reader)).map(|(position, _)| position)
    }

    /// Claims a partition like [`crate::log::PartitionLog::claim`], for a tool that polls no command. So it does not matter
    /// where the next one is: where events are lost, the commands after the last event that is left may be gone as well.
    ///
    /// # Errors
    /// [`ClaimError`] like a claim.
    pub fn take_without_commands(
        &self,
        partition: u32,
        from_seq: u64,
        fold: &mut Fold<'_>,
    ) -> Result<Owned, ClaimError> {
        let taken = self.inner.take(partition, from_seq, fold)?;
        Ok(self.inner.owned(taken))
    }

    /// Claims a partition like [`crate::log::PartitionLog::claim`], for a tool that records in the log that commands are
    /// skipped and decides none. Where the topic is too short, it is filled with records that nobody decides, up to the offset
    /// at which an owner can continue.
    ///
    /// # Errors
    /// [`ClaimError`] like a claim.
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
    /// Assigns a reader to the next command: this one, or a new one if this one does not answer. A client that was created
    /// before a broker failed may not have noticed.
    ///
    /// # Errors
    /// [`LogError`] when the commands do not follow those that were decided, or the cluster does not answer.
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
            continuity => Err(LogError::operator(format!(
                "{at}: {continuity}; headroom commands skip --partition {partition} --reason TEXT records that in \
                 the log, and later commands are decided"
            ))),
        }
    }

    /// The state of the commands, and whether the reader is assigned to the next one already.
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
