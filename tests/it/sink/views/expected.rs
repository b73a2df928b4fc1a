//! What every view and table has to say of a log, worked out event by event from what the comments of the views promise.

use super::event::{Event, Life, Units, day, lives, micros};
use super::lost::lost_demand;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

pub(super) const HOUR: i64 = 3_600_000_000;
/// What callers are who change pools.
const PLANNERS: &[&str] = &["DefinePool", "AdjustLimits", "SetMode", "ChangePool", "RetirePool"];
/// Of a definition.
const DEFINITION: &[&str] = &["areas", "labels", "window_start", "window_end", "cutoff"];

/// The rows of each view and table.
pub type Rows = BTreeMap<&'static str, Vec<Value>>;

/// A time in which limit and use of a pool in a dimension stayed as they were.
struct Usage {
    life: usize,
    dimension: String,
    from: i64,
    until: Option<i64>,
    limit: Option<i64>,
    used: i64,
    /// From when on the pool admitted nothing, as it was defined then.
    closes: Option<i64>,
}

/// All that follows from the events of a log.
pub struct Expected {
    pub events: Vec<Event>,
    pub lives: Vec<Life>,
    usage: Vec<Usage>,
    /// The names of the columns of events, each with its type in the database.
    columns: Vec<(String, String)>,
}

/// What was printed as a value of a column of this type.
fn cell(value: Value, of: &str) -> Value {
    match (of, value) {
        ("timestamp with time zone", Value::String(text)) => micros(&text).into(),
        ("bigint", Value::String(text)) => text.parse::<i64>().unwrap().into(),
        (_, value) => value,
    }
}

/// A quotient to so many places, rounded half away from zero, as text.
fn rounded(dividend: i64, divisor: i64, places: u32) -> String {
    let scale = 10_i128.pow(places);
    let (dividend, divisor) = (i128::from(dividend) * scale * 2 + i128::from(divisor), i128::from(divisor) * 2);
    let whole = dividend.div_euclid(divisor);
    format!("{}.{:0width$}", whole / scale, whole % scale, width = places as usize)
}

pub(super) fn sum(more: &mut i64, units: i64) -> i64 {
    *more += units;
    *more
}

impl Expected {
    pub fn of(mut events: Vec<Event>, columns: Vec<(String, String)>) -> Expected {
        events.sort_by_key(|event| (event.partition, event.seq));
        let lives = lives(&mut events);
        let mut expected = Expected { events, lives, usage: Vec::new(), columns };
        expected.usage = (0..expected.lives.len()).flat_map(|life| expected.usage_of(life)).collect();
        expected
    }

    /// The rows of all, when it is `now`.
    pub fn rows(&self, now: i64) -> Rows {
        let lost = self.lost_demand_keys();
        [
            ("decisions", self.decisions()),
            ("decision_units", self.decision_units()),
            ("pools", self.pools()),
            ("reservations", self.reservations()),
            ("pool_lives", self.pool_lives()),
            ("pool_units", self.pool_units()),
            ("pool_usage", self.pool_usage()),
            ("slot_utilisation", self.slot_utilisation()),
            ("sold_out", self.sold_out(now)),
            ("refusals", self.refusals()),
            ("lead_times", self.lead_times()),
            ("hold_conversion", self.hold_conversion()),
            ("over_committed", self.over_committed()),
            ("planner_edits", self.planner_edits()),
            ("lost_demand", lost_demand(&lost)),
            ("lost_demand_keys", lost),
        ]
        .into()
    }

    /// A row with the columns of these names as the event has them.
    pub(super) fn named(&self, event: &Event, names: &[&str]) -> Map<String, Value> {
        let of = |name: &&str| {
            let (_, of) = self.columns.iter().find(|(column, _)| column == name).unwrap();
            ((*name).to_owned(), cell(event.value(name), of))
        };
        names.iter().map(of).collect()
    }

    /// A row that begins with these columns.
    pub(super) fn with(&self, event: &Event, names: &[&str], more: Value) -> Value {
        let mut row = self.named(event, names);
        let Value::Object(more) = more else { panic!("{more}") };
        row.extend(more);
        row.into()
    }

    /// A row of a life that begins with its pool and these columns of its last definition.
    fn of_life(&self, life: &Life, names: &[&str], more: Value) -> Value {
        let mut row: Map<String, Value> = match life.definition(&self.events) {
            Some(definition) => self.named(definition, names),
            None => names.iter().map(|name| ((*name).to_owned(), Value::Null)).collect(),
        };
        row.insert("pool".to_owned(), (*life.pool).into());
        let Value::Object(more) = more else { panic!("{more}") };
        row.extend(more);
        row.into()
    }

