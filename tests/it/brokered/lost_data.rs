//! Logs on a cluster that hold less than a process has seen, and logs that are others: neither is served from what that
//! process kept, and all that shows it is left.

use super::foreign_writer::plant;
use super::lost_commands::{admin, put, remove_before, told, wait};
use super::serve::{Serving, Site};
use crate::cli::assert_says;
use crate::process::{Ended, agent, run};
use crate::rig::Rig;
use crate::wait::until;
use headroom::log::{ClusterLog, CommittedTail, EventStream, Streamed};
use rdkafka::admin::{NewTopic, TopicReplication};
use std::time::Duration;

/// A site of one partition, and the end of its only process.
fn begun() -> Site {
    let site = Site::new(Rig::shared(), 1);
    let process = site.serve("a");
    (1..20).for_each(|orders| assert!(put(&process, orders) < 300));
    process.terminate();
    drop(process);
    site
}

/// Runs a command on what the process kept.
fn on_a<const N: usize>(site: &Site, args: [&str; N], more: &[&str]) -> Ended {
    run(site.command(args).args(more).arg("--data-dir").arg(site.path("a")))
}

/// The story: a topic's name is mistyped in the configuration, and `topics apply` makes it. The new log has the first
/// one's commands and none of its events: a server would answer all of them anew. The data directory remembers the
/// names and the log, so the server refuses, says which name differs, and removes nothing.
#[test]
fn a_mistyped_topic_name_is_refused_and_nothing_is_removed() {
    let site = begun();
    let topics = &site.cluster().topics;
    let (events, manifest) = (format!("{}-x", topics.events), format!("{}-x", topics.manifest));
    let mistyped = ["--topic-events", &events, "--topic-manifest", &manifest];
    assert_eq!(run(site.command(["topics", "apply"]).args(mistyped)).code, 0);
    let serve = || on_a(&site, ["serve", "--listen", "127.0.0.1:0"], &mistyped);
    let told = serve();
    assert_eq!((told.code, &*told.out), (2, ""), "{}", told.err);
    let says = [format!("topic_events = {events}, and "), format!("was used with topic_events = {}: ", topics.events)];
    assert_says(&told.err, &[&says[0], &says[1], "put the name right, or name another data_dir"]);
    // Nor where the names are not remembered.
    std::fs::remove_file(site.path("a/topics")).unwrap();
    let told = serve();
    assert_eq!((told.code, &*told.out), (1, ""), "{}", told.err);
    let log_id = format!("{:032x}", site.log().manifest().log_id);
    let seen = format!("events of log {log_id} were seen as committed, and this is log ");
    assert_says(&told.err, &[&seen, "bring back that log, or name another data_dir", &events]);
    let verified = on_a(&site, ["verify"], &mistyped);
    assert_eq!(verified.code, 1, "{}{}", verified.out, verified.err);
    assert_says(&verified.out, &["L10 broken at partition 0", &seen]);
    assert!(site.path("a/checkpoint/p0").exists() && !site.path("a/checkpoint/p0.aside").exists());
    let process = site.serve("a");
    assert_eq!(put(&process, 30), 200);
    process.terminate();
    let verified = on_a(&site, ["verify"], &[]);
    assert_eq!(verified.code, 0, "{}{}", verified.out, verified.err);
}

/// Deletes the events' topic, and makes it again with as many partitions.
fn make_events_anew(site: &Site, partitions: i32) {
    let (admin, options) = admin(site);
    let topic = site.cluster().topics.events.clone();
    wait(admin.delete_topics(&[&topic], &options)).unwrap().remove(0).unwrap();
    let new = NewTopic::new(&topic, partitions, TopicReplication::Fixed(1)).set("retention.ms", "-1");
    until("it is there again", || wait(admin.create_topics([&new], &options)).unwrap().remove(0).is_ok());
    until("it is as it should be", || site.run(["topics", "apply"]).code == 0);
}

fn readiness(process: &Serving<'_>) -> (u16, String) {
    let mut reply = agent().get(format!("{}/readyz", process.url().unwrap())).call().unwrap();
    (reply.status().as_u16(), reply.body_mut().read_to_string().unwrap())
}

/// The story: somebody deletes the events' topic and makes it again while no process runs. The log is empty, and
/// everything that was sold could be sold again. The partition stops with the events that it has seen, until a person
/// accepts the loss; the log then says so.
#[test]
fn a_partition_whose_events_are_gone_stops_until_a_person_accepts_it() {
    let site = begun();
    make_events_anew(&site, 1);
    let process = site.serving("a");
    process.start();
    until("it says what is gone", || readiness(&process).1.contains("events 0 to "));
    let (status, told) = readiness(&process);
    assert_eq!(status, 503, "{told}");
    assert_says(&told, &["L10 broken at partition 0 seq 0: events 0 to ", "were seen as committed and are gone"]);
    assert_ne!(put(&process, 50), 200);
    process.terminate();
    assert!(site.path("a/checkpoint/p0").exists() && !site.path("a/checkpoint/p0.aside").exists());
    let verified = on_a(&site, ["verify"], &[]);
    assert_eq!(verified.code, 1, "{}{}", verified.out, verified.err);
    assert_says(&verified.out, &["L10 broken at partition 0 seq 0: events 0 to "]);
    let log_id = format!("{:032x}", site.log().manifest().log_id);
    let accepted = on_a(&site, ["log", "accept-loss", "--log", &log_id, "--because", "told by the tests"], &[]);
    assert_eq!(accepted.code, 0, "{}{}", accepted.out, accepted.err);
    assert_says(&accepted.out, &["partition 0: events 0 to ", "recorded in the log as accepted"]);
    assert!(site.path("a/lost-1/checkpoint/p0").exists() && site.path("a/lost-1/witness").exists());
    process.start();
    until("it is served again", || put(&process, 60) < 300);
    process.terminate();
    let verified = on_a(&site, ["verify"], &[]);
    assert_eq!(verified.code, 0, "{}{}", verified.out, verified.err);
    assert_says(&verified.out, &["seq 1 records that events 0 to before ", " are lost: told by the tests: "]);
}

