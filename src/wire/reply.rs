//! Replies: outcomes on their way back to the gateway that waits. A reply says exactly what is recorded: it holds the
//! event's bytes and their digest.

use super::codes::codes;
use super::field::{Bytes, Bytes16, Code, Coded, record};
use super::schema::REPLIES;
use super::{DecodeError, event, present};
use crate::log::Reply;
use std::borrow::Cow;

/// What a reply says.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum ReplyKind {
    Decided,
}

codes! { ReplyKind as "ReplyKind", "Unknown":
    "Decided" = ReplyKind::Decided,
}

record! {
    /// A reply with the fields of its schema.
    ReplyRecord {
        kind: Coded<ReplyKind>,
        to: i64,
        digest: Bytes16,
        event: Bytes<'a>,
    }
}

/// Encodes a reply, with its frame. The event is not encoded again: `bytes` are those that its turn has written.
pub fn encode(reply: &Reply) -> Vec<u8> {
    let Reply { to, decided, bytes, .. } = reply;
    let record = ReplyRecord {
        to: Some(to.cast_signed()),
        digest: Some(Bytes16(decided.digest)),
        event: Some(Bytes(Cow::Borrowed(bytes))),
        ..ReplyRecord::of(Coded(ReplyKind::Decided))
    };
    REPLIES.write(&record, bytes.len().saturating_add(64))
}

/// Decodes a reply with its frame.
///
/// # Errors
/// [`DecodeError`] says what is wrong with the bytes, also when the digest is not that of the event.
pub fn decode(bytes: &[u8]) -> Result<Reply, DecodeError> {
    let (record, _) = REPLIES.read::<ReplyRecord<'static>>(bytes)?;
    let bytes = present(record.event, "event")?.0.into_owned();
    let decided = event::decode(&bytes)?;
    if decided.digest != present(record.digest, "digest")?.0 {
        return Err(DecodeError::new("the event is not the one that the digest names"));
    }
    Ok(Reply { to: present(record.to, "to")?.cast_unsigned(), decided, bytes, trace: None })
}
