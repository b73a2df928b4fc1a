//! A pool retires in one step, however many reservations it has, and what lies in memory of it is swept a little with each
//! event. Work is counted in entries that an event changes, which are the rows of a checkpoint after it.

use crate::fixtures::{command, define, hold, open_pool, orders, pool_id, reservation_id, reserve_as};
use headroom::domain::route::pool_hash;
use headroom::domain::*;
use headroom::limits::DEDUP_WINDOW_MS;
use headroom::log::{CommitOutcome, StoredCommand};
use headroom::owner::Partition;
use headroom::replica::PartitionState;
use headroom::replica::state::SWEPT_PER_EVENT_MAX;
use headroom::wire;

const NOW: Micros = Micros(1_000_000_000_000);
const LOG_ID: u128 = 7;

/// An owner without a log.
struct Owned {
    owner: Partition,
    state: PartitionState,
    inputs: u64,
}

impl Owned {
    /// A partition with one pool that has so many reservations.
    fn with(reservations: u32) -> Owned {
        let state = PartitionState::new(0);
        let mut owned = Owned { owner: Partition::claim(&state, 1), state, inputs: 0 };
        owned.turn([define(&pool_id("large"), orders(1_000_000))], NOW);
        owned.turn([define(&pool_id("other"), orders(1_000_000))], NOW);
        let bodies: Vec<_> = (0..reservations).map(|n| reserve_as(&pool_id("large"), id("large", n), 1)).collect();
        bodies.chunks(4_000).for_each(|bodies| owned.turn(bodies.iter().cloned(), NOW));
        owned.changed();
        owned
    }

    fn turn(&mut self, bodies: impl IntoIterator<Item = CommandBody>, now: Micros) {
        let first = self.inputs;
        let command = |(body, number)| Command { deadline: now.plus_ms(5_000), ..command(number, body) };
        let records: Vec<_> = bodies
            .into_iter()
            .zip(first..)
            .map(|(body, offset)| {
                let bytes = wire::command::encode(&command((body, offset)));
                StoredCommand { offset, skipped: 0, bytes, trace: None }
            })
            .collect();
        self.inputs += records.len() as u64;
        let staged = self.owner.decide(&self.state, records, now);
        let refused = staged.decided().iter().find_map(|decided| decided.event.body.rejection());
        assert_eq!(refused, None);
        self.owner.conclude(&mut self.state, staged, CommitOutcome::Ok).unwrap();
    }

    /// How many rows the next checkpoint has to write.
    fn changed(&mut self) -> usize {
        self.state.draft_checkpoint(LOG_ID).encode().rows.len()
    }

    /// How many rows hold all of the state.
    fn rows(&mut self) -> usize {
        self.state.mark_all_dirty();
        self.changed()
    }

    fn retire(&mut self) {
        let pool = pool_id("large");
        self.turn([CommandBody::RetirePool { pool, with_reservations: true, expected_version: None }], NOW);
    }
}

fn id(pool: &str, n: u32) -> ReservationId {
    let hash = blake3::hash(&n.to_le_bytes());
    ReservationId::new(pool_hash(&pool_id(pool)), *hash.as_bytes().first_chunk().unwrap())
}

#[test]
fn a_turn_that_retires_a_pool_does_not_depend_on_how_many_reservations_it_has() {
    let work = |reservations: u32| {
        let mut owned = Owned::with(reservations);
        let usual = {
            owned.turn([reserve_as(&pool_id("other"), id("other", 0), 1)], NOW);
            owned.changed()
        };
        owned.retire();
        let retiring = owned.changed();
        let after: Vec<usize> = (1..100)
            .map(|n| {
                owned.turn([reserve_as(&pool_id("other"), id("other", n), 1)], NOW);
                owned.changed()
            })
            .collect();
        (usual, retiring, after.into_iter().max().unwrap())
    };
    for reservations in [400, 40_000] {
        let (usual, retiring, after) = work(reservations);
        // Entries that are swept lie in at most so many pages beside those of the event.
        let most = usual + SWEPT_PER_EVENT_MAX;
        assert!(retiring <= most && after <= most, "{reservations}: {retiring} and {after} rows, usually {usual}");
    }
}

