//! A pool retires in one step, however many reservations it has, and what lies in memory of it is swept a little with each
//! event.

use crate::fixtures::{command, define, open_pool, orders, pool_id, reserve_as};
use headroom::domain::route::pool_hash;
use headroom::domain::*;
use headroom::limits::{DEDUP_WINDOW_MS, POOLS_PER_PARTITION_MAX, RETIRE_AFTER_DEFAULT_MS};
use headroom::log::{CommitOutcome, StoredCommand};
use headroom::owner::{Partition, RetiredPools, Staged, TurnReport};
use headroom::replica::checkpoint::Restoring;
use headroom::replica::state::{STEADY_MS, SWEPT_PER_EVENT_MAX};
use headroom::replica::{PartitionState, Position};
use headroom::store::Row;
use headroom::wire;
use headroom::wire::snapshot::{Piece, decode_row, page_row};
use std::ops::Range;

const NOW: Micros = Micros(1_000_000_000_000);
const LOG_ID: u128 = 7;

/// An owner without a log.
struct Owned {
    owner: Partition,
    state: PartitionState,
    inputs: u64,
}

impl Owned {
    /// A partition with two pools and what was asked of them.
    fn with(asked: impl IntoIterator<Item = CommandBody>) -> Owned {
        let state = PartitionState::new(0);
        let mut owned = Owned { owner: Partition::claim(&state, 1), state, inputs: 0 };
        owned.turn([define(&pool_id("large"), orders(1_000_000))], NOW);
        owned.turn([define(&pool_id("other"), orders(1_000_000))], NOW);
        let bodies: Vec<_> = asked.into_iter().collect();
        for bodies in bodies.chunks(4_000) {
            owned.turn(bodies.iter().cloned(), NOW);
        }
        owned
    }

    fn turn(&mut self, bodies: impl IntoIterator<Item = CommandBody>, now: Micros) -> TurnReport {
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
        self.owner.conclude(&mut self.state, staged, CommitOutcome::Ok).unwrap().report
    }

    /// The state that a checkpoint of now comes to.
    fn restored(&mut self) -> PartitionState {
        self.state.mark_all_dirty();
        let checkpoint = self.state.draft_checkpoint(LOG_ID).encode();
        let read = |proof| {
            let mut restoring = Restoring::new(0, LOG_ID);
            for Row { key, value } in &checkpoint.rows {
                value.iter().for_each(|value| restoring.row(key, value));
            }
            restoring.finish(&checkpoint.mark, Some(proof))
        };
        let other = read(Digest::default()).err();
        assert!(other.is_some_and(|why| why.contains("another state")), "a state of another digest is refused");
        read(self.state.digest()).unwrap()
    }

    /// A turn that only says that there is an owner.
    fn tick(&mut self, now: Micros) {
        let staged = self.owner.tick(&self.state, now);
        self.owner.conclude(&mut self.state, staged, CommitOutcome::Ok).unwrap();
    }

    /// How many rows hold all of the state.
    fn rows(&mut self) -> usize {
        self.state.mark_all_dirty();
        self.state.draft_checkpoint(LOG_ID).encode().rows.len()
    }
}

fn retirement() -> CommandBody {
    CommandBody::RetirePool { pool: pool_id("large"), with_reservations: true, expected_version: None }
}

fn plain(pool: &str, n: u32) -> CommandBody {
    reserve_as(&pool_id(pool), id(pool, n), 1)
}

/// A hold for an order of its own.
fn order(pool: &str, n: u32) -> CommandBody {
    let CommandBody::Reserve { pool, reservation, demand, .. } = plain(pool, n) else { panic!() };
    let order_ref = Name::new(&format!("order-{n}")).ok();
    CommandBody::Reserve { pool, reservation, demand, hold_ttl_ms: Some(3_600_000), order_ref }
}

fn id(pool: &str, n: u32) -> ReservationId {
    let hash = blake3::hash(&n.to_le_bytes());
    ReservationId::new(pool_hash(&pool_id(pool)), *hash.as_bytes().first_chunk().unwrap())
}

