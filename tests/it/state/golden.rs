//! What scripts and people read of a state. `HEADROOM_REWRITE_GOLDEN=1` writes the file anew: names in the JSON stay as
//! they are, and new ones may come.

use super::{Course, HOUR_MS};
use crate::fixtures::{amounts, define, hold, name, open_pool, orders, pool_id, reservation_id, reserve};
use headroom::domain::{CommandBody, Micros, PoolRules, PoolSpec, Window, route};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

#[test]
fn a_state_is_printed_as_recorded() {
    let mut course = Course::new();
    let [slot, plain] = [pool_id("SG-01:slot"), pool_id("van-1")];
    let [slots, plains] = [&slot, &plain].map(|pool| route::partition_of(pool, super::PARTITIONS));
    let (start, end) = (Micros(1_700_010_000_000_000), Micros(1_700_017_200_000_000));
    let spec = PoolSpec {
        window: Some(Window { start, end, cutoff: Some(start) }),
        areas: [name("SG-01"), name("SG-02")].into(),
        labels: BTreeMap::from([(name("fleet"), name("van"))]),
        rules: PoolRules { unique_order_ref: true, ..PoolRules::default() },
        ..open_pool(amounts(&[("crates", 300), ("orders", 10)]))
    };
    let order = |key: &str, hold_ttl_ms, order_ref: &str| CommandBody::Reserve {
        pool: slot.clone(),
        reservation: reservation_id(&slot, key),
        demand: amounts(&[("crates", 4), ("orders", 1)]),
        hold_ttl_ms,
        order_ref: Some(name(order_ref)),
    };
    let release = CommandBody::Release { reservation: reservation_id(&slot, "K2") };
    course.turn(1_000, [(slots, CommandBody::DefinePool { pool: slot.clone(), spec, expected_version: None })]);
    course.turn(1_000, [(plains, define(&plain, orders(2)))]);
    let asked = [order("K1", None, "#1001"), order("K2", None, "#1002"), order("K3", Some(600_000), "#1003")];
    course.turn(1_000, asked.map(|body| (slots, body)));
    course.turn(1_000, [(slots, release)]);
    let taken = [reserve(&plain, "K4"), reserve(&plain, "K5"), hold(&plain, "K6", 600_000)];
    course.turn(1_000, taken.map(|body| (plains, body)));
    course.turn(1_000, [(plains, define(&plain, orders(1)))]);
    course.turn(HOUR_MS, []);
    let past = course.end();

    let mut text = String::new();
    let commands: [&[&str]; 5] = [
        &["--at", "2023-11-14T22:13:26Z"],
        // Its time is over, and the event that says so has not come.
        &["--at", "2023-11-14T22:30:00Z", "--pool", "SG-01:slot"],
        &["--at", "2023-11-14T22:30:00Z", "--pool", "SG-01:slot", "--json"],
        &["--at", "2023-11-14T23:13:26Z", "--json"],
        &["--at", "2023-11-14T22:13:21Z", "--json"],
    ];
    for args in commands {
        let ended = past.run(args);
        assert_eq!((ended.code, &*ended.err), (0, ""), "{args:?}");
        write!(text, "$ headroom state {}\n{}", args.join(" "), ended.out).unwrap();
    }
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/state.txt");
    if std::env::var_os("HEADROOM_REWRITE_GOLDEN").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(text, golden);
}
