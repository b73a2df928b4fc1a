//! `headroom clock`: sets the time of partitions back after a clock was ahead, through the running server that owns them.
//! Each change is an event of the log.

use super::shared::certificate::CertificateFlags;
use super::shared::flags::{DataDir, Flags};
use super::shared::operator_turn::reason;
use super::shared::source::own_server;
use super::{Failure, Verdict};
use crate::config::Config;
use clap::Subcommand;
use std::io::Write;

/// The subcommands of `clock`.
#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// Set the time of partitions back to the clock of the running server that owns them
    ///
    /// Correct the clock of the machine first. Partitions whose time is not ahead stay as they are. An event records each
    /// change. Holds and remembered keys keep the time that they have left.
    Set {
        #[command(flatten)]
        flags: Flags<DataDir>,
        /// Why the time is set, and who decided it; recorded in the log, up to 200 characters
        #[arg(long, value_name = "TEXT", value_parser = reason)]
        because: String,
        #[command(flatten)]
        certificate: CertificateFlags,
    },
}

impl Action {
    pub(super) fn load(&self) -> Result<Config, Failure> {
        let Action::Set { flags, .. } = self;
        flags.load()
    }
}

pub(super) fn run(config: &Config, action: &Action, out: &mut impl Write) -> Result<Verdict, Failure> {
    let Action::Set { because, certificate, .. } = action;
    let own = certificate.read().map_err(Failure::Unusable)?;
    let server = own_server(&config.data_dir, own.as_ref()).map_err(|why| {
        let dir = config.data_dir.display();
        Failure::Unusable(format!(
            "no running server of {dir} answers, and this command works through one: {why}; start it, or name its \
             directory with --data-dir"
        ))
    })?;
    let mut is_fine = true;
    for clock in server.set_clock(because)? {
        let partition = clock.partition;
        if let Some(set) = clock.set {
            writeln!(out, "partition {partition}: set back from {} to {} by event {}", set.from, set.to, set.seq)?;
            continue;
        }
        is_fine &= clock.result == "not_ahead";
        writeln!(out, "partition {partition}: {}", explained(&clock.result))?;
    }
    Ok(Verdict::fine_if(is_fine))
}

/// The meaning of a result code of the server, and what to do about it.
fn explained(code: &str) -> &str {
    match code {
        "not_ahead" => "not changed: its time is not ahead of the server's clock",
        "busy" => "not changed: too many commands were decided just now; try again when there are fewer",
        "not_committed" => "not changed: the log did not take the event; try again",
        "unknown" => {
            "not known: the log did not say whether it took the event; look at its events with headroom cat before you \
             try again"
        }
        "not_owned" => {
            "not changed: this server does not decide the partition now; run this command where its owner is"
        }
        "no_answer" => "not known: the owner did not answer; look at its events with headroom cat before you try again",
        other => other,
    }
}
