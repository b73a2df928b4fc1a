//! Commands that are gone before anybody decided them: nobody goes on as if nothing had been, and a person can say so.

use super::serve::{Serving, Site};
use crate::fixtures::{command, key, pool_id, reserve};
use crate::process::agent;
use crate::rig::Rig;
use crate::wait::until;
use headroom::audit::PartitionAudit;
use headroom::domain::{ChainedEvent, Command, CommandId, EventKind};
use headroom::log::kafka::{Continuity, Topics, client::settings};
use headroom::log::{ClusterLog, CommittedTail, NewCommand};
use headroom::time::{Clock, SystemClock};
use headroom::wire;
use rdkafka::ClientConfig;
use rdkafka::TopicPartitionList;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::topic_partition_list::Offset;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);

pub fn admin(site: &Site) -> (AdminClient<DefaultClientContext>, AdminOptions) {
    let admin = ClientConfig::new().set("bootstrap.servers", &site.cluster().brokers).create().unwrap();
    (admin, AdminOptions::new().operation_timeout(Some(LIMIT)))
}

pub fn wait<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// A process that has made the pool, set its limit to every number from 2 to one before this, and has nothing more to do.
fn idle(site: &Site, until_limit: u64) -> Serving<'_> {
    let process = site.serve("a");
    until("the pool is made", || put(&process, 1_000) < 300);
    (2..until_limit).for_each(|orders| assert_eq!(put(&process, orders), 200));
    process
}

/// Removes the commands before this offset, as their topic's retention does.
pub fn remove_before(site: &Site, offset: i64) {
    let (admin, options) = admin(site);
    let mut until = TopicPartitionList::new();
    until.add_partition_offset(&site.cluster().topics.commands, 0, Offset::Offset(offset)).unwrap();
    wait(admin.delete_records(&until, &options)).unwrap();
}

/// Deletes the commands' topic and has it made again.
fn make_anew(site: &Site) {
    let (admin, options) = admin(site);
    let topic = site.cluster().topics.commands.clone();
    wait(admin.delete_topics(&[&topic], &options)).unwrap().remove(0).unwrap();
    until("the topic is there again", || site.run(["topics", "apply"]).code == 0);
}

/// Puts this many Reserves in the log, which nobody waits for.
fn ask(site: &Site, count: u64) {
    let log = site.log();
    let sink = log.producer().unwrap();
    let pool = pool_id("van-1");
    let now = SystemClock::new().now();
    for n in 0..count {
        let key_text = format!("K{}-{n}", now.0);
        let (id, key) = (CommandId(u128::from(now.0) << 64 | u128::from(n)), Some(key(&key_text)));
        let command = Command { id, key, deadline: now.plus_ms(5_000), ..command(n, reserve(&pool, &key_text)) };
        let bytes = wire::command::encode(&command);
        sink.append(NewCommand { partition: 0, key: b"van-1", bytes: &bytes, cancels: None, trace: None }).unwrap();
    }
    assert_eq!(sink.close(LIMIT), 0);
}

/// What is said of the partition by a process that cannot own it.
pub fn told(process: &Serving<'_>) -> String {
    let url = process.url().unwrap();
    let agent = agent();
    let mut told = String::new();
    until("the process says why it does not serve", || {
        let mut reply = agent.get(format!("{url}/readyz")).call().unwrap();
        let body: serde_json::Value = serde_json::from_str(&reply.body_mut().read_to_string().unwrap()).unwrap();
        told = body["partitions"]["0"]["why"].as_str().unwrap_or_default().to_owned();
        told.contains("an operator must act: ") && told.contains("headroom commands skip --partition 0 --reason TEXT")
    });
    told
}

pub fn put(process: &Serving<'_>, orders: u64) -> u16 {
    let url = format!("{}/v1/pools/van-1", process.url().unwrap());
    let put = agent().put(url).header("Request-Timeout-Ms", "5000").content_type("application/json");
    put.send(format!("{{\"limits\":{{\"orders\":{orders}}}}}")).unwrap().status().as_u16()
}

