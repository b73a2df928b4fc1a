//! The one table of settings: what each is called, what it is when nobody sets it, and what it is for.

use crate::limits::{
    DEADLINE_DEFAULT_MS, MIN_IN_SYNC_DEFAULT, PARTITIONS_DEFAULT, REGISTRY_TIMEOUT_DEFAULT_MS, REPLICATION_DEFAULT,
};
use std::fmt;

/// How a setting is typed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// As a text, called so in the help of the command line.
    Text(&'static str),
    /// As a whole number, called so there.
    Number(&'static str),
    /// As true or false.
    Truth,
    /// As a text that is never shown, and no flag: every user of a machine can read those.
    Secret,
}

macro_rules! settings {
    ($($name:ident = $text:literal, $flag:literal, $default:expr, $kind:expr, $help:expr;)*) => {
        /// Everything that can be set.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub enum Setting { $(#[doc = concat!("`", $text, "`: see [`Setting::doc`].")] $name,)* }

        impl Setting {
            /// All of them.
            pub const ALL: &[Setting] = &[$(Setting::$name,)*];

            /// Its key in the file.
            pub fn name(self) -> &'static str {
                match self { $(Setting::$name => $text,)* }
            }

            /// Its flag, unless it is a secret.
            pub fn flag(self) -> &'static str {
                match self { $(Setting::$name => $flag,)* }
            }

            /// What it is when nobody sets it; `None` when it is then absent.
            pub fn default(self) -> Option<String> {
                let default: Option<&dyn fmt::Display> = match self { $(Setting::$name => $default,)* };
                default.map(ToString::to_string)
            }

            /// What it is for.
            pub fn doc(self) -> String {
                match self { $(Setting::$name => $help.to_string(),)* }
            }

            /// How it is typed.
            pub fn kind(self) -> Kind {
                match self { $(Setting::$name => $kind,)* }
            }
        }
    };
}

