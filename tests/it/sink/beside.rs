//! A rebuild beside the tables that are served: sinks go on, and readers see the old rows until the new ones are in their place.

use super::postgres::Database;
use super::serve;
use super::traffic::Traffic;
use crate::cli::handwritten_logs::Writing;
use crate::process::{Running, run};
use crate::wait::until;
use headroom::sink::postgres::Database as SinkDatabase;
use std::path::Path;

/// All that follows from the events.
const ALL: &str = "SELECT * FROM reservations ORDER BY reservation; SELECT * FROM pools ORDER BY pool; \
                   SELECT * FROM pool_lives ORDER BY pool, from_seq";
/// What somebody has done to it.
const SPOIL: &str =
    "UPDATE reservations SET status = 'held', key = 'x'; UPDATE pools SET used = '{}'; DELETE FROM pool_lives";

fn nowhere() -> &'static Path {
    Path::new("/nonexistent")
}

#[track_caller]
fn backfill(database: &Database, log: &Path) {
    let ended = run(&mut database.sink(log, &["backfill"]));
    assert_eq!(ended.code, 0, "{}{}", ended.out, ended.err);
}

#[track_caller]
fn assert_rebuilt(database: &Database) {
    let ended = run(&mut database.sink(nowhere(), &["rebuild"]));
    assert_eq!(ended.code, 0, "{}{}", ended.out, ended.err);
    assert_planned(database, "the tables are as they should be\n");
}

#[track_caller]
fn assert_planned(database: &Database, expected: &str) {
    let plan = run(&mut database.sink(nowhere(), &["plan"]));
    assert_eq!((plan.code, &*plan.out), (0, expected), "{}", plan.err);
}

/// Writes the tables of a pool with five orders.
fn written(database: &Database, log: &Path) {
    database.apply();
    let mut writing = Writing::new(9);
    (0..5).for_each(|_| writing.accept(9));
    writing.write(log);
    backfill(database, log);
}

/// The story: a shop makes its reservations anew, and its reports are an hour old when that is done, because the sink has waited.
#[test]
fn sinks_go_on_while_tables_are_made_anew_beside_them() {
    const PIECE: u64 = 20;
    let (log, database) = (tempfile::tempdir().unwrap(), Database::start());
    database.apply();
    let served = serve(log.path());
    let mut traffic = Traffic::new(&served.url, 17);
    traffic.calls(100);
    backfill(&database, log.path());
    database.ask(SPOIL);
    let (mut pieces, mut folded) = (0, 0);
    let held = SinkDatabase::connect(&database.access()).unwrap().rebuild_by(PIECE, |events| {
        (pieces, folded) = (pieces + 1, folded + events);
        if pieces <= 4 {
            let before = database.written();
            traffic.calls(15);
            backfill(&database, log.path());
            assert!(database.written() > before, "a batch is committed between two pieces");
            assert_ne!(
                database.ask("SELECT count(*) FROM reservations WHERE key = 'x'"),
                "0",
                "readers see the old rows"
            );
        }
    });
    let held = held.unwrap();
    assert!(held <= PIECE && pieces > 4, "sinks waited for {held} events, in {pieces} pieces");
    assert_eq!(folded, database.written(), "each event is folded once");
    served.running.terminate();
    backfill(&database, log.path());
    let fresh = Database::start();
    fresh.apply();
    backfill(&fresh, log.path());
    assert_eq!(database.ask(ALL), fresh.ask(ALL));
    assert_planned(&database, "the tables are as they should be\n");
    super::assert_same(&database, log.path());
}

/// The story: a sink catches up with large batches. While a rebuild waits for the lock, one of them is committed, and it is larger than
/// a piece. The rebuild took that for too much and began its try again, however often it was so.
#[test]
fn the_batch_that_a_sink_had_begun_is_added_while_it_waits() {
    let (log, database) = (tempfile::tempdir().unwrap(), Database::start_with(&["max_prepared_transactions=1"]));
    written(&database, log.path());
    let (right, all) = (database.ask(ALL), database.written());
    // All events but three are in a batch that is not committed yet.
    database.ask("UPDATE sink_positions SET next_seq = 3");
    database.ask(&format!("BEGIN; UPDATE sink_positions SET next_seq = {all}; PREPARE TRANSACTION 'batch'"));
    let access = database.access();
    let rebuilding = std::thread::spawn(move || SinkDatabase::connect(&access).unwrap().rebuild_by(2, |_| {}));
    until("the rebuild waits for the batch", || {
        database.ask("SELECT count(*) FROM pg_locks WHERE mode = 'ShareRowExclusiveLock' AND NOT granted") == "1"
    });
    database.ask("COMMIT PREPARED 'batch'");
    assert_eq!(rebuilding.join().unwrap(), Ok(all - 3), "sinks waited for all of it");
    assert_eq!(database.ask(ALL), right);
}

