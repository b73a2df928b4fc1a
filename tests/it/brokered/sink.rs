//! `headroom sink` beside a cluster: no server need run for it.

use super::head_gone::remove_before;
use super::serve::{OLDER, Serving, Site};
use super::topics::Place;
use crate::cli::assert_says;
use crate::process::{Ended, Running, Served};
use crate::rig::Rig;
use crate::sink::assert_rows;
use crate::sink::postgres::Database;
use crate::sink::traffic::Traffic;
use crate::wait::until;
use headroom::log::CommittedTail;
use headroom::log::kafka::{Framing, Kafka};
use std::process::Command;

/// Sinks come and go while owners decide, are killed, and share the partitions; the server is killed as well.
#[test]
fn the_events_of_a_cluster_are_rows_each_once() {
    let place = Place::on(Rig::shared(), "sink-each-once");
    let applied = place.headroom(&["topics", "apply", "--partitions", "3"]);
    assert_eq!(applied.code, 0, "{}{}", applied.out, applied.err);
    let (dir, mut database) = (tempfile::tempdir().unwrap(), Database::start());
    database.apply();
    let data = dir.path().to_str().unwrap();
    let serve = ["serve", "--listen", "127.0.0.1:0", "--deadline-default-ms", "5000", "--data-dir", data];
    let mut server = Served::start(&mut place.command(&serve));
    let url = database.url();
    let sink = |args: &[&str]| -> Command {
        let mut command = place.command(&[&["sink"], args].concat());
        command.env("HEADROOM_SINK_DATABASE", &url);
        command
    };
    let start = || Running::start(&mut sink(&["--sink-batch-ms", "100"]));
    let mut sinks = vec![start(), start()];
    let mut traffic = Traffic::new(&server.url, 21);
    traffic.calls(60);
    sinks.pop().unwrap().kill();
    // An owner that dies in a turn leaves an open transaction: its events are not rows.
    server.running.kill();
    server = Served::start(&mut place.command(&serve));
    traffic = Traffic::new(&server.url, 22);
    traffic.calls(60);
    database.stop();
    database.serve();
    let before = database.written();
    traffic.calls(20);
    until("it goes on", || database.written() > before);
    server.running.terminate();
    sinks.into_iter().for_each(|sink| assert_eq!(sink.terminate().code, 0));
    let ended = Running::start(&mut sink(&["backfill"])).ended();
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert_rows(&database, |name| place.command(&[name]));
    let status = Running::start(&mut sink(&["status"])).ended();
    assert_eq!(status.out.lines().filter(|line| line.contains(", 0 events behind")).count(), 3, "{}", status.out);
    assert_eq!(database.ask("SELECT length(log_id) FROM sink_log"), "32", "the cluster has told which log it is");
    if cfg!(feature = "crash-points") {
        // A version that knows fewer fields says which one to take.
        let refused = Running::start(sink(&["run"]).env(OLDER, "1")).ended();
        let why = format!("feature_level=2, given by version {}, and here it is 1", env!("CARGO_PKG_VERSION"));
        assert!(refused.code == 2 && refused.err.contains(&why), "{}", refused.err);
    }
}

/// The story: a day of deployments. Owners come, leave and die, so that each partition goes from process to process, while
/// sinks come and die as well and callers go on. A sink reads only what is committed, whoever it is by.
#[test]
fn partitions_that_go_from_owner_to_owner_are_rows_each_once() {
    let (site, database) = (Site::new(Rig::shared(), 3), Database::start());
    database.apply();
    let start = || {
        let mut sink = site.command(["sink", "run"]);
        Running::start(sink.args(["--sink-batch-ms", "100"]).env("HEADROOM_SINK_DATABASE", database.url()))
    };
    let [a, b, c] = ["a", "b", "c"].map(|name| site.serving(name));
    let join = |process: &Serving<'_>| {
        process.start();
        process.ready();
    };
    join(&a);
    let mut sinks = vec![start(), start()];
    // The first event of each owner has an epoch of its own.
    let owners = || database.ask("SELECT count(*) FROM events WHERE kind = 'Barrier'").parse::<u64>().unwrap();
    let moves = |what: &str, change: &mut dyn FnMut()| {
        let before = owners();
        change();
        until(what, || owners() > before);
    };
    Traffic::of_shaken(&a.url().unwrap(), 23).beside(|| {
        until("the first owner's events are rows", || owners() >= 3);
        moves("a second owner", &mut || join(&b));
        sinks.push(start());
        moves("a third owner", &mut || join(&c));
        sinks.remove(0).kill();
        moves("an owner after one was killed", &mut || b.kill9());
        moves("an owner after one has left", &mut || c.terminate());
        moves("an owner that comes back", &mut || join(&b));
        let before = database.written();
        until("the sinks that are left go on", || database.written() > before + 20);
    });
    [a, b].iter().for_each(|process| process.terminate());
    sinks.into_iter().for_each(|sink| assert_eq!(sink.terminate().code, 0));
    let mut backfill = site.command(["sink", "backfill"]);
    let ended = Running::start(backfill.env("HEADROOM_SINK_DATABASE", database.url())).ended();
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert_rows(&database, |name| site.command([name]));
}

