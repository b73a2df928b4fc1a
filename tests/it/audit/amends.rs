//! Planted breaches in events that tell of other units: each must be found, under its law, at its place.

use super::mutants::{check, copy_body, entry, event, innermost, refuse_with, rejection, retell, said, seven};
use super::script::At;
use crate::fixtures::{amounts, dimension};
use headroom::domain::{Amounts, ChainedEvent, EventBody, Law, Mode, Reason, Status};

fn before(log: &mut Vec<ChainedEvent>, at: At) -> &mut Amounts {
    match innermost(&mut event(log, at).body) {
        EventBody::Amended(_, before) => before,
        body => panic!("{at:?} amends nothing: {body:?}"),
    }
}

fn one_order_more(amounts: &mut Amounts) {
    *amounts = amounts.map(|d, units| units + u64::from(d == dimension("orders")));
}

#[test]
fn l1_capacity_of_amends() {
    check(&[
        ("used after an amend", Law::Capacity, At::R2_AMENDED, |log| entry(log, At::R2_AMENDED).used = seven()),
        ("limits of an amend", Law::Capacity, At::R2_AMENDED, |log| entry(log, At::R2_AMENDED).limits = seven()),
        ("more than is left, and every counter agrees", Law::Capacity, At::R2_AMENDED, |log| {
            one_order_more(&mut entry(log, At::R2_AMENDED).demand);
            retell(log, At::R2_AMENDED, |_, used| one_order_more(used));
        }),
        ("another before", Law::Capacity, At::R2_AMENDED, |log| one_order_more(before(log, At::R2_AMENDED))),
        ("nothing left", Law::Capacity, At::R2_AMENDED, |log| entry(log, At::R2_AMENDED).demand = amounts(&[])),
        ("a dimension that the pool has not", Law::Capacity, At::R3_AMENDED, |log| {
            entry(log, At::R3_AMENDED).demand = amounts(&[("orders", 1), ("pallets", 2)]);
        }),
        ("more in a closed pool", Law::Capacity, At::R2_AMENDED, |log| said(log, At::DEFINED).spec.mode = Mode::Closed),
        ("more past the cutoff", Law::Capacity, At::R2_AMENDED, |log| {
            let at = event(log, At::R2_AMENDED).decided_at;
            said(log, At::DEFINED).spec.window.as_mut().unwrap().cutoff = Some(at);
        }),
        ("given back is what was taken at first", Law::Capacity, At::R2_RELEASED, |log| {
            entry(log, At::R2_RELEASED).demand = amounts(&[("orders", 1)]);
        }),
        ("refused though it takes no more", Law::Capacity, At::R3_AMEND_REFUSED, |log| {
            rejection(log, At::R3_AMEND_REFUSED).demand = Some(amounts(&[("orders", 1)]));
        }),
        ("refused of another before", Law::Capacity, At::R3_AMEND_REFUSED, |log| {
            rejection(log, At::R3_AMEND_REFUSED).demand_before = Some(amounts(&[("orders", 2)]));
        }),
        ("refused without its before", Law::Capacity, At::R3_AMEND_REFUSED, |log| {
            rejection(log, At::R3_AMEND_REFUSED).demand_before = None;
        }),
    ]);
}

#[test]
fn an_amend_that_changes_anything_else_is_found() {
    check(&[
        ("an ended one revived", Law::TrueYes, At::R2_RELEASED_AGAIN, |log| {
            copy_body(log, At::R2_AMENDED, At::R2_RELEASED_AGAIN);
        }),
        ("amended and never accepted", Law::TrueYes, At::R3_AMENDED, |log| {
            event(log, At::R3_HELD).body = EventBody::Tick
        }),
        ("confirmed by an amend", Law::OneState, At::R3_AMENDED, |log| {
            let entry = entry(log, At::R3_AMENDED);
            (entry.status, entry.hold_until) = (Status::Confirmed, None);
        }),
        ("held for longer by an amend", Law::OneState, At::R3_AMENDED, |log| {
            entry(log, At::R3_AMENDED).hold_until.as_mut().unwrap().0 += 1;
        }),
        ("amended when over", Law::ClocksDecideNothing, At::R3_AMENDED, |log| {
            let until = event(log, At::R3_AMENDED).decided_at;
            entry(log, At::R3_HELD).hold_until = Some(until);
        }),
        ("amended to what it takes", Law::OneState, At::R2_AMENDED_AGAIN, |log| {
            let original = innermost(&mut event(log, At::R2_AMENDED_AGAIN).body).clone();
            event(log, At::R2_AMENDED_AGAIN).body = original;
        }),
        ("refused as no hold", Law::OneState, At::R3_AMEND_REFUSED, |log| {
            refuse_with(log, At::R3_AMEND_REFUSED, Reason::NotAHold);
        }),
        ("another demand than was asked for", Law::OneDecision, At::R3_AMENDED, |log| {
            entry(log, At::R3_AMENDED).demand = amounts(&[("crates", 3), ("orders", 1)]);
        }),
        ("another demand refused than was asked for", Law::OneDecision, At::R3_AMEND_REFUSED, |log| {
            rejection(log, At::R3_AMEND_REFUSED).demand = Some(amounts(&[("orders", 3)]));
        }),
        ("amended already, and was not so", Law::SameAnswer, At::R2_AMENDED_AGAIN, |log| {
            one_order_more(before(log, At::R2_AMENDED_AGAIN));
        }),
    ]);
}
