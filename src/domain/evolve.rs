//! The only way in which a state changes: folding an event, in an owner, in a follower and in recovery alike. It
//! takes the values after an event from the event, after it has checked them against L1. It decides nothing.

use super::event::{CommandStamp, Entry, Event, EventBody, Rejection, ReleaseCause, RetireCause, Retirement};
use super::ids::PoolId;
use super::ids::ReservationId;
use super::law::{self, Breach, Law};
use super::ledger::{CommandKey, DedupEntry, LedgerMut, has_reserve, kept_through, kept_until};
use super::pool::Pool;
use super::reservation::{Attempts, Reservation, Status};
use super::retention::{Keeping, SHUT};
use super::units::{Amounts, Micros};
use super::{CommandKind, Reason};
use crate::limits::DEDUP_WINDOW_MS;

/// Folds `event` into `ledger`.
///
/// # Errors
/// The [`Breach`] that makes the event impossible after this state. The state must not be used any more.
pub fn evolve(ledger: &mut impl LedgerMut, event: &Event) -> Result<(), Breach> {
    fold(ledger, event).map_err(|(law, detail)| Breach { law, partition: event.partition, seq: event.seq, detail })?;
    keep_decided(ledger, event);
    // Forgets first, because the next decision is made against what is left.
    ledger.forget(event.decided_at);
    Ok(())
}

/// Keeps the id of the command, so that a copy of it decides nothing.
fn keep_decided(ledger: &mut impl LedgerMut, event: &Event) {
    let Some(command) = event.command().filter(|command| command.kind.is_decided_once()) else { return };
    if let EventBody::Rejected(rejection) = &event.body
        && !rejection.reason.is_kept()
    {
        return;
    }
    ledger.keep_decided(command.id, kept_until(event.decided_at));
}

type Folded = Result<(), (Law, String)>;

fn fold(ledger: &mut impl LedgerMut, event: &Event) -> Folded {
    match &event.body {
        EventBody::PoolDefined(pool)
        | EventBody::LimitsAdjusted(pool)
        | EventBody::ModeSet(pool)
        | EventBody::PoolChanged(pool) => {
            fold_pool(ledger, event, pool)?;
        }
        EventBody::PoolRetired(retirement) => fold_retired(ledger, event, retirement)?,
        EventBody::Accepted(entry) => fold_accepted(ledger, event, entry)?,
        EventBody::Confirmed(entry) => fold_hold(ledger, event, entry, Status::Confirmed, Micros(0))?,
        EventBody::Extended(entry) => {
            fold_hold(ledger, event, entry, Status::Held, entry.hold_until.unwrap_or_default())?;
        }
        EventBody::Amended(entry, before) => fold_amended(ledger, event, entry, before)?,
        EventBody::Released(entry, cause) => fold_ended(ledger, event, entry, Some(*cause))?,
        EventBody::Expired(entry) => fold_ended(ledger, event, entry, None)?,
        EventBody::Repeated(original, _) => fold_repeated(ledger, event, original)?,
        EventBody::Rejected(rejection) => {
            if rejection.reason.is_open() {
                fold_cancelled(ledger, event, rejection);
            }
            if !rejection.is_remembered() {
                return Ok(());
            }
            fold_refused(ledger, event, rejection)?;
        }
        EventBody::Abandoned { pool, reservation } => fold_abandoned(ledger, event, pool, *reservation)?,
        EventBody::ClockSet { from, .. } => return fold_clock_set(ledger, event, *from),
        EventBody::Malformed { .. }
        | EventBody::CommandsLost { .. }
        | EventBody::EventsLost { .. }
        | EventBody::Barrier { .. }
        | EventBody::Tick => return Ok(()),
    }
    remember(ledger, event);
    Ok(())
}

