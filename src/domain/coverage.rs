//! Which pools match a request for availability.

use super::name::Name;
use super::pool::{Mode, Pool};
use super::units::{Amounts, Micros};
use std::collections::{BTreeMap, BTreeSet};

/// What a caller looks for. Every pool matches a part that is not named.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Query {
    /// The pool serves at least one of these areas; empty: any area.
    pub areas: BTreeSet<Name>,
    /// The pool's window ends after this time, or it has no window.
    pub from: Option<Micros>,
    /// The pool's window starts before this time, or it has no window.
    pub to: Option<Micros>,
    /// The pool is open and would accept this demand now; empty: any mode and state.
    pub demand: Amounts,
    /// The pool carries all of these labels.
    pub labels: BTreeMap<Name, Name>,
}

impl Query {
    /// Whether this pool matches at `now`. An internal pool matches nothing.
    pub fn matches(&self, pool: &Pool, now: Micros) -> bool {
        let spec = &pool.spec;
        let here = self.areas.is_empty() || self.areas.iter().any(|area| spec.areas.contains(area));
        let labelled = self.labels.iter().all(|(label, value)| spec.labels.get(label) == Some(value));
        !pool.id.is_internal()
            && here
            && labelled
            && self.is_in_time(pool)
            && (self.demand.is_empty() || takes(pool, &self.demand, now))
    }

    /// The time after which a window must end to match. A window that ended before `now` accepts nothing.
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
