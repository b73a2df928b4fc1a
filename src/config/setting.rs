//! The one table of settings: the name, the flag, the default, the type and the description of each. The help of the
//! command line, `headroom config` and the documentation show these texts.

use super::place::PLACES;
use crate::limits::{
    ACCESS_ONE_OF, CANARY_INTERVAL_DEFAULT_MS, CANARY_INTERVAL_MAX_MS, CANARY_INTERVAL_MIN_MS, COMMAND_SPAN_MS,
    COMMAND_WINDOW_MS, DEADLINE_DEFAULT_MS, DEADLINE_MAX_MS, DEDUP_WINDOW_MS, FORGET_SPAN_MS, HOLD_TTL_MAX_MS,
    LOGGED_REFUSALS_PER_SECOND, MIN_IN_SYNC_DEFAULT, PARTITIONS_DEFAULT, PARTITIONS_MAX, REGISTRY_TIMEOUT_DEFAULT_MS,
    REGISTRY_TIMEOUT_MAX_MS, REGISTRY_TIMEOUT_MIN_MS, REPLICATION_DEFAULT, RETIRE_AFTER_MIN_MS, SINK_BATCH_DEFAULT_MS,
    SINK_BATCH_EVENTS_DEFAULT, SINK_BATCH_EVENTS_MAX, SINK_BATCH_EVENTS_MIN, SINK_BATCH_MAX_MS, SINK_BATCH_MIN_MS,
    SINK_EVENTS_PER_SECOND_MAX, SINK_EVENTS_PER_SECOND_MIN,
};
use std::fmt;

/// A snapshot is written after so many events, when nothing else is set.
pub(super) const SNAPSHOT_EVENTS_DEFAULT: u64 = 1_000_000;
/// Most such events.
pub(super) const SNAPSHOT_EVENTS_MAX: u64 = 1_000_000_000;
/// A snapshot is written after so many milliseconds, when nothing else is set.
pub(super) const SNAPSHOT_INTERVAL_DEFAULT_MS: u64 = 900_000;
/// Shortest such time, in milliseconds.
pub(super) const SNAPSHOT_INTERVAL_MIN_MS: u64 = 1_000;
/// Longest such time, in milliseconds: the alert on old snapshots waits longer.
pub(super) const SNAPSHOT_INTERVAL_MAX_MS: u64 = 3_600_000;
/// The ages up to which snapshots are kept, when nothing else is set.
pub(super) const SNAPSHOT_KEEP_DEFAULT: &str = "1h,1d,30d";

/// Events stay in their log for two intervals of snapshots and so much longer, in milliseconds: when a place takes no
/// snapshots, or the newest ones turn out to be damaged, so much time is left to mend that before a state is lost.
pub(super) const EVENTS_KEEP_BEYOND_MS: u64 = 72 * 3_600_000;

const _: () = {
    assert!(
        SNAPSHOT_INTERVAL_MIN_MS <= SNAPSHOT_INTERVAL_DEFAULT_MS
            && SNAPSHOT_INTERVAL_DEFAULT_MS <= SNAPSHOT_INTERVAL_MAX_MS
    );
    assert!(SNAPSHOT_EVENTS_DEFAULT <= SNAPSHOT_EVENTS_MAX);
    // Nothing may still be asked that needs an event which has left: a key that comes again, a copy of a command, a hold, or a
    // pool that retires by itself at the earliest moment.
    assert!(EVENTS_KEEP_BEYOND_MS > DEDUP_WINDOW_MS + COMMAND_WINDOW_MS + COMMAND_SPAN_MS + FORGET_SPAN_MS);
    assert!(EVENTS_KEEP_BEYOND_MS > HOLD_TTL_MAX_MS + DEDUP_WINDOW_MS && EVENTS_KEEP_BEYOND_MS > RETIRE_AFTER_MIN_MS);
};

/// Prefix of the environment variables that set settings.
pub(super) const ENV_PREFIX: &str = "HEADROOM_";

