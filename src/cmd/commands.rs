//! `headroom commands`: shows how far the commands of a log on Kafka are decided, and skips commands that are gone. An
//! owner does not skip them by itself, because an operator may still bring them back.

use super::shared::flags::{AnyLog, Flags, OwnedLog};
use super::shared::fold::Folding;
use super::shared::operator_turn::{claim_until_committed, commit_event, reason};
use super::{Failure, Verdict};
use crate::app;
use crate::config::Config;
use crate::log::kafka::ops::admin::Admin;
use crate::log::kafka::{CommandsPosition, Continuity, Kafka};
use crate::log::{ClusterLog, CommittedTail, Fold, LogError, LogErrorKind, PartitionLog};
use clap::Subcommand;
use std::io::Write;

/// What the operator has to check after commands were skipped.
const LOST: &str = "check the live reservations against your orders: a caller whose Reserve timed out just before may hold \
                    one, because the Abandon that was to release it may be among the lost commands";

/// The subcommands of `commands`.
#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// Print how far each partition's commands are decided, and whether the next ones are still there
    ///
    /// Exit code 0: no commands are gone. 2: no commands are known to be gone, and a partition could not be read.
    Check(Flags<AnyLog>),
    /// Record in the log that commands of a partition are gone, so that its owner goes on after them
    ///
    /// Needs the permissions of an owner, because it writes an event. Records that the topic still has before the next
    /// command are deleted. A caller whose Reserve timed out may hold a reservation afterwards, if the Abandon that was to
    /// release it is among the lost commands.
    Skip {
        #[command(flatten)]
        flags: Flags<OwnedLog>,
        /// Number of the partition
        #[arg(long, value_name = "P")]
        partition: u32,
        /// Why the commands are gone, and who decided to skip them; recorded in the log, up to 200 characters
        #[arg(long, value_name = "TEXT", value_parser = reason)]
        reason: String,
    },
}

impl Action {
    pub(super) fn load(&self) -> Result<Config, Failure> {
        match self {
            Action::Check(flags) => flags.load(),
            Action::Skip { flags, .. } => flags.load(),
        }
    }

    /// What an operator does by it, and what it is about; `None` when it only reads.
    pub(super) fn act(&self) -> Option<(&'static str, String)> {
        match self {
            Action::Check(_) => None,
            Action::Skip { partition, reason, .. } => {
                Some(("commands skip", format!("partition {partition}: {reason}")))
            }
        }
    }
}

pub(super) fn run(config: &Config, action: &Action, out: &mut impl Write) -> Result<Verdict, Failure> {
    let missing = "this command is for a log on Kafka, and no cluster is configured: give --kafka-brokers, or kafka_brokers in the \
                   file of --config";
    let kafka = config.kafka.as_ref().ok_or_else(|| Failure::Unusable(missing.to_owned()))?;
    let looked = match action {
        Action::Check(_) => app::look(config, kafka),
        Action::Skip { .. } => app::look_to_write(config, kafka),
    };
    let log = looked.map_err(|error| Failure::Unusable(error.to_string()))?;
    match action {
        Action::Check(_) => check(log.partitions(), |partition| log.commands_position(partition), out),
        Action::Skip { partition, reason, .. } => skip(config, &log, *partition, reason, out),
    }
}

/// Prints where the commands of each partition stand. Nobody can tell it of a partition that cannot be read now, and the others are
/// told all the same. Commands that are gone are gone, whatever the rest is.
fn check(
    partitions: u32,
    position: impl Fn(u32) -> Result<CommandsPosition, LogError>,
    out: &mut impl Write,
) -> Result<Verdict, Failure> {
    let (mut is_fine, mut untold) = (true, None);
    for partition in 0..partitions {
        match position(partition) {
            Ok(CommandsPosition { next, first, end, continuity }) => {
                is_fine &= continuity == Continuity::Sound;
                writeln!(
                    out,
                    "partition {partition}: next command {next}, the topic holds {first} to {end}: {continuity}"
                )?;
            }
            Err(error) => {
                writeln!(out, "partition {partition}: it is not known whether commands are gone: {error}")?;
                if error.kind == LogErrorKind::Emptied {
                    is_fine = false;
                } else {
                    untold.get_or_insert(error);
                }
            }
        }
        // A partition that does not answer takes its time.
        out.flush()?;
    }
    match untold {
        Some(error) if is_fine => Err(error.into()),
        _ => Ok(Verdict::fine_if(is_fine)),
    }
}

