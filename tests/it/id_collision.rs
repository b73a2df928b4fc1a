//! A reservation's id holds a hash of its pool, and two pools may have the same. An id belongs to one of them: whoever
//! asks for it under the other is refused, and what it takes is given back where it was taken.

use crate::fixtures::{NOW, command, define, key, orders, pool_id, reserve_as};
use crate::machine::{Machine, MapLedger};
use headroom::domain::evolve::evolve;
use headroom::domain::route::pool_hash;
use headroom::domain::*;
use headroom::limits::DEDUP_WINDOW_MS;
use std::collections::BTreeMap;

/// Two pools whose ids begin alike.
pub fn pools() -> [PoolId; 2] {
    let mut seen = BTreeMap::new();
    (0..)
        .map(|n| pool_id(&format!("van-{n}")))
        .find_map(|pool| seen.insert(pool_hash(&pool), pool.clone()).map(|other| [other, pool]))
        .unwrap()
}

/// Under the one key of these tests; its deadline is five seconds after `at`.
fn keyed(number: u64, at: Micros, body: CommandBody) -> Command {
    Command { key: Some(key("K")), deadline: at.plus_ms(5_000), ..command(number, body) }
}

fn reserve(number: u64, at: Micros, pool: &PoolId, reservation: ReservationId) -> Command {
    keyed(number, at, reserve_as(pool, reservation, 1))
}

fn abandon(number: u64, pool: &PoolId, reservation: ReservationId) -> Command {
    keyed(number, NOW, CommandBody::Abandon { pool: pool.clone(), reservation })
}

fn machine(pools: &[PoolId; 2]) -> Machine {
    // What may be forgotten is kept: it must not count.
    let mut machine = Machine::new(0, 1, MapLedger { hoards: true, ..MapLedger::default() });
    for (number, pool) in (900..).zip(pools) {
        machine.turn(NOW, &[keyed(number, NOW, define(pool, orders(5)))]).unwrap();
    }
    machine
}

fn answer(machine: &mut Machine, at: Micros, command: Command) -> (EventKind, Option<Reason>) {
    let body = machine.turn(at, &[command]).unwrap().answers.pop().unwrap();
    (body.kind(), body.rejection().map(|rejection| rejection.reason))
}

#[test]
fn an_id_of_another_pool_is_refused_and_a_forgotten_one_is_the_new_pools() {
    let pools = pools();
    let [one, other] = &pools;
    let id = ReservationId::new(pool_hash(one), [7; 11]);
    let refused = (EventKind::Rejected, Some(Reason::KeyReused));
    // Cancelled under one pool, then asked for under the other.
    let mut machine = machine(&pools);
    assert_eq!(answer(&mut machine, NOW, abandon(1, one, id)), (EventKind::Abandoned, None));
    assert_eq!(answer(&mut machine, NOW, reserve(2, NOW, other, id)), refused);
    assert_eq!(answer(&mut machine, NOW, abandon(3, other, id)), refused);
    assert_eq!(answer(&mut machine, NOW, reserve(4, NOW, one, id)), (EventKind::Accepted, None));
    assert_eq!(answer(&mut machine, NOW, abandon(4, other, id)), refused);
    assert_eq!(machine.ledger.reservations[&id].attempts.live(), [Attempt(4)]);
    assert_eq!(answer(&mut machine, NOW, reserve(5, NOW, other, id)), refused);
    assert_eq!(answer(&mut machine, NOW, abandon(4, one, id)), (EventKind::Released, None));
    // When nothing of it counts any more it is whose it is asked for.
    let later = NOW.plus_ms(DEDUP_WINDOW_MS);
    assert_eq!(answer(&mut machine, later, reserve(6, later, other, id)), (EventKind::Accepted, None));
    assert_eq!(machine.ledger.reservations[&id].pool, *other);
    assert_eq!(machine.ledger.pools[other].used, orders(1));
    let release = keyed(7, later, CommandBody::Release { reservation: id });
    assert_eq!(answer(&mut machine, later, release), (EventKind::Released, None));
    assert_eq!(pools.each_ref().map(|pool| machine.ledger.pools[pool].used.clone()), [orders(0), orders(0)]);
}

#[test]
fn an_event_that_tells_of_a_reservation_under_another_pool_is_refused() {
    let pools = pools();
    let [one, other] = &pools;
    let (held, void) = (ReservationId::new(pool_hash(one), [7; 11]), ReservationId::new(pool_hash(one), [8; 11]));
    let mut machine = machine(&pools);
    let Command { body, .. } = reserve(1, NOW, one, held);
    let CommandBody::Reserve { pool, reservation, demand, order_ref, .. } = body else { panic!() };
    let hold = CommandBody::Reserve { pool, reservation, demand, hold_ttl_ms: Some(60_000), order_ref };
    assert_eq!(answer(&mut machine, NOW, keyed(1, NOW, hold)), (EventKind::Accepted, None));
    let accepted = machine.events.last().unwrap().clone();
    assert_eq!(answer(&mut machine, NOW, abandon(2, one, void)), (EventKind::Abandoned, None));
    let entry = |reservation, status, used| {
        let mut entry = accepted.body.entry().unwrap().clone();
        (entry.pool, entry.reservation, entry.status, entry.used) = (other.clone(), reservation, status, orders(used));
        entry
    };
    let bodies = [
        EventBody::Accepted(entry(void, Status::Held, 1)),
        EventBody::Confirmed(entry(held, Status::Confirmed, 0)),
        EventBody::Extended(entry(held, Status::Held, 0)),
        EventBody::Amended(entry(held, Status::Held, 0), orders(1)),
        EventBody::Released(entry(held, Status::Released, 0), ReleaseCause::Caller),
        EventBody::Expired(entry(held, Status::Expired, 0)),
        EventBody::Repeated(Box::new(EventBody::Accepted(entry(held, Status::Held, 0))), None),
        EventBody::Abandoned { pool: other.clone(), reservation: held },
        EventBody::Abandoned { pool: other.clone(), reservation: void },
    ];
    for body in bodies {
        let event = Event { body, ..accepted.clone() };
        let breach = evolve(&mut machine.ledger.clone(), &event).unwrap_err();
        assert!(
            breach.law == Law::OneState && breach.detail.contains("the event names pool"),
            "{:?}: {breach}",
            event.body
        );
    }
}
