//! A partition in a test's hand: `decide` and `evolve` over plain ordered maps, turn by turn, without a log, a thread or
//! a clock. It is slow and obvious on purpose: what it shows is what the domain alone promises.

use headroom::domain::decide::{DecisionContext, decide, expire, retire};
use headroom::domain::evolve::evolve;
use headroom::domain::retention::Bounds;
use headroom::domain::{
    Breach, Cause, Command, CommandId, CommandKey, DedupEntry, Digest, Event, EventBody, Ledger, LedgerMut, Living,
    Micros, Pool, PoolId, Reservation, ReservationId, Status,
};
use headroom::limits::{
    DECIDED_COMMANDS_MAX, FORGOTTEN_PER_EVENT_MAX, MEMORY_BYTES_MAX, POOLS_PER_PARTITION_MAX, TURN_TIMERS_MAX,
};
use headroom::owner::partition::TURN_RETIREMENTS_MAX;
use headroom::wire::digest::Stating;
use std::collections::{BTreeMap, BTreeSet};

/// A partition's state as ordered maps. Its memory has no bound: no test remembers a million things.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct MapLedger {
    pub pools: BTreeMap<PoolId, Pool>,
    pub reservations: BTreeMap<ReservationId, Reservation>,
    pub remembered: BTreeMap<CommandKey, DedupEntry>,
    /// Ids of decided commands, and until when each is kept.
    pub decided: BTreeMap<CommandId, Micros>,
    /// With which event each pool has retired, and until when its id may not be defined anew.
    pub retired: BTreeMap<PoolId, (u64, Micros)>,
    /// Keeps what may be forgotten: what is decided must not depend on when the memory is swept.
    pub hoards: bool,
    /// Says that it holds as many pools as it may.
    pub full_of_pools: bool,
    /// Says that it keeps as many ids of commands as it may.
    pub full_of_commands: bool,
    /// Says that it remembers as much as it may.
    pub full_memory: bool,
}

impl MapLedger {
    /// The digest of all that counts at `now`.
    pub fn digest(&self, now: Micros) -> Digest {
        let mut stating = Stating::begin();
        self.pools.values().for_each(|pool| stating.pool(pool));
        let known = self.reservations.iter().filter(|(_, r)| r.is_known(now));
        known.for_each(|(id, reservation)| stating.reservation(*id, reservation));
        let answers = self.remembered.iter().filter(|(_, r)| r.until > now);
        answers.for_each(|(key, remembered)| stating.answer(key, remembered));
        let ids: BTreeSet<_> =
            self.decided.iter().filter(|(_, until)| **until > now).map(|(id, until)| (*until, *id)).collect();
        ids.into_iter().for_each(|(until, id)| stating.decided(until, id));
        let retired = self.retired.iter().filter(|(_, (_, until))| *until > now);
        retired.for_each(|(pool, (seq, until))| stating.retired(pool, *seq, *until));
        stating.end()
    }
}

impl Ledger for MapLedger {
    fn pool(&self, id: &PoolId) -> Option<&Pool> {
        self.pools.get(id)
    }

    fn reservation(&self, id: &ReservationId) -> Option<&Reservation> {
        self.reservations.get(id)
    }

    fn of_order(
        &self,
        pool: &PoolId,
        order_ref: &str,
        is_asked: impl Fn(&ReservationId) -> bool,
    ) -> Option<ReservationId> {
        let mut of_order = self.reservations.iter().filter(|(_, r)| r.is_of_order(pool, order_ref)).map(|(id, _)| id);
        of_order.find(|id| is_asked(id)).copied()
    }

    fn remembered(&self, key: &CommandKey) -> Option<&DedupEntry> {
        self.remembered.get(key)
    }

    fn is_decided(&self, id: CommandId, now: Micros) -> bool {
        self.decided.get(&id).is_some_and(|until| *until > now)
    }

    fn decided_count(&self, now: Micros) -> usize {
        if self.full_of_commands {
            return DECIDED_COMMANDS_MAX;
        }
        self.decided.values().filter(|until| **until > now).count()
    }

