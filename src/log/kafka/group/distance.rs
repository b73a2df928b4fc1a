//! The round trip to the cluster, and the notes in which owners publish theirs. A note is the metadata of the offset that the
//! group's member commits for a partition. Other processes read it without being members and without asking the owner.

use crate::log::kafka::client::callbacks::ClientLog;
use crate::log::kafka::client::classify::{self, failed};
use crate::log::kafka::client::reader::{Reader, number};
use crate::log::kafka::client::settings::{ASK_LIMIT, group_of};
use crate::log::kafka::data::context::LogContext;
use crate::log::{ClusterDistance, Company, LogError, LogErrorKind, OwnerNotes};
use crate::time::Stopwatch;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::TopicPartitionListElem;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// Longest wait for notes when they are read for their beats, once a second.
const BEATS_LIMIT: Duration = Duration::from_secs(1);
/// Longest round trip that is measured. A process that needs longer counts as out of reach.
const TRIP_LIMIT: Duration = Duration::from_secs(2);
/// Most reports of the client that are looked at after one question.
const REPORTS_MAX: usize = 64;
/// Precedes the round trip in a note, in microseconds.
const TRIP: &str = "round_trip_us=";
/// Precedes the number that is another one in every note of a process.
const BEAT: &str = "beat=";

/// The note of an owner.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Note {
    /// The round trip to the cluster in microseconds; 0 when it is not known.
    pub(in crate::log::kafka) trip_us: u64,
    /// Differs in every note of a process, which shows that the owner is there.
    pub(super) beat: u64,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{TRIP}{} {BEAT}{}", self.trip_us, self.beat)
    }
}

/// The number behind a prefix in a note.
fn noted(text: &str, what: &str) -> Option<u64> {
    text.split(' ').find_map(|part| part.strip_prefix(what)?.parse().ok())
}

/// Which of the client's reports an operator has to do something about.
fn refusal(mut reports: impl Iterator<Item = KafkaError>) -> Option<KafkaError> {
    reports.find(|error| classify::of(error) == LogErrorKind::Operator)
}

/// Reads the notes of owners. It uses the name of the group and is no member.
pub(in crate::log::kafka) struct Notes {
    context: Arc<LogContext>,
    consumer: BaseConsumer<ClientLog>,
}

impl Notes {
    pub(in crate::log::kafka) fn new(context: &Arc<LogContext>) -> Result<Notes, LogError> {
        let consumer = context.cluster.member(context.manifest.log_id).create_with_context(ClientLog::default());
        let consumer = consumer.map_err(|error| failed("creating a consumer of owners' notes", &error))?;
        Ok(Notes { context: Arc::clone(context), consumer })
    }

    /// The note of every partition; `None` where no owner ever wrote one. A partition for which the cluster reports an error
    /// is left out.
    fn read(&self, limit: Duration) -> Result<BTreeMap<u32, Option<String>>, LogError> {
        let mut list = TopicPartitionList::new();
        for partition in 0..self.context.manifest.partitions {
            list.add_partition(&self.context.cluster.topics.commands, number(partition));
        }
        let asked = self.consumer.committed_offsets(list, limit);
        let group = group_of(self.context.manifest.log_id);
        // Where the group is refused, its coordinator is never found: the question runs into its limit, and the client says
        // beside it why, once. What it says after a question that was answered is not kept for a later one.
        let refused = refusal((0..REPORTS_MAX).filter_map(|_| self.consumer.poll(Duration::ZERO)?.err()));
        let list = asked.map_err(|error| {
            let error = refused.unwrap_or(error);
            failed(&format!("reading the notes of group {group}"), &error)
        })?;
        let note = |place: &TopicPartitionListElem<'_>| {
            place.error().ok()?;
            let is_noted = place.offset().to_raw().is_some_and(|offset| offset >= 0);
            Some((u32::try_from(place.partition()).ok()?, is_noted.then(|| place.metadata().to_owned())))
        };
        Ok(list.elements().iter().filter_map(note).collect())
    }
}

impl OwnerNotes for Notes {
    fn beats(&self) -> Result<BTreeMap<u32, Option<u64>>, LogError> {
        let beat = |note: Option<String>| note.map_or(Some(0), |note| noted(&note, BEAT));
        Ok(self.read(BEATS_LIMIT)?.into_iter().map(|(partition, note)| (partition, beat(note))).collect())
    }
}

/// Measures it, with a client of its own.
pub(in crate::log::kafka) struct Distance {
    context: Arc<LogContext>,
    reader: Reader,
    notes: Notes,
}

impl Distance {
    pub(in crate::log::kafka) fn new(context: &Arc<LogContext>) -> Result<Distance, LogError> {
        let reader = Reader::uncommitted(&context.cluster)?;
        Ok(Distance { context: Arc::clone(context), reader, notes: Notes::new(context)? })
    }
}

impl ClusterDistance for Distance {
    fn round_trip(&self, partition: u32) -> Option<Duration> {
        let asking = Stopwatch::start();
        let answer = self.reader.bounds_within(self.context.events(partition), TRIP_LIMIT);
        let trip = answer.is_ok().then(|| asking.elapsed());
        let trip_us = trip.map_or(0, |trip| u64::try_from(trip.as_micros()).unwrap_or(u64::MAX));
        self.context.round_trip_us.store(trip_us, Relaxed);
        trip
    }

    fn company(&self) -> Result<Company, LogError> {
        // The notes come from the group's coordinator: when they are here, it has the group. While the group moves to another
        // broker, the list of groups may come without it and without an error: of what several brokers answer, the library
        // keeps the error of the last one only.
        let notes = self.notes.read(ASK_LIMIT)?;
        let group = group_of(self.context.manifest.log_id);
        let asked = self.reader.consumer().fetch_group_list(Some(&group), ASK_LIMIT);
        let groups = asked.map_err(|error| failed(&group, &error))?;
        let members = groups.groups().iter().filter(|found| found.name() == group).map(|found| found.members().len());
        let trip = |(partition, note): (u32, Option<String>)| {
            let trip_us = noted(&note?, TRIP).filter(|trip_us| *trip_us > 0)?;
            Some((partition, Duration::from_micros(trip_us)))
        };
        let trips = notes.into_iter().filter_map(trip);
        Ok(Company { members: members.sum(), round_trips: trips.collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdkafka::error::RDKafkaErrorCode as Code;
    use std::iter::once;

    /// The story: a gateway's right to read the group of owners was lacking. The question only took too long.
    #[test]
    fn what_the_client_reports_beside_a_question_says_that_it_is_refused() {
        let reports = [Code::AllBrokersDown, Code::GroupAuthorizationFailed, Code::OperationTimedOut];
        let refused = KafkaError::MessageConsumption(Code::GroupAuthorizationFailed);
        assert_eq!(refusal(reports.into_iter().map(KafkaError::MessageConsumption)), Some(refused));
        assert_eq!(refusal(once(KafkaError::MessageConsumption(Code::AllBrokersDown))), None);
    }

    #[test]
    fn a_note_is_read_as_it_is_written() {
        let note = Note { trip_us: 1_500, beat: 7 }.to_string();
        assert_eq!((noted(&note, TRIP), noted(&note, BEAT)), (Some(1_500), Some(7)));
        // That of an older version.
        assert_eq!((noted("round_trip_us=9", TRIP), noted("round_trip_us=9", BEAT)), (Some(9), None));
        assert_eq!((noted("", TRIP), noted("round_trip_us=soon", TRIP)), (None, None));
    }
}
