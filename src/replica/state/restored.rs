//! A state that is put together from the pieces of a checkpoint. What is not in them, because it follows from them, is made
//! anew. Before there is a state, it is proven to be the one of the digest that goes with the pieces. Both only read them, so
//! whoever has two threads has it done beside each other.

use super::{PartitionState, Position, Sweeping};
use crate::domain::retention::Keeping;
use crate::domain::{
    Amounts, CommandKey, DedupEntry, Digest, Dimension, Micros, Pool, PoolId, Reservation, ReservationId,
};
use crate::replica::decided::Decided;
use crate::replica::index::Index;
use crate::replica::lives::Lives;
use crate::replica::past::Past;
use crate::replica::retired::Ending;
use crate::replica::slab::{Common, Slab, Slot};
use crate::replica::state::forgetting::{charge, enter_answer};
use crate::wire::digest::Run;
use imbl::OrdMap;
use std::collections::{BTreeMap, BTreeSet};

/// Reservations of one run.
const RUN: usize = 1_024;

/// The pieces of a state, each in its place.
pub struct Restored {
    /// Without what follows from the pieces.
    state: PartitionState,
    /// The id of each reservation with its slot, in order of id.
    ids: Vec<(ReservationId, u32)>,
}

/// What follows from the pieces: the index of ids, what lives, the orders of forgetting, and what is to be swept.
pub struct Derived {
    index: Index,
    lives: Lives,
    past: Past,
    remembered_until: BTreeSet<(Micros, CommandKey)>,
    ended: Vec<u32>,
}

impl Restored {
    pub(in crate::replica) fn new(
        (partition, position): (u32, Position),
        pools: Vec<Pool>,
        (slab, ids, common): (Slab, Vec<(ReservationId, u32)>, Common),
        remembered: Vec<(CommandKey, DedupEntry)>,
        (decided, retired): (Decided, Vec<(PoolId, Ending)>),
    ) -> Restored {
        let remembered: OrdMap<_, _> = remembered.into_iter().collect();
        let mut state =
            PartitionState { position, slab, common, decided, remembered, ..PartitionState::new(partition) };
        pools.into_iter().for_each(|pool| state.pools.put(pool));
        retired.iter().for_each(|(pool, ending)| state.retired.put(pool, *ending));
        Restored { state, ids }
    }

    /// How many runs its reservations make.
    pub fn runs(&self) -> usize {
        self.ids.len().div_ceil(RUN)
    }

    /// One of them, which its digest needs: it is most of the work, and threads can share it.
    pub fn run(&self, no: usize) -> Run {
        let from = no.saturating_mul(RUN).min(self.ids.len());
        let ids = self.ids.get(from..from.saturating_add(RUN).min(self.ids.len())).unwrap_or_default();
        self.state.stated().run(ids)
    }

    /// Checks that the pieces are those of the state with the digest `proof`, if there is one. `runs` hands over each
    /// [`Restored::run`] in turn.
    ///
    /// # Errors
    /// That they are not, in words.
    pub fn prove(&self, proof: Option<Digest>, runs: impl FnMut(usize) -> Run) -> Result<(), String> {
        match proof {
            Some(proof) if proof != self.state.stated().digest_of(self.runs(), runs) => {
                Err("its rows make another state than its manifest says".to_owned())
            }
            _ => Ok(()),
        }
    }

    /// Checks that the pieces fit together, and makes anew what follows from them, in the order of the events.
    ///
    /// # Errors
    /// What does not fit together, in words.
    pub fn derive(&self) -> Result<Derived, String> {
        self.check_used()?;
        let PartitionState { slab, remembered, retired, .. } = &self.state;
        let (mut past, mut remembered_until) = (Past::default(), BTreeSet::new());
        let mut answers: Vec<_> = remembered.iter().collect();
        answers.sort_unstable_by_key(|(_, answer)| answer.seq);
        answers.into_iter().for_each(|(key, answer)| enter_answer((&mut past, &mut remembered_until), key, answer));
        let (mut charges, mut ended) = (Vec::new(), Vec::<u32>::new());
        let counts = |(slot, (_, reservation)): &(u32, &Slot)| {
            let has_ended = retired.ends(reservation);
            ended.extend(has_ended.then_some(*slot));
            !has_ended
        };
        let counted = slab.slots().filter(counts).map(|(slot, (_, reservation))| {
            let charge = charge(reservation);
            match charge.keeping {
                // What lives is in no order of forgetting.
                Keeping::Live => past.count(slot, None, Some(charge)),
                Keeping::Until(_) | Keeping::Refusal => charges.push((slot, charge)),
            }
            (slot, reservation, charge.bytes)
        });
        let lives = Lives::all(counted, |slot| slab.id_at(slot));
        charges.sort_unstable_by_key(|(_, charge)| charge.seq);
        charges.into_iter().for_each(|(slot, charge)| past.count(slot, None, Some(charge)));
        Ok(Derived { index: slab.index(&self.ids), lives, past, remembered_until, ended })
    }

    /// The state, of pieces that fit together and are proven.
    ///
    /// # Errors
    /// Why they are not.
    pub fn complete(
        self,
        proven: Result<(), String>,
        derived: Result<Derived, String>,
    ) -> Result<PartitionState, String> {
        let Derived { index, lives, past, remembered_until, ended } = derived?;
        proven?;
        let sweeping = Sweeping::of_restored(ended, &self.state.retired);
        let mut state = PartitionState { lives, past, remembered_until, sweeping, ..self.state };
        state.slab.set_index(index);
        let due = state.pools.iter().filter_map(|pool| Some((state.retires_at(&pool.id)?, pool.id.clone())));
        state.retiring = due.collect();
        state.dirty.base = Some(state.position.next_seq);
        Ok(state)
    }

    /// Checks that every pool uses what its live reservations take.
    fn check_used(&self) -> Result<(), String> {
        let PartitionState { pools, slab, retired, .. } = &self.state;
        let mut used: BTreeMap<&PoolId, BTreeMap<Dimension, u64>> = BTreeMap::new();
        let mut add = |(pool, demand): (_, &Amounts), times: u64| {
            let of_pool = used.entry(pool).or_default();
            for (dimension, units) in demand.iter() {
                let sum = of_pool.entry(dimension).or_default();
                *sum = sum.saturating_add(units.saturating_mul(times));
            }
        };
        // Most reservations take what the one before takes, in the same pool: those are counted, and added at once.
        let (mut last, mut times) = (None, 0u64);
        let is_live = |r: &Reservation| r.status.is_live() && !retired.ends(r);
        for (_, Reservation { pool, demand, .. }) in slab.iter().filter(|(_, r)| is_live(r)) {
            if last != Some((pool, demand)) {
                last.iter().for_each(|last| add(*last, times));
                (last, times) = (Some((pool, demand)), 0);
            }
            times = times.saturating_add(1);
        }
        last.iter().for_each(|last| add(*last, times));
        for pool in pools.iter() {
            let sums = used.remove(&pool.id).unwrap_or_default();
            let sum = pool.used.map(|d, _| sums.get(&d).copied().unwrap_or_default());
            if sum != pool.used || sums.keys().any(|d| pool.used.get(*d).is_none()) {
                return Err(format!("pool {} uses {:?}, but its reservations add up to {sums:?}", pool.id, pool.used));
            }
        }
        match used.keys().next() {
            Some(pool) => Err(format!("reservations of a pool {pool} that is not there")),
            None => Ok(()),
        }
    }
}