/// Keeps the answer of a keyed command. An answer that is kept already is neither replaced nor prolonged. A
/// repetition that only says what the state says (a second confirm under a key of its own) becomes the answer of that
/// key. Older versions also repeated refusals that are not kept any more.
fn remember(ledger: &mut impl LedgerMut, event: &Event) {
    let (Some(command), body) = (event.command(), &event.body) else { return };
    if body.rejection().is_some_and(|rejection| !rejection.is_remembered()) {
        return;
    }
    let key = CommandKey::of(command.kind, command.key.as_ref(), body.pool_id(), body.reservation_id());
    let Some(key) = key else { return };
    if ledger.remembered(&key).is_some_and(|r| r.until > event.decided_at) {
        return;
    }
    let (body, seq) = match &event.body {
        EventBody::Repeated(original, origin) => (original.clone(), origin.map_or(event.seq, |origin| origin.seq)),
        body => (Box::new(body.clone()), event.seq),
    };
    ledger.remember(key, DedupEntry { fingerprint: command.fingerprint, until: forget_at(event), body, seq });
}

fn forget_at(event: &Event) -> Micros {
    event.decided_at.plus_ms(DEDUP_WINDOW_MS)
}

fn fold_pool(ledger: &mut impl LedgerMut, event: &Event, pool: &Pool) -> Folded {
    if let Some(until) = ledger.retired_until(&pool.id, event.decided_at) {
        let detail = format!("pool {} is defined anew, and its id has retired until {}", pool.id, until.0);
        return Err((Law::OneState, detail));
    }
    let version = ledger.pool(&pool.id).map_or(0, |p| p.version);
    if pool.version != version.saturating_add(1) {
        return Err((Law::OneState, format!("pool {} goes from version {version} to {}", pool.id, pool.version)));
    }
    let before = ledger.pool(&pool.id).map(|p| p.used.clone()).unwrap_or_default();
    let kept = pool.spec.limits.map(|d, _| before.get(d).unwrap_or_default());
    let is_lost = before.iter().any(|(d, used)| used > 0 && kept.get(d).is_none());
    if pool.used != kept || is_lost {
        let detail = format!("pool {} changes what is used from {before:?} to {:?}", pool.id, pool.used);
        return Err((Law::OneState, detail));
    }
    ledger.put_pool(pool.clone());
    Ok(())
}

/// Folds the end of a pool's life. By itself a pool retires when its time has come, and never with a live hold.
fn fold_retired(ledger: &mut impl LedgerMut, event: &Event, retirement: &Retirement) -> Folded {
    let Retirement { pool, live, cause } = retirement;
    let known = known_pool(ledger, &pool.id)?;
    let living = ledger.living(&pool.id);
    if known != pool || living.live != *live {
        let detail =
            format!("pool {} is {known:?} with {} live, the event retires {retirement:?}", pool.id, living.live);
        return Err((Law::OneState, detail));
    }
    if *cause == RetireCause::Window {
        let due = pool.spec.retires_at();
        if due.is_none_or(|due| due > event.decided_at) || living.held > 0 {
            let detail = format!("pool {} retires, due {due:?}, with {} live holds", pool.id, living.held);
            return Err((Law::OneState, detail));
        }
    }
    ledger.retire(&pool.id, event.seq, forget_at(event));
    Ok(())
}

/// Moves every deadline with the clock, so that everything lasts as long as it would have.
fn fold_clock_set(ledger: &mut impl LedgerMut, event: &Event, from: Micros) -> Folded {
    let to = event.decided_at;
    if from <= to {
        return Err((Law::ClocksDecideNothing, format!("the clock is set from {} to {}: not back", from.0, to.0)));
    }
    ledger.set_back(from, from.0.saturating_sub(to.0));
    ledger.carry_decided(from, forget_at(event));
    Ok(())
}

fn known_pool<'a>(ledger: &'a impl LedgerMut, id: &PoolId) -> Result<&'a Pool, (Law, String)> {
    ledger.pool(id).ok_or_else(|| (Law::OneState, format!("pool {id} is not defined")))
}

/// The live reservation of the event, which is of the pool that the event names.
fn live<'a>(ledger: &'a impl LedgerMut, event: &Event, entry: &Entry) -> Result<&'a Reservation, (Law, String)> {
    let known = ledger.reservation(&entry.reservation);
    let live = known.filter(|r| r.status.is_live());
    let live = live.ok_or_else(|| (Law::TrueYes, format!("{} is not live", entry.reservation)))?;
    is_of_pool(known, event, &entry.pool, entry.reservation)?;
    Ok(live)
}

