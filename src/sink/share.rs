//! How the writers of a log share its partitions: each has as many as every other one, or one more.

use std::collections::BTreeSet;

/// One of the writers of a process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Writer {
    /// A random number that tells its process from all others.
    pub process: u128,
    /// What the numbers of its partitions leave when they are divided by the number of writers of a process. Only writers for
    /// which that is the same share partitions.
    pub rest: u32,
}

impl Writer {
    /// The rank of this one, whose id is `own`, among the living. Every second writer of a process has its rank from the other
    /// end, so that a process for which one partition less is left has one more of the others.
    pub fn rank<Id: Ord>(self, own: Id, mut living: BTreeSet<Id>) -> Rank {
        let before = living.range(..&own).count();
        living.insert(own);
        let writers = living.len();
        let own = if self.rest.is_multiple_of(2) { before } else { writers.saturating_sub(before).saturating_sub(1) };
        Rank { own, writers }
    }
}

/// Which one of the living writers of the same partitions a writer is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rank {
    own: usize,
    writers: usize,
}

impl Rank {
    /// That of a writer that knows of no other one.
    pub const ALONE: Rank = Rank { own: 0, writers: 1 };

    /// How many of so many partitions are the share of this writer. The shares of all writers are all partitions.
    pub(super) fn share(self, partitions: usize) -> usize {
        let rest_goes_to_the_first = self.writers.saturating_sub(1).saturating_sub(self.own);
        partitions.saturating_add(rest_goes_to_the_first).checked_div(self.writers).unwrap_or(partitions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_all_partitions_and_differ_by_one_at_most() {
        for (partitions, writers) in (0..40).flat_map(|partitions| (1..12).map(move |writers| (partitions, writers))) {
            let shares: Vec<usize> = (0..writers).map(|own| Rank { own, writers }.share(partitions)).collect();
            assert_eq!(shares.iter().sum::<usize>(), partitions, "{shares:?}");
            assert!(shares.iter().max().unwrap() - shares.iter().min().unwrap() <= 1, "{shares:?}");
        }
        assert_eq!(Rank::ALONE.share(7), 7);
    }

    #[test]
    fn of_two_processes_each_has_a_partition_of_two() {
        let share = |process, rest, living: [u32; 2]| {
            Writer { process: 0, rest }.rank(process, BTreeSet::from(living)).share(1)
        };
        for (first, second) in [(3, 8), (8, 3)] {
            let shares = [0, 1].map(|rest| share(first, rest, [first, second]));
            assert_eq!(shares.iter().sum::<usize>(), 1, "{shares:?}");
        }
        assert_eq!(
            Writer { process: 0, rest: 0 }.rank(5, BTreeSet::new()),
            Rank::ALONE,
            "its own sign is not seen yet"
        );
    }
}
