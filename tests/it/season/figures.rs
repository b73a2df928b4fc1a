//! Figures of a season, one for each day or each start, and whether they have stopped growing.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// By name, in order of time.
#[derive(PartialEq, Eq, Debug, Default)]
pub struct Figures(BTreeMap<&'static str, Vec<u64>>);

impl Figures {
    pub fn note<const N: usize>(&mut self, figures: [(&'static str, u64); N]) {
        for (name, figure) in figures {
            self.0.entry(name).or_default().push(figure);
        }
    }

    /// Those of a name; none when there are none.
    pub fn of(&self, name: &str) -> &[u64] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }

    /// Leaves a figure out.
    pub fn without(mut self, name: &str) -> Figures {
        self.0.remove(name);
        self
    }

    pub fn and(mut self, others: Figures) -> Figures {
        self.0.extend(others.0);
        self
    }

    /// Prints the mean and the peak of the middle third and of the last one, and answers the figures in which they differ by
    /// more than a twentieth. Of a figure in `by_peak` the peak alone is judged: it grows and shrinks in the course of several
    /// days, and its mean depends on when a third begins.
    pub fn differing(&self, by_peak: &[&str]) -> Figures {
        println!("  {:<34} {:>14} {:>14} {:>14} {:>14}", "", "middle third", "last third", "middle peak", "last peak");
        let mut differing = Figures::default();
        for (name, figures) in &self.0 {
            let third = figures.len() / 3;
            let (middle, last) = (&figures[third..2 * third], &figures[2 * third..3 * third]);
            let mean = |of: &[u64]| of.iter().sum::<u64>() / of.len() as u64;
            let peak = |of: &[u64]| of.iter().copied().max().unwrap();
            let [means, peaks] = [(mean(middle), mean(last)), (peak(middle), peak(last))];
            println!("  {name:<34} {:>14} {:>14} {:>14} {:>14}", means.0, means.1, peaks.0, peaks.1);
            let differs = |(before, after): (u64, u64)| before.abs_diff(after) * 20 > before.max(after);
            if differs(peaks) || differs(means) && !by_peak.contains(name) {
                differing.0.insert(name, figures.clone());
            }
        }
        differing
    }

    pub fn names(&self) -> Vec<&'static str> {
        self.0.keys().copied().collect()
    }
}

/// What one thread allocates and frees during a piece of work. What others do at the same time does not count.
#[derive(Clone, Copy, Default)]
pub struct Counted {
    pub allocations: u64,
    /// Bytes that are kept when it is over. Below zero when more was freed.
    pub kept: i64,
}

/// Does a piece of work, and counts.
pub fn counted<T>(work: impl FnOnce() -> T) -> (T, Counted) {
    let mut done = None;
    let info = allocation_counter::measure(|| done = Some(work()));
    (done.unwrap(), Counted { allocations: info.count_total, kept: info.bytes_current })
}

/// The bytes that are freed with a value.
pub fn freed<T>(value: T) -> u64 {
    let ((), Counted { kept, .. }) = counted(|| drop(value));
    u64::try_from(-kept).unwrap()
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

#[test]
fn what_grows_or_shrinks_by_more_than_a_twentieth_differs() {
    let mut figures = Figures::default();
    for day in 0..12 {
        let last = u64::from(day >= 8);
        figures.note([
            ("flat", 1_000 + day % 4),
            ("grows a little", 1_000 + 50 * last),
            ("grows", 1_000 + 60 * last),
            ("shrinks", 1_000 - 60 * last),
            ("has one peak", 1_000 + 100 * u64::from(day == 10)),
            ("grows in the first third", 1_000 * u64::from(day >= 4)),
            ("by its peak", if day % 4 == 3 { 1_000 } else { 500 + 100 * last }),
        ]);
    }
    let differing = figures.differing(&["by its peak"]);
    assert_eq!(differing.names(), ["grows", "has one peak", "shrinks"]);
    assert_eq!(figures.differing(&[]).names(), ["by its peak", "grows", "has one peak", "shrinks"]);
}
