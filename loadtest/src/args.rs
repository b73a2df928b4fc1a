//! The command line of the load test.

mod check;

pub use check::REQUESTS_MAX;

use crate::arrivals::Arrivals;
use crate::machine::brokers_of;
use crate::session::Beside;
use clap::{Parser, Subcommand};
use headroom::client;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Offers load at a fixed rate, however fast it is answered, and audits Headroom's log afterwards.
#[derive(Parser, Clone, Debug)]
#[command(version)]
pub struct Cli {
    /// The measurement to make.
    #[command(subcommand)]
    pub command: Command,
}

/// What is measured, one subcommand for each kind of load.
#[derive(Subcommand, Clone, Debug)]
pub enum Command {
    /// Measure reservations of one pool
    Hot(Args),
    /// Measure reservations of many pools, on all partitions
    Spread(Args),
    /// Measure `hot` on a Kafka cluster and `bare` in turns, and print medians and ratios
    Compare(CompareArgs),
    /// Measure `hot` over HTTP, over HTTP with TLS and a token, and over gRPC, in turns, and print medians and ratios
    Edges(EdgesArgs),
    /// Measure what Kafka alone takes: the same client and settings, without HTTP and decisions
    Bare(BareArgs),
    /// Measure how fast the same client reads the committed records of a topic
    BareConsume(ConsumeArgs),
    /// Measure the memory of a partition for reservations that have ended; needs no server
    Memory(MemoryArgs),
    /// Measure how long a server takes to know a caller by its token or JWT; needs no server
    Access(AccessArgs),
    /// Measure what a commit of the embedded log takes beside those of redb and fjall, in turns; needs no server
    Commits(CommitsArgs),
}

