//! A partition's pools, found by id, by area and by time. The collections are persistent: a copy shares their nodes and
//! costs a few reference counts, so that a reader can keep a copy while the owner goes on. Before the owner changes a
//! pool, it copies some of the shared nodes, of 16 entries each.

use crate::domain::coverage::Query;
use crate::domain::pool::Window;
use crate::domain::{Micros, Name, Pool, PoolId};
use imbl::{OrdMap, OrdSet};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::iter::{from_fn, successors};
use std::ops::Bound::{self, Excluded, Unbounded};
use std::sync::Arc;

/// Pools with their index.
#[derive(Clone, Default)]
pub struct Pools {
    by_id: OrdMap<PoolId, Arc<Pool>>,
    by_time: Times,
    areas: OrdMap<Name, Area>,
}

/// The pools of one area.
#[derive(Clone, Default)]
struct Area {
    by_id: OrdSet<PoolId>,
    by_time: Times,
}

impl Pools {
    /// Inserts a pool, or replaces the one with its id.
    pub fn put(&mut self, pool: Pool) {
        let before = self.by_id.get(&pool.id).cloned();
        let keys = |pool: &Pool| (pool.spec.window, pool.spec.areas.clone());
        if before.as_deref().map(keys) != Some(keys(&pool)) {
            if let Some(before) = before {
                self.unlist(&before);
            }
            self.list(&pool);
        }
        self.by_id.insert(pool.id.clone(), Arc::new(pool));
    }

    /// Removes the pool of this id.
    pub fn remove(&mut self, id: &PoolId) {
        if let Some(pool) = self.by_id.remove(id) {
            self.unlist(&pool);
        }
    }

    /// Changes what is used of a pool, and answers whether the pool is there. The index does not change.
    pub fn update(&mut self, id: &PoolId, f: impl FnOnce(&mut Pool)) -> bool {
        let found = self.by_id.get_mut(id).map(Arc::make_mut);
        found.map(f).is_some()
    }

    /// The pool of this id.
    pub fn get(&self, id: &PoolId) -> Option<&Arc<Pool>> {
        self.by_id.get(id)
    }

    /// All pools, in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Pool>> {
        self.by_id.values()
    }

    /// The number of pools.
    pub fn count(&self) -> usize {
        self.by_id.len()
    }

    /// Ids of pools after `after`, in order. All pools that match the query are among them. An id may come several
    /// times in a row, once for each of its areas. When at most `most` pools lie in the times of the query, they are
    /// found by time, and otherwise by id.
    pub fn candidates<'a>(
        &'a self,
        query: &'a Query,
        now: Micros,
        after: Option<&PoolId>,
        most: usize,
    ) -> Box<dyn Iterator<Item = &'a PoolId> + 'a> {
        let (from, to) = (query.takes_from(now), query.to);
        let is_timed = from.is_some() || to.is_some();
        match is_timed.then(|| self.timed(query, from, to, most)).flatten() {
            Some(mut ids) => {
                ids.retain(|id| after.is_none_or(|after| *id > after));
                ids.sort_unstable();
                Box::new(ids.into_iter())
            }
            None => self.ids_after(query, after),
        }
    }

    /// The pools of the query's areas and times; none when there are more than `most`.
    fn timed<'a>(
        &'a self,
        query: &'a Query,
        from: Option<Micros>,
        to: Option<Micros>,
        most: usize,
    ) -> Option<Vec<&'a PoolId>> {
        let ids: Vec<_> = if query.areas.is_empty() {
            self.by_time.during(from, to).take(most.saturating_add(1)).collect()
        } else {
            let times = self.of_areas(query).flat_map(|area| area.by_time.during(from, to));
            times.take(most.saturating_add(1)).collect()
        };
        (ids.len() <= most).then_some(ids)
    }

    /// The pools of the query's areas after `after`, by id.
    fn ids_after<'a>(&'a self, query: &'a Query, after: Option<&PoolId>) -> Box<dyn Iterator<Item = &'a PoolId> + 'a> {
        let range: (Bound<&PoolId>, Bound<&PoolId>) = (after.map_or(Unbounded, Excluded), Unbounded);
        if query.areas.is_empty() {
            return Box::new(self.by_id.range::<_, PoolId>(range).map(|(id, _)| id));
        }
        Box::new(merged(self.of_areas(query).map(|area| area.by_id.range::<_, PoolId>(range)).collect()))
    }

    fn of_areas<'a>(&'a self, query: &'a Query) -> impl Iterator<Item = &'a Area> {
        query.areas.iter().filter_map(|area| self.areas.get(area))
    }

    fn list(&mut self, pool: &Pool) {
        self.by_time.insert(pool);
        for name in &pool.spec.areas {
            let area = self.areas.entry(name.clone()).or_default();
            area.by_id.insert(pool.id.clone());
            area.by_time.insert(pool);
        }
    }

    fn unlist(&mut self, pool: &Pool) {
        self.by_time.remove(pool);
        for name in &pool.spec.areas {
            let Some(area) = self.areas.get_mut(name) else { continue };
            area.by_id.remove(&pool.id);
            area.by_time.remove(pool);
            if area.by_id.is_empty() {
                self.areas.remove(name);
            }
        }
    }
}

