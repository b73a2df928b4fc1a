//! The group of owners: which process should own which partitions. The group's answer is only a hint: for a while two
//! processes may believe that they own the same partition. The log lets only one of them write.

use super::error::LogError;
use crossbeam_channel::{Receiver, Sender};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// A change of this process's partitions, as the group announces it.
#[derive(Clone, Debug)]
pub enum MembershipChange {
    /// This process has to own these partitions.
    Assigned(Vec<u32>),
    /// The group has not heard of this process for so long that it may have given these partitions to others.
    Lost(Vec<u32>),
    /// This process has to give up these partitions.
    Revoked {
        /// The partitions to give up.
        partitions: Vec<u32>,
        /// Signalled once this process has given all of them up; then the group gives them to other processes. The
        /// group does not wait for ever.
        released: Sender<()>,
    },
}

/// How much of the log a process could serve as an owner.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fitness {
    /// It has the state of every partition, except those that nobody can read now and those that have stopped.
    Whole,
    /// It has the state of some partitions, and cannot restore others, which another process may be able to.
    Lacking,
    /// It has the state of some partitions, and others are still being read.
    Partial,
    /// It has no state yet, and could not serve any partition.
    Nothing,
    /// All its partitions have stopped for good.
    Never,
}

/// A partition that this process serves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OwnedPosition {
    /// The partition that is served.
    pub partition: u32,
    /// The offset of the next command that its owner decides.
    pub next_input: u64,
}

/// This process's membership in the group of owners. Dropping it leaves the group.
pub trait Membership: Send + Sync {
    /// The group gives this process's partitions to others, and gives it none until [`Membership::resume`]. Returns at
    /// once; the revocation arrives as a [`MembershipChange`].
    fn rest(&self);

    /// The group may give partitions to this process again, or for the first time although it is [`Fitness::Lacking`].
    fn resume(&self);

    /// Whether this process has ever been let into the group.
    fn has_entered(&self) -> bool;

    /// Leaves the group for good, so that others get the partitions at once. Returns when the owners of this process
    /// have given up their partitions.
    fn leave(&self);
}

/// The membership of this process, with the changes that the group announces.
pub struct JoinedGroup {
    /// The handle to rest, to resume and to leave.
    pub membership: Arc<dyn Membership>,
    /// The changes in their order. The sender waits while nobody receives.
    pub changes: Receiver<MembershipChange>,
}

/// The members of the group of owners at this moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Company {
    /// The number of members, including this process if it is a member.
    pub members: usize,
    /// The round trip between a partition's owner and the cluster, as the owner noted it. Partitions whose owner noted
    /// none are left out.
    pub round_trips: BTreeMap<u32, Duration>,
}

/// The round-trip times between the cluster and its owners, this process included.
pub trait ClusterDistance: Send {
    /// The time of a request about this partition and its answer; `None` when no answer comes within two seconds. This
    /// process writes the result into its own notes, too.
    fn round_trip(&self, partition: u32) -> Option<Duration>;

    /// The members of the group, and their round trips.
    ///
    /// # Errors
    /// [`LogError`] when the cluster does not answer.
    fn company(&self) -> Result<Company, LogError>;
}

/// The notes that owners write once a second to show that they are alive.
pub trait OwnerNotes: Send {
    /// The number in the last note of each partition's owner. Every note has a new number. It is 0 where no owner ever
    /// wrote a note, and `None` where the note has no number, as in older versions. A partition for which the cluster
    /// gives no answer is left out.
    ///
    /// # Errors
    /// [`LogError`] when the cluster does not answer.
    fn beats(&self) -> Result<BTreeMap<u32, Option<u64>>, LogError>;
}
