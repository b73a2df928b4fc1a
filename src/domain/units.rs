//! Quantities: amounts per dimension, and points in time. Arithmetic is checked or saturates; nothing wraps around.

use super::ids::Dimension;
use crate::limits::{DIMENSIONS_MAX, UNITS_MAX};
use std::fmt;
use std::sync::Arc;

/// Microseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Micros(pub u64);

impl Micros {
    /// The latest time there is: a deadline that never passes.
    pub const MAX: Micros = Micros(i64::MAX as u64);

    /// This time plus `ms` milliseconds, at most [`Micros::MAX`].
    pub fn plus_ms(self, ms: u64) -> Micros {
        Micros(self.0.saturating_add(ms.saturating_mul(1_000)).min(Micros::MAX.0))
    }

    /// What a clock shows at this time after it was set back by so many microseconds; at least 0.
    #[must_use]
    pub fn set_back(self, by_us: u64) -> Micros {
        Micros(self.0.saturating_sub(by_us))
    }

    /// Milliseconds from `earlier` to this time; 0 when this time is not later.
    pub fn ms_since(self, earlier: Micros) -> u64 {
        self.0.saturating_sub(earlier.0) / 1_000
    }

    /// The same, but a begun millisecond counts as a whole one. At most what 32 bits hold.
    pub fn held_ms_since(self, earlier: Micros) -> u32 {
        u32::try_from(self.0.saturating_sub(earlier.0).div_ceil(1_000)).unwrap_or(u32::MAX)
    }
}

/// Units per dimension, sorted by dimension, each dimension once. Cloning shares them, and a value is one word long,
/// because every reservation holds some. Without a dimension there is nothing to share.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Amounts(Option<Arc<Units>>);

type Units = Box<[(Dimension, u64)]>;

impl Amounts {
    /// Sorts the pairs; `None` when a dimension comes twice.
    pub fn new(amounts: impl IntoIterator<Item = (Dimension, u64)>) -> Option<Amounts> {
        let mut sorted: Vec<_> = amounts.into_iter().collect();
        sorted.sort_unstable_by_key(|(d, _)| *d);
        Amounts::sorted(sorted)
    }

    /// These pairs; `None` when they are not sorted, or a dimension comes twice.
    pub fn sorted(pairs: Vec<(Dimension, u64)>) -> Option<Amounts> {
        pairs.is_sorted_by(|(a, _), (b, _)| a < b).then(|| Amounts::of(pairs.into()))
    }

    /// These units, which are sorted by dimension, each dimension once.
    fn of(units: Units) -> Amounts {
        Amounts(Some(units).filter(|units| !units.is_empty()).map(Arc::new))
    }

    fn units(&self) -> &[(Dimension, u64)] {
        self.0.as_ref().map_or(&[], |units| units)
    }

    /// The units of this dimension; `None` when it is not there.
    pub fn get(&self, dimension: Dimension) -> Option<u64> {
        self.units().iter().find(|(d, _)| *d == dimension).map(|(_, units)| *units)
    }

    /// Every dimension with its units, sorted by dimension.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (Dimension, u64)> + '_ {
        self.units().iter().copied()
    }

    /// Number of dimensions.
    pub fn len(&self) -> usize {
        self.units().len()
    }

    /// Whether there is no dimension.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Whether there is at least one dimension and no more than [`crate::limits::DIMENSIONS_MAX`], each with units
    /// from `least` up to [`crate::limits::UNITS_MAX`].
    pub fn is_within(&self, least: u64) -> bool {
        let bounded = !self.is_empty() && self.len() <= DIMENSIONS_MAX;
        bounded && self.iter().all(|(_, units)| (least..=UNITS_MAX).contains(&units))
    }

    /// Keeps the dimensions and replaces the units of each with the answer of `f`.
    pub fn map(&self, f: impl Fn(Dimension, u64) -> u64) -> Amounts {
        Amounts::of(self.units().iter().map(|(d, units)| (*d, f(*d, *units))).collect())
    }

    /// The same, and stops at the first dimension for which `f` answers `None`.
    ///
    /// # Errors
    /// The dimension for which `f` answered `None`.
    pub fn try_map(&self, f: impl Fn(Dimension, u64) -> Option<u64>) -> Result<Amounts, Dimension> {
        let amounts = self.units().iter().map(|(d, units)| f(*d, *units).map(|n| (*d, n)).ok_or(*d));
        Ok(Amounts::of(amounts.collect::<Result<_, _>>()?))
    }
}

impl Amounts {
    /// These amounts after `before` is given back and `after` is taken. The dimensions stay those of `self`.
    ///
    /// # Errors
    /// The first dimension in which more would be given back than there is.
    pub fn exchange(&self, before: &Amounts, after: &Amounts) -> Result<Amounts, Dimension> {
        let of = |amounts: &Amounts, d| amounts.get(d).unwrap_or_default();
        self.try_map(|d, units| Some(units.checked_sub(of(before, d))?.saturating_add(of(after, d))))
    }

    /// Whether [`Amounts::exchange`] leads to `to`.
    pub fn exchanges_to(&self, before: &Amounts, after: &Amounts, to: &Amounts) -> bool {
        let of = |amounts: &Amounts, d| amounts.get(d).unwrap_or_default();
        let left = |d, units: u64| Some(units.checked_sub(of(before, d))?.saturating_add(of(after, d)));
        self.len() == to.len()
            && self.iter().zip(to.iter()).all(|((d, units), (e, to))| d == e && left(d, units) == Some(to))
    }

    /// Every dimension in which these amounts exceed `before`, with the difference.
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
