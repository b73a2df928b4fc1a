//! A page of reservations, packed by hand. A restart reads millions of them, and the Avro library allocates every
//! text of a record twice. A packed reservation costs only its own allocations. [`super::snapshot::FORMAT_VERSION`]
//! is the version of the layout. A page that cannot be read is rebuilt from the log.
//!
//! Numbers are little-endian; texts and lists stand behind their length. An entry consists of: slot; id; pool (empty:
//! the pool of the entry before); status, and of a hold its whole length; demand; order reference (empty: none);
//! attempts, then cancelled attempts; fingerprint; until; seq; seq of the deciding event; the figures of a refusal.
//! When more attempts count than are kept, only their count is stored.

use super::DecodeError;
use super::field::Code;
use crate::domain::reservation::AttemptSets;
use crate::domain::{
    Amounts, Attempt, Attempts, Dimension, Judged, Micros, Name, NameError, PoolId, Reason, Reservation, ReservationId,
    Status,
};
use crate::limits::{
    ATTEMPTS_MAX, CANCELLED_ATTEMPTS_MAX, DECODE_ALLOCATION_BYTES_MAX, DIMENSION_BYTES_MAX, DIMENSIONS_MAX,
    NAME_BYTES_MAX, PAGE_SLOTS,
};
use std::fmt;
use std::sync::Arc;

const VOID: u8 = 0;
const HELD: u8 = 1;
const CONFIRMED: u8 = 2;
const RELEASED: u8 = 3;
const EXPIRED: u8 = 4;
const REFUSED: u8 = 5;
const NOT_JUDGED: u8 = 0;
const BY_UNITS: u8 = 1;
const BY_ORDER: u8 = 2;
const BY_HOLD: u8 = 3;
/// Stands for the index of the dimension in a refusal that no dimension decided.
const NOT_BOUND: u8 = u8::MAX;
/// Stands for the count of attempts when more count than are kept.
const SETTLED: usize = u16::MAX as usize;

/// Length in bytes of a long usual reservation; its buffer seldom has to grow.
const USUAL_BYTES: usize = 160;
/// Length in bytes of the longest reservation.
const ENTRY_BYTES_MAX: usize =
    96 + 2 * NAME_BYTES_MAX + DIMENSIONS_MAX * (DIMENSION_BYTES_MAX + 9) + (ATTEMPTS_MAX + CANCELLED_ATTEMPTS_MAX) * 8;

// A page is one field of bytes, which a decoder must be willing to allocate. Slots and lengths of texts are one byte
// each.
const _: () = assert!(PAGE_SLOTS * ENTRY_BYTES_MAX <= DECODE_ALLOCATION_BYTES_MAX);
const _: () = assert!(PAGE_SLOTS <= 1 << 8 && NAME_BYTES_MAX < 1 << 8 && DIMENSION_BYTES_MAX < 1 << 8);

/// Packs the entries.
pub(super) fn pack<'a>(entries: impl Iterator<Item = (u8, &'a ReservationId, &'a Reservation)>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(entries.size_hint().1.unwrap_or(PAGE_SLOTS).saturating_mul(USUAL_BYTES));
    let mut before = None;
    for (slot, id, reservation) in entries {
        bytes.push(slot);
        bytes.extend_from_slice(id.bytes());
        let pool = Some(&reservation.pool).filter(|pool| before != Some(*pool));
        put_text(&mut bytes, pool.map_or("", PoolId::as_str));
        before = Some(&reservation.pool);
        put_status(&mut bytes, reservation.status);
        if reservation.status == Status::Held {
            bytes.extend_from_slice(&reservation.held_ms.to_le_bytes());
        }
        put_count(&mut bytes, reservation.demand.len());
        for (dimension, units) in reservation.demand.iter() {
            put_text(&mut bytes, dimension.as_str());
            put_number(&mut bytes, units);
        }
        put_text(&mut bytes, reservation.order_ref.as_ref().map_or("", Name::as_str));
        if reservation.attempts == Attempts::Settled {
            put_count(&mut bytes, SETTLED);
        } else {
            for attempts in [reservation.attempts.live(), reservation.attempts.cancelled()] {
                put_count(&mut bytes, attempts.len());
                attempts.iter().for_each(|attempt| put_number(&mut bytes, attempt.0));
            }
        }
        put_number(&mut bytes, reservation.fingerprint);
        put_number(&mut bytes, reservation.until.0);
        put_number(&mut bytes, reservation.seq);
        put_number(&mut bytes, reservation.decided_seq);
        put_judged(&mut bytes, reservation.judged.as_deref());
    }
    bytes
}

