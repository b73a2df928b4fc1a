//! `headroom clock`: repairs the time of partitions that a wrong clock has taken ahead, through the running server that
//! owns them. Each repair is an event of the log.

use super::shared::flags::PlaceFlags;
use super::shared::operator_turn::reason;
use super::shared::source::running_server;
use super::{Failure, Verdict};
use crate::config::Config;
use clap::Subcommand;
use std::io::Write;

/// What to do with the time of partitions.
#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// Set the time of every partition that the running server owns, and that is ahead, back to the server's clock, and
    /// say so in the log. Holds end, and keys are forgotten, when they would have. Set the machine's clock first
    Set {
        #[command(flatten)]
        place: PlaceFlags,
        /// Why, and who says so, for whoever reads the log: up to 200 characters
        #[arg(long, value_name = "TEXT", value_parser = reason)]
        because: String,
    },
}

impl Action {
    pub(super) fn load(&self) -> Result<Config, Failure> {
        let Action::Set { place, .. } = self;
        place.load()
    }
}

pub(super) fn run(config: &Config, action: &Action, out: &mut impl Write) -> Result<Verdict, Failure> {
    let Action::Set { because, .. } = action;
    let server = running_server(&config.data_dir)?;
    let clocks = server.set_clock(because).map_err(|error| Failure::Unusable(error.to_string()))?;
    let mut is_fine = true;
    for clock in clocks {
        let partition = clock.partition;
        if let Some(set) = clock.set {
            writeln!(out, "partition {partition}: set back from {} to {}, event {}", set.from, set.to, set.seq)?;
            continue;
        }
        is_fine &= clock.result == "not_ahead";
        writeln!(out, "partition {partition}: {}", told(&clock.result))?;
    }
    Ok(Verdict::fine_if(is_fine))
}

/// What the server's word means, and what is to be done.
fn told(result: &str) -> &str {
    match result {
        "not_ahead" => "not ahead of the server's clock, and left as it is",
        "busy" => "too many commands were decided a short while ago: try again when fewer come in",
        "not_committed" => "the log did not take it: try again",
        "not_owned" => "this server does not own it now: run this where its owner is",
        "no_answer" => "its owner did not answer: look at the events of the partition before you try again",
        other => other,
    }
}
