//! The settings of snapshots.

use super::place::{ObjectPlace, place};
use super::setting::{EVENTS_KEEP_BEYOND_MS, SNAPSHOT_EVENTS_MAX, SNAPSHOT_INTERVAL_MAX_MS, SNAPSHOT_INTERVAL_MIN_MS};
use super::{Checking, Setting, number};

/// Longest of these ages in days.
const KEEP_MAX_DAYS: u64 = 3_660;
/// The same in milliseconds.
const KEEP_MAX_MS: u64 = KEEP_MAX_DAYS * DAY_MS;

/// An hour in milliseconds.
pub(crate) const HOUR_MS: u64 = 3_600_000;
/// A day in milliseconds.
pub(crate) const DAY_MS: u64 = 24 * HOUR_MS;

/// Where snapshots are written, and when.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Snapshots {
    /// Where they are written.
    pub place: ObjectPlace,
    /// When, and which of them are kept.
    pub rule: SnapshotRule,
}

/// When snapshots are written, and which of them are kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SnapshotRule {
    /// A snapshot of a partition is due after so many events.
    pub events: u64,
    /// It is due after so many milliseconds, if there is any new event.
    pub interval_ms: u64,
    /// The ages up to which snapshots are kept.
    pub keep: Keep,
}

impl SnapshotRule {
    /// The shortest time for which events may be kept beside these snapshots, in milliseconds.
    pub fn events_keep_min_ms(&self) -> u64 {
        self.interval_ms.saturating_mul(2).saturating_add(EVENTS_KEEP_BEYOND_MS)
    }
}

/// The ages up to which snapshots are kept, in milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Keep {
    /// All of them.
    pub all_ms: u64,
    /// The last one of each hour.
    pub hourly_ms: u64,
    /// The last one of each day.
    pub daily_ms: u64,
}

/// How long events are kept when snapshots cover those that go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EventsKeep {
    /// For so long, in milliseconds.
    pub ms: u64,
    /// The shortest time that is accepted beside these snapshots, in milliseconds.
    pub min_ms: u64,
}

/// The settings; `None` when no place is named, or when a problem was noted.
pub(super) fn check(checking: &mut Checking<'_>) -> Option<Snapshots> {
    let place = checking.optional(Setting::Snapshots, place);
    let events = checking.setting(Setting::SnapshotEvents, |text| number(text, 1..=SNAPSHOT_EVENTS_MAX));
    let interval_ms = checking
        .setting(Setting::SnapshotIntervalMs, |text| number(text, SNAPSHOT_INTERVAL_MIN_MS..=SNAPSHOT_INTERVAL_MAX_MS));
    let keep = checking.setting(Setting::SnapshotKeep, keep);
    Some(Snapshots { place: place?, rule: SnapshotRule { events: events?, interval_ms: interval_ms?, keep: keep? } })
}

/// An age in hours or days, in milliseconds.
fn age(text: &str) -> Option<u64> {
    let text = text.trim();
    let (number, unit) = match (text.strip_suffix('h'), text.strip_suffix('d')) {
        (Some(hours), _) => (hours, HOUR_MS),
        (None, days) => (days?, DAY_MS),
    };
    number.parse::<u64>().ok()?.checked_mul(unit).filter(|ms| *ms <= KEEP_MAX_MS)
}

/// How long events are kept, of a log whose snapshots are written; `None` for ever.
fn events_keep(text: &str) -> Result<Option<u64>, String> {
    match text.trim() {
        "all" => Ok(None),
        text => age(text).map(Some).ok_or_else(|| {
            format!("is neither all nor an age in hours or days of up to {KEEP_MAX_DAYS}d, such as 14d")
        }),
    }
}

/// How long a log keeps its events, after a check that snapshots are written and that there is time to mend them; `None` when
/// a problem was noted.
pub(super) fn events_kept(
    checking: &mut Checking<'_>,
    setting: Setting,
    snapshots: Option<&Snapshots>,
) -> Option<Option<EventsKeep>> {
    let Some(ms) = checking.setting(setting, events_keep)? else { return Some(None) };
    // With a wrong setting of snapshots, that is the problem which is told.
    if snapshots.is_none() && !checking.is_given(Setting::Snapshots) {
        checking.clash(setting, "is set without snapshots: only a snapshot can take the place of events that are gone");
        return None;
    }
    let min_ms = snapshots?.rule.events_keep_min_ms();
    if ms < min_ms {
        let hours = min_ms.div_ceil(HOUR_MS);
        checking.clash(
            setting,
            format_args!(
                "is shorter than {hours}h: two intervals of snapshots, and the time to mend what keeps them from being written"
            ),
        );
        return None;
    }
    Some(Some(EventsKeep { ms, min_ms }))
}

