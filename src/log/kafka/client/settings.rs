//! What the clients are told, in one table: each setting with the guarantee that leans on it. Nothing else in the crate
//! sets a property of a Kafka client.

use rdkafka::ClientConfig;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// What an operator says of a cluster, and of Headroom's place on it. Who may write is no part of it: see
/// [`transactional_ids`].
#[derive(Clone, PartialEq, Eq)]
pub struct Cluster {
    /// Where to find it: `host:port`, with commas between.
    pub brokers: String,
    /// How to be let in: properties of the client that are passed through, such as `security.protocol`.
    pub security: BTreeMap<String, String>,
    /// The application's name: it begins the names of clients and of the users that `headroom topics acls` lets in. The
    /// log's manifest pins it.
    pub application: String,
    /// The environment's name, which the log's manifest pins: a process that is meant for another one is refused.
    pub environment: String,
    /// Its topics.
    pub topics: Topics,
    /// Whether two producers take turns on a partition: where a coordinator is slow to end a transaction, the next one
    /// need not wait for it.
    pub alternates: bool,
}

impl fmt::Debug for Cluster {
    /// Without how to be let in.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} on {}", self.application, self.environment, self.brokers)
    }
}

/// The names of the topics.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Topics {
    /// What callers ask: as many partitions as the manifest says.
    pub commands: String,
    /// What was decided, which is the truth: partition by partition the commands' decisions.
    pub events: String,
    /// Outcomes on their way back to gateways.
    pub replies: String,
    /// What nobody could decide.
    pub dead_letters: String,
    /// What the log was made with: one partition, compacted.
    pub manifest: String,
}

impl Topics {
    /// The usual names after this prefix.
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
/// Begins the transactional ids and group names of all logs.
const OF_LOGS: &str = "headroom";
/// Producers of a partition. A claim fences all of them, whether they take turns or not: who had the partition before
/// may have been told otherwise.
pub const SLOTS: u8 = 2;
/// Time between two tries of a transactional request. The guard leans on it: a commit that took longer than
/// [`COMMIT_SUSPECT`] may have been sent twice, and a second one, late, could end a later transaction. It is long
/// because a commit that is slow for any other reason is suspected too: each of them costs a new instance of its
/// producer, and the time to make it.
pub const RETRY_BACKOFF: Duration = Duration::from_millis(1_000);
/// The client waits at least 0.8 of [`RETRY_BACKOFF`] (its jitter is 20 %) before it sends anything again.
pub const COMMIT_SUSPECT: Duration = Duration::from_millis(700);
/// Longest wait for a fence, a commit or a transactional record: what takes longer is given up and claimed again.
pub const TRANSACTION_LIMIT: Duration = Duration::from_millis(8_000);
/// Longest wait for an answer about topics, offsets and the like.
pub const ASK_LIMIT: Duration = Duration::from_millis(5_000);

/// For every client.
const COMMON: &[(&str, &str)] = &[
    // A broker that is back is found within a second.
    ("reconnect.backoff.max.ms", "1000"),
    ("reconnect.backoff.ms", "20"),
    // A broker that hangs takes connections and does not say a word: another one is asked.
    ("socket.connection.setup.timeout.ms", "2000"),
    // A connection that hangs is given up before a caller's longest deadline.
    ("socket.timeout.ms", "5000"),
];

/// Turns: what one of them holds becomes visible together or never, and nothing of a fenced owner ever.
const TRANSACTIONAL: &[(&str, &str)] = &[
    ("enable.idempotence", "true"),
    // The turn is the batch: waiting for more of it would only make it later.
    ("linger.ms", "0"),
    // See RETRY_BACKOFF.
    ("retry.backoff.ms", "1000"),
    ("retry.backoff.max.ms", "1000"),
    // A record that is not in the log by then fails its turn, while the transaction can still be told apart. It is long
    // enough for a cluster to replace a broker: giving up earlier costs a claim as well.
    ("message.timeout.ms", "8000"),
    // How long a killed owner's open transaction can keep readers of its partition waiting, if nobody claims it.
    ("transaction.timeout.ms", "10000"),
    ("queue.buffering.max.messages", "16384"),
];

/// Commands: each is in the log once, in the order of appending, or the process ended before it was.
const COMMANDS: &[(&str, &str)] = &[
    ("enable.idempotence", "true"),
    // Gathered by the sink, which knows how busy it is; this only lets one request take what it hands over.
    ("linger.ms", "1"),
    ("retry.backoff.ms", "20"),
    ("retry.backoff.max.ms", "200"),
    // Never given up: a gap would let a later command overtake, and an Abandon has to arrive. What is too late is
    // refused by its owner. The sink bounds how many wait.
    ("message.timeout.ms", "0"),
    ("queue.buffering.max.messages", "0"),
];

/// Dead letters, and commands that are tried again: each is written once, and waited for.
const POST: &[(&str, &str)] = &[
    ("enable.idempotence", "true"),
    ("linger.ms", "0"),
    ("retry.backoff.ms", "20"),
    ("retry.backoff.max.ms", "200"),
    ("message.timeout.ms", "5000"),
];

/// Replies: written after a turn, never part of it.
const REPLIES: &[(&str, &str)] = &[
    // One that comes twice or late changes nothing; and with five requests in flight an idempotent client spins.
    ("enable.idempotence", "false"),
    ("linger.ms", "0.1"),
    ("retry.backoff.ms", "20"),
    ("retry.backoff.max.ms", "200"),
    // A reply that is later than this has been told by the committed tail.
    ("message.timeout.ms", "5000"),
    ("queue.buffering.max.messages", "100000"),
];

/// Whatever is read: from a position that is ours, never one that the cluster keeps or makes up.
const READER: &[(&str, &str)] = &[
    // A topic is made by whoever operates it, with the partitions it must have.
    ("allow.auto.create.topics", "false"),
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    // A position that the log does not have is an error that a person has to see, not a new beginning.
    ("auto.offset.reset", "error"),
    // Nothing of an open or aborted transaction is seen.
    ("isolation.level", "read_committed"),
    // Bytes that changed on the way or on a disk are an error.
    ("check.crcs", "true"),
    // A partition that is added waits for the fetch under way.
    ("fetch.wait.max.ms", "20"),
    ("fetch.error.backoff.ms", "50"),
    ("retry.backoff.ms", "20"),
    // A whole turn's commands in one fetch.
    ("max.partition.fetch.bytes", "4194304"),
    // Memory of what is fetched and not yet read.
    ("queued.max.messages.kbytes", "16384"),
    // Who has read what was fetched gets more at once: the client would look again after a second.
    ("fetch.queue.backoff.ms", "2"),
    ("topic.metadata.refresh.interval.ms", "60000"),
];

/// Who should own what: a hint, for the fence is the truth.
const MEMBER: &[(&str, &str)] = &[
    ("group.protocol", "classic"),
    ("partition.assignment.strategy", "cooperative-sticky"),
    // A killed owner's partitions are given to others after this long.
    ("session.timeout.ms", "6000"),
    // How soon a member hears that it has to give up or may take: a partition that moves waits for it twice.
    ("heartbeat.interval.ms", "200"),
    ("max.poll.interval.ms", "15000"),
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("auto.offset.reset", "error"),
];

impl Cluster {
    /// A client for asking about the cluster, and for writing its manifest.
    pub fn plain(&self) -> ClientConfig {
        self.with("ask", &[])
    }