/// An id belongs to one pool as long as anything is known of it.
fn is_of_pool(known: Option<&Reservation>, event: &Event, pool: &PoolId, id: ReservationId) -> Folded {
    match known.filter(|r| r.is_known(event.decided_at) && r.pool != *pool) {
        Some(known) => Err((Law::OneState, format!("{id} is of pool {}, the event names pool {pool}", known.pool))),
        None => Ok(()),
    }
}

fn stamp(event: &Event) -> Result<&CommandStamp, (Law, String)> {
    event.command().ok_or_else(|| (Law::OneDecision, "no command behind it".to_owned()))
}

fn fold_accepted(ledger: &mut impl LedgerMut, event: &Event, entry: &Entry) -> Folded {
    let command = stamp(event)?;
    let pool = known_pool(ledger, &entry.pool)?;
    let nothing = Amounts::default();
    law::admitted(pool, &nothing, &entry.demand, &entry.limits, &entry.used).map_err(|why| (Law::Capacity, why))?;
    let known = ledger.reservation(&entry.reservation);
    if known.is_some_and(|r| r.status.is_live()) {
        return Err((Law::TrueYes, format!("{} is accepted while it lives", entry.reservation)));
    }
    lasts_as_it_may(pool, event, entry, event.decided_at)?;
    let sole = entry.order_ref.as_ref().filter(|_| pool.spec.rules.unique_order_ref);
    if let Some(other) = sole.and_then(|order_ref| ledger.of_order(&pool.id, order_ref.as_str(), |_| true)) {
        return Err((Law::OneState, format!("{} is accepted for an order that has {other}", entry.reservation)));
    }
    is_of_pool(known, event, &pool.id, entry.reservation)?;
    let pool = &entry.pool;
    ledger.update_pool(pool, |pool| pool.used = entry.used.clone());
    ledger.update_reservation(pool, entry.reservation, |r| {
        // Older versions forgot some decisions early and decided again.
        if r.status != Status::Void || !r.is_known(event.decided_at) {
            *r = Reservation::void(pool.clone());
        }
        r.demand = entry.demand.clone();
        r.order_ref = entry.order_ref.clone();
        r.attempts.add(command.attempt);
        r.fingerprint = command.fingerprint;
        r.until = entry.hold_until.unwrap_or_default();
        r.seq = event.seq;
        r.decided_seq = event.seq;
        r.status = entry.status;
        r.held_ms = held_ms(entry, event.decided_at);
    });
    Ok(())
}

/// Checks that a hold lasts no longer than its pool allows, given that its life counts from `since`. Events of older
/// versions have no such bounds and do not say since when a hold lives.
fn lasts_as_it_may(pool: &Pool, event: &Event, entry: &Entry, since: Micros) -> Folded {
    let (Some(until), Some(told)) = (entry.hold_until, entry.hold_since) else { return Ok(()) };
    let bounds = pool.spec.hold_bounds(since, event.decided_at);
    if told == since && bounds.iter().all(|(bound, _)| until <= *bound) {
        return Ok(());
    }
    let detail = format!("{} is held since {} until {}, against {bounds:?}", entry.reservation, told.0, until.0);
    Err((Law::OneState, detail))
}

fn held_ms(entry: &Entry, since: Micros) -> u32 {
    entry.hold_until.map_or(0, |until| until.held_ms_since(since))
}

fn fold_hold(ledger: &mut impl LedgerMut, event: &Event, entry: &Entry, to: Status, until: Micros) -> Folded {
    let hold = live(ledger, event, entry)?;
    if hold.status != Status::Held {
        return Err((Law::OneState, format!("{} is not a hold", entry.reservation)));
    }
    let since = hold.held_since();
    lasts_as_it_may(known_pool(ledger, &entry.pool)?, event, entry, since)?;
    ledger.update_reservation(&entry.pool, entry.reservation, |r| {
        r.until = until;
        r.seq = event.seq;
        r.status = to;
        r.held_ms = held_ms(entry, since);
    });
    Ok(())
}

