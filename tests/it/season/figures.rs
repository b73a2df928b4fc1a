//! Figures of a season, one for each day or each start, and whether they have stopped growing.

use crate::ALLOCATOR;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// By name, in order of time.
pub struct Figures(BTreeMap<&'static str, Vec<u64>>);

impl Figures {
    /// With room for so many of each: what keeps them must not grow among what they count.
    pub fn with_room(names: &[&'static str], count: usize) -> Figures {
        Figures(names.iter().map(|name| (*name, Vec::with_capacity(count))).collect())
    }

    pub fn note<const N: usize>(&mut self, figures: [(&'static str, u64); N]) {
        for (name, figure) in figures {
            self.0.get_mut(name).unwrap_or_else(|| panic!("{name} is not expected")).push(figure);
        }
    }

    pub fn of(&self, name: &str) -> &[u64] {
        &self.0[name]
    }

    /// Prints the mean and the peak of the middle third and of the last one, and answers what of it differs by more than a
    /// twentieth. Of a figure in `by_peak` the peak alone is judged: it grows and shrinks in the course of several days, and its
    /// mean depends on when a third begins. Of one in `by_least` the least alone: what other threads hold or free while it is
    /// taken only adds to it.
    pub fn judge(&self, by_peak: &[&str], by_least: &[&str]) -> Vec<String> {
        println!("  {:<34} {:>14} {:>14} {:>14} {:>14}", "", "middle third", "last third", "middle peak", "last peak");
        let mut differing = Vec::new();
        for (name, figures) in &self.0 {
            let third = figures.len() / 3;
            let (middle, last) = (&figures[third..2 * third], &figures[2 * third..3 * third]);
            let mean = |of: &[u64]| of.iter().sum::<u64>() / of.len() as u64;
            let peak = |of: &[u64]| of.iter().copied().max().unwrap();
            let least = |of: &[u64]| of.iter().copied().min().unwrap();
            let pairs = [(mean(middle), mean(last)), (peak(middle), peak(last))];
            let leasts = [(least(middle), least(last))];
            let [(middle, last), (middle_peak, last_peak)] = pairs;
            println!("  {name:<34} {middle:>14} {last:>14} {middle_peak:>14} {last_peak:>14}");
            let judged = match (by_peak.contains(name), by_least.contains(name)) {
                (true, _) => &pairs[1..],
                (_, true) => &leasts[..],
                _ => &pairs[..],
            };
            if judged.iter().any(|(before, after)| before.abs_diff(*after) * 20 > *before.max(after)) {
                differing.push(format!("{name}: {figures:?}"));
            }
        }
        differing
    }
}

/// Bytes that this process has allocated and not freed.
pub fn allocated() -> u64 {
    let stats = ALLOCATOR.stats();
    (stats.bytes_allocated - stats.bytes_deallocated) as u64
}

/// How many allocations this process has made.
pub fn allocations() -> u64 {
    let stats = ALLOCATOR.stats();
    (stats.allocations + stats.reallocations) as u64
}

/// Bytes of all files in a folder and below.
pub fn bytes_in(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().map(Result::unwrap);
    entries
        .map(|entry| match entry.metadata().unwrap() {
            is if is.is_dir() => bytes_in(&entry.path()),
            is => is.len(),
        })
        .sum()
}
