//! What the traits of the seam ask of this log, each in a few lines: [`ClusterLog`] of a log that several processes share,
//! and the reading of committed events, of commands and of dead letters. Claims are in `owner/claim.rs`.

use super::Kafka;
use super::data::progress::Progress;
use super::data::replies::{GatewayReplies, Replies};
use super::data::sink::Sink;
use super::data::stream::Stream;
use super::group::distance::{Distance, Notes};
use super::group::member::Member;
use super::group::process::Presence;
use crate::domain::Micros;
use crate::log::dead_letters::{DeadLetter, DeadLetterId, DeadLetters, RawCommand, Resolution};
use crate::log::{
    ClusterDistance, ClusterLog, CommandProducer, CommandTail, CommittedTail, EndOffsets, Fitness, JoinedGroup,
    LogError, Manifest, OwnedPosition, OwnerControl, OwnerNotes, ReplyChannel, ReplyReader, StopWhen, StoredCommand,
    StoredEvent,
};
use crate::time::{Stamp, Stopwatch};
use std::sync::Arc;
use std::time::Duration;

/// Longest wait for an end offset, which is asked for all the time.
const END_LIMIT: Duration = Duration::from_secs(1);

impl ClusterLog for Kafka {
    type Stream = Stream;

    fn manifest(&self) -> &Manifest {
        &self.inner.context.manifest
    }

    fn producer(&self) -> Result<Arc<dyn CommandProducer>, LogError> {
        Ok(Arc::new(Sink::new(&self.inner.context)?))
    }

    fn stream(&self) -> Result<Stream, LogError> {
        Stream::new(&self.inner)
    }

    fn replies(&self, own: u64, gateway: Arc<dyn ReplyChannel>) -> Result<Arc<dyn ReplyChannel>, LogError> {
        Ok(Arc::new(Replies::new(&self.inner.context, own, gateway)?))
    }

    fn reply_reader(&self, gateway: u64) -> Result<Box<dyn ReplyReader>, LogError> {
        Ok(Box::new(GatewayReplies::new(&self.inner.context, gateway)?))
    }

    fn join(
        &self,
        fitness: Box<dyn Fn() -> Fitness + Send>,
        positions: Box<dyn Fn() -> Vec<OwnedPosition> + Send>,
    ) -> Result<JoinedGroup, LogError> {
        (0..self.inner.context.manifest.partitions).for_each(|partition| self.inner.standby.prepare(partition));
        Member::join(&self.inner.context, fitness, positions)
    }

    fn attend(&self) -> Result<Box<dyn Send>, LogError> {
        Ok(Box::new(Presence::start(&self.inner.context)?))
    }

    fn owner_notes(&self) -> Result<Box<dyn OwnerNotes>, LogError> {
        Ok(Box::new(Notes::new(&self.inner.context)?))
    }

    fn distance(&self) -> Result<Box<dyn ClusterDistance>, LogError> {
        Ok(Box::new(Distance::new(&self.inner.context)?))
    }

    fn broker_clock(&self, partition: u32) -> Option<Stamp> {
        self.inner.context.paces.stamp(partition)
    }
}

impl EndOffsets for Kafka {
    /// The end of what is committed would not do: an open transaction keeps it back, and hides what was committed after its
    /// beginning.
    fn end_offset(&self, partition: u32) -> Result<i64, LogError> {
        let context = &self.inner.context;
        context.check(partition)?;
        let since = Stopwatch::start();
        let end = context.uncommitted.bounds_within(context.events(partition), END_LIMIT)?.end;
        context.paces.ended(partition, end, since);
        Ok(end)
    }

    fn written_end_offset(&self, partition: u32) -> Option<i64> {
        self.progress(partition)?.written()
    }
}

impl OwnerControl for Kafka {
    fn stop(&self, partition: u32, when: StopWhen) {
        if let Some(progress) = self.progress(partition) {
            progress.stop(when);
        }
    }

    fn step_down_when_fenced(&self, partition: u32) {
        if let Some(progress) = self.progress(partition) {
            progress.step_down_when_fenced();
        }
    }

    fn is_to_stop(&self, partition: u32) -> bool {
        self.progress(partition).is_some_and(|progress| progress.is_over(u64::MAX))
    }

    fn allow(&self, partition: u32) {
        if let Some(progress) = self.progress(partition) {
            progress.allow();
        }
    }
}

impl Kafka {
    /// What this process has seen of a partition; `None` where the log has no such partition.
    fn progress(&self, partition: u32) -> Option<&Progress> {
        self.inner.context.progress.get(partition as usize)
    }
}

impl CommittedTail for Kafka {
    fn partitions(&self) -> u32 {
        self.inner.context.manifest.partitions
    }

    fn log_id(&self) -> Option<u128> {
        Some(self.inner.context.manifest.log_id)
    }

    fn first(&self, partition: u32) -> Result<u64, LogError> {
        self.inner.events.first(partition)
    }

    fn end(&self, partition: u32) -> Result<u64, LogError> {
        Ok(self.inner.events.end(partition)?.seq)
    }

    fn end_told(&self, partition: u32) -> Result<u64, LogError> {
        self.inner.events.end_told(partition)
    }

    fn read(&self, partition: u32, from_seq: u64, bytes_max: usize) -> Result<Vec<StoredEvent>, LogError> {
        self.inner.events.read(partition, from_seq, bytes_max)
    }
}

impl CommandTail for Kafka {
    fn first(&self, partition: u32) -> Result<u64, LogError> {
        self.inner.commands.first(partition)
    }

    fn commands(&self, partition: u32, from: u64, bytes_max: usize) -> Result<Vec<StoredCommand>, LogError> {
        self.inner.commands.read(partition, from, bytes_max)
    }
}

impl DeadLetters for Kafka {
    fn letters(&self, partition: u32) -> Result<Vec<DeadLetter>, LogError> {
        self.inner.dead_letters.read(partition)
    }

    fn original(&self, id: DeadLetterId) -> Result<RawCommand, LogError> {
        self.inner.dead_letters.original(id)
    }

    fn inside(&self, original: &RawCommand) -> Result<Vec<u8>, LogError> {
        self.inner.dead_letters.inside(original)
    }

    fn append_again(&self, partition: u32, original: &RawCommand) -> Result<(), LogError> {
        self.inner.dead_letters.append_again(partition, original)
    }

    fn resolve(&self, id: DeadLetterId, resolution: Resolution, now: Micros) -> Result<(), LogError> {
        self.inner.dead_letters.resolve(id, resolution, now)
    }
}
