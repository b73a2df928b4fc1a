//! The form of the tables: made, changed forward, and refused.

use super::postgres::Database;
use super::traffic::Traffic;
use super::{assert_same, serve};
use crate::process::{Running, run};
use crate::wait::until;
use headroom::sink::postgres::{Dialect, VIEWS, tables};
use std::path::Path;

fn nowhere() -> &'static Path {
    Path::new("/nonexistent")
}

#[test]
fn a_plan_names_what_apply_does_and_applying_twice_changes_nothing() {
    let database = Database::start();
    let plan = run(&mut database.sink(nowhere(), &["plan"]));
    assert_eq!(plan.code, 0, "{}", plan.err);
    let planned: Vec<&str> = plan.out.lines().collect();
    assert_eq!(planned[0], "create schema headroom");
    for table in tables(Dialect::Postgres) {
        assert!(planned.contains(&&*format!("create table {}", table.name)), "{}", plan.out);
    }
    let apply = run(&mut database.sink(nowhere(), &["apply"]));
    assert_eq!(apply.code, 0, "{}", apply.err);
    assert_eq!(apply.out.lines().count(), planned.len() + 1, "{}", apply.out);
    for command in ["plan", "apply"] {
        let again = run(&mut database.sink(nowhere(), &[command]));
        assert_eq!((again.code, &*again.out), (0, "the tables are as they should be\n"), "{}", again.err);
    }
    for view in VIEWS {
        database.ask(&format!("SELECT count(*) FROM {}", view.name));
    }
}

/// An older version knew fewer columns and other views: what is missing is added, and the rows stay.
#[test]
fn columns_that_are_missing_are_added_and_views_are_made_anew() {
    let (log, database) = (tempfile::tempdir().unwrap(), Database::start());
    database.apply();
    let served = serve(log.path());
    Traffic::new(&served.url, 2).calls(10);
    assert_eq!(run(&mut database.sink(log.path(), &["backfill"])).code, 0);
    let rows = database.ask("SELECT count(*) FROM events");
    database.ask("ALTER TABLE events DROP COLUMN retire_cause CASCADE; ALTER TABLE pools DROP COLUMN cutoff CASCADE");
    database.ask("ALTER TABLE events ADD COLUMN of_a_newer_version bigint");
    let refused = run(&mut database.sink(log.path(), &["backfill"]));
    assert_eq!(refused.code, 1);
    assert!(refused.err.contains("add column events.retire_cause, text"), "{}", refused.err);
    let plan = run(&mut database.sink(nowhere(), &["plan"]));
    let expected = ["add column events.retire_cause, text", "add column pools.cutoff, timestamp with time zone"];
    for line in expected {
        assert!(plan.out.lines().any(|found| found == line), "{}", plan.out);
    }
    assert!(plan.out.contains("create views: "), "{}", plan.out);
    let applied = run(&mut database.sink(nowhere(), &["apply"]));
    let incomplete = "pools is incomplete until headroom sink rebuild has made it anew from events\n";
    assert!(applied.code == 0 && applied.out.ends_with(incomplete), "the events have had it: {}", applied.out);
    assert_eq!(database.ask("SELECT count(*) FROM events"), rows);
    assert_eq!(run(&mut database.sink(log.path(), &["backfill"])).code, 0);
    // What is new in the events is in none of them.
    assert_eq!(run(&mut database.sink(nowhere(), &["rebuild"])).code, 0);
    database.ask(
        "ALTER TABLE events DROP COLUMN retire_after_ms CASCADE; ALTER TABLE pools DROP COLUMN retire_after_ms CASCADE",
    );
    database.apply();
}