/// The type of a setting's value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A text, with the placeholder that help shows for it.
    Text(&'static str),
    /// A whole number, with the placeholder that help shows for it.
    Number(&'static str),
    /// `true` or `false`.
    Truth,
    /// A text that is never printed. It has no flag, because every user of a machine can read the flags of a process.
    Secret,
}

/// Settings that are listed together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Group {
    /// The process and its HTTP interface, whatever the log is.
    Process,
    /// The certificates of connections.
    Tls,
    /// Who may call, and how callers prove who they are.
    Callers,
    /// What `headroom sink` writes the events to, and how.
    Sink,
    /// The Kafka cluster that carries the log, and the client's place on it.
    Kafka,
    /// The schema registry of a log on Kafka.
    Registry,
    /// The names of the topics of a log on Kafka.
    Topics,
}

macro_rules! settings {
    ($($name:ident = $text:literal, $flag:literal, $default:expr, $kind:expr, $help:expr;)*) => {
        /// Everything that can be set.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub enum Setting { $(#[doc = concat!("The setting `", $text, "`.")] $name,)* }

        impl Setting {
            /// Every setting, in the order of the table.
            pub const ALL: &[Setting] = &[$(Setting::$name,)*];

            /// Its key in a configuration file.
            pub fn name(self) -> &'static str {
                match self { $(Setting::$name => $text,)* }
            }

            /// Its flag, with the dashes; empty for a secret.
            pub fn flag(self) -> &'static str {
                match self { $(Setting::$name => $flag,)* }
            }

            /// The value when nobody sets it; `None` when it has no value then.
            pub fn default(self) -> Option<String> {
                let default: Option<&dyn fmt::Display> = match self { $(Setting::$name => $default,)* };
                default.map(ToString::to_string)
            }

            /// Its description, which begins with a small letter and has no full stop.
            pub fn doc(self) -> String {
                match self { $(Setting::$name => $help.to_string(),)* }
            }

            /// The type of its value.
            pub fn kind(self) -> Kind {
                match self { $(Setting::$name => $kind,)* }
            }
        }
    };
}