/// Operations are counted in entries of memory that a turn adds, changes or takes out.
#[test]
fn no_turn_is_longer_than_twice_a_usual_one_when_a_large_pool_retires() {
    const COMMANDS: u32 = 64;
    let large = (0..200_000).map(|n| order("large", n));
    let mut owned = Owned::with(large);
    let mut turns = 0;
    let mut operations = |owned: &mut Owned, extra: Option<CommandBody>| {
        let bodies = (turns * COMMANDS..(turns + 1) * COMMANDS).map(|n| order("other", n));
        turns += 1;
        let before = owned.state.entry_count();
        owned.turn(bodies.chain(extra), NOW);
        // Each adds the reservation, its hold and its order, and keeps the id of the command; and it changes its pool.
        let added = 3 * COMMANDS as usize;
        let taken_out = (before + added).checked_sub(owned.state.entry_count()).unwrap();
        (added + 2 * COMMANDS as usize + taken_out, taken_out)
    };
    let (usual, _) = operations(&mut owned, None);
    let (retiring, _) = operations(&mut owned, Some(retirement()));
    assert!(retiring <= 2 * usual, "{retiring} operations in the turn that retires the pool, usually {usual}");
    for _ in 0..100 {
        let (sweeping, taken_out) = operations(&mut owned, None);
        assert!(taken_out > 0 && sweeping <= 2 * usual, "{sweeping} operations in a turn, usually {usual}");
    }
}

#[test]
fn what_a_retired_pool_leaves_in_memory_is_swept_and_nothing_shows_how_far() {
    let mut owned = Owned::with((0..1_000).map(|n| plain("large", n)));
    let used = owned.state.memory_used(NOW);
    owned.turn([retirement()], NOW);
    let (seen, free) = (owned.state.digest(), owned.state.memory_used(NOW));
    assert!(owned.state.live_count() == 0 && free < used / 100, "{free} of {used} bytes");
    assert!((0..1_000).all(|n| owned.state.reservation(&id("large", n)).is_none()));
    let lies = |owned: &Owned| (0..1_000).filter(|n| owned.state.entry(&id("large", *n)).is_some()).count();
    assert!(lies(&owned) > 900, "it was swept in one step");
    let mut left = lies(&owned);
    while left > 0 {
        owned.tick(NOW);
        assert_eq!((owned.state.digest(), owned.state.memory_used(NOW)), (seen, free));
        let now_left = lies(&owned);
        assert!(now_left < left && now_left + SWEPT_PER_EVENT_MAX >= left, "{now_left} after {left}");
        left = now_left;
    }
}

/// The story: a day with very many reservations is over, and they were swept. With a row for each page that they have filled,
/// each later checkpoint and each later start would be as large as on that day.
#[test]
fn what_was_swept_has_no_place_in_a_checkpoint_nor_in_the_next_start() {
    let mut owned = Owned::with((0..1_000).map(|n| plain("large", n)));
    owned.turn((0..3).map(|n| plain("other", n)), NOW);
    let pages = |owned: &mut Owned| {
        owned.state.mark_all_dirty();
        let rows = owned.state.draft_checkpoint(LOG_ID).encode().rows;
        let pieces = rows.iter().filter_map(|Row { key, value }| decode_row(key, value.as_ref()?).ok());
        pieces.filter(|piece| matches!(piece, Piece::Page(..))).count()
    };
    assert_eq!(pages(&mut owned), 13);
    owned.turn([retirement()], NOW);
    while owned.state.entry_count() > 3 {
        owned.tick(NOW);
    }
    assert_eq!(pages(&mut owned), 1, "the one in which those of the other pool are");
    // A checkpoint of an older version has rows of such pages.
    let rows = owned.rows();
    owned.state.mark_all_dirty();
    let checkpoint = owned.state.draft_checkpoint(LOG_ID).encode();
    let mut restoring = Restoring::new(0, LOG_ID);
    let (key, value) = page_row(500, std::iter::empty());
    restoring.row(&key, &value);
    for Row { key, value } in &checkpoint.rows {
        value.iter().for_each(|value| restoring.row(key, value));
    }
    owned.state = restoring.finish(&checkpoint.mark, Some(owned.state.digest())).unwrap();
    assert_eq!(owned.rows(), rows);
    // The places are free.
    owned.turn((3..200).map(|n| plain("other", n)), NOW);
    let restored = owned.restored();
    assert!((0..200).all(|n| restored.reservation(&id("other", n)).is_some()));
    assert_eq!(pages(&mut owned), 4);
}

