//! Strategies for domain values: everything that can be written, whether it makes sense or not.

use headroom::domain::*;
use headroom::limits::{NAME_BYTES_MAX, RETIRE_AFTER_MAX_MS, RETIRE_AFTER_MIN_MS};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use unicode_normalization::UnicodeNormalization;

pub fn dimension() -> impl Strategy<Value = Dimension> {
    "[a-z][a-z0-9_]{0,15}".prop_map(|text| Dimension::new(&text).unwrap())
}

/// Every number that a long can hold; a larger one is written as the largest.
pub fn units() -> impl Strategy<Value = u64> {
    prop_oneof![0..20_000u64, 0..=i64::MAX as u64]
}

pub fn micros() -> impl Strategy<Value = Micros> {
    units().prop_map(Micros)
}

pub fn amounts() -> impl Strategy<Value = Amounts> {
    btree_map(dimension(), units(), 0..5).prop_map(|map| Amounts::new(map).unwrap())
}

pub fn name() -> impl Strategy<Value = Name> {
    let plain = "[A-Za-z0-9._:-]{1,64}".prop_map(|text| Name::new(&text).unwrap());
    let any = "\\PC{1,40}".prop_filter_map("is no name", |text| {
        let composed: String = text.nfc().collect();
        let ends = composed.char_indices().map(|(at, c)| at + c.len_utf8());
        let end = ends.take_while(|end| *end <= NAME_BYTES_MAX).last()?;
        Name::new(composed[..end].trim()).ok()
    });
    let usual =
        ["SW1A 1AA", "north east", "Köln", "#1001", "SO/2026/00012", "dispatch@ops.example", "東京 3", "a,b:c/{}"];
    prop_oneof![plain, any, select(usual.to_vec()).prop_map(|text| Name::new(text).unwrap())]
}

pub fn pool_id() -> impl Strategy<Value = PoolId> {
    "[A-Za-z0-9_:-][A-Za-z0-9._:-]{0,63}".prop_map(|text| PoolId::new(&text).unwrap())
}

pub fn key() -> impl Strategy<Value = IdempotencyKey> {
    "[!-~&&[^\"\\\\]]{1,128}".prop_map(|text| IdempotencyKey::new(&text).unwrap())
}

pub fn reservation_id() -> impl Strategy<Value = ReservationId> {
    any::<(u32, [u8; 11])>().prop_map(|(hash, unique)| ReservationId::new(hash, unique))
}

pub fn mode() -> impl Strategy<Value = Mode> {
    prop_oneof![Just(Mode::Open), Just(Mode::Paused), Just(Mode::Closed)]
}

pub fn window() -> impl Strategy<Value = Window> {
    (micros(), micros(), option::of(micros())).prop_map(|(start, end, cutoff)| Window { start, end, cutoff })
}

pub fn spec() -> impl Strategy<Value = PoolSpec> {
    let rules = (option::of(units()), option::of(units()), any::<bool>(), option::of(units()));
    let rules = rules.prop_map(|(hold_ttl_max_ms, hold_life_max_ms, unique_order_ref, retire_after_ms)| PoolRules {
        hold_ttl_max_ms,
        hold_life_max_ms,
        unique_order_ref,
        retire_after_ms,
    });
    (amounts(), btree_set(name(), 0..4), option::of(window()), btree_map(name(), name(), 0..4), mode(), rules)
        .prop_map(|(limits, areas, window, labels, mode, rules)| PoolSpec {
            limits,
            areas,
            window,
            labels,
            mode,
            rules,
        })
        .boxed()
}

pub fn pool() -> impl Strategy<Value = Pool> {
    (pool_id(), spec(), amounts(), units()).prop_map(|(id, spec, used, version)| Pool { id, spec, used, version })
}

fn limit_change() -> impl Strategy<Value = LimitChange> {
    prop_oneof![amounts().prop_map(LimitChange::To), vec((dimension(), any::<i64>()), 0..4).prop_map(LimitChange::By)]
}

fn edit<T: Clone + std::fmt::Debug + 'static>(
    value: impl Strategy<Value = T> + 'static,
) -> impl Strategy<Value = Edit<T>> {
    prop_oneof![Just(Edit::Keep), Just(Edit::Clear), value.prop_map(Edit::To)]
}

