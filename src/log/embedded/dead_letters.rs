//! Dead letters of the embedded log. The log keeps every command with its event, and the event says whether the command
//! is a dead letter. Only resolutions are written, each in a frame of its own.

use super::super::dead_letters::{DeadLetter, DeadLetterId, DeadLetters, RawCommand, Resolution, Undecidable};
use super::super::{LogError, StoredCommand};
use super::draft::Draft;
use super::error::damaged;
use super::frame::Records;
use super::read::Span;
use super::{CLAIM_READ_BYTES, Embedded, EmbeddedReader, Shared, stored_command};
use crate::domain::Micros;
use crate::limits::LETTERS_MAX;
use crate::wire;

impl Shared {
    fn letters(&self, partition: u32) -> Result<Vec<DeadLetter>, LogError> {
        let head = self.committer.head(partition)?;
        let (mut letters, mut from) = (Vec::new(), self.first(partition)?.next_seq);
        while from < head.next_seq {
            for event in self.events(partition, from, head.next_seq, CLAIM_READ_BYTES)? {
                from = event.seq.saturating_add(1);
                // headroom verify reports an event that cannot be read.
                let Ok(chained) = wire::event::decode(&event.bytes) else { continue };
                let event = &chained.event;
                let (Some(reason), Some(cause)) = (event.body.undecidable(), &event.cause) else { continue };
                if letters.len() >= LETTERS_MAX {
                    return Ok(letters);
                }
                let said = Undecidable { offset: cause.input_offset, at: event.decided_at, reason };
                let length = self.command(partition, said.offset)?.map_or(0, |record| record.bytes.len());
                let length = u64::try_from(length).unwrap_or(u64::MAX);
                letters.push(DeadLetter { partition, said, length, resolved: None });
            }
        }
        self.settle(partition, &mut letters)?;
        Ok(letters)
    }

    fn command(&self, partition: u32, offset: u64) -> Result<Option<StoredCommand>, LogError> {
        let end = self.committer.head(partition)?.next_input;
        let span = Span { records: Records::Commands, partition, from: offset, end, bytes_max: 1 };
        let read = self.read(span, stored_command)?;
        Ok(read.into_iter().next())
    }

    /// Adds the resolution to each dead letter that has one.
    fn settle(&self, partition: u32, letters: &mut [DeadLetter]) -> Result<(), LogError> {
        let settled = self.file.with(|store| {
            let told = store.letters()?.into_iter().filter(|(of, ..)| *of == partition);
            for (_, offset, body) in told {
                let Some(letter) = letters.iter_mut().find(|letter| letter.said.offset == offset) else { continue };
                letter.resolved = Some(read(&body).ok_or_else(|| {
                    damaged(format!("the resolution of dead letter {} is not what was written", letter.id()))
                })?);
            }
            Ok(())
        });
        settled.map_err(|fault| fault.error(format_args!("reading {}", self.file.path.display())))
    }

    fn original(&self, id: DeadLetterId) -> Result<RawCommand, LogError> {
        let record = self.command(id.partition, id.offset)?;
        let bytes = record.filter(|record| record.offset == id.offset).map(|record| record.bytes);
        bytes.map(|bytes| RawCommand { bytes: Some(bytes), ..RawCommand::default() }).ok_or_else(|| {
            LogError::out_of_range(format!("{} does not hold command {}", self.file.path.display(), id.offset))
        })
    }

    fn resolve(&self, id: DeadLetterId, resolution: Resolution, now: Micros) -> Result<(), LogError> {
        let draft = Draft::of_letter(id.partition, id.offset, &body(resolution, now));
        let written = self.file.with(|store| store.append(&mut [draft]));
        written.map_err(|fault| self.committer.fail(fault.error(format_args!("writing {}", self.file.path.display()))))
    }
}

fn body(resolution: Resolution, now: Micros) -> Vec<u8> {
    let mut body = now.0.to_le_bytes().to_vec();
    body.extend_from_slice(resolution.text().as_bytes());
    body
}

fn read(body: &[u8]) -> Option<(Resolution, Micros)> {
    let (at, text) = body.split_first_chunk()?;
    Some((Resolution::named(std::str::from_utf8(text).ok()?)?, Micros(u64::from_le_bytes(*at))))
}

const ITS_SERVERS: &str = "only its own server appends commands to the embedded log: send it to the server again";

impl DeadLetters for Embedded {
    fn letters(&self, partition: u32) -> Result<Vec<DeadLetter>, LogError> {
        self.shared.letters(partition)
    }

    fn original(&self, id: DeadLetterId) -> Result<RawCommand, LogError> {
        self.shared.original(id)
    }

    fn append_again(&self, _: u32, _: &RawCommand) -> Result<(), LogError> {
        Err(LogError::operator(ITS_SERVERS))
    }

    fn resolve(&self, id: DeadLetterId, resolution: Resolution, now: Micros) -> Result<(), LogError> {
        self.shared.resolve(id, resolution, now)
    }
}

impl DeadLetters for EmbeddedReader {
    fn letters(&self, partition: u32) -> Result<Vec<DeadLetter>, LogError> {
        self.log.letters(partition)
    }

    fn original(&self, id: DeadLetterId) -> Result<RawCommand, LogError> {
        self.log.original(id)
    }

    fn append_again(&self, _: u32, _: &RawCommand) -> Result<(), LogError> {
        Err(LogError::operator(ITS_SERVERS))
    }

    fn resolve(&self, _: DeadLetterId, _: Resolution, _: Micros) -> Result<(), LogError> {
        Err(LogError::internal("the log was opened for reading"))
    }
}