#[test]
fn a_table_that_is_not_as_it_should_be_is_refused_with_every_difference() {
    let database = Database::start();
    database.apply();
    database.ask(
        "ALTER TABLE reservations DROP CONSTRAINT reservations_pkey; ALTER TABLE events DROP COLUMN digest CASCADE;
         ALTER TABLE events ALTER COLUMN key SET NOT NULL; DROP VIEW IF EXISTS over_committed; CREATE TABLE over_committed ();
         ALTER TABLE over_committed ADD COLUMN a int; ALTER TABLE pools ADD COLUMN ours int NOT NULL;
         ALTER TABLE sink_positions ALTER COLUMN row_count TYPE integer",
    );
    let plan = run(&mut database.sink(nowhere(), &["plan"]));
    assert_eq!(plan.code, 1, "{}", plan.out);
    let refused: Vec<&str> = plan.out.lines().filter_map(|line| line.strip_prefix("refused: ")).collect();
    let expected = [
        "events.key does not take null",
        "events has no column digest",
        "reservations has the primary key none, not reservation",
        "pools.ours is not known here, and needs a value",
        "sink_positions.row_count has the type integer, not bigint",
        "over_committed is there and is no view",
    ];
    assert_eq!(refused, expected, "{}", plan.out);
    let apply = run(&mut database.sink(nowhere(), &["apply"]));
    assert_eq!(apply.code, 1, "{}", apply.err);
    assert!(apply.out.ends_with("nothing was changed\n"), "{}", apply.out);
}

/// The story: a tool that copies rows in any order wants the key of a table checked at the end, and `plan` and `status` say that all is
/// well. The sink replaces rows by that key, and the database refuses each batch.
#[test]
fn a_key_that_may_be_checked_later_is_refused() {
    let database = Database::start();
    database.apply();
    database.ask("ALTER TABLE pools DROP CONSTRAINT pools_pkey, ADD PRIMARY KEY (pool) DEFERRABLE");
    let told = "pools has a primary key that is DEFERRABLE, by which no row is replaced: make it anew without that";
    let plan = run(&mut database.sink(nowhere(), &["plan"]));
    assert_eq!((plan.code, plan.out), (1, format!("refused: {told}\n")), "{}", plan.err);
    database.ask("ALTER TABLE pools DROP CONSTRAINT pools_pkey, ADD PRIMARY KEY (pool)");
    let plan = run(&mut database.sink(nowhere(), &["plan"]));
    assert_eq!((plan.code, &*plan.out), (0, "the tables are as they should be\n"), "{}", plan.err);
}

/// The story: a team adds a column of a type of its own, which takes no null, and finds out from the sink that it needs a value.
#[test]
fn a_column_of_others_needs_a_value_where_its_type_does() {
    let database = Database::start();
    database.apply();
    database.ask(
        "CREATE DOMAIN filled AS text NOT NULL; CREATE DOMAIN over AS filled; CREATE DOMAIN known AS filled DEFAULT 'x';
         CREATE DOMAIN any_text AS text CHECK (VALUE <> ''); ALTER TABLE events ADD COLUMN team filled, ADD COLUMN unit over,
         ADD COLUMN fine known, ADD COLUMN given filled DEFAULT 'x', ADD COLUMN free any_text",
    );
    let refused = "refused: events.team is not known here, and needs a value
refused: events.unit is not known here, and needs a value
";
    let plan = run(&mut database.sink(nowhere(), &["plan"]));
    assert_eq!((plan.code, &*plan.out), (1, refused), "{}", plan.err);
}