/// Changes of a pool, made of these limits, instants, names, modes and bounds of rules. Some name nothing.
pub fn pool_change_of<I, N, M, B>(
    limits: impl Strategy<Value = LimitChange> + 'static,
    instant: fn() -> I,
    name: fn() -> N,
    mode: fn() -> M,
    bound: fn() -> B,
    retire_after_ms: impl Strategy<Value = Edit<u64>> + 'static,
) -> BoxedStrategy<PoolChange>
where
    I: Strategy<Value = Micros> + 'static,
    N: Strategy<Value = Name> + 'static,
    M: Strategy<Value = Mode> + 'static,
    B: Strategy<Value = u64> + 'static,
{
    let parts = (option::of(instant()), option::of(instant()), edit(instant()));
    let parts = parts.prop_map(|(start, end, cutoff)| WindowChange { start, end, cutoff });
    let window = edit(parts.prop_filter("names something", |parts| *parts != WindowChange::default()));
    let labels = btree_map(name(), option::of(name()), 0..4);
    let areas = option::of(btree_set(name(), 0..4));
    let rules = (edit(bound()), edit(bound()), option::of(any::<bool>()), retire_after_ms);
    let rules = rules.prop_map(|(hold_ttl_max_ms, hold_life_max_ms, unique_order_ref, retire_after_ms)| RuleChange {
        hold_ttl_max_ms,
        hold_life_max_ms,
        unique_order_ref,
        retire_after_ms,
    });
    (option::of(limits), areas, window, labels, option::of(mode()), rules)
        .prop_map(|(limits, areas, window, labels, mode, rules)| PoolChange {
            limits,
            areas,
            window,
            labels,
            mode,
            rules,
        })
        .boxed()
}

fn pool_change() -> BoxedStrategy<PoolChange> {
    let retire_after_ms = edit(RETIRE_AFTER_MIN_MS..=RETIRE_AFTER_MAX_MS);
    pool_change_of(limit_change(), micros, name, mode, units, retire_after_ms)
}

pub fn ask() -> BoxedStrategy<CommandBody> {
    let changes = limit_change();
    let version = || option::of(units());
    prop_oneof![
        (pool_id(), spec(), version()).prop_map(|(pool, spec, expected_version)| CommandBody::DefinePool {
            pool,
            spec,
            expected_version
        }),
        (pool_id(), changes, version()).prop_map(|(pool, change, expected_version)| CommandBody::AdjustLimits {
            pool,
            change,
            expected_version
        }),
        (pool_id(), mode(), version()).prop_map(|(pool, mode, expected_version)| CommandBody::SetMode {
            pool,
            mode,
            expected_version
        }),
        (pool_id(), reservation_id(), amounts(), option::of(units()), option::of(name())).prop_map(
            |(pool, reservation, demand, hold_ttl_ms, order_ref)| CommandBody::Reserve {
                pool,
                reservation,
                demand,
                hold_ttl_ms,
                order_ref
            }
        ),
        (pool_id(), pool_change(), version()).prop_map(|(pool, change, expected_version)| CommandBody::ChangePool {
            pool,
            change,
            expected_version
        }),
        (pool_id(), any::<bool>(), version()).prop_map(|(pool, with_reservations, expected_version)| {
            CommandBody::RetirePool { pool, with_reservations, expected_version }
        }),
        reservation_id().prop_map(|reservation| CommandBody::Confirm { reservation }),
        (reservation_id(), units())
            .prop_map(|(reservation, hold_ttl_ms)| CommandBody::Extend { reservation, hold_ttl_ms }),
        (reservation_id(), amounts()).prop_map(|(reservation, demand)| CommandBody::Amend { reservation, demand }),
        reservation_id().prop_map(|reservation| CommandBody::Release { reservation }),
        (pool_id(), reservation_id()).prop_map(|(pool, reservation)| CommandBody::Abandon { pool, reservation }),
    ]
    .boxed()
}

pub fn attempt() -> impl Strategy<Value = Attempt> {
    any::<u64>().prop_map(Attempt)
}

pub fn command() -> impl Strategy<Value = Command> {
    let head = (any::<u128>(), option::of(any::<u64>()), attempt(), option::of(name()), option::of(key()), micros());
    (head, ask()).prop_map(|((id, reply_to, attempt, actor, key, deadline), ask)| Command {
        id: CommandId(id),
        reply_to,
        attempt,
        actor,
        key,
        deadline,
        body: ask,
    })
}

pub fn digest() -> impl Strategy<Value = Digest> {
    any::<[u8; 16]>().prop_map(Digest)
}

