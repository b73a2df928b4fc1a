//! Queries over pools: what the index finds is what a look at every pool finds, page by page, whatever is changed on the
//! way; and a query holds what it began with, and nothing that the owner waits for.

use crate::fixtures::{name, open_pool, orders, pool_id};
use crate::strategies::mode;
use crate::world::ManualClock;
use headroom::domain::coverage::Query;
use headroom::domain::pool::Window;
use headroom::domain::{LedgerMut, Micros, Name, Pool, PoolId, PoolRules, PoolSpec};
use headroom::limits::SEARCH_STEP_POOLS;
use headroom::replica::{Listing, PoolPage, Replica, Search};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use std::collections::BTreeMap;

const NOW: Micros = Micros(1_000);
const PARTITIONS: u32 = 3;

/// Few, so that they meet.
fn few(texts: &'static [&'static str]) -> impl Strategy<Value = Name> {
    proptest::sample::select(texts).prop_map(name)
}

/// Lengths from one microsecond to nearly all there are, about the time that it is.
fn window() -> impl Strategy<Value = Window> {
    let time = prop_oneof![0..3_000u64, Just(1 << 40)];
    let length = prop_oneof![1..8u64, 1..2_000u64, Just(1 << 61)];
    (time, length, any::<bool>()).prop_map(|(start, length, has_cutoff)| {
        let cutoff = has_cutoff.then_some(Micros(start + length / 2));
        Window { start: Micros(start), end: Micros(start + length), cutoff }
    })
}

/// What a pool becomes: as planners define it, change its areas and window, pause it, or let it end.
fn pool() -> impl Strategy<Value = Pool> {
    let areas = btree_set(few(&["a", "b", "c"]), 0..3);
    let labels = btree_map(few(&["fleet"]), few(&["van", "bike"]), 0..2);
    (0..40u32, areas, option::of(window()), labels, mode(), 0..3u64).prop_map(
        |(number, areas, window, labels, mode, used)| Pool {
            id: pool_id(&format!("p{number:02}")),
            spec: PoolSpec { limits: orders(2), areas, window, labels, mode, rules: PoolRules::default() },
            used: orders(used),
            version: 1,
        },
    )
}

fn query() -> impl Strategy<Value = Query> {
    let areas = btree_set(few(&["a", "b", "c", "nowhere"]), 0..3);
    let time = || option::of(prop_oneof![0..3_000u64, Just(1 << 40)].prop_map(Micros));
    let labels = btree_map(few(&["fleet"]), few(&["van"]), 0..2);
    let demand = option::of(1..3u64).prop_map(|units| units.map(orders).unwrap_or_default());
    (areas, time(), time(), demand, labels).prop_map(|(areas, from, to, demand, labels)| Query {
        areas,
        from,
        to,
        demand,
        labels,
    })
}

fn put(replica: &Replica, pool: &Pool) {
    replica.of_pool(&pool.id).unwrap().write(|state| state.put_pool(pool.clone()));
}

fn ended(mut search: Search) -> Listing {
    while search.step() {}
    search.finish()
}

fn begin(replica: &Replica, query: &Query, after: Option<PoolId>, limit: usize) -> Search {
    Search::begin(replica.partitions(), query.clone(), PoolPage { after, limit }, &ManualClock::at(NOW))
}

fn ids(listing: &Listing) -> Vec<PoolId> {
    listing.pools.iter().map(|pool| pool.id.clone()).collect()
}

/// All pages, and how many pools each holds.
fn pages(replica: &Replica, query: &Query, limit: usize) -> (Vec<PoolId>, Vec<usize>) {
    let (mut all, mut sizes, mut after) = (Vec::new(), Vec::new(), None);
    loop {
        let page = ended(begin(replica, query, after, limit));
        sizes.push(page.pools.len());
        all.extend(ids(&page));
        after = page.next;
        if after.is_none() {
            return (all, sizes);
        }
    }
}

proptest! {
    #[test]
    fn the_index_finds_what_a_look_at_every_pool_finds(
        edits in vec(pool(), 0..120),
        queries in vec((query(), 1..9usize), 1..12),
    ) {
        let (replica, mut all) = (Replica::new(PARTITIONS), BTreeMap::new());
        let (before, rest) = edits.split_at(edits.len() / 2);
        let edit = |pool: &Pool, all: &mut BTreeMap<PoolId, Pool>| {
            put(&replica, pool);
            all.insert(pool.id.clone(), pool.clone());
        };
        let looked_at = |all: &BTreeMap<PoolId, Pool>, query: &Query| -> Vec<PoolId> {
            all.values().filter(|pool| query.matches(pool, NOW)).map(|pool| pool.id.clone()).collect()
        };
        before.iter().for_each(|pool| edit(pool, &mut all));
        let held: Vec<_> = queries
            .iter()
            .map(|(query, _)| (begin(&replica, query, None, usize::MAX - 1), looked_at(&all, query)))
            .collect();
        rest.iter().for_each(|pool| edit(pool, &mut all));
        // Those that had begun see nothing of it.
        for (search, expected) in held {
            prop_assert_eq!(ids(&ended(search)), expected);
        }
        for (query, limit) in &queries {
            let (found, sizes) = pages(&replica, query, *limit);
            prop_assert_eq!(&found, &looked_at(&all, query), "{:?}", query);
            // Every page but the last is full.
            prop_assert!(sizes.iter().rev().skip(1).all(|size| size == limit));
        }
    }
}

