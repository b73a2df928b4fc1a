//! Logs that a sink cannot go on with: an event that nobody can read, another log, and one that has lost events.

use super::files::Lake;
use super::postgres::Database;
use super::redshift::Redshift;
use super::serve;
use super::traffic::Traffic;
use crate::cli::handwritten_logs::Writing;
use crate::process::{Ended, Running, Served, headroom, run};
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// A log with so many acceptances under a limit.
fn log(dir: &Path, limit: u64, accepted: u64) {
    let mut writing = Writing::new(limit);
    (0..accepted).for_each(|_| writing.accept(limit));
    writing.write(dir);
}

fn status(database: &Database, log: &Path) -> Ended {
    run(&mut database.sink(log, &["status"]))
}

/// The story: a newer version has written an event that this one does not know. Who leaves it out in silence has figures that
/// are wrong for ever, and nobody knows.
#[test]
fn an_event_that_cannot_be_read_stops_its_partition_or_is_set_aside() {
    let (dir, database) = (tempfile::tempdir().unwrap(), Database::start());
    database.apply();
    let mut writing = Writing::new(5);
    writing.accept(5);
    writing.add_garbage();
    writing.accept(5);
    writing.write(dir.path());
    for _ in 0..2 {
        let stopped = run(&mut database.sink(dir.path(), &["backfill"]));
        assert_eq!(stopped.code, 1, "{}", stopped.out);
        assert!(stopped.err.contains("the sink writes nothing more of the partition"), "{}", stopped.err);
        assert_eq!(database.ask("SELECT seq FROM events ORDER BY seq"), "0\n1\n2", "what is before it is written");
        let status = status(&database, dir.path());
        assert_eq!(status.code, 1);
        assert!(status.out.contains("partition 0: stopped: seq 3 cannot be read: "), "{}", status.out);
    }
    let aside = run(&mut database.sink(dir.path(), &["backfill", "--sink-undecodable", "aside"]));
    assert_eq!(aside.code, 0, "{}", aside.err);
    assert!(aside.err.contains("an event cannot be read and is set aside"), "{}", aside.err);
    assert_eq!(database.ask("SELECT seq FROM events ORDER BY seq"), "0\n1\n2\n4");
    let record = "6e6f206576656e74";
    assert_eq!(database.ask("SELECT partition, seq, record FROM sink_set_aside"), format!("0|3|{record}"));
    let status = status(&database, dir.path());
    assert_eq!(status.code, 0, "{}", status.out);
    assert!(status.out.contains("next seq 5, 0 events behind") && status.out.contains("1 set aside"), "{}", status.out);
}

#[test]
fn a_log_that_does_not_continue_the_tables_is_refused() {
    let (first, database) = (tempfile::tempdir().unwrap(), Database::start());
    database.apply();
    log(first.path(), 5, 3);
    assert_eq!(run(&mut database.sink(first.path(), &["backfill"])).code, 0);
    for (limit, accepted, why) in [
        (9, 6, "the event at seq 5 does not continue what is written"),
        (5, 2, "5 events are written, and the log has only 4"),
    ] {
        let other = tempfile::tempdir().unwrap();
        log(other.path(), limit, accepted);
        let refused = run(&mut database.sink(other.path(), &["backfill"]));
        assert_eq!(refused.code, 1, "{}", refused.out);
        assert!(refused.err.contains(why), "{}", refused.err);
        let told = status(&database, other.path());
        assert_eq!(told.code, 1, "{}", told.out);
        assert!(told.out.contains(why), "{}", told.out);
        assert_eq!(database.ask("SELECT count(*) FROM events"), "5");
    }
    // The log that they are of goes on.
    let again = run(&mut database.sink(first.path(), &["backfill"]));
    assert_eq!(again.code, 0, "{}", again.err);
    assert_eq!(status(&database, first.path()).code, 0);
}

/// What an operator is told to do when the log no longer has what was not written.
#[test]
fn new_tables_may_begin_at_a_later_event() {
    let (dir, database) = (tempfile::tempdir().unwrap(), Database::start());
    database.apply();
    log(dir.path(), 5, 4);
    let ended = run(&mut database.sink(dir.path(), &["backfill", "--from", "4"]));
    assert_eq!((ended.code, &*ended.out), (0, "2 rows of 2 events written\n"), "{}", ended.err);
    assert_eq!(database.ask("SELECT min(seq), max(seq), count(*) FROM events"), "4|5|2");
    assert_eq!(database.ask("SELECT first_seq, next_seq FROM sink_positions"), "4|6");
    // Somebody believes that it brings the others as well.
    for from in ["2", "first"] {
        let again = run(&mut database.sink(dir.path(), &["backfill", "--from", from]));
        let told = format!(
            "--from {from} has no meaning for what was begun before, which went on where it was: partition 0 at seq 6\n\
             0 rows of 0 events written\n"
        );
        assert_eq!((again.code, again.out), (0, told), "{}", again.err);
    }
    // Who has forgotten it, or was never told, is not left to believe that all is there.
    let plain = run(&mut database.sink(dir.path(), &["backfill"]));
    let told = "what was begun later goes on without the events before that: partition 0 at seq 4\n0 rows of 0 events written\n";
    assert_eq!((plain.code, &*plain.out), (0, told), "{}", plain.err);
    let told = status(&database, dir.path());
    assert!(told.code == 0 && told.out.ends_with(", 2 rows, 0 set aside, begun at seq 4\n"), "{}", told.out);
    let json = run(&mut database.sink(dir.path(), &["status", "--json"]));
    assert!(json.out.contains("\"first_seq\":4,"), "{}", json.out);
}

