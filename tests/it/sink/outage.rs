//! A database that is away for long, or slow: everything is made up for, in bounded pieces, and callers do not notice.

use super::postgres::Database;
use super::redshift::Redshift;
use super::traffic::Traffic;
use super::{assert_rest, assert_same, serve};
use crate::cli::handwritten_logs::Writing;
use crate::process::{Running, run};
use crate::server::Server;
use crate::wait::until;
use crate::world::ManualClock;
use headroom::domain::Micros;
use headroom::limits::SINK_BATCH_EVENTS_DEFAULT;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

/// When the hour begins: 2020-11-21T10:00:00Z.
const TEN: Micros = Micros(1_605_952_800_000_000);
/// What a process of a sink may take: kB.
const MEMORY_MAX_KB: u64 = 200_000;

/// From now on each batch takes this long, in seconds: an index of a position takes its time.
fn slow_down(database: &Database, seconds: f64) {
    database.ask(&format!(
        "CREATE FUNCTION public.slow(seq bigint) RETURNS bigint IMMUTABLE LANGUAGE plpgsql AS
             'BEGIN PERFORM pg_sleep({seconds}); RETURN seq; END';
         CREATE INDEX slow ON sink_positions (public.slow(next_seq))"
    ));
}

/// What a sink writes to, whose database can be away.
pub trait Away {
    fn tables(&mut self) -> &mut Database;

    /// `headroom sink` with these arguments, over the log of this directory.
    fn sink(&self, log: &Path, args: &[&str]) -> Command;
}

impl Away for Database {
    fn tables(&mut self) -> &mut Database {
        self
    }

    fn sink(&self, log: &Path, args: &[&str]) -> Command {
        Database::sink(self, log, args)
    }
}

impl Away for Redshift {
    fn tables(&mut self) -> &mut Database {
        &mut self.tables
    }

    fn sink(&self, log: &Path, args: &[&str]) -> Command {
        Redshift::sink(self, log, args)
    }
}

/// Whether nothing is left to write, by this `headroom sink status`.
fn is_written(mut status: Command, partitions: usize) -> bool {
    let status = run(&mut status);
    assert_eq!(status.code, 0, "{}{}", status.out, status.err);
    status.out.lines().filter(|line| line.contains(", 0 events behind, ")).count() == partitions
}

#[test]
fn an_hour_without_a_database_is_made_up_for() {
    let (log, mut database) = (tempfile::tempdir().unwrap(), Database::start());
    database.apply();
    makes_up_for_an_hour(&mut database, log.path());
    assert_rest(&database, log.path());
}

/// The story: the database is down from ten to eleven, and the shop is open. At eleven it comes back, and a minute later the
/// analysts have the hour as if nothing had been.
pub fn makes_up_for_an_hour(away: &mut impl Away, log: &Path) {
    // Two seconds pass with each: a turn that the clock passes in its middle seems to take so long, and callers wait longer. On a
    // busy machine some are sent away.
    const CALLS: u64 = 1_800;
    let clock = Arc::new(ManualClock::at(TEN));
    let server = Server::start(log, 3, Arc::clone(&clock) as _);
    let mut traffic = Traffic::of_shaken(&format!("http://{}", server.address), 31);
    let mut sink = Running::start(&mut away.sink(log, &["--sink-batch-ms", "100"]));
    traffic.calls(20);
    until("all is written before", || is_written(away.sink(log, &["status"]), 3));
    let before = away.tables().written();
    away.tables().stop();
    for _ in 0..CALLS {
        traffic.calls(1);
        clock.pass_ms(3_600_000 / CALLS);
    }
    assert!(!sink.is_over(), "it waits for the database");
    away.tables().serve();
    until("the lag falls to zero", || is_written(away.sink(log, &["status"]), 3));
    let tables = away.tables();
    assert!(tables.written() > before + CALLS / 2);
    let minutes =
        tables.ask("SELECT count(DISTINCT date_trunc('minute', decided_at)) FROM events WHERE ask IS NOT NULL");
    assert!(minutes.parse::<u64>().unwrap() >= 55, "{minutes} minutes have calls");
    assert_eq!(sink.terminate().code, 0);
    drop(server);
}

/// The story: a team names both machines of its database. After a failover the first one is the standby: it answers, has every table
/// and takes no row, and the sink asked it again and again.
#[test]
fn of_two_machines_the_one_that_takes_writes_is_written() {
    let (log, standby, primary) = (tempfile::tempdir().unwrap(), Database::start(), Database::start());
    standby.apply();
    primary.apply();
    standby.ask("ALTER ROLE CURRENT_USER SET default_transaction_read_only = on");
    let mut writing = Writing::new(5);
    writing.accept(5);
    writing.write(log.path());
    let second = primary.url().replace("postgresql://analyst@", "");
    let both = standby.url().replace("/postgres", &format!(",{second}"));
    let mut backfill = Database::sink(&primary, log.path(), &["backfill"]);
    let ended = run(backfill.env("HEADROOM_SINK_DATABASE", &both));
    assert_eq!(ended.code, 0, "{both}: {}{}", ended.out, ended.err);
    let count = "SELECT count(*) > 0 FROM events";
    assert_eq!((primary.ask(count), standby.ask(count)), ("t".to_owned(), "f".to_owned()));
}

