//! The ids of reservations.

use crate::domain::{IdempotencyKey, PoolId, ReservationId, route};
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
