//! The decision: the event that a command leads to, given the state of its partition and the time. It reads the state
//! and never changes it. Refusals are tried in the order of [`Reason`].

use super::change::{LimitChange, PoolChange};
use super::command::{Command, CommandBody};
use super::event::{Entry, EventBody, Origin, Rejection, ReleaseCause, RetireCause, Retirement};
use super::ids::{Dimension, PoolId, ReservationId};
use super::ledger::{CommandKey, Ledger, has_reserve, has_room};
use super::name::Name;
use super::outcome::Reason;
use super::pool::{Mode, Pool, PoolSpec};
use super::reservation::{Judged, Reservation, Status};
use super::retention::Standing;
use super::room;
use super::route::{self, pool_hash};
use super::units::{Amounts, Micros};
use crate::limits::{
    AREAS_MAX, COMMAND_WINDOW_MS, DECIDED_COMMANDS_MAX, DEDUP_WINDOW_MS, HOLD_TTL_MAX_MS, HOLD_TTL_MIN_MS, LABELS_MAX,
    RETIRE_AFTER_MIN_MS,
};

/// The place and the time of a decision.
#[derive(Clone, Copy, Debug)]
pub struct DecisionContext {
    /// The partition that decides.
    pub partition: u32,
    /// Number of partitions of the log.
    pub partitions: u32,
    /// The time of the turn, never earlier than the last event.
    pub now: Micros,
    /// Whether pools retire. While older versions may serve the log, they do not, unless a caller says so.
    pub pools_retire: bool,
}

/// Decides `command`. Every command gets exactly one body; nothing fails.
pub fn decide(ledger: &impl Ledger, command: &Command, place: DecisionContext) -> EventBody {
    let case = Case { ledger, command, now: place.now, pools_retire: place.pools_retire };
    match case.checked(place) {
        Ok(body) => body,
        Err(refusal) => case.rejected(refusal),
    }
}

/// The body of the event that expires a hold. `None` when the hold is not due, or is none.
pub fn expire(ledger: &impl Ledger, id: ReservationId, now: Micros) -> Option<EventBody> {
    let held = ledger.reservation(&id).filter(|r| r.status == Status::Held && r.until <= now)?;
    let pool = ledger.pool(&held.pool)?;
    Some(EventBody::Expired(given_back(pool, held, id, Status::Expired)))
}

/// The body of the event that retires a pool whose window ended long ago. `None` when its time has not come, or while it
/// has a live hold.
pub fn retire(ledger: &impl Ledger, id: &PoolId, now: Micros) -> Option<EventBody> {
    let pool = ledger.pool(id).filter(|pool| pool.spec.retires_at().is_some_and(|at| at <= now))?;
    let living = ledger.living(id);
    (living.held == 0).then(|| retired(pool, living.live, RetireCause::Window))
}

struct Case<'a, L> {
    ledger: &'a L,
    command: &'a Command,
    now: Micros,
    pools_retire: bool,
}

/// The reason of a refusal, and the dimension that decided it.
struct Refusal(Reason, Option<Dimension>);

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Refusal {
        Refusal(reason, None)
    }
}

impl From<(Reason, Option<Dimension>)> for Refusal {
    fn from((reason, dimension): (Reason, Option<Dimension>)) -> Refusal {
        Refusal(reason, dimension)
    }
}

type Decision = Result<EventBody, Refusal>;

