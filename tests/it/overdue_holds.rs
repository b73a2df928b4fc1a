//! Holds that end while nobody can look, or more at once than one turn expires: they refuse nobody.

use crate::fixtures::{self, NOW, amounts, append, command, hold, key, open_pool, orders, pool_id, reservation_id};
use crate::http::client::Client;
use crate::server::Server;
use crate::ticks::run;
use crate::world::{ManualClock, World, commit_turn};
use headroom::domain::*;
use headroom::limits::{TURN_OVERDUE_MAX, TURN_RECORDS_MAX, TURN_TIMERS_MAX};
use headroom::log::embedded::Owned;
use headroom::log::{CommitOutcome, LogError, OwnedPartition, Polled, StoredCommand, Turn};
use headroom::owner::Partition;
use headroom::owner::shell::End;
use headroom::wire;
use std::sync::Arc;
use std::time::Duration;

const HOLD_MS: u64 = 1_000;

/// Keyed by its number; its deadline is ten seconds after `now`.
fn encoded(number: u64, now: Micros, body: CommandBody) -> Vec<u8> {
    let (key, deadline) = (Some(key(&format!("K{number}"))), now.plus_ms(10_000));
    wire::command::encode(&Command { key, deadline, ..command(number, body) })
}

fn define(number: u64, name: &str, units: u64) -> Vec<u8> {
    encoded(number, NOW, fixtures::define(&pool_id(name), orders(units)))
}

fn reserve(number: u64, now: Micros, name: &str, hold_ttl_ms: Option<u64>) -> Vec<u8> {
    let (pool, key) = (pool_id(name), format!("K{number}"));
    let body = hold_ttl_ms.map_or_else(|| fixtures::reserve(&pool, &key), |ttl_ms| hold(&pool, &key, ttl_ms));
    encoded(number, now, body)
}

/// Decides these, as many turns as that takes.
fn decided(world: &World, commands: &[Vec<u8>]) {
    let (handle, mut owned) = world.recover(0);
    let owner = handle.read(|state| Partition::claim(state, 1));
    for commands in commands.chunks(TURN_RECORDS_MAX) {
        for bytes in commands {
            append(&*world.log, 0, bytes);
        }
        assert_eq!(commit_turn(&owner, &handle, &mut owned, NOW).len(), commands.len());
    }
}

#[test]
fn overdue_holds_refuse_nobody_before_they_are_expired() {
    let crowd = 3 * TURN_TIMERS_MAX as u64;
    let mut commands = vec![define(1, "crowded", crowd), define(2, "full", 2)];
    commands.extend((10..10 + crowd).map(|n| reserve(n, NOW, "crowded", Some(HOLD_MS))));
    // Due after the crowd.
    commands.push(reserve(3, NOW, "full", Some(HOLD_MS + 1)));
    commands.push(reserve(4, NOW, "full", None));
    let world = World::new(1);
    decided(&world, &commands);
    let (handle, mut owned) = world.recover(0);
    let owner = handle.read(|state| Partition::claim(state, 1));
    let late = NOW.plus_ms(2 * HOLD_MS);
    for number in [5, 6] {
        let bytes = reserve(number, late, "full", None);
        append(&*world.log, 0, &bytes);
    }
    let events = commit_turn(&owner, &handle, &mut owned, late);
    let kinds: Vec<_> = events.iter().map(|recorded| recorded.event.body.kind()).collect();
    let (answers, timers) = (&kinds[kinds.len() - 2..], &kinds[..kinds.len() - 2]);
    // One place has come free, and one only.
    assert_eq!(answers, [EventKind::Accepted, EventKind::Rejected]);
    assert!(timers.len() == TURN_TIMERS_MAX + 1 && timers.iter().all(|kind| *kind == EventKind::Expired), "{timers:?}");
    let left = || handle.read(|state| state.due(late, usize::MAX).len());
    assert_eq!(left(), 2 * TURN_TIMERS_MAX);
    while left() > 0 {
        let expired = commit_turn(&owner, &handle, &mut owned, late);
        assert!(!expired.is_empty() && expired.len() <= TURN_TIMERS_MAX);
    }
    world.assert_recovers_alike(&handle, "when all is expired");
}

