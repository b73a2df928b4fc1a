//! The command line: a file for each small subcommand, a folder for each large one (`client`, `demo`, `rebuild`, `sink`, `state`,
//! `verify`), and `shared` for what several of them need. Every command ends with one of four codes: 0 fine, 1 the command found
//! something wrong or was refused, 2 it could not run (bad usage, unreadable input, no server), 3 a server may have done
//! what it was asked or not. Results go to standard output, everything else to standard error.

mod backup;
mod cat;
mod client;
mod clock;
mod commands;
mod config;
mod dead_letters;
mod demo;
mod log;
mod lost_demand;
mod metrics;
mod owners;
mod rebuild;
mod schemas;
mod serve;
mod shared;
mod sink;
mod state;
mod support;
mod tokens;
mod topics;
mod verify;

use crate::access::Act;
use crate::app::signals;
use crate::log::LogError;
use crate::telemetry;
use clap::{Arg, CommandFactory, FromArgMatches, Parser, Subcommand};
use rustix::fs::Mode;
use shared::certificate::CertificateFlags;
use shared::flags::{ClusterNames, Every, Flags, FoldedLog, WholeLog};
use shared::output::Output;
use std::env;
use std::ffi::OsString;
use std::fmt;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// What the help of the program says at its end.
const TOP_NOTES: &str = "\
Without a command, headroom serves. `headroom serve --help` lists every setting, those of callers and of a Kafka cluster too.
Exit codes: 0 fine, 1 what was asked about is wrong, or was refused, 2 bad usage, unreadable input, or no server,
3 of headroom client and headroom rebuild --swap: the outcome is unknown.";

