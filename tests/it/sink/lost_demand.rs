//! What callers asked for and did not get, as the command tells it.

use super::postgres::Database;
use super::redshift::Redshift;
use super::serve;
use crate::process::{Served, agent, run};
use headroom::limits::UNITS_MAX;
use headroom::sink::postgres::{Database as SinkDatabase, Period};
use serde_json::{Value, json};

fn send(served: &Served, method: &str, path: &str, key: &str, body: &Value) -> u16 {
    answer(served, method, path, key, body).0
}

fn answer(served: &Served, method: &str, path: &str, key: &str, body: &Value) -> (u16, Value) {
    let request = ureq::http::Request::builder().method(method).uri(format!("{}{path}", served.url));
    let request = request.header("content-type", "application/json").header("request-timeout-ms", "5000");
    let request = if key.is_empty() { request } else { request.header("idempotency-key", key) };
    let mut reply = agent().run(request.body(body.to_string()).unwrap()).unwrap();
    let text = reply.body_mut().read_to_string().unwrap();
    (reply.status().as_u16(), serde_json::from_str(&text).unwrap_or_default())
}

/// The story: a planner asks whether one more van would have paid. Two callers were refused, one of them twice, and one of
/// the two has found another slot. A retry is no demand, and the caller who found a slot is not lost.
#[test]
fn each_key_counts_once_and_whoever_found_another_slot_is_told_apart() {
    let (log, database) = (tempfile::tempdir().unwrap(), Database::start());
    database.apply();
    let served = serve(log.path());
    for (pool, area) in [("van-1", "SG-01"), ("van-2", "SG-02")] {
        let window = json!({"start": "2126-11-21T04:00:00Z", "end": "2126-11-21T06:00:00Z"});
        let body = json!({"limits": {"orders": 2, "crates": 9}, "areas": [area], "window": window});
        assert_eq!(send(&served, "PUT", &format!("/v1/pools/{pool}"), "", &body), 201);
    }
    let reserve = |pool: &str, key: &str, orders: u64| {
        send(&served, "POST", "/v1/reservations", key, &json!({"pool": pool, "demand": {"orders": orders}}))
    };
    assert_eq!(reserve("van-1", "a", 2), 201);
    let refused = [reserve("van-1", "b", 1), reserve("van-1", "b", 1), reserve("van-1", "c", 2)];
    assert_eq!(refused, [409; 3]);
    assert_eq!(reserve("van-2", "c", 2), 201);
    // No dimension decides whether a slot is closed.
    assert_eq!(send(&served, "POST", "/v1/pools/van-2/mode", "", &json!({"mode": "closed"})), 200);
    let both = json!({"pool": "van-2", "demand": {"orders": 1, "crates": 4}});
    let closed = [("d", &both), ("d", &both), ("e", &json!({"pool": "van-2", "demand": {"crates": 3}}))];
    assert_eq!(closed.map(|(key, body)| send(&served, "POST", "/v1/reservations", key, body)), [409; 3]);
    assert_eq!(run(&mut database.sink(log.path(), &["backfill"])).code, 0);
    let ask = |args: &[&str]| {
        let mut command = crate::process::headroom(["lost-demand"]);
        command.args(args).env("HEADROOM_SINK_DATABASE", database.url());
        run(&mut command)
    };
    let day = ["--from", "2126-11-21", "--to", "2126-11-21"];
    let told = ask(&day);
    assert_eq!(told.code, 0, "{}", told.err);
    assert!(
        told.out.contains("\n2126-11-21  van-1 over_limit orders: 2 keys, 3 units, 1 elsewhere; 1\n"),
        "{}",
        told.out
    );
    let closed = "
2126-11-21  van-2 closed crates: 2 keys, 7 units, 0 elsewhere; 0
2126-11-21  van-2 closed orders: 1 key, 1 unit, 0 elsewhere; 0
";
    assert!(told.out.contains(closed), "{}", told.out);
    assert!(told.out.contains("\n4 keys were refused; an estimate: "), "{}", told.out);
    let raised = ask(&[&day[..], &["--raise", "3", "--area", "SG-01"]].concat());
    assert!(raised.out.contains(": 2 keys, 3 units, 1 elsewhere; 2\n"), "{}", raised.out);
    assert!(ask(&[&day[..], &["--area", "SG-02"]].concat()).out.contains("\n2 keys were refused"));
    let none = ask(&["--from", "2126-11-22", "--to", "2126-11-23"]);
    assert!(none.out.contains("\n0 keys were refused"), "{}", none.out);
    let mistyped = ask(&[&day[..], &["--area", "SG-03"]].concat());
    assert_eq!((mistyped.code, &*mistyped.err), (1, "headroom: no pool has the area SG-03\n"));
    for (wrong, why) in [
        (&["--from", "2126-02-30", "--to", "2126-11-21"][..], "is not a day like 2026-12-24"),
        (&["--from", "0000-01-01", "--to", "2126-11-21"], "is not a day like 2026-12-24"),
        (&["--from", "2126-11-22", "--to", "2126-11-21"], "--to 2126-11-21 is before --from 2126-11-22"),
        (&[&day[..], &["--raise", "0"]].concat(), "0 is not in 1.."),
    ] {
        let ended = ask(wrong);
        assert!(ended.code == 2 && ended.err.contains(why), "{}", ended.err);
    }
}

