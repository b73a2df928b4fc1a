//! Logs that a sink cannot go on with: an event that nobody can read, another log, and one that has lost events.

use super::postgres::Database;
use crate::cli::handwritten_logs::Writing;
use crate::process::{Ended, run};
use std::path::Path;

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
    assert!(
        status.out.contains("written up to seq 5, 0 events behind") && status.out.contains("1 set aside"),
        "{}",
        status.out
    );
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
    assert_eq!((ended.code, &*ended.out), (0, "2 rows of 2 events were written\n"), "{}", ended.err);
    assert_eq!(database.ask("SELECT min(seq), max(seq), count(*) FROM events"), "4|5|2");
    assert_eq!(database.ask("SELECT first_seq, next_seq FROM sink_positions"), "4|6");
}
