//! The log as its process sees it: what [`ClusterLog`] asks of a log that several processes share.

use super::Kafka;
use super::data::replies::{GatewayReplies, Replies};
use super::data::sink::Sink;
use super::data::stream::Stream;
use super::group::distance::{Distance, Notes};
use super::group::member::Member;
use crate::log::{
    ClusterDistance, ClusterLog, CommandProducer, EndOffsets, Fitness, JoinedGroup, LogError, Manifest, OwnedPosition,
    OwnerControl, OwnerNotes, ReplyChannel, ReplyReader, StopWhen,
};
use crate::time::Stamp;
use std::sync::Arc;
use std::time::Duration;

/// Longest wait for an end offset, which is asked for all the time.
const END_LIMIT: Duration = Duration::from_secs(1);

impl ClusterLog for Kafka {
    type Stream = Stream;

    fn manifest(&self) -> &Manifest {
        &self.inner.manifest
    }

    fn producer(&self) -> Result<Arc<dyn CommandProducer>, LogError> {
        Ok(Arc::new(Sink::new(&self.inner)?))
    }

    fn stream(&self) -> Result<Stream, LogError> {
        Stream::new(&self.inner)
    }

    fn replies(&self, own: u64, gateway: Arc<dyn ReplyChannel>) -> Result<Arc<dyn ReplyChannel>, LogError> {
        Ok(Arc::new(Replies::new(&self.inner, own, gateway)?))
    }

    fn reply_reader(&self, gateway: u64) -> Result<Box<dyn ReplyReader>, LogError> {
        Ok(Box::new(GatewayReplies::new(&self.inner, gateway)?))
    }

    fn join(
        &self,
        fitness: Box<dyn Fn() -> Fitness + Send>,
        positions: Box<dyn Fn() -> Vec<OwnedPosition> + Send>,
    ) -> Result<JoinedGroup, LogError> {
        (0..self.inner.manifest.partitions).for_each(|partition| self.inner.stable.prepare(partition));
        Member::join(&self.inner, fitness, positions)
    }

    fn owner_notes(&self) -> Result<Box<dyn OwnerNotes>, LogError> {
        Ok(Box::new(Notes::new(&self.inner)?))
    }

    fn distance(&self) -> Result<Box<dyn ClusterDistance>, LogError> {
        Ok(Box::new(Distance::new(&self.inner)?))
    }

    fn broker_clock(&self, partition: u32) -> Option<Stamp> {
        self.inner.paces.stamp(partition)
    }
}

impl EndOffsets for Kafka {
    /// The end of what is committed would not do: an open transaction keeps it back, and hides what was committed after its
    /// beginning.
    fn end_offset(&self, partition: u32) -> Result<i64, LogError> {
        self.inner.check(partition)?;
        let topic = &self.inner.cluster.topics.events;
        self.inner.uncommitted.bounds_within(topic, partition, END_LIMIT).map(|(_, end)| end)
    }

    fn written_end_offset(&self, partition: u32) -> Option<i64> {
        self.inner.progress.get(partition as usize)?.written()
    }
}

impl OwnerControl for Kafka {
    fn stop(&self, partition: u32, when: StopWhen) {
        if let Some(progress) = self.inner.progress.get(partition as usize) {
            progress.stop(when);
        }
    }

    fn step_down_when_fenced(&self, partition: u32) {
        if let Some(progress) = self.inner.progress.get(partition as usize) {
            progress.step_down_when_fenced();
        }
    }

    fn is_to_stop(&self, partition: u32) -> bool {
        self.inner.progress.get(partition as usize).is_some_and(|progress| progress.is_over(u64::MAX))
    }

    fn allow(&self, partition: u32) {
        if let Some(progress) = self.inner.progress.get(partition as usize) {
            progress.allow();
        }
    }
}