/// The story: a program asks for more of every order under the key "more". Two orders of a pool get no more, and the report says that
/// it was one.
#[test]
fn a_key_of_an_amend_belongs_to_its_reservation() {
    let (log, database) = (tempfile::tempdir().unwrap(), Database::start());
    database.apply();
    let served = serve(log.path());
    assert_eq!(send(&served, "PUT", "/v1/pools/van", "", &json!({"limits": {"crates": 4}})), 201);
    let ids = ["a", "b"].map(|key| {
        let body = json!({"pool": "van", "demand": {"crates": 2}});
        let (status, reply) = answer(&served, "POST", "/v1/reservations", key, &body);
        assert_eq!(status, 201, "{reply}");
        reply["reservation"].as_str().unwrap().to_owned()
    });
    // The last one is a retry.
    for id in [&ids[0], &ids[1], &ids[1]] {
        let more = json!({"demand": {"crates": 3}});
        assert_eq!(send(&served, "PATCH", &format!("/v1/reservations/{id}"), "more", &more), 409);
    }
    assert_eq!(run(&mut database.sink(log.path(), &["backfill"])).code, 0);
    assert_eq!(database.ask("SELECT ask, reason, attempts, keys FROM refusals"), "Amend|over_limit|3|2");
    let keys = "SELECT key, units, raise_needed FROM lost_demand_keys ORDER BY seq";
    assert_eq!(database.ask(keys), "more|1|1\nmore|1|2");
}

/// The story: ten crates are left for the day. Somebody asks for nine more and is refused, and five others for one each. A van
/// with five more would have served those five, whatever the first one wanted.
#[test]
fn a_raise_admits_whom_it_would_have_admitted_behind_one_who_asked_for_too_much() {
    let (log, database) = (tempfile::tempdir().unwrap(), Database::start());
    database.apply();
    let served = serve(log.path());
    let window = json!({"start": "2126-11-21T04:00:00Z", "end": "2126-11-21T06:00:00Z"});
    let (calls, mut answers) = ([10, 9, 1, 1, 1, 1, 1], Vec::new());
    for (pool, limit) in [("small", 10), ("raised", 15)] {
        let body = json!({"limits": {"crates": limit}, "window": window});
        assert_eq!(send(&served, "PUT", &format!("/v1/pools/{pool}"), "", &body), 201);
        let reserve = |(number, crates): (usize, &u32)| {
            let body = json!({"pool": pool, "demand": {"crates": crates}});
            send(&served, "POST", "/v1/reservations", &format!("{pool}-{number}"), &body)
        };
        answers.push(calls.iter().enumerate().map(reserve).collect::<Vec<_>>());
    }
    assert_eq!(answers[0], [201, 409, 409, 409, 409, 409, 409]);
    let more = answers[1].iter().zip(&answers[0]).filter(|(raised, small)| raised < small).count();
    assert_eq!(run(&mut database.sink(log.path(), &["backfill"])).code, 0);
    let mut told =
        crate::process::headroom(["lost-demand", "--from", "2126-11-21", "--to", "2126-11-21", "--raise", "5"]);
    let told = run(told.env("HEADROOM_SINK_DATABASE", database.url()));
    let line = format!("\n2126-11-21  small over_limit crates: 6 keys, 14 units, 0 elsewhere; {more}\n");
    assert!(more == 5 && told.out.contains(&line), "{}{}", told.out, told.err);
    let help = run(&mut crate::process::headroom(["lost-demand", "--help"])).out;
    let help: Vec<&str> = help.split_whitespace().collect();
    assert!(help.join(" ").contains("calls that would not have fitted alone are left out"), "{help:?}");
    // The view is stricter, and says so.
    let needed = "SELECT min(raise_needed), max(raise_needed) FROM lost_demand_keys WHERE pool = 'small'";
    assert_eq!(database.ask(needed), "9|14");
    let told =
        "SELECT obj_description('lost_demand_keys'::regclass) LIKE '%stricter than `headroom lost-demand --raise`%'";
    assert_eq!(database.ask(told), "t");
}

