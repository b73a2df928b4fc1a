//! Topics, manifest and schemas of a real cluster: made as declared, refused where it would hurt, and looked at before
//! anything is served.

use super::lost_commands::wait;
use crate::process::{Ended, Served, headroom, run};
use crate::rig::Rig;
use crate::wait::until;
use headroom::domain::Micros;
use headroom::limits::{COMMAND_WINDOW_MS, DEDUP_WINDOW_MS};
use headroom::log::kafka::ops::admin::Admin;
use headroom::log::kafka::ops::manifest::{FORMAT_VERSION, Pinned, encode};
use headroom::log::kafka::ops::plan::ClusterState;
use headroom::log::kafka::ops::preflight::{PreflightErrors, Ready, Start, preflight};
use headroom::log::kafka::ops::topics::TopicRequirements;
use headroom::log::kafka::schema::registry::{Registry, subjects};
use headroom::log::kafka::{Cluster, Topics};
use headroom::log::{FEATURE_LEVEL, Manifest};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(20);
const ASKED: TopicRequirements =
    TopicRequirements { partitions: None, replication: 1, min_in_sync: 1, events_keep: None };

/// Topics of one test's own.
pub struct Place {
    brokers: String,
    prefix: &'static str,
    /// Settings of these commands beside those.
    more: Vec<(&'static str, String)>,
}

impl Place {
    pub fn on(rig: &Rig, prefix: &'static str) -> Place {
        Place { brokers: rig.brokers().to_owned(), prefix, more: Vec::new() }
    }

    /// By way of this broker instead, with these settings, by the names of their environment variables.
    pub fn by(self, broker: String, more: Vec<(&'static str, String)>) -> Place {
        Place { brokers: broker, more, ..self }
    }

    pub fn topic(&self, name: &str) -> String {
        format!("{}.{name}", self.prefix)
    }

    pub fn cluster(&self) -> Cluster {
        Cluster {
            brokers: self.brokers.clone(),
            security: BTreeMap::new(),
            application: "headroom".to_owned(),
            environment: "dev".to_owned(),
            topics: Topics::of(self.prefix),
            alternates: true,
        }
    }

    /// The binary, told of these topics.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = headroom([]);
        command.args(args);
        command.env("HEADROOM_KAFKA_BROKERS", &self.brokers);
        command.env("HEADROOM_KAFKA_REPLICATION", "1").env("HEADROOM_KAFKA_MIN_IN_SYNC", "1");
        for name in ["commands", "events", "replies", "dead-letters", "manifest"] {
            let variable = format!("HEADROOM_TOPIC_{}", name.replace('-', "_").to_uppercase());
            command.env(variable, self.topic(name));
        }
        command.envs(self.more.iter().map(|(name, value)| (name, value)));
        command
    }

    /// The same, run to its end.
    pub fn headroom(&self, args: &[&str]) -> Ended {
        run(&mut self.command(args))
    }

    #[track_caller]
    pub fn apply(&self) {
        let ended = self.headroom(&["topics", "apply"]);
        assert_eq!(ended.code, 0, "{}{}", ended.out, ended.err);
    }

    pub fn look(&self) -> ClusterState {
        Admin::new(self.cluster()).unwrap().look().unwrap()
    }

    fn clients(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers);
        config
    }

    /// Sets these of a topic, as a stranger would.
    fn set(&self, topic: &str, settings: &[(&str, &str)]) {
        let (admin, options) = self.admin();
        let topic = self.topic(topic);
        let alter = AlterConfig::new(ResourceSpecifier::Topic(&topic));
        let alter = settings.iter().fold(alter, |alter, (name, text)| alter.set(name, text));
        wait(admin.alter_configs(&[alter], &options)).unwrap().remove(0).unwrap();
        // The controller answers before the broker that is asked next has heard of it.
        until("the broker knows the settings", || {
            let now = self.look();
            settings.iter().all(|(name, text)| now.topics[&topic].config.get(*name).is_some_and(|now| now == text))
        });
    }

    fn create(&self, topic: &str, partitions: i32) {
        let (admin, options) = self.admin();
        let topic = self.topic(topic);
        let new = NewTopic::new(&topic, partitions, TopicReplication::Fixed(1));
        wait(admin.create_topics(&[new], &options)).unwrap().remove(0).unwrap();
        until("the broker knows the topic", || {
            self.look().topics.get(&topic).is_some_and(|made| made.partitions == partitions as u32)
        });
    }

