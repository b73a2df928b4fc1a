//! `headroom sink` into a real PostgreSQL: each event is a row once, whatever is killed, and the tables say what the server
//! says.

mod beside;
mod broken;
pub mod bucket;
#[cfg(feature = "parquet")]
mod columnar;
mod conflicts;
#[cfg(feature = "parquet")]
mod duckdb;
pub mod files;
mod forms;
#[cfg(feature = "crash-points")]
mod killed;
mod large;
mod logs;
mod lost_answers;
mod lost_demand;
mod meddled;
mod mended;
mod messages;
mod newer;
mod outage;
mod paced;
mod plans;
mod pooled;
mod positions;
pub mod postgres;
pub mod redshift;
mod refused;
mod roles;
mod samples;
mod secured;
mod shared;
pub mod state;
pub mod traffic;
mod turns;
mod views;

use crate::process::{Running, Served, foreign_agent, headroom, run};
use crate::server::Server;
use crate::wait::until;
use crate::world::ManualClock;
use headroom::domain::Micros;
use headroom::limits::DEDUP_WINDOW_MS;
use postgres::Database;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use traffic::Traffic;

/// Names the log of a command, if it reads one.
fn on_path(command: &mut Command, log: &Path, args: &[&str]) {
    if !matches!(args, ["plan" | "apply" | "rebuild", ..]) {
        command.env("HEADROOM_DATA_DIR", log);
    }
}

fn serve(dir: &Path) -> Served {
    let mut serve = headroom(["serve", "--listen", "127.0.0.1:0", "--partitions", "3", "--canary", "true"]);
    Served::start(serve.args(["--canary-interval-ms", "1000", "--data-dir"]).arg(dir))
}

/// The events that `headroom cat` prints, without those of internal pools.
pub fn events(cat: &mut Command) -> Vec<Value> {
    let ended = run(cat);
    assert_eq!(ended.code, 0, "{}", ended.err);
    let events = ended.out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    events.filter(|event| event.get("internal").is_none()).collect()
}

/// Writes what is left of a stopped server's log; then the tables hold all of it.
#[track_caller]
fn assert_rest(database: &Database, log: &Path) {
    let ended = run(&mut database.sink(log, &["backfill"]));
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert_same(database, log);
    // The batches came as they came: in few large ones everything is the same.
    let all = "SELECT * FROM reservations ORDER BY reservation; SELECT * FROM pools ORDER BY pool";
    let before = database.ask(all);
    assert_eq!(run(&mut database.sink(log, &["rebuild"])).code, 0);
    assert_eq!(database.ask(all), before);
}

/// Whether the tables hold every event of a stopped server's log once, and what follows from the events.
#[track_caller]
fn assert_same(database: &Database, log: &Path) {
    assert_rows(database, |name| on_log(name, log));
}

/// The same, of the log on which this makes a command of `headroom`.
#[track_caller]
pub fn assert_rows(database: &Database, on_log: impl Fn(&str) -> Command) {
    state::assert_sums(database, || on_log("state"));
    assert_tables(database, &events(&mut on_log("cat")));
}

/// A command of `headroom` on this log.
fn on_log(name: &str, log: &Path) -> Command {
    let mut command = headroom([name]);
    command.env("HEADROOM_DATA_DIR", log);
    command
}

/// Partition, seq and digest of each of these events, sorted.
pub fn identities(events: &[Value]) -> Vec<String> {
    let identity = |event: &Value| format!("{}|{}|{}", event["partition"], event["seq"], event["digest"]);
    let mut identities: Vec<String> = events.iter().map(|event| identity(event).replace('"', "")).collect();
    identities.sort();
    identities
}

/// The same of each row of events in a schema.
#[track_caller]
pub fn rows_of(database: &Database, schema: &str) -> Vec<String> {
    let rows = database.ask(&format!("SELECT partition, seq, digest FROM {schema}.events"));
    let mut rows: Vec<String> = rows.lines().map(str::to_owned).collect();
    rows.sort();
    rows
}

