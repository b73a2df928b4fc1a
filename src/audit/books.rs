//! Pools by plain sums: what is used is what this model added and took away itself, never what an event says. Sums are
//! wider than demands, so that a log that overbooks is counted, not clamped.

use crate::domain::{Amounts, Dimension, Pool, PoolId, PoolSpec};
use std::collections::BTreeMap;

/// Units used per dimension.
pub(super) type Sums = BTreeMap<Dimension, u128>;

/// One pool.
#[derive(Clone)]
pub(super) struct Book {
    /// The planner's word, as the last event that said it.
    pub(super) spec: PoolSpec,
    /// The model's own sums; every dimension of the limits, and any other that live demands still take.
    pub(super) used: Sums,
    /// How often the word changed.
    pub(super) version: u64,
}

impl Book {
    /// Whether these are the sums.
    pub(super) fn is_used(&self, said: &Amounts) -> bool {
        self.used.len() == said.len() && said.iter().all(|(d, units)| self.used.get(&d) == Some(&u128::from(units)))
    }

    /// Units used in this dimension.
    pub(super) fn used_of(&self, dimension: Dimension) -> u128 {
        self.used.get(&dimension).copied().unwrap_or_default()
    }

    /// The first demanded dimension that the pool has and that would go above its limit.
    pub(super) fn first_above(&self, demand: &Amounts) -> Option<Dimension> {
        let above = |d: Dimension, units: u64| {
            let limit = self.spec.limits.get(d).map(u128::from);
            limit.is_some_and(|limit| self.used_of(d).saturating_add(u128::from(units)) > limit)
        };
        demand.iter().find(|(d, units)| above(*d, *units)).map(|(d, _)| d)
    }

    /// Takes a new word over. Sums of dimensions that went are kept while something is used of them.
    pub(super) fn say(&mut self, spec: &PoolSpec, version: u64) {
        self.spec = spec.clone();
        self.version = version;
        self.used.retain(|d, units| *units > 0 || spec.limits.get(*d).is_some());
        for (d, _) in spec.limits.iter() {
            self.used.entry(d).or_default();
        }
    }
}

/// Every pool of the partition.
#[derive(Default)]
pub(super) struct Books(BTreeMap<PoolId, Book>);

impl Books {
    pub(super) fn get(&self, pool: &PoolId) -> Option<&Book> {
        self.0.get(pool)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Takes a pool's new word over; a new pool starts with nothing used.
    pub(super) fn say(&mut self, pool: &Pool) {
        let new = || Book { spec: pool.spec.clone(), used: Sums::new(), version: 0 };
        self.0.entry(pool.id.clone()).or_insert_with(new).say(&pool.spec, pool.version);
    }

    /// Adds a demand.
    pub(super) fn take(&mut self, pool: &PoolId, demand: &Amounts) {
        let Some(book) = self.0.get_mut(pool) else { return };
        for (d, units) in demand.iter() {
            let sum = book.used.entry(d).or_default();
            *sum = sum.saturating_add(u128::from(units));
        }
    }

    /// Takes a demand away again.
    pub(super) fn give_back(&mut self, pool: &PoolId, demand: &Amounts) {
        let Some(book) = self.0.get_mut(pool) else { return };
        for (d, units) in demand.iter() {
            let sum = book.used.entry(d).or_default();
            *sum = sum.saturating_sub(u128::from(units));
        }
    }

    /// The same pools with nothing used.
    pub(super) fn emptied(&self) -> Books {
        let mut books = self.0.clone();
        books.values_mut().for_each(|book| book.used.values_mut().for_each(|units| *units = 0));
        Books(books)
    }

    /// Pools whose sums are not those of `other`, with both.
    pub(super) fn differences<'a>(&'a self, other: &'a Books) -> impl Iterator<Item = (&'a PoolId, String, String)> {
        let pairs = self.0.iter().filter_map(|(id, book)| Some((id, &book.used, &other.0.get(id)?.used)));
        pairs.filter(|(_, a, b)| a != b).map(|(id, a, b)| (id, format!("{a:?}"), format!("{b:?}")))
    }

    /// Every pool as a value, by id.
    pub(super) fn iter(&self) -> impl Iterator<Item = Pool> + '_ {
        self.0.iter().map(|(id, book)| Pool {
            id: id.clone(),
            spec: book.spec.clone(),
            used: book.spec.limits.map(|d, _| u64::try_from(book.used_of(d)).unwrap_or(u64::MAX)),
            version: book.version,
        })
    }
}

/// How much more than before is demanded, in the dimensions in which it is more.
pub(super) fn more_than(before: &Amounts, demand: &Amounts) -> Amounts {
    let more = demand.iter().filter_map(|(d, units)| {
        let more = units.saturating_sub(before.get(d).unwrap_or_default());
        (more > 0).then_some((d, more))
    });
    Amounts::new(more).unwrap_or_default()
}
