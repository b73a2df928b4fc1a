//! Replies: an outcome on its way back to the gateway that waits for it. A reply says exactly what is recorded: it
//! holds the event's bytes and their digest, and nothing else.

use super::codes::codes;
use super::field::{Bytes, Bytes16, Code, Coded, record};
use super::schema::REPLIES;
use super::{DecodeError, event, present};
use crate::log::Reply;
use std::borrow::Cow;

/// What a reply tells.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum ReplyKind {
    Decided,
}

codes! { ReplyKind as "ReplyKind", "Unknown":
    "Decided" = ReplyKind::Decided,
}

record! {
    /// The schema's record.
    ReplyRecord {
        kind: Coded<ReplyKind>,
        to: i64,
        digest: Bytes16,
        event: Bytes<'a>,
    }
}

/// The framed reply. The event is not encoded again: its bytes are those that the turn has written.
pub fn encode(reply: &Reply) -> Vec<u8> {
    let Reply { to, decided, bytes } = reply;
    let record = ReplyRecord {
        to: Some(to.cast_signed()),
        digest: Some(Bytes16(decided.digest)),
        event: Some(Bytes(Cow::Borrowed(bytes))),
        ..ReplyRecord::of(Coded(ReplyKind::Decided))
    };
    REPLIES.write(&record, bytes.len().saturating_add(64))
}

/// The reply behind framed bytes.
///
/// # Errors
/// [`DecodeError`] says what is wrong with the bytes; also when the event is not the one the digest names.
pub fn decode(bytes: &[u8]) -> Result<Reply, DecodeError> {
    let (record, _) = REPLIES.read::<ReplyRecord<'static>>(bytes)?;
    let bytes = present(record.event, "event")?.0.into_owned();
    let decided = event::decode(&bytes)?;
    if decided.digest != present(record.digest, "digest")?.0 {
        return Err(DecodeError::new("the event is not the one that the digest names"));
    }
    Ok(Reply { to: present(record.to, "to")?.cast_unsigned(), decided, bytes })
}
