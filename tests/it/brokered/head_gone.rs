//! A log on a cluster whose first events were removed, as retention, tiered storage or a person does: it is served from a
//! snapshot that reaches up to what is left, and otherwise refused by name. Nobody begins anew, and nobody passes over a gap.

use super::lost_commands::{put, wait};
use super::serve::{Serving, Site};
use crate::cli::assert_says;
use crate::process::{Ended, agent, run};
use crate::rig::Rig;
use crate::swap::metrics;
use crate::wait::until;
use headroom::log::kafka::{Cluster, Kafka};
use headroom::log::{ClusterLog, CommittedTail, EndOffsets, PartitionLog};
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::topic_partition_list::Offset;
use rdkafka::{ClientConfig, TopicPartitionList};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);

pub const INTERVAL: [&str; 2] = ["--snapshot-interval-ms", "1000"];

/// Removes the events of partition 0 before this offset, as retention does.
pub fn remove_events(cluster: &Cluster, offset: Offset) {
    remove_events_of(cluster, 0, offset);
}

fn remove_events_of(cluster: &Cluster, partition: u32, offset: Offset) {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", &cluster.brokers).create().unwrap();
    let mut before = TopicPartitionList::new();
    let number = i32::try_from(partition).unwrap();
    before.add_partition_offset(&cluster.topics.events, number, offset).unwrap();
    let removed = wait(admin.delete_records(&before, &AdminOptions::new().operation_timeout(Some(LIMIT)))).unwrap();
    removed.elements().iter().for_each(|partition| partition.error().unwrap());
}

/// Removes all events of partition 0 before this one. Each has an offset of its own, and some offsets have none.
pub fn remove_before(log: &Kafka, seq: u64) {
    remove_before_of(log, 0, seq);
}

/// The same of another partition.
pub fn remove_before_of(log: &Kafka, partition: u32, seq: u64) {
    let mut offset = i64::try_from(seq).unwrap();
    while log.first(partition).unwrap() < seq {
        remove_events_of(log.cluster(), partition, Offset::Offset(offset));
        offset += 1;
    }
    assert_eq!(log.first(partition).unwrap(), seq);
}

/// The folder of a site's snapshots, and how it is named.
pub fn folder(site: &Site, name: &str) -> (PathBuf, String) {
    let folder = site.path(name);
    std::fs::create_dir_all(&folder).unwrap();
    let place = format!("file://{}", folder.display());
    (folder, place)
}

/// The whole snapshots in a folder, the oldest first: up to which event each reaches, and its rows.
pub fn snapshots(folder: &Path) -> Vec<(u64, PathBuf)> {
    let log = std::fs::read_dir(folder).unwrap().next().map(|entry| entry.unwrap().path().join("p0"));
    let entries = log.and_then(|log| std::fs::read_dir(log).ok()).into_iter().flatten();
    let manifests =
        entries.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|e| e == "json"));
    let mut found: Vec<_> = manifests
        .map(|path| {
            let seq = path.file_name().unwrap().to_str().unwrap().split('-').next().unwrap().parse().unwrap();
            (seq, path.with_extension("rows"))
        })
        .collect();
    found.sort();
    found
}

/// What a process says of the partition: the number of its events, and the digest of its state.
pub fn state(process: &Serving<'_>) -> (u64, String) {
    let url = format!("{}/internal/state/0", process.url().unwrap());
    let Ok(mut reply) = agent().get(url).call() else { return (0, String::new()) };
    let state: Value = serde_json::from_str(&reply.body_mut().read_to_string().unwrap()).unwrap_or_default();
    let text = |name: &str| state[name].as_str().map_or_else(|| state[name].to_string(), str::to_owned);
    (text("next_seq").parse().unwrap_or_default(), text("digest"))
}

/// Why a process does not serve the partition, once it says this.
#[track_caller]
fn refused(process: &Serving<'_>, says: &[&str]) -> String {
    let url = format!("{}/readyz", process.url().unwrap());
    let mut told = String::new();
    until("the process says why it does not serve", || {
        let mut reply = agent().get(&url).call().unwrap();
        let (status, text) = (reply.status().as_u16(), reply.body_mut().read_to_string().unwrap());
        told = text;
        status == 503 && told.contains("begins with seq")
    });
    assert_says(&told, says);
    assert_ne!(put(process, 77), 200);
    told
}

