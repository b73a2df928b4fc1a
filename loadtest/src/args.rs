//! What may be asked of the load test, checked against bounds.

use crate::arrivals::Arrivals;
use crate::machine::brokers_of;
use crate::session::Beside;
use clap::{Parser, Subcommand};
use headroom::client;
use headroom::limits::{DEADLINE_MAX_MS, HTTP_CONNECTIONS_MAX, NAME_BYTES_MAX, POOLS_PER_PARTITION_MAX};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Requests of one session, warm-up included: each is remembered for the audit.
pub const REQUESTS_MAX: f64 = 20e6;
/// Longest phase, in seconds.
const SECONDS_MAX: f64 = 3_600.0;
/// Highest rate, a second.
const RATE_MAX: f64 = 200_000.0;
/// Most holds: making them takes a minute and more.
const HOLDS_MAX: f64 = 200_000.0;
/// Most rounds of a comparison.
const ROUNDS_MAX: f64 = 1_000.0;
/// Most owners of a bare loop.
const BARE_PARTITIONS_MAX: f64 = 64.0;
/// Most reservations of which the memory is measured: they come and go within a day of log time.
const ENTRIES_MAX: u64 = 14_000_000;
/// Longest linger or pause of a bare loop, in milliseconds.
const WAIT_MS_MAX: f64 = 1_000.0;

/// Offers work at a fixed rate, whatever becomes of it. Where Headroom does it, its log is audited afterwards.
#[derive(Parser, Clone, Debug)]
#[command(version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Subcommand, Clone, Debug)]
pub enum Command {
    /// Reservations of one pool, which takes everything
    Hot(Args),
    /// Reservations of many pools, all partitions
    Spread(Args),
    /// Rounds of `hot` on a cluster, each beside one of `bare`, with medians and ratios
    Compare(CompareArgs),
    /// What Kafka alone takes: the same client with the same settings, and neither HTTP nor decisions
    Bare(BareArgs),
    /// How fast the same client reads what is committed in a topic
    BareConsume(ConsumeArgs),
    /// What a partition's memory takes for reservations that have ended; needs no server
    Memory(MemoryArgs),
}

impl Command {
    /// Checks what can be checked before it begins.
    ///
    /// # Errors
    /// What is wrong with the arguments.
    pub fn check(&self) -> Result<(), String> {
        match self {
            Command::Hot(args) | Command::Spread(args) => args.check().and_then(|()| args.server().map(drop)),
            Command::Compare(args) => args.check(),
            Command::Bare(args) => args.check(),
            Command::BareConsume(_) => Ok(()),
            Command::Memory(args) => args.check(),
        }
    }
}

/// What is remembered.
#[derive(clap::Args, Clone, Copy, Debug)]
pub struct MemoryArgs {
    /// Reservations that were accepted and released.
    #[arg(long, default_value_t = 10_000_000)]
    pub entries: u64,
    /// Length of each one's order reference; 0 for none.
    #[arg(long, default_value_t = 0)]
    pub order_bytes: usize,
    /// Pools that they are of.
    #[arg(long, default_value_t = 500)]
    pub pools: usize,
}

impl MemoryArgs {
    fn check(&self) -> Result<(), String> {
        if self.entries == 0 || self.entries > ENTRIES_MAX {
            return Err(format!("--entries is 1 to {ENTRIES_MAX}"));
        }
        if self.order_bytes > NAME_BYTES_MAX || self.pools == 0 || self.pools > POOLS_PER_PARTITION_MAX {
            return Err(format!("--order-bytes is at most {NAME_BYTES_MAX}, --pools 1 to {POOLS_PER_PARTITION_MAX}"));
        }
        Ok(())
    }
}