fn keep(text: &str) -> Result<Keep, String> {
    let ages: Option<Vec<u64>> = text.split(',').map(age).collect();
    match ages.as_deref() {
        Some([all_ms, hourly_ms, daily_ms]) if *all_ms >= HOUR_MS && all_ms <= hourly_ms && hourly_ms <= daily_ms => {
            Ok(Keep { all_ms: *all_ms, hourly_ms: *hourly_ms, daily_ms: *daily_ms })
        }
        _ => Err(format!(
            "is not three ages that grow, in hours or days and from 1h to {KEEP_MAX_DAYS}d, such as 1h,1d,30d"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::EventsKeep;
    use crate::config::setting::{SNAPSHOT_EVENTS_DEFAULT, SNAPSHOT_INTERVAL_DEFAULT_MS};
    use crate::config::tests::check;

    #[test]
    fn snapshots_are_kept_by_three_ages_and_written_only_when_a_place_is_named() {
        use Setting::{SnapshotEvents, SnapshotIntervalMs, SnapshotKeep};
        assert_eq!(check(&[]).unwrap().snapshots, None);
        let place = (Setting::Snapshots, "s3://shop/prod");
        let found = check(&[place, (SnapshotKeep, "2h,2d,2d")]).unwrap().snapshots.unwrap().rule;
        assert_eq!(found.keep, Keep { all_ms: 2 * HOUR_MS, hourly_ms: 2 * DAY_MS, daily_ms: 2 * DAY_MS });
        assert_eq!((found.events, found.interval_ms), (SNAPSHOT_EVENTS_DEFAULT, SNAPSHOT_INTERVAL_DEFAULT_MS));
        for keep in ["", "1h", "1h,1d", "1d,1h,30d", "0h,1d,2d", "1h,1d,30d,40d", "1m,1d,30d", "1h,1d,4000d"] {
            assert!(check(&[place, (SnapshotKeep, keep)]).unwrap_err().contains("three ages that grow"), "{keep}");
        }
        for (setting, value) in [(SnapshotEvents, "0"), (SnapshotIntervalMs, "999"), (SnapshotIntervalMs, "3600001")] {
            assert!(check(&[place, (setting, value)]).unwrap_err().contains("is not a whole number"), "{value}");
        }
    }
    #[test]
    fn events_are_kept_for_ever_or_for_longer_than_it_takes_to_mend_snapshots() {
        use Setting::{KafkaBrokers, KafkaEventsKeep, SnapshotIntervalMs, Snapshots};
        let (brokers, place) = ((KafkaBrokers, "k:9092"), (Snapshots, "s3://shop/prod"));
        let kept = |settings: &[(Setting, &str)]| {
            check(&[&[brokers], settings].concat()).map(|config| config.kafka.unwrap().events_keep)
        };
        assert_eq!(kept(&[]), Ok(None));
        assert_eq!(kept(&[(KafkaEventsKeep, "all")]), Ok(None));
        // Two intervals of a quarter of an hour, and three days.
        let min_ms = 72 * HOUR_MS + HOUR_MS / 2;
        assert_eq!(kept(&[place, (KafkaEventsKeep, "90d")]), Ok(Some(EventsKeep { ms: 90 * DAY_MS, min_ms })));
        assert!(kept(&[place, (KafkaEventsKeep, "73h")]).is_ok());
        assert!(kept(&[place, (KafkaEventsKeep, "72h")]).unwrap_err().contains("is shorter than 73h"));
        let interval = (SnapshotIntervalMs, "3600000");
        assert!(kept(&[place, interval, (KafkaEventsKeep, "73h")]).unwrap_err().contains("is shorter than 74h"));
        assert!(kept(&[(KafkaEventsKeep, "90d")]).unwrap_err().contains("kafka_events_keep is set without snapshots"));
        for odd in ["", "0", "90", "-1", "for ever"] {
            assert!(kept(&[place, (KafkaEventsKeep, odd)]).unwrap_err().contains("neither all nor an age"), "{odd}");
        }
        assert!(kept(&[place, (KafkaEventsKeep, "3660d")]).is_ok());
        for (setting, long) in [(KafkaEventsKeep, "36500d"), (Setting::SnapshotKeep, "1h,1d,36500d")] {
            let refused = kept(&[place, (setting, long)]).unwrap_err();
            assert!(refused.contains("3660d, such as"), "the bound is named: {refused}");
        }
        let embedded = check(&[place, (KafkaEventsKeep, "90d")]).unwrap_err();
        assert!(embedded.contains("kafka_events_keep is set without kafka_brokers"), "{embedded}");
    }
}
