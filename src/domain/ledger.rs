//! The state of a partition as the domain sees it: read by [`super::decide`], changed by [`super::evolve`]. The same
//! two functions run over a partition's real state and over the overlay of a turn that is not committed yet.

use super::event::EventBody;
use super::ids::{CommandId, IdempotencyKey, PoolId, ReservationId};
use super::kind::{CommandKind, KeyScope};
use super::pool::Pool;
use super::reservation::Reservation;
use super::room::{Bounds, Keeping, SHUT};
use super::units::Micros;
use crate::limits::{COMMAND_SPAN_MS, COMMAND_WINDOW_MS};

/// What a keyed command (other than Reserve, whose id holds its key) was about.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Target {
    /// A pool.
    Pool(PoolId),
    /// A reservation.
    Reservation(ReservationId),
}

/// A caller's key, in the scope of what it was used on.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct CommandKey {
    /// What it was used on.
    pub target: Target,
    /// The key.
    pub key: IdempotencyKey,
}

impl CommandKey {
    /// Under what the answer to a command of this kind is remembered: its key, in the scope of the pool or the reservation
    /// that it is about. `None` where nothing is: the command has no key, or its kind remembers no answer.
    pub fn of(
        kind: CommandKind,
        key: Option<&IdempotencyKey>,
        pool: Option<&PoolId>,
        reservation: Option<ReservationId>,
    ) -> Option<CommandKey> {
        let (scope, key) = (kind.key_scope()?, key?.clone());
        let target = match scope {
            KeyScope::Pool => Target::Pool(pool?.clone()),
            KeyScope::Reservation => Target::Reservation(reservation?),
        };
        Some(CommandKey { target, key })
    }
}

/// The answer a key was given.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DedupEntry {
    /// Fingerprint of the command's body.
    pub fingerprint: u64,
    /// When it is forgotten.
    pub until: Micros,
    /// The decision.
    pub body: Box<EventBody>,
    /// The event that decided.
    pub seq: u64,
}

/// Until when the id of a command that is decided now is kept: those of a span of time together.
pub fn kept_until(decided_at: Micros) -> Micros {
    kept_through(decided_at.plus_ms(COMMAND_WINDOW_MS))
}

/// The same, of an id that is to be known at `last` still.
pub fn kept_through(last: Micros) -> Micros {
    let span_us = COMMAND_SPAN_MS.saturating_mul(1_000);
    let spans = last.0.checked_div(span_us).unwrap_or_default();
    Micros(spans.saturating_add(1).saturating_mul(span_us))
}

impl DedupEntry {
    /// For how long it is kept: a refusal has changed nothing.
    pub fn keeping(&self) -> Keeping {
        match *self.body {
            EventBody::Rejected(_) => Keeping::Refusal,
            _ => Keeping::Until(self.until),
        }
    }
}

/// Reading a partition's state.
pub trait Ledger {
    /// The pool, if it is known.
    fn pool(&self, id: &PoolId) -> Option<&Pool>;
    /// What is known of the reservation; it may be forgettable already (see [`Reservation::is_known`]).
    fn reservation(&self, id: &ReservationId) -> Option<&Reservation>;
    /// The live reservation of this order in this pool, among those that are asked about; of several, that of the least id.
    fn of_order(
        &self,
        pool: &PoolId,
        order_ref: &str,
        is_asked: impl Fn(&ReservationId) -> bool,
    ) -> Option<ReservationId>;
    /// The answer this key was given; it may be forgettable already.
    fn remembered(&self, key: &CommandKey) -> Option<&DedupEntry>;
    /// Whether a command of this id was decided, and its id is kept at `now`.
    fn is_decided(&self, id: CommandId, now: Micros) -> bool;
    /// How many such ids are kept at `now`.
    fn decided_count(&self, now: Micros) -> usize;
    /// How many pools there are.
    fn pool_count(&self) -> usize;
    /// Bytes that count at `now` towards [`Bounds::memory`].
    fn memory_used(&self, now: Micros) -> u64;
    /// What may be remembered.
    fn bounds(&self) -> Bounds;
}

/// Whether there is room for so many bytes of new work: none while an attempt may come that could not be remembered.
pub fn has_room(ledger: &impl Ledger, bytes: u64, now: Micros) -> bool {
    let fits = ledger.memory_used(now).saturating_add(bytes) <= ledger.bounds().memory;
    fits && !ledger.is_decided(SHUT, now)
}

/// The same, in the reserve too, for what ends work or gives up.
pub fn has_reserve(ledger: &impl Ledger, bytes: u64, now: Micros) -> bool {
    let Bounds { memory, reserve, .. } = ledger.bounds();
    ledger.memory_used(now).saturating_add(bytes) <= memory.saturating_add(reserve)
}

/// Changing it. Only [`super::evolve::evolve`] does.
pub trait LedgerMut: Ledger {
    /// Puts a pool in place of what was there.
    fn put_pool(&mut self, pool: Pool);
    /// Changes a pool that is there; nothing happens when it is not.
    fn update_pool(&mut self, id: &PoolId, f: impl FnOnce(&mut Pool));
    /// Changes what is known of a reservation, starting from [`Reservation::void`] when nothing is; drops it when
    /// nothing is left to remember.
    fn update_reservation(&mut self, pool: &PoolId, id: ReservationId, f: impl FnOnce(&mut Reservation));
    /// Keeps the answer of a key.
    fn remember(&mut self, key: CommandKey, remembered: DedupEntry);
    /// Keeps the id of a decided command until then.
    fn keep_decided(&mut self, id: CommandId, until: Micros);
    /// The clock goes back from `from` by so many microseconds: every hold ends, and every answer and whatever else is not
    /// live is forgotten, earlier by as much. What may be forgotten at `from` may be so now.
    fn set_back(&mut self, from: Micros, by_us: u64);
    /// Ids of decided commands that are kept at `from` stay for as long as they would by the old time, and not beyond
    /// `latest`: a copy of such a command has its deadline by the old time. All others go.
    fn carry_decided(&mut self, from: Micros, latest: Micros);
    /// Lets go of refusals that are too many bytes, the oldest first, of a bounded number of the entries whose time is over
    /// at `now`, and of every command's id that is kept no longer.
    fn forget(&mut self, now: Micros);
}
