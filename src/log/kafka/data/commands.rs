//! Reading the commands that the topic still holds, without deciding them: for tools that look at a log.

use super::context::LogContext;
use super::record;
use crate::log::kafka::client::reader::{Reader, offset_of};
use crate::log::kafka::client::settings::ASK_LIMIT;
use crate::log::kafka::schema::framing::Writer;
use crate::log::{LogError, StoredCommand};
use parking_lot::Mutex;
use rdkafka::message::Message;
use std::sync::Arc;

/// What a record counts in an answer beside its bytes.
const RECORD_BYTES: usize = 64;

/// A read that the next call may continue.
struct Cursor {
    partition: u32,
    next: u64,
    reader: Reader,
    /// Where the partition ended when the read began.
    until: i64,
}

/// Reads the topic of commands. Calls may come from any thread.
pub(in crate::log::kafka) struct CommandsTopic {
    context: Arc<LogContext>,
    cursor: Mutex<Option<Cursor>>,
}

impl CommandsTopic {
    pub(in crate::log::kafka) fn new(context: Arc<LogContext>) -> CommandsTopic {
        CommandsTopic { context, cursor: Mutex::new(None) }
    }

    /// The offset of the first command that the partition still has.
    pub(in crate::log::kafka) fn first(&self, partition: u32) -> Result<u64, LogError> {
        self.context.check(partition)?;
        let bounds = self.context.readers.with(|reader| reader.bounds(self.context.commands(partition)))?;
        Ok(u64::try_from(bounds.first).unwrap_or_default())
    }

    /// Commands from offset `from` on, of about `bytes_max` together; none where the topic ends before `from`.
    pub(in crate::log::kafka) fn read(
        &self,
        partition: u32,
        from: u64,
        bytes_max: usize,
    ) -> Result<Vec<StoredCommand>, LogError> {
        self.context.check(partition)?;
        let kept = self.cursor.lock().take();
        match kept {
            Some(cursor) if cursor.partition == partition && cursor.next == from => {
                let records = self.read_on(cursor, bytes_max)?;
                if !records.is_empty() {
                    return Ok(records);
                }
                // A kept read comes to where the partition ended a while ago.
            }
            Some(cursor) => self.context.readers.give_back(cursor.reader),
            None => {}
        }
        match self.cursor_at(partition, from)? {
            Some(cursor) => self.read_on(cursor, bytes_max),
            None => Ok(Vec::new()),
        }
    }

    /// `None` where the topic ends before `from`.
    fn cursor_at(&self, partition: u32, from: u64) -> Result<Option<Cursor>, LogError> {
        let at = self.context.commands(partition);
        let reader = self.context.readers.take()?;
        let bounds = reader.bounds(at)?;
        let offset = offset_of(from).max(bounds.first);
        if offset >= bounds.end {
            self.context.readers.give_back(reader);
            return Ok(None);
        }
        reader.assign(at, offset)?;
        let next = u64::try_from(offset).unwrap_or_default();
        Ok(Some(Cursor { partition, next, reader, until: bounds.end }))
    }

    fn read_on(&self, mut cursor: Cursor, bytes_max: usize) -> Result<Vec<StoredCommand>, LogError> {
        let context = &self.context;
        let (mut records, mut bytes) = (Vec::new(), 0usize);
        let Cursor { partition, next, reader, until } = &mut cursor;
        let at = context.commands(*partition);
        let at_end = reader.each(at, *until, ASK_LIMIT, |message| {
            bytes = bytes.saturating_add(message.payload_len()).saturating_add(RECORD_BYTES);
            let read = record::command(message, context.manifest.log_id, |payload, schema| {
                context.framing.incoming_awaited(payload, schema, Writer::Anyone)
            });
            let read = read.map_err(|why| why.at(at, message.offset()))?;
            *next = read.offset.saturating_add(1);
            records.push(read);
            Ok::<_, LogError>(bytes < bytes_max)
        })?;
        if at_end {
            context.readers.give_back(cursor.reader);
        } else {
            *self.cursor.lock() = Some(cursor);
        }
        Ok(records)
    }
}
