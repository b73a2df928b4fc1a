//! Which partitions this process owns, claims or gives up: a sans-IO machine. The group says which partitions it should
//! own, owners say how they ended, and ticks say what time it is. The outputs are the things to do. Two processes may
//! both believe that they own a partition. That does no harm, because the log lets only one of them write.
//!
//! When the group takes a partition away, its owner here serves on until the next owner fences it, because the group
//! needs a second to assign the partition again. An owner that does not serve yet stops at once.
//!
//! When the group is out of reach, its last assignment is presumed to hold: an owner goes on until the group answers
//! again, or until another owner fences it.
//!
//! When an owner failed or was fenced, the partition is claimed again for as long as the group assigns it to this
//! process, after a pause that grows. Being fenced does not prove that there is another owner: an owner whose own
//! transaction timed out gets the same error.

use crate::domain::Micros;
use crate::limits::{CLAIM_FENCED_MS, CLAIM_RETRY_MAX_MS, CLAIM_RETRY_MS, CLAIM_STEADY_MS};
use crate::time::retry_ms;
use std::collections::BTreeMap;

/// Why an owner ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// It was asked to stop, and has finished its turn.
    Stopped,
    /// The log accepts nothing from it any more.
    Fenced,
    /// It could not claim the partition, or does not know whether a turn was committed.
    Retry,
    /// A law is broken, or its state cannot be rebuilt: the partition is not to be served by this process again.
    Failed,
}

/// What happened to a partition or to the process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Input {
    /// The group gives the partition to this process.
    Assigned(u32),
    /// The group takes the partition away.
    Revoked {
        /// The partition's number.
        partition: u32,
        /// Whether its owner here is Active: then it serves on until the next owner fences it.
        is_served: bool,
    },
    /// The group was out of reach for so long that it may have given the partition to another process.
    Lost(u32),
    /// Its owner in this process ended.
    Ended(u32, Ended),
    /// Some time has passed: a pause may be over.
    Tick,
    /// The process is to end.
    Shutdown,
}

/// What the shell is to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Output {
    /// Make an owner of the partition. It ends with [`Input::Ended`].
    Claim(u32),
    /// Have the partition's owner finish its turn and end.
    Stop(u32),
    /// Have the partition's owner end when it sees that another has the partition.
    Yield(u32),
    /// This process has given the partition up: the group may give it to another.
    Released(u32),
    /// The log has no such partition: an operator has to know.
    Unknown(u32),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Assignment {
    /// The partition has no owner here.
    Vacant,
    /// The partition is claimed when this time comes.
    Waiting { at: Micros },
    /// The partition has an owner here since this time.
    Taken { since: Micros, is_stopping: bool },
    /// This process does not own the partition again until it is restarted.
    Failed,
}

#[derive(Clone, Copy, Debug)]
struct AssignmentSlot {
    is_assigned: bool,
    /// Whether the group is out of reach, so that its last assignment is presumed to hold.
    is_presumed: bool,
    assignment: Assignment,
    /// How many owners in a row ended soon after they began.
    failures: u32,
}

/// The machine: the partitions that the group gave to this process, and their owners.
#[derive(Clone, Debug)]
pub struct Ownership {
    partitions: u32,
    slots: BTreeMap<u32, AssignmentSlot>,
    is_closing: bool,
}

impl Ownership {
    /// The machine for a log with this many partitions; nothing is assigned yet.
    pub fn new(partitions: u32) -> Ownership {
        Ownership { partitions, slots: BTreeMap::new(), is_closing: false }
    }

    /// Takes an input; answers what is to be done, in order.
    pub fn handle(&mut self, input: Input, now: Micros) -> Vec<Output> {
        match input {
            Input::Assigned(partition) if self.is_unknown(partition) => vec![Output::Unknown(partition)],
            Input::Revoked { partition, .. } | Input::Lost(partition) if self.is_unknown(partition) => {
                vec![Output::Released(partition)]
            }
            Input::Assigned(partition) => self.assigned(partition, now),
            Input::Revoked { partition, is_served } => self.revoked(partition, is_served),
            Input::Lost(partition) => self.lost(partition),
            Input::Ended(partition, how) => self.ended(partition, how, now),
            Input::Tick => self.tick(now),
            Input::Shutdown => self.shutdown(),
        }
    }

    /// When [`Input::Tick`] has something to do next.
    pub fn next_due(&self) -> Option<Micros> {
        let due = |slot: &AssignmentSlot| match slot.assignment {
            Assignment::Waiting { at } => Some(at),
            _ => None,
        };
        self.slots.values().filter_map(due).min()
    }

