//! What a grocer asks of one partition in the course of a season. All of it follows from the number of the slice of time, so
//! that days differ in their names alone.

use super::{BEGAN, SLICE_MS, SLICES};
use crate::bed::{DAY_MS, HOUR_MS};
use crate::fixtures::{command, dimension, key, name, open_pool, orders, pool_id, reservation_id};
use headroom::domain::{
    Command, CommandBody, LimitChange, Micros, Mode, PoolChange, PoolId, PoolRules, PoolSpec, ReservationId, Window,
};
use headroom::limits::RETIRE_AFTER_MAX_MS;

/// Pools are defined so many days before their windows.
const AHEAD_DAYS: u64 = 14;
/// Orders of a day are for the windows of so many days after it.
const DELIVERY_DAYS: u64 = 13;
/// Longer than a slice, and shorter than two.
const HOLD_MS: u64 = SLICE_MS + HOUR_MS;
/// Orders differ in what becomes of them: there are so many kinds.
const KINDS: u64 = 10;

/// How much a day has.
#[derive(Clone, Copy)]
pub struct Trade {
    pub pools: u64,
    pub reservations: u64,
    /// Whether one pool of each day does not retire while the season lasts.
    pub has_one_that_stays: bool,
}

/// An order, with its number since the season began and what becomes of it.
struct Order {
    number: u64,
    kind: u64,
    pool: PoolId,
}

impl Order {
    fn key(&self) -> String {
        format!("K{}", self.number)
    }

    fn id(&self) -> ReservationId {
        reservation_id(&self.pool, &self.key())
    }

    fn reserve(&self) -> CommandBody {
        CommandBody::Reserve {
            pool: self.pool.clone(),
            reservation: self.id(),
            demand: orders(1),
            hold_ttl_ms: (self.kind >= 6).then_some(HOLD_MS),
            order_ref: Some(name(&format!("O-{:014}", self.number))),
        }
    }
}

fn pool(day: u64, n: u64) -> PoolId {
    pool_id(&format!("slot-{day:04}-{n:04}"))
}

pub fn time_of(slice: u64) -> Micros {
    BEGAN.plus_ms(slice * SLICE_MS)
}

impl Trade {
    /// A window of two hours in the morning.
    fn spec(self, day: u64, n: u64) -> PoolSpec {
        let begins = BEGAN.plus_ms(day * DAY_MS + 8 * HOUR_MS);
        let window = Some(Window { start: begins, end: begins.plus_ms(2 * HOUR_MS), cutoff: None });
        // A part of what is asked for finds no room.
        let limit = (self.reservations / self.pools * 8 / 10).max(1);
        let stays = self.has_one_that_stays && n == self.pools - 1;
        let rules = PoolRules { retire_after_ms: stays.then_some(RETIRE_AFTER_MAX_MS), ..PoolRules::default() };
        PoolSpec { window, rules, ..open_pool(orders(limit)) }
    }

    /// The orders that come in a slice.
    fn orders(self, slice: u64) -> impl Iterator<Item = Order> {
        let (day, part) = (slice / SLICES, slice % SLICES);
        let until = |part: u64| self.reservations * part / SLICES;
        (until(part)..until(part + 1)).map(move |n| {
            let pool = pool(day + 1 + n % DELIVERY_DAYS, n / DELIVERY_DAYS % self.pools);
            Order { number: day * self.reservations + n, kind: n % KINDS, pool }
        })
    }

    /// The orders that came so many slices before this one.
    fn earlier(self, slice: u64, before: u64) -> impl Iterator<Item = Order> {
        slice.checked_sub(before).into_iter().flat_map(move |slice| self.orders(slice))
    }

