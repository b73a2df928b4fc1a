//! The state of a partition as the domain sees it. [`super::decide`] reads it, [`super::evolve`] changes it. Both run
//! over a partition's real state and over the overlay of a turn that is not committed yet.

use super::event::EventBody;
use super::ids::{CommandId, IdempotencyKey, PoolId, ReservationId};
use super::kind::{CommandKind, KeyScope};
use super::pool::Pool;
use super::reservation::Reservation;
use super::retention::{Bounds, Keeping, SHUT, end_of_span};
use super::units::Micros;
use crate::limits::{COMMAND_SPAN_MS, COMMAND_WINDOW_MS};

/// What a keyed command is about. A Reserve is not among them, because its reservation id contains the key.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Target {
    /// The pool of this id.
    Pool(PoolId),
    /// The reservation of this id.
    Reservation(ReservationId),
}

/// A caller's key together with the pool or reservation that it was used on.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct CommandKey {
    /// The pool or the reservation.
    pub target: Target,
    /// The caller's idempotency key.
    pub key: IdempotencyKey,
}

impl CommandKey {
    /// The key under which the answer of a command is remembered. `None` when nothing is remembered: the command has
    /// no key, or answers of its kind are not remembered.
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

/// The answer that was given to a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DedupEntry {
    /// The fingerprint of the command's body.
    pub fingerprint: u64,
    /// When the answer may be forgotten.
    pub until: Micros,
    /// The body of the event that answered.
    pub body: Box<EventBody>,
    /// The sequence number of the event that answered.
    pub seq: u64,
}

/// Until when the id of a command that is decided now is kept. Ids of one span of time are forgotten together.
pub fn kept_until(decided_at: Micros) -> Micros {
    kept_through(decided_at.plus_ms(COMMAND_WINDOW_MS))
}

/// Until when an id is kept that must still be known at `last`.
pub fn kept_through(last: Micros) -> Micros {
    end_of_span(last, COMMAND_SPAN_MS)
}

impl DedupEntry {
    /// How long the answer is kept. A refusal has changed nothing and is kept only while there is room.
    pub fn keeping(&self) -> Keeping {
        match *self.body {
            EventBody::Rejected(_) => Keeping::Refusal,
            _ => Keeping::Until(self.until),
        }
    }
}

/// The live reservations of a pool, by number.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Living {
    /// All of them.
    pub live: u64,
    /// Those that are holds.
    pub held: u64,
}

/// Reading the state of a partition. Whatever lived in a pool that has retired is unknown.
pub trait Ledger {
    /// The pool; `None` when it does not exist.
    fn pool(&self, id: &PoolId) -> Option<&Pool>;
    /// What is known of the reservation. It may be due to be forgotten (see [`Reservation::is_known`]).
    fn reservation(&self, id: &ReservationId) -> Option<&Reservation>;
    /// The live reservation of this order in this pool, among those for which `is_asked` holds; the one with the
    /// smallest id if there are several.
    fn of_order(
        &self,
        pool: &PoolId,
        order_ref: &str,
        is_asked: impl Fn(&ReservationId) -> bool,
    ) -> Option<ReservationId>;
    /// The answer that was given to this key. It may be due to be forgotten.
    fn remembered(&self, key: &CommandKey) -> Option<&DedupEntry>;
    /// Whether a command with this id was decided and its id is kept at `now`.
    fn is_decided(&self, id: CommandId, now: Micros) -> bool;
    /// Number of such ids that are kept at `now`.
    fn decided_count(&self, now: Micros) -> usize;
    /// The number of live reservations of this pool.
    fn living(&self, pool: &PoolId) -> Living;
    /// Until when the id of a pool that has retired may not be defined anew; none when it may be at `now`.
    fn retired_until(&self, pool: &PoolId, now: Micros) -> Option<Micros>;
    /// Whether there is a place for one more pool. A pool has one, and so has an id that may not be defined anew at `now`.
    fn has_place(&self, now: Micros) -> bool;
    /// Bytes that count at `now` towards [`Bounds::memory`].
    fn memory_used(&self, now: Micros) -> u64;
    /// How much may be remembered, in bytes.
    fn bounds(&self) -> Bounds;
}

/// Whether there is room for so many bytes of new work. There is none while an attempt may come that could not be
/// remembered as given up.
pub fn has_room(ledger: &impl Ledger, bytes: u64, now: Micros) -> bool {
    let fits = ledger.memory_used(now).saturating_add(bytes) <= ledger.bounds().memory;
    fits && !ledger.is_decided(SHUT, now)
}

/// Whether there is room for so many bytes when the reserve is used too; for commands that end or give up work.
pub fn has_reserve(ledger: &impl Ledger, bytes: u64, now: Micros) -> bool {
    let Bounds { memory, reserve, .. } = ledger.bounds();
    ledger.memory_used(now).saturating_add(bytes) <= memory.saturating_add(reserve)
}

/// Changing the state. Only [`super::evolve::evolve`] calls these.
pub trait LedgerMut: Ledger {
    /// Adds a pool, or replaces it.
    fn put_pool(&mut self, pool: Pool);
    /// Changes a pool. Nothing happens when it does not exist.
    fn update_pool(&mut self, id: &PoolId, f: impl FnOnce(&mut Pool));
    /// Ends the life of a pool, with the event at `seq`. From then on its live reservations are unknown. What has ended
    /// before, and answers, stay for their time. The id may not be defined anew until `until`, which is not earlier.
    fn retire(&mut self, pool: &PoolId, seq: u64, until: Micros);
    /// Changes what is known of a reservation, starting with [`Reservation::void`] when nothing is. Drops it when
    /// nothing is left to remember.
    fn update_reservation(&mut self, pool: &PoolId, id: ReservationId, f: impl FnOnce(&mut Reservation));
    /// Remembers the answer of a key.
    fn remember(&mut self, key: CommandKey, remembered: DedupEntry);
    /// Keeps the id of a decided command until this time.
    fn keep_decided(&mut self, id: CommandId, until: Micros);
    /// Moves every deadline back by so many microseconds, because the clock goes back from `from`: holds end earlier
    /// by as much, and everything that is not live is forgotten earlier. What may be forgotten at `from` may be
    /// dropped now.
    fn set_back(&mut self, from: Micros, by_us: u64);
    /// Keeps ids of decided commands that are kept at `from` as long as they would by the old time, but not beyond
    /// `latest`, because copies of those commands have their deadlines by the old time. Drops all other ids.
    fn carry_decided(&mut self, from: Micros, latest: Micros);
    /// Forgets the oldest refusals beyond their bounds, a bounded number of the entries whose time is over at `now`,
    /// and every command id that is not kept any more.
    fn forget(&mut self, now: Micros);
}
