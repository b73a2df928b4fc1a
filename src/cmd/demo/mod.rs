//! `headroom demo`: a grocer's week on a temporary server. A few hundred shoppers race for the same delivery slots over
//! HTTP, a planner changes limits meanwhile, and at the end the log is audited. Nothing is left on the disk.

mod audit;
mod board;
mod planner;
mod render;
mod screen;
mod shopper;
mod week;

use super::{Failure, Verdict};
use crate::app::App;
use crate::app::signals::Signals;
use crate::client::pools::define;
use crate::client::scratch::Scratch;
use crate::client::{self, Connection};
use crate::config::{Config, Inputs, Setting};
use crate::telemetry::Metrics;
use crate::time::{Clock, SystemClock};
use board::Board;
use planner::Planner;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use screen::{Look, Screen};
use shopper::{HOLD_TTL_MS, Shopper};
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use week::{Week, ZONES};

/// Longest wait for the server to become ready.
const READY_TIMEOUT: Duration = Duration::from_secs(20);
/// Longest wait for shoppers to finish what they have begun.
const WIND_DOWN: Duration = Duration::from_secs(6);

/// The options of the demonstration.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// Time for which shoppers shop, in seconds, 1 to 600
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub seconds: u64,
    /// Number of shoppers, 1 to 2000
    #[arg(long, default_value_t = 320, value_parser = clap::value_parser!(u64).range(1..=2_000))]
    pub shoppers: u64,
    /// Seed of what shoppers want and do; the moments differ from run to run
    #[arg(long, default_value_t = 7)]
    pub seed: u64,
}

/// What shoppers, planner, screen and audit share.
pub struct Demo {
    /// The address of the server.
    address: SocketAddr,
    week: Week,
    board: Board,
    clock: SystemClock,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Verdict, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::Unusable(format!("cannot start threads: {error}")))?;
    let scratch = Scratch::new("headroom-demo");
    let scratch = scratch.map_err(|error| Failure::Unusable(format!("cannot make a temporary directory: {error}")))?;
    let config = settings(Some(scratch.path()))?;
    let is_well = runtime.block_on(with_server(args, &config, out));
    is_well.map(Verdict::fine_if).map_err(Failure::Unusable)
}

/// Settings of a server on this directory and on a free port of the loopback. It writes log lines only for errors,
/// because the screen is drawn over and over.
pub(super) fn settings(directory: Option<&Path>) -> Result<Config, Failure> {
    let directory = directory.map(|path| (Setting::DataDir, path.to_string_lossy().into_owned()));
    let flags = [(Setting::Listen, "127.0.0.1:0".to_owned()), (Setting::LogLevel, "error".to_owned())];
    let inputs = Inputs { flags: flags.into_iter().chain(directory).collect(), ..Inputs::default() };
    Config::load(&inputs).map_err(|problems| Failure::Unusable(problems.to_string()))
}

/// Starts the server, runs the demonstration, and stops the server.
async fn with_server(args: &Args, config: &Config, out: &mut dyn Write) -> Result<bool, String> {
    // From the start: a process that a signal ends at once cannot delete its directory.
    let cannot = |error| format!("cannot listen for signals: {error}");
    let (mut interrupts, mut hangup) = (Signals::interrupts().map_err(cannot)?, Signals::hangup().map_err(cannot)?);
    let app = App::start(config, Arc::new(SystemClock::new()), Arc::new(Metrics::new())).await;
    let app = app.map_err(|error| error.to_string())?;
    let address = app.address();
    let (stop, stopped) = oneshot::channel::<()>();
    let server = tokio::spawn(app.run(async {
        // The server also stops when the sender is dropped.
        let _ = stopped.await;
    }));
    let ended = tokio::select! {
        ended = play(args, address, &mut interrupts, out) => ended,
        () = hangup.received() => Err("the terminal was closed".to_owned()),
    };
    drop(stop);
    let stopped = server.await.map_err(|error| error.to_string())?;
    stopped.map_err(str::to_owned).and(ended)
}

async fn play(args: &Args, address: SocketAddr, interrupts: &mut Signals, out: &mut dyn Write) -> Result<bool, String> {
    let mut rng = StdRng::seed_from_u64(args.seed);
    let clock = SystemClock::new();
    let week = Week::new(clock.now(), &mut rng);
    let mut server = Connection::new(address);
    client::ready(&mut server, READY_TIMEOUT).await?;
    define(&server, week.definitions()).await?;
    let demo = Arc::new(Demo { address, week, board: Board::default(), clock });
    let (slots, shoppers) = (demo.week.slots().len(), args.shoppers);
    let title = format!(" Headroom · {slots} delivery slots · {shoppers} shoppers · seed {}", args.seed);
    let until = Instant::now() + Duration::from_secs(args.seconds);
    let mut people = JoinSet::new();
    let weights = || ZONES.iter().map(|zone| zone.weight).enumerate();
    for number in 0..usize::try_from(shoppers).unwrap_or_default() {
        let zone = week::choose(&mut rng, weights()).unwrap_or_default();
        let own = StdRng::seed_from_u64(rng.random());
        people.spawn(Shopper::new(Arc::clone(&demo), number, zone, own).shop(until));
    }
    people.spawn(Planner::new(Arc::clone(&demo), StdRng::seed_from_u64(rng.random())).plan(until));
    let screen = Screen::new(Arc::clone(&demo), Look::of_environment(), title);
    tokio::select! {
        is_watched = screen.show(until, out) => if !is_watched { people.abort_all() },
        () = interrupts.received() => people.abort_all(),
    }
    screen::say(out, "\nThe shop is closed. Shoppers finish, and the last holds expire.");
    let everybody = async { while people.join_next().await.is_some() {} };
    // A shopper that is not done by then is cut off, as a caller that disconnects.
    let _ = tokio::time::timeout(WIND_DOWN, everybody).await;
    people.abort_all();
    sleep_until(Instant::now() + Duration::from_millis(HOLD_TTL_MS)).await;
    let (text, is_well) = audit::audit(&demo).await?;
    screen::say(out, &text);
    Ok(is_well)
}
