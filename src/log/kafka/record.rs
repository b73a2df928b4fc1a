//! How turns lie in `events[p]`. An event's record has a header with its place: its sequence number and the input
//! offset after it, so that a log can be read from any place without knowing what events are. A *fence* is a record
//! without a value, which is no event: it is how a claim learns where the log of everyone before it ends.

use super::super::StoredEvent;
use super::framing::Framing;
use rdkafka::message::{BorrowedMessage, Header, Headers, Message, OwnedHeaders};

/// Names the header of an event.
const PLACE: &str = "place";
/// Names the header of a fence.
const FENCE: &str = "fence";

/// What a record of `events[p]` is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Found {
    /// An event, and the input offset after it.
    Event(StoredEvent, u64),
    /// A fence of this number.
    Fence(u128),
    /// Written by nobody who owns partitions.
    Foreign,
}

/// The header of an event at this place.
pub(super) fn place(seq: u64, next_input: u64) -> OwnedHeaders {
    let mut value = [0; 16];
    value[..8].copy_from_slice(&seq.to_be_bytes());
    value[8..].copy_from_slice(&next_input.to_be_bytes());
    OwnedHeaders::new_with_capacity(1).insert(Header { key: PLACE, value: Some(&value) })
}

/// The header of a fence.
pub(super) fn fence(nonce: u128) -> OwnedHeaders {
    OwnedHeaders::new_with_capacity(1).insert(Header { key: FENCE, value: Some(&nonce.to_be_bytes()) })
}

/// What a message is.
pub(super) fn found(message: &BorrowedMessage<'_>, framing: &Framing) -> Found {
    match (header(message), message.payload()) {
        (Some((PLACE, place)), Some(bytes)) => {
            let (seq, next_input) = place.split_at(8);
            let seq = number(seq);
            Found::Event(StoredEvent { seq, bytes: framing.incoming(bytes) }, number(next_input))
        }
        (Some((FENCE, nonce)), None) => Found::Fence(u128::from_be_bytes(nonce)),
        _ => Found::Foreign,
    }
}

fn header<'m>(message: &'m BorrowedMessage<'_>) -> Option<(&'m str, [u8; 16])> {
    let first = message.headers().filter(|headers| headers.count() > 0)?.get(0);
    Some((first.key, first.value?.try_into().ok()?))
}

fn number(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, u64::from_be_bytes)
}
