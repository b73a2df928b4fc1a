//! `headroom schemas`: checks that all versions of the schemas can read each other, and that a registry has them. A server
//! registers nothing: an operator or a pipeline does it with this command.

use super::shared::flags::{Flags, Schemas};
use super::{Failure, Verdict};
use crate::app;
use crate::config::Config;
use crate::log::kafka::Topics;
use crate::log::kafka::schema::registry::{Registration, Subject, subjects};
use crate::wire::schema::incompatibilities;
use crate::words::counted;
use clap::Subcommand;
use std::io::Write;

/// The subcommands of `schemas`.
#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// Check that all versions of the schemas can read each other, and that the registry has them
    ///
    /// The registry is asked when one is configured. Exit code 0: a server can start.
    Check(Flags<Schemas>),
    /// Register every version of the schemas, and set the registry's compatibility levels
    Register(Flags<Schemas>),
}

impl Action {
    pub(super) fn load(&self) -> Result<Config, Failure> {
        let (Action::Check(flags) | Action::Register(flags)) = self;
        flags.load()
    }

    /// What an operator does by it, and what it is about; `None` when it only reads.
    pub(super) fn act(&self) -> Option<(&'static str, String)> {
        matches!(self, Action::Register(_)).then(|| ("schemas register", String::new()))
    }
}

pub(super) fn run(config: &Config, action: &Action, out: &mut impl Write) -> Result<Verdict, Failure> {
    let topics = config.kafka.as_ref().map_or_else(|| Topics::of("headroom"), |kafka| app::cluster(kafka).topics);
    let registry = config.kafka.as_ref().and_then(app::registry);
    if let (Action::Register(_), None) = (action, &registry) {
        let missing = "no registry is configured: give --registry-url, or registry_url in the file of --config";
        return Err(Failure::Unusable(missing.to_owned()));
    }
    let subjects = subjects(&topics);
    let mut is_fine = true;
    for subject in &subjects {
        let Subject { name, versions, .. } = subject;
        let found = incompatibilities(versions);
        found.iter().try_for_each(|why| writeln!(out, "{name}: {why}"))?;
        if found.is_empty() {
            writeln!(
                out,
                "{name}: {} of the schema, all readable by each other",
                counted(versions.len() as u64, "version")
            )?;
        }
        is_fine &= found.is_empty();
    }
    let Some(registry) = registry.filter(|_| is_fine) else { return Ok(Verdict::fine_if(is_fine)) };
    for subject in &subjects {
        if let Action::Check(_) = action {
            let (level, registrations) = registry.registrations(subject)?;
            is_fine &= tell(subject, level.as_deref(), &registrations, out)?;
            continue;
        }
        for (version, id) in (1..).zip(registry.register(subject)?) {
            writeln!(out, "{}: version {version} has id {id}, compatibility {}", subject.name, subject.level)?;
        }
    }
    Ok(Verdict::fine_if(is_fine))
}

/// Prints what the registry has of a subject; returns whether a server may start with it.
fn tell(
    subject: &Subject,
    level: Option<&str>,
    registrations: &[Registration],
    out: &mut impl Write,
) -> Result<bool, Failure> {
    let Subject { name, level: wanted, .. } = subject;
    let is_registered = registrations.iter().any(|found| matches!(found, Registration::Registered(_)));
    let mut is_fine = registrations.iter().all(|found| matches!(found, Registration::Registered(_)));
    for (version, registration) in (1..).zip(registrations) {
        match registration {
            Registration::Registered(id) => writeln!(out, "{name}: version {version} has id {id}")?,
            Registration::Acceptable => {
                writeln!(out, "{name}: version {version} is not registered: run headroom schemas register")?
            }
            Registration::Refused => writeln!(
                out,
                "{name}: version {version} is refused by the registry: it is incompatible with the versions that are registered"
            )?,
        }
    }
    if is_registered && level != Some(wanted) {
        let level = level.unwrap_or("the registry's default");
        writeln!(out, "{name}: compatibility is {level} instead of {wanted}: run headroom schemas register")?;
        is_fine = false;
    }
    Ok(is_fine)
}
