//! A new state beside those in the memory of running servers: all have folded the same events, and must have the same digest.

use super::report::{Compared, Process, Rebuilt, Seal};
use super::{Folding, Telling, fold, further};
use crate::client::internal::LiveState;
use crate::client::running::RunningServer;
use crate::cmd::Failure;
use crate::cmd::shared::progress::Progress;
use crate::cmd::shared::source::Source;
use crate::time::{Stopwatch, pause};
use std::io::Write;
use std::time::Duration;

/// For how long readers of a cluster may not see what a server has committed.
const SEEN_WITHIN: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Folds the partition's events once, and compares the new state with that of each server where that server is; returns
/// whether all are the same.
pub(super) fn compare(
    source: &Source,
    folding: &Folding<'_>,
    servers: &[RunningServer],
    partition: u32,
    (telling, out): (&Telling, &mut impl Write),
) -> Result<bool, Failure> {
    // The states are read first: everything in them is committed by then, and the log only grows.
    let mut living = Vec::new();
    for server in servers {
        living.push((server.version()?, server.state(partition)?, server));
    }
    living.sort_by_key(|(_, state, _)| state.next_seq);
    let last = living.last().map_or(0, |(_, state, _)| state.next_seq);
    let asked = Stopwatch::start();
    while source.tail().end(partition)? < last && asked.elapsed() < SEEN_WITHIN {
        pause(LOOK_EVERY);
    }
    let (mut progress, mut is_fine) = (Progress::new(last), true);
    let mut so_far = None;
    for (build, state, server) in living {
        let tail = source.tail();
        let (folded, fresh) = match so_far.take() {
            None => fold(folding, tail, (partition, state.next_seq), &mut progress)?,
            Some(before) => further(before, tail, state.next_seq, &mut progress)?,
        };
        let process = Some(Process { base: server.base().to_owned(), build, status: state.status.clone() });
        let rebuilt = Rebuilt { folded: folded.clone(), process, compared: vec![judged(&state, folded.seal)] };
        telling.tell(&rebuilt, out)?;
        is_fine &= rebuilt.is_fine();
        so_far = Some((folded, fresh));
    }
    progress.finish();
    Ok(is_fine)
}

fn judged(LiveState { next_seq, chain, digest, .. }: &LiveState, log: Seal) -> Compared {
    let is_fine = (*next_seq, chain, digest) == (log.next_seq, &log.chain.to_string(), &log.digest.to_string());
    let told = match next_seq.checked_sub(1) {
        _ if log.next_seq > *next_seq => {
            format!(
                "not compared: its next event is seq {next_seq}, and that of the oldest snapshot is seq {}",
                log.next_seq
            )
        }
        _ if !is_fine => {
            let Seal { chain: new_chain, digest: new, .. } = log;
            format!("DIFFERS: it has digest {digest} after event {chain}, the log leads to {new} after {new_chain}")
        }
        None => "the same, before the first event".to_owned(),
        Some(last) => format!("the same after event {last}"),
    };
    Compared { what: "live state", is_fine, told }
}
