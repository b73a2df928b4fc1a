//! The page for analysts (`src/sink/README.md`): what each table, column and view says, and ten questions with their answers
//! on the data of one small day. `HEADROOM_REWRITE_GOLDEN=1` writes it anew.

use super::postgres::Database;
use crate::process::{headroom, run};
use headroom::sink::postgres::{Dialect, VIEWS, tables};
use std::fmt::Write;
use std::path::Path;

/// The text of the page before what is made of the tables.
const HEAD: &str = r#"# Tables for analysts

This page is for people who ask questions of the tables that `headroom sink` writes
([how it is run](../OPERATING.md#tables-for-analysts)). A test writes the page from the schemas, the views and the answers of a
real database, so it says what the tables say.

- Everything is in one schema, `headroom` if `sink_schema` names no other: begin with `SET search_path TO headroom`.
- `events` has one row for each event, as [Events for readers](../../schemas/README.md) explains them. A `Repeated` event is an
  answer that was given again: it is no demand, and nothing was taken.
- Units are objects by dimension: `(demand ->> 'orders')::bigint`. The view `decision_units` has a row for each dimension.
- A time is an instant (`timestamp with time zone`), and your session shows it in its own time zone, in which it also reads the
  days and hours that you write: `SET timezone TO 'UTC'` shows times as they are on this page. Days of views are those of UTC in
  every session.
- `window_start` and `areas` of an event are those of its pool: read the view `decisions`, or join `pool_lives`,
  where each life of a pool has a row. The same id may have had several lives, with other slots.
- Rows come with the delay of `sink_batch_ms`. `sink_positions` says until when each partition is complete (`decided_until`); one
  that was never written has no row there.
- In Amazon Redshift objects and lists are JSON in a text, `decision_units` is a table, `partition` and `open` need double quotes,
  and `lead_time` is in seconds ([what differs](../OPERATING.md#tables-in-amazon-redshift)).
- Files in a folder or a bucket have the columns of `events` as well ([Files for a lake](../OPERATING.md#files-for-a-lake)).
"#;
const QUESTIONS: &str = r"
## Ten questions

The answers are those of one small day of the demonstration. To have it in tables of your own, name a new schema, so that it
does not come beside other decisions, and a database as in [Tables for analysts](../OPERATING.md#tables-for-analysts):

```sh
export HEADROOM_SINK_DATABASE=postgresql://headroom@127.0.0.1:5432/analytics HEADROOM_SINK_SCHEMA=small_day
headroom demo --day --keep small-day
headroom sink apply
headroom sink backfill --data-dir small-day
```

A refused caller counts as accepted elsewhere when the same key, or an order with the same `order_ref`, was accepted in another
slot within an hour. So callers who take a new key for the other slot have to send `order_ref`.

Refused calls to confirm, extend, amend or release name the reservation and not the order, so the last question asks for both.
When a pool's life ends, one event, `PoolRetired`, ends all that was left in it and names none of it: `ended_at` and `end_cause`
of `reservations` say which those were.

The ninth question is answered by `raise_needed`, which takes all that a limit refused before for admitted as well. The command
`headroom lost-demand --raise 2` leaves out those calls that would not have fitted alone, and may count more keys: of a call for
ten and one for one, both refused by a full slot, it counts the second one with `--raise 1`, whose `raise_needed` is eleven.
";
const SAMPLES: &str = include_str!("samples.sql");

/// Makes a log of the small day of the demonstration in this directory, which is empty.
pub fn a_small_day(log: &Path) {
    let played = run(headroom(["demo", "--day", "--keep"]).arg(log));
    assert_eq!(played.code, 0, "{}{}", played.out, played.err);
}

/// The questions, each with its query.
pub fn samples() -> Vec<(&'static str, String)> {
    let parts = SAMPLES.split("\n\n").map(|part| part.trim().split_once('\n').unwrap());
    parts
        .map(|(question, query)| (question.trim_start_matches("-- "), query.trim_end_matches(';').to_owned()))
        .collect()
}

fn page(database: &Database) -> String {
    let mut page = HEAD.to_owned();
    page.push_str(QUESTIONS);
    for (question, query) in samples() {
        let (columns, answer) = database.table(&query);
        let row = |cells: &[String]| format!("| {} |", cells.join(" | "));
        write!(
            page,
            "\n**{question}**\n\n```sql\n{query};\n```\n\n{}\n|{}\n",
            row(&columns),
            "---|".repeat(columns.len())
        )
        .unwrap();
        for cells in answer {
            writeln!(page, "{}", row(&cells)).unwrap();
        }
    }
    page.push_str("\n## Views\n\n| view | what a row is |\n|---|---|\n");
    for view in VIEWS {
        writeln!(page, "| `{}` | {} |", view.name, view.doc()).unwrap();
    }
    page.push_str("\n## Tables\n");
    for table in tables(Dialect::Postgres) {
        write!(
            page,
            "\n### `{}`\n\n{}\nThe primary key is `{}`.\n\n| column | type | what it says |\n|---|---|---|\n",
            table.name,
            table.doc.replace(". ", ".\n"),
            table.key.join("`, `")
        )
        .unwrap();
        for column in &table.columns {
            let null = if column.is_always { "" } else { ", may be null" };
            writeln!(page, "| `{}` | {}{null} | {} |", column.name, Dialect::Postgres.type_of(column.kind), column.doc)
                .unwrap();
        }
    }
    page
}

/// The story: an analyst joins, and has a database and no colleague to ask. What every table, column and view says stands on
/// one page, with questions and answers, and none of it is written by hand twice.
#[test]
fn the_page_for_analysts_is_what_the_tables_say() {
    let (log, database) = (tempfile::tempdir().unwrap(), Database::start());
    database.apply();
    a_small_day(log.path());
    let ended = run(&mut database.sink(log.path(), &["backfill"]));
    assert_eq!(ended.code, 0, "{}", ended.err);
    let page = page(&database);
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/sink/README.md");
    if std::env::var_os("HEADROOM_REWRITE_GOLDEN").is_some() {
        std::fs::write(&file, &page).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap_or_default(), page);
}

/// The story: a caller says that he was refused more crates. The analyst looks the order up, and finds no such call.
#[test]
fn what_happened_to_an_order_has_the_calls_that_name_its_reservation_alone() {
    let database = Database::start();
    database.apply();
    database.ask(
        "INSERT INTO events (kind, partition, seq, epoch, decided_at, ask, pool, reservation, order_ref, status, digest)
         VALUES ('Accepted', 0, 1, 1, now(), 'Reserve', 'van', 'hr_1', 'order-7', 'confirmed', 'a'),
                ('Rejected', 0, 2, 1, now(), 'Amend', 'van', 'hr_1', NULL, NULL, 'b'),
                ('Rejected', 0, 3, 1, now(), 'Amend', 'van', 'hr_2', NULL, NULL, 'c'),
                ('Rejected', 0, 4, 1, now(), 'Reserve', 'van', 'hr_3', 'order-7', NULL, 'd');
         INSERT INTO reservations (reservation, pool, partition, seq, status, order_ref, changed_at)
         VALUES ('hr_1', 'van', 0, 1, 'confirmed', 'order-7', now())",
    );
    let samples = samples();
    let (question, query) = samples.last().unwrap();
    assert!(question.starts_with("What happened to one order"), "{question}");
    let seqs: Vec<String> = database.table(query).1.into_iter().map(|row| row[0].clone()).collect();
    assert_eq!(seqs, ["1", "2", "4"]);
}

/// The story: a planner takes the crates from a slot in the afternoon. The report of the slots has no row of them, though half of them
/// were in use, and says so.
#[test]
fn a_dimension_that_was_taken_from_a_pool_is_in_its_usage_alone() {
    let database = Database::start();
    database.apply();
    let defined = |seq: u32, limits: &str, used: &str| {
        format!(
            "('PoolDefined', 0, {seq}, 1, now() + {seq} * interval '1 hour', 'DefinePool', 'van', {seq}, 'open', '{limits}', '{used}', 'x')"
        )
    };
    let (both, half) = (r#"{"crates": 8, "orders": 5}"#, r#"{"crates": 4, "orders": 1}"#);
    database.ask(&format!(
        "INSERT INTO events (kind, partition, seq, epoch, decided_at, ask, pool, version, mode, limits, used, digest)
         VALUES {}, {};
         INSERT INTO pool_lives (pool, partition, from_seq) VALUES ('van', 0, 1);
         INSERT INTO pools (pool, partition, seq, changed_at, limits, used)
         SELECT pool, partition, seq, decided_at, limits, used FROM events WHERE seq = 2",
        defined(1, both, half),
        defined(2, r#"{"orders": 5}"#, r#"{"orders": 0}"#)
    ));
    let told = |view: &str| {
        let rows = format!("SELECT string_agg(DISTINCT dimension, ', ' ORDER BY dimension) FROM {view}");
        let says = format!("SELECT obj_description('{view}'::regclass) LIKE '%`pool_usage` has it.%'");
        (database.ask(&rows), database.ask(&says) == "t")
    };
    for view in ["pool_units", "slot_utilisation"] {
        assert_eq!(told(view), ("orders".to_owned(), true), "{view}");
    }
    assert_eq!(told("pool_usage").0, "crates, orders");
}

/// The story: an analyst adds the columns of the fifth question up, and they are fewer than the holds. He counts refusals by two views,
/// and has two numbers; and nobody tells him which reasons are those of a pool, and whose the records are that are no commands.
#[test]
fn what_adds_up_and_what_is_counted_is_named() {
    let samples = samples();
    let of_holds = samples.iter().find(|(question, _)| question.starts_with("How many holds become orders"));
    let named = "day, holds, confirmed, expired, released, retired, \"open\" FROM hold_conversion";
    assert!(of_holds.is_some_and(|(_, query)| query.contains(named)), "{of_holds:?}");
    let doc = |name: &str| VIEWS.iter().find(|view| view.name == name).unwrap().doc();
    for (view, named) in [
        ("lost_demand_keys", "(over_limit, closed, paused, past_cutoff, unknown_dimension)"),
        ("lost_demand_keys", "decided (of an amend, those that the reservation did not have before), those"),
        ("refusals", "whose outcome `decisions` calls repeated"),
        (
            "decisions",
            "headroom (timers and owners, what an operator set right, a record that is no command, and an Abandon,",
        ),
    ] {
        assert!(doc(view).contains(named), "{view}: {}", doc(view));
    }
}