    fn living(&self, pool: &PoolId) -> Living {
        let live = self.reservations.values().filter(|r| r.pool == *pool && r.status.is_live());
        let held = live.clone().filter(|r| r.status == Status::Held);
        Living { live: live.count() as u64, held: held.count() as u64 }
    }

    fn retired_until(&self, pool: &PoolId, now: Micros) -> Option<Micros> {
        self.retired.get(pool).map(|(_, until)| *until).filter(|until| *until > now)
    }

    fn has_place(&self, now: Micros) -> bool {
        let kept = self.retired.values().filter(|(_, until)| *until > now).count();
        !self.full_of_pools && self.pools.len() + kept < POOLS_PER_PARTITION_MAX
    }

    fn memory_used(&self, _now: Micros) -> u64 {
        if self.full_memory { MEMORY_BYTES_MAX } else { 0 }
    }

    fn bounds(&self) -> Bounds {
        Bounds::default()
    }
}

impl LedgerMut for MapLedger {
    fn put_pool(&mut self, pool: Pool) {
        self.pools.insert(pool.id.clone(), pool);
    }

    /// At once and whole.
    fn retire(&mut self, pool: &PoolId, seq: u64, until: Micros) {
        self.pools.remove(pool);
        self.reservations.retain(|_, r| r.pool != *pool || !r.status.is_live());
        self.retired.insert(pool.clone(), (seq, until));
    }

    fn update_pool(&mut self, id: &PoolId, f: impl FnOnce(&mut Pool)) {
        if let Some(pool) = self.pools.get_mut(id) {
            f(pool);
        }
    }

    fn update_reservation(&mut self, pool: &PoolId, id: ReservationId, f: impl FnOnce(&mut Reservation)) {
        let known = self.reservations.entry(id).or_insert_with(|| Reservation::void(pool.clone()));
        f(known);
        if known.is_empty() {
            self.reservations.remove(&id);
        }
    }

    fn remember(&mut self, key: CommandKey, remembered: DedupEntry) {
        self.remembered.insert(key, remembered);
    }

    fn keep_decided(&mut self, id: CommandId, until: Micros) {
        self.decided.insert(id, until);
    }

    fn set_back(&mut self, from: Micros, by_us: u64) {
        self.retired.retain(|_, (_, until)| *until > from);
        let timed = self.reservations.values_mut().filter(|r| r.status != Status::Confirmed).map(|r| &mut r.until);
        timed
            .chain(self.remembered.values_mut().map(|r| &mut r.until))
            .chain(self.retired.values_mut().map(|(_, until)| until))
            .for_each(|until| *until = until.set_back(by_us));
    }

    fn carry_decided(&mut self, from: Micros, latest: Micros) {
        self.decided.retain(|_, until| *until > from);
        self.decided.values_mut().for_each(|until| *until = latest.min(*until));
    }

    fn forget(&mut self, now: Micros) {
        if self.hoards {
            return;
        }
        self.decided.retain(|_, until| *until > now);
        self.retired.retain(|_, (_, until)| *until > now);
        let over = self.reservations.iter().filter(|(_, r)| !r.is_known(now));
        let mut ids: Vec<_> = over.map(|(id, r)| (r.until, *id)).collect();
        ids.sort_unstable();
        for (_, id) in ids.into_iter().take(FORGOTTEN_PER_EVENT_MAX) {
            self.reservations.remove(&id);
        }
        let mut keys: Vec<_> = self.remembered.iter().filter(|(_, r)| r.until <= now).collect();
        keys.sort_unstable_by_key(|(_, r)| r.until);
        let keys: Vec<_> = keys.into_iter().take(FORGOTTEN_PER_EVENT_MAX).map(|(key, _)| key.clone()).collect();
        for key in keys {
            self.remembered.remove(&key);
        }
    }
}

/// What one turn came to.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Turned {
    /// The holds that were due, expired before anything else, by (until, id); then the pools whose time had come.
    pub timers: Vec<EventBody>,
    /// One body per command, in order.
    pub answers: Vec<EventBody>,
}