fn put_judged(bytes: &mut Vec<u8>, judged: Option<&Judged>) {
    match judged {
        None => bytes.push(NOT_JUDGED),
        Some(Judged::Units { limit, used }) => {
            bytes.push(BY_UNITS);
            put_number(bytes, *limit);
            put_number(bytes, *used);
        }
        Some(Judged::Order(id)) => {
            bytes.push(BY_ORDER);
            bytes.extend_from_slice(id.bytes());
        }
        Some(Judged::Hold(until)) => {
            bytes.push(BY_HOLD);
            put_number(bytes, until.0);
        }
    }
}

fn put_status(bytes: &mut Vec<u8>, status: Status) {
    let code = match status {
        Status::Void => VOID,
        Status::Held => HELD,
        Status::Confirmed => CONFIRMED,
        Status::Released => RELEASED,
        Status::Expired => EXPIRED,
        Status::Refused { .. } => REFUSED,
    };
    bytes.push(code);
    if let Status::Refused { reason, binding } = status {
        let reason = reason.place().unwrap_or(usize::MAX);
        bytes.extend_from_slice(&[reason as u8, binding.unwrap_or(NOT_BOUND)]);
    }
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.push(text.len() as u8);
    bytes.extend_from_slice(text.as_bytes());
}

fn put_count(bytes: &mut Vec<u8>, count: usize) {
    debug_assert!(count <= usize::from(u16::MAX), "a command holds fewer dimensions");
    bytes.extend_from_slice(&(count as u16).to_le_bytes());
}

fn put_number(bytes: &mut Vec<u8>, number: u64) {
    bytes.extend_from_slice(&number.to_le_bytes());
}

/// The reservations of a page with their ids, each in its slot.
pub type Slots = [Option<(ReservationId, Reservation)>; PAGE_SLOTS];

/// Keeps values that many reservations have in common once.
pub trait Sharing {
    /// This id of a pool, as it is kept.
    fn pool(&mut self, pool: PoolId) -> PoolId;
    /// These units, as they are kept.
    fn demand(&mut self, demand: Amounts) -> Amounts;
}

/// Keeps nothing: equal values in a row are shared within a page all the same.
impl Sharing for () {
    fn pool(&mut self, pool: PoolId) -> PoolId {
        pool
    }

    fn demand(&mut self, demand: Amounts) -> Amounts {
        demand
    }
}

/// Unpacks a page to where its reservations stay: a start unpacks millions of them.
pub(super) fn unpack(bytes: &[u8], sharing: &mut impl Sharing) -> Result<Arc<Slots>, DecodeError> {
    let mut page = Arc::new(std::array::from_fn(|_| None));
    let slots: &mut Slots = Arc::make_mut(&mut page);
    let (mut rest, mut next) = (Rest(bytes), 0);
    // The pool of the entry before, and its demand with the bytes of it: most are the same.
    let (mut pool, mut demanded): (Option<PoolId>, (&[u8], Amounts)) = (None, (&[], Amounts::default()));
    while !rest.0.is_empty() {
        let slot = usize::from(rest.byte()?);
        let place = slots.get_mut(slot).filter(|_| slot >= next);
        let place = place.ok_or_else(|| DecodeError::new(format_args!("slot {slot} is out of order")))?;
        next = slot.saturating_add(1);
        let id = rest.id()?;
        match rest.text()? {
            "" => {}
            text => pool = Some(sharing.pool(PoolId::new(text).map_err(wrong("a pool's id"))?)),
        }
        let pool = pool.clone().ok_or_else(|| DecodeError::missing("pool"))?;
        let status = rest.status()?;
        let held_ms = if status == Status::Held { u32::from_le_bytes(rest.array()?) } else { 0 };
        let reservation = Reservation {
            pool,
            status,
            held_ms,
            demand: rest.demand(&mut demanded, sharing)?,
            order_ref: rest.order_ref()?,
            attempts: rest.attempts()?,
            fingerprint: rest.number()?,
            until: Micros(rest.number()?),
            seq: rest.number()?,
            decided_seq: rest.number()?,
            judged: rest.judged()?,
        };
        *place = Some((id, reservation));
    }
    Ok(page)
}

