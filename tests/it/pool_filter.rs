//! Which pools serve a query: one row for each clause and each boundary of time.

use crate::fixtures::{amounts, name, open_pool, pool_id};
use headroom::domain::coverage::Query;
use headroom::domain::{Micros, Mode, Pool, PoolSpec, Window};

const START: u64 = 1_000;
const CUTOFF: u64 = 1_500;
const END: u64 = 2_000;
/// When it is asked, unless a row says otherwise.
const NOW: u64 = 500;

/// Three of ten orders and five of nine crates are left.
fn pool() -> Pool {
    let window = Window { start: Micros(START), end: Micros(END), cutoff: Some(Micros(CUTOFF)) };
    let spec = PoolSpec {
        areas: ["A", "B"].map(name).into(),
        window: Some(window),
        labels: [("fleet", "van"), ("shift", "early")].map(|(label, value)| (name(label), name(value))).into(),
        ..open_pool(amounts(&[("crates", 9), ("orders", 10)]))
    };
    Pool { id: pool_id("p"), spec, used: amounts(&[("crates", 4), ("orders", 7)]), version: 1 }
}

fn areas<const N: usize>(areas: [&str; N]) -> Query {
    Query { areas: areas.map(name).into(), ..Query::default() }
}

fn labels<const N: usize>(labels: [(&str, &str); N]) -> Query {
    Query { labels: labels.map(|(label, value)| (name(label), name(value))).into(), ..Query::default() }
}

fn demand<const N: usize>(demand: [(&str, u64); N]) -> Query {
    Query { demand: amounts(&demand), ..Query::default() }
}

fn time(from: Option<u64>, to: Option<u64>) -> Query {
    Query { from: from.map(Micros), to: to.map(Micros), ..Query::default() }
}

/// The pool with one thing changed.
fn but(change: impl FnOnce(&mut PoolSpec)) -> Pool {
    let mut pool = pool();
    change(&mut pool.spec);
    pool
}

fn check(rows: Vec<(&str, Pool, Query, u64, bool)>) {
    for (what, pool, query, now, expected) in rows {
        assert_eq!(query.matches(&pool, Micros(now)), expected, "{what}");
    }
}

#[test]
fn a_pool_is_found_by_place_and_label() {
    check(vec![
        ("nothing is asked", pool(), Query::default(), NOW, true),
        (
            "nothing is asked, of an internal pool",
            Pool { id: pool_id("__headroom.x"), ..pool() },
            Query::default(),
            NOW,
            false,
        ),
        ("one of its areas", pool(), areas(["B"]), NOW, true),
        ("one of several areas", pool(), areas(["C", "A", "D"]), NOW, true),
        ("none of several areas", pool(), areas(["C", "D"]), NOW, false),
        ("an area that one of its own begins with", pool(), areas(["AB"]), NOW, false),
        ("an area, of a pool without any", but(|spec| spec.areas.clear()), areas(["A"]), NOW, false),
        ("no area, of a pool without any", but(|spec| spec.areas.clear()), areas([]), NOW, true),
        ("one of its labels", pool(), labels([("fleet", "van")]), NOW, true),
        ("all of its labels", pool(), labels([("fleet", "van"), ("shift", "early")]), NOW, true),
        ("a label of another value", pool(), labels([("fleet", "bike")]), NOW, false),
        ("one of two labels", pool(), labels([("fleet", "van"), ("shift", "late")]), NOW, false),
        ("more labels than it has", pool(), labels([("fleet", "van"), ("cold", "yes")]), NOW, false),
        ("a label, of a pool without any", but(|spec| spec.labels.clear()), labels([("fleet", "van")]), NOW, false),
    ]);
    let both = Query { areas: areas(["A"]).areas, ..labels([("fleet", "van")]) };
    assert!(both.matches(&pool(), Micros(NOW)));
    assert!(!Query { areas: areas(["C"]).areas, ..both.clone() }.matches(&pool(), Micros(NOW)));
    assert!(!Query { labels: labels([("fleet", "x")]).labels, ..both }.matches(&pool(), Micros(NOW)));
}

#[test]
fn a_pool_is_found_by_the_time_it_stands_for() {
    let timeless = || but(|spec| spec.window = None);
    check(vec![
        ("from before its end", pool(), time(Some(END - 1), None), NOW, true),
        ("from its end", pool(), time(Some(END), None), NOW, false),
        ("to its start", pool(), time(None, Some(START)), NOW, false),
        ("to after its start", pool(), time(None, Some(START + 1)), NOW, true),
        ("a time within it", pool(), time(Some(START + 1), Some(END - 1)), NOW, true),
        ("a time around it", pool(), time(Some(0), Some(END + 1)), NOW, true),
        ("exactly its time", pool(), time(Some(START), Some(END)), NOW, true),
        ("the time before it", pool(), time(Some(0), Some(START)), NOW, false),
        ("the time after it", pool(), time(Some(END), Some(END + 1)), NOW, false),
        ("any time, of a pool without a window", timeless(), time(Some(END), Some(START)), NOW, true),
        ("no time, when it is long over", pool(), time(None, None), END + 1, true),
    ]);
}

#[test]
fn a_pool_is_found_by_what_it_would_take_now() {
    let uncut = || but(|spec| spec.window = spec.window.map(|window| Window { cutoff: None, ..window }));
    let timeless = || but(|spec| spec.window = None);
    let over = || but(|spec| spec.limits = amounts(&[("crates", 9), ("orders", 6)]));
    let one = || demand([("orders", 1)]);
    check(vec![
        ("exactly what is left", pool(), demand([("orders", 3)]), NOW, true),
        ("one more than is left", pool(), demand([("orders", 4)]), NOW, false),
        ("exactly what is left of each", pool(), demand([("crates", 5), ("orders", 3)]), NOW, true),
        ("one more than is left of one", pool(), demand([("crates", 6), ("orders", 3)]), NOW, false),
        ("a dimension that it does not have", pool(), demand([("pallets", 1)]), NOW, false),
        ("the end of all numbers", pool(), demand([("orders", u64::MAX)]), NOW, false),
        ("of an over-committed pool", over(), one(), NOW, false),
        ("the other dimension of it", over(), demand([("crates", 1)]), NOW, true),
        ("nothing, of an over-committed pool", over(), Query::default(), NOW, true),
        ("of a paused pool", but(|spec| spec.mode = Mode::Paused), one(), NOW, false),
        ("of a closed pool", but(|spec| spec.mode = Mode::Closed), one(), NOW, false),
        ("nothing, of a closed pool", but(|spec| spec.mode = Mode::Closed), Query::default(), NOW, true),
        ("just before the cutoff", pool(), one(), CUTOFF - 1, true),
        ("at the cutoff", pool(), one(), CUTOFF, false),
        ("nothing, at the cutoff", pool(), Query::default(), CUTOFF, true),
        ("just before the end, without a cutoff", uncut(), one(), END - 1, true),
        ("at the end, without a cutoff", uncut(), one(), END, false),
        ("at any time, without a window", timeless(), one(), u64::MAX, true),
    ]);
}
