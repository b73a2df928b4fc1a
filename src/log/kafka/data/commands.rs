//! Reading commands that are in the cluster still, beside whoever decides them.

use super::record;
use crate::log::kafka::client::reader::{Reader, offset_of};
use crate::log::kafka::client::settings::ASK_LIMIT;
use crate::log::kafka::schema::framing::Writer;
use crate::log::kafka::{Inner, Kafka};
use crate::log::{CommandTail, LogError, StoredCommand};
use rdkafka::message::Message;

/// What a record costs beside its bytes.
const RECORD_BYTES: usize = 64;

/// A reader that stands at a command.
pub(in crate::log::kafka) struct Cursor {
    partition: u32,
    next: u64,
    reader: Reader,
}

impl CommandTail for Kafka {
    fn first(&self, partition: u32) -> Result<u64, LogError> {
        let inner = &self.inner;
        inner.check(partition)?;
        let (first, _) = inner.with_reader(|reader| reader.bounds(&inner.cluster.topics.commands, partition))?;
        Ok(u64::try_from(first).unwrap_or_default())
    }

    fn commands(&self, partition: u32, from: u64, bytes_max: usize) -> Result<Vec<StoredCommand>, LogError> {
        let inner = &self.inner;
        inner.check(partition)?;
        let kept = inner.command_cursor.lock().take();
        let cursor = match kept {
            Some(cursor) if cursor.partition == partition && cursor.next == from => cursor,
            other => {
                other.into_iter().for_each(|cursor| inner.give_back(cursor.reader));
                let Some(cursor) = inner.stand_at(partition, from)? else { return Ok(Vec::new()) };
                cursor
            }
        };
        inner.commands(cursor, bytes_max)
    }
}

impl Inner {
    /// Nothing where the log ends before `from`.
    fn stand_at(&self, partition: u32, from: u64) -> Result<Option<Cursor>, LogError> {
        let topic = &self.cluster.topics.commands;
        let reader = self.take_reader()?;
        let (first, end) = reader.bounds(topic, partition)?;
        let offset = offset_of(from).max(first);
        if offset >= end {
            self.give_back(reader);
            return Ok(None);
        }
        reader.assign(topic, partition, offset)?;
        let next = u64::try_from(offset).unwrap_or_default();
        Ok(Some(Cursor { partition, next, reader }))
    }

    fn commands(&self, mut cursor: Cursor, bytes_max: usize) -> Result<Vec<StoredCommand>, LogError> {
        let (mut records, mut bytes) = (Vec::new(), 0usize);
        let Cursor { partition, next, reader } = &mut cursor;
        let at_end = reader.each((&self.cluster.topics.commands, *partition), ASK_LIMIT, |message| {
            bytes = bytes.saturating_add(message.payload_len()).saturating_add(RECORD_BYTES);
            let read = record::command(message, self.manifest.log_id, |payload, schema| {
                self.framing.incoming_awaited(payload, schema, Writer::Anyone)
            });
            let read = read.map_err(|why| why.at(&self.cluster.topics.commands, *partition, message.offset()))?;
            *next = read.offset.saturating_add(1);
            records.push(read);
            Ok::<_, LogError>(bytes < bytes_max)
        })?;
        if at_end {
            self.give_back(cursor.reader);
        } else {
            *self.command_cursor.lock() = Some(cursor);
        }
        Ok(records)
    }
}
