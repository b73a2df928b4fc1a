//! What the demonstration sells: a week of two-hour delivery slots in six zones of a town, one beginning every hour
//! from 09:00 to 20:00, each with a limit of orders and of crates. Times are UTC.

use crate::client::pools::PoolDefinition;
use crate::domain::Micros;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use rand::rngs::StdRng;
use rand::{Rng, RngExt};
use serde_json::json;

/// The zones, and how much of the custom each brings.
pub const ZONES: [(&str, f64); 6] =
    [("Harbour", 1.3), ("Oldtown", 1.2), ("Marina", 1.0), ("Hillside", 0.9), ("Riverside", 0.8), ("Airport", 0.5)];
/// When slots begin, in hours, and how much each is wanted: everybody is at home in the evening.
pub const HOURS: [(u64, f64); 12] = [
    (9, 0.5),
    (10, 0.8),
    (11, 0.7),
    (12, 0.5),
    (13, 0.4),
    (14, 0.4),
    (15, 0.5),
    (16, 0.8),
    (17, 1.7),
    (18, 2.4),
    (19, 2.2),
    (20, 1.2),
];
/// Days on offer.
pub const DAYS: usize = 7;
/// How long a slot lasts, in hours.
const SLOT_HOURS: u64 = 2;
/// How long before it begins a slot takes no more orders, in minutes.
const CUTOFF_MINUTES: u64 = 90;
/// Crates a van takes for each order it takes.
const CRATES_AN_ORDER: u64 = 4;
const HOUR_US: u64 = 3_600_000_000;
const DAY_US: u64 = 24 * HOUR_US;

/// One slot: a pool.
#[derive(Clone, Debug)]
pub struct Slot {
    /// The pool's id, such as `Harbour:2026-11-22T18`.
    pub pool: String,
    /// Its place in [`ZONES`].
    pub zone: usize,
    /// Orders it takes at first.
    pub orders: u64,
    start: Micros,
}

/// All of them.
pub struct Week {
    midnight: Micros,
    /// The day that most shoppers want and that is shown: the first whose every slot is still on offer.
    pub shown: usize,
    slots: Vec<Slot>,
}

impl Week {
    /// The week that begins today. Limits differ a little, as fleets do.
    pub fn new(now: Micros, rng: &mut StdRng) -> Week {
        let midnight = Micros(now.0 / DAY_US * DAY_US);
        let first_cutoff = HOURS[0].0 * HOUR_US - CUTOFF_MINUTES * 60_000_000;
        let shown = usize::from(now.0.saturating_sub(midnight.0) >= first_cutoff);
        let mut week = Week { midnight, shown, slots: Vec::new() };
        for day in 0..DAYS {
            for (zone, (name, custom)) in ZONES.into_iter().enumerate() {
                for (hour, _) in HOURS {
                    let start = Micros(week.day_start(day).0.saturating_add(hour * HOUR_US));
                    let orders = (10.0 + 8.0 * custom) as u64 + rng.random_range(0..5);
                    let pool = format!("{name}:{}", moment(start, "%Y-%m-%dT%H"));
                    week.slots.push(Slot { pool, zone, orders, start });
                }
            }
        }
        week
    }

    /// Every slot of the week, day by day.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// The slots of one zone on one day, by hour.
    pub fn of(&self, day: usize, zone: usize) -> &[Slot] {
        let from = (day * ZONES.len() + zone) * HOURS.len();
        self.slots.get(from..from + HOURS.len()).unwrap_or_default()
    }

    /// The pools, each with its definition.
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
                "areas": [ZONES[slot.zone].0],
                "window": window,
                "labels": {"fleet": "van"},
            });
            PoolDefinition { pool: slot.pool.clone(), body: body.to_string() }
        };
        self.slots.iter().map(definition).collect()
    }

    /// A question for what is on offer on a day: in one zone for a demand, or all of it.
    pub fn question(&self, day: usize, asked: Option<(usize, u64)>) -> String {
        let time = |day| moment(self.day_start(day), "%Y-%m-%dT%H:%M:%SZ");
        let mut body = json!({"from": time(day), "to": time(day + 1), "limit": 100});
        if let Some((zone, crates)) = asked {
            body["areas"] = json!([ZONES[zone].0]);
            body["demand"] = json!({"orders": 1, "crates": crates});
        }
        body.to_string()
    }

    /// The name of the day that is shown.
    pub fn day_name(&self) -> String {
        moment(self.day_start(self.shown), "%A %-d %B")
    }

    /// A day as shoppers choose it: most of them want the one that is shown.
    pub fn choose_day(&self, rng: &mut impl Rng) -> usize {
        if rng.random_bool(0.65) { self.shown } else { rng.random_range(0..DAYS) }
    }

    /// How much a pool is wanted, by the hour that its name ends with.
    pub fn wanted(pool: &str) -> f64 {
        let hour = pool.rsplit_once('T').and_then(|(_, hour)| hour.parse::<u64>().ok());
        HOURS.iter().find(|(h, _)| Some(*h) == hour).map_or(0.0, |(_, wanted)| *wanted)
    }

    fn day_start(&self, day: usize) -> Micros {
        Micros(self.midnight.0.saturating_add(day as u64 * DAY_US))
    }
}

/// An instant, written as this format says.
fn moment(at: Micros, format: &str) -> String {
    let at = i64::try_from(at.0).ok().and_then(|us| Timestamp::from_microsecond(us).ok()).unwrap_or_default();
    at.to_zoned(TimeZone::UTC).strftime(format).to_string()
}

/// One of several by weight; `None` when nothing weighs anything.
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
        assert_eq!((evening.pool.as_str(), ZONES[evening.zone].0), ("Marina:2026-11-22T18", "Marina"));
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