    /// Partitions that the group gave to this process before it was out of reach. When it answers again it names those
    /// that stay: the others are revoked.
    pub fn presumed(&self) -> Vec<u32> {
        self.slots.iter().filter(|(_, slot)| slot.is_presumed).map(|(partition, _)| *partition).collect()
    }

    /// Whether no partition has an owner here.
    pub fn is_idle(&self) -> bool {
        !self.slots.values().any(|slot| matches!(slot.assignment, Assignment::Taken { .. }))
    }

    /// The group assigns the partitions of its topic, which may have more of them than the log was created with.
    fn is_unknown(&self, partition: u32) -> bool {
        partition >= self.partitions
    }

    fn slot(&mut self, partition: u32) -> &mut AssignmentSlot {
        self.slots.entry(partition).or_insert(AssignmentSlot {
            is_assigned: false,
            is_presumed: false,
            assignment: Assignment::Vacant,
            failures: 0,
        })
    }

    fn assigned(&mut self, partition: u32, now: Micros) -> Vec<Output> {
        let is_closing = self.is_closing;
        let slot = self.slot(partition);
        (slot.is_assigned, slot.is_presumed) = (true, false);
        if is_closing || slot.assignment != Assignment::Vacant {
            return Vec::new();
        }
        slot.assignment = Assignment::Taken { since: now, is_stopping: false };
        vec![Output::Claim(partition)]
    }

    fn revoked(&mut self, partition: u32, is_served: bool) -> Vec<Output> {
        let slot = self.slot(partition);
        (slot.is_assigned, slot.is_presumed) = (false, false);
        match &mut slot.assignment {
            Assignment::Taken { is_stopping: true, .. } => Vec::new(),
            Assignment::Taken { .. } if is_served => vec![Output::Yield(partition), Output::Released(partition)],
            Assignment::Taken { is_stopping, .. } => {
                *is_stopping = true;
                vec![Output::Stop(partition)]
            }
            Assignment::Vacant | Assignment::Waiting { .. } => {
                slot.assignment = Assignment::Vacant;
                vec![Output::Released(partition)]
            }
            Assignment::Failed => vec![Output::Released(partition)],
        }
    }

    fn lost(&mut self, partition: u32) -> Vec<Output> {
        let slot = self.slot(partition);
        slot.is_presumed = slot.is_assigned;
        vec![Output::Released(partition)]
    }

    fn ended(&mut self, partition: u32, how: Ended, now: Micros) -> Vec<Output> {
        let is_closing = self.is_closing;
        let slot = self.slot(partition);
        let Assignment::Taken { since, .. } = slot.assignment else { return Vec::new() };
        slot.assignment = Assignment::Vacant;
        if how == Ended::Failed {
            slot.assignment = Assignment::Failed;
        }
        // An owner that is fenced while the group is out of reach has been replaced.
        slot.is_assigned &= !(slot.is_presumed && how == Ended::Fenced);
        if !slot.is_assigned || is_closing {
            return vec![Output::Released(partition)];
        }
        if slot.assignment == Assignment::Failed {
            return Vec::new();
        }
        let was_steady = now.ms_since(since) >= CLAIM_STEADY_MS;
        slot.failures = if was_steady { 0 } else { slot.failures.saturating_add(1) };
        // The partition is claimed again at once when its owner only had to stop for a moment, or had been steady for
        // long. After a fenced owner there is always a pause: the group may have given the partition to another
        // process.
        if how == Ended::Stopped || (how != Ended::Fenced && slot.failures == 0) {
            slot.assignment = Assignment::Taken { since: now, is_stopping: false };
            return vec![Output::Claim(partition)];
        }
        let least_ms = if how == Ended::Fenced { CLAIM_FENCED_MS } else { CLAIM_RETRY_MS };
        let pause_ms = retry_ms(slot.failures.saturating_sub(1), CLAIM_RETRY_MS, CLAIM_RETRY_MAX_MS).max(least_ms);
        slot.assignment = Assignment::Waiting { at: now.plus_ms(pause_ms) };
        Vec::new()
    }

    fn tick(&mut self, now: Micros) -> Vec<Output> {
        let mut outputs = Vec::new();
        for (partition, slot) in &mut self.slots {
            if let Assignment::Waiting { at } = slot.assignment
                && at <= now
            {
                slot.assignment = Assignment::Taken { since: now, is_stopping: false };
                outputs.push(Output::Claim(*partition));
            }
        }
        outputs
    }

