//! Large batches, where the database knows nothing of its tables yet.

use super::assert_same;
use super::postgres::Database;
use crate::cli::handwritten_logs::Writing;
use crate::process::run;
use crate::wait::until;
use headroom::limits::SINK_BATCH_EVENTS_DEFAULT;
use headroom::sink::postgres::Database as SinkDatabase;
use std::path::Path;

/// What follows from every event.
const MERGES: [&str; 6] = [
    include_str!("../../../src/sink/postgres/sql/merge_reservations.sql"),
    include_str!("../../../src/sink/postgres/sql/merge_retired.sql"),
    include_str!("../../../src/sink/postgres/sql/merge_clock.sql"),
    include_str!("../../../src/sink/postgres/sql/merge_pool_definitions.sql"),
    include_str!("../../../src/sink/postgres/sql/merge_pools.sql"),
    include_str!("../../../src/sink/postgres/sql/merge_pool_lives.sql"),
];

/// Makes tables of a pool with this many orders.
fn fill(database: &Database, log: &Path, accepted: u64) {
    database.apply();
    let mut writing = Writing::new(accepted);
    (0..accepted).for_each(|_| writing.accept(accepted));
    writing.write_long(log);
    let ended = run(&mut database.sink(log, &["backfill"]));
    assert_eq!(ended.code, 0, "{}", ended.err);
}

/// The story: a merge that joins new events with themselves was fast in tables that had been analysed. In new tables the
/// database took them for one row, joined them row by row, and wrote nothing for two minutes. So the rows are counted that
/// the database reads for one large batch in new tables, and no merge joins anything there but with single rows that it looks
/// up by their key: a join of two results that are in its memory reads no row again, and takes as long.
#[test]
fn a_large_batch_in_new_tables_reads_each_event_a_few_times() {
    // The first batch is full.
    const ACCEPTED: u64 = SINK_BATCH_EVENTS_DEFAULT;
    let (log, database) = (tempfile::tempdir().unwrap(), Database::start_with(&["autovacuum=off"]));
    fill(&database, log.path(), ACCEPTED);
    let count = |table: &str, of: &str| -> u64 {
        let sql = format!("SELECT {of} FROM pg_stat_user_tables WHERE schemaname = 'headroom' AND relname = '{table}'");
        database.ask(&sql).parse().unwrap()
    };
    // Sessions tell what they did when they end.
    until("the database has counted", || count("events", "n_tup_ins") == ACCEPTED + 2);
    assert_eq!(count("events", "analyze_count + autoanalyze_count"), 0);
    assert_eq!(count("reservations", "n_tup_ins"), ACCEPTED);
    let read = |table: &str| count(table, "coalesce(idx_tup_fetch, 0) + seq_tup_read");
    // Of the six merges that of the clock is not due, and that of lives which have ended reads the new events twice. Each of the others
    // reads them once.
    assert!(read("events") <= 6 * (ACCEPTED + 2), "{} events were read", read("events"));
    assert!(read("reservations") <= ACCEPTED, "{} reservations were read", read("reservations"));
    for merge in MERGES {
        let merge = merge.replace("{unless_new}", "");
        let of_the_batch = merge.replace("$1", "0").replace("$2", "0").replace("$3", &ACCEPTED.to_string());
        let plan = database.ask(&format!("EXPLAIN (COSTS OFF) {of_the_batch}"));
        assert!(plan.contains("Scan using events_pkey"), "{plan}");
        let lookups = plan.matches("Index Cond: ((partition = 0) AND (seq = (max(e.seq))))").count();
        assert!(plan.matches("Nested Loop").count() == lookups && !plan.contains("Join"), "{plan}");
    }
    assert_same(&database, log.path());
}

/// The story: a shop has so many reservations that one statement which deletes them all takes longer than the database has for
/// an answer. So no statement deletes more rows than a piece has events, and all of them together delete each row once.
#[test]
fn a_rebuild_in_place_deletes_reservations_in_pieces() {
    const ACCEPTED: u64 = 3_000;
    const PIECE: u64 = 600;
    let (log, database) = (tempfile::tempdir().unwrap(), Database::start());
    fill(&database, log.path(), ACCEPTED);
    database.ask(
        "CREATE TABLE public.deleted (rows bigint);
         CREATE FUNCTION public.count_deleted() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN INSERT INTO public.deleted SELECT count(*) FROM gone; RETURN NULL; END';
         CREATE TRIGGER counted AFTER DELETE ON reservations REFERENCING OLD TABLE AS gone
             FOR EACH STATEMENT EXECUTE FUNCTION public.count_deleted()",
    );
    SinkDatabase::connect(&database.access()).unwrap().rebuild_in_place(PIECE, |_| {}).unwrap();
    assert_eq!(database.ask("SELECT sum(rows) FROM public.deleted"), ACCEPTED.to_string());
    let most: u64 = database.ask("SELECT max(rows) FROM public.deleted").parse().unwrap();
    assert!(most <= PIECE, "{most} rows were deleted at once");
    database.ask("DROP TRIGGER counted ON reservations");
    assert_same(&database, log.path());
}
