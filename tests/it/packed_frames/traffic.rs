//! Calls of clients who have little in common: how they name things, what they ask for, and how many of them meet in a turn.

use crate::fixtures::{amounts, key, name, open_pool, pool_id, reservation_id};
use headroom::domain::{
    Attempt, Command, CommandBody, CommandId, IdempotencyKey, LimitChange, Micros, Mode, Name, PoolId, PoolSpec, Window,
};
use headroom::trace::TraceContext;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// How a client names what is its own, from a random number and a running one.
pub struct Style {
    pool: fn(u64) -> String,
    key: fn(&mut StdRng, u64) -> String,
    order: fn(&mut StdRng, u64) -> String,
    actor: Option<&'static str>,
    dimensions: &'static [(&'static str, u64)],
    is_traced: bool,
}

fn hex(rng: &mut StdRng, digits: usize) -> String {
    let digit = |_| char::from_digit(rng.random_range(0..16), 16).unwrap();
    (0..digits).map(digit).collect()
}

fn uuid(rng: &mut StdRng) -> String {
    let h = hex(rng, 32);
    format!("{}-{}-4{}-a{}-{}", &h[..8], &h[8..12], &h[13..16], &h[17..20], &h[20..32])
}

/// Sixteen letters and digits, as sortable ids have them after a time.
fn sortable(rng: &mut StdRng, n: u64) -> String {
    let letters = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let tail: String = (0..16).map(|_| char::from(letters[rng.random_range(0..32usize)])).collect();
    format!("01K{:07}{tail}", n % 10_000_000)
}

/// Those of whom a dictionary is made.
pub const KNOWN: &[Style] = &[
    Style {
        pool: |n| format!("van-{}", n % 40),
        key: |rng, _| uuid(rng),
        order: |_, n| format!("order-{n}"),
        actor: None,
        dimensions: &[("orders", 1)],
        is_traced: true,
    },
    Style {
        pool: |n| format!("{}-2027-01-{:02}-evening", 1_000 + n % 60, 10 + n % 15),
        key: |rng, n| sortable(rng, n),
        order: |rng, _| hex(rng, 24),
        actor: Some("checkout"),
        dimensions: &[("crates", 9), ("orders", 1)],
        is_traced: true,
    },
    Style {
        pool: |n| format!("berlin.{}.slot.{}", n % 9, n % 80),
        key: |_, n| format!("cart-{n}-1"),
        order: |_, n| format!("B{n:09}"),
        actor: Some("mobile-app"),
        dimensions: &[("minutes", 45), ("orders", 1), ("weight_g", 20_000)],
        is_traced: false,
    },
    Style {
        pool: |n| format!("{}", 70_000 + n % 300),
        key: |rng, _| hex(rng, 32),
        order: |_, n| format!("{n}"),
        actor: None,
        dimensions: &[("units", 3)],
        is_traced: true,
    },
    Style {
        pool: |n| format!("Store_{}_pickup", n % 25),
        key: |rng, n| format!("{n}_{}", hex(rng, 8)),
        order: |rng, n| format!("SO-{n}-{}", hex(rng, 4)),
        actor: Some("store.terminal"),
        dimensions: &[("pallets", 2), ("volume_l", 800)],
        is_traced: false,
    },
];

/// Those whom the one in use has never seen.
pub const OTHERS: &[Style] = &[
    Style {
        pool: |n| format!("tour_{}_north", n % 50),
        key: |rng, _| hex(rng, 40),
        order: |rng, _| uuid(rng),
        actor: Some("webshop-eu"),
        dimensions: &[("orders", 1), ("parcels", 4)],
        is_traced: true,
    },
    Style {
        pool: |n| format!("kitchen-{}", n % 12),
        key: |_, n| format!("req{n}"),
        order: |_, n| format!("T{n}"),
        actor: None,
        dimensions: &[("meals", 3)],
        is_traced: true,
    },
];

/// The calls of these clients, one turn after the other.
pub struct Traffic {
    rng: StdRng,
    styles: &'static [Style],
    asked: u64,
    /// The number of the gateway, once all calls go through one.
    gateway: Option<u64>,
    /// Reservations that may be confirmed, changed or let go.
    made: Vec<(PoolId, IdempotencyKey)>,
}

impl Traffic {
    pub fn of(styles: &'static [Style], seed: u64) -> Traffic {
        Traffic { rng: StdRng::seed_from_u64(seed), styles, asked: 0, gateway: None, made: Vec::new() }
    }

