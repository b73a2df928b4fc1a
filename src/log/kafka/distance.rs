//! How far the cluster is, and whether others in the group of owners are nearer. Owners note it with how far they are:
//! those notes are all that a process has of the others without asking them.

use super::super::LogError;
use super::classify::failed;
use super::client::Talk;
use super::reader::{Reader, number};
use super::settings::{ASK_LIMIT, group_of};
use super::{Inner, Kafka};
use crate::time::Stopwatch;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// Longest wait for an answer: who is further away than this is out of reach.
const TRIP_LIMIT: Duration = Duration::from_secs(2);
/// Begins a note, in microseconds.
const NOTE: &str = "round_trip_us=";

/// The note of a process so far from the cluster.
pub(super) fn note(trip_us: u64) -> String {
    format!("{NOTE}{trip_us}")
}

fn noted(text: &str) -> Option<Duration> {
    text.strip_prefix(NOTE)?.parse().ok().map(Duration::from_micros)
}

/// The group of owners as it is now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Company {
    /// How many there are, this process included if it is one of them.
    pub members: usize,
    /// How far the owners of these partitions are from the cluster, by their own notes; one that says nothing is left out.
    pub trips: Vec<(u32, Duration)>,
}

/// Measures it, with a client of its own.
pub struct Distance {
    inner: Arc<Inner>,
    reader: Reader,
    /// In the group's name, and no member of it.
    notes: BaseConsumer<Talk>,
}

impl Kafka {
    /// Begins to measure.
    ///
    /// # Errors
    /// [`LogError`] when no client can be made.
    pub fn distance(&self) -> Result<Distance, LogError> {
        let inner = Arc::clone(&self.inner);
        let reader = Reader::uncommitted(&inner.cluster)?;
        let notes = inner.cluster.member(inner.manifest.log_id).create_with_context(Talk::default());
        let notes = notes.map_err(|error| failed("a reader of notes", &error))?;
        Ok(Distance { inner, reader, notes })
    }
}

impl Distance {
    /// How long a question about this partition and its answer take; nothing when none comes.
    pub fn trip(&self, partition: u32) -> Option<Duration> {
        let asking = Stopwatch::start();
        let answer = self.reader.bounds_within(&self.inner.cluster.topics.events, partition, TRIP_LIMIT);
        let trip = answer.is_ok().then(|| asking.elapsed());
        let trip_us = trip.map_or(0, |trip| u64::try_from(trip.as_micros()).unwrap_or(u64::MAX));
        self.inner.trip_us.store(trip_us, Relaxed);
        trip
    }

    /// Who is in the group.
    ///
    /// # Errors
    /// [`LogError`] when the cluster does not say.
    pub fn company(&self) -> Result<Company, LogError> {
        let cluster = &self.inner.cluster;
        let group = group_of(self.inner.manifest.log_id);
        let asked = self.reader.consumer().fetch_group_list(Some(&group), ASK_LIMIT);
        let groups = asked.map_err(|error| failed(&group, &error))?;
        let members = groups.groups().iter().filter(|found| found.name() == group).map(|found| found.members().len());
        let mut list = TopicPartitionList::new();
        for partition in 0..self.inner.manifest.partitions {
            list.add_partition(&cluster.topics.commands, number(partition));
        }
        let asked = self.notes.committed_offsets(list, ASK_LIMIT);
        let list = asked.map_err(|error| failed(&format!("{group}: its notes"), &error))?;
        let trip = |place: &rdkafka::topic_partition_list::TopicPartitionListElem<'_>| {
            Some((u32::try_from(place.partition()).ok()?, noted(place.metadata())?))
        };
        Ok(Company { members: members.sum(), trips: list.elements().iter().filter_map(trip).collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_as_it_is_written() {
        assert_eq!(noted(&note(1_500)), Some(Duration::from_micros(1_500)));
        assert_eq!((noted(""), noted("round_trip_us=soon")), (None, None));
    }
}
