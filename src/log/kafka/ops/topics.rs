//! The topics of a log, as the files in `topics/` declare them, and the permissions for them.

use crate::log::kafka::client::settings::{GROUPS, TRANSACTIONS, group_of, processes_of, transactional_ids};
use crate::log::kafka::{Cluster, Topics};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::LazyLock;

static DECLARED: LazyLock<Vec<Declared>> = LazyLock::new(|| {
    let files = [
        include_str!("../../../../topics/commands.yaml"),
        include_str!("../../../../topics/events.yaml"),
        include_str!("../../../../topics/replies.yaml"),
        include_str!("../../../../topics/dead-letters.yaml"),
        include_str!("../../../../topics/manifest.yaml"),
    ];
    let declared = files.map(|text| match serde_norway::from_str(text) {
        Ok(declared) => declared,
        Err(error) => unreachable!("an embedded topic is none: {error}"),
    });
    declared.into()
});

/// The role of a topic in the log. A file names it by the setting for the topic's name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
pub enum Purpose {
    /// Commands of callers.
    #[serde(rename = "topic_commands")]
    Commands,
    /// Events, one for each decision.
    #[serde(rename = "topic_events")]
    Events,
    /// Replies to gateways.
    #[serde(rename = "topic_replies")]
    Replies,
    /// Commands that nobody can decide.
    #[serde(rename = "topic_dead_letters")]
    DeadLetters,
    /// The manifest of the log.
    #[serde(rename = "topic_manifest")]
    Manifest,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Declared {
    name: Purpose,
    #[expect(dead_code, reason = "for who reads the file; a file without it is refused")]
    carries: String,
    partitions: Value,
    replication: Value,
    config: BTreeMap<String, Value>,
    acl: BTreeMap<Role, Vec<String>>,
}

/// Who gets permissions.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Role {
    Gateway,
    Owner,
    Operator,
    Analyst,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Gateway => "gateway",
            Role::Owner => "owner",
            Role::Operator => "operator",
            Role::Analyst => "analyst",
        })
    }
}

#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(untagged)]
enum Value {
    Switch(bool),
    Number(i64),
    /// The name of a setting of Headroom, whose value it stands for, or a value of Kafka.
    Text(String),
}

impl Value {
    fn text(&self, asked: &TopicRequirements, partitions: u32) -> String {
        match self {
            Value::Switch(is_on) => is_on.to_string(),
            Value::Number(number) => number.to_string(),
            Value::Text(text) => match text.as_str() {
                "log" => partitions.to_string(),
                "kafka_replication" => asked.replication.to_string(),
                "kafka_min_in_sync" => asked.min_in_sync.to_string(),
                "kafka_events_keep" => asked.events_keep.map_or("-1".to_owned(), |keep| keep.ms.to_string()),
                text => text.to_owned(),
            },
        }
    }
}

/// What the configuration asks of the topics.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TopicRequirements {
    /// How many partitions the log must have; `None` takes the number that it has.
    pub partitions: Option<u32>,
    /// The least number of replicas of every topic.
    pub replication: u16,
    /// The least number of replicas that must have a record before it counts as written.
    pub min_in_sync: u16,
    /// How long events are kept; `None` for ever.
    pub events_keep: Option<EventsKeep>,
}

/// How long events are kept when snapshots cover those that go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EventsKeep {
    /// For so long, in milliseconds.
    pub ms: u64,
    /// A server accepts no topic that keeps them for less, in milliseconds.
    pub min_ms: u64,
}

/// A topic as the log needs it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TopicSpec {
    /// The topic's role in the log.
    pub purpose: Purpose,
    /// The configured name.
    pub name: String,
    /// The exact number of partitions.
    pub partitions: u32,
    /// The least number of replicas.
    pub replicas: u16,
    /// Kafka's names of the settings and their values. Other settings of the topic are left alone.
    pub config: BTreeMap<String, String>,
}

/// All topics that a log with this number of partitions needs.
pub fn wanted(topics: &Topics, asked: &TopicRequirements, partitions: u32) -> Vec<TopicSpec> {
    let wanted = |declared: &Declared| {
        let text = |value: &Value| value.text(asked, partitions);
        TopicSpec {
            purpose: declared.name,
            name: topics.of_purpose(declared.name).to_owned(),
            partitions: text(&declared.partitions).parse().unwrap_or(partitions),
            replicas: text(&declared.replication).parse().unwrap_or(asked.replication),
            config: declared.config.iter().map(|(name, value)| (name.clone(), text(value))).collect(),
        }
    };
    DECLARED.iter().map(wanted).collect()
}

impl Topics {
    /// The settings for the names, in the order of [`Topics::all`].
    pub(super) const SETTINGS: [&str; 5] =
        ["topic_commands", "topic_events", "topic_replies", "topic_dead_letters", "topic_manifest"];

    /// All names, in the order of the files.
    pub fn all(&self) -> [&str; 5] {
        [&self.commands, &self.events, &self.replies, &self.dead_letters, &self.manifest].map(String::as_str)
    }

    fn of_purpose(&self, purpose: Purpose) -> &str {
        match purpose {
            Purpose::Commands => &self.commands,
            Purpose::Events => &self.events,
            Purpose::Replies => &self.replies,
            Purpose::DeadLetters => &self.dead_letters,
            Purpose::Manifest => &self.manifest,
        }
    }
}