    fn admin(&self) -> (AdminClient<DefaultClientContext>, AdminOptions) {
        (self.clients().create().unwrap(), AdminOptions::new().operation_timeout(Some(LIMIT)))
    }

    fn write(&self, topic: &str, key: &str, value: &str) {
        let producer: BaseProducer = self.clients().create().unwrap();
        let topic = self.topic(topic);
        producer.send(BaseRecord::to(&topic).key(key).payload(value).partition(0)).map_err(|(e, _)| e).unwrap();
        producer.flush(LIMIT).unwrap();
    }

    pub fn preflight(&self, registry: Option<&Registry>, data_dir: &Path) -> Result<Ready, PreflightErrors> {
        preflight(&Start { cluster: &self.cluster(), asked: ASKED, cluster_id: None, registry, data_dir })
    }
}

pub fn registry(rig: &Rig) -> Registry {
    // A busy machine is no reason to find anything.
    Registry { url: rig.registry_url().to_owned(), timeout: Duration::from_secs(10), user: None }
}

/// The manifest of a log at this place, with this many partitions.
fn pinned(place: &Place, partitions: u32) -> Pinned {
    let manifest = Manifest {
        log_id: 7,
        partitions,
        hash_version: 1,
        format_version: FORMAT_VERSION,
        dedup_window_ms: DEDUP_WINDOW_MS,
        memory_version: headroom::limits::MEMORY_VERSION,
        created_at: Micros(1),
    };
    Pinned {
        manifest,
        feature_level: FEATURE_LEVEL,
        raised_by: None,
        command_window_ms: COMMAND_WINDOW_MS,
        place: place.look().place,
    }
}

#[test]
fn topics_are_planned_made_once_and_checked() {
    let place = Place::on(Rig::shared(), "once");
    let told = place.headroom(&["topics", "check"]);
    assert_eq!((told.code, &*told.err), (1, ""));
    assert!(told.out.starts_with("once.commands does not exist\nonce.events does not exist\n"), "{}", told.out);
    let plan = place.headroom(&["topics", "plan", "--partitions", "3"]);
    assert_eq!((plan.code, &*plan.out), (0, include_str!("../../golden/topics-plan.txt")));
    assert_eq!(place.look().topics.len(), 0, "a plan changes nothing");

    let applied = place.headroom(&["topics", "apply", "--partitions", "3"]);
    assert_eq!((applied.code, applied.err.lines().count()), (0, 1), "a line of the audit log: {}", applied.err);
    assert_eq!(applied.out, format!("{}the topics are as they should be\n", plan.out));
    let seen = place.look();
    let made = seen.manifest.clone().unwrap().unwrap();
    assert_eq!((made.manifest.partitions, seen.topics["once.events"].partitions), (3, 3));

    let again = place.headroom(&["topics", "apply"]);
    assert_eq!((again.code, &*again.out), (0, "the topics are as they should be; nothing to do\n"));
    assert_eq!(place.look(), seen, "the manifest too is the one that was written first");
    let check = place.headroom(&["topics", "check"]);
    assert_eq!((check.code, &*check.out), (0, "the topics are as they should be\n"));
}

#[test]
fn an_apply_that_stopped_half_way_is_continued() {
    let place = Place::on(Rig::shared(), "half");
    place.create("events", 5);
    place.apply();
    let seen = place.look();
    assert_eq!((seen.topics["half.commands"].partitions, seen.manifest.unwrap().unwrap().manifest.partitions), (5, 5));
}

#[test]
fn settings_are_put_right_and_those_of_others_are_left() {
    let place = Place::on(Rig::shared(), "drift");
    place.apply();
    // The call replaces all that was set: what is not said goes back to what the cluster does usually.
    place.set("replies", &[("retention.ms", "1234567"), ("flush.ms", "5000")]);
    let check = place.headroom(&["topics", "check"]);
    let expected = "drift.replies has retention.ms=1234567 instead of 600000\n\
                    drift.replies has segment.bytes=1073741824 instead of 67108864\n\
                    drift.replies has segment.ms=604800000 instead of 600000\n";
    assert_eq!((check.code, &*check.out), (1, expected));
    place.apply();
    let seen = place.look();
    let replies = &seen.topics["drift.replies"].config;
    assert_eq!((&*replies["retention.ms"], &*replies["flush.ms"]), ("600000", "5000"));
    assert_eq!(place.headroom(&["topics", "check"]).code, 0);
}

