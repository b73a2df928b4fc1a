//! What the tables say, compared with the state that the server folds from the same events.

use super::postgres::Database;
use crate::process::{headroom, run};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// Of each living pool: the units in use by dimension, and how many reservations are held and confirmed.
pub type InUse = BTreeMap<String, (BTreeMap<String, u64>, u64, u64)>;

/// A partition after its first events: the digest of the last of them, and its pools.
struct State {
    chain: String,
    pools: InUse,
}

impl State {
    /// After so many events of a partition, as this `headroom state` tells.
    #[track_caller]
    fn after(events: u64, partition: u64, mut state: Command) -> State {
        let ended = run(state.args(["--json", "--at-seq", &format!("{partition}:{}", events - 1)]));
        assert_eq!(ended.code, 0, "{}", ended.err);
        let told: Value = serde_json::from_str(&ended.out).unwrap();
        assert_eq!(told["next_seq"], events);
        let count = |pool: &Value, name: &str| pool[name].as_u64().unwrap();
        let pool = |pool: &Value| {
            let in_use = (units(&pool["used"]), count(pool, "held"), count(pool, "confirmed"));
            (pool["pool"].as_str().unwrap().to_owned(), in_use)
        };
        let pools = told["pools"].as_array().unwrap().iter().map(pool).collect();
        State { chain: told["chain"].as_str().unwrap().to_owned(), pools }
    }
}

/// Units by dimension, without those of which there are none.
pub fn units(object: &Value) -> BTreeMap<String, u64> {
    let units = object.as_object().into_iter().flatten();
    units.map(|(name, units)| (name.clone(), units.as_u64().unwrap())).filter(|(_, units)| *units > 0).collect()
}

/// Whether pools, and the live reservations of each, have in sum what the state has after the same event of each partition.
/// `state` is `headroom state` on the log.
#[track_caller]
pub fn assert_sums(database: &Database, state: impl Fn() -> Command) {
    let positions = database.ask("SELECT partition, next_seq, chain FROM sink_positions WHERE next_seq > 0 ORDER BY 1");
    for position in positions.lines() {
        let [partition, next_seq, chain] = position.split('|').collect::<Vec<_>>()[..] else { panic!("{position}") };
        let told = State::after(next_seq.parse().unwrap(), partition.parse().unwrap(), state());
        assert_eq!(chain, told.chain, "partition {partition}");
        let mut used = InUse::new();
        let pools = database.ask(&format!(
            "SELECT p.pool, p.used, count(r.*) FILTER (WHERE r.status = 'held'), count(r.*) FILTER (WHERE r.status = 'confirmed')
             FROM pools p LEFT JOIN reservations r USING (pool)
             WHERE p.partition = {partition} AND p.retired_at IS NULL GROUP BY 1, 2"
        ));
        for pool in pools.lines().map(|line| line.split('|').collect::<Vec<_>>()) {
            let in_use =
                (units(&serde_json::from_str(pool[1]).unwrap()), pool[2].parse().unwrap(), pool[3].parse().unwrap());
            used.insert(pool[0].to_owned(), in_use);
        }
        assert_eq!(used, told.pools, "pools of partition {partition} after {next_seq} events");
        let mut taken = BTreeMap::<String, BTreeMap<String, u64>>::new();
        let reservations = database.ask(&format!(
            "SELECT pool, dimension, sum(units::bigint) FROM reservations, LATERAL jsonb_each_text(demand::jsonb) d (dimension, units)
             WHERE partition = {partition} AND status IN ('held', 'confirmed') GROUP BY 1, 2"
        ));
        for row in reservations.lines().map(|line| line.split('|').collect::<Vec<_>>()) {
            taken.entry(row[0].to_owned()).or_default().insert(row[1].to_owned(), row[2].parse().unwrap());
        }
        let told = told.pools.into_iter().map(|(pool, (used, ..))| (pool, used)).filter(|(_, used)| !used.is_empty());
        assert_eq!(taken, told.collect(), "reservations of partition {partition} after {next_seq} events");
    }
}

/// What `headroom state` says of each pool of a log.
#[track_caller]
pub fn used_of(log: &Path) -> BTreeMap<String, BTreeMap<String, u64>> {
    let ended = run(headroom(["state", "--json"]).env("HEADROOM_DATA_DIR", log));
    assert_eq!(ended.code, 0, "{}", ended.err);
    let states = ended.out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let pools = states.flat_map(|state| state["pools"].as_array().unwrap().clone());
    pools.map(|pool| (pool["pool"].as_str().unwrap().to_owned(), units(&pool["used"]))).collect()
}
