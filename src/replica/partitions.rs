//! All partitions of a log in this process.

use super::partition::PartitionHandle;
use crate::domain::{PoolId, ReservationId, route};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Every partition of the log, on this node.
pub struct Replica {
    partitions: Vec<Arc<PartitionHandle>>,
    /// Partitions that somebody has added, and that the log does not have.
    unknown: Mutex<BTreeSet<u32>>,
}

impl Replica {
    /// All partitions at their beginning, of a log that this process alone writes.
    pub fn new(partitions: u32) -> Replica {
        Replica::of(partitions, false)
    }

    /// The same of a log that other processes write, too.
    pub fn shared(partitions: u32) -> Replica {
        Replica::of(partitions, true)
    }

    fn of(partitions: u32, is_contested: bool) -> Replica {
        let partitions = (0..partitions).map(|p| Arc::new(PartitionHandle::new(p, is_contested))).collect();
        Replica { partitions, unknown: Mutex::default() }
    }

    /// Partitions that this process was given and that the log does not have.
    pub fn unknown_partitions(&self) -> BTreeSet<u32> {
        self.unknown.lock().clone()
    }

    /// This process was given one, or it was taken away again.
    pub fn set_unknown(&self, partition: u32, is_given: bool) {
        let mut unknown = self.unknown.lock();
        if is_given {
            unknown.insert(partition)
        } else {
            unknown.remove(&partition)
        };
    }

    /// How many partitions there are.
    pub fn partition_count(&self) -> u32 {
        u32::try_from(self.partitions.len()).unwrap_or(u32::MAX)
    }

    /// Whether all of them have stopped for good.
    pub fn has_stopped(&self) -> bool {
        !self.partitions.is_empty() && self.partitions.iter().all(|handle| handle.has_stopped())
    }

    /// Every partition, in order.
    pub fn partitions(&self) -> impl Iterator<Item = &Arc<PartitionHandle>> {
        self.partitions.iter()
    }

    /// One of them.
    pub fn partition(&self, partition: u32) -> Option<&Arc<PartitionHandle>> {
        self.partitions.get(partition as usize)
    }

    /// The partition of a pool.
    pub fn of_pool(&self, pool: &PoolId) -> Option<&Arc<PartitionHandle>> {
        self.partition(route::partition_of(pool, self.partition_count()))
    }

    /// The partition of a reservation.
    pub fn of_reservation(&self, id: &ReservationId) -> Option<&Arc<PartitionHandle>> {
        self.partition(route::partition_of_reservation(id, self.partition_count()))
    }
}