/// The story: areas are named as the program of the depot names them, with a backslash. A planner asks for one of them, and is told
/// that no pool has it.
#[test]
fn an_area_is_found_whatever_characters_it_has() {
    let (database, redshift) = (Database::start(), Redshift::start());
    database.apply();
    redshift.apply();
    let pool = |areas: &str| {
        format!("INSERT INTO pools (pool, partition, seq, changed_at, areas) VALUES ('van', 0, 0, now(), {areas})")
    };
    database.ask(&pool(r"ARRAY['a\b', 'it''s']"));
    redshift.tables.ask(&pool(r#"'["a\\b","it''s"]'"#));
    for access in [database.access(), redshift.access()] {
        let mut tables = SinkDatabase::connect(&access).unwrap();
        for (area, is_there) in [(r"a\b", true), ("it's", true), (r"a\\b", false), (r"a\", false), ("ab", false)] {
            assert_eq!(tables.has_area(area), Ok(is_there), "{area} in {}", access.url);
        }
    }
}

/// The story: a depot has moved, and its pool lives again in another area. A planner asks what the old area has lost, and is told that
/// no pool has it.
#[test]
fn an_area_is_found_that_a_pool_had_in_a_former_life() {
    let (database, redshift) = (Database::start(), Redshift::start());
    database.apply();
    redshift.apply();
    let hub = |areas: [&str; 2]| {
        let [old, new] = areas;
        format!(
            "INSERT INTO pools (pool, partition, seq, changed_at, areas) VALUES ('hub', 0, 9, now(), {new});
             INSERT INTO pool_lives (pool, partition, from_seq, until_seq, areas) VALUES ('hub', 0, 1, 4, {old}), ('hub', 0, 5, NULL, {new})"
        )
    };
    database.ask(&hub(["ARRAY['OLDTOWN']", "ARRAY['NEWTOWN']"]));
    redshift.tables.ask(&hub([r#"'["OLDTOWN"]'"#, r#"'["NEWTOWN"]'"#]));
    for access in [database.access(), redshift.access()] {
        let mut tables = SinkDatabase::connect(&access).unwrap();
        for (area, is_there) in [("OLDTOWN", true), ("NEWTOWN", true), ("NOWHERE", false)] {
            assert_eq!(tables.has_area(area), Ok(is_there), "{area} in {}", access.url);
        }
    }
}

/// The story: an analyst looks a pool up by its reason, dimension and day, takes the first row, and misses what its next life in
/// another area refused.
#[test]
fn a_pool_has_several_rows_of_a_day_where_its_lives_were_elsewhere_and_the_view_says_so() {
    let database = Database::start();
    database.apply();
    let refused = |seq: u32| {
        format!(
            "('Rejected', 0, {seq}, 1, '2026-11-21', 'Reserve', 'hub', 'key-{seq}', 'over_limit', 'orders', '{{\"orders\": 1}}',
              '{{\"orders\": 0}}', '{{\"orders\": 0}}', 'digest')"
        )
    };
    database.ask(&format!(
        "INSERT INTO pool_lives (pool, partition, from_seq, until_seq, areas)
         VALUES ('hub', 0, 1, 4, '{{OLDTOWN}}'), ('hub', 0, 5, NULL, '{{NEWTOWN}}');
         INSERT INTO events (kind, partition, seq, epoch, decided_at, ask, pool, key, reason, dimension, demand, limits, used, digest)
         VALUES {}, {}",
        refused(2),
        refused(6)
    ));
    let rows = "SELECT pool, slot_day, reason, dimension, areas, keys FROM lost_demand ORDER BY areas";
    let expected = ["NEWTOWN", "OLDTOWN"].map(|area| format!("hub|2026-11-21|over_limit|orders|{{{area}}}|1"));
    assert_eq!(database.ask(rows), expected.join("\n"));
    let told = "SELECT obj_description('lost_demand'::regclass) LIKE '%A pool has several rows of a day where its lives had other areas%'";
    assert_eq!(database.ask(told), "t");
}

/// The story: an analyst reads days as he writes them, and his role says so. Days are told and sorted as a planner asks for them
/// all the same.
#[test]
fn days_are_told_and_sorted_whatever_a_role_says_of_dates() {
    let (database, redshift) = (Database::start(), Redshift::start());
    database.apply();
    redshift.apply();
    let units = r#"'{"orders": 1}', '{"orders": 0}', '{"orders": 0}'"#;
    for tables in [&database, &redshift.tables] {
        tables.ask(&format!(
            "INSERT INTO pool_lives (pool, partition, from_seq, window_start)
             VALUES ('early', 0, 1, '2126-02-01T04:00:00Z'), ('late', 0, 2, '2126-03-01T04:00:00Z'), ('next', 0, 3, '2127-01-01T04:00:00Z');
             INSERT INTO events (kind, partition, seq, epoch, decided_at, ask, key, pool, demand, limits, used, reason, dimension, digest)
             SELECT 'Rejected', 0, from_seq + 10, 1, '2126-01-01T04:00:00Z', 'Reserve', pool, pool, {units}, 'over_limit', 'orders', pool
             FROM pool_lives;
             ALTER ROLE analyst SET datestyle = 'SQL, DMY'"
        ));
    }
    redshift.tables.ask(
        "INSERT INTO decision_units (partition, seq, decided_at, kind, ask, reason, pool, dimension, demand, limit_units, used)
         SELECT partition, seq, decided_at, kind, ask, reason, pool, dimension, 1, 0, 0 FROM events",
    );
    let period = Period { from: "2126-02-01".to_owned(), to: "2127-01-01".to_owned(), area: None };
    for access in [database.access(), redshift.access()] {
        let lost = SinkDatabase::connect(&access).unwrap().lost_demand(&period, 1).unwrap();
        let days: Vec<&str> = lost.iter().map(|lost| &*lost.day).collect();
        assert_eq!(days, ["2126-02-01", "2126-03-01", "2127-01-01"], "{}", access.url);
    }
}

/// The story: a shop whose slot is refused takes the next one at once. Another process decides that, and its clock is some seconds
/// behind: the one was accepted before the other one was refused. A planner is told that all these callers were lost.
#[test]
fn whoever_is_accepted_at_once_where_a_clock_is_behind_has_found_another_slot() {
    let (database, redshift) = (Database::start(), Redshift::start());
    database.apply();
    redshift.apply();
    for tables in [&database, &redshift.tables] {
        tables.ask(
            r#"INSERT INTO pool_lives (pool, partition, from_seq) VALUES ('full', 0, 0);
            INSERT INTO events (kind, partition, seq, epoch, decided_at, ask, pool, key, order_ref, reason, dimension, demand,
                                limits, used, digest)
            SELECT kind, partition, seq, 1, ('2126-11-21T04:00:' || seconds || 'Z')::timestamptz, 'Reserve', pool, key, order_ref,
                   reason, dimension, '{"orders": 1}', '{"orders": 0}', '{"orders": 0}', key
            FROM (VALUES ('Rejected', 0, 1, '10', 'full', 'near', NULL, 'over_limit', 'orders'),
                         ('Rejected', 0, 2, '10.000001', 'full', 'far', NULL, 'over_limit', 'orders'),
                         ('Rejected', 0, 3, '13', 'full', 'first', 'order', 'over_limit', 'orders'),
                         ('Accepted', 1, 1, '00', 'free', 'near', NULL, NULL, NULL),
                         ('Accepted', 1, 2, '00', 'free', 'far', NULL, NULL, NULL),
                         ('Accepted', 1, 3, '05', 'free', 'second', 'order', NULL, NULL))
                 e (kind, partition, seq, seconds, pool, key, order_ref, reason, dimension)"#,
        );
    }
    redshift.tables.ask(
        "INSERT INTO decision_units (partition, seq, decided_at, kind, ask, reason, pool, dimension, demand, limit_units, used)
         SELECT partition, seq, decided_at, kind, ask, reason, pool, 'orders', 1, 0, 0 FROM events",
    );
    let period = Period { from: "2126-11-21".to_owned(), to: "2126-11-21".to_owned(), area: None };
    for (tables, access) in [(&database, database.access()), (&redshift.tables, redshift.access())] {
        let found = tables.ask("SELECT key, accepted_elsewhere FROM lost_demand_keys ORDER BY seq");
        assert_eq!(found, "near|t\nfar|f\nfirst|t", "{}", access.url);
        let lost = SinkDatabase::connect(&access).unwrap().lost_demand(&period, 1).unwrap();
        let told: Vec<_> = lost.iter().map(|lost| (lost.keys, lost.elsewhere)).collect();
        assert_eq!(told, [(3, 2)], "{}", access.url);
    }
}

/// So many calls for all that one may ask, whose sum no `bigint` has.
const GREEDY: u64 = 10_000;

/// A pool that has refused them.
fn fill_with_greed(database: &Database) {
    database.ask(&format!(
        "INSERT INTO pool_lives (pool, partition, from_seq, began_at) VALUES ('small', 0, 0, '2126-11-21T04:00:00Z');
         INSERT INTO events (kind, partition, seq, epoch, decided_at, ask, key, pool, demand, limits, used, reason, dimension, digest)
         SELECT 'Rejected', 0, g, 1, '2126-11-21T04:00:00Z', 'Reserve', 'key-' || g, 'small', '{{\"orders\": {UNITS_MAX}}}',
                '{{\"orders\": 5}}', '{{\"orders\": 0}}', 'over_limit', 'orders', md5(g::text)
         FROM generate_series(1, {GREEDY}) g"
    ));
}

/// The story: somebody asks ten thousand times for the most that a call may ask for, and the sum of it is more than a number of
/// the database can say. From then on nobody is told what any pool has lost.
#[test]
fn more_units_than_a_number_has_are_the_most_that_it_has() {
    let (database, redshift) = (Database::start(), Redshift::start());
    database.apply();
    redshift.apply();
    fill_with_greed(&database);
    fill_with_greed(&redshift.tables);
    redshift.tables.ask(
        "INSERT INTO decision_units (partition, seq, decided_at, kind, ask, reason, pool, dimension, demand, limit_units, used)
         SELECT partition, seq, decided_at, kind, ask, reason, pool, dimension, (demand::jsonb ->> 'orders')::bigint, 5, 0
         FROM events; ANALYZE",
    );
    let period = Period { from: "2126-11-21".to_owned(), to: "2126-11-21".to_owned(), area: None };
    for (tables, access) in [(&database, database.access()), (&redshift.tables, redshift.access())] {
        let raises = tables.ask("SELECT min(raise_needed), max(raise_needed), count(*) FROM lost_demand_keys");
        assert_eq!(raises, format!("{}|{}|{GREEDY}", UNITS_MAX - 5, i64::MAX));
        assert_eq!(tables.ask("SELECT keys, units FROM lost_demand"), format!("{GREEDY}|{}", i64::MAX));
        let lost = SinkDatabase::connect(&access).unwrap().lost_demand(&period, 1).unwrap();
        let told: Vec<_> = lost.iter().map(|lost| (lost.keys, lost.units, lost.with_raise)).collect();
        assert_eq!(told, [(GREEDY.cast_signed(), Some(i64::MAX), 0)]);
    }
}
