//! Quantities: amounts per dimension, and time. Arithmetic is checked; nothing wraps.

use super::ids::Dimension;
use crate::limits::{DIMENSIONS_MAX, UNITS_MAX};
use std::fmt;
use std::sync::Arc;

/// Microseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Micros(pub u64);

impl Micros {
    /// The end of time: a deadline that never passes.
    pub const MAX: Micros = Micros(i64::MAX as u64);

    /// This instant plus so many milliseconds, at most [`Micros::MAX`].
    pub fn plus_ms(self, ms: u64) -> Micros {
        Micros(self.0.saturating_add(ms.saturating_mul(1_000)).min(Micros::MAX.0))
    }

    /// This instant as a clock shows it that was set back by so many microseconds.
    #[must_use]
    pub fn set_back(self, by_us: u64) -> Micros {
        Micros(self.0.saturating_sub(by_us))
    }

    /// Milliseconds from `earlier` to this instant; 0 when it is not earlier.
    pub fn ms_since(self, earlier: Micros) -> u64 {
        self.0.saturating_sub(earlier.0) / 1_000
    }

    /// The same, with a begun millisecond counted whole; the most that can be counted where it is longer.
    pub fn held_ms_since(self, earlier: Micros) -> u32 {
        u32::try_from(self.0.saturating_sub(earlier.0).div_ceil(1_000)).unwrap_or(u32::MAX)
    }
}

/// Units per dimension, sorted by dimension, each dimension once. A copy shares them, and is one word: every reservation
/// holds some.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Amounts(Arc<Box<[(Dimension, u64)]>>);

impl Amounts {
    /// Sorts what it is given; `None` when a dimension stands twice.
    pub fn new(amounts: impl IntoIterator<Item = (Dimension, u64)>) -> Option<Amounts> {
        let mut sorted: Vec<_> = amounts.into_iter().collect();
        sorted.sort_unstable_by_key(|(d, _)| *d);
        let twice = sorted.iter().zip(sorted.iter().skip(1)).any(|((a, _), (b, _))| a == b);
        (!twice).then(|| Amounts(Arc::new(sorted.into())))
    }

    /// Units in this dimension.
    pub fn get(&self, dimension: Dimension) -> Option<u64> {
        self.0.iter().find(|(d, _)| *d == dimension).map(|(_, units)| *units)
    }

    /// Every dimension with its units, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (Dimension, u64)> + '_ {
        self.0.iter().copied()
    }

    /// How many dimensions there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether there are as many dimensions as may be named together, each with at least `least` units and no more than
    /// there may be.
    pub fn is_within(&self, least: u64) -> bool {
        let bounded = !self.is_empty() && self.len() <= DIMENSIONS_MAX;
        bounded && self.iter().all(|(_, units)| (least..=UNITS_MAX).contains(&units))
    }

    /// The same dimensions, each with `f` of its units.
    pub fn map(&self, f: impl Fn(Dimension, u64) -> u64) -> Amounts {
        Amounts(Arc::new(self.0.iter().map(|(d, units)| (*d, f(*d, *units))).collect()))
    }

    /// The same dimensions, each with `f` of its units, or the first dimension for which there is none.
    ///
    /// # Errors
    /// The dimension for which `f` has no answer.
    pub fn try_map(&self, f: impl Fn(Dimension, u64) -> Option<u64>) -> Result<Amounts, Dimension> {
        let amounts = self.0.iter().map(|(d, units)| f(*d, *units).map(|n| (*d, n)).ok_or(*d));
        Ok(Amounts(Arc::new(amounts.collect::<Result<_, _>>()?)))
    }
}

impl Amounts {
    /// What is left of these when `before` is given back and `after` is taken, in the same dimensions.
    ///
    /// # Errors
    /// The first dimension in which more is given back than there is.
    pub fn exchange(&self, before: &Amounts, after: &Amounts) -> Result<Amounts, Dimension> {
        let of = |amounts: &Amounts, d| amounts.get(d).unwrap_or_default();
        self.try_map(|d, units| Some(units.checked_sub(of(before, d))?.saturating_add(of(after, d))))
    }

    /// Every dimension in which these are more than those before, with how many more.
    pub fn beyond<'a>(&'a self, before: &'a Amounts) -> impl Iterator<Item = (Dimension, u64)> + 'a {
        let more = |(d, units): (Dimension, u64)| (d, units.saturating_sub(before.get(d).unwrap_or_default()));
        self.iter().map(more).filter(|(_, more)| *more > 0)
    }
}

impl fmt::Debug for Amounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}
