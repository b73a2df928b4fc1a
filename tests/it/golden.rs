//! Bytes that are written for ever. What stands in `tests/golden/` was written by released code and must be written
//! and read alike by this: a difference is a new schema version or a mistake. `HEADROOM_REWRITE_GOLDEN=1` writes the
//! files anew.

use crate::fixtures::{self, dimension, hex, key, name};
use headroom::domain::reservation::AttemptSets;
use headroom::domain::*;
use headroom::log::Reply;
use headroom::wire::snapshot::{decided_row, decode_row, page_row, pool_row, remembered_row};
use headroom::wire::{command, digest, event, reply};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

fn golden(file: &str, lines: &[(String, String)]) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(file);
    let mut text = String::new();
    for (name, value) in lines {
        writeln!(text, "{name} {value}").unwrap();
    }
    if std::env::var_os("HEADROOM_REWRITE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    for (ours, theirs) in text.lines().zip(golden.lines()) {
        assert_eq!(ours, theirs, "{}", path.display());
    }
    assert_eq!(text.lines().count(), golden.lines().count(), "{}", path.display());
}

fn amounts(orders: u64, crates: u64) -> Amounts {
    fixtures::amounts(&[("orders", orders), ("crates", crates)])
}

fn pool_id() -> PoolId {
    fixtures::pool_id("SG-01:2026-11-21T10")
}

fn id() -> ReservationId {
    ReservationId::new(route::pool_hash(&pool_id()), [7; 11])
}

fn spec() -> PoolSpec {
    PoolSpec {
        limits: amounts(100, 3_000),
        areas: [name("SG-01"), name("SG-02")].into(),
        window: Some(Window {
            start: Micros(1_795_255_200_000_000),
            end: Micros(1_795_262_400_000_000),
            cutoff: Some(Micros(1_795_250_000_000_000)),
        }),
        labels: BTreeMap::from([(name("fleet"), name("van"))]),
        mode: Mode::Open,
        rules: PoolRules::default(),
    }
}

fn pool() -> Pool {
    Pool { id: pool_id(), spec: spec(), used: amounts(57, 1_200), version: 3 }
}

fn asks() -> Vec<CommandBody> {
    let (pool, reservation) = (pool_id(), id());
    let by = vec![(dimension("orders"), -2)];
    let adjust = |change| CommandBody::AdjustLimits { pool: pool.clone(), change, expected_version: None };
    vec![
        CommandBody::DefinePool { pool: pool.clone(), spec: spec(), expected_version: Some(0) },
        adjust(LimitChange::To(amounts(12, 0))),
        adjust(LimitChange::By(by)),
        CommandBody::SetMode { pool: pool.clone(), mode: Mode::Closed, expected_version: Some(3) },
        CommandBody::Reserve {
            pool: pool.clone(),
            reservation,
            demand: amounts(1, 4),
            hold_ttl_ms: Some(600_000),
            order_ref: Some(name("A-1234567")),
        },
        CommandBody::Confirm { reservation },
        CommandBody::Extend { reservation, hold_ttl_ms: 60_000 },
        CommandBody::Release { reservation },
        CommandBody::Abandon { pool: pool.clone(), reservation },
    ]
}

/// Those that the first version does not have.
fn newer_asks() -> Vec<CommandBody> {
    let window = WindowChange { start: None, end: Some(Micros(1_795_262_400_000_000)), cutoff: Edit::Clear };
    let change = PoolChange {
        limits: Some(LimitChange::By(vec![(dimension("orders"), 7)])),
        areas: Some([name("SG-03")].into()),
        window: Edit::To(window),
        labels: BTreeMap::from([(name("fleet"), None), (name("shift"), Some(name("early")))]),
        mode: Some(Mode::Paused),
        rules: RuleChange::default(),
    };
    vec![CommandBody::ChangePool { pool: pool_id(), change, expected_version: Some(3) }]
}

/// Those that the second version does not have.
fn newest_asks() -> Vec<CommandBody> {
    let rules = RuleChange {
        hold_ttl_max_ms: Edit::To(600_000),
        hold_life_max_ms: Edit::Clear,
        unique_order_ref: Some(true),
        ..RuleChange::default()
    };
    let change = PoolChange { rules, ..PoolChange::default() };
    vec![
        CommandBody::ChangePool { pool: pool_id(), change, expected_version: None },
        CommandBody::DefinePool {
            pool: pool_id(),
            spec: PoolSpec { rules: ruled(), ..spec() },
            expected_version: None,
        },
        CommandBody::Amend { reservation: id(), demand: amounts(1, 7) },
    ]
}

