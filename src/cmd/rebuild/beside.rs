//! A new state beside that of a running server: both have folded the same events, and must have the same digest.

use super::report::{Compared, Rebuilt, Seal};
use super::{Folding, fold};
use crate::client::internal::LiveState;
use crate::client::running::RunningServer;
use crate::cmd::Failure;
use crate::cmd::shared::progress::Progress;
use crate::cmd::shared::source::Source;
use crate::time::{Stopwatch, pause};
use std::time::Duration;

/// For how long readers of a cluster may not see what a server has committed.
const SEEN_WITHIN: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Folds the partition's events up to where the server's state is, and compares the two.
pub(super) fn compare(
    source: &Source,
    folding: &Folding<'_>,
    server: &RunningServer,
    partition: u32,
) -> Result<Rebuilt, Failure> {
    // The state is read first: everything in it is committed by then, and the log only grows.
    let LiveState { next_seq, chain, digest } = server.state(partition)?;
    let asked = Stopwatch::start();
    while source.tail().end(partition)? < next_seq && asked.elapsed() < SEEN_WITHIN {
        pause(LOOK_EVERY);
    }
    let mut progress = Progress::new(next_seq);
    let folded = fold(folding, source.tail(), (partition, next_seq), &mut progress);
    progress.finish();
    let (folded, _) = folded?;
    let Seal { chain: new_chain, digest: new, .. } = folded.seal;
    let is_fine = (&chain, &digest) == (&new_chain.to_string(), &new.to_string());
    let told = match next_seq.checked_sub(1) {
        _ if !is_fine => {
            format!("DIFFERS: it has digest {digest} after event {chain}, the log leads to {new} after {new_chain}")
        }
        None => "the same, before the first event".to_owned(),
        Some(last) => format!("the same after event {last}"),
    };
    Ok(Rebuilt { folded, compared: vec![Compared { what: "live state", is_fine, told }] })
}