/// A definition with a window that ended so long ago that the pool may retire is only in logs of older versions.
fn defined_before(owned: &mut Owned, end: Micros) {
    let window = Some(Window { start: Micros(0), end, cutoff: None });
    let (id, spec) = (pool_id("slot"), PoolSpec { window, ..open_pool(orders(9)) });
    let used = orders(9).map(|_, _| 0);
    let Position { next_seq: seq, chain: prev, epoch, decided_at, .. } = *owned.state.position();
    let body = EventBody::PoolDefined(Pool { id, spec, used, version: 1 });
    let event = Event { partition: 0, seq, epoch, prev, decided_at, cause: None, body };
    let (_, digest) = wire::event::encode(&event);
    owned.state.fold(&ChainedEvent { version: 4, ..ChainedEvent::new(event, digest) }).unwrap();
}

#[test]
fn a_pool_retires_by_itself_when_its_time_has_come() {
    let mut owned = Owned::with([]);
    let slot = pool_id("slot");
    let window = Some(Window { start: Micros(0), end: NOW.plus_ms(60_000), cutoff: None });
    let spec = PoolSpec { window, ..open_pool(orders(9)) };
    owned.turn([CommandBody::DefinePool { pool: slot.clone(), spec, expected_version: None }], NOW);
    owned.turn([plain("slot", 1)], NOW);
    let due = NOW.plus_ms(60_000 + RETIRE_AFTER_DEFAULT_MS);
    owned.tick(due.set_back(STEADY_MS * 1_000));
    assert_eq!(owned.state.next_due(NOW), Some(due));
    assert_eq!(owned.turn([], due.set_back(1)).retired, None);
    assert!(owned.state.pools().get(&slot).is_some());
    assert_eq!(owned.turn([], due).retired, Some(RetiredPools { pools: 1, live: 1 }));
    assert_eq!((owned.state.pools().get(&slot), owned.state.live_count()), (None, 0));
    assert_eq!(owned.state.next_due(due), None);
}

/// Whoever upgrades a server has an hour to keep what would retire, however long ago its window ended, and whether or not the
/// server began with a checkpoint.
#[test]
fn pools_of_an_older_version_retire_an_hour_after_the_first_event_of_this_one() {
    let upgraded = NOW.plus_ms(60_000);
    let steady = upgraded.plus_ms(STEADY_MS);
    for is_restored in [false, true] {
        let mut owned = Owned::with([]);
        assert_eq!(owned.state.overdue(), (0, 0));
        defined_before(&mut owned, Micros(1));
        if is_restored {
            owned.state = owned.restored();
        }
        assert_eq!(owned.state.overdue(), (1, 0), "what a line of the start tells");
        owned.tick(upgraded);
        assert_eq!(owned.state.next_due(upgraded), Some(steady));
        owned.turn([], steady.set_back(1));
        assert!(owned.state.pools().get(&pool_id("slot")).is_some());
        assert_eq!(owned.turn([], steady).retired, Some(RetiredPools { pools: 1, live: 0 }));
        assert_eq!(owned.state.overdue(), (0, 0));
        assert!(owned.state.pools().get(&pool_id("slot")).is_none());
    }
}

/// What an owner waits for is in no checkpoint. So an owner that began with one retires a pool later, but it folds the same
/// events to the same state.
#[test]
fn within_that_hour_a_checkpoint_changes_when_an_owner_decides_and_not_what_a_state_becomes() {
    let upgraded = NOW.plus_ms(60_000);
    let steady = upgraded.plus_ms(STEADY_MS);
    let mut owned = Owned::with([]);
    defined_before(&mut owned, Micros(1));
    owned.tick(upgraded);
    owned.tick(upgraded.plus_ms(STEADY_MS / 2));
    let mut restored = owned.restored();
    let [staged, other] = [&owned.state, &restored].map(|state| owned.owner.decide(state, Vec::new(), steady));
    let kinds = |staged: &Staged| staged.decided().iter().map(|decided| decided.event.body.kind()).collect::<Vec<_>>();
    assert_eq!((kinds(&staged), kinds(&other)), (vec![EventKind::PoolRetired], vec![EventKind::Tick]));
    staged.decided().iter().for_each(|decided| restored.fold(decided).unwrap());
    owned.owner.conclude(&mut owned.state, staged, CommitOutcome::Ok).unwrap();
    assert_eq!((restored.digest(), restored.position()), (owned.state.digest(), owned.state.position()));
}