    /// The pools of all clients: some are small.
    pub fn pools(&mut self, now: Micros) -> Vec<Command> {
        let mut asked = Vec::new();
        for style in self.styles {
            let mut ids: Vec<_> = (0..600).map(style.pool).collect();
            ids.sort();
            ids.dedup();
            for id in ids {
                let pool = pool_id(&id);
                let most = if self.rng.random_bool(0.2) { 5 } else { self.rng.random_range(200..200_000u64) };
                let limits: Vec<_> = style.dimensions.iter().map(|(name, units)| (*name, units * most)).collect();
                let mut spec = open_pool(amounts(&limits));
                if self.rng.random_bool(0.5) {
                    let start = now.plus_ms(3_600_000 * self.rng.random_range(24..300u64));
                    let cutoff = self.rng.random_bool(0.5).then_some(Micros(start.0 - 3_600_000_000));
                    spec = PoolSpec { window: Some(Window { start, end: start.plus_ms(7_200_000), cutoff }), ..spec };
                }
                asked.push(self.command(style, now, CommandBody::DefinePool { pool, spec, expected_version: None }));
            }
        }
        asked
    }

    /// Reserves through one gateway, confirmed at once.
    pub fn orders(&mut self, count: usize, now: Micros) -> Vec<(Command, Option<TraceContext>)> {
        self.gateway = Some(0x2b7e_1516_28ae_d2a6);
        (0..count).map(|_| self.call(now, |_| 0)).collect()
    }

    /// Calls of every kind.
    pub fn turn(&mut self, count: usize, now: Micros) -> Vec<(Command, Option<TraceContext>)> {
        (0..count).map(|_| self.call(now, |rng| rng.random_range(0..100))).collect()
    }

    /// How many meet in a turn: mostly one.
    pub fn count(&mut self) -> usize {
        match self.rng.random_range(0..100) {
            0..80 => 1,
            80..99 => self.rng.random_range(2..10),
            _ => self.rng.random_range(10..=100),
        }
    }

    /// How much time passes between two turns.
    pub fn pause_ms(&mut self) -> u64 {
        self.rng.random_range(1..2_400_000)
    }

    fn call(&mut self, now: Micros, kind: fn(&mut StdRng) -> u32) -> (Command, Option<TraceContext>) {
        let style = &self.styles[self.rng.random_range(0..self.styles.len())];
        let n = 100_000 + self.asked;
        let pool = pool_id(&(style.pool)(self.rng.random_range(0..600)));
        let its = key(&(style.key)(&mut self.rng, n));
        let earlier = self.made.len().checked_sub(1).map(|last| self.rng.random_range(0..=last));
        let earlier = earlier.map(|at| self.made.swap_remove(at)).unwrap_or((pool.clone(), its.clone()));
        let reservation = reservation_id(&earlier.0, earlier.1.as_str());
        let units: Vec<_> =
            style.dimensions.iter().map(|(name, most)| (*name, self.rng.random_range(1..=*most))).collect();
        let (body, its) = match kind(&mut self.rng) {
            kind @ 0..60 => {
                let hold_ttl_ms = (kind >= 45).then(|| self.rng.random_range(60_000..900_000));
                let order_ref: Option<Name> = self.rng.random_bool(0.5).then(|| name(&(style.order)(&mut self.rng, n)));
                let reservation = reservation_id(&pool, its.as_str());
                self.made.push((pool.clone(), its.clone()));
                (CommandBody::Reserve { pool, reservation, demand: amounts(&units), hold_ttl_ms, order_ref }, its)
            }
            // A caller who asks again.
            60..64 => {
                let (pool, its) = earlier;
                let demand = amounts(&units);
                (CommandBody::Reserve { pool, reservation, demand, hold_ttl_ms: None, order_ref: None }, its)
            }
            64..74 => (CommandBody::Confirm { reservation }, its),
            74..86 => (CommandBody::Release { reservation }, its),
            86..90 => (CommandBody::Extend { reservation, hold_ttl_ms: 600_000 }, its),
            90..94 => (CommandBody::Amend { reservation, demand: amounts(&units) }, its),
            94..97 => (CommandBody::Abandon { pool: earlier.0, reservation }, its),
            97..99 => {
                let by = units.iter().map(|(name, units)| (crate::fixtures::dimension(name), *units as i64)).collect();
                (CommandBody::AdjustLimits { pool, change: LimitChange::By(by), expected_version: None }, its)
            }
            _ => (CommandBody::SetMode { pool, mode: Mode::Open, expected_version: None }, its),
        };
        let asked = Command { key: Some(its), ..self.command(style, now, body) };
        let trace = style.is_traced.then(|| TraceContext {
            trace_id: (u128::from(self.rng.random::<u64>()) << 64) | u128::from(self.rng.random::<u64>()),
            span_id: self.rng.random(),
            is_sampled: self.rng.random_bool(0.2),
            state: None,
        });
        (asked, trace)
    }

    fn command(&mut self, style: &Style, now: Micros, body: CommandBody) -> Command {
        self.asked += 1;
        // A gateway that has just started: none of its numbers is known from another call.
        let (incarnation, number) = match self.gateway {
            None => (self.rng.random(), self.rng.random_range(1..1_000_000u64)),
            Some(gateway) => (gateway, self.asked),
        };
        Command {
            id: CommandId((u128::from(incarnation) << 64) | u128::from(number)),
            reply_to: Some(incarnation),
            attempt: Attempt((incarnation << 32) ^ number),
            actor: style.actor.map(name),
            key: None,
            deadline: now.plus_ms(250),
            body,
        }
    }
}
