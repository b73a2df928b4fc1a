//! Replies: an outcome on its way back to the gateway that waits for it. A reply says exactly what is recorded: it
//! holds the event's bytes and their digest, and nothing else.

use super::codes::codes;
use super::field::{Bytes, Bytes16, Code, Coded, record};
use super::schema::REPLIES;
use super::{DecodeError, event, present};
use crate::domain::ChainedEvent;
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

/// An outcome on its way back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply {
    /// The gateway.
    pub to: u64,
    /// The decision, as recorded.
    pub decided: ChainedEvent,
}

/// The framed reply.
pub fn encode(to: u64, decided: &ChainedEvent) -> Vec<u8> {
    let (event, digest) = event::encode(&decided.event);
    debug_assert_eq!(digest, decided.digest, "an event is encoded as it was recorded");
    let capacity = event.len().saturating_add(64);
    let record = ReplyRecord {
        to: Some(to.cast_signed()),
        digest: Some(Bytes16(decided.digest)),
        event: Some(Bytes(Cow::Owned(event))),
        ..ReplyRecord::of(Coded(ReplyKind::Decided))
    };
    REPLIES.write(&record, capacity)
}

/// The reply behind framed bytes.
///
/// # Errors
/// [`DecodeError`] says what is wrong with the bytes; also when the event is not the one the digest names.
pub fn decode(bytes: &[u8]) -> Result<Reply, DecodeError> {
    let (record, _) = REPLIES.read::<ReplyRecord<'static>>(bytes)?;
    let decided = event::decode(&present(record.event, "event")?.0)?;
    if decided.digest != present(record.digest, "digest")?.0 {
        return Err(DecodeError::new("the event is not the one that the digest names"));
    }
    Ok(Reply { to: present(record.to, "to")?.cast_unsigned(), decided })
}
