//! Breaches of what a pool asks of its reservations.

use super::*;

/// The window of the pool in which the script's first holds are.
fn ending(log: &mut Log, end: Micros) {
    said(log, At::DEFINED).spec.window = Some(Window { start: Micros(0), end, cutoff: None });
}

#[test]
fn holds_and_orders() {
    check(&[
        ("a hold of more time than the pool lets it have", Law::OneState, At::R2_HELD, |log| {
            said(log, At::DEFINED).spec.rules.hold_ttl_max_ms = Some(59_999);
        }),
        ("a hold of a longer life than the pool lets it have", Law::OneState, At::R2_EXTENDED, |log| {
            let (accepted, until) =
                (event(log, At::R2_HELD).decided_at, entry(log, At::R2_EXTENDED).hold_until.unwrap());
            said(log, At::DEFINED).spec.rules.hold_life_max_ms = Some(until.ms_since(accepted) - 1);
        }),
        ("a hold that outlives the window", Law::OneState, At::R2_HELD, |log| {
            let until = entry(log, At::R2_HELD).hold_until.unwrap();
            ending(log, Micros(until.0 - 1));
        }),
        ("a hold extended beyond the window", Law::OneState, At::R2_EXTENDED, |log| {
            let until = entry(log, At::R2_EXTENDED).hold_until.unwrap();
            ending(log, Micros(until.0 - 1));
        }),
        ("a hold that lives since later than it was accepted", Law::OneState, At::R2_HELD, |log| {
            entry(log, At::R2_HELD).hold_since.as_mut().unwrap().0 += 1;
        }),
        ("a hold that grows younger", Law::OneState, At::R2_EXTENDED, |log| {
            entry(log, At::R2_EXTENDED).hold_since.as_mut().unwrap().0 += 1;
        }),
        ("a second reservation of an order that may have one", Law::OneState, At::R2_HELD, |log| {
            said(log, At::DEFINED).spec.rules.unique_order_ref = true;
            entry(log, At::R1_ACCEPTED).order_ref = Name::new("O-1").ok();
            entry(log, At::R2_HELD).order_ref = Name::new("O-1").ok();
        }),
        ("refused for a reservation that the order has not", Law::OneState, At::R4_OVER_LIMIT, |log| {
            refuse_with(log, At::R4_OVER_LIMIT, Reason::OrderHasReservation);
        }),
        ("refused as too long and was not", Law::OneState, At::R4_OVER_LIMIT, |log| {
            refuse_with(log, At::R4_OVER_LIMIT, Reason::HoldTooLong);
        }),
    ]);
}

/// A version that did not know that a hold ends with the window did not tell since when it lives, either.
#[test]
fn what_an_older_version_let_outlive_its_window_is_no_breach() {
    let mut log = play().log;
    let until = entry(&mut log, At::R2_HELD).hold_until.unwrap();
    ending(&mut log, Micros(until.0 - 1));
    for at in [At::R2_HELD, At::R2_EXTENDED] {
        entry(&mut log, at).hold_since = None;
    }
    let found = report(&log);
    let is_found = |at: At| found.breaches().iter().any(|b| b.seq == at as u64);
    assert!(!is_found(At::R2_HELD) && !is_found(At::R2_EXTENDED) && is_found(At::R3_HELD), "{:?}", found.breaches());
}
