//! `headroom rebuild`: makes new checkpoints for a stopped server from the first event on, or from the oldest snapshot that
//! covers the events which the log has lost; on Kafka, up to the end of the log at the start. The state that the old checkpoint leads to, the state after all events, and the state read back from
//! the new checkpoint must have the same digest (L7).

use super::shared::fold::{Folding, described};
use super::shared::progress::Progress;
use super::shared::restart::{Restart, Restarting};
use super::shared::source::{Source, in_use};
use super::{Failure, Verdict};
use crate::app::{self, Hold};
use crate::config::Config;
use crate::domain::Digest;
use crate::log::{ClaimError, CommittedTail};
use crate::owner::begin::Prefer;
use crate::owner::recover;
use crate::replica::PartitionState;
use crate::store::Store;
use crate::store::sled::SledStore;
use crate::time::Stopwatch;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

pub(super) fn run(config: &Config, out: &mut impl Write) -> Result<Verdict, Failure> {
    let source = Source::open(config, None)?;
    let Some(_hold) = hold(&source, &config.data_dir)? else { return Err(in_use(&config.data_dir)) };
    let log_id = source.log_id();
    let tail = source.tail();
    let ends = (0..tail.partitions()).map(|partition| tail.end(partition)).collect::<Result<Vec<_>, _>>();
    let ends = ends?;
    let events = ends.iter().copied().fold(0, u64::saturating_add);
    let store = SledStore::open(&config.data_dir);
    let losses = app::losses(tail, &store, log_id)?;
    if !losses.is_empty() {
        return Err(Failure::Wrong(format!("nothing was rebuilt: {}", app::told(&losses, log_id))));
    }
    let folding = Folding::new(config, tail, log_id)?;
    let (progress, replay) = (Progress::new(events), Duration::ZERO);
    let mut rebuilding = Rebuilding { log_id, tail, folding, store: &store, progress, replay, read: 0, out };
    let mut is_fine = true;
    for (partition, end) in (0..).zip(ends) {
        is_fine &= rebuilding.partition(partition, end)?;
    }
    rebuilding.progress.finish();
    let seconds = rebuilding.replay.as_secs_f64().max(1e-6);
    let events = rebuilding.read;
    // The time of reading and applying events. Comparing and writing the states is left out: it depends on their size.
    writeln!(out, "rebuilt from {events} events in {seconds:.1} s, {:.0} events/s", events as f64 / seconds)?;
    Ok(Verdict::fine_if(is_fine))
}

/// Keeps servers from the data directory of a log on Kafka; `None` when a server uses it. The embedded log is locked by
/// being open.
fn hold(source: &Source, dir: &Path) -> Result<Option<DirectoryLock>, Failure> {
    match source {
        Source::Directory(_) => return Ok(Some(DirectoryLock::ByOpenLog)),
        Source::Server(_) => return Ok(None),
        Source::Cluster(_) => {}
    }
    let held = std::fs::create_dir_all(dir).and_then(|()| Hold::take(dir));
    let held =
        held.map_err(|error| Failure::Unusable(format!("cannot use the data directory {}: {error}", dir.display())))?;
    Ok(held.map(DirectoryLock::Held))
}

/// What keeps servers from the data directory while it is rebuilt.
enum DirectoryLock {
    /// The log is in the directory, and is open.
    ByOpenLog,
    /// The log is elsewhere.
    Held(#[expect(dead_code, reason = "unlocks when dropped")] Hold),
}

struct Rebuilding<'a, W> {
    log_id: u128,
    tail: &'a dyn CommittedTail,
    folding: Folding<'a>,
    store: &'a SledStore,
    progress: Progress,
    /// Events that were read and applied so far.
    read: u64,
    /// Time that reading and applying events has taken so far.
    replay: Duration,
    out: &'a mut W,
}

/// What is compared of two states.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Seal {
    next_seq: u64,
    chain: Digest,
    digest: Digest,
}

