//! Callers and planners of eleven days, by a seed, over owners in the test's hand and by a clock of its own. Pools live once,
//! twice or three times, retire by their windows and by command, and are changed in every way; callers come again under the
//! same key, go elsewhere after a refusal, and use keys of an earlier life.

use crate::bed::{DAY_MS, HOUR_MS};
use crate::fixtures::{amounts, append, command, dimension, key, name, open_pool, pool_id, reservation_id};
use crate::process::once_free;
use crate::world::{World, becomes, commit_turn, conclude_turn};
use headroom::domain::{
    Amounts, Attempt, ChainedEvent, Command, CommandBody, Edit, Entry, EventBody, LimitChange, Micros, Mode,
    PoolChange, PoolId, PoolRules, PoolSpec, Reason, ReservationId, Window, WindowChange, route,
};
use headroom::log::embedded::Owned;
use headroom::owner::Partition;
use headroom::replica::{PartitionHandle, PartitionStatus, Replica};
use headroom::time::Clock as _;
use headroom::wire;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;
use std::sync::Arc;
use tempfile::TempDir;

/// 2023-11-15T00:00:00Z: every slot is over when the tests run.
const BEGAN: Micros = Micros(1_700_006_400_000_000);
pub const PARTITIONS: u32 = 2;
/// How long the market lasts.
pub const HOURS: u64 = 11 * 24;
/// From the first of these hours to the second one the clocks are ahead, by so many hours. Then they are set back.
const AHEAD: [u64; 3] = [185, 191, 3];
const RESERVES: u64 = 1_100;
/// A pool that always has room.
const ROOMY: &str = "depot";
const POOLS: &[&str] =
    &["north", "south", "east", "west", "kiosk", "ferry", "mill", "quay", "hill", "late", ROOMY, "gone"];
/// How the keys of those begin who do nothing but what is planned.
pub const EDGE: &str = "edge-";
const MINUTE_MS: u64 = 60_000;
const CALLERS: [Option<&str>; 3] = [None, Some("shop"), Some("phone")];

/// A command on its way.
#[derive(Clone)]
struct Ask {
    body: CommandBody,
    key: Option<String>,
    actor: Option<&'static str>,
    /// That of an earlier command which is taken back.
    attempt: Option<Attempt>,
    partition: u32,
}

enum Act {
    Ask(Box<Ask>),
    /// A record that is no command.
    Garbage,
    Tick,
    /// The clocks have been ahead, and are set back.
    SetBack,
}

pub struct Market {
    random: StdRng,
    agenda: BTreeMap<(Micros, u64), Act>,
    planned: u64,
    asked: u64,
    /// What was asked and is not decided yet.
    open: BTreeMap<u128, Ask>,
}

struct Owner {
    handle: Arc<PartitionHandle>,
    owned: Owned,
    owner: Partition,
}

fn hour(hours: u64) -> Micros {
    BEGAN.plus_ms(hours * HOUR_MS)
}

/// What the clocks show at this time.
fn shown(at: Micros) -> Micros {
    let is_ahead = hour(AHEAD[0]) <= at && at < hour(AHEAD[1]);
    if is_ahead { at.plus_ms(AHEAD[2] * HOUR_MS) } else { at }
}

fn spec(limits: &[(&str, u64)], window: Option<(u64, u64, Option<u64>)>, areas: &[&str]) -> PoolSpec {
    let window =
        window.map(|(start, end, cutoff)| Window { start: hour(start), end: hour(end), cutoff: cutoff.map(hour) });
    PoolSpec { window, areas: areas.iter().map(|area| name(area)).collect(), ..open_pool(amounts(limits)) }
}

/// The ask of a planner.
fn planned(body: CommandBody) -> Ask {
    let partition = route::home(&body, PARTITIONS);
    Ask { body, key: None, actor: Some("ann"), attempt: None, partition }
}