/// A site of one partition on which something was decided, and its process, which has ended.
fn begun(rig: &Rig) -> (Site, u64) {
    let site = Site::new(rig, 1);
    let process = idle(&site, 20);
    process.terminate();
    drop(process);
    let next = site.log().commands_position(0).unwrap();
    assert_eq!((next.continuity, next.next, next.end), (Continuity::Sound, next.end, next.next));
    (site, next.next)
}

fn events(site: &Site) -> Vec<ChainedEvent> {
    let log = site.log();
    let end = log.end(0).unwrap();
    let mut events: Vec<ChainedEvent> = Vec::new();
    while (events.len() as u64) < end {
        let more = log.read(0, events.len() as u64, usize::MAX).unwrap();
        events.extend(more.iter().map(|event| wire::event::decode(&event.bytes).unwrap()));
    }
    let mut audit = PartitionAudit::new(0, 1);
    events.iter().for_each(|recorded| audit.observe(recorded));
    assert_eq!(audit.finish().breaches(), []);
    events
}

/// The way out: a person says so, the process goes on by itself, and the log tells of it.
fn says_so(site: &Site, process: &Serving<'_>, skipped: u64) {
    let skip = ["commands", "skip", "--partition", "0", "--reason", "deleted by mistake, told by the tests"];
    let ended = site.run(skip);
    assert_eq!(ended.code, 0, "{}{}", ended.out, ended.err);
    until("it is served again", || put(process, 77) < 300);
    let events = events(site);
    let lost: Vec<_> = events.iter().filter(|r| r.event.body.kind() == EventKind::CommandsLost).collect();
    assert_eq!(lost.len(), 1);
    assert_eq!(lost[0].event.cause.as_ref().unwrap().skipped + 1, skipped);
    let ended = site.run(["commands", "check"]);
    assert!(ended.code == 0 && ended.out.contains("sound"), "{}{}", ended.out, ended.err);
    let ended = site.run(skip);
    assert!(ended.code == 0 && ended.out.contains("no command is gone"), "{}{}", ended.out, ended.err);
    let verified = site.run(["verify"]);
    assert_eq!(verified.code, 0, "{}{}", verified.out, verified.err);
    assert!(verified.out.contains("commands were gone before they were decided"), "{}", verified.out);
}

/// The story: retention removes commands, or somebody deletes records, before an owner has decided them. An owner that
/// went on at the next one would leave their callers without an answer and the log with a gap that looks like nothing.
/// The partition stops and names the offsets, until a person says that they are lost.
#[test]
fn commands_that_were_removed_are_not_passed_over() {
    let (site, next) = begun(Rig::shared());
    ask(&site, 10);
    remove_before(&site, i64::try_from(next + 4).unwrap());
    let process = site.serving("a");
    process.start();
    let why = format!("commands {next} to {} were removed before they were decided", next + 3);
    assert!(told(&process).contains(&why), "{}", told(&process));
    let ended = site.run(["commands", "check"]);
    assert!(ended.code == 1 && ended.out.contains(&why), "{}{}", ended.out, ended.err);
    assert_eq!(put(&process, 88), 504, "nothing is decided");
    let verified = site.run(["verify"]);
    let why = format!("commands {next} to {} are gone and no event answers them", next + 3);
    assert!(verified.code == 1 && verified.out.contains(&why), "{}{}", verified.out, verified.err);
    says_so(&site, &process, 4);
    process.terminate();
}

/// The story: retention removes commands that were decided long ago, while the owner is idle. An owner that took that
/// for a loss would stop every partition after a quiet week. What is decided may be removed, and nothing stops.
#[test]
fn decided_commands_may_go() {
    let (site, next) = begun(Rig::shared());
    remove_before(&site, i64::try_from(next).unwrap());
    let process = site.serve("a");
    assert_eq!(put(&process, 30), 200);
    process.terminate();
    assert_eq!(site.run(["verify"]).code, 0);
}