/// The story: somebody makes room and drops indexes, and makes it easy for a tool of his own: columns take null, or have values by
/// themselves. Everything is named, `apply` brings it back, and sinks go on without what they do not need.
#[test]
fn what_somebody_has_taken_from_a_table_is_named_and_brought_back() {
    let (log, database) = (tempfile::tempdir().unwrap(), Database::start());
    database.apply();
    let served = serve(log.path());
    Traffic::new(&served.url, 3).calls(10);
    served.running.terminate();
    let on_tables = |command: &str| {
        let ended = run(&mut database.sink(nowhere(), &[command]));
        (ended.code, ended.out + &ended.err)
    };
    let as_it_should_be = (0, "the tables are as they should be\n".to_owned());
    database.ask(
        "DROP INDEX events_decided_at; DROP INDEX events_pool; DROP INDEX reservations_pool; ALTER TABLE events ALTER COLUMN kind DROP NOT NULL",
    );
    let taken = "let events.kind take no null
create index events_decided_at of events by decided_at
create index events_pool of events by pool
create index reservations_pool of reservations by pool
";
    assert_eq!(on_tables("plan"), (0, taken.to_owned()));
    assert_eq!(run(&mut database.sink(log.path(), &["backfill"])).code, 0, "sinks go on");
    database.ask("ALTER TABLE pools ALTER COLUMN mode SET DEFAULT 'open'");
    assert_eq!(on_tables("plan"), (0, format!("drop the default of pools.mode\n{taken}")));
    let refused = run(&mut database.sink(log.path(), &["backfill"]));
    assert!(refused.code == 1 && refused.err.contains("drop the default of pools.mode"), "{}", refused.err);
    let rows = database.ask("SELECT count(*) FROM events");
    database.apply();
    assert_eq!((on_tables("plan"), database.ask("SELECT count(*) FROM events")), (as_it_should_be.clone(), rows));
    let brought_back =
        "SELECT indexdef FROM pg_indexes WHERE indexname IN ('events_decided_at', 'reservations_pool') ORDER BY 1";
    let expected = "CREATE INDEX events_decided_at ON headroom.events USING brin (decided_at)
CREATE INDEX reservations_pool ON headroom.reservations USING btree (pool)";
    assert_eq!(database.ask(brought_back), expected);
    // Another index that answers the same questions does.
    database.ask("DROP INDEX events_decided_at; CREATE INDEX own ON events (decided_at, kind)");
    assert_eq!(on_tables("plan"), as_it_should_be);
    database.ask(
        "DROP INDEX reservations_pool; CREATE INDEX reservations_pool ON reservations (pool) WHERE status = 'held';
         ALTER TABLE sink_set_aside ALTER COLUMN why DROP NOT NULL;
         INSERT INTO sink_set_aside VALUES (0, 1, NULL, '', now());
         ALTER TABLE sink_positions ALTER COLUMN claim ADD GENERATED BY DEFAULT AS IDENTITY",
    );
    let refused = "refused: sink_positions.claim has values that the database makes
refused: sink_set_aside.why has rows without a value, which no sink wrote: give them one, or delete them
refused: reservations_pool is no whole and valid index of reservations by pool: drop it
";
    assert_eq!(on_tables("plan"), (1, refused.to_owned()));
}

/// The story: an analyst reads while an upgrade is applied. An index of all events takes long, and nothing that is read is held for
/// as long.
#[test]
fn nobody_who_reads_waits_for_an_index() {
    let database = Database::start();
    database.apply();
    database.ask("DROP INDEX events_pool; DROP VIEW lost_demand");
    let locked = |mode: &str, is: &str| {
        let locks = format!("FROM pg_locks WHERE relation = 'events'::regclass AND mode = '{mode}' AND {is}");
        database.ask(&format!("SELECT count(*) > 0 {locks}")) == "t"
    };
    // An index waits for those who write, and a view does not.
    let writing = database.begin("BEGIN; LOCK TABLE events IN ROW EXCLUSIVE MODE; SELECT pg_sleep(100)");
    until("somebody writes", || locked("RowExclusiveLock", "granted"));
    let applying = Running::start(&mut database.sink(nowhere(), &["apply"]));
    until("the index waits", || locked("ShareLock", "NOT granted"));
    assert_eq!(database.ask("SELECT count(*) FROM lost_demand"), "0", "it is there by now");
    database.ask(
        "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE relation = 'events'::regclass AND mode = 'RowExclusiveLock'",
    );
    drop(writing);
    let applied = applying.ended();
    assert!(
        applied.code == 0 && applied.out.contains("done: create index events_pool"),
        "{}{}",
        applied.out,
        applied.err
    );
}

/// The story: a table is so large that the database does not read it within the bound of a statement, and somebody has let a column
/// take null. `plan` and `apply` were broken off each time, and so no upgrade came to its end.
#[test]
fn nobody_waits_in_vain_for_a_look_through_a_whole_table() {
    let database = Database::start();
    database.apply();
    // No view uses this table, so nothing else waits for it.
    database.ask("ALTER TABLE sink_set_aside ALTER COLUMN why DROP NOT NULL");
    let blocking = database.begin("BEGIN; LOCK TABLE sink_set_aside IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(600)");
    let is_any = |what: &str| database.ask(&format!("SELECT count(*) > 0 FROM pg_stat_activity WHERE {what}")) == "t";
    until("the table is slow", || is_any("wait_event = 'PgSleep'"));
    database.ask("ALTER ROLE CURRENT_USER SET statement_timeout = '4s'");
    let planning = Running::start(&mut database.sink(nowhere(), &["plan"]));
    let long = "query LIKE 'SELECT 1 FROM sink_set_aside%' AND clock_timestamp() - query_start > '5s'";
    until("it has read for longer than that", || is_any(long));
    database.ask("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'");
    drop(blocking);
    let planned = planning.ended();
    assert_eq!((planned.code, &*planned.out), (0, "let sink_set_aside.why take no null\n"), "{}", planned.err);
    database.apply();
    let plan = run(&mut database.sink(nowhere(), &["plan"]));
    assert_eq!((plan.code, &*plan.out), (0, "the tables are as they should be\n"), "{}", plan.err);
}

