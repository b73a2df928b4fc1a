//! What every part of the log uses: the cluster, what identifies the log, readers, and what this process has seen.

use super::paces::Paces;
use super::progress::Progress;
use super::record::Course;
use crate::log::kafka::client::durable::DurableWriter;
use crate::log::kafka::client::reader::{Reader, TopicPartition, offset_of};
use crate::log::kafka::client::reader_pool::ReaderPool;
use crate::log::kafka::client::settings::{ASK_LIMIT, Cluster};
use crate::log::kafka::schema::framing::Framing;
use crate::log::{FeatureLevel, LogError, Manifest};
use rdkafka::message::BorrowedMessage;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// One process's use of one log. Its parts share it.
pub(in crate::log::kafka) struct LogContext {
    pub(in crate::log::kafka) cluster: Arc<Cluster>,
    pub(in crate::log::kafka) manifest: Manifest,
    pub(in crate::log::kafka) framing: Arc<Framing>,
    /// One entry for each partition.
    pub(in crate::log::kafka) progress: Arc<Vec<Progress>>,
    pub(in crate::log::kafka) paces: Paces,
    pub(in crate::log::kafka) readers: ReaderPool,
    /// Is asked for the whole end of partitions: it counts what is not committed.
    pub(in crate::log::kafka) uncommitted: Reader,
    pub(in crate::log::kafka) durable: DurableWriter,
    /// What the last round trip to the cluster took, in microseconds; 0 while that is not known.
    pub(in crate::log::kafka) round_trip_us: AtomicU64,
    /// The level of the log.
    pub(in crate::log::kafka) level: FeatureLevel,
}

impl LogContext {
    /// # Errors
    /// [`LogError`] when no client can be made of the settings.
    pub(in crate::log::kafka) fn new(
        level: FeatureLevel,
        cluster: Cluster,
        manifest: Manifest,
        framing: Framing,
    ) -> Result<LogContext, LogError> {
        let cluster = Arc::new(cluster);
        Ok(LogContext {
            manifest,
            framing: Arc::new(framing),
            progress: Arc::new((0..manifest.partitions).map(|_| Progress::default()).collect()),
            paces: Paces::of_partitions(manifest.partitions),
            readers: ReaderPool::new(Arc::clone(&cluster)),
            uncommitted: Reader::uncommitted(&cluster)?,
            durable: DurableWriter::new(Arc::clone(&cluster)),
            round_trip_us: AtomicU64::new(0),
            level,
            cluster,
        })
    }

    /// # Errors
    /// [`LogError`] when the log has no partition of this number.
    pub(in crate::log::kafka) fn check(&self, partition: u32) -> Result<(), LogError> {
        if partition < self.manifest.partitions {
            return Ok(());
        }
        Err(LogError::no_partition(partition, self.manifest.partitions))
    }

    /// Of a partition that was [checked](LogContext::check).
    pub(in crate::log::kafka) fn progress_of(&self, partition: u32) -> &Progress {
        &self.progress[partition as usize]
    }

    /// A partition's events.
    pub(in crate::log::kafka) fn events(&self, partition: u32) -> TopicPartition<'_> {
        TopicPartition { topic: &self.cluster.topics.events, partition }
    }

    /// A partition's commands.
    pub(in crate::log::kafka) fn commands(&self, partition: u32) -> TopicPartition<'_> {
        TopicPartition { topic: &self.cluster.topics.commands, partition }
    }

    /// A partition's dead letters.
    pub(in crate::log::kafka) fn dead_letters(&self, partition: u32) -> TopicPartition<'_> {
        TopicPartition { topic: &self.cluster.topics.dead_letters, partition }
    }

    /// Checks the order of a partition's records, from wherever reading begins.
    pub(in crate::log::kafka) fn course(&self, partition: u32) -> Course {
        Course::of(self.manifest.log_id, partition)
    }

    /// Calls `record` with every record from this offset on, until it returns false or comes to where
    /// the partition ends now.
    pub(super) fn each_record(
        &self,
        at: TopicPartition<'_>,
        from: u64,
        mut record: impl FnMut(&BorrowedMessage<'_>) -> bool,
    ) -> Result<(), LogError> {
        self.readers.with(|reader| {
            let bounds = reader.bounds(at)?;
            let from = offset_of(from).max(bounds.first);
            if from >= bounds.end {
                return Ok(());
            }
            reader.assign(at, from)?;
            reader.each(at, bounds.end, ASK_LIMIT, |message| Ok(record(message))).map(drop)
        })
    }
}
