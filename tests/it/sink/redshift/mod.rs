//! `headroom sink` into Amazon Redshift, which a test cannot have: a proxy takes of SQL what Redshift does, and reads what is
//! copied from a real store. The tables are compared with those that the sink writes into a PostgreSQL from the same log.

mod broken;
mod dialect;
mod proxy;

use super::postgres::Database;
use super::samples::{a_small_day, samples};
use super::traffic::Traffic;
use super::{assert_same, serve, two_lives};
use crate::cli::handwritten_logs::Writing;
use crate::process::{headroom, run};
use crate::wait::until;
#[cfg(feature = "crash-points")]
pub use broken::is_whole_after_each_death;
use dialect::is_reserved;
use headroom::domain::Micros;
use headroom::sink::postgres::{Database as SinkDatabase, Dialect, VIEWS, tables};
pub use proxy::Redshift;
use std::path::Path;

const TABLES: &[&str] = &["events", "reservations", "pools", "pool_lives"];

fn nowhere() -> &'static Path {
    Path::new("/nonexistent")
}

/// A PostgreSQL with everything that a stopped server's log has.
fn postgres_of(log: &Path) -> Database {
    let database = Database::start();
    database.apply();
    let ended = run(&mut database.sink(log, &["backfill"]));
    assert_eq!(ended.code, 0, "{}", ended.err);
    // Then what is compared with it has the sums of the state as well.
    assert_same(&database, log);
    database
}

/// The rows of a table or a view in both, in the types that PostgreSQL has.
fn both(postgres: &Database, redshift: &Redshift, name: &str) -> (String, String) {
    let columns = postgres.ask(&format!(
        "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute
         WHERE attrelid = '{name}'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum"
    ));
    let columns: Vec<(&str, &str)> = columns.lines().map(|line| line.split_once('|').unwrap()).collect();
    let own: Vec<String> = columns
        .iter()
        .map(|(name, of)| match *of {
            "interval" => format!("extract(epoch FROM \"{name}\")::numeric(18, 6)"),
            _ => format!("\"{name}\""),
        })
        .collect();
    let cast: Vec<String> = columns
        .iter()
        .map(|(name, of)| match *of {
            "text[]" => format!(
                "CASE WHEN \"{name}\" IS NOT NULL THEN ARRAY(SELECT jsonb_array_elements_text(\"{name}\"::jsonb)) END"
            ),
            "interval" => format!("\"{name}\"::numeric(18, 6)"),
            of => format!("\"{name}\"::{of}"),
        })
        .collect();
    let ask = |database: &Database, columns: &[String]| {
        let mut rows: Vec<String> =
            database.ask(&format!("SELECT {} FROM {name}", columns.join(", "))).lines().map(str::to_owned).collect();
        rows.sort();
        rows.join("\n")
    };
    (ask(postgres, &own), ask(&redshift.tables, &cast))
}

/// Whether both have the same rows, each once, and views that say the same.
#[track_caller]
fn assert_alike(postgres: &Database, redshift: &Redshift) {
    for name in TABLES.iter().copied().chain(VIEWS.iter().map(|view| view.name)) {
        // How long a slot has been sold out depends on when it is asked.
        let goes_on = "SELECT 1 FROM pools WHERE COALESCE(window_end, 'infinity') > now()";
        let is_now = name == "sold_out" && !postgres.ask(goes_on).is_empty();
        if !is_now {
            let (own, found) = both(postgres, redshift, name);
            assert_eq!(found, own, "{name}");
        }
    }
    let positions =
        "SELECT partition, next_seq, first_seq, chain, row_count, set_aside, decided_until FROM sink_positions
        ORDER BY partition";
    assert_eq!(redshift.tables.ask(positions), postgres.ask(positions));
}

/// Writes what is left of a stopped server's log; then the tables hold all of it. Answers the PostgreSQL that says so.
#[track_caller]
fn assert_rest(redshift: &Redshift, log: &Path) -> Database {
    redshift.writers_are_gone();
    let ended = run(&mut redshift.sink(log, &["backfill"]));
    assert_eq!(ended.code, 0, "{}", ended.err);
    let postgres = postgres_of(log);
    assert_alike(&postgres, redshift);
    postgres
}

