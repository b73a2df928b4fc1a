//! What is in a folder of snapshots, and what of it is not kept: all snapshots of the last hour stay, then the last one of
//! each hour, then the last one of each day.

use super::name::{Name, Part};
use crate::config::{DAY_MS, HOUR_MS, Keep};
use crate::domain::Micros;
use crate::objects::{LISTED_MAX, Listed, Objects};
use crate::store::StoreError;
use std::collections::{BTreeMap, BTreeSet};

/// The newest snapshots stay, however old they are.
const KEPT_ALWAYS: usize = 2;
/// No more snapshots stay, however new they are. A listing ends after so many objects, and one that is not listed is not there: a
/// store that lists the oldest first would hide the newest.
const KEPT_MAX: usize = LISTED_MAX * 2 / 5;
/// Rows without a manifest stay for so long: somebody may be about to write it. So does a manifest without rows.
const UNFINISHED_MS: u64 = HOUR_MS;

/// The objects of one partition.
#[derive(Default)]
pub(super) struct Found {
    manifests: BTreeMap<Name, Listed>,
    rows: BTreeMap<Name, Listed>,
}

impl Found {
    /// Looks into a folder.
    ///
    /// # Errors
    /// Those of the store.
    pub(super) fn look(objects: &dyn Objects, folder: &str) -> Result<Found, StoreError> {
        let mut found = Found::default();
        for listed in objects.list(folder, LISTED_MAX)? {
            match Name::parse(&listed.name) {
                Some((name, Part::Manifest)) => drop(found.manifests.insert(name, listed)),
                Some((name, Part::Rows)) => drop(found.rows.insert(name, listed)),
                None => {}
            }
        }
        Ok(found)
    }

    /// The manifests of snapshots that have at most so many events, the newest first. Their rows may be gone.
    pub(super) fn manifests_up_to(&self, end: u64) -> impl Iterator<Item = &Name> {
        self.manifests.keys().rev().filter(move |name| name.next_seq <= end)
    }

    /// How many snapshots have more events than these.
    pub(super) fn ahead(&self, end: u64) -> usize {
        self.manifests.keys().filter(|name| name.next_seq > end).count()
    }

    /// The snapshots of at most so many events that have both objects, the newest first.
    pub(super) fn whole(&self, end: u64) -> impl Iterator<Item = &Name> {
        self.manifests_up_to(end).filter(|name| self.rows.contains_key(name))
    }

    /// The length of a snapshot's rows, if the store has listed them.
    pub(super) fn length(&self, name: &Name) -> Option<u64> {
        self.rows.get(name).map(|listed| listed.bytes)
    }

