//! The digest of a state (L7). It depends only on the values of the state. The state of the owner, a rebuilt state
//! and the auditor's model are equal if and only if their digests are.

use super::event::encode_body;
use super::field::Code;
use super::frame::FRAME_BYTES;
use crate::domain::{
    Amounts, Attempt, Attempts, CommandId, CommandKey, DedupEntry, Digest, Judged, Micros, Mode, Name, Pool, PoolId,
    Reason, Reservation, ReservationId, Status, Target,
};

/// Hashed first, so that the digest cannot equal a hash of other data.
const CONTEXT: &[u8] = b"headroom state 4";

/// Hashes a state: pools, reservations, remembered answers, ids of decided commands and retired pools, in this order,
/// each in strictly ascending order. Only what counts at the time of the last event is hashed: entries that may be forgotten
/// are left out, whether or not they are forgotten already. The events that led to the state are left out too.
pub struct Stating {
    hash: Hash,
    pool: Option<PoolId>,
    reservation: Option<ReservationId>,
    answer: Option<CommandKey>,
    decided: Option<(Micros, CommandId)>,
    retired: Option<PoolId>,
}

impl Stating {
    /// Nothing hashed yet.
    pub fn begin() -> Stating {
        let pending = Fields(Vec::with_capacity(Hash::RUN_BYTES.saturating_mul(2)));
        let mut hash = Hash { hasher: blake3::Hasher::new(), pending };
        hash.pending.0.extend_from_slice(CONTEXT);
        Stating { hash, pool: None, reservation: None, answer: None, decided: None, retired: None }
    }

    /// Hashes a pool.
    ///
    /// # Panics
    /// When it is out of order, because the digest would mean nothing. The same is true of the other methods.
    pub fn pool(&mut self, pool: &Pool) {
        let is_next = (self.pool.as_ref() < Some(&pool.id)) && self.reservation.is_none();
        assert!(is_next && self.answer.is_none() && self.decided.is_none(), "pools are hashed in order of id");
        self.pool = Some(pool.id.clone());
        self.hash.pending.number(1);
        self.hash.pending.pool(pool);
        self.hash.flush();
    }

    /// Hashes a reservation, live or remembered.
    ///
    /// # Panics
    /// When it is out of order.
    pub fn reservation(&mut self, id: ReservationId, reservation: &Reservation) {
        let is_next = self.reservation < Some(id) && self.answer.is_none() && self.decided.is_none();
        assert!(is_next, "reservations are hashed in order of id");
        self.reservation = Some(id);
        self.hash.pending.number(2);
        self.hash.pending.reservation(id, reservation);
        self.hash.flush();
    }

    /// Hashes reservations whose fields are put together already.
    ///
    /// # Panics
    /// When the first of them is out of order.
    pub fn run(&mut self, run: &Run) {
        let Some((first, last)) = run.ends else { return };
        let is_next = self.reservation < Some(first) && self.answer.is_none() && self.decided.is_none();
        assert!(is_next, "reservations are hashed in order of id");
        self.reservation = Some(last);
        self.hash.pending.0.extend_from_slice(&run.fields.0);
        self.hash.flush();
    }

    /// Hashes the answer that a key was given.
    ///
    /// # Panics
    /// When it is out of order.
    pub fn answer(&mut self, key: &CommandKey, answer: &DedupEntry) {
        assert!(self.answer.as_ref() < Some(key) && self.decided.is_none(), "answers are hashed in order of key");
        self.answer = Some(key.clone());
        self.hash.pending.number(3);
        self.hash.pending.answer(key, answer);
        self.hash.flush();
    }

    /// Hashes the id of a decided command, and until when it is kept.
    ///
    /// # Panics
    /// When it is out of order.
    pub fn decided(&mut self, until: Micros, id: CommandId) {
        let is_next = self.decided < Some((until, id)) && self.retired.is_none();
        assert!(is_next, "ids of commands are hashed in order of time");
        self.decided = Some((until, id));
        self.hash.pending.number(4);
        self.hash.pending.number(until.0);
        self.hash.pending.0.extend_from_slice(&id.0.to_le_bytes());
        self.hash.flush();
    }

    /// Hashes a pool that has retired: with which event, and until when it keeps its place.
    ///
    /// # Panics
    /// When it is out of order.
    pub fn retired(&mut self, pool: &PoolId, seq: u64, until: Micros) {
        assert!(self.retired.as_ref() < Some(pool), "retired pools are hashed in order of id");
        self.retired = Some(pool.clone());
        self.hash.pending.number(5);
        self.hash.pending.text(pool.as_str());
        self.hash.pending.number(seq);
        self.hash.pending.number(until.0);
        self.hash.flush();
    }

    /// The digest of all that was hashed.
    pub fn end(self) -> Digest {
        self.hash.end()
    }
}

