//! What the digest of a state is made of. No order of forgetting and no timer is in it.

use super::PartitionState;
use crate::domain::{CommandKey, DedupEntry, Digest, Micros, PoolId, Reservation, ReservationId};
use crate::replica::decided::Decided;
use crate::replica::pools::Pools;
use crate::replica::retired::Retired;
use crate::replica::slab::Slab;
use crate::wire::digest::{Run, Stating};
use imbl::OrdMap;

/// So many reservations are looked up before the first of them is hashed. They lie anywhere in memory, which brings several
/// of them in the time of one.
const LOOKED_UP: usize = 64;

/// The parts of a state that its digest states.
pub(super) struct Stated<'a> {
    pub(super) now: Micros,
    pub(super) pools: &'a Pools,
    pub(super) slab: &'a Slab,
    pub(super) remembered: &'a OrdMap<CommandKey, DedupEntry>,
    pub(super) decided: &'a Decided,
    pub(super) retired: &'a Retired,
}

impl PartitionState {
    /// The digest of all that counts at the time of the last event (L7): pools, reservations that live or are
    /// remembered with their cancelled attempts, remembered answers, ids of decided commands, and pools whose ids may not
    /// be defined anew yet. What is to be swept does not count.
    pub fn digest(&self) -> Digest {
        self.stated().digest()
    }

    pub(super) fn stated(&self) -> Stated<'_> {
        let PartitionState { position, pools, slab, remembered, decided, retired, .. } = self;
        Stated { now: position.decided_at, pools, slab, remembered, decided, retired }
    }
}

impl Stated<'_> {
    pub(super) fn digest(&self) -> Digest {
        self.digest_with(|stating| {
            // The parts of the index are in the order of ids, and small enough to be sorted quickly.
            let mut of_part: Vec<(ReservationId, u32)> = Vec::new();
            for part in self.slab.parts() {
                of_part.clear();
                of_part.extend(part.slots().filter_map(|slot| Some((*self.slab.id_at(slot)?, slot))));
                of_part.sort_unstable();
                self.reservations(&of_part, |id, reservation| stating.reservation(id, reservation));
            }
        })
    }

    /// The same where the slab has no index yet: `runs` puts together each [`Stated::run`] of all ids, by its number.
    pub(super) fn digest_of(&self, count: usize, runs: impl FnMut(usize) -> Run) -> Digest {
        self.digest_with(|stating| (0..count).map(runs).for_each(|run| stating.run(&run)))
    }

    /// The reservations of these ids with their slots, which are in their order.
    pub(super) fn run(&self, sorted: &[(ReservationId, u32)]) -> Run {
        let mut run = Run::default();
        self.reservations(sorted, |id, reservation| run.reservation(id, reservation));
        run
    }

    /// Calls `each` with those that count.
    fn reservations(&self, sorted: &[(ReservationId, u32)], mut each: impl FnMut(ReservationId, &Reservation)) {
        let mut found = Vec::with_capacity(LOOKED_UP);
        for ids in sorted.chunks(LOOKED_UP) {
            found.clear();
            found.extend(ids.iter().filter_map(|(_, slot)| self.slab.at(*slot)));
            for (id, reservation) in &found {
                if reservation.is_known(self.now) && !self.retired.ends(reservation) {
                    each(*id, reservation);
                }
            }
        }
    }

    fn digest_with(&self, reservations: impl FnOnce(&mut Stating)) -> Digest {
        let Stated { now, pools, remembered, decided, retired, .. } = *self;
        let mut stating = Stating::begin();
        pools.iter().for_each(|pool| stating.pool(pool));
        reservations(&mut stating);
        let answers = remembered.iter().filter(|(_, answer)| answer.until > now);
        answers.for_each(|(key, remembered)| stating.answer(key, remembered));
        decided.sorted(now).for_each(|(until, id)| stating.decided(until, id));
        let of_retired = retired.iter().filter(|(_, ending)| ending.until > now);
        of_retired.for_each(|(pool, ending): (&PoolId, _)| stating.retired(pool, ending.seq, ending.until));
        stating.end()
    }
}