fn define(pool: &str, spec: PoolSpec) -> Ask {
    planned(CommandBody::DefinePool { pool: pool_id(pool), spec, expected_version: None })
}

fn change(pool: &str, change: PoolChange) -> Ask {
    planned(CommandBody::ChangePool { pool: pool_id(pool), change, expected_version: None })
}

fn adjust(pool: &str, change: LimitChange) -> Ask {
    planned(CommandBody::AdjustLimits { pool: pool_id(pool), change, expected_version: None })
}

fn mode(pool: &str, mode: Mode) -> Ask {
    planned(CommandBody::SetMode { pool: pool_id(pool), mode, expected_version: None })
}

fn retire(pool: &str, with_reservations: bool) -> Ask {
    planned(CommandBody::RetirePool { pool: pool_id(pool), with_reservations, expected_version: None })
}

fn moved(start: Option<u64>, end: Option<u64>, cutoff: Edit<u64>) -> PoolChange {
    let cutoff = match cutoff {
        Edit::Keep => Edit::Keep,
        Edit::Clear => Edit::Clear,
        Edit::To(hours) => Edit::To(hour(hours)),
    };
    let window = WindowChange { start: start.map(hour), end: end.map(hour), cutoff };
    PoolChange { window: Edit::To(window), ..PoolChange::default() }
}

impl Market {
    pub fn new(seed: u64) -> Market {
        let mut market = Market {
            random: StdRng::seed_from_u64(seed),
            agenda: BTreeMap::new(),
            planned: 0,
            asked: 0,
            open: BTreeMap::new(),
        };
        market.plan_lives();
        market.plan_edits();
        market.plan_random_edits();
        market.plan_calls();
        for hours in 0..HOURS {
            market.act(hour(hours), Act::Tick);
        }
        market.act(hour(AHEAD[1]), Act::SetBack);
        market
    }

    fn act(&mut self, at: Micros, act: Act) {
        self.planned += 1;
        self.agenda.insert((at, self.planned), act);
    }

    fn at(&mut self, hours: u64, ask: Ask) {
        self.act(hour(hours), Act::Ask(Box::new(ask)));
    }

    /// Pools that begin and end. The id of a pool is free again after a day.
    fn plan_lives(&mut self) {
        let rules = PoolRules { retire_after_ms: Some(2 * DAY_MS), ..PoolRules::default() };
        let labels = |value: &str| [(name("fleet"), name(value))].into();
        // Three lives by command, each with another slot, other areas and other limits.
        let first = spec(&[("orders", 14), ("crates", 50)], Some((56, 58, Some(44))), &["SG-01", "SG-02"]);
        self.at(0, define("north", PoolSpec { labels: labels("van"), ..first }));
        self.at(70, retire("north", false));
        self.at(71, retire("north", true));
        self.at(72, define("north", spec(&[("orders", 9)], None, &[])));
        let second = spec(&[("orders", 5), ("crates", 9)], Some((150, 152, None)), &["SG-03"]);
        self.at(96, define("north", PoolSpec { labels: labels("truck"), ..second }));
        self.at(170, retire("north", true));
        self.at(200, define("north", spec(&[("orders", 6), ("totes", 2)], None, &[])));
        // By its window, and again with a third dimension and no area.
        let early = spec(&[("orders", 8), ("crates", 30)], Some((30, 32, None)), &["SG-01"]);
        self.at(0, define("south", PoolSpec { rules, ..early }));
        let later = spec(&[("orders", 10), ("crates", 40), ("pallets", 3)], Some((180, 182, None)), &[]);
        self.at(106, define("south", PoolSpec { rules, ..later }));
        // Without a slot at first, with one in the second life.
        self.at(0, define("east", spec(&[("orders", 10), ("crates", 40)], None, &["SG-02"])));
        self.at(50, retire("east", true));
        self.at(80, define("east", spec(&[("orders", 12), ("crates", 44)], Some((220, 223, None)), &["SG-02"])));
        self.at(1, define("gone", spec(&[("orders", 3)], Some((100, 101, None)), &["SG-04"])));
        self.at(26, retire("gone", true));
        self.at(140, define("late", spec(&[("orders", 7), ("crates", 9)], Some((255, 258, None)), &["SG-04"])));
        self.at(
            0,
            define(ROOMY, spec(&[("orders", 90_000), ("crates", 90_000), ("pallets", 90_000)], None, &["SG-05"])),
        );
    }

