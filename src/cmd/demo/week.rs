//! What the demonstration sells: a week of two-hour delivery slots in six zones of a town. A slot begins every hour from
//! 09:00 to 20:00, and has a limit of orders and one of crates. Times are UTC.

use crate::client::pools::PoolDefinition;
use crate::domain::Micros;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use rand::rngs::StdRng;
use rand::{Rng, RngExt};
use serde_json::json;

/// A zone of the town.
#[derive(Clone, Copy, Debug)]
pub struct Zone {
    /// Its name, with which the ids of its pools begin.
    pub name: &'static str,
    /// Its share of shoppers, relative to the other zones.
    pub weight: f64,
}

/// An hour at which a slot begins.
#[derive(Clone, Copy, Debug)]
pub struct Hour {
    /// The hour of the day.
    pub begins: u64,
    /// How much its slot is wanted, relative to the other hours.
    pub weight: f64,
}

const fn zone(name: &'static str, weight: f64) -> Zone {
    Zone { name, weight }
}

const fn hour(begins: u64, weight: f64) -> Hour {
    Hour { begins, weight }
}

/// The zones of the town.
pub const ZONES: [Zone; 6] = [
    zone("Harbour", 1.3),
    zone("Oldtown", 1.2),
    zone("Marina", 1.0),
    zone("Hillside", 0.9),
    zone("Riverside", 0.8),
    zone("Airport", 0.5),
];
/// The hours at which slots begin. Evenings are wanted most.
pub const HOURS: [Hour; 12] = [
    hour(9, 0.5),
    hour(10, 0.8),
    hour(11, 0.7),
    hour(12, 0.5),
    hour(13, 0.4),
    hour(14, 0.4),
    hour(15, 0.5),
    hour(16, 0.8),
    hour(17, 1.7),
    hour(18, 2.4),
    hour(19, 2.2),
    hour(20, 1.2),
];
/// Days that are on sale.
pub const DAYS: usize = 7;
/// Length of a slot, in hours.
const SLOT_HOURS: u64 = 2;
/// Time before its beginning at which a slot stops accepting orders, in minutes.
const CUTOFF_MINUTES: u64 = 90;
/// Limit of crates for each order of a slot's limit.
const CRATES_AN_ORDER: u64 = 4;
const HOUR_US: u64 = 3_600_000_000;
const DAY_US: u64 = 24 * HOUR_US;

/// A delivery slot, which is a pool.
#[derive(Clone, Debug)]
pub struct Slot {
    /// The pool's id, such as `Harbour:2026-11-22T18`.
    pub pool: String,
    /// The index of its zone in [`ZONES`].
    pub zone: usize,
    /// Its limit of orders at the start.
    pub orders: u64,
    start: Micros,
}

/// What a shopper looks for.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    /// The index of the zone in [`ZONES`].
    pub zone: usize,
    /// The crates that the order takes.
    pub crates: u64,
}

/// The slots of the week.
pub struct Week {
    midnight: Micros,
    /// The index of the day that most shoppers want and the screen shows: the first day with all slots still on sale.
    pub shown: usize,
    slots: Vec<Slot>,
}

impl Week {
    /// The week that begins on the day of `now`. Limits differ a little from slot to slot.
    pub fn new(now: Micros, rng: &mut StdRng) -> Week {
        let midnight = Micros(now.0 / DAY_US * DAY_US);
        let first_cutoff = HOURS[0].begins * HOUR_US - CUTOFF_MINUTES * 60_000_000;
        let shown = usize::from(now.0.saturating_sub(midnight.0) >= first_cutoff);
        let mut week = Week { midnight, shown, slots: Vec::new() };
        for day in 0..DAYS {
            for (zone, Zone { name, weight }) in ZONES.into_iter().enumerate() {
                for Hour { begins, .. } in HOURS {
                    let start = Micros(week.day_start(day).0.saturating_add(begins * HOUR_US));
                    let orders = (10.0 + 8.0 * weight) as u64 + rng.random_range(0..5);
                    let pool = format!("{name}:{}", moment(start, "%Y-%m-%dT%H"));
                    week.slots.push(Slot { pool, zone, orders, start });
                }
            }
        }
        week
    }

    /// All slots, by day, then by zone, then by hour.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// The slots of one zone on one day, by hour.
    pub fn of(&self, day: usize, zone: usize) -> &[Slot] {
        let from = (day * ZONES.len() + zone) * HOURS.len();
        self.slots.get(from..from + HOURS.len()).unwrap_or_default()
    }

