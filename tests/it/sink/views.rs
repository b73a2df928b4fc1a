//! What the views say of eleven days of a busy market, compared row by row with what follows from the events in plain Rust.

mod aside;
mod asked;
mod event;
mod expected;
mod lost;
mod market;
mod written;

use super::postgres::Database;
use super::redshift::Redshift;
use super::{assert_same, events};
use crate::process::{headroom, run};
use event::Event;
use expected::{Expected, Rows};
use headroom::sink::postgres::{Database as SinkDatabase, VIEWS};
use market::{EDGE, HOURS, Market};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;
use written::Written;

const SEED: u64 = 28;

/// The tables and views that are compared: every view, and what follows from the events.
fn compared() -> impl Iterator<Item = &'static str> {
    ["pools", "reservations", "pool_lives"].into_iter().chain(VIEWS.iter().map(|view| view.name))
}

/// The columns of each table and view, with their types.
type Columns = BTreeMap<String, Vec<(String, String)>>;

fn columns(database: &Database) -> Columns {
    let told = database.ask(
        "SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod)
         FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
         WHERE c.relnamespace = 'headroom'::regnamespace AND c.relkind IN ('r', 'v') AND a.attnum > 0 AND NOT a.attisdropped
         ORDER BY c.relname, a.attnum",
    );
    let mut columns = Columns::new();
    for line in told.lines() {
        let [relation, name, of] = line.split('|').collect::<Vec<_>>()[..] else { panic!("{line}") };
        columns.entry(relation.to_owned()).or_default().push((name.to_owned(), of.to_owned()));
    }
    columns
}

/// What the database says, each row as an object: times and lengths of time in microseconds, days and fractions as text.
fn told(database: &Database, columns: &Columns) -> Rows {
    let cell = |(column, of): &(String, String)| match &**of {
        "timestamp with time zone" | "interval" => {
            format!("(extract(epoch FROM \"{column}\") * 1000000)::bigint AS \"{column}\"")
        }
        // Redshift's, where objects and lists are JSON in a text.
        _ if column == "lead_time" => format!("(\"{column}\" * 1000000)::bigint AS \"{column}\""),
        _ if column == "limits_before" => format!("\"{column}\"::jsonb"),
        "character varying(65535)" => format!("\"{column}\"::jsonb"),
        of if of == "date" || of.starts_with("numeric") => format!("\"{column}\"::text"),
        _ => format!("\"{column}\""),
    };
    let mut rows = Rows::new();
    for name in compared() {
        let cells: Vec<String> = columns[name].iter().map(cell).collect();
        let said = database.ask(&format!("SELECT to_jsonb(r) FROM (SELECT {} FROM {name}) r", cells.join(", ")));
        rows.insert(name, said.lines().map(|line| serde_json::from_str(line).unwrap()).collect());
    }
    rows
}

/// The rows that are there more often than they should be, or less.
fn differences(told: &[Value], expected: &[Value]) -> Vec<String> {
    let count = |rows: &[Value]| {
        let mut counts = BTreeMap::<String, usize>::new();
        rows.iter().for_each(|row| *counts.entry(row.to_string()).or_default() += 1);
        counts
    };
    let (told, expected) = (count(told), count(expected));
    let all: BTreeSet<&String> = told.keys().chain(expected.keys()).collect();
    let of = |rows: &BTreeMap<String, usize>, row: &String| rows.get(row).copied().unwrap_or_default();
    let different = all.into_iter().filter(|row| of(&told, row) != of(&expected, row));
    different.map(|row| format!("{} times and not {}: {row}", of(&told, row), of(&expected, row))).collect()
}

/// For how long a slot without an end has been sold out depends on when it is asked: between these two times. Those that say
/// so are made to say what they would have said at the first of them.
fn at_once(told: &mut [Value], first: &[Value], last: &[Value]) {
    let minutes = |row: &Value| row["minutes"].as_str().unwrap().parse::<f64>().unwrap();
    for row in told {
        for (first, last) in first.iter().zip(last) {
            let mut then = row.clone();
            then["minutes"] = first["minutes"].clone();
            if then == *first && (minutes(first)..=minutes(last)).contains(&minutes(row)) {
                *row = then;
                break;
            }
        }
    }
}