    /// The life of an event.
    pub(super) fn life(&self, event: &Event) -> Option<&Life> {
        event.life.map(|life| &self.lives[life])
    }

    /// What tells a life from the others of its pool.
    pub(super) fn begin_of(&self, life: &Life) -> i64 {
        if life.began.is_some() || life.definition(&self.events).is_some() { life.from } else { 0 }
    }

    fn decisions(&self) -> Vec<Value> {
        let names: Vec<&str> = self.columns.iter().map(|(name, _)| &**name).collect();
        let row = |event: &Event| {
            let definition = match self.life(event) {
                Some(life) if !event.has_definition() => life.definition(&self.events),
                _ => event.has_definition().then_some(event),
            };
            let shown = definition.map(|definition| self.named(definition, DEFINITION));
            let shown =
                shown.unwrap_or_else(|| DEFINITION.iter().map(|name| ((*name).to_owned(), Value::Null)).collect());
            let outcome = match &*event.kind {
                "Rejected" | "Malformed" => Some("refused"),
                "Repeated" => Some("repeated"),
                _ => event.text("ask").map(|_| "applied"),
            };
            let class = match event.text("ask") {
                None | Some("Abandon") => "headroom",
                Some(ask) if PLANNERS.contains(&ask) => "planner",
                Some(_) => "caller",
            };
            let lead_time = shown["window_start"].as_i64().map(|start| start - event.at);
            let mut row =
                self.with(event, &names, json!({"outcome": outcome, "actor_class": class, "lead_time": lead_time}));
            row.as_object_mut().unwrap().extend(shown);
            row
        };
        self.events.iter().map(row).collect()
    }

    fn decision_units(&self) -> Vec<Value> {
        let names = ["partition", "seq", "decided_at", "kind", "ask", "reason", "pool", "reservation"];
        let mut rows = Vec::new();
        for event in &self.events {
            let of = ["demand", "demand_before", "limits", "used"].map(|name| event.units(name).unwrap_or_default());
            let dimensions: BTreeSet<&String> = of.iter().flat_map(Units::keys).collect();
            for dimension in dimensions {
                let [demand, demand_before, limit, used] = of.each_ref().map(|units| units.get(dimension));
                let own = json!({"dimension": dimension, "demand": demand, "demand_before": demand_before,
                    "limit_units": limit, "used": used});
                rows.push(self.with(event, &names, own));
            }
        }
        rows
    }

    /// The last life of each pool.
    fn last_lives(&self) -> BTreeMap<&str, &Life> {
        self.lives.iter().map(|life| (&*life.pool, life)).collect()
    }

    fn pools(&self) -> Vec<Value> {
        let defined = [
            "mode",
            "version",
            "areas",
            "labels",
            "window_start",
            "window_end",
            "cutoff",
            "hold_ttl_max_ms",
            "hold_life_max_ms",
            "unique_order_ref",
            "retire_after_ms",
            "retire_cause",
        ];
        let row = |life: &&Life| {
            let last = life.last(&self.events);
            let retired_at = life.end.map(|end| self.events[end].at);
            let own = self.with(
                last,
                &["partition", "seq", "limits", "used"],
                json!({"changed_at": last.at, "retired_at": retired_at}),
            );
            self.of_life(life, &defined, own)
        };
        self.last_lives().values().map(row).collect()
    }

    fn pool_lives(&self) -> Vec<Value> {
        let row = |life: &Life| {
            let end = life.end.map(|end| &self.events[end]);
            let own = json!({
                "from_seq": self.begin_of(life), "until_seq": self.until_of(life),
                "began_at": life.began, "retired_at": end.map(|end| end.at),
                "retire_cause": end.map(|end| end.value("retire_cause")),
                "limits": end.map(|end| end.value("limits")), "used": end.map(|end| end.value("used")),
            });
            self.of_life(life, &[&["partition"], DEFINITION].concat(), own)
        };
        self.lives.iter().filter(|life| life.definition(&self.events).is_some()).map(row).collect()
    }

    /// The last event of a life that is over.
    fn until_of(&self, life: &Life) -> Option<i64> {
        let end = life.end.map(|end| self.events[end].seq);
        end.or(life.next.map(|next| self.events[next].seq - 1))
    }