/// The story: the machine of the rebuild is taken away. The tables are the old ones or the new ones, and the next rebuild begins anew.
#[cfg(feature = "crash-points")]
#[test]
fn a_rebuild_that_is_killed_leaves_the_tables_whole() {
    let (log, database) = (tempfile::tempdir().unwrap(), Database::start());
    written(&database, log.path());
    let right = database.ask(ALL);
    let left = "drop schema headroom_rebuild, which a rebuild has left behind\n";
    for point in ["rebuild-filled", "rebuild-held", "rebuild-renamed", "rebuild-done"] {
        database.ask(SPOIL);
        let spoilt = database.ask(ALL);
        let mut rebuild = database.sink(nowhere(), &["rebuild"]);
        let killed = run(rebuild.env("HEADROOM_CRASH_AT", format!("{point}:1")));
        assert_eq!(killed.code, crate::process::KILLED, "{point}: {}{}", killed.out, killed.err);
        let is_done = point == "rebuild-done";
        assert_eq!(database.ask(ALL), if is_done { &*right } else { &*spoilt }, "{point}");
        assert_planned(&database, if is_done { "the tables are as they should be\n" } else { left });
        backfill(&database, log.path());
        assert_rebuilt(&database);
        assert_eq!(database.ask(ALL), right, "{point}");
    }
    let mut rebuild = database.sink(nowhere(), &["rebuild"]);
    let killed = run(rebuild.env("HEADROOM_CRASH_AT", "rebuild-filled:1"));
    assert_eq!(killed.code, crate::process::KILLED, "{}{}", killed.out, killed.err);
    database.apply();
    assert_planned(&database, "the tables are as they should be\n");
}

/// The story: a team has built on the tables, and finds its work gone after a rebuild.
#[test]
fn what_new_tables_would_not_have_is_named_before_anything_begins() {
    let (log, database) = (tempfile::tempdir().unwrap(), Database::start());
    written(&database, log.path());
    let right = database.ask(ALL);
    database.ask(
        "CREATE MATERIALIZED VIEW kept AS SELECT pool FROM pools; CREATE TABLE theirs (life pool_lives);
         CREATE FUNCTION counted() RETURNS bigint BEGIN ATOMIC SELECT count(*) FROM reservations; END;
         CREATE POLICY few ON pools USING (true); ALTER TABLE pools ENABLE ROW LEVEL SECURITY;
         CREATE PUBLICATION told FOR TABLE pools; CREATE VIEW whole AS SELECT p FROM pools p",
    );
    let before = database.ask("SELECT oid, relname FROM pg_class ORDER BY 1");
    let refused = run(&mut database.sink(nowhere(), &["rebuild"]));
    let named = "pool_lives is used by column life of table theirs; pools has row security; pools is in the publication told; \
                 pools is used by column p of view whole; pools is used by policy few on table pools; \
                 pools is used by rule _RETURN on materialized view kept; reservations is used by function counted(). ";
    assert!(refused.code == 1 && refused.err.contains(named), "{}", refused.err);
    assert!(refused.err.contains("headroom sink rebuild --in-place"), "{}", refused.err);
    assert_eq!(database.ask("SELECT oid, relname FROM pg_class ORDER BY 1"), before);
    database.ask("UPDATE reservations SET status = 'held', key = 'x'");
    let in_place = run(&mut database.sink(nowhere(), &["rebuild", "--in-place"]));
    assert_eq!((in_place.code, database.ask(ALL)), (0, right), "{}", in_place.err);
    database.ask("ALTER TABLE reservations ADD COLUMN note text; CREATE SCHEMA headroom_rebuild");
    let refused = run(&mut database.sink(nowhere(), &["rebuild"]));
    let named = "reservations has the column note, whose values are not in events";
    assert!(refused.code == 1 && refused.err.contains(named), "{}", refused.err);
    database.ask(
        "ALTER TABLE reservations DROP COLUMN note; DROP VIEW whole; DROP TABLE theirs; DROP FUNCTION counted; \
         DROP MATERIALIZED VIEW kept; DROP POLICY few ON pools; ALTER TABLE pools DISABLE ROW LEVEL SECURITY; DROP PUBLICATION told",
    );
    let refused = run(&mut database.sink(nowhere(), &["rebuild"]));
    let named = "there is a schema headroom_rebuild that is not of headroom sink rebuild";
    assert!(refused.code == 1 && refused.err.contains(named), "{}", refused.err);
}

