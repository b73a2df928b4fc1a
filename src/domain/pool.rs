//! A pool: what may be reserved, what is, and when and where it is offered.

use super::ids::{Dimension, PoolId};
use super::name::Name;
use super::outcome::Reason;
use super::units::{Amounts, Micros};
use crate::limits::{HOLD_LIFE_MAX_MS, HOLD_TTL_MAX_MS, HOLD_TTL_MIN_MS};
use std::collections::{BTreeMap, BTreeSet};

/// Whether a pool admits anything at all.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Mode {
    /// It admits what fits.
    Open,
    /// A planner has paused it: it admits nothing for now.
    Paused,
    /// It is done: it admits nothing.
    Closed,
}

/// The time a pool stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Window {
    /// When the slot begins.
    pub start: Micros,
    /// When the slot is over: later than `start`.
    pub end: Micros,
    /// From when nothing is admitted any more; the end when there is none. Not later than `end`.
    pub cutoff: Option<Micros>,
}

impl Window {
    /// From when nothing is admitted any more.
    pub fn closes_at(&self) -> Micros {
        self.cutoff.unwrap_or(self.end)
    }

    /// Whether it begins before it ends, and closes no later than it ends.
    pub fn is_in_order(&self) -> bool {
        self.start < self.end && self.end <= Micros::MAX && self.closes_at() <= self.end
    }
}

/// What a planner says of a pool.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PoolSpec {
    /// Units per dimension it may admit; at least one dimension.
    pub limits: Amounts,
    /// Where it is offered.
    pub areas: BTreeSet<Name>,
    /// The time it stands for, if any.
    pub window: Option<Window>,
    /// What else is said of it.
    pub labels: BTreeMap<Name, Name>,
    /// Whether it admits.
    pub mode: Mode,
    /// What it asks of its reservations.
    pub rules: PoolRules,
}

/// What a pool asks of its reservations beside that they fit. A rule counts for what is decided while it is set, and evicts
/// nobody.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PoolRules {
    /// The longest time that a hold gets at once.
    pub hold_ttl_max_ms: Option<u64>,
    /// The longest whole life of a hold, however often it is extended.
    pub hold_life_max_ms: Option<u64>,
    /// Whether an order may have one live reservation at most.
    pub unique_order_ref: bool,
}

impl PoolRules {
    /// Whether the times are such as holds may have.
    pub fn is_well_formed(&self) -> bool {
        let is_within = |time: Option<u64>, most| time.is_none_or(|ms| (HOLD_TTL_MIN_MS..=most).contains(&ms));
        is_within(self.hold_ttl_max_ms, HOLD_TTL_MAX_MS) && is_within(self.hold_life_max_ms, HOLD_LIFE_MAX_MS)
    }
}

impl PoolSpec {
    /// Until when a hold may last whose life counts from `since` and that gets its time at `now`, and the reason to refuse
    /// it more: by its time, by its life, and by the window.
    pub fn hold_bounds(&self, since: Micros, now: Micros) -> [(Micros, Reason); 3] {
        let after = |from: Micros, ms: Option<u64>| ms.map_or(Micros::MAX, |ms| from.plus_ms(ms));
        [
            (after(now, self.rules.hold_ttl_max_ms), Reason::HoldTooLong),
            (after(since, self.rules.hold_life_max_ms), Reason::HoldTooOld),
            (self.window.map_or(Micros::MAX, |window| window.end), Reason::HoldBeyondWindow),
        ]
    }
}

/// A pool as it is: the planner's word and what has been admitted under it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pool {
    /// Its id.
    pub id: PoolId,
    /// The planner's word.
    pub spec: PoolSpec,
    /// Units admitted and not given back; the dimensions of `spec.limits`.
    pub used: Amounts,
    /// How often the planner's word has changed, from 1.
    pub version: u64,
}

impl Pool {
    /// Units still free in this dimension: 0 when over-committed, `None` when the pool does not have it.
    pub fn remaining(&self, dimension: Dimension) -> Option<u64> {
        let limit = self.spec.limits.get(dimension)?;
        Some(limit.saturating_sub(self.used.get(dimension).unwrap_or_default()))
    }

    /// Whether more is admitted than the limit in some dimension: a lowered limit evicts nobody.
    pub fn is_over_committed(&self) -> bool {
        self.spec.limits.iter().any(|(d, limit)| self.used.get(d).unwrap_or_default() > limit)
    }

    /// Whether every demanded dimension fits.
    pub fn fits(&self, demand: &Amounts) -> bool {
        demand.iter().all(|(d, units)| self.remaining(d).is_some_and(|free| units <= free))
    }
}