settings! {
    Listen = "listen", "--listen", Some(&"127.0.0.1:8080"), Kind::Text("ADDR"),
        "where HTTP is served; port 0 takes any free one";
    DataDir = "data_dir", "--data-dir", Some(&".headroom"), Kind::Text("DIR"), "where log and checkpoints are";
    Partitions = "partitions", "--partitions", None, Kind::Number("N"),
        format_args!("as many partitions as the log has, {PARTITIONS_DEFAULT} for a new one");
    LogFormat = "log_format", "--log-format", Some(&"text"), Kind::Text("FORMAT"),
        "how log lines are written: text or json";
    LogLevel = "log_level", "--log-level", Some(&"info"), Kind::Text("LEVEL"),
        "which log lines are written: a level, or module=level with commas between";
    DeadlineDefaultMs = "deadline_default_ms", "--deadline-default-ms", Some(&DEADLINE_DEFAULT_MS), Kind::Number("MS"),
        "how long a call may take whose caller names no time";
    Hosts = "hosts", "--hosts", None, Kind::Text("NAME,..."),
        "names that callers may call this service by to change anything; localhost and addresses always are";
    ConnectionsPerAddress = "connections_per_address", "--connections-per-address", None, Kind::Number("N"),
        "how many connections one address may have; for one more its longest idle one is closed";
    KafkaBrokers = "kafka_brokers", "--kafka-brokers", None, Kind::Text("HOST:PORT,..."),
        "the Kafka cluster that carries the log; without one the log is embedded";
    KafkaSecurityProtocol = "kafka_security_protocol", "--kafka-security-protocol", Some(&"plaintext"),
        Kind::Text("PROTOCOL"), "how brokers are spoken to: plaintext, ssl, sasl_plaintext or sasl_ssl";
    KafkaSaslMechanism = "kafka_sasl_mechanism", "--kafka-sasl-mechanism", None, Kind::Text("MECHANISM"),
        "how the user is shown to brokers: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512";
    KafkaSaslUsername = "kafka_sasl_username", "--kafka-sasl-username", None, Kind::Text("NAME"),
        "the user that brokers are asked as";
    KafkaSaslPassword = "kafka_sasl_password", "", None, Kind::Secret, "that user's password";
    KafkaSaslPasswordFile = "kafka_sasl_password_file", "--kafka-sasl-password-file", None, Kind::Text("FILE"),
        "a file that holds that user's password";
    KafkaSslCa = "kafka_ssl_ca", "--kafka-ssl-ca", None, Kind::Text("FILE"),
        "a PEM file of who may have signed the brokers' certificates, if the machine does not know them";
    KafkaSslCertificate = "kafka_ssl_certificate", "--kafka-ssl-certificate", None, Kind::Text("FILE"),
        "a PEM file of the certificate that is shown to brokers";
    KafkaSslKey = "kafka_ssl_key", "--kafka-ssl-key", None, Kind::Text("FILE"), "a PEM file of that certificate's key";
    KafkaSslKeyPassword = "kafka_ssl_key_password", "", None, Kind::Secret, "that key's password, if it has one";
    KafkaSslKeyPasswordFile = "kafka_ssl_key_password_file", "--kafka-ssl-key-password-file", None, Kind::Text("FILE"),
        "a file that holds that key's password";
    KafkaClusterId = "kafka_cluster_id", "--kafka-cluster-id", None, Kind::Text("ID"),
        "the id that the cluster must have; otherwise that of the first start";
    KafkaReplication = "kafka_replication", "--kafka-replication", Some(&REPLICATION_DEFAULT), Kind::Number("N"),
        "how many brokers hold every topic, at least";
    KafkaMinInSync = "kafka_min_in_sync", "--kafka-min-in-sync", Some(&MIN_IN_SYNC_DEFAULT), Kind::Number("N"),
        "how many of them have a record before it counts as written, at least";
    KafkaAlternatingProducers = "kafka_alternating_producers", "--kafka-alternating-producers", Some(&true), Kind::Truth,
        "whether two producers take turns on a partition: neither waits until the other's transaction has ended";
    Application = "application", "--application", Some(&"headroom"), Kind::Text("NAME"),
        "begins the names of clients, and of the users that headroom topics acls lets in; the log's manifest pins it";
    Environment = "environment", "--environment", Some(&"dev"), Kind::Text("NAME"),
        "what the log is for, such as prod: its manifest pins it, and a process that says something else is refused";
    Roles = "roles", "--roles", Some(&"gateway,owner"), Kind::Text("ROLE,..."),
        "what this process does on a cluster: gateway, owner, or both";
    RegistryUrl = "registry_url", "--registry-url", None, Kind::Text("URL"),
        "the schema registry whose ids records carry; without one they carry fingerprints";
    RegistryTimeoutMs = "registry_timeout_ms", "--registry-timeout-ms", Some(&REGISTRY_TIMEOUT_DEFAULT_MS),
        Kind::Number("MS"), "how long the registry may take to answer";
    RegistryUsername = "registry_username", "--registry-username", None, Kind::Text("NAME"),
        "the user that the registry is asked as";
    RegistryPassword = "registry_password", "", None, Kind::Secret, "that user's password";
    RegistryPasswordFile = "registry_password_file", "--registry-password-file", None, Kind::Text("FILE"),
        "a file that holds that user's password";
    TopicCommands = "topic_commands", "--topic-commands", Some(&"headroom.commands"), Kind::Text("TOPIC"),
        "what callers ask";
    TopicEvents = "topic_events", "--topic-events", Some(&"headroom.events"), Kind::Text("TOPIC"),
        "what was decided, which is the truth";
    TopicReplies = "topic_replies", "--topic-replies", Some(&"headroom.replies"), Kind::Text("TOPIC"),
        "outcomes on their way back to gateways";
    TopicDeadLetters = "topic_dead_letters", "--topic-dead-letters", Some(&"headroom.dead-letters"),
        Kind::Text("TOPIC"), "what nobody could decide";
    TopicManifest = "topic_manifest", "--topic-manifest", Some(&"headroom.manifest"), Kind::Text("TOPIC"),
        "what the log was made with";
}

impl Setting {
    /// Each secret, and the setting that names a file of it instead.
    pub(super) const SECRETS: &[(Setting, Setting)] = &[
        (Setting::KafkaSaslPassword, Setting::KafkaSaslPasswordFile),
        (Setting::KafkaSslKeyPassword, Setting::KafkaSslKeyPasswordFile),
        (Setting::RegistryPassword, Setting::RegistryPasswordFile),
    ];

    pub(super) fn named(name: &str) -> Option<Setting> {
        Setting::ALL.iter().copied().find(|setting| setting.name() == name)
    }

    /// Whether it only matters on a cluster. The table has those last.
    pub fn is_of_kafka(self) -> bool {
        self >= Setting::KafkaBrokers
    }
}
