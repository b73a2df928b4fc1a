//! The settings of all Kafka clients, in one table: each one with the guarantee that depends on it. Nothing else in the
//! crate sets a property of a client.

use rdkafka::ClientConfig;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// A cluster, and Headroom's place on it, as an operator configures them. Transactional ids are made of nothing in here: see
/// [`transactional_ids`].
#[derive(Clone, PartialEq, Eq)]
pub struct Cluster {
    /// Bootstrap servers: `host:port`, separated by commas.
    pub brokers: String,
    /// Client properties that are passed through, such as `security.protocol` and passwords.
    pub security: BTreeMap<String, String>,
    /// The application's name. Client ids and the users in `headroom topics acls` begin with it, and the log's manifest pins
    /// it.
    pub application: String,
    /// The environment's name. The log's manifest pins it: a process of another environment is refused.
    pub environment: String,
    /// The names of the log's topics.
    pub topics: Topics,
    /// Whether an owner uses two producers in turn, so that the next turn need not wait while the coordinator ends the
    /// transaction of the last one.
    pub alternates: bool,
}

impl fmt::Debug for Cluster {
    /// Leaves out the security properties, which hold passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} on {}", self.application, self.environment, self.brokers)
    }
}

/// The names of the topics.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Topics {
    /// Commands. It has as many partitions as the manifest says.
    pub commands: String,
    /// Events, which are the truth: partition `p` holds the decisions of the commands in partition `p`.
    pub events: String,
    /// Replies to gateways.
    pub replies: String,
    /// Commands that nobody can decide.
    pub dead_letters: String,
    /// What the log was created with. One partition, compacted.
    pub manifest: String,
}

impl Topics {
    /// The default names with this prefix, such as `headroom.commands`.
    pub fn of(prefix: &str) -> Topics {
        let name = |of: &str| format!("{prefix}.{of}");
        Topics {
            commands: name("commands"),
            events: name("events"),
            replies: name("replies"),
            dead_letters: name("dead-letters"),
            manifest: name("manifest"),
        }
    }
}

/// The cluster's own topic of transactions: what is written here decides whether a transaction is committed.
pub(in crate::log::kafka) const TRANSACTIONS: &str = "__transaction_state";
/// The cluster's own topic of consumer groups. The group of owners is a hint: without it partitions stay where they are.
pub(in crate::log::kafka) const GROUPS: &str = "__consumer_offsets";
/// Prefix of the transactional ids and group names of all logs.
const OF_LOGS: &str = "headroom";
/// Transactional ids of a partition. A claim fences all of them, even if it uses one: an earlier owner may have been
/// configured to use two.
pub const SLOTS: u8 = 2;
/// A commit that took this long may have been sent twice, and the second copy, late, could end a later transaction. The
/// library waits at least 0.8 of `retry.backoff.ms` (its jitter is 20 %) before it sends a request again.
pub const COMMIT_SUSPECT: Duration = Duration::from_millis(700);
/// Longest wait for a fence, a commit or a transactional record. After that the owner claims the partition again.
pub const TRANSACTION_LIMIT: Duration = Duration::from_millis(8_000);
/// Longest wait for an answer about topics, offsets and groups.
pub const ASK_LIMIT: Duration = Duration::from_millis(5_000);

/// Settings of every client.
const COMMON: &[(&str, &str)] = &[
    // A broker that comes back is found within a second.
    ("reconnect.backoff.max.ms", "1000"),
    ("reconnect.backoff.ms", "20"),
    // A broker that hangs accepts connections and does not answer: another one is asked.
    ("socket.connection.setup.timeout.ms", "2000"),
    // A connection that hangs is given up before a caller's longest deadline.
    ("socket.timeout.ms", "5000"),
];