    /// Pools of one life that are changed.
    fn plan_edits(&mut self) {
        self.at(0, define("west", spec(&[("orders", 11), ("crates", 50)], Some((120, 122, None)), &["SG-01"])));
        self.at(20, change("west", moved(Some(140), Some(143), Edit::To(139))));
        self.at(90, change("west", moved(None, Some(144), Edit::Clear)));
        self.at(0, define("kiosk", spec(&[("orders", 12), ("crates", 45)], None, &["SG-06"])));
        self.at(HOURS - 2, adjust("kiosk", LimitChange::To(amounts(&[("orders", 2), ("crates", 1)]))));
        // A dimension without room goes, and comes back with some.
        let no_crates = spec(&[("orders", 15)], Some((230, 232, None)), &["SG-07"]);
        self.at(
            0,
            define("ferry", PoolSpec { limits: amounts(&[("orders", 15), ("crates", 0)]), ..no_crates.clone() }),
        );
        self.at(100, define("ferry", no_crates.clone()));
        self.at(160, define("ferry", PoolSpec { limits: amounts(&[("orders", 15), ("crates", 12)]), ..no_crates }));
        let mut mill = spec(&[("orders", 14), ("crates", 60)], Some((200, 203, Some(198))), &["SG-08"]);
        mill.rules.unique_order_ref = true;
        self.at(0, define("mill", mill));
        for (from, until, shut) in [(24, 30, Mode::Closed), (60, 64, Mode::Paused), (110, 118, Mode::Closed)] {
            for pool in ["mill", "west", "kiosk"] {
                self.at(from, mode(pool, shut));
                self.at(until, mode(pool, Mode::Open));
            }
        }
        self.at(0, define("quay", spec(&[("orders", 0), ("crates", 30)], Some((240, 242, None)), &["SG-09"])));
        self.at(40, adjust("quay", LimitChange::By(vec![(dimension("orders"), 9)])));
        self.at(150, adjust("quay", LimitChange::To(amounts(&[("orders", 1)]))));
        self.at(190, adjust("quay", LimitChange::By(vec![(dimension("orders"), 11), (dimension("crates"), 7)])));
        // One that nobody ever asks for.
        let hill = spec(&[("orders", 13), ("crates", 55)], Some((250, 252, None)), &["SG-10"]);
        let totes = PoolSpec { limits: amounts(&[("orders", 13), ("crates", 55), ("totes", 5)]), ..hill.clone() };
        self.at(0, define("hill", totes.clone()));
        self.at(66, define("hill", hill));
        self.at(176, define("hill", totes));
    }

    fn plan_random_edits(&mut self) {
        for _ in 0..90 {
            let pool = ["north", "east", "kiosk", "mill", "quay", "hill", "late"][self.random.random_range(0..7usize)];
            let by = LimitChange::By(vec![
                (dimension("orders"), self.random.random_range(-4..=4)),
                (dimension("crates"), self.random.random_range(-9..=9)),
            ]);
            let mut ask = match self.random.random_range(0..6) {
                0 => {
                    let areas = Some([name(&format!("SG-{}", self.random.random_range(20..24)))].into());
                    change(pool, PoolChange { areas, ..PoolChange::default() })
                }
                1 => {
                    let labels =
                        [(name("fleet"), [None, Some(name("bike"))][self.random.random_range(0..2usize)].clone())];
                    change(pool, PoolChange { labels: labels.into(), limits: Some(by), ..PoolChange::default() })
                }
                _ => adjust(pool, by),
            };
            ask.actor = ["ann", "bob"].get(self.random.random_range(0..3usize)).copied();
            ask.key = self.random.random_bool(0.3).then(|| format!("edit-{}", self.random.random_range(0..12)));
            let at = self.some_time();
            self.act(at, Act::Ask(Box::new(ask)));
        }
    }

