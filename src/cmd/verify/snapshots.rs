//! The snapshots of a partition: whether each is whole, whether its place in the log is where it says, and whether it holds the
//! state to which the events lead. While the events are read, the digest of the fold is kept for each place that has a snapshot;
//! afterwards one snapshot after the other is read, so that one is in memory at a time.

use crate::cmd::shared::fold::Folding;
use crate::domain::Digest;
use crate::owner::begin::Examined;
use crate::replica::{PartitionState, Position};
use crate::store::{SnapshotName, StoreError};
use crate::time::Shown;
use std::collections::BTreeMap;

/// Most snapshots of a partition of which it is told what is wrong; all of them are counted.
const BAD_KEPT_MAX: usize = 100;

/// The snapshots of a partition, and what the events lead to where they are.
pub(super) struct Snapshots<'a> {
    folding: &'a Folding<'a>,
    partition: u32,
    /// The oldest first, as the place listed them before the events were read.
    names: Result<Vec<SnapshotName>, StoreError>,
    /// The first one that the fold has not passed.
    next: usize,
    /// The fold at the places of snapshots, by the event that is next.
    folded: BTreeMap<u64, (Position, Digest)>,
}

/// A snapshot that is of no use.
pub(super) struct BadSnapshot {
    pub(super) partition: u32,
    /// The name of its manifest; that of its rows differs in the ending.
    pub(super) object: String,
    /// Whether it is whole, and holds more events than the log has.
    pub(super) is_ahead: bool,
    pub(super) why: String,
}

/// What was found of a partition's snapshots.
#[derive(Default)]
pub(super) struct SnapshotFindings {
    pub(super) partition: u32,
    /// How many are whole and not contradicted by the log.
    pub(super) sound: u64,
    /// How many of these hold the state to which the events lead. The others lie before the first event that was read.
    pub(super) compared: u64,
    /// How many are of no use, and the first of them.
    pub(super) bad_count: u64,
    pub(super) bad: Vec<BadSnapshot>,
    /// Why some were not read, or not compared with the log.
    pub(super) unread: Option<String>,
}

impl<'a> Snapshots<'a> {
    /// Asks the place which snapshots it has. The log is read later: what they hold was committed before.
    pub(super) fn list(folding: &'a Folding<'a>, partition: u32) -> Snapshots<'a> {
        let names = folding.snapshots(partition);
        Snapshots { folding, partition, names, next: 0, folded: BTreeMap::new() }
    }

    /// Whether the place says that it has no snapshot of the partition.
    pub(super) fn are_none(&self) -> bool {
        self.names.as_ref().is_ok_and(Vec::is_empty)
    }

    /// Keeps what the events have led to, if there is a snapshot of this place.
    pub(super) fn reach(&mut self, state: &PartitionState) {
        let (names, position) = (self.names.as_deref().unwrap_or_default(), *state.position());
        let passed = |name: &&SnapshotName| name.next_seq < position.next_seq;
        let passed = names.iter().skip(self.next).take_while(passed).count();
        self.next = self.next.saturating_add(passed);
        if names.get(self.next).is_some_and(|name| name.next_seq == position.next_seq) {
            self.folded.insert(position.next_seq, (position, state.digest()));
        }
    }

    /// Reads all of them.
    pub(super) fn judge(self) -> SnapshotFindings {
        let mut found = SnapshotFindings { partition: self.partition, ..SnapshotFindings::default() };
        let mut unread = 0_u64;
        let names = match &self.names {
            Ok(names) => names.as_slice(),
            Err(error) => {
                found.unread = Some(format!("its snapshots cannot be listed: {error}"));
                return found;
            }
        };
        for name in names {
            match self.folding.examine(self.partition, name) {
                Ok(Examined::Sound(state)) => self.compare(name, &state, &mut found),
                Ok(Examined::Ahead(why)) => found.tell(name, true, why),
                // Its owner may have removed it since it was listed.
                Ok(Examined::Wrong(_)) if self.is_gone(name) => {}
                Ok(Examined::Wrong(why)) => found.tell(name, false, why),
                Err(error) => {
                    unread = unread.saturating_add(1);
                    found.unread.get_or_insert_with(|| format!("its snapshot {}: {error}", name.text));
                }
            }
        }
        if let Some(told) = found.unread.as_mut().filter(|_| unread > 1) {
            told.push_str(&format!("; nor are {} more of its snapshots proven", unread.saturating_sub(1)));
        }
        found
    }

    /// Compares a snapshot that is whole with the fold, where the fold has passed its place.
    fn compare(&self, name: &SnapshotName, state: &PartitionState, found: &mut SnapshotFindings) {
        let position = state.position();
        let Some((at, folded)) = self.folded.get(&position.next_seq) else {
            found.sound = found.sound.saturating_add(1);
            return;
        };
        let digest = state.digest();
        if position != at {
            let told = |Position { next_input, epoch, decided_at, .. }: &Position| {
                format!("next input {next_input}, epoch {epoch}, {}", Shown(*decided_at))
            };
            found.tell(name, false, format!("it says {}; the events before it lead to {}", told(position), told(at)));
        } else if digest != *folded {
            let why = format!("its state has the digest {digest}, and the events before it lead to {folded}");
            found.tell(name, false, why);
        } else {
            found.sound = found.sound.saturating_add(1);
            found.compared = found.compared.saturating_add(1);
        }
    }

    fn is_gone(&self, name: &SnapshotName) -> bool {
        self.folding.snapshots(self.partition).is_ok_and(|names| !names.contains(name))
    }
}

impl SnapshotFindings {
    fn tell(&mut self, name: &SnapshotName, is_ahead: bool, why: String) {
        self.bad_count = self.bad_count.saturating_add(1);
        if self.bad.len() < BAD_KEPT_MAX {
            self.bad.push(BadSnapshot { partition: self.partition, object: name.text.clone(), is_ahead, why });
        }
    }
}
