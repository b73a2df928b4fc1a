//! `headroom rebuild`: new checkpoints for a stopped server, from the first event on; on a cluster, as far as the log went
//! when it was begun. The state that the old checkpoint
//! leads to, the one all events lead to, and the one read back from the new checkpoint must have one digest (L7).

mod progress;

use super::shared::restart::{Restart, Restarting};
use super::shared::source::Source;
use super::{Failure, Verdict};
use crate::app::{self, Hold};
use crate::config::Config;
use crate::domain::Digest;
use crate::log::{ClaimError, CommittedTail, LogError};
use crate::owner::recover;
use crate::replica::PartitionState;
use crate::store::Store;
use crate::store::sled::SledStore;
use crate::time::Stopwatch;
use progress::Progress;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

pub(super) fn run(config: &Config, out: &mut impl Write) -> Result<Verdict, Failure> {
    let source = Source::open(config)?;
    let (Some(log_id), Some(_hold)) = (source.log_id(), hold(&source, &config.data_dir)?) else {
        let dir = config.data_dir.display();
        return Err(Failure::Unusable(format!(
            "a server is running on {dir}: stop it and try again, or let headroom verify compare its states"
        )));
    };
    let tail = source.tail();
    let ends = (0..tail.partitions()).map(|partition| tail.end(partition)).collect::<Result<Vec<_>, _>>();
    let ends = ends.map_err(unreadable)?;
    let events = ends.iter().copied().fold(0, u64::saturating_add);
    let store = SledStore::open(&config.data_dir);
    let losses = app::losses(tail, &store, log_id).map_err(unreadable)?;
    if !losses.is_empty() {
        return Err(Failure::Wrong(format!("nothing was rebuilt: {}", app::told(&losses, log_id))));
    }
    let (progress, replay) = (Progress::new(events), Duration::ZERO);
    let mut rebuilding = Rebuilding { log_id, tail, store: &store, progress, replay, out };
    let mut is_fine = true;
    for (partition, end) in (0..).zip(ends) {
        is_fine &= rebuilding.partition(partition, end)?;
    }
    rebuilding.progress.finish();
    let seconds = rebuilding.replay.as_secs_f64().max(1e-6);
    // Reading and folding alone: what is compared and written for it takes as long as the state is large.
    writeln!(out, "rebuilt from {events} events in {seconds:.1} s, {:.0} events/s", events as f64 / seconds)?;
    Ok(Verdict::fine_if(is_fine))
}

/// Keeps others from the directory of a log that is elsewhere; `None` when one is there already.
fn hold(source: &Source, dir: &Path) -> Result<Option<Option<Hold>>, Failure> {
    if !matches!(source, Source::Cluster(_)) {
        return Ok(Some(None));
    }
    let held = std::fs::create_dir_all(dir).and_then(|()| Hold::take(dir));
    let held = held.map_err(|error| Failure::Unusable(format!("cannot use {}: {error}", dir.display())))?;
    Ok(held.map(Some))
}

struct Rebuilding<'a, W> {
    log_id: u128,
    tail: &'a dyn CommittedTail,
    store: &'a SledStore,
    progress: Progress,
    /// Time that reading and folding took.
    replay: Duration,
    out: &'a mut W,
}

/// What is compared of a state.
type Seal = (u64, Digest, Digest);

impl<W: Write> Rebuilding<'_, W> {
    /// Whether all three states were the same.
    fn partition(&mut self, partition: u32, end: u64) -> Result<bool, Failure> {
        let Rebuilding { log_id, tail, store, .. } = *self;
        let restarting = Restarting { log_id, tail, store };
        let before = restarting.restart(partition, end).map_err(unreadable)?;
        // Only one state at a time is kept in memory.
        let (before, mut is_fine) = match before {
            Restart::Absent => (Ok("there was none".to_owned()), true),
            Restart::Odd(why) => (Ok(format!("it was of no use: {why}")), true),
            Restart::Breach(breach) => (Ok(breach.to_string()), false),
            Restart::State { from, state } => (Err((from, seal(&state))), true),
        };
        let progress = &mut self.progress;
        let replaying = Stopwatch::start();
        let rebuilt = recover::rebuild(tail, partition, end, &mut |reached| progress.reach(reached));
        let mut state = rebuilt.map_err(broken)?;
        self.replay = self.replay.saturating_add(replaying.elapsed());
        self.progress.partition_done(end);
        let rebuilt = seal(&state);
        let (pools, live) = (state.pools().count(), state.live().len());
        // The old checkpoint goes only now: whatever was wrong before this has changed nothing.
        let failed = |error: crate::store::StoreError| Failure::Unusable(error.to_string());
        store.wipe(partition, "rebuilt by command").map_err(failed)?;
        if end > 0 {
            store.apply(&state.draft_checkpoint(log_id).encode()).map_err(failed)?;
        }
        drop(state);
        let after = restarting.checkpoint(partition).map(|state| state.map(|state| seal(&state)));
        let (_, chain, digest) = rebuilt;
        writeln!(self.out, "partition {partition}: {end} events, {pools} pools, {live} live, digest {digest}")?;
        let told = match before {
            Ok(text) => text,
            Err((from, before)) if before == rebuilt => format!("it was at {from} and led to the same state"),
            Err((from, (_, old_chain, old))) => {
                is_fine = false;
                format!(
                    "DIFFERS: it was at {from} and led to {old} after {old_chain}, all events to {digest} after {chain}"
                )
            }
        };
        writeln!(self.out, "  old checkpoint: {told}")?;
        let told = match after {
            Ok(Some(after)) if after == rebuilt => "reads back as the same state".to_owned(),
            Ok(None) if end == 0 => "none, there is nothing to keep".to_owned(),
            other => {
                is_fine = false;
                format!("DIFFERS: {}", other.map_or_else(|why| why, |after| format!("it reads back as {after:?}")))
            }
        };
        writeln!(self.out, "  new checkpoint: {told}")?;
        self.out.flush()?;
        Ok(is_fine)
    }
}

fn seal(state: &PartitionState) -> Seal {
    (state.position().next_seq, state.position().chain, state.digest())
}

fn unreadable(error: LogError) -> Failure {
    Failure::Unusable(error.to_string())
}

/// A log that does not fold is wrong, whoever asks.
fn broken(error: ClaimError) -> Failure {
    match error {
        ClaimError::Breach(breach) => Failure::Wrong(format!("{breach}; the old checkpoint is as it was")),
        ClaimError::Log(error) => Failure::Wrong(format!("{error}; the old checkpoint is as it was")),
    }
}
