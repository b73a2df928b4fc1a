//! What breaks: the process at every named point, the database, and its connections.

#[cfg(feature = "crash-points")]
use super::killed;
use super::postgres::Database;
use super::traffic::Traffic;
use super::{assert_rest, serve};
use crate::process::Running;
#[cfg(feature = "crash-points")]
use crate::process::{KILLED, run};
use crate::wait::until;

/// The points at which the process may die, from before a batch is written to after it.
#[cfg(feature = "crash-points")]
const POINTS: &[&str] = &["sink-read", "sink-moved", "sink-copied", "sink-merged", "sink-written", "sink-committed"];

/// The story: the machine of the sink is taken away while it writes. A row that came twice would sell a slot twice in every
/// report, and one that was left out would never be missed.
#[cfg(feature = "crash-points")]
#[test]
fn killed_at_any_point_the_sink_repeats_nothing_and_loses_nothing() {
    let (log, database) = (tempfile::tempdir().unwrap(), Database::start());
    database.apply();
    let backfill = || database.sink(log.path(), &["backfill"]);
    killed::at_each(POINTS, 3, log.path(), backfill, || killed::assert_first_rows(&database, log.path()));
    assert_rest(&database, log.path());
}

/// The story: the pool of a reservation lives again, so its row is there already when the second acceptance comes. The sink finds
/// that out when the fast way fails, takes the slow one, and dies in it.
#[cfg(feature = "crash-points")]
#[test]
fn killed_where_a_reservation_is_replaced_the_sink_has_replaced_nothing() {
    let (log, database) = (tempfile::tempdir().unwrap(), Database::start());
    database.apply();
    let told = || database.ask("SELECT seq, status, end_cause FROM reservations; SELECT next_seq FROM sink_positions");
    let mut lives = 0;
    super::two_lives(log.path(), || {
        lives += 1;
        let before = told();
        let mut backfill = database.sink(log.path(), &["backfill"]);
        let ended = run(backfill.env("HEADROOM_CRASH_AT", "sink-replaced:1"));
        let expected = if lives == 2 { (KILLED, true) } else { (0, false) };
        assert_eq!((ended.code, told() == before), expected, "{}{}", ended.out, ended.err);
    });
    assert_rest(&database, log.path());
    assert_eq!(database.ask("SELECT status, end_cause FROM reservations"), "confirmed|");
}

/// Connections are ended in the middle of whatever they do, and the whole server with all that it has not written.
#[test]
fn a_database_that_breaks_off_and_comes_back_has_every_event_once() {
    let (log, mut database) = (tempfile::tempdir().unwrap(), Database::start());
    database.apply();
    let served = serve(log.path());
    let mut traffic = Traffic::new(&served.url, 5);
    let mut sink = Running::start(&mut database.sink(log.path(), &["--sink-batch-ms", "100"]));
    for _ in 0..20 {
        traffic.calls(6);
        database.ask(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'headroom sink'",
        );
    }
    database.stop();
    traffic.calls(20);
    assert!(!sink.is_over(), "it waits for the database");
    database.serve();
    let before = database.written();
    until("it goes on", || database.written() > before);
    served.running.terminate();
    sink.terminate();
    assert_rest(&database, log.path());
}

/// A lock that somebody else holds on a table makes the sink wait; nothing is written twice when it is given up.
#[test]
fn a_database_that_is_slow_is_waited_for() {
    let (log, database) = (tempfile::tempdir().unwrap(), Database::start());
    database.apply();
    let served = serve(log.path());
    let mut traffic = Traffic::new(&served.url, 6);
    let sink = Running::start(&mut database.sink(log.path(), &["--sink-batch-ms", "100"]));
    for _ in 0..3 {
        traffic.calls(10);
        database.ask("BEGIN; LOCK TABLE events IN EXCLUSIVE MODE; SELECT pg_sleep(0.5); COMMIT");
    }
    served.running.terminate();
    sink.terminate();
    assert_rest(&database, log.path());
}