/// Producers of turns: the records of a turn become visible together or never, and those of a fenced owner never.
const TRANSACTIONAL: &[(&str, &str)] = &[
    ("enable.idempotence", "true"),
    // A turn is one batch already: waiting for more records would only delay it.
    ("linger.ms", "0"),
    // 0.8 of it is more than COMMIT_SUSPECT. It is long because a commit that is slow for any other reason is suspected
    // too, and each suspected commit costs a new producer instance and the time to make it.
    ("retry.backoff.ms", "1000"),
    ("retry.backoff.max.ms", "1000"),
    // A record that is not in the log by then fails its turn, before the transaction itself times out. It is long enough
    // for a cluster to replace a broker: giving up earlier would cost a claim as well.
    ("message.timeout.ms", "8000"),
    // How long the open transaction of a killed owner can hold readers of its partition back, if nobody claims it.
    ("transaction.timeout.ms", "10000"),
    ("queue.buffering.max.messages", "16384"),
];

/// The producer of commands: each command is in the log once and in the order of appending, unless the process ends first.
const COMMANDS: &[(&str, &str)] = &[
    ("enable.idempotence", "true"),
    // The sink gathers records, because it knows the load. This only puts what it hands over into one request.
    ("linger.ms", "1"),
    ("retry.backoff.ms", "20"),
    ("retry.backoff.max.ms", "200"),
    // No command is given up: a later one would overtake it, and an Abandon has to arrive. The owner refuses a command
    // that comes too late. The sink bounds how many wait.
    ("message.timeout.ms", "0"),
    ("queue.buffering.max.messages", "0"),
];

/// The producer of dead letters and of what an operator appends: each record is written once, and the caller waits for it.
const POST: &[(&str, &str)] = &[
    ("enable.idempotence", "true"),
    ("linger.ms", "0"),
    ("retry.backoff.ms", "20"),
    ("retry.backoff.max.ms", "200"),
    ("message.timeout.ms", "5000"),
];

/// The producer of replies, which are written after a turn and are never part of its transaction.
const REPLIES: &[(&str, &str)] = &[
    // A reply that comes twice changes nothing, and an idempotent client with five requests in flight spins.
    ("enable.idempotence", "false"),
    ("linger.ms", "0.1"),
    ("retry.backoff.ms", "20"),
    ("retry.backoff.max.ms", "200"),
    // By then the caller has its answer from the committed events.
    ("message.timeout.ms", "5000"),
    ("queue.buffering.max.messages", "100000"),
];

/// Readers: they read from an offset that we name, never from one that the cluster stores or chooses.
const READER: &[(&str, &str)] = &[
    // An operator creates the topics, with the partitions that they must have.
    ("allow.auto.create.topics", "false"),
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    // An offset that the log does not have is an error that an operator must see, and no reason to start elsewhere.
    ("auto.offset.reset", "error"),
    // Records of open and aborted transactions are not seen.
    ("isolation.level", "read_committed"),
    // Bytes that changed on the network or on a disk are an error.
    ("check.crcs", "true"),
    // A partition that is added to a reader waits until the current fetch ends.
    ("fetch.wait.max.ms", "20"),
    ("fetch.error.backoff.ms", "50"),
    ("retry.backoff.ms", "20"),
    // Largest fetch. Its memory is kept until its last record is read.
    ("max.partition.fetch.bytes", "1048576"),
    // Bounds of the memory for records that are fetched and not yet read. Each takes some hundred bytes beside its own, and by
    // default the library fetches 100,000 of them ahead.
    ("queued.min.messages", "10000"),
    ("queued.max.messages.kbytes", "8192"),
    // A reader that has read everything gets more at once: by default the library looks again after a second.
    ("fetch.queue.backoff.ms", "2"),
    ("topic.metadata.refresh.interval.ms", "60000"),
];

/// The member of the group of owners. An assignment is a hint: the fence decides who owns a partition.
const MEMBER: &[(&str, &str)] = &[
    ("group.protocol", "classic"),
    ("partition.assignment.strategy", "cooperative-sticky"),
    // The partitions of a killed owner are assigned to others after this time.
    ("session.timeout.ms", "6000"),
    // How soon a member learns of a rebalance. A partition that moves waits for it twice.
    ("heartbeat.interval.ms", "200"),
    ("max.poll.interval.ms", "15000"),
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("auto.offset.reset", "error"),
];

