//! Which live reservations an order has. A pool may allow one for each order, and may get this rule when it has
//! reservations already. So the orders of all live reservations are kept, and no search is needed then. Those of a state are
//! in [`super::lives`]; those of the decisions of one turn are here.

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

    /// The reservations that may be of this order, by id.
    pub fn may_have(&self, pool: &PoolId, order_ref: &str) -> impl Iterator<Item = ReservationId> {
        let hash = hash(pool, order_ref);
        let least = (hash, ReservationId::new(0, [0; 11]));
        self.0.range(least..).take_while(move |(of, _)| *of == hash).map(|(_, id)| *id)
    }
}

/// The number under which the reservations of an order are found. Callers choose their order references. So this is a cryptographic hash: nobody can find many texts with one value.
pub fn hash(pool: &PoolId, order_ref: &str) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[u8::try_from(pool.as_str().len()).unwrap_or(u8::MAX)]);
    hasher.update(pool.as_str().as_bytes());
    hasher.update(order_ref.as_bytes());
    u64::from_le_bytes(hasher.finalize().as_bytes().first_chunk().copied().unwrap_or_default())
}
