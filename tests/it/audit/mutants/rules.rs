//! Breaches of what a pool asks of its reservations, and of the times at which a command may be decided.

use super::*;
use headroom::limits::COMMAND_WINDOW_MS;

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

/// Decides the command at `at` so many microseconds after its deadline; before it, where they are negative.
fn late_by(log: &mut Log, at: At, us: i64) {
    let decided_at = event(log, at).decided_at;
    stamp(log, at).deadline = decided_at.0.checked_add_signed(-us).map(Micros);
}

/// The length of time for which a command's id is kept, in microseconds.
const WINDOW_US: i64 = COMMAND_WINDOW_MS.cast_signed() * 1_000;

#[test]
fn deadlines() {
    check(&[
        ("accepted after its deadline", Law::FinalNo, At::R8_ACCEPTED, |log| late_by(log, At::R8_ACCEPTED, 1)),
        ("an attempt counted after its deadline", Law::FinalNo, At::R1_AGAIN, |log| late_by(log, At::R1_AGAIN, 1)),
        ("confirmed after its deadline", Law::OneDecision, At::R2_CONFIRMED, |log| late_by(log, At::R2_CONFIRMED, 1)),
        ("sold out after its deadline", Law::OneDecision, At::R4_OVER_LIMIT, |log| late_by(log, At::R4_OVER_LIMIT, 1)),
        ("decided when its copy could come unknown", Law::OneDecision, At::R8_ACCEPTED, |log| {
            late_by(log, At::R8_ACCEPTED, -WINDOW_US - 1);
        }),
        ("too far ahead and was not", Law::OneDecision, At::R12_TOO_FAR, |log| {
            late_by(log, At::R12_TOO_FAR, -WINDOW_US);
        }),
    ]);
    // At the first and the last moment at which it may be decided, it is.
    for us in [0, -WINDOW_US] {
        let mut log = play().log;
        late_by(&mut log, At::R8_ACCEPTED, us);
        assert_eq!(report(&log).breaches(), [], "{us}");
    }
}