/// A partition that decides turns.
#[derive(Clone, Debug)]
pub struct Machine {
    pub ledger: MapLedger,
    /// Everything decided so far.
    pub events: Vec<Event>,
    /// Holds that one turn expires at most; the rest follow in the next.
    pub timers_per_turn: usize,
    partition: u32,
    partitions: u32,
    now: Micros,
    inputs: u64,
}

impl Machine {
    pub fn new(partition: u32, partitions: u32, ledger: MapLedger) -> Machine {
        Machine {
            ledger,
            events: Vec::new(),
            timers_per_turn: TURN_TIMERS_MAX,
            partition,
            partitions,
            now: Micros(0),
            inputs: 0,
        }
    }

    /// Decides a turn against an overlay, then adopts its events: both must come to the same state.
    pub fn turn(&mut self, now: Micros, commands: &[Command]) -> Result<Turned, Breach> {
        self.now = self.now.max(now);
        let mut stage = self.ledger.clone();
        let first = self.events.len();
        let mut turned = Turned::default();
        for id in due(&stage, self.now).into_iter().take(self.timers_per_turn) {
            if let Some(body) = expire(&stage, id, self.now) {
                turned.timers.push(self.record(&mut stage, None, body)?);
            }
        }
        for id in retiring(&self.ledger, self.now) {
            if let Some(body) = retire(&stage, &id, self.now) {
                turned.timers.push(self.record(&mut stage, None, body)?);
            }
        }
        let place = DecisionContext {
            partition: self.partition,
            partitions: self.partitions,
            now: self.now,
            pools_retire: true,
        };
        for command in commands {
            let body = decide(&stage, command, place);
            turned.answers.push(self.record(&mut stage, Some(command), body)?);
        }
        for event in &self.events[first..] {
            evolve(&mut self.ledger, event)?;
        }
        assert_eq!(self.ledger, stage, "a turn's events do not lead to the state it was decided against");
        Ok(turned)
    }

    /// Sets the clock back, in a turn of its own.
    pub fn set_clock(&mut self, to: Micros) -> Result<(), Breach> {
        let from = std::mem::replace(&mut self.now, to);
        let mut ledger = self.ledger.clone();
        self.record(&mut ledger, None, EventBody::ClockSet { from, detail: "by hand".to_owned() })?;
        self.ledger = ledger;
        Ok(())
    }

    fn record(
        &mut self,
        stage: &mut MapLedger,
        command: Option<&Command>,
        body: EventBody,
    ) -> Result<EventBody, Breach> {
        let cause = command.map(|c| Cause::of(self.inputs, c.stamp()));
        self.inputs += u64::from(cause.is_some());
        let event = Event {
            partition: self.partition,
            seq: self.events.len() as u64,
            epoch: 1,
            prev: Digest::default(),
            decided_at: self.now,
            cause,
            body: body.clone(),
        };
        evolve(stage, &event)?;
        self.events.push(event);
        Ok(body)
    }
}

fn due(ledger: &MapLedger, now: Micros) -> Vec<ReservationId> {
    let held = ledger.reservations.iter().filter(|(_, r)| r.status == Status::Held && r.until <= now);
    let mut due: Vec<_> = held.map(|(id, r)| (r.until, *id)).collect();
    due.sort_unstable();
    due.into_iter().map(|(_, id)| id).collect()
}

/// The pools without a live hold that retire by themselves, by (when, id).
pub fn retiring(ledger: &MapLedger, now: Micros) -> Vec<PoolId> {
    let idle = ledger.pools.values().filter(|pool| ledger.living(&pool.id).held == 0);
    let mut due: Vec<_> = idle.filter_map(|pool| Some((pool.spec.retires_at()?, pool.id.clone()))).collect();
    due.retain(|(at, _)| *at <= now);
    due.sort_unstable();
    due.into_iter().take(TURN_RETIREMENTS_MAX).map(|(_, id)| id).collect()
}
