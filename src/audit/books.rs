//! Pools by plain sums. What is in use is what this model has added and taken away by itself, never what an event
//! says. The sums are wider than demands, so that a log that overbooks is counted and not clamped.

use crate::domain::{Amounts, Dimension, Pool, PoolId, PoolSpec};
use std::collections::BTreeMap;

/// Units in use per dimension.
pub(super) type Sums = BTreeMap<Dimension, u128>;

/// One pool, as the auditor sees it.
#[derive(Clone)]
pub(super) struct Book {
    /// The definition that the last event gave.
    pub(super) spec: PoolSpec,
    /// The model's own sums, for every dimension of the limits and for every other dimension that live demands still
    /// use.
    pub(super) used: Sums,
    /// The version: counts changes of the definition.
    pub(super) version: u64,
}

impl Book {
    /// Whether `used` agrees with these sums.
    pub(super) fn is_used(&self, said: &Amounts) -> bool {
        self.used.len() == said.len() && said.iter().all(|(d, units)| self.used.get(&d) == Some(&u128::from(units)))
    }

    /// The sum of this dimension.
    pub(super) fn used_of(&self, dimension: Dimension) -> u128 {
        self.used.get(&dimension).copied().unwrap_or_default()
    }

    /// The first demanded dimension of the pool that would go above its limit.
    pub(super) fn first_above(&self, demand: &Amounts) -> Option<Dimension> {
        let above = |d: Dimension, units: u64| {
            let limit = self.spec.limits.get(d).map(u128::from);
            limit.is_some_and(|limit| self.used_of(d).saturating_add(u128::from(units)) > limit)
        };
        demand.iter().find(|(d, units)| above(*d, *units)).map(|(d, _)| d)
    }

    /// Takes over a new definition. Sums of dimensions that are gone stay while units of them are in use.
    pub(super) fn say(&mut self, spec: &PoolSpec, version: u64) {
        self.spec = spec.clone();
        self.version = version;
        self.used.retain(|d, units| *units > 0 || spec.limits.get(*d).is_some());
        for (d, _) in spec.limits.iter() {
            self.used.entry(d).or_default();
        }
    }
}

/// All pools of the partition.
#[derive(Default)]
pub(super) struct Books(BTreeMap<PoolId, Book>);

impl Books {
    pub(super) fn get(&self, pool: &PoolId) -> Option<&Book> {
        self.0.get(pool)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Takes over the definition of a pool. A new pool starts with nothing in use.
    pub(super) fn say(&mut self, pool: &Pool) {
        let new = || Book { spec: pool.spec.clone(), used: Sums::new(), version: 0 };
        self.0.entry(pool.id.clone()).or_insert_with(new).say(&pool.spec, pool.version);
    }

    /// The pool has retired.
    pub(super) fn remove(&mut self, pool: &PoolId) {
        self.0.remove(pool);
    }

    /// Adds a demand to the sums of its pool.
    pub(super) fn take(&mut self, pool: &PoolId, demand: &Amounts) {
        let Some(book) = self.0.get_mut(pool) else { return };
        for (d, units) in demand.iter() {
            let sum = book.used.entry(d).or_default();
            *sum = sum.saturating_add(u128::from(units));
        }
    }

    /// Takes a demand away from the sums of its pool.
    pub(super) fn give_back(&mut self, pool: &PoolId, demand: &Amounts) {
        let Some(book) = self.0.get_mut(pool) else { return };
        for (d, units) in demand.iter() {
            let sum = book.used.entry(d).or_default();
            *sum = sum.saturating_sub(u128::from(units));
        }
    }

    /// The same pools with nothing in use.
    pub(super) fn emptied(&self) -> Books {
        let mut books = self.0.clone();
        books.values_mut().for_each(|book| book.used.values_mut().for_each(|units| *units = 0));
        Books(books)
    }

    /// Pools whose sums differ from those of `other`, with both sums as text.
    pub(super) fn differences<'a>(&'a self, other: &'a Books) -> impl Iterator<Item = (&'a PoolId, String, String)> {
        let pairs = self.0.iter().filter_map(|(id, book)| Some((id, &book.used, &other.0.get(id)?.used)));
        pairs.filter(|(_, a, b)| a != b).map(|(id, a, b)| (id, format!("{a:?}"), format!("{b:?}")))
    }

    /// Every pool as a domain value, by id.
    pub(super) fn iter(&self) -> impl Iterator<Item = Pool> + '_ {
        self.0.iter().map(|(id, book)| Pool {
            id: id.clone(),
            spec: book.spec.clone(),
            used: book.spec.limits.map(|d, _| u64::try_from(book.used_of(d)).unwrap_or(u64::MAX)),
            version: book.version,
        })
    }
}

/// By how much `demand` exceeds `before`, in the dimensions in which it does.
pub(super) fn more_than(before: &Amounts, demand: &Amounts) -> Amounts {
    let more = demand.iter().filter_map(|(d, units)| {
        let more = units.saturating_sub(before.get(d).unwrap_or_default());
        (more > 0).then_some((d, more))
    });
    Amounts::new(more).unwrap_or_default()
}