    fn some_time(&mut self) -> Micros {
        let minutes = self.random.random_range(5..HOURS * 60);
        // Mostly at whole minutes, so that some coincide.
        let micros = if self.random.random_bool(0.3) { self.random.random_range(0..60_000_000) } else { 0 };
        Micros(BEGAN.plus_ms(minutes * MINUTE_MS).0 + micros)
    }

    fn plan_calls(&mut self) {
        for number in 0..RESERVES {
            let at = self.some_time();
            let pool = POOLS[self.random.random_range(0..POOLS.len())];
            // Several at once are decided in one turn.
            for part in 0..[1, 1, 1, 3][self.random.random_range(0..4usize)] {
                let key = match self.random.random_range(0..5) {
                    0 => format!("again-{}", self.random.random_range(0..25)),
                    _ => format!("key-{number}-{part}"),
                };
                let reserve = self.reserve(pool, &key);
                self.act(at, Act::Ask(Box::new(reserve)));
            }
        }
        for number in 0..6 {
            let at = self.some_time();
            let mut astray = self.reserve("west", &format!("astray-{number}"));
            astray.partition = 1 - astray.partition;
            self.act(at, Act::Ask(Box::new(astray)));
            let nobody = reservation_id(&pool_id("west"), &format!("nobody-{number}"));
            let release = self.call(CommandBody::Release { reservation: nobody });
            self.act(at, Act::Ask(Box::new(release)));
            let amend = CommandBody::Amend { reservation: nobody, demand: amounts(&[("orders", 1)]) };
            let amend = self.call(amend);
            self.act(at, Act::Ask(Box::new(amend)));
            let unknown = self.reserve("nowhere", &format!("unknown-{number}"));
            self.act(at, Act::Ask(Box::new(unknown)));
        }
        self.act(hour(77), Act::Garbage);
        self.plan_edges();
    }

    /// Callers who are refused, and accepted elsewhere an hour later or a moment after that, by their keys or by their orders;
    /// a hold that lives when its pool ends, one that lives when the market ends, and callers who come when a slot has begun.
    fn plan_edges(&mut self) {
        let at = hour(60).plus_ms(HOUR_MS / 2);
        for (text, micros) in [("in", 3_600_000_000), ("out", 3_600_000_001)] {
            for (first, other) in [("same", "same"), ("order", "another")] {
                let order = (first == "order").then_some(text);
                self.plan_edge(at, "kiosk", &format!("{text}-{first}"), order, None);
                self.plan_edge(Micros(at.0 + micros), ROOMY, &format!("{text}-{other}"), order, None);
            }
        }
        self.plan_edge(Micros(hour(50).0 - 1), "east", "hold", None, Some(HOUR_MS));
        self.plan_try(hour(HOURS - 1).plus_ms(HOUR_MS / 2), ROOMY, ("open", 1), None);
        for (hours, pool) in [(141, "west"), (181, "south"), (241, "quay"), (251, "hill"), (256, "late")] {
            self.plan_edge(hour(hours), pool, "late", None, None);
        }
        self.plan_lost_answers(at);
        // An order that is refused comes again under a new key.
        self.plan_try(at.plus_ms(MINUTE_MS), "kiosk", ("in-order-again", 1), Some("in"));
    }

