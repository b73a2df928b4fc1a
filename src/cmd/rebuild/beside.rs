//! A new state beside those in the memory of running servers: all have folded the same events, and must have the same digest.

use super::report::{Compared, Process, Rebuilt, Seal};
use super::untold::NotMade;
use super::{Folding, Telling, fold, further};
use crate::client::internal::LiveState;
use crate::client::running::RunningServer;
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
) -> Result<bool, NotMade> {
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
    let Seal { next_seq: new_next, chain: new_chain, digest: new } = log;
    let is_same = (*next_seq, chain, digest) == (new_next, &new_chain.to_string(), &new.to_string());
    let (is_fine, told) = match next_seq.checked_sub(1) {
        _ if new_next > *next_seq => (
            None,
            format!(
                "not compared: its next event is seq {next_seq}, and that of the oldest snapshot is seq {new_next}"
            ),
        ),
        _ if !is_same => (
            Some(false),
            format!("DIFFERS: it has digest {digest} after event {chain}, the log leads to {new} after {new_chain}"),
        ),
        None => (Some(true), "the same, before the first event".to_owned()),
        Some(last) => (Some(true), format!("the same after event {last}")),
    };
    Compared { what: "live state", is_fine, told }
}

#[cfg(test)]
mod tests {
    use super::super::report::{Folded, Rebuilt};
    use super::*;
    use crate::domain::Digest;

    /// A state that is behind what the log and its snapshots lead to is no difference.
    #[test]
    fn a_state_is_the_same_or_different_or_was_not_compared() {
        let seal = Seal { next_seq: 8, chain: Digest([1; 16]), digest: Digest([2; 16]) };
        for (next_seq, digest, verdict) in [(8, 2, "same"), (8, 3, "different"), (7, 3, "not_compared")] {
            let (chain, digest) = (seal.chain.to_string(), Digest([digest; 16]).to_string());
            let state = LiveState { next_seq, chain, digest, status: "follower".to_owned() };
            let folded = Folded {
                partition: 0,
                snapshot: None,
                passed_over: Vec::new(),
                first: 0,
                bytes: 0,
                took: Duration::ZERO,
                seal,
                pools: 0,
                live: 0,
            };
            let rebuilt = Rebuilt { folded, process: None, compared: vec![judged(&state, seal)] };
            let mut out = Vec::new();
            rebuilt.json(7, &mut out).unwrap();
            let told: serde_json::Value = serde_json::from_slice(&out).unwrap();
            assert_eq!((&told["verdict"], &told["fine"]), (&verdict.into(), &(verdict == "same").into()));
        }
    }
}
