//! `headroom topics`: the topics of a cluster against the files in `topics/`. Nothing is changed while anything is
//! refused, and done twice it changes nothing the second time.

use super::shared::flags::ClusterFlags;
use super::{Failure, Verdict};
use crate::app;
use crate::config::{Config, Kafka};
use crate::domain::route::HASH_VERSION;
use crate::limits::{COMMAND_WINDOW_MS, DEDUP_WINDOW_MS, MEMORY_VERSION};
use crate::log::kafka::Cluster;
use crate::log::kafka::ops::admin::Admin;
use crate::log::kafka::ops::manifest::{FEATURE_LEVEL, FORMAT_VERSION, Pinned};
use crate::log::kafka::ops::plan::{Difference, Seen, What, compare};
use crate::log::kafka::ops::topics::acls;
use crate::log::{LogError, Manifest};
use crate::time::{Clock, SystemClock};
use clap::Subcommand;
use std::io::{self, Write};

/// What to do with the topics.
#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// Print what apply would do, and what it would refuse to
    Plan(ClusterFlags),
    /// Create what is missing, set what may be set, and write the manifest of a new log
    Apply(ClusterFlags),
    /// Print every difference; exit 0 when there is none
    Check(ClusterFlags),
    /// Print what each role has to be allowed, as calls of kafka-acls.sh
    Acls(ClusterFlags),
}

impl Action {
    pub(super) fn load(&self) -> Result<Config, Failure> {
        let (Action::Plan(flags) | Action::Apply(flags) | Action::Check(flags) | Action::Acls(flags)) = self;
        flags.load()
    }
}

pub(super) fn run(config: &Config, action: &Action, out: &mut impl Write) -> Result<Verdict, Failure> {
    let missing = "no cluster is configured: give --kafka-brokers, or kafka_brokers in the file";
    let kafka = config.kafka.as_ref().ok_or_else(|| Failure::Unusable(missing.to_owned()))?;
    let cluster = app::cluster(kafka);
    if let Action::Acls(_) = action {
        return tell_acls(&cluster, out);
    }
    let asked = app::asked(config, kafka);
    let admin = Admin::new(cluster).map_err(unusable)?;
    is_the_one(kafka, &admin)?;
    let look = || admin.look().map_err(unusable);
    let seen = look()?;
    let differences = compare(&asked, &seen);
    let is_refused = differences.iter().any(|difference| difference.refusal().is_some());
    match action {
        Action::Check(_) => told(&differences, out),
        Action::Apply(_) if !is_refused => {
            admin.apply(&differences, &made(&differences, seen)).map_err(unusable)?;
            tell_plan(&differences, out)?;
            // As the cluster understood it, which may have a mind of its own.
            if differences.is_empty() { Ok(Verdict::Fine) } else { told(&compare(&asked, &look()?), out) }
        }
        Action::Plan(_) | Action::Apply(_) | Action::Acls(_) => {
            tell_plan(&differences, out)?;
            if is_refused {
                writeln!(out, "apply changes nothing while anything is refused")?;
            }
            Ok(Verdict::fine_if(!is_refused))
        }
    }
}

fn unusable(error: LogError) -> Failure {
    Failure::Unusable(error.to_string())
}

/// Topics of a cluster that is not meant are left alone.
fn is_the_one(kafka: &Kafka, admin: &Admin) -> Result<(), Failure> {
    let id = admin.cluster_id().map_err(unusable)?;
    match &kafka.cluster_id {
        Some(wanted) if *wanted != id => {
            Err(Failure::Wrong(format!("the cluster at {} is {id}, and kafka_cluster_id = {wanted}", kafka.brokers)))
        }
        _ => Ok(()),
    }
}

/// The manifest of a log that begins now.
#[expect(clippy::disallowed_methods, reason = "the command that makes a log draws its identity")]
fn made(differences: &[Difference], seen: Seen) -> Pinned {
    let partitions = differences.iter().find_map(|difference| match difference.what {
        What::NoManifest { partitions } => Some(partitions),
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
    Pinned { manifest, feature_level: FEATURE_LEVEL, command_window_ms: COMMAND_WINDOW_MS, place: seen.place }
}

/// Owners are let in by the log's own id, which is drawn when the manifest is written. Whoever has to be let in before
/// that gets the rest.
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
        writeln!(out, "# What owners need beside this is named after the log: ask again after headroom topics apply.")?;
    }
    Ok(Verdict::Fine)
}

fn tell_plan(differences: &[Difference], out: &mut impl Write) -> io::Result<()> {
    if differences.is_empty() {
        return writeln!(out, "nothing to do");
    }
    for difference in differences {
        match difference.refusal() {
            None => writeln!(out, "{}", difference.step())?,
            Some(why) => writeln!(out, "refused: {difference}: {why}")?,
        }
    }
    Ok(())
}

fn told(differences: &[Difference], out: &mut impl Write) -> Result<Verdict, Failure> {
    differences.iter().try_for_each(|difference| writeln!(out, "{difference}"))?;
    if differences.is_empty() {
        writeln!(out, "the topics are as they should be")?;
    }
    Ok(Verdict::fine_if(differences.is_empty()))
}