/// The story: the database has been away, and everything that was decided meanwhile waits in the log. The sink takes no more of
/// it into its memory than a batch for each writer, however slow the database is.
#[test]
fn a_long_backlog_is_written_in_batches_of_bounded_size() {
    const ACCEPTED: u64 = 2 * SINK_BATCH_EVENTS_DEFAULT + 1_000;
    let (log, mut database) = (tempfile::tempdir().unwrap(), Database::start());
    database.apply();
    slow_down(&database, 0.5);
    let mut writing = Writing::new(ACCEPTED);
    (0..ACCEPTED).for_each(|_| writing.accept(ACCEPTED));
    writing.write_long(log.path());
    database.stop();
    let mut backfill = Running::start(&mut database.sink(log.path(), &["backfill"]));
    database.serve();
    let status = format!("/proc/{}/status", backfill.child().id());
    let mut memory_kb = 0;
    until("it has ended", || {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let most = text.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
        memory_kb = memory_kb.max(most.unwrap_or(0));
        backfill.is_over()
    });
    let ended = backfill.ended();
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert!((1..=MEMORY_MAX_KB).contains(&memory_kb), "{memory_kb} kB");
    let batches = format!("{SINK_BATCH_EVENTS_DEFAULT}\n{SINK_BATCH_EVENTS_DEFAULT}\n1002");
    assert_eq!(database.ask("SELECT count(*) FROM events GROUP BY xmin::text ORDER BY 1 DESC"), batches);
    assert_same(&database, log.path());
}

/// The story: the way to the database is slow, and whatever takes longer than two seconds is broken off there. A whole batch would
/// never be written, however often it is tried.
#[test]
fn a_database_that_breaks_off_a_whole_batch_gets_smaller_ones() {
    const ACCEPTED: u64 = 4_000;
    let (log, database) = (tempfile::tempdir().unwrap(), Database::start_with(&["statement_timeout=2s"]));
    database.apply();
    // Each row takes a millisecond.
    database.ask(
        "CREATE FUNCTION public.slow_row(seq bigint) RETURNS bigint IMMUTABLE LANGUAGE plpgsql AS
             'BEGIN PERFORM pg_sleep(0.001); RETURN seq; END';
         CREATE INDEX slow ON events (public.slow_row(seq))",
    );
    let mut writing = Writing::new(ACCEPTED);
    (0..ACCEPTED).for_each(|_| writing.accept(ACCEPTED));
    writing.write_long(log.path());
    let mut backfill = Running::start(&mut database.sink(log.path(), &["backfill"]));
    until("all of it is written", || backfill.is_over());
    let ended = backfill.ended();
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert!(ended.err.contains("(57014)") && ended.err.contains("the next batch is smaller"), "{}", ended.err);
    let largest = database.ask("SELECT max(n) < 2000 FROM (SELECT count(*) AS n FROM events GROUP BY xmin::text) b");
    assert_eq!(largest, "t", "a batch of 2,000 rows takes more than two seconds");
    assert_same(&database, log.path());
}

/// The lock with which a sink writes events. Whoever locks the whole table waits for another one, and may do so first.
const OF_A_SINK: &str = "FROM pg_locks WHERE relation = 'events'::regclass AND mode = 'RowExclusiveLock'";

/// Whoever stops a sink does not wait for as long as the sink waits for an answer.
#[test]
fn a_sink_that_waits_for_a_lock_ends_when_it_is_told_to() {
    let (log, database) = (tempfile::tempdir().unwrap(), Database::start());
    database.apply();
    let served = serve(log.path());
    let mut traffic = Traffic::new(&served.url, 33);
    let sink = Running::start(&mut database.sink(log.path(), &["--sink-batch-ms", "100"]));
    until("something is written", || database.written() > 0);
    let held = database.begin("BEGIN; LOCK TABLE events IN EXCLUSIVE MODE; SELECT pg_sleep(100)");
    until("the sink waits", || {
        traffic.calls(1);
        database.ask(&format!("SELECT count(*) > 0 {OF_A_SINK} AND NOT granted")) == "t"
    });
    let ended = sink.terminate();
    assert!(ended.code == 0 && ended.err.contains("the database did not answer within"), "{}", ended.err);
    database.ask(
        "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE relation = 'events'::regclass AND mode = 'ExclusiveLock'",
    );
    drop(held);
    served.running.terminate();
    assert_rest(&database, log.path());
}

/// The story: somebody locks the table of events and goes to lunch. The sink waits for as long. Whoever reserves meanwhile is
/// answered as ever, because the sink reads what is committed and holds nothing that an owner needs.
#[test]
fn callers_are_answered_while_the_sink_waits_for_a_lock() {
    let (log, database) = (tempfile::tempdir().unwrap(), Database::start());
    database.apply();
    let served = serve(log.path());
    let mut traffic = Traffic::new(&served.url, 32);
    let sink = Running::start(&mut database.sink(log.path(), &["--sink-batch-ms", "100"]));
    until("something is written", || database.written() > 0);
    let lunch = database.begin("BEGIN; LOCK TABLE events IN EXCLUSIVE MODE; SELECT pg_sleep(100)");
    let waits = || database.ask(&format!("SELECT count(*) > 0 {OF_A_SINK} AND NOT granted")) == "t";
    until("the sink waits", || {
        traffic.calls(1);
        waits()
    });
    let before = database.written();
    traffic.calls(200);
    assert!(waits() && database.written() == before, "it still waits");
    database.ask(
        "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE relation = 'events'::regclass AND mode = 'ExclusiveLock'",
    );
    drop(lunch);
    until("it goes on", || database.written() >= before + 100);
    served.running.terminate();
    assert_eq!(sink.terminate().code, 0);
    assert_rest(&database, log.path());
}
