//! One partition that cannot be read, and the others: whatever it is, a process that starts serves what it can, and says
//! what it does not serve and why.

use super::answers::{Told, pool};
use super::foreign_writer::{Rogue, plant};
use super::service::Log;
use crate::fixtures;
use crate::http::client::Reply;
use crate::server::Server;
use crate::wait::until;
use headroom::log::kafka::client::settings::group_of;
use headroom::replica::PartitionStatus;
use headroom::time::SystemClock;
use rdkafka::consumer::{BaseConsumer, Consumer};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const PARTITIONS: u32 = 2;
/// The sick one, and a sound one.
const SICK: u32 = 0;
const SOUND: u32 = 1;
/// Longer than the test looks on; it is ended by the test.
const STRANGER_MS: u32 = 60_000;

/// A process that owns what it can.
fn start(log: &Log, dir: &Path) -> Server {
    Server::of(&log.config(dir, "gateway,owner"), Arc::new(SystemClock::new()))
}

fn status(server: &Server, partition: u32) -> PartitionStatus {
    server.gateway.replica().partition(partition).unwrap().status()
}

/// A pool of this partition.
fn pool_of(partition: u32) -> String {
    fixtures::pool_of(partition, PARTITIONS).as_str().to_owned()
}

fn get(server: &Server, path: &str) -> Reply {
    server.client().get(path)
}

/// A process that has served both partitions; then this happens, and it ends. What its callers were told.
fn served(log: &Log, dir: &Path, happens: impl FnOnce(&Server, &mut [Told; 2])) -> [Told; 2] {
    let mut told = [Told::default(), Told::default()];
    let server = log.serve(dir, "gateway,owner", Arc::new(SystemClock::new()));
    for partition in [SICK, SOUND] {
        pool(&server, &pool_of(partition), 100);
        assert!(told[partition as usize].reserve(&server, &pool_of(partition), "first"));
    }
    happens(&server, &mut told);
    told
}

/// Starts again, and has the sound partition asked.
fn serves_the_sound_one(log: &Log, dir: &Path, told: &mut Told) -> Server {
    let server = start(log, dir);
    until("the sound partition has its owner", || status(&server, SOUND) == PartitionStatus::Active);
    assert!(told.reserve(&server, &pool_of(SOUND), "again"));
    until("the process takes calls", || get(&server, "/readyz").status == 200);
    server
}

/// What the process says of the sick partition.
fn said_of_it(server: &Server) -> String {
    get(server, "/readyz").json()["partitions"]["0"]["why"].as_str().unwrap_or_default().to_owned()
}

/// The story: a stranger's open transaction hides one partition's events when a process starts. A process that waited
/// for every partition would serve none of them. It serves the others, and says which one it cannot read and why.
#[test]
fn a_strangers_open_transaction_on_one_partition_keeps_no_process_from_the_others() {
    let log = Log::new(PARTITIONS);
    let dir = tempfile::tempdir().unwrap();
    let rogue = Rogue::stranger(&log, STRANGER_MS);
    let [mut sick, mut sound] = served(&log, dir.path(), |server, [sick, _]| {
        rogue.forge(&pool_of(SICK), "forged");
        // What nobody who reads sees, and the process's checkpoint holds.
        assert!(sick.reserve(server, &pool_of(SICK), "hidden"));
    });
    let server = serves_the_sound_one(&log, dir.path(), &mut sound);
    assert_ne!(status(&server, SICK), PartitionStatus::Active, "the stranger's transaction is over");
    until("it says why", || said_of_it(&server).starts_with("not followed: "));
    rogue.abort().unwrap();
    until("the other one has its owner as well", || status(&server, SICK) == PartitionStatus::Active);
    assert!(sick.reserve(&server, &pool_of(SICK), "again"));
    assert_eq!(said_of_it(&server), "");
    sick.check(&log, SICK);
    sound.check(&log, SOUND);
}

/// The story: somebody writes a record that is no event into one partition. That log is broken, and no process can do
/// better by restarting. The partition stops with its law, and the others are served.
#[test]
fn a_strangers_record_on_one_partition_keeps_no_process_from_the_others() {
    let log = Log::new(PARTITIONS);
    let dir = tempfile::tempdir().unwrap();
    let [_, mut sound] = served(&log, dir.path(), |_, _| {});
    plant(&log.cluster, 0, Some((1_000_000, b"no event")));
    let server = serves_the_sound_one(&log, dir.path(), &mut sound);
    until("the partition has stopped", || matches!(status(&server, SICK), PartitionStatus::Failed { .. }));
    assert!(said_of_it(&server).contains("L3 broken at partition 0"), "{}", said_of_it(&server));
    // The log is broken, and no process could do better: this one goes on, and a restart would change nothing.
    assert_eq!(get(&server, "/livez").status, 200);
    sound.check(&log, SOUND);
}

/// The story: a process can read none of its partitions. In the group it would be given shares, and they would be owned
/// by nobody who decides. It is no member of the group, and leaves it when the last partition stops.
#[test]
fn a_process_that_can_serve_nothing_leaves_the_group() {
    let log = Log::new(1);
    let dir = tempfile::tempdir().unwrap();
    let consumer: BaseConsumer = log.cluster.plain().set("group.id", "nobody").create().unwrap();
    let members = || {
        let groups = consumer.fetch_group_list(Some(&group_of(log.manifest.log_id)), Duration::from_secs(5)).unwrap();
        groups.groups().iter().map(|group| group.members().len()).sum::<usize>()
    };
    let server = log.serve_alone(dir.path());
    pool(&server, "van-1", 100);
    assert_eq!(members(), 1);
    plant(&log.cluster, 0, Some((1_000_000, b"no event")));
    let other = start(&log, &dir.path().join("other"));
    until("the other one has stopped", || matches!(status(&other, 0), PartitionStatus::Failed { .. }));
    let (live, ready) = (get(&other, "/livez"), get(&other, "/readyz"));
    assert_eq!((live.status, ready.status), (503, 503), "{live:?}");
    assert!(live.json()["partitions"]["0"]["why"].as_str().unwrap().contains("L3 broken"), "{live:?}");
    assert_eq!(members(), 1, "it has joined");
    // The first one meets it when it has to claim the partition again, and leaves.
    Rogue::as_owner(&log);
    until("it has stopped as well", || {
        server.client().send("PUT", "/v1/pools/van-1", &[], r#"{"limits":{"orders":7}}"#);
        matches!(status(&server, 0), PartitionStatus::Failed { .. })
    });
    until("nobody is in it", || members() == 0);
}