/// The story: an analyst has left a transaction open, and somebody applies an upgrade. Nobody else has to wait for the analyst.
#[test]
fn nobody_waits_behind_an_apply_that_waits() {
    let database = Database::start();
    database.apply();
    database.ask("ALTER TABLE events DROP COLUMN retire_cause CASCADE");
    let reading = "FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    let waiting = "FROM pg_locks WHERE relation = 'events'::regclass AND NOT granted";
    let is_any = |what: &str| database.ask(&format!("SELECT count(*) > 0 {what}")) == "t";
    let mut analyst = database.begin("BEGIN; SELECT count(*) FROM events; SELECT pg_sleep(600)");
    until("somebody reads", || is_any(reading));
    let mut applying = Running::start(&mut database.sink(nowhere(), &["apply"]));
    until("it gives up", || {
        database.ask("SET lock_timeout = '10s'; SELECT count(*) FROM events");
        applying.is_over()
    });
    let refused = applying.ended();
    let session = database.ask(&format!("SELECT pid {reading}"));
    let told = format!(
        "events is not changed, because it is in use by session {session} of analyst (psql), in a transaction since"
    );
    let advice = format!("SELECT pg_terminate_backend({session}): try again");
    assert!(refused.code == 2 && refused.err.contains(&told) && refused.err.contains(&advice), "{}", refused.err);
    assert!(!is_any(waiting), "nothing is left in the queue");
    let applying = Running::start(&mut database.sink(nowhere(), &["apply"]));
    until("apply waits", || is_any(waiting));
    database.ask(&format!("SELECT pg_terminate_backend({session})"));
    analyst.kill();
    let applied = applying.ended();
    assert!(applied.code == 0 && applied.out.contains("done: add column events.retire_cause"), "{}", applied.err);
}

/// The story: a chart starts several sinks at once, and each of them applies first.
#[test]
fn of_several_applies_at_once_one_makes_the_tables() {
    let database = Database::start();
    let applying: Vec<Running> = (0..4).map(|_| Running::start(&mut database.sink(nowhere(), &["apply"]))).collect();
    let ended: Vec<_> = applying.into_iter().map(Running::ended).collect();
    assert!(
        ended.iter().all(|ended| ended.code == 0),
        "{:?}",
        ended.iter().map(|ended| &ended.err).collect::<Vec<_>>()
    );
    let made = ended.iter().filter(|ended| ended.out.contains("done: create table events")).count();
    let found = ended.iter().filter(|ended| ended.out == "the tables are as they should be\n").count();
    assert_eq!((made, found), (1, 3));
}

/// Somebody has changed the tables that follow from the events: they are made anew from them.
#[test]
fn reservations_and_pools_follow_from_the_events() {
    let (log, database) = (tempfile::tempdir().unwrap(), Database::start());
    database.apply();
    let served = serve(log.path());
    Traffic::new(&served.url, 8).calls(60);
    served.running.terminate();
    assert_eq!(run(&mut database.sink(log.path(), &["backfill"])).code, 0);
    let all = "SELECT * FROM reservations ORDER BY reservation; SELECT * FROM pools ORDER BY pool; \
               SELECT * FROM pool_lives ORDER BY pool, from_seq";
    let before = database.ask(all);
    database.ask(
        "UPDATE reservations SET status = 'held', key = 'x'; DELETE FROM pools WHERE pool < 'slot-8-4'; \
                  UPDATE pool_lives SET until_seq = from_seq",
    );
    assert_ne!(database.ask(all), before);
    let rebuilt = run(&mut database.sink(nowhere(), &["rebuild"]));
    assert!(
        rebuilt.code == 0 && rebuilt.out.starts_with("reservations, pools and pool_lives are made anew from "),
        "{}",
        rebuilt.err
    );
    assert_eq!(database.ask(all), before);
    assert_same(&database, log.path());
}