fn ask_kind() -> impl Strategy<Value = CommandKind> {
    ask().prop_map(|ask| ask.kind())
}

fn stamp() -> impl Strategy<Value = CommandStamp> {
    let head = (any::<u128>(), option::of(any::<u64>()), attempt(), option::of(name()));
    (head, ask_kind(), option::of(key()), any::<u64>(), option::of(micros())).prop_map(
        |((id, reply_to, attempt, actor), ask, key, fingerprint, deadline)| CommandStamp {
            deadline,
            id: CommandId(id),
            reply_to,
            attempt,
            actor,
            kind: ask,
            key,
            fingerprint,
        },
    )
}

fn cause() -> impl Strategy<Value = Cause> {
    let skipped = prop_oneof![3 => Just(0), 1 => units()];
    let unread = option::of(any::<u128>().prop_map(CommandId));
    (units(), skipped, option::of(stamp()), unread).prop_map(|(input_offset, skipped, command, unread)| Cause {
        input_offset,
        skipped,
        unread: unread.filter(|_| command.is_none()),
        command,
    })
}

fn entry() -> impl Strategy<Value = Entry> {
    let status =
        prop_oneof![Just(Status::Held), Just(Status::Confirmed), Just(Status::Released), Just(Status::Expired)];
    let counters = (amounts(), amounts(), amounts());
    let held = (option::of(micros()), option::of(micros()));
    (pool_id(), reservation_id(), status, held, option::of(name()), counters).prop_map(
        |(pool, reservation, status, (hold_until, hold_since), order_ref, (demand, limits, used))| Entry {
            pool,
            reservation,
            status,
            demand,
            hold_until,
            hold_since,
            order_ref,
            limits,
            used,
        },
    )
}

pub fn reason() -> impl Strategy<Value = Reason> {
    proptest::sample::select(Reason::ALL)
}

fn rejection() -> BoxedStrategy<Rejection> {
    let about = (option::of(dimension()), option::of(pool_id()), option::of(reservation_id()), option::of(name()));
    let demands = (option::of(amounts()), option::of(amounts()));
    let counters = (demands, option::of(amounts()), option::of(amounts()));
    let asked = (option::of(limit_change()), option::of(mode()), option::of(units()), option::of(units()));
    let asked =
        asked.prop_map(|(limits, mode, version, hold_ttl_ms)| AskedChange { limits, mode, version, hold_ttl_ms });
    let asked = asked.prop_map(|asked| Some(asked).filter(|asked| *asked != AskedChange::default()).map(Box::new));
    (
        reason(),
        about,
        counters,
        (option::of(mode()), option::of(units()), asked, option::of(micros()), option::of(reservation_id())),
        (option::of(units()), option::of(micros())),
    )
        .prop_map(
            |(
                reason,
                (dimension, pool, reservation, order_ref),
                ((demand, demand_before), limits, used),
                (mode, version, asked, hold_until, existing_reservation),
                (live, retired_until),
            )| {
                Rejection {
                    reason,
                    dimension,
                    pool,
                    reservation,
                    demand,
                    demand_before,
                    order_ref,
                    limits,
                    used,
                    mode,
                    version,
                    hold_until,
                    existing_reservation,
                    live,
                    retired_until,
                    asked,
                }
            },
        )
        .boxed()
}

/// Any body that is no repetition.
pub fn original() -> impl Strategy<Value = EventBody> {
    let release = prop_oneof![Just(ReleaseCause::Caller), Just(ReleaseCause::Abandoned)];
    prop_oneof![
        pool().prop_map(EventBody::PoolDefined),
        pool().prop_map(EventBody::LimitsAdjusted),
        pool().prop_map(EventBody::ModeSet),
        pool().prop_map(EventBody::PoolChanged),
        (pool(), units(), prop_oneof![Just(RetireCause::Caller), Just(RetireCause::Window)])
            .prop_map(|(pool, live, cause)| EventBody::PoolRetired(Retirement { pool, live, cause })),
        entry().prop_map(EventBody::Accepted),
        entry().prop_map(EventBody::Confirmed),
        entry().prop_map(EventBody::Extended),
        (entry(), amounts()).prop_map(|(entry, before)| EventBody::Amended(entry, before)),
        (entry(), release).prop_map(|(entry, cause)| EventBody::Released(entry, cause)),
        entry().prop_map(EventBody::Expired),
        rejection().prop_map(EventBody::Rejected),
        (pool_id(), reservation_id()).prop_map(|(pool, reservation)| EventBody::Abandoned { pool, reservation }),
        ".{0,64}".prop_map(|detail| EventBody::Malformed { detail }),
        ".{0,64}".prop_map(|detail| EventBody::CommandsLost { detail }),
        (".{0,64}", units(), units()).prop_map(|(detail, from, until)| EventBody::EventsLost { detail, from, until }),
        (micros(), ".{0,64}").prop_map(|(from, detail)| EventBody::ClockSet { from, detail }),
        any::<u64>().prop_map(|nonce| EventBody::Barrier { nonce }),
        Just(EventBody::Tick),
    ]
}

