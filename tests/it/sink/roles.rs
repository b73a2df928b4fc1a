//! A database in which nobody who works with the tables is a superuser: the sink has a user of its own, and so have its readers.

use super::postgres::Database;
use super::traffic::Traffic;
use super::{assert_rest, serve};
use crate::cli::handwritten_logs::Writing;
use crate::process::{Ended, Running, run};
use crate::wait::until;
use std::path::Path;
use tempfile::TempDir;

/// What the documentation tells the user of the sink to give to analysts.
const GRANTS: &str =
    "GRANT USAGE ON SCHEMA headroom TO analysts; GRANT SELECT ON ALL TABLES IN SCHEMA headroom TO analysts;
    ALTER DEFAULT PRIVILEGES IN SCHEMA headroom GRANT SELECT ON TABLES TO analysts;
    CREATE SCHEMA reports AUTHORIZATION analysts";
/// Who owns what of the tables, and which rights others have.
const RIGHTS: &str = "
    SELECT n.nspname, c.relname, c.relkind, pg_get_userbyid(c.relowner), a.grantee::regrole, a.privilege_type, a.is_grantable
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN LATERAL aclexplode(c.relacl) a ON a.grantee <> c.relowner
    WHERE n.nspname IN ('headroom', 'reports') ORDER BY n.nspname, c.relname, 5, 6";

/// A database with tables that a user `headroom` has made and filled, and an analyst `ada`.
struct Roles {
    database: Database,
    log: TempDir,
}

impl Roles {
    fn new() -> Roles {
        let roles = Roles { database: Database::start(), log: tempfile::tempdir().unwrap() };
        roles.database.ask(
            "CREATE ROLE headroom LOGIN; GRANT CREATE ON DATABASE postgres TO headroom;
             CREATE ROLE analysts; CREATE ROLE ada LOGIN IN ROLE analysts; GRANT analysts TO headroom",
        );
        let mut writing = Writing::new(9);
        (0..5).for_each(|_| writing.accept(9));
        writing.write(roles.log.path());
        roles.assert_fine("apply", "the tables are as they should be\n");
        roles.assert_fine("backfill", "7 rows of 7 events written\n");
        roles.ask("headroom", GRANTS);
        roles.ask("ada", "SET ROLE analysts; CREATE VIEW reports.mine AS SELECT r.*, p.mode FROM reservations r JOIN pools p USING (pool)");
        roles
    }

    fn sink(&self, args: &[&str]) -> Ended {
        run(&mut self.database.sink_as("headroom", self.log.path(), args))
    }

    #[track_caller]
    fn assert_fine(&self, command: &str, says: &str) {
        let ended = self.sink(&[command]);
        assert!(ended.code == 0 && ended.out.ends_with(says), "{command}: {}{}", ended.out, ended.err);
    }

    #[track_caller]
    fn ask(&self, user: &str, sql: &str) -> String {
        self.try_ask(user, sql).unwrap_or_else(|error| panic!("{user}: {sql}: {error}"))
    }

    fn try_ask(&self, user: &str, sql: &str) -> Result<String, String> {
        Database::psql_of(&self.database.url_as(user), &["-t"], sql)
    }

    /// Waits until a session of ada is in a pause of its statement.
    fn await_pause(&self) {
        let asked = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'ada' AND wait_event = 'PgSleep'";
        until("the transaction is open", || self.database.ask(asked) == "1");
    }

    fn end_pauses(&self) {
        self.database.ask("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'");
    }
}

/// The set-up of the documentation: tables are made anew while an analyst reads, and nobody's rights or views are lost.
#[test]
fn the_user_of_the_sink_and_an_analyst_are_ordinary_roles() {
    let roles = Roles::new();
    roles.ask("headroom", "GRANT SELECT ON pools TO analysts WITH GRANT OPTION");
    let (rights, live) = (roles.ask("headroom", RIGHTS), "SELECT count(*) FROM reports.mine");
    assert_eq!(roles.ask("ada", live), "5");
    roles.assert_fine("plan", "the tables are as they should be\n");
    // Somebody has spoilt the rows, and a view of ours; what is made anew is there for analysts, too.
    roles.ask(
        "headroom",
        "DELETE FROM reservations; DROP VIEW lead_times; ALTER VIEW refusals RENAME COLUMN keys TO other",
    );
    roles.assert_fine("apply", "the tables are as they should be\n");
    assert_eq!(roles.ask("headroom", RIGHTS), rights);
    let mut reading = roles.database.begin_as("ada", "BEGIN; SELECT count(*) FROM reservations; SELECT pg_sleep(600)");
    roles.await_pause();
    let mut rebuild = Running::start(&mut roles.database.sink_as("headroom", Path::new("/nonexistent"), &["rebuild"]));
    let tries = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'headroom' AND state = 'idle' AND query LIKE '%a.backend_xmin%'";
    until("the rebuild waits for her", || roles.database.ask(tries) == "1");
    assert!(!rebuild.is_over());
    roles.end_pauses();
    reading.kill();
    let ended = rebuild.ended();
    assert_eq!(ended.code, 0, "{}{}", ended.out, ended.err);
    assert_eq!(roles.ask("headroom", RIGHTS), rights);
    assert_eq!(roles.ask("ada", live), "5", "her view shows the new rows");
    roles.assert_fine("plan", "the tables are as they should be\n");
    roles.assert_fine("backfill", "0 rows of 0 events written\n");
    roles.assert_fine("status", "\n");
    assert!(roles.try_ask("ada", "DELETE FROM reservations").is_err_and(|why| why.contains("permission denied")));
}

