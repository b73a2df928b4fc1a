//! `headroom commands`: where each partition of a cluster's log goes on among its commands, and what a person says when
//! those that follow are gone. An owner does not go on by itself then: it would leave out what somebody may still bring
//! back.

use super::flags::PlaceFlags;
use super::{Failure, Verdict};
use crate::app;
use crate::config::Config;
use crate::log::kafka::admin::Admin;
use crate::log::kafka::{Kafka, Owned, Stand, Standing};
use crate::log::{ClaimError, CommitOutcome, CommittedTail, LogError, OwnedPartition};
use crate::owner::recover::{self, fold_stored};
use crate::owner::{Partition, Staged};
use crate::replica::PartitionState;
use crate::time::{Clock, SystemClock};
use clap::Subcommand;
use std::io::Write;

/// How often a partition is taken: servers that cannot go on try to take it all the time.
const TRIES: u32 = 20;
/// What nobody can know any more.
const LOST: &str = "a caller who was told no by its deadline shortly before may hold what its Abandon, now gone, was to \
                    give back: compare what lives with your orders";
/// Longest reason, in characters: an event has room for it.
const REASON_CHARS_MAX: usize = 200;

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
        let Stand { next, first, end, standing } = log.stand_of(partition).map_err(unusable)?;
        is_fine &= standing == Standing::Sound;
        writeln!(out, "partition {partition}: decided up to {next}, there are {first} to {end}: {standing}")?;
    }
    Ok(Verdict::fine_if(is_fine))
}

/// Takes the partition, says what is lost, and leaves it to its owners.
fn skip(log: &Kafka, partition: u32, reason: &str, out: &mut impl Write) -> Result<Verdict, Failure> {
    if log.stand_of(partition).map_err(unusable)?.standing == Standing::Sound {
        writeln!(out, "partition {partition}: no command is gone, and nothing was said")?;
        return Ok(Verdict::Fine);
    }
    let end = log.end(partition).map_err(unusable)?;
    let mut state = recover::rebuild(log, partition, end, &mut |_| {}).map_err(broken)?;
    for _ in 0..TRIES {
        let from = state.position().next_seq;
        let mut fold = |event| fold_stored(&mut state, &event).map(|(next_input, _)| next_input);
        let (mut owned, standing) = match log.take_past_gap(partition, from, &mut fold) {
            Ok(taken) => taken,
            Err(ClaimError::Log(error)) => {
                tracing::info!(partition, %error, "the partition was not taken; trying again");
                continue;
            }
            Err(breach) => return Err(broken(breach)),
        };
        let Some(until) = standing.skip_until() else {
            writeln!(out, "partition {partition}: somebody has said so meanwhile")?;
            return Ok(Verdict::Fine);
        };
        let detail = format!("{reason}: {standing}");
        if say(&mut owned, log.partitions(), &mut state, until, &detail)? {
            writeln!(out, "partition {partition}: {standing}; it goes on at {until}, and the log says so")?;
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
            return Ok(Verdict::Fine);
        }
    }
    Err(Failure::Unusable(format!("servers took partition {partition} back {TRIES} times: stop them and try again")))
}

/// The two turns of an owner that has nothing else to say; answers whether both are in the log.
fn say(owned: &mut Owned, partitions: u32, state: &mut PartitionState, until: u64, why: &str) -> Result<bool, Failure> {
    let (owner, clock) = (Partition::claim(state, partitions), SystemClock::new());
    let mut commit = |state: &mut PartitionState, staged: Staged| {
        let outcome = owned.commit(staged.turn());
        owner.conclude(state, staged, outcome).map_err(|breach| Failure::Wrong(breach.to_string()))?;
        Ok::<_, Failure>(outcome == CommitOutcome::Ok)
    };
    let barrier = owner.barrier(state, nonce(), clock.now());
    if !commit(state, barrier)? {
        return Ok(false);
    }
    let lost = owner.lost(state, until, why, clock.now());
    commit(state, lost)
}

fn reason(text: &str) -> Result<String, String> {
    let is_well = (1..=REASON_CHARS_MAX).contains(&text.chars().count()) && !text.chars().any(char::is_control);
    if is_well { Ok(text.to_owned()) } else { Err(format!("not 1 to {REASON_CHARS_MAX} characters on one line")) }
}

#[expect(clippy::disallowed_methods, reason = "a claim is told from others by a number that nobody else draws")]
fn nonce() -> u64 {
    rand::random()
}

fn unusable(error: LogError) -> Failure {
    Failure::Unusable(error.to_string())
}

fn broken(error: ClaimError) -> Failure {
    match error {
        ClaimError::Breach(breach) => Failure::Wrong(breach.to_string()),
        ClaimError::Log(error) => unusable(error),
    }
}
