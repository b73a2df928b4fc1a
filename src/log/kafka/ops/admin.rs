//! Reads the state of a cluster, and changes its topics as [`super::plan`] decided. Every call blocks, with a time limit.

use super::coordination::Coordination;
use super::manifest::{self, LogLocation, Pinned};
use super::plan::{ClusterState, Difference, DifferenceKind, TopicState, compare};
use super::topics::{TopicRequirements, TopicSpec};
use crate::log::LogError;
use crate::log::kafka::Cluster;
use crate::log::kafka::client::callbacks::LastClientError;
use crate::log::kafka::client::classify;
use crate::log::kafka::client::reader::offset_of;
use crate::log::kafka::client::settings::{ASK_LIMIT, GROUPS, TRANSACTIONS};
use crate::time::pause;
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, ConfigEntry, ConfigSource, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake};
use std::thread::Thread;
use std::time::Duration;

/// Time between two looks for something that takes a moment to appear, and the most looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);
const LOOKS_MAX: usize = 100;
/// How often a client is polled for the error that it has queued, and for how long each time.
const COMPLAINTS_MAX: usize = 16;
const COMPLAINT_LOOK: Duration = Duration::from_millis(20);

/// A client for the topics of one log.
pub struct Admin {
    pub(super) cluster: Cluster,
    last_error: LastClientError,
    /// For questions. A consumer does not create a topic by asking about it.
    pub(super) asks: BaseConsumer<LastClientError>,
    client: AdminClient<LastClientError>,
}

impl Admin {
    /// Opens no connection yet.
    ///
    /// # Errors
    /// [`LogError`] when the settings make no client, for example because a key file cannot be read.
    pub fn new(cluster: Cluster) -> Result<Admin, LogError> {
        let last_error = LastClientError::default();
        let cannot = |error| LogError::operator(format!("cannot make a client of kafka: {error}"));
        let asks = cluster.reader_to_end().create_with_context(last_error.clone()).map_err(cannot)?;
        let client = cluster.plain().create_with_context(last_error.clone()).map_err(cannot)?;
        Ok(Admin { cluster, last_error, asks, client })
    }

    /// The cluster's id, which its brokers agree on.
    ///
    /// # Errors
    /// [`LogError`] when no broker answers.
    pub fn cluster_id(&self) -> Result<String, LogError> {
        let cannot = |error| self.unanswered(&error);
        // Any metadata answer has the id. Without one the library would look for it only later.
        self.asks.fetch_metadata(Some(&self.cluster.topics.manifest), ASK_LIMIT).map_err(cannot)?;
        let id = self.asks.client().fetch_cluster_id(ASK_LIMIT);
        id.ok_or_else(|| cannot(KafkaError::MetadataFetch(RDKafkaErrorCode::BrokerTransportFailure)))
    }

    /// Waits until any broker answers, for `limit` at most.
    ///
    /// # Errors
    /// [`LogError`] when none does. It names those that were asked.
    pub fn answers(&self, limit: Duration) -> Result<(), LogError> {
        let answer = self.asks.fetch_metadata(Some(&self.cluster.topics.manifest), limit);
        answer.map(drop).map_err(|error| self.unanswered(&error))
    }

    /// The state of the log's topics and of its manifest.
    ///
    /// # Errors
    /// [`LogError`] when a broker does not answer, or refuses us.
    pub fn look(&self) -> Result<ClusterState, LogError> {
        let mut topics = BTreeMap::new();
        for name in self.cluster.topics.all() {
            if let Some(found) = self.partitions_of(name)? {
                topics.insert(name.to_owned(), found);
            }
        }
        for (name, found) in &mut topics {
            let value = |entry: ConfigEntry| (entry.name, entry.value.unwrap_or_default());
            found.config = self.settings_of(name)?.into_iter().map(value).collect();
        }
        let is_there = topics.contains_key(&self.cluster.topics.manifest);
        let manifest = if is_there { manifest::read(&self.asks, &self.cluster.topics.manifest)? } else { Ok(None) };
        let has_events = self.has_events(topics.get(&self.cluster.topics.events))?;
        let place = LogLocation::on(&self.cluster, self.cluster_id()?);
        Ok(ClusterState { topics, manifest, place, has_events })
    }