/// The rows that a query finds by their first column, which no two of them share.
#[track_caller]
fn by_id(database: &Database, query: &str) -> BTreeMap<String, Vec<String>> {
    let mut found = BTreeMap::new();
    for row in database.ask(query).lines() {
        let mut columns = row.split('|').map(str::to_owned);
        let id = columns.next().unwrap();
        assert!(found.insert(id, columns.collect()).is_none(), "{row} is not the only row with its id");
    }
    found
}

/// Whether the tables hold these events once, and what follows from them.
#[track_caller]
fn assert_tables(database: &Database, events: &[Value]) {
    assert_eq!(rows_of(database, "headroom"), identities(events));
    let miscounted =
        "SELECT p.partition, p.row_count, count(e.seq) FROM sink_positions p LEFT JOIN events e USING (partition)
        GROUP BY 1, 2 HAVING p.row_count <> count(e.seq)";
    assert_eq!(database.ask(miscounted), "");
    let text = |event: &Value, name: &str| event[name].as_str().unwrap_or_default().to_owned();
    // What the last events say of each pool and each reservation.
    let (mut pools, mut reservations) = (BTreeMap::new(), BTreeMap::new());
    for event in events.iter().filter(|event| !matches!(&*text(event, "kind"), "Repeated" | "Rejected")) {
        if !event["used"].is_null() {
            pools.insert(text(event, "pool"), (event["limits"].clone(), event["used"].clone()));
        }
        if !event["status"].is_null() {
            let shown = (text(event, "pool"), text(event, "status"), event["demand"].clone());
            reservations.insert(text(event, "reservation"), shown);
        }
        if event["kind"] == "PoolRetired" {
            for (pool, status, _) in reservations.values_mut() {
                if *pool == text(event, "pool") && matches!(status.as_str(), "held" | "confirmed") {
                    *status = "retired".to_owned();
                }
            }
        }
    }
    let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    let found = by_id(database, "SELECT pool, limits, used FROM pools").into_iter();
    assert_eq!(found.map(|(pool, row)| (pool, (json(&row[0]), json(&row[1])))).collect::<BTreeMap<_, _>>(), pools);
    let found = by_id(database, "SELECT reservation, pool, status, demand FROM reservations").into_iter();
    let found = found.map(|(id, row)| (id, (row[0].clone(), row[1].clone(), json(&row[2]))));
    assert_eq!(found.collect::<BTreeMap<_, _>>(), reservations);
    // What is in use is what live reservations take.
    let differ = "SELECT count(*) FROM pools p CROSS JOIN LATERAL jsonb_each_text(p.used::jsonb) d (dimension, used)
        WHERE p.retired_at IS NULL AND d.used::bigint <> COALESCE((
            SELECT sum((r.demand::jsonb ->> d.dimension)::bigint) FROM reservations r
            WHERE r.pool = p.pool AND r.status IN ('held', 'confirmed')), 0)";
    assert_eq!(database.ask(differ), "0");
}