#[test]
fn without_tables_nothing_is_written_and_the_error_says_what_to_do() {
    let (log, database) = (tempfile::tempdir().unwrap(), Database::start());
    let served = serve(log.path());
    for asked in [&[][..], &["status"]] {
        let refused = run(&mut database.sink(log.path(), asked));
        assert_eq!(refused.code, 1, "{}", refused.out);
        let is_told = |text: &str| refused.err.contains(text);
        let is_named = is_told("run headroom sink apply first") && is_told("create table events");
        assert!(is_named, "{asked:?}: {}", refused.err);
    }
    drop(served);
}

/// The story: the tables are made ready for a newer version, and the sinks of this one are still there. What they need is as it
/// was, and views are no matter of theirs.
#[test]
fn an_older_sink_goes_on_beside_a_newer_apply() {
    let (log, database) = (tempfile::tempdir().unwrap(), Database::start());
    database.apply();
    let served = serve(log.path());
    let mut traffic = Traffic::new(&served.url, 63);
    let mut running = Running::start(&mut database.sink(log.path(), &["--sink-batch-ms", "100"]));
    until("something is written", || database.written() > 0);
    database.ask(
        "ALTER TABLE sink_positions ADD COLUMN newer bigint NOT NULL DEFAULT 7; ALTER TABLE events ADD COLUMN newer text;
         CREATE TABLE of_a_newer_version (a int); CREATE VIEW newer AS SELECT newer FROM events;
         DROP VIEW lost_demand; CREATE VIEW lost_demand AS SELECT newer FROM events; COMMENT ON VIEW refusals IS 'newer [0000000000000000]';
         DROP VIEW over_committed; CREATE TABLE over_committed (a int)",
    );
    let before = database.written();
    traffic.calls(20);
    until("the one that runs goes on", || database.written() > before);
    assert_eq!(running.terminate().code, 0);
    running = Running::start(&mut database.sink(log.path(), &["--sink-batch-ms", "100"]));
    let before = database.written();
    traffic.calls(20);
    until("and so does one that is started again", || database.written() > before);
    assert_eq!(running.terminate().code, 0);
    served.running.terminate();
    for asked in ["backfill", "status"] {
        let ended = run(&mut database.sink(log.path(), &[asked]));
        assert_eq!(ended.code, 0, "{asked}: {}", ended.err);
    }
    assert_same(&database, log.path());
    // Only who looks after the views is told of them.
    let plan = run(&mut database.sink(nowhere(), &["plan"]));
    let named = "refused: over_committed is there and is no view\nrefused: lost_demand is a view without the comment";
    assert!(plan.code == 1 && plan.out.starts_with(named), "{}{}", plan.out, plan.err);
}

/// The story: somebody gives a view another query to try something, with the same columns.
#[test]
fn a_view_that_somebody_has_changed_is_made_anew() {
    let database = Database::start();
    database.apply();
    let definition = "SELECT pg_get_viewdef('over_committed'::regclass)";
    let before = database.ask(definition);
    let columns =
        "SELECT string_agg(format('NULL::%s AS %I', format_type(atttypid, atttypmod), attname), ', ' ORDER BY attnum)
                   FROM pg_attribute WHERE attrelid = 'over_committed'::regclass AND attnum > 0";
    let query = format!("SELECT {}", database.ask(columns));
    database.ask(&format!("CREATE OR REPLACE VIEW over_committed AS {query}"));
    assert_ne!(database.ask(definition), before);
    let plan = run(&mut database.sink(nowhere(), &["plan"]));
    assert_eq!((plan.code, &*plan.out), (0, "create views: over_committed\n"), "{}", plan.err);
    database.apply();
    assert_eq!(database.ask(definition), before);
}

/// The story: a team has a view of its own beside ours, and a later version comes with one of the same name. Whoever replaces it in
/// silence gives the team other figures.
#[test]
fn a_view_of_others_under_a_name_of_ours_is_refused() {
    let database = Database::start();
    database.apply();
    database.ask(
        "DROP VIEW sold_out; CREATE VIEW sold_out AS SELECT pool AS full_one FROM pools;
         COMMENT ON VIEW sold_out IS 'of the planners [2026]'",
    );
    for command in ["plan", "apply"] {
        let refused = run(&mut database.sink(nowhere(), &[command]));
        let is_told =
            refused.out.contains("refused: sold_out is a view without the comment that headroom sink apply gives");
        assert!(refused.code == 1 && is_told, "{command}: {}{}", refused.out, refused.err);
    }
    database.ask("ALTER VIEW sold_out RENAME TO planners_sold_out");
    database.apply();
    assert_eq!(database.ask("SELECT count(full_one) FROM planners_sold_out"), "0");
    assert_eq!(database.ask("SELECT count(minutes) FROM sold_out"), "0");
}