/// Folds an amend: the status stays, and the reservation takes other units.
fn fold_amended(ledger: &mut impl LedgerMut, event: &Event, entry: &Entry, before: &Amounts) -> Folded {
    let Reservation { status, demand, .. } = live(ledger, event, entry)?;
    if *status != entry.status || entry.demand == *before {
        let Entry { reservation, status: told, demand, .. } = entry;
        return Err((
            Law::OneState,
            format!("{reservation} is {status:?}, the event amends it to {demand:?} as {told:?}"),
        ));
    }
    if demand != before {
        return Err((Law::Capacity, format!("{} takes {demand:?}, the event says {before:?}", entry.reservation)));
    }
    let pool = known_pool(ledger, &entry.pool)?;
    law::admitted(pool, before, &entry.demand, &entry.limits, &entry.used).map_err(|why| (Law::Capacity, why))?;
    ledger.update_pool(&entry.pool, |pool| pool.used = entry.used.clone());
    ledger.update_reservation(&entry.pool, entry.reservation, |r| {
        r.demand = entry.demand.clone();
        r.seq = event.seq;
    });
    Ok(())
}

fn fold_ended(ledger: &mut impl LedgerMut, event: &Event, entry: &Entry, cause: Option<ReleaseCause>) -> Folded {
    let demand = &live(ledger, event, entry)?.demand;
    let pool = known_pool(ledger, &entry.pool)?;
    law::given_back(pool, demand, &entry.used).map_err(|why| (Law::Capacity, why))?;
    ledger.update_pool(&entry.pool, |pool| pool.used = entry.used.clone());
    ledger.update_reservation(&entry.pool, entry.reservation, |r| {
        r.until = forget_at(event);
        r.seq = event.seq;
        r.attempts.end();
        r.held_ms = 0;
        // An abandoned reservation leaves no outcome behind: the same key is decided anew.
        r.status = if cause == Some(ReleaseCause::Abandoned) { Status::Void } else { entry.status };
        if r.status == Status::Void {
            let cancelled = std::mem::take(&mut r.attempts);
            *r = Reservation { attempts: cancelled, until: r.until, ..Reservation::void(r.pool.clone()) };
        }
    });
    Ok(())
}

/// A repeated Reserve of a live reservation adds its attempt. Every other repetition changes nothing.
fn fold_repeated(ledger: &mut impl LedgerMut, event: &Event, original: &EventBody) -> Folded {
    let command = stamp(event)?;
    if let (EventBody::Accepted(entry), CommandKind::Reserve) = (original, command.kind)
        && entry.status.is_live()
    {
        live(ledger, event, entry)?;
        ledger.update_reservation(&entry.pool, entry.reservation, |r| r.attempts.add(command.attempt));
    }
    Ok(())
}

fn fold_refused(ledger: &mut impl LedgerMut, event: &Event, rejection: &Rejection) -> Folded {
    let Some(command) = event.command().filter(|c| c.kind == CommandKind::Reserve && c.key.is_some()) else {
        return Ok(());
    };
    let (Some(pool), Some(id)) = (&rejection.pool, rejection.reservation) else { return Ok(()) };
    let known = ledger.reservation(&id);
    is_of_pool(known, event, pool, id)?;
    if matches!(rejection.reason, Reason::HoldExpired | Reason::AlreadyReleased) {
        return fold_over(ledger, event, rejection.reason, id);
    }
    if known.is_some_and(|r| r.status.is_live()) {
        return Err((Law::TrueYes, format!("{id} is refused while it lives")));
    }
    let demand = rejection.demand.clone().unwrap_or_default();
    let binding = rejection.dimension.and_then(|d| demand.iter().position(|(other, _)| other == d));
    ledger.update_reservation(pool, id, |r| {
        r.renew(event.decided_at, pool);
        r.order_ref = rejection.order_ref.clone();
        r.fingerprint = command.fingerprint;
        // A refusal beside cancelled attempts is forgotten together with them.
        if r.attempts.cancelled().is_empty() {
            r.until = forget_at(event);
        }
        r.seq = event.seq;
        r.decided_seq = event.seq;
        r.judged = rejection.judged().map(Box::new);
        r.status = Status::Refused { reason: rejection.reason, binding: binding.and_then(|at| u8::try_from(at).ok()) };
        r.demand = demand;
    });
    Ok(())
}