/// The story: an analyst asks how full the slots are, and the planner's figures on the screen say another thing. So what the
/// tables say is compared with what the server says, after every kind of call.
#[test]
fn the_tables_say_what_the_server_says() {
    let (log, database) = (tempfile::tempdir().unwrap(), Database::start());
    database.apply();
    let served = serve(log.path());
    let mut traffic = Traffic::new(&served.url, 7);
    traffic.calls(400);
    // A hold of the last calls may expire after the server was asked, and before its log was read.
    until("the tables say of each pool what the server says", || {
        let told = traffic.pools();
        let ended = run(&mut database.sink(log.path(), &["backfill"]));
        assert_eq!(ended.code, 0, "{}{}", ended.out, ended.err);
        told.iter().all(|(pool, limits, used)| {
            let found = database.ask(&format!("SELECT limits, used FROM pools WHERE pool = '{pool}'"));
            let (found_limits, found_used) = found.split_once('|').unwrap();
            let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
            (&json(found_limits), &json(found_used)) == (limits, used)
        })
    });
    let kinds = database.ask("SELECT DISTINCT kind FROM events ORDER BY 1");
    let expected = [
        "Accepted",
        "Amended",
        "Confirmed",
        "Expired",
        "Extended",
        "LimitsAdjusted",
        "ModeSet",
        "PoolDefined",
        "PoolRetired",
        "Rejected",
        "Released",
        "Repeated",
    ];
    for kind in expected {
        assert!(kinds.lines().any(|found| found == kind), "{kind} in {kinds}");
    }
    assert_eq!(database.ask("SELECT count(*) FROM events WHERE pool LIKE '\\_\\_headroom.%'"), "0");
    traffic.retire(0);
    traffic.retired.sort();
    drop(served.running.terminate());
    // From the file of the stopped server: only what is new.
    let again = run(&mut database.sink(log.path(), &["backfill"]));
    assert_eq!(again.code, 0, "{}{}", again.out, again.err);
    assert_same(&database, log.path());
    let retired =
        database.ask("SELECT pool, retire_cause FROM pools WHERE retired_at IS NOT NULL ORDER BY pool COLLATE \"C\"");
    let expected: Vec<_> = traffic.retired.iter().map(|pool| format!("{pool}|caller")).collect();
    assert_eq!(retired.lines().collect::<Vec<_>>(), expected);
    assert_ne!(database.ask("SELECT count(*) FROM reservations WHERE end_cause = 'retired'"), "0");
    let nothing = run(&mut database.sink(log.path(), &["backfill"]));
    assert_eq!((nothing.code, &*nothing.out), (0, "0 rows of 0 events written\n"), "{}", nothing.err);
    let status = run(&mut database.sink(log.path(), &["status"]));
    assert_eq!(status.code, 0, "{}", status.err);
    assert_eq!(
        status.out.lines().filter(|line| line.contains(", 0 events behind, last batch ")).count(),
        3,
        "{}",
        status.out
    );
}

const NOW: Micros = Micros(1_800_000_000_000_000);

