//! `headroom schemas`: every version of every schema against all others, and against what a registry has of them. A
//! server registers nothing: a person or a pipeline does, here.

use super::shared::flags::ClusterFlags;
use super::{Failure, Verdict};
use crate::app;
use crate::config::Config;
use crate::log::LogError;
use crate::log::kafka::Topics;
use crate::log::kafka::schema::registry::{Continuity, Subject, subjects};
use crate::wire::schema::incompatibilities;
use clap::Subcommand;
use std::io::Write;

/// What to do with the schemas.
#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// Show that every version reads every other, and that the registry, if one is configured, has them all: what a
    /// server needs to start
    Check(ClusterFlags),
    /// Tell the registry which changes may pass, and register every version
    Register(ClusterFlags),
}

impl Action {
    pub(super) fn load(&self) -> Result<Config, Failure> {
        let (Action::Check(flags) | Action::Register(flags)) = self;
        flags.load()
    }
}

pub(super) fn run(config: &Config, action: &Action, out: &mut impl Write) -> Result<Verdict, Failure> {
    let topics = config.kafka.as_ref().map_or_else(|| Topics::of("headroom"), |kafka| app::cluster(kafka).topics);
    let registry = config.kafka.as_ref().and_then(app::registry);
    if let (Action::Register(_), None) = (action, &registry) {
        let missing = "no registry is configured: give --registry-url, or registry_url in the file";
        return Err(Failure::Unusable(missing.to_owned()));
    }
    let subjects = subjects(&topics);
    let mut is_fine = true;
    for subject in &subjects {
        let Subject { name, versions, .. } = subject;
        let found = incompatibilities(versions);
        found.iter().try_for_each(|why| writeln!(out, "{name}: {why}"))?;
        if found.is_empty() {
            writeln!(out, "{name}: {} of its schema, and all read each other", counted(versions.len()))?;
        }
        is_fine &= found.is_empty();
    }
    let Some(registry) = registry.filter(|_| is_fine) else { return Ok(Verdict::fine_if(is_fine)) };
    for subject in &subjects {
        let unusable = |error: LogError| Failure::Unusable(error.to_string());
        if let Action::Check(_) = action {
            let (level, standing) = registry.continuity(subject).map_err(unusable)?;
            is_fine &= tell(subject, level.as_deref(), &standing, out)?;
            continue;
        }
        for (version, id) in (1..).zip(registry.register(subject).map_err(unusable)?) {
            writeln!(out, "{}: version {version} has id {id}, {}", subject.name, subject.level)?;
        }
    }
    Ok(Verdict::fine_if(is_fine))
}

/// Whether a server may start.
fn tell(
    subject: &Subject,
    level: Option<&str>,
    standing: &[Continuity],
    out: &mut impl Write,
) -> Result<bool, Failure> {
    let Subject { name, level: wanted, .. } = subject;
    let is_registered = standing.iter().any(|standing| matches!(standing, Continuity::Registered(_)));
    let mut is_fine = standing.iter().all(|standing| matches!(standing, Continuity::Registered(_)));
    for (version, standing) in (1..).zip(standing) {
        match standing {
            Continuity::Registered(id) => writeln!(out, "{name}: version {version} has id {id}")?,
            Continuity::Acceptable => writeln!(out, "{name}: version {version} is not registered: register does it")?,
            Continuity::Refused => writeln!(out, "{name}: version {version} is refused: others are there already")?,
        }
    }
    if is_registered && level != Some(wanted) {
        let level = level.unwrap_or("what the registry lets pass usually");
        writeln!(out, "{name}: changes are held to {level} instead of {wanted}: register says so")?;
        is_fine = false;
    }
    Ok(is_fine)
}

fn counted(versions: usize) -> String {
    if versions == 1 { "1 version".to_owned() } else { format!("{versions} versions") }
}
