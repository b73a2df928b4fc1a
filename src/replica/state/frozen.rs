//! A copy of all that the digest of a state is made of. It does not change when the state does, so a digest is made of it
//! while the owner goes on.

use super::stated::{Stated, runs};
use super::{PartitionState, Position};
use crate::domain::{CommandKey, DedupEntry, Digest};
use crate::replica::decided::Decided;
use crate::replica::pools::Pools;
use crate::replica::retired::Retired;
use crate::replica::slab::Slab;
use std::collections::BTreeMap;

/// What a state was at one moment. It shares reservations, pools and ids of commands with the state, which copies those of them
/// that change meanwhile. Remembered answers and retired pools are copied at once; there are far fewer of them.
pub struct Frozen {
    position: Position,
    live: usize,
    pools: Pools,
    /// Without its index.
    slab: Slab,
    remembered: BTreeMap<CommandKey, DedupEntry>,
    decided: Decided,
    retired: Retired,
}

impl PartitionState {
    /// A copy for [`Frozen::digest`]. It takes some reference counts for each page of reservations.
    pub fn freeze(&self) -> Frozen {
        Frozen {
            position: self.position,
            live: self.live_count(),
            pools: self.pools.clone(),
            slab: self.slab.frozen(),
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
        let stated = Stated { now: position.decided_at, pools, slab, remembered, decided, retired };
        let mut ids: Vec<_> = slab.slots().map(|(slot, (id, _))| (*id, slot)).collect();
        ids.sort_unstable();
        stated.digest_of(runs(ids.len()), |no| stated.run(&ids, no))
    }
}
