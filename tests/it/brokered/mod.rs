//! What is proven on real brokers, and how tests get at one.

mod answers;
mod canary;
mod checkpoints;
mod claims;
mod client_partitioning;
mod commit_latency;
mod dashboards;
mod dead_letters;
mod fenced;
mod fetched_ahead;
mod foreign_writer;
mod group_offsets;
mod grpc;
pub mod head_gone;
mod levels;
mod lost_commands;
mod lost_data;
mod lost_replies;
mod nemesis;
mod odd_headers;
mod one_owner;
mod open_transactions;
mod operator_tools;
mod proxy;
mod proxy_dead_cluster;
mod proxy_distant_owner;
mod proxy_duplicates;
mod proxy_late_writes;
mod proxy_slow_commits;
mod proxy_unanswered_commit;
mod readiness;
mod rig;
mod runbooks;
mod schemas;
mod secured;
pub mod serve;
pub mod service;
mod shutdown;
mod sink;
mod snapshots;
mod state;
mod swap;
mod three_processes;
mod topics;
mod traces;
mod uncommitted;
mod unknown_schemas;
mod unreadable_partition;
mod unrestorable;
mod wrong_clock;

use crate::rig::Rig;
use crate::wait::until;
use headroom::domain::Micros;
use headroom::limits::COMMAND_WINDOW_MS;
use headroom::log::Manifest;
use headroom::log::kafka::ops::manifest::FORMAT_VERSION;
use headroom::log::kafka::{Cluster, Framing, Kafka, Topics};
use headroom::time::{Clock, SystemClock};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use std::collections::BTreeMap;
use std::time::Duration;

/// A deadline for a command that is decided in the next seconds: none may be much further ahead.
pub fn in_time() -> Micros {
    SystemClock::new().now().plus_ms(COMMAND_WINDOW_MS - 1_000)
}

/// Where the shared broker is.
pub fn brokers() -> String {
    Rig::shared().brokers().to_owned()
}

/// A number that no other test has: they share a broker.
#[expect(clippy::disallowed_methods, reason = "a broker may outlive a run, and other runs are not known")]
pub fn draw() -> u128 {
    rand::random()
}

/// Names that no other test uses.
pub fn prefix() -> String {
    format!("t{:032x}", draw())
}

pub fn cluster(prefix: &str) -> Cluster {
    cluster_on(&brokers(), prefix)
}

/// On these brokers.
pub fn cluster_on(brokers: &str, prefix: &str) -> Cluster {
    Cluster {
        brokers: brokers.to_owned(),
        security: BTreeMap::new(),
        application: "headroom".to_owned(),
        // Like every other log on the broker: names keep nobody apart.
        environment: "dev".to_owned(),
        topics: Topics::of(prefix),
        alternates: true,
    }
}

pub fn make_topics(prefix: &str, partitions: u32) {
    let topics = Topics::of(prefix);
    let count = i32::try_from(partitions).unwrap();
    let client: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", brokers()).create().unwrap();
    let new = |name, count| NewTopic::new(name, count, TopicReplication::Fixed(1));
    let wanted = [
        new(&topics.commands, count),
        new(&topics.events, count),
        new(&topics.replies, 2),
        new(&topics.dead_letters, count),
    ];
    let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(30)));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let made = runtime.block_on(client.create_topics(&wanted, &options)).unwrap();
    assert!(made.iter().all(Result::is_ok), "{made:?}");
    settled(&brokers(), &[(&topics.commands, partitions), (&topics.events, partitions), (&topics.replies, 2)]);
}

/// Waits until these partitions answer: a broker says that they are made before it leads all of them.
pub fn settled(brokers: &str, topics: &[(&str, u32)]) {
    let config = ClientConfig::new().set("bootstrap.servers", brokers).set("group.id", "nobody").clone();
    let reader: BaseConsumer = config.create().unwrap();
    for (topic, partitions) in topics {
        for partition in 0..i32::try_from(*partitions).unwrap() {
            let answers = || reader.fetch_watermarks(topic, partition, Duration::from_secs(5)).is_ok();
            until("the partition has a leader", answers);
        }
    }
}

/// The id of the log of these names: with one that another log on the broker has, each would fence the other.
pub fn log_id(prefix: &str) -> u128 {
    u128::from_str_radix(&prefix[1..], 16).unwrap()
}

pub fn open(prefix: &str, partitions: u32) -> Kafka {
    let manifest = Manifest {
        log_id: log_id(prefix),
        partitions,
        hash_version: 1,
        format_version: FORMAT_VERSION,
        dedup_window_ms: 0,
        memory_version: headroom::limits::MEMORY_VERSION,
        created_at: Micros(0),
    };
    Kafka::open(cluster(prefix), manifest, Framing::none(), draw).unwrap()
}