/// The fields of reservations that follow each other. Several threads can put them together, because most of the time of a
/// digest is that of finding reservations in memory.
#[derive(Default)]
pub struct Run {
    fields: Fields,
    /// The first and the last of them.
    ends: Option<(ReservationId, ReservationId)>,
}

impl Run {
    /// Adds a reservation, live or remembered.
    ///
    /// # Panics
    /// When it is out of order.
    pub fn reservation(&mut self, id: ReservationId, reservation: &Reservation) {
        assert!(self.ends.is_none_or(|(_, last)| last < id), "reservations are hashed in order of id");
        self.ends = Some((self.ends.map_or(id, |(first, _)| first), id));
        self.fields.number(2);
        self.fields.reservation(id, reservation);
    }
}

struct Hash {
    hasher: blake3::Hasher,
    /// A buffer, because the hasher is fastest on long runs of bytes that begin where its tree branches.
    pending: Fields,
}

impl Hash {
    /// Bytes that are hashed at once: a power of two.
    const RUN_BYTES: usize = 64 << 10;

    fn flush(&mut self) {
        while let Some((run, rest)) = self.pending.0.split_at_checked(Hash::RUN_BYTES) {
            self.hasher.update(run);
            let left = rest.len();
            self.pending.0.copy_within(Hash::RUN_BYTES.., 0);
            self.pending.0.truncate(left);
        }
    }

    fn end(mut self) -> Digest {
        self.hasher.update(&self.pending.0);
        Digest(self.hasher.finalize().as_bytes().first_chunk().copied().unwrap_or_default())
    }
}

/// Fields with a fixed size or behind their length, so that two different states never give the same bytes.
#[derive(Default)]
struct Fields(Vec<u8>);

impl Fields {
    fn number(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.0.extend_from_slice(text.as_bytes());
    }

    fn instant(&mut self, instant: Option<Micros>) {
        self.optional(instant.map(|instant| instant.0));
    }

    fn optional(&mut self, number: Option<u64>) {
        self.number(u64::from(number.is_some()));
        self.number(number.unwrap_or_default());
    }

    fn amounts(&mut self, amounts: &Amounts) {
        self.number(amounts.len() as u64);
        for (dimension, units) in amounts.iter() {
            self.text(dimension.as_str());
            self.number(units);
        }
    }

    /// Hashes the index of the symbol in the schema, which never changes.
    fn code<T: Code>(&mut self, value: T) {
        self.number(value.place().map_or(u64::MAX, |at| at as u64));
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
        self.optional(spec.rules.hold_ttl_max_ms);
        self.optional(spec.rules.hold_life_max_ms);
        self.number(u64::from(spec.rules.unique_order_ref));
        self.optional(spec.rules.retire_after_ms);
        self.amounts(&pool.used);
        self.number(pool.version);
    }

    fn reservation(&mut self, id: ReservationId, reservation: &Reservation) {
        self.0.extend_from_slice(id.bytes());
        self.text(reservation.pool.as_str());
        self.amounts(&reservation.demand);
        self.text(reservation.order_ref.as_ref().map_or("", Name::as_str));
        self.number(u64::from(matches!(reservation.attempts, Attempts::Settled)));
        self.attempts(reservation.attempts.live());
        self.attempts(reservation.attempts.cancelled());
        self.number(reservation.fingerprint);
        // A confirmed reservation has no deadline; the field is not part of the state.
        self.instant(Some(reservation.until).filter(|_| reservation.status != Status::Confirmed));
        self.number(u64::from(reservation.held_ms));
        self.number(match reservation.status {
            Status::Void => 0,
            Status::Held => 1,
            Status::Confirmed => 2,
            Status::Released => 3,
            Status::Expired => 4,
            Status::Refused { .. } => 5,
        });
        if let Status::Refused { reason, binding } = reservation.status {
            self.code::<Reason>(reason);
            self.number(binding.map_or(u64::MAX, u64::from));
        }
        match reservation.judged.as_deref() {
            None => {}
            Some(Judged::Units { limit, used }) => {
                self.number(*limit);
                self.number(*used);
            }
            Some(Judged::Order(id)) => self.0.extend_from_slice(id.bytes()),
            Some(Judged::Hold(until)) => self.number(until.0),
        }
    }

    fn answer(&mut self, key: &CommandKey, answer: &DedupEntry) {
        match &key.target {
            Target::Pool(pool) => {
                self.number(1);
                self.text(pool.as_str());
            }
            Target::Reservation(id) => {
                self.number(2);
                self.0.extend_from_slice(id.bytes());
            }
        }
        self.text(key.key.as_str());
        self.number(answer.fingerprint);
        self.number(answer.until.0);
        let body = encode_body(&answer.body, None);
        let datum = body.get(FRAME_BYTES..).unwrap_or_default();
        self.number(datum.len() as u64);
        self.0.extend_from_slice(datum);
    }
}