    /// Callers who got no answer: what was accepted is taken back, and one of the two tries again, under the same key. Both were
    /// refused at this time, and go elsewhere; later they hold in a pool with a slot.
    fn plan_lost_answers(&mut self, at: Micros) {
        let second = |at: Micros, seconds: u64| at.plus_ms(seconds * 1_000);
        for (key, tries) in [("given-up", 1), ("tried-again", 2)] {
            self.plan_try(at, "kiosk", (key, 1), None);
            for (at, pool) in [(second(at, 600), ROOMY), (hour(141), "late")] {
                (0..tries).for_each(|number| self.plan_try(second(at, number * 60), pool, (key, number + 1), None));
                self.plan_back(second(at, 30), pool, key);
            }
        }
    }

    /// A hold under this key, by the try of this number.
    fn plan_try(&mut self, at: Micros, pool: &str, (key, number): (&str, u64), order: Option<&str>) {
        let (pool, key) = (pool_id(pool), format!("{EDGE}{key}"));
        let order_ref = order.map(|order| name(&format!("{EDGE}{order}")));
        let (reservation, demand) = (reservation_id(&pool, &key), amounts(&[("orders", 1)]));
        let body = CommandBody::Reserve { pool, reservation, demand, hold_ttl_ms: Some(HOUR_MS), order_ref };
        let ask = Ask { key: Some(key), actor: None, attempt: Some(Attempt(number)), ..planned(body) };
        self.act(at, Act::Ask(Box::new(ask)));
    }

    /// The first try under this key is taken back.
    fn plan_back(&mut self, at: Micros, pool: &str, key: &str) {
        let pool = pool_id(pool);
        let reservation = reservation_id(&pool, &format!("{EDGE}{key}"));
        let body = CommandBody::Abandon { pool, reservation };
        let ask = Ask { actor: None, attempt: Some(Attempt(1)), ..planned(body) };
        self.act(at, Act::Ask(Box::new(ask)));
    }

    fn plan_edge(&mut self, at: Micros, pool: &str, key: &str, order: Option<&str>, hold_ttl_ms: Option<u64>) {
        let (pool, key) = (pool_id(pool), format!("{EDGE}{key}"));
        let order_ref = order.map(|order| name(&format!("{EDGE}{order}")));
        let (reservation, demand) = (reservation_id(&pool, &key), amounts(&[("orders", 1)]));
        let body = CommandBody::Reserve { pool, reservation, demand, hold_ttl_ms, order_ref };
        let ask = Ask { key: Some(key), ..self.call(body) };
        self.act(at, Act::Ask(Box::new(ask)));
    }

    /// The ask of a caller, with or without a key.
    fn call(&mut self, body: CommandBody) -> Ask {
        let partition = route::home(&body, PARTITIONS);
        let actor = CALLERS[self.random.random_range(0..3usize)];
        let key = self.random.random_bool(0.5).then(|| format!("call-{}", self.random.random_range(0..60)));
        Ask { body, key, actor, attempt: None, partition }
    }

    fn demand(&mut self) -> Amounts {
        let (orders, crates) = (self.random.random_range(1..4), self.random.random_range(1..8));
        match self.random.random_range(0..20) {
            0..=11 => amounts(&[("orders", orders), ("crates", crates)]),
            12..=16 => amounts(&[("orders", orders)]),
            17 | 18 => amounts(&[("crates", crates)]),
            _ => amounts(&[("orders", 1), ("pallets", 1)]),
        }
    }

    /// Keys that come again ask for the same again, as far as they can.
    fn reserve(&mut self, pool: &str, key: &str) -> Ask {
        let demand = if key.starts_with("again") { amounts(&[("orders", 2), ("crates", 3)]) } else { self.demand() };
        let hold_ttl_ms = self.random.random_bool(0.45).then(|| self.random.random_range(10..200) * MINUTE_MS);
        let is_of_order = self.random.random_bool(0.6) && !key.starts_with("again");
        let order_ref = is_of_order.then(|| name(&format!("order-{}", self.random.random_range(0..400))));
        let (pool, text) = (pool_id(pool), key.to_owned());
        let reservation = reservation_id(&pool, key);
        let body = CommandBody::Reserve { pool, reservation, demand, hold_ttl_ms, order_ref };
        Ask { key: Some(text), ..self.call(body) }
    }