/// Merges sorted sequences into one.
fn merged<'a>(mut sources: Vec<impl Iterator<Item = &'a PoolId>>) -> impl Iterator<Item = &'a PoolId> {
    let firsts = sources.iter_mut().enumerate().filter_map(|(at, source)| Some(Reverse((source.next()?, at))));
    let mut heads: BinaryHeap<_> = firsts.collect();
    from_fn(move || {
        let Reverse((first, at)) = heads.pop()?;
        heads.extend(sources.get_mut(at)?.next().map(|next| Reverse((next, at))));
        Some(first)
    })
}

/// Pools, ordered by when their windows begin, in classes of windows of about the same length. Within a class, a window
/// that begins much earlier than the time of a query has ended before that time.
#[derive(Clone, Default)]
struct Times(OrdSet<WindowKey>);

/// A pool's key in that order; without a pool, the key before all pools that begin at that time.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct WindowKey {
    class: u32,
    start: Micros,
    pool: Option<PoolId>,
}

/// The class of pools without a window, after those of each power of two.
const NO_WINDOW: u32 = u64::BITS;

impl WindowKey {
    fn of(pool: &Pool) -> WindowKey {
        let length_us = |window: Window| window.end.0.saturating_sub(window.start.0);
        let class = pool.spec.window.map_or(NO_WINDOW, |window| length_us(window).max(1).ilog2());
        let start = pool.spec.window.map_or(Micros(0), |window| window.start);
        WindowKey { class, start, pool: Some(pool.id.clone()) }
    }

    fn before(class: u32, start: Micros) -> WindowKey {
        WindowKey { class, start, pool: None }
    }
}

impl Times {
    fn insert(&mut self, pool: &Pool) {
        self.0.insert(WindowKey::of(pool));
    }

    fn remove(&mut self, pool: &Pool) {
        self.0.remove(&WindowKey::of(pool));
    }

    /// Every pool whose window ends after `from` and begins before `to`, or that has none. A window that ends up to
    /// twice its length before `from` may be among them.
    fn during(&self, from: Option<Micros>, to: Option<Micros>) -> impl Iterator<Item = &PoolId> {
        let next_class = |class| self.0.range(WindowKey::before(class, Micros(0))..).next().map(|key| key.class);
        let classes = successors(next_class(0), move |class| next_class(class.saturating_add(1)));
        classes.flat_map(move |class| {
            let end = WindowKey::before(class.saturating_add(1), Micros(0));
            let (first, end) = match NO_WINDOW.checked_sub(class.saturating_add(1)) {
                None => (Micros(0), end),
                Some(shorter) => {
                    let longest_us = u64::MAX.checked_shr(shorter).unwrap_or_default();
                    let first = from.map_or(Micros(0), |from| Micros(from.0.saturating_sub(longest_us)));
                    (first, to.map_or(end, |to| WindowKey::before(class, to)))
                }
            };
            let first = WindowKey::before(class, first);
            let range = (first < end).then(|| self.0.range(first..end));
            range.into_iter().flatten().filter_map(|key| key.pool.as_ref())
        })
    }
}
