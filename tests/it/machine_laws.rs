//! What must hold for any commands in any order: the machine agrees with the model, decides the same again, does not
//! care how its commands are cut into turns or when its memory is swept, and keeps the laws at every prefix.

use crate::fixtures::{self, define, dimension, orders, pool_id, reservation_id};
use crate::machine::{Machine, MapLedger};
use crate::model::Model;
use crate::scenario::seen_body;
use crate::strategies::pool_change_of;
use headroom::domain::{
    Amounts, Attempt, Command, CommandBody, CommandId, Edit, Event, EventBody, LimitChange, Micros, Mode, PoolChange,
    PoolId, PoolRules, PoolSpec, ReservationId, Retirement, Window,
};
use headroom::limits::RETIRE_AFTER_MAX_MS;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use std::collections::BTreeMap;

const START: u64 = 1_000_000_000_000;

/// A command and the time of its turn.
pub type Timed = (Micros, Command);

/// As many cases as PROPTEST_CASES says; what fails is shrunk and told, and leaves no file behind.
pub fn config() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::default() }
}

fn pool() -> impl Strategy<Value = PoolId> {
    select(vec!["van-1", "van-1", "van-2"]).prop_map(pool_id)
}

fn label() -> impl Strategy<Value = String> {
    (0..3).prop_map(|n| format!("K{n}"))
}

fn units(of: &'static [&'static str], most: u64) -> impl Strategy<Value = Amounts> {
    let amounts = btree_map(select(of), 0..=most, 1..=of.len());
    amounts.prop_map(|m| Amounts::new(m.into_iter().map(|(d, n)| (dimension(d), n))).unwrap())
}

fn demand() -> impl Strategy<Value = Amounts> {
    let few = |d: &[(&str, u64)]| Amounts::new(d.iter().map(|(d, n)| (dimension(d), *n))).unwrap();
    let usual = select(vec![few(&[("orders", 1)]), few(&[("orders", 1)]), few(&[("crates", 2), ("orders", 1)])]);
    prop_oneof![6 => usual, 1 => units(&["crates", "orders", "pallets"], 4)]
}

fn hold() -> impl Strategy<Value = Option<u64>> {
    prop_oneof![3 => Just(None), 3 => Just(Some(100)), 1 => Just(Some(5_000)), 1 => Just(Some(86_400_000))]
}

fn spec() -> impl Strategy<Value = PoolSpec> {
    let window = |at: u64| Window {
        start: Micros(START),
        end: Micros(START + at * 1_000_000 + 1),
        cutoff: at.is_multiple_of(2).then_some(Micros(START + at * 500_000)),
    };
    let window = option::weighted(0.2, (1..200u64).prop_map(window));
    (units(&["orders", "crates"], 5), window, mode(), rules()).prop_map(|(limits, window, mode, rules)| PoolSpec {
        limits,
        areas: Default::default(),
        window,
        labels: Default::default(),
        mode,
        rules,
    })
}

fn rules() -> impl Strategy<Value = PoolRules> {
    let bound = || option::weighted(0.3, select(vec![200, 1_000, 20_000]));
    (bound(), bound(), any::<bool>()).prop_map(|(hold_ttl_max_ms, hold_life_max_ms, unique_order_ref)| PoolRules {
        hold_ttl_max_ms,
        hold_life_max_ms,
        unique_order_ref,
        // A pool that retires by itself does so when a turn begins, so that the cut into turns would matter.
        retire_after_ms: Some(RETIRE_AFTER_MAX_MS),
    })
}

fn mode() -> impl Strategy<Value = Mode> {
    select(vec![Mode::Open, Mode::Open, Mode::Open, Mode::Open, Mode::Paused, Mode::Closed])
}

fn change() -> impl Strategy<Value = LimitChange> {
    let delta = prop_oneof![8 => -3..=3i64, 1 => Just(i64::MIN), 1 => Just(1_000_000_000_000_000)];
    let by = btree_map(select(vec!["crates", "orders", "pallets"]), delta, 1..3);
    prop_oneof![
        units(&["orders", "crates"], 6).prop_map(LimitChange::To),
        by.prop_map(|by| LimitChange::By(by.into_iter().map(|(d, n)| (dimension(d), n)).collect())),
    ]
}