/// The turns that are committed, and how often they are measured.
#[derive(clap::Args, Clone, Debug)]
pub struct CommitsArgs {
    /// Most turns of each of the two threads that are measured, for each size of turns.
    #[arg(long, default_value_t = 2_000)]
    pub turns: usize,
    /// Most events of each of them.
    #[arg(long, default_value_t = 50_000)]
    pub events: usize,
    /// Number of events that each of them commits before, in a quarter as many turns at most.
    #[arg(long, default_value_t = 25_000)]
    pub warm: usize,
    /// Number of rounds.
    #[arg(long, default_value_t = 5)]
    pub rounds: u32,
    /// Parent of the temporary directory with the logs. The disk under it is part of the figure.
    #[arg(long, value_name = "DIR")]
    pub scratch_in: Option<PathBuf>,
    /// Prints the result as one JSON object instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// The reservations whose memory is measured.
#[derive(clap::Args, Clone, Copy, Debug)]
pub struct MemoryArgs {
    /// Number of reservations that are accepted and released.
    #[arg(long, default_value_t = 10_000_000)]
    pub entries: u64,
    /// Measure as many holds that live on instead.
    #[arg(long)]
    pub live: bool,
    /// Length of each order reference, in bytes; 0 for none.
    #[arg(long, default_value_t = 0)]
    pub order_bytes: usize,
    /// Number of pools that they are spread over.
    #[arg(long, default_value_t = 500)]
    pub pools: usize,
}

/// The callers that are known.
#[derive(clap::Args, Clone, Copy, Debug)]
pub struct AccessArgs {
    /// Number of API tokens in the file.
    #[arg(long, default_value_t = 1_000)]
    pub tokens: usize,
    /// Number of JWTs that are sent in turn.
    #[arg(long, default_value_t = 1_000)]
    pub jwts: u64,
    /// Length of each JWT, in bytes.
    #[arg(long, default_value_t = 1_000)]
    pub jwt_bytes: usize,
    /// Number of checks that are measured.
    #[arg(long, default_value_t = 1_000_000)]
    pub checks: u64,
}

/// The rate of requests and its duration.
#[derive(clap::Args, Clone, Copy, Debug)]
pub struct PaceArgs {
    /// Reservations a second; for a bare loop, commands a second.
    #[arg(long, default_value_t = 1_000.0)]
    pub rate: f64,
    /// Measured time, in seconds.
    #[arg(long, default_value_t = 30.0)]
    pub seconds: f64,
    /// Warm-up at the same rate before the measured time, in seconds; audited as well.
    #[arg(long, default_value_t = 5.0)]
    pub warmup: f64,
    /// Random arrivals, as independent callers make them, instead of evenly spaced ones.
    #[arg(long)]
    pub poisson: bool,
    /// Seed of random arrivals.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// Reservations at a fixed rate.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// The pools to reserve from, which the subcommand chooses.
    #[arg(skip)]
    pub scenario: Scenario,
    /// The rate of requests and its duration.
    #[command(flatten)]
    pub pace: PaceArgs,
    /// Number of keep-alive connections for reservations.
    #[arg(long, default_value_t = 512)]
    pub connections: usize,
    /// Most requests that wait for a connection; further ones are dropped and counted.
    #[arg(long, default_value_t = 4_096)]
    pub backlog: usize,
    /// Limit of each pool, in orders; a small one makes reservations compete.
    #[arg(long, default_value_t = 1_000_000_000)]
    pub limit: u64,
    /// Availability queries a second, beside the reservations.
    #[arg(long, default_value_t = 0.0)]
    pub read_rate: f64,
    /// Number of keep-alive connections for queries.
    #[arg(long, default_value_t = 16)]
    pub read_connections: usize,
    /// Readers that repeat an availability query as soon as it is answered. Reservations are measured twice: without
    /// readers, and with them.
    #[arg(long, default_value_t = 0, conflicts_with = "ramp")]
    pub readers: usize,
    /// Holds that expire in one instant. Each round measures reservations twice: without holds, and from that instant
    /// on.
    #[arg(long, default_value_t = 0, conflicts_with_all = ["ramp", "readers"])]
    pub holds: u32,
    /// Rounds with --holds.
    #[arg(long, default_value_t = 3)]
    pub hold_rounds: u32,
    /// Reservations a second of one more caller, which is a hundred times what its quota allows. Each round measures the
    /// other reservations twice: without that caller, and with it. The server asks for tokens then.
    #[arg(long, default_value_t = 0.0, value_name = "RATE",
          conflicts_with_all = ["ramp", "readers", "holds", "token_file", "brokers"])]
    pub greedy_rate: f64,
    /// Rounds with --greedy-rate.
    #[arg(long, default_value_t = 5)]
    pub greedy_rounds: u32,
    /// File that holds the token of the caller. Its roles have to be checkout, planner, operator and metrics.
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Number of pools of `spread`, and of pools that queries search.
    #[arg(long, default_value_t = 500)]
    pub pools: u32,
    /// Deadline of each reservation, in milliseconds.
    #[arg(long, default_value_t = 250)]
    pub timeout_ms: u64,
    /// Searches from --rate upwards for the highest rate with a p99 below this, in milliseconds.
    #[arg(long, value_name = "P99_MS")]
    pub ramp: Option<f64>,
    /// URL of a running server on the loopback of this machine.
    #[arg(long, conflicts_with = "serve")]
    pub url: Option<String>,
    /// Path of the `headroom` binary, to start a server on a temporary directory and stop it afterwards.
    #[arg(long, value_name = "PATH")]
    pub serve: Option<PathBuf>,
    /// A further argument of the server of --serve. May be repeated.
    #[arg(long, requires = "serve", allow_hyphen_values = true)]
    pub serve_arg: Vec<String>,
    /// Kafka cluster for the server of --serve; its topics are deleted afterwards. Without it the log is embedded.
    #[arg(long, requires = "serve", value_name = "HOST:PORT,...")]
    pub brokers: Option<String>,
    /// Number of partitions of the server of --serve.
    #[arg(long, requires = "serve", value_name = "N")]
    pub partitions: Option<u32>,
    /// Parent of the temporary directory of --serve. The disk under it is part of the figure.
    #[arg(long, requires = "serve", value_name = "DIR")]
    pub scratch_in: Option<PathBuf>,
    /// Starts the server of --serve with TLS and tokens, and calls it so.
    #[arg(long, conflicts_with = "token_file")]
    pub tls: bool,
    /// Makes reservations over gRPC, in cleartext, as a caller without a name.
    #[arg(long, conflicts_with_all = ["tls", "token_file", "greedy_rate"])]
    pub grpc: bool,
    /// Number of HTTP/2 connections of --grpc, which as many callers as --connections share.
    #[arg(long, default_value_t = 16)]
    pub channels: usize,
    /// Skips the audit. The figure is marked as unaudited.
    #[arg(long)]
    pub no_audit: bool,
    /// Prints the result as one JSON object instead of a table.
    #[arg(long)]
    pub json: bool,
    /// Directory of the test rig whose brokers carry the log: their CPU time is printed.
    #[arg(long, env = "HEADROOM_RIG_DIR", value_name = "DIR")]
    pub rig: Option<PathBuf>,
}

/// A comparison of Headroom with the bare loop.
#[derive(clap::Args, Clone, Debug)]
pub struct CompareArgs {
    /// The load on Headroom; its rate and duration are those of the bare loop as well.
    #[command(flatten)]
    pub load: Args,
    /// Number of rounds.
    #[arg(long, default_value_t = 3)]
    pub rounds: u32,
    /// Time of a bare loop before the first round, which warms the brokers up, in seconds.
    #[arg(long, default_value_t = 60.0)]
    pub warm: f64,
    /// The turns of the bare loop.
    #[command(flatten)]
    pub turns: TurnArgs,
}

/// A comparison of the ways in which the service is called.
#[derive(clap::Args, Clone, Debug)]
pub struct EdgesArgs {
    /// The load, the same for each way.
    #[command(flatten)]
    pub load: Args,
    /// Number of rounds.
    #[arg(long, default_value_t = 5)]
    pub rounds: u32,
}