/// The story: an analyst moves from a PostgreSQL to a Redshift. Every table and every view says the same, and so does the
/// answer to each of the ten questions.
#[test]
fn tables_views_and_answers_are_those_of_postgresql() {
    let (log, redshift) = (tempfile::tempdir().unwrap(), Redshift::start());
    a_small_day(log.path());
    let plan = run(&mut redshift.sink(nowhere(), &["plan"]));
    assert!(plan.code == 0 && plan.out.contains("create table decision_units\n"), "{}{}", plan.out, plan.err);
    redshift.apply();
    for command in ["plan", "apply"] {
        let again = run(&mut redshift.sink(nowhere(), &[command]));
        assert_eq!((again.code, &*again.out), (0, "the tables are as they should be\n"), "{}", again.err);
    }
    let ended = run(&mut redshift.sink(log.path(), &["backfill"]));
    assert_eq!(ended.code, 0, "{}{}", ended.out, ended.err);
    let postgres = postgres_of(log.path());
    assert_alike(&postgres, &redshift);
    assert_eq!(redshift.bucket.objects("staged"), [], "what was copied is deleted");
    for (question, query) in samples() {
        // In Redshift a lead time is a number of seconds.
        let query = query.replace(", lead_time", "");
        let asked = redshift.ask(&query).unwrap_or_else(|error| panic!("{question}: {error}"));
        let json = |text: String| text.replace(": ", ":").replace(", ", ",");
        assert_eq!(json(asked), json(postgres.ask(&query)), "{question}");
    }
    let lost = |mut command: std::process::Command| {
        let ended = run(command.args(["--from", "2025-11-22", "--to", "2025-11-22", "--raise", "2"]));
        assert_eq!(ended.code, 0, "{}", ended.err);
        ended.out
    };
    for area in [&[][..], &["--area", "SG-01"]] {
        let mut own = headroom(["lost-demand"]);
        own.args(area).env("HEADROOM_SINK_DATABASE", postgres.url());
        let told = lost(own);
        assert!(told.contains("van-am over_limit orders: 2 keys, 2 units, 1 elsewhere; 2\n"), "{told}");
        assert_eq!(lost(redshift.command("lost-demand", area)), told, "{area:?}");
    }
    let mistyped =
        run(redshift.command("lost-demand", &["--area", "SG-02"]).args(["--from", "2025-11-22", "--to", "2025-11-22"]));
    assert_eq!((mistyped.code, &*mistyped.err), (1, "headroom: no pool has the area SG-02\n"));
    let nothing = run(&mut redshift.sink(log.path(), &["backfill"]));
    assert_eq!((nothing.code, &*nothing.out), (0, "0 rows of 0 events written\n"), "{}", nothing.err);
    let status = run(&mut redshift.sink(log.path(), &["status"]));
    assert!(status.code == 0 && status.out.contains(", 0 events behind, last batch "), "{}{}", status.out, status.err);
}

