//! Every difference, whether `apply` refuses it, and whether a server does.

use super::*;
use crate::domain::Micros;
use crate::log::FEATURE_LEVEL;
use crate::log::Manifest;
use crate::log::kafka::Topics;
use crate::log::kafka::ops::manifest::FORMAT_VERSION;
use crate::log::kafka::ops::topics::EventsKeep;

const ASKED: TopicRequirements =
    TopicRequirements { partitions: None, replication: 3, min_in_sync: 2, events_keep: None };

fn place() -> LogLocation {
    LogLocation {
        cluster_id: "K1".to_owned(),
        application: "headroom".to_owned(),
        environment: "prod".to_owned(),
        topics: Topics::of("h"),
    }
}

fn pinned() -> Pinned {
    let manifest = Manifest {
        log_id: 7,
        partitions: 4,
        hash_version: HASH_VERSION,
        format_version: FORMAT_VERSION,
        dedup_window_ms: DEDUP_WINDOW_MS,
        memory_version: MEMORY_VERSION,
        created_at: Micros(1),
    };
    Pinned {
        manifest,
        feature_level: FEATURE_LEVEL,
        raised_by: None,
        command_window_ms: COMMAND_WINDOW_MS,
        place: place(),
    }
}

/// A cluster on which everything is as it should be.
fn sound() -> ClusterState {
    let found = |wanted: TopicSpec| {
        let TopicSpec { name, partitions, replicas, config, .. } = wanted;
        (name, TopicState { partitions, replicas, config })
    };
    let topics = wanted(&Topics::of("h"), &ASKED, 4).into_iter().map(found).collect();
    ClusterState { topics, manifest: Ok(Some(pinned())), place: place(), has_events: true }
}

fn told(seen: &ClusterState, asked: &TopicRequirements) -> Vec<(String, bool, bool)> {
    let differences = compare(asked, seen);
    differences.iter().map(|d| (d.to_string(), d.refusal().is_some(), d.is_unsafe())).collect()
}

#[track_caller]
fn assert_told(change: impl FnOnce(&mut ClusterState), expected: &[(&str, bool, bool)]) {
    let mut seen = sound();
    change(&mut seen);
    let told = told(&seen, &ASKED);
    let told: Vec<(&str, bool, bool)> = told.iter().map(|(text, refused, bad)| (&**text, *refused, *bad)).collect();
    assert_eq!(told, expected);
}

fn set(topic: &'static str, name: &'static str, text: &'static str) -> impl FnOnce(&mut ClusterState) {
    move |seen| {
        seen.topics.get_mut(topic).unwrap().config.insert(name.to_owned(), text.to_owned());
    }
}

#[test]
fn what_is_as_it_should_be_differs_in_nothing() {
    assert_told(|_| (), &[]);
    // More is as well, and what is not declared is not ours.
    assert_told(set("h.events", "min.insync.replicas", "3"), &[]);
    assert_told(set("h.events", "max.message.bytes", "9999999"), &[]);
    assert_told(set("h.events", "flush.ms", "1"), &[]);
    assert_told(|seen| seen.topics.get_mut("h.events").unwrap().replicas = 5, &[]);
    assert_eq!(told(&sound(), &TopicRequirements { partitions: Some(4), ..ASKED }), []);
}

/// With snapshots, events need not be kept for ever: what is set is applied, and too short a time is not served.
#[test]
fn a_retention_of_events_is_accepted_when_snapshots_cover_what_goes() {
    let day = 86_400_000;
    let asked = TopicRequirements { events_keep: Some(EventsKeep { ms: 90 * day, min_ms: 4 * day }), ..ASKED };
    let cases = [
        ("-1", false, false),
        (&(91 * day).to_string(), false, false),
        (&(4 * day).to_string(), false, false),
        (&(4 * day - 1).to_string(), false, true),
        ("", false, true),
        ("many", false, true),
    ];
    for (found, is_refused, is_bad) in cases {
        let mut seen = sound();
        seen.topics.get_mut("h.events").unwrap().config.insert("retention.ms".to_owned(), found.to_owned());
        let text = format!("h.events has retention.ms={found} instead of 7776000000");
        assert_eq!(told(&seen, &asked), [(text, is_refused, is_bad)]);
    }
    let mut seen = sound();
    seen.topics.get_mut("h.events").unwrap().config.insert("retention.ms".to_owned(), (90 * day).to_string());
    assert_eq!(told(&seen, &asked), []);
    // A bound in bytes, or by key, keeps nothing for any time.
    for (name, found, wanted) in [("retention.bytes", "1000000000000", "-1"), ("cleanup.policy", "compact", "delete")] {
        let mut seen = seen.clone();
        set("h.events", name, found)(&mut seen);
        assert_eq!(told(&seen, &asked), [(format!("h.events has {name}={found} instead of {wanted}"), true, true)]);
    }
}

