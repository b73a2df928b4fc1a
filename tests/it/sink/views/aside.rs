//! A log of which some events cannot be read: the sink sets them aside, and says what follows from the others.

use super::event::Event;
use super::market::PARTITIONS;
use crate::process::once_free;
use crate::turns;
use crate::world::World;
use headroom::limits::TURN_BYTES_MAX;
use headroom::log::{CommitOutcome, CommittedTail as _, OwnedPartition as _, PartitionLog as _, StoredEvent};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

const TURN: usize = 500;
/// Ends of lives that are lost, and begins, by pool: how many there were of the same kind before.
const LOST: &[(&str, &str, usize)] = &[
    ("PoolRetired", "north", 0),
    ("PoolRetired", "south", 0),
    ("PoolDefined", "east", 1),
    ("PoolDefined", "mill", 0),
    ("PoolDefined", "late", 0),
];
/// Of the other events one of so many is lost.
const OF: i64 = 29;

/// Which of these events, in the order of the log, are lost.
fn is_lost(events: &[Event]) -> Vec<bool> {
    let mut counts = BTreeMap::<(String, String), usize>::new();
    let is_lost = |event: &Event| {
        let pool = event.text("pool").unwrap_or_default().to_owned();
        let begins_or_ends = event.begins() || event.is("PoolRetired");
        let count = counts.entry((event.kind.clone(), pool.clone())).or_default();
        *count += usize::from(begins_or_ends);
        if begins_or_ends {
            return LOST.contains(&(&event.kind, &pool, *count - 1));
        }
        (event.seq * 31 + event.partition) % OF == 0
    };
    events.iter().map(is_lost).collect()
}

/// The events that are left.
pub fn left(events: Vec<Event>) -> Vec<Event> {
    let is_lost = is_lost(&events);
    events.into_iter().zip(is_lost).filter(|(_, is_lost)| !is_lost).map(|(event, _)| event).collect()
}

/// The log of this directory once more, with these events, which are all of it: in the place of those that are lost stands what
/// nobody can read.
pub fn spoilt(log: &Path, events: &[Event]) -> TempDir {
    let (dir, is_lost) = (tempfile::tempdir().unwrap(), is_lost(events));
    let [from, into] = [log, dir.path()].map(|path| once_free(|| World::open(path, PARTITIONS, None)).unwrap());
    let lost = events.iter().zip(is_lost).filter(|(_, is_lost)| *is_lost);
    let lost: Vec<(i64, i64)> = lost.map(|(event, _)| (event.partition, event.seq)).collect();
    for partition in 0..PARTITIONS {
        let mut owned = into.claim(partition, 0, &mut |_| Ok(0)).unwrap();
        let mut stored = Vec::<StoredEvent>::new();
        while (stored.len() as u64) < from.end(partition).unwrap() {
            stored.extend(from.read(partition, stored.len() as u64, TURN_BYTES_MAX).unwrap());
        }
        for event in &mut stored {
            if lost.contains(&(i64::from(partition), event.seq.cast_signed())) {
                event.bytes = b"no event".to_vec();
            }
        }
        for events in stored.chunks(TURN) {
            assert_eq!(owned.commit(Arc::new(turns::turn(Vec::new(), events))), CommitOutcome::Ok);
        }
    }
    dir
}