    /// Serves from where the log ends until this hour.
    pub fn serve(&mut self, dir: TempDir, until: u64) -> TempDir {
        let log = once_free(|| World::open(dir.path(), PARTITIONS, None)).unwrap();
        let world = World::of(dir, log, PARTITIONS);
        let Some(((now, _), _)) = self.agenda.first_key_value() else { return world.close() };
        world.clock.set(shown(*now));
        let replica = Replica::new(PARTITIONS);
        let mut owners: Vec<Owner> =
            (0..PARTITIONS).map(|partition| Owner::begin(&world, &replica, partition)).collect();
        while let Some(entry) = self.agenda.first_entry().filter(|entry| entry.key().0 < hour(until)) {
            let now = entry.key().0;
            world.clock.set(shown(now));
            while let Some(entry) = self.agenda.first_entry().filter(|entry| entry.key().0 == now) {
                let act = entry.remove();
                self.carry_out(act, &world, &mut owners, now);
            }
            for owner in &mut owners {
                while self.hears(now, owner.turn(shown(now))) {}
            }
        }
        drop(owners);
        world.close()
    }

    fn carry_out(&mut self, act: Act, world: &World, owners: &mut [Owner], now: Micros) {
        match act {
            Act::Ask(ask) => {
                self.asked += 1;
                let whole = command(self.asked, ask.body.clone());
                let attempt = ask.attempt.unwrap_or(whole.attempt);
                let (key, actor) = (ask.key.as_deref().map(key), ask.actor.map(name));
                let whole = Command { attempt, key, actor, deadline: shown(now).plus_ms(5_000), ..whole };
                append(&*world.log, ask.partition, &wire::command::encode(&whole));
                self.open.insert(whole.id.0, *ask);
            }
            Act::Garbage => append(&*world.log, 0, b"no command"),
            Act::Tick => owners.iter_mut().for_each(|owner| owner.tick(shown(now))),
            Act::SetBack => owners.iter_mut().for_each(|owner| owner.set_back(now)),
        }
    }

    /// What callers do when they hear what was decided. Whether anything was.
    fn hears(&mut self, now: Micros, decided: Vec<ChainedEvent>) -> bool {
        for ChainedEvent { event, .. } in &decided {
            let stamp = event.cause.as_ref().and_then(|cause| cause.command.as_ref());
            let Some(mut ask) = stamp.and_then(|stamp| self.open.remove(&stamp.id.0)) else { continue };
            if ask.key.as_deref().is_some_and(|key| key.starts_with(EDGE)) {
                continue;
            }
            ask.attempt = stamp.map(|stamp| stamp.attempt);
            match (&ask.body, &event.body) {
                (CommandBody::Reserve { .. }, EventBody::Accepted(entry)) => self.accepted(now, &ask, entry),
                (CommandBody::Reserve { .. }, EventBody::Rejected(_)) => self.refused(now, ask),
                (CommandBody::Amend { .. }, EventBody::Rejected(refused)) if refused.reason == Reason::OverLimit => {
                    let again = Ask { attempt: None, ..ask };
                    self.after(now, &[1, 20, 26 * 60], again);
                }
                _ => {}
            }
        }
        !decided.is_empty()
    }

    /// One of these numbers of minutes later.
    fn after(&mut self, now: Micros, minutes: &[u64], ask: Ask) {
        let minutes = minutes[self.random.random_range(0..minutes.len())];
        self.act(now.plus_ms(minutes * MINUTE_MS), Act::Ask(Box::new(ask)));
    }

