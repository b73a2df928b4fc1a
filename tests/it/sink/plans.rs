//! How much the database reads for a question. In tables of which it knows nothing it takes thousands of rows for one, and a join of
//! two such results compares each row with each. So what every step of a plan reads and compares is counted, never how long it takes.

use super::postgres::Database;
use crate::wait::until;
use headroom::sink::postgres::{Database as SinkDatabase, Period, VIEWS};
use serde_json::Value;

const EVENTS: u64 = 40_000;
const POOLS: u64 = 2_000;
/// The most rows that a view reads and compares, for each event.
const ROWS_EACH: u64 = 40;

/// Many pools with a slot each, one after the other through the year. Callers come in the days before a slot. Four of ten are
/// refused, and most of those are accepted elsewhere. A kiosk has no slot, and refuses somebody now and then all through the year.
fn fill(database: &Database) {
    database.apply();
    database.ask(&format!(
        "INSERT INTO events (kind, partition, seq, epoch, decided_at, command_id, ask, key, pool, reservation, status, demand,
                             order_ref, limits, used, version, window_start, reason, dimension, digest)
         SELECT kind, 0, g, 1, '2024-12-01'::timestamptz + g * interval '13 minutes', md5(g::text),
                CASE kind WHEN 'PoolDefined' THEN 'DefinePool' ELSE 'Reserve' END,
                CASE kind WHEN 'Accepted' THEN 'key-' || g WHEN 'Rejected' THEN 'key-' || g + 4 END,
                CASE WHEN kind = 'Rejected' AND g % 5000 = 8 THEN 'kiosk' ELSE 'pool-' || pool END,
                CASE WHEN kind <> 'PoolDefined' THEN 'hr_' || g END, CASE kind WHEN 'Accepted' THEN 'confirmed' END,
                CASE WHEN kind <> 'PoolDefined' THEN '{{\"orders\": 1, \"crates\": 3}}'::jsonb END,
                CASE WHEN kind <> 'PoolDefined' AND g % 3 = 0 THEN 'order-' || g / 7 END,
                '{{\"orders\": 100, \"crates\": 900}}', '{{\"orders\": 100, \"crates\": 30}}',
                CASE kind WHEN 'PoolDefined' THEN 1 END,
                CASE kind WHEN 'PoolDefined' THEN '2025-01-08'::timestamptz + pool * interval '4 hours' END,
                CASE WHEN kind = 'Rejected' THEN CASE g % 10 WHEN 9 THEN 'closed' ELSE 'over_limit' END END,
                CASE WHEN kind = 'Rejected' AND g % 10 < 9 THEN 'orders' END, md5(g::text)
         FROM (
             SELECT g, CASE WHEN g < {POOLS} THEN 'PoolDefined' WHEN g % 10 < 6 THEN 'Accepted' ELSE 'Rejected' END AS kind,
                    CASE WHEN g < {POOLS} THEN g ELSE (g - {POOLS}) * ({POOLS} - 20) / ({EVENTS} - {POOLS}) + g % 20 END AS pool
             FROM generate_series(0, {EVENTS} - 1) g
         ) g;
         INSERT INTO pools (pool, partition, seq, changed_at, limits, used, mode, version, window_start)
         SELECT pool, partition, seq, decided_at, limits, used, 'open', 1, window_start FROM events WHERE version = 1;
         INSERT INTO pool_lives (pool, partition, from_seq, began_at, window_start)
         SELECT pool, partition, seq, decided_at, window_start FROM events WHERE version = 1;
         INSERT INTO pool_lives (pool, partition, from_seq) VALUES ('kiosk', 0, 0);
         SELECT brin_summarize_new_values('events_decided_at')"
    ));
}

/// What a step of a plan and those below it read, and what they compare and leave out.
fn rows(step: &Value) -> f64 {
    let number = |name: &str| step[name].as_f64().unwrap_or_default();
    let left_out: f64 =
        ["Filter", "Join Filter", "Index Recheck"].iter().map(|by| number(&format!("Rows Removed by {by}"))).sum();
    let below: f64 = step["Plans"].as_array().into_iter().flatten().map(rows).sum();
    (number("Actual Rows") + left_out) * number("Actual Loops") + below
}

/// The story: an analyst opens a view in tables that were filled an hour ago, and the database compares each refusal with each
/// acceptance until somebody ends the session.
#[test]
fn no_view_compares_each_row_with_each() {
    let database = Database::start_with(&["autovacuum=off", "work_mem=32MB"]);
    fill(&database);
    for knows in ["nothing", "all"] {
        let mut many = Vec::new();
        for view in VIEWS {
            // A view that compares each row with each has to end as well, so that the test does.
            let asked = format!(
                "SET statement_timeout = '10min'; EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) SELECT * FROM {}",
                view.name
            );
            let plan: Value = serde_json::from_str(&database.ask(&asked)).unwrap();
            let rows = rows(&plan[0]["Plan"]);
            if rows > (ROWS_EACH * EVENTS) as f64 {
                many.push(format!("{}: {rows} rows", view.name));
            }
        }
        assert!(many.is_empty(), "of {EVENTS} events, where the database knows {knows}: {many:?}");
        database.ask("ANALYZE");
    }
}

/// The story: a planner asks for the demand that one day has lost, of tables of years.
#[test]
fn lost_demand_of_a_day_reads_the_events_about_that_day() {
    let database = Database::start_with(&["autovacuum=off"]);
    fill(&database);
    // A session has told what it read when it is no more among those that are there.
    let others =
        "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
    let read = || -> u64 {
        until("every other session has ended", || database.ask(others) == "0");
        let sql = "SELECT coalesce(idx_tup_fetch, 0) + seq_tup_read FROM pg_stat_user_tables
                   WHERE schemaname = 'headroom' AND relname = 'events'";
        database.ask(sql).parse().unwrap()
    };
    // The small index by time serves those only who know how the events lie. Until then all of them are read twice, for what was
    // accepted elsewhere, and never for what the pools of the day have refused.
    for (knows, most) in [("nothing", 2 * EVENTS + EVENTS / 10), ("all", EVENTS / 2)] {
        let before = read();
        let day = "2025-06-01".to_owned();
        let period = Period { from: day.clone(), to: day, area: None };
        let lost = SinkDatabase::connect(&database.access()).unwrap().lost_demand(&period, 1).unwrap();
        assert!(!lost.is_empty());
        let read = read() - before;
        assert!(0 < read && read < most, "{read} of {EVENTS} events were read, where the database knows {knows}");
        database.ask("ANALYZE");
    }
}