fn wrong(what: impl fmt::Display) -> impl FnOnce(NameError) -> DecodeError {
    move |why| DecodeError::new(format_args!("{what} {why}"))
}

/// The bytes that are still to be read.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let split = self.0.split_at_checked(len);
        let (taken, rest) = split.ok_or_else(|| DecodeError::new("the page ends within an entry"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let bytes = self.take(N)?;
        bytes.try_into().map_err(|_| DecodeError::new("the page ends within an entry"))
    }

    fn byte(&mut self) -> Result<u8, DecodeError> {
        self.array().map(|[byte]| byte)
    }

    fn number(&mut self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_le_bytes)
    }

    fn count(&mut self) -> Result<usize, DecodeError> {
        self.array().map(|bytes| usize::from(u16::from_le_bytes(bytes)))
    }

    fn text(&mut self) -> Result<&'a str, DecodeError> {
        let len = self.byte()?;
        let bytes = self.take(usize::from(len))?;
        std::str::from_utf8(bytes).map_err(|_| DecodeError::new("a text is not utf-8"))
    }

    fn id(&mut self) -> Result<ReservationId, DecodeError> {
        ReservationId::from_bytes(self.array()?).map_err(wrong("a reservation's id"))
    }

    fn status(&mut self) -> Result<Status, DecodeError> {
        Ok(match self.byte()? {
            VOID => Status::Void,
            HELD => Status::Held,
            CONFIRMED => Status::Confirmed,
            RELEASED => Status::Released,
            EXPIRED => Status::Expired,
            REFUSED => {
                let [reason, binding] = self.array()?;
                let known = Reason::VALUES.get(usize::from(reason)).copied().flatten();
                let reason = known.ok_or_else(|| DecodeError::new("a reason is not known here"))?;
                Status::Refused { reason, binding: Some(binding).filter(|at| *at != NOT_BOUND) }
            }
            _ => return Err(DecodeError::new("a status is not known here")),
        })
    }

    fn demand(&mut self, before: &mut (&'a [u8], Amounts), sharing: &mut impl Sharing) -> Result<Amounts, DecodeError> {
        let (bytes, demand) = before;
        if let Some(rest) = self.0.strip_prefix(*bytes).filter(|_| !bytes.is_empty()) {
            self.0 = rest;
            return Ok(demand.clone());
        }
        let whole = self.0;
        let count = self.count()?;
        let mut pairs = Vec::with_capacity(count.min(DIMENSIONS_MAX));
        for _ in 0..count {
            let dimension = Dimension::new(self.text()?).map_err(wrong("a dimension"))?;
            pairs.push((dimension, self.number()?));
        }
        let demand = Amounts::new(pairs).ok_or_else(|| DecodeError::new("a demand has a dimension twice"))?;
        let demand = sharing.demand(demand);
        let length = whole.len().saturating_sub(self.0.len());
        *before = (whole.get(..length).unwrap_or_default(), demand.clone());
        Ok(demand)
    }

    fn order_ref(&mut self) -> Result<Option<Name>, DecodeError> {
        match self.text()? {
            "" => Ok(None),
            text => Name::new(text).map(Some).map_err(wrong("an order reference")),
        }
    }

    fn attempts(&mut self) -> Result<Attempts, DecodeError> {
        match self.count()? {
            SETTLED => Ok(Attempts::Settled),
            live => {
                let live = self.attempt_list(live)?;
                let cancelled = self.count()?;
                Ok(Attempts::from_sets(AttemptSets { live, cancelled: self.attempt_list(cancelled)? }))
            }
        }
    }

    fn judged(&mut self) -> Result<Option<Box<Judged>>, DecodeError> {
        Ok(Some(Box::new(match self.byte()? {
            NOT_JUDGED => return Ok(None),
            BY_UNITS => Judged::Units { limit: self.number()?, used: self.number()? },
            BY_ORDER => Judged::Order(self.id()?),
            BY_HOLD => Judged::Hold(Micros(self.number()?)),
            _ => return Err(DecodeError::new("what a refusal was judged by is not known here")),
        })))
    }

    fn attempt_list(&mut self, count: usize) -> Result<Vec<Attempt>, DecodeError> {
        let mut attempts = Vec::with_capacity(count.min(ATTEMPTS_MAX));
        for _ in 0..count {
            attempts.push(Attempt(self.number()?));
        }
        Ok(attempts)
    }
}