/// Applies in vain.
#[track_caller]
fn assert_refused(place: &Place, flags: &[&str], why: &str) {
    let before = place.look();
    let told = place.headroom(&[&["topics", "apply"], flags].concat());
    assert_eq!(told.code, 1, "{}{}", told.out, told.err);
    assert!(told.out.contains(&format!("refused: {}.{why}", place.prefix)), "{}", told.out);
    assert!(told.out.ends_with("apply changes nothing while any difference is refused\n"), "{}", told.out);
    assert_eq!(place.look(), before);
}

#[test]
fn what_cannot_be_undone_is_refused_and_explained() {
    let place = Place::on(Rig::shared(), "refused");
    place.apply();
    place.set("replies", &[("retention.ms", "1")]);
    place.write("events", "pool", "an event");
    assert_refused(
        &place,
        &["--partitions", "8"],
        "manifest holds a manifest with partitions=4, and here it is 8: a log keeps the number of partitions that it \
         was created with: set that number, or none\n",
    );
    assert_refused(
        &place,
        &["--kafka-replication", "2"],
        "events has 1 replica instead of 2 or more: moving replicas is for kafka-reassign-partitions.sh\n",
    );
    for (name, text, usual) in
        [("cleanup.policy", "compact", "delete"), ("retention.ms", "1000", "-1"), ("retention.bytes", "1000", "-1")]
    {
        let is_age = name == "retention.ms";
        place.set("events", &[(name, text), ("retention.ms", if is_age { text } else { "-1" })]);
        let advice = match is_age {
            true => {
                "if this log is bounded, set kafka_events_keep and snapshots as its other processes have them; if it is \
                 not, set this by hand"
            }
            false => "set it by hand",
        };
        assert_refused(
            &place,
            &[],
            &format!(
                "events has {name}={text} instead of {usual}: records may be gone already: {advice}, then run headroom \
                 verify\n"
            ),
        );
    }
    place.set("events", &[("retention.ms", "-1")]);
    place.apply();

    let other = Place::on(Rig::shared(), "refused-count");
    other.create("events", 3);
    other.create("commands", 2);
    other.create("replies", 2);
    let why = "pools would move to other partitions, away from what was decided about them";
    assert_refused(&other, &[], &format!("commands has 2 partitions instead of 3: {why}\n"));
    assert_refused(&other, &["--partitions", "2"], &format!("events has 3 partitions instead of 2: {why}\n"));
    let why = "create the topic again, or add the missing partitions by hand";
    assert_refused(&other, &[], &format!("replies has 2 partitions instead of 8: {why}\n"));
}

#[test]
fn a_missing_or_doubtful_manifest_is_left_to_a_person() {
    let place = Place::on(Rig::shared(), "doubtful");
    place.apply();
    let seen = place.look();
    let made = seen.manifest.unwrap().unwrap();
    place.write("manifest", "note", "of somebody");
    place.write("manifest", "manifest", &encode(&made));
    assert_eq!(place.look().manifest, Ok(Some(made)), "said twice is said once, and other keys say nothing");
    place.write("manifest", "manifest", &encode(&pinned(&place, 4)));
    assert_refused(
        &place,
        &[],
        "manifest holds two manifests that differ: keep only the record that the log was created with\n",
    );

    let lost = Place::on(Rig::shared(), "lost");
    lost.create("manifest", 1);
    lost.write("manifest", "manifest", "{}");
    assert_refused(&lost, &[], "manifest holds a manifest that cannot be read: missing field `format_version`");
    let lost = Place::on(Rig::shared(), "lost-events");
    lost.create("events", 4);
    lost.write("events", "pool", "an event");
    assert_refused(
        &lost,
        &[],
        "manifest holds no manifest, and there are events that were written with one: write the record back that was \
         there, or use topics of a new log\n",
    );
}

#[test]
fn topics_of_a_cluster_that_is_not_meant_are_left_alone() {
    let place = Place::on(Rig::shared(), "foreign");
    let told = place.headroom(&["topics", "apply", "--kafka-cluster-id", "another"]);
    assert_eq!(told.code, 1, "{}", told.out);
    assert!(told.err.contains(", and kafka_cluster_id = another"), "{}", told.err);
    assert_eq!(place.look().topics.len(), 0);
    let told = place.headroom(&["topics", "plan", "--kafka-brokers", "127.0.0.1:1"]);
    assert_eq!(told.code, 2, "{}", told.out);
    assert!(told.err.contains("kafka at 127.0.0.1:1 does not answer: "), "{}", told.err);
    assert!(told.err.contains("Connection refused"), "{}", told.err);
}

