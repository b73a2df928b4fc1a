//! What is asked of the server: the pools of a session, and each request as it follows from its number.

use crate::args::{Args, Scenario};
use headroom::audit::history::Call;
use headroom::cmd::client::told::Ending;
use headroom::cmd::client::{self, Connection, Outgoing};
use headroom::domain::{IdempotencyKey, PoolId};
use headroom::gateway::routing;
use hyper::body::Bytes;
use hyper::{Method, Uri};
use std::time::Duration;

/// Areas the pools are divided over: a query asks for one of them.
const AREAS: u32 = 25;
/// Connections that define pools at the same time.
const DEFINERS: u32 = 8;
/// Time one definition may take.
const DEFINE_TIMEOUT: Duration = Duration::from_secs(10);
/// Times it is tried.
const DEFINE_TRIES: u32 = 5;
/// Multiplied with a number, spreads neighbours over all pools.
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
    /// The requests of the session that this text tells apart from all others.
    pub fn new(args: &Args, session: &str) -> Target {
        Target {
            prefix: format!("lt-{session}"),
            scenario: args.scenario,
            pools: args.pools,
            limit: args.limit,
            timeout_ms: args.timeout_ms,
            is_read_too: args.read_rate > 0.0,
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

    /// The reservation with this number.
    pub fn reserve(&self, number: u32) -> Outgoing {
        let body = format!(r#"{{"pool":"{}","demand":{{"orders":1}}}}"#, self.pool_name(number));
        let request = client::json(Method::POST, self.reservations.clone(), body);
        client::timed(client::keyed(request, &self.key(number)), self.timeout_ms)
    }

    /// The query with this number.
    pub fn query(&self, number: u32) -> Outgoing {
        let area = number.wrapping_mul(SCATTER) % AREAS;
        let body = format!(r#"{{"areas":["{}-a{area}"],"demand":{{"orders":1}},"limit":20}}"#, self.prefix);
        client::json(Method::POST, self.availability.clone(), body)
    }

    /// What the caller of the reservation with this number saw, for the auditor; `None` only for names that this
    /// session does not make.
    pub fn call(&self, number: u32, ending: Ending) -> Option<Call> {
        let pool = PoolId::new(&self.pool_name(number)).ok()?;
        let key = IdempotencyKey::new(&self.key(number)).ok()?;
        let reservation = Some(routing::reservation_id(&pool, &key));
        Some(Call { pool, key: None, reservation, told: ending.told() })
    }

    /// Whether the pool is one of this session's.
    pub fn owns(&self, pool: &PoolId) -> bool {
        pool.as_str().strip_prefix(&self.prefix).is_some_and(|rest| rest.starts_with('-'))
    }

    /// Makes the pools.
    ///
    /// # Errors
    /// Why one could not be made.
    pub async fn define(&self, address: std::net::SocketAddr) -> Result<(), String> {
        let spread = if self.scenario == Scenario::Spread || self.is_read_too { self.pools } else { 0 };
        let names = (0..spread).map(|n| (format!("{}-{n}", self.prefix), n % AREAS));
        let hot = (self.scenario == Scenario::Hot).then(|| (format!("{}-hot", self.prefix), AREAS));
        let pools: Vec<_> = names.chain(hot).collect();
        let share = pools.len().div_ceil(DEFINERS as usize).max(1);
        let tasks: Vec<_> = pools.chunks(share).map(|share| self.definitions(share)).collect();
        let tasks: Vec<_> = tasks.into_iter().map(|share| tokio::spawn(put_all(address, share))).collect();
        for task in tasks {
            task.await.map_err(|e| e.to_string())??;
        }
        Ok(())
    }

    fn definitions(&self, pools: &[(String, u32)]) -> Vec<(String, Bytes)> {
        let body = |area: u32| {
            format!(r#"{{"limits":{{"orders":{}}},"areas":["{}-a{area}"],"mode":"open"}}"#, self.limit, self.prefix)
        };
        pools.iter().map(|(name, area)| (format!("/v1/pools/{name}"), Bytes::from(body(*area)))).collect()
    }
}

async fn put_all(address: std::net::SocketAddr, pools: Vec<(String, Bytes)>) -> Result<(), String> {
    let mut server = Connection::new(address);
    for (name, body) in pools {
        let mut last = String::new();
        let mut is_made = false;
        for _ in 0..DEFINE_TRIES {
            let request = client::json(Method::PUT, client::path(&name)?, body.clone());
            match server.call(client::timed(request, 2_000), DEFINE_TIMEOUT).await {
                Ok(answer) if matches!(answer.status, 200 | 201) => is_made = true,
                Ok(answer) => last = format!("{} {}", answer.status, String::from_utf8_lossy(&answer.body)),
                Err(error) => last = error.to_string(),
            }
            if is_made {
                break;
            }
        }
        if !is_made {
            return Err(format!("PUT {name}: {last}"));
        }
    }
    Ok(())
}
