//! One planted breach at a time in the clean script: each must be found, under its law, at its place.

mod retirement;
mod rules;

use super::owner::*;
use super::random::{counters, entry_of};
use super::report;
use super::script::{At, HOUR_MS, id, play};
use crate::fixtures::{amounts, dimension, pool_of};
use headroom::domain::*;

pub type Log = Vec<ChainedEvent>;

/// A planted breach: what it is, the law and place it must be found under, and how it is planted.
pub type Planted = (&'static str, Law, At, fn(&mut Log));

#[track_caller]
pub fn check(planted: &[Planted]) {
    for (what, law, at, plant) in planted {
        let mut log = play().log;
        let clean = log.clone();
        plant(&mut log);
        assert_ne!(log, clean, "{what}: nothing was planted");
        let report = report(&log);
        let found = report.breaches().iter().any(|b| b.law == *law && b.seq == *at as u64);
        assert!(found, "{what}: not found as {law} at {at:?} ({}), but {:#?}", *at as u64, report.breaches());
    }
}

pub fn event(log: &mut Log, at: At) -> &mut Event {
    &mut log[at as usize].event
}

pub fn innermost(body: &mut EventBody) -> &mut EventBody {
    match body {
        EventBody::Repeated(original, _) => innermost(original),
        body => body,
    }
}

pub fn entry(log: &mut Log, at: At) -> &mut Entry {
    entry_of(&mut event(log, at).body).unwrap_or_else(|| panic!("{at:?} has no entry"))
}

fn set_from(log: &mut Log, at: At) -> &mut Micros {
    match &mut event(log, at).body {
        EventBody::ClockSet { from, .. } => from,
        body => panic!("{at:?} sets no clock: {body:?}"),
    }
}

pub fn said(log: &mut Log, at: At) -> &mut Pool {
    match innermost(&mut event(log, at).body) {
        EventBody::PoolDefined(pool)
        | EventBody::LimitsAdjusted(pool)
        | EventBody::ModeSet(pool)
        | EventBody::PoolChanged(pool)
        | EventBody::PoolRetired(Retirement { pool, .. }) => pool,
        body => panic!("{at:?} has no pool: {body:?}"),
    }
}

fn asked(log: &mut Log, at: At) -> &mut AskedChange {
    rejection(log, at).asked.as_mut().unwrap()
}

pub fn rejection(log: &mut Log, at: At) -> &mut Rejection {
    match innermost(&mut event(log, at).body) {
        EventBody::Rejected(rejection) => rejection,
        body => panic!("{at:?} is no refusal: {body:?}"),
    }
}

fn stamp(log: &mut Log, at: At) -> &mut CommandStamp {
    event(log, at).cause.as_mut().unwrap().command.as_mut().unwrap()
}

fn cause(log: &mut Log, at: At) -> &mut Cause {
    event(log, at).cause.as_mut().unwrap()
}

fn offset(log: &mut Log, at: At) -> &mut u64 {
    &mut cause(log, at).input_offset
}

/// The events that the script says are lost.
fn lost(log: &mut Log) -> (&mut u64, &mut u64) {
    match &mut event(log, At::EVENTS_LOST).body {
        EventBody::EventsLost { from, until, .. } => (from, until),
        other => panic!("{other:?}"),
    }
}

/// Puts the body of one event in place of another's.
pub fn copy_body(log: &mut Log, from: At, to: At) {
    let body = event(log, from).body.clone();
    event(log, to).body = body;
}

pub fn refuse_with(log: &mut Log, at: At, reason: Reason) {
    rejection(log, at).reason = reason;
}

/// Tells every event's counters otherwise, so that what an acceptance says agrees with itself and with all others.
pub fn retell(log: &mut Log, from: At, f: impl Fn(&mut Amounts, &mut Amounts)) {
    log[from as usize..].iter_mut().for_each(|recorded| counters(&mut recorded.event.body, &f));
}

/// One order less.
fn less(amounts: &mut Amounts) {
    *amounts = amounts.map(|d, units| if d == dimension("orders") { units - 1 } else { units });
}

/// Refuses what was decided otherwise, against the counters that an honest refusal there would show.
fn refuse(log: &mut Log, at: At, like: At, reason: Reason) {
    let (reservation, counters) = match &event(log, at).body {
        EventBody::Abandoned { reservation, .. } => (*reservation, None),
        body => {
            let entry = body.entry().unwrap();
            (entry.reservation, Some((entry.limits.clone(), entry.used.clone())))
        }
    };
    let mut refusal = rejection(log, like).clone();
    refusal.reservation = Some(reservation);
    refusal.reason = reason;
    if let Some((limits, used)) = counters {
        (refusal.limits, refusal.used) = (Some(limits), Some(used));
    }
    event(log, at).body = EventBody::Rejected(refusal);
}

/// What no counter in the script ever is.
pub fn seven() -> Amounts {
    amounts(&[("crates", 0), ("orders", 7)])
}

#[test]
fn l1_counters() {
    check(&[
        ("used after an acceptance", Law::Capacity, At::R1_ACCEPTED, |log| entry(log, At::R1_ACCEPTED).used = seven()),
        ("used after a hold", Law::Capacity, At::R2_HELD, |log| entry(log, At::R2_HELD).used = seven()),
        ("used after a release", Law::Capacity, At::R2_RELEASED, |log| entry(log, At::R2_RELEASED).used = seven()),
        ("used after an expiry", Law::Capacity, At::R3_EXPIRED, |log| entry(log, At::R3_EXPIRED).used = seven()),
        ("used in a repetition", Law::Capacity, At::R1_AGAIN, |log| entry(log, At::R1_AGAIN).used = seven()),
        ("used in a confirmation", Law::Capacity, At::R2_CONFIRMED, |log| entry(log, At::R2_CONFIRMED).used = seven()),
        ("used in an extension", Law::Capacity, At::R2_EXTENDED, |log| entry(log, At::R2_EXTENDED).used = seven()),
        ("used in a refusal", Law::Capacity, At::R4_OVER_LIMIT, |log| {
            rejection(log, At::R4_OVER_LIMIT).used = Some(seven());
        }),
        ("used of a new pool", Law::Capacity, At::DEFINED, |log| said(log, At::DEFINED).used = seven()),
        ("used after new limits", Law::Capacity, At::LIMITS_LOWERED, |log| {
            said(log, At::LIMITS_LOWERED).used = seven()
        }),
        ("a dimension forgotten", Law::Capacity, At::R1_ACCEPTED, |log| {
            entry(log, At::R1_ACCEPTED).used = amounts(&[("orders", 1)]);
        }),
        ("limits of an acceptance", Law::Capacity, At::R1_ACCEPTED, |log| entry(log, At::R1_ACCEPTED).limits = seven()),
        ("limits of a refusal", Law::Capacity, At::R6_CLOSED, |log| {
            rejection(log, At::R6_CLOSED).limits = Some(seven())
        }),
        ("limits out of range", Law::Capacity, At::LIMITS_LOWERED, |log| {
            said(log, At::LIMITS_LOWERED).spec.limits = amounts(&[("crates", 50), ("orders", u64::MAX)]);
        }),
    ]);
}

#[test]
fn l1_admission() {
    check(&[
        ("one more than the limit", Law::Capacity, At::R3_HELD, |log| {
            said(log, At::DEFINED).spec.limits = amounts(&[("crates", 50), ("orders", 2)]);
        }),
        ("an acceptance while over-committed", Law::Capacity, At::R8_ACCEPTED, |log| {
            said(log, At::LIMITS_LOWERED).spec.limits = amounts(&[("crates", 50), ("orders", 0)]);
            said(log, At::MODE_CLOSED).spec.limits = amounts(&[("crates", 50), ("orders", 0)]);
            said(log, At::MODE_OPEN).spec.limits = amounts(&[("crates", 50), ("orders", 0)]);
        }),
        ("overbooked, and every counter agrees", Law::Capacity, At::R3_HELD, |log| {
            retell(log, At::DEFINED, |limits, _| less(limits));
        }),
        ("zero demanded, and every counter agrees", Law::Capacity, At::R1_ACCEPTED, |log| {
            entry(log, At::R1_ACCEPTED).demand = amounts(&[("orders", 0)]);
            retell(log, At::R1_ACCEPTED, |_, used| less(used));
        }),
        ("another dimension, and the counters agree", Law::Capacity, At::R1_ACCEPTED, |log| {
            entry(log, At::R1_ACCEPTED).demand = amounts(&[("pallets", 1)]);
            entry(log, At::R1_ACCEPTED).used = amounts(&[("crates", 0), ("orders", 0), ("pallets", 1)]);
        }),
        ("nothing demanded", Law::Capacity, At::R1_ACCEPTED, |log| entry(log, At::R1_ACCEPTED).demand = amounts(&[])),
        ("zero demanded", Law::Capacity, At::R1_ACCEPTED, |log| {
            entry(log, At::R1_ACCEPTED).demand = amounts(&[("orders", 0)]);
        }),
        ("a dimension that the pool has not", Law::Capacity, At::R1_ACCEPTED, |log| {
            entry(log, At::R1_ACCEPTED).demand = amounts(&[("pallets", 1)]);
        }),
        ("less given back than was taken", Law::Capacity, At::R2_RELEASED, |log| {
            entry(log, At::R2_RELEASED).demand = amounts(&[("orders", 2)]);
        }),
        ("accepted in a closed pool", Law::Capacity, At::R8_ACCEPTED, |log| {
            said(log, At::MODE_OPEN).spec.mode = Mode::Closed;
        }),
        ("accepted in a paused pool", Law::Capacity, At::R1_ACCEPTED, |log| {
            said(log, At::DEFINED).spec.mode = Mode::Paused
        }),
        ("accepted past the cutoff", Law::Capacity, At::R1_ACCEPTED, |log| {
            let at = event(log, At::DEFINED).decided_at;
            said(log, At::DEFINED).spec.window.as_mut().unwrap().cutoff = Some(at);
        }),
        ("accepted in no pool", Law::Capacity, At::R1_ACCEPTED, |log| event(log, At::DEFINED).body = EventBody::Tick),
        ("sold out and was not", Law::Capacity, At::R4_OVER_LIMIT, |log| {
            rejection(log, At::R4_OVER_LIMIT).dimension = Some(dimension("crates"));
        }),
    ]);
}

#[test]
fn l2_one_decision() {
    check(&[
        ("decided twice", Law::OneDecision, At::R1_AGAIN, |log| *offset(log, At::R1_AGAIN) -= 1),
        ("one left out", Law::OneDecision, At::R1_AGAIN, |log| *offset(log, At::R1_AGAIN) += 1),
        ("the next one then comes late", Law::OneDecision, At::R1_ABANDONED, |log| *offset(log, At::R1_AGAIN) += 1),
        ("a command without decision", Law::OneDecision, At::R4_AGAIN, |log| {
            event(log, At::R4_OVER_LIMIT).cause = None
        }),
        ("a release by nobody", Law::OneDecision, At::R2_RELEASED, |log| event(log, At::R2_RELEASED).cause = None),
        ("an expiry by command", Law::OneDecision, At::R3_EXPIRED, |log| {
            event(log, At::R3_EXPIRED).cause = event(log, At::R2_RELEASED).cause.clone();
        }),
        ("a tick by command", Law::OneDecision, At::TICK, |log| {
            event(log, At::TICK).cause = event(log, At::R1_REUSED).cause.clone();
        }),
        ("unreadable and yet read", Law::OneDecision, At::MALFORMED, |log| {
            let command = stamp(log, At::R1_REUSED).clone();
            event(log, At::MALFORMED).cause.as_mut().unwrap().command = Some(command);
        }),
        ("a copy decided", Law::OneDecision, At::R1_AGAIN, |log| {
            stamp(log, At::R1_AGAIN).id = stamp(log, At::R1_ACCEPTED).id;
        }),
        ("a copy of nothing", Law::OneDecision, At::R8_COPY, |log| stamp(log, At::R8_COPY).id = CommandId(1 << 99)),
        ("too many commands, and there were not", Law::OneDecision, At::R12_TOO_FAR, |log| {
            refuse_with(log, At::R12_TOO_FAR, Reason::TooManyCommands);
        }),
        ("a decided place skipped", Law::OneDecision, At::R1_AGAIN, |log| cause(log, At::R1_AGAIN).skipped = 1),
        ("a place not skipped", Law::OneDecision, At::R11_AFTER_MARKERS, |log| {
            cause(log, At::R11_AFTER_MARKERS).skipped -= 1;
        }),
        ("more places skipped than there are", Law::OneDecision, At::R1_AGAIN, |log| {
            cause(log, At::R1_AGAIN).skipped = 100;
        }),
        ("one more lost than is gone", Law::OneDecision, At::LOST, |log| cause(log, At::LOST).skipped += 1),
        ("lost and yet read", Law::OneDecision, At::LOST, |log| {
            let command = stamp(log, At::R1_REUSED).clone();
            cause(log, At::LOST).command = Some(command);
        }),
        ("lost by nobody", Law::OneDecision, At::LOST, |log| event(log, At::LOST).cause = None),
        ("an id that could not be read beside one that could", Law::OneDecision, At::R1_AGAIN, |log| {
            cause(log, At::R1_AGAIN).unread = Some(CommandId(7));
        }),
        ("a release for a Confirm", Law::OneDecision, At::R2_RELEASED, |log| {
            stamp(log, At::R2_RELEASED).kind = CommandKind::Confirm
        }),
        ("an abandonment for a Reserve", Law::OneDecision, At::R5_CANCELLED, |log| {
            stamp(log, At::R5_CANCELLED).kind = CommandKind::Reserve;
        }),
    ]);
}

/// An event that says something else than what its command asked, and agrees with itself and with all others.
#[test]
fn answers_to_what_was_not_asked_are_found() {
    check(&[
        ("another demand, and every counter agrees", Law::TrueYes, At::R8_ACCEPTED, |log| {
            let more = |amounts: &Amounts| amounts.map(|d, units| units + u64::from(d == dimension("crates")));
            entry(log, At::R8_ACCEPTED).demand = amounts(&[("crates", 1), ("orders", 1)]);
            retell(log, At::R8_ACCEPTED, |_, used| *used = more(used));
        }),
        ("another order", Law::TrueYes, At::R8_ACCEPTED, |log| {
            entry(log, At::R8_ACCEPTED).order_ref = Some(Name::new("order").unwrap());
        }),
        ("a hold for longer", Law::TrueYes, At::R3_HELD, |log| {
            let until = entry(log, At::R3_HELD).hold_until.unwrap();
            entry(log, At::R3_HELD).hold_until = Some(Micros(until.0 - 1));
        }),
        ("a hold for good", Law::TrueYes, At::R3_HELD, |log| {
            let entry = entry(log, At::R3_HELD);
            (entry.status, entry.hold_until) = (Status::Confirmed, None);
        }),
        ("another reservation confirmed", Law::OneDecision, At::R2_CONFIRMED, |log| {
            entry(log, At::R2_CONFIRMED).reservation = id(3);
        }),
        ("extended by more", Law::OneDecision, At::R2_EXTENDED, |log| {
            let until = entry(log, At::R2_EXTENDED).hold_until.unwrap();
            entry(log, At::R2_EXTENDED).hold_until = Some(until.plus_ms(1));
        }),
        ("another reservation released", Law::OneDecision, At::R2_RELEASED, |log| {
            entry(log, At::R2_RELEASED).reservation = id(1);
        }),
        ("another reservation abandoned", Law::OneDecision, At::R5_CANCELLED, |log| {
            let EventBody::Abandoned { reservation, .. } = &mut event(log, At::R5_CANCELLED).body else { panic!() };
            *reservation = id(6);
        }),
        ("another change was refused", Law::OneDecision, At::ADJUST_OUT_OF_RANGE, |log| {
            asked(log, At::ADJUST_OUT_OF_RANGE).limits = Some(LimitChange::By(vec![(dimension("orders"), -4)]));
        }),
        ("another mode", Law::OneDecision, At::MODE_CLOSED, |log| said(log, At::MODE_CLOSED).spec.mode = Mode::Paused),
        ("another area", Law::OneDecision, At::DEFINED, |log| {
            said(log, At::DEFINED).spec.areas.insert(Name::new("SG-01").unwrap());
        }),
    ]);
}

#[test]
fn l3_chain() {
    check(&[
        ("a gap", Law::Chain, At::R1_ABANDONED, |log| drop(log.remove(At::R1_AGAIN as usize))),
        ("a record twice", Law::Chain, At::R1_AGAIN, |log| {
            log.insert(At::R1_AGAIN as usize, log[At::R1_AGAIN as usize].clone())
        }),
        ("another seq", Law::Chain, At::END, |log| event(log, At::TICK).seq = At::END as u64),
        ("another first predecessor", Law::Chain, At::BARRIER, |log| event(log, At::BARRIER).prev = Digest([1; 16])),
        ("another predecessor", Law::Chain, At::TICK, |log| event(log, At::TICK).prev = Digest([1; 16])),
        ("a record rewritten", Law::Chain, At::R1_AGAIN, |log| log[At::R1_ACCEPTED as usize].digest = Digest([1; 16])),
        ("a stale epoch", Law::Chain, At::TICK, |log| event(log, At::TICK).epoch = 1),
        ("no epoch", Law::Chain, At::BARRIER, |log| event(log, At::BARRIER).epoch = 0),
        ("a claim of the same epoch", Law::Chain, At::BARRIER_2, |log| event(log, At::BARRIER_2).epoch = 1),
        ("time going back", Law::ClocksDecideNothing, At::TICK, |log| event(log, At::TICK).decided_at.0 -= 1),
        ("a loss that ends before it begins", Law::Chain, At::EVENTS_LOST, |log| *lost(log).1 = 0),
        ("a loss of what is yet to come", Law::Chain, At::EVENTS_LOST, |log| *lost(log).0 = u64::MAX),
        ("another partition", Law::Chain, At::TICK, |log| event(log, At::TICK).partition = 0),
        ("another partition's pool", Law::Chain, At::DEFINED, |log| said(log, At::DEFINED).id = pool_of(0, PARTITIONS)),
        ("another pool's reservation", Law::Chain, At::R1_ACCEPTED, |log| {
            entry(log, At::R1_ACCEPTED).reservation = reservation(&pool_of(0, PARTITIONS), 1);
        }),
    ]);
}

#[test]
fn l4_same_key_same_answer() {
    check(&[
        ("refused again for another reason", Law::SameAnswer, At::R4_AGAIN, |log| {
            refuse_with(log, At::R4_AGAIN, Reason::Closed)
        }),
        ("refused again by another dimension", Law::SameAnswer, At::R4_AGAIN, |log| {
            rejection(log, At::R4_AGAIN).dimension = Some(dimension("crates"));
        }),
        ("refused again for another demand", Law::SameAnswer, At::R4_AGAIN, |log| {
            rejection(log, At::R4_AGAIN).demand = Some(amounts(&[("orders", 3)]));
        }),
        ("refused, then accepted", Law::SameAnswer, At::R4_AGAIN, |log| {
            let mut body = event(log, At::R3_HELD).body.clone();
            if let EventBody::Accepted(entry) = &mut body {
                entry.reservation = id(4);
            }
            event(log, At::R4_AGAIN).body = body;
        }),
        ("refused afresh, not again", Law::SameAnswer, At::R4_AGAIN, |log| {
            copy_body(log, At::R4_OVER_LIMIT, At::R4_AGAIN)
        }),
        ("accepted, then refused", Law::SameAnswer, At::R1_AGAIN, |log| {
            refuse(log, At::R1_AGAIN, At::R4_OVER_LIMIT, Reason::OverLimit);
        }),
        ("another body answered", Law::SameAnswer, At::R1_AGAIN, |log| stamp(log, At::R1_AGAIN).fingerprint ^= 1),
        ("reused and was not", Law::SameAnswer, At::R1_REUSED, |log| {
            stamp(log, At::R1_REUSED).fingerprint = stamp(log, At::R1_ACCEPTED).fingerprint;
        }),
        ("repeated, and never said", Law::SameAnswer, At::R1_AGAIN, |log| {
            event(log, At::R1_ACCEPTED).body = EventBody::Tick
        }),
        ("a key answered otherwise", Law::SameAnswer, At::R2_EXTENDED_AGAIN, |log| {
            entry(log, At::R2_EXTENDED_AGAIN).hold_until = Some(Micros(9));
        }),
        ("a key answered afresh", Law::SameAnswer, At::R2_EXTENDED_AGAIN, |log| {
            copy_body(log, At::R2_EXTENDED, At::R2_EXTENDED_AGAIN);
        }),
        ("used in a refusal again", Law::SameAnswer, At::R4_AGAIN, |log| {
            rejection(log, At::R4_AGAIN).used = Some(seven())
        }),
        ("a key's other body answered", Law::SameAnswer, At::R2_CONFIRMED_AGAIN, |log| {
            stamp(log, At::R2_CONFIRMED_AGAIN).fingerprint ^= 1;
        }),
        ("a key reused and was not", Law::SameAnswer, At::MODE_REUSED, |log| {
            stamp(log, At::MODE_REUSED).key = key("another");
        }),
        ("a repetition of nothing, without a key", Law::SameAnswer, At::MODE_CLOSED, |log| {
            let body = event(log, At::MODE_CLOSED).body.clone();
            event(log, At::MODE_CLOSED).body = EventBody::Repeated(Box::new(body), None);
            stamp(log, At::MODE_CLOSED).key = None;
        }),
        ("a repetition of its own answered otherwise", Law::SameAnswer, At::R2_RELEASED_KEYED, |log| {
            entry(log, At::R2_RELEASED_KEYED).used = amounts(&[("crates", 0), ("orders", 2)]);
        }),
        ("a release repeated as an expiry", Law::SameAnswer, At::R2_RELEASED_AGAIN, |log| {
            let entry = entry(log, At::R2_RELEASED_AGAIN).clone();
            event(log, At::R2_RELEASED_AGAIN).body = EventBody::Repeated(Box::new(EventBody::Expired(entry)), None);
        }),
        ("refused as abandoned, and never was", Law::SameAnswer, At::R6_CLOSED, |log| {
            refuse_with(log, At::R6_CLOSED, Reason::Abandoned);
        }),
    ]);
}

#[test]
fn l5_final_no() {
    check(&[
        ("the last attempt leaves it living", Law::FinalNo, At::R5_TAKEN_BACK, |log| {
            copy_body(log, At::R5_CANCELLED, At::R5_TAKEN_BACK);
        }),
        ("taken away from another attempt", Law::FinalNo, At::R5_TAKEN_BACK, |log| {
            stamp(log, At::R5_TAKEN_BACK).attempt = Attempt(77);
        }),
        ("taken away while others share it", Law::FinalNo, At::R1_ABANDONED, |log| {
            let mut given = entry(log, At::R1_AGAIN).clone();
            given.status = Status::Released;
            given.used = amounts(&[("crates", 0), ("orders", 0)]);
            event(log, At::R1_ABANDONED).body = EventBody::Released(given, ReleaseCause::Abandoned);
        }),
        ("a cancelled attempt accepted", Law::FinalNo, At::R5_ACCEPTED, |log| {
            stamp(log, At::R5_ACCEPTED).attempt = Attempt(9)
        }),
        ("an abandoned attempt counted again", Law::FinalNo, At::R8_ACCEPTED, |log| {
            event(log, At::R8_ACCEPTED).cause.as_mut().unwrap().command = Some(stamp(log, At::R5_ACCEPTED).clone());
            entry(log, At::R8_ACCEPTED).reservation = id(5);
        }),
        ("refused as too late, then accepted", Law::FinalNo, At::R8_ACCEPTED, |log| {
            stamp(log, At::R8_ACCEPTED).attempt = Attempt(12);
            entry(log, At::R8_ACCEPTED).reservation = id(7);
        }),
        ("an attempt refused as too far ahead counts", Law::FinalNo, At::R8_ACCEPTED, |log| {
            let mut refused = log[At::R12_TOO_FAR as usize].clone();
            refused.event.seq = log[At::R1_REUSED as usize].event.seq;
            log[At::R1_REUSED as usize] = refused;
            stamp(log, At::R8_ACCEPTED).attempt = Attempt(17);
            entry(log, At::R8_ACCEPTED).reservation = id(12);
        }),
        ("an Abandon refused", Law::FinalNo, At::R1_ABANDONED, |log| {
            refuse(log, At::R1_ABANDONED, At::R4_OVER_LIMIT, Reason::Expired);
        }),
    ]);
}

#[test]
fn l6_true_yes() {
    check(&[
        ("accepted twice", Law::TrueYes, At::R1_AGAIN, |log| copy_body(log, At::R1_ACCEPTED, At::R1_AGAIN)),
        ("accepted by nobody", Law::TrueYes, At::R1_ACCEPTED, |log| event(log, At::R1_ACCEPTED).cause = None),
        ("accepted for a Release", Law::TrueYes, At::R1_ACCEPTED, |log| {
            stamp(log, At::R1_ACCEPTED).kind = CommandKind::Release
        }),
        ("released twice", Law::TrueYes, At::R2_RELEASED_AGAIN, |log| {
            copy_body(log, At::R2_RELEASED, At::R2_RELEASED_AGAIN)
        }),
        ("released and never accepted", Law::TrueYes, At::R2_RELEASED, |log| {
            event(log, At::R2_HELD).body = EventBody::Tick
        }),
        ("confirmed and never accepted", Law::TrueYes, At::R2_CONFIRMED, |log| {
            event(log, At::R2_HELD).body = EventBody::Tick
        }),
        ("extended and never accepted", Law::TrueYes, At::R2_EXTENDED, |log| {
            event(log, At::R2_HELD).body = EventBody::Tick
        }),
        ("expired and never accepted", Law::TrueYes, At::R3_EXPIRED, |log| {
            event(log, At::R3_HELD).body = EventBody::Tick
        }),
        ("extended though no hold", Law::TrueYes, At::R2_EXTENDED, |log| {
            entry(log, At::R2_HELD).status = Status::Confirmed;
            entry(log, At::R2_HELD).hold_until = None;
        }),
        ("accepted as released", Law::TrueYes, At::R1_ACCEPTED, |log| {
            entry(log, At::R1_ACCEPTED).status = Status::Released
        }),
        ("a hold without deadline", Law::TrueYes, At::R2_HELD, |log| entry(log, At::R2_HELD).hold_until = None),
    ]);
}

#[test]
fn l7_one_state() {
    check(&[
        ("counters of no pool", Law::OneState, At::R1_ACCEPTED, |log| event(log, At::DEFINED).body = EventBody::Tick),
        ("a version left out", Law::OneState, At::LIMITS_LOWERED, |log| said(log, At::LIMITS_LOWERED).version += 1),
        ("a mode that changes limits", Law::OneState, At::MODE_CLOSED, |log| {
            said(log, At::MODE_CLOSED).spec.limits = amounts(&[("crates", 9), ("orders", 9)]);
        }),
        ("limits that change the mode", Law::OneState, At::LIMITS_LOWERED, |log| {
            said(log, At::LIMITS_LOWERED).spec.mode = Mode::Paused;
        }),
        ("limits of another dimension", Law::OneState, At::LIMITS_LOWERED, |log| {
            said(log, At::LIMITS_LOWERED).spec.limits = amounts(&[("orders", 2), ("pallets", 2)]);
        }),
        ("a change that drops a dimension", Law::OneState, At::CHANGED, |log| {
            said(log, At::CHANGED).spec.limits = amounts(&[("orders", 2)]);
        }),
        ("stale and was not", Law::OneState, At::CHANGE_STALE, |log| {
            asked(log, At::CHANGE_STALE).version = Some(5);
        }),
        ("out of range and was not", Law::OneState, At::ADJUST_OUT_OF_RANGE, |log| {
            asked(log, At::ADJUST_OUT_OF_RANGE).limits = Some(LimitChange::By(vec![(dimension("orders"), -2)]));
        }),
        ("told in another stand", Law::OneState, At::R1_AGAIN, |log| {
            entry(log, At::R1_AGAIN).status = Status::Released
        }),
        ("told with another order", Law::OneState, At::R2_RELEASED, |log| {
            entry(log, At::R2_RELEASED).order_ref = Some(Name::new("order").unwrap());
        }),
        ("released as expired", Law::OneState, At::R2_RELEASED, |log| {
            entry(log, At::R2_RELEASED).status = Status::Expired
        }),
        ("closed and was not", Law::OneState, At::R4_OVER_LIMIT, |log| {
            refuse_with(log, At::R4_OVER_LIMIT, Reason::Closed)
        }),
        ("paused and was closed", Law::OneState, At::R6_CLOSED, |log| refuse_with(log, At::R6_CLOSED, Reason::Paused)),
        ("refused in another mode", Law::OneState, At::R6_CLOSED, |log| {
            rejection(log, At::R6_CLOSED).mode = Some(Mode::Open)
        }),
        ("refused at another version", Law::OneState, At::R6_CLOSED, |log| {
            rejection(log, At::R6_CLOSED).version = Some(9)
        }),
        ("an unknown pool that is known", Law::OneState, At::R4_OVER_LIMIT, |log| {
            refuse_with(log, At::R4_OVER_LIMIT, Reason::UnknownPool);
        }),
        ("an unknown dimension that is known", Law::OneState, At::R4_OVER_LIMIT, |log| {
            refuse_with(log, At::R4_OVER_LIMIT, Reason::UnknownDimension);
        }),
        ("an unknown reservation that lives", Law::OneState, At::R9_UNKNOWN, |log| {
            rejection(log, At::R9_UNKNOWN).reservation = Some(id(1));
        }),
        ("a pool that is not there", Law::OneState, At::R6_CLOSED, |log| {
            let refusal = rejection(log, At::R6_CLOSED);
            (refusal.limits, refusal.used) = (None, None);
        }),
    ]);
    for reason in [
        Reason::AlreadyReleased,
        Reason::HoldExpired,
        Reason::NotAHold,
        Reason::TooManyAttempts,
        Reason::DimensionInUse,
    ] {
        let mut log = play().log;
        refuse_with(&mut log, At::R9_UNKNOWN, reason);
        let report = report(&log);
        assert!(report.breaches().iter().any(|b| b.law == Law::OneState && b.seq == At::R9_UNKNOWN as u64), "{reason}");
    }
}

#[test]
fn l9_clocks() {
    check(&[
        ("expired early", Law::ClocksDecideNothing, At::R3_EXPIRED, |log| {
            entry(log, At::R3_HELD).hold_until = Some(event(log, At::TICK).decided_at.plus_ms(1));
        }),
        ("confirmed when over", Law::ClocksDecideNothing, At::R2_CONFIRMED, |log| {
            let until = event(log, At::R2_CONFIRMED).decided_at;
            entry(log, At::R2_EXTENDED).hold_until = Some(until);
        }),
        ("extended until before", Law::ClocksDecideNothing, At::R2_EXTENDED, |log| {
            entry(log, At::R2_EXTENDED).hold_until = Some(Micros(5));
        }),
        ("held until before", Law::ClocksDecideNothing, At::R2_HELD, |log| {
            entry(log, At::R2_HELD).hold_until = Some(Micros(5))
        }),
        ("a clock that is set forward", Law::ClocksDecideNothing, At::CLOCK_SET, |log| {
            set_from(log, At::CLOCK_SET).0 -= 7 * HOUR_MS * 1_000;
        }),
        ("a clock that is set from an earlier time", Law::ClocksDecideNothing, At::CLOCK_SET, |log| {
            set_from(log, At::CLOCK_SET).0 -= 1;
        }),
        ("a clock that is set back without a word", Law::ClocksDecideNothing, At::CLOCK_SET, |log| {
            event(log, At::CLOCK_SET).body = EventBody::Tick;
        }),
        ("a hold that the clock left behind", Law::ClocksDecideNothing, At::R13_EXPIRED, |log| {
            set_from(log, At::CLOCK_SET_AGAIN).0 -= 1;
        }),
        (
            "a hold that ends before its time by a clock that was set",
            Law::ClocksDecideNothing,
            At::R13_EXPIRED,
            |log| {
                entry(log, At::R13_HELD).hold_until.as_mut().unwrap().0 += 1;
            },
        ),
        ("capacity that goes with another clock", Law::Capacity, At::LIMITS_RAISED, |log| {
            said(log, At::LIMITS_RAISED).used = entry(log, At::R13_HELD).used.clone();
        }),
        ("past a cutoff that was to come", Law::ClocksDecideNothing, At::R10_PAST_CUTOFF, |log| {
            let cutoff = event(log, At::R10_PAST_CUTOFF).decided_at.plus_ms(HOUR_MS);
            said(log, At::MODE_OPEN).spec.window.as_mut().unwrap().cutoff = Some(cutoff);
        }),
    ]);
}
