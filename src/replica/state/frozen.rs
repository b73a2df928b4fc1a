//! A copy of all that the digest of a state is made of. It does not change when the state does, so a digest is made of it
//! while the owner goes on.

use super::stated::Stated;
use super::{PartitionState, Position};
use crate::domain::{CommandKey, DedupEntry, Digest};
use crate::replica::decided::Decided;
use crate::replica::pools::Pools;
use crate::replica::retired::Retired;
use crate::replica::slab::Slab;
use imbl::OrdMap;

/// What a state was at one moment. It shares reservations, pools, remembered answers and ids of commands with the state, which
/// copies those of them that change meanwhile. The index of reservations, 5 to 10 bytes for each, and the retired pools are
/// copied at once.
pub struct Frozen {
    position: Position,
    live: usize,
    pools: Pools,
    slab: Slab,
    remembered: OrdMap<CommandKey, DedupEntry>,
    decided: Decided,
    retired: Retired,
}

impl PartitionState {
    /// A copy for [`Frozen::digest`]. It takes some milliseconds for each million reservations; whoever writes the state waits.
    pub fn freeze(&self) -> Frozen {
        Frozen {
            position: self.position,
            live: self.live_count(),
            pools: self.pools.clone(),
            slab: self.slab.clone(),
            remembered: self.remembered.clone(),
            decided: self.decided.frozen(),
            retired: self.retired.clone(),
        }
    }
}

impl Frozen {
    /// How far the state had folded the log.
    pub fn position(&self) -> &Position {
        &self.position
    }

    /// How many reservations were live.
    pub fn live_count(&self) -> usize {
        self.live
    }

    /// The pools that it had, by id.
    pub fn pools(&self) -> &Pools {
        &self.pools
    }

    /// The digest that the state had. It takes as long as the state was large.
    pub fn digest(&self) -> Digest {
        let Frozen { position, pools, slab, remembered, decided, retired, .. } = self;
        Stated { now: position.decided_at, pools, slab, remembered, decided, retired }.digest()
    }
}