/// Claims the partition, records what is lost, and leaves the partition to its owners.
fn skip(config: &Config, log: &Kafka, partition: u32, reason: &str, out: &mut impl Write) -> Result<Verdict, Failure> {
    if log.commands_position(partition)?.continuity == Continuity::Sound {
        writeln!(out, "partition {partition}: no command is gone; nothing was changed")?;
        return Ok(Verdict::Fine);
    }
    let end = log.end(partition)?;
    let mut state = Folding::new(config, log, log.manifest().log_id)?.state(partition, end)?;
    let claim = |from: u64, fold: &mut Fold<'_>| log.take_past_gap(partition, from, fold);
    let mut tried = None;
    claim_until_committed(&mut state, claim, |(owned, found), state| {
        let Some((continuity, until)) = gap(tried, found, state.position().next_input) else {
            writeln!(out, "partition {partition}: the lost commands were skipped meanwhile; nothing was changed")?;
            return Ok(true);
        };
        if found.skip_until().is_some() {
            tried = Some(found);
            let detail = format!("{reason}: {continuity}");
            let place = (log.partitions(), log.level());
            if !commit_event(owned, place, state, |owner, state, now| owner.lost(state, until, &detail, now))? {
                return Ok(false);
            }
        }
        writeln!(out, "partition {partition}: {continuity}; recorded in the log, its owner goes on at {until}")?;
        // The records before it are not the commands that were decided: nobody may take them for those.
        let topic = &log.cluster().topics.commands;
        let trimmed = Admin::new(log.cluster().clone()).and_then(|admin| admin.trim(topic, partition, until));
        if let Err(why) = trimmed {
            writeln!(
                out,
                "{why}: delete the records before {until} with kafka-delete-records.sh, or headroom verify reports them"
            )?;
        }
        writeln!(out, "{LOST}")?;
        Ok(true)
    })?;
    Ok(Verdict::Fine)
}

/// The commands that are skipped, and the offset after them: those that are found to be missing. The answer to a commit may
/// be lost: where none is missing any more, and the log goes on behind what was tried before, that is in the log.
fn gap(tried: Option<Continuity>, found: Continuity, next_input: u64) -> Option<(Continuity, u64)> {
    let with_end = |gap: Continuity| Some((gap, gap.skip_until()?));
    with_end(found).or_else(|| tried.and_then(with_end).filter(|(_, until)| *until <= next_input))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The story: the answer to the commit is lost. The operator was told that nothing was changed, and not what to check.
    #[test]
    fn what_is_in_the_log_although_no_answer_came_is_told() {
        let (first, later) = (Continuity::Removed { from: 3, until: 7 }, Continuity::Removed { from: 3, until: 9 });
        assert_eq!(gap(None, first, 3), Some((first, 7)));
        assert_eq!(gap(Some(first), later, 3), Some((later, 9)), "it is not in the log, and more is missing by now");
        assert_eq!(gap(Some(first), Continuity::Sound, 7), Some((first, 7)));
        assert_eq!(gap(Some(first), Continuity::Sound, 3), None, "somebody has brought the commands back");
        assert_eq!(gap(None, Continuity::Sound, 7), None, "somebody else has recorded it");
    }

    /// What is printed of these partitions, and how it ends.
    fn checked<const N: usize>(found: [Result<Continuity, LogError>; N]) -> (String, Result<Verdict, Failure>) {
        let mut out = Vec::new();
        let position = |partition: u32| {
            let found = found[partition as usize].clone();
            found.map(|continuity| CommandsPosition { next: 3, first: 0, end: 9, continuity })
        };
        let ended = check(u32::try_from(N).unwrap(), position, &mut out);
        (String::from_utf8(out).unwrap(), ended)
    }

    /// The story: the broker of one partition is down, and the commands of another one are gone. The command ended at the first, and
    /// nobody was told of the other.
    #[test]
    fn a_partition_that_cannot_be_read_hides_no_other() {
        let silent = || Err(LogError::transient("h.events/0 does not answer"));
        let gone = || Ok(Continuity::Removed { from: 3, until: 7 });
        let (told, ended) = checked([silent(), gone(), Ok(Continuity::Sound)]);
        let lines: Vec<&str> = told.lines().collect();
        assert_eq!(
            lines,
            [
                "partition 0: it is not known whether commands are gone: h.events/0 does not answer",
                "partition 1: next command 3, the topic holds 0 to 9: commands 3 to 6 were removed before they were decided",
                "partition 2: next command 3, the topic holds 0 to 9: sound",
            ]
        );
        assert_eq!(ended, Ok(Verdict::Wrong));
        let again = Failure::Unusable("h.events/0 does not answer: try again".to_owned());
        assert_eq!(checked([silent(), Ok(Continuity::Sound)]).1, Err(again));
        let emptied = || Err(LogError::emptied("h.events/0 has lost all its events"));
        assert_eq!(checked([silent(), emptied()]).1, Ok(Verdict::Wrong));
        assert_eq!(checked([Ok(Continuity::Sound), Ok(Continuity::Sound)]).1, Ok(Verdict::Fine));
    }
}