/// Every kind of call, many batches, and then both tables that follow from the events made anew from them.
#[test]
fn tables_of_busy_pools_are_those_of_postgresql_and_can_be_made_anew() {
    let (log, redshift) = (tempfile::tempdir().unwrap(), Redshift::start());
    redshift.apply();
    let served = serve(log.path());
    let mut traffic = Traffic::new(&served.url, 41);
    for _ in 0..5 {
        traffic.calls(60);
        let ended = run(&mut redshift.sink(log.path(), &["backfill"]));
        assert_eq!(ended.code, 0, "{}{}", ended.out, ended.err);
    }
    served.running.terminate();
    let postgres = assert_rest(&redshift, log.path());
    redshift
        .tables
        .ask("UPDATE reservations SET status = 'held', key = 'x'; DELETE FROM pools WHERE pool < 'slot-41-4'");
    let (own, found) = both(&postgres, &redshift, "reservations");
    assert_ne!(found, own);
    let rebuilt = run(&mut redshift.sink(nowhere(), &["rebuild"]));
    assert_eq!(rebuilt.code, 0, "{}", rebuilt.err);
    assert_alike(&postgres, &redshift);
    // A statement reads a bounded number of events, so that it ends in time however many a partition has.
    const PIECE: u64 = 7;
    // Besides those of its own place, a reservation may have that of the end of its pool.
    const DELETED: u64 = 40;
    redshift.tables.ask(&format!(
        "UPDATE reservations SET status = 'held', key = 'x'; DELETE FROM pools; UPDATE reservations SET seq = seq + 1000000
             WHERE reservation IN (SELECT reservation FROM reservations LIMIT 9);
         CREATE FUNCTION few() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             IF (SELECT count(*) FROM gone) > {DELETED} THEN RAISE 'too many rows at once'; END IF; RETURN NULL; END $$;
         CREATE TRIGGER few AFTER DELETE ON reservations REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION few()"
    ));
    let count: u64 = redshift.tables.ask("SELECT count(*) FROM reservations").parse().unwrap();
    assert!(count > 2 * DELETED, "{count} reservations");
    let (mut pieces, mut events) = (0, 0);
    let piece = |count| {
        assert!((1..=PIECE).contains(&count), "{count} events at once");
        (pieces, events) = (pieces + 1, events + count);
    };
    SinkDatabase::connect(&redshift.access()).unwrap().rebuild_by(PIECE, piece).unwrap();
    assert_eq!(events, redshift.tables.written());
    assert!(pieces >= events / PIECE, "{pieces} pieces");
    assert_alike(&postgres, &redshift);
}

/// The documentation of Redshift lists words that are names only in quotes. Who writes a query has to know which of ours are.
#[test]
fn names_that_need_quotes_are_the_documented_ones() {
    let redshift = Redshift::start();
    redshift.apply();
    let names = redshift.tables.ask(
        "SELECT relname FROM pg_class WHERE relnamespace = 'headroom'::regnamespace
         UNION SELECT attname FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
         WHERE relnamespace = 'headroom'::regnamespace AND attnum > 0 ORDER BY 1",
    );
    for table in tables(Dialect::Redshift) {
        assert!(names.lines().any(|name| name == table.name), "{}", table.name);
        assert!(table.columns.iter().all(|column| names.lines().any(|name| name == column.name)), "{}", table.name);
    }
    let reserved: Vec<&str> = names.lines().filter(|name| is_reserved(name)).collect();
    assert_eq!(reserved, ["open", "partition"], "src/sink/README.md names them");
}

/// A pool that lives again has the same rows, and a key that is used again the same reservation.
#[test]
fn a_second_life_of_a_pool_is_told_as_in_postgresql() {
    let (log, redshift) = (tempfile::tempdir().unwrap(), Redshift::start());
    redshift.apply();
    let mut postgres = None;
    two_lives(log.path(), || postgres = Some(assert_rest(&redshift, log.path())));
    let rebuilt = run(&mut redshift.sink(nowhere(), &["rebuild"]));
    assert_eq!(rebuilt.code, 0, "{}", rebuilt.err);
    assert_alike(&postgres.unwrap(), &redshift);
}

/// A clock that is set back moves the end of every live hold, without an event for each.
#[test]
fn holds_end_earlier_when_a_clock_was_set_back() {
    let (log, redshift) = (tempfile::tempdir().unwrap(), Redshift::start());
    redshift.apply();
    let mut writing = Writing::new(5);
    writing.hold(5, Micros(100_000_000));
    writing.set_clock_back(Micros(10_500_001));
    writing.hold(5, Micros(50_000_000));
    writing.accept(5);
    writing.set_clock_back(Micros(2_000_001));
    writing.write(log.path());
    assert_rest(&redshift, log.path());
    let ends = || redshift.tables.ask("SELECT hold_until FROM reservations WHERE status = 'held' ORDER BY 1");
    let expected = "1970-01-01 00:00:48+00\n1970-01-01 00:01:27.5+00";
    assert_eq!(ends(), expected);
    let rebuilt = run(&mut redshift.sink(nowhere(), &["rebuild"]));
    assert_eq!((rebuilt.code, &*ends()), (0, expected), "{}", rebuilt.err);
}