/// Whether the database says of this log, from this event of each partition on, what follows from the events.
#[track_caller]
fn assert_views(database: &Database, log: &Path, first: i64) -> Rows {
    let events = printed(log).into_iter().filter(|event| event.seq >= first).collect();
    assert_follows(database, events)
}

/// All events of a log.
fn printed(log: &Path) -> Vec<Event> {
    events(headroom(["cat"]).env("HEADROOM_DATA_DIR", log)).into_iter().map(Event::of).collect()
}

/// Whether the database says what follows from these events.
#[track_caller]
fn assert_follows(database: &Database, events: Vec<Event>) -> Rows {
    let columns = columns(database);
    let now = || database.ask("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint").parse().unwrap();
    let before = now();
    let mut told = told(database, &columns);
    let after = now();
    let expected = Expected::of(events, columns["events"].clone());
    let rows = expected.rows(before);
    at_once(told.get_mut("sold_out").unwrap(), &rows["sold_out"], &expected.sold_out(after));
    let different: Vec<String> = compared()
        .flat_map(|name| differences(&told[name], &rows[name]).into_iter().map(move |row| format!("{name} {row}")))
        .collect();
    assert!(different.is_empty(), "{} differences:\n{}", different.len(), different.join("\n"));
    rows
}

/// Whether there is enough in the log for the views to be wrong.
#[track_caller]
fn assert_rich(rows: &Rows) {
    let mut missing = Vec::new();
    let mut expect = |what: &str, is_there: bool| missing.extend((!is_there).then(|| what.to_owned()));
    let has = |name: &str, of: &dyn Fn(&Value) -> bool| rows[name].iter().any(of);
    for reason in ["over_limit", "closed", "paused", "past_cutoff", "unknown_dimension"] {
        expect(reason, has("lost_demand_keys", &|row| row["reason"] == reason));
    }
    let edges = [("in-same", true), ("out-same", false), ("in-order", true), ("out-order", false)];
    for (key, is_elsewhere) in edges.into_iter().chain([("given-up", false), ("tried-again", true)]) {
        let is = |row: &Value| row["key"] == format!("{EDGE}{key}") && row["accepted_elsewhere"] == is_elsewhere;
        expect(key, has("lost_demand_keys", &is));
    }
    let is_again = |row: &Value| row["key"] == format!("{EDGE}in-order-again");
    expect("an order refused again", has("decisions", &is_again) && !has("lost_demand_keys", &is_again));
    expect("no dimension decided", has("lost_demand_keys", &|row| row["part"] == 2));
    expect("a queue", has("lost_demand_keys", &|row| row["raise_needed"].as_i64() > row["units"].as_i64()));
    for fate in ["confirmed", "expired", "released", "retired", "open"] {
        expect(fate, has("hold_conversion", &|row| row[fate] != 0));
    }
    for cause in [json!("caller"), json!("window"), Value::Null] {
        expect("an end of a life", has("pool_lives", &|row| row["retire_cause"] == cause));
    }
    expect("accepted after the slot began", has("lead_times", &|row| row["hours_before"].as_i64() < Some(0)));
    expect("full without a slot", has("sold_out", &|row| row["window_start"].is_null()));
    expect("over-committed", has("over_committed", &|_| true));
    expect("misrouted", has("decisions", &|row| row["reason"] == "misrouted"));
    for kind in ["ClockSet", "PoolRetired", "Repeated", "Amended"] {
        expect(kind, has("decisions", &|row| row["kind"] == kind));
    }
    expect("taken back", has("decisions", &|row| row["ask"] == "Abandon" && row["actor_class"] == "headroom"));
    expect("malformed", has("decisions", &|row| row["kind"] == "Malformed"));
    expect("lives", rows["pool_lives"].len() >= rows["pools"].len() + 4);
    expect("events", rows["decisions"].len() > 3_000);
    // What is there several times.
    let again = |name: &str, of: &dyn Fn(&Value) -> Option<String>| {
        let mut seen = BTreeMap::<String, usize>::new();
        rows[name].iter().filter_map(of).for_each(|of| *seen.entry(of).or_default() += 1);
        seen.into_values().any(|times| times > 1)
    };
    let is_first = |row: &Value| row["part"] == 1 && !row["key"].is_null();
    let refused = |row: &Value| is_first(row).then(|| format!("{} {}", row["pool"], row["key"]));
    expect("a key refused in two lives", again("lost_demand_keys", &refused));
    let accepted = |row: &Value| (row["kind"] == "Accepted").then(|| row["reservation"].to_string());
    expect("a reservation accepted again", again("decisions", &accepted));
    let tried = |row: &Value| {
        let is = row["kind"] == "Accepted" && row["key"] == format!("{EDGE}tried-again");
        is.then(|| row["pool"].to_string()).filter(|pool| pool.contains("late"))
    };
    expect("taken back and accepted again in one life", again("decisions", &tried));
    assert!(missing.is_empty(), "not in the log: {missing:?}");
}