#[test]
fn what_a_retired_pool_leaves_in_memory_is_swept_and_nothing_shows_how_far() {
    let mut owned = Owned::with(1_000);
    let used = owned.state.memory_used(NOW);
    owned.retire();
    let (seen, free) = (owned.state.digest(), owned.state.memory_used(NOW));
    assert!(owned.state.live_count() == 0 && free < used / 100, "{free} of {used} bytes");
    assert!((0..1_000).all(|n| owned.state.reservation(&id("large", n)).is_none()));
    let lies = |owned: &Owned| (0..1_000).filter(|n| owned.state.entry(&id("large", *n)).is_some()).count();
    assert!(lies(&owned) > 900, "it was swept in one step");
    let mut left = lies(&owned);
    while left > 0 {
        let staged = owned.owner.tick(&owned.state, NOW);
        owned.owner.conclude(&mut owned.state, staged, CommitOutcome::Ok).unwrap();
        assert_eq!((owned.state.digest(), owned.state.memory_used(NOW)), (seen, free));
        let now_left = lies(&owned);
        assert!(now_left < left && now_left + SWEPT_PER_EVENT_MAX >= left, "{now_left} after {left}");
        left = now_left;
    }
}

/// Whether a pool may retire by itself changes with its holds, and with its window.
#[test]
fn a_pool_retires_by_itself_when_its_last_hold_has_ended() {
    let mut owned = Owned::with(0);
    let (pool, late) = (pool_id("slot"), NOW.plus_ms(400 * DEDUP_WINDOW_MS));
    let window = |end| {
        let window = Some(Window { start: Micros(0), end, cutoff: Some(Micros(1)) });
        let spec = PoolSpec { window, ..open_pool(orders(9)) };
        CommandBody::DefinePool { pool: pool_id("slot"), spec, expected_version: None }
    };
    owned.turn([define(&pool, orders(9)), hold(&pool, "K1", 60_000), hold(&pool, "K2", 50_000)], NOW);
    assert_eq!(owned.state.retiring(late, 9), []);
    owned.turn([window(Micros(2))], NOW);
    assert_eq!(owned.state.retiring(late, 9), [], "it has live holds");
    owned.turn([CommandBody::Confirm { reservation: reservation_id(&pool, "K2") }], NOW);
    assert_eq!(owned.state.retiring(late, 9), [], "it has a live hold");
    owned.turn([], NOW.plus_ms(60_000));
    assert_eq!(owned.state.retiring(NOW, 9), std::slice::from_ref(&pool));
    let again = Micros(NOW.0 * 2);
    owned.turn([define(&pool_id("other"), orders(1))], NOW.plus_ms(60_000));
    assert_eq!((owned.state.retiring(again, 9), owned.state.live_count()), (Vec::new(), 0));
    assert!(owned.state.pools().get(&pool).is_none());
}

/// A year of pools that come and go leaves nothing behind.
#[test]
fn memory_is_flat_while_pools_come_and_go() {
    let mut owned = Owned::with(0);
    let mut rows = Vec::new();
    for day in 0..40u64 {
        let now = NOW.plus_ms(day * DEDUP_WINDOW_MS);
        for slot in 0..5 {
            let pool = pool_id(&format!("day-{day}-{slot}"));
            owned.turn([define(&pool, orders(100))], now);
            let taken = (0..50).map(|n| reserve_as(&pool, id(pool.as_str(), n), 1));
            owned.turn(taken, now);
            if day >= 7 {
                let pool = pool_id(&format!("day-{}-{slot}", day - 7));
                owned.turn([CommandBody::RetirePool { pool, with_reservations: true, expected_version: None }], now);
            }
        }
        rows.push((
            owned.state.pools().count(),
            owned.state.pool_count(now),
            owned.state.memory_used(now),
            owned.rows(),
        ));
    }
    let (middle, last) = (rows[20], rows[39]);
    assert_eq!((middle.0, middle.1, middle.2), (last.0, last.1, last.2), "{rows:?}");
    assert!(last.3 * 100 <= middle.3 * 105, "rows of a checkpoint: {} after 20 days, {} after 39", middle.3, last.3);
}
