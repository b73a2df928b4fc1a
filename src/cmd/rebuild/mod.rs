//! `headroom rebuild`: folds the events of a log into new states, from the first event on, or from the oldest snapshot that
//! covers the events which the log has lost. For a stopped server it makes new checkpoints of them: the state that the old
//! checkpoint leads to, the state after all events, and the state read back from the new checkpoint must have the same digest
//! (L7). Beside running servers it compares with the states in their memory, and changes nothing unless it is asked to put
//! new ones in their place.

mod beside;
mod others;
mod report;
mod swap;
mod untold;

use super::shared::certificate::{Certificate, CertificateFlags};
use super::shared::fold::{Folding, described};
use super::shared::progress::Progress;
use super::shared::restart::{Restart, Restarting};
use super::shared::source::{Source, not_answering, running_server};
use super::{Failure, Verdict};
use crate::app::{self, Hold};
use crate::client::running::RunningServer;
use crate::config::Config;
use crate::log::{ClaimError, CommittedTail, LogError, LogErrorKind};
use crate::owner::begin::Prefer;
use crate::owner::losses::{Loss, loss};
use crate::owner::recover;
use crate::owner::swap::Course;
use crate::replica::PartitionState;
use crate::store::Store;
use crate::store::sled::SledStore;
use crate::time::Stopwatch;
use crate::words::counted;
use others::Others;
use report::{Compared, Folded, Rebuilt, Seal};
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use untold::{NotMade, Untold};

/// What is rebuilt, and how it is told.
#[derive(Debug, clap::Args)]
pub(super) struct What {
    /// Rebuild this partition only; a comparison beside the running server of --data-dir has to name one
    #[arg(long, value_name = "P")]
    partition: Option<u32>,
    /// Have running servers put new states in the place of those in their memory
    ///
    /// Each server folds a new state beside the living one, compares the two, and goes on meanwhile. Then its owner pauses between
    /// two turns until the new one has the last events as well, compares them once more if they differed, and goes on with the new
    /// one. Exit code 1: a state was not that of the log, or was
    /// not replaced. 3: the connection broke; ask again.
    #[arg(long)]
    swap: bool,
    #[command(flatten)]
    others: Others,
    /// Print JSON: one object a line for each partition, and for each server
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    certificate: CertificateFlags,
}

impl What {
    /// What an operator does this to, for the line of the audit log.
    pub(super) fn about(&self) -> String {
        let swap = if self.swap { "swap" } else { "" };
        self.partition
            .map_or_else(|| swap.to_owned(), |partition| format!("{swap} partition {partition}").trim().to_owned())
    }
}

pub(super) fn run(config: &Config, what: &What, out: &mut impl Write) -> Result<Verdict, Failure> {
    let own = what.certificate.read().map_err(Failure::Unusable)?;
    let source = Source::open(config, own.as_ref())?;
    let rebuilt = of(&source, config, what, own.as_ref(), out);
    source.tell_lacks();
    rebuilt
}

fn of(
    source: &Source,
    config: &Config,
    what: &What,
    own: Option<&Certificate>,
    out: &mut impl Write,
) -> Result<Verdict, Failure> {
    let telling = Telling { log_id: source.log_id(), is_json: what.json };
    if what.others.are_named() {
        let named = what.others.servers(source, own)?;
        let (is_fine, untold) = with_servers(config, what, source, (&named.servers, &telling), out)?;
        let can_all = named.tell_earlier(&telling, out)?;
        let are_all = others::all_were_asked(source, named.servers.len(), &telling, out)?;
        return untold.verdict(can_all && are_all && is_fine);
    }
    let _lock = match user(source, &config.data_dir, own)? {
        User::Nobody(_) if what.swap => return Err(not_running(&config.data_dir)),
        User::Nobody(lock) => lock,
        User::Server(server) => {
            if what.partition.is_none() && !what.swap {
                return Err(unnamed(&config.data_dir));
            }
            let (is_fine, untold) = with_servers(config, what, source, (&[*server], &telling), out)?;
            return untold.verdict(is_fine);
        }
    };
    checkpoints(config, what, source, &telling, out)
}

/// Compares the states in the memory of these servers, or has them replaced; returns whether all were those of the log, and the
/// partitions of which that cannot be told.
fn with_servers(
    config: &Config,
    what: &What,
    source: &Source,
    (servers, telling): (&[RunningServer], &Telling),
    out: &mut impl Write,
) -> Result<(bool, Untold), Failure> {
    let folding = (!what.swap).then(|| Folding::new(config, source.tail(), source.log_id())).transpose()?;
    let (mut is_fine, mut untold) = (true, Untold::default());
    for partition in source.partitions(what.partition)? {
        if let Some(folding) = &folding {
            let compared = beside::compare(source, folding, servers, partition, (telling, out));
            is_fine &= untold.made(partition, compared)?.unwrap_or(true);
            continue;
        }
        for server in servers {
            is_fine &= swap::swap(telling.log_id, server, partition, telling.is_json, out)?;
        }
    }
    untold.tell(telling, out)?;
    Ok((is_fine, untold))
}

