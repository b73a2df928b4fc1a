//! The group of owners: which process should own which partitions. What the group says is a hint, for two processes may
//! believe to own the same partition for a while; the log lets only one of them write.

use super::error::LogError;
use crossbeam_channel::{Receiver, Sender};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// What the group says.
#[derive(Clone, Debug)]
pub enum MembershipChange {
    /// This process is to own these partitions.
    Assigned(Vec<u32>),
    /// The group has not heard of this process for so long that it may have given these partitions to others.
    Lost(Vec<u32>),
    /// This process is not to own these partitions any more.
    Revoked {
        /// The partitions that it is to give up.
        partitions: Vec<u32>,
        /// Told once this process has given all of them up; then the group gives them to others. The group does not wait
        /// for ever.
        released: Sender<()>,
    },
}

/// What a process could do as an owner.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fitness {
    /// It has the state of every partition, except those that nobody can read now and those that have stopped.
    Whole,
    /// It has the state of some partitions, and others are still being read.
    Partial,
    /// It has no state yet: whatever partition it were given would not be served.
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
    /// once; the revocation comes as a [`MembershipChange`].
    fn rest(&self);

    /// The group may give partitions to this process again.
    fn resume(&self);

    /// Leaves the group for good, so that others get the partitions at once. Returns when that is done, which takes for as
    /// long as the owners of this process take to give their partitions up.
    fn leave(&self);
}

/// A membership that has begun.
pub struct JoinedGroup {
    /// How to rest and to leave.
    pub membership: Arc<dyn Membership>,
    /// What the group says, in its order. The sender waits while nobody receives.
    pub changes: Receiver<MembershipChange>,
}

/// The group of owners as it is now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Company {
    /// How many members there are, this process included if it is one of them.
    pub members: usize,
    /// The round trip between a partition's owner and the cluster, by the owner's own note. Partitions whose owner notes
    /// none are left out.
    pub round_trips: BTreeMap<u32, Duration>,
}

/// How far the cluster is from this process, and from the other owners.
pub trait ClusterDistance: Send {
    /// How long a question about this partition and its answer take; `None` when no answer comes within two seconds. The
    /// result is also what this process's own notes say.
    fn round_trip(&self, partition: u32) -> Option<Duration>;

    /// Who is in the group.
    ///
    /// # Errors
    /// [`LogError`] when the cluster does not say.
    fn company(&self) -> Result<Company, LogError>;
}

/// What owners write down once a second to show that they are there.
pub trait OwnerNotes: Send {
    /// The number in the last note of each partition's owner, which is another one in every note: 0 where no owner ever
    /// wrote one, and `None` where the note holds none, as those of older versions. A partition of which the cluster says
    /// nothing is left out.
    ///
    /// # Errors
    /// [`LogError`] when the cluster does not answer.
    fn beats(&self) -> Result<BTreeMap<u32, Option<u64>>, LogError>;
}
