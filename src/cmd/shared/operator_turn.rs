//! Events that an operator adds to a log: a command claims the partition as an owner does, commits the event, and leaves
//! the partition to its owners.

use crate::cmd::Failure;
use crate::domain::Micros;
use crate::domain::event::is_reason;
use crate::limits::REASON_CHARS_MAX;
use crate::log::{ClaimError, CommitOutcome, FeatureLevel, Fold, LogErrorKind, OwnedPartition};
use crate::owner::recover::fold_stored;
use crate::owner::{Partition, Staged};
use crate::replica::PartitionState;
use crate::time::{Clock, SystemClock};

/// Attempts to claim a partition. Servers that run meanwhile claim it again and again.
const TRIES: u32 = 20;

/// Parses the reason that an operator gives on the command line.
pub(in crate::cmd) fn reason(text: &str) -> Result<String, String> {
    let wrong = || format!("give 1 to {REASON_CHARS_MAX} characters on one line");
    is_reason(text).then(|| text.to_owned()).ok_or_else(wrong)
}

/// Claims the partition of this state, and claims it again when a server has taken it back, until `commit` returns true:
/// everything is in the log. Where the last claim failed, it says why.
pub(in crate::cmd) fn claim_until_committed<O>(
    state: &mut PartitionState,
    mut claim: impl FnMut(u64, &mut Fold<'_>) -> Result<O, ClaimError>,
    mut commit: impl FnMut(O, &mut PartitionState) -> Result<bool, Failure>,
) -> Result<(), Failure> {
    let (partition, mut failed) = (state.partition(), None);
    for _ in 0..TRIES {
        let from = state.position().next_seq;
        match claim(from, &mut |event| fold_stored(state, &event).map(|_| state.position().next_input)) {
            Ok(owned) => {
                if commit(owned, state)? {
                    return Ok(());
                }
                failed = None;
            }
            Err(ClaimError::Log(error)) => {
                tracing::info!(partition, %error, "the partition could not be claimed; trying again");
                failed = Some(error);
            }
            Err(breach) => return Err(breach.into()),
        }
    }
    Err(Failure::Unusable(match failed {
        Some(error) if error.kind != LogErrorKind::Superseded => {
            format!("partition {partition} could not be claimed: {error}")
        }
        _ => format!("servers claimed partition {partition} back {TRIES} times: stop them and try again"),
    }))
}

/// Commits the first turn of an owner, the Barrier. Returns whether it is in the log; when it is not, the partition has another
/// owner.
pub(in crate::cmd) fn commit_barrier(
    mut owned: impl OwnedPartition,
    (partitions, level): (u32, FeatureLevel),
    state: &mut PartitionState,
) -> Result<bool, Failure> {
    let owner = Partition::claim(state, partitions).writing(level);
    let barrier = owner.barrier(state, nonce(), SystemClock::new().now());
    commit(&mut owned, &owner, state, barrier)
}

/// Commits the two turns of an owner that adds one event: the Barrier, and the event that `stage` makes. Returns whether
/// both are in the log; when they are not, the partition has another owner.
pub(in crate::cmd) fn commit_event(
    mut owned: impl OwnedPartition,
    (partitions, level): (u32, FeatureLevel),
    state: &mut PartitionState,
    stage: impl FnOnce(&Partition, &PartitionState, Micros) -> Staged,
) -> Result<bool, Failure> {
    let (owner, clock) = (Partition::claim(state, partitions).writing(level), SystemClock::new());
    let barrier = owner.barrier(state, nonce(), clock.now());
    if !commit(&mut owned, &owner, state, barrier)? {
        return Ok(false);
    }
    let event = stage(&owner, state, clock.now());
    commit(&mut owned, &owner, state, event)
}

fn commit(
    owned: &mut impl OwnedPartition,
    owner: &Partition,
    state: &mut PartitionState,
    staged: Staged,
) -> Result<bool, Failure> {
    let outcome = owned.commit(staged.turn());
    owner.conclude(state, staged, outcome).map_err(|breach| Failure::Wrong(breach.to_string()))?;
    Ok(outcome == CommitOutcome::Ok)
}

#[expect(clippy::disallowed_methods, reason = "a random number tells this claim from all others")]
fn nonce() -> u64 {
    rand::random()
}

impl From<ClaimError> for Failure {
    /// A log that breaks a law is wrong; one that cannot be read is unusable.
    fn from(error: ClaimError) -> Failure {
        match error {
            ClaimError::Breach(breach) => Failure::Wrong(breach.to_string()),
            ClaimError::Log(error) => error.into(),
        }
    }
}