/// Makes new checkpoints for a server that does not run.
fn checkpoints(
    config: &Config,
    what: &What,
    source: &Source,
    telling: &Telling,
    out: &mut impl Write,
) -> Result<Verdict, Failure> {
    let partitions = source.partitions(what.partition)?;
    let (log_id, tail) = (source.log_id(), source.tail());
    let folding = Folding::new(config, tail, log_id)?;
    let (mut ends, mut untold) = (Vec::new(), Untold::default());
    for partition in partitions {
        let end = untold.made(partition, tail.end(partition).map_err(NotMade::from))?;
        ends.extend(end.map(|end| (partition, end)));
    }
    let store = SledStore::open(&config.data_dir);
    let losses = losses(tail, &store, log_id)?;
    if !losses.is_empty() {
        return Err(Failure::Wrong(format!("nothing was rebuilt: {}", app::told(&losses, log_id))));
    }
    let progress = Progress::new(ends.iter().map(|(_, end)| *end).fold(0, u64::saturating_add));
    let mut rebuilding = Rebuilding { log_id, source, folding, store: &store, progress };
    let (mut is_fine, mut is_any, mut read, mut took) = (true, false, 0u64, Duration::ZERO);
    for (partition, end) in ends {
        let rebuilt = rebuilding.partition(partition, end);
        let Some(rebuilt) = untold.made(partition, rebuilt)? else {
            rebuilding.progress.partition_done(end);
            continue;
        };
        telling.tell(&rebuilt, out)?;
        is_any = true;
        is_fine &= rebuilt.is_fine();
        read = read.saturating_add(rebuilt.folded.read());
        took = took.saturating_add(rebuilt.folded.took);
    }
    rebuilding.progress.finish();
    untold.tell(telling, out)?;
    if is_any && !what.json {
        let seconds = took.as_secs_f64().max(1e-6);
        // The time of reading and applying events. Comparing and writing the states is left out: it depends on their size.
        writeln!(
            out,
            "rebuilt from {} in {seconds:.1} s, {:.0} events/s",
            counted(read, "event"),
            read as f64 / seconds
        )?;
    }
    untold.verdict(is_fine)
}

/// What the log has lost of all that the data directory has seen. A partition without any event has nothing to compare that with.
fn losses(tail: &dyn CommittedTail, store: &SledStore, log_id: u128) -> Result<Vec<Loss>, LogError> {
    let losses = (0..tail.partitions()).map(|partition| match loss(tail, store, log_id, partition) {
        Err(error) if error.kind == LogErrorKind::Emptied => Ok(None),
        told => told,
    });
    losses.filter_map(Result::transpose).collect()
}

/// How reports are told.
struct Telling {
    log_id: u128,
    is_json: bool,
}

impl Telling {
    fn tell(&self, rebuilt: &Rebuilt, out: &mut impl Write) -> Result<(), Failure> {
        let told = if self.is_json { rebuilt.json(self.log_id, out) } else { rebuilt.text(out) };
        told.map_err(Failure::from)
    }

    /// The report of a partition or a server that was not compared, under this name.
    fn not_compared(&self, (name, of): (&str, Value), why: &str) -> Value {
        json!({
            "build": env!("CARGO_PKG_VERSION"),
            "log": format!("{:032x}", self.log_id),
            (name): of,
            "verdict": "not_compared",
            "why": why,
            "fine": false,
        })
    }
}

/// Who uses the data directory.
enum User {
    /// Nobody, and no server can from now on.
    Nobody(Hold),
    /// A running server.
    Server(Box<RunningServer>),
}

fn user(source: &Source, dir: &Path, own: Option<&Certificate>) -> Result<User, Failure> {
    let hold = |held: &Path| {
        let held = std::fs::create_dir_all(held).and_then(|()| Hold::take(held));
        held.map_err(|error| Failure::Unusable(format!("cannot use the data directory {}: {error}", dir.display())))
    };
    let server = || match running_server(dir, own) {
        Ok(server) => Ok(User::Server(Box::new(server))),
        Err(why) => Err(not_answering(dir, &why)),
    };
    match source {
        // The open log keeps servers away, and other commands that read it may be there.
        Source::Directory(_) => {
            let checkpoints = SledStore::open(dir);
            hold(checkpoints.root())?.map(User::Nobody).ok_or_else(|| in_use(checkpoints.root()))
        }
        Source::Server(_) => server(),
        Source::Cluster(_) => hold(dir)?.map(User::Nobody).map_or_else(server, Ok),
    }
}

