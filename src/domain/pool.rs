//! A pool: how much may be reserved, how much is, and when and where it is offered.

use super::ids::{Dimension, PoolId};
use super::name::Name;
use super::outcome::Reason;
use super::units::{Amounts, Micros};
use crate::limits::{
    HOLD_LIFE_MAX_MS, HOLD_TTL_MAX_MS, HOLD_TTL_MIN_MS, RETIRE_AFTER_DEFAULT_MS, RETIRE_AFTER_MAX_MS,
    RETIRE_AFTER_MIN_MS,
};
use std::collections::{BTreeMap, BTreeSet};

/// Whether a pool admits new reservations.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Mode {
    /// It admits what fits its limits.
    Open,
    /// A planner has paused it: it admits nothing until it is opened again.
    Paused,
    /// A planner has closed it: it admits nothing.
    Closed,
}

impl Mode {
    /// Every mode, once.
    pub const ALL: [Mode; 3] = [Mode::Open, Mode::Paused, Mode::Closed];

    /// The stable name, as callers write and read it.
    pub fn code(self) -> &'static str {
        match self {
            Mode::Open => "open",
            Mode::Paused => "paused",
            Mode::Closed => "closed",
        }
    }
}

/// The time slot that a pool stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Window {
    /// When the slot begins.
    pub start: Micros,
    /// When the slot ends; later than `start`.
    pub end: Micros,
    /// When the pool stops admitting; `None` stands for `end`. Not later than `end`.
    pub cutoff: Option<Micros>,
}

impl Window {
    /// When the pool stops admitting: the cutoff, or the end of the slot.
    pub fn closes_at(&self) -> Micros {
        self.cutoff.unwrap_or(self.end)
    }

    /// Whether `start` is before `end`, and the cutoff not after `end`.
    pub fn is_in_order(&self) -> bool {
        self.start < self.end && self.end <= Micros::MAX && self.closes_at() <= self.end
    }
}

/// What a planner defines of a pool.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PoolSpec {
    /// Limits: the units that it may admit, in at least one dimension.
    pub limits: Amounts,
    /// The areas where it is offered.
    pub areas: BTreeSet<Name>,
    /// Its time slot; `None` when it is offered at any time.
    pub window: Option<Window>,
    /// Labels, free for the planner's use.
    pub labels: BTreeMap<Name, Name>,
    /// Whether it admits new reservations.
    pub mode: Mode,
    /// Rules that its reservations must keep.
    pub rules: PoolRules,
}

/// What a pool demands of its reservations beside the limits. A rule applies to what is decided while it is set;
/// setting one ends no reservation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PoolRules {
    /// The longest time in milliseconds that a hold may get at once; `None`: no bound.
    pub hold_ttl_max_ms: Option<u64>,
    /// The longest whole life of a hold in milliseconds, extensions included; `None`: no bound.
    pub hold_life_max_ms: Option<u64>,
    /// Whether one order may have at most one live reservation in the pool.
    pub unique_order_ref: bool,
    /// How long after the end of its window the pool retires by itself, in milliseconds; `None`:
    /// [`RETIRE_AFTER_DEFAULT_MS`]. Without a window it means nothing.
    pub retire_after_ms: Option<u64>,
}

impl PoolRules {
    /// Whether every time lies in its range.
    pub fn is_well_formed(&self) -> bool {
        let is_within = |time: Option<u64>, most| time.is_none_or(|ms| (HOLD_TTL_MIN_MS..=most).contains(&ms));
        let is_retired_in_time =
            self.retire_after_ms.is_none_or(|ms| (RETIRE_AFTER_MIN_MS..=RETIRE_AFTER_MAX_MS).contains(&ms));
        is_within(self.hold_ttl_max_ms, HOLD_TTL_MAX_MS)
            && is_within(self.hold_life_max_ms, HOLD_LIFE_MAX_MS)
            && is_retired_in_time
    }
}

impl PoolSpec {
    /// From when on the pool retires by itself; `None` when it has no window.
    pub fn retires_at(&self) -> Option<Micros> {
        let after_ms = self.rules.retire_after_ms.unwrap_or(RETIRE_AFTER_DEFAULT_MS);
        self.window.map(|window| window.end.plus_ms(after_ms))
    }

    /// The latest ends that a hold may have, each with the reason to refuse a later one: by its time from `now` on,
    /// by its whole life, which counts from `since`, and by the pool's window.
    pub fn hold_bounds(&self, since: Micros, now: Micros) -> [(Micros, Reason); 3] {
        let after = |from: Micros, ms: Option<u64>| ms.map_or(Micros::MAX, |ms| from.plus_ms(ms));
        [
            (after(now, self.rules.hold_ttl_max_ms), Reason::HoldTooLong),
            (after(since, self.rules.hold_life_max_ms), Reason::HoldTooOld),
            (self.window.map_or(Micros::MAX, |window| window.end), Reason::HoldBeyondWindow),
        ]
    }
}

/// A pool as it stands: what the planner defined, and what has been admitted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pool {
    /// The pool's id.
    pub id: PoolId,
    /// What the planner defined.
    pub spec: PoolSpec,
    /// Units admitted and not given back, in the dimensions of `spec.limits`.
    pub used: Amounts,
    /// Counts changes of `spec`; 1 when the pool is new.
    pub version: u64,
}

impl Pool {
    /// Free units of a dimension: 0 when over-committed, `None` when the pool does not have the dimension.
    pub fn remaining(&self, dimension: Dimension) -> Option<u64> {
        let limit = self.spec.limits.get(dimension)?;
        Some(limit.saturating_sub(self.used.get(dimension).unwrap_or_default()))
    }

    /// Whether some dimension has more units in use than its limit. That happens when a limit is lowered, which ends
    /// no reservation.
    pub fn is_over_committed(&self) -> bool {
        self.spec.limits.iter().any(|(d, limit)| self.used.get(d).unwrap_or_default() > limit)
    }

    /// Whether the pool has every demanded dimension, with enough free units.
    pub fn fits(&self, demand: &Amounts) -> bool {
        demand.iter().all(|(d, units)| self.remaining(d).is_some_and(|free| units <= free))
    }
}