/// The permissions of every role, as calls of `kafka-acls.sh`, because the client library has no calls for them. Users are
/// called `User:<application>-<role>`; replace the names where yours differ. The permissions for transactional ids and the
/// group need the id of the log, and are left out before there is one. With them only owners of this log can use a
/// transactional id that fences its owners.
pub fn acls(cluster: &Cluster, log_id: Option<u128>) -> Vec<String> {
    let mut lines = Vec::new();
    let mut allow = |role: Role, operations: &[&str], on: &str| {
        let operations: Vec<String> = operations.iter().map(|operation| format!("--operation {operation}")).collect();
        let user = format!("User:{}-{role}", cluster.application);
        let add = format!("kafka-acls.sh --bootstrap-server {} --add --allow-principal", cluster.brokers);
        lines.push(format!("{add} {user} {} {on}", operations.join(" ")));
    };
    for declared in DECLARED.iter() {
        let on = format!("--topic {}", cluster.topics.of_purpose(declared.name));
        for (role, operations) in &declared.acl {
            allow(*role, &operations.iter().map(String::as_str).collect::<Vec<_>>(), &on);
        }
    }
    if let Some(log_id) = log_id {
        let turns = format!("--transactional-id {} --resource-pattern-type prefixed", transactional_ids(log_id));
        allow(Role::Owner, &["Describe", "Write"], &turns);
        let owners = format!("--group {}", group_of(log_id));
        allow(Role::Owner, &["Describe", "Read"], &owners);
        // A gateway reads which partitions have owners.
        allow(Role::Gateway, &["Describe"], &owners);
        // Every process says that it is there and what it can read; an operator looks at all of them.
        let processes = format!("--group {}", processes_of(log_id));
        for role in [Role::Gateway, Role::Owner] {
            allow(role, &["Describe", "Read"], &processes);
        }
        for group in [&processes, &owners] {
            allow(Role::Operator, &["Describe"], group);
        }
    }
    // A server checks the brokers and the cluster's own topics before it starts.
    for role in [Role::Gateway, Role::Owner] {
        allow(role, &["DescribeConfigs"], "--cluster");
        for topic in [TRANSACTIONS, GROUPS] {
            allow(role, &["Describe", "DescribeConfigs"], &format!("--topic {topic}"));
        }
    }
    allow(Role::Operator, &["Describe"], "--cluster");
    // Analysts may use consumer groups whose names begin with that of the role.
    let groups = format!("--group {}-{} --resource-pattern-type prefixed", cluster.application, Role::Analyst);
    allow(Role::Analyst, &["Describe", "Read"], &groups);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::COMMAND_BYTES_MAX;

    const ASKED: TopicRequirements =
        TopicRequirements { partitions: None, replication: 5, min_in_sync: 3, events_keep: None };

    #[test]
    fn every_file_declares_another_topic() {
        let wanted = wanted(&Topics::of("x"), &ASKED, 7);
        let told: Vec<(&str, u32, u16, &str)> = wanted
            .iter()
            .map(|topic| (&*topic.name, topic.partitions, topic.replicas, &*topic.config["cleanup.policy"]))
            .collect();
        let expected = [
            ("x.commands", 7, 5, "delete"),
            ("x.events", 7, 5, "delete"),
            ("x.replies", 8, 5, "delete"),
            ("x.dead-letters", 7, 5, "delete"),
            ("x.manifest", 1, 5, "compact"),
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn every_topic_is_kept_as_asked_and_takes_what_is_written() {
        for topic in wanted(&Topics::of("x"), &ASKED, 7) {
            let number = |name: &str| topic.config[name].parse::<usize>().unwrap();
            assert_eq!(number("min.insync.replicas"), 3, "{}", topic.name);
            assert!(number("max.message.bytes") > 2 * COMMAND_BYTES_MAX, "{}", topic.name);
            assert_eq!(topic.config["compression.type"], "producer");
        }
        let events = wanted(&Topics::of("x"), &ASKED, 7).remove(1);
        assert_eq!((&*events.config["retention.ms"], &*events.config["retention.bytes"]), ("-1", "-1"));
    }

    #[test]
    fn nobody_but_an_owner_writes_events() {
        let text = "{brokers: k, security: none}";
        let cluster = Cluster {
            brokers: "k:9092".to_owned(),
            security: BTreeMap::from([("sasl.password".to_owned(), text.to_owned())]),
            application: "headroom".to_owned(),
            environment: "prod".to_owned(),
            topics: Topics::of("h"),
            alternates: true,
        };
        assert!(acls(&cluster, None).iter().all(|line| !line.contains("--transactional-id")));
        let acls = acls(&cluster, Some(0x2a));
        let writers: Vec<&String> =
            acls.iter().filter(|line| line.contains("Write") && line.ends_with("--topic h.events")).collect();
        let add = "kafka-acls.sh --bootstrap-server k:9092 --add --allow-principal";
        let owner = format!(
            "{add} User:headroom-owner --operation Describe --operation DescribeConfigs --operation Read \
             --operation Write --topic h.events"
        );
        assert_eq!(writers, [&owner]);
        let turns = "--operation Write --transactional-id headroom.0000000000000000000000000000002a. \
                     --resource-pattern-type prefixed";
        assert!(acls.iter().any(|line| line.contains("headroom-owner") && line.ends_with(turns)), "{acls:?}");
        assert!(acls.iter().all(|line| !line.contains(text)));
        let reads = "User:headroom-analyst --operation Describe --operation Read --group headroom-analyst \
                     --resource-pattern-type prefixed";
        assert!(acls.iter().any(|line| line.ends_with(reads)), "{acls:?}");
    }
}
