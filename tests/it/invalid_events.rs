//! Events that no decision produces. `evolve` takes an event's word for the values after it, so what stands between a
//! corrupt or foreign log and a wrong counter is that it refuses these, each by the law that it breaks.

use crate::fixtures::{
    amounts, command, define, hold, key, open_pool, orders, pool_id, rejection, reservation_id, reserve,
};
use crate::machine::{Machine, MapLedger};
use headroom::domain::evolve::evolve;
use headroom::domain::{
    Amounts, Command, CommandBody, CommandId, Entry, EventBody, Law, Micros, Pool, Reason, Rejection, ReleaseCause,
    ReservationId, Status,
};

/// Its id is made of its key.
fn keyed(text: &str, body: CommandBody) -> Command {
    let id = CommandId(text.bytes().fold(0, |id, byte| id << 8 | u128::from(byte)));
    Command { id, key: Some(key(text)), deadline: Micros(1_000_000), ..command(1, body) }
}

fn id(key: &str) -> ReservationId {
    reservation_id(&pool_id("van-1"), key)
}

fn pool(name: &str, used: Amounts, version: u64) -> EventBody {
    EventBody::PoolDefined(Pool { id: pool_id(name), spec: open_pool(orders(3)), used, version })
}

fn entry(key: &str, status: Status, used: u64) -> Entry {
    Entry {
        pool: pool_id("van-1"),
        reservation: id(key),
        status,
        demand: orders(1),
        hold_until: None,
        hold_since: None,
        order_ref: None,
        limits: orders(3),
        used: orders(used),
    }
}

fn refused(key: &str) -> EventBody {
    let (pool, reservation, demand) = (Some(pool_id("van-1")), Some(id(key)), Some(orders(1)));
    EventBody::Rejected(Rejection { pool, reservation, demand, ..rejection(Reason::OverLimit) })
}

#[test]
fn an_event_that_no_decision_produces_is_refused_by_the_law_it_breaks() {
    let mut machine = Machine::new(0, 1, MapLedger::default());
    let van = pool_id("van-1");
    let commands = [
        keyed("P1", define(&van, orders(3))),
        keyed("K1", reserve(&van, "K1")),
        keyed("K2", hold(&van, "K2", 1_000)),
        keyed("K3", reserve(&van, "K3")),
    ];
    machine.turn(Micros(1), &commands).unwrap();
    let accepted = |key, used| EventBody::Accepted(entry(key, Status::Confirmed, used));
    let amended = |key, status, before, after, used| {
        EventBody::Amended(Entry { demand: orders(after), ..entry(key, status, used) }, orders(before))
    };
    let pallets = amounts(&[("pallets", 1)]);
    let unknown = EventBody::Accepted(Entry { demand: pallets, ..entry("K9", Status::Confirmed, 3) });
    let released = |key, used| EventBody::Released(entry(key, Status::Released, used), ReleaseCause::Caller);
    let bodies = [
        (pool("van-2", orders(1), 1), Law::OneState),
        (pool("van-2", Amounts::default(), 1), Law::OneState),
        (pool("van-2", orders(0), 2), Law::OneState),
        (pool("van-1", orders(2), 2), Law::OneState),
        (pool("van-1", orders(3), 3), Law::OneState),
        (accepted("K9", 4), Law::Capacity),
        (accepted("K9", 3), Law::Capacity),
        (unknown, Law::Capacity),
        (amended("K1", Status::Confirmed, 1, 2, 4), Law::Capacity),
        (amended("K1", Status::Confirmed, 1, 2, 3), Law::Capacity),
        (amended("K1", Status::Confirmed, 2, 1, 2), Law::Capacity),
        (amended("K1", Status::Held, 1, 2, 3), Law::OneState),
        (amended("K1", Status::Confirmed, 1, 1, 3), Law::OneState),
        (amended("K9", Status::Confirmed, 1, 1, 3), Law::TrueYes),
        (released("K1", 1), Law::Capacity),
        (released("K9", 2), Law::TrueYes),
        (EventBody::Expired(entry("K9", Status::Expired, 2)), Law::TrueYes),
        (EventBody::Confirmed(entry("K1", Status::Confirmed, 3)), Law::OneState),
        (EventBody::Extended(entry("K1", Status::Held, 3)), Law::OneState),
        (EventBody::Repeated(Box::new(accepted("K9", 3)), None), Law::TrueYes),
        (refused("K1"), Law::TrueYes),
    ];
    for (body, law) in bodies {
        let mut event = machine.events.last().unwrap().clone();
        event.body = body;
        let breach = evolve(&mut machine.ledger.clone(), &event).map_err(|breach| breach.law);
        assert_eq!(breach, Err(law), "{:?}", event.body);
    }
}