/// Those that the third version does not have.
fn asks_of_v4() -> Vec<CommandBody> {
    let change = PoolChange {
        rules: RuleChange { retire_after_ms: Edit::Clear, ..RuleChange::default() },
        ..PoolChange::default()
    };
    let spec = PoolSpec { rules: PoolRules { retire_after_ms: Some(172_800_000), ..ruled() }, ..spec() };
    let retire = |with_reservations, expected_version| CommandBody::RetirePool {
        pool: pool_id(),
        with_reservations,
        expected_version,
    };
    vec![
        CommandBody::ChangePool { pool: pool_id(), change, expected_version: None },
        CommandBody::DefinePool { pool: pool_id(), spec, expected_version: None },
        retire(false, None),
        retire(true, Some(3)),
    ]
}

fn ruled() -> PoolRules {
    PoolRules {
        hold_ttl_max_ms: Some(600_000),
        hold_life_max_ms: Some(3_600_000),
        unique_order_ref: true,
        retire_after_ms: None,
    }
}

fn command_of(body: CommandBody) -> Command {
    Command {
        id: CommandId(0x0123_4567_89ab_cdef_0000_0000_0001_e240),
        reply_to: Some(0x8000_0000_0000_0001),
        attempt: Attempt(77),
        actor: Some(name("checkout")),
        key: Some(key("order/2026#123456")),
        deadline: Micros(1_795_240_000_250_000),
        body,
    }
}

fn entry(status: Status) -> Entry {
    Entry {
        pool: pool_id(),
        reservation: id(),
        status,
        demand: amounts(1, 4),
        hold_until: (status == Status::Held).then_some(Micros(1_795_240_600_000_000)),
        hold_since: (status == Status::Held).then_some(Micros(1_795_240_000_000_000)),
        order_ref: Some(name("A-1234567")),
        limits: amounts(100, 3_000),
        used: amounts(57, 1_200),
    }
}

fn bodies() -> Vec<EventBody> {
    let rejection = Rejection {
        reason: Reason::OverLimit,
        dimension: Some(dimension("crates")),
        pool: Some(pool_id()),
        reservation: Some(id()),
        demand: Some(amounts(1, 4)),
        demand_before: None,
        order_ref: None,
        limits: Some(amounts(100, 3_000)),
        used: Some(amounts(57, 3_000)),
        mode: Some(Mode::Open),
        version: Some(3),
        hold_until: None,
        existing_reservation: None,
        live: None,
        retired_until: None,
        asked: None,
    };
    let origin = Origin { seq: 99_000, decided_at: Some(Micros(1_795_230_000_000_000)) };
    let repeated = |body| EventBody::Repeated(Box::new(body), Some(origin));
    vec![
        EventBody::PoolDefined(pool()),
        EventBody::LimitsAdjusted(pool()),
        EventBody::ModeSet(Pool { spec: PoolSpec { mode: Mode::Paused, window: None, ..spec() }, ..pool() }),
        EventBody::Accepted(entry(Status::Held)),
        EventBody::Confirmed(entry(Status::Confirmed)),
        EventBody::Extended(entry(Status::Held)),
        EventBody::Released(entry(Status::Released), ReleaseCause::Caller),
        EventBody::Released(entry(Status::Released), ReleaseCause::Abandoned),
        EventBody::Expired(entry(Status::Expired)),
        repeated(EventBody::Accepted(entry(Status::Confirmed))),
        repeated(EventBody::Rejected(rejection.clone())),
        EventBody::Rejected(rejection),
        EventBody::Abandoned { pool: pool_id(), reservation: id() },
        EventBody::Malformed { detail: "shorter than its frame".to_owned() },
        EventBody::CommandsLost { detail: "by hand: retention".to_owned() },
        EventBody::EventsLost { detail: "by hand: an older copy".to_owned(), from: 123_400, until: 123_900 },
        EventBody::Barrier { nonce: 1 },
        EventBody::Tick,
        EventBody::ClockSet { from: Micros(1_795_268_800_000_000), detail: "by hand: a wrong clock".to_owned() },
    ]
}

/// Those that the second version does not have.
fn newer_bodies() -> Vec<EventBody> {
    let asked = AskedChange {
        limits: Some(LimitChange::By(vec![(dimension("orders"), -101)])),
        mode: Some(Mode::Open),
        version: Some(3),
        hold_ttl_ms: None,
    };
    let rejection = Rejection {
        reason: Reason::LimitOutOfRange,
        dimension: Some(dimension("orders")),
        pool: Some(pool_id()),
        reservation: None,
        demand: None,
        demand_before: None,
        order_ref: None,
        limits: Some(amounts(100, 3_000)),
        used: Some(amounts(57, 1_200)),
        mode: Some(Mode::Open),
        version: Some(3),
        hold_until: None,
        existing_reservation: None,
        live: None,
        retired_until: None,
        asked: Some(Box::new(asked)),
    };
    vec![EventBody::PoolChanged(pool()), EventBody::Rejected(rejection)]
}