/// The command line.
#[derive(Debug, Parser)]
#[command(
    name = "headroom",
    version,
    about = "Capacity reservation that never overbooks",
    args_conflicts_with_subcommands = true
)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: Flags<Every>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the service; the default without a command
    Serve(Flags<Every>),
    /// Call a running server: reserve, release, search and change pools
    ///
    /// Exit code 0: done. 1: the server refused, and did nothing. 2: bad usage, or no server was reached. 3: the outcome is
    /// unknown; repeat the call with its key, which is printed. When that ends with 1 or 2, the first call may be done all
    /// the same.
    Client(client::Args),
    /// Show a week of delivery slots being sold out on a temporary server, then audit its log
    Demo(demo::Args),
    /// Check a log: derive what it shows of every law with a second model, and compare states by digest
    ///
    /// Reads the log of a stopped server (--data-dir), of a running one through its HTTP interface (--data-dir), or of a
    /// Kafka cluster (--kafka-brokers). Changes nothing. When the first events are gone, the oldest snapshot that covers them
    /// is trusted, and the log is checked from there on. With --snapshots, every snapshot is read and compared with the log.
    /// Exit code 0: no law is broken, and every snapshot is sound. 1: something is wrong, and named. 2: not proven, because a place
    /// was not named or does not answer, or bad usage.
    Verify {
        #[command(flatten)]
        flags: Flags<FoldedLog>,
        #[command(flatten)]
        what: verify::What,
    },
    /// Print events as JSON, one object a line
    Cat {
        #[command(flatten)]
        flags: Flags<WholeLog>,
        #[command(flatten)]
        what: cat::What,
    },
    /// Print pools, and the reservations of one, as they are or as they were
    ///
    /// Reads the log as verify does, and changes nothing. It begins with the nearest snapshot of --snapshots, and otherwise
    /// with the first event. A state is the one after the last event that was decided by --at, in each partition by itself; what
    /// is decided meanwhile is not in it. A hold counts until its expiry is an event, as in answers of a server. Exit code 1:
    /// the pool was not there. 2: bad usage, a time or an event that has not come, or one that the log has lost and no
    /// snapshot covers.
    State {
        #[command(flatten)]
        flags: Flags<FoldedLog>,
        #[command(flatten)]
        what: state::What,
    },
    /// Fold the log into new states: new checkpoints of a stopped server, or a comparison beside running ones
    ///
    /// Of a stopped server, each old checkpoint is deleted after the partition's events were read without a fault. Beside a
    /// running one, the partition of --partition is compared with the state in the server's memory, and nothing is changed
    /// unless --swap has it replaced. When the first events are gone, it begins with the oldest snapshot that covers them. Exit code 0: the log, both
    /// checkpoints or the server's memory lead to the same state. 1: they do not. 2: nothing can be compared of a partition, which is
    /// named, because its log has lost events that nothing covers, or bad usage.
    Rebuild {
        #[command(flatten)]
        flags: Flags<FoldedLog>,
        #[command(flatten)]
        what: rebuild::What,
    },
    /// Copy the embedded log of a running or a stopped server to a folder or a bucket
    ///
    /// Reads the files of the data directory; no call of the server waits for it. All that the server had answered before is in
    /// the backup. Only what is new since the last backup to the same place is copied. Exit code 0: the backup is written, and
    /// whole. 1: the log is damaged. 2: the log or the place cannot be used.
    Backup(backup::BackupArgs),
    /// Put an embedded log together again from a backup, in a data directory that is empty or does not exist
    ///
    /// Every byte is checked. Until the log is whole no server starts on the directory, and the same command goes on with what
    /// is there. Stop the server that the backup was taken from for good before you start another one: two servers would give
    /// away the same capacity. Exit code 0: the log is restored. 1: the backup is damaged. 2: the place or the directory cannot
    /// be used, or the backup was taken by a later version, which the message names.
    Restore(backup::RestoreArgs),
    /// Print the settings in force, and where each comes from
    Config(Flags<Every>),
    /// Print what each metric is that a server may export
    Metrics {
        /// Print an array of JSON instead of a table
        #[arg(long)]
        json: bool,
    },
    /// List, show, retry and discard commands that could not be decided
    ///
    /// Such a command cannot be read, or was sent to the wrong partition. An event refuses it, and the command is kept as
    /// it was: on Kafka in a topic of its own for 30 days, in the embedded log as long as its file is there.
    #[command(subcommand)]
    DeadLetters(dead_letters::Action),
    /// Accept that a log has lost events
    #[command(subcommand)]
    Log(log::Action),
    /// Print to which process of a Kafka cluster the group of owners gives each partition, and who is not in the group
    ///
    /// Asks the cluster, and no process. Exit code 0: every partition is given to a process. What that process does about it, it says
    /// itself at /readyz. 1: a partition is given to nobody, or the group is giving them anew. 2: the cluster does not answer, or
    /// shows no process.
    Owners(Flags<ClusterNames>),
    /// Find and skip commands that a Kafka cluster has lost before they were decided
    #[command(subcommand)]
    Commands(commands::Action),
    /// Make, list and revoke the API tokens by which callers prove who they are
    #[command(subcommand)]
    Tokens(tokens::Action),
    /// Collect in one file what helps to find out what is wrong with a server, without secrets
    ///
    /// Asks the running server of --data-dir. What cannot be collected is named in the file. Exit code 0: the file is written.
    Support {
        #[command(flatten)]
        flags: Flags<Every>,
        /// File to write, which must not exist; - is standard output
        #[arg(long, value_name = "FILE", default_value = "headroom-support.txt")]
        out: PathBuf,
        #[command(flatten)]
        certificate: CertificateFlags,
    },
    /// Set the time of partitions back after a clock was ahead
    #[command(subcommand)]
    Clock(clock::Action),
    /// Write the committed events into tables of a PostgreSQL or a Redshift, or into files, each once
    ///
    /// Without a subcommand it runs until it is interrupted. `sink apply` makes the tables first. Several processes may run:
    /// each partition is written by one of them.
    Sink(sink::Args),
    /// Print what callers asked for and did not get, from the tables that `sink` writes
    ///
    /// Each order counts once, under whatever keys its caller tried, and a call that names no order once for each key. What a
    /// higher limit would have admitted is an estimate: calls that would not have fitted alone are left out, and of the others each
    /// one counts that would have fitted together with all of them that this limit refused before it.
    LostDemand(lost_demand::Args),
    /// Compare, create and change the topics of a log on a Kafka cluster
    #[command(subcommand)]
    Topics(topics::Action),
    /// Check the schemas of records, and register them in a schema registry
    #[command(subcommand)]
    Schemas(schemas::Action),
}

impl Cli {
    /// Reads the arguments of the process. On bad usage, and for help, it prints and ends the process.
    pub fn read() -> Cli {
        Cli::parsed(env::args_os()).unwrap_or_else(|error| error.exit())
    }

    /// Reads the arguments of a process, of which the first one is its name.
    ///
    /// # Errors
    /// [`clap::Error`] on bad usage, and for help.
    pub fn parsed(args: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
        let matches = Cli::with_notes().try_get_matches_from(args)?;
        Cli::from_arg_matches(&matches)
    }

