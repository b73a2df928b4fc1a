//! The parts of a state that changed since the last checkpoint, each once.

use std::collections::{BTreeSet, btree_set};

/// The numbers of the parts. Most changes are in the part of the change before, which costs one comparison.
#[derive(Default)]
pub struct Changed<T> {
    parts: BTreeSet<T>,
    last: Option<T>,
}

impl<T: Ord + Copy> Changed<T> {
    /// Takes a part in.
    pub fn insert(&mut self, part: T) {
        if self.last != Some(part) {
            self.last = Some(part);
            self.parts.insert(part);
        }
    }

    /// Takes these parts in.
    pub fn extend(&mut self, parts: impl IntoIterator<Item = T>) {
        self.parts.extend(parts);
    }
}

impl<T> IntoIterator for Changed<T> {
    type Item = T;
    type IntoIter = btree_set::IntoIter<T>;

    /// The parts in the order of their numbers.
    fn into_iter(self) -> Self::IntoIter {
        self.parts.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_that_changed_is_there_once_and_in_order() {
        let mut changed = Changed::default();
        changed.extend([5, 3]);
        [3, 3, 9, 3, 1, 1].into_iter().for_each(|part| changed.insert(part));
        assert_eq!(changed.into_iter().collect::<Vec<_>>(), [1, 3, 5, 9]);
    }
}