#[test]
fn a_cluster_that_is_as_it_should_be_is_served() {
    let place = Place::on(Rig::shared(), "served");
    place.apply();
    // Nothing that is promised leans on this.
    place.set("replies", &[("retention.ms", "1234567")]);
    let dir = tempfile::tempdir().unwrap();
    let ready = place.preflight(None, dir.path()).unwrap();
    assert_eq!(ready.manifest, place.look().manifest.unwrap().unwrap().manifest);
    assert_eq!(std::fs::read_to_string(dir.path().join("cluster.id")).unwrap().trim(), ready.cluster_id);
    assert_eq!(place.preflight(None, dir.path()).unwrap().cluster_id, ready.cluster_id);
}

#[test]
fn everything_that_is_wrong_is_told_before_anything_is_served() {
    let place = Place::on(Rig::shared(), "wrong");
    place.create("commands", 3);
    place.create("events", 4);
    place.create("manifest", 1);
    let made = pinned(&place, 4);
    let other = Manifest { hash_version: 9, ..made.manifest };
    place.write("manifest", "manifest", &encode(&Pinned { manifest: other, ..made }));
    place.set("events", &[("cleanup.policy", "compact"), ("unclean.leader.election.enable", "true")]);
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("cluster.id"), "first\n").unwrap();
    let registry = registry(Rig::shared());
    let cluster = place.cluster();
    let start = Start {
        cluster: &cluster,
        asked: TopicRequirements { partitions: Some(8), replication: 3, min_in_sync: 2, events_keep: None },
        cluster_id: Some("another"),
        registry: Some(&registry),
        data_dir: dir.path(),
    };
    let told = preflight(&start).unwrap_err();
    let id = Admin::new(place.cluster()).unwrap().cluster_id().unwrap();
    let (brokers, dir, url) = (&place.brokers, dir.path().display(), &registry.url);
    let few = "has 1 replica instead of 3 or more";
    let unsynced = "has min.insync.replicas=1 instead of 2 or more";
    let unknown = subjects(&cluster.topics).into_iter().flat_map(|subject| {
        let version = move |n| format!("{} version {n}", subject.name);
        (1..=subject.versions.len()).map(version)
    });
    let unknown: Vec<String> = unknown.collect();
    let expected = [
        format!("the cluster at {brokers} is {id}, and kafka_cluster_id = another"),
        format!("the cluster at {brokers} is {id}, and {dir} was used with first: name another data_dir"),
        "wrong.commands has 3 partitions instead of 4".to_owned(),
        format!("wrong.commands {few}"),
        format!("wrong.commands {unsynced}"),
        format!("wrong.events {few}"),
        "wrong.events has cleanup.policy=compact instead of delete".to_owned(),
        "wrong.events has message.timestamp.type=CreateTime instead of LogAppendTime".to_owned(),
        format!("wrong.events {unsynced}"),
        "wrong.events has retention.ms=604800000 instead of -1".to_owned(),
        "wrong.events has unclean.leader.election.enable=true instead of false".to_owned(),
        "wrong.replies does not exist".to_owned(),
        "wrong.dead-letters does not exist".to_owned(),
        format!("wrong.manifest {few}"),
        "wrong.manifest has cleanup.policy=delete instead of compact".to_owned(),
        format!("wrong.manifest {unsynced}"),
        "wrong.manifest holds a manifest with partitions=4, and here it is 8".to_owned(),
        "wrong.manifest holds a manifest with hash_version=9, and here it is 1\n  \
         headroom topics plan says what can be done about the topics"
            .to_owned(),
        format!(
            "the registry at {url} does not know {}: headroom schemas register makes them known",
            unknown.join(", ")
        ),
    ];
    let (rest, ours): (Vec<_>, Vec<_>) = told.0.iter().partition(|told| told.contains("__transaction_state"));
    for (told, expected) in ours.into_iter().zip(&expected) {
        assert_eq!(told, expected);
    }
    // Other tests may have made the broker make it.
    assert_eq!(rest.len(), 2, "{rest:?}");
    for (told, few) in rest.iter().zip(["instead of 3 or more", "=1 instead of 2 or more"]) {
        assert!(told.ends_with(&format!("{few}: every yes rests on it")), "{told}");
    }
    assert!(told.to_string().starts_with("the log cannot be used, for 21 reasons\n  the cluster at "), "{told}");
    assert_eq!(std::fs::read_dir(start.data_dir).unwrap().count(), 1, "nothing new is remembered");
}