    /// The command line with a help of its own: settings of callers and of a cluster are left to `headroom serve --help`.
    fn with_notes() -> clap::Command {
        let is_special = |arg: &Arg| arg.get_help_heading().is_some();
        let command = Cli::command().mut_args(|arg| if is_special(&arg) { arg.hide(true) } else { arg });
        command.after_help(TOP_NOTES).after_long_help(TOP_NOTES)
    }
}

/// The result of a command that could be carried out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    /// Exit code 0.
    Fine,
    /// What was asked about is wrong: exit code 1.
    Wrong,
}

impl Verdict {
    fn fine_if(is_fine: bool) -> Verdict {
        if is_fine { Verdict::Fine } else { Verdict::Wrong }
    }
}

/// Why a command could not be carried out to its end.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Failure {
    /// What was asked about is wrong in a way that ends the command: exit code 1.
    Wrong(String),
    /// Bad usage, or input that cannot be read: exit code 2.
    Unusable(String),
    /// A server may have done what it was asked, or not: exit code 3.
    Unknown(String),
    /// The reason is in a log line already.
    Logged {
        /// Whether the exit code is 1, as for [`Failure::Wrong`].
        is_wrong: bool,
    },
    /// The reader closed the output of a command that only prints: exit code 0.
    Closed,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Wrong(what) | Failure::Unusable(what) | Failure::Unknown(what) => f.write_str(what),
            Failure::Logged { .. } => f.write_str("the log lines say why"),
            Failure::Closed => f.write_str("the output is closed"),
        }
    }
}

impl From<LogError> for Failure {
    /// A log that does not answer now, or a place that does not give what it has now, may do so the next time; any other reason
    /// stays until somebody changes something.
    fn from(error: LogError) -> Failure {
        Failure::Unusable(if error.may_pass() { format!("{error}: try again") } else { error.detail })
    }
}

impl From<io::Error> for Failure {
    /// For errors of writing the output. Errors of reading get a message where they occur.
    fn from(error: io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::Closed,
            _ => Failure::Unusable(format!("cannot write the output: {error}")),
        }
    }
}

/// Runs the command, and turns its result into an exit code.
pub fn run(cli: Cli) -> ExitCode {
    let outlives = signals::outlive_file_limits();
    let outlives = outlives.map_err(|error| Failure::Unusable(format!("cannot listen for signals: {error}")));
    match outlives.and_then(|()| perform(cli)) {
        Ok(Verdict::Fine) | Err(Failure::Closed) => ExitCode::SUCCESS,
        Ok(Verdict::Wrong) => ExitCode::from(1),
        Err(failure) => {
            if !matches!(failure, Failure::Logged { .. }) {
                shared::stderr::note(&failure);
            }
            ExitCode::from(match failure {
                Failure::Closed => 0,
                Failure::Wrong(_) | Failure::Logged { is_wrong: true } => 1,
                Failure::Unusable(_) | Failure::Logged { is_wrong: false } => 2,
                Failure::Unknown(_) => 3,
            })
        }
    }
}

impl Command {
    /// Whether it is for nothing when nobody reads its output: it only prints, or nothing shows that output again. What any other
    /// command does or finds out, its exit code tells.
    fn needs_reader(&self) -> bool {
        let is_new_token = matches!(self, Command::Tokens(tokens::Action::New { .. }));
        is_new_token || matches!(self, Command::Cat { .. } | Command::State { .. } | Command::Demo(_))
    }

    /// What an operator does by this command, and what it is about; `None` for one that only reads. What a running server
    /// does for a command stands in the audit log of the server.
    fn act(&self) -> Option<(&'static str, String)> {
        match self {
            Command::Rebuild { what, .. } => Some(("rebuild", what.about())),
            Command::Commands(action) => action.act(),
            Command::DeadLetters(action) => action.act(),
            Command::Log(action) => Some(action.act()),
            Command::Tokens(action) => action.act(),
            Command::Sink(args) => args.act(),
            Command::Backup(args) => Some(args.act()),
            Command::Restore(args) => args.act(),
            Command::Topics(action) => action.act(),
            Command::Schemas(action) => action.act(),
            Command::Serve(_)
            | Command::Demo(_)
            | Command::Verify { .. }
            | Command::Cat { .. }
            | Command::State { .. }
            | Command::Config(_)
            | Command::Support { .. }
            | Command::Metrics { .. }
            | Command::Owners(_)
            | Command::Client(_)
            | Command::LostDemand(_)
            | Command::Clock(_) => None,
        }
    }
}