    /// The state of what transactions and the group depend on. A broker that does not tell its settings is no error here.
    pub(super) fn coordination(&self) -> Coordination {
        Coordination {
            brokers: self.brokers(),
            transactions: self.internal(TRANSACTIONS),
            groups: self.internal(GROUPS),
        }
    }

    /// The settings of every broker, or why they are not known.
    fn brokers(&self) -> BTreeMap<i32, Result<BTreeMap<String, String>, String>> {
        let Ok(metadata) = self.asks.fetch_metadata(Some(&self.cluster.topics.manifest), ASK_LIMIT) else {
            return BTreeMap::new();
        };
        let settings = |id: i32| {
            let none = || format!("broker {id} tells no settings: is DescribeConfigs on the cluster allowed?");
            self.told_of(&ResourceSpecifier::Broker(id)).ok_or_else(none)
        };
        metadata.brokers().iter().map(|broker| (broker.id(), settings(broker.id()))).collect()
    }

    /// One of the cluster's own topics; `None` when it does not exist yet.
    fn internal(&self, name: &str) -> Option<Result<TopicState, String>> {
        let found = self.partitions_of(name).transpose()?.map_err(|error| error.to_string());
        let none = || format!("kafka tells no settings of {name}: is DescribeConfigs allowed?");
        Some(found.and_then(|found| {
            let config = self.told_of(&ResourceSpecifier::Topic(name)).ok_or_else(none)?;
            Ok(TopicState { config, ..found })
        }))
    }

    /// The settings of something that has existed for some time; `None` when the cluster does not tell them.
    fn told_of(&self, resource: &ResourceSpecifier<'_>) -> Option<BTreeMap<String, String>> {
        let answers = wait(self.client.describe_configs([resource], &limited()));
        let entries = answers.ok()?.pop()?.ok()?.entries;
        let pairs = entries.into_iter().map(|entry| (entry.name, entry.value.unwrap_or_default()));
        Some(pairs.collect()).filter(|settings: &BTreeMap<_, _>| !settings.is_empty())
    }

    fn partitions_of(&self, name: &str) -> Result<Option<TopicState>, LogError> {
        let cannot = |error: &KafkaError| self.cannot(format_args!("cannot ask kafka about {name}"), error);
        let metadata = self.asks.fetch_metadata(Some(name), ASK_LIMIT).map_err(|error| cannot(&error))?;
        let Some(topic) = metadata.topics().iter().find(|topic| topic.name() == name) else { return Ok(None) };
        let exists = classify::topic_exists(topic.error().map(RDKafkaErrorCode::from));
        if !exists.map_err(|code| cannot(&KafkaError::MetadataFetch(code)))? {
            return Ok(None);
        }
        let partitions = topic.partitions();
        let replicas = partitions.iter().map(|partition| partition.replicas().len()).min().unwrap_or_default();
        Ok(Some(TopicState {
            partitions: u32::try_from(partitions.len()).unwrap_or(u32::MAX),
            replicas: u16::try_from(replicas).unwrap_or(u16::MAX),
            config: BTreeMap::new(),
        }))
    }

    fn settings_of(&self, name: &str) -> Result<Vec<ConfigEntry>, LogError> {
        let cannot =
            |error: &KafkaError| self.cannot(format_args!("cannot ask kafka for the settings of {name}"), error);
        let asked = [ResourceSpecifier::Topic(name)];
        let told = soon(|| {
            let mut answers = wait(self.client.describe_configs(&asked, &limited()))?;
            let resource = answers.pop().transpose().map_err(KafkaError::AdminOp)?;
            // The library does not report why there are none.
            Ok(resource.map(|resource| resource.entries).filter(|entries| !entries.is_empty()))
        });
        let none = format!("kafka tells no settings of {name}: is DescribeConfigs allowed?");
        told.map_err(|error| cannot(&error))?.ok_or_else(|| LogError::operator(none))
    }

