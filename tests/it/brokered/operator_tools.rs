//! What operators ask of a log on a cluster: no server need run for it, and one may.

use super::topics::Place;
use crate::cli::assert_says;
use crate::cli::handwritten_logs::Writing;
use crate::dead_letters::says;
use crate::process::{Running, Served};
use crate::rig::Rig;
use crate::turns;
use headroom::log::kafka::{Framing, Kafka};
use headroom::log::{ClusterLog, CommitOutcome, NewCommand, OwnedPartition, PartitionLog};
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(20);

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn place(prefix: &'static str, partitions: &str) -> Place {
    let place = Place::on(Rig::shared(), prefix);
    let applied = place.headroom(&["topics", "apply", "--partitions", partitions]);
    assert_eq!(applied.code, 0, "{}{}", applied.out, applied.err);
    place
}

fn serve(place: &Place, dir: &Path) -> Served {
    Served::start(&mut place.command(&[
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--deadline-default-ms",
        "5000",
        "--data-dir",
        text(dir),
    ]))
}

#[test]
fn a_log_is_verified_read_and_rebuilt_beside_its_server_and_without_one() {
    let place = place("tools-served", "2");
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let [verify, rebuild] = ["verify", "rebuild"].map(|command| {
        let place = &place;
        move |dir: &Path| place.headroom(&[command, "--data-dir", text(dir)])
    });
    let server = serve(&place, dir.path());
    server.sell_out("slot-1");

    let clean = "clean: no law broken in";
    says(&verify(&other.path().join("none")), 0, &[clean, "4 of 4 commands are still in tools-served.commands"]);
    says(&verify(other.path()), 0, &[clean, "no checkpoint"]);
    says(&verify(dir.path()), 0, &[clean, "fold, live state"]);
    let printed = place.headroom(&["cat"]);
    says(&printed, 0, &[]);
    assert_eq!(answers(&printed.out).len(), 4);
    let each = ["0", "1"].map(|partition| place.headroom(&["cat", "--partition", partition]).out);
    assert_eq!(answers(&each.concat()), answers(&printed.out));
    let [first, rest] = ["0", "1"].map(|from| place.headroom(&["cat", "--from", from]).out);
    assert_eq!(seqs(&first).iter().filter(|seq| **seq == 0).count(), 2);
    assert!(answers(&rest) == answers(&printed.out) && !seqs(&rest).contains(&0), "{rest}");
    assert_eq!(place.headroom(&["cat", "--from", "1000"]).out, "");
    says(&place.headroom(&["cat", "--partition", "2"]), 2, &["there is no partition 2: the log has 2"]);
    says(&rebuild(dir.path()), 2, &["a server is running on", "stop it and try again"]);
    let beside = place.headroom(&["rebuild", "--partition", "1", "--data-dir", text(dir.path())]);
    says(&beside, 0, &["partition 1: ", "live state: the same after event "]);
    says(&rebuild(other.path()), 0, &["rebuilt from", "old checkpoint: there was none"]);
    let second = place.headroom(&["serve", "--listen", "127.0.0.1:0", "--data-dir", text(dir.path())]);
    says(&second, 2, &["is in use by another process"]);

    let mut following = Running::start(&mut place.command(&["cat", "--follow"]));
    server.sell_out("slot-2");
    let mut seen = String::new();
    while answers(&seen).len() < 8 {
        seen = seen + &following.line() + "\n";
    }
    assert_eq!(server.running.terminate().code, 0);
    assert_eq!(answers(&seen), answers(&place.headroom(&["cat"]).out));

    says(&verify(dir.path()), 0, &[clean, "fold, checkpoint at"]);
    says(&verify(other.path()), 0, &[clean, "fold, checkpoint at"]);
    says(&rebuild(dir.path()), 0, &["rebuilt from", "led to the same state", "reads back as the same state"]);
}