    fn accepted(&mut self, now: Micros, ask: &Ask, entry: &Entry) {
        let reservation = entry.reservation;
        if entry.hold_until.is_some() {
            match self.random.random_range(0..10) {
                0..=4 => self.follow(now, CommandBody::Confirm { reservation }),
                5 => self.follow(now, CommandBody::Extend { reservation, hold_ttl_ms: 90 * MINUTE_MS }),
                6 => self.follow(now, CommandBody::Release { reservation }),
                _ => {}
            }
        }
        match self.random.random_range(0..12) {
            0..=2 => {
                let demand = self.demand();
                self.follow(now, CommandBody::Amend { reservation, demand });
            }
            3..=5 => self.follow(now, CommandBody::Release { reservation }),
            6 => (0..2).for_each(|_| self.follow(now, CommandBody::Release { reservation })),
            7 => {
                let body = CommandBody::Abandon { pool: entry.pool.clone(), reservation };
                let back = Ask { body, key: None, actor: None, ..ask.clone() };
                self.after(now, &[0, 1], back);
            }
            8 => self.after(now, &[1, 5, 25 * 60], Ask { attempt: None, ..ask.clone() }),
            _ => {}
        }
    }

    fn follow(&mut self, now: Micros, body: CommandBody) {
        let call = self.call(body);
        self.after(now, &[0, 1, 7, 45, 300, 1_600], call);
    }

    /// Again the same, or elsewhere: under the same key, or under another one for the same order.
    fn refused(&mut self, now: Micros, ask: Ask) {
        let CommandBody::Reserve { demand, order_ref, .. } = &ask.body else { return };
        let elsewhere = [ROOMY, "kiosk", "hill"][self.random.random_range(0..3usize)];
        let text = match self.random.random_range(0..8) {
            0 | 1 => return self.after(now, &[0, 1, 30, 25 * 60], Ask { attempt: None, ..ask }),
            2 | 3 => ask.key.clone().unwrap_or_default(),
            4 | 5 if order_ref.is_some() => format!("other-{}", self.planned),
            _ => return,
        };
        let pool: PoolId = pool_id(elsewhere);
        let reservation: ReservationId = reservation_id(&pool, &text);
        let (demand, order_ref) = (demand.clone(), order_ref.clone());
        let body = CommandBody::Reserve { pool, reservation, demand, hold_ttl_ms: None, order_ref };
        let other = Ask { key: Some(text), attempt: None, ..self.call(body) };
        // An hour, and a moment more.
        let micros = [0, 5 * 60_000_000, 3_599_000_000, 3_600_000_000, 3_600_000_001, 9_000_000_000];
        let at = Micros(now.0 + micros[self.random.random_range(0..micros.len())]);
        self.act(at, Act::Ask(Box::new(other)));
    }
}

impl Owner {
    fn begin(world: &World, replica: &Replica, partition: u32) -> Owner {
        let (handle, mut owned) = world.recover_in(replica, partition);
        becomes(&handle, PartitionStatus::Active);
        let (owner, barrier) = handle.read(|state| {
            let owner = Partition::claim(state, PARTITIONS);
            let barrier = owner.barrier(state, u64::from(partition), world.clock.wall());
            (owner, barrier)
        });
        conclude_turn(&owner, &handle, &mut owned, barrier);
        Owner { handle, owned, owner }
    }

    fn turn(&mut self, now: Micros) -> Vec<ChainedEvent> {
        commit_turn(&self.owner, &self.handle, &mut self.owned, now)
    }

    fn set_back(&mut self, to: Micros) {
        let from = to.plus_ms(AHEAD[2] * HOUR_MS);
        let staged = self.handle.read(|state| self.owner.set_clock(state, from, to, "by hand"));
        conclude_turn(&self.owner, &self.handle, &mut self.owned, staged);
    }

    fn tick(&mut self, now: Micros) {
        let tick = self.handle.read(|state| self.owner.tick(state, now));
        conclude_turn(&self.owner, &self.handle, &mut self.owned, tick);
    }
}
