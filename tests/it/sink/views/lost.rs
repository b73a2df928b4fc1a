//! What pools refused for a reason of their own, and what reservations became.

use super::event::{Event, day};
use super::expected::{Expected, HOUR, sum};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Reasons of a pool.
const OF_POOL: &[&str] = &["over_limit", "closed", "paused", "past_cutoff", "unknown_dimension"];

/// By how many microseconds the clocks of two partitions may be apart.
const CLOCKS_APART: i64 = 10_000_000;

impl Expected {
    pub(super) fn lost_demand_keys(&self) -> Vec<Value> {
        let (mut seen, mut rows) = (BTreeSet::new(), Vec::new());
        // What was refused for lack of room, by life and dimension.
        let mut refused = BTreeMap::<(Option<usize>, String), i64>::new();
        let asks = ["Reserve", "Amend"].map(Some);
        let is_lost = |event: &&Event| {
            event.is("Rejected")
                && asks.contains(&event.text("ask"))
                && event.text("reason").is_some_and(|reason| OF_POOL.contains(&reason))
        };
        for event in self.events.iter().filter(is_lost) {
            let order = event.text("order_ref");
            let key = event.text("key").or(event.text("command_id")).filter(|_| order.is_none());
            if !seen.insert((event.text("pool"), event.life, order, event.changes(), key)) {
                continue;
            }
            let life = self.life(event);
            let definition = life.and_then(|life| life.definition(&self.events));
            let window_start = definition.and_then(|definition| definition.time("window_start"));
            for (part, (dimension, units)) in asked_of(event).into_iter().enumerate() {
                let of = |name: &str| event.units(name).and_then(|units| units.get(&dimension).copied());
                let left =
                    (event.text("reason") == Some("over_limit")).then(|| of("limits").unwrap() - of("used").unwrap());
                let raise =
                    left.map(|left| sum(refused.entry((event.life, dimension.clone())).or_default(), units) - left);
                let own = json!({
                    "slot_day": day(window_start.unwrap_or(event.at)), "window_start": window_start,
                    "areas": definition.map(|definition| definition.value("areas")),
                    "from_seq": life.map_or(0, |life| self.begin_of(life)),
                    "dimension": dimension, "units": units, "accepted_elsewhere": self.is_elsewhere(event),
                    "raise_needed": raise, "units_left": left, "part": part + 1,
                });
                rows.push(self.with(
                    event,
                    &["partition", "seq", "decided_at", "pool", "key", "order_ref", "reason"],
                    own,
                ));
            }
        }
        rows
    }

    /// Whether the same key or order was accepted in another pool within an hour, by clocks that may be apart.
    fn is_elsewhere(&self, refused: &Event) -> bool {
        let is_same =
            |accepted: &Event, name: &str| refused.text(name).is_some() && accepted.text(name) == refused.text(name);
        self.events.iter().enumerate().any(|(place, event)| {
            event.is("Accepted")
                && event.text("pool") != refused.text("pool")
                && (refused.at - CLOCKS_APART..=refused.at + HOUR).contains(&event.at)
                && (is_same(event, "key") || is_same(event, "order_ref"))
                && !self.is_taken_back(place, HOUR)
        })
    }

    pub(super) fn reservations(&self) -> Vec<Value> {
        let mut rows = BTreeMap::<String, Map<String, Value>>::new();
        for event in self.events.iter().filter(|event| !event.is("Repeated")) {
            if event.is("ClockSet") {
                let back = event.number("clock_from").unwrap() - event.at;
                let is_held =
                    |row: &&mut Map<String, Value>| row["partition"] == event.partition && row["status"] == "held";
                for row in rows.values_mut().filter(is_held) {
                    let until = row["hold_until"].as_i64().unwrap() - back;
                    row.insert("hold_until".to_owned(), until.into());
                }
            }
            if event.is("PoolRetired") || event.begins() {
                let ends =
                    rows.values_mut().filter(|row| row["pool"] == event.value("pool") && row["ended_at"].is_null());
                for row in ends {
                    let end = json!({"status": "retired", "end_cause": "retired", "seq": event.seq, "changed_at": event.at,
                        "ended_at": event.at});
                    row.extend(end.as_object().unwrap().clone());
                }
            }
            if event.text("status").is_none() {
                continue;
            }
            let row = rows.entry(event.text("reservation").unwrap().to_owned()).or_default();
            if row.is_empty() || event.is("Accepted") {
                let is_new = event.is("Accepted");
                *row = self.named(event, &["reservation", "pool", "partition", "order_ref"]);
                let of = |name: &str| if is_new { event.value(name) } else { Value::Null };
                let begin = json!({"key": of("key"), "actor": of("actor"), "accepted_at": is_new.then_some(event.at),
                    "was_held": is_new.then(|| event.text("status") == Some("held"))});
                row.extend(begin.as_object().unwrap().clone());
            }
            let is_over = matches!(&*event.kind, "Released" | "Expired");
            let cause = if event.is("Expired") { "expired".into() } else { event.value("cause") };
            row.extend(self.named(event, &["seq", "status", "demand", "hold_until"]));
            let change = json!({"changed_at": event.at, "ended_at": is_over.then_some(event.at), "end_cause": cause});
            row.extend(change.as_object().unwrap().clone());
        }
        rows.into_values().map(Value::from).collect()
    }
}

/// The units that a call was refused: in the dimension that decided, or else in each that it asked for. An amend asks for what
/// it has not yet.
fn asked_of(event: &Event) -> Vec<(String, i64)> {
    let before = event.units("demand_before").unwrap_or_default();
    let more = event.units("demand").unwrap_or_default().into_iter().map(|(dimension, units)| {
        let more = units - before.get(&dimension).copied().unwrap_or_default();
        (dimension, more)
    });
    let decided = event.text("dimension");
    more.filter(|(dimension, more)| *more > 0 && decided.is_none_or(|decided| decided == dimension)).collect()
}

pub(super) fn lost_demand(keys: &[Value]) -> Vec<Value> {
    let names = ["slot_day", "pool", "areas", "window_start", "reason", "dimension"];
    let mut groups = BTreeMap::<String, Map<String, Value>>::new();
    for row in keys {
        let of: Map<String, Value> = names.iter().map(|name| ((*name).to_owned(), row[*name].clone())).collect();
        let group = groups.entry(Value::from(of.clone()).to_string()).or_insert(of);
        let mut add = |name: &str, more: i64| {
            let sum = group.get(name).and_then(Value::as_i64).unwrap_or_default() + more;
            group.insert(name.to_owned(), sum.into());
        };
        add("keys", 1);
        add("units", row["units"].as_i64().unwrap());
        add("accepted_elsewhere", i64::from(row["accepted_elsewhere"] == true));
    }
    groups.into_values().map(Value::from).collect()
}
