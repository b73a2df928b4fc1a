//! Events that no decision produces. `evolve` takes an event's word for the values after it, so what stands between a
//! corrupt or foreign log and a wrong counter is that it refuses these, each by the law that it breaks. So does a state
//! with those that do not follow on what it has folded.

use crate::fixtures::{
    amounts, command, define, hold, key, open_pool, orders, pool_id, rejection, reservation_id, reserve,
};
use crate::machine::{Machine, MapLedger};
use headroom::domain::evolve::evolve;
use headroom::domain::{
    Amounts, Cause, ChainedEvent, Command, CommandBody, CommandId, Entry, Event, EventBody, Law, Micros, Pool, Reason,
    Rejection, ReleaseCause, ReservationId, Status,
};
use headroom::replica::{PartitionState, Position};
use headroom::wire;

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

/// An event that follows on what the state has folded.
fn next(state: &PartitionState, cause: Option<Cause>, body: EventBody) -> Event {
    let Position { next_seq: seq, epoch, chain: prev, decided_at, .. } = *state.position();
    Event { partition: 0, seq, epoch, prev, decided_at, cause, body }
}

/// Folds it; the law that it breaks, if it is refused.
fn fold(state: &mut PartitionState, event: Event) -> Result<(), Law> {
    let (_, digest) = wire::event::encode(&event);
    state.fold(&ChainedEvent::new(event, digest)).map_err(|breach| breach.law)
}

fn cause(input_offset: u64, skipped: u64) -> Option<Cause> {
    Some(Cause { input_offset, skipped, command: None, unread: None })
}

/// One command is decided, by the third owner at ten. Beside it, the event that decides the one after two places without a
/// command.
fn begun() -> (PartitionState, Event) {
    let mut state = PartitionState::new(0);
    let malformed = || EventBody::Malformed { detail: "no command".to_owned() };
    let barrier = next(&state, None, EventBody::Barrier { nonce: 1 });
    assert_eq!(fold(&mut state, Event { epoch: 3, decided_at: Micros(10), ..barrier }), Ok(()));
    let first = next(&state, cause(0, 0), malformed());
    assert_eq!(fold(&mut state, first), Ok(()));
    let second = next(&state, cause(3, 2), malformed());
    (state, second)
}

/// The clock is set from one time to another.
fn clock_set(event: &mut Event, from: u64, to: u64) {
    event.cause = None;
    event.decided_at = Micros(to);
    event.body = EventBody::ClockSet { from: Micros(from), detail: "by hand".to_owned() };
}

type Change = fn(&mut Event);

const FOLLOWING: &[(&str, Change)] = &[
    ("as it is", |_| {}),
    ("of the next owner", |event| event.epoch = 4),
    ("decided later", |event| event.decided_at = Micros(11)),
    ("that sets the clock back", |event| clock_set(event, 10, 9)),
    ("that sets the clock back from a later time", |event| clock_set(event, 12, 11)),
];

const NOT_FOLLOWING: &[(&str, Law, Change)] = &[
    ("of another partition", Law::Chain, |event| event.partition = 1),
    ("of a number that was there", Law::Chain, |event| event.seq = 1),
    ("behind a gap", Law::Chain, |event| event.seq = 3),
    ("after another one", Law::Chain, |event| event.prev.0[15] ^= 1),
    ("of the owner before", Law::Chain, |event| event.epoch = 2),
    ("decided earlier", Law::ClocksDecideNothing, |event| event.decided_at = Micros(9)),
    ("that sets the clock from an earlier time", Law::ClocksDecideNothing, |event| clock_set(event, 9, 8)),
    ("that sets the clock to what it is", Law::ClocksDecideNothing, |event| clock_set(event, 10, 10)),
    ("that sets the clock forward", Law::ClocksDecideNothing, |event| clock_set(event, 10, 11)),
    ("that leaves a command out", Law::OneDecision, |event| event.cause = cause(3, 1)),
    ("that decides a command again", Law::OneDecision, |event| event.cause = cause(3, 3)),
    ("that skips more than there is", Law::OneDecision, |event| event.cause = cause(3, 4)),
];

/// The story: two owners wrote into one log, or a tool has put it together of two. A state that folded what does not
/// follow would go on from it, and say nothing.
#[test]
fn an_event_that_does_not_follow_on_the_last_one_is_refused_by_the_law_it_breaks() {
    for (what, change) in FOLLOWING {
        let (mut state, mut event) = begun();
        change(&mut event);
        assert_eq!(fold(&mut state, event), Ok(()), "{what}");
    }
    for (what, law, change) in NOT_FOLLOWING {
        let (mut state, mut event) = begun();
        let before = *state.position();
        change(&mut event);
        assert_eq!((fold(&mut state, event), *state.position()), (Err(*law), before), "{what}");
    }
}