/// Serves the market, and calls this each time when it pauses.
fn market(log: TempDir, mut pauses: impl FnMut(&Path)) -> TempDir {
    let mut market = Market::new(SEED);
    [HOURS / 4, HOURS / 2, HOURS].into_iter().fold(log, |log, until| {
        let log = market.serve(log, until);
        pauses(log.path());
        log
    })
}

#[track_caller]
fn assert_done(mut command: Command) {
    let ended = run(&mut command);
    assert_eq!(ended.code, 0, "{}{}", ended.out, ended.err);
}

/// The story: the views are what people decide by, and nobody checks them by hand.
#[test]
fn every_view_says_what_follows_from_the_events() {
    let database = Database::start();
    database.apply();
    let log = market(tempfile::tempdir().unwrap(), |log| assert_done(database.sink(log, &["backfill"])));
    assert_same(&database, log.path());
    let rows = assert_views(&database, log.path(), 0);
    assert_rich(&rows);
    asked::assert_told(&database.access(), &rows);
    assert_done(database.sink(log.path(), &["rebuild"]));
    assert_views(&database, log.path(), 0);
}

/// Whether there are lives without a begin, and without an end, behind and before others.
#[track_caller]
fn assert_gaps(rows: &Rows) {
    let has = |of: &dyn Fn(&Value) -> bool| rows["pool_lives"].iter().any(of);
    let is_there = [
        has(&|row| !row["until_seq"].is_null() && row["retired_at"].is_null()),
        has(&|row| row["from_seq"] == 0 && row["began_at"].is_null()),
        has(&|row| row["from_seq"] != 0 && row["began_at"].is_null()),
    ];
    assert_eq!(is_there, [true; 3], "a life without an end, one without a begin, and one that is the second");
}

/// The story: a disk has lost some events, and an operator has them set aside. Among them are the end of a pool's life and the begin of
/// another. What cannot be read is unknown, and whatever follows from the rest is there once.
#[test]
fn what_follows_from_the_events_that_are_left_is_there_once() {
    let database = Database::start();
    database.apply();
    let mut spoilt = None;
    let log = market(tempfile::tempdir().unwrap(), |log| {
        let log = spoilt.insert(aside::spoilt(log, &printed(log)));
        assert_done(database.sink(log.path(), &["backfill", "--sink-undecodable", "aside"]));
    });
    let left = || aside::left(printed(log.path()));
    assert_gaps(&assert_follows(&database, left()));
    let rebuild = || assert_done(database.sink(log.path(), &["rebuild"]));
    rebuild();
    let rows = assert_follows(&database, left());
    asked::assert_told(&database.access(), &rows);
    // Whatever the batches are.
    SinkDatabase::connect(&database.access()).unwrap().rebuild_by(7, |_| {}).unwrap();
    assert_follows(&database, left());
}

