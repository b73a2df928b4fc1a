//! The offsets that the cluster keeps for the group of owners are for tools that show lag. Whoever deletes or rewinds
//! them, while owners run or between, changes nothing: where an owner goes on is in its events.

use super::answers::{Told, callers, pool};
use super::service::Log;
use crate::wait::until;
use headroom::log::kafka::client::settings::group_of;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::topic_partition_list::Offset;
use rdkafka::{ClientConfig, TopicPartitionList};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);
/// Before everything, and after everything.
const WRONG: [i64; 2] = [0, 1_000_000];

fn commands(log: &Log, offset: Offset) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&log.cluster.topics.commands, 0, offset).unwrap();
    list
}

/// What the cluster keeps.
fn kept(log: &Log) -> Option<i64> {
    let reader: BaseConsumer = log.cluster.member(log.manifest.log_id).create().unwrap();
    let list = reader.committed_offsets(commands(log, Offset::Invalid), LIMIT).unwrap();
    match list.elements()[0].offset() {
        Offset::Offset(offset) => Some(offset),
        _ => None,
    }
}

/// As a tool does it that is no member of the group: refused while there are members.
fn rewind(log: &Log, offset: i64) -> KafkaResult<()> {
    let tool: BaseConsumer = log.cluster.member(log.manifest.log_id).create().unwrap();
    tool.commit(&commands(log, Offset::Offset(offset)), CommitMode::Sync)
}

fn delete_group(log: &Log) -> bool {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", &log.cluster.brokers).create().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let group = group_of(log.manifest.log_id);
    let options = AdminOptions::new().operation_timeout(Some(LIMIT));
    runtime.block_on(admin.delete_groups(&[&group], &options)).unwrap()[0].is_ok()
}

/// The story: an operator resets or deletes the offsets of the consumer group, as one does for other programs. An owner
/// that went by them would decide commands twice, or skip some. Where an owner goes on is in its events, so nothing
/// changes.
#[test]
fn group_offsets_do_not_decide_where_an_owner_continues() {
    let log = Log::new(1);
    let dir = tempfile::tempdir().unwrap();
    let serve = || log.serve_alone(dir.path());
    let server = serve();
    pool(&server, "van-1", 1_000_000);
    let mut all = Told::default();
    // A member that reads another topic: it may commit for the group, and gets none of its partitions.
    let (told, ()) = callers(&server, "van-1", 2, |yes| {
        let member: BaseConsumer = log.cluster.member(log.manifest.log_id).create().unwrap();
        member.subscribe(&[&log.cluster.topics.replies]).unwrap();
        until("it is a member", || {
            assert!(member.poll(Duration::from_millis(10)).is_none_or(|polled| polled.is_err()));
            member.assignment().unwrap().count() > 0
        });
        for wrong in WRONG {
            until("its word is taken", || {
                let _ = member.poll(Duration::ZERO);
                member.commit(&commands(&log, Offset::Offset(wrong)), CommitMode::Sync).is_ok()
            });
            let before = yes();
            until("callers are told yes", || yes() >= before + 20);
        }
        assert!(!delete_group(&log), "it has members");
        assert!(rewind(&log, 0).is_err(), "by one who is no member");
        // Now and then, and not while the group is between two of its generations.
        until("owners note how far they are", || {
            let _ = member.poll(Duration::ZERO);
            kept(&log).is_some_and(|offset| offset > WRONG[0] && offset < WRONG[1])
        });
    });
    all.add(told);
    drop(server);
    for wrong in [None, Some(WRONG[0]), Some(WRONG[1])] {
        match wrong {
            Some(offset) => until("nobody is in the group", || rewind(&log, offset).is_ok()),
            None => until("nobody is in the group", || delete_group(&log)),
        }
        assert_eq!(kept(&log), wrong);
        let server = serve();
        assert!(all.reserve(&server, "van-1", &format!("after-{wrong:?}").replace(['(', ')'], "")));
        log.alike(0, &[&server]);
    }
    // Each command was decided once, in order, and none was left out: that is one of the laws audited.
    all.check(&log, 0);
}
