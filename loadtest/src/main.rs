//! Offers load to Headroom and reports the result honestly: arrivals are scheduled in advance, latency is taken from
//! when a request was due, what could not be sent is counted, histograms have no upper end, and every run ends with an
//! audit of the committed log. It uses one thread, because it shares the machine with the server that it measures.
//!
//! A bare loop of the same client measures what a cluster alone can do, to separate Headroom's share from Kafka's.

mod access;
mod alarm;
mod args;
mod arrivals;
mod bare;
mod commits;
mod compare;
mod edges;
mod figure;
mod greedy;
mod grpc;
mod holds;
mod lane;
mod machine;
mod memory;
mod ramp;
mod readers;
mod report;
mod rounds;
mod secure;
mod server;
mod session;
mod tally;
mod target;
mod topics;
mod turns;
mod verdict;
mod worker;

use args::{Args, Cli, Command, Scenario};
use clap::Parser;
use figure::Service;
use headroom::app::signals::Signals;
use rounds::Rounds;
use serde_json::json;
use session::Figures;
use std::process::ExitCode;
use verdict::Verdict;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let command = Cli::parse().command;
    if let Err(why) = command.check() {
        return fail(&why, 2);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("no event loop: {error}"), 1),
    };
    match runtime.block_on(run(command)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => fail(&why, 1),
    }
}

/// Runs a measurement; answers whether the figure counts.
async fn run(command: Command) -> Result<bool, String> {
    match command {
        Command::Hot(args) => unless_interrupted(reserve(&Args { scenario: Scenario::Hot, ..args })).await,
        Command::Spread(args) => unless_interrupted(reserve(&Args { scenario: Scenario::Spread, ..args })).await,
        Command::Compare(args) => unless_interrupted(compare::command(args)).await,
        Command::Edges(args) => unless_interrupted(edges::command(args)).await,
        Command::Bare(args) => unless_interrupted(bare::command(args)).await,
        Command::BareConsume(args) => unless_interrupted(bare::consume(args)).await,
        Command::Memory(args) => memory::command(&args),
        Command::Access(args) => access::command(&args),
        Command::Commits(args) => commits::command(&args),
    }
}

async fn unless_interrupted(running: impl Future<Output = Result<bool, String>>) -> Result<bool, String> {
    let interrupts = Signals::interrupts();
    let mut interrupts = interrupts.map_err(|error| format!("cannot listen for signals: {error}"))?;
    tokio::select! {
        ended = running => ended,
        () = interrupts.received() => Err("interrupted".to_owned()),
    }
}

fn fail(why: &str, code: u8) -> ExitCode {
    eprintln!("headroom-loadtest: {why}");
    ExitCode::from(code)
}

/// Runs a session against a server that runs already, or against one that it starts. Answers whether the figure counts.
async fn reserve(args: &Args) -> Result<bool, String> {
    let service = Service::start(args).await?;
    let line = std::env::args().collect::<Vec<_>>().join(" ");
    if !args.json {
        println!("command  {line}\nmachine  {}\n", service.place);
    }
    let show = |figures: &Figures| {
        if !args.json {
            println!("{}", report::table(figures));
        }
    };
    let outcome = service.measure(args, show).await?;
    let (standing, why) = outcome.standing();
    let rounds = (args.holds > 0 || args.is_greedy()).then(|| Rounds::of(&outcome.phases));
    if args.json {
        let phases: Vec<_> = outcome.phases.iter().map(report::json).collect();
        let audit = outcome.verdict.as_ref().map(Verdict::json);
        let (place, load_after, best) = (&service.place, machine::load(), outcome.best);
        println!(
            "{}",
            json!({"command": line, "machine": place, "load_after": load_after, "phases": phases, "best_rate": best,
                   "rounds": rounds.as_ref().map(Rounds::json), "audit": audit, "standing": standing})
        );
    } else {
        if let Some(best) = outcome.best {
            println!("best     {best:.0} reservations/s");
        }
        if let Some(rounds) = rounds {
            let (name, what) = match args.holds {
                0 => ("greedy", format!("one caller at {} times its quota", greedy::TIMES)),
                holds => ("holds", format!("{holds} end at once")),
            };
            println!("{name:<9}{what}: {}", rounds.text());
        }
        if let Some(verdict) = &outcome.verdict {
            println!("audit\n{}", verdict.text());
        }
        let why = why.as_ref().map_or(String::new(), |why| format!(": {why}"));
        println!("\nfigure   {standing}{why}   (load afterwards {})", machine::load());
    }
    service.stop().await?;
    Ok(why.is_none())
}
