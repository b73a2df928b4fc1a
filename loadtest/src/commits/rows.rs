//! The turns that are committed: those of a real owner, whose callers reserve from some pools. Nobody asks the same twice: keys
//! and traces are random, and so are the ids that follow from them.

use headroom::domain::route;
use headroom::domain::{
    Amounts, Attempt, Command, CommandBody, CommandId, Dimension, EventKind, IdempotencyKey, Micros, Mode, PoolId,
    PoolRules, PoolSpec,
};
use headroom::gateway::routing;
use headroom::limits::{DEADLINE_DEFAULT_MS, UNITS_MAX};
use headroom::log::{CommitOutcome, StoredCommand, Turn};
use headroom::owner::Partition;
use headroom::replica::PartitionState;
use headroom::trace::TraceContext;
use headroom::wire;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::sync::Arc;

/// Pools of a partition.
const POOLS: usize = 40;
/// When the first turn is decided.
const START_US: u64 = 1_795_000_000_000_000;
/// Time from one turn to the next.
const STEP_MS: u64 = 5;

/// Makes the turns of one partition, one after the other.
pub struct Rows {
    owner: Partition,
    state: PartitionState,
    /// Pools that the partition decides about.
    pools: Vec<PoolId>,
    rng: StdRng,
    now: Micros,
    asked: u64,
}

impl Rows {
    /// Of this partition of so many. Equal seeds make equal turns.
    ///
    /// # Errors
    /// When a name is none, which is a mistake in this module.
    pub fn of(partition: u32, partitions: u32, seed: u64) -> Result<Rows, String> {
        let named = (0..).map(|nth| PoolId::new(&format!("route-{nth}")).map_err(|why| format!("{why:?}")));
        let is_home = |pool: &PoolId| route::partition_of(pool, partitions) == partition;
        let pools = named.filter(|pool| pool.as_ref().map_or(true, is_home)).take(POOLS).collect::<Result<_, _>>()?;
        let state = PartitionState::new(partition);
        let owner = Partition::claim(&state, partitions);
        let rng = StdRng::seed_from_u64(seed << 32 | u64::from(partition));
        Ok(Rows { owner, state, pools, rng, now: Micros(START_US), asked: 0 })
    }

    /// The turns that make the pools, each of them one.
    ///
    /// # Errors
    /// When one is not decided as it should be, which is a mistake in this module.
    pub fn pools(&mut self) -> Result<Vec<Arc<Turn>>, String> {
        let limits = amounts(UNITS_MAX)?;
        let (areas, labels, rules) = (Default::default(), Default::default(), PoolRules::default());
        let spec = PoolSpec { limits, areas, window: None, labels, mode: Mode::Open, rules };
        let mut turns = Vec::new();
        for pool in self.pools.clone() {
            let define = CommandBody::DefinePool { pool, spec: spec.clone(), expected_version: None };
            let asked = vec![self.command(None, define)];
            turns.push(self.turn(asked, EventKind::PoolDefined)?);
        }
        Ok(turns)
    }

    /// A turn of so many accepted orders.
    ///
    /// # Errors
    /// When one is not decided as it should be, which is a mistake in this module.
    pub fn orders(&mut self, count: usize) -> Result<Arc<Turn>, String> {
        let asked = (0..count).map(|_| self.order()).collect::<Result<_, String>>()?;
        self.turn(asked, EventKind::Accepted)
    }

    fn order(&mut self) -> Result<Command, String> {
        let pool = self.pools.get(self.rng.random_range(0..POOLS)).ok_or("there is no pool")?.clone();
        let key = format!("order-{:032x}", self.rng.random::<u128>());
        let key = IdempotencyKey::new(&key).map_err(|why| format!("{key}: {why:?}"))?;
        let (reservation, demand) = (routing::reservation_id(&pool, &key), amounts(self.rng.random_range(1..20))?);
        let body = CommandBody::Reserve { pool, reservation, demand, hold_ttl_ms: None, order_ref: None };
        Ok(self.command(Some(key), body))
    }

    fn command(&mut self, key: Option<IdempotencyKey>, body: CommandBody) -> Command {
        self.asked += 1;
        let (gateway, number) = (0x2b7e_1516_28ae_d2a6_u64, self.asked);
        Command {
            id: CommandId(u128::from(gateway) << 64 | u128::from(number)),
            reply_to: Some(gateway),
            attempt: Attempt(gateway << 32 ^ number),
            actor: None,
            key,
            deadline: self.now.plus_ms(DEADLINE_DEFAULT_MS),
            body,
        }
    }

    fn turn(&mut self, asked: Vec<Command>, expected: EventKind) -> Result<Arc<Turn>, String> {
        self.now = self.now.plus_ms(STEP_MS);
        let offsets = self.state.position().next_input..;
        let stored = |(asked, offset): (&Command, u64)| {
            let trace = TraceContext {
                trace_id: self.rng.random::<u128>() | 1,
                span_id: self.rng.random::<u64>() | 1,
                is_sampled: false,
                state: None,
            };
            StoredCommand { offset, skipped: 0, bytes: wire::command::encode(asked), trace: Some(trace) }
        };
        let batch = asked.iter().zip(offsets).map(stored).collect();
        let staged = self.owner.decide(&self.state, batch, self.now);
        let is_expected = |of: &headroom::domain::ChainedEvent| of.event.body.kind() == expected;
        if staged.decided().len() != asked.len() || !staged.decided().iter().all(is_expected) {
            return Err(format!("not every command of a turn was decided as {expected:?}"));
        }
        let turn = staged.turn();
        let concluded = self.owner.conclude(&mut self.state, staged, CommitOutcome::Ok);
        concluded.map(|_| turn).map_err(|breach| breach.to_string())
    }
}

fn amounts(orders: u64) -> Result<Amounts, String> {
    let dimension = Dimension::new("orders").map_err(|why| format!("{why:?}"))?;
    Amounts::new([(dimension, orders)]).ok_or("a dimension twice".to_owned())
}