/// The hour is one in which only this version writes.
#[test]
fn an_event_of_an_older_version_begins_the_hour_again() {
    let mut owned = Owned::with([]);
    owned.tick(NOW);
    owned.tick(NOW.plus_ms(STEADY_MS - 1));
    defined_before(&mut owned, Micros(1));
    owned.turn([], NOW.plus_ms(STEADY_MS));
    assert!(owned.state.pools().get(&pool_id("slot")).is_some());
    let steady = NOW.plus_ms(2 * STEADY_MS);
    owned.turn([], steady.set_back(1));
    assert!(owned.state.pools().get(&pool_id("slot")).is_some());
    assert_eq!(owned.turn([], steady).retired, Some(RetiredPools { pools: 1, live: 0 }));
}

/// What a planner does in that hour to keep a pool.
#[test]
fn a_pool_whose_window_is_cleared_or_extended_in_time_lives_on() {
    let none = Edit::Clear;
    let longer = Edit::To(WindowChange { end: Some(NOW.plus_ms(30 * DEDUP_WINDOW_MS)), ..WindowChange::default() });
    for window in [none, longer] {
        let mut owned = Owned::with([]);
        defined_before(&mut owned, Micros(1));
        let (pool, change) = (pool_id("slot"), PoolChange { window, ..PoolChange::default() });
        owned.turn([CommandBody::ChangePool { pool, change, expected_version: None }], NOW);
        owned.turn([], NOW.plus_ms(STEADY_MS));
        assert!(owned.state.pools().get(&pool_id("slot")).is_some());
    }
}

/// What has retired cannot be brought back, so a clock that runs ahead must not be what retires it.
#[test]
fn while_the_time_has_just_jumped_no_pool_retires_by_itself() {
    let mut owned = Owned::with([]);
    let slot = pool_id("slot");
    defined_before(&mut owned, NOW.plus_ms(60_000));
    let ahead = NOW.plus_ms(400 * DEDUP_WINDOW_MS);
    assert!(owned.state.next_due(ahead).unwrap() <= ahead);
    owned.turn([], ahead);
    let steady = ahead.plus_ms(STEADY_MS);
    assert_eq!((owned.state.next_due(ahead), owned.state.position().decided_at), (Some(steady), ahead));
    owned.turn([], steady.set_back(1));
    assert!(owned.state.pools().get(&slot).is_some());
    // The clock is set back in time, and the pool lives on until its own time.
    let staged = owned.owner.set_clock(&owned.state, steady.set_back(1), NOW, "it ran ahead");
    owned.owner.conclude(&mut owned.state, staged, CommitOutcome::Ok).unwrap();
    owned.turn([], NOW.plus_ms(STEADY_MS));
    assert!(owned.state.pools().get(&slot).is_some());
    // A jump that nobody takes back is the time.
    owned.turn([], ahead);
    owned.turn([], steady);
    assert!(owned.state.pools().get(&slot).is_none());
}

/// The next life may begin before all of the last one has left memory.
#[test]
fn what_is_not_swept_yet_has_no_part_in_the_next_life() {
    let mut owned = Owned::with((0..1_000).map(|n| order("large", n)));
    owned.turn([retirement()], NOW);
    let later = NOW.plus_ms(DEDUP_WINDOW_MS);
    owned.turn([define(&pool_id("large"), orders(3)), order("large", 999), order("large", 7)], later);
    assert!(owned.state.entry(&id("large", 500)).is_some(), "all of it was swept");
    let seen = |state: &PartitionState| {
        let pool = state.pools().get(&pool_id("large")).unwrap();
        let orders = ["order-7", "order-8"].map(|order| state.of_order(&pool_id("large"), order, |_| true));
        (
            pool.used.clone(),
            state.live_count(),
            state.living(&pool_id("large")),
            orders,
            state.due(later, 9),
            state.digest(),
        )
    };
    let now = seen(&owned.state);
    assert_eq!((&now.0, now.1, &now.3, &now.4), (&orders(2), 2, &[Some(id("large", 7)), None], &Vec::new()));
    assert_eq!(seen(&owned.restored()), now);
    while owned.state.entry(&id("large", 500)).is_some() {
        owned.tick(later);
    }
    assert_eq!((seen(&owned.state).0, owned.state.live_count()), (orders(2), 2));
    // A second end, a second gap, and a third life.
    owned.turn([retirement()], later);
    assert_eq!(
        (owned.state.live_count(), owned.state.memory_used(later)),
        (0, Owned::with([]).state.memory_used(later))
    );
    assert_eq!(owned.restored().digest(), owned.state.digest());
    let third = later.plus_ms(DEDUP_WINDOW_MS);
    owned.turn([define(&pool_id("large"), orders(3)), order("large", 7)], third);
    assert_eq!(owned.state.living(&pool_id("large")), Living { live: 1, held: 1 });
    assert_eq!(owned.restored().digest(), owned.state.digest());
}

