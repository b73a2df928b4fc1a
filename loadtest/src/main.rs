//! Offers load to Headroom and says honestly what came of it: arrivals are scheduled in advance, latency is taken from
//! when a request was due, what could not be sent is counted, histograms have no upper end, and every run ends with an
//! audit of the committed log. One thread: it shares the machine with what it measures.

mod alarm;
mod args;
mod arrivals;
mod lane;
mod machine;
mod ramp;
mod report;
mod server;
mod session;
mod tally;
mod target;
mod verdict;

use args::{Args, Server};
use clap::Parser;
use headroom::cmd::interrupt::interrupted;
use headroom::cmd::scratch::Scratch;
use headroom::time::{Clock, SystemClock};
use serde_json::json;
use server::Started;
use session::{Figures, Session};
use std::net::SocketAddr;
use std::process::ExitCode;
use verdict::Verdict;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let args = Args::parse();
    let server = match args.check().and_then(|()| args.server()) {
        Ok(server) => server,
        Err(why) => return fail(&why, 2),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("no event loop: {error}"), 1),
    };
    let ended = runtime.block_on(async {
        tokio::select! {
            ended = run(&args, server) => ended,
            () = interrupted() => Err("interrupted".to_owned()),
        }
    });
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => fail(&why, 1),
    }
}

fn fail(why: &str, code: u8) -> ExitCode {
    eprintln!("headroom-loadtest: {why}");
    ExitCode::from(code)
}

/// Runs the session against a server that runs already, or one of its own. Answers whether the figure counts.
async fn run(args: &Args, server: Server) -> Result<bool, String> {
    let machine = machine::line();
    match server {
        Server::At(address) => measure(args, address, None, format!("{machine}; server at {address}")).await,
        Server::Start(program) => {
            let scratch = match &args.scratch_in {
                Some(parent) => Scratch::within(parent, "headroom-loadtest"),
                None => Scratch::new("headroom-loadtest"),
            };
            let scratch = scratch.map_err(|e| format!("no scratch directory: {e}"))?;
            let clock = SystemClock::new();
            let sync = machine::sync_us(scratch.path(), || clock.now().0);
            let disk = machine::file_system(scratch.path());
            let disk = format!("{disk}, 4 KiB made durable in {} µs", sync.map_or("?".to_owned(), |us| us.to_string()));
            let started = Started::start(&program, scratch.path(), &args.serve_arg).await?;
            let place = format!("{machine}; server is process {} of this run, on {disk}", started.pid());
            let counts = measure(args, started.address, Some(started.pid()), place).await?;
            started.stop().await?;
            Ok(counts)
        }
    }
}

async fn measure(args: &Args, address: SocketAddr, child: Option<u32>, place: String) -> Result<bool, String> {
    let line = std::env::args().collect::<Vec<_>>().join(" ");
    if !args.json {
        println!("command  {line}\nmachine  {place}\n");
    }
    let mut session = Session::open(args, address, child).await?;
    let mut phases = Vec::new();
    let mut show = |figures: Figures| {
        if !args.json {
            println!("{}", report::table(&figures));
        }
        phases.push(report::json(&figures));
    };
    let best = match args.ramp {
        Some(p99_ms) => Some(ramp::climb(&mut session, args.rate, p99_ms, &mut show).await?),
        None => {
            let figures = session.phase(args.rate).await?;
            show(figures);
            None
        }
    };
    let verdict = if args.no_audit { None } else { Some(Verdict::reach(&mut session).await?) };
    let void = verdict.as_ref().and_then(Verdict::void);
    let standing = match (&verdict, &void) {
        (None, _) => "UNAUDITED",
        (Some(_), Some(_)) => "VOID",
        (Some(_), None) => "audited",
    };
    if args.json {
        let audit = verdict.as_ref().map(Verdict::json);
        let load_after = machine::load();
        println!(
            "{}",
            json!({"command": line, "machine": place, "load_after": load_after, "phases": phases, "best_rate": best,
                   "audit": audit, "standing": standing})
        );
        return Ok(void.is_none());
    }
    if let Some(best) = best {
        println!("best     {best:.0} reservations/s");
    }
    if let Some(verdict) = &verdict {
        println!("audit\n{}", verdict.text());
    }
    let why = void.as_ref().map_or(String::new(), |why| format!(": {why}"));
    println!("\nfigure   {standing}{why}   (load afterwards {})", machine::load());
    Ok(void.is_none())
}
