//! Which live reservations an order has. A pool may allow one for each order, and may get this rule when it has
//! reservations already. So the orders of all live reservations are kept, and no search is needed then.

use crate::domain::{PoolId, ReservationId};
use std::collections::BTreeSet;

/// Live reservations by their pool and order. Only a hash of the texts is kept, because reservations take most of the
/// memory: the caller compares the texts.
#[derive(Default)]
pub struct Orders(BTreeSet<(u64, ReservationId)>);

impl Orders {
    /// Adds a reservation that is live from now on.
    pub fn insert(&mut self, pool: &PoolId, order_ref: &str, id: ReservationId) {
        self.0.insert((hash(pool, order_ref), id));
    }

    /// Removes a reservation that is not live any more.
    pub fn remove(&mut self, pool: &PoolId, order_ref: &str, id: ReservationId) {
        self.0.remove(&(hash(pool, order_ref), id));
    }

    /// Number of reservations.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Removes any one reservation, and answers whether there was one.
    pub fn pop(&mut self) -> bool {
        self.0.pop_first().is_some()
    }

    /// The reservations that may be of this order, by id.
    pub fn may_have(&self, pool: &PoolId, order_ref: &str) -> impl Iterator<Item = ReservationId> {
        let hash = hash(pool, order_ref);
        let least = (hash, ReservationId::new(0, [0; 11]));
        self.0.range(least..).take_while(move |(of, _)| *of == hash).map(|(_, id)| *id)
    }
}

/// Callers choose their order references. So this is a cryptographic hash: nobody can find many texts with one value.
fn hash(pool: &PoolId, order_ref: &str) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[u8::try_from(pool.as_str().len()).unwrap_or(u8::MAX)]);
    hasher.update(pool.as_str().as_bytes());
    hasher.update(order_ref.as_bytes());
    u64::from_le_bytes(hasher.finalize().as_bytes().first_chunk().copied().unwrap_or_default())
}
