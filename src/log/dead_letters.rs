//! Dead letters: commands that nobody could decide. Each has its event like any other command; the letter keeps what it
//! was, for a person to look at, to send again, or to put aside. Its id is the command's place, so that one told twice is
//! one.

use super::error::LogError;
use crate::domain::Micros;
use std::fmt;
use std::str::FromStr;

/// What a turn says of one of its inputs that nobody could decide. It is a function of the input's bytes and partition,
/// and of the schemas that this program knows: decided again, it is one again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Undecidable {
    /// The offset of the input among the commands of its partition.
    pub offset: u64,
    /// When it was decided.
    pub at: Micros,
    /// Why, for a person.
    pub reason: String,
}

/// A letter's id: where its command lies. As text `<partition>-<offset>`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct DeadLetterId {
    /// The partition it came to.
    pub partition: u32,
    /// Its offset there.
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

/// What was done about a letter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Resolution {
    /// Its command was appended again.
    Retried,
    /// It was put aside.
    Discarded,
}

impl Resolution {
    /// As it is written.
    pub fn text(self) -> &'static str {
        match self {
            Resolution::Retried => "retried",
            Resolution::Discarded => "discarded",
        }
    }

    /// What is written so.
    pub fn named(text: &str) -> Option<Resolution> {
        [Resolution::Retried, Resolution::Discarded].into_iter().find(|resolution| resolution.text() == text)
    }
}

/// A letter as the log keeps it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeadLetter {
    /// The partition whose owner could not decide it.
    pub partition: u32,
    /// What the turn said of it.
    pub said: Undecidable,
    /// How many bytes the command had.
    pub length: u64,
    /// What was done about it, and when.
    pub resolved: Option<(Resolution, Micros)>,
}

impl DeadLetter {
    /// Where the command of the letter lies.
    pub fn id(&self) -> DeadLetterId {
        DeadLetterId { partition: self.partition, offset: self.said.offset }
    }
}

/// A command as it was.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RawCommand {
    /// Its key, where the log keeps keys.
    pub key: Option<Vec<u8>>,
    /// Its bytes, up to [`crate::limits::LETTER_BYTES_MAX`]; `None` if its place held no value.
    pub bytes: Option<Vec<u8>>,
    /// What its record says of the schema that it was written under, where records say that.
    pub schema: Option<[u8; 8]>,
}

/// A log's dead letters, for those who look after it.
pub trait DeadLetters: Send + Sync {
    /// The partition's letters, by offset: at most [`crate::limits::LETTERS_MAX`], the oldest.
    ///
    /// # Errors
    /// [`LogError`] when they cannot be read.
    fn letters(&self, partition: u32) -> Result<Vec<DeadLetter>, LogError>;

    /// The command of a letter that is there, as it was.
    ///
    /// # Errors
    /// [`LogError`] when it cannot be read.
    fn original(&self, id: DeadLetterId) -> Result<RawCommand, LogError>;

    /// The bytes of a command that has any, as they are read inside, whatever frame they have in the log.
    ///
    /// # Errors
    /// [`LogError`] when it cannot be known yet what they are.
    fn inside(&self, original: &RawCommand) -> Result<Vec<u8>, LogError> {
        Ok(original.bytes.clone().unwrap_or_default())
    }

    /// Appends a command to the partition, as it was. When this returns it is in the log.
    ///
    /// # Errors
    /// [`LogError`] when it may not be.
    fn append_again(&self, partition: u32, original: &RawCommand) -> Result<(), LogError>;

    /// Notes what was done about a letter. When this returns it stays noted.
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
