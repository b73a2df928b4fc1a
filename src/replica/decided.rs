//! The ids of the commands that were decided a short while ago, so that a copy of a command decides nothing. They are
//! kept in spans of log time. A span is dropped as a whole, so forgetting costs nothing. A span consists of leaves,
//! which are shared with the checkpoint that is being written. A full leaf does not change any more.

use super::index::may_be_in;
use crate::domain::{CommandId, Micros};
use crate::limits::DECIDED_LEAF_IDS;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use std::collections::VecDeque;
use std::hint::black_box;
use std::sync::Arc;

/// Ids in the order in which they were decided.
pub type Leaf = Vec<CommandId>;

/// Names a leaf: until when its ids are kept, and its number within that span.
pub type LeafNo = (Micros, u32);

/// Ids that are dropped together.
struct Span {
    until: Micros,
    leaves: Vec<Arc<Leaf>>,
    /// The position of each id within the span.
    index: HashTable<u32>,
}

/// Every id that is kept, in spans of rising time.
#[derive(Default)]
pub struct Decided(VecDeque<Span>);

impl Decided {
    /// Puts stored leaves back.
    ///
    /// # Errors
    /// What does not fit together, in words.
    pub fn restore(mut stored: Vec<(LeafNo, Leaf)>) -> Result<Decided, String> {
        stored.sort_unstable_by_key(|(no, _)| *no);
        let mut decided = Decided::default();
        for ((until, no), ids) in stored {
            for id in ids {
                let put = decided.put(id, until);
                if put != Some((until, no)) {
                    return Err(format!("the id {:032x} does not belong to leaf {no} of {}", id.0, until.0));
                }
            }
        }
        Ok(decided)
    }

    /// A copy that shares the leaves, and finds no id.
    pub fn frozen(&self) -> Decided {
        let of_span =
            |Span { until, leaves, .. }: &Span| Span { until: *until, leaves: leaves.clone(), index: HashTable::new() };
        Decided(self.0.iter().map(of_span).collect())
    }

    /// Whether the command of this id was decided, as far as ids are kept at `now`.
    pub fn holds(&self, id: CommandId, now: Micros) -> bool {
        let hash = hash(id);
        self.0.iter().rev().take_while(|span| span.until > now).any(|span| span.find(id, hash))
    }

    /// Reads what putting this id will read.
    pub fn look_ahead(&self, id: CommandId) {
        black_box(self.0.back().and_then(|span| may_be_in(&span.index, hash(id))));
    }

    /// The number of ids that are kept at `now`.
    pub fn count(&self, now: Micros) -> usize {
        self.kept(now).map(|span| span.index.len()).fold(0, usize::saturating_add)
    }

    /// Keeps an id until this time. Answers the leaf that holds it; none when the id was there already.
    pub fn put(&mut self, id: CommandId, until: Micros) -> Option<LeafNo> {
        let at = self.0.partition_point(|span| span.until < until);
        if self.0.get(at).is_none_or(|span| span.until != until) {
            self.0.insert(at, Span { until, leaves: Vec::new(), index: HashTable::new() });
        }
        let no = self.0.get_mut(at)?.put(id)?;
        Some((until, no))
    }

    /// Drops what is no longer kept at `now`. Answers the leaves that are gone.
    pub fn forget(&mut self, now: Micros) -> Vec<LeafNo> {
        let mut gone = Vec::new();
        while self.0.front().is_some_and(|span| span.until <= now) {
            gone.extend(self.0.pop_front().iter().flat_map(Span::numbers));
        }
        gone
    }

    /// Keeps nothing for longer than until this time. Answers the leaves that are gone or changed.
    pub fn keep_no_later(&mut self, until: Micros) -> Vec<LeafNo> {
        let late = self.0.split_off(self.0.partition_point(|span| span.until <= until));
        let mut changed: Vec<_> = late.iter().flat_map(Span::numbers).collect();
        for id in late.iter().flat_map(|span| &span.leaves).flat_map(|leaf| leaf.iter()) {
            changed.extend(self.put(*id, until));
        }
        changed
    }

    /// The leaf of this number; none where it was dropped.
    pub fn leaf(&self, (until, no): LeafNo) -> Option<&Arc<Leaf>> {
        let at = self.0.binary_search_by_key(&until, |span| span.until).ok()?;
        self.0.get(at)?.leaves.get(no as usize)
    }

    /// What is kept at `now`, in order of time and id.
    pub fn sorted(&self, now: Micros) -> impl Iterator<Item = (Micros, CommandId)> {
        self.kept(now).flat_map(|span| {
            let mut ids: Vec<_> = span.leaves.iter().flat_map(|leaf| leaf.iter().copied()).collect();
            ids.sort_unstable();
            ids.into_iter().map(|id| (span.until, id))
        })
    }

