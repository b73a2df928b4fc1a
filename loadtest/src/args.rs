//! What may be asked of the load test, checked against bounds.

use clap::{Parser, ValueEnum};
use headroom::cmd::client;
use headroom::limits::{DEADLINE_MAX_MS, HTTP_CONNECTIONS_MAX, PAGE_POOLS_MAX};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Requests of one session, warm-up included: each is remembered for the audit.
pub const REQUESTS_MAX: f64 = 20e6;
/// Longest phase, in seconds.
const SECONDS_MAX: f64 = 3_600.0;
/// Highest rate, a second.
const RATE_MAX: f64 = 200_000.0;

/// Offers reservations at a fixed rate, whatever the server does, and audits its log afterwards.
#[derive(Parser, Clone, Debug)]
#[command(version)]
pub struct Args {
    /// What is reserved.
    #[arg(value_enum, default_value_t = Scenario::Hot)]
    pub scenario: Scenario,
    /// Reservations a second.
    #[arg(long, default_value_t = 1_000.0)]
    pub rate: f64,
    /// Measured time.
    #[arg(long, default_value_t = 30.0)]
    pub seconds: f64,
    /// Time at the same rate before it, not measured but audited.
    #[arg(long, default_value_t = 5.0)]
    pub warmup: f64,
    /// Keep-alive connections for reservations.
    #[arg(long, default_value_t = 512)]
    pub connections: usize,
    /// Requests that may wait for a connection; more are dropped, and counted.
    #[arg(long, default_value_t = 4_096)]
    pub backlog: usize,
    /// Limit of each pool; small enough, it makes them contested.
    #[arg(long, default_value_t = 1_000_000_000)]
    pub limit: u64,
    /// Availability queries a second beside the reservations.
    #[arg(long, default_value_t = 0.0)]
    pub read_rate: f64,
    /// Keep-alive connections for queries.
    #[arg(long, default_value_t = 16)]
    pub read_connections: usize,
    /// Pools of `spread`, and the pools that queries search.
    #[arg(long, default_value_t = 500)]
    pub pools: u32,
    /// The deadline sent with each reservation, in milliseconds.
    #[arg(long, default_value_t = 250)]
    pub timeout_ms: u64,
    /// Arrivals as independent callers make them, instead of evenly spaced.
    #[arg(long)]
    pub poisson: bool,
    /// Seed of those arrivals.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Searches for the highest rate with p99 below so many milliseconds, from --rate up.
    #[arg(long, value_name = "P99_MS")]
    pub ramp: Option<f64>,
    /// The server to call; it has to be on this machine's loopback.
    #[arg(long, conflicts_with = "serve")]
    pub url: Option<String>,
    /// A `headroom` to start on a directory of its own and to stop afterwards.
    #[arg(long, value_name = "PATH")]
    pub serve: Option<PathBuf>,
    /// An argument for it, besides its data directory and address. May be repeated.
    #[arg(long, requires = "serve", allow_hyphen_values = true)]
    pub serve_arg: Vec<String>,
    /// Where its directory is made, instead of the system's temporary one. The disk under it is part of the figure.
    #[arg(long, requires = "serve", value_name = "DIR")]
    pub scratch_in: Option<PathBuf>,
    /// Leaves the audit out. The figure is marked as unaudited.
    #[arg(long)]
    pub no_audit: bool,
    /// Prints the result as one JSON object instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// What is reserved.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scenario {
    /// One pool takes everything.
    Hot,
    /// Many pools, all partitions.
    Spread,
}

/// Where the server is.
#[derive(Clone, Debug)]
pub enum Server {
    /// It runs already.
    At(SocketAddr),
    /// It is to be started.
    Start(PathBuf),
}

impl Args {
    /// Which server is meant.
    ///
    /// # Errors
    /// What is wrong with the arguments.
    pub fn server(&self) -> Result<Server, String> {
        match (&self.url, &self.serve) {
            (Some(url), _) => client::loopback(url).map(Server::At),
            (None, Some(path)) => Ok(Server::Start(path.clone())),
            (None, None) => Err("say which server: --url URL or --serve PATH".to_owned()),
        }
    }

    /// Checks every number.
    ///
    /// # Errors
    /// The first that is out of bounds.
    pub fn check(&self) -> Result<(), String> {
        let within = |name: &str, value: f64, min: f64, max: f64| {
            let fits = value.is_finite() && (min..=max).contains(&value);
            if fits { Ok(()) } else { Err(format!("--{name} {value} is not within {min} to {max}")) }
        };
        let connections_max = HTTP_CONNECTIONS_MAX as f64 / 2.0;
        within("rate", self.rate, 1.0, RATE_MAX)?;
        within("seconds", self.seconds, 1.0, SECONDS_MAX)?;
        within("warmup", self.warmup, 0.0, SECONDS_MAX)?;
        within("connections", self.connections as f64, 1.0, connections_max)?;
        within("read-connections", self.read_connections as f64, 1.0, connections_max)?;
        within("backlog", self.backlog as f64, 1.0, 1e6)?;
        within("read-rate", self.read_rate, 0.0, RATE_MAX)?;
        within("pools", f64::from(self.pools), 1.0, PAGE_POOLS_MAX as f64)?;
        within("timeout-ms", self.timeout_ms as f64, 1.0, DEADLINE_MAX_MS as f64)?;
        within("rate x seconds", self.rate * (self.seconds + self.warmup), 1.0, REQUESTS_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str) -> Result<(), String> {
        let args = Args::try_parse_from(line.split(' ')).map_err(|e| e.to_string())?;
        args.check().and_then(|()| args.server().map(drop))
    }

    #[test]
    fn work_is_bounded_and_stays_on_this_machine() {
        check("loadtest hot --url http://127.0.0.1:1 --rate 5000").unwrap();
        check("loadtest spread --serve ./headroom --read-rate 100 --limit 50").unwrap();
        for bad in [
            "loadtest hot",
            "loadtest hot --url http://10.1.2.3:1",
            "loadtest hot --url http://127.0.0.1:1 --serve x",
            "loadtest hot --url http://127.0.0.1:1 --rate 0",
            "loadtest hot --url http://127.0.0.1:1 --rate NaN",
            "loadtest hot --url http://127.0.0.1:1 --rate 100000 --seconds 3600",
            "loadtest hot --url http://127.0.0.1:1 --pools 501",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
