//! The digest of a state (L7): of its values alone, whoever holds them and however. The owner's state, a rebuilt one
//! and the auditor's own model are the same if and only if their digests are.

use super::field::Code;
use crate::domain::{Amounts, Attempt, Digest, Micros, Mode, Pool, PoolId, Reservation, ReservationId, Status};

/// What is hashed first, so that this digest is none of anything else.
const CONTEXT: &[u8] = b"headroom state 1";

/// The digest of these pools and live reservations, each in strictly ascending order of id. Not of what is merely
/// remembered, nor of the events that led here.
///
/// # Panics
/// When they are out of order or a reservation is not live: the digest would mean nothing.
pub fn state<'a>(
    pools: impl Iterator<Item = &'a Pool>,
    live: impl Iterator<Item = (ReservationId, &'a Reservation)>,
) -> Digest {
    let mut hash = Hash { hasher: blake3::Hasher::new(), pending: Vec::with_capacity(Hash::PENDING_BYTES) };
    hash.pending.extend_from_slice(CONTEXT);
    let mut before: Option<&PoolId> = None;
    for pool in pools {
        assert!(before < Some(&pool.id), "pools are hashed in order of id");
        before = Some(&pool.id);
        hash.number(1);
        hash.pool(pool);
        hash.flush();
    }
    let mut before: Option<ReservationId> = None;
    for (id, reservation) in live {
        assert!(before < Some(id), "reservations are hashed in order of id");
        assert!(reservation.status.is_live(), "only live reservations are hashed");
        before = Some(id);
        hash.number(2);
        hash.reservation(id, reservation);
        hash.flush();
    }
    hash.end()
}

/// Every field behind its length or of fixed size, so that no two states run into the same bytes.
struct Hash {
    hasher: blake3::Hasher,
    /// The hasher is fastest on long runs.
    pending: Vec<u8>,
}

impl Hash {
    const PENDING_BYTES: usize = 16 << 10;

    fn flush(&mut self) {
        if self.pending.len() >= Hash::PENDING_BYTES / 2 {
            self.hasher.update(&self.pending);
            self.pending.clear();
        }
    }

    fn end(mut self) -> Digest {
        self.hasher.update(&self.pending);
        Digest(self.hasher.finalize().as_bytes().first_chunk().copied().unwrap_or_default())
    }

    fn number(&mut self, number: u64) {
        self.pending.extend_from_slice(&number.to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.pending.extend_from_slice(text.as_bytes());
    }

    fn instant(&mut self, instant: Option<Micros>) {
        self.number(u64::from(instant.is_some()));
        self.number(instant.unwrap_or_default().0);
    }

    fn amounts(&mut self, amounts: &Amounts) {
        self.number(amounts.len() as u64);
        for (dimension, units) in amounts.iter() {
            self.text(dimension.as_str());
            self.number(units);
        }
    }

    /// By its symbol's place in the schema, which never changes.
    fn code<T: Code>(&mut self, value: T) {
        let at = T::VALUES.iter().position(|other| *other == value);
        self.number(at.map_or(u64::MAX, |at| at as u64));
    }

    fn attempts(&mut self, attempts: &[Attempt]) {
        self.number(attempts.len() as u64);
        attempts.iter().for_each(|attempt| self.number(attempt.0));
    }

    fn pool(&mut self, pool: &Pool) {
        let spec = &pool.spec;
        self.text(pool.id.as_str());
        self.amounts(&spec.limits);
        self.number(spec.areas.len() as u64);
        spec.areas.iter().for_each(|area| self.text(area.as_str()));
        self.instant(spec.window.map(|window| window.start));
        self.instant(spec.window.map(|window| window.end));
        self.instant(spec.window.and_then(|window| window.cutoff));
        self.number(spec.labels.len() as u64);
        for (label, value) in &spec.labels {
            self.text(label.as_str());
            self.text(value.as_str());
        }
        self.code::<Mode>(spec.mode);
        self.amounts(&pool.used);
        self.number(pool.version);
    }

    fn reservation(&mut self, id: ReservationId, reservation: &Reservation) {
        self.pending.extend_from_slice(id.bytes());
        self.text(reservation.pool.as_str());
        self.amounts(&reservation.demand);
        self.text(reservation.order_ref.as_deref().unwrap_or_default());
        self.attempts(reservation.attempts.live());
        self.attempts(reservation.attempts.burned());
        self.number(reservation.fingerprint);
        // A confirmed one's deadline means nothing.
        self.instant(Some(reservation.until).filter(|_| reservation.status == Status::Held));
        self.code::<Status>(reservation.status);
    }
}