settings! {
    Listen = "listen", "--listen", Some(&"127.0.0.1:8080"), Kind::Text("ADDR:PORT"),
        "address and port to serve HTTP on; port 0 takes a free port";
    DataDir = "data_dir", "--data-dir", Some(&".headroom"), Kind::Text("DIR"),
        "directory of the embedded log and of checkpoints; on Kafka, of checkpoints";
    Partitions = "partitions", "--partitions", None, Kind::Number("N"),
        format_args!(
            "partitions of a new log, 1 to {PARTITIONS_MAX} (default {PARTITIONS_DEFAULT}); an existing log keeps its number"
        );
    LogFormat = "log_format", "--log-format", Some(&"text"), Kind::Text("FORMAT"),
        "format of log lines: text, or json (one object a line)";
    LogLevel = "log_level", "--log-level", Some(&"info"), Kind::Text("LEVEL"),
        "log lines to write: off, error, warn, info, debug or trace, or module=level, separated by commas";
    AccessLog = "access_log", "--access-log", Some(&"sampled"), Kind::Text("WHICH"),
        format_args!(
            "calls that get a log line: off; sampled, which is all that were refused, up to {LOGGED_REFUSALS_PER_SECOND} a \
             second of each code, and one of {ACCESS_ONE_OF} of the others; or all"
        );
    OtlpEndpoint = "otlp_endpoint", "--otlp-endpoint", None, Kind::Text("URL"),
        "OpenTelemetry collector that gets spans over gRPC, like http://127.0.0.1:4317; without one nothing is recorded";
    TraceSampleRatio = "trace_sample_ratio", "--trace-sample-ratio", Some(&"0.01"), Kind::Text("RATIO"),
        "share of the traces beginning here that is recorded, 0 to 1; a caller that sends traceparent decides for its own";
    DeadlineDefaultMs = "deadline_default_ms", "--deadline-default-ms", Some(&DEADLINE_DEFAULT_MS), Kind::Number("MS"),
        format_args!("deadline of calls without Request-Timeout-Ms, in milliseconds, 1 to {DEADLINE_MAX_MS}");
    Hosts = "hosts", "--hosts", None, Kind::Text("NAME,..."),
        "host names accepted in calls that change something; localhost and IP addresses are always accepted";
    ConnectionsPerAddress = "connections_per_address", "--connections-per-address", None, Kind::Number("N"),
        "connections that one client address may have (default: no limit of its own); for one more, its longest idle one \
         is closed";
    Canary = "canary", "--canary", Some(&false), Kind::Truth,
        "reserves and releases a unit on every partition again and again, so that one that stops deciding shows without calls";
    CanaryIntervalMs = "canary_interval_ms", "--canary-interval-ms", Some(&CANARY_INTERVAL_DEFAULT_MS), Kind::Number("MS"),
        format_args!(
            "time between two rounds of the canary on a partition, in milliseconds, {CANARY_INTERVAL_MIN_MS} to \
             {CANARY_INTERVAL_MAX_MS}; a round adds two events to the log"
        );
    Snapshots = "snapshots", "--snapshots", None, Kind::Text("URL"),
        format_args!("place for snapshots of partitions, {PLACES}; without one none are written");
    SnapshotEvents = "snapshot_events", "--snapshot-events", Some(&SNAPSHOT_EVENTS_DEFAULT), Kind::Number("N"),
        format_args!("events after which a snapshot of a partition is written, 1 to {}", SNAPSHOT_EVENTS_MAX);
    SnapshotIntervalMs = "snapshot_interval_ms", "--snapshot-interval-ms", Some(&SNAPSHOT_INTERVAL_DEFAULT_MS),
        Kind::Number("MS"),
        format_args!(
            "time after which one is written if there are new events, in milliseconds, {} to {}",
            SNAPSHOT_INTERVAL_MIN_MS,
            SNAPSHOT_INTERVAL_MAX_MS
        );
    SnapshotKeep = "snapshot_keep", "--snapshot-keep", Some(&SNAPSHOT_KEEP_DEFAULT), Kind::Text("AGE,AGE,AGE"),
        "ages, in hours (h) or days (d), up to which all snapshots are kept, the last one of each hour, and the last one of \
         each day";
    LogKeep = "log_keep", "--log-keep", Some(&"all"), Kind::Text("all|AGE"),
        "age in hours (h) or days (d) up to which the embedded log stays on this disk, which needs snapshots; or all";
    LogArchive = "log_archive", "--log-archive", None, Kind::Text("URL"),
        format_args!("place to which what is older goes before, {PLACES}; without one it is removed");
    TlsCertificate = "tls_certificate", "--tls-certificate", None, Kind::Text("FILE"),
        "PEM file of the server's certificate, with those of authorities after it; it turns TLS on";
    TlsKey = "tls_key", "--tls-key", None, Kind::Text("FILE"), "PEM file of that certificate's private key";
    TlsClientCa = "tls_client_ca", "--tls-client-ca", None, Kind::Text("FILE"),
        "PEM file of the authorities that sign client certificates; without it no client is asked for one";
    TlsClientAuth = "tls_client_auth", "--tls-client-auth", Some(&"required"), Kind::Text("required|optional"),
        "whether a client without a certificate is turned away";
    Auth = "auth", "--auth", None, Kind::Text("WAY,..."),
        "how callers prove who they are: tokens, oidc, certificates, several of them, or none; without it anybody may call, \
         and only from this machine";
    TokensFile = "tokens_file", "--tokens-file", None, Kind::Text("FILE"),
        "file of API tokens, which headroom tokens writes (default: tokens.json in data_dir)";
    OidcIssuer = "oidc_issuer", "--oidc-issuer", None, Kind::Text("URL"),
        "URL of the OpenID Connect issuer whose JWTs are accepted, as in their claim iss";
    OidcAudience = "oidc_audience", "--oidc-audience", None, Kind::Text("NAME,..."),
        "audiences that stand for this service; a JWT has to have one of them in its claim aud";
    OidcKeys = "oidc_keys", "--oidc-keys", None, Kind::Text("URL|FILE"),
        "URL or file of the issuer's keys, as a JWKS (default: the URL in the issuer's discovery document)";
    OidcNameClaim = "oidc_name_claim", "--oidc-name-claim", Some(&"sub"), Kind::Text("CLAIM"),
        "claim that names the caller; events record it as the actor";
    OidcRolesClaim = "oidc_roles_claim", "--oidc-roles-claim", Some(&"roles"), Kind::Text("CLAIM"),
        "claim that lists what the caller may do, or the path of one, such as realm_access.roles";
    OidcRoles = "oidc_roles", "--oidc-roles", None, Kind::Text("VALUE=ROLE,..."),
        "roles that values of that claim give (default: the values are names of roles)";
    CertificatesFile = "certificates_file", "--certificates-file", None, Kind::Text("FILE"),
        "JSON file that maps client certificates to names and roles";
    Open = "open", "--open", None, Kind::Text("WHAT,..."),
        "what needs no credential although auth is set: metrics, docs, or both";
    QuotaTakes = "quota_takes", "--quota-takes", None, Kind::Text("RATE[/BURST],..."),
        "calls a second, and at once, by which a caller may reserve, amend, and define, change or retire pools, and \
         NAME=RATE[/BURST] for the caller of that name (default: no bound)";
    QuotaReads = "quota_reads", "--quota-reads", None, Kind::Text("RATE[/BURST],..."),
        "the same for calls that read pools and reservations";
    SinkDatabase = "sink_database", "--sink-database", None, Kind::Text("URL"),
        "PostgreSQL or Redshift to which headroom sink writes the events, like postgresql://user@host:5432/name or \
         redshift://user@host:5439/name, without a password";
    SinkDatabasePassword = "sink_database_password", "", None, Kind::Secret, "password of the user in sink_database";
    SinkDatabasePasswordFile = "sink_database_password_file", "--sink-database-password-file", None, Kind::Text("FILE"),
        "file that holds the password of the user in sink_database";
    SinkDatabaseCa = "sink_database_ca", "--sink-database-ca", None, Kind::Text("FILE"),
        "PEM file of the authorities that sign the certificate of that database; without it the database is on this machine";
    SinkFiles = "sink_files", "--sink-files", None, Kind::Text("PLACE"),
        format_args!(
            "folder or bucket to which headroom sink writes the events as files instead, {PLACES}; with a Redshift, the \
             bucket of S3 from which it reads them"
        );
    SinkFilesFormat = "sink_files_format", "--sink-files-format", Some(&"avro"), Kind::Text("avro|parquet"),
        "what these files are; parquet needs a build that has it, as the image does";
    SinkRedshiftRole = "sink_redshift_role", "--sink-redshift-role", None, Kind::Text("ARN,..."),
        "role with which the Redshift reads that bucket, like arn:aws:iam::123456789012:role/NAME, a chain of them, or default";
    SinkSchema = "sink_schema", "--sink-schema", Some(&"headroom"), Kind::Text("NAME"),
        "schema of the tables in that database";
    SinkBatchMs = "sink_batch_ms", "--sink-batch-ms", Some(&SINK_BATCH_DEFAULT_MS), Kind::Number("MS"),
        format_args!(
            "longest time that an event waits to be written there, in milliseconds, {SINK_BATCH_MIN_MS} to \
             {SINK_BATCH_MAX_MS}; sink_batch_events of a partition are written at once"
        );
    SinkBatchEvents = "sink_batch_events", "--sink-batch-events", Some(&SINK_BATCH_EVENTS_DEFAULT), Kind::Number("N"),
        format_args!(
            "most events of a partition that are written together, {SINK_BATCH_EVENTS_MIN} to {SINK_BATCH_EVENTS_MAX}: in one \
             transaction, and as one file for each day"
        );
    SinkEventsPerSecond = "sink_events_per_second", "--sink-events-per-second", None, Kind::Number("N"),
        format_args!(
            "most events a second that a headroom sink reads and writes, of all partitions together, \
             {SINK_EVENTS_PER_SECOND_MIN} to {SINK_EVENTS_PER_SECOND_MAX} (default: as many as it can)"
        );
    SinkUndecodable = "sink_undecodable", "--sink-undecodable", Some(&"stop"), Kind::Text("stop|aside"),
        "what becomes of an event that headroom sink cannot read: it stops its partition, or is set aside";
    SinkListen = "sink_listen", "--sink-listen", None, Kind::Text("ADDR:PORT"),
        "address and port on which headroom sink shows its metrics, under /metrics (default: nowhere)";
    KafkaBrokers = "kafka_brokers", "--kafka-brokers", None, Kind::Text("HOST:PORT,..."),
        "brokers of the Kafka cluster that carries the log; without them the log is embedded";
    KafkaSecurityProtocol = "kafka_security_protocol", "--kafka-security-protocol", Some(&"plaintext"),
        Kind::Text("PROTOCOL"), "security protocol of brokers: plaintext, ssl, sasl_plaintext or sasl_ssl";
    KafkaSaslMechanism = "kafka_sasl_mechanism", "--kafka-sasl-mechanism", None, Kind::Text("MECHANISM"),
        "SASL mechanism: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512";
    KafkaSaslUsername = "kafka_sasl_username", "--kafka-sasl-username", None, Kind::Text("NAME"), "SASL user name";
    KafkaSaslPassword = "kafka_sasl_password", "", None, Kind::Secret, "SASL password";
    KafkaSaslPasswordFile = "kafka_sasl_password_file", "--kafka-sasl-password-file", None, Kind::Text("FILE"),
        "file that holds the SASL password";
    KafkaSslCa = "kafka_ssl_ca", "--kafka-ssl-ca", None, Kind::Text("FILE"),
        "PEM file of the authorities that sign brokers' certificates (default: those that the system trusts)";
    KafkaSslCertificate = "kafka_ssl_certificate", "--kafka-ssl-certificate", None, Kind::Text("FILE"),
        "PEM file of the client certificate";
    KafkaSslKey = "kafka_ssl_key", "--kafka-ssl-key", None, Kind::Text("FILE"),
        "PEM file of the client certificate's private key";
    KafkaSslKeyPassword = "kafka_ssl_key_password", "", None, Kind::Secret, "password of the private key";
    KafkaSslKeyPasswordFile = "kafka_ssl_key_password_file", "--kafka-ssl-key-password-file", None, Kind::Text("FILE"),
        "file that holds the password of the private key";
    KafkaClusterId = "kafka_cluster_id", "--kafka-cluster-id", None, Kind::Text("ID"),
        "id that the cluster must have (default: the one seen at the first start on this data_dir)";
    KafkaReplication = "kafka_replication", "--kafka-replication", Some(&REPLICATION_DEFAULT), Kind::Number("N"),
        "lowest replication factor that a topic may have; new topics get it";
    KafkaMinInSync = "kafka_min_in_sync", "--kafka-min-in-sync", Some(&MIN_IN_SYNC_DEFAULT), Kind::Number("N"),
        "lowest min.insync.replicas that a topic may have, at most kafka_replication; new topics get it";
    KafkaEventsKeep = "kafka_events_keep", "--kafka-events-keep", Some(&"all"), Kind::Text("all|AGE"),
        format_args!(
            "age in hours (h) or days (d) up to which the topic of events is kept: all, or twice snapshot_interval_ms and \
             {} h or more, which needs snapshots",
            EVENTS_KEEP_BEYOND_MS / 3_600_000
        );
    KafkaAlternatingProducers = "kafka_alternating_producers", "--kafka-alternating-producers", Some(&true), Kind::Truth,
        "two transactional producers take turns on a partition, so that none waits for the end of a transaction";
    Application = "application", "--application", Some(&"headroom"), Kind::Text("NAME"),
        "prefix of Kafka client ids, and of users in headroom topics acls; the log's manifest pins it";
    Environment = "environment", "--environment", Some(&"dev"), Kind::Text("NAME"),
        "environment of the log, such as prod; the log's manifest pins it, and a server of another one is refused";
    Roles = "roles", "--roles", Some(&"gateway,owner"), Kind::Text("ROLE,..."),
        "roles of this process: gateway (takes calls), owner (decides), or both";
    RegistryUrl = "registry_url", "--registry-url", None, Kind::Text("URL"),
        "URL of the schema registry; records carry its schema ids, and without one fingerprints of schemas";
    RegistryTimeoutMs = "registry_timeout_ms", "--registry-timeout-ms", Some(&REGISTRY_TIMEOUT_DEFAULT_MS),
        Kind::Number("MS"),
        format_args!(
            "timeout of a registry request, in milliseconds, {REGISTRY_TIMEOUT_MIN_MS} to {REGISTRY_TIMEOUT_MAX_MS}"
        );
    RegistryUsername = "registry_username", "--registry-username", None, Kind::Text("NAME"), "registry user name";
    RegistryPassword = "registry_password", "", None, Kind::Secret, "registry password";
    RegistryPasswordFile = "registry_password_file", "--registry-password-file", None, Kind::Text("FILE"),
        "file that holds the registry password";
    TopicCommands = "topic_commands", "--topic-commands", Some(&"headroom.commands"), Kind::Text("TOPIC"),
        "topic of commands";
    TopicEvents = "topic_events", "--topic-events", Some(&"headroom.events"), Kind::Text("TOPIC"),
        "topic of events, which are the log's decisions";
    TopicReplies = "topic_replies", "--topic-replies", Some(&"headroom.replies"), Kind::Text("TOPIC"),
        "topic of replies from owners to gateways";
    TopicDeadLetters = "topic_dead_letters", "--topic-dead-letters", Some(&"headroom.dead-letters"),
        Kind::Text("TOPIC"), "topic of dead letters: commands that could not be decided";
    TopicManifest = "topic_manifest", "--topic-manifest", Some(&"headroom.manifest"), Kind::Text("TOPIC"),
        "topic of the manifest, which holds what the log was made with";
}

