//! The JWTs that were verified a short while ago. A caller sends the same JWT with every call until it expires, and a
//! signature takes much longer to verify than a hash.

use crate::access::Principal;
use crate::domain::Micros;
use crate::limits::JWTS_KEPT_MAX;
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Verified JWTs by the hash of their text; at most [`JWTS_KEPT_MAX`]. Those that nobody has sent for the longest time
/// make room.
#[derive(Default)]
pub(super) struct Cache(RwLock<Kept>);

/// A verified JWT.
#[derive(Clone)]
pub(super) struct Verified {
    pub(super) principal: Arc<Principal>,
    /// When it expires, by the wall clock, the leeway included.
    pub(super) until: Micros,
}

#[derive(Default)]
struct Kept {
    /// The keys that signed these JWTs, as the number of the key set.
    generation: u64,
    recent: BTreeMap<[u8; 32], Verified>,
    /// The recent ones of the time before.
    older: BTreeMap<[u8; 32], Verified>,
}

impl Cache {
    /// What is known of the JWT with this hash.
    pub(super) fn get(&self, hash: &[u8; 32]) -> Option<Verified> {
        let kept = self.0.read();
        if let Some(verified) = kept.recent.get(hash) {
            return Some(verified.clone());
        }
        let (verified, generation) = (kept.older.get(hash)?.clone(), kept.generation);
        drop(kept);
        self.put(*hash, verified.clone(), generation);
        Some(verified)
    }

    /// Keeps a JWT that a key of this generation has signed, unless there are newer keys.
    pub(super) fn put(&self, hash: [u8; 32], verified: Verified, generation: u64) {
        let mut kept = self.0.write();
        if kept.generation != generation {
            return;
        }
        if kept.recent.len() >= JWTS_KEPT_MAX / 2 {
            kept.older = std::mem::take(&mut kept.recent);
        }
        kept.recent.insert(hash, verified);
    }

    /// Forgets all JWTs, because the keys are others: one that signed them may be gone.
    pub(super) fn begin(&self, generation: u64) {
        *self.0.write() = Kept { generation, ..Kept::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Roles;

    fn hash(number: usize) -> [u8; 32] {
        *blake3::hash(&number.to_be_bytes()).as_bytes()
    }

    fn verified() -> Verified {
        Verified { principal: Arc::new(Principal { name: None, roles: Roles::NONE }), until: Micros(1) }
    }

    #[test]
    fn the_cache_is_bounded_and_what_is_used_stays() {
        let cache = Cache::default();
        for number in 0..3 * JWTS_KEPT_MAX {
            cache.put(hash(number), verified(), 0);
            assert!(cache.get(&hash(0)).is_some(), "{number}");
        }
        let kept = cache.0.read();
        assert!(kept.recent.len() + kept.older.len() <= JWTS_KEPT_MAX);
        assert!(!kept.recent.contains_key(&hash(1)) && !kept.older.contains_key(&hash(1)));
    }

    #[test]
    fn what_an_older_key_has_signed_is_not_kept() {
        let cache = Cache::default();
        cache.put(hash(0), verified(), 0);
        cache.begin(1);
        cache.put(hash(1), verified(), 0);
        assert!(cache.get(&hash(0)).is_none() && cache.get(&hash(1)).is_none());
        cache.put(hash(1), verified(), 1);
        assert!(cache.get(&hash(1)).is_some());
    }
}