/// The story: a team has its own views over ours, and its people may read some of them. An upgrade changes a view.
#[test]
fn apply_leaves_to_others_what_they_have_made_of_the_views() {
    let database = Database::start();
    database.apply();
    database.ask(
        "CREATE ROLE reader; CREATE ROLE lead; GRANT USAGE ON SCHEMA headroom TO reader, lead;
         GRANT SELECT ON decisions, refusals, pool_units TO reader; GRANT SELECT ON refusals TO lead WITH GRANT OPTION;
         GRANT SELECT ON planner_edits TO PUBLIC; GRANT SELECT (pool, seq) ON decisions TO lead;
         CREATE SCHEMA team; CREATE VIEW team.own AS SELECT pool FROM headroom.pool_usage",
    );
    let rights = || {
        database.ask(
            "SELECT relname, relacl FROM pg_class WHERE relacl IS NOT NULL AND relnamespace = 'headroom'::regnamespace
             UNION ALL SELECT attrelid::regclass::text || attname, attacl FROM pg_attribute WHERE attacl IS NOT NULL AND
             attrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'headroom'::regnamespace) ORDER BY 1",
        )
    };
    let before = rights();
    // Other queries with the same columns, or with fewer ones: they are replaced, and the view of the team stays.
    database.ask("COMMENT ON VIEW pool_usage IS 'older [0000000000000000]'; COMMENT ON VIEW decisions IS 'older [0000000000000000]'");
    let first = run(&mut database.sink(nowhere(), &["apply"]));
    assert_eq!(first.code, 0, "{}{}", first.out, first.err);
    assert!(first.out.starts_with("done: create views: decisions, pool_usage\n"), "{}", first.out);
    assert_eq!((rights(), database.ask("SELECT count(*) FROM team.own")), (before.clone(), "0".to_owned()));
    // Another name of a column: the view is made anew, with those that use it.
    database.ask(
        "ALTER VIEW decisions RENAME COLUMN outcome TO result; COMMENT ON VIEW decisions IS 'older [0000000000000000]'",
    );
    database.apply();
    let without_order = |rights: &str| {
        let mut parts: Vec<String> = rights.split(['{', '}', ',', '\n']).map(str::to_owned).collect();
        parts.sort();
        parts
    };
    assert_eq!(without_order(&rights()), without_order(&before));
    let again = run(&mut database.sink(nowhere(), &["apply"]));
    assert_eq!((again.code, &*again.out), (0, "the tables are as they should be\n"), "{}", again.err);
    // The view of the team is in the way of that: it is named, and nothing is changed.
    database.ask(
        "ALTER VIEW pool_usage RENAME COLUMN pool TO slot; COMMENT ON VIEW pool_usage IS 'older [0000000000000000]'",
    );
    let definitions = "SELECT viewname, definition FROM pg_views WHERE schemaname IN ('headroom', 'team') ORDER BY 1";
    let views = database.ask(definitions);
    for command in ["plan", "apply"] {
        let refused = run(&mut database.sink(nowhere(), &[command]));
        let is_told = refused.out.contains("refused: team.own uses the view pool_usage, whose columns change.");
        assert!(refused.code == 1 && is_told, "{command}: {}{}", refused.out, refused.err);
        assert_eq!(database.ask(definitions), views, "{command}");
    }
    database.ask("DROP VIEW team.own");
    database.apply();
    // And so is a function whose rows are those of a view: `plan` names it before `apply` does.
    database.ask(
        "CREATE FUNCTION team.today() RETURNS SETOF decisions LANGUAGE sql AS 'SELECT * FROM headroom.decisions';
         ALTER VIEW decisions RENAME COLUMN outcome TO result",
    );
    for command in ["plan", "apply"] {
        let refused = run(&mut database.sink(nowhere(), &[command]));
        let is_told = refused.out.contains("function team.today() depends on type decisions");
        assert!(refused.code == 1 && is_told, "{command}: {}{}", refused.out, refused.err);
    }
    database.ask("DROP FUNCTION team.today()");
    database.apply();
}
