//! `headroom commands`: where each partition of a cluster's log goes on among its commands, and what a person says when
//! those that follow are gone. An owner does not go on by itself then: it would leave out what somebody may still bring
//! back.

use super::shared::flags::PlaceFlags;
use super::shared::operator_turn::{broken, reason, say, take, unusable};
use super::{Failure, Verdict};
use crate::app;
use crate::config::Config;
use crate::log::kafka::ops::admin::Admin;
use crate::log::kafka::{CommandsPosition, Continuity, Kafka};
use crate::log::{CommittedTail, Fold};
use crate::owner::recover;
use clap::Subcommand;
use std::io::Write;

/// What nobody can know any more.
const LOST: &str = "a caller who was told no by its deadline shortly before may hold what its Abandon, now gone, was to \
                    give back: compare what lives with your orders";

/// What to do with the commands of a log on a cluster.
#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// Print how far each partition's commands are decided, and whether what follows is there; exit 0 when all of it is
    Check(PlaceFlags),
    /// Say in the log that commands of a partition are gone, so that those after them are decided; what the topic has
    /// before those is removed. It writes as an owner does, and needs an owner's permissions. A caller whose Reserve was
    /// decided, who was told no by its deadline, and whose Abandon is among what is gone, holds what it was to give back
    Skip {
        #[command(flatten)]
        place: PlaceFlags,
        /// The partition
        #[arg(long, value_name = "P")]
        partition: u32,
        /// Why they are gone, and who says so, for whoever reads the log: up to 200 characters
        #[arg(long, value_name = "TEXT", value_parser = reason)]
        reason: String,
    },
}

impl Action {
    pub(super) fn load(&self) -> Result<Config, Failure> {
        match self {
            Action::Check(place) | Action::Skip { place, .. } => place.load(),
        }
    }
}

pub(super) fn run(config: &Config, action: &Action, out: &mut impl Write) -> Result<Verdict, Failure> {
    let missing = "the embedded log keeps commands for as long as their events: name a cluster, with --kafka-brokers or in \
                   the file";
    let kafka = config.kafka.as_ref().ok_or_else(|| Failure::Unusable(missing.to_owned()))?;
    let log = app::look(config, kafka).map_err(|error| Failure::Unusable(error.to_string()))?;
    match action {
        Action::Check(_) => check(&log, out),
        Action::Skip { partition, reason, .. } => skip(&log, *partition, reason, out),
    }
}

fn check(log: &Kafka, out: &mut impl Write) -> Result<Verdict, Failure> {
    let mut is_fine = true;
    for partition in 0..log.partitions() {
        let CommandsPosition { next, first, end, continuity } = log.commands_position(partition).map_err(unusable)?;
        is_fine &= continuity == Continuity::Sound;
        writeln!(out, "partition {partition}: decided up to {next}, there are {first} to {end}: {continuity}")?;
    }
    Ok(Verdict::fine_if(is_fine))
}

/// Takes the partition, says what is lost, and leaves it to its owners.
fn skip(log: &Kafka, partition: u32, reason: &str, out: &mut impl Write) -> Result<Verdict, Failure> {
    if log.commands_position(partition).map_err(unusable)?.continuity == Continuity::Sound {
        writeln!(out, "partition {partition}: no command is gone, and nothing was said")?;
        return Ok(Verdict::Fine);
    }
    let end = log.end(partition).map_err(unusable)?;
    let mut state = recover::rebuild(log, partition, end, &mut |_| {}).map_err(broken)?;
    let claim = |from: u64, fold: &mut Fold<'_>| log.take_past_gap(partition, from, fold);
    take(&mut state, claim, |(owned, continuity), state| {
        let Some(until) = continuity.skip_until() else {
            writeln!(out, "partition {partition}: somebody has said so meanwhile")?;
            return Ok(true);
        };
        let detail = format!("{reason}: {continuity}");
        if !say(owned, log.partitions(), state, |owner, state, now| owner.lost(state, until, &detail, now))? {
            return Ok(false);
        }
        writeln!(out, "partition {partition}: {continuity}; it goes on at {until}, and the log says so")?;
        // Whatever lies before it is not what was decided: nobody is to take it for that.
        let topic = &log.cluster().topics.commands;
        let trimmed = Admin::new(log.cluster().clone()).and_then(|admin| admin.trim(topic, partition, until));
        if let Err(why) = trimmed {
            writeln!(
                out,
                "{why}: remove what lies before {until} with kafka-delete-records.sh, or verify tells of it"
            )?;
        }
        writeln!(out, "{LOST}")?;
        Ok(true)
    })?;
    Ok(Verdict::Fine)
}