/// The events that answer somebody, sorted: how often a partition was claimed is the machine's affair.
fn answers(printed: &str) -> Vec<&str> {
    let answers = printed.lines().filter(|line| !line.contains(r#""kind":"Barrier""#));
    let mut answers: Vec<_> = answers.filter(|line| !line.contains(r#""kind":"Tick""#)).collect();
    answers.sort_unstable();
    answers
}

fn seqs(printed: &str) -> Vec<u64> {
    let event = |line| serde_json::from_str::<serde_json::Value>(line).unwrap();
    printed.lines().map(|line| event(line)["seq"].as_str().unwrap().parse().unwrap()).collect()
}

/// Retention, or a person, has taken the first events of a partition away.
#[test]
fn a_partition_without_its_head_is_told_of_and_the_others_are_printed() {
    let place = place("tools-beheaded", "2");
    let dir = tempfile::tempdir().unwrap();
    let server = serve(&place, dir.path());
    let whole = |partition| place.headroom(&["cat", "--partition", partition]);
    ["slot-1", "slot-2", "slot-3", "slot-4"].iter().for_each(|slot| server.sell_out(slot));
    assert!(
        ["0", "1"].iter().all(|partition| whole(partition).out.lines().count() > 1),
        "each has more than a barrier"
    );
    // It leaves checkpoints.
    assert_eq!(server.running.terminate().code, 0);
    let client: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", Rig::shared().brokers()).create().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let remove = |until| {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&place.cluster().topics.events, 0, until).unwrap();
        runtime.block_on(client.delete_records(&list, &AdminOptions::new())).unwrap();
    };
    let all = [whole("0").out, whole("1").out];
    // Both fences and the barrier, and the marker of each.
    remove(Offset::Offset(6));
    let printed = place.headroom(&["cat"]);
    says(&printed, 0, &["partition 0 begins with seq 1: the events before it are gone"]);
    let left = all[0].split_once('\n').unwrap().1;
    assert_eq!(printed.out, format!("{left}{}", all[1]));
    let asked = place.headroom(&["cat", "--from", "0"]);
    says(&asked, 1, &["partition 0 cannot be printed: ", "begins with seq 1: events 0 to 0 are gone"]);
    assert_eq!(asked.out, all[1]);
    let unproven = "not proven: partition 0: the log begins at event 1; its head cannot be proven without --snapshots";
    let verified = place.headroom(&["verify"]);
    says(&verified, 2, &[unproven, "follow on each other"]);
    assert_eq!(verified.out, "");
    let kept = place.headroom(&["verify", "--partition", "0", "--data-dir", text(dir.path())]);
    says(&kept, 2, &[unproven, "the checkpoint at ", "a server begins with it"]);
    // All that there is.
    remove(Offset::End);
    let printed = place.headroom(&["cat"]);
    says(&printed, 1, &["partition 0 cannot be printed: ", "has lost all its events"]);
    assert_eq!(printed.out, all[1]);
    says(&place.headroom(&["verify"]), 1, &["L10 broken at partition 0 seq 0", "has lost all its events"]);
}

#[test]
fn what_cannot_be_asked_is_2() {
    let away = Place::on(Rig::shared(), "tools-away");
    says(&away.headroom(&["verify"]), 2, &["tools-away.events does not exist", "tools-away.manifest"]);
    let nobody = away.command(&["cat", "--kafka-brokers", "127.0.0.1:1"]).output().unwrap();
    assert_eq!(nobody.status.code(), Some(2));
    assert_says(&String::from_utf8(nobody.stderr).unwrap(), &["127.0.0.1:1"]);
    let place = place("tools-other", "1");
    says(&place.headroom(&["verify", "--kafka-cluster-id", "other"]), 2, &["kafka_cluster_id = other"]);
}

/// The log of one partition with this in it, each input from the commands' topic.
fn write(place: &Place, writing: &Writing, inputs: &[Vec<u8>]) -> Kafka {
    let manifest = place.look().manifest.unwrap().unwrap().manifest;
    let log = Kafka::open(place.cluster(), manifest, Framing::none(), || 1).unwrap();
    let sink = log.producer().unwrap();
    for bytes in inputs {
        sink.append(NewCommand { partition: 0, key: b"slot", bytes, cancels: None, trace: None }).unwrap();
    }
    assert_eq!(sink.close(LIMIT), 0);
    let mut owned = log.claim(0, 0, &mut |_| Ok(0)).unwrap();
    let turn = turns::turn(writing.inputs.clone(), &writing.events);
    assert_eq!(owned.commit(Arc::new(turn)), CommitOutcome::Ok);
    log
}

fn inputs(writing: &Writing) -> Vec<Vec<u8>> {
    writing.inputs.iter().map(|input| input.bytes.clone()).collect()
}

#[test]
fn an_order_too_many_is_1() {
    let place = place("tools-broken", "1");
    let mut writing = Writing::new(2);
    (0..3).for_each(|_| writing.accept(2));
    write(&place, &writing, &inputs(&writing));
    let dir = tempfile::tempdir().unwrap();
    says(&place.headroom(&["verify"]), 1, &["L1 broken at partition 0 seq 4", "BROKEN: "]);
    says(&place.headroom(&["rebuild", "--data-dir", text(dir.path())]), 1, &["L1"]);
}

#[test]
fn commands_are_compared_for_as_long_as_they_are_kept() {
    let place = place("tools-commands", "1");
    let mut writing = Writing::new(9);
    (0..4).for_each(|_| writing.accept(9));
    let mut taken = inputs(&writing);
    taken[1] = b"another one".to_vec();
    // What nobody has decided is no breach.
    taken.push(b"waits".to_vec());
    write(&place, &writing, &taken);
    let topic = place.topic("commands");
    let compared = |count| format!("{count} of 5 commands are still in {topic}, and were compared");
    let breach = "L2 broken at partition 0 seq 2: the event answers command 1, which cannot be decoded";
    says(&place.headroom(&["verify"]), 1, &[&compared(5), breach, "BROKEN: 1 breach in "]);
    for (first, left) in [(2, 3), (5, 0)] {
        remove_before(&topic, first);
        says(&place.headroom(&["verify"]), 0, &[&compared(left), "clean: no law broken in 6 events"]);
    }
    remove_before(&topic, 6);
    let breach =
        "L2 broken at partition 0 seq 5: the log ends here, and commands 5 to 5 are gone and no event answers them";
    says(&place.headroom(&["verify"]), 1, &[breach, "BROKEN: 1 breach in "]);
}

/// As retention does.
fn remove_before(topic: &str, first: i64) {
    let client: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", super::brokers()).create().unwrap();
    let mut before = TopicPartitionList::new();
    before.add_partition_offset(topic, 0, Offset::Offset(first)).unwrap();
    let options = AdminOptions::new().operation_timeout(Some(LIMIT));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(client.delete_records(&before, &options)).unwrap();
}