    fn shutdown(&mut self) -> Vec<Output> {
        self.is_closing = true;
        let mut outputs = Vec::new();
        for (partition, slot) in &mut self.slots {
            match &mut slot.assignment {
                Assignment::Taken { is_stopping, .. } if !*is_stopping => {
                    *is_stopping = true;
                    outputs.push(Output::Stop(*partition));
                }
                Assignment::Waiting { .. } => slot.assignment = Assignment::Vacant,
                Assignment::Taken { .. } | Assignment::Vacant | Assignment::Failed => {}
            }
        }
        outputs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARTITIONS: u32 = 6;

    fn revoked(partition: u32, is_served: bool) -> Input {
        Input::Revoked { partition, is_served }
    }

    struct World {
        ownership: Ownership,
        now: Micros,
    }

    impl World {
        fn new() -> World {
            World { ownership: Ownership::new(PARTITIONS), now: Micros(1_000_000) }
        }

        fn check(&mut self, input: Input, expected: &[Output]) {
            assert_eq!(self.ownership.handle(input, self.now), expected, "{input:?}");
        }

        fn later(&mut self, ms: u64) {
            self.now = self.now.plus_ms(ms);
        }
    }

    #[test]
    fn what_is_assigned_is_claimed_and_what_is_revoked_is_stopped_first() {
        let mut w = World::new();
        w.check(Input::Assigned(3), &[Output::Claim(3)]);
        w.check(Input::Assigned(3), &[]);
        assert!(!w.ownership.is_idle());
        w.check(revoked(3, false), &[Output::Stop(3)]);
        w.check(revoked(3, false), &[]);
        w.check(Input::Ended(3, Ended::Stopped), &[Output::Released(3)]);
        assert!(w.ownership.is_idle());
        w.check(revoked(3, false), &[Output::Released(3)]);
    }

    #[test]
    fn what_is_served_when_it_is_revoked_is_served_until_another_has_it() {
        let mut w = World::new();
        w.check(Input::Assigned(3), &[Output::Claim(3)]);
        w.check(revoked(3, true), &[Output::Yield(3), Output::Released(3)]);
        assert!(!w.ownership.is_idle());
        w.check(Input::Ended(3, Ended::Fenced), &[Output::Released(3)]);
        assert!(w.ownership.is_idle() && w.ownership.next_due().is_none());
        // Or it is given back, because the next owner died before it claimed the partition.
        w.check(Input::Assigned(4), &[Output::Claim(4)]);
        w.check(revoked(4, true), &[Output::Yield(4), Output::Released(4)]);
        w.check(Input::Assigned(4), &[]);
        w.check(Input::Ended(4, Ended::Retry), &[]);
        assert!(w.ownership.next_due().is_some());
        // Or it is still here when the process ends.
        w.check(Input::Assigned(5), &[Output::Claim(5)]);
        w.check(revoked(5, true), &[Output::Yield(5), Output::Released(5)]);
        w.check(Input::Shutdown, &[Output::Stop(5)]);
    }

    #[test]
    fn what_comes_back_before_it_was_given_up_is_claimed_again() {
        let mut w = World::new();
        w.check(Input::Assigned(0), &[Output::Claim(0)]);
        w.check(revoked(0, false), &[Output::Stop(0)]);
        w.check(Input::Assigned(0), &[]);
        w.check(Input::Ended(0, Ended::Stopped), &[Output::Claim(0)]);
    }

    #[test]
    fn an_owner_that_fails_is_made_anew_after_a_pause_that_grows() {
        let mut w = World::new();
        w.check(Input::Assigned(0), &[Output::Claim(0)]);
        let mut pauses_ms = Vec::new();
        for how in [Ended::Retry, Ended::Retry, Ended::Retry, Ended::Fenced] {
            w.check(Input::Ended(0, how), &[]);
            let due = w.ownership.next_due().unwrap();
            pauses_ms.push(due.ms_since(w.now));
            w.check(Input::Tick, &[]);
            w.now = due;
            w.check(Input::Tick, &[Output::Claim(0)]);
        }
        assert_eq!(pauses_ms, [CLAIM_RETRY_MS, 2 * CLAIM_RETRY_MS, 4 * CLAIM_RETRY_MS, CLAIM_FENCED_MS]);
        assert!((0..40).all(|_| {
            w.ownership.handle(Input::Ended(0, Ended::Retry), w.now);
            let due = w.ownership.next_due().unwrap();
            let pause_ms = due.ms_since(w.now);
            w.now = due;
            w.check(Input::Tick, &[Output::Claim(0)]);
            pause_ms <= CLAIM_RETRY_MAX_MS
        }));
        // After an owner that had served for long, the partition is claimed again at once.
        w.later(CLAIM_STEADY_MS);
        w.check(Input::Ended(0, Ended::Retry), &[Output::Claim(0)]);
        w.later(CLAIM_STEADY_MS);
        w.check(Input::Ended(0, Ended::Fenced), &[]);
        assert_eq!(w.ownership.next_due(), Some(w.now.plus_ms(CLAIM_FENCED_MS)));
    }

    #[test]
    fn a_pause_ends_when_the_partition_is_taken_away() {
        let mut w = World::new();
        w.check(Input::Assigned(0), &[Output::Claim(0)]);
        w.check(Input::Ended(0, Ended::Fenced), &[]);
        w.check(revoked(0, false), &[Output::Released(0)]);
        w.later(CLAIM_RETRY_MAX_MS);
        w.check(Input::Tick, &[]);
        assert_eq!(w.ownership.next_due(), None);
    }

    #[test]
    fn what_the_group_said_last_holds_until_it_speaks_or_another_owner_does() {
        let mut w = World::new();
        for partition in 0..3 {
            w.check(Input::Assigned(partition), &[Output::Claim(partition)]);
            w.check(Input::Lost(partition), &[Output::Released(partition)]);
        }
        assert_eq!(w.ownership.presumed(), [0, 1, 2]);
        // One owner fails and its partition is claimed again; one is fenced and its partition is not.
        w.check(Input::Ended(0, Ended::Retry), &[]);
        w.later(CLAIM_RETRY_MS);
        w.check(Input::Tick, &[Output::Claim(0)]);
        w.check(Input::Ended(1, Ended::Fenced), &[Output::Released(1)]);
        w.later(CLAIM_RETRY_MAX_MS);
        w.check(Input::Tick, &[]);
        // The group answers again: one partition stays, the others are revoked.
        w.check(Input::Assigned(0), &[]);
        assert_eq!(w.ownership.presumed(), [1, 2]);
        w.check(revoked(1, false), &[Output::Released(1)]);
        w.check(revoked(2, false), &[Output::Stop(2)]);
        w.check(Input::Ended(2, Ended::Stopped), &[Output::Released(2)]);
        assert!(w.ownership.presumed().is_empty());
        w.check(Input::Ended(0, Ended::Fenced), &[]);
        assert!(w.ownership.next_due().is_some(), "what the group has given again is claimed again");
    }

    #[test]
    fn a_broken_law_ends_a_partition_for_good() {
        let mut w = World::new();
        w.check(Input::Assigned(0), &[Output::Claim(0)]);
        w.check(Input::Ended(0, Ended::Failed), &[]);
        w.later(CLAIM_RETRY_MAX_MS);
        w.check(Input::Tick, &[]);
        w.check(revoked(0, false), &[Output::Released(0)]);
        w.check(Input::Assigned(0), &[]);
    }

    #[test]
    fn what_the_log_does_not_have_is_named_and_never_taken() {
        let mut w = World::new();
        w.check(Input::Assigned(PARTITIONS), &[Output::Unknown(PARTITIONS)]);
        assert!(w.ownership.is_idle() && w.ownership.presumed().is_empty());
        w.check(Input::Lost(PARTITIONS), &[Output::Released(PARTITIONS)]);
        w.check(Input::Assigned(PARTITIONS), &[Output::Unknown(PARTITIONS)]);
        w.check(Input::Shutdown, &[]);
        w.check(revoked(PARTITIONS, false), &[Output::Released(PARTITIONS)]);
        assert!(w.ownership.is_idle());
    }

    #[test]
    fn at_the_end_owners_stop_and_none_is_made() {
        let mut w = World::new();
        w.check(Input::Assigned(0), &[Output::Claim(0)]);
        w.check(Input::Assigned(1), &[Output::Claim(1)]);
        w.check(Input::Ended(1, Ended::Retry), &[]);
        w.check(Input::Shutdown, &[Output::Stop(0)]);
        w.later(CLAIM_RETRY_MAX_MS);
        w.check(Input::Tick, &[]);
        w.check(Input::Assigned(2), &[]);
        w.check(Input::Ended(0, Ended::Retry), &[Output::Released(0)]);
        assert!(w.ownership.is_idle());
        w.check(revoked(1, false), &[Output::Released(1)]);
    }
}