    fn usage_of(&self, life: usize) -> Vec<Usage> {
        let (mut rows, mut closes) = (Vec::<Usage>::new(), self.lives[life].closes_at(&self.events));
        for event in self.lives[life].own(&self.events).filter(|event| event.counts()) {
            rows.iter_mut().filter(|row| row.until.is_none()).for_each(|row| row.until = Some(event.at.max(row.from)));
            if event.is("PoolRetired") {
                break;
            }
            if event.defines() {
                closes = event.closes_at();
            }
            let limits = event.units("limits").unwrap_or_default();
            for (dimension, used) in event.units("used").unwrap_or_default() {
                let limit = limits.get(&dimension).copied();
                rows.push(Usage { life, dimension, from: event.at, until: None, limit, used, closes });
            }
        }
        if let Some(next) = self.lives[life].next {
            let until = self.events[next].at;
            rows.iter_mut().filter(|row| row.until.is_none()).for_each(|row| row.until = Some(until.max(row.from)));
        }
        rows
    }

    fn pool_usage(&self) -> Vec<Value> {
        let row = |Usage { life, dimension, from, until, limit, used, closes }: &Usage| {
            let life = &self.lives[*life];
            json!({"pool": life.pool, "from_seq": self.begin_of(life), "dimension": dimension, "from_time": from,
                "until_time": until, "limit_units": limit, "used": used, "closes_at": closes})
        };
        self.usage.iter().map(row).collect()
    }

