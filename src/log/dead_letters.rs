//! Dead letters: commands that nobody could decide. Each has its event like any other command. The dead letter keeps
//! the command itself, so that an operator can look at it, retry it or discard it. Its id is the command's position, so
//! that one which is written twice counts once.

use super::error::LogError;
use crate::domain::Micros;
use std::fmt;
use std::str::FromStr;

/// What a turn says of one of its inputs that could not be decided. It depends only on the input's bytes and partition,
/// and on the schemas that this program knows: a second attempt comes to the same result.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Undecidable {
    /// The offset of the input among the commands of its partition.
    pub offset: u64,
    /// The time of the decision.
    pub at: Micros,
    /// The reason, as text for a person.
    pub reason: String,
}

/// The id of a dead letter: the position of its command. As text it is `<partition>-<offset>`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct DeadLetterId {
    /// The partition that received the command.
    pub partition: u32,
    /// The command's offset in that partition.
    pub offset: u64,
}

impl fmt::Display for DeadLetterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.partition, self.offset)
    }
}

impl FromStr for DeadLetterId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<DeadLetterId, &'static str> {
        let parts = text.split_once('-').and_then(|(p, o)| Some((p.parse().ok()?, o.parse().ok()?)));
        let (partition, offset) = parts.ok_or("a dead letter's id is a partition and an offset, such as 0-17")?;
        Ok(DeadLetterId { partition, offset })
    }
}

/// What an operator did about a dead letter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Resolution {
    /// Its command was appended again.
    Retried,
    /// It was discarded.
    Discarded,
}

impl Resolution {
    /// The text of it in the log.
    pub fn text(self) -> &'static str {
        match self {
            Resolution::Retried => "retried",
            Resolution::Discarded => "discarded",
        }
    }

    /// The resolution with this text.
    pub fn named(text: &str) -> Option<Resolution> {
        [Resolution::Retried, Resolution::Discarded].into_iter().find(|resolution| resolution.text() == text)
    }
}

/// A dead letter as the log keeps it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeadLetter {
    /// The partition whose owner could not decide it.
    pub partition: u32,
    /// What the turn said of the command.
    pub said: Undecidable,
    /// The number of bytes of the command.
    pub length: u64,
    /// What an operator did about it, and when.
    pub resolved: Option<(Resolution, Micros)>,
}

impl DeadLetter {
    /// The position of its command.
    pub fn id(&self) -> DeadLetterId {
        DeadLetterId { partition: self.partition, offset: self.said.offset }
    }
}

/// A command as it was appended.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RawCommand {
    /// Its key, where the log keeps keys.
    pub key: Option<Vec<u8>>,
    /// Its bytes, up to [`crate::limits::LETTER_BYTES_MAX`]; `None` if its record had no value.
    pub bytes: Option<Vec<u8>>,
    /// What its record says about the schema of its bytes, in a log whose records say it.
    pub schema: Option<[u8; 8]>,
}

/// The dead letters of a log, for operators.
pub trait DeadLetters: Send + Sync {
    /// The dead letters of the partition, by offset: the oldest ones, at most [`crate::limits::LETTERS_MAX`].
    ///
    /// # Errors
    /// [`LogError`] when they cannot be read.
    fn letters(&self, partition: u32) -> Result<Vec<DeadLetter>, LogError>;

    /// The command of an existing dead letter, as it was appended.
    ///
    /// # Errors
    /// [`LogError`] when it cannot be read.
    fn original(&self, id: DeadLetterId) -> Result<RawCommand, LogError>;

    /// The bytes of a command without the frame that they have in the log, for a command that has any.
    ///
    /// # Errors
    /// [`LogError`] when the frame cannot be read yet.
    fn inside(&self, original: &RawCommand) -> Result<Vec<u8>, LogError> {
        Ok(original.bytes.clone().unwrap_or_default())
    }

    /// Appends a command to the partition unchanged. When this returns, it is in the log.
    ///
    /// # Errors
    /// [`LogError`] when it may not be.
    fn append_again(&self, partition: u32, original: &RawCommand) -> Result<(), LogError>;

    /// Records what was done about a dead letter. When this returns, the record is durable.
    ///
    /// # Errors
    /// [`LogError`] when it may not be.
    fn resolve(&self, id: DeadLetterId, resolution: Resolution, now: Micros) -> Result<(), LogError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_is_written() {
        let id = DeadLetterId { partition: 3, offset: u64::MAX };
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in ["", "1", "-1", "1-", "1-2-3", "a-1", "4294967296-1"] {
            assert!(bad.parse::<DeadLetterId>().is_err(), "{bad}");
        }
    }
}
