//! How often callers may call. The settings say it, and [`crate::service`] counts.

use crate::domain::Name;
use crate::limits::{QUOTA_BURST_MAX, QUOTA_RATE_MAX};
use std::collections::BTreeMap;
use std::num::NonZeroU32;

/// A bound on the calls of one caller: a bucket that holds `burst` calls and gets back `per_second` calls each second.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Rate {
    per_second: NonZeroU32,
    burst: NonZeroU32,
}

impl Rate {
    /// Calls a second, 1 to [`QUOTA_RATE_MAX`], and calls at once, 1 to [`QUOTA_BURST_MAX`]; `None` when one of them is
    /// out of range.
    pub fn new(per_second: u32, burst: u32) -> Option<Rate> {
        let (per_second, burst) = NonZeroU32::new(per_second).zip(NonZeroU32::new(burst))?;
        let is_good = per_second.get() <= QUOTA_RATE_MAX && burst.get() <= QUOTA_BURST_MAX;
        is_good.then_some(Rate { per_second, burst })
    }

    /// Calls that come back each second.
    pub fn per_second(self) -> NonZeroU32 {
        self.per_second
    }

    /// Most calls at once.
    pub fn burst(self) -> NonZeroU32 {
        self.burst
    }
}

/// The rates of all callers for one kind of call.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Rates {
    /// The rate of each caller that is not named below; `None` when they have no bound.
    pub others: Option<Rate>,
    /// The rates of some callers, by name.
    pub named: BTreeMap<Name, Rate>,
}

impl Rates {
    /// The rate of the caller with this name, or of those without one, who share it.
    pub fn of(&self, name: Option<&Name>) -> Option<Rate> {
        name.and_then(|name| self.named.get(name).copied()).or(self.others)
    }
}

/// How often callers may call, for each kind of call that is counted.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Quota {
    /// Of calls that take capacity, or change what there is to take.
    pub takes: Rates,
    /// Of calls that read.
    pub reads: Rates,
}