/// A partition that has retired so many pools that their ids take every place but its own two.
fn full(until: Micros) -> Owned {
    let mut owned = Owned::with([]);
    let checkpoint = owned.state.draft_checkpoint(LOG_ID).encode();
    let mut restoring = Restoring::new(0, LOG_ID);
    for Row { key, value } in &checkpoint.rows {
        value.iter().for_each(|value| restoring.row(key, value));
    }
    for n in 2..POOLS_PER_PARTITION_MAX {
        let (key, value) = wire::snapshot::retired_row(&pool_id(&format!("day-{n}")), 1, until);
        restoring.row(&key, &value);
    }
    Owned { state: restoring.finish(&checkpoint.mark, None).unwrap(), ..owned }
}

/// The id of a pool that has retired keeps its place until it can be defined anew, so that the memory for ids is bounded.
#[test]
fn with_the_ids_that_are_not_free_a_partition_has_as_many_pools_as_it_may() {
    let later = NOW.plus_ms(DEDUP_WINDOW_MS);
    let mut owned = full(later);
    let is_refused = |owned: &Owned, id: &str, now| {
        let bytes =
            wire::command::encode(&Command { deadline: now, ..command(owned.inputs, define(&pool_id(id), orders(1))) });
        let record = StoredCommand { offset: owned.inputs, skipped: 0, bytes, trace: None };
        let staged = owned.owner.decide(&owned.state, vec![record], now);
        staged.decided().last().unwrap().event.body.rejection().map(|rejection| rejection.reason)
    };
    assert_eq!(owned.state.retired().count(), POOLS_PER_PARTITION_MAX - 2);
    assert_eq!(is_refused(&owned, "new", NOW), Some(Reason::PartitionFull));
    assert_eq!(is_refused(&owned, "day-2", NOW), Some(Reason::PoolRetired));
    owned.turn([retirement()], NOW);
    assert_eq!(is_refused(&owned, "new", NOW), Some(Reason::PartitionFull), "a retirement frees no place at once");
    assert_eq!(is_refused(&owned, "new", later.set_back(1)), Some(Reason::PartitionFull));
    // Nothing is forgotten by then, and yet there are as many places as ids that are free.
    let pools = (0..2_000).map(|n| define(&pool_id(&format!("new-{n}")), orders(1)));
    owned.turn(pools, later);
    assert_eq!(owned.state.pools().count(), 2_001);
    assert_eq!(is_refused(&owned, "day-2", later), None);
}

/// A year of pools that come and go leaves nothing behind.
#[test]
fn memory_is_flat_while_pools_come_and_go() {
    let mut owned = Owned::with([]);
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
            owned.state.retired().count(),
            owned.state.memory_used(now),
            owned.rows(),
        ));
    }
    let (middle, last) = (rows[20], rows[39]);
    assert_eq!((middle.0, middle.2), (last.0, last.2), "{rows:?}");
    // Pools that have retired are forgotten in rounds, so their number goes up and down.
    let most_retired = |days: Range<usize>| rows[days].iter().map(|row| row.1).max();
    assert!(most_retired(30..40) <= most_retired(20..30), "{rows:?}");
    assert!(last.3 * 100 <= middle.3 * 105, "rows of a checkpoint: {} after 20 days, {} after 39", middle.3, last.3);
}

/// The story: pools come and go in a partition with very many reservations, and its server is restarted every day. The round over
/// all of them began anew with each restart and never ended, so that no pool that had retired was ever forgotten.
#[test]
fn a_pool_that_has_retired_is_forgotten_however_often_the_server_is_restarted() {
    let mut owned = Owned::with((0..2_000).map(|n| plain("other", n)));
    owned.turn((0..5).map(|n| plain("large", n)), NOW);
    owned.turn([retirement()], NOW);
    assert_eq!(owned.state.retired().count(), 1);
    let days: Vec<_> = (2..7)
        .map(|day| {
            owned.state = owned.restored();
            owned.tick(NOW.plus_ms(day * DEDUP_WINDOW_MS));
            (owned.state.retired().count(), owned.state.entry_count())
        })
        .collect();
    assert_eq!(days, [(1, 2_003), (1, 2_001), (0, 2_000), (0, 2_000), (0, 2_000)]);
}
