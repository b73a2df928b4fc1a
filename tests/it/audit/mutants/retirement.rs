//! Planted breaches of the end of a pool's life. The clean log has two lives of one pool: the first ends by a command, with
//! live reservations; the second by itself, long after its window.

use super::super::audited;
use super::*;
use crate::fixtures::open_pool;
use crate::machine::MapLedger;
use headroom::domain::event::RETIREMENT_VERSION;
use headroom::domain::evolve::evolve;
use headroom::limits::{DEDUP_WINDOW_MS, RETIRE_AFTER_DEFAULT_MS, RETIRE_AFTER_MIN_MS};
use std::collections::BTreeSet;

const PARTITION: u32 = 2;
const IN_USE: usize = 4;
const RETIRED: usize = 5;
const AGAIN: usize = 6;
const TOO_EARLY: usize = 7;
const DEFINED_AGAIN: usize = 8;
const UNKNOWN: usize = 9;
const UNKNOWN_AGAIN: usize = 10;
const ACCEPTED_AGAIN: usize = 11;
const RETIRED_BY_ITSELF: usize = 13;

fn pool() -> PoolId {
    pool_of(PARTITION, PARTITIONS)
}

fn reserve(n: u8, hold_ttl_ms: Option<u64>) -> Command {
    let (demand, reservation) = (amounts(&[("orders", 1)]), reservation(&pool(), n));
    let body = CommandBody::Reserve { pool: pool(), reservation, demand, hold_ttl_ms, order_ref: None };
    command(body, u64::from(n), key(&format!("key-{n}")))
}

fn retire(with_reservations: bool) -> Command {
    command(CommandBody::RetirePool { pool: pool(), with_reservations, expected_version: None }, 90, key("retire"))
}

fn play() -> Owner {
    let mut owner = Owner::new(PARTITION);
    let define = |owner: &mut Owner| {
        let window = Window { start: owner.now, end: owner.now.plus_ms(HOUR_MS), cutoff: None };
        let spec = PoolSpec { window: Some(window), ..open_pool(amounts(&[("orders", 3)])) };
        owner.take(&command(CommandBody::DefinePool { pool: pool(), spec, expected_version: None }, 91, None));
    };
    owner.give(Input::Claim);
    define(&mut owner);
    owner.take(&reserve(1, None));
    owner.take(&reserve(2, Some(60_000)));
    let refused = CommandBody::RetirePool { pool: pool(), with_reservations: false, expected_version: None };
    owner.take(&command(refused, 92, None));
    owner.take(&retire(true));
    owner.take(&retire(true));
    define(&mut owner);
    owner.later_ms(DEDUP_WINDOW_MS);
    define(&mut owner);
    let confirm = command(CommandBody::Confirm { reservation: reservation(&pool(), 2) }, 93, key("confirm"));
    owner.take(&confirm);
    owner.take(&confirm);
    owner.take(&reserve(1, None));
    owner.later_ms(HOUR_MS + RETIRE_AFTER_DEFAULT_MS);
    owner.give(Input::Tick);
    owner.retire_due();
    assert_eq!(owner.log.len(), RETIRED_BY_ITSELF + 1);
    owner
}

fn retirement(log: &mut Log, at: usize) -> &mut Retirement {
    match innermost(&mut log[at].event.body) {
        EventBody::PoolRetired(retirement) => retirement,
        body => panic!("{at} retires nothing: {body:?}"),
    }
}

/// The breach must be found there, under this law.
#[track_caller]
fn check(what: &str, law: Law, at: usize, plant: impl FnOnce(&mut Log)) {
    let mut log = play().log;
    let clean = log.clone();
    plant(&mut log);
    assert_ne!(log, clean, "{what}: nothing was planted");
    let report = audited(PARTITION, &log).finish();
    let found = report.breaches().iter().any(|b| b.law == law && b.seq == at as u64);
    assert!(found, "{what}: not found as {law} at {at}, but {:#?}", report.breaches());
}

#[test]
fn two_lives_of_a_pool_are_clean_and_come_to_the_owners_state() {
    let owner = play();
    let audit = audited(PARTITION, &owner.log);
    assert_eq!(audit.finish().breaches(), []);
    assert_eq!(audit.digest(), owner.maps.digest(owner.now));
    assert_eq!((audit.pools().count(), audit.live().count()), (0, 0));
}