#[test]
fn what_follows_in_redshift_from_the_events_that_are_left_is_there_once() {
    let redshift = Redshift::start();
    redshift.apply();
    let mut spoilt = None;
    let log = market(tempfile::tempdir().unwrap(), |log| {
        redshift.writers_are_gone();
        let log = spoilt.insert(aside::spoilt(log, &printed(log)));
        assert_done(redshift.sink(log.path(), &["backfill", "--sink-undecodable", "aside"]));
    });
    // As Redshift does by itself. Its tables have no keys, and without statistics this PostgreSQL looks through all lives for each row;
    // Redshift hashes what is joined by columns that are equal.
    redshift.tables.ask("ANALYZE");
    let left = || aside::left(printed(log.path()));
    assert_gaps(&assert_follows(&redshift.tables, left()));
    SinkDatabase::connect(&redshift.access()).unwrap().rebuild_by(400, |_| {}).unwrap();
    assert_follows(&redshift.tables, left());
}

/// Whether PostgreSQL and Redshift say what follows from a log of which these events are lost, in one batch, in batches of sixteen
/// events, and from each event alone. What follows, for each of the two.
#[track_caller]
fn assert_both(written: &Written, lost: &[i64]) -> [Rows; 2] {
    let (whole, log) = (written.without(&[]), written.without(lost));
    let left = || printed(whole.path()).into_iter().filter(|event| !lost.contains(&event.seq)).collect();
    let (database, redshift) = (Database::start(), Redshift::start());
    database.apply();
    redshift.apply();
    let backfill = ["backfill", "--sink-undecodable", "aside"];
    assert_done(database.sink(log.path(), &backfill));
    assert_done(redshift.sink(log.path(), &backfill));
    let follow = || [&database, &redshift.tables].map(|tables| assert_follows(tables, left()));
    follow();
    let told = [16, 1].map(|piece| {
        for access in [database.access(), redshift.access()] {
            SinkDatabase::connect(&access).unwrap().rebuild_by(piece, |_| {}).unwrap();
        }
        follow()
    });
    let [_, rows] = told;
    rows
}

/// The story: a server's clock is two days ahead. It is set back after a pool has retired, and the pool begins anew. The sink writes
/// all of it in one batch, and takes the begin of the first life for that of the second, because it is later. What the first life
/// accepted ended with it, and Redshift took the begin of the second one for that end, because it is earlier.
#[test]
fn a_life_began_and_ended_when_its_own_events_were_decided_whatever_the_clock_had_been() {
    for rows in assert_both(&Written::set_back_between_lives(), &[]) {
        let began = |row: usize| rows["pool_lives"][row]["began_at"].as_i64().unwrap();
        assert!(began(1) < began(0), "the second life began earlier by the clock");
        let ended = rows["reservations"].iter().filter_map(|row| row["ended_at"].as_i64()).collect::<Vec<_>>();
        assert_eq!(json!(ended), json!([rows["pool_lives"][0]["retired_at"]]));
    }
}

/// The story: a clock is set back while a pool has holds, and the pool retires. Until when such a hold would have lasted depended on
/// whether the sink wrote both events in one batch.
#[test]
fn a_hold_ends_earlier_by_the_clocks_that_were_set_back_while_it_was_one() {
    for rows in assert_both(&Written::set_back_around_an_end(), &[]) {
        let mut until: Vec<_> = rows["reservations"].iter().map(|row| row["hold_until"].as_i64().unwrap()).collect();
        until.sort_unstable();
        // One was to last from hour 51, and the clock went back by twelve; the other one from hour 41.
        let hours = until[1] - until[0];
        assert!(rows["reservations"].iter().all(|row| row["status"] == "retired"));
        assert_eq!((until.len(), hours), (2, 2 * expected::HOUR));
    }
}

/// The story: a pool is full when the clock is set back by two days, and a report says that it was sold out for less than no time.
#[test]
fn no_pool_was_sold_out_for_less_than_no_time() {
    for rows in assert_both(&Written::set_back_while_full(), &[]) {
        let minutes: Vec<_> = rows["sold_out"].iter().map(|row| &row["minutes"]).collect();
        assert_eq!(json!(minutes), json!(["60.0"]));
        let ends_early =
            |row: &Value| row["until_time"].as_i64().is_some_and(|until| until < row["from_time"].as_i64().unwrap());
        assert!(!rows["pool_usage"].iter().any(ends_early), "a time ends before it began");
    }
}