/// What others have made of the tables that can be made again.
#[test]
fn rights_views_indexes_and_settings_of_others_stay() {
    let (log, database) = (tempfile::tempdir().unwrap(), Database::start());
    written(&database, log.path());
    database.ask(
        "CREATE ROLE clerk; CREATE SCHEMA reports; GRANT SELECT ON reservations, decisions TO clerk WITH GRANT OPTION;
         GRANT SELECT (pool) ON pools TO PUBLIC; ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO clerk;
         CREATE VIEW reports.mine WITH (security_barrier=true) AS SELECT r.*, p.mode FROM reservations r JOIN pools p USING (pool);
         GRANT SELECT ON reports.mine TO clerk; CREATE VIEW reports.outer AS SELECT count(*) AS live FROM reports.mine;
         CREATE INDEX by_order ON reservations (lower(order_ref)) WITH (fillfactor = 70); COMMENT ON INDEX by_order IS 'ours';
         CREATE STATISTICS alike (ndistinct) ON pool, status FROM reservations; COMMENT ON TABLE pools IS 'their''s';
         ALTER TABLE reservations SET (fillfactor = 80), ALTER pool SET STATISTICS 300; ALTER TABLE pools OWNER TO clerk;
         GRANT CREATE, USAGE ON SCHEMA headroom TO clerk; CLUSTER pools USING pools_pkey",
    );
    let form = "SELECT n.nspname, c.relname, (SELECT string_agg(a.grantee || a.privilege_type || a.is_grantable, ' ' ORDER BY a.grantee)
                    FROM aclexplode(c.relacl) a WHERE a.grantee <> c.relowner), c.reloptions,
                    pg_get_userbyid(c.relowner), c.relkind, obj_description(c.oid)
                FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname IN ('headroom', 'reports') ORDER BY 1, 2;
                SELECT c.relname, a.attname, a.attacl, a.attstattarget FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
                WHERE c.relnamespace = 'headroom'::regnamespace AND a.attnum > 0 ORDER BY 1, 2;
                SELECT pg_get_indexdef(indexrelid), indisclustered FROM pg_index WHERE indrelid::regclass::text ~ '^[pr][eo]' ORDER BY 1;
                SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE connamespace = 'headroom'::regnamespace ORDER BY 1;
                SELECT pg_get_statisticsobjdef(oid) FROM pg_statistic_ext";
    let (before, right) = (database.ask(form), database.ask(ALL));
    database.ask("DELETE FROM reservations");
    assert_rebuilt(&database);
    assert_eq!(database.ask(form), before);
    assert_eq!(database.ask(ALL), right);
    assert_eq!(database.ask("SELECT live FROM reports.outer"), "5", "a view of others sees the new rows");
}

/// The story: a report reads the reservations twice in one transaction, and a rebuild ends between the two. For a transaction that
/// began before them the new tables would be empty.
#[test]
fn a_transaction_that_was_open_sees_no_gap() {
    let (log, database) = (tempfile::tempdir().unwrap(), Database::start_with(&["max_prepared_transactions=1"]));
    written(&database, log.path());
    let is_one = |asked: &str| database.ask(asked) == "1";
    let mut holder = database.begin("SELECT pg_advisory_lock(7); SELECT pg_sleep(600)");
    until("the lock is held", || is_one("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted"));
    let analyst = database.begin(
        "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM sink_log; SELECT pg_advisory_lock(7); \
         SELECT count(*) FROM reservations; COMMIT",
    );
    until("he waits", || is_one("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"));
    let last_asked = |text: &str| {
        is_one(&format!(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'headroom sink' AND state = 'idle' AND query LIKE '%{text}%'"
        ))
    };
    let mut rebuild = Running::start(&mut database.sink(nowhere(), &["rebuild"]));
    until("the rebuild waits for him", || last_asked("a.backend_xmin"));
    assert!(!rebuild.is_over());
    let plan = run(&mut database.sink(nowhere(), &["plan"]));
    let named = "a headroom sink apply or rebuild is at work in these tables (session ";
    assert!(plan.code == 2 && plan.err.contains(named) && plan.out.is_empty(), "{}{}", plan.out, plan.err);
    // Nobody has a session for this one, and it has a lock of a table.
    database.ask("BEGIN; LOCK TABLE pools IN ACCESS SHARE MODE; PREPARE TRANSACTION 'reads'");
    database.ask("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)'");
    holder.kill();
    assert_eq!(analyst.ended().out, "1\n\n5\n");
    until("the rebuild waits for the table", || last_asked("RowShareLock"));
    assert!(!rebuild.is_over());
    backfill(&database, log.path());
    database.ask("COMMIT PREPARED 'reads'");
    let ended = rebuild.ended();
    assert_eq!(ended.code, 0, "{}{}", ended.out, ended.err);
    assert_eq!(database.ask("SELECT count(*) FROM reservations"), "5");
}

/// The story: a sink begins a partition that has no position yet while another process holds the positions, and its rows are lost.
#[test]
fn no_partition_is_begun_while_positions_are_held() {
    let (log, database) = (tempfile::tempdir().unwrap(), Database::start());
    written(&database, log.path());
    let begin = "SET lock_timeout = 100; INSERT INTO sink_positions (partition, next_seq, first_seq, claim, row_count, set_aside) \
                 VALUES (9, 0, 0, 0, 0, 0)";
    let mut pieces = 0;
    let rebuilt = SinkDatabase::connect(&database.access()).unwrap().rebuild_in_place(100, |_| {
        pieces += 1;
        let told = Database::psql_of(&database.url(), &["-t"], begin);
        assert!(told.as_ref().is_err_and(|why| why.contains("lock timeout")), "{told:?}");
    });
    assert_eq!((rebuilt, pieces), (Ok(7), 1));
}