/// What ended is in nobody's way, whichever of its traces a command meets: its units, its order, or that it lived.
#[test]
fn a_hold_that_has_ended_is_none_of_its_order_and_keeps_neither_its_pool_nor_a_dimension() {
    let crowd = 3 * TURN_TIMERS_MAX as u64;
    let [sole, leaving, narrow] = ["sole", "leaving", "narrow"].map(pool_id);
    let defined = |pool: &PoolId, spec| CommandBody::DefinePool { pool: pool.clone(), spec, expected_version: None };
    let rules = PoolRules { unique_order_ref: true, ..PoolRules::default() };
    let of_order = |number: u64, hold_ttl_ms| CommandBody::Reserve {
        pool: sole.clone(),
        reservation: reservation_id(&sole, &format!("K{number}")),
        demand: orders(1),
        hold_ttl_ms,
        order_ref: Name::new("O-1").ok(),
    };
    let mut commands = vec![
        define(1, "crowded", crowd),
        encoded(2, NOW, defined(&sole, PoolSpec { rules, ..open_pool(orders(9)) })),
        define(3, "leaving", 9),
        encoded(4, NOW, defined(&narrow, open_pool(amounts(&[("crates", 9), ("orders", 9)])))),
    ];
    commands.extend((10..10 + crowd).map(|n| reserve(n, NOW, "crowded", Some(HOLD_MS))));
    // Due after the crowd.
    let crates = CommandBody::Reserve {
        pool: narrow.clone(),
        reservation: reservation_id(&narrow, "K7"),
        demand: amounts(&[("crates", 1)]),
        hold_ttl_ms: Some(HOLD_MS + 1),
        order_ref: None,
    };
    commands.extend([encoded(5, NOW, of_order(5, Some(HOLD_MS + 1))), reserve(6, NOW, "leaving", Some(HOLD_MS + 1))]);
    commands.push(encoded(7, NOW, crates));
    let world = World::new(1);
    decided(&world, &commands);
    let (handle, mut owned) = world.recover(0);
    let owner = handle.read(|state| Partition::claim(state, 1));
    let late = NOW.plus_ms(2 * HOLD_MS);
    let retire = CommandBody::RetirePool { pool: leaving, with_reservations: false, expected_version: None };
    for (number, body) in
        [(1_001, of_order(1_001, None)), (1_002, retire), (1_003, defined(&narrow, open_pool(orders(9))))]
    {
        append(&*world.log, 0, &encoded(number, late, body));
    }
    let events = commit_turn(&owner, &handle, &mut owned, late);
    let kinds: Vec<_> = events.iter().map(|recorded| recorded.event.body.kind()).collect();
    let (answers, timers) = (&kinds[kinds.len() - 3..], &kinds[..kinds.len() - 3]);
    assert_eq!(answers, [EventKind::Accepted, EventKind::PoolRetired, EventKind::PoolDefined]);
    assert!(timers.len() == TURN_TIMERS_MAX + 3 && timers.iter().all(|kind| *kind == EventKind::Expired), "{timers:?}");
    world.assert_recovers_alike(&handle, "after the turn");
}

/// The holds of a full pool are found among its own, not among all that are due.
#[test]
fn however_many_holds_of_others_are_due_before_a_full_pool_refuses_nobody_for_its_own() {
    let crowd = TURN_OVERDUE_MAX as u64 + 10;
    let mut commands = vec![define(1, "crowded", crowd), define(2, "full", 1)];
    commands.extend((10..10 + crowd).map(|n| reserve(n, NOW, "crowded", Some(HOLD_MS))));
    commands.push(reserve(3, NOW, "full", Some(HOLD_MS + 1)));
    let world = World::new(1);
    decided(&world, &commands);
    let (handle, mut owned) = world.recover(0);
    let owner = handle.read(|state| Partition::claim(state, 1));
    let late = NOW.plus_ms(2 * HOLD_MS);
    append(&*world.log, 0, &reserve(5, late, "full", None));
    let events = commit_turn(&owner, &handle, &mut owned, late);
    assert_eq!(events.last().map(|recorded| recorded.event.body.kind()), Some(EventKind::Accepted));
    assert_eq!(events.len(), TURN_TIMERS_MAX + 2);
}

#[test]
fn an_owner_is_ready_after_overdue_holds_are_expired() {
    let count = TURN_OVERDUE_MAX as u64 + 1_000;
    let world = World::new(1);
    let mut commands = vec![define(1, "van-1", count)];
    commands.extend((10..10 + count).map(|n| reserve(n, NOW, "van-1", Some(HOLD_MS))));
    decided(&world, &commands);
    let dir = world.close();
    let clock = Arc::new(ManualClock::at(NOW.plus_ms(2 * HOLD_MS)));
    let server = Server::start(dir.path(), 1, clock);
    // All of them were in the way.
    let body = format!(r#"{{"pool":"van-1","demand":{{"orders":{count}}}}}"#);
    let reply = Client::connect(server.address).send("POST", "/v1/reservations", &["Request-Timeout-Ms: 5000"], &body);
    assert_eq!(reply.status, 201, "{reply:?}");
    drop(server);
}

/// A log whose next owner has the partition as soon as this one has written its barrier.
struct TakenOver {
    owned: Owned,
    is_begun: bool,
}

impl OwnedPartition for TakenOver {
    fn poll(&mut self, _: &mut Vec<StoredCommand>, _: Duration) -> Result<Polled, LogError> {
        Ok(Polled::Closed)
    }

    fn commit(&mut self, turn: Arc<Turn>) -> CommitOutcome {
        if std::mem::replace(&mut self.is_begun, true) { CommitOutcome::Fenced } else { self.owned.commit(turn) }
    }
}

/// The story: a start was told to be at its last step, while the partition was read anew from its begin.
#[test]
fn a_claim_that_ends_before_overdue_holds_are_expired_expires_them_no_more() {
    let world = World::new(1);
    decided(&world, &[define(1, "van-1", 1), reserve(10, NOW, "van-1", Some(HOLD_MS))]);
    world.clock.set(NOW.plus_ms(2 * HOLD_MS));
    let (handle, owned) = world.recover(0);
    assert_eq!(run(&world, &handle, TakenOver { owned, is_begun: false }, None), End::Fenced);
    assert!(!handle.progress().is_expiring());
}
