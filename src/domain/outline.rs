//! A state as plain values, for whoever makes another model of it.

use super::{CommandId, CommandKey, DedupEntry, Digest, Micros, Pool, PoolId, Reservation, ReservationId};

/// A partition's state after an event: all that is known then, and what counts in memory although it is not known any more.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outline {
    /// The number of the partition.
    pub partition: u32,
    /// The sequence number after the last event.
    pub next_seq: u64,
    /// The input offset after the last one decided.
    pub next_input: u64,
    /// The epoch of the last event.
    pub epoch: u32,
    /// The digest of the last event.
    pub chain: Digest,
    /// When the last event was decided.
    pub decided_at: Micros,
    /// The pools with what is in use of each, by id.
    pub pools: Vec<Pool>,
    /// The reservations, live and remembered, in no order.
    pub reservations: Vec<(ReservationId, Reservation)>,
    /// The remembered answers, by the keys that they were given to.
    pub answers: Vec<(CommandKey, DedupEntry)>,
    /// The ids of decided commands, and until when they are known.
    pub decided: Vec<(Micros, CommandId)>,
    /// The pools that have retired and whose ids may not be defined anew yet: each with the event that retired it, and until
    /// when.
    pub retired: Vec<(PoolId, u64, Micros)>,
}
