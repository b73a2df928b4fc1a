//! All partitions of a log in this process.

use super::partition::PartitionHandle;
use crate::domain::{Micros, PoolId, ReservationId, route};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Every partition of the log, in this process.
pub struct Replica {
    partitions: Vec<Arc<PartitionHandle>>,
    /// Partitions of the topic that the log's manifest does not count: somebody has added them.
    unknown: Mutex<BTreeSet<u32>>,
}

impl Replica {
    /// All partitions before their first event, of a log that this process alone writes.
    pub fn new(partitions: u32) -> Replica {
        Replica::of(partitions, false)
    }

    /// All partitions before their first event, of a log that other processes write, too: they may own its partitions.
    pub fn shared(partitions: u32) -> Replica {
        Replica::of(partitions, true)
    }

    fn of(partitions: u32, is_contested: bool) -> Replica {
        let partitions = (0..partitions).map(|p| Arc::new(PartitionHandle::new(p, is_contested))).collect();
        Replica { partitions, unknown: Mutex::default() }
    }

    /// Partitions that the group gave to this process and that the log's manifest does not count.
    pub fn unknown_partitions(&self) -> BTreeSet<u32> {
        self.unknown.lock().clone()
    }

    /// The group gave such a partition to this process, or took it away again.
    pub fn set_unknown(&self, partition: u32, is_given: bool) {
        let mut unknown = self.unknown.lock();
        if is_given {
            unknown.insert(partition)
        } else {
            unknown.remove(&partition)
        };
    }

    /// The number of partitions.
    pub fn partition_count(&self) -> u32 {
        u32::try_from(self.partitions.len()).unwrap_or(u32::MAX)
    }

    /// Whether all of them have stopped for good.
    pub fn has_stopped(&self) -> bool {
        !self.partitions.is_empty() && self.partitions.iter().all(|handle| handle.has_stopped())
    }

    /// The time of the newest event of all partitions, as far as their states are known here; 0 before there is any.
    pub fn decided_at(&self) -> Micros {
        let decided_at = self.partitions.iter().map(|handle| handle.read(|state| state.position().decided_at));
        decided_at.max().unwrap_or_default()
    }

    /// Every partition, in order.
    pub fn partitions(&self) -> impl Iterator<Item = &Arc<PartitionHandle>> {
        self.partitions.iter()
    }

    /// The partition of this number; none where the log has fewer.
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