/// Before the cluster begins to delete events, somebody looks whether snapshots cover them.
#[test]
fn only_a_shorter_retention_of_events_lets_events_go() {
    let day = 86_400_000_u64;
    let keep = Some(EventsKeep { ms: 90 * day, min_ms: 4 * day });
    let shortened = |topic: &'static str, found: &str, events_keep| {
        let mut seen = sound();
        seen.topics.get_mut(topic).unwrap().config.insert("retention.ms".to_owned(), found.to_owned());
        let asked = TopicRequirements { events_keep, ..ASKED };
        let differences = compare(&asked, &seen);
        differences.iter().filter(|d| d.topic == topic).find_map(Difference::shortens_events_to_ms)
    };
    for (found, is_shortened) in
        [("-1", true), (&*(91 * day).to_string(), true), (&*(89 * day).to_string(), false), ("", true)]
    {
        assert_eq!(shortened("h.events", found, keep), is_shortened.then_some(90 * day), "{found}");
    }
    assert_eq!(shortened("h.events", "604800000", None), None, "all are kept");
    assert_eq!(shortened("h.commands", "-1", keep), None);
}

/// Each difference, whether apply refuses it, and whether serve does.
#[test]
fn every_difference_is_told_and_judged() {
    assert_told(|seen| drop(seen.topics.remove("h.replies")), &[("h.replies does not exist", false, true)]);
    assert_told(
        |seen| drop(seen.topics.remove("h.events")),
        &[("h.events does not exist, and there is the manifest of a log that had it", true, true)],
    );
    assert_told(
        |seen| seen.topics.get_mut("h.events").unwrap().partitions = 8,
        &[("h.events has 8 partitions instead of 4", true, true)],
    );
    assert_told(
        |seen| seen.topics.get_mut("h.replies").unwrap().partitions = 1,
        &[("h.replies has 1 partition instead of 8", true, true)],
    );
    assert_told(
        |seen| seen.topics.get_mut("h.commands").unwrap().replicas = 1,
        &[("h.commands has 1 replica instead of 3 or more", true, true)],
    );
    assert_told(
        set("h.events", "cleanup.policy", "compact"),
        &[("h.events has cleanup.policy=compact instead of delete", true, true)],
    );
    assert_told(
        set("h.events", "retention.ms", "604800000"),
        &[("h.events has retention.ms=604800000 instead of -1", true, true)],
    );
    assert_told(
        set("h.events", "retention.bytes", "1"),
        &[("h.events has retention.bytes=1 instead of -1", true, true)],
    );
    assert_told(
        set("h.commands", "cleanup.policy", "compact"),
        &[("h.commands has cleanup.policy=compact instead of delete", true, true)],
    );
    assert_told(
        set("h.replies", "cleanup.policy", "compact"),
        &[("h.replies has cleanup.policy=compact instead of delete", false, true)],
    );
    assert_told(
        set("h.events", "min.insync.replicas", "1"),
        &[("h.events has min.insync.replicas=1 instead of 2 or more", false, true)],
    );
    assert_told(
        set("h.events", "unclean.leader.election.enable", "true"),
        &[("h.events has unclean.leader.election.enable=true instead of false", false, true)],
    );
    assert_told(
        set("h.events", "message.timestamp.type", "CreateTime"),
        &[("h.events has message.timestamp.type=CreateTime instead of LogAppendTime", false, true)],
    );
    assert_told(
        set("h.commands", "retention.ms", "604800000"),
        &[("h.commands has retention.ms=604800000 instead of 259200000", false, false)],
    );
    assert_told(
        set("h.events", "compression.type", "zstd"),
        &[("h.events has compression.type=zstd instead of producer", false, false)],
    );
}

/// A process that has lost its settings must not be told to change the topic that others bound.
#[test]
fn an_age_of_events_is_a_lost_setting_or_a_changed_topic_and_both_are_named() {
    for (name, is_age) in [("retention.ms", true), ("retention.bytes", false)] {
        let mut seen = sound();
        set("h.events", name, "604800000")(&mut seen);
        let differences = compare(&ASKED, &seen);
        let why = differences[0].refusal().unwrap();
        assert_eq!(why.contains("if this log is bounded, set kafka_events_keep and snapshots as"), is_age, "{why}");
        assert!(why.contains("by hand, then run headroom verify"), "{why}");
    }
}

#[test]
fn nothing_is_gone_where_nothing_was() {
    let mut seen = ClusterState { has_events: false, ..sound() };
    set("h.events", "retention.ms", "604800000")(&mut seen);
    let expected = "h.events has retention.ms=604800000 instead of -1";
    assert_eq!(told(&seen, &ASKED), [(expected.to_owned(), false, true)]);
}