    /// What is not kept when the log has so many events: of the whole snapshots those that are too old, counted from the
    /// newest one or from `believed`, the time of a wall clock, whichever is earlier, so that a clock alone removes nothing; and
    /// single objects that are long there, by the clock of the store. A snapshot that is later than that was written by a clock
    /// that was ahead: it counts as being as old as the next newer one, or it would stay until its time has come.
    pub(super) fn surplus(&self, keep: Keep, end: u64, believed: Micros) -> BTreeSet<Name> {
        let now = self.whole(end).next().map_or(believed, |newest| newest.at.min(believed));
        let mut hours = BTreeSet::new();
        let mut surplus = BTreeSet::new();
        let mut at = now;
        for (place, name) in self.whole(end).enumerate() {
            if name.at <= now {
                at = name.at;
            }
            let age = now.ms_since(at);
            let step_ms = match age {
                _ if age <= keep.all_ms => None,
                _ if age <= keep.hourly_ms => Some(HOUR_MS),
                _ if age <= keep.daily_ms => Some(DAY_MS),
                _ => Some(u64::MAX),
            };
            // The newest of each hour or day is seen first.
            let is_first = step_ms.is_none_or(|ms| ms < u64::MAX && hours.insert((ms, at.0 / 1_000 / ms)));
            if place >= KEPT_MAX || (!is_first && place >= KEPT_ALWAYS) {
                surplus.insert(*name);
            }
        }
        let objects = || self.rows.iter().chain(&self.manifests);
        let newest = objects().map(|(_, listed)| listed.written).max().unwrap_or_default();
        let is_single = |name: &Name| self.rows.contains_key(name) != self.manifests.contains_key(name);
        let is_old = |listed: &Listed| newest.ms_since(listed.written) > UNFINISHED_MS;
        surplus.extend(objects().filter(|(name, listed)| is_single(name) && is_old(listed)).map(|(name, _)| *name));
        surplus
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Digest;

    const KEEP: Keep = Keep { all_ms: HOUR_MS, hourly_ms: DAY_MS, daily_ms: 30 * DAY_MS };
    const NOW: Micros = Micros(1_000 * 1_000 * DAY_MS);

    fn name(ago_ms: u64) -> Name {
        let at = Micros(NOW.0 - ago_ms * 1_000);
        Name { next_seq: at.0, at, hash: Digest([1; 16]) }
    }

    fn listed(written: Micros) -> Listed {
        Listed { name: String::new(), bytes: 1, written }
    }

    fn found(whole: impl IntoIterator<Item = Name>) -> Found {
        let objects: BTreeMap<Name, Listed> = whole.into_iter().map(|name| (name, listed(NOW))).collect();
        Found { manifests: objects.clone(), rows: objects }
    }

    #[test]
    fn all_of_an_hour_then_hourly_then_daily_then_nothing() {
        let quarter = HOUR_MS / 4;
        let mut found = found((0..40 * 96).map(|n| name(n * quarter)));
        let surplus = found.surplus(KEEP, u64::MAX, NOW);
        found.manifests.retain(|name, _| !surplus.contains(name));
        found.rows.retain(|name, _| !surplus.contains(name));
        let ages: Vec<u64> = found.whole(u64::MAX).map(|name| NOW.ms_since(name.at)).collect();
        let within = |from: u64, to: u64| ages.iter().filter(|age| (from..=to).contains(*age)).count();
        assert_eq!(within(0, HOUR_MS), 5);
        assert_eq!(within(HOUR_MS + 1, DAY_MS), 23);
        assert_eq!(within(DAY_MS + 1, 30 * DAY_MS), 29);
        assert_eq!(within(30 * DAY_MS + 1, u64::MAX), 0);
        assert!(found.surplus(KEEP, u64::MAX, NOW).is_empty(), "what stays stays");
    }

    #[test]
    fn the_two_newest_whole_ones_stay_and_single_objects_go_after_an_hour() {
        let old = [200, 190, 80, 70].map(|days| name(days * DAY_MS));
        let mut found = found(old);
        let written = |ago_ms: u64| listed(Micros(NOW.0 - ago_ms * 1_000));
        let [stale, coming, bare, ahead] = [60, 50, 40, 30].map(|days| name(days * DAY_MS));
        found.rows.extend([(stale, written(UNFINISHED_MS + 1)), (coming, written(UNFINISHED_MS))]);
        found.manifests.insert(bare, written(UNFINISHED_MS + 1));
        // A snapshot of more events than the log has is not counted, and not touched.
        found.rows.insert(ahead, written(0));
        found.manifests.insert(ahead, written(0));
        let end = coming.next_seq;
        assert_eq!(found.surplus(KEEP, end, NOW), [old[0], old[1], stale, bare].into());
        assert_eq!((found.ahead(end), found.whole(end).next()), (2, Some(&old[3])));
    }

    /// The story: all snapshots are kept for ten years, one each quarter of an hour. After a year and a half the store lists none
    /// that is written.
    #[test]
    fn no_more_snapshots_stay_than_a_listing_has() {
        let found = found((0..KEPT_MAX as u64 + 3).map(name));
        let oldest: BTreeSet<Name> = (0..3).map(|n| name(KEPT_MAX as u64 + n)).collect();
        assert_eq!(found.surplus(KEEP, u64::MAX, NOW), oldest);
        const { assert!(2 * KEPT_MAX < LISTED_MAX) }
    }

    /// The story: the clock was years ahead for half a day, and was set back. The snapshots of that time would stay for years.
    #[test]
    fn snapshots_of_a_clock_that_was_ahead_go_with_those_that_follow_them() {
        let quarters = |from: u64, to: u64| (from..to).map(|quarter| quarter * HOUR_MS / 4);
        let right = quarters(0, 200).chain(quarters(248, 400)).map(name);
        // By the events, they come between those of the right clock.
        let ahead = quarters(200, 248).map(|ago_ms| Name { at: NOW.plus_ms(3_650 * DAY_MS), ..name(ago_ms) });
        let mut found = found(right.chain(ahead));
        let surplus = found.surplus(KEEP, u64::MAX, NOW);
        found.manifests.retain(|name, _| !surplus.contains(name));
        let ahead = |name: &&Name| name.at > NOW;
        assert_eq!((found.manifests.keys().filter(ahead).count(), surplus.iter().filter(ahead).count()), (0, 48));
        // As many days are left as without them.
        let old = found.manifests.keys().filter(|name| NOW.ms_since(name.at) > DAY_MS && name.at <= NOW);
        assert_eq!(old.count(), 4);
        // As long as the clock is ahead, nothing is removed by it.
        let newest = Name { next_seq: NOW.0 + 1, at: NOW.plus_ms(3_650 * DAY_MS), ..name(0) };
        found.manifests.insert(newest, listed(NOW));
        found.rows.insert(newest, listed(NOW));
        found.rows.retain(|name, _| found.manifests.contains_key(name));
        assert!(found.surplus(KEEP, u64::MAX, NOW).is_empty());
    }

    #[test]
    fn a_clock_that_runs_ahead_removes_nothing() {
        let found = found((0..4).map(|n| name(n * HOUR_MS / 4)));
        assert!(found.surplus(KEEP, u64::MAX, NOW.plus_ms(400 * DAY_MS)).is_empty());
    }
}