/// Those that the third version does not have.
fn newest_bodies() -> Vec<EventBody> {
    let amended = Entry { demand: amounts(1, 7), ..entry(Status::Held) };
    let too_much = Rejection {
        reason: Reason::OverLimit,
        dimension: Some(dimension("crates")),
        pool: Some(pool_id()),
        reservation: Some(id()),
        demand: Some(amounts(1, 7)),
        demand_before: Some(amounts(1, 4)),
        order_ref: None,
        limits: Some(amounts(100, 3_000)),
        used: Some(amounts(57, 2_998)),
        mode: Some(Mode::Open),
        version: Some(3),
        asked: None,
        hold_until: None,
        existing_reservation: None,
        live: None,
        retired_until: None,
    };
    let Some(EventBody::Rejected(rejection)) = newer_bodies().pop() else { panic!("the last one is a refusal") };
    let of = |reason| Rejection { reason, dimension: None, reservation: Some(id()), ..rejection.clone() };
    let too_long = Rejection {
        hold_until: Some(Micros(1_795_240_600_000_000)),
        asked: Some(Box::new(AskedChange { hold_ttl_ms: Some(601_000), ..AskedChange::default() })),
        ..of(Reason::HoldTooLong)
    };
    let another = Rejection { existing_reservation: Some(id()), asked: None, ..of(Reason::OrderHasReservation) };
    let ruled = Pool { spec: PoolSpec { rules: ruled(), ..spec() }, ..pool() };
    let full = Rejection { demand: Some(amounts(1, 4)), asked: None, ..of(Reason::MemoryFull) };
    vec![
        EventBody::PoolChanged(ruled),
        EventBody::Rejected(too_long),
        EventBody::Rejected(another),
        EventBody::Amended(amended, amounts(1, 4)),
        EventBody::Rejected(too_much),
        EventBody::Rejected(full),
    ]
}

/// Those that the fourth version does not have.
fn bodies_of_v5() -> Vec<EventBody> {
    let Some(EventBody::Rejected(rejection)) = newer_bodies().pop() else { panic!("the last one is a refusal") };
    let asked = Some(Box::new(AskedChange { version: Some(3), ..AskedChange::default() }));
    let in_use = Rejection { reason: Reason::PoolInUse, dimension: None, live: Some(57), asked, ..rejection.clone() };
    let too_early = Rejection {
        reason: Reason::PoolRetired,
        dimension: None,
        limits: None,
        used: None,
        mode: None,
        version: None,
        retired_until: Some(Micros(1_795_327_200_000_000)),
        asked: None,
        ..rejection.clone()
    };
    let too_soon = Rejection { reason: Reason::RetiresTooSoon, dimension: None, asked: None, ..rejection };
    let retired = |cause, live| EventBody::PoolRetired(Retirement { pool: pool(), live, cause });
    let rules = PoolRules { retire_after_ms: Some(172_800_000), ..PoolRules::default() };
    vec![
        EventBody::PoolDefined(Pool { spec: PoolSpec { rules, ..spec() }, ..pool() }),
        EventBody::Rejected(in_use),
        EventBody::Rejected(too_early),
        EventBody::Rejected(too_soon),
        retired(RetireCause::Caller, 57),
        retired(RetireCause::Window, 0),
    ]
}

fn cause(kind: EventKind) -> Option<Cause> {
    let stamp = CommandStamp {
        id: CommandId(0x0123_4567_89ab_cdef_0000_0000_0001_e240),
        reply_to: Some(0x8000_0000_0000_0001),
        attempt: Attempt(77),
        actor: Some(name("checkout")),
        kind: CommandKind::Reserve,
        key: Some(key("order/2026#123456")),
        fingerprint: 0xdead_beef_0000_0001,
        deadline: Some(Micros(1_795_240_000_250_000)),
    };
    match kind {
        EventKind::Barrier | EventKind::Tick | EventKind::Expired | EventKind::EventsLost | EventKind::ClockSet => None,
        EventKind::Malformed => {
            Some(Cause { input_offset: 123_400, skipped: 0, command: None, unread: Some(stamp.id) })
        }
        EventKind::CommandsLost => Some(Cause { input_offset: 123_400, skipped: 300, command: None, unread: None }),
        EventKind::Repeated => Some(Cause { skipped: 2, ..Cause::of(123_400, stamp) }),
        _ => Some(Cause::of(123_400, stamp)),
    }
}

