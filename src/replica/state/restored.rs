//! A state that is put together from the pieces of a checkpoint. What is not in them, because it follows from them, is made
//! anew.

use super::stated::Stated;
use super::{PartitionState, Position};
use crate::domain::retention::Keeping;
use crate::domain::{CommandKey, DedupEntry, Digest, Pool, PoolId};
use crate::replica::decided::Decided;
use crate::replica::lives::Life;
use crate::replica::retired::Ending;
use crate::replica::slab::{Common, Slab};
use crate::replica::state::forgetting::{charge, enter_answer};
use std::collections::BTreeMap;

impl PartitionState {
    /// The state that is made of a checkpoint's pieces. It has to have the digest `proof`, if there is one.
    ///
    /// # Errors
    /// What does not fit together, in words: the pieces are not those of any one state, or not of that one.
    pub(in crate::replica) fn restored(
        (partition, position): (u32, Position),
        pools: Vec<Pool>,
        (slab, common): (Slab, Common),
        remembered: Vec<(CommandKey, DedupEntry)>,
        (decided, retired): (Decided, Vec<(PoolId, Ending)>),
        proof: Option<Digest>,
    ) -> Result<PartitionState, String> {
        let remembered: BTreeMap<_, _> = remembered.into_iter().collect();
        let mut state =
            PartitionState { position, slab, common, decided, remembered, ..PartitionState::new(partition) };
        pools.into_iter().for_each(|pool| state.pools.put(pool));
        retired.iter().for_each(|(pool, ending)| state.retired.put(pool, *ending));
        state.stated().check(proof)?;
        state.put_back();
        let due = state.pools.iter().filter_map(|pool| Some((state.retires_at(&pool.id)?, pool.id.clone())));
        state.retiring = due.collect();
        state.dirty.base = Some(position.next_seq);
        Ok(state)
    }

    /// Puts everything that is kept back into the orders of forgetting, in the order of the events.
    fn put_back(&mut self) {
        let PartitionState { slab, remembered, retired, lives, past, remembered_until, .. } = self;
        let mut answers: Vec<_> = remembered.iter().collect();
        answers.sort_unstable_by_key(|(_, answer)| answer.seq);
        answers.into_iter().for_each(|(key, answer)| enter_answer((past, remembered_until), key, answer));
        let mut charges = Vec::new();
        for (slot, (_, reservation)) in slab.slots().filter(|(_, (_, r))| !retired.ends(r)) {
            let charge = charge(reservation);
            let life = Life::of(reservation, charge.bytes);
            lives.change(&reservation.pool, slot, (None, life.as_ref()), |slot| slab.id_at(slot));
            match charge.keeping {
                // What lives is in no order of forgetting.
                Keeping::Live => past.count(slot, None, Some(charge)),
                Keeping::Until(_) | Keeping::Refusal => charges.push((slot, charge)),
            }
        }
        charges.sort_unstable_by_key(|(_, charge)| charge.seq);
        charges.into_iter().for_each(|(slot, charge)| past.count(slot, None, Some(charge)));
    }
}

impl Stated<'_> {
    /// # Errors
    /// What does not fit together, in words.
    fn check(&self, proof: Option<Digest>) -> Result<(), String> {
        let mut used: BTreeMap<&PoolId, BTreeMap<_, u64>> = BTreeMap::new();
        for (_, reservation) in self.slab.iter() {
            if reservation.status.is_live() && !self.retired.ends(reservation) {
                let of_pool = used.entry(&reservation.pool).or_default();
                for (dimension, units) in reservation.demand.iter() {
                    let sum = of_pool.entry(dimension).or_default();
                    *sum = sum.saturating_add(units);
                }
            }
        }
        for pool in self.pools.iter() {
            let sums = used.remove(&pool.id).unwrap_or_default();
            let sum = pool.used.map(|d, _| sums.get(&d).copied().unwrap_or_default());
            if sum != pool.used || sums.keys().any(|d| pool.used.get(*d).is_none()) {
                return Err(format!("pool {} uses {:?}, but its reservations add up to {sums:?}", pool.id, pool.used));
            }
        }
        if let Some(pool) = used.keys().next() {
            return Err(format!("reservations of a pool {pool} that is not there"));
        }
        match proof {
            Some(proof) if proof != self.digest() => {
                Err("its rows make another state than its manifest says".to_owned())
            }
            _ => Ok(()),
        }
    }
}