impl<L: Ledger> Case<'_, L> {
    fn checked(&self, place: DecisionContext) -> Decision {
        let body = &self.command.body;
        if !is_well_formed(body) {
            return Err(Reason::Malformed.into());
        }
        if route::home(body, place.partitions) != place.partition {
            return Err(Reason::Misrouted.into());
        }
        if body.kind().is_decided_once() {
            self.is_new_and_in_time()?;
        }
        if let Some(answered) = self.answered_before()? {
            return Ok(answered);
        }
        let body = self.anew(body)?;
        self.has_room_for(&body)?;
        Ok(body)
    }

    /// Decides a command whose key has no answer yet.
    fn anew(&self, body: &CommandBody) -> Decision {
        match body {
            CommandBody::DefinePool { pool, spec, expected_version } => self.define(pool, spec, *expected_version),
            CommandBody::AdjustLimits { pool, change, expected_version } => {
                self.adjust(pool, change, *expected_version)
            }
            CommandBody::SetMode { pool, mode, expected_version } => {
                let pool = self.pool_at(pool, *expected_version)?;
                let spec = PoolSpec { mode: *mode, ..pool.spec.clone() };
                Ok(EventBody::ModeSet(changed(pool, spec)))
            }
            CommandBody::ChangePool { pool, change, expected_version } => self.change(pool, change, *expected_version),
            CommandBody::RetirePool { pool, with_reservations, expected_version } => {
                self.retire(pool, *with_reservations, *expected_version)
            }
            CommandBody::Reserve { pool, reservation, demand, hold_ttl_ms, order_ref } => {
                self.reserve(pool, *reservation, demand, *hold_ttl_ms, order_ref.clone())
            }
            CommandBody::Confirm { reservation } => self.confirm(*reservation),
            CommandBody::Extend { reservation, hold_ttl_ms } => self.extend(*reservation, *hold_ttl_ms),
            CommandBody::Amend { reservation, demand } => self.amend(*reservation, demand),
            CommandBody::Release { reservation } => self.release(*reservation),
            CommandBody::Abandon { pool, reservation } => self.abandon(pool, *reservation),
        }
    }

    /// Checks that there is room to remember what the decision adds: the answer under the command's key, and what a
    /// reservation takes in addition. A decision that ends a reservation, gives back or confirms is never refused for
    /// lack of room. A repetition, and an amend that takes less, may use the reserve.
    fn has_room_for(&self, body: &EventBody) -> Result<(), Refusal> {
        let answer = self.key().map_or(0, |key| room::of_answer(&key, body));
        let (bytes, may_use_reserve) = match body {
            EventBody::Released(..) | EventBody::Confirmed(_) | EventBody::PoolRetired(_) => (0, true),
            EventBody::Repeated(..) => (answer, true),
            EventBody::Amended(entry, before) if entry.demand.beyond(before).next().is_none() => (answer, true),
            EventBody::Amended(entry, before) => (answer.saturating_add(room::growth(before, &entry.demand)), false),
            _ => (answer, false),
        };
        let fits = bytes == 0
            || if may_use_reserve {
                has_reserve(self.ledger, bytes, self.now)
            } else {
                has_room(self.ledger, bytes, self.now)
            };
        if fits { Ok(()) } else { Err(Reason::MemoryFull.into()) }
    }

    /// A command is decided once. A copy comes while the id of the first one is kept, or after the deadline.
    fn is_new_and_in_time(&self) -> Result<(), Refusal> {
        let Command { id, deadline, .. } = *self.command;
        if self.ledger.is_decided(id, self.now) {
            return Err(Reason::Duplicate.into());
        }
        if deadline < self.now {
            return Err(Reason::Expired.into());
        }
        if deadline > self.now.plus_ms(COMMAND_WINDOW_MS) {
            return Err(Reason::DeadlineTooFar.into());
        }
        if self.ledger.decided_count(self.now) >= DECIDED_COMMANDS_MAX {
            return Err(Reason::TooManyCommands.into());
        }
        Ok(())
    }

    /// The key under which the answer of this command is remembered.
    fn key(&self) -> Option<CommandKey> {
        let Command { body, key, .. } = self.command;
        CommandKey::of(body.kind(), key.as_ref(), body.pool(), body.reservation())
    }

    /// The answer that was given to this key before; a Reserve has none here. A reservation that has ended since is
    /// not reported as confirmed or held again, but refused, and so is a pool that has retired since. Nothing is known
    /// of a reservation that was taken back with its attempts, also when its id has begun another life.
    fn answered_before(&self) -> Result<Option<EventBody>, Refusal> {
        let Some(key) = self.key() else { return Ok(None) };
        let Some(answer) = self.ledger.remembered(&key).filter(|r| r.until > self.now) else { return Ok(None) };
        if answer.fingerprint != self.command.body.fingerprint() {
            return Err(Reason::KeyReused.into());
        }
        if let Some(entry) = answer.body.entry().filter(|entry| entry.status.is_live()) {
            let (known, _) = self.known(entry.reservation)?;
            if known.decided_seq > answer.seq {
                return Err(Reason::UnknownReservation.into());
            }
            self.not_ended(known)?;
        }
        let shown = answer.body.pool().filter(|_| answer.body.retirement().is_none());
        if shown.is_some_and(|shown| self.ledger.pool(&shown.id).is_none()) {
            let is_definition = matches!(self.command.body, CommandBody::DefinePool { .. });
            return Err(if is_definition { Reason::PoolRetired } else { Reason::UnknownPool }.into());
        }
        Ok(Some(EventBody::Repeated(answer.body.clone(), Some(remembered(answer.seq, answer.until)))))
    }

    fn not_ended(&self, known: &Reservation) -> Result<(), Refusal> {
        known.why_over(self.now).map_or(Ok(()), |reason| Err(reason.into()))
    }

    fn pool(&self, id: &PoolId) -> Result<&Pool, Refusal> {
        self.ledger.pool(id).ok_or(Refusal(Reason::UnknownPool, None))
    }

    fn pool_at(&self, id: &PoolId, expected_version: Option<u64>) -> Result<&Pool, Refusal> {
        let pool = self.pool(id)?;
        is_expected(Some(pool), expected_version)?;
        Ok(pool)
    }

    fn define(&self, id: &PoolId, spec: &PoolSpec, expected_version: Option<u64>) -> Decision {
        let known = self.ledger.pool(id);
        if self.ledger.retired_until(id, self.now).is_some() {
            return Err(Reason::PoolRetired.into());
        }
        if known.is_none() && !self.ledger.has_place(self.now) {
            return Err(Reason::PartitionFull.into());
        }
        is_expected(known, expected_version)?;
        let Some(pool) = known else {
            self.is_kept_a_while(None, spec)?;
            let used = spec.limits.map(|_, _| 0);
            return Ok(EventBody::PoolDefined(Pool { id: id.clone(), spec: spec.clone(), used, version: 1 }));
        };
        let lost = pool.used.iter().find(|(d, used)| *used > 0 && spec.limits.get(*d).is_none());
        if let Some((d, _)) = lost {
            return Err(Refusal(Reason::DimensionInUse, Some(d)));
        }
        self.is_kept_a_while(Some(&pool.spec), spec)?;
        Ok(EventBody::PoolDefined(changed(pool, spec.clone())))
    }

    fn adjust(&self, id: &PoolId, change: &LimitChange, expected_version: Option<u64>) -> Decision {
        let pool = self.pool_at(id, expected_version)?;
        let limits = change.of(&pool.spec.limits)?;
        Ok(EventBody::LimitsAdjusted(changed(pool, PoolSpec { limits, ..pool.spec.clone() })))
    }

    fn change(&self, id: &PoolId, change: &PoolChange, expected_version: Option<u64>) -> Decision {
        let pool = self.pool_at(id, expected_version)?;
        let spec = change.of(&pool.spec)?;
        self.is_kept_a_while(Some(&pool.spec), &spec)?;
        Ok(EventBody::PoolChanged(changed(pool, spec)))
    }

    /// Checks that the pool does not retire by itself so soon that somebody may still ask for what it has now. A change
    /// that makes it retire later is allowed in any case.
    fn is_kept_a_while(&self, before: Option<&PoolSpec>, spec: &PoolSpec) -> Result<(), Refusal> {
        if !self.pools_retire && spec.rules.retire_after_ms.is_none() {
            return Ok(());
        }
        let at = |spec: &PoolSpec| spec.retires_at().unwrap_or(Micros::MAX);
        let earliest = before.map_or(Micros::MAX, at).min(self.now.plus_ms(RETIRE_AFTER_MIN_MS));
        if at(spec) < earliest { Err(Reason::RetiresTooSoon.into()) } else { Ok(()) }
    }

    fn retire(&self, id: &PoolId, with_reservations: bool, expected_version: Option<u64>) -> Decision {
        let pool = self.pool_at(id, expected_version)?;
        let live = self.ledger.living(id).live;
        if live > 0 && !with_reservations {
            return Err(Reason::PoolInUse.into());
        }
        Ok(retired(pool, live, RetireCause::Caller))
    }

    fn reserve(
        &self,
        pool: &PoolId,
        id: ReservationId,
        demand: &Amounts,
        hold_ttl_ms: Option<u64>,
        order_ref: Option<Name>,
    ) -> Decision {
        let known = self.ledger.reservation(&id).filter(|r| r.is_known(self.now));
        if let Some(known) = known {
            if known.attempts.cancelled().contains(&self.command.attempt) {
                return Err(Reason::Abandoned.into());
            }
            // Two pools may have the same hash, and two keys then the same id. The id belongs to the pool that used
            // it first.
            if known.pool != *pool {
                return Err(Reason::KeyReused.into());
            }
            if known.status != Status::Void {
                return self.repeated(known, id);
            }
            if known.attempts.is_cancelled_full() {
                return Err(Reason::TooManyAttempts.into());
            }
        }
        let standing = if hold_ttl_ms.is_some() { Standing::Held } else { Standing::Confirmed };
        let bytes = room::of_parts(demand, order_ref.as_ref(), (1, 0), standing, false);
        if !has_room(self.ledger, bytes, self.now) {
            return Err(Reason::MemoryFull.into());
        }
        let pool = self.pool(pool)?;
        if self.holder(pool, order_ref.as_ref()).is_some() {
            return Err(Reason::OrderHasReservation.into());
        }
        self.admits(pool, || demand.iter())?;
        let hold_until = hold_ttl_ms.map(|ttl| self.hold_until(pool, self.now, ttl)).transpose()?;
        Ok(EventBody::Accepted(Entry {
            pool: pool.id.clone(),
            reservation: id,
            status: if hold_until.is_some() { Status::Held } else { Status::Confirmed },
            demand: demand.clone(),
            hold_until,
            hold_since: hold_until.map(|_| self.now),
            order_ref,
            limits: pool.spec.limits.clone(),
            used: pool.used.map(|d, used| used.saturating_add(demand.get(d).unwrap_or_default())),
        }))
    }

    /// Whether the pool allows `more` to be taken of it.
    fn admits<I: Iterator<Item = (Dimension, u64)>>(&self, pool: &Pool, more: impl Fn() -> I) -> Result<(), Refusal> {
        if pool.spec.window.is_some_and(|window| window.closes_at() <= self.now) {
            return Err(Reason::PastCutoff.into());
        }
        match pool.spec.mode {
            Mode::Open => {}
            Mode::Closed => return Err(Reason::Closed.into()),
            Mode::Paused => return Err(Reason::Paused.into()),
        }
        if let Some((d, _)) = more().find(|(d, _)| pool.spec.limits.get(*d).is_none()) {
            return Err(Refusal(Reason::UnknownDimension, Some(d)));
        }
        match more().find(|(d, units)| pool.remaining(*d).is_none_or(|free| *units > free)) {
            Some((d, _)) => Err(Refusal(Reason::OverLimit, Some(d))),
            None => Ok(()),
        }
    }

    /// The live reservation that the order has in the pool, if the pool allows only one.
    fn holder(&self, pool: &Pool, order_ref: Option<&Name>) -> Option<ReservationId> {
        let order_ref = order_ref.filter(|_| pool.spec.rules.unique_order_ref)?;
        self.ledger.of_order(&pool.id, order_ref.as_str(), |_| true)
    }

    /// The deadline of a hold that gets `ttl_ms` now and whose life counts from `since`. A hold that may not last so
    /// long is refused and not shortened, because its caller would rely on the time that it asked for.
    fn hold_until(&self, pool: &Pool, since: Micros, ttl_ms: u64) -> Result<Micros, Refusal> {
        let until = self.now.plus_ms(ttl_ms);
        match pool.spec.hold_bounds(since, self.now).iter().find(|(bound, _)| until > *bound) {
            Some((_, reason)) => Err((*reason).into()),
            None => Ok(until),
        }
    }

    /// The answer to a Reserve whose id is known: the reservation as it stands now, while it lives.
    fn repeated(&self, known: &Reservation, id: ReservationId) -> Decision {
        if known.fingerprint != self.command.body.fingerprint() {
            return Err(Reason::KeyReused.into());
        }
        if let Status::Refused { reason, .. } = known.status {
            let rejection = EventBody::Rejected(self.refused_before(known, reason));
            // The refusal lasts as long as the cancelled attempts, so that its own time is not known.
            if !known.attempts.cancelled().is_empty() {
                return Ok(again(rejection, known.seq));
            }
            return Ok(EventBody::Repeated(Box::new(rejection), Some(remembered(known.seq, known.until))));
        }
        self.not_ended(known)?;
        let pool = self.pool(&known.pool)?;
        Ok(again(EventBody::Accepted(entry(pool, known, id)), known.decided_seq))
    }

    /// The refusal as it was judged then, without the pool's counters of now.
    fn refused_before(&self, known: &Reservation, reason: Reason) -> Rejection {
        let dimension = known.binding();
        let (mut limits, mut used) = (None, None);
        let (mut existing_reservation, mut hold_until) = (None, None);
        match known.judged.as_deref() {
            Some(Judged::Units { limit, used: in_use }) => {
                let one = |units: u64| dimension.and_then(|d| Amounts::new([(d, units)]));
                (limits, used) = (one(*limit), one(*in_use));
            }
            Some(Judged::Order(id)) => existing_reservation = Some(*id),
            Some(Judged::Hold(until)) => hold_until = Some(*until),
            None => {}
        }
        let told = self.rejection(&Refusal(reason, dimension));
        let (mode, version, retired_until) = (None, None, None);
        Rejection { limits, used, mode, version, existing_reservation, hold_until, retired_until, ..told }
    }

    fn known(&self, id: ReservationId) -> Result<(&Reservation, &Pool), Refusal> {
        let known = self.ledger.reservation(&id).filter(|r| r.is_known(self.now));
        let decided = known.filter(|r| !matches!(r.status, Status::Void | Status::Refused { .. }));
        let of_pool = decided.and_then(|reservation| Some((reservation, self.ledger.pool(&reservation.pool)?)));
        of_pool.ok_or(Reason::UnknownReservation.into())
    }

    /// A hold that has not ended, and its pool.
    fn hold(&self, id: ReservationId) -> Result<(&Reservation, &Pool), Refusal> {
        let (known, pool) = self.known(id)?;
        self.not_ended(known)?;
        if known.status == Status::Held { Ok((known, pool)) } else { Err(Reason::NotAHold.into()) }
    }

    fn confirm(&self, id: ReservationId) -> Decision {
        let (known, pool) = self.known(id)?;
        if known.status == Status::Confirmed {
            return Ok(again(EventBody::Confirmed(entry(pool, known, id)), known.seq));
        }
        let (held, pool) = self.hold(id)?;
        Ok(EventBody::Confirmed(Entry {
            status: Status::Confirmed,
            hold_until: None,
            hold_since: None,
            ..entry(pool, held, id)
        }))
    }

    fn extend(&self, id: ReservationId, hold_ttl_ms: u64) -> Decision {
        let (held, pool) = self.hold(id)?;
        let hold_until = Some(self.hold_until(pool, held.held_since(), hold_ttl_ms)?);
        Ok(EventBody::Extended(Entry { hold_until, ..entry(pool, held, id) }))
    }

    /// An amend that takes no more in any dimension is never refused for the pool's state, because it gives back.
    fn amend(&self, id: ReservationId, demand: &Amounts) -> Decision {
        let (known, pool) = self.known(id)?;
        self.not_ended(known)?;
        let before = known.demand.clone();
        if before == *demand {
            return Ok(again(EventBody::Amended(entry(pool, known, id), before), known.seq));
        }
        if demand.beyond(&before).next().is_some() {
            self.admits(pool, || demand.beyond(&before))?;
        }
        let used = pool.used.exchange(&before, demand).unwrap_or_else(|_| pool.used.clone());
        Ok(EventBody::Amended(Entry { demand: demand.clone(), used, ..entry(pool, known, id) }, before))
    }

    fn release(&self, id: ReservationId) -> Decision {
        let (known, pool) = self.known(id)?;
        match known.status {
            Status::Expired => Ok(again(EventBody::Expired(entry(pool, known, id)), known.seq)),
            Status::Released => Ok(again(EventBody::Released(entry(pool, known, id), ReleaseCause::Caller), known.seq)),
            _ => Ok(EventBody::Released(given_back(pool, known, id, Status::Released), ReleaseCause::Caller)),
        }
    }

    /// When the last attempt goes, the reservation ends, unless somebody has confirmed, extended or amended it: that
    /// caller was told yes, and may have told others. It shows by the event that changed it last. A call that found everything
    /// as it asked for has changed nothing, and does not show. An attempt of another pool cannot hold anything here.
    fn abandon(&self, pool: &PoolId, reservation: ReservationId) -> Decision {
        let known = self.ledger.reservation(&reservation).filter(|r| r.is_known(self.now));
        if known.is_some_and(|known| known.pool != *pool) {
            return Err(Reason::KeyReused.into());
        }
        let untouched = known.filter(|r| r.status.is_live() && r.seq == r.decided_seq);
        Ok(match untouched.and_then(|r| Some((r, self.ledger.pool(&r.pool)?))) {
            Some((known, pool)) if known.attempts.live() == [self.command.attempt] => {
                let entry = given_back(pool, known, reservation, Status::Released);
                EventBody::Released(entry, ReleaseCause::Abandoned)
            }
            _ => EventBody::Abandoned { pool: pool.clone(), reservation },
        })
    }

    fn rejected(&self, refusal: Refusal) -> EventBody {
        EventBody::Rejected(self.rejection(&refusal))
    }

    fn rejection(&self, refusal: &Refusal) -> Rejection {
        let body = &self.command.body;
        let reservation = body.reservation();
        let known = reservation.and_then(|id| self.ledger.reservation(&id)).filter(|r| r.is_known(self.now));
        let of_reservation = known.map(|r| &r.pool);
        let id = body.pool().or(of_reservation);
        let pool = id.and_then(|id| self.ledger.pool(id));
        let (demand, order_ref) = match body {
            CommandBody::Reserve { demand, order_ref, .. } => (Some(demand.clone()), order_ref.clone()),
            CommandBody::Amend { demand, .. } => (Some(demand.clone()), None),
            _ => (None, None),
        };
        let since = known.filter(|r| r.status == Status::Held).map_or(self.now, Reservation::held_since);
        let latest = |pool: &Pool| pool.spec.hold_bounds(since, self.now).iter().map(|(bound, _)| *bound).min();
        let is_of_order = refusal.0 == Reason::OrderHasReservation;
        let amended = known.filter(|r| matches!(body, CommandBody::Amend { .. }) && r.status.is_live());
        Rejection {
            hold_until: pool.filter(|_| refusal.0.is_of_hold_time()).and_then(latest),
            existing_reservation: pool.filter(|_| is_of_order).and_then(|pool| self.holder(pool, order_ref.as_ref())),
            reason: refusal.0,
            dimension: refusal.1,
            pool: id.cloned(),
            reservation,
            demand,
            demand_before: amended.map(|r| r.demand.clone()),
            order_ref,
            limits: pool.map(|p| p.spec.limits.clone()),
            used: pool.map(|p| p.used.clone()),
            mode: pool.map(|p| p.spec.mode),
            version: pool.map(|p| p.version),
            retired_until: id.and_then(|id| self.ledger.retired_until(id, self.now)),
            live: pool.filter(|_| refusal.0 == Reason::PoolInUse).map(|pool| self.ledger.living(&pool.id).live),
            asked: body.asked().map(Box::new),
        }
    }
}