#[test]
fn a_life_that_ends_too_early_or_twice_is_found() {
    check("by itself before its time", Law::OneState, RETIRED_BY_ITSELF, |log| {
        let EventBody::PoolDefined(pool) = &mut log[DEFINED_AGAIN].event.body else { panic!() };
        pool.spec.window.as_mut().unwrap().end.0 += 1;
        let end = pool.spec.window;
        retirement(log, RETIRED_BY_ITSELF).pool.spec.window = end;
    });
    check("by itself without a window", Law::OneState, RETIRED_BY_ITSELF, |log| {
        let EventBody::PoolDefined(pool) = &mut log[DEFINED_AGAIN].event.body else { panic!() };
        pool.spec.window = None;
        retirement(log, RETIRED_BY_ITSELF).pool.spec.window = None;
    });
    check("by another rule than the pool's", Law::OneState, RETIRED_BY_ITSELF, |log| {
        retirement(log, RETIRED_BY_ITSELF).pool.spec.rules.retire_after_ms = Some(RETIRE_AFTER_MIN_MS);
    });
    check("twice", Law::OneState, RETIRED_BY_ITSELF, |log| {
        log[DEFINED_AGAIN].event.body = EventBody::Tick;
    });
    check("twice, one right after the other", Law::OneState, RETIRED_BY_ITSELF, |log| {
        log[RETIRED_BY_ITSELF - 1].event.body = log[RETIRED_BY_ITSELF].event.body.clone();
    });
    check("by itself and by a command", Law::OneDecision, RETIRED, |log| {
        retirement(log, RETIRED).cause = RetireCause::Window;
    });
    check("by nobody's command", Law::OneDecision, RETIRED, |log| log[RETIRED].event.cause = None);
    check("by a definition that lets nobody ask", Law::OneState, DEFINED_AGAIN, |log| {
        let EventBody::PoolDefined(pool) = &mut log[DEFINED_AGAIN].event.body else { panic!() };
        pool.spec.window = Some(Window { start: Micros(0), end: Micros(1), cutoff: None });
    });
    check("another version", Law::OneState, RETIRED, |log| retirement(log, RETIRED).pool.version = 2);
}

#[test]
fn live_reservations_that_end_unasked_are_found() {
    check("with a live hold, by itself", Law::TrueYes, RETIRED_BY_ITSELF, |log| {
        let until = Micros(log[ACCEPTED_AGAIN].event.decided_at.0 + HOUR_MS * 1_000);
        let EventBody::Accepted(entry) = &mut log[ACCEPTED_AGAIN].event.body else { panic!() };
        (entry.status, entry.hold_until) = (Status::Held, Some(until));
    });
    check("with live reservations, unasked", Law::OneDecision, RETIRED, |log| {
        let stamp = log[RETIRED].event.cause.as_mut().unwrap().command.as_mut().unwrap();
        stamp.fingerprint =
            CommandBody::RetirePool { pool: pool(), with_reservations: false, expected_version: None }.fingerprint();
    });
    check("with fewer than lived", Law::TrueYes, RETIRED, |log| retirement(log, RETIRED).live = 1);
    check("with other units in use", Law::Capacity, RETIRED, |log| retirement(log, RETIRED).pool.used = seven());
    check("refused as in use, by other figures", Law::OneState, IN_USE, |log| {
        let EventBody::Rejected(rejection) = &mut log[IN_USE].event.body else { panic!() };
        rejection.live = Some(3);
    });
}

