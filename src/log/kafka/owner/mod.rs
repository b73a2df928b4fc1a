//! Owning a partition: the claim that fences earlier owners, and turns as transactions.

pub(super) mod between;
pub(super) mod claim;
pub(super) mod open_transaction;
pub(super) mod owned;
pub(super) mod pacer;
pub(super) mod position;
pub(super) mod producer;
pub(super) mod read_ahead;
pub(super) mod standby;
mod taken;