    /// What planners ask for in a slice.
    fn planned(self, slice: u64) -> Vec<CommandBody> {
        let (day, part) = (slice / SLICES, slice % SLICES);
        let define = |day, n| {
            let (pool, spec) = (pool(day, n), self.spec(day, n));
            CommandBody::DefinePool { pool, spec, expected_version: None }
        };
        let adjust = |n, by| {
            let (pool, change) = (pool(day + 3, n), LimitChange::By(vec![(dimension("orders"), by)]));
            CommandBody::AdjustLimits { pool, change, expected_version: None }
        };
        let retire = |n, with_reservations| {
            let pool = pool(day + 4, n);
            CommandBody::RetirePool { pool, with_reservations, expected_version: None }
        };
        let each = |every: usize| (0..self.pools).step_by(every);
        match part {
            0 => {
                let first = if day == 0 { 1 } else { AHEAD_DAYS };
                (first..=AHEAD_DAYS).flat_map(|ahead| (0..self.pools).map(move |n| define(day + ahead, n))).collect()
            }
            1 => each(10).map(|n| adjust(n, 2)).chain(each(9).map(|n| adjust(n, -1))).collect(),
            2 => vec![CommandBody::SetMode { pool: pool(day + 1, 2), mode: Mode::Paused, expected_version: None }],
            3 => {
                let change = PoolChange { mode: Some(Mode::Open), ..PoolChange::default() };
                vec![CommandBody::ChangePool { pool: pool(day + 1, 2), change, expected_version: None }]
            }
            // One that is in use, and one that ends with all that lives in it.
            4 => vec![retire(0, false), retire(1, true)],
            // Its id is free again.
            6 if day > 1 => vec![define(day + 2, 1)],
            _ => vec![],
        }
    }

    /// All that is asked in a slice. Each command has the number after the one before.
    pub fn asked(self, slice: u64, asked: &mut u64) -> Vec<Command> {
        let deadline = time_of(slice).plus_ms(5_000);
        let mut commands = Vec::new();
        let mut ask = |body: CommandBody, kept: Option<String>| {
            *asked += 1;
            let key = kept.map(|text| key(&text));
            commands.push(Command { key, deadline, ..command(*asked, body) });
        };
        self.planned(slice).into_iter().for_each(|body| ask(body, None));
        for order in self.orders(slice) {
            ask(order.reserve(), Some(order.key()));
            // The caller does not hear the answer, and tries again.
            if order.kind == 5 {
                ask(order.reserve(), Some(order.key()));
            }
        }
        for order in self.earlier(slice, 1) {
            let reservation = order.id();
            match order.kind {
                6 | 7 => ask(CommandBody::Confirm { reservation }, Some(order.key())),
                9 => ask(CommandBody::Extend { reservation, hold_ttl_ms: HOLD_MS }, None),
                _ => {}
            }
        }
        for order in self.earlier(slice, 2).filter(|order| order.kind == 9) {
            ask(CommandBody::Release { reservation: order.id() }, None);
        }
        for order in self.earlier(slice, SLICES) {
            let reservation = order.id();
            match order.kind {
                1 => ask(CommandBody::Amend { reservation, demand: orders(2) }, None),
                // Twice, and the second answer is the first.
                3 => (0..2).for_each(|_| ask(CommandBody::Release { reservation }, Some(order.key()))),
                _ => {}
            }
        }
        for order in self.earlier(slice, 2 * SLICES).filter(|order| order.kind == 2) {
            ask(CommandBody::Release { reservation: order.id() }, None);
        }
        // Its caller was told no, and it is taken back: the attempt is that of the Reserve.
        let abandoned = commands.iter().filter(|asked| asked.attempt.0.is_multiple_of(23)).filter_map(|asked| {
            let reserved = asked.reserved()?;
            let body = CommandBody::Abandon { pool: reserved.pool, reservation: reserved.reservation };
            Some((asked.attempt, body))
        });
        let abandoned: Vec<_> = abandoned.collect();
        for (attempt, body) in abandoned {
            *asked += 1;
            commands.push(Command { attempt, deadline, ..command(*asked, body) });
        }
        commands
    }
}