#[test]
fn what_acts_on_a_new_life_is_found() {
    check("capacity counted on", Law::Capacity, DEFINED_AGAIN, |log| {
        let EventBody::PoolDefined(pool) = &mut log[DEFINED_AGAIN].event.body else { panic!() };
        pool.used = amounts(&[("orders", 2)]);
    });
    check("capacity counted on by an acceptance", Law::Capacity, ACCEPTED_AGAIN, |log| {
        let EventBody::Accepted(entry) = &mut log[ACCEPTED_AGAIN].event.body else { panic!() };
        entry.used = amounts(&[("orders", 3)]);
    });
    check("capacity of the former life given back", Law::TrueYes, UNKNOWN, |log| {
        let EventBody::Accepted(entry) = log[3].event.body.clone() else { panic!() };
        let used = amounts(&[("orders", 0)]);
        let released = Entry { status: Status::Released, hold_until: None, hold_since: None, used, ..entry };
        log[UNKNOWN].event.body = EventBody::Released(released, ReleaseCause::Caller);
        let stamp = log[UNKNOWN].event.cause.as_mut().unwrap().command.as_mut().unwrap();
        let body = CommandBody::Release { reservation: reservation(&pool(), 2) };
        (stamp.kind, stamp.fingerprint) = (body.kind(), body.fingerprint());
    });
    check("a hold of the former life expired", Law::TrueYes, RETIRED_BY_ITSELF - 1, |log| {
        let EventBody::Accepted(entry) = log[3].event.body.clone() else { panic!() };
        let used = amounts(&[("orders", 1)]);
        let expired = Entry { status: Status::Expired, hold_until: None, hold_since: None, used, ..entry };
        log[RETIRED_BY_ITSELF - 1].event.body = EventBody::Expired(expired);
    });
    check("the version counted on", Law::OneState, DEFINED_AGAIN, |log| {
        let EventBody::PoolDefined(pool) = &mut log[DEFINED_AGAIN].event.body else { panic!() };
        pool.version = 2;
    });
    check("an answer of the former life repeated", Law::SameAnswer, ACCEPTED_AGAIN, |log| {
        let body = log[2].event.body.clone();
        log[ACCEPTED_AGAIN].event.body = EventBody::Repeated(Box::new(body), None);
    });
    check("a hold of the former life confirmed", Law::TrueYes, UNKNOWN, |log| {
        let EventBody::Accepted(entry) = log[3].event.body.clone() else { panic!() };
        let confirmed = Entry { status: Status::Confirmed, hold_until: None, hold_since: None, ..entry };
        log[UNKNOWN].event.body = EventBody::Confirmed(confirmed);
    });
    check("a refusal repeated that no key keeps", Law::SameAnswer, UNKNOWN_AGAIN, |log| {
        let body = log[UNKNOWN].event.body.clone();
        log[UNKNOWN_AGAIN].event.body = EventBody::Repeated(Box::new(body), None);
    });
    check("the key of the retirement answered anew", Law::SameAnswer, AGAIN, |log| {
        log[AGAIN].event.body = log[RETIRED].event.body.clone();
    });
    check("an id defined anew too early", Law::OneState, TOO_EARLY, |log| {
        log[TOO_EARLY].event.body = log[DEFINED_AGAIN].event.body.clone();
    });
    check("an id refused although it is free", Law::OneState, DEFINED_AGAIN, |log| {
        log[DEFINED_AGAIN].event.body = log[TOO_EARLY].event.body.clone();
    });
    check("a refusal that hides that the pool has retired", Law::OneState, TOO_EARLY, |log| {
        let EventBody::Rejected(rejection) = &mut log[TOO_EARLY].event.body else { panic!() };
        rejection.retired_until = None;
    });
    check("a refusal that says another time", Law::OneState, TOO_EARLY, |log| {
        let EventBody::Rejected(rejection) = &mut log[TOO_EARLY].event.body else { panic!() };
        rejection.retired_until.as_mut().unwrap().0 += 1;
    });
    check("a new life that never began", Law::Capacity, ACCEPTED_AGAIN, |log| {
        log[DEFINED_AGAIN].event.body = EventBody::Tick
    });
}

/// Owners of before repeated what they had told of a life that was taken back since, and never of one that ended with its pool.
#[test]
fn what_was_told_of_a_reservation_is_not_repeated_after_its_pool_has_retired() {
    let mut owner = Owner::new(PARTITION);
    owner.give(Input::Claim);
    let spec = open_pool(amounts(&[("orders", 3)]));
    owner.take(&command(CommandBody::DefinePool { pool: pool(), spec, expected_version: None }, 91, None));
    owner.take(&reserve(1, Some(60_000)));
    let confirm = command(CommandBody::Confirm { reservation: reservation(&pool(), 1) }, 93, key("confirm"));
    owner.take(&confirm);
    owner.take(&confirm);
    owner.take(&retire(true));
    owner.take(&confirm);
    let mut log = owner.log;
    assert_eq!(log[6].event.body.rejection().map(|rejection| rejection.reason), Some(Reason::UnknownReservation));
    assert_eq!(audited(PARTITION, &log).finish().breaches(), []);
    log[6].event.body = log[4].event.body.clone();
    assert_eq!(log[6].event.body.kind(), EventKind::Repeated);
    let found = audited(PARTITION, &log).finish();
    assert!(found.breaches().iter().any(|b| b.law == Law::SameAnswer && b.seq == 6), "{:#?}", found.breaches());
}

/// The keys of owners before retirement kept that nothing is known of a reservation. Such an answer is clean in their logs
/// alone, and no state remembers it.
#[test]
fn what_an_older_version_kept_of_unknown_reservations_is_judged_by_its_rules() {
    let mut owner = Owner::new(PARTITION);
    owner.give(Input::Claim);
    let reservation = reservation(&pool(), 1);
    let confirm = command(CommandBody::Confirm { reservation }, 1, key("key"));
    owner.take(&confirm);
    owner.take(&confirm);
    owner.take(&command(CommandBody::Release { reservation }, 2, key("key")));
    let (mut log, now) = (owner.log, owner.now);
    log[2].event.body = EventBody::Repeated(Box::new(log[1].event.body.clone()), None);
    let EventBody::Rejected(rejection) = &mut log[3].event.body else { panic!() };
    rejection.reason = Reason::KeyReused;
    let found: BTreeSet<u64> = audited(PARTITION, &log).finish().breaches().iter().map(|breach| breach.seq).collect();
    assert_eq!(found, BTreeSet::from([2, 3]));
    log.iter_mut().for_each(|recorded| recorded.version = RETIREMENT_VERSION - 1);
    let audit = audited(PARTITION, &log);
    assert_eq!(audit.finish().breaches(), []);
    let mut maps = MapLedger::default();
    log.iter().for_each(|recorded| evolve(&mut maps, &recorded.event).unwrap());
    assert_eq!((audit.digest(), maps.remembered.len()), (maps.digest(now), 0));
}
