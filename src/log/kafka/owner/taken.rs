//! What a claim hands to the owner that it makes.

use super::producer::TransactionalProducer;
use crate::log::kafka::client::reader::Reader;
use crate::log::kafka::data::record::Decided;

/// An owner in this process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct OwnerId {
    pub(super) partition: u32,
    /// How many claims of the partition this process has begun: only its latest owner may write.
    pub(super) generation: u64,
}

/// Where an owner continues.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct NextPosition {
    /// The sequence number of its first event.
    pub(super) seq: u64,
    /// How far commands are decided.
    pub(super) decided: Decided,
}

/// A partition that is fenced and read, before its reader is assigned to the next command.
pub(super) struct Taken {
    pub(super) owner: OwnerId,
    /// One for each slot, in the order of slots.
    pub(super) producers: Vec<TransactionalProducer>,
    pub(super) reader: Reader,
    pub(super) next: NextPosition,
    /// The offset after the fences and their markers.
    pub(super) end: i64,
}
