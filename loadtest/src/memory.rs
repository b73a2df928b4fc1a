//! Measures how much memory a partition takes for reservations that have ended, or for holds that live. Events are made and folded into a
//! state, as an owner and a follower do, and the resident memory of the process is read before and after.

use crate::args::MemoryArgs;
use crate::machine;
use headroom::domain::{
    Amounts, Attempt, Cause, ChainedEvent, Command, CommandBody, CommandId, Digest, Dimension, Entry, Event, EventBody,
    IdempotencyKey, Ledger, Micros, Mode, Name, Pool, PoolId, PoolRules, PoolSpec, ReleaseCause, Status,
};
use headroom::gateway::routing;
use headroom::limits::{HOLD_TTL_MAX_MS, UNITS_MAX};
use headroom::replica::PartitionState;
use headroom::time::Stopwatch;

/// Log time from one event to the next: ten million reservations come and go within a day.
const STEP_US: u64 = 3_000;
/// When the first event is decided.
const START_US: u64 = 1_795_000_000_000_000;

/// Folds the events, and prints the memory that they take.
///
/// # Errors
/// When the system does not report the resident memory, or when an event does not fit, which is a mistake in this
/// module.
pub fn command(args: &MemoryArgs) -> Result<bool, String> {
    let line = std::env::args().collect::<Vec<_>>().join(" ");
    println!("command  {line}\nmachine  {}\n", machine::line());
    let mut folding = Folding::new(args)?;
    let clock = Stopwatch::start();
    let before = machine::resident_bytes().ok_or("the system does not report the resident memory")?;
    for nth in 0..args.entries {
        folding.come_and_go(nth)?;
    }
    let after = machine::resident_bytes().unwrap_or_default();
    let each = |bytes: u64| bytes.checked_div(args.entries).unwrap_or_default();
    let counted = folding.state.memory_used(folding.now);
    let took_ms = clock.elapsed().as_millis();
    let (kind, state) = if args.live { ("live    ", "holds") } else { ("ended   ", "reservations, all remembered") };
    println!("{kind} {} {state}, folded in {took_ms} ms", args.entries);
    println!("resident {before} bytes before, {after} after: {} each", each(after.saturating_sub(before)));
    println!("counted  {counted} bytes towards the limit of {}: {} each", folding.state.bounds().memory, each(counted));
    Ok(true)
}

struct Folding {
    state: PartitionState,
    /// Each pool, and what is used of it.
    pools: Vec<(PoolId, u64, u64)>,
    limits: Amounts,
    order_bytes: usize,
    live: bool,
    now: Micros,
    inputs: u64,
}

fn amounts(orders: u64, crates: u64) -> Result<Amounts, String> {
    let dimension = |name| Dimension::new(name).map_err(|why| format!("{name}: {why:?}"));
    Amounts::new([(dimension("orders")?, orders), (dimension("crates")?, crates)]).ok_or("a dimension twice".to_owned())
}

impl Folding {
    fn new(args: &MemoryArgs) -> Result<Folding, String> {
        let mut folding = Folding {
            state: PartitionState::new(0),
            pools: Vec::new(),
            limits: amounts(UNITS_MAX, UNITS_MAX)?,
            order_bytes: args.order_bytes,
            live: args.live,
            now: Micros(START_US),
            inputs: 0,
        };
        for nth in 0..args.pools {
            let id = PoolId::new(&format!("van-{nth}")).map_err(|why| format!("{why:?}"))?;
            let (areas, labels) = Default::default();
            let (limits, rules) = (folding.limits.clone(), PoolRules::default());
            let spec = PoolSpec { limits, areas, window: None, labels, mode: Mode::Open, rules };
            let pool = Pool { id: id.clone(), spec: spec.clone(), used: amounts(0, 0)?, version: 1 };
            folding.pools.push((id.clone(), 0, 0));
            let body = CommandBody::DefinePool { pool: id, spec, expected_version: None };
            folding.fold(None, body, EventBody::PoolDefined(pool))?;
        }
        Ok(folding)
    }

    /// A reservation is accepted, and released unless it is to live on.
    fn come_and_go(&mut self, nth: u64) -> Result<(), String> {
        let at = usize::try_from(nth).unwrap_or_default() % self.pools.len().max(1);
        let (pool, orders, crates) = self.pools.get(at).ok_or("there is no pool")?.clone();
        let key = IdempotencyKey::new(&format!("key-{nth}")).map_err(|why| format!("{why:?}"))?;
        let reservation = routing::reservation_id(&pool, &key);
        let taken = 1 + nth % 8;
        let (demand, idle) = (amounts(1, taken)?, amounts(orders, crates)?);
        let width = self.order_bytes;
        let order_ref = (width > 0).then(|| Name::new(&format!("{nth:0width$}"))).transpose();
        let order_ref = order_ref.map_err(|why| format!("{why:?}"))?;
        let (accepted_at, hold_ttl_ms) = (Micros(self.now.0 + STEP_US), self.live.then_some(HOLD_TTL_MAX_MS));
        let entry = Entry {
            pool: pool.clone(),
            reservation,
            status: if self.live { Status::Held } else { Status::Confirmed },
            demand: demand.clone(),
            hold_until: hold_ttl_ms.map(|ttl| accepted_at.plus_ms(ttl)),
            hold_since: hold_ttl_ms.map(|_| accepted_at),
            order_ref: order_ref.clone(),
            limits: self.limits.clone(),
            used: amounts(orders + 1, crates + taken)?,
        };
        let released = Entry { status: Status::Released, used: idle, ..entry.clone() };
        let body = CommandBody::Reserve { pool, reservation, demand, hold_ttl_ms, order_ref };
        self.fold(Some(key), body, EventBody::Accepted(entry))?;
        if self.live {
            self.pools.iter_mut().skip(at).take(1).for_each(|of| (of.1, of.2) = (orders + 1, crates + taken));
            return Ok(());
        }
        self.fold(None, CommandBody::Release { reservation }, EventBody::Released(released, ReleaseCause::Caller))
    }

    fn fold(&mut self, key: Option<IdempotencyKey>, body: CommandBody, decided: EventBody) -> Result<(), String> {
        self.now = Micros(self.now.0 + STEP_US);
        let offset = self.inputs;
        self.inputs += 1;
        let (id, deadline) = (CommandId(u128::from(offset) << 64 | u128::from(offset)), self.now.plus_ms(250));
        let command = Command { id, reply_to: None, attempt: Attempt(offset), actor: None, key, deadline, body };
        let event = Event {
            partition: 0,
            seq: self.state.position().next_seq,
            epoch: 1,
            prev: self.state.position().chain,
            decided_at: self.now,
            cause: Some(Cause::of(offset, command.stamp())),
            body: decided,
        };
        let digest = Digest(u128::from(offset + 1).to_le_bytes());
        self.state.fold(&ChainedEvent::new(event, digest)).map_err(|breach| breach.to_string())
    }
}