fn edit() -> impl Strategy<Value = CommandBody> {
    let version = || option::weighted(0.3, 0..4u64);
    prop_oneof![
        (pool(), spec(), version()).prop_map(|(pool, spec, expected_version)| CommandBody::DefinePool {
            pool,
            spec,
            expected_version
        }),
        (pool(), change(), version()).prop_map(|(pool, change, expected_version)| CommandBody::AdjustLimits {
            pool,
            change,
            expected_version
        }),
        (pool(), mode(), version()).prop_map(|(pool, mode, expected_version)| CommandBody::SetMode {
            pool,
            mode,
            expected_version
        }),
        (pool(), pool_change(), version()).prop_map(|(pool, change, expected_version)| CommandBody::ChangePool {
            pool,
            change,
            expected_version
        }),
        (pool(), any::<bool>(), version()).prop_map(|(pool, with_reservations, expected_version)| {
            CommandBody::RetirePool { pool, with_reservations, expected_version }
        }),
    ]
}

fn pool_change() -> impl Strategy<Value = PoolChange> {
    let instant = || (0..200u64).prop_map(|at| Micros(START + at * 1_000_000));
    let name = || select(vec!["Flotte Süd", "shift"]).prop_map(fixtures::name);
    let bound = || select(vec![200, 20_000]);
    pool_change_of(change(), instant, name, mode, bound, Just(Edit::Keep))
        .prop_filter("names something", PoolChange::is_well_formed)
}

fn settlement() -> impl Strategy<Value = CommandBody> {
    let ttl = select(vec![100, 300, 10_000]);
    (pool(), label(), 0..5, ttl, demand()).prop_map(|(pool, label, which, hold_ttl_ms, demand)| {
        let reservation = reservation_id(&pool, &label);
        match which {
            0 => CommandBody::Confirm { reservation },
            1 => CommandBody::Release { reservation },
            2 | 3 => CommandBody::Amend { reservation, demand },
            _ => CommandBody::Extend { reservation, hold_ttl_ms },
        }
    })
}

/// How far ahead of its turn a command's deadline is; none is one that has passed.
fn ahead() -> impl Strategy<Value = Option<u64>> {
    prop_oneof![12 => Just(Some(5_000_000)), 4 => Just(Some(15_000_000)), 1 => Just(None), 1 => Just(Some(15_000_001))]
}

/// A command, how long after the one before it its turn is, and of which earlier one it is a copy.
fn command() -> impl Strategy<Value = (u64, Command, Option<u64>, Option<Index>)> {
    let order = option::of(select(vec!["#1001", "SO/2026/00012", "Köln 3"]).prop_map(fixtures::name));
    let reserve = (pool(), label(), demand(), hold(), order);
    let reserve = reserve.prop_map(|(pool, label, demand, hold_ttl_ms, order_ref)| CommandBody::Reserve {
        reservation: reservation_id(&pool, &label),
        pool,
        demand,
        hold_ttl_ms,
        order_ref,
    });
    let abandon = (pool(), label())
        .prop_map(|(pool, label)| CommandBody::Abandon { reservation: reservation_id(&pool, &label), pool });
    let body = prop_oneof![8 => reserve, 3 => abandon, 4 => settlement(), 3 => edit()];
    let key = option::weighted(0.6, select(vec!["C0", "C1"]));
    let later = prop_oneof![8 => Just(0), 4 => 1..200_000u64, 1 => Just(30_000_000), 1 => Just(86_400_000_000)];
    let attempt = prop_oneof![4 => 0..3u64, 1 => 0..20u64];
    let later = prop_oneof![20 => later, 1 => select(vec![3_000_000, 15_000_000, 18_000_000])];
    let copy = option::weighted(0.15, any::<Index>());
    (later, body, key, attempt, ahead(), copy).prop_map(|(later, body, key, attempt, ahead, copy)| {
        let key = key.map(fixtures::key);
        let (id, attempt, deadline) = (CommandId(0), Attempt(attempt), Micros(0));
        (later, Command { id, reply_to: None, attempt, actor: None, key, deadline, body }, ahead, copy)
    })
}