/// The turns of a bare loop.
#[derive(clap::Args, Clone, Copy, Debug)]
pub struct TurnArgs {
    /// Linger of the bare loop's producers, in milliseconds (default: that of Headroom).
    #[arg(long, value_name = "MS")]
    pub linger_ms: Option<f64>,
    /// Pause of the bare loop between two turns, in milliseconds.
    #[arg(long, default_value_t = 0.0, value_name = "MS")]
    pub pause_ms: f64,
    /// Uses two alternating producers for each partition of the bare loop.
    #[arg(long)]
    pub alternate: bool,
}

/// A bare loop on a cluster.
#[derive(clap::Args, Clone, Debug)]
pub struct BareArgs {
    /// Kafka cluster, on which topics are created and deleted again.
    #[arg(long, value_name = "HOST:PORT,...")]
    pub brokers: String,
    /// The rate of requests and its duration.
    #[command(flatten)]
    pub pace: PaceArgs,
    /// Number of partitions, each with an owner.
    #[arg(long, default_value_t = 1)]
    pub partitions: u32,
    /// The turns of the loop.
    #[command(flatten)]
    pub turns: TurnArgs,
    /// Directory of the test rig whose brokers these are: their CPU time is printed.
    #[arg(long, env = "HEADROOM_RIG_DIR", value_name = "DIR")]
    pub rig: Option<PathBuf>,
    /// Prints the result as one JSON object instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// The topic to read.
#[derive(clap::Args, Clone, Debug)]
pub struct ConsumeArgs {
    /// Kafka cluster that has the topic.
    #[arg(long, value_name = "HOST:PORT,...")]
    pub brokers: String,
    /// Topic to read from its beginning to its end.
    #[arg(long)]
    pub topic: String,
    /// Reads this partition only.
    #[arg(long)]
    pub partition: Option<u32>,
    /// Prints the result as one JSON object instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// The pools that are reserved from.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Scenario {
    /// One pool gets every reservation.
    #[default]
    Hot,
    /// Many pools on all partitions.
    Spread,
}

/// The server under load.
#[derive(Clone, Debug)]
pub enum Server {
    /// It runs already at this address.
    At(SocketAddr),
    /// It has to be started from this binary.
    Start(PathBuf),
}

impl Args {
    /// The server that --url or --serve names.
    ///
    /// # Errors
    /// Neither names one, or the URL is not on the loopback.
    pub fn server(&self) -> Result<Server, String> {
        match (&self.url, &self.serve) {
            (Some(_), _) if self.brokers.is_some() => {
                Err("--brokers needs --serve: a server of --url runs already".to_owned())
            }
            (Some(url), _) => client::loopback(url).map(Server::At),
            (None, Some(path)) => Ok(Server::Start(path.clone())),
            (None, None) => Err("name a server with --url URL, or start one with --serve PATH".to_owned()),
        }
    }

    /// The other load beside the reservations, phase by phase.
    pub fn besides(&self) -> Vec<Beside> {
        if self.holds > 0 {
            return [Beside::Nothing, Beside::Holds(self.holds)].repeat(self.hold_rounds as usize);
        }
        if self.is_greedy() {
            return [Beside::Nothing, Beside::Greedy(self.greedy_rate)].repeat(self.greedy_rounds as usize);
        }
        let readers = (self.readers > 0).then_some(Beside::Readers(self.readers));
        std::iter::once(Beside::Nothing).chain(readers).collect()
    }

    /// Whether one more caller exceeds its quota.
    pub fn is_greedy(&self) -> bool {
        self.greedy_rate > 0.0
    }

    /// The process ids of the rig's brokers.
    pub fn broker_pids(&self) -> Vec<u32> {
        self.rig.as_deref().map(brokers_of).unwrap_or_default()
    }
}

impl CompareArgs {
    /// The bootstrap servers of the cluster.
    ///
    /// # Errors
    /// None are given.
    pub fn brokers(&self) -> Result<&str, String> {
        self.load.brokers.as_deref().ok_or_else(|| "name a cluster with --serve PATH --brokers HOST:PORT".to_owned())
    }

    /// The arguments of the bare loop in one round.
    ///
    /// # Errors
    /// No cluster is given.
    pub fn bare(&self) -> Result<BareArgs, String> {
        let (pace, turns) = (self.load.pace, self.turns);
        let (brokers, rig) = (self.brokers()?.to_owned(), self.load.rig.clone());
        let (partitions, json) = (1, self.load.json);
        Ok(BareArgs { brokers, pace, partitions, turns, rig, json })
    }
}

impl PaceArgs {
    /// Warm-up and measured time, in seconds.
    pub fn duration(&self) -> f64 {
        self.warmup + self.seconds
    }

    /// The times at which requests are due at this rate; `seed` is used for random arrivals.
    pub fn arrivals(&self, rate: f64, seed: u64) -> Arrivals {
        if self.poisson {
            Arrivals::poisson(rate, self.duration(), seed)
        } else {
            Arrivals::even(rate, self.duration())
        }
    }
}