    /// The numbers of all leaves, in order.
    pub fn leaves(&self) -> impl Iterator<Item = LeafNo> {
        self.0.iter().flat_map(Span::numbers)
    }

    fn kept(&self, now: Micros) -> impl Iterator<Item = &Span> {
        self.0.iter().filter(move |span| span.until > now)
    }
}

impl Span {
    fn find(&self, id: CommandId, hash: u64) -> bool {
        self.index.find(hash, |position| self.at(*position) == Some(id)).is_some()
    }

    fn at(&self, position: u32) -> Option<CommandId> {
        at(&self.leaves, position)
    }

    fn put(&mut self, id: CommandId) -> Option<u32> {
        let position = u32::try_from(self.index.len()).expect("DECIDED_COMMANDS_MAX keeps positions within u32");
        let id_at = |position: &u32| at(&self.leaves, *position);
        let is_it = |position: &u32| id_at(position) == Some(id);
        let Entry::Vacant(place) = self.index.entry(hash(id), is_it, |position| id_at(position).map_or(0, hash)) else {
            return None;
        };
        place.insert(position);
        if self.leaves.last().is_none_or(|leaf| leaf.len() >= DECIDED_LEAF_IDS) {
            self.leaves.push(Arc::default());
        }
        Arc::make_mut(self.leaves.last_mut()?).push(id);
        u32::try_from(self.leaves.len().saturating_sub(1)).ok()
    }

    fn numbers(&self) -> impl Iterator<Item = LeafNo> + use<> {
        let until = self.until;
        (0..self.leaves.len()).filter_map(move |no| Some((until, u32::try_from(no).ok()?)))
    }
}

fn at(leaves: &[Arc<Leaf>], position: u32) -> Option<CommandId> {
    let position = position as usize;
    leaves.get(position / DECIDED_LEAF_IDS)?.get(position % DECIDED_LEAF_IDS).copied()
}

/// An id consists of a random number and a counter. Mixing them makes both the highest and the lowest bits differ.
fn hash(id: CommandId) -> u64 {
    let (high, low) = ((id.0 >> 64) as u64, id.0 as u64);
    let mixed = (low ^ high.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ (mixed >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_kept_in_leaves_until_their_span_is_over() {
        let mut decided = Decided::default();
        let ids = || (0..10_000).map(|n| CommandId(n << 60 | n));
        let (early, late) = (Micros(3), Micros(6));
        ids().for_each(|id| assert!(decided.put(id, if id.0 % 2 == 0 { early } else { late }).is_some()));
        assert_eq!(decided.put(CommandId(0), early), None);
        assert_eq!([2, 3, 5, 6].map(|now| decided.count(Micros(now))), [10_000, 5_000, 5_000, 0]);
        let held = |decided: &Decided, now| ids().filter(|id| decided.holds(*id, now)).count();
        assert_eq!([2, 3, 5, 6].map(|now| held(&decided, Micros(now))), [10_000, 5_000, 5_000, 0]);
        let leaves: Vec<_> = decided.leaves().collect();
        assert_eq!(leaves, [(early, 0), (early, 1), (late, 0), (late, 1)]);
        let stored = || leaves.iter().map(|no| (*no, decided.leaf(*no).unwrap().to_vec())).rev();
        let mut restored = Decided::restore(stored().collect()).unwrap();
        assert_eq!([2, 3].map(|now| held(&restored, Micros(now))), [10_000, 5_000]);
        assert_eq!(restored.put(CommandId(7 << 90), late), Some((late, 1)));
        assert!(Decided::restore(stored().skip(1).collect()).is_ok(), "the last leaf may not be there yet");
        assert!(Decided::restore(stored().take(3).collect()).is_err(), "an earlier one is missing");
        let mut hurried = Decided::restore(stored().collect()).unwrap();
        assert_eq!(hurried.keep_no_later(Micros(6)), []);
        let mut changed = hurried.keep_no_later(Micros(4));
        changed.dedup();
        assert_eq!(changed, [(late, 0), (late, 1), (Micros(4), 0), (Micros(4), 1)]);
        assert_eq!([2, 3, 4].map(|now| held(&hurried, Micros(now))), [10_000, 5_000, 0]);
        assert_eq!(decided.forget(Micros(2)), []);
        assert_eq!(decided.forget(Micros(3)), [(early, 0), (early, 1)]);
        assert_eq!((decided.leaf((early, 0)).is_none(), held(&decided, Micros(0))), (true, 5_000));
    }
}