#[track_caller]
pub fn says(ended: &Ended, code: i32, parts: &[&str]) {
    let told = format!("{}{}", ended.out, ended.err);
    assert_eq!(ended.code, code, "{told}");
    assert_says(&told, parts);
}

/// Runs a command with these flags and the data directory of this process.
fn on<const N: usize>(site: &Site, name: &str, args: [&str; N], more: &[&str]) -> Ended {
    run(site.command(args).args(more).arg("--data-dir").arg(site.path(name)))
}

/// Compares the topics with what they should be.
fn topics(site: &Site, how: &str, more: &[&str]) -> Ended {
    run(site.command(["topics", how]).args(more))
}

pub fn change(process: &Serving<'_>, limits: std::ops::Range<u64>) {
    limits.for_each(|orders| until("the limit is set", || put(process, orders) < 300));
}

/// Serves for a while, until there is a snapshot of what was decided.
fn served(site: &Site, folder: &Path, place: &str) {
    let process = site.serving("first").with(INTERVAL).with(["--snapshots", place]);
    process.start();
    process.ready();
    change(&process, 100..140);
    let (end, _) = state(&process);
    until("a snapshot is written", || snapshots(folder).last().is_some_and(|(seq, _)| *seq >= end));
    process.terminate();
}

/// A process that reads snapshots counts from 0 on, also one that does not own the partition.
fn passes_over_nothing(process: &Serving<'_>) {
    let passed_over = metrics(&process.url().unwrap(), "headroom_snapshot_passed_over_total");
    assert_eq!(passed_over, ["headroom_snapshot_passed_over_total{partition=\"0\"} 0"]);
}

/// The story: the events of a year ago are removed while two processes run. A third one on an empty disk begins with the
/// newest snapshot and has the same state as the one that has read all. Tools say from where they trust the log.
#[test]
fn a_log_without_its_head_is_served_from_a_snapshot_that_covers_it() {
    let site = Site::new(Rig::shared(), 1);
    let (folder, place) = folder(&site, "snapshots");
    let settings = ["--snapshots", &place];
    let whole = site.serving("whole").with(INTERVAL).with(settings);
    whole.start();
    whole.ready();
    change(&whole, 100..140);
    let follower = site.serving("follower").with(settings);
    follower.start();
    follower.ready();
    [&whole, &follower].into_iter().for_each(passes_over_nothing);
    until("a snapshot is written", || !snapshots(&folder).is_empty());
    change(&whole, 140..150);
    let (reached, _) = snapshots(&folder)[0];
    remove_events(site.cluster(), Offset::Offset(12));
    let first = site.log().first(0).unwrap();
    assert!(first > 0 && first < reached, "{first} {reached}");
    // An owner and a follower that are beyond it go on.
    change(&whole, 150..160);
    let cold = site.serving("cold").with(settings);
    cold.start();
    cold.ready();
    let logged = cold.logged();
    assert!(logged.contains("no checkpoint: rebuilding from this snapshot and the log"), "{logged}");
    // One of them reaches up to the first event that is left, and no further.
    let newest = snapshots(&folder).last().unwrap().0;
    change(&whole, 160..170);
    remove_before(&site.log(), newest);
    let edge = site.serving("edge").with(settings);
    edge.start();
    edge.ready();
    let others = [&follower, &cold, &edge];
    until("all have the state of the one that has read all events", || {
        let told = state(&whole);
        told.0 > newest && others.iter().all(|other| state(other) == told)
    });
    // Whoever has never had the first events can take the partition over.
    whole.kill9();
    follower.kill9();
    until("another process decides", || put(&cold, 170) == 200);
    [&cold, &edge].iter().for_each(|process| process.terminate());
    let end = site.log().end(0).unwrap();

    let trusted = format!("events before seq {newest} are gone; the chain is trusted from snapshot ");
    let verified = on(&site, "cold", ["verify"], &settings);
    let from = format!("and verified from seq {newest} on");
    says(&verified, 0, &[&trusted, "(state digest ", "taken at ", &from, "clean: no law broken in "]);
    assert_says(&verified.out, &["fold", "checkpoint at "]);
    let unnamed = "no place of snapshots is set";
    let unproven = format!("the log begins at event {newest}; its head cannot be proven without --snapshots");
    says(&on(&site, "cold", ["verify"], &[]), 2, &[&unproven, "follow on each other"]);

    says(&topics(&site, "plan", &settings), 0, &["partition 0 has lost its first events, and is covered by snapshot "]);
    says(&topics(&site, "check", &[]), 1, &["refused: ", unnamed]);

    let printed = site.run(["cat"]);
    let told = format!("partition 0 begins with seq {newest}: the events before it are gone");
    says(&printed, 0, &[&told]);
    assert_eq!(printed.out.lines().count() as u64, end - newest);
    let asked = run(site.command(["cat"]).args(["--from", "0"]));
    let gone = format!("begins with seq {newest}: events 0 to {} are gone", newest - 1);
    says(&asked, 1, &["partition 0 cannot be printed: ", &gone]);

    let rebuilt = on(&site, "cold", ["rebuild"], &settings);
    says(
        &rebuilt,
        0,
        &["the log has lost its first events; begins with snapshot ", "led to the same state", "reads back"],
    );
    says(&on(&site, "cold", ["rebuild"], &[]), 2, &[unnamed, "the old checkpoint was left as it was"]);
    // The checkpoint in a data directory is enough for its own process.
    let again = site.serving("cold");
    again.start();
    again.ready();
    assert_eq!(put(&again, 171), 200);
    again.terminate();
}