/// A table that somebody has changed is refused, and a column that an older version did not know is added.
#[test]
fn tables_are_changed_forward_or_refused() {
    let redshift = Redshift::start();
    redshift.apply();
    redshift.tables.ask("ALTER TABLE events DROP COLUMN trace_id CASCADE");
    let plan = run(&mut redshift.sink(nowhere(), &["plan"]));
    assert!(plan.out.contains("add column events.trace_id, character varying(1024)\n"), "{}", plan.out);
    redshift.apply();
    // Texts are counted in bytes there, and this one has 1,024 characters.
    let width = "SELECT character_maximum_length FROM information_schema.columns
        WHERE table_name = 'events' AND column_name = 'detail'";
    assert_eq!(redshift.tables.ask(width), "4096");
    redshift.tables.ask("ALTER TABLE sink_set_aside ALTER COLUMN seq TYPE integer");
    redshift.tables.ask("ALTER TABLE sink_positions DROP COLUMN claim");
    let plan = run(&mut redshift.sink(nowhere(), &["plan"]));
    let refused: Vec<&str> = plan.out.lines().filter_map(|line| line.strip_prefix("refused: ")).collect();
    let expected = ["sink_positions has no column claim", "sink_set_aside.seq has the type integer, not bigint"];
    assert_eq!((plan.code, &refused[..]), (1, &expected[..]), "{}", plan.out);
}

/// The story: a tool for reports keeps a table beside ours, and gives it the name of the report. From then on nobody could plan or
/// rebuild, and the status of the sink was an error.
#[test]
fn a_table_of_others_may_have_any_name() {
    let redshift = Redshift::start();
    redshift.apply();
    redshift.tables.ask("CREATE TABLE \"sales per day\" (a int)");
    for (command, told) in [("plan", "the tables are as they should be\n"), ("rebuild", "from 0 rows of events\n")] {
        let ended = run(&mut redshift.sink(nowhere(), &[command]));
        assert!(ended.code == 0 && ended.out.ends_with(told), "{command}: {}{}", ended.out, ended.err);
    }
}

/// Who may read a view may do so after an upgrade that changes its columns, and the views that use it.
#[test]
fn views_that_change_keep_the_rights_to_them() {
    let redshift = Redshift::start();
    redshift.apply();
    redshift.tables.ask(
        "CREATE ROLE reader; GRANT SELECT ON decisions, refusals TO reader; GRANT SELECT ON planner_edits TO PUBLIC;
         CREATE SCHEMA team; CREATE VIEW team.own AS SELECT pool FROM headroom.sold_out;
         ALTER VIEW decisions RENAME COLUMN outcome TO result; COMMENT ON VIEW decisions IS 'older [0000000000000000]';
         COMMENT ON VIEW pool_usage IS 'older [0000000000000000]'",
    );
    let may = || {
        redshift.tables.ask(
            "SELECT has_table_privilege('reader', 'decisions', 'SELECT'), has_table_privilege('reader', 'refusals', 'SELECT'),
                    has_table_privilege('reader', 'planner_edits', 'SELECT'), has_table_privilege('reader', 'lead_times', 'SELECT')",
        )
    };
    redshift.apply();
    assert_eq!(may(), "t|t|t|f");
    let again = run(&mut redshift.sink(nowhere(), &["apply"]));
    assert_eq!((again.code, &*again.out), (0, "the tables are as they should be\n"), "{}", again.err);
    redshift
        .tables
        .ask("ALTER VIEW sold_out RENAME COLUMN minutes TO m; COMMENT ON VIEW sold_out IS 'older [0000000000000000]'");
    for command in ["plan", "apply"] {
        let refused = run(&mut redshift.sink(nowhere(), &[command]));
        let is_told = refused.out.contains("refused: team.own uses the view sold_out, whose columns change.");
        assert!(refused.code == 1 && is_told, "{command}: {}{}", refused.out, refused.err);
    }
}