/// A pool lives twice in this log, 24 hours apart by a clock of the test's own. `after` is called when each life is written.
fn two_lives(log: &Path, mut after: impl FnMut()) {
    let server = |at: Micros| Server::start(log, 1, Arc::new(ManualClock::at(at)));
    let reserve = |server: &Server, units: u64| {
        let body = format!(r#"{{"pool":"van-1","demand":{{"orders":{units}}}}}"#);
        let reply = server.client().send("POST", "/v1/reservations", &["Idempotency-Key: k"], &body);
        assert_eq!(reply.status, 201, "{reply:?}");
    };
    let first = server(NOW);
    first.pool("van-1", 9);
    reserve(&first, 2);
    let retired = first.client().send("DELETE", "/v1/pools/van-1?with_reservations=true", &[], "");
    assert_eq!(retired.status, 200, "{retired:?}");
    drop(first);
    after();
    let second = server(NOW.plus_ms(DEDUP_WINDOW_MS));
    second.pool("van-1", 5);
    reserve(&second, 3);
    drop(second);
    after();
}

#[test]
fn a_second_life_of_a_pool_is_told_apart_from_the_first() {
    let (log, database) = (tempfile::tempdir().unwrap(), Database::start());
    database.apply();
    let mut told = Vec::new();
    two_lives(log.path(), || {
        let ended = run(&mut database.sink(log.path(), &["backfill"]));
        assert_eq!(ended.code, 0, "{}{}", ended.out, ended.err);
        told.push(database.ask("SELECT version, used ->> 'orders', retire_cause FROM pools"));
        told.push(database.ask("SELECT status, end_cause, demand ->> 'orders' FROM reservations"));
    });
    assert_eq!(told, ["1|2|caller", "retired|retired|2", "1|3|", "confirmed||3"]);
    let lives = "SELECT from_seq, until_seq, retire_cause, used ->> 'orders' FROM pool_lives ORDER BY from_seq";
    let lives = database.ask(lives).replace('\n', "|");
    let [from, until, "caller", "2", again, "", "", ""] = lives.split('|').collect::<Vec<_>>()[..] else {
        panic!("{lives}")
    };
    let usage = "SELECT from_seq, limit_units, used, peak_used FROM slot_utilisation ORDER BY from_seq";
    assert_eq!(database.ask(usage), format!("{from}|9|2|2\n{again}|5|3|3"));
    let accepted =
        "SELECT seq BETWEEN {from} AND {until}, seq > {again} FROM events WHERE kind = 'Accepted' ORDER BY seq";
    let accepted = accepted.replace("{from}", from).replace("{until}", until).replace("{again}", again);
    assert_eq!(database.ask(&accepted), "t|f\nf|t");
}

/// New events come into the tables while the server runs, also after it was started again on another port.
#[test]
fn new_events_are_written_while_the_sink_runs() {
    let (log, database) = (tempfile::tempdir().unwrap(), Database::start());
    database.apply();
    // The sink waits for the server.
    let mut sink = Running::start(&mut database.sink(log.path(), &["--sink-batch-ms", "100"]));
    for round in 0..2 {
        let served = serve(log.path());
        let mut traffic = Traffic::new(&served.url, round);
        traffic.calls(40);
        let rows = || database.ask("SELECT count(*) FROM events WHERE kind = 'Accepted'").parse::<u64>().unwrap();
        let before = rows();
        traffic.calls(40);
        until("more is written", || rows() > before);
        assert!(!sink.is_over());
        served.running.terminate();
    }
    assert_eq!(sink.terminate().code, 0);
    assert_rest(&database, log.path());
}

/// By how much the priority of a process is below the usual one.
fn nice(process: &str) -> i32 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let after_name = stat.rsplit_once(')').unwrap().1;
    after_name.split_whitespace().nth(16).unwrap().parse().unwrap()
}

#[test]
fn a_sink_shows_how_far_it_is() {
    let (log, database) = (tempfile::tempdir().unwrap(), Database::start());
    database.apply();
    let served = serve(log.path());
    Traffic::new(&served.url, 9).calls(10);
    let args = ["--sink-batch-ms", "100", "--sink-listen", "127.0.0.1:0"];
    let mut sink = Running::start(&mut database.sink(log.path(), &args));
    let line = sink.line();
    assert_eq!(nice(&sink.child().id().to_string()), (nice("self") + 10).min(19), "a server goes first");
    let url = line.strip_prefix("headroom sink shows its metrics on ").unwrap();
    let get = |url: &str| foreign_agent().get(url).call().unwrap();
    let metrics = || get(url).body_mut().read_to_string().unwrap();
    for partition in 0..3 {
        let is_there = |line: &str| metrics().lines().any(|found| found == line);
        until("the partition is written", || {
            is_there(&format!("headroom_sink_writes_partition{{partition=\"{partition}\"}} 1"))
        });
        until("all of it is", || is_there(&format!("headroom_sink_behind_events{{partition=\"{partition}\"}} 0")));
        assert!(is_there(&format!("headroom_sink_stopped{{partition=\"{partition}\"}} 0")));
    }
    let rows: u64 = metrics()
        .lines()
        .filter_map(|line| line.strip_prefix("headroom_sink_rows_total{"))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
        .sum();
    assert!(rows >= 10, "{rows}");
    let is_own =
        |line: &&str| ["headroom_sink_", "headroom_build_info", "process_"].iter().any(|own| line.starts_with(own));
    let of_server: Vec<String> =
        metrics().lines().filter(|line| !line.starts_with('#') && !is_own(line)).map(str::to_owned).collect();
    assert!(of_server.is_empty() && metrics().contains("\nheadroom_build_info{"), "{of_server:?}");
    assert_eq!(get(&url.replace("/metrics", "/")).status().as_u16(), 404);
    assert_eq!(sink.terminate().code, 0);
}
