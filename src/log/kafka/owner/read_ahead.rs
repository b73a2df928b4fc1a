//! A command that an owner has fetched and not handed over: it does not fit the current batch, or it cannot be read yet. Its
//! bytes stay here until it can be read. No later command is fetched meanwhile.

use crate::log::StoredCommand;
use crate::log::kafka::data::record;
use crate::log::kafka::schema::framing::{Framing, Unread, Writer};
use crate::trace::TraceContext;
use crate::wire::frame::Fingerprint;
use rdkafka::message::{BorrowedMessage, Message};

/// A command that was fetched and not handed over.
pub(super) enum ReadAhead {
    /// It can be decided.
    Read(StoredCommand),
    /// It cannot be read yet: its bytes as the cluster has them, and why.
    Unread { offset: u64, bytes: Vec<u8>, schema: Option<Fingerprint>, trace: Option<TraceContext>, why: Unread },
}

impl ReadAhead {
    /// Reads a message. Does not wait for the registry.
    pub(in crate::log::kafka) fn of(message: &BorrowedMessage<'_>, framing: &Framing, log_id: u128) -> ReadAhead {
        match record::command(message, log_id, |value, schema| framing.incoming(value, schema, Writer::Anyone)) {
            Ok(record) => ReadAhead::Read(record),
            Err(why) => {
                let offset = u64::try_from(message.offset()).unwrap_or_default();
                let bytes = message.payload().unwrap_or_default().to_vec();
                let (schema, trace) = (record::schema_of(message), record::trace_of(message));
                ReadAhead::Unread { offset, bytes, schema, trace, why }
            }
        }
    }

    pub(in crate::log::kafka) fn offset(&self) -> u64 {
        match self {
            ReadAhead::Read(record) => record.offset,
            ReadAhead::Unread { offset, .. } => *offset,
        }
    }

    /// Why it cannot be read; `None` when it could be.
    pub(in crate::log::kafka) fn why(&self) -> Option<&Unread> {
        match self {
            ReadAhead::Read(_) => None,
            ReadAhead::Unread { why, .. } => Some(why),
        }
    }

    /// Tries once more to read it. Does not wait for the registry.
    pub(in crate::log::kafka) fn again(self, framing: &Framing) -> ReadAhead {
        match self {
            ReadAhead::Read(_) => self,
            ReadAhead::Unread { offset, bytes, schema, trace, .. } => {
                match framing.incoming(&bytes, schema, Writer::Anyone) {
                    Ok(bytes) => ReadAhead::Read(StoredCommand { offset, skipped: 0, bytes, trace }),
                    Err(why) => ReadAhead::Unread { offset, bytes, schema, trace, why },
                }
            }
        }
    }
}