/// Another process has these checkpoints open.
fn in_use(checkpoints: &Path) -> Failure {
    Failure::Unusable(format!(
        "{} is in use by another process, such as headroom rebuild or headroom verify: try again when that has ended; nothing \
         was changed of it",
        checkpoints.display()
    ))
}

/// No server runs on the data directory, and its state was to be replaced.
fn not_running(dir: &Path) -> Failure {
    Failure::Unusable(format!(
        "no server is running on {}, and --swap replaces the state of a running one: leave it out to make new checkpoints",
        dir.display()
    ))
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
    let (first, seal) = (state.position().next_seq, Seal::of(&state));
    progress.begin_at(first);
    let folded =
        Folded { partition, snapshot, passed_over, first, bytes: 0, took: Duration::ZERO, seal, pools: 0, live: 0 };
    further((folded, state), tail, end, progress)
}

/// Goes on with a new state up to the events before `end`.
fn further(
    (before, state): (Folded, PartitionState),
    tail: &dyn CommittedTail,
    end: u64,
    progress: &mut Progress,
) -> Result<(Folded, PartitionState), ClaimError> {
    let (course, is_over, replaying) = (Course::default(), AtomicBool::new(false), Stopwatch::start());
    let counted = course.counting(tail, &is_over);
    let state = recover::replay_from(&counted, state, end, &mut |reached| progress.reach(reached))?;
    let took = before.took.saturating_add(replaying.elapsed());
    let bytes = before.bytes.saturating_add(course.now().bytes);
    let (seal, pools, live) = (Seal::of(&state), state.pools().count(), state.live_count());
    Ok((Folded { bytes, took, seal, pools, live, ..before }, state))
}

struct Rebuilding<'a> {
    log_id: u128,
    source: &'a Source,
    folding: Folding<'a>,
    store: &'a SledStore,
    progress: Progress,
}

impl Rebuilding<'_> {
    /// Makes a new checkpoint of one partition.
    fn partition(&mut self, partition: u32, end: u64) -> Result<Rebuilt, NotMade> {
        let Rebuilding { log_id, source, store, .. } = *self;
        let tail = source.tail();
        let restarting = Restarting { log_id, tail, store };
        // Only one state at a time is in memory.
        let before = match restarting.restart(partition, end)? {
            Restart::State { from, state } => Ok((from, Seal::of(&state))),
            Restart::Absent => Err((true, "there was none".to_owned())),
            Restart::InUse => return Err(in_use(&store.dir(partition)).into()),
            Restart::Unopened(why) => Err((true, format!("it cannot be opened: {why}"))),
            Restart::Mismatch(why) => Err((true, format!("it did not match the log: {why}"))),
            Restart::Breach(breach) => Err((false, breach.to_string())),
        };
        let folded = fold(&self.folding, tail, (partition, end), &mut self.progress);
        let (folded, mut state) = folded.map_err(|error| left_as_it_was(source, error))?;
        self.progress.partition_done(end);
        // The old checkpoint goes only now: an error before this changes nothing.
        let failed = |error: crate::store::StoreError| Failure::Unusable(error.to_string());
        let why = "rebuilt by command";
        match end {
            0 => store.wipe(partition, why).map_err(failed)?,
            _ => store.replace(&state.draft_checkpoint(log_id).encode(), why).map_err(failed)?,
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
        let old = Compared { what: "old checkpoint", is_fine: Some(is_fine), told };
        let (is_fine, told) = match after {
            Ok(Some(after)) if after == folded.seal => (true, "reads back as the same state".to_owned()),
            Ok(None) if end == 0 => (true, "none, because there are no events".to_owned()),
            other => {
                let why = other.map_or_else(|error| error.detail, |after| format!("it reads back as {after:?}"));
                (false, format!("DIFFERS: {why}"))
            }
        };
        let new = Compared { what: "new checkpoint", is_fine: Some(is_fine), told };
        Ok(Rebuilt { folded, process: None, compared: vec![old, new] })
    }
}

/// The events cannot be applied. That is wrong, and not unusable, because the log could be opened; unless the cluster is slow, a place
/// did not give what has left the log, or nothing covers that.
fn left_as_it_was(source: &Source, error: ClaimError) -> NotMade {
    let told = |why: &dyn std::fmt::Display| format!("{why}; the old checkpoint was left as it was");
    match error {
        ClaimError::Log(error) if error.has_lost_events() => NotMade::Untold(told(&error)),
        ClaimError::Log(error) if source.is_at_fault(&error) => NotMade::Failed(Failure::Wrong(told(&error))),
        ClaimError::Log(error) => NotMade::Failed(Failure::Unusable(told(&error))),
        ClaimError::Breach(breach) => NotMade::Failed(Failure::Wrong(told(&breach))),
    }
}