/// The old checkpoint of a partition, before it is replaced.
enum Old {
    /// It leads to no state; the text says why.
    Unusable(String),
    /// It was made at `from`, and leads to a state.
    State { from: u64, seal: Seal },
}

impl<W: Write> Rebuilding<'_, W> {
    /// Rebuilds one partition. Returns whether all three states were the same.
    fn partition(&mut self, partition: u32, end: u64) -> Result<bool, Failure> {
        let Rebuilding { log_id, tail, store, .. } = *self;
        let restarting = Restarting { log_id, tail, store };
        let before = restarting.restart(partition, end)?;
        // Only one state at a time is in memory.
        let (before, mut is_fine) = match before {
            Restart::Absent => (Old::Unusable("there was none".to_owned()), true),
            Restart::Mismatch(why) => (Old::Unusable(format!("it did not match the log: {why}")), true),
            Restart::Breach(breach) => (Old::Unusable(breach.to_string()), false),
            Restart::State { from, state } => (Old::State { from, seal: seal(&state) }, true),
        };
        let progress = &mut self.progress;
        let looked = self.folding.begin(partition, Prefer::Oldest).map_err(|error| left_as_it_was(error.into()))?;
        for why in &looked.passed_over {
            writeln!(self.out, "partition {partition}: not used: {why}")?;
        }
        let (state, snapshot) = looked.state(partition);
        if let Some(name) = &snapshot {
            writeln!(
                self.out,
                "partition {partition}: the log has lost its first events; begins with {}",
                described(name, &state)
            )?;
        }
        self.read = self.read.saturating_add(end.saturating_sub(state.position().next_seq));
        let replaying = Stopwatch::start();
        let rebuilt = recover::replay_from(tail, state, end, &mut |reached| progress.reach(reached));
        let mut state = rebuilt.map_err(left_as_it_was)?;
        self.replay = self.replay.saturating_add(replaying.elapsed());
        self.progress.partition_done(end);
        let rebuilt = seal(&state);
        let (pools, live) = (state.pools().count(), state.live_count());
        // The old checkpoint is deleted only now: an error before this changes nothing.
        let failed = |error: crate::store::StoreError| Failure::Unusable(error.to_string());
        store.wipe(partition, "rebuilt by command").map_err(failed)?;
        if end > 0 {
            store.apply(&state.draft_checkpoint(log_id).encode()).map_err(failed)?;
        }
        drop(state);
        let after = restarting.checkpoint(partition).map(|state| state.map(|state| seal(&state)));
        let Seal { chain, digest, .. } = rebuilt;
        writeln!(
            self.out,
            "partition {partition}: {end} events, {pools} pools, {live} live reservations, digest {digest}"
        )?;
        let told = match before {
            Old::Unusable(why) => why,
            Old::State { from, seal } if seal == rebuilt => format!("it was at {from} and led to the same state"),
            Old::State { from, seal: old } => {
                is_fine = false;
                let (old_chain, old) = (old.chain, old.digest);
                format!(
                    "DIFFERS: it was at {from} and led to digest {old} after event {old_chain}, all events lead to \
                     {digest} after {chain}"
                )
            }
        };
        writeln!(self.out, "  old checkpoint: {told}")?;
        let told = match after {
            Ok(Some(after)) if after == rebuilt => "reads back as the same state".to_owned(),
            Ok(None) if end == 0 => "none, because there are no events".to_owned(),
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
    let position = state.position();
    Seal { next_seq: position.next_seq, chain: position.chain, digest: state.digest() }
}

/// The events cannot be applied. That is wrong, and not unusable, because the log could be opened.
fn left_as_it_was(error: ClaimError) -> Failure {
    let why = match error {
        ClaimError::Breach(breach) => breach.to_string(),
        ClaimError::Log(error) => error.to_string(),
    };
    Failure::Wrong(format!("{why}; the old checkpoint was left as it was"))
}