/// The story: a planner closes a slot early that was sold out, and the report of the week does not have it. Another slot is told to admit
/// again in the evening, and the report says that it was sold out while it admitted nothing.
#[test]
fn a_pool_was_sold_out_while_it_was_full_and_admitted_by_the_cutoff_of_that_time() {
    for rows in assert_both(&Written::moved_while_full(), &[]) {
        let minutes: Vec<_> = rows["sold_out"].iter().map(|row| &row["minutes"]).collect();
        assert_eq!(json!(minutes), json!(["60.0", "180.0", "0.0"]));
    }
}

/// The story: the end of a life is set aside, and so is the whole of the next one but what it accepted. What was said of that one
/// right before a third life begins is no last state of the first.
#[test]
fn a_life_whose_end_and_next_begin_were_set_aside_has_no_last_units() {
    for rows in assert_both(&Written::three_lives(), &[15, 16, 18]) {
        let lives: Vec<_> = rows["pool_lives"].iter().map(|row| [&row["from_seq"], &row["until_seq"]]).collect();
        assert_eq!(json!(lives), json!([[1, 19], [20, null]]));
        let units: Vec<_> = rows["pool_units"].iter().map(|row| &row["from_seq"]).collect();
        assert_eq!(json!(units), json!([20]), "the first life has none");
    }
}

/// The story: the begin of a life is set aside, and its end as well. What was accepted in it ends when the next life begins, whether
/// or not the sink writes both in one batch, and whatever it has written of the pool before.
#[test]
fn what_a_life_accepted_whose_begin_and_end_were_set_aside_ends_with_the_next_begin() {
    // The whole of the first two lives but what they accepted, and the begin and the end of the second one.
    for lost in [&[1, 15, 16, 18][..], &[16, 18]] {
        for rows in assert_both(&Written::three_lives(), lost) {
            let live = rows["reservations"].iter().filter(|row| row["status"] != "retired").count();
            assert_eq!(live, 1, "only the last life lasts");
        }
    }
}

/// Whoever begins with a later event has lives without a beginning, and pools of which nothing is known but their counters.
#[test]
fn tables_that_begin_later_say_what_follows_from_what_they_have() {
    const FIRST: i64 = 800;
    let database = Database::start();
    database.apply();
    let log = market(tempfile::tempdir().unwrap(), |log| {
        let ended = run(&mut database.sink(log, &["backfill", "--from", &FIRST.to_string()]));
        let is_early = ended.err.contains("--from 800 is behind the end of every partition");
        assert_eq!(ended.code, if is_early { 2 } else { 0 }, "{}", ended.err);
    });
    let rows = assert_views(&database, log.path(), FIRST);
    let has = |name: &str, of: &dyn Fn(&Value) -> bool| rows[name].iter().any(of);
    let is_there = [
        has("pool_lives", &|row| row["from_seq"] == 0 && !row["retired_at"].is_null()),
        has("pool_lives", &|row| row["from_seq"] == 0 && row["retired_at"].is_null()),
        has("pools", &|row| row["mode"].is_null()),
        has("reservations", &|row| row["accepted_at"].is_null()),
    ];
    assert_eq!(is_there, [true; 4], "a life that ends, one that lasts, a pool and a reservation without beginning");
}

#[test]
fn every_view_in_redshift_says_what_follows_from_the_events() {
    let redshift = Redshift::start();
    redshift.apply();
    let log = market(tempfile::tempdir().unwrap(), |log| {
        redshift.writers_are_gone();
        assert_done(redshift.sink(log, &["backfill"]));
    });
    // As Redshift does by itself. Its tables have no keys, and without statistics this PostgreSQL looks through all lives for each row;
    // Redshift hashes what is joined by columns that are equal.
    redshift.tables.ask("ANALYZE");
    let rows = assert_views(&redshift.tables, log.path(), 0);
    asked::assert_told(&redshift.access(), &rows);
}
