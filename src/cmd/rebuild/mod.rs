//! `headroom rebuild`: folds the events of a log into new states, from the first event on, or from the oldest snapshot that
//! covers the events which the log has lost. For a stopped server it makes new checkpoints of them: the state that the old
//! checkpoint leads to, the state after all events, and the state read back from the new checkpoint must have the same digest
//! (L7). Beside a running server it compares one partition with the state in the server's memory, and changes nothing.

mod beside;
mod report;

use super::shared::certificate::{Certificate, CertificateFlags};
use super::shared::fold::{Folding, described};
use super::shared::progress::Progress;
use super::shared::restart::{Restart, Restarting};
use super::shared::source::{Source, not_answering, running_server};
use super::{Failure, Verdict};
use crate::app::{self, Hold};
use crate::client::running::RunningServer;
use crate::config::Config;
use crate::log::{ClaimError, CommittedTail};
use crate::owner::begin::Prefer;
use crate::owner::recover;
use crate::replica::PartitionState;
use crate::store::Store;
use crate::store::sled::SledStore;
use crate::time::Stopwatch;
use report::{Compared, Folded, Rebuilt, Seal};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

/// What is rebuilt, and how it is told.
#[derive(Debug, clap::Args)]
pub(super) struct What {
    /// Rebuild this partition only; beside a running server one has to be named
    #[arg(long, value_name = "P")]
    partition: Option<u32>,
    /// Print JSON: one object a line for each partition
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    certificate: CertificateFlags,
}

impl What {
    /// What an operator does this to, for the line of the audit log.
    pub(super) fn about(&self) -> String {
        self.partition.map_or_else(String::new, |partition| format!("partition {partition}"))
    }
}

pub(super) fn run(config: &Config, what: &What, out: &mut impl Write) -> Result<Verdict, Failure> {
    let own = what.certificate.read().map_err(Failure::Unusable)?;
    let source = Source::open(config, own.as_ref())?;
    let partitions = source.partitions(what.partition)?;
    let (log_id, tail) = (source.log_id(), source.tail());
    let folding = Folding::new(config, tail, log_id)?;
    let telling = Telling { log_id, is_json: what.json };
    let _lock = match user(&source, &config.data_dir, own.as_ref())? {
        User::Nobody(lock) => lock,
        User::Server(server) => {
            let Some(partition) = what.partition else { return Err(unnamed(&config.data_dir)) };
            let rebuilt = beside::compare(&source, &folding, &server, partition)?;
            telling.tell(&rebuilt, Some(&server.version()?), out)?;
            return Ok(Verdict::fine_if(rebuilt.is_fine()));
        }
    };
    let mut ends = Vec::new();
    for partition in partitions {
        ends.push((partition, tail.end(partition)?));
    }
    let store = SledStore::open(&config.data_dir);
    let losses = app::losses(tail, &store, log_id)?;
    if !losses.is_empty() {
        return Err(Failure::Wrong(format!("nothing was rebuilt: {}", app::told(&losses, log_id))));
    }
    let progress = Progress::new(ends.iter().map(|(_, end)| *end).fold(0, u64::saturating_add));
    let mut rebuilding = Rebuilding { log_id, tail, folding, store: &store, progress };
    let (mut is_fine, mut read, mut took) = (true, 0u64, Duration::ZERO);
    for (partition, end) in ends {
        let rebuilt = rebuilding.partition(partition, end)?;
        telling.tell(&rebuilt, None, out)?;
        is_fine &= rebuilt.is_fine();
        read = read.saturating_add(rebuilt.folded.read);
        took = took.saturating_add(rebuilt.folded.took);
    }
    rebuilding.progress.finish();
    if !what.json {
        let seconds = took.as_secs_f64().max(1e-6);
        // The time of reading and applying events. Comparing and writing the states is left out: it depends on their size.
        writeln!(out, "rebuilt from {read} events in {seconds:.1} s, {:.0} events/s", read as f64 / seconds)?;
    }
    Ok(Verdict::fine_if(is_fine))
}

/// How reports are told.
struct Telling {
    log_id: u128,
    is_json: bool,
}

impl Telling {
    fn tell(&self, rebuilt: &Rebuilt, server: Option<&str>, out: &mut impl Write) -> Result<(), Failure> {
        let told = if self.is_json { rebuilt.json(self.log_id, server, out) } else { rebuilt.text(out) };
        told.map_err(Failure::from)
    }
}

/// Who uses the data directory.
enum User {
    /// Nobody, and no server can from now on.
    Nobody(DirectoryLock),
    /// A running server.
    Server(Box<RunningServer>),
}