/// Folds the refusal of a Reserve whose reservation has ended: it is checked, and nothing changes.
fn fold_over(ledger: &impl LedgerMut, event: &Event, reason: Reason, id: ReservationId) -> Folded {
    let known = ledger.reservation(&id).filter(|r| r.is_known(event.decided_at));
    // The end of the reservation may be forgotten. Then the refusal cannot be checked.
    let is_so = known.is_none_or(|r| r.why_over(event.decided_at) == Some(reason));
    if is_so {
        Ok(())
    } else {
        Err((Law::SameAnswer, format!("{id} is refused as {reason}, but has not ended in that way")))
    }
}

/// Cancels the attempt of a Reserve that was refused and whose copy would not be recognised. Its caller is told no,
/// as if the attempt had been given up.
fn fold_cancelled(ledger: &mut impl LedgerMut, event: &Event, rejection: &Rejection) {
    let Some(command) = event.command().filter(|command| command.kind == CommandKind::Reserve) else { return };
    let (Some(pool), Some(id)) = (&rejection.pool, rejection.reservation) else { return };
    // A Reserve of another pool would be refused in any case.
    if is_of_pool(ledger.reservation(&id), event, pool, id).is_err() {
        return;
    }
    let until = cancelled_until(event, command);
    give_up(ledger, event, (pool, id), until, |attempts| attempts.cancel(command.attempt));
}

/// Until when an attempt that was given up may still come: until its deadline, which events of older versions do not
/// name.
fn cancelled_until(event: &Event, command: &CommandStamp) -> Micros {
    command.deadline.map_or(forget_at(event), |deadline| deadline.min(forget_at(event)))
}

fn fold_abandoned(ledger: &mut impl LedgerMut, event: &Event, pool: &PoolId, id: ReservationId) -> Folded {
    let command = stamp(event)?;
    is_of_pool(ledger.reservation(&id), event, pool, id)?;
    let until = cancelled_until(event, command);
    let may_come = until >= event.decided_at;
    give_up(ledger, event, (pool, id), until, |attempts| attempts.abandon(command.attempt, may_come));
    Ok(())
}

fn give_up(
    ledger: &mut impl LedgerMut,
    event: &Event,
    (pool, id): (&PoolId, ReservationId),
    until: Micros,
    change: impl FnOnce(&mut Attempts),
) {
    let known = ledger.reservation(&id).filter(|r| r.is_known(event.decided_at));
    let status = known.map_or(Status::Void, |r| r.status);
    // An attempt cannot take anything of an ended reservation, so that there is nothing to cancel. The same holds for
    // a reservation that does not live when the attempt would come after its deadline.
    let is_ended = matches!(status, Status::Released | Status::Expired);
    if is_ended || !status.is_live() && until < event.decided_at {
        return;
    }
    if !status.is_live() && !has_reserve(ledger, 1, event.decided_at) {
        ledger.keep_decided(SHUT, kept_through(until));
        return;
    }
    ledger.update_reservation(pool, id, |r| {
        r.renew(event.decided_at, pool);
        let is_refusal = r.keeping() == Keeping::Refusal;
        change(&mut r.attempts);
        // At the very time of its deadline the attempt would still be in time. A refusal took nothing and may be
        // forgotten at that time, but not before, or the attempt would be accepted.
        let through = Micros(until.0.saturating_add(1));
        match status {
            Status::Held | Status::Confirmed => {}
            _ if is_refusal => r.until = through,
            _ => r.until = r.until.max(through),
        }
    });
}
