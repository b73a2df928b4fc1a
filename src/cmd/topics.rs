//! `headroom topics`: compares the topics of a Kafka cluster with the declarations in `topics/`, creates and changes
//! them. While any difference is refused, nothing is changed. Applying twice changes nothing the second time. The cluster is not
//! told to delete events before snapshots cover them: what it has deleted is gone.

use super::shared::flags::{ClusterNames, ClusterTopics, Flags};
use super::shared::fold::{Folding, described};
use super::{Failure, Verdict};
use crate::app;
use crate::config::{Config, Kafka};
use crate::domain::Micros;
use crate::domain::route::HASH_VERSION;
use crate::limits::{COMMAND_WINDOW_MS, DEDUP_WINDOW_MS, MEMORY_VERSION};
use crate::log::kafka::Cluster;
use crate::log::kafka::ops::admin::Admin;
use crate::log::kafka::ops::manifest::{FORMAT_VERSION, Pinned};
use crate::log::kafka::ops::plan::{ClusterState, Difference, DifferenceKind, compare};
use crate::log::kafka::ops::topics::acls;
use crate::log::{CommittedTail, Manifest, known_level};
use crate::owner::begin::Prefer;
use crate::store::SnapshotName;
use crate::time::{Clock, Shown, SystemClock};
use crate::words::counted;
use clap::Subcommand;
use std::io::{self, Write};

/// What to do where the cluster may delete events before a snapshot covers them.
const WHAT_TO_DO: &str = "apply changes nothing before snapshots cover the events: wait for them, or run it where the place of \
    snapshots can be read; until then leave the topic as it is, with kafka_events_keep = all or the age that it has now; \
    apply --without-snapshots does not look";

/// The subcommands of `topics`.
#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// Print what `apply` would do, and what it would refuse
    ///
    /// Where nothing is to be done, also says which partitions have lost their first events, and which snapshot covers them. Exit
    /// code 0: nothing would be refused, and no partition lacks such a snapshot or has lost all its events.
    Plan(Flags<ClusterTopics>),
    /// Create missing topics, change their settings, and write the manifest of a new log
    ///
    /// While any difference is refused, nothing is changed. Applying twice changes nothing the second time. Events are to be kept
    /// for a shorter time only where each partition that has any also has a snapshot whose manifest is good, and the last event
    /// in it is younger than half of that time.
    Apply {
        #[command(flatten)]
        flags: Flags<ClusterTopics>,
        /// Have events kept for a shorter time without a look at snapshots: where none covers what the cluster deletes then, no
        /// server without a checkpoint serves the log
        #[arg(long)]
        without_snapshots: bool,
    },
    /// Print every difference between the topics and what they should be
    ///
    /// Exit code 0: there is no difference, and a snapshot covers the first events of every partition that has lost them.
    Check(Flags<ClusterTopics>),
    /// Give the log the newest feature level of this version, if every process that serves it can read that level
    ///
    /// From then on older versions cannot serve the log. Exit code 0: the log has the level.
    Finalize(Flags<ClusterTopics>),
    /// Print the permissions of each role, as calls of kafka-acls.sh
    ///
    /// Those that depend on the log's id are printed once `apply` has written the manifest.
    Acls(Flags<ClusterNames>),
}

impl Action {
    pub(super) fn load(&self) -> Result<Config, Failure> {
        match self {
            Action::Plan(flags) | Action::Apply { flags, .. } | Action::Check(flags) | Action::Finalize(flags) => {
                flags.load()
            }
            Action::Acls(flags) => flags.load(),
        }
    }

    /// What an operator does by it, and what it is about; `None` when it only reads.
    pub(super) fn act(&self) -> Option<(&'static str, String)> {
        match self {
            Action::Apply { without_snapshots, .. } => {
                let about = if *without_snapshots { "without a look at snapshots" } else { "" };
                Some(("topics apply", about.to_owned()))
            }
            Action::Finalize(_) => Some(("topics finalize", String::new())),
            Action::Plan(_) | Action::Check(_) | Action::Acls(_) => None,
        }
    }
}

