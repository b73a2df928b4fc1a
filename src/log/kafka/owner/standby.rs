//! Clients that are connected before a claim needs them, and that own nothing. A claim that has to connect first takes half
//! a second more.

use super::producer::{ProducerId, TransactionalProducer};
use crate::log::LogError;
use crate::log::kafka::client::reader::{Reader, TopicPartition};
use crate::log::kafka::client::settings::{Cluster, SLOTS};
use crate::threads;
use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;

/// The clients that a claim needs.
pub(super) struct Prepared {
    /// One for each slot, in the order of slots.
    pub(super) producers: Vec<TransactionalProducer>,
    /// Connected to the partition's commands and events.
    pub(super) reader: Reader,
}

impl Prepared {
    pub(super) fn make(cluster: &Cluster, log_id: u128, partition: u32) -> Result<Prepared, LogError> {
        let reader = Reader::waiting(cluster)?;
        reader.connect(TopicPartition { topic: &cluster.topics.events, partition })?;
        reader.connect(TopicPartition { topic: &cluster.topics.commands, partition })?;
        let producers =
            (0..SLOTS).map(|slot| TransactionalProducer::prepare(cluster, ProducerId { log_id, partition, slot }));
        Ok(Prepared { producers: producers.collect::<Result<_, _>>()?, reader })
    }
}

/// What the thread is asked to do.
enum Order {
    /// Connects the clients of a claim of this partition.
    Prepare(u32),
    /// Closes a client that must not be used any more. That takes a moment, which its user should not wait.
    Close(TransactionalProducer),
}

/// Does what is asked until nobody can ask any more, or until it is over. What is left then is not worth the time: each order may
/// take seconds where the cluster is away.
fn work_off(orders: Receiver<Order>, is_over: &AtomicBool, prepare: impl Fn(u32)) {
    for order in orders {
        if is_over.load(Relaxed) {
            return;
        }
        match order {
            Order::Prepare(partition) => prepare(partition),
            Order::Close(producer) => drop(producer),
        }
    }
}

/// The prepared clients of every partition, and the thread that connects and closes clients.
pub(in crate::log::kafka) struct StandbyClients {
    ready: Arc<Vec<Mutex<Option<Prepared>>>>,
    orders: Option<Sender<Order>>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl StandbyClients {
    /// None is prepared yet.
    ///
    /// # Errors
    /// [`LogError`] when the thread cannot be started.
    pub(in crate::log::kafka) fn new(
        cluster: Arc<Cluster>,
        log_id: u128,
        partitions: u32,
    ) -> Result<StandbyClients, LogError> {
        let ready: Arc<Vec<_>> = Arc::new((0..partitions).map(|_| Mutex::new(None)).collect());
        let (orders, work) = bounded(usize::try_from(partitions).unwrap_or(usize::MAX).saturating_mul(2));
        let (places, is_over) = (Arc::clone(&ready), Arc::<AtomicBool>::default());
        let over = Arc::clone(&is_over);
        let prepare = move |partition: u32| {
            let Some(place) = places.get(partition as usize).filter(|place| place.lock().is_none()) else { return };
            match Prepared::make(&cluster, log_id, partition) {
                Ok(prepared) => *place.lock() = Some(prepared),
                // The claim makes its own, and reports what is wrong.
                Err(error) => tracing::debug!(partition, %error, "no clients could be prepared for a claim"),
            }
        };
        let thread = threads::spawn("standby-clients", move || work_off(work, &over, prepare));
        let thread = thread.map_err(|error| LogError::no_thread(&error))?;
        Ok(StandbyClients { ready, orders: Some(orders), is_over, thread: Some(thread) })
    }

    /// Has clients connected for a partition that may be claimed. Returns at once.
    pub(in crate::log::kafka) fn prepare(&self, partition: u32) {
        // The queue holds two orders for each partition. An order that finds no room is hardly needed.
        let _ = self.orders.as_ref().map(|orders| orders.try_send(Order::Prepare(partition)));
    }

    /// Closes a client in the background, or here when the queue is full.
    pub(super) fn close(&self, producer: TransactionalProducer) {
        let _ = self.orders.as_ref().map(|orders| orders.try_send(Order::Close(producer)));
    }

    /// The prepared producer of one slot, if there is one. Those of the other slots are closed.
    pub(super) fn take_one(&self, partition: u32, slot: u8) -> Option<TransactionalProducer> {
        let mut producers = self.take(partition)?.producers;
        let taken = (usize::from(slot) < producers.len()).then(|| producers.swap_remove(slot.into()));
        for producer in producers {
            self.close(producer);
        }
        taken
    }

    /// The partition's prepared clients, if there are any.
    pub(super) fn take(&self, partition: u32) -> Option<Prepared> {
        self.ready.get(partition as usize)?.lock().take()
    }
}

impl Drop for StandbyClients {
    fn drop(&mut self) {
        self.is_over.store(true, Relaxed);
        drop(self.orders.take());
        // A thread that panicked has nothing left to hand over.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The story: a process was to end while its cluster was away. It went on connecting clients, one partition after the other,
    /// each for seconds.
    #[test]
    fn what_is_asked_for_is_not_worked_off_once_it_is_over() {
        let (prepared, is_over) = (Mutex::new(Vec::new()), AtomicBool::new(false));
        let (orders, work) = bounded(4);
        (0..4).for_each(|partition| assert!(orders.send(Order::Prepare(partition)).is_ok()));
        drop(orders);
        work_off(work, &is_over, |partition| {
            prepared.lock().push(partition);
            is_over.store(partition == 1, Relaxed);
        });
        assert_eq!(*prepared.lock(), [0, 1]);
    }
}