/// What keeps servers from the data directory while it is rebuilt.
enum DirectoryLock {
    /// The log is in the directory, and is open.
    ByOpenLog,
    /// The log is elsewhere.
    Held(#[expect(dead_code, reason = "unlocks when dropped")] Hold),
}

fn user(source: &Source, dir: &Path, own: Option<&Certificate>) -> Result<User, Failure> {
    let called = || running_server(dir, own).map(|server| User::Server(Box::new(server)));
    match source {
        Source::Directory(_) => Ok(User::Nobody(DirectoryLock::ByOpenLog)),
        Source::Server(_) => called().map_err(|why| not_answering(dir, &why)),
        Source::Cluster(_) => {
            let held = std::fs::create_dir_all(dir).and_then(|()| Hold::take(dir));
            let unusable = |error| format!("cannot use the data directory {}: {error}", dir.display());
            match held.map_err(|error| Failure::Unusable(unusable(error)))? {
                Some(hold) => Ok(User::Nobody(DirectoryLock::Held(hold))),
                None => called().map_err(|why| not_answering(dir, &why)),
            }
        }
    }
}

/// A server runs on the data directory, and no partition was named.
fn unnamed(dir: &Path) -> Failure {
    Failure::Unusable(format!(
        "a server is running on {}: stop it and try again, or name a partition with --partition to compare its state with \
         the log",
        dir.display()
    ))
}

/// Folds a partition's events before `end` into a new state.
fn fold(
    folding: &Folding<'_>,
    tail: &dyn CommittedTail,
    (partition, end): (u32, u64),
    progress: &mut Progress,
) -> Result<(Folded, PartitionState), ClaimError> {
    let mut looked = folding.begin(partition, Prefer::Oldest)?;
    let passed_over = std::mem::take(&mut looked.passed_over);
    let (state, snapshot) = looked.state(partition);
    let snapshot = snapshot.map(|name| (name.text.clone(), described(&name, &state)));
    let read = end.saturating_sub(state.position().next_seq);
    let replaying = Stopwatch::start();
    let state = recover::replay_from(tail, state, end, &mut |reached| progress.reach(reached))?;
    let took = replaying.elapsed();
    progress.partition_done(end);
    let (seal, pools, live) = (Seal::of(&state), state.pools().count(), state.live_count());
    Ok((Folded { partition, snapshot, passed_over, read, took, seal, pools, live }, state))
}

struct Rebuilding<'a> {
    log_id: u128,
    tail: &'a dyn CommittedTail,
    folding: Folding<'a>,
    store: &'a SledStore,
    progress: Progress,
}

impl Rebuilding<'_> {
    /// Makes a new checkpoint of one partition.
    fn partition(&mut self, partition: u32, end: u64) -> Result<Rebuilt, Failure> {
        let Rebuilding { log_id, tail, store, .. } = *self;
        let restarting = Restarting { log_id, tail, store };
        // Only one state at a time is in memory.
        let before = match restarting.restart(partition, end)? {
            Restart::State { from, state } => Ok((from, Seal::of(&state))),
            Restart::Absent => Err((true, "there was none".to_owned())),
            Restart::Mismatch(why) => Err((true, format!("it did not match the log: {why}"))),
            Restart::Breach(breach) => Err((false, breach.to_string())),
        };
        let folded = fold(&self.folding, tail, (partition, end), &mut self.progress);
        let (folded, mut state) = folded.map_err(left_as_it_was)?;
        // The old checkpoint is deleted only now: an error before this changes nothing.
        let failed = |error: crate::store::StoreError| Failure::Unusable(error.to_string());
        store.wipe(partition, "rebuilt by command").map_err(failed)?;
        if end > 0 {
            store.apply(&state.draft_checkpoint(log_id).encode()).map_err(failed)?;
        }
        drop(state);
        let after = restarting.checkpoint(partition).map(|state| state.map(|state| Seal::of(&state)));
        let Seal { chain, digest, .. } = folded.seal;
        let (is_fine, told) = match before {
            Err(unusable) => unusable,
            Ok((from, seal)) if seal == folded.seal => (true, format!("it was at {from} and led to the same state")),
            Ok((from, Seal { chain: old_chain, digest: old, .. })) => (
                false,
                format!(
                    "DIFFERS: it was at {from} and led to digest {old} after event {old_chain}, all events lead to {digest} \
                     after {chain}"
                ),
            ),
        };
        let old = Compared { what: "old checkpoint", is_fine, told };
        let (is_fine, told) = match after {
            Ok(Some(after)) if after == folded.seal => (true, "reads back as the same state".to_owned()),
            Ok(None) if end == 0 => (true, "none, because there are no events".to_owned()),
            other => {
                let why = other.map_or_else(|why| why, |after| format!("it reads back as {after:?}"));
                (false, format!("DIFFERS: {why}"))
            }
        };
        let new = Compared { what: "new checkpoint", is_fine, told };
        Ok(Rebuilt { folded, compared: vec![old, new] })
    }
}

/// The events cannot be applied. That is wrong, and not unusable, because the log could be opened.
fn left_as_it_was(error: ClaimError) -> Failure {
    let why = match error {
        ClaimError::Breach(breach) => breach.to_string(),
        ClaimError::Log(error) => error.to_string(),
    };
    Failure::Wrong(format!("{why}; the old checkpoint was left as it was"))
}
