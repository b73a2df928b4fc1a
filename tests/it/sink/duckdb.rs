//! What the page for operators tells readers of a lake to ask of DuckDB, asked of it. In the nightly run only: DuckDB is fetched.

use super::files::{Lake, Rows, assert_events, each_once};
use crate::buckets::fetched;
use crate::fixtures::pool_of;
use crate::process::run;
use crate::server::Server;
use crate::tidy::links::pages;
use crate::world::ManualClock;
use headroom::domain::Micros;
use serde_json::{Map, Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

/// A moment of the day of which the page speaks: 2020-11-21T10:00:00Z.
const TEN: Micros = Micros(1_605_952_800_000_000);
const UNTIL_MIDNIGHT_MS: u64 = 14 * 3_600_000;
/// How many partitions the page speaks of.
const PARTITIONS: u32 = 4;
/// The functions of DuckDB that read files.
const READERS: [&str; 3] = ["read_parquet(", "read_avro(", "read_json("];

fn reads(text: &str) -> usize {
    READERS.iter().map(|reader| text.matches(reader).count()).sum()
}

/// What the page says.
struct Page {
    complete: String,
    is_whole: String,
    merge: String,
    /// What stands in place of the reader of Parquet where the files are Avro. Both are told `hive_partitioning = false`: else they add
    /// a column for the name of the folder.
    avro: String,
}

impl Page {
    fn read() -> Page {
        let pages = pages();
        let page = &pages["src/OPERATING.md"];
        let blocks = page.split("```sql\n").skip(1).map(|rest| rest.split("```").next().unwrap());
        let statements = blocks.flat_map(|block| block.split(';')).filter(|statement| reads(statement) > 0);
        let statements = statements.map(str::to_owned).collect::<Vec<_>>();
        let spans =
            page.split('`').filter(|span| span.starts_with("read_avro(")).map(str::to_owned).collect::<Vec<_>>();
        let asked = statements.iter().chain(&spans).map(|text| reads(text)).sum::<usize>();
        assert_eq!(
            asked,
            pages.values().map(|text| reads(text)).sum::<usize>(),
            "a page has a query that is not asked here"
        );
        let [complete, is_whole, merge]: [String; 3] = statements.try_into().unwrap();
        let [avro]: [String; 1] = spans.try_into().unwrap();
        Page { complete, is_whole, merge, avro }
    }

    /// The first query for files in Avro.
    fn complete_in_avro(&self) -> String {
        let (before, rest) = self.complete.split_once("read_parquet(").unwrap();
        format!("{before}{}{}", self.avro, rest.split_once(')').unwrap().1)
    }
}

/// A DuckDB, the lake that stands for `/srv/lake`, and the folder that stands for `/srv/days`.
struct Reader<'a> {
    python: PathBuf,
    lake: &'a Path,
    days: &'a Path,
}

impl Reader<'_> {
    fn ask(&self, statement: &str) -> Vec<Map<String, Value>> {
        let folder = |path: &Path| format!("'{}/", path.display());
        let statement = statement.replace("'/srv/lake/", &folder(self.lake)).replace("'/srv/days/", &folder(self.days));
        assert!(!statement.contains("/srv/"), "{statement}");
        let mut ask = Command::new(&self.python);
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/duckdb/ask.py");
        let ended = run(ask.arg(script).arg(&statement));
        assert_eq!(ended.code, 0, "{statement}: {}", ended.err);
        serde_json::from_str(&ended.out).unwrap()
    }

    /// Rows of events, of which none comes twice.
    fn rows(&self, query: &str) -> Rows {
        each_once([("the answer".to_owned(), self.ask(query))].into_iter())
    }

    fn is_whole(&self, page: &Page) -> bool {
        let rows = self.ask(&page.is_whole);
        rows[0].values().next().unwrap().as_bool().unwrap()
    }
}