/// The story: the snapshots do not reach up to what is left of the log. Whatever a process has, it does not serve the
/// partition: it says with which event the log begins, what it has looked at, and what to do. When the snapshot is
/// brought back, it goes on by itself.
#[test]
fn a_log_without_its_head_is_refused_by_name_when_nothing_covers_it() {
    let site = Site::new(Rig::shared(), 1);
    let (written, place) = folder(&site, "snapshots");
    served(&site, &written, &place);
    served(&site, &written, &place);
    let all = snapshots(&written);
    let ((older, _), (newest, rows)) = (all[0].clone(), all[all.len() - 1].clone());
    assert!(older < newest, "{all:?}");
    remove_before(&site.log(), older + 1);
    let begins = format!("partition 0 of the log begins with seq {}", older + 1);
    let good = std::fs::read(&rows).unwrap();
    for (seq, rows) in &all {
        assert!(*seq <= older || std::fs::write(rows, "nothing").is_ok());
    }

    // No place, an empty place, and one whose newest snapshots are damaged.
    let bare = site.serving("bare");
    bare.start();
    refused(&bare, &[&begins, "an operator must act", "no place of snapshots is set"]);
    bare.terminate();
    let (_, other) = folder(&site, "other");
    let empty = site.serving("empty").with(["--snapshots", &other]);
    empty.start();
    refused(&empty, &[&begins, "the place of snapshots has none of it"]);
    empty.terminate();
    let cold = site.serving("cold").with(["--snapshots", &place]);
    cold.start();
    let short = format!(
        "whose next event is seq {older}; bring back a snapshot whose next event is seq {} or a later",
        older + 1
    );
    refused(&cold, &[&begins, "its rows have 7 bytes", &short]);
    let bad = "BAD SNAPSHOT of partition 0: ";
    says(
        &on(&site, "tool", ["verify"], &["--snapshots", &place]),
        1,
        &[&begins, "BROKEN: ", bad, "its rows have 7 bytes"],
    );
    for args in [&["--snapshots", &*other][..], &[]] {
        let unproven = format!("the log begins at event {}; its head cannot be proven without ", older + 1);
        says(&on(&site, "tool", ["verify"], args), 2, &[&unproven]);
    }
    for args in [&["--snapshots", &*place][..], &[]] {
        says(&on(&site, "tool", ["rebuild"], args), 2, &[&begins, "left as it was"]);
        says(&topics(&site, "plan", args), 1, &["refused: ", &begins]);
    }
    std::fs::write(rows, good).unwrap();
    cold.ready();
    assert_eq!(put(&cold, 180), 200);
    cold.terminate();
    // Others of its snapshots are damaged still.
    let verified = on(&site, "cold", ["verify"], &["--snapshots", &place]);
    let is_clean = all.iter().all(|(seq, _)| *seq <= older || *seq == newest);
    let verdict = if is_clean { "clean: no law broken in " } else { "BAD SNAPSHOTS: " };
    says(&verified, i32::from(!is_clean), &[&format!("verified from seq {newest} on"), verdict]);

    // Not one event is left: nobody can tell what a snapshot lacks.
    remove_events(site.cluster(), Offset::End);
    let lost = site.serving("lost").with(["--snapshots", &place]);
    lost.start();
    until("it says so", || lost.logged().contains("has lost all its events"));
    assert_ne!(put(&lost, 181), 200);
    lost.terminate();
    says(&on(&site, "tool", ["verify"], &["--snapshots", &place]), 1, &["has lost all its events"]);
}