/// A change between two pages: a pool that comes, becomes another, or retires.
fn passing() -> impl Strategy<Value = (Pool, bool)> {
    (pool(), any::<bool>())
        .prop_map(|(pool, comes)| (Pool { id: pool_id(&format!("{}-passing", pool.id)), ..pool }, comes))
}

proptest! {
    /// A cursor is an id, and the pool of that id may be gone when it is used.
    #[test]
    fn pages_stay_stable_while_pools_come_and_go(
        staying in vec(pool(), 1..60),
        first in vec(passing(), 0..40),
        changes in vec(vec(passing(), 0..12), 1..8),
        query in query(),
        limit in 1..7usize,
    ) {
        let replica = Replica::new(PARTITIONS);
        let change = |(pool, comes): &(Pool, bool)| {
            let handle = replica.of_pool(&pool.id).unwrap();
            handle.write(|state| if *comes { state.put_pool(pool.clone()) } else { state.retire(&pool.id, 1, NOW) });
        };
        staying.iter().for_each(|pool| put(&replica, pool));
        first.iter().for_each(change);
        let staying: BTreeMap<_, _> = staying.iter().map(|pool| (&pool.id, pool)).collect();
        let expected: Vec<_> = staying.values().filter(|pool| query.matches(pool, NOW)).map(|pool| pool.id.clone()).collect();
        let (mut seen, mut after) = (Vec::new(), None);
        for changes in changes.iter().cycle() {
            let page = ended(begin(&replica, &query, after, limit));
            seen.extend(ids(&page));
            after = page.next;
            let Some(next) = &after else { break };
            if next.as_str().ends_with("-passing") {
                replica.of_pool(next).unwrap().write(|state| state.retire(next, 1, NOW));
            }
            changes.iter().for_each(change);
        }
        prop_assert!(seen.is_sorted_by(|a, b| a < b), "a pool is seen twice, or out of order: {seen:?}");
        seen.retain(|id| staying.contains_key(id));
        prop_assert_eq!(seen, expected);
    }
}

/// A pool of an hour, counted from the first.
fn hourly(number: u64, area: &str) -> Pool {
    let (start, end) = (Micros(NOW.0 + number * 3_600_000_000), Micros(NOW.0 + (number + 1) * 3_600_000_000));
    Pool {
        id: pool_id(&format!("{area}-{number:06}")),
        spec: PoolSpec {
            areas: [name(area)].into(),
            window: Some(Window { start, end, cutoff: None }),
            ..open_pool(orders(1))
        },
        used: orders(0),
        version: 1,
    }
}

/// So many steps a query takes.
fn steps(mut search: Search) -> (usize, Listing) {
    let mut steps = 1;
    while search.step() {
        steps += 1;
    }
    (steps, search.finish())
}

#[test]
fn the_cost_of_a_query_follows_its_result_and_is_paid_in_bounded_steps() {
    let (replica, many) = (Replica::new(1), 5 * SEARCH_STEP_POOLS as u64);
    for number in 0..many {
        put(&replica, &hourly(number, "a"));
        put(&replica, &hourly(number, "b"));
    }
    let hour = |number: u64| Some(hourly(number, "a").spec.window.unwrap().start);
    let of_b = Query { areas: [name("b")].into(), ..Query::default() };
    let day = Query { from: hour(many / 2), to: hour(many / 2 + 24), ..of_b.clone() };
    let (count, found) = steps(begin(&replica, &day, None, 100));
    assert_eq!((count, found.pools.len()), (1, 24));
    // A page of an area's pools is at hand, wherever its ids lie among all.
    let (count, found) = steps(begin(&replica, &of_b, None, 100));
    assert_eq!((count, found.pools.len()), (1, 100));
    let (count, found) = steps(begin(&replica, &Query::default(), Some(found.pools[99].id.clone()), 500));
    assert_eq!((count, found.pools.len()), (1, 500));
    // No index leads to labels.
    let labels = [(name("fleet"), name("van"))].into();
    let (count, found) = steps(begin(&replica, &Query { labels, ..of_b }, None, 100));
    assert_eq!((count, found.pools.len()), (many as usize / SEARCH_STEP_POOLS, 0));
}