    /// A producer of the turns of a partition of this log.
    pub fn transactional(&self, log_id: u128, partition: u32, slot: u8) -> ClientConfig {
        let mut config = self.with("turns", TRANSACTIONAL);
        config.set("transactional.id", format!("{}{partition}.{slot}", transactional_ids(log_id)));
        config
    }

    /// How many producers take turns on a partition, of [`SLOTS`].
    pub fn alternating(&self) -> u8 {
        if self.alternates { SLOTS } else { 1 }
    }

    /// The producer of commands.
    pub fn commands(&self) -> ClientConfig {
        self.with("commands", COMMANDS)
    }

    /// A reader that says when it came to a partition's end.
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

    /// A reader of whatever is committed.
    pub fn reader(&self) -> ClientConfig {
        let mut config = self.with("reader", READER);
        // The client wants a name to assign partitions; nothing is ever asked or kept under it.
        config.set("group.id", format!("{}.reader", self.application));
        config
    }

    /// The reader of a gateway's replies. Uncommitted, because replies are written after the commit and outside of any
    /// transaction: none of them has to wait for another's.
    pub fn reply_reader(&self) -> ClientConfig {
        let mut config = self.reader();
        config.set("isolation.level", "read_uncommitted");
        config
    }

    /// The member of the group of this log's owners.
    pub fn member(&self, log_id: u128) -> ClientConfig {
        let mut config = self.with("member", MEMBER);
        config.set("group.id", group_of(log_id));
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

/// What the transactional ids of a log begin with. They are made of the log's own id and of nothing that an operator may
/// say: whoever serves the same log, under whatever name, fences and is fenced; and two logs never do, whatever their
/// names have in common.
pub fn transactional_ids(log_id: u128) -> String {
    format!("{OF_LOGS}.{log_id:032x}.")
}

/// The group of a log's owners, for the same reasons.
pub fn group_of(log_id: u128) -> String {
    format!("{OF_LOGS}.{log_id:032x}.owners")
}
