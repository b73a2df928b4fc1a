//! The requests to the server: the pools of a session, and each request as it follows from its number.

use crate::args::{Args, Scenario};
use headroom::api::grpc::v1::ReserveRequest;
use headroom::audit::history::Call;
use headroom::client::pools::PoolDefinition;
use headroom::client::reserve_answer::ReserveAnswer;
use headroom::client::{self, Method, Outgoing, Uri};
use headroom::domain::{IdempotencyKey, PoolId};
use headroom::gateway::routing;

/// Areas the pools are divided over, minute by minute: a query asks for some minutes of one of them.
const AREAS: u32 = 25;
/// The number of those minutes, and so of the pools that match.
const MATCHES: u32 = 20;
/// A factor that spreads neighbouring numbers over all pools.
const SCATTER: u32 = 2_654_435_761;

/// The requests of one session.
pub struct Target {
    /// What every pool and key of this session begins with.
    pub prefix: String,
    scenario: Scenario,
    pools: u32,
    limit: u64,
    timeout_ms: u64,
    is_read_too: bool,
    reservations: Uri,
    availability: Uri,
}

impl Target {
    /// The requests of a session; this text distinguishes it from all others.
    pub fn new(args: &Args, session: &str) -> Target {
        Target {
            prefix: format!("lt-{session}"),
            scenario: args.scenario,
            pools: args.pools,
            limit: args.limit,
            timeout_ms: args.timeout_ms,
            is_read_too: args.read_rate > 0.0 || args.readers > 0,
            reservations: Uri::from_static("/v1/reservations"),
            availability: Uri::from_static("/v1/availability"),
        }
    }

    fn pool_name(&self, number: u32) -> String {
        match self.scenario {
            Scenario::Hot => format!("{}-hot", self.prefix),
            Scenario::Spread => format!("{}-{}", self.prefix, number.wrapping_mul(SCATTER) % self.pools),
        }
    }

    fn key(&self, number: u32) -> String {
        format!("{}-{number}", self.prefix)
    }

    /// The reservation with this number; a hold of so many milliseconds, if they are given.
    pub fn reserve(&self, number: u32, hold_ms: Option<u64>) -> Outgoing {
        let hold = hold_ms.map_or(String::new(), |ms| format!(r#","hold_ttl_ms":{ms}"#));
        let body = format!(r#"{{"pool":"{}","demand":{{"orders":1}}{hold}}}"#, self.pool_name(number));
        let request = client::json(Method::POST, self.reservations.clone(), body);
        client::timed(client::keyed(request, &self.key(number)), self.timeout_ms)
    }

    /// The reservation with this number, as a message of gRPC.
    pub fn message(&self, number: u32) -> ReserveRequest {
        let (pool, idempotency_key) = (self.pool_name(number), self.key(number));
        let demand = [("orders".to_owned(), 1)].into();
        ReserveRequest { pool, demand, idempotency_key, ..ReserveRequest::default() }
    }

    /// The query with this number.
    pub fn query(&self, number: u32) -> Outgoing {
        let scattered = number.wrapping_mul(SCATTER);
        let (area, first) =
            (scattered % AREAS, scattered / AREAS % (self.pools / AREAS).saturating_sub(MATCHES).max(1));
        let (from, to) = (minute(first), minute(first + MATCHES));
        let body = format!(
            r#"{{"areas":["{}-a{area}"],"from":"{from}","to":"{to}","demand":{{"orders":1}},"limit":{MATCHES}}}"#,
            self.prefix
        );
        client::json(Method::POST, self.availability.clone(), body)
    }

    /// What the caller of the reservation with this number saw, for the auditor; `None` only for names that this
    /// session does not make.
    pub fn call(&self, number: u32, ending: ReserveAnswer) -> Option<Call> {
        let pool = PoolId::new(&self.pool_name(number)).ok()?;
        let key = IdempotencyKey::new(&self.key(number)).ok()?;
        let reservation = Some(routing::reservation_id(&pool, &key));
        Some(Call { pool, key: None, reservation, told: ending.told() })
    }

    /// Whether the pool is one of this session's.
    pub fn owns(&self, pool: &PoolId) -> bool {
        pool.as_str().strip_prefix(&self.prefix).is_some_and(|rest| rest.starts_with('-'))
    }

    /// The pools, each with its definition.
    pub fn pools(&self) -> Vec<PoolDefinition> {
        let spread = if self.scenario == Scenario::Spread || self.is_read_too { self.pools } else { 0 };
        let body = |number: u32, area: u32| {
            let (start, end) = (minute(number / AREAS), minute(number / AREAS + 1));
            format!(
                r#"{{"limits":{{"orders":{}}},"areas":["{}-a{area}"],"window":{{"start":"{start}","end":"{end}"}}}}"#,
                self.limit, self.prefix
            )
        };
        let definition = |pool, body| PoolDefinition { pool, body };
        let spread = (0..spread).map(|n| definition(format!("{}-{n}", self.prefix), body(n, n % AREAS)));
        let hot = (self.scenario == Scenario::Hot).then(|| definition(format!("{}-hot", self.prefix), body(0, AREAS)));
        spread.chain(hot).collect()
    }
}

/// The beginning of a minute, counted from a day in the far future.
fn minute(number: u32) -> String {
    let (day, hour, minute) = (number / 1_440 + 1, number / 60 % 24, number % 60);
    format!("2100-01-{day:02}T{hour:02}:{minute:02}:00Z")
}