fn recorded(body: EventBody) -> (ChainedEvent, Vec<u8>) {
    let event = Event {
        partition: 3,
        seq: 123_456,
        epoch: 4,
        prev: Digest(*b"0123456789abcdef"),
        decided_at: Micros(1_795_240_000_000_000),
        cause: cause(body.kind()),
        body,
    };
    let (bytes, digest) = event::encode(&event);
    (ChainedEvent::new(event, digest), bytes)
}

#[test]
fn commands() {
    let mut lines = Vec::new();
    for body in asks().into_iter().chain(newer_asks()).chain(newest_asks()).chain(asks_of_v4()) {
        let kind = body.kind();
        let command = command_of(body);
        let bytes = command::encode(&command);
        assert_eq!(command::decode(&bytes).unwrap(), command);
        lines.push((format!("{kind:?}"), hex(&bytes)));
    }
    golden("commands.hex", &lines);
}

#[test]
fn events() {
    let (mut lines, mut read) = (Vec::new(), Vec::new());
    for body in bodies().into_iter().chain(newer_bodies()).chain(newest_bodies()).chain(bodies_of_v5()) {
        let kind = body.kind();
        let (recorded, bytes) = recorded(body);
        assert_eq!(event::decode(&bytes).unwrap(), recorded);
        lines.push((format!("{kind:?} {}", recorded.digest), hex(&bytes)));
        read.push((format!("{kind:?}"), event::to_json(&recorded).to_string()));
    }
    golden("events.hex", &lines);
    golden("events.json", &read);
}

fn frozen(file: &str) -> Vec<(String, Vec<u8>)> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(file);
    let text = std::fs::read_to_string(path).unwrap();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    let line = |line: &str| {
        let (name, bytes) = line.rsplit_once(' ').unwrap();
        (name.to_owned(), bytes.as_bytes().chunks(2).map(byte).collect())
    };
    text.lines().map(line).collect()
}

/// What the first version wrote: neither skipped places nor the ids of commands that cannot be read.
fn first_version(mut event: Event) -> Event {
    if let Some(cause) = &mut event.cause {
        (cause.skipped, cause.unread) = (0, None);
    }
    event
}

/// What the second version wrote: neither deadlines nor what a repetition repeats.
fn second_version(mut event: Event) -> Event {
    if let Some(command) = event.cause.as_mut().and_then(|cause| cause.command.as_mut()) {
        command.deadline = None;
    }
    if let EventBody::Repeated(_, origin) = &mut event.body {
        *origin = None;
    }
    event
}

/// What the third version wrote: not since when a hold lives.
fn third_version(mut event: Event) -> Event {
    let body = match &mut event.body {
        EventBody::Repeated(original, _) => &mut **original,
        body => body,
    };
    if let EventBody::Accepted(entry) | EventBody::Extended(entry) = body {
        entry.hold_since = None;
    }
    event
}

/// The events in a frozen file are these, and their digests are those of the bytes that were written then.
fn reads_frozen_events(file: &str, expected: impl ExactSizeIterator<Item = Event>) {
    let lines = frozen(file);
    assert_eq!(lines.len(), expected.len(), "{file}");
    for ((name, bytes), expected) in lines.iter().zip(expected) {
        let read = event::decode(bytes).unwrap();
        assert_eq!(read.event, expected, "{file}");
        assert_eq!(*name, format!("{:?} {}", read.event.body.kind(), read.digest), "{file}");
    }
}

#[test]
fn what_older_versions_wrote_is_read_as_it_was_written() {
    let fourth = bodies().into_iter().chain(newer_bodies()).chain(newest_bodies()).map(|body| recorded(body).0.event);
    reads_frozen_events("events.v4.hex", fourth.collect::<Vec<_>>().into_iter());
    let third = bodies().into_iter().chain(newer_bodies()).map(|body| third_version(recorded(body).0.event));
    reads_frozen_events("events.v3.hex", third.collect::<Vec<_>>().into_iter());
    let second =
        bodies().into_iter().filter(|body| !matches!(body.kind(), EventKind::EventsLost | EventKind::ClockSet));
    let second: Vec<Event> = second.map(|body| third_version(second_version(recorded(body).0.event))).collect();
    let is_first = |event: &Event| event.body.kind() != EventKind::CommandsLost;
    let first: Vec<Event> = second.iter().filter(|event| is_first(event)).cloned().map(first_version).collect();
    reads_frozen_events("events.v2.hex", second.into_iter());
    reads_frozen_events("events.v1.hex", first.into_iter());
    let recorded_then = frozen("replies.v1.hex");
    assert_eq!(recorded_then.len(), 1);
    let read = reply::decode(&recorded_then[0].1).unwrap();
    assert_eq!(read.decided.event, second_version(recorded(EventBody::Accepted(entry(Status::Confirmed))).0.event));
    reads_frozen_commands("commands.v1.hex", asks());
    let second = || asks().into_iter().chain(newer_asks());
    reads_frozen_commands("commands.v2.hex", second().collect());
    reads_frozen_commands("commands.v3.hex", second().chain(newest_asks()).collect());
}

