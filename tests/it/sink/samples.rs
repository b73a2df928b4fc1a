//! The page for analysts (`src/sink/README.md`): what each table, column and view says, and ten questions with their answers
//! on the data of one small day. `HEADROOM_REWRITE_GOLDEN=1` writes it anew.

use super::postgres::Database;
use crate::http::client::Client;
use crate::process::run;
use crate::server::Server;
use crate::world::ManualClock;
use headroom::domain::Micros;
use headroom::sink::postgres::{Dialect, VIEWS, tables};
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

/// When the day begins: 2020-11-21T10:00:00Z. It lies in the past, because a view asks what time it is now.
const TEN: Micros = Micros(1_605_952_800_000_000);
const MINUTE_MS: u64 = 60_000;

/// The text of the page before what is made of the tables.
const HEAD: &str = r#"# Tables for analysts

This page is for people who ask questions of the tables that `headroom sink` writes
([how it is run](../OPERATING.md#tables-for-analysts)). A test writes the page from the schemas, the views and the answers of a
real database, so it says what the tables say.

- Everything is in one schema, `headroom` if `sink_schema` names no other: begin with `SET search_path TO headroom`.
- `events` has one row for each event, as [Events for readers](../../schemas/README.md) explains them. A `Repeated` event is an
  answer that was given again: it is no demand, and nothing was taken.
- Units are objects by dimension: `(demand ->> 'orders')::bigint`. The view `decision_units` has a row for each dimension.
- Times are in UTC. `window_start` and `areas` of an event are those of its pool: join `pools`, or read the view `decisions`.
- Rows come with the delay of `sink_batch_ms`. `sink_positions` says until when each partition is complete (`decided_until`).
- In Amazon Redshift objects and lists are JSON in a text, `decision_units` is a table, `partition` and `open` need double quotes,
  and `lead_time` is in seconds ([what differs](../OPERATING.md#tables-in-amazon-redshift)).
- Files in a folder or a bucket have the columns of `events` as well ([Files for a lake](../OPERATING.md#files-for-a-lake)).
"#;
const SAMPLES: &str = include_str!("samples.sql");

struct Day {
    client: Client,
    clock: Arc<ManualClock>,
}

impl Day {
    fn send(&mut self, method: &str, path: &str, key: Option<&str>, body: &Value, status: u16) -> Value {
        let key = key.map(|key| format!("Idempotency-Key: {key}"));
        let headers: Vec<&str> = ["Request-Timeout-Ms: 5000"].into_iter().chain(key.as_deref()).collect();
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let reply = self.client.send(method, path, &headers, &body);
        assert_eq!(reply.status, status, "{method} {path}: {reply:?}");
        self.clock.pass_ms(MINUTE_MS);
        serde_json::from_str(&reply.body).unwrap_or_default()
    }

    fn reserve(&mut self, pool: &str, order: u32, demand: (u64, u64), hold_ttl_ms: Option<u64>, status: u16) -> String {
        let body = json!({
            "pool": pool, "demand": {"orders": demand.0, "crates": demand.1}, "hold_ttl_ms": hold_ttl_ms,
            "order_ref": format!("order-{order}"),
        });
        let reply = self.send("POST", "/v1/reservations", Some(&format!("key-{order}")), &body, status);
        reply["reservation"].as_str().unwrap_or_default().to_owned()
    }

    /// A morning and an afternoon of a van, sold by callers who come too late, come again, and change their minds.
    fn pass(&mut self) {
        for (pool, start, end) in [("van-am", "08", "10"), ("van-pm", "14", "16")] {
            let body = json!({
                "limits": {"orders": 3, "crates": 20}, "areas": ["SG-01"],
                "window": {"start": format!("2020-11-22T{start}:00:00Z"), "end": format!("2020-11-22T{end}:00:00Z")},
            });
            self.send("PUT", &format!("/v1/pools/{pool}"), None, &body, 201);
        }
        self.reserve("van-am", 1, (1, 4), None, 201);
        self.reserve("van-am", 2, (1, 4), None, 201);
        let third = self.reserve("van-am", 3, (1, 8), Some(20 * MINUTE_MS), 201);
        // Sold out: two callers are refused, one of them twice, and books the afternoon.
        self.reserve("van-am", 4, (1, 2), None, 409);
        self.reserve("van-am", 5, (1, 2), None, 409);
        self.reserve("van-am", 5, (1, 2), None, 409);
        self.reserve("van-pm", 5, (1, 2), None, 201);
        // A hold that is confirmed, and one that nobody confirms.
        self.send("POST", &format!("/v1/reservations/{third}/confirm"), None, &Value::Null, 200);
        self.reserve("van-pm", 6, (1, 6), Some(2 * MINUTE_MS), 201);
        self.clock.pass_ms(5 * MINUTE_MS);
        // One order from begin to end: booked, changed, cancelled.
        let seventh = self.reserve("van-pm", 7, (1, 3), None, 201);
        self.send(
            "PATCH",
            &format!("/v1/reservations/{seventh}"),
            None,
            &json!({"demand": {"orders": 1, "crates": 9}}),
            200,
        );
        self.send("DELETE", &format!("/v1/reservations/{seventh}"), None, &Value::Null, 200);
        // A planner gives room, takes it away below what is booked, and closes the afternoon.
        self.send("PATCH", "/v1/pools/van-am", None, &json!({"adjust": {"orders": 1}}), 200);
        self.reserve("van-am", 8, (1, 2), None, 201);
        self.send("PATCH", "/v1/pools/van-am", None, &json!({"limits": {"orders": 2}}), 200);
        self.send("POST", "/v1/pools/van-pm/mode", None, &json!({"mode": "closed"}), 200);
        self.reserve("van-pm", 9, (1, 2), None, 409);
    }
}

/// Makes a log of that day in this directory.
pub fn a_small_day(log: &Path) {
    let clock = Arc::new(ManualClock::at(TEN));
    let server = Server::start(log, 1, Arc::clone(&clock) as _);
    Day { client: server.client(), clock }.pass();
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
    page.push_str("\n## Ten questions\n\nThe answers are those of one small day, which a test sells.\n");
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
            "\n### `{}`\n\n{} The primary key is `{}`.\n\n| column | type | what it says |\n|---|---|---|\n",
            table.name,
            table.doc,
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