/// The story: an analyst copies the queries of the page. They count what the log has, no more while a batch is being written, and the
/// question whether a day is over is not answered with yes a moment too early.
#[test]
fn every_query_of_the_page_is_answered_as_it_says() {
    let (page, versions) = (Page::read(), fetched("tests/duckdb/fetch"));
    let (log, days, parquet, avro) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), Lake::new(), Lake::new());
    let reader = |version: &str, lake| Reader {
        python: versions.join(version).join("bin/python"),
        lake: Lake::path(lake),
        days: days.path(),
    };
    let readers = ["newest", "avro"].map(|version| reader(version, &parquet));
    let backfill = || {
        for (lake, format) in [(&parquet, "parquet"), (&avro, "avro")] {
            let ended = run(&mut lake.sink(log.path(), &["backfill", "--sink-files-format", format]));
            assert_eq!(ended.code, 0, "{}", ended.err);
        }
    };
    let is_whole = || {
        backfill();
        readers.each_ref().map(|reader| reader.is_whole(&page))
    };

    let clock = Arc::new(ManualClock::at(TEN));
    let server = Server::start(log.path(), PARTITIONS, Arc::clone(&clock) as _);
    let pools: Vec<String> = (0..PARTITIONS).map(|partition| pool_of(partition, PARTITIONS).to_string()).collect();
    let reserve = |pool: &str, key: u64| {
        let body = format!(r#"{{"pool":"{pool}","demand":{{"orders":{}}}}}"#, 1 + key % 3);
        let reply = server.client().send("POST", "/v1/reservations", &[&format!("Idempotency-Key: k-{key}")], &body);
        assert_eq!(reply.status, 201, "{reply:?}");
    };
    for (pool, count) in pools.iter().zip(2..) {
        server.pool(pool, 99);
        (0..count).for_each(|key| reserve(pool, key));
    }
    assert_eq!(is_whole(), [false; 2], "more may come on this day");
    clock.pass_ms(UNTIL_MIDNIGHT_MS);
    pools[..3].iter().for_each(|pool| reserve(pool, 10));
    assert_eq!(is_whole(), [false; 2], "one partition may have more of this day");
    reserve(&pools[3], 11);
    assert_eq!(is_whole(), [true; 2]);
    drop(server);

    let told = readers.each_ref().map(|reader| reader.rows(&page.complete));
    told.iter().for_each(|rows| assert_events(rows, log.path()));
    assert_events(&reader("avro", &avro).rows(&page.complete_in_avro()), log.path());
    let is_of_day = |row: &Map<String, Value>| row["decided_at"].as_u64().unwrap() < TEN.plus_ms(UNTIL_MIDNIGHT_MS).0;
    let of_day: Vec<_> = told[0].iter().filter(|(_, row)| is_of_day(row)).collect();
    assert_eq!(of_day.len() + 4, told[0].len());
    for reader in &readers {
        let file = days.path().join("2020-11-21.parquet");
        reader.ask(&page.merge);
        let merged = reader.ask(&format!("SELECT * FROM read_parquet('{}')", file.display()));
        assert!(merged.iter().eq(of_day.iter().map(|(_, row)| *row)), "{merged:?}");
        fs::remove_file(file).unwrap();
    }

    // As if the last batch of a partition were not complete, and then as if nothing of it had ever been written.
    let position = parquet.path().join("positions/p00002.json");
    let mut behind = parquet.positions()[&2].clone();
    let last = behind["next_seq"].as_u64().unwrap() - 1;
    behind["next_seq"] = json!(last);
    fs::write(&position, behind.to_string()).unwrap();
    let mut complete = told[0].clone();
    assert!(complete.remove(&(2, last)).is_some());
    readers.iter().for_each(|reader| assert_eq!(reader.rows(&page.complete), complete));
    fs::remove_file(&position).unwrap();
    assert_eq!(readers.each_ref().map(|reader| reader.is_whole(&page)), [false; 2]);
}