/// The member of the group of processes. It is assigned nothing that anybody reads: the group says who is there.
const PROCESS: &[(&str, &str)] = &[
    ("group.protocol", "classic"),
    ("partition.assignment.strategy", "range"),
    // So long a process that was killed counts as one that is there.
    ("session.timeout.ms", "10000"),
    ("heartbeat.interval.ms", "2000"),
    ("max.poll.interval.ms", "60000"),
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("auto.offset.reset", "latest"),
];

impl Cluster {
    /// A client that asks about the cluster and writes the manifest.
    pub fn plain(&self) -> ClientConfig {
        self.with("ask", &[])
    }

    /// A transactional producer of one partition of this log; `slot` is below [`SLOTS`].
    pub fn transactional(&self, log_id: u128, partition: u32, slot: u8) -> ClientConfig {
        let mut config = self.with("turns", TRANSACTIONAL);
        config.set("transactional.id", format!("{}{partition}.{slot}", transactional_ids(log_id)));
        config
    }

    /// How many producers an owner uses in turn, at most [`SLOTS`].
    pub fn alternating(&self) -> u8 {
        if self.alternates { SLOTS } else { 1 }
    }

    /// The producer of commands.
    pub fn commands(&self) -> ClientConfig {
        self.with("commands", COMMANDS)
    }

    /// A reader of committed records that reports when it has come to the end of a partition.
    pub fn reader_to_end(&self) -> ClientConfig {
        let mut config = self.reader();
        config.set("enable.partition.eof", "true");
        config
    }

    /// The producer of dead letters.
    pub fn post(&self) -> ClientConfig {
        self.with("post", POST)
    }

    /// The producer of replies.
    pub fn replies(&self) -> ClientConfig {
        self.with("replies", REPLIES)
    }

    /// A reader of committed records.
    pub fn reader(&self) -> ClientConfig {
        let mut config = self.with("reader", READER);
        // The library wants a group to assign partitions. No offset is asked for or committed under this one.
        config.set("group.id", format!("{}.reader", self.application));
        config
    }

    /// A reader of uncommitted records: for replies, which are written outside of transactions and should not wait for any,
    /// and for end offsets.
    pub fn reply_reader(&self) -> ClientConfig {
        let mut config = self.reader();
        config.set("isolation.level", "read_uncommitted");
        config
    }

    /// A client that asks the coordinator of this group, and never joins the group.
    pub fn beside(&self, group: &str) -> ClientConfig {
        let mut config = self.reader();
        config.set("group.id", group);
        config
    }

    /// A member of the group of this log's owners.
    pub fn member(&self, log_id: u128) -> ClientConfig {
        let mut config = self.with("member", MEMBER);
        config.set("group.id", group_of(log_id));
        config
    }

    /// A member of the group of all processes that serve this log, under a name that says what it can read.
    pub fn process(&self, log_id: u128, name: &str) -> ClientConfig {
        let mut config = self.with("process", PROCESS);
        config.set("group.id", processes_of(log_id)).set("client.id", name);
        config
    }

    fn with(&self, what: &str, settings: &[(&str, &str)]) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers);
        config.set("client.id", format!("{}.{what}", self.application));
        for (name, value) in COMMON.iter().chain(settings) {
            config.set(*name, *value);
        }
        for (name, value) in &self.security {
            config.set(name, value);
        }
        config
    }
}

/// Prefix of a log's transactional ids. They contain the log's id and nothing that an operator configures: processes that
/// serve the same log fence each other, whatever they are named, and processes of two logs never do.
pub fn transactional_ids(log_id: u128) -> String {
    format!("{OF_LOGS}.{log_id:032x}.")
}

/// The consumer group of the processes that serve a log.
pub fn processes_of(log_id: u128) -> String {
    format!("{OF_LOGS}.{log_id:032x}.processes")
}

/// The consumer group of a log's owners. It contains the log's id for the same reasons.
pub fn group_of(log_id: u128) -> String {
    format!("{OF_LOGS}.{log_id:032x}.owners")
}