/// The one check of an expected version. A pool that does not exist has version 0.
fn is_expected(known: Option<&Pool>, expected_version: Option<u64>) -> Result<(), Refusal> {
    let version = known.map_or(0, |pool| pool.version);
    match expected_version {
        Some(expected) if expected != version => Err(Reason::StaleVersion.into()),
        _ => Ok(()),
    }
}

/// A repetition of what the event at `seq` has already brought about.
fn again(body: EventBody, seq: u64) -> EventBody {
    EventBody::Repeated(Box::new(body), Some(Origin { seq, decided_at: None }))
}

/// The event at `seq` whose answer is kept until `until`.
fn remembered(seq: u64, until: Micros) -> Origin {
    let decided_at = until.0.checked_sub(DEDUP_WINDOW_MS.saturating_mul(1_000)).map(Micros);
    Origin { seq, decided_at }
}

fn retired(pool: &Pool, live: u64, cause: RetireCause) -> EventBody {
    EventBody::PoolRetired(Retirement { pool: pool.clone(), live, cause })
}

fn changed(pool: &Pool, spec: PoolSpec) -> Pool {
    let used = spec.limits.map(|d, _| pool.used.get(d).unwrap_or_default());
    Pool { id: pool.id.clone(), spec, used, version: pool.version.saturating_add(1) }
}

