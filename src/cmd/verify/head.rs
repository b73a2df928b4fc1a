//! A log whose first events are gone, and nothing that was named covers them. They may lie in a place that was not named: so
//! nothing is called broken for that alone. Of the events that are left the chain is checked, and nothing else can be.

use super::LocalEvidence;
use super::snapshots::Snapshots;
use super::trust::chain_of;
use crate::cmd::shared::source::Source;
use crate::cmd::shared::stderr;
use crate::config::Config;
use crate::domain::Breach;
use crate::log::{CommittedTail, LogError};
use std::ops::Range;

/// The places that may cover what is gone, and were not named.
#[derive(Clone, Copy)]
pub(super) struct Unnamed {
    snapshots: bool,
    archive: bool,
}

impl Unnamed {
    pub(super) fn of(config: &Config) -> Unnamed {
        Unnamed { snapshots: config.snapshots.is_none(), archive: config.archive_is_unnamed() }
    }

    /// Why the head of a partition cannot be proven, for which `error` says that nothing covers it; none where every place was
    /// named, and has snapshots of the partition: then what is gone is lost.
    pub(super) fn head(
        self,
        tail: &dyn CommittedTail,
        partition: u32,
        snapshots: &Snapshots<'_>,
        error: &LogError,
    ) -> Result<Option<Head>, LogError> {
        let left = tail.first(partition)?..tail.end(partition)?;
        let first = left.start;
        let without =
            |flags: &str| format!("the log begins at event {first}; its head cannot be proven without {flags}");
        let why = match self {
            Unnamed { snapshots: true, archive: true } => without("--snapshots or --log-archive"),
            Unnamed { snapshots: true, archive: false } => without("--snapshots"),
            Unnamed { snapshots: false, archive: true } => format!("{}: {error}", without("--log-archive")),
            _ if snapshots.are_none() => format!("{}: {error}", without("the place that has its snapshots")),
            _ => return Ok(None),
        };
        Ok(Some(Head { partition, left, why }))
    }
}

/// The settings with the places that the running server knows, where none was named and the log has lost its first events.
pub(super) fn known(config: &Config, source: &Source, evidence: &LocalEvidence) -> Config {
    let server = match (source, evidence) {
        (Source::Server(server), _) => Some(server.log()),
        (_, LocalEvidence::Server(server)) => Some(&**server),
        _ => None,
    };
    let is_unnamed = config.snapshots.is_none() && config.log_archive.is_none();
    let Some(server) = server.filter(|_| is_unnamed) else { return config.clone() };
    let tail = source.tail();
    if (0..tail.partitions()).all(|partition| tail.first(partition).is_ok_and(|first| first == 0)) {
        return config.clone();
    }
    let told = server.support().unwrap_or_default();
    let known = config.clone().with_places_of(told["settings"].as_str().unwrap_or_default());
    let snapshots = known.snapshots.as_ref().map(|snapshots| ("snapshots", &snapshots.place));
    for (what, place) in snapshots.into_iter().chain(known.log_archive.as_ref().map(|place| ("log_archive", place))) {
        stderr::note(format_args!("{what} = {place}, as the running server has it"));
    }
    known
}

/// The head of a partition that cannot be proven.
pub(super) struct Head {
    partition: u32,
    /// The events that are left.
    left: Range<u64>,
    why: String,
}

impl Head {
    /// The first fault in the chain of the events that are left.
    pub(super) fn fault(&self, tail: &dyn CommittedTail) -> Result<Option<Breach>, LogError> {
        chain_of(tail, self.partition, self.left.clone()).map(Result::err)
    }

    /// Why it cannot be proven.
    pub(super) fn why(&self) -> &str {
        &self.why
    }

    /// That it is not proven, where nothing was found to be wrong; and what else is known.
    pub(super) fn not_proven(self, notes: &[String]) -> LogError {
        let Head { left: Range { start, end }, why, .. } = self;
        let mut told = match start < end {
            true => format!("{why}; events {start} to {} follow on each other", end.saturating_sub(1)),
            false => format!("{why}; no events are left"),
        };
        notes.iter().for_each(|note| told.push_str(&format!("; {note}")));
        LogError::uncovered(told)
    }
}