/// Commands with their times; two pools are there from the start, else most runs would be of unknown pools.
pub fn commands() -> impl Strategy<Value = Vec<Timed>> {
    (spec(), spec(), vec(command(), 1..60)).prop_map(|(one, two, commands)| {
        let mut now = START;
        let define = |name, spec: PoolSpec| {
            let pool = pool_id(name);
            plain(
                CommandBody::DefinePool { pool, spec: PoolSpec { mode: Mode::Open, ..spec }, expected_version: None },
                0,
            )
        };
        let mut told: Vec<Timed> = Vec::new();
        for (name, spec) in [("van-1", one), ("van-2", two)] {
            told.push((Micros(START), Command { id: CommandId(told.len() as u128), ..define(name, spec) }));
        }
        for (later, command, ahead, copy) in commands {
            now += later;
            let id = CommandId(told.len() as u128);
            let deadline = Micros(ahead.map_or(START - 1, |ahead| now + ahead));
            let command = match copy {
                Some(of) => of.get(&told).1.clone(),
                None => Command { id, deadline, ..command },
            };
            told.push((Micros(now), command));
        }
        told
    })
}

fn plain(body: CommandBody, attempt: u64) -> Command {
    let kind = body.kind() as u128;
    let (id, deadline) = (CommandId(kind << 64 | u128::from(attempt)), Micros(START + 5_000_000));
    Command { id, deadline, ..fixtures::command(attempt, body) }
}

/// Runs the commands with neighbours of one time in one turn, unless `cuts` says that a turn ends after a command.
fn run(ledger: MapLedger, commands: &[(Micros, Command)], cuts: &[bool]) -> Machine {
    let mut machine = Machine::new(0, 1, ledger);
    let mut turn = Vec::new();
    for (at, (now, command)) in commands.iter().enumerate() {
        turn.push(command.clone());
        let is_cut = cuts.get(at).copied().unwrap_or_default();
        if is_cut || commands.get(at + 1).is_none_or(|(next, _)| next != now) {
            machine.turn(*now, &turn).unwrap();
            turn.clear();
        }
    }
    machine
}

fn bodies(machine: &Machine) -> Vec<&EventBody> {
    machine.events.iter().map(|event| &event.body).collect()
}

/// An answer as the model words it.
fn answer(body: &EventBody) -> String {
    let seen = seen_body(body);
    seen.fields.get("dimension").map_or(seen.kind.clone(), |d| format!("{} {d}", seen.kind))
}

/// L1 by addition: what is used is what the living have, and an acceptance never passes the limit in force.
fn capacity(events: &[Event]) {
    let mut living: BTreeMap<ReservationId, (PoolId, Amounts)> = BTreeMap::new();
    for event in events {
        match &event.body {
            EventBody::Accepted(e) => {
                living.insert(e.reservation, (e.pool.clone(), e.demand.clone()));
                assert!(e.demand.iter().all(|(d, _)| e.used.get(d) <= e.limits.get(d)), "{event:?}");
            }
            EventBody::Amended(e, before) => {
                let (_, demand) = living.get_mut(&e.reservation).unwrap();
                assert_eq!(demand, before, "{event:?}");
                let is_more = |d, units| units > before.get(d).unwrap_or(0);
                assert!(e.demand.iter().all(|(d, n)| !is_more(d, n) || e.used.get(d) <= e.limits.get(d)), "{event:?}");
                *demand = e.demand.clone();
            }
            EventBody::Released(e, _) | EventBody::Expired(e) => {
                assert!(living.remove(&e.reservation).is_some(), "{event:?}");
            }
            _ => {}
        }
        let (id, used) = match (event.body.entry(), event.body.pool()) {
            _ if matches!(event.body, EventBody::Repeated(..)) => continue,
            (Some(e), _) => (&e.pool, &e.used),
            (_, Some(pool)) => (&pool.id, &pool.used),
            _ => continue,
        };
        let of = |d| living.values().filter(|(p, _)| p == id).filter_map(|(_, demand)| demand.get(d)).sum::<u64>();
        assert!(used.iter().all(|(d, units)| units == of(d)), "{event:?} while {living:?}");
        if let EventBody::PoolRetired(Retirement { pool, live, .. }) = &event.body {
            let before = living.len();
            living.retain(|_, (of, _)| *of != pool.id);
            assert_eq!(before - living.len(), *live as usize, "{event:?}");
        }
    }
}

