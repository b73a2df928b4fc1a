//! The values that tests begin with: names, amounts, pools, commands and times, and callers whom nobody answers. A test
//! writes down what it is about and takes the rest from here.

use headroom::domain::{
    Amounts, Attempt, Command, CommandBody, CommandId, Dimension, IdempotencyKey, Micros, Mode, Name, PoolId,
    PoolRules, PoolSpec, Reason, Rejection, ReservationId, route,
};
use headroom::gateway::routing;
use headroom::log::{CommandSink, NewCommand, Reply, ReplyChannel};

/// The time of tests that are about no other: 2027-01-15T08:00:00Z.
pub const NOW: Micros = Micros(1_800_000_000_000_000);

pub fn pool_id(text: &str) -> PoolId {
    PoolId::new(text).unwrap()
}

pub fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

pub fn key(text: &str) -> IdempotencyKey {
    IdempotencyKey::new(text).unwrap()
}

pub fn dimension(text: &str) -> Dimension {
    Dimension::new(text).unwrap()
}

pub fn amounts(pairs: &[(&str, u64)]) -> Amounts {
    Amounts::new(pairs.iter().map(|(text, units)| (dimension(text), *units))).unwrap()
}

/// This many units of the dimension that most tests make do with.
pub fn orders(units: u64) -> Amounts {
    amounts(&[("orders", units)])
}

/// A pool that is open, has these limits, and nothing else.
pub fn open_pool(limits: Amounts) -> PoolSpec {
    let (areas, labels) = Default::default();
    PoolSpec { limits, areas, window: None, labels, mode: Mode::Open, rules: PoolRules::default() }
}

/// The id that a Reserve with this key makes in the pool.
pub fn reservation_id(pool: &PoolId, key_text: &str) -> ReservationId {
    routing::reservation_id(pool, &key(key_text))
}

/// Pools of a partition: `van-0`, `van-1` and so on, without those that other partitions own.
pub fn pools_of(partition: u32, partitions: u32) -> impl Iterator<Item = PoolId> {
    let pools = (0..).map(|number| pool_id(&format!("van-{number}")));
    pools.filter(move |pool| route::partition_of(pool, partitions) == partition)
}

/// The first of them.
pub fn pool_of(partition: u32, partitions: u32) -> PoolId {
    pools_of(partition, partitions).next().unwrap()
}

/// A command whose id and attempt are this number, and whose deadline is five seconds after [`NOW`]. It has no key, and
/// nobody waits for its reply.
pub fn command(number: u64, body: CommandBody) -> Command {
    let (id, attempt, deadline) = (CommandId(number.into()), Attempt(number), NOW.plus_ms(5_000));
    Command { id, reply_to: None, attempt, actor: None, key: None, deadline, body }
}

/// Defines an open pool with these limits.
pub fn define(pool: &PoolId, limits: Amounts) -> CommandBody {
    CommandBody::DefinePool { pool: pool.clone(), spec: open_pool(limits), expected_version: None }
}

/// Reserves one order, at once and for good, under the id that this key makes.
pub fn reserve(pool: &PoolId, key_text: &str) -> CommandBody {
    reserve_as(pool, reservation_id(pool, key_text), 1)
}

/// Reserves this many orders under this id.
pub fn reserve_as(pool: &PoolId, reservation: ReservationId, units: u64) -> CommandBody {
    let (pool, demand) = (pool.clone(), orders(units));
    CommandBody::Reserve { pool, reservation, demand, hold_ttl_ms: None, order_ref: None }
}

/// Holds one order for so long, until it is confirmed.
pub fn hold(pool: &PoolId, key_text: &str, hold_ttl_ms: u64) -> CommandBody {
    let (pool, reservation, demand) = (pool.clone(), reservation_id(pool, key_text), orders(1));
    CommandBody::Reserve { pool, reservation, demand, hold_ttl_ms: Some(hold_ttl_ms), order_ref: None }
}

/// Takes an attempt to reserve under this key back.
pub fn abandon(pool: &PoolId, key_text: &str) -> CommandBody {
    CommandBody::Abandon { pool: pool.clone(), reservation: reservation_id(pool, key_text) }
}

/// A refusal for this reason that tells nothing else.
pub fn rejection(reason: Reason) -> Rejection {
    Rejection {
        reason,
        dimension: None,
        pool: None,
        reservation: None,
        demand: None,
        demand_before: None,
        order_ref: None,
        limits: None,
        used: None,
        mode: None,
        version: None,
        hold_until: None,
        existing_reservation: None,
        live: None,
        retired_until: None,
        asked: None,
    }
}

/// Puts a command's bytes into the log.
#[track_caller]
pub fn append(log: &dyn CommandSink, partition: u32, bytes: &[u8]) {
    log.append(NewCommand { partition, key: b"", bytes, cancels: None, trace: None }).unwrap();
}

/// Two digits for each byte, in lower case.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Drops every reply: nobody waits for one.
pub struct NoReplies;

impl ReplyChannel for NoReplies {
    fn send(&self, _: Vec<Reply>) {}
}
