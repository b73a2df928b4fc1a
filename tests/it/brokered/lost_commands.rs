//! Commands that are gone before anybody decided them: nobody goes on as if nothing had been, and a person can say so.

use super::serve::{Serving, Site};
use crate::process::agent;
use crate::rig::Rig;
use crate::wait::until;
use headroom::audit::PartitionAudit;
use headroom::domain::{
    Amounts, Attempt, ChainedEvent, Command, CommandBody, CommandId, Dimension, IdempotencyKey, Kind, PoolId,
};
use headroom::gateway::routing::reservation_id;
use headroom::log::kafka::{Continuity, client::settings};
use headroom::log::{ClusterLog, CommittedTail, NewCommand};
use headroom::time::{Clock, SystemClock};
use headroom::wire;
use rdkafka::ClientConfig;
use rdkafka::TopicPartitionList;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
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
fn remove_before(site: &Site, offset: i64) {
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
    let pool = PoolId::new("van-1").unwrap();
    let now = SystemClock::new().now();
    for n in 0..count {
        let key = IdempotencyKey::new(&format!("K{}-{n}", now.0)).unwrap();
        let reservation = reservation_id(&pool, &key);
        let demand = Amounts::new([(Dimension::new("orders").unwrap(), 1)]).unwrap();
        let bytes = wire::command::encode(&Command {
            id: CommandId(u128::from(now.0) << 64 | u128::from(n)),
            reply_to: None,
            attempt: Attempt(n),
            actor: None,
            key: Some(key),
            deadline: now.plus_ms(5_000),
            body: CommandBody::Reserve { pool: pool.clone(), reservation, demand, hold_ttl_ms: None, order_ref: None },
        });
        sink.append(NewCommand { partition: 0, key: b"van-1", bytes: &bytes, cancels: None }).unwrap();
    }
    assert_eq!(sink.close(LIMIT), 0);
}

/// What is said of the partition by a process that cannot own it.
fn told(process: &Serving<'_>) -> String {
    let url = process.url().unwrap();
    let agent = agent();
    let mut told = String::new();
    until("the process says why it does not serve", || {
        let mut reply = agent.get(format!("{url}/readyz")).call().unwrap();
        let body: serde_json::Value = serde_json::from_str(&reply.body_mut().read_to_string().unwrap()).unwrap();
        told = body["partitions"]["0"]["why"].as_str().unwrap_or_default().to_owned();
        told.contains("headroom commands skip --partition 0")
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
    let lost: Vec<_> = events.iter().filter(|r| r.event.body.kind() == Kind::CommandsLost).collect();
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
    let why = format!("commands {next} to {} are gone, unanswered", next + 3);
    assert!(verified.code == 1 && verified.out.contains(&why), "{}{}", verified.out, verified.err);
    says_so(&site, &process, 4);
    process.terminate();
}

/// What is decided and then removed is no loss, whoever was idle for how long.
#[test]
fn decided_commands_may_go() {
    let (site, next) = begun(Rig::shared());
    remove_before(&site, i64::try_from(next).unwrap());
    let process = site.serve("a");
    assert_eq!(put(&process, 30), 200);
    process.terminate();
    assert_eq!(site.run(["verify"]).code, 0);
}

#[test]
fn another_topic_of_the_same_name_is_not_taken_for_the_first() {
    let (site, next) = begun(Rig::shared());
    make_anew(&site);
    let process = site.serving("a");
    process.start();
    let why = format!("the topic ends at 0, and the next command is {next}: it was made anew or cut off");
    assert!(told(&process).contains(&why), "{}", told(&process));
    // Nor when it has grown as long.
    ask(&site, next + 3);
    let why = format!("command {} is another one than was decided: the topic was made anew", next - 1);
    until("it is told from the first", || told(&process).contains(&why));
    process.kill9();
    process.start();
    assert!(told(&process).contains(&why), "{}", told(&process));
    says_so(&site, &process, 3);
    process.terminate();
}

/// The same under a process that serves and has nothing to do: it finds out by itself, and does not shed for ever.
#[test]
fn a_topic_that_is_made_anew_under_an_idle_owner_is_noticed() {
    let site = Site::new(Rig::shared(), 1);
    let process = idle(&site, 9);
    make_anew(&site);
    assert!(told(&process).contains("it was made anew or cut off"));
    says_so(&site, &process, 1);
    process.terminate();
}

/// Events that are gone under their owner: it says no yes any more.
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

#[test]
fn a_topic_that_was_made_anew_and_is_short_is_filled_up() {
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