/// The story: row security shows planners the events of their own areas, through views that ask by the rights of who reads. One
/// view they may not read at all, and another team looks after it. After an upgrade they read everything.
#[test]
fn a_right_that_was_taken_stays_taken_when_a_view_is_made_anew() {
    let roles = Roles::new();
    roles.database.ask(
        "CREATE ROLE owners; GRANT USAGE, CREATE ON SCHEMA headroom TO owners; GRANT owners TO headroom;
         ALTER VIEW refusals SET (security_invoker = true, security_barrier = true);
         ALTER VIEW decisions SET (security_invoker = true); REVOKE SELECT ON decisions FROM analysts;
         GRANT SELECT (pool) ON decisions TO analysts; ALTER VIEW decisions OWNER TO owners",
    );
    let told = || {
        roles.database.ask(
            "SELECT c.relname, c.reloptions, pg_get_userbyid(c.relowner), has_table_privilege('analysts', c.oid, 'SELECT'),
                    has_column_privilege('analysts', c.oid, 'pool', 'SELECT')
             FROM pg_class c WHERE c.oid = 'decisions'::regclass
             UNION ALL
             SELECT c.relname, c.reloptions, pg_get_userbyid(c.relowner), has_table_privilege('analysts', c.oid, 'SELECT'), NULL
             FROM pg_class c WHERE c.oid = 'refusals'::regclass",
        )
    };
    let before = told();
    assert!(before.starts_with("decisions|{security_invoker=true}|owners|f|t\n"), "{before}");
    // The first one is replaced. The second one is dropped, and default privileges would give it to analysts again.
    roles.ask(
        "headroom",
        "COMMENT ON VIEW refusals IS 'older [0000000000000000]'; ALTER VIEW decisions RENAME COLUMN outcome TO result",
    );
    roles.assert_fine("apply", "the tables are as they should be\n");
    assert_eq!(told(), before);
    // Its owner may make no views here any more, so it cannot be given back: it stays as it is.
    roles.database.ask("REVOKE CREATE ON SCHEMA headroom FROM owners");
    roles.ask("headroom", "ALTER VIEW decisions RENAME COLUMN outcome TO result");
    let refused = roles.sink(&["apply"]);
    let said = format!("{}{}", refused.out, refused.err);
    assert!(refused.code == 1 && said.contains("permission denied for schema headroom"), "{said}");
    assert_eq!(told(), before);
}

/// The story: a table has lost a column, and whoever makes it anew in place may write the tables and owns none of them. All was done
/// but the note that it is complete, and he was told of an error. The owner does it, and the comment of another table was gone.
#[test]
fn a_right_to_note_that_a_table_is_complete_is_asked_for_before_a_rebuild_begins() {
    let roles = Roles::new();
    roles.database.ask("CREATE ROLE clerk LOGIN");
    roles.ask(
        "headroom",
        "ALTER TABLE reservations DROP COLUMN demand CASCADE; COMMENT ON TABLE pools IS 'ours';
         GRANT USAGE ON SCHEMA headroom TO clerk; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA headroom TO clerk",
    );
    let incomplete = "reservations is incomplete until headroom sink rebuild has made it anew from events\n";
    roles.assert_fine("apply", incomplete);
    let rebuild =
        |user: &str| run(&mut roles.database.sink_as(user, Path::new("/nonexistent"), &["rebuild", "--in-place"]));
    let filled = || roles.ask("headroom", "SELECT count(demand), obj_description('pools'::regclass) FROM reservations");
    let refused = rebuild("clerk");
    let named = "reservations belongs to another user, who alone can change it";
    assert!(refused.code == 1 && refused.err.contains(named), "{}{}", refused.out, refused.err);
    assert_eq!(filled(), "0|ours");
    let rebuilt = rebuild("headroom");
    assert_eq!((rebuilt.code, filled()), (0, "5|ours".to_owned()), "{}", rebuilt.err);
    roles.assert_fine("plan", "the tables are as they should be\n");
}

