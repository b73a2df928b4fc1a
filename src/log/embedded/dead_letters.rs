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
    /// The oldest dead letters of a partition, so many at most.
    fn letters(&self, partition: u32, most: usize) -> Result<Vec<DeadLetter>, LogError> {
        let head = self.committer.head(partition)?;
        let (mut letters, mut from) = (Vec::new(), self.first(partition)?.next_seq);
        'all: while from < head.next_seq {
            for event in self.events(partition, from, head.next_seq, CLAIM_READ_BYTES)? {
                from = event.seq.saturating_add(1);
                // headroom verify reports an event that cannot be read.
                let Ok(chained) = wire::event::decode(&event.bytes) else { continue };
                let event = &chained.event;
                let (Some(reason), Some(cause)) = (event.body.undecidable(), &event.cause) else { continue };
                if letters.len() >= most {
                    break 'all;
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
                // They are in the order of their commands.
                let Ok(at) = letters.binary_search_by_key(&offset, |letter| letter.said.offset) else { continue };
                let Some(letter) = letters.get_mut(at) else { continue };
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
        // A log without room can be read. A write that is refused because of that must not make its contents count as unknown.
        if let Some(failure) = self.committer.failure() {
            return Err(failure);
        }
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
        self.shared.letters(partition, LETTERS_MAX)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Cause, Digest, Event, EventBody};
    use crate::log::embedded::Options;
    use crate::log::embedded::reopen::want_of_room;
    use crate::log::{CommitOutcome, OwnedPartition as _, PartitionLog as _, Turn, TurnEvent};
    use std::sync::Arc;
    use tempfile::TempDir;

    const NOW: Micros = Micros(1);

    /// An event that says that the command at this offset cannot be decided, and that command.
    fn undecided(offset: u64) -> (TurnEvent, StoredCommand) {
        let cause = Cause { input_offset: offset, skipped: 0, command: None, unread: None };
        let event = Event {
            partition: 0,
            seq: offset,
            epoch: 1,
            prev: Digest::default(),
            decided_at: NOW,
            cause: Some(cause),
            body: EventBody::Malformed { detail: "no record".to_owned() },
        };
        let (bytes, _) = wire::event::encode(&event);
        let command = StoredCommand { offset, skipped: 0, bytes: b"no command".to_vec(), trace: None };
        (TurnEvent { seq: offset, key: None, bytes }, command)
    }

    /// A log with five dead letters.
    fn with_letters(dir: &TempDir) -> Arc<Embedded> {
        let log = Embedded::open(dir.path(), Options { partitions: Some(1), log_id: 7, now: NOW }).unwrap();
        let mut owned = log.claim(0, 0, &mut |_| Ok(0)).unwrap();
        let (events, inputs) = (0..5).map(undecided).unzip();
        assert_eq!(owned.commit(Turn { events, inputs, dead: Vec::new() }.into()), CommitOutcome::Ok);
        log
    }

    /// The story: a partition has more dead letters than are listed. One of those that are was discarded, and is listed as such.
    #[test]
    fn what_was_resolved_is_listed_as_such_also_where_there_are_more_than_are_listed() {
        let dir = TempDir::new().unwrap();
        let log = with_letters(&dir);
        log.resolve(DeadLetterId { partition: 0, offset: 1 }, Resolution::Discarded, NOW).unwrap();
        for (most, listed) in [(9, 5), (5, 5), (3, 3)] {
            let letters = log.shared.letters(0, most).unwrap();
            let resolved: Vec<_> = letters.iter().map(|letter| letter.resolved.map(|resolved| resolved.0)).collect();
            assert_eq!((resolved.len(), resolved[0], resolved[1]), (listed, None, Some(Resolution::Discarded)));
        }
    }

    /// The story: a disk had no room left, so that its log could only be read. Somebody discarded a dead letter, and then the log
    /// could not be read either.
    #[test]
    fn a_log_without_room_refuses_a_resolution_and_can_still_be_read() {
        let dir = TempDir::new().unwrap();
        let log = with_letters(&dir);
        let shut = log.shared.file.with(|store| {
            store.shut();
            Ok(())
        });
        shut.unwrap();
        log.shared.committer.set_read_only(want_of_room(&log.shared.file));
        let refused = log.resolve(DeadLetterId { partition: 0, offset: 1 }, Resolution::Discarded, NOW).unwrap_err();
        assert!(refused.detail.contains("no disk space is left to write"), "{refused}");
        let letters = log.shared.letters(0, 9).unwrap();
        assert_eq!(letters.iter().filter(|letter| letter.resolved.is_none()).count(), 5);
    }
}