proptest! {
    #![proptest_config(config())]

    /// Kind, reason and binding dimension of every answer; limits, versions and use of every pool after every turn.
    #[test]
    fn the_machine_agrees_with_the_model(commands in commands()) {
        let (mut machine, mut model) = (Machine::new(0, 1, MapLedger::default()), Model::default());
        for (now, command) in &commands {
            let due = model.begin(now.0);
            let turned = machine.turn(*now, std::slice::from_ref(command)).unwrap();
            let expired: Vec<_> = turned.timers.iter().filter_map(EventBody::reservation_id).collect();
            prop_assert_eq!(due, expired);
            prop_assert_eq!(model.decide(command), answer(&turned.answers[0]), "{:?}", command);
            prop_assert_eq!(model.pools.len(), machine.ledger.pools.len());
            for (id, (spec, version)) in &model.pools {
                let pool = &machine.ledger.pools[id];
                prop_assert_eq!((&pool.spec, pool.version), (spec, *version));
                prop_assert_eq!(&pool.used, &spec.limits.map(|d, _| model.used(id, d)));
            }
        }
    }

    /// Nothing but the inputs decides; not the cut into turns, nor when what may be forgotten is. L1 at every prefix.
    #[test]
    fn turns_and_sweeping_decide_nothing(commands in commands(), cuts in vec(any::<bool>(), 0..62)) {
        let whole = run(MapLedger::default(), &commands, &[]);
        prop_assert_eq!(&whole.events, &run(MapLedger::default(), &commands, &[]).events);
        prop_assert_eq!(&whole.events, &run(MapLedger::default(), &commands, &cuts).events);
        prop_assert_eq!(&whole.events, &run(MapLedger::default(), &commands, &vec![true; commands.len()]).events);
        let hoarder = run(MapLedger { hoards: true, ..MapLedger::default() }, &commands, &[]);
        prop_assert_eq!(bodies(&whole), bodies(&hoarder));
        capacity(&whole.events);
    }

    /// L5 and L6: whoever was told no, or gave up before or after their Reserve, holds nothing; a yes that nobody gave
    /// up is there. Each try has a number of its own and at most one abandon, anywhere.
    #[test]
    fn abandoned_attempts_hold_nothing(tries in vec((label(), option::of(0..50usize)), 1..25), limit in 1..4u64) {
        let van = pool_id("van-1");
        let reserve = |label: &str, attempt| {
            Command { key: Some(fixtures::key(label)), ..plain(fixtures::reserve(&van, label), attempt) }
        };
        let abandon = |label: &str, attempt| plain(fixtures::abandon(&van, label), attempt);
        let mut placed: Vec<(usize, Command)> = Vec::new();
        for (at, (label, given_up)) in tries.iter().enumerate() {
            placed.push((2 * at, reserve(label, at as u64)));
            placed.extend(given_up.map(|place| (2 * place + 1, abandon(label, at as u64))));
        }
        placed.sort_by_key(|(place, _)| *place);
        let define = plain(define(&van, orders(limit)), 0);
        let commands = std::iter::once(define).chain(placed.into_iter().map(|(_, command)| command));
        let commands: Vec<_> = commands.map(|command| (Micros(START), command)).collect();
        let machine = run(MapLedger::default(), &commands, &[]);
        let yes = |(event, (_, command)): (&Event, &(Micros, Command))| {
            let attempt = command.attempt.0 as usize;
            let is_kept = command.key.is_some() && tries[attempt].1.is_none();
            let is_yes = is_kept && event.body.entry().is_some_and(|entry| entry.status.is_live());
            is_yes.then(|| reservation_id(&van, &tries[attempt].0))
        };
        let mut owed: Vec<_> = machine.events.iter().zip(&commands).filter_map(yes).collect();
        owed.sort_unstable();
        owed.dedup();
        let live = machine.ledger.reservations.iter().filter(|(_, r)| r.status.is_live());
        prop_assert_eq!(live.map(|(id, _)| *id).collect::<Vec<_>>(), owed.clone());
        prop_assert_eq!(machine.ledger.pools[&van].used.get(dimension("orders")), Some(owed.len() as u64));
    }
}