/// How much is offered, and when.
#[derive(clap::Args, Clone, Copy, Debug)]
pub struct PaceArgs {
    /// Reservations a second, or commands of a bare loop.
    #[arg(long, default_value_t = 1_000.0)]
    pub rate: f64,
    /// Measured time, in seconds.
    #[arg(long, default_value_t = 30.0)]
    pub seconds: f64,
    /// Time at the same rate before it, not measured; reservations are audited.
    #[arg(long, default_value_t = 5.0)]
    pub warmup: f64,
    /// Arrivals as independent callers make them, instead of evenly spaced.
    #[arg(long)]
    pub poisson: bool,
    /// Seed of those arrivals.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// Reservations at a fixed rate.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// What is reserved: the command says it.
    #[arg(skip)]
    pub scenario: Scenario,
    /// How many, and when.
    #[command(flatten)]
    pub pace: PaceArgs,
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
    /// Readers that ask for availability again as soon as they are answered. The reservations are measured twice: alone,
    /// and beside them.
    #[arg(long, default_value_t = 0, conflicts_with = "ramp")]
    pub readers: usize,
    /// Holds that end in one instant. The reservations are measured in rounds: each time alone, and from that instant on.
    #[arg(long, default_value_t = 0, conflicts_with_all = ["ramp", "readers"])]
    pub holds: u32,
    /// Rounds of the measurement with holds.
    #[arg(long, default_value_t = 3)]
    pub hold_rounds: u32,
    /// Pools of `spread`, and the pools that queries search.
    #[arg(long, default_value_t = 500)]
    pub pools: u32,
    /// The deadline sent with each reservation, in milliseconds.
    #[arg(long, default_value_t = 250)]
    pub timeout_ms: u64,
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
    /// A cluster for it to run on, with topics of its own that are deleted afterwards; otherwise its log is embedded.
    #[arg(long, requires = "serve", value_name = "HOST:PORT,...")]
    pub brokers: Option<String>,
    /// Partitions of the log of the server that is started.
    #[arg(long, requires = "serve", value_name = "N")]
    pub partitions: Option<u32>,
    /// Where its directory is made, instead of the system's temporary one. The disk under it is part of the figure.
    #[arg(long, requires = "serve", value_name = "DIR")]
    pub scratch_in: Option<PathBuf>,
    /// Leaves the audit out. The figure is marked as unaudited.
    #[arg(long)]
    pub no_audit: bool,
    /// Prints the result as one JSON object instead of a table.
    #[arg(long)]
    pub json: bool,
    /// The directory of the rig whose brokers carry the log: what they take of the machine is told.
    #[arg(long, env = "HEADROOM_RIG_DIR", value_name = "DIR")]
    pub rig: Option<PathBuf>,
}

/// Both, in turns.
#[derive(clap::Args, Clone, Debug)]
pub struct CompareArgs {
    /// What is measured of Headroom; rate, times and arrivals go for the bare loop as well.
    #[command(flatten)]
    pub load: Args,
    /// Rounds of the comparison, each with both of them.
    #[arg(long, default_value_t = 3)]
    pub rounds: u32,
    /// Seconds of the bare loop before all, so that brokers are warm.
    #[arg(long, default_value_t = 60.0)]
    pub warm: f64,
    /// The bare loop's turns.
    #[command(flatten)]
    pub turns: TurnArgs,
}

/// How the bare loop takes its turns.
#[derive(clap::Args, Clone, Copy, Debug)]
pub struct TurnArgs {
    /// How long the bare loop gathers commands and replies; otherwise as Headroom's settings have it.
    #[arg(long, value_name = "MS")]
    pub linger_ms: Option<f64>,
    /// The bare loop's pause from the end of a turn to the next one.
    #[arg(long, default_value_t = 0.0, value_name = "MS")]
    pub pause_ms: f64,
    /// Two producers take turns on each partition of the bare loop.
    #[arg(long)]
    pub alternate: bool,
}

