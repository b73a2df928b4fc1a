//! Transactions that the database breaks off, each at a known place: nothing of them is written, and all of it afterwards.

use super::postgres::Database;
use super::traffic::Traffic;
use super::{assert_rest, serve};
use crate::process::{Running, Served, run};
use crate::wait::until;
use tempfile::TempDir;

/// A server under calls, and a sink into a database.
struct Scene {
    log: TempDir,
    database: Database,
    served: Served,
    traffic: Traffic,
    sink: Running,
}

impl Scene {
    /// With this setting of the sessions of the database, such as a word of SQL after SET.
    fn new(seed: u64, setting: &str) -> Scene {
        let (log, database) = (tempfile::tempdir().unwrap(), Database::start());
        database.apply();
        database.ask(&format!("ALTER DATABASE postgres SET {setting}"));
        let served = serve(log.path());
        let traffic = Traffic::new(&served.url, seed);
        let sink = Running::start(&mut database.sink(log.path(), &["--sink-batch-ms", "100"]));
        until("something is written", || database.written() > 0);
        Scene { log, database, served, traffic, sink }
    }

    /// Runs a transaction under calls: `first`, then it waits until somebody waits for a lock like this, then `last`.
    fn transaction(&mut self, first: &str, lock: &str, last: &str) {
        let sql = format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL deadlock_timeout = '50s'; {first};
             DO $$ BEGIN
                 FOR look IN 1..2000 LOOP
                     IF EXISTS (SELECT FROM pg_locks WHERE NOT granted AND {lock}) THEN
                         {last};
                         RETURN;
                     END IF;
                     PERFORM pg_sleep(0.02);
                 END LOOP;
                 RAISE EXCEPTION 'nobody waits';
             END $$;
             COMMIT"
        );
        self.database.ask_beside(&sql, || self.traffic.calls(1));
    }

    /// The sink goes on, has said why it could not for a while, and each event is a row once.
    fn assert_goes_on(mut self, has_said: &str) {
        let before = self.database.written();
        until("it goes on", || {
            self.traffic.calls(1);
            self.database.written() > before
        });
        // The words of the database end with its code.
        let told = if has_said.ends_with(')') { has_said } else { " s ago: " };
        until("the status tells why", || {
            let status = run(&mut self.database.sink(self.log.path(), &["status"]));
            assert_eq!(status.code, 0, "{}{}", status.out, status.err);
            status.out.lines().any(|line| line.contains(": last failure ") && line.contains(told))
        });
        self.served.running.terminate();
        let ended = self.sink.terminate();
        assert_eq!(ended.code, 0, "{}", ended.err);
        assert!(ended.err.contains(has_said), "{has_said} in {}", ended.err);
        assert_rest(&self.database, self.log.path());
    }
}

/// The connection is ended by an administrator while it copies rows, and while it merges them into each of the tables.
#[test]
fn a_connection_that_is_ended_within_a_transaction_has_written_nothing() {
    let mut scene = Scene::new(41, "deadlock_timeout = '3s'");
    for table in ["events", "reservations", "pools", "events", "reservations", "pools"] {
        let lock = format!("relation = '{table}'::regclass");
        let end = format!("PERFORM pg_terminate_backend(pid) FROM pg_locks WHERE NOT granted AND {lock}");
        scene.transaction(&format!("LOCK TABLE {table} IN EXCLUSIVE MODE"), &lock, &end);
    }
    scene.assert_goes_on("terminating connection due to administrator command (57P01)");
}

/// The whole server ends at once while a transaction of the sink is open, and recovers.
#[test]
fn a_server_that_ends_within_a_transaction_has_written_nothing() {
    let mut scene = Scene::new(42, "deadlock_timeout = '3s'");
    for table in ["events", "reservations", "pools"] {
        let held = scene.database.begin(&format!("BEGIN; LOCK TABLE {table} IN EXCLUSIVE MODE; SELECT pg_sleep(100)"));
        let waits = format!("SELECT count(*) > 0 FROM pg_locks WHERE NOT granted AND relation = '{table}'::regclass");
        until("the sink is within a transaction", || {
            scene.traffic.calls(1);
            scene.database.ask(&waits) == "t"
        });
        let before = scene.database.written();
        scene.database.stop();
        drop(held);
        scene.database.serve();
        until("it goes on", || {
            scene.traffic.calls(1);
            scene.database.written() > before
        });
    }
    scene.assert_goes_on("the sink waits");
}

/// The story: the administrators have set all sessions to repeatable reads. Whoever changes the same row in the meantime
/// breaks the transaction off.
#[test]
fn a_serialization_failure_is_tried_again() {
    let mut scene = Scene::new(43, "default_transaction_isolation = 'repeatable read'");
    for _ in 0..5 {
        scene.transaction(
            "UPDATE sink_positions SET stopped = stopped",
            "locktype IN ('transactionid', 'tuple')",
            "PERFORM 1",
        );
    }
    scene.assert_goes_on("could not serialize access due to concurrent update (40001)");
}

/// Waits for a position that a transaction of the sink holds.
const NEED_A_HELD_POSITION: &str = "
    UPDATE sink_positions SET stopped = stopped WHERE partition = (
        SELECT min(partition) FROM sink_positions
        WHERE partition NOT IN (SELECT partition FROM sink_positions FOR UPDATE SKIP LOCKED))";

/// Somebody holds a table that the sink needs, and needs the position that the sink holds: the sink finds the deadlock and
/// gives way.
#[test]
fn a_deadlock_is_given_way_to_and_tried_again() {
    let mut scene = Scene::new(44, "deadlock_timeout = '3s'");
    for table in ["pools", "reservations"] {
        let lock = format!("relation = '{table}'::regclass");
        scene.transaction(&format!("LOCK TABLE {table} IN EXCLUSIVE MODE"), &lock, NEED_A_HELD_POSITION);
    }
    let deadlocks = "SELECT deadlocks > 0 FROM pg_stat_database WHERE datname = 'postgres'";
    until("the database has seen a deadlock", || scene.database.ask(deadlocks) == "t");
    scene.assert_goes_on("deadlock detected (40P01)");
}
