//! `headroom sink` beside a cluster: no server need run for it.

use super::serve::{Serving, Site};
use super::topics::Place;
use crate::process::{Running, Served};
use crate::rig::Rig;
use crate::sink::assert_rows;
use crate::sink::postgres::Database;
use crate::sink::traffic::Traffic;
use crate::wait::until;
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
    assert_rows(&database, &mut place.command(&["cat"]));
    let status = Running::start(&mut sink(&["status"])).ended();
    assert_eq!(status.out.lines().filter(|line| line.contains(", 0 events behind")).count(), 3, "{}", status.out);
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
    assert_rows(&database, &mut site.command(["cat"]));
}
