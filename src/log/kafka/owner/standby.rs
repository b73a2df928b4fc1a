//! Clients that are ready before they are needed: connected, and owners of nothing. A claim that has to connect first
//! takes half a second more.

use super::producer::TransactionalProducer;
use crate::log::LogError;
use crate::log::kafka::client::reader::Reader;
use crate::log::kafka::client::settings::{Cluster, SLOTS};
use crate::threads;
use crossbeam_channel::{Sender, bounded};
use parking_lot::Mutex;
use std::sync::Arc;
use std::thread::JoinHandle;

/// What a claim needs.
pub(super) struct Prepared {
    pub(in crate::log::kafka) turns: Vec<TransactionalProducer>,
    pub(in crate::log::kafka) reader: Reader,
}

impl Prepared {
    pub(in crate::log::kafka) fn make(cluster: &Cluster, log_id: u128, partition: u32) -> Result<Prepared, LogError> {
        let reader = Reader::waiting(cluster)?;
        reader.connect(&cluster.topics.events, partition)?;
        reader.connect(&cluster.topics.commands, partition)?;
        let turns = (0..SLOTS).map(|slot| TransactionalProducer::prepare(cluster, log_id, partition, slot));
        Ok(Prepared { turns: turns.collect::<Result<_, _>>()?, reader })
    }
}

/// What the thread is asked to do.
enum Order {
    /// Make what a claim of the partition needs.
    Prepare(u32),
    /// Let a client go that is of no more use: that takes a moment, and whoever used it has other things to do.
    Bury(TransactionalProducer),
}

/// One for each partition, made by a thread of its own.
pub(in crate::log::kafka) struct StandbyClients {
    ready: Arc<Vec<Mutex<Option<Prepared>>>>,
    orders: Option<Sender<Order>>,
    thread: Option<JoinHandle<()>>,
}

impl StandbyClients {
    /// For the partitions of a log, none of them ready.
    pub(in crate::log::kafka) fn new(
        cluster: Arc<Cluster>,
        log_id: u128,
        partitions: u32,
    ) -> Result<StandbyClients, LogError> {
        let ready: Arc<Vec<_>> = Arc::new((0..partitions).map(|_| Mutex::new(None)).collect());
        let (orders, work) = bounded(usize::try_from(partitions).unwrap_or(usize::MAX).saturating_mul(2));
        let places = Arc::clone(&ready);
        let thread = threads::spawn("stable", move || {
            for order in work {
                let partition = match order {
                    Order::Prepare(partition) => partition,
                    Order::Bury(turns) => {
                        drop(turns);
                        continue;
                    }
                };
                let Some(place) = places.get(partition as usize).filter(|place| place.lock().is_none()) else {
                    continue;
                };
                match Prepared::make(&cluster, log_id, partition) {
                    Ok(prepared) => *place.lock() = Some(prepared),
                    // The claim makes its own, and says what is wrong.
                    Err(error) => tracing::debug!(partition, %error, "no clients prepared"),
                }
            }
        });
        let thread = thread.map_err(|error| LogError::new(format!("cannot start a thread: {error}")))?;
        Ok(StandbyClients { ready, orders: Some(orders), thread: Some(thread) })
    }

    /// Has clients made ready for a partition that may be claimed.
    pub(in crate::log::kafka) fn prepare(&self, partition: u32) {
        // Twice as many orders wait as there are partitions: one that finds no place is hardly needed.
        let _ = self.orders.as_ref().map(|orders| orders.try_send(Order::Prepare(partition)));
    }

    /// Lets a client go. One that finds no place is let go here and now.
    pub(super) fn bury(&self, turns: TransactionalProducer) {
        let _ = self.orders.as_ref().map(|orders| orders.try_send(Order::Bury(turns)));
    }

    /// One of the partition's producers, if they are ready; the others are made anew.
    pub(super) fn take_one(&self, partition: u32, slot: u8) -> Option<TransactionalProducer> {
        let mut turns = self.take(partition)?.turns;
        let taken = (usize::from(slot) < turns.len()).then(|| turns.swap_remove(slot.into()));
        turns.into_iter().for_each(|turns| self.bury(turns));
        taken
    }

    /// What is ready for the partition.
    pub(super) fn take(&self, partition: u32) -> Option<Prepared> {
        self.ready.get(partition as usize)?.lock().take()
    }
}

impl Drop for StandbyClients {
    fn drop(&mut self) {
        drop(self.orders.take());
        // A thread that panicked has nothing left to hand over.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