/// Whoever names the topics of a log and means another one is refused, by serve and by apply.
#[test]
fn a_log_of_another_place_is_not_served() {
    let place = Place::on(Rig::shared(), "pinned");
    place.apply();
    let dir = tempfile::tempdir().unwrap();
    let served = |place: &Place, flags: &[&str]| {
        let flags = [&["serve", "--listen", "127.0.0.1:0", "--data-dir", dir.path().to_str().unwrap()], flags].concat();
        place.headroom(&flags)
    };
    let refused = |flags: &[&str], what: &str| {
        let told = served(&place, flags);
        assert_eq!(told.code, 2, "{}{}", told.out, told.err);
        assert!(told.err.contains(&format!("pinned.manifest holds a manifest with {what}")), "{}", told.err);
        let told = place.headroom(&[&["topics", "apply"], flags].concat());
        assert!(told.code == 1 && told.out.contains(&format!("a manifest with {what}")), "{}{}", told.out, told.err);
    };
    refused(&["--environment", "green"], "environment=dev, and here it is green");
    refused(&["--application", "other"], "application=headroom, and here it is other");
    let other = "topic_dead_letters=pinned.dead-letters, and here it is pinned.replies2";
    refused(&["--topic-dead-letters", "pinned.replies2"], other);
    // The log of another environment may be read.
    assert_eq!(run(place.command(&["verify"]).env("HEADROOM_ENVIRONMENT", "green")).code, 0);

    let copy = Place::on(Rig::shared(), "copied");
    copy.create("manifest", 1);
    let made = pinned(&copy, 4);
    let elsewhere =
        headroom::log::kafka::ops::manifest::LogLocation { cluster_id: "another".to_owned(), ..made.place.clone() };
    copy.write("manifest", "manifest", &encode(&Pinned { place: elsewhere, ..made }));
    let told = served(&copy, &[]);
    assert!(
        told.err.contains("copied.manifest holds a manifest with cluster_id=another, and here it is "),
        "{}",
        told.err
    );
}

#[test]
fn brokers_that_take_late_records_are_not_leant_on() {
    let rig = Rig::start(1, false);
    let place = Place::on(&rig, "late");
    place.apply();
    let verifies = |text: &str| {
        let (admin, options) = place.admin();
        let alter =
            AlterConfig::new(ResourceSpecifier::Broker(1)).set("transaction.partition.verification.enable", text);
        wait(admin.alter_configs(&[alter], &options)).unwrap().remove(0).unwrap();
    };
    let dir = tempfile::tempdir().unwrap();
    verifies("false");
    let expected = "broker 1 has transaction.partition.verification.enable=false: what an owner wrote before it was \
                    fenced could be committed by the next one";
    until("the broker is as it was told to be", || {
        place.preflight(None, dir.path()).is_err_and(|told| told.0 == [expected])
    });
    verifies("true");
    until("the broker is as it was told to be", || place.preflight(None, dir.path()).is_ok());
}

#[test]
fn a_cluster_that_nobody_reaches_is_one_reason() {
    let dir = tempfile::tempdir().unwrap();
    let nowhere = Place { brokers: "127.0.0.1:1".to_owned(), prefix: "nowhere", more: Vec::new() };
    let told = nowhere.preflight(None, dir.path()).unwrap_err();
    assert_eq!(told.0.len(), 1, "{told}");
    assert!(told.0[0].starts_with("kafka at 127.0.0.1:1 does not answer: "), "{told}");
}