    /// Pools as they are now: each dimension with its limit and use.
    fn units_of<'a>(&'a self, life: &'a Life) -> impl Iterator<Item = (String, Option<i64>, Option<i64>)> {
        let last = life.last(&self.events);
        let [limits, used] = ["limits", "used"].map(|name| last.units(name).unwrap_or_default());
        let dimensions: BTreeSet<String> = limits.keys().chain(used.keys()).cloned().collect();
        dimensions.into_iter().map(move |dimension| {
            let (limit, used) = (limits.get(&dimension).copied(), used.get(&dimension).copied());
            (dimension, limit, used)
        })
    }

    fn pool_units(&self) -> Vec<Value> {
        let mut rows = Vec::new();
        for life in self.lives.iter().filter(|life| life.next.is_none()) {
            for (dimension, limit, used) in self.units_of(life) {
                let own = json!({"dimension": dimension, "limit_units": limit, "used": used,
                    "from_seq": self.begin_of(life),
                    "retired_at": life.end.map(|end| self.events[end].at)});
                let names = ["areas", "window_start", "window_end"];
                rows.push(self.of_life(life, &names, own));
            }
        }
        rows
    }

    fn slot_utilisation(&self) -> Vec<Value> {
        let mut rows = Vec::new();
        for (place, life) in self.lives.iter().enumerate().filter(|(_, life)| life.next.is_none()) {
            for (dimension, limit, used) in self.units_of(life) {
                let Some(limit) = limit else { continue };
                let own = |row: &&Usage| row.life == place && row.dimension == dimension;
                let peak = self.usage.iter().filter(own).map(|row| row.used).max();
                let share = used.filter(|_| limit > 0).map(|used| rounded(used, limit, 3));
                let own = json!({"from_seq": self.begin_of(life), "dimension": dimension, "limit_units": limit, "used": used,
                    "peak_used": peak, "utilisation": share});
                let names = ["areas", "window_start", "window_end"];
                rows.push(self.of_life(life, &names, own));
            }
        }
        rows
    }

    pub fn sold_out(&self, now: i64) -> Vec<Value> {
        // From when on, and for how long.
        let mut full = BTreeMap::<(usize, &str), (i64, i64)>::new();
        for row in self.usage.iter().filter(|row| row.limit.is_some_and(|limit| row.used >= limit)) {
            let until = row.until.unwrap_or(now).min(row.closes.unwrap_or(i64::MAX));
            let (first, time) = full.entry((row.life, &row.dimension)).or_insert((row.from, 0));
            (*first, *time) = (row.from.min(*first), *time + (until - row.from).max(0));
        }
        let row = |((life, dimension), (first, time)): (&(usize, &str), &(i64, i64))| {
            let life = &self.lives[*life];
            let own = json!({"from_seq": self.begin_of(life), "dimension": dimension, "first_full_at": first,
                "minutes": rounded(*time, 60_000_000, 1)});
            self.of_life(life, &["areas", "window_start"], own)
        };
        full.iter().map(row).collect()
    }

    fn refusals(&self) -> Vec<Value> {
        let mut refused = BTreeMap::<_, (i64, BTreeSet<[Option<&str>; 3]>)>::new();
        let is_refusal = |event: &&Event| event.is("Rejected") || event.text("repeats") == Some("Rejected");
        for event in self.events.iter().filter(is_refusal) {
            let of = (day(event.at), event.text("ask"), event.text("reason"), event.text("dimension"));
            let (attempts, keys) = refused.entry(of).or_default();
            *attempts += 1;
            keys.insert([event.text("pool"), event.changes(), event.text("key").or(event.text("command_id"))]);
        }
        let row = |((day, ask, reason, dimension), (attempts, keys)): (_, (_, BTreeSet<_>))| json!({"day": day, "ask": ask, "reason": reason, "dimension": dimension, "attempts": attempts, "keys": keys.len()});
        refused.into_iter().map(row).collect()
    }

    fn lead_times(&self) -> Vec<Value> {
        let mut counts = BTreeMap::<i64, i64>::new();
        for (place, event) in self.events.iter().enumerate() {
            if !event.is("Accepted") || self.is_taken_back(place, i64::MAX) {
                continue;
            }
            let start = self.life(event).and_then(|life| life.definition(&self.events)?.time("window_start"));
            if let Some(start) = start {
                *counts.entry((start - event.at).div_euclid(HOUR)).or_default() += 1;
            }
        }
        counts.into_iter().map(|(hours, count)| json!({"hours_before": hours, "reservations": count})).collect()
    }

    fn hold_conversion(&self) -> Vec<Value> {
        let fates = ["confirmed", "expired", "released", "retired", "open"];
        let mut days = BTreeMap::<String, BTreeMap<&str, i64>>::new();
        for (place, event) in self.events.iter().enumerate() {
            let is_hold = event.is("Accepted") && event.text("status") == Some("held");
            if is_hold && !self.is_taken_back(place, i64::MAX) {
                let counts = days.entry(day(event.at)).or_default();
                *counts.entry("holds").or_default() += 1;
                *counts.entry(self.fate(place)).or_default() += 1;
            }
        }
        let row = |(day, counts): (String, BTreeMap<&str, i64>)| {
            let mut row = json!({"day": day, "holds": counts["holds"]});
            for fate in fates {
                row[fate] = counts.get(fate).copied().unwrap_or_default().into();
            }
            row
        };
        days.into_iter().map(row).collect()
    }

    /// Whether what this event accepted was taken back within this time, because its caller got no answer.
    pub(super) fn is_taken_back(&self, place: usize, within: i64) -> bool {
        let accepted = &self.events[place];
        let is_next = |event: &&Event| {
            let is_own = event.life == accepted.life && event.text("reservation") == accepted.text("reservation");
            is_own && matches!(&*event.kind, "Accepted" | "Released" | "Expired")
        };
        let next = self.events[place + 1..].iter().find(is_next);
        next.is_some_and(|next| next.text("cause") == Some("abandoned") && next.at - accepted.at <= within)
    }

    /// What became of the hold that began with this event.
    fn fate(&self, place: usize) -> &'static str {
        let began = &self.events[place];
        for event in self.events[place + 1..].iter().filter(|event| event.life == began.life) {
            let is_own = event.text("reservation") == began.text("reservation");
            match &*event.kind {
                "PoolRetired" => return "retired",
                "Confirmed" if is_own => return "confirmed",
                "Expired" if is_own => return "expired",
                "Released" if is_own => return "released",
                _ => {}
            }
        }
        let is_over = began.life.is_some_and(|life| self.until_of(&self.lives[life]).is_some());
        if is_over { "retired" } else { "open" }
    }

    fn over_committed(&self) -> Vec<Value> {
        let mut rows = Vec::new();
        for life in self.lives.iter().filter(|life| self.until_of(life).is_none()) {
            for (dimension, limit, used) in self.units_of(life) {
                let over = used.unwrap_or_default() - limit.unwrap_or_default();
                if over > 0 {
                    let own = json!({"dimension": dimension, "limit_units": limit, "used": used, "over": over});
                    rows.push(self.of_life(life, &["areas", "window_start"], own));
                }
            }
        }
        rows
    }

    fn planner_edits(&self) -> Vec<Value> {
        let mut rows = Vec::new();
        for life in &self.lives {
            let mut before: Option<&Event> = None;
            for event in life.own(&self.events).filter(|event| event.defines()) {
                let of_before = |name: &str| before.map(|before| before.value(name));
                let own = json!({"limits_before": of_before("limits"), "mode_before": of_before("mode")});
                if event.text("retire_cause") != Some("window") {
                    let names = ["decided_at", "actor", "pool", "kind", "version", "limits", "mode"];
                    rows.push(self.with(event, &names, own));
                }
                before = Some(event);
            }
        }
        rows
    }
}