/// The story: retention takes every event of a partition. How far its commands are decided is not known any more: nothing is
/// called lost, and nothing is skipped. Nobody who claims the partition takes it for one in which nothing is decided yet,
/// whatever it has read before.
#[test]
fn a_partition_without_any_event_is_not_one_in_which_nothing_is_decided() {
    let site = Site::new(Rig::shared(), 1);
    let process = site.serve("a");
    change(&process, 100..110);
    process.terminate();
    let log = site.log();
    let end = log.end(0).unwrap();
    assert!(!log.read(0, 0, usize::MAX).unwrap().is_empty());
    remove_events(site.cluster(), Offset::End);
    let checked = site.run(["commands", "check"]);
    assert!(!checked.out.contains("next command"), "{}", checked.out);
    assert_ne!(checked.code, 0);
    assert_says(&(checked.out + &checked.err), &["has lost all its events"]);
    let skip = ["commands", "skip", "--partition", "0", "--reason", "told by the tests"];
    says(&site.run(skip), 2, &["has lost all its events"]);
    for from in [0, end] {
        for process in [&log, &site.log()] {
            let claimed = process.claim(0, from, &mut |_| Ok(0)).err().map(|error| error.to_string());
            let past_gap = process.take_past_gap(0, from, &mut |_| Ok(0)).err().map(|error| error.to_string());
            for refused in [claimed, past_gap] {
                assert_says(&refused.unwrap_or_default(), &["has lost all its events"]);
            }
        }
    }
}

/// A partition that has lost all its events has nothing with which a checkpoint could be compared: that is no difference. The other
/// partition is rebuilt all the same, also when it is the only one that is asked for.
#[track_caller]
fn is_no_difference(site: &Site, emptied: &str) {
    let lost = ["partition 0: nothing can be compared: ", emptied, "bring the records back", "or begin a new log"];
    let other = "partition 1: ";
    let rebuilt = on(site, "a", ["rebuild"], &[]);
    says(&rebuilt, 2, &[&lost[..], &[other, "reads back as the same state", "rebuilt from "]].concat());
    says(&on(site, "a", ["rebuild", "--partition", "0"], &[]), 2, &lost);
    says(&on(site, "a", ["rebuild", "--partition", "1"], &[]), 0, &[other, "led to the same state"]);
    let told = on(site, "a", ["rebuild", "--json"], &[]);
    let lines: Vec<Value> = told.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |line: &Value| {
        (line["partition"].as_u64(), line["verdict"].as_str().map(str::to_owned), line["why"].is_string())
    };
    let expected = [(Some(1), Some("same".to_owned()), false), (Some(0), Some("not_compared".to_owned()), true)];
    assert_eq!((told.code, lines.iter().map(of).collect::<Vec<_>>()), (2, expected.to_vec()), "{}", told.err);
}