/// The story: the events of some years fill the cluster, and snapshots are written. The retention is set by `apply`, shown
/// before, and a server refuses one that leaves no time to mend a snapshot.
#[test]
fn a_retention_of_events_is_set_and_served_with_snapshots_only() {
    let place = Place::on(Rig::shared(), "topics-keep");
    place.apply();
    let folder = tempfile::tempdir().unwrap();
    let snapshots = format!("file://{}", folder.path().display());
    let keep = |age: &'static str| ["--snapshots", &snapshots, "--kafka-events-keep", age].map(str::to_owned);
    let topics = |action: &str, flags: &[String]| {
        let args: Vec<&str> = ["topics", action].into_iter().chain(flags.iter().map(String::as_str)).collect();
        place.headroom(&args)
    };
    let bare = topics("plan", &keep("90d")[2..]);
    assert_eq!(bare.code, 2, "{}{}", bare.out, bare.err);
    assert!(bare.err.contains("kafka_events_keep is set without snapshots"), "{}", bare.err);
    let short = topics("plan", &keep("3d"));
    assert_eq!(short.code, 2, "{}{}", short.out, short.err);
    assert!(short.err.contains("kafka_events_keep is shorter than 73h"), "{}", short.err);
    // Somebody has already let the cluster delete what is older than a day.
    let dir = tempfile::tempdir().unwrap();
    let refused = |flags: &[String]| {
        let mut serve = place.command(&["serve", "--listen", "127.0.0.1:0", "--data-dir"]);
        run(serve.arg(dir.path()).args(flags))
    };
    place.set("events", &[("retention.ms", "86400000")]);
    let events = place.topic("events");
    for flags in [&[][..], &keep("90d")] {
        let ended = refused(flags);
        assert_eq!(ended.code, 2, "{}{}", ended.out, ended.err);
        assert!(ended.err.contains(&format!("{events} has retention.ms=86400000 instead of")), "{}", ended.err);
    }
    let step = format!("set retention.ms=7776000000 on {events}, instead of 86400000");
    for action in ["plan", "apply"] {
        let told = topics(action, &keep("90d"));
        assert!(told.out.contains(&step), "{action}: {}{}", told.out, told.err);
        assert_eq!(told.code, 0, "{action}: {}{}", told.out, told.err);
    }
    assert_eq!(topics("check", &keep("90d")).code, 0);
    let ended = refused(&[]);
    assert!(ended.err.contains("has retention.ms=7776000000 instead of -1"), "{}", ended.err);
    let mut serve = place.command(&["serve", "--listen", "127.0.0.1:0", "--data-dir"]);
    let served = Served::start(serve.arg(dir.path()).args(keep("30d")));
    served.running.terminate();
}

/// The story: one upgrade sets both the place of snapshots and the age of events. The cluster would delete events that nothing
/// covers, and no server without a checkpoint could serve the log any more.
#[test]
fn events_are_not_let_go_before_snapshots_cover_them() {
    let place = Place::on(Rig::shared(), "topics-cover");
    place.apply();
    let (folder, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let snapshots = format!("file://{}", folder.path().display());
    let keep = ["--snapshots", &snapshots, "--kafka-events-keep", "90d"];
    let topics = |args: &[&str]| place.headroom(&[&["topics"], args, &keep[..]].concat());
    let serve = |flags: &[&str]| {
        let mut serve = place.command(&["serve", "--listen", "127.0.0.1:0", "--data-dir"]);
        Served::start(serve.arg(dir.path()).args(flags))
    };
    let retention = || place.look().topics[&place.topic("events")].config["retention.ms"].clone();
    let refused = |action: &str, why: &str| {
        let told = topics(&[action]);
        assert_eq!(told.code, 1, "{action}: {}{}", told.out, told.err);
        for part in [why, "set retention.ms=7776000000 on", "apply --without-snapshots does not look"] {
            assert!(told.out.contains(part), "{action}: {part}: {}", told.out);
        }
        assert_eq!(retention(), "-1", "{action}");
    };

    let served = serve(&[]);
    until("an owner has written an event", || place.look().has_events);
    served.running.terminate();
    for action in ["plan", "apply"] {
        refused(action, "may be deleted before a snapshot covers them: it has no snapshot whose manifest is good");
    }
    let served = serve(&keep[..2]);
    until("each partition with events has a snapshot", || topics(&["plan"]).code == 0);
    served.running.terminate();
    let applied = topics(&["apply"]);
    assert_eq!((applied.code, &*retention()), (0, "7776000000"), "{}{}", applied.out, applied.err);

    // Where nobody knows what the place has, only who says so goes on.
    place.set("events", &[("retention.ms", "-1")]);
    folder.close().unwrap();
    refused("apply", "on it is not known which there are: ");
    let applied = topics(&["apply", "--without-snapshots"]);
    assert_eq!((applied.code, &*retention()), (0, "7776000000"), "{}{}", applied.out, applied.err);
}
