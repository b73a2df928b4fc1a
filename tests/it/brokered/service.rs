//! The whole service over the shared broker: processes of it in this one, and a log of a test's own.

use super::{brokers, cluster_on, draw, prefix, settled};
use crate::server::Server;
use crate::wait::until;
use headroom::app;
use headroom::audit::PartitionAudit;
use headroom::config::{Config, FileText, Inputs};
use headroom::domain::{ChainedEvent, Micros};
use headroom::limits::{COMMAND_WINDOW_MS, DEADLINE_MAX_MS};
use headroom::log::kafka::ops::admin::Admin;
use headroom::log::kafka::ops::manifest::Pinned;
use headroom::log::kafka::ops::plan::compare;
use headroom::log::kafka::{Cluster, Framing, Kafka};
use headroom::log::{CommittedTail, FEATURE_LEVEL, Manifest, StoredEvent};
use headroom::replica::{PartitionState, PartitionStatus};
use headroom::time::{Clock, SystemClock};
use headroom::wire;
use std::path::Path;
use std::sync::Arc;

/// Every committed event of the partition.
pub fn all_events(tail: &impl CommittedTail, partition: u32) -> Vec<StoredEvent> {
    let mut events: Vec<StoredEvent> = Vec::new();
    loop {
        let more = tail.read(partition, events.len() as u64, usize::MAX).unwrap();
        if more.is_empty() {
            return events;
        }
        events.extend(more);
    }
}

/// Topics with a manifest, as `headroom topics apply` makes them.
pub struct Log {
    pub cluster: Cluster,
    pub manifest: Manifest,
}

impl Log {
    pub fn new(partitions: u32) -> Log {
        Log::on(&brokers(), partitions)
    }

    /// On these brokers instead of the shared one.
    pub fn on(brokers: &str, partitions: u32) -> Log {
        let cluster = cluster_on(brokers, &prefix());
        let manifest = Manifest {
            log_id: draw(),
            partitions,
            hash_version: headroom::domain::route::HASH_VERSION,
            format_version: headroom::log::kafka::ops::manifest::FORMAT_VERSION,
            dedup_window_ms: headroom::limits::DEDUP_WINDOW_MS,
            memory_version: headroom::limits::MEMORY_VERSION,
            created_at: Micros(0),
        };
        let log = Log { cluster, manifest };
        let config = log.config(Path::new("unused"), "owner");
        let admin = Admin::new(log.cluster.clone()).unwrap();
        let asked = app::asked(&config, config.kafka.as_ref().unwrap());
        let seen = admin.look().unwrap();
        let differences = compare(&asked, &seen);
        let pinned = Pinned {
            manifest,
            feature_level: FEATURE_LEVEL,
            raised_by: None,
            command_window_ms: COMMAND_WINDOW_MS,
            place: seen.place,
        };
        admin.apply(&differences, &pinned).unwrap();
        let topics = &log.cluster.topics;
        settled(brokers, &[&topics.commands, &topics.events].map(|topic| (topic.as_str(), partitions)));
        settled(brokers, &[(&topics.replies, 8), (&topics.manifest, 1)]);
        log
    }

    /// The same for whoever finds it by way of this broker, such as a proxy.
    pub fn by(&self, brokers: &str) -> Log {
        let cluster = Cluster { brokers: brokers.to_owned(), ..self.cluster.clone() };
        Log { cluster, manifest: self.manifest }
    }

    /// Of a process with these roles, which answers late rather than not at all: the machine may be busy.
    pub fn config(&self, data_dir: &Path, roles: &str) -> Config {
        let topics = &self.cluster.topics;
        let lines = [
            ("listen", "127.0.0.1:0"),
            ("data_dir", data_dir.to_str().unwrap()),
            ("kafka_brokers", &self.cluster.brokers),
            ("roles", roles),
            ("topic_commands", &topics.commands),
            ("topic_events", &topics.events),
            ("topic_replies", &topics.replies),
            ("topic_dead_letters", &topics.dead_letters),
            ("topic_manifest", &topics.manifest),
        ];
        let mut text: String = lines.iter().map(|(name, value)| format!("{name} = {value:?}\n")).collect();
        text += &format!("partitions = {}\nkafka_replication = 1\nkafka_min_in_sync = 1\n", self.manifest.partitions);
        text += &format!("deadline_default_ms = {DEADLINE_MAX_MS}\n");
        let file = Some(FileText { path: "headroom.toml".to_owned(), text });
        Config::load(&Inputs { file, ..Inputs::default() }).unwrap()
    }

    /// A process with these roles, which are all there is of them: it owns every partition if it owns any.
    pub fn serve(&self, data_dir: &Path, roles: &str, clock: Arc<dyn Clock>) -> Server {
        self.serve_as(&self.config(data_dir, roles), roles, clock)
    }

    /// The same as it is configured.
    pub fn serve_as(&self, config: &Config, roles: &str, clock: Arc<dyn Clock>) -> Server {
        let server = Server::of(config, clock);
        let status = if roles.contains("owner") { PartitionStatus::Active } else { PartitionStatus::Standby };
        for handle in server.gateway.replica().partitions() {
            until("the partition is ready", || handle.status() == status);
        }
        server
    }

    /// A process that takes calls and owns every partition, by the machine's clock.
    pub fn serve_alone(&self, data_dir: &Path) -> Server {
        self.serve(data_dir, "gateway,owner", Arc::new(SystemClock::new()))
    }

    /// As another process sees it.
    pub fn open(&self) -> Kafka {
        Kafka::open(self.cluster.clone(), self.manifest, Framing::none(), draw).unwrap()
    }

    /// Every event of the partition.
    pub fn events(&self, partition: u32) -> Vec<StoredEvent> {
        all_events(&self.open(), partition)
    }

    /// Every event of the partition, after the auditor has found nothing in them.
    #[track_caller]
    pub fn audited(&self, partition: u32) -> Vec<ChainedEvent> {
        let events = self.events(partition).into_iter().map(|event| wire::event::decode(&event.bytes).unwrap());
        let events: Vec<_> = events.collect();
        let mut audit = PartitionAudit::new(partition, self.manifest.partitions);
        events.iter().for_each(|recorded| audit.observe(recorded));
        assert_eq!(audit.finish().breaches(), [], "partition {partition}");
        events
    }

    /// The state that the log alone makes.
    pub fn rebuilt(&self, partition: u32) -> PartitionState {
        let log = self.open();
        headroom::owner::recover::rebuild(&log, partition, log.end(partition).unwrap(), &mut |_| {}).unwrap()
    }

    /// L7: whoever has a state of the partition has the log's.
    #[track_caller]
    pub fn alike(&self, partition: u32, servers: &[&Server]) {
        let state = self.rebuilt(partition);
        let expected = (*state.position(), state.digest());
        for server in servers {
            let seen = || {
                let handle = server.gateway.replica().partition(partition).unwrap();
                handle.read(|state| (*state.position(), state.digest()))
            };
            until("the replica is where the log is", || seen().0 == expected.0);
            assert_eq!(seen(), expected, "partition {partition}");
        }
    }
}