/// The seqs of one partition that `cat` prints.
fn seqs(cat: &Ended) -> Vec<u64> {
    let event = |line| serde_json::from_str::<serde_json::Value>(line).unwrap();
    cat.out.lines().map(|line| event(line)["seq"].as_str().unwrap().parse().unwrap()).collect()
}

/// The story: a sink stands still for longer than events are kept. What is gone is never a row: the sink says which events
/// that are, writes nothing, and whoever wants the rest begins anew. A sink that has written nothing yet says the same.
#[test]
fn a_sink_that_the_head_of_the_log_has_overtaken_stops_and_says_what_is_gone() {
    let place = Place::on(Rig::shared(), "sink-beheaded");
    let applied = place.headroom(&["topics", "apply", "--partitions", "1"]);
    assert_eq!(applied.code, 0, "{}{}", applied.out, applied.err);
    let manifest = place.look().manifest.unwrap().unwrap().manifest;
    let log = Kafka::open(place.cluster(), manifest, Framing::none(), super::draw).unwrap();
    let (dir, database, lake) = (tempfile::tempdir().unwrap(), Database::start(), tempfile::tempdir().unwrap());
    let data = dir.path().to_str().unwrap();
    let serve = ["serve", "--listen", "127.0.0.1:0", "--deadline-default-ms", "5000", "--data-dir", data];
    let server = Served::start(&mut place.command(&serve));
    let mut traffic = Traffic::new(&server.url, 5);
    traffic.calls(60);
    let tables =
        |schema: &str| vec![("HEADROOM_SINK_DATABASE", database.url()), ("HEADROOM_SINK_SCHEMA", schema.to_owned())];
    // A folder that is missing may be a mount that failed: a sink waits for it.
    ["old", "new"].iter().for_each(|name| std::fs::create_dir(lake.path().join(name)).unwrap());
    let files = |name: &str| vec![("HEADROOM_SINK_FILES", format!("file://{}/{name}", lake.path().display()))];
    let targets = [[tables("old"), tables("new")], [files("old"), files("new")]];
    let sink = |to: &Vec<(&str, String)>, args: &[&str]| -> Ended {
        let mut command = place.command(&[&["sink"], args].concat());
        command.envs(to.iter().map(|(name, value)| (*name, value)));
        Running::start(&mut command).ended()
    };
    for target in &targets {
        for to in target.iter().filter(|to| to[0].0 == "HEADROOM_SINK_DATABASE") {
            assert_eq!(sink(to, &["apply"]).code, 0);
        }
        let written = sink(&target[0], &["backfill"]);
        assert_eq!(written.code, 0, "{}", written.err);
    }
    let written = log.end(0).unwrap();
    traffic.calls(60);
    let first = log.end(0).unwrap() - 10;
    assert!(first > written);
    remove_before(&log, first);
    traffic.calls(5);
    server.running.terminate();
    for [old, new] in &targets {
        let ended = sink(old, &["backfill"]);
        assert_eq!(ended.code, 1, "{}", ended.err);
        let begins = format!("the log begins with seq {first}: events ");
        let gone = format!(" to {} are gone and were never written here; bring them back", first - 1);
        assert_says(&ended.err, &[&begins, &gone, "another sink_schema", "headroom sink backfill --from first"]);
        let status = sink(old, &["status"]);
        assert_eq!(status.code, 1, "{}{}", status.out, status.err);
        assert_says(&status.out, &["stopped: ", &gone]);
        // Nor does it pass over them when it is told where partitions begin that were never written.
        assert_eq!(sink(old, &["backfill", "--from", "first"]).code, 1);

        let ended = sink(new, &["backfill"]);
        let gone = format!(
            "events 0 to {} are gone and were never written here; headroom sink backfill --from first",
            first - 1
        );
        assert_eq!(ended.code, 1, "{}", ended.err);
        assert_says(&ended.err, &[&begins, &gone]);
        let ended = sink(new, &["backfill", "--from", "first"]);
        assert_eq!(ended.code, 0, "{}", ended.err);
        let status = sink(new, &["status"]);
        assert_eq!(status.code, 0, "{}{}", status.out, status.err);
        assert_says(&status.out, &[&format!("next seq {}, 0 events behind", log.end(0).unwrap())]);
    }
    let left = seqs(&place.headroom(&["cat"]));
    assert_eq!((left[0], left.len() as u64), (first, log.end(0).unwrap() - first));
    let rows = database.ask("SELECT count(*), min(seq), max(seq) FROM new.events");
    assert_eq!(rows, format!("{}|{first}|{}", left.len(), left[left.len() - 1]));
    let old: u64 = database.ask("SELECT max(seq) FROM old.events").parse().unwrap();
    assert!(old < first, "{old} {first}");
}