/// The story: `plan` says that all is well, and the sink fails with its first batch, or a rebuild in its middle.
#[test]
fn a_plan_names_the_rights_that_are_missing() {
    let redshift = Redshift::start();
    redshift.tables.ask("CREATE ROLE clerk LOGIN; REVOKE TEMP ON DATABASE postgres FROM PUBLIC");
    let sink = |command: &str| {
        let mut sink = redshift.sink(nowhere(), &[command]);
        let ended = run(sink.env("HEADROOM_SINK_DATABASE", redshift.url().replace("analyst", "clerk")));
        (ended.code, ended.out + &ended.err)
    };
    let refused = |told: &str| -> Vec<String> {
        told.lines().filter_map(|line| line.strip_prefix("refused: ")).map(str::to_owned).collect()
    };
    let (code, told) = sink("plan");
    let no_temp = "this user lacks the right TEMP for the database";
    let expected = [no_temp, "this user lacks the right CREATE for the schema headroom"];
    assert_eq!((code, &refused(&told)[..]), (1, &expected.map(str::to_owned)[..]), "{told}");
    redshift.apply();
    redshift
        .tables
        .ask("GRANT TEMP ON DATABASE postgres TO clerk; GRANT SELECT ON ALL TABLES IN SCHEMA headroom TO clerk");
    let (code, told) = sink("plan");
    let expected = ["this user lacks the right USAGE for the schema headroom"];
    assert_eq!((code, &refused(&told)[..]), (1, &expected.map(str::to_owned)[..]), "{told}");
    redshift
        .tables
        .ask("GRANT USAGE ON SCHEMA headroom TO clerk; GRANT INSERT ON events, sink_log, sink_set_aside TO clerk");
    let (code, told) = sink("plan");
    let expected = [
        "this user lacks the rights INSERT for decision_units",
        "this user lacks the rights INSERT, UPDATE, DELETE for pool_lives",
        "this user lacks the rights INSERT, UPDATE, DELETE for pools",
        "this user lacks the rights INSERT, UPDATE, DELETE for reservations",
        "this user lacks the rights UPDATE for sink_log",
        "this user lacks the rights INSERT, UPDATE for sink_positions",
    ];
    assert_eq!((code, &refused(&told)[..]), (1, &expected.map(str::to_owned)[..]), "{told}");
    let (code, told) = sink("rebuild");
    assert!(code == 1 && told.contains(&expected.join("; ")), "{told}");
    redshift.tables.ask("GRANT INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA headroom TO clerk");
    assert_eq!(sink("plan"), (0, "the tables are as they should be\n".to_owned()));
    assert_eq!(sink("rebuild").0, 0);
}

/// Such a database would make one pool of `Van-1` and `van-1`.
#[test]
fn a_database_that_does_not_tell_letters_apart_is_refused() {
    let redshift = Redshift::start();
    redshift.tables.ask(
        "CREATE OR REPLACE FUNCTION public.db_collation() RETURNS text LANGUAGE sql AS $$SELECT 'case_insensitive'$$",
    );
    for command in ["plan", "apply"] {
        let refused = run(&mut redshift.sink(nowhere(), &[command]));
        assert!(refused.code == 1 && refused.err.contains("make one with COLLATE CASE_SENSITIVE"), "{}", refused.err);
    }
}

/// The story: a tool of an analyst has read how far the tables are, and leaves its transaction open over lunch.
#[test]
fn who_has_read_the_positions_keeps_no_sink_from_writing() {
    let (log, redshift) = (tempfile::tempdir().unwrap(), Redshift::start());
    redshift.apply();
    let mut writing = Writing::new(5);
    (0..3).for_each(|_| writing.accept(5));
    writing.write(log.path());
    let mut reading = redshift.tables.begin(
        "BEGIN; SELECT max(decided_until) FROM sink_positions; SELECT count(*) FROM events; SELECT pg_sleep(600)",
    );
    until("the tool has read", || {
        redshift.tables.ask("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'") == "1"
    });
    let ended = run(&mut redshift.sink(log.path(), &["backfill"]));
    reading.kill();
    assert!(ended.code == 0 && ended.out.ends_with(" of 5 events written\n"), "{}{}", ended.out, ended.err);
}
