//! What keeps a sink from writing all of it: a signal, a session that is lost to it, and what somebody has put on a table.

use super::postgres::Database;
use super::traffic::Traffic;
use super::{assert_rest, assert_same, serve};
use crate::cli::handwritten_logs::Writing;
use crate::process::{Running, headroom, run};
use crate::server::Server;
use crate::wait::until;
use crate::world::ManualClock;
use headroom::domain::Micros;
use headroom::sink::postgres::{Postgres, Sessions};
use headroom::sink::{Place, Target, TargetError, Writer};
use headroom::time::{Clock as _, SystemClock};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;

fn nowhere() -> &'static Path {
    Path::new("/nonexistent")
}

/// The story: a backfill is stopped for the night, while one partition waits for a lock of somebody else. Who reads what it says
/// must not believe that all is written.
#[test]
fn a_backfill_that_is_interrupted_says_so_and_the_next_one_goes_on() {
    let (log, database) = (tempfile::tempdir().unwrap(), Database::start());
    database.apply();
    let served = serve(log.path());
    let mut traffic = Traffic::new(&served.url, 71);
    traffic.calls(10);
    assert_eq!(run(&mut database.sink(log.path(), &["backfill"])).code, 0);
    traffic.calls(60);
    served.running.terminate();
    let mut waiting =
        database.begin("BEGIN; SELECT FROM sink_positions WHERE partition = 1 FOR UPDATE; SELECT pg_sleep(600)");
    until("the row is locked", || {
        database.ask("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'") == "1"
    });
    let before = database.written();
    let backfill = Running::start(&mut database.sink(log.path(), &["backfill"]));
    until("the other partitions are written", || {
        let status = run(&mut database.sink(log.path(), &["status"]));
        status.out.matches(", 0 events behind").count() == 2
    });
    kill_process(Pid::from_child(backfill.child()), Signal::TERM).unwrap();
    let ended = backfill.ended();
    waiting.kill();
    assert_eq!(ended.code, 1, "{}{}", ended.out, ended.err);
    let written = database.written() - before;
    let left = ended.out.split(" written, and ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
    let is_told = ended.out.starts_with("interrupted: ") && ended.out.contains(&format!("of {written} events"));
    assert!(is_told && written > 0 && left != "0", "{}", ended.out);
    database.ask("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'");
    until("no lock is left", || database.ask("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == "0");
    let again = run(&mut database.sink(log.path(), &["backfill"]));
    assert_eq!(again.code, 0, "{}{}", again.out, again.err);
    assert!(again.out.contains(&format!(" of {left} events written")), "{left}: {}", again.out);
    assert!(again.err.contains(&format!("{left} of {left} events")), "{}", again.err);
    assert_same(&database, log.path());
}

/// The story: a statement takes too long, and the sink gives the connection up. The database goes on with it, and has the lock
/// of the partition for it. The sink must not take that for another sink.
#[test]
fn a_session_that_is_lost_gives_its_partition_to_the_next_one_of_its_process() {
    let database = Database::start();
    database.apply();
    let access = database.access();
    let (own, others) = (Sessions::default(), Sessions::default());
    let writer = Writer { process: 1, rest: 0 };
    let open = |sessions: &Sessions| Postgres::open(&access, sessions, writer).unwrap();
    let begin = Ok(Some(Place { next_seq: 0, chain: None }));
    let mut lost = open(&own);
    assert_eq!(lost.claim(0, 0), begin);
    assert_eq!(open(&others).claim(0, 0), Ok(None), "a session of another process is left alone");
    let mut next = open(&own);
    assert_eq!(next.claim(1, 0), begin, "nobody has it");
    let told = next.claim(0, 0);
    assert!(matches!(&told, Err(TargetError::Transient(why)) if why.contains("this process has lost")), "{told:?}");
    until("the lock is free", || next.claim(0, 0) == begin);
    assert!(matches!(lost.claim(0, 0), Err(TargetError::Transient(_))), "it was ended");
}

/// The story: a team puts a trigger on the table of events, which leaves some of them out.
#[test]
fn rows_that_something_swallows_stop_the_partition() {
    let (log, database) = (tempfile::tempdir().unwrap(), Database::start());
    database.apply();
    let served = serve(log.path());
    let mut traffic = Traffic::new(&served.url, 72);
    let sink = Running::start(&mut database.sink(log.path(), &["--sink-batch-ms", "100"]));
    until("something is written", || database.written() > 0);
    database.ask(
        "CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
         CREATE TRIGGER few BEFORE INSERT ON events FOR EACH ROW WHEN (NEW.partition = 1) EXECUTE FUNCTION swallow()",
    );
    until("the partition has stopped", || {
        traffic.calls(10);
        let stopped = database.ask("SELECT stopped FROM sink_positions WHERE partition = 1");
        stopped.contains("the database took 0: something changes what is written into events")
    });
    let counted = "SELECT sum(row_count) = (SELECT count(*) FROM events) FROM sink_positions";
    assert_eq!(database.ask(counted), "t", "nothing of the batch is written");
    served.running.terminate();
    assert!(sink.terminate().err.contains("the database took 0"));
    let refused = run(&mut database.sink(log.path(), &["backfill"]));
    assert!(refused.code == 1 && refused.err.contains("events has the trigger few"), "{}", refused.err);
    database.ask("DROP TRIGGER few ON events");
    assert_rest(&database, log.path());
}

/// Whatever changes, refuses or loses rows is a difference.
#[test]
fn what_somebody_has_put_on_a_table_is_refused_by_name() {
    let database = Database::start();
    database.apply();
    database.ask(
        "CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
         CREATE TRIGGER every AFTER INSERT ON events FOR EACH ROW EXECUTE FUNCTION nothing();
         CREATE UNIQUE INDEX once ON events (command_id); ALTER TABLE pools ADD CONSTRAINT few CHECK (version < 9);
         CREATE RULE none AS ON UPDATE TO pools DO INSTEAD NOTHING; ALTER TABLE sink_set_aside SET UNLOGGED;
         CREATE TABLE own (reservation text REFERENCES reservations); CREATE INDEX ours ON events (order_ref)",
    );
    let plan = run(&mut database.sink(nowhere(), &["plan"]));
    let expected = "refused: events has the trigger every, which may add, change or refuse rows: drop it
refused: events has the unique index once, which may add, change or refuse rows: drop it
refused: pools has the check few, which may add, change or refuse rows: drop it
refused: pools has the rule none, which may add, change or refuse rows: drop it
refused: reservations has the foreign key own_reservation_fkey of own, which may add, change or refuse rows: drop it
refused: sink_set_aside is UNLOGGED and may lose its rows: ALTER TABLE sink_set_aside SET LOGGED
";
    assert_eq!((plan.code, &*plan.out), (1, expected), "{}", plan.err);
}

/// The story: a team divides the events, and puts a trigger on one part of them. Planners of an area may see no others, and a
/// copy of old pools hangs below the table of pools, where every question finds it.
#[test]
fn what_hides_rows_or_adds_some_is_refused_and_so_is_what_is_put_on_a_part() {
    let database = Database::start();
    database.apply();
    database.ask(
        "CREATE TABLE halves (LIKE events) PARTITION BY LIST (partition); ALTER TABLE halves ADD PRIMARY KEY (partition, seq);
         DROP TABLE events CASCADE; ALTER TABLE halves RENAME TO events;
         CREATE TABLE first PARTITION OF events FOR VALUES IN (0);
         CREATE UNLOGGED TABLE second PARTITION OF events FOR VALUES IN (1)",
    );
    let plan = |user: &str| run(&mut database.sink_as(user, nowhere(), &["plan"]));
    let first = plan("analyst");
    assert!(
        first.out.starts_with("refused: second is UNLOGGED and may lose its rows: ALTER TABLE second "),
        "{}",
        first.out
    );
    database.ask("ALTER TABLE second SET LOGGED");
    database.apply();
    database.ask(
        "CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
         CREATE TRIGGER one BEFORE INSERT ON second FOR EACH ROW EXECUTE FUNCTION nothing();
         CREATE TRIGGER every BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION nothing();
         CREATE TABLE old () INHERITS (pools); ALTER TABLE reservations ENABLE ROW LEVEL SECURITY;
         CREATE ROLE clerk LOGIN; GRANT USAGE ON SCHEMA headroom TO clerk;
         GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA headroom TO clerk",
    );
    let common = "refused: events has the trigger every, which may add, change or refuse rows: drop it
refused: events has the trigger one of its part second, which may add, change or refuse rows: drop it
refused: pools has the child table old, which may add, change or refuse rows: drop it
";
    let owner = plan("analyst");
    assert_eq!((owner.code, &*owner.out), (1, common), "no policy holds for the owner: {}", owner.err);
    let clerk = plan("clerk");
    let hidden =
        "refused: reservations has row security for this user, which may add, change or refuse rows: drop it\n";
    assert_eq!((clerk.code, clerk.out), (1, format!("{common}{hidden}")), "{}", clerk.err);
}

/// The story: an index of a team's own divides by zero at the fourth event, which nobody can see in it. A backfill at night ends, and who
/// asks for the status in the morning hears that the partition is behind, and not why.
#[test]
fn what_the_database_said_when_a_backfill_ended_stands_in_the_status() {
    let (log, database) = (tempfile::tempdir().unwrap(), Database::start());
    database.apply();
    let mut writing = Writing::new(9);
    (0..5).for_each(|_| writing.accept(9));
    writing.write(log.path());
    database.ask("CREATE INDEX few ON events ((1 / (seq - 3)))");
    let run = |command: &str| run(&mut database.sink(log.path(), &[command]));
    let ended = run("backfill");
    let told = "the database says: division by zero (22012)";
    assert!(ended.code == 1 && ended.err.contains(told), "{}", ended.err);
    assert_eq!(database.ask("SELECT count(*) FROM events"), "0", "nothing of the batch is written");
    let status = run("status");
    let is_last = |line: &str| line.starts_with("partition 0: last failure ") && line.ends_with(told);
    assert!(status.out.lines().any(is_last), "{}{}", status.out, status.err);
    database.ask("DROP INDEX few");
    assert_eq!(run("backfill").code, 0);
    assert_eq!(database.ask("SELECT count(*) FROM events"), "7");
}

/// Tables of a pool with this many orders.
fn written(database: &Database, log: &Path) {
    database.apply();
    let mut writing = Writing::new(9);
    (0..5).for_each(|_| writing.accept(9));
    writing.write(log);
    assert_eq!(run(&mut database.sink(log, &["backfill"])).code, 0);
}

/// The story: somebody deletes old events to save room, and makes the reservations anew. What followed from those events would
/// be gone as well.
#[test]
fn a_rebuild_without_all_events_is_refused_unless_it_is_asked_for() {
    let (log, database) = (tempfile::tempdir().unwrap(), Database::start());
    written(&database, log.path());
    let count = || database.ask("SELECT count(*) FROM reservations");
    database.ask("DELETE FROM events WHERE seq < 4");
    let refused = run(&mut database.sink(nowhere(), &["rebuild"]));
    assert!(refused.code == 1 && refused.err.contains("partition 0 has 3 of 7 rows"), "{}", refused.err);
    assert_eq!(count(), "5");
    let partial = run(&mut database.sink(nowhere(), &["rebuild", "--partial"]));
    assert_eq!(
        (partial.code, &*partial.out),
        (0, "reservations, pools and pool_lives are made anew from 3 rows of events\n")
    );
    assert_eq!(count(), "3");
}

/// The story: somebody drops the table of reservations, and `apply` makes an empty one.
#[test]
fn a_table_that_is_made_anew_beside_events_asks_for_a_rebuild() {
    let (log, database) = (tempfile::tempdir().unwrap(), Database::start());
    written(&database, log.path());
    let before = database.ask("SELECT * FROM reservations ORDER BY 1");
    database.ask("DROP TABLE reservations CASCADE");
    let incomplete = "reservations is incomplete until headroom sink rebuild has made it anew from events\n";
    // What is left for a rebuild keeps no sink from being started, so `apply` is done.
    for (command, code) in [("plan", 1), ("apply", 0), ("apply", 0), ("plan", 1), ("status", 1)] {
        let ended = run(&mut database.sink(log.path(), &[command]));
        assert!(ended.code == code && ended.out.contains(incomplete), "{command}: {}{}", ended.out, ended.err);
    }
    assert_eq!(run(&mut database.sink(log.path(), &["backfill"])).code, 0, "sinks go on");
    assert_eq!(run(&mut database.sink(nowhere(), &["rebuild"])).code, 0);
    assert_eq!(database.ask("SELECT * FROM reservations ORDER BY 1"), before);
    for command in ["apply", "plan"] {
        let ended = run(&mut database.sink(nowhere(), &[command]));
        assert_eq!((ended.code, &*ended.out), (0, "the tables are as they should be\n"), "{command}");
    }
    assert_eq!(run(&mut database.sink(log.path(), &["status"])).code, 0);
}

/// The story: somebody has dropped a column, or deleted the events to save room and dropped a table. What `apply` makes again has
/// no values, and answers that rest on it say so.
#[test]
fn what_is_made_again_without_its_values_is_incomplete() {
    let (log, database) = (tempfile::tempdir().unwrap(), Database::start());
    written(&database, log.path());
    let before = database.ask("SELECT reservation, key, demand FROM reservations ORDER BY 1");
    let incomplete = "reservations is incomplete until headroom sink rebuild has made it anew from events\n";
    let lost_demand = || {
        let mut ask = headroom(["lost-demand", "--from", "2126-11-21", "--to", "2126-11-21"]);
        run(ask.env("HEADROOM_SINK_DATABASE", database.url()))
    };
    database.ask("ALTER TABLE reservations DROP COLUMN demand CASCADE, DROP COLUMN key CASCADE");
    let planned = run(&mut database.sink(nowhere(), &["plan"]));
    let named = planned.out.matches(incomplete).count();
    assert_eq!((planned.code, named), (1, 1), "plan names it as well, once: {}", planned.out);
    let applied = run(&mut database.sink(nowhere(), &["apply"]));
    assert!(applied.code == 0 && applied.out.contains(incomplete), "{}{}", applied.out, applied.err);
    let told = lost_demand();
    assert!(told.code == 1 && told.out.starts_with(incomplete), "{}{}", told.out, told.err);
    assert_eq!(run(&mut database.sink(nowhere(), &["rebuild"])).code, 0);
    assert_eq!(database.ask("SELECT reservation, key, demand FROM reservations ORDER BY 1"), before);
    assert_eq!(lost_demand().code, 0);
    database.ask("DELETE FROM events; DROP TABLE reservations CASCADE");
    for (command, code) in [("apply", 0), ("status", 1)] {
        let ended = run(&mut database.sink(log.path(), &[command]));
        assert!(ended.code == code && ended.out.contains(incomplete), "{command}: {}{}", ended.out, ended.err);
    }
}

/// The story: somebody drops a column of the events, from which the other tables are made. Nothing brings its values back.
#[test]
fn a_column_of_the_events_that_is_gone_is_not_made_anew() {
    let (log, database) = (tempfile::tempdir().unwrap(), Database::start());
    written(&database, log.path());
    let demand = || database.ask("SELECT reservation, demand FROM reservations ORDER BY 1");
    let before = demand();
    database.ask("ALTER TABLE events DROP COLUMN demand CASCADE");
    let why = "events has no column demand, and its rows had values in it: begin anew in another sink_schema";
    for command in ["plan", "apply", "backfill", "rebuild"] {
        let refused = run(&mut database.sink(log.path(), &[command]));
        assert!(refused.code == 1 && (refused.out + &refused.err).contains(why), "{command}");
    }
    assert_eq!(demand(), before);
    // As long as there are no rows, nothing is lost.
    database.ask("TRUNCATE events, reservations, pools, pool_lives, sink_positions");
    database.apply();
}

/// The story: somebody makes the ids of pools easier to find. Then one pool takes the place of another.
#[test]
fn a_key_that_takes_texts_that_differ_for_the_same_is_refused() {
    let database = Database::start();
    database.apply();
    database.ask(
        "CREATE COLLATION alike (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
         DO $$ DECLARE view record; BEGIN FOR view IN SELECT relname FROM pg_class WHERE relkind = 'v' AND relnamespace =
             'headroom'::regnamespace LOOP EXECUTE format('DROP VIEW IF EXISTS %I CASCADE', view.relname); END LOOP; END $$;
         ALTER TABLE pools ALTER COLUMN pool TYPE text COLLATE alike,
                           ALTER COLUMN retire_cause TYPE text COLLATE alike",
    );
    let plan = run(&mut database.sink(nowhere(), &["plan"]));
    let refused: Vec<&str> = plan.out.lines().filter(|line| line.starts_with("refused: ")).collect();
    let told = "refused: pools.pool has the collation alike, which takes texts that differ for the same";
    assert!(plan.code == 1 && refused.len() == 1 && refused[0].starts_with(told), "{}", plan.out);
    database.ask("ALTER TABLE pools ALTER COLUMN pool TYPE text COLLATE \"default\"");
    database.apply();
}

/// The story: tables are begun with a late event, to have something today. What was refused before it is not in them, and whoever asks
/// for lost demand is told so.
#[test]
fn lost_demand_of_tables_that_were_begun_late_says_so() {
    let (log, database) = (tempfile::tempdir().unwrap(), Database::start());
    database.apply();
    let mut writing = Writing::new(9);
    (0..5).for_each(|_| writing.accept(9));
    writing.write(log.path());
    let lost_demand = || {
        let mut ask = headroom(["lost-demand", "--from", "2126-11-21", "--to", "2126-11-21"]);
        let told = run(ask.env("HEADROOM_SINK_DATABASE", database.url()));
        assert_eq!(told.code, 0, "{}", told.err);
        told.out
    };
    assert!(lost_demand().starts_with("slot day "));
    assert_eq!(run(&mut database.sink(log.path(), &["backfill", "--from", "3"])).code, 0);
    let lacks = "the tables lack the first events of 1 partition: what was refused before 1970-01-01 00:00:00.000001+00 is not all \
                 counted\nslot day ";
    assert!(lost_demand().starts_with(lacks), "{}", lost_demand());
    database.ask("DELETE FROM events");
    let lacks = "the tables lack the first events of 1 partition, and nothing says yet since when they have all: what was refused is \
                 not all counted\nslot day ";
    assert!(lost_demand().starts_with(lacks), "{}", lost_demand());
}

/// For a program: an object for each partition, also of one that has stopped or was never begun.
#[test]
fn the_status_is_json_for_programs() {
    let (log, database) = (tempfile::tempdir().unwrap(), Database::start());
    database.apply();
    let mut writing = Writing::new(9);
    writing.accept(9);
    writing.add_garbage();
    writing.write(log.path());
    let status = || {
        let ended = run(&mut database.sink(log.path(), &["status", "--json"]));
        (ended.code, serde_json::from_str::<Value>(&ended.out).unwrap())
    };
    let (code, mut unwritten) = status();
    assert!(unwritten["behind_seconds"].take().is_u64(), "its first event waits");
    let expected = json!({
        "partition": 0, "next_seq": null, "first_seq": null, "log_end": 4, "behind_events": 4, "behind_seconds": null, "last_batch_seconds_ago": null,
        "rows": 0, "set_aside": 0, "last_failure": null, "last_failure_seconds_ago": null, "stopped": null
    });
    assert_eq!((code, unwritten), (0, expected));
    assert_eq!(run(&mut database.sink(log.path(), &["backfill"])).code, 1);
    let (code, stopped) = status();
    let is_told = stopped["stopped"].as_str().is_some_and(|why| why.starts_with("seq 3 cannot be read: "));
    assert!(code == 1 && is_told, "{stopped}");
    assert_eq!(["next_seq", "first_seq", "behind_events", "rows"].map(|name| &stopped[name]), [3, 0, 1, 3]);
    assert!(stopped["last_batch_seconds_ago"].is_i64(), "{stopped}");
}

/// The story: the database takes a connection and says nothing, and somebody stops the backfill. It has counted nothing yet.
#[test]
fn a_backfill_that_is_interrupted_before_it_has_counted_does_not_say_that_nothing_is_left() {
    let log = tempfile::tempdir().unwrap();
    Writing::new(9).write(log.path());
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("postgresql://analyst@{}/postgres", silent.local_addr().unwrap());
    let mut backfill = headroom(["sink", "backfill"]);
    let backfill = Running::start(backfill.env("HEADROOM_SINK_DATABASE", url).env("HEADROOM_DATA_DIR", log.path()));
    let connection = silent.accept().unwrap();
    kill_process(Pid::from_child(backfill.child()), Signal::TERM).unwrap();
    drop((connection, silent));
    let ended = backfill.ended();
    let told = "interrupted before anything was counted or written; the same command begins again\n";
    assert_eq!((ended.code, &*ended.out), (1, told), "{}", ended.err);
}

/// Without these tables a sink would leave rows out, or write them twice.
#[test]
fn a_table_of_events_or_positions_that_is_gone_is_not_made_anew() {
    let (log, database) = (tempfile::tempdir().unwrap(), Database::start());
    written(&database, log.path());
    for gone in ["sink_positions", "events"] {
        database.ask(&format!("ALTER TABLE {gone} RENAME TO away"));
        let plan = run(&mut database.sink(nowhere(), &["plan"]));
        let why = format!("refused: {gone} is gone, and rows were written: begin anew in another sink_schema\n");
        assert!(plan.code == 1 && plan.out.contains(&why), "{}{}", plan.out, plan.err);
        database.ask(&format!("ALTER TABLE away RENAME TO {gone}"));
    }
}

#[test]
fn a_database_that_has_not_all_letters_is_refused() {
    let database = Database::start();
    database.ask("CREATE DATABASE latin ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0");
    let url = database.url().replace("/postgres", "/latin");
    let refused = run(database.sink(nowhere(), &["plan"]).env("HEADROOM_SINK_DATABASE", url));
    assert!(refused.code == 1 && refused.err.contains("make one with ENCODING 'UTF8'"), "{}", refused.err);
}

/// How far a partition is behind in time is the age of the oldest event that is not written: a pause before it counts for nothing.
#[test]
fn the_status_says_how_far_a_partition_is_behind() {
    let (log, database) = (tempfile::tempdir().unwrap(), Database::start());
    database.apply();
    let clock = Arc::new(ManualClock::at(Micros(SystemClock::new().wall().0 - 300_000_000)));
    let define = |pool: &str| {
        let server = Server::start(log.path(), 1, Arc::clone(&clock) as _);
        server.pool(pool, 9);
    };
    let backfill = || assert_eq!(run(&mut database.sink(log.path(), &["backfill"])).code, 0);
    let behind = || {
        let status = run(&mut database.sink(log.path(), &["status"]));
        let seconds = status.out.split_once(" and ").and_then(|(_, rest)| rest.split_once(" s behind, last batch "));
        seconds.unwrap_or_else(|| panic!("{}{}", status.out, status.err)).0.parse::<u64>().unwrap()
    };
    define("van-1");
    backfill();
    clock.pass_ms(100_000);
    define("van-2");
    clock.pass_ms(100_000);
    define("van-3");
    let seconds = behind();
    assert!((200..300).contains(&seconds), "that of van-2 is the oldest: {seconds}");
    backfill();
    clock.pass_ms(100_000);
    define("van-4");
    let seconds = behind();
    assert!(seconds < 100, "a pause is no lag: {seconds}");
}

/// Whoever sets a place up is told what is missing, and not what a library makes of it.
#[test]
fn a_place_that_cannot_be_reached_is_named_with_what_to_do() {
    let log = tempfile::tempdir().unwrap();
    Writing::new(9).write(log.path());
    let status = |place: &str| {
        let mut command = headroom(["sink", "status", "--sink-files", place]);
        command.env("AWS_ACCESS_KEY_ID", "key").env("AWS_SECRET_ACCESS_KEY", "secret");
        command.env("AWS_ENDPOINT_URL", "http://127.0.0.1:9").env("HEADROOM_DATA_DIR", log.path());
        let ended = run(&mut command);
        assert_ne!(ended.code, 0, "{}", ended.out);
        ended.err
    };
    let plain = status("s3://bucket/prefix");
    assert!(
        plain.contains("AWS_ENDPOINT_URL begins with http://: set AWS_ALLOW_HTTP=true, or name an https:// URL"),
        "{plain}"
    );
    let folder = status("file:///nonexistent/lake");
    assert!(folder.contains("file:///nonexistent/lake: ") && folder.contains(": there is no such folder"), "{folder}");
}

/// The story: somebody deletes an event and copies one of another log to the end. The numbers of rows are equal.
#[test]
fn rows_that_no_sink_wrote_do_not_stand_for_rows_that_are_gone() {
    let (log, database) = (tempfile::tempdir().unwrap(), Database::start());
    written(&database, log.path());
    database.ask(
        "CREATE TABLE kept AS SELECT * FROM events WHERE seq = 3; DELETE FROM events WHERE seq = 3;
         UPDATE kept SET seq = 70; INSERT INTO events SELECT * FROM kept;
         UPDATE kept SET partition = 5; INSERT INTO events SELECT * FROM kept",
    );
    let refused = run(&mut database.sink(nowhere(), &["rebuild"]));
    let named = "partition 0 has 6 of 7 rows, partition 0 has rows that no sink wrote: 1, \
                 partition 5 has rows that no sink wrote: 1. ";
    assert!(refused.code == 1 && refused.err.contains(named), "{}", refused.err);
}

/// The story: somebody empties sink_positions to have all written anew. The events are there already.
#[test]
fn a_partition_whose_position_is_gone_is_not_begun_anew() {
    let (log, database) = (tempfile::tempdir().unwrap(), Database::start());
    written(&database, log.path());
    database.ask("CREATE TABLE kept AS SELECT * FROM sink_positions; DELETE FROM sink_positions");
    let why = "sink_positions has no row of partition 0, and events has rows of it: bring that row back, or begin anew in another \
               sink_schema";
    let is_refused = |why: &str| {
        let backfill = run(&mut database.sink(log.path(), &["backfill"]));
        assert!(backfill.code == 1 && (backfill.out + &backfill.err).contains(why));
        let status = run(&mut database.sink(log.path(), &["status"]));
        assert!(status.code == 1 && status.out.contains(&format!("partition 0: stopped: {why}")), "{}", status.out);
    };
    is_refused(why);
    // Nothing of the partition could be read but one event, which was set aside.
    database.ask(
        "CREATE TABLE rows AS SELECT * FROM events; DELETE FROM events;
         INSERT INTO sink_set_aside VALUES (0, 3, 'unknown', '6e6f', now())",
    );
    is_refused(&why.replace("events has", "sink_set_aside has"));
    database.ask(
        "DELETE FROM sink_set_aside; INSERT INTO events SELECT * FROM rows; INSERT INTO sink_positions SELECT * FROM kept",
    );
    assert_eq!(run(&mut database.sink(log.path(), &["backfill"])).code, 0);
}

/// The story: `plan` says that all is well, and then the sink fails with its first batch.
#[test]
fn a_plan_names_the_rights_that_are_missing() {
    let database = Database::start();
    database.ask("CREATE ROLE clerk LOGIN");
    let plan = |user: &str| {
        let ended = run(&mut database.sink_as(user, nowhere(), &["plan"]));
        let refused = ended.out.lines().filter_map(|line| line.strip_prefix("refused: ")).map(str::to_owned);
        (ended.code, refused.collect::<Vec<_>>())
    };
    assert_eq!(plan("clerk"), (1, vec!["this user lacks the right CREATE for the schema headroom".to_owned()]));
    database.apply();
    database.ask(
        "GRANT USAGE ON SCHEMA headroom TO clerk; GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA headroom TO clerk",
    );
    let no_rebuild =
        ["pool_lives", "pools", "reservations"].map(|table| format!("this user lacks the rights DELETE for {table}"));
    assert_eq!(plan("clerk"), (1, no_rebuild.to_vec()));
    let rebuild = |args: &[&str]| run(&mut database.sink_as("clerk", nowhere(), args));
    let refused = rebuild(&["rebuild"]);
    assert!(refused.code == 1 && refused.err.contains(&no_rebuild.join("; ")), "{}", refused.err);
    database.ask("GRANT DELETE ON pool_lives, pools, reservations TO clerk");
    let refused = rebuild(&["rebuild"]);
    assert!(refused.code == 1 && refused.err.contains("pools belongs to another user"), "{}", refused.err);
    assert_eq!((plan("clerk"), rebuild(&["rebuild", "--in-place"]).code), ((0, vec![]), 0));
    database.ask(
        "REVOKE INSERT, UPDATE ON events FROM clerk; ALTER TABLE pools DROP COLUMN labels CASCADE; \
         CREATE TABLE theirs (a int)",
    );
    let missing = [
        "this user lacks the right CREATE for the schema headroom",
        "this user lacks the rights INSERT for events",
        "pools belongs to another user, who alone can change it",
    ];
    assert_eq!(plan("clerk"), (1, missing.map(str::to_owned).to_vec()));
    database.apply();
    database.ask("ALTER DATABASE postgres SET default_transaction_read_only = on");
    let (code, refused) = plan("analyst");
    assert!(code == 1 && refused[0].starts_with("the database takes no writes"), "{refused:?}");
}

/// The story: a right is revoked, and the sink says that the tables are gone. Somebody makes them anew.
#[test]
fn a_schema_that_this_user_may_not_look_into_is_named_and_no_table_is_said_to_be_gone() {
    let (database, log) = (Database::start(), tempfile::tempdir().unwrap());
    written(&database, log.path());
    database.ask("CREATE ROLE clerk LOGIN; GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA headroom TO clerk");
    for what in ["status", "backfill"] {
        let refused = run(&mut database.sink_as("clerk", log.path(), &[what]));
        let says = "this user lacks the right USAGE for the schema headroom";
        assert!(refused.code != 0 && refused.err.contains(says), "{what}: {}{}", refused.out, refused.err);
        assert!(!refused.err.contains("does not exist"), "{what}: {}", refused.err);
    }
}

#[test]
fn settings_of_a_database_that_change_how_it_tells_names_and_times_are_no_differences() {
    let database = Database::start();
    database.apply();
    for setting in ["quote_all_identifiers = on", "intervalstyle = 'sql_standard'"] {
        database.ask(&format!("ALTER DATABASE postgres SET {setting}"));
    }
    let planned = run(&mut database.sink_as("analyst", nowhere(), &["plan"]));
    assert_eq!(planned.code, 0, "{}{}", planned.out, planned.err);
}