/// The story: somebody mistypes where to begin. Nothing would be written, and every later command would say that all is well.
#[test]
fn a_begin_behind_the_end_of_the_log_is_refused() {
    let (dir, database, lake) = (tempfile::tempdir().unwrap(), Database::start(), Lake::new());
    database.apply();
    log(dir.path(), 5, 4);
    let mistyped = ["backfill", "--from", "999999"];
    for mut backfill in [database.sink(dir.path(), &mistyped), lake.sink(dir.path(), &mistyped)] {
        let refused = run(&mut backfill);
        let why = "--from 999999 is behind the end of every partition: the longest, 0, ends before seq 6";
        assert!(refused.code == 2 && refused.err.contains(why), "{}{}", refused.out, refused.err);
    }
    assert_eq!(database.ask("SELECT count(*) FROM sink_positions"), "0");
    let whole = run(&mut database.sink(dir.path(), &["backfill"]));
    assert_eq!((whole.code, &*whole.out), (0, "6 rows of 6 events written\n"), "{}", whole.err);
    assert!(!status(&database, dir.path()).out.contains("begun at"));
}

/// A place for rows: what is in it, and the command of its sink.
struct Written<'a> {
    all: &'a dyn Fn() -> String,
    sink: &'a dyn Fn(&Path, &[&str]) -> Command,
    /// Takes away what says which log it is of, as if an earlier version had written.
    forget: &'a dyn Fn(),
}

/// The story: a team has two shops, and the sink of the new one, which has more partitions, is started with the settings of the
/// old one. The partitions that the old one does not have are free.
#[track_caller]
fn assert_one_log(written: &Written) {
    let Written { all, sink, forget } = written;
    let log = |partitions: &str| -> (TempDir, Served) {
        let dir = tempfile::tempdir().unwrap();
        let mut serve = headroom(["serve", "--listen", "127.0.0.1:0", "--partitions", partitions]);
        let served = Served::start(serve.arg("--data-dir").arg(dir.path()));
        Traffic::new(&served.url, 61).calls(20);
        (dir, served)
    };
    let ((own, own_server), (other, other_server)) = (log("2"), log("5"));
    let backfill = |log: &Path| run(&mut sink(log, &["backfill"]));
    let ended = backfill(own.path());
    assert_eq!(ended.code, 0, "{}", ended.err);
    own_server.running.terminate();
    let before = all();
    let refused = |ended: &Ended, why: &str| {
        assert_eq!(ended.code, 1, "{}{}", ended.out, ended.err);
        assert!(ended.err.contains(why), "{}", ended.err);
        assert_eq!(all(), before);
    };
    let by_name = "what is written here is of the log ";
    // Through its server, and from the file of a stopped one.
    refused(&backfill(other.path()), by_name);
    refused(&Running::start(&mut sink(other.path(), &[])).ended(), by_name);
    refused(&run(&mut sink(other.path(), &["status"])), by_name);
    other_server.running.terminate();
    refused(&backfill(other.path()), by_name);
    // What an earlier version wrote tells by its events, and is then of its log.
    forget();
    refused(&backfill(other.path()), "partition 0: ");
    let ended = backfill(own.path());
    assert_eq!((ended.code, &*ended.out), (0, "0 rows of 0 events written\n"), "{}", ended.err);
    let refused_again = backfill(other.path());
    assert!(refused_again.code == 1 && refused_again.err.contains(by_name), "{}", refused_again.err);
    assert_eq!(run(&mut sink(own.path(), &["status"])).code, 0);
}

const POSITIONS: &str = "SELECT partition, next_seq, chain, row_count, stopped FROM sink_positions ORDER BY 1";

#[test]
fn tables_are_of_one_log() {
    let database = Database::start();
    database.apply();
    assert_one_log(&Written {
        all: &|| database.ask(&format!("{POSITIONS}; SELECT count(*) FROM events")),
        sink: &|log, args| database.sink(log, args),
        forget: &|| drop(database.ask("DELETE FROM sink_log")),
    });
}

#[test]
fn tables_in_redshift_are_of_one_log() {
    let redshift = Redshift::start();
    redshift.apply();
    assert_one_log(&Written {
        all: &|| redshift.tables.ask(&format!("{POSITIONS}; SELECT count(*) FROM events")),
        sink: &|log, args| redshift.sink(log, args),
        forget: &|| drop(redshift.tables.ask("DELETE FROM sink_log")),
    });
}

#[test]
fn files_are_of_one_log() {
    let lake = Lake::new();
    assert_one_log(&Written {
        all: &|| {
            let positions = lake.positions().into_values();
            let told = positions.map(|told| format!("{}{}{}", told["next_seq"], told["chain"], told["stopped"]));
            format!("{:?} {}", told.collect::<Vec<_>>(), lake.complete().len())
        },
        sink: &|log, args| lake.sink(log, args),
        forget: &|| std::fs::remove_file(lake.path().join("log.json")).unwrap(),
    });
}

/// Two sinks of two logs begin at the same time: one of them is first.
#[test]
fn of_two_logs_that_begin_together_one_is_refused() {
    let database = Database::start();
    database.apply();
    let logs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    for log in &logs {
        let served = serve(log.path());
        Traffic::new(&served.url, 62).calls(20);
        served.running.terminate();
    }
    let begun = logs.each_ref().map(|log| Running::start(&mut database.sink(log.path(), &["backfill"])));
    let mut codes = begun.map(|sink| sink.ended().code);
    codes.sort_unstable();
    assert_eq!(codes, [0, 1]);
    let whole = logs.iter().filter(|log| status(&database, log.path()).code == 0).count();
    assert_eq!(whole, 1);
    let lives = database.ask("SELECT count(*) FROM (SELECT partition, seq FROM events GROUP BY 1, 2) e, sink_log");
    assert_eq!(lives, database.ask("SELECT sum(row_count) FROM sink_positions"));
}
