//! Which partition a request goes to, and under which id a reservation is made.

use crate::domain::{CommandBody, IdempotencyKey, PoolId, ReservationId, route};
use sha2::{Digest, Sha256};

/// The id of the reservation that this key makes in this pool: the same key, the same id.
pub fn reservation_id(pool: &PoolId, key: &IdempotencyKey) -> ReservationId {
    let mut hash = Sha256::new();
    for text in [pool.as_str(), key.as_str()] {
        hash.update(u64::try_from(text.len()).unwrap_or(u64::MAX).to_le_bytes());
        hash.update(text.as_bytes());
    }
    let digest = hash.finalize();
    let mut unique = [0; 11];
    for (to, from) in unique.iter_mut().zip(digest) {
        *to = from;
    }
    ReservationId::new(route::pool_hash(pool), unique)
}

/// The partition a command belongs to, and the key of its record; `None` when it names neither pool nor reservation.
pub fn route(body: &CommandBody, partitions: u32) -> Option<(u32, Vec<u8>)> {
    match (body.pool(), body.reservation()) {
        (Some(pool), _) => Some((route::partition_of(pool, partitions), pool.as_str().as_bytes().to_vec())),
        (None, Some(id)) => Some((route::partition_of_reservation(&id, partitions), id.bytes().to_vec())),
        (None, None) => None,
    }
}