/// The story: the commands' topic is deleted and made again. Its offsets begin at zero, so an owner would skip every
/// command until the old offset is reached. It knows the last command that it decided, notices that the topic is
/// another one, even when it has grown as long, and stops.
#[test]
fn a_recreated_commands_topic_is_not_taken_for_the_first() {
    let (site, next) = begun(Rig::shared());
    make_anew(&site);
    let process = site.serving("a");
    process.start();
    let why = format!("the topic ends at 0, and the next command is {next}: it was created again or truncated");
    assert!(told(&process).contains(&why), "{}", told(&process));
    // Nor when it has grown as long.
    ask(&site, next + 3);
    let why = format!("command {} is not the one that was decided: the topic was created again", next - 1);
    until("it is told from the first", || told(&process).contains(&why));
    process.kill9();
    process.start();
    assert!(told(&process).contains(&why), "{}", told(&process));
    says_so(&site, &process, 3);
    process.terminate();
}

/// The story: the same while a process serves and has nothing to do. It would shed every call from then on, because its
/// commands never come. It finds out by itself and says so.
#[test]
fn an_idle_owner_notices_that_its_commands_topic_was_recreated() {
    let site = Site::new(Rig::shared(), 1);
    let process = idle(&site, 9);
    make_anew(&site);
    assert!(told(&process).contains("it was created again or truncated"));
    says_so(&site, &process, 1);
    process.terminate();
}

/// The story: the events' topic is deleted and made again under a running owner. Its commits succeed, on top of
/// nothing: after a restart all that was decided before is gone. The owner notices that its events do not follow each
/// other, and says yes no more.
#[test]
fn an_owner_whose_events_are_gone_stops() {
    let site = Site::new(Rig::shared(), 1);
    let process = idle(&site, 20);
    let (admin, options) = admin(&site);
    let topic = site.cluster().topics.events.clone();
    wait(admin.delete_topics(&[&topic], &options)).unwrap().remove(0).unwrap();
    until("the topic is gone", || site.run(["topics", "plan"]).out.contains("does not exist"));
    let told = site.run(["topics", "apply"]);
    assert!(told.code == 1 && told.out.contains("there is the manifest of a log that had it"), "{}", told.out);
    // Somebody makes it by hand.
    let new = NewTopic::new(&topic, 1, TopicReplication::Fixed(1)).set("retention.ms", "-1");
    until("it is there again", || wait(admin.create_topics([&new], &options)).unwrap().remove(0).is_ok());
    for orders in 30..40 {
        assert_ne!(put(&process, orders), 200, "what was decided before is gone");
    }
    process.kill9();
}

/// The story: a person says that the commands are lost, and the new topic is shorter than the old one was. Offsets that
/// come again would be taken for decided. The topic is filled up to where the log is, so that every offset is used
/// once.
#[test]
fn a_recreated_commands_topic_is_padded_to_the_old_offset() {
    let (site, next) = begun(Rig::shared());
    make_anew(&site);
    let process = site.serving("a");
    process.start();
    told(&process);
    says_so(&site, &process, 1);
    assert!(site.log().commands_position(0).unwrap().next > next);
    assert!(!settings::group_of(1).is_empty());
    process.terminate();
}

/// The story: the topic of commands was made again with fewer partitions. The first command of a partition that it did not have
/// was offered to the client for ever. It held back the commands of all other partitions, and no line said why.
#[test]
fn commands_of_a_partition_that_the_topic_does_not_have_delay_no_others() {
    let prefix = super::prefix();
    super::make_topics(&prefix, 1);
    let sink = super::open(&prefix, 2).producer().unwrap();
    let bytes = wire::command::encode(&command(1, reserve(&pool_id("van-1"), "K1")));
    let append = |partition, cancels| {
        sink.append(NewCommand { partition, key: b"van-1", bytes: &bytes, cancels, trace: None }).unwrap();
    };
    let reader: BaseConsumer = super::cluster(&prefix).reader_to_end().create().unwrap();
    let commands = Topics::of(&prefix).commands;
    let end = || reader.fetch_watermarks(&commands, 0, LIMIT).unwrap().1;
    // From then on the client knows the topic.
    append(0, None);
    until("a command is in the log", || end() == 1);
    append(1, None);
    append(1, Some(CommandId(7)));
    append(0, None);
    until("one of a partition that is there follows", || end() == 2);
    until("the Abandon waits for its partition, and nothing else", || (sink.waiting(0), sink.waiting(1)) == (2, 1));
}