/// Prints every difference between the topics of the cluster and what they should be.
pub(super) fn check(config: &Config, kafka: &Kafka, out: &mut impl Write) -> Result<Verdict, Failure> {
    let admin = Admin::new(app::cluster(kafka))?;
    check_cluster_id(kafka, &admin)?;
    let seen = admin.look()?;
    let differences = compare(&app::asked(config, kafka), &seen);
    match tell_differences(&differences, out)? {
        Verdict::Fine => tell_heads(config, kafka, &seen, out),
        Verdict::Wrong => Ok(Verdict::Wrong),
    }
}

pub(super) fn run(config: &Config, action: &Action, out: &mut impl Write) -> Result<Verdict, Failure> {
    let missing = "no cluster is configured: give --kafka-brokers, or kafka_brokers in the file of --config";
    let kafka = config.kafka.as_ref().ok_or_else(|| Failure::Unusable(missing.to_owned()))?;
    let cluster = app::cluster(kafka);
    match action {
        Action::Acls(_) => return tell_acls(&cluster, out),
        Action::Check(_) => return check(config, kafka, out),
        Action::Plan(_) | Action::Apply { .. } | Action::Finalize(_) => {}
    }
    let asked = app::asked(config, kafka);
    let admin = Admin::new(cluster)?;
    check_cluster_id(kafka, &admin)?;
    let seen = admin.look()?;
    let differences = compare(&asked, &seen);
    let is_refused = differences.iter().any(|difference| difference.refusal().is_some());
    if let (Action::Finalize(_), false, Ok(Some(pinned))) = (action, is_refused, &seen.manifest) {
        return finalize(&admin, pinned, out);
    }
    let looks = !is_refused && matches!(action, Action::Plan(_) | Action::Apply { without_snapshots: false, .. });
    let uncovered = if looks { uncovered(config, kafka, &differences, &seen)? } else { Vec::new() };
    match action {
        Action::Apply { .. } if !is_refused && uncovered.is_empty() => {
            admin.apply(&differences, &made(&differences, seen))?;
            tell_plan(&differences, out)?;
            // The cluster may have applied something else: it is compared again.
            if differences.is_empty() { Ok(Verdict::Fine) } else { tell_differences(&admin.left(&asked)?, out) }
        }
        Action::Finalize(_) => {
            tell_plan(&differences, out)?;
            writeln!(out, "the feature level stays as it is: there is no log whose topics are as they should be")?;
            Ok(Verdict::Wrong)
        }
        Action::Plan(_) | Action::Apply { .. } | Action::Check(_) | Action::Acls(_) => {
            tell_plan(&differences, out)?;
            uncovered.iter().try_for_each(|why| writeln!(out, "refused: {why}"))?;
            if is_refused {
                writeln!(out, "apply changes nothing while any difference is refused")?;
            }
            if !uncovered.is_empty() {
                writeln!(out, "{WHAT_TO_DO}")?;
            }
            if differences.is_empty() {
                tell_heads(config, kafka, &seen, out)
            } else {
                Ok(Verdict::fine_if(!is_refused && uncovered.is_empty()))
            }
        }
    }
}

/// Why the cluster must not keep events for a shorter time than now: a line for each partition. None where it keeps them for as
/// long as now, where there is no event, and where snapshots cover what goes. Only manifests are read, which needs little memory.
fn uncovered(
    config: &Config,
    kafka: &Kafka,
    differences: &[Difference],
    seen: &ClusterState,
) -> Result<Vec<String>, Failure> {
    let keep_ms = differences.iter().find_map(Difference::shortens_events_to_ms);
    let (Some(keep_ms), true, Ok(Some(pinned))) = (keep_ms, seen.has_events, &seen.manifest) else {
        return Ok(Vec::new());
    };
    let log = app::look(config, kafka).map_err(|error| Failure::Unusable(error.to_string()))?;
    let (folding, now) = (Folding::new(config, &log, pinned.manifest.log_id)?, SystemClock::new().wall());
    let mut told = Vec::new();
    for partition in 0..log.partitions() {
        let end = log.end(partition)?;
        if end == 0 {
            continue;
        }
        match folding.newest_by_manifest(partition, end) {
            Ok(newest) => told.extend(lacks_cover(partition, newest.as_ref(), keep_ms, now)),
            // Of the other partitions the place would say the same.
            Err(error) => {
                told.push(format!(
                    "events may be deleted before a snapshot covers them: from partition {partition} on it is not known which \
                     there are: {error}"
                ));
                break;
            }
        }
    }
    Ok(told)
}