/// The story: retention takes every event of one partition, and the first one of another. Each process and each command says
/// which partition has nothing left, that an operator must act, and what is possible; and goes on to the other. Nobody writes
/// to the partition again and again meanwhile.
#[test]
fn a_partition_that_has_lost_all_its_events_is_told_to_an_operator_and_the_others_as_well() {
    let site = Site::new(Rig::shared(), 2);
    // Each partition gets the events of two owners.
    (0..2).for_each(|_| site.serve("a").terminate());
    let log = site.log();
    remove_events(site.cluster(), Offset::End);
    let emptied = format!("{}/0 has lost all its events, those before offset ", site.cluster().topics.events);
    is_no_difference(&site, &emptied);
    remove_before_of(&log, 1, 1);
    for how in ["plan", "check"] {
        let refused = ["refused: ", &emptied, "refused: partition 1 of the log begins with seq 1"];
        says(&topics(&site, how, &[]), 1, &refused);
    }
    let unknown = "partition 0: it is not known whether commands are gone: ";
    says(&site.run(["commands", "check"]), 1, &[unknown, &emptied, "partition 1: next command "]);
    // Nothing covers the first events of the other one any more, which is no difference either.
    let head = "partition 1: nothing can be compared: partition 1 of the log begins with seq 1";
    let rebuilt = on(&site, "a", ["rebuild"], &[]);
    says(&rebuilt, 2, &["partition 0: nothing can be compared: ", &emptied, head, "was left as it was"]);
    let verified = site.run(["verify", "--partition", "0"]);
    says(&verified, 1, &["L10 broken at partition 0 seq 0", &emptied]);
    assert!(!verified.out.contains("L3"), "{}", verified.out);
    let log_id = format!("{:032x}", log.manifest().log_id);
    let accept = ["log", "accept-loss", "--log", &log_id, "--because", "told by the tests"];
    says(&on(&site, "a", accept, &[]), 2, &[&emptied, "accept-loss cannot accept that", "or begin a new log"]);

    // Two fences and their markers, of the first claim at the most.
    let end = log.end_offset(0).unwrap();
    (0..4).for_each(|_| assert!(log.claim(0, 0, &mut |_| Ok(0)).is_err()));
    assert!(log.end_offset(0).unwrap() <= end + 4, "{end} {}", log.end_offset(0).unwrap());

    let process = site.serving("a");
    process.start();
    let url = format!("{}/readyz", process.url().unwrap());
    let must_act = format!("an operator must act: {emptied}");
    until("it says so", || agent().get(&url).call().unwrap().body_mut().read_to_string().unwrap().contains(&must_act));
    let is_error = |line: &str| line.contains("ERROR") && line.contains(&emptied);
    until("it logs so", || process.logged().lines().any(is_error));
    process.terminate();
}

/// The story: a follower stands still while the log goes on, and what it would have read next is removed. It says so, and
/// goes on with a snapshot instead of passing over the gap.
#[test]
fn a_follower_that_the_head_has_overtaken_goes_on_with_a_snapshot() {
    let site = Site::new(Rig::shared(), 1);
    let (folder, place) = folder(&site, "snapshots");
    let settings = ["--snapshots", &place];
    let owner = site.serving("owner").with(INTERVAL).with(settings);
    owner.start();
    owner.ready();
    change(&owner, 100..110);
    let follower = site.serving("follower").with(settings).with(["--roles", "gateway"]);
    follower.start();
    follower.ready();
    follower.pause();
    let (paused, _) = state(&owner);
    // More than a client fetches ahead in one answer that it may still have.
    change(&owner, 110..150);
    until("a snapshot is written", || snapshots(&folder).last().is_some_and(|(seq, _)| *seq > paused + 20));
    let newest = snapshots(&folder).last().unwrap().0;
    change(&owner, 150..160);
    remove_before(&site.log(), newest);
    follower.resume();
    until("it has the state of its owner", || {
        let told = state(&owner);
        told.0 > newest && state(&follower) == told
    });
    let logged = follower.logged();
    assert_says(&logged, &["are gone", "rebuilding from this snapshot and the log"]);
    [&owner, &follower].iter().for_each(|process| process.terminate());
}