pub fn body() -> impl Strategy<Value = EventBody> {
    let origin = (units(), option::of(micros())).prop_map(|(seq, decided_at)| Origin { seq, decided_at });
    let repeated =
        (original(), option::of(origin)).prop_map(|(body, origin)| EventBody::Repeated(Box::new(body), origin));
    // On the heap: a tree of all that a body may be is larger than a test's stack likes.
    prop_oneof![3 => original().boxed(), 1 => repeated.boxed()]
}

pub fn event() -> impl Strategy<Value = Event> {
    let head = (0..i32::MAX as u32, units(), any::<u32>(), digest(), micros());
    (head, option::of(cause()), body()).prop_map(|((partition, seq, epoch, prev, decided_at), cause, body)| Event {
        partition,
        seq,
        epoch,
        prev,
        decided_at,
        cause,
        body,
    })
}

fn attempts() -> impl Strategy<Value = Attempts> {
    let sets = (vec(attempt(), 0..3), vec(attempt(), 0..3))
        .prop_map(|(live, cancelled)| Attempts::from_sets(reservation::AttemptSets { live, cancelled }));
    prop_oneof![9 => sets, 1 => Just(Attempts::Settled)]
}

pub fn reservation() -> impl Strategy<Value = Reservation> {
    let refused = (reason(), option::of(0..16u8)).prop_map(|(reason, binding)| Status::Refused { reason, binding });
    let status = prop_oneof![
        Just(Status::Void),
        Just(Status::Held),
        Just(Status::Confirmed),
        Just(Status::Released),
        Just(Status::Expired),
        refused
    ];
    let numbers = (any::<u64>(), micros(), units(), units(), any::<u32>());
    let judged = prop_oneof![
        (any::<u64>(), any::<u64>()).prop_map(|(limit, used)| Judged::Units { limit, used }),
        reservation_id().prop_map(Judged::Order),
        micros().prop_map(Judged::Hold),
    ];
    let judged = option::of(judged.prop_map(Box::new));
    (pool_id(), amounts(), option::of(name()), attempts(), numbers, status, judged).prop_map(
        |(pool, demand, order_ref, attempts, (fingerprint, until, seq, decided_seq, ms), status, judged)| Reservation {
            pool,
            demand,
            order_ref,
            attempts,
            fingerprint,
            until,
            seq,
            decided_seq,
            judged,
            held_ms: if status == Status::Held { ms } else { 0 },
            status,
        },
    )
}

/// A page's reservations, by slot and in order of slot; some neighbours share their pool.
pub fn page() -> impl Strategy<Value = Vec<(u8, ReservationId, Reservation)>> {
    let shared = option::weighted(0.5, Just(()));
    btree_map(0..headroom::limits::PAGE_SLOTS as u8, (reservation_id(), reservation(), shared), 0..6).prop_map(|map| {
        let mut page: Vec<(u8, ReservationId, Reservation)> = Vec::new();
        for (slot, (id, mut reservation, shared)) in map {
            if let (Some(()), Some((_, _, before))) = (shared, page.last()) {
                reservation.pool = before.pool.clone();
            }
            page.push((slot, id, reservation));
        }
        page
    })
}

pub fn remembered() -> impl Strategy<Value = (CommandKey, DedupEntry)> {
    let target = prop_oneof![pool_id().prop_map(Target::Pool), reservation_id().prop_map(Target::Reservation)];
    (target, key(), any::<u64>(), micros(), original(), units()).prop_map(
        |(target, key, fingerprint, until, body, seq)| {
            (CommandKey { target, key }, DedupEntry { fingerprint, until, body: Box::new(body), seq })
        },
    )
}
