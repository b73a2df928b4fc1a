//! Which pools serve a request for availability.

use super::name::Name;
use super::pool::{Mode, Pool};
use super::units::{Amounts, Micros};
use std::collections::{BTreeMap, BTreeSet};

/// What a caller looks for; whatever it does not name, every pool has.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Query {
    /// Pools that serve at least one of these areas; any when empty.
    pub areas: BTreeSet<Name>,
    /// Pools whose window ends after this instant; one without a window always does.
    pub from: Option<Micros>,
    /// Pools whose window starts before this instant.
    pub to: Option<Micros>,
    /// Pools that are open and would take this now; pools in any mode and state when empty.
    pub demand: Amounts,
    /// Pools that carry all of these.
    pub labels: BTreeMap<Name, Name>,
}

impl Query {
    /// Whether this pool is one of those looked for, at `now`.
    pub fn matches(&self, pool: &Pool, now: Micros) -> bool {
        let spec = &pool.spec;
        let here = self.areas.is_empty() || self.areas.iter().any(|area| spec.areas.contains(area));
        let labelled = self.labels.iter().all(|(label, value)| spec.labels.get(label) == Some(value));
        here && labelled && self.is_in_time(pool) && (self.demand.is_empty() || takes(pool, &self.demand, now))
    }

    /// The instant after which a window has to end: one that has ended takes nothing any more.
    pub fn takes_from(&self, now: Micros) -> Option<Micros> {
        if self.demand.is_empty() { self.from } else { self.from.max(Some(now)) }
    }

    fn is_in_time(&self, pool: &Pool) -> bool {
        pool.spec.window.is_none_or(|window| {
            self.from.is_none_or(|from| window.end > from) && self.to.is_none_or(|to| window.start < to)
        })
    }
}

fn takes(pool: &Pool, demand: &Amounts, now: Micros) -> bool {
    let spec = &pool.spec;
    spec.mode == Mode::Open && spec.window.is_none_or(|window| now < window.closes_at()) && pool.fits(demand)
}