    fn has_events(&self, events: Option<&TopicState>) -> Result<bool, LogError> {
        let topic = &self.cluster.topics.events;
        let cannot = |error: &KafkaError| self.cannot(format_args!("cannot ask kafka for the end of {topic}"), error);
        for partition in 0..events.map_or(0, |found| found.partitions) {
            let partition = i32::try_from(partition).unwrap_or(i32::MAX);
            let ends = soon(|| match self.asks.fetch_watermarks(topic, partition, ASK_LIMIT) {
                Err(error) if classify::is_of_new_topic(&error) => Ok(None),
                ends => ends.map(Some),
            });
            let nobody = KafkaError::MetadataFetch(RDKafkaErrorCode::LeaderNotAvailable);
            if ends.map_err(|error| cannot(&error))?.ok_or_else(|| cannot(&nobody))?.1 > 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Makes these differences disappear, none of which is refused. What exists already is not touched, so after a failure a
    /// second call does the rest.
    ///
    /// # Errors
    /// [`LogError`] of the first step that the cluster refuses.
    pub fn apply(&self, differences: &[Difference], made: &Pinned) -> Result<(), LogError> {
        let missing = differences.iter().filter_map(|difference| match &difference.what {
            DifferenceKind::Missing(wanted) => Some(wanted),
            _ => None,
        });
        self.create(&missing.collect::<Vec<_>>())?;
        let mut changes: BTreeMap<&str, BTreeMap<&str, &str>> = BTreeMap::new();
        for difference in differences {
            if let DifferenceKind::Setting { name, wanted, .. } = &difference.what {
                changes.entry(&difference.topic).or_default().insert(name, wanted);
            }
        }
        for (topic, settings) in changes {
            self.set(topic, &settings)?;
        }
        match differences.iter().any(|difference| matches!(difference.what, DifferenceKind::NoManifest { .. })) {
            true => manifest::write(&self.cluster, &self.asks, made),
            false => Ok(()),
        }
    }

    /// What still differs after [`Admin::apply`]. A controller answers before the broker that is asked next has heard of the change,
    /// so it is looked at again until nothing differs, [`LOOKS_MAX`] times at most.
    ///
    /// # Errors
    /// As of [`Admin::look`].
    pub fn left(&self, asked: &TopicRequirements) -> Result<Vec<Difference>, LogError> {
        let mut left = Vec::new();
        soon(|| {
            left = compare(asked, &self.look()?);
            Ok::<_, LogError>(left.is_empty().then_some(()))
        })?;
        Ok(left)
    }

    /// Deletes the records of a topic's partition before this offset.
    ///
    /// # Errors
    /// [`LogError`] when the cluster does not do it, or we lack the permission.
    pub fn trim(&self, topic: &str, partition: u32, until: u64) -> Result<(), LogError> {
        let what = format_args!("cannot remove records of {topic}/{partition}");
        let number = i32::try_from(partition).unwrap_or(i32::MAX);
        let offset = Offset::Offset(offset_of(until));
        let mut list = TopicPartitionList::new();
        let added = list.add_partition_offset(topic, number, offset);
        let trimmed = added.and_then(|()| wait(self.client.delete_records(&list, &limited())));
        let answered = trimmed.and_then(|answers| answers.elements().iter().try_for_each(|element| element.error()));
        answered.map_err(|error| self.cannot(what, &error))
    }

    fn create(&self, topics: &[&TopicSpec]) -> Result<(), LogError> {
        let new = topics.iter().map(|wanted| {
            let count = |count: u32| i32::try_from(count).unwrap_or(i32::MAX);
            let replication = TopicReplication::Fixed(count(wanted.replicas.into()));
            let new = NewTopic::new(&wanted.name, count(wanted.partitions), replication);
            wanted.config.iter().fold(new, |new, (name, text)| new.set(name, text))
        });
        let new: Vec<NewTopic<'_>> = new.collect();
        if new.is_empty() {
            return Ok(());
        }
        let answers = wait(self.client.create_topics(&new, &limited()));
        for answer in answers.map_err(|error| self.cannot(format_args!("cannot create topics"), &error))? {
            answer.map_err(|(topic, code)| {
                LogError::new(classify::of_code(code), format!("cannot create {topic}: {code}"))
            })?;
        }
        for TopicSpec { name, partitions, .. } in topics {
            let made =
                soon(|| Ok::<_, LogError>(self.partitions_of(name)?.filter(|found| found.partitions == *partitions)));
            made?.ok_or_else(|| {
                LogError::transient(format!("{name} was created, and no broker knows it yet: apply again"))
            })?;
        }
        Ok(())
    }

    /// The request replaces all settings of a topic, so those that are not ours are sent again.
    fn set(&self, topic: &str, settings: &BTreeMap<&str, &str>) -> Result<(), LogError> {
        let said = self.settings_of(topic)?.into_iter();
        let said = said.filter(|entry| entry.source == ConfigSource::DynamicTopic);
        let said: BTreeMap<String, String> = said.filter_map(|entry| Some((entry.name, entry.value?))).collect();
        let mut alter = AlterConfig::new(ResourceSpecifier::Topic(topic));
        for (name, text) in said.iter().map(|(name, text)| (name.as_str(), text.as_str())) {
            alter = alter.set(name, text);
        }
        for (name, text) in settings {
            alter = alter.set(name, text);
        }
        let what = format_args!("cannot change the settings of {topic}");
        let answers =
            wait(self.client.alter_configs(&[alter], &limited())).map_err(|error| self.cannot(what, &error))?;
        for answer in answers {
            answer.map_err(|(_, code)| self.cannot(what, &KafkaError::AdminOp(code)))?;
        }
        Ok(())
    }

    /// The error of a cluster that does not answer, with advice where one side seems to speak TLS and the other does not.
    fn unanswered(&self, error: &KafkaError) -> LogError {
        let LogError { kind, detail } =
            self.cannot(format_args!("kafka at {} does not answer", self.cluster.brokers), error);
        let protocol = self.cluster.security.get("security.protocol").map_or("plaintext", String::as_str);
        let is_tls = protocol.to_ascii_lowercase().contains("ssl") && !protocol.eq_ignore_ascii_case("sasl_plaintext");
        // A broker that expects TLS closes the connection, and the library reports nothing more.
        let hung_up = classify::ends_with_hang_up(&detail);
        let advice = match is_tls {
            true if detail.contains("wrong version number") => ": it does not seem to speak TLS",
            false if hung_up => ": it closes the connection, which a broker does that expects TLS",
            _ => return LogError { kind, detail },
        };
        LogError::operator(format!("{detail}{advice} (kafka_security_protocol is {protocol})"))
    }

    fn cannot(&self, what: fmt::Arguments<'_>, error: &KafkaError) -> LogError {
        // The library queues its errors until it is polled, and one may still be on its way.
        for _ in 0..COMPLAINTS_MAX {
            if self.last_error.is_none() {
                self.asks.poll(COMPLAINT_LOOK);
            }
        }
        self.last_error.error(what, error)
    }
}

fn limited() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(ASK_LIMIT)).operation_timeout(Some(ASK_LIMIT))
}

/// Looks until something has appeared, [`LOOKS_MAX`] times at most.
fn soon<T, E>(mut look: impl FnMut() -> Result<Option<T>, E>) -> Result<Option<T>, E> {
    for _ in 1..LOOKS_MAX {
        match look()? {
            None => pause(LOOK_EVERY),
            found => return Ok(found),
        }
    }
    look()
}

/// Blocks until a future is ready. The library's own threads complete it, within the limit of the request.
pub fn wait<F: Future>(future: F) -> F::Output {
    struct Waiting(Thread);

    impl Wake for Waiting {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let waker = Arc::new(Waiting(std::thread::current())).into();
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}