fn reads_frozen_commands(file: &str, asks: Vec<CommandBody>) {
    let commands = frozen(file);
    assert_eq!(commands.len(), asks.len(), "{file}");
    for ((name, bytes), body) in commands.iter().zip(asks) {
        assert_eq!(*name, format!("{:?}", body.kind()));
        assert_eq!(command::id_of(bytes), Some(command_of(body.clone()).id));
        assert_eq!(command::decode(bytes).unwrap(), command_of(body));
    }
}

#[test]
fn replies() {
    let (decided, event) = recorded(EventBody::Accepted(entry(Status::Confirmed)));
    let told = Reply { to: u64::MAX, decided, bytes: event, trace: None };
    let bytes = reply::encode(&told);
    assert_eq!(reply::decode(&bytes).unwrap(), told);
    golden("replies.hex", &[("Decided".to_owned(), hex(&bytes))]);
}

fn reservation(status: Status, attempts: Attempts) -> Reservation {
    Reservation {
        pool: pool_id(),
        demand: amounts(1, 4),
        order_ref: Some(name("A-1234567")),
        attempts,
        fingerprint: 0xdead_beef_0000_0001,
        until: Micros(1_795_240_600_000_000),
        seq: 123_456,
        decided_seq: 123_400,
        judged: match status {
            Status::Refused { .. } => Some(Box::new(Judged::Units { limit: 100, used: 98 })),
            _ => None,
        },
        held_ms: if status == Status::Held { 600_000 } else { 0 },
        status,
    }
}

#[test]
fn snapshot_rows() {
    let refused = Status::Refused { reason: Reason::NotAHold, binding: Some(1) };
    let many = Attempts::from_sets(AttemptSets { live: vec![Attempt(1), Attempt(2)], cancelled: vec![Attempt(3)] });
    let page = [
        (0, id(), reservation(Status::Held, Attempts::One(Attempt(77)))),
        (1, id(), reservation(refused, Attempts::None)),
        (62, id(), reservation(Status::Confirmed, many)),
    ];
    let key = CommandKey { target: Target::Reservation(id()), key: key("k#1") };
    let body = Box::new(EventBody::Confirmed(entry(Status::Confirmed)));
    let remembered = DedupEntry { fingerprint: 7, until: Micros(1_795_240_600_000_000), body, seq: 99_000 };
    let rows = [
        ("Pool", pool_row(&pool())),
        ("Page", page_row(258, page.iter().map(|(slot, id, reservation)| (*slot, id, reservation)))),
        ("Remembered", remembered_row(&key, &remembered)),
        ("Decided", decided_row((Micros(1_795_240_600_000_000), 1), &[CommandId(1 << 64), CommandId(2)])),
    ];
    let line = |(name, (key, value)): (&str, (Vec<u8>, Vec<u8>))| {
        assert!(decode_row(&key, &value).is_ok(), "{name}");
        (format!("{name} {}", hex(&key)), hex(&value))
    };
    golden("snapshot.hex", &rows.map(line));
}

#[test]
fn the_digest_of_a_state() {
    let mut stating = digest::Stating::begin();
    stating.pool(&pool());
    stating.reservation(id(), &reservation(Status::Held, Attempts::One(Attempt(77))));
    let refused = Status::Refused { reason: Reason::OverLimit, binding: Some(1) };
    stating.reservation(ReservationId::new(u32::MAX, [9; 11]), &reservation(refused, Attempts::None));
    let key = CommandKey { target: Target::Pool(pool_id()), key: key("k#1") };
    let (until, body) = (Micros(1_795_240_600_000_000), Box::new(EventBody::ModeSet(pool())));
    stating.answer(&key, &DedupEntry { fingerprint: 7, until, body, seq: 99_000 });
    stating.decided(until, CommandId(1 << 64));
    golden("state.hex", &[("State".to_owned(), stating.end().to_string())]);
}