/// The user of the sink may see little of a session of another user; that is enough to name it.
#[test]
fn a_session_of_another_user_that_is_in_the_way_is_named() {
    let roles = Roles::new();
    roles.ask("headroom", "ALTER TABLE pools ALTER COLUMN mode SET DEFAULT 'open'");
    let mut reading = roles.database.begin_as("ada", "BEGIN; SELECT count(*) FROM pools; SELECT pg_sleep(600)");
    roles.await_pause();
    let refused = roles.sink(&["apply"]);
    let pid = roles.database.ask("SELECT pid FROM pg_stat_activity WHERE usename = 'ada'");
    let named =
        format!("pools is not changed, because it is in use by session {pid} of ada (psql), in a transaction. Wait");
    assert!(refused.code == 2 && refused.err.contains(&named), "{named} in {}{}", refused.out, refused.err);
    roles.end_pauses();
    reading.kill();
    roles.assert_fine("apply", "the tables are as they should be\n");
}

/// A view of an analyst's own: the user of the sink may not replace it, and both ways out work.
#[test]
fn a_view_of_a_role_that_the_sink_is_not_in_is_named_with_the_ways_out() {
    let roles = Roles::new();
    roles.ask("ada", "CREATE VIEW reports.hers AS SELECT pool FROM pools");
    let refused = roles.sink(&["rebuild"]);
    let named = "pools is used by the view reports.hers of ada, which this user cannot replace";
    assert!(refused.code == 1 && refused.err.contains(named), "{}", refused.err);
    roles.assert_fine("apply", "the tables are as they should be\n");
    let rebuilt = "reservations, pools and pool_lives are made anew from 7 rows of events\n";
    let in_place = roles.sink(&["rebuild", "--in-place"]);
    assert_eq!((in_place.code, &*in_place.out), (0, rebuilt), "{}", in_place.err);
    roles.ask("ada", "ALTER VIEW reports.hers OWNER TO analysts");
    roles.assert_fine("rebuild", rebuilt);
    assert_eq!(roles.ask("ada", "SELECT count(*) > 0 FROM reports.hers"), "t");
}

/// A team lets one role own what several of its users make.
#[test]
fn tables_of_a_role_that_the_sink_is_in_stay_its_own() {
    let roles = Roles::new();
    roles
        .database
        .ask("CREATE ROLE keepers; GRANT keepers TO headroom; GRANT USAGE, CREATE ON SCHEMA headroom TO keepers");
    for owned in ["TABLE pools", "TABLE reservations"] {
        roles.ask("headroom", &format!("ALTER {owned} OWNER TO keepers"));
        let rights = roles.ask("headroom", RIGHTS);
        roles.assert_fine("rebuild", "reservations, pools and pool_lives are made anew from 7 rows of events\n");
        assert_eq!(roles.ask("headroom", RIGHTS), rights, "{owned}");
    }
    roles.assert_fine("plan", "the tables are as they should be\n");
}

/// The story: somebody tidies up the rights of the database under a running sink, and the next one looks for the reason where the
/// page sends him.
#[test]
fn a_right_that_goes_away_under_a_sink_is_told_by_the_status() {
    let (log, database) = (tempfile::tempdir().unwrap(), Database::start());
    database.apply();
    database.ask(
        "CREATE ROLE clerk LOGIN; GRANT USAGE ON SCHEMA headroom TO clerk;
         GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA headroom TO clerk",
    );
    let served = serve(log.path());
    let mut traffic = Traffic::new(&served.url, 55);
    let start = || Running::start(&mut database.sink_as("clerk", log.path(), &["--sink-batch-ms", "100"]));
    let status = |args: &[&str]| run(&mut database.sink_as("clerk", log.path(), &[&["status"], args].concat()));
    for (right, table) in [("INSERT", "events"), ("UPDATE", "pools"), ("UPDATE", "sink_positions")] {
        let mut sink = start();
        until("all is well", || {
            traffic.calls(1);
            let told = status(&[]);
            told.code == 0 && !told.out.contains("stopped") && !told.out.contains("never written")
        });
        database.ask(&format!("REVOKE {right} ON {table} FROM clerk"));
        until("it has ended", || {
            traffic.calls(1);
            sink.is_over()
        });
        let says = format!("the database says: permission denied for table {table} (42501)");
        let ended = sink.ended();
        assert!(ended.code == 1 && ended.err.contains(&says), "{}", ended.err);
        let lacks = format!("this user lacks the rights {right} for {table}, without which nothing is written\n");
        let told = status(&[]);
        assert!(told.code == 1 && told.out.starts_with(&lacks), "{}{}", told.out, told.err);
        let told = status(&["--json"]);
        assert!(told.code == 1 && told.err.contains(lacks.trim_end()), "{}{}", told.out, told.err);
        database.ask(&format!("GRANT {right} ON {table} TO clerk"));
    }
    let sink = start();
    until("the next one goes on", || status(&[]).code == 0);
    served.running.terminate();
    assert_eq!(sink.terminate().code, 0);
    assert_rest(&database, log.path());
}
