//! Holds that end while nobody can look, or more at once than one turn expires: they refuse nobody.

use crate::fixtures::{self, NOW, append, command, hold, key, orders, pool_id};
use crate::http::client::Client;
use crate::server::Server;
use crate::world::{ManualClock, World, commit_turn};
use headroom::domain::*;
use headroom::limits::{TURN_OVERDUE_MAX, TURN_RECORDS_MAX, TURN_TIMERS_MAX};
use headroom::owner::Partition;
use headroom::wire;
use std::sync::Arc;

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
