//! What is in a folder of snapshots, and what of it is not kept: all snapshots of the last hour stay, then the last one of
//! each hour, then the last one of each day.

use super::name::{Name, Part};
use super::{Listed, Objects};
use crate::config::Keep;
use crate::domain::Micros;
use crate::store::StoreError;
use std::collections::{BTreeMap, BTreeSet};

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;
/// The newest snapshots stay, however old they are.
const KEPT_ALWAYS: usize = 2;
/// Rows without a manifest stay for so long: somebody may be about to write it.
const UNFINISHED_MS: u64 = HOUR_MS;

/// The objects of one partition.
#[derive(Default)]
pub(super) struct Found {
    /// The snapshots, which have both objects or only the manifest.
    snapshots: BTreeSet<Name>,
    rows: BTreeMap<Name, Listed>,
}

impl Found {
    /// Looks into a folder.
    ///
    /// # Errors
    /// Those of the store.
    pub(super) fn look(objects: &dyn Objects, folder: &str) -> Result<Found, StoreError> {
        let mut found = Found::default();
        for listed in objects.list(folder)? {
            match Name::parse(&listed.name) {
                Some((name, Part::Manifest)) => drop(found.snapshots.insert(name)),
                Some((name, Part::Rows)) => drop(found.rows.insert(name, listed)),
                None => {}
            }
        }
        Ok(found)
    }

    /// The snapshots, the newest first.
    pub(super) fn newest_first(&self) -> impl Iterator<Item = &Name> {
        self.snapshots.iter().rev()
    }

    /// Counts a snapshot that was written after the look.
    pub(super) fn add(&mut self, name: Name) {
        self.snapshots.insert(name);
    }

    /// The length of a snapshot's rows, if the store has listed them.
    pub(super) fn length(&self, name: &Name) -> Option<u64> {
        self.rows.get(name).map(|listed| listed.bytes)
    }

    /// The snapshots and the rows without a manifest that are not kept.
    pub(super) fn surplus(&self, keep: Keep, wall: Micros) -> BTreeSet<Name> {
        let mut hours = BTreeSet::new();
        let mut surplus = BTreeSet::new();
        for (place, name) in self.newest_first().enumerate() {
            let age = wall.ms_since(name.at);
            let step_ms = match age {
                _ if age <= keep.all_ms => None,
                _ if age <= keep.hourly_ms => Some(HOUR_MS),
                _ if age <= keep.daily_ms => Some(DAY_MS),
                _ => Some(u64::MAX),
            };
            // The newest of each hour or day is seen first.
            let is_first = step_ms.is_none_or(|ms| ms < u64::MAX && hours.insert((ms, name.at.0 / 1_000 / ms)));
            if !is_first && place >= KEPT_ALWAYS {
                surplus.insert(*name);
            }
        }
        let unfinished = self
            .rows
            .iter()
            .filter(|(name, listed)| !self.snapshots.contains(name) && wall.ms_since(listed.written) > UNFINISHED_MS);
        surplus.extend(unfinished.map(|(name, _)| *name));
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

    #[test]
    fn all_of_an_hour_then_hourly_then_daily_then_nothing() {
        let quarter = HOUR_MS / 4;
        let snapshots: BTreeSet<Name> = (0..40 * 96).map(|n| name(n * quarter)).collect();
        let mut found = Found { snapshots, rows: BTreeMap::new() };
        let surplus = found.surplus(KEEP, NOW);
        found.snapshots.retain(|name| !surplus.contains(name));
        let ages: Vec<u64> = found.newest_first().map(|name| NOW.ms_since(name.at)).collect();
        let within = |from: u64, to: u64| ages.iter().filter(|age| (from..=to).contains(*age)).count();
        assert_eq!(within(0, HOUR_MS), 5);
        assert_eq!(within(HOUR_MS + 1, DAY_MS), 23);
        assert_eq!(within(DAY_MS + 1, 30 * DAY_MS), 29);
        assert_eq!(within(30 * DAY_MS + 1, u64::MAX), 0);
        assert!(found.surplus(KEEP, NOW).is_empty(), "what stays stays");
    }

    #[test]
    fn the_two_newest_stay_and_rows_without_a_manifest_go_after_an_hour() {
        let old = [100, 90, 80, 70].map(|days| name(days * DAY_MS));
        let listed = |written| Listed { name: String::new(), bytes: 1, written };
        let (stale, coming) = (name(60 * DAY_MS), name(50 * DAY_MS));
        let hours_ago = |ms: u64| Micros(NOW.0 - ms * 1_000);
        let rows = [(stale, listed(hours_ago(UNFINISHED_MS + 1))), (coming, listed(hours_ago(UNFINISHED_MS)))];
        let found = Found { snapshots: old.into(), rows: rows.into() };
        assert_eq!(found.surplus(KEEP, NOW), [old[0], old[1], stale].into());
    }
}