impl Setting {
    /// Each secret, with the setting that names a file which holds it.
    pub(super) const SECRETS: &[(Setting, Setting)] = &[
        (Setting::SinkDatabasePassword, Setting::SinkDatabasePasswordFile),
        (Setting::KafkaSaslPassword, Setting::KafkaSaslPasswordFile),
        (Setting::KafkaSslKeyPassword, Setting::KafkaSslKeyPasswordFile),
        (Setting::RegistryPassword, Setting::RegistryPasswordFile),
    ];

    pub(super) fn named(name: &str) -> Option<Setting> {
        Setting::ALL.iter().copied().find(|setting| setting.name() == name)
    }

    /// The group that it is listed in. The table has the groups one after the other.
    pub fn group(self) -> Group {
        match self {
            _ if self >= Setting::TopicCommands => Group::Topics,
            _ if self >= Setting::RegistryUrl => Group::Registry,
            _ if self >= Setting::KafkaBrokers => Group::Kafka,
            _ if self >= Setting::SinkDatabase => Group::Sink,
            _ if self >= Setting::Auth => Group::Callers,
            _ if self >= Setting::TlsCertificate => Group::Tls,
            _ => Group::Process,
        }
    }

    /// Whether it has an effect only when the log is on a Kafka cluster.
    pub fn is_of_kafka(self) -> bool {
        !matches!(self.group(), Group::Process | Group::Tls | Group::Callers | Group::Sink)
    }

    /// The environment variable that sets it.
    pub fn variable(self) -> String {
        format!("{ENV_PREFIX}{}", self.name().to_uppercase())
    }
}
