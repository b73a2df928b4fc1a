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
    let partition = state.partition();
    let mut unclaimed = None;
    for _ in 0..TRIES {
        let from = state.position().next_seq;
        match claim(from, &mut |event| fold_stored(state, &event).map(|_| state.position().next_input)) {
            Ok(owned) => {
                if commit(owned, state)? {
                    return Ok(());
                }
                unclaimed = None;
            }
            // Each further attempt would fence the owner that there may be, and come to the same.
            Err(ClaimError::Log(error)) if error.needs_operator() => return Err(error.into()),
            Err(ClaimError::Log(error)) => {
                tracing::info!(partition, %error, "the partition could not be claimed; trying again");
                unclaimed = Some(error);
            }
            Err(breach) => return Err(breach.into()),
        }
    }
    Err(Failure::Unusable(match unclaimed {
        Some(error) if error.kind != LogErrorKind::Superseded => format!(
            "partition {partition} could not be claimed in {TRIES} attempts, the last time because of this: {error}; where \
             servers run, stop them and try again"
        ),
        _ => format!("servers claimed partition {partition} back {TRIES} times: stop them and try again"),
    }))
}

/// Commits the first turn of an owner, the Barrier. Returns whether it is in the log; when it is not, the partition has another
/// owner.
///
/// # Errors
/// Those of [`trusted_clock`].
pub(in crate::cmd) fn commit_barrier(
    mut owned: impl OwnedPartition,
    (partitions, level): (u32, FeatureLevel),
    state: &mut PartitionState,
) -> Result<bool, Failure> {
    let (owner, clock) = (Partition::claim(state, partitions).writing(level), trusted_clock(&owned)?);
    let barrier = owner.barrier(state, nonce(), clock.now());
    commit(&mut owned, &owner, state, barrier)
}

/// Commits the two turns of an owner that adds one event: the Barrier, and the event that `stage` makes. Returns whether
/// both are in the log; when they are not, the partition has another owner.
///
/// # Errors
/// Those of [`trusted_clock`].
pub(in crate::cmd) fn commit_event(
    mut owned: impl OwnedPartition,
    (partitions, level): (u32, FeatureLevel),
    state: &mut PartitionState,
    stage: impl FnOnce(&Partition, &PartitionState, Micros) -> Staged,
) -> Result<bool, Failure> {
    let (owner, clock) = (Partition::claim(state, partitions).writing(level), trusted_clock(&owned)?);
    let barrier = owner.barrier(state, nonce(), clock.now());
    if !commit(&mut owned, &owner, state, barrier)? {
        return Ok(false);
    }
    let event = stage(&owner, state, clock.now());
    commit(&mut owned, &owner, state, event)
}

/// The clock of this machine. By the time of the events that a command adds, holds expire and pools retire from then on.
///
/// # Errors
/// [`Failure`] where the log has a clock of its own that is far from this one: as with a server, nothing is decided then.
fn trusted_clock(owned: &impl OwnedPartition) -> Result<SystemClock, Failure> {
    let clock = SystemClock::new();
    match owned.stamp().map(|stamp| clock.offset(&stamp)).filter(|offset| offset.is_far()) {
        None => Ok(clock),
        Some(offset) => Err(Failure::Unusable(format!(
            "{offset}: nothing more was recorded; correct the clock, or run this command on a machine whose clock is right"
        ))),
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{LogError, Polled, StoredCommand, Turn};
    use crate::time::{Stamp, Stopwatch};
    use std::sync::Arc;
    use std::time::Duration;

    /// An owner in a log whose own clock shows this time, or that has none. It takes every turn and counts them.
    struct Counting<'a> {
        shown: Option<Micros>,
        turns: &'a mut usize,
    }

    impl OwnedPartition for Counting<'_> {
        fn poll(&mut self, _: &mut Vec<StoredCommand>, _: Duration) -> Result<Polled, LogError> {
            Ok(Polled::Closed)
        }

        fn stamp(&self) -> Option<Stamp> {
            self.shown.map(|shown| Stamp::new(shown, Stopwatch::start()))
        }

        fn commit(&mut self, _: Arc<Turn>) -> CommitOutcome {
            *self.turns += 1;
            CommitOutcome::Ok
        }
    }

    /// What became of an event that gives up a command, and how many turns were committed.
    fn given_up(shown: Option<Micros>) -> (Result<bool, String>, usize) {
        let (mut state, mut turns) = (PartitionState::new(0), 0);
        let owned = Counting { shown, turns: &mut turns };
        let shape = (1, FeatureLevel::default());
        let done = commit_event(owned, shape, &mut state, |owner, state, now| owner.lost(state, 1, "gone", now));
        (done.map_err(|failure| failure.to_string()), turns)
    }

    /// The story: an operator runs `headroom commands skip` on a machine whose clock is ahead. The partition would be
    /// in the future from then on, and every hold that ends before that would expire at once.
    #[test]
    fn nothing_is_recorded_by_a_clock_that_is_far_from_the_brokers() {
        let hour_us = 3_600_000_000;
        let now = SystemClock::new().now();
        assert_eq!(given_up(None), (Ok(true), 2));
        assert_eq!(given_up(Some(now)), (Ok(true), 2));
        for (shown, says) in [(now.0 - hour_us, "s ahead of its broker's"), (now.0 + hour_us, "s behind its broker's")]
        {
            let (done, turns) = given_up(Some(Micros(shown)));
            let told = done.unwrap_err();
            assert!(told.contains("clock_disagrees") && told.contains(says), "{told}");
            assert_eq!(turns, 0, "{told}");
        }
    }

    /// How a command ends whose claims come to this, and how many there were.
    fn claims(error: &LogError) -> (String, u32) {
        let mut count = 0;
        let claim = |_: u64, _: &mut Fold<'_>| -> Result<(), ClaimError> {
            count += 1;
            Err(error.clone().into())
        };
        let ended = claim_until_committed(&mut PartitionState::new(3), claim, |(), _| Ok(true));
        (ended.unwrap_err().to_string(), count)
    }

    /// The story: the user of a command may not do what the claim does. It was told that servers had the partition, when
    /// none ran.
    #[test]
    fn a_claim_that_an_operator_has_to_make_possible_is_told_and_not_tried_again() {
        let denied = LogError::operator("h.commands/3: Write is not allowed");
        assert_eq!(claims(&denied), (denied.detail.clone(), 1));
        let (told, count) = claims(&LogError::transient("h.events/3 does not answer"));
        assert_eq!(count, TRIES);
        assert!(told.contains("h.events/3 does not answer") && !told.contains("servers claimed"), "{told}");
    }

    #[test]
    fn a_partition_that_is_taken_back_each_time_is_the_servers() {
        let claim = |_: u64, _: &mut Fold<'_>| -> Result<(), ClaimError> { Ok(()) };
        let ended = claim_until_committed(&mut PartitionState::new(3), claim, |(), _| Ok(false));
        let told = ended.unwrap_err().to_string();
        assert!(told.contains("servers claimed partition 3 back 20 times"), "{told}");
    }
}