fn entry(pool: &Pool, known: &Reservation, reservation: ReservationId) -> Entry {
    Entry {
        pool: known.pool.clone(),
        reservation,
        status: known.status,
        demand: known.demand.clone(),
        hold_until: (known.status == Status::Held).then_some(known.until),
        hold_since: (known.status == Status::Held).then(|| known.held_since()),
        order_ref: known.order_ref.clone(),
        limits: pool.spec.limits.clone(),
        used: pool.used.clone(),
    }
}

fn given_back(pool: &Pool, known: &Reservation, id: ReservationId, status: Status) -> Entry {
    let used = pool.used.map(|d, used| used.saturating_sub(known.demand.get(d).unwrap_or_default()));
    Entry { status, hold_until: None, hold_since: None, used, ..entry(pool, known, id) }
}

fn is_well_formed(body: &CommandBody) -> bool {
    let is_ttl = |ttl: u64| (HOLD_TTL_MIN_MS..=HOLD_TTL_MAX_MS).contains(&ttl);
    match body {
        CommandBody::DefinePool { spec, .. } => is_spec(spec),
        CommandBody::AdjustLimits { change, .. } => change.is_well_formed(),
        CommandBody::ChangePool { change, .. } => change.is_well_formed(),
        CommandBody::Reserve { pool, reservation, demand, hold_ttl_ms, .. } => {
            let id_fits = reservation.pool_hash() == pool_hash(pool);
            id_fits && demand.is_within(1) && hold_ttl_ms.is_none_or(is_ttl)
        }
        CommandBody::Extend { hold_ttl_ms, .. } => is_ttl(*hold_ttl_ms),
        CommandBody::Amend { demand, .. } => demand.is_within(1),
        CommandBody::Abandon { pool, reservation } => reservation.pool_hash() == pool_hash(pool),
        CommandBody::SetMode { .. }
        | CommandBody::RetirePool { .. }
        | CommandBody::Confirm { .. }
        | CommandBody::Release { .. } => true,
    }
}

fn is_spec(spec: &PoolSpec) -> bool {
    let in_order = spec.window.is_none_or(|window| window.is_in_order());
    in_order
        && spec.rules.is_well_formed()
        && spec.limits.is_within(0)
        && spec.areas.len() <= AREAS_MAX
        && spec.labels.len() <= LABELS_MAX
}
