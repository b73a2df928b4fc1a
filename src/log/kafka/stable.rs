//! Clients that are ready before they are needed: connected, and owners of nothing. A claim that has to connect first
//! takes half a second more.

use super::super::LogError;
use super::reader::Reader;
use super::settings::{Cluster, SLOTS};
use super::turns::Turns;
use crossbeam_channel::{Sender, bounded};
use parking_lot::Mutex;
use std::sync::Arc;
use std::thread::JoinHandle;

/// What a claim needs.
pub(super) struct Prepared {
    pub(super) turns: Vec<Turns>,
    pub(super) reader: Reader,
}

impl Prepared {
    pub(super) fn make(cluster: &Cluster, partition: u32) -> Result<Prepared, LogError> {
        let reader = Reader::waiting(cluster)?;
        reader.connect(&cluster.topics.events, partition)?;
        reader.connect(&cluster.topics.commands, partition)?;
        let turns = (0..SLOTS).map(|slot| Turns::prepare(cluster, partition, slot));
        Ok(Prepared { turns: turns.collect::<Result<_, _>>()?, reader })
    }
}

/// One for each partition, made by a thread of its own.
pub(super) struct Stable {
    ready: Arc<Vec<Mutex<Option<Prepared>>>>,
    orders: Option<Sender<u32>>,
    thread: Option<JoinHandle<()>>,
}

impl Stable {
    /// For these partitions, none of them ready.
    pub(super) fn new(cluster: Arc<Cluster>, partitions: u32) -> Result<Stable, LogError> {
        let ready: Arc<Vec<_>> = Arc::new((0..partitions).map(|_| Mutex::new(None)).collect());
        let (orders, work) = bounded::<u32>(usize::try_from(partitions).unwrap_or(usize::MAX));
        let places = Arc::clone(&ready);
        let thread = std::thread::Builder::new().name("stable".to_owned()).spawn(move || {
            for partition in work {
                let Some(place) = places.get(partition as usize).filter(|place| place.lock().is_none()) else {
                    continue;
                };
                match Prepared::make(&cluster, partition) {
                    Ok(prepared) => *place.lock() = Some(prepared),
                    // The claim makes its own, and says what is wrong.
                    Err(error) => tracing::debug!(partition, %error, "no clients prepared"),
                }
            }
        });
        let thread = thread.map_err(|error| LogError::new(format!("cannot start a thread: {error}")))?;
        Ok(Stable { ready, orders: Some(orders), thread: Some(thread) })
    }

    /// Has clients made ready for a partition that may be claimed.
    pub(super) fn prepare(&self, partition: u32) {
        // As many orders wait as there are partitions: one that finds no place is not needed.
        let _ = self.orders.as_ref().map(|orders| orders.try_send(partition));
    }

    /// What is ready for the partition.
    pub(super) fn take(&self, partition: u32) -> Option<Prepared> {
        self.ready.get(partition as usize)?.lock().take()
    }
}

impl Drop for Stable {
    fn drop(&mut self) {
        drop(self.orders.take());
        // A thread that panicked has nothing left to hand over.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
