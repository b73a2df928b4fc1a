//! A partition's state in memory, folded from its events, and what may be read of it. There is one fold for all sources
//! of events: recovery reads them after the checkpoint from the log, a follower receives what another process has
//! committed, and an owner adds its own concluded turns. Nothing here decides or starts a thread, and the clock is an
//! argument.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

pub mod checkpoint;
mod decided;
mod index;
mod lives;
mod ordered;
mod orders;
pub mod partition;
mod partitions;
mod past;
mod pools;
pub mod query;
pub mod reservations;
mod retired;
mod slab;
pub mod state;

pub use checkpoint::Draft;
pub use orders::Orders;
pub use partition::{
    Brought, ClockRequest, ClockSetOutcome, Compared, PartitionHandle, PartitionStatus, Replaced, Seal, StatusKind,
    SwapRequest, Swapped,
};
pub use partitions::Replica;
pub use pools::Pools;
pub use query::{Listing, PoolPage, Search};
pub use reservations::{ReservationPage, Reservations};
pub use retired::{Ending, Retired};
pub use state::{EVENTS_AHEAD, PartitionState, Position};