/// Turns of one's own on a cluster.
#[derive(clap::Args, Clone, Debug)]
pub struct BareArgs {
    /// The cluster, on which it makes topics and deletes them.
    #[arg(long, value_name = "HOST:PORT,...")]
    pub brokers: String,
    /// How many, and when.
    #[command(flatten)]
    pub pace: PaceArgs,
    /// Partitions, each with an owner.
    #[arg(long, default_value_t = 1)]
    pub partitions: u32,
    /// How each owner takes its turns.
    #[command(flatten)]
    pub turns: TurnArgs,
    /// The directory of the rig whose brokers these are: what they take of the machine is told.
    #[arg(long, env = "HEADROOM_RIG_DIR", value_name = "DIR")]
    pub rig: Option<PathBuf>,
    /// Prints the result as one JSON object instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// Reading a topic.
#[derive(clap::Args, Clone, Debug)]
pub struct ConsumeArgs {
    /// The cluster, as host and port of some of its brokers.
    #[arg(long, value_name = "HOST:PORT,...")]
    pub brokers: String,
    /// What is read, from its beginning to its end.
    #[arg(long)]
    pub topic: String,
    /// One partition of it, instead of all of them.
    #[arg(long)]
    pub partition: Option<u32>,
    /// Prints the result as one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// What is reserved.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Scenario {
    /// One pool takes everything.
    #[default]
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
            (Some(_), _) if self.brokers.is_some() => Err("--brokers is for a server of --serve".to_owned()),
            (Some(url), _) => client::loopback(url).map(Server::At),
            (None, Some(path)) => Ok(Server::Start(path.clone())),
            (None, None) => Err("say which server: --url URL or --serve PATH".to_owned()),
        }
    }

    /// What the reservations are measured beside, phase by phase.
    pub fn besides(&self) -> Vec<Beside> {
        if self.holds > 0 {
            return [Beside::Nothing, Beside::Holds(self.holds)].repeat(self.hold_rounds as usize);
        }
        let readers = (self.readers > 0).then_some(Beside::Readers(self.readers));
        std::iter::once(Beside::Nothing).chain(readers).collect()
    }

    /// The process ids of the rig's brokers.
    pub fn broker_pids(&self) -> Vec<u32> {
        self.rig.as_deref().map(brokers_of).unwrap_or_default()
    }

    /// Checks every number.
    ///
    /// # Errors
    /// The first that is out of bounds.
    pub fn check(&self) -> Result<(), String> {
        let connections_max = HTTP_CONNECTIONS_MAX as f64 / 2.0;
        self.pace.check()?;
        within("connections", self.connections as f64, 1.0, connections_max)?;
        within("read-connections", self.read_connections as f64, 1.0, connections_max)?;
        within("backlog", self.backlog as f64, 1.0, 1e6)?;
        within("read-rate", self.read_rate, 0.0, RATE_MAX)?;
        within("pools", f64::from(self.pools), 1.0, POOLS_PER_PARTITION_MAX as f64)?;
        within("readers", self.readers as f64, 0.0, connections_max)?;
        within("holds", f64::from(self.holds), 0.0, HOLDS_MAX)?;
        within("hold-rounds", f64::from(self.hold_rounds), 1.0, ROUNDS_MAX)?;
        within("timeout-ms", self.timeout_ms as f64, 1.0, DEADLINE_MAX_MS as f64)?;
        let (phases, held) = (self.besides().len() as f64, f64::from(self.holds) * f64::from(self.hold_rounds));
        within("rate x seconds", self.pace.rate * self.pace.duration() * phases + held, 1.0, REQUESTS_MAX)
    }
}

impl CompareArgs {
    /// The cluster.
    ///
    /// # Errors
    /// When none is named.
    pub fn brokers(&self) -> Result<&str, String> {
        self.load.brokers.as_deref().ok_or_else(|| "say which cluster: --serve PATH --brokers HOST:PORT".to_owned())
    }

    /// A round of the bare loop.
    ///
    /// # Errors
    /// When no cluster is named.
    pub fn bare(&self) -> Result<BareArgs, String> {
        let (pace, turns) = (self.load.pace, self.turns);
        let (brokers, rig) = (self.brokers()?.to_owned(), self.load.rig.clone());
        let (partitions, json) = (1, self.load.json);
        Ok(BareArgs { brokers, pace, partitions, turns, rig, json })
    }

