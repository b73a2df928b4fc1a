//! Several sinks of one log: each partition is written by one of them at a time.

use super::postgres::Database;
use super::traffic::Traffic;
use super::{assert_rest, serve};
use crate::process::{Running, run};
use crate::wait::until;

/// Three processes share the partitions, one after the other is killed, and the others go on with what it wrote.
#[test]
fn sinks_share_the_partitions_and_take_over_those_of_one_that_dies() {
    let (log, database) = (tempfile::tempdir().unwrap(), Database::start());
    database.apply();
    let served = serve(log.path());
    let mut traffic = Traffic::new(&served.url, 11);
    let start = || Running::start(&mut database.sink(log.path(), &["--sink-batch-ms", "100"]));
    let mut sinks = vec![start(), start(), start()];
    while let Some(mut sink) = sinks.pop() {
        traffic.calls(30);
        sink.kill();
    }
    let last = start();
    let before = database.written();
    traffic.calls(10);
    until("the last one has taken the partitions over", || database.written() > before);
    served.running.terminate();
    last.terminate();
    assert_rest(&database, log.path());
}

/// A backfill does not fight with a sink that runs.
#[test]
fn a_backfill_is_refused_while_another_sink_writes() {
    let (log, database) = (tempfile::tempdir().unwrap(), Database::start());
    database.apply();
    let served = serve(log.path());
    Traffic::new(&served.url, 12).calls(5);
    let sink = Running::start(&mut database.sink(log.path(), &["--sink-batch-ms", "100"]));
    until("the sink has the partitions", || database.ask("SELECT count(*) FROM sink_positions WHERE claim > 0") == "3");
    let refused = run(&mut database.sink(log.path(), &["backfill"]));
    assert_eq!(refused.code, 1, "{}", refused.out);
    assert!(refused.err.contains("another sink writes partition"), "{}", refused.err);
    assert_eq!(sink.terminate().code, 0);
}

/// The story: a lock is not the truth. A writer that was cut off from the database for a while may believe that it still has
/// the partition. Its position tells otherwise, and nothing of its batch is written.
#[test]
fn a_writer_whose_position_was_moved_writes_nothing() {
    let (log, database) = (tempfile::tempdir().unwrap(), Database::start());
    database.apply();
    let served = serve(log.path());
    let mut traffic = Traffic::new(&served.url, 13);
    let sink = Running::start(&mut database.sink(log.path(), &["--sink-batch-ms", "100"]));
    until("something is written", || database.written() > 0);
    for _ in 0..5 {
        // Somebody claims all partitions behind its back; the sink has to claim them again.
        database.ask("UPDATE sink_positions SET claim = claim + 1");
        let before = database.written();
        traffic.calls(6);
        until("it has claimed again and goes on", || database.written() > before);
    }
    served.running.terminate();
    assert!(sink.terminate().err.contains("another sink has taken the partition"));
    assert_rest(&database, log.path());
}
