//! `headroom sink`: writes the committed events into tables of a PostgreSQL or a Redshift, or into files.

mod served;
mod status;
mod tables;
mod tally;
mod writing;

use super::shared::certificate::CertificateFlags;
use super::shared::flags::{Flags, SinkLog, SinkTables};
use super::{Failure, Verdict};
use crate::config::{Config, Sink, SinkDatabase, SinkFiles, SinkTo};
use crate::sink::postgres::{Access, Ending};
use crate::sink::{First, TargetError};
use crate::threads;
use clap::Subcommand;
use std::io::Write;

/// The subcommands of `sink`, and the flags without one.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    flags: Flags<SinkLog>,
    #[command(flatten)]
    certificate: CertificateFlags,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Write new events until interrupted; the default without a subcommand
    ///
    /// A server or a database that does not answer is waited for.
    Run(Flags<SinkLog>),
    /// Print what `apply` would do to the tables, and what it would refuse
    ///
    /// Exit code 0: nothing would be refused, and no table would wait for `rebuild`.
    Plan(Flags<SinkTables>),
    /// Create missing tables, columns and views
    ///
    /// While any difference is refused, nothing is changed. Applying twice changes nothing the second time. Exit code 0: sinks can
    /// write. A table that waits for `rebuild` is named.
    Apply(Flags<SinkTables>),
    /// Make the tables of reservations, pools and their lives anew from that of events
    ///
    /// Readers see the old ones until it is done. In PostgreSQL sinks go on, and wait for a moment at the end. Refused when rows of
    /// events are missing.
    Rebuild {
        #[command(flatten)]
        flags: Flags<SinkTables>,
        /// From the rows of events that are left, where some were deleted
        #[arg(long)]
        partial: bool,
        /// In one transaction, for which sinks wait; in Redshift always
        ///
        /// For tables with something that new ones in their place would not have: it is named when it is in the way.
        #[arg(long)]
        in_place: bool,
    },
    /// Print how far each partition is written
    ///
    /// Exit code 0: none of them has stopped.
    Status {
        #[command(flatten)]
        flags: Flags<SinkLog>,
        /// Print one JSON object a partition instead of text
        #[arg(long)]
        json: bool,
    },
    /// Write what the log has now and end; as fast as possible, if sink_events_per_second does not bound it
    ///
    /// Also from the data directory of a stopped server. One that is interrupted says how far it is, and the next one goes on.
    /// Exit code 0: all of it is written.
    Backfill {
        #[command(flatten)]
        flags: Flags<SinkLog>,
        /// Sequence number at which partitions begin that were never written; `first` is the first event that the log
        /// still has of each
        ///
        /// It has no meaning for partitions that were begun before: a line says where those stood, and the exit code is the same. One
        /// that is behind the end of every partition is refused.
        #[arg(long, value_name = "SEQ|first", default_value = "0", value_parser = first)]
        from: First,
    },
}

impl Args {
    pub(super) fn load(&self) -> Result<Config, Failure> {
        match &self.action {
            None => self.flags.load(),
            Some(Action::Run(flags) | Action::Status { flags, .. } | Action::Backfill { flags, .. }) => flags.load(),
            Some(Action::Plan(flags) | Action::Apply(flags) | Action::Rebuild { flags, .. }) => flags.load(),
        }
    }

    /// What an operator does by it, and what it is about; `None` when it only reads, or writes new events.
    pub(super) fn act(&self) -> Option<(&'static str, String)> {
        match &self.action {
            Some(Action::Apply(_)) => Some(("sink apply", String::new())),
            Some(Action::Rebuild { .. }) => Some(("sink rebuild", String::new())),
            _ => None,
        }
    }
}

/// By how much the priority of a backfill is lower than that of whoever starts it: nobody waits for it, so it is the lowest
/// that there is. A server on this machine goes first, because its callers wait.
const NICE_OF_BACKFILL: i32 = 19;

pub(super) fn run(config: &Config, args: &Args, out: &mut impl Write) -> Result<Verdict, Failure> {
    let own = args.certificate.read().map_err(Failure::Unusable)?;
    match &args.action {
        None | Some(Action::Run(_)) => {
            threads::stand_back(threads::NICE);
            writing::run(config, own, out)
        }
        Some(Action::Backfill { from, .. }) => {
            threads::stand_back(NICE_OF_BACKFILL);
            writing::backfill(config, own, *from, out)
        }
        Some(Action::Plan(_)) => tables::plan(config, out),
        Some(Action::Apply(_)) => tables::apply(config, out),
        Some(Action::Rebuild { partial, in_place, .. }) => tables::rebuild(config, *partial, *in_place, out),
        Some(Action::Status { json, .. }) => status::status(config, own.as_ref(), *json, out),
    }
}

fn first(text: &str) -> Result<First, String> {
    match text {
        "first" => Ok(First::OfLog),
        text => text.parse().map(First::Seq).map_err(|_| "give a sequence number, or first".to_owned()),
    }
}

/// The settings of what is written, which need a place for it.
fn named(config: &Config) -> Result<&Sink, Failure> {
    config.sink.as_ref().ok_or_else(|| {
        Failure::Unusable(
            "no database is named: set sink_database, like postgresql://user@host:5432/name, or write files and set \
             sink_files, like file:///FOLDER or s3://BUCKET/PREFIX"
                .to_owned(),
        )
    })
}

/// How the database of the configuration is reached.
pub(in crate::cmd) fn access(config: &Config) -> Result<Access, Failure> {
    match &named(config)?.to {
        SinkTo::Tables(database) => Ok(access_to(database, None)),
        SinkTo::Files(SinkFiles { place, .. }) => {
            Err(Failure::Unusable(format!("the sink writes files to {place}, which have no tables: set sink_database")))
        }
    }
}

fn access_to(database: &SinkDatabase, ending: Option<Ending>) -> Access {
    Access {
        url: database.url.clone(),
        password: database.password.as_ref().map(|password| password.expose().to_owned()),
        authorities: database.authorities.clone(),
        schema: database.schema.clone(),
        ending,
    }
}

impl From<TargetError> for Failure {
    fn from(error: TargetError) -> Failure {
        match error {
            TargetError::Transient(why) => Failure::Unusable(format!("{why}: try again")),
            TargetError::Fenced | TargetError::Partition(_) | TargetError::Refused(_) | TargetError::Operator(_) => {
                Failure::Wrong(error.to_string())
            }
        }
    }
}
