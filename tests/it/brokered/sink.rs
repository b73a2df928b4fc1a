//! `headroom sink` beside a cluster: no server need run for it.

use super::head_gone::remove_before;
use super::serve::{OLDER, Serving, Site};
use super::topics::Place;
use crate::cli::assert_says;
use crate::process::{Ended, Running, Served, run};
use crate::rig::Rig;
use crate::sink::files::Lake;
use crate::sink::postgres::Database;
use crate::sink::redshift::Redshift;
use crate::sink::traffic::Traffic;
use crate::sink::{assert_rows, events, identities, rows_of};
use crate::wait::until;
use headroom::log::CommittedTail;
use headroom::log::kafka::{Framing, Kafka};
use serde_json::Value;
use std::ffi::OsString;
use std::path::Path;
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

/// A place for rows: the settings of its sink, and which events it has, as [`identities`] tells.
struct To<'a> {
    settings: Vec<(OsString, OsString)>,
    rows: Box<dyn Fn() -> Vec<String> + 'a>,
    has_tables: bool,
}

/// The settings of this command.
fn settings(sink: &Command) -> Vec<(OsString, OsString)> {
    sink.get_envs().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned()))).collect()
}

impl<'a> To<'a> {
    fn schema(sink: &mut Command, tables: &'a Database, schema: &'static str) -> To<'a> {
        let settings = settings(sink.env("HEADROOM_SINK_SCHEMA", schema));
        To { settings, rows: Box::new(move || rows_of(tables, schema)), has_tables: true }
    }

    fn files(lake: &'a Lake) -> To<'a> {
        let rows = move || identities(&lake.complete().into_values().map(Value::Object).collect::<Vec<_>>());
        To { settings: settings(&lake.sink(Path::new(""), &["plan"])), rows: Box::new(rows), has_tables: false }
    }
}

/// What a sink says that the head of the log has overtaken, and one that begins behind the head: the log has `first` to `end`.
fn assert_overtaken([old, new]: &[To<'_>; 2], sink: impl Fn(&To<'_>, &[&str]) -> Ended, first: u64, end: u64) {
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

    // What is gone waits for nobody.
    let status = sink(new, &["status"]);
    assert_says(&status.out, &[&format!("never written, {} events in the log", end - first)]);
    let ended = sink(new, &["backfill"]);
    let gone =
        format!("events 0 to {} are gone and were never written here; headroom sink backfill --from first", first - 1);
    assert_eq!(ended.code, 1, "{}", ended.err);
    assert_says(&ended.err, &[&begins, &gone]);
    let ended = sink(new, &["backfill", "--from", "first"]);
    assert_eq!(ended.code, 0, "{}", ended.err);
    let status = sink(new, &["status"]);
    assert_eq!(status.code, 0, "{}{}", status.out, status.err);
    assert_says(&status.out, &[&format!("next seq {end}, 0 events behind")]);
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
    let (database, redshift, lakes) = (Database::start(), Redshift::start(), [Lake::new(), Lake::new()]);
    let dir = tempfile::tempdir().unwrap();
    let serve = ["serve", "--listen", "127.0.0.1:0", "--deadline-default-ms", "5000", "--data-dir"];
    let server = Served::start(place.command(&serve).arg(dir.path()));
    let mut traffic = Traffic::new(&server.url, 5);
    traffic.calls(60);
    let begun = log.end(0).unwrap();
    let schemas = ["old", "new"];
    let targets = [
        schemas.map(|name| To::schema(&mut database.sink(dir.path(), &["plan"]), &database, name)),
        schemas.map(|name| To::schema(&mut redshift.command("sink", &[]), &redshift.tables, name)),
        lakes.each_ref().map(To::files),
    ];
    let sink = |to: &To<'_>, args: &[&str]| -> Ended {
        run(place.command(&[&["sink"], args].concat()).envs(to.settings.iter().map(|(name, value)| (name, value))))
    };
    for target in &targets {
        for to in target.iter().filter(|to| to.has_tables) {
            let applied = sink(to, &["apply"]);
            assert_eq!(applied.code, 0, "{}{}", applied.out, applied.err);
        }
        let written = sink(&target[0], &["backfill"]);
        assert_eq!(written.code, 0, "{}", written.err);
    }
    traffic.calls(60);
    let cat = || events(&mut place.command(&["cat"]));
    let all = cat();
    let first = log.end(0).unwrap() - 10;
    remove_before(&log, first);
    traffic.calls(5);
    server.running.terminate();
    let (left, end) = (cat(), log.end(0).unwrap());
    assert_eq!((&left[0]["seq"], left.len() as u64), (&Value::from(first.to_string()), end - first));
    for target in &targets {
        assert_overtaken(target, sink, first, end);
        let [old, new] = target.each_ref().map(|to| (to.rows)());
        assert_eq!(new, identities(&left));
        assert!((begun..first).contains(&(old.len() as u64)), "{begun} {} {first}", old.len());
        assert_eq!(old, identities(&all[..old.len()]), "what was written before is as it was");
    }
}