/// Logs what an operator has done by a command, and how it ended.
fn log_act((operation, about): &(&'static str, String), ended: &Result<Verdict, Failure>) {
    let user = format!("uid {}", rustix::process::getuid().as_raw());
    let outcome = match ended {
        Ok(Verdict::Fine) => "ok",
        Ok(Verdict::Wrong) | Err(Failure::Wrong(_)) => "wrong",
        Err(_) => "failed",
    };
    let about = Some(about.as_str()).filter(|about| !about.is_empty());
    Act { principal: Some(&user), operation, about, outcome, ..Act::default() }.log();
}

fn perform(cli: Cli) -> Result<Verdict, Failure> {
    let command = cli.command.unwrap_or(Command::Serve(cli.serve));
    let config = match &command {
        Command::Serve(flags) => flags.load_or(|problems| serve::refused(&problems))?,
        Command::Config(flags) => flags.load()?,
        Command::Support { flags, .. } => flags.load()?,
        Command::Verify { flags, .. } | Command::State { flags, .. } | Command::Rebuild { flags, .. } => {
            flags.load()?
        }
        Command::Cat { flags, .. } => flags.load()?,
        Command::Owners(flags) => flags.load()?,
        Command::Commands(action) => action.load()?,
        Command::Clock(action) => action.load()?,
        Command::DeadLetters(action) => action.load()?,
        Command::Log(action) => action.load()?,
        Command::Tokens(action) => action.load()?,
        Command::Sink(args) => args.load()?,
        Command::Backup(args) => args.flags.load()?,
        Command::Restore(args) => args.flags.load()?,
        Command::LostDemand(args) => args.flags.load()?,
        Command::Topics(action) => action.load()?,
        Command::Schemas(action) => action.load()?,
        Command::Demo(_) | Command::Client(_) | Command::Metrics { .. } => demo::settings([])?,
    };
    // The log holds who ordered what: files are readable by this user only. Those for analysts follow the user's own mask.
    if !matches!(command, Command::Sink(_)) {
        rustix::process::umask(Mode::RWXG | Mode::RWXO);
    }
    telemetry::init(config.log_format, &config.log_level).map_err(Failure::Unusable)?;
    // Buffered, because cat prints millions of lines. Commands whose output is to be seen at once flush it.
    let out = &mut BufWriter::new(Output::new(io::stdout().lock(), !command.needs_reader()));
    let act = command.act();
    let ended = match command {
        Command::Serve(_) => serve::run(&config, out),
        Command::Verify { what, .. } => verify::run(&config, &what, out),
        Command::Cat { what, .. } => cat::run(&config, &what, out),
        Command::State { what, .. } => state::run(&config, &what, out),
        Command::Rebuild { what, .. } => rebuild::run(&config, &what, out),
        Command::Backup(args) => backup::back_up(&config, &args, out),
        Command::Restore(args) => backup::restore(&config, &args, out),
        Command::Client(args) => client::run(&args, out),
        Command::Demo(args) => demo::run(&args, out),
        Command::Clock(action) => clock::run(&config, &action, out),
        Command::Owners(_) => owners::run(&config, out),
        Command::Commands(action) => commands::run(&config, &action, out),
        Command::DeadLetters(action) => dead_letters::run(&config, &action, out),
        Command::Log(action) => log::run(&config, &action, out),
        Command::Tokens(action) => tokens::run(&config, &action, out),
        Command::Sink(args) => sink::run(&config, &args, out),
        Command::LostDemand(args) => lost_demand::run(&config, &args, out),
        Command::Topics(action) => topics::run(&config, &action, out),
        Command::Schemas(action) => schemas::run(&config, &action, out),
        Command::Support { out: file, certificate, .. } => support::run(&config, &certificate, &file, out),
        Command::Config(_) => config::run(&config, out),
        Command::Metrics { json } => metrics::run(json, out),
    };
    if let Some(act) = &act {
        log_act(act, &ended);
    }
    let verdict = ended?;
    match out.flush().map_err(Failure::from) {
        // A reader that has closed the output still gets the exit code.
        Ok(()) | Err(Failure::Closed) => Ok(verdict),
        Err(failure) => Err(failure),
    }
}