    /// Checks every number.
    ///
    /// # Errors
    /// The first that is out of bounds, or what does not go together.
    pub fn check(&self) -> Result<(), String> {
        within("rounds", f64::from(self.rounds), 1.0, ROUNDS_MAX)?;
        within("warm", self.warm, 0.0, SECONDS_MAX)?;
        if self.load.ramp.is_some() {
            return Err("--ramp finds a rate, and rounds are compared at one".to_owned());
        }
        self.load.check()?;
        self.bare()?.check()
    }
}

impl BareArgs {
    /// Checks every number.
    ///
    /// # Errors
    /// The first that is out of bounds.
    pub fn check(&self) -> Result<(), String> {
        self.pace.check()?;
        within("partitions", f64::from(self.partitions), 1.0, BARE_PARTITIONS_MAX)?;
        within("linger-ms", self.turns.linger_ms.unwrap_or_default(), 0.0, WAIT_MS_MAX)?;
        within("pause-ms", self.turns.pause_ms, 0.0, WAIT_MS_MAX)
    }
}

impl PaceArgs {
    /// Warm-up and measured time, in seconds.
    pub fn duration(&self) -> f64 {
        self.warmup + self.seconds
    }

    /// When each is due at this rate; chance begins from `seed` where it has a say.
    pub fn arrivals(&self, rate: f64, seed: u64) -> Arrivals {
        if self.poisson {
            Arrivals::poisson(rate, self.duration(), seed)
        } else {
            Arrivals::even(rate, self.duration())
        }
    }

    fn check(&self) -> Result<(), String> {
        within("rate", self.rate, 1.0, RATE_MAX)?;
        within("seconds", self.seconds, 1.0, SECONDS_MAX)?;
        within("warmup", self.warmup, 0.0, SECONDS_MAX)
    }
}

fn within(name: &str, value: f64, min: f64, max: f64) -> Result<(), String> {
    let fits = value.is_finite() && (min..=max).contains(&value);
    if fits { Ok(()) } else { Err(format!("--{name} {value} is not within {min} to {max}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str) -> Result<(), String> {
        Cli::try_parse_from(line.split(' ')).map_err(|e| e.to_string())?.command.check()
    }

    #[test]
    fn work_is_bounded_and_stays_on_this_machine() {
        check("loadtest hot --url http://127.0.0.1:1 --rate 5000").unwrap();
        check("loadtest spread --serve ./headroom --read-rate 100 --limit 50").unwrap();
        check("loadtest hot --serve ./headroom --readers 256 --pools 5000").unwrap();
        check("loadtest hot --serve ./headroom --holds 20000 --hold-rounds 5 --seconds 2").unwrap();
        check("loadtest compare --serve ./headroom --brokers 127.0.0.1:1 --rounds 5 --linger-ms 3").unwrap();
        check("loadtest bare --brokers 127.0.0.1:1 --rate 10000 --linger-ms 3").unwrap();
        for bad in [
            "loadtest hot",
            "loadtest hot --url http://10.1.2.3:1",
            "loadtest hot --url http://127.0.0.1:1 --serve x",
            "loadtest hot --url http://127.0.0.1:1 --rate 0",
            "loadtest hot --url http://127.0.0.1:1 --rate NaN",
            "loadtest hot --url http://127.0.0.1:1 --rate 100000 --seconds 3600",
            "loadtest hot --url http://127.0.0.1:1 --pools 300000",
            "loadtest hot --url http://127.0.0.1:1 --readers 4096",
            "loadtest hot --url http://127.0.0.1:1 --readers 4 --holds 5",
            "loadtest hot --url http://127.0.0.1:1 --holds 300000",
            "loadtest",
            "loadtest hot --url http://127.0.0.1:1 --brokers 127.0.0.1:1",
            "loadtest compare --serve ./headroom",
            "loadtest compare --serve ./headroom --brokers 127.0.0.1:1 --ramp 100",
            "loadtest bare --rate 10000",
            "loadtest bare --brokers 127.0.0.1:1 --partitions 65",
            "loadtest bare --brokers 127.0.0.1:1 --pause-ms 5000",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
