//! Events as `headroom cat` prints them, and the lives of pools that follow from them.

use headroom::domain::Micros;
use headroom::time::Shown;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Kinds that have the whole definition of a pool.
const DEFINING: &[&str] = &["PoolDefined", "LimitsAdjusted", "ModeSet", "PoolChanged", "PoolRetired"];

/// Units by dimension.
pub type Units = BTreeMap<String, i64>;

pub struct Event {
    fields: Map<String, Value>,
    pub partition: i64,
    pub seq: i64,
    pub at: i64,
    pub kind: String,
    /// The place among the lives of the one in which it was decided.
    pub life: Option<usize>,
}

/// From the event that defines a pool to the one that retires it.
pub struct Life {
    pub pool: String,
    /// When it began; none when its beginning is not among the events.
    pub began: Option<i64>,
    /// The seq of the event that began it. Where that is not among the events, the one after the end of the life before, or 0.
    pub from: i64,
    /// The places of its events, the first one of them first.
    pub events: Vec<usize>,
    /// The place of the event that ended it.
    pub end: Option<usize>,
    /// Where that is not among the events, the place of the event that began the next one.
    pub next: Option<usize>,
}

/// A time as microseconds.
pub fn micros(text: &str) -> i64 {
    text.parse::<jiff::Timestamp>().unwrap().as_microsecond()
}

/// The day in UTC.
pub fn day(at: i64) -> String {
    Shown(Micros(u64::try_from(at).unwrap())).to_string()[..10].to_owned()
}

impl Event {
    pub fn of(printed: Value) -> Event {
        let Value::Object(fields) = printed else { panic!("{printed}") };
        Event {
            partition: fields["partition"].as_i64().unwrap(),
            seq: fields["seq"].as_str().unwrap().parse().unwrap(),
            at: micros(fields["decided_at"].as_str().unwrap()),
            kind: fields["kind"].as_str().unwrap().to_owned(),
            life: None,
            fields,
        }
    }

    /// A field as it is printed; null when the event has none.
    pub fn value(&self, name: &str) -> Value {
        self.fields.get(name).cloned().unwrap_or_default()
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(|value| value.as_str().unwrap())
    }

    /// The reservation that a caller wanted to change.
    pub fn changes(&self) -> Option<&str> {
        self.text("reservation").filter(|_| self.text("ask") != Some("Reserve"))
    }

    pub fn number(&self, name: &str) -> Option<i64> {
        self.text(name).map(|text| text.parse().unwrap())
    }

    pub fn time(&self, name: &str) -> Option<i64> {
        self.text(name).map(micros)
    }

    pub fn units(&self, name: &str) -> Option<Units> {
        let units = self.fields.get(name)?.as_object().unwrap();
        Some(units.iter().map(|(dimension, units)| (dimension.clone(), units.as_i64().unwrap())).collect())
    }

    pub fn is(&self, kind: &str) -> bool {
        self.kind == kind
    }

    /// Whether it changed or ended a pool, and so has all of it.
    pub fn defines(&self) -> bool {
        DEFINING.contains(&&*self.kind)
    }

    /// Whether it began a life of a pool.
    pub fn begins(&self) -> bool {
        self.is("PoolDefined") && self.number("version") == Some(1)
    }

    /// Whether it has a definition: its own, or one that it repeats.
    pub fn has_definition(&self) -> bool {
        self.defines() || self.text("repeats").is_some_and(|kind| DEFINING.contains(&kind))
    }

    /// From when on a pool admits nothing that this event defines.
    pub fn closes_at(&self) -> Option<i64> {
        self.time("cutoff").or(self.time("window_end"))
    }

    /// Whether it shows limits and use of its pool as they are from then on.
    pub fn counts(&self) -> bool {
        self.fields.contains_key("used") && !self.is("Rejected") && !self.is("Repeated")
    }
}

/// The lives of all pools in the order of the log. Each event is told the one in which it was decided. A pool that is there
/// without a beginning lived before the first event, or from the end of its last life on, and so all that is said of it since
/// then belongs to that life. A life that lasts when another one begins has ended before that.
pub fn lives(events: &mut [Event]) -> Vec<Life> {
    let (mut lives, mut open, mut ends) = (Vec::<Life>::new(), BTreeMap::new(), BTreeMap::<String, i64>::new());
    let mut before = BTreeMap::<(i64, String), Vec<usize>>::new();
    for (place, event) in events.iter().enumerate() {
        let Some(pool) = event.text("pool").map(str::to_owned) else { continue };
        let at = (event.partition, pool.clone());
        let begins = event.begins();
        let earlier = before.entry(at.clone()).or_default();
        if begins || event.counts() && !open.contains_key(&at) {
            let earlier = std::mem::take(earlier);
            let (began, from, events) = match begins {
                true => (Some(event.at), event.seq, Vec::new()),
                false => (None, ends.get(&pool).map_or(0, |end| end + 1), earlier),
            };
            if let Some(unended) = open.insert(at.clone(), lives.len()) {
                lives[unended].next = Some(place);
            }
            lives.push(Life { pool: pool.clone(), began, from, events, end: None, next: None });
        }
        match open.get(&at) {
            Some(life) => lives[*life].events.push(place),
            None => earlier.push(place),
        }
        if event.is("PoolRetired") {
            lives[open.remove(&at).unwrap()].end = Some(place);
            ends.insert(pool, event.seq);
        }
    }
    for (number, life) in lives.iter().enumerate() {
        life.events.iter().for_each(|place| events[*place].life = Some(number));
    }
    lives
}

impl Life {
    /// Its last definition; none when that is before the first event.
    pub fn definition<'a>(&self, events: &'a [Event]) -> Option<&'a Event> {
        self.own(events).filter(|event| event.defines()).last()
    }

    /// The last event that shows limits and use.
    pub fn last<'a>(&self, events: &'a [Event]) -> &'a Event {
        self.own(events).filter(|event| event.counts()).last().unwrap()
    }

    pub fn own<'a>(&self, events: &'a [Event]) -> impl Iterator<Item = &'a Event> {
        self.events.iter().map(move |place| &events[*place])
    }

    /// From when on the pool admits nothing, as its last definition says.
    pub fn closes_at(&self, events: &[Event]) -> Option<i64> {
        self.definition(events)?.closes_at()
    }
}
