//! What a person has to say in a log: a partition is taken as an owner takes it, and left when it is said.

use crate::cmd::Failure;
use crate::domain::Micros;
use crate::domain::event::is_reason;
use crate::limits::REASON_CHARS_MAX;
use crate::log::{ClaimError, CommitOutcome, Fold, LogError, OwnedPartition};
use crate::owner::recover::fold_stored;
use crate::owner::{Partition, Staged};
use crate::replica::PartitionState;
use crate::time::{Clock, SystemClock};

/// How often a partition is taken: servers that cannot go on try to take it all the time.
const TRIES: u32 = 20;

/// A reason as it is given on the command line.
pub(in crate::cmd) fn reason(text: &str) -> Result<String, String> {
    let wrong = || format!("not 1 to {REASON_CHARS_MAX} characters on one line");
    is_reason(text).then(|| text.to_owned()).ok_or_else(wrong)
}

/// Takes the partition of this state, and again when a server took it back, until `say` answers that all is said.
pub(in crate::cmd) fn take<O>(
    state: &mut PartitionState,
    mut claim: impl FnMut(u64, &mut Fold<'_>) -> Result<O, ClaimError>,
    mut say: impl FnMut(O, &mut PartitionState) -> Result<bool, Failure>,
) -> Result<(), Failure> {
    let partition = state.partition();
    for _ in 0..TRIES {
        let from = state.position().next_seq;
        match claim(from, &mut |event| fold_stored(state, &event).map(|(next_input, _)| next_input)) {
            Ok(owned) => {
                if say(owned, state)? {
                    return Ok(());
                }
            }
            Err(ClaimError::Log(error)) => {
                tracing::info!(partition, %error, "the partition was not taken; trying again");
            }
            Err(breach) => return Err(broken(breach)),
        }
    }
    Err(Failure::Unusable(format!("servers took partition {partition} back {TRIES} times: stop them and try again")))
}

/// The two turns of an owner that has nothing else to say; answers whether both are in the log.
pub(in crate::cmd) fn say(
    mut owned: impl OwnedPartition,
    partitions: u32,
    state: &mut PartitionState,
    what: impl FnOnce(&Partition, &PartitionState, Micros) -> Staged,
) -> Result<bool, Failure> {
    let (owner, clock) = (Partition::claim(state, partitions), SystemClock::new());
    let mut commit = |state: &mut PartitionState, staged: Staged| {
        let outcome = owned.commit(staged.turn());
        owner.conclude(state, staged, outcome).map_err(|breach| Failure::Wrong(breach.to_string()))?;
        Ok::<_, Failure>(outcome == CommitOutcome::Ok)
    };
    let barrier = owner.barrier(state, nonce(), clock.now());
    if !commit(state, barrier)? {
        return Ok(false);
    }
    let said = what(&owner, state, clock.now());
    commit(state, said)
}

#[expect(clippy::disallowed_methods, reason = "a claim is told from others by a number that nobody else draws")]
fn nonce() -> u64 {
    rand::random()
}

pub(in crate::cmd) fn unusable(error: LogError) -> Failure {
    Failure::Unusable(error.to_string())
}

pub(in crate::cmd) fn broken(error: ClaimError) -> Failure {
    match error {
        ClaimError::Breach(breach) => Failure::Wrong(breach.to_string()),
        ClaimError::Log(error) => unusable(error),
    }
}
