//! Which live reservations an order has. A pool may want one at most, and may come to want it when there are reservations
//! already: so the orders of all of them are kept, and nothing has to be looked for then.

use crate::domain::{PoolId, ReservationId};
use std::collections::BTreeSet;

/// Live reservations by their pool and order. Texts are kept as a hash, since reservations are what memory is spent on: who
/// asks compares them.
#[derive(Default)]
pub struct Orders(BTreeSet<(u64, ReservationId)>);

impl Orders {
    /// One that is live from now on.
    pub fn insert(&mut self, pool: &PoolId, order_ref: &str, id: ReservationId) {
        self.0.insert((hash(pool, order_ref), id));
    }

    /// One that is live no more.
    pub fn remove(&mut self, pool: &PoolId, order_ref: &str, id: ReservationId) {
        self.0.remove(&(hash(pool, order_ref), id));
    }

    /// Those that may be of this order, by id.
    pub fn may_have(&self, pool: &PoolId, order_ref: &str) -> impl Iterator<Item = ReservationId> {
        let hash = hash(pool, order_ref);
        let least = (hash, ReservationId::new(0, [0; 11]));
        self.0.range(least..).take_while(move |(of, _)| *of == hash).map(|(_, id)| *id)
    }
}

/// Callers choose their order references, so it is a hash for which nobody finds many of one value.
fn hash(pool: &PoolId, order_ref: &str) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[u8::try_from(pool.as_str().len()).unwrap_or(u8::MAX)]);
    hasher.update(pool.as_str().as_bytes());
    hasher.update(order_ref.as_bytes());
    u64::from_le_bytes(hasher.finalize().as_bytes().first_chunk().copied().unwrap_or_default())
}