    /// The definitions of all pools.
    pub fn definitions(&self) -> Vec<PoolDefinition> {
        let definition = |slot: &Slot| {
            let time = |us: u64| moment(Micros(us), "%Y-%m-%dT%H:%M:%SZ");
            let window = json!({
                "start": time(slot.start.0),
                "end": time(slot.start.0.saturating_add(SLOT_HOURS * HOUR_US)),
                "cutoff": time(slot.start.0.saturating_sub(CUTOFF_MINUTES * 60_000_000)),
            });
            let body = json!({
                "limits": {"orders": slot.orders, "crates": slot.orders * CRATES_AN_ORDER},
                "areas": [ZONES[slot.zone].name],
                "window": window,
                "labels": {"fleet": "van"},
            });
            PoolDefinition { pool: slot.pool.clone(), body: body.to_string() }
        };
        self.slots.iter().map(definition).collect()
    }

    /// The body of an availability query for a day: for an order in one zone, or for everything.
    pub fn question(&self, day: usize, order: Option<Order>) -> String {
        let time = |day| moment(self.day_start(day), "%Y-%m-%dT%H:%M:%SZ");
        let mut body = json!({"from": time(day), "to": time(day + 1), "limit": 100});
        if let Some(Order { zone, crates }) = order {
            body["areas"] = json!([ZONES[zone].name]);
            body["demand"] = json!({"orders": 1, "crates": crates});
        }
        body.to_string()
    }

    /// The name and date of the day that is shown.
    pub fn day_name(&self) -> String {
        moment(self.day_start(self.shown), "%A %-d %B")
    }

    /// The day that a shopper chooses: most of them choose the one that is shown.
    pub fn choose_day(&self, rng: &mut impl Rng) -> usize {
        if rng.random_bool(0.65) { self.shown } else { rng.random_range(0..DAYS) }
    }

    /// How much a pool is wanted, by the hour at the end of its id.
    pub fn wanted(pool: &str) -> f64 {
        let hour = pool.rsplit_once('T').and_then(|(_, hour)| hour.parse::<u64>().ok());
        HOURS.iter().find(|slot| Some(slot.begins) == hour).map_or(0.0, |slot| slot.weight)
    }

    fn day_start(&self, day: usize) -> Micros {
        Micros(self.midnight.0.saturating_add(day as u64 * DAY_US))
    }
}

/// An instant as text, in a format of `strftime`.
fn moment(at: Micros, format: &str) -> String {
    let at = i64::try_from(at.0).ok().and_then(|us| Timestamp::from_microsecond(us).ok()).unwrap_or_default();
    at.to_zoned(TimeZone::UTC).strftime(format).to_string()
}

/// Chooses one item at random by its weight; `None` when all weights are 0.
pub fn choose<T>(rng: &mut impl Rng, of: impl IntoIterator<Item = (T, f64)>) -> Option<T> {
    let of: Vec<_> = of.into_iter().collect();
    let mut left = rng.random::<f64>() * of.iter().map(|(_, weight)| weight).sum::<f64>();
    of.into_iter().find_map(|(thing, weight)| {
        left -= weight;
        (left < 0.0).then_some(thing)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn a_week_is_504_slots_named_after_zone_and_hour() {
        let noon = Micros(1_795_262_400_000_000);
        let week = Week::new(noon, &mut StdRng::seed_from_u64(1));
        assert_eq!((week.slots().len(), week.shown, week.day_name().as_str()), (504, 1, "Sunday 22 November"));
        let evening = &week.of(1, 2)[9];
        assert_eq!((evening.pool.as_str(), ZONES[evening.zone].name), ("Marina:2026-11-22T18", "Marina"));
        assert!(Week::wanted(&evening.pool) > 2.0 && Week::wanted("Marina:2026-11-22T03") == 0.0);
        let PoolDefinition { pool, body } = &week.definitions()[0];
        assert_eq!(pool, "Harbour:2026-11-21T09");
        assert!(body.contains(r#""cutoff":"2026-11-21T07:30:00Z","end":"2026-11-21T11:00:00Z""#), "{body}");
        let early = Week::new(Micros(noon.0 - 6 * HOUR_US), &mut StdRng::seed_from_u64(1));
        assert_eq!(early.shown, 0);
    }

    #[test]
    fn choices_follow_their_weights() {
        let mut rng = StdRng::seed_from_u64(3);
        let mut counts = [0; 3];
        for _ in 0..4_000 {
            counts[choose(&mut rng, [(0, 1.0), (1, 0.0), (2, 3.0)]).unwrap()] += 1;
        }
        assert!(counts[1] == 0 && (900..1_100).contains(&counts[0]), "{counts:?}");
        assert_eq!(choose(&mut rng, [(0, 0.0)]), None);
    }
}
