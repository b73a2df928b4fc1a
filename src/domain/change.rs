//! A change of a pool: what a planner says anew. What it does not name stays as it is.

use super::ids::Dimension;
use super::name::Name;
use super::outcome::Reason;
use super::pool::{Mode, PoolRules, PoolSpec, Window};
use super::units::{Amounts, Micros};
use crate::limits::{AREAS_MAX, DIMENSIONS_MAX, LABELS_MAX, UNITS_MAX};
use std::collections::{BTreeMap, BTreeSet};

/// New limits, as they shall be or as differences; dimensions not named stay.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LimitChange {
    /// As they shall be.
    To(Amounts),
    /// As differences.
    By(Vec<(Dimension, i64)>),
}

/// What becomes of a part that a pool may lack.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Edit<T> {
    /// It stays as it is.
    #[default]
    Keep,
    /// It goes.
    Clear,
    /// It becomes this.
    To(T),
}

impl<T> Edit<T> {
    /// The part after it, given the part before it.
    pub fn of(self, before: Option<T>) -> Option<T> {
        match self {
            Edit::Keep => before,
            Edit::Clear => None,
            Edit::To(after) => Some(after),
        }
    }
}

/// Parts of a window; those not named stay.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct WindowChange {
    /// When the slot begins.
    pub start: Option<Micros>,
    /// When the slot is over.
    pub end: Option<Micros>,
    /// From when nothing is admitted any more.
    pub cutoff: Edit<Micros>,
}

/// Rules of a pool; those not named stay.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RuleChange {
    /// The longest time that a hold gets at once.
    pub hold_ttl_max_ms: Edit<u64>,
    /// The longest whole life of a hold.
    pub hold_life_max_ms: Edit<u64>,
    /// Whether an order may have one live reservation at most.
    pub unique_order_ref: Option<bool>,
}

impl RuleChange {
    /// The rules after it.
    pub(super) fn of(self, before: PoolRules) -> PoolRules {
        PoolRules {
            hold_ttl_max_ms: self.hold_ttl_max_ms.of(before.hold_ttl_max_ms),
            hold_life_max_ms: self.hold_life_max_ms.of(before.hold_life_max_ms),
            unique_order_ref: self.unique_order_ref.unwrap_or(before.unique_order_ref),
        }
    }
}

/// Parts of a pool; those not named stay.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PoolChange {
    /// Limits of dimensions that the pool has.
    pub limits: Option<LimitChange>,
    /// All areas.
    pub areas: Option<BTreeSet<Name>>,
    /// The time it stands for.
    pub window: Edit<WindowChange>,
    /// Labels: each gets the value, or goes when there is none.
    pub labels: BTreeMap<Name, Option<Name>>,
    /// Whether it admits.
    pub mode: Option<Mode>,
    /// What it asks of its reservations.
    pub rules: RuleChange,
}

/// Why a change is refused, and the dimension that decided it.
type Refused = (Reason, Option<Dimension>);

impl LimitChange {
    /// Whether it is one that a caller can have meant.
    pub fn is_well_formed(&self) -> bool {
        match self {
            LimitChange::To(to) => to.is_within(0),
            LimitChange::By(by) => {
                let bounded = !by.is_empty() && by.len() <= DIMENSIONS_MAX;
                bounded && Amounts::new(by.iter().map(|(d, _)| (*d, 0))).is_some()
            }
        }
    }

    /// The limits after it.
    ///
    /// # Errors
    /// The first dimension that is unknown, or whose limit would leave its range.
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
    /// Whether it is one that a caller can have meant: it names something, and no more than a pool may have.
    pub fn is_well_formed(&self) -> bool {
        let PoolChange { limits, areas, window, labels, mode: _, rules } = self;
        let names_something = *self != PoolChange::default() && *window != Edit::To(WindowChange::default());
        let bounded = areas.as_ref().is_none_or(|areas| areas.len() <= AREAS_MAX) && labels.len() <= LABELS_MAX;
        names_something
            && bounded
            && rules.of(PoolRules::default()).is_well_formed()
            && limits.as_ref().is_none_or(LimitChange::is_well_formed)
    }

    /// What is said of the pool after it.
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
    /// The window after it, if it is whole and in order.
    fn of(self, before: Option<Window>) -> Option<Window> {
        let start = self.start.or(before.map(|window| window.start))?;
        let end = self.end.or(before.map(|window| window.end))?;
        let window = Window { start, end, cutoff: self.cutoff.of(before.and_then(|window| window.cutoff)) };
        window.is_in_order().then_some(window)
    }
}
