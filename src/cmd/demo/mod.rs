//! `headroom demo`: a grocer's week on a temporary server. A few hundred shoppers race for the same delivery slots over
//! HTTP, a planner changes limits meanwhile, and at the end the log is audited. Nothing is left on the disk, unless a
//! directory is named that keeps the log. `--day` plays one small day instead, the same in every run.

mod audit;
mod board;
mod day;
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
use day::{Day, DayClock};
use planner::Planner;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use screen::{Look, Screen};
use shopper::{HOLD_TTL_MS, Shopper};
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
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
    /// Directory that keeps the log; it is empty, or it does not exist yet. Without it the log is deleted at the end
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,
    /// Play one small day instead, the same in every run, on which the page for analysts answers its questions
    #[arg(long, requires = "keep", conflicts_with_all = ["seconds", "shoppers", "seed"])]
    pub day: bool,
}

/// Whether what was played is well, or why it was not played to its end.
type Demonstrated = Result<bool, String>;

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
    let is_well = match &args.keep {
        Some(directory) => {
            make_empty(directory)?;
            runtime.block_on(demonstrate(args, directory, out))
        }
        None => {
            let scratch = Scratch::new("headroom-demo");
            let scratch =
                scratch.map_err(|error| Failure::Unusable(format!("cannot make a temporary directory: {error}")))?;
            runtime.block_on(demonstrate(args, scratch.path(), out))
        }
    };
    is_well.map(Verdict::fine_if).map_err(Failure::Unusable)
}

/// Makes the directory, or refuses one that has something in it: a demonstration goes on with nobody's log.
fn make_empty(directory: &Path) -> Result<(), Failure> {
    let made = std::fs::create_dir_all(directory).and_then(|()| std::fs::read_dir(directory)?.next().transpose());
    match made {
        Ok(None) => Ok(()),
        Ok(Some(_)) => Err(Failure::Unusable(format!("{} is not empty", directory.display()))),
        Err(error) => Err(Failure::Unusable(format!("cannot use {}: {error}", directory.display()))),
    }
}

/// Plays what was asked for, on a log in this directory.
async fn demonstrate(args: &Args, directory: &Path, out: &mut dyn Write) -> Demonstrated {
    let text = directory.to_str().ok_or_else(|| format!("{} is not text in UTF-8", directory.display()))?;
    let place = (Setting::DataDir, text.to_owned());
    if !args.day {
        let config = settings([place]).map_err(|failure| failure.to_string())?;
        let clock = Arc::new(SystemClock::new());
        return with_server(&config, clock, async |address, interrupts| play(args, address, interrupts, out).await)
            .await;
    }
    let config = settings([place, (Setting::Partitions, "1".to_owned())]).map_err(|failure| failure.to_string())?;
    let clock = Arc::new(DayClock::new());
    let is_well = with_server(&config, Arc::clone(&clock) as Arc<dyn Clock>, async |address, interrupts| {
        let mut server = Connection::new(address);
        client::ready(&mut server, READY_TIMEOUT).await?;
        let mut day = Day { server, clock };
        tokio::select! {
            passed = day.pass() => passed,
            () = interrupts.received() => Err("interrupted".to_owned()),
        }
    });
    let is_well = is_well.await?;
    screen::say(out, &format!("The log of the day is in {}.", directory.display()));
    Ok(is_well)
}

/// Settings of a server on a free port of the loopback, with these. It writes log lines only for errors, because the screen
/// is drawn over and over.
pub(super) fn settings(more: impl IntoIterator<Item = (Setting, String)>) -> Result<Config, Failure> {
    let flags = [(Setting::Listen, "127.0.0.1:0".to_owned()), (Setting::LogLevel, "error".to_owned())];
    let inputs = Inputs { flags: flags.into_iter().chain(more).collect(), ..Inputs::default() };
    Config::load(&inputs).map_err(|problems| Failure::Unusable(problems.to_string()))
}

/// Starts the server, plays, and stops the server.
async fn with_server(
    config: &Config,
    clock: Arc<dyn Clock>,
    play: impl AsyncFnOnce(SocketAddr, &mut Signals) -> Demonstrated,
) -> Demonstrated {
    // From the start: a process that a signal ends at once cannot delete its directory.
    let cannot = |error| format!("cannot listen for signals: {error}");
    let (mut interrupts, mut hangup) = (Signals::interrupts().map_err(cannot)?, Signals::hangup().map_err(cannot)?);
    let app = App::start(config, clock, Arc::new(Metrics::new()), &Arc::default()).await;
    let app = app.map_err(|error| error.to_string())?;
    let address = app.address();
    let (stop, stopped) = oneshot::channel::<()>();
    let server = tokio::spawn(app.run(async {
        // The server also stops when the sender is dropped.
        let _ = stopped.await;
    }));
    let ended = tokio::select! {
        ended = play(address, &mut interrupts) => ended,
        () = hangup.received() => Err("the terminal was closed".to_owned()),
    };
    drop(stop);
    let stopped = server.await.map_err(|error| error.to_string())?;
    stopped.map_err(str::to_owned).and(ended)
}

async fn play(args: &Args, address: SocketAddr, interrupts: &mut Signals, out: &mut dyn Write) -> Demonstrated {
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
