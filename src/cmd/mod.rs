//! The command line: a file for each small subcommand, a folder for each large one (`demo`, `rebuild`, `verify`), and
//! `shared` for what several of them need. Every command ends with one of three codes: 0 fine, 1 what was asked about is
//! wrong, 2 it could not be asked (bad usage, unreadable input). Results go to standard output, everything else to
//! standard error.

mod cat;
mod clock;
mod commands;
mod config;
mod dead_letters;
mod demo;
mod log;
mod rebuild;
mod schemas;
mod serve;
mod shared;
mod topics;
mod verify;

use crate::telemetry;
use clap::{Parser, Subcommand};
use rustix::fs::Mode;
use shared::flags::{PlaceFlags, SettingFlags};
use std::fmt;
use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

/// Capacity reservation that never overbooks.
#[derive(Debug, Parser)]
#[command(name = "headroom", version, about, args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: SettingFlags,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve; also what happens without a subcommand
    Serve(SettingFlags),
    /// Re-derive the laws from the log with a second model, and compare states by digest
    Verify {
        #[command(flatten)]
        place: PlaceFlags,
        /// Print one JSON object instead of a table
        #[arg(long)]
        json: bool,
    },
    /// Print events, one JSON object a line
    Cat {
        #[command(flatten)]
        place: PlaceFlags,
        #[command(flatten)]
        what: cat::What,
    },
    /// Drop the checkpoints of a stopped server, rebuild them from the log, and compare
    Rebuild(PlaceFlags),
    /// Look after commands on a Kafka cluster that are gone before they were decided
    #[command(subcommand)]
    Commands(commands::Action),
    /// Decide what becomes of a log that has lost something
    #[command(subcommand)]
    Log(log::Action),
    /// Repair the time of partitions that a wrong clock has taken ahead
    #[command(subcommand)]
    Clock(clock::Action),
    /// Look after commands that nobody could decide
    #[command(subcommand)]
    DeadLetters(dead_letters::Action),
    /// Show a week of delivery slots being sold out on a server of its own, and audit what it did
    Demo(demo::Args),
    /// Look after the topics of the log on a Kafka cluster
    #[command(subcommand)]
    Topics(topics::Action),
    /// Look after the schemas of what is recorded, and a registry's copies of them
    #[command(subcommand)]
    Schemas(schemas::Action),
    /// Print the effective configuration, and where each setting comes from
    Config(SettingFlags),
}

/// What a command found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    Fine,
    Wrong,
}

impl Verdict {
    fn fine_if(is_fine: bool) -> Verdict {
        if is_fine { Verdict::Fine } else { Verdict::Wrong }
    }
}

/// Why a command came to no verdict of its own.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Failure {
    /// What was asked about is too wrong to be looked into.
    Wrong(String),
    /// It could not be asked.
    Unusable(String),
    /// The log said it already.
    Logged {
        /// Whether it is what [`Failure::Wrong`] is.
        is_wrong: bool,
    },
    /// Whoever read the output has enough of it.
    Closed,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Wrong(what) | Failure::Unusable(what) => f.write_str(what),
            Failure::Logged { .. } => f.write_str("the log says why"),
            Failure::Closed => f.write_str("the output is closed"),
        }
    }
}

impl From<io::Error> for Failure {
    /// Of writing output: what is read is given its own words.
    fn from(error: io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::Closed,
            _ => Failure::Unusable(format!("cannot write the output: {error}")),
        }
    }
}

/// Runs the one command that was asked for.
pub fn run(cli: Cli) -> ExitCode {
    match perform(cli) {
        Ok(Verdict::Fine) | Err(Failure::Closed) => ExitCode::SUCCESS,
        Ok(Verdict::Wrong) => ExitCode::from(1),
        Err(failure) => {
            if !matches!(failure, Failure::Logged { .. }) {
                // Whoever closed the terminal reads no more.
                let _ = writeln!(io::stderr(), "headroom: {failure}");
            }
            let is_wrong = matches!(failure, Failure::Wrong(_) | Failure::Logged { is_wrong: true });
            ExitCode::from(if is_wrong { 1 } else { 2 })
        }
    }
}

fn perform(cli: Cli) -> Result<Verdict, Failure> {
    let command = cli.command.unwrap_or(Command::Serve(cli.serve));
    let config = match &command {
        Command::Serve(flags) | Command::Config(flags) => flags.load()?,
        Command::Verify { place, .. } | Command::Cat { place, .. } | Command::Rebuild(place) => place.load()?,
        Command::Commands(action) => action.load()?,
        Command::Clock(action) => action.load()?,
        Command::DeadLetters(action) => action.load()?,
        Command::Log(action) => action.load()?,
        Command::Topics(action) => action.load()?,
        Command::Schemas(action) => action.load()?,
        Command::Demo(_) => demo::settings(None)?,
    };
    // What is written is for this user alone: the log holds who ordered what.
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    telemetry::init(config.log_format, &config.log_level).map_err(Failure::Unusable)?;
    // Not line by line: cat prints millions. Whoever wants to be read at once flushes.
    let out = &mut BufWriter::new(io::stdout().lock());
    let verdict = match command {
        Command::Serve(_) => serve::run(&config, out),
        Command::Verify { json, .. } => verify::run(&config, json, out),
        Command::Cat { what, .. } => cat::run(&config, what, out),
        Command::Rebuild(_) => rebuild::run(&config, out),
        Command::Demo(args) => demo::run(&args, out),
        Command::Clock(action) => clock::run(&config, &action, out),
        Command::Commands(action) => commands::run(&config, &action, out),
        Command::DeadLetters(action) => dead_letters::run(&config, &action, out),
        Command::Log(action) => log::run(&config, &action, out),
        Command::Topics(action) => topics::run(&config, &action, out),
        Command::Schemas(action) => schemas::run(&config, &action, out),
        Command::Config(_) => config::run(&config, out),
    }?;
    match out.flush().map_err(Failure::from) {
        // Who reads no further may still ask for the code.
        Ok(()) | Err(Failure::Closed) => Ok(verdict),
        Err(failure) => Err(failure),
    }
}