/// The story: the same on a log that is older than its commands are kept. The first of them are gone, and were decided by events
/// that are gone as well. The loss is accepted all the same; then the partition names the commands, and they are skipped. The
/// command said that servers had claimed the partition back, when none ran, and there was no way on.
#[test]
fn a_loss_is_accepted_where_the_commands_are_gone_as_well() {
    let site = begun();
    let next = site.log().commands_position(0).unwrap().next;
    remove_before(&site, i64::try_from(next).unwrap());
    make_events_anew(&site, 1);
    let log_id = format!("{:032x}", site.log().manifest().log_id);
    let accepted = on_a(&site, ["log", "accept-loss", "--log", &log_id, "--because", "told by the tests"], &[]);
    assert_eq!(accepted.code, 0, "{}{}", accepted.out, accepted.err);
    assert_says(&accepted.out, &["partition 0: events 0 to ", "recorded in the log as accepted"]);
    let process = site.serving("a");
    process.start();
    let gone = format!("commands 0 to {} were removed before they were decided", next - 1);
    assert_says(&told(&process), &[&gone]);
    let skipped = site.run(["commands", "skip", "--partition", "0", "--reason", "told by the tests"]);
    assert_eq!(skipped.code, 0, "{}{}", skipped.out, skipped.err);
    until("it is served again", || put(&process, 60) < 300);
    process.terminate();
    let verified = on_a(&site, ["verify"], &[]);
    assert_eq!(verified.code, 0, "{}{}", verified.out, verified.err);
}

/// The story: a partition of the events ends before what a follower has read of it. The follower says which one that is, and
/// reads the others. It took a new client for all of them each time, and named none.
#[test]
fn a_followed_partition_that_has_lost_its_end_is_named_and_the_others_are_read() {
    let site = Site::new(Rig::shared(), 2);
    site.serve("a").terminate();
    let log = site.log();
    assert!(!log.read(0, 0, usize::MAX).unwrap().is_empty(), "there is at least a barrier");
    make_events_anew(&site, 2);
    let mut stream = log.stream().unwrap();
    until("the first one is followed from where it was", || stream.follow(0, 1).is_ok());
    until("the other one is followed", || stream.follow(1, 0).is_ok());
    let (mut named, mut is_other_read) = (None, false);
    until("both are told of", || {
        match stream.next(Duration::from_millis(100)).unwrap() {
            Some((0, Streamed::Failed(error))) => named = Some(error.to_string()),
            Some((1, Streamed::End)) => is_other_read = true,
            _ => {}
        }
        named.is_some() && is_other_read
    });
    let events = &site.cluster().topics.events;
    assert_says(&named.unwrap(), &[&format!("{events}/0 has offsets 0 to 0, and offset "), "is to be read"]);
}

/// The story: the leader of a partition fails, one that lacks its end takes its place, and others go on writing. The offsets
/// that a follower has read are there again, and other records are at them. The follower came to the end, and called a state
/// current that has events which the log does not have, until the log had as many events again.
#[test]
fn a_followed_partition_that_has_lost_its_end_and_has_grown_since_is_not_current() {
    let site = begun();
    let log = site.log();
    let events = log.read(0, 0, usize::MAX).unwrap();
    let next_seq = events.last().expect("there is at least a barrier").seq + 1;
    make_events_anew(&site, 1);
    // One event is left, and no other is at the offsets that are read.
    plant(site.cluster(), 0, Some((0, &events[0].bytes)));
    (0..20).for_each(|_| plant(site.cluster(), 0, None));
    until("the topic that was made anew is known", || log.end(0).is_ok_and(|end| end == 1));
    let mut stream = log.stream().unwrap();
    until("it is followed from where it was", || stream.follow(0, next_seq).is_ok());
    let mut named = None;
    until("what is gone is told of", || {
        match stream.next(Duration::from_millis(100)).unwrap() {
            Some((0, Streamed::Failed(error))) => named = Some(error.to_string()),
            Some((_, Streamed::End)) => panic!("it is not at the end of what was read"),
            _ => assert_eq!(stream.places(), [], "nothing says that what was read is in the log"),
        }
        named.is_some()
    });
    let events = &site.cluster().topics.events;
    assert_says(
        &named.unwrap(),
        &[&format!("{events}/0 ends before seq {next_seq}: it has lost events that were read here")],
    );
}
