//! What `headroom lost-demand` answers, worked out from the rows of `lost_demand_keys`.

use super::expected::{Rows, sum};
use headroom::sink::postgres::{Access, Database, LostDemand, Period};
use serde_json::Value;
use std::collections::BTreeMap;

/// Days from which, and to which, it is asked: all, one, a few, and some of which there is nothing.
const DAYS: &[(&str, &str)] = &[
    ("2023-11-01", "2023-12-31"),
    ("2023-11-17", "2023-11-17"),
    ("2023-11-20", "2023-11-20"),
    ("2023-11-18", "2023-11-22"),
    ("2024-01-01", "2024-01-01"),
];

fn number(row: &Value, name: &str) -> i64 {
    row[name].as_i64().unwrap()
}

/// What is answered for a period and a raise.
fn expected(keys: &[Value], period: &Period, raise: i64) -> Vec<LostDemand> {
    let mut keys: Vec<&Value> = keys.iter().collect();
    keys.sort_by_key(|row| (number(row, "partition"), number(row, "seq")));
    let (mut taken, mut rows) = (BTreeMap::<String, i64>::new(), BTreeMap::<_, LostDemand>::new());
    for row in keys {
        let (units, left) = (number(row, "units"), row["units_left"].as_i64());
        let is_alone = left.is_some_and(|left| units - left <= raise);
        let of = format!("{} {} {}", row["pool"], row["from_seq"], row["dimension"]);
        let all = if is_alone { sum(taken.entry(of).or_default(), units) } else { 0 };
        let is_admitted = is_alone && left.is_some_and(|left| all - left <= raise);
        let text = |name: &str| row[name].as_str().map(str::to_owned);
        let day = text("slot_day").unwrap();
        let is_of_area =
            |area: &String| row["areas"].as_array().is_some_and(|areas| areas.contains(&Value::from(&**area)));
        if day < period.from || day > period.to || !period.area.as_ref().is_none_or(is_of_area) {
            continue;
        }
        let place = (day.clone(), text("pool"), text("reason"), text("dimension"));
        let lost = rows.entry(place).or_insert(LostDemand {
            day,
            pool: text("pool").unwrap(),
            reason: text("reason").unwrap(),
            dimension: text("dimension"),
            keys: 0,
            own_keys: 0,
            units: Some(0),
            elsewhere: 0,
            with_raise: 0,
        });
        lost.keys += 1;
        lost.own_keys += i64::from(row["part"] == 1);
        lost.units = lost.units.map(|sum| sum + units);
        lost.elsewhere += i64::from(row["accepted_elsewhere"] == true);
        lost.with_raise += i64::from(is_admitted);
    }
    rows.into_values().collect()
}

/// Whether this database answers as these rows say, for all days and for some, with and without an area.
#[track_caller]
pub fn assert_told(access: &Access, rows: &Rows) {
    let mut database = Database::connect(access).unwrap();
    let mut are_raised = 0;
    for (from, to) in DAYS {
        for area in [None, Some("SG-02"), Some("SG-06")] {
            let period = Period { from: (*from).to_owned(), to: (*to).to_owned(), area: area.map(str::to_owned) };
            for raise in [1, 4] {
                let told = database.lost_demand(&period, raise).unwrap();
                let expected = expected(&rows["lost_demand_keys"], &period, raise.into());
                assert_eq!(told, expected, "{period:?} with {raise} more");
                are_raised += told.iter().map(|lost| lost.with_raise).sum::<i64>();
            }
        }
    }
    assert!(are_raised > 0);
}
