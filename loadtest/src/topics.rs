//! Topics that a run creates, with as many copies as the cluster has room for, and deletes at its end.

use headroom::log::kafka::ops::admin::wait;
use headroom::log::kafka::{Cluster, Topics};
use headroom::time::{Clock, Stopwatch, SystemClock, pause};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use std::collections::BTreeMap;
use std::time::Duration;

/// Longest wait for any answer.
const LIMIT: Duration = Duration::from_secs(20);
/// Most copies of a record.
const COPIES_MAX: usize = 3;

/// Topics that are deleted when this is dropped.
pub struct Made {
    admin: AdminClient<DefaultClientContext>,
    names: Vec<String>,
}

/// How many copies of a record there may be on a cluster, and how many of them have to be in sync.
#[derive(Clone, Copy, Debug)]
pub struct Copies {
    /// Copies of each record.
    pub all: usize,
    /// Of those, in sync.
    pub in_sync: usize,
}

impl Copies {
    /// As many as the cluster has brokers for, up to three, of which two then have to be in sync.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn on(cluster: &Cluster) -> Result<Copies, String> {
        let consumer: BaseConsumer = cluster.reader().create().map_err(|e| e.to_string())?;
        let metadata = consumer.fetch_metadata(None, LIMIT).map_err(|e| format!("{}: {e}", cluster.brokers))?;
        let all = metadata.brokers().len().clamp(1, COPIES_MAX);
        Ok(Copies { all, in_sync: all.div_ceil(2) })
    }
}

impl Made {
    /// The three topics of a loop: commands, events, and one partition of replies.
    ///
    /// # Errors
    /// Why they could not be created.
    pub fn make(cluster: &Cluster, partitions: u32) -> Result<Made, String> {
        let topics = &cluster.topics;
        let wanted = [(&topics.commands, partitions), (&topics.events, partitions), (&topics.replies, 1)];
        let copies = Copies::on(cluster)?;
        let in_sync = copies.in_sync.to_string();
        let new = wanted.iter().map(|(name, partitions)| {
            let replication = TopicReplication::Fixed(i32::try_from(copies.all).unwrap_or(1));
            NewTopic::new(name, number(*partitions), replication).set("min.insync.replicas", &in_sync)
        });
        let new: Vec<_> = new.collect();
        let made = Made::of(cluster, wanted.iter().map(|(name, _)| (*name).clone()).collect())?;
        let answers = wait(made.admin.create_topics(&new, &options())).map_err(|e| e.to_string())?;
        for answer in answers {
            answer.map_err(|(topic, code)| format!("cannot create {topic}: {code}"))?;
        }
        let consumer: BaseConsumer = cluster.reader().create().map_err(|e| e.to_string())?;
        for (name, partitions) in wanted {
            (0..partitions).try_for_each(|partition| has_leader(&consumer, name, partition))?;
        }
        Ok(made)
    }

    /// All of Headroom's topics on the cluster, which Headroom itself makes.
    ///
    /// # Errors
    /// When no client can be made.
    pub fn all_of(cluster: &Cluster) -> Result<Made, String> {
        Made::of(cluster, cluster.topics.all().into_iter().map(str::to_owned).collect())
    }

    fn of(cluster: &Cluster, names: Vec<String>) -> Result<Made, String> {
        let admin = cluster.plain().create().map_err(|e| e.to_string())?;
        Ok(Made { admin, names })
    }
}

/// The cluster as Headroom's settings see it, with names that nobody else uses.
pub fn cluster(brokers: &str, purpose: &str) -> Cluster {
    let name = format!("{purpose}-{:x}", SystemClock::new().now().0);
    Cluster {
        brokers: brokers.to_owned(),
        security: BTreeMap::new(),
        application: "headroom".to_owned(),
        environment: name.clone(),
        topics: Topics::of(&name),
        alternates: true,
    }
}

/// The id of the log that the loop pretends to have; it follows from the name of the environment.
pub fn log_id(cluster: &Cluster) -> u128 {
    cluster.environment.bytes().fold(0, |id: u128, byte| id.rotate_left(8) ^ u128::from(byte))
}

/// The number of a partition as the client takes it.
pub fn number(partition: u32) -> i32 {
    i32::try_from(partition).unwrap_or(i32::MAX)
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(LIMIT)).operation_timeout(Some(LIMIT))
}

fn has_leader(consumer: &BaseConsumer, topic: &str, partition: u32) -> Result<(), String> {
    let waiting = Stopwatch::start();
    loop {
        match consumer.fetch_watermarks(topic, number(partition), LIMIT) {
            Ok(_) => return Ok(()),
            Err(error) if waiting.elapsed() > LIMIT => return Err(format!("{topic}/{partition}: {error}")),
            Err(_) => pause(Duration::from_millis(50)),
        }
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        let names: Vec<&str> = self.names.iter().map(String::as_str).collect();
        if names.is_empty() {
            return;
        }
        match wait(self.admin.delete_topics(&names, &options())) {
            Ok(answers) => {
                let left = answers.into_iter().filter_map(Result::err);
                // A topic that was never created cannot remain.
                for (topic, code) in left.filter(|(_, code)| *code != RDKafkaErrorCode::UnknownTopicOrPartition) {
                    eprintln!("headroom-loadtest: {topic} could not be deleted: {code}");
                }
            }
            Err(error) => eprintln!("headroom-loadtest: topics could not be deleted: {error}"),
        }
    }
}