/// Why the newest snapshot of a partition does not cover the events that go when they are kept for so long; none where it does.
/// Events behind it must not go before a next one has them, and that may take somebody to mend what keeps it from being written:
/// half of the time is left for that, as when the alert `HeadroomSnapshotsRunOut` fires.
fn lacks_cover(partition: u32, newest: Option<&SnapshotName>, keep_ms: u64, now: Micros) -> Option<String> {
    let why = match newest {
        None => "it has no snapshot whose manifest is good".to_owned(),
        Some(name) if now.ms_since(name.decided_at) > keep_ms / 2 => format!(
            "the last event in its newest snapshot, {}, is of {}, which is more than half of kafka_events_keep ago",
            name.text,
            Shown(name.decided_at)
        ),
        Some(_) => return None,
    };
    Some(format!("events of partition {partition} may be deleted before a snapshot covers them: {why}"))
}

/// Of topics that are as they should be, tells which partitions have lost their first events, and what covers them. Without
/// that, no server that has no checkpoint would serve them.
fn tell_heads(config: &Config, kafka: &Kafka, seen: &ClusterState, out: &mut impl Write) -> Result<Verdict, Failure> {
    let Ok(Some(pinned)) = &seen.manifest else { return Ok(Verdict::Fine) };
    let log = app::look(config, kafka).map_err(|error| Failure::Unusable(error.to_string()))?;
    let folding = Folding::new(config, &log, pinned.manifest.log_id)?;
    let mut is_covered = true;
    for partition in 0..log.partitions() {
        match folding.begin(partition, Prefer::Newest) {
            Ok(looked) => {
                if let Some((name, state)) = &looked.taken {
                    let covers = described(name, state);
                    writeln!(out, "partition {partition} has lost its first events, and is covered by {covers}")?;
                }
            }
            Err(error) if error.has_lost_events() => {
                writeln!(out, "refused: {error}")?;
                is_covered = false;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Verdict::fine_if(is_covered))
}

/// Raises the feature level to the newest one here, unless a process that serves the log could not read it.
fn finalize(admin: &Admin, pinned: &Pinned, out: &mut impl Write) -> Result<Verdict, Failure> {
    let (found, wanted) = (pinned.feature_level, known_level());
    if found == wanted {
        writeln!(out, "the log has feature level {found} already; nothing to do")?;
        return Ok(Verdict::Fine);
    }
    let processes = admin.processes(pinned.manifest.log_id)?;
    processes.iter().try_for_each(|process| writeln!(out, "{process}"))?;
    let older = processes.iter().filter(|process| !process.knows(wanted)).count();
    if older > 0 {
        let processes = counted(processes.len() as u64, "process");
        writeln!(out, "{older} of {processes} cannot read feature level {wanted}: it stays {found}")?;
        return Ok(Verdict::Wrong);
    }
    admin.raise_level(pinned)?;
    writeln!(out, "the log has feature level {wanted}, it was {found}: older versions cannot serve it any more")?;
    Ok(Verdict::Fine)
}

/// Refuses a cluster that has another id than the configured one.
fn check_cluster_id(kafka: &Kafka, admin: &Admin) -> Result<(), Failure> {
    let id = admin.cluster_id()?;
    match &kafka.cluster_id {
        Some(wanted) if *wanted != id => Err(Failure::Wrong(format!(
            "the cluster at {} has the id {id}, and kafka_cluster_id = {wanted}",
            kafka.brokers
        ))),
        _ => Ok(()),
    }
}

/// The manifest of a new log.
#[expect(clippy::disallowed_methods, reason = "a new log gets a random id")]
fn made(differences: &[Difference], seen: ClusterState) -> Pinned {
    let partitions = differences.iter().find_map(|difference| match difference.what {
        DifferenceKind::NoManifest { partitions } => Some(partitions),
        _ => None,
    });
    let manifest = Manifest {
        log_id: rand::random(),
        partitions: partitions.unwrap_or_default(),
        hash_version: HASH_VERSION,
        format_version: FORMAT_VERSION,
        dedup_window_ms: DEDUP_WINDOW_MS,
        memory_version: MEMORY_VERSION,
        created_at: SystemClock::new().now(),
    };
    Pinned {
        manifest,
        feature_level: known_level(),
        raised_by: Some(env!("CARGO_PKG_VERSION").to_owned()),
        command_window_ms: COMMAND_WINDOW_MS,
        place: seen.place,
    }
}

/// Prints the permissions. Those of owners depend on the log's id, which the manifest holds: before it is written, the
/// others are printed.
fn tell_acls(cluster: &Cluster, out: &mut impl Write) -> Result<Verdict, Failure> {
    let seen = Admin::new(cluster.clone()).and_then(|admin| admin.look());
    let topic = &cluster.topics.manifest;
    let log_id = match seen.map(|seen| seen.manifest) {
        Ok(Ok(Some(pinned))) => Ok(pinned.manifest.log_id),
        Ok(Ok(None)) => Err(format!("{topic} holds no manifest")),
        Ok(Err(problem)) => Err(format!("{topic} {problem}")),
        Err(error) => Err(error.to_string()),
    };
    acls(cluster, log_id.as_ref().ok().copied()).iter().try_for_each(|line| writeln!(out, "{line}"))?;
    if let Err(why) = log_id {
        writeln!(out, "# {why}.")?;
        writeln!(
            out,
            "# Owners need more permissions, named after the log's id: run this again after headroom topics apply."
        )?;
    }
    Ok(Verdict::Fine)
}

fn tell_plan(differences: &[Difference], out: &mut impl Write) -> io::Result<()> {
    if differences.is_empty() {
        return writeln!(out, "the topics are as they should be; nothing to do");
    }
    for difference in differences {
        match difference.refusal() {
            None => writeln!(out, "{}", difference.step())?,
            Some(why) => writeln!(out, "refused: {difference}: {why}")?,
        }
    }
    Ok(())
}

fn tell_differences(differences: &[Difference], out: &mut impl Write) -> Result<Verdict, Failure> {
    differences.iter().try_for_each(|difference| writeln!(out, "{difference}"))?;
    if differences.is_empty() {
        writeln!(out, "the topics are as they should be")?;
    }
    Ok(Verdict::fine_if(differences.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_covers_what_goes_while_half_of_the_age_is_left() {
        let hour_us = 3_600_000_000;
        let (now, keep_ms) = (Micros(1_000 * hour_us), 100 * 3_600_000);
        let newest = |hours: u64| SnapshotName {
            text: "S.json".to_owned(),
            next_seq: 7,
            decided_at: Micros(now.0 - hours * hour_us),
        };
        let told = |name: Option<SnapshotName>| lacks_cover(3, name.as_ref(), keep_ms, now);
        for hours in [0, 49, 50] {
            assert_eq!(told(Some(newest(hours))), None, "{hours}");
        }
        // A clock that is behind says nothing about its age.
        assert_eq!(told(Some(SnapshotName { decided_at: Micros(now.0 + hour_us), ..newest(0) })), None);
        let begins = "events of partition 3 may be deleted before a snapshot covers them: ";
        let old = "the last event in its newest snapshot, S.json, is of 1970-02-09T13:00:00Z, which is more than half of \
                   kafka_events_keep ago";
        assert_eq!(told(Some(newest(51))), Some(format!("{begins}{old}")));
        let none = "it has no snapshot whose manifest is good";
        assert_eq!(told(None), Some(format!("{begins}{none}")));
    }
}
