//! A change of a pool. Parts that the change does not name stay as they are.

use super::ids::Dimension;
use super::name::Name;
use super::outcome::Reason;
use super::pool::{Mode, PoolRules, PoolSpec, Window};
use super::units::{Amounts, Micros};
use crate::limits::{AREAS_MAX, DIMENSIONS_MAX, LABELS_MAX, UNITS_MAX};
use std::collections::{BTreeMap, BTreeSet};

/// A change of limits. Dimensions that it does not name keep their limits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LimitChange {
    /// The new limits.
    To(Amounts),
    /// Differences to the limits, in units.
    By(Vec<(Dimension, i64)>),
}

/// A change of a part that a pool may lack.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Edit<T> {
    /// Keeps the part.
    #[default]
    Keep,
    /// Removes the part.
    Clear,
    /// Replaces the part.
    To(T),
}

impl<T> Edit<T> {
    /// The part after the change, given the part before it.
    pub fn of(self, before: Option<T>) -> Option<T> {
        match self {
            Edit::Keep => before,
            Edit::Clear => None,
            Edit::To(after) => Some(after),
        }
    }
}

/// A change of a window. Parts that it does not name stay.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct WindowChange {
    /// The new start of the slot.
    pub start: Option<Micros>,
    /// The new end of the slot.
    pub end: Option<Micros>,
    /// The new cutoff.
    pub cutoff: Edit<Micros>,
}

/// A change of a pool's rules. Rules that it does not name stay.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RuleChange {
    /// The longest time that a hold gets at once, in milliseconds.
    pub hold_ttl_max_ms: Edit<u64>,
    /// The longest whole life of a hold, in milliseconds.
    pub hold_life_max_ms: Edit<u64>,
    /// Whether an order may have at most one live reservation in the pool.
    pub unique_order_ref: Option<bool>,
    /// How long after the end of its window the pool retires by itself, in milliseconds.
    pub retire_after_ms: Edit<u64>,
}

impl RuleChange {
    /// The rules after the change.
    pub(super) fn of(self, before: PoolRules) -> PoolRules {
        PoolRules {
            hold_ttl_max_ms: self.hold_ttl_max_ms.of(before.hold_ttl_max_ms),
            hold_life_max_ms: self.hold_life_max_ms.of(before.hold_life_max_ms),
            unique_order_ref: self.unique_order_ref.unwrap_or(before.unique_order_ref),
            retire_after_ms: self.retire_after_ms.of(before.retire_after_ms),
        }
    }
}

/// A change of any parts of a pool. Parts that it does not name stay.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PoolChange {
    /// The change of limits, for dimensions that the pool has.
    pub limits: Option<LimitChange>,
    /// The new areas; they replace all areas.
    pub areas: Option<BTreeSet<Name>>,
    /// The change of the time slot.
    pub window: Edit<WindowChange>,
    /// Labels by name: the new value, or `None` to remove the label.
    pub labels: BTreeMap<Name, Option<Name>>,
    /// The new mode.
    pub mode: Option<Mode>,
    /// The change of the rules.
    pub rules: RuleChange,
}

/// The reason why a change is refused, and the dimension that decided it.
type Refused = (Reason, Option<Dimension>);

impl LimitChange {
    /// Whether a caller can mean the change: it names at least one dimension, and its figures are in range.
    pub fn is_well_formed(&self) -> bool {
        match self {
            LimitChange::To(to) => to.is_within(0),
            LimitChange::By(by) => {
                let bounded = !by.is_empty() && by.len() <= DIMENSIONS_MAX;
                bounded && Amounts::new(by.iter().map(|(d, _)| (*d, 0))).is_some()
            }
        }
    }

    /// The limits after the change.
    ///
    /// # Errors
    /// The first dimension that the pool does not have, or whose limit would leave its range.
    pub(super) fn of(&self, limits: &Amounts) -> Result<Amounts, Refused> {
        let unknown = match self {
            LimitChange::To(to) => to.iter().map(|(d, _)| d).find(|d| limits.get(*d).is_none()),
            LimitChange::By(by) => by.iter().map(|(d, _)| *d).find(|d| limits.get(*d).is_none()),
        };
        if let Some(d) = unknown {
            return Err((Reason::UnknownDimension, Some(d)));
        }
        let after = match self {
            LimitChange::To(to) => Ok(limits.map(|d, limit| to.get(d).unwrap_or(limit))),
            LimitChange::By(by) => limits.try_map(|d, limit| {
                let delta = by.iter().find(|(other, _)| *other == d).map_or(0, |(_, delta)| *delta);
                limit.checked_add_signed(delta).filter(|after| *after <= UNITS_MAX)
            }),
        };
        after.map_err(|d| (Reason::LimitOutOfRange, Some(d)))
    }
}

impl PoolChange {
    /// Whether a caller can mean the change: it names at least one part, and no more than a pool may have.
    pub fn is_well_formed(&self) -> bool {
        let PoolChange { limits, areas, window, labels, mode: _, rules } = self;
        let names_something = *self != PoolChange::default() && *window != Edit::To(WindowChange::default());
        let bounded = areas.as_ref().is_none_or(|areas| areas.len() <= AREAS_MAX) && labels.len() <= LABELS_MAX;
        names_something
            && bounded
            && rules.of(PoolRules::default()).is_well_formed()
            && limits.as_ref().is_none_or(LimitChange::is_well_formed)
    }

    /// The definition of the pool after the change.
    ///
    /// # Errors
    /// The first part that the pool cannot take.
    pub(super) fn of(&self, before: &PoolSpec) -> Result<PoolSpec, Refused> {
        let limits =
            self.limits.as_ref().map_or_else(|| Ok(before.limits.clone()), |change| change.of(&before.limits))?;
        let window = match self.window {
            Edit::Keep => before.window,
            Edit::Clear => None,
            Edit::To(change) => Some(change.of(before.window).ok_or((Reason::InvalidWindow, None))?),
        };
        let mut labels = before.labels.clone();
        for (label, value) in &self.labels {
            match value {
                Some(value) => labels.insert(label.clone(), value.clone()),
                None => labels.remove(label),
            };
        }
        if labels.len() > LABELS_MAX {
            return Err((Reason::LabelsFull, None));
        }
        let areas = self.areas.as_ref().unwrap_or(&before.areas).clone();
        let (mode, rules) = (self.mode.unwrap_or(before.mode), self.rules.of(before.rules));
        Ok(PoolSpec { limits, areas, window, labels, mode, rules })
    }
}

impl WindowChange {
    /// The window after the change. Refused when it lacks its start or its end, or is out of order.
    fn of(self, before: Option<Window>) -> Option<Window> {
        let start = self.start.or(before.map(|window| window.start))?;
        let end = self.end.or(before.map(|window| window.end))?;
        let window = Window { start, end, cutoff: self.cutoff.of(before.and_then(|window| window.cutoff)) };
        window.is_in_order().then_some(window)
    }
}
