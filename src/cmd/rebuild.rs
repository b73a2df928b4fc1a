//! `headroom rebuild`: new checkpoints for a stopped server, from the first event on. The state that the old checkpoint
//! leads to, the one all events lead to, and the one read back from the new checkpoint must have one digest (L7).

mod progress;

use super::source::Source;
use super::state::{Restart, Restarting};
use super::{Failure, Verdict};
use crate::config::Config;
use crate::domain::Digest;
use crate::log::embedded::EmbeddedReader;
use crate::log::{ClaimError, CommittedTail, LogError};
use crate::owner::recover;
use crate::replica::PartitionState;
use crate::store::Store;
use crate::store::sled::SledStore;
use crate::time::{Clock, SystemClock};
use progress::Progress;
use std::io::Write;

pub(super) fn run(config: &Config, out: &mut impl Write) -> Result<Verdict, Failure> {
    let dir = config.data_dir.display();
    let reader = match Source::open(&config.data_dir)? {
        Source::Directory(reader) => reader,
        Source::Server(_) => {
            return Err(Failure::Unusable(format!(
                "a server is running on {dir}: stop it and try again, or let headroom verify compare its states"
            )));
        }
    };
    let clock = SystemClock::new();
    let begun = clock.now();
    let ends = (0..reader.partitions()).map(|partition| reader.end(partition)).collect::<Result<Vec<_>, _>>();
    let events = ends.map_err(unreadable)?.into_iter().fold(0, u64::saturating_add);
    let store = SledStore::open(&config.data_dir);
    let mut rebuilding = Rebuilding { reader: &reader, store: &store, progress: Progress::new(events), out };
    let mut is_fine = true;
    for partition in 0..reader.partitions() {
        is_fine &= rebuilding.partition(partition)?;
    }
    rebuilding.progress.finish();
    let took_us = clock.now().0.saturating_sub(begun.0).max(1);
    let per_second = u128::from(events).saturating_mul(1_000_000) / u128::from(took_us);
    let seconds = std::time::Duration::from_micros(took_us).as_secs_f64();
    writeln!(out, "rebuilt from {events} events in {seconds:.1} s, {per_second} events/s")?;
    Ok(Verdict::fine_if(is_fine))
}

struct Rebuilding<'a, W> {
    reader: &'a EmbeddedReader,
    store: &'a SledStore,
    progress: Progress,
    out: &'a mut W,
}

/// What is compared of a state.
type Seal = (u64, Digest, Digest);

impl<W: Write> Rebuilding<'_, W> {
    /// Whether all three states were the same.
    fn partition(&mut self, partition: u32) -> Result<bool, Failure> {
        let (reader, store) = (self.reader, self.store);
        let restarting = Restarting { log_id: reader.manifest().log_id, tail: reader, store };
        let end = reader.end(partition).map_err(unreadable)?;
        let before = restarting.restart(partition, end).map_err(unreadable)?;
        // Only one state at a time is kept in memory.
        let (before, mut is_fine) = match before {
            Restart::Absent => (Ok("there was none".to_owned()), true),
            Restart::Odd(why) => (Ok(format!("it was of no use: {why}")), true),
            Restart::Breach(breach) => (Ok(breach.to_string()), false),
            Restart::State { from, state } => (Err((from, seal(&state))), true),
        };
        let progress = &mut self.progress;
        let mut state = recover::rebuild(reader, partition, &mut |reached| progress.reach(reached)).map_err(broken)?;
        self.progress.partition_done(end);
        let rebuilt = seal(&state);
        let (pools, live) = (state.pools().count(), state.live().len());
        // The old checkpoint goes only now: whatever was wrong before this has changed nothing.
        let failed = |error: crate::store::StoreError| Failure::Unusable(error.to_string());
        store.wipe(partition, "rebuilt by command").map_err(failed)?;
        if end > 0 {
            store.apply(&state.draft_checkpoint(reader.manifest().log_id).encode()).map_err(failed)?;
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