#[test]
fn a_manifest_is_written_for_an_empty_log_only() {
    assert_told(
        |seen| (seen.manifest, seen.has_events) = (Ok(None), false),
        &[("h.manifest holds no manifest", false, true)],
    );
    assert_told(
        |seen| seen.manifest = Ok(None),
        &[("h.manifest holds no manifest, and there are events that were written with one", true, true)],
    );
    assert_told(
        |seen| seen.manifest = Err(ManifestProblem::Two),
        &[("h.manifest holds two manifests that differ", true, true)],
    );
    assert_told(
        |seen| {
            let ours = pinned().manifest;
            let manifest = Manifest { hash_version: 9, dedup_window_ms: 1, memory_version: 9, ..ours };
            seen.manifest =
                Ok(Some(Pinned { manifest, feature_level: 9, raised_by: None, command_window_ms: 2, ..pinned() }));
        },
        &[
            ("h.manifest holds a manifest with feature_level=9, and here it is 2", true, true),
            ("h.manifest holds a manifest with hash_version=9, and here it is 1", true, true),
            ("h.manifest holds a manifest with dedup_window_ms=1, and here it is 86400000", true, true),
            ("h.manifest holds a manifest with command_window_ms=2, and here it is 15000", true, true),
            ("h.manifest holds a manifest with memory_version=9, and here it is 1", true, true),
        ],
    );
    assert_told(
        |seen| seen.manifest = Err(ManifestProblem::OtherVersion(1)),
        &[("h.manifest holds a manifest with format_version=1, and here it is 2", true, true)],
    );
    let asked = told(&sound(), &TopicRequirements { partitions: Some(8), ..ASKED });
    let expected = "h.manifest holds a manifest with partitions=4, and here it is 8";
    assert_eq!(asked, [(expected.to_owned(), true, true)]);
}

/// Each is refused by serve and by apply; what was made for others can be read, unless it would be read wrongly.
#[test]
fn a_log_of_another_place_is_left_alone() {
    let change = |change: fn(&mut LogLocation)| {
        let mut seen = sound();
        let mut pinned = pinned();
        change(&mut pinned.place);
        seen.manifest = Ok(Some(pinned));
        let differences = compare(&ASKED, &seen);
        let told = |d: &Difference| {
            assert!(d.refusal().is_some() && d.is_unsafe(), "{d}");
            (d.to_string(), d.is_unreadable())
        };
        differences.iter().map(told).collect::<Vec<_>>()
    };
    let holds = |what: &str, is_unreadable| (format!("h.manifest holds a manifest with {what}"), is_unreadable);
    assert_eq!(change(|place| place.cluster_id = "K2".to_owned()), [holds("cluster_id=K2, and here it is K1", false)]);
    assert_eq!(
        change(|place| place.application = "other".to_owned()),
        [holds("application=other, and here it is headroom", false)]
    );
    assert_eq!(
        change(|place| place.environment = "green".to_owned()),
        [holds("environment=green, and here it is prod", false)]
    );
    let topics = change(|place| place.topics = Topics::of("g"));
    let names = ["commands", "events", "replies", "dead-letters", "manifest"];
    let setting = |name: &str| format!("topic_{}", name.replace('-', "_"));
    let expected = names.map(|name| holds(&format!("{}=g.{name}, and here it is h.{name}", setting(name)), true));
    assert_eq!(topics, expected);
}

#[test]
fn before_there_is_a_manifest_whoever_asks_says_how_many_partitions_there_are() {
    let nothing = ClusterState { topics: BTreeMap::new(), manifest: Ok(None), place: place(), has_events: false };
    let made_with = |seen: &ClusterState, partitions| {
        let differences = compare(&TopicRequirements { partitions, ..ASKED }, seen);
        differences.into_iter().find_map(|difference| match difference.what {
            DifferenceKind::NoManifest { partitions } => Some(partitions),
            _ => None,
        })
    };
    assert_eq!((made_with(&nothing, Some(12)), made_with(&nothing, None)), (Some(12), Some(PARTITIONS_DEFAULT)));
    // An apply that stopped half way is gone on with.
    let mut half = ClusterState { manifest: Ok(None), has_events: false, ..sound() };
    half.topics.get_mut("h.events").unwrap().partitions = 6;
    assert_eq!(made_with(&half, None), Some(6));
    let other: Vec<String> = told(&half, &ASKED).into_iter().map(|(text, ..)| text).collect();
    assert_eq!(other[0], "h.commands has 4 partitions instead of 6");
}

#[test]
fn a_step_says_what_is_done() {
    let mut seen = ClusterState { manifest: Ok(None), has_events: false, ..sound() };
    seen.topics.remove("h.manifest");
    set("h.replies", "retention.ms", "1")(&mut seen);
    let steps: Vec<String> = compare(&ASKED, &seen).iter().map(Difference::step).collect();
    let expected = [
        "set retention.ms=600000 on h.replies, instead of 1",
        "create h.manifest: 1 partition, 3 replicas, cleanup.policy=compact compression.type=producer \
         max.message.bytes=1048588 min.insync.replicas=2 unclean.leader.election.enable=false",
        "write the manifest of a log with 4 partitions into h.manifest",
    ];
    assert_eq!(steps, expected);
}
