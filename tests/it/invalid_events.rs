//! Events that no decision produces. `evolve` takes an event's word for the values after it, so what stands between a
//! corrupt or foreign log and a wrong counter is that it refuses these, each by the law that it breaks.

use crate::machine::{Machine, MapLedger};
use crate::scenario::reservation_id;
use headroom::domain::evolve::evolve;
use headroom::domain::{
    Amounts, Attempt, Command, CommandBody, CommandId, Dimension, Entry, EventBody, IdempotencyKey, Law, Micros, Mode,
    Pool, PoolId, PoolRules, PoolSpec, Reason, Rejection, ReleaseCause, ReservationId, Status,
};

fn units(orders: u64) -> Amounts {
    Amounts::new([(Dimension::new("orders").unwrap(), orders)]).unwrap()
}

fn van(name: &str) -> PoolId {
    PoolId::new(name).unwrap()
}

fn id(key: &str) -> ReservationId {
    reservation_id(&van("van-1"), key)
}

fn command(key: &str, body: CommandBody) -> Command {
    let id = CommandId(key.bytes().fold(0, |id, byte| id << 8 | u128::from(byte)));
    let (key, deadline) = (Some(IdempotencyKey::new(key).unwrap()), Micros(1_000_000));
    Command { id, reply_to: None, attempt: Attempt(1), actor: None, key, deadline, body }
}

fn spec(orders: u64) -> PoolSpec {
    PoolSpec {
        limits: units(orders),
        areas: Default::default(),
        window: None,
        labels: Default::default(),
        mode: Mode::Open,
        rules: PoolRules::default(),
    }
}

fn pool(name: &str, used: Amounts, version: u64) -> EventBody {
    EventBody::PoolDefined(Pool { id: van(name), spec: spec(3), used, version })
}

fn entry(key: &str, status: Status, used: u64) -> Entry {
    Entry {
        pool: van("van-1"),
        reservation: id(key),
        status,
        demand: units(1),
        hold_until: None,
        hold_since: None,
        order_ref: None,
        limits: units(3),
        used: units(used),
    }
}

fn refused(key: &str) -> EventBody {
    EventBody::Rejected(Rejection {
        reason: Reason::OverLimit,
        dimension: None,
        pool: Some(van("van-1")),
        reservation: Some(id(key)),
        demand: Some(units(1)),
        demand_before: None,
        order_ref: None,
        limits: None,
        used: None,
        mode: None,
        version: None,
        hold_until: None,
        existing_reservation: None,
        asked: None,
    })
}

#[test]
fn an_event_that_no_decision_produces_is_refused_by_the_law_it_breaks() {
    let mut machine = Machine::new(0, 1, MapLedger::default());
    let reserve = |key, hold_ttl_ms| {
        let (pool, reservation) = (van("van-1"), id(key));
        command(key, CommandBody::Reserve { pool, reservation, demand: units(1), hold_ttl_ms, order_ref: None })
    };
    let define = CommandBody::DefinePool { pool: van("van-1"), spec: spec(3), expected_version: None };
    let commands = [command("P1", define), reserve("K1", None), reserve("K2", Some(1_000)), reserve("K3", None)];
    machine.turn(Micros(1), &commands).unwrap();
    let accepted = |key, used| EventBody::Accepted(entry(key, Status::Confirmed, used));
    let amended = |key, status, before, after, used| {
        EventBody::Amended(Entry { demand: units(after), ..entry(key, status, used) }, units(before))
    };
    let pallets = Amounts::new([(Dimension::new("pallets").unwrap(), 1)]).unwrap();
    let unknown = EventBody::Accepted(Entry { demand: pallets, ..entry("K9", Status::Confirmed, 3) });
    let released = |key, used| EventBody::Released(entry(key, Status::Released, used), ReleaseCause::Caller);
    let bodies = [
        (pool("van-2", units(1), 1), Law::OneState),
        (pool("van-2", Amounts::default(), 1), Law::OneState),
        (pool("van-2", units(0), 2), Law::OneState),
        (pool("van-1", units(2), 2), Law::OneState),
        (pool("van-1", units(3), 3), Law::OneState),
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
