//! A sink and a newer version: what that one writes is a row once the sink is of that version too. Until then it is named as that,
//! never taken for damage, and never set aside.

use super::bucket::{COUNTED, failures_of};
use super::files::Lake;
use super::postgres::Database;
use super::traffic::Traffic;
use super::{assert_rest, serve};
use crate::cli::assert_says;
use crate::cli::handwritten_logs::Writing;
use crate::process::{Running, run};
use crate::wait::until;
use std::fs;

/// The story: an event has a field that this version does not know. Also a sink that sets broken events aside stops before it.
#[test]
fn an_event_of_a_newer_version_stops_its_partition_and_is_not_set_aside() {
    let (dir, database, lake) = (tempfile::tempdir().unwrap(), Database::start(), Lake::new());
    database.apply();
    let mut writing = Writing::new(5);
    writing.accept(5);
    writing.accept_as_a_newer_version(5);
    writing.accept(5);
    writing.write(dir.path());
    let why = "seq 3 cannot be read: it was written under a schema that is not known here: take a newer version of headroom for \
               the sink";
    let args = ["backfill", "--sink-undecodable", "aside"];
    for (mut backfill, mut status) in [
        (database.sink(dir.path(), &args), database.sink(dir.path(), &["status"])),
        (lake.sink(dir.path(), &args), lake.sink(dir.path(), &["status"])),
    ] {
        let stopped = run(&mut backfill);
        assert_eq!(stopped.code, 1, "{}", stopped.out);
        assert_says(&stopped.err, &["the sink writes nothing more of the partition", why]);
        let told = run(&mut status);
        assert_eq!(told.code, 1, "{}", told.err);
        assert_says(&told.out, &[&format!("partition 0: stopped: {why}"), "next seq 3, ", " 0 set aside"]);
    }
    assert_eq!(database.ask("SELECT seq FROM events ORDER BY seq"), "0\n1\n2", "what is before it is written");
}

/// The story: the server is upgraded, and somebody forgets the sink beside it. It writes nothing more and says which version to
/// take; one that knows the level of the log goes on, with every event once.
#[test]
fn a_sink_beside_a_server_that_was_upgraded_says_which_version_to_take() {
    let (log, database) = (tempfile::tempdir().unwrap(), Database::start());
    database.apply();
    let served = serve(log.path());
    let mut traffic = Traffic::new(&served.url, 61);
    let mut sink = Running::start(&mut database.sink(log.path(), COUNTED));
    let failures = failures_of(&mut sink);
    traffic.calls(20);
    until("it writes what its version knows", || database.written() > 0);
    served.running.terminate();
    // As the server of that version does when it starts.
    let level = log.path().join("feature-level");
    let own = fs::read(&level).unwrap();
    fs::write(&level, "9 4.2.0\n").unwrap();
    // Each of its two writers may be on its way to the server that is gone.
    let before = failures();
    until("it has looked again", || failures() >= before + 4.0);
    let written = database.written();
    let newer = ["feature level 9, given by version 4.2.0, and this version knows 3: take that version or a later one"];
    assert_says(&sink.terminate().err, &newer);
    for args in [&[][..], &["backfill"], &["status"]] {
        let refused = run(&mut database.sink(log.path(), args));
        assert_eq!((refused.code, &*refused.out), (2, ""), "{args:?}: {}", refused.err);
        assert_says(&refused.err, &newer);
    }
    assert_eq!(database.written(), written, "nothing more was written");
    fs::write(&level, own).unwrap();
    assert_rest(&database, log.path());
}
