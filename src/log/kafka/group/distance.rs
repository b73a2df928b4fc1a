//! How far the cluster is, and whether others in the group of owners are nearer. Owners note it with how far they are:
//! those notes are all that a process has of the others without asking them.

use crate::log::LogError;
use crate::log::kafka::client::classify::failed;
use crate::log::kafka::client::context::ClientLog;
use crate::log::kafka::client::reader::{Reader, number};
use crate::log::kafka::client::settings::{ASK_LIMIT, group_of};
use crate::log::kafka::{Inner, Kafka};
use crate::time::Stopwatch;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::topic_partition_list::TopicPartitionListElem;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// Longest wait for notes that are read all the time.
const BEATS_LIMIT: Duration = Duration::from_secs(1);
/// Longest wait for an answer: who is further away than this is out of reach.
const TRIP_LIMIT: Duration = Duration::from_secs(2);
/// Begins what a note says of the way to the cluster, in microseconds.
const TRIP: &str = "round_trip_us=";
/// Begins what a note says that no other says of its process.
const BEAT: &str = "beat=";

/// What an owner notes of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Note {
    /// What a round trip to the cluster takes; 0 when that is not known.
    pub(in crate::log::kafka) trip_us: u64,
    /// Another number in every note of a process.
    pub(super) beat: u64,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{TRIP}{} {BEAT}{}", self.trip_us, self.beat)
    }
}

/// What a note says after this.
fn noted(text: &str, what: &str) -> Option<u64> {
    text.split(' ').find_map(|part| part.strip_prefix(what)?.parse().ok())
}

/// Reads the notes of owners, in the group's name and as no member of it.
pub struct Notes {
    inner: Arc<Inner>,
    consumer: BaseConsumer<ClientLog>,
}

impl Notes {
    fn new(inner: &Arc<Inner>) -> Result<Notes, LogError> {
        let consumer = inner.cluster.member(inner.manifest.log_id).create_with_context(ClientLog::default());
        let consumer = consumer.map_err(|error| failed("a reader of notes", &error))?;
        Ok(Notes { inner: Arc::clone(inner), consumer })
    }

    /// Of every partition of which the group says something: what is noted of it, nothing where nobody ever did.
    fn read(&self, limit: Duration) -> Result<BTreeMap<u32, Option<String>>, LogError> {
        let mut list = TopicPartitionList::new();
        for partition in 0..self.inner.manifest.partitions {
            list.add_partition(&self.inner.cluster.topics.commands, number(partition));
        }
        let asked = self.consumer.committed_offsets(list, limit);
        let group = group_of(self.inner.manifest.log_id);
        let list = asked.map_err(|error| failed(&format!("{group}: its notes"), &error))?;
        let note = |place: &TopicPartitionListElem<'_>| {
            place.error().ok()?;
            let is_noted = place.offset().to_raw().is_some_and(|offset| offset >= 0);
            Some((u32::try_from(place.partition()).ok()?, is_noted.then(|| place.metadata().to_owned())))
        };
        Ok(list.elements().iter().filter_map(note).collect())
    }

    /// By what the owner of each partition showed last that it is there: 0 where nobody ever did, and nothing where it does
    /// not say, as owners of an older version do not.
    ///
    /// # Errors
    /// [`LogError`] when the cluster does not say.
    pub fn beats(&self) -> Result<BTreeMap<u32, Option<u64>>, LogError> {
        let beat = |note: Option<String>| note.map_or(Some(0), |note| noted(&note, BEAT));
        Ok(self.read(BEATS_LIMIT)?.into_iter().map(|(partition, note)| (partition, beat(note))).collect())
    }
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
    notes: Notes,
}

impl Kafka {
    /// Begins to measure.
    ///
    /// # Errors
    /// [`LogError`] when no client can be made.
    pub fn distance(&self) -> Result<Distance, LogError> {
        let inner = Arc::clone(&self.inner);
        let reader = Reader::uncommitted(&inner.cluster)?;
        let notes = Notes::new(&inner)?;
        Ok(Distance { inner, reader, notes })
    }

    /// Begins to read what owners note.
    ///
    /// # Errors
    /// [`LogError`] when no client can be made.
    pub fn notes(&self) -> Result<Notes, LogError> {
        Notes::new(&self.inner)
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
        let group = group_of(self.inner.manifest.log_id);
        let asked = self.reader.consumer().fetch_group_list(Some(&group), ASK_LIMIT);
        let groups = asked.map_err(|error| failed(&group, &error))?;
        let members = groups.groups().iter().filter(|found| found.name() == group).map(|found| found.members().len());
        let trip = |(partition, note): (u32, Option<String>)| {
            let trip_us = noted(&note?, TRIP).filter(|trip_us| *trip_us > 0)?;
            Some((partition, Duration::from_micros(trip_us)))
        };
        let trips = self.notes.read(ASK_LIMIT)?.into_iter().filter_map(trip);
        Ok(Company { members: members.sum(), trips: trips.collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_as_it_is_written() {
        let note = Note { trip_us: 1_500, beat: 7 }.to_string();
        assert_eq!((noted(&note, TRIP), noted(&note, BEAT)), (Some(1_500), Some(7)));
        // That of an older version.
        assert_eq!((noted("round_trip_us=9", TRIP), noted("round_trip_us=9", BEAT)), (Some(9), None));
        assert_eq!((noted("", TRIP), noted("round_trip_us=soon", TRIP)), (None, None));
    }
}
